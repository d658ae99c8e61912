"""Holds a window of the witness' history against authority and against what the fault allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from math import inf

from consul_redis_agent.facts import Address
from consul_redis_agent.fleet import SCALE, Witness

from .authority import Loss, Tenure
from .pressure import Pressure

D = 0.020
"""Seconds for which a node may be named after it lost authority, where its agent, or the new master's, runs. Time that
the machine had no CPU for, or that the witness did not see, does not count."""
R = 3.0
"""Seconds after healing until exactly the right node is named."""
ROLE_PERIOD = 0.010
"""Seconds by which the witness may see a role late: it asks every 5 ms."""


class Empty(Enum):
    """When DNS may name nobody."""

    NEVER = "never"
    HEADLESS = "only while the node that has authority, if any, does not answer"
    ALLOWED = "for as long as the fault lasts"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must be seen."""

    moves: bool | None = True
    """Whether authority must move, must not, or may."""
    empty: Empty = Empty.HEADLESS
    late: Mapping[Loss, float] = field(default_factory=dict)
    """Seconds that replace ``D`` where this fault takes away who could act sooner."""

    def bound(self, loss: Loss) -> float:
        """For how many seconds after such a loss the old name may stay."""
        return self.late.get(loss, D) * SCALE


@dataclass(frozen=True, slots=True)
class Stale:
    """DNS named a node without authority, from start to stop; ``tenure`` is the one it had before, if any."""

    node: Address
    start: float
    stop: float
    tenure: Tenure | None

    @property
    def late(self) -> float:
        """For how many seconds the node had been without authority when it was named last."""
        return self.stop - self.tenure.end if self.tenure else inf


@dataclass(frozen=True, slots=True)
class Verdict:
    """Figures of one run, in seconds, and what was wrong."""

    two: float
    none: float
    wrong: float
    unanswered: float
    exact: tuple[float, ...]
    """Promotion by Sentinel → DNS names exactly that node; infinite if the next promotion came first."""
    gone: tuple[float, ...]
    """Authority lost → DNS names the node no more."""
    resolution: float
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class History:
    """All that was seen."""

    witness: Witness
    roles: Mapping[Address, Sequence[tuple[float, str | None]]]
    """Each change of what a node said of itself."""
    tenures: Sequence[Tenure]
    pressure: Pressure


def judge(history: History, expectation: Expectation, *, since: float, until: float, healed: float) -> Verdict:
    """Judge everything between two moments. ``healed``: from when on exactly the right node has to be named, plus R."""
    witness, tenures = history.witness, history.tenures
    two = witness.seconds_of_two(since=since, until=until)
    stale = list(_stale(witness, tenures, since, until))
    begun = [t for t in tenures if since <= t.start <= until]
    problems = [f"S1: DNS named two masters for {two * 1000:.1f} ms"] if two else []
    for span in stale:
        bound = expectation.bound(span.tenure.loss) if span.tenure and span.tenure.loss else 0.0
        unseen = sum(b - a for a, b in witness.gaps() if b >= span.start and a <= span.stop)
        stalled = history.pressure.stalled(span.stop - span.late, span.stop) if bound else 0.0
        if span.late > bound + unseen + stalled + ROLE_PERIOD:
            problems.append(
                f"S2: DNS named {span.node} {span.late * 1000:.1f} ms after it lost authority by "
                f"{span.tenure.loss if span.tenure else 'never having it'}; {bound * 1000:.0f} ms are allowed"
            )
    problems += _back(witness, tenures, since, until)
    problems += _empty(history, expectation, since, healed)
    final = tenures[-1]
    for start, _, seen in witness.spans(since=healed + R * SCALE, until=until):
        if seen.answers != frozenset({final.node}):
            problems.append(f"L: {start - healed:.1f} s after healing DNS answers {seen.answers}, not {final.node}")
    moved = [str(b.node) for a, b in pairwise(tenures) if a.node != b.node and since <= b.start <= until]
    if expectation.moves is not None and expectation.moves != bool(moved):
        problems.append(f"H: authority {f'moved to {moved}' if moved else 'did not move'}")
    return Verdict(
        two=two,
        none=witness.seconds_of_none(since=since, until=until),
        wrong=sum(span.stop - span.start for span in stale),
        unanswered=witness.seconds_unanswered(since=since, until=until),
        exact=tuple(_exact(witness, t) for t in begun if t.promoted),
        gone=tuple(_gone(witness, t) for t in tenures if t.loss and since <= t.end <= until),
        resolution=max([b - a for a, b in witness.gaps() if a >= since and b <= until], default=0.02),
        problems=tuple(problems),
    )


def _stale(witness: Witness, tenures: Sequence[Tenure], since: float, until: float) -> Iterator[Stale]:
    for node in {t.node for t in tenures} | {a for s in witness.history for a in s.answers or ()}:
        own = [t for t in tenures if t.node == node]
        for start, stop in witness.intervals(node):
            at, end = max(start, since), min(stop, until)
            while at < end:
                current = next((t for t in own if t.start - ROLE_PERIOD <= at < t.end), None)
                if current:
                    at = current.end
                    continue
                following = min((t.start for t in own if t.start > at), default=inf)
                before = max((t for t in own if t.end <= at), key=lambda t: t.end, default=None)
                yield Stale(node, at, min(end, following), before)
                at = following


def _back(witness: Witness, tenures: Sequence[Tenure], since: float, until: float) -> Iterator[str]:
    """Whether DNS, after it had named somebody, named one again whose authority is older."""
    newest = 0
    for start, _, seen in witness.spans(since=since, until=until):
        begun = [(i, t.node) for i, t in enumerate(tenures) if t.start - ROLE_PERIOD <= start]
        turns = [max((i for i, node in begun if node == named), default=-1) for named in seen.answers or ()]
        if turns and max(turns) < newest:
            yield f"H: {start - since:.4f} s after the beginning DNS went back to {set(seen.answers or ())}"
        newest = max([newest, *turns])


def _empty(history: History, expectation: Expectation, since: float, healed: float) -> Iterator[str]:
    if expectation.empty is Empty.ALLOWED:
        return
    excuses = [] if expectation.empty is Empty.NEVER else [*_vacancies(history), *_silences(history)]
    for start, stop, seen in history.witness.spans(since=since, until=healed):
        excused = any(a - ROLE_PERIOD <= start and stop <= b + R * SCALE for a, b in excuses)
        if seen.answers == frozenset() and not excused:
            yield f"H: DNS named nobody for {(stop - start) * 1000:.1f} ms while a master answered"


def _vacancies(history: History) -> Iterator[tuple[float, float]]:
    """When nobody had authority."""
    starts = [t.start for t in history.tenures[1:]]
    for tenure, following in zip(history.tenures, [*starts, inf], strict=True):
        yield tenure.end, following


def _silences(history: History) -> Iterator[tuple[float, float]]:
    """When who had authority gave no role, until it did again or another one had authority."""
    starts = [t.start for t in history.tenures[1:]]
    for tenure, successor in zip(history.tenures, [*starts, inf], strict=True):
        roles = history.roles[tenure.node]
        for (at, role), (following, _) in zip(roles, [*roles[1:], (inf, None)], strict=True):
            if role is None and following > tenure.start and at < tenure.end:
                yield at, min(following, successor)


def _exact(witness: Witness, tenure: Tenure) -> float:
    at = witness.exact_at(tenure.node, since=tenure.start)
    return inf if at is None else max(0.0, at - tenure.start)


def _gone(witness: Witness, tenure: Tenure) -> float:
    last = [stop for start, stop in witness.intervals(tenure.node) if start <= tenure.end]
    return max(0.0, last[-1] - tenure.end) if last else 0.0
