"""The names under which Consul's DNS shows services. Pure."""

from __future__ import annotations

from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.consul.api import place_of
from consul_redis_agent.text import is_host

USUAL = "consul"
"""Consul's own default for its domain."""


def name_of(config: Config, redis: RedisConfig, domain: str = "") -> str:
    """The name under which applications find the master; ``domain`` where the configuration has none."""
    return ("master." if config.service.mode == "tags" else "") + within(config, redis.service, domain)


def within(config: Config, service: str, domain: str = "") -> str:
    """A service's name in Consul's DNS, with Enterprise's namespace and partition where they are set."""
    return f"{service}.service{place_of(config.consul).labels}.{config.consul.domain or domain or USUAL}"


def domain_in(answer: object) -> str:
    """The domain in what ``/v1/agent/self`` answers, without a dot at its end; "" where there is none."""
    match answer:
        case {"DebugConfig": {"DNSDomain": str(given)}} if is_host(domain := given.strip(".")):
            return domain
    return ""
