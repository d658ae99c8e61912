"""DNS as `failover` asks it without pause, and the Redis nodes beside it."""

from __future__ import annotations

import asyncio
import socket

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from consul_redis_agent.commands.failover.dns import Asker, read
from consul_redis_agent.commands.failover.watch import Look, _ask
from consul_redis_agent.decide.facts import Address, Role
from consul_redis_agent.watch.link import Link
from tests.doubles.facts import WHERE, replica

NAME = "redis.service.consul."
A, B = WHERE["a"], WHERE["b"]


def reply(*answers: Address, rcode: dns.rcode.Rcode = dns.rcode.NOERROR, flags: int = 0, hosts: bool = True) -> bytes:
    """A whole answer as Consul gives it: the target's address stands in the additional section."""
    message = dns.message.make_response(dns.message.make_query(NAME, "SRV", id=0))
    message.set_rcode(rcode)
    message.flags |= flags
    for address in answers:
        target = f"{address.host.replace('.', '-')}.addr.consul."
        message.answer.append(dns.rrset.from_text(NAME, 0, "IN", "SRV", f"1 1 {address.port} {target}"))
        if hosts:
            message.additional.append(dns.rrset.from_text(target, 0, "IN", "A", address.host))
    return message.to_wire()


@pytest.mark.parametrize(
    ("whole", "named"),
    [
        (reply(A), frozenset({A})),
        (reply(A, B), frozenset({A, B})),
        (reply(), frozenset()),
        (reply(rcode=dns.rcode.NXDOMAIN), frozenset()),
        (reply(rcode=dns.rcode.SERVFAIL), None),
        (b"\0\0not DNS", None),
        (b"", None),
    ],
    ids=["one", "two", "no data", "no such name", "error", "garbage", "empty"],
)
def test_an_answer_is_read(whole: bytes, named: frozenset[Address] | None) -> None:
    """Nobody is another thing than no answer."""
    assert read(whole[2:]) == named


@pytest.mark.parametrize("whole", [reply(A, flags=dns.flags.TC), reply(A, hosts=False)], ids=["cut off", "no address"])
def test_an_answer_that_does_not_tell_all_is_asked_for_again(whole: bytes) -> None:
    """Over TCP, or for the address alone."""
    with pytest.raises(LookupError):
        read(whole[2:])


class Server(asyncio.DatagramProtocol):
    """Answers each question first with one that belongs to another question."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        other = bytes([data[0], data[1] ^ 1])
        self.transport.sendto(other + reply(B)[2:], addr)
        self.transport.sendto(data[:2] + reply(A)[2:], addr)


async def test_the_answer_to_another_question_is_passed_over() -> None:
    """A late one would tell of a master of before."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    asker = Asker(NAME, Address(*transport.get_extra_info("sockname")), 5.0)
    try:
        assert [await asker.ask(), await asker.ask()] == [frozenset({A})] * 2
    finally:
        asker.close()
        transport.close()


async def test_a_closed_port_is_no_answer() -> None:
    """It is told at once, and asked again the next time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    asker = Asker(NAME, Address("127.0.0.1", port), 60.0)  # far longer than this test may take
    try:
        assert [await asker.ask(), await asker.ask()] == [None, None]
    finally:
        asker.close()


class Restarted(Link):
    """A node that was a replica, and answers now as another life of it, which is a master."""

    def __init__(self) -> None:
        super().__init__(B, timeout=1.0)

    async def ask(self, *commands: object) -> list[str]:
        said = {"server": "run_id:later\r\n", "replication": "role:master\r\nmaster_repl_offset:7\r\n"}
        return [said[command[1]] for command in commands if isinstance(command, tuple)]


async def test_which_life_of_a_node_says_master_is_asked_with_it() -> None:
    """What it was as a replica says nothing of that."""
    look = await _ask(Restarted(), Look(replica("a", run_id="earlier"), 5))
    assert (look.node.role, look.node.run_id, look.offset) == (Role.MASTER, "later", 7)
