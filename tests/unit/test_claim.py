"""The claim: what orders two of them. How it is written in Consul, test_form.py tells."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.decide.claim import NO_EPOCH, Claim, Early

claims = st.builds(
    Claim,
    epoch=st.integers(NO_EPOCH, 10**9),
    turn=st.integers(0, 10**6),
    run_id=st.text(min_size=1, max_size=40),
    early=st.none() | st.builds(Early, since=st.floats(0, 10**9), boot=st.just("boot"), leader=st.just("s1")),
)


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


@given(claims)
def test_a_settled_claim_is_the_same_one_with_a_majority_behind_it(claim: Claim) -> None:
    """It is never older than it was, and settling it again changes nothing."""
    settled = claim.settled
    assert (settled.epoch, settled.turn, settled.run_id, settled.early) == (claim.epoch, claim.turn, claim.run_id, None)
    assert settled.order >= claim.order
    assert settled.settled is settled
