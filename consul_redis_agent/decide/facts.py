"""Facts: what was seen outside, when, and nothing else.

Every fact is immutable and carries ``at``, the monotonic second at which it was true at the latest. Watchers make
facts; :mod:`~consul_redis_agent.decide.rules` reads them. A fact is never corrected, only replaced by a newer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Any, NamedTuple

from consul_redis_agent.decide.claim import PUT_DOWN, TOMBSTONES, Claim


def whole(text: str, limit: int) -> int | None:
    """A plain decimal number from 0 to ``limit``; None for all else, of which ``int`` takes or chokes on some."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(limit))):
        return None
    number = int(text)
    return number if number <= limit else None


class Address(NamedTuple):
    """A host (name, IPv4 or IPv6 address without brackets) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port`` or ``[v6]:port``. Raises ValueError with the reason."""
        host, colon, port = text.rpartition(":")
        if not colon or not host:
            raise ValueError(f"{text!r} is not host:port")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r} needs brackets around the IPv6 address")
        number = whole(port, 65535)
        if not number:
            raise ValueError(f"{text!r} needs a port from 1 to 65535")
        return cls(host, number)


class Role(StrEnum):
    """What a Redis node says of itself (``role`` of INFO replication; Redis writes ``slave`` for a replica)."""

    MASTER = "master"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Node:
    """The own Redis node answered INFO."""

    at: float
    run_id: str
    role: Role
    loading: bool = False
    link_up: bool = False
    """A replica's link to its master is up and no full synchronisation is running."""
    lag: float = 0.0
    """A replica: seconds since it last heard from its master (``master_last_io_seconds_ago``)."""
    follows: Address | None = None
    """A replica: the master that it follows."""
    replication_id: str = ""
    turned: float = -inf
    """When this life of the node had turned from replica to master, as far as that was seen; -inf where it was not."""


@dataclass(frozen=True, slots=True)
class Silence:
    """The own Redis node did not answer ``misses`` looks in a row."""

    at: float
    reason: str
    misses: int
    gone: bool = False
    """Nothing listens at the address any more, so a second look would not tell more."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another Redis node answered INFO: the one that holds, or is named for, what the own node wants."""

    at: float
    address: Address
    role: Role
    follows: Address | None
    replication_id: str


@dataclass(frozen=True, slots=True)
class Selection:
    """A Sentinel won the election at ``epoch`` and has selected the node ``run_id`` for promotion."""

    epoch: int
    run_id: str
    at: float = field(default=-inf, compare=False)
    """When that was first seen: what the node said of itself before says nothing of the promotion."""


@dataclass(frozen=True, slots=True)
class Sentinel:
    """One Sentinel's word on one master name, or why it has none."""

    at: float
    id: str
    """Its run id (``SENTINEL MYID``), or its address as long as that is all that is known."""
    address: Address
    error: str = ""
    """Why it has no vote: unreachable, denied, does not know the master name …"""
    gone: bool = False
    """It has no vote because nothing listens at its address."""
    looked: bool = True
    """False as long as the first look is on its way."""
    tilt: bool = False
    master: Address | None = None
    """``SENTINEL GET-MASTER-ADDR-BY-NAME``."""
    epoch: int = -1
    """``config-epoch`` of ``SENTINEL MASTER``."""
    run_ids: Mapping[Address, str] = field(default_factory=dict)
    """The run id that this Sentinel knows at each address of the master and its replicas."""
    peers: Mapping[str, Address] = field(default_factory=dict)
    """The other Sentinels that it knows, by run id."""
    selection: Selection | None = None
    down: bool = False
    """It holds that master for down (``s_down`` or ``o_down``)."""
    promoting: str | None = None
    """Run id of the node that it is promoting in the place of that master, "" if it has not chosen yet; None if no failover
    is in progress."""
    promoting_since: float = -inf
    """Since when that failover has been seen."""

    @property
    def votes(self) -> bool:
        """Whether its word counts at all. TILT: its clock jumped, so it does not trust itself."""
        return not self.error and not self.tilt and self.master is not None


@dataclass(frozen=True, slots=True)
class Entry:
    """A service in Consul's catalog with the state of its checks."""

    node: str
    """The Consul node, not the Redis node."""
    id: str
    name: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    check: Mapping[str, Any] | None = None
    """The role check as the catalog holds it, so that a transaction can write it back changed."""
    passing: bool = False
    """The role check passes, the seal is whole, and it has no tombstone."""
    node_alive: bool = True
    """Consul's gossip (serfHealth) holds the Consul node for alive."""
    maintenance: bool = False
    """An operator has put the service or its Consul node into maintenance."""
    created: int = 0
    """CreateIndex of the service: smaller came first."""
    seal: Mapping[str, Any] | None = None
    """The seal as the catalog holds it; see :data:`consul_redis_agent.publish.entries.SEAL_SUFFIX`."""
    tombstones: tuple[str, ...] = ()
    """Ids of the checks that a successor has added when it put this one down."""

    @property
    def put_down(self) -> bool:
        """Whether a successor has set it critical, rather than its own agent or somebody by hand."""
        return not self.passing and (self.check or {}).get("Output") == PUT_DOWN

    @property
    def rises(self) -> bool:
        """Whether it passes, or its Consul agent, which does not know that it was put down, is about to make it pass."""
        role, seal = self.check or {}, self.seal or {}
        if self.passing or not (self.tombstones or PUT_DOWN in (role.get("Output"), seal.get("Output"))):
            return self.passing
        whole = len(self.tombstones) == TOMBSTONES and seal.get("Status") == "critical"
        # Critical for another reason: that is what its Consul agent holds, and goes on to hold.
        return role.get("Status") == "passing" or (not whole and role.get("Output") == PUT_DOWN)

    @property
    def visible(self) -> bool:
        """Whether DNS answers with it."""
        return self.passing and self.node_alive and not self.maintenance


@dataclass(frozen=True, slots=True)
class Catalog:
    """The entries under one service name."""

    at: float
    """When the answer came. In :attr:`Facts.confirmation`: when it was asked for, so that it is true of no earlier time."""
    index: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """What a decision hands on to the next one."""

    confirmed: float = -inf
    """When a majority of Sentinels or Consul's servers last confirmed the own claim."""
    held: Claim | None = None
    """The own claim, if it was published with Sentinel's backing and not withdrawn since."""
    heard: float = -inf
    """When the leader behind the own early claim last said that it promotes the own node."""
    spent: int = -1
    """The newest epoch at which an early claim was withdrawn: at this one only a majority brings a claim back."""
    outvoted: float = inf
    """Since when a majority of Sentinels has been seen to stand by another node than the own one, which holds a claim."""


NOTHING = Memory()
"""What a process remembers at its start."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that one decision about one Redis node rests on."""

    now: float
    node: Node | Silence | None = None
    """None: not looked at yet."""
    me: frozenset[Address] = frozenset()
    """The addresses under which others may know the own node."""
    sentinels: tuple[Sentinel, ...] = ()
    known: int = 0
    """How many Sentinels there are, in reach or not: the majority is more than half of these."""
    searching: bool = False
    """Sentinels are still being looked for, so their absence says nothing yet."""
    catalog: Catalog | None = None
    """What Consul showed last: its servers, or its agent on this host from its own view. None: nothing yet."""
    confirmation: Catalog | None = None
    """What the leader of Consul's servers answered last when it was asked by itself (``?consistent``)."""
    own: tuple[str, str] = ("", "")
    """Consul node (empty as long as it is not known) and service id of the own entry, whether it exists or not."""
    master_name: str = ""
    peer: Peer | None = None
    memory: Memory = NOTHING
    boot: str = ""
    """:func:`consul_redis_agent.clock.boot`, by which an own early claim of an earlier run tells its age."""
    early_since: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Since when each early claim of another node has been seen, by Consul node and service id."""
    put_down: float = inf
    """Since when the own entry has been seen put down by a successor, -inf where that was an early claim; infinite while
    it is not."""
    newest_seen: int = -1
    """The newest epoch of another node's live claim, early ones aside, that was seen lately."""
    newest_seen_at: float = -inf
    """When it was seen last."""
    standing: float = inf
    """Since when the own entry has been seen with a claim that does not pass; infinite while it is not."""
