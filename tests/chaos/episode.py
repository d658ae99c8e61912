"""One fault from a clean state to a clean state, with its verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from subprocess import SubprocessError

import redis

from tests.fleet import SCALE, Process, RedisNode

from .application import Application, writing
from .arena import MODES, Arena
from .copies import Copies
from .faults import Fault
from .judge import R, Verdict, judge
from .writes import Writes

STAYS = 0.5
"""Seconds for which the right answer is watched after ``R``."""


def run(arena: Arena, fault: Fault) -> tuple[Verdict, str]:
    """Do it, wait until all servers are well, judge, clean up. The second value is the story, for a failure."""
    arena.wait_until_agents_may_ask()
    since = time.monotonic()
    arena.guests.clear()
    starts: dict[Process, int] = {
        process: len(process.log()) for process in (*arena.fleet.agents, *arena.fleet.consuls)
    }
    writes: dict[str, Writes] = {}
    copies = Copies(arena.nodes)
    with ExitStack() as stack:
        application = stack.enter_context(writing(arena.fleet, MODES[arena.mode]))
        failed = _step(arena, lambda: _do(arena, fault))
        healed = arena.well_since or time.monotonic()
        if not failed:
            arena.witness.watch(STAYS if arena.names_holder() else R * SCALE + STAYS)
        end = arena.witness.up_to
        if not failed:
            failed = _step(arena, lambda: writes.update(_written(application, arena.master)))
    history = replace(arena.history(), writes=writes, copies=copies.made())
    verdict = judge(history, fault.expectation(fenced=arena.fenced), since=since, until=end, healed=healed)
    if not failed:
        failed = _step(arena, arena.clean)
        if two := arena.witness.seconds_of_two(since=end):
            verdict = replace(verdict, two=verdict.two + two)
            failed.append(f"S1: DNS named two masters for {two * 1000:.1f} ms while everything was brought back")
    verdict = replace(verdict, problems=(*verdict.problems, *failed))
    story = arena.story(since, arena.witness.up_to)
    for process, start in (starts | dict.fromkeys(arena.guests, 0)).items():
        story += f"\n== {process.name} on {process.host.address}\n{process.log()[start:]}"
    return verdict, "\n".join([*verdict.problems, story])


def _do(arena: Arena, fault: Fault) -> None:
    with arena.doing(f"FAULT {fault.name}"):
        pass
    fault.does(arena)
    arena.wait_until_well()


def _written(application: Application, master: RedisNode) -> Mapping[str, Writes]:
    application.stop()
    writes = application.writes(master)
    application.forget(master)
    return writes


def _step(arena: Arena, act: Callable[[], None]) -> list[str]:
    """What went wrong, as a list of one or none: then the arena is not to be used again."""
    try:
        act()
    except (AssertionError, OSError, SubprocessError, redis.RedisError) as error:
        arena.broken = True
        return [f"E: {type(error).__name__}: {error}"]
    return []
