"""Replicas in and out of Consul, with their link and their lag. No Sentinel, so nobody else puts anything right."""

from __future__ import annotations

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import Fleet, RedisNode

from .support import master, replica, start_agents, wait_for_catalog, wait_for_word

NOWHERE = Address("127.0.0.1", 1)


@pytest.fixture(scope="module")
def published(shared_fleet: Fleet) -> Fleet:
    """A master that pings its replicas each second, and two replicas that may be 3 s behind."""
    shared_fleet.populate(sentinels=0)
    for node in shared_fleet.nodes:
        node.ask("CONFIG", "SET", "repl-ping-replica-period", "1")
    start_agents(shared_fleet, more='[sentinel]\nmode = "off"\n[replica]\nmax_lag = "3s"\n')
    return shared_fleet


@pytest.fixture
def fleet_of_three(published: Fleet) -> Fleet:
    """The fleet, once all three nodes are published as what they are."""
    wait_for(published, *published.nodes[1:], within=10)
    return published


def wait_for(fleet: Fleet, *replicas: RedisNode, within: float = 3) -> None:
    """Wait until Consul holds the first node as master and exactly these replicas."""
    wait_for_catalog(fleet.consuls[0], master(fleet.nodes[0]), *map(replica, replicas), within=within)


def test_a_replica_without_link_leaves_and_comes_back(fleet_of_three: Fleet) -> None:
    """One that follows an unreachable master is not published; the master and the other replica are not touched."""
    fleet, (one, two, three) = fleet_of_three, fleet_of_three.nodes
    two.ask("REPLICAOF", NOWHERE.host, str(NOWHERE.port))
    wait_for(fleet, three)
    two.ask("REPLICAOF", one.address.host, str(one.address.port))
    wait_for(fleet, two, three, within=6)


def test_replicas_of_a_dead_master_leave_and_come_back(fleet_of_three: Fleet) -> None:
    """Without their master nobody is published; when it is back, all are, and nothing is held twice."""
    fleet, (one, two, three) = fleet_of_three, fleet_of_three.nodes
    one.kill()
    wait_for_catalog(fleet.consuls[0], master(one)._replace(shown=False))  # the group's last claim
    one.start()
    one.ask("CONFIG", "SET", "repl-ping-replica-period", "1")
    wait_for(fleet, two, three, within=6)


def test_replicas_that_fall_behind_leave_and_come_back(fleet_of_three: Fleet) -> None:
    """A paused master leaves their links up, but they hear nothing: past max_lag they are not published."""
    fleet, (one, two, three) = fleet_of_three, fleet_of_three.nodes
    one.pause()
    for agent in fleet.agents[1:]:
        wait_for_word(agent, "too far behind the master")
    wait_for_catalog(fleet.consuls[0], master(one)._replace(shown=False))
    assert two.info("replication")["master_link_status"] == "up"
    one.resume()
    wait_for(fleet, two, three, within=6)


def test_a_hung_replica_leaves_and_comes_back(fleet_of_three: Fleet) -> None:
    """A replica that does not answer is not published, though its process and its port are there."""
    fleet, (_, two, three) = fleet_of_three, fleet_of_three.nodes
    two.pause()
    wait_for(fleet, three, within=5)
    two.resume()
    wait_for(fleet, two, three)
