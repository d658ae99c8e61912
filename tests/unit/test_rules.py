"""Rules 1 to 8 as stories of one group (``tests/doubles/facts.py``). Decisions are made by ``a`` unless said."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf
from typing import Any

import pytest

from consul_redis_agent.decide.backing import LEADER_SILENCE
from consul_redis_agent.decide.claim import EARLY_TERM, NO_EPOCH, Claim
from consul_redis_agent.decide.decision import Policy, Reason, SentinelMode, Verdict
from consul_redis_agent.decide.facts import (
    Address,
    Catalog,
    Entry,
    Facts,
    Node,
    Peer,
    Role,
    Selection,
    Sentinel,
    Silence,
)
from consul_redis_agent.decide.memory import NOTHING, Memory
from consul_redis_agent.decide.rules import MISSES, decide
from consul_redis_agent.decide.sentinels import SENTINEL_LIFE, majority, reached
from consul_redis_agent.decide.standing import GIVING_WAY, PATIENCE
from consul_redis_agent.decide.view import PEER_LIFE
from tests.doubles.facts import (
    NOW,
    OFF,
    POLICY,
    SILENT,
    UNHEARD,
    WHERE,
    early,
    entry,
    evicted,
    facts,
    following,
    holds,
    judge,
    master,
    outcome,
    promoted,
    replica,
    seen_by,
    selecting,
    sentinel,
    sentinels,
    settled,
)

# Rule 1: only while INFO says so, it is not loading, and it answers or is held for up


def test_a_master_that_sentinel_names_is_published() -> None:
    """The plain case: INFO and all Sentinels agree, and the claim carries Sentinel's epoch and the node's run id."""
    decision = judge(facts(master(), sentinels("a", "a", "a")))
    assert outcome(decision) == (Verdict.MASTER, Reason.NAMED)
    assert (decision.claim, decision.evict) == (Claim(5, 0, "a"), ())


def test_a_healthy_replica_is_published_as_such() -> None:
    """A replica carries no claim."""
    decision = judge(facts(replica(), sentinels("b", "b", "b")))
    assert (outcome(decision), decision.claim) == ((Verdict.REPLICA, Reason.REPLICATES), None)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (replica(link_up=False, lag=10.1), Reason.LINK_DOWN),
        (replica(link_up=False, lag=inf), Reason.LINK_DOWN),
        (replica(link_up=False, serves=False), Reason.LINK_DOWN),
        (replica(announced=False), Reason.HIDDEN),
        (replica(lag=10.1), Reason.LAGGING),
        (replica(loading=True), Reason.LOADING),
    ],
)
def test_a_replica_that_is_not_healthy_is_not_published(node: Node, reason: Reason) -> None:
    """Link, lag, loading, and what it is set up for, gate it."""
    assert outcome(judge(facts(node, sentinels("b", "b", "b")))) == (Verdict.NONE, reason)


def test_a_replica_that_has_lost_its_master_a_moment_ago_is_published() -> None:
    """Reads go on through a failover."""
    node = replica(link_up=False, lag=9.9)
    assert outcome(judge(facts(node, sentinels("b", "b", "b")))) == (Verdict.REPLICA, Reason.REPLICATES)


def test_a_master_that_loads_is_not_published() -> None:
    """It says ``role:master``, and every Sentinel names it, but it answers nobody yet."""
    decision = judge(facts(master(loading=True), sentinels("a", "a", "a"), holds("a", 5)))
    assert outcome(decision) == (Verdict.NONE, Reason.LOADING)


def test_one_lost_look_changes_nothing() -> None:
    """Sentinel closes every connection when it reconfigures a node, so one lost look is normal."""
    decision = judge(facts(Silence(NOW, "no answer", MISSES - 1), sentinels("a", "a", "a"), holds("a", 5)))
    assert outcome(decision) == (Verdict.KEEP, Reason.MISSED)


def test_a_node_that_is_gone_leaves_at_once() -> None:
    """Nothing listens any more: one look is enough, whatever the Sentinels still say."""
    gone = Silence(NOW, "refused", 1, gone=True)
    assert outcome(judge(facts(gone, sentinels("a", "a", "a"), holds("a", 5)))) == (Verdict.NONE, Reason.SILENT)
    assert outcome(judge(facts(gone, (), holds("a", NO_EPOCH)), OFF)) == (Verdict.NONE, Reason.SILENT)


def test_a_silent_node_stays_while_a_majority_holds_it_for_up() -> None:
    """How long a stall counts as a death is what down-after-milliseconds says; its entry goes on as it is."""
    decision = judge(facts(SILENT, sentinels("a", "a", ""), holds("a", 5)))
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.PATIENT), Claim(5, 0, "a"))


def down(heard: tuple[Sentinel, ...]) -> tuple[Sentinel, ...]:
    return tuple(replace(s, down=True) for s in heard)


@pytest.mark.parametrize(
    "heard",
    [
        sentinels("a", "", ""),
        (*down(sentinels("a", "a")), sentinel("s3")),
        sentinels("b", "b", "a"),
        (replace(sentinel("s1"), promoting="", promoting_since=NOW), *sentinels("a", "a", "a")[1:]),
    ],
    ids=["out of reach", "down", "another is named", "failing over"],
)
def test_a_silent_node_that_no_majority_holds_for_up_is_withdrawn(heard: tuple[Sentinel, ...]) -> None:
    """Sentinel's own patience is over, or nobody can tell."""
    assert outcome(judge(facts(SILENT, heard, holds("a", 5)))) == (Verdict.NONE, Reason.SILENT)


@pytest.mark.parametrize(("age", "verdict"), [(3.0, Verdict.MASTER), (3.1, Verdict.NONE)])
def test_without_sentinel_a_silent_node_stays_for_the_configured_patience(age: float, verdict: Verdict) -> None:
    """``redis.patience``, counted from its last answer."""
    known = facts(SILENT, (), holds("a", NO_EPOCH))
    assert judge(known, OFF, node=master(at=NOW - age), confirmed=NOW).verdict is verdict


def test_a_silent_node_publishes_nothing_anew() -> None:
    """Patience is for what stands: a claim that does not pass, or gives way to a newer one, is not brought back by it."""
    heard = sentinels("a", "a", "a")
    for entries in ([], [holds("a", 5, passing=False)], [holds("a", 5), holds("b", 6)]):
        assert judge(facts(SILENT, heard, *entries), held=Claim(5, 0, "a"), confirmed=NOW).verdict is Verdict.NONE


def test_an_early_claim_does_not_outlive_its_nodes_silence() -> None:
    """Only a majority is patient; and what was withdrawn comes back only with one."""
    known = facts(SILENT, (selecting("a", 6), *UNHEARD), entry("a", early()))
    decision, memory = decide(known, settled(known, held=early()), POLICY)
    assert (decision.verdict, memory.spent) == (Verdict.NONE, 6)


@pytest.mark.parametrize("last_words", [replica(at=NOW - 1), master(at=NOW - 1, loading=True)])
def test_patience_is_only_for_a_node_that_said_master_last(last_words: Node) -> None:
    """Its claim may still pass where Consul was out of reach as it became a replica."""
    known = facts(SILENT, (), holds("a", NO_EPOCH))
    assert judge(known, OFF, node=last_words, confirmed=NOW).verdict is Verdict.NONE


def test_a_node_that_is_busy_when_the_agent_starts_is_not_blinked() -> None:
    """Rules 1 and 11: the entry of the earlier run passes, and a majority names its address and holds it for up."""
    known = facts(SILENT, sentinels("a", "a", "a"), holds("a", 5))
    assert judge(known, node=None).verdict in (Verdict.MASTER, Verdict.KEEP)


def test_an_old_answer_is_a_lost_look() -> None:
    """What the node said before this process was stopped is not what it says now."""
    decision = judge(facts(master(at=NOW - POLICY.node_life - 0.1), sentinels("a", "a", "a")))
    assert outcome(decision) == (Verdict.KEEP, Reason.MISSED)


def test_nothing_is_decided_before_the_first_look() -> None:
    """An entry that an earlier run left is neither refreshed nor taken away."""
    assert outcome(judge(facts(None, (), holds("a", 5)))) == (Verdict.KEEP, Reason.UNSEEN)


def test_no_claim_is_made_before_the_others_are_seen() -> None:
    """Without the catalog a newer claim could be overlooked."""
    decision = judge(facts(master(), sentinels("a", "a", "a"), catalog=None))
    assert outcome(decision) == (Verdict.KEEP, Reason.NO_CATALOG)


def test_without_an_address_nothing_is_published() -> None:
    """An entry that leads nowhere is worse than none, and the reason says what to set."""
    for node in (master(), replica()):
        decision = judge(facts(node, sentinels("a", "a", "a"), address=None))
        assert outcome(decision) == (Verdict.NONE, Reason.NO_ADDRESS)
        assert "announce" in decision.sentence
    assert outcome(judge(facts(None, (), address=None))) == (Verdict.KEEP, Reason.UNSEEN)


# Rule 2: only while Sentinel stands behind it


def test_one_sentinel_of_three_is_no_authority() -> None:
    """A master that was cut off with its own Sentinel is named by it for as long as the cut lasts."""
    assert outcome(judge(facts(master(), sentinels("a", "", "")))) == (Verdict.NONE, Reason.UNBACKED)


def test_two_sentinels_of_three_suffice() -> None:
    """One that is down is no reason to stay unpublished."""
    assert judge(facts(master(), sentinels("a", "a", ""))).verdict is Verdict.MASTER


def test_the_majority_is_one_of_all_known_sentinels() -> None:
    """Those out of reach count, also when only those in reach are listed."""
    away = tuple(sentinel(id_, error="no answer", master=None) for id_ in ("s3", "s4"))
    assert judge(facts(master(), (*sentinels("a", "a"), *away))).verdict is Verdict.NONE
    assert [majority(n) for n in (0, 1, 2, 3, 4, 5)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("dissent", [{"tilt": True}, {"error": "no answer"}, {"at": NOW - SENTINEL_LIFE - 0.1}])
def test_a_sentinel_that_has_no_vote_is_not_counted(dissent: dict[str, Any]) -> None:
    """In TILT, out of reach, or not heard of for too long."""
    heard = (sentinel("s1"), sentinel("s2", **dissent), sentinel("s3", **dissent))
    assert judge(facts(master(), heard)).verdict is Verdict.NONE


def test_a_sentinel_that_is_behind_the_majority_has_no_vote() -> None:
    """The newest epoch that a majority has reached is what counts: one that is behind it has not heard the news."""
    behind = (sentinel("s1", "a", 6), sentinel("s2", "b", 6), sentinel("s3", "a", 5))
    assert judge(facts(master(), behind)).verdict is Verdict.NONE
    assert [reached(epochs, 2) for epochs in ((6, 6, 5), (6, 5, 5), (9, 5), (5,), ())] == [6, 5, 5, NO_EPOCH, NO_EPOCH]


def test_sentinels_of_the_old_epoch_do_not_hold_up_the_new_master() -> None:
    """While the news spreads, those that have not heard it have no vote; two that have are enough."""
    heard = (sentinel("s1", "a", 6), sentinel("s2", "a", 6), sentinel("s3", "b", 5))
    assert judge(facts(master(), heard)).claim == Claim(6, 0, "a")


def test_a_master_after_a_quick_restart_is_named_by_its_address() -> None:
    """Sentinel knows the new run id only up to 10 s later."""
    decision = judge(facts(master(run_id="a2"), sentinels("a", "a", "a"), holds("a", 5)))
    assert (decision.verdict, decision.claim) == (Verdict.MASTER, Claim(5, 0, "a2"))


def test_a_master_behind_nat_is_named_by_its_run_id() -> None:
    """The address that Sentinel uses may be unknown to the node."""
    assert judge(facts(master(), sentinels("a", "a", "a"), me=frozenset())).verdict is Verdict.MASTER


def test_a_promoted_node_is_published_before_the_sentinels_switch() -> None:
    """The elected leader has selected it at a newer epoch and it has turned master: the old claim goes down with it."""
    decision = judge(facts(promoted(), (selecting("a", 6), *UNHEARD), holds("b", 5)))
    assert outcome(decision) == (Verdict.MASTER, Reason.SELECTED)
    assert decision.claim == early()
    assert decision.evict == (holds("b", 5),)


def test_a_node_that_was_not_seen_to_turn_is_not_published_early() -> None:
    """One voice could name an old master that has just returned, or one of long ago: a majority is waited for."""
    heard = (selecting("a", 6), *UNHEARD)
    for node in (master(), promoted(turned=NOW - 30)):
        assert judge(facts(node, heard, holds("b", 5))).verdict is Verdict.NONE


def test_the_leader_is_asked_after_the_turn() -> None:
    """It may be gone since it selected the node: nothing is published, or withdrawn, until it has answered."""
    before = replace(selecting("a", 6), at=NOW - 0.01)
    decision = judge(facts(promoted(), (before, *UNHEARD), holds("b", 5)))
    assert (outcome(decision), decision.leader) == ((Verdict.KEEP, Reason.ASKING_LEADER), "s1")
    stale = replace(selecting("a", 6), at=NOW - LEADER_SILENCE - 0.1, selection=Selection(6, "a", NOW - 3.1))
    late = facts(promoted(turned=NOW - 3), (stale, *UNHEARD))
    assert judge(late).reason is Reason.ASKING_LEADER, "and lately"
    gone = replace(before, at=NOW, error="nothing listens there", gone=True)
    assert judge(facts(promoted(), (gone, *UNHEARD), holds("b", 5))).verdict is Verdict.NONE


def test_nothing_is_published_early_where_the_operator_waits_for_a_majority() -> None:
    """sentinel.early = false: whoever sees the new master in DNS may switch the old host off."""
    known = facts(promoted(), (selecting("a", 6), *UNHEARD), holds("b", 5))
    assert judge(known, Policy(early=False)).verdict is Verdict.NONE
    followed = (sentinel("s1", "a", 6), sentinel("s2", "a", 6), sentinel("s3", "b", 5))
    assert judge(replace(known, sentinels=followed), Policy(early=False)).claim == Claim(6, 0, "a")


def publishing(since: float, *heard: Sentinel, **changes: Any) -> Facts:
    """The own early claim passes."""
    return facts(promoted(), (*heard, *UNHEARD), entry("a", early(since)), entry("b", passing=False), **changes)


@pytest.mark.parametrize("age", [0.0, 1.0, EARLY_TERM - 0.1])
def test_an_early_claim_stands_while_its_leader_says_so(age: float) -> None:
    """With the moment in it from which it counts, and until that decides again by itself."""
    decision = judge(publishing(NOW - age, selecting("a", 6)))
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.SELECTED), early(NOW - age))
    assert decision.until == min(NOW + LEADER_SILENCE, NOW - age + EARLY_TERM)


FELL = {
    "its term is over": (EARLY_TERM + 0.01, selecting("a", 6)),
    "it began in the future": (-0.01, selecting("a", 6)),
    "its leader refuses": (0.5, sentinel("s1", error="nothing listens there", gone=True, master=None)),
    "its leader is silent": (LEADER_SILENCE + 0.01, sentinel("s1", error="no answer", master=None)),
    "its leader is in TILT": (LEADER_SILENCE + 0.01, replace(selecting("a", 6), tilt=True)),
    "its leader is not to be found": (LEADER_SILENCE + 0.01, sentinel("s4", "b", 5)),
    "its leader gives up": (0.5, sentinel("s1", "b", 5)),
    "its leader promotes another": (0.5, replace(selecting("c", 7))),
}


@pytest.mark.parametrize("case", FELL)
def test_an_early_claim_falls_with_its_leader_and_comes_back_only_with_a_majority(case: str) -> None:
    """Whatever the leader says later: it is worse than waiting would have been."""
    age, leader = FELL[case]
    known = publishing(NOW - age, leader)
    fallen, memory = decide(known, settled(known), POLICY)
    assert outcome(fallen) == (Verdict.NONE, Reason.EARLY_OVER)
    later = facts(promoted(), (selecting("a", 6), *UNHEARD))
    memory = replace(memory, known=frozenset({"s1", "s2", "s3"}))
    assert decide(later, memory, POLICY)[0].verdict is Verdict.NONE
    silent, after_silence = decide(replace(later, node=SILENT), memory, POLICY)
    assert silent.verdict is Verdict.NONE
    assert decide(later, after_silence, POLICY)[0].verdict is Verdict.NONE
    followed = (sentinel("s1", "a", 6), sentinel("s2", "a", 6), sentinel("s3", "b", 5))
    assert decide(replace(later, sentinels=followed), memory, POLICY)[0].claim == Claim(6, 0, "a")
    again = replace(later, sentinels=(selecting("a", 7), *UNHEARD))
    assert decide(again, memory, POLICY)[0].claim == early(NOW, 7)


@pytest.mark.parametrize(
    "end",
    [
        {"node": replica("b")},
        {"node": Silence(NOW, "refused", 1, gone=True)},
        {"node": promoted(loading=True)},
        {"catalog": Catalog(NOW, 1, (entry("a", early()), holds("c", 6)))},
        {"address": None},
    ],
    ids=["a replica", "gone", "loading", "a newer claim", "no address"],
)
def test_an_early_claim_is_spent_whatever_ends_it(end: dict[str, Any]) -> None:
    """That it was never worse than waiting can be said of it once."""
    begun = publishing(NOW, selecting("a", 6))
    decision, memory = decide(replace(begun, **end), settled(begun, held=early()), POLICY)
    assert decision.verdict in (Verdict.NONE, Verdict.REPLICA)
    assert (memory.spent, memory.held) == (6, None)


def test_an_early_claim_that_consul_has_lost_is_recorded_again_and_its_term_goes_on() -> None:
    """Not withdrawn and not a new one: it counts from where it began, also where it is read back too late."""
    nothing = Catalog(NOW, 1, ())
    lost = facts(promoted(), (selecting("a", 6), *UNHEARD), catalog=nothing)
    decision, memory = decide(lost, settled(lost, held=early(NOW - 3), heard=NOW), POLICY)
    assert (outcome(decision), decision.claim) == ((Verdict.PENDING, Reason.FIRST), early(NOW - 3))
    recorded = replace(lost, catalog=Catalog(NOW, 1, (entry("a", early(NOW - 3), passing=False),)))
    assert decide(recorded, memory, POLICY)[0].claim == early(NOW - 3)
    for entries in ((), (entry("a", early(NOW - EARLY_TERM - 0.1), passing=False),)):
        late = replace(lost, catalog=Catalog(NOW, 1, entries))
        over, after = decide(late, replace(memory, recorded=early(NOW - EARLY_TERM - 0.1)), POLICY)
        assert (outcome(over), after.spent) == ((Verdict.NONE, Reason.UNBACKED), 6)
        assert decide(lost, after, POLICY)[0].verdict is Verdict.NONE


def test_where_dns_waits_for_a_majority_a_handover_on_the_leaders_word_waits_too() -> None:
    """The old master follows already, and who sees the name move may switch its host off: the others have to know before."""
    known = facts(promoted(), (selecting("a", 6), *UNHEARD), holds("b", 5), peer=following("b"))
    assert judge(known, replace(POLICY, early=False)).verdict is Verdict.NONE
    by_hand = facts(promoted(), sentinels("b", "b", "b"), holds("b", 5), peer=following("b"))
    assert outcome(judge(by_hand, replace(POLICY, early=False))) == (Verdict.MASTER, Reason.HANDED_OVER)


@pytest.mark.parametrize("case", FELL)
def test_a_node_that_the_old_master_follows_stays_though_its_leader_is_lost(case: str) -> None:
    """Rule 8: the fence has turned that one on the leader's word, and nobody else may take writes."""
    age, leader = FELL[case]
    known = replace(publishing(NOW - age, leader), peer=following("b"))
    decision, memory = decide(known, settled(known), POLICY)
    assert outcome(decision) == (Verdict.MASTER, Reason.HANDED_OVER)
    assert decision.claim
    assert (decision.claim.early, memory.held) == (None, decision.claim)


@pytest.mark.parametrize(
    "peer",
    [
        following("b", follows=WHERE["c"], replication_id="y"),
        following("b", role=Role.MASTER, follows=None),
        following("b", role=None, follows=None),
        following("b", at=NOW - PEER_LIFE - 0.1),
        following("c"),
        None,
    ],
    ids=["it follows another", "it is a master", "it is silent", "it said so long ago", "another follows", "not asked"],
)
def test_nothing_else_keeps_a_claim_whose_leader_is_lost(peer: Peer | None) -> None:
    """Only the word of the node that the majority names, of just now, that it follows this one."""
    known = replace(publishing(NOW - 0.5, FELL["its leader gives up"][1]), peer=peer)
    decision = judge(known)
    assert outcome(decision) == (Verdict.NONE, Reason.EARLY_OVER)
    assert decision.ask == WHERE["b"], "it is asked"


def test_a_leader_that_stands_by_it_makes_no_handover() -> None:
    """The claim is that of the newer epoch, which a majority will reach."""
    known = replace(publishing(NOW - 0.5, selecting("a", 6)), peer=following("b"))
    assert outcome(judge(known)) == (Verdict.MASTER, Reason.SELECTED)


def test_a_leader_may_be_silent_for_less_than_two_seconds() -> None:
    """One answer that is late is not a death: what counts is when it was last heard."""
    silent = sentinel("s1", error="no answer", master=None)
    decision = judge(publishing(NOW - 3, silent), heard=NOW - LEADER_SILENCE + 0.1)
    assert (decision.verdict, round(decision.until - NOW, 3)) == (Verdict.MASTER, 0.1)


def test_an_early_claim_of_an_earlier_run_keeps_its_term() -> None:
    """The agent was restarted: it looks for the leader first, and neither begins anew nor believes another boot's clock."""
    known = publishing(NOW - 3, replace(sentinel("s1", error="not looked at yet", master=None), looked=False))
    assert outcome(judge(replace(known, searching=True))) == (Verdict.KEEP, Reason.SEARCHING)
    found = replace(known, sentinels=(selecting("a", 6), *UNHEARD))
    assert judge(found).claim == early(NOW - 3)
    assert judge(replace(found, now=NOW + 2.1, node=promoted(at=NOW + 2))).reason is Reason.EARLY_OVER
    assert judge(replace(found, boot="another start")).reason is Reason.EARLY_OVER


def test_a_majority_settles_an_early_claim() -> None:
    """The same claim goes on, and says no more that it is early."""
    followed = (replace(sentinel("s1", "a", 6), promoting="a"), sentinel("s2", "a", 6), sentinel("s3", "b", 5))
    decision = judge(replace(publishing(NOW - 1), sentinels=followed))
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.NAMED), Claim(6, 0, "a"))


def test_a_claim_that_a_majority_has_followed_does_not_become_early_again() -> None:
    """When that majority is out of reach while the leader is still at it: Consul carries the claim, as it stands."""
    heard = (selecting("a", 6), sentinel("s2", "b", 5), sentinel("s3", error="no answer", master=None))
    decision = judge(facts(promoted(), heard, holds("a", 6), entry("b", passing=False)))
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.CONFIRMED), Claim(6, 0, "a"))


def test_at_one_epoch_a_majoritys_claim_beats_an_early_one() -> None:
    """SENTINEL FAILOVER at two Sentinels promotes two nodes at one epoch."""
    rival = holds("c", 6)
    decision = judge(publishing(NOW, selecting("a", 6), catalog=Catalog(NOW, 1, (entry("a", early()), rival))))
    assert outcome(decision) == (Verdict.NONE, Reason.NEWER_CLAIM)
    named = facts(master(), sentinels("a", "a", "a", epoch=6), holds("a", 6), entry("c", early(name="c")))
    assert evicted(judge(named)) == {"host-c"}


def test_an_early_claim_that_outlives_its_term_is_evicted_by_whom_a_majority_names() -> None:
    """Its agent was killed: what it left is newer by its epoch, and nobody's."""
    left = entry("b", early(name="b"))
    assert left.claim
    known = facts(master(), sentinels("a", "a", "a"), left)
    at_its_end = judge(known, seen={left.key: (left.claim, NOW - EARLY_TERM)})
    assert outcome(at_its_end) == (Verdict.NONE, Reason.NEWER_CLAIM)
    decision = judge(known, seen={left.key: (left.claim, NOW - EARLY_TERM - 0.01)})
    assert (decision.claim, decision.evict) == (Claim(5, 0, "a"), (left,))
    assert "the early claim of 10.0.0.2:6379 on host-b, which no majority has followed, is evicted" in decision.sentence


def test_an_evicted_early_claim_is_not_repeated() -> None:
    """A successor has spoken."""
    own = entry("a", early(NOW - 1), passing=False, evicted=True)
    known = facts(promoted(), (selecting("a", 6), *UNHEARD), own)
    decision, memory = decide(known, settled(known, confirmed=NOW, held=early(NOW - 1), heard=NOW), POLICY)
    assert (outcome(decision), memory.spent) == ((Verdict.NONE, Reason.NEWER_CLAIM), 6)


def test_without_a_majority_consul_does_not_carry_an_early_claim() -> None:
    """Rule 6 is for claims that a majority has backed."""
    known = facts(promoted(), sentinels("", "", ""), entry("a", early(NOW - 3)))
    assert outcome(judge(known)) == (Verdict.NONE, Reason.EARLY_OVER)


def test_a_role_from_before_the_selection_is_none_of_a_promoted_node() -> None:
    """It was made a replica by hand, which closes no connection, then selected: that it said master is over."""
    known = facts(promoted(at=NOW - 0.2, turned=NOW - 0.3), (selecting("a", 6), *UNHEARD), holds("b", 5))
    assert judge(known).verdict is Verdict.NONE
    assert judge(replace(known, node=promoted(at=NOW - 0.05))).reason is Reason.SELECTED


def test_a_node_that_is_selected_but_still_a_replica_waits() -> None:
    """A selection is an intention; only the node itself tells when it has happened."""
    assert judge(facts(replica(), (selecting("a", 6), *UNHEARD), holds("b", 5))).verdict is Verdict.REPLICA


def test_the_selection_of_another_node_is_not_ours() -> None:
    """The run id says who was selected."""
    assert judge(facts(promoted(), (selecting("c", 6), *UNHEARD), holds("b", 5))).verdict is Verdict.NONE


@pytest.mark.parametrize("epoch", [4, 5, 6])
def test_a_selection_that_is_not_newer_than_every_claim_is_void(epoch: int) -> None:
    """A failover that a later one has overtaken publishes nobody."""
    assert judge(facts(promoted(), (selecting("a", epoch), *UNHEARD), holds("c", 6))).verdict is Verdict.NONE


def test_a_selection_has_to_be_newer_than_dead_claims_too() -> None:
    """A later failover has happened, even if its winner is gone: the majority will tell."""
    dead = holds("c", 6, node_alive=False)
    assert judge(facts(promoted(), (selecting("a", 6), *UNHEARD), dead)).verdict is Verdict.NONE


def test_a_claim_of_an_epoch_is_later_than_those_of_hosts_that_are_away() -> None:
    """One that was handed over within this epoch may come back with its host, and must not look newer then."""
    decision = judge(facts(master(), sentinels("a", "a", "a"), holds("b", 5, 1, node_alive=False)))
    assert decision.claim == Claim(5, 2, "a")


def test_a_selection_that_the_leader_has_not_repeated_is_void() -> None:
    """The leader may have died and another one be elected: its word counts as long as any Sentinel's."""
    leader = replace(selecting("a", 6), at=NOW - SENTINEL_LIFE - 0.1)
    assert judge(facts(promoted(), (leader, *UNHEARD))).verdict is Verdict.NONE


def test_an_old_master_that_comes_back_while_it_is_replaced_is_not_published() -> None:
    """Most Sentinels still name it: they learn of the promotion only a second after it."""
    named = sentinels("a", "a", "a")
    for promoting in ("", "b"):
        replacing = (replace(named[0], promoting=promoting, promoting_since=NOW - EARLY_TERM), *named[1:])
        assert outcome(judge(facts(master(), replacing))) == (Verdict.NONE, Reason.FAILING_OVER)
        assert judge(facts(master(), replacing, holds("a", 5))).verdict is Verdict.MASTER
        given_up = (replace(replacing[0], promoting_since=NOW - EARLY_TERM - 0.01), *named[1:])
        assert judge(facts(master(), given_up)).verdict is Verdict.MASTER, "no majority has followed in time"
    assert judge(facts(master(), (*down(named[:2]), named[2]))).verdict is Verdict.NONE
    assert judge(facts(master(), (*down(named[:1]), *named[1:]))).verdict is Verdict.MASTER


def test_a_promoted_node_is_published_while_its_failover_is_still_finishing() -> None:
    """The leader ends a failover only when the other replicas follow, which may take minutes."""
    named = sentinels("a", "a", "a")
    assert judge(facts(master(), (replace(named[0], promoting="a"), *named[1:]))).verdict is Verdict.MASTER


# Rules 3 to 5: the newest epoch wins, in one step, and guards


def test_an_old_master_that_returns_is_not_published_while_the_newer_claim_lives() -> None:
    """It says ``role:master`` for 10 s; its own stale Sentinel may even name it."""
    assert judge(facts(master(), sentinels("a", "", ""), holds("b", 6))).verdict is Verdict.NONE


def test_a_master_that_sees_a_newer_claim_withdraws_at_once() -> None:
    """Even while a majority of Sentinels has not heard of the failover yet."""
    decision = judge(facts(master(), sentinels("a", "a", "a"), holds("a", 5), holds("b", 6)))
    assert outcome(decision) == (Verdict.NONE, Reason.NEWER_CLAIM)


def test_every_pair_of_epochs_is_decided_the_same_way() -> None:
    """For each epoch of the Sentinels and of a rival: published exactly when the rival is older."""
    for named, rival in product(range(4), range(4)):
        decision = judge(facts(master(), sentinels("a", "a", "a", epoch=named), holds("b", rival)))
        if named != rival:
            assert (decision.verdict is Verdict.MASTER) is (named > rival)


def false_claim(epoch: int = 6, **changes: Any) -> Facts:
    """``a`` is named, and a newer claim is there whose Redis says, when asked, that it is a replica."""
    peer = Peer(NOW, WHERE["b"], Role.REPLICA, WHERE["c"], "x")
    return replace(facts(master(), sentinels("a", "a", "a"), holds("b", epoch), peer=peer), **changes)


def seen_for(known: Facts, age: float) -> dict[str, Any]:
    """The memory of the rival claims that ``known`` shows, which have been seen for so long."""
    assert known.catalog
    return {"seen": {e.key: (e.claim, NOW - age) for e in known.catalog.entries if e.live}}


@pytest.mark.parametrize("epoch", [6, 10**18])
def test_a_newer_claim_that_nobody_has_followed_and_whose_redis_says_no_is_false(epoch: int) -> None:
    """The node that a majority names evicts it, and says so."""
    known = false_claim(epoch)
    decision = judge(known, **seen_for(known, EARLY_TERM + 0.1))
    assert (outcome(decision), evicted(decision)) == ((Verdict.MASTER, Reason.NAMED), {"host-b"})
    assert "which no majority has followed, is evicted" in decision.sentence


@pytest.mark.parametrize(
    ("age", "changes"),
    [
        (EARLY_TERM, {}),
        (EARLY_TERM + 1, {"peer": None}),
        (EARLY_TERM + 1, {"peer": Peer(NOW, WHERE["b"], Role.MASTER)}),
        (EARLY_TERM + 1, {"peer": Peer(NOW - PEER_LIFE - 0.1, WHERE["b"], Role.REPLICA)}),
        (EARLY_TERM + 1, {"peer": Peer(NOW, WHERE["c"], Role.REPLICA)}),
        (EARLY_TERM + 1, {"sentinels": (*sentinels("a", "a"), sentinel("s3", "b", 6))[1:]}),
    ],
    ids=["not yet", "not asked", "says master", "asked long ago", "another node's word", "no majority"],
)
def test_a_newer_claim_is_obeyed_until_it_is_known_to_be_false(age: float, changes: dict[str, Any]) -> None:
    """It may be that of a failover which the Sentinels in reach have not heard of yet."""
    known = false_claim(**changes)
    decision = judge(known, known=frozenset({"s1", "s2", "s3"}), **seen_for(known, age))
    assert decision.verdict is Verdict.NONE
    assert "host-b" not in evicted(decision)


def test_a_newer_claims_node_is_asked_once_it_lingers() -> None:
    """Its own word tells which of the two it is."""
    known = false_claim(peer=None)
    assert judge(known, **seen_for(known, EARLY_TERM)).ask is None
    assert judge(known, **seen_for(known, EARLY_TERM + 0.1)).ask == WHERE["b"]


def test_the_holder_of_the_newest_claim_names_all_older_ones_that_came_back() -> None:
    """Hosts that rejoin with old passing entries are put down again, however many there are."""
    older = [holds("b", 4, id=f"redis-{i}", address=WHERE["b"]) for i in range(7)]
    decision = judge(facts(master(), sentinels("a", "a", "a"), holds("a", 5), holds("c", 3), *older))
    assert decision.verdict is Verdict.MASTER
    assert {e.key for e in decision.evict} == {("host-c", "redis-6379"), *(e.key for e in older)}


def test_a_claim_on_a_dead_host_does_not_hold_up_the_new_master() -> None:
    """It is put down beforehand, so that it is not there when the host returns."""
    dead = holds("b", 5, node_alive=False)
    decision = judge(facts(master(), sentinels("a", "a", "a", epoch=6), dead))
    assert (decision.verdict, decision.evict) == (Verdict.MASTER, (dead,))


def test_a_claim_in_maintenance_is_still_a_claim() -> None:
    """Maintenance hides the master from DNS on purpose; it does not make somebody else the master."""
    assert judge(facts(master(), sentinels("a", "", ""), holds("b", 6, maintenance=True))).verdict is Verdict.NONE


def test_a_claim_that_was_put_down_is_no_claim() -> None:
    """The holder of a claim that another transaction has set critical cannot go on by itself."""
    decision = judge(facts(master(), sentinels("", "", ""), holds("a", 5, passing=False)))
    assert outcome(decision) == (Verdict.NONE, Reason.UNBACKED)


def test_a_first_claim_is_known_by_its_run_id_before_the_consul_node_is_known() -> None:
    """A token without agent:read learns the node's name from the first entry: that entry is not taken for a rival's."""
    mine, other = holds("a", 5), holds("b", 4)
    decision = judge(facts(master(), sentinels("a", "a", "a"), mine, other, own=("", mine.id)))
    assert outcome(decision) == (Verdict.MASTER, Reason.NAMED)
    assert decision.claim == mine.claim
    assert decision.evict == (other,)


def test_a_claim_of_an_earlier_life_is_no_claim() -> None:
    """The node was restarted: what its last run id held does not carry over by itself."""
    assert judge(facts(master(run_id="a2"), sentinels("", "", ""), holds("a", 5))).verdict is Verdict.NONE


@pytest.mark.parametrize("rises", [False, True])
def test_an_older_claim_is_evicted_again_as_soon_as_it_begins_to_rise(rises: bool) -> None:
    """Its Consul agent writes over the catalog a check at a time, and DNS shows it with the last one only."""
    older = holds("b", 5, passing=False, evicted=True, rises=rises)
    decision = judge(facts(master(), sentinels("a", "a", "a", epoch=6), holds("a", 6), older))
    assert (decision.verdict, decision.evict) == (Verdict.MASTER, (older,) if rises else ())


def test_a_claim_that_was_evicted_is_not_repeated_at_once() -> None:
    """Its successor's claim shows up a moment after it."""
    seen = facts(master(), sentinels("a", "a", "a"), holds("a", 5, passing=False, evicted=True))
    assert outcome(judge(seen, evicted_since=NOW - 0.1)) == (Verdict.KEEP, Reason.EVICTED)
    assert judge(seen, evicted_since=NOW - PATIENCE).verdict is Verdict.MASTER
    newer = replace(seen, sentinels=sentinels("a", "a", "a", epoch=6))
    assert judge(newer, evicted_since=NOW - 0.1).claim == Claim(6, 0, "a")


def test_an_early_claim_that_has_evicted_and_is_gone_is_not_waited_for() -> None:
    """While it is there it forbids the own one; as soon as it has gone, the old master is back."""
    own, rival = holds("a", 5, passing=False, evicted=True), entry("b", early(name="b"))
    there = facts(master(), sentinels("a", "a", "a"), own, rival)
    decision, memory = decide(there, settled(there), POLICY)
    assert outcome(decision) == (Verdict.NONE, Reason.NEWER_CLAIM)
    gone = facts(master(), sentinels("a", "a", "a"), own)
    assert decide(gone, memory, POLICY)[0].verdict is Verdict.MASTER


def test_a_newer_claim_that_has_just_left_is_remembered() -> None:
    """Its host starts again, or its Consul agent does, before the Sentinels all know of its failover."""
    named = facts(master(), sentinels("a", "a", "a", epoch=4))
    lately: dict[str, Any] = {"newest": 5, "newest_at": NOW - 0.1, "roster_since": NOW - 1}
    assert outcome(judge(named, **lately)) == (Verdict.NONE, Reason.NEWER_CLAIM)
    assert judge(named, **lately | {"newest_at": NOW - PATIENCE}).verdict is Verdict.MASTER
    assert judge(replace(named, sentinels=sentinels("a", "a", "a", epoch=6)), **lately).verdict is Verdict.MASTER
    assert judge(facts(master(), sentinels("a", "a", "a", epoch=4), holds("a", 4)), **lately).verdict is Verdict.MASTER


def test_a_check_that_somebody_set_critical_is_repaired_at_once() -> None:
    """What was not evicted by a successor is a mistake, and waits for nobody."""
    assert judge(facts(master(), sentinels("a", "a", "a"), holds("a", 5, passing=False))).verdict is Verdict.MASTER


def test_a_new_claim_names_the_groups_last_one() -> None:
    """The transaction compares with it, so that of two promotions one is refused; an evicted one is compared anyway."""
    last = holds("c", 4, passing=False)
    new = facts(master(), sentinels("a", "a", "a"), last, holds("b", 3, passing=False))
    assert judge(new).last == last
    assert judge(facts(master(), sentinels("a", "a", "a"), last, holds("b", 4, 1))).last is None, "evicted"
    assert judge(facts(master(), sentinels("a", "a", "a"), last, holds("a", 5))).last == last, "beside the own one"


def test_a_replica_that_carries_the_last_claim_is_compared_with_and_not_evicted() -> None:
    """In mode ``tags`` its entry is the replica's own, and passes: it claims nothing."""
    last = entry("c", Claim(4, 0, "c"), says_master=False)
    decision = judge(facts(master(), sentinels("a", "a", "a"), last))
    assert (decision.evict, decision.last) == ((), last)


@pytest.mark.parametrize(
    "node", [replica(), master(loading=True), SILENT, Silence(NOW, "refused", 1, gone=True), replica(link_up=False)]
)
def test_a_withdrawn_claim_that_is_the_groups_last_is_kept(node: Node | Silence) -> None:
    """It stays written, critical, for the next claim to compare with; one that another has followed goes."""
    own = holds("a", 5)
    decision = judge(facts(node, sentinels("b", "b", "b", epoch=6), own, holds("b", 4, passing=False)))
    assert (decision.verdict in (Verdict.NONE, Verdict.REPLICA), decision.keeps) == (True, own.claim)
    assert judge(facts(node, sentinels("b", "b", "b", epoch=6), own, holds("b", 6))).keeps is None


def test_the_last_claim_outlives_an_agent_that_starts_beside_a_dead_redis() -> None:
    """Rule 4: its host was booted, and Redis does not start: the entry of the earlier run is still the group's last."""
    own = holds("a", 5, passing=False)
    gone = Silence(NOW, "refused", 1, gone=True)
    assert judge(facts(gone, sentinels("b", "b", "b"), own), node=None).keeps == own.claim


# Rule 4: a group's very first claim


@pytest.mark.parametrize(
    ("node", "heard", "policy"),
    [
        (master(), sentinels("a", "a", "a"), POLICY),
        (promoted(), (selecting("a", 6), *UNHEARD), POLICY),
        (master(), (), OFF),
    ],
    ids=["named", "early", "without Sentinel"],
)
def test_a_groups_very_first_claim_is_recorded_read_back_and_then_passes(
    node: Node, heard: tuple[Sentinel, ...], policy: Policy
) -> None:
    """There is no last one to compare with, so that two that begin at once would not meet in Consul."""
    nothing = facts(node, heard, catalog=Catalog(NOW, 1, ()))
    first, memory = decide(nothing, NOTHING, policy)
    assert (outcome(first), first.evict, first.last) == ((Verdict.PENDING, Reason.FIRST), (), None)
    assert first.claim
    own = entry("a", first.claim, passing=False, pending=True, created=7, group=first.group)
    then, memory = decide(replace(nothing, catalog=Catalog(NOW, 2, (own,))), memory, policy)
    assert (then.verdict, then.claim, then.group) == (Verdict.MASTER, first.claim, first.group)
    assert memory.held == first.claim


PENDING = holds("a", NO_EPOCH, passing=False, pending=True, created=7)
"""The own first claim, recorded but not passing yet."""


def test_of_two_that_begin_at_once_the_one_that_was_recorded_first_passes() -> None:
    """The later one gives it time to show, and no more than that: it may be one that a dead host left."""
    earlier, later = (holds("b", NO_EPOCH, passing=False, pending=True, created=created) for created in (6, 8))
    assert judge(facts(master(), (), PENDING, later), OFF).verdict is Verdict.MASTER
    assert outcome(judge(facts(master(), (), PENDING, earlier), OFF)) == (Verdict.PENDING, Reason.FIRST)
    assert judge(facts(master(), (), PENDING, earlier), OFF, pending_since=NOW - PATIENCE).verdict is Verdict.MASTER


# Rule 6: no Sentinel in reach is not a failover


def test_the_holder_keeps_its_claim_while_consul_confirms_it() -> None:
    """All Sentinels are away; nobody else claims."""
    known = facts(master(), sentinels("", "", ""), holds("a", 5))
    decision, memory = decide(known, settled(known), POLICY)
    assert outcome(decision) == (Verdict.MASTER, Reason.CONFIRMED)
    assert (decision.claim, memory.confirmed) == (Claim(5, 0, "a"), NOW - 0.5)


@pytest.mark.parametrize("entries", [(), (holds("a", 5, passing=False),)], ids=["wiped", "seal broken"])
def test_a_claim_that_the_own_consul_agent_has_lost_is_kept_for_its_lease(entries: tuple[Entry, ...]) -> None:
    """It has started again while most Sentinels were away: the master did not change by that."""
    lost, held = facts(master(), sentinels("a", "", ""), *entries), Claim(5, 0, "a")
    decision, memory = decide(lost, settled(lost, confirmed=NOW - 9, held=held), POLICY)
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.CONFIRMED), held)
    assert memory.confirmed == NOW - 9, "nothing has confirmed it anew"
    assert judge(lost, confirmed=NOW - 11, held=held).verdict is Verdict.NONE
    assert judge(lost, confirmed=NOW - 9, held=Claim(5, 0, "a1")).verdict is Verdict.NONE


def test_a_claim_that_a_successor_has_evicted_is_not_kept() -> None:
    """Also once the successor's own claim has gone again."""
    known = facts(master(), sentinels("a", "", ""), holds("a", 5, passing=False, evicted=True))
    assert judge(known, confirmed=NOW - 1, held=Claim(5, 0, "a")).verdict is Verdict.NONE


def test_a_claim_that_was_lost_gives_way_to_a_newer_one() -> None:
    """As one that passes does."""
    known = facts(master(), sentinels("a", "", ""), holds("b", 6))
    decision = judge(known, confirmed=NOW - 1, held=Claim(5, 0, "a"))
    assert outcome(decision) == (Verdict.NONE, Reason.NEWER_CLAIM)


@pytest.mark.parametrize(("age", "verdict"), [(POLICY.ttl, Verdict.MASTER), (POLICY.ttl + 0.1, Verdict.NONE)])
def test_what_nobody_confirms_for_the_ttl_is_withdrawn(age: float, verdict: Verdict) -> None:
    """Neither Sentinel nor Consul's servers: nothing stale may be synced when the network heals."""
    known = facts(master(), sentinels("", "", ""), catalog=Catalog(NOW - age, 1, (holds("a", 5),)))
    assert judge(known).verdict is verdict


def test_what_consuls_own_agent_shows_confirms_nothing() -> None:
    """Cut off from every server it goes on answering; only the servers, asked by themselves, and when they were asked, count."""
    shown = Catalog(NOW, 1, (holds("a", 5),))
    alone = facts(master(), sentinels("", "", ""), catalog=shown, confirmation=None)
    before = settled(alone, confirmed=NOW - POLICY.ttl - 0.1, held=Claim(5, 0, "a"))
    assert outcome(decide(alone, before, POLICY)[0]) == (Verdict.NONE, Reason.LEASE_OVER)
    decision, memory = decide(replace(alone, confirmation=replace(shown, at=NOW - 4)), before, POLICY)
    assert (outcome(decision), memory.confirmed) == ((Verdict.MASTER, Reason.CONFIRMED), NOW - 4)


@pytest.mark.parametrize(
    "answer",
    [
        (),
        (holds("a", 5, passing=False),),
        (holds("a", 5, node_alive=False),),
        (holds("a", 4),),
        (holds("a", 5), holds("b", 6)),
    ],
)
def test_the_servers_confirm_this_very_claim_if_it_passes_and_is_the_newest(answer: tuple[Entry, ...]) -> None:
    """An answer without it, with an older one, or with a newer one beside it is no confirmation."""
    shown = (holds("a", 5), holds("b", 4, passing=False))
    known = facts(master(), sentinels("", "", ""), *shown, confirmation=Catalog(NOW, 1, answer))
    assert judge(known, confirmed=NOW - 11).reason is Reason.LEASE_OVER
    assert decide(known, settled(known, confirmed=NOW - 9), POLICY)[1].confirmed == NOW - 9


def test_sentinel_alone_confirms_as_well() -> None:
    """Consul's servers are away, a majority of Sentinels still names the node."""
    known = facts(master(), sentinels("a", "a", ""), catalog=Catalog(NOW - 50, 1, (holds("a", 5),)))
    decision, memory = decide(known, settled(known), POLICY)
    assert (decision.verdict, memory.confirmed) == (Verdict.MASTER, NOW)


def test_a_new_claim_needs_consuls_word_of_now() -> None:
    """What Consul showed before it went out of reach may hide a newer claim."""
    known = facts(master(), sentinels("a", "a", "a"), catalog=Catalog(NOW - 50, 1, (holds("b", 4),)))
    assert outcome(judge(known)) == (Verdict.KEEP, Reason.NO_CATALOG)


def test_one_sentinel_with_newer_news_silences_nobody() -> None:
    """It may be forged, or cut off with a failover of its own: a majority's word stands, and so does a claim that Consul confirms."""
    ahead = sentinel("s3", "b", 999_999)
    decision = judge(facts(master(), (*sentinels("a", "a"), ahead), holds("a", 5)))
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.NAMED), Claim(5, 0, "a"))
    alone = judge(facts(master(), (*sentinels("", ""), ahead), holds("a", 5)))
    assert outcome(alone) == (Verdict.MASTER, Reason.CONFIRMED)


@pytest.mark.parametrize("heard", [sentinels("b", "b", "", epoch=6), sentinels("b", "b", "a", epoch=5)])
def test_a_master_that_a_majority_has_replaced_gives_way_for_a_moment_and_then_withdraws(
    heard: tuple[Sentinel, ...],
) -> None:
    """So that the new claim evicts the old one in one step; where it does not come, DNS names nobody rather than this node."""
    outvoted = facts(master(), heard, holds("a", 5))
    first, memory = decide(outvoted, settled(outvoted), POLICY)
    assert (outcome(first), first.until) == ((Verdict.KEEP, Reason.GIVING_WAY), NOW + GIVING_WAY)
    later = replace(outvoted, now=NOW + GIVING_WAY - 0.01)
    assert decide(later, memory, POLICY)[0].until == first.until, "one moment, not one after the other"
    end, memory = decide(replace(later, now=NOW + GIVING_WAY), memory, POLICY)
    assert outcome(end) == (Verdict.NONE, Reason.OUTVOTED)
    assert memory.outvoted == float("inf")


def test_a_majority_that_has_moved_on_need_not_agree() -> None:
    """Two Sentinels with newer epochs name two other nodes: none of them stands by this one."""
    split = (sentinel("s1", "b", 6), sentinel("s2", "c", 7), sentinel("s3", "a", 5))
    assert judge(facts(master(), split, holds("a", 5))).reason is Reason.GIVING_WAY


# Rule 7: without any Sentinel the incumbent wins


def test_without_sentinel_the_only_master_is_published_and_its_lease_has_begun() -> None:
    """Nobody else claims; Consul's servers have not shown the claim passing yet."""
    pending = facts(master(), (), PENDING)
    then, memory = decide(pending, settled(pending), OFF)
    assert (outcome(then), then.claim) == ((Verdict.MASTER, Reason.INCUMBENT), Claim(NO_EPOCH, 0, "a"))
    shown = facts(master(), (), replace(PENDING, passing=True), confirmation=Catalog(NOW - 0.5, 1, (PENDING,)))
    assert decide(shown, memory, OFF)[0].verdict is Verdict.MASTER


def test_without_sentinel_a_second_master_is_refused() -> None:
    """Loudly, and the incumbent is asked whether it follows the newcomer by now."""
    decision = judge(facts(master(), (), holds("b", NO_EPOCH)), OFF)
    assert (outcome(decision), decision.ask) == ((Verdict.NONE, Reason.REFUSED), WHERE["b"])


@pytest.mark.parametrize("gone", [{"passing": False}, {"node_alive": False}])
def test_without_sentinel_the_newcomer_is_published_once_the_incumbents_claim_is_gone(gone: dict[str, bool]) -> None:
    """Withdrawn, or its host dead."""
    assert judge(facts(master(), (), PENDING, holds("b", NO_EPOCH, created=9, **gone)), OFF).verdict is Verdict.MASTER


def test_without_sentinel_a_newcomer_is_published_once_the_incumbent_follows_it() -> None:
    """A failover by hand: the new claim has a turn more, and evicts the old one."""
    decision = judge(facts(master(), (), holds("b", NO_EPOCH), peer=following()), OFF)
    assert outcome(decision) == (Verdict.MASTER, Reason.FOLLOWED)
    assert (decision.claim, evicted(decision)) == (Claim(NO_EPOCH, 1, "a"), {"host-b"})


def test_of_two_equal_incumbents_the_one_that_came_first_stays() -> None:
    """Both saw an empty catalog; Consul's order decides, the same for both."""
    first, second = holds("a", NO_EPOCH, created=1), holds("b", NO_EPOCH, created=2)
    assert judge(facts(master(), (), first, second), OFF).verdict is Verdict.MASTER
    b = seen_by("b", facts(master("b"), (), first, second))
    assert outcome(judge(b, OFF)) == (Verdict.NONE, Reason.REFUSED)


def test_where_sentinel_may_still_be_found_nothing_is_decided() -> None:
    """With mode auto, no hello yet is no proof that there is no Sentinel."""
    known = facts(master(), (), searching=True)
    assert outcome(judge(known)) == (Verdict.KEEP, Reason.SEARCHING)
    assert judge(replace(known, searching=False)).verdict is Verdict.PENDING


def test_a_live_claim_with_an_epoch_means_that_sentinel_runs() -> None:
    """Hearing no Sentinel is then no licence to do without."""
    assert judge(facts(master(), (), holds("b", 5))).verdict is Verdict.NONE


def test_a_dead_hosts_claim_with_an_epoch_does_not() -> None:
    """Only what lives counts: a group without Sentinel would never publish a master again."""
    for dead in (holds("b", 5, passing=False, node_alive=False), holds("b", 5, node_alive=False)):
        first, memory = decide(facts(master(), (), dead), NOTHING, POLICY)
        assert (outcome(first), first.claim) == ((Verdict.PENDING, Reason.FIRST), Claim(NO_EPOCH, 0, "a"))
        own = replace(PENDING, group=first.group)
        assert decide(facts(master(), (), dead, own), memory, POLICY)[0].reason is Reason.INCUMBENT


def test_that_there_once_were_sentinels_is_remembered() -> None:
    """A stale master that starts before the Sentinels do would take writes, and lose them."""
    for known, remembered in (
        (facts(master(), ()), Memory(had_sentinel=True)),
        (facts(master(), (), holds("a", 5, passing=False)), NOTHING),
    ):
        decision, memory = decide(known, remembered, POLICY)
        assert (decision.verdict, memory.had_sentinel) == (Verdict.NONE, True)


def test_mode_required_never_does_without_sentinel() -> None:
    """However long none was heard of."""
    assert judge(facts(master(), ()), Policy(mode=SentinelMode.REQUIRED)).verdict is Verdict.NONE


# Rule 8: handover by the FAILOVER command


def test_a_master_whose_named_master_follows_it_is_published() -> None:
    """Sentinel names the old one for 25 s more; the old one itself says that it is a replica now."""
    decision = judge(facts(master(), sentinels("b", "b", "b"), holds("b", 5), peer=following()))
    assert outcome(decision) == (Verdict.MASTER, Reason.HANDED_OVER)
    assert (decision.claim, decision.evict) == (Claim(5, 1, "a"), (holds("b", 5),))


def test_a_peer_behind_nat_is_known_by_the_replication_id() -> None:
    """It may follow an address that the node does not know as its own."""
    peer = following(follows=Address("nat", 1), replication_id="repl-a")
    assert judge(facts(master(), sentinels("b", "b", "b"), peer=peer)).verdict is Verdict.MASTER


@pytest.mark.parametrize(
    "peer",
    [
        None,
        Peer(NOW, WHERE["b"], Role.MASTER, None, "repl-b"),
        Peer(NOW, WHERE["b"], Role.REPLICA, WHERE["c"], "repl-c"),
        Peer(NOW, WHERE["c"], Role.REPLICA, WHERE["a"], "repl-a"),
        Peer(NOW - PEER_LIFE - 0.1, WHERE["b"], Role.REPLICA, WHERE["a"], "repl-a"),
    ],
)
def test_a_node_made_master_by_hand_is_not_published(peer: Peer | None) -> None:
    """``REPLICAOF NO ONE`` on a replica: the named master does not follow it, so it is asked, and nothing shown."""
    decision = judge(facts(master(), sentinels("b", "b", "b"), holds("b", 5), peer=peer))
    assert (outcome(decision), decision.ask) == ((Verdict.NONE, Reason.UNBACKED), WHERE["b"])


def test_a_handover_stands_after_the_peer_was_asked() -> None:
    """The turn that is held already is kept rather than counted up, so nothing is written again."""
    for asked in (following(), None):
        decision = judge(facts(master(), sentinels("b", "b", "b"), holds("a", 5, 1), peer=asked))
        assert (decision.verdict, decision.claim) == (Verdict.MASTER, Claim(5, 1, "a"))


def test_a_handover_that_was_begun_gives_way_to_a_newer_epoch() -> None:
    """It was recorded before a failover that has happened since."""
    begun, newer = holds("a", 5, 1, passing=False), holds("c", 6)
    known = facts(master(), sentinels("b", "b", "b"), begun, newer, peer=following())
    assert outcome(judge(known)) == (Verdict.NONE, Reason.NEWER_CLAIM)


def test_a_claim_that_was_handed_over_is_not_taken_back_on_an_old_look() -> None:
    """The named master's last look is older than the newcomer's claim, so it is about the time before."""
    known = facts(master(at=NOW - 1), sentinels("a", "a", "a"), holds("a", 5), holds("b", 5, 1))
    assert outcome(judge(known)) == (Verdict.NONE, Reason.NEWER_CLAIM)


@pytest.mark.parametrize("node_at", [NOW - 1, NOW])
@pytest.mark.parametrize("peer_at", [NOW - 1, NOW])
@pytest.mark.parametrize("holding", [True, False])
def test_a_claim_that_was_handed_back_is_not_taken_again_on_old_looks(
    node_at: float, peer_at: float, holding: bool
) -> None:
    """``FAILOVER`` and back: the holder gives way, and claims again only if both nodes still say so afterwards."""
    own, rival = holds("a", 5, 1, passing=holding), holds("b", 5, 2)
    known = facts(master(at=node_at), sentinels("b", "b", "b"), own, rival, peer=following(at=peer_at))
    decision = judge(known)
    if holding or min(node_at, peer_at) < NOW:
        assert (outcome(decision), decision.ask) == ((Verdict.NONE, Reason.NEWER_CLAIM), WHERE["b"])
    else:
        assert (decision.verdict, decision.claim) == (Verdict.MASTER, Claim(5, 3, "a"))


def test_a_named_master_takes_its_claim_back_once_it_has_given_way() -> None:
    """The newcomer has the later turn, but the majority stands behind this node, and a new look says master."""
    decision = judge(facts(master(), sentinels("a", "a", "a"), holds("a", 5, passing=False), holds("b", 5, 1)))
    assert (decision.claim, decision.evict) == (Claim(5, 2, "a"), (holds("b", 5, 1),))


def test_a_claim_that_is_being_taken_back_is_not_given_up_for_its_own_first_step() -> None:
    """The first step changes the catalog, which is younger than the look at the node then."""
    catalog = Catalog(NOW, 1, (holds("a", 5, 2, passing=False), holds("b", 5, 1)))
    decision = judge(facts(master(), sentinels("a", "a", "a"), catalog=catalog))
    assert (decision.verdict, decision.claim) == (Verdict.MASTER, Claim(5, 2, "a"))


@pytest.mark.parametrize("holding", [True, False])
def test_of_two_equal_claims_the_one_that_a_majority_knows_by_its_run_id_takes_a_turn_more_at_once(
    holding: bool,
) -> None:
    """A claim of equal epoch and turn is nobody's who is named: DNS must not be empty for it, nor name two."""
    own, rival = holds("a", 5, passing=holding), holds("b", 5)
    known = facts(master(at=NOW - 1), sentinels("a", "a", "a"), own, rival)
    decision = judge(known)
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.NAMED), Claim(5, 1, "a"))
    assert evicted(decision) == {"host-b"}
    by_address_only = replace(known, node=master(at=NOW - 1, run_id="a2"))
    assert outcome(judge(by_address_only)) == (Verdict.NONE, Reason.NEWER_CLAIM)
    other = seen_by("b", replace(known, node=master("b")))
    assert judge(other).verdict in (Verdict.NONE, Verdict.KEEP)


# K18: the Sentinels count anew


def test_a_settled_majoritys_lower_epoch_is_the_new_count() -> None:
    """All Sentinels were wiped: the owner stays, and its claim is rewritten only once that has been so for 10 s."""
    known = facts(master(), sentinels("a", "a", "a", epoch=0), holds("a", 5))
    before = judge(known, recount_since=NOW - 9.9)
    assert (outcome(before), before.claim) == ((Verdict.MASTER, Reason.NAMED), Claim(5, 0, "a"))
    decision, memory = decide(known, settled(known, recount_since=NOW - 10), POLICY)
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.NAMED), Claim(0, 0, "a"))
    assert memory.held == Claim(0, 0, "a")


def test_wiped_sentinels_with_new_ids_begin_a_new_settling() -> None:
    """Their lists are new, however the same nodes are in them."""
    known = facts(master(), sentinels("a", "a", "a", epoch=0), holds("a", 5))
    old = settled(known)
    wiped = tuple(replace(s, id=f"new-{s.id}", peers={}) for s in known.sentinels)
    memory = decide(replace(known, sentinels=wiped), old, POLICY)[1]
    assert memory.roster_since == NOW


def test_one_look_at_a_lower_epoch_is_not_a_settled_majority() -> None:
    """One Sentinel is away, another has just been started from an old configuration; the third is where it was."""
    heard = (sentinel("s1", "a", 6), sentinel("s2", "a", 4), sentinel("s3", error="no answer", master=None))
    known = facts(master(), heard, holds("a", 6), holds("b", 5, passing=False))
    before = facts(master(), sentinels("a", "a", "a", epoch=6), holds("a", 6), holds("b", 5, passing=False))
    memory = decide(before, settled(before), POLICY)[1]
    assert decide(known, memory, POLICY)[0].claim == Claim(6, 0, "a")


def test_a_settled_majority_that_names_another_node_at_a_lower_epoch_is_obeyed() -> None:
    """All Sentinels were wiped, and one of them promoted another node since: the old count protects nobody for ever."""
    known = facts(master(), sentinels("b", "b", "b", epoch=1), holds("a", 5))
    before = judge(known, recount_since=NOW - 9.9, confirmed=NOW)
    assert outcome(before) == (Verdict.MASTER, Reason.CONFIRMED)
    assert judge(known, recount_since=NOW - 10, confirmed=NOW).reason is Reason.GIVING_WAY
    assert outcome(judge(known, recount_since=NOW - 11, outvoted=NOW - 1)) == (Verdict.NONE, Reason.OUTVOTED)


def test_only_the_node_that_a_majority_names_finds_a_claim_false() -> None:
    """Whom Consul alone confirms yields to a newer claim, however long it stands."""
    poison, seen = holds("b", 99), {("host-b", "redis-6379"): (Claim(99, 0, "b"), NOW - 60)}
    known = facts(master(), sentinels("", "", ""), holds("a", 5), poison, peer=Peer(NOW, WHERE["b"], None))
    assert outcome(judge(known, seen=seen, confirmed=NOW)) == (Verdict.NONE, Reason.NEWER_CLAIM)
    named = judge(replace(known, sentinels=sentinels("a", "a", "a")), seen=seen)
    assert (outcome(named), named.evict) == ((Verdict.MASTER, Reason.NAMED), (poison,))


def test_a_node_that_all_name_and_hold_for_down_is_published_once_no_election_can_be_under_way() -> None:
    """The Sentinels cannot log in to it, as after a change of its password, and it has just started again."""
    held = tuple(replace(s, down=True) for s in sentinels("a", "a", "a"))
    known = facts(master("a"), held)
    decision, memory = decide(known, settled(known), POLICY)
    assert (outcome(decision), memory.held_down_since) == ((Verdict.NONE, Reason.FAILING_OVER), NOW)
    later = replace(
        known, now=NOW + 5.1, node=master(at=NOW + 5), sentinels=tuple(replace(s, at=NOW + 5) for s in held)
    )
    decision = decide(later, memory, POLICY)[0]
    assert outcome(decision) == (Verdict.MASTER, Reason.NAMED)
    assert "can they log in to it (auth-pass)?" in decision.sentence


@pytest.mark.parametrize(
    "strange",
    [{"promoting": ""}, {"promoting": "b"}, {"master": WHERE["b"]}, {"error": "no answer", "master": None}],
    ids=["one begins a failover", "one promotes", "one names another", "one is not heard"],
)
def test_a_node_that_is_held_for_down_waits_as_long_as_anybody_may_replace_it(strange: dict[str, Any]) -> None:
    """Only the word of every single Sentinel says that none of them is about to."""
    one, *others = (replace(s, down=True) for s in sentinels("a", "a", "a"))
    known = facts(master("a"), (replace(one, **strange), *others))
    decision, memory = decide(known, settled(known, held_down_since=NOW - 60), POLICY)
    assert decision.verdict is Verdict.NONE
    assert memory.held_down_since == inf


def test_a_search_that_is_refused_is_not_the_absence_of_sentinels() -> None:
    """The login may not hear hellos: nothing is published as if there were no Sentinel, and it is said."""
    known = facts(master(), (), searching=True, unheard="Redis refuses to let this login hear Sentinels' hellos")
    decision = judge(known, had_sentinel=False)
    assert outcome(decision) == (Verdict.KEEP, Reason.SEARCHING)
    assert "whether there is a Sentinel cannot be known" in decision.sentence


def test_logins_that_redis_refuses_meanwhile_may_be_the_sentinels() -> None:
    """Who cannot log in cannot say hello. Who was published without Sentinel before goes on."""
    known = facts(master(), (), searching=True, refused=9)
    decision = judge(known, had_sentinel=False)
    assert outcome(decision) == (Verdict.KEEP, Reason.SEARCHING)
    assert "has refused 9 logins meanwhile" in decision.sentence
    going_on = facts(master(), (), holds("a", NO_EPOCH), searching=True, refused=9)
    assert outcome(judge(going_on, had_sentinel=False)) == (Verdict.MASTER, Reason.INCUMBENT)


def test_a_lease_ends_though_consul_was_not_reached_since_a_reload() -> None:
    """The agent has just read its configuration anew, cut off from everything: what it held is still nobody's for longer."""
    known = replace(facts(master(), sentinels("", "", "")), catalog=None, confirmation=None)
    held = Claim(5, 0, "a")
    assert outcome(judge(known, held=held, confirmed=NOW - 9)) == (Verdict.KEEP, Reason.NO_CATALOG)
    assert outcome(judge(known, held=held, confirmed=NOW - 11)) == (Verdict.NONE, Reason.LEASE_OVER)
    assert outcome(judge(known, confirmed=NOW - 11)) == (Verdict.KEEP, Reason.NO_CATALOG), "a start knows of no lease"
