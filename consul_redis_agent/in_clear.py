"""Which passwords and tokens would cross a network in clear text, and which certificates nobody checks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from consul_redis_agent import names
from consul_redis_agent.config import Config, RedisConfig, SentinelConfig
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.decide.identity import is_loopback
from consul_redis_agent.marked import event

log = logging.getLogger(__name__)

UNCHECKED = "certificates are not checked, so whoever stands between can read the secrets and forge every answer"


@dataclass(frozen=True, slots=True)
class Exposed:
    """One finding: what is open to whoever listens, and what to do."""

    topic: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what}; {self.mend}"


def exposed(config: Config, sentinels: Collection[Address] = (), peers: Collection[Address] = ()) -> Iterator[Exposed]:
    """What the configuration exposes; with what was learned, ``sentinels`` and the other Redis nodes, also towards them."""
    yield from _consul(config)
    yield from _redis(config, peers)
    yield from _sentinels(config, sentinels)


def _consul(config: Config) -> Iterator[Exposed]:
    consul = config.consul
    parts = urlsplit(consul.url)
    host = parts.hostname or ""
    secrets = {
        "the ACL token": consul.token or consul.token_file,
        "the password in CONSUL_HTTP_AUTH": consul.auth,
    }
    open_ = [what for what, given in secrets.items() if given]
    if parts.scheme == "http" and open_ and not is_here(host):
        what = f"{' and '.join(open_)} would cross the network to {host} in clear text"
        yield Exposed("consul", what, "set https:// in consul.url, or ask a Consul agent on this host")
    if parts.scheme == "https" and consul.tls and not consul.tls.verify:
        yield Exposed("consul", UNCHECKED, "take CONSUL_HTTP_SSL_VERIFY=false out, and set consul.ca_file")


def _redis(config: Config, peers: Collection[Address]) -> Iterator[Exposed]:
    for redis in config.redis:
        topic = f"redis {redis.path or f'{redis.host}:{redis.port}'}"
        if redis.tls and not redis.tls.verify:
            yield Exposed(topic, UNCHECKED, "set redis.ca_file")
        if redis.tls or not (redis.password or redis.password_file):
            continue
        if redis.host and not is_here(redis.host):
            what = f"its password would cross the network to {redis.host} in clear text"
            yield Exposed(topic, what, "set rediss:// in redis.url, or run the agent on that host")
        elif away := next((peer for peer in peers if not is_here(peer.host)), None):
            what = f"its password would cross the network in clear text to the group's other Redis nodes, as to {away}"
            yield Exposed(topic, what, "set rediss:// in redis.url, with tls-port in Redis")


def _sentinels(config: Config, learned: Collection[Address]) -> Iterator[Exposed]:
    sentinel = config.sentinel
    if sentinel.tls and not sentinel.tls.verify:
        yield Exposed("sentinel", UNCHECKED, "set sentinel.ca_file")
    if sentinel.tls or not (sentinel.password or sentinel.password_file):
        return
    if away := next((at for at in (*sentinel.hosts, *learned) if not is_here(at.host)), None):
        what = f"the Sentinels' password would cross the network in clear text, as to {away}"
        yield Exposed("sentinel", what, "set sentinel.tls = true, with tls-port in the Sentinels")


def is_here(host: str) -> bool:
    """Whether what is sent there does not leave this host, as far as an address tells; a name may be anywhere."""
    return is_loopback(host) or names.is_of_this_host(host)


class Warnings:
    """Says each once: one configuration's are said at its begin, and when somebody is learned whom they concern."""

    def __init__(self, config: Config) -> None:
        self._config, self._said = config, set[str]()
        servers: list[RedisConfig | SentinelConfig] = [config.sentinel, *config.redis]
        self.may_grow = any(not one.tls and (one.password or one.password_file) for one in servers)
        """Whether anybody who is learned could add something: else :meth:`learned` has nothing to say."""

    def begin(self) -> None:
        """Say what the configuration shows by itself."""
        self._say(exposed(self._config))

    def learned(self, sentinels: Collection[Address], peers: Collection[Address]) -> None:
        """Say what they add: Sentinels that were heard of, and other Redis nodes that are asked."""
        self._say(exposed(self._config, sentinels, peers))

    def _say(self, found: Iterable[Exposed]) -> None:
        for one in found:
            # Of all that are learned, and of a hundred nodes, the first is enough.
            kind = one.what.partition(", as to ")[0].partition(" in clear text to the group")[0]
            if kind not in self._said:
                self._said.add(kind)
                log.warning("%s", one, extra=event("in_clear", what=str(one)))
