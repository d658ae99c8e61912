"""The rights that a fleet runs under: to the letter those that ``config/`` ships for the agent, the makers' least for the others.

Everybody else is shut out: Redis' ``default`` user is off, Consul denies by default. Whoever runs the fleet, and the
witness, log in as an administrator.
"""

from __future__ import annotations

import re
import secrets
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_CONFIG: Final = Path(__file__).parents[2] / "config"
AGENT: Final = "consul-redis-agent"
"""The user that the shipped file names."""
ADMIN: Final = "admin"

_REPLICA = "-@all +psync +replconf +ping"
"""What Redis' documentation gives a replica at its master (``masteruser``)."""
_SENTINEL = (
    "allchannels -@all +multi +slaveof +replicaof +ping +exec +subscribe +config|rewrite +role +publish +info "
    "+client|setname +client|kill +script|kill"
)
"""What it gives Sentinel on the nodes (``sentinel auth-user``)."""
_COORDINATES = "+failover"
"""Sentinel needs it besides for Valkey's coordinated failover."""
_PEER = "allchannels -@all +auth +hello +ping +publish +client|setname +sentinel|is-master-down-by-addr"
"""What one Sentinel asks of another (``sentinel sentinel-user``)."""

CONSUL_AGENT = 'node "{name}" {{ policy = "write" }} service_prefix "" {{ policy = "read" }}'
"""What Consul's documentation gives the Consul agent itself, which syncs its node."""
CONSUL_DNS = 'node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }'
"""What it gives DNS."""


@dataclass(frozen=True)
class Rights:
    """``fence``, ``failover``: with the rights that stand apart in the shipped file, for agents that are set to these."""

    fence: bool = False
    failover: bool = False
    admin_password: str = field(default_factory=lambda: secrets.token_hex(16))
    agent_password: str = field(default_factory=lambda: secrets.token_hex(16))
    """The agent's on Redis."""
    sentinel_password: str = field(default_factory=lambda: secrets.token_hex(16))
    """The agent's on the Sentinels."""
    own_password: str = field(default_factory=lambda: secrets.token_hex(16))
    """Of replicas and Sentinels among each other."""
    consul_admin: str = field(default_factory=lambda: str(uuid.uuid4()))

    def redis(self) -> list[tuple[str, str]]:
        """The lines of a Redis node's file."""
        return [
            *self._users(redis_rights(fence=self.fence), self.agent_password),
            ("user", f"replica on >{self.own_password} {_REPLICA}"),
            ("user", f"sentinel on >{self.own_password} {_SENTINEL} {_COORDINATES}"),
            ("masteruser", "replica"),
            ("masterauth", self.own_password),
        ]

    def sentinel(self) -> list[tuple[str, str]]:
        """The lines of a Sentinel's file, but for those of one master."""
        return [
            *self._users(sentinel_rights(failover=self.failover), self.sentinel_password),
            ("user", f"peer on >{self.own_password} {_PEER}"),
            ("sentinel sentinel-user", "peer"),
            ("sentinel sentinel-pass", self.own_password),
        ]

    def sentinel_at(self, master_name: str) -> list[tuple[str, str]]:
        """How it logs in at the nodes of a master name."""
        return [
            ("sentinel auth-user", f"{master_name} sentinel"),
            ("sentinel auth-pass", f"{master_name} {self.own_password}"),
        ]

    def _users(self, rights: str, password: str) -> list[tuple[str, str]]:
        return [
            ("user", "default off"),
            ("user", f"{ADMIN} on >{self.admin_password} ~* allchannels +@all"),
            ("user", f"{AGENT} on >{password} {rights}"),
        ]


def consul_rules() -> str:
    """The policy that ``config/consul-policy.hcl`` ships, as it is."""
    return (_CONFIG / "consul-policy.hcl").read_text()


def redis_rights(*, fence: bool = False) -> str:
    """The rights of the agent's user on Redis, without its password."""
    basic, _ = _basic()
    return " ".join([basic, *(_apart()[0] if fence else ())])


def sentinel_rights(*, failover: bool = False) -> str:
    """The rights of the agent's user on a Sentinel, without its password."""
    _, basic = _basic()
    return " ".join([basic, *(_apart()[1] if failover else ())])


def _shipped() -> str:
    return (_CONFIG / "redis-acl.conf").read_text()


def _basic() -> tuple[str, str]:
    found = re.findall(rf"^#?user {AGENT} on >CHANGE-ME (.*)$", _shipped(), re.MULTILINE)
    node, sentinel = map(str, found)
    return node, sentinel


def _apart() -> tuple[list[str], list[str]]:
    found = re.findall(rf"^#ACL SETUSER {AGENT} (.*)$", _shipped(), re.MULTILINE)
    fence, failover = (str(rights).split() for rights in found)
    return fence, failover
