"""What the watches of Redis and of a Sentinel have in common: to look again and again, and at once when asked."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never
from tenacity.wait import wait_base

from consul_redis_agent.clock import clock
from consul_redis_agent.watch.link import Unanswered


class Looks(ABC):
    """A look every ``period`` seconds, or as soon as somebody asks; after one that failed, what ``backoff`` says."""

    def __init__(self, period: float, backoff: wait_base) -> None:
        self._period, self._backoff = period, backoff
        self._again = asyncio.Event()
        self._ended = asyncio.Condition()
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
        async with self._ended:
            await self._ended.wait_for(lambda: self._last >= since)

    async def look_for_ever(self) -> None:
        """Look until cancelled."""
        while True:
            self._again.clear()
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(Unanswered),
                wait=self._backoff,
                stop=stop_never,
                before_sleep=self._failed,
                sleep=self._pause,
            ):
                with attempt:
                    began = clock()
                    await self._look(began)
            await self._tell(began)
            await self._pause(self._period)

    @abstractmethod
    async def _look(self, began: float) -> None:
        """Look, and show what was seen. Raises Unanswered."""

    @abstractmethod
    def _missed(self, error: Unanswered) -> None:
        """Show that a look has failed."""

    async def _failed(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._again.clear()  # a connection that is closed at once asks for a look each time: the backoff decides
        self._missed(error if isinstance(error, Unanswered) else Unanswered(str(error)))
        await self._tell(clock())

    async def _tell(self, looked: float) -> None:
        self._last = looked
        async with self._ended:
            self._ended.notify_all()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._again.wait()
        except TimeoutError:
            return
