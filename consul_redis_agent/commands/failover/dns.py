"""Consul's DNS, asked for one name again and again at little cost, so that also a moment of two or of none is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from consul_redis_agent import names
from consul_redis_agent.commands.lookup import DnsError, srv
from consul_redis_agent.decide.facts import Address

CHANGES = 16
"""Answers that are kept as they were read; more than a few different ones do not come in one move."""


class Asker(asyncio.DatagramProtocol):
    """One UDP socket to one server, and one question for SRV records. An answer that came before is not read again.

    ``timeout`` is in seconds, for one question.
    """

    def __init__(self, name: str, server: Address, timeout: float) -> None:
        self._name, self._server, self._timeout = name, server, timeout
        self._question = dns.message.make_query(name, dns.rdatatype.SRV, id=0).to_wire()[2:]
        self._number = 0
        self._waiting: asyncio.Future[bytes] | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._read: dict[bytes, frozenset[Address] | None] = {}

    async def ask(self) -> frozenset[Address] | None:
        """Whom DNS names; None where it does not answer in time, or with an error."""
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._exchange()
        except (TimeoutError, OSError, UnicodeError):
            return None
        if reply not in self._read:
            if len(self._read) >= CHANGES:
                self._read.clear()
            try:
                self._read[reply] = read(reply)
            except LookupError:  # it does not tell addresses: what the second question says is no part of this answer
                return await self._ask_fully()
        return self._read[reply]

    def close(self) -> None:
        """Close the socket."""
        if self._transport:
            self._transport.close()

    async def _exchange(self) -> bytes:
        if self._transport is None:
            loop = asyncio.get_running_loop()
            (_, place), *_ = await names.addresses(*self._server, self._timeout)
            make = partial(loop.create_datagram_endpoint, lambda: self)
            self._transport, _ = await make(remote_addr=(str(place[0]), self._server.port))
        self._number = (self._number + 1) % 65536
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.sendto(self._number.to_bytes(2, "big") + self._question)
        return await self._waiting

    async def _ask_fully(self) -> frozenset[Address] | None:
        try:
            return frozenset(answer.address for answer in await srv(self._name, self._server, self._timeout))
        except DnsError:
            return None

    def datagram_received(self, data: bytes, addr: object) -> None:
        """An answer; a late one, to an older question, is passed over."""
        if self._waiting and not self._waiting.done() and data[:2] == self._number.to_bytes(2, "big"):
            self._waiting.set_result(data[2:])

    def error_received(self, exc: Exception) -> None:
        """Nothing listens there."""
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(exc)


def read(reply: bytes) -> frozenset[Address] | None:
    """Whom an answer names, without its first two bytes; None where it is an error, or no DNS.

    Raises LookupError where it is cut off, or has no address for a target.
    """
    try:
        message = dns.message.from_wire(b"\0\0" + reply)
    except (dns.exception.DNSException, ValueError, EOFError):
        return None
    if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return None
    if message.flags & dns.flags.TC:
        raise LookupError("cut off")
    hosts: Mapping[object, str] = {
        rrset.name: rrset[0].address
        for rrset in message.additional
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
    }
    records = [record for rrset in message.answer if rrset.rdtype == dns.rdatatype.SRV for record in rrset]
    return frozenset(Address(hosts[record.target], record.port) for record in records)
