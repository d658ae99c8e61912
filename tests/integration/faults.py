"""What the tests of faults share: a stage for one agent, servers that misbehave, and what holds through every fault."""

from __future__ import annotations

import http.client
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import AgentNode, ConsulNode, Fleet, Process, RedisNode, until

from .support import wait_for_word


class Stage:
    """One test's part of a fleet that its module shares: a service name of its own, and the agents under test.

    At the end every agent must still be the process that was started, without an error of its own making in its log,
    and no log may hold one of ``secrets``.
    """

    def __init__(self, fleet: Fleet, consul: ConsulNode, name: str) -> None:
        self.fleet, self.consul, self.name = fleet, consul, name
        self.secrets: list[str] = []
        self.agents: list[AgentNode] = []
        self._before = [*fleet.processes]
        self._nodes = [*fleet.nodes]

    def redis(self, **options: Any) -> RedisNode:
        return self.fleet.redis(**options)

    def secret(self, word: str) -> str:
        """A word that no log may hold."""
        self.secrets.append(word)
        return word

    def agent(
        self,
        *nodes: RedisNode | Address,
        node: str = "",
        sentinel: str = 'mode = "off"',
        consul: str = "",
        url: str = "",
        more: str = "",
        ttl: str = "10s",
        arguments: Sequence[str] = (),
        env: dict[str, str] | None = None,
    ) -> AgentNode:
        """Start an agent for these nodes; the texts are further lines of the tables that they are named after."""
        config = f'[consul]\nurl = "{url or f"http://{self.consul.http}"}"\ntimeout = "1s"\n{consul}\n'
        config += f'[service]\nname = "{self.name}"\nttl = "{ttl}"\n[replica]\nname = "{self.name}-replica"\n'
        config += f"[sentinel]\n{sentinel}\n{more}\n"
        for each in nodes:
            address = each if isinstance(each, Address) else each.address
            place = "" if "url" in node else f'url = "redis://{address}"\n'
            config += f'[[redis]]\n{place}announce = "{address}"\ntimeout = "500ms"\n{node}\n'
        name = f"agent{len(self.fleet.agents) + 1}"
        agent = AgentNode(
            name, host=self.fleet.host(name), folder=self.fleet.folder, config=config, arguments=arguments, env=env
        )
        self.fleet.agents.append(agent)
        self.fleet.processes.append(agent)
        self.agents.append(agent)
        agent.launch()
        return agent

    def password_file(self, word: str, name: str = "password") -> Rotated:
        """A file that holds a secret now, and another one later."""
        return Rotated(self, name, word)

    def named(self) -> frozenset[Address] | None:
        """Whom DNS names now."""
        return self.consul.srv(self.name)

    def wait_for(self, *nodes: RedisNode | Address, within: float = 12) -> None:
        """Wait until DNS names exactly these."""
        wanted = frozenset(n if isinstance(n, Address) else n.address for n in nodes)
        what = f"{self.name}: DNS names {', '.join(map(str, wanted)) or 'nobody'}"
        until(lambda: self.named() == wanted, within=within, what=what)

    def stays(self, *nodes: RedisNode | Address, seconds: float) -> None:
        """Watch DNS for some seconds, in which it names exactly these; that it gives no answer is Consul's affair."""
        wanted, end = frozenset(n if isinstance(n, Address) else n.address for n in nodes), time.monotonic() + seconds
        while time.monotonic() < end:
            named = self.named()
            assert named in (wanted, None), f"DNS names {named}, not {wanted}"
            time.sleep(0.01)
        assert self.named() == wanted

    def heard(self, text: str, *, times: int = 1, within: float = 12) -> None:
        """Wait until the last agent has logged a text."""
        wait_for_word(self.agents[-1], text, times=times, within=within)

    def close(self) -> None:
        """End what this test started. Raises AssertionError if an agent did not live through it."""
        mine = [process for process in self.fleet.processes if process not in self._before]
        ended = [agent.name for agent in self.agents if not agent.alive and agent.exit_code != 0]
        for process in reversed(mine):
            if process.alive:
                process.kill()
        self.fleet.nodes[:] = self._nodes
        self.fleet.processes[:] = self._before
        logs = {process.name: process.log() for process in mine if isinstance(process, AgentNode)}
        for name, log in logs.items():
            sys.stderr.write(f"--- {name} ---\n{log[-8000:]}\n")  # shown only if the test failed
        assert not ended, f"did not stay up: {ended}"
        for name, log in logs.items():
            assert "Traceback" not in log, f"{name}: {log}"
            assert not [secret for secret in self.secrets if secret in log], f"{name} tells a secret"


class Rotated:
    """A file with a secret, replaced as a whole when it is rotated."""

    def __init__(self, stage: Stage, name: str, word: str) -> None:
        self.path = stage.fleet.folder / f"{stage.name}.{name}"
        self._stage = stage
        self.put(word)

    def put(self, word: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(self._stage.secret(word) + "\n")
        new.rename(self.path)


@contextmanager
def stage_of(fleet: Fleet, consul: ConsulNode, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage with the test's own service name."""
    name = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")[:40].strip("-")
    made = Stage(fleet, consul, name)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def paused(*processes: Process) -> Iterator[None]:
    """The processes hang in the block."""
    for process in processes:
        process.pause()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


class TcpFake:
    """A server on loopback that gives each connection to ``talk``; a thread each, ended with the ``with`` block."""

    def __init__(self, talk: Callable[[socket.socket], None], address: Address | None = None) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    talk(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                return

        self._server = Server(address or ("127.0.0.1", 0), Handler)
        self.address = Address(*self._server.server_address[:2])  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


Misbehaviour = Callable[["ConsulProxy", BaseHTTPRequestHandler], bool]
"""Answers a request in Consul's place and returns True, or returns False to let Consul answer."""


class ConsulProxy:
    """An HTTP proxy in front of a real Consul; ``misbehave`` may be set at any time. For use in a ``with`` block."""

    def __init__(self, consul: ConsulNode) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with suppress(OSError, http.client.HTTPException):
                    proxy.serve(self)

            do_PUT = do_GET  # noqa: N815 - the base class' name

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                return  # a client that hangs up is what these tests are about

        self.misbehave: Misbehaviour = lambda proxy, request: False
        self.released = threading.Event()
        """Set at the end, for a misbehaviour that waits."""
        self.seen: list[str] = []
        self._target = consul.http
        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.seen.append(f"{request.command} {request.path.partition('?')[0]}")
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if self.misbehave(self, request):
            return
        onward = http.client.HTTPConnection(*self._target, timeout=30)
        try:
            onward.request(request.command, request.path, body, dict(request.headers))
            answer = onward.getresponse()
            content = answer.read()
        finally:
            onward.close()
        reply(request, answer.status, content, answer.headers.items())

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


def reply(
    request: BaseHTTPRequestHandler, status: int, body: bytes, headers: Sequence[tuple[str, str]] | Any = ()
) -> bool:
    """Answer a request whole."""
    request.send_response(status)
    for name, value in headers:
        if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
            request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
    return True
