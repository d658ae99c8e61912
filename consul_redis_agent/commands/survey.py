"""One look at a Redis node and at all Sentinels, with the eyes of the agent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from consul_redis_agent.clock import clock
from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.decide.facts import Address, Facts, Node, Role, Sentinel
from consul_redis_agent.decide.identity import is_loopback
from consul_redis_agent.decide.members import counted
from consul_redis_agent.decide.memory import NOTHING
from consul_redis_agent.decide.sentinels import majority, of_group, reached
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.text import plain
from consul_redis_agent.watch.discovery import SEARCH_TIME
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.lookout import sentinel_link, where
from consul_redis_agent.watch.redis_node import node, parse_info, refused
from consul_redis_agent.watch.sentinels import HELLO, SentinelWatch, hello

LOOK_LIMIT = 5.0
"""Seconds for everything that is asked of one Sentinel; its own timeouts are shorter."""
ASK_LIMIT = 15.0
"""Seconds after which no further Sentinels are asked that others have named."""
SENTINELS = 64
"""How many are asked."""
UNCHECKED = "asked without the password, since most Sentinels do not list it"

Masters = Mapping[str, tuple[Address, str]]


@dataclass(frozen=True, slots=True)
class Survey:
    """What all Sentinels say about one master name."""

    master_name: str = ""
    """Empty where it was not found."""
    sentinels: tuple[Sentinel, ...] = ()
    """Those of the group, in reach or not."""
    masters: Mapping[Address, Masters] = field(default_factory=dict)
    """By Sentinel: every master that it monitors, with address and run id."""
    others: tuple[Sentinel, ...] = ()
    """Those that watch other nodes under the same master name: not counted."""
    checked: frozenset[Address] = frozenset()
    """Those that were given the login: configured, heard of on the own node, or listed by most of those that answer."""
    left_out: int = 0
    """How many addresses that Sentinels list were not asked: too many, or too late."""

    configured: frozenset[Address] = frozenset()
    """``sentinel.hosts``."""

    @property
    def known(self) -> int:
        """How many Sentinels there are, in reach or not, as the agent counts them."""
        facts = Facts(clock(), sentinels=(*self.sentinels, *self.others), configured=self.configured)
        known: frozenset[str] = counted(facts, NOTHING, self.sentinels)["known"]
        return len(known) or len(self.sentinels)

    @property
    def need(self) -> int:
        """How many make a majority."""
        return majority(self.known)

    @property
    def epoch(self) -> int:
        """The newest epoch that a majority has reached, as the agent counts; one that is ahead silences nobody."""
        return reached((s.epoch for s in self.sentinels if s.votes), self.need)

    @property
    def voters(self) -> tuple[Sentinel, ...]:
        """Those whose word counts: in reach, not in TILT, and not behind the majority."""
        return tuple(s for s in self.sentinels if s.votes and s.epoch >= self.epoch)

    @property
    def master(self) -> Address | None:
        """Whom a majority names."""
        names = [s.master for s in self.voters if s.master]
        return next((name for name in names if names.count(name) >= self.need), None)

    @property
    def master_run_id(self) -> str:
        """The run id of that node, as far as a Sentinel knows it."""
        return next(
            (s.run_ids.get(self.master, "") for s in self.voters if self.master and s.master == self.master), ""
        )

    def names(self, address: Address, run_id: str) -> bool:
        """Whether a majority names this node, by address or, behind NAT and hostnames, by run id."""
        return self.master is not None and (self.master == address or (run_id != "" and self.master_run_id == run_id))


async def look_at_node(link: Link) -> Node:
    """What a node says of itself. Raises Unanswered or Denied; closes the connection."""
    began = clock()
    try:
        (answer,) = await link.ask(("INFO",))
    finally:
        await link.close()
    if isinstance(answer, Exception):
        raise refused(answer)
    return node(parse_info(answer), began)


async def survey(
    config: Config,
    redis: RedisConfig,
    listen: Iterable[Link],
    own: Node | None = None,
    masters_at: Iterable[Address] = (),
) -> Survey:
    """Ask each Sentinel that can be found once: configured, heard of on the nodes of ``listen``, or known to another one.

    ``own`` is the node whose master name is looked for, where the configuration names none; without it, the name of the
    master at one of these addresses. Never raises, and ends: after :data:`ASK_LIMIT` and one more round at most.
    """
    hosts, name = config.sentinel.hosts, redis.master_name or ""
    if config.sentinel.mode == "off":
        return Survey(name)
    if hosts and not name:
        name = _find_name(await _all_masters(config, hosts), own, frozenset(masters_at))
    if not hosts or not name:
        heard = await _listen(listen, name)
        if heard:
            hosts, name = hosts or (heard[0],), name or heard[1]
    facts: dict[Address, Sentinel] = {}
    masters: dict[Address, Masters] = {}
    asking, checked, rest = [*hosts], {*hosts}, 0
    ends = clock() + ASK_LIMIT
    while asking:
        looks = await asyncio.gather(*(_look(config, address, name, login=address in checked) for address in asking))
        for address, (fact, monitored) in zip(asking, looks, strict=True):
            facts[address], masters[address] = fact, monitored
        listed = _listed(facts)
        checked |= {address for address, share in listed.items() if share > 1 / 2}
        room = max(0, SENTINELS - len(facts)) if clock() < ends else 0
        asking, rest = [*listed][:room], len([*listed][room:])
    found = _sorted(name, facts.values(), masters, redis, own)
    return replace(found, checked=frozenset(checked), left_out=rest, configured=frozenset(config.sentinel.hosts))


def _listed(facts: Mapping[Address, Sentinel]) -> dict[Address, float]:
    """The Sentinels that were not asked yet, with the share of those that answer by which they are listed."""
    answering = [fact for fact in facts.values() if not fact.error]
    ids = {fact.id for fact in facts.values()}
    votes = Counter(
        address
        for fact in answering
        for run_id, address in fact.peers.items()
        if address not in facts and run_id not in ids
    )
    return {address: count / len(answering) for address, count in votes.most_common()}


def _sorted(
    name: str, facts: Iterable[Sentinel], masters: Mapping[Address, Masters], redis: RedisConfig, own: Node | None
) -> Survey:
    """The Sentinels of the group that ``own`` is of, told from those of another one as the agent tells them."""
    listed = {address: run_id for s in facts for run_id, address in s.peers.items()}
    # One that does not tell its own id is known by it to the others, and must not be counted twice.
    known = [replace(s, id=listed.get(s.address, s.id)) if s.id == str(s.address) else s for s in facts]
    every = tuple(sorted(known, key=lambda s: s.address))
    reached_at = where(redis)
    usable = isinstance(reached_at, Address) and not is_loopback(reached_at.host)
    me = frozenset(a for a in (redis.announce, reached_at if usable else None) if isinstance(a, Address))
    ours = of_group(every, own.run_id if own else "", me)
    return Survey(name, ours, masters, tuple(s for s in every if s not in ours))


async def _look(config: Config, address: Address, name: str, *, login: bool = True) -> tuple[Sentinel, Masters]:
    """One Sentinel's word, and all masters that it monitors."""

    def link(closed: Callable[[], None]) -> Link:
        return sentinel_link(config.sentinel, address, closed, login=login)

    watch = SentinelWatch(address, link, lambda _: None)
    watch.watch_only({name, ""})
    task = asyncio.create_task(watch.run())
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_LIMIT):
                await watch.fresh()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    fact = watch.facts.get(name) or Sentinel(
        clock(), watch.id, address, error=watch.error or "not asked about any master"
    )
    if fact.error and config.sentinel.secured and not login:
        fact = replace(fact, error=f"{UNCHECKED}: {fact.error}")
    return fact, dict(watch.masters)


async def _all_masters(config: Config, hosts: Iterable[Address]) -> list[Masters]:
    return [masters for _, masters in await asyncio.gather(*(_look(config, host, "") for host in hosts))]


def _find_name(known: Iterable[Masters], own: Node | None, masters_at: frozenset[Address]) -> str:
    """The name under which the Sentinels know the node or the one it follows; without a node, the one of a master at one of
    these addresses, or the only one there is.
    """
    names = {name: found for masters in known for name, found in masters.items()}
    for name, (address, run_id) in names.items():
        if own and (run_id == own.run_id or (own.role is Role.REPLICA and own.follows == address)):
            return name
        if own is None and address in masters_at:
            return name
    return next(iter(names)) if len(names) == 1 else ""


async def _listen(links: Iterable[Link], name: str) -> tuple[Address, str] | None:
    """The first Sentinel that speaks (of ``name``, if given) on any of these nodes, and its master name."""
    tasks = [asyncio.create_task(_listen_on(link, name)) for link in links]
    try:
        for first in asyncio.as_completed(tasks):
            with suppress(Unanswered, TimeoutError):
                return await first
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return None


async def _listen_on(link: Link, name: str) -> tuple[Address, str]:
    try:
        async with asyncio.timeout(SEARCH_TIME):
            (subscribed,) = await link.ask(("SUBSCRIBE", HELLO))
            if isinstance(subscribed, Exception):
                raise Unanswered(f"it refuses SUBSCRIBE: {plain(str(subscribed))}")
            while True:
                address, _, found = await hello(link, SEARCH_TIME)
                if name in ("", found):
                    return address, found
    finally:
        await link.close()
