"""All that is remembered from one decision to the next. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from consul_redis_agent.decide.claim import NO_EPOCH, Claim, Early
from consul_redis_agent.decide.facts import Address, Key, Node


@dataclass(frozen=True, slots=True)
class Fenced:
    """What was ordered, and for what, so that nothing is ordered twice (rule 12)."""

    paused: tuple[str, int] = "", -1
    """The selection for which the node's writes were let wait: its leader's id and epoch."""
    proved: str = ""
    """Run id of the node that has proved to be the new master."""
    proved_at: float = inf
    proved_where: Address | None = None
    """Its address, as Sentinel uses it."""
    proved_by: str = ""
    """Id of the leader whose word was part of the proof; "" where a majority's was."""
    followed: float = -inf
    """When the node was last told to follow it."""
    lost: Claim | None = None
    """The claim that stood when the node's process went; None while that is there."""
    lost_at: float = inf
    returned: str = ""
    """Run id of a life of the node that has come back as a master under the claim of another one."""
    returned_at: float = inf
    behind: int = 0
    """How many bytes of the group's history that life has not read from disk, though a replica has them."""
    asked: float = -inf
    """When a Sentinel was last asked for a failover."""
    early: Early | None = None
    """The own early claim's, whose leader was lost."""
    yielded: float = -inf
    """When the node that most Sentinels name last said that it follows this one."""


UNFENCED = Fenced()


@dataclass(frozen=True, slots=True)
class Memory:
    """What a decision hands on to the next one. Times are those of :attr:`Facts.now`."""

    group: str = ""
    """The group id; "" as long as none is known."""
    had_sentinel: bool = False
    """A Sentinel has answered for this group, or the own entry had a claim that one had backed."""
    known: frozenset[str] = frozenset()
    """Ids of the group's Sentinels, in reach or not: a majority is more than half of these."""
    counted: bool = False
    """Everybody to begin with was asked: who comes later has to be listed."""
    at: Mapping[Address, str] = field(default_factory=dict)
    """The id of the Sentinel that answered last at each address: a new one there takes the place of the old."""
    where: Mapping[str, Address] = field(default_factory=dict)
    """Where each Sentinel that counts is, as far as that is known."""
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Whom each Sentinel in reach lists."""
    listed_since: float = inf
    """Since when these lists are as they are."""
    silent_since: float = inf
    """Since when no Sentinel of ``sentinel.hosts`` has answered; infinite while one does."""
    roster: Mapping[str, Mapping[Address, str]] = field(default_factory=dict)
    """The Redis nodes that each Sentinel listed last: address and run id, by the Sentinel's id."""
    roster_since: float = inf
    """Since when these addresses are unchanged."""
    node: Node | None = None
    """The own node's last answer."""
    seen: Mapping[Key, tuple[Claim, float]] = field(default_factory=dict)
    """The live claims of other nodes of the group, and since when each has been seen."""
    newest: int = NO_EPOCH
    """The newest epoch of another node's live claim that was seen lately, early ones aside."""
    newest_at: float = -inf
    """When that was seen last."""
    evicted_since: float = inf
    """Since when the own entry has been seen evicted, -inf where that was by an early claim; infinite while it is not."""
    pending_since: float = inf
    """Since when the own entry has been seen with a claim that does not pass; infinite while it is not."""
    confirmed: float = -inf
    """When a majority of Sentinels or Consul's servers last confirmed the own claim."""
    recorded: Claim | None = None
    """The group's first claim, if it is the own one and being recorded."""
    held: Claim | None = None
    """The own claim, if it was published with Sentinel's backing and not withdrawn since."""
    heard: float = -inf
    """When the leader behind the own early claim last said that it promotes the own node."""
    spent: int = -1
    """The newest epoch at which an early claim was withdrawn: at this one only a majority brings a claim back."""
    recount_since: float = inf
    """Since when a majority of Sentinels has been seen at a lower epoch than that of the own claim."""
    held_down_since: float = inf
    """Since when every Sentinel has named the own node and most held it for down, with no failover under way."""
    beaten_since: float = inf
    """Since when the own entry has been seen passing though another agent wrote it: that one is alive, or the TTL is not over."""
    outvoted: float = inf
    """Since when a majority of Sentinels has been seen to stand by another node than the own one, which holds a claim."""
    fence: Fenced = field(default_factory=lambda: UNFENCED)


NOTHING = Memory()
"""What a process remembers at its start, where no state was kept."""


def over_a_reload(memory: Memory) -> Memory:
    """What a reload of the configuration leaves: all but the Sentinels, which may be others now."""
    fields = ("known", "counted", "at", "where", "lists", "listed_since", "silent_since", "roster", "roster_since")
    return replace(memory, **{field: getattr(NOTHING, field) for field in fields})


def changed(memory: Memory, **fields: Any) -> Memory:
    """The memory with these fields; itself where they are as they were, since a look costs less than a copy."""
    same = all((old := getattr(memory, name)) is new or old == new for name, new in fields.items())
    return memory if same else replace(memory, **fields)
