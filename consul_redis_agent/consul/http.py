"""python-consul2 over asyncio.

The library builds each request and leaves its delivery to an HTTP client of the user's choice. This is that client: an
HTTP/1.1 client (h11) with keep-alive, a deadline for every request, bounded answers, unix sockets, and the token in its
header. It also closes the library's traps: the environment does not override what was asked for, an answer that is not
2xx is always an exception (of :mod:`~consul_redis_agent.errors`), and a path is never quoted twice.

    consul = Consul(HTTPClient("http://127.0.0.1:8500", timeout=2.0, token=no_token))
    services = await consul.agent.services()
"""
# ruff: noqa: ASYNC109 - a passed deadline is an answer of its own here (ConsulUnreachable), not a cancellation

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import sys
import warnings
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import h11

from consul_redis_agent import names
from consul_redis_agent.clock import clock
from consul_redis_agent.config import TlsConfig
from consul_redis_agent.consul.causes import NO_SUCH_TOKEN, Refused, explain
from consul_redis_agent.consul.place import NOWHERE, Place
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import (
    ConsulConflict,
    ConsulDenied,
    ConsulError,
    ConsulUnreachable,
    LocalError,
)
from consul_redis_agent.histogram import REQUEST, Histogram
from consul_redis_agent.text import plain
from consul_redis_agent.tls import HANDSHAKE, Tls

# The library imports requests for an HTTP client of its own, which is not used here: 6 MiB and a fifth of the start.
_instead = sys.modules.setdefault("requests", ModuleType("requests"))
from consul import base  # noqa: E402

if not hasattr(_instead, "__file__"):
    del sys.modules["requests"]

CB = base.CB

MAX_BODY = 8 * 1024 * 1024  # bytes of an answer whose question sets no narrower limit
MAX_RESULT = 256 * 1024  # bytes of what a write brings back: 64 results of a transaction, each with its record
MANY_PIECES, PIECE = (
    512,
    128,
)  # so many chunks of an answer may be smaller than this in the mean: each costs the loop some 10 µs
MAX_READS = 8  # under way together; Consul takes 200 connections from one address
MAX_HANDSHAKES = 4  # at once: each costs the loop 3 ms, and after a restart of Consul a hundred nodes connect anew
TURNS = 3  # of the loop, in which it takes in and decrypts what has come on a connection
MAX_IDLE = 4  # connections: more than one node's requests are seldom under way together
IDLE_LIFE = 30.0  # seconds: shorter than firewalls forget a connection
READ_SIZE = 64 * 1024
Token = Callable[[], Awaitable["str | None"]]
"""The token of now; raises ConsulError. It takes no longer than the deadline of a request."""
Renew = Callable[[str], Awaitable["str | None"]]
"""The token of now, given one that Consul does not know."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as python-consul2 built it. Awaiting it sends it with the client's own timeout."""

    client: HTTPClient
    callback: Callable[[Any], Any]
    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    limit: int | None = None
    """Bytes of the answer; None: what its kind of request may have."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self.client.send(self).__await__()

    def __str__(self) -> str:
        return f"{self.method} {self.target.partition('?')[0]}"

    def bounded(self, limit: int) -> Call:
        """The same request, whose answer has at most ``limit`` bytes."""
        return replace(self, limit=limit)

    def flagged(self, flag: str) -> Call:
        """The same request with one more parameter that has no value (``stale``, ``consistent``)."""
        return replace(self, target=f"{self.target}{'&' if '?' in self.target else '?'}{flag}")


class HTTPClient(base.HTTPClient):  # type: ignore[misc]  # the library is untyped
    """Sends requests to the one Consul agent at ``url`` (``http://host:port``, ``https://host:port`` or ``unix:///path``).

    ``tls`` belongs to ``https``; ``auth`` is ``user:password`` of HTTP's basic authentication.

    A blocking query holds a connection of its own; whatever is idle is used again. Safe for any number of tasks of one
    event loop. A cancelled request closes its connection, so no answer can be taken for another's.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        token: Token,
        renew: Renew | None = None,
        tls: TlsConfig | None = None,
        auth: str | None = None,
        place: Place = NOWHERE,
    ) -> None:
        parts = urlsplit(url)
        self._tls = Tls(tls or TlsConfig(), "consul") if parts.scheme == "https" else None
        if parts.scheme in ("http", "https") and parts.hostname:
            self._address: Address | str = Address(parts.hostname, parts.port or (8501 if self._tls else 8500))
        elif parts.scheme == "unix" and parts.path:
            self._address = parts.path
        else:
            raise ValueError(f"{url!r} is none of http://host:port, https://host:port and unix:///path")
        self._auth = f"Basic {b64encode(auth.encode()).decode()}" if auth else ""
        self.timeout = timeout
        self._token, self._renew = token, renew
        self._place = place
        self._reads = asyncio.Semaphore(MAX_READS)
        self._handshakes = asyncio.Semaphore(MAX_HANDSHAKES)
        self._idle: list[_Connection] = []
        self._open_connections: set[_Connection] = set()
        self._under_way: set[asyncio.Timeout] = set()
        self._ended = asyncio.Event()
        self._closed = False
        self.latency = Histogram(REQUEST)
        """How long answers took, but for those of blocking queries."""
        self.errors: Counter[str] = Counter()
        """Requests that failed, by :attr:`ConsulError.kind`; a compare that was lost is none."""

    def __str__(self) -> str:
        return f"Consul at {self._address}"

    # What python-consul2 calls: each gives a Call, and does nothing yet.

    def uri(self, path: str, params: Sequence[tuple[str, object]] | None = None) -> str:
        """The request target, of whatever request. Whoever puts an id into ``path`` quotes it; the library would quote it again."""
        target = quote(path, safe="/:%")
        params = [*(params or ()), *self._place.parameters]
        return f"{target}?{urlencode(params)}" if params else target

    def get(self, callback: Any, path: str, params: Any = None, headers: Any = None) -> Call:
        return self._call(callback, "GET", path, params, "", headers)

    def put(self, callback: Any, path: str, params: Any = None, data: str = "", headers: Any = None) -> Call:
        return self._call(callback, "PUT", path, params, data, headers)

    def delete(self, callback: Any, path: str, params: Any = None, data: str = "", headers: Any = None) -> Call:
        return self._call(callback, "DELETE", path, params, data, headers)

    def post(self, callback: Any, path: str, params: Any = None, data: str = "", headers: Any = None) -> Call:
        return self._call(callback, "POST", path, params, data, headers)

    def _call(self, callback: Any, method: str, path: str, params: Any, data: str, headers: Any) -> Call:
        return Call(self, callback, method, self.uri(path, params), tuple((headers or {}).items()), data.encode())

    # Delivery.

    async def send(
        self, call: Call, *, timeout: float | None = None, repeatable: bool | None = None, in_turn: bool = True
    ) -> Any:
        """Send ``call`` and return what the library makes of the answer.

        ``timeout`` (seconds, default the client's) is the deadline from connecting to the last byte. ``repeatable``
        says that the request may reach Consul twice (default: GET only). One that only reads waits for its turn before the
        deadline begins, unless ``in_turn`` is false: the caller has seen to it then. Raises ConsulUnreachable, ConsulDenied,
        ConsulUnknown, TransactionConflict or ConsulError.
        """
        if timeout is None:
            timeout = self.timeout
        try:
            return await self._send(call, timeout, repeatable, in_turn)
        except ConsulConflict:
            raise
        except ConsulError as error:
            self.errors[error.kind] += 1
            raise

    async def _send(self, call: Call, timeout: float, repeatable: bool | None, in_turn: bool) -> Any:
        if repeatable is None:
            repeatable = call.method == "GET"
        try:
            queue = self._reads if call.method == "GET" and in_turn else nullcontext()
            async with queue, asyncio.timeout(timeout) as deadline:
                began = clock()
                with self._counted(deadline):
                    response = await self._deliver(call, repeatable)
                if timeout <= self.timeout:  # a blocking query has longer, and takes as long as nothing changes
                    self.latency.add(clock() - began)
        except TimeoutError:
            self._refuse_if_closed()
            raise ConsulUnreachable(f"{self} did not answer {call} within {timeout:g} s") from None
        except OSError as error:
            raise ConsulUnreachable(f"{self} cannot be reached for {call}: {self._why(error)}") from error
        except LocalError as error:
            raise ConsulUnreachable(f"{self} cannot be reached for {call}: {error}") from error
        except h11.RemoteProtocolError as error:
            raise ConsulUnreachable(f"{self} did not answer {call} in HTTP: {plain(str(error))}") from error
        _raise_unless_ok(self, call, response)
        try:
            return call.callback(response)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConsulError(f"{self} answered {call} with what is not its API: {plain(response.body)}") from error

    async def _deliver(self, call: Call, repeatable: bool) -> Any:
        self._refuse_if_closed()
        has_token = any(name == "X-Consul-Token" for name, _ in call.headers)
        token = None if has_token else await self._token()  # before a connection is taken, which others could use
        response = await self._attempt(call, token, repeatable)
        if token and self._renew and response.code == 403 and NO_SUCH_TOKEN in response.body:
            # It may have been replaced in its file this moment; with the old one nothing was done.
            fresh = await self._renew(token)
            if fresh and fresh != token:
                return await self._attempt(call, fresh, repeatable)
        return response

    async def _attempt(self, call: Call, token: str | None, repeatable: bool) -> Any:
        if connection := await self._take():
            try:
                return await self._exchange(connection, call, token)
            except _Unanswered:
                if not repeatable:
                    raise
        connection = await self._connect()
        try:
            return await self._exchange(connection, call, token)
        except _Unanswered as error:
            if self._tls is None or not isinstance(self._address, Address):
                raise
            told = await self._tls.why(error, *self._address, self.timeout)
            raise ConsulUnreachable(
                f"{self} did not answer {call}: {self._tls.explain(told, self._address.host)}"
            ) from error

    async def _exchange(self, connection: _Connection, call: Call, token: str | None) -> Any:
        headers = [("Host", "localhost" if isinstance(self._address, str) else str(self._address)), *call.headers]
        if call.body:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(call.body)))]
        elif call.method != "GET":
            headers.append(("Content-Length", "0"))
        reusable = False
        try:
            if token:
                headers.append(("X-Consul-Token", token))
            if self._auth:
                headers.append(("Authorization", self._auth))
            request = h11.Request(method=call.method, target=call.target, headers=headers)
            limit = call.limit or (MAX_BODY if call.method == "GET" else MAX_RESULT)
            response, reusable = await connection.exchange(request, call.body, limit, name=f"{self} {call}")
        finally:
            if reusable and not self._closed:
                self._keep(connection)
            else:
                self._drop(connection)
        return response

    async def _connect(self) -> _Connection:
        self._refuse_if_closed()
        try:
            async with asyncio.timeout(self.timeout):  # a blocking query's own deadline is too long for this
                reader, writer = await self._open()
        except TimeoutError:
            raise ConsulUnreachable(f"{self} took no connection within {self.timeout:g} s") from None
        connection = _Connection(reader, writer)
        self._open_connections.add(connection)
        try:
            self._refuse_if_closed()
        except ConsulUnreachable:
            self._drop(connection)
            raise
        return connection

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # asyncio sets TCP_NODELAY by itself
        if isinstance(self._address, str):
            return await asyncio.open_unix_connection(self._address)
        host, port = self._address
        if self._tls is None:
            return await asyncio.open_connection(sock=await names.connect(host, port, self.timeout))
        options = await self._tls.options(host, self.timeout)
        async with self._handshakes:
            made = await names.connect(host, port, self.timeout)
            try:
                return await asyncio.open_connection(sock=made, **options)
            except OSError as error:
                failed = error
        raise await self._tls.failed(failed, host, port, self.timeout * (1 - HANDSHAKE) / 2) from failed

    def _why(self, error: OSError) -> str:
        """One line of it, in the words of TLS where TLS has to do with it."""
        told = self._tls.explain(error, self._address.host) if self._tls and isinstance(self._address, Address) else ""
        return told or _why(error)

    async def _take(self) -> _Connection | None:
        oldest = asyncio.get_running_loop().time() - IDLE_LIFE
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > oldest and (connection.quiet or await connection.settles()):
                return connection
            self._drop(connection)
        return None

    def _keep(self, connection: _Connection) -> None:
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE:
            self._drop(self._idle.pop(0))

    def _drop(self, connection: _Connection) -> None:
        self._open_connections.discard(connection)
        connection.abort()

    async def warm(self) -> None:
        """Have a connection at hand for a request that is about to come. Raises ConsulUnreachable."""
        try:
            self._keep(await self._take() or await self._connect())
        except OSError as error:
            raise ConsulUnreachable(f"{self} cannot be reached: {self._why(error)}") from error
        except LocalError as error:
            raise ConsulUnreachable(f"{self} cannot be reached: {error}") from error

    async def close(self) -> None:
        """Close every connection; a request under way, wherever it waits, has failed with ConsulUnreachable at the return."""
        self._closed = True
        self._idle.clear()
        for connection in list(self._open_connections):
            self._drop(connection)
        now = asyncio.get_running_loop().time()
        for deadline in self._under_way:
            if not deadline.expired():
                deadline.reschedule(now)
        if self._under_way:
            self._ended.clear()
            await self._ended.wait()
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next turn

    @contextmanager
    def _counted(self, deadline: asyncio.Timeout) -> Iterator[None]:
        """A request under way, which :meth:`close` ends."""
        self._under_way.add(deadline)
        try:
            yield
        finally:
            self._under_way.discard(deadline)
            if not self._under_way:
                self._ended.set()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ConsulUnreachable(f"{self} is not asked any more: this client is closed") from None


async def no_token() -> None:
    """For a Consul that asks for none."""


class _Unanswered(ConsulUnreachable):
    """The connection ended before the first byte of an answer: perhaps Consul closed it while it was idle."""


class _Connection:
    """One connection, used by one request at a time."""

    __slots__ = ("_http", "_reader", "_writer", "idle_since")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self.idle_since = 0.0

    @property
    def quiet(self) -> bool:
        """Whether it is open, and nothing has come on it: that would be taken for the answer to the next request."""
        reader = self._reader
        if reader._buffer or reader.at_eof() or reader.exception() or self._writer.is_closing():  # type: ignore[attr-defined]  # noqa: SLF001
            return False
        arriving = select.poll()  # what the loop has not taken in yet
        arriving.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)
        return not arriving.poll(0)

    async def settles(self) -> bool:
        """Whether it is :attr:`quiet` once what has come is decrypted: a session ticket, and not an answer."""
        for _ in range(TURNS if self._writer.get_extra_info("ssl_object") else 0):
            await asyncio.sleep(0)
        return self.quiet

    def abort(self) -> None:
        self._writer.transport.abort()

    async def exchange(self, request: h11.Request, body: bytes, limit: int, name: str) -> tuple[Any, bool]:
        """Send one request and read its answer of at most ``limit`` bytes. Returns it, and whether the connection may be
        used again.
        """
        events = [request, h11.Data(data=body), h11.EndOfMessage()] if body else [request, h11.EndOfMessage()]
        data = b"".join(self._http.send(event) or b"" for event in events)
        status, headers, content, pieces, answered = 0, {}, bytearray(), 0, False
        try:
            self._writer.write(data)
            await self._writer.drain()
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    received = await self._reader.read(READ_SIZE)
                    if not received and not answered:
                        raise ConnectionResetError
                    if not answered and not received.startswith(b"HTTP/"[: len(received)]):
                        raise h11.RemoteProtocolError(f"it says {received[:40]!r}")  # h11 would wait for a whole head
                    answered = True
                    self._http.receive_data(received)
                elif isinstance(event, h11.Response):
                    status = event.status_code
                    headers = {key.decode("latin-1").title(): value.decode("latin-1") for key, value in event.headers}
                elif isinstance(event, h11.Data):
                    content += event.data
                    pieces += 1
                    if len(content) > limit:
                        size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
                        raise ConsulError(f"{name}: the answer is longer than {size}")
                    if pieces > MANY_PIECES and len(content) < PIECE * pieces:
                        raise ConsulError(f"{name}: the answer comes in too many pieces")
                elif isinstance(event, h11.EndOfMessage):
                    break
        except ConnectionError:
            if answered:
                raise
            raise _Unanswered(f"{name}: the connection was closed without an answer") from None
        reusable = self._http.their_state is h11.DONE and not self._http.trailing_data[0]
        if reusable:
            self._http.start_next_cycle()
        text = content.decode("utf-8", "replace")
        return base.Response(status, headers, text, bytes(content)), reusable


class TransactionConflict(ConsulConflict):
    """Consul refused a transaction and did nothing of it. ``errors``: (index of the operation, Consul's reason)."""

    def __init__(self, message: str, errors: tuple[tuple[int, str], ...]) -> None:
        super().__init__(message)
        self.errors = errors


class Consul(base.Consul):  # type: ignore[misc]  # the library is untyped
    """python-consul2's API on the client above; each of its methods gives a :class:`Call` to await."""

    http: HTTPClient

    def __init__(self, client: HTTPClient) -> None:
        self._client = client
        with _no_consul_variables(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the library complains of its own parts
            super().__init__()

    def http_connect(self, *_: object, **__: object) -> HTTPClient:
        """The library's hook for another HTTP client."""
        return self._client


@contextmanager
def _no_consul_variables() -> Iterator[None]:
    # python-consul2 lets these override its arguments, and fails on addresses that Consul itself accepts
    names = [name for name in os.environ if name.startswith("CONSUL_HTTP_")]
    saved = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(saved)


def _why(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or not error.errno:
        return plain(error.strerror or str(error) or type(error).__name__)
    return os.strerror(error.errno)


def _raise_unless_ok(client: HTTPClient, call: Call, response: Any) -> None:
    """Name the fault of an answer that is not 2xx, by its status and by what Consul says in the body."""
    status: int = response.code
    if 200 <= status < 300:
        return
    reason = plain(response.body) or "no reason given"
    error, mend = explain(Refused(status, reason, call.method, call.target.partition("?")[0]))
    said = f"{client} answered {call} with {status}: {reason}"
    if issubclass(error, ConsulDenied):
        said = f"{client} refused {call}: {reason}"
    elif status == 409:
        raise TransactionConflict(said, _transaction_errors(response.body))
    raise error(f"{said}; {mend}" if mend else said)


def _transaction_errors(body: str) -> tuple[tuple[int, str], ...]:
    try:
        errors = json.loads(body)["Errors"]
        return tuple((error["OpIndex"], plain(error["What"])) for error in errors if type(error["OpIndex"]) is int)
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
