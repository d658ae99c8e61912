"""Roles that are swapped with no connection closed: Valkey 9's coordinated failover, and the ``FAILOVER`` command by hand.

The witness judges all that DNS said. It is a race, so it is run several times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.fleet import ON_PATH, VALKEY_9_1, Fleet, RedisNode, Server, Witness, until

from .fencing import arrange

Record = Callable[[str, object], None]
TIMES = 4
MODES = {mode: f'[fence]\nmode = "{mode}"\n' for mode in ("watch", "on")}


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """The usual fleet on one server version, each host by itself."""
    server: Server = request.param
    if server.missing:
        pytest.skip(server.missing)
    with Fleet(isolated=True, server=server) as made:
        made.populate(failover_timeout=3000)
        yield made


@pytest.fixture(scope="module")
def witness(fleet: Fleet) -> Witness:
    """Watches DNS and the roles of the nodes."""
    return fleet.witness(every_role=0.01)


def story(witness: Witness, old: RedisNode, new: RedisNode, since: float) -> str:
    """How long after the swap DNS was exact, and how long it named nobody."""
    swap, exact = witness.promoted_at(new, since=since), witness.exact_at(new, since=since)
    assert swap
    assert exact
    return (
        f"{(exact - swap) * 1000:.0f} ms after the swap, none for {witness.seconds_of_none(since=since) * 1000:.0f} ms"
    )


@pytest.mark.netns
@pytest.mark.parametrize("fleet", [VALKEY_9_1], indirect=True, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_coordinated_failovers_in_a_row_are_one_step_each(
    fleet: Fleet, witness: Witness, mode: str, record_testsuite_property: Record
) -> None:
    """DNS goes from the old master to the new one with nothing between: never two, never none, with a fence and without."""
    arrange(fleet, tables=MODES[mode])
    for number in range(TIMES):
        old = fleet.wait_for_master()
        fleet.wait_for_replicas(within=30)
        fleet.settle(within=30)
        witness.wait_for(old, within=10)
        began = time.monotonic()
        fleet.sentinels[number % 3].ask("SENTINEL", "FAILOVER", "mymaster", "COORDINATED")
        new = fleet.wait_for_master(other_than=old)
        witness.wait_for(new, within=5)
        witness.watch(1)
        record_testsuite_property(f"coordinated, {mode}", story(witness, old, new, began))
        changes = [seen.answers for seen in witness.history if seen.at > began and seen.answers is not None]
        assert changes == [frozenset({new.announced})], witness.story()


@pytest.mark.netns
@pytest.mark.parametrize("fleet", [ON_PATH], indirect=True, ids=str)
def test_the_failover_command_leaves_nobody_out(
    fleet: Fleet, witness: Witness, record_testsuite_property: Record
) -> None:
    """There and back: the old master's agent leaves the claim to the new one's, which may see the swap up to a second later."""
    old = arrange(fleet, tables=MODES["watch"], down_after=10_000)
    new = next(node for node in fleet.nodes if node is not old)
    for giver, taker in ((old, new), (new, old)):
        until(lambda: taker.follows(giver), within=20, what="the replica is linked")  # noqa: B023 - used in this turn
        began = time.monotonic()
        giver.ask("FAILOVER", "TO", *map(str, taker.announced))
        until(lambda: giver.follows(taker), within=10, what="the roles are swapped")  # noqa: B023 - used in this turn
        witness.wait_for(taker, within=5)
        witness.watch(1)
        record_testsuite_property("FAILOVER by hand", story(witness, giver, taker, began))
        witness.assert_never_two(since=began)
        witness.assert_never_none(since=began)
