"""The entries under one service name in Consul's catalog: what it shows, and what its servers confirm.

A blocking query is an alarm clock: a current Consul agent answers it from a view of its own, and goes on doing so for
good when it is cut off from every server (agent/rpcclient/health, ``useStreaming``). So what it brings is shown, and
confirms nothing. What confirms is a plain ``?consistent`` read, which the leader of the servers has to answer, also where
``discovery_max_stale`` lets others be answered by a server that is behind. It has a deadline of its own, and counts from
when it was asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never, wait_exponential_jitter

from consul_redis_agent.clock import cancelling, clock, set_within
from consul_redis_agent.consul.api import ConsulAPI, seen
from consul_redis_agent.consul.form import read_entry
from consul_redis_agent.decide.facts import Catalog
from consul_redis_agent.errors import ConsulDenied, ConsulError, ConsulUnreachable

log = logging.getLogger(__name__)

BACKOFF = wait_exponential_jitter(multiplier=0.02, exp_base=3.0, max=0.25, jitter=0.05)
REFUSED = wait_exponential_jitter(multiplier=0.02, exp_base=3.0, max=1.0, jitter=0.2)
"""The same after an error that Consul has answered with (429, "no cluster leader"): asking more often does not help it."""
BURST, RATE = 100.0, 20.0
"""Blocking queries that may follow each other at once, and how many a second do after that, where the index always moves: a
failover moves it some ten times. Consul's documentation asks for such a limit."""
SELDOM = 30.0
"""Seconds between two reads on which no claim rests: they find out that the servers are out of reach."""
DEAF = 1.0
"""Seconds for which a blocking query that was refused is not put again."""
UNSTREAMED = 300.0
"""Seconds for which blocking queries go to the servers once a Consul agent could not stream: newer than its servers, it never can."""

Answer = tuple[int, list[dict[str, Any]]]


class CatalogWatch:
    """Keeps ``fact`` and ``confirmation`` true; calls ``changed`` when either is another one, and after every error.

    A blocking query waits ``wait`` seconds for a change, and before that for one of the ``turns``, since each takes a
    connection.
    """

    def __init__(
        self, api: ConsulAPI, service: str, wait: float, turns: asyncio.Semaphore, changed: Callable[[], None]
    ) -> None:
        self.service = service
        self.fact: Catalog | None = None
        """What Consul showed last; its ``at`` is when the answer came."""
        self.confirmation: Catalog | None = None
        """What the servers' leader answered last; its ``at`` is when it was asked."""
        self.error = ""
        self.lost = 0
        """How often the Consul agent was out of reach."""
        self.seen_since = inf
        """When it was answered again after the last error; infinite as long as it is not."""
        self._api, self._wait, self._turns, self._changed = api, wait, turns, changed
        self._looked = asyncio.Event()
        self._last_asked = -inf
        self._every = SELDOM
        self._wishes: dict[object, float] = {}
        self._due = -inf
        self._again = asyncio.Event()
        self._reading: asyncio.Task[Answer] | None = None
        self._alarm: asyncio.Task[Answer] | None = None
        self._deaf_until = -inf
        """The alarm was refused: until then it is not set again."""
        self._unstreamed_until = -inf
        """Until then the alarm is set at the servers."""
        self._index = 0
        self._spare, self._counted = BURST, clock()
        """How many queries are within the limit just now."""

    def look_again(self) -> None:
        """Read now, without waiting for a change; a read under way begins anew."""
        self._due = -inf
        self._again.set()
        if self._reading:
            self._reading.cancel()

    def confirm(self, who: object, every: float) -> None:
        """Read at least every so many seconds from now on, since a claim of ``who`` rests on it; infinite: none does."""
        self._wishes[who] = every
        self._every = min(SELDOM, *self._wishes.values())
        if self._due > self._last_asked + self._every:
            self._due = self._last_asked + self._every
            self._again.set()

    def hurry(self, within: float) -> None:
        """Read now, unless a read is under way or was put within so many seconds."""
        asked = self.confirmation.at if self.confirmation else -inf
        if not self._reading and clock() - asked > within:
            self._due = -inf
            self._again.set()

    async def fresh(self) -> None:
        """Ask now, and return once a question that was put after this call is answered, well or not."""
        since = clock()
        self.look_again()
        while self._last_asked < since:
            await self._looked.wait()

    def over(self) -> None:
        """The watch has ended: whoever waits for a look waits no longer."""
        self._drop_alarm()
        self._last_asked, self._due = clock(), -inf
        waiting, self._looked = self._looked, asyncio.Event()
        waiting.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(ConsulError),
                    wait=_backoff,
                    stop=stop_never,
                    before_sleep=self._missed,
                ):
                    with attempt:
                        await (self._await_change() if clock() < self._due else self._read())
        finally:
            self._drop_alarm()

    async def _read(self) -> None:
        """Have the servers' leader answer."""
        while True:
            asked = clock()
            self._due = asked + self._every  # before the question: whoever wants another one meanwhile is heard
            self._reading = asyncio.create_task(
                self._api.health(self.service, consistency="consistent", timeout=min(self._api.timeout, self._every))
            )
            self._reading.add_done_callback(seen)
            try:
                index, answer = await self._reading
            except asyncio.CancelledError:
                if self._reading.cancelled() and not cancelling():
                    continue  # look_again() has cut the question short
                self._reading.cancel()
                raise
            finally:
                self._reading = None
            break
        if index != self._index:
            self._drop_alarm()
        self._index = index
        self._show(index, answer)
        if self.fact:
            self.confirmation = replace(self.fact, at=asked)
        if self.seen_since == inf:
            self.seen_since = clock()
        self.error = ""
        self._changed()
        self._tell(asked)

    async def _await_change(self) -> None:
        """Wait for the alarm until the next read is due."""
        self._again.clear()
        if clock() < self._deaf_until:
            await set_within(self._again, max(0.0, min(self._due, self._deaf_until) - clock()))
            return
        if self._alarm is None:
            self._alarm = asyncio.create_task(self._ring())
            self._alarm.add_done_callback(seen)
            self._alarm.add_done_callback(lambda _: self._again.set())
        if not self._alarm.done():
            await set_within(self._again, max(0.0, self._due - clock()))
        if self._alarm.done():
            alarm, self._alarm = self._alarm, None
            try:
                index, answer = alarm.result()
            except ConsulUnreachable:
                raise
            except ConsulError as error:  # such as a token that was deleted: what it means, a read tells
                log.debug("the blocking query on %r failed: %s", self.service, error)
                self._due = -inf
                if clock() < self._unstreamed_until or isinstance(error, ConsulDenied):
                    self._deaf_until = clock() + DEAF
                else:
                    self._unstreamed_until = clock() + UNSTREAMED
                return
            emptied = not answer and bool(self.fact and self.fact.entries)  # or the token may not see them any more
            if (
                not index or emptied
            ):  # it went backwards: a view that was never filled, or servers restored from a snapshot
                self._due = -inf
            elif self._show(index, answer):
                self._changed()
            self._index = index

    async def _ring(self) -> Answer:
        if (pause := self._pause()) > 0:
            await asyncio.sleep(pause)
        async with self._turns:
            by_servers = clock() < self._unstreamed_until
            return await self._api.health(self.service, self._index, self._wait, by_servers=by_servers)

    def _pause(self) -> float:
        """Seconds until one more query is within the limit; it counts as put then."""
        now = clock()
        self._spare = min(BURST, self._spare + (now - self._counted) * RATE) - 1.0
        self._counted = now
        return max(0.0, -self._spare / RATE)

    def _drop_alarm(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm:
            alarm.cancel()

    def _show(self, index: int, answer: list[dict[str, Any]]) -> bool:
        """Take in an answer; whether it shows something else than the one before."""
        before, entries = self.fact, tuple(map(read_entry, answer))
        same = before is not None and before.entries == entries
        self.fact = Catalog(clock(), index, before.entries if before and same else entries)
        return not same

    async def _missed(self, state: RetryCallState) -> None:
        self._drop_alarm()
        self._due = -inf
        error = state.outcome.exception() if state.outcome else None
        self.error = str(error)
        self.seen_since = inf
        if isinstance(error, ConsulUnreachable):
            self.lost += 1
        self._changed()
        self._tell(clock())

    def _tell(self, asked: float) -> None:
        self._last_asked = asked
        waiting, self._looked = self._looked, asyncio.Event()
        waiting.set()


def _backoff(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (BACKOFF if isinstance(error, ConsulUnreachable) else REFUSED)(state)
