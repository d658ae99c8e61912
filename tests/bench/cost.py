"""What a publisher costs while nothing changes: itself, and what it makes Consul, Redis and Sentinel do.

On each crowd of Redis nodes the servers are measured alone first; what they use more under a publisher is its cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Self

from tests.fleet import ConsulNode, Process

from . import publishers
from .crowd import Crowd
from .meters import Usage, free_memory, resident, traffic
from .record import OURS, POLLER, SCRIPT, Cost

NODES: Final = (1, 10, 100, 500)
"""Redis nodes looked after by one process."""
AGENTS: Final = (1, 30, 300)
"""Processes with a node each at one Consul agent."""
SECONDS: Final = 60.0
"""Of one measurement: two of the agent's full looks at the Sentinels, and one of Consul's own rounds."""
POLLED: Final = 1
"""The poller is measured with so many nodes only: ten of them fill two cores."""
TOGETHER: Final = 5
"""Agents that start at once: each takes a core for a quarter of a second."""
SETTLED: Final = 10.0
"""Seconds between the last change and a measurement."""
NEEDED: Final = {"node": 8 << 20, "agent": 48 << 20, "rest": 1 << 30}
"""Bytes of memory."""
_HOUR: Final = 3600.0

Tell = Callable[[str], None]


def measure(
    tell: Tell, *, nodes: Sequence[int] = NODES, agents: Sequence[int] = AGENTS, seconds: float = SECONDS
) -> dict[str, list[Cost]]:
    """Measure one process for so many nodes, and so many processes; ``tell`` takes a line of progress.

    What the machine has not the memory or the time for is told and left out. Returns two lists of the record by their
    names.
    """
    return {
        "cost_per_process": [c for n in nodes for c in _measured(tell, n, 1, partial(_per_process, seconds=seconds))],
        "cost_per_consul": [c for n in agents for c in _measured(tell, n, n, partial(_per_consul, seconds=seconds))],
    }


def _measured(tell: Tell, nodes: int, processes: int, costs: Callable[[Crowd], Iterator[Cost]]) -> Iterator[Cost]:
    if not _fits(tell, nodes, processes=processes):
        return
    try:
        with Crowd(nodes, tell) as crowd:
            for cost in costs(crowd):
                tell(_sentence(cost))
                yield cost
    except (AssertionError, OSError) as error:  # not in time, or a process that ended
        tell(f"left out: {nodes} nodes, {processes} agents: {str(error).partition(chr(10))[0]}")


def expected(nodes: Sequence[int] = NODES, agents: Sequence[int] = AGENTS, seconds: float = SECONDS) -> float:
    """About how many seconds that takes."""
    measurements = sum(3 + (count <= POLLED) for count in nodes) + 2 * len(agents)
    return measurements * (seconds + SETTLED + 5) + 0.2 * (sum(nodes) + sum(agents))


def _fits(tell: Tell, nodes: int, *, processes: int) -> bool:
    needed, free = nodes * NEEDED["node"] + processes * NEEDED["agent"] + NEEDED["rest"], free_memory()
    if needed > free:
        tell(f"left out: {nodes} nodes, {processes} agents need {needed >> 20} MiB, {free >> 20} MiB are free")
    return needed <= free


def _per_process(crowd: Crowd, seconds: float) -> Iterator[Cost]:
    idle = Rates.of(crowd, [], seconds)

    agent = crowd.agent(crowd.nodes)
    crowd.wait_for_ours()
    yield _cost(crowd, OURS, Rates.of(crowd, [agent], seconds), idle, [agent], nodes=len(crowd.nodes))
    agent.stop(within=60)
    crowd.wait_for_nobody()

    for group in crowd.groups:
        for node in group.nodes:
            publishers.script_check(crowd.fleet, node, group.name)
    crowd.wait_for_service_checks()
    yield _cost(crowd, SCRIPT, Rates.of(crowd, [], seconds), idle, [], nodes=len(crowd.nodes))
    crowd.deregister_all()

    if len(crowd.nodes) <= POLLED:
        polls = [publishers.info_poller(crowd.fleet, node, g.name) for g in crowd.groups for node in g.nodes]
        crowd.wait_for_service_checks()
        yield _cost(crowd, POLLER, Rates.of(crowd, polls, seconds), idle, polls, nodes=len(crowd.nodes))


def _per_consul(crowd: Crowd, seconds: float) -> Iterator[Cost]:
    idle = Rates.of(crowd, [], seconds)
    agents = []
    for node in crowd.nodes:
        agents.append(crowd.agent([node]))
        if len(agents) % TOGETHER == 0:
            crowd.wait_for_ours(len(agents))
    crowd.wait_for_ours()
    yield _cost(crowd, OURS, Rates.of(crowd, agents, seconds), idle, agents, agents=len(agents))


@dataclass(frozen=True, slots=True)
class Rates:
    """What is used in a second."""

    seconds: float
    publisher: float
    """Seconds of CPU; where Consul runs scripts, those of the scripts."""
    consul: float
    redis: float
    """Of Redis nodes and Sentinels."""
    switches: float
    """Context switches of the publisher."""
    wire: float
    """Bytes over the loopback of the host, on which all but Consul's server is."""
    writes: float
    """Entries of Consul's raft log, but for its own barrier once a minute."""

    @classmethod
    def of(cls, crowd: Crowd, publisher: Sequence[Process], seconds: float) -> Self:
        """Let everything settle and measure. Raises OSError where a process ends meanwhile."""
        time.sleep(SETTLED)
        raft = RaftWrites(crowd.fleet.consuls[0])
        processes: list[Sequence[Process]] = [publisher, crowd.fleet.consuls, crowd.redis]
        before, bytes_before, began = [Usage.of(p) for p in processes], traffic(crowd.host), time.monotonic()
        while (left := began + seconds - time.monotonic()) > 0:
            time.sleep(min(left, raft.INTERVAL / 2))
            raft.look()
        took = time.monotonic() - began
        own, consul, redis = (Usage.of(p) - b for p, b in zip(processes, before, strict=True))
        return cls(
            seconds=took,
            publisher=(own.cpu + consul.children) / took,
            consul=consul.cpu / took,
            redis=redis.cpu / took,
            switches=own.switches / took,
            wire=(traffic(crowd.host) - bytes_before) / took,
            writes=raft.per_second,
        )


class RaftWrites:
    """Counts what a Consul server appends to its raft log, by its own metrics: whole intervals that begin from now on."""

    INTERVAL: Final = 10.0
    """Seconds of one, of which Consul shows only the last."""

    def __init__(self, server: ConsulNode) -> None:
        self._server, self._since = server, time.time()
        self._seen: dict[float, int] = {}

    def look(self) -> None:
        """Take the last interval in; at least once in each."""
        metrics = self._server.get("/v1/agent/metrics")
        began = datetime.strptime(metrics["Timestamp"], "%Y-%m-%d %H:%M:%S %z UTC").timestamp()
        if began >= self._since:
            counts = [c["Count"] for c in metrics["Counters"] if c["Name"] == "consul.raft.apply"]
            self._seen[began] = sum(counts)

    @property
    def per_second(self) -> float:
        """The rate; 0 before the first whole interval."""
        return sum(self._seen.values()) / (len(self._seen) * self.INTERVAL) if self._seen else 0.0


def _cost(
    crowd: Crowd,
    publisher: str,
    rates: Rates,
    idle: Rates,
    processes: Sequence[Process],
    *,
    nodes: int | None = None,
    agents: int | None = None,
) -> Cost:
    cost = Cost(
        publisher=publisher,
        cpu=rates.publisher * _HOUR,
        # A difference that is smaller than the noise may come out below zero.
        cpu_consul=max(0.0, rates.consul - idle.consul) * _HOUR,
        cpu_redis=max(0.0, rates.redis - idle.redis) * _HOUR,
        switches=rates.switches if processes else None,
        rss=None,
        wire=max(0.0, rates.wire - idle.wire) if crowd.isolated else None,
        raft_writes=max(0.0, rates.writes - idle.writes) * _HOUR,
        seconds=rates.seconds,
    )
    if processes:
        cost["rss"], cost["pss"] = resident(processes)
    if nodes is not None:
        cost["nodes"] = nodes
    if agents is not None:
        cost["agents"] = agents
    return cost


def _sentence(cost: Cost) -> str:
    count = f"{cost['nodes']} nodes" if "nodes" in cost else f"{cost['agents']} agents"
    parts = {
        "CPU": (cost["cpu"], "s/h"),
        "Consul": (cost["cpu_consul"], "s/h"),
        "Redis": (cost["cpu_redis"], "s/h"),
        "resident": (cost["rss"] and cost["rss"] / 2**20, "MiB"),
        "wire": (cost["wire"] and cost["wire"] / 1000, "kB/s"),
        "raft": (cost["raft_writes"], "writes/h"),
    }
    figures = ", ".join(f"{what} {figure:.3g} {unit}" for what, (figure, unit) in parts.items() if figure is not None)
    return f"{count}, {cost['publisher']}: {figures}"
