"""Redis goes wrong: the process stays up, the message names the cause, and it recovers by itself."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import ConsulNode, Fleet, RedisNode, until

from .faults import Stage, TcpFake, paused, stage_of

ACL_FILE = Path(__file__).parents[2] / "config" / "redis-acl.conf"
USER = "consul-redis-agent"


@pytest.fixture(scope="module")
def consul(shared_fleet: Fleet) -> ConsulNode:
    return shared_fleet.consul(servers=1)


@pytest.fixture
def stage(shared_fleet: Fleet, consul: ConsulNode, request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage_of(shared_fleet, consul, request) as made:
        yield made


def drop_clients(node: RedisNode) -> None:
    """Close every other connection to the node."""
    node.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


# --- the login --------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_named_and_the_right_one_used_once_it_is_there(stage: Stage) -> None:
    """Nothing is published with a wrong password; the file is read again by itself, also when it is rotated."""
    node = stage.redis(password=stage.secret("first-word"))
    file = stage.password_file("wrong-word")
    stage.agent(node, node=f'password_file = "{file.path}"')
    stage.heard("Redis: invalid username-password pair")
    stage.stays(seconds=0.5)
    file.put("first-word")
    stage.wait_for(node)

    node.ask("CONFIG", "SET", "requirepass", stage.secret("second-word"))
    node.password = "second-word"
    drop_clients(node)
    stage.wait_for()
    stage.heard("Redis: invalid username-password pair", times=2)
    file.put("second-word")
    stage.wait_for(node)
    stage.heard("Redis: recovered", times=2)


def test_a_password_file_that_is_away_is_named(stage: Stage) -> None:
    """A file that is not there yet is a fault like another: said, and over once the file comes."""
    node = stage.redis(password=stage.secret("first-word"))
    path = stage.fleet.folder / "late.password"
    stage.agent(node, node=f'password_file = "{path}"')
    stage.heard(f"no password for it: {path}: cannot be read: No such file or directory")
    path.write_text("first-word\n")
    stage.wait_for(node)


def test_a_user_without_info_is_told_the_right_that_lacks(stage: Stage) -> None:
    """The message names INFO, at the start and when the right is taken away; nothing is published without it."""
    node = stage.redis()
    node.ask("ACL", "SETUSER", USER, "on", f">{stage.secret('user-word')}", "+ping")
    file = stage.password_file("user-word")
    stage.agent(node, node=f'username = "{USER}"\npassword_file = "{file.path}"')
    stage.heard("it refuses INFO: ")
    assert "'info'" in stage.agents[-1].log()
    node.ask("ACL", "SETUSER", USER, "+info")
    stage.wait_for(node)
    node.ask("ACL", "SETUSER", USER, "-info")
    stage.wait_for()
    node.ask("ACL", "SETUSER", USER, "+info")
    stage.wait_for(node)


def test_the_example_user_is_enough(stage: Stage) -> None:
    """The example's user has every right that the agent asks for; Redis logs no refusal but of the optional one."""
    (line,) = re.findall(r"^user (.*)$", ACL_FILE.read_text(), re.MULTILINE)
    node = stage.redis(settings=[("user", line.replace("CHANGE-ME", stage.secret("user-word")))])
    file = stage.password_file("user-word")
    stage.agent(node, node=f'username = "{USER}"\npassword_file = "{file.path}"', sentinel='mode = "auto"')
    stage.wait_for(node)
    refused = {entry[entry.index("object") + 1] for entry in node.ask("ACL", "LOG")}
    assert refused <= {"config|get"}


def test_no_room_for_another_client_is_named(stage: Stage) -> None:
    """With maxclients reached nobody can see the role: it is withdrawn, named, and published again when there is room."""
    node = stage.redis()
    stage.agent(node)
    stage.wait_for(node)
    with socket.create_connection(node.address) as held:

        def ask(command: str) -> str:
            held.sendall(command.encode() + b"\r\n")
            return held.recv(65536).decode()

        ask("CONFIG SET maxclients 1")
        for line in ask("CLIENT LIST").splitlines():
            if (found := re.match(r"id=(\d+) .*cmd=(?!client)", line)) is not None:
                ask(f"CLIENT KILL ID {found[1]}")
        stage.heard("max number of clients reached")
        stage.wait_for()
        ask("CONFIG SET maxclients 100")
        stage.wait_for(node)


# --- there, and not there ---------------------------------------------------------------------------------------------


def test_redis_may_come_later_go_and_come_back(stage: Stage) -> None:
    """An agent that starts first waits; a node that dies is gone from DNS, and one that returns is published again."""
    node = stage.redis()
    node.kill()
    stage.agent(node)
    stage.heard("Redis: nothing listens there")
    stage.stays(seconds=0.5)
    for _ in range(2):
        node.start()
        stage.wait_for(node)
        node.kill()
        stage.wait_for(within=3)


def test_a_node_that_loads_its_data_is_not_published_until_it_has(stage: Stage) -> None:
    """It answers and says master, but refuses reads: DNS gets it when the data is there."""
    node = stage.redis(settings={"key-load-delay": "400", "loading-process-events-interval-bytes": "1024"})
    node.ask("EVAL", "for i = 1, 6000 do redis.call('SET', 'key' .. i, 'some value or other') end", "0")
    node.ask("SAVE")
    stage.agent(node)
    stage.wait_for(node)
    node.kill()
    stage.wait_for(within=3)
    node.launch()
    stage.heard("Redis is loading its data")
    assert stage.named() == frozenset()
    assert node.info("persistence")["loading"] == 1
    stage.wait_for(node)
    assert node.info("persistence")["loading"] == 0


def test_a_hung_node_is_withdrawn_and_comes_back(stage: Stage) -> None:
    """A process that is stopped still holds its connections; silence for two looks is enough."""
    node = stage.redis()
    stage.agent(node)
    stage.wait_for(node)
    with paused(node):
        stage.heard("Redis: no answer within 0.5 s")
        stage.wait_for()
    stage.wait_for(node)


def test_a_lost_connection_changes_nothing(stage: Stage) -> None:
    """Sentinel closes connections whenever it likes: DNS does not move, and nothing is logged."""
    node = stage.redis()
    agent = stage.agent(node)
    stage.wait_for(node)
    stage.heard("Consul holds")
    before = agent.log()
    for _ in range(5):
        drop_clients(node)
        stage.stays(node, seconds=0.3)
    with paused(node):
        time.sleep(0.6)  # one look may be lost
    stage.stays(node, seconds=2)
    assert agent.log() == before


def test_a_node_at_a_unix_socket(stage: Stage) -> None:
    """Watched through its socket, published at the announced address, gone when it dies."""
    path = stage.fleet.folder / "redis.socket"
    node = stage.redis(settings={"unixsocket": str(path)})
    stage.agent(node, node=f'url = "unix://{path}"')
    stage.wait_for(node)
    node.kill()
    stage.wait_for(within=3)
    node.start()
    stage.wait_for(node)


# --- servers that are not what they should be -------------------------------------------------------------------------


def answering(answer: bytes, *, then: Callable[[socket.socket], None] = lambda peer: None) -> TcpFake:
    """A server that answers whatever it is asked with these bytes."""

    def talk(peer: socket.socket) -> None:
        while peer.recv(65536):
            peer.sendall(answer)
            then(peer)

    return TcpFake(talk)


def endless(peer: socket.socket) -> None:
    while True:
        peer.sendall(b"x" * 65536)


def dripping(peer: socket.socket) -> None:
    stop = threading.Event()
    while not stop.wait(0.1):
        peer.sendall(b"x")


def bulk(text: str) -> bytes:
    return f"${len(text)}\r\n{text}\r\n".encode()


BAD_SERVERS: dict[str, Callable[[], TcpFake]] = {
    "INFO has no role; is it a Redis server?": lambda: answering(bulk("a:b\r\nrun_id:1\r\n")),
    "INFO has no run_id": lambda: answering(bulk("role:master\r\n")),
    "INFO says role:king, which is neither master nor replica": lambda: answering(bulk("role:king\r\nrun_id:1\r\n")),
    "INFO is not text": lambda: answering(b":42\r\n"),
    "larger than": lambda: answering(b"$999999999\r\n", then=endless),
    "no answer within 0.5 s": lambda: answering(b"$1000000\r\n", then=dripping),
    "": lambda: answering(b"x", then=endless),
    "Protocol error": lambda: answering(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    "onnection": lambda: answering(b"$500\r\nrole:mas", then=lambda peer: peer.shutdown(socket.SHUT_RDWR)),
}


def test_servers_that_answer_nonsense_are_named_and_disturb_nobody(stage: Stage) -> None:
    """Malformed, truncated, huge and endless answers: each is named once, none is published, nothing grows."""
    good = stage.redis()
    with ExitStack() as open_servers:
        servers = {word: open_servers.enter_context(make()) for word, make in BAD_SERVERS.items()}
        agent = stage.agent(*(server.address for server in servers.values()), good)
        stage.wait_for(good)
        for word, server in servers.items():
            pattern = rf"{re.escape(str(server.address))}: Redis: .*{re.escape(word)}"
            until(lambda p=pattern: re.search(p, agent.log()), within=5, what=f"the log has {pattern}")  # type: ignore[misc]
        lines = agent.log().count("\n")
        stage.stays(good, seconds=3)
        assert agent.log().count("\n") <= lines + 2, agent.log()
        status = Path(f"/proc/{agent.pid}/status").read_text()
        assert int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) < 100_000


def test_another_service_at_the_port_gives_way_to_redis(stage: Stage) -> None:
    """What is no Redis is not published; the Redis that takes its place is."""
    node = stage.redis()
    node.kill()
    with TcpFake(lambda peer: peer.sendall(b"220 mail ready\r\n"), Address(*node.address)):
        stage.agent(node)
        stage.heard("Redis: ")
        stage.stays(seconds=1)
    node.start()
    stage.wait_for(node)
