"""What an application is promised while nothing else goes wrong: the last acts of each seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from consul_redis_agent.publish.fence import PAUSE_WRITES

from .engine import Violation

if TYPE_CHECKING:
    from .redis import Redis
    from .world import World

APART = 7.0
"""Seconds until another one may begin: a failover-timeout."""
SETTLED = 5.0
"""Seconds until everybody follows the new master, whoever was copying something else."""
REPLACED = 1.0
"""Seconds within which a node is replaced whose process died, but for the delay."""


def planned(world: World) -> None:
    """SENTINEL FAILOVER, with the fence: no write is lost or waits for longer than stated, nobody copies all anew."""
    if world.fence.mode != "on":
        return
    old, copies, application = _master(world), world.copies, world.application
    application.count()
    _pass(world, 0.5)
    world.plan(world.engine.rng.choice([h.sentinel for h in world.hosts if h.sentinel.named == old.host]))
    _pass(world, APART)
    if (new := _master(world)) is old:
        raise Violation("a planned failover has not moved the master")
    _kept(world, new, "in a planned failover")
    if application.longest_gap > PAUSE_WRITES:
        raise Violation(f"no write for {application.longest_gap:.2f} s in a planned failover")
    if world.copies > copies:
        raise Violation(f"a planned failover costs {world.copies - copies} copies of everything")


def killed(world: World) -> None:
    """The master's process dies: another one takes writes long before down-after is over."""
    if not world.fence.on_death:
        return
    old, application = _master(world), world.application
    application.count()
    _pass(world, 0.5)
    old.stop()
    _pass(world, APART)
    application.rest()
    if application.longest_gap > world.fence.delay + REPLACED:
        raise Violation(f"no write for {application.longest_gap:.2f} s after the master's process has died")
    old.start()
    _pass(world, SETTLED)


def emptied(world: World) -> None:
    """The master starts again without its data: every key is kept."""
    if not world.fence.on_empty or world.persists:
        return
    old, application, engine = _master(world), world.application, world.engine
    application.count()
    _pass(world, 0.5)
    application.rest()
    _pass(world, 0.1)
    old.stop()
    engine.later(engine.rng.uniform(0.02, 1.0), old.start)
    _pass(world, SETTLED)
    _kept(world, _master(world), "as the master came back empty")


ACTS: tuple[Callable[[World], None], ...] = (planned, killed, emptied)


def _pass(world: World, seconds: float) -> None:
    world.engine.run(world.engine.now + seconds)


def _master(world: World) -> Redis:
    named = world.judge.named()
    if named is None:
        raise Violation("no majority names a master though nothing goes wrong")
    return world.hosts[named].redis


def _kept(world: World, master: Redis, when: str) -> None:
    world.application.rest()
    if lost := world.application.lost(master):
        raise Violation(f"{lost} acknowledged writes are lost {when}")
