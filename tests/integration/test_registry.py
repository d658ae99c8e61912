"""What the registry leaves in a real Consul."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.decide.rules import Decision, Reason, Verdict
from consul_redis_agent.fleet import ConsulNode, Fleet, until
from consul_redis_agent.publish.entries import Mode, Naming, Wanted, wanted
from consul_redis_agent.publish.plan import Transact
from consul_redis_agent.publish.registry import Registry

NODE = Address("127.0.0.1", 6379)
NAMING = Naming(
    Mode.SERVICES, "redis", "redis-replica", 10, "redis://127.0.0.1:6379", "redis-6379", "redis-replica-6379"
)


@pytest.fixture
def consul(fleet: Fleet) -> ConsulNode:
    """One Consul server."""
    return fleet.consul(servers=1)


@pytest.fixture
async def registry(consul: ConsulNode) -> AsyncIterator[Registry]:
    """The registry of one Redis node, which knows its Consul node."""
    api = ConsulAPI(f"http://{consul.http}")
    registry = Registry(api, NAMING)
    await registry.find_here()
    yield registry
    await api.close()


def claim() -> Wanted:
    """The entry of a master."""
    decision = Decision(Verdict.MASTER, Reason.NAMED, "", claim=Claim(1, 0, "run"))
    (entry,) = wanted(decision, NAMING, NODE, "mymaster")
    return entry


async def test_whoever_leaves_takes_also_a_claim_that_was_interrupted(registry: Registry, consul: ConsulNode) -> None:
    """A claim that is in the catalog alone, since a stop or reload cut its writing short, goes with the rest."""
    await registry._do(Transact(claim()))
    until(lambda: consul.srv("redis") == frozenset({NODE}), within=5, what="DNS names the node")
    await registry.leave()
    assert consul.srv("redis") == frozenset()  # at once: some time later Consul would do it by itself
