"""The night's failover, explained the next morning: by the host that lost the master and by the one that has it, on a real fleet."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from consul_redis_agent.tell.server import fetch
from consul_redis_agent.tell.tale import SIGNS
from tests.documented import assert_documented
from tests.fleet import SCALE, AgentNode, Fleet, RedisNode, until

from .support import start_agents, wait_for_word

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


def told(agent: AgentNode, kind: str, over: Callable[[Mapping[str, Any]], object]) -> Mapping[str, Any]:
    """The one episode of that kind, once it is ``over``, as the command tells it; all are as they are documented."""

    def there() -> Mapping[str, Any] | None:
        episodes: list[dict[str, Any]] = json.loads(fetch(agent.socket, "/history", 5.0))["episodes"]
        return next((e for e in reversed(episodes) if e["kind"] == kind and over(e)), None)

    until(there, within=90, what=f"{agent.name} tells of a {kind}", every=0.2)
    answer = json.loads(asked(agent, "--json"))
    assert_documented("history", answer)
    (found,) = [episode for episode in answer["episodes"] if episode["kind"] == kind]
    return dict(found)


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
    promoted = told(there, "promotion", lambda episode: episode["ended"])
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
    lost = told(here, "withdrawal", lambda episode: "claim_shown" in {event["name"] for event in episode["events"]})
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
    wait_for_word(agent, "starts for", times=2)
    until(agent.socket.exists, within=10, what="the agent listens again")
    assert episode in json.loads(asked(agent, "--json"))["episodes"]
