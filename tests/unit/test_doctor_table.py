"""The ids of `check`: a closed set, each with its levels, and the page that lists them."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_redis_agent.commands.doctor.report import CLEAR, Report
from consul_redis_agent.commands.doctor.table import AREAS, FINDINGS
from consul_redis_agent.commands.screen import Finding, Level
from tests.doctor_page import page
from tests.documented import assert_documented

ROOT = Path(__file__).parents[2]
COMMANDS = ROOT / "consul_redis_agent" / "commands"
CHECK = [*COMMANDS.glob("check*.py"), *(COMMANDS / "doctor").glob("*.py")]


def made() -> Iterator[tuple[str, set[str], set[str]]]:
    """Where the code makes a finding: the ids that it can have, and its levels where they stand there."""
    for path in CHECK:
        names: dict[str, set[str]] = defaultdict(set)
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names[node.targets[0].id] |= texts(node.value)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                given = {word.arg: word.value for word in node.keywords}.get("id")
                ids = set() if given is None else names[given.id] if isinstance(given, ast.Name) else texts(given)
                level = node.args[0]
                levels = {level.attr} if isinstance(level, ast.Attribute) else set()
                yield f"{path.name}:{node.lineno}", ids, levels


def texts(node: ast.AST) -> set[str]:
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def test_each_finding_has_an_id_of_the_table_and_each_of_the_table_is_found_somewhere() -> None:
    """No id is made up on the way, none is left over, and none has a level that the table does not tell."""
    seen: dict[str, set[str]] = defaultdict(set)
    for place, ids, levels in made():
        assert ids, f"{place}: a finding without an id"
        for id_ in {id_ for id_ in ids if "." in id_}:
            assert id_ in FINDINGS, f"{place}: {id_!r} is not in the table"
            seen[id_] |= levels
    assert {*seen} == {*FINDINGS}
    for id_, levels in seen.items():
        told = {level.name for level in FINDINGS[id_].levels}
        assert levels <= told, id_
        assert levels == told or len(told) > 1, id_


def test_ids_are_short_and_of_a_known_area() -> None:
    """As programs write them."""
    for id_, kind in FINDINGS.items():
        area, _, name = id_.partition(".")
        assert area in AREAS
        assert name.replace("_", "").isalpha()
        assert name.islower()
        assert bool(kind.mend) or {*kind.levels} <= {Level.OK, Level.WARN}


def test_the_page_is_current() -> None:
    """``python -m tests.doctor_page > docs/doctor.md`` writes it anew."""
    assert (ROOT / "docs" / "doctor.md").read_text() == page()


def test_json_is_what_is_written_down_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed before its end; what others have put into it steers no terminal."""
    report = Report(as_json=True)
    report.tell([Finding(Level.OK, "redis", "says master", id="redis.role")])
    assert capsys.readouterr().out == ""
    assert report.ok
    wrong = Finding(Level.FAIL, "dns", "na\x1b[2Jmes\x7f nobody", "look", id="dns.wrong")
    report.tell([wrong, wrong])
    assert report.end() == 1
    printed = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in printed)
    told = json.loads(printed)
    assert_documented("check", told)
    assert told["summary"] == {"ok": 1, "warn": 0, "fail": 1}
    assert (told["ok"], told["findings"][1]["what"]) == (False, "na\x1b[2Jmes\x7f nobody")
    assert [finding["id"] for finding in told["findings"]] == ["redis.role", "dns.wrong"]
    assert [finding["level"] for finding in told["findings"]] == ["ok", "fail"]


def test_text_says_each_finding_once(capsys: pytest.CaptureFixture[str]) -> None:
    """As soon as it is known, without its id: these lines stay as they are."""
    report = Report(as_json=False)
    one = Finding(Level.WARN, "dns", "slow", "wait", id="dns.ttl")
    report.tell([one])
    report.tell([one])
    assert report.end() == 0
    assert capsys.readouterr().out == "warn dns: slow; wait\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_somebody_at_a_terminal_is_told_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, on standard error, and it is wiped away before a finding is shown; nobody else sees it."""
    monkeypatch.setattr("consul_redis_agent.commands.doctor.report.QUIET", 0.001)
    report = Report(as_json=False)
    for stream, told in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        asked = iter((["Consul"], ["Consul"], []))
        await report.progress(lambda: next(asked, []))  # noqa: B023 - it ends within the turn
        assert ("still looking at Consul …" in stream.getvalue()) is told
        assert stream.getvalue().endswith(CLEAR if told else "")
