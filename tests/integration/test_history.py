"""The night's failover, explained the next morning: by the host that lost the master and by the one that has it, on a real fleet."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from consul_redis_agent.tell.episode import SIGNS
from consul_redis_agent.tell.shelf import is_episode
from tests.fleet import SCALE, AgentNode, Fleet, RedisNode, until

from .support import start_agents

SLACK = 0.5
"""Seconds by which two hosts may see the same thing at different times: a poll, and a busy machine."""


def asked(agent: AgentNode, *flags: str) -> str:
    """What `history` of the installed package says beside that agent, piped."""
    done = subprocess.run(
        [sys.executable, "-m", "consul_redis_agent", "history", "--socket", str(agent.socket), *flags],
        capture_output=True,
        text=True,
        check=True,
        timeout=30 * SCALE,
        env={"STATE_DIRECTORY": str(agent.socket.with_suffix(".state"))},
    )
    return done.stdout


def told(agent: AgentNode, kind: str) -> Mapping[str, Any]:
    """The last episode of that kind, once it has ended; it and all others have the documented shape."""
    found: dict[str, Any] = {}

    def there() -> bool:
        answer = json.loads(asked(agent, "--json"))
        assert answer.keys() == {"version", "episodes"}
        assert all(map(is_episode, answer["episodes"]))
        found.update(next((e for e in reversed(answer["episodes"]) if e["kind"] == kind and e["ended"]), {}))
        return bool(found)

    until(there, within=90, what=f"{agent.name} tells of a {kind}")
    return found


def first(episode: Mapping[str, Any], name: str, **fields: object) -> float:
    """The wall second of the first such event."""
    fits = (e["at"] for e in episode["events"] if e["name"] == name and fields.items() <= e.items())
    return float(episode["began"] + next(fits))


@pytest.mark.slow
def test_a_killed_master_is_told_from_both_sides_also_after_a_restart(fleet: Fleet) -> None:
    """Text, JSON and picture; and the agent that saw it need not be the one that tells it."""
    fleet.populate(failover_timeout=3000)
    witness = start_agents(fleet)
    until(lambda: all("replicating" in agent.log() for agent in fleet.agents[1:]), within=10, what="all have decided")
    fleet.wait_for_replicas(within=20)
    old, killed = fleet.nodes[0], time.time()
    old.kill()
    new = fleet.wait_for_master(other_than=old)
    witness.wait_for(new, within=10)
    here, there = fleet.agents[0], fleet.agents[fleet.nodes.index(new)]
    promoted = told(there, "promotion")
    steps = [
        killed - SLACK,
        first(promoted, "sentinel_down", down=True),
        first(promoted, "sentinel_selected"),
        first(promoted, "decided", to="master"),
        first(promoted, "consul_step", step="transact", error=""),
        first(promoted, "consul_holds"),
        time.time(),
    ]
    assert steps == sorted(steps), promoted
    assert promoted["began"] == pytest.approx(killed, abs=SLACK * SCALE + 1)
    assert promoted["seconds"]["promotion_to_decision"] is not None
    assert promoted["seconds"]["decision_to_consul"] is not None
    old.launch()
    until(lambda: old.follows(new), within=30, what="the old master follows the new one")
    lost = told(here, "withdrawal")
    assert first(lost, "redis_turned", to="gone") == pytest.approx(killed, abs=SLACK * SCALE)
    assert first(lost, "claim_shown", to=str(new.announced)) == pytest.approx(steps[4], abs=SLACK * SCALE)
    _is_whole(there, promoted, new)
    _outlives_a_restart(there, promoted)


def _is_whole(agent: AgentNode, episode: Mapping[str, Any], node: RedisNode) -> None:
    """Every event has its fields, the columns have every event, and the picture is XML with the sentence as its title."""
    for event in episode["events"]:
        lane, _, fields = SIGNS[event["name"]]
        assert (event["lane"], event.keys()) == (lane, {"at", "lane", "name", "text", *fields})
    assert asked(agent, "--node", str(node.address)).count("\tpromotion\t") == len(episode["events"])
    assert ET.fromstring(asked(agent, "--svg", "-"))[0].text == episode["sentence"]


def _outlives_a_restart(agent: AgentNode, episode: Mapping[str, Any]) -> None:
    agent.stop()
    assert episode in json.loads(asked(agent, "--json"))["episodes"]
    agent.launch()
    until(lambda: episode in json.loads(asked(agent, "--json"))["episodes"], within=10, what="it remembers")
