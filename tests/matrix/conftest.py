"""One fleet for all steps of a row, taken anew where it could not be brought back; the table at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.arena import Arena

from .rows import Row
from .table import Table

_table = pytest.StashKey[Table]()
_ROOT = Path(__file__).parents[2]


class Arenas:
    """Gives a clean arena to whoever asks."""

    def __init__(self) -> None:
        self._arena: Arena | None = None
        self._row: Row | None = None

    def take(self, row: Row) -> Arena:
        """The arena of a row. Raises AssertionError or OSError where it does not come up."""
        if self._arena and (self._arena.broken or self._row != row):
            self.close()
        if self._arena is None:
            self._arena, self._row = Arena(row.mode, fenced=row.fenced, **row.options), row
        self._arena.random.seed(str(row))
        return self._arena

    def close(self) -> None:
        """End all processes."""
        if self._arena:
            arena, self._arena = self._arena, None
            arena.__exit__()


@pytest.fixture(scope="session")
def arenas() -> Iterator[Arenas]:
    """Where to take an arena from."""
    made = Arenas()
    yield made
    made.close()


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Table:
    """Where the results of all rows come together."""
    path = Path(os.environ.get("MATRIX_JSON") or _ROOT / "build" / "matrix.json")
    return request.config.stash.setdefault(_table, Table(path))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table, and write it down."""
    table = config.stash.get(_table, None)
    if table is None or not table.rows:
        return
    terminalreporter.section("matrix")
    terminalreporter.write_line(table.text())
    table.write()
    terminalreporter.write_line(
        f"written to {table.path.with_suffix('.md')} and {table.path.name}, beside earlier rows"
    )
