"""What ``make chaos`` passes on, by environment variables; without any, the set for CI runs once."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from .arena import MODES
from .faults import FAULTS, Fault, find

MIX = "random mix"
MIXES = 10
"""Random mixes in one run."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a fault: with the agents in a mode."""

    fault: Fault
    mode: str
    number: int

    def __str__(self) -> str:
        return f"{self.fault.name.replace(' ', '-')}-{self.mode}-{self.number}"


@dataclass(frozen=True, slots=True)
class Options:
    """How much to run."""

    runs: int
    """0: only the set for CI, once, and no mix."""
    seed: int
    faults: tuple[Fault, ...]
    mixes: range
    """The seeds of the random mixes."""
    modes: tuple[str, ...]
    json: Path | None

    @classmethod
    def read(cls) -> Options:
        """Read ``CHAOS_RUNS``, ``CHAOS_SEED``, ``CHAOS_FAULTS`` (words of names, or ``random mix``), ``CHAOS_MODE`` and ``CHAOS_JSON``."""
        runs, seed = int(os.environ.get("CHAOS_RUNS") or 0), os.environ.get("CHAOS_SEED")
        pattern, json = os.environ.get("CHAOS_FAULTS") or "", os.environ.get("CHAOS_JSON")
        mode = os.environ.get("CHAOS_MODE") or ""
        if mode and mode not in MODES:
            raise ValueError(f"CHAOS_MODE={mode}: there are only {', '.join(MODES)}")
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
            modes=(mode,) if mode else tuple(MODES),
            json=Path(json) if json else None,
        )

    def cases(self) -> list[Case]:
        """Every run, mode by mode: a mode has its own fleet. Each fault has another mode in each of three runs."""
        found = [
            Case(fault, mode, number)
            for place, fault in enumerate(self.faults)
            for number in range(max(1, self.runs))
            if (mode := self.mode(place + number, fault.not_in))
        ]
        return sorted(found, key=lambda case: self.modes.index(case.mode))

    def seeds(self) -> list[int]:
        """The seeds of the random mixes, mode by mode."""
        return sorted(self.mixes, key=lambda seed: self.modes.index(self.mode(seed)))

    def mode(self, number: int, but: frozenset[str] = frozenset()) -> str:
        """The mode of a run, empty where none is left."""
        modes = [mode for mode in self.modes if mode not in but]
        return modes[number % len(modes)] if modes else ""
