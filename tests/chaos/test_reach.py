"""Who hears nothing of a Sentinel, worked out from what is done to hosts and processes."""

from __future__ import annotations

from typing import Any, cast

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import RedisNode, SentinelNode
from tests.fleet.hosts import LoopbackHost

from .authority import Unheard
from .reach import Reach

A, B, C = NODES = [Address(f"10.0.0.{n}", 6379) for n in (1, 2, 3)]


class Part:
    """As much of a process as Reach looks at."""

    def __init__(self, name: str, host: LoopbackHost, announced: Address) -> None:
        self.name, self.host, self.announced = name, host, announced


@pytest.fixture
def hosts() -> list[LoopbackHost]:
    """A host for each node, with a Sentinel each."""
    return [LoopbackHost(node.host) for node in NODES]


@pytest.fixture
def sentinels(hosts: list[LoopbackHost]) -> list[Any]:
    """The Sentinels 1 to 3."""
    return [Part(f"sentinel{i}", host, node) for i, (host, node) in enumerate(zip(hosts, NODES, strict=True), 1)]


@pytest.fixture
def reach(sentinels: list[Any]) -> Reach:
    """Nothing has been done yet."""
    return Reach(cast(list[SentinelNode], sentinels), cast(list[RedisNode], sentinels))


def test_nobody_hears_a_sentinel_that_is_stopped(reach: Reach, sentinels: list[Any]) -> None:
    """Not even its own host, until it goes on."""
    reach.stop(sentinels[0], 1)
    reach.go_on(sentinels[0], 2)
    assert reach.changes == [Unheard(1, "sentinel1", frozenset(NODES)), Unheard(2, "sentinel1", frozenset())]


def test_a_cut_parts_each_side_from_the_sentinels_of_the_other(reach: Reach, hosts: list[LoopbackHost]) -> None:
    """On its own host a Sentinel is heard; and what was not cut stays as it is."""
    reach.cut(hosts[0], [hosts[1]], 1)
    assert reach.changes == [Unheard(1, "sentinel1", frozenset({B})), Unheard(1, "sentinel2", frozenset({A}))]
    reach.heal(2)
    assert reach.changes[2:] == [Unheard(2, "sentinel1", frozenset()), Unheard(2, "sentinel2", frozenset())]


def test_a_host_without_power_is_heard_by_nobody_and_hears_nobody(reach: Reach, hosts: list[LoopbackHost]) -> None:
    """And nobody hears that its processes have ended."""
    reach.unplug(hosts[0], 1)
    assert Unheard(1, "sentinel1", frozenset({B, C})) in reach.changes
    assert Unheard(1, "sentinel2", frozenset({A})) in reach.changes
    assert not reach.had_power(hosts[0], 1.5)
    reach.plug_in(hosts[0], 2)
    assert Unheard(2, "sentinel1", frozenset()) in reach.changes
    assert [reach.had_power(hosts[0], at) for at in (0.5, 1.5, 2)] == [True, False, True]


def test_one_harm_that_ends_leaves_the_other(reach: Reach, sentinels: list[Any], hosts: list[LoopbackHost]) -> None:
    """A Sentinel that is stopped and cut off is heard again only by its own host when it goes on."""
    reach.cut(hosts[0], hosts[1:], 1)
    reach.stop(sentinels[0], 2)
    reach.go_on(sentinels[0], 3)
    assert reach.changes[-1] == Unheard(3, "sentinel1", frozenset({B, C}))
    reach.mend(4)
    assert Unheard(4, "sentinel1", frozenset()) in reach.changes
