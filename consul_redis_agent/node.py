"""One Redis node: facts → rules → entries → Consul, whenever something has changed, and as often as time may change it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never

from consul_redis_agent.clock import Pulse, clock, set_within, until_tick
from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.decide import identity
from consul_redis_agent.decide.claim import MASTER_NAME, Claim
from consul_redis_agent.decide.facts import NOTHING, Address, Facts, Node, Role, Selection, Sentinel, Silence
from consul_redis_agent.decide.rules import (
    Decision,
    Policy,
    Reason,
    SentinelMode,
    Verdict,
    decide,
    foreign,
    group,
    leader,
    without_address,
)
from consul_redis_agent.errors import ConsulError, ConsulUnknown
from consul_redis_agent.publish.entries import Mode, Naming, wanted
from consul_redis_agent.publish.plan import is_own
from consul_redis_agent.publish.publisher import BACKOFF, Publisher
from consul_redis_agent.publish.registry import Registry, Target
from consul_redis_agent.watch.catalog import CatalogWatch
from consul_redis_agent.watch.discovery import Sentinels
from consul_redis_agent.watch.lookout import Lookout, where
from consul_redis_agent.watch.redis_node import POLL

log = logging.getLogger(__name__)

NOWHERE = Address("", 0)
SOUND = (Verdict.MASTER, Verdict.REPLICA)
STEADY = (Reason.NAMED, Reason.REPLICATES)
"""Reasons that hold until something is seen; a watcher that sees nothing any more says so itself."""
STANDS_FOR = 2.5
"""Seconds after which a decision is made anew in any case."""


class NodeAgent:
    """Looks after one Redis node until cancelled."""

    def __init__(
        self,
        config: Config,
        redis: RedisConfig,
        api: ConsulAPI,
        sentinels: Sentinels,
        catalogs: dict[str, CatalogWatch],
        seen_from: str,
        pulse: Pulse,
        finished: Callable[[NodeAgent], None],
        phase: float,
    ) -> None:
        self.redis = redis
        self.policy = Policy(
            mode=SentinelMode(config.sentinel.mode),
            early=config.sentinel.early,
            ttl=config.service.ttl,
            max_lag=config.replica.max_lag,
            node_life=POLL + 2 * redis.timeout + 1,
        )
        self.naming = naming(config, redis, seen_from)
        self.on_stop = config.service.on_stop
        self._changed = asyncio.Event()
        self.name = str(where(redis))
        self._news = True
        """Something was seen since the last decision that was not known to it."""
        self.lookout = Lookout(redis, self.policy.mode, sentinels, catalogs, self.wake, phase, self.policy.ttl)
        self.registry = Registry(api, self.naming)
        self.publisher = Publisher(self.registry, self.lookout, self.policy.ttl, self._written)
        self.decision: Decision | None = None
        self._told: Decision | None = None
        self.facts: Facts | None = None
        self.ready = False
        """Whether a first decision was made of a look at Redis. Not whether Consul took it: Redis may wait for READY."""
        self.decided = -inf
        self.decisions = 0
        self.transitions: Counter[str] = Counter()
        self.since = time.time()
        """Wall time of the last transition; for people only."""
        self._memory = NOTHING
        self._until = inf
        """When time alone changes the last decision."""
        self._published = ""
        self._kept = True
        self._selected: Selection | None = None
        self._rehearsing: asyncio.Task[None] | None = None
        self._complaints: dict[str, str] = {}
        self._finished, self._phase = finished, phase
        self._pulse, self._stops = pulse, pulse.stops()

    def wake(self) -> None:
        """Decide now."""
        self._news = True
        self._changed.set()

    async def run(self) -> None:
        """Watch, decide and publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.lookout.run())
            tasks.create_task(self._find_here())
            tasks.create_task(self._loop())

    async def look_last(self) -> None:
        """Look at Redis once more before the end: at a shutdown it has gone in this very millisecond."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.redis.timeout):
                await self.lookout.look_at_node()
        self._decide()
        self._tell()

    async def leave(self) -> None:
        """End as the configuration says: a true entry is left to its TTL or removed, a false one is never left."""
        self.publisher.stop()
        try:
            if self.on_stop == "keep" and self.decision and self.decision.verdict in SOUND:
                try:
                    await self.registry.beat(self._target)
                except ConsulUnknown:  # stopped between a claim's transaction and its registration
                    await self.registry.converge(self._target)
            elif self.on_stop == "deregister" or (self.decision and self.decision.verdict is not Verdict.KEEP):
                await self.registry.leave()
        except ConsulError as error:
            log.warning("%s: stopped without a last word to Consul: %s", self.name, error)

    async def remove(self) -> None:
        """Take the entries out, whatever was decided."""
        self.publisher.stop()
        try:
            await self.registry.leave()
        except ConsulError as error:
            log.warning("%s: the old entries may stay until their TTL ends: %s", self.name, error)

    async def _loop(self) -> None:
        try:
            while True:
                due = min(until_tick(1.0, self._phase), self._until - clock())
                if not self._kept:
                    due = min(due, self.publisher.next_beat)
                await set_within(self._changed, max(due, 0.0))
                self._changed.clear()
                if (stops := self._pulse.stops()) != self._stops:
                    self._stops = stops
                    log.warning("%s: this process was stopped for a while; looking again first", self.name)
                    self.publisher.stop()
                    await self.lookout.look_again()
                elif self._stands():
                    continue
                self._decide()
                await asyncio.sleep(0)  # what was decided is on its way before it is told
                self._tell()
                self._finished(self)
        finally:
            self.publisher.stop()

    async def _find_here(self) -> None:
        """Learn which Consul node holds the own entries; nobody waits for it but a first publication."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(ConsulError), wait=BACKOFF, stop=stop_never, before_sleep=self._not_found
        ):
            with attempt:
                await self.registry.find_here()
        self._complain("Consul", "")
        self.wake()

    async def _not_found(self, state: RetryCallState) -> None:
        self._complain("Consul", str(state.outcome.exception()) if state.outcome else "")

    def _stands(self) -> bool:
        """Whether the last decision stands as it is: nothing is new but the time, which does not change it, and nothing is due."""
        return (
            not (self._news or self._kept)
            and self.decision is not None
            and self.decision.reason in STEADY
            and clock() - self.decided < STANDS_FOR
            and self.publisher.rests_on(self.lookout.seen())
        )

    def _decide(self) -> None:
        self._news = False
        facts = self.lookout.facts(self.registry.here, self.registry.address, self.naming.master_id, self._memory)
        decision = decide(facts, self.policy)
        if self.lookout.publish_at is None:
            decision = without_address(decision)
        self.facts, self.decided = facts, facts.now
        self.decisions += 1
        self.ready = self.ready or decision.reason is not Reason.UNSEEN
        self._memory, self._until = decision.memory, decision.until
        self.lookout.attend(decision)
        self._kept = decision.verdict is Verdict.KEEP
        if self._kept:
            log.debug("%s: %s", self.name, decision.sentence)
            self.decision = self.decision or decision
            return
        self.decision = decision
        self.publisher.want(self._target(decision))
        if isinstance(facts.node, Node) and (found := leader(facts, facts.node)) and found.selection != self._selected:
            self._selected = found.selection
            self._prepare(facts, replace(facts.node, at=facts.now, role=Role.MASTER, turned=found.at))

    def _prepare(self, facts: Facts, promoted: Node) -> None:
        """The node is about to be promoted: look at it and at the claims anew, and dry-run the publication.

        Code paths and connections that have lain idle are slow the first time.
        """
        self.lookout.show_node()
        self.lookout.read_catalog()
        decision = decide(replace(facts, node=promoted), self.policy)
        if decision.verdict is Verdict.MASTER:
            self._rehearsing = asyncio.create_task(self._rehearse(self._target(decision)))

    async def _rehearse(self, target: Target) -> None:
        try:
            await self.registry.rehearse(target)
        except ConsulError as error:  # the publication itself will say it
            log.debug("%s: %s", self.name, error)

    def _target(self, decision: Decision | None = None) -> Target:
        decision = decision or self.decision
        if decision is None:
            raise RuntimeError("nothing is decided yet")
        address = self.lookout.publish_at or NOWHERE
        name = self.lookout.master_name or self._name_before()
        return Target(clock(), wanted(decision, self.naming, address, name), decision.evict, self.lookout.seen())

    def _name_before(self) -> str:
        """The master name that an earlier run wrote, as long as this one has not found it: adopt, do not blink."""
        own = (e for e in self.lookout.entries() if e.node == self.registry.here and is_own(e.meta, self.naming))
        return next((e.meta.get(MASTER_NAME, "") for e in own), "")

    # Telling people

    def _tell(self) -> None:
        if self.decision and self.decision.verdict is not Verdict.KEEP:
            self._note(self.decision)
        if self.facts:
            self._watch_the_others(self.facts)

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
        else:
            change = (
                f"stays {verdict}" if before.verdict is decision.verdict else f"{before.verdict.value} -> {verdict}"
            )
        level = logging.WARNING if decision.verdict is Verdict.NONE else logging.INFO
        reason, sentence = decision.reason.value, decision.sentence
        why = sentence if sentence.startswith(reason) else f"{reason}: {sentence}"
        log.log(level, "%s: %s%s: %s", self.name, change, epoch, why)

    def _written(self, target: Target, seconds: float) -> None:
        """Consul holds a new target."""
        shown = ", ".join(f"{w.name} at {w.address} {w.status}" for w in target.wanted) or "no entry"
        if shown != self._published:
            self._published = shown
            log.info("%s: Consul holds %s, %.0f ms after the decision", self.name, shown, seconds * 1000)

    def _watch_the_others(self, facts: Facts) -> None:
        """Say once what is wrong with somebody else, and once when it is over."""
        silent = facts.node.reason if isinstance(facts.node, Silence) else ""
        self._complain("Redis", silent if not isinstance(facts.node, Silence) or facts.node.misses > 1 else "")
        for sentinel in facts.sentinels:
            self._complain(
                f"Sentinel {sentinel.address}",
                f"it has no vote: {sentinel.error}" if sentinel.error and sentinel.looked else "",
            )
        if facts.catalog:
            others = ", ".join(sorted(f"{e.id} on {e.node}" for e in foreign(facts.catalog.entries, facts.master_name)))
            text = f"entries under {self.naming.service!r} that this tool did not make, left alone: {others}"
            self._complain("Consul's catalog", text if others else "")
        for catalog in self.lookout.catalogs():
            self._complain(f"Consul's catalog of {catalog.service!r}", catalog.error)

    def _complain(self, who: str, what: str) -> None:
        before = self._complaints.get(who, "")
        if what == before:
            return
        self._complaints[who] = what
        if what:
            log.warning("%s: %s: %s", self.name, who, what)
        else:
            log.info("%s: %s: well again", self.name, who)

    @property
    def line(self) -> str:
        """The node in a few words, for systemd's status line."""
        return f"{self.name}: {f'{self.decision.verdict.value}, {self.decision.reason.value}' if self.decision else 'starting'}"

    def snapshot(self) -> dict[str, Any]:
        """What is known, decided and why, for ``status`` and the metrics. Holds no secret."""
        facts, decision = self.facts, self.decision
        node = facts.node if facts else None
        known: dict[str, Any] = {
            "claim": None,
            "sentence": "Nothing is decided yet.",
            "decision": "none",
            "reason": "starting",
        }
        if decision:
            claim = decision.claim
            known = {
                "decision": decision.verdict.value,
                "reason": decision.reason.value,
                "sentence": decision.sentence,
                "claim": _claim(claim),
            }
        ours = {(e.node, e.id) for e in group(self.lookout.entries(), self.lookout.master_name)}
        return known | {
            "node": str(self.name),
            "role": _role(node),
            "run_id": node.run_id if isinstance(node, Node) else "",
            "address": str(self.lookout.publish_at or ""),
            "master_name": self.lookout.master_name,
            "since": self.since,
            "decided_ago": round(clock() - self.decided, 3) if facts else None,
            "sentinels": [_sentinel(s, facts) for s in facts.sentinels] if facts else [],
            "known_sentinels": facts.known if facts else 0,
            "entries": [
                {
                    "node": e.node,
                    "id": e.id,
                    "name": e.name,
                    "address": str(Address(e.address, e.port)),
                    "passing": e.passing,
                    "visible": e.visible,
                    "maintenance": e.maintenance,
                    "claim": _claim(Claim.read(e.meta)),
                    "mine": e.node == self.registry.here and e.id in (self.naming.master_id, self.naming.replica_id),
                    "foreign": (e.node, e.id) not in ours,
                }
                for e in self.lookout.entries()
            ],
            "errors": {who: what for who, what in self._complaints.items() if what}
            | ({"Consul, writing": self.publisher.error} if self.publisher.error else {}),
            "counters": {
                "transitions": dict(self.transitions),
                "decisions": self.decisions,
                "consul_errors": self.publisher.errors,
            },
        }


def naming(config: Config, redis: RedisConfig, seen_from: str) -> Naming:
    """How a node's entries are named. ``seen_from`` is this host's address towards the Consul agent."""
    mode = Mode(config.service.mode)
    at = (redis.host or "", redis.port or 0, redis.path or "", seen_from)
    return Naming(
        mode=mode,
        service=redis.service,
        replica=redis.replica if mode is Mode.SERVICES else "",
        ttl=config.service.ttl,
        # Where several hosts share one Consul agent, the same loopback address means another node on each.
        node=f"{redis.url} on {seen_from}" if seen_from else redis.url,
        master_id=identity.service_id(redis.service, *at),
        replica_id=identity.service_id(redis.replica or f"{redis.service}-replica", *at),
        tags=config.service.tags,
        meta=dict(config.service.meta),
    )


def _claim(claim: Claim | None) -> dict[str, Any] | None:
    if claim is None:
        return None
    return {"epoch": claim.epoch, "turn": claim.turn, "run_id": claim.run_id, "early": claim.early is not None}


def _role(node: Node | Silence | None) -> str:
    if node is None:
        return "unknown"
    if isinstance(node, Silence):
        return "unreachable"
    return "loading" if node.loading else node.role.value


def _sentinel(sentinel: Sentinel, facts: Facts) -> dict[str, Any]:
    vote = "none"
    if sentinel.votes:
        vote = "names this node" if sentinel.master in facts.me else f"names {sentinel.master}"
    return {
        "address": str(sentinel.address),
        "id": sentinel.id,
        "vote": vote,
        "epoch": sentinel.epoch,
        "tilt": sentinel.tilt,
        "reachable": not sentinel.error,
        "error": sentinel.error,
    }
