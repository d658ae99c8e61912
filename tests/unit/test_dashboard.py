"""The dashboard that is shipped: Grafana's model takes it, Prometheus parses its questions, and agents have what they ask for.

That each of them has an answer on a real fleet is tested in ``integration/test_metrics.py``. Grafana itself does not draw it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.prometheus import DASHBOARD, ROOT, assert_of_the_table, promtool, questions

WIDTH = 24
"""Columns of Grafana's grid."""
PANELS: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]


def judge(path: Path) -> str:
    """What Grafana's own model has to say against a dashboard."""
    program = ROOT / ".servers" / "dashboard-judge"
    if not program.exists():
        pytest.skip(".servers/dashboard-judge is not there: `tests/setup judges` builds it where Go is at hand")
    return subprocess.run([program, path], capture_output=True, text=True, check=False, timeout=60).stderr


def test_grafanas_model_takes_it() -> None:
    """No unknown field, none missing, no value that it does not take; every panel is of a known kind and asks Prometheus."""
    assert judge(DASHBOARD) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [('"lineWidth"', '"lineWdth"'), ('"type": "stat"', '"type": "stit"'), ('"version": 1', '"version": "1"')],
)
def test_a_mistake_is_found(tmp_path: Path, right: str, wrong: str) -> None:
    """The judge can say no."""
    path = tmp_path / "dashboard.json"
    path.write_text(DASHBOARD.read_text().replace(right, wrong, 1))
    assert judge(path)


def test_prometheus_parses_every_question(tmp_path: Path) -> None:
    """As rules, since promtool reads those; the variables stand for what Grafana puts in."""
    rules = [{"record": f"panel:{number}", "expr": asked} for number, (_, asked) in enumerate(questions())]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(path))


@pytest.mark.parametrize(("title", "asked"), questions())
def test_every_question_is_about_what_agents_have(title: str, asked: str) -> None:
    """Each metric, label and label's value is one of the table."""
    assert_of_the_table(asked)


def test_no_panel_lies_over_another() -> None:
    """And none beyond the edge; each has a title of its own, and says what is right."""
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in PANELS)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len({*cells})
    assert max(x for x, _ in cells) < WIDTH
    assert len({panel["title"] for panel in PANELS}) == len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert all(panel["description"] for panel in PANELS)


def test_the_legends_name_labels_that_the_answers_have() -> None:
    """An empty name in a legend tells nothing: what is grouped by is what is named."""
    for panel in PANELS:
        for target in panel["targets"]:
            named = {part.partition("}}")[0] for part in target["legendFormat"].split("{{")[1:]}
            assert all(label in target["expr"] or label == "instance" for label in named), panel["title"]
