"""The Sentinels: one watch each, shared by all Redis nodes of the process.

Every Sentinel is subscribed to, since only the leader of a failover tells of its election and its choice. An event
only says "look again now"; what the look-up then shows is the fact. Events that were lost cost time, not truth.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from math import inf
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_never, wait_exponential_jitter

from consul_redis_agent.clock import clock, until_tick
from consul_redis_agent.decide.claim import EPOCH_LIMIT
from consul_redis_agent.decide.facts import Address, Selection, Sentinel, Unlisted, whole
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.marked import event
from consul_redis_agent.text import is_word, plain
from consul_redis_agent.watch import reply
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.looks import Looks
from consul_redis_agent.watch.redis_node import parse_info

log = logging.getLogger(__name__)

PERIOD = 2.0
"""Seconds between two look-ups while nothing happens: Sentinel's own hello period."""
ATTENTION = 0.25
"""Seconds between two look-ups of the leader behind an early claim, for as long as a decision asks for them."""
ATTENDED = 1.5
"""Seconds for which one decision asks for them; it is made anew at least once a second."""
CLOSELY = 0.02
"""Seconds between two look-ups while every millisecond counts: a failover is to be asked for, or a promotion awaited."""
AT_LEAST = 0.25
"""Seconds for which one decision asks for those: each of their answers may bring another decision."""
FULL_EVERY = 15
"""Every so many quiet look-ups also the lists of replicas and Sentinels are read again."""
AT_ONCE = 200
"""Questions that are sent before their answers are read, and events that are taken in before others have their turn."""
QUIET = ("GET-MASTER-ADDR-BY-NAME", "MASTER")
WHOLE = (*QUIET, "REPLICAS", "SENTINELS")
BACKOFF = wait_exponential_jitter(multiplier=0.05, exp_base=2.0, max=0.5, jitter=0.1)
HELLO = "__sentinel__:hello"
DEAF = 10.0
"""Seconds until a refused subscription is tried again: the right may be given at any time."""
QUORUM_LIMIT = 1000
LINK_LOST = 10.0
"""Seconds since a replica lost its master for which it could be promoted: the master may just have died."""
TIME_LIMIT = 10**12
"""Milliseconds: thirty years."""
PEERS, REPLICAS, MASTERS = 64, 256, 1024
"""Sentinels, replicas and masters that are taken from one answer. A quorum has three to seven, a group a handful."""


class SentinelWatch(Looks):
    """One Sentinel: its word on each master name of interest, in ``facts``.

    ``changed`` is called with the names that it says something new about.
    """

    def __init__(
        self,
        address: Address,
        link: Callable[[Callable[[], None]], Link],
        changed: Callable[[Collection[str]], None],
    ) -> None:
        super().__init__(PERIOD, BACKOFF)
        self.address = address
        self.id = str(address)
        self.process = ""
        """The run id of the Sentinel's process; ``SENTINEL MYID`` is in its configuration file, which may be a copy."""
        self.facts: dict[str, Sentinel] = {}
        self.masters: dict[str, tuple[Address, str]] = {}
        """All master names that it monitors, with address and run id; kept only while names are being looked for."""
        self.find_names = False
        self.error = ""
        """Why it did not answer the last time that it did not."""
        self.missed = 0
        """How many looks have failed since the watch began."""
        self.deaf = ""
        """Why its events cannot be heard."""
        self._commands = link(self.look_again)
        self._events = link(self.look_again)
        self._changed = changed
        self._shown: dict[str, Sentinel] = {}
        self._full = True
        self._news: set[str] = set()
        """Master names that there was an event about."""
        self._attended: dict[str, float] = {}
        """Until when each master name is looked up often."""
        self._closely = -inf
        """Until when the looks follow each other closely."""
        self._tell_anyway: set[str] = set()
        self._began = -inf
        """When the last look was begun."""
        self._due = 0.0
        self._quiet_looks = 0
        self._failovers = Failovers()
        self._read_again: dict[str, int] = {}
        """How often the lists of a master were read since a run id is missing in them."""
        self._left_out: set[tuple[str, str]] = set()
        """The lists that were too long when they were read last, by master name and kind."""

    def look_again(self, name: str | None = None) -> None:
        """Look everything up now rather than at the next period, or everything about one master."""
        if name is None:
            self._full = True
        else:
            self._news.add(name)
        super().look_again()

    def attend(self, name: str, *, closely: bool = False) -> None:
        """Look a master up often for a while, or closely for a moment."""
        now = clock()
        news = now > self._attended.get(name, -inf) or (closely and now > self._closely)
        self._attended[name] = now + ATTENDED
        if closely:
            self._closely = now + AT_LEAST
        if news:
            super().look_again()

    def ask_anew(self, name: str, since: float) -> None:
        """Look a master up, unless a look begun at ``since`` or later will tell; call ``changed`` whatever is seen."""
        self._tell_anyway.add(name)
        self.attend(name)
        if self._began < since:
            super().look_again()

    def watch_only(self, names: Collection[str]) -> None:
        """Ask about these masters from now on, and no others; "" is about all that the Sentinel monitors."""
        self.find_names = "" in names
        for name in self.facts.keys() - names:
            del self.facts[name]
        missing = set(names) - self.facts.keys() - {""}
        for name in missing:
            self.facts[name] = Sentinel(
                clock(), self.id, self.address, self.process, error="not looked at yet", looked=False
            )
        if missing or (self.find_names and not self.masters):
            self.look_again()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look_ups())
                tasks.create_task(self._subscription())
        finally:
            self.over()

    async def _look_ups(self) -> None:
        try:
            await self.look_for_ever()
        finally:
            await self._commands.close()

    def _pause(self) -> float:
        pause, now = super()._pause(), clock()
        if now < self._closely:
            return CLOSELY
        return min(pause, ATTENTION) if any(now < until for until in self._attended.values()) else pause

    async def _look(self, began: float) -> None:
        self._began = began
        if not self._commands.open:
            answer, server = await self._commands.ask(("SENTINEL", "MYID"), ("INFO", "server"))
            if isinstance(answer, str) and (id_ := reply.word(answer, "the answer to SENTINEL MYID")):
                self.id = id_
            self.process = parse_info(server).get("run_id", "")[: reply.WORD_LIMIT] if isinstance(server, str) else ""
            self._full = True
        find_names = self.find_names  # may change while the answers are awaited
        wanted = self._wanted(began)
        commands: list[tuple[str, ...]] = [("SENTINEL", what, name) for name, whats in wanted.items() for what in whats]
        if find_names:
            commands.append(("SENTINEL", "MASTERS"))
        commands.append(("INFO", "sentinel"))
        answers: list[Any] = []
        for first in range(0, len(commands), AT_ONCE):  # each with a deadline of its own
            answers += await self._commands.ask(*commands[first : first + AT_ONCE])
        info = answers.pop()
        masters = _masters(answers.pop()) if find_names else {}
        found = {name for name, known in masters.items() if self.masters.get(name) != known}
        self.masters = masters
        tilt = isinstance(info, str) and "sentinel_tilt:1" in info.split("\r\n")
        rest = iter(answers)
        for name, whats in wanted.items():
            address, master, *listed = islice(rest, len(whats))
            if name in self.facts:  # it may not be asked about any more
                self.facts[name] = self._fact(name, began, address, master, listed, tilt=tilt)
        self._show(found)

    def _wanted(self, now: float) -> dict[str, tuple[str, ...]]:
        """What to ask about each master: between two periods only about those that there was an event about."""
        full, self._full = self._full or self._quiet_looks >= FULL_EVERY, False
        news, self._news = self._news & self.facts.keys(), set()
        self._attended = {name: until for name, until in self._attended.items() if now < until}
        if not full and now < self._due and (news or self._attended):
            return dict.fromkeys(self._attended.keys() & self.facts.keys(), QUIET) | dict.fromkeys(news, WHOLE)
        self._due = now + until_tick(PERIOD)
        self._quiet_looks = 0 if full else self._quiet_looks + 1
        return {name: WHOLE if full or name in news or self._lacks(name) else QUIET for name in self.facts}

    def _lacks(self, name: str) -> bool:
        """Whether its lists have to be read again: after a failover Sentinel knows no run id before that node's first INFO."""
        if "" not in self.facts[name].run_ids.values():
            self._read_again.pop(name, None)
            return False
        self._read_again[name] = self._read_again.get(name, 0) + 1
        return self._read_again[name] <= FULL_EVERY  # one that is down for good stays without

    def _fact(self, name: str, at: float, address: Any, master: Any, listed: list[Any], *, tilt: bool) -> Sentinel:
        for answer in (address, master, *listed):
            if isinstance(answer, ResponseError):
                denied, said = isinstance(answer, NoPermissionError), plain(str(answer))
                error = f"refuses: {said}" if denied else f"does not monitor {name!r} ({said})"
                return Sentinel(at, self.id, self.address, self.process, error=error, tilt=tilt)
        if address is None:
            return Sentinel(at, self.id, self.address, self.process, error=f"does not monitor {name!r}", tilt=tilt)
        named, fields, what = _named(address), reply.pairs(master, "SENTINEL MASTER"), "SENTINEL MASTER"
        epoch = reply.number(fields.get("config-epoch"), f"config-epoch of {what}", EPOCH_LIMIT)
        before = self.facts[name]
        flags = reply.part(fields, "flags", what).split(",")
        down, failing_over = "s_down" in flags or "o_down" in flags, "failover_in_progress" in flags
        since = at if before.promoting is None else before.promoting_since
        told = replace(
            before,
            coordinated="coordinated_failover" in flags,
            disconnected="disconnected" in flags,
            down_after=_seconds(fields, "down-after-milliseconds"),
            failover_timeout=_seconds(fields, "failover-timeout"),
            switched=at - _seconds(fields, "role-reported-time"),
        )
        if not listed:
            quiet = replace(told, at=at, id=self.id, master=named, epoch=epoch, tilt=tilt)
            quiet = replace(quiet, down=down, promoting=(before.promoting or "") if failing_over else None)
            ended = replace(quiet, selection=None, unlisted=None)
            quiet = replace(quiet, promoting_since=since) if failing_over else ended
            if replace(quiet, at=before.at) != before or before.error:
                self.look_again(name)
            return quiet
        replicas = self._members(name, listed[0], "SENTINEL REPLICAS", REPLICAS)
        sentinels = self._members(name, listed[1], "SENTINEL SENTINELS", PEERS)
        known = reply.addresses((fields, *replicas), "SENTINEL MASTER and REPLICAS")
        return replace(
            told,
            at=at,
            id=self.id,
            process=self.process,
            error="",
            gone=False,
            looked=True,
            tilt=tilt,
            master=named,
            epoch=epoch,
            run_ids=dict(known),
            peers={run_id or str(place): place for place, run_id in reply.addresses(sentinels, "SENTINEL SENTINELS")},
            selection=self._failovers.selection(name, fields, replicas, clock()),
            quorum=whole(fields.get("quorum", ""), QUORUM_LIMIT) or 0,
            down=down,
            promoting=_promoted(replicas) if failing_over else None,
            promoting_since=since if failing_over else -inf,
            unlisted=before.unlisted if failing_over else None,
            lost=frozenset(place for place, _ in reply.addresses(filter(_is_lost, (fields, *replicas)), "a list")),
            usable=frozenset(place for place, _ in reply.addresses(filter(_is_usable, replicas), "SENTINEL REPLICAS")),
            reaches=sum(not _is_lost(s) for s in sentinels),
        )

    def _members(self, name: str, answer: Any, what: str, limit: int) -> list[dict[str, str]]:
        """The first of a list; says once that it is longer."""
        members, count = reply.each(answer, what, limit), len(answer)
        if count <= limit:
            self._left_out.discard((name, what))
        elif (name, what) not in self._left_out:
            self._left_out.add((name, what))
            log.warning(
                "Sentinel at %s lists %d members in %s of %r, and the first %d are taken: "
                "SENTINEL RESET there forgets those that do not exist",
                self.address,
                count,
                what,
                name,
                limit,
                extra=event("sentinel_lists_too_many", sentinel=str(self.address), count=count),
            )
        return members

    def _missed(self, error: Unanswered) -> None:
        now, self.error = clock(), str(error)
        self.missed += 1
        for name in self.facts:
            self.facts[name] = Sentinel(now, self.id, self.address, self.process, error=str(error), gone=error.gone)
        self._full = True
        self._show()

    def _show(self, found: Collection[str] = ()) -> None:
        """Tell of the names with another fact than before, and of those that were ``found``."""
        before, self._shown = self._shown, {name: replace(fact, at=0.0) for name, fact in self.facts.items()}
        told, self._tell_anyway = self._tell_anyway, set()
        if changed := {name for name, fact in self._shown.items() if before.get(name) != fact} | {*found} | told:
            self._changed(changed)

    async def _subscription(self) -> None:
        try:
            while True:
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(Unanswered), wait=BACKOFF, stop=stop_never, sleep=asyncio.sleep
                ):
                    with attempt:
                        await self._subscribe()
                self.look_again()  # whatever happened before the subscription
                with suppress(Unanswered):  # the connection is closed then: subscribe again
                    while True:
                        for _ in range(AT_ONCE):
                            self._heed(await self._events.push())
                        await asyncio.sleep(0)  # a flood keeps nobody else from its turn
        finally:
            await self._events.close()

    async def _subscribe(self) -> None:
        while isinstance(answer := (await self._events.ask(("PSUBSCRIBE", "*")))[0], ResponseError):
            if self.deaf != (said := plain(str(answer))):
                self.deaf = said
                log.warning(
                    "Sentinel at %s refuses PSUBSCRIBE, so failovers are seen late; tried again every %.0f s: %s",
                    self.address, DEAF, said, extra=event("sentinel_deaf", sentinel=str(self.address), error=said),
                )  # fmt: skip
            await asyncio.sleep(DEAF)
        self.deaf = ""
        if not isinstance(answer, list):
            await self._events.close()
            raise Unanswered("an answer to PSUBSCRIBE that is not Sentinel's")

    def _heed(self, message: Any) -> None:
        match message:
            case ["pmessage", str(), str(channel), str(text)]:
                name = self._failovers.heed(channel, text)
                if name in self.facts:
                    if channel == "+selected-slave":
                        self._select(name, text.split())
                    self.look_again(name)
                elif channel in ("+tilt", "-tilt"):
                    self.look_again()

    def _select(self, name: str, words: list[str]) -> None:
        """Take the event's word for whom it has selected: a look-up has shown the failover under way, and another follows."""
        fact = self.facts[name]
        place = reply.address(words[2], words[3], "+selected-slave") if len(words) > 3 else None
        run_id = fact.run_ids.get(place, "") if place else ""
        if fact.promoting == "" and run_id and (chosen := self._failovers.select(name, run_id, clock())):
            self.facts[name] = replace(fact, selection=chosen, promoting=run_id)
            self._show()
        elif place and place not in fact.run_ids and (epoch := self._failovers.elected(name)) is not None:
            self.facts[name] = replace(fact, unlisted=Unlisted(place, epoch, clock()))
            self._show()


class Failovers:
    """Which epoch belongs to which failover, from the events of one Sentinel.

    SENTINEL MASTER does not show the epoch of a failover under way, so the events have to tell it (sentinel.c:
    ``+new-epoch E``, then ``+try-failover`` for the master, then ``+elected-leader`` if it won). That the failover is
    under way and whom it has selected is looked up.
    """

    def __init__(self) -> None:
        self._epoch = -1
        self._tried: dict[str, int] = {}
        self._elected: dict[str, int] = {}
        self._selected: dict[str, Selection] = {}

    def heed(self, channel: str, text: str) -> str | None:
        """Take in one event; returns the master name that it is about, if any."""
        words = text.split()
        if channel == "+new-epoch":
            epoch = whole(words[0], EPOCH_LIMIT) if words else None
            self._epoch = self._epoch if epoch is None else epoch
            return None
        name = event_master(channel, words)
        if name is None:
            return None
        if channel == "+try-failover":
            if len(self._tried) >= MASTERS:
                self._tried.clear()
            self._tried[name] = self._epoch
            self._elected.pop(name, None)
        elif channel == "+elected-leader" and self._tried.get(name, -1) >= 0:
            self._elected[name] = self._tried[name]
        elif channel in ("+switch-master", "+failover-end") or channel.startswith("-failover-abort"):
            self._elected.pop(name, None)
        return name

    def elected(self, name: str) -> int | None:
        """The epoch at which it was elected for the failover of this master that is under way."""
        return self._elected.get(name)

    def selection(
        self, name: str, master: Mapping[str, str], replicas: Iterable[Mapping[str, str]], at: float
    ) -> Selection | None:
        """Whom this Sentinel, as the elected leader, promotes just now; ``at`` is the time of that answer."""
        if "failover_in_progress" not in master.get("flags", ""):
            return None
        return self.select(name, _promoted(replicas), at)

    def select(self, name: str, run_id: str, at: float) -> Selection | None:
        """It has selected this node, at the epoch at which it was elected, and so it was first seen; None: it was not elected."""
        epoch = self._elected.get(name)
        if epoch is None or not run_id:
            return None
        chosen = Selection(epoch, run_id, at)
        if self._selected.get(name) != chosen:
            self._selected[name] = chosen
        return self._selected[name]


def event_master(channel: str, words: list[str]) -> str | None:
    """The master name in an event: ``TYPE NAME IP PORT [@ MASTER IP PORT]``, or ``NAME …`` for ``+switch-master``."""
    match words:
        case [*_, "@", name, _, _]:
            return name
        case [name, _, _, _, _] if channel == "+switch-master":
            return name
        case ["master", name, *_]:
            return name
    return None


def parse_hello(text: str) -> tuple[Address, str, str] | None:
    """A Sentinel's address, run id and master name from ``__sentinel__:hello``; None if it is something else.

    ``ip,port,runid,current_epoch,master_name,master_ip,master_port,master_config_epoch``
    """
    match text.split(",", 8):
        case [ip, port, run_id, _, name, _, _, _] if is_word(run_id, reply.WORD_LIMIT) and reply.is_name(name):
            where = reply.address(ip, port, "a hello")
            return (where, run_id, name) if where else None
    return None


def _promoted(replicas: Iterable[Mapping[str, str]]) -> str:
    """The run id of the replica that was chosen, empty if there is none."""
    return next((r["runid"] for r in replicas if "promoted" in r.get("flags", "").split(",")), "")


_LOST = {"s_down", "o_down", "disconnected"}


def _is_lost(node: Mapping[str, str]) -> bool:
    return bool(_LOST & {*node.get("flags", "").split(",")})


def _is_usable(replica: Mapping[str, str]) -> bool:
    """Whether a Sentinel could promote it, as sentinelSelectSlave in sentinel.c chooses."""
    up = not _is_lost(replica)
    linked = replica.get("master-link-status") == "ok" or 0 < _seconds(replica, "master-link-down-time") < LINK_LOST
    return up and linked and replica.get("slave-priority", "0") != "0"


def _seconds(fields: Mapping[str, str], key: str) -> float:
    """A time that is told in milliseconds; 0 where it is not."""
    return (whole(fields.get(key, ""), TIME_LIMIT) or 0) / 1000


def _named(answer: Any) -> Address:
    """The answer to GET-MASTER-ADDR-BY-NAME."""
    match answer:
        case [str() as host, str() as port] if known := reply.address(host, port, "the master's address"):
            return known
    raise reply.misread("GET-MASTER-ADDR-BY-NAME has no address")


def _masters(answer: Any) -> dict[str, tuple[Address, str]]:
    """The masters in an answer to SENTINEL MASTERS, by name, with address and run id; none where that is refused."""
    if isinstance(answer, ResponseError):
        return {}
    what = "SENTINEL MASTERS"
    every = reply.each(answer, what, MASTERS)
    return {reply.part(m, "name", what): found for m in every for found in reply.addresses([m], what)}


async def hello(link: Link, timeout: float) -> tuple[Address, str, str]:  # noqa: ASYNC109 - seconds until silence is an answer
    """The next hello of any Sentinel, on a link that is subscribed. Raises Unanswered if none comes in time."""
    ends = clock() + timeout
    while True:
        match await link.push(max(0.0, ends - clock())):  # whatever else comes is no reason to wait for longer
            case ["message", str(), str(text)] if heard := parse_hello(text):
                return heard
        await asyncio.sleep(0)
