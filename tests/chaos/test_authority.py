"""Who has authority, worked out from histories written by hand."""

from __future__ import annotations

from math import inf

from consul_redis_agent.facts import Address

from .authority import Death, Elections, Event, Loss, Role, Selected, Tenure
from .authority import tenures as tenures_of

A, B, C = (Address(f"10.0.0.{n}", 6379) for n in (1, 2, 3))
BEGIN = [Role(0, A, "master"), Role(0, B, "slave"), Role(0, C, "slave")]


def tenures(*events: Event) -> list[Tenure]:
    return tenures_of([*BEGIN, *events], A, 0)


def test_a_selected_node_gains_authority_when_it_turns_master() -> None:
    """Not when it is selected; and at that moment the old one loses it, though it still says master."""
    events = (Selected(1, 1, B), Role(2, B, "master"), Role(12, A, "slave"))
    assert tenures(*events) == [Tenure(A, 0, 2, Loss.PROMOTION), Tenure(B, 2, promoted=True)]


def test_a_role_of_master_alone_gives_no_right() -> None:
    """REPLICAOF NO ONE by hand, and an old master that returns, change nothing."""
    by_hand = (Role(1, B, "master"), Role(9, B, "slave"))
    assert tenures(*by_hand) == [Tenure(A, 0)]
    back = (Death(1, A), Role(1, A, None), Selected(2, 1, B), Role(3, B, "master"), Role(4, A, "master"))
    assert tenures(*back) == [Tenure(A, 0, 1, Loss.DEATH), Tenure(B, 3, promoted=True)]


def test_a_selection_of_an_older_epoch_counts_no_more() -> None:
    """A leader that was stopped and goes on later promotes somebody whom nobody follows."""
    events = (Selected(1, 2, B), Role(2, B, "master"), Selected(3, 1, C), Role(4, C, "master"))
    assert tenures(*events)[-1] == Tenure(B, 2, inf, None, promoted=True)


def test_of_two_selections_of_one_epoch_the_first_counts_while_it_lives() -> None:
    """SENTINEL FAILOVER at two Sentinels asks nobody, and gives both the same epoch."""
    both = (Selected(1, 2, B), Role(2, B, "master"), Selected(3, 2, C), Role(4, C, "master"))
    assert tenures(*both)[-1] == Tenure(B, 2, promoted=True)
    died = (*both[:2], Death(2.5, B), *both[2:])
    assert tenures(*died)[-1] == Tenure(C, 4, promoted=True)


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


def test_silence_takes_nothing_away() -> None:
    """A paused node may answer again, and nobody else has the right meanwhile."""
    assert tenures(Role(1, A, None), Role(5, A, "master")) == [Tenure(A, 0)]


def test_who_is_master_already_gains_authority_when_it_is_selected() -> None:
    """No change of role is to be waited for then."""
    events = (Role(1, B, "master"), Selected(2, 1, B))
    assert tenures(*events)[-1] == Tenure(B, 2, promoted=True)


def test_a_selection_carries_the_epoch_of_its_own_election() -> None:
    """An epoch that becomes known after the election began belongs to another one."""
    elections = Elections()
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
        for selected in elections.heed(at, channel, text)
    ]
    assert found == [Selected(3, 3, B)]
