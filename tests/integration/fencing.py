"""What the tests of the fence look at: what the Sentinels logged, what a node was sent, what applications have left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.chaos.application import Application
from tests.chaos.writes import Writes
from tests.fleet import AgentNode, Fleet, Process, RedisNode, until

from .support import master, replica, wait_for_catalog

WRITERS = ("kept", "each", "sentinel")
"""The applications that write in these tests: more of them take the processor from those whose time counts."""

CONVERTED = "+convert-to-slave"
"""A Sentinel turns a node that should be a replica, some 11 s after a failover."""
ASKED = "Executing user requested FAILOVER"
"""A Sentinel was asked for a failover, and began it."""
HELD_FOR_DOWN = "+sdown master"
TOLD_TO_FOLLOW = "enabled (user request from"
"""A node became a replica by a command, so that it was none before."""
KNOWS_SENTINEL = "belongs to the master"


class Heard:
    """What some processes have logged since this was made, or from a number of characters on."""

    def __init__(self, processes: Iterable[Process], *, since: int | None = None) -> None:
        self._since = {process: len(process.log()) if since is None else since for process in processes}

    def times(self, text: str) -> int:
        """How many lines of it hold a text."""
        return sum(process.lines(text, since=since) for process, since in self._since.items())


def arrange(fleet: Fleet, *, tables: str, down_after: int = 1500) -> RedisNode:
    """Have every agent run with these tables of its configuration, and return the master once all is as it should be.

    ``down_after`` in milliseconds. What the nodes count begins at zero.
    """
    for sentinel in fleet.sentinels:
        sentinel.ask("SENTINEL", "SET", sentinel.master_name, "down-after-milliseconds", str(down_after))
    for node in fleet.nodes:
        if not node.alive:
            node.start()  # a test that failed has left it so
    hosts = ", ".join(f'"{sentinel.address}"' for sentinel in fleet.sentinels)
    tables += f'[sentinel]\nhosts = [{hosts}]\n[log]\nformat = "text"\n'
    started = [heard for node in fleet.nodes if (heard := _run_agent(fleet, node, tables))]
    until(lambda: all(a.times(KNOWS_SENTINEL) for a in started), within=20, what="every agent knows its Sentinels")
    fleet.wait_for_replicas(within=30)
    fleet.settle(within=30)
    now = fleet.wait_for_master()
    others = (replica(node) for node in fleet.nodes if node is not now)
    wait_for_catalog(fleet.consuls[0], master(now), *others, within=10)
    for node in fleet.nodes:
        node.ask("CONFIG", "RESETSTAT")
    return now


def agent_of(fleet: Fleet, node: RedisNode) -> AgentNode:
    """The agent beside a node; they were started in the order of the nodes."""
    return fleet.agents[fleet.nodes.index(node)]


def _run_agent(fleet: Fleet, node: RedisNode, tables: str) -> Heard | None:
    """Start the agent beside a node, for the first time or anew, and return what it logs from then on; None where it runs so."""
    if len(fleet.agents) < len(fleet.nodes):
        return Heard([fleet.agent(node, more=tables)], since=0)
    agent = agent_of(fleet, node)
    text = tables + fleet.agent_config(node, consul=fleet.consul_of(node.host))
    if agent.alive and agent.config_path.read_text() == text:
        return None
    agent.stop()
    heard = Heard([agent])
    agent.config_path.write_text(text)
    agent.start()
    return heard


def full_copies(fleet: Fleet) -> int:
    """How often a node has given its whole data set to a replica."""
    return sum(int(node.info("stats")["sync_full"]) for node in fleet.nodes)


def calls(node: RedisNode, subcommand: str) -> int | None:
    """How often ``CLIENT`` was called with it; None where the server does not tell its subcommands apart (before 7.0)."""
    counted: Mapping[str, Any] = node.info("commandstats")
    if not any("|" in name for name in counted):
        return None
    return int(counted.get(f"cmdstat_client|{subcommand}", {"calls": 0})["calls"])


def assert_nobody_is_paused(fleet: Fleet) -> None:
    """Raise redis.TimeoutError if a node lets what a pause of writes holds wait, as it does with PUBLISH on replicas also."""
    for node in fleet.nodes:
        node.ask("PUBLISH", "nobody", "hears this")


def wait_for_writes(application: Application, node: RedisNode, *, more: int = 20) -> None:
    """Wait until each writer has that many more writes acknowledged by this node."""
    keys = [f"{application.name}:{writer}" for writer in WRITERS]
    before = {key: int(node.ask("LLEN", key)) for key in keys}
    until(
        lambda: all(int(node.ask("LLEN", key)) >= before[key] + more for key in keys),
        within=15,
        what=f"every application writes to {node.name}",
    )


def told(writes: Mapping[str, Writes]) -> str:
    """What applications wrote and lost, for the report."""
    return "; ".join(
        f"{name}: {len(w.lost)} of {len(w.acknowledged)} lost, longest gap {w.gap:.3f} s" for name, w in writes.items()
    )
