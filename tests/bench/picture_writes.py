"""An application's writes over time, by how it finds the master: what is there, what is lost, and when it could not write."""

from __future__ import annotations

from matplotlib.figure import Figure

from .page import GREEN, GREY, GRID, SMALL, VERMILION, Page, styled
from .picture_failovers import LEFT, ROW, label_rows
from .record import STEPS, WAYS, Record, Written, in_order
from .words import duration

RIGHT = 200
"""Pixels for the figures."""
LEAST = 0.02
"""Seconds of a bar at least, so that a single write is seen."""


@styled
def writes(record: Record) -> Figure | None:
    """The last round of each scenario; None without data."""
    last = {(w["scenario"], w["way"]): w for w in record.get("writes", [])}
    if not last:
        return None
    scenarios = in_order({scenario for scenario, _ in last}, STEPS)
    ways = {scenario: in_order({way for s, way in last if s == scenario}, WAYS) for scenario in scenarios}
    page = Page(
        74 + sum(52 + ROW * len(names) for names in ways.values()),
        "What becomes of an application's writes",
        "It writes every 5 ms over a connection that it keeps. Seconds from the fault on, until it writes and all is well again.",
    )
    page.text(680, 44, "there", color=GREEN, weight="bold")
    page.text(724, 44, "acknowledged, and lost", color=VERMILION, weight="bold")
    top, width = 74.0, 900 - LEFT - RIGHT
    for scenario in scenarios:
        page.text(16, top + 8, scenario.capitalize(), weight="bold")
        for left, word in ((LEFT + width + 60, "lost"), (LEFT + width + 126, "gap"), (LEFT + width + 186, "copies")):
            page.text(left, top + 8, word, size=SMALL, color=GREY, align="right")
        axes = page.axes(LEFT, top + 20, width, ROW * len(ways[scenario]))
        label_rows(axes, ways[scenario])
        axes.set_xlim(0, max(_end(last[scenario, way]) for way in ways[scenario]))
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        for i, way in enumerate(ways[scenario]):
            found = last[scenario, way]
            for spans, hue in ((found["there"], GREEN), (found["gone"], VERMILION)):
                bars = [(start, max(stop - start, LEAST)) for start, stop in spans]
                axes.broken_barh(bars, (i - 0.3, 0.6), color=hue, linewidth=0)
            middle = top + 20 + ROW * (i + 0.5)
            hue = VERMILION if found["lost"] else GREEN
            page.text(LEFT + width + 60, middle, f"{found['lost']:,}", color=hue, align="right")
            page.text(LEFT + width + 126, middle, duration(found["gap"]), align="right")
            page.text(LEFT + width + 186, middle, str(found["copies"]), align="right")
        top += 52 + ROW * len(ways[scenario])
    return page.figure


def _end(found: Written) -> float:
    return max((stop for _, stop in [*found["there"], *found["gone"]]), default=LEAST)
