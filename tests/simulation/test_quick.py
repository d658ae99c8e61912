"""Many failovers in few seconds, through the real rules; and that the proof can fail.

``SIM_QUICK`` scales the number of failovers (1).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping

import pytest

from consul_redis_agent.decide import rules, view
from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.view import View

from .quick import Model, Violation

SCALE = float(os.environ.get("SIM_QUICK", "1"))
EACH = 40
"""Failovers of one seed."""
FAILOVERS = int(8_000 * SCALE)
MUTANT_SEEDS = 100
"""Seeds within which a broken rule has to be caught."""
pytestmark = pytest.mark.timeout(60 + 120 * SCALE)


def test_thousands_of_failovers_keep_every_promise() -> None:
    """Whatever an agent knows and for how long: no claim beside one that was seen, none without Sentinel behind it."""
    since = time.process_time()
    failovers = seed = steps = decisions = unseen = 0
    while failovers < FAILOVERS:
        model = Model(seed).run(EACH)
        failovers, steps, seed = failovers + model.failovers, steps + model.steps, seed + 1
        decisions, unseen = decisions + model.decisions, unseen + model.unseen
    seconds = time.process_time() - since
    sys.stdout.write(
        f"\n{failovers} failovers in {seconds:.1f} s of one core ({failovers / seconds:.0f}/s): {seed} seeds, "
        f"{steps} steps, {decisions} decisions, {unseen} of them beside a claim that their agent was not shown yet\n"
    )


def _no_majority(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(view, "majority", lambda known: 1)


def _no_epochs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(View, "newer_than", lambda self, claim: None)
    patch.setattr(Claim, "order", property(lambda self: (0, 0)))


def _old_words(patch: pytest.MonkeyPatch) -> None:
    real = View.names_me
    patch.setattr(View, "names_me", lambda self, sentinel: bool(sentinel.run_ids) or real(self, sentinel))


def _last_claim_is_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rules._Case, "_last", lambda self, evict: None)


MUTATIONS: Mapping[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a single Sentinel is a majority": _no_majority,
    "epochs are ignored": _no_epochs,
    "a Sentinel names whom it knows": _old_words,
    "the last claim is not compared": _last_claim_is_not_compared,
}


@pytest.mark.parametrize("broken", MUTATIONS)
def test_a_broken_rule_is_caught(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With any one rule broken, a promise breaks within few seeds."""
    MUTATIONS[broken](monkeypatch)
    for seed in range(MUTANT_SEEDS):
        try:
            Model(seed).run(EACH)
        except Violation as violation:
            sys.stdout.write(f"\n{str(violation).splitlines()[0]}\n")
            return
    pytest.fail(f"nothing was noticed in {MUTANT_SEEDS} seeds")
