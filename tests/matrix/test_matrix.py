"""The main path on each row's servers, judged over everything that DNS said meanwhile."""

from __future__ import annotations

import time
from math import inf

import pytest

from tests.chaos.arena import Arena
from tests.chaos.arenas import Arenas
from tests.chaos.episode import run
from tests.chaos.judge import Empty, Expectation, Verdict, judge
from tests.fleet import until

from .rows import Case, Row, chosen
from .table import Table

pytestmark = [pytest.mark.netns, pytest.mark.timeout(600)]

REPLICAS = {"services": "redis-replica", "tags": "replica.redis"}
"""What DNS is asked for the replicas in each mode that has a name for them."""


@pytest.mark.parametrize("case", chosen(), ids=str)
def test_step(case: Case, arenas: Arenas[Row], table: Table) -> None:
    """Never two names, never one without authority, nobody only where it is allowed, and the right one once all is well."""
    if reason := case.row.missing:
        table.note(case.row, case.step, reason=reason)
        pytest.skip(reason)
    try:
        arena = arenas.take(case.row, str(case.row))
        verdict, story = run(arena, case.fault) if case.fault else published(arena)
    except (AssertionError, OSError) as error:
        verdict, story = broken(f"{type(error).__name__}: {error}"), str(error)
        arenas.close()
    table.note(case.row, case.step, verdict, story=story)
    assert not verdict.problems, story


def published(arena: Arena) -> tuple[Verdict, str]:
    """What DNS has said since it named anybody: the master and nobody else; and the replicas by their name."""
    if name := REPLICAS.get(arena.mode):
        replicas = frozenset(node.announced for node in arena.replicas())
        until(lambda: arena.server.srv(name) == replicas, within=5, what=f"DNS names the replicas as {name}")
    arena.witness.watch(1)
    since, end = next(seen.at for seen in arena.witness.history if seen.answers), arena.witness.up_to
    expectation = Expectation(moves=False, empty=Empty.NEVER)
    verdict = judge(arena.history(), expectation, since=since, until=end, healed=time.monotonic())
    return verdict, "\n".join([*verdict.problems, arena.story(since, end)])


def broken(problem: str) -> Verdict:
    """Of a fleet that did not come up."""
    return Verdict(two=0, none=0, wrong=0, exact=(), gone=(), back=(), over_d=0, resolution=inf, problems=(problem,))
