"""One failover as lanes over time: what the nodes were, what the Sentinels said, what DNS answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from .page import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    GRID,
    INK,
    ORANGE,
    PURPLE,
    SCREEN,
    SMALL,
    VERMILION,
    WIDTH,
    Page,
    styled,
    tint,
)
from .record import OURS, PUBLISHERS, Lanes, Record, in_order
from .words import duration

T = TypeVar("T")

LEFT, RIGHT = 176, 30
BAR, LANE, LEVEL = 16, 22, 12
"""Pixels of a bar, of its lane, and of one level of labels."""
BEFORE, AFTER = 0.12, 0.08
"""Seconds round the promotion that are shown once more, larger."""
BOLD = FontProperties(family="DejaVu Sans", weight="bold", size=SMALL)
PAPER = {"facecolor": "white", "linewidth": 0, "pad": 0.4}
"""Behind a label."""
NODES = (VERMILION, BLUE, GREEN, ORANGE, PURPLE)
TELLING = (
    "+switch-master",
    "+sdown",
    "+odown",
    "+elected-leader",
    "+selected-slave",
    "+promoted-slave",
    "+convert-to-slave",
    "-sdown",
)
"""The events that are worth a label in a picture of the whole, the most telling first."""
TURNS = {"gone": "is gone", "master": "turns master", "replica": "turns replica"}


@cache
def _width(text: str) -> float:
    """Pixels of a text, as if it were bold."""
    return float(TextPath((0, 0), text, prop=BOLD).get_extents().width) * SCREEN / 72


@dataclass(frozen=True, slots=True)
class Label:
    """A mark's text, in pixels from the left; ``level`` counts from the lane upwards."""

    at: float
    text: str
    level: int = 0
    flipped: bool = False
    """Whether it stands left of its mark."""

    @property
    def extent(self) -> tuple[float, float]:
        """From and to."""
        size = 4 + _width(self.text)
        return (self.at - size, self.at - 3) if self.flipped else (self.at + 3, self.at + size)


def place(marks: Sequence[tuple[float, str]], width: float, levels: int) -> list[Label]:
    """Give labels, the most important first, a level each so that none covers another or another's line.

    One that finds no room is left out.
    """
    placed: list[Label] = []
    for at, text in marks:
        flipped = Label(at, text).extent[1] > width
        ways = (Label(at, text, level, flipped) for level in range(levels))
        placed += [way for way in ways if not any(_collide(way, other) for other in placed)][:1]
    return placed


def _collide(a: Label, b: Label) -> bool:
    (a_from, a_to), (b_from, b_to) = a.extent, b.extent
    if a.level == b.level:
        return a_from < b_to + 3 and b_from < a_to + 3
    high, (low_from, low_to) = (a, b.extent) if a.level > b.level else (b, a.extent)
    return low_from - 1 < high.at < low_to + 1


@dataclass(frozen=True, slots=True)
class View:
    """A stretch of time, and how it is drawn."""

    since: float
    until: float
    levels: int
    """Of labels at most over a Sentinel."""
    events: Callable[[str], bool]
    """Which events get one."""
    ticks: dict[float, str]

    @property
    def width(self) -> float:
        """In pixels."""
        return WIDTH - LEFT - RIGHT

    def x(self, at: float) -> float:
        """Pixels from the left."""
        return (at - self.since) / (self.until - self.since) * self.width

    def shows(self, at: float) -> bool:
        """Whether a moment is in it."""
        return self.since <= at <= self.until


@styled
def lanes(record: Record) -> Figure | None:
    """One failover, whole and round the promotion; None without data."""
    if "lanes" not in record:
        return None
    story = record["lanes"]
    promotion = _promotion(story)
    whole = View(
        story["from"], story["to"], 3, TELLING.__contains__, {s: f"{s} s" for s in _seconds(story["from"], story["to"])}
    )
    views = [(whole, None)] if promotion is None else [(whole, None), (_near(promotion), promotion)]
    heights = [_height(story, view) for view, _ in views]
    page = Page(
        70 + sum(heights) + 62 * len(views),
        f"One failover: {story['scenario']}",
        "Bars have a node's colour: strong where it is master, or named by DNS; pale where it is a replica; "
        "halved where DNS names two. A tick is an event.",
    )
    top = 74.0
    for (view, zero), height in zip(views, heights, strict=True):
        if zero is not None:
            page.text(16, top + 4, f"{(AFTER + BEFORE) * 1000:.0f} ms round the promotion", weight="bold")
            top += 18
        axes = page.axes(LEFT, top, view.width, height)
        axes.set_xlim(0, view.width)
        axes.set_ylim(height, 0)
        axes.set_xticks([view.x(at) for at in view.ticks], list(view.ticks.values()))
        axes.set_yticks([])
        _draw(axes, story, view, zero)
        top += height + 50
    return page.figure


def _near(promotion: float) -> View:
    steps = range(-100, 81, 20)
    ticks = {promotion + ms / 1000: f"{ms:+d} ms".replace("-", "−") if ms else "promotion" for ms in steps}
    return View(promotion - BEFORE, promotion + AFTER, 5, lambda _: True, ticks)


def _seconds(since: float, until: float) -> range:
    step = 1 if until - since <= 15 else 2
    return range(0, int(until) + 1, step)


def _promotion(story: Lanes) -> float | None:
    """When the first node that was not the master turned into it."""
    turns = (
        after[0]
        for changes in story["nodes"].values()
        for before, after in pairwise(changes)
        if (before[1], after[1]) == ("replica", "master")
    )
    return min(turns, default=None)


def _turns(story: Lanes, view: View) -> list[tuple[float, str, str]]:
    """Every change of a node's role in view: when, whose, what."""
    return sorted(
        (after[0], node, "is back as master" if (before[1], after[1]) == ("gone", "master") else TURNS[after[1]])
        for node, changes in story["nodes"].items()
        for before, after in pairwise(changes)
        if view.shows(after[0]) and after[1] in TURNS
    )


def _head(story: Lanes, view: View) -> list[Label]:
    """The turns, the last one lowest, so that the line of none runs through the text of an earlier one."""
    return place([(view.x(at), f"{node} {what}") for at, node, what in reversed(_turns(story, view))], view.width, 3)


def _labels(story: Lanes, view: View, sentinel: str) -> list[Label]:
    seen = dict.fromkeys((at, event) for at, event in story["sentinels"][sentinel] if view.shows(at))
    rank = {event: i for i, event in enumerate(TELLING)}
    wanted = sorted((m for m in seen if view.events(m[1])), key=lambda mark: (rank.get(mark[1], len(rank)), mark[0]))
    return place([(view.x(at), event) for at, event in wanted], view.width, view.levels)


def _room(labels: Sequence[Label]) -> int:
    return LEVEL * (1 + max((label.level for label in labels), default=-1))


def _height(story: Lanes, view: View) -> float:
    sentinels = sum(LANE + _room(_labels(story, view, name)) for name in story["sentinels"])
    return _room(_head(story, view)) + 6 + LANE * (len(story["nodes"]) + len(story["dns"])) + sentinels + 3 * LEVEL


def _draw(axes: Axes, story: Lanes, view: View, zero: float | None) -> None:
    colours = dict(zip(sorted(story["nodes"]), NODES * len(story["nodes"]), strict=False))
    head = _head(story, view)
    top = float(_room(head))
    for label in head:
        node = label.text.split()[0]
        axes.plot(
            [label.at] * 2,
            [top - LEVEL * (label.level + 1), axes.get_ylim()[0]],
            color=colours[node],
            linewidth=1,
            zorder=0.5,
        )
        _write(axes, label, top, colours[node], "bold")
    top += 6
    for node in sorted(story["nodes"]):
        _name(axes, top + BAR / 2, node)
        for since, until, role in _spans(story["nodes"][node], view):
            _bar(axes, view, (since, until), top, [colours[node]] if role != "gone" else [], pale=role == "replica")
            _inside(axes, view, (since, until), top, role, strong=role == "master")
        top += LANE
    top += LEVEL
    for sentinel in sorted(story["sentinels"]):
        labels = _labels(story, view, sentinel)
        top += _room(labels)
        _name(axes, top + BAR / 2, sentinel)
        axes.plot([0, view.width], [top + BAR / 2] * 2, color=GRID, linewidth=1, zorder=0)
        for at in dict.fromkeys(at for at, _ in story["sentinels"][sentinel] if view.shows(at)):
            axes.plot([view.x(at)] * 2, [top + 3, top + BAR - 3], color=INK, linewidth=1.2)
        for label in labels:
            line = [top - LEVEL * label.level - LEVEL / 2, top + 3]
            axes.plot([label.at] * 2, line, color=FAINT, linewidth=0.6)
            _write(axes, label, top, INK)
        top += LANE
    top += LEVEL
    for publisher in in_order(set(story["dns"]), PUBLISHERS):
        _name(axes, top + BAR / 2, publisher, weight="bold" if publisher == OURS else "normal")
        for since, until, names in _spans(story["dns"][publisher], view):
            _bar(axes, view, (since, until), top, [colours.get(name, GREY) for name in sorted(names)])
            text = " and ".join(sorted(names)) or "none"
            if zero is not None and zero < since:
                text += f" after {duration(since - zero)}"
            _inside(axes, view, (since, until), top, text, strong=bool(names))
        top += LANE


def _spans(changes: Sequence[tuple[float, T]], view: View) -> Iterator[tuple[float, float, T]]:
    """From, to, what: cut to the view."""
    ends = [*(at for at, _ in changes[1:]), view.until]
    for (at, what), end in zip(changes, ends, strict=True):
        since, until = max(at, view.since), min(end, view.until)
        if since < until:
            yield since, until, what


def _bar(
    axes: Axes, view: View, span: tuple[float, float], top: float, colours: Sequence[str], *, pale: bool = False
) -> None:
    left, right = map(view.x, span)
    if not colours:
        axes.add_patch(
            Rectangle((left, top + 1), right - left, BAR - 2, facecolor="white", edgecolor=FAINT, linewidth=0.6)
        )
    for i, colour in enumerate(colours):
        part = BAR / len(colours)
        axes.add_patch(
            Rectangle(
                (left, top + i * part), right - left, part, facecolor=tint(colour) if pale else colour, linewidth=0
            )
        )


def _inside(axes: Axes, view: View, span: tuple[float, float], top: float, text: str, *, strong: bool) -> None:
    """Write into a bar, if the text has room there."""
    left, right = map(view.x, span)
    if Label(left, text).extent[1] < right - 2:
        colour = "white" if strong else GREY
        axes.text(
            left + 5,
            top + BAR / 2,
            text,
            size=SMALL,
            color=colour,
            va="center_baseline",
            weight="bold" if strong else "normal",
        )


def _name(axes: Axes, middle: float, name: str, weight: str = "normal") -> None:
    axes.text(-8, middle, name, ha="right", va="center_baseline", weight=weight)


def _write(axes: Axes, label: Label, top: float, colour: str, weight: str = "normal") -> None:
    place = (label.at + (-3 if label.flipped else 3), top - LEVEL * label.level - LEVEL / 2)
    align = "right" if label.flipped else "left"
    axes.text(*place, label.text, size=SMALL, color=colour, weight=weight, ha=align, va="center_baseline", bbox=PAPER)
