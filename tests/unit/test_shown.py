"""What DNS has shown, and for how long."""

from __future__ import annotations

from consul_redis_agent.decide.facts import Address
from consul_redis_agent.tell.shown import Shown, Shows

A, B = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)


def test_the_time_between_two_answers_counts_for_the_first() -> None:
    """One, two, none and no answer at all each have their seconds; before the first answer nothing is counted."""
    shown = Shown("redis")
    for at, masters in ((100.0, (A,)), (105.0, (A, B)), (105.5, ()), (106.5, None), (109.5, (B,)), (110.0, (B,))):
        shown.answered(masters, at)
    assert shown.seconds == {Shows.ONE: 5.5, Shows.TWO: 0.5, Shows.NONE: 1.0, Shows.UNANSWERED: 3.0}
    assert shown.as_json()["masters"] == ["10.0.0.2:6379"]


def test_a_change_is_told_once() -> None:
    """The first answer is one, be it that there is none; the same again is none."""
    shown = Shown("redis")
    told = [shown.answered(masters, at) for at, masters in enumerate((None, None, (A,), (A,), (A, B), ()))]
    assert told == [True, False, True, False, True, True]
