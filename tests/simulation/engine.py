"""Virtual time: an event queue, one source of chance, and what happened."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any

Action = Callable[..., Any]


class Violation(AssertionError):
    """A promise was broken."""


class Engine:
    """Runs what is due, one event after the other; the same seed gives the same history."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self.after_each: Action = lambda: None
        self.history: deque[tuple[float, str, str]] = deque(maxlen=4000)
        self._queue: list[tuple[float, int, Action, tuple[Any, ...]]] = []
        self._count = 0

    def later(self, seconds: float, action: Action, *args: Any) -> None:
        """Do it once ``seconds`` have passed."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + seconds, self._count, action, args))

    def run(self, until: float) -> None:
        """Let time pass."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, action, args = heapq.heappop(queue)
            action(*args)
            self.after_each()
        self.now = until

    def say(self, who: str, what: str) -> None:
        """Note it for the history."""
        self.history.append((self.now, who, what))

    def delay(self) -> float:
        """Seconds that a message takes: a millisecond, seldom twenty."""
        rng = self.rng
        return rng.uniform(0.0003, 0.002) if rng.random() < 0.95 else rng.uniform(0.002, 0.02)
