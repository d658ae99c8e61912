"""A fleet with IPv6 and nothing else: Redis, Sentinel, Consul, its HTTP API and its DNS."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.fleet import Fleet, until

from .support import assert_steady, master, replica, start_agents, wait_for_catalog
from .test_addresses import commands

pytestmark = pytest.mark.netns


@pytest.fixture
def ipv6_fleet() -> Iterator[Fleet]:
    """An empty fleet of hosts without any IPv4 address."""
    with Fleet(isolated=True, ipv6=True) as fleet:
        yield fleet


@pytest.mark.main_path
def test_the_main_path_with_ipv6_alone(ipv6_fleet: Fleet) -> None:
    """Published, moved in order, killed: never two, and none only while there is none; the commands find all well."""
    fleet = ipv6_fleet
    fleet.populate()
    witness, old = start_agents(fleet), fleet.nodes[0]
    wait_for_catalog(fleet.consuls[0], master(old), *map(replica, fleet.nodes[1:]))
    for command in ("check", "resolve"):
        said = commands(fleet.agents[0], command)
        assert said.returncode == 0, said.stdout + said.stderr
    could = lambda: commands(fleet.agents[0], "failover", "--dry-run").returncode == 0  # noqa: E731
    until(could, within=20, what="a Sentinel's failover-timeout since its start is over", every=0.5)

    began = time.monotonic()
    new = fleet.failover()
    witness.wait_for(new, within=3)
    until(lambda: old.follows(new), within=30, what="the old master follows the new one")
    fleet.settle()
    witness.assert_never_none(since=began)

    new.kill()
    third = fleet.wait_for_master(other_than=new)
    witness.wait_for(third, within=5)
    returned = time.monotonic()
    new.start()
    until(lambda: new.follows(third), within=30, what="the killed one follows the new master")
    assert_steady(witness, third, since=returned)
    witness.assert_never_two()


def test_one_address_in_many_spellings(ipv6_fleet: Fleet) -> None:
    """Sentinel, the configuration and Redis write it in their own ways: one address, in Consul in the shortest."""
    fleet = ipv6_fleet
    server, node = fleet.consul(servers=1), fleet.redis()
    consul = fleet.consul(node.host)
    spelled = node.address.host.replace("::", ":0:0:0:0:0:0:").upper()
    node.ask("CONFIG", "SET", "replica-announce-ip", spelled)
    fleet.sentinel(node.host, master=node, quorum=1, settings={"sentinel announce-ip": spelled})
    fleet.settle()
    config = fleet.agent_config(node, consul=consul).replace("[[redis]]", f'[[redis]]\nannounce = "[{spelled}]:6379"')
    agent = fleet.agent(node, config=config)
    wait_for_catalog(server, master(node), within=20)
    said = commands(agent, "check")
    assert said.returncode == 0, said.stdout
    assert f"{node.address}, from redis.announce\n" in said.stdout
    assert spelled not in said.stdout
