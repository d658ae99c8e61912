"""The history of agents to whom everything happens: true to its shape and its order, whatever goes wrong."""

from __future__ import annotations

import json
from collections import Counter

from consul_redis_agent.tell.episode import FIRST, LAST
from tests.documented import assert_documented

from .world import World

SEEDS = 4


def test_the_history_is_in_order_and_within_bounds_whatever_goes_wrong() -> None:
    """Each agent's, also after its restarts: documented, in the order in which things happened, no time below zero."""
    kinds = Counter[str]()
    for seed in range(SEEDS):
        for host in World(seed).run().hosts:
            process = host.agent._agent
            assert process is not None
            told = json.loads(process.history.json())
            assert_documented("history", told)
            for episode in told["episodes"]:
                kinds[episode["kind"]] += 1
                at = [event["at"] for event in episode["events"]]
                assert at == sorted(at)
                assert len(at) <= FIRST + LAST
                assert min([0.0, *(v for v in episode["seconds"].values() if v is not None)]) == 0.0
    assert kinds.keys() >= {"promotion", "withdrawal", "failover"}, kinds
