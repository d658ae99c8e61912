"""What ``make chaos`` passes on, by environment variables; without any, the set for CI runs once."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from .faults import FAULTS, Fault, find


@dataclass(frozen=True, slots=True)
class Options:
    """How much to run."""

    runs: int
    """0: only the set for CI, once, and no mix."""
    seed: int
    faults: tuple[Fault, ...]
    json: Path | None

    @classmethod
    def read(cls) -> Options:
        """Read ``CHAOS_RUNS``, ``CHAOS_SEED``, ``CHAOS_FAULTS`` (words in a fault's name) and ``CHAOS_JSON``."""
        runs, seed = int(os.environ.get("CHAOS_RUNS") or 0), os.environ.get("CHAOS_SEED")
        pattern, json = os.environ.get("CHAOS_FAULTS") or "", os.environ.get("CHAOS_JSON")
        chosen = find(pattern) if runs or pattern else [f for f in FAULTS if f.ci]
        return cls(
            runs=runs,
            seed=int(seed) if seed else (secrets.randbelow(10**6) if runs else 1),
            faults=tuple(chosen),
            json=Path(json) if json else None,
        )
