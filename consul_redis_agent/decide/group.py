"""Whose the entries under a service name are. Pure.

Entries of one group carry the same group id. It is made with the group's first claim and handed on by memory, or by a
claim whose Redis node a majority of the heir's own Sentinels lists. What a former version wrote carries none, and is
told by such a list alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from consul_redis_agent.decide.facts import Entry, Facts
from consul_redis_agent.decide.identity import is_for_others
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.decide.sentinels import majority

SETTLED = 10.0
"""Seconds for which the Sentinels' lists have to be unchanged before what they do not list is a stranger's."""


@dataclass(frozen=True, slots=True)
class Told:
    """The entries under one service name, by whose they are."""

    ours: tuple[Entry, ...] = ()
    """Those of the own group, and the own one: with a claim, or a replica's."""
    strangers: tuple[Entry, ...] = ()
    """Those of another group that uses the same name: neither obeyed nor evicted."""
    untold: tuple[Entry, ...] = ()
    """Those of which that cannot be told yet."""
    foreign: tuple[Entry, ...] = ()
    """Those that this tool did not make, or of which it cannot read the claim."""


def told(facts: Facts, memory: Memory) -> Told:
    """Sort the entries that the catalog shows."""
    ours: list[Entry] = []
    strangers: list[Entry] = []
    untold: list[Entry] = []
    foreign: list[Entry] = []
    for entry in facts.catalog.entries if facts.catalog else ():
        if entry.key == facts.own:
            ours.append(entry)
        elif not entry.marked or (entry.says_master and entry.passing and not entry.claim):
            foreign.append(entry)
        elif (
            (memory.group and entry.group == memory.group)
            or not _has_sentinels(facts, memory)
            or _is_listed(entry, memory)
        ):
            ours.append(entry)
        elif entry.group or (entry.claim and entry.live):
            known = _is_settled(facts, memory) or bool(memory.group and entry.group)
            (strangers if known else untold).append(entry)
        elif not entry.claim:
            ours.append(entry)  # a former version's replica, which says nothing
    return Told(tuple(ours), tuple(strangers), tuple(untold), tuple(foreign))


def inherited(facts: Facts, memory: Memory) -> str:
    """The group id from now on: the one that is remembered, or else that of the newest claim of a listed node."""
    entries = facts.catalog.entries if facts.catalog else ()
    carried = [e for e in entries if e.claim and e.group and e.key != facts.own]
    if not carried or (facts.searching and not memory.known):
        return memory.group
    if memory.group and any(e.group == memory.group for e in carried):
        return memory.group
    if _has_sentinels(facts, memory):
        if memory.group and not _is_settled(facts, memory):
            return memory.group
        carried = [e for e in carried if _is_listed(e, memory)]
    else:  # nobody can tell: who holds the name is of the group
        carried = [e for e in carried if e.live and not any(o.key == facts.own and o.live for o in entries)]
    heir = max(carried, key=lambda e: (e.live, e.claim.order if e.claim else ()), default=None)
    return heir.group if heir else memory.group


def _is_settled(facts: Facts, memory: Memory) -> bool:
    heard = len(memory.roster) >= majority(len(memory.known))
    return heard and facts.now - memory.roster_since >= SETTLED


def _has_sentinels(facts: Facts, memory: Memory) -> bool:
    return bool(memory.known or facts.watched or memory.had_sentinel)


def _is_listed(entry: Entry, memory: Memory) -> bool:
    """Whether a majority of the group's Sentinels lists the node that an entry speaks of."""
    run_id, address = entry.claim.run_id if entry.claim else "", entry.address
    usable = is_for_others(address.host)
    listing = sum(
        (run_id and run_id in listed.values()) or (usable and address in listed)
        for id_, listed in memory.roster.items()
        if id_ in memory.known
    )
    return listing >= majority(len(memory.known))
