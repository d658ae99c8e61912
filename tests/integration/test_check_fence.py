"""The rights of the fence and of failovers that are asked for, on real servers: which are needed, and what `check` says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from consul_redis_agent.commands.check_fence import Trial, fence_findings, fence_trial
from consul_redis_agent.commands.check_redis import look_at_redis
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import load
from consul_redis_agent.publish.fence import TRANSACTION, demote, missing_rights, pause, rehearsal
from consul_redis_agent.watch.lookout import redis_link
from tests.fleet import SCALE, Fleet, RedisNode, until

ACL_FILE = (Path(__file__).parents[2] / "config" / "redis-acl.conf").read_text()
(BASIC,) = re.findall(r"^user \S+ (.*)$", ACL_FILE, re.MULTILINE)
(SENTINEL_BASIC,) = re.findall(r"^#user \S+ (.*)$", ACL_FILE, re.MULTILINE)
FENCE, SENTINEL_FAILOVER = (rights.split() for rights in re.findall(r"^#ACL SETUSER \S+ (.*)$", ACL_FILE, re.MULTILINE))
USER, PASSWORD = "consul-redis-agent", "user-word"
ON = '[fence]\nmode = "on"\n'
WELL = "on: the login may make this node a replica, and it could follow"


def allow(node: RedisNode, *rights: str) -> None:
    """Give the shipped user these rights, and no other ones but the basic line's."""
    node.ask("ACL", "SETUSER", USER, "reset", *BASIC.replace("CHANGE-ME", PASSWORD).split(), *rights)


async def trial(node: RedisNode) -> Trial | None:
    """The trial that `check` makes, as that user."""
    flags = {"redis.url": f"redis://{node.address}", "redis.username": USER, "fence.mode": "on"}
    config = load(None, {"REDISCLI_AUTH": PASSWORD}, flags)
    (redis,) = config.redis
    return await fence_trial(config, redis, await look_at_redis(redis, discovery=False))


def check(fleet: Fleet, node: RedisNode, more: str, *flags: object) -> tuple[int, str]:
    """The exit code of `check` on a node's host, and what it says."""
    path = fleet.folder / "check.toml"
    path.write_text(more + fleet.agent_config(node, consul=fleet.consul_of(node.host)))
    hosts = ",".join(str(sentinel.address) for sentinel in fleet.sentinels)
    found = ("--sentinel-hosts", hosts, "--redis-master-name", "mymaster")
    command = [sys.executable, "-m", "consul_redis_agent", "check", "--config", path, *found, *flags]
    with node.host.inside():
        done = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, check=False, timeout=30 * SCALE, env=os.environ
        )
    assert done.stderr == ""
    return done.returncode, done.stdout


async def test_the_shipped_rights_are_enough_for_all_that_a_fence_sends(fleet: Fleet) -> None:
    """A pause of writes, one of everything, the rehearsal, the turn: carried out, and Redis logs no refusal."""
    node, master = fleet.redis(), fleet.redis()
    allow(node, *FENCE)
    config = load(None, {"REDISCLI_AUTH": PASSWORD}, {"redis.url": f"redis://{node.address}", "redis.username": USER})
    link = redis_link(config.redis[0])
    try:
        assert await link.ask(*TRANSACTION) == ["OK", []]
        rehearsed = await link.ask(*rehearsal(pauses=True))
        assert rehearsed[0] == rehearsed[-1] == "OK"
        assert {*rehearsed[1:-1]} == {"QUEUED"}
        assert await link.ask(pause(0.05, all_commands=True)) == ["OK"]
        assert await link.ask(pause(0.05)) == ["OK"]
        assert node.role() == "master"
        done = await link.ask(*demote(master.address, pauses=True))
    finally:
        await link.close()
    assert missing_rights(demote(master.address, pauses=True), done) == []
    assert not [answer for answer in done[-1] if isinstance(answer, Exception)]
    until(lambda: node.follows(master), within=5, what="it follows the new master")
    assert f"replicaof {master.address.host} {master.address.port}" in (fleet.folder / f"{node.name}.conf").read_text()
    assert node.ask("ACL", "LOG") == []


async def test_each_right_that_lacks_is_named_and_nothing_is_done_to_find_out(fleet: Fleet) -> None:
    """Also without MULTI, where each command would be carried out at once: then nothing else can be tried."""
    node = fleet.redis()
    for lacks in FENCE:
        allow(node, *(right for right in FENCE if right != lacks))
        seen = await trial(node)
        assert seen is not None
        assert {*seen.missing} == ({*FENCE} - {"+config|get"} if lacks == "+multi" else {lacks})
        assert seen.refused == ""
        assert node.role() == "master"
    allow(node)
    nothing = await trial(node)
    assert nothing is not None
    assert {*nothing.missing} == {*FENCE}
    allow(node, *FENCE)
    every = await trial(node)
    assert every is not None
    assert (every.missing, every.refused) == ((), "")


async def test_a_rehearsal_does_no_harm_without_a_transaction(fleet: Fleet) -> None:
    """Whoever may not say MULTI and may do all else: the node keeps its role and its clients, and no write waits."""
    node = fleet.redis()
    allow(node, *(right for right in FENCE if right != "+multi"))
    config = load(None, {"REDISCLI_AUTH": PASSWORD}, {"redis.url": f"redis://{node.address}", "redis.username": USER})
    link, other = redis_link(config.redis[0]), redis_link(config.redis[0])
    try:
        await other.ask(("INFO", "server"))
        answers = await link.ask(*rehearsal(pauses=True))
        assert missing_rights(rehearsal(pauses=True), answers) == ["+multi"]
        asked = zip(rehearsal(pauses=True), answers, strict=True)
        assert [command for command, answer in asked if answer == "OK"] == [
            ("CONFIG", "REWRITE"),
            ("CLIENT", "UNPAUSE"),
        ]
        (still,) = await other.ask(("INFO", "server"))
        assert (str(still).startswith("# Server"), other.open) == (True, True)
    finally:
        await link.close()
        await other.close()
    assert node.role() == "master"


async def test_a_command_that_is_renamed_is_no_missing_right(fleet: Fleet) -> None:
    """No right brings it back; what Redis says is repeated."""
    node = fleet.redis(settings={"rename-command": 'REPLICAOF ""'})
    allow(node, *FENCE)
    seen = await trial(node)
    assert seen is not None
    assert seen.missing == ()
    assert "REPLICAOF" in seen.refused
    assert not seen.passing


def test_check_of_a_master_that_can_be_fenced_changes_nothing(fleet: Fleet) -> None:
    """It is well, and neither role, nor history, nor file is another one. What a cut-off master does is said beside."""
    fleet.populate(nodes=2, sentinels=1, quorum=1)
    master, consul = fleet.nodes[0], fleet.consuls[0]
    file, history = fleet.folder / f"{master.name}.conf", master.info("replication")["master_replid"]
    before = file.read_text()
    code, said = check(fleet, master, ON)
    assert code == 0, said
    assert f"ok   fence {master.address}: {WELL}\n" in said
    assert f"warn writes {master.address}: cut off from everybody, this master goes on taking writes" in said
    assert f"warn failover {master.address}: it keeps nothing on disk (save and appendonly are off)" in said
    assert (master.info("replication")["master_replid"], file.read_text()) == (history, before)
    assert master.role() == "master"
    assert consul.get("/v1/catalog/services") == {"consul": []}
    master.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    assert f"ok   writes {master.address}: cut off from all replicas, it refuses writes" in check(fleet, master, "")[1]
    code, said = check(fleet, fleet.nodes[1], ON)
    assert f"ok   fence {fleet.nodes[1].address}: {WELL}\n" in said
    assert "writes 127" not in said


def test_check_gives_the_command_that_gives_the_rights(fleet: Fleet) -> None:
    """What it prints, run as it stands in a shell, is enough."""
    fleet.populate(nodes=1, sentinels=1, quorum=1)
    (node,) = fleet.nodes
    allow(node)
    (fleet.folder / "pw").write_text(PASSWORD)
    login = ("--redis-username", USER, "--redis-password-file", fleet.folder / "pw")
    code, said = check(fleet, node, ON, *login)
    (mend,) = re.findall(rf"FAIL fence {node.address}: .*; redis-cli (ACL SETUSER .*)", said)
    assert code == 1
    node.ask(*shlex.split(mend))
    code, said = check(fleet, node, ON, *login)
    assert code == 0, said
    assert f"ok   fence {node.address}: {WELL}\n" in said


def test_check_names_a_master_that_could_not_log_in_as_a_replica(fleet: Fleet) -> None:
    """It asks for a password and would send none; with `masterauth` all is well. Neither password is shown."""
    fleet.populate(nodes=1, sentinels=1, quorum=1, password="s3cret")
    (node,) = fleet.nodes
    node.ask("CONFIG", "SET", "masterauth", "")
    code, said = check(fleet, node, ON)
    assert code == 1
    assert f"FAIL fence {node.address}: it asks for a password, and would send none as a replica" in said
    node.ask("CONFIG", "SET", "masterauth", "m4ster")
    code, said = check(fleet, node, ON)
    assert code == 0, said
    assert f"ok   fence {node.address}: {WELL}\n" in said
    assert "s3cret" not in said
    assert "m4ster" not in said


async def test_a_fence_without_a_configuration_file_does_not_last(fleet: Fleet) -> None:
    """Redis cannot write down there that it is a replica; that is worth a look, no failure."""
    node = fleet.redis()
    node.stop()
    node.argv = [*node.argv[:1], "--port", str(node.address.port), "--save", ""]
    node.start()
    config = load(None, {}, {"redis.url": f"redis://{node.address}", "fence.mode": "on"})
    (redis,) = config.redis
    view = await look_at_redis(redis, discovery=False)
    (finding,) = fence_findings(config, redis, view, Survey(), await fence_trial(config, redis, view))
    assert str(finding).startswith(f"warn fence {node.address}: it was started without a configuration file: ")


# --- failovers that are asked for ---------------------------------------------------------------------------------------

ASK = ON + '[failover]\non_death = "ask"\non_empty = "ask"\n'


@pytest.mark.netns
def test_check_tells_which_sentinels_may_be_asked_and_asks_none(isolated_fleet: Fleet) -> None:
    """The right, and the time after which they hold a node for down; no Sentinel begins a failover to be tried."""
    fleet = isolated_fleet
    fleet.populate(nodes=2, sentinels=3, down_after=5000)
    master, sentinels = fleet.nodes[0], fleet.sentinels
    login = ("--sentinel-username", USER, "--sentinel-password-file", fleet.folder / "pw")
    (fleet.folder / "pw").write_text(PASSWORD)
    for sentinel in sentinels:
        sentinel.ask("ACL", "SETUSER", USER, *SENTINEL_BASIC.replace("CHANGE-ME", PASSWORD).split())
    code, said = check(fleet, master, ASK, *login)
    assert code == 1
    mends = re.findall(
        r"(?m)^FAIL sentinel .*: the login may not ask it for a failover; redis-cli -p 26379 (.*)$", said
    )
    assert mends == [f"ACL SETUSER {USER} '+sentinel|failover'"] * 3
    assert f"failover {master.address}: on_death" not in said

    for sentinel in sentinels:
        sentinel.ask("ACL", "SETUSER", USER, *SENTINEL_FAILOVER)
        sentinel.ask("ACL", "LOG", "RESET")
    sentinels[2].ask("SENTINEL", "SET", "mymaster", "down-after-milliseconds", "4999")
    code, said = check(fleet, master, ASK, *login)
    assert code == 0, said
    assert "ok   failover 127.0.0.1:6379: on_death and on_empty: 1 of 3 Sentinels in reach can be asked\n" in said
    assert f"warn sentinel {sentinels[2].address}: down-after-milliseconds of 'mymaster' is 4999: below 5000 " in said
    assert "ok   failover 127.0.0.1:6379: it keeps nothing on disk" in said
    assert [(s.master()["config-epoch"], s.master()["flags"], s.ask("ACL", "LOG")) for s in sentinels] == [
        ("0", "master", [])
    ] * 3


def test_check_warns_of_sentinels_that_are_all_on_the_nodes_host(fleet: Fleet) -> None:
    """Whoever dies with the master is not asked."""
    fleet.populate(nodes=2, sentinels=1, quorum=1, down_after=5000)
    code, said = check(fleet, fleet.nodes[0], ASK)
    assert code == 0, said
    assert f"warn failover {fleet.nodes[0].address}: every Sentinel in reach is on the node's own host" in said
