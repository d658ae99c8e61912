"""`deregister` on a real Consul: all of this node's entries, and those of hosts that are gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from consul_redis_agent import state
from consul_redis_agent.consul.form import FORMAT, GROUP, MARKER, NODE, claim_meta
from consul_redis_agent.decide.claim import NO_EPOCH, Claim
from consul_redis_agent.decide.memory import Memory
from tests.fleet import SCALE, ConsulNode, Fleet, until

from .support import instances

OWN = "redis://127.0.0.1:6379"
TOKEN = "11111111-2222-3333-4444-555555555555"
READS = 'node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }'
WRITES = 'service "redis" { policy = "write" } service "redis-replica" { policy = "write" }'


def run(fleet: Fleet, command: str, *flags: str, token: str = "") -> subprocess.CompletedProcess[str]:
    """The program for the Redis node at the default port, without Sentinel, with its state in a folder of the fleet's."""
    consul = fleet.consuls[0]
    where = ("--consul-url", f"http://{consul.http}", "--consul-dns", str(consul.dns), "--sentinel-mode", "off")
    socket = ("--socket", str(fleet.folder / "none.sock")) if command == "deregister" else ()
    return subprocess.run(
        [sys.executable, "-m", "consul_redis_agent", command, *where, *socket, *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=30 * SCALE,
        env=os.environ | {"STATE_DIRECTORY": str(fleet.folder), "CONSUL_HTTP_TOKEN": token},
    )


def service(name: str, *, node: str = OWN, group: str = "g1", status: str = "passing") -> dict[str, object]:
    """An entry as an agent makes it, with a claim."""
    id_ = f"{name}-6379"
    meta = {MARKER: FORMAT, NODE: node, GROUP: group} | claim_meta(Claim(NO_EPOCH, 0, "run"))
    check = {"CheckID": f"{id_}:role", "Name": "role:master", "TTL": "60s", "Status": status}
    return {"ID": id_, "Name": name, "Address": "10.0.0.1", "Port": 6379, "Meta": meta, "Check": check}


def register(consul: ConsulNode, body: dict[str, object], token: str | None = None) -> None:
    consul.put("/v1/agent/service/register", body, token=token)
    name = str(body["Name"])
    until(
        lambda: any(i["Service"]["ID"] == body["ID"] for i in instances(consul, name)),
        within=5,
        what="the catalog has it",
    )


def ids(consul: ConsulNode, name: str) -> list[tuple[str, str]]:
    return [(i["Node"]["Node"], i["Service"]["ID"]) for i in instances(consul, name)]


@pytest.mark.main_path
def test_everything_of_this_node_goes_and_its_group_is_forgotten(fleet: Fleet) -> None:
    """A passing entry, one under a former name, a critical last claim, and what the catalog alone holds; nobody else's."""
    consul = fleet.consul(servers=1)
    register(consul, service("redis", status="critical"))
    register(consul, service("former"))
    register(consul, service("redis-theirs", node="redis://127.0.0.1:7000"))
    alone = service("redis-replica")
    del alone["Check"]
    entry = {"ID": alone["ID"], "Service": alone["Name"], "Meta": alone["Meta"], "Address": "10.0.0.1", "Port": 6379}
    state.save(fleet.folder, "node-6379", Memory(group="g1", had_sentinel=True))
    done = run(fleet, "deregister")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == [
        "removed former-6379: former at 10.0.0.1:6379",
        "removed redis-6379: redis at 10.0.0.1:6379",
    ]

    def left_the_catalog() -> bool:
        consul.put("/v1/txn", [{"Service": {"Verb": "set", "Node": consul.name, "Service": entry}}])
        return run(fleet, "deregister").stdout.splitlines() == [
            "removed redis-replica-6379: redis-replica at 10.0.0.1:6379, which the catalog alone still held"
        ]

    # Consul's own full sync, soon after its start, may be quicker: then there is nothing to remove.
    until(left_the_catalog, within=20, what="the entry that the catalog alone holds is removed")
    assert [ids(consul, name) for name in ("redis", "former", "redis-replica")] == [[], [], []]
    assert ids(consul, "redis-theirs") == [(consul.name, "redis-theirs-6379")]
    assert not Path(fleet.folder, "node-6379.json").exists()
    assert run(fleet, "deregister").stdout.startswith("nothing to remove: this Consul agent holds no entry of redis://")


def test_the_entries_of_a_dead_host_go_with_no_more_than_the_right_to_write_the_service(fleet: Fleet) -> None:
    """`check` says that another group uses the name, and how to end it; what it says is enough. What lives stays."""
    here = fleet.consul(servers=1, bootstrap_token=TOKEN)
    gone = fleet.consul(bootstrap_token=TOKEN)
    token = here.create_token(READS + WRITES)
    register(here, service("redis", node="redis://127.0.0.1:7000") | {"ID": "redis-7000"}, TOKEN)
    register(gone, service("redis", group="g2"), TOKEN)
    by_hand = {"ID": "by-hand", "Name": "redis", "Port": 1}
    register(gone, by_hand, TOKEN)
    state.save(fleet.folder, "node-6379", Memory(group="g1", had_sentinel=True))
    said = run(fleet, "check", token=token).stdout
    assert f"FAIL another group: it uses the name 'redis' as well: redis-6379 on {gone.name} (10.0.0.1:6379); " in said
    assert "(--dead for hosts that are gone)" in said
    assert (
        "no entry under 'redis' or 'redis-replica' is on a node that Consul"
        in run(fleet, "deregister", "--dead", token=token).stdout
    )
    gone.kill()
    until(
        lambda: any(
            c["Status"] == "critical"
            for i in instances(here, "redis")
            for c in i["Checks"]
            if c["CheckID"] == "serfHealth"
        ),
        within=30,
        what="Consul holds the host for dead",
    )
    done = run(fleet, "deregister", "--dead", token=token)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [
        (
            f"removed redis-6379 on {gone.name}: redis at 10.0.0.1:6379; Consul holds {gone.name} for dead, and if it comes "
            "back, its agent puts its own entry back"
        )
    ]
    assert sorted(ids(here, "redis")) == [(here.name, "redis-7000"), (gone.name, "by-hand")]
    assert "another group" not in run(fleet, "check", token=token).stdout
