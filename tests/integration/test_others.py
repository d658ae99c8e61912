"""What is not ours: an operator's maintenance, entries made by hand, another agent for the same node."""

from __future__ import annotations

import time

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import ConsulNode, Fleet, Witness

from .support import (
    assert_steady,
    instances,
    master,
    replica,
    service_id,
    start_agents,
    wait_for_catalog,
    wait_for_word,
)

BY_HAND = Address("127.0.0.9", 9)


@pytest.fixture(scope="module")
def published(shared_fleet: Fleet) -> Witness:
    """A master and a replica with their agents, and the witness."""
    shared_fleet.populate(nodes=2, sentinels=1, quorum=1)
    return start_agents(shared_fleet)


@pytest.fixture
def witness(shared_fleet: Fleet, published: Witness) -> Witness:
    """The witness, once both nodes are published."""
    wait_for_catalog(shared_fleet.consuls[0], master(shared_fleet.nodes[0]), replica(shared_fleet.nodes[1]), within=10)
    published.wait_for(shared_fleet.nodes[0], within=3)
    return published


def in_maintenance(consul: ConsulNode) -> list[str]:
    """The reasons of all maintenance that Consul knows of."""
    checks = consul.get("/v1/agent/checks").items()
    return [check["Notes"] for id_, check in checks if id_.startswith(("_service_maintenance", "_node_maintenance"))]


@pytest.mark.parametrize("of", ["service", "node"])
def test_maintenance_is_respected(shared_fleet: Fleet, witness: Witness, of: str) -> None:
    """What an operator takes out of DNS stays out, and is named again when the operator says so. Watched for 4 s."""
    consul, (one, _) = shared_fleet.consuls[0], shared_fleet.nodes
    path = "/v1/agent/maintenance" if of == "node" else f"/v1/agent/service/maintenance/{service_id(consul, one)}"
    consul.put(f"{path}?enable=true&reason=by-hand")
    witness.wait_for(within=3)
    began = time.monotonic()
    witness.watch(4)
    assert_steady(witness, since=began)
    assert in_maintenance(consul) == ["by-hand"]
    consul.put(f"{path}?enable=false")
    witness.wait_for(one, within=3)


@pytest.mark.parametrize("on_stop", ["keep", "deregister"])
def test_the_second_of_two_agents_for_one_node_publishes_nothing(
    shared_fleet: Fleet, witness: Witness, on_stop: str
) -> None:
    """It says so and leaves the entries alone, with other settings too, also when it ends: DNS does not blink."""
    fleet, consul, (one, two), began = shared_fleet, shared_fleet.consuls[0], shared_fleet.nodes, time.monotonic()
    more = f'[service]\ntags = ["of-the-second"]\non_stop = "{on_stop}"\n'
    second = fleet.agent(one, more=more)
    wait_for_word(second, f"Process {fleet.agents[0].pid} of this host looks after this node as well")
    written = [instance["Service"]["ModifyIndex"] for instance in instances(consul, "redis")]
    witness.watch(4)
    assert [instance["Service"]["ModifyIndex"] for instance in instances(consul, "redis")] == written
    assert second.stop() == 0
    witness.watch(1)
    assert_steady(witness, one, since=began)
    wait_for_catalog(consul, master(one), replica(two))


def test_the_second_agent_takes_over_when_the_first_is_gone(shared_fleet: Fleet, witness: Witness) -> None:
    """Killed or stopped; and the first one, back again, is the second."""
    fleet, (one, _), began = shared_fleet, shared_fleet.nodes, time.monotonic()
    first, second = fleet.agents[0], fleet.agent(one)
    wait_for_word(second, "looks after this node as well")
    first.kill()
    wait_for_word(second, "Consul holds redis at")
    first.start()
    wait_for_word(first, f"Process {second.pid} of this host looks after this node as well")
    second.stop()
    wait_for_word(first, "another agent: recovered")
    witness.watch(1)
    assert_steady(witness, one, since=began)


def test_an_entry_made_by_hand_is_reported_and_left_alone(shared_fleet: Fleet, witness: Witness) -> None:
    """Somebody else's entry under the same name is named once in the log, and stays as it is, also in a failover."""
    fleet, consul = shared_fleet, shared_fleet.consuls[0]
    body = {"ID": "by-hand", "Name": "redis", "Address": BY_HAND.host, "Port": BY_HAND.port}
    consul.put("/v1/agent/service/register", body)
    for agent in fleet.agents[:2]:
        wait_for_word(agent, "entries under 'redis' that this tool did not make, left alone: by-hand on consul1")
    before = by_hand(consul)
    fleet.settle()
    new = fleet.failover()
    witness.wait_for(new, BY_HAND, within=3)
    assert by_hand(consul) == before
    consul.put("/v1/agent/service/deregister/by-hand")
    witness.wait_for(new, within=3)
    for agent in fleet.agents[:2]:
        wait_for_word(agent, "Consul's catalog: recovered")
        assert agent.lines("left alone: by-hand") == 1


def by_hand(consul: ConsulNode) -> object:
    """The foreign entry, with the index of its last change."""
    return [i["Service"] for i in instances(consul, "redis") if i["Service"]["ID"] == "by-hand"]


def test_a_dead_master_in_maintenance_is_not_shown_when_that_ends(fleet: Fleet) -> None:
    """Its agent takes it out while the operator holds it in maintenance, and leaves the maintenance to the operator."""
    fleet.populate(nodes=1, sentinels=1, quorum=1)
    witness, consul, (node,) = start_agents(fleet), fleet.consuls[0], fleet.nodes
    path = f"/v1/agent/service/maintenance/{service_id(consul, node)}"
    consul.put(f"{path}?enable=true&reason=by-hand")
    witness.wait_for(within=3)
    node.kill()
    wait_for_word(fleet.agents[0], "Redis does not answer")
    began = time.monotonic()
    witness.watch(2)
    assert in_maintenance(consul) == ["by-hand"]
    consul.put(f"{path}?enable=false")
    wait_for_catalog(consul, master(node)._replace(shown=False), within=3)
    assert_steady(witness, since=began)
