"""Text from outside: made fit for one line of a log, a message or a page, or known to be so."""

from __future__ import annotations


def plain(text: str, limit: int = 200) -> str:
    """``text`` as one line of at most ``limit`` characters, without control characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


HOST_LIMIT = 253
"""Characters of a host name."""


def is_word(text: str, limit: int) -> bool:
    """Whether it is one printable word of at most ``limit`` characters."""
    return 0 < len(text) <= limit and text.isprintable() and " " not in text


def is_host(text: str) -> bool:
    """Whether it can be a host's name or address."""
    return is_word(text, HOST_LIMIT)
