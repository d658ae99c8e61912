"""A random mix of harm: some begins while other harm still lasts. The whole plan comes from its seed, before it is done."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import redis

from .arena import Arena
from .authority import Loss
from .faults import Fault
from .judge import Empty, Expectation

STEPS = 12
PAUSES = (0.0, 0.05, 0.3, 1.0, 2.0, 4.0)
"""Seconds between two steps; a failover takes 1.5 to 3.5."""
ANYTHING = Expectation(moves=None, empty=Empty.ALLOWED, late=dict.fromkeys(Loss, 120.0))
"""While everything may be down a name may stay or go; there are still never two, and never one that is older again."""


@dataclass(frozen=True, slots=True)
class Harm:
    """Something done to host ``who``: 0 is the master's at the beginning. What has no end is over at once."""

    name: str
    part: str
    """What of the host it takes: no other harm may hold that, or the whole ``host``, meanwhile."""
    begin: Callable[[Arena, int], None]
    end: Callable[[Arena, int], None] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Wait, then begin a harm or end it."""

    wait: float
    harm: Harm
    who: int
    ends: bool

    def __str__(self) -> str:
        return f"+{self.wait:g} s: {'end: ' if self.ends else ''}{self.harm.name} {self.who}"


def plan(seed: int) -> list[Step]:
    """The steps of a mix; every harm that lasts is ended."""
    chance = random.Random(seed)
    steps: list[Step] = []
    lasting: list[tuple[Harm, int]] = []
    while len(steps) < STEPS:
        wait = chance.choice(PAUSES)
        if lasting and chance.random() < len(lasting) / 4:
            harm, who = lasting.pop(chance.randrange(len(lasting)))
            steps.append(Step(wait, harm, who, ends=True))
            continue
        harm, who = chance.choice(HARMS), chance.choice((0, 0, 1, 2))
        if any(_clash(harm, who, other, victim) for other, victim in lasting):
            continue
        steps.append(Step(wait, harm, who, ends=False))
        if harm.end:
            lasting.append((harm, who))
    chance.shuffle(lasting)
    return steps + [Step(chance.choice(PAUSES), harm, who, ends=True) for harm, who in lasting]


def mix(seed: int) -> Fault:
    """The mix of a seed as a fault."""
    steps = plan(seed)

    def does(arena: Arena) -> None:
        hosts = [arena.nodes.index(node) for node in (arena.master, *arena.replicas())]
        for step in steps:
            arena.watch(step.wait, str(step))
            act = step.harm.end if step.ends else step.harm.begin
            if act:
                act(arena, hosts[step.who])

    return Fault(f"mix {seed}", does, ANYTHING)


def _clash(harm: Harm, who: int, other: Harm, victim: int) -> bool:
    parts = {harm.part, other.part}
    if parts <= {"network", "host"} and "network" in parts:
        return True  # losing a host undoes its cuts
    return who == victim and (harm.part == other.part or "host" in (harm.part, other.part))


# --- Harm -------------------------------------------------------------------------------------------------------------


def _kill(arena: Arena, who: int, part: str) -> None:
    arena.kill(arena.part(part, who))


def _launch(arena: Arena, who: int, part: str) -> None:
    with arena.doing(f"start {part} {who}"):
        arena.part(part, who).launch()


def _wipe(arena: Arena, who: int) -> None:
    arena.kill(arena.part("consul", who))
    arena.consul(arena.nodes[who]).forget()


def _restart_server(arena: Arena, who: int) -> None:
    arena.kill(arena.server)
    arena.start(arena.server)


def _planned(arena: Arena, who: int) -> None:
    with suppress(redis.RedisError):  # down, or a failover is under way
        arena.ask(arena.sentinels[who], "SENTINEL", "FAILOVER", "mymaster")


def _for(part: str) -> list[Harm]:
    return [
        Harm(f"{part} dead", part, lambda a, w: _kill(a, w, part), lambda a, w: _launch(a, w, part)),
        Harm(f"{part} paused", part, lambda a, w: a.pause(a.part(part, w)), lambda a, w: a.resume(a.part(part, w))),
    ]


HARMS: tuple[Harm, ...] = (
    *_for("redis"),
    *_for("sentinel"),
    *_for("agent"),
    *_for("consul"),
    Harm("consul wiped", "consul", _wipe, lambda a, w: _launch(a, w, "consul")),
    Harm("host lost", "host", lambda a, w: a.lose(a.nodes[w].host), lambda a, w: a.bring_back(a.nodes[w].host)),
    Harm("host lost", "host", lambda a, w: a.lose(a.nodes[w].host), lambda a, w: a.bring_back(a.nodes[w].host)),
    Harm("cut off", "network", lambda a, w: a.isolate(a.nodes[w]), lambda a, w: a.heal()),
    Harm("cut off", "network", lambda a, w: a.isolate(a.nodes[w]), lambda a, w: a.heal()),
    Harm(
        "cut off but from Consul's server",
        "network",
        lambda a, w: a.isolate(a.nodes[w], but=(a.server,)),
        lambda a, w: a.heal(),
    ),
    Harm("server restarted", "server", _restart_server),
    Harm("planned failover", "none", _planned),
)
