"""What became of each step of each row, as JSON and as a table for people. Rows of earlier runs stay, with their dates."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

from tests.chaos.judge import Verdict

from .rows import STEPS, Row

HEAD = ("server", "Consul", "with", *STEPS, "two masters", "promoted → DNS: median · worst", "date")


class Table:
    """Rows by their names; :meth:`write` keeps what the file holds of others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """Of the JSON; the table for people and the story of each step that was not well stand beside it."""
        self.rows: dict[str, dict[str, Any]] = {}

    def note(self, row: Row, step: str, verdict: Verdict | None = None, *, story: str = "", reason: str = "") -> None:
        """Take in one step: what was judged, or why it was not done. Raises OSError where a program does not run."""
        entry = self.rows.setdefault(str(row), {})
        if not entry:
            versions = {} if reason else row.versions()
            entry |= {"date": time.strftime("%Y-%m-%d"), "server": str(row.server)} | versions
            entry |= {"with": row.setup, "steps": {}}
        entry["steps"][step] = {"problems": [reason], "skipped": True} if verdict is None else _step(verdict)
        if verdict and verdict.problems:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            name = f"{self.path.stem}-{row}-{step}.txt".replace(" ", "-")
            self.path.with_name(name).write_text(story + "\n")

    def text(self) -> str:
        """For people, in Markdown."""
        lines = [_line(HEAD), _line(["---"] * len(HEAD)), *(_line(_cells(entry)) for entry in self.rows.values())]
        return "\n".join(lines)

    def write(self) -> None:
        """Put them into the files, beside what stands there of other rows."""
        before = json.loads(self.path.read_text()) if self.path.exists() else {}
        for name, entry in self.rows.items():
            kept = before.get(name, {}) if before.get(name, {}).get("date") == entry["date"] else {}
            entry["steps"] = kept.get("steps", {}) | entry["steps"]
        self.rows = before | self.rows
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.rows, indent=1, ensure_ascii=False) + "\n")
        self.path.with_suffix(".md").write_text(self.text() + "\n")


def _step(verdict: Verdict) -> dict[str, Any]:
    exact = [seconds * 1000 for seconds in verdict.exact if isfinite(seconds)]
    return {"two_s": verdict.two, "none_s": verdict.none, "exact_ms": exact, "problems": [*verdict.problems]}


def _cells(entry: dict[str, Any]) -> list[str]:
    steps = entry["steps"]
    servers, agents = entry.get("consul servers", "-"), entry.get("consul agents", "-")
    consul = servers if servers == agents else f"servers {servers}, agents {agents}"
    done = [step for step in steps.values() if not step.get("skipped")]
    exact = sorted(ms for step in done for ms in step["exact_ms"])
    two = f"{sum(step['two_s'] for step in done) * 1000:.0f} ms" if done else "-"
    figures = f"{median(exact):.0f} · {exact[-1]:.0f} ms" if exact else "-"
    results = [_result(steps.get(step)) for step in STEPS]
    return [entry["server"], consul, ", ".join(entry["with"]), *results, two, figures, entry["date"] if done else "-"]


def _result(step: dict[str, Any] | None) -> str:
    if step is None:
        return "not run"
    if step.get("skipped"):
        return f"not run: {step['problems'][0]}"
    return "failed" if step["problems"] else "well"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
