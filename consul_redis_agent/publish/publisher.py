"""Keeps Consul at what was decided last: writes when something differs, beats the TTL, tries again when it fails.

It never makes a decision wait: a new target that wants something else ends the writing of the old one at once. That
is safe after any step, since the next pass plans from what Consul holds then.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from consul_redis_agent.clock import clock
from consul_redis_agent.decide.facts import Catalog
from consul_redis_agent.errors import ConsulConflict, ConsulError, ConsulUnknown, ConsulUnreachable, StaleDecision
from consul_redis_agent.publish.plan import settled
from consul_redis_agent.publish.registry import Registry, Target
from consul_redis_agent.watch.lookout import Lookout

log = logging.getLogger(__name__)

BEATS = 3
"""Heartbeats in one TTL: two may be lost."""
BACKOFF = wait_exponential_jitter(multiplier=0.05, exp_base=3, max=1.0, jitter=0.1)
ATTEMPTS = 8
"""Attempts at one pass; then the next decision, a second later at most, begins anew."""


class Publisher:
    """One Redis node's way to Consul. ``done(target, seconds)`` is called when Consul holds a new one."""

    def __init__(self, registry: Registry, lookout: Lookout, ttl: float, done: Callable[[Target, float], None]) -> None:
        self.registry = registry
        self.error = ""
        self.errors = 0
        self._lookout, self._ttl, self._done = lookout, ttl, done
        self._target: Target | None = None
        self._written: tuple[object, ...] | None = None
        """The key of the target that was written last."""
        self._wanted_since = 0.0
        self._beat_at = 0.0
        self._early = min(1.0, ttl / BEATS / 3)
        """Seconds before the beat is due: with a decision that is made anyway it does not wake the process by itself."""
        self._writing: asyncio.Task[None] | None = None
        self._bug: BaseException | None = None
        self._lost = 0
        self._refused = False
        """The last attempt was refused, since the catalog has changed meanwhile."""
        self._news = asyncio.Event()

    def want(self, target: Target) -> None:
        """Bring Consul to this target, in the background."""
        before, self._target = self._target, target
        self._news.set()
        if before is None or before.key != target.key:
            self._wanted_since = target.decided
        if self._writing and before and before.key != target.key:
            self.stop()
        if self._bug:
            raise self._bug
        if not self._writing and (self._is_due(target) or not self._settled()):
            self._writing = asyncio.create_task(self._write())
            self._writing.add_done_callback(self._ended)

    def _is_due(self, target: Target) -> bool:
        return bool(target.key != self._written or target.evict or clock() + self._early >= self._beat_at)

    def rests_on(self, seen: Mapping[str, Catalog]) -> bool:
        """Whether all that is wanted is written, no beat is due, and the last target was judged by just these catalogs."""
        target = self._target
        if target is None or self._writing or self._is_due(target) or target.seen.keys() != seen.keys():
            return False
        return all(target.seen[service] is catalog for service, catalog in seen.items())

    def stop(self) -> None:
        """Write nothing more, until something is wanted again."""
        if self._writing:
            self._writing.cancel()
            self._writing = None
            self._look_again()  # what was under way may still be done

    @property
    def next_beat(self) -> float:
        """Seconds until the TTL has to be beaten. What is overdue waits for the next decision, or is being tried."""
        left = self._beat_at - clock()
        return left if left > 0 else self._ttl

    def _look_again(self) -> None:
        """Have the next judgement rest on a catalog that is younger than what was written."""
        for catalog in self._lookout.catalogs():
            catalog.look_again()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._writing is task:
            self._writing = None
        if not task.cancelled():
            self._bug = task.exception()  # ends the process with the next decision, and systemd starts it again

    def _current(self) -> Target:
        if self._target is None:
            raise StaleDecision("nothing is wanted")
        return self._target

    def _settled(self) -> bool:
        """Whether the catalog that was decided on, if it is younger than the last write, holds what it should.

        A Consul agent that was out of reach may have started again, with its seals broken, which the catalog shows only
        once it has synced: then it is asked itself, before that.
        """
        if self._lookout.consul_lost != self._lost:
            return False
        registry, target = self.registry, self._current()
        for service, catalog in target.seen.items():
            if catalog.at <= registry.written:
                continue
            here = tuple(entry for entry in target.wanted if entry.name == service)
            if not settled(here, catalog.entries, registry.here or "", registry.naming):
                return False
        return True

    async def _write(self) -> None:
        try:
            # Made anew each time: it holds the state of the attempts, and a write that was ended may still be closing.
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type((ConsulError, StaleDecision)),
                wait=BACKOFF,
                stop=stop_after_attempt(ATTEMPTS),
                before_sleep=self._failed,
                sleep=self._pause,
                reraise=True,
            ):
                with attempt:
                    await self._pass()
        except (ConsulError, StaleDecision) as error:
            self._say(f"{error} ({ATTEMPTS} attempts)")
            return
        if self.error:
            log.info("%s: Consul takes the entries again", self._lookout.address)
            self.error = ""

    def _is_blind(self, target: Target) -> bool:
        """Whether it wants something to pass, and was decided before the claims were seen again after an error.

        A Consul agent that has started again has broken its seals, and one that was cut off may write late: only who
        knows the claims of now may have it write that something passes. A beat of what passes already writes nothing.
        """
        own = (c.seen_since for c in self._lookout.catalogs() if c.service == self.registry.naming.service)
        return target.decided < max(own, default=-inf) and any(entry.passing for entry in target.wanted)

    async def _pass(self) -> None:
        registry, target = self.registry, self._current()
        if self._is_blind(target):
            if target.key != self._written:
                raise StaleDecision("Consul has not shown the other claims since it was out of reach")
            await self._beat(target)
            return
        if self._lookout.consul_lost != self._lost:
            self._lost = self._lookout.consul_lost
            self._written = None
            registry.doubt()
        stale = not self._settled()
        if target.key != self._written or stale or target.evict:
            self._written = None  # until it is done, also if it is interrupted: anything may be half written
            before = registry.written
            await registry.converge(self._current)
            if stale and not self._settled():
                await registry.correct(self._current)
            if registry.written != before:  # else a look that fails would bring the next pass at once
                self._look_again()
        await self._beat(target)

    async def _beat(self, target: Target) -> None:
        try:
            await self.registry.beat(self._current)
        except ConsulUnknown:
            self.registry.doubt()
            self._written = None
            raise
        self._beat_at = clock() + self._ttl / BEATS * random.uniform(0.9, 1.0)  # noqa: S311 - spreads load
        if self._written != target.key:
            self._written = target.key
            self._done(target, clock() - self._wanted_since)

    async def _pause(self, seconds: float) -> None:
        """Sleep before the next attempt; where the catalog has changed, only until the next decision."""
        self._news.clear()
        if not self._refused:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    def _failed(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._refused = isinstance(error, ConsulConflict)
        self.errors += 1
        log.debug("%s: %s: %s", self._lookout.address, type(error).__name__, error)
        if isinstance(error, ConsulUnreachable):
            self.registry.doubt()
        if self._refused:
            self._look_again()
        # A conflict or a stale decision mends itself at the next look; what does not is said once.
        if not isinstance(error, ConsulConflict | StaleDecision | ConsulUnknown):
            self._say(str(error))

    def _say(self, error: str) -> None:
        if error != self.error:
            self.error = error
            log.warning("%s: Consul does not take the entries, trying on: %s", self._lookout.address, error)
