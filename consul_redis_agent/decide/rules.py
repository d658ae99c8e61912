"""Who may be published, and why. Pure: facts and memory in, a decision and the next memory out.

 1. A Redis node is published as master only while its own INFO says ``role:master`` and it is not loading. One that is
    gone leaves at once. One that is there and does not answer stays while a majority of its Sentinels holds it for up;
    without Sentinel, for ``redis.patience``.
 2. And only while Sentinel stands behind it: a majority of its Sentinels name it, at the newest epoch that a majority
    has reached. One in TILT, out of reach or behind has no vote; one that is ahead silences nobody. Or, early, before
    the others know: a Sentinel that was elected leader at an epoch newer than every claim has selected it, it was seen
    to turn from replica to master, and that Sentinel says so still when it is asked after the turn. Such a claim says
    that it is early and since when. It stands until a majority follows, 5 s at most, and falls with its leader:
    refused, silent for 2 s, or giving up. Then it comes back only with a majority.
 3. The newest live epoch wins: a master that sees a live claim of its group with a newer epoch withdraws at once; at the
    same epoch a majority's claim beats an early one. A newer claim that no majority has followed 5 s later, and whose
    Redis, asked, does not say master, is false: the node that a majority names evicts it.
 4. A claim moves in one step: the decision names the older claims that are set critical in the transaction that
    publishes it, and the group's last claim, which that transaction compares with. A node that a majority has replaced, or
    that has handed over in order, leaves its claim to that step for a moment. A group's first claim is recorded
    critical, read back, and passes if it is the oldest.
 5. An older claim that comes back is named again by whoever holds the newest one.
 6. No Sentinel in reach is not a failover: the holder of the newest claim keeps it while Consul's servers, asked by
    themselves, answer that this very claim is there, passes and is the newest; also where its own Consul agent has
    started again and forgotten it. What neither they nor a majority have confirmed for longer than the TTL is withdrawn.
 7. Without any Sentinel the incumbent wins, until its claim is gone or its node follows the newcomer.
 8. Handover by ``FAILOVER``: a node whose named master says itself that it is now this node's replica may publish.
 9. Only claims of the same group are ever obeyed or evicted. While another group holds the name, this one publishes
    nothing under it.
10. What a helper found out late or not at all (a peer's answer) only ever delays a publication, never a withdrawal.
11. Before the first look at the node nothing is decided, so an entry left by an earlier run stays as it is.
12. A node that has lost its authority becomes a replica at once: :mod:`consul_redis_agent.decide.fence`. One that came back
    without its data is not published while a replica has some.

:data:`TABLE` is these rules: the first row that fits the node, who stands behind it and what claims stand is the
decision, and its reason is the row's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import TypeVar

from consul_redis_agent.decide.backing import LEADER_SILENCE, Backed, Backing, backing, held_up
from consul_redis_agent.decide.claim import EARLY_TERM, NO_EPOCH, Claim
from consul_redis_agent.decide.decision import Decision, Policy, Reason, SentinelMode, Verdict
from consul_redis_agent.decide.facts import Entry, Facts, Node, Role, Silence
from consul_redis_agent.decide.fence import Ordered, is_hollow, noted, ordered
from consul_redis_agent.decide.memory import Memory, changed
from consul_redis_agent.decide.others import other_agent
from consul_redis_agent.decide.remember import remember
from consul_redis_agent.decide.standing import GIVING_WAY, Standing, Stands, replica_standing, standing
from consul_redis_agent.decide.turn import RELIEF, is_due, is_relieved
from consul_redis_agent.decide.view import Held, View
from consul_redis_agent.decide.words import sentence

_T = TypeVar("_T")
MISSES = 2
"""One lost poll is normal (Sentinel closes every connection when it reconfigures a node); a second one is not."""


class State(StrEnum):
    """What is known of the Redis node."""

    UNSEEN = "not looked at yet"
    TAKEN = "another agent looks after it"
    MISSED = "one look failed, or the last answer is old"
    GONE = "nothing listens"
    SILENT = "no answer, or BUSY"
    LOADING = "loading"
    EMPTY = "a master that came back without its data"
    HIDDEN = "a replica that is not to be seen"
    LINK_DOWN = "a replica whose link is down, for too long or without data to serve"
    LAGGING = "a replica too far behind"
    REPLICA = "a replica"
    NOWHERE = "a healthy replica, at no address that others could use"
    RELIEVED = "a replica that has handed the master's part over a moment ago, and whose claim nobody has evicted yet"
    MASTER = "a master"
    MASTER_NOWHERE = "a master, at no address that others could use"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what it fits, the rule that it carries out, and what follows. None fits everything."""

    rule: int
    reason: Reason
    verdict: Verdict
    node: frozenset[State] | None = None
    backing: frozenset[Backing] | None = None
    standing: frozenset[Standing] | None = None

    def fits(self, node: State, by: Backing | None, what: Standing | None) -> bool:
        """Whether this is its case. ``by`` and ``what`` are None where the node is no master, so that nobody asks."""
        return (
            (self.node is None or node in self.node)
            and (self.backing is None or by in self.backing)
            and (self.standing is None or what in self.standing)
        )


def _row(
    rule: int,
    reason: Reason,
    verdict: Verdict,
    node: State | tuple[State, ...] = (),
    by: Backing | tuple[Backing, ...] = (),
    what: Standing | tuple[Standing, ...] = (),
) -> Row:
    return Row(rule, reason, verdict, _set(node), _set(by), _set(what))


def _set(given: _T | tuple[_T, ...]) -> frozenset[_T] | None:
    return (frozenset(given) if isinstance(given, tuple) else frozenset((given,))) or None


_HOLDS = (Standing.OWN, Standing.LAPSED)
_REPLICAS = (State.HIDDEN, State.LINK_DOWN, State.LAGGING, State.REPLICA, State.NOWHERE)
TABLE = (
    _row(11, Reason.UNSEEN, Verdict.KEEP, node=State.UNSEEN),
    _row(9, Reason.OTHER_AGENT, Verdict.KEEP, node=State.TAKEN),
    _row(1, Reason.MISSED, Verdict.KEEP, node=State.MISSED),
    _row(1, Reason.PATIENT, Verdict.MASTER, State.SILENT, Backing.UP, Standing.OWN),
    _row(1, Reason.SILENT, Verdict.NONE, node=(State.SILENT, State.GONE)),
    _row(1, Reason.LOADING, Verdict.NONE, node=State.LOADING),
    _row(12, Reason.EMPTY, Verdict.NONE, node=State.EMPTY),
    _row(1, Reason.HIDDEN, Verdict.NONE, node=State.HIDDEN),
    _row(1, Reason.LINK_DOWN, Verdict.NONE, node=State.LINK_DOWN),
    _row(1, Reason.LAGGING, Verdict.NONE, node=State.LAGGING),
    _row(4, Reason.RELIEVED, Verdict.KEEP, node=State.RELIEVED),
    _row(4, Reason.NO_CATALOG, Verdict.KEEP, what=Standing.UNREAD),
    _row(3, Reason.NEWER_CLAIM, Verdict.NONE, by=(Backing.SEARCHING, Backing.UNASKED), what=Standing.NEWER),
    _row(7, Reason.SEARCHING, Verdict.KEEP, by=Backing.SEARCHING),
    _row(9, Reason.STRANGER, Verdict.PENDING, State.MASTER, Backing.NAMED, Standing.WAITING),
    _row(9, Reason.STRANGER, Verdict.NONE, what=(Standing.STRANGER, Standing.WAITING)),
    _row(9, Reason.UNTOLD, Verdict.KEEP, what=Standing.UNTOLD),
    _row(1, Reason.NO_ADDRESS, Verdict.NONE, node=State.NOWHERE),
    _row(1, Reason.REPLICATES, Verdict.REPLICA, node=State.REPLICA),
    _row(2, Reason.ASKING_LEADER, Verdict.KEEP, by=Backing.UNASKED),
    _row(2, Reason.EARLY_OVER, Verdict.NONE, by=Backing.EARLY_OVER),
    _row(4, Reason.GIVING_WAY, Verdict.KEEP, by=Backing.OUTVOTED, what=Standing.LEAVING),
    _row(2, Reason.OUTVOTED, Verdict.NONE, by=Backing.OUTVOTED),
    _row(2, Reason.NAMED, Verdict.MASTER, State.MASTER, Backing.FAILING_OVER, _HOLDS),
    _row(2, Reason.FAILING_OVER, Verdict.NONE, by=Backing.FAILING_OVER),
    _row(7, Reason.REFUSED, Verdict.NONE, by=Backing.NO_SENTINEL, what=Standing.NEWER),
    _row(3, Reason.NEWER_CLAIM, Verdict.NONE, what=(Standing.NEWER, Standing.PASSED)),
    _row(6, Reason.LEASE_OVER, Verdict.NONE, by=(Backing.NOBODY, Backing.NO_SENTINEL), what=Standing.LAPSED),
    _row(2, Reason.UNBACKED, Verdict.NONE, by=Backing.NOBODY, what=Standing.FREE),
    _row(4, Reason.NO_CATALOG, Verdict.KEEP, what=Standing.STALE),
    _row(4, Reason.EVICTED, Verdict.KEEP, what=Standing.EVICTED),
    _row(1, Reason.NO_ADDRESS, Verdict.NONE, node=State.MASTER_NOWHERE),
    _row(4, Reason.FIRST, Verdict.PENDING, what=(Standing.FIRST, Standing.BEHIND)),
    _row(2, Reason.NAMED, Verdict.MASTER, by=Backing.NAMED),
    _row(2, Reason.SELECTED, Verdict.MASTER, by=Backing.SELECTED),
    _row(8, Reason.HANDED_OVER, Verdict.MASTER, by=Backing.HANDED_OVER),
    _row(7, Reason.FOLLOWED, Verdict.MASTER, by=Backing.FOLLOWED),
    _row(7, Reason.INCUMBENT, Verdict.MASTER, by=Backing.NO_SENTINEL),
    _row(6, Reason.CONFIRMED, Verdict.MASTER, by=Backing.NOBODY),
)
"""First matching row wins. Total: the last rows fit every master that no row above has caught."""


def first_row(node: State, by: Backing | None, what: Standing | None) -> Row:
    """The row that decides."""
    return next(row for row in TABLE if row.fits(node, by, what))


def decide(facts: Facts, memory: Memory, policy: Policy) -> tuple[Decision, Memory]:
    """Apply the rules to one node. Total: every combination of facts has a decision, and none raises."""
    if policy.mode is SentinelMode.OFF:
        memory = changed(memory, known=frozenset(), roster={}, had_sentinel=False)
    memory = remember(facts, memory)
    state = State.TAKEN if other_agent(facts, memory, policy) else _state(facts, policy)
    view = backed = stands = None
    if node := memory.node or _as_left(facts):
        view = View(facts, memory, policy, node)
        memory = changed(memory, fence=noted(view))
        if state is State.MASTER and is_hollow(view, memory.fence):
            state = State.EMPTY
        if state in _REPLICAS and is_relieved(view):
            state = State.RELIEVED
        if state in (State.MASTER, State.MASTER_NOWHERE):
            backed = backing(view)
            stands = standing(view, backed)
        elif state is State.SILENT:
            backed = held_up(view)
            stands = standing(view, backed)
        elif state in (State.REPLICA, State.NOWHERE):
            stands = replica_standing(view)
    row = first_row(state, backed.by if backed else None, stands.what if stands else None)
    orders = ordered(view, backed, memory) if view and state is not State.TAKEN else Ordered(memory.fence)
    case = _Case(facts, memory, policy, row, view, backed, stands, orders)
    return case.decision(), changed(case.memory_after(), fence=orders.memory)


def _as_left(facts: Facts) -> Node | None:
    """The own node as an earlier run left it in the catalog, where it has not answered this one yet."""
    own = facts.own_entry
    return Node(-inf, own.claim.run_id, Role.MASTER) if own and own.claim and own.says_master else None


def _state(facts: Facts, policy: Policy) -> State:
    node = facts.node
    if node is None:
        return State.UNSEEN
    if isinstance(node, Silence):
        if node.gone:
            return State.GONE
        return State.SILENT if node.misses >= MISSES else State.MISSED
    if facts.now - node.at > policy.node_life:
        return State.MISSED
    if node.loading:
        return State.LOADING
    if node.role is Role.MASTER:
        return State.MASTER if facts.address else State.MASTER_NOWHERE
    if not node.announced:
        return State.HIDDEN
    if not node.link_up and not (node.serves and node.lag <= policy.max_lag):
        return State.LINK_DOWN  # until then reads go on through a failover
    if node.lag > policy.max_lag:
        return State.LAGGING
    return State.REPLICA if facts.address else State.NOWHERE


@dataclass(frozen=True, slots=True)
class _Case:
    """One row that has been found to fit, and what it was found from."""

    facts: Facts
    memory: Memory
    policy: Policy
    row: Row
    view: View | None
    backed: Backed | None
    stands: Stands | None
    orders: Ordered

    @property
    def claim(self) -> Claim | None:
        return self.stands.claim if self.stands and self.row.verdict in (Verdict.MASTER, Verdict.PENDING) else None

    @property
    def group(self) -> str:
        """The group id; a first one is made of what nobody else has: this life of the node, and the time."""
        if self.memory.group or not self.claim:
            return self.memory.group
        return f"{self.claim.run_id[:16]}-{int(self.facts.now * 1000):x}"

    def decision(self) -> Decision:
        row, backed, stands = self.row, self.backed, self.stands
        evict = self._evicted() if row.verdict is Verdict.MASTER else []
        asks = row.verdict is not Verdict.MASTER and row.reason is not Reason.ASKING_LEADER
        ask = ((stands.ask if stands else None) or (backed.named if backed else None)) if asks else None
        leader = backed.leader if backed and row.reason in (Reason.ASKING_LEADER, Reason.SELECTED) else ""
        return Decision(
            row.verdict,
            row.reason,
            sentence(row.reason, self.facts, self.policy, self.view, backed, stands, evict),
            claim=self.claim,
            group=self.group,
            evict=tuple(h.entry for h in evict),
            last=self._last(evict) if row.verdict is Verdict.MASTER else None,
            keeps=_kept(self.view) if row.verdict in (Verdict.NONE, Verdict.REPLICA) else None,
            ask=self.orders.ask or ask,
            leader=self.orders.leader or leader,
            closely=self.orders.closely,
            awaits_turn=self.view is not None and is_due(self.view),
            until=min(self._until(), self.orders.until),
            order=self.orders.order,
        )

    def memory_after(self) -> Memory:
        """What is remembered of the decision."""
        memory, view, backed, row = self.memory, self.view, self.backed, self.row
        down = inf if not (backed and backed.held_down) else min(memory.held_down_since, self.facts.now)
        memory = changed(memory, recount_since=self._recount_since(), held_down_since=down)
        if row.verdict is Verdict.KEEP:
            return changed(memory, outvoted=self._outvoted()) if row.reason is Reason.GIVING_WAY else memory
        confirmed = max(view.confirmed if view else -inf, backed.confirmed if backed else -inf)
        if row.verdict is Verdict.MASTER:
            if view and view.own is None and row.reason is not Reason.CONFIRMED:
                confirmed = max(confirmed, self.facts.asked)  # a new claim's lease begins with what the servers said
            # What Consul alone confirms may predate a withdrawal.
            held = memory.held if row.reason in (Reason.CONFIRMED, Reason.PATIENT) else self.claim
            heard = backed.heard if backed and row.reason is Reason.SELECTED else -inf
            return changed(
                memory, confirmed=confirmed, recorded=None, held=held, heard=heard, outvoted=inf, group=self.group
            )
        pending = row.verdict is Verdict.PENDING
        had = (memory.held, memory.recorded, *((h.claim for h in view.own_entries) if view else ()))
        # The same claim that is recorded again, as after Consul has lost everything, still stands: its term goes on.
        lost = [c for c in had if c and c.early and not (pending and c == self.claim)]
        return changed(
            memory,
            confirmed=confirmed if self.stands else -inf,
            recorded=self.claim if pending else None,
            held=None,
            heard=-inf,
            outvoted=inf,
            spent=max(memory.spent, *(c.epoch for c in lost), -1),
            group=self.group,
        )

    def _evicted(self) -> list[Held]:
        """The claims of the group that have to be critical beside the own one."""
        if not self.view or not self.claim:
            return []
        order = self.claim.order
        masters = [h for h in self.view.others if h.entry.rises and h.entry.says_master]
        return [h for h in masters if h.claim.order <= order or h in self.view.false]

    def _last(self, evict: list[Held]) -> Entry | None:
        """Where the newest claim of another node of the group is, if it is not evicted anyway."""
        if not self.view:
            return None
        newest = max(self.view.others, key=lambda h: h.claim.order, default=None)
        return newest.entry if newest and newest not in evict else None

    def _recount_since(self) -> float:
        """A majority's epoch is lower than that of the own claim: they may have been wiped, and count anew."""
        view, backed = self.view, self.backed
        lower = view and backed and view.kept and NO_EPOCH < view.top < view.kept.epoch
        return min(self.memory.recount_since, self.facts.now) if lower else inf

    def _outvoted(self) -> float:
        return min(self.memory.outvoted, self.facts.now)

    def _until(self) -> float:
        backed = self.backed
        if self.row.reason is Reason.GIVING_WAY:
            return self._outvoted() + GIVING_WAY
        if self.row.reason is Reason.RELIEVED and isinstance(self.facts.node, Node):
            return self.facts.node.relieved + RELIEF
        if self.row.verdict is Verdict.MASTER and backed and backed.early:
            return min(backed.early.since + EARLY_TERM, backed.heard + LEADER_SILENCE)
        return inf


def _kept(view: View | None) -> Claim | None:
    """The own claim, where it is the group's last one."""
    if view is None:
        return None
    mine = [h.claim for h in view.own_entries if not (h.entry.pending or h.claim.early)]  # what a majority has followed
    own = max(mine, key=lambda c: c.order, default=None)
    return own if own and all(h.claim.order < own.order for h in view.others) else None


__all__ = ["MISSES", "TABLE", "Row", "State", "decide", "first_row"]
