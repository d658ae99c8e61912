"""How long things took, counted by fixed bounds. Pure, and cheap enough to be fed by every request."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

REQUEST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Bounds for an answer of Redis or Consul, in seconds."""
PROMOTION = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Bounds for what follows a promotion, in seconds."""


class Histogram:
    """Counts of durations. Each bound is the longest duration, in seconds, that is counted under it."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; below 0, by two clocks that differ, counts as 0."""
        seconds = max(seconds, 0.0)
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def as_json(self) -> dict[str, Any]:
        """``bounds`` and ``sum`` in seconds; ``counts`` has one number more than there are bounds: what took longer."""
        return {"bounds": list(self._bounds), "counts": list(self._counts), "sum": round(self._sum, 6)}
