"""The three modes, side by side: one agent process each, for the same Redis nodes, at a Consul agent of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import ConsulNode, Fleet, RedisNode, Witness, until

from .support import Held, assert_steady, catalog, instances, master, replica, wait_for_sentinels


@dataclass(frozen=True)
class Mode:
    """One mode in use: where to ask, and what for."""

    name: str
    consul: ConsulNode
    witness: Witness

    def held(self, now: RedisNode, fleet: Fleet) -> set[Held]:
        """What this mode should hold while ``now`` is the master and the other nodes that run are its replicas."""
        replicas = [node for node in fleet.nodes if node is not now and node.alive]
        dead = [node for node in fleet.nodes if not node.alive]
        if self.name == "services":
            return {master(now, "in-services"), *(replica(node) for node in replicas)}
        if self.name == "tags":
            return {
                Held("redis", now.announced, ("master",), "role:master"),
                *(Held("redis", node.announced, ("replica",), "role:replica") for node in replicas),
            }
        return {
            Held("in-check", now.announced, (), "role:master"),
            *(Held("in-check", node.announced, (), "role:master", shown=False) for node in replicas + dead),
        }


@pytest.fixture(scope="module")
def modes(shared_fleet: Fleet) -> list[Mode]:
    """Three Redis nodes, published in each of the modes under a name of its own."""
    fleet = shared_fleet
    fleet.populate(failover_timeout=3000)
    modes = []
    for name, service, question in (
        ("services", "in-services", "in-services"),
        ("check", "in-check", "in-check"),
        ("tags", "redis", "master.redis"),
    ):
        consul = fleet.consul()
        more = f'[service]\nname = "{service}"\nmode = "{name}"\n'
        fleet.agent(*fleet.nodes, more=more, consul=consul)
        modes.append(Mode(name, consul, fleet.witness(service=question, consul=consul)))
    for mode in modes:
        mode.witness.wait_for(fleet.nodes[0], within=10)
    wait_for_sentinels(fleet, len(fleet.sentinels))
    return modes


def wait_for(modes: list[Mode], now: RedisNode, fleet: Fleet) -> None:
    """Wait until each mode holds exactly what it should, and nothing is left over from before."""
    wanted = set[Held]().union(*(mode.held(now, fleet) for mode in modes))

    def exact() -> bool:
        there = catalog(modes[0].consul)
        assert there == wanted, f"missing {wanted - there}, left over {there - wanted}"
        return True

    until(exact, within=3, what=f"every mode shows {now.name} as the master")


def addresses(nodes: list[RedisNode]) -> frozenset[Address]:
    return frozenset(node.announced for node in nodes)


def test_each_mode_holds_exactly_what_it_says(shared_fleet: Fleet, modes: list[Mode]) -> None:
    """Service names, tags, check names and states, in Consul and in DNS, also by tag."""
    one, *others = shared_fleet.nodes
    wait_for(modes, one, shared_fleet)
    consul = modes[0].consul
    for name, named in {
        "in-services": [one],
        "master.in-services": [one],
        "redis-replica": others,
        "in-check": [one],
        "redis": shared_fleet.nodes,
        "master.redis": [one],
        "replica.redis": others,
    }.items():
        until(lambda: consul.srv(name) == addresses(named), within=3, what=f"DNS names {named} for {name}")  # noqa: B023 - used in this turn
    for name in ("in-services", "redis-replica", "in-check", "redis"):
        for instance in instances(consul, name):
            meta, port = instance["Service"]["Meta"], instance["Service"]["Port"]
            assert (meta["consul_redis_agent"], meta["redis-master-name"]) == ("2", "mymaster")
            assert meta["redis-node"] == f"redis://127.0.0.1:{port}"
            assert ("redis-epoch" in meta) is (port == one.address.port), "the master alone holds a claim"


def test_a_killed_master_and_its_return_in_each_mode(shared_fleet: Fleet, modes: list[Mode]) -> None:
    """Its name leaves DNS; while it says master again it is not named; then it is held as a replica."""
    fleet, old = shared_fleet, shared_fleet.wait_for_master()
    old.kill()
    for mode in modes:
        mode.witness.wait_for(within=3)
    new = fleet.wait_for_master(other_than=old, within=25)
    for mode in modes:
        mode.witness.wait_for(new, within=3)
    wait_for(modes, new, fleet)
    returned = time.monotonic()
    old.start()
    until(lambda: old.follows(new), within=30, what="the old master follows the new one")
    wait_for(modes, new, fleet)
    for mode in modes:
        mode.witness.watch(0.1)
        assert_steady(mode.witness, new, since=returned)
        mode.witness.assert_never_two()


def test_planned_failovers_in_each_mode(shared_fleet: Fleet, modes: list[Mode]) -> None:
    """There, back and there: never two masters and never none, also where a node's entry was evicted before.

    Watched for 3 s each, while the old master still says that it is one.
    """
    fleet, began = shared_fleet, time.monotonic()
    for _ in range(3):
        fleet.settle(within=30)
        old = fleet.wait_for_master()
        new = fleet.failover()
        for mode in modes:
            mode.witness.wait_for(new, within=3)
        modes[0].witness.watch(3)
        assert old.role() == "master", "it was no danger"
        until(lambda: old.follows(new), within=30, what="the old master follows the new one")  # noqa: B023 - used in this turn
    for mode in modes:
        mode.witness.watch(0.1)
        mode.witness.assert_never_two()
        mode.witness.assert_never_none(since=began)
