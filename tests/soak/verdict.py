"""What of a process grows from fault to fault, and what is noise. Pure.

Each point is a level at rest: the lowest that was seen of a process between one fault's healing and the next fault. The
slope is that of Theil and Sen, the median over all pairs of points, so that single steps and outliers do not move it.
Only points of one generation, which a restart ends, are paired (as the seasonal Kendall test does); its first points
are left out as warm-up. The bounds are Sen's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations, groupby
from math import floor, inf, sqrt
from operator import attrgetter
from statistics import median

WARM_UP = 15
"""Points of a generation that are left out, or half of them where there are fewer: caches fill, and bounded records."""
CONFIDENCE = 2.576
"""Standard deviations: a process that does not grow is said to grow, for one measure, less than once in 200 times."""
LIMITS: Mapping[str, float] = {
    "uss": 512.0,
    "blocks": 8.0,
    "descriptors": 0.05,
    "threads": 0.05,
    "tasks": 0.05,
    "redis": 0.05,
    "sentinel": 0.05,
    "consul": 0.05,
    "clients": 0.05,
}
"""What may be left by a fault. Memory in bytes: half of a kibibyte, the smallest leak that must be found, and blocks of
Python's memory for the same (64 bytes each, on average). Anything else is counted in whole numbers: one in twenty faults."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level at rest after a fault, by its number."""

    fault: int
    generation: int
    """The id of the process."""
    value: float


class Trend(Enum):
    """What a measure does."""

    FLAT = "flat"
    GROWS = "grows"
    UNKNOWN = "too short to tell"


@dataclass(frozen=True, slots=True)
class Slope:
    """How much is left by a fault, and between which bounds that is."""

    value: float
    low: float
    high: float

    def trend(self, limit: float) -> Trend:
        """Whether it grows by more than the limit for sure, or not for sure."""
        if self.low > limit:
            return Trend.GROWS
        return Trend.FLAT if self.high <= limit else Trend.UNKNOWN


UNKNOWN = Slope(0.0, -inf, inf)
"""Of what has too few points."""


def slope(levels: Iterable[Level]) -> Slope:
    """The slope of one process over all its generations. ``levels`` are in the order of time."""
    pairs: list[float] = []
    variance = 0.0
    for _, generation in groupby(levels, key=attrgetter("generation")):
        points = warm([*generation])
        pairs += [(b.value - a.value) / (b.fault - a.fault) for a, b in combinations(points, 2)]
        variance += len(points) * (len(points) - 1) * (2 * len(points) + 5) / 18
    pairs.sort()
    reach = CONFIDENCE * sqrt(variance)
    low, high = floor((len(pairs) - reach) / 2), floor((len(pairs) + reach) / 2) + 1
    if low < 0 or high >= len(pairs):
        return UNKNOWN if not pairs else Slope(median(pairs), -inf, inf)
    return Slope(median(pairs), pairs[low], pairs[high])


def warm(levels: Sequence[Level]) -> Sequence[Level]:
    """A generation after its warm-up."""
    return levels[min(WARM_UP, len(levels) // 2) :]
