"""The watch on one Sentinel, against one that monitors many masters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any
from unittest.mock import patch

from consul_redis_agent.clock import clock
from consul_redis_agent.decide.facts import Address, Selection, Sentinel, Unlisted
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch import looks
from consul_redis_agent.watch.link import NOBODY, Link
from consul_redis_agent.watch.lookout import told_of
from consul_redis_agent.watch.sentinels import ATTENTION, CLOSELY, LINK_LOST, PERIOD, SentinelWatch

NAMES = [f"shop-{i}" for i in range(3)]


class FakeSentinel(Link):
    """Both connections to a Sentinel under which nothing changes but the epoch; ``events`` are what it publishes."""

    def __init__(self) -> None:
        self.epoch = 1
        self.asked: list[tuple[str, ...]] = []
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.connected = False
        self.flags, self.refuses, self.run_id = "master", False, "r"
        self.replica_flags = "slave,promoted"
        self.more: dict[str, str] = {}
        """Further fields of SENTINEL MASTER."""
        self.lists: dict[str, list[dict[str, str]]] = {}
        """What SENTINEL REPLICAS and SENTINELS answer, where the test says so."""

    @property
    def open(self) -> bool:
        return self.connected

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        if self.refuses:
            self.connected = False
            raise Unanswered(NOBODY, gone=True)
        self.connected = True
        self.asked += [tuple(command) for command in commands]
        return [self._answer(*command) for command in commands]

    async def push(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as the link has it
        return await self.events.get()

    async def close(self) -> None:
        self.connected = False

    def _answer(self, *command: str) -> Any:
        match command:
            case ("SENTINEL", "MYID"):
                return "s1"
            case ("INFO", "server"):
                return "# Server\r\nrun_id:p1\r\n"
            case ("PSUBSCRIBE", pattern):
                return ["psubscribe", pattern, 1]
            case ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _):
                return ["10.0.0.1", "6379"]
            case ("SENTINEL", "MASTER", _):
                fields = {"ip": "10.0.0.1", "port": "6379", "runid": self.run_id, "flags": self.flags}
                fields |= {"config-epoch": str(self.epoch)} | self.more
                return [part for pair in fields.items() for part in pair]
            case ("SENTINEL", what, _) if what in self.lists:
                return [[part for pair in fields.items() for part in pair] for fields in self.lists[what]]
            case ("SENTINEL", "REPLICAS", _) if self.flags != "master":
                fields = {"ip": "10.0.0.2", "port": "6379", "runid": "p", "flags": self.replica_flags}
                return [[part for pair in fields.items() for part in pair]]
            case ("SENTINEL", "REPLICAS" | "SENTINELS", _):
                return []
        return ""


@asynccontextmanager
async def watching(sentinel: FakeSentinel, *names: str) -> AsyncIterator[tuple[SentinelWatch, asyncio.Queue[Any]]]:
    """A watch that has looked, and what it tells."""
    news = asyncio.Queue[Collection[str]]()
    link: Callable[[Callable[[], None]], Link] = lambda _: sentinel  # noqa: E731
    watch = SentinelWatch(Address("10.0.0.9", 26379), link, news.put_nowait)
    watch.watch_only(names)
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(10):
            assert set(await news.get()) == {*names}
            await watch.fresh()
            yield watch, news
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def elect(sentinel: FakeSentinel) -> None:
    """This Sentinel leads a failover at epoch 3 and has selected a node."""
    sentinel.flags = "master,failover_in_progress"
    master, replica = "master shop-0 10.0.0.1 6379", "slave p 10.0.0.2 6379 @ shop-0 10.0.0.1 6379"
    events = (("+new-epoch", "3"), ("+try-failover", master), ("+elected-leader", master), ("+selected-slave", replica))
    for channel, text in events:
        sentinel.events.put_nowait(["pmessage", "*", channel, text])


def selected(watch: SentinelWatch) -> Selection | None:
    """Whom it has selected, as the watch has it."""
    return watch.facts["shop-0"].selection


async def test_the_leader_is_asked_at_once_and_tells_whatever_it_sees() -> None:
    """A promotion waits for its word of after the turn, also where that is the same as before; few questions are enough."""
    sentinel = FakeSentinel()
    async with watching(sentinel, "shop-0", "shop-1") as (watch, news):
        elect(sentinel)
        while selected(watch) is None:
            await news.get()
        before = watch.facts["shop-0"]
        assert before.promoting == "p"
        assert before.selection == Selection(3, "p")
        sentinel.asked.clear()
        now = clock()
        watch.ask_anew("shop-0", now)
        while watch.facts["shop-0"].at < now:
            assert set(await news.get()) == {"shop-0"}
        after = watch.facts["shop-0"]
        assert replace(after, at=0.0) == replace(before, at=0.0)
        assert ("SENTINEL", "MASTER", "shop-0") in sentinel.asked
        assert not {("SENTINEL", "REPLICAS", "shop-0"), ("SENTINEL", "MASTER", "shop-1")} & {*sentinel.asked}


async def test_a_run_id_that_sentinel_does_not_know_yet_is_asked_for_again() -> None:
    """After a failover it has none before the new master's first INFO; the address counts meanwhile, and no event tells."""
    sentinel = FakeSentinel()
    sentinel.run_id = ""
    async with watching(sentinel, "shop-0") as (watch, news):
        assert watch.facts["shop-0"].run_ids == {Address("10.0.0.1", 6379): ""}
        sentinel.run_id = "r"
        assert set(await news.get()) == {"shop-0"}
        assert watch.facts["shop-0"].run_ids == {Address("10.0.0.1", 6379): "r"}


async def test_the_event_of_a_selection_counts_while_a_look_up_shows_the_failover() -> None:
    """The promotion follows within a tenth of a second; the event alone, or without an election, counts for nothing."""
    sentinel = FakeSentinel()
    sentinel.flags, sentinel.replica_flags = "master,failover_in_progress", "slave"
    master, chosen = "master shop-0 10.0.0.1 6379", "slave p 10.0.0.2 6379 @ shop-0 10.0.0.1 6379"
    async with watching(sentinel, "shop-0") as (watch, _):
        assert watch.facts["shop-0"].promoting == ""
        watch._heed(["pmessage", "*", "+selected-slave", chosen])
        assert selected(watch) is None, "nobody was elected"
        for channel, text in (("+new-epoch", "3"), ("+try-failover", master), ("+elected-leader", master)):
            watch._heed(["pmessage", "*", channel, text])
        watch._heed(["pmessage", "*", "+selected-slave", chosen.replace("10.0.0.2", "10.9.9.9")])
        assert selected(watch) is None, "nobody is known there"
        watch._heed(["pmessage", "*", "+selected-slave", chosen])
        assert selected(watch) == Selection(3, "p")
        assert watch.facts["shop-0"].promoting == "p"


async def test_a_node_that_sentinel_does_not_list_knows_itself_by_the_address_of_its_selection() -> None:
    """``replica-announced no``: as any event, it counts while a look-up shows the failover; to others it says nothing."""
    sentinel, hidden = FakeSentinel(), Address("10.9.9.9", 6379)
    sentinel.flags, sentinel.replica_flags = "master,failover_in_progress", "slave"
    master, chosen = "master shop-0 10.0.0.1 6379", "slave h 10.9.9.9 6379 @ shop-0 10.0.0.1 6379"
    async with watching(sentinel, "shop-0") as (watch, _):
        for channel, text in (("+new-epoch", "3"), ("+try-failover", master), ("+elected-leader", master)):
            watch._heed(["pmessage", "*", channel, text])
        watch._heed(["pmessage", "*", "+selected-slave", chosen])
        await watch.fresh()
        fact = watch.facts["shop-0"]
        assert fact.unlisted == Unlisted(hidden, 3)
        told = told_of(fact, frozenset({hidden}), "me")
        assert (told.selection, told.promoting) == (Selection(3, "me"), "me")
        assert told_of(fact, frozenset({Address("10.0.0.2", 6379)}), "me") == fact
        sentinel.flags = "master"
        await watch.fresh()
        assert watch.facts["shop-0"].unlisted is None


async def test_a_failover_that_is_given_up_is_no_selection_any_more() -> None:
    """Also where only the short look shows it, and its event is lost."""
    sentinel = FakeSentinel()
    async with watching(sentinel, "shop-0") as (watch, news):
        elect(sentinel)
        while selected(watch) is None:
            await news.get()
        sentinel.flags = "master"
        watch.attend("shop-0")
        while selected(watch) is not None:
            await news.get()
        assert watch.facts["shop-0"].promoting is None


async def test_a_leader_on_which_a_claim_rests_is_looked_up_often() -> None:
    """So that its silence is noticed in time; once nobody asks any more, it is left alone again."""
    sentinel = FakeSentinel()
    async with watching(sentinel, "shop-0") as (watch, _):
        watch.attend("shop-0")
        looks = [watch.facts["shop-0"].at]
        while len(looks) < 7:
            await watch._ended.wait()
            looks.append(watch.facts["shop-0"].at)
        pauses = [b - a for a, b in pairwise(looks)]
        assert max(pauses[1:]) < PERIOD / 2
        assert median(pauses) > ATTENTION / 2, "no more often than that"


async def test_a_sentinel_that_is_gone_is_told_from_one_that_is_silent() -> None:
    """Only the one ends an early claim at once."""
    sentinel = FakeSentinel()
    async with watching(sentinel, "shop-0") as (watch, news):
        sentinel.refuses = True
        watch.look_again()
        await news.get()
        assert watch.facts["shop-0"].gone


async def test_an_event_looks_up_its_own_master_only() -> None:
    """With hundreds of masters at one Sentinel, the failover of one must not wait for the answers about all."""
    sentinel, news = FakeSentinel(), asyncio.Queue[Collection[str]]()
    link: Callable[[Callable[[], None]], Link] = lambda _: sentinel  # noqa: E731
    watch = SentinelWatch(Address("10.0.0.9", 26379), link, news.put_nowait)
    watch.watch_only(NAMES)
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(5):
            assert set(await news.get()) == set(NAMES)
            await watch.fresh()
            sentinel.asked.clear()
            sentinel.epoch = 2
            sentinel.events.put_nowait(["pmessage", "*", "+sdown", "master shop-1 10.0.0.1 6379"])
            assert set(await news.get()) == {"shop-1"}
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert {command[2] for command in sentinel.asked if len(command) == 3} == {"shop-1"}
    assert ("SENTINEL", "REPLICAS", "shop-1") in sentinel.asked
    assert [watch.facts[name].epoch for name in NAMES] == [1, 2, 1]


async def told(sentinel: FakeSentinel) -> Sentinel:
    """What one look at everything shows."""
    async with watching(sentinel, "shop-0") as (watch, _):
        return watch.facts["shop-0"]


async def test_what_sentinel_says_of_its_master_is_told() -> None:
    """Times are in seconds; what it does not say is nothing."""
    sentinel = FakeSentinel()
    assert (await told(sentinel)).down_after == 0.0
    sentinel.flags = "master,disconnected,failover_in_progress,coordinated_failover"
    sentinel.more = {"down-after-milliseconds": "30000", "failover-timeout": "180000", "role-reported-time": "5000"}
    fact = await told(sentinel)
    assert (fact.disconnected, fact.coordinated) == (True, True)
    assert (fact.down_after, fact.failover_timeout, fact.at - fact.switched) == (30.0, 180.0, 5.0)
    sentinel.flags = "master"
    fact = await told(sentinel)
    assert (fact.disconnected, fact.coordinated) == (False, False)


async def test_a_lost_connection_is_told_by_the_short_look_too() -> None:
    """A killed master shows as disconnected milliseconds later: waiting for the next whole look would be too long."""
    sentinel = FakeSentinel()
    async with watching(sentinel, "shop-0") as (watch, news):
        sentinel.flags = "master,disconnected"
        watch.attend("shop-0", closely=True)
        assert set(await news.get()) == {"shop-0"}
        assert watch.facts["shop-0"].disconnected


def listed(number: int, **fields: str) -> dict[str, str]:
    """One replica or Sentinel in a list."""
    shown = {key.replace("_", "-"): value for key, value in fields.items()}
    return {"ip": f"10.0.0.{number}", "port": "6379", "runid": f"r{number}", "flags": "slave"} | shown


async def test_only_a_replica_that_sentinel_could_promote_is_usable() -> None:
    """Up, linked to its master or parted from it a moment ago, and not excluded by its priority."""
    sentinel, lost = FakeSentinel(), str(round(LINK_LOST * 1000))
    sentinel.lists["REPLICAS"] = [
        listed(2, master_link_status="ok", slave_priority="100"),
        listed(3, master_link_status="err", master_link_down_time="200", slave_priority="1"),
        listed(4, master_link_status="ok", slave_priority="0"),
        listed(5, master_link_status="ok", slave_priority="100", flags="slave,s_down"),
        listed(6, master_link_status="ok", slave_priority="100", flags="slave,disconnected"),
        listed(7, master_link_status="err", master_link_down_time=lost, slave_priority="100"),
        listed(8, master_link_status="err", master_link_down_time="0", slave_priority="100"),
        listed(9, master_link_status="err", slave_priority="100"),
    ]
    fact = await told(sentinel)
    assert fact.usable == {Address("10.0.0.2", 6379), Address("10.0.0.3", 6379)}
    assert len(fact.run_ids) == 9


async def test_only_a_sentinel_that_is_connected_is_reached() -> None:
    """One that has lost the others would lead a failover of which nobody hears."""
    sentinel = FakeSentinel()
    flags = ("sentinel", "sentinel,s_down", "sentinel,disconnected", "sentinel,o_down", "sentinel,master_down")
    sentinel.lists["SENTINELS"] = [listed(number, flags=flag) for number, flag in enumerate(flags, 10)]
    fact = await told(sentinel)
    assert (fact.reaches, len(fact.peers)) == (2, 5)


async def test_what_the_short_look_does_not_ask_for_stays_as_it_was() -> None:
    """Who could be promoted and who is reached is in the lists."""
    sentinel = FakeSentinel()
    sentinel.lists = {
        "REPLICAS": [listed(2, master_link_status="ok", slave_priority="1")],
        "SENTINELS": [listed(3, flags="sentinel")],
    }
    async with watching(sentinel, "shop-0") as (watch, _):
        before = watch.facts["shop-0"]
        sentinel.asked.clear()
        watch.attend("shop-0", closely=True)
        while watch.facts["shop-0"].at == before.at:
            await watch._ended.wait()
        after = watch.facts["shop-0"]
        assert (after.usable, after.reaches) == (before.usable, before.reaches)
        assert (after.usable, after.reaches) == (frozenset({Address("10.0.0.2", 6379)}), 1)
        assert ("SENTINEL", "REPLICAS", "shop-0") not in sentinel.asked


async def test_a_sentinel_whose_word_cannot_wait_is_looked_up_closely_for_a_moment() -> None:
    """Then it is looked up often, and then left alone again."""
    sentinel = FakeSentinel()
    async with watching(sentinel, "shop-0") as (watch, _):
        watch.attend("shop-0", closely=True)
        assert watch._pause() == CLOSELY
        watch._closely = clock()
        assert CLOSELY < watch._pause() <= ATTENTION
        watch._attended.clear()
        with patch.object(looks, "until_tick", return_value=PERIOD):
            assert watch._pause() == PERIOD
