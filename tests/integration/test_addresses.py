"""Which address is published: the one that others use."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import AgentNode, Fleet, Host, Process, RedisNode, until
from tests.fleet import forwarder as forwarding

from .support import Held, master, replica, start_agents, wait_for_catalog, wait_for_word

ELSEWHERE = Address("10.0.0.5", 7000)
BY_NAME = {"sentinel resolve-hostnames": "yes", "sentinel announce-hostnames": "yes"}


def announced(fleet: Fleet) -> RedisNode:
    """A node that announces another address of this machine than the one it is reached at."""
    node = fleet.redis(settings={"bind": "127.0.0.1 127.0.0.2"})
    node.announced = Address("127.0.0.2", node.address.port)
    node.ask("CONFIG", "SET", "replica-announce-ip", node.announced.host)
    node.ask("CONFIG", "SET", "replica-announce-port", str(node.announced.port))
    return node


def test_the_address_that_the_operator_says_and_the_one_that_sentinel_uses(fleet: Fleet) -> None:
    """`announce` counts before Sentinel's word; where it is not set, Sentinel's, for master and replica."""
    fleet.consul(servers=1)
    one, two = announced(fleet), announced(fleet)
    two.ask("REPLICAOF", *map(str, one.announced))
    fleet.wait_for_replicas()
    fleet.sentinel(master=one, quorum=1)
    fleet.settle()
    consul = fleet.consuls[0]
    fleet.agent(one, config=fleet.agent_config(one, consul=consul) + f'announce = "{ELSEWHERE}"\n')
    fleet.agent(two)
    wait_for_catalog(consul, master(one)._replace(address=ELSEWHERE), replica(two), within=10)

    one.kill()
    wait_for_catalog(consul, master(two), within=15)


def test_addresses_without_sentinel(fleet: Fleet) -> None:
    """`announce` counts before what the node announces itself, and where neither is set, the host as Consul knows it.

    Of what the node announces the port may be left out: that is its own then.
    """
    consul = fleet.consul(servers=1)
    by_agent, by_node, by_ip, by_nobody = announced(fleet), announced(fleet), announced(fleet), fleet.redis()
    by_ip.ask("CONFIG", "SET", "replica-announce-port", "0")
    config = f'[consul]\nurl = "http://{consul.http}"\n[sentinel]\nmode = "off"\n'
    for node, keys in (
        (by_agent, f'service = "by-agent"\nannounce = "{ELSEWHERE}"'),
        (by_node, 'service = "by-node"'),
        (by_ip, 'service = "by-ip"'),
        (by_nobody, 'service = "by-nobody"'),
    ):
        config += f'[[redis]]\nurl = "redis://127.0.0.1:{node.address.port}"\n{keys}\n'
    fleet.agent(by_agent, config=config)
    wait_for_catalog(
        consul,
        Held("by-agent", ELSEWHERE, ("master",), "role:master"),
        Held("by-node", by_node.announced, ("master",), "role:master"),
        Held("by-ip", by_ip.announced, ("master",), "role:master"),
        Held("by-nobody", by_nobody.address, ("master",), "role:master"),
        within=10,
    )


def commands(agent: AgentNode, *command: str) -> subprocess.CompletedProcess[str]:
    """A command with the configuration of this agent, on its host."""
    argv = [sys.executable, "-m", "consul_redis_agent", *command, "--config", str(agent.config_path)]
    env = agent.env
    if agent.host.hosts_file:
        argv = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            'mount --bind "$0" /etc/hosts && exec "$@"',
            str(agent.host.hosts_file),
            *argv,
        ]
    with agent.host.inside():
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env=env, cwd=agent.folder)


@pytest.mark.netns
def test_sentinels_that_were_told_a_loopback_address(isolated_fleet: Fleet) -> None:
    """It is used where there is no other, and said; `check` and `resolve` fail. `announce` wins."""
    fleet = isolated_fleet
    server = fleet.consul(servers=1)
    node = fleet.redis()
    consul = fleet.consul(node.host)
    node.announced = Address("127.0.0.1", 6379)
    fleet.sentinel(node.host, master=node, quorum=1)
    fleet.settle()
    agent = fleet.agent(node)
    wait_for_catalog(server, master(node), within=10)
    wait_for_word(agent, "applications are told 127.0.0.1:6379, which is of use on this host only")
    for command in ("check", "resolve"):
        said = commands(agent, command)
        assert said.returncode == 1
        assert "which is of use on this host only" in said.stdout
    agent.stop()

    config = fleet.agent_config(node, consul=consul) + f'[[redis]]\nannounce = "{node.address}"\n'
    agent = fleet.agent(node, config=config)
    wait_for_catalog(server, master(node)._replace(address=node.address), within=20)
    wait_for_word(agent, "Sentinel knows this node as 127.0.0.1:6379, which is of use on this host only")
    assert commands(agent, "resolve").returncode == 0
    said = commands(agent, "check")
    assert said.returncode == 0, said.stdout
    assert f"{node.address}, from redis.announce; Sentinel knows it as 127.0.0.1:6379" in said.stdout


def by_name(fleet: Fleet, count: int, domain: str) -> list[RedisNode]:
    """Redis nodes on hosts that know each other by name, and use nothing else: each with a Sentinel and a Consul agent."""
    fleet.consul(servers=1, wait=False)
    hosts = [fleet.host(f"redis-{number + 1}") for number in range(count)]
    file = fleet.folder / "hosts"
    write_hosts(file, hosts, domain)
    for host in hosts:
        host.hosts_file = file
        node = fleet.redis(host, settings={"replica-announce-ip": f"{host.name}{domain}"})
        node.announced = Address(f"{host.name}{domain}", 6379)
        fleet.consul(host, wait=False)
    for node in fleet.nodes[1:]:
        node.ask("REPLICAOF", *map(str, fleet.nodes[0].announced))
    fleet.wait_for_replicas()
    for node in fleet.nodes:
        settings = BY_NAME | {"sentinel announce-ip": node.announced.host}
        fleet.sentinel(node.host, master=fleet.nodes[0], settings=settings)
    for consul in fleet.consuls:
        consul.wait_ready(within=20)
    fleet.settle()
    return fleet.nodes


def write_hosts(file: Path, hosts: list[Host], domain: str) -> None:
    """What they have as /etc/hosts."""
    lines = ["127.0.0.1 localhost", *(f"{host.address} {host.name}{domain}" for host in hosts)]
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.netns
def test_hosts_by_their_names(isolated_fleet: Fleet) -> None:
    """Sentinels and Redis that use host names: DNS has the names, through a planned failover and a kill.

    Consul's DNS has no address for them, which `check` says and fails on, and `resolve` says; it finds the node as this host
    resolves names.
    """
    fleet = isolated_fleet
    one, *_ = by_name(fleet, 3, ".fleet.example")
    witness = start_agents(fleet)
    witness.wait_for(one, within=10)
    said = commands(fleet.agents[0], "resolve")
    assert said.returncode == 0, said.stdout
    assert "Consul's DNS has no address for the target redis-1.fleet.example" in said.stdout
    said = commands(fleet.agents[0], "check")
    assert said.returncode == 1
    assert [line for line in said.stdout.splitlines() if line.startswith("FAIL")] == [
        line for line in said.stdout.splitlines() if "Consul's DNS has no address for the target" in line
    ]

    began = time.monotonic()
    two = fleet.failover()
    witness.wait_for(two, within=5)
    until(lambda: one.follows(two), within=30, what="the old master follows the new one")
    witness.assert_never_none(since=began)
    fleet.settle()
    two.kill()
    three = fleet.wait_for_master(other_than=two)
    witness.wait_for(three, within=5)
    witness.assert_never_two()


@pytest.mark.netns
def test_a_name_of_one_label_is_no_address_for_others(isolated_fleet: Fleet) -> None:
    """As compose gives them: what is published is the IP address to which the name led, and that follows the container."""
    fleet = isolated_fleet
    server, host, elsewhere = fleet.consul(servers=1), fleet.host("redis"), fleet.host("beside")
    file = fleet.folder / "hosts"
    write_hosts(file, [host], "")
    elsewhere.hosts_file = file
    node = fleet.redis(host)
    consul = fleet.consul(elsewhere)
    config = '[sentinel]\nmode = "off"\n[[redis]]\nurl = "redis://redis:6379"\n'
    agent = AgentNode("agent", host=elsewhere, folder=fleet.folder, config=config)
    fleet.agents.append(fleet.add(agent))
    wait_for_catalog(server, master(node), within=10)
    assert consul.srv("redis") == frozenset({node.address})
    assert commands(agent, "check").returncode == 0

    node.kill()
    moved = fleet.redis(fleet.host("redis-again"))
    write_hosts(file, [host], "")
    file.write_text(f"{moved.address.host} redis\n")
    wait_for_catalog(server, master(moved), within=20)


@pytest.mark.netns
def test_two_nodes_behind_the_port_mapping_of_their_hosts(isolated_fleet: Fleet) -> None:
    """Redis on 7001 and 7002 inside, 16379 and 16380 outside, where Sentinels, replicas and applications are."""
    fleet = isolated_fleet
    server, host = fleet.consul(servers=1), fleet.host("docker")
    fleet.consul(host)
    for number in (1, 2):
        outside = Address(host.address, 16378 + number)
        settings = {"replica-announce-ip": outside.host, "replica-announce-port": str(outside.port)}
        node = fleet.redis(host, settings=settings, usual_port=7000 + number)
        node.announced = outside
        argv = [sys.executable, "-I", forwarding.__file__, *map(str, (*outside, "127.0.0.1", node.address.port))]
        fleet.add(Process(f"mapping{number}", argv, host=host, folder=fleet.folder))
    one, two = fleet.nodes
    two.ask("REPLICAOF", *map(str, one.announced))
    fleet.wait_for_replicas()
    for _ in range(3):
        fleet.sentinel(master=one)
    fleet.settle()
    config = "".join(f'[[redis]]\nurl = "redis://127.0.0.1:{node.address.port}"\n' for node in (one, two))
    fleet.agent(one, config=config)
    witness = fleet.witness()
    witness.wait_for(one, within=20)
    wait_for_catalog(server, master(one), replica(two), within=10)
    began = time.monotonic()
    fleet.failover()
    witness.wait_for(two, within=5)
    until(lambda: one.follows(two), within=30, what="the old master follows the new one")
    fleet.settle()
    witness.assert_never_none(since=began)
    two.kill()
    fleet.wait_for_master(other_than=two)
    witness.wait_for(one, within=5)
    witness.assert_never_two()


def test_a_replica_that_is_not_to_be_seen_is_published_at_its_selection(fleet: Fleet) -> None:
    """``replica-announced no``: Sentinel lists it nowhere, and still tells whom it has selected."""
    fleet.consul(servers=1)
    one = fleet.redis()
    two = fleet.redis(replica_of=one, settings={"replica-announced": "no"})
    fleet.wait_for_replicas()
    for _ in range(3):
        fleet.sentinel(master=one)
    until(
        lambda: all(s.master()["num-slaves"] == "1" and len(s.others()) == 2 for s in fleet.sentinels),
        within=20,
        what="the Sentinels know the replica and each other",
    )
    start_agents(fleet)
    wait_for_catalog(fleet.consuls[0], master(one))
    fleet.sentinels[0].ask("SENTINEL", "FAILOVER", "mymaster")
    wait_for_word(fleet.agents[1], "none -> master, epoch 1: selected by the elected leader")
    wait_for_catalog(fleet.consuls[0], master(two), within=20)
