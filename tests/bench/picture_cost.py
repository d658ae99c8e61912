"""How the cost grows, with the line that was fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .page import BLUE, GREY, GRID, SMALL, VERMILION, Page, styled
from .record import OURS, PUBLISHERS, SCRIPT, Cost, Record, in_order
from .summary import Line, Unit, whole_cpu
from .words import MEBI, line

HEIGHT, WIDTH, GAP = 170, 232, 58
"""Pixels of a panel and between two."""
LINE = 15
"""Pixels of a line of text over a panel."""
STEPS = 60
"""Straight pieces of a line that is no straight one on log scales."""
COLOURS = {OURS: BLUE, SCRIPT: VERMILION}


@dataclass(frozen=True, slots=True)
class Panel:
    """One quantity."""

    title: str
    quantity: Callable[[Cost], float | None]
    memory: bool = False


PER_PROCESS = (
    Panel("CPU, with Consul's and Redis', seconds an hour", whole_cpu),
    Panel("Context switches a second", lambda cost: cost.get("switches")),
    Panel("Resident memory, MiB", lambda cost: cost.get("rss"), memory=True),
)
PER_CONSUL = (
    Panel("CPU, with Consul's and Redis', seconds an hour", whole_cpu),
    Panel("CPU of Consul alone, seconds an hour", lambda cost: cost.get("cpu_consul")),
    Panel("Bytes a second on the wire", lambda cost: cost.get("wire")),
)


@styled
def cost(record: Record) -> Figure | None:
    """What an idle publisher costs, by nodes in a process and by agents at one Consul; None without data."""
    kinds: tuple[tuple[str, Sequence[Cost], Unit, tuple[Panel, ...]], ...] = (
        ("By Redis nodes in one process (n)", record.get("cost_per_process", []), "nodes", PER_PROCESS),
        ("By agents at one Consul (n)", record.get("cost_per_consul", []), "agents", PER_CONSUL),
    )
    kinds = tuple(kind for kind in kinds if kind[1])
    if not kinds:
        return None
    page = Page(
        70 + sum(HEIGHT + _head(costs) + 70 for _, costs, _, _ in kinds),
        "What it costs while nothing changes",
        "Dots are measured, lines are constant + slope · n. All scales but memory's are logarithmic.",
    )
    top = 76.0
    for name, costs, unit, panels in kinds:
        page.text(16, top, name, weight="bold")
        for i, panel in enumerate(panels):
            left = 52 + i * (WIDTH + GAP)
            _panel(page, left, top + 24, costs, unit, panel)
        top += HEIGHT + _head(costs) + 70
    return page.figure


def _panel(page: Page, left: float, top: float, costs: Sequence[Cost], unit: Unit, panel: Panel) -> None:
    """Draw one quantity of every publisher that has it, the formulas over it in the colours of their lines."""
    scale = MEBI if panel.memory else 1
    axes = page.axes(left, top + _head(costs), WIDTH, HEIGHT)
    axes.grid(color=GRID, linewidth=0.8)
    page.text(left - 36, top, panel.title, size=SMALL, weight="bold")
    row, values, counts = top + LINE, list[float](), sorted({cost[unit] for cost in costs if unit in cost})
    for publisher in in_order({cost["publisher"] for cost in costs}, PUBLISHERS):
        own = [cost for cost in costs if cost["publisher"] == publisher]
        points = [(cost[unit], panel.quantity(cost)) for cost in own if unit in cost]
        known = sorted((n, value / scale) for n, value in points if value)
        if not known:
            continue
        colour = COLOURS.get(publisher, GREY)
        axes.plot(*zip(*known, strict=True), linestyle="", marker="o", markersize=5, color=colour, clip_on=False)
        fitted = Line.of(own, unit, panel.quantity)
        if fitted is not None:
            first, last = known[0][0], known[-1][0]
            steps = [first * (last / first) ** (i / STEPS) for i in range(STEPS + 1)]
            axes.plot(steps, [max(fitted.at(n), 0) / scale for n in steps], color=colour, linewidth=1.2)
        formula = f"{publisher}: {line(fitted, memory=panel.memory)}" if fitted else publisher
        page.text(left - 36, row, formula, size=SMALL, color=colour)
        row, values = row + LINE, [*values, *(value for _, value in known)]
    if panel.memory:
        axes.set_xlim(0, counts[-1])
        axes.set_ylim(0, 1.08 * max(values, default=1))
    else:
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        _decades(axes, values)
    axes.minorticks_off()


def _head(costs: Sequence[Cost]) -> float:
    """Pixels of the title and of a formula for each publisher."""
    return LINE * (1.2 + len({cost["publisher"] for cost in costs}))


def _decades(axes: Axes, values: Sequence[float]) -> None:
    """Make the upright axis logarithmic from a power of ten to another."""
    low = floor(log10(min(values, default=1)))
    high = max(low + 1, ceil(log10(max(values, default=10))))
    axes.set_yscale("log")
    axes.set_ylim(10.0**low, 10.0**high)
    powers = [10.0**power for power in range(low, high + 1)]
    axes.set_yticks(powers, [f"{power:,.0f}".replace(",", " ") if power >= 1 else f"{power:g}" for power in powers])
