"""Makes Consul hold exactly the entries that are wanted, and beats their TTL."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from consul_redis_agent.clock import clock
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.decide.claim import NODE
from consul_redis_agent.decide.facts import Catalog, Entry
from consul_redis_agent.errors import ConsulConflict, ConsulDenied, ConsulUnknown, StaleDecision
from consul_redis_agent.publish import plan
from consul_redis_agent.publish.entries import CHECK_SUFFIX, OUTPUT, SEAL_SUFFIX, Naming, Wanted
from consul_redis_agent.publish.transaction import evicted_checks, tombstones, transactions
from consul_redis_agent.watch.catalog import SERVICE_MAINTENANCE
from consul_redis_agent.watch.catalog import entry as read

log = logging.getLogger(__name__)

DECISION_LIFE = 1.5
"""Seconds after which a decision is not written any more. It is made anew once a second at the latest."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one decision wants of Consul."""

    decided: float
    """Monotonic second of the decision."""
    wanted: tuple[Wanted, ...]
    evict: tuple[Entry, ...] = ()
    seen: Mapping[str, Catalog] = field(default_factory=dict)
    """The catalog under each service name that it rests on: what is written is held against that, and no later one."""

    @property
    def entries(self) -> Iterator[Entry]:
        """All entries that were seen."""
        for catalog in self.seen.values():
            yield from catalog.entries

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two targets that want the same."""
        return self.wanted, tuple((e.node, e.id) for e in self.evict)


class Registry:
    """One Redis node's entries at the local Consul agent. Every method raises ConsulError, or StaleDecision.

    ``target`` is called before each step, so that a step is never taken for a decision of long ago.
    """

    def __init__(self, api: ConsulAPI, naming: Naming) -> None:
        self._api, self.naming = api, naming
        self.here: str | None = None
        """The local agent's Consul node; None as long as it is not known, empty where nothing is registered there."""
        self.address = ""
        """That node's address, where it is on the same host as the Redis node."""
        self.written = float("-inf")
        """When the last step ended."""
        self._asked_here = False
        self._known: frozenset[str] = frozenset()
        self._critical: frozenset[str] = frozenset()
        self._said_no_transactions = False

    async def find_here(self) -> None:
        """Learn which Consul node the local agent is, also with a token that has no ``agent:read``."""
        if self._asked_here:
            return
        try:
            answer = await self._api.agent_self()
            self.here = str(answer["Config"]["NodeName"])
            self.address = str((answer.get("Member") or {}).get("Addr") or "")
        except ConsulDenied:
            checks = (await self._api.checks()).values()
            self.here = next((str(c["Node"]) for c in checks if c.get("Node")), "")
        self._asked_here = bool(self.here)

    def doubt(self) -> None:
        """The local Consul agent was out of reach and may be another one now: ask it again who it is.

        What it does not hold any more it shows itself. What it holds is not registered again: it would sync that to the
        servers, where a newer claim may have put it down meanwhile, as late as the network lets it.
        """
        self._asked_here = False
        self._critical = frozenset()

    async def converge(self, target: Callable[[], Target]) -> None:
        """Take every step to ``target``, when it is this node's turn."""
        async with self._api.changes:
            await self._converge(target)

    async def _converge(self, target: Callable[[], Target]) -> None:
        now = target()
        if self.here is None or any(entry.passing for entry in now.wanted):  # a withdrawal does not wait for an answer
            await self.find_here()
            now = target()
        if not self.here:
            # Only a registered check tells the node's name then; critical where an older claim has to go down with it.
            for entry in now.wanted:
                await self._take(plan.Register(replace(entry, passing=entry.passing and not now.evict)), now)
            await self.find_here()
        for step in plan.at_once(now.wanted, now.evict, now.entries, self.here or "", self.naming, self._critical):
            try:
                await self._take(step, target(), missing_is_fine=False)
            except ConsulUnknown:
                for lost in plan.forgotten(now.wanted, now.entries, self.here or "", self.naming):
                    await self._take(lost, target())
        local = await self._local()
        now = target()
        for step in plan.then(now.wanted, local, self.naming, self._known):
            await self._take(step, target())

    async def rehearse(self, target: Target) -> None:
        """Build the transaction to ``target``, and have a connection at hand for it; nothing is sent."""
        for step in plan.at_once(target.wanted, target.evict, target.entries, self.here or "", self.naming):
            if isinstance(step, plan.Transact):
                await self._api.rehearse(next(transactions(step, self.here or "")))

    async def correct(self, target: Callable[[], Target]) -> None:
        """Write to the catalog what the local agent has right already. What was seen is younger than ``written``."""
        async with self._api.changes:
            now = target()
            for step in plan.at_last(now.wanted, now.entries, self.here or ""):
                await self._take(step, target())

    async def beat(self, target: Callable[[], Target]) -> None:
        """Begin the TTL of each check anew, but not beyond the end of an early claim.

        Raises ConsulUnknown where one has to be registered first.
        """
        async with self._api.beats:
            for entry in target().wanted:
                if clock() + entry.ttl > entry.ends:
                    continue
                await self._take(plan.Update(entry.check_id, entry.passing), target(), missing_is_fine=False)

    async def leave(self) -> None:
        """Take every entry of this Redis node out, whatever was decided."""
        async with self._api.changes:
            for step in plan.then((), await self._local(), self.naming, frozenset()):
                await self._do(step)
            for step in plan.forgotten((), await self._catalog(), self.here or "", self.naming):
                await self._do(step)

    async def _take(self, step: plan.Step, target: Target, *, missing_is_fine: bool = True) -> None:
        age = clock() - target.decided
        if age > DECISION_LIFE:
            raise StaleDecision(f"the decision is {age:.1f} s old")
        try:
            await self._do(step)
        except ConsulUnknown:
            if not missing_is_fine or isinstance(step, plan.Register):
                raise
        finally:
            self.written = clock()

    async def _do(self, step: plan.Step) -> None:
        log.debug("%s: %s", self.naming.node, step)
        match step:
            case plan.Transact():
                await self._transact(step)
            case plan.Register(entry):
                await self._api.register(entry.registration())
                self._known |= {entry.id}
            case plan.Update(check_id, passing):
                self._critical -= {check_id}
                await self._api.check_update(check_id, "passing" if passing else "critical", OUTPUT)
                self._critical |= frozenset() if passing else {check_id}
            case plan.Unseal(seal_id):
                await self._api.check_deregister(seal_id)
            case plan.Deregister(service_id):
                await self._api.deregister(service_id)

    async def _transact(self, step: plan.Transact) -> None:
        try:
            for operations in transactions(step, self.here or ""):
                await self._api.txn(operations)
        except ConsulConflict:
            raise
        except (ConsulDenied, ConsulUnknown) as error:
            if not self._said_no_transactions:
                log.warning(
                    "%s: Consul refuses the transaction (%s): older claims are now put down one by one before the own one "
                    "is set up, so DNS is without a master for some milliseconds at each failover",
                    self.naming.node,
                    error,
                )
                self._said_no_transactions = True
            for entry in step.evict:
                for check in (*evicted_checks(entry), *tombstones(entry)):
                    await self._api.catalog_check(check)
            if step.publish:
                self._critical -= {step.publish.check_id}
                await self._api.register(step.publish.registration())
                await self._api.check_update(
                    step.publish.check_id, "passing" if step.publish.passing else "critical", OUTPUT
                )

    async def _catalog(self) -> list[Entry]:
        """The servers' entries under the names of this node, as they are now."""
        names = filter(None, (self.naming.service, self.naming.replica))
        return [read(one) for name in names for one in (await self._api.health(name))[1]]

    async def _local(self) -> dict[str, plan.Service]:
        """The local agent's services that this tool registered, or that stand in the place of one."""
        ids = {self.naming.master_id, self.naming.replica_id}
        own = f'Meta["{NODE}"] == {json.dumps(self.naming.node)}'
        services = await self._api.services(" or ".join([own, *(f"ID == {json.dumps(id_)}" for id_ in ids)]))
        of = " or ".join(f"ServiceID == {json.dumps(id_)}" for id_ in services)
        checks = await self._api.checks(of) if of else {}
        return {
            service_id: plan.Service(
                id=service_id,
                name=service["Service"],
                tags=tuple(service.get("Tags") or ()),
                address=service.get("Address") or "",
                port=service.get("Port") or 0,
                meta=service.get("Meta") or {},
                status=checks.get(service_id + CHECK_SUFFIX, {}).get("Status"),
                seal=checks.get(service_id + SEAL_SUFFIX, {}).get("Status"),
                maintenance=SERVICE_MAINTENANCE + service_id in checks,
            )
            for service_id, service in services.items()
            if service_id in ids or plan.is_own(service.get("Meta") or {}, self.naming)
        }
