"""The watch on the own Redis node: what it sees of a turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Any

from consul_redis_agent.clock import clock
from consul_redis_agent.decide.facts import Node, Silence
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.redis_node import RedisWatch


class FakeRedis(Link):
    """A connection to a node whose answers the test sets."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self.role, self.run_id, self.silent, self.lost = "slave", "a1", False, lost
        self.link, self.stale, self.gone = "", "yes", False

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        if self.silent:
            raise Unanswered("no answer", gone=self.gone)
        info = f"run_id:{self.run_id}\r\nrole:{self.role}\r\n{self.link}"
        return [["replica-serve-stale-data", self.stale] if c[0] == "CONFIG" else info for c in commands]

    async def close(self) -> None:
        return


@asynccontextmanager
async def watching() -> AsyncIterator[tuple[RedisWatch, FakeRedis, list[float]]]:
    """A watch that has looked, its node, and when it was told that the connection is closed."""
    made: list[FakeRedis] = []
    closed: list[float] = []

    def link(lost: Callable[[], None]) -> Link:
        made.append(FakeRedis(lost))
        return made[0]

    watch = RedisWatch(link, lambda: None, 0.0, lambda: closed.append(clock()))
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(5):
            await watch.fresh()
            yield watch, made[0], closed
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def turned(watch: RedisWatch) -> float:
    """When the node had turned master, as the watch has it."""
    assert isinstance(watch.fact, Node)
    return watch.fact.turned


async def test_a_promotion_is_dated_by_the_connection_that_it_closes() -> None:
    """Sentinel closes it with the turn; who is asked after that is asked after the turn."""
    async with watching() as (watch, redis, closed):
        redis.role = "master"
        redis.lost()
        await watch.fresh()
        assert 0 <= closed[0] - turned(watch) < 0.1
        await watch.fresh()
        assert turned(watch) <= closed[0], "it turned once"


async def test_a_turn_that_closes_nothing_is_dated_by_the_look_that_saw_it() -> None:
    """It was some time between two looks: at the end of the later one it had happened."""
    async with watching() as (watch, redis, _):
        redis.role = "master"
        before = clock()
        await watch.fresh()
        assert before <= turned(watch) <= clock()


async def test_a_look_that_fails_in_between_hides_no_turn() -> None:
    """The connection that Sentinel closes may be in use."""
    async with watching() as (watch, redis, _):
        redis.role, redis.silent = "master", True
        await watch.fresh()
        redis.silent = False
        await watch.fresh()
        assert turned(watch) > -inf


async def test_every_look_that_fails_is_counted() -> None:
    """Also those between two answers: the metric counts them."""
    async with watching() as (watch, redis, _):
        for silent in (True, False, True):
            redis.silent = silent
            await watch.fresh()
        assert watch.missed >= 2
        before = watch.missed
        redis.silent = False
        await watch.fresh()
        await watch.fresh()
        assert watch.missed == before


async def test_a_silence_tells_when_the_last_look_was_answered() -> None:
    """Looks that see nothing new bring no decision: how long a node is dead is not measured from the last of those."""
    async with watching() as (watch, redis, _):
        before = clock()
        await watch.fresh()
        redis.silent = True
        await watch.fresh()
        assert isinstance(watch.fact, Silence)
        assert before <= watch.fact.answered <= watch.fact.at


async def test_a_node_that_stays_gone_is_told_of_once_while_only_its_answer_is_awaited() -> None:
    """It is looked for fifty times a second then, and nothing is to be decided before it answers."""
    told: list[object] = []
    async with watching() as (watch, redis, _):
        watch._changed = lambda: told.append(watch.fact)
        watch.attentive, redis.silent, redis.gone = True, True, True
        for _ in range(3):
            await watch.fresh()
        assert len(told) == 1
        redis.silent = False
        await watch.fresh()
        assert isinstance(told[-1], Node)


async def test_a_node_that_starts_as_master_has_not_turned() -> None:
    """An old master that comes back says master from its first word on, and is another life of the node."""
    async with watching() as (watch, redis, _):
        redis.role, redis.run_id = "master", "a2"
        await watch.fresh()
        assert turned(watch) == -inf


async def test_a_master_that_turned_replica_and_back_has_turned_anew() -> None:
    """What counts is the last turn."""
    async with watching() as (watch, redis, _):
        redis.role = "master"
        await watch.fresh()
        first = turned(watch)
        redis.role = "slave"
        await watch.fresh()
        assert turned(watch) == -inf
        redis.role = "master"
        await watch.fresh()
        assert turned(watch) > first


UP = "master_link_status:up\r\nmaster_last_io_seconds_ago:1\r\n"
DOWN = "master_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n"


async def seen(watch: RedisWatch, redis: FakeRedis, link: str) -> Node:
    """The fact once the node says this of its link."""
    redis.link = link
    await watch.fresh()
    assert isinstance(watch.fact, Node)
    return watch.fact


async def test_a_lost_master_is_dated_though_redis_forgets_it() -> None:
    """A node that is given another master tells no more since when it is without one; an older one says: since 1970."""
    async with watching() as (watch, redis, _):
        assert (await seen(watch, redis, f"{DOWN}master_link_down_since_seconds:-1\r\n")).lag == inf
        assert (await seen(watch, redis, f"{DOWN}master_link_down_since_seconds:1608603251\r\n")).lag == inf
        assert (await seen(watch, redis, f"{DOWN}master_link_down_since_seconds:7\r\n")).lag == 7
        assert (await seen(watch, redis, UP)).lag == 1
        for since in ("-1", "1608603251"):
            assert 1 <= (await seen(watch, redis, f"{DOWN}master_link_down_since_seconds:{since}\r\n")).lag < 3
        redis.run_id = "a2"
        assert (await seen(watch, redis, f"{DOWN}master_link_down_since_seconds:-1\r\n")).lag == inf


async def test_a_replica_that_copies_everything_or_serves_nothing_without_its_master_serves_no_reads() -> None:
    """The first has no whole data; the second is set up so, which counts while its link is down only."""
    async with watching() as (watch, redis, _):
        assert (await seen(watch, redis, DOWN)).serves
        assert not (await seen(watch, redis, f"{DOWN}master_sync_in_progress:1\r\n")).serves
        redis.stale = "no"
        assert not (await seen(watch, redis, DOWN)).serves
        assert (await seen(watch, redis, UP)).serves
        assert not (await seen(watch, redis, f"{UP}replica_announced:0\r\n")).announced
