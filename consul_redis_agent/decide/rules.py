"""Who may be published, and why. Pure: facts in, one decision out; no I/O, no clock, no logging.

 1. A node is published as master only while its own INFO says ``role:master``, it is not loading, and it answers.
 2. And only while Sentinel stands behind it: a majority of the known Sentinels name it, at the newest epoch that a
    majority has reached. One in TILT, out of reach or behind that epoch has no vote; one that is ahead silences nobody.
    Or, early, before the others know: a Sentinel that was elected leader at an epoch newer than every claim has selected
    it, it was seen to turn from replica to master, and that Sentinel says so still when it is asked after the turn.
    Such a claim says that it is early and since when. It stands until a majority follows, 5 s at most, and falls with
    its leader: refused, silent for 2 s, or giving up. Then it comes back only with a majority.
 3. The newest epoch wins: a master that sees a live claim with a newer epoch withdraws at once; at the same epoch a
    majority's claim beats an early one. An early claim that was seen for more than its 5 s is nobody's: the node that a
    majority names evicts it.
 4. A claim moves in one step: the decision names the older claims that go down in the transaction that sets it up.
 5. An older claim that comes back is named again by whoever holds the newest one.
 6. No Sentinel in reach is not a failover: the holder of the newest claim keeps it while Consul's servers, asked by
    themselves, answer that this very claim is there, passes and is the newest; also where its own Consul agent has
    started again and forgotten it. What neither they nor a majority have confirmed for longer than the TTL is withdrawn.
 7. Without any Sentinel the incumbent wins, until its claim is gone or its node follows the newcomer.
 8. Handover by ``FAILOVER``: a node whose named master says itself that it is now this node's replica may publish.
 9. Only claims of the same group are ever named for eviction; a foreign entry is somebody else's.
10. What a helper found out late or not at all (a peer's answer) only ever delays a publication, never a withdrawal.
11. Before the first look at the node nothing is decided, so an entry left by an earlier run stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import floor, inf

from consul_redis_agent.decide.claim import EARLY_TERM, MARKER, MASTER_NAME, NO_EPOCH, Claim, Early
from consul_redis_agent.decide.facts import (
    NOTHING,
    Address,
    Catalog,
    Entry,
    Facts,
    Memory,
    Node,
    Peer,
    Role,
    Sentinel,
    Silence,
)

MISSES = 2
"""One lost poll is normal (Sentinel closes every connection when it reconfigures a node); a second one is not."""
SENTINEL_LIFE = 6.0
"""Seconds a Sentinel's word counts. It is looked up every 2 s and at every event; three missed look-ups are silence."""
PEER_LIFE = 2.0
"""Seconds a peer's answer counts: it is asked once a second while a decision waits for it."""

LEADER_SILENCE = 2.0
"""Seconds without the leader's word after which an early claim falls."""
SEEN_LATE = 1.0
"""Seconds by which a selection may be seen after the turn that it led to. A turn of longer ago belongs to another one."""

GIVING_WAY = 0.5
"""Seconds for which a master that a majority has replaced leaves its claim to be evicted by the new one's, in one step."""

PATIENCE = 2.0
"""Seconds for which a newer claim is remembered that has just left, and for which a claim that was put down is not
repeated: where Consul takes no transactions, its successor's shows up some milliseconds later. A check that somebody
set critical by hand is repaired at once."""


class Verdict(StrEnum):
    """What the own node is published as."""

    MASTER = "master"
    REPLICA = "replica"
    NONE = "none"
    STANDING = "standing"
    """Without Sentinel: about to be master. The claim is written down, but does not pass yet."""
    KEEP = "keep"
    """Not enough is known to change anything: what is there stays, and is not refreshed."""


class Reason(StrEnum):
    """Why, as a closed set; the value is what logs, metrics and ``status`` show."""

    NAMED = "named by a majority of Sentinels"
    SELECTED = "selected by the elected leader"
    CONFIRMED = "newest claim, confirmed by Consul"
    HANDED_OVER = "the named master follows this node"
    STANDING = "no Sentinel; looking whether another node claims, too"
    INCUMBENT = "no Sentinel and no other claim"
    FOLLOWED = "the former master follows this node"

    REPLICATES = "replicating"

    SILENT = "Redis does not answer"
    LOADING = "Redis is loading its data"
    LINK_DOWN = "the link to the master is down"
    LAGGING = "too far behind the master"
    NEWER_CLAIM = "another node holds a newer claim"
    OUTVOTED = "Sentinel names another node"
    EARLY_OVER = "the early claim is over, and no majority of Sentinels names this node"
    FAILING_OVER = "Sentinel is replacing this node, or holds it for down"
    UNBACKED = "no majority of Sentinels names this node"
    REFUSED = "another node says master already and holds the claim"
    NO_ADDRESS = "no address is known that others could use"
    LEASE_OVER = "neither Sentinel nor Consul has confirmed the claim within the TTL"

    UNSEEN = "Redis has not been looked at yet"
    MISSED = "one look at Redis was lost"
    SEARCHING = "still looking for Sentinels"
    PUT_DOWN = "the claim was put down, and its successor is awaited"
    NO_CATALOG = "Consul has not shown the other claims yet"
    GIVING_WAY = "Sentinel names another node, which is about to claim"
    ASKING_LEADER = "the elected leader is asked whether it still promotes this node"


class SentinelMode(StrEnum):
    """``sentinel.mode`` of the configuration."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says about decisions. Seconds."""

    mode: SentinelMode = SentinelMode.AUTO
    early: bool = True
    """Whether the elected leader's word is enough until a majority follows."""
    ttl: float = 10.0
    max_lag: float = 10.0
    node_life: float = 4.0
    """How long an answer of the own node counts: a poll period and two timeouts."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be, with its reason."""

    verdict: Verdict
    reason: Reason
    sentence: str
    """For people: one sentence that says what was seen."""
    claim: Claim | None = None
    """The claim to write, with verdict MASTER."""
    evict: tuple[Entry, ...] = ()
    """The older claims of the group that pass, or are about to, to be set critical together with the own claim."""
    ask: Address | None = None
    """The peer whose own word would change this decision."""
    leader: str = ""
    """Id of the Sentinel whose word this decision rests on, or waits for: to be asked often."""
    until: float = inf
    """When time alone changes this decision."""
    memory: Memory = NOTHING
    """Goes into the next :class:`Facts`."""

    @property
    def rests_on_consul(self) -> bool:
        """Whether only Consul's servers confirm the claim, so that they have to be asked."""
        return self.verdict is Verdict.MASTER and self.reason not in (Reason.NAMED, Reason.SELECTED)


@dataclass(frozen=True, slots=True)
class _Held:
    """A claim of the group together with the entry that carries it."""

    claim: Claim
    entry: Entry

    @property
    def live(self) -> bool:
        """DNS would answer with it, but for an operator's maintenance, which does not change who is master."""
        return self.entry.passing and self.entry.node_alive


def decide(facts: Facts, policy: Policy) -> Decision:
    """Apply the rules to one node. Total: every combination of facts has a decision, and none raises."""
    decision = _decide(facts, policy)
    spent = max(decision.memory.spent, facts.memory.spent)  # outlives every silence and every turn
    return replace(decision, memory=replace(decision.memory, spent=spent))


def _decide(facts: Facts, policy: Policy) -> Decision:
    node = facts.node
    if node is None:
        return _keep(facts, Reason.UNSEEN, "Redis has not been looked at yet.")
    if isinstance(node, Silence):
        if node.gone or node.misses >= MISSES:
            return Decision(Verdict.NONE, Reason.SILENT, f"Redis does not answer: {node.reason.rstrip('.')}.")
        return _keep(facts, Reason.MISSED, f"One look at Redis was lost ({node.reason}); looking again.")
    if facts.now - node.at > policy.node_life:
        return _keep(facts, Reason.MISSED, "What is known of Redis is out of date; looking again.")
    if node.loading:
        return Decision(Verdict.NONE, Reason.LOADING, "Redis answers but is still loading its data.")
    if node.role is Role.REPLICA:
        return _replica(node, policy)
    if facts.catalog is None:
        return _keep(facts, Reason.NO_CATALOG, "Redis is a master; Consul has not shown the other claims yet.")
    return _Master(facts, node, facts.catalog, policy).decide()


def without_address(decision: Decision) -> Decision:
    """What becomes of a decision to publish as long as nobody knows at which address."""
    if decision.verdict not in (Verdict.MASTER, Verdict.REPLICA):
        return decision
    sentence = "No address of the node is known that other hosts could use; set `announce` for it."
    return Decision(Verdict.NONE, Reason.NO_ADDRESS, sentence, memory=decision.memory)


def group(entries: Iterable[Entry], master_name: str) -> tuple[Entry, ...]:
    """The entries that are ours to judge: this tool's Meta, and the same master name where both sides know it."""
    return tuple(
        entry
        for entry in entries
        if MARKER in entry.meta
        and (not master_name or not entry.meta.get(MASTER_NAME) or entry.meta[MASTER_NAME] == master_name)
    )


def foreign(entries: Iterable[Entry], master_name: str) -> tuple[Entry, ...]:
    """The entries under the same service name that are not ours: reported, never changed."""
    listed = tuple(entries)
    ours = {(entry.node, entry.id) for entry in group(listed, master_name)}
    return tuple(entry for entry in listed if (entry.node, entry.id) not in ours)


def majority(known: int) -> int:
    """More than half of all known Sentinels, as Sentinel itself counts for an election."""
    return known // 2 + 1


def reached(epochs: Iterable[int], need: int) -> int:
    """The newest epoch that ``need`` Sentinels have reached; NO_EPOCH where there are fewer."""
    newest = sorted(epochs, reverse=True)
    return newest[need - 1] if len(newest) >= need else NO_EPOCH


def known_sentinels(before: frozenset[str], sentinels: Iterable[Sentinel]) -> frozenset[str]:
    """The ids of all Sentinels, in reach or not; ``before`` is the last result.

    A Sentinel joins as soon as anyone lists it. It leaves only when a majority of those known before is in reach and
    none of them lists it any more, so that a Sentinel that was cut off, or reset, cannot make itself the majority.
    """
    heard = tuple(sentinels)
    reached = {s.id for s in heard if not s.error}
    listed = reached | {peer for s in heard if not s.error for peer in s.peers}
    if len(reached & before) >= majority(len(before)):
        return frozenset(listed)
    return before | listed


def leader(facts: Facts, node: Node) -> Sentinel | None:
    """The Sentinel, elected at the newest epoch, that selects the own node, if its word is fresh."""
    leaders = [s for s in facts.sentinels if _fresh(s, facts) and s.selection and s.selection.run_id == node.run_id]
    return max(leaders, key=lambda s: s.selection.epoch if s.selection else NO_EPOCH, default=None)


def _fresh(sentinel: Sentinel, facts: Facts) -> bool:
    return sentinel.votes and facts.now - sentinel.at <= SENTINEL_LIFE


def follows(peer: Peer | None, address: Address | None, node: Node, facts: Facts) -> bool:
    """Whether the node at ``address`` has itself said, just now, that it replicates from the own node."""
    return (
        peer is not None
        and peer.address == address
        and facts.now - peer.at <= PEER_LIFE
        and peer.role is Role.REPLICA
        and (peer.follows in facts.me or (bool(node.replication_id) and peer.replication_id == node.replication_id))
    )


def _keep(facts: Facts, reason: Reason, sentence: str) -> Decision:
    return Decision(Verdict.KEEP, reason, sentence, memory=facts.memory)


def _replica(node: Node, policy: Policy) -> Decision:
    master = f" of {node.follows}" if node.follows else ""
    if not node.link_up:
        return Decision(Verdict.NONE, Reason.LINK_DOWN, f"Redis is a replica{master}, but its link is down.")
    if node.lag > policy.max_lag:
        sentence = f"Redis is a replica{master}, last heard {node.lag:g} s ago; {policy.max_lag:g} s are allowed."
        return Decision(Verdict.NONE, Reason.LAGGING, sentence)
    return Decision(Verdict.REPLICA, Reason.REPLICATES, f"Redis is a healthy replica{master}.")


def _claims(catalog: Catalog, master_name: str) -> list[_Held]:
    """The claims of the group."""
    return [_Held(claim, e) for e in group(catalog.entries, master_name) if (claim := Claim.read(e.meta))]


class _Master:
    """Rules 2 to 8, for a node that answers and says master."""

    def __init__(self, facts: Facts, node: Node, catalog: Catalog, policy: Policy) -> None:
        self.facts, self.node, self.catalog, self.policy = facts, node, catalog, policy
        held = _claims(catalog, facts.master_name)
        self.mine = [h for h in held if self._is_mine(h)]
        self.own = next((h for h in self.mine if h.entry.passing and h.claim.run_id == node.run_id), None)
        """The claim that this node holds now; one that was put down, or that an earlier life of it left, is none."""
        self.begun = next((h.claim for h in self.mine if h.claim.run_id == node.run_id), None)
        """The same, or one that is written down but does not pass yet."""
        self.others = [h for h in held if not self._is_mine(h)]
        self.rivals = [h for h in self.others if h.live and not self._is_over(h)]
        self.newest = max(self.rivals, key=lambda h: h.claim.order, default=None)
        self.confirmed = facts.memory.confirmed
        if (shown := facts.confirmation) and self.own and self._shows(shown, self.own.claim):
            self.confirmed = max(self.confirmed, shown.at)
        self.sentinel_runs = bool(facts.known) or any(h.claim.epoch > NO_EPOCH for h in held)

    def _is_mine(self, held: _Held) -> bool:
        node, service_id = self.facts.own
        if node:
            return (held.entry.node, held.entry.id) == self.facts.own
        # A token without agent:read learns its Consul node's name from its first entry, which the catalog shows sooner.
        return held.entry.id == service_id and held.claim.run_id == self.node.run_id

    def _is_over(self, held: _Held) -> bool:
        """An early claim whose term has passed since it was first seen, and whose own agent does not withdraw it."""
        since = self.facts.early_since.get((held.entry.node, held.entry.id), self.facts.now)
        return held.claim.early is not None and self.facts.now - since > EARLY_TERM

    def _shows(self, shown: Catalog, own: Claim) -> bool:
        """Whether this very claim is there, passes, and no live one of the group is newer."""
        live = [h for h in _claims(shown, self.facts.master_name) if h.live and not self._is_over(h)]
        return any(self._is_mine(h) and h.claim == own for h in live) and all(h.claim.order <= own.order for h in live)

    def decide(self) -> Decision:
        mode = self.policy.mode
        if mode is SentinelMode.AUTO and not self.sentinel_runs and self.facts.searching:
            return _keep(self.facts, Reason.SEARCHING, "Redis is a master; still looking for Sentinels.")
        if mode is SentinelMode.OFF or (mode is SentinelMode.AUTO and not self.sentinel_runs):
            return self._without_sentinel()
        return self._with_sentinel()

    def _with_sentinel(self) -> Decision:
        voters = [s for s in self.facts.sentinels if _fresh(s, self.facts)]
        need = majority(self.facts.known)
        top = reached((s.epoch for s in voters), need)
        voters = [s for s in voters if s.epoch >= top]
        mine = [s for s in voters if self._names_me(s)]
        count = (
            f"{len(mine)} of {self.facts.known} Sentinels name this node"
            if self.facts.known
            else "no Sentinel is known"
        )
        if len(mine) >= need:
            sure = [s for s in mine if not s.down]
            replaced = any(self._replaces_me(s) for s in voters)
            if self.own is None and (replaced or len(sure) < need):
                # It comes back while it is being replaced: most Sentinels learn that only after the promotion.
                return self._withdraw(Reason.FAILING_OVER, f"{count}, but a failover is under way")
            self.confirmed = max(self.confirmed, sorted(s.at for s in mine)[-need])
            return self._named(top, f"{count} at epoch {top}", strict=sum(map(self._knows_me, mine)) >= need)
        named = self._named_instead(voters, need)
        claim = self.own.claim if self.own else self.facts.memory.held
        if claim and claim.early and claim.run_id == self.node.run_id:
            return self._stays_early(claim, claim.early, top, named)
        if self.policy.early and (early := self._begins_early(top)):
            return early
        if named and follows(self.facts.peer, named, self.node, self.facts):
            return self._handed_over(
                Reason.HANDED_OVER, top, f"{named}, which Sentinel names, says it follows this node"
            )
        return self._unnamed(top, named, [s.epoch for s in voters if not self._names_me(s)], count)

    def _replaces_me(self, sentinel: Sentinel) -> bool:
        """Whether it promotes another node; one that no majority has followed for a term is given up."""
        under_way = self.facts.now - sentinel.promoting_since <= EARLY_TERM
        return under_way and sentinel.promoting not in (None, self.node.run_id)

    def _begins_early(self, top: int) -> Decision | None:
        """Rule 2, second half: the leader has selected this node, which has turned, and says so still."""
        node, found = self.node, leader(self.facts, self.node)
        chosen = found.selection if found else None
        if found is None or chosen is None:
            return None
        # A role from before the selection is that of another time: it was a replica then, whatever it had said last.
        turned = node.at >= chosen.at and node.turned >= chosen.at - SEEN_LATE
        every = max((h.claim.epoch for h in self.others), default=NO_EPOCH)
        if not turned or chosen.epoch < top or chosen.epoch <= max(every, self.facts.memory.spent):
            return None
        if found.at < max(node.turned, self.facts.now - LEADER_SILENCE):
            why = f"Redis has turned master; {found.address}, elected at epoch {chosen.epoch}, is asked whether it stands by it."
            return replace(_keep(self.facts, Reason.ASKING_LEADER, why), leader=found.id)
        early = Early(floor(self.facts.now * 1000) / 1000, self.facts.boot, found.id)  # milliseconds, as Meta holds it
        return self._publish_early(Claim(chosen.epoch, 0, node.run_id, early), early, found.at)

    def _stays_early(self, claim: Claim, early: Early, top: int, named: Address | None) -> Decision:
        """An own early claim for which no majority stands yet."""
        heard = max(self.facts.memory.heard, early.since)
        found = next((s for s in self.facts.sentinels if s.id == early.leader), None)
        if self.facts.searching and not (found and found.looked):
            return _keep(
                self.facts, Reason.SEARCHING, "Redis is a master; the leader that selected it is not found yet."
            )
        silent = f"the leader that selected this node has been silent for {LEADER_SILENCE:g} s"
        over = ""
        if early.boot != self.facts.boot or not 0 <= self.facts.now - early.since <= EARLY_TERM:
            over = f"no majority of Sentinels has followed within {EARLY_TERM:g} s"
        elif found and found.gone:
            over = f"the leader that selected this node is gone: {found.error}"
        elif found and found.votes and found.at > heard:
            heard = found.at
            if found.promoting != self.node.run_id and not self._names_me(found):
                over = "the leader has given up the failover to this node"
        if over or self.facts.now - heard > LEADER_SILENCE:
            return self._spend(claim, Reason.EARLY_OVER, over or silent, ask=named)
        if rival := self._newer_than(claim):
            return self._spend(claim, Reason.NEWER_CLAIM, f"{_whose(rival)} holds {_order(rival.claim)}")
        if any(h.claim == claim and (h.entry.put_down or h.entry.tombstones) for h in self.mine):
            return self._spend(claim, Reason.NEWER_CLAIM, "the own early claim was evicted")
        if named and top >= claim.epoch:
            return self._spend(claim, Reason.OUTVOTED, f"the Sentinels name {named} at epoch {top}", ask=named)
        return self._publish_early(claim, early, heard)

    def _publish_early(self, claim: Claim, early: Early, heard: float) -> Decision:
        sentence = f"the leader elected at epoch {claim.epoch} has selected this node, and it has turned master"
        decision = self._publish(Reason.SELECTED, claim, sentence)
        until = min(early.since + EARLY_TERM, heard + LEADER_SILENCE) if decision.verdict is Verdict.MASTER else inf
        return replace(decision, leader=early.leader, until=until, memory=replace(decision.memory, heard=heard))

    def _spend(self, claim: Claim, reason: Reason, sentence: str, *, ask: Address | None = None) -> Decision:
        """Withdraw an early claim: it comes back only with a majority."""
        decision = self._withdraw(reason, sentence, ask=ask)
        return replace(decision, memory=replace(decision.memory, spent=claim.epoch))

    def _named(self, epoch: int, sentence: str, *, strict: bool) -> Decision:
        """A majority stands behind this node. ``strict``: a majority also knows it there by its run id."""
        claim = self._claim(epoch)
        if self.newest is None or self.newest.claim.order < claim.order:
            return self._publish(Reason.NAMED, claim, sentence)
        rival = self.newest
        begun = self.begun.settled if self.begun else None
        if strict and begun and begun.epoch == epoch and begun.order > rival.claim.order:
            return self._publish(Reason.NAMED, begun, sentence)
        if self.own or rival.claim.epoch > epoch or not strict or self.node.at <= self.catalog.at:
            # The holder gives way first. It may come back, but only on a look that is younger than the rival.
            return self._withdraw(Reason.NEWER_CLAIM, f"{_whose(rival)} holds {_order(rival.claim)}; {sentence}")
        return self._publish(Reason.NAMED, Claim(epoch, rival.claim.turn + 1, self.node.run_id), sentence)

    def _unnamed(self, top: int, named: Address | None, against: list[int], count: str) -> Decision:
        """No majority stands behind this node: only a claim that it holds already can carry it (rule 6).

        ``against``: the epochs of the Sentinels that name another one.
        """
        own = self.own.claim if self.own else self._forgotten()
        if own is None:
            if self.facts.searching and not self.rivals:
                return _keep(self.facts, Reason.SEARCHING, f"Redis is a master; {count}, but not all were asked yet.")
            why = f"{count}, {majority(self.facts.known)} are needed" if self.facts.known else count
            return self._withdraw(Reason.UNBACKED, f"Redis says master, but {why}", ask=named)
        if rival := self._newer_than(own):
            return self._withdraw(Reason.NEWER_CLAIM, f"{_whose(rival)} holds {_order(rival.claim)}")
        newer = sum(epoch > own.epoch for epoch in against) >= majority(self.facts.known)
        if newer or (named and top == own.epoch and own.turn == 0):
            return self._outvoted(f"the Sentinels name {named or 'other nodes'} at epoch {top}", named)
        if self.facts.now - self.confirmed > self.policy.ttl:
            return self._withdraw(Reason.LEASE_OVER, "neither Sentinel nor Consul has confirmed the claim in time")
        return self._publish(Reason.CONFIRMED, own, f"{count}; Consul confirms the claim as the newest")

    def _outvoted(self, why: str, named: Address | None) -> Decision:
        """Rule 4: the new master's transaction evicts this claim, so that DNS is never empty; if it comes in time."""
        since = min(self.facts.memory.outvoted, self.facts.now)
        until = since + GIVING_WAY
        if self.own is None or not since <= self.facts.now < until:
            return self._withdraw(Reason.OUTVOTED, why, ask=named)
        memory = replace(self.facts.memory, outvoted=since)
        sentence = f"Redis is a master, but {why}; its claim is left to be evicted."
        return Decision(Verdict.KEEP, Reason.GIVING_WAY, sentence, ask=named, until=until, memory=memory)

    def _without_sentinel(self) -> Decision:
        own, rival = self.own, self.newest
        if rival is None:
            if own and self.facts.now - self.confirmed > self.policy.ttl:
                return self._withdraw(Reason.LEASE_OVER, "Consul has not confirmed the claim in time")
            claim = own.claim.settled if own else Claim(NO_EPOCH, 0, self.node.run_id)
            if own is None and self._must_stand():
                sentence = (
                    "Redis is a master; no Sentinel is in use, so it first looks whether another node claims, too."
                )
                return Decision(Verdict.STANDING, Reason.STANDING, sentence, claim=claim, memory=Memory(self.confirmed))
            return self._publish(Reason.INCUMBENT, claim, "no Sentinel is in use, and no other node claims")
        if own and (own.claim.order, -own.entry.created) > (rival.claim.order, -rival.entry.created):
            return self._publish(
                Reason.INCUMBENT, own.claim.settled, f"no Sentinel is in use; {_whose(rival)} came later"
            )
        address = Address(rival.entry.address, rival.entry.port)
        if follows(self.facts.peer, address, self.node, self.facts):
            return self._handed_over(Reason.FOLLOWED, rival.claim.epoch, f"{address}, the former master, follows it")
        sentence = (
            f"{_whose(rival)} holds the claim and no Sentinel says otherwise: two masters; "
            f"make one of them a replica (REPLICAOF), or stop it"
        )
        return self._withdraw(Reason.REFUSED, sentence, ask=address)

    def _must_stand(self) -> bool:
        """Whether a first claim without Sentinel has to wait.

        Nothing but the catalog stands between two nodes that begin in the same moment. So each writes its claim down
        before it passes, and reads: one of them sees both, and the one that was written down later gives the other time.
        """
        mine = next((h.entry for h in self.mine if h.claim == self.begun), None)
        if mine is None:
            return True
        standing = (h.entry for h in self.others if not h.entry.passing and h.entry.node_alive)
        earlier = any((e.created, e.node, e.id) < (mine.created, mine.node, mine.id) for e in standing)
        return earlier and 0 <= self.facts.now - self.facts.standing < PATIENCE

    def _handed_over(self, reason: Reason, epoch: int, sentence: str) -> Decision:
        """Within one epoch: a turn more than whoever holds it, or the turn that is held, or begun, already."""
        rival, peer = self.newest, self.facts.peer
        turn = max((h.claim.turn for h in self.rivals if h.claim.epoch == epoch), default=0)
        newer = rival is not None and rival.claim.epoch > epoch
        if not newer and self.begun and self.begun.epoch == epoch and self.begun.turn > turn:
            return self._publish(reason, self.begun, sentence)
        looked = min(self.node.at, peer.at if peer else self.node.at)
        if rival and (self.own or newer or looked <= self.catalog.at):
            # As above: the roles may have been swapped back since, and the rival's claim tell of that.
            why = f"{_whose(rival)} holds {_order(rival.claim)}"
            return self._withdraw(Reason.NEWER_CLAIM, why, ask=peer.address if peer else None)
        return self._publish(reason, Claim(epoch, turn + 1, self.node.run_id), sentence)

    def _claim(self, epoch: int) -> Claim:
        """The claim held already where it is of this epoch, else a first one."""
        if self.own and self.own.claim.epoch == epoch:
            return self.own.claim.settled
        # Later than any that a host which is away may bring back.
        away = [h.claim.turn for h in self.others if h.claim.epoch == epoch and not h.live]
        return Claim(epoch, max(away, default=-1) + 1, self.node.run_id)

    def _forgotten(self) -> Claim | None:
        """The claim held until now, within its lease, where the own Consul agent has lost it: no successor put it down."""
        held = self.facts.memory.held
        if held is None or held.run_id != self.node.run_id or self.facts.now - self.confirmed > self.policy.ttl:
            return None
        return None if any(h.entry.put_down or h.entry.tombstones for h in self.mine) else held

    def _newer_than(self, claim: Claim) -> _Held | None:
        return self.newest if self.newest and self.newest.claim.order > claim.order else None

    def _knows_me(self, sentinel: Sentinel) -> bool:
        return sentinel.master is not None and sentinel.run_ids.get(sentinel.master) == self.node.run_id

    def _names_me(self, sentinel: Sentinel) -> bool:
        # By address too: after a quick restart Sentinel knows the new run id only up to 10 s later.
        return self._knows_me(sentinel) or sentinel.master in self.facts.me

    def _named_instead(self, voters: list[Sentinel], need: int) -> Address | None:
        """The other node that a majority names."""
        names = [s.master for s in voters if s.master and not self._names_me(s)]
        return next((name for name in names if names.count(name) >= need), None)

    def _publish(self, reason: Reason, claim: Claim, sentence: str) -> Decision:
        asked = self.facts.confirmation.at if self.facts.confirmation else -inf
        if self.own is None and self.facts.now - asked > self.policy.ttl:
            # A claim that is new must be held against the claims of now, not against those of before a cut, which the
            # own Consul agent goes on to show.
            return _keep(self.facts, Reason.NO_CATALOG, f"Redis is a master, and {sentence}; Consul is out of reach.")
        if self.own is None and reason is not Reason.CONFIRMED:  # a new claim's lease begins with what the servers said
            self.confirmed = max(self.confirmed, asked)
        put_down = self.own is None and any(h.entry.put_down and claim.order <= h.claim.order for h in self.mine)
        if put_down and 0 <= self.facts.now - self.facts.put_down < PATIENCE:
            return _keep(self.facts, Reason.PUT_DOWN, f"Redis is a master, and {sentence}; its claim was put down.")
        seen = self.facts.newest_seen
        if self.own is None and claim.epoch < seen and self.facts.now - self.facts.newest_seen_at < PATIENCE:
            # Its host or Consul agent may only just start again, and the Sentinels not all know of its failover yet.
            return self._withdraw(Reason.NEWER_CLAIM, f"a claim of epoch {seen} was there a moment ago; {sentence}")
        older = tuple(
            h.entry for h in self.others if h.entry.rises and (h.claim.order <= claim.order or self._is_over(h))
        )
        over = [_whose(h) for h in self.others if h.entry in older and self._is_over(h)]
        left = f"; the early claim of {', '.join(over)}, which no majority has followed, is evicted" if over else ""
        sentence = f"Redis is a master, and {sentence}{left}."
        # Consul's word alone may be of before a withdrawal.
        held = self.facts.memory.held if reason is Reason.CONFIRMED else claim
        return Decision(Verdict.MASTER, reason, sentence, claim, older, memory=Memory(self.confirmed, held))

    def _withdraw(self, reason: Reason, sentence: str, *, ask: Address | None = None) -> Decision:
        sentence = f"{sentence[0].upper()}{sentence[1:]}."
        return Decision(Verdict.NONE, reason, sentence, ask=ask, memory=Memory(self.confirmed))


def _whose(held: _Held) -> str:
    return f"{Address(held.entry.address, held.entry.port)} on {held.entry.node}"


def _order(claim: Claim) -> str:
    turn = f"{f', turn {claim.turn}' if claim.turn else ''}{', early' if claim.early else ''}"
    return f"a claim of epoch {claim.epoch}{turn}" if claim.epoch > NO_EPOCH else f"a claim without Sentinel{turn}"
