"""Figures as text, alike in tables and pictures."""

from __future__ import annotations

from math import inf

from .summary import Line

DASH = "–"
NEVER = "never"
MEBI = 2**20
KIBI = 2**10


def milliseconds(value: float | None) -> str:
    """Seconds, as milliseconds without the unit."""
    return _word(None if value is None else value * 1000, small=0.01, digits=2)


def seconds(value: float | None) -> str:
    """Seconds without the unit; only a true zero is 0."""
    return _word(value, small=0.001, digits=3)


def duration(value: float | None) -> str:
    """Seconds, with the unit that suits."""
    if value is None or value in (0, inf):
        return seconds(value)
    return f"{seconds(value)} s" if value >= 1 else f"{milliseconds(value)} ms"


def number(value: float | None) -> str:
    """Anything else, with three significant digits."""
    return _word(value, small=0.001, digits=3)


def ratio(value: float | None) -> str:
    """How many times another figure."""
    return DASH if value is None else NEVER if value == inf else f"{number(value)} ×"


def mebibytes(value: float | None) -> str:
    """Bytes, as MiB without the unit."""
    return _word(None if value is None else value / MEBI, small=0.1, digits=1)


def line(found: Line | None, *, memory: bool = False) -> str:
    """How a cost grows: its constant and what each further one adds."""
    if found is None:
        return DASH
    sign = "+" if found.slope >= 0 else "−"
    constant, slope = found.constant, abs(found.slope)
    if memory:
        each = f"{slope / KIBI:.0f} KiB" if slope < MEBI else f"{slope / MEBI:.1f} MiB"
        return f"{mebibytes(constant)} MiB {sign} {each} · n"
    return f"{number(constant)} {sign} {number(slope)} · n"


def _word(value: float | None, *, small: float, digits: int) -> str:
    """``digits`` at most behind the point, and about three that mean something."""
    if value is None:
        return DASH
    if value == inf:
        return NEVER
    if value == 0:
        return "0"
    if value < 0:
        return f"−{_word(-value, small=small, digits=digits)}"
    if value < small:
        return f"<{small}"
    for limit, behind in ((1, digits), (10, min(digits, 2)), (100, min(digits, 1))):
        if value < limit:
            return f"{value:.{behind}f}"
    return f"{value:.0f}"
