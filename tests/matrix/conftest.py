"""One fleet for all steps of a row; the table at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.arena import Arena
from tests.chaos.arenas import Arenas

from .rows import Row
from .table import Table

_table = pytest.StashKey[Table]()
_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def arenas() -> Iterator[Arenas[Row]]:
    """Where to take an arena from."""
    made = Arenas[Row](lambda row: Arena(row.mode, fenced=row.fenced, **row.options))
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
