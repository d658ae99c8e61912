"""The watch on Consul's catalog, against a Consul that answers a blocking query only when something changes."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from consul_redis_agent.watch.catalog import CatalogWatch


class QuietConsul:
    """Nothing ever changes: a question with an index waits for ever, one without is answered at once."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()

    async def health(self, service: str, index: int | None, wait: float) -> tuple[int, list[dict[str, Any]]]:
        if index is not None:
            self.waiting.set()
            await asyncio.Event().wait()
        return 7, []


async def test_a_fresh_look_is_answered_although_nothing_changes() -> None:
    """The question that waits is cut short, and the answer to the one put instead is fresh: a stop is soon over."""
    consul = QuietConsul()
    watch = CatalogWatch(cast("Any", consul), "redis", 5.0, lambda: None)
    running = asyncio.create_task(watch.run())
    await consul.waiting.wait()
    async with asyncio.timeout(5):
        await watch.fresh()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
