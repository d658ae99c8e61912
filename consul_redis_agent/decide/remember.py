"""What is remembered of the facts, whatever is decided. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from consul_redis_agent.decide import group, members
from consul_redis_agent.decide.claim import NO_EPOCH
from consul_redis_agent.decide.facts import Address, Facts, Node, Sentinel
from consul_redis_agent.decide.memory import Memory, changed
from consul_redis_agent.decide.sentinels import of_group


def remember(facts: Facts, memory: Memory) -> Memory:
    """The memory with what the facts add to it, whatever is decided."""
    node = facts.node if isinstance(facts.node, Node) else memory.node
    sentinels = of_group(facts.sentinels, node.run_id if node else "", facts.me)
    theirs: set[str] = set()
    if len(sentinels) < len(facts.sentinels):  # there are Sentinels of another group, with others that only they list
        theirs = _ids(s for s in facts.sentinels if s not in sentinels) - _ids(sentinels)
        if not memory.counted or 2 * len(memory.known - theirs) >= len(
            memory.known
        ):  # else it may be these that have parted
            memory = changed(memory, known=memory.known - theirs)
    count = members.counted(facts, memory, sentinels)
    known = count.get("known", memory.known)
    heard = {s.id: s.run_ids for s in sentinels if not s.error and s.run_ids}
    roster = memory.roster
    if any(roster.get(id_) != listed for id_, listed in heard.items()) or not known.issuperset(roster):
        roster = {id_: listed for id_, listed in {**roster, **heard}.items() if id_ in known}
    since = memory.roster_since
    if not roster:
        since = inf
    elif since == inf or (roster is not memory.roster and _addresses(roster) != _addresses(memory.roster)):
        since = facts.now
    own = facts.own_entry
    new = changed(
        memory,
        **count,
        roster=roster,
        roster_since=since,
        had_sentinel=memory.had_sentinel or bool(known) or bool(own and own.claim and own.claim.epoch > NO_EPOCH),
        group=memory.group or (own.group if own else ""),
    )
    if facts.catalog is None:
        return changed(new, node=node)
    if (inherited := group.inherited(facts, new)) != new.group:
        new = changed(new, group=inherited)
    ours = [e for e in group.told(facts, new).ours if e.key != facts.own and e.live]
    seen = {
        e.key: before if (before := memory.seen.get(e.key)) and before[0] == e.claim else (e.claim, facts.now)
        for e in ours
        if e.claim
    }
    epochs = [c.epoch for c, _ in seen.values() if not c.early]
    # An early claim that has evicted the own one and is gone again is not waited for.
    evicted = -inf if any(c.early for c, _ in seen.values()) else min(memory.evicted_since, facts.now)
    beaten = facts.shared and own is not None and own.passing and own.agent not in ("", facts.agent)
    pending = own is not None and own.claim is not None and not own.passing
    return changed(
        new,
        node=node,
        seen=seen,
        newest=max(epochs) if epochs else memory.newest,
        newest_at=facts.now if epochs else memory.newest_at,
        evicted_since=evicted if own and own.evicted else inf,
        beaten_since=min(memory.beaten_since, facts.now) if beaten else inf,
        pending_since=min(memory.pending_since, facts.now) if pending else inf,
    )


def _ids(sentinels: Iterable[Sentinel]) -> set[str]:
    return {id_ for s in sentinels for id_ in (s.id, *s.peers)}


def _addresses(roster: Mapping[str, Mapping[Address, str]]) -> dict[str, frozenset[Address]]:
    return {id_: frozenset(listed) for id_, listed in roster.items()}
