"""One host with many Redis nodes, the fleet that costs are measured on: groups of a master and one replica."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from tests.fleet import AgentNode, ConsulNode, Fleet, Process, RedisNode, may_build_networks, until

_CONSUL: Final = {
    "enable_script_checks": True,
    # So that no write is Consul's own; and more than the usual 200 connections from one address.
    "disable_coordinates": True,
    "limits": {"http_max_conns_per_client": 10_000, "rpc_max_conns_per_client": 10_000},
}
_REDIS: Final = {"hz": "1", "tcp-backlog": "64"}
"""A crowd of idle nodes is to leave the CPU alone."""
_DOWN_AFTER: Final = 60_000
"""Milliseconds: nobody is to be failed over because this machine is busy."""
PATIENCE: Final = 120.0
"""Seconds for anything that all of a crowd have to do."""
LOOK: Final = 0.5
"""Seconds between two looks of the launcher: it must not disturb what it waits for."""


@dataclass(frozen=True, slots=True)
class Group:
    """A master and its replica, if it has one; its name is Sentinel's master name and Consul's service name."""

    name: str
    master: RedisNode
    replica: RedisNode | None

    @property
    def nodes(self) -> list[RedisNode]:
        """Its one or two nodes."""
        return [self.master] + ([self.replica] if self.replica else [])


class Crowd:
    """The host with its Redis nodes and its Consul client; three Sentinels of all groups; Consul's one server elsewhere.

    Where no network namespaces may be made all share this machine's loopback, and the Consul server is the client.
    """

    def __init__(self, nodes: int, tell: Callable[[str], None]) -> None:
        self.isolated = may_build_networks()
        self.fleet = Fleet(isolated=self.isolated)
        self.groups: list[Group] = []
        try:
            self._build(nodes)
        except BaseException:
            self.fleet.close()
            raise
        tell(f"{nodes} Redis nodes in {len(self.groups)} groups, three Sentinels and Consul are up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, AssertionError | OSError):
            for consul in self.fleet.consuls:
                sys.stderr.write(f"--- {consul.name} ---\n{consul.tail()}\n")
        self.fleet.close()

    def _build(self, nodes: int) -> None:
        fleet = self.fleet
        server = fleet.consul(servers=1, extra=_CONSUL)
        self.host = fleet.host("host")
        self.consul: ConsulNode = fleet.consul(self.host, extra=_CONSUL) if self.isolated else server
        for number in range((nodes + 1) // 2):
            master = self._redis(2 * number)
            replica = self._redis(2 * number + 1, replica_of=master) if 2 * number + 1 < nodes else None
            self.groups.append(Group(f"redis-{number}", master, replica))
        first, *others = self.groups
        for number in range(3):
            fleet.sentinel(
                self.host,
                master=first.master,
                master_name=first.name,
                also={group.name: group.master for group in others},
                down_after=_DOWN_AFTER,
                usual_port=26379 + number,
            )
        self._until(
            lambda: all(self._well(sentinel.ask("SENTINEL", "MASTERS")) for sentinel in fleet.sentinels), "Sentinels"
        )

    def _redis(self, number: int, replica_of: RedisNode | None = None) -> RedisNode:
        return self.fleet.redis(self.host, replica_of=replica_of, settings=_REDIS, usual_port=6400 + number)

    def _well(self, masters: Sequence[Sequence[str]]) -> bool:
        """Whether a Sentinel knows both others and the replica of each group."""
        known = {m["name"]: m for m in (dict(zip(flat[::2], flat[1::2], strict=True)) for flat in masters)}
        return all(
            (known[group.name]["flags"], known[group.name]["num-other-sentinels"], known[group.name]["num-slaves"])
            == ("master", "2", "1" if group.replica else "0")
            for group in self.groups
        )

    @property
    def nodes(self) -> list[RedisNode]:
        """All Redis nodes, group by group."""
        return [node for group in self.groups for node in group.nodes]

    @property
    def redis(self) -> list[Process]:
        """The Redis nodes and the Sentinels."""
        return [*self.fleet.nodes, *self.fleet.sentinels]

    # Publishers

    def agent(self, nodes: Iterable[RedisNode]) -> AgentNode:
        """Start one agent for some nodes, which takes its entries out when it is stopped."""
        sentinels = ", ".join(f'"{sentinel.address}"' for sentinel in self.fleet.sentinels)
        tables = [
            f'[consul]\nurl = "http://{self.consul.http}"\n[service]\non_stop = "deregister"\n',
            f"[sentinel]\nhosts = [{sentinels}]\n",
        ]
        wanted = set(nodes)
        for group in self.groups:
            tables += [
                f'[[redis]]\nurl = "redis://127.0.0.1:{node.address.port}"\nmaster_name = "{group.name}"\n'
                f'service = "{group.name}"\nreplica = "{group.name}-replica"\n'
                for node in group.nodes
                if node in wanted
            ]
        config = "".join(tables)
        return self.fleet.agent(*[node for node in self.nodes if node in wanted], config=config, consul=self.consul)

    def wait_for_ours(self, some: int | None = None) -> None:
        """Wait until each node is published as what it is, or until some of them are."""
        wanted = {"role:master": len(self.groups), "role:replica": len(self.nodes) - len(self.groups)}

        def published() -> bool:
            names = Counter(check["Name"] for check in self._passing())
            if some is not None:
                return names["role:master"] + names["role:replica"] >= some
            return all(names[name] == count for name, count in wanted.items())

        self._until(published, "every node is published")

    def wait_for_service_checks(self) -> None:
        """Wait until the check of a static service passes for each master, and for no replica."""
        names = {group.name for group in self.groups}

        def passing() -> bool:
            return sum(check["ServiceName"] in names for check in self._passing()) == len(names)

        self._until(passing, "the check of every master passes")

    def deregister_all(self) -> None:
        """Take every service out that the host's Consul agent knows."""
        for service_id in self.consul.get("/v1/agent/services"):
            self.consul.put(f"/v1/agent/service/deregister/{service_id}")
        self.wait_for_nobody()

    def wait_for_nobody(self) -> None:
        """Wait until Consul's servers know no service but their own."""
        self._until(lambda: set(self.consul.get("/v1/catalog/services")) == {"consul"}, "no service is left")

    def _passing(self) -> list[dict[str, Any]]:
        checks: list[dict[str, Any]] = self.consul.get("/v1/health/state/passing")
        return checks

    @staticmethod
    def _until(condition: Callable[[], object], what: str) -> None:
        until(lambda: bool(condition()), within=PATIENCE, what=what, every=LOOK)
