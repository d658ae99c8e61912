"""No Sentinel at all: the incumbent wins, and hands over only when it says itself that it follows the newcomer."""

from __future__ import annotations

from tests.fleet import Fleet, until

from .support import assert_steady, master, replica, start_agents, wait_for_catalog, wait_for_word

OFF = '[sentinel]\nmode = "off"\n'


def test_two_masters_without_sentinel(fleet: Fleet) -> None:
    """A second master is refused with a loud reason, once; when the incumbent follows it, it is published."""
    fleet.consul(servers=1)
    one, two = fleet.redis(), fleet.redis()
    consul, first = fleet.consuls[0], fleet.agent(one, more=OFF)
    wait_for_catalog(consul, master(one), within=10)
    witness = fleet.witness()
    second = fleet.agent(two, more=OFF)
    wait_for_word(second, "another node says master already and holds the claim")
    assert '"level": "warning"' in next(line for line in second.log().splitlines() if "says master already" in line)
    witness.watch(3)
    assert_steady(witness, one, since=0)
    assert second.lines("says master already") == 1

    one.ask("REPLICAOF", *map(str, two.address))
    witness.wait_for(two, within=6)
    wait_for_catalog(consul, master(two), replica(one), within=6)
    assert first.alive
    witness.assert_never_two()


def test_an_incumbent_without_agent_that_follows_the_newcomer(fleet: Fleet) -> None:
    """Nobody withdraws the old claim, but its node says itself that it follows the newcomer: that one takes over."""
    fleet.consul(servers=1)
    one, two = fleet.redis(), fleet.redis()
    first = fleet.agent(one, more=f'{OFF}[service]\nttl = "1m"\n')
    witness = fleet.witness()
    witness.wait_for(one, within=10)
    second = fleet.agent(two, more=OFF)
    wait_for_word(second, "says master already")
    first.kill()
    one.ask("REPLICAOF", *map(str, two.address))
    witness.wait_for(two, within=6)
    wait_for_word(second, "the former master follows this node")
    witness.assert_never_two()


def test_the_next_master_when_the_incumbent_has_died(fleet: Fleet) -> None:
    """The incumbent's claim is gone, so the other master is published; what returns later is refused in its turn."""
    fleet.consul(servers=1)
    one, two = fleet.redis(), fleet.redis()
    witness = fleet.witness()
    first = fleet.agent(one, more=OFF)
    witness.wait_for(one, within=10)
    second = fleet.agent(two, more=OFF)
    wait_for_word(second, "says master already")
    one.kill()
    witness.wait_for(two, within=3)
    one.start()
    wait_for_word(first, "says master already")
    witness.assert_never_two()
    assert witness.answers == frozenset({two.address})


def test_two_masters_that_claim_in_the_same_moment(fleet: Fleet) -> None:
    """Both agents start together and see an empty catalog: one is published, the other refused, and never both."""
    fleet.consul(servers=1)
    nodes = [fleet.redis(), fleet.redis()]
    witness = fleet.witness()
    agents = [fleet.agent(node, more=OFF) for node in nodes]
    until(lambda: len(witness.answers or ()) == 1, within=10, what="one of the two is published")
    until(lambda: any("says master already" in agent.log() for agent in agents), within=10, what="one is refused")
    witness.watch(1)
    witness.assert_never_two()


def test_a_failover_by_hand_without_sentinel(fleet: Fleet) -> None:
    """REPLICAOF NO ONE on the replica, then REPLICAOF on the old master: DNS follows the second step, never two."""
    fleet.populate(nodes=2, sentinels=0)
    witness, (one, two) = start_agents(fleet, more=OFF), fleet.nodes
    two.ask("REPLICAOF", "NO", "ONE")
    wait_for_word(fleet.agents[1], "says master already")
    one.ask("REPLICAOF", *map(str, two.address))
    witness.wait_for(two, within=6)
    wait_for_catalog(fleet.consuls[0], master(two), replica(one), within=6)
    witness.assert_never_two()


def test_sentinel_required_and_sentinel_unheard_of(fleet: Fleet) -> None:
    """Where no Sentinel is ever heard of, "required" publishes nobody and says why, "auto" goes on without."""
    consul = fleet.consul(servers=1)
    one, two = fleet.redis(), fleet.redis()
    strict = fleet.agent(one, more='[service]\nname = "strict"\n[sentinel]\nmode = "required"\n')
    fleet.agent(two)
    wait_for_catalog(consul, master(two), within=15)
    wait_for_word(strict, "no majority of Sentinels names this node: Redis says master, but no Sentinel is known")
    wait_for_catalog(consul, master(two))
