"""What the agent tells whoever asks: a small HTTP/1.1 server on a unix socket (``status``) and, if wanted, on TCP.

One request a connection, few connections at once, each with one deadline: a client that is slow or hostile is cut off, and
never waited for. What there is to tell is in :mod:`consul_redis_agent.tell.pages`.
"""

from __future__ import annotations

import asyncio
import errno
import http.client
import logging
import os
import socket
import stat
from functools import partial
from pathlib import Path

import h11

from consul_redis_agent import names
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import LocalError
from consul_redis_agent.tell.hosts import Hosts
from consul_redis_agent.tell.pages import Answer, Pages, text
from consul_redis_agent.text import plain

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16  # more than a few scrapers and a person need
MAX_HEAD = 8 * 1024  # bytes, as most servers
DEADLINE = 5.0  # seconds for one connection, from accept to close
LOOK_UP_WITHIN = 2.0  # seconds for all of finding out where to listen

ELSEWHERE = "give --socket another place"
NOT_HERE = (
    "this agent is not asked by that name, since a page of somebody else could use it to read what is here: ask by an IP address, "
    "by this host's own name, or by the name in http.listen"
)


class Server:
    """Serves ``pages``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._servers: list[asyncio.Server] = []
        self._clients: set[asyncio.Task[None]] = set()
        self._files: list[tuple[Path, int]] = []

    async def listen_unix(self, path: Path) -> None:
        """Serve on a unix socket that only this user may open; a socket that nobody serves any more is replaced.

        Raises LocalError if another agent serves it, or it cannot be made.
        """
        listener, inode = _bind_unix(path)
        self._files.append((path, inode))
        self._servers.append(
            await asyncio.start_unix_server(partial(self._accept, None), sock=listener, limit=MAX_HEAD)
        )

    async def listen_tcp(self, address: Address) -> None:
        """Serve on a TCP address, to who asks by a name of this host. Raises LocalError if it cannot be listened on."""
        accept = partial(self._accept, Hosts(address.host))
        try:
            for listener in _bind_tcp(await names.addresses(*address, LOOK_UP_WITHIN)):
                self._servers.append(await asyncio.start_server(accept, sock=listener, limit=MAX_HEAD))
        except OSError as error:
            reason = (
                os.strerror(error.errno) if error.errno and error.errno > 0 else plain(error.strerror or str(error))
            )
            raise LocalError(f"[http] listen = {str(address)!r}: {reason}") from None

    async def close(self) -> None:
        """Stop serving, cut off whoever is being served, and remove the socket."""
        for server in self._servers:
            server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        for path, inode in self._files:
            try:
                if path.stat().st_ino == inode:  # not another agent's by now
                    path.unlink()
            except OSError as error:
                log.debug("%s was not removed: %s", path, error)

    async def _accept(self, hosts: Hosts | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._clients.add(task)
        try:
            async with asyncio.timeout(DEADLINE):
                await self._serve(hosts, reader, writer)
        except (OSError, h11.ProtocolError, asyncio.CancelledError) as error:  # TimeoutError is an OSError
            log.debug("a client was cut off: %s %s", type(error).__name__, plain(str(error)))
        finally:
            self._clients.discard(task)
            writer.transport.abort()

    async def _serve(self, hosts: Hosts | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)  # drain() then waits until the kernel has everything
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        bare = False
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                connection.receive_data(await reader.read(MAX_HEAD))
            if not isinstance(event, h11.Request):
                return
            bare = event.method == b"HEAD"
            answer = await self._answer(hosts, event)
        except h11.RemoteProtocolError as error:
            answer = text(error.error_status_hint, "this is not HTTP")
        headers = [*answer.every_header, ("Content-Length", str(len(answer.body))), ("Connection", "close")]
        reason = http.HTTPStatus(answer.status).phrase.encode()
        response = h11.Response(status_code=answer.status, headers=headers, reason=reason)
        for part in (response, h11.Data(data=b"" if bare else answer.body), h11.EndOfMessage()):
            writer.write(connection.send(part) or b"")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _answer(self, hosts: Hosts | None, request: h11.Request) -> Answer:
        """Whoever opens the unix socket, or names no host as HTTP/1.0 may, is no page in a browser."""
        if hosts and not all(
            [await hosts.allows(value.decode()) for name, value in request.headers if name == b"host"]
        ):
            return text(421, NOT_HERE)
        return await self._pages.answer(request.method.decode(), request.target.decode())


def _bind_tcp(places: list[names.Place]) -> list[socket.socket]:
    """A listening socket on each of the addresses that this host has. Raises OSError if one cannot be had, or there is none."""
    made: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, place in places:
            try:
                made.append(socket.create_server(place, family=family))
            except OSError as error:
                if error.errno not in names.NOT_HERE:
                    raise
                absent = error
        if not made and absent:
            raise absent
    except OSError:
        for listener in made:
            listener.close()
        raise
    return made


def _bind_unix(path: Path) -> tuple[socket.socket, int]:
    """A listening socket at ``path`` and the inode of that file. Raises LocalError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_way(path)
        before = os.umask(0o177)  # from its first moment on nobody else may open it
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        return listener, path.stat().st_ino
    except OSError as error:
        listener.close()
        raise LocalError(f"{path}: cannot be listened on: {error.strerror or error}; {ELSEWHERE}") from None
    except LocalError:
        listener.close()
        raise


def _make_way(path: Path) -> None:
    """Remove a socket that nobody listens on. Raises LocalError if ``path`` is anything else that is in use."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise LocalError(f"{path}: is there already, and is no socket; {ELSEWHERE}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        result = probe.connect_ex(str(path))
    if result in (0, errno.EAGAIN):  # EAGAIN: somebody listens, and his queue is full
        raise LocalError(f"{path}: another agent answers there; stop it, or {ELSEWHERE}")
    if result not in (errno.ECONNREFUSED, errno.ENOENT):
        raise OSError(result, os.strerror(result))
    path.unlink(missing_ok=True)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def fetch(socket_path: Path, path: str, timeout: float) -> bytes:
    """The page ``path`` of the agent that listens on ``socket_path``; ``timeout`` (seconds) holds for each step.

    Raises LocalError that says what to do if no agent answers, or not well.
    """
    connection = _UnixConnection(socket_path, timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (FileNotFoundError, ConnectionRefusedError):
        raise LocalError(f"no agent answers at {socket_path}: is it running? (--socket names another place)") from None
    except TimeoutError:
        raise LocalError(f"the agent at {socket_path} did not answer within {timeout:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise LocalError(f"{socket_path}: {reason}") from None
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        said = plain(body.decode(errors="replace"))
        raise LocalError(f"the agent at {socket_path} answered {path} with {response.status}: {said}")
    return body
