"""The measures: what counts as exact, gone, two, none and wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import Seen

from .measures import Seconds, Window, death_to_gone, promotion_to_dns, seconds, settled

OLD, NEW, OTHER = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379), Address("10.0.0.3", 6379)
KILLED = Window("killed master", start=10, stop=20, old=OLD, new=NEW, death=10.5, promotion=12)
PLANNED = replace(KILLED, scenario="planned failover", death=None)
RETURNING = replace(PLANNED, scenario="returning master", promotion=None)


def history(*answers: tuple[float, tuple[Address, ...] | None]) -> list[Seen]:
    """DNS named the old master at 0, and then these, each from its moment on."""
    return [Seen(0, frozenset({OLD})), *(Seen(at, None if n is None else frozenset(n)) for at, n in answers)]


def test_an_exact_move_has_no_wrong_second() -> None:
    """What is gone at the death and exact at the promotion is right all the time, though DNS named nobody between."""
    seen = history((10.5, ()), (12, (NEW,)))
    assert seconds(seen, KILLED) == Seconds()
    assert promotion_to_dns(seen, KILLED) == death_to_gone(seen, KILLED) == 0


def test_times_count_from_the_promotion_and_from_the_death() -> None:
    """Gone counts from the death, exact from the promotion; a dead name is wrong, nobody only while there is a master."""
    seen = history((10.6, ()), (12.25, (NEW,)))
    assert promotion_to_dns(seen, KILLED) == pytest.approx(0.25)
    assert death_to_gone(seen, KILLED) == pytest.approx(0.1)
    found = seconds(seen, KILLED)
    assert (found.two, found.none, found.wrong) == pytest.approx((0, 0.25, 0.1))


def test_exact_means_that_it_stays() -> None:
    """Whoever names the new master and then another one again is exact only after that."""
    assert promotion_to_dns(history((12.1, (NEW,)), (13, (NEW, OLD)), (15, (NEW,))), PLANNED) == pytest.approx(3)
    assert promotion_to_dns(history((12.1, (NEW,)), (19, ())), PLANNED) is None
    assert promotion_to_dns(history(), PLANNED) is None


def test_what_happened_after_the_window_does_not_count() -> None:
    """The windows of a round are judged apart."""
    seen = history((10.5, ()), (12, (NEW,)), (20, (NEW, OLD)))
    assert promotion_to_dns(seen, KILLED) == 0
    assert death_to_gone(seen, KILLED) == 0
    assert seconds(seen, KILLED) == Seconds()


def test_no_answer_says_nothing() -> None:
    """A DNS server that is too busy to answer for a moment is no fault of a publisher."""
    seen = history((10.5, ()), (12, (NEW,)), (13, None), (14, (NEW,)))
    assert promotion_to_dns(seen, KILLED) == 0
    assert seconds(seen, KILLED) == Seconds()
    assert promotion_to_dns(history((12, None), (13, (NEW,))), PLANNED) == pytest.approx(1)


def test_a_name_that_never_goes_is_never_gone() -> None:
    """None, and not the length of the window; so too where nobody died."""
    assert death_to_gone(history((12, (OLD, NEW))), KILLED) is None
    assert death_to_gone(history((12, (NEW,))), PLANNED) is None


def test_a_name_that_comes_back_is_gone_only_after_that() -> None:
    """The last time counts."""
    assert death_to_gone(history((10.6, ()), (11, (OLD,)), (12, (NEW,))), KILLED) == pytest.approx(1.5)


def test_seconds_of_two_none_and_wrong_are_told_apart() -> None:
    """Each moment of the window counts once at most; the old master is right until another one is promoted."""
    seen = history((11, (OLD, NEW)), (12, (OLD,)), (13, (OLD, NEW, OTHER)), (15, ()), (16, (OTHER,)), (18, (NEW,)))
    found = seconds(seen, PLANNED)
    assert (found.two, found.none, found.wrong) == pytest.approx((1 + 2, 1, 1 + 2))


def test_a_returning_master_is_wrong_from_the_beginning() -> None:
    """The new one is the true master all the time; there is no promotion to count from."""
    seen = history((9, (NEW,)), (11, (NEW, OLD)), (14, (OLD,)), (15, (NEW,)))
    found = seconds(seen, RETURNING)
    assert (found.two, found.none, found.wrong) == pytest.approx((3, 0, 1))
    assert promotion_to_dns(seen, RETURNING) is None


def test_settled_is_who_names_the_new_master_alone_at_the_end() -> None:
    """What comes after the window, and a moment without an answer, change nothing."""
    assert settled(history((12, (NEW,)), (19, None), (20, (NEW, OLD))), KILLED)
    assert not settled(history((12, (NEW,)), (19, (NEW, OLD)), (20, (NEW,))), KILLED)
    assert not settled(history((12, None)), KILLED)
