"""The Sentinels of a group: who of those that were heard or listed counts, who is spoken to, and who gets the password. Pure.

Those of ``sentinel.hosts``, or without any those that say hello on the own Redis node for a whole hello period, are the ones to
begin with. Everybody else counts only once a majority of the others in reach lists it, so that neither a forged hello nor
one Sentinel's list changes what a majority is. Sentinel forgets nobody until ``SENTINEL RESET`` (sentinel.c), so who is gone
for good is told by the lists, too: :func:`left`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from consul_redis_agent.decide.facts import Address, Facts, Sentinel
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.decide.sentinels import majority

HELLO_PERIOD = 2.0
"""Seconds between two hellos of one Sentinel (``SENTINEL_PUBLISH_PERIOD`` in sentinel.c)."""
LISTED_FOR = 3 * HELLO_PERIOD
"""Seconds for which those in reach have to list each other, and nobody else, before the rest is forgotten."""
CONFIGURED_SILENT = 60.0
"""Seconds without an answer from any Sentinel of ``sentinel.hosts`` after which hellos count, without the password."""
NOBODY: frozenset[str] = frozenset()
LIMIT = 64
"""Sentinels of one group; a quorum has three to seven."""


def counted(facts: Facts, memory: Memory, group: tuple[Sentinel, ...]) -> dict[str, Any]:
    """The fields of the memory that tell who counts. ``group``: the Sentinels that watch this group, in reach or not."""
    if memory.counted and len(group) == len(memory.known) and all(_is_as_before(s, memory) for s in group):
        return {}  # most of the time
    heard = [s for s in group if not s.error]
    at = {s.address: s.id for s in heard}
    replaced = {id_ for address, id_ in memory.at.items() if at.get(address, id_) != id_}
    before = memory.known - replaced if memory.counted or facts.searching else frozenset[str]()
    listed = _listed(heard, at)
    # The first to be spoken to, those of the configuration, and who takes another one's place need nobody who lists them.
    trusted = {
        s.id
        for s in heard
        if not memory.counted or s.address in facts.configured or memory.at.get(s.address) in memory.known
    }
    if memory.counted or not facts.searching:
        joining = {id_ for id_, by in listed.items() if len(by - {id_}) >= majority(len({*at.values()} - {id_}))}
    else:  # as long as not everybody has been asked, one more makes a majority larger, never smaller
        joining = {*listed}
    known = before.union(sorted((trusted | joining) - before)[: LIMIT - len(before)])
    known = _with_the_unanswered(known, facts, memory, at)
    lists = {s.id: frozenset(s.peers) for s in heard if s.id in known}
    since = memory.listed_since if lists == memory.lists else facts.now
    answers = any(s.address in facts.configured for s in facts.sentinels if not s.error)
    known -= left(known, heard, facts.now - since)
    return {
        "known": known if known != memory.known else memory.known,
        "counted": memory.counted or (bool(heard) and not facts.searching),
        "at": memory.at if at.items() <= memory.at.items() else {**memory.at, **at},
        "where": {id_: where for id_ in known if (where := _where(id_, known, heard, listed, memory.where))},
        "lists": lists,
        "listed_since": since,
        "silent_since": inf if answers else min(memory.silent_since, facts.now),
    }


def _is_as_before(sentinel: Sentinel, memory: Memory) -> bool:
    return (
        not sentinel.error
        and memory.where.get(sentinel.id) == sentinel.address
        and memory.lists.get(sentinel.id, NOBODY) == sentinel.peers.keys()
    )


def _with_the_unanswered(
    known: frozenset[str], facts: Facts, memory: Memory, at: Mapping[Address, str]
) -> frozenset[str]:
    """No fewer than are configured: who has never answered counts by its address, until more are known, or :func:`left`.

    Else one that was wiped, and is cut off from the others, would be the majority of an agent that has just started.
    """
    strangers = {s.address for s in facts.sentinels if not s.error} - at.keys()
    configured = facts.configured - strangers
    real = known - set(map(str, facts.configured))
    unanswered = {str(address) for address in configured if address not in at and address not in memory.at}
    waited_for = unanswered & known if memory.counted else unanswered
    return real.union(sorted(waited_for)[: max(0, len(configured) - len(real))]) if real else known


def left(known: frozenset[str], heard: Iterable[Sentinel], listed_for: float) -> frozenset[str]:
    """Those that nobody in reach lists any more, if those in reach are enough to say so.

    They list each other for ``listed_for`` seconds, are a majority of all that they list, no fewer than half of those counted
    before, and no fewer than their quorum: one that was cut off still lists the others, one that was just reset lists nobody.
    """
    reached = [s for s in heard if s.id in known]
    ids = {s.id for s in reached}
    listed = ids.union(*(s.peers for s in reached))
    enough = max([majority(len(listed)), (len(known) + 1) // 2, *(s.quorum for s in reached)])
    mutual = all(ids <= {s.id, *s.peers} for s in reached)
    return known - listed if listed_for >= LISTED_FOR and mutual and len(ids) >= enough else frozenset()


def spoken(facts: Facts, memory: Memory) -> dict[Address, bool]:
    """Whom to speak to, at which address, and whether with the password."""
    answering = {s.id: s.address for s in facts.sentinels if not s.error}
    members = {*answering} & memory.known
    wanted = dict.fromkeys(sorted(facts.configured), True)  # in one order, so that a run can be replayed
    for id_ in sorted(memory.known):
        if answering.get(id_) not in facts.configured and (where := memory.where.get(id_)):
            wanted.setdefault(where, True)
    if not (memory.counted and members) and not (facts.configured and not _configured_silent(facts, memory)):
        for address in facts.heard:
            wanted.setdefault(address, not facts.configured)
    return wanted


def wants_hellos(facts: Facts, memory: Memory) -> bool:
    """Whether to listen for hellos: as long as they are all there is to find the Sentinels, or the master name, by."""
    members = {s.id for s in facts.sentinels if not s.error} & memory.known
    if facts.configured:
        return not facts.master_name or (not members and _configured_silent(facts, memory))
    return not (facts.master_name and memory.counted and members)


def _configured_silent(facts: Facts, memory: Memory) -> bool:
    return facts.now - memory.silent_since > CONFIGURED_SILENT


def _listed(heard: Iterable[Sentinel], at: Mapping[Address, str]) -> dict[str, set[str]]:
    """By the id of each Sentinel that is listed: who lists it, at an address where nobody else answers."""
    listed: dict[str, set[str]] = {}
    for sentinel in heard:
        for id_, address in sentinel.peers.items():
            if at.get(address, id_) == id_:
                listed.setdefault(id_, set()).add(sentinel.id)
    return listed


def _where(
    id_: str,
    known: frozenset[str],
    heard: Iterable[Sentinel],
    listed: Mapping[str, set[str]],
    before: Mapping[str, Address],
) -> Address | None:
    """Where it answers; else where most of the others say that it is now; else where it was."""
    for sentinel in heard:
        if sentinel.id == id_:
            return sentinel.address
    said = [s.peers[id_] for s in heard if s.id in known and s.id in listed.get(id_, ())]
    most = max(said, key=said.count, default=None)
    return most if most and said.count(most) >= majority(len(said)) else before.get(id_)
