"""The witness of a planned move: DNS, every Redis node and every Sentinel, looked at every few milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from consul_redis_agent.clock import cancelling, clock, set_within
from consul_redis_agent.commands.demo.witness import Timeline
from consul_redis_agent.commands.failover.dns import Asker
from consul_redis_agent.decide.facts import Address, Node, Role, Sentinel
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.redis_node import node, offset, parse_info, refused
from consul_redis_agent.watch.sentinels import SentinelWatch

DNS_EVERY = 0.003
"""Seconds between an answer of DNS and the next question."""
DNS_TIMEOUT = 1.0
"""Seconds after which a question counts as unanswered; a busy server is late, and not silent."""
NODE_EVERY = 0.004
"""Seconds between an answer of a Redis node and the next question."""
AGAIN = 0.005
"""Seconds until a node, or DNS, is asked again that did not answer."""
ATTEND_EVERY = 0.5
"""Seconds between two requests to look at a Sentinel often; each look-up is also made at once after an event."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a node said last: itself, and how much of the replication stream it has."""

    node: Node
    offset: int


class Watch:
    """Watches until the ``async with`` block ends. Every time is of :func:`consul_redis_agent.clock.clock`.

    ``nodes`` and ``sentinels`` make the connections; ``master_name`` is what the Sentinels are asked about; an address
    in an answer of DNS is turned into Sentinel's by ``aliases``.
    """

    def __init__(
        self,
        name: str,
        server: Address,
        nodes: Mapping[Address, Link],
        sentinels: Mapping[Address, Callable[[Callable[[], None]], Link]],
        master_name: str,
        aliases: Mapping[Address, Address],
    ) -> None:
        self.dns: Timeline[Address] = Timeline()
        """Whom DNS named; None while it did not answer."""
        self.answers = 0
        """How many answers DNS has given."""
        self.resolution = 0.0
        """The longest time between two of them in seconds: what was shorter may have gone unseen."""
        self.nodes: dict[Address, Look | None] = dict.fromkeys(nodes)
        """What each node said last; None while it does not answer."""
        self.masters: dict[Address, float] = {}
        """When each node that says master was first seen to, since it last said something else."""
        self._name, self._server, self._links, self._aliases = name, server, nodes, aliases
        self._master_name = master_name
        self._sentinels = [SentinelWatch(a, link, self._tell_of) for a, link in sentinels.items()]
        for sentinel in self._sentinels:
            sentinel.watch_only({master_name})
        self._news = asyncio.Event()
        self._looked: set[Address] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin; returns when everything was looked at once."""
        work = [self._watch_dns(), *(self._watch_node(address) for address in self._links), self._attend()]
        self._tasks = [asyncio.create_task(one) for one in (*work, *(s.run() for s in self._sentinels))]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._news.set())
        await self.until(self._has_seen_all, 5.0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def sentinels(self) -> list[Sentinel]:
        """The last word of each Sentinel."""
        return [sentinel.facts[self._master_name] for sentinel in self._sentinels]

    @property
    def selected(self) -> str:
        """Run id of the node that a Sentinel is promoting; empty as long as none has chosen one."""
        return next((s.promoting for s in self.sentinels if s.promoting), "")

    def names(self, address: Address) -> bool:
        """Whether DNS names this node now, and nobody else."""
        return self.dns.last == frozenset({address})

    def role(self, address: Address) -> Role | None:
        """What the node says that it is; None while it does not answer."""
        look = self.nodes.get(address)
        return look.node.role if look else None

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until the condition is true, which is asked after every look; returns whether it is.

        Raises what ended a part of the watch: what is not seen any more cannot be waited for.
        """
        ends = clock() + seconds
        while True:
            for task in self._tasks:
                if task.done() and not task.cancelled():
                    task.result()
            if condition():
                return True
            if (left := ends - clock()) <= 0:
                return False
            self._news.clear()
            await set_within(self._news, left)

    def _has_seen_all(self) -> bool:
        seen = self.dns.up_to > 0 and self._looked >= self._links.keys()
        return seen and all(fact.looked for fact in self.sentinels)

    def _tell_of(self, names: Iterable[str]) -> None:
        self._news.set()

    async def _watch_dns(self) -> None:
        before = 0.0
        asker = Asker(self._name, self._server, DNS_TIMEOUT)
        try:
            while True:
                asked = clock()
                named = await asker.ask()
                if cancelling():
                    raise asyncio.CancelledError  # on Python 3.11, what dnspython awaits may swallow it
                now = clock()
                if named is None:
                    self.dns.note(asked, None)
                else:
                    self.dns.note(now, frozenset(self._aliases.get(address, address) for address in named))
                    self.answers += 1
                    self.resolution = max(self.resolution, now - before if before else 0.0)
                    before = now
                self._news.set()
                await asyncio.sleep(DNS_EVERY if named is not None else AGAIN)
        finally:
            asker.close()

    async def _watch_node(self, address: Address) -> None:
        link = self._links[address]
        try:
            while True:
                try:
                    look = await _ask(link, self.nodes[address])
                except Unanswered:
                    look = None
                self.nodes[address] = look
                self._looked.add(address)
                if look and look.node.role is Role.MASTER:
                    self.masters.setdefault(address, clock())
                elif look:
                    self.masters.pop(address, None)
                self._news.set()
                await asyncio.sleep(NODE_EVERY if look else AGAIN)
        finally:
            await link.close()

    async def _attend(self) -> None:
        while True:
            for sentinel in self._sentinels:
                sentinel.attend(self._master_name)
            await asyncio.sleep(ATTEND_EVERY)


async def _ask(link: Link, before: Look | None) -> Look:
    """What the node says of itself. Raises Unanswered.

    A replica is asked for its replication alone: which life of a node it is counts where it says master.
    """
    if before and before.node.role is Role.REPLICA:
        began = clock()
        (replication,) = await link.ask(("INFO", "replication"))
        info = parse_info(replication)
        if info.get("role") != Role.MASTER:
            return Look(node({"run_id": before.node.run_id, **info}, began), offset(info))
    began = clock()
    server, replication = await link.ask(("INFO", "server"), ("INFO", "replication"))
    for answer in (server, replication):
        if isinstance(answer, Exception):
            raise refused(answer)
    info = {**parse_info(server), **parse_info(replication)}
    return Look(node(info, began), offset(info))
