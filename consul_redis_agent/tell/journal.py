"""What the log says of one Redis node: each transition once, with its reason, and what is wrong with somebody else."""

from __future__ import annotations

import logging
import time
from collections import Counter

from consul_redis_agent.consul.form import is_own
from consul_redis_agent.decide.decision import Decision, FenceMode, Reason, Verdict
from consul_redis_agent.decide.facts import Facts, Silence
from consul_redis_agent.decide.group import SETTLED, told
from consul_redis_agent.decide.identity import is_loopback, only_here
from consul_redis_agent.decide.members import LIMIT
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.decide.sentinels import of_group
from consul_redis_agent.marked import event
from consul_redis_agent.node import NodeAgent
from consul_redis_agent.publish.steps import Target
from consul_redis_agent.tell.stray import StrayWrites
from consul_redis_agent.tell.unseen import Unseen
from consul_redis_agent.watch import causes
from consul_redis_agent.watch.causes import IS_CLUSTER, MEND_CLUSTER

log = logging.getLogger(__name__)


class Journal:
    """One Redis node's transitions and complaints."""

    def __init__(self, node: NodeAgent, unseen: Unseen | None = None) -> None:
        self.node = node
        self.transitions: Counter[str] = Counter()
        self.since = time.time()
        """Wall time of the last transition; for people only."""
        self.stray = StrayWrites()
        self._unseen = unseen
        """What DNS does not show, where it is asked."""
        self._told: Decision | None = None
        self._published = ""
        self._looked: tuple[object, ...] = ()
        """What the catalog was judged by last."""
        self._complaints: dict[str, str] = {}

    @property
    def errors(self) -> dict[str, str]:
        """What is wrong now, by who it is about."""
        writing = {"Consul, writing": self.node.writer.error} if self.node.writer.error else {}
        token = {"Consul's token": self.node.token_error} if self.node.token_error else {}
        return {who: what for who, what in self._complaints.items() if what} | writing | token

    def decided(self) -> None:
        """Tell of the node's last decision."""
        node = self.node
        if node.decision and node.decision.verdict is not Verdict.KEEP:
            self._note(node.decision)
        if node.facts:
            self._watch_the_others(node.facts, node.memory)
            self._count(node.facts)

    def _count(self, facts: Facts) -> None:
        mode = self.node.policy.fence
        if mode is not FenceMode.OFF and (said := self.stray.seen(facts.node, self.node.latest)):
            mend = '; fence.mode = "on" ends that' if mode is FenceMode.WATCH else ""
            mark = event("stray_writes", node=self.node.name, count=self.stray.count, seconds=self.stray.seconds)
            log.warning("%s: %s%s", self.node.name, said, mend, extra=mark)

    def written(self, target: Target, seconds: float) -> None:
        """Tell that Consul holds a new target; not of a claim that is only recorded."""
        if self.node.decision and self.node.decision.verdict is Verdict.PENDING:
            return
        shown = ", ".join(f"{w.name} at {w.address} {w.status}" for w in target.wanted) or "no entry"
        if shown != self._published:
            self._published = shown
            passing = [f"{w.name} at {w.address}" for w in target.wanted if w.passing]
            mark = event(
                "published" if passing else "withdrawn",
                node=self.node.name,
                entries=passing,
                evicted=[str(entry.address) for entry in target.evict],
                seconds=round(seconds, 4),
            )
            words = "%s: Consul holds %s, %.0f ms after the decision"
            log.info(words, self.node.name, shown, seconds * 1000, extra=mark)

    def _note(self, decision: Decision) -> None:
        before, self._told = self._told, decision
        if before and (before.verdict, before.reason, before.claim) == (
            decision.verdict,
            decision.reason,
            decision.claim,
        ):
            return
        self.transitions[decision.reason.name.lower()] += 1
        self.since = time.time()
        verdict, epoch = decision.verdict.value, f", epoch {decision.claim.epoch}" if decision.claim else ""
        if before is None:
            change = f"is {verdict}"
        elif before.verdict is decision.verdict:
            change = f"stays {verdict}"
        else:
            change = f"{before.verdict.value} -> {verdict}"
        level = logging.WARNING if decision.verdict is Verdict.NONE else logging.INFO
        reason, sentence = decision.reason.value, decision.sentence
        why = sentence if sentence.startswith(reason) else f"{reason}: {sentence}"
        mark = event(
            "decided",
            node=self.node.name,
            **{"from": before.verdict.value if before else ""},
            to=verdict,
            reason=decision.reason.name.lower(),
            epoch=decision.claim.epoch if decision.claim else None,
        )
        log.log(level, "%s: %s%s: %s", self.node.name, change, epoch, why, extra=mark)

    def _watch_the_others(self, facts: Facts, memory: Memory) -> None:
        """Say once what is wrong with somebody else, and once when it is over."""
        silent = facts.node.reason if isinstance(facts.node, Silence) else ""
        known = not isinstance(facts.node, Silence) or facts.node.misses > 1
        self._complain("Redis", causes.told(silent, self.node.redis.username, "redis") if known else "")
        self._complain("Redis' mode", f"{IS_CLUSTER}; {MEND_CLUSTER}" if self.node.lookout.clustered else "")
        self._complain("Consul", self.node.lost)
        self._complain("fence", self.node.fence.error if self.node.fence else "")
        behind = memory.fence.behind if memory.fence.returned == (memory.node.run_id if memory.node else "") else 0
        self._complain(
            "data", f"Redis came back with an old dump: {behind} bytes of its history are missing" if behind else ""
        )
        latest = self.node.latest
        self._complain("another agent", latest.sentence if latest and latest.reason is Reason.OTHER_AGENT else "")
        silence = latest.sentence if latest and latest.reason is Reason.SEARCHING and facts.refused else ""
        self._complain("address", self._of_the_address())
        self._complain("Sentinels", facts.unheard or silence or _too_many(facts))
        self._watch_the_sentinels(facts, memory)
        seen = facts.catalog.entries if facts.catalog else None
        looked = (seen, memory.group, memory.roster, facts.now - memory.roster_since >= SETTLED)
        if facts.catalog and looked != self._looked:
            self._looked = looked
            self._watch_the_catalog(facts, memory)
        if self._unseen:
            self._unseen.look()
        self._complain("DNS", self._hidden() or (self._unseen.said if self._unseen else ""))
        for catalog in self.node.lookout.catalogs():
            self._complain(f"Consul's catalog of {catalog.service!r}", catalog.error)

    def _hidden(self) -> str:
        """What keeps entries of this node out of DNS that pass: checks that others have put beside them."""
        node, said = self.node, []
        for entry in node.lookout.entries():
            checks = entry.hidden_by(only_passing=node.writer.only_passing) if entry.visible else ()
            if checks and entry.node == node.writer.consul_node and is_own(entry.meta, node.naming.node):
                said.append(f"{entry.id} passes, but is left out because of the check {', '.join(checks)}")
        return f"{'; '.join(said)}: not this tool's check, so mend what it tests, or take it off" if said else ""

    def _of_the_address(self) -> str:
        """What is wrong with the published address, or Sentinel's, where there are other hosts to use it."""
        lookout, consul = self.node.lookout, self.node.writer.address
        alone = not consul or is_loopback(consul)
        for address, what in (
            (lookout.publish_at, "applications are told"),
            (lookout.at_sentinel, "Sentinel knows this node as"),
        ):
            why = only_here(address.host) if address else ""
            if address and why and not (alone and is_loopback(address.host)):
                mend = "set redis.announce, and have Sentinel monitor the master by an address that other hosts reach"
                return f"{what} {address}, {why}: {mend}"
        return ""

    def _watch_the_sentinels(self, facts: Facts, memory: Memory) -> None:
        run_id = memory.node.run_id if memory.node else ""
        ours = of_group(facts.sentinels, run_id, facts.me)
        said = {}
        for sentinel in facts.sentinels:
            what = ""
            if sentinel.error and sentinel.looked:
                what = f"it has no vote: {causes.told(sentinel.error, self.node.sentinel_user, 'sentinel')}"
            if not sentinel.error and memory.known and sentinel.id not in memory.known:
                what = f"it watches another group under the name {facts.master_name!r}, and is not counted"
                if sentinel in ours:
                    what = "it is not counted as long as most of the others do not list it"
            said[f"Sentinel {sentinel.address}"] = what
        for gone in [who for who in self._complaints if who.startswith("Sentinel ") and who not in said]:
            del self._complaints[gone]  # nobody speaks to it any more, so nobody knows
        for who, what in said.items():
            self._complain(who, what)

    def _watch_the_catalog(self, facts: Facts, memory: Memory) -> None:
        found, service = told(facts, memory), self.node.naming.service
        unknown = ", ".join(sorted(f"{e.id} on {e.node}" for e in found.foreign if not e.marked))
        unread = ", ".join(sorted(f"{e.id} on {e.node}" for e in found.foreign if e.marked))
        self._complain(
            "Consul's catalog",
            f"entries under {service!r} that this tool did not make, left alone: {unknown}" if unknown else "",
        )
        self._complain(
            "claims",
            f"entries under {service!r} that say master with a claim that cannot be read, left alone: {unread}"
            if unread
            else "",
        )
        strangers = ", ".join(sorted(map(str, found.strangers)))
        self._complain(
            "another group",
            f"it uses the service name {service!r} as well: {strangers}; give one of them another service.name, or take its "
            f"entries out with `consul-redis-agent deregister` (--dead for those of hosts that are gone)"
            if strangers
            else "",
        )
        names = sorted(({e.master_name for e in found.ours} | {facts.master_name} | facts.names) - {""})
        self._complain(
            "master name", f"this group is known under several names: {', '.join(names)}" if len(names) > 1 else ""
        )

    def _complain(self, who: str, what: str) -> None:
        before = self._complaints.get(who, "")
        if what == before:
            return
        self._complaints[who] = what
        if what:
            mark = event("complaint", node=self.node.name, about=who, error=what)
            log.warning("%s: %s: %s", self.node.name, who, what, extra=mark)
        else:
            log.info("%s: %s: recovered", self.node.name, who, extra=event("recovered", node=self.node.name, about=who))


def _too_many(facts: Facts) -> str:
    """What is said of a list that nobody can mean."""
    listing = [s for s in facts.sentinels if len(s.peers) >= LIMIT]
    if not listing:
        return ""
    return (
        f"{listing[0].address} lists {len(listing[0].peers)} others; no more than {LIMIT} count: SENTINEL RESET there"
    )
