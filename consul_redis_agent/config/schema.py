"""Every key of the configuration, once: its default, how it is read, where else it may come from, what it is for.

The parser, the refusal of unknown keys, the command line's flags and the test of the example file all follow from this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consul_redis_agent.config import values
from consul_redis_agent.config.values import Reader

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


PREFIX = "CRA_"

REFUSED = {
    "VALKEYCLI_AUTH": "valkey-cli reads it, this agent does not: set REDISCLI_AUTH, or CRA_REDIS_PASSWORD for one node",
}
"""What Consul's, Redis' and Valkey's own tools read, would change what the agent does, and is not honoured; and why.

Of what they read besides, CONSUL_GRPC_…, REDISCLI_RCFILE, REDISCLI_HISTFILE, REDISCLI_CLUSTER_YES and FAKETTY are of other
things than the agent does. Proxies (HTTP_PROXY) it never uses: the Consul agent is its neighbour.
"""


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``default`` is written as in the file; ``read`` turns what is written into the value."""

    table: str
    name: str
    default: object
    read: Reader[Any]
    doc: str
    tools: str = ""
    """What Consul's or Redis' own tools call it in the environment."""
    in_file: bool = True
    has_flag: bool = True
    has_own: bool = True
    """Whether it has a name of its own in the environment."""
    empty_counts: bool = False
    """Whether "" there is a value rather than nothing."""

    @property
    def dotted(self) -> str:
        """``consul.token_file``"""
        return f"{self.table}.{self.name}"

    @property
    def flag(self) -> str:
        """``--consul-token-file``"""
        return f"--{self.table}-{self.name}".replace("_", "-")

    @property
    def env(self) -> str:
        """``CRA_CONSUL_TOKEN_FILE``; "" for a key that only the names of others set."""
        return f"{PREFIX}{self.table}_{self.name}".upper() if self.has_own else ""

    @property
    def is_list(self) -> bool:
        """Whether its flag takes several values, with commas between."""
        return isinstance(self.default, list)

    def parse(self, text: str) -> object:
        """What a flag or the environment says, as the file would have it. Raises ValueError."""
        match self.default:
            case bool():
                return values.truth_in(text)
            case list():
                return values.items_in(text)
            case dict():
                return values.pairs_in(text)
        return text


def _tls(table: str, server: str, **tools: str) -> tuple[Key, ...]:
    """How a server proves who it is, and what is shown to it."""

    def key(name: str, read: Reader[Any], doc: str) -> Key:
        return Key(table, name, "", values.optional(read), doc, tools=tools.get(name, ""))

    return (
        key(
            "ca_file", values.tls_file, f"File of the authorities that {server} is certified by; without, the system's."
        ),
        key(
            "cert_file",
            values.tls_file,
            f"File of the certificate that is shown to {server}; read again when it changes.",
        ),
        key("key_file", values.tls_file, "File of its key, where that is not in cert_file."),
        key(
            "server_name",
            values.server_name,
            f"The name in {server}'s certificate, where it is another than the host's.",
        ),
    )


def _environment(
    table: str, name: str, read: Reader[Any], doc: str, *, tools: str = "", default: object = "", has_own: bool = False
) -> Key:
    """A value that only the environment gives."""
    return Key(table, name, default, read, doc, tools=tools, in_file=False, has_flag=False, has_own=has_own)


KEYS = (
    Key("consul", "url", "http://127.0.0.1:8500", values.consul_url, "Consul's HTTP API.", tools="CONSUL_HTTP_ADDR"),
    Key(
        "consul",
        "token_file",
        "",
        values.optional(values.secret_file),
        "File of the ACL token; read again when it changes.",
        tools="CONSUL_HTTP_TOKEN_FILE",
    ),
    _environment(
        "consul",
        "token",
        values.optional(values.secret),
        "The ACL token itself.",
        tools="CONSUL_HTTP_TOKEN",
        has_own=True,
    ),
    _environment(
        "consul",
        "auth",
        values.optional(values.basic_auth),
        "user or user:password of HTTP's basic authentication.",
        tools="CONSUL_HTTP_AUTH",
    ),
    *_tls(
        "consul",
        "Consul",
        ca_file="CONSUL_CACERT",
        cert_file="CONSUL_CLIENT_CERT",
        key_file="CONSUL_CLIENT_KEY",
        server_name="CONSUL_TLS_SERVER_NAME",
    ),
    _environment(
        "consul",
        "ca_path",
        values.optional(values.tls_file),
        "Folder of authorities, named by their hashes; ca_file beats it.",
        tools="CONSUL_CAPATH",
    ),
    _environment(
        "consul", "ssl", values.truth, "true reads http in consul.url as https.", tools="CONSUL_HTTP_SSL", default=False
    ),
    _environment(
        "consul",
        "verify",
        values.truth,
        "false takes any certificate: whoever is in between can read and change everything.",
        tools="CONSUL_HTTP_SSL_VERIFY",
        default=True,
    ),
    Key("consul", "timeout", "2s", values.duration("50ms", "1m"), "How long one request may take."),
    Key("consul", "dns", "127.0.0.1:8600", values.address, "Consul's DNS; used by resolve, check, failover and demo."),
    Key(
        "consul",
        "domain",
        "",
        values.optional(values.domain),
        "Domain of Consul's DNS; learned from Consul when not given.",
    ),
    Key(
        "consul",
        "namespace",
        "",
        values.optional(values.tenancy),
        "Namespace of the entries, in Consul Enterprise.",
        tools="CONSUL_NAMESPACE",
    ),
    Key(
        "consul",
        "partition",
        "",
        values.optional(values.tenancy),
        "Partition of the Consul agent, in Consul Enterprise.",
        tools="CONSUL_PARTITION",
    ),
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
        empty_counts=True,
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
    _environment(
        "sentinel", "password", values.optional(values.secret), "The Sentinels' password itself.", has_own=True
    ),
    Key("sentinel", "tls", False, values.truth, "Whether the Sentinels speak TLS: true or false."),
    *_tls("sentinel", "a Sentinel"),
    Key("redis", "url", "redis://127.0.0.1:6379", values.redis_url, "Where the node is reached."),
    Key("redis", "username", "", values.username, "ACL user on the node."),
    Key(
        "redis",
        "password_file",
        "",
        values.optional(values.secret_file),
        "File of the node's password; read again at each login.",
    ),
    _environment(
        "redis",
        "password",
        values.optional(values.secret),
        "The node's password itself; REDISCLI_AUTH is that of every node.",
        tools="REDISCLI_AUTH",
        has_own=True,
    ),
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
    Key(
        "redis",
        "replica",
        INHERITED,
        values.service_name_or_none,
        "Takes the place of replica.name for this node.",
        empty_counts=True,
    ),
    Key("redis", "timeout", "1s", values.duration("10ms", "1m"), "How long one command may take."),
    Key(
        "redis",
        "patience",
        "3s",
        values.duration("0s", "1m"),
        "Without Sentinel: how long a node that does not answer stays in DNS.",
    ),
    *_tls("redis", "a node"),
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
        "host:port that serves a page, /metrics, /status, /history, and what load balancers ask; nothing when not given.",
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
