"""Holds a window of the history against authority and against what the fault allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from math import inf

from consul_redis_agent.decide.facts import Address
from tests.fleet import SCALE
from tests.fleet.sampler import DEADLINE

from .authority import FALLS, ROLE_PERIOD, Loss, Tenure
from .history import History
from .writes import HANDFUL, Writes, unexcused

D = 0.020
"""Seconds for which a node may be named after it lost authority, where its agent, or the new master's, runs. What is
longer is counted and shown; a busy machine alone can make it so."""
SURE = 10 * D
"""Seconds that no busy machine explains, and that every slower way takes: a poll is 1 s, ``+switch-master`` 0.9 s. This
is asserted; time that the machine had no CPU for, or that the witness did not see, does not count."""
R = 3.0
"""Seconds after healing until exactly the right node is named."""
FALL = 1.0
"""Seconds for which a node may be named after an early tenure fell, instead of ``SURE``."""


class Empty(Enum):
    """When DNS may name nobody."""

    NEVER = "never"
    HEADLESS = "only while the node that has authority, if any, does not answer"
    ALLOWED = "for as long as the fault lasts"


@dataclass(frozen=True, slots=True)
class Promise:
    """What an application may lose at most where agents fence."""

    lost: float | None = HANDFUL
    """For how many seconds acknowledged writes may be lost, by any writer; 0: not a single one. None: nothing is promised."""
    gap: float | None = None
    """The longest time in seconds between two writes of a thread that finds the master by its name."""
    copies: int | None = None
    """How often a node may give another one its whole data set."""


RESOLVING = {"kept": 0.65, "pool": 0.0, "each": 0.0}
"""The writers that find the master by its name, and the seconds that redis-py's own pause between two attempts may add: its
defaults double it from 20 ms on, at random, and half a second of a master's absence takes six of them."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must be seen."""

    moves: bool | None = True
    """Whether authority must move, must not, or may."""
    empty: Empty = Empty.HEADLESS
    late: Mapping[Loss, float] = field(default_factory=dict)
    """Seconds that replace ``D`` and ``SURE`` where this fault takes away who could act sooner."""
    promise: Promise | None = None
    excuses: bool = False
    """Whether each write that who asks DNS each time has lost needs an excuse."""

    def bound(self, loss: Loss) -> float:
        """For how many seconds after such a loss the old name may stay."""
        return self.late.get(loss, FALL if loss in FALLS else SURE) * SCALE


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
    exact: tuple[float, ...]
    """Promotion by Sentinel → DNS names exactly that node; infinite if the next promotion came first."""
    gone: tuple[float, ...]
    """Authority lost → DNS names the node no more."""
    back: tuple[float, ...]
    """An early tenure of another node fell → DNS names exactly the node that has authority again."""
    over_d: int
    """How many in ``gone`` took longer than D, though nothing excuses it."""
    resolution: float
    problems: tuple[str, ...]
    writes: Mapping[str, Writes] = field(default_factory=dict)
    copies: int = 0


def judge(history: History, expectation: Expectation, *, since: float, until: float, healed: float) -> Verdict:
    """Judge everything between two moments. ``healed``: from when on exactly the right node has to be named, plus R."""
    tenures = history.tenures
    two = history.seconds(lambda names: len(names) > 1, since, until)
    stale = list(_stale(history, since, until))
    lost = [t for t in tenures if t.loss and since <= t.end <= until]
    begun = [t for t in tenures if since <= t.start <= until]
    problems = [f"S1: DNS named two masters for {two * 1000:.1f} ms"] if two else []
    for name in stale:
        bound = expectation.bound(name.tenure.loss) if name.tenure and name.tenure.loss else 0.0
        unseen = sum(b - a for a, b in history.gaps if b >= name.start and a <= name.stop)
        stalled = history.stalled(name.stop - name.late, name.stop) if bound else 0.0
        if name.late > bound + unseen + stalled + ROLE_PERIOD:
            problems.append(
                f"S2: DNS named {name.node} {name.late * 1000:.1f} ms after it lost authority by "
                f"{name.tenure.loss if name.tenure else 'never having it'}; {bound * 1000:.0f} ms are allowed"
            )
    problems += _back(history, since, until)
    problems += _empty(history, expectation, since, healed)
    final = tenures[-1]
    for span in history.between(max(healed, final.start) + R * SCALE, until):
        starved = span.names is None and span.stop - span.start <= history.stalled(span.start - DEADLINE, span.stop)
        if span.names != frozenset({final.node}) and not starved:
            named = "gives no answer" if span.names is None else f"names {sorted(map(str, span.names))}"
            problems.append(f"L: {span.start - healed:.1f} s after healing DNS {named}, not {final.node}")
    problems += _writes(history, expectation)
    moved = [str(b.node) for a, b in pairwise(tenures) if a.node != b.node and since <= b.start <= until]
    if expectation.moves is not None and expectation.moves != bool(moved):
        problems.append(f"H: authority {f'moved to {moved}' if moved else 'did not move'}")
    return Verdict(
        two=two,
        none=history.seconds(lambda names: not names, since, until),
        wrong=sum(name.stop - name.start for name in stale),
        exact=tuple(_exact(history, t) for t in begun if t.promoted),
        gone=tuple(_gone(history, t) for t in lost),
        back=tuple(_exact(history, t) for t in begun if t.returned),
        over_d=sum(_gone(history, t) > D for t in lost if t.loss not in {*expectation.late, *FALLS}),
        resolution=max([b - a for a, b in history.gaps if a >= since and b <= until], default=0.02),
        problems=tuple(problems),
        writes=history.writes,
        copies=history.copies,
    )


def _stale(history: History, since: float, until: float) -> Iterator[Stale]:
    for node in {node for span in history.spans for node in span.names or ()}:
        own = [t for t in history.tenures if t.node == node]
        for start, stop in history.named(node):
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


def _back(history: History, since: float, until: float) -> Iterator[str]:
    """Whether DNS, after it had named somebody, named one again whose authority is older."""
    newest = 0
    for span in history.between(since, until):
        begun = [(i, t.node) for i, t in enumerate(history.tenures) if t.start - ROLE_PERIOD <= span.start]
        turns = [max((i for i, node in begun if node == named), default=-1) for named in span.names or ()]
        if turns and max(turns) < newest:
            yield f"H: {span.start - since:.4f} s after the beginning DNS went back to {sorted(map(str, span.names or ()))}"
        newest = max([newest, *turns])


def _empty(history: History, expectation: Expectation, since: float, healed: float) -> Iterator[str]:
    if expectation.empty is Empty.ALLOWED:
        return
    excuses = [] if expectation.empty is Empty.NEVER else [*_vacancies(history), *_silences(history)]
    joined = _joined((start - ROLE_PERIOD, stop + R * SCALE) for start, stop in excuses)
    for span in history.between(since, healed):
        excused = any(start <= span.start and span.stop <= stop for start, stop in joined)
        if span.names == frozenset() and not excused:
            yield f"H: DNS named nobody for {(span.stop - span.start) * 1000:.1f} ms while a master answered"


def _joined(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


def _vacancies(history: History) -> Iterator[tuple[float, float]]:
    """When nobody had authority, or it moved; who has it again may have it before the other one has lost it."""
    starts = [t.start for t in history.tenures[1:]]
    for tenure, following in zip(history.tenures, [*starts, inf], strict=True):
        yield min(tenure.end, following), max(tenure.end, following)


def _silences(history: History) -> Iterator[tuple[float, float]]:
    """When who had authority gave no role, until it did again or another one had authority."""
    starts = [t.start for t in history.tenures[1:]]
    for tenure, successor in zip(history.tenures, [*starts, inf], strict=True):
        roles = history.roles[tenure.node]
        for (at, role), (following, _) in zip(roles, [*roles[1:], (inf, None)], strict=True):
            if role is None and following > tenure.start and at < tenure.end:
                yield at, min(following, successor)


def _writes(history: History, expectation: Expectation) -> Iterator[str]:
    """What who asks DNS each time has lost, beside what the asynchronous replication and a fallen master explain."""
    each = history.writes.get("each")
    if each and expectation.excuses:
        lost = unexcused(each.lost, history.tenures, expectation.bound)
        if lost:
            yield f"A: {len(lost)} acknowledged writes of who asks DNS each time are lost, over {lost[-1] - lost[0]:.3f} s"
    if expectation.promise:
        yield from _broken(history, expectation.promise)


def _broken(history: History, promise: Promise) -> Iterator[str]:
    """Where a promise was not kept. What it allows is longer by the time that the machine had no CPU for."""
    for name, writes in history.writes.items():
        if writes.lost and promise.lost is not None:
            stalled = sum(history.stalled(start, stop) for start, stop in writes.stretches)
            allowed = promise.lost * SCALE + stalled if promise.lost else 0.0
            if not promise.lost or writes.lost_over > allowed:
                over = f"over {writes.lost_over:.3f} s; {allowed:.3f} s are allowed"
                yield f"A: {len(writes.lost)} acknowledged writes of {name} are lost, {over}"
        start, stop = writes.pause
        if name in RESOLVING and promise.gap is not None:
            allowed = promise.gap * SCALE + RESOLVING[name] + history.stalled(start, stop)
            if stop - start > allowed:
                yield f"A: {name} could not write for {stop - start:.3f} s; {allowed:.3f} s are allowed"
    if promise.copies is not None and history.copies > promise.copies:
        yield f"A: the data set was copied {history.copies} times; {promise.copies} are allowed"


def _exact(history: History, tenure: Tenure) -> float:
    only = frozenset({tenure.node})
    spans = history.between(tenure.start, inf)
    return next((span.start - tenure.start for span in spans if span.names == only), inf)


def _gone(history: History, tenure: Tenure) -> float:
    last = [stop for start, stop in history.named(tenure.node) if start <= tenure.end]
    return max(0.0, last[-1] - tenure.end) if last else 0.0
