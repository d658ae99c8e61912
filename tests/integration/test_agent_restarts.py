"""The agent ends and starts again: DNS does not blink, and what was left behind is made true."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.fleet import AgentNode, Fleet, Witness

from .support import assert_steady, catalog, master, replica, start_agents, wait_for_catalog, wait_for_word

TTL = 5


@pytest.fixture(scope="module")
def witness(shared_fleet: Fleet) -> Witness:
    """A master and a replica with their agents, whose entries outlive them by the TTL."""
    shared_fleet.populate(nodes=2, sentinels=1, quorum=1)
    hosts = f'[sentinel]\nhosts = ["{shared_fleet.sentinels[0].address}"]\n'
    witness = start_agents(shared_fleet, more=f'{hosts}[service]\nttl = "{TTL}s"\n')
    wait_for_both(shared_fleet)
    return witness


def wait_for_both(fleet: Fleet) -> None:
    """Wait until Consul holds the first node as master, and the second as its replica."""
    wait_for_catalog(fleet.consuls[0], master(fleet.nodes[0]), replica(fleet.nodes[1]), within=10)


@pytest.mark.parametrize("end", [AgentNode.kill, AgentNode.stop], ids=["SIGKILL", "SIGTERM"])
def test_dns_does_not_blink_while_an_agent_restarts(
    shared_fleet: Fleet, witness: Witness, end: Callable[[AgentNode], object]
) -> None:
    """Killed or stopped, and started again: the answer stays. Watched for longer than the TTL of what was left."""
    (one, _), (agent, _), began = shared_fleet.nodes, shared_fleet.agents, time.monotonic()
    starts = agent.lines("Consul holds")
    end(agent)
    agent.start()
    wait_for_word(agent, "Consul holds", times=starts + 1)
    witness.watch(TTL + 1)
    assert_steady(witness, one, since=began)
    wait_for_both(shared_fleet)


def test_what_an_agent_left_behind_ends_with_its_ttl(shared_fleet: Fleet, witness: Witness) -> None:
    """An agent that stays away: its node is named until the TTL is over, then no more; a new start names it again."""
    (one, _), (agent, _) = shared_fleet.nodes, shared_fleet.agents
    assert agent.stop() == 0
    assert witness.answers == frozenset({one.announced})
    witness.wait_for(within=TTL + 3)
    agent.start()
    witness.wait_for(one, within=10)
    wait_for_both(shared_fleet)


def test_a_master_that_moves_while_its_agent_is_dead(shared_fleet: Fleet, witness: Witness) -> None:
    """The new master's agent puts the dead one's entry down; started again, that one does not put it up again."""
    fleet, (_, two), (agent, _) = shared_fleet, shared_fleet.nodes, shared_fleet.agents
    fleet.settle()
    began = time.monotonic()
    agent.kill()
    assert fleet.failover() is two
    witness.wait_for(two, within=3)
    agent.start()
    wait_for_word(agent, "no majority of Sentinels names this node")
    wait_for_catalog(fleet.consuls[0], master(two))
    witness.assert_never_two(since=began)
    witness.assert_never_none(since=began)


def test_entries_can_leave_with_the_agent(fleet: Fleet) -> None:
    """on_stop = "deregister": nothing is left after a SIGTERM, and everything is there again after a start."""
    fleet.populate(nodes=2, sentinels=1, quorum=1)
    consul, (one, two) = fleet.consuls[0], fleet.nodes
    agent = fleet.agent(one, two, more='[service]\non_stop = "deregister"\n')
    wait_for_catalog(consul, master(one), replica(two), within=10)
    assert agent.stop() == 0
    assert catalog(consul) == set()
    agent.start()
    wait_for_catalog(consul, master(one), replica(two), within=10)


def test_a_false_entry_is_never_left(fleet: Fleet) -> None:
    """Redis dies and the agent is stopped in the same moment: nobody is named, TTL or not."""
    fleet.populate(nodes=1, sentinels=1, quorum=1)
    witness = start_agents(fleet, more='[service]\nttl = "1m"\n')
    fleet.nodes[0].kill()
    assert fleet.agents[0].stop() == 0
    witness.wait_for(within=3)
    assert not any(held.shown for held in catalog(fleet.consuls[0]))
