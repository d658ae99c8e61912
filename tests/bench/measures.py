"""What one publisher made of one window of a failover; pure functions of what was seen. Times are monotonic seconds.

A window is held against the *truth*: who the master is at each moment. The old master is, until it dies or another
node's own ROLE says master for the first time; from that promotion on the new one is, whatever the old one says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from consul_redis_agent.decide.facts import Address
from tests.fleet import Seen

Names = frozenset[Address] | None
"""What DNS answered; None: it gave no answer."""


@dataclass(frozen=True, slots=True)
class Window:
    """One phase of a round, judged from ``start`` to ``stop`` for every publisher alike."""

    scenario: str
    start: float
    stop: float
    old: Address
    new: Address
    promotion: float | None = None
    """When the new node's ROLE first said master, None where it was master all the time."""
    death: float | None = None
    """When the old node answered no more, None where it lives."""

    def master(self, at: float) -> Address | None:
        """The true master at a moment; None between a death and the promotion."""
        if self.promotion is None or at >= self.promotion:
            return self.new
        return self.old if self.death is None or at < self.death else None


@dataclass(frozen=True, slots=True)
class Seconds:
    """For how long DNS said something wrong.

    What DNS could not do better does not count: naming nobody is right while there is no master.
    """

    two: float = 0.0
    """More than one name."""
    none: float = 0.0
    """Nobody, though there was a master."""
    wrong: float = 0.0
    """One name, which was not the master's."""


def spans(history: Sequence[Seen], start: float, stop: float) -> Iterator[tuple[float, float, Names]]:
    """Cut a history to a window: from, to, what DNS answered all that time."""
    ends = [*(seen.at for seen in history[1:]), stop]
    for seen, end in zip(history, ends, strict=True):
        since, until = max(seen.at, start), min(end, stop)
        if since < until:
            yield since, until, seen.answers


def promotion_to_dns(history: Sequence[Seen], window: Window) -> float | None:
    """Seconds from the promotion until DNS named exactly the new master and did so until the window's end.

    A moment of anything else, however late, starts the wait anew; a moment without any answer does not. None: it was
    never so, or nobody was promoted.
    """
    if window.promotion is None:
        return None
    exact: float | None = None
    for since, _, names in spans(history, window.promotion, window.stop):
        if names is not None and names != {window.new}:
            exact = None
        elif exact is None and names is not None:
            exact = since
    return None if exact is None else exact - window.promotion


def death_to_gone(history: Sequence[Seen], window: Window) -> float | None:
    """Seconds from the old master's death until DNS named it for the last time in the window, alone or not.

    None: it was still named at the window's end, or nobody died.
    """
    if window.death is None:
        return None
    gone = window.death
    for _, until, names in spans(history, window.death, window.stop):
        if names is not None and window.old in names:
            gone = until
    return gone - window.death if gone < window.stop else None


def settled(history: Sequence[Seen], window: Window) -> bool:
    """Whether DNS named exactly the new master at the window's end."""
    said = [names for *_, names in spans(history, window.start, window.stop) if names is not None]
    return bool(said) and said[-1] == {window.new}


def seconds(history: Sequence[Seen], window: Window) -> Seconds:
    """For how long DNS said something wrong in the window."""
    two = none = wrong = 0.0
    turns = [at for at in (window.death, window.promotion) if at is not None and window.start < at < window.stop]
    for start, stop in pairwise([window.start, *sorted(turns), window.stop]):
        master = window.master(start)
        for since, until, names in spans(history, start, stop):
            if names is None:
                continue
            if len(names) > 1:
                two += until - since
            elif not names:
                none += until - since if master is not None else 0.0
            elif names != {master}:
                wrong += until - since
    return Seconds(two, none, wrong)
