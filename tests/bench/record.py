"""What a run of the benchmark writes down: one JSON file. Times in seconds, memory and traffic in bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NotRequired, TypedDict, cast

OURS = "consul-redis-agent"
SCRIPT = "script check"
POLLER = "INFO poller"
FENCED = f"{OURS}, fence"
"""Ours with ``fence.mode = "on"``, which asks where a master has died."""
AWARE = "Sentinel-aware client"
SWITCH = "+switch-master"
WAYS = (FENCED, OURS, SWITCH, SCRIPT, AWARE)
"""How an application finds the master, in the order in which they are shown."""
PUBLISHERS = (OURS, POLLER, "+switch-master", "client-reconfig-script", SCRIPT)
"""In the order in which they are shown; any other comes after them."""

KILLED = "killed master"
PLANNED = "planned failover"
RETURNING = "returning master"
LOST = "lost host"
HUNG = "hung and resumed"
SCENARIOS = (KILLED, LOST, PLANNED, RETURNING)
STEPS = (PLANNED, KILLED, RETURNING, HUNG, LOST)
"""What happens to a master that an application writes to."""


class Machine(TypedDict):
    """On what it was measured."""

    cpu: str
    cores: int
    kernel: str
    python: str
    redis: str
    consul: str
    date: str
    load: float


class Failover(TypedDict):
    """What one publisher made of one failover."""

    scenario: str
    publisher: str
    round: int
    promotion_to_dns: float | None
    """From the promotion until DNS names exactly the new master; None where there is nothing to measure."""
    death_to_gone: float | None
    """From the old master's death until DNS does not name it; None where nobody dies."""
    two: float
    """Seconds in which DNS named two masters."""
    none: float
    wrong: float
    never: NotRequired[bool]
    """Whether a None above means that it had not happened when the round ended."""


Lanes = TypedDict(
    "Lanes",
    {
        "scenario": str,
        "from": float,
        "to": float,
        "nodes": dict[str, list[tuple[float, str]]],  # changes: master, replica, gone
        "sentinels": dict[str, list[tuple[float, str]]],  # events
        "dns": dict[str, list[tuple[float, list[str]]]],  # a publisher's answers, by node names, from each change on
    },
)
"""One failover; times relative to the fault."""


class Cost(TypedDict):
    """What a publisher costs while nothing changes; None or absent where it has nothing of the kind."""

    nodes: NotRequired[int]
    """Redis nodes that one process looks after."""
    agents: NotRequired[int]
    """Publishers at one Consul agent, a node each."""
    publisher: str
    cpu: NotRequired[float | None]
    """Seconds of CPU an hour, of the publisher; of Consul and Redis below, what it makes them do."""
    cpu_consul: NotRequired[float | None]
    cpu_redis: NotRequired[float | None]
    switches: NotRequired[float | None]
    """Context switches a second."""
    rss: NotRequired[float | None]
    pss: NotRequired[float | None]
    """Resident memory, with each page that processes share divided by how many they are."""
    wire: NotRequired[float | None]
    """Bytes a second."""
    raft_writes: NotRequired[float | None]
    """An hour."""
    seconds: NotRequired[float]
    """For which it was measured."""


class Written(TypedDict):
    """What became of an application's writes in one failover. It keeps its connection, and writes every 5 ms."""

    scenario: str
    way: str
    round: int
    acknowledged: int
    lost: int
    """Of those: the master of the end does not have them."""
    gap: float
    """The longest time without a write."""
    copies: int
    """How often a Redis node gave another one its whole data set."""
    there: list[tuple[float, float]]
    """From when to when it wrote what is there, in seconds from the fault on, and what is lost."""
    gone: list[tuple[float, float]]


class Start(TypedDict):
    """From the start of the process until its entry is true in DNS."""

    how: str
    seconds: list[float]


class Record(TypedDict, total=False):
    """A run; a part that was not measured is left out."""

    machine: Machine
    failovers: list[Failover]
    lanes: Lanes
    cost_per_process: list[Cost]
    cost_per_consul: list[Cost]
    start: list[Start]
    writes: list[Written]


def load(path: Path) -> Record:
    """Read a record."""
    return cast("Record", json.loads(path.read_text()))


def in_order(names: set[str], known: tuple[str, ...]) -> list[str]:
    """Sort names as ``known`` has them, then by the alphabet."""
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))
