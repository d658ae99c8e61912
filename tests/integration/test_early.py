"""Being early, and not: what DNS says before a majority of Sentinels names the new master."""

from __future__ import annotations

import time

from consul_redis_agent.consul.form import EARLY_LEADER, EARLY_SINCE
from consul_redis_agent.decide.decision import Reason
from tests.fleet import Fleet, until

from .support import instances, master, replica, start_agents, wait_for_catalog, wait_for_word


def test_a_failover_is_followed_early_and_settled_by_the_majority(fleet: Fleet) -> None:
    """The promoted node is in DNS on the leader's word; once the others have followed, its claim does not say early any more."""
    fleet.populate(failover_timeout=3000)
    witness = start_agents(fleet)
    began = time.monotonic()
    new = fleet.failover()
    agent = fleet.agents[fleet.nodes.index(new)]
    wait_for_word(agent, Reason.NAMED.value)
    witness.wait_for(new, within=3)
    assert agent.log().index(Reason.SELECTED.value) < agent.log().index(Reason.NAMED.value)

    def has_said_so() -> bool:
        (entry,) = instances(fleet.consuls[0], "redis")
        return not {EARLY_SINCE, EARLY_LEADER} & entry["Service"]["Meta"].keys()

    until(has_said_so, within=5, what="the claim in Consul is settled")
    wait_for_catalog(fleet.consuls[0], master(new), *(replica(n) for n in fleet.nodes if n is not new), within=20)
    witness.assert_never_two()
    witness.assert_never_none(since=began)


def test_an_operator_may_have_dns_wait_for_the_majority(fleet: Fleet) -> None:
    """sentinel.early = false: the old name stays until most Sentinels name the new master; never two, never none."""
    fleet.populate(failover_timeout=3000)
    witness = start_agents(fleet, more="[sentinel]\nearly = false\n")
    old, began = fleet.nodes[0], time.monotonic()
    new = fleet.failover()
    witness.wait_for(new, within=5)
    until(lambda: old.follows(new), within=30, what="the old master follows the new one")
    witness.watch(1)
    for agent in fleet.agents:
        assert Reason.SELECTED.value not in agent.log()
    assert Reason.NAMED.value in fleet.agents[fleet.nodes.index(new)].log()
    assert [seen.answers for seen in witness.history if seen.at > began] == [frozenset({new.announced})], "one step"
    witness.assert_never_two()
    witness.assert_never_none(since=began)
