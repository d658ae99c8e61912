"""Finding Sentinels: what is heard on the own node, and which connections are shared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from consul_redis_agent.decide.facts import Address, Node, Role
from consul_redis_agent.decide.members import HELLO_PERIOD, LIMIT
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch import discovery
from consul_redis_agent.watch.discovery import Group, HelloWatch, Sentinels
from consul_redis_agent.watch.link import Link

ONE, TWO = Address("10.0.0.1", 26379), Address("10.0.0.2", 26379)
MASTER = {"name": "shop", "ip": "10.0.0.9", "port": "6379", "runid": "m" * 40, "flags": "master", "config-epoch": "1"}


class FakeLink(Link):
    """A connection to a Redis node whose hellos the test sends, or that refuses to let them be heard."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal, self.hellos = refusal, asyncio.Queue[Any]()
        self.connected, self.subscribed = False, asyncio.Event()

    @property
    def open(self) -> bool:
        return self.connected

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        if isinstance(self.refusal, Unanswered):
            raise self.refusal
        self.connected = self.refusal is None
        if self.connected:
            self.subscribed.set()
        return [self.refusal or ["subscribe", "x", 1]] * len(commands)

    async def push(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as the link has it
        message = await self.hellos.get()
        asyncio.get_running_loop().call_soon(self.hellos.task_done)  # once it was taken in
        return message

    async def close(self) -> None:
        self.connected = False

    def say(self, number: int, name: str = "mymaster") -> None:
        """A hello of some Sentinel."""
        self.hellos.put_nowait(
            ["message", "x", f"10.0.0.{number % 250},{26379 + number},{number:040x},1,{name},10.0.0.9,6379,1"]
        )


@asynccontextmanager
async def listening(
    link: FakeLink, refusals: Callable[[], int] = lambda: 0
) -> AsyncIterator[tuple[HelloWatch, asyncio.Event]]:
    """A watch for hellos that is wanted, and what is set whenever it has something new."""
    news = asyncio.Event()
    watch = HelloWatch(lambda: link, lambda: True, news.set, refusals)
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(5):
            yield watch, news
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_is_heard_counts_once_a_whole_period_was_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever speaks first is no more than whoever speaks last; of two names, the one of most Sentinels comes first."""
    link, now = FakeLink(), 100.0
    monkeypatch.setattr(discovery, "clock", lambda: now)
    async with listening(link) as (watch, _):
        for number, name in ((1, "other"), (2, "mymaster"), (3, "mymaster")):
            link.say(number, name)
        await link.hellos.join()
        assert (watch.names(), watch.heard("mymaster")) == ([], ())
        now += HELLO_PERIOD + 0.1
        assert watch.names() == ["mymaster", "other"]
        assert watch.heard("mymaster") == (Address("10.0.0.2", 26381), Address("10.0.0.3", 26382))
        assert watch.every_name == {"mymaster", "other"}
        now += discovery.HEARD_FOR
        assert (watch.names(), watch.heard("mymaster")) == ([], ()), "long ago"


async def test_a_flood_of_hellos_is_bounded() -> None:
    """Anybody may publish them."""
    link = FakeLink()
    async with listening(link) as (watch, _):
        for number in range(1, 10 * LIMIT):
            link.say(number)
        await link.hellos.join()
        assert len(watch._said) == 4 * LIMIT


async def test_a_refused_subscription_is_not_silence() -> None:
    """It is told, and the search is not over, however long it takes."""
    async with listening(FakeLink(NoPermissionError("no channel"))) as (watch, news):
        await news.wait()
        assert "Redis refuses to let this login hear Sentinels' hellos (no channel)" in watch.error
        assert not watch.over


async def test_a_node_that_is_down_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own watch says that it is; here it only means to wait a little."""
    monkeypatch.setattr(discovery, "HELLO_PERIOD", 0.01)
    link = FakeLink(Unanswered("down"))
    async with listening(link) as (watch, news):
        await news.wait()
        assert not watch.error
        link.refusal = None
        await link.subscribed.wait()


async def test_logins_that_are_refused_while_nobody_speaks_keep_the_search_going(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once or twice may be any client; a Sentinel with a wrong password tries again every second."""
    now, refused = 100.0, 0
    monkeypatch.setattr(discovery, "clock", lambda: now)
    link = FakeLink()
    async with listening(link, lambda: refused) as (watch, _):
        await link.subscribed.wait()
        now, refused = 106.0, discovery.REFUSED - 1
        assert (watch.refused, watch.over) == (0, True)
        refused = discovery.REFUSED
        assert (watch.refused, watch.over) == (refused, False)


class Monitoring(FakeLink):
    """A Sentinel that monitors one master."""

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        self.connected = True
        flat = [part for pair in MASTER.items() for part in pair]
        answers = {"MYID": "s1", "MASTERS": [flat], "MASTER": flat, "REPLICAS": [], "SENTINELS": []}
        answers["GET-MASTER-ADDR-BY-NAME"] = ["10.0.0.9", "6379"]
        return [
            answers.get(c[1], f"run_id:{id(self):x}\r\n") if c[0] == "SENTINEL" else f"run_id:{id(self):x}\r\n"
            for c in commands
        ]


def quiet() -> None:
    """Nobody has to know."""


async def looked(pool: Sentinels, group: Group) -> None:
    """Wait until each of its Sentinels was asked."""
    async with asyncio.timeout(5):
        await pool.fresh(group)


async def test_one_connection_serves_two_groups_and_ends_with_the_last() -> None:
    """Each is asked about the groups that want it, and no others; with the password and without are two connections."""
    made: list[tuple[Address, bool]] = []

    def link(address: Address, closed: Callable[[], None], *, login: bool) -> Link:
        made.append((address, login))
        return Monitoring()

    async with asyncio.TaskGroup() as tasks:
        pool = Sentinels(link, tasks)
        shop, other = pool.join(quiet), pool.join(quiet)
        pool.speak(shop, "shop", {ONE: True})
        pool.speak(other, "other", {ONE: True, TWO: False})
        await looked(pool, shop)
        await looked(pool, other)
        assert sorted(made) == sorted([(ONE, True)] * 2 + [(TWO, False)] * 2), "commands and events"
        assert [s.error for s in pool.facts(shop)] == [""]
        pool.leave(other)
        assert {w.address: set(w.facts) for w in pool._watches.values()} == {ONE: {"shop"}}
        pool.leave(shop)
        assert not pool._watches


async def test_a_master_name_is_found_by_the_node_or_the_one_that_it_follows() -> None:
    """Where the configuration names Sentinels and no master."""
    async with asyncio.TaskGroup() as tasks:
        pool = Sentinels(lambda address, closed, *, login: Monitoring(), tasks)
        group = pool.join(quiet)
        pool.speak(group, "", {ONE: True})
        await looked(pool, group)
        assert pool.facts(group) == ()
        assert pool.find_name(group, Node(0.0, "m" * 40, Role.MASTER)) == "shop"
        follower = Node(0.0, "r" * 40, Role.REPLICA, follows=Address("10.0.0.9", 6379))
        assert pool.find_name(group, follower) == "shop"
        assert pool.find_name(group, Node(0.0, "x" * 40, Role.MASTER)) is None
        pool.leave(group)


async def test_two_processes_with_one_id_have_no_vote_and_one_at_two_addresses_has_one() -> None:
    """A copied file gives two Sentinels one id; the run id of the process tells them apart."""
    same = Monitoring()

    async with asyncio.TaskGroup() as tasks:
        for link, error in ((lambda *_, login: same, ""), (lambda *_, login: Monitoring(), "is not unique")):
            pool = Sentinels(link, tasks)
            group = pool.join(quiet)
            pool.speak(group, "shop", {ONE: True, TWO: True})
            await looked(pool, group)
            (fact,) = pool.facts(group)
            assert error in fact.error
            assert bool(fact.error) is bool(error)
            pool.leave(group)
