"""The rules, first as stories of one fleet, then as properties of every combination of facts.

The fleet: nodes ``a``, ``b`` and ``c``, each with its Redis at 10.0.0.N:6379, run id equal to its name and Consul node
``host-NAME``; Sentinels ``s1`` to ``s3``. The clock stands at 100 s. Decisions are made by ``a`` unless said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consul_redis_agent.decide.claim import (
    EARLY_TERM,
    MARKER,
    MASTER_NAME,
    NO_EPOCH,
    PUT_DOWN,
    TOMBSTONES,
    Claim,
    Early,
)
from consul_redis_agent.decide.facts import (
    Address,
    Catalog,
    Entry,
    Facts,
    Memory,
    Node,
    Peer,
    Role,
    Selection,
    Sentinel,
    Silence,
)
from consul_redis_agent.decide.rules import (
    GIVING_WAY,
    LEADER_SILENCE,
    MISSES,
    PATIENCE,
    PEER_LIFE,
    SENTINEL_LIFE,
    Decision,
    Policy,
    Reason,
    SentinelMode,
    Verdict,
    decide,
    foreign,
    group,
    majority,
    reached,
    without_address,
)

NOW = 100.0
POLICY = Policy()
OFF = Policy(mode=SentinelMode.OFF)
BOOT = "this-start-of-the-machine"
WHERE = {name: Address(f"10.0.0.{i}", 6379) for i, name in enumerate("abc", 1)}


def master(name: str = "a", **changes: Any) -> Node:
    """The node says that it is a master."""
    return replace(Node(NOW, name, Role.MASTER, replication_id=f"repl-{name}"), **changes)


def replica(of: str = "b", **changes: Any) -> Node:
    """The node says that it is a healthy replica."""
    return replace(Node(NOW, "a", Role.REPLICA, link_up=True, follows=WHERE[of]), **changes)


def sentinel(id_: str, names: str = "a", epoch: int = 5, **changes: Any) -> Sentinel:
    """A Sentinel that knows all nodes and names one of them as the master."""
    run_ids = {address: name for name, address in WHERE.items()}
    fact = Sentinel(NOW, id_, Address(id_, 26379), master=WHERE[names], epoch=epoch, run_ids=run_ids)
    return replace(fact, **changes)


def sentinels(*names: str, epoch: int = 5) -> tuple[Sentinel, ...]:
    """One Sentinel for each name that is given; an empty one is out of reach."""
    return tuple(
        sentinel(f"s{i}", name, epoch) if name else sentinel(f"s{i}", error="no answer", master=None)
        for i, name in enumerate(names, 1)
    )


def entry(name: str, claim: Claim | None = None, *, passing: bool = True, **changes: Any) -> Entry:
    """This tool's entry for a node."""
    meta = {MARKER: "1", MASTER_NAME: "mymaster"} | (claim.meta() if claim else {})
    made = Entry(f"host-{name}", "redis-6379", "redis", *WHERE[name], ("master",), meta, {}, passing)
    return replace(made, **changes)


def holds(name: str, epoch: int, turn: int = 0, **changes: Any) -> Entry:
    """The entry of a node that holds a claim."""
    return entry(name, Claim(epoch, turn, name), **changes)


def facts(node: Node | Silence | None, heard: tuple[Sentinel, ...], *entries: Entry, **changes: Any) -> Facts:
    """What the agent of ``a`` knows."""
    made = Facts(
        now=NOW,
        node=node,
        me=frozenset({WHERE["a"]}),
        sentinels=heard,
        known=len(heard),
        catalog=Catalog(NOW - 0.5, 1, entries),
        own=("host-a", "redis-6379"),
        master_name="mymaster",
        boot=BOOT,
    )
    made = replace(made, **changes)
    # What Consul shows is what its servers confirm, unless said.
    return made if "confirmation" in changes else replace(made, confirmation=made.catalog)


def outcome(decision: Decision) -> tuple[Verdict, Reason]:
    """What a story ends with."""
    return decision.verdict, decision.reason


# Rule 1: only while INFO says so, it is not loading, and it answers


def test_a_master_that_sentinel_names_is_published() -> None:
    """The plain case: INFO and all Sentinels agree, and the claim carries Sentinel's epoch and the node's run id."""
    decision = decide(facts(master(), sentinels("a", "a", "a")), POLICY)
    assert outcome(decision) == (Verdict.MASTER, Reason.NAMED)
    assert (decision.claim, decision.evict) == (Claim(5, 0, "a"), ())


def test_a_healthy_replica_is_published_as_such() -> None:
    """A replica carries no claim."""
    decision = decide(facts(replica(), sentinels("b", "b", "b")), POLICY)
    assert (outcome(decision), decision.claim) == ((Verdict.REPLICA, Reason.REPLICATES), None)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (replica(link_up=False), Reason.LINK_DOWN),
        (replica(lag=10.1), Reason.LAGGING),
        (replica(loading=True), Reason.LOADING),
    ],
)
def test_a_replica_that_is_not_healthy_is_not_published(node: Node, reason: Reason) -> None:
    """Link, lag and loading gate it."""
    assert outcome(decide(facts(node, sentinels("b", "b", "b")), POLICY)) == (Verdict.NONE, reason)


def test_a_master_that_loads_is_not_published() -> None:
    """It says ``role:master``, and every Sentinel names it, but it answers nobody yet."""
    decision = decide(facts(master(loading=True), sentinels("a", "a", "a"), holds("a", 5)), POLICY)
    assert outcome(decision) == (Verdict.NONE, Reason.LOADING)


def test_one_lost_look_changes_nothing() -> None:
    """Sentinel closes every connection when it reconfigures a node, so one lost look is normal."""
    decision = decide(facts(Silence(NOW, "no answer", MISSES - 1), sentinels("a", "a", "a"), holds("a", 5)), POLICY)
    assert outcome(decision) == (Verdict.KEEP, Reason.MISSED)


@pytest.mark.parametrize("silence", [Silence(NOW, "no answer", MISSES), Silence(NOW, "refused", 1, gone=True)])
def test_a_silent_node_is_withdrawn(silence: Silence) -> None:
    """Two lost looks, or one where nothing listens any more, end it, whatever the Sentinels say."""
    decision = decide(facts(silence, sentinels("a", "a", "a"), holds("a", 5)), POLICY)
    assert outcome(decision) == (Verdict.NONE, Reason.SILENT)


def test_an_old_answer_is_a_lost_look() -> None:
    """What the node said before this process was stopped is not what it says now."""
    decision = decide(facts(master(at=NOW - POLICY.node_life - 0.1), sentinels("a", "a", "a")), POLICY)
    assert outcome(decision) == (Verdict.KEEP, Reason.MISSED)


def test_nothing_is_decided_before_the_first_look() -> None:
    """An entry that an earlier run left is neither refreshed nor taken away."""
    assert outcome(decide(facts(None, (), holds("a", 5)), POLICY)) == (Verdict.KEEP, Reason.UNSEEN)


def test_no_claim_is_made_before_the_others_are_seen() -> None:
    """Without the catalog a newer claim could be overlooked."""
    decision = decide(facts(master(), sentinels("a", "a", "a"), catalog=None), POLICY)
    assert outcome(decision) == (Verdict.KEEP, Reason.NO_CATALOG)


def test_without_an_address_nothing_is_published() -> None:
    """An entry that leads nowhere is worse than none, and the reason says what to set."""
    shown = decide(facts(master(), sentinels("a", "a", "a")), POLICY)
    assert outcome(without_address(shown)) == (Verdict.NONE, Reason.NO_ADDRESS)
    kept = decide(facts(None, ()), POLICY)
    assert without_address(kept) is kept


# Rule 2: only while Sentinel stands behind it


def test_one_sentinel_of_three_is_no_authority() -> None:
    """A master that was cut off with its own Sentinel is named by it for as long as the cut lasts."""
    decision = decide(facts(master(), sentinels("a", "", "")), POLICY)
    assert outcome(decision) == (Verdict.NONE, Reason.UNBACKED)


def test_two_sentinels_of_three_suffice() -> None:
    """One that is down is no reason to stay unpublished."""
    assert decide(facts(master(), sentinels("a", "a", "")), POLICY).verdict is Verdict.MASTER


def test_the_majority_is_one_of_all_known_sentinels() -> None:
    """Those out of reach count, also when only those in reach are listed."""
    assert decide(facts(master(), sentinels("a", "a"), known=4), POLICY).verdict is Verdict.NONE
    assert [majority(n) for n in (0, 1, 2, 3, 4, 5)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    "dissent",
    [
        {"tilt": True},
        {"error": "no answer"},
        {"at": NOW - SENTINEL_LIFE - 0.1},
    ],
)
def test_a_sentinel_that_has_no_vote_is_not_counted(dissent: dict[str, Any]) -> None:
    """In TILT, out of reach, or not heard of for too long."""
    heard = (sentinel("s1"), sentinel("s2", **dissent), sentinel("s3", **dissent))
    assert decide(facts(master(), heard), POLICY).verdict is Verdict.NONE


def test_a_sentinel_that_is_behind_the_majority_has_no_vote() -> None:
    """The newest epoch that a majority has reached is what counts: one that is behind it has not heard the news."""
    behind = (sentinel("s1", "a", 6), sentinel("s2", "b", 6), sentinel("s3", "a", 5))
    assert decide(facts(master(), behind), POLICY).verdict is Verdict.NONE
    assert [reached(epochs, 2) for epochs in ((6, 6, 5), (6, 5, 5), (9, 5), (5,), ())] == [6, 5, 5, NO_EPOCH, NO_EPOCH]


def test_sentinels_of_the_old_epoch_do_not_hold_up_the_new_master() -> None:
    """While the news spreads, those that have not heard it have no vote; two that have are enough."""
    heard = (sentinel("s1", "a", 6), sentinel("s2", "a", 6), sentinel("s3", "b", 5))
    assert decide(facts(master(), heard), POLICY).claim == Claim(6, 0, "a")


def test_a_master_after_a_quick_restart_is_named_by_its_address() -> None:
    """Sentinel knows the new run id only up to 10 s later."""
    decision = decide(facts(master(run_id="a2"), sentinels("a", "a", "a"), holds("a", 5)), POLICY)
    assert (decision.verdict, decision.claim) == (Verdict.MASTER, Claim(5, 0, "a2"))


def test_a_master_behind_nat_is_named_by_its_run_id() -> None:
    """The address that Sentinel uses may be unknown to the node."""
    decision = decide(facts(master(), sentinels("a", "a", "a"), me=frozenset()), POLICY)
    assert decision.verdict is Verdict.MASTER


def selecting(name: str, epoch: int) -> Sentinel:
    """The elected leader of a failover under way: still of the old epoch, but it has chosen."""
    return replace(sentinel("s1", "b", 5), selection=Selection(epoch, name, NOW - 0.08), promoting=name)


def promoted(**changes: Any) -> Node:
    """The node turned master a moment ago, before the leader was asked last."""
    return master(**{"turned": NOW - 0.005} | changes)


def early(since: float = NOW, epoch: int = 6, name: str = "a", leader: str = "s1", boot: str = BOOT) -> Claim:
    """A claim on the leader's word alone."""
    return Claim(epoch, 0, name, Early(since, boot, leader))


UNHEARD = sentinels("b", "b", "b")[1:]
"""The two Sentinels that do not lead, and have heard of nothing yet."""


def test_a_promoted_node_is_published_before_the_sentinels_switch() -> None:
    """The elected leader has selected it at a newer epoch and it has turned master: the old claim goes down with it."""
    decision = decide(facts(promoted(), (selecting("a", 6), *UNHEARD), holds("b", 5)), POLICY)
    assert outcome(decision) == (Verdict.MASTER, Reason.SELECTED)
    assert decision.claim == early()
    assert decision.evict == (holds("b", 5),)


def test_a_node_that_was_not_seen_to_turn_is_not_published_early() -> None:
    """One voice could name an old master that has just returned, or one of long ago: a majority is waited for."""
    heard = (selecting("a", 6), *UNHEARD)
    for node in (master(), promoted(turned=NOW - 30)):
        assert decide(facts(node, heard, holds("b", 5)), POLICY).verdict is Verdict.NONE


def test_the_leader_is_asked_after_the_turn() -> None:
    """It may be gone since it selected the node: nothing is published, or withdrawn, until it has answered."""
    before = replace(selecting("a", 6), at=NOW - 0.01)
    decision = decide(facts(promoted(), (before, *UNHEARD), holds("b", 5)), POLICY)
    assert (outcome(decision), decision.leader) == ((Verdict.KEEP, Reason.ASKING_LEADER), "s1")
    stale = replace(selecting("a", 6), at=NOW - LEADER_SILENCE - 0.1)
    late = facts(promoted(turned=NOW - 3), (replace(stale, selection=Selection(6, "a", NOW - 3.1)), *UNHEARD))
    assert decide(late, POLICY).reason is Reason.ASKING_LEADER, "and lately"
    gone = replace(before, at=NOW, error="nothing listens there", gone=True)
    assert decide(facts(promoted(), (gone, *UNHEARD), holds("b", 5)), POLICY).verdict is Verdict.NONE


def test_nothing_is_published_early_where_the_operator_waits_for_a_majority() -> None:
    """sentinel.early = false: whoever sees the new master in DNS may switch the old host off."""
    known = facts(promoted(), (selecting("a", 6), *UNHEARD), holds("b", 5))
    assert decide(known, Policy(early=False)).verdict is Verdict.NONE
    followed = (sentinel("s1", "a", 6), sentinel("s2", "a", 6), sentinel("s3", "b", 5))
    assert decide(replace(known, sentinels=followed), Policy(early=False)).claim == Claim(6, 0, "a")


def publishing(since: float, *heard: Sentinel, **changes: Any) -> Facts:
    """The own early claim passes."""
    return facts(promoted(), (*heard, *UNHEARD), entry("a", early(since)), entry("b", passing=False), **changes)


@pytest.mark.parametrize("age", [0.0, 1.0, EARLY_TERM - 0.1])
def test_an_early_claim_stands_while_its_leader_says_so(age: float) -> None:
    """With the moment in it from which it counts, and until that decides again by itself."""
    decision = decide(publishing(NOW - age, selecting("a", 6)), POLICY)
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
    age, leader_ = FELL[case]
    fallen = decide(publishing(NOW - age, leader_), POLICY)
    assert outcome(fallen) == (Verdict.NONE, Reason.EARLY_OVER)
    later = facts(promoted(), (selecting("a", 6), *UNHEARD), memory=fallen.memory)
    assert decide(later, POLICY).verdict is Verdict.NONE
    silence = decide(replace(later, node=Silence(NOW, "no answer", MISSES)), POLICY)
    assert decide(replace(later, memory=silence.memory), POLICY).verdict is Verdict.NONE
    followed = (sentinel("s1", "a", 6), sentinel("s2", "a", 6), sentinel("s3", "b", 5))
    assert decide(replace(later, sentinels=followed), POLICY).claim == Claim(6, 0, "a")
    again = replace(later, sentinels=(selecting("a", 7), *UNHEARD))
    assert decide(again, POLICY).claim == early(NOW, 7)


def test_a_leader_may_be_silent_for_less_than_two_seconds() -> None:
    """One answer that is late is not a death: what counts is when it was last heard."""
    silent = sentinel("s1", error="no answer", master=None)
    known = publishing(NOW - 3, silent, memory=Memory(heard=NOW - LEADER_SILENCE + 0.1))
    decision = decide(known, POLICY)
    assert (decision.verdict, round(decision.until - NOW, 3)) == (Verdict.MASTER, 0.1)


def test_an_early_claim_of_an_earlier_run_keeps_its_term() -> None:
    """The agent was restarted: it looks for the leader first, and neither begins anew nor believes another boot's clock."""
    known = publishing(NOW - 3, replace(sentinel("s1", error="not looked at yet", master=None), looked=False))
    assert outcome(decide(replace(known, searching=True), POLICY)) == (Verdict.KEEP, Reason.SEARCHING)
    found = replace(known, sentinels=(selecting("a", 6), *UNHEARD))
    assert decide(found, POLICY).claim == early(NOW - 3)
    assert decide(replace(found, now=NOW + 2.1, node=promoted(at=NOW + 2)), POLICY).reason is Reason.EARLY_OVER
    assert decide(replace(found, boot="another start"), POLICY).reason is Reason.EARLY_OVER


def test_a_majority_settles_an_early_claim() -> None:
    """The same claim goes on, and says no more that it is early."""
    followed = (replace(sentinel("s1", "a", 6), promoting="a"), sentinel("s2", "a", 6), sentinel("s3", "b", 5))
    decision = decide(replace(publishing(NOW - 1), sentinels=followed, known=3), POLICY)
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.NAMED), Claim(6, 0, "a"))


def test_at_one_epoch_a_majoritys_claim_beats_an_early_one() -> None:
    """SENTINEL FAILOVER at two Sentinels promotes two nodes at one epoch."""
    rival = holds("c", 6)
    decision = decide(publishing(NOW, selecting("a", 6), catalog=Catalog(NOW, 1, (entry("a", early()), rival))), POLICY)
    assert outcome(decision) == (Verdict.NONE, Reason.NEWER_CLAIM)
    settled = facts(master(), sentinels("a", "a", "a", epoch=6), holds("a", 6), entry("c", early(name="c")))
    assert [e.node for e in decide(settled, POLICY).evict] == ["host-c"]


def test_an_early_claim_that_outlives_its_term_is_evicted_by_whom_a_majority_names() -> None:
    """Its agent was killed: what it left is newer by its epoch, and nobody's."""
    left = entry("b", early(name="b"))
    known = facts(master(), sentinels("a", "a", "a"), left, early_since={("host-b", "redis-6379"): NOW - EARLY_TERM})
    assert outcome(decide(known, POLICY)) == (Verdict.NONE, Reason.NEWER_CLAIM)
    later = replace(known, early_since={("host-b", "redis-6379"): NOW - EARLY_TERM - 0.01})
    decision = decide(later, POLICY)
    assert (decision.claim, decision.evict) == (Claim(5, 0, "a"), (left,))
    assert "the early claim of 10.0.0.2:6379 on host-b, which no majority has followed, is evicted" in decision.sentence


def test_an_evicted_early_claim_is_not_repeated() -> None:
    """A successor has spoken."""
    down = entry("a", early(NOW - 1), passing=False, tombstones=STONES)
    known = facts(promoted(), (selecting("a", 6), *UNHEARD), down, memory=Memory(NOW, early(NOW - 1), NOW))
    assert outcome(decide(known, POLICY)) == (Verdict.NONE, Reason.NEWER_CLAIM)


def test_without_a_majority_consul_does_not_carry_an_early_claim() -> None:
    """Rule 6 is for claims that a majority has backed."""
    lost = (sentinel("s1", error="no answer", master=None), *sentinels("", "", "")[1:])
    known = facts(promoted(), lost, entry("a", early(NOW - 3)))
    assert outcome(decide(known, POLICY)) == (Verdict.NONE, Reason.EARLY_OVER)


def test_a_role_from_before_the_selection_is_none_of_a_promoted_node() -> None:
    """It was made a replica by hand, which closes no connection, then selected: that it said master is over."""
    known = facts(promoted(at=NOW - 0.2, turned=NOW - 0.3), (selecting("a", 6), *UNHEARD), holds("b", 5))
    assert decide(known, POLICY).verdict is Verdict.NONE
    assert decide(replace(known, node=promoted(at=NOW - 0.05)), POLICY).reason is Reason.SELECTED


def test_a_node_that_is_selected_but_still_a_replica_waits() -> None:
    """A selection is an intention; only the node itself tells when it has happened."""
    heard = (selecting("a", 6), *UNHEARD)
    assert decide(facts(replica(), heard, holds("b", 5)), POLICY).verdict is Verdict.REPLICA


def test_the_selection_of_another_node_is_not_ours() -> None:
    """The run id says who was selected."""
    heard = (selecting("c", 6), *UNHEARD)
    assert decide(facts(promoted(), heard, holds("b", 5)), POLICY).verdict is Verdict.NONE


@pytest.mark.parametrize("epoch", [4, 5, 6])
def test_a_selection_that_is_not_newer_than_every_claim_is_void(epoch: int) -> None:
    """A failover that a later one has overtaken publishes nobody."""
    heard = (selecting("a", epoch), *UNHEARD)
    assert decide(facts(promoted(), heard, holds("c", 6)), POLICY).verdict is Verdict.NONE


def test_a_selection_has_to_be_newer_than_dead_claims_too() -> None:
    """A later failover has happened, even if its winner is gone: the majority will tell."""
    heard = (selecting("a", 6), *UNHEARD)
    assert decide(facts(promoted(), heard, holds("c", 6, node_alive=False)), POLICY).verdict is Verdict.NONE


def test_a_claim_of_an_epoch_is_later_than_those_of_hosts_that_are_away() -> None:
    """One that was handed over within this epoch may come back with its host, and must not look newer then."""
    decision = decide(facts(master(), sentinels("a", "a", "a"), holds("b", 5, 1, node_alive=False)), POLICY)
    assert decision.claim == Claim(5, 2, "a")


def test_a_selection_that_the_leader_has_not_repeated_is_void() -> None:
    """The leader may have died and another one be elected: its word counts as long as any Sentinel's."""
    leader = replace(selecting("a", 6), at=NOW - SENTINEL_LIFE - 0.1)
    assert decide(facts(promoted(), (leader, *UNHEARD)), POLICY).verdict is Verdict.NONE


# Rules 3 to 5: the newest epoch wins, in one step, and guards


def test_an_old_master_that_returns_is_not_published_while_the_newer_claim_lives() -> None:
    """It says ``role:master`` for 10 s; its own stale Sentinel may even name it."""
    decision = decide(facts(master(), sentinels("a", "", ""), holds("b", 6)), POLICY)
    assert decision.verdict is Verdict.NONE


def test_a_master_that_sees_a_newer_claim_withdraws_at_once() -> None:
    """Even while a majority of Sentinels has not heard of the failover yet."""
    decision = decide(facts(master(), sentinels("a", "a", "a"), holds("a", 5), holds("b", 6)), POLICY)
    assert outcome(decision) == (Verdict.NONE, Reason.NEWER_CLAIM)


def test_the_holder_of_the_newest_claim_names_an_older_one_that_came_back() -> None:
    """A host that rejoins with an old passing entry is put down again."""
    decision = decide(facts(master(), sentinels("a", "a", "a"), holds("a", 5), holds("b", 4), holds("c", 3)), POLICY)
    assert decision.verdict is Verdict.MASTER
    assert {e.node for e in decision.evict} == {"host-b", "host-c"}


def test_a_claim_on_a_dead_host_does_not_hold_up_the_new_master() -> None:
    """It is put down beforehand, so that it is not there when the host returns."""
    dead = holds("b", 5, node_alive=False)
    decision = decide(facts(master(), sentinels("a", "a", "a", epoch=6), dead), POLICY)
    assert (decision.verdict, decision.evict) == (Verdict.MASTER, (dead,))


def test_a_claim_in_maintenance_is_still_a_claim() -> None:
    """Maintenance hides the master from DNS on purpose; it does not make somebody else the master."""
    decision = decide(facts(master(), sentinels("a", "", ""), holds("b", 6, maintenance=True)), POLICY)
    assert decision.verdict is Verdict.NONE


def test_a_claim_that_was_put_down_is_no_claim() -> None:
    """The holder of a claim that another transaction has set critical cannot go on by itself."""
    decision = decide(facts(master(), sentinels("", "", ""), holds("a", 5, passing=False)), POLICY)
    assert outcome(decision) == (Verdict.NONE, Reason.UNBACKED)


def test_a_first_claim_is_known_by_its_run_id_before_the_consul_node_is_known() -> None:
    """A token without agent:read learns the node's name from the first entry: that entry is not taken for a rival's."""
    mine, other = holds("a", 5), holds("b", 4)
    decision = decide(facts(master(), sentinels("a", "a", "a"), mine, other, own=("", mine.id)), POLICY)
    assert outcome(decision) == (Verdict.MASTER, Reason.NAMED)
    assert decision.claim == Claim.read(mine.meta)
    assert decision.evict == (other,)


def test_a_claim_of_an_earlier_life_is_no_claim() -> None:
    """The node was restarted: what its last run id held does not carry over by itself."""
    decision = decide(facts(master(run_id="a2"), sentinels("", "", ""), holds("a", 5)), POLICY)
    assert decision.verdict is Verdict.NONE


# Rule 6: no Sentinel in reach is not a failover


def test_the_holder_keeps_its_claim_while_consul_confirms_it() -> None:
    """All Sentinels are away; nobody else claims."""
    decision = decide(facts(master(), sentinels("", "", ""), holds("a", 5)), POLICY)
    assert outcome(decision) == (Verdict.MASTER, Reason.CONFIRMED)
    assert (decision.claim, decision.memory.confirmed) == (Claim(5, 0, "a"), NOW - 0.5)


@pytest.mark.parametrize("entries", [(), (holds("a", 5, passing=False),)], ids=["wiped", "seal broken"])
def test_a_claim_that_the_own_consul_agent_has_lost_is_kept_for_its_lease(entries: tuple[Entry, ...]) -> None:
    """It has started again while most Sentinels were away: the master did not change by that."""
    lost = facts(master(), sentinels("a", "", ""), *entries)
    held = Claim(5, 0, "a")
    decision = decide(replace(lost, memory=Memory(NOW - 9, held)), POLICY)
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.CONFIRMED), Claim(5, 0, "a"))
    assert decision.memory.confirmed == NOW - 9, "nothing has confirmed it anew"
    assert decide(replace(lost, memory=Memory(NOW - 11, held)), POLICY).verdict is Verdict.NONE
    assert decide(replace(lost, memory=Memory(NOW - 9, Claim(5, 0, "a1"))), POLICY).verdict is Verdict.NONE


@pytest.mark.parametrize("mark", [{"check": {"Output": PUT_DOWN}}, {"tombstones": ("redis-6379:put-down-1",)}])
def test_a_claim_that_a_successor_has_put_down_is_not_kept(mark: dict[str, Any]) -> None:
    """Also once the successor's own claim has gone again."""
    down = holds("a", 5, passing=False, **mark)
    known = facts(master(), sentinels("a", "", ""), down, memory=Memory(NOW - 1, Claim(5, 0, "a")))
    assert decide(known, POLICY).verdict is Verdict.NONE


def test_a_claim_that_was_lost_gives_way_to_a_newer_one() -> None:
    """As one that passes does."""
    known = facts(master(), sentinels("a", "", ""), holds("b", 6), memory=Memory(NOW - 1, Claim(5, 0, "a")))
    assert outcome(decide(known, POLICY)) == (Verdict.NONE, Reason.NEWER_CLAIM)


@pytest.mark.parametrize(("age", "verdict"), [(POLICY.ttl, Verdict.MASTER), (POLICY.ttl + 0.1, Verdict.NONE)])
def test_what_nobody_confirms_for_the_ttl_is_withdrawn(age: float, verdict: Verdict) -> None:
    """Neither Sentinel nor Consul's servers: nothing stale may be synced when the network heals."""
    known = facts(master(), sentinels("", "", ""), catalog=Catalog(NOW - age, 1, (holds("a", 5),)))
    assert decide(known, POLICY).verdict is verdict


def test_what_consuls_own_agent_shows_confirms_nothing() -> None:
    """Cut off from every server it goes on answering; only the servers, asked by themselves, and when they were asked, count."""
    shown, claim = Catalog(NOW, 1, (holds("a", 5),)), Claim(5, 0, "a")
    memory = Memory(NOW - POLICY.ttl - 0.1, claim)
    alone = facts(master(), sentinels("", "", ""), catalog=shown, confirmation=None, memory=memory)
    assert outcome(decide(alone, POLICY)) == (Verdict.NONE, Reason.LEASE_OVER)
    asked = replace(shown, at=NOW - 4)
    decision = decide(replace(alone, confirmation=asked), POLICY)
    assert (outcome(decision), decision.memory.confirmed) == ((Verdict.MASTER, Reason.CONFIRMED), NOW - 4)


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
    known = facts(master(), sentinels("", "", ""), holds("a", 5), confirmation=Catalog(NOW, 1, answer))
    assert decide(replace(known, memory=Memory(NOW - 11)), POLICY).reason is Reason.LEASE_OVER
    assert decide(replace(known, memory=Memory(NOW - 9)), POLICY).memory.confirmed == NOW - 9


def test_sentinel_alone_confirms_as_well() -> None:
    """Consul's servers are away, a majority of Sentinels still names the node."""
    old = Catalog(NOW - 50, 1, (holds("a", 5),))
    decision = decide(facts(master(), sentinels("a", "a", ""), catalog=old), POLICY)
    assert (decision.verdict, decision.memory.confirmed) == (Verdict.MASTER, NOW)


def test_a_new_claim_needs_consuls_word_of_now() -> None:
    """What Consul showed before it went out of reach may hide a newer claim."""
    old = Catalog(NOW - 50, 1, (holds("b", 4),))
    decision = decide(facts(master(), sentinels("a", "a", "a"), catalog=old), POLICY)
    assert outcome(decision) == (Verdict.KEEP, Reason.NO_CATALOG)


def test_one_sentinel_with_newer_news_silences_nobody() -> None:
    """It may be forged, or cut off with a failover of its own: a majority's word stands, and so does a claim that Consul confirms."""
    ahead = sentinel("s3", "b", 999_999)
    decision = decide(facts(master(), (*sentinels("a", "a"), ahead), holds("a", 5)), POLICY)
    assert (outcome(decision), decision.claim) == ((Verdict.MASTER, Reason.NAMED), Claim(5, 0, "a"))
    alone = decide(facts(master(), (*sentinels("", ""), ahead), holds("a", 5)), POLICY)
    assert outcome(alone) == (Verdict.MASTER, Reason.CONFIRMED)


@pytest.mark.parametrize("heard", [sentinels("b", "b", "", epoch=6), sentinels("b", "b", "a", epoch=5)])
def test_a_master_that_a_majority_has_replaced_gives_way_for_a_moment_and_then_withdraws(
    heard: tuple[Sentinel, ...],
) -> None:
    """So that the new claim evicts the old one in one step; where it does not come, DNS names nobody rather than this node."""
    outvoted = facts(master(), heard, holds("a", 5))
    first = decide(outvoted, POLICY)
    assert (outcome(first), first.until) == ((Verdict.KEEP, Reason.GIVING_WAY), NOW + GIVING_WAY)
    later = replace(outvoted, now=NOW + GIVING_WAY - 0.01, memory=first.memory)
    assert decide(later, POLICY).until == first.until, "one moment, not one after the other"
    end = decide(replace(later, now=NOW + GIVING_WAY), POLICY)
    assert outcome(end) == (Verdict.NONE, Reason.OUTVOTED)
    assert end.memory.outvoted == float("inf")


def test_a_majority_that_has_moved_on_need_not_agree() -> None:
    """Two Sentinels with newer epochs name two other nodes: none of them stands by this one."""
    split = (sentinel("s1", "b", 6), sentinel("s2", "c", 7), sentinel("s3", "a", 5))
    assert decide(facts(master(), split, holds("a", 5)), POLICY).reason is Reason.GIVING_WAY


# Rule 7: without any Sentinel the incumbent wins


STANDS = holds("a", NO_EPOCH, passing=False, created=7)
"""The own claim without Sentinel, written down but not passing yet."""


def test_without_sentinel_the_first_master_writes_its_claim_down_and_is_then_published() -> None:
    """Nobody else claims, neither before nor after."""
    first = decide(facts(master(), ()), OFF)
    assert outcome(first) == (Verdict.STANDING, Reason.STANDING)
    then = decide(facts(master(), (), STANDS), OFF)
    assert outcome(then) == (Verdict.MASTER, Reason.INCUMBENT)
    assert first.claim == then.claim == Claim(NO_EPOCH, 0, "a")
    shown = facts(master(), (), replace(STANDS, passing=True), confirmation=Catalog(NOW - 0.5, 1, (STANDS,)))
    assert decide(replace(shown, memory=then.memory), OFF).verdict is Verdict.MASTER, "its lease has begun"


def test_of_two_that_begin_at_once_the_one_that_was_written_down_first_passes() -> None:
    """The later one gives it time to show, and no more than that: it may be one that a dead host left."""
    earlier, later = holds("b", NO_EPOCH, passing=False, created=6), holds("b", NO_EPOCH, passing=False, created=8)
    assert decide(facts(master(), (), STANDS, later, standing=NOW), OFF).verdict is Verdict.MASTER
    assert decide(facts(master(), (), STANDS, earlier, standing=NOW), OFF).verdict is Verdict.STANDING
    assert decide(facts(master(), (), STANDS, earlier, standing=NOW - PATIENCE), OFF).verdict is Verdict.MASTER


def test_without_sentinel_a_second_master_is_refused() -> None:
    """Loudly, and the incumbent is asked whether it follows the newcomer by now."""
    decision = decide(facts(master(), (), holds("b", NO_EPOCH)), OFF)
    assert (outcome(decision), decision.ask) == ((Verdict.NONE, Reason.REFUSED), WHERE["b"])


@pytest.mark.parametrize("gone", [{"passing": False}, {"node_alive": False}])
def test_without_sentinel_the_newcomer_is_published_once_the_incumbents_claim_is_gone(gone: dict[str, bool]) -> None:
    """Withdrawn, or its host dead."""
    assert decide(facts(master(), (), STANDS, holds("b", NO_EPOCH, created=9, **gone)), OFF).verdict is Verdict.MASTER


def test_without_sentinel_a_newcomer_is_published_once_the_incumbent_follows_it() -> None:
    """A failover by hand: the new claim has a turn more, and puts the old one down."""
    peer = Peer(NOW, WHERE["b"], Role.REPLICA, WHERE["a"], "x")
    decision = decide(facts(master(), (), holds("b", NO_EPOCH), peer=peer), OFF)
    assert outcome(decision) == (Verdict.MASTER, Reason.FOLLOWED)
    assert (decision.claim, len(decision.evict)) == (Claim(NO_EPOCH, 1, "a"), 1)


def test_of_two_equal_incumbents_the_one_that_came_first_stays() -> None:
    """Both saw an empty catalog; Consul's order decides, the same for both."""
    first, second = holds("a", NO_EPOCH, created=1), holds("b", NO_EPOCH, created=2)
    assert decide(facts(master(), (), first, second), OFF).verdict is Verdict.MASTER
    b = facts(master("b"), (), first, second, me=frozenset({WHERE["b"]}), own=("host-b", "redis-6379"))
    assert outcome(decide(b, OFF)) == (Verdict.NONE, Reason.REFUSED)


def test_where_sentinel_may_still_be_found_nothing_is_decided() -> None:
    """With mode auto, no hello yet is no proof that there is no Sentinel."""
    decision = decide(facts(master(), (), searching=True), POLICY)
    assert outcome(decision) == (Verdict.KEEP, Reason.SEARCHING)
    assert decide(facts(master(), (), searching=False), POLICY).verdict is Verdict.STANDING


def test_a_claim_with_an_epoch_means_that_sentinel_runs() -> None:
    """Hearing no Sentinel is then no licence to do without."""
    assert decide(facts(master(), (), holds("b", 5, passing=False)), POLICY).verdict is Verdict.NONE


def test_mode_required_never_does_without_sentinel() -> None:
    """However long none was heard of."""
    assert decide(facts(master(), ()), Policy(mode=SentinelMode.REQUIRED)).verdict is Verdict.NONE


# Rule 8: handover by the FAILOVER command


def test_a_master_whose_named_master_follows_it_is_published() -> None:
    """Sentinel names the old one for 25 s more; the old one itself says that it is a replica now."""
    peer = Peer(NOW, WHERE["b"], Role.REPLICA, WHERE["a"], "x")
    decision = decide(facts(master(), sentinels("b", "b", "b"), holds("b", 5), peer=peer), POLICY)
    assert outcome(decision) == (Verdict.MASTER, Reason.HANDED_OVER)
    assert (decision.claim, decision.evict) == (Claim(5, 1, "a"), (holds("b", 5),))


def test_a_peer_behind_nat_is_known_by_the_replication_id() -> None:
    """It may follow an address that the node does not know as its own."""
    peer = Peer(NOW, WHERE["b"], Role.REPLICA, Address("nat", 1), "repl-a")
    assert decide(facts(master(), sentinels("b", "b", "b"), peer=peer), POLICY).verdict is Verdict.MASTER


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
    decision = decide(facts(master(), sentinels("b", "b", "b"), holds("b", 5), peer=peer), POLICY)
    assert (outcome(decision), decision.ask) == ((Verdict.NONE, Reason.UNBACKED), WHERE["b"])


def test_a_handover_stands_after_the_peer_was_asked() -> None:
    """The turn that is held already is kept rather than counted up, so nothing is written again."""
    heard, peer = sentinels("b", "b", "b"), Peer(NOW, WHERE["b"], Role.REPLICA, WHERE["a"], "x")
    for asked in (peer, None):
        decision = decide(facts(master(), heard, holds("a", 5, 1), peer=asked), POLICY)
        assert (decision.verdict, decision.claim) == (Verdict.MASTER, Claim(5, 1, "a"))


def test_a_claim_that_was_handed_over_is_not_taken_back_on_an_old_look() -> None:
    """The named master's last look is older than the newcomer's claim, so it is about the time before."""
    known = facts(master(at=NOW - 1), sentinels("a", "a", "a"), holds("a", 5), holds("b", 5, 1))
    assert outcome(decide(known, POLICY)) == (Verdict.NONE, Reason.NEWER_CLAIM)


@pytest.mark.parametrize("node_at", [NOW - 1, NOW])
@pytest.mark.parametrize("peer_at", [NOW - 1, NOW])
@pytest.mark.parametrize("holding", [True, False])
def test_a_claim_that_was_handed_back_is_not_taken_again_on_old_looks(
    node_at: float, peer_at: float, holding: bool
) -> None:
    """``FAILOVER`` and back: the holder gives way, and claims again only if both nodes still say so afterwards."""
    node, peer = master(at=node_at), Peer(peer_at, WHERE["b"], Role.REPLICA, WHERE["a"], "x")
    known = facts(node, sentinels("b", "b", "b"), holds("a", 5, 1, passing=holding), holds("b", 5, 2), peer=peer)
    decision = decide(known, POLICY)
    if holding or min(node_at, peer_at) < NOW:
        assert (outcome(decision), decision.ask) == ((Verdict.NONE, Reason.NEWER_CLAIM), WHERE["b"])
    else:
        assert (decision.verdict, decision.claim) == (Verdict.MASTER, Claim(5, 3, "a"))


def test_a_named_master_takes_its_claim_back_once_it_has_given_way() -> None:
    """The newcomer has the later turn, but the majority stands behind this node, and a new look says master."""
    known = facts(master(), sentinels("a", "a", "a"), holds("a", 5, passing=False), holds("b", 5, 1))
    decision = decide(known, POLICY)
    assert (decision.claim, decision.evict) == (Claim(5, 2, "a"), (holds("b", 5, 1),))


def test_a_claim_that_is_being_taken_back_is_not_given_up_for_its_own_first_step() -> None:
    """The first step changes the catalog, which is younger than the look at the node then."""
    begun = holds("a", 5, 2, passing=False)
    catalog = Catalog(NOW, 1, (begun, holds("b", 5, 1)))
    known = facts(master(), sentinels("a", "a", "a"), catalog=catalog)
    decision = decide(known, POLICY)
    assert (decision.verdict, decision.claim) == (Verdict.MASTER, Claim(5, 2, "a"))


# Rule 9: never touch what is not ours


@pytest.mark.parametrize(
    "strange",
    [
        holds("b", 3, meta={}),
        holds("b", 3, meta=Claim(3, 0, "b").meta()),
        holds("b", 3, meta={MARKER: "1", MASTER_NAME: "other"} | Claim(3, 0, "b").meta()),
        holds("b", 9, meta={MARKER: "1", MASTER_NAME: "other"} | Claim(9, 0, "b").meta()),
    ],
)
def test_a_foreign_entry_is_reported_and_left_alone(strange: Entry) -> None:
    """Registered by hand, or of another group: neither evicted nor believed."""
    decision = decide(facts(master(), sentinels("a", "a", "a"), strange), POLICY)
    assert (decision.verdict, decision.evict) == (Verdict.MASTER, ())
    assert foreign((strange,), "mymaster") == (strange,)


def test_where_the_group_is_unknown_on_one_side_it_is_ours() -> None:
    """Without Sentinel there is no master name; the service name alone makes the group."""
    nameless = holds("b", 3, meta={MARKER: "1", MASTER_NAME: ""} | Claim(3, 0, "b").meta())
    assert group((nameless,), "mymaster") == (nameless,)
    assert group((holds("b", 3),), "") == (holds("b", 3),)


# Properties

times = st.sampled_from([NOW, NOW - 0.5, NOW - 3, NOW - 7, NOW - 50, NOW + 0.1])
epochs = st.integers(NO_EPOCH, 3)
names = st.sampled_from("abc")
addresses = st.sampled_from(list(WHERE.values()))
nodes = st.builds(
    Node,
    times,
    names,
    st.sampled_from(Role),
    loading=st.booleans(),
    link_up=st.booleans(),
    lag=st.sampled_from([0.0, 10.0, 11.0]),
    follows=st.none() | addresses,
    replication_id=st.sampled_from(["", "x"]),
    turned=times | st.just(float("-inf")),
)
silences = st.builds(Silence, times, st.just("no answer"), st.integers(1, 3), gone=st.booleans())
heard_sentinels = st.builds(
    Sentinel,
    times,
    st.sampled_from(["s1", "s2", "s3"]),
    st.just(Address("s", 26379)),
    error=st.sampled_from(["", "", "no answer"]),
    tilt=st.sampled_from([False, False, True]),
    master=st.none() | addresses,
    epoch=epochs,
    run_ids=st.dictionaries(addresses, names, max_size=3),
    selection=st.none() | st.builds(Selection, epochs, names, times | st.just(float("-inf"))),
    promoting=st.none() | names,
    gone=st.booleans(),
)
earlies = st.none() | st.builds(Early, times, st.sampled_from(["", BOOT]), st.sampled_from(["s1", "s2", "s9"]))
metas: st.SearchStrategy[Mapping[str, str]] = st.builds(
    lambda marker, name, claim: ({MARKER: "1"} if marker else {}) | name | (claim.meta() if claim else {}),
    st.sampled_from([True, True, False]),
    st.sampled_from([{}, {MASTER_NAME: "mymaster"}, {MASTER_NAME: "other"}]),
    st.none() | st.builds(Claim, epochs, st.integers(0, 2), names, earlies),
)
entries = st.builds(
    lambda name, meta, passing, alive, maintenance, created: entry(
        name, passing=passing, meta=meta, node_alive=alive, maintenance=maintenance, created=created
    ),
    names,
    metas,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)
catalogs = st.builds(
    Catalog, times, st.integers(1, 9), st.lists(entries, max_size=3, unique_by=lambda e: e.node).map(tuple)
)
all_facts = st.builds(
    Facts,
    now=st.just(NOW),
    node=st.none() | silences | nodes | nodes,
    me=st.frozensets(addresses, max_size=2),
    sentinels=st.lists(heard_sentinels, max_size=3, unique_by=lambda s: s.id).map(tuple),
    known=st.integers(0, 4),
    searching=st.booleans(),
    catalog=st.none() | catalogs | catalogs,
    own=st.just(("host-a", "redis-6379")),
    master_name=st.sampled_from(["", "mymaster"]),
    peer=st.none() | st.builds(Peer, times, addresses, st.sampled_from(Role), st.none() | addresses, st.just("x")),
    confirmation=st.none() | catalogs,
    boot=st.sampled_from(["", BOOT]),
    early_since=st.dictionaries(names.map(lambda name: (f"host-{name}", "redis-6379")), times),
    memory=st.builds(
        Memory,
        times | st.just(float("-inf")),
        st.none() | st.builds(Claim, st.integers(NO_EPOCH, 7), st.integers(0, 2), st.sampled_from("ab"), earlies),
        times | st.just(float("-inf")),
        st.integers(-1, 3),
        times | st.just(float("inf")),
    ),
)
policies = st.builds(Policy, mode=st.sampled_from(SentinelMode))
THOROUGH = settings(max_examples=200, deadline=None)


@THOROUGH
@given(all_facts, policies)
def test_every_combination_of_facts_has_one_decision(known: Facts, policy: Policy) -> None:
    """Total and deterministic, with a sentence for people, and confirmed never goes back except with the claim."""
    decision = decide(known, policy)
    assert decision == decide(known, policy)
    assert decision.sentence.endswith(".")
    assert decision.memory.confirmed >= known.memory.confirmed or decision.verdict in (Verdict.NONE, Verdict.REPLICA)


@THOROUGH
@given(all_facts, policies)
def test_only_a_fresh_master_is_ever_published_as_one(known: Facts, policy: Policy) -> None:
    """Rule 1, whatever all others say."""
    if decide(known, policy).verdict is Verdict.MASTER:
        assert isinstance(known.node, Node)
        assert (known.node.role, known.node.loading) == (Role.MASTER, False)
        assert known.now - known.node.at <= policy.node_life


@THOROUGH
@given(all_facts, policies)
def test_only_a_master_claims_evicts_and_names_itself(known: Facts, policy: Policy) -> None:
    """A claim goes with MASTER and STANDING, always, and is of the own run id; KEEP and the others carry nothing."""
    decision = decide(known, policy)
    assert (decision.claim is not None) is (decision.verdict in (Verdict.MASTER, Verdict.STANDING))
    if decision.claim:
        assert isinstance(known.node, Node)
        assert decision.claim.run_id == known.node.run_id
    else:
        assert decision.evict == ()


def is_over(there: Entry, claim: Claim, known: Facts) -> bool:
    """An early claim of another node that was seen for longer than it may stand."""
    return claim.early is not None and known.now - known.early_since.get((there.node, there.id), known.now) > EARLY_TERM


@THOROUGH
@given(all_facts, policies)
def test_an_early_claim_never_outlives_its_term(known: Facts, policy: Policy) -> None:
    """It says since when, by the clock of this start of the machine, and is decided again before its end."""
    decision = decide(known, policy)
    if decision.verdict is Verdict.MASTER and decision.claim and decision.claim.early:
        assert decision.reason is Reason.SELECTED
        assert decision.claim.early.boot == known.boot
        assert 0 <= known.now - decision.claim.early.since <= EARLY_TERM
        assert decision.until <= decision.claim.early.since + EARLY_TERM
        assert decision.claim.epoch > known.memory.spent or decision.claim in (
            known.memory.held,
            *(Claim.read(e.meta) for e in (known.catalog.entries if known.catalog else ())),
        )


@THOROUGH
@given(all_facts, policies)
def test_no_master_beside_a_newer_claim(known: Facts, policy: Policy) -> None:
    """Rule 3: a live claim of the group that is newer, or as new and not evicted with it, forbids the own one."""
    decision = decide(known, policy)
    if decision.claim and known.catalog:
        for rival in group(known.catalog.entries, known.master_name):
            claim = Claim.read(rival.meta)
            if claim and (rival.node, rival.id) != known.own and rival.passing and rival.node_alive:
                assert claim.order <= decision.claim.order or is_over(rival, claim, known)
                assert rival in decision.evict


@THOROUGH
@given(all_facts, policies)
def test_only_older_passing_claims_of_the_group_are_ever_evicted(known: Facts, policy: Policy) -> None:
    """Rule 9: never the own entry, never a foreign one, never a newer one, never one that is down already."""
    decision = decide(known, policy)
    for evicted in decision.evict:
        claim = Claim.read(evicted.meta)
        assert evicted in group(known.catalog.entries if known.catalog else (), known.master_name)
        assert evicted.passing
        assert claim
        assert decision.claim
        assert claim.order <= decision.claim.order or is_over(evicted, claim, known)
        assert (evicted.node, evicted.id) != known.own


@THOROUGH
@given(all_facts, st.sampled_from([SentinelMode.AUTO, SentinelMode.REQUIRED]))
def test_a_claim_of_an_epoch_has_its_backing(known: Facts, mode: SentinelMode) -> None:
    """Rule 2: a majority, a selection, a handover, or a claim that the node holds already."""
    decision = decide(known, Policy(mode=mode))
    if decision.claim and decision.claim.epoch > NO_EPOCH:
        assert decision.reason in (Reason.NAMED, Reason.SELECTED, Reason.HANDED_OVER, Reason.CONFIRMED) or (
            known.catalog and any((e.node, e.id) == known.own for e in known.catalog.entries)
        )
    if decision.reason is Reason.NAMED:
        fresh = [s for s in known.sentinels if s.votes and known.now - s.at <= SENTINEL_LIFE]
        assert len(fresh) >= majority(known.known)
        assert decision.claim
        assert decision.claim.epoch == reached((s.epoch for s in fresh), majority(known.known))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[tuple[Sentinel, ...], Catalog, Mapping[str, Node]]:
    """One moment of one fleet, as Sentinel makes it: an epoch belongs to one node, and a node has one role."""
    of_epoch = draw(st.lists(names, min_size=4, max_size=4))
    roles = {name: draw(st.sampled_from(Role)) for name in "abc"}
    heard = []
    for id_ in ("s1", "s2", "s3"):
        epoch, chosen = draw(st.integers(0, 3)), draw(st.none() | st.integers(0, 3))
        selection = None if chosen is None else Selection(chosen, of_epoch[chosen])
        heard.append(sentinel(id_, of_epoch[epoch], epoch, selection=selection, tilt=draw(st.booleans())))
    claimed = {name: draw(st.integers(0, 3)) for name in "abc"}
    held = [
        holds(name, epoch, draw(st.integers(0, 1)), passing=draw(st.booleans()))
        for name, epoch in claimed.items()
        if of_epoch[epoch] == name
    ]
    nodes_ = {name: master(name, role=roles[name], turned=NOW) for name in "abc"}
    return tuple(heard), Catalog(NOW - draw(st.sampled_from([-0.1, 0.1])), 1, tuple(held)), nodes_


@THOROUGH
@given(worlds(), st.sets(st.sampled_from(["s1", "s2", "s3"]), min_size=0))
def test_no_two_nodes_are_given_claims_of_one_order(
    world: tuple[tuple[Sentinel, ...], Catalog, Mapping[str, Node]], lost: set[str]
) -> None:
    """Two agents that see the same Sentinels and the same catalog never claim alike, whoever of them cannot be reached."""
    heard, catalog, all_nodes = world
    heard = tuple(replace(s, error="no answer") if s.id in lost else s for s in heard)
    orders = []
    for name, node in all_nodes.items():
        me = frozenset({WHERE[name]})
        known = facts(node, heard, me=me, own=(f"host-{name}", "redis-6379"), catalog=catalog)
        decision = decide(known, POLICY)
        if decision.claim:
            orders.append(decision.claim.order)
    assert len(orders) == len(set(orders))


DOWN = {"Status": "critical", "Output": PUT_DOWN}
STONES = tuple(f"redis-6379:put-down-{number}" for number in range(TOMBSTONES))


@pytest.mark.parametrize(
    ("rises", "undone"),
    [
        (False, {}),
        (True, {"check": {"Status": "passing", "Output": ""}}),
        (True, {"seal": {"Status": "passing", "Output": ""}}),
        (True, {"tombstones": STONES[1:]}),
        (True, {"tombstones": (), "seal": {"Status": "passing", "Output": ""}}),
        # Its Consul agent has the role check critical as well: it may undo the rest, and stays out of DNS.
        (False, {"check": {"Status": "critical", "Output": "TTL expired"}, "tombstones": STONES[1:]}),
        (False, {"check": {"Status": "critical", "Output": ""}, "seal": {"Status": "passing"}, "tombstones": ()}),
    ],
)
def test_an_older_claim_is_put_down_again_as_soon_as_it_begins_to_rise(*, rises: bool, undone: dict[str, Any]) -> None:
    """Its Consul agent writes over the catalog a check at a time, and DNS shows it with the last one only."""
    older = holds("b", 5, passing=False, **({"check": DOWN, "seal": DOWN, "tombstones": STONES} | undone))
    decision = decide(facts(master(), sentinels("a", "a", "a", epoch=6), holds("a", 6), older), POLICY)
    assert (decision.verdict, decision.evict) == (Verdict.MASTER, (older,) if rises else ())


def test_a_claim_that_was_put_down_is_not_repeated_at_once() -> None:
    """Without transactions the successor's claim shows up a moment after its predecessor's was put down."""
    down = holds("a", 5, passing=False, check={"Output": PUT_DOWN})
    seen = facts(master(), sentinels("a", "a", "a"), down, put_down=NOW - 0.1)
    assert outcome(decide(seen, POLICY)) == (Verdict.KEEP, Reason.PUT_DOWN)
    assert decide(replace(seen, put_down=NOW - PATIENCE), POLICY).verdict is Verdict.MASTER
    assert decide(replace(seen, sentinels=sentinels("a", "a", "a", epoch=6)), POLICY).claim == Claim(6, 0, "a")


def test_a_handover_that_was_begun_gives_way_to_a_newer_epoch() -> None:
    """It was written down before a failover that has happened since."""
    peer = Peer(NOW, WHERE["b"], Role.REPLICA, WHERE["a"], "x")
    begun, newer = holds("a", 5, 1, passing=False), holds("c", 6)
    known = facts(master(), sentinels("b", "b", "b"), begun, newer, peer=peer)
    assert outcome(decide(known, POLICY)) == (Verdict.NONE, Reason.NEWER_CLAIM)


def test_an_old_master_that_comes_back_while_it_is_replaced_is_not_published() -> None:
    """Most Sentinels still name it: they learn of the promotion only a second after it."""
    named = sentinels("a", "a", "a")
    for promoting in ("", "b"):
        replacing = (replace(named[0], promoting=promoting, promoting_since=NOW - EARLY_TERM), *named[1:])
        assert outcome(decide(facts(master(), replacing), POLICY)) == (Verdict.NONE, Reason.FAILING_OVER)
        assert decide(facts(master(), replacing, holds("a", 5)), POLICY).verdict is Verdict.MASTER
        given_up = (replace(replacing[0], promoting_since=NOW - EARLY_TERM - 0.01), *named[1:])
        assert decide(facts(master(), given_up), POLICY).verdict is Verdict.MASTER, "no majority has followed in time"
    down = tuple(replace(s, down=True) for s in named[:2])
    assert decide(facts(master(), (*down, named[2])), POLICY).verdict is Verdict.NONE
    assert decide(facts(master(), (down[0], *named[1:])), POLICY).verdict is Verdict.MASTER


def test_a_promoted_node_is_published_while_its_failover_is_still_finishing() -> None:
    """The leader ends a failover only when the other replicas follow, which may take minutes."""
    named = sentinels("a", "a", "a")
    finishing = (replace(named[0], promoting="a"), *named[1:])
    assert decide(facts(master(), finishing), POLICY).verdict is Verdict.MASTER


def test_a_newer_claim_that_has_just_left_is_remembered() -> None:
    """Its host starts again, or its Consul agent does, before the Sentinels all know of its failover."""
    named = facts(master(), sentinels("a", "a", "a", epoch=4), newest_seen=5, newest_seen_at=NOW - 0.1)
    assert outcome(decide(named, POLICY)) == (Verdict.NONE, Reason.NEWER_CLAIM)
    assert decide(replace(named, newest_seen_at=NOW - PATIENCE), POLICY).verdict is Verdict.MASTER
    assert decide(replace(named, sentinels=sentinels("a", "a", "a", epoch=6)), POLICY).verdict is Verdict.MASTER
    assert decide(replace(named, catalog=Catalog(NOW, 1, (holds("a", 4),))), POLICY).verdict is Verdict.MASTER


def test_a_check_that_somebody_set_critical_is_repaired_at_once() -> None:
    """What was not put down by a successor is a mistake, and waits for nobody."""
    forced = holds("a", 5, passing=False, check={"Output": "by hand"})
    assert decide(facts(master(), sentinels("a", "a", "a"), forced), POLICY).verdict is Verdict.MASTER


def test_every_pair_of_epochs_is_decided_the_same_way() -> None:
    """For each epoch of the Sentinels and of a rival: published exactly when the rival is older."""
    for named, rival in product(range(4), range(4)):
        decision = decide(facts(master(), sentinels("a", "a", "a", epoch=named), holds("b", rival)), POLICY)
        if named != rival:
            assert (decision.verdict is Verdict.MASTER) is (named > rival)
