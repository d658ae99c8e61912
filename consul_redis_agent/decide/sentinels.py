"""Which Sentinels count for a group, and what a majority of them says. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from consul_redis_agent.decide.claim import NO_EPOCH
from consul_redis_agent.decide.facts import Address, Facts, Node, Sentinel

SENTINEL_LIFE = 6.0
"""Seconds a Sentinel's word counts. It is looked up every 2 s and at every event; three missed look-ups are silence."""


def majority(known: int) -> int:
    """More than half of all known Sentinels, as Sentinel itself counts for an election."""
    return known // 2 + 1


def reached(epochs: Iterable[int], need: int) -> int:
    """The newest epoch that ``need`` Sentinels have reached; NO_EPOCH where there are fewer."""
    newest = sorted(epochs, reverse=True)
    return newest[need - 1] if len(newest) >= need else NO_EPOCH


def of_group(sentinels: Iterable[Sentinel], run_id: str, me: frozenset[Address]) -> tuple[Sentinel, ...]:
    """Those that watch this group: they list the own node, or a node or Sentinel of one that does.

    One that watches other nodes under the same master name is none of them. Where nobody lists the own node yet, all
    are; and one that does not answer cannot be told from the others.
    """
    all_ = tuple(sentinels)
    heard = [s for s in all_ if not s.error]
    members = [s for s in heard if (run_id and run_id in s.run_ids.values()) or not me.isdisjoint(s.run_ids)]
    if not members or len(members) == len(heard):
        return all_
    left = [s for s in heard if s not in members]
    nodes, ids = {a for s in members for a in s.run_ids}, {i for s in members for i in (s.id, *s.peers)}
    while joining := [s for s in left if not nodes.isdisjoint(s.run_ids) or not ids.isdisjoint((s.id, *s.peers))]:
        left = [s for s in left if s not in joining]
        nodes |= {a for s in joining for a in s.run_ids}
        ids |= {i for s in joining for i in (s.id, *s.peers)}
    return tuple(s for s in all_ if s not in left)


def is_fresh(sentinel: Sentinel, now: float) -> bool:
    """Whether its word counts now."""
    return sentinel.votes and now - sentinel.at <= SENTINEL_LIFE


def leader(facts: Facts, node: Node, known: frozenset[str]) -> Sentinel | None:
    """The Sentinel, elected at the newest epoch, that selects the own node, if it counts and its word is fresh."""
    chose = [s for s in facts.sentinels if s.selection and s.selection.run_id == node.run_id and is_fresh(s, facts.now)]
    if not chose:
        return None  # most of the time
    members = of_group(facts.sentinels, node.run_id, facts.me)
    leaders = [s for s in chose if s in members and s.id in known]
    return max(leaders, key=lambda s: s.selection.epoch if s.selection else NO_EPOCH, default=None)
