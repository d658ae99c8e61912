"""The scenes of the demo: each does something to the fleet and tells what DNS made of it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from consul_redis_agent.commands.demo.fleet import MASTER, Agent, Fleet, Server
from consul_redis_agent.commands.demo.process import SCALE, NotInTime, until
from consul_redis_agent.commands.demo.stage import Stage
from consul_redis_agent.commands.demo.witness import Witness
from consul_redis_agent.commands.lookup import srv
from consul_redis_agent.tell.server import fetch

NAME = "redis.service.consul"
CONVERTED_WITHIN = 30.0
"""Seconds; Sentinel turns a second master into a replica after some 11 s."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the witness saw from ``since`` to ``until``; seconds."""

    title: str
    since: float
    until: float
    gone: float | None = None
    """From the master's death to its name's leaving DNS."""
    exact: float | None = None
    """From the promotion to DNS naming the new master alone."""


class Demo:
    """The scenes, in order."""

    def __init__(self, fleet: Fleet, stage: Stage) -> None:
        self.fleet, self.stage = fleet, stage
        self.witness = Witness(NAME, fleet.consul.dns, fleet.nodes)

    def run(self) -> bool:
        """Play all scenes; whether the promises held."""
        self.stage.title("A fleet on 127.0.0.1: three Redis, three Sentinels, one Consul, and an agent for each Redis")
        with self.stage.busy("starting Consul, Redis and Sentinel"):
            self.fleet.start()
        with self.witness:
            self.start_agents()
            return self.sum_up([self.kill(), self.bring_back(), self.move()])

    def start_agents(self) -> None:
        """Start the agents and ask DNS for the first time."""
        fleet, stage = self.fleet, self.stage
        found = len(fleet.sentinels)
        with stage.busy("starting the agents, which know the ports of Redis and Consul, and discover the rest"):
            began = time.monotonic()
            for agent in fleet.agents:
                agent.launch()
            self.follow(fleet.nodes[0])
            until(
                lambda: all(_votes(a) == found for a in fleet.agents), within=20, what="each agent finds all Sentinels"
            )
        for node in fleet.nodes:
            stage.tell(f"{node.name} at {node.address} says {node.role()}")
        stage.tell(
            f"DNS names the master {_ms(self.exact(fleet.nodes[0], began), began)} after the agents were started"
        )
        stage.tell(f"each agent has found all {found} Sentinels by itself")
        self.ask()

    def kill(self) -> Scene:
        """Kill the master and see DNS follow."""
        fleet, stage, old = self.fleet, self.stage, self.fleet.nodes[0]
        stage.title("The master is killed")
        killed = time.monotonic()
        old.kill()
        stage.tell(f"{old.name} got SIGKILL")
        with stage.busy("Sentinel holds its election"):
            new = fleet.wait_for_master(other_than=old)
            agreed = time.monotonic()
            self.follow(new)
        named = [stop for _, stop in self.witness.dns.spans(lambda ports: old.address.port in ports)]
        gone, promoted, exact = max(named, default=None), self.promoted(new, killed), self.exact(new, killed)
        stage.tell(f"{_ms(gone, killed)} after its death, {old.name} was gone from DNS")
        stage.tell(f"{_s(promoted, killed)} after it, Sentinel turned {new.name} into the master")
        stage.tell(f"{_ms(exact, promoted)} after that, DNS named {new.name} and nothing else", "green")
        stage.tell(f"{_s(agreed, exact)} later all three Sentinels named {new.name}, too")
        self.ask()
        return Scene("master killed", killed, self.witness.dns.up_to, _less(gone, killed), _less(exact, promoted))

    def bring_back(self) -> Scene:
        """Start the old master again and watch it until Sentinel has made it a replica."""
        self.stage.title("The old master comes back, and still believes that it is the master")
        old, since = self.fleet.nodes[0], time.monotonic()
        old.start()
        self.watch_until_replica(old, "waiting until Sentinel makes it a replica, which takes up to some 11 s")
        return Scene("old master back", since, self.witness.dns.up_to)

    def move(self) -> Scene:
        """Have Sentinel move the master, and watch until the former one is a replica."""
        fleet, stage = self.fleet, self.stage
        stage.title("A planned failover: SENTINEL FAILOVER of a healthy master")
        before, since = fleet.wait_for_master(), time.monotonic()
        with stage.busy("Sentinel moves the master"):
            ask = partial(fleet.sentinels[0].ask, "SENTINEL", "FAILOVER", MASTER)
            until(ask, within=15, what="Sentinel takes it up")  # it refuses while it is not done with the one before
            new = fleet.wait_for_master(other_than=before)
            self.follow(new)
        exact, promoted = self.exact(new, since), self.promoted(new, since)
        stage.tell(
            f"Sentinel turned {new.name} into the master; DNS named it alone {_ms(exact, promoted)} later", "green"
        )
        self.watch_until_replica(before, f"waiting until {before.name} is a replica; until then it says master, too")
        self.ask()
        return Scene("planned failover", since, self.witness.dns.up_to, None, _less(exact, promoted))

    def exact(self, node: Server, since: float) -> float | None:
        """When DNS first named this node and nothing else."""
        return next((at for at, _ in self.witness.dns.spans(lambda ports: ports == {node.address.port}, since)), None)

    def promoted(self, node: Server, since: float) -> float | None:
        """When the node first said master."""
        return next((at for at, _ in self.witness.masters.spans(lambda names: node.name in names, since)), None)

    def follow(self, master: Server) -> None:
        """Wait until DNS names this node alone, and see it stay so for a moment."""
        until(
            lambda: self.witness.dns.last == frozenset({master.address.port}),
            within=10,
            what=f"DNS names {master.name} alone",
        )
        self.witness.watch(0.1)

    def watch_until_replica(self, node: Server, why: str) -> None:
        """Show what each node says of itself and what DNS says, until the node says replica. Raises NotInTime."""
        witness, deadline = self.witness, time.monotonic() + CONVERTED_WITHIN * SCALE
        with self.stage.busy(why) as update:
            while (role := witness.roles[node.name]) != "slave":
                if time.monotonic() > deadline:
                    raise NotInTime(f"Sentinel did not make {node.name} a replica; it says {role}")
                update(self.now())
                witness.watch(0.25)
            witness.watch(1)
            update(self.now())

    def now(self) -> str:
        """What each node and DNS say at this moment."""
        roles = ((node.name, self.witness.roles[node.name]) for node in self.fleet.nodes)
        said = ", ".join(f"{name} {'is silent' if role is None else f'says {role}'}" for name, role in roles)
        named = self.witness.dns.last or ()
        names = " and ".join(node.name for node in self.fleet.nodes if node.address.port in named)
        return f"{said}; DNS names {names or 'nobody'}"

    def ask(self) -> None:
        """Ask DNS as an application does, and the node that it names who it is."""
        for answer in asyncio.run(srv(NAME, self.fleet.consul.dns)):
            node = next(node for node in self.fleet.nodes if node.address == answer.address)
            got = f"{answer.target} port {answer.port}"
            self.stage.tell(f"who asks for {NAME} SRV gets {got}; there {node.name} says {node.role()}")

    def sum_up(self, scenes: list[Scene]) -> bool:
        """Show what the witness saw; whether the promises held."""
        dns, masters = self.witness.dns, self.witness.masters
        rows = [["", "death → gone", "promotion → DNS", "two say master", "two in DNS", "none in DNS"]]
        for scene in scenes:
            span = (scene.since, scene.until)
            seconds = (masters.seconds(_several, *span), dns.seconds(_several, *span), dns.seconds(_none, *span))
            moved = [f"{each * 1000:.1f} ms" if each is not None else "-" for each in (scene.gone, scene.exact)]
            rows.append([scene.title, *moved, *(f"{each:.3f} s" for each in seconds)])
        self.stage.table("What the witness saw", rows)
        unseen = f"{self.witness.resolution * 1000:.1f} ms"
        asked = f"DNS was asked {self.witness.samples} times"
        self.stage.tell(f"{asked}; what lasted less than {unseen} may have gone unseen")
        self.stage.tell("between a death and Sentinel's election nobody is master, so nobody is in DNS")
        planned = scenes[-1]
        two = dns.seconds(_several)
        none = dns.seconds(_none, planned.since, planned.until)
        true = dns.last == frozenset({self.fleet.wait_for_master().address.port})
        broken = [
            *([f"DNS named two masters for {two:.3f} s"] if two else []),
            *([f"DNS named nobody for {none:.3f} s of the planned failover"] if none else []),
            *([] if true else ["DNS does not name the master that Sentinel names"]),
        ]
        if broken:
            self.stage.tell(f"BROKEN: {'; '.join(broken)}", "bold red")
        else:
            self.stage.tell("kept: never two masters in DNS, and never none during the planned failover", "bold green")
        return not broken

    def keep(self) -> None:
        """Leave the fleet as it is until Ctrl-C, with commands to try on it."""
        stage, fleet = self.stage, self.fleet
        stage.title("The fleet stays until Ctrl-C. Try:")
        stage.paste("what applications get", f"dig @127.0.0.1 -p {fleet.consul.dns.port} {NAME} SRV")
        stage.paste("the same, as it moves", f"{_self()} resolve --watch --config {fleet.agents[0].config_path}")
        stage.paste(
            "what each agent decided, and why", *(f"{_self()} status --socket {a.socket}" for a in fleet.agents)
        )
        stage.paste("move the master", f"redis-cli -p {fleet.sentinels[0].address.port} SENTINEL FAILOVER {MASTER}")
        stage.paste("kill the master of now", f"kill -9 {fleet.wait_for_master().pid}")
        stage.paste("what Consul holds", f"curl -s '{fleet.consul.http}/v1/health/service/redis?pretty'")
        stage.paste("logs and configurations", f"ls {fleet.folder}")
        try:
            signal.pause()
        except KeyboardInterrupt:
            stage.tell("ending the fleet")


def _votes(agent: Agent) -> int:
    """How many Sentinels have a vote, as the agent's status has it. Raises LocalError."""
    (node,) = json.loads(fetch(agent.socket, "/status", timeout=1))["nodes"]
    return sum(sentinel["vote"] != "none" for sentinel in node["sentinels"])


def _several(names: frozenset[object]) -> bool:
    return len(names) > 1


def _none(names: frozenset[object]) -> bool:
    return not names


def _self() -> str:
    """How this program was started, to be started again."""
    started = Path(sys.argv[0])
    return f"{sys.executable} -m consul_redis_agent" if started.name == "__main__.py" else str(started.absolute())


def _less(end: float | None, begin: float | None) -> float | None:
    return None if end is None or begin is None else end - begin


def _in(unit: float, name: str) -> Callable[[float | None, float | None], str]:
    def text(end: float | None, begin: float | None) -> str:
        span = _less(end, begin)
        return "at an unseen moment" if span is None else f"{span / unit:.1f} {name}"

    return text


_ms, _s = _in(0.001, "ms"), _in(1, "s")
