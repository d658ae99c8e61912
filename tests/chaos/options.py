"""What ``make chaos`` passes on, by environment variables; without any, the set for CI runs once."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from tests.fleet import servers
from tests.fleet.servers import Server

from . import faults_fenced  # noqa: F401 - enters its faults into the list
from .arena import MODES
from .faults import FAULTS, Fault, find

MIX = "random mix"
MIXES = 10
"""Random mixes in one run."""
FENCES = {"off": False, "on": True}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a fleet's agents are told."""

    mode: str
    fenced: bool

    def __str__(self) -> str:
        return f"{self.mode}{'-fenced' if self.fenced else ''}"


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a fault in a kind of fleet."""

    fault: Fault
    kind: Kind
    number: int

    def __str__(self) -> str:
        return f"{self.fault.name.replace(' ', '-')}-{self.kind}-{self.number}"


@dataclass(frozen=True, slots=True)
class Options:
    """How much to run."""

    runs: int
    """0: once, and no mix."""
    chosen: bool
    """The faults are not just the set for CI."""
    seed: int
    faults: tuple[Fault, ...]
    mixes: range
    """The seeds of the random mixes."""
    modes: tuple[str, ...]
    fences: tuple[bool, ...]
    server: Server
    json: Path | None

    @classmethod
    def read(cls) -> Options:
        """Read the environment: ``CHAOS_RUNS``, ``CHAOS_SEED``, ``CHAOS_FAULTS`` (words of names, or ``random mix``),
        ``CHAOS_MODE``, ``CHAOS_FENCE`` (``on`` or ``off``), ``CHAOS_SERVER`` (a name of ``servers.py``, or a path) and ``CHAOS_JSON``.
        """
        runs, seed = int(os.environ.get("CHAOS_RUNS") or 0), os.environ.get("CHAOS_SEED")
        pattern, json = os.environ.get("CHAOS_FAULTS") or "", os.environ.get("CHAOS_JSON")
        mode, fence = os.environ.get("CHAOS_MODE") or "", os.environ.get("CHAOS_FENCE") or ""
        if mode and mode not in MODES:
            raise ValueError(f"CHAOS_MODE={mode}: there are only {', '.join(MODES)}")
        if fence and fence not in FENCES:
            raise ValueError(f"CHAOS_FENCE={fence}: there are only {', '.join(FENCES)}")
        if pattern == MIX:
            chosen = []
        elif runs or pattern:
            chosen = find(pattern)
        else:
            chosen = [f for f in FAULTS if f.ci or f.ci_fenced]
        server = servers.server(os.environ.get("CHAOS_SERVER") or "redis")
        first = int(seed) if seed else (secrets.randbelow(10**6) if runs else 1)
        return cls(
            runs=runs,
            chosen=bool(runs or pattern),
            seed=first,
            mixes=range(first, first + (MIXES * runs if pattern in ("", MIX) else 0)),
            faults=tuple(f for f in chosen if not f.coordinated or server.coordinates()),
            modes=(mode,) if mode else tuple(MODES),
            fences=(FENCES[fence],) if fence else (False, True),
            server=server,
            json=Path(json) if json else None,
        )

    def cases(self) -> list[Case]:
        """Every run, kind by kind: each kind has its own fleet."""
        turns = [
            (fault, kinds, place + number, number)
            for place, fault in enumerate(self.faults)
            for number in range(max(1, self.runs))
            for kinds in ([self.kinds(fault)] if self.chosen else self._ci(fault))
        ]
        found = [Case(fault, kinds[turn % len(kinds)], number) for fault, kinds, turn, number in turns if kinds]
        return sorted(found, key=lambda case: self._place(case.kind))

    def seeds(self) -> list[int]:
        """The seeds of the random mixes, kind by kind."""
        return sorted(self.mixes, key=lambda seed: self._place(self.kind(seed)))

    def kind(self, seed: int) -> Kind:
        """The kind of fleet for a random mix."""
        kinds = self.kinds()
        return kinds[seed % len(kinds)]

    def kinds(self, fault: Fault | None = None) -> list[Kind]:
        """The kinds of fleet, those for a fault or all, as they take turns: another mode each time, with a fence and without."""
        modes = [mode for mode in self.modes if fault is None or mode not in fault.not_in]
        fences = [fenced for fenced in self.fences if fault is None or fault.fenced in (None, fenced)]
        turns = [fences[shift:] + fences[:shift] for shift in range(len(fences))]
        return [Kind(mode, fenced) for turn in turns for mode, fenced in zip(modes, cycle(turn))]

    def _ci(self, fault: Fault) -> list[list[Kind]]:
        """The kinds for each run in CI: without a fence by turns, and with one in a single fleet, since each takes time to build."""
        kinds = self.kinds(fault)
        plain, fenced = ([kind for kind in kinds if kind.fenced is fence] for fence in (False, True))
        return [*([plain] if fault.ci else []), *([sorted(fenced, key=self._place)[:1]] if fault.ci_fenced else [])]

    def _place(self, kind: Kind) -> tuple[int, bool]:
        return self.modes.index(kind.mode), kind.fenced
