"""The publisher: when it writes, and when it lets the loop sleep."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from consul_redis_agent import publisher as module
from consul_redis_agent.publisher import Publisher
from consul_redis_agent.registry import Target


def test_an_overdue_beat_does_not_make_the_loop_spin(monkeypatch: Any) -> None:
    """While Consul is out of reach, or nothing can be decided, the beat is overdue: that is no reason to hurry."""
    publisher = Publisher(cast("Any", None), cast("Any", None), 10.0, lambda *_: None)
    publisher._beat_at = 50.0
    monkeypatch.setattr(module, "clock", lambda: 49.0)
    assert publisher.next_beat == 1.0
    monkeypatch.setattr(module, "clock", lambda: 60.0)
    assert publisher.next_beat == 10.0


class HalfWay:
    """A registry whose first way to the second target ends in the middle, for the test to interrupt it there."""

    here, written = "", 0.0

    def __init__(self) -> None:
        self.held: object = None
        self.reached = asyncio.Event()

    async def converge(self, target: Any, catalog: Any) -> None:
        first, self.held = self.held is None, target().wanted
        if not first and not self.reached.is_set():
            self.reached.set()
            await asyncio.Event().wait()

    async def beat(self, target: Any) -> None:
        return


class BlindLookout:
    address, consul_lost = "redis", 0

    def entries(self) -> tuple[()]:
        return ()

    def catalogs(self) -> tuple[()]:
        return ()


async def test_a_write_that_was_interrupted_is_undone() -> None:
    """Back to what was written last is a write like another: the one in between may have come half way."""
    registry, done = HalfWay(), asyncio.Event()
    publisher = Publisher(cast("Any", registry), cast("Any", BlindLookout()), 10.0, lambda *_: done.set())
    nothing, something = Target(0.0, ()), Target(0.0, (cast("Any", "an entry"),))
    publisher.want(nothing)
    await done.wait()
    publisher.want(something)
    await registry.reached.wait()
    assert registry.held == something.wanted
    done.clear()
    publisher.want(nothing)
    await done.wait()
    assert registry.held == ()
