"""The watch on one Sentinel, against one that monitors many masters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

from consul_redis_agent.facts import Address
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.sentinels import SentinelWatch

NAMES = [f"shop-{i}" for i in range(3)]


class FakeSentinel(Link):
    """Both connections to a Sentinel under which nothing changes but the epoch; ``events`` are what it publishes."""

    def __init__(self) -> None:
        self.epoch = 1
        self.asked: list[tuple[str, ...]] = []
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.connected = False

    @property
    def open(self) -> bool:
        return self.connected

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
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
            case ("PSUBSCRIBE", pattern):
                return ["psubscribe", pattern, 1]
            case ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _):
                return ["10.0.0.1", "6379"]
            case ("SENTINEL", "MASTER", _):
                fields = {"ip": "10.0.0.1", "port": "6379", "runid": "r", "flags": "master"}
                return [part for pair in (fields | {"config-epoch": str(self.epoch)}).items() for part in pair]
            case ("SENTINEL", "REPLICAS" | "SENTINELS", _):
                return []
        return ""


async def test_an_event_looks_up_its_own_master_only() -> None:
    """With hundreds of masters at one Sentinel, the failover of one must not wait for the answers about all."""
    sentinel, news = FakeSentinel(), asyncio.Queue[Collection[str]]()
    link: Callable[[Callable[[], None]], Link] = lambda _: sentinel  # noqa: E731
    watch = SentinelWatch(Address("10.0.0.9", 26379), "", link, news.put_nowait)
    for name in NAMES:
        watch.watch(name)
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
