"""What was seen over time, made ready for the judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from consul_redis_agent.decide.facts import Address
from tests.fleet import Witness

from .authority import Tenure
from .writes import Writes

Names = frozenset[Address]


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` to ``stop`` DNS named these; None: it gave no answer, or none that says anything about now."""

    start: float
    stop: float
    names: Names | None


@dataclass(frozen=True, slots=True)
class History:
    """All that was seen. Times are monotonic seconds."""

    spans: Sequence[Span]
    """What DNS said, without a hole between."""
    gaps: Sequence[tuple[float, float]]
    """When the witness did not see DNS for longer than 20 ms."""
    roles: Mapping[Address, Sequence[tuple[float, str | None]]]
    """Each change of what a node said of itself."""
    tenures: Sequence[Tenure]
    stalled: Callable[[float, float], float] = lambda start, stop: 0.0
    """For how many seconds between two moments something runnable had to wait for a CPU."""
    writes: Mapping[str, Writes] = field(default_factory=dict)
    """What each writer of the application wrote, where there was one."""
    copies: int = 0
    """How many times a node gave another one its whole data set."""

    def between(self, since: float, until: float) -> Iterator[Span]:
        """The spans, cut to a window."""
        for span in self.spans:
            start, stop = max(span.start, since), min(span.stop, until)
            if start < stop:
                yield Span(start, stop, span.names)

    def seconds(self, condition: Callable[[Names], bool], since: float, until: float) -> float:
        """For how long the answers met a condition."""
        return sum(s.stop - s.start for s in self.between(since, until) if s.names is not None and condition(s.names))

    def named(self, node: Address) -> list[tuple[float, float]]:
        """When DNS named a node, alone or not: from, to; joined where one span ends as the next begins."""
        joined: list[tuple[float, float]] = []
        for span in self.spans:
            if span.names and node in span.names:
                start = joined.pop()[0] if joined and joined[-1][1] == span.start else span.start
                joined.append((start, span.stop))
        return joined


def spans(witness: Witness, blind: Sequence[tuple[float, float]]) -> list[Span]:
    """What the witness saw. ``blind``: when the server that it asks did not know the present."""
    found = [Span(start, stop, seen.answers) for start, stop, seen in witness.spans()]
    for start, stop in blind:
        cut: list[Span] = []
        for span in found:
            pieces = [
                Span(span.start, min(span.stop, start), span.names),
                Span(max(span.start, start), min(span.stop, stop), None),
                Span(max(span.start, stop), span.stop, span.names),
            ]
            cut += [piece for piece in pieces if piece.start < piece.stop]
        found = cut
    return found
