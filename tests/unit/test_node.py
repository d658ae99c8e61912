"""One node's agent: what it does with the orders and the questions of a decision."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock, create_autospec, patch

import pytest

from consul_redis_agent import node as node_agent
from consul_redis_agent.clock import Pulse
from consul_redis_agent.config import load
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.decide.decision import Closely, Decision, Do, FenceMode, Order, Reason, Verdict
from consul_redis_agent.decide.facts import Facts, Node
from consul_redis_agent.decide.memory import NOTHING
from consul_redis_agent.decide.turn import RELIEF
from consul_redis_agent.node import NodeAgent
from consul_redis_agent.publish.fence import PAUSE_ALL, Fence
from consul_redis_agent.watch.catalog import CatalogWatch
from consul_redis_agent.watch.discovery import Sentinels
from consul_redis_agent.watch.peer import PeerWatch
from tests.doubles.facts import SILENT, WHERE, facts, master, replica, saying_master

PAUSE = Order(Do.PAUSE, "why")
ON = {"fence.mode": "on", "failover.on_death": "ask", "failover.on_empty": "ask", "failover.delay": "0s"}


def made(**settings: Any) -> NodeAgent:
    """An agent of one node that is connected to nothing."""
    config = load(None, {}, {"redis.master_name": "shop", "redis.timeout": "1s"} | settings)
    catalogs = {name: create_autospec(CatalogWatch, instance=True, service=name) for name in ("redis", "redis-replica")}
    sentinels = create_autospec(Sentinels, instance=True)
    api = create_autospec(ConsulAPI, instance=True)
    ignored = Mock()
    return NodeAgent(
        config, config.redis[0], api, sentinels, catalogs, "", "agent", Pulse(), NOTHING, ignored, ignored, 0.0
    )


def decides(agent: NodeAgent, known: Facts, order: Order | None = None) -> Any:
    """What the fence was told by one decision; it has one of those that change nothing in Consul."""
    told = agent.fence = create_autospec(Fence, instance=True)
    decision = Decision(Verdict.KEEP, Reason.MISSED, "It is so.", order=order)
    with (
        patch.object(node_agent, "decide", return_value=(decision, NOTHING)),
        patch.object(agent.lookout, "facts", return_value=known),
        patch.object(agent.lookout, "attend"),
    ):
        agent._decide()
    return told


def test_an_order_is_carried_out_whatever_is_decided_besides() -> None:
    """Also where nothing is written to Consul; once, and under the master name that Sentinel knows."""
    told = decides(made(**ON), facts(SILENT, ()), PAUSE)
    told.carry_out.assert_called_once_with(PAUSE, "shop")
    told.prepare.assert_not_called()


def test_a_node_that_answers_is_looked_at_before_there_is_an_order() -> None:
    """So that a right that is missing is known in time, and the connection is there."""
    told = decides(made(**ON), facts(master(), ()))
    told.carry_out.assert_not_called()
    (node,) = told.prepare.call_args.args
    assert isinstance(node, Node)


@pytest.mark.parametrize("mode", ["off", "watch"])
def test_without_a_fence_there_is_nobody_to_send_anything(mode: str) -> None:
    """Not even a connection is made."""
    agent = made(**{"fence.mode": mode})
    assert agent.fence is None
    assert agent.policy.fence is FenceMode(mode)


def test_the_configuration_says_what_may_be_ordered() -> None:
    """Nothing but to count, unless it is said; and the fence's own connection waits for as long as everything may."""
    plain = made().policy
    assert (plain.fence, plain.on_death, plain.on_empty, plain.delay) == (FenceMode.WATCH, False, False, 1.0)
    agent = made(**ON)
    policy = agent.policy
    assert (policy.fence, policy.on_death, policy.on_empty, policy.delay) == (FenceMode.ON, True, True, 0.0)
    assert agent.fence
    assert getattr(agent.fence._own, "timeout", 0.0) == 1.0 + PAUSE_ALL


@pytest.mark.parametrize("wanted", [True, False])
def test_a_turn_that_closes_nothing_is_looked_for(wanted: bool) -> None:
    """As long as the last decision says that the node may turn."""
    agent = made()
    decision = Decision(Verdict.KEEP, Reason.MISSED, "It is so.", awaits_turn=wanted)
    agent.lookout.attend(decision, facts(master(), ()), NOTHING)
    assert agent.lookout._node.awaits_turn is wanted


async def test_who_has_handed_over_leaves_no_claim_behind_at_its_end() -> None:
    """It is not left to a successor by an agent that will not see whether that comes."""
    agent = made()
    told = []
    for ahead in (0.0, RELIEF):
        decision = (
            Decision(Verdict.KEEP, Reason.RELIEVED, "It is so.")
            if not ahead
            else Decision(Verdict.REPLICA, Reason.REPLICATES, "It is so.")
        )
        told.append((decision, NOTHING))
    known = facts(replica(), ())
    with (
        patch.object(node_agent, "decide", side_effect=told) as asked,
        patch.object(agent.lookout, "facts", return_value=known),
        patch.object(agent.lookout, "attend"),
        patch.object(agent.lookout, "look_at_node"),
        patch.object(agent, "_target"),
    ):
        await agent.look_last()
    assert [call.args[0].now - known.now for call in asked.call_args_list] == [0.0, RELIEF]
    assert agent.decision is told[1][0]


def attended(closely: Closely, leader: str = "", peer: Any = None) -> NodeAgent:
    """An agent whose decision asks for this."""
    agent = made(**ON)
    lookout = agent.lookout
    lookout._node.fact = master(turned=90.0)
    lookout._peer = create_autospec(PeerWatch, instance=True)
    decision = Decision(Verdict.KEEP, Reason.MISSED, "It is so.", ask=WHERE["b"], leader=leader, closely=closely)
    lookout.attend(decision, facts(master(), (), peer=peer), NOTHING)
    return agent


@pytest.mark.parametrize("closely", Closely)
def test_whoever_cannot_wait_is_asked_closely(closely: Closely) -> None:
    """And nobody else: each of them costs a hundred questions a second."""
    lookout: Any = attended(closely).lookout
    lookout._peer.attend.assert_called_once_with(WHERE["b"], closely=closely is Closely.PEER)
    assert lookout._node.attentive is (closely in (Closely.NODE, Closely.SENTINELS))
    assert lookout._pool.attend_all.called is (closely is Closely.SENTINELS)


def test_the_leader_is_asked_once_the_peer_says_that_it_is_the_master() -> None:
    """In the same moment: what it said before proves nothing; otherwise it is asked for what it says after a turn."""
    for closely, peer, since in (
        (Closely.PEER, saying_master(), 100.0),
        (Closely.PEER, saying_master(role=None), float("-inf")),
        (Closely.PEER, None, float("-inf")),
        (Closely.NOBODY, saying_master(), 90.0),
    ):
        lookout: Any = attended(closely, "s1", peer).lookout
        assert lookout._pool.attend.call_args.args[1:] == ("s1", since)
    nobody: Any = attended(Closely.NOBODY).lookout
    nobody._pool.attend.assert_not_called()
