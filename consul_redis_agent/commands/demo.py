"""`demo`: a whole fleet on this machine whose master dies, returns and moves, and what DNS said all the while.

Nothing is canned: a witness in a process of its own asks DNS and every node without pause, and each figure is its.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import redis

from consul_redis_agent.commands.lookup import srv
from consul_redis_agent.commands.stage import Stage
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import LocalError
from consul_redis_agent.fleet import (
    SCALE,
    AgentNode,
    Fleet,
    MissingProgram,
    NotInTime,
    ProcessDied,
    RedisNode,
    Witness,
    until,
)
from consul_redis_agent.fleet.process import program
from consul_redis_agent.tell.server import fetch

NAME = "redis.service.consul"
PROGRAMS = {
    "consul": "Consul 1.8 or newer from the site of its maker, HashiCorp (or name one in the variable CONSUL)",
    "redis-server": "redis-server or valkey-server of your system",
    "redis-sentinel": "redis-sentinel or valkey-sentinel of your system",
    "setpriv": "util-linux of your system",
}
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


def main(args: argparse.Namespace) -> int:
    """Show it; exit code 0 only if DNS never named two masters, nor lacked one during the planned failover."""
    if missing := [name for name in PROGRAMS if not _is_there(name)]:
        origins = ", ".join(PROGRAMS[name] for name in missing)
        raise LocalError(f"demo does not find {', '.join(missing)} on PATH; install {origins}")
    stage = Stage()
    try:
        with Fleet() as fleet, _ended_once():
            demo = Demo(fleet, stage)
            held = demo.run()
            if args.keep:
                demo.keep()
    except BrokenPipeError:
        raise
    except (NotInTime, ProcessDied, OSError, redis.RedisError) as error:
        raise LocalError(f"the demo could not go on: {str(error).partition(chr(10))[0]}") from error
    return 0 if held else 1


class Demo:
    """The scenes, in order."""

    def __init__(self, fleet: Fleet, stage: Stage) -> None:
        self.fleet, self.stage = fleet, stage
        self.witness: Witness

    def run(self) -> bool:
        """Play all scenes; whether the promises held."""
        self.start()
        return self.sum_up([self.kill(), self.bring_back(), self.move()])

    def start(self) -> None:
        """Start everything and ask DNS for the first time."""
        fleet, stage = self.fleet, self.stage
        stage.title("A fleet on 127.0.0.1: three Redis, three Sentinels, one Consul, and an agent for each Redis")
        with stage.busy("starting Consul, Redis and Sentinel"):
            fleet.populate()
        self.witness = fleet.witness()
        with stage.busy("starting the agents, which know the ports of Redis and Consul, and discover the rest"):
            began = time.monotonic()
            for node in fleet.nodes:
                fleet.agent(node)
            self.follow(fleet.nodes[0])
            found = len(fleet.sentinels)
            until(
                lambda: all(_votes(a) == found for a in fleet.agents), within=20, what="each agent finds all Sentinels"
            )
        for node in fleet.nodes:
            stage.tell(f"{node.name} at {node.address} says {node.role()}")
        first = self.witness.exact_at(fleet.nodes[0], since=began)
        stage.tell(f"DNS names the master {_ms(first, began)} after the agents were started")
        stage.tell(f"each agent has found all {found} Sentinels by itself")
        self.ask()

    def kill(self) -> Scene:
        """Kill the master and see DNS follow."""
        fleet, stage, witness, old = self.fleet, self.stage, self.witness, self.fleet.nodes[0]
        stage.title("The master is killed")
        killed = time.monotonic()
        old.kill()
        stage.tell(f"{old.name} got SIGKILL")
        with stage.busy("Sentinel holds its election"):
            new = fleet.wait_for_master(other_than=old)
            agreed = time.monotonic()
            self.follow(new)
        gone, promoted = witness.last_seen(old), witness.promoted_at(new, since=killed)
        exact = witness.exact_at(new, since=killed)
        stage.tell(f"{_ms(gone, killed)} after its death, {old.name} was gone from DNS")
        stage.tell(f"{_s(promoted, killed)} after it, Sentinel turned {new.name} into the master")
        stage.tell(f"{_ms(exact, promoted)} after that, DNS named {new.name} and nothing else", "green")
        stage.tell(f"{_s(agreed, exact)} later all three Sentinels named {new.name}, too")
        self.ask()
        return Scene("master killed", killed, witness.up_to, _less(gone, killed), _less(exact, promoted))

    def bring_back(self) -> Scene:
        """Start the old master again and watch it until Sentinel has made it a replica."""
        self.stage.title("The old master comes back, and still believes that it is the master")
        old, since = self.fleet.nodes[0], time.monotonic()
        old.start()
        self.watch_until_replica(old, "waiting until Sentinel makes it a replica, which takes up to some 11 s")
        return Scene("old master back", since, self.witness.up_to)

    def move(self) -> Scene:
        """Have Sentinel move the master, and watch until the former one is a replica."""
        stage, witness = self.stage, self.witness
        stage.title("A planned failover: SENTINEL FAILOVER of a healthy master")
        before, since = self.fleet.wait_for_master(), time.monotonic()
        with stage.busy("Sentinel moves the master"):
            new = self.fleet.failover()
            self.follow(new)
        exact, promoted = witness.exact_at(new, since=since), witness.promoted_at(new, since=since)
        stage.tell(
            f"Sentinel turned {new.name} into the master; DNS named it alone {_ms(exact, promoted)} later", "green"
        )
        self.watch_until_replica(before, f"waiting until {before.name} is a replica; until then it says master, too")
        self.ask()
        return Scene("planned failover", since, witness.up_to, None, _less(exact, promoted))

    def follow(self, master: RedisNode) -> None:
        """Wait until DNS names this node alone, and see it stay so for a moment."""
        self.witness.wait_for(master, within=10)
        self.witness.watch(0.1)

    def watch_until_replica(self, node: RedisNode, why: str) -> None:
        """Show what each node says of itself and what DNS says, until the node says replica. Raises NotInTime."""
        witness, deadline = self.witness, time.monotonic() + CONVERTED_WITHIN * SCALE
        with self.stage.busy(why) as update:
            while (role := witness.roles(node)[-1][1]) != "slave":
                if time.monotonic() > deadline:
                    raise NotInTime(f"Sentinel did not make {node.name} a replica; it says {role}")
                update(self.now())
                witness.watch(0.25)
            witness.watch(1)
            update(self.now())

    def now(self) -> str:
        """What each node and DNS say at this moment."""
        roles = ((node.name, self.witness.roles(node)[-1][1]) for node in self.fleet.nodes)
        said = ", ".join(f"{name} {'is silent' if role is None else f'says {role}'}" for name, role in roles)
        return f"{said}; DNS names {self.names(self.witness.answers or frozenset())}"

    def names(self, addresses: frozenset[Address]) -> str:
        """Addresses as names of nodes."""
        return " and ".join(node.name for node in self.fleet.nodes if node.announced in addresses) or "nobody"

    def ask(self) -> None:
        """Ask DNS as an application does, and the node that it names who it is."""
        for answer in asyncio.run(srv(NAME, self.fleet.consuls[0].dns)):
            node = next(node for node in self.fleet.nodes if node.announced == answer.address)
            got = f"{answer.target} port {answer.port}"
            self.stage.tell(f"who asks for {NAME} SRV gets {got}; there {node.name} says {node.role()}")

    def sum_up(self, scenes: list[Scene]) -> bool:
        """Show what the witness saw; whether the promises held."""
        witness = self.witness
        rows = [["", "death → gone", "promotion → DNS", "two say master", "two in DNS", "none in DNS"]]
        for scene in scenes:
            span = {"since": scene.since, "until": scene.until}
            seconds = (witness.seconds_two_say_master, witness.seconds_of_two, witness.seconds_of_none)
            measured = [f"{each(**span):.3f} s" for each in seconds]
            moved = [f"{each * 1000:.1f} ms" if each is not None else "-" for each in (scene.gone, scene.exact)]
            rows.append([scene.title, *moved, *measured])
        self.stage.table("What the witness saw", rows)
        unseen = f"{witness.resolution * 1000:.1f} ms"
        self.stage.tell(f"DNS was asked {witness.samples} times; what lasted less than {unseen} may have gone unseen")
        self.stage.tell("between a death and Sentinel's election nobody is master, so nobody is in DNS")
        planned = scenes[-1]
        two = witness.seconds_of_two()
        none = witness.seconds_of_none(since=planned.since, until=planned.until)
        true = witness.answers == frozenset({self.fleet.wait_for_master().announced})
        held = two == 0 and none == 0 and true
        broken = [
            *([f"DNS named two masters for {two:.3f} s"] if two else []),
            *([f"DNS named nobody for {none:.3f} s of the planned failover"] if none else []),
            *([] if true else ["DNS does not name the master that Sentinel names"]),
        ]
        if held:
            self.stage.tell("kept: never two masters in DNS, and never none during the planned failover", "bold green")
        else:
            self.stage.tell(f"BROKEN: {'; '.join(broken)}", "bold red")
        return held

    def keep(self) -> None:
        """Leave the fleet as it is until Ctrl-C, with commands to try on it."""
        stage, fleet = self.stage, self.fleet
        consul, sentinel = fleet.consuls[0], fleet.sentinels[0]
        stage.title("The fleet stays until Ctrl-C. Try:")
        stage.paste("what applications get", f"dig @127.0.0.1 -p {consul.dns.port} {NAME} SRV")
        stage.paste("the same, as it moves", f"{_self()} resolve --watch --config {fleet.agents[0].config_path}")
        stage.paste(
            "what each agent decided, and why", *(f"{_self()} status --socket {a.socket}" for a in fleet.agents)
        )
        stage.paste("move the master", f"redis-cli -p {sentinel.address.port} SENTINEL FAILOVER {sentinel.master_name}")
        stage.paste("kill the master of now", f"kill -9 {fleet.wait_for_master().pid}")
        stage.paste("what Consul holds", f"curl -s '{consul.http}/v1/health/service/redis?pretty'")
        stage.paste("logs and configurations", f"ls {fleet.folder}")
        try:
            signal.pause()
        except KeyboardInterrupt:
            stage.tell("ending the fleet")


@contextmanager
def _ended_once() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the block; none of them then interrupts the clearing up."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        for number in numbers:
            signal.signal(number, end)
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def _votes(agent: AgentNode) -> int:
    """How many Sentinels have a vote, as the agent's status has it. Raises LocalError."""
    (node,) = json.loads(fetch(agent.socket, "/status", timeout=1))["nodes"]
    return sum(sentinel["vote"] != "none" for sentinel in node["sentinels"])


def _is_there(name: str) -> bool:
    try:
        program(name)
    except MissingProgram as error:
        if name == "consul" and os.environ.get("CONSUL"):  # PATH was not asked
            raise LocalError(str(error)) from error
        return False
    return True


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
