"""Fleets of real processes on this machine, and a witness that judges what DNS says about them."""

from __future__ import annotations

from consul_redis_agent.commands.demo.process import (
    SCALE,
    MissingProgram,
    NotInTime,
    ProcessDied,
    consul_version,
    program,
    until,
)

from .agent_node import AgentNode
from .certificates import Certificates, Pair
from .consul_node import ConsulNode, consul_streams
from .fleet import Fleet
from .hosts import Host, NetworkHost, may_build_networks
from .process import CHECKOUT, Process
from .redis_node import RedisNode, SentinelNode
from .rights import Rights
from .servers import ON_PATH, REDIS_6_2, SERVERS, VALKEY_9_1, Server, server
from .witness import Seen, Witness

__all__ = [
    "CHECKOUT",
    "ON_PATH",
    "REDIS_6_2",
    "SCALE",
    "SERVERS",
    "VALKEY_9_1",
    "AgentNode",
    "Certificates",
    "ConsulNode",
    "Fleet",
    "Host",
    "MissingProgram",
    "NetworkHost",
    "NotInTime",
    "Pair",
    "Process",
    "ProcessDied",
    "RedisNode",
    "Rights",
    "Seen",
    "SentinelNode",
    "Server",
    "Witness",
    "consul_streams",
    "consul_version",
    "may_build_networks",
    "program",
    "server",
    "until",
]
