"""`failover` on real servers: what an application loses, what is left as it was, and what is refused. In the order of the file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from consul_redis_agent.commands.failover.outcome import STEPS
from tests.documented import assert_documented
from tests.fleet import SCALE, Fleet, RedisNode, until

from .support import start_agents

EVERY = 0.005
"""Seconds between two writes."""
KEY = "written"


@pytest.fixture(scope="module")
def started(shared_fleet: Fleet) -> Fleet:
    """The usual fleet with an agent for each node; the fence is as it is by default, so this command turns the old master."""
    shared_fleet.populate(failover_timeout=3000)
    start_agents(shared_fleet)
    return shared_fleet


@pytest.fixture
def settled(started: Fleet) -> Fleet:
    """Once a move could begin: all replicas are linked, and the last failover is longer ago than failover-timeout."""
    started.wait_for_replicas(within=20)
    started.settle(within=20)
    until(lambda: run(started, "--dry-run").returncode == 0, within=20, what="a move could begin", every=0.5)
    return started


def config_of(fleet: Fleet) -> Path:
    path = fleet.folder / "failover.toml"
    path.write_text(fleet.agent_config(fleet.nodes[0], consul=fleet.consuls[0]))
    return path


def run(fleet: Fleet, *flags: str) -> subprocess.CompletedProcess[str]:
    """The command on the first node's host, as somebody runs it whose output is piped."""
    return subprocess.run(
        [sys.executable, "-m", "consul_redis_agent", "failover", "--config", str(config_of(fleet)), *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * SCALE,
    )


def state(fleet: Fleet) -> list[Any]:
    """What a failover changes: each Sentinel's epochs and master, and each node's role."""
    sentinels = [s for s in fleet.sentinels if s.alive]
    return [*((s.master()["config-epoch"], s.names()) for s in sentinels), *(n.role() for n in fleet.nodes)]


def is_writable(node: RedisNode) -> bool:
    """Whether a write is answered now: not after a pause of two seconds, since the connection waits for less."""
    with redis.Redis(*node.address, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
        return bool(client.set("probe", "1"))


def full_copies(fleet: Fleet) -> int:
    return sum(int(node.info("stats")["sync_full"]) for node in fleet.nodes)


class Writer:
    """An application with one kept connection: only when that breaks, or a write is refused, it asks DNS again."""

    def __init__(self, fleet: Fleet) -> None:
        self.acknowledged: list[int] = []
        self._fleet, self._over = fleet, threading.Event()

    def write(self) -> None:
        """Write until :meth:`stop`."""
        client: redis.Redis | None = None
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                client = client or self._connect()
                client.rpush(KEY, number)
                self.acknowledged.append(number)
            except (redis.RedisError, OSError):
                client = None
            time.sleep(EVERY)

    def _connect(self) -> redis.Redis:
        for address in self._fleet.consuls[0].srv("redis") or ():
            return redis.Redis(*address, socket_timeout=5, retry=Retry(NoBackoff(), 0))
        raise OSError("DNS names nobody")

    def stop(self) -> None:
        self._over.set()


@contextmanager
def writing(fleet: Fleet) -> Iterator[Writer]:
    """An application that writes all the while, and has written before."""
    writer = Writer(fleet)
    thread = threading.Thread(target=writer.write)
    thread.start()
    try:
        until(lambda: len(writer.acknowledged) > 20, within=5, what="the application writes")
        yield writer
        count = len(writer.acknowledged)
        until(lambda: len(writer.acknowledged) > count + 20, within=5, what="the application goes on writing")
    finally:
        writer.stop()
        thread.join()


def test_a_dry_run_changes_nothing_and_says_what_would_be_done(settled: Fleet) -> None:
    """Exit 0: the Sentinel to ask, each replica with its lag; no epoch moves, and no write waits."""
    master, before = settled.wait_for_master(), state(settled)
    done = run(settled, "--dry-run", "--json")
    said = json.loads(done.stdout)
    assert_documented("failover", said)
    assert (done.returncode, done.stderr) == (0, "")
    assert (said["ok"], said["done"], said["move"]) == (True, False, None)
    assert said["master"] == str(master.address)
    assert said["sentinel"] in [str(s.address) for s in settled.sentinels]
    others = {str(node.address) for node in settled.nodes if node is not master}
    assert said["likely"] in others
    assert {r["address"] for r in said["replicas"] if r["can_be_chosen"] and r["lag_bytes"] is not None} == others
    assert state(settled) == before
    assert is_writable(master)


@pytest.mark.main_path
def test_a_move_loses_no_write_and_copies_nothing(settled: Fleet) -> None:
    """An application that keeps its connection: each acknowledged write is on the new master, and nobody copied everything.

    When the command ends, the host of the old master could be switched off.
    """
    old, copies = settled.wait_for_master(), full_copies(settled)
    with writing(settled) as writer:
        done = run(settled, "--json")
        named = [s.names() for s in settled.sentinels]
    said = json.loads(done.stdout)
    assert_documented("failover", said)
    assert (done.returncode, done.stderr) == (0, ""), said["move"]
    (new,) = [node for node in settled.nodes if str(node.address) == said["move"]["new"]]
    assert (said["ok"], said["done"], said["move"]["old"]) == (True, True, str(old.address))
    assert named == [new.address] * 3
    assert old.follows(new)
    assert settled.consuls[0].srv("redis") == frozenset({new.address})
    assert set(said["move"]["timeline_ms"]) == set(STEPS)
    assert None not in said["move"]["timeline_ms"].values()
    assert said["move"]["proof_in_time"] is True
    assert (said["move"]["two_ms"], said["move"]["none_ms"]) == (0, 0)
    kept = {int(number) for number in new.ask("LRANGE", KEY, "0", "-1")}
    assert [number for number in writer.acknowledged if number not in kept] == []
    assert full_copies(settled) == copies


def test_a_stop_after_sentinel_was_asked_leaves_no_second_master(settled: Fleet) -> None:
    """SIGTERM while the failover is under way: said, exit 143, and the old master is a replica by then."""
    old = settled.wait_for_master()
    argv = [sys.executable, "-m", "consul_redis_agent", "failover", "--config", str(config_of(settled))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        try:
            until(
                lambda: any("failover_in_progress" in s.master()["flags"] for s in settled.sentinels),
                within=30,
                what="Sentinel was asked",
            )
            command.terminate()
            _, said = command.communicate(timeout=30 * SCALE)
        finally:
            command.kill()
    assert command.returncode == 128 + signal.SIGTERM
    assert said.startswith("interrupted after Sentinel was asked")
    assert old.role() == "slave"
    settled.wait_for_master(other_than=old)


def test_no_move_where_sentinel_could_choose_no_replica(settled: Fleet) -> None:
    """Both replicas with priority 0: exit 1, each named with the reason, and nothing done."""
    master = settled.wait_for_master()
    others = [node for node in settled.nodes if node is not master]
    for node in others:
        node.ask("CONFIG", "SET", "replica-priority", "0")
    try:
        sentinels = settled.sentinels
        until(
            lambda: all(r["slave-priority"] == "0" for s in sentinels for r in s.replicas()),
            within=20,
            what="all Sentinels know the priorities",
        )
        before = state(settled)
        done = run(settled)
        assert (done.returncode, done.stderr) == (1, "")
        for node in others:
            assert f"replica {node.address}: will not be chosen: its priority is 0" in done.stdout
        assert "FAIL replicas: none that Sentinel at" in done.stdout
        assert state(settled) == before
        assert is_writable(master)
    finally:
        for node in others:
            node.ask("CONFIG", "SET", "replica-priority", "100")
        until(
            lambda: all(r["slave-priority"] == "100" for s in settled.sentinels for r in s.replicas()),
            within=20,
            what="all Sentinels know the priorities",
        )


def test_no_move_while_a_sentinel_is_down(settled: Fleet) -> None:
    """Its word is missing, though a majority is there: exit 1, it is named, and nothing is done."""
    master, lost = settled.wait_for_master(), settled.sentinels[2]
    before = state(settled)[:2]
    lost.kill()
    try:
        done = run(settled)
        assert (done.returncode, done.stderr) == (1, "")
        assert f"FAIL sentinel {lost.address}: is not reached: nothing listens there" in done.stdout
        assert done.stdout.splitlines()[-1].startswith("nothing\twas done")
        assert state(settled)[:2] == before
        assert settled.wait_for_master() is master
        assert is_writable(master)
    finally:
        lost.start()
