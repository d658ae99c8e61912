"""SIGHUP: the configuration is read again while DNS goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import AgentNode, Fleet, Witness, until

TEXT = '[log]\nformat = "text"\n'


@pytest.fixture
def running(fleet: Fleet) -> tuple[Fleet, AgentNode, Witness]:
    """A fleet whose master is published, with an agent for it alone."""
    fleet.populate(nodes=2)
    agent = fleet.agent(fleet.nodes[0], more=TEXT)
    witness = fleet.witness()
    witness.wait_for(fleet.nodes[0], within=15)
    return fleet, agent, witness


def reload(agent: AgentNode, change: Callable[[str], str]) -> None:
    """Change the file and send SIGHUP."""
    path: Path = agent.config_path
    path.write_text(change(path.read_text()))
    agent.signal(signal.SIGHUP)


def test_a_reload_changes_entry_and_log_and_dns_does_not_blink(running: tuple[Fleet, AgentNode, Witness]) -> None:
    """What is new is in Consul and in the log at once, and the master's name stays all the while."""
    fleet, agent, witness = running
    since = witness.up_to
    reload(agent, lambda text: text.replace(TEXT, TEXT + 'level = "debug"\n') + '[service]\nmeta = { team = "shop" }\n')

    def meta() -> list[dict[str, str]]:
        return [one["Service"]["Meta"] for one in fleet.consuls[0].get("/v1/health/service/redis?passing")]

    until(lambda: [m.get("team") for m in meta()] == ["shop"], within=10, what="Consul holds the new Meta")
    until(lambda: " debug " in agent.log(), within=10, what="debug lines are logged")
    witness.watch(1)
    witness.assert_only(fleet.nodes[0], since=since)


def test_a_wrong_configuration_is_refused_and_the_old_one_stays(running: tuple[Fleet, AgentNode, Witness]) -> None:
    """Every mistake is named, the agent stays up, DNS does not blink."""
    fleet, agent, witness = running
    since = witness.up_to
    reload(agent, lambda text: text + '[service]\nttl = "0s"\nmoed = "tags"\n')
    for words in ("service.ttl: 0s is not between 1s and 10m", "service.moed: unknown key; did you mean service.mode?"):
        until(lambda: words in agent.log(), within=10, what=f"the log names {words!r}")  # noqa: B023 - called at once
    witness.watch(1)
    witness.assert_only(fleet.nodes[0], since=since)
    assert agent.alive


def test_a_new_service_name_is_published_after_the_old_one_has_left(running: tuple[Fleet, AgentNode, Witness]) -> None:
    """The master is found under the new name, and under the old one no longer."""
    fleet, agent, witness = running
    consul, master = fleet.consuls[0], fleet.nodes[0].announced
    reload(agent, lambda text: text + '[service]\nname = "store"\n')
    until(lambda: consul.srv("store") == frozenset({master}), within=10, what="the new name is published")
    witness.wait_for(within=10)
    names: list[Address] = [*(consul.srv("redis") or ())]
    assert names == []
