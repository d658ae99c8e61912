"""Nodes that swap their roles with no connection closed: who is looked at closely, and whose claim is left to its successor."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from consul_redis_agent.decide.claim import NO_EPOCH, Claim, Early
from consul_redis_agent.decide.decision import Closely, Reason, Verdict
from consul_redis_agent.decide.facts import Catalog, Facts, Node, Selection, Sentinel
from consul_redis_agent.decide.rules import decide
from consul_redis_agent.decide.sentinels import SENTINEL_LIFE
from consul_redis_agent.decide.turn import RELIEF
from tests.doubles.facts import (
    BOOT,
    NOW,
    OFF,
    POLICY,
    SILENT,
    UNHEARD,
    early,
    facts,
    following,
    holds,
    judge,
    master,
    outcome,
    replica,
    selecting,
    sentinels,
    settled,
)

LEFT = (Verdict.KEEP, Reason.RELIEVED)


def coordinating(name: str, **changes: Any) -> Sentinel:
    """The leader of a coordinated failover to this node; ``b`` is the master that it replaces."""
    return replace(selecting(name, 6), coordinated=True, **changes)


def swaps(node: Node, leader: Sentinel) -> bool:
    """Whether the agent of ``a`` looks closely."""
    return judge(facts(node, (leader, *UNHEARD), holds("b", 5))).awaits_turn


def test_both_nodes_of_a_coordinated_failover_are_looked_at_until_they_have_turned() -> None:
    """From the selection on: the node that is selected, and the master that the leader names still; no third one."""
    assert swaps(replica(), coordinating("a"))
    assert not swaps(master(turned=NOW), coordinating("a")), "it has turned"
    assert not swaps(replica(), coordinating("c")), "it is not concerned"
    old = sentinels("a", "a", "a")
    leader = replace(old[0], selection=Selection(6, "b", NOW), promoting="b", coordinated=True)
    known = facts(master(), (leader, *old[1:]), holds("a", 5))
    assert judge(known).awaits_turn
    assert not judge(replace(known, node=replica())).awaits_turn, "it has turned"
    assert not judge(replace(known, sentinels=old)).awaits_turn, "the failover is over"


def test_a_failover_that_closes_the_connections_needs_no_close_look() -> None:
    """Sentinel's own: the end of the connection tells. Nor does the word of one that has fallen silent."""
    assert not swaps(replica(), selecting("a", 6))
    assert not swaps(replica(), coordinating("a", at=NOW - SENTINEL_LIFE - 0.1))
    assert not swaps(replica(), replace(coordinating("a"), selection=None))


def test_a_node_that_says_itself_that_it_hands_over_is_looked_at_closely() -> None:
    """The FAILOVER command, of which no Sentinel knows, or where there is none; also while a look fails."""
    known = facts(master(hands_over=True), sentinels("a", "a", "a"), holds("a", 5))
    assert judge(known).awaits_turn
    assert judge(replace(known, node=SILENT), node=master(hands_over=True)).awaits_turn
    assert not judge(replace(known, node=master())).awaits_turn
    assert judge(facts(master(hands_over=True), (), holds("a", NO_EPOCH)), OFF).awaits_turn


def test_who_was_handed_the_part_asks_both_again_where_consul_was_read_since() -> None:
    """The roles may have been swapped back; what is known is younger a moment later, not a second."""
    known = facts(master(at=NOW - 0.6), sentinels("b", "b", "b"), holds("b", 5), peer=following(at=NOW))
    first = judge(known)
    assert (first.verdict, first.awaits_turn, first.closely) == (Verdict.NONE, True, Closely.PEER)
    fresh = judge(replace(known, node=master()))
    assert (outcome(fresh), fresh.awaits_turn) == ((Verdict.MASTER, Reason.HANDED_OVER), False)
    newer = judge(replace(known, catalog=Catalog(NOW, 2, (holds("b", 6),))))
    assert (newer.verdict, newer.awaits_turn) == (Verdict.NONE, False), "asking changes nothing"


def relieved(**changes: Any) -> Facts:
    """``a`` has just handed over to ``b``, which has not claimed yet."""
    return facts(replica(relieved=NOW - 0.003, **changes), sentinels("a", "a", "a"), holds("a", 5))


@pytest.mark.parametrize("link", [{}, {"link_up": False, "lag": inf}, {"lag": 99.0}, {"announced": False}])
def test_a_master_that_has_handed_over_leaves_its_claim_to_its_successor(link: dict[str, Any]) -> None:
    """Rule 4: one step, with none between. Whatever its link is in these milliseconds, which ends no claim."""
    decision, memory = decide(relieved(**link), settled(relieved()), POLICY)
    assert (outcome(decision), decision.until) == (LEFT, NOW - 0.003 + RELIEF)
    assert decision.sentence.endswith("its claim is left to be evicted.")
    over = replace(relieved(), now=NOW - 0.003 + RELIEF)
    assert outcome(decide(over, memory, POLICY)[0]) == (Verdict.REPLICA, Reason.REPLICATES)


def test_the_claim_goes_once_it_was_evicted() -> None:
    """The replica's own entry is not written before."""
    gone = replace(relieved().catalog, entries=(holds("a", 5, passing=False), holds("b", 6)))  # type: ignore[type-var]
    assert outcome(judge(replace(relieved(), catalog=gone))) == (Verdict.REPLICA, Reason.REPLICATES)


def test_a_claim_that_is_not_the_newest_or_early_is_left_to_nobody() -> None:
    """The first is known to be over; the second is never worse than waiting would have been."""
    known = relieved()
    newer = facts(known.node, known.sentinels, holds("a", 5), holds("b", 6))
    assert judge(newer).verdict is Verdict.REPLICA
    claim = early()
    assert judge(facts(known.node, known.sentinels, holds("a", 6, claim=claim))).verdict is Verdict.REPLICA
    assert claim.early == Early(NOW, BOOT, "s1")


def test_a_node_that_the_own_fence_has_turned_leaves_nothing() -> None:
    """Its successor has had its time to claim; without early publications DNS would name a replica until a majority follows."""
    memory = settled(relieved())
    turned = replace(memory, fence=replace(memory.fence, followed=NOW - 0.01))
    assert decide(relieved(), turned, POLICY)[0].reason is Reason.REPLICATES
    long_ago = replace(memory, fence=replace(memory.fence, followed=NOW - 60.0))
    assert decide(relieved(), long_ago, POLICY)[0].reason is Reason.RELIEVED


def test_a_replica_that_was_not_relieved_is_no_master_in_dns_any_more() -> None:
    """REPLICAOF by hand to somebody with another history, or one that is not there."""
    assert outcome(judge(facts(replica(), sentinels("a", "a", "a"), holds("a", 5)))) == (
        Verdict.REPLICA,
        Reason.REPLICATES,
    )
    assert judge(replace(relieved(), node=replica(relieved=NOW - 0.003, loading=True))).reason is Reason.LOADING


def test_a_handover_that_failed_leaves_the_claim_as_it_was() -> None:
    """Redis takes the part back where the replica does not take it: DNS has not blinked."""
    first, memory = decide(relieved(), settled(relieved()), POLICY)
    back = replace(relieved(), now=NOW + 0.1, node=master(at=NOW + 0.1, turned=NOW + 0.1))
    decision = decide(back, memory, POLICY)[0]
    assert (outcome(first), outcome(decision)) == (LEFT, (Verdict.MASTER, Reason.NAMED))
    assert (decision.claim, decision.evict) == (Claim(5, 0, "a"), ())
