"""What claims stand? The second of the two questions of the table. Pure.

It is asked about one claim: the one that who stands behind the node allows it to hold or to make.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from consul_redis_agent.decide.backing import Backed, Backing
from consul_redis_agent.decide.claim import NO_EPOCH, Claim
from consul_redis_agent.decide.facts import Address, Entry
from consul_redis_agent.decide.view import Held, View

PATIENCE = 2.0
"""Seconds for which a newer claim is remembered that has just left, and for which a claim that was evicted is not
repeated: its successor's shows up some milliseconds later. A check that somebody set critical by hand is repaired at
once."""
GIVING_WAY = 0.5
"""Seconds for which a master that a majority has replaced leaves its claim to be evicted by the new one's, in one step."""


class Standing(StrEnum):
    """The answers."""

    UNREAD = "the catalog was not shown yet"
    STRANGER = "another group holds the name"
    WAITING = "the same, and this one has published nothing yet"
    UNTOLD = "there are claims of which it cannot be told yet whose they are"
    NEWER = "a rival claim is newer"
    OWN = "the own claim passes and is the newest"
    LAPSED = "the same, and nobody has confirmed it for longer than the TTL"
    LEAVING = "the same, and its successor has a moment to evict it"
    LOST = "the own Consul agent has lost the own claim, within its lease"
    STALE = "none is newer, as of longer ago than the TTL"
    EVICTED = "the own claim was just evicted"
    PASSED = "a newer claim was there a moment ago"
    FIRST = "there is none yet"
    BEHIND = "the own first claim is recorded, and another one before it"
    FREE = "none is newer"


@dataclass(frozen=True, slots=True)
class Stands:
    """An answer, with what it rests on."""

    what: Standing
    claim: Claim
    """The claim that it is about."""
    sentence: str = ""
    ask: Address | None = None
    """The rival's node, whose own word would change the answer."""


def standing(view: View, backed: Backed) -> Stands:
    """What stands beside the claim that ``backed`` allows."""
    nobody = Claim(NO_EPOCH, 0, view.node.run_id)
    if view.facts.catalog is None:
        # After a reload: the lease of what was held before goes on, and ends, whether Consul is reached again or not.
        held = view.memory.held if backed.by in (Backing.NOBODY, Backing.NO_SENTINEL) else None
        lapsed = held and view.now - max(view.confirmed, backed.confirmed) > view.policy.ttl
        return Stands(Standing.LAPSED, held) if held and lapsed else Stands(Standing.UNREAD, nobody)
    if stranger := _blocked_by(view):
        published = any(not h.entry.pending for h in view.own_entries)
        claim = _claim(view, backed)[0]  # recorded, so that the other group hears of this one
        return Stands(Standing.STRANGER if published else Standing.WAITING, claim.settled, stranger)
    if view.told.untold and not view.own:
        return Stands(Standing.UNTOLD, nobody, _untold(view))
    claim, rival = _claim(view, backed)
    if rival:
        ask = rival.entry.address if view.lingers(rival) or not view.has_sentinel else None
        return Stands(Standing.NEWER, claim, f"{rival} holds {told(rival.claim)}", ask)
    return _beside_no_newer(view, backed, claim)


def replica_standing(view: View) -> Stands | None:
    """What stands in the way of a replica's entry: another group that holds the name, or may hold it."""
    nobody = Claim(NO_EPOCH, 0, view.node.run_id)
    if view.facts.catalog is None:
        return Stands(Standing.UNREAD, nobody)
    if stranger := _blocked_by(view):
        return Stands(Standing.STRANGER, nobody, stranger)
    if view.told.untold and not (view.own_entries or view.others):
        return Stands(Standing.UNTOLD, nobody, _untold(view))
    return None


def _untold(view: View) -> str:
    others = ", ".join(map(str, view.told.untold))
    return f"whether the claim of {others} is this group's is not known yet"


def _beside_no_newer(view: View, backed: Backed, claim: Claim) -> Stands:
    confirmed = max(view.confirmed, backed.confirmed)
    if view.own:
        if backed.by is Backing.OUTVOTED:
            since = min(view.memory.outvoted, view.now)
            leaving = since <= view.now < since + GIVING_WAY and not claim.early
            return Stands(Standing.LEAVING if leaving else Standing.OWN, claim)
        return Stands(Standing.LAPSED if view.now - confirmed > view.policy.ttl else Standing.OWN, claim)
    if backed.by is Backing.NOBODY and not view.kept:
        return Stands(Standing.FREE, claim)
    held = view.memory.held
    if held and held.early and held.run_id == view.node.run_id and backed.early and view.evicted:
        return Stands(Standing.NEWER, claim, "the own early claim was evicted")
    if view.now - view.facts.asked > view.policy.ttl:
        # A claim that is new must be held against the claims of now, not against those of before a cut, which the own
        # Consul agent goes on to show.
        return Stands(Standing.STALE, claim)
    evicted = any(h.entry.evicted and claim.order <= h.claim.order for h in view.own_entries)
    if evicted and 0 <= view.now - view.memory.evicted_since < PATIENCE:
        return Stands(Standing.EVICTED, claim)
    passed = claim.epoch < view.memory.newest and view.now - view.memory.newest_at < PATIENCE
    if passed and not view.false:
        # Its host or Consul agent may only just start again, and the Sentinels not all know of its failover yet.
        return Stands(Standing.PASSED, claim, f"a claim of epoch {view.memory.newest} was there a moment ago")
    if backed.by is Backing.NOBODY:
        return Stands(Standing.LOST, claim)
    published = any(not h.entry.pending for h in (*view.own_entries, *view.others))
    if not view.recorded and not view.rivals and not (view.has_sentinel and published):
        return Stands(Standing.FIRST, claim)
    return Stands(Standing.BEHIND if _is_behind(view) else Standing.FREE, claim)


def _blocked_by(view: View) -> str:
    """The group that holds the name: first come stays."""
    strangers = view.told.strangers
    ours = [h.entry for h in (*view.own_entries, *view.others)]
    if not strangers or any(e.live for e in ours):  # who publishes stays
        return ""
    held = [e for e in strangers if not e.pending]
    if held and any(not e.pending for e in ours):  # both have published: by force, or from a snapshot
        first = not any(e.live for e in held) and _oldest(ours) < _oldest(held)
    elif held:
        first = False
    else:
        first = any(not e.pending for e in ours) or _oldest([h.entry for h in view.own_entries]) < _oldest(strangers)
    if first:
        return ""
    named = sorted(set(map(str, strangers)))
    return f"{', '.join(named)} {'is' if len(named) == 1 else 'are'} of another group under the same service name"


def _oldest(entries: Iterable[Entry]) -> tuple[float, str, str]:
    """What tells which came first: Consul's index of it, and where that is equal or unknown, its key."""
    return min(((e.created, *e.key) for e in entries), default=(inf, "", ""))


def _is_behind(view: View) -> bool:
    """Whether an older first claim is recorded that does not pass either.

    Nothing but the catalog stands between two nodes that begin in the same moment: one of them sees both, and the one
    that was recorded later gives the other time.
    """
    mine = next((h.entry for h in view.own_entries if h.claim == view.recorded), None)
    if mine is None:
        return False
    pending = [h.entry for h in view.others if h.entry.pending and h.entry.node_alive]
    if view.has_sentinel or not _oldest(pending) < _oldest([mine]):
        return False
    return 0 <= view.now - view.memory.pending_since < PATIENCE


def _claim(view: View, backed: Backed) -> tuple[Claim, Held | None]:
    """The claim to hold or to make, and the rival that is newer."""
    match backed.by:
        case Backing.NAMED | Backing.FAILING_OVER:
            return _as_named(view, backed)
        case Backing.SELECTED if backed.early:
            claim = Claim(backed.epoch, 0, view.node.run_id, backed.early)
            return claim, view.newer_than(claim)
        case Backing.HANDED_OVER | Backing.FOLLOWED:
            return _as_handed_over(view, backed)
        case Backing.NO_SENTINEL:
            claim = view.own.claim.settled if view.own else Claim(NO_EPOCH, 0, view.node.run_id)
            mine = (claim.order, -view.own.entry.created) if view.own else None
            rival = view.newest
            newer = rival and not (mine and mine > (rival.claim.order, -rival.entry.created))
            return claim, rival if newer else None
    claim = view.kept or Claim(NO_EPOCH, 0, view.node.run_id)
    return claim, view.newer_than(claim) if view.kept else None


def _as_named(view: View, backed: Backed) -> tuple[Claim, Held | None]:
    claim = _at(view, backed)
    rival, epoch = view.newest, claim.epoch
    if rival is None or rival.claim.order < claim.order:
        return claim, None
    recorded = view.recorded.settled if view.recorded else None
    if backed.strict and recorded and recorded.epoch == epoch and recorded.order > rival.claim.order:
        return recorded, None
    equal = rival.claim.order == claim.order
    if rival.claim.epoch > epoch or not backed.strict or (view.own and not equal):
        return claim, rival
    if not equal and view.facts.catalog and view.node.at <= view.facts.catalog.at:
        # The holder gives way first. It may come back, but only on a look that is younger than the rival.
        return claim, rival
    return Claim(epoch, rival.claim.turn + 1, view.node.run_id), None


def _at(view: View, backed: Backed) -> Claim:
    """The claim held already where it is of this epoch, else a first one."""
    own = view.own.claim.settled if view.own else None
    if own and (own.epoch == backed.epoch or (own.epoch > backed.epoch and not view.is_recount)):
        return own
    # Must outrank any claim that an absent host may bring back.
    away = [h.claim.turn for h in view.others if h.claim.epoch == backed.epoch and not h.entry.live]
    return Claim(backed.epoch, max(away, default=-1) + 1, view.node.run_id)


def _as_handed_over(view: View, backed: Backed) -> tuple[Claim, Held | None]:
    """Within one epoch: a turn more than whoever holds it, or the turn that is held, or begun, already."""
    rival, peer, epoch = view.newest, view.facts.peer, backed.epoch
    turn = max((h.claim.turn for h in view.rivals if h.claim.epoch == epoch), default=0)
    newer = rival is not None and rival.claim.epoch > epoch
    if not newer and view.recorded and view.recorded.epoch == epoch and view.recorded.turn > turn:
        return view.recorded, None
    claim = Claim(epoch, turn + 1, view.node.run_id)
    looked = min(view.node.at, peer.at if peer else view.node.at)
    if rival and (view.own or newer or (view.facts.catalog and looked <= view.facts.catalog.at)):
        # As above: the roles may have been swapped back since, in which case the rival's claim is the evidence.
        return claim, rival
    return claim, None


def told(claim: Claim) -> str:
    """A claim in words."""
    turn = f"{f', turn {claim.turn}' if claim.turn else ''}{', early' if claim.early else ''}"
    return f"a claim of epoch {claim.epoch}{turn}" if claim.epoch > NO_EPOCH else f"a claim without Sentinel{turn}"
