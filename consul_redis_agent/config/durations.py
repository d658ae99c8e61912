"""Durations as Consul writes them: ``250ms``, ``10s``, ``1m30s``. In the program they are float seconds."""

from __future__ import annotations

import re

_UNITS = {"h": 3_600_000_000_000, "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_PART = re.compile(r"([0-9]+)(?:\.([0-9]+))?(h|ms|m|us|ns|s)", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError with the reason."""
    nanoseconds = end = 0
    while end < len(text):
        part = _PART.match(text, end)
        if part is None or len(part[0]) > 20:
            break
        whole, fraction, unit = part[1], part[2] or "", _UNITS[part[3]]
        nanoseconds += int(whole) * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        end = part.end()
    if not text or end < len(text):
        raise ValueError(f'{text[:40]!r} is not a duration such as "250ms", "10s" or "1m30s"')
    return nanoseconds / 1e9


def format_duration(seconds: float) -> str:
    """The shortest way to write it, exact to the nanosecond: ``90.25`` is ``1m30s250ms``."""
    rest = round(seconds * 1e9)
    parts = []
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
