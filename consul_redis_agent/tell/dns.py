"""Consul's DNS, asked by the agent itself: whom do applications see now? Nothing waits for an answer.

It is imported only where somebody can look at what it finds (``http.listen``): dnspython takes memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from consul_redis_agent import names
from consul_redis_agent.clock import clock, set_within, until_tick
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.consul.domain import USUAL, domain_in
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import ConsulDenied, ConsulError
from consul_redis_agent.node import NodeAgent
from consul_redis_agent.tell.shown import Masters, Shown

if TYPE_CHECKING:
    from dns.rdtypes.IN.SRV import SRV

CHANGES = 16
"""Answers that are kept as they were read; more than a few different ones do not come in one move."""
TIMEOUT = 0.5
"""Seconds until a question counts as unanswered."""
CALM = 10.0
"""Seconds between two questions while nothing happens."""
CLOSELY = 0.02
"""The same around a transition; Consul needs some 4 ms to change its answer."""
TRANSITION = 5.0
"""Seconds for which a transition is followed closely."""

Named = frozenset[Address]


class Asker(asyncio.DatagramProtocol):
    """One UDP socket to one server, and one question for SRV records. An answer that came before is not read again.

    ``timeout`` is in seconds, for one question. A target within Consul's ``domain`` stands for an IP address, another for itself.
    """

    def __init__(self, name: str, server: Address, timeout: float, domain: str = USUAL) -> None:
        self._name, self._server, self._timeout = name, server, timeout
        self._domain = dns.name.from_text(domain)
        self._question = dns.message.make_query(name, dns.rdatatype.SRV, id=0).to_wire()[2:]
        self._number = 0
        self._waiting: asyncio.Future[bytes] | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._read: dict[bytes, Named | None] = {}

    async def ask(self) -> Named | None:
        """Whom DNS names; None where it does not answer in time, or with an error."""
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._exchange()
        except (TimeoutError, OSError, UnicodeError):
            self.close()  # the name of the server may lead elsewhere by now
            return None
        if reply not in self._read:
            if len(self._read) >= CHANGES:
                self._read.clear()
            try:
                self._read[reply] = self._understood(reply)
            except LookupError:  # it does not tell addresses: what the second question says is no part of this answer
                return await self._ask_fully()
        return self._read[reply]

    def close(self) -> None:
        """Close the socket; the next question opens another one."""
        if self._transport:
            self._transport.close()
            self._transport = None

    def _understood(self, reply: bytes) -> Named | None:
        """Whom an answer names. Raises LookupError where it does not tell."""
        message = parse(reply)
        if message is None:
            return None
        hosts = addresses(message)
        return frozenset(Address(self._host(record.target, hosts), record.port) for record in records(message))

    def _host(self, target: dns.name.Name, hosts: Mapping[dns.name.Name, str]) -> str:
        found = hosts.get(target) if target.is_subdomain(self._domain) else None
        return found or target.to_text(omit_final_dot=True)

    async def _ask_fully(self) -> Named | None:
        """Whom it names, where the answer did not tell."""
        return None

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

    def datagram_received(self, data: bytes, addr: object) -> None:
        """An answer; a late one, to an older question, is passed over."""
        if self._waiting and not self._waiting.done() and data[:2] == self._number.to_bytes(2, "big"):
            self._waiting.set_result(data[2:])

    def error_received(self, exc: Exception) -> None:
        """Nothing listens there."""
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(exc)


def parse(reply: bytes) -> dns.message.Message | None:
    """An answer without its first two bytes; None where it is an error, or no DNS."""
    try:
        message = dns.message.from_wire(b"\0\0" + reply)
    except (dns.exception.DNSException, ValueError, EOFError):
        return None
    return message if message.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) else None


def addresses(message: dns.message.Message) -> dict[dns.name.Name, str]:
    """The IP addresses that an answer brings with it, by the targets of its SRV records."""
    kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
    return {rrset.name: rrset[0].address for rrset in message.additional if rrset.rdtype in kinds}


def records(message: dns.message.Message) -> Iterator[SRV]:
    """The SRV records of an answer."""
    for rrset in message.answer:
        if rrset.rdtype == dns.rdatatype.SRV:
            yield from rrset


class DnsWatch:
    """What DNS shows of one service, in ``shown``: looked up now and then, and closely around a transition.

    ``domain`` is what the configuration says, if it does, and ``name`` gives the whole name in a domain.
    ``changed(service, masters, at)`` is called with each answer that is another one than before: the addresses, sorted, None
    where there was no answer in time, and when, by the decisions' clock. ``phase`` is that of :func:`~consul_redis_agent.clock.until_tick`.
    """

    def __init__(
        self,
        api: ConsulAPI,
        service: str,
        name: Callable[[str], str],
        domain: str,
        server: Address,
        changed: Callable[[str, Masters | None, float], None],
        phase: float = 0.0,
    ) -> None:
        self.shown = Shown(service)
        self._api, self._name, self._domain, self._server, self._changed = api, name, domain, server, changed
        self._phase = phase
        self._moved: dict[str, object] = {}
        """What was known of each Redis node when it last made a difference."""
        self._closely_until = -inf
        self._again = asyncio.Event()

    def decided(self, node: NodeAgent) -> None:
        """Look closely for a while, if something has changed that may show in DNS, or is about to."""
        facts, decision = node.facts, node.decision
        catalog = facts.catalog.entries if facts and facts.catalog else ()
        failing_over = frozenset(s.promoting for s in facts.sentinels if s.promoting is not None) if facts else ()
        moved = (decision and (decision.verdict, decision.claim), failing_over, catalog)
        if moved != self._moved.get(node.name):
            self._moved[node.name] = moved
            self.look_closely()

    def look_closely(self) -> None:
        """Ask now, and every few milliseconds for a while."""
        self._closely_until = clock() + TRANSITION
        self._again.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        domain = self._domain or await self._learned()
        asker = Asker(self._name(domain), self._server, TIMEOUT, domain)
        try:
            while True:
                self._again.clear()
                asked, named = clock(), await asker.ask()
                self._take_in(None if named is None else tuple(sorted(named)))
                now = clock()
                calm = now >= self._closely_until
                await set_within(
                    self._again if calm else asyncio.Event(),
                    until_tick(CALM, self._phase) if calm else asked + CLOSELY - now,
                )
        finally:
            asker.close()

    def _take_in(self, masters: Masters | None) -> None:
        at = clock()
        if self.shown.answered(masters, at):
            self.look_closely()
            self._changed(self.shown.service, masters, at)

    async def _learned(self) -> str:
        """The domain that the Consul agent tells; Consul's usual one to whom it does not."""
        while True:
            try:
                return domain_in(await self._api.agent_self()) or USUAL
            except ConsulDenied:
                return USUAL
            except ConsulError:
                self._take_in(None)
                await asyncio.sleep(until_tick(CALM, self._phase))
