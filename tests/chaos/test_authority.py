"""Who has authority, worked out from histories written by hand."""

from __future__ import annotations

from math import inf

import pytest

from consul_redis_agent.decide.facts import Address

from .authority import (
    HEARD_LATE,
    LIMIT,
    LOOK,
    NAMES,
    REFUSES,
    SILENCE,
    Back,
    Death,
    Event,
    GaveUp,
    Gone,
    Left,
    Loss,
    Named,
    Role,
    Selected,
    Tenure,
    Tilt,
    Unheard,
    Voice,
    Wiped,
)
from .authority import tenures as tenures_of

A, B, C = (Address(f"10.0.0.{n}", 6379) for n in (1, 2, 3))
ALL = frozenset({A, B, C})
S1, S2, S3 = SENTINELS = ("sentinel1", "sentinel2", "sentinel3")
BEGIN: list[Event] = [
    Role(0, A, "master"),
    Role(0, B, "slave"),
    Role(0, C, "slave"),
    *(Named(0, s, A) for s in SENTINELS),
]
PROMOTED = (Selected(1.9, 1, B, S1), Role(2, B, "master"))
"""Sentinel 1 leads a failover from A to B, and A lives on."""


def tenures(*events: Event, now: float = -inf) -> list[Tenure]:
    return tenures_of([*BEGIN, *events], A, 0, now)


def early(end: float, loss: Loss | None, *, since: float = 2) -> Tenure:
    """The tenure of B that no majority has followed."""
    return Tenure(B, since, end, loss, promoted=True, early=True)


def follow(at: float, node: Address, *sentinels: str) -> list[Event]:
    """These Sentinels name a node from a moment on."""
    return [Named(at, sentinel, node) for sentinel in sentinels]


def test_a_selected_node_gains_authority_when_it_turns_master() -> None:
    """Not when it is selected; and at that moment the old one loses it, though it still says master."""
    events = (Selected(1, 1, B, S1), Role(2, B, "master"), *follow(3, B, S1, S2), Role(12, A, "slave"))
    assert tenures(*events) == [Tenure(A, 0, 2, Loss.PROMOTION), Tenure(B, 2, promoted=True)]


def test_a_selection_that_is_heard_just_after_its_node_has_turned_came_before() -> None:
    """A listener without CPU hears late; much later it is another story, such as of a node that was turned by hand."""
    late = (Role(2, B, "master"), Selected(2 + HEARD_LATE, 1, B, S1), *follow(3, B, S1, S2))
    assert tenures(*late) == [Tenure(A, 0, 2, Loss.PROMOTION), Tenure(B, 2, promoted=True)]
    other = (Role(2, B, "master"), Selected(2.1 + HEARD_LATE, 1, B, S1), *follow(3, B, S1, S2))
    assert tenures(*other) == [Tenure(A, 0, 3, Loss.PROMOTION), Tenure(B, 3)]


def test_a_role_of_master_alone_gives_no_right() -> None:
    """REPLICAOF NO ONE by hand, and an old master that returns, change nothing."""
    by_hand = (Role(1, B, "master"), Role(9, B, "slave"))
    assert tenures(*by_hand) == [Tenure(A, 0)]
    back = (Death(1, A), Role(1, A, None), Selected(2, 1, B, S1), Role(3, B, "master"), Role(4, A, "master"))
    assert tenures(*back) == [Tenure(A, 0, 1, Loss.DEATH), early(inf, None, since=3)]


def test_a_selection_of_an_older_epoch_counts_no_more() -> None:
    """A leader that was stopped and goes on later promotes somebody whom nobody follows."""
    events = (Selected(1, 2, B, S1), Role(2, B, "master"), Selected(3, 1, C, S2), Role(4, C, "master"))
    assert tenures(*events)[-1] == early(inf, None)


def test_of_two_selections_of_one_epoch_the_first_counts_while_it_lives() -> None:
    """SENTINEL FAILOVER at two Sentinels asks nobody, and gives both the same epoch."""
    both = (Selected(1, 2, B, S1), Role(2, B, "master"), Selected(3, 2, C, S2), Role(4, C, "master"))
    assert tenures(*both)[-1] == early(inf, None)
    died = (*both[:2], Death(2.5, B), *both[2:])
    assert tenures(*died)[-1] == Tenure(C, 4, promoted=True, early=True)


def test_of_two_selections_of_one_epoch_the_one_that_a_majority_follows_counts() -> None:
    """It beats the early one, though that came first."""
    events = (*PROMOTED, Selected(2.5, 1, C, S2), Role(3, C, "master"), *follow(3.5, C, S2, S3))
    assert tenures(*events)[1:] == [early(3.5, Loss.PROMOTION), Tenure(C, 3.5)]


def test_a_process_that_returns_without_a_promotion_has_authority_again() -> None:
    """A restart quicker than down-after."""
    events = (Death(1, A), Role(1, A, None), Role(1.5, A, "master"))
    assert tenures(*events) == [Tenure(A, 0, 1, Loss.DEATH), Tenure(A, 1.5)]


def test_authority_is_handed_over_when_its_holder_turns_replica() -> None:
    """The FAILOVER command, in either order of what is seen first."""
    for events in (
        (Role(1, A, "slave"), Role(2, B, "master")),
        (Role(1, B, "master"), Role(2, A, "slave")),
    ):
        first, second = tenures(*events)
        assert (first.node, first.loss, second.node) == (A, Loss.DEMOTION, B)
        assert first.end <= second.start == 2


@pytest.mark.parametrize("lost", [Gone(2.1, S1), GaveUp(2.1, S1), Unheard(2.1, S1, ALL)])
def test_an_early_tenure_outlives_its_leader_where_the_old_master_has_become_a_replica(lost: Event) -> None:
    """Its agent fences: the node that a majority names says itself that it is none, whatever becomes of the leader."""
    fenced = (*PROMOTED, Role(2.05, A, "slave"))
    assert tenures(*fenced, lost, now=2 + LIMIT + 1) == [
        Tenure(A, 0, 2, Loss.PROMOTION),
        Tenure(B, 2, promoted=True),
    ]
    assert tenures(*PROMOTED, lost, now=2 + LIMIT + 1)[1].loss in {Loss.LEADER, Loss.ABORT}


def test_who_was_handed_authority_loses_it_to_the_next_who_is_promoted() -> None:
    """Another Sentinel was asked, so that the others hear of it, and may have chosen another node, at the epoch that is lost."""
    fenced = (*PROMOTED, Role(2.05, A, "slave"), Gone(2.1, S1))
    asked = (Selected(2.3, 1, C, S2), Role(2.4, C, "master"))
    assert tenures(*fenced, *asked)[1:] == [
        Tenure(B, 2, 2.4, Loss.PROMOTION, promoted=True),
        Tenure(C, 2.4, promoted=True, early=True),
    ]


def test_who_turned_replica_too_late_had_authority_again() -> None:
    """The leader was gone before; then it was handed over, all the same."""
    events = (*PROMOTED, Gone(2.1, S1), Role(2.2, A, "slave"))
    assert tenures(*events)[1:] == [
        early(2.1, Loss.LEADER),
        Tenure(A, 2.1, 2.2, Loss.DEMOTION, returned=True),
        Tenure(B, 2.2),
    ]


def test_nothing_is_handed_over_where_no_majority_names_anybody() -> None:
    """Two Sentinels of three are gone, so nobody can say whose replica the old master should be."""
    events = (*PROMOTED, Role(2.05, A, "slave"), Gone(2.1, S2), Gone(2.1, S3))
    assert tenures(*events, now=60)[1:] == [early(2 + LIMIT, Loss.LIMIT)]


def test_authority_is_handed_over_when_who_was_promoted_answers_again() -> None:
    """It was stopped while its leader gave up; the old master follows it all the time."""
    events = (*PROMOTED, Role(2.05, A, "slave"), Role(2.1, B, None), GaveUp(3, S1), Role(4, B, "master"))
    assert tenures(*events, now=60)[1:] == [early(3, Loss.ABORT), Tenure(B, 4)]


def test_silence_takes_nothing_away() -> None:
    """A paused node may answer again, and nobody else has the right meanwhile."""
    assert tenures(Role(1, A, None), Role(5, A, "master")) == [Tenure(A, 0)]


def test_who_is_master_already_gains_authority_when_a_majority_names_it() -> None:
    """Nobody has seen it turn, so the selection alone proves nothing; the former one has it until then."""
    events = (Role(1, B, "master"), Selected(2, 1, B, S1), Named(3, S1, B))
    assert tenures(*events) == [Tenure(A, 0)]
    assert tenures(*events, Named(3.1, S2, B)) == [Tenure(A, 0, 3.1, Loss.PROMOTION), Tenure(B, 3.1)]


# --- An early tenure, which falls with its leader ---------------------------------------------------------------------


def test_a_leader_that_dies_takes_early_authority_with_it() -> None:
    """At that moment; and who says master and is named by a majority has it again."""
    found = tenures(*PROMOTED, Gone(2.01, S1), now=60)
    assert found == [
        Tenure(A, 0, 2, Loss.PROMOTION),
        early(2.01, Loss.LEADER),
        Tenure(A, 2.01, returned=True),
    ]


def test_a_former_master_that_does_not_answer_does_not_get_it_back() -> None:
    """Nobody has it then; and it does as soon as it says so, since a majority still names it."""
    events = (*PROMOTED, Role(2.005, A, None), Gone(2.01, S1))
    assert tenures(*events, now=60)[1:] == [early(2.01, Loss.LEADER)]
    again = tenures(*events, Role(4, A, "master"), now=60)
    assert again[1:] == [early(2.01, Loss.LEADER), Tenure(A, 4, returned=True)]


def test_a_former_master_that_a_majority_names_no_more_does_not_get_it_back() -> None:
    """One of three has died before, and the leader now: one Sentinel is no majority."""
    assert tenures(*PROMOTED, Gone(2.005, S3), Gone(2.01, S1), now=60)[1:] == [early(2.01, Loss.LEADER)]


def test_a_majority_makes_an_early_tenure_a_lasting_one() -> None:
    """Then neither the loss of the leader, nor time, takes it away."""
    followed = (*PROMOTED, Named(2.9, S1, B), Named(3, S2, B))
    for end in (Gone(3.1, S1), Unheard(3.1, S1, ALL), GaveUp(3.1, S1)):
        assert tenures(*followed, end, now=60)[-1] == Tenure(B, 2, promoted=True)
    assert tenures(*PROMOTED, Named(2.9, S1, B), Gone(2.95, S1))[-1] == Tenure(A, 2.95, returned=True)


def test_a_sentinel_that_is_not_heard_helps_to_no_majority() -> None:
    """It is dead, or cut off from the node that it names."""
    for lost in (Gone(2.1, S2), Unheard(2.1, S2, frozenset({B}))):
        found = tenures(*PROMOTED, Named(2.05, S2, B), lost, Named(2.9, S1, B), now=4)
        assert found[-1] == early(inf, None)
    elsewhere = Unheard(2.1, S2, frozenset({A, C}))
    assert tenures(*PROMOTED, Named(2.05, S2, B), elsewhere, Named(2.9, S1, B), now=4)[-1].early is False


def test_a_sentinel_in_tilt_has_no_vote() -> None:
    """Neither for a majority, nor as a leader, though it answers."""
    tilt = Tilt(2.1, S1, over=False)
    assert tenures(*PROMOTED, tilt, now=60)[1] == early(2.1 + SILENCE, Loss.LEADER)
    assert tenures(*PROMOTED, tilt, *follow(2.9, B, S1, S2), now=3)[-1] == early(inf, None)
    assert tenures(*PROMOTED, tilt, *follow(2.9, B, S1, S2), Tilt(3, S1, over=True))[-1].early is False


def test_a_majority_that_follows_after_all_gives_authority_back() -> None:
    """A leader that is started again names the promoted node, as its file says, and the others follow it."""
    events = (*PROMOTED, Named(2.9, S1, B), Gone(2.95, S1), Back(9, S1), Named(9, S1, B), Named(9.5, S2, B))
    assert tenures(*events, now=60)[1:] == [
        early(2.95, Loss.LEADER),
        Tenure(A, 2.95, 9.5, Loss.PROMOTION, returned=True),
        Tenure(B, 9.5),
    ]


def test_a_silent_leader_is_lost_after_two_seconds() -> None:
    """An agent may have begun to count at its last answer, so the next one may be named a little sooner."""
    for node in (ALL, frozenset({B})):
        found = tenures(*PROMOTED, Unheard(2.5, S1, node), now=60)
        assert found[1:] == [
            early(2.5 + SILENCE, Loss.LEADER),
            Tenure(A, 2.5 + SILENCE - LOOK, returned=True),
        ]


def test_a_leader_that_is_silent_for_a_moment_or_to_others_is_not_lost() -> None:
    """It counts who cannot hear it: the promoted node's host."""
    moment = (Unheard(2.5, S1, ALL), Unheard(3.9, S1, frozenset()))
    assert tenures(*PROMOTED, *moment, now=2 + LIMIT - 0.1)[-1] == early(inf, None)
    others = Unheard(2.5, S1, frozenset({A, C}))
    assert tenures(*PROMOTED, others, now=2 + LIMIT - 0.1)[-1] == early(inf, None)


def test_a_leader_that_gives_up_ends_early_authority() -> None:
    """Only the one that led to it."""
    assert tenures(*PROMOTED, GaveUp(4, S1))[1:] == [early(4, Loss.ABORT), Tenure(A, 4, returned=True)]
    assert tenures(*PROMOTED, GaveUp(4, S2))[1:] == [early(inf, None)]


def test_early_authority_ends_by_itself() -> None:
    """After five seconds without a majority."""
    assert tenures(*PROMOTED, now=2 + LIMIT - 0.01)[-1] == early(inf, None)
    assert tenures(*PROMOTED, now=60)[1:] == [early(2 + LIMIT, Loss.LIMIT), Tenure(A, 2 + LIMIT, returned=True)]


def test_what_falls_blocks_no_later_promotion() -> None:
    """The others have heard nothing of its epoch and take the same one."""
    fell = (*PROMOTED, Gone(2.01, S1))
    later = (Selected(20, 1, C, S2), Role(20.1, C, "master"), *follow(21, C, S2, S3))
    assert tenures(*fell, *later)[-2:] == [
        Tenure(A, 2.01, 20.1, Loss.PROMOTION, returned=True),
        Tenure(C, 20.1, promoted=True),
    ]


def test_a_promoted_node_that_dies_early_gives_authority_back() -> None:
    """And has none when it is back, unless a majority names it."""
    events = (*PROMOTED, Death(2.5, B), Role(2.5, B, None), Role(3, B, "master"))
    assert tenures(*events, now=60)[1:] == [early(2.5, Loss.DEATH), Tenure(A, 2.5)]


def test_a_second_leader_that_selects_the_same_node_prolongs_nothing() -> None:
    """The claim rests on the first one; with the second a majority follows."""
    second = Selected(4, 2, B, S2)
    assert tenures(*PROMOTED, second, now=60)[1] == early(2 + LIMIT, Loss.LIMIT)
    assert tenures(*PROMOTED, second, Gone(4.5, S1))[1] == early(4.5, Loss.LEADER)
    followed = tenures(*PROMOTED, second, Gone(4.5, S1), *follow(5, B, S2, S3))
    assert followed[2:] == [Tenure(A, 4.5, 5, Loss.PROMOTION, returned=True), Tenure(B, 5)]


# --- A leader that is lost before the node turns master ---------------------------------------------------------------


@pytest.mark.parametrize("lost", [Gone(1.95, S1), Unheard(1.95, S1, ALL), GaveUp(1.95, S1)])
def test_who_turns_master_when_its_leader_cannot_be_asked_has_no_authority(lost: Event) -> None:
    """The command was on its way, or was read late by a node that had been stopped."""
    assert tenures(*PROMOTED, lost, now=60) == [Tenure(A, 0)]


def test_a_promotion_that_is_seen_after_the_end_of_the_leader_was_before_it() -> None:
    """The witness sees a role up to its period late."""
    assert tenures(*PROMOTED, Gone(1.995, S1))[1:] == [early(2, Loss.LEADER), Tenure(A, 2, returned=True)]


def test_a_leader_that_is_heard_again_promotes_after_all() -> None:
    """But not one that was stopped for so long that it is in TILT, or another process."""
    silent = (*PROMOTED, Unheard(1.95, S1, ALL))
    assert tenures(*silent, Unheard(5, S1, frozenset()))[-1] == early(inf, None, since=5)
    assert tenures(*silent, Tilt(5, S1, over=False), Unheard(5.1, S1, frozenset())) == [Tenure(A, 0)]
    assert tenures(*PROMOTED[:1], Gone(1.95, S1), Back(1.96, S1), PROMOTED[1]) == [Tenure(A, 0)]


# --- What the events of a Sentinel say --------------------------------------------------------------------------------


def test_a_selection_carries_the_epoch_of_its_own_election() -> None:
    """An epoch that becomes known after the election began belongs to another one."""
    voice = Voice(S1)
    found = [
        selected
        for at, (channel, text) in enumerate(
            [
                ("+new-epoch", "3"),
                ("+try-failover", "master mymaster 10.0.0.1 6379"),
                ("+new-epoch", "4"),
                ("+selected-slave", "slave 10.0.0.2:6379 10.0.0.2 6379 @ mymaster 10.0.0.1 6379"),
            ]
        )
        for selected in voice.heed(at, channel, text)
    ]
    assert found == [Selected(3, 3, B, S1)]


@pytest.mark.parametrize(
    ("channel", "text", "said"),
    [
        ("+promoted-slave", "slave 10.0.0.2:6379 10.0.0.2 6379 @ mymaster 10.0.0.1 6379", [Named(1, S1, B)]),
        ("+switch-master", "mymaster 10.0.0.1 6379 10.0.0.2 6379", [Named(1, S1, B)]),
        ("+monitor", "master mymaster 10.0.0.2 6379 quorum 2", [Named(1, S1, B)]),
        ("-failover-abort-slave-timeout", "master mymaster 10.0.0.1 6379", [GaveUp(1, S1)]),
        ("+reset-master", "master mymaster 10.0.0.1 6379", [GaveUp(1, S1), Named(1, S1, A)]),
        (NAMES, "10.0.0.2 6379", [Back(1, S1), Named(1, S1, B)]),
        (REFUSES, "", [Gone(1, S1)]),
        ("+tilt", "#tilt mode entered", [Tilt(1, S1, over=False)]),
        ("-tilt", "#tilt mode exited", [Tilt(1, S1, over=True)]),
        ("+sdown", "slave 10.0.0.2:6379 10.0.0.2 6379 @ mymaster 10.0.0.1 6379", []),
    ],
)
def test_what_each_event_says(channel: str, text: str, said: list[Event]) -> None:
    """As sentinel.c prints them."""
    assert [*Voice(S1).heed(1, channel, text)] == said


def test_a_sentinel_that_was_replaced_counts_no_longer() -> None:
    """Two of three are gone and replaced by two others: the third and one of those are a majority."""
    replaced = [event for s in (S1, S2) for event in (Named(1, f"new-{s}", A), Gone(2, s), Left(2, s))]
    moved = (Role(3, A, None), Role(3, B, "master"), *follow(4, B, S3, f"new-{S1}"))
    assert tenures(*replaced, *moved) == [Tenure(A, 0, 4, Loss.PROMOTION), Tenure(B, 4)]
    gone = [event for event in replaced if not isinstance(event, Left)]
    assert tenures(*gone, *moved) == [Tenure(A, 0)]


def test_epochs_begin_anew_when_all_sentinels_were_wiped() -> None:
    """A promotion at a lower epoch than one before gives authority then, and only then."""
    first = (Selected(1, 5, B, S1), Role(2, B, "master"), *follow(3, B, *SENTINELS), Role(4, A, "slave"))
    second = (Selected(6, 1, C, S1), Role(7, C, "master"))
    assert [tenure.node for tenure in tenures(*first, *second)] == [A, B]
    assert [tenure.node for tenure in tenures(*first, Wiped(5), *second)] == [A, B, C]
