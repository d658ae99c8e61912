"""Fleets of real processes on this machine, and a witness that judges what DNS says about them."""

from __future__ import annotations

from .agent_node import AgentNode
from .consul_node import ConsulNode, consul_streams, consul_version
from .fleet import Fleet
from .hosts import Host, NetworkHost, may_build_networks
from .process import MissingProgram, Process, ProcessDied
from .redis_node import RedisNode, SentinelNode
from .until import SCALE, NotInTime, until
from .witness import Seen, Witness

__all__ = [
    "SCALE",
    "AgentNode",
    "ConsulNode",
    "Fleet",
    "Host",
    "MissingProgram",
    "NetworkHost",
    "NotInTime",
    "Process",
    "ProcessDied",
    "RedisNode",
    "Seen",
    "SentinelNode",
    "Witness",
    "consul_streams",
    "consul_version",
    "may_build_networks",
    "until",
]
