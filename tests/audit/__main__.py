"""Asks the package registry for known holes in what users get. Fails on one; says aloud where nothing could be asked.

python -m tests.audit
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".servers/audit/bin/pip-audit"
LOCK = "requirements.lock"
WITHIN = 120
"""Seconds for all questions."""


def ask() -> Mapping[str, Any]:
    """pip-audit's report on the lock. Raises OSError with the reason where there is none."""
    argv = [
        str(PROGRAM),
        "--require-hashes",
        "--disable-pip",
        "--progress-spinner",
        "off",
        "--format",
        "json",
        "-r",
        LOCK,
    ]
    try:
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=WITHIN)
        report: Mapping[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"no answer within {WITHIN} s") from None
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["pip-audit said nothing"]
        raise OSError(last[0]) from None
    return report


def judge(report: Mapping[str, Any]) -> tuple[int, list[str]]:
    """The exit code, and what to say: 1 if anything is known against a package."""
    packages = report["dependencies"]
    unasked = [package["name"] for package in packages if "skip_reason" in package]
    holes = [
        f"{package['name']} {package['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for package in packages
        for hole in package.get("vulns", [])
    ]
    if len(unasked) == len(packages):
        return 0, [f"nothing was audited: the registry has no data on any of the {len(packages)} packages of {LOCK}"]
    said = [
        f"{len(packages) - len(unasked)} of {len(packages)} packages of {LOCK} were audited; holes known: {len(holes)}"
    ]
    if unasked:
        said.append(f"not audited, since the registry has no data on them: {', '.join(unasked)}")
    return int(bool(holes)), [*said, *holes]


def main() -> int:
    """Print what is known; 1 if it is anything."""
    try:
        code, lines = judge(ask())
    except OSError as error:
        code, lines = 0, [f"nothing was audited: {error}"]
    for line in lines:
        sys.stderr.write(f"audit: {line}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
