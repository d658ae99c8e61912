"""A Consul server or client agent of a fleet."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from consul_redis_agent.commands.demo.process import consul_version
from consul_redis_agent.decide.facts import Address

from . import srv
from .certificates import Pair
from .hosts import Host
from .process import Process
from .rights import CONSUL_AGENT, CONSUL_DNS, Rights

_ANONYMOUS = "00000000-0000-0000-0000-000000000002"
_READ_ONLY = 'node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }'


class ConsulError(OSError):
    """Consul answered with an error status; the message has the status and the body."""


def consul_streams() -> bool:
    """Whether a blocking query is answered from the Consul agent's own streamed view, not by the servers.

    So since 1.10, unless ``use_streaming_backend`` is off in the agent's configuration. Raises as :func:`consul_version`.
    """
    return consul_version() >= (1, 10, 0)


def _speaks(tls: Pair, version: tuple[int, ...]) -> dict[str, Any]:
    """The keys for TLS with clients and between Consul agents; both sides show a certificate."""
    shows = {"ca_file": str(tls.ca), "cert_file": str(tls.cert), "key_file": str(tls.key)}
    if version < (1, 12, 0):
        return {**shows, "verify_incoming": True, "verify_outgoing": True}
    return {"tls": {"defaults": {**shows, "verify_incoming": True, "verify_outgoing": True}}}


class ConsulNode(Process):
    """One Consul process with its data in ``folder/name``, its HTTP and DNS on the host's loopback.

    ``servers`` is how many servers the cluster has when this is one of them, 0 for a client. ``join`` names the
    ``lan`` addresses of other members. ``bootstrap_token`` turns ACLs on, deny by default; whoever has no token may
    read. ``extra`` is merged into the configuration. ``program`` is which Consul it is, the one in use or a path.

    ``rights`` turns them on without that: nobody may do anything but with a token of his own, the Consul agent and DNS too.
    ``manager`` is a server of the same cluster that gives a client its tokens. The calls here are an administrator's then.

    With ``tls`` it speaks HTTPS alone, and Consul agents show it to each other; ``client`` is what :meth:`call` shows.
    """

    def __init__(
        self,
        name: str,
        *,
        host: Host,
        folder: Path,
        servers: int = 0,
        join: Sequence[Address] = (),
        bootstrap_token: str | None = None,
        rights: Rights | None = None,
        manager: ConsulNode | None = None,
        extra: Mapping[str, Any] | None = None,
        program: str = "consul",
        tls: Pair | None = None,
        client: Pair | None = None,
    ) -> None:
        config = folder / f"{name}.json"
        super().__init__(name, [program, "agent", "-config-file", str(config)], host=host, folder=folder)
        self.http = Address(host.loopback, host.port(8501 if tls else 8500))
        self._client = client
        self.dns = Address(host.loopback, host.port(8600))
        self.lan = Address(host.address, host.port(8301))
        self.data = folder / name
        self.bootstrap_token = rights.consul_admin if rights else bootstrap_token
        self._admin = rights.consul_admin if rights else None
        self._may_read = bootstrap_token is None or rights is not None
        self._has_tokens, self._managed = rights is None, manager is not None
        version = consul_version(program)
        settings: dict[str, Any] = {
            "node_name": name,
            "node_id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),  # the same after its data is lost
            "data_dir": str(self.data),
            "bind_addr": host.address,
            "advertise_addr": host.address,
            "client_addr": host.loopback,
            "disable_update_check": True,
            "performance": {"raft_multiplier": 1},
            "ports": {
                "http": -1 if tls else self.http.port,
                "https": self.http.port if tls else -1,
                "dns": self.dns.port,
                "serf_lan": self.lan.port,
                "server": host.port(8300),
                "serf_wan": -1,
                "grpc": -1,
                # An older Consul refuses a key that it does not know, a newer one would take the port for each node.
                **({"grpc_tls": -1} if version >= (1, 14, 0) else {}),
            },
            "retry_join": [str(member) for member in join],
            "retry_interval": "250ms",
            "log_level": "info",
        }
        if servers:
            settings |= {"server": True, "bootstrap_expect": servers}
        if tls:
            settings |= _speaks(tls, version)
        first = "initial_management" if version >= (1, 11, 0) else "master"
        if rights:
            given = {first: rights.consul_admin} if servers else {}
            if manager:
                given["agent"] = manager.create_token(CONSUL_AGENT.format(name=name))
            settings["acl"] = {
                "enabled": True,
                "default_policy": "deny",
                "enable_token_persistence": True,
                "tokens": given,
            }
        elif bootstrap_token:
            settings["acl"] = {
                "enabled": True,
                "default_policy": "deny",
                "tokens": {first: bootstrap_token, "agent": bootstrap_token},
            }
        config.write_text(json.dumps(settings | dict(extra or {}), indent=1))

    def is_ready(self) -> bool:
        """Whether the servers have a leader and hold what this agent itself has synced about its node."""
        if not self._has_tokens:
            self._give_tokens()
        # The leader writes a bare node when a member joins; only the member's own sync adds Meta.
        nodes = self.get("/v1/catalog/nodes", token=self.bootstrap_token)
        synced = any(node["Node"] == self.name and node["Meta"] for node in nodes)
        if synced and not self._may_read:
            self._let_everyone_read()
        return synced

    def get(self, path: str, *, token: str | None = None) -> Any:
        """Return the JSON of a GET. Raises :class:`ConsulError` or OSError."""
        return self.call("GET", path, token=token)

    def put(self, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """Return the JSON (or text) of a PUT. Raises :class:`ConsulError` or OSError."""
        return self.call("PUT", path, body, token=token)

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """Call the HTTP API of this node on a new connection. Raises :class:`ConsulError` or OSError."""
        connection = http.client.HTTPConnection(*self.http, timeout=5)
        if self._client:
            connection = http.client.HTTPSConnection(*self.http, timeout=5, context=self._client.context())
        with self.host.inside():
            connection.connect()
        try:
            token = token or self._admin
            headers = {"X-Consul-Token": token} if token else {}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise ConsulError(f"{method} {path}: {response.status} {text.strip()}")
        return json.loads(text) if response.headers.get_content_type() == "application/json" and text else text

    def srv(self, service: str) -> frozenset[Address] | None:
        """Whom DNS names for a service now; None when the server fails to answer. Raises OSError."""
        with self.host.inside():
            family = socket.AF_INET6 if ":" in self.dns.host else socket.AF_INET
            connection = socket.socket(family, socket.SOCK_DGRAM)
        with connection:
            connection.settimeout(1)
            connection.connect(self.dns)
            connection.send(srv.question(f"{service}.service.consul."))
            return srv.answers(connection.recv(65535))

    def create_token(self, rules: str) -> str:
        """Make a policy of these rules and return the secret of a token that has only it. Needs ACLs."""
        name = f"policy-{uuid.uuid4()}"
        self.put("/v1/acl/policy", {"Name": name, "Rules": rules}, token=self.bootstrap_token)
        token = self.put("/v1/acl/token", {"Policies": [{"Name": name}]}, token=self.bootstrap_token)
        secret: str = token["SecretID"]
        return secret

    def revoke_token(self, secret: str) -> None:
        """Delete a token."""
        accessor = self.get("/v1/acl/token/self", token=secret)["AccessorID"]
        self.call("DELETE", f"/v1/acl/token/{accessor}", token=self.bootstrap_token)

    def forget(self) -> None:
        """Delete the data folder, while it does not run."""
        shutil.rmtree(self.data)

    def _give_tokens(self) -> None:
        """The Consul agent's own, where a manager has not made it before the start, and that of DNS."""
        if not self.get("/v1/status/leader"):
            raise ConsulError("no leader yet")
        if not self._managed:
            self.put("/v1/agent/token/agent", {"Token": self.create_token(CONSUL_AGENT.format(name=self.name))})
        token = {"Token": self.create_token(CONSUL_DNS)}
        try:
            self.put("/v1/agent/token/dns", token)
        except ConsulError:  # an older Consul gives DNS what everybody gets who has no token
            self.put("/v1/agent/token/default", token)
        self._has_tokens = True

    def _let_everyone_read(self) -> None:
        policies = self.get("/v1/acl/policies", token=self.bootstrap_token)
        if all(policy["Name"] != "read-only" for policy in policies):
            self.put("/v1/acl/policy", {"Name": "read-only", "Rules": _READ_ONLY}, token=self.bootstrap_token)
        policy = {"Policies": [{"Name": "read-only"}]}
        self.put(f"/v1/acl/token/{_ANONYMOUS}", policy, token=self.bootstrap_token)
        self._may_read = True
