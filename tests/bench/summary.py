"""From samples to figures: median, p95, worst, and how a cost grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from statistics import median
from typing import Literal

from .record import POLLER, PUBLISHERS, SCENARIOS, Cost, Failover, in_order

Delay = Literal["promotion_to_dns", "death_to_gone"]
Span = Literal["two", "none", "wrong"]
Unit = Literal["nodes", "agents"]


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of some samples; ``inf`` stands for never."""

    n: int
    median: float
    p95: float
    worst: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Summary | None:
        """``p95`` is the smallest sample that at least 95 % of them do not exceed (nearest rank)."""
        if not samples:
            return None
        ordered = sorted(samples)
        return cls(len(ordered), median(ordered), ordered[ceil(0.95 * len(ordered)) - 1], ordered[-1])


class Failovers:
    """The failovers of a run, by scenario and publisher."""

    def __init__(self, failovers: Sequence[Failover]) -> None:
        self._all = failovers
        self.scenarios = in_order({f["scenario"] for f in failovers}, SCENARIOS)

    def publishers(self, scenario: str | None = None) -> list[str]:
        """Those that took part, in a scenario or in any."""
        return in_order({f["publisher"] for f in self._all if scenario in (None, f["scenario"])}, PUBLISHERS)

    def applies(self, scenario: str, delay: Delay) -> bool:
        """Whether the scenario has this delay at all: somebody's was measured in some round."""
        return any(f[delay] is not None for f in self._all if f["scenario"] == scenario)

    def delays(self, scenario: str, publisher: str, delay: Delay) -> list[float]:
        """Seconds, a sample a round; ``inf`` for a round that ended before it happened."""
        if not self.applies(scenario, delay):
            return []
        samples = [(f[delay], f.get("never", False)) for f in self._of(scenario, publisher)]
        return [inf if sample is None else sample for sample, never in samples if sample is not None or never]

    def spans(self, scenario: str, publisher: str, span: Span) -> list[float]:
        """Seconds of two, none or wrong, a sample a round."""
        return [f[span] for f in self._of(scenario, publisher)]

    def ratio(self, scenario: str, publisher: str) -> float | None:
        """The median of promotion → DNS over the INFO poller's in the same scenario."""
        own, poller = (Summary.of(self.delays(scenario, name, "promotion_to_dns")) for name in (publisher, POLLER))
        return own.median / poller.median if own and poller and 0 < poller.median < inf else None

    def _of(self, scenario: str, publisher: str) -> Iterable[Failover]:
        return (f for f in self._all if f["scenario"] == scenario and f["publisher"] == publisher)


@dataclass(frozen=True, slots=True)
class Line:
    """A cost that grows as ``constant + slope · n``."""

    constant: float
    slope: float

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> Line | None:
        """Fit by least squares of the *relative* error, so that one node counts for as much as 500; None if unfit."""
        if len({n for n, _ in points}) < 2 or any(y <= 0 for _, y in points):
            return None
        weighted = [(1 / y**2, n, y) for n, y in points]
        total = sum(w for w, _, _ in weighted)
        mean_n, mean_y = sum(w * n for w, n, _ in weighted) / total, sum(w * y for w, _, y in weighted) / total
        slope = sum(w * (n - mean_n) * (y - mean_y) for w, n, y in weighted)
        slope /= sum(w * (n - mean_n) ** 2 for w, n, _ in weighted)
        return cls(mean_y - slope * mean_n, slope)

    @classmethod
    def of(cls, costs: Iterable[Cost], unit: Unit, quantity: Callable[[Cost], float | None]) -> Line | None:
        """Fit one quantity of one publisher's costs, as far as it was measured."""
        points = [(float(cost[unit]), quantity(cost)) for cost in costs if unit in cost]
        return cls.through([(n, y) for n, y in points if y is not None])

    def at(self, n: float) -> float:
        """The cost of ``n``."""
        return self.constant + self.slope * n


def whole_cpu(cost: Cost) -> float | None:
    """Seconds of CPU an hour of a publisher and of what it makes Consul and Redis do; None if nothing was measured."""
    parts = [part for part in (cost.get("cpu"), cost.get("cpu_consul"), cost.get("cpu_redis")) if part is not None]
    return sum(parts) if parts else None
