"""What is done about a Redis node that has lost its authority, and what a Sentinel is asked for (rule 12). Pure.

:data:`ORDERS` is tried from the top; the first row that has an order gives it, or says for whose word it waits. Every
row rests on what somebody has said just now. Silence, an entry in Consul, or a number proves nothing here: a node that is
master with authority is never made to wait for longer than Sentinel's own failover does, nor turned.

What Redis and Sentinel do was read in sentinel.c and measured; the pause is given once, since what queues behind a longer
one makes Sentinel hold the node for down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import inf

from consul_redis_agent.decide.backing import Backed, Backing
from consul_redis_agent.decide.claim import EARLY_TERM, NO_EPOCH
from consul_redis_agent.decide.decision import Closely, Do, FenceMode, Order
from consul_redis_agent.decide.facts import Address, Entry, Node, Role, Sentinel, Silence
from consul_redis_agent.decide.identity import addresses_at_sentinel, is_loopback
from consul_redis_agent.decide.memory import Fenced, Memory
from consul_redis_agent.decide.sentinels import leader
from consul_redis_agent.decide.view import View

MOMENT = 0.02
"""Seconds by which two questions differ that were put in the same moment."""
YOUNG = 0.5
"""Seconds for which the new master's own word counts."""
TOLD = 0.2
"""Seconds for which a node that is to follow waits for the new claim to stand: its clients then find the new master."""
AGAIN = 0.5
"""Seconds after which a node that says master still is told once more."""
SELECTED = 1.0
"""Seconds after a selection in which a pause is of use: the promotion follows within 0.1 s."""
UNTURNED = EARLY_TERM + 1.0
"""Seconds since which a node has been a master, before an older majority's word turns it: it may just be promoted."""
SHORTEST = 5.0
"""Seconds of ``down-after-milliseconds`` below which nothing is asked: an election may be under way at the same epoch."""
HOLLOW = 3.0
"""Seconds for which a node that came back empty is not published: a replica is asked, and the failover begins."""
SOON = 0.1
"""Seconds before a failover is due in which the Sentinels are asked what they see."""
EACH = 0.05
"""Seconds for which one replica is asked whether it has data, and then the next."""
ATTENTION = 2.0
"""Seconds for which the Sentinels are asked closely whether they have lost the node, too."""
PAUSES = (6, 2)
"""The first Redis whose writes alone can be let wait."""

HAS_AUTHORITY = frozenset(
    {Backing.NAMED, Backing.FAILING_OVER, Backing.SELECTED, Backing.UNASKED, Backing.HANDED_OVER, Backing.FOLLOWED}
)
"""Who stands behind the node so that only a newer epoch takes it its authority."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """What comes of it: an order, or whose word is waited for."""

    memory: Fenced
    order: Order | None = None
    ask: Address | None = None
    leader: str = ""
    closely: Closely = Closely.NOBODY
    until: float = inf
    """When time alone changes this."""


@dataclass(frozen=True, slots=True)
class Successor:
    """Another node that is about to be the master, or is it."""

    address: Address
    """As Sentinel uses it."""
    run_id: str
    why: str
    leader: Sentinel | None = None
    """Who has selected it; None where a majority names it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line: its rule, its name, and what follows. ``gives`` answers None where the row does not fit."""

    rule: int
    name: str
    gives: Callable[[_Case], Ordered | None]


@dataclass(frozen=True, slots=True)
class _Case:
    """The facts, and what was ordered before."""

    view: View
    backed: Backed | None
    fence: Fenced

    @property
    def now(self) -> float:
        return self.view.now

    @property
    def master(self) -> Node | None:
        """The own node, if it says master and takes writes."""
        node = self.view.facts.node
        return node if isinstance(node, Node) and node.role is Role.MASTER and not node.loading else None

    @property
    def own_epoch(self) -> int:
        """The epoch by which the node has authority now: also a leader's who promotes it, where DNS waits for a majority."""
        backed = self.backed.epoch if self.backed and self.backed.by in HAS_AUTHORITY else NO_EPOCH
        mine = self.view.node.run_id
        return max(
            [backed, *(s.selection.epoch for s in self.view.fresh if s.selection and s.selection.run_id == mine)]
        )

    @property
    def selecting(self) -> Sentinel | None:
        """The elected leader of a failover from this node, or of a newer one than gave it authority."""
        chosen = [s for s in self.view.fresh if s.selection and s.selection.epoch > self.own_epoch]
        return max(chosen, key=lambda s: s.selection.epoch if s.selection else NO_EPOCH, default=None)

    @property
    def successor(self) -> Successor | None:
        by = self.selecting
        if by and by.selection:
            run_id = by.selection.run_id
            where = next((address for address, known in by.run_ids.items() if known == run_id), None)
            why = f"{by.address}, elected at epoch {by.selection.epoch}, has selected it"
            return Successor(where, run_id, why, by) if where else None
        if proved := self._proved:
            return proved
        return None if self.own_epoch > NO_EPOCH or self._may_be_new else self._named

    @property
    def _proved(self) -> Successor | None:
        """The node that proved itself a moment ago by a leader that was lost since: it still proved itself."""
        fence, where = self.fence, self.fence.proved_where
        promoted = self.backed is not None and self.backed.by in HAS_AUTHORITY - {Backing.NAMED, Backing.FAILING_OVER}
        if where is None or not fence.proved_by or promoted or self.now - fence.proved_at > AGAIN:
            return None
        if any(s.id == fence.proved_by for s in self.view.fresh):
            return None  # it has given up
        return Successor(where, fence.proved, "the leader that was elected, and is lost now, had selected it")

    @property
    def _may_be_new(self) -> bool:
        """Whether the node may have been promoted since most of the Sentinels looked."""
        return self.now - self.view.node.master_since <= UNTURNED

    @property
    def _named(self) -> Successor | None:
        """The node that a majority names, if they know who it is."""
        view, where = self.view, self.view.named
        if where is None:
            return None
        # After a switch most Sentinels know no run id for seconds, until that node's next INFO: one that does is enough, or
        # its claim, since the node has to say the same.
        known = {s.run_ids.get(where, "") for s in view.voters if s.master == where} - {""}
        known = known or {h.claim.run_id for h in view.rivals if h.entry.address == where}
        run_id = min(known, default="") if len(known) <= 1 else ""
        if run_id in ("", view.node.run_id):
            return None
        return Successor(where, run_id, f"a majority names it at epoch {view.top}")

    # Follow

    def follow(self) -> Ordered | None:
        """It follows who says itself that it is master with the run id that is meant, as soon as that is sure."""
        to = self.successor if self.master else None
        if to is None:
            return None
        closely = Closely.PEER if to.leader else Closely.NOBODY
        waits = Ordered(self.fence, ask=to.address, leader=to.leader.id if to.leader else "", closely=closely)
        if self.now - self.fence.followed < AGAIN:
            return replace(waits, until=self.fence.followed + AGAIN)
        says = self._says_master(to)
        if says is None:
            return self._pause_first(waits)
        if self.fence.proved != to.run_id or self.now - self.fence.proved_at > AGAIN:
            if to.leader and to.leader.at < says - MOMENT:
                return self._pause_first(waits)
            waits = replace(waits, memory=self._with_proof(to))
        proved_at = waits.memory.proved_at
        claims = any(h.claim.run_id == to.run_id and h.entry.live for h in self.view.others)
        if not claims and self.now < proved_at + TOLD:
            return replace(waits, until=proved_at + TOLD)
        order = Order(Do.FOLLOW, f"{to.address} says that it is the master, and {to.why}", to.address)
        return replace(waits, order=order, memory=replace(self._with_proof(None), followed=self.now))

    def _with_proof(self, to: Successor | None) -> Fenced:
        if to is None:
            return replace(self.fence, proved="", proved_at=inf, proved_where=None, proved_by="")
        by = to.leader.id if to.leader else ""
        return replace(self.fence, proved=to.run_id, proved_at=self.now, proved_where=to.address, proved_by=by)

    def _says_master(self, to: Successor) -> float | None:
        """When that node said so itself, if it did just now."""
        peer = self.view.facts.peer
        says = (
            peer is not None
            and peer.address == to.address
            and peer.role is Role.MASTER
            and peer.run_id == to.run_id
            and self.now - peer.at <= YOUNG
        )
        return peer.at if peer and says else None

    def _pause_first(self, waits: Ordered) -> Ordered:
        """From the selection on its writes wait, once for each selection, and never where the failover does that by itself."""
        by, node = self.selecting, self.master
        if by is None or by.selection is None or node is None or by.coordinated:
            return waits
        selection, fence = by.selection, waits.memory
        mine = self.view.names_me(by) and self.now - selection.at <= SELECTED
        if not mine or fence.paused == (by.id, selection.epoch) or node.version < PAUSES:
            return waits
        if fence.returned and node.empty and self.now - fence.returned_at <= SELECTED:
            return waits  # everything waits already, and so would the order
        why = f"{by.address}, elected at epoch {selection.epoch}, has selected another node"
        return replace(waits, order=Order(Do.PAUSE, why), memory=replace(fence, paused=(by.id, selection.epoch)))

    # Ask for a failover

    def ask_for_the_empty(self) -> Ordered | None:
        """A master that came back without its data, while a replica has some."""
        view, fence = self.view, self.fence
        if not view.policy.on_empty or not fence.returned or self.now - fence.returned_at > HOLLOW:
            return None
        if isinstance(view.facts.node, Node) and not self.master:
            return None  # it follows one already
        if isinstance(view.facts.node, Silence) and view.facts.node.refused:
            return None  # it is gone again
        if self._is_behind:
            fence = replace(fence, behind=self._is_behind)
        places = sorted(self._published)
        peer = view.facts.peer
        answered = peer if peer and peer.at >= fence.returned_at and peer.address in places else None
        if not view.node.empty:  # it has read something from disk, which may be old
            return Ordered(fence, ask=places[0] if places and not answered else None)
        if fence.returned_at == self.now and self.master:
            why = "it came back without its data"
            ask = places[0] if places else None
            return Ordered(fence, Order(Do.HOLD, why), ask, closely=Closely.PEER, until=self.now + HOLLOW)
        turns = int(max(self.now - fence.returned_at, 0.0) / EACH)
        ask = places[turns % len(places)] if places else None
        if answered and answered.empty is False:
            ask = answered.address
        until = min(fence.returned_at + EACH * (turns + 1), fence.returned_at + HOLLOW)
        waits = Ordered(fence, ask=ask, closely=Closely.PEER, until=until)
        if self._asked_lately or answered is None or answered.empty is not False:
            return waits
        sentinel = self._to_be_asked(fence.returned_at - SHORTEST, view.naming_me, self._promotable)
        if sentinel is None:
            return waits
        why = f"the master came back without its data, and {answered.address} has some"
        return self._asks(waits, sentinel, why)

    @property
    def may_come_empty(self) -> bool:
        """Whether the published master is gone, and nobody replaces it yet: its replicas copy what it comes back with."""
        lost_for = self.now - self.fence.lost_at
        return self.view.policy.on_empty and self.fence.lost is not None and lost_for <= self._down_after + HOLLOW

    @property
    def _is_behind(self) -> int:
        """How much the node lacks of a history that a replica has, in bytes, where it is the same history."""
        peer, node = self.view.facts.peer, self.view.node
        same = peer is not None and peer.role is Role.REPLICA and peer.replication_id == node.former_id != ""
        return max(0, peer.offset - node.offset) if peer and same and peer.at >= self.fence.returned_at else 0

    def ask_for_the_dead(self) -> Ordered | None:
        """The process of the published master is gone, as a majority of the Sentinels sees as well."""
        view, fence, silence = self.view, self.fence, self.view.facts.node
        lost = isinstance(silence, Silence) and silence.refused and fence.lost is not None
        if not (view.policy.on_death and lost) or fence.asked >= fence.lost_at or self._newer_claim:
            return None
        answered = max(view.node.at, silence.answered if isinstance(silence, Silence) else -inf)
        due = fence.lost_at + view.policy.delay
        closely = Closely.NODE if self.may_come_empty else Closely.NOBODY
        waits = Ordered(fence, closely=closely, until=due if self.now < due else inf)
        if due - SOON <= self.now <= due + ATTENTION:
            waits = replace(waits, closely=Closely.SENTINELS)
        long_ago = self.now - answered >= self._down_after / 2
        cut = [s for s in view.fresh if s.at >= fence.lost_at and s.disconnected and view.names_me(s)]
        if self.now < due or long_ago or len(cut) < view.need or self._failed_over_lately:
            return waits
        sentinel = self._to_be_asked(fence.lost_at, cut, self._published)
        if sentinel is None:
            return waits
        why = (
            f"the master's process has been gone for {self.now - fence.lost_at:.2g} s, "
            f"{fence.lost_at - answered:.2g} s after it answered"
        )
        return self._asks(waits, sentinel, f"{why}, and {len(cut)} Sentinels have lost their connection too")

    def ask_for_the_unheard(self) -> Ordered | None:
        """The leader that promoted this node is lost, and nobody else has heard of it."""
        view, backed = self.view, self.backed
        if not self.master and leader(view.facts, view.node, view.memory.known):
            return Ordered(self.fence, ask=view.named)  # the connection is there when the old master's word counts
        own = view.own.claim if view.own else view.memory.held
        early = (own.early if own and own.run_id == view.node.run_id else None) or self.fence.early
        if not (self.master and backed and early):
            return None
        if backed.by is Backing.SELECTED:  # should the leader be lost now, the old master's own word is what counts
            closely = Closely.NOBODY if self.fence.yielded >= early.since else Closely.PEER
            return Ordered(self.fence, ask=view.named, closely=closely)
        if not view.policy.on_death or backed.by in (Backing.NAMED, Backing.FAILING_OVER, Backing.UNASKED):
            return None
        if self.fence.asked >= early.since or self.now - early.since > 2 * EARLY_TERM:
            return None
        waits = Ordered(replace(self.fence, early=early), ask=view.named, closely=Closely.SENTINELS)
        cut = [s for s in view.fresh if s.disconnected and s.id != early.leader]
        if len(cut) < view.need and self.fence.yielded < early.since:  # the old master may be well, and is named
            return waits
        others = [s for s in view.fresh if s.id != early.leader]
        sentinel = self._to_be_asked(early.since, others, self._promotable | view.facts.me)
        if sentinel is None:
            return waits
        return self._asks(
            waits, sentinel, "the leader that promoted this node is lost, and the others have not heard of it"
        )

    def _asks(self, waits: Ordered, sentinel: Sentinel, why: str) -> Ordered:
        order = Order(Do.FAIL_OVER, why, sentinel.address)
        return replace(waits, order=order, memory=replace(waits.memory, asked=self.now))

    def _to_be_asked(self, since: float, among: Iterable[Sentinel], nodes: frozenset[Address]) -> Sentinel | None:
        """One on another host that has looked since then, is connected to most others and could promote one of these nodes."""
        view = self.view
        if any(s.promoting is not None for s in view.members) or self._down_after < SHORTEST:
            return None
        here = {address.host for address in view.facts.me}
        fit = [
            s
            for s in among
            if s.at >= since
            and not (s.address.host in here or is_loopback(s.address.host))
            and s.reaches + 1 >= view.need
            and not nodes.isdisjoint(s.usable)
        ]
        return max(fit, key=lambda s: (s.reaches, s.id), default=None)

    @property
    def _down_after(self) -> float:
        """The shortest that one of the Sentinels says."""
        return min((s.down_after for s in self.view.members if not s.error), default=0.0)

    @property
    def _lately(self) -> float:
        """When the last failover-timeout began."""
        return self.now - max((s.failover_timeout for s in self.view.fresh), default=inf)

    @property
    def _asked_lately(self) -> bool:
        """Whether a Sentinel was asked within it: as the node died, say, which has now come back empty."""
        return self.fence.asked > self._lately

    @property
    def _failed_over_lately(self) -> bool:
        """Whether this node may have become the master within the last failover-timeout: then nothing is asked."""
        view = self.view
        began = self._lately
        if self._asked_lately or view.node.turned > began:
            return True
        if -inf < view.node.master_since <= began or view.top <= 0:  # epoch 0: there never was a failover
            return False
        return sum(s.switched <= began for s in view.fresh) < view.need

    @property
    def _newer_claim(self) -> bool:
        lost = self.fence.lost
        return lost is not None and any(h.claim.order > lost.order for h in self.view.rivals)

    @property
    def _published(self) -> frozenset[Address]:
        """The addresses of the group's other nodes that Consul shows."""
        return frozenset({e.address for e in self._shown} - self.view.facts.me)

    @property
    def _promotable(self) -> frozenset[Address]:
        """The same, and where Sentinels have these nodes, which may be elsewhere (``redis.announce``)."""
        facts = self.view.facts
        listed = (a for e in self._shown if e.run_id for a in addresses_at_sentinel(e.run_id, facts.sentinels))
        return self._published | (frozenset(listed) - facts.me)

    @property
    def _shown(self) -> list[Entry]:
        facts = self.view.facts
        every: Iterable[Entry] = (*facts.elsewhere, *(facts.catalog.entries if facts.catalog else ()))
        return [e for e in every if self._is_shown(e)]

    def _is_shown(self, entry: Entry) -> bool:
        ours = entry.marked and entry.group in ("", self.view.memory.group)
        return ours and entry.node_alive and not entry.maintenance and (entry.passing or entry.says_master)


ORDERS = (
    Row(12, "follow the new master", _Case.follow),
    Row(12, "have the master that came back empty replaced", _Case.ask_for_the_empty),
    Row(12, "have the dead master replaced", _Case.ask_for_the_dead),
    Row(12, "have the others hear of the promotion", _Case.ask_for_the_unheard),
)
"""First row that fits wins. The first lets the writes wait until the new master says that it is one."""


def noted(view: View) -> Fenced:
    """What is remembered of the facts, whatever is ordered: a process that is gone, a life that has come back."""
    fence, node = view.memory.fence, view.facts.node
    if view.named and view.facts.peer and view.follows_me(view.named):
        fence = replace(fence, yielded=view.facts.peer.at)
    if isinstance(node, Silence):
        lost = fence.lost or (view.own.claim if view.own else view.memory.held)
        at = min(fence.lost_at, node.at) if node.refused else inf
        return fence if (lost, at) == (fence.lost, fence.lost_at) else replace(fence, lost=lost, lost_at=at)
    if fence.lost is not None or fence.lost_at < inf:
        fence = replace(fence, lost=None, lost_at=inf)
    if node is None or fence.returned == node.run_id or not view.policy.on_empty:
        return fence
    came_back = node.role is Role.MASTER and not node.loading and view.is_named and _left_by_another(view)
    return replace(fence, returned=node.run_id, returned_at=view.now, behind=0) if came_back else fence


def _left_by_another(view: View) -> bool:
    """Whether the own entry holds the group's newest claim for an earlier life of the node."""
    left = [h.claim for h in view.own_entries if h.claim.run_id != view.node.run_id and not h.entry.pending]
    newest = max(left, key=lambda c: c.order, default=None)
    return newest is not None and all(h.claim.order < newest.order for h in view.others)


def is_hollow(view: View, fence: Fenced) -> bool:
    """Whether the node came back without its data a moment ago, and nobody has said yet that there never were any."""
    if not view.node.empty or fence.returned != view.node.run_id or view.now - fence.returned_at > HOLLOW:
        return False
    peer = view.facts.peer
    meant = peer is not None and peer.at >= fence.returned_at and peer.role is Role.REPLICA and peer.empty is True
    return not meant


def ordered(view: View, backed: Backed | None, memory: Memory) -> Ordered:
    """What is to be done beside the decision."""
    fence = memory.fence
    if view.policy.fence is not FenceMode.ON or not view.has_sentinel or _is_maintained(view):
        return Ordered(fence)
    case = _Case(view, backed, fence)
    for row in ORDERS:
        if (given := row.gives(case)) is not None:
            return given
    node = view.facts.node
    away = isinstance(node, Silence) or (node is not None and node.loading)
    replaced = view.named is not None or view.newest is not None
    return Ordered(fence, closely=Closely.NODE if away and (replaced or case.may_come_empty) else Closely.NOBODY)


def _is_maintained(view: View) -> bool:
    """An operator works on the node: nothing is done to it."""
    own = view.facts.own_entry  # also one without a claim
    return (own is not None and own.maintenance) or any(h.entry.maintenance for h in view.own_entries)
