"""Secrets: held in memory, shown nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from consul_redis_agent.config.file import read_file
from consul_redis_agent.errors import LocalError

LONGEST = 64 * 1024  # bytes; a bigger file is not a password but a mistake


class Secret:
    """A string that no log, traceback or dump shows: only :meth:`reveal` gives it out."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The secret itself; hand it to nothing but a login."""
        return self.__text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.__text == other.__text

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __deepcopy__(self, memo: object) -> Secret:
        return self  # immutable; lets dataclasses.asdict() and copy.deepcopy() work without pickling

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


def read_secret(path: Path) -> Secret | None:
    """The secret that the file holds now, without its last line break; None for an empty file.

    Takes as long as the file system does: not to be called in an event loop. Raises LocalError, which names the file and the
    reason and never what the file holds.
    """
    try:
        text = read_file(path, LONGEST, "no password or token").decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise LocalError(f"{path}: is not UTF-8 text") from None
    if not text.isprintable():
        raise LocalError(f"{path}: holds more than one line, or control characters")
    return Secret(text) if text else None
