"""Which group a claim, an entry or a Sentinel is of, on real servers: two groups under one name, and what is not to be believed."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

from consul_redis_agent.consul.form import EPOCH, FORMAT, GROUP, MARKER, NODE, RUN_ID, TURN, claim_meta
from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.group import SETTLED
from tests.fleet import AgentNode, ConsulNode, Fleet, RedisNode, SentinelNode, Witness, until

from .support import instances, start_agents, wait_for_word

HANDOVERS = 12.0
"""Seconds for which two groups, or two nodes, would have evicted each other several times."""


def second_group(fleet: Fleet, *, name: str = "mymaster") -> tuple[list[RedisNode], list[SentinelNode]]:
    """Two more Redis nodes with three Sentinels of their own."""
    master = fleet.redis()
    nodes = [master, fleet.redis(replica_of=master)]
    until(lambda: nodes[1].follows(master), within=15, what="the replica of the second group follows")
    sentinels = [fleet.sentinel(master=master, master_name=name) for _ in range(3)]
    until(
        lambda: all(s.sees_all_well(others=2, replicas=1) for s in sentinels),
        within=15,
        what="the Sentinels of the second group see each other",
    )
    return nodes, sentinels


def command(agent: AgentNode, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of the commands, with an agent's configuration."""
    argv = [sys.executable, "-m", "consul_redis_agent", name, "--config", str(agent.config_path), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def planned(sentinels: list[SentinelNode], master: RedisNode) -> None:
    """A planned failover, until all of them name another node."""
    sentinels[0].ask("SENTINEL", "FAILOVER", sentinels[0].master_name)
    until(lambda: all(s.names() != master.announced for s in sentinels), within=20, what="another node is the master")


def register(consul: ConsulNode, node: RedisNode, meta: dict[str, str], *, id_: str) -> None:
    """An entry that says master and passes, as somebody may copy one."""
    check = {"CheckID": f"{id_}:role", "Name": "role:master", "TTL": "10m", "Status": "passing"}
    body = {"ID": id_, "Name": "redis", "Address": node.address.host, "Port": node.address.port, "Meta": meta}
    consul.put("/v1/agent/service/register", body | {"Check": check})


def entry_of(consul: ConsulNode, node: RedisNode) -> dict[str, Any] | None:
    """The Meta of a node's entry under the master's name."""
    found = [i["Service"] for i in instances(consul, "redis")]
    return next((s["Meta"] for s in found if (s["Address"], s["Port"]) == node.announced), None)


def ours_only(witness: Witness, nodes: list[RedisNode], since: float) -> None:
    """DNS has named no node but these, and never two."""
    witness.assert_never_two(since=since)
    allowed = {node.announced for node in nodes}
    named = {address for seen in witness.history if seen.at >= since for address in seen.answers or ()}
    assert named <= allowed, f"{named - allowed}\n{witness.story()}"


@pytest.mark.parametrize("ahead", [False, True], ids=["equal epochs", "a higher epoch"])
def test_two_groups_that_nobody_renamed(fleet: Fleet, *, ahead: bool) -> None:
    """First come stays, whatever the epochs; both logs and both checks say so, and `deregister` hands the name over."""
    fleet.populate(nodes=2)
    first = list(fleet.nodes)
    witness = start_agents(fleet)
    nodes, sentinels = second_group(fleet)
    master = nodes[0]
    if ahead:
        planned(sentinels, master)
        master = next(node for node in nodes if node.announced == sentinels[0].names())
        until(lambda: all(node.role() == "slave" for node in nodes if node is not master), within=30, what="all follow")
    agents = [fleet.agent(node) for node in nodes]
    own = agents[nodes.index(master)]
    began = time.monotonic()
    wait_for_word(own, "another group holds this service name", within=SETTLED + 10)
    wait_for_word(fleet.agents[0], "another group: it uses the service name 'redis' as well")
    for agent in (own, fleet.agents[0]):
        done = command(agent, "check")
        assert done.returncode == 1, done.stdout
        assert "FAIL another group" in done.stdout
    new = fleet.nodes[1]
    fleet.sentinels[0].ask("SENTINEL", "FAILOVER", "mymaster")
    witness.wait_for(new, within=10)
    witness.watch(HANDOVERS)
    ours_only(witness, first, began)
    assert {i["Service"]["Port"] for i in instances(fleet.consuls[0], "redis-replica")} <= {
        n.address.port for n in first
    }

    for agent in fleet.agents[:2]:
        agent.stop()
        assert command(agent, "deregister").returncode == 0
    witness.wait_for(master, within=10)


def test_a_sentinel_of_another_group_under_the_same_name_is_not_counted(fleet: Fleet) -> None:
    """It is far ahead, and named in sentinel.hosts: it silences nobody, and log and check name it."""
    fleet.populate(nodes=2)
    other = fleet.redis()
    stranger = fleet.sentinel(master=other)
    hosts = ", ".join(f'"{s.address}"' for s in [stranger, *fleet.sentinels[:3]])
    for node in fleet.nodes[:2]:
        fleet.agent(node, more=f'[sentinel]\nmode = "required"\nhosts = [{hosts}]\n')
    witness = fleet.witness(nodes=fleet.nodes[:2])
    witness.wait_for(fleet.nodes[0], within=10)
    wait_for_word(fleet.agents[0], f"Sentinel {stranger.address}: it watches another group under the name 'mymaster'")
    done = command(fleet.agents[0], "check")
    assert done.returncode == 1
    assert f"FAIL sentinel {stranger.address}: watches other nodes" in done.stdout
    assert "3 of 3 have a vote" in done.stdout
    fleet.sentinels[0].ask("SENTINEL", "FAILOVER", "mymaster")
    witness.wait_for(fleet.nodes[1], within=10)
    witness.assert_never_two()


def test_two_trios_over_the_same_nodes_give_one_answer(fleet: Fleet) -> None:
    """A failover by one of them: claims of nodes that the own Sentinels list are the group's, whatever its name there."""
    fleet.populate(nodes=2)
    sessions = [fleet.sentinel(master=fleet.nodes[0], master_name="sessions") for _ in range(3)]
    until(
        lambda: all(s.sees_all_well(others=2, replicas=1) for s in sessions), within=15, what="the second trio is well"
    )
    for node, name in zip(fleet.nodes, ("mymaster", "sessions"), strict=True):
        config = fleet.agent_config(node, consul=fleet.consuls[0]) + f'master_name = "{name}"\n'
        fleet.agent(node, config=config)
    witness = fleet.witness()
    witness.wait_for(fleet.nodes[0], within=10)
    began = time.monotonic()
    sessions[0].ask("SENTINEL", "FAILOVER", "sessions")
    witness.wait_for(fleet.nodes[1], within=10)
    witness.watch(HANDOVERS)
    witness.assert_never_two(since=began)
    wait_for_word(fleet.agents[0], "this group is known under several names: mymaster, sessions")


def test_sentinels_that_were_all_wiped_begin_a_new_count(fleet: Fleet) -> None:
    """Their epochs are below the claim's: the owner stays, takes the new count, and the next failover is followed."""
    fleet.populate(nodes=3)
    witness, consul = start_agents(fleet), fleet.consuls[0]
    owner = fleet.failover()
    witness.wait_for(owner, within=5)
    until(lambda: all(n.role() == "slave" for n in fleet.nodes if n is not owner), within=30, what="all follow")
    began = time.monotonic()
    for sentinel in fleet.sentinels:
        sentinel.kill()
    for sentinel in fleet.sentinels:
        sentinel.forget(owner)
        sentinel.start()
    fleet.settle(within=30)

    def recounted() -> bool:
        return (entry_of(consul, owner) or {}).get(EPOCH) == "0"

    until(recounted, within=2 * SETTLED + 20, what="the claim has the new count")
    witness.assert_only(owner, since=began)
    owner.kill()
    new = fleet.wait_for_master(other_than=owner, within=20)
    witness.wait_for(new, within=5)
    witness.assert_never_two()


def test_a_poisoned_epoch_does_not_keep_the_master_out(fleet: Fleet) -> None:
    """Nobody has followed it, and its node says that it is no master: the named node evicts it, and says so."""
    fleet.populate(nodes=2)
    witness, consul = start_agents(fleet), fleet.consuls[0]
    master, replica = fleet.nodes
    meta = dict(entry_of(consul, master) or {}) | {EPOCH: str(10**18), TURN: "0", RUN_ID: "a-copy", NODE: "somewhere"}
    register(consul, replica, meta, id_="poison")
    until(lambda: witness.answers == frozenset({replica.announced}), within=5, what="the newer claim is obeyed")
    witness.wait_for(master, within=12)
    wait_for_word(fleet.agents[0], "which no majority has followed, is evicted")
    witness.watch(5)
    assert witness.answers == frozenset({master.announced})


@pytest.mark.parametrize("epoch", [str(10**30), "", "-7", "0x10"])
def test_a_claim_that_cannot_be_read_is_reported_and_left_alone(fleet: Fleet, epoch: str) -> None:
    """It says master and passes: DNS shows it, and only its owner can end that."""
    fleet.populate(nodes=2)
    start_agents(fleet)
    consul = fleet.consuls[0]
    master, replica = fleet.nodes
    meta = dict(entry_of(consul, master) or {}) | {EPOCH: epoch, NODE: "somewhere"}
    register(consul, replica, meta, id_="unreadable")
    wait_for_word(
        fleet.agents[0], "that say master with a claim that cannot be read, left alone: unreadable on consul1"
    )
    until(
        lambda: consul.srv("redis") == frozenset({master.announced, replica.announced}), within=5, what="DNS names both"
    )
    done = command(fleet.agents[0], "check")
    assert done.returncode == 1
    assert "unreadable" in done.stdout


def test_a_dead_hosts_entry_with_an_epoch_keeps_nobody_out_where_there_is_no_sentinel(fleet: Fleet) -> None:
    """Only what lives counts."""
    consul, node = fleet.consul(servers=1), fleet.redis()
    check = {"Node": "ghost", "CheckID": "redis-1:role", "Name": "role:master", "ServiceID": "redis-1"}
    meta = {MARKER: FORMAT, GROUP: "long-gone", NODE: "redis://10.9.9.9:6379"} | claim_meta(Claim(7, 0, "gone"))
    service = {"ID": "redis-1", "Service": "redis", "Address": "10.9.9.9", "Port": 6379, "Meta": meta}
    dead = {"Node": "ghost", "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "critical"}
    body = {
        "Node": "ghost",
        "Address": "10.9.9.9",
        "Service": service,
        "Checks": [check | {"Status": "critical"}, dead],
    }
    consul.put("/v1/catalog/register", body)
    fleet.agent(node)
    witness = fleet.witness()
    witness.wait_for(node, within=15)
