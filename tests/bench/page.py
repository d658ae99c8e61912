"""How all pictures look: white ground, colours that everyone can tell apart, places in pixels, the same bytes each time."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from .record import OURS, Record

WIDTH = 900
"""Pixels, as the README shows it."""
SCREEN = 96
"""Pixels an inch."""

# Okabe and Ito's colours, which the colour-blind can tell apart too.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"
INK, GREY, FAINT, GRID = "#1f2328", "#656d76", "#9aa2ab", "#e4e7eb"

RULES: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "consul-redis-agent",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],  # Verdana has the same widths
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.linewidth": 0.6,
    "figure.facecolor": "white",
    "savefig.dpi": 2 * SCREEN,
}
SMALL, LARGE = 7.5, 11.0


def styled(draw: Callable[[Record], Figure | None]) -> Callable[[Record], Figure | None]:
    """Let a picture be drawn by these rules."""

    @wraps(draw)
    def drawn(record: Record) -> Figure | None:
        with rc_context(RULES):
            return draw(record)

    return drawn


class Page:
    """A figure whose parts are placed in pixels from its top left corner."""

    def __init__(self, height: float, title: str, explanation: str = "") -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH / SCREEN, height / SCREEN), dpi=SCREEN)
        self.text(16, 24, title, size=LARGE, weight="bold")
        self.text(16, 44, explanation, color=GREY)

    def text(
        self,
        left: float,
        top: float,
        text: str,
        *,
        size: float = 8.5,
        color: str = INK,
        weight: str = "normal",
        align: str = "left",
    ) -> None:
        """Write a line whose middle is at ``top``."""
        place = (left / WIDTH, 1 - top / self.height)
        self.figure.text(*place, text, size=size, color=color, weight=weight, ha=align, va="center_baseline")

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes with nothing but the lower edge."""
        axes = self.figure.add_axes(
            (left / WIDTH, 1 - (top + height) / self.height, width / WIDTH, height / self.height)
        )
        axes.spines[["top", "left", "right"]].set_visible(False)
        axes.tick_params(length=3, width=0.6, labelsize=SMALL)
        axes.tick_params(axis="y", length=0)
        axes.set_axisbelow(True)
        return axes


def colour(publisher: str) -> str:
    """Ours stands out from the others."""
    return BLUE if publisher == OURS else GREY


def tint(hue: str) -> str:
    """Make a colour pale, as on white paper."""
    red, green, blue = (1 - 0.22 * (1 - part) for part in to_rgb(hue))
    pale: str = to_hex((red, green, blue))  # Any where matplotlib is not installed
    return pale


def save(figure: Figure, path: Path) -> None:
    """Write a figure; as SVG without the time and the version that drew it, and to a hundredth of a point."""
    with rc_context(RULES):
        if path.suffix != ".svg":
            figure.savefig(path)
            return
        drawn = StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    path.write_text(re.sub(r"(?<=\.\d\d)\d{2,}", "", drawn.getvalue()))
