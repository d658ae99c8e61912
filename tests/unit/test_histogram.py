"""Counts of durations by fixed bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.histogram import PROMOTION, REQUEST, Histogram


def test_a_duration_counts_under_the_first_bound_that_is_not_shorter() -> None:
    """As Prometheus has it: a bucket's bound is part of it, and what is longer than all has one of its own."""
    counted = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 3.0):
        counted.add(seconds)
    assert counted.as_json() == {"bounds": [0.1, 1.0], "counts": [2, 1, 1], "sum": 3.65}


@given(st.lists(st.floats(-1.0, 100.0)), st.sampled_from((REQUEST, PROMOTION)))
def test_nothing_is_lost_and_nothing_is_negative(durations: list[float], bounds: tuple[float, ...]) -> None:
    """Every duration is counted once; clocks that differ never make the sum smaller."""
    counted = Histogram(bounds)
    for seconds in durations:
        counted.add(seconds)
    assert sum(counted.as_json()["counts"]) == len(durations)
    assert counted.as_json()["sum"] >= 0
    assert len(counted.as_json()["counts"]) == len(bounds) + 1
