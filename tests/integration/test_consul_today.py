"""What a Consul of today refuses or hides, and why: said in the log, by `status` and by `check`, each with its cause."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from consul_redis_agent.commands.demo.process import consul_version
from consul_redis_agent.consul import form
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.consul.form import NOTES, OURS, SEAL_NOTES, SOURCE, TOMBSTONE_NOTES, registration
from consul_redis_agent.consul.place import Place
from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.decision import Decision, Reason, Verdict
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import ConsulError
from consul_redis_agent.publish.entries import Mode, Naming, wanted
from tests.fleet import SCALE, AgentNode, ConsulNode, Fleet, until

from .support import instances

TOKEN = "11111111-2222-3333-4444-555555555555"
WRITES = 'service "redis" { policy = "write" } service "redis-replica" { policy = "write" }'
READS = 'node_prefix "" { policy = "read" }'


def run(fleet: Fleet, command: str, *arguments: str, token: str = "") -> tuple[int, str]:
    """Exit code and output of a command beside the first node."""
    path = fleet.folder / "test.toml"
    path.write_text(fleet.agent_config(fleet.nodes[0], consul=fleet.consuls[0]))
    done = subprocess.run(
        [sys.executable, "-m", "consul_redis_agent", command, "--config", path, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * SCALE,
        env=os.environ | {"CONSUL_HTTP_TOKEN": token, "STATE_DIRECTORY": str(fleet.folder)},
    )
    assert done.stderr == "" or done.returncode == 1, done.stderr
    return done.returncode, done.stdout


def status(agent: AgentNode) -> tuple[int, dict[str, Any]]:
    """Exit code of `status`, and what it says of the first node."""
    argv = [sys.executable, "-m", "consul_redis_agent", "status", "--json", "--socket", str(agent.socket)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30 * SCALE)
    node: dict[str, Any] = json.loads(done.stdout)["nodes"][0]
    return done.returncode, node


def complains(agent: AgentNode, *words: str) -> None:
    """Wait until `status` fails and names the cause among its errors; the log has it too."""

    def told() -> bool:
        code, node = status(agent)
        said = " ".join(node["errors"].values())
        assert code == 1, node["sentence"]
        assert all(word in said for word in words), said or node["sentence"]
        return True

    until(told, within=15, what=f"status names {words}")
    assert all(word in agent.log() for word in words)


def small(fleet: Fleet, extra: dict[str, Any] | None = None, token: str | None = None) -> ConsulNode:
    """One Redis node, one Sentinel, one Consul; no agent."""
    consul = fleet.consul(servers=1, extra=extra, bootstrap_token=token)
    node = fleet.redis()
    fleet.sentinel(master=node, quorum=1)
    return consul


REFUSED = {
    "/v1/txn": "no master is published",
    "/v1/agent/service/register": "nothing can be published",
    "/v1/agent/check/update": "no entry is kept alive",
    "/v1/agent/services": "nothing can be written",
    "/v1/health/": "no master is published",
}


@pytest.mark.parametrize("endpoint", REFUSED)
def test_a_blocked_endpoint_is_the_cause_and_no_missing_right(fleet: Fleet, endpoint: str) -> None:
    """``block_endpoints``: the log, `status` and `check` name it, with what does not work; nobody speaks of the token's rights."""
    small(fleet, {"http_config": {"block_endpoints": [endpoint]}})
    agent = fleet.agent(fleet.nodes[0])
    complains(agent, "that is not the token: http_config.block_endpoints", REFUSED[endpoint])
    code, said = run(fleet, "check")
    assert code == 1
    (line,) = [line for line in said.splitlines() if line.startswith("FAIL consul agent")]
    assert "block_endpoints" in line
    assert REFUSED[endpoint] in line
    assert "give the token" not in said + agent.log()


def test_writes_from_elsewhere_only(fleet: Fleet) -> None:
    """``allow_write_http_from``: said once for all writes, with the cause."""
    consul = small(fleet, {"http_config": {"allow_write_http_from": ["10.99.0.0/16"]}})
    agent = fleet.agent(fleet.nodes[0])
    complains(agent, "http_config.allow_write_http_from", "that is not the token")
    code, said = run(fleet, "check")
    assert code == 1
    assert [line for line in said.splitlines() if "allow_write_http_from" in line] == [
        (
            f"FAIL consul agent: Consul at {consul.http} refused PUT /v1/txn: Access is restricted; that is not the token: "
            "http_config.allow_write_http_from of this Consul agent leaves out the address that this agent comes from; as long as "
            "it does, no master is published; change it there, and restart that Consul agent"
        )
    ]
    assert "may write the service" not in said


def test_what_is_not_refused_is_no_finding(fleet: Fleet) -> None:
    """Another blocked endpoint, and writes from here allowed: nothing is said, and `check` leaves nothing behind."""
    consul = small(fleet, {"http_config": {"block_endpoints": ["/v1/kv"], "allow_write_http_from": ["127.0.0.0/8"]}})
    before = consul.get("/v1/catalog/services?consistent")
    code, said = run(fleet, "check")
    assert code == 0, said
    assert "consul agent" not in said
    assert (consul.get("/v1/catalog/services?consistent"), consul.get("/v1/agent/services")) == (before, {})


@pytest.mark.parametrize("place", [Place(namespace="team"), Place(partition="team")], ids=["namespace", "partition"])
async def test_a_namespace_at_a_consul_without_them(fleet: Fleet, place: Place) -> None:
    """Only Enterprise has them: whatever is asked, the cause is named, and nothing is written into the wrong place."""
    key = "partition" if place.partition else "namespace"
    consul = fleet.consul(servers=1)
    api = ConsulAPI(f"http://{consul.http}", place=place)
    cause = f"this Consul has no {key}s, which only Consul Enterprise has: take consul.{key} out"
    try:
        with pytest.raises(ConsulError, match=cause):
            await api.register({"ID": "r", "Name": "redis"})
        if key == "namespace" or consul_version() >= (
            1,
            11,
            0,
        ):  # an older one knows no partitions, and ignores the parameter
            with pytest.raises(ConsulError, match=cause):
                await api.health("redis", consistency="consistent")
    finally:
        await api.close()
    assert consul.get("/v1/agent/services") == {}


def test_the_domain_is_learned(fleet: Fleet) -> None:
    """Consul's domain is another one: `check` and `resolve` ask within it."""
    small(fleet, {"domain": "corp.example"})
    fleet.agent(fleet.nodes[0])
    node = fleet.nodes[0]

    def resolved() -> bool:
        code, said = run(fleet, "resolve")
        assert (code, "name      redis.service.corp.example" in said) == (0, True), said
        return True

    until(resolved, within=15, what="DNS names the master")
    code, said = run(fleet, "check")
    assert code == 0, said
    assert f"ok   dns: redis.service.corp.example: {node.address} is the one true master" in said


@pytest.mark.parametrize("only_passing", [False, True])
def test_a_check_that_hides_the_entry_is_named(fleet: Fleet, only_passing: bool) -> None:
    """A node's check that fails takes the entry out of DNS: which one says `status`, the log and `check`, until it is well."""
    consul = small(fleet, {"dns_config": {"only_passing": only_passing}})
    agent = fleet.agent(fleet.nodes[0])
    node = fleet.nodes[0].address
    until(lambda: consul.srv("redis") == frozenset({node}), within=15, what="DNS names the master")
    sick = "warning" if only_passing else "critical"
    consul.put("/v1/agent/check/register", {"ID": "disk", "Name": "disk space", "TTL": "600s", "Status": sick})
    until(lambda: consul.srv("redis") == frozenset(), within=5, what="DNS leaves it out")
    complains(agent, "'disk space' of its node")
    (entry,) = (e for e in status(agent)[1]["entries"] if e["name"] == "redis")
    assert (entry["visible"], entry["hidden_by"]) == (False, ["'disk space' of its node"])
    code, said = run(fleet, "check")
    assert code == 1
    assert "passes, but DNS leaves it out because of the check 'disk space' of its node" in said
    consul.put("/v1/agent/check/update/disk", {"Status": "passing"})
    until(lambda: status(agent)[0] == 0, within=10, what="status is well again")
    assert run(fleet, "check")[0] == 0


def test_dns_without_the_right_to_read(fleet: Fleet) -> None:
    """The catalog holds the master, DNS' own token may not see it: `resolve`, `check` and the running agent name the right."""
    consul = small(fleet, token=TOKEN)
    anonymous = "/v1/acl/token/00000000-0000-0000-0000-000000000002"
    token = consul.create_token(WRITES + READS)
    agent = fleet.agent(
        fleet.nodes[0],
        env={"CONSUL_HTTP_TOKEN": token},
        more=f'[http]\nlisten = "127.0.0.1:{fleet.nodes[0].host.port(0)}"\n',
    )
    until(lambda: consul.srv("redis") == frozenset({fleet.nodes[0].address}), within=15, what="DNS names the master")
    for rules, missing in (("", "service:read on redis and node:read"), (READS, "service:read on redis")):
        name = f"dns-{len(rules)}"
        consul.put("/v1/acl/policy", {"Name": name, "Rules": rules}, token=TOKEN)
        consul.put(anonymous, {"Policies": [{"Name": name}]}, token=TOKEN)
        until(lambda: not consul.srv("redis"), within=60, what="DNS names nobody")
        for command in ("resolve", "check"):
            code, said = run(fleet, command, token=token)
            assert code == 1
            assert (
                f"but DNS does not show it: its token lacks {missing}; give {missing} to the token that DNS uses"
                in said
            )
            assert token not in said
    complains(agent, "but DNS does not show it: its token lacks service:read on redis")
    assert token not in agent.log()


def raft(consul: ConsulNode, token: str) -> int:
    """How much the servers have written."""
    return int(consul.get("/v1/agent/self", token=token)["Stats"]["raft"]["last_log_index"])


def test_a_token_that_may_write_and_not_read(fleet: Fleet) -> None:
    """No ``node:read``: said as `check` says it; nothing is published, and nothing is written again and again."""
    consul = small(fleet, token=TOKEN)
    token = consul.create_token(WRITES)
    agent = fleet.agent(fleet.nodes[0], env={"CONSUL_HTTP_TOKEN": token})
    complains(agent, "node:read on all nodes (node_prefix")
    code, said = run(fleet, "check", token=token)
    assert code == 1
    assert "the token may not read Consul's nodes" in said
    before, decisions = raft(consul, TOKEN), status(agent)[1]["counters"]["decisions"]
    until(lambda: status(agent)[1]["counters"]["decisions"] >= decisions + 5, within=30, what="it goes on deciding")
    assert raft(consul, TOKEN) - before <= 2, "it writes again and again"
    # An older Consul does not say that it leaves something out: there the first entry tells which node has to be shown.
    assert agent.lines("with 409") <= (consul_version() < (1, 11, 0))
    assert token not in agent.log()


def test_what_stands_is_beaten_while_the_right_to_read_is_gone(fleet: Fleet) -> None:
    """``node:read`` is taken away from a running agent: the master stays in DNS for longer than its TTL, and it is said."""
    consul = small(fleet, token=TOKEN)
    consul.put("/v1/acl/policy", {"Name": "reads", "Rules": READS}, token=TOKEN)
    consul.put("/v1/acl/policy", {"Name": "writes", "Rules": WRITES}, token=TOKEN)
    both = {"Policies": [{"Name": "reads"}, {"Name": "writes"}]}
    made = consul.put("/v1/acl/token", both, token=TOKEN)
    agent = fleet.agent(fleet.nodes[0], env={"CONSUL_HTTP_TOKEN": made["SecretID"]}, arguments=["--service-ttl", "4s"])
    node = fleet.nodes[0].address
    until(lambda: consul.srv("redis") == frozenset({node}), within=15, what="DNS names the master")
    token = f"/v1/acl/token/{made['AccessorID']}"
    consul.put(token, {"AccessorID": made["AccessorID"], "Policies": [{"Name": "writes"}]}, token=TOKEN)
    until(lambda: "node:read on all nodes" in agent.log(), within=60, what="it is said")
    before, decisions = raft(consul, TOKEN), status(agent)[1]["counters"]["decisions"]

    def goes_on() -> bool:
        assert consul.srv("redis") == frozenset({node})
        return bool(status(agent)[1]["counters"]["decisions"] >= decisions + 8)

    until(goes_on, within=30, what="it goes on deciding for longer than the TTL")
    assert raft(consul, TOKEN) - before <= 2, "it writes again and again"
    complains(agent, "node:read on all nodes")
    consul.put(token, {"AccessorID": made["AccessorID"], **both}, token=TOKEN)
    until(lambda: status(agent)[0] == 0, within=60, what="it has recovered")


def test_entries_explain_themselves(fleet: Fleet) -> None:
    """Each check has its constant sentence and the service its source, in the catalog as at the own Consul agent."""
    fleet.populate(nodes=2, sentinels=1, quorum=1, agents=True)
    consul = fleet.consuls[0]
    names = {"redis": "master", "redis-replica": "replica"}

    def explained() -> bool:
        for name, role in names.items():
            (held,) = instances(consul, name)
            notes = {c["CheckID"].rpartition(":")[2]: c["Notes"] for c in held["Checks"] if c["ServiceID"]}
            assert notes == {"role": NOTES[role], "seal": SEAL_NOTES}
            assert held["Service"]["Meta"][SOURCE] == OURS == "consul-redis-agent"
            own = consul.get("/v1/agent/checks")
            assert own[f"{held['Service']['ID']}:role"]["Notes"] == NOTES[role]
        return True

    until(explained, within=20, what="every entry explains itself")
    former = fleet.nodes[0]
    fleet.failover()

    def moved() -> bool:
        held = {e["Service"]["Port"]: e["Checks"] for e in instances(consul, "redis")}
        passing = [port for port, checks in held.items() if all(c["Status"] == "passing" for c in checks)]
        assert passing == [fleet.nodes[1].address.port]
        for check in held.get(former.address.port, ()):
            assert "put down" not in check["Name"] or check["Notes"] == TOMBSTONE_NOTES
        return True

    until(moved, within=20, what="the other one is the master")


def test_an_entry_of_a_former_version_is_taken_over_without_a_blink(fleet: Fleet) -> None:
    """It has other notes and no source: DNS shows the master all the while, and nothing is written twice."""
    fleet.populate(nodes=1, sentinels=1, quorum=1, agents=True)
    consul, node = fleet.consuls[0], fleet.nodes[0].address
    until(lambda: consul.srv("redis") == frozenset({node}), within=15, what="DNS names the master")
    until(lambda: status(fleet.agents[0])[0] == 0, within=15, what="it is settled")
    fleet.agents[0].kill()
    (held,) = instances(consul, "redis")
    service, id_ = held["Service"], held["Service"]["ID"]
    older = [
        {"CheckID": f"{id_}:role", "Name": "role:master", "Notes": "kept by consul-redis-agent", "TTL": "10s"},
        {"CheckID": f"{id_}:seal", "Name": "seal", "Notes": "critical after a restart", "TTL": "87600h"},
    ]
    meta = {key: value for key, value in service["Meta"].items() if key != SOURCE}
    body = {"ID": id_, "Name": "redis", "Tags": service["Tags"], "Address": service["Address"], "Port": service["Port"]}
    consul.put(
        "/v1/agent/service/register", body | {"Meta": meta, "Checks": [{**c, "Status": "passing"} for c in older]}
    )
    assert consul.srv("redis") == frozenset({node})
    witness = fleet.witness()
    witness.wait_for(fleet.nodes[0], within=5)
    agent = fleet.agent(fleet.nodes[0])

    def renewed() -> bool:
        (now,) = instances(consul, "redis")
        notes = {c["CheckID"]: c["Notes"] for c in now["Checks"] if c["ServiceID"]}
        assert now["Service"]["Meta"].get(SOURCE) == OURS
        assert notes == {f"{id_}:role": NOTES["master"], f"{id_}:seal": SEAL_NOTES}
        return status(agent)[0] == 0

    until(renewed, within=20, what="it is renewed")
    index = [e["Service"]["ModifyIndex"] for e in instances(consul, "redis")]
    decisions = status(agent)[1]["counters"]["decisions"]
    until(lambda: status(agent)[1]["counters"]["decisions"] >= decisions + 5, within=30, what="it goes on deciding")
    assert [e["Service"]["ModifyIndex"] for e in instances(consul, "redis")] == index
    witness.assert_never_two()
    assert all(seen.answers for seen in witness.history)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_consul_takes_out_what_nobody_keeps_and_no_last_claim(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica's entry whose agent is gone for good leaves; critical claims stay, in each mode, and so does what is beaten."""
    monkeypatch.setattr(form, "REAP", "1m")  # the least that Consul takes
    consul = fleet.consul(servers=1)
    api = ConsulAPI(f"http://{consul.http}")
    of_master = Decision(Verdict.NONE, Reason.SILENT, "It is silent.", keeps=Claim(1, 0, "a"))
    of_replica = Decision(Verdict.REPLICA, Reason.REPLICATES, "It follows.")
    decisions = {"claim": of_master, "replica": of_replica, "beaten": of_replica}
    try:
        for mode in Mode:
            for what, decision in decisions.items():
                ids = f"{what}-{mode}", f"{what}-{mode}-r"
                naming = Naming(mode, "redis", "redis-replica", 1.0, "redis://127.0.0.1:6379", *ids)
                for entry in wanted(decision, naming, Address("10.0.0.1", 6379), "mymaster"):
                    await api.register(registration(entry))

        async def beat() -> None:
            while True:
                await api.check_update(f"beaten-{Mode.SERVICES}-r:role", "passing", "")
                await asyncio.sleep(0.3)

        beating = asyncio.create_task(beat())
        kept = {f"{what}-{mode}" for what in decisions for mode in Mode if what == "claim" or mode is not Mode.SERVICES}
        while f"replica-{Mode.SERVICES}-r" in (there := set(await api.services())):
            assert there >= kept
            await asyncio.sleep(1)
        assert there == kept | {f"beaten-{Mode.SERVICES}-r"}
        beating.cancel()
    finally:
        await api.close()
