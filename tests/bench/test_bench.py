"""The benchmark itself stays runnable: nobody starts it every day."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_publisher_publishes_and_no_round_is_needed(tmp_path: Path) -> None:
    """The stage is built, all publishers come to name the same master, and a record is written and shown."""
    path = tmp_path / "bench.json"
    run = [sys.executable, "-m", "tests.bench", "--rounds", "0", "--only", "failovers", "--json", str(path)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(path.read_text())["failovers"] == []
