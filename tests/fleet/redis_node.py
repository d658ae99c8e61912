"""A Redis node and a Sentinel of a fleet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from consul_redis_agent.decide.facts import Address

from .certificates import Pair
from .hosts import Host
from .process import Process
from .rights import ADMIN, Rights
from .servers import ON_PATH, Server

Settings = Mapping[str, str] | Iterable[tuple[str, str]]
"""Lines of a configuration file: a mapping, or pairs where a key repeats (``user``)."""


def _lines(settings: Settings) -> str:
    pairs = settings.items() if isinstance(settings, Mapping) else settings
    return "".join(f"{key} {value}\n" for key, value in pairs)


def _fields(reply: list[str]) -> dict[str, str]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


class RedisServer(Process):
    """What a Redis node and a Sentinel share: a port, a login and commands. ``rights``: with users in place of one password."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        path: Path,
        host: Host,
        folder: Path,
        usual_port: int,
        password: str,
        config: str,
        rights: Rights | None,
        tls: Pair | None,
        client: Pair | None,
    ) -> None:
        super().__init__(name, argv, host=host, folder=folder)
        self.address = Address(host.address, host.port(usual_port))
        self.username = ADMIN if rights else ""
        self.password = rights.admin_password if rights else password
        self.tls = tls
        """What it shows; None where it speaks clear text."""
        self._client = client
        bind = sorted({host.loopback, host.address})
        own = {self._port: str(self.address.port), "bind": " ".join(bind), "protected-mode": "no", "dir": str(folder)}
        if tls:
            own |= {
                "port": "0",
                "tls-cert-file": str(tls.cert),
                "tls-key-file": str(tls.key),
                "tls-ca-cert-file": str(tls.ca),
                "tls-auth-clients": "yes",
                "tls-replication": "yes",  # of a Sentinel: how it reaches nodes and other Sentinels
            }
        if password and not rights:
            own["requirepass"] = password
        path.write_text(_lines(own) + config)

    def ask(self, *command: str, password: str | None = None) -> Any:
        """Send one command on a new connection and return the reply. Raises redis.RedisError."""
        shown: dict[str, Any] = {}
        if shows := self._client:
            files = {"ssl_ca_certs": shows.ca, "ssl_certfile": shows.cert, "ssl_keyfile": shows.key}
            shown = {"ssl": True, **{key: str(path) for key, path in files.items()}}
        client = redis.Redis(
            *self.address,
            username=self.username or None,
            password=password or self.password or None,
            decode_responses=True,
            socket_timeout=2,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **shown,
        )
        with self.host.inside(), client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    @property
    def _port(self) -> str:
        """The key of its configuration for its port."""
        return "tls-port" if self.tls else "port"

    def info(self, section: str) -> dict[str, Any]:
        """Return a section of INFO as redis-py parses it. Raises redis.RedisError."""
        reply: dict[str, Any] = self.ask("INFO", section)
        return reply

    def is_ready(self) -> bool:
        """Whether it answers PING."""
        return bool(self.ask("PING"))


class RedisNode(RedisServer):
    """One Redis node without persistence.

    ``server`` is which Redis or Valkey it is. ``password`` is its own and its master's. ``settings`` are further lines of
    its configuration. ``tls`` is what it shows to clients, which have to show something, too: ``client`` is what :meth:`ask`
    does.
    """

    def __init__(
        self,
        name: str,
        *,
        host: Host,
        folder: Path,
        replica_of: RedisNode | None = None,
        password: str = "",
        settings: Settings = (),
        server: Server = ON_PATH,
        usual_port: int = 6379,
        tls: Pair | None = None,
        client: Pair | None = None,
        rights: Rights | None = None,
    ) -> None:
        own = {
            "save": '""',
            "dbfilename": f"{name}.rdb",
            "repl-diskless-sync": "yes",  # before 7.0 by default on disk, where a master would find it again
            "repl-diskless-sync-delay": "0",
            "repl-diskless-load": "swapdb",
        }
        if password and not rights:
            own["masterauth"] = password
        if replica_of is not None:
            own["replicaof"] = f"{replica_of.address.host} {replica_of.address.port}"
        path = folder / f"{name}.conf"
        super().__init__(
            name,
            server.node(path),
            path=path,
            host=host,
            folder=folder,
            usual_port=usual_port,
            password=password,
            config=_lines(own) + _lines(rights.redis() if rights else ()) + _lines(settings),
            rights=rights,
            tls=tls,
            client=client,
        )
        self.announced = self.address
        """What its master and the Sentinels know it by; a test that has it announce another address writes that here."""

    def role(self) -> str:
        """Return ``master`` or ``slave``, as ROLE says. Raises redis.RedisError."""
        role: str = self.ask("ROLE")[0]
        return role

    def follows(self, master: RedisNode) -> bool:
        """Whether it is a replica of that node and its link is up."""
        info = self.info("replication")
        return (info["role"], info.get("master_port"), info.get("master_link_status")) == (
            "slave",
            master.announced.port,
            "up",
        ) and info["master_host"] == master.announced.host


class SentinelNode(RedisServer):
    """One Sentinel that watches ``master`` under ``master_name``; times are in milliseconds.

    ``also`` names further masters that it watches in the same way. ``server`` is which Redis or Valkey it is.
    """

    def __init__(
        self,
        name: str,
        *,
        host: Host,
        folder: Path,
        master: RedisNode,
        master_name: str = "mymaster",
        quorum: int = 2,
        down_after: int = 1500,
        failover_timeout: int = 10_000,
        password: str = "",
        settings: Settings = (),
        also: Mapping[str, RedisNode] | None = None,
        server: Server = ON_PATH,
        usual_port: int = 26379,
        tls: Pair | None = None,
        client: Pair | None = None,
        rights: Rights | None = None,
    ) -> None:
        watch = []
        for watched, node in {master_name: master, **(also or {})}.items():
            watch += [
                ("sentinel monitor", f"{watched} {node.announced.host} {node.announced.port} {quorum}"),
                ("sentinel down-after-milliseconds", f"{watched} {down_after}"),
                ("sentinel failover-timeout", f"{watched} {failover_timeout}"),
            ]
            if rights:
                watch += rights.sentinel_at(watched)
            elif node.password:
                watch.append(("sentinel auth-pass", f"{watched} {node.password}"))
        if rights:
            watch += rights.sentinel()
        elif password:
            watch.append(("sentinel sentinel-pass", password))
        # Not 1 s: a Sentinel that has switched connects to the new master up to a second later (SENTINEL_PING_PERIOD in
        # sentinel.c), and would then hold it for down before its first answer, and fail over once more.
        path = folder / f"{name}.conf"
        super().__init__(
            name,
            server.sentinel(path),
            path=path,
            host=host,
            folder=folder,
            usual_port=usual_port,
            password=password,
            config=_lines(settings) + _lines(watch),
            tls=tls,
            client=client,
            rights=rights,
        )
        self.master_name = master_name

    def forget(self, master: RedisNode) -> None:
        """Make its file what it is after an installation, while it does not run: a new id, no epochs, nothing known but the master."""
        path = self.folder / f"{self.name}.conf"
        learned = ("monitor", "myid", "known-", "config-epoch", "leader-epoch", "current-epoch")
        dropped = tuple(f"sentinel {word}" for word in learned)
        kept = [line for line in path.read_text().splitlines() if not line.startswith(dropped)]
        monitor = f"sentinel monitor {self.master_name} {master.announced.host} {master.announced.port} 2"
        own = [line for line in kept if not line.startswith("sentinel ")]
        path.write_text("\n".join([*own, monitor, *(line for line in kept if line.startswith("sentinel "))]) + "\n")

    def move(self, port: int) -> None:
        """Have it start at another port, with all that its file says, so with its id, while it does not run."""
        path = self.folder / f"{self.name}.conf"
        old = f"{self._port} {self.address.port}"
        lines = [f"{self._port} {port}" if line == old else line for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines) + "\n")
        self.address = self.address._replace(port=port)

    def names(self) -> Address:
        """Return the address of the master that this Sentinel names. Raises redis.RedisError."""
        host, port = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master_name)
        return Address(host, int(port))

    def master(self) -> dict[str, str]:
        """Return what it knows of the master, as SENTINEL MASTER says. Raises redis.RedisError."""
        return _fields(self.ask("SENTINEL", "MASTER", self.master_name))

    def replicas(self) -> list[dict[str, str]]:
        """Return what it knows of the replicas. Raises redis.RedisError."""
        return [_fields(reply) for reply in self.ask("SENTINEL", "REPLICAS", self.master_name)]

    def others(self) -> list[dict[str, str]]:
        """Return what it knows of the other Sentinels. Raises redis.RedisError."""
        return [_fields(reply) for reply in self.ask("SENTINEL", "SENTINELS", self.master_name)]

    def sees_all_well(self, *, others: int, replicas: int) -> bool:
        """Whether it finds nothing wrong, and knows that many other Sentinels and connected replicas."""
        # What another Sentinel once said of a master that was down stays in Valkey's list for good.
        flags = [sentinel["flags"].removesuffix(",master_down") for sentinel in self.others()]
        return (
            self.master()["flags"] == "master"
            and flags == ["sentinel"] * others
            and [(r["flags"], r["master-link-status"]) for r in self.replicas()] == [("slave", "ok")] * replicas
        )
