"""Keeps Consul at what was decided last: takes one step at a time, beats the TTL, tries again when something fails.

It never makes a decision wait: a target that differs cancels the write in progress. That is safe after any step, since
the next one is found from what Consul holds then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from math import inf
from typing import Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never, wait_exponential_jitter

from consul_redis_agent.clock import clock, set_within
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.consul.form import (
    NODE,
    OUTPUT,
    Deregister,
    Local,
    Register,
    Step,
    Transact,
    Unseal,
    Update,
    Wanted,
    is_own,
    read_entry,
    read_local,
    registration,
    status_of,
    transactions,
    unmarked,
)
from consul_redis_agent.decide.facts import Catalog, Entry
from consul_redis_agent.errors import (
    ConsulBlocked,
    ConsulConflict,
    ConsulDenied,
    ConsulError,
    ConsulUnknown,
    StaleDecision,
)
from consul_redis_agent.marked import event
from consul_redis_agent.publish.entries import Naming
from consul_redis_agent.publish.steps import Known, Target, after, check, next_step, settled, shown

log = logging.getLogger(__name__)

BEATS = 3
"""Heartbeats in one TTL: two may be lost."""
DECISION_LIFE = 1.5
"""Seconds after which a decision is not written any more. It is made anew once a second at the latest."""
LASTS = 8
"""Attempts after which what usually mends itself is said."""
BACKOFF = wait_exponential_jitter(multiplier=0.05, exp_base=3.0, max=1.0, jitter=0.1)


class Watched(Protocol):
    """What the writer needs of the watch on one service name; see :class:`consul_redis_agent.watch.catalog.CatalogWatch`."""

    service: str
    lost: int
    seen_since: float

    def look_again(self) -> None: ...


class Writer:
    """One Redis node's entries at Consul.

    ``done(target, seconds)`` is called when Consul holds a new target, ``stepped(step, began, error)`` when it has answered a
    write, or failed to; ``error`` is empty where it took it. ``name`` is the Redis node's in events.
    """

    def __init__(
        self,
        api: ConsulAPI,
        naming: Naming,
        catalogs: Iterable[Watched],
        done: Callable[[Target, float], None] = lambda target, seconds: None,
        stepped: Callable[[Step, float, str], None] = lambda step, began, error: None,
        name: str = "",
    ) -> None:
        self.naming = naming
        self.error = ""
        """Why Consul rejects the entries; empty while it takes them."""
        self.errors = 0
        """Attempts that failed, lost compares aside."""
        self.transactions = self.refused = self.evictions = 0
        """Transactions that Consul carried out, that it refused since somebody was quicker, and rivals evicted in them."""
        self.consul_node: str | None = None
        """The Consul node of the own entries; None as long as it is not known, empty where nothing is registered there."""
        self.address = ""
        """That node's address, where it is on the same host as the Redis node."""
        self.only_passing: bool | None = None
        """Whether Consul's DNS leaves out what has a check that warns; None: unknown."""
        self._api, self._catalogs = api, tuple(catalogs)
        self._done, self._stepped, self._name = done, stepped, name or naming.node
        self._asked = False
        self._target: Target | None = None
        self._held: tuple[object, ...] | None = None
        """The key of the last target that Consul was brought to."""
        self._wanted_since = 0.0
        self._known = Known("", naming.node, None, {})
        self._rests: Known | None = None
        """The same, if nothing was to do then for what is held."""
        self._seen: dict[str, tuple[Entry, ...]] = {}
        """The entries under each service name that were taken in last."""
        self._read_local = False
        """Whether what is known of the own Consul agent counts."""
        self._written = -inf
        """When the last step ended: what a catalog shows that is no younger does not count."""
        self._lost = 0
        self._token_number = 0
        """Of the token with which what is known of the own Consul agent was read."""
        self._registered: dict[str, int] = {}
        """The number of the token with which each entry was registered last, by this process."""
        self._stood: dict[str, tuple[Wanted, float]] = {}
        """The entries that were in place at their last beat, and when that was: these are beaten whatever else fails."""
        self._beat_at = 0.0
        self._soon = min(1.0, naming.ttl / BEATS / 3)
        """Seconds before its time that a beat is taken along with a decision that is made anyway."""
        self._free = asyncio.Event()
        self._free.set()
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._refused = False
        """A compare was lost, and the catalog has not been read since: the same transaction would lose again."""

    # What is wanted

    def want(self, target: Target) -> None:
        """Bring Consul to this target, in the background. Raises what ended the writing before: a defect of our own."""
        before, self._target = self._target, target
        differs = before is None or before.key != target.key
        if differs:
            self._wanted_since = target.decided
        self._look(target.seen)
        if self._task and self._task.done():
            self._task.result()
        if self._task and differs and self.busy:
            self.stop()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        elif self.at_rest:
            return  # most of the time
        self._wake.set()

    def _look(self, seen: Mapping[str, Catalog]) -> None:
        """Take in what the catalog shows, where it is younger than the last step."""
        young = {service: catalog for service, catalog in seen.items() if catalog.at > self._written}
        if self.naming.service in young:
            self._refused = False
        if all(self._seen.get(service) is catalog.entries for service, catalog in young.items()):
            return
        self._seen |= {service: catalog.entries for service, catalog in young.items()}
        if self._known.catalog is not None or self.naming.service in young:
            rest = [entry for entry in self._known.catalog or () if entry.name not in young]
            entries = (*rest, *(entry for catalog in young.values() for entry in catalog.entries))
            self._known = replace(self._known, catalog=entries)

    def stop(self) -> None:
        """Write nothing more, until something is wanted again."""
        if self._task:
            self._task.cancel()
            self._task, self._stood = None, {}
            self._free.set()
            self._doubt()  # what was under way may still be done

    @property
    def busy(self) -> bool:
        """Whether a step is being taken, or tried."""
        return not self._free.is_set()

    async def finished(self) -> None:
        """Wait until no step is being taken, or tried."""
        await self._free.wait()

    @property
    def at_rest(self) -> bool:
        """Whether Consul holds all that is wanted, and no beat is due."""
        target = self._target
        return target is not None and not self.busy and not self._is_due and self._holds(target)

    def rests_on(self, seen: Mapping[str, Catalog]) -> bool:
        """The same, and whether the last target was decided on just these catalogs."""
        target = self._target
        if target is None or target.seen.keys() != seen.keys() or not self.at_rest:
            return False
        return all(target.seen[service] is catalog for service, catalog in seen.items())

    @property
    def next_beat(self) -> float:
        """Seconds until the next TTL renewal; if overdue, one is already being attempted or the next decision will."""
        left = self._beat_at - clock()
        return left if left > 0 else self.naming.ttl

    @property
    def _is_due(self) -> bool:
        return clock() + self._soon >= self._beat_at

    def _holds(self, target: Target) -> bool:
        if (
            not (self._read_local and self._lost == self._times_lost and target.key == self._held)
            or self._is_other_token
        ):
            return False
        if self._rests is not self._known and settled(target, self._known) and next_step(target, self._known) is None:
            self._rests = self._known
        return self._rests is self._known

    # Doing it

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type((ConsulError, StaleDecision)),
                wait=BACKOFF,
                stop=stop_never,
                before_sleep=self._failed,
                sleep=self._pause,
            ):
                with attempt:
                    self._free.clear()
                    await self._bring()
            self._free.set()
            await self._wake.wait()

    async def _bring(self) -> None:
        """Take every step to the target, with the beat first where it is due."""
        target = self._current()
        await self._beat_if_due()
        if self._is_blind(target):
            if target.key != self._held:
                raise StaleDecision("Consul has not shown the other claims since it was out of reach")
            return
        if self._lost != self._times_lost:
            self._lost = self._times_lost
            self._doubt()
        await self.find_consul_node(needed=bool(target.passes))
        if not self._read_local or self._is_other_token:
            self._held = None
            await self._read()
            await self._beat_if_due()
        before = self._written
        while await self._take_one():
            pass
        await self._beat_if_due()
        if self._written != before:
            self._look_again()
        target = self._current()
        if self._held != target.key and settled(target, self._known):
            self._held, self._rests = target.key, None
            self._done(target, clock() - self._wanted_since)
        if self.error:
            log.info(
                "%s: Consul takes the entries again", self.naming.node, extra=event("consul_accepts", node=self._name)
            )
            self.error = ""

    async def _take_one(self) -> bool:
        """The next step, if there is one. A write waits for no other once its decision was looked at."""
        async with self._api.changes:
            target = self._current()
            step = next_step(target, self._known)
            if step is None:
                return False
            if self._refused and isinstance(step, Transact):
                raise StaleDecision("Consul has not shown the other claims since a compare was lost")
            check(step, target, self._known)
            if self._api.token_error and _raises(step):
                raise ConsulDenied(self._api.token_error)  # it could not be taken back
            _must_be_young(target)
            self._held = None  # until it is done, also if it is interrupted: anything may be half written
            for id_ in _concerned(step):
                self._stood.pop(id_, None)
            began, error = clock(), "something else was decided meanwhile, and the answer not awaited"
            try:
                await self._do(step)
                error = ""
            except ConsulError as refused:
                error = str(refused)
                raise
            finally:
                self._written = clock()
                self._stepped(step, began, error)
            self._known, self._seen = after(step, self._known), {}
        if not self._known.consul_node:
            await self.find_consul_node(needed=True)
        return True

    async def _do(self, step: Step) -> None:
        log.debug("%s: %s", self.naming.node, step)
        match step:
            case Transact():
                try:
                    for operations in transactions(step, self.consul_node or ""):
                        await self._api.txn(operations)
                    self.transactions += 1
                    self.evictions += len(step.evict)
                except ConsulBlocked:
                    raise  # it says what that means
                except (ConsulDenied, ConsulUnknown) as error:
                    raise ConsulError(f"{error} (to /v1/txn, without which no master is published)") from error
            case Register(entry):
                number = self._api.token_number
                await self._api.register(registration(entry))
                self._registered[entry.id] = number
            case Update(_, passing):
                await self._api.check_update(step.check_id, status_of(passing=passing), OUTPUT)
            case Unseal():
                await self._api.check_deregister(step.check_id)
            case Deregister(service_id):
                await self._api.deregister(service_id)

    async def _beat_if_due(self) -> None:
        """Begin the TTL of each entry that is in place anew, but not beyond the end of an early claim.

        It is done once that is every one that is wanted; until then it is tried with each attempt.
        """
        if not self._is_due:
            return
        async with self._api.beats:
            target, done = self._current(), True
            for entry in target.wanted:
                _must_be_young(target)
                if clock() + entry.ttl > entry.ends:
                    continue
                if not self._stands(entry):
                    done = False
                    continue
                await self._api.check_update(entry.check_id, entry.status, OUTPUT)
                self._stood[entry.id] = entry, clock()
        if done:
            self._beat_at = clock() + self.naming.ttl / BEATS * random.uniform(0.9, 1.0)  # noqa: S311 - spreads load

    def _stands(self, entry: Wanted) -> bool:
        """Whether the own Consul agent holds the entry as it is wanted, or did so less than a TTL ago, with nothing done since."""
        if self._read_local:
            local = self._known.local.get(entry.id)
            return local is not None and (local.status, local.definition) == (entry.status, entry.definition)
        stood = self._stood.get(entry.id)
        return stood is not None and stood[0] == entry and clock() - stood[1] < entry.ttl

    def _is_blind(self, target: Target) -> bool:
        """Whether it wants something to pass, and was decided before the claims were seen again after an error.

        A Consul agent that has started again has broken its seals, and one that was cut off may write late: do not let it
        set anything passing until the claims of now have been read. A beat of what passes already writes nothing.
        """
        own = (c.seen_since for c in self._catalogs if c.service == self.naming.service)
        return target.decided < max(own, default=-inf) and bool(target.passes)

    def _current(self) -> Target:
        if self._target is None:
            raise StaleDecision("nothing is wanted")
        return self._target

    @property
    def _times_lost(self) -> int:
        return sum(catalog.lost for catalog in self._catalogs)

    @property
    def _is_other_token(self) -> bool:
        """The token has changed: what was registered with the old one is synced with that, which may be gone."""
        return self._token_number != self._api.token_number

    def _doubt(self) -> None:
        """What is known of the own Consul agent may be over: it was out of reach, or a step was cut off."""
        self._read_local = self._asked = False
        self._held = None
        self._look_again()

    def _look_again(self) -> None:
        """Force a catalog read newer than the last step."""
        for catalog in self._catalogs:
            catalog.look_again()

    # What Consul says

    async def find_consul_node(self, *, needed: bool = True) -> None:
        """Learn which Consul node the own Consul agent is, also with a token that has no ``agent:read``.

        A withdrawal does not wait for the answer where it was known before. Raises ConsulError.
        """
        if self._asked or (self.consul_node is not None and not needed):
            return
        try:
            answer = await self._api.agent_self()
            self.consul_node = str(answer["Config"]["NodeName"])
            self.address = str((answer.get("Member") or {}).get("Addr") or "")
            self.only_passing = only_passing_in(answer)
        except ConsulDenied:
            checks = (await self._api.checks()).values()
            self.consul_node = next((str(c["Node"]) for c in checks if c.get("Node")), "")
        self._asked = bool(self.consul_node)
        catalog = self._known.catalog
        if catalog and self.consul_node:  # also of what was written before its node was known
            catalog = tuple(entry if entry.node else replace(entry, node=self.consul_node) for entry in catalog)
        self._known = replace(self._known, consul_node=self.consul_node, catalog=catalog)

    async def _read(self) -> None:
        """The own Consul agent's services that this tool registered for the node, or that stand in the place of one."""
        ids = {self.naming.master_id, self.naming.replica_id}
        nodes = dict.fromkeys((self.naming.node, unmarked(self.naming.node)))
        own = [f'Meta["{NODE}"] == {json.dumps(node)}' for node in nodes]
        services = await self._api.services(" or ".join([*own, *(f"ID == {json.dumps(id_)}" for id_ in ids)]))
        of = " or ".join(f"ServiceID == {json.dumps(id_)}" for id_ in services)
        checks = await self._api.checks(of) if of else {}
        before, number = self._known.local, self._api.token_number
        local: dict[str, Local] = {}
        for id_, service in services.items():
            read = read_local(service, checks)
            if id_ in ids or is_own(read.meta, self.naming.node):
                same = (was := before.get(id_)) and was.definition == read.definition
                renew = self._registered.get(id_, 0) != number
                local[id_] = replace(read, ttl=was.ttl if was and same else read.ttl, renew=renew)
        self._known = replace(self._known, local=local)
        self._read_local, self._token_number = True, number

    # Failures

    async def _failed(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.debug("%s: %s: %s", self.naming.node, type(error).__name__, error)
        if isinstance(error, StaleDecision):
            return  # mends itself with the next decision
        self._refused = isinstance(error, ConsulConflict)
        if self._refused:
            self.refused += 1
            self._look_again()
        else:
            self._doubt()
        if isinstance(error, ConsulUnknown):
            self._stood = {}
        if isinstance(error, ConsulConflict | ConsulUnknown) and state.attempt_number < LASTS:
            return  # mends itself with the next look, or is registered again with the next attempt
        if not self._refused:  # somebody was quicker: no error of Consul's
            self.errors += 1
        if str(error) != self.error:
            self.error = str(error)
            mark = event("consul_rejects", node=self._name, error=self.error)
            log.warning("%s: Consul rejects the entries, retrying: %s", self.naming.node, error, extra=mark)

    async def _pause(self, seconds: float) -> None:
        """Before the next attempt; where the catalog has changed, only until the next decision."""
        if self._refused:
            self._wake.clear()
            await set_within(self._wake, seconds)
        else:
            await set_within(asyncio.Event(), seconds)

    # At the end, and before the beginning

    async def rehearse(self, target: Target) -> None:
        """Dry-run the publication, so that code paths and connections are warm; nothing is sent. Raises ConsulError."""
        step = next_step(target, self._known)
        if isinstance(step, Transact):
            await self._api.rehearse(next(transactions(step, self.consul_node or "")))

    async def finish(self, target: Target, *, beat_only: bool = False) -> None:
        """Bring Consul to this target, and beat it for the last time. Raises ConsulError, or StaleDecision.

        Nothing begins to pass that the catalog does not show: nobody would be there to take it back.
        """
        self.stop()
        self._target = target
        if self._is_blind(target):
            raise StaleDecision("Consul has not shown the other claims since it was out of reach")
        await self.find_consul_node(needed=False)
        await self._read()
        await self._read_catalog()
        begins = not shown(target, self._known)
        while not (beat_only or begins) and await self._take_one():
            pass
        self._beat_at = 0.0
        await self._beat_if_due()

    async def leave(self) -> None:
        """Take every entry of this Redis node out, whatever was decided. Raises ConsulError."""
        self.stop()
        await self.find_consul_node()
        await self._read()
        await self._read_catalog()
        self._target = Target(clock(), ())
        while await self._take_one():
            self._target = Target(clock(), ())

    async def _read_catalog(self) -> None:
        names = filter(None, (self.naming.service, self.naming.replica))
        instances = [one for name in names for one in (await self._api.health(name))[1]]
        self._known, self._refused = replace(self._known, catalog=tuple(map(read_entry, instances))), False


def only_passing_in(answer: object) -> bool | None:
    """``dns_config.only_passing`` in what ``/v1/agent/self`` answers."""
    match answer:
        case {"DebugConfig": {"DNSOnlyPassing": bool(given)}}:
            return given
    return None


def _must_be_young(target: Target) -> None:
    age = clock() - target.decided
    if age > DECISION_LIFE:
        raise StaleDecision(f"the decision is {age:.1f} s old")


def _raises(step: Step) -> bool:
    """Whether it has an entry begin to pass, or be there."""
    match step:
        case Transact(publish=entry):
            return entry is not None and entry.passing
        case Register() | Unseal():
            return True
        case Update(passing=passing):
            return passing
    return False


def _concerned(step: Step) -> Iterator[str]:
    """Ids of the own entries that a step changes."""
    match step:
        case Transact(publish, remove=remove):
            yield from (entry.id for entry in remove)
            if publish:
                yield publish.id
        case Register(entry):
            yield entry.id
        case Update(service_id) | Unseal(service_id) | Deregister(service_id):
            yield service_id
