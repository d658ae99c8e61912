"""Commands that mend, as they can be run in a shell. Pure."""

from __future__ import annotations

import shlex

from consul_redis_agent.config import RedisConfig
from consul_redis_agent.decide.facts import Address


def redis_cli(redis: RedisConfig, *, valkey: bool = False) -> str:
    """``redis-cli`` or ``valkey-cli`` with where the node is; a login is the operator's."""
    at = ["-s", str(redis.path)] if redis.path else ["-h", redis.host, "-p", str(redis.port)]
    return shlex.join(["valkey-cli" if valkey else "redis-cli", *at, *(["--tls"] if redis.tls else [])])


def sentinel_cli(address: Address, *, tls: bool = False) -> str:
    """``redis-cli`` with where a Sentinel is."""
    return shlex.join(["redis-cli", "-h", address.host, "-p", str(address.port), *(["--tls"] if tls else [])])


def config_set(cli: str, *, lasts: bool, **settings: object) -> str:
    """Set these on the running server and, where it ``lasts`` (it has a configuration file), write them there.

    ``min_replicas_to_write=1`` is ``min-replicas-to-write 1``.
    """
    sets = [f"{cli} CONFIG SET {name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in settings.items()]
    return " && ".join([*sets, *([f"{cli} CONFIG REWRITE"] if lasts else [])])


def sentinel_set(cli: str, name: str, option: str, value: object) -> str:
    """Set an option of a master on one Sentinel, which writes it down by itself."""
    return f"{cli} SENTINEL SET {shlex.quote(name)} {option} {shlex.quote(str(value))}"
