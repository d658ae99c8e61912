"""The watch on the own Redis node: what it sees of a turn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Any
from unittest.mock import patch

import pytest
from tenacity import AsyncRetrying, RetryCallState

from consul_redis_agent.clock import clock
from consul_redis_agent.decide.facts import Address, Node, Silence
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch import looks
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.redis_node import (
    CLOSELY,
    PART,
    SWAP,
    YOUNG,
    RedisWatch,
    began_empty,
    node,
    parse_info,
    parse_version,
)
from tests.unit.test_watch_link import serving


class FakeRedis(Link):
    """A connection to a node whose answers the test sets."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self.role, self.run_id, self.silent, self.lost = "slave", "a1", False, lost
        self.link, self.stale = "", "yes"
        self.gone = False
        self.asked: list[Sequence[str]] = []

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        self.asked += commands
        if self.silent or self.gone:
            raise Unanswered("no answer", gone=self.gone)
        info = f"run_id:{self.run_id}\r\nrole:{self.role}\r\n{self.link}"
        return [["replica-serve-stale-data", self.stale] if c[0] == "CONFIG" else info for c in commands]

    async def close(self) -> None:
        return


@asynccontextmanager
async def watching(
    published: Address | None = None, **options: Any
) -> AsyncIterator[tuple[RedisWatch, FakeRedis, list[float]]]:
    """A watch that has looked, its node, and when it was told that the connection is closed."""
    made: list[FakeRedis] = []
    closed: list[float] = []

    def link(lost: Callable[[], None]) -> Link:
        made.append(FakeRedis(lost))
        return made[0]

    watch = RedisWatch(link, lambda: None, 0.0, lambda: closed.append(clock()), lambda: published, **options)
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
        assert sum(watch.latency.as_json()["counts"]) >= 1
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
        redis.silent = redis.gone = False
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


def since(watch: RedisWatch) -> float:
    """Since when the node can have been a master, as the watch has it."""
    assert isinstance(watch.fact, Node)
    return watch.fact.master_since


async def test_a_node_that_begins_as_a_master_has_been_none_that_was_promoted() -> None:
    """Sentinel promotes nobody whom it has not asked: one that has just started came back as what it was."""
    async with watching() as (watch, redis, _):
        redis.role, redis.run_id, redis.link = "master", "a2", f"uptime_in_seconds:{YOUNG - 1:.0f}\r\n"
        await watch.fresh()
        assert since(watch) == -inf
        redis.link = "uptime_in_seconds:900\r\n"
        await watch.fresh()
        assert since(watch) == -inf, "this was seen from its beginning on"


@pytest.mark.parametrize("uptime", [f"uptime_in_seconds:{YOUNG:.0f}\r\n", "uptime_in_seconds:900\r\n", ""])
async def test_one_that_was_a_master_before_the_first_look_may_have_been_promoted_just_then(uptime: str) -> None:
    """Where its age is not told, too. The first look is remembered through all that follow, and those that fail."""
    async with watching() as (watch, redis, _):
        redis.role, redis.run_id, redis.link = "master", "a2", uptime
        before = clock()
        await watch.fresh()
        first = since(watch)
        assert before <= first <= clock()
        redis.silent = True
        await watch.fresh()
        redis.silent = False
        await watch.fresh()
        assert since(watch) == first


async def test_a_master_that_was_promoted_is_one_since_then() -> None:
    """However long its process has been there; a replica is none."""
    async with watching() as (watch, redis, _):
        redis.link = "uptime_in_seconds:900\r\n"
        assert since(watch) == -inf
        redis.role = "master"
        redis.lost()
        await watch.fresh()
        await watch.fresh()
        assert since(watch) == turned(watch) > -inf
        redis.role = "slave"
        await watch.fresh()
        assert since(watch) == -inf


async def silence(watch: RedisWatch) -> Silence:
    """What a look that failed shows."""
    await watch.fresh()
    assert isinstance(watch.fact, Silence)
    return watch.fact


def free_port() -> Address:
    """Where nothing listens on this host."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Address(*probe.getsockname())


async def test_a_node_that_refuses_at_its_only_address_is_gone() -> None:
    """Its process is not there; one that only does not answer is there."""
    async with watching() as (watch, redis, _):
        redis.gone = True
        fact = await silence(watch)
        assert (fact.gone, fact.refused) == (True, True)
        redis.gone, redis.silent = False, True
        fact = await silence(watch)
        assert (fact.gone, fact.refused) == (False, False)


async def test_a_node_that_refuses_at_its_published_address_too_is_gone() -> None:
    """Both refuse: its process is not there."""
    async with watching(free_port()) as (watch, redis, _):
        redis.gone = True
        fact = await silence(watch)
        assert (fact.gone, fact.refused) == (True, True)


async def test_a_node_to_which_others_can_connect_is_not_gone() -> None:
    """The agent may be in another network than its node, or have the wrong address: nobody is replaced for that."""
    async with serving(b"") as (address, _), watching(address) as (watch, redis, _):
        redis.gone = True
        fact = await silence(watch)
        assert (fact.gone, fact.refused) == (False, False)
        assert fact.reason == f"no answer, but something listens at {address}"


async def test_a_published_address_that_cannot_be_tried_refuses_nobody() -> None:
    """Then the node leaves DNS, and Sentinel decides by itself."""
    async with watching(Address("x" * 64, 6379)) as (watch, redis, _):
        redis.gone = True
        fact = await silence(watch)
        assert (fact.gone, fact.refused) == (True, False)


async def test_a_node_whose_next_answer_is_awaited_is_looked_at_closely() -> None:
    """It would take writes without authority from its first answer on; otherwise the pauses grow."""
    often = RetryCallState(AsyncRetrying(), None, (), {})
    often.attempt_number = 12
    async with watching() as (watch, redis, _):
        redis.role, redis.link = "master", "loading:1\r\n"
        await watch.fresh()
        with patch.object(looks, "until_tick", return_value=0.7):
            assert (watch._how_long(often) > 10 * CLOSELY, watch._pause()) == (True, 0.7)
            watch.attentive = True
            assert watch._again.is_set(), "a pause that has begun before is over"
            assert (watch._how_long(often), watch._pause()) == (CLOSELY, CLOSELY)
            redis.link = ""
            await watch.fresh()
            assert watch._pause() == 0.7, "it has answered"


SWAPS = "master_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\nmaster_failover_state:failover-in-progress\r\n"
GOES_ON = f"{UP}master_failover_state:no-failover\r\nmaster_replid:new\r\nmaster_replid2:old\r\n"


async def test_a_master_that_hands_over_is_relieved_by_who_goes_on_with_its_history() -> None:
    """Redis says first that it is about to follow, then that its history was forked; both are one turn, with one time."""
    async with watching() as (watch, redis, _):
        redis.role = "master"
        await seen(watch, redis, "master_replid:old\r\n")
        redis.role, before = "slave", clock()
        first = await seen(watch, redis, SWAPS + "master_replid:old\r\n")
        assert before <= first.relieved <= clock()
        assert (await seen(watch, redis, GOES_ON)).relieved == first.relieved
        redis.role = "master"
        assert (await seen(watch, redis, "master_replid:mine\r\n")).relieved == -inf


@pytest.mark.parametrize(
    "link",
    [
        GOES_ON.replace("replid2:old", "replid2:other"),
        GOES_ON.replace("link_status:up", "link_status:down"),
        GOES_ON.replace("replid2:old", f"replid2:{'0' * 40}"),
    ],
)
async def test_a_master_that_follows_somebody_else_is_not_relieved(link: str) -> None:
    """It copies another history, or nobody is there: no successor can be waited for, then or later."""
    async with watching() as (watch, redis, _):
        redis.role = "master"
        await seen(watch, redis, "master_replid:old\r\n")
        redis.role = "slave"
        assert (await seen(watch, redis, link)).relieved == -inf
        assert (await seen(watch, redis, GOES_ON)).relieved == -inf


async def test_a_replica_that_starts_anew_was_relieved_of_nothing() -> None:
    """What an earlier life of the node was is over; nor is one that was never seen as a master."""
    async with watching() as (watch, redis, _):
        assert (await seen(watch, redis, GOES_ON)).relieved == -inf
        redis.role = "master"
        await seen(watch, redis, "master_replid:old\r\n")
        redis.role, redis.run_id = "slave", "a2"
        assert (await seen(watch, redis, GOES_ON)).relieved == -inf


async def test_a_turn_that_closes_nothing_is_looked_for_closely_at_first_and_never_much_later_than_it_was_awaited() -> (
    None
):
    """A swap follows within a tenth of a second; who waits for longer looks more rarely, at last as ever: it costs little."""
    async with watching() as (watch, redis, _):
        redis.role = "master"
        await watch.fresh()
        with (
            patch.object(looks, "until_tick", return_value=0.7),
            patch("consul_redis_agent.watch.redis_node.clock", return_value=100.0) as now,
        ):
            assert watch._pause() == 0.7
            watch.awaits_turn = True
            assert watch._again.is_set(), "a pause that has begun before is over"
            looked, worst = 0, 0.0
            while now.return_value < 160.0:
                pause = watch._pause()
                worst = max(worst, pause / max(now.return_value - 100.0, SWAP / PART))
                watch.awaits_turn = True  # each decision says so
                now.return_value += pause
                looked += 1
            assert worst <= PART + 1e-9
            assert watch._pause() == 0.7, "as ever"
            assert looked < 400
            watch.awaits_turn = False
            watch.awaits_turn = True
            assert watch._pause() == SWAP, "another one"


@pytest.mark.parametrize(
    ("more", "empty"),
    [
        ({}, True),
        ({"rdb_last_load_keys_loaded": "3"}, False),
        ({"aof_enabled": "1"}, False),
        ({"uptime_in_seconds": "60"}, False),
        ({"rdb_last_load_keys_loaded": ""}, False),
    ],
)
def test_a_node_that_has_read_nothing_from_disk_began_empty(more: dict[str, str], empty: bool) -> None:
    """Also where clients have written to it before it was looked at, while it has just started."""
    info = {"rdb_last_load_keys_loaded": "0", "aof_enabled": "0", "uptime_in_seconds": "0", "db0": "keys=1"}
    assert began_empty(info | more) is empty


async def test_whether_a_node_has_keys_is_asked_only_where_that_matters() -> None:
    """INFO's keyspace has a line for each database with a key in it."""
    async with watching() as (watch, redis, _):
        assert (await seen(watch, redis, "db0:keys=1,expires=0\r\n")).empty is None
        assert not any("keyspace" in command for command in redis.asked)
    async with watching(keys=True) as (watch, redis, _):
        assert (await seen(watch, redis, "db12:keys=1,expires=0\r\n")).empty is False
        assert (await seen(watch, redis, "")).empty is True
        assert any("keyspace" in command for command in redis.asked)


@pytest.mark.parametrize(
    ("version", "known"),
    [("7.0.15", (7, 0, 15)), ("6.2.5", (6, 2, 5)), ("255.255.255", (255, 255, 255)), ("", ()), ("unstable", ())],
)
def test_the_version_is_told_in_numbers(version: str, known: tuple[int, ...]) -> None:
    """Valkey tells of the Redis that it is like; what is no number is none."""
    assert parse_version({"redis_version": version, "server_name": "valkey", "valkey_version": "9.1.2"}) == known


@pytest.mark.parametrize(("role", "offset"), [("master", 7), ("slave", 5)])
def test_how_much_of_its_history_a_node_has_is_in_its_info(role: str, offset: int) -> None:
    """A replica's is that of its master; what cannot be read is nothing."""
    info = f"run_id:a\r\nrole:{role}\r\nmaster_repl_offset:7\r\nslave_repl_offset:5\r\nrdb_changes_since_last_save:3"
    fact = node(parse_info(f"{info}\r\nmaster_replid2:{'0' * 40}"), 1.0)
    assert (fact.offset, fact.changes, fact.former_id) == (offset, 3, "")
    for former in ("abc", "0bc", "ab0"):
        assert node(parse_info(f"{info}\r\nmaster_replid2:{former}"), 1.0).former_id == former
    strange = node({"run_id": "a", "role": role, "master_repl_offset": "-1", "rdb_changes_since_last_save": "x"}, 1.0)
    assert (strange.offset, strange.changes) == (0, 0)
