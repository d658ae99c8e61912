"""What is made of a record: a verdict, words, JSON and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from . import report
from .record import Done, Record, levels, problems, rows, save

FAULTS = 60


def record(leak: float = 0, *broken: str) -> Record:
    """A run in which each fault leaves so many bytes in one agent, and the other is ended once; the last fault breaks promises."""
    faults: list[Done] = [
        {
            "number": n,
            "name": "planned failover",
            "began": n * 40.0,
            "ended": n * 40.0 + 30,
            "two": 0.0,
            "none": 1.5,
            "wrong": 0.01,
            "moved": True,
            "problems": [*broken] if n == FAULTS else [],
            "lost": {"each": 1},
        }
        for n in range(1, FAULTS + 1)
    ]
    samples = [
        {"at": n * 40.0 + at, "rest": rest, "process": name, "pid": pid, "uss": 25 * 2**20 + grown + busy, "tasks": 25}
        | {"descriptors": 19, "cpu": n * 0.2}
        for n in range(FAULTS + 1)
        for name, pid, grown in (("agent1", 1 + n // 31, 0), ("agent2", 9, round(n * leak)))
        for at, rest, busy in ((5, None, 2**20), (31, n, 4096), (32, n, 0))
    ]
    machine = {"cpu": "", "cores": 2, "kernel": "", "python": "", "redis": "", "consul": "", "date": "", "load": 0.0}
    return {
        "machine": machine,  # type: ignore[typeddict-item]
        "seed": 1,
        "mode": "services",
        "fenced": False,
        "scale": 3.0,
        "spared": "agent2",
        "seconds": FAULTS * 40.0 + 40,
        "faults": faults,
        "samples": samples,
    }


def test_a_level_is_the_lowest_at_rest() -> None:
    """What a fault itself takes for a while counts for nothing."""
    found = levels(record(1024), "agent2", "uss")
    assert [level.value - 25 * 2**20 for level in found] == [n * 1024 for n in range(FAULTS + 1)]


def test_garbage_that_is_still_to_be_collected_is_no_leak() -> None:
    """Python's blocks count as they are after its full collections: between them garbage of cycles comes and goes."""
    made = record()
    for sample in made["samples"]:
        fault = sample["rest"] or 0
        sample |= {"collections": fault // 5, "blocks": 175_000 + 500 * (fault % 5)}
    assert {level.value for level in levels(made, "agent2", "blocks")} == {175_000}
    assert (
        next(row for row in rows(made) if (row["process"], row["measure"]) == ("agent2", "blocks"))["trend"] == "flat"
    )


def test_what_grows_and_what_breaks_a_promise_fails_the_run() -> None:
    """The exit code tells both; the table names the measure and the process, and the fault."""
    assert report.well(record())
    assert not report.well(record(1024))
    assert not report.well(record(0, "S1: DNS named two masters for 3 ms"))
    assert "grows: uss of agent2" in report.text(record(1024))
    assert problems(record(0, "S1: two")) == ["fault 60, planned failover: S1: two"]
    assert "agent1 1 times" in report.text(record())


def test_the_json_has_the_verdicts(tmp_path: Path) -> None:
    """What other programs read is JSON to the letter, also where a slope is unknown."""
    short = record()
    short["samples"] = short["samples"][:12]
    save(short, tmp_path / "soak.json")
    text = (tmp_path / "soak.json").read_text()
    read = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert read["rows"] == [*rows(short)]
    assert {row["trend"] for row in read["rows"]} == {"too short to tell"}


def test_the_picture_is_small_and_says_what_was_seen(tmp_path: Path) -> None:
    """The same record gives the same bytes; the picture names what grows, and each agent."""
    pytest.importorskip("matplotlib", reason="only make bench and make soak install what draws")
    from .picture import draw

    one, other = tmp_path / "one.svg", tmp_path / "other.svg"
    for path in (one, other):
        draw(record(1024), path)
    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_size < 200_000
    words = "".join(ET.parse(one).getroot().itertext())
    assert "grows: memory" in words
    assert "agent1: 0.00" in words
    assert "agent2: 1.00" in words
