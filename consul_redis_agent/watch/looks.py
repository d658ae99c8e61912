"""What the watches of Redis and of a Sentinel have in common: to look again and again, and at once when asked."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from tenacity import AsyncRetrying, RetryCallState

from consul_redis_agent.clock import clock, set_within, until_tick
from consul_redis_agent.errors import Unanswered


class Looks(ABC):
    """A look every ``period`` seconds, or as soon as somebody asks; after one that failed, what ``backoff`` says.

    ``phase`` is that of :func:`~consul_redis_agent.clock.until_tick`.
    """

    def __init__(self, period: float, backoff: Callable[[RetryCallState], float], phase: float = 0.0) -> None:
        self._period, self._backoff, self._phase = period, backoff, phase
        self._again = asyncio.Event()
        self._ended = asyncio.Event()
        self._last = float("-inf")

    @property
    def looked(self) -> bool:
        """Whether there was a look at all, well or not."""
        return self._last > float("-inf")

    def look_again(self) -> None:
        """Look now rather than when the period is over."""
        self._again.set()

    async def fresh(self) -> None:
        """Look now, and return once a look that began after this call has ended, well or not."""
        since = clock()
        self.look_again()
        while self._last < since:
            await self._ended.wait()

    def over(self) -> None:
        """The watch has ended: whoever waits for a look waits no longer."""
        self._tell(clock())

    async def look_for_ever(self) -> None:
        """Look until cancelled."""
        failures = RetryCallState(AsyncRetrying(), None, (), {})  # only counts here: most looks succeed
        while True:
            self._again.clear()
            began = clock()
            try:
                await self._look(began)
            except Unanswered as error:
                self._again.clear()  # a connection that is closed at once asks for a look each time: the backoff decides
                self._missed(error)
                self._tell(clock())
                await set_within(self._again, self._backoff(failures))
                failures.attempt_number += 1
            else:
                failures.attempt_number = 1
                self._tell(began)
                await set_within(self._again, self._pause())

    def _pause(self) -> float:
        """Seconds until the next look, if nobody asks for one."""
        return until_tick(self._period, self._phase)

    @abstractmethod
    async def _look(self, began: float) -> None:
        """Look, and show what was seen. Raises Unanswered."""

    @abstractmethod
    def _missed(self, error: Unanswered) -> None:
        """Show that a look has failed."""

    def _tell(self, looked: float) -> None:
        self._last = looked
        self._ended.set()
        self._ended = asyncio.Event()
