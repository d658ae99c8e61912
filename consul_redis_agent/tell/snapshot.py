"""What is known, decided and why, as JSON for ``status``, the pages and the metrics. Holds no secret."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import inf, isfinite
from typing import Any

from consul_redis_agent.clock import clock
from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.decision import Do, Verdict
from consul_redis_agent.decide.facts import Address, Entry, Facts, Node, Role, Sentinel, Silence
from consul_redis_agent.decide.group import told
from consul_redis_agent.node import NodeAgent
from consul_redis_agent.tell.journal import Journal
from consul_redis_agent.tell.tally import Tally


def snapshot(journal: Journal, tally: Tally) -> dict[str, Any]:
    """One Redis node."""
    node, now = journal.node, clock()
    facts, decision = node.facts, node.decision
    found = told(facts, node.memory) if facts else None
    ours = {e.key for e in found.ours} if found else set()
    seen = facts.node if facts else None
    missed = node.lookout.sentinels_missed()
    replica = seen if isinstance(seen, Node) and seen.role is Role.REPLICA else None
    return {
        "decision": decision.verdict.value if decision else "none",
        "reason": decision.reason.value if decision else "starting",
        "reason_name": decision.reason.name.lower() if decision else "",
        "sentence": decision.sentence if decision else "Nothing is decided yet.",
        "claim": _claim(decision.claim if decision else None),
        "group": node.memory.group,
        "node": node.name,
        "service": node.naming.service,
        "ready": node.ready,
        "published": _published(node),
        "role": _role(seen),
        "run_id": seen.run_id if isinstance(seen, Node) else "",
        "address": str(node.lookout.publish_at or ""),
        "follows": str(replica.follows or "") if replica else "",
        "link_up": replica.link_up if replica else None,
        "lag": round(replica.lag, 3) if replica and isfinite(replica.lag) else None,
        "master_name": node.lookout.master_name,
        "since": journal.since,
        "decided_ago": round(now - node.decided, 3) if facts else None,
        "confirmed_ago": {
            "sentinels": _ago(now, tally.majority),
            "servers": _ago(now, facts.confirmation.at if facts and facts.confirmation else -inf),
        },
        "ttl": node.naming.ttl,
        "sentinels": [_sentinel(s, facts, missed.get(s.address, 0)) for s in facts.sentinels] if facts else [],
        "known_sentinels": len(node.memory.known) or (facts.watched if facts else 0),
        "peers": _peers(facts) if facts else [],
        "entries": [
            {
                "node": e.node,
                "id": e.id,
                "name": e.name,
                "address": str(e.address),
                "passing": e.passing,
                "visible": e.visible and not e.hidden_by(only_passing=node.writer.only_passing),
                "hidden_by": list(e.hidden_by(only_passing=node.writer.only_passing)) if e.visible else [],
                "maintenance": e.maintenance,
                "claim": _claim(e.claim if e.says_master else None),
                "group": e.group,
                "mine": _is_own(node, e),
                "foreign": not e.marked or (e.name == node.naming.service and e.key not in ours),
            }
            for e in node.lookout.entries()
        ],
        "fence": node.policy.fence.value,
        "errors": journal.errors,
        "token_refused": bool(node.token_error),
        "counters": {
            "transitions": dict(journal.transitions),
            "decisions": node.decisions,
            "consul_errors": node.writer.errors,
            "redis_errors": node.lookout.missed,
            "stray_writes": journal.stray.total,
            "transactions": {"done": node.writer.transactions, "refused": node.writer.refused},
            "evictions": node.writer.evictions,
            "early": {"published": tally.early, "taken_back": tally.taken_back},
            "fences": {do.name.lower(): {"done": node.fence.done[do], "failed": node.fence.failed[do]} for do in Do}
            if node.fence
            else {},
        },
        "seconds": {
            "promotion_to_consul": tally.to_consul.as_json(),
            "promotion_to_dns": tally.to_dns.as_json(),
            "info": node.lookout.latency.as_json(),
        },
    }


def _is_own(node: NodeAgent, entry: Entry) -> bool:
    return entry.node == node.writer.consul_node and entry.id in (node.naming.master_id, node.naming.replica_id)


def _published(node: NodeAgent) -> str:
    """What DNS gives the node as, by what Consul showed last and what was decided; "" where it gives it as neither."""
    verdict = node.decision.verdict if node.decision else Verdict.NONE
    for entry in node.lookout.entries():
        shown = entry.visible and not entry.hidden_by(only_passing=node.writer.only_passing)
        if shown and _is_own(node, entry) and verdict is (Verdict.MASTER if entry.says_master else Verdict.REPLICA):
            return verdict.value
    return ""


def _peers(facts: Facts) -> list[dict[str, Any]]:
    """The other Redis nodes that the Sentinels list, and in how many Sentinels' eyes each is what."""
    answering = [s for s in facts.sentinels if not s.error]
    listed = {address: run_id for s in answering for address, run_id in s.run_ids.items() if address not in facts.me}
    lost, usable = _counted(s.lost for s in answering), _counted(s.usable for s in answering)
    lists, named = _counted(s.run_ids for s in answering), Counter(s.master for s in answering if s.votes)
    return [
        {
            "address": str(address),
            "run_id": run_id,
            "listed_by": lists[address],
            "named_by": named[address],
            "lost_by": lost[address],
            "usable_by": usable[address],
        }
        for address, run_id in sorted(listed.items())
    ]


def _counted(places: Iterable[Iterable[Address]]) -> Counter[Address]:
    return Counter(address for each in places for address in each)


def _claim(claim: Claim | None) -> dict[str, Any] | None:
    if claim is None:
        return None
    return {"epoch": claim.epoch, "turn": claim.turn, "run_id": claim.run_id, "early": claim.early is not None}


def _role(node: Node | Silence | None) -> str:
    if node is None:
        return "unknown"
    if isinstance(node, Silence):
        return "unreachable"
    return "loading" if node.loading else node.role.value


def _ago(now: float, at: float) -> float | None:
    return round(now - at, 3) if at > -inf else None


def _sentinel(sentinel: Sentinel, facts: Facts, missed: int) -> dict[str, Any]:
    vote = "none"
    if sentinel.votes:
        vote = "names this node" if sentinel.master in facts.me else f"names {sentinel.master}"
    return {
        "address": str(sentinel.address),
        "id": sentinel.id,
        "vote": vote,
        "names": str(sentinel.master or ""),
        "epoch": sentinel.epoch,
        "holds_down": sentinel.down,
        "fails_over": sentinel.promoting is not None,
        "tilt": sentinel.tilt,
        "reachable": not sentinel.error,
        "error": sentinel.error,
        "quorum": sentinel.quorum or None,
        "missed": missed,
    }
