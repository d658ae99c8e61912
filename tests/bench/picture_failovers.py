"""Every failover a dot: how long DNS took, and for how long it was wrong."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, inf, log10

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .page import FAINT, GREEN, GREY, GRID, INK, SMALL, VERMILION, Page, colour, styled
from .record import KILLED, OURS, POLLER, Record
from .summary import Failovers, Span, Summary
from .words import NEVER, duration

ROW = 21
"""Pixels a publisher."""
LEFT = 176
"""Pixels for the names."""
SPREAD = 0.27
"""How far dots of a row keep apart, in rows."""


@styled
def failovers(record: Record) -> Figure | None:
    """Promotion → DNS exact, by scenario and publisher, on a log axis; None without data."""
    found = Failovers(record.get("failovers", []))
    scenarios = [scenario for scenario in found.scenarios if found.applies(scenario, "promotion_to_dns")]
    if not scenarios:
        return None
    samples = {
        scenario: {name: found.delays(scenario, name, "promotion_to_dns") for name in found.publishers(scenario)}
        for scenario in scenarios
    }
    flat = [sample for rows in samples.values() for row in rows.values() for sample in row]
    known = [sample for sample in flat if 0 < sample < inf]
    longest = log10(max(known, default=1))
    low, high = floor(log10(min(known, default=0.001))), floor(longest)
    edge = longest + (0.4 if inf in flat else 0.06)

    ticks: dict[float, str] = {power: _power(power) for power in range(low, high + 1)}
    if inf in flat:
        ticks[edge] = NEVER
    height = 74 + sum(34 + ROW * len(rows) for rows in samples.values()) + 24
    page = Page(
        height,
        "From the promotion until DNS names the new master and nothing else",
        "Each dot is one failover; the bar is the median. All publishers saw the same failovers. Log scale.",
    )
    top, width = 74.0, 900 - LEFT - 160
    for scenario, rows in samples.items():
        page.text(16, top + 8, scenario.capitalize(), weight="bold")
        for left, word in ((LEFT + width + 80, "median"), (LEFT + width + 146, "worst")):
            page.text(left, top + 8, word, size=SMALL, color=GREY, align="right")
        axes = page.axes(LEFT, top + 20, width, ROW * len(rows))
        last = scenario == scenarios[-1]
        label_rows(axes, list(rows))
        axes.set_xlim(low, edge)
        axes.set_xticks(list(ticks), list(ticks.values()) if last else [])
        axes.tick_params(axis="x", length=3 if last else 0)
        axes.spines["bottom"].set_visible(last)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        if scenario == KILLED:
            _goal(axes, Summary.of(rows.get(POLLER, [])))
        for i, (publisher, row) in enumerate(rows.items()):
            _dots(axes, i, [min(log10(max(s, 10.0**low)), edge) for s in row], publisher)
            summary = Summary.of(row)
            if summary is None:
                continue
            if summary.median < inf:
                axes.plot([log10(max(summary.median, 10.0**low))] * 2, [i - 0.4, i + 0.4], color=INK, linewidth=1.8)
            middle, weight = top + 20 + ROW * (i + 0.5), "bold" if publisher == OURS else "normal"
            for left, value in ((LEFT + width + 80, summary.median), (LEFT + width + 146, summary.worst)):
                page.text(left, middle, duration(value), color=colour(publisher), weight=weight, align="right")
        top += 34 + ROW * len(rows)
    return page.figure


@styled
def two(record: Record) -> Figure | None:
    """Seconds of two, none and wrong, by scenario and publisher; None without data."""
    found = Failovers(record.get("failovers", []))
    if not found.scenarios:
        return None
    publishers = {scenario: found.publishers(scenario) for scenario in found.scenarios}
    height = 92 + sum(28 + ROW * len(names) for names in publishers.values()) + 24
    page = Page(
        height,
        "For how long DNS was wrong: two masters, none, or one that is not the master",
        "Each dot is one failover; 0 where it never happened in any round. On the right the worst. Log scale beyond 0.",
    )
    columns: tuple[tuple[Span, str], ...] = (
        ("two", "two masters"),
        ("none", "none, though there is one"),
        ("wrong", "one that is not the master"),
    )
    most = max(max(found.spans(s, p, span)) for s, names in publishers.items() for p in names for span, _ in columns)
    powers = range(-3, max(1, ceil(log10(most)) if most > 0 else 0) + 1)
    room = (900 - LEFT - 12) / len(columns)
    for k, (_, name) in enumerate(columns):
        page.text(LEFT + room * k, 72, name, weight="bold")
    top = 84.0
    for scenario, names in publishers.items():
        page.text(16, top + 10, scenario.capitalize(), weight="bold")
        last = scenario == found.scenarios[-1]
        for k, (span, _) in enumerate(columns):
            axes = page.axes(LEFT + room * k, top + 20, room - 62, ROW * len(names))
            label_rows(axes, names if k == 0 else [""] * len(names))
            axes.set_xlim(-4.35, powers[-1])
            axes.set_xticks([-4, *powers], ["0", *(_power(p) if p % 2 else "" for p in powers)] if last else [])
            axes.tick_params(axis="x", length=3 if last else 0)
            axes.spines["bottom"].set_visible(last)
            axes.grid(axis="x", color=GRID, linewidth=0.8)
            for i, publisher in enumerate(names):
                samples = found.spans(scenario, publisher, span)
                worst = max(samples)
                middle = top + 20 + ROW * (i + 0.5)
                if worst == 0:
                    axes.text(-4, i, "0", ha="center", va="center_baseline", color=GREEN, weight="bold")
                    continue
                _dots(axes, i, [-4 if s == 0 else max(log10(s), -3) for s in samples], publisher)
                page.text(LEFT + room * (k + 1) - 14, middle, duration(worst), color=VERMILION, align="right")
        top += 28 + ROW * len(names)
    return page.figure


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of some axes, the first one on top."""
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set(color=colour(name) if name == OURS else INK, weight="bold" if name == OURS else "normal", size=8.5)


def _dots(axes: Axes, row: int, places: Sequence[float], publisher: str) -> None:
    # The golden ratio spreads any number of dots evenly, the same way each time.
    heights = [row + SPREAD * (2 * (i * 0.618034 % 1) - 1) for i in range(len(places))]
    axes.plot(
        places, heights, linestyle="", marker="o", markersize=4.2, markeredgewidth=0, color=colour(publisher),
        alpha=0.55, clip_on=False,
    )  # fmt: skip


def _goal(axes: Axes, poller: Summary | None) -> None:
    if poller is None or not 0 < poller.median < inf:
        return
    place = log10(2 * poller.median)
    axes.plot([place] * 2, [-0.5, axes.get_ylim()[0]], color=FAINT, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.annotate(
        "goal: 2 × the poller's median", (place, -0.5), (4, 3), textcoords="offset points", size=SMALL, color=GREY
    )


def _power(power: int) -> str:
    return f"{10**power:g} s" if power >= 0 else f"{10 ** (power + 3):g} ms"
