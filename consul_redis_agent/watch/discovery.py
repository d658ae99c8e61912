"""Which Sentinels there are: from the configuration, from ``__sentinel__:hello`` on a Redis node, from each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

from consul_redis_agent.clock import clock, until_tick
from consul_redis_agent.decide.facts import Address, Node, Role, Sentinel
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.sentinels import HELLO, SentinelWatch, hello

HELLO_PERIOD = 2.0
"""Seconds between two hellos of one Sentinel (``SENTINEL_PUBLISH_PERIOD`` in sentinel.c)."""
SEARCH_TIME = 2.5 * HELLO_PERIOD
"""Seconds after which no hello means that no Sentinel watches this node."""
LIMIT = 64
"""Sentinels in all; a quorum has three to seven. A node that lists thousands is not to be believed."""


class Sentinels:
    """All Sentinels of the process, each watched once whoever needs it; calls ``changed`` with the names that one tells news of."""

    def __init__(
        self,
        hosts: tuple[Address, ...],
        link: Callable[[Address, Callable[[], None]], Link],
        changed: Callable[[Collection[str]], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.watches: dict[Address, SentinelWatch] = {}
        self._link, self._changed, self._group = link, changed, tasks
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._names: set[str] = set()
        self.configured = frozenset(hosts)
        for address in hosts:
            self.add(address)

    def add(self, address: Address, run_id: str = "") -> None:
        """Begin to watch a Sentinel, unless it is watched already, perhaps at another address."""
        if address in self.watches or (run_id and any(w.id == run_id for w in self.watches.values())):
            return
        if len(self.watches) >= LIMIT:
            return
        watch = SentinelWatch(address, run_id, lambda closed: self._link(address, closed), self._heard)
        self.watches[address] = watch
        for name in self._names:
            watch.watch(name)
        self._tasks[address] = self._group.create_task(watch.run())

    def watch(self, master_name: str) -> None:
        """Ask every Sentinel about this master from now on."""
        if master_name not in self._names:
            self._names.add(master_name)
            for watch in self.watches.values():
                watch.watch(master_name)

    def facts(self, master_name: str) -> tuple[Sentinel, ...]:
        """The word of each Sentinel on this master."""
        facts = [w.facts[master_name] for w in self.watches.values() if master_name in w.facts]
        listed = {address: run_id for s in facts for run_id, address in s.peers.items()}
        # One that does not tell its own id (before Redis 6.2, or its ACL refuses) is known by it to the others.
        return tuple(replace(s, id=listed.get(s.address, s.id)) if s.id == str(s.address) else s for s in facts)

    def find_name(self, node: Node) -> str | None:
        """The master name under which the Sentinels know this node, or the master that it follows."""
        for watch in self.watches.values():
            for name, (address, run_id) in watch.masters.items():
                if run_id == node.run_id or (node.role is Role.REPLICA and address == node.follows):
                    return name
        return None

    def look_for_names(self, *, wanted: bool) -> None:
        """Have the Sentinels list all their masters, as long as a master name is missing."""
        for watch in self.watches.values():
            if watch.find_names != wanted:
                watch.find_names = wanted
                watch.look_again()

    def look_again(self) -> None:
        """Look everything up now."""
        for watch in self.watches.values():
            watch.look_again()

    def attend(self, sentinel_id: str, name: str, since: float) -> None:
        """Look one Sentinel's word on a master up often, and at once if it is of before ``since``."""
        for fact in self.facts(name):
            if fact.id == sentinel_id:
                watch = self.watches[fact.address]
                watch.attend(name)
                if fact.at < since:
                    watch.ask_anew(name, since)

    def ask_leaders(self, name: str, since: float) -> None:
        """Ask at once who leads a failover of this master; ``since`` is when that became worth asking."""
        for watch in self.watches.values():
            if name in watch.facts and watch.facts[name].selection:
                watch.ask_anew(name, since)

    @property
    def reached(self) -> bool:
        """Whether any Sentinel answers."""
        return any(not s.error for w in self.watches.values() for s in w.facts.values())

    async def fresh(self) -> None:
        """Return once every Sentinel has been asked anew, with an answer or without."""
        await asyncio.gather(*(w.fresh() for w in list(self.watches.values())))

    def _heard(self, names: Collection[str]) -> None:
        facts = [watch.facts[name] for watch in self.watches.values() for name in names if name in watch.facts]
        for fact in facts:
            for run_id, address in fact.peers.items():
                self.add(address, run_id)
        self._drop_doubles()
        self._changed(names)

    def _drop_doubles(self) -> None:
        """One Sentinel found at two addresses stays at the configured one, else at the one that was there first."""
        seen: set[str] = set()
        for address in sorted(self.watches, key=lambda a: a not in self.configured):
            watch = self.watches[address]
            if watch.id in seen:
                del self.watches[address]
                self._tasks.pop(address).cancel()
            elif watch.id != str(address):
                seen.add(watch.id)

    def forget(self, known: frozenset[str]) -> None:
        """Stop to watch Sentinels that are out of reach and that nobody lists any more; configured ones stay."""
        for address, watch in list(self.watches.items()):
            silent = watch.looked and all(s.error for s in watch.facts.values())
            if known and silent and address not in self.configured and watch.id not in known:
                del self.watches[address]
                self._tasks.pop(address).cancel()


class HelloWatch:
    """Listens for Sentinels on the own Redis node while ``wanted()``; tells each one to ``heard``."""

    def __init__(
        self, link: Callable[[], Link], wanted: Callable[[], bool], heard: Callable[[Address, str, str], None]
    ) -> None:
        self._link, self._wanted, self._heard = link(), wanted, heard
        self._began: float | None = None
        self.any = False
        """Whether a hello was ever heard."""

    @property
    def over(self) -> bool:
        """Whether it has listened long enough for silence to mean that no Sentinel watches this node."""
        return self._began is not None and clock() - self._began > SEARCH_TIME

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            while True:
                if not self._wanted():
                    await self._link.close()
                    self._began = None
                    await asyncio.sleep(until_tick(HELLO_PERIOD))
                    continue
                with suppress(Unanswered):  # Redis is down (its own watch says so), or no Sentinel speaks
                    await self._listen()
                    continue
                await asyncio.sleep(HELLO_PERIOD / 4)
        finally:
            await self._link.close()

    async def _listen(self) -> None:
        if not self._link.open:
            await self._link.ask(("SUBSCRIBE", HELLO))
            self._began = self._began or clock()
        address, run_id, name = await hello(self._link, SEARCH_TIME)
        self.any = True
        self._heard(address, run_id, name)
