"""Why, for people: the sentence of a decision. Pure."""

from __future__ import annotations

from consul_redis_agent.decide.backing import Backed
from consul_redis_agent.decide.decision import Policy, Reason
from consul_redis_agent.decide.facts import Facts, Node, Role, Silence
from consul_redis_agent.decide.standing import Standing, Stands
from consul_redis_agent.decide.view import Held, View


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
    node = facts.node
    why = backed.sentence if backed else ""
    what = stands.sentence if stands else ""
    silent = node.reason.rstrip(".") if isinstance(node, Silence) else ""
    role = "replica" if isinstance(node, Node) and node.role is Role.REPLICA else "master"
    replica = f"Redis is a replica{f' of {node.follows}' if isinstance(node, Node) and node.follows else ''}"
    match reason:
        case Reason.UNSEEN:
            return "Redis has not been looked at yet."
        case Reason.MISSED if silent:
            return f"One look at Redis failed ({silent}); looking again."
        case Reason.MISSED:
            return "What is known of Redis is out of date; looking again."
        case Reason.PATIENT:
            return f"Redis does not answer ({silent}), but {why}."
        case Reason.SILENT:
            return f"Redis does not answer: {silent}."
        case Reason.LOADING:
            return "Redis answers but is still loading its data."
        case Reason.LINK_DOWN:
            return f"{replica}, but its link is down."
        case Reason.LAGGING if isinstance(node, Node):
            return f"{replica}, last heard {node.lag:g} s ago; {policy.max_lag:g} s are allowed."
        case Reason.REPLICATES:
            return (
                f"Redis is a healthy replica{f' of {node.follows}' if isinstance(node, Node) and node.follows else ''}."
            )
        case Reason.NO_ADDRESS:
            return "No address of the node is known that other hosts could use; set `announce` for it."
        case Reason.NO_CATALOG if stands and stands.what is Standing.STALE:
            return f"Redis is a master, and {why}; Consul is out of reach."
        case Reason.NO_CATALOG:
            return f"Redis is a {role}; Consul has not shown the other claims yet."
        case Reason.SEARCHING:
            return f"Redis is a master; {why}."
        case Reason.STRANGER:
            return (
                f"{what}, so this one publishes nothing under it: give one of them another service.name, or take the "
                f"other's entries out with `consul-redis-agent deregister`."
            )
        case Reason.UNTOLD:
            return f"Redis is a {role}; {what}."
        case Reason.ASKING_LEADER:
            return f"Redis has turned master; {why}."
        case Reason.GIVING_WAY:
            return f"Redis is a master, but {why}; its claim is left to be evicted."
        case Reason.FAILING_OVER:
            return f"{_capital(why)}, but a failover is under way."
        case Reason.UNBACKED:
            need = f", {view.need} are needed" if view and view.known else ""
            return f"Redis says master, but {why}{need}."
        case Reason.REFUSED:
            return (
                f"{_capital(what)} and no Sentinel says otherwise: two masters; make one of them a replica (REPLICAOF), "
                f"or stop it."
            )
        case Reason.NEWER_CLAIM:
            return f"{_capital(what)}; {why}."
        case Reason.LEASE_OVER:
            by = "neither Sentinel nor Consul has" if view and view.has_sentinel else "Consul has not"
            return f"{_capital(by)} confirmed the claim in time."
        case Reason.EARLY_OVER | Reason.OUTVOTED:
            return f"{_capital(why)}."
        case Reason.EVICTED:
            return f"Redis is a master, and {why}; its claim was evicted."
        case Reason.FIRST:
            return f"Redis is a master, and {why}; it first looks whether another node claims, too."
        case Reason.CONFIRMED:
            why = f"{why}; Consul confirms the claim as the newest"
        case Reason.INCUMBENT:
            rival = view.newest if view else None
            why = f"{why}; {rival} came later" if rival else f"{why}, and no other node claims"
    return f"Redis is a master, and {why}{_nobodys(evict, view)}."


def _nobodys(evict: list[Held], view: View | None) -> str:
    false = [h for h in evict if view and h in view.false]
    if not false:
        return ""
    early = "early claim" if all(h.claim.early for h in false) else "claim"
    return f"; the {early} of {', '.join(map(str, false))}, which no majority has followed, is evicted"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
