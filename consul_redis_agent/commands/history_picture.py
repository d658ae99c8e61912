"""An episode as one SVG picture: who saw what when, where each millisecond went, what was lost.

Text is text, in a font that every reader has; widths are estimated for the widest of these, so that no label covers another.
Colours follow the reader's choice of light or dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from consul_redis_agent.commands.history_lanes import Bar, Episode, Lane, Mark, closely, lanes, length, moment, tiles
from consul_redis_agent.tell.tale import span
from consul_redis_agent.text import plain

WIDTH, LEFT, RIGHT = 1160, 228, 36
INNER = WIDTH - LEFT - RIGHT
BAR, LEVEL, GAP = 18, 14, 12
"""Pixels of a bar, of one level of labels, and between two lanes."""
LEAD = 0.03
"""How much of the time before the first sign is shown, in parts of the whole."""
LEVELS = 4
"""Of labels over one lane at most; a mark without a label tells its sentence when it is pointed at."""
EM = 0.6
"""Width of a character in DejaVu Sans, the widest of the usual fonts, on average, in parts of the font's size."""
SMALL, NORMAL, LARGE = 11, 13, 18

STYLE = """
text{font-family:system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#1b1f24}
.paper{fill:#fff}.faint{fill:#57606a}.bold{font-weight:600}.line{stroke:#d0d7de}.mark{stroke:#1b1f24}.lead{stroke:#8c959f}
.own{fill:#0969b8}.pale{fill:#cfe4f6}.other{fill:#c2560c}.none{fill:#fff;stroke:#cf222e;stroke-dasharray:4 3}
.unknown{fill:#eaeef2}.tile{fill:#f3f5f8}.zero{stroke:#0969b8;stroke-dasharray:2 3}
text.on-own,text.on-other{fill:#fff}text.on-none{fill:#b01722}text.bad{fill:#b01722}
.label{paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}
@media(prefers-color-scheme:dark){
text{fill:#e6edf3}.paper{fill:#0d1117}.faint{fill:#9aa4ae}.line{stroke:#30363d}.mark{stroke:#e6edf3}.lead{stroke:#6e7681}
.own{fill:#58a6e8}.pale{fill:#173b58}.other{fill:#f0944a}.none{fill:#0d1117;stroke:#ff7b72}
.unknown{fill:#21262d}.tile{fill:#161b22}.zero{stroke:#58a6e8}
text.on-own,text.on-other{fill:#0d1117}text.on-none{fill:#ff9a93}text.bad{fill:#ff9a93}
.label{stroke:#0d1117}}
"""


@dataclass(frozen=True, slots=True)
class View:
    """A stretch of time, and how its seconds are told: counted from ``zero``. ``change``: when the node changed, where it did."""

    since: float
    until: float
    zero: float
    change: float | None
    name: str

    def x(self, at: float) -> float:
        """Pixels from the picture's left."""
        return LEFT + (at - self.since) / (self.until - self.since) * INNER

    def shows(self, at: float) -> bool:
        """Whether it is in it."""
        return self.since <= at <= self.until


@dataclass(frozen=True, slots=True)
class Label:
    """A mark's words at ``x``, on a level over the lane, right of the mark or left of it."""

    x: float
    text: str
    level: int
    flipped: bool

    @property
    def extent(self) -> tuple[float, float]:
        """From and to, in pixels."""
        size = width(self.text, SMALL)
        return (self.x - 4 - size, self.x - 4) if self.flipped else (self.x + 4, self.x + 4 + size)


def width(text: str, size: float) -> float:
    """Pixels of a text, rather too many than too few; wide characters count twice."""
    return sum(2 if ord(char) > 0x2E7F else 1 for char in text) * size * EM


def picture(episode: Episode) -> str:
    """The picture. Whatever the episode says is escaped; nothing in it is fetched from anywhere."""
    drawn, (change, what), end = lanes(episode), moment(episode) or (None, ""), length(episode)
    views = [View(-LEAD * end, end, 0.0, change, "From the first sign on")]
    if change is not None and (near := closely(episode)):
        views.append(View(*near, change, change, f"{span(near[1] - near[0])} around the {what}"))
    body: list[str] = []
    top = 30.0
    for line in _wrapped(episode["sentence"], 16):
        body.append(_text(24, top, line, 16, "bold"))
        top += 22
    when = datetime.fromtimestamp(episode["began"], UTC).isoformat(sep=" ", timespec="milliseconds")[:-6]
    body.append(
        _text(
            24,
            top,
            f"Seen on the host of {plain(episode['node'], 80)} from {when} UTC on; service {plain(episode['service'], 60)}",
            NORMAL,
            "faint",
        )
    )
    top += 18
    body += _tiles(tiles(episode), top)
    top += 74
    for view in views:
        made, top = _view(drawn, view, top)
        body += made
    body += _legend(top)
    height = round(top + 26)
    words = ". ".join([f"{_offset(e['at'])}: {_who(e)}{plain(e['text']).rstrip('.')}" for e in episode["events"]])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-labelledby="title desc"><title id="title">{_safe(episode["sentence"])}</title><desc id="desc">{_safe(words, 20000)}</desc>'
        f'<style>{STYLE}</style><rect class="paper" width="{WIDTH}" height="{height}"/>{"".join(body)}</svg>\n'
    )


def place(marks: Sequence[tuple[float, str]], levels: int = LEVELS) -> list[Label]:
    """Give labels, the most telling first, a level each so that none covers another or another's line; or leave them out."""
    taken: list[tuple[float, str]] = []
    placed: list[Label] = []
    for mark in marks:
        if (together := _together([*taken, mark], levels)) is not None:
            taken, placed = [*taken, mark], together
    return placed


def _together(marks: list[tuple[float, str]], levels: int) -> list[Label] | None:
    """All of them, from right to left, so that the lines of those to the left pass none; None where there is no room."""
    placed: list[Label] = []
    for x, text in sorted(marks, reverse=True):
        ways = [Label(x, text, level, flipped) for flipped in (False, True) for level in range(levels)]
        fits = (way for way in ways if way.extent[0] >= LEFT and way.extent[1] <= WIDTH - 4)
        free = next((way for way in fits if not any(_collide(way, other) for other in placed)), None)
        if free is None:
            return None
        placed.append(free)
    return placed


def _collide(a: Label, b: Label) -> bool:
    (a_from, a_to), (b_from, b_to) = a.extent, b.extent
    if a.level == b.level:
        return a_from < b_to + 6 and b_from < a_to + 6
    high, (low_from, low_to) = (a, b.extent) if a.level > b.level else (b, a.extent)
    return low_from - 3 < high.x < low_to + 3


def _tiles(found: list[tuple[str, str]], top: float) -> Iterator[str]:
    each = min(150.0, (WIDTH - 48 + 8) / len(found) - 8)
    for number, (figure, words) in enumerate(found):
        x = 24 + number * (each + 8)
        bad = " bad" if words in ("DNS named two", "stray writes") and not figure.startswith("0") else ""
        yield f'<rect class="tile" x="{x:.1f}" y="{top:.1f}" width="{each:.1f}" height="52" rx="6"/>'
        yield _text(x + 10, top + 24, figure, LARGE, f"bold{bad}")
        yield _text(x + 10, top + 42, words, SMALL if width(words, SMALL) <= each - 12 else 10, "faint")


def _view(drawn: list[Lane], view: View, top: float) -> tuple[list[str], float]:
    """Title, lanes and axis; and where they end."""
    drawn = [lane for lane in drawn if lane.bars or any(view.shows(mark.at) for mark in lane.marks)]
    labels = [place(_wanted(lane, view)) for lane in drawn]
    tops, y = [], top + 22.0
    for placed in labels:
        y += LEVEL * (1 + max((label.level for label in placed), default=-1))
        tops.append(y)
        y += BAR + GAP
    made = [_text(24, top + 4, view.name, NORMAL, "bold")]
    for at in _ticks(view):
        x = view.x(at)
        made.append(f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 16:.1f}" y2="{y:.1f}"/>')
        made.append(_text(x, y + 14, _offset(at - view.zero), SMALL, "faint", "middle"))
    if view.change is not None:
        x = view.x(view.change)
        made.append(
            f'<line class="zero" stroke-width="1.5" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 16:.1f}" y2="{y:.1f}"/>'
        )
    for lane, placed, at in zip(drawn, labels, tops, strict=True):
        made += _lane(lane, placed, view, at)
    return made, y + 44


def _wanted(lane: Lane, view: View) -> list[tuple[float, str]]:
    shown = sorted((m for m in lane.marks if view.shows(m.at)), key=lambda m: (m.rank, m.at))
    return [(view.x(m.at), plain(m.label, 60)) for m in shown]


def _lane(lane: Lane, labels: list[Label], view: View, top: float) -> Iterator[str]:
    middle = top + BAR / 2
    name = plain(lane.name, 200)
    short = name if width(name, NORMAL) <= LEFT - 34 else f"{name[:11]}…{name[-10:]}"
    yield f"<g>{_text(LEFT - 10, middle + 4.5, short, NORMAL, '', 'end', name)}"
    if not lane.bars:
        yield f'<line class="line" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{middle:.1f}" y2="{middle:.1f}"/>'
    marks = [view.x(mark.at) for mark in lane.marks if view.shows(mark.at)]
    for bar in lane.bars:
        yield from _bar(bar, view, top, marks)
    for label in labels:
        y = top - LEVEL * label.level
        yield f'<line class="lead" x1="{label.x:.1f}" x2="{label.x:.1f}" y1="{y - LEVEL + 4:.1f}" y2="{top + 2:.1f}"/>'
        yield _text(
            label.x + (-4 if label.flipped else 4),
            y - 4,
            label.text,
            SMALL,
            "label",
            "end" if label.flipped else "start",
        )
    for mark in lane.marks:
        if view.shows(mark.at):
            yield _mark(mark, view.x(mark.at), top)
    yield "</g>"


def _mark(mark: Mark, x: float, top: float) -> str:
    return (
        f'<line class="mark" stroke-width="1.6" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 3:.1f}" y2="{top + BAR - 3:.1f}">'
        f"<title>{_offset(mark.at)}: {_safe(mark.text)}</title></line>"
    )


def _bar(bar: Bar, view: View, top: float, marks: list[float]) -> Iterator[str]:
    left, right = view.x(max(bar.since, view.since)), view.x(min(bar.until, view.until))
    if right <= left:
        return
    part, told = BAR / len(bar.looks), f", for {span(bar.until - bar.since)}" if bar.since >= 0 else ""
    for number, look in enumerate(bar.looks):
        yield (
            f'<rect class="{look}" x="{left:.1f}" y="{top + number * part:.1f}" width="{right - left:.1f}" height="{part:.1f}">'
            f"<title>{_safe(bar.text)}{told}</title></rect>"
        )
    text = plain(bar.text, 100)
    room = width(text, SMALL) + 12
    for x in sorted({left, *(mark for mark in marks if left < mark < right)}):
        if len(bar.looks) == 1 and x + room <= right and not any(x < mark < x + room for mark in marks):
            yield _text(x + 6, top + BAR / 2 + 4, text, SMALL, f"on-{bar.looks[0]}")
            return


def _legend(top: float) -> Iterator[str]:
    x = float(LEFT)
    for look, words in (
        ("own", "this node is master"),
        ("pale", "replica"),
        ("other", "another node"),
        ("none", "nobody, not published, gone"),
    ):
        yield f'<rect class="{look}" x="{x:.1f}" y="{top - 10:.1f}" width="22" height="12"/>'
        yield _text(x + 28, top, words, SMALL, "faint")
        x += 28 + width(words, SMALL) + 24


def _ticks(view: View) -> list[float]:
    """Round seconds from zero, ten at most."""
    whole = view.until - view.since
    step = next(s for e in range(-4, 6) for s in (10.0**e, 2 * 10.0**e, 5 * 10.0**e) if whole / s <= 10)
    first = -int((view.zero - view.since) / step)
    return [view.zero + n * step for n in range(first, first + 12) if view.zero + n * step <= view.until]


def _offset(seconds: float) -> str:
    """``0``, ``+5.4 s``, ``−20 ms``."""
    size = abs(seconds)
    if size < 0.00005:
        return "0"
    told = f"{size * 1000:.4g} ms" if size < 1 else f"{size:.4g} s"
    return f"{'−' if seconds < 0 else '+'}{told}"


def _who(event: Episode) -> str:
    return f"Sentinel {plain(str(event['sentinel']))} " if "sentinel" in event else ""


def _wrapped(sentence: str, size: float) -> list[str]:
    """Two lines at most."""
    room = int((WIDTH - 48) / (size * EM * 1.06))
    words = plain(sentence, 2 * room - 1)
    if len(words) <= room:
        return [words]
    cut = max(words.rfind(f"{end} ", room // 3, room) for end in ";,:") + 1 or words.rfind(" ", 0, room)
    cut = cut if cut > 0 else room
    return [words[:cut], plain(words[cut:], room)]


def _text(x: float, y: float, text: str, size: float, kind: str = "", anchor: str = "start", title: str = "") -> str:
    where = f' text-anchor="{anchor}"' if anchor != "start" else ""
    told = f"<title>{_safe(title)}</title>" if title and title != text else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" class="{kind}"{where}>{_safe(text)}{told}</text>'


def _safe(text: str, limit: int = 400) -> str:
    return escape(plain(text, limit))
