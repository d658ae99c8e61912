"""A light model without timers, events or tasks: hundreds of failovers a second through the real ``rules.decide``.

Three hosts, each with a Redis node, a Sentinel and an agent; one catalog. One step at a time, chosen by one seed, and
the promises are checked after every step. It is no substitute for the simulated world of this package, which runs the
program's own shell: it is wide where that one is deep. What it takes for granted:

 1. A leader has the votes of a majority of all Sentinels, and each votes once an epoch. Whether the master is down is
    not asked: a Sentinel may be wrong at any moment. Only a replica that answers is selected.
 2. Sentinel closes a node's connections with its role, a dead node's close as well: an agent that runs knows the role
    of now, and only ``at`` of its view ages. All else that it knows is of any age, and is renewed one by one.
 3. The leader takes its new configuration when the promoted node says master, the others with a hello. A Sentinel
    whose master looks sane makes any other node that says master a replica, here without the wait of 8 s, so that one
    with an old configuration does so only now and then.
 4. Epochs and roles are on disk; a node that starts has a new run id, which Sentinels learn later.
 5. The catalog is one linear history, and a transaction is one step: ``cas`` compares ModifyIndex, 0 is for what is not
    there. DNS shows what passes on a node that gossip holds for alive.
 6. Consul's local agent is part of the agent's host: a withdrawal, and a TTL that ends, reach the catalog at once, or
    when the cut is healed. What it syncs by itself is not modelled, nor are lost answers, late transactions, the
    ``FAILOVER`` command, or lost Sentinels.
 7. A stopped agent looks at everything anew before it decides.

Since views are old, two claims may be visible until one of the agents is shown the other claim: that is no violation,
but ``unseen`` counts it. A claim set up, or kept, beside another that its agent was shown is one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from types import MappingProxyType

from consul_redis_agent.consul.form import DOWN, TOMBSTONES
from consul_redis_agent.decide import rules
from consul_redis_agent.decide.claim import EARLY_TERM, Claim
from consul_redis_agent.decide.decision import Decision, Policy, Reason, Verdict
from consul_redis_agent.decide.facts import (
    Address,
    Catalog,
    Entry,
    Facts,
    Node,
    Peer,
    Role,
    Selection,
    Sentinel,
    Silence,
)
from consul_redis_agent.decide.memory import NOTHING, Memory
from consul_redis_agent.decide.sentinels import SENTINEL_LIFE
from consul_redis_agent.decide.view import PEER_LIFE

HOSTS = range(3)
NEED = 2
BOOT = "this-start"
POLICY = Policy()
AT = tuple(Address(f"10.0.0.{i + 1}", 6379) for i in HOSTS)
ME = tuple(frozenset((address,)) for address in AT)
OWN = tuple((f"host-{i}", f"redis-{i}") for i in HOSTS)
NUMBER = {node: i for i, (node, _) in enumerate(OWN)}
PASSES = MappingProxyType({"Output": ""})
NEWER = MappingProxyType(DOWN)
STONES = tuple(f"redis:put-down-{number}" for number in range(TOMBSTONES))
MOST = 100
"""Steps for one failover, on average: from some states Sentinel finds no way out."""
ILL = 0.15
"""How likely a fault is where one may be."""
LINES = 40
"""Steps of the history that a violation shows."""


class Violation(AssertionError):
    """A promise was broken."""


@dataclass(slots=True)
class Redis:
    run_id: str
    follows: int | None
    up: bool = True
    followed: tuple[int | None, float] = (None, -inf)
    """Whom it followed before, and until when."""
    turned: float = -inf
    """When this life of it turned master."""

    @property
    def master(self) -> bool:
        return self.follows is None


@dataclass(slots=True)
class Voter:
    """A Sentinel."""

    epoch: int = 0
    """The newest that it voted in."""
    config: int = 0
    master: int = 0
    run_ids: dict[Address, str] = field(default_factory=dict)
    failover: tuple[int, int | None, str, bool] | None = None
    """Its epoch, the node that it has selected with its run id, and whether that was seen as a master."""
    since: float = -inf
    """Since when it leads that failover, or has selected a node for it."""
    tilt: bool = False
    cut: bool = False
    """From the other Sentinels."""


@dataclass(slots=True)
class Agent:
    """What one agent knows, and for how long its claim passes."""

    node: Node | Silence
    sentinels: list[Sentinel]
    catalog: Catalog
    memory: Memory = NOTHING
    ask: Address | None = None
    peer: Peer | None = None
    stopped: bool = False
    cut: list[bool] = field(default_factory=lambda: [False] * 3)
    """From each Sentinel."""
    alone: bool = False
    """Cut from Consul's servers."""
    beat: float = -inf
    wants: bool = False
    """Whether it decided last to pass."""


class Model:
    """One run of ``failovers`` failovers and the quiet phase after them. Raises Violation with the last steps."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.seed, self.now, self.index, self.lives = seed, 0.0, 1, 3
        self.steps = self.failovers = self.decisions = self.unseen = 0
        """``unseen``: decisions to pass beside a claim that their agent had not been shown yet."""
        self.history: deque[tuple[float, str, object]] = deque(maxlen=LINES)
        self.redis = [Redis(f"run-{i}", None if i == 0 else 0) for i in HOSTS]
        run_ids = {AT[i]: self.redis[i].run_id for i in HOSTS}
        self.voters = [Voter(run_ids=run_ids) for _ in HOSTS]
        self.peers = [{str(t): AT[t] for t in HOSTS if t != s} for s in HOSTS]
        self.entries: list[Entry | None] = [None, None, None]
        self.modified, self.shown = [0, 0, 0], [0, 0, 0]
        """Index at which each entry was written last, and at which it was last shown or hidden."""
        self.alive = [True, True, True]
        self.visible: list[int] = []
        self.claimed = [False, False, False]
        """Whether each entry was made visible by its agent's last transaction, rather than by a host that came back."""
        self.was_named = [[-inf] * 3 for _ in HOSTS]
        """Until when each Sentinel named, or had selected, each node."""
        self.was_selected = [-inf] * 3
        self.agents = [Agent(self._seen(i), [self._word(s) for s in HOSTS], self._listed()) for i in HOSTS]

    def run(self, failovers: int) -> Model:
        """Raises Violation."""
        table = [self.look] * 22 + [self.decide] * 16 + [self.advance] * 20 + [self.hello] * 10 + [self.elect] * 8
        table += [self.follow] * 6 + [self.fault] * 8 + [self.inform] * 3 + [self.look_at_all] * 3 + [self.gossip] * 2
        random, size = self.rng.random, len(table)
        while self.failovers < failovers and self.steps < failovers * MOST:
            self.now += 0.001 + random() ** 3 * 0.3
            self.steps += 1
            table[int(random() * size)](int(random() * 3))
            self.lapse()
        self.settle()
        return self

    # Redis and Sentinel

    def elect(self, s: int) -> None:
        """A Sentinel asks for votes."""
        voter = self.voters[s]
        if voter.tilt or voter.cut or voter.failover:
            return
        epoch = voter.epoch + 1
        heard = [v for v in self.voters if not v.cut and v.epoch < epoch]
        for other in heard:
            other.epoch = epoch
        if len(heard) >= NEED:
            voter.failover, voter.since = (epoch, None, "", False), self.now
            self._say("a Sentinel is elected", (s, epoch))

    def advance(self, s: int) -> None:
        """The leader's next step: select, promote, see it promoted, end; or give up."""
        voter = self.voters[s]
        if not voter.failover or voter.tilt:
            return
        epoch, chosen, run_id, promoted = voter.failover
        if chosen is None:
            able = [i for i in HOSTS if i != voter.master and self.redis[i].up and not self.redis[i].master]
            chosen = able[int(self.rng.random() * len(able))] if able else None
            voter.failover = (epoch, chosen, voter.run_ids[AT[chosen]], False) if chosen is not None else None
            voter.since = self.now
            self._say("it selects", (s, epoch, chosen))
            return
        self.was_selected[chosen] = self.now
        node = self.redis[chosen]
        if promoted or self.rng.random() < 0.05:
            voter.failover = None
            self._say("its failover ends", (s, epoch))
        elif node.up and not node.master:
            self._turn(chosen, None)
        elif node.up:
            voter.failover = epoch, chosen, run_id, True
            self._configure(s, max(epoch, voter.config), chosen)
            self.failovers += 1

    def hello(self, s: int) -> None:
        """One Sentinel hears another's configuration."""
        t = (s + 1 + int(self.rng.random() * 2)) % 3
        voter, other = self.voters[s], self.voters[t]
        if voter.cut or other.cut:
            return
        other.epoch = max(other.epoch, voter.epoch)
        if other.config < voter.config:
            self._end_failover(t)
            self._configure(t, voter.config, voter.master)

    def follow(self, s: int) -> None:
        """A Sentinel makes an old master a replica."""
        voter = self.voters[s]
        sane = self.redis[voter.master]
        late = voter.config < max(v.config for v in self.voters)
        if voter.tilt or voter.failover or not (sane.up and sane.master) or (late and self.rng.random() < 0.9):
            return
        for i in HOSTS:
            if i != voter.master and self.redis[i].up and self.redis[i].follows != voter.master:
                self._turn(i, voter.master)

    def inform(self, s: int) -> None:
        """A Sentinel learns the run ids."""
        self.voters[s].run_ids = self.voters[s].run_ids | {AT[i]: r.run_id for i, r in enumerate(self.redis) if r.up}

    def fault(self, i: int) -> None:
        """Something of one host, and what is ill recovers."""
        voter, agent, node, what = self.voters[i], self.agents[i], self.redis[i], int(self.rng.random() * 9)
        if what < 3:
            agent.cut[what] = self._ill(agent.cut[what])
        elif what == 3:
            voter.tilt = self._ill(voter.tilt)
            self._say("a Sentinel's TILT", (i, voter.tilt))
        elif what == 4:
            voter.cut = self._ill(voter.cut)
            self._say("a Sentinel is cut from the others", (i, voter.cut))
        elif what == 5:
            agent.stopped = self._ill(agent.stopped)
            self._say("an agent is stopped", (i, agent.stopped))
            self.look_at_all(i)
        elif what == 6:
            agent.alone = self._ill(agent.alone)
            self._say("an agent is cut from Consul", (i, agent.alone))
            if not agent.alone and not agent.wants:
                self._write(i, None)
        elif self._ill(not node.up) is node.up:
            node.up = not node.up
            self.lives += node.up
            node.run_id = f"run-{self.lives}" if node.up else node.run_id
            node.turned = -inf
            self._say("a node runs", (i, node.up))
            self._closed(i)

    def _ill(self, is_ill: bool) -> bool:
        return not is_ill and self.rng.random() < ILL

    def _turn(self, i: int, follows: int | None) -> None:
        node = self.redis[i]
        node.turned = self.now if follows is None and not node.master else -inf
        node.followed, node.follows = (node.follows, self.now), follows
        self._say("a node turns", (i, "master" if follows is None else f"replica of {follows}"))
        self._closed(i)

    def _closed(self, i: int) -> None:
        if not self.agents[i].stopped:
            self.agents[i].node = self._seen(i)

    def _configure(self, s: int, config: int, master: int) -> None:
        voter = self.voters[s]
        self.was_named[s][voter.master] = self.now
        voter.config, voter.master = config, master
        self._say("a Sentinel names", (s, config, master))

    def _end_failover(self, s: int) -> None:
        failover = self.voters[s].failover
        if failover and failover[1] is not None:
            self.was_selected[failover[1]] = self.now
        self.voters[s].failover = None

    # Consul

    def gossip(self, i: int) -> None:
        """Gossip notices that a host was cut off, or is back."""
        if self.alive[i] is self.agents[i].alone:
            self.index += 1
            self.alive[i] = not self.agents[i].alone
            entry = self.entries[i]
            self.entries[i] = entry and replace(entry, node_alive=self.alive[i])
            self.shown[i] = self.index
            self.claimed[i] = False
            self._say("gossip holds a host for alive", (i, self.alive[i]))
            self._changed()

    def lapse(self) -> None:
        """TTLs that are over set their checks critical, where the servers can be told."""
        for i in self.visible:
            agent, entry = self.agents[i], self.entries[i]
            claim = entry.claim if entry else None
            since = claim.early.since + EARLY_TERM if claim and claim.early else agent.beat + POLICY.ttl
            if not agent.alone and self.now > since:
                self._say("a TTL ends", i)
                self._write(i, None)

    def _write(
        self, i: int, claim: Claim | None, *, by: int | None = None, group: str = "", passes: bool = True
    ) -> None:
        """Set an entry up with a claim, or critical: by its own agent, or put down by a successor."""
        entry = self.entries[i]
        self.claimed[i] = claim is not None and passes
        if claim:
            created = entry.created if entry else self.index
            self.entries[i] = Entry(
                *OWN[i], "redis", AT[i], marked=True, claim=claim, says_master=True, group=group, master_name="mymaster",
                passing=passes, rises=passes, role_check=PASSES, node_alive=self.alive[i], created=created,
            )  # fmt: skip
        elif entry and entry.passing and by is None:
            self.entries[i] = replace(entry, passing=False, rises=False)
        elif entry and entry.passing:
            self.entries[i] = replace(
                entry, passing=False, rises=False, evicted=True, role_check=NEWER, seal=NEWER, tombstones=STONES
            )
        else:
            return
        if by is None:
            self.index += 1
        self.modified[i] = self.shown[i] = self.index
        self._changed()

    def _changed(self) -> None:
        self.visible = [i for i, e in enumerate(self.entries) if e and e.passing and e.node_alive]
        if len(self.visible) > 1:
            orders = {_order(e.claim) for e in self.entries if e and e.visible}
            if len(orders) < len(self.visible):
                self._broken("two claims of one order pass")

    # Agents

    def look(self, i: int) -> None:
        """One view of one agent is renewed."""
        agent, what = self.agents[i], int(self.rng.random() * 6)
        if agent.stopped:
            return
        if what < 3:
            agent.sentinels[what] = self._word(what) if not agent.cut[what] else self._error(what)
        elif what == 3:
            agent.node = self._seen(i)
            self._ask(agent)
        elif not agent.alone:
            self._look_at_catalog(agent, i)

    def look_at_all(self, i: int) -> None:
        agent = self.agents[i]
        if not agent.stopped:
            agent.node, agent.peer = self._seen(i), None
            self._ask(agent)
            agent.sentinels = [self._word(s) if not agent.cut[s] else self._error(s) for s in HOSTS]
            if not agent.alone:
                self._look_at_catalog(agent, i)

    def decide(self, i: int) -> None:
        """An agent decides on what it knows, and has Consul hold it."""
        agent, now = self.agents[i], self.now
        if agent.stopped:
            return
        facts = Facts(
            now, agent.node, ME[i], AT[i], tuple(agent.sentinels), len(HOSTS), False, agent.catalog, agent.catalog,
            OWN[i], "mymaster", agent.peer, BOOT,
        )  # fmt: skip
        decision, agent.memory = rules.decide(facts, agent.memory, POLICY)
        self.decisions += 1
        agent.ask = decision.ask
        if decision.leader and not agent.cut[int(decision.leader)]:
            agent.sentinels[int(decision.leader)] = self._word(int(decision.leader))  # asked at once, and often
        if decision.verdict is Verdict.KEEP:
            return
        agent.wants = decision.verdict is Verdict.MASTER
        if decision.claim and agent.wants:
            agent.beat = now
            if not agent.alone:
                self._publish(i, agent, decision, decision.claim)
        elif decision.verdict is Verdict.PENDING:
            if not (agent.alone or self.entries[i]):
                self._write(i, decision.claim, by=i, group=decision.group, passes=False)
                self.index += 1
        elif not agent.alone:
            entry = self.entries[i]
            if entry and entry.passing:
                self._say("withdraws", (i, decision.reason.name))
                self._write(i, None)
            elif entry and not decision.keeps and self.rng.random() < 0.5:
                self.index += 1
                self.entries[i], self.modified[i] = None, 0

    def _publish(self, i: int, agent: Agent, decision: Decision, claim: Claim) -> None:
        known = agent.catalog
        seen = agent.memory.seen
        over = {key for key, (c, since) in seen.items() if c.early and self.now - since > EARLY_TERM}
        there = [e for e in known.entries if e.visible and e.node != OWN[i][0] and e.key not in over]
        if any(_order(e.claim) > _order(claim) and not self._is_false(agent, e) for e in there):
            self._broken(f"{i} claims {_order(claim)}, and has seen a newer claim")
        own = self.entries[i]
        if not own or not own.passing or decision.evict or own.claim != claim:
            evict = [NUMBER[e.node] for e in decision.evict]
            has_own = any(e.node == OWN[i][0] for e in known.entries)
            last = [NUMBER[decision.last.node]] if decision.last else []
            touched = (j for j in (*evict, *last, i) if j != i or has_own)
            if bool(own) is not has_own or any(not 0 < self.modified[j] <= known.index for j in touched):
                self._look_at_catalog(agent, i)  # the transaction is refused
                return
            self._say("publishes", (i, _order(claim), decision.reason.name, "and evicts", evict))
            lease = decision.reason is Reason.CONFIRMED and self.now - agent.memory.confirmed <= POLICY.ttl
            if i not in self.visible and not lease:
                self._must_be_backed(i)
            self.index += 1
            for j in evict:
                self._write(j, None, by=i)
            for j in last:
                self.modified[j] = self.index
            self._write(i, claim, by=i, group=decision.group)
            if beside := [j for j in self.visible if j != i and self.claimed[j]]:
                self._broken(f"{i} claims, and nothing has refused it beside {beside}")
        beside = [j for j in self.visible if j != i]
        if i in self.visible and beside:
            self.unseen += 1
            if any(self.shown[j] <= known.index for j in beside):
                self._broken(f"{i} claims, and leaves {beside} visible, which it has seen")

    def _is_false(self, agent: Agent, entry: Entry) -> bool:
        """Whether the agent could know that nobody has followed this claim, and that its node is no master."""
        claim, since = agent.memory.seen.get(entry.key, (None, self.now))
        denied = agent.peer and agent.peer.address == entry.address and agent.peer.role is not Role.MASTER
        return claim == entry.claim and self.now - since > EARLY_TERM and bool(denied)

    def _must_be_backed(self, i: int) -> None:
        """By words that are young enough to count: for this node, or for one that follows it."""
        since, young = self.now - SENTINEL_LIFE, self.now - PEER_LIFE
        heirs = {
            j for j, r in enumerate(self.redis) if r.follows == i or (r.followed[0] == i and r.followed[1] >= young)
        }
        named = any(
            sum(v.master == j or self.was_named[s][j] >= since for s, v in enumerate(self.voters)) >= NEED
            for j in heirs | {i}
        )
        leads = any(v.failover and v.failover[1] == i for v in self.voters) or self.was_selected[i] >= since
        if not (leads or named):
            self._broken(f"{i} claims, and Sentinel does not stand behind it")

    def _look_at_catalog(self, agent: Agent, i: int) -> None:
        agent.catalog = self._listed() if agent.catalog.index != self.index else replace(agent.catalog, at=self.now)

    def _ask(self, agent: Agent) -> None:
        """The peer whose word would change the decision."""
        if agent.ask and (peer := self.redis[AT.index(agent.ask)]).up:
            role, follows = (Role.MASTER, None) if peer.follows is None else (Role.REPLICA, AT[peer.follows])
            agent.peer = Peer(self.now, agent.ask, role, follows, "")
        elif agent.ask:
            agent.peer = Peer(self.now, agent.ask, None)

    def _listed(self) -> Catalog:
        return Catalog(self.now, self.index, tuple(filter(None, self.entries)))

    def _seen(self, i: int) -> Node | Silence:
        node = self.redis[i]
        if not node.up:
            return Silence(self.now, "gone", 1, gone=True)
        role = Role.MASTER if node.master else Role.REPLICA
        return Node(self.now, node.run_id, role, link_up=True, turned=node.turned)

    def _word(self, s: int) -> Sentinel:
        v = self.voters[s]
        chosen = v.failover if v.failover and v.failover[1] is not None else None
        return Sentinel(
            self.now,
            str(s),
            AT[s],
            tilt=v.tilt,
            master=AT[v.master],
            epoch=v.config,
            run_ids=v.run_ids,
            peers=self.peers[s],
            selection=Selection(chosen[0], chosen[2], v.since) if chosen else None,
            promoting=v.failover[2] if v.failover else None,
            promoting_since=v.since if v.failover else -inf,
        )

    def _error(self, s: int) -> Sentinel:
        return Sentinel(self.now, str(s), AT[s], error="out of reach")

    # The end

    def settle(self) -> None:
        """All is healed and everybody is asked: the node that the Sentinels name is the one answer."""
        for node in self.redis:
            node.up = True
        for i, agent in enumerate(self.agents):
            self.voters[i].tilt = self.voters[i].cut = agent.stopped = agent.alone = False
            agent.cut = [False] * 3
            self.gossip(i)
            if not agent.wants:
                self._write(i, None)
        best = max(self.voters, key=lambda v: v.config)
        config, named = best.config, best.master
        for s in HOSTS:
            self._end_failover(s)
            self._configure(s, config, named)
            self.inform(s)
        for i in HOSTS:
            self._turn(i, None if i == named else named)
        for act in (self.look_at_all, self.decide) * 14:  # for longer than the term of an early claim
            self.now += 0.5
            for i in HOSTS:
                act(i)
            self.lapse()
        if self.visible != [named]:
            self._broken(f"in the end {self.visible} are visible, and the Sentinels name {named}")

    def _say(self, what: str, who: object) -> None:
        self.history.append((self.now, what, who))

    def _broken(self, what: str) -> None:
        lines = (f"{now:9.3f} s  {said} {who}" for now, said, who in self.history)
        raise Violation("\n".join((f"seed {self.seed}: {what}", *lines)))


def _order(claim: Claim | None) -> tuple[int, bool, int]:
    """The model's own, so that a broken one is noticed."""
    return (claim.epoch, claim.early is None, claim.turn) if claim else (-2, False, 0)
