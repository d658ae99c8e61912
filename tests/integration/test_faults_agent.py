"""The agent's own surroundings go wrong: its end, its sockets and its pages never touch the main job."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

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


# --- what hangs -------------------------------------------------------------------------------------------------------


class Unread:
    """A full pipe that nobody reads; ``env`` makes it the agent's stderr."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(f"import os\nos.dup2(os.open('{folder}/pipe', os.O_WRONLY), 2)\n")
        self.env = {"PYTHONPATH": str(folder)}
        os.mkfifo(folder / "pipe")
        self._reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, 4096)
        self._writer = os.open(folder / "pipe", os.O_WRONLY | os.O_NONBLOCK)
        os.write(self._writer, b"." * 4095 + b"\n")

    def read(self) -> str:
        """All that is in the pipe now."""
        found = b""
        with suppress(BlockingIOError):
            while piece := os.read(self._reader, 1 << 16):
                found += piece
        return found.decode()

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


@pytest.fixture
def unread(stage: Stage) -> Iterator[Unread]:
    made = Unread(stage.fleet.folder / f"{stage.name}.unread")
    yield made
    made.close()


def test_a_log_that_nobody_reads_changes_nothing(stage: Stage, unread: Unread) -> None:
    """stderr is a full pipe from the start: a failover reaches DNS, and once somebody reads, every line is there."""
    first, second = stage.redis(), stage.redis()
    second.ask("REPLICAOF", first.address.host, str(first.address.port))
    agent = stage.agent(first, second, more='[log]\nlevel = "debug"\nformat = "text"\n', env=unread.env)
    stage.wait_for(first)
    first.kill()
    second.ask("REPLICAOF", "NO", "ONE")
    stage.wait_for(second, within=5)
    log = ""

    def told() -> bool:
        nonlocal log
        log += unread.read()
        return f"Consul holds {stage.name} at {second.address} passing" in log

    until(told, within=5, what="the log tells of the failover")
    assert " starts for " in log.splitlines()[1]
    assert agent.stop(within=6) == 0


def test_the_end_waits_for_a_log_that_nobody_reads_for_a_second(stage: Stage, unread: Unread) -> None:
    """The last word to Consul is said all the same."""
    node = stage.redis()
    agent = stage.agent(node, more='[log]\nlevel = "debug"\n', env=unread.env)
    stage.wait_for(node)
    assert agent.stop(within=3) == 0


def test_a_pipe_as_password_file_costs_its_own_node_only(stage: Stage) -> None:
    """It is named; the other node of the process is published, and this one as soon as there is a file."""
    locked, well = stage.redis(password=stage.secret("pipe-word")), stage.redis()
    pipe = stage.fleet.folder / f"{stage.name}.pipe"
    os.mkfifo(pipe)
    table = f'[[redis]]\nurl = "redis://{locked.address}"\nannounce = "{locked.address}"\n'
    table += f'password_file = "{pipe}"\nservice = "{stage.name}-locked"\n'
    stage.agent(well, more=table)
    stage.wait_for(well)
    stage.heard(f"no password for it: {pipe}: is a pipe, no regular file, and is not read")
    stage.stays(well, seconds=1)
    stage.password_file("pipe-word", name="pipe")
    until(
        lambda: stage.consul.srv(f"{stage.name}-locked") == frozenset({locked.address}),
        within=12,
        what="the node is published once its password can be read",
    )
    assert stage.named() == frozenset({well.address})


def test_names_that_nobody_resolves_cost_their_own_nodes_only(stage: Stage) -> None:
    """Forty host names hang at the resolver: the node at `localhost` is published and watched, and the end waits for none."""
    node = stage.redis()
    hung = "".join(f'[[redis]]\nurl = "redis://host{number}.example:6379"\n' for number in range(40))
    agent = stage.agent(
        node,
        node=f'url = "redis://localhost:{node.address.port}"\n',
        url=f"http://localhost:{stage.consul.http.port}",
        more=hung,
        env=changed(stage, NOBODY_RESOLVES),
    )
    stage.wait_for(node)
    stage.heard("the resolver, asked for host39.example, did not answer within 0.75 s")
    node.kill()
    stage.wait_for(within=3)
    assert agent.stop(within=4) == 0


NOBODY_RESOLVES = """
import socket, threading
socket.getaddrinfo = lambda *_, **__: threading.Event().wait()
"""


def changed(stage: Stage, code: str) -> dict[str, str]:
    """The environment of an agent that begins with this code."""
    folder = stage.fleet.folder / f"{stage.name}.changed"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(folder)}


def test_a_crash_is_one_line(stage: Stage) -> None:
    """What nobody has caught ends the process with 1, and stands in the log as one line of its form."""
    node = stage.redis()
    agent = stage.agent(node, more='[log]\nformat = "json"\n', env=changed(stage, BROKEN))
    until(lambda: not agent.alive, within=12, what="the agent has ended")
    *_, last = agent.log().splitlines()
    told = json.loads(last)
    assert (agent.exit_code, told["level"]) == (1, "critical")
    assert " ends: a defect of this program, please report it: RuntimeError: broken on purpose (at" in told["message"]
    stage.agents.clear()  # this one is not to be alive, and its log may hold a traceback
    agent.log_path.unlink()


BROKEN = """
import consul_redis_agent.agent as agent

async def broken(self, api):
    raise RuntimeError("broken on purpose")

agent.Agent._work = broken
"""


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
    """Only the commands for people, and who looks at ``http.listen``, ask DNS."""
    node = stage.redis()
    agent = stage.agent(node, consul=f'dns = "{free_port}"')
    stage.wait_for(node)
    assert str(free_port) not in agent.log()


def test_the_pages_tell_the_truth_and_no_secret(stage: Stage, free_port: Address) -> None:
    """/healthz, /status, /master and /metrics agree with DNS, also after the node died; no page holds a password."""
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
    assert get(free_port, "/master")[0] == 200
    assert get(free_port, "/replica")[0] == 503
    assert "redis-word" not in page + metrics
    node.kill()
    stage.wait_for(within=3)

    def told_now() -> tuple[str, str]:  # kept for a moment, however often it is asked for
        (now,) = json.loads(get(free_port, "/status")[1])["nodes"]
        return now["decision"], now["role"]

    until(lambda: told_now() == ("none", "unreachable"), within=3, what="/status says that the node is gone")
    assert get(free_port, "/healthz")[0] == 200  # it decides; that Redis is gone is no fault of the agent
