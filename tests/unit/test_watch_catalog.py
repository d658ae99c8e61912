"""The watch on Consul's catalog: what is an alarm, what is a confirmation, and how both are waited for."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, cast

import pytest
from tenacity import AsyncRetrying, RetryCallState

from consul_redis_agent.clock import clock
from consul_redis_agent.errors import ConsulError, ConsulUnreachable
from consul_redis_agent.watch import catalog
from consul_redis_agent.watch.catalog import CatalogWatch

Answer = tuple[int, list[dict[str, Any]]]


def instance(address: str) -> dict[str, Any]:
    """One instance of a service, as Consul shows it."""
    service = {"ID": "redis-1", "Service": "redis", "Address": address, "Port": 6379, "Tags": [], "Meta": {}}
    return {"Node": {"Node": "host-a"}, "Service": service, "Checks": []}


class QuietConsul:
    """A question with an index waits until something changes, one without is answered by the servers, if they can be."""

    timeout = 2.0

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.changed = asyncio.Event()
        self.read = asyncio.Event()
        self.now = self.most = 0
        self.index, self.address = 7, "10.0.0.1"
        self.cut = self.fails = False
        self.reads: list[tuple[float, str, float]] = []
        self.by_servers: list[bool] = []

    async def health(
        self,
        service: str,
        index: int | None = None,
        wait: float = 0.0,
        consistency: str = "default",
        *,
        by_servers: bool = False,
        timeout: float = 0.0,  # noqa: ASYNC109 - as ConsulAPI has it
    ) -> Answer:
        if index is not None:
            self.by_servers.append(by_servers)
            self.waiting.set()
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await self.changed.wait()
                self.changed.clear()
            finally:
                self.now -= 1
            if self.fails:
                raise ConsulError("rpc error")
            return self.index, [instance(self.address)]
        self.reads.append((clock(), consistency, timeout))
        self.read.set()
        if self.cut:
            raise ConsulUnreachable("no answer in time")
        return self.index, [instance(self.address)]


@asynccontextmanager
async def watching(consul: QuietConsul, **options: Any) -> AsyncIterator[tuple[CatalogWatch, asyncio.Event]]:
    """A watch that runs, and an event that it sets when it calls ``changed``."""
    told = asyncio.Event()
    watch = CatalogWatch(cast("Any", consul), "redis", 60.0, asyncio.Semaphore(1), told.set)
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(5):
            await consul.waiting.wait()
            yield watch, told
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_fresh_look_is_answered_although_nothing_changes() -> None:
    """A read does not wait for the question that waits for a change: a stop is soon over."""
    async with watching(QuietConsul()) as (watch, _):
        await watch.fresh()


async def test_what_confirms_is_a_consistent_read_dated_when_it_was_asked() -> None:
    """With a deadline of its own, shorter than the time to the next one."""
    consul = QuietConsul()
    async with watching(consul) as (watch, _):
        watch.confirm("a node", 0.5)
        await watch.fresh()
        asked, consistency, timeout = consul.reads[-1]
        assert (consistency, timeout) == ("consistent", 0.5)
        assert watch.confirmation
        assert watch.fact
        assert watch.confirmation.at <= asked <= watch.fact.at


async def test_a_blocking_query_shows_a_change_and_confirms_nothing() -> None:
    """It is an alarm clock: the Consul agent may answer it from its own view."""
    consul = QuietConsul()
    async with watching(consul) as (watch, told):
        before = watch.confirmation
        told.clear()
        consul.index, consul.address = 8, "10.0.0.2"
        consul.changed.set()
        await told.wait()
        assert watch.fact
        assert watch.fact.entries[0].address.host == "10.0.0.2"
        assert watch.confirmation is before


async def test_a_claim_that_rests_on_consul_has_its_servers_asked_in_time() -> None:
    """As often as the most demanding of the nodes that share the name wants, and seldom again afterwards."""
    consul = QuietConsul()
    async with watching(consul) as (watch, _):
        watch.confirm("a master", 0.02)
        watch.confirm("a replica", float("inf"))
        for _ in range(3):
            consul.read.clear()
            await consul.read.wait()
        first, second, third = (at for at, *_ in consul.reads[-3:])
        assert min(second - first, third - second) >= 0.02
        watch.confirm("a master", float("inf"))
        await watch.fresh()
        consul.read.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(consul.read.wait(), 0.2)


async def test_servers_out_of_reach_are_noticed_although_the_alarm_still_waits() -> None:
    """The local Consul agent goes on answering for good; what was seen last stays, and is not called confirmed."""
    consul = QuietConsul()
    async with watching(consul) as (watch, told):
        before = watch.confirmation
        consul.cut = True
        told.clear()
        watch.hurry(0.0)
        await told.wait()
        assert (watch.error, watch.lost) == ("no answer in time", 1)
        assert (watch.confirmation, watch.seen_since) == (before, float("inf"))
        assert watch.fact
        consul.cut = False
        await watch.fresh()
        assert watch.error == ""
        assert watch.seen_since < float("inf")


async def test_an_alarm_of_before_a_change_is_not_believed_after_the_read_that_showed_it() -> None:
    """It may ring with a view that is older than what the servers have answered meanwhile."""
    consul = QuietConsul()
    async with watching(consul) as (watch, _):
        consul.waiting.clear()
        consul.index, consul.address = 9, "10.0.0.2"
        await watch.fresh()
        await consul.waiting.wait()
        assert consul.now == 1, "the former question was given up"
        assert watch.fact
        assert watch.fact.entries[0].address.host == "10.0.0.2"


@pytest.mark.parametrize("turns", range(8))
async def test_a_look_that_is_asked_for_while_an_alarm_rings_is_not_lost(turns: int) -> None:
    """In whichever turn of the loop: else it would wait for a whole new question."""
    consul = QuietConsul()
    async with watching(consul) as (watch, _):
        consul.read.clear()
        consul.index = 8
        consul.changed.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        reads = len(consul.reads)
        watch.look_again()
        while len(consul.reads) == reads:
            consul.read.clear()
            await consul.read.wait()


async def test_an_alarm_that_is_refused_is_no_error_while_the_servers_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token may have been deleted after the next one was in use; it is set again after a moment, not without pause."""
    monkeypatch.setattr(catalog, "DEAF", 0.05)
    consul = QuietConsul()
    async with watching(consul) as (watch, _):
        consul.fails = True
        for _ in range(3):
            consul.read.clear()
            consul.changed.set()
            await consul.read.wait()
            assert (watch.error, watch.lost) == ("", 0)
        pauses = [b - a for (a, *_), (b, *_) in pairwise(consul.reads[1:])]
        assert min(pauses[1:]) > 0.04, "no hurry"
        consul.fails = False
        consul.waiting.clear()
        await consul.waiting.wait()


async def test_an_alarm_that_cannot_be_streamed_is_set_at_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Consul agent newer than its servers refuses each blocking query that it would stream, for ever."""
    monkeypatch.setattr(catalog, "DEAF", 60.0)
    consul = QuietConsul()
    async with watching(consul) as (watch, _):
        assert consul.by_servers == [False]
        consul.fails = True
        consul.waiting.clear()
        consul.changed.set()
        await consul.waiting.wait()
        assert consul.by_servers == [False, True]
        consul.fails, consul.index, consul.address = False, 8, "10.0.0.2"
        consul.waiting.clear()
        consul.changed.set()
        await consul.waiting.wait()
        assert consul.by_servers == [False, True, True]
        assert watch.fact
        assert watch.fact.entries[0].address.host == "10.0.0.2"


async def test_more_names_than_turns_are_watched_one_after_another() -> None:
    """Each blocking query is a connection, of which Consul takes so many: the others wait, and have been answered once."""
    consul, turns = QuietConsul(), asyncio.Semaphore(2)
    watches = [CatalogWatch(cast("Any", consul), f"redis-{i}", 5.0, turns, lambda: None) for i in range(5)]
    running = [asyncio.create_task(watch.run()) for watch in watches]
    await consul.waiting.wait()
    async with asyncio.timeout(5):
        await asyncio.gather(*(watch.fresh() for watch in watches))
    await asyncio.sleep(0)
    assert consul.most == 2
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def test_reads_on_which_nothing_rests_are_seldom() -> None:
    """They only find out that the servers are out of reach."""
    assert catalog.SELDOM >= 3 * 10


@pytest.mark.parametrize("alarm", [True, False], ids=["alarm", "read"])
async def test_a_question_that_fails_in_the_moment_of_the_end_is_no_news(
    *, alarm: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is nobody's any more, and is not reported as one that nobody had looked at."""
    consul, fails = QuietConsul(), asyncio.get_running_loop().create_future()
    health = consul.health

    async def failing(service: str, index: int | None = None, *args: Any, **named: Any) -> Answer:
        if alarm and index is None:
            return await health(service, index, *args, **named)
        consul.waiting.set()
        await fails
        raise AssertionError

    consul.health = failing  # type: ignore[method-assign]
    async with watching(consul):
        fails.set_exception(ConsulUnreachable("in this very moment"))
        await asyncio.sleep(0)  # the question has ended; who waits for it has not been told yet
    gc.collect()
    assert caplog.text == ""


async def test_an_index_that_always_moves_is_not_asked_for_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failover's changes are all asked for at once; after so many there is a limit, and it grows again with the time."""
    now = 100.0
    monkeypatch.setattr(catalog, "clock", lambda: now)
    watch = CatalogWatch(cast("Any", QuietConsul()), "redis", 60.0, asyncio.Semaphore(1), lambda: None)
    assert [watch._pause() for _ in range(int(catalog.BURST))] == [0.0] * int(catalog.BURST)
    assert [round(watch._pause(), 3) for _ in range(3)] == [0.05, 0.1, 0.15]
    now += 1.15
    assert [watch._pause() for _ in range(20)] == [0.0] * 20
    assert watch._pause() > 0


def test_an_error_that_consul_answers_with_makes_for_longer_pauses_than_one_that_is_away() -> None:
    """One that has just started is to be found at once; one that has too much to do, or no leader, is not helped by questions."""

    def longest(error: Exception) -> float:
        state = RetryCallState(AsyncRetrying(), None, (), {})
        state.set_exception((type(error), error, None))
        state.attempt_number = 50
        return catalog._backoff(state)

    assert longest(ConsulUnreachable("refused")) == 0.25
    assert longest(ConsulError("No cluster leader")) == 1.0
