"""The soak itself, for a minute; and which faults it takes."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import pytest

from tests.chaos.arena import Arena
from tests.chaos.faults import FAULTS, Fault, find
from tests.chaos.mix import plan as steps

from . import report
from .plan import ENDS_ANY, ENDS_ONE, ENDS_THE_MASTERS, Plan, suitable
from .record import levels, problems, rows
from .run import soak
from .verdict import LIMITS


@pytest.mark.netns
@pytest.mark.timeout(180)
def test_a_short_soak(tmp_path: Path) -> None:
    """Two faults on one fleet, judged; every measure of every process is there, and the record of the harness begins anew."""
    said: list[str] = []
    faults = find("replicaof no one by hand on a replica,agent killed and started again")
    with Arena() as arena:
        record = soak(arena, Plan(faults, 1, mixes=False), 1, inf, said.append, tmp_path / "soak.json", most=2)
        assert not arena.broken
        assert len(arena.marks) < 20
        arena.remove_sentinel(arena.sentinels[0])
        arena.begin_anew()  # what it said before is told no more
        assert arena.names_holder()
    assert not problems(record), said
    assert len(record["faults"]) == 2
    measured = {(row["process"], row["measure"]) for row in rows(record)}
    own = {measure for measure in LIMITS if measure != "clients"}
    assert measured == {(f"agent{n}", m) for n in (1, 2, 3) for m in own} | {
        (f"redis{n}", "clients") for n in (1, 2, 3)
    }
    assert len({level.generation for level in levels(record, record["spared"], "uss")}) == 1
    assert report.well(record)
    assert json.loads((tmp_path / "soak.json").read_text())["faults"] == record["faults"]
    assert "promises broken: 0" in report.text(record)


def test_the_faults_that_end_agents_are_known() -> None:
    """Whoever renames a fault that ends agents finds it here, since the plan goes by names."""
    assert {fault.name for fault in FAULTS} >= ENDS_ANY | ENDS_THE_MASTERS


def test_one_agent_is_spared() -> None:
    """Whoever is the master, no fault that may end the agent of the spared host comes; each other fault comes in turn."""
    faults = suitable("", mode="services", fenced=False, coordinated=False)
    for spared in (0, 1, 2):
        plan = Plan(faults, 5)
        chosen: list[Fault] = [plan.next(spared) for _ in range(3 * len(faults))]
        names = {fault.name for fault in chosen}
        assert not names & ENDS_ANY
        assert (not names & ENDS_THE_MASTERS) is (spared == 0)
        mixes = [int(fault.name.removeprefix("mix ")) for fault in chosen if fault.name.startswith("mix ")]
        assert mixes
        assert not [step for seed in mixes for step in steps(seed) if step.who == spared and step.harm.name in ENDS_ONE]
        assert names >= {fault.name for fault in faults} - ENDS_THE_MASTERS


def test_a_soak_can_be_replayed() -> None:
    """The same seed gives the same order, as long as the same hosts are masters."""
    faults = suitable("", mode="services", fenced=False, coordinated=False)
    one, other = Plan(faults, 3), Plan(faults, 3)
    assert [one.next(1).name for _ in range(50)] == [other.next(1).name for _ in range(50)]


def test_where_only_the_masters_agent_would_end_authority_is_moved() -> None:
    """With nothing else to choose from, a planned failover comes first."""
    plan = Plan(find("agent killed and started again"), 1, mixes=False)
    assert [plan.next(0).name, plan.next(1).name] == ["planned failover", "agent killed and started again"]


def test_what_cannot_be_part_of_a_soak_is_refused() -> None:
    """A fault that ends every agent is left to the chaos tests, and that is said."""
    with pytest.raises(ValueError, match="can be part of a soak"):
        suitable("upgrade host by host", mode="services", fenced=False, coordinated=False)
