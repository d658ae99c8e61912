"""The pictures: the same bytes from the same record, and no label over another. Needs ``tests/setup bench``."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("matplotlib", reason="only make bench installs what draws")

from .picture_lanes import place
from .pictures import PICTURES, draw
from .record import Record
from .test_report import RECORD

WHOLE: Record = {
    **RECORD,
    "lanes": {
        "scenario": "killed master",
        "from": -1,
        "to": 9,
        "nodes": {"redis1": [(-1, "master"), (0, "gone"), (5, "master")], "redis2": [(-1, "replica"), (1.4, "master")]},
        "sentinels": {"sentinel1": [(1, "+sdown"), (1.3, "+selected-slave"), (2.3, "+switch-master")]},
        "dns": {
            "consul-redis-agent": [(-1, ["redis1"]), (0.01, []), (1.405, ["redis2"])],
            "script check": [(-1, ["redis1"]), (3.5, []), (4.1, ["redis2"]), (6, ["redis1", "redis2"])],
        },
    },
    "cost_per_consul": [{"agents": n, "publisher": "script check", "cpu": 40.0 * n} for n in (1, 30)],
}


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    """A picture in the repository changes only if the figures do; each is small, and well-formed with text as text."""
    first, second = draw(WHOLE, tmp_path / "a"), draw(WHOLE, tmp_path / "b")
    assert [path.stem for path in first] == list(PICTURES)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    for path in first:
        assert path.stat().st_size < 150_000
        assert "consul-redis-agent" in "".join(ET.parse(path).getroot().itertext())


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    """A run of one part draws that part only; an empty record draws nothing."""
    assert draw({}, tmp_path) == []
    assert [path.stem for path in draw({"lanes": WHOLE["lanes"]}, tmp_path)] == ["lanes"]


def test_what_never_happened_is_written(tmp_path: Path) -> None:
    """A round that ended before DNS was right is not left out of the picture."""
    drawn = draw(RECORD, tmp_path)
    assert "never" in drawn[0].read_text()


def test_no_label_covers_another() -> None:
    """However dense the events, those that are labelled can be read; the first given goes before the others."""
    marks = [(x * 7.0, f"+event-{x}") for x in range(60)]
    placed = place(marks, 400, 3)
    assert placed[0].text == "+event-0"
    for a, b in combinations(placed, 2):
        assert a.level != b.level or a.extent[1] <= b.extent[0] or b.extent[1] <= a.extent[0]
    assert all(label.extent[1] <= 400 for label in placed if label.at <= 400)
