"""What runs: every fault in each kind of fleet it is for, by turns, and a small set in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from .arena import MODES
from .faults import FAULTS
from .options import Kind, Options


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No option is set."""
    for name in ("RUNS", "SEED", "FAULTS", "MODE", "FENCE", "SERVER", "JSON"):
        monkeypatch.delenv(f"CHAOS_{name}", raising=False)
    return monkeypatch


def test_six_runs_of_a_fault_are_in_six_kinds_of_fleet(options: pytest.MonkeyPatch) -> None:
    """Each mode, with a fence and without."""
    options.setenv("CHAOS_RUNS", "6")
    options.setenv("CHAOS_FAULTS", "planned failover")
    cases = Options.read().cases()
    for fault in {case.fault.name for case in cases}:
        assert {case.kind for case in cases if case.fault.name == fault} == {
            Kind(mode, fenced) for mode in MODES for fenced in (False, True)
        }


def test_a_fault_is_done_only_where_it_belongs(options: pytest.MonkeyPatch) -> None:
    """In its modes, and behind a fence alone where it is about that."""
    options.setenv("CHAOS_RUNS", "6")
    for case in Options.read().cases():
        assert case.kind.mode not in case.fault.not_in
        assert case.fault.fenced in (None, case.kind.fenced)


def test_what_is_asked_for_is_what_runs(options: pytest.MonkeyPatch) -> None:
    """A mode, with a fence; and nothing where a fault is not for that."""
    options.setenv("CHAOS_RUNS", "2")
    options.setenv("CHAOS_MODE", "tags")
    options.setenv("CHAOS_FENCE", "on")
    found = Options.read()
    assert {case.kind for case in found.cases()} == {Kind("tags", fenced=True)}
    assert {case.fault.name for case in found.cases()} == {
        f.name for f in FAULTS if f.fenced in (None, True) and not f.coordinated
    }
    assert {found.kind(seed) for seed in found.seeds()} == {Kind("tags", fenced=True)}


@pytest.mark.parametrize(
    ("program", "faults"), [("valkey-server v=9.0.0", 2), ("valkey-server v=8.1.3", 1), ("redis-server v=8.2.3", 1)]
)
def test_what_a_server_has_not_is_not_done_to_it(
    options: pytest.MonkeyPatch, tmp_path: Path, program: str, faults: int
) -> None:
    """A coordinated failover is for Valkey 9 and later, whatever its path."""
    path = tmp_path / program.split(maxsplit=1)[0]
    path.write_text(f"#!/bin/sh\necho Server {program.split()[1]} sha=0\n")
    path.chmod(0o755)
    options.setenv("CHAOS_FAULTS", "failovers in a row")
    options.setenv("CHAOS_SERVER", str(path))
    found = Options.read()
    assert (found.server.program, len(found.faults)) == (str(path), faults)


def test_ci_builds_one_fleet_with_a_fence(options: pytest.MonkeyPatch) -> None:
    """And does each fault of its set once in each way that it is marked for."""
    cases = Options.read().cases()
    assert len({case.kind for case in cases if case.kind.fenced}) == 1
    done = [(case.fault.name, case.kind.fenced) for case in cases]
    wanted = [(f.name, False) for f in FAULTS if f.ci] + [(f.name, True) for f in FAULTS if f.ci_fenced]
    assert sorted(done) == sorted(wanted)
