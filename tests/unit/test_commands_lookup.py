"""Asking DNS as an application would: SRV, the address beside it or by a second question, and what can go wrong."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from consul_redis_agent.commands.lookup import ANSWERS, Answer, DnsError, srv
from consul_redis_agent.commands.resolve import question
from consul_redis_agent.config import load
from consul_redis_agent.consul.domain import name_of
from consul_redis_agent.decide.facts import Address

NAME = "redis.service.consul"
SRV = dns.rrset.from_text(NAME + ".", 7, "IN", "SRV", "1 1 6379 host1.node.consul.")
A = dns.rrset.from_text("host1.node.consul.", 7, "IN", "A", "10.0.0.1")

Reply = Callable[[dns.message.Message, bool], "bytes | None"]


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self.reply(dns.message.from_wire(data), False)
        if answer is not None:
            self.transport.sendto(answer, addr)


@asynccontextmanager
async def server(reply: Reply) -> AsyncIterator[Address]:
    """A DNS server on UDP and TCP whose answers are ``reply(question, over TCP)``."""

    async def tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = reply(dns.message.from_wire(await reader.readexactly(length)), True) or b""
        writer.write(struct.pack("!H", len(answer)) + answer)
        await writer.drain()
        writer.close()

    stream = await asyncio.start_server(tcp, "127.0.0.1", 0)
    address = stream.sockets[0].getsockname()
    loop = asyncio.get_running_loop()
    datagrams, _ = await loop.create_datagram_endpoint(lambda: _Udp(reply), local_addr=address)
    try:
        yield Address(*address)
    finally:
        datagrams.close()
        stream.close()
        await stream.wait_closed()


def answer(
    asked: dns.message.Message, *records: dns.rrset.RRset, additional: tuple[dns.rrset.RRset, ...] = (), code: int = 0
) -> bytes:
    response = dns.message.make_response(asked)
    response.set_rcode(dns.rcode.Rcode(code))
    response.answer, response.additional = [*records], [*additional]
    return response.to_wire()


async def test_the_address_comes_with_the_answer() -> None:
    """One question is enough where the additional section has the address, as Consul's does."""
    asked = []

    def reply(q: dns.message.Message, tcp: bool) -> bytes:
        asked.append(str(q.question[0]))
        return answer(q, SRV, additional=(A,))

    async with server(reply) as where:
        assert await srv(NAME, where) == (Answer("host1.node.consul", 6379, "10.0.0.1", 7),)
    assert asked == [f"{NAME}. IN SRV"]


async def test_else_a_second_question_is_asked() -> None:
    """Without the additional section the target is looked up; IPv6 where there is no IPv4."""
    v6 = dns.rrset.from_text("host1.node.consul.", 7, "IN", "AAAA", "fd00::1")

    def reply(q: dns.message.Message, tcp: bool) -> bytes:
        records = {dns.rdatatype.SRV: [SRV], dns.rdatatype.AAAA: [v6]}
        return answer(q, *records.get(q.question[0].rdtype, []))

    async with server(reply) as where:
        (found,) = await srv(NAME, where)
    assert str(found.address) == "[fd00::1]:6379"


async def test_a_truncated_answer_is_asked_for_again_over_tcp() -> None:
    """An answer that does not fit into a datagram is not half an answer."""
    records = dns.rrset.from_text(NAME + ".", 0, "IN", "SRV", "1 1 2 host1.node.consul.", "1 1 1 host1.node.consul.")

    def reply(q: dns.message.Message, tcp: bool) -> bytes:
        if tcp:
            return answer(q, records, additional=(A,))
        response = dns.message.make_response(q)
        response.flags |= dns.flags.TC
        return response.to_wire()

    async with server(reply) as where:
        assert [str(found.address) for found in await srv(NAME, where)] == ["10.0.0.1:1", "10.0.0.1:2"]


async def test_an_answer_of_a_thousand_records_is_looked_at_no_further_than_it_needs() -> None:
    """Two are wrong already; each without its address would be a question of its own."""
    records = dns.rrset.from_text(NAME + ".", 0, "IN", "SRV", *(f"1 1 {n} host1.node.consul." for n in range(1, 1001)))
    questions = 0

    def reply(q: dns.message.Message, tcp: bool) -> bytes:
        nonlocal questions
        questions += 1
        if q.question[0].rdtype == dns.rdatatype.A:
            return answer(q, A)
        response = dns.message.make_response(q)
        response.flags |= 0 if tcp else dns.flags.TC
        response.answer = [records] if tcp else []
        return response.to_wire()

    async with server(reply) as where:
        assert len(await srv(NAME, where)) == ANSWERS
    assert questions <= 2 + ANSWERS


async def test_a_target_that_is_no_name_of_this_world_has_no_address() -> None:
    """A label may hold any bytes; written out, it is longer than a label may be."""
    target = dns.rrset.from_text(NAME + ".", 7, "IN", "SRV", "1 1 6379 " + r"\027\007" * 20 + ".consul.")
    async with server(
        lambda q, tcp: answer(q, *([target] if q.question[0].rdtype == dns.rdatatype.SRV else []))
    ) as where:
        (found,) = await srv(NAME, where)
    assert found.host == ""
    assert found.target.isprintable()


async def test_a_name_that_does_not_exist_has_no_answers() -> None:
    """NXDOMAIN, and a name without SRV records: nobody is published, which is no error."""
    for code in (dns.rcode.NXDOMAIN, dns.rcode.NOERROR):
        async with server(lambda q, tcp, code=code: answer(q, code=code)) as where:  # type: ignore[misc]
            assert await srv(NAME, where) == ()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda q, tcp: answer(q, code=dns.rcode.SERVFAIL), "answers SERVFAIL to redis.service.consul; is the name"),
        (lambda q, tcp: None, "does not answer within 0.2 s; is it Consul's DNS port"),
        (lambda q, tcp: b"HTTP/1.1 400 Bad Request\r\n\r\n", "its answer is not DNS|does not answer within"),
    ],
)
async def test_no_answer_is_named(reply: Reply, reason: str) -> None:
    """A server that fails, hangs, or is something else."""
    async with server(reply) as where:
        with pytest.raises(DnsError, match=reason):
            await srv(NAME, where, 0.2)


async def test_a_closed_port_is_told_at_once() -> None:
    """Nobody waits for a timeout there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        closed = Address(*taken.getsockname())
    with pytest.raises(DnsError, match=r"nothing listens there; start Consul, or correct consul.dns"):
        await srv(NAME, closed, 60)


async def test_what_is_no_name_is_not_asked_for() -> None:
    """A typing mistake is not blamed on the server."""
    with pytest.raises(DnsError, match=r"'a\.\.b' is not a DNS name"):
        await srv("a..b", Address("127.0.0.1", 1))


def test_the_name_follows_the_configuration() -> None:
    """The service by default, its tag in mode tags, another service, or any name; with the login of the right node."""
    config = load(None, {}, {"redis.url": "redis://10.0.0.1:6379", "service.name": "cache"})
    assert question(config, None)[1] == "cache.service.consul"
    assert question(config, "other")[1] == "other.service.consul"
    assert question(config, "master.cache.service.dc2.consul")[1] == "master.cache.service.dc2.consul"
    tags = load(None, {}, {"service.mode": "tags"})
    assert name_of(tags, tags.redis[0]) == "master.redis.service.consul"
