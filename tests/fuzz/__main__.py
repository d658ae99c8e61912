"""Tries new input of every kind for SECONDS (60), or until one breaks a promise: python -m tests.fuzz [SECONDS]"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).parents[2]
TESTS = ("tests/fuzz", "tests/unit/test_from_outside.py")
TIMES = "2"
"""A round is so many times what `make test` tries, and takes half a minute; one that has begun is ended."""


def main() -> int:
    """pytest's exit code; the example that failed is in what it prints, as small as Hypothesis could make it."""
    until = monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 60)
    rounds = code = 0
    while not code and (not rounds or monotonic() < until):
        argv = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", *TESTS]
        code = subprocess.run(argv, cwd=ROOT, check=False, env={**os.environ, "FUZZ": TIMES}).returncode
        rounds += 1
    sys.stderr.write(f"fuzz: {rounds} rounds, {'nothing found' if not code else 'the last one failed'}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
