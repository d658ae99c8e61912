"""What ``make chaos`` passes on, by environment variables; without any, the set for CI runs once."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from .faults import FAULTS, Fault, find

MIX = "random mix"
MIXES = 10
"""Random mixes in one run."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much to run."""

    runs: int
    """0: only the set for CI, once, and no mix."""
    seed: int
    faults: tuple[Fault, ...]
    mixes: range
    """The seeds of the random mixes."""
    json: Path | None

    @classmethod
    def read(cls) -> Options:
        """Read ``CHAOS_RUNS``, ``CHAOS_SEED``, ``CHAOS_FAULTS`` (words of names, or ``random mix``) and ``CHAOS_JSON``."""
        runs, seed = int(os.environ.get("CHAOS_RUNS") or 0), os.environ.get("CHAOS_SEED")
        pattern, json = os.environ.get("CHAOS_FAULTS") or "", os.environ.get("CHAOS_JSON")
        if pattern == MIX:
            chosen = []
        elif runs or pattern:
            chosen = find(pattern)
        else:
            chosen = [f for f in FAULTS if f.ci]
        first = int(seed) if seed else (secrets.randbelow(10**6) if runs else 1)
        return cls(
            runs=runs,
            seed=first,
            mixes=range(first, first + (MIXES * runs if pattern in ("", MIX) else 0)),
            faults=tuple(chosen),
            json=Path(json) if json else None,
        )
