"""What the demo shows: three Redis, three Sentinels, one Consul and an agent for each Redis, all on 127.0.0.1."""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from consul_redis_agent.commands.demo.process import Process, consul_version, free_port, until
from consul_redis_agent.decide.facts import Address

HOST = "127.0.0.1"
MASTER = "mymaster"
"""The master's name at the Sentinels."""


class Server(Process):
    """A Redis node or a Sentinel; ``settings`` are lines of its configuration."""

    def __init__(self, name: str, program: str, folder: Path, port: int, *settings: str) -> None:
        path = folder / f"{name}.conf"
        super().__init__(name, [program, str(path)], folder=folder)
        path.write_text("\n".join([f"port {port}", f"bind {HOST}", f"dir {folder}", *settings, ""]))
        self.address = Address(HOST, port)

    def ask(self, *command: str) -> Any:
        """Send one command on a new connection and return the reply. Raises redis.RedisError."""
        once = Retry(NoBackoff(), 0)
        with redis.Redis(*self.address, decode_responses=True, socket_timeout=2, retry=once, protocol=2) as client:
            return client.execute_command(*command)

    def role(self) -> str:
        """Return ``master`` or ``slave``, as ROLE says. Raises redis.RedisError."""
        return str(self.ask("ROLE")[0])

    def is_ready(self) -> bool:
        """Whether it answers PING."""
        return bool(self.ask("PING"))


class Consul(Process):
    """The one Consul, a server by itself."""

    def __init__(self, name: str, folder: Path) -> None:
        path = folder / f"{name}.json"
        super().__init__(name, ["consul", "agent", "-config-file", str(path)], folder=folder)
        self.http, self.dns = Address(HOST, free_port()), Address(HOST, free_port())
        others = {"serf_lan": free_port(), "server": free_port(), "serf_wan": -1, "grpc": -1}
        if consul_version() >= (1, 14, 0):  # an older one refuses a key that it does not know
            others["grpc_tls"] = -1
        settings = {
            "server": True,
            "bootstrap_expect": 1,
            "node_name": name,
            "data_dir": str(folder / name),
            "bind_addr": HOST,
            "disable_update_check": True,
            "performance": {"raft_multiplier": 1},
            "ports": {"http": self.http.port, "dns": self.dns.port, **others},
        }
        path.write_text(json.dumps(settings, indent=1))

    def is_ready(self) -> bool:
        """Whether it leads and has synced its own node, which alone adds Meta."""
        with closing(http.client.HTTPConnection(*self.http, timeout=5)) as connection:
            connection.request("GET", "/v1/catalog/nodes")
            return any(node["Meta"] for node in json.load(connection.getresponse()))


class Agent(Process):
    """``consul-redis-agent run`` for one Redis node."""

    def __init__(self, name: str, folder: Path, node: Server, consul: Consul) -> None:
        self.config_path, self.socket = folder / f"{name}.toml", folder / f"{name}.sock"
        flags = ["--config", str(self.config_path), "--socket", str(self.socket)]
        super().__init__(name, [sys.executable, "-m", "consul_redis_agent", "run", *flags], folder=folder)
        self.config_path.write_text(
            f'[consul]\nurl = "http://{consul.http}"\ndns = "{consul.dns}"\n[[redis]]\nurl = "redis://{node.address}"\n'
        )


class Fleet:
    """All of them; they end with the ``with`` block, which shows the ends of their logs if it failed."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="cra-")
        self.folder = folder = Path(self._temporary.name)
        self.consul = Consul("consul1", folder)
        self.nodes: list[Server] = []
        for name in ("redis1", "redis2", "redis3"):
            settings = ['save ""', f"dbfilename {name}.rdb", "repl-diskless-sync-delay 0"]
            settings += [f"replicaof {HOST} {node.address.port}" for node in self.nodes[:1]]
            self.nodes.append(Server(name, "redis-server", folder, free_port(), *settings))
        watch = [
            f"sentinel monitor {MASTER} {HOST} {self.nodes[0].address.port} 2",
            f"sentinel down-after-milliseconds {MASTER} 1500",
            f"sentinel failover-timeout {MASTER} 10000",
        ]
        names = ("sentinel1", "sentinel2", "sentinel3")
        self.sentinels = [Server(name, "redis-sentinel", folder, free_port(), *watch) for name in names]
        self.agents = [Agent(f"agent{n}", folder, node, self.consul) for n, node in enumerate(self.nodes, 1)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes = [self.consul, *self.nodes, *self.sentinels, *self.agents]
        if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit | BrokenPipeError):
            for process in processes:
                sys.stderr.write(f"--- {process.name} ---\n{process.tail(15)}\n")
        for process in reversed(processes):
            if process.alive:
                process.kill()
        self._temporary.cleanup()

    def start(self) -> None:
        """Start all but the agents; the first node is the master. Raises ProcessDied or NotInTime."""
        self.consul.launch()
        for node in self.nodes:
            node.start()
        until(lambda: all(node.ask("ROLE")[3] == "connected" for node in self.nodes[1:]), within=15, what="they follow")
        for sentinel in self.sentinels:
            sentinel.start()
        self.consul.wait_ready(within=20)
        until(
            lambda: all(map(_is_settled, self.sentinels)), within=15, what="each Sentinel knows all, and all are well"
        )

    def wait_for_master(self, *, other_than: Server | None = None) -> Server:
        """Wait until all Sentinels name one node that says master itself, and return it. Raises NotInTime."""

        def found() -> Server | None:
            named = {tuple(s.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)) for s in self.sentinels}
            nodes = [
                node for node in self.nodes if named == {(HOST, str(node.address.port))} and node is not other_than
            ]
            return next((node for node in nodes if node.role() == "master"), None)

        return until(found, within=15, what="all Sentinels name one master", every=0.05)


def _is_settled(sentinel: Server) -> bool:
    """Whether it can reach the two others, and its master has two replicas with their links up."""
    rows = [dict(zip(row[::2], row[1::2], strict=True)) for row in sentinel.ask("SENTINEL", "REPLICAS", MASTER)]
    well = [(row["flags"], row["master-link-status"]) for row in rows] == [("slave", "ok")] * 2
    return well and str(sentinel.ask("SENTINEL", "CKQUORUM", MASTER)).startswith("OK 3 ")
