"""The watch on Consul's catalog, against a Consul that answers a blocking query only when something changes."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from consul_redis_agent.watch.catalog import CatalogWatch


class QuietConsul:
    """Nothing ever changes: a question with an index waits for ever, one without is answered at once."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.now = self.most = 0

    async def health(
        self, service: str, index: int | None = None, wait: float = 0.0
    ) -> tuple[int, list[dict[str, Any]]]:
        if index is not None:
            self.waiting.set()
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await asyncio.Event().wait()
            finally:
                self.now -= 1
        return 7, []


async def test_a_fresh_look_is_answered_although_nothing_changes() -> None:
    """The question that waits is cut short, and the answer to the one put instead is fresh: a stop is soon over."""
    consul = QuietConsul()
    watch = CatalogWatch(cast("Any", consul), "redis", 5.0, asyncio.Semaphore(1), lambda: None)
    running = asyncio.create_task(watch.run())
    await consul.waiting.wait()
    async with asyncio.timeout(5):
        await watch.fresh()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


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
