"""`check`, `resolve`, `status` and `deregister` on real servers: what is well, and what is said when it is not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from consul_redis_agent.consul.form import FORMAT, MARKER, NODE, claim_meta
from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.facts import Address
from tests.fleet import SCALE, ConsulNode, Fleet, RedisNode, until

TOKEN = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def small(fleet: Fleet) -> Fleet:
    """One Redis node, one Sentinel, one Consul; no agent."""
    fleet.populate(nodes=1, sentinels=1, quorum=1)
    return fleet


def run(command: str, *arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The program, as somebody runs it whose output is piped."""
    return subprocess.run(
        [sys.executable, "-m", "consul_redis_agent", command, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30 * SCALE,
        env=os.environ | (env or {}),
    )


def config_of(fleet: Fleet, *, more: str = "", node: RedisNode | None = None) -> Path:
    """A configuration file for the first node, with ``more`` before its tables."""
    path = fleet.folder / "test.toml"
    path.write_text(more + fleet.agent_config(node or fleet.nodes[0], consul=fleet.consuls[0]))
    return path


def check(fleet: Fleet, *flags: object, more: str = "") -> tuple[int, str]:
    """The exit code of `check` and what it says."""
    done = run("check", "--config", config_of(fleet, more=more), "--socket", fleet.folder / "none.sock", *flags)
    assert done.stderr == ""
    return done.returncode, done.stdout


def publish(
    consul: ConsulNode, node: RedisNode, *, name: str = "redis", made_for: str | None = None, token: str | None = None
) -> str:
    """An entry as the agent makes it; returns its id."""
    service = f"{name}-{node.address.port}"
    meta = {MARKER: FORMAT, NODE: made_for or f"redis://127.0.0.1:{node.address.port}"} | claim_meta(
        Claim(0, 0, node.info("server")["run_id"])
    )
    role_check = {"CheckID": f"{service}:role", "Name": "role:master", "TTL": "60s", "Status": "passing"}
    where = {"Address": node.address.host, "Port": node.address.port}
    body = {"ID": service, "Name": name, "Meta": meta, "Check": role_check} | where
    consul.put("/v1/agent/service/register", body, token=token)
    until(lambda: node.address in (consul.srv(name) or ()), within=5, what="DNS names the entry")
    return service


def by_hand(consul: ConsulNode, address: Address) -> None:
    """An entry that is not this tool's."""
    body = {"ID": "by-hand", "Name": "redis", "Address": address.host, "Port": address.port}
    consul.put("/v1/agent/service/register", body)
    until(lambda: address in (consul.srv("redis") or ()), within=5, what="DNS names the foreign entry")


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_before_the_first_run_finds_nothing_wrong(fleet: Fleet) -> None:
    """Everything is in place, nothing is configured but ports, nobody is published yet: exit 0, and nothing is left."""
    fleet.populate()
    index = fleet.consuls[0].get("/v1/catalog/services")
    code, said = check(fleet)
    assert code == 0, said
    assert [line.split(":")[0] for line in said.splitlines()] == [
        "ok   configuration",
        "ok   redis 127.0.0.1",
        *["ok   sentinel 127.0.0.1"] * 3,
        *["ok   sentinels"] * 2,
        "ok   fence",
        *["warn sentinels"] * 2,
        "warn failover 127.0.0.1",
        "warn writes 127.0.0.1",
        "warn address 127.0.0.1",
        "ok   entry 127.0.0.1",
        "ok   consul http",
        *["ok   token"] * 2,
        "warn dns",
        "warn consul",
        "warn dns",
        "warn agent",
    ]
    assert "3 of 3 have a vote, 2 are needed" in said
    assert fleet.consuls[0].get("/v1/catalog/services") == index


def test_check_of_a_published_master_and_of_a_replica(fleet: Fleet) -> None:
    """With the entry in DNS all is ok, seen from the master's host and from a replica's."""
    fleet.populate(nodes=2, sentinels=1, quorum=1)
    publish(fleet.consuls[0], fleet.nodes[0])
    for node in fleet.nodes:
        done = run("check", "--config", config_of(fleet, node=node))
        assert done.returncode == 0, done.stdout
        assert f"ok   dns: redis.service.consul: {fleet.nodes[0].address} is the one true master" in done.stdout


def test_the_environment_alone_configures(fleet: Fleet) -> None:
    """Addresses, names and passwords by CRA_… and by what Consul's own tools read: no file, no flag, and all is in place."""
    fleet.populate(nodes=1, sentinels=1, quorum=1, password="one", sentinel_password="two")
    node, sentinel, consul = fleet.nodes[0], fleet.sentinels[0], fleet.consuls[0]
    env = {
        "CONSUL_HTTP_ADDR": str(consul.http),
        "CRA_CONSUL_DNS": str(consul.dns),
        "CRA_REDIS_URL": f"valkey://default@127.0.0.1:{node.address.port}/0",
        "CRA_REDIS_PASSWORD": "one",
        "CRA_SENTINEL_HOSTS": str(sentinel.address),
        "CRA_SENTINEL_PASSWORD": "two",
        "CRA_SERVICE_NAME": "cache",
    }
    done = run("check", env=env)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"looks after redis://127.0.0.1:{node.address.port}\n" in done.stdout
    assert "1 of 1 have a vote" in done.stdout
    assert "dns: cache.service.consul" in done.stdout
    for name in ("CRA_REDIS_PASSWORD", "CRA_SENTINEL_PASSWORD"):
        done = run("check", env=env | {name: "wrong"})
        assert done.returncode == 1
        assert "it refuses the login" in done.stdout


def test_check_while_everything_is_down(small: Fleet) -> None:
    """Each thing has its own line, and the command ends."""
    for process in (*small.nodes, *small.sentinels, *small.consuls):
        process.kill()
    redis, sentinel, consul = small.nodes[0].address, small.sentinels[0].address, small.consuls[0]
    code, said = check(small, "--sentinel-hosts", sentinel)
    assert code == 1
    assert said.splitlines()[1:] == [
        f"FAIL redis {redis}: nothing listens there; start Redis, or correct redis.url",
        f"FAIL sentinel {sentinel}: nothing listens there; start Sentinel, or correct sentinel.hosts",
        "FAIL sentinels: 0 of 1 have a vote, 1 are needed: nothing new can be published; mend the Sentinels above",
        "warn sentinels: 1 of them survive no failure of a host; run three or more, on hosts of their own",
        "ok   fence: watch: the writes that a master without authority still takes are counted, not stopped",
        (
            f"FAIL consul http://{consul.http}: Consul at {consul.http} cannot be reached for GET /v1/status/leader: "
            "Connection refused; start the Consul agent, or correct consul.url"
        ),
        f"FAIL dns: DNS at {consul.dns}: nothing listens there; start Consul, or correct consul.dns",
        (
            f"warn agent: no agent answers at {small.folder / 'none.sock'}: is it running? (--socket names another place); without it nothing is "
            "published; start it: consul-redis-agent run"
        ),
    ]


def test_check_while_everything_hangs(small: Fleet) -> None:
    """Servers that take connections and never answer are named, each with its own timeout."""
    for process in (*small.nodes, *small.sentinels, *small.consuls):
        process.pause()
    code, said = check(small, "--sentinel-hosts", small.sentinels[0].address, "--redis-master-name", "mymaster")
    assert code == 1
    for line in (
        rf"FAIL redis {small.nodes[0].address}: no answer within 1 s: it hangs, or packets are dropped; .*",
        rf"FAIL sentinel {small.sentinels[0].address}: no answer within 1 s: it hangs, or packets are dropped; .*",
        rf"FAIL consul http://{small.consuls[0].http}: .* within 2 s.*",
        rf"FAIL dns: DNS at {small.consuls[0].dns}: does not answer within 2 s; .*",
    ):
        assert re.search(f"(?m)^{line}$", said), said


def test_check_names_what_redis_refuses(fleet: Fleet) -> None:
    """A password that is missing or wrong, a command that the ACL user may not use: how to mend it."""
    users = [
        ("user", "poor on >pw ~* +ping +subscribe &__sentinel__:hello"),
        ("user", "deaf on >pw ~* +info +ping resetchannels"),
    ]
    node = fleet.redis(password="secret", settings=users)
    fleet.consul(servers=1)
    secret = fleet.folder / "pw"
    for password, flags, line in (
        ("", (), "it asks for a password, and none is configured; set redis.password_file"),
        ("wrong", (), "it refuses the login of 'default': wrong password, or no such user; correct redis.username and"),
        (
            "pw",
            ("--redis-username", "poor"),
            (
                "the login may not use INFO, so the role cannot be seen and nothing is published; "
                "redis-cli ACL SETUSER poor +info"
            ),
        ),
        (
            "pw",
            ("--redis-username", "deaf"),
            (
                "the login may not SUBSCRIBE to __sentinel__:hello, so Sentinels are not discovered; "
                "redis-cli ACL SETUSER deaf +subscribe &__sentinel__:hello"
            ),
        ),
    ):
        secret.write_text(password)
        secret.chmod(0o600)
        path = fleet.folder / "c.toml"
        path.write_text(f'[[redis]]\nurl = "redis://{node.address}"\n')
        wanted = ("--redis-password-file", secret) if password else ()
        done = run("check", "--config", path, "--consul-url", f"http://{fleet.consuls[0].http}", *wanted, *flags)
        assert done.returncode == 1
        assert f"FAIL redis {node.address}: {line}" in done.stdout
        assert "secret" not in done.stdout


def test_check_names_a_redis_without_a_free_connection(fleet: Fleet) -> None:
    """`maxclients` is reached: the server says so, and the line repeats it with its remedy."""
    node = fleet.redis(settings={"maxclients": "1"})
    fleet.consul(servers=1)
    path = config_of(fleet)
    with redis.Redis(*node.address) as busy:
        until(busy.ping, within=5, what="the only connection is taken")
        done = run("check", "--config", path)
    assert done.returncode == 1
    assert f"FAIL redis {node.address}: it has no connection left (maxclients); " in done.stdout


def test_check_names_a_sentinel_in_the_place_of_redis(small: Fleet) -> None:
    """A mistake in the port that is easily made."""
    path = config_of(small)
    path.write_text(path.read_text().replace(str(small.nodes[0].address.port), str(small.sentinels[0].address.port)))
    done = run("check", "--config", path)
    assert done.returncode == 1
    assert (
        f"FAIL redis {small.sentinels[0].address}: this is a Sentinel, not a Redis node; set redis.url" in done.stdout
    )


def test_check_names_what_sentinels_refuse_or_do_not_know(fleet: Fleet) -> None:
    """A wrong password; a master name that none of them monitors, with those that they do."""
    fleet.populate(nodes=1, sentinels=2, quorum=2, sentinel_password="secret")
    code, said = check(fleet)
    assert code == 1
    line = "FAIL sentinel {}: it asks for a password, and none is configured; set sentinel.password_file"
    assert any(line.format(sentinel.address) in said for sentinel in fleet.sentinels)
    (fleet.folder / "pw").write_text("secret")
    (fleet.folder / "pw").chmod(0o600)
    hosts = ",".join(str(s.address) for s in fleet.sentinels)
    login = ("--sentinel-password-file", fleet.folder / "pw", "--sentinel-hosts", hosts)
    code, said = check(fleet, *login)
    assert code == 0, said
    code, said = check(fleet, *login, "--redis-master-name", "other")
    assert code == 1
    for sentinel in fleet.sentinels:
        assert (
            f"FAIL sentinel {sentinel.address}: reached, but does not monitor 'other'; it knows mymaster; "
            "set redis.master_name to the right one"
        ) in said
    assert "secret" not in said


def test_check_tells_of_a_lost_sentinel_and_a_lost_quorum(fleet: Fleet) -> None:
    """One of three is lost: that one is wrong, the others still decide. Two are: no failover would be authorised."""
    fleet.populate(nodes=1, sentinels=3)
    fleet.sentinels[2].kill()
    code, said = check(fleet)
    assert code == 1
    assert f"FAIL sentinel {fleet.sentinels[2].address}: nothing listens there" in said
    assert "ok   sentinels: 2 of 3 have a vote, 2 are needed" in said
    fleet.sentinels[1].kill()
    lost = fleet.sentinels[1]
    until(lambda: "s_down" in str(fleet.sentinels[0].others()), within=10, what="the first Sentinel misses the others")
    code, said = check(fleet)
    assert code == 1
    assert f"FAIL sentinel {lost.address}: nothing listens there" in said
    assert "FAIL sentinels: 1 of 3 have a vote, 2 are needed: nothing new can be published" in said
    assert re.search(r"FAIL sentinels: a failover would not be authorised: NOQUORUM", said)


def test_check_names_the_missing_right_of_consuls_token(fleet: Fleet) -> None:
    """None, unknown, too weak, for one service only, good: and neither is told, nor is anything written by asking."""
    fleet.redis()
    consul = fleet.consul(servers=1, bootstrap_token=TOKEN)
    reads = 'node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }'
    write = 'service "{}" {{ policy = "write" }} '
    tokens = {
        "": "no token is configured, and without one nobody may write the service 'redis'; set consul.token_file to",
        consul.create_token(reads): "the token may not write the service 'redis'; give it a policy with service",
        consul.create_token(reads + write.format("redis")): "the token may not write the service 'redis-replica'",
        consul.create_token(write.format("redis") + write.format("redis-replica")): "the token may not read Consul's",
        "99999999-2222-3333-4444-555555555555": "the token is unknown to Consul",
        consul.create_token(reads + write.format("redis") + write.format("redis-replica")): None,
    }
    path = config_of(fleet)
    for token, line in tokens.items():
        env = {"CONSUL_HTTP_TOKEN": token} if token else None
        done = run("check", "--config", path, "--sentinel-mode", "off", env=env)
        assert (line is None) is ("FAIL" not in done.stdout), done.stdout
        assert (line or "") in done.stdout
        assert not token or token not in done.stdout
    assert consul.get("/v1/catalog/services", token=TOKEN) == {"consul": []}
    assert [node["Node"] for node in consul.get("/v1/catalog/nodes", token=TOKEN)] == [consul.name]


def test_check_tells_of_a_foreign_entry_maintenance_and_an_announce_that_sentinel_does_not_know(small: Fleet) -> None:
    """An entry made by hand makes DNS false; maintenance hides a true one; `announce` beats Sentinel's address."""
    consul, node = small.consuls[0], small.nodes[0]
    service = publish(consul, node)
    by_hand(consul, Address("127.0.0.1", 9))
    path = config_of(small)
    path.write_text(path.read_text() + 'announce = "10.0.0.5:7000"\n')
    done = run("check", "--config", path)
    assert done.returncode == 1
    assert "FAIL catalog: by-hand on consul1 (127.0.0.1:9) is under the name 'redis'" in done.stdout
    assert "consul services deregister -id=by-hand" in done.stdout
    assert re.search(r"(?m)^FAIL dns: redis.service.consul: 2 masters: ", done.stdout)
    assert "10.0.0.5:7000, from redis.announce; Sentinel" in done.stdout
    consul.put(f"/v1/agent/service/maintenance/{service}?enable=true")
    until(lambda: node.address not in (consul.srv("redis") or ()), within=5, what="DNS leaves it out")
    assert f"({service} on consul1) is in maintenance, so DNS leaves it out" in run("check", "--config", path).stdout


# --- resolve ----------------------------------------------------------------------------------------------------------


def test_resolve_of_the_one_true_master(small: Fleet) -> None:
    """What DNS says, whom the Sentinels name, what the node says; by default name, by service and by full name."""
    node = small.nodes[0]
    publish(small.consuls[0], node)
    for name in ((), ("redis",), ("redis.service.consul",)):
        done = run("resolve", "--config", config_of(small), *name)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "name      redis.service.consul",
            f"answer    SRV 7f000001.addr.dc1.consul port {node.address.port}, address 127.0.0.1, TTL 0 s",
            f"node      {node.address} says master",
            f"sentinel  1 of 1 name {node.address} as 'mymaster' at epoch 0",
            f"ok        {node.address} is the one true master",
        ]


def test_resolve_needs_no_redis_on_its_own_host(small: Fleet) -> None:
    """On an application's host the Sentinels are heard through the node that DNS names."""
    publish(small.consuls[0], small.nodes[0])
    done = run("resolve", "--config", config_of(small), "--redis-url", "redis://127.0.0.1:9")
    assert done.returncode == 0, done.stdout
    assert "sentinel  1 of 1 name" in done.stdout


def test_resolve_says_what_is_wrong(fleet: Fleet) -> None:
    """None, a replica, two, a dead node, another group's name, closed DNS: exit 1, and the reason last."""
    fleet.populate(nodes=2, sentinels=1, quorum=1)
    consul, (master, replica), path = fleet.consuls[0], fleet.nodes, config_of(fleet)

    def verdict() -> str:
        done = run("resolve", "--config", path)
        assert done.returncode == 1
        return done.stdout.splitlines()[-1]

    assert verdict() == f"FAIL      no master: DNS names nobody, though Sentinel names {master.address}"
    service = publish(consul, replica)
    assert verdict() == (
        f"FAIL      {replica.address} is a replica of {master.address}; Sentinel names {master.address}"
    )
    publish(consul, master)
    assert verdict().startswith("FAIL      2 masters: ")
    consul.put(f"/v1/agent/service/deregister/{service}")
    until(lambda: consul.srv("redis") == frozenset({master.address}), within=5, what="DNS names the master alone")
    fleet.sentinels[0].kill()
    master.kill()
    assert re.match(rf"FAIL      {master.address} cannot be asked: .*", verdict())
    consul.kill()
    assert verdict() == (f"FAIL      DNS at {consul.dns}: nothing listens there; start Consul, or correct consul.dns")


def test_resolve_watch_prints_each_change_with_its_time(small: Fleet) -> None:
    """A line when the answer changes, at once also in a pipe, with the former one and how long it held."""
    consul, node = small.consuls[0], small.nodes[0]
    argv = [sys.executable, "-m", "consul_redis_agent", "resolve", "--watch", "--config", str(config_of(small))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        try:
            assert watch.stdout.readline().split("\t")[1:] == ["none", "", "\n"]
            service = publish(consul, node)
            at, now, former, held = watch.stdout.readline().rstrip("\n").split("\t")
            assert (now, former) == (str(node.address), "none")
            assert re.fullmatch(r"\d+-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", at)
            assert float(held) > 0
            consul.put(f"/v1/agent/service/deregister/{service}")
            assert watch.stdout.readline().split("\t")[1:3] == ["none", str(node.address)]
            watch.send_signal(signal.SIGINT)
            assert watch.wait(10 * SCALE) == 130
        finally:
            watch.kill()


# --- deregister, and status -------------------------------------------------------------------------------------------


def test_deregister_takes_out_only_this_nodes_entries(small: Fleet) -> None:
    """The tool's entries for the configured node go, also under another name; everybody else's stay; then there is nothing."""
    consul, node = small.consuls[0], small.nodes[0]
    other = small.redis()
    mine = publish(consul, node)
    publish(consul, node, name="old-name")
    theirs = publish(consul, other)
    by_hand(consul, Address("127.0.0.1", 9))
    command = ("deregister", "--config", config_of(small), "--socket", small.folder / "none.sock")
    done = run(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == [
        f"removed old-name-{node.address.port}: old-name at {node.address}",
        f"removed {mine}: redis at {node.address}",
    ]
    assert set(consul.get("/v1/agent/services")) == {theirs, "by-hand"}
    done = run(*command)
    assert (done.returncode, done.stdout) == (
        0,
        (
            f"nothing to remove: this Consul agent holds no entry of redis://127.0.0.1:{node.address.port}; "
            f"left alone those of redis://127.0.0.1:{other.address.port}\n"
        ),
    )


def test_deregister_without_consul_fails_in_one_line(small: Fleet) -> None:
    """Nothing was removed, and nobody is led to believe it."""
    path = config_of(small)
    small.consuls[0].kill()
    done = run("deregister", "--config", path, "--socket", small.folder / "none.sock")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"consul-redis-agent: Consul at {small.consuls[0].http} cannot be reached")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def running(small: Fleet) -> Fleet:
    """The small fleet with its agent, published."""
    agent = small.agent(small.nodes[0])
    consul, address = small.consuls[0], small.nodes[0].address
    until(lambda: consul.srv("redis") == frozenset({address}), within=15, what="the agent has published its master")
    until(agent.socket.exists, within=5, what="the agent listens on its socket")
    return small


def test_status_of_a_running_agent(running: Fleet) -> None:
    """Role, the Sentinels' votes, the claim, the entries and the decision with its reason: of the live agent."""
    agent, node = running.agents[0], running.nodes[0]

    def well() -> bool:
        return run("status", "--json", "--socket", agent.socket).returncode == 0

    until(well, within=15, what="status finds nothing wrong")
    snapshot = json.loads(run("status", "--socket", agent.socket).stdout)
    (seen,) = snapshot["nodes"]
    assert (snapshot["pid"], seen["node"]) == (agent.pid, str(node.address))
    assert (seen["role"], seen["decision"], seen["master_name"]) == ("master", "master", "mymaster")
    assert [s["vote"] for s in seen["sentinels"]] == ["names this node"]
    assert [(e["address"], e["visible"], e["mine"]) for e in seen["entries"]] == [(str(node.address), True, True)]
    node.kill()
    until(lambda: not well(), within=15, what="status finds the dead node")


def test_deregister_refuses_beside_a_running_agent(running: Fleet) -> None:
    """The agent would put the entries back: who stops it first, or insists, is obeyed."""
    agent, consul = running.agents[0], running.consuls[0]
    command = ("deregister", "--config", agent.config_path, "--socket", agent.socket)
    done = run(*command)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the running agent (pid {agent.pid}) looks after {running.nodes[0].address}" in done.stderr
    assert consul.get("/v1/agent/services")
    assert run(*command, "--force").stdout.startswith("removed redis-")
    agent.stop()
    assert run(*command).returncode == 0
    assert consul.get("/v1/agent/services") == {}
