"""The connections to Sentinels, shared by address, and the hellos by which Sentinels are found.

Who is spoken to is decided for each group by itself (:mod:`~consul_redis_agent.decide.members`); groups do not know of each
other, but where two speak to one Sentinel, one connection serves both.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from redis.exceptions import ResponseError

from consul_redis_agent.clock import clock, set_within
from consul_redis_agent.decide.facts import Address, Node, Role, Sentinel
from consul_redis_agent.decide.members import HELLO_PERIOD, LIMIT
from consul_redis_agent.errors import Denied, Unanswered
from consul_redis_agent.supervise import supervised
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.sentinels import HELLO, SentinelWatch, hello

SEARCH_TIME = 2.5 * HELLO_PERIOD
"""Seconds after which no hello means that no Sentinel watches this node."""
REFUSED = 5
"""Refused logins that are too many for a client or two: a Sentinel with a wrong password tries again every second."""
HEARD_FOR = 5 * HELLO_PERIOD
"""Seconds for which one hello counts."""

Where = tuple[Address, bool]
"""An address, and whether the password goes there."""


class SentinelLink(Protocol):
    """How a connection to a Sentinel is made, with the login or without."""

    def __call__(self, address: Address, closed: Callable[[], None], *, login: bool) -> Link: ...


@dataclass(slots=True)
class Group:
    """What one Redis node wants of the Sentinels: whom to speak to, about which master name."""

    changed: Callable[[], None]
    name: str = ""
    spoken: Mapping[Address, bool] = field(default_factory=dict)


class Sentinels:
    """All Sentinels of the process, each with one watch for all groups that speak to it at that address."""

    def __init__(self, link: SentinelLink, tasks: asyncio.TaskGroup) -> None:
        self._link, self._tasks = link, tasks
        self._watches: dict[Where, SentinelWatch] = {}
        self._running: dict[Where, asyncio.Task[None]] = {}
        self._groups: list[Group] = []

    def join(self, changed: Callable[[], None]) -> Group:
        """A group that speaks to nobody yet; ``changed`` is called when one of its Sentinels says something new."""
        group = Group(changed)
        self._groups.append(group)
        return group

    def leave(self, group: Group) -> None:
        """End what no other group needs."""
        self._groups.remove(group)
        self._mind()

    def speak(self, group: Group, name: str, spoken: Mapping[Address, bool]) -> None:
        """Ask these Sentinels about this master from now on ("": about all that they monitor), and no others."""
        if (group.name, group.spoken) != (name, spoken):
            group.name, group.spoken = name, dict(spoken)
            self._mind()

    def _mind(self) -> None:
        wanted: dict[Where, set[str]] = {}
        for group in self._groups:
            for where in group.spoken.items():
                wanted.setdefault(where, set()).add(group.name)
        for where in self._watches.keys() - wanted.keys():
            del self._watches[where]
            self._running.pop(where).cancel()
        for where, names in wanted.items():
            if where not in self._watches:
                self._begin(where)
            self._watches[where].watch_only(names)

    def _begin(self, where: Where) -> None:
        address, login = where
        watch = SentinelWatch(
            address, lambda closed: self._link(address, closed, login=login), lambda names: self._heard(where, names)
        )
        self._watches[where] = watch
        self._running[where] = self._tasks.create_task(supervised(f"Sentinel {address}", watch.run, watch.over))

    def _of(self, group: Group) -> Iterator[SentinelWatch]:
        return (self._watches[where] for where in group.spoken.items())

    def facts(self, group: Group) -> tuple[Sentinel, ...]:
        """The word of each of its Sentinels on its master."""
        if not group.name:
            return ()
        facts = [watch.facts[group.name] for watch in self._of(group)]
        listed = {address: run_id for s in facts for run_id, address in s.peers.items()}
        # One that does not tell its own id (before Redis 6.2, or its ACL refuses) is known by it to the others.
        known = [replace(s, id=listed.get(s.address, s.id)) if s.id == str(s.address) else s for s in facts]
        return tuple(known) if len({s.id for s in known}) == len(known) else tuple(_told_apart(known))

    def missed(self, group: Group) -> dict[Address, int]:
        """How many looks at each of its Sentinels have failed, since each is watched."""
        watches = (self._watches.get(where) for where in group.spoken.items())  # none where its work has ended
        return {watch.address: watch.missed for watch in watches if watch}

    def find_name(self, group: Group, node: Node) -> str | None:
        """The master name under which its Sentinels know this node, or the master that it follows."""
        for watch in self._of(group):
            for name, (address, run_id) in watch.masters.items():
                if run_id == node.run_id or (node.role is Role.REPLICA and address == node.follows):
                    return name
        return None

    def attend(self, group: Group, sentinel_id: str, since: float, *, closely: bool = False) -> None:
        """Look one Sentinel's word on the group's master up often, and at once if it is of before ``since``."""
        for fact in self.facts(group):
            if fact.id == sentinel_id:
                watch = self._watches[fact.address, group.spoken[fact.address]]
                watch.attend(group.name, closely=closely)
                if fact.at < since:
                    watch.ask_anew(group.name, since)

    def attend_all(self, group: Group) -> None:
        """Look the word of each of its Sentinels up closely for a moment."""
        for watch in self._of(group):
            if group.name:
                watch.attend(group.name, closely=True)

    def ask_leaders(self, group: Group, since: float) -> None:
        """Ask at once who leads a failover of the group's master; ``since`` is when that became worth asking."""
        for watch in self._of(group):
            if group.name and watch.facts[group.name].selection:
                watch.ask_anew(group.name, since)

    async def fresh(self, group: Group) -> None:
        """Return once each of its Sentinels has been asked anew, with an answer or without."""
        await asyncio.gather(*(watch.fresh() for watch in list(self._of(group))))

    def _heard(self, where: Where, names: Collection[str]) -> None:
        for group in self._groups:
            if where in group.spoken.items() and (not group.name or group.name in names):
                group.changed()


def _told_apart(sentinels: Iterable[Sentinel]) -> Iterator[Sentinel]:
    """Each id once: one Sentinel that is reached at two addresses stays at the first that answers.

    Two processes with one id, as a copied configuration file makes them, ignore each other: neither has a vote.
    """
    first: dict[str, Sentinel] = {}
    for sentinel in sorted(sentinels, key=lambda s: bool(s.error)):
        other = first.setdefault(sentinel.id, sentinel)
        if other is sentinel or sentinel.error:
            continue
        if other.process and sentinel.process and other.process != sentinel.process:
            error = f"its id {sentinel.id} is not unique: {other.address} and {sentinel.address} have it, from a copied file"
            first[sentinel.id] = replace(other, error=error)
    yield from first.values()


class HelloWatch:
    """Listens for Sentinels on the own Redis node while ``wanted()``; calls ``changed`` with each that is new."""

    def __init__(
        self,
        link: Callable[[], Link],
        wanted: Callable[[], bool],
        changed: Callable[[], None],
        refusals: Callable[[], int],
    ) -> None:
        self._link, self._wanted, self._changed, self._refusals = link(), wanted, changed, refusals
        self._began: float | None = None
        self._again = asyncio.Event()
        self._refused_before = 0
        self._said: dict[tuple[str, Address, str], float] = {}
        self.every_name: frozenset[str] = frozenset()
        """All master names that were ever heard."""
        self.error = ""
        """Why no hello can be heard, though there may be some."""

    @property
    def over(self) -> bool:
        """Whether it has listened long enough for silence to mean that no Sentinel watches this node."""
        return self._began is not None and not self.refused and clock() - self._began > SEARCH_TIME

    @property
    def refused(self) -> int:
        """How many logins Redis has refused meanwhile, where that is so often that Sentinels may be among them."""
        if self._began is None or self._said:
            return 0
        refused = self._refusals() - self._refused_before
        return refused if refused >= max(REFUSED, (clock() - self._began) / HELLO_PERIOD) else 0

    def names(self) -> list[str]:
        """The master names that were heard, the one of most Sentinels first; empty until a whole hello period is over."""
        if self._began is None or clock() - self._began <= HELLO_PERIOD:
            return []
        ids = Counter(name for name, _, _ in self._lately())
        self.every_name = self.every_name | ids.keys()
        return sorted(ids, key=lambda name: (-ids[name], name))

    def heard(self, name: str) -> tuple[Address, ...]:
        """The Sentinels that were lately heard of this master, likewise."""
        if name not in self.names():
            return ()
        return tuple(sorted({address for of, address, _ in self._lately() if of == name}))[:LIMIT]

    def _lately(self) -> list[tuple[str, Address, str]]:
        return [who for who, at in self._said.items() if clock() - at < HEARD_FOR]

    def look_again(self) -> None:
        """See at once whether it is wanted."""
        self._again.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            while True:
                self._again.clear()
                if not self._wanted():
                    await self._link.close()
                    self._began, self.error = None, ""
                    await set_within(self._again, HELLO_PERIOD)
                    continue
                try:
                    await self._listen()
                except Denied as error:
                    self.error = f"Redis refuses to let this login hear Sentinels' hellos ({error}): allow it +subscribe and &{HELLO}"
                    self._changed()
                    await set_within(self._again, SEARCH_TIME)
                except Unanswered:  # Redis is down (its own watch says so), or no Sentinel speaks
                    self._changed()
                    await set_within(self._again, HELLO_PERIOD / 4)
        finally:
            await self._link.close()

    async def _listen(self) -> None:
        if not self._link.open:
            (answer,) = await self._link.ask(("SUBSCRIBE", HELLO))
            if isinstance(answer, ResponseError):
                raise Denied(str(answer))
            self.error = ""
            if self._began is None:
                self._began, self._refused_before = clock(), self._refusals()
                asyncio.get_running_loop().call_later(HELLO_PERIOD, self._changed)
        address, run_id, name = await hello(self._link, SEARCH_TIME)
        now = clock()
        who = (name, address, run_id)
        if who not in self._said and len(self._said) >= 4 * LIMIT:  # whoever publishes that many is none
            self._said = {said: at for said, at in self._said.items() if now - at < HEARD_FOR}
            if len(self._said) >= 4 * LIMIT:
                return
        self._said[who] = now
        self._changed()
