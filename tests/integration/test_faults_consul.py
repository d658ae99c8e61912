"""Consul goes wrong, or refuses: the process stays up, the message names the cause, and it recovers by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.fleet import ConsulNode, Fleet, until

from .faults import ConsulProxy, Misbehaviour, Stage, paused, reply, stage_of
from .support import wait_for_word

POLICY = Path(__file__).parents[2] / "config" / "consul-policy.hcl"


@pytest.fixture(scope="module")
def consul(shared_fleet: Fleet) -> ConsulNode:
    return shared_fleet.consul(servers=1)


@pytest.fixture
def stage(shared_fleet: Fleet, consul: ConsulNode, request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage_of(shared_fleet, consul, request) as made:
        yield made


@pytest.fixture(scope="module")
def guarded() -> Iterator[Fleet]:
    """A Consul with ACLs, deny by default."""
    with Fleet() as fleet:
        fleet.consul(servers=1, bootstrap_token=os.urandom(8).hex())
        yield fleet


@pytest.fixture
def vault(guarded: Fleet, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage at the Consul with ACLs."""
    with stage_of(guarded, guarded.consuls[0], request) as made:
        yield made


# --- away, hung, without a leader -------------------------------------------------------------------------------------


def test_consul_may_come_later_go_and_come_back(stage: Stage) -> None:
    """An agent that starts first waits, and says for whom; a Consul that returns is told again."""
    node = stage.redis()
    stage.consul.kill()
    stage.agent(node)
    stage.heard(f"Consul at {stage.consul.http} cannot be reached")
    stage.consul.start()
    stage.wait_for(node)
    stage.consul.kill()
    stage.heard("cannot be reached", times=2)
    stage.consul.start()
    stage.wait_for(node)


def test_a_consul_that_hung_hears_the_state_of_now(stage: Stage) -> None:
    """What changed while it hung is written as it is now; where nothing changed, DNS does not move."""
    node = stage.redis()
    stage.agent(node, ttl="30s")
    stage.wait_for(node)
    stage.heard("Consul holds")
    with paused(stage.consul):
        stage.heard("did not answer", within=20)
    stage.stays(node, seconds=2)
    with paused(stage.consul):
        node.kill()
        stage.heard("master -> none")
        time.sleep(1)  # some writes are lost
    stage.wait_for(within=5)
    node.start()
    stage.wait_for(node)


def test_servers_without_a_leader_are_named(fleet: Fleet, request: pytest.FixtureRequest) -> None:
    """The agent's own Consul agent answers, but no server behind it: that is said, and over when they are back."""
    server = fleet.consul(servers=1)
    with stage_of(fleet, fleet.consul(), request) as stage:
        node = stage.redis()
        server.kill()
        stage.agent(node)
        until(
            lambda: any(word in stage.agents[0].log() for word in ("No cluster leader", "No known Consul servers")),
            within=10,
            what="the agent says that there is no leader",
        )
        for _ in range(2):
            server.start(within=20)
            # A member that was lost is tried again every 30 s, unless somebody says that it is back.
            stage.consul.put(f"/v1/agent/join/{server.lan}")
            stage.wait_for(node, within=20)
            server.kill()
            time.sleep(1)  # some look-ups are lost


# --- tokens -----------------------------------------------------------------------------------------------------------


def rules(name: str) -> str:
    """The example policy, for the names of a test."""
    return POLICY.read_text().replace('"redis', f'"{name}')


@pytest.mark.main_path
def test_the_example_policy_is_enough(guarded: Fleet) -> None:
    """With it, unchanged, a whole failover goes by, in one step each: never two, never none, nothing refused."""
    consul = guarded.consuls[0]
    token = consul.create_token(POLICY.read_text())
    before = [*guarded.processes]
    first, _ = guarded.redis(), guarded.redis(replica_of=guarded.nodes[-1])
    guarded.wait_for_replicas()
    guarded.sentinel(master=first, quorum=1)
    guarded.settle()
    try:
        agents = [guarded.agent(node, env={"CONSUL_HTTP_TOKEN": token}) for node in guarded.nodes]
        witness = guarded.witness()
        witness.wait_for(first, within=12)
        for agent in agents:
            wait_for_word(agent, "passing")
        since = time.monotonic()
        second = guarded.failover()
        witness.wait_for(second, within=5)
        witness.assert_never_two()
        witness.assert_never_none(since=since)
        for agent in agents:
            assert agent.alive
            for word in ("refuse", "denied", "Traceback", token):
                assert word not in agent.log(), agent.log()
    finally:
        for process in [p for p in guarded.processes if p not in before]:
            process.kill()
        guarded.nodes.clear()
        guarded.sentinels.clear()


def test_a_token_without_the_right_is_told_which_one_lacks(vault: Stage) -> None:
    """The message names service:write and the service; the right token in the file is used by itself."""
    node = vault.redis()
    file = vault.password_file(vault.consul.create_token('node_prefix "" { policy = "read" }'), "token")
    vault.agent(node, consul=f'token_file = "{file.path}"')
    vault.heard(f"give the token service:write on {vault.name}")
    assert vault.named() == frozenset()
    file.put(vault.consul.create_token(rules(vault.name)))
    vault.wait_for(node)


def test_a_token_rotated_in_its_file(vault: Stage) -> None:
    """The new one is used before the old one is gone, and nobody notices."""
    node, old, new = vault.redis(), *(vault.consul.create_token(rules(vault.name)) for _ in range(2))
    file = vault.password_file(old, "token")
    vault.agent(node, consul=f'token_file = "{file.path}"', ttl="3s")
    vault.wait_for(node)
    file.put(new)
    vault.stays(node, seconds=1.5)  # it is looked at every second
    vault.consul.revoke_token(old)
    vault.stays(node, seconds=4)
    node.kill()
    vault.wait_for(within=3)
    assert "ACL" not in vault.agents[0].log()


def test_a_token_revoked_while_master_and_restored(vault: Stage) -> None:
    """Nothing can be written then, not even that the node is gone: that is said, and done with the next token."""
    node, old = vault.redis(), vault.consul.create_token(rules(vault.name))
    file = vault.password_file(old, "token")
    vault.agent(node, consul=f'token_file = "{file.path}"', ttl="3s")
    vault.wait_for(node)
    vault.consul.revoke_token(old)
    vault.heard("the token is unknown to Consul")
    node.kill()
    vault.heard("master -> none")
    file.put(vault.consul.create_token(rules(vault.name)))
    vault.wait_for()
    node.start()
    vault.wait_for(node)
    vault.heard("Consul takes the entries again")


# --- what stands before Consul ----------------------------------------------------------------------------------------


def status(code: int) -> Misbehaviour:
    """Every request is answered with this status."""
    return lambda proxy, request: reply(request, code, b"not now")


def slow(proxy: ConsulProxy, request: BaseHTTPRequestHandler) -> bool:
    """No request is answered in time."""
    return proxy.released.wait(3)


def dripping(proxy: ConsulProxy, request: BaseHTTPRequestHandler) -> bool:
    """Every answer begins in time, and does not end."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n[")
    while not proxy.released.wait(0.05):
        request.wfile.write(b" ")
    return True


def garbage(proxy: ConsulProxy, request: BaseHTTPRequestHandler) -> bool:
    """What is answered is not HTTP."""
    request.wfile.write(b"\x00\x01\x02 nonsense\r\n\r\n")
    request.close_connection = True
    return True


def not_json(proxy: ConsulProxy, request: BaseHTTPRequestHandler) -> bool:
    """What is answered is a page for people."""
    return reply(request, 200, b"<html>Welcome</html>", [("X-Consul-Index", "7")])


FAULTS: tuple[tuple[Misbehaviour, str], ...] = (
    (status(500), "with 500: not now"),
    (status(429), "Consul limits the rate of requests"),
    (slow, "did not answer"),
    (dripping, "did not answer"),
    (garbage, "in HTTP"),
    (not_json, "what is not its API"),
)


def test_a_proxy_that_errs_is_named_and_outlived(stage: Stage) -> None:
    """5xx, 429, slow answers and garbage: each is named, and when it is over the truth is written."""
    node = stage.redis()
    with ConsulProxy(stage.consul) as proxy:
        well = proxy.misbehave
        stage.agent(node, url=proxy.url, ttl="3s")
        stage.wait_for(node)
        for number, (fault, word) in enumerate(FAULTS, 1):
            before = stage.agents[0].lines(word)
            proxy.misbehave = fault
            stage.heard(word, times=before + 1)
            node.kill()
            stage.heard("master -> none", times=number)
            proxy.misbehave = well
            stage.wait_for(within=6)
            node.start()
            stage.wait_for(node)


def no_transactions(proxy: ConsulProxy, request: BaseHTTPRequestHandler) -> bool:
    """One path is refused, the others go through."""
    return request.path.startswith("/v1/txn") and reply(request, 403, b"not for you")


def test_without_transactions_nobody_is_published_and_that_is_said(fleet: Fleet) -> None:
    """No claim can be compared then: two masters could pass, so none does, and the log says what is missing."""
    fleet.populate(nodes=2, sentinels=1, quorum=1)
    consul = fleet.consuls[0]
    with ConsulProxy(consul) as proxy:
        proxy.misbehave = no_transactions
        agents = []
        for node in fleet.nodes:
            config = fleet.agent_config(node, consul=consul).replace(f"http://{consul.http}", proxy.url)
            agents.append(fleet.agent(node, config=config))
        witness = fleet.witness()
        wait_for_word(agents[0], "(to /v1/txn, without which no master is published)")
        witness.watch(3)
        assert not any(seen.answers for seen in witness.history)
        assert all(agent.alive for agent in agents)
        proxy.misbehave = lambda proxy, request: False
        witness.wait_for(fleet.nodes[0], within=5)
        witness.wait_for(fleet.failover(), within=5)
        witness.assert_never_two()
