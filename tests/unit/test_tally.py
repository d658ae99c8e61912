"""What is counted of one node: early publications, and how long a promotion took to show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, patch

import pytest

from consul_redis_agent.decide.claim import Claim, Early
from consul_redis_agent.decide.decision import Decision, Reason, Verdict
from consul_redis_agent.decide.facts import Address, Facts, Node, Role, Sentinel
from consul_redis_agent.decide.memory import NOTHING, Memory
from consul_redis_agent.tell import tally as module
from consul_redis_agent.tell.tally import Tally, majority

HERE, THERE = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)
SELECTED = Claim(5, 0, "run", early=Early(100.0, "boot", "leader"))
NAMED = Claim(5, 0, "run")
CLAIMED, REPLICA = Mock(claim=object()), Mock(claim=None)


def sentinel(number: int, at: float, master: Address | None = HERE, **more: Any) -> Sentinel:
    return Sentinel(at, str(number), Address("10.0.1.1", number), master=master, **more)


@pytest.fixture
def node() -> Any:
    """As much of a node's agent as is looked at: a master since second 100, published here."""
    seen = Node(at=100.0, run_id="run", role=Role.MASTER, turned=100.0)
    return SimpleNamespace(
        facts=facts(seen, ()), memory=NOTHING, decision=None, lookout=SimpleNamespace(publish_at=HERE)
    )


def facts(node: Node | None, sentinels: tuple[Sentinel, ...]) -> Facts:
    return Facts(now=110.0, node=node, sentinels=sentinels, watched=len(sentinels))


def counts(tally: Tally) -> tuple[int, int]:
    return sum(tally.to_consul.as_json()["counts"]), sum(tally.to_dns.as_json()["counts"])


def test_a_promotion_is_counted_once(node: Any) -> None:
    """From the turn to what Consul holds, and to what DNS shows, whatever is written and asked after that."""
    tally = Tally(node)
    tally.shown((THERE,), 100.01)
    tally.shown((), 100.02)
    with patch.object(module, "clock", lambda: 100.04):
        tally.written(CLAIMED)
        tally.shown((HERE,), 100.05)
        tally.written(CLAIMED)
        tally.shown(None, 101.0)
        tally.shown((HERE,), 105.0)
    assert counts(tally) == (1, 1)
    assert tally.to_consul.as_json()["sum"] == pytest.approx(0.04)
    assert tally.to_dns.as_json()["sum"] == pytest.approx(0.05)


def test_dns_may_be_quicker_than_the_last_step(node: Any) -> None:
    """The transaction shows the claim before the own Consul agent has heard of it."""
    tally = Tally(node)
    tally.shown((HERE,), 100.03)
    with patch.object(module, "clock", lambda: 100.04):
        tally.written(CLAIMED)
    assert counts(tally) == (1, 1)


def test_a_node_that_dns_has_named_all_along_took_no_time(node: Any) -> None:
    """It was published before the turn that was seen: a later answer of DNS says nothing about that one."""
    tally = Tally(node)
    node.facts = facts(Node(at=90.0, run_id="run", role=Role.MASTER), ())
    tally.shown((HERE,), 90.0)
    node.facts = facts(Node(at=100.0, run_id="run", role=Role.MASTER, turned=100.0), ())
    with patch.object(module, "clock", lambda: 100.04):
        tally.written(CLAIMED)
    tally.shown(None, 200.0)
    tally.shown((HERE,), 300.0)
    assert counts(tally) == (1, 0)


def test_no_promotion_is_counted_without_a_claim(node: Any) -> None:
    """What is written for a replica, or two that DNS names, tells of no promotion."""
    tally = Tally(node)
    tally.written(REPLICA)
    tally.shown((HERE, THERE), 100.1)
    node.facts = facts(Node(at=101.0, run_id="run", role=Role.REPLICA), ())
    tally.written(CLAIMED)
    assert counts(tally) == (0, 0)


@pytest.mark.parametrize(
    ("after", "taken_back"),
    [
        (Decision(Verdict.MASTER, Reason.NAMED, "It is so.", NAMED), 0),
        (Decision(Verdict.NONE, Reason.EARLY_OVER, "It is over."), 1),
        (Decision(Verdict.REPLICA, Reason.REPLICATES, "It follows."), 1),
    ],
)
def test_an_early_publication_stands_or_is_taken_back(node: Any, after: Decision, taken_back: int) -> None:
    """Counted once, however often it is decided; a majority that follows takes nothing back."""
    tally = Tally(node)
    for decision in (*[Decision(Verdict.MASTER, Reason.SELECTED, "It is chosen.", SELECTED)] * 2, after, after):
        node.decision = decision
        tally.decided()
    assert (tally.early, tally.taken_back) == (1, taken_back)


def test_the_age_of_a_majority_is_that_of_its_last_word() -> None:
    """Of three known, two that agree are enough: it was true when the second of the newest was asked."""
    votes = (sentinel(1, 5.0), sentinel(2, 3.0), sentinel(3, 1.0))
    known = Memory(known=frozenset("123"))
    assert majority(facts(None, votes), known) == 3.0
    assert majority(facts(None, votes[:1]), known) == float("-inf")
    split = (sentinel(1, 5.0), sentinel(2, 4.0, THERE), sentinel(3, 9.0, error="gone"))
    assert majority(facts(None, split), known) == float("-inf")


def test_what_a_majority_said_once_grows_old(node: Any) -> None:
    """When the Sentinels are out of reach, the last time that they were not stays."""
    node.memory = Memory(known=frozenset("123"))
    tally = Tally(node)
    node.facts = facts(None, (sentinel(1, 5.0), sentinel(2, 3.0)))
    tally.decided()
    node.facts = facts(None, (sentinel(1, 9.0, error="gone"), sentinel(2, 9.0, error="gone")))
    tally.decided()
    assert tally.majority == 3.0
