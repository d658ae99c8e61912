"""One arena for all faults of a mode; figures at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .arena import Arena
from .arenas import Arenas
from .figures import Figures
from .options import Kind, Options

_figures = pytest.StashKey[Figures]()


@pytest.fixture(scope="session")
def arenas() -> Iterator[Arenas[Kind]]:
    """Where to take an arena from."""
    made = Arenas[Kind](lambda kind: Arena(kind.mode, fenced=kind.fenced, server=Options.read().server))
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
