"""Everyone who publishes the master, each under a service name of its own, so that all see the same failovers."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.chaos.arena import FENCE
from tests.fleet import CHECKOUT, Fleet, Process, RedisNode, program

from .programs import reconfig
from .record import FENCED, OURS, POLLER, SCRIPT, SWITCH


@dataclass(frozen=True, slots=True)
class Publisher:
    """One way to publish the master."""

    name: str
    service: str
    """Its name in Consul."""
    every: float
    """Seconds between two looks at what DNS says of it: far below what it takes."""
    install: Callable[[Fleet, RedisNode, str], object]
    """Sets it up for one node of a fleet, under a service name."""


def script_check(fleet: Fleet, node: RedisNode, service: str) -> None:
    """Register the tutorial's static service, whose check Consul runs every 5 s; Consul must allow script checks."""
    script = f"{shlex.quote(program('redis-cli'))} -p {node.address.port} info | grep role:master || exit 2"
    check = {"Args": ["sh", "-c", script], "Interval": "5s", "Status": "critical"}
    body = {
        "Name": service,
        "ID": f"{service}-{node.name}",
        "Address": node.announced.host,
        "Port": node.announced.port,
    }
    fleet.consul_of(node.host).put("/v1/agent/service/register", body | {"Check": check})


def info_poller(fleet: Fleet, node: RedisNode, service: str) -> Process:
    """Start the program that polls INFO."""
    return _program(fleet, node, service, "info_poller")


def switch_master(fleet: Fleet, node: RedisNode, service: str) -> Process:
    """Start the program that listens to every Sentinel."""
    sentinels = [str(sentinel.address) for sentinel in fleet.sentinels]
    return _program(fleet, node, service, "switch_master", fleet.sentinels[0].master_name, *sentinels)


def reconfig_script(fleet: Fleet, node: RedisNode, service: str) -> None:
    """Give the node's Sentinel a script, and run it once; Sentinel must allow ``SENTINEL SET`` of scripts."""
    consul = fleet.consul_of(node.host)
    sentinel = next(s for s in fleet.sentinels if s.host is node.host and s.name[-1] == node.name[-1])
    command = [sys.executable, "-IS", reconfig.__file__, service, str(consul.http.port)]
    script = fleet.folder / f"reconfig-{node.name}.sh"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    script.chmod(0o755)
    sentinel.ask("SENTINEL", "SET", sentinel.master_name, "client-reconfig-script", str(script))
    master = [str(part) for part in sentinel.names()]
    run = [str(script), sentinel.master_name, "observer", "start", *master, *master]
    with node.host.inside():
        subprocess.run(run, check=True)


def _program(fleet: Fleet, node: RedisNode, service: str, name: str, *more: str) -> Process:
    consul = fleet.consul_of(node.host)
    where = [node.announced.host, str(node.announced.port), str(consul.http.port)]
    argv = [sys.executable, "-m", f"tests.bench.programs.{name}", service, f"{service}-{node.name}", *where, *more]
    return fleet.add(Process(f"{name}-{node.name}", argv, host=node.host, folder=fleet.folder, env=CHECKOUT))


def our_agent(fleet: Fleet, node: RedisNode, service: str) -> Process:
    """Start our agent, as installed."""
    return fleet.agent(node, more=f'[service]\nname = "{service}"\n')


def our_agent_that_fences(fleet: Fleet, node: RedisNode, service: str) -> Process:
    """Start our agent with a fence, and have it ask as soon as a master is gone."""
    return fleet.agent(node, more=f'[service]\nname = "{service}"\n{FENCE}')


WITH_FENCE: Final = Publisher(FENCED, "redis", 0.002, our_agent_that_fences)
PUBLISHERS: Final = (
    Publisher(OURS, "redis", 0.002, our_agent),
    Publisher(POLLER, "redis-polled", 0.002, info_poller),
    Publisher(SCRIPT, "redis-checked", 0.01, script_check),
    Publisher(SWITCH, "redis-switched", 0.01, switch_master),
    Publisher("client-reconfig-script", "redis-scripted", 0.01, reconfig_script),
)
