"""Replicas in and out of Consul, with their link and their lag. No Sentinel, so nobody else puts anything right."""

from __future__ import annotations

import time

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
    """One that lost its master longer ago than max_lag is not published; the master and the other replica are not touched."""
    fleet, (one, two, three) = fleet_of_three, fleet_of_three.nodes
    two.ask("REPLICAOF", NOWHERE.host, str(NOWHERE.port))
    wait_for(fleet, three, within=8)
    two.ask("REPLICAOF", one.address.host, str(one.address.port))
    wait_for(fleet, two, three, within=6)


def test_replicas_of_a_dead_master_leave_and_come_back(fleet_of_three: Fleet) -> None:
    """They go on for max_lag without it; when it is back, all are published, and nothing is held twice."""
    fleet, (one, two, three) = fleet_of_three, fleet_of_three.nodes
    one.kill()
    last_claim = master(one)._replace(shown=False)
    wait_for_catalog(fleet.consuls[0], last_claim, replica(two), replica(three))
    wait_for_catalog(fleet.consuls[0], last_claim, within=8)
    one.start()
    one.ask("CONFIG", "SET", "repl-ping-replica-period", "1")
    wait_for(fleet, two, three, within=6)


def test_a_replica_that_serves_nothing_without_its_master_leaves_at_once(fleet_of_three: Fleet) -> None:
    """``replica-serve-stale-data no``: reads would be refused."""
    fleet, (one, two, three) = fleet_of_three, fleet_of_three.nodes
    two.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
    two.ask("REPLICAOF", NOWHERE.host, str(NOWHERE.port))
    wait_for(fleet, three, within=2.5)
    two.ask("CONFIG", "SET", "replica-serve-stale-data", "yes")
    two.ask("REPLICAOF", one.address.host, str(one.address.port))
    wait_for(fleet, two, three, within=6)


def test_a_replica_that_is_not_to_be_seen_is_not_published(fleet_of_three: Fleet) -> None:
    """``replica-announced no``."""
    fleet, (_, two, three) = fleet_of_three, fleet_of_three.nodes
    two.ask("CONFIG", "SET", "replica-announced", "no")
    wait_for(fleet, three)
    two.ask("CONFIG", "SET", "replica-announced", "yes")
    wait_for(fleet, two, three)


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


def test_reads_go_on_while_sentinel_waits(fleet: Fleet) -> None:
    """From the master's death until another one is promoted the replicas stay in DNS: they serve reads."""
    fleet.populate(down_after=8000, agents=True)
    one, *others = fleet.nodes
    witness = fleet.witness(service="redis-replica")
    witness.wait_for(*others, within=10)
    began = time.monotonic()
    one.kill()
    witness.watch(7)
    witness.assert_only(*others, since=began)
