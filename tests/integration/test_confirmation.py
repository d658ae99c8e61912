"""What confirms a claim, on real servers: only the leader of Consul's servers, whatever the own Consul agent goes on saying."""

from __future__ import annotations

import time
from typing import Any

import pytest

from consul_redis_agent.commands import status
from consul_redis_agent.decide.decision import Reason
from tests.fleet import AgentNode, Fleet, consul_streams, until

TTL = 3
MORE = f'[service]\nttl = "{TTL}s"\n[sentinel]\nmode = "off"\n'
SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "stale reads allowed": {"discovery_max_stale": "1m"},
    "streaming off": {"use_streaming_backend": False},
}
"""Of the own Consul agent."""

pytestmark = [pytest.mark.netns, pytest.mark.slow]


def reason(agent: AgentNode) -> str:
    """Why it decided what it decided last."""
    (node,) = status.ask(agent.socket)["nodes"]
    return str(node["reason"])


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_master_cut_off_from_consuls_servers_withdraws_within_its_lease(isolated_fleet: Fleet, settings: str) -> None:
    """Nobody else confirms its claim, so it is not kept for longer than the TTL, and not taken up again while the cut lasts."""
    fleet = isolated_fleet
    if "use_streaming_backend" in SETTINGS[settings] and not consul_streams():
        settings = "as it comes"  # an older Consul does not stream, and refuses the key
    fleet.consul(servers=1)
    node = fleet.redis()
    fleet.consul(node.host, extra=SETTINGS[settings])
    agent = fleet.agent(node, more=MORE)
    witness = fleet.witness()
    witness.wait_for(node, within=10)
    until(lambda: reason(agent) == Reason.INCUMBENT.value, within=5, what="it is the incumbent")

    witness.watch(TTL + 1)  # on Consul's word alone it stays for as long as that is given
    assert reason(agent) == Reason.INCUMBENT.value
    fleet.isolate(node)
    began = time.monotonic()
    until(lambda: reason(agent) == Reason.LEASE_OVER.value, within=TTL + 5, what="the lease is over")
    while time.monotonic() < began + 3 * TTL:  # whatever the Consul agent answers
        witness.watch(0.1)
        assert reason(agent) == Reason.LEASE_OVER.value
