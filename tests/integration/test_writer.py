"""What the writer leaves in a real Consul."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from consul_redis_agent.clock import clock
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.consul.form import Transact, Wanted, transactions
from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.decision import Decision, Reason, Verdict
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.publish.entries import Mode, Naming, wanted
from consul_redis_agent.publish.steps import Target
from consul_redis_agent.publish.writer import Writer
from tests.fleet import ConsulNode, Fleet, until

NODE = Address("127.0.0.1", 6379)
NAMING = Naming(
    Mode.SERVICES, "redis", "redis-replica", 10, "redis://127.0.0.1:6379", "redis-6379", "redis-replica-6379"
)


@pytest.fixture
def consul(fleet: Fleet) -> ConsulNode:
    """One Consul server."""
    return fleet.consul(servers=1)


@pytest.fixture
async def api(consul: ConsulNode) -> AsyncIterator[ConsulAPI]:
    """Its API."""
    made = ConsulAPI(f"http://{consul.http}")
    yield made
    await made.close()


def claim() -> Wanted:
    """The entry of a master."""
    decision = Decision(Verdict.MASTER, Reason.NAMED, "", claim=Claim(1, 0, "run"))
    (entry,) = wanted(decision, NAMING, NODE, "mymaster")
    return entry


async def test_whoever_leaves_takes_also_a_claim_that_was_interrupted(api: ConsulAPI, consul: ConsulNode) -> None:
    """A claim that is in the catalog alone, since a stop or reload cut its writing short, goes with the rest."""
    writer = Writer(api, NAMING, ())
    await writer.find_consul_node()
    for operations in transactions(Transact(claim()), writer.consul_node or ""):
        await api.txn(operations)
    until(lambda: consul.srv("redis") == frozenset({NODE}), within=5, what="DNS names the node")
    await writer.leave()
    assert consul.srv("redis") == frozenset()  # at once: some time later Consul would do it by itself


async def test_the_last_word_of_a_process_that_was_shown_nothing_is_critical(
    api: ConsulAPI, consul: ConsulNode
) -> None:
    """A claim does not begin to pass then; the group's last one stays in the catalog, and DNS does not name it."""
    writer = Writer(api, NAMING, ())
    await writer.finish(Target(clock(), (claim(),)))
    assert consul.srv("redis") == frozenset()
    kept = Decision(Verdict.NONE, Reason.SILENT, "", keeps=Claim(1, 0, "run"))
    await writer.finish(Target(clock(), wanted(kept, NAMING, NODE, "mymaster")))
    (instance,) = (await api.health("redis"))[1]
    assert instance["Service"]["ID"] == "redis-6379"
    assert consul.srv("redis") == frozenset()
