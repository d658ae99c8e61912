"""``make bench``: measures, writes the JSON, draws, and shows the tables."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.fleet import may_build_networks

from .machine import machine
from .record import Record

PARTS = ("failovers", "writes", "cost", "start")
SERVERS = Path(__file__).parents[2] / ".servers" / "bin"


def main() -> int:
    """Measure the parts that are asked for; the JSON is written after each of them."""
    options = parsed()
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], str(SERVERS), "/usr/sbin", "/sbin"])
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    record: Record = {"machine": machine()}
    for part in options.only:
        with progress(part) as tell:
            PART[part](record, options.rounds, tell)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    show(record, options.pictures)
    return 0


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="failovers of each kind (default: %(default)s)")
    parser.add_argument("--only", type=parts, default=PARTS, help=f"parts, by commas (default: {','.join(PARTS)})")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="(default: %(default)s)")
    parser.add_argument("--pictures", type=Path, help="a folder; they need `tests/setup bench` (default: none)")
    return parser.parse_args()


def parts(text: str) -> tuple[str, ...]:
    """Take apart ``--only``. Raises ArgumentTypeError."""
    wanted = text.replace(" ", "").split(",")
    if unknown := set(wanted) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(sorted(unknown))}")
    return tuple(part for part in PARTS if part in wanted)


# --- The parts: each imports what it needs ----------------------------------------------------------------------------

Tell = Callable[[str], None]


def failovers(record: Record, rounds: int, tell: Tell) -> None:
    """Measure the failovers."""
    from . import failovers

    isolated = may_build_networks()
    if not isolated:
        tell("not root, so no network namespaces: all on this machine's loopback, and no host is lost")
    tell(
        f"{rounds} rounds of about {failovers.expected(1, isolated=isolated):.0f} s: "
        f"{failovers.expected(rounds, isolated=isolated) / 60:.0f} min"
    )
    result = failovers.measure(rounds, tell)
    record["failovers"] = result.failovers
    if result.lanes:
        record["lanes"] = result.lanes


def writes(record: Record, rounds: int, tell: Tell) -> None:
    """Measure what applications lose."""
    from . import writing

    rounds = max(1, rounds // writing.FEWER)
    tell(f"{rounds} rounds of about {writing.SECONDS:.0f} s: {rounds * writing.SECONDS / 60:.0f} min")
    record["writes"] = writing.measure(rounds, tell)


def cost(record: Record, rounds: int, tell: Tell) -> None:
    """Measure what publishers cost while nothing changes."""
    from . import cost

    costs = cost.measure(tell)
    record["cost_per_process"], record["cost_per_consul"] = costs["cost_per_process"], costs["cost_per_consul"]


def start(record: Record, rounds: int, tell: Tell) -> None:
    """Measure how fast our agent starts."""
    from . import start

    record["start"] = start.measure(tell)


PART: dict[str, Callable[[Record, int, Tell], None]] = {
    "failovers": failovers,
    "writes": writes,
    "cost": cost,
    "start": start,
}


# --- For people -------------------------------------------------------------------------------------------------------


@contextmanager
def progress(part: str) -> Iterator[Tell]:
    """Give a function that prints a line to stderr; on a terminal there is a moving line beneath."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda line: print(f"{part}: {line}", file=sys.stderr, flush=True)  # noqa: T201
        return
    # Drawn twice a second: nothing of this may disturb what is measured.
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, refresh_per_second=2, transient=True) as bar:
        bar.add_task(part, total=None)
        yield lambda line: bar.console.print(f"{part}: {line}", markup=False, soft_wrap=True)


def show(record: Record, folder: Path | None) -> None:
    """Print the tables to stdout, and draw."""
    from . import report

    report.show(record)
    if folder:
        from . import pictures

        for path in pictures.draw(record, folder):
            print(f"drawn: {path}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
