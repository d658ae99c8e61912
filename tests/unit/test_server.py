"""The pages that the agent serves, to good and to bad clients."""
# ruff: noqa: ASYNC110, ASYNC240 - these tests wait for the server's own state, and their files are local

from __future__ import annotations

import asyncio
import errno
import json
import socket
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consul_redis_agent import names
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import LocalError
from consul_redis_agent.tell import hosts
from consul_redis_agent.tell import server as module
from consul_redis_agent.tell.pages import Pages
from consul_redis_agent.tell.server import Server, fetch


class Agent:
    """What the pages ask; each answer can be changed."""

    def __init__(self) -> None:
        self.rendered = b"up 1\n"
        self.well = True
        self.pages = Pages(
            snapshot=lambda: {"version": "1", "nodes": []},
            metrics=lambda: self.rendered,
            healthy=lambda: (self.well, "decided 0.1 s ago"),
            history=lambda: b'{"version": "1", "episodes": []}',
        )


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
async def server(agent: Agent) -> AsyncIterator[Server]:
    """A server that is closed in the end."""
    server = Server(agent.pages)
    yield server
    await server.close()


@pytest.fixture
async def path(server: Server, tmp_path: Path) -> Path:
    """The unix socket on which it serves."""
    path = tmp_path / "status.sock"
    await server.listen_unix(path)
    return path


async def get(path: Path, page: str) -> bytes:
    return await asyncio.to_thread(fetch, path, page, 5.0)


async def talk(path: Path, data: bytes) -> bytes:
    """Send ``data`` as it is and return all that comes back."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    try:
        return await reader.read()
    finally:
        writer.transport.abort()


async def ask(port: int, request: str) -> bytes:
    """Send a request over TCP and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    try:
        return await reader.read()
    finally:
        writer.transport.abort()


async def test_status_is_the_snapshot(path: Path) -> None:
    """``status`` reads exactly what the agent knows."""
    assert json.loads(await get(path, "/status")) == {"version": "1", "nodes": []}


async def test_health_is_a_status_code(path: Path, agent: Agent) -> None:
    """A probe needs no parsing: 200 or 503."""
    assert await get(path, "/healthz") == b"decided 0.1 s ago\n"
    agent.well = False
    with pytest.raises(LocalError, match=r"/healthz with 503: decided 0\.1 s ago"):
        await get(path, "/healthz")


async def test_tcp_serves_the_same(server: Server, unused_tcp_port: int) -> None:
    """[http] listen gives the pages to scrapers and probes; a taken port is named."""
    await server.listen_tcp(Address("127.0.0.1", unused_tcp_port))
    reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = await reader.read()
    writer.transport.abort()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nup 1\n")
    with pytest.raises(LocalError, match=rf"\[http\] listen = '127.0.0.1:{unused_tcp_port}': Address already in use"):
        await server.listen_tcp(Address("127.0.0.1", unused_tcp_port))


async def test_a_name_is_listened_on_at_each_address_that_this_host_has(
    server: Server, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without IPv6, `localhost` is 127.0.0.1 alone; a port that is taken on one of them is named, and no other is kept."""
    make = socket.create_server

    def only_four(place: tuple[str, int], *, family: socket.AddressFamily) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return make(place, family=family)

    monkeypatch.setattr(socket, "create_server", only_four)
    await server.listen_tcp(Address("localhost", unused_tcp_port))
    (_, writer) = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
    writer.transport.abort()
    with pytest.raises(LocalError, match="Address already in use"):
        await server.listen_tcp(Address("localhost", unused_tcp_port))
    with pytest.raises(LocalError, match="Cannot assign requested address"):
        await server.listen_tcp(Address("::1", unused_tcp_port))


async def test_a_name_that_is_not_resolved_holds_up_no_start(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver hangs: it is said, and the agent goes on without these pages."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait() or [])
    monkeypatch.setattr(module, "LOOK_UP_WITHIN", 0.1)
    with pytest.raises(LocalError, match=r"the resolver, asked for pages\.example, did not answer"):
        await server.listen_tcp(Address("pages.example", 1))
    over.set()
    assert names.LOOKUPS.settle(5)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /else HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /status HTTP/1.0\r\n\r\n", b"200"),
        (b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"GET /status HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
        (b"GET /" + b"x" * 20_000, b"431"),
        (b"", b""),
    ],
)
async def test_other_requests_are_refused(path: Path, request_: bytes, status: bytes) -> None:
    """What does not ask for a page gets the code that says so, and the connection ends."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request_)
    if not request_:
        writer.write_eof()
    answer = await reader.read()
    writer.transport.abort()
    assert answer[9:12] == status


async def test_head_has_the_length_and_no_body(path: Path) -> None:
    """Load balancers that ask by HEAD get what GET has, without its body, also where it is refused."""
    for page, status, length in (("/status", b"200", 29), ("/healthz", b"200", 18), ("/else", b"404", 103)):
        head = await talk(path, f"HEAD {page} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        full = await talk(path, f"GET {page} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert head[9:12] == status
        assert head == full[: full.index(b"\r\n\r\n") + 4]
        assert f"\r\nContent-Length: {length}\r\n".encode() in head
        assert len(full) - len(head) == length


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9618", b"200"),
        ("[::1]:9618", b"200"),
        ("203.0.113.9", b"200"),
        ("LocalHost:9618", b"200"),
        ("redis7", b"200"),
        ("Redis7.example.com.:80", b"200"),
        ("redis7.example.com.evil.example", b"421"),
        ("redis7.evil.example", b"421"),
        ("127.0.0.1.evil.example", b"421"),
        ("[::1", b"200"),
        ("", b"421"),
    ],
)
async def test_only_this_hosts_names_are_answered(
    server: Server, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch, host: str, status: bytes
) -> None:
    """A page of somebody else that gives its name this host's address (DNS rebinding) reads nothing, and learns no name."""
    monkeypatch.setattr(socket, "gethostname", lambda: "redis7")
    monkeypatch.setattr(hosts, "_full_names", lambda: frozenset({"redis7.example.com"}))
    await server.listen_tcp(Address("127.0.0.1", unused_tcp_port))
    answer = await ask(unused_tcp_port, f"GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert answer[9:12] == status
    assert status == b"200" or b"nodes" not in answer
    assert status == b"200" or b"redis7" not in answer


async def test_whom_no_browser_sends_is_answered(path: Path, server: Server, unused_tcp_port: int) -> None:
    """HTTP/1.0 without a host, as HAProxy asks, and whatever the host is on the unix socket, which no page can open."""
    await server.listen_tcp(Address("127.0.0.1", unused_tcp_port))
    assert (await ask(unused_tcp_port, "OPTIONS /healthz HTTP/1.0\r\n\r\n"))[9:12] == b"200"
    assert (await talk(path, b"GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n"))[9:12] == b"200"


async def test_a_resolver_that_hangs_refuses_only_unknown_names(
    server: Server, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for names that nothing else explains, and who asks by another one does not wait for it."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait() or [])
    monkeypatch.setattr(hosts, "LOOK_UP_WITHIN", 0.1)
    await server.listen_tcp(Address("127.0.0.1", unused_tcp_port))
    assert (await ask(unused_tcp_port, "GET /healthz HTTP/1.1\r\nHost: pages.example\r\n\r\n"))[9:12] == b"421"
    assert (await ask(unused_tcp_port, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))[9:12] == b"200"
    over.set()
    assert names.LOOKUPS.settle(5)


async def test_slow_clients_are_cut_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing, or half a request, is gone after the deadline."""
    monkeypatch.setattr(module, "DEADLINE", 0.05)
    for said in (b"", b"GET /stat"):
        assert await talk(path, said) == b""


async def test_a_client_that_does_not_read_is_cut_off(
    path: Path, agent: Agent, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that nobody takes is dropped with its connection."""
    monkeypatch.setattr(module, "DEADLINE", 0.05)
    agent.rendered = b"x" * 10_000_000
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        client.connect(str(path))
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        while not server._clients:
            await asyncio.sleep(0)
        await asyncio.wait(set(server._clients))
    assert not server._clients


async def test_few_connections_at_once(path: Path, server: Server) -> None:
    """A flood of connections is refused beyond a handful, and served again after it."""
    floods = [await asyncio.open_unix_connection(path) for _ in range(module.MAX_CONNECTIONS)]
    while len(server._clients) < module.MAX_CONNECTIONS:
        await asyncio.sleep(0)
    with pytest.raises(LocalError):
        await get(path, "/status")
    for _, writer in floods:
        writer.transport.abort()
    while server._clients:
        await asyncio.sleep(0)
    assert await get(path, "/status")


async def test_only_the_user_may_open_the_socket(path: Path) -> None:
    """What the agent knows is not for every user of the host."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_socket_goes_with_the_server(path: Path, server: Server) -> None:
    """And ``status`` then says what is the matter."""
    await server.close()
    assert not path.exists()
    with pytest.raises(LocalError, match=r"no agent answers at .*: is it running"):
        await get(path, "/status")


async def test_a_stale_socket_is_replaced(server: Server, tmp_path: Path) -> None:
    """An agent that was killed does not keep the next one from starting."""
    path = tmp_path / "status.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    await server.listen_unix(path)
    assert await get(path, "/status")


async def test_a_live_socket_is_left_alone(path: Path, agent: Agent) -> None:
    """A second agent does not take the socket of the first, and says why."""
    second = Server(agent.pages)
    with pytest.raises(LocalError, match="another agent answers there"):
        await second.listen_unix(path)
    await second.close()
    assert await get(path, "/status")


async def test_a_file_is_not_overwritten(server: Server, tmp_path: Path) -> None:
    """What is no socket is not removed."""
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(LocalError, match="is no socket"):
        await server.listen_unix(path)
    with pytest.raises(LocalError, match="cannot be listened on: No such file or directory"):
        await server.listen_unix(tmp_path / "missing" / "status.sock")
    assert path.read_text() == "data"


async def test_anothers_socket_is_not_removed(path: Path, server: Server) -> None:
    """Closing removes the own file, not that of an agent that came after."""
    path.unlink()
    path.write_text("another's")
    await server.close()
    assert path.exists()


@pytest.mark.parametrize(
    ("said", "message"), [(b"", "RemoteDisconnected|reset"), (b"nonsense\r\n\r\n", "BadStatusLine")]
)
async def test_what_answers_otherwise_is_named(tmp_path: Path, said: bytes, message: str) -> None:
    """``status`` tells a wrong or broken agent from none."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    path = tmp_path / "socket.sock"
    async with await asyncio.start_unix_server(serve, path):
        with pytest.raises(LocalError, match=message):
            await get(path, "/status")


async def test_a_hung_agent_is_named(tmp_path: Path) -> None:
    """``status`` does not hang with the agent."""
    path = tmp_path / "hung.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(LocalError, match=r"did not answer within 0\.05 s"):
            await asyncio.to_thread(fetch, path, "/status", 0.05)
