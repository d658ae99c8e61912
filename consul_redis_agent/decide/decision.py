"""What a decision is: its verdict, its reason, and what it asks for. And what the configuration says about decisions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.facts import Address, Entry


class Verdict(StrEnum):
    """What the own node is published as."""

    MASTER = "master"
    REPLICA = "replica"
    NONE = "none"
    PENDING = "pending"
    """The claim is recorded and does not pass yet."""
    KEEP = "keep"
    """Not enough is known to change anything: leave the entry alone and do not renew its TTL."""


class Reason(StrEnum):
    """Why, as a closed set; the value is what logs, metrics and ``status`` show."""

    NAMED = "named by a majority of Sentinels"
    SELECTED = "selected by the elected leader"
    CONFIRMED = "newest claim, confirmed by Consul"
    HANDED_OVER = "the named master follows this node"
    FIRST = "first claim of the group; checking for a competing one"
    INCUMBENT = "no Sentinel and no other claim"
    FOLLOWED = "the former master follows this node"
    PATIENT = "Redis does not answer, and is not held for down"

    REPLICATES = "replicating"

    SILENT = "Redis does not answer"
    LOADING = "Redis is loading its data"
    EMPTY = "Redis came back without its data"
    LINK_DOWN = "the link to the master is down"
    HIDDEN = "not to be seen (replica-announced no)"
    LAGGING = "too far behind the master"
    NEWER_CLAIM = "another node holds a newer claim"
    OUTVOTED = "Sentinel names another node"
    EARLY_OVER = "the early claim is over, and no majority of Sentinels names this node"
    FAILING_OVER = "Sentinel is failing this node over, or considers it down"
    UNBACKED = "no majority of Sentinels names this node"
    REFUSED = "another node says master already and holds the claim"
    STRANGER = "another group holds this service name"
    NO_ADDRESS = "no address is known that others could use"
    LEASE_OVER = "neither Sentinel nor Consul has confirmed the claim within the TTL"

    UNSEEN = "Redis has not been looked at yet"
    MISSED = "one look at Redis failed"
    OTHER_AGENT = "another agent looks after this node"
    SEARCHING = "still looking for Sentinels"
    EVICTED = "the claim was evicted; waiting for its successor to appear"
    NO_CATALOG = "Consul has not shown the other claims yet"
    UNTOLD = "it is not known yet whose claims these are"
    GIVING_WAY = "Sentinel names another node, which is about to claim"
    RELIEVED = "another node has taken over, and is about to claim"
    ASKING_LEADER = "the elected leader is asked whether it still promotes this node"


class SentinelMode(StrEnum):
    """``sentinel.mode`` of the configuration."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class FenceMode(StrEnum):
    """``fence.mode`` of the configuration."""

    OFF = "off"
    WATCH = "watch"
    ON = "on"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says about decisions. Seconds."""

    mode: SentinelMode = SentinelMode.AUTO
    early: bool = True
    """Whether the elected leader's word is enough until a majority follows."""
    ttl: float = 10.0
    max_lag: float = 10.0
    patience: float = 3.0
    """Without Sentinel: how long a node that does not answer stays."""
    node_life: float = 4.0
    """How long an answer of the own node counts: a poll period and two timeouts."""
    fence: FenceMode = FenceMode.WATCH
    on_death: bool = False
    """Whether Sentinel is asked for a failover where the own node's process is gone."""
    on_empty: bool = False
    """The same where it has come back without its data."""
    delay: float = 1.0
    """How long the process has to be gone."""


class Closely(StrEnum):
    """Whose word is awaited so urgently that they are asked every few milliseconds."""

    NOBODY = "nobody's"
    PEER = "the peer's, and the leader's as soon as that has answered"
    SENTINELS = "every Sentinel's"
    NODE = "the own node's, which would take writes without authority"


class Do(StrEnum):
    """What can be ordered."""

    FOLLOW = "follow that one"
    PAUSE = "let writes wait"
    HOLD = "let everything wait"
    FAIL_OVER = "ask for a failover"


@dataclass(frozen=True, slots=True)
class Order:
    """What the Redis node is to do, or a Sentinel is to be asked for. It is given once, and carried out once."""

    do: Do
    sentence: str
    """Why, for people."""
    to: Address | None = None
    """FOLLOW: the new master. FAIL_OVER: the Sentinel."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be, with its reason."""

    verdict: Verdict
    reason: Reason
    sentence: str
    """For people: one sentence that says what was seen."""
    claim: Claim | None = None
    """The claim to write, with verdict MASTER or PENDING."""
    group: str = ""
    """The group id that the entries carry."""
    evict: tuple[Entry, ...] = ()
    """The claims of the group that pass, or are about to, to be set critical together with the own claim."""
    last: Entry | None = None
    """The entry with the newest claim of another node, where it is not evicted: to be compared with."""
    keeps: Claim | None = None
    """The own claim, withdrawn, where it is the group's last one: it stays written, critical."""
    ask: Address | None = None
    """The peer whose own word would change this decision."""
    leader: str = ""
    """Id of the Sentinel whose word this decision rests on, or waits for: to be asked often."""
    closely: Closely = Closely.NOBODY
    """Whose next word cannot wait for the usual time."""
    awaits_turn: bool = False
    """The own node may change its role at any moment, and closes no connection then: only a look tells."""
    until: float = inf
    """When time alone changes this decision."""
    order: Order | None = None
    """What is to be done beside it."""

    @property
    def rests_on_consul(self) -> bool:
        """Whether only Consul's servers confirm the claim, so that they have to be asked."""
        return self.verdict is Verdict.MASTER and self.reason not in (Reason.NAMED, Reason.SELECTED)
