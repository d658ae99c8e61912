"""The configuration once it is read and checked: immutable, every default filled in. Durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consul_redis_agent.config.secret import Secret
from consul_redis_agent.decide.facts import Address


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """How a server proves who it is, and what is shown to it.

    Without ``ca_file`` and ``ca_path`` the system's authorities count. ``cert_file`` and ``key_file`` are both set or neither,
    except that the key may stand in ``cert_file``.
    """

    ca_file: Path | None = None
    ca_path: Path | None = None  # a folder of authorities, named by their hashes
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None  # the name in the server's certificate, where it is not the host it is reached at
    verify: bool = (
        True  # false only where the operator has said so: then anybody in between can read and change everything
    )


@dataclass(frozen=True, slots=True)
class ConsulConfig:
    """The local Consul agent. At most one of ``token`` and ``token_file`` is set. ``tls`` is None for clear text."""

    url: str  # http://host:port, https://host:port or unix:///path
    token: Secret | None
    token_file: Path | None
    auth: Secret | None  # user:password of HTTP's basic authentication
    tls: TlsConfig | None
    timeout: float
    dns: Address
    domain: str | None  # of Consul's DNS; None: learned from the Consul agent
    namespace: str | None  # of Consul Enterprise, as the next
    partition: str | None

    @property
    def tenancy(self) -> tuple[str | None, str | None]:
        """Partition and namespace of the entries: elsewhere they are others."""
        return self.partition, self.namespace


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """The entry of the master, and what all entries share. ``meta`` is sorted by key."""

    name: str
    mode: Literal["services", "check", "tags"]
    ttl: float
    tags: tuple[str, ...]
    meta: tuple[tuple[str, str], ...]
    on_stop: Literal["keep", "deregister"]


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """The entries of replicas; an empty ``name`` publishes none."""

    name: str
    max_lag: float


@dataclass(frozen=True, slots=True)
class SentinelConfig:
    """Whether and which Sentinels are asked; with no ``hosts`` they are discovered."""

    mode: Literal["auto", "required", "off"]
    early: bool  # whether the elected leader's word is enough until a majority follows
    hosts: tuple[Address, ...]
    username: str
    password: Secret | None  # at most one of the two is set
    password_file: Path | None
    tls: TlsConfig | None  # None for clear text

    @property
    def secured(self) -> bool:
        """Whether there is a password for them, wherever it stands."""
        return self.password is not None or self.password_file is not None


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """One Redis node: reached at ``path`` (a unix socket) or at ``host`` and ``port``.

    ``service`` and ``replica`` are the names that hold for this node. At most one of ``password`` and
    ``password_file`` is set.
    """

    url: str  # redis://host:port, rediss://host:port or unix:///path; the user in it is username
    host: str | None
    port: int | None
    path: str | None
    username: str
    password: Secret | None
    password_file: Path | None
    master_name: str | None
    announce: Address | None
    service: str
    replica: str
    timeout: float
    patience: float
    tls: TlsConfig | None  # of this node, and of its peers; None for clear text

    @property
    def known_as(self) -> str:
        """What its entries call it: the URL, whether with TLS or without, so that they stay its own when TLS is turned on."""
        return self.url.replace("rediss://", "redis://", 1)


@dataclass(frozen=True, slots=True)
class FenceConfig:
    """What becomes of a Redis node that has lost its authority."""

    mode: Literal["off", "watch", "on"]


@dataclass(frozen=True, slots=True)
class FailoverConfig:
    """When the agent asks Sentinel for a failover."""

    on_death: Literal["off", "ask"]
    on_empty: Literal["off", "ask"]
    delay: float


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Where /metrics, /status and /healthz are served; None serves nothing."""

    listen: Address | None


@dataclass(frozen=True, slots=True)
class LogConfig:
    """How much is logged (debug, info, warning, error), and in which form."""

    level: str
    format: Literal["auto", "text", "json"]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the operator decided."""

    consul: ConsulConfig
    service: ServiceConfig
    replica: ReplicaConfig
    sentinel: SentinelConfig
    redis: tuple[RedisConfig, ...]  # never empty
    fence: FenceConfig
    failover: FailoverConfig
    http: HttpConfig
    log: LogConfig
