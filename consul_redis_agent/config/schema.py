"""Every key of the configuration, once: its default, how it is read, where else it may come from, what it is for.

The parser, the refusal of unknown keys, the command line's flags and the test of the example file all follow from this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consul_redis_agent.config import values
from consul_redis_agent.config.values import NO_TLS, Reader

INHERITED = None  # the default of a key that takes its value from another one

TABLES = {
    "consul": "the Consul agent of this host",
    "service": "the master's entry, and what all entries share",
    "replica": "the entries of replicas",
    "sentinel": "who decides which node is the master",
    "redis": "the Redis node; on the command line there is one, in the file any number",
    "fence": "a Redis node that has lost its authority",
    "failover": "what the agent asks Sentinel for",
    "http": "metrics and status over HTTP",
    "log": "the log, on standard error",
}
REPEATED = "redis"  # the one table that is an array


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``default`` is written as in the file; ``read`` turns what is written into the value."""

    table: str
    name: str
    default: object
    read: Reader[Any]
    doc: str
    env: str = ""
    in_file: bool = True
    has_flag: bool = True

    @property
    def dotted(self) -> str:
        """``consul.token_file``"""
        return f"{self.table}.{self.name}"

    @property
    def flag(self) -> str:
        """``--consul-token-file``"""
        return f"--{self.table}-{self.name}".replace("_", "-")

    @property
    def is_list(self) -> bool:
        """Whether its flag takes several values, with commas between."""
        return isinstance(self.default, list)


def _tls(table: str, name: str, env: str = "", default: object = "") -> Key:
    """A key that already has its name, so that a later version can give it its meaning."""
    return Key(table, name, default, values.no_tls, f"{NO_TLS}.", env=env, has_flag=False)


def _environment(table: str, name: str, env: str, read: Reader[Any]) -> Key:
    """A value that only the environment gives."""
    return Key(table, name, "", values.optional(read), "", env=env, in_file=False, has_flag=False)


KEYS = (
    Key("consul", "url", "http://127.0.0.1:8500", values.consul_url, "Consul's HTTP API.", env="CONSUL_HTTP_ADDR"),
    Key(
        "consul",
        "token_file",
        "",
        values.optional(values.secret_file),
        "File of the ACL token; read again when it changes.",
        env="CONSUL_HTTP_TOKEN_FILE",
    ),
    _environment("consul", "token", "CONSUL_HTTP_TOKEN", values.secret),
    _tls("consul", "ca_file", env="CONSUL_CACERT"),
    _tls("consul", "cert_file", env="CONSUL_CLIENT_CERT"),
    _tls("consul", "key_file", env="CONSUL_CLIENT_KEY"),
    _environment("consul", "ssl", "CONSUL_HTTP_SSL", values.no_tls_flag),
    Key("consul", "timeout", "2s", values.duration("50ms", "1m"), "How long one request may take."),
    Key("consul", "dns", "127.0.0.1:8600", values.address, "Consul's DNS; used by resolve, check, failover and demo."),
    Key("service", "name", "redis", values.service_name, "Name of the master's service in Consul."),
    Key(
        "service",
        "mode",
        "services",
        values.one_of("services", "check", "tags"),
        "How the role shows in Consul: services, check or tags.",
    ),
    Key(
        "service",
        "ttl",
        "10s",
        values.duration("1s", "10m"),
        "How long an entry outlives an agent that has stopped beating.",
    ),
    Key("service", "tags", [], values.tags, "Further tags of every entry."),
    Key("service", "meta", {}, values.meta, "Further metadata of every entry.", has_flag=False),
    Key(
        "service",
        "on_stop",
        "keep",
        values.one_of("keep", "deregister"),
        "What becomes of a true entry when the agent stops: keep or deregister.",
    ),
    Key(
        "replica",
        "name",
        "redis-replica",
        values.service_name_or_none,
        'Name of the replicas\' service; "" publishes none.',
    ),
    # Redis counts the silence of a replica's link in whole seconds, so less than one says nothing.
    Key("replica", "max_lag", "10s", values.duration("1s", "24h"), "Replicas further behind are not published."),
    Key(
        "sentinel",
        "mode",
        "auto",
        values.one_of("auto", "required", "off"),
        "Whether Sentinel decides: auto (if there is any), required or off.",
    ),
    Key(
        "sentinel",
        "early",
        True,
        values.truth,
        "Whether DNS names a new master on the word of the elected leader, or waits for a majority: true or false.",
    ),
    Key("sentinel", "hosts", [], values.addresses, "The Sentinels, as host:port; discovered when empty."),
    Key("sentinel", "username", "", values.username, "ACL user on the Sentinels."),
    Key("sentinel", "password_file", "", values.optional(values.secret_file), "File of the Sentinels' password."),
    _tls("sentinel", "tls", default=False),
    _tls("sentinel", "ca_file"),
    _tls("sentinel", "cert_file"),
    _tls("sentinel", "key_file"),
    Key("redis", "url", "redis://127.0.0.1:6379", values.redis_url, "Where the node is reached."),
    Key("redis", "username", "", values.username, "ACL user on the node."),
    Key(
        "redis",
        "password_file",
        "",
        values.optional(values.secret_file),
        "File of the node's password; read again at each login.",
    ),
    _environment("redis", "password", "REDISCLI_AUTH", values.secret),
    Key(
        "redis",
        "master_name",
        "",
        values.optional(values.master_name),
        "Sentinel's name for the group; discovered when not given.",
    ),
    Key(
        "redis",
        "announce",
        "",
        values.optional(values.reachable_address),
        "host:port to publish; discovered when not given.",
    ),
    Key("redis", "service", INHERITED, values.service_name, "Takes the place of service.name for this node."),
    Key("redis", "replica", INHERITED, values.service_name_or_none, "Takes the place of replica.name for this node."),
    Key("redis", "timeout", "1s", values.duration("10ms", "1m"), "How long one command may take."),
    Key(
        "redis",
        "patience",
        "3s",
        values.duration("0s", "1m"),
        "Without Sentinel: how long a node that does not answer stays in DNS.",
    ),
    _tls("redis", "ca_file"),
    _tls("redis", "cert_file"),
    _tls("redis", "key_file"),
    Key(
        "fence",
        "mode",
        "watch",
        values.one_of("off", "watch", "on"),
        "Of a master that has lost its authority: watch counts the writes that it takes, on makes it a replica at once.",
    ),
    Key(
        "failover",
        "on_death",
        "off",
        values.one_of("off", "ask"),
        "ask: have Sentinel promote a replica as soon as the master's process is gone, before down-after is over.",
    ),
    Key(
        "failover",
        "on_empty",
        "off",
        values.one_of("off", "ask"),
        "ask: have Sentinel promote a replica before a master that came back empty empties it.",
    ),
    Key(
        "failover",
        "delay",
        "1s",
        values.duration("0s", "1m"),
        "How long a master's process has to be gone: longer than a restart that should move nothing.",
    ),
    Key(
        "http",
        "listen",
        "",
        values.optional(values.address),
        "host:port that serves /metrics, /status and /healthz; nothing when not given.",
    ),
    Key(
        "log",
        "level",
        "info",
        values.one_of("debug", "info", "warning", "error"),
        "Least level that is logged: debug, info, warning or error.",
    ),
    Key(
        "log",
        "format",
        "auto",
        values.one_of("auto", "text", "json"),
        "text, json or auto: text on a terminal and under journald, json elsewhere.",
    ),
)
