"""What is called a leak, and what is not."""

from __future__ import annotations

import random

import pytest

from .verdict import LIMITS, Level, Trend, slope

FAULTS = 80
"""In an hour."""
KIBI = 1024
USS = LIMITS["uss"]


def levels(leak: float, noise: float, *, seed: int = 1, faults: int = FAULTS, lives: int = 1) -> list[Level]:
    """Memory that first fills up for ten faults, then grows by ``leak`` bytes a fault, with noise of whole pages.

    Each life, which a fault ends, begins anew at the bottom.
    """
    chance = random.Random(seed)
    made = []
    for fault in range(faults):
        age = fault % -(-faults // lives)
        filling = 300 * KIBI * min(age, 10) / 10
        pages = round(chance.gauss(0, noise) / 4096) * 4096
        made.append(Level(fault, fault // -(-faults // lives), 25e6 + filling + age * leak + pages))
    return made


@pytest.mark.parametrize("seed", range(20))
def test_a_kibibyte_a_fault_is_a_leak(seed: int) -> None:
    """The smallest leak that must be found within an hour is found, through noise of some pages and after a warm-up."""
    found = slope(levels(1 * KIBI, 8 * KIBI, seed=seed))
    assert found.trend(USS) is Trend.GROWS
    assert found.low <= 1 * KIBI <= found.high


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_none(seed: int) -> None:
    """What fills up and then only jitters is flat."""
    assert slope(levels(0, 8 * KIBI, seed=seed)).trend(USS) is Trend.FLAT


def test_a_leak_shows_over_restarts() -> None:
    """Lives that faults end are too short each, and long enough together; that each begins low hides nothing."""
    assert slope(levels(3 * KIBI, 8 * KIBI, faults=FAULTS // 4, seed=2)).trend(USS) is Trend.UNKNOWN
    assert slope(levels(3 * KIBI, 8 * KIBI, lives=4, seed=2)).trend(USS) is Trend.GROWS


def test_restarts_are_no_leak() -> None:
    """A process that is started again with more or less than its predecessor had does not grow."""
    made = [Level(fault, fault // 20, 25e6 + fault // 20 * 500 * KIBI) for fault in range(FAULTS)]
    assert slope(made).trend(USS) is Trend.FLAT


def test_one_step_is_no_leak() -> None:
    """Neither an allocator that takes another arena once, nor a single outlier, is called growth."""
    made = [Level(fault, 1, 25e6 + (fault > 60) * 256 * KIBI + (fault == 70) * 1e6) for fault in range(FAULTS)]
    assert slope(made).trend(USS) is not Trend.GROWS


def test_a_descriptor_every_ten_faults_is_a_leak() -> None:
    """Eight descriptors in an hour are found, though they come in whole numbers; a count that swings by one is flat."""
    limit = LIMITS["descriptors"]
    assert slope([Level(fault, 1, 19 + fault // 10) for fault in range(FAULTS)]).trend(limit) is Trend.GROWS
    assert slope([Level(fault, 1, 19 + fault % 2) for fault in range(FAULTS)]).trend(limit) is Trend.FLAT


def test_too_few_faults_tell_nothing() -> None:
    """A short run calls nothing a leak, and nothing flat."""
    for number in range(6):
        assert slope(levels(100 * KIBI, 0, faults=number)).trend(USS) is Trend.UNKNOWN
