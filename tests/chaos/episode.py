"""One fault from a clean state to a clean state, with its verdict."""

from __future__ import annotations

import time

from consul_redis_agent.fleet import SCALE

from .arena import Arena
from .faults import Fault
from .judge import R, Verdict, judge

STAYS = 0.5
"""Seconds for which the right answer is watched after ``R``."""


def run(arena: Arena, fault: Fault) -> tuple[Verdict, str]:
    """Do it, wait until all servers are well, judge, clean up. The second value is the story, for a failure."""
    since = time.monotonic()
    log_starts = {agent: len(agent.log()) for agent in arena.fleet.agents}
    try:
        with arena.doing(f"FAULT {fault.name}"):
            pass
        fault.does(arena)
        arena.wait_until_well()
    except BaseException:
        arena.broken = True
        raise
    healed = time.monotonic()
    arena.marks.append((healed, "all servers are well"))
    arena.witness.watch(R * SCALE + STAYS if not arena.names(arena.master) else STAYS)
    end = arena.witness.up_to
    history = arena.history()
    verdict = judge(history, fault.expects, since=since, until=end, healed=healed)
    story = arena.story(since, end)
    for agent, start in log_starts.items():
        if verdict.problems:
            story += f"\n== {agent.name} on {agent.host.address}\n{agent.log()[start:]}"
    arena.clean()
    return verdict, story
