"""The rows that a run has, and what is written down of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.judge import Verdict
from tests.fleet import ON_PATH, REDIS_6_2, VALKEY_9_1

from .rows import OLDER, PUBLICATION, STEPS, Case, Row, chosen, every, find
from .table import Table

WELL = Verdict(two=0, none=0, wrong=0, exact=(0.01,), gone=(), back=(), over_d=0, resolution=0.02, problems=())
BAD = Verdict(two=0.1, none=0, wrong=0, exact=(), gone=(), back=(), over_d=0, resolution=0.02, problems=("S1: two",))


def test_every_step_but_publication_is_a_fault_of_the_chaos_suite() -> None:
    """A fault that is renamed there is missed here at once."""
    names = {fault.name for fault in FAULTS}
    assert [step for step, name in STEPS.items() if name not in names] == [PUBLICATION]


def test_each_row_has_a_name_of_its_own() -> None:
    """So that each can be chosen, and none overwrites another in the table."""
    names = [*map(str, every())]
    assert len(names) == len({*names})


def test_every_server_is_run_alone_and_with_acls() -> None:
    """TLS is added where the server speaks it, and left out where it cannot."""
    rows = every()
    servers = {row.server for row in rows}
    assert {row.server for row in rows if not row.traits} == servers
    assert {row.server: row.tls for row in rows if row.acl} == {server: server.tls for server in servers}


def test_the_set_for_ci_has_the_newest_valkey_and_the_oldest_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MATRIX in the environment, and with a row's name that row alone, with all steps."""
    monkeypatch.delenv("MATRIX", raising=False)
    assert {case.row.server for case in chosen()} == {VALKEY_9_1, REDIS_6_2}
    monkeypatch.setenv("MATRIX", "redis-6.2.5")
    assert chosen() == [Case(Row(REDIS_6_2), step) for step in STEPS]


def test_rows_are_found_by_their_names() -> None:
    """A whole name, or words of it; several by commas; what names none is refused."""
    rows = every()
    assert find("redis", rows) == [Row(ON_PATH)]
    assert {row.server for row in find("valkey fence", rows)} == {rows[-1].server}
    assert find("redis-6.2.5, redis", rows) == [Row(ON_PATH), Row(REDIS_6_2)]
    assert find("all", rows) == rows
    with pytest.raises(ValueError, match="'valkey-7' in its name"):
        find("redis,valkey-7", rows)


def test_another_server_is_named_by_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SERVER=path has every kind of row for that server; a path where nothing is is refused."""
    program = tmp_path / "redis-server"
    program.touch()
    monkeypatch.setenv("MATRIX", "all")
    monkeypatch.setenv("SERVER", str(program))
    assert {case.row.server.program for case in chosen()} == {str(program)}
    assert len(chosen()) == len({*map(str, chosen())})
    monkeypatch.setenv("SERVER", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="no server at"):
        chosen()


def test_what_cannot_be_had_is_said_and_not_run(tmp_path: Path) -> None:
    """TLS on a server that is built without it; the reason stands in the table."""
    row = Row(REDIS_6_2, tls=True)
    assert row.missing == "Redis 6.2.5 is built without TLS"
    table = Table(tmp_path / "matrix.json")
    table.note(row, "planned", reason=row.missing)
    assert "not run: Redis 6.2.5 is built without TLS" in table.text()


def test_the_table_keeps_rows_of_earlier_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the same day replaces itself alone; a story is kept of what was not well."""
    monkeypatch.setattr(
        Row, "versions", lambda row: {"server": str(row.server), "consul servers": "1", "consul agents": "1"}
    )
    path = tmp_path / "matrix.json"
    first = Table(path)
    first.note(Row(REDIS_6_2), "planned", BAD, story="two names")
    first.note(Row(REDIS_6_2), PUBLICATION, WELL)
    first.write()
    assert (tmp_path / "matrix-redis-6.2.5-planned.txt").read_text() == "two names\n"
    assert "| well | failed | not run | not run | not run | 100 ms | 10 · 10 ms |" in first.text()

    second = Table(path)
    second.note(Row(REDIS_6_2), "planned", WELL)
    second.note(Row(ON_PATH, consul=OLDER), "planned", WELL)
    second.write()
    assert [*json.loads(path.read_text())] == [str(Row(REDIS_6_2)), str(Row(ON_PATH, consul=OLDER))]
    assert "| Redis 6.2.5 | 1 |  | well | well | not run |" in path.with_suffix(".md").read_text()
