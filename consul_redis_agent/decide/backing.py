"""Who stands behind this node? The first of the two questions of the table. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from consul_redis_agent.decide.claim import EARLY_TERM, NO_EPOCH, Claim, Early
from consul_redis_agent.decide.decision import SentinelMode
from consul_redis_agent.decide.facts import Address, Role, Sentinel
from consul_redis_agent.decide.sentinels import leader
from consul_redis_agent.decide.view import View

LEADER_SILENCE = 2.0
"""Seconds without the leader's word after which an early claim falls."""
SEEN_LATE = 1.0
"""Seconds by which a selection may be seen after the turn that it led to. A turn of longer ago belongs to another one."""


class Backing(StrEnum):
    """The answers."""

    SEARCHING = "still looking for Sentinels"
    NAMED = "a majority names this node"
    FAILING_OVER = "a majority names this node, and it is being failed over or is held for down"
    SELECTED = "the elected leader has selected this node, which has turned master"
    UNASKED = "the same, and the leader is still to be asked again"
    EARLY_OVER = "the own claim is early, and its leader is lost or its term is over"
    HANDED_OVER = "the node that a majority names follows this one"
    OUTVOTED = "a majority names another node"
    NOBODY = "no majority is heard"
    NO_SENTINEL = "there is no Sentinel"
    UP = "it does not answer, and is held for up"
    FOLLOWED = "there is no Sentinel, and the node that holds the claim follows this one"


@dataclass(frozen=True, slots=True)
class Backed:
    """An answer, with what it rests on."""

    by: Backing
    sentence: str
    epoch: int = NO_EPOCH
    confirmed: float = -inf
    """Since when a majority confirms it."""
    strict: bool = False
    """A majority knows the node there by its run id."""
    named: Address | None = None
    """The other node that a majority names."""
    held_down: bool = False
    """Every Sentinel names it, and none replaces it, though a majority holds it for down."""
    early: Early | None = None
    """The own early claim's, where it is on a leader's word."""
    leader: str = ""
    """Id of that leader."""
    heard: float = -inf
    """When it last said so."""


def backing(view: View) -> Backed:
    """Who stands behind the node."""
    mode = view.policy.mode
    if not view.has_sentinel:
        if mode is SentinelMode.AUTO and view.facts.searching and not _goes_on(view):
            return Backed(Backing.SEARCHING, _searching(view))
        return _without_sentinel(view)
    mine = view.naming_me
    count = f"{len(mine)} of {view.known} Sentinels name this node" if view.known else "no Sentinel is known"
    if view.is_named:
        return _named(view, mine, count)
    named = view.named
    claims = [c for c in (view.own.claim if view.own else None, view.memory.held) if c and c.run_id == view.node.run_id]
    own = max(claims, key=lambda c: c.order, default=None)  # the one that is held may not be written yet
    if own and own.early:
        return _stays_early(view, own, own.early, named)
    if view.policy.early and (early := _begins_early(view, own)):
        return early
    # Where DNS waits for a majority, it waits though the old master was made a replica on the leader's word.
    if named and view.follows_me(named) and (view.policy.early or not leader(view.facts, view.node, view.memory.known)):
        return _handed_over(view, named)
    return _unnamed(view, named, count)


def _handed_over(view: View, named: Address) -> Backed:
    why = f"{named}, which Sentinel names, says it follows this node"
    return Backed(Backing.HANDED_OVER, why, view.top, named=named)


def _goes_on(view: View) -> bool:
    """Whether it was published without Sentinel, and nobody was refused who could not have been refused then, too."""
    return bool(view.facts.refused and view.own and view.own.claim.epoch == NO_EPOCH)


def _searching(view: View) -> str:
    if view.facts.unheard:
        return f"whether there is a Sentinel cannot be known: {view.facts.unheard}"
    if view.facts.refused:
        return (
            f"no Sentinel says hello on Redis, which has refused {view.facts.refused} logins meanwhile: if those are Sentinels, "
            'correct their auth-pass; if there is none, set sentinel.mode = "off"'
        )
    return "still looking for Sentinels"


def _named(view: View, mine: list[Sentinel], count: str) -> Backed:
    top, need = view.top, view.need
    sure = [s for s in mine if not s.down]
    strict = sum(map(view.knows_me, mine)) >= need
    confirmed = sorted(s.at for s in mine)[-need]
    # It comes back while it is being replaced: most Sentinels learn that only after the promotion.
    replaced = len(sure) < need or any(_replaces_me(view, s) for s in view.voters)
    # Held for down though it answers, for longer than an election takes, and none of all of them replaces it: they cannot
    # log in. Whom it should be is not in doubt.
    down = len(sure) < need and len(mine) == view.known and all(s.promoting is None for s in mine)
    if down and view.now - view.memory.held_down_since > EARLY_TERM:
        why = f"{count} at epoch {top}, which hold it for down though it answers: can they log in to it (auth-pass)?"
        return Backed(Backing.NAMED, why, top, confirmed, strict, held_down=True)
    by = Backing.FAILING_OVER if replaced else Backing.NAMED
    return Backed(by, f"{count} at epoch {top}", top, confirmed, strict, held_down=down)


def _replaces_me(view: View, sentinel: Sentinel) -> bool:
    """Whether it promotes another node; one that no majority has followed for a term is given up."""
    under_way = view.now - sentinel.promoting_since <= EARLY_TERM
    return under_way and sentinel.promoting not in (None, view.node.run_id)


def _begins_early(view: View, own: Claim | None) -> Backed | None:
    """Rule 2, second half: the leader has selected this node, which has turned, and says so still.

    A majority has followed ``own``, if there is one: when that is out of reach again, the leader's word adds nothing to it.
    """
    node, found = view.node, leader(view.facts, view.node, view.memory.known)
    chosen = found.selection if found else None
    if found is None or chosen is None:
        return None
    # A role reported before the selection says nothing about the promotion: the node was a replica then.
    turned = node.at >= chosen.at and node.turned >= chosen.at - SEEN_LATE
    every = max([h.claim.epoch for h in view.others] + ([own.epoch] if own else []), default=NO_EPOCH)
    if not turned or chosen.epoch < view.top or chosen.epoch <= max(every, view.memory.spent):
        return None
    if found.at < max(node.turned, view.now - LEADER_SILENCE):
        why = f"{found.address}, elected at epoch {chosen.epoch}, is asked whether it stands by it"
        return Backed(Backing.UNASKED, why, chosen.epoch, leader=found.id)
    early = Early(int(view.now * 1000) / 1000, view.facts.boot, found.id)  # milliseconds, as Consul holds it
    for recorded in (view.recorded, view.memory.recorded):
        if recorded and recorded.early and (recorded.epoch, recorded.run_id) == (chosen.epoch, node.run_id):
            early = recorded.early
    if _is_over(view, early):  # it was recorded that long ago, and counts from then
        return None
    return _selected(chosen.epoch, early, found.at)


def _is_over(view: View, early: Early) -> bool:
    """Whether an early claim has had its time; another start of the machine's cannot be told, so it has."""
    return early.boot != view.facts.boot or not 0 <= view.now - early.since <= EARLY_TERM


def _selected(epoch: int, early: Early, heard: float) -> Backed:
    why = f"the leader elected at epoch {epoch} has selected this node, and it has turned master"
    return Backed(Backing.SELECTED, why, epoch, early=early, leader=early.leader, heard=heard)


def _stays_early(view: View, claim: Claim, early: Early, named: Address | None) -> Backed:
    """An own early claim for which no majority stands yet."""
    heard = max(view.memory.heard, early.since)
    found = next((s for s in view.facts.sentinels if s.id == early.leader), None)
    if view.facts.searching and not (found and found.looked):
        return Backed(Backing.SEARCHING, "the leader that selected it is not found yet")
    over = ""
    if _is_over(view, early):
        over = f"no majority of Sentinels has followed within {EARLY_TERM:g} s"
    elif found and found.gone:
        over = f"the leader that selected this node is gone: {found.error}"
    elif found and found.votes and found.at > heard:
        heard = found.at
        if found.promoting != view.node.run_id and not view.names_me(found):
            over = "the leader has given up the failover to this node"
    if not over and view.now - heard > LEADER_SILENCE:
        over = f"the leader that selected this node has been silent for {LEADER_SILENCE:g} s"
    if over and named and view.follows_me(named):  # rule 8: it was demoted on that leader's word
        return _handed_over(view, named)
    if over:
        return Backed(Backing.EARLY_OVER, over, view.top, named=named)
    if named and view.top >= claim.epoch:
        return Backed(Backing.OUTVOTED, f"the Sentinels name {named} at epoch {view.top}", view.top, named=named)
    return _selected(claim.epoch, early, heard)


def _unnamed(view: View, named: Address | None, count: str) -> Backed:
    """No majority stands behind this node."""
    own = view.kept
    if not own and view.facts.searching and not view.rivals:
        return Backed(Backing.SEARCHING, f"{count}, but not all were asked yet")
    if own:
        against = [s.epoch for s in view.voters if not view.names_me(s)]
        newer = sum(epoch > own.epoch for epoch in against) >= view.need
        if newer or (named and ((view.top == own.epoch and own.turn == 0) or view.is_recount)):
            why = f"the Sentinels name {named or 'other nodes'} at epoch {view.top}"
            return Backed(Backing.OUTVOTED, why, view.top, named=named)
    return Backed(Backing.NOBODY, count, view.top, named=named)


def _without_sentinel(view: View) -> Backed:
    rival = view.newest
    if rival and not _came_first(view) and view.follows_me(rival.entry.address):
        why = f"{rival.entry.address}, the former master, follows it"
        return Backed(Backing.FOLLOWED, why, rival.claim.epoch)
    return Backed(Backing.NO_SENTINEL, "no Sentinel is in use")


def _came_first(view: View) -> bool:
    own, rival = view.own, view.newest
    if own is None or rival is None:
        return own is not None
    return (own.claim.order, -own.entry.created) > (rival.claim.order, -rival.entry.created)


def held_up(view: View) -> Backed:
    """Rule 1: whether a node that does not answer is held for up, which said last that it is a master."""
    if view.node.role is not Role.MASTER or view.node.loading:
        return Backed(Backing.NOBODY, "it was no master when it answered last")
    if not view.has_sentinel:
        patient = view.now - view.node.at <= view.policy.patience
        return Backed(Backing.UP if patient else Backing.NOBODY, f"it may be silent for {view.policy.patience:g} s")
    up = [s for s in view.naming_me if not s.down]
    if len(up) < view.need or any(_replaces_me(view, s) for s in view.voters):
        return Backed(Backing.NOBODY, "no majority of Sentinels holds it for up")
    why = f"{len(up)} of {view.known} Sentinels hold it for up"
    return Backed(Backing.UP, why, view.top, sorted(s.at for s in up)[-view.need])
