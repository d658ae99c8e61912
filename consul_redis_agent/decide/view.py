"""One look at the facts and the memory, with the claims sorted: what both questions of the table are asked of. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from consul_redis_agent.decide.claim import EARLY_TERM, NO_EPOCH, Claim
from consul_redis_agent.decide.decision import Policy, SentinelMode
from consul_redis_agent.decide.facts import Address, Catalog, Entry, Facts, Node, Peer, Role, Sentinel
from consul_redis_agent.decide.group import SETTLED, Told, told
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.decide.sentinels import is_fresh, majority, of_group, reached

PEER_LIFE = 2.0
"""Seconds a peer's answer counts: it is asked once a second while a decision waits for it."""


@dataclass(frozen=True, slots=True)
class Held:
    """A claim of the group together with the entry that carries it."""

    claim: Claim
    entry: Entry

    def __str__(self) -> str:
        return str(self.entry)


class View:
    """The facts as the rules read them. ``node`` is the own node as it answered last."""

    def __init__(self, facts: Facts, memory: Memory, policy: Policy, node: Node) -> None:
        self.facts, self.memory, self.policy, self.node, self.now = facts, memory, policy, node, facts.now
        self.told: Told = told(facts, memory)
        held = [Held(e.claim, e) for e in self.told.ours if e.claim]
        self.own_entries = [h for h in held if self._is_mine(h.entry)]
        own = next((h for h in self.own_entries if h.entry.passing and h.entry.says_master), None)
        self.own = own if own and own.claim.run_id == node.run_id else None
        """The own claim that passes; what was evicted, or what an earlier life of the node left, is none."""
        self.recorded = next(
            (h.claim for h in self.own_entries if h.claim.run_id == node.run_id and h.entry.says_master), None
        )
        """The same, or one that is recorded but does not pass yet."""
        self.others = [h for h in held if not self._is_mine(h.entry)]
        live = [h for h in self.others if h.entry.live]
        self.false = [h for h in live if self.is_false(h)]
        """Rival claims that are nobody's."""
        self.rivals = [h for h in live if h not in self.false]
        self.newest = max(self.rivals, key=lambda h: h.claim.order, default=None)

    def _is_mine(self, entry: Entry) -> bool:
        node, service_id = self.facts.own
        if node:
            return entry.key == self.facts.own
        # A token without agent:read learns its Consul node's name from its first entry, which the catalog shows sooner.
        return entry.id == service_id and entry.claim is not None and entry.claim.run_id == self.node.run_id

    # Sentinels

    @cached_property
    def members(self) -> tuple[Sentinel, ...]:
        """The Sentinels of this group that count, in reach or not."""
        group = of_group(self.facts.sentinels, self.node.run_id, self.facts.me)
        return tuple(s for s in group if s.id in self.memory.known)

    @cached_property
    def known(self) -> int:
        """How many Sentinels there are, in reach or not."""
        return len(self.memory.known) or (0 if self.policy.mode is SentinelMode.OFF else self.facts.watched)

    @property
    def need(self) -> int:
        """How many of them are a majority."""
        return majority(self.known)

    @cached_property
    def fresh(self) -> list[Sentinel]:
        """Those whose word counts now."""
        return [s for s in self.members if is_fresh(s, self.now)]

    @cached_property
    def top(self) -> int:
        """The newest epoch that a majority has reached. One that is ahead silences nobody."""
        return reached((s.epoch for s in self.fresh), self.need)

    @cached_property
    def voters(self) -> list[Sentinel]:
        """Those that have reached it; one that is behind has not heard the news."""
        return [s for s in self.fresh if s.epoch >= self.top]

    @cached_property
    def naming_me(self) -> list[Sentinel]:
        """Those that name this node."""
        return [s for s in self.voters if self.names_me(s)]

    @property
    def is_named(self) -> bool:
        """Whether a majority names this node."""
        return len(self.naming_me) >= self.need

    @property
    def is_recount(self) -> bool:
        """Whether the Sentinels count their epochs anew, as they do once they were wiped: a settled majority's word."""
        since = max(self.memory.recount_since, self.memory.roster_since)
        return self.now - since >= SETTLED

    @property
    def has_sentinel(self) -> bool:
        """Whether Sentinel decides, also where none can be reached (rule 7)."""
        if self.policy.mode is not SentinelMode.AUTO:
            return self.policy.mode is SentinelMode.REQUIRED
        live = any(h.claim.epoch > NO_EPOCH for h in self.others if h.entry.live)
        return bool(self.known or self.memory.had_sentinel or live)

    @property
    def named(self) -> Address | None:
        """The other node that a majority names."""
        names = [s.master for s in self.voters if s.master and not self.names_me(s)]
        return next((name for name in names if names.count(name) >= self.need), None)

    def knows_me(self, sentinel: Sentinel) -> bool:
        """Whether it names this node by its run id."""
        return sentinel.master is not None and sentinel.run_ids.get(sentinel.master) == self.node.run_id

    def names_me(self, sentinel: Sentinel) -> bool:
        """By address too: after a quick restart Sentinel knows the new run id only up to 10 s later."""
        return self.knows_me(sentinel) or sentinel.master in self.facts.me

    # Claims

    def is_false(self, held: Held) -> bool:
        """Rule 3: nobody has followed the claim for 5 s, and its Redis, asked, does not say master.

        An early claim ends itself after that time, so what is left of it needs no question.
        """
        if not self.lingers(held):
            return False
        return held.claim.early is not None or (self.is_named and self._denies(held.entry.address))

    def lingers(self, held: Held) -> bool:
        """Whether a claim has been there for 5 s and no majority has followed it, early or at its epoch."""
        claim, since = self.memory.seen.get(held.entry.key, (None, self.now))
        if claim != held.claim or self.now - since <= EARLY_TERM:
            return False
        return held.claim.early is not None or (self.top > NO_EPOCH and held.claim.epoch > self.top)

    def _denies(self, address: Address) -> bool:
        peer = self.facts.peer
        return peer is not None and peer.address == address and self._is_young(peer) and peer.role is not Role.MASTER

    def _is_young(self, peer: Peer) -> bool:
        return self.now - peer.at <= PEER_LIFE

    @cached_property
    def confirmed(self) -> float:
        """When the own claim was last confirmed, Consul's servers asked as well."""
        shown = self.facts.confirmation
        if shown and self.own and self.shows(shown, self.own.claim):
            return max(self.memory.confirmed, shown.at)
        return self.memory.confirmed

    @property
    def evicted(self) -> bool:
        """Whether a successor has set the own entry critical."""
        return any(h.entry.evicted for h in self.own_entries)

    @cached_property
    def kept(self) -> Claim | None:
        """The own claim, also where the own Consul agent has lost it within its lease."""
        if self.own:
            return self.own.claim
        held = self.memory.held
        if held is None or held.run_id != self.node.run_id or self.now - self.confirmed > self.policy.ttl:
            return None
        return None if self.evicted else held

    def newer_than(self, claim: Claim) -> Held | None:
        """The newest rival, where that is newer than this claim."""
        return self.newest if self.newest and self.newest.claim.order > claim.order else None

    def shows(self, catalog: Catalog, own: Claim) -> bool:
        """Whether this very claim is there, passes, and no live one of the group is newer."""
        ours = {h.entry.key for h in (*self.own_entries, *self.others) if not self.is_false(h)}
        live = [e for e in catalog.entries if e.live and e.claim and (e.key in ours or self._is_mine(e))]
        newest = all(e.claim.order <= own.order for e in live if e.claim)
        return newest and any(self._is_mine(e) and e.claim == own for e in live)

    def follows_me(self, address: Address | None) -> bool:
        """Whether the node at ``address`` has itself said, just now, that it replicates from this one."""
        peer, mine = self.facts.peer, self.node.replication_id
        return (
            peer is not None
            and peer.address == address
            and self._is_young(peer)
            and peer.role is Role.REPLICA
            and (peer.follows in self.facts.me or (bool(mine) and peer.replication_id == mine))
        )
