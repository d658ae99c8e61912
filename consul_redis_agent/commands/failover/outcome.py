"""How a planned move went: its timeline, what it says, and whether it went well. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from consul_redis_agent.commands.failover.plan import Plan
from consul_redis_agent.decide.facts import Address

STEPS = {
    "paused": "the writes wait",
    "caught_up": "every replica that could be chosen has all of them",
    "asked": "Sentinel was asked",
    "selected": "the next master is chosen",
    "promoted": "it is master",
    "proved": "and that is proved",
    "dns": "DNS names it, and nobody else",
    "turned": "the old master was made its replica",
    "replica": "the old master follows it, link up",
    "agreed": "all Sentinels agree",
}
"""The steps by their names in JSON, in the order in which they usually come."""


@dataclass(slots=True)
class Outcome:
    """What was seen. Times are in seconds, those of ``marks`` since the first step."""

    old: Address
    sentinel: Address
    coordinated: bool = False
    new: Address | None = None
    marks: dict[str, float] = field(default_factory=dict)
    """When each of :data:`STEPS` was seen."""
    pause: float | None = None
    """For how long the writes waited; None where nothing held them."""
    proof: str = ""
    """Who stood behind the new master as it said so itself: ``leader`` or ``majority``."""
    proof_in_time: bool = False
    """That was within the pause."""
    turned_in_time: bool = False
    """The old master was a replica before its pause was over; of no meaning where the servers hold the writes."""
    two: float = 0.0
    none: float = 0.0
    unanswered: float = 0.0
    """For how long DNS named two, nobody, or did not answer."""
    answers: int = 0
    resolution: float = 0.0
    """The longest time between two answers of DNS."""
    failed: str = ""
    """Why the move ended early; what was done is told by ``marks``."""
    waits_for: str = ""
    """What was not there in the end, though the new master was."""

    @property
    def complete(self) -> bool:
        """Whether all Sentinels, both nodes and DNS agree, so that the old host may be switched off."""
        return not (self.failed or self.waits_for)

    @property
    def faults(self) -> tuple[str, ...]:
        """What was not as it should be; the exit code is 0 only where there is nothing."""
        found = [self.failed]
        if "asked" in self.marks and not self.failed:
            if not self.proof_in_time:
                within = "" if self.coordinated else " while the writes waited, so some may be lost"
                found.append(f"nothing proved the new master{within}")
            elif not (self.coordinated or self.turned_in_time):
                found.append("the old master was no replica yet when its pause was over: what it took then is lost")
            if self.two:
                found.append(f"DNS named two masters for {ms(self.two)} ms")
            if self.none:
                found.append(f"DNS named nobody for {ms(self.none)} ms")
            if self.unanswered or not self.answers:
                found.append(f"DNS did not answer for {ms(self.unanswered)} ms")
            found.append(self.waits_for)
        return tuple(filter(None, found))


def ms(seconds: float) -> float:
    """Milliseconds, with one digit behind the point."""
    return round(seconds * 1000, 1)


def exit_code(outcome: Outcome) -> int:
    """0 where the move was complete, proved in time, and without a moment of two or of none; else 1."""
    return 1 if outcome.faults else 0


def timeline(outcome: Outcome) -> Iterator[tuple[str, str, str]]:
    """Milliseconds, the step's name, and what it means, in the order in which they were seen."""
    for step, at in sorted(outcome.marks.items(), key=lambda mark: mark[1]):
        means = STEPS[step]
        if step == "asked":
            means = f"Sentinel {outcome.sentinel} was asked"
        elif step == "selected" and outcome.new:
            means = f"{outcome.new} is chosen"
        elif step == "proved":
            means = f"and that is proved: {_PROOFS[outcome.proof]}"
        yield f"{ms(at):.1f}", step, means


_PROOFS = {
    "leader": "the Sentinel that was asked still says so",
    "majority": "a majority of the Sentinels names it",
    "": "",
}


def summary(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Topic and sentence of each thing that is told after the timeline."""
    if outcome.answers:
        each = f"{outcome.answers} answers, at most {ms(outcome.resolution)} ms apart"
        yield "dns", f"two masters for {ms(outcome.two)} ms, nobody for {ms(outcome.none)} ms ({each})"
    if outcome.pause is not None:
        yield "pause", f"the writes waited for {ms(outcome.pause)} ms"
    elif outcome.coordinated:
        yield "pause", "the servers held the writes by themselves (COORDINATED)"
    for fault in outcome.faults:
        yield "FAIL", fault
    if outcome.complete:
        yield "done", f"{outcome.new} is the master, and all agree: the host of {outcome.old} may be switched off"


def as_json(plan: Plan, outcome: Outcome | None, *, service: str) -> Mapping[str, Any]:
    """All of it for programs. ``outcome`` is None where nothing was done."""
    return {
        "ok": plan.possible if outcome is None else exit_code(outcome) == 0,
        "done": outcome is not None and outcome.complete,
        "service": service,
        "master_name": plan.master_name,
        "master": _text(plan.master),
        "sentinel": _text(plan.sentinel),
        "coordinated": plan.coordinated,
        "likely": _text(plan.likely),
        "replicas": [
            {
                "address": str(choice.address),
                "priority": choice.priority,
                "lag_bytes": choice.lag,
                "can_be_chosen": choice.open,
                "why_not": choice.why_not,
            }
            for choice in plan.choices
        ],
        "findings": [finding.as_json() for finding in plan.findings],
        "move": None if outcome is None else _move(outcome),
    }


def _move(outcome: Outcome) -> Mapping[str, Any]:
    return {
        "old": str(outcome.old),
        "new": _text(outcome.new),
        "timeline_ms": {step: ms(outcome.marks[step]) if step in outcome.marks else None for step in STEPS},
        "pause_ms": None if outcome.pause is None else ms(outcome.pause),
        "proof": outcome.proof,
        "proof_in_time": outcome.proof_in_time,
        "turned_in_time": outcome.turned_in_time or outcome.coordinated,
        "two_ms": ms(outcome.two),
        "none_ms": ms(outcome.none),
        "unanswered_ms": ms(outcome.unanswered),
        "dns_answers": outcome.answers,
        "dns_resolution_ms": ms(outcome.resolution),
        "faults": [*outcome.faults],
    }


def _text(address: Address | None) -> str | None:
    return str(address) if address else None
