"""``make soak``: one fleet, random faults one after another, and what of its processes grows meanwhile."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import time
from pathlib import Path

from tests.chaos.arena import MODES, Arena
from tests.fleet import may_build_networks, servers

from . import report
from .plan import Plan, suitable
from .run import soak

SERVERS = Path(__file__).parents[2] / ".servers" / "bin"


def main() -> int:
    """Exit code 0 if nothing grew and no promise was broken, 1 otherwise, 2 where it cannot be done."""
    options = parsed()
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], str(SERVERS), "/usr/sbin", "/sbin"])
    if not may_build_networks():
        tell("network namespaces need root")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = servers.server(options.server)
    faults = suitable(options.faults, mode=options.mode, fenced=options.fence, coordinated=server.coordinates())
    tell(f"{options.minutes:g} minutes of {len(faults)} faults in random order, seed {options.seed}")
    with Arena(options.mode, fenced=options.fence, server=server) as arena:
        plan = Plan(faults, options.seed, mixes=not options.faults)
        record = soak(arena, plan, options.seed, options.minutes * 60, tell, options.json)
    print(report.text(record))  # noqa: T201
    if options.picture:
        from .picture import draw

        draw(record, options.picture)
        tell(f"drawn: {options.picture}")
    return 0 if report.well(record) else 1


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="(default: a random one)")
    parser.add_argument("--faults", default="", help="words of their names, by commas (default: all, and random mixes)")
    parser.add_argument("--mode", default="services", choices=MODES, help="service.mode (default: %(default)s)")
    parser.add_argument("--fence", action="store_true", help="the agents fence")
    parser.add_argument("--server", default="redis", help="as for make chaos (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("build/soak.json"), help="(default: %(default)s)")
    parser.add_argument("--picture", type=Path, help="an SVG file; it needs `tests/setup bench` (default: none)")
    return parser.parse_args()


def tell(line: str) -> None:
    """Write a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
