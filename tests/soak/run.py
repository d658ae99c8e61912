"""The run itself: fault after fault on one fleet, with a rest after each."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from subprocess import SubprocessError

import redis

from tests.bench.machine import machine
from tests.chaos import episode
from tests.chaos.arena import Arena
from tests.chaos.faults import Fault
from tests.fleet import SCALE

from .plan import Plan
from .record import Done, Record, save
from .samples import Sampler

RESTS = 3
"""Samples of the fleet at rest after each fault, a second apart."""
ATTEMPTS = 3
"""How often it is tried to bring a fleet back to a clean state after a fault that could not be ended."""
Tell = Callable[[str], None]


def soak(arena: Arena, plan: Plan, seed: int, seconds: float, tell: Tell, path: Path, most: float = inf) -> Record:
    """Do random faults for so long, ``most`` of them, and end what has begun; Ctrl-C ends it at once, with what there is.

    ``path`` is of the JSON, which is written after each fault; beside it goes the story of one that broke a promise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    spared = arena.nodes[-1]
    began = time.monotonic()
    sampler = Sampler(arena, began)
    record: Record = {
        "machine": machine(),
        "seed": seed,
        "mode": arena.mode,
        "fenced": arena.fenced,
        "scale": SCALE,
        "spared": arena.agent(spared).name,
        "seconds": 0.0,
        "faults": [],
        "samples": sampler.samples,
    }
    try:
        with sampler.sampling():
            _rest(arena, sampler, 0)
            while time.monotonic() < began + seconds and len(record["faults"]) < most and not arena.broken:
                number = len(record["faults"]) + 1
                fault = plan.next([arena.master, *arena.replicas()].index(spared))
                arena.random.seed(f"{seed} {number} {fault.name}")
                tell(f"{(time.monotonic() - began) / 60:5.1f} min, fault {number}: {fault.name}")
                done, story = _do(arena, fault, number, began)
                record["faults"].append(done)
                record["seconds"] = done["ended"]
                for problem in done["problems"]:
                    tell(f"BROKEN: {problem}")
                if done["problems"]:
                    path.with_name(f"{path.stem}-{number}.txt").write_text(story + "\n")
                if not arena.broken:
                    _rest(arena, sampler, number)
                save(record, path)
    except KeyboardInterrupt:
        tell("stopped by hand; this is what there is")
    return record


def _do(arena: Arena, fault: Fault, number: int, began: float) -> tuple[Done, str]:
    """One fault, judged, and the fleet well again, with its story; ``arena.broken`` where that cannot be had."""
    start = time.monotonic()
    verdict, story = episode.run(arena, fault)
    problems = [*verdict.problems]
    for _ in range(ATTEMPTS):
        if arena.broken:
            problems += _mended(arena)
    history = arena.history() if arena.broken else arena.begin_anew()
    done = Done(
        number=number,
        name=fault.name,
        began=round(start - began, 2),
        ended=round(time.monotonic() - began, 2),
        two=round(history.seconds(lambda names: len(names) > 1, 0, inf), 4),
        none=round(history.seconds(lambda names: not names, 0, inf), 4),
        wrong=round(verdict.wrong, 4),
        moved=bool(verdict.exact),
        problems=problems,
        lost={writer: len(writes.lost) for writer, writes in verdict.writes.items()},
    )
    return done, story


def _mended(arena: Arena) -> list[str]:
    """What still keeps the fleet from a clean state, as a list of one or none."""
    arena.broken = False
    try:
        arena.clean()
    except (AssertionError, OSError, SubprocessError, redis.RedisError) as error:
        return [f"E: {type(error).__name__}: {error}"]
    return []


def _rest(arena: Arena, sampler: Sampler, number: int) -> None:
    for _ in range(RESTS):
        arena.watch(1, "the fleet is at rest")
        sampler.take(number)
