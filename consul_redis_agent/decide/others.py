"""Does another agent look after the own Redis node? Pure."""

from __future__ import annotations

from consul_redis_agent.decide.decision import Policy
from consul_redis_agent.decide.facts import Entry, Facts
from consul_redis_agent.decide.memory import Memory


def other_agent(facts: Facts, memory: Memory, policy: Policy) -> str:
    """Another agent that looks after the own node, for people; "" where there is none. First come stays.

    On the same host they see each other at once (:class:`~consul_redis_agent.watch.lock.AgentLock`); from different hosts by the
    entries. Of one service id, an entry that another agent wrote is left alone until a TTL has shown whether anybody beats it.
    """
    if facts.other_agent:
        return facts.other_agent
    own = facts.own_entry
    if own and memory.beaten_since <= facts.now:
        sure = facts.now - memory.beaten_since > policy.ttl
        return f"the agent {own.agent}, which {'beats' if sure else 'may still beat'} {own.id} on {own.node},"
    return next(
        (f"the agent that keeps {e.id} on {e.node}" for e in facts.elsewhere if _is_anothers(e, facts, memory)), ""
    )


def _is_anothers(entry: Entry, facts: Facts, memory: Memory) -> bool:
    """Whether another agent keeps an entry for this very life of the own node, and was not later to do so."""
    if not (memory.node and entry.run_id == memory.node.run_id and entry.visible and entry.marked):
        return False
    own = facts.own_entry
    first = not (own and own.live) or (entry.created, *entry.key) < (own.created, *own.key)
    return first and entry.agent != facts.agent
