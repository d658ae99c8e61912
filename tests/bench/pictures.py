"""The pictures of a run, as SVG for the README. Needs matplotlib: ``tests/setup bench``.

``python -m tests.bench.pictures FILE FOLDER``
"""

from __future__ import annotations

import argparse
from pathlib import Path

from consul_redis_agent.commands.screen import say

from .page import save
from .picture_cost import cost
from .picture_failovers import failovers, two
from .picture_lanes import lanes
from .picture_writes import writes
from .record import Record, load

PICTURES = {"failovers": failovers, "two": two, "lanes": lanes, "writes": writes, "cost": cost}


def draw(record: Record, folder: Path, kind: str = "svg") -> list[Path]:
    """Draw what was measured; the same record gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, picture in PICTURES.items():
        figure = picture(record)
        if figure is not None:
            drawn.append(folder / f"{name}.{kind}")
            save(figure, drawn[-1])
    return drawn


def main() -> None:
    """Draw a record that was written before."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pictures", description=main.__doc__)
    parser.add_argument("file", type=Path, help="the JSON that make bench has written")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--kind", default="svg", choices=("svg", "png"), help="of file")
    given = parser.parse_args()
    for path in draw(load(given.file), given.folder, given.kind):
        say(str(path))


if __name__ == "__main__":
    main()
