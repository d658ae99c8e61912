"""What must hold after each event. The bounds are the promise; the tiers say what must be running for each."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from consul_redis_agent.decide.backing import LEADER_SILENCE
from consul_redis_agent.decide.claim import EARLY_TERM, Claim, Early
from consul_redis_agent.decide.facts import Role
from consul_redis_agent.decide.group import SETTLED
from consul_redis_agent.decide.sentinels import SENTINEL_LIFE
from consul_redis_agent.decide.turn import RELIEF

from .agent import TIMEOUT, TTL
from .authority import Authority
from .consul import SERVERS, Key, told
from .engine import Violation
from .redis import CONVERT_AFTER

if TYPE_CHECKING:
    from .world import World

TWO = 0.5
"""Seconds within which an older claim that came back is put down, a refused transaction included."""
SETTLE = 3.0
"""Seconds after which an agent that was started, resumed or linked again is held to the bounds."""
LOST = 0.3
"""Seconds within which a node that died, or that Sentinel has reconfigured, is out of DNS."""
HUNG = 3.5
"""The same for a node that only stopped answering, after down-after: two timeouts and the pauses between."""
BY_HAND = 1.5 + RELIEF
"""The same for a role that was changed without closing connections: a poll, and the time that its successor's claim has."""
GOSSIP = 11.0
"""Seconds until gossip marks a Consul node that is dead or cut off."""
OUTVOTED = 3.0
"""Seconds within which a node is out of DNS that a majority of Sentinels has replaced: a look-up, should events be lost."""
STALE = 4.0
"""Seconds after which no agent writes what it decided before: a stop that goes unnoticed, and a decision's life."""
FORGOT = SETTLED + 5.0
"""Seconds for which an agent without its state may not know its group, once it has started."""
RIGHT = 3.0
"""Seconds within which a confirmed master is the one answer."""
BACK = RIGHT + CONVERT_AFTER + SETTLE
"""The same where another was given the master's part by hand: until Sentinel has made it a replica again."""
LEASE = TTL + SETTLE
"""Seconds after which an agent that is cut off has withdrawn its claim locally, so that no sync can revive it."""
EARLY = EARLY_TERM + 0.5
"""Seconds after which no early claim is in DNS any more, whether its agent lives or not."""
LEADER_DEAD = 0.5
"""Seconds for which one stays whose leader refuses connections."""
LEADER_SILENT = LEADER_SILENCE + 0.5
"""The same for a leader that says nothing."""
SEEN = 0.2
"""Seconds after which a claim in DNS is known to every agent that runs."""
Masters = dict[Key, Claim | None]
Conditions = dict[object, tuple[float, str]]
"""What must not last, for how many seconds, and in words."""


class Judge:
    """Watches a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.authority = Authority(world)
        self.longest_two = 0.0
        """Seconds with two claims in DNS that could be told apart by somebody."""
        self.longest_none = self.longest_wrong = 0.0
        """Seconds with no claim in DNS, or with none of a master, at a stretch, since they are counted."""
        self._none_since = self._wrong_since = inf
        self._since: dict[object, float] = {}
        self._able_since: dict[int, float] = {}
        self._linked_since: dict[int, float] = {}
        self._waits_until: dict[int, float] = {}
        self._backed: dict[int, float] = {}
        self._naming: set[tuple[int, int]] = set()
        self._named: dict[tuple[int, int], float] = {}
        """Until when each Sentinel named each node."""
        self._following: set[tuple[int, int]] = set()
        self._followed: dict[tuple[int, int], float] = {}
        """The same of nodes, and whom they followed."""
        self._visible_since: dict[Key, float] = {}

    def count(self) -> None:
        """Count anew for how long DNS names nobody, and nobody who is a master."""
        self.longest_none = self.longest_wrong = 0.0

    def _measure(self, claims: Masters) -> None:
        now, hosts = self.world.engine.now, self.world.hosts
        masters = [hosts[self.world.host_of(node)].redis for node, _ in claims]
        self.longest_none = max(self.longest_none, now - self._none_since)
        self.longest_wrong = max(self.longest_wrong, now - self._wrong_since)
        self._none_since = inf if claims else min(self._none_since, now)
        right = any(redis.up and redis.role is Role.MASTER for redis in masters)
        self._wrong_since = inf if right else min(self._wrong_since, now)

    # What agents may rely on

    def _able(self, host: int) -> bool:
        """The agent runs and has its Consul."""
        h = self.world.hosts[host]
        return h.up and h.agent.able and h.consul.answers and h.consul.linked

    def _settled(self, host: int) -> bool:
        return self.world.engine.now - self._able_since.get(host, inf) >= SETTLE

    def answer_lost(self, host: int) -> None:
        """The agent waits for nothing, which delays a publication for as long as its time-out."""
        self._waits_until[host] = max(self._waits_until.get(host, 0.0), self.world.engine.now + TIMEOUT)

    def disturbed(self, host: int) -> None:
        """The agent reads its configuration anew, or is about to end. A lease goes on over both."""
        self._able_since.pop(host, None)

    def forgot(self, host: int) -> None:
        """The agent starts without what it had kept: whose group it is of, only Sentinel's settled lists may tell it."""
        self._waits_until[host] = self.world.engine.now + FORGOT

    def selected(self, host: int) -> None:
        """An elected leader has chosen this node."""
        self._backed[host] = self.world.engine.now

    def named(self) -> int | None:
        """The node that a majority of all Sentinels names, at one epoch, whoever can reach them."""
        votes: dict[tuple[int, int], int] = {}
        for host in self.world.hosts:
            sentinel = host.sentinel
            if sentinel.up:
                vote = (sentinel.state.config_epoch, sentinel.named)
                votes[vote] = votes.get(vote, 0) + 1
        return next((name for (_, name), n in votes.items() if n >= self.world.majority), None)

    # After each event

    def look(self) -> None:
        """Hold the world against the promises."""
        world, now = self.world, self.world.engine.now
        claims = world.servers.masters
        self._measure(claims)
        for host in world.hosts:
            if not self._able(host.number):
                self._able_since.pop(host.number, None)
            elif host.number not in self._able_since:
                self._able_since[host.number] = now
                world.engine.later(SETTLE + 1e-6, world.changed)
            consul = host.consul
            if not (host.up and consul.answers and consul.linked):
                self._linked_since.pop(host.number, None)
            else:
                self._linked_since.setdefault(host.number, now)
            failover = host.sentinel.failover
            if failover and failover.elected and failover.selected is not None:
                self._backed[failover.selected] = max(self._backed.get(failover.selected, 0.0), now)
        named = self.named()
        self.authority.look(named)
        self._named.update(dict.fromkeys(self._naming, now))
        self._naming = {(h.number, h.sentinel.named) for h in world.hosts if h.sentinel.up}
        self._followed.update(dict.fromkeys(self._following, now))
        self._following = {(h.number, h.redis.master) for h in world.hosts if h.redis.master is not None}
        for key in list(self._visible_since):
            if key not in claims:
                del self._visible_since[key]
        for key in claims:
            self._visible_since.setdefault(key, now)

        conditions: Conditions = {}
        if len(claims) > 1:
            newest = max(claims, key=lambda k: order(claims[k]))
            guard = world.host_of(newest[0])
            redis = world.hosts[guard].redis
            if self._settled(guard) and redis.answers and not redis.loading and redis.role is Role.MASTER:
                conditions["two", guard] = (TWO, "two claims in DNS, and the holder of the newest one can act")
        for (node, _), claim in claims.items():
            self._judge_answer(world.host_of(node), conditions)
            self._judge_vote(world.host_of(node), claim, named, conditions)
            if claim and claim.early:
                self._judge_early(world.host_of(node), claim.early, conditions)
        for host in world.hosts:
            self._judge_lease(host.number, conditions)
        self._judge_right(named, claims, conditions)
        self._hold(conditions, now)

    def _judge_answer(self, host: int, conditions: Conditions) -> None:
        """Of one node that DNS answers with."""
        h = self.world.hosts[host]
        redis, consul = h.redis, h.consul
        if redis.answers and redis.role is Role.MASTER and not redis.loading:
            return
        name = self.world.name(host)
        if self._settled(host):
            bound = (
                HUNG + self.world.down_after
                if redis.up and not redis.answers
                else BY_HAND
                if redis.up and redis.on_disk != redis.master
                else LOST
            )
            conditions["stale", host, bound] = (bound, f"{name} is in DNS, is no master, and its agent can act")
        elif h.up and consul.answers and consul.linked:
            conditions["stale", host, "ttl"] = (
                TTL + SETTLE + HUNG + self.world.down_after,
                f"{name} is in DNS, is no master, and its TTL is over",
            )
        elif not (h.up and consul.answers) or not self.world.reach(host, SERVERS):
            conditions["stale", host, "gossip"] = (
                GOSSIP,
                f"{name} is in DNS, is no master, and gossip must have seen it",
            )

    def _judge_vote(self, host: int, claim: Claim | None, named: int | None, conditions: Conditions) -> None:
        """A majority of Sentinels may have replaced one node that DNS answers with."""
        if named in (None, host) or not self._settled(host) or self.world.hosts[host].redis.paused:
            return
        newer = [
            s
            for s in (other.sentinel for other in self.world.hosts)
            if s.named == named
            and s.state.config_epoch > order(claim)[0]
            and s.answers
            and not s.tilt
            and self.world.reach(host, s.host)
        ]
        if len(newer) >= self.world.majority:
            conditions["outvoted", host] = (OUTVOTED, f"{self.world.name(host)} is in DNS, and has been replaced")

    def _judge_early(self, host: int, early: Early, conditions: Conditions) -> None:
        """Of one node that DNS answers with on a leader's word alone."""
        world, h, name = self.world, self.world.hosts[host], self.world.name(host)
        if not (h.up and h.consul.answers and h.consul.linked):
            return
        conditions["early", host] = (EARLY, f"{name} is in DNS on its leader's word alone")
        leader = next((o for o in world.hosts if o.sentinel.id == early.leader), None)
        if leader is None:
            return  # another one has taken its place
        if self._settled(host) and not (leader.sentinel.answers and world.reach(host, leader.number)):
            refuses = leader.up and world.reach(host, leader.number) and not leader.sentinel.up
            bound = LEADER_DEAD if refuses else LEADER_SILENT
            conditions["leader", host, bound] = (bound, f"{name} is in DNS, and the leader that chose it is lost")

    def _judge_lease(self, host: int, conditions: Conditions) -> None:
        """A claim that nobody can confirm is withdrawn where it would be synced from."""
        world = self.world
        h = world.hosts[host]
        if not (h.up and h.agent.able and h.consul.holds_a_claim) or h.consul.linked:
            return
        if sum(o.sentinel.answers and world.reach(host, o.number) for o in world.hosts) <= len(world.hosts) // 2:
            conditions["lease", host] = (LEASE, f"{world.name(host)} is cut off, and its claim may still be synced")

    def _judge_right(self, named: int | None, claims: Masters, conditions: Conditions) -> None:
        """A confirmed master is the one answer."""
        if named is None:
            return
        world = self.world
        h = world.hosts[named]
        redis = h.redis
        if world.engine.now < self._waits_until.get(named, 0.0):
            return
        if not (self._settled(named) and redis.answers and not redis.loading and redis.role is Role.MASTER):
            return
        for other in world.hosts:
            sentinel = other.sentinel
            away = not sentinel.answers or sentinel.tilt or not world.reach(named, other.number)
            failover = sentinel.failover
            promotes = (
                failover and failover.selected is not None and world.engine.now - failover.since <= EARLY_TERM + 1
            )
            if away or sentinel.named != named or promotes:
                return
        others = (c for (node, _), c in claims.items() if world.host_of(node) != named)
        if any(order(c)[0] > h.sentinel.state.config_epoch for c in others):
            return
        mine = (h.sentinel.state.config_epoch, True, 0)
        bound = (
            BACK if any(order(c) > mine for (node, _), c in claims.items() if world.host_of(node) != named) else RIGHT
        )
        if [world.host_of(node) for node, _ in claims] != [named]:
            conditions["right", named, bound] = (bound, f"{world.name(named)} is confirmed, and not the one answer")

    def _hold(self, conditions: Conditions, now: float) -> None:
        for key in list(self._since):
            if key not in conditions:
                ended = self._since.pop(key)
                if isinstance(key, tuple) and key[0] == "two":
                    self.longest_two = max(self.longest_two, now - ended)
        for key, (bound, what) in conditions.items():
            since = self._since.get(key)
            if since is None:
                self._since[key] = now
                self.world.engine.later(bound + 1e-6, self.world.changed)
            elif now - since > bound:
                raise Violation(f"for {now - since:.2f} s: {what}")

    def _is_backed(self, host: int) -> bool:
        """By words that no agent has to have forgotten: for this node, or for one that follows it."""
        since = self.world.engine.now - SENTINEL_LIFE - 2
        words = self._named | dict.fromkeys(self._naming, inf)

        def chosen(node: int) -> bool:
            votes = sum(words.get((other.number, node), -inf) >= since for other in self.world.hosts)
            return votes > len(self.world.hosts) // 2

        followed = self._followed | dict.fromkeys(self._following, inf)
        heir = any(chosen(o.number) and followed.get((o.number, host), -inf) >= since for o in self.world.hosts)
        return heir or chosen(host) or self._backed.get(host, -inf) >= since

    def hurried(self, host: int, what: str) -> None:
        """An agent does the same thing again and again without pause."""
        self.world.failed(host, f"it {what} without pause")

    # At each write

    def wrote(self, who: int, how: str, before: Masters) -> None:
        """Hold one write against the promises about how a claim appears."""
        world, now = self.world, self.world.engine.now
        claims = world.servers.masters
        for key, claim in claims.items():
            if key in before or who == SERVERS:
                continue
            host = world.host_of(key[0])
            since = {k: now - self._visible_since.get(k, now) for k in claims if k != key}
            beside = [k[0] for k, age in since.items() if age > SEEN]
            if how == "txn":
                if not self._settled(host):
                    continue
                if beside:
                    raise Violation(f"{key[0]} claims ({told(claim)}) and leaves {', '.join(beside)} in DNS")
                if not self._is_backed(host):
                    raise Violation(f"{key[0]} claims ({told(claim)}), which Sentinel has not backed for long")
            elif (
                how == "sync"
                and now - self._linked_since.get(host, inf) > SETTLE
                and any(age > STALE and order(claims[k]) > order(claim) for k, age in since.items())
            ):
                raise Violation(f"the agent of {key[0]} writes ({told(claim)}), which was decided long before")

    def at_the_end(self) -> None:
        """All is healed for long: one answer, the right one, and everybody is quiet."""
        world = self.world
        claims, named = world.servers.masters, self.named()
        shown = sorted(node for node, _ in claims)
        if named is None or world.hosts[named].redis.role is not Role.MASTER:
            world.unsettled = True  # Sentinel finds no way out of some states; they are not ours to judge
            return
        if shown != [f"host-{world.name(named)}"]:
            raise Violation(f"in the end DNS answers {shown}, and the Sentinels name {world.name(named)}")
        if world.promotions == world.promotions_before_quiet and world.servers.writes != world.writes_before_quiet:
            raise Violation(f"{world.servers.writes - world.writes_before_quiet} writes while nothing changes")


def order(claim: Claim | None) -> tuple[int, bool, int]:
    """Of two masters in DNS; one without a claim is older than all."""
    return (claim.epoch, claim.early is None, claim.turn) if claim else (-2, False, 0)
