"""What some faults have on further hosts, or put around a process of the fleet, for as long as they last."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fleet import AgentNode, ConsulNode, Process, RedisNode, SentinelNode
from tests.fleet.hosts import Host

from .arena import FAILOVER_TIMEOUT, Arena

_SERVERS = Path(__file__).parents[2] / ".servers"
_LIBRARY = "faketime/libfaketimeMT.so.1"


@contextmanager
def consul_client(arena: Arena, host: Host, *, everywhere: bool = False) -> Iterator[ConsulNode]:
    """One more Consul client agent in the block; ``everywhere``: other hosts may ask it, too."""
    extra = {"client_addr": "0.0.0.0"} if everywhere else {}
    name = arena.fleet.name("consul")
    client = ConsulNode(name, host=host, folder=arena.fleet.folder, join=[arena.server.lan], extra=extra)
    with arena.guest(client):
        yield client


@contextmanager
def agent_for(arena: Arena, host: Host, url: str = "") -> Iterator[AgentNode]:
    """One more agent in the block, for the Redis node of its host or at ``url``."""
    node = f'[[redis]]\nurl = "{url}"\n' if url else ""
    agent = AgentNode(arena.fleet.name("agent"), host=host, folder=arena.fleet.folder, config=arena.settings + node)
    with arena.guest(agent):
        yield agent


@dataclass(frozen=True, slots=True)
class Group:
    """Another group, on hosts of its own."""

    nodes: list[RedisNode]
    sentinels: list[SentinelNode]

    def master(self) -> RedisNode | None:
        """The node that all its Sentinels name and that says master itself. Raises redis.RedisError."""
        named = {sentinel.names() for sentinel in self.sentinels}
        return next((node for node in self.nodes if named == {node.announced} and node.role() == "master"), None)

    def is_well(self) -> bool:
        """Whether its Sentinels see each other and the replica. Raises redis.RedisError."""
        others = len(self.sentinels) - 1
        return all(sentinel.sees_all_well(others=others, replicas=1) for sentinel in self.sentinels)

    def has_moved(self, old: RedisNode) -> bool:
        """Whether another node than ``old`` is its master, which ``old`` follows. Raises redis.RedisError."""
        new = self.master()
        return new is not None and new is not old and old.follows(new)


@contextmanager
def second_group(arena: Arena) -> Iterator[Group]:
    """Two Redis nodes, three Sentinels and two agents on two hosts, all under the names that the arena's group has."""
    fleet = arena.fleet
    group = Group([], [])
    with ExitStack() as stack:
        for _ in range(2):
            name = fleet.name("stranger")
            first = group.nodes[0] if group.nodes else None
            node = RedisNode(name, host=fleet.host(name), folder=fleet.folder, replica_of=first)
            group.nodes.append(node)
            stack.enter_context(consul_client(arena, node.host))
            stack.enter_context(arena.guest(node))
        for node, port in ((group.nodes[0], 26379), (group.nodes[1], 26379), (group.nodes[1], 26380)):
            sentinel = SentinelNode(
                fleet.name("stranger"),
                host=node.host,
                folder=fleet.folder,
                master=group.nodes[0],
                usual_port=port,
                down_after=arena.down_after,
                failover_timeout=FAILOVER_TIMEOUT,
            )
            group.sentinels.append(sentinel)
            stack.enter_context(arena.guest(sentinel))
        arena.until(group.is_well, "the second group is well")
        for node in group.nodes:
            stack.enter_context(agent_for(arena, node.host))
        yield group


def with_hosts_file(process: Process, text: str) -> list[str]:
    """How to start a process that has these lines in its ``/etc/hosts``, and nobody else has."""
    hosts = process.folder / f"{process.name}.hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{text}\n")
    within = f'mount --bind {hosts} /etc/hosts && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", within, "sh", *process.argv]


class WallClock:
    """A wall clock that can be set, for the processes that are started with ``env``; their monotonic clock is the real one.

    ``libfaketime`` stands between them and the C library, from their next look at the clock on. A program that allocates its memory
    with jemalloc, as Redis does, does not start with it. Raises FileNotFoundError where there is none.
    """

    def __init__(self, folder: Path) -> None:
        library = next(_faketime(), None)
        if library is None:
            raise FileNotFoundError("libfaketime is neither in .servers (tests/setup) nor among the system's libraries")
        self._file = folder / "wall-clock"
        self.set(0)
        self.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, seconds: int) -> None:
        """Set it so far from the real one."""
        self._file.write_text(f"{seconds:+d}\n")


def _faketime() -> Iterator[Path]:
    given = os.environ.get("FAKETIME_LIBRARY")
    places = [Path(given)] if given else [_SERVERS / _LIBRARY, *Path("/usr/lib").glob(f"*/{_LIBRARY}")]
    yield from (place for place in places if place.exists())
