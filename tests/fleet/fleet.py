"""A fleet of real processes: Redis nodes, Sentinels, Consul and the agents; for tests and the benchmark."""

from __future__ import annotations

import re
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
from .certificates import Certificates
from .consul_node import ConsulNode
from .hosts import Host, LoopbackHost, Network, NetworkHost
from .process import Process
from .redis_node import RedisNode, SentinelNode, Settings
from .rights import AGENT, Rights, consul_rules
from .servers import ON_PATH, Server
from .witness import Witness

_P = TypeVar("_P", bound=Process)


class Fleet:
    """Starts processes and ends them all, and only them, when the ``with`` block ends; logs are shown on failure.

    Without ``isolated`` everything runs on 127.0.0.1 with one Consul for all; with it, each host is a network
    namespace with the usual ports and a Consul client agent of its own, and can be cut off or lost (needs root).
    ``server`` is the Redis or Valkey of its nodes and Sentinels; ``consul`` and ``consul_clients`` name the program of Consul's
    servers and of its client agents, each the one in use or a path. With ``acl`` everybody has a login with the least rights
    that he needs, the agents exactly those that ``config/`` ships; :class:`Rights` says for which of its settings. With
    ``tls`` everybody speaks TLS with everybody, and shows a certificate of :attr:`certificates`; servers have no port for
    clear text. With ``ipv6`` an isolated fleet has IPv6 addresses and no others.

    ::

        with Fleet() as fleet:
            fleet.populate()
            fleet.nodes[0].kill()
            fleet.wait_for_master(other_than=fleet.nodes[0])
    """

    def __init__(
        self,
        *,
        isolated: bool = False,
        server: Server = ON_PATH,
        consul: str = "consul",
        consul_clients: str = "consul",
        acl: bool | Rights = False,
        tls: bool = False,
        ipv6: bool = False,
    ) -> None:
        self.server = server
        self._consuls = consul, consul_clients
        self.rights = acl if isinstance(acl, Rights) else Rights() if acl else None
        self._temporary = tempfile.TemporaryDirectory(prefix="cra-")
        self.folder = Path(self._temporary.name)
        self.certificates = Certificates(self.folder) if tls else None
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
        **options: Any,
    ) -> ConsulNode:
        """Start a Consul agent that joins those started before; ``servers`` and ``options`` as in :class:`ConsulNode`."""
        name = self.name("consul")
        host = host or self.host(name)
        options = self._shown(host) | options
        manager = next(iter(self.consuls), None) if self.rights else None
        if manager and not servers:
            manager.wait_ready(within=20)
        node = ConsulNode(
            name,
            host=host,
            folder=self.folder,
            servers=servers,
            join=[other.lan for other in self.consuls],
            bootstrap_token=bootstrap_token,
            rights=self.rights,
            manager=None if servers else manager,
            extra=extra,
            program=self._consuls[0 if servers else 1],
            **options,
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
        host = host or self.host(name)
        node = RedisNode(
            name,
            host=host,
            folder=self.folder,
            replica_of=replica_of,
            password=password,
            settings=settings,
            **{"server": self.server, "rights": self.rights, **self._shown(host), **options},
        )
        self.nodes.append(node)
        return self.add(node)

    def sentinel(self, host: Host | None = None, *, master: RedisNode, **options: Any) -> SentinelNode:
        """Start a Sentinel; ``options`` as in :class:`SentinelNode`."""
        name = self.name("sentinel")
        host = host or self.host(name)
        options = {"server": self.server, "rights": self.rights, **self._shown(host), **options}
        node = SentinelNode(name, host=host, folder=self.folder, master=master, **options)
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
            config = self.agent_config(*nodes, consul=consul, more=more)
        agent = AgentNode(name, host=host, folder=self.folder, config=config, arguments=arguments, env=env)
        self.agents.append(agent)
        return self.add(agent)

    def agent_config(self, *nodes: RedisNode, consul: ConsulNode, more: str = "") -> str:
        """Return the tables of a configuration that differ from the defaults, to reach these nodes and Consul.

        ``more`` is put before them; a table that it has already is added to.
        """
        to_consul, to_sentinel, text, s = "", "", "", "s" if self.certificates else ""
        if self.certificates or (consul.http, consul.dns) != (("127.0.0.1", 8500), ("127.0.0.1", 8600)):
            to_consul += f'url = "http{s}://{consul.http}"\ndns = "{consul.dns}"\n{self._files()}'
        if self.certificates:
            to_sentinel += f"tls = true\n{self._files()}"
        if self.rights:
            to_consul += f'token_file = "{self.token_file(nodes[0], consul)}"\n'
            to_sentinel += self._login("sentinel", self.rights.sentinel_password)
            if self.sentinels and "hosts" not in more:
                hosts = ", ".join(f'"{sentinel.address}"' for sentinel in self.sentinels)
                to_sentinel += f"hosts = [{hosts}]\n"
        for node in nodes:
            reached = Address(node.host.loopback, node.address.port)
            if len(nodes) == 1 and reached == ("127.0.0.1", 6379) and not node.password and not node.tls:
                continue
            text += f'[[redis]]\nurl = "redis{s}://{reached}"\n{self._files()}'
            if self.rights:
                text += self._login(node.name, self.rights.agent_password)
            elif node.password:
                path = self.folder / f"{node.name}.password"
                path.write_text(node.password)
                text += f'password_file = "{path}"\n'
        tables = (("[consul]\n", to_consul), ("[sentinel]\n", to_sentinel))
        return _merged(more, "".join(table + lines for table, lines in tables if lines) + text)

    def token_file(self, node: RedisNode, consul: ConsulNode) -> Path:
        """The file with the token of a node's agent, made at first. Fleets with ``acl`` only."""
        path = self.folder / f"{node.name}.token"
        if not path.exists():
            path.write_text(consul.create_token(consul_rules()))
        return path

    def _login(self, name: str, password: str) -> str:
        path = self.folder / f"{name}.password"
        if not path.exists():
            path.write_text(password)
        return f'username = "{AGENT}"\npassword_file = "{path}"\n'

    def witness(
        self, *, consul: ConsulNode | None = None, nodes: Sequence[RedisNode] | None = None, **options: Any
    ) -> Witness:
        """Start a witness at the first Consul, or another one, that watches all Redis nodes, or some.

        ``options`` as in :class:`Witness`.
        """
        name = self.name("witness")
        watched = self.nodes if nodes is None else nodes
        if self.certificates:
            options = {"client": self.certificates.client, **options}
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

    def _shown(self, host: Host) -> dict[str, Any]:
        """What a server of this host shows, and what the tests show to it; nothing in clear text."""
        if self.certificates is None:
            return {}
        return {"tls": self.certificates.server(host.address), "client": self.certificates.client}

    def _files(self) -> str:
        """The keys of a table for what an agent shows, and whom it trusts; none in clear text."""
        if self.certificates is None:
            return ""
        own = self.certificates.client
        return f'ca_file = "{own.ca}"\ncert_file = "{own.cert}"\nkey_file = "{own.key}"\n'

    def _net(self) -> Network:
        if self._network is None:
            raise RuntimeError("only an isolated fleet can be cut")
        return self._network

    def name(self, kind: str) -> str:
        """One that no process had before, be it that it is no longer part of the fleet: its files may still be there."""
        self._numbers[kind] += 1
        return f"{kind}{self._numbers[kind]}"


def _merged(more: str, generated: str) -> str:
    """Both, with the keys of a generated table under the test's own one where it has the same."""
    text = more
    for table in filter(None, re.split(r"^(?=\[)", generated, flags=re.MULTILINE)):
        header = table.partition("\n")[0]
        if not header.startswith("[[") and f"{header}\n" in more:
            text = text.replace(f"{header}\n", table, 1)
        else:
            text += table
    return text


def _isolated(host: Host) -> NetworkHost:
    if not isinstance(host, NetworkHost):
        raise TypeError(f"{host.name} is not an isolated host")
    return host
