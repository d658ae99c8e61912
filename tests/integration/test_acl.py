"""Everybody under ACLs: the agents with exactly the rights that ``config/`` ships, Consul denies by default, Redis' ``default`` user is off.

What ships is enough for all that the agent and its commands do, and each right in it is missed by name.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_redis_agent.commands.check import _outside
from consul_redis_agent.commands.doctor.report import Report
from consul_redis_agent.commands.screen import Finding
from consul_redis_agent.config import load
from tests.fleet import (
    ON_PATH,
    REDIS_6_2,
    SCALE,
    VALKEY_9_1,
    AgentNode,
    Fleet,
    RedisNode,
    Rights,
    Server,
    Witness,
    until,
)
from tests.fleet.redis_node import RedisServer
from tests.fleet.rights import AGENT, consul_rules, redis_rights, sentinel_rights

from .support import assert_steady, master, replica, wait_for_catalog, wait_for_word

CHANGING = '[fence]\nmode = "on"\n[failover]\non_death = "ask"\ndelay = "0s"\n'
ALL = Rights(fence=True, failover=True)
SERVERS = (ON_PATH, REDIS_6_2, VALKEY_9_1)


def command(agent: AgentNode, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command on the agent's host, with the agent's configuration and socket."""
    program = [sys.executable, "-m", "consul_redis_agent"]
    with agent.host.inside():
        return subprocess.run(
            [*program, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60 * SCALE,
            env=os.environ,
        )


def refusals(server: RedisServer) -> set[str]:
    """What the agent's user was refused there."""
    log = server.ask("ACL", "LOG")
    entries = [e if isinstance(e, dict) else dict(zip(e[::2], e[1::2], strict=True)) for e in log]
    return {str(entry["object"]) for entry in entries if entry["username"] == AGENT}


@pytest.mark.netns
@pytest.mark.main_path
@pytest.mark.timeout(300)
def test_the_shipped_rights_are_enough_for_all_that_changes_something() -> None:
    """`check`, publication, a planned move, a death that Sentinel is asked about, the return, `deregister`: and nobody logs a refusal."""
    with Fleet(isolated=True, acl=Rights(fence=True, failover=True)) as fleet:
        fleet.populate(down_after=5000, failover_timeout=2000)
        one, two, three = fleet.nodes
        agents = {node: fleet.agent(node, more=CHANGING) for node in fleet.nodes}
        witness = fleet.witness()
        witness.wait_for(one, within=20)
        wait_for_catalog(fleet.consuls[0], master(one), replica(two), replica(three), within=10)

        done = command(agents[one], "check", "--config", agents[one].config_path)
        assert done.returncode == 0, done.stdout
        assert f"ok   fence 127.0.0.1:{one.address.port}: on: " in done.stdout
        done = command(agents[one], "status", "--socket", agents[one].socket, "--json")
        assert done.returncode == 0, done.stdout

        moved = time.monotonic()
        done = command(agents[one], "failover", "--config", agents[one].config_path, "--json")
        assert json.loads(done.stdout)["done"], done.stdout
        new = fleet.wait_for_master(other_than=one)
        witness.wait_for(new, within=5)
        witness.assert_never_two(since=moved)
        witness.assert_never_none(since=moved)
        until(lambda: one.follows(new), within=5, what="the old master was made a replica")
        fleet.wait_for_replicas(within=30)
        fleet.settle(within=60)

        witness.watch(3)  # for a failover-timeout after the last failover nobody asks
        killed = time.monotonic()
        new.kill()
        newest = fleet.wait_for_master(other_than=new)
        witness.wait_for(newest, within=5)
        wait_for_word(agents[new], "asked Sentinel at")
        assert time.monotonic() - killed < 5 * SCALE, "down-after has passed: it was not what was asked for"
        new.start()
        until(lambda: new.follows(newest), within=30, what="the old master was made a replica")
        witness.watch(0.2)
        assert_steady(witness, newest, since=time.monotonic() - 0.1)
        witness.assert_never_two()

        # `failover` asks a Sentinel beforehand whether it may ask it, and does without the answer.
        asked = {"acl", "acl|dryrun"}
        assert [refusals(server) - asked for server in (*fleet.nodes, *fleet.sentinels)] == [set()] * 6
        agents[newest].stop()
        done = command(agents[newest], "deregister", "--config", agents[newest].config_path)
        assert done.returncode == 0, done.stdout + done.stderr
        witness.wait_for(within=3)


@pytest.mark.main_path
@pytest.mark.parametrize("mode", ["services", "check", "tags"])
def test_looking_and_publishing_need_only_the_first_lines(mode: str) -> None:
    """In each mode, through a failover; only the settings, which need not be read, are refused."""
    with Fleet(acl=True) as fleet:
        fleet.populate(sentinels=3, nodes=2)
        more = f'[service]\nmode = "{mode}"\n'
        agent, _ = (fleet.agent(node, more=more) for node in fleet.nodes)
        witness = fleet.witness(service="master.redis" if mode == "tags" else "redis")
        witness.wait_for(fleet.nodes[0], within=20)
        done = command(agent, "check", "--config", agent.config_path)
        assert done.returncode == 0, done.stdout
        witness.wait_for(fleet.failover(), within=5)
        witness.assert_never_two()
        assert set().union(*map(refusals, fleet.nodes)) <= {"config|get", "config"}
        assert [refusals(sentinel) for sentinel in fleet.sentinels] == [set()] * 3


@pytest.fixture(scope="module", params=SERVERS, ids=str)
def guarded(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Two nodes, three Sentinels and an agent with all rights, on each server version."""
    server: Server = request.param
    if server.missing:
        pytest.skip(server.missing)
    with Fleet(acl=ALL, server=server) as fleet:
        fleet.populate(nodes=2, down_after=5000)
        fleet.agent(fleet.nodes[0], more=CHANGING)
        witness = fleet.witness()
        witness.wait_for(fleet.nodes[0], within=20)
        yield fleet


def failures(fleet: Fleet, node: RedisNode, **keys: str) -> list[Finding]:
    """What `check` finds wrong, or names a right for, with other keys than the fleet's."""
    path = fleet.folder / "check.toml"
    path.write_text(fleet.agent_config(node, consul=fleet.consuls[0], more=CHANGING))
    config = load(path, {}, {name.replace("__", "."): value for name, value in keys.items()})
    report = Report(as_json=True)
    asyncio.run(_outside(config, report))
    return [one for one in report.findings if one.level.name == "FAIL" or "ACL SETUSER" in one.mend]


def each_without(fleet: Fleet, servers: list[RedisServer], rights: str, password: str, key: str) -> dict[str, str]:
    """What `check` says about each right that the user lacks, by the right."""
    words, said = rights.split(), {}
    for word in words:
        if word.startswith(("+", "&")) or word == "allchannels":
            rest = [other for other in words if other != word]
            for server in servers:
                server.ask("ACL", "SETUSER", "poor", "reset", "resetchannels", "on", f">{password}", *rest)
            said[word] = " ".join(map(str, failures(fleet, fleet.nodes[0], **{key: "poor"})))
    return said


@pytest.mark.timeout(300)
def test_every_right_on_redis_and_on_sentinel_is_missed_by_name(guarded: Fleet) -> None:
    """With all of them nothing is wrong; without one `check` says which, and with which command it is given."""
    assert failures(guarded, guarded.nodes[0]) == []
    redis = redis_rights(fence=True)
    said = each_without(guarded, [guarded.nodes[0]], redis, ALL.agent_password, "redis__username")
    sentinel = sentinel_rights(failover=True)
    sentinels: list[RedisServer] = [*guarded.sentinels]
    at_sentinel = each_without(guarded, sentinels, sentinel, ALL.sentinel_password, "sentinel__username")
    for word, text in (*said.items(), *at_sentinel.items()):
        right = "&*" if word == "allchannels" else word
        # Redis before 7.0 names the command of a subcommand only.
        named = f"'{right}'" in text or re.search(rf"ACL SETUSER poor .*{re.escape(right.partition('|')[0])}\b", text)
        assert named, f"nobody misses {word}: {text or 'nothing is said'}"


def test_every_right_of_consuls_policy_is_missed_by_name(guarded: Fleet) -> None:
    """Each block in turn: `check` names the block that is missing."""
    if guarded.server is not ON_PATH:
        pytest.skip("that is Consul's affair")
    blocks = re.findall(r"(?m)^\w+ \"[^\"]*\" \{\n.*\n\}", consul_rules())
    assert len(blocks) == 3
    file = guarded.folder / "poor.token"
    for block in blocks:
        rest = "\n".join(other for other in blocks if other != block)
        file.write_text(guarded.consuls[0].create_token(rest))
        said = " ".join(map(str, failures(guarded, guarded.nodes[0], consul__token_file=str(file))))
        assert " ".join(block.split()) in said, said


# --- what is rotated, and what is revoked -------------------------------------------------------------------------------

OFF = '[sentinel]\nmode = "off"\n[service]\nttl = "3s"\n'


def put(path: Path, word: str) -> None:
    """Replace a file as a whole, as whoever rotates a secret does."""
    new = path.with_suffix(".new")
    new.write_text(word)
    new.rename(path)


@pytest.fixture(scope="module")
def beside() -> Iterator[Fleet]:
    """A Consul server, and a client agent for the Redis nodes, which caches tokens as it does by default."""
    with Fleet(acl=True) as fleet:
        fleet.consul(servers=1)
        fleet.consul()
        yield fleet


def published(fleet: Fleet, service: str) -> tuple[RedisNode, AgentNode, Witness, Path]:
    """A node with an agent of its own token at the client agent, and a witness at the servers; all is well."""
    server, client = fleet.consuls
    node = fleet.redis()
    more = OFF + f'name = "{service}"\n[replica]\nname = ""\n'
    rules = consul_rules().replace('service "redis" ', f'service "{service}" ')
    file = fleet.token_file(node, server)
    file.write_text(server.create_token(rules))
    config = fleet.agent_config(node, consul=client, more=more) + f'announce = "{node.address}"\n'
    agent = fleet.agent(node, config=config, consul=client)
    witness = fleet.witness(service=service, consul=server, nodes=[node])
    witness.wait_for(node, within=20)
    wait_for_word(agent, "Consul holds")
    return node, agent, witness, file


def refused(agent: AgentNode) -> bool:
    """Whether `status` says that the token is refused, and exits 1 for it."""
    done = command(agent, "status", "--socket", agent.socket, "--json")
    (node,) = json.loads(done.stdout)["nodes"]
    assert node["token_refused"] is bool(node["errors"].get("Consul's token"))
    assert (done.returncode == 1) >= node["token_refused"]
    return bool(node["token_refused"])


@pytest.mark.main_path
def test_a_token_that_is_rotated_is_taken_up_without_a_blink(beside: Fleet) -> None:
    """The file, then the old token's end: DNS names the master all the while, and what happens after that reaches DNS, too."""
    server = beside.consuls[0]
    node, agent, witness, file = published(beside, "rotated")
    since = time.monotonic()
    old = file.read_text()
    put(file, server.create_token(consul_rules().replace('service "redis" ', 'service "rotated" ')))
    server.revoke_token(old)
    witness.watch(6)
    witness.assert_only(node, since=since)
    assert not refused(agent)
    assert "do not know the token" not in agent.log()
    agent.kill()  # what the Consul agent syncs by itself, when the TTL is over, it syncs with the token of the registration
    witness.wait_for(within=6)


@pytest.mark.main_path
def test_a_revoked_token_is_noticed_said_and_healed(beside: Fleet) -> None:
    """Within a beat, in the log once, in `status`; what stands is kept, nothing new is published; the next token mends all."""
    server = beside.consuls[0]
    node, agent, witness, file = published(beside, "revoked")
    since = time.monotonic()
    server.revoke_token(file.read_text())
    wait_for_word(agent, "Consul's servers do not know the token", within=1)
    assert refused(agent)
    witness.watch(4)
    witness.assert_only(node, since=since)
    assert agent.lines("do not know the token") == 1

    node.kill()
    wait_for_word(agent, "master -> none")
    put(file, server.create_token(consul_rules().replace('service "redis" ', 'service "revoked" ')))
    wait_for_word(agent, "know the token again")
    witness.wait_for(within=6)
    node.start()
    witness.wait_for(node, within=12)
    until(lambda: not refused(agent), within=10, what="nothing is wrong any more")
    agent.kill()
    witness.wait_for(within=6)


@pytest.mark.main_path
def test_nothing_begins_to_pass_with_a_revoked_token(beside: Fleet) -> None:
    """The client agent would still take it from its cache, and nobody could take it back."""
    server, client = beside.consuls
    node, agent, witness, file = published(beside, "unmoved")
    node.kill()
    witness.wait_for(within=6)
    server.revoke_token(file.read_text())
    wait_for_word(agent, "do not know the token", within=1)
    node.start()
    wait_for_word(agent, "Redis: recovered", within=15)
    witness.watch(3)
    assert witness.answers == frozenset()
    checks = client.get("/v1/agent/checks").values()
    assert [c["Status"] for c in checks if c["ServiceName"] == "unmoved" and c["CheckID"].endswith(":role")] in (
        [],
        ["critical"],
    )
    put(file, server.create_token(consul_rules().replace('service "redis" ', 'service "unmoved" ')))
    witness.wait_for(node, within=12)


@pytest.mark.main_path
def test_passwords_that_are_rotated_are_taken_up_without_a_blink() -> None:
    """A second password, the file, the first one's end, and all connections closed: of Redis and of the Sentinels."""
    with Fleet(acl=True) as fleet:
        fleet.populate(nodes=2)
        for node in fleet.nodes:
            fleet.agent(node)
        witness = fleet.witness()
        one, two = fleet.nodes
        witness.wait_for(one, within=20)
        wait_for_catalog(fleet.consuls[0], master(one), replica(two), within=10)
        rights = fleet.rights
        assert rights is not None
        since = time.monotonic()
        for servers, old, names in (
            (fleet.nodes, rights.agent_password, [node.name for node in fleet.nodes]),
            (fleet.sentinels, rights.sentinel_password, ["sentinel"]),
        ):
            for server in servers:
                server.ask("ACL", "SETUSER", AGENT, ">the-next-one")
            for name in names:
                put(fleet.folder / f"{name}.password", "the-next-one")
            for server in servers:
                server.ask("ACL", "SETUSER", AGENT, f"<{old}")
                server.ask("CLIENT", "KILL", "USER", AGENT)
            witness.watch(2)
        witness.assert_only(one, since=since)
        assert all("WRONGPASS" not in agent.log() and "refuses the login" not in agent.log() for agent in fleet.agents)
        witness.wait_for(fleet.failover(), within=5)
        witness.assert_never_two()
