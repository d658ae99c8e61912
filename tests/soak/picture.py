"""The picture of a run: what each agent held over time, when what was done, and what DNS said. Needs ``tests/setup bench``.

``python -m tests.soak.picture build/soak.json docs/pictures/soak.svg``
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from math import nan
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes

from tests.bench.page import BLUE, GREEN, GREY, GRID, ORANGE, PURPLE, RULES, SMALL, VERMILION, Page, save

from .record import Record, problems, rows
from .verdict import Trend

LEFT, WIDTH = 60.0, 740.0
"""Pixels."""
EVERY = 15.0
"""Seconds between two points of a line."""
COLOURS = (BLUE, GREEN, PURPLE)
"""Of the agents."""
PANELS: tuple[tuple[str, Callable[[dict[str, float]], float], float], ...] = (
    ("Memory of its own, MiB", lambda sample: sample["uss"] / 2**20, 150),
    ("Open descriptors", lambda sample: sample["descriptors"], 80),
    ("asyncio tasks", lambda sample: sample["tasks"], 80),
)
"""Title, quantity and height of each."""


def draw(record: Record, path: Path) -> None:
    """Draw it; the same record gives the same bytes."""
    with rc_context(RULES):
        page = Page(590, _title(record), _explanation(record))
        agents = sorted({sample["process"] for sample in record["samples"] if "uss" in sample})
        for place, (agent, colour) in enumerate(zip(agents, COLOURS, strict=False)):
            spared = ", which no fault ended" if agent == record["spared"] else ""
            page.text(16 + 90 * place, 70, f"{agent}{spared}", color=colour, weight="bold")
        top = 108.0
        _faults(page, record, top)
        top += 44
        for title, quantity, height in PANELS:
            axes = _panel(page, record, title, top, height)
            for agent, colour in zip(agents, COLOURS, strict=False):
                axes.plot(*_line(record, agent, quantity), color=colour, linewidth=0.9)
            _, highest = axes.get_ylim()
            axes.set_ylim(0, highest)
            top += height + 34
        _dns(page, record, top)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(page.figure, path)


def _title(record: Record) -> str:
    growing = [row for row in rows(record) if row["trend"] == Trend.GROWS.value]
    outcome = f"{len(growing)} measures grow" if growing else "nothing grows"
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
    axes.set_xlim(0, record["seconds"] / 60)
    return axes


def _faults(page: Page, record: Record, top: float) -> None:
    """A tick a fault, higher where an agent was started again."""
    page.text(16, top - 12, "Faults; orange: an agent was started again", size=SMALL, weight="bold")
    axes = page.axes(LEFT, top, WIDTH, 14)
    axes.set_xlim(0, record["seconds"] / 60)
    axes.set_ylim(0, 1)
    axes.axis("off")
    ended = [*_ends(record)]
    for fault in record["faults"]:
        hard = any(fault["began"] <= at <= fault["ended"] for at in ended)
        axes.plot(
            [fault["began"] / 60] * 2,
            [0, 1],
            color=ORANGE if hard else GREY,
            linewidth=1.6 if hard else 0.8,
            clip_on=False,
        )


def _dns(page: Page, record: Record, top: float) -> None:
    """Seconds of none and of two after each fault."""
    axes = _panel(
        page, record, "Seconds after each fault for which DNS named nobody (grey) and two masters (red)", top, 80
    )
    for key, colour in (("none", GREY), ("two", VERMILION)):
        shown = [(fault["began"] / 60, fault[key]) for fault in record["faults"] if fault[key]]  # type: ignore[literal-required]
        axes.vlines([at for at, _ in shown], 0, [seconds for _, seconds in shown], color=colour, linewidth=2)
    axes.set_ylim(bottom=0)
    page.text(LEFT + WIDTH, top + 108, "minutes", size=SMALL, color=GREY, align="right")


def _line(record: Record, agent: str, quantity: Callable[[dict[str, float]], float]) -> tuple[list[float], list[float]]:
    """A point each ``EVERY`` seconds, the lowest of them, with a gap where the agent was started again."""
    points: list[tuple[float, float]] = []
    pid = slot = None
    for sample in record["samples"]:
        if sample["process"] != agent or "uss" not in sample:
            continue
        if pid not in (None, sample["pid"]):
            points.append((sample["at"] / 60, nan))
        if (pid, slot) == (sample["pid"], sample["at"] // EVERY):
            points[-1] = (points[-1][0], min(points[-1][1], quantity(sample)))
        else:
            points.append((sample["at"] / 60, quantity(sample)))
        pid, slot = sample["pid"], sample["at"] // EVERY
    return [at for at, _ in points], [value for _, value in points]


def _ends(record: Record) -> Iterator[float]:
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
