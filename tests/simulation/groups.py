"""Two groups under one service name, through the real ``rules.decide``: who holds the name, and who may inherit it.

As ``quick.py``, it has no timers and no tasks: one step at a time, chosen by one seed, with the promises checked after
each. Each group has three hosts, each with a Redis node, an agent and its Consul agent, and three Sentinels that agree.
Both groups use the same master name and the same epochs. What it takes for granted:

 1. An agent's view of the catalog is of any age; a transaction is one step, and is refused if what it compares has
    changed since that view. An entry that is written critical is written without a compare.
 2. Sentinels learn a new run id, or a new host, some time after it is there, and forget a host at a reset only.
 3. An agent that starts again knows what its state directory has kept, if that is not lost with the host.
 4. After Consul is restored from a snapshot, each Consul agent writes its own record over the catalog, one by one, and
    gossip finds the hosts that are gone.

The promises: DNS never answers with both groups; nobody evicts what is not its own; two groups never carry one id; the
name goes from one group to the other only once nothing of the first one is left; and when nothing happens any more, the
group that holds the name shows its master, and the other waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from consul_redis_agent.decide import rules
from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.decision import Decision, Policy, Verdict
from consul_redis_agent.decide.facts import Address, Catalog, Entry, Facts, Key, Node, Role, Sentinel
from consul_redis_agent.decide.memory import NOTHING, Memory

from .quick import LINES, Violation

HOSTS = range(3)
POLICY = Policy()
RESYNC = 3.0
"""Seconds after a restored snapshot within which each Consul agent has written its own record."""


@dataclass(slots=True)
class Host:
    """One host of a group, with what its agent knows."""

    group: Group
    number: int
    name: str
    address: Address
    run_id: str
    memory: Memory = NOTHING
    view: Catalog = field(default_factory=lambda: Catalog(0.0, 0, ()))
    running: bool = True
    there: bool = True
    """False once the host is gone for good."""
    record: Entry | None = None
    """What its Consul agent holds."""

    @property
    def key(self) -> Key:
        return self.name, "redis"


@dataclass(slots=True)
class Group:
    """One group: its hosts, and what its Sentinels say."""

    name: str
    hosts: list[Host] = field(default_factory=list)
    master: int = 0
    epoch: int = 1
    listed: dict[Address, str] = field(default_factory=dict)
    retired: bool = False
    """It has handed the name over on purpose, and its agents are stopped."""

    @property
    def ids(self) -> set[str]:
        return {h.memory.group for h in self.hosts if h.memory.group}


class Groups:
    """One run of so many steps, and the quiet phase after them. Raises Violation with the last steps."""

    def __init__(self, seed: int) -> None:
        self.rng, self.seed, self.now, self.index, self.lives = Random(seed), seed, 100.0, 1, 0
        self.history: deque[tuple[float, str, object]] = deque(maxlen=LINES)
        self.entries: dict[Key, Entry] = {}
        self.groups = [Group("A"), Group("B")]
        self.holder: Group | None = None
        self.handovers = self.decisions = 0
        self.restored_at = -RESYNC
        self.saved: dict[Key, Entry] = {}
        for group in self.groups:
            group.hosts = [self._new_host(group, i) for i in HOSTS]
            group.listed = {h.address: h.run_id for h in group.hosts}

    def run(self, steps: int) -> Groups:
        """Raises Violation."""
        seldom = [
            self.fail_over, self.restart_agent, self.restart_redis, self.replace_host, self.reset, self.deregister_all,
            self.restart_site, self.save, self.restore, self.hand_over,
        ]  # fmt: skip
        often: list[Callable[[Group], None]] = [
            self.look,
            self.look,
            self.act,
            self.act,
            self.act,
            self.learn,
            self.sync,
        ]
        for _ in range(steps):
            self.now += self.rng.random() ** 3
            group = self.rng.choice(self.groups)
            (self.rng.choice(seldom) if self.rng.random() < 0.04 else self.rng.choice(often))(group)
            self._judge()
        self._settle()
        return self

    # What happens

    def look(self, group: Group) -> None:
        """An agent is shown the catalog."""
        self._look(self._one(group))

    def act(self, group: Group) -> None:
        """An agent decides on what it knows, and writes."""
        host = self._one(group)
        if host.running and host.there:
            self._decide(host)

    def learn(self, group: Group) -> None:
        """The Sentinels learn a run id, or a new host."""
        host = self._one(group)
        if host.there:
            group.listed[host.address] = host.run_id

    def sync(self, group: Group) -> None:
        """A Consul agent compares its record with the catalog."""
        self._sync(self._one(group))

    def fail_over(self, group: Group) -> None:
        """The Sentinels name another of the hosts that are there."""
        able = [h.number for h in group.hosts if h.there and h.number != group.master]
        if able:
            group.master, group.epoch = self.rng.choice(able), group.epoch + 1
            self._say("a failover", (group.name, group.master, group.epoch))

    def restart_agent(self, group: Group) -> None:
        """With its state directory, or without."""
        host = self._one(group)
        kept = Memory(host.memory.group, host.memory.had_sentinel)
        host.memory = kept if self.rng.random() < 0.7 else NOTHING
        self._say("an agent starts again", (host.name, host.memory.group))

    def restart_redis(self, group: Group) -> None:
        """Faster than any Sentinel sees."""
        host = self._one(group)
        host.run_id = self._life(host.name)
        self._say("a Redis starts again", (host.name, host.run_id))

    def replace_host(self, group: Group) -> None:
        """A replica's host is gone for good, and another one takes its place: new addresses, nothing known."""
        old = self._one(group)
        if old.number == group.master:
            return
        old.there = False
        if old.key in self.entries and self.rng.random() < 0.5:
            self._write(old.key, replace(self.entries[old.key], node_alive=False))
        else:
            self._write(old.key, None)
        group.hosts[old.number] = self._new_host(group, old.number)
        self._say("a host is replaced", (old.name, group.hosts[old.number].name))

    def reset(self, group: Group) -> None:
        """SENTINEL RESET: only the master is listed, until the others are learned again."""
        master = group.hosts[group.master]
        group.listed = {master.address: group.listed.get(master.address, master.run_id)}
        self._say("its Sentinels are reset", group.name)

    def deregister_all(self, group: Group) -> None:
        """Everything of the group is taken out, with its agents running on."""
        self._remove(group)
        self._say("all entries are taken out", group.name)

    def restart_site(self, group: Group) -> None:
        """Every process of the group begins anew, some without their state."""
        for host in group.hosts:
            kept = Memory(host.memory.group, host.memory.had_sentinel)
            host.run_id, host.memory = self._life(host.name), kept if self.rng.random() < 0.8 else NOTHING
        self._say("the whole site starts again", group.name)

    def save(self, group: Group) -> None:
        """Consul's servers are saved."""
        self.saved = dict(self.entries)

    def restore(self, group: Group) -> None:
        """Consul's servers begin with what was saved."""
        for key in {*self.saved, *self.entries}:
            self._write(key, self.saved.get(key))
        self.restored_at = self.now
        self._say("Consul is restored", sorted(self.saved))

    def hand_over(self, group: Group) -> None:
        """The holder's agents are stopped and its entries taken out for good; or it wants the name again."""
        if group.retired:
            group.retired = False
            for host in group.hosts:
                host.running = True
        elif group is self.holder:
            group.retired = True
            self._remove(group)
            for host in group.hosts:
                host.running, host.memory, host.record = False, NOTHING, None
        self._say("the name is handed over" if group.retired else "it wants the name", group.name)

    # One agent

    def _decide(self, host: Host) -> None:
        group = host.group
        is_master = host.number == group.master
        role = Role.MASTER if is_master else Role.REPLICA
        named = group.hosts[group.master].address
        words = tuple(
            Sentinel(
                self.now, f"{group.name}{i}", Address(f"{group.name}{i}", 26379), master=named, epoch=group.epoch,
                run_ids=dict(group.listed),
            )
            for i in HOSTS
        )  # fmt: skip
        facts = Facts(
            self.now, Node(self.now, host.run_id, role, link_up=True), frozenset((host.address,)), host.address, words, 3,
            False, host.view, host.view, host.key, "mymaster",
        )  # fmt: skip
        decision, host.memory = rules.decide(facts, host.memory, POLICY)
        self.decisions += 1
        match decision.verdict:
            case Verdict.MASTER:
                self._claim(host, decision)
            case Verdict.PENDING if not ((own := self.entries.get(host.key)) and own.claim == decision.claim):
                self._own(host, decision.claim, decision.group, passing=False)
            case Verdict.NONE | Verdict.REPLICA:
                self._withdraw(host, decision)

    def _claim(self, host: Host, decision: Decision) -> None:
        own = self.entries.get(host.key)
        if own and own.passing and own.claim == decision.claim and own.group == decision.group and not decision.evict:
            return
        compared = [host.key, *(e.key for e in (*decision.evict, decision.last) if e)]
        before = {e.key: e.index for e in host.view.entries}
        if any(before.get(k, 0) != (e.index if (e := self.entries.get(k)) else 0) for k in compared):
            self._look(host)  # the transaction is refused
            return
        for entry in decision.evict:
            if entry.key not in {h.key for h in host.group.hosts} | self._former(host.group):
                self._broken(f"{host.name} evicts {entry.node}, which is not of its group")
            self._write(entry.key, replace(self.entries[entry.key], passing=False, rises=False, evicted=True))
        if decision.last:
            self._write(decision.last.key, self.entries[decision.last.key])
        self._own(host, decision.claim, decision.group, passing=True)

    def _own(self, host: Host, claim: Claim | None, group: str, *, passing: bool) -> None:
        before = self.entries.get(host.key)
        entry = Entry(
            *host.key, "redis", host.address, marked=True, claim=claim, says_master=True, group=group, passing=passing,
            rises=passing, pending=not passing, master_name="mymaster", created=before.created if before else self.index + 1,
        )  # fmt: skip
        self._write(host.key, entry)
        host.record = self.entries[host.key]
        self._say("writes", (host.name, claim, "passing" if passing else "critical", group))

    def _withdraw(self, host: Host, decision: Decision) -> None:
        entry = self.entries.get(host.key)
        if entry is None:
            return
        self._write(host.key, replace(entry, passing=False, rises=False) if decision.keeps else None)
        host.record = self.entries.get(host.key)
        self._say("withdraws", (host.name, decision.reason.name))

    # The catalog

    def _look(self, host: Host) -> None:
        host.view = Catalog(self.now, self.index, tuple(self.entries.values()))

    def _write(self, key: Key, entry: Entry | None) -> None:
        self.index += 1
        if entry is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = replace(entry, index=self.index)

    def _sync(self, host: Host) -> None:
        there, record = self.entries.get(host.key), host.record
        if host.there and (there is None) is not (record is None):
            self._write(host.key, record and replace(record, created=self.index + 1))
        elif (
            host.there
            and there
            and record
            and not there.evicted
            and (there.passing, there.claim) != (record.passing, record.claim)
        ):
            self._write(host.key, replace(record, created=there.created))

    def _remove(self, group: Group) -> None:
        for key in {h.key for h in group.hosts} | self._former(group):
            self._write(key, None)
        for host in group.hosts:
            host.record = None

    def _former(self, group: Group) -> set[Key]:
        return {key for key in self.entries if key[0].startswith(group.name)}

    def _new_host(self, group: Group, number: int) -> Host:
        run_id = self._life(group.name)
        address = Address(f"10.{group.name}.{self.lives}", 6379)
        return Host(group, number, f"{group.name}-{run_id}", address, run_id, running=not group.retired)

    def _life(self, name: str) -> str:
        self.lives += 1
        return f"{name[0]}{self.lives:07d}{self.rng.getrandbits(60):015x}"

    def _one(self, group: Group) -> Host:
        return self.rng.choice(group.hosts)

    # The promises

    def _judge(self) -> None:
        shown = {key[0][0] for key, e in self.entries.items() if e.visible}
        resynced = self.now - self.restored_at > RESYNC
        if not resynced:
            for group in self.groups:
                for host in group.hosts:
                    self._sync(host)
            there = {host.key for group in self.groups for host in group.hosts}
            for key, entry in list(self.entries.items()):
                if key not in there and entry.node_alive:
                    self._write(key, replace(entry, node_alive=False))
        elif len(shown) > 1:
            self._broken("DNS answers with both groups")
        a, b = (group.ids for group in self.groups)
        if a & b:
            self._broken(f"both groups carry {a & b}")
        if resynced and shown and (self.holder is None or shown != {self.holder.name}):
            left = [k for k in self._former(self.holder) if not self.entries[k].pending] if self.holder else []
            if left:
                self._broken(f"{shown} takes the name, and {sorted(left)} are there still")
            self.handovers += self.holder is not None
            self.holder = next(g for g in self.groups if {g.name} == shown)
            self._say("holds the name", self.holder.name)

    def _settle(self) -> None:
        """All is as it should be for long, and an operator has run ``deregister --dead``."""
        there = {host.key for group in self.groups for host in group.hosts}
        for key in [key for key in self.entries if key not in there]:
            self._write(key, None)
        for group in self.groups:
            group.listed = {h.address: h.run_id for h in group.hosts}
        self.restored_at = -RESYNC
        for _ in range(60):
            self.now += 0.5
            for group in self.groups:
                for host in group.hosts:
                    if host.running:
                        self._sync(host)
                        self._look(host)
                        self._decide(host)
                        self._judge()
        wanting = [g for g in self.groups if not g.retired]
        shown = [key[0] for key, e in self.entries.items() if e.visible]
        masters = [g.hosts[g.master].name for g in wanting]
        if wanting and (len(shown) != 1 or shown[0] not in masters):
            self._broken(f"in the end DNS answers {shown}, and the masters are {masters}")

    def _say(self, what: str, who: object) -> None:
        self.history.append((self.now, what, who))

    def _broken(self, what: str) -> None:
        lines = (f"{now:9.3f} s  {said} {who}" for now, said, who in self.history)
        raise Violation("\n".join((f"seed {self.seed}: {what}", *lines)))
