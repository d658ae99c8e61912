"""All that is remembered from one decision to the next, and what of it follows from the facts alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

from consul_redis_agent.decide import group
from consul_redis_agent.decide.claim import NO_EPOCH, Claim
from consul_redis_agent.decide.facts import Address, Facts, Key, Node
from consul_redis_agent.decide.sentinels import known_sentinels, of_group


@dataclass(frozen=True, slots=True)
class Memory:
    """What a decision hands on to the next one. Times are those of :attr:`Facts.now`."""

    group: str = ""
    """The group id; "" as long as none is known."""
    had_sentinel: bool = False
    """A Sentinel has answered for this group, or the own entry had a claim that one had backed."""
    known: frozenset[str] = frozenset()
    """Ids of the group's Sentinels, in reach or not: a majority is more than half of these."""
    at: Mapping[Address, str] = field(default_factory=dict)
    """The id of the Sentinel that answered last at each address: a new one there takes the place of the old."""
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
    outvoted: float = inf
    """Since when a majority of Sentinels has been seen to stand by another node than the own one, which holds a claim."""


NOTHING = Memory()
"""What a process remembers at its start, where no state was kept."""


def remember(facts: Facts, memory: Memory) -> Memory:
    """The memory with what the facts add to it, whatever is decided."""
    node = facts.node if isinstance(facts.node, Node) else memory.node
    sentinels = of_group(facts.sentinels, node.run_id if node else "", facts.me)
    strangers = [s for s in facts.sentinels if s not in sentinels]
    theirs = {id_ for s in strangers for id_ in (s.id, *s.peers)} - {id_ for s in sentinels for id_ in (s.id, *s.peers)}
    at = {s.address: s.id for s in sentinels if not s.error}
    replaced = {id_ for address, id_ in memory.at.items() if at.get(address, id_) != id_}
    known = known_sentinels(memory.known - theirs - replaced, sentinels)
    heard = {s.id: s.run_ids for s in sentinels if not s.error and s.run_ids}
    roster = memory.roster
    if any(roster.get(id_) != listed for id_, listed in heard.items()) or not known.issuperset(roster):
        roster = {id_: listed for id_, listed in {**roster, **heard}.items() if id_ in known}
    since = memory.roster_since
    if not roster:
        since = inf
    elif since == inf or (roster is not memory.roster and _addresses(roster) != _addresses(memory.roster)):
        since = facts.now
    own = next((e for e in facts.catalog.entries if e.key == facts.own), None) if facts.catalog else None
    new = replace(
        memory,
        node=node,
        known=known,
        at=memory.at if at.items() <= memory.at.items() else {**memory.at, **at},
        roster=roster,
        roster_since=since,
        had_sentinel=memory.had_sentinel or bool(known) or bool(own and own.claim and own.claim.epoch > NO_EPOCH),
        group=memory.group or (own.group if own else ""),
    )
    if facts.catalog is None:
        return new
    new = replace(new, group=group.inherited(facts, new))
    ours = [e for e in group.told(facts, new).ours if e.key != facts.own and e.live]
    seen = {
        e.key: before if (before := memory.seen.get(e.key)) and before[0] == e.claim else (e.claim, facts.now)
        for e in ours
        if e.claim
    }
    epochs = [c.epoch for c, _ in seen.values() if not c.early]
    # An early claim that has evicted the own one and is gone again is not waited for.
    evicted = -inf if any(c.early for c, _ in seen.values()) else min(memory.evicted_since, facts.now)
    pending = own is not None and own.claim is not None and not own.passing
    return replace(
        new,
        seen=memory.seen if seen == memory.seen else seen,
        newest=max(epochs) if epochs else memory.newest,
        newest_at=facts.now if epochs else memory.newest_at,
        evicted_since=evicted if own and own.evicted else inf,
        pending_since=min(memory.pending_since, facts.now) if pending else inf,
    )


def _addresses(roster: Mapping[str, Mapping[Address, str]]) -> dict[str, frozenset[Address]]:
    return {id_: frozenset(listed) for id_, listed in roster.items()}
