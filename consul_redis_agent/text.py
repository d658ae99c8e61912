"""Text from outside, made fit for one line of a log, a message or a page."""

from __future__ import annotations


def plain(text: str, limit: int = 200) -> str:
    """``text`` as one line of at most ``limit`` characters, without control characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
