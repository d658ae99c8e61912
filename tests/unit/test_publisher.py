"""The publisher: when it writes, and when it lets the loop sleep."""

from __future__ import annotations

import asyncio
from math import inf
from types import SimpleNamespace
from typing import Any, cast

from tenacity import wait_fixed

from consul_redis_agent.decide.facts import Catalog
from consul_redis_agent.errors import ConsulConflict
from consul_redis_agent.publish import publisher as module
from consul_redis_agent.publish.publisher import Publisher
from consul_redis_agent.publish.registry import Target


def test_an_overdue_beat_does_not_make_the_loop_spin(monkeypatch: Any) -> None:
    """While Consul is out of reach, or nothing can be decided, the beat is overdue: that is no reason to hurry."""
    publisher = Publisher(cast("Any", None), cast("Any", None), 10.0, lambda *_: None)
    publisher._beat_at = 50.0
    monkeypatch.setattr(module, "clock", lambda: 49.0)
    assert publisher.next_beat == 1.0
    monkeypatch.setattr(module, "clock", lambda: 60.0)
    assert publisher.next_beat == 10.0


async def test_a_beat_that_is_due_soon_goes_with_a_decision_that_is_made_anyway(monkeypatch: Any) -> None:
    """Decisions are made once a second: a beat in between would wake the process for nothing."""
    registry = Recorder()
    publisher = Publisher(cast("Any", registry), cast("Any", BlindLookout()), 9.0, lambda *_: None)
    now = 100.0
    monkeypatch.setattr(module, "clock", lambda: now)
    for now, beats in ((100.0, 1), (101.0, 1), (102.5, 2), (103.0, 2)):
        publisher.want(Target(now, ()))
        if publisher._writing:
            await publisher._writing
            await asyncio.sleep(0)  # its call-back
        assert registry.done.count("beat") == beats


async def test_it_rests_until_a_beat_is_due_or_the_catalog_was_looked_at_anew(monkeypatch: Any) -> None:
    """Then a decision that nothing has touched stands; a write of others, or a lost one, is judged by the next look."""
    registry = Recorder()
    publisher = Publisher(cast("Any", registry), cast("Any", BlindLookout()), 9.0, lambda *_: None)
    now, seen = 100.0, {"redis": Catalog(99.0, 1, ())}
    monkeypatch.setattr(module, "clock", lambda: now)
    assert not publisher.rests_on(seen)
    publisher.want(Target(now, (), seen=seen))
    assert not publisher.rests_on(seen), "it is being written"
    assert publisher._writing
    await publisher._writing
    await asyncio.sleep(0)  # its call-back
    assert publisher.rests_on(seen)
    assert not publisher.rests_on({"redis": Catalog(100.5, 1, ())})
    now = 103.0
    assert not publisher.rests_on(seen), "a beat is due"


class HalfWay:
    """A registry whose first way to the second target ends in the middle, for the test to interrupt it there."""

    here, written = "", 0.0

    def __init__(self) -> None:
        self.held: object = None
        self.reached = asyncio.Event()

    async def converge(self, target: Any) -> None:
        first, self.held = self.held is None, target().wanted
        if not first and not self.reached.is_set():
            self.reached.set()
            await asyncio.Event().wait()

    async def beat(self, target: Any) -> None:
        return


class BlindLookout:
    address, consul_lost = "redis", 0

    def catalogs(self) -> tuple[()]:
        return ()


class Recorder:
    """A registry that writes down what it is told to do."""

    here, written, naming = "host", 0.0, SimpleNamespace(service="redis")

    def __init__(self) -> None:
        self.done: list[str] = []
        self.did = asyncio.Event()

    def doubt(self) -> None:
        self._did("doubt")

    async def converge(self, target: Any) -> None:
        self._did("converge")

    async def beat(self, target: Any) -> None:
        self._did("beat")

    def _did(self, what: str) -> None:
        self.done.append(what)
        self.did.set()


class LostLookout(BlindLookout):
    """Sees one catalog, which was answered again at ``seen_since``."""

    def __init__(self) -> None:
        self.catalog = SimpleNamespace(service="redis", seen_since=0.0, fact=None, look_again=lambda: None)

    def catalogs(self) -> tuple[Any, ...]:
        return (self.catalog,)


async def test_nothing_begins_to_pass_before_the_claims_were_seen_again() -> None:
    """A Consul agent that is back is told only what was decided on a catalog younger than its absence."""
    registry, lookout = Recorder(), LostLookout()
    publisher = Publisher(cast("Any", registry), cast("Any", lookout), 10.0, lambda *_: None)
    passing, gone = (cast("Any", SimpleNamespace(passing=True)),), ()

    lookout.catalog.seen_since = inf
    publisher.want(Target(1.0, passing))
    await asyncio.sleep(0)
    assert registry.done == []
    publisher.want(Target(1.0, gone))
    await registry.did.wait()
    assert registry.done[0] == "converge", "a withdrawal waits for nothing"

    publisher.stop()
    registry.done.clear()
    registry.did.clear()
    lookout.catalog.seen_since = 2.0
    publisher.want(Target(3.0, passing))
    await registry.did.wait()
    assert registry.done[0] == "converge"


async def test_what_passes_already_goes_on_beating_while_consul_shows_nothing() -> None:
    """Consul's servers may be away for longer than the TTL: a beat writes nothing to them."""
    registry, lookout, written = Recorder(), LostLookout(), asyncio.Event()
    publisher = Publisher(cast("Any", registry), cast("Any", lookout), 10.0, lambda *_: written.set())
    passing = (cast("Any", SimpleNamespace(passing=True)),)
    publisher.want(Target(1.0, passing))
    await written.wait()
    await asyncio.sleep(0)
    registry.done.clear()
    registry.did.clear()
    lookout.catalog.seen_since, lookout.consul_lost = inf, 1
    publisher.want(Target(2.0, passing))
    await registry.did.wait()
    assert registry.done == ["beat"]


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


async def test_a_refused_transaction_is_repeated_with_the_next_decision(monkeypatch: Any) -> None:
    """The catalog has changed meanwhile: as soon as what it holds now is decided upon, and not a backoff later."""
    refused, done = asyncio.Event(), asyncio.Event()

    class Refusing(Recorder):
        async def converge(self, target: Any) -> None:
            if not refused.is_set():
                refused.set()
                raise ConsulConflict("index is stale")

    monkeypatch.setattr(module, "BACKOFF", wait_fixed(3600))
    publisher = Publisher(cast("Any", Refusing()), cast("Any", BlindLookout()), 10.0, lambda *_: done.set())
    publisher.want(Target(0.0, ()))
    await refused.wait()
    await asyncio.sleep(0)
    publisher.want(Target(1.0, ()))
    async with asyncio.timeout(5):
        await done.wait()


async def test_a_write_that_was_ended_does_not_go_on_beside_the_next() -> None:
    """Its connections take a moment to close; what the next one does meanwhile is not its business."""
    begun, done, calls = asyncio.Event(), asyncio.Event(), []

    class Slow(Recorder):
        async def converge(self, target: Any) -> None:
            calls.append(target().wanted)
            begun.set()
            try:
                if len(calls) == 1:
                    await asyncio.Event().wait()
            finally:
                for _ in range(3 * len(calls)):
                    await asyncio.sleep(0)

    publisher = Publisher(cast("Any", Slow()), cast("Any", BlindLookout()), 10.0, lambda *_: done.set())
    publisher.want(Target(0.0, ()))
    await begun.wait()
    publisher.want(Target(1.0, (cast("Any", "an entry"),)))
    async with asyncio.timeout(5):
        await done.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert calls == [(), ("an entry",)]
