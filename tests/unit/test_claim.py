"""The claim: what orders two of them, and how it survives being written into Meta."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.decide.claim import EARLY_SINCE, EPOCH, NO_EPOCH, RUN_ID, TURN, Claim, Early

earlies = st.builds(
    Early,
    since=st.integers(0, 10**12).map(lambda milliseconds: milliseconds / 1000),
    boot=st.uuids().map(str),
    leader=st.text(min_size=1, max_size=40),
)
claims = st.builds(
    Claim,
    epoch=st.integers(NO_EPOCH, 10**9),
    turn=st.integers(0, 10**6),
    run_id=st.text(min_size=1, max_size=40),
    early=st.none() | earlies,
)


@given(claims)
def test_what_is_written_is_read_back(claim: Claim) -> None:
    """Meta carries a claim without loss, and as text, which is all that Meta can hold."""
    meta = claim.meta()
    assert all(isinstance(value, str) for value in meta.values())
    assert Claim.read(meta) == claim


@given(claims, claims)
def test_the_epoch_decides_before_the_majority_and_that_before_the_turn(a: Claim, b: Claim) -> None:
    """A newer epoch beats any number of turns of an older one, and a majority an early claim; the run id has no say."""
    if a.epoch != b.epoch:
        assert (a.order > b.order) is (a.epoch > b.epoch)
    elif bool(a.early) is not bool(b.early):
        assert (a.order > b.order) is (a.early is None)
    else:
        assert (a.order > b.order) is (a.turn > b.turn)


def test_a_claim_without_sentinel_is_older_than_any_with_one() -> None:
    """Sentinel's first epoch is 0, so switching Sentinel on never has to fight an old claim."""
    assert Claim(NO_EPOCH, 99, "a").order < Claim(0, 0, "b").order


@pytest.mark.parametrize("missing", [EPOCH, TURN, RUN_ID])
def test_part_of_a_claim_is_none(missing: str) -> None:
    """A Meta that somebody has cut is not taken for a claim."""
    meta = Claim(3, 0, "a").meta()
    del meta[missing]
    assert Claim.read(meta) is None


@pytest.mark.parametrize("key", [EPOCH, TURN])
@pytest.mark.parametrize("nonsense", ["", "x", "1.5", "9" * 5000, "0x10"])
def test_nonsense_is_no_claim(key: str, nonsense: str) -> None:
    """A Meta that somebody has filled with nonsense is passed over rather than raised about."""
    assert Claim.read(Claim(3, 0, "a").meta() | {key: nonsense}) is None


def test_other_meta_beside_the_claim_is_ignored() -> None:
    """The operator's own Meta stands beside the claim."""
    assert Claim.read(Claim(3, 1, "a").meta() | {"rack": "7"}) == Claim(3, 1, "a")


def test_a_claim_that_a_majority_has_settled_says_no_more_that_it_was_early() -> None:
    """Else a restart of the agent would withdraw it when the term of the early one is over."""
    early = Claim(3, 0, "a", Early(12.5, "boot", "s1"))
    assert Claim.read(early.settled.meta()) == Claim(3, 0, "a")


@pytest.mark.parametrize("nonsense", ["", "x", "1.5", "soon s after boot b", "1e999999 s after boot b"])
def test_an_early_claim_whose_age_cannot_be_read_is_still_an_early_one(nonsense: str) -> None:
    """It must not pass for one that a majority stands behind."""
    read = Claim.read(Claim(3, 0, "a", Early(12.5, "boot", "s1")).meta() | {EARLY_SINCE: nonsense})
    assert read
    assert read.early
