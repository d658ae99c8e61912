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
CLOSELY = 0.15
"""Seconds within which DNS follows a swap that closes no connection but was announced."""
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


def coordinated(world: World) -> None:
    """SENTINEL FAILOVER … COORDINATED: DNS follows the swap in one step, and closely."""
    begin_a_swap(world)
    _pass(world, APART)
    judge_the_swap(world)


def begin_a_swap(world: World) -> None:
    """Ask a Sentinel for a coordinated failover, and measure from now on."""
    world.judge.count()
    named = world.judge.named()
    able = [h.sentinel for h in world.hosts if h.sentinel.named == named and h.sentinel.knows_the_last]
    if able:
        world.engine.rng.choice(able).force_failover(coordinated=True)


def judge_the_swap(world: World) -> None:
    """It is over: there was somebody in DNS at any time, and the new master within a moment of its turn."""
    judge = world.judge
    if judge.longest_none:
        raise Violation(f"DNS named nobody for {judge.longest_none:.3f} s in a coordinated failover")
    if world.early and judge.longest_wrong > CLOSELY:
        raise Violation(f"DNS named no master for {judge.longest_wrong:.3f} s in a coordinated failover")


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


ACTS: tuple[Callable[[World], None], ...] = (planned, coordinated, killed, emptied)


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
