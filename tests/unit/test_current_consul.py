"""The product at a current Consul, as strict as 1.14.11 is: its transactions, and what confirms a claim.

The double stands in where no such Consul is at hand; ``tests/integration/test_strict_double.py`` holds it against the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from consul_redis_agent.clock import clock
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.consul.form import EARLY_SINCE, Transact, registration
from consul_redis_agent.consul.form import transactions as operations_of
from consul_redis_agent.decide.claim import Claim, Early
from consul_redis_agent.decide.decision import Decision, Reason, Verdict
from consul_redis_agent.decide.facts import Address, Catalog, Entry
from consul_redis_agent.errors import ConsulDenied, ConsulMisused
from consul_redis_agent.publish.entries import Mode, Naming, wanted
from consul_redis_agent.publish.steps import Known, Target, next_step
from consul_redis_agent.publish.writer import Writer
from consul_redis_agent.watch.catalog import CatalogWatch
from tests.doubles.strict_consul import StrictConsul

NAMING = Naming(Mode.SERVICES, "redis", "redis-replica", 10.0, "redis://127.0.0.1:6379", "redis-6379", "replica-6379")
OURS, THEIRS = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)
CLAIM = Claim(6, 0, "a")


@pytest.fixture
async def consul() -> AsyncIterator[StrictConsul]:
    async with StrictConsul().running() as made:
        yield made


@pytest.fixture
async def api(consul: StrictConsul) -> AsyncIterator[ConsulAPI]:
    made = ConsulAPI(f"http://{consul.address}", timeout=0.3)
    yield made
    await made.close()


@asynccontextmanager
async def watching(api: ConsulAPI) -> AsyncIterator[tuple[CatalogWatch, asyncio.Event]]:
    """The catalog's watch, and an event that it sets when it tells of something."""
    told = asyncio.Event()
    watch = CatalogWatch(api, "redis", 0.1, asyncio.Semaphore(1), told.set)
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(20):
            await watch.fresh()
            yield watch, told
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def rival(consul: StrictConsul, mode: Mode = Mode.SERVICES) -> None:
    """Another host's claim of an older epoch passes."""
    decision = Decision(Verdict.MASTER, Reason.NAMED, "It is.", claim=Claim(5, 0, "b"))
    (entry,) = wanted(decision, replace(NAMING, mode=mode), THEIRS, "mymaster")
    consul.elsewhere("consul-2", registration(entry), THEIRS.host)


def target(claim: Claim, entries: tuple[Entry, ...], mode: Mode = Mode.SERVICES) -> Target:
    """The own node is the master, and every entry of another host goes down."""
    decision = Decision(Verdict.MASTER, Reason.NAMED, "It is.", claim=claim)
    evict = tuple(e for e in entries if e.node != "consul-1" and e.rises)
    seen = {"redis": Catalog(clock(), 1, entries)}
    return Target(clock(), wanted(decision, replace(NAMING, mode=mode), OURS, "mymaster"), evict, seen=seen)


def transactions(consul: StrictConsul) -> list[Any]:
    return [request for request in consul.requests if request.path == "/v1/txn"]


class Publication:
    """A writer beside the watch, which is told of a decision and has it written."""

    def __init__(self, api: ConsulAPI, watch: CatalogWatch, mode: Mode = Mode.SERVICES) -> None:
        self._held = asyncio.Event()
        self._watch, self._mode = watch, mode
        self.writer = Writer(api, replace(NAMING, mode=mode), (watch,), lambda *_: self._held.set())

    async def of(self, claim: Claim) -> list[Entry]:
        """Publish a claim, every other one down; what the catalog holds then."""
        assert self._watch.fact
        self._held.clear()
        self.writer.want(target(claim, self._watch.fact.entries, self._mode))
        await self._held.wait()
        await self._watch.fresh()
        return [*self._watch.fact.entries]


@pytest.mark.parametrize("mode", Mode)
async def test_a_master_moves_in_one_transaction(consul: StrictConsul, api: ConsulAPI, mode: Mode) -> None:
    """The older claim goes down with it, as early and as settled one, and nothing falls back to single writes."""
    rival(consul, mode)
    async with watching(api) as (watch, _):
        publication = Publication(api, watch, mode)
        for claim in (replace(CLAIM, early=Early(clock(), "boot", "s1")), CLAIM):
            held = await publication.of(claim)
            shown = {e.node: (e.passing, e.evicted, EARLY_SINCE in e.meta) for e in held}
            assert shown == {"consul-1": (True, False, bool(claim.early)), "consul-2": (False, True, False)}
        publication.writer.stop()
    assert len(transactions(consul)) == 2
    assert not [r for r in consul.requests if r.path == "/v1/catalog/register"]


@pytest.mark.parametrize("mode", Mode)
async def test_what_was_published_outlives_a_full_sync(consul: StrictConsul, api: ConsulAPI, mode: Mode) -> None:
    """The Consul agent was told the same as the catalog, so the one that it writes over the other changes nothing."""
    rival(consul, mode)
    async with watching(api) as (watch, _):
        publication = Publication(api, watch, mode)
        held = [(e.node, e.passing, e.meta) for e in await publication.of(CLAIM)]
        consul.full_sync()
        await watch.fresh()
        assert watch.fact
        assert [(e.node, e.passing, e.meta) for e in watch.fact.entries] == held
        publication.writer.stop()


async def test_eight_older_claims_at_once(consul: StrictConsul, api: ConsulAPI) -> None:
    """As many operations as the oldest Consul takes, and no more in one transaction."""
    decision = Decision(Verdict.MASTER, Reason.NAMED, "It is.", claim=Claim(5, 0, "b"))
    (entry,) = wanted(decision, NAMING, THEIRS, "mymaster")
    for number in range(2, 10):
        consul.elsewhere(f"consul-{number}", registration(entry), f"10.0.0.{number}")
    async with watching(api) as (watch, _):
        publication = Publication(api, watch)
        held = await publication.of(CLAIM)
        assert [e.node for e in held if e.passing] == ["consul-1"]
        assert all(len(e.tombstones) == 6 and not e.rises for e in held if e.node != "consul-1")
        publication.writer.stop()


async def test_what_consul_cannot_read_is_our_mistake(api: ConsulAPI) -> None:
    """And never taken for a Consul too old for transactions."""
    check = {"Node": "consul-1", "CheckID": "c", "Name": "n", "Interval": "", "Status": "passing"}
    with pytest.raises(ConsulMisused, match=r'unknown field "Interval".*a mistake of this program'):
        await api.txn([{"Check": {"Verb": "set", "Check": check}}])
    with pytest.raises(ConsulMisused, match="too many operations"):
        await api.txn([{"Check": {"Verb": "set", "Check": {"Node": "consul-1", "CheckID": "c"}}}] * 65)


async def test_a_missing_right_is_named() -> None:
    """In the words of a current Consul, in a transaction and elsewhere."""
    async with StrictConsul(acl={"": frozenset({"node:read"})}).running() as consul:
        api = ConsulAPI(f"http://{consul.address}", timeout=1.0)
        try:
            wants = target(CLAIM, ())
            step = next_step(wants, Known("consul-1", NAMING.node, (), {}))
            assert isinstance(step, Transact)
            (operations,) = operations_of(step, "consul-1")
            with pytest.raises(
                ConsulDenied, match=r"no token was sent: set consul\.token_file to one with service:write on redis$"
            ):
                await api.txn(operations)
        finally:
            await api.close()


@pytest.mark.parametrize("servers", ["silent", "refused"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_cut_off_from_every_server_nothing_is_confirmed(
    consul: StrictConsul, api: ConsulAPI, servers: Any, streaming: bool
) -> None:
    """Its agent answers one blocking query after the other from its own view; that is no confirmation."""
    consul.streaming = streaming
    rival(consul)
    async with watching(api) as (watch, told):
        watch.confirm("a node", 0.2)
        confirmation = watch.confirmation
        consul.servers = servers
        told.clear()
        while not watch.error:
            await told.wait()
            told.clear()
        last = watch.confirmation
        assert confirmation
        assert last
        for _ in range(3):  # it goes on asking, and goes on hearing nothing
            told.clear()
            await told.wait()
        assert watch.confirmation is last
        assert watch.seen_since == float("inf")
        assert watch.fact, "what was seen stays"
        assert len(watch.fact.entries) == 1
        consul.servers = "reached"
        while watch.error:
            await watch.fresh()
        assert watch.confirmation.at > last.at


async def test_a_view_that_was_never_filled_is_not_taken_for_an_empty_catalog(
    consul: StrictConsul, api: ConsulAPI
) -> None:
    """A Consul agent that is cut off before it had a view answers a blocking query with nothing, at index 1."""
    rival(consul)
    async with watching(api) as (watch, _):
        index, entries = await api.health("redis")
        consul.servers = "silent"
        consul._views.clear()
        again = await api.health("redis", index, 0.05)
        assert (again, len(entries)) == ((0, []), 1)
        assert watch.fact
        for _ in range(5):
            await asyncio.sleep(0.05)
            assert len(watch.fact.entries) == 1


async def test_a_stale_read_is_no_confirmation(consul: StrictConsul, api: ConsulAPI) -> None:
    """``discovery_max_stale`` lets a server that is behind answer, but not one that is asked for the leader's word."""
    consul.discovery_max_stale, consul.behind = True, consul.catalog
    rival(consul)
    assert (await api.health("redis"))[1] == []
    async with watching(api) as (watch, _):
        assert watch.confirmation
        assert [e.node for e in watch.confirmation.entries] == ["consul-2"]


async def test_an_instance_without_a_port_is_one(consul: StrictConsul, api: ConsulAPI) -> None:
    """A current Consul leaves out a port of 0: a foreign entry must not make the whole answer unreadable."""
    consul.elsewhere("consul-2", {"ID": "by-hand", "Name": "redis", "Address": "10.0.0.9"})
    async with watching(api) as (watch, _):
        assert watch.fact
        assert [(e.id, e.address.port) for e in watch.fact.entries] == [("by-hand", 0)]
