"""Two groups under one service name, through all that operators do with them; and that the proof can fail.

``SIM_GROUPS`` is the number of seeds (60).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from consul_redis_agent.decide import group, rules, standing
from consul_redis_agent.decide.decision import Reason, Verdict
from consul_redis_agent.decide.facts import Entry, Facts
from consul_redis_agent.decide.memory import Memory

from .groups import Groups
from .quick import Violation

SEEDS = int(os.environ.get("SIM_GROUPS", "60"))
STEPS = 1500
MUTANT_SEEDS = 60
"""Seeds within which a broken rule has to be caught."""
pytestmark = pytest.mark.timeout(60 + SEEDS)


def test_two_groups_under_one_name_never_mix() -> None:
    """Hosts replaced, entries taken out, Sentinels reset, a site restarted, Consul restored, the name handed over."""
    handovers = decisions = 0
    for seed in range(SEEDS):
        model = Groups(seed).run(STEPS)
        handovers, decisions = handovers + model.handovers, decisions + model.decisions
    sys.stdout.write(
        f"\n{SEEDS} seeds, {decisions} decisions, the name went from one group to the other {handovers} times\n"
    )
    assert handovers > SEEDS


def _listed_by_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(group, "_is_listed", lambda entry, memory: True)


def _inherited_from_anybody(patch: pytest.MonkeyPatch) -> None:
    def inherited(facts: Facts, memory: Memory) -> str:
        carried = [e.group for e in facts.catalog.entries if e.group] if facts.catalog else []
        return memory.group or next(iter(carried), "")

    patch.setattr(group, "inherited", inherited)


def _passes_unread(patch: pytest.MonkeyPatch) -> None:
    first = [replace(r, verdict=Verdict.MASTER) if r.reason is Reason.FIRST else r for r in rules.TABLE]
    patch.setattr(rules, "TABLE", tuple(first))


def _youngest_first(patch: pytest.MonkeyPatch) -> None:
    def youngest(entries: list[Entry]) -> tuple[float, str, str]:
        return min(((-e.created, *e.key) for e in entries), default=(1.0, "", ""))

    patch.setattr(standing, "_oldest", youngest)


MUTATIONS: Mapping[str, Callable[[pytest.MonkeyPatch], None]] = {
    "everybody's node is listed": _listed_by_all,
    "a group id is inherited from anybody": _inherited_from_anybody,
    "a first claim passes before it is read back": _passes_unread,
    "the youngest first claim wins": _youngest_first,
}


@pytest.mark.parametrize("broken", MUTATIONS)
def test_a_broken_rule_is_caught(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any one rule broken, a promise breaks within few seeds."""
    MUTATIONS[broken](monkeypatch)
    for seed in range(MUTANT_SEEDS):
        try:
            Groups(seed).run(STEPS)
        except Violation as violation:
            sys.stdout.write(f"\n{str(violation).splitlines()[0]}\n")
            return
    pytest.fail(f"nothing was noticed in {MUTANT_SEEDS} seeds")
