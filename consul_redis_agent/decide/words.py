"""Why, for people: the sentence of a decision. Pure."""

from __future__ import annotations

from math import inf

from consul_redis_agent.decide.backing import Backed
from consul_redis_agent.decide.decision import Policy, Reason
from consul_redis_agent.decide.facts import Facts, Node, Silence
from consul_redis_agent.decide.others import other_agent
from consul_redis_agent.decide.standing import Standing, Stands
from consul_redis_agent.decide.view import Held, View

_PUBLISHED = "Redis is a master, and {why}{evicts}."
_SENTENCES = {
    Reason.UNSEEN: "Redis has not been looked at yet.",
    Reason.OTHER_AGENT: "{Other} looks after this node as well, so this one publishes nothing until that one is gone: stop one of them.",
    Reason.PATIENT: "Redis does not answer ({silent}), but {why}.",
    Reason.SILENT: "Redis does not answer: {silent}.",
    Reason.LOADING: "Redis answers but is still loading its data.",
    Reason.EMPTY: "Redis is a master that came back without its data; the replicas are asked for theirs.",
    Reason.HIDDEN: "Redis is a replica{of}, and not to be seen (replica-announced no).",
    Reason.LINK_DOWN: "Redis is a replica{of}, but its link is down{lost}.",
    Reason.LAGGING: "Redis is a replica{of}, last heard {lag:g} s ago; {max_lag:g} s are allowed.",
    Reason.REPLICATES: "Redis is a healthy replica{of}.",
    Reason.NO_ADDRESS: "No address of the node is known that other hosts could use; set `announce` for it.",
    Reason.NO_CATALOG: "Redis is a {role}; Consul has not shown the other claims yet.",
    Reason.SEARCHING: "Redis is a master; {why}.",
    Reason.STRANGER: "{what}, so this one publishes nothing under it: give one of them another service.name, or take the "
    "other's entries out with `consul-redis-agent deregister`.",
    Reason.UNTOLD: "Redis is a {role}; {what}.",
    Reason.ASKING_LEADER: "Redis has turned master; {why}.",
    Reason.GIVING_WAY: "Redis is a master, but {why}; its claim is left to be evicted.",
    Reason.RELIEVED: "Redis has handed over and is a replica{of}; its claim is left to be evicted.",
    Reason.FAILING_OVER: "{Why}, but a failover is under way.",
    Reason.UNBACKED: "Redis says master, but {why}{need}.",
    Reason.REFUSED: "{What} and no Sentinel says otherwise: two masters; make one of them a replica (REPLICAOF), or stop it.",
    Reason.NEWER_CLAIM: "{What}; {why}.",
    Reason.EARLY_OVER: "{Why}.",
    Reason.OUTVOTED: "{Why}.",
    Reason.EVICTED: "Redis is a master, and {why}; its claim was evicted.",
    Reason.FIRST: "Redis is a master, and {why}; it first looks whether another node claims, too.",
    Reason.CONFIRMED: "Redis is a master, and {why}; Consul confirms the claim as the newest{evicts}.",
}


def sentence(
    reason: Reason,
    facts: Facts,
    policy: Policy,
    view: View | None,
    backed: Backed | None,
    stands: Stands | None,
    evict: list[Held],
) -> str:
    """What was seen, in one sentence for people."""
    node = facts.node if isinstance(facts.node, Node) else None
    silent = facts.node.reason.rstrip(".") if isinstance(facts.node, Silence) else ""
    why, what = backed.sentence if backed else "", stands.sentence if stands else ""
    words = _SENTENCES.get(reason, _PUBLISHED)
    match reason:
        case Reason.MISSED if silent:
            return f"One look at Redis failed ({silent}); looking again."
        case Reason.MISSED:
            return "What is known of Redis is out of date; looking again."
        case Reason.LEASE_OVER:
            by = "Neither Sentinel nor Consul has" if view and view.has_sentinel else "Consul has not"
            return f"{by} confirmed the claim in time."
        case Reason.NO_CATALOG if stands and stands.what is Standing.STALE:
            words = "Redis is a master, and {why}; Consul is out of reach."
        case Reason.INCUMBENT:
            rival = view.newest if view else None
            why += f"; {rival} came later" if rival else ", and no other node claims"
    return words.format(
        silent=silent,
        why=why,
        Why=_capital(why),
        what=what,
        What=_capital(what),
        of=f" of {node.follows}" if node and node.follows else "",
        lost=_lost(node, policy),
        lag=node.lag if node else 0.0,
        max_lag=policy.max_lag,
        role=node.role if node else "master",
        Other=_capital(other_agent(facts, view.memory, policy)) if view and reason is Reason.OTHER_AGENT else "",
        need=f", {view.need} are needed" if view and view.known else "",
        evicts=_evicts([held for held in evict if view and held in view.false]),
    )


def _lost(node: Node | None, policy: Policy) -> str:
    if node is None or node.link_up:
        return ""
    if not node.serves:
        return ", and it serves no data meanwhile, or copies all of it anew"
    if node.lag == inf:
        return ", and it never was in sync"
    return f" for {node.lag:.0f} s; {policy.max_lag:g} s are allowed"


def _evicts(false: list[Held]) -> str:
    if not false:
        return ""
    early = "early claim" if all(h.claim.early for h in false) else "claim"
    return f"; the {early} of {', '.join(map(str, false))}, which no majority has followed, is evicted"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
