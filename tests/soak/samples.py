"""What the processes of a fleet hold, seen from outside: in /proc, at the agents' status sockets and by the servers' answers."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from consul_redis_agent.commands import status
from consul_redis_agent.errors import LocalError
from tests.chaos.arena import Arena
from tests.fleet import AgentNode, Process

EVERY = 5.0
"""Seconds between two samples."""
PORTS = {6379: "redis", 26379: "sentinel", 8500: "consul"}
"""What an agent is connected to, by the port; Sentinels that a fault has moved have one above theirs."""
ESTABLISHED = "01"
_TICKS = os.sysconf("SC_CLK_TCK")

Sample = dict[str, Any]
"""``at``: seconds since the run began; ``rest``: the number of the fault after which the fleet is at rest, or None; ``process``;
``pid``; and measures by their names, bytes or counts. What could not be had is not in it."""


class Sampler:
    """A thread that takes a sample of every process each ``EVERY`` seconds; ``samples`` has them, oldest first."""

    def __init__(self, arena: Arena, began: float) -> None:
        self._began = began
        self.samples: list[Sample] = []
        self._arena = arena
        self._agents = [*arena.fleet.agents]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    @contextmanager
    def sampling(self) -> Iterator[Sampler]:
        """Take samples in the block."""
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._thread.join()

    def take(self, rest: int | None = None) -> None:
        """Take a sample of every process that runs."""
        at = round(time.monotonic() - self._began, 2)
        for process, look in self._looks():
            if process.alive:
                measured: Sample = {"at": at, "rest": rest, "process": process.name, "pid": process.pid}
                try:
                    measured |= look()
                except (OSError, LocalError, redis.RedisError, ValueError, KeyError):
                    continue  # stopped, cut off, or it has just ended: the next sample has it again
                self.samples.append(measured)

    def _looks(self) -> Iterator[tuple[Process, Callable[[], Sample]]]:
        for agent in self._agents:
            yield agent, lambda agent=agent: of_agent(agent)  # type: ignore[misc]
        for node in self._arena.nodes:
            yield node, lambda node=node: {"clients": int(node.info("clients")["connected_clients"])}  # type: ignore[misc]
        server = self._arena.server
        yield server, lambda: {"index": int(server.get("/v1/agent/self")["Stats"]["raft"]["last_log_index"])}

    def _go_on(self) -> None:
        while not self._over.wait(EVERY):
            self.take()


def of_agent(agent: AgentNode) -> Sample:
    """What an agent holds. Raises OSError or LocalError where it has ended or does not answer."""
    proc = Path(f"/proc/{agent.pid}")
    memory = _kibibytes((proc / "smaps_rollup").read_text())
    spent = (proc / "stat").read_text().rpartition(")")[2].split()
    connected = connections(proc)
    own = status.ask(agent.socket)["process"]
    return {
        "rss": memory["Rss"] * 1024,
        "pss": memory["Pss"] * 1024,
        "uss": (memory["Private_Clean"] + memory["Private_Dirty"]) * 1024,
        "blocks": own["blocks"],
        "tasks": own["tasks"],
        "collections": own["collections"],
        "descriptors": len([*(proc / "fd").iterdir()]),
        "threads": int(spent[17]),
        "cpu": (int(spent[11]) + int(spent[12])) / _TICKS,
        **{kind: connected[kind] for kind in PORTS.values()},
    }


def connections(proc: Path) -> Counter[str]:
    """How many connections a process has to each kind of server."""
    sockets = {link for fd in (proc / "fd").iterdir() if (link := _link(fd)).startswith("socket:")}
    found: Counter[str] = Counter()
    for line in (proc / "net" / "tcp").read_text().splitlines()[1:]:
        _, _, remote, state, *_, inode = line.split()[:10]
        if state == ESTABLISHED and f"socket:[{inode}]" in sockets:
            found[_kind(int(remote.rpartition(":")[2], 16))] += 1
    return found


def _kind(port: int) -> str:
    return next((kind for usual, kind in PORTS.items() if usual <= port < usual + 1000), "other")


def _link(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except FileNotFoundError:
        return ""  # closed meanwhile


def _kibibytes(text: str) -> dict[str, int]:
    return {key: int(value) for key, value in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}
