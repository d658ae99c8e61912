"""The first publication, and how applications find the master by it."""

from __future__ import annotations

import subprocess

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import Fleet, Host, until

from .support import instances, master, replica, start_agents, wait_for_catalog

pytestmark = pytest.mark.main_path

PIPELINE = r"""
redis-cli -h $(dig @127.0.0.1 -p 8600 redis.service.consul SRV | sed -n '/ADDITIONAL SECTION/{n;p}' | awk '{print $5}') \
          -p $(dig @127.0.0.1 -p 8600 redis.service.consul SRV | sed -n '/NSWER SECTION/{n;p}' | awk '{print $7}') get name
"""


def redis_cli_by_dns(host: Host, dns: Address) -> str:
    """What the well-known pipeline prints on a host; only the address of the DNS server is put in."""
    script = PIPELINE.replace("@127.0.0.1 -p 8600", f"@{dns.host} -p {dns.port}")
    with host.inside():
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


@pytest.mark.netns
def test_with_no_configuration_at_all(isolated_fleet: Fleet) -> None:
    """On the usual ports an empty configuration is enough: Sentinels, master name and address are found by hello."""
    fleet = isolated_fleet
    fleet.populate()
    witness = start_agents(fleet)
    assert [agent.config_path.read_text() for agent in fleet.agents] == ["", "", ""]
    one, two, three = fleet.nodes
    wait_for_catalog(fleet.consuls[0], master(one), replica(two), replica(three), within=5)
    witness.assert_never_two()

    one.ask("SET", "name", "found with an empty file")
    for node in fleet.nodes:
        assert redis_cli_by_dns(node.host, fleet.consul_of(node.host).dns) == "found with an empty file"


def test_with_a_configuration(fleet: Fleet) -> None:
    """Configured Sentinels and master name: the entry carries the claim, and the pipeline follows the master."""
    fleet.populate()
    consul, (one, two, three) = fleet.consuls[0], fleet.nodes
    hosts = ", ".join(f'"{sentinel.address}"' for sentinel in fleet.sentinels)
    for node in fleet.nodes:
        config = f'[sentinel]\nmode = "required"\nhosts = [{hosts}]\n' + fleet.agent_config(node, consul=consul)
        fleet.agent(node, config=config + 'master_name = "mymaster"\n')
    wait_for_catalog(consul, master(one), replica(two), replica(three), within=10)
    (entry,) = instances(consul, "redis")
    meta = entry["Service"]["Meta"]
    assert meta.pop("redis-group").startswith(meta["redis-run-id"][:16])
    assert meta.pop("redis-agent") == (fleet.folder / "agent1.state" / "agent-id").read_text()
    assert meta == {
        "consul_redis_agent": "2",
        "external-source": "consul-redis-agent",
        "redis-node": f"redis://127.0.0.1:{one.address.port}",
        "redis-master-name": "mymaster",
        "redis-epoch": "0",
        "redis-turn": "0",
        "redis-run-id": one.info("server")["run_id"],
    }

    one.ask("SET", "name", "the first master")
    assert redis_cli_by_dns(one.host, consul.dns) == "the first master"
    new = fleet.failover()
    new.ask("SET", "name", "the second master")
    until(lambda: consul.srv("redis") == frozenset({new.announced}), within=3, what="DNS names the new master alone")
    assert redis_cli_by_dns(one.host, consul.dns) == "the second master"
    epochs = {i["Service"]["Port"]: i["Service"]["Meta"]["redis-epoch"] for i in instances(consul, "redis")}
    assert epochs[new.address.port] == fleet.sentinels[0].master()["config-epoch"]
