"""One arena for all that is done to a kind of fleet, taken anew where it could not be brought back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from .arena import Arena

_K = TypeVar("_K")


class Arenas(Generic[_K]):
    """Gives a clean arena to whoever asks; ``make`` builds one of a kind."""

    def __init__(self, make: Callable[[_K], Arena]) -> None:
        self._make = make
        self._arena: Arena | None = None
        self._kind: _K | None = None

    def take(self, kind: _K, seed: int | str) -> Arena:
        """The arena, clean, with its source of chance set. Raises AssertionError or OSError where it does not come up."""
        if self._arena and (self._arena.broken or self._kind != kind):
            self.close()
        if self._arena is None:
            self._arena, self._kind = self._make(kind), kind
        self._arena.random.seed(seed)
        return self._arena

    def close(self) -> None:
        """End all processes."""
        if self._arena:
            arena, self._arena = self._arena, None
            arena.__exit__()
