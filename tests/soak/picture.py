"""The picture of a run: what each agent held over time, when what was done, and what DNS said. Needs ``tests/setup bench``.

``python -m tests.soak.picture build/soak.json docs/pictures/soak.svg``
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from math import inf, nan
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes

from tests.bench.page import BLUE, GREEN, GREY, GRID, ORANGE, PURPLE, RULES, SMALL, VERMILION, Page, save

from .record import Record, problems, rows
from .verdict import Trend

LEFT, WIDTH, GAP = 52.0, 640.0, 40.0
"""Pixels: where the panels begin, how wide they are, and between two."""
LINE = 15
"""Pixels of a line of text."""
EVERY = 15.0
"""Seconds between two points of a line."""
COLOURS = (BLUE, GREEN, PURPLE)
"""Of the agents."""


NAMES = {"uss": "memory", "blocks": "Python's blocks"}
"""Of measures, in the title."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One measure of all agents."""

    title: str
    measure: str
    height: float
    unit: float = 1
    """What one on the upright axis is."""
    small: tuple[str, float] = ("", 1)
    """The name and size of a unit for what a fault leaves."""


PANELS = (
    Panel("Memory of its own, MiB", "uss", 130, 2**20, ("KiB ", 2**10)),
    Panel("Open descriptors", "descriptors", 80),
    Panel("asyncio tasks", "tasks", 80),
)


def draw(record: Record, path: Path) -> None:
    """Draw it; the same record gives the same bytes."""
    with rc_context(RULES):
        page = Page(684, _title(record), _explanation(record))
        agents = dict(zip(sorted({s["process"] for s in record["samples"] if "uss" in s}), COLOURS, strict=False))
        top = 96.0
        _faults(page, record, top)
        top += 14 + GAP
        for panel in PANELS:
            axes = _panel(page, record, panel.title, top, panel.height)
            axes.tick_params(axis="x", labelbottom=False)
            for agent, colour in agents.items():
                axes.plot(*_line(record, agent, panel), color=colour, linewidth=0.9)
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
            _left_by_a_fault(page, record, panel, top, agents)
            top += panel.height + GAP
        _dns(page, record, top)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(page.figure, path)


def _left_by_a_fault(page: Page, record: Record, panel: Panel, top: float, agents: Mapping[str, str]) -> None:
    """Write beside a panel what each fault leaves in each agent."""
    left, unit, size = LEFT + WIDTH + 16, *panel.small
    page.text(left, top - 12, f"{unit}left by a fault", size=SMALL, weight="bold")
    found = {row["process"]: row for row in rows(record) if row["measure"] == panel.measure}
    for place, (agent, colour) in enumerate(agents.items()):
        row = found[agent]
        most = "too short to tell" if row["high"] is None else f"at most {row['high'] / size:.2f}"
        page.text(left, top + 4 + LINE * place, f"{agent}: {row['slope'] / size:.2f}, {most}", size=SMALL, color=colour)


def _title(record: Record) -> str:
    growing = dict.fromkeys(
        NAMES.get(row["measure"], row["measure"]) for row in rows(record) if row["trend"] == Trend.GROWS.value
    )
    outcome = f"grows: {', '.join(growing)}" if growing else "nothing is seen to grow"
    return f"{record['seconds'] / 60:.0f} minutes, {len(record['faults'])} faults, the same processes: {outcome}"


def _explanation(record: Record) -> str:
    two = sum(fault["two"] for fault in record["faults"])
    slow = (
        f"; on a busy machine, so every promise was given {record['scale']:g} times as long"
        if record["scale"] > 1
        else ""
    )
    return f"DNS named two masters for {two:.3f} s; promises broken: {len(problems(record))}{slow}."


def _panel(page: Page, record: Record, title: str, top: float, height: float) -> Axes:
    page.text(16, top - 12, title, size=SMALL, weight="bold")
    axes = page.axes(LEFT, top, WIDTH, height)
    axes.grid(color=GRID, linewidth=0.8)
    axes.margins(y=0.05)
    axes.set_xlim(0, record["seconds"] / 60)
    return axes


def _faults(page: Page, record: Record, top: float) -> None:
    """A tick a fault, higher where an agent was started again."""
    page.text(
        16, top - 12, f"Faults; orange: one that ended an agent, never {record['spared']}", size=SMALL, weight="bold"
    )
    axes = page.axes(LEFT, top, WIDTH, 14)
    axes.set_xlim(0, record["seconds"] / 60)
    axes.set_ylim(0, 1)
    axes.axis("off")
    faults = record["faults"]
    hard = {max((f["number"] for f in faults if f["began"] <= at), default=0) for at in _starts(record)}
    for fault in faults:
        colour, width = (ORANGE, 2.0) if fault["number"] in hard else (GREY, 0.8)
        axes.plot([fault["began"] / 60] * 2, [0, 1], color=colour, linewidth=width, clip_on=False)


def _dns(page: Page, record: Record, top: float) -> None:
    """Seconds of none and of two after each fault."""
    axes = _panel(
        page, record, "Seconds after each fault for which DNS named nobody (grey) and two masters (red)", top, 80
    )
    for key, colour in (("none", GREY), ("two", VERMILION)):
        shown = [(fault["began"] / 60, fault[key]) for fault in record["faults"] if fault[key]]  # type: ignore[literal-required]
        axes.vlines([at for at, _ in shown], 0, [seconds for _, seconds in shown], color=colour, linewidth=2)
    axes.set_ylim(bottom=0)
    page.text(LEFT + WIDTH, top + 80 + GAP - 12, "minutes", size=SMALL, color=GREY, align="right")


def _line(record: Record, agent: str, panel: Panel) -> tuple[list[float], list[float]]:
    """A point each ``EVERY`` seconds, the lowest of them, with a gap where the agent was started again."""
    lowest: dict[tuple[int, float], tuple[float, float]] = {}
    for sample in record["samples"]:
        if sample["process"] == agent and panel.measure in sample:
            key = sample["pid"], sample["at"] // EVERY
            at, value = lowest.get(key, (sample["at"] / 60, inf))
            lowest[key] = at, min(value, sample[panel.measure] / panel.unit)
    points: list[tuple[float, float]] = []
    for _, life in groupby(lowest.items(), key=lambda item: item[0][0]):
        points += [point for _, point in life]
        points.append((nan, nan))
    return [at for at, _ in points], [value for _, value in points]


def _starts(record: Record) -> Iterator[float]:
    """When an agent was first seen after it had been started again."""
    pids: dict[str, int] = {}
    for sample in record["samples"]:
        if "uss" in sample and pids.setdefault(sample["process"], sample["pid"]) != sample["pid"]:
            pids[sample["process"]] = sample["pid"]
            yield sample["at"]


def main() -> None:
    """Draw a record that was written before."""
    source, path = map(Path, sys.argv[1:])
    draw(json.loads(source.read_text()), path)


if __name__ == "__main__":
    main()
