"""The agent's own surroundings go wrong: its end, its sockets and its pages never touch the main job."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import ConsulNode, Fleet, until

from .faults import ConsulProxy, Stage, paused, stage_of


@pytest.fixture(scope="module")
def consul(shared_fleet: Fleet) -> ConsulNode:
    return shared_fleet.consul(servers=1)


@pytest.fixture
def stage(shared_fleet: Fleet, consul: ConsulNode, request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage_of(shared_fleet, consul, request) as made:
        yield made


@pytest.fixture
def free_port(shared_fleet: Fleet) -> Address:
    host = shared_fleet.host("localhost")
    return Address(host.address, host.port(0))


def get(address: Address, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


# --- the end ----------------------------------------------------------------------------------------------------------


def test_the_end_does_not_wait_for_a_consul_that_hangs(stage: Stage) -> None:
    """SIGTERM ends the process within Consul's timeout, and says that the last word was lost."""
    node = stage.redis()
    agent = stage.agent(node)
    stage.wait_for(node)
    with paused(stage.consul):
        assert agent.stop(within=6) == 0
    stage.heard("stopped without a last word to Consul")
    stage.wait_for(node)


def test_the_end_in_the_middle_of_a_registration(stage: Stage) -> None:
    """Whatever step was under way, the process ends, and the next one brings things to their end."""
    node = stage.redis()
    arrived = threading.Event()

    def hold(proxy: ConsulProxy, request: BaseHTTPRequestHandler) -> bool:
        if request.path.startswith("/v1/agent/service/register"):
            arrived.set()
            proxy.released.wait()
        return False

    with ConsulProxy(stage.consul) as proxy:
        proxy.misbehave = hold
        agent = stage.agent(node, url=proxy.url)
        assert arrived.wait(10)
        assert agent.stop(within=8) == 0
    stage.agent(node)
    stage.wait_for(node)
    node.kill()
    stage.wait_for(within=3)


def test_a_second_signal_does_not_harm_the_first(stage: Stage) -> None:
    """An impatient operator sends it again: the end is the same."""
    node = stage.redis()
    agent = stage.agent(node)
    stage.wait_for(node)
    with paused(stage.consul):
        agent.signal(signal.SIGTERM)
        agent.signal(signal.SIGINT)
        assert agent.stop(within=6) == 0


# --- those who look on ------------------------------------------------------------------------------------------------


def test_a_status_socket_that_is_taken_stops_nothing(stage: Stage) -> None:
    """The second agent says so and does its job; the first one's socket stays the first one's."""
    first, second = stage.redis(), stage.redis()
    owner = stage.agent(first)
    stage.wait_for(first)
    stage.agent(second, arguments=["--socket", str(owner.socket)], more='[log]\nformat = "text"\n')
    stage.heard("`status` will not reach this agent")
    stage.heard("another agent answers there")
    first.kill()
    stage.wait_for(second)
    assert owner.socket.is_socket()


def test_a_taken_port_costs_the_pages_and_nothing_else(stage: Stage) -> None:
    """[http] listen cannot be had: one line says so."""
    node = stage.redis()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address(*taken.getsockname()[:2])
        stage.agent(node, more=f'[http]\nlisten = "{address}"')
        stage.heard("Address already in use")
        stage.wait_for(node)


def test_a_closed_dns_port_is_none_of_the_agents_business(stage: Stage, free_port: Address) -> None:
    """Only the commands for people ask DNS."""
    node = stage.redis()
    agent = stage.agent(node, consul=f'dns = "{free_port}"')
    stage.wait_for(node)
    assert str(free_port) not in agent.log()


def test_the_pages_tell_the_truth_and_no_secret(stage: Stage, free_port: Address) -> None:
    """/healthz, /status and /metrics agree with DNS, also after the node died; no page holds a password."""
    node = stage.redis(password=stage.secret("redis-word"))
    file = stage.password_file("redis-word")
    stage.agent(node, node=f'password_file = "{file.path}"', more=f'[http]\nlisten = "{free_port}"')
    stage.wait_for(node)
    until(lambda: get(free_port, "/healthz")[0] == 200, within=5, what="/healthz is well")
    code, page = get(free_port, "/status")
    (told,) = json.loads(page)["nodes"]
    assert (code, told["decision"], told["address"]) == (200, "master", str(node.address))
    code, metrics = get(free_port, "/metrics")
    assert code == 200
    assert f'consul_redis_agent_role{{node="{node.address}",role="master"}} 1.0' in metrics
    assert get(free_port, "/")[0] == 404
    assert "redis-word" not in page + metrics
    node.kill()
    stage.wait_for(within=3)
    (told,) = json.loads(get(free_port, "/status")[1])["nodes"]
    assert (told["decision"], told["role"]) == ("none", "unreachable")
    assert get(free_port, "/healthz")[0] == 200  # it decides; that Redis is gone is no fault of the agent
