"""`check` as a doctor, on real servers: it finds the setting, its command is run as it stands, and the finding is gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import redis

from tests.fleet import SCALE, Fleet, RedisNode, until

pytestmark = pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli (Debian: redis-tools) is not here")

Found = dict[str, dict[str, str]]


def check(fleet: Fleet, node: RedisNode | None = None, *, more: str = "", socket: Path | None = None) -> Found:
    """What ``check --json`` finds, by id; the exit code is held against it."""
    path = fleet.folder / "doctor.toml"
    path.write_text(more + fleet.agent_config(node or fleet.nodes[0], consul=fleet.consuls[0]))
    program = [sys.executable, "-m", "consul_redis_agent", "check", "--json", "--config", str(path)]
    program += ["--socket", str(socket or fleet.folder / "none.sock")]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=30 * SCALE, env=os.environ)
    assert done.stderr == ""
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["ok"] is (done.returncode == 0) is (told["summary"]["fail"] == 0)
    return {finding["id"]: finding for finding in told["findings"]}


def run(found: Found, *ids: str) -> None:
    """Run what mends these, in a shell."""
    for id_ in ids:
        done = subprocess.run(found[id_]["mend"], shell=True, capture_output=True, text=True, check=False, timeout=10)
        answers = done.stdout.split()
        assert done.returncode == 0, (id_, done)
        assert {*answers} == {"OK"}, (id_, found[id_]["mend"], done.stdout)


def are(ids: Collection[str], found: Found) -> None:
    """All of these are found."""
    assert {*ids} <= {*found}, f"not found: { ({*ids} - {*found}) }"


@contextmanager
def writes(node: RedisNode) -> Iterator[None]:
    """A value of 64 KiB every 50 ms."""
    ended = Event()

    def write() -> None:
        while not ended.wait(0.05):
            client.set("key", "x" * 65536)

    with redis.Redis(*node.address, protocol=2) as client:
        writing = Thread(target=write)
        writing.start()
        try:
            yield
        finally:
            ended.set()
            writing.join()


def test_settings_that_lose_data_are_found_and_mended_by_what_is_printed(fleet: Fleet) -> None:
    """On a master and on its replica; each command also writes the file, so that a restart keeps it."""
    fleet.consul(servers=1)
    master = fleet.redis(settings={"repl-backlog-ttl": "5", "repl-timeout": "8", "repl-diskless-sync-delay": "0"})
    late = {"replica-read-only": "no", "replica-serve-stale-data": "no", "appendonly": "yes", "appendfsync": "no"}
    replica = fleet.redis(replica_of=master, settings=late)
    fleet.wait_for_replicas()
    fleet.sentinel(master=master, quorum=1, down_after=5000)
    fleet.settle()

    found = check(fleet)
    ill = ("redis.keeps_nothing", "redis.writes_when_cut_off", "redis.backlog_ttl", "redis.repl_timeout")
    are(ill, found)
    assert [found[id_]["level"] for id_ in ill] == ["warn"] * 4
    run(found, *ill)
    found = check(fleet)
    assert not {*ill} & {*found}
    assert found["redis.refuses_when_cut_off"]["level"] == "ok"
    kept = (fleet.folder / f"{master.name}.conf").read_text().splitlines()
    assert {"appendonly yes", "min-replicas-to-write 1", "min-replicas-max-lag 5", "repl-timeout 60"} <= {*kept}

    found = check(fleet, replica)
    its = ("redis.writable_replica", "redis.no_stale_data", "redis.no_fsync")
    are(its, found)
    run(found, *its)
    assert not {*its} & {*check(fleet, replica)}


def test_a_master_that_refuses_every_write_fails(fleet: Fleet) -> None:
    """More replicas are wanted than there are; with what is printed a write is taken again."""
    fleet.populate(nodes=2, sentinels=1, quorum=1)
    master = fleet.nodes[0]
    master.ask("CONFIG", "SET", "min-replicas-to-write", "2")
    with pytest.raises(redis.RedisError, match="NOREPLICAS"):
        master.ask("SET", "key", "value")
    found = check(fleet)
    assert found["redis.refuses_writes"]["level"] == "fail"
    run(found, "redis.refuses_writes")
    assert "redis.refuses_writes" not in check(fleet)
    master.ask("SET", "key", "value")


def test_a_dump_that_fails_is_found(fleet: Fleet) -> None:
    """Redis refuses every write then; when it can save again all is well."""
    fleet.populate(nodes=1, sentinels=1, quorum=1)
    master = fleet.nodes[0]
    master.ask("CONFIG", "SET", "save", "3600 1")
    before = master.ask("CONFIG", "GET", "dbfilename")
    name = before["dbfilename"] if isinstance(before, dict) else before[1]
    (fleet.folder / name).unlink(missing_ok=True)
    (folder := Path(fleet.folder / name)).mkdir()  # where the dump would be: nothing can be renamed to it
    (folder / "in the way").touch()
    master.ask("BGSAVE")
    until(lambda: master.info("persistence")["rdb_last_bgsave_status"] == "err", within=10, what="a dump fails")
    with pytest.raises(redis.RedisError, match="MISCONF"):
        master.ask("SET", "key", "value")
    assert check(fleet)["redis.cannot_save"]["level"] == "fail"
    shutil.rmtree(folder)
    master.ask("BGSAVE")
    until(lambda: master.info("persistence")["rdb_last_bgsave_status"] == "ok", within=10, what="a dump succeeds")
    assert "redis.cannot_save" not in check(fleet)


def test_a_backlog_that_is_too_small_for_the_writes_is_found(fleet: Fleet) -> None:
    """By what is written while it looks; with the size that is printed it is well, at the same rate."""
    fleet.populate(nodes=2, sentinels=1, quorum=1)
    master = fleet.nodes[0]
    with writes(master):
        found = check(fleet)
        assert "a second" in found["redis.backlog"]["what"]
        run(found, "redis.backlog")
        assert "redis.backlog" not in check(fleet)


def test_settings_of_sentinels_are_found_and_mended_by_what_is_printed(fleet: Fleet) -> None:
    """Those that differ, that are too short or too long, and a quorum that nobody can reach, which fails."""
    fleet.populate(nodes=2, down_after=500, failover_timeout=180_000)
    odd = fleet.sentinels[2]
    odd.ask("SENTINEL", "SET", "mymaster", "quorum", "5")
    found = check(fleet)
    ill = ("sentinel.down_after_short", "sentinel.failover_timeout_long", "sentinel.settings_differ")
    are(ill, found)
    assert f"5 at {odd.address}, else 2" in found["sentinel.settings_differ"]["what"]
    assert found["sentinel.no_quorum"]["level"] == "fail"
    run(found, *ill)
    found = check(fleet)
    assert not {*ill, "sentinel.no_quorum"} & {*found}
    assert {s.master()["quorum"] for s in fleet.sentinels} == {"2"}
    for sentinel in fleet.sentinels:
        sentinel.ask("SENTINEL", "SET", "mymaster", "quorum", "4")
    found = check(fleet)
    assert found["sentinel.quorum_above_all"]["level"] == "fail"
    run(found, "sentinel.quorum_above_all")
    assert "sentinel.quorum_above_all" not in check(fleet)


def test_a_group_in_which_nobody_may_be_promoted_fails(fleet: Fleet) -> None:
    """Its only replica has priority 0."""
    fleet.consul(servers=1)
    master = fleet.redis()
    fleet.redis(replica_of=master, settings={"replica-priority": "0"})
    fleet.wait_for_replicas()
    fleet.sentinel(master=master, quorum=1)
    fleet.settle()
    found = check(fleet)
    assert found["sentinel.nobody_to_promote"]["level"] == "fail"
    run(found, "sentinel.nobody_to_promote")
    assert fleet.nodes[1].info("replication")["slave_priority"] == 100


@pytest.mark.main_path
def test_answers_that_may_be_kept_are_found(fleet: Fleet) -> None:
    """A TTL, a cache, and a server's word that may be years old: gone with the settings that are printed.

    A reload is enough for what DNS does; Consul 1.8 goes on telling the old settings until it is restarted.
    """
    kept = {"service_ttl": {"redis": "30s"}, "use_cache": True}
    fleet.populate(nodes=1, sentinels=1, quorum=1, consul_extra={"dns_config": kept, "leave_on_terminate": True})
    node, (consul,) = fleet.nodes[0], fleet.consuls
    agent = fleet.agent(node)
    until(lambda: node.address in (consul.srv("redis") or ()), within=20, what="DNS names the master")
    found = check(fleet, socket=agent.socket)
    are(("dns.ttl", "dns.cache", "dns.stale", "consul.leaves", "consul.few_servers", "agent.running"), found)
    assert "for 30 s" in found["dns.ttl"]["what"]
    assert 'service_ttl { "redis" = "0s" }' in found["dns.ttl"]["mend"]
    path = fleet.folder / f"{consul.name}.json"
    settings = json.loads(path.read_text())
    settings["dns_config"] = {"service_ttl": {"redis": "0s"}, "use_cache": False, "max_stale": "10s"}
    path.write_text(json.dumps(settings | {"leave_on_terminate": False}))
    consul.stop()
    consul.start()
    consul.wait_ready(within=20)
    until(lambda: node.address in (consul.srv("redis") or ()), within=20, what="DNS names the master again")
    found = check(fleet, socket=agent.socket)
    assert not {"dns.ttl", "dns.cache", "dns.stale", "consul.leaves"} & {*found}
    assert found["dns.true"]["level"] == "ok"


def test_what_may_not_be_looked_at_is_told(fleet: Fleet) -> None:
    """With the agent's own rights settings stay closed; what INFO and the Sentinels tell is judged all the same."""
    fleet.populate(nodes=2, sentinels=1, quorum=1)
    master = fleet.nodes[0]
    master.ask(
        "ACL", "SETUSER", "agent", "on", ">word", "resetkeys", "&__sentinel__:hello", "-@all", "+info", "+subscribe"
    )
    (fleet.folder / "pw").write_text("word")
    more = '[service]\nttl = "9s"\n'
    path = fleet.folder / "doctor.toml"
    path.write_text(more + fleet.agent_config(master, consul=fleet.consuls[0]))
    login = ["--redis-username", "agent", "--redis-password-file", str(fleet.folder / "pw")]
    program = [sys.executable, "-m", "consul_redis_agent", "check", "--json", "--config", str(path), *login]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=30 * SCALE)
    found = {finding["id"] for finding in json.loads(done.stdout)["findings"]}
    assert done.returncode == 0, done.stdout
    assert {"redis.settings_unread", "redis.writes_when_cut_off"} <= found
    assert "redis.keeps_nothing" not in found


def test_a_sentinel_with_a_wrong_password_is_noticed_where_it_is_refused(fleet: Fleet) -> None:
    """It says no hello, so nobody finds it; but Redis counts whom it refuses."""
    fleet.consul(servers=1)
    master = fleet.redis(password="word")
    sentinel = fleet.sentinel(master=master, quorum=1)
    assert "redis.refuses_logins" not in check(fleet)
    sentinel.ask("SENTINEL", "SET", "mymaster", "auth-pass", "wrong")
    until(lambda: "s_down" in sentinel.master()["flags"], within=10, what="it holds the master for down")
    found = check(fleet)
    are(("redis.refuses_logins", "sentinel.none"), found)
    sentinel.ask("SENTINEL", "SET", "mymaster", "auth-pass", "word")
    until(lambda: sentinel.master()["flags"] == "master", within=15, what="it is let in")
    assert "redis.refuses_logins" not in check(fleet)


def test_a_master_that_sentinel_does_not_name_fails(fleet: Fleet) -> None:
    """A second one that says so, for the eight seconds at least that Sentinel lets it."""
    fleet.populate(nodes=2, sentinels=1, quorum=1, down_after=30_000)
    rogue = fleet.nodes[1]
    assert "redis.not_named" not in check(fleet, rogue)
    rogue.ask("REPLICAOF", "NO", "ONE")
    assert check(fleet, rogue)["redis.not_named"]["level"] == "fail"
