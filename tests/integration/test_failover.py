"""The master moves: killed, planned, by hand; and the old one comes back. One fleet, tests in the order of the file."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.fleet import Fleet, Witness, until

from .support import assert_steady, catalog, master, replica, resolution, start_agents, wait_for_catalog, wait_for_word


@pytest.fixture(scope="module")
def watched(shared_fleet: Fleet) -> Witness:
    """The usual fleet with an agent for each node, and the witness."""
    shared_fleet.populate(failover_timeout=3000)
    return start_agents(shared_fleet)


@pytest.fixture
def witness(shared_fleet: Fleet, watched: Witness) -> Witness:
    """The witness, once everything is as it should be: all nodes run, and Consul holds exactly what is true."""
    fleet = shared_fleet
    fleet.wait_for_replicas(within=20)
    now = fleet.wait_for_master()
    wait_for_catalog(fleet.consuls[0], master(now), *(replica(node) for node in fleet.nodes if node is not now))
    return watched


@pytest.mark.main_path
def test_a_planned_failover(
    shared_fleet: Fleet, witness: Witness, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """SENTINEL FAILOVER of a healthy master: never two and never none, though both say master for seconds."""
    fleet, old, began = shared_fleet, shared_fleet.wait_for_master(), time.monotonic()
    new = fleet.failover()
    witness.wait_for(new, within=3)
    until(lambda: old.follows(new), within=30, what="the old master follows the new one")
    witness.watch(1)
    record_testsuite_property("planned failover", resolution(witness))
    witness.assert_never_two()
    witness.assert_never_none(since=began)


def test_a_replica_that_somebody_makes_a_master_by_hand_is_never_published(
    shared_fleet: Fleet, witness: Witness
) -> None:
    """REPLICAOF NO ONE on a replica: no Sentinel stands behind it. Watched until Sentinel has put it right."""
    fleet, now, began = shared_fleet, shared_fleet.wait_for_master(), time.monotonic()
    # The last one: an earlier one may be a master that a Sentinel is only just making a replica.
    number, odd = [(number, node) for number, node in enumerate(fleet.nodes) if node is not now][-1]
    odd.ask("REPLICAOF", "NO", "ONE")
    wait_for_word(fleet.agents[number], "no majority of Sentinels names this node")
    until(lambda: odd.follows(now), within=30, what="the replica follows the master again")
    witness.watch(1)
    assert witness.promoted_at(odd, since=began) is not None
    assert_steady(witness, now, since=began)
    wait_for_catalog(fleet.consuls[0], master(now), *(replica(node) for node in fleet.nodes if node is not now))


def test_the_failover_command_hands_over_and_back(shared_fleet: Fleet, witness: Witness) -> None:
    """Redis' own FAILOVER, of which Sentinel hears nothing: the new master is published, since the named one follows it."""
    fleet, old, began = shared_fleet, shared_fleet.wait_for_master(), time.monotonic()
    new = next(node for node in fleet.nodes if node is not old)
    for giver, taker in ((old, new), (new, old)):
        giver.ask("FAILOVER", "TO", *map(str, taker.address))
        until(lambda: giver.follows(taker), within=10, what="the roles are swapped")  # noqa: B023 - used in this turn
        witness.wait_for(taker, within=3)
    wait_for_catalog(fleet.consuls[0], master(old), *(replica(node) for node in fleet.nodes if node is not old))
    witness.assert_never_two(since=began)


@pytest.mark.main_path
def test_a_killed_master_and_its_return(
    shared_fleet: Fleet, witness: Witness, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Its name leaves DNS, the promoted replica takes it, and the old master never gets it back, whatever it says.

    Watched until Sentinel has made a replica of it, some 11 s in which it says master, and a second longer.
    """
    fleet, old = shared_fleet, shared_fleet.wait_for_master()
    fleet.settle(within=20)
    old.kill()
    witness.wait_for(within=3)
    new = fleet.wait_for_master(other_than=old)
    witness.wait_for(new, within=3)

    returned = time.monotonic()
    old.start()
    until(lambda: old.follows(new), within=30, what="the old master follows the new one")
    witness.watch(1)
    record_testsuite_property("killed master", resolution(witness))
    assert [role for at, role in witness.roles(old) if at > returned] == ["master", "slave"], "it was no danger"
    assert_steady(witness, new, since=returned)
    witness.assert_never_two()
    wait_for_catalog(fleet.consuls[0], master(new), *(replica(node) for node in fleet.nodes if node is not new))


@pytest.mark.main_path
@pytest.mark.netns
def test_a_lost_host_and_its_return(isolated_fleet: Fleet) -> None:
    """A power cut takes the master's host with its Sentinel, Consul agent and agent: DNS names the promoted node.

    The host comes back with what it had on its disks. Watched until Sentinel has made a replica of the old master.
    """
    fleet = isolated_fleet
    fleet.populate(failover_timeout=3000)
    witness, old = start_agents(fleet), fleet.nodes[0]
    fleet.lose(old.host)
    new = fleet.wait_for_master(other_than=old)
    witness.wait_for(new, within=10)

    returned = time.monotonic()
    fleet.bring_back(old.host)
    for process in fleet.on(old.host):
        process.wait_ready(within=20)
    until(lambda: old.follows(new), within=30, what="the old master follows the new one")
    witness.watch(1)
    assert "master" in [role for at, role in witness.roles(old) if at > returned], "it was no danger"
    witness.assert_never_two()
    witness.assert_never_none(since=returned)
    rest = {master(new), *(replica(node) for node in fleet.nodes if node is not new)}
    # The old master's critical entry may stay until its Consul agent's next full sync, which takes up to two minutes.
    until(
        lambda: {held for held in catalog(fleet.consuls[0]) if held.shown} == rest,
        within=3,
        what="DNS can show the rest",
    )
