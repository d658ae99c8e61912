"""Which entries and Sentinels are of the own group, and what becomes of the others: rule 9, and the group id.

The stories are of the group in ``tests/doubles/facts.py``; ``x``, ``y`` and ``z`` are Redis nodes of another one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consul_redis_agent.decide.claim import NO_EPOCH, Claim
from consul_redis_agent.decide.decision import Decision, Reason, Verdict
from consul_redis_agent.decide.facts import Catalog, Entry, Facts, Node
from consul_redis_agent.decide.group import SETTLED, told
from consul_redis_agent.decide.memory import NOTHING, Memory
from consul_redis_agent.decide.remember import remember
from consul_redis_agent.decide.rules import decide
from tests.doubles.facts import (
    ELSEWHERE,
    GROUP,
    NOW,
    OFF,
    OTHER_GROUP,
    POLICY,
    UNHEARD,
    WHERE,
    entry,
    evicted,
    facts,
    foreign_sentinel,
    holds,
    judge,
    master,
    outcome,
    promoted,
    replica,
    selecting,
    sentinel,
    sentinels,
    settled,
)

NAMED = sentinels("a", "a", "a")


def showing(*entries: Entry, node: Node | None = None, **changes: Any) -> Facts:
    """``a`` is a master that all Sentinels name, and the catalog shows just these entries."""
    return facts(node or master(), NAMED, catalog=Catalog(NOW - 0.5, 1, entries), **changes)


# The group id


def test_a_group_id_is_made_with_the_first_claim_and_kept() -> None:
    """By memory, from the decision that records the claim on."""
    nothing = showing()
    first, memory = decide(nothing, NOTHING, POLICY)
    assert first.claim
    assert first.group.startswith("a-")
    later, again = decide(replace(nothing, now=NOW + 1), memory, POLICY)
    assert {later.group, memory.group, again.group} == {first.group}


def test_two_group_ids_are_never_alike() -> None:
    """They are made of what nobody else has: this life of the node, and the time."""
    known = [showing(), showing(node=master("b")), replace(showing(), now=NOW + 0.001)]
    ids = {decide(each, NOTHING, POLICY)[0].group for each in known}
    assert len(ids) == 3


def test_nothing_but_a_claim_makes_a_group_id() -> None:
    """A replica that is there before any master carries none."""
    for known in (showing(node=replica()), facts(master(), sentinels("b", "b", "b"), catalog=Catalog(NOW, 1, ()))):
        decision, memory = decide(known, NOTHING, POLICY)
        assert (decision.group, memory.group) == ("", "")


@pytest.mark.parametrize("node", [master(), replica()])
@pytest.mark.parametrize("passing", [True, False])
def test_a_group_id_is_inherited_from_a_claim_whose_node_a_majority_lists(node: Node, passing: bool) -> None:
    """An agent that begins anew learns it from the holder, or from the last claim that is kept."""
    assert decide(showing(holds("b", 5, passing=passing), node=node), NOTHING, POLICY)[0].group == GROUP


def test_a_group_id_is_inherited_from_the_own_entry_of_an_earlier_run() -> None:
    """Where no state was kept."""
    assert decide(showing(holds("a", 5)), NOTHING, POLICY)[0].group == GROUP


def test_a_group_id_is_not_inherited_from_a_node_that_one_sentinel_lists() -> None:
    """A single one may be false, or of another group: a majority of the own ones is asked for."""
    lists_x = sentinel("s1", run_ids={a: n for n, a in (WHERE | ELSEWHERE).items()})
    known = replace(showing(holds("x", 9)), sentinels=(lists_x, *NAMED[1:]))
    assert decide(known, NOTHING, POLICY)[1].group == ""


def test_a_group_id_that_is_remembered_is_not_given_up_for_another_one() -> None:
    """As long as a claim carries it, and wherever it is not certain that the other's node is of the group."""
    for entries in ((holds("x", 9),), (holds("c", 3, passing=False), holds("b", 5, group="b-2"))):
        assert judge(showing(*entries)).group == GROUP


def test_two_that_began_at_once_end_with_one_group_id() -> None:
    """Both made one; that of the claim that is there now, and whose node a majority lists, is the group's."""
    known = showing(holds("b", 5, group="b-2"), node=replica())
    assert judge(known, group="a-2").group == "b-2"


def test_without_sentinel_every_claim_under_the_name_is_of_the_group() -> None:
    """Nobody could tell them apart: the service name alone makes the group."""
    known = facts(master(), (), holds("x", NO_EPOCH))
    decision, memory = decide(known, NOTHING, OFF)
    assert (outcome(decision), memory.group) == ((Verdict.NONE, Reason.REFUSED), OTHER_GROUP)


# Strangers


@pytest.mark.parametrize("epoch", [4, 5, 9])
@pytest.mark.parametrize("created", [5, 20])
def test_a_stranger_is_neither_obeyed_nor_evicted_by_who_publishes(epoch: int, created: int) -> None:
    """Two groups that nobody renamed, at any epochs: the one that is in DNS stays, whoever came first."""
    decision = judge(showing(holds("a", 5, created=created), holds("x", epoch, created=10)))
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.NAMED), Claim(5, 0, "a"))
    assert (decision.evict, decision.last) == ((), None)


@pytest.mark.parametrize("epoch", [4, 9])
@pytest.mark.parametrize(
    "changes", [{}, {"passing": False}, {"node_alive": False}, {"claim": None, "says_master": False}]
)
def test_a_group_that_holds_nothing_publishes_nothing_beside_another_one(epoch: int, changes: dict[str, Any]) -> None:
    """Replicas included, and as long as any entry of the other one exists. Both sides hear of it, and how to end it."""
    there = holds("x", epoch, **changes)
    for node, verdict in ((master(), Verdict.PENDING), (replica(), Verdict.NONE)):
        decision = judge(showing(there, node=node), group="a-2")
        assert (outcome(decision), decision.evict) == ((verdict, Reason.STRANGER), ())
        assert "10.9.9.1:6379 on host-x is of another group" in decision.sentence
        assert "deregister" in decision.sentence


def test_a_stranger_does_not_hinder_the_group_that_came_first() -> None:
    """Its last claim, though it does not pass, was there before."""
    known = showing(holds("c", 3, passing=False, created=5), holds("x", 9, created=10, passing=False))
    decision = judge(known)
    assert (outcome(decision), decision.evict) == ((Verdict.MASTER, Reason.NAMED), ())
    assert decision.last == holds("c", 3, passing=False, created=5)
    assert judge(replace(known, node=replica())).verdict is Verdict.REPLICA


def test_no_early_claim_is_made_beside_a_stranger_either() -> None:
    """Whoever stands behind the node."""
    known = facts(promoted(), (selecting("a", 6), *UNHEARD), catalog=Catalog(NOW, 1, (holds("x", 9),)))
    assert judge(known, group="").reason is Reason.STRANGER


def test_a_stranger_is_known_at_once_where_both_sides_have_a_group_id() -> None:
    """Only a claim of an unknown group has to wait for the Sentinels' lists to be settled."""
    known = showing(holds("x", 9))
    assert judge(known, group="a-2", roster_since=NOW).reason is Reason.STRANGER
    assert outcome(judge(known, group="", roster_since=NOW)) == (Verdict.KEEP, Reason.UNTOLD)
    assert judge(known, group="", roster_since=NOW - SETTLED).reason is Reason.STRANGER


def both(*entries: Entry) -> tuple[Decision, Decision]:
    """What ``a`` and ``x`` decide, each a master that all Sentinels of its own group name."""
    mine = showing(*entries)
    theirs = facts(
        master("x"),
        tuple(foreign_sentinel(f"f{i}") for i in (1, 2, 3)),
        catalog=mine.catalog,
        me=frozenset({ELSEWHERE["x"]}),
        address=ELSEWHERE["x"],
        own=("host-x", "redis-6379"),
    )
    return judge(mine), judge(theirs, group=OTHER_GROUP)


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_of_two_groups_that_begin_at_once_one_is_published(first: int, second: int) -> None:
    """Both have recorded a first claim; Consul's order decides, the same for both."""
    begun = {"passing": False, "pending": True}
    verdicts = [d.verdict for d in both(holds("a", 5, created=first, **begun), holds("x", 5, created=second, **begun))]
    expected = [Verdict.MASTER, Verdict.PENDING]
    assert verdicts == (expected if first < second else expected[::-1])


def test_the_group_that_came_first_does_not_come_back_beside_one_that_publishes() -> None:
    """Its claim was evicted while agents of format 1 fought: DNS would answer with both masters for good."""
    verdicts = [d.verdict for d in both(holds("a", 5, passing=False, created=1), holds("x", 5, created=2))]
    assert verdicts.count(Verdict.MASTER) == 1


@pytest.mark.parametrize("node", [master(), replica()])
def test_who_publishes_stays_through_a_failover(node: Node) -> None:
    """The group's holder is in DNS, and came later than an entry of the other group: the promoted node follows it there."""
    heard = sentinels("a", "a", "a", epoch=6)
    shown = Catalog(NOW, 1, (holds("b", 5, created=20), holds("x", 4, created=10, passing=False)))
    known = facts(node, heard, catalog=shown)
    assert judge(known).verdict in (Verdict.MASTER, Verdict.REPLICA)


# Foreign entries


@pytest.mark.parametrize(
    "strange",
    [
        holds("b", 3, marked=False),
        holds("b", 9, marked=False),
        holds("x", 9, marked=False, group=""),
        entry("b", says_master=True),
    ],
    ids=["not marked", "not marked, newer", "by hand", "marked, no readable claim"],
)
def test_a_foreign_entry_is_reported_and_left_alone(strange: Entry) -> None:
    """Registered by hand, or of a format that cannot be read: neither evicted nor believed."""
    known = showing(strange, holds("c", 1, passing=False))
    decision = judge(known)
    assert (outcome(decision), decision.evict) == ((Verdict.MASTER, Reason.NAMED), ())
    assert told(known, settled(known)).foreign == (strange,)


def test_a_replica_that_carries_no_claim_is_not_foreign() -> None:
    """In mode ``tags`` it rightly has none."""
    known = showing(holds("a", 5), entry("b"))
    assert told(known, settled(known)).foreign == ()


def test_a_replica_in_mode_check_is_not_foreign() -> None:
    """Its role check is named ``role:master`` and critical, and it has no claim (``publish/entries.py``, Mode.CHECK)."""
    known = showing(holds("a", 5), entry("b", says_master=True, passing=False))
    assert told(known, settled(known)).foreign == ()


# Claims of format 1, which carry no group id


def test_a_claim_of_format_1_is_of_the_group_if_its_node_is_listed() -> None:
    """So that hosts can be upgraded one after another: it is obeyed, and evicted, as any other."""
    older, newer = holds("b", 4, group=""), holds("b", 6, group="")
    assert evicted(judge(showing(holds("a", 5), older))) == {"host-b"}
    assert outcome(judge(showing(holds("a", 5), newer))) == (Verdict.NONE, Reason.NEWER_CLAIM)
    restarted = holds("b", 4, group="", claim=Claim(4, 0, "an earlier life"))
    assert evicted(judge(showing(holds("a", 5), restarted))) == {"host-b"}, "by its address"
    just_switched = showing(holds("a", 5), older)
    unheard = tuple(replace(s, run_ids=dict.fromkeys(s.run_ids, "")) for s in just_switched.sentinels)
    assert evicted(judge(replace(just_switched, sentinels=unheard))) == {"host-b"}, "also before its first INFO"
    nobodys = holds("x", 4, group="", claim=Claim(4, 0, ""))
    assert judge(showing(nobodys, sentinels=unheard)).reason is Reason.STRANGER, "no run id is nobody's"


def test_a_claim_of_format_1_that_nobody_lists_is_waited_for_and_then_a_strangers() -> None:
    """It is neither obeyed nor evicted meanwhile, and who publishes goes on."""
    claim = holds("x", 9, group="")
    for since, reason in ((NOW - SETTLED + 0.1, Reason.UNTOLD), (NOW - SETTLED, Reason.STRANGER)):
        decision = judge(showing(claim), roster_since=since)
        assert (decision.reason, decision.evict) == (reason, ())
        publishing = judge(showing(holds("a", 5), claim), roster_since=since)
        assert (publishing.verdict, publishing.evict) == (Verdict.MASTER, ())


def test_lists_that_change_are_settled_anew() -> None:
    """A Sentinel that was just reset lists nobody: what it will list cannot be told yet."""
    known = showing(holds("x", 9, group=""))
    before = settled(known, roster={s.id: {WHERE["a"]: "a"} for s in NAMED})
    decision, memory = decide(known, before, POLICY)
    assert (decision.reason, memory.roster_since) == (Reason.UNTOLD, NOW)
    assert decide(replace(known, now=NOW + 1), memory, POLICY)[1].roster_since == NOW


def test_a_replica_of_format_1_says_nothing() -> None:
    """It has neither a claim nor a group id, and hinders nobody."""
    decision = judge(showing(holds("c", 1, passing=False), entry("x", group="")), group="")
    assert decision.verdict is Verdict.MASTER


def test_a_loopback_address_is_no_proof_that_a_node_is_listed() -> None:
    """Every host has one: the run id alone tells."""
    local = ELSEWHERE["x"]._replace(host="127.0.0.1")
    heard = tuple(replace(s, run_ids={**s.run_ids, local: "c2"}) for s in NAMED)
    known = replace(showing(holds("x", 9, address=local)), sentinels=heard)
    assert told(known, settled(known)).strangers
    known = replace(showing(holds("x", 9, address=local, claim=Claim(9, 0, "c2"))), sentinels=heard)
    assert told(known, settled(known)).ours


# The same nodes under another master name


def test_a_listed_nodes_claim_under_another_master_name_is_of_the_group() -> None:
    """Two trios of Sentinels watch the same nodes by two names: there is one answer, whichever an agent has found."""
    older, newer = holds("b", 4, master_name="sessions"), holds("b", 6, master_name="sessions", group="b-2")
    assert evicted(judge(showing(holds("a", 5), older))) == {"host-b"}
    assert outcome(judge(showing(holds("a", 5), newer))) == (Verdict.NONE, Reason.NEWER_CLAIM)


# The Sentinels of the group


@pytest.mark.parametrize("epoch", [5, 9])
def test_a_foreign_sentinel_under_the_same_name_is_not_counted(epoch: int) -> None:
    """It lists none of the group's nodes or Sentinels; what it says of epochs and masters is of others."""
    known = facts(master(), (*NAMED, foreign_sentinel(epoch=epoch)), holds("a", 5))
    for memory in (NOTHING, settled(facts(master(), NAMED))):
        decision, after = decide(known, memory, POLICY)
        assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.NAMED), Claim(5, 0, "a"))
        assert after.known == {"s1", "s2", "s3"}


def test_a_foreign_sentinel_that_answers_first_is_not_counted_for_ever() -> None:
    """At the start nobody has listed the own node yet, so that it cannot be told; a moment later it can."""
    unlooked = tuple(sentinel(f"s{i}", error="not looked at yet", looked=False, master=None) for i in (1, 2, 3))
    memory = remember(facts(master(), (*unlooked, foreign_sentinel()), holds("a", 5), searching=True), NOTHING)
    for later in range(1, 60):
        heard = tuple(replace(s, at=NOW + later) for s in (*NAMED, foreign_sentinel()))
        known = facts(master(at=NOW + later), heard, holds("a", 5), now=NOW + later)
        decision, memory = decide(known, memory, POLICY)
    assert (len(memory.known), outcome(decision)) == (3, (Verdict.MASTER, Reason.NAMED))


def test_a_foreign_sentinels_selection_publishes_nobody() -> None:
    """Not even where it names the own node's run id."""
    from_afar = replace(foreign_sentinel(), selection=replace(selecting("a", 99), id="f1").selection, promoting="a")
    assert judge(facts(promoted(), (*sentinels("b", "b", "b"), from_afar), holds("b", 5))).verdict is Verdict.NONE


def test_a_selection_with_a_huge_epoch_is_not_believed_for_an_old_master() -> None:
    """A listed Sentinel may be false: the node that has just returned was not seen to turn."""
    false = replace(selecting("a", 999_999), id="s3")
    known = facts(master(), (*sentinels("b", "b"), false), holds("b", 5))
    decision = judge(known)
    assert (outcome(decision), decision.evict) == ((Verdict.NONE, Reason.UNBACKED), ())


# Where nothing is remembered any more


@pytest.mark.parametrize("since", [NOW - 1, NOW - 60])
def test_replicas_of_listed_nodes_do_not_hinder_a_master_that_has_forgotten_its_group(since: float) -> None:
    """Its container is new, and its own entry gone: the group's replicas (mode ``tags``) still carry the group id."""
    known = showing(entry("b"), entry("c"))
    decision, _ = decide(known, settled(known, group="", roster_since=since), POLICY)
    assert decision.verdict in (Verdict.PENDING, Verdict.MASTER)


def test_where_sentinel_is_switched_off_its_past_does_not_matter() -> None:
    """Without Sentinel nobody tells the groups apart: the incumbent is refused or obeyed, not waited for for ever."""
    known = facts(master(), (), holds("b", NO_EPOCH, group=""))
    assert outcome(judge(known, OFF, had_sentinel=True)) == (Verdict.NONE, Reason.REFUSED)


def test_an_agent_that_starts_before_its_sentinels_speak_withdraws_nothing() -> None:
    """It remembers its group; the claim of another node carries the same."""
    unlooked = tuple(sentinel(f"s{i}", error="not looked at yet", looked=False, master=None) for i in (1, 2, 3))
    known = facts(replica(), unlooked, holds("b", 5), searching=True)
    assert decide(known, Memory(group=GROUP, had_sentinel=True), POLICY)[0].verdict is Verdict.REPLICA
