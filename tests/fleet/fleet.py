"""A fleet of real processes: Redis nodes, Sentinels, Consul and the agents; for tests and the benchmark."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from consul_redis_agent.commands.demo.process import until
from consul_redis_agent.decide.facts import Address

from .agent_node import AgentNode
from .consul_node import ConsulNode
from .hosts import Host, LoopbackHost, Network, NetworkHost
from .process import Process
from .redis_node import RedisNode, SentinelNode, Settings
from .servers import ON_PATH, Server
from .witness import Witness

_P = TypeVar("_P", bound=Process)


class Fleet:
    """Starts processes and ends them all, and only them, when the ``with`` block ends; logs are shown on failure.

    Without ``isolated`` everything runs on 127.0.0.1 with one Consul for all; with it, each host is a network
    namespace with the usual ports and a Consul client agent of its own, and can be cut off or lost (needs root).
    ``server`` is the Redis or Valkey of its nodes and Sentinels. With ``ipv6`` an isolated fleet has IPv6 addresses and no
    others.

    ::

        with Fleet() as fleet:
            fleet.populate()
            fleet.nodes[0].kill()
            fleet.wait_for_master(other_than=fleet.nodes[0])
    """

    def __init__(self, *, isolated: bool = False, server: Server = ON_PATH, ipv6: bool = False) -> None:
        self.server = server
        self._temporary = tempfile.TemporaryDirectory(prefix="cra-")
        self.folder = Path(self._temporary.name)
        self.processes: list[Process] = []
        self.nodes: list[RedisNode] = []
        self.sentinels: list[SentinelNode] = []
        self.consuls: list[ConsulNode] = []
        self.agents: list[AgentNode] = []
        self._network = Network(ipv6=ipv6) if isolated else None
        self._loopback = LoopbackHost("localhost")
        self._numbers: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit | BrokenPipeError):
            self.show_logs()
        self.close()

    def close(self) -> None:
        """End every process and remove every file."""
        for process in reversed(self.processes):
            if process.alive:
                process.kill()
        if self._network is not None:
            self._network.close()
        self._loopback.close()
        self._temporary.cleanup()

    def show_logs(self, lines: int = 15) -> None:
        """Print the end of each process' log to stderr."""
        for process in self.processes:
            text = process.story() if isinstance(process, Witness) else process.tail(lines)
            sys.stderr.write(f"--- {process.name} ---\n{text}\n")

    # Hosts

    def host(self, name: str) -> Host:
        """Return a place for processes: a new host when isolated, else always this machine's loopback."""
        return self._loopback if self._network is None else self._network.host(name)

    def on(self, host: Host) -> list[Process]:
        """Return the processes of a host."""
        return [process for process in self.processes if process.host is host]

    def cut(self, one: Process, other: Process) -> None:
        """Drop all packets between the hosts of two processes, silently. Isolated fleets only."""
        self._net().cut(_isolated(one.host), _isolated(other.host))

    def isolate(self, process: Process, *, but: Sequence[Process] = ()) -> None:
        """Cut the host of a process off from every other host, except from those of ``but``."""
        keep = {process.host, *(other.host for other in but)}
        for host in {other.host for other in self.processes} - keep:
            self._net().cut(_isolated(process.host), _isolated(host))

    def heal(self) -> None:
        """Undo every cut."""
        self._net().heal()

    def lose(self, host: Host) -> None:
        """End a whole host as a power cut does: nobody hears a word."""
        _isolated(host).unplug()
        for process in self.on(host):
            if process.alive and not isinstance(process, Witness):
                process.kill()

    def bring_back(self, host: Host) -> None:
        """Start a lost host again, with the files it had."""
        _isolated(host).plug_in()
        for process in self.on(host):
            if not process.alive:
                process.launch()

    # Processes

    def consul(
        self,
        host: Host | None = None,
        *,
        servers: int = 0,
        bootstrap_token: str | None = None,
        extra: Mapping[str, Any] | None = None,
        wait: bool = True,
    ) -> ConsulNode:
        """Start a Consul agent that joins those started before; ``servers`` as in :class:`ConsulNode`."""
        name = self.name("consul")
        node = ConsulNode(
            name,
            host=host or self.host(name),
            folder=self.folder,
            servers=servers,
            join=[other.lan for other in self.consuls],
            bootstrap_token=bootstrap_token,
            extra=extra,
        )
        self.consuls.append(node)
        return self.add(node, wait=wait)

    def redis(
        self,
        host: Host | None = None,
        *,
        replica_of: RedisNode | None = None,
        password: str = "",
        settings: Settings = (),
        **options: Any,
    ) -> RedisNode:
        """Start a Redis node; ``options`` as in :class:`RedisNode`."""
        name = self.name("redis")
        node = RedisNode(
            name,
            host=host or self.host(name),
            folder=self.folder,
            replica_of=replica_of,
            password=password,
            settings=settings,
            **{"server": self.server, **options},
        )
        self.nodes.append(node)
        return self.add(node)

    def sentinel(self, host: Host | None = None, *, master: RedisNode, **options: Any) -> SentinelNode:
        """Start a Sentinel; ``options`` as in :class:`SentinelNode`."""
        name = self.name("sentinel")
        options = {"server": self.server, **options}
        node = SentinelNode(name, host=host or self.host(name), folder=self.folder, master=master, **options)
        self.sentinels.append(node)
        return self.add(node)

    def agent(
        self,
        *nodes: RedisNode,
        config: str | None = None,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        consul: ConsulNode | None = None,
        more: str = "",
    ) -> AgentNode:
        """Start our agent on the host of ``nodes``, for them; ``config`` replaces the generated configuration.

        The generated one says only what differs from the defaults: nothing at all on an isolated host. ``more`` is put
        before it, for keys and tables of the test.
        """
        host = nodes[0].host
        consul = consul or self.consul_of(host)
        name = self.name("agent")
        if config is None:
            config = more + self.agent_config(*nodes, consul=consul)
        agent = AgentNode(name, host=host, folder=self.folder, config=config, arguments=arguments, env=env)
        self.agents.append(agent)
        return self.add(agent)

    def agent_config(self, *nodes: RedisNode, consul: ConsulNode) -> str:
        """Return the tables of a configuration that differ from the defaults, to reach these nodes and Consul."""
        text = ""
        if (consul.http, consul.dns) != (("127.0.0.1", 8500), ("127.0.0.1", 8600)):
            text += f'[consul]\nurl = "http://{consul.http}"\ndns = "{consul.dns}"\n'
        for node in nodes:
            reached = Address(node.host.loopback, node.address.port)
            if len(nodes) == 1 and reached == ("127.0.0.1", 6379) and not node.password:
                continue
            text += f'[[redis]]\nurl = "redis://{reached}"\n'
            if node.password:
                path = self.folder / f"{node.name}.password"
                path.write_text(node.password)
                text += f'password_file = "{path}"\n'
        return text

    def witness(
        self, *, consul: ConsulNode | None = None, nodes: Sequence[RedisNode] | None = None, **options: Any
    ) -> Witness:
        """Start a witness at the first Consul, or another one, that watches all Redis nodes, or some.

        ``options`` as in :class:`Witness`.
        """
        name = self.name("witness")
        watched = self.nodes if nodes is None else nodes
        return self.add(Witness(name, folder=self.folder, consul=consul or self.consuls[0], nodes=watched, **options))

    def add(self, process: _P, *, wait: bool = True) -> _P:
        """Start any other process as part of this fleet: it ends with the fleet, is lost with its host, returns with it."""
        self.processes.append(process)
        process.launch()
        if wait:
            process.wait_ready(within=20)
        return process

    def populate(
        self,
        *,
        nodes: int = 3,
        sentinels: int = 3,
        agents: bool = False,
        password: str = "",
        sentinel_password: str = "",
        consul_extra: Mapping[str, Any] | None = None,
        **sentinel_options: Any,
    ) -> None:
        """Start the usual fleet: the first node is the master, the others its replicas, all settled.

        Isolated, node, Sentinel, Consul client and agent N share host N, and the Consul server has its own host.
        """
        self.consul(servers=1, extra=consul_extra, wait=False)
        for _ in range(nodes):
            self.redis(replica_of=self.nodes[0] if self.nodes else None, password=password)
        self.wait_for_replicas()
        for number in range(sentinels):
            host = self.nodes[number].host if number < nodes else None
            self.sentinel(host, master=self.nodes[0], password=sentinel_password, **sentinel_options)
        if self._network is not None:
            for node in self.nodes:
                self.consul(node.host, extra=consul_extra, wait=False)
        for consul in self.consuls:
            consul.wait_ready(within=20)
        self.settle()
        if agents:
            for node in self.nodes:
                self.agent(node)

    def consul_of(self, host: Host) -> ConsulNode:
        """Return the Consul that an agent on this host talks to."""
        return next(consul for consul in self.consuls if consul.host is host)

    # Redis and Sentinel as a whole

    def master(self) -> RedisNode | None:
        """Return the node that all running Sentinels name, None while they disagree. Raises redis.RedisError."""
        named = {sentinel.names() for sentinel in self.sentinels if sentinel.alive}
        return next((node for node in self.nodes if named == {node.announced}), None)

    def wait_for_master(self, *, other_than: RedisNode | None = None, within: float = 15) -> RedisNode:
        """Wait until all running Sentinels name one node that says master itself, and return it."""

        def found() -> RedisNode | None:
            node = self.master()
            return node if node is not None and node is not other_than and node.role() == "master" else None

        return until(found, within=within, what="all Sentinels name one master")

    def failover(self) -> RedisNode:
        """Have the first Sentinel start a planned failover, and return the new master once all name it."""
        before = self.wait_for_master()
        self.sentinels[0].ask("SENTINEL", "FAILOVER", self.sentinels[0].master_name)
        return self.wait_for_master(other_than=before)

    def wait_for_replicas(self, *, within: float = 15) -> None:
        """Wait until every running node but the one that says master follows it with its link up."""

        def linked() -> bool:
            running = [node for node in self.nodes if node.alive]
            masters = [node for node in running if node.role() == "master"]
            return len(masters) == 1 and all(node.follows(masters[0]) for node in running if node is not masters[0])

        if self.nodes:
            until(linked, within=within, what="every replica follows the one master")

    def settle(self, *, within: float = 15) -> None:
        """Wait until every running Sentinel knows all others and all replicas, and finds nothing wrong."""
        sentinels = [sentinel for sentinel in self.sentinels if sentinel.alive]
        replicas = len([node for node in self.nodes if node.alive]) - 1
        until(
            lambda: all(s.sees_all_well(others=len(sentinels) - 1, replicas=replicas) for s in sentinels),
            within=within,
            what=f"{len(sentinels)} Sentinels see each other and {replicas} replicas, all well",
        )

    def _net(self) -> Network:
        if self._network is None:
            raise RuntimeError("only an isolated fleet can be cut")
        return self._network

    def name(self, kind: str) -> str:
        """One that no process had before, be it that it is no longer part of the fleet: its files may still be there."""
        self._numbers[kind] += 1
        return f"{kind}{self._numbers[kind]}"


def _isolated(host: Host) -> NetworkHost:
    if not isinstance(host, NetworkHost):
        raise TypeError(f"{host.name} is not an isolated host")
    return host
