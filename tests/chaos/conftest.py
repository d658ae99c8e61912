"""One arena for all faults of a mode, taken anew where one could not be brought back; figures at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .arena import Arena
from .figures import Figures
from .options import Kind, Options

_figures = pytest.StashKey[Figures]()


class Arenas:
    """Gives a clean arena to whoever asks."""

    def __init__(self) -> None:
        self._arena: Arena | None = None

    def take(self, kind: Kind, seed: int | str) -> Arena:
        """The arena, clean, with its agents told so and its source of chance set."""
        if self._arena and (self._arena.broken or (self._arena.mode, self._arena.fenced) != (kind.mode, kind.fenced)):
            self.close()
        if self._arena is None:
            self._arena = Arena(kind.mode, fenced=kind.fenced, server=Options.read().server)
        self._arena.random.seed(seed)
        return self._arena

    def close(self) -> None:
        """End all processes."""
        if self._arena:
            self._arena.__exit__()
            self._arena = None


@pytest.fixture(scope="session")
def arenas() -> Iterator[Arenas]:
    """Where to take an arena from."""
    made = Arenas()
    yield made
    made.close()


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """Where the figures of all runs come together."""
    return request.config.stash.setdefault(_figures, Figures(Options.read().json))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table, and write it down where that is wanted."""
    figures = config.stash.get(_figures, None)
    if figures is None or not figures.verdicts:
        return
    terminalreporter.section("figures of the faults")
    terminalreporter.write_line(figures.table())
    figures.write()
    if figures.path:
        terminalreporter.write_line(f"written to {figures.path}")
