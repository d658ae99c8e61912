"""Fails if the unit tests and the simulation leave more than a tenth of any module of ``watch/`` or ``publish/`` undone.

coverage json -o - | python -m tests.covered
"""

from __future__ import annotations

import json
import sys

HELD = ("/watch/", "/publish/")
LEAST = 90.0
"""Percent of a module's statements."""


def main() -> int:
    """Name each module that is below; 1 if there is any."""
    files = json.load(sys.stdin)["files"]
    share = {path: file["summary"]["percent_covered"] for path, file in files.items() if any(p in path for p in HELD)}
    low = {path: percent for path, percent in share.items() if percent < LEAST}
    for path, percent in low.items():
        sys.stderr.write(
            f"{path}: {percent:.0f} % of it is done by unit tests and simulation; {LEAST:.0f} are asked for\n"
        )
    return 1 if low or not share else 0


if __name__ == "__main__":
    sys.exit(main())
