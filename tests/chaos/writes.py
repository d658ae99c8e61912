"""What applications wrote, and what of it is left: figures, and what of a loss has an excuse. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .authority import Loss, Tenure

HANDFUL = 0.2
"""Seconds before and after authority moves in which a write may be lost: Redis replicates after it has acknowledged, and
who asked DNS just before writes just after."""


@dataclass(frozen=True, slots=True)
class Writes:
    """What one writer was told is written, with the monotonic second of each answer, and what the master of the end has."""

    acknowledged: Sequence[tuple[int, float]]
    there: Collection[int]

    @property
    def lost(self) -> list[float]:
        """When each write that is lost was acknowledged."""
        there = frozenset(self.there)
        return [at for number, at in self.acknowledged if number not in there]

    @property
    def lost_over(self) -> float:
        """For how many seconds such writes were acknowledged."""
        lost = self.lost
        return lost[-1] - lost[0] if lost else 0.0

    @property
    def gap(self) -> float:
        """The longest time in seconds between two acknowledged writes."""
        return max((after - before for (_, before), (_, after) in pairwise(self.acknowledged)), default=0.0)


def unexcused(lost: Sequence[float], tenures: Sequence[Tenure], bound: Callable[[Loss], float]) -> list[float]:
    """Which of the moments of loss nothing excuses. ``bound`` is for how long after a loss of authority the name stays.

    Where who asks DNS follows authority, a write is lost only near a move, or to a node that lost its authority again:
    an early one that fell, or the one that had it instead until a majority followed that one after all.
    """
    excuses = [*_excuses(tenures, bound)]
    return [at for at in lost if not any(start <= at <= stop for start, stop in excuses)]


def _excuses(tenures: Sequence[Tenure], bound: Callable[[Loss], float]) -> Iterator[tuple[float, float]]:
    for tenure in tenures:
        if tenure.loss:
            start = tenure.start if tenure.early or tenure.returned else tenure.end
            yield start - HANDFUL, tenure.end + bound(tenure.loss) + HANDFUL
