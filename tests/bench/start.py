"""Start-up: from the start of the process until DNS names its node, which is the master, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tests.fleet import Fleet, may_build_networks, until

from .record import Start

STARTS: Final = 20
PATIENCE: Final = 30.0
"""Seconds for one start."""
LOOK: Final = 0.001
"""Seconds between two questions to DNS."""
_SERVICE: Final = "redis"

Tell = Callable[[str], None]


def measure(tell: Tell, *, starts: int = STARTS) -> list[Start]:
    """Start an agent beside the master again and again, each time with nothing in Consul; ``tell`` takes progress."""
    with Fleet(isolated=may_build_networks()) as fleet:
        fleet.populate()
        hosts = ", ".join(f'"{sentinel.address}"' for sentinel in fleet.sentinels)
        configured = f"[sentinel]\nhosts = [{hosts}]\n"
        found = []
        for how, sentinel in (("Sentinels configured", configured), ("discovered", "")):
            seconds = [_start(fleet, sentinel) for _ in range(starts)]
            found.append(Start(how=how, seconds=seconds))
            tell(f"start, {how}: {min(seconds):.3f} – {max(seconds):.3f} s, {starts} times")
        return found


def expected(starts: int = STARTS) -> float:
    """About how many seconds that takes."""
    return 15 + starts * 6.0


def _start(fleet: Fleet, sentinel: str) -> float:
    """Start an agent, and stop it when it was measured."""
    master = fleet.wait_for_master()
    consul = fleet.consul_of(master.host)
    tables = fleet.agent_config(master, consul=consul)
    if "[[redis]]" not in tables:
        tables += "[[redis]]\n"
    if sentinel:
        tables += f'master_name = "{fleet.sentinels[0].master_name}"\n'
    config = f'[service]\non_stop = "deregister"\n{sentinel}{tables}'
    began = time.monotonic()
    agent = fleet.agent(master, config=config)
    wanted = frozenset({master.announced})
    until(lambda: consul.srv(_SERVICE) == wanted, within=PATIENCE, what="DNS names the master", every=LOOK)
    took = time.monotonic() - began
    agent.stop()
    until(lambda: consul.srv(_SERVICE) == frozenset(), within=PATIENCE, what="DNS names nobody")
    return took
