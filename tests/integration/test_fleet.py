"""The fleet and the witness themselves, without the agent: what every other test on real servers stands on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from consul_redis_agent.decide.facts import Address
from tests.fleet import (
    CHECKOUT,
    ConsulNode,
    Fleet,
    MissingProgram,
    NotInTime,
    Process,
    ProcessDied,
    Witness,
    consul_streams,
    consul_version,
    program,
    until,
)
from tests.fleet.consul_node import ConsulError

ONE, TWO = Address("127.0.0.1", 1), Address("127.0.0.1", 2)


def register(consul: ConsulNode, address: Address, *, token: str | None = None) -> None:
    service = {"Name": "redis", "ID": f"redis-{address.port}", "Address": address.host, "Port": address.port}
    consul.put("/v1/agent/service/register", service, token=token)


def deregister(consul: ConsulNode, address: Address) -> None:
    consul.put(f"/v1/agent/service/deregister/redis-{address.port}")


def consul_and_witness(fleet: Fleet) -> tuple[ConsulNode, Witness]:
    return fleet.consul(servers=1), fleet.witness()


def is_gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_closed_fleet_leaves_no_process_and_no_file() -> None:
    """Every process, also a paused one, is gone when the block ends, and so is the folder."""
    with Fleet() as fleet:
        fleet.redis()
        fleet.redis().pause()
        pids = [process.pid for process in fleet.processes]
        assert not any(map(is_gone, pids))
    assert all(map(is_gone, pids))
    assert not fleet.folder.exists()


def test_nothing_outlives_a_killed_launcher() -> None:
    """The kernel ends the servers when the launcher is killed and cannot."""
    script = (
        "import time\nfrom tests.fleet import Fleet\n"
        "with Fleet() as f:\n    print(f.redis().pid, f.folder, flush=True)\n    time.sleep(60)\n"
    )
    env = os.environ | CHECKOUT
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=env) as launcher:
        assert launcher.stdout is not None
        pid, folder = launcher.stdout.readline().split()
        assert not is_gone(int(pid))
        launcher.kill()
    until(lambda: is_gone(int(pid)), within=5, what="the server is gone")
    for path in Path(folder).iterdir():
        path.unlink()
    Path(folder).rmdir()


def test_a_process_that_ends_too_soon_is_named_with_its_log(fleet: Fleet) -> None:
    """A server that refuses its configuration fails the start at once, and says why."""
    with pytest.raises(ProcessDied, match=r"(?s)redis1 ended with 1 .*no-such-key"):
        fleet.redis(settings={"no-such-key": "1"})


def test_a_missing_program_is_named(fleet: Fleet) -> None:
    """A program that is not on PATH is a clear error before anything starts."""
    with pytest.raises(MissingProgram, match="no-such-program is not on PATH"):
        Process("p", ["no-such-program"], host=fleet.host("h"), folder=fleet.folder).launch()


def consul_that_says(text: str, folder: Path) -> Path:
    path = folder / "consul"
    path.write_text(f"#!/bin/sh\necho '{text}'\n")
    path.chmod(0o755)
    return path


def test_the_variable_consul_beats_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONSUL in the environment names the program, also by a path from here; empty it says nothing."""
    path = consul_that_says("Consul v1.15.0-dev", tmp_path)
    monkeypatch.chdir(tmp_path)
    for given in (str(path), "consul", "./consul"):
        monkeypatch.setenv("CONSUL", given)
        assert program("consul") == str(path)
    assert consul_version() == (1, 15, 0)
    assert consul_streams()
    monkeypatch.setenv("CONSUL", "")
    assert program("consul") != str(path)


def test_a_consul_that_does_not_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong CONSUL is a clear error, whatever is on PATH, and so is a program that is no Consul."""
    path = consul_that_says("Hello", tmp_path)
    monkeypatch.setenv("CONSUL", str(path))
    with pytest.raises(OSError, match="consul version` does not say which Consul it is: Hello"):
        consul_version()
    path.chmod(0o644)
    with pytest.raises(MissingProgram, match=f"CONSUL={path} in the environment names no program that can be run"):
        program("consul")


@pytest.mark.parametrize("version", ["1.8.7", "1.10.12", "1.11.0", "1.13.9", "1.14.11"])
def test_consul_is_configured_in_the_words_of_its_version(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """An older Consul refuses keys that it does not know; a newer one would share a port and warn of old names."""
    monkeypatch.setenv("CONSUL", str(consul_that_says(f"Consul v{version}", tmp_path)))
    ConsulNode("c", host=fleet.host("h"), folder=fleet.folder, servers=1, bootstrap_token="secret")
    settings = json.loads((fleet.folder / "c.json").read_text())
    assert ("grpc_tls" in settings["ports"]) == (version == "1.14.11")
    assert ("initial_management" in settings["acl"]["tokens"]) == (version in ("1.11.0", "1.13.9", "1.14.11"))
    assert ("master" in settings["acl"]["tokens"]) == (version in ("1.8.7", "1.10.12"))
    assert consul_streams() == (version != "1.8.7")


def test_until_says_what_did_not_happen() -> None:
    """A wait that ends in vain names the condition and what was seen last."""
    with pytest.raises(NotInTime, match=r"not within .* s: pigs fly; seen last: 0"):
        until(lambda: 0, within=0.01, what="pigs fly")


def test_a_paused_server_is_silent_and_a_resumed_one_answers(fleet: Fleet) -> None:
    """Pausing stops the work but not the process."""
    node = fleet.redis()
    node.pause()
    with pytest.raises(redis.TimeoutError):
        node.ask("PING")
    assert node.alive
    node.resume()
    assert node.role() == "master"


def test_a_server_restarts_on_its_port_with_its_files(fleet: Fleet) -> None:
    """A restart keeps address and configuration, as rewritten meanwhile; SIGTERM ends it well."""
    node = fleet.redis()
    node.ask("CONFIG", "SET", "maxclients", "77")
    node.ask("CONFIG", "REWRITE")
    before = node.pid
    node.restart()
    assert node.pid != before
    assert node.ask("CONFIG", "GET", "maxclients")[1] == "77"
    assert node.stop() == 0
    assert node.exit_code == 0


def test_two_fleets_do_not_share_ports() -> None:
    """Fleets that run at the same time take different ports."""
    with Fleet() as one, Fleet() as other:
        assert one.redis().address != other.redis().address


def test_passwords_hold_for_replicas_and_sentinels(fleet: Fleet) -> None:
    """With a password everywhere the fleet still settles, and a stranger is refused."""
    fleet.populate(nodes=2, sentinels=1, quorum=1, password="one", sentinel_password="two")
    for server in (fleet.nodes[1], fleet.sentinels[0]):
        with pytest.raises(redis.AuthenticationError):
            server.ask("PING", password="wrong")
    assert fleet.sentinels[0].names() == fleet.nodes[0].address


def test_consul_with_acls_lets_everyone_read_and_only_tokens_write(fleet: Fleet) -> None:
    """ACLs are on, deny by default: DNS works for all, writing needs the right, a revoked token has none."""
    consul = fleet.consul(servers=1, bootstrap_token="11111111-2222-3333-4444-555555555555")
    token = consul.create_token('service "redis" { policy = "write" }')
    with pytest.raises(ConsulError, match="403"):
        register(consul, ONE)
    register(consul, ONE, token=token)
    until(lambda: consul.srv("redis") == frozenset({ONE}), within=5, what="DNS names the service")
    consul.revoke_token(token)
    with pytest.raises(ConsulError, match="403"):
        register(consul, TWO, token=token)


# --- the whole fleet --------------------------------------------------------------------------------------------------


def test_a_killed_master_fails_over_and_returns_as_a_replica(fleet: Fleet) -> None:
    """Three nodes and three Sentinels on loopback do what they do in the field, and the witness sees it."""
    fleet.populate()
    witness = fleet.witness()
    old = fleet.nodes[0]
    killed = time.monotonic()
    old.kill()
    new = fleet.wait_for_master(other_than=old)
    assert witness.promoted_at(new, since=killed) is not None
    assert witness.promoted_at(old, since=killed) is None
    old.start()
    until(lambda: old.follows(new), within=20, what="the old master follows the new one")
    assert [role for _, role in witness.roles(old)] == ["master", None, "master", "slave"]


def test_a_planned_failover(fleet: Fleet) -> None:
    """A healthy master can be replaced on demand."""
    fleet.populate()
    new = fleet.failover()
    assert new is not fleet.nodes[0]
    assert fleet.master() is new


# --- isolated hosts ---------------------------------------------------------------------------------------------------


@pytest.mark.netns
def test_a_lost_host_fails_over_and_comes_back(isolated_fleet: Fleet) -> None:
    """Hosts have the usual ports; one that loses power takes Redis, Sentinel and Consul with it, and comes back."""
    fleet = isolated_fleet
    fleet.populate()
    old = fleet.nodes[0]
    assert {node.address.port for node in fleet.nodes} == {6379}
    assert len({node.address.host for node in fleet.nodes}) == 3
    fleet.lose(old.host)
    new = fleet.wait_for_master(other_than=old)
    fleet.bring_back(old.host)
    for process in fleet.on(old.host):
        process.wait_ready()
    assert fleet.wait_for_master() is new


@pytest.mark.netns
def test_a_cut_is_silent_selective_and_can_be_healed(isolated_fleet: Fleet) -> None:
    """Between two hosts nothing passes, not even a refusal; a third sees both; healing undoes it."""
    one, two, three = (isolated_fleet.redis() for _ in range(3))
    isolated_fleet.cut(one, two)

    def reaches(source: Process, target: Process) -> bool:
        address = f"/dev/tcp/{target.host.address}/6379"
        with source.host.inside():
            done = subprocess.run(["timeout", "0.5", "bash", "-c", f": <{address}"], check=False, capture_output=True)
        assert done.returncode in (0, 124), "refused, where only silence or success is expected"
        return done.returncode == 0

    assert not reaches(one, two)
    assert not reaches(two, one)
    assert reaches(one, three)
    assert reaches(two, three)
    isolated_fleet.heal()
    assert reaches(one, two)
    assert reaches(two, one)


@pytest.mark.netns
def test_isolated_fleets_leave_no_namespace_and_may_run_at_once() -> None:
    """Two fleets use the same addresses without meeting, and give back every descriptor."""
    before = len([*Path("/proc/self/fd").iterdir()])
    with Fleet(isolated=True) as one, Fleet(isolated=True) as other:
        first, second = one.redis(), other.redis()
        assert first.address == second.address
        first.ask("SET", "key", "mine")
        assert second.ask("GET", "key") is None
    assert len([*Path("/proc/self/fd").iterdir()]) == before


# --- the witness ------------------------------------------------------------------------------------------------------


def test_the_witness_tells_one_two_and_none_apart(fleet: Fleet) -> None:
    """Each state of DNS is in the history with its duration, and judged as what it is."""
    consul, witness = consul_and_witness(fleet)
    witness.wait_for(within=5)
    register(consul, ONE)
    witness.wait_for(ONE, within=5)
    witness.assert_never_two()
    register(consul, TWO)
    witness.wait_for(ONE, TWO, within=5)
    deregister(consul, ONE)
    witness.wait_for(TWO, within=5)
    deregister(consul, TWO)
    witness.wait_for(within=5)
    witness.watch(0.05)

    assert [seen.answers for seen in witness.history] == [frozenset(), {ONE}, {ONE, TWO}, {TWO}, frozenset()]
    (first,), (second,) = witness.intervals(ONE), witness.intervals(TWO)
    assert witness.seconds_of_two() == pytest.approx(first[1] - second[0])
    assert witness.first_seen(TWO) == second[0]
    assert witness.last_seen(ONE) == first[1]
    assert witness.exact_at(TWO, since=first[0]) == first[1]
    assert witness.seconds_of(ONE) == pytest.approx(first[1] - first[0])
    with pytest.raises(AssertionError, match=r"(?s)two masters for .*127\.0\.0\.1:1, 127\.0\.0\.1:2"):
        witness.assert_never_two()
    with pytest.raises(AssertionError, match="no master for"):
        witness.assert_never_none(since=first[0])
    with pytest.raises(AssertionError, match="something else"):
        witness.assert_only(ONE, since=first[0])
    witness.assert_only(TWO, since=first[1], until=second[1])
    assert 0 < witness.resolution < witness.up_to - witness.history[0].at


def test_a_witness_may_ask_for_several_services(fleet: Fleet) -> None:
    """Each has a history of its own; what is judged is the first."""
    consul = fleet.consul(servers=1)
    witness = fleet.witness(also={"other": 0.01})
    register(consul, ONE)
    witness.wait_for(ONE, within=5)
    body = {"Name": "other", "ID": "other", "Address": TWO.host, "Port": TWO.port}
    consul.put("/v1/agent/service/register", body)
    until(
        lambda: witness.history_of("other")[-1].answers == frozenset({TWO}), within=5, what="the other service is seen"
    )
    assert [seen.answers for seen in witness.history] == [frozenset(), {ONE}]
    assert [seen.answers for seen in witness.history_of("other")] == [frozenset(), {TWO}]


def test_the_witness_does_not_take_silence_for_an_answer(fleet: Fleet) -> None:
    """While Consul is paused DNS is unanswered, which is neither one, two nor none."""
    consul, witness = consul_and_witness(fleet)
    register(consul, ONE)
    witness.wait_for(ONE, within=5)
    since = witness.up_to
    consul.pause()
    until(lambda: witness.answers is None, within=5, what="the witness notices the silence")
    consul.resume()
    witness.wait_for(ONE, within=5)
    assert witness.seconds_unanswered(since=since) > 0
    assert witness.seconds_of_none(since=since) == 0
    assert witness.resolution >= 0.2


def test_the_witness_notices_a_closed_port(fleet: Fleet) -> None:
    """A Consul that ended is no answer either, and one that starts again is seen."""
    consul, witness = consul_and_witness(fleet)
    consul.kill()
    until(lambda: witness.answers is None, within=5, what="the witness notices the closed port")
    consul.start()
    witness.wait_for(within=5)


def test_a_history_that_grows_faster_than_it_is_read_is_read_to_an_end(fleet: Fleet) -> None:
    """On a busy machine a test that reads on and on would hang, and so would the report that it has failed."""
    _, witness = consul_and_witness(fleet)
    assert witness.stop() == 0
    take, more = witness._take, iter(range(1000))

    def slowly(kind: str, at: float, *rest: object) -> None:
        if next(more, None) is not None:
            with witness.log_path.open("a") as log:
                log.write('["at", 0.0, "redis", 1, 0.0]\n')
        take(kind, at, *rest)

    witness._take, witness._read = slowly, 0  # type: ignore[method-assign]
    assert witness.history
    assert next(more, None) is not None


def test_a_stopped_witness_keeps_its_history(fleet: Fleet) -> None:
    """SIGTERM ends the sampling, not the evidence."""
    consul, witness = consul_and_witness(fleet)
    register(consul, ONE)
    witness.wait_for(ONE, within=5)
    assert witness.stop() == 0
    assert witness.answers == frozenset({ONE})
    assert witness.exit_code != -signal.SIGTERM
