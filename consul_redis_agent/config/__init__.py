"""The configuration: read from a TOML file, the environment and flags; checked whole; immutable from then on.

    schema.py     every key, once
    values.py     what a value must look like
    load.py       file + environment + flags → Config, or every mistake at once
    shape.py      Config and its parts
    durations.py  "1m30s"
    secret.py     passwords and tokens
    file.py       the files that hold all these

A flag beats the environment, which beats the file, which beats the default.
"""

from __future__ import annotations

from consul_redis_agent.config.durations import format_duration, parse_duration
from consul_redis_agent.config.load import load
from consul_redis_agent.config.secret import Secret, read_secret
from consul_redis_agent.config.shape import (
    Config,
    ConsulConfig,
    FailoverConfig,
    FenceConfig,
    HttpConfig,
    LogConfig,
    RedisConfig,
    ReplicaConfig,
    SentinelConfig,
    ServiceConfig,
    TlsConfig,
)

__all__ = [
    "Config",
    "ConsulConfig",
    "FailoverConfig",
    "FenceConfig",
    "HttpConfig",
    "LogConfig",
    "RedisConfig",
    "ReplicaConfig",
    "Secret",
    "SentinelConfig",
    "ServiceConfig",
    "TlsConfig",
    "format_duration",
    "load",
    "parse_duration",
    "read_secret",
]
