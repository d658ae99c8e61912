"""Facts: what was seen outside, when, and nothing else.

Every fact is immutable. Its ``at`` is the time, in seconds of :func:`consul_redis_agent.clock.clock`, at which it was
asked for, unless said: it was true no earlier than that. Watchers make facts, the rules read them. A fact is never
corrected, only replaced by a newer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Address
from math import inf
from typing import Any, NamedTuple, Self

from consul_redis_agent.decide.claim import Claim


def whole(text: str, limit: int) -> int | None:
    """A plain decimal number from 0 to ``limit``; otherwise None. ``int`` would accept some of those and choke on others."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(limit))):
        return None
    number = int(text)
    return number if number <= limit else None


def canonical(host: str) -> str:
    """The one spelling of a host: two that are equal mean the same, whoever wrote them.

    An IPv6 address as RFC 5952 writes it; one that is mapped from IPv4 as that; without a zone, which is of meaning on one
    host only, but for a link-local address, which nobody reaches without. A name in lower case, without the root's dot.
    """
    if ":" in host:
        return _canonical_ipv6(host)
    host = host.lower()
    return host[:-1] if host.endswith(".") and host != "." else host


@lru_cache(maxsize=1024)
def _canonical_ipv6(host: str) -> str:
    plain, mark, zone = host.partition("%")
    try:
        address = IPv6Address(plain)
    except ValueError:
        return host.lower()
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else f"{address}{mark}{zone}" if address.is_link_local else str(address)


class _Place(NamedTuple):
    host: str
    port: int


class Address(_Place):
    """A host (name, IPv4 or IPv6 address without brackets) and a TCP port. The host is written in one way: :func:`canonical`."""

    __slots__ = ()

    def __new__(cls, host: str, port: int) -> Self:
        """Make one of any spelling."""
        return super().__new__(cls, canonical(host), port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port`` or ``[v6]:port``. Raises ValueError with the reason."""
        host, colon, port = text.rpartition(":")
        if not colon or not host:
            raise ValueError(f"{text[:80]!r} is not host:port")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text[:80]!r} needs brackets around the IPv6 address")
        number = whole(port, 65535)
        if not number:
            raise ValueError(f"{text[:80]!r} needs a port from 1 to 65535")
        return cls(host, number)


class Role(StrEnum):
    """What a Redis node says of itself (``role`` of INFO replication; Redis writes ``slave`` for a replica)."""

    MASTER = "master"
    REPLICA = "replica"


Key = tuple[str, str]
"""A Consul node and a service id on it."""


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
    """A replica: seconds since it last heard from its master, or lost it; infinite if this life of it never was in sync."""
    follows: Address | None = None
    """A replica: the master that it follows."""
    replication_id: str = ""
    serves: bool = True
    """A replica: it answers reads now, also with its link down, and with whole data: no full synchronisation is running."""
    announced: bool = True
    """A replica: others may see it (``replica-announced``)."""
    turned: float = -inf
    """When this life of the node had turned from replica to master, as far as that was seen; -inf where it was not."""
    master_since: float = -inf
    """When it turned, or since when it has been seen to be a master; -inf where its life began as one."""
    empty: bool | None = None
    """It holds no key; None where nobody asked."""
    offset: int = field(default=0, compare=False)
    """How much of its master's history, or of its own, it has: bytes."""
    former_id: str = ""
    """Whose history it has read from disk, or had before it was promoted (``master_replid2``)."""
    changes: int = field(default=0, compare=False)
    """How many keys were changed since it last wrote them to disk."""
    version: tuple[int, ...] = ()
    """Of Redis, or of the Redis that Valkey says it is like."""
    hands_over: bool = False
    """It gives the master's part to a replica just now (``master_failover_state``): still a master, or just a replica."""
    relieved: float = -inf
    """A replica: when this life of it was relieved of the master's part, as far as that was seen, by one that goes on with
    its history; -inf where it was not."""


@dataclass(frozen=True, slots=True)
class Silence:
    """The own Redis node did not answer ``misses`` looks in a row."""

    at: float
    reason: str
    misses: int
    gone: bool = False
    """Nothing listens at the address any more, so there is no point in a second look."""
    refused: bool = False
    """Connections are refused there and at the published address: its process is gone."""
    answered: float = -inf
    """When it was asked last and did answer: decisions are rarer than looks."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What another Redis node said when it was asked: the one that holds the claim the own node wants, or that Sentinel
    names in its place.
    """

    at: float
    address: Address
    role: Role | None
    """None: it did not answer."""
    follows: Address | None = None
    replication_id: str = ""
    run_id: str = ""
    offset: int = 0
    """As that of :class:`Node`."""
    empty: bool | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """A Sentinel won the election at ``epoch`` and has selected the node ``run_id`` for promotion."""

    epoch: int
    run_id: str
    at: float = field(default=-inf, compare=False)
    """When that was first seen: a role reported before this moment says nothing about the promotion."""


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A Sentinel won the election at ``epoch`` and has selected a node that it does not list (``replica-announced no``)."""

    address: Address
    epoch: int
    at: float = field(default=-inf, compare=False)
    """When it said so."""


@dataclass(frozen=True, slots=True)
class Sentinel:
    """One Sentinel's word on one master name, or why it has none."""

    at: float
    id: str
    """Its run id (``SENTINEL MYID``), or its address as long as that is all that is known."""
    address: Address
    process: str = ""
    """The run id of its process, as far as it is told: two with one :attr:`id` are no one Sentinel."""
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
    """The run id that this Sentinel knows at each address of the master and its replicas; "" before it has heard it."""
    peers: Mapping[str, Address] = field(default_factory=dict)
    """The other Sentinels that it knows, by run id."""
    selection: Selection | None = None
    unlisted: Unlisted | None = None
    """Whom it has selected instead, where it lists nobody as selected."""
    quorum: int = 0
    """How many have to agree, by its configuration, that the master is down."""
    down: bool = False
    """It considers that master down (``s_down`` or ``o_down``)."""
    promoting: str | None = None
    """Run id of the node it is promoting; "" if it has not chosen yet; None if no failover is in progress."""
    promoting_since: float = -inf
    """Since when that failover has been seen."""
    coordinated: bool = False
    """In that failover the master lets writes wait by itself (Valkey 9)."""
    disconnected: bool = False
    """It has lost its connection to that master."""
    lost: frozenset[Address] = frozenset()
    """Where it considers the master or a replica down, or has no connection to it."""
    usable: frozenset[Address] = frozenset()
    """The replicas that it could promote: up, linked to the master, with a priority."""
    reaches: int = 0
    """How many other Sentinels it is connected to."""
    down_after: float = 0.0
    """Seconds without an answer after which it holds a node for down; 0: not told."""
    failover_timeout: float = 0.0
    """Seconds between two failovers that it begins by itself; 0: not told."""
    switched: float = field(default=-inf, compare=False)
    """Since when it has known that master as one: since the last failover, or its own start."""

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
    address: Address
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    marked: bool = False
    """It carries the mark of this tool."""
    claim: Claim | None = None
    """The claim that it carries; without :attr:`says_master` the last claim of a node that is a replica now."""
    says_master: bool = False
    """Its role check is that of a master."""
    pending: bool = False
    """It is a group's first claim that has not passed yet."""
    group: str = ""
    """The group id that it carries; "" where a former version wrote it."""
    agent: str = ""
    """The id of the agent that wrote it; "" where a former version did."""
    run_id: str = ""
    """The run id of the Redis node that it stands for, likewise."""
    master_name: str = ""
    passing: bool = False
    """The role check passes, the seal is whole, and it has no tombstone."""
    rises: bool = False
    """True if it is passing, or if its Consul agent (unaware of the eviction) is about to make it pass again."""
    evicted: bool = False
    """A successor, not its own agent or an operator, set the claim that it carries critical."""
    node_alive: bool = True
    """Consul's gossip (serfHealth) holds the Consul node for alive."""
    maintenance: bool = False
    """An operator has put the service or its Consul node into maintenance."""
    critical: tuple[str, ...] = ()
    """Other checks of the service or its Consul node that are critical, such as that of a full disk: DNS leaves it out."""
    warning: tuple[str, ...] = ()
    """The same of those that warn: DNS leaves it out where ``dns_config.only_passing`` is set."""
    created: int = 0
    """CreateIndex of the service: smaller came first."""
    index: int | None = 0
    """ModifyIndex of the role check, 0 where there is none; None: unknown since this agent wrote it."""
    role_check: Mapping[str, Any] | None = None
    """As the catalog holds it, so that a transaction can write it back changed."""
    seal: Mapping[str, Any] | None = None
    """The same for the seal, the check that is critical after the Consul agent has restarted."""
    tombstones: tuple[str, ...] = ()
    """Ids of the checks that a successor added when it evicted this entry."""

    def __str__(self) -> str:
        return f"{self.address} on {self.node}"

    @property
    def key(self) -> Key:
        """What tells it from every other entry."""
        return self.node, self.id

    @property
    def live(self) -> bool:
        """It shows a master, but for an operator's maintenance, which does not change who is master."""
        return self.passing and self.node_alive and self.says_master

    @property
    def visible(self) -> bool:
        """Whether DNS answers with it, as far as this tool's checks, gossip and maintenance go."""
        return self.passing and self.node_alive and not self.maintenance

    def hidden_by(self, *, only_passing: bool | None = None) -> tuple[str, ...]:
        """The other checks for which DNS leaves it out all the same."""
        return self.critical + (self.warning if only_passing else ())


@dataclass(frozen=True, slots=True)
class Catalog:
    """The entries under one service name."""

    at: float
    """When the answer came. In :attr:`Facts.confirmation`: when it was asked for."""
    index: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that one decision about one Redis node rests on, but for what is remembered."""

    now: float
    node: Node | Silence | None = None
    """None: not looked at yet."""
    me: frozenset[Address] = frozenset()
    """The addresses under which others may know the own node."""
    address: Address | None = None
    """The address to publish; None: none is known that other hosts could use."""
    sentinels: tuple[Sentinel, ...] = ()
    watched: int = 0
    """How many Sentinels are being watched, whether one of them has ever answered or not."""
    searching: bool = False
    """Sentinels are still being looked for, so their absence says nothing yet."""
    catalog: Catalog | None = None
    """What Consul showed last: its servers, or its agent on this host from its own view. None: nothing yet."""
    confirmation: Catalog | None = None
    """What the leader of Consul's servers answered last when it was asked by itself (``?consistent``)."""
    own: Key = ("", "")
    """Consul node (empty as long as it is not known) and service id of the own entry, whether it exists or not."""
    master_name: str = ""
    peer: Peer | None = None
    boot: str = ""
    """:func:`consul_redis_agent.clock.boot`, by which an own early claim of an earlier run tells its age."""
    configured: frozenset[Address] = frozenset()
    """``sentinel.hosts``."""
    heard: tuple[Address, ...] = ()
    """Where the Sentinels are that have lately said hello on the own node, once a whole hello period was listened to."""
    unheard: str = ""
    """Why their hellos may not be heard, so that their absence says nothing at all."""
    refused: int = 0
    """How many logins the own node has refused while nobody said hello: Sentinels with a wrong password are among those."""
    names: frozenset[str] = frozenset()
    """The master names of which hellos were heard on the own node; more than one is said."""
    agent: str = ""
    """The id of this agent, which outlives its restart."""
    shared: bool = False
    """Agents of other hosts may use the same Consul agent, so an own service id may be another agent's as well."""
    other_agent: str = ""
    """Another agent of this host that looks after the own node under the same service name."""
    elsewhere: tuple[Entry, ...] = ()
    """All entries, under any of the own names, but the own ones."""

    @property
    def own_entry(self) -> Entry | None:
        """The own entry, where the catalog shows it."""
        return next((e for e in self.catalog.entries if e.key == self.own), None) if self.catalog else None

    @property
    def asked(self) -> float:
        """When the question was put that Consul's servers answered last; -inf where they never did."""
        return self.confirmation.at if self.confirmation else -inf
