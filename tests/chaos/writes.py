"""What applications wrote, and what of it is left: figures, and what of a loss has an excuse. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from .authority import Loss, Tenure

HANDFUL = 0.2
"""Seconds before and after authority moves in which a write may be lost: Redis replicates after it has acknowledged, and
who asked DNS just before writes just after."""

APART = 0.2
"""Seconds between two writes of a thread that make a pause."""

Span = tuple[float, float]
"""Two moments, in monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Writes:
    """What one writer was told is written, with the monotonic second of each answer, and what the master of the end has."""

    acknowledged: Sequence[tuple[int, float]]
    there: Collection[int]
    errors: int = 0
    """Writes that failed."""
    lanes: int = 1
    """Threads that it wrote with: the number modulo this tells which."""
    until: float | None = None
    """When it was stopped, where that is known."""

    @property
    def lost(self) -> list[float]:
        """When each write that is lost was acknowledged."""
        there = frozenset(self.there)
        return [at for number, at in self.acknowledged if number not in there]

    @property
    def stretches(self) -> list[Span]:
        """From when to when one thread's writes were lost, with none between that is there and no pause, oldest first."""
        there, found = frozenset(self.there), []
        for lane in self._by_lane():
            for is_lost, stretch in groupby(lane, key=lambda write: write[0] not in there):
                if is_lost:
                    found += unbroken([at for _, at in stretch])
        return sorted(found)

    @property
    def lost_over(self) -> float:
        """For how many seconds writes were lost; what threads lost at the same time counts once."""
        total, reached = 0.0, float("-inf")
        for start, stop in self.stretches:
            total += max(0.0, stop - max(start, reached))
            reached = max(reached, stop)
        return total

    @property
    def pause(self) -> Span:
        """The longest time between two acknowledged writes of one thread, or the last one and the end."""
        spans = [
            span
            for lane in self._by_lane()
            for span in pairwise([at for _, at in lane] + ([self.until] if self.until is not None else []))
        ]
        return max(spans, key=lambda span: span[1] - span[0], default=(0.0, 0.0))

    @property
    def gap(self) -> float:
        """How long that was, in seconds."""
        start, stop = self.pause
        return stop - start

    def _by_lane(self) -> Iterator[list[tuple[int, float]]]:
        for lane in range(self.lanes):
            yield [(number, at) for number, at in self.acknowledged if number % self.lanes == lane]


def unbroken(moments: Sequence[float]) -> list[Span]:
    """From when to when each moment is followed by another one within ``APART``."""
    if not moments:
        return []
    breaks = [0, *(i for i, (a, b) in enumerate(pairwise(moments), 1) if b - a > APART), len(moments)]
    return [(moments[a], moments[b - 1]) for a, b in pairwise(breaks)]


def unexcused(lost: Sequence[float], tenures: Sequence[Tenure], bound: Callable[[Loss], float]) -> list[float]:
    """Which of the moments of loss nothing excuses. ``bound`` is for how long after a loss of authority the name stays.

    Where who asks DNS follows authority, a write is lost only near a move, or to a node that lost its authority again:
    an early one that fell, or the one that had it instead until a majority followed that one after all.
    """
    excuses = [*_excuses(tenures, bound)]
    return [at for at in lost if not any(start <= at <= stop for start, stop in excuses)]


def _excuses(tenures: Sequence[Tenure], bound: Callable[[Loss], float]) -> Iterator[Span]:
    for tenure in tenures:
        if tenure.loss:
            start = tenure.start if tenure.early or tenure.returned else tenure.end
            yield start - HANDFUL, tenure.end + bound(tenure.loss) + HANDFUL
