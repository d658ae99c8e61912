"""Sentinels that come, go, move, cannot be heard or cannot log in, on real servers: how many count, and who is published."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from tests.fleet import AgentNode, Fleet, RedisNode, SentinelNode, until

from .support import start_agents, wait_for_word

LONGER = 12.0
"""Seconds for which nothing is published that may not be: more than twice a search for Sentinels."""


def counted(agent: AgentNode) -> int:
    """How many Sentinels an agent counts, as its ``status --json`` says."""
    argv = [sys.executable, "-m", "consul_redis_agent", "status", "--json", "--socket", str(agent.socket)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
    known: int = json.loads(done.stdout)["nodes"][0]["known_sentinels"]
    return known


def check(agent: AgentNode) -> str:
    """What ``check`` prints with an agent's configuration."""
    argv = [sys.executable, "-m", "consul_redis_agent", "check", "--config", str(agent.config_path)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60).stdout


def all_count(fleet: Fleet, number: int) -> None:
    """Wait until each agent counts so many."""
    until(
        lambda: [counted(agent) for agent in fleet.agents] == [number] * len(fleet.agents),
        within=30,
        what=f"every agent counts {number} Sentinels",
    )


def restart_quickly(node: RedisNode) -> None:
    """Before any Sentinel holds it for down: its run id is another one, and who named it names it still."""
    node.kill()
    node.start()


def move(sentinel: SentinelNode, fleet: Fleet) -> None:
    """Stop a Sentinel, and start it with its file, so with its id, at another port."""
    sentinel.stop()
    sentinel.move(fleet.host("elsewhere").port(26379))
    sentinel.start()


def test_three_that_are_replaced_by_three_others_are_three(fleet: Fleet) -> None:
    """New ones at other addresses, the old ones stopped, RESET on the new: a master that restarts is named at once."""
    fleet.populate(nodes=2)
    witness, old = start_agents(fleet), list(fleet.sentinels)
    all_count(fleet, 3)
    new = [fleet.sentinel(master=fleet.nodes[0]) for _ in old]
    fleet.settle()
    all_count(fleet, 6)
    for sentinel in old:
        sentinel.stop()
        fleet.sentinels.remove(sentinel)
    for sentinel in new:
        sentinel.ask("SENTINEL", "RESET", "mymaster")
    fleet.settle()
    all_count(fleet, 3)
    assert "3 of 3 have a vote" in check(fleet.agents[0])
    began = time.monotonic()
    restart_quickly(fleet.nodes[0])
    witness.wait_for(fleet.nodes[0], within=8)
    assert fleet.failover() is fleet.nodes[1]
    witness.wait_for(fleet.nodes[1], within=3)
    witness.assert_never_two(since=began)


def test_a_sentinel_that_comes_back_elsewhere_is_watched_there(fleet: Fleet) -> None:
    """A container with a new address and its old id: a failover that it leads is as quick as any."""
    fleet.populate(nodes=2)
    witness, moved = start_agents(fleet), fleet.sentinels[0]
    all_count(fleet, 3)
    move(moved, fleet)
    fleet.settle()
    until(
        lambda: f" {moved.address.port}" in _addresses(fleet.agents[1]),
        within=15,
        what="it is watched at its new address",
    )
    all_count(fleet, 3)
    began = time.monotonic()
    fleet.failover()
    witness.wait_for(fleet.nodes[1], within=3)
    witness.assert_never_none(since=began)
    witness.assert_never_two(since=began)


def _addresses(agent: AgentNode) -> str:
    argv = [sys.executable, "-m", "consul_redis_agent", "status", "--json", "--socket", str(agent.socket)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
    said = json.loads(done.stdout)["nodes"][0]["sentinels"]
    return "".join(f" {s['address'].rpartition(':')[2]}" for s in said if s["reachable"])


def test_a_login_that_may_not_hear_hellos_publishes_nothing_and_says_so(fleet: Fleet) -> None:
    """Redis gives a new ACL user no channel: that is not the absence of Sentinels. Once it is given, all goes on."""
    user = [("user", "app on >secret +info +ping +client|setname +config|get +subscribe")]
    fleet.consul(servers=1)
    node = fleet.redis(settings=user)
    fleet.sentinel(master=node, quorum=1)
    path = fleet.folder / "app.password"
    path.write_text("secret")
    config = f'username = "app"\npassword_file = "{path}"\n'
    agent = fleet.agent(node, config=fleet.agent_config(node, consul=fleet.consuls[0]) + config)
    witness, began = fleet.witness(), time.monotonic()
    wait_for_word(agent, "Redis refuses to let this login hear Sentinels' hellos")
    witness.watch(LONGER)
    witness.assert_only(since=began)
    node.ask("ACL", "SETUSER", "app", "&__sentinel__:hello")
    witness.wait_for(node, within=15)


def test_sentinels_that_cannot_log_in_cannot_say_hello(fleet: Fleet) -> None:
    """Their auth-pass is wrong: a fresh agent publishes nothing as if there were none, and names the refused logins."""
    fleet.consul(servers=1)
    node = fleet.redis(password="right")
    for _ in range(3):
        fleet.sentinel(master=node)
    for sentinel in fleet.sentinels:
        sentinel.ask("SENTINEL", "SET", "mymaster", "auth-pass", "wrong")
        for kind in ("normal", "pubsub"):
            node.ask("CLIENT", "KILL", "TYPE", kind)
    agent, witness, began = fleet.agent(node), fleet.witness(), time.monotonic()
    wait_for_word(agent, "logins meanwhile: if those are Sentinels, correct their auth-pass")
    witness.watch(LONGER)
    witness.assert_only(since=began)
    for sentinel in fleet.sentinels:
        sentinel.ask("SENTINEL", "SET", "mymaster", "auth-pass", "right")
    witness.wait_for(node, within=20)


def test_a_master_that_all_name_and_hold_for_down_is_published(fleet: Fleet) -> None:
    """The Sentinels lost their password and the master's Redis restarts: none promotes another, and ``check`` says what is wrong."""
    fleet.consul(servers=1)
    node = fleet.redis(password="right")
    for _ in range(3):
        fleet.sentinel(master=node)
    fleet.settle()
    hosts = ", ".join(f'"{s.address}"' for s in fleet.sentinels)
    agent = fleet.agent(node, more=f"[sentinel]\nhosts = [{hosts}]\n")
    witness = fleet.witness()
    witness.wait_for(node, within=10)
    for sentinel in fleet.sentinels:
        sentinel.ask("SENTINEL", "SET", "mymaster", "auth-pass", "wrong")
    restart_quickly(node)
    until(lambda: all("s_down" in s.master()["flags"] for s in fleet.sentinels), within=10, what="all hold it for down")
    witness.wait_for(node, within=20)
    failed = [line for line in check(agent).splitlines() if line.startswith("FAIL sentinel ")]
    assert [line for line in failed if "and holds it for down" in line]


@pytest.mark.parametrize("name", ["mymaster", "another"])
def test_one_hello_with_nobody_behind_it_is_forgotten(fleet: Fleet, name: str) -> None:
    """In a group without Sentinel the master is published all the same, a little later."""
    fleet.consul(servers=1)
    node = fleet.redis()
    fleet.agent(node)
    witness = fleet.witness()
    until(lambda: node.ask("PUBSUB", "NUMSUB", "__sentinel__:hello")[1] == 1, within=5, what="the agent listens")
    node.ask("PUBLISH", "__sentinel__:hello", f"127.0.0.1,1,{'f' * 40},0,{name},127.0.0.1,{node.address.port},0")
    witness.wait_for(node, within=25)
