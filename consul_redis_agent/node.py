"""One Redis node: facts → decision → entries → Consul, whenever something has changed, and as often as time may change it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import inf

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never

from consul_redis_agent.clock import Pulse, clock, set_within, until_tick
from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.consul.form import Step, is_own, node_name
from consul_redis_agent.decide import identity
from consul_redis_agent.decide.decision import Decision, FenceMode, Order, Policy, Reason, SentinelMode, Verdict
from consul_redis_agent.decide.facts import Address, Entry, Facts, Node, Role, Selection
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.decide.rules import decide
from consul_redis_agent.decide.sentinels import leader
from consul_redis_agent.decide.turn import RELIEF
from consul_redis_agent.errors import ConsulError, StaleDecision
from consul_redis_agent.marked import event
from consul_redis_agent.publish.entries import Mode, Naming, wanted
from consul_redis_agent.publish.fence import PAUSE_ALL, Fence
from consul_redis_agent.publish.steps import Target
from consul_redis_agent.publish.writer import BACKOFF, Writer
from consul_redis_agent.watch.catalog import CatalogWatch
from consul_redis_agent.watch.discovery import Sentinels
from consul_redis_agent.watch.lookout import Lookout, redis_link, sentinel_link, where
from consul_redis_agent.watch.redis_node import POLL

log = logging.getLogger(__name__)

NOWHERE = Address("", 0)
MARK = 8
"""Characters of an agent's id that are in the names of its entries."""
PUBLISHED = (Verdict.MASTER, Verdict.REPLICA)
STABLE_REASONS = (Reason.NAMED, Reason.REPLICATES)
"""Reasons that hold until something is seen; watchers report their own loss of contact."""
STANDS_FOR = 2.5
"""Seconds after which a decision is made anew in any case."""


LOOK_AGAIN = 4.0
"""Seconds within which everything has answered anew after a stop, or has failed to: longer than each one's own deadline."""


class NodeAgent:
    """Looks after one Redis node until cancelled. ``finished`` is called after each decision, outside of its way.

    ``written`` and ``stepped`` are called as by :class:`Writer`, ``carried_out`` as by :class:`Fence`.
    """

    def __init__(
        self,
        config: Config,
        redis: RedisConfig,
        api: ConsulAPI,
        sentinels: Sentinels,
        catalogs: dict[str, CatalogWatch],
        seen_from: str,
        agent: str,
        pulse: Pulse,
        memory: Memory,
        finished: Callable[[NodeAgent], None],
        written: Callable[[NodeAgent, Target, float], None],
        phase: float,
        stepped: Callable[[NodeAgent, Step, float, str], None] = lambda node, step, began, error: None,
        carried_out: Callable[[NodeAgent, Order, float, str], None] = lambda node, order, began, error: None,
    ) -> None:
        self.redis = redis
        self.policy = Policy(
            mode=SentinelMode(config.sentinel.mode),
            early=config.sentinel.early,
            ttl=config.service.ttl,
            max_lag=config.replica.max_lag,
            patience=redis.patience,
            node_life=POLL + 2 * redis.timeout + 1,
            fence=FenceMode(config.fence.mode),
            on_death=config.failover.on_death == "ask",
            on_empty=config.failover.on_empty == "ask",
            delay=config.failover.delay,
        )
        self.naming = naming(config, redis, seen_from, agent)
        self._api = api
        self.on_stop = config.service.on_stop
        self.sentinel_user = config.sentinel.username
        self.name = str(where(redis))
        self._changed = asyncio.Event()
        self._news = True
        """New facts have arrived since the last decision."""
        self.lookout = Lookout(
            redis,
            self.policy.mode,
            config.sentinel.hosts,
            sentinels,
            catalogs,
            self.wake,
            phase,
            self.policy.ttl,
            bool(seen_from),
            self.policy.on_empty,
        )
        self.fence: Fence | None = None
        if self.policy.fence is FenceMode.ON:
            own = redis_link(replace(redis, timeout=redis.timeout + PAUSE_ALL))  # it may have to wait with all others
            self.fence = Fence(self.name, own, partial(sentinel_link, config.sentinel), partial(carried_out, self))
        self.writer = Writer(
            api, self.naming, self.lookout.catalogs(), partial(written, self), partial(stepped, self), self.name
        )
        self.facts: Facts | None = None
        self.decision: Decision | None = None
        """The last one that says what to do: KEEP leaves it as it was."""
        self.latest: Decision | None = None
        """The last one."""
        self.memory = memory
        self.ready = False
        """Whether a first decision was made of a look at Redis. Not whether Consul took it: Redis may wait for READY."""
        self.began = clock()
        self.decided = -inf
        self.decisions = 0
        self.lost = ""
        """Why the Consul node of the own entries is not known."""
        self._until = inf
        """When time alone changes the last decision."""
        self._selected: Selection | None = None
        self._rehearsing: asyncio.Task[None] | None = None
        self._finished, self._phase = finished, phase
        self._pulse, self._stops = pulse, pulse.stops()

    @property
    def token_error(self) -> str:
        """Why the token for Consul is of no use; empty as far as is known."""
        return self._api.token_error

    def wake(self) -> None:
        """Decide now."""
        self._news = True
        self._changed.set()

    async def run(self) -> None:
        """Watch, decide and publish until cancelled."""
        self.began = clock()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.lookout.run())
            tasks.create_task(self._find_consul_node())
            tasks.create_task(self._loop())

    async def look_last(self) -> None:
        """Look at Redis once more before the end: during a host shutdown it may just have exited."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.redis.timeout):
                await self.lookout.look_at_node()
        self._decide()
        if self.latest and self.latest.reason is Reason.RELIEVED:  # nobody will be there to withdraw the claim
            self._decide(ahead=RELIEF)
        self._finished(self)

    async def leave(self) -> None:
        """End as the configuration says: a true entry is left to its TTL or removed, a false one is never left."""
        if self.on_stop == "deregister":
            await self.remove()
        elif not self._is_second and self.decision and (not self._keeps or self.decision.verdict in PUBLISHED):
            try:  # what KEEP leaves alone is beaten once more, no more
                await self.writer.finish(self._target(self.decision), beat_only=self._keeps)
            except (ConsulError, StaleDecision) as error:
                mark = event("stopped_unwritten", node=self.name, error=str(error))
                log.warning("%s: stopped without a last word to Consul: %s", self.name, error, extra=mark)

    async def remove(self) -> None:
        """Take the entries out, whatever was decided, if they are this agent's."""
        if self._is_second:
            return
        try:
            await self.writer.leave()
        except (ConsulError, StaleDecision) as error:
            mark = event("entries_left", node=self.name, error=str(error))
            log.warning("%s: the old entries may stay until their TTL ends: %s", self.name, error, extra=mark)

    async def _loop(self) -> None:
        try:
            while True:
                due = min(until_tick(1.0, self._phase), self._until - clock())
                if not self._keeps:
                    due = min(due, self.writer.next_beat)
                await set_within(self._changed, max(due, 0.0))
                self._changed.clear()
                if (stops := self._pulse.stops()) != self._stops:
                    self._stops = stops
                    log.warning(
                        "%s: this process was stopped for a while; looking again first", self.name,
                        extra=event("process_stopped", node=self.name),
                    )  # fmt: skip
                    self.writer.stop()
                    with suppress(TimeoutError):  # then the facts are old, and the rules know it
                        async with asyncio.timeout(LOOK_AGAIN):
                            await self.lookout.look_again()
                elif self._stands():
                    continue
                self._decide()
                await asyncio.sleep(0)  # what was decided is on its way before it is told
                self._finished(self)
        finally:
            self.writer.stop()
            if self.fence:
                self.fence.stop()
            if self._rehearsing:
                self._rehearsing.cancel()

    async def _find_consul_node(self) -> None:
        """Learn which Consul node holds the own entries; nobody waits for it but a first publication."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(ConsulError), wait=BACKOFF, stop=stop_never, before_sleep=self._not_found
        ):
            with attempt:
                await self.writer.find_consul_node()
        self.lost = ""
        self.wake()

    async def _not_found(self, state: RetryCallState) -> None:
        self.lost = str(state.outcome.exception()) if state.outcome else ""

    @property
    def _is_second(self) -> bool:
        """Whether another agent looks after the node, so that what Consul holds is that one's."""
        return self.latest is not None and self.latest.reason is Reason.OTHER_AGENT

    @property
    def _keeps(self) -> bool:
        return self.latest is None or self.latest.verdict is Verdict.KEEP

    def _stands(self) -> bool:
        """Whether the last decision stands as it is: nothing is new but the time, which does not change it, and nothing is due."""
        return (
            not (self._news or self._keeps)
            and self.decision is not None
            and self.decision.reason in STABLE_REASONS
            and clock() - self.decided < STANDS_FOR
            and clock() < self._until
            and self.writer.rests_on(self.lookout.seen())
        )

    def _decide(self, *, ahead: float = 0.0) -> None:
        """Make a decision of what is known, and begin what follows. ``ahead``: as if it were that many seconds later."""
        self._news = False
        ids = (self.naming.master_id, self.naming.replica_id)
        facts = self.lookout.facts(self.writer.consul_node, self.writer.address, ids, self.naming.agent)
        facts = replace(facts, now=facts.now + ahead) if ahead else facts
        decision, self.memory = decide(facts, self.memory, self.policy)
        self.facts, self.decided, self.latest = facts, facts.now, decision
        self.decisions += 1
        self.ready = self.ready or decision.reason is not Reason.UNSEEN
        self._until = decision.until
        self.lookout.attend(decision, facts, self.memory)
        if self.fence and isinstance(facts.node, Node):
            self.fence.prepare(facts.node)
        if self.fence and decision.order:
            self.fence.carry_out(decision.order, self.lookout.master_name)
        if self._keeps:
            log.debug("%s: %s", self.name, decision.sentence)
            self.decision = self.decision or decision
            return
        if self.decision and self.decision.verdict is Verdict.MASTER and decision.verdict is Verdict.NONE:
            self.lookout.show_node()  # what is written to it from now on is counted
        self.decision = decision
        self.writer.want(self._target(decision))
        if (
            isinstance(facts.node, Node)
            and (found := leader(facts, facts.node, self.memory.known))
            and found.selection != self._selected
        ):
            self._selected = found.selection
            self._prepare(facts, replace(facts.node, at=facts.now, role=Role.MASTER, turned=found.at))

    def _prepare(self, facts: Facts, promoted: Node) -> None:
        """The node is about to be promoted: look at it and at the claims anew, and dry-run the publication."""
        self.lookout.show_node()
        self.lookout.read_catalog()
        decision, _ = decide(replace(facts, node=promoted), self.memory, self.policy)
        if decision.verdict is Verdict.MASTER:
            self._rehearsing = asyncio.create_task(self._rehearse(self._target(decision)))

    async def _rehearse(self, target: Target) -> None:
        try:
            await self.writer.rehearse(target)
        except ConsulError as error:  # the publication itself will say it
            log.debug("%s: %s", self.name, error)

    def _target(self, decision: Decision) -> Target:
        address, name = self.lookout.publish_at, self.lookout.master_name
        if not (address and name):
            before = self._before()
            address = address or (before.address if before else NOWHERE)
            name = name or (before.master_name if before else "")
        entries = wanted(decision, self.naming, address, name, self.memory.node.run_id if self.memory.node else "")
        return Target(clock(), entries, decision.evict, decision.last, self.lookout.seen())

    def _before(self) -> Entry | None:
        """The entry that an earlier run wrote: what this one has not found yet is taken from it, so that it does not flap."""
        own = (
            e for e in self.lookout.entries() if e.node == self.writer.consul_node and is_own(e.meta, self.naming.node)
        )
        return next(own, None)

    @property
    def line(self) -> str:
        """The node in a few words, for systemd's status line."""
        return f"{self.name}: {f'{self.decision.verdict.value}, {self.decision.reason.value}' if self.decision else 'starting'}"


def naming(config: Config, redis: RedisConfig, seen_from: str, agent: str = "") -> Naming:
    """How a node's entries are named. ``seen_from`` is this host's address towards the Consul agent, ``agent`` the own id.

    Where hosts share a Consul agent, the id, if it is kept, is in the names: containers have the same addresses on each host.
    """
    mode = Mode(config.service.mode)
    mark = agent[:MARK] if seen_from and agent.isalnum() else ""
    at = (redis.host or "", redis.port or 0, redis.path or "", seen_from, mark)
    return Naming(
        mode=mode,
        service=redis.service,
        replica=redis.replica if mode is Mode.SERVICES else "",
        ttl=config.service.ttl,
        # Where several hosts share one Consul agent, the same loopback address means another node on each.
        node=node_name(redis.known_as, seen_from, mark),
        master_id=identity.service_id(redis.service, *at),
        replica_id=identity.service_id(redis.replica or f"{redis.service}-replica", *at),
        tags=config.service.tags,
        meta=dict(config.service.meta),
        agent=agent,
        kept_as=identity.service_id("node", *at[:-1]),
    )
