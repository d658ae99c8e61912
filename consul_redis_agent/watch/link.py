"""One connection to a Redis or Sentinel server, with a limit on everything that the other side could get wrong.

redis-py speaks the protocol. What it leaves open is added here: a deadline for each exchange (its own retries are
never used: they make a hung server take minutes), a limit on an answer's size, and a call-back in the moment in
which the server closes the connection, which is the first sign of a failover.
"""

# ruff: noqa: ASYNC109 - a passed deadline is an answer of its own here, not a cancellation

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.exceptions import RedisError as LibraryError

from consul_redis_agent import names
from consul_redis_agent.errors import Denied, Unanswered

if TYPE_CHECKING:
    from consul_redis_agent.decide.facts import Address

ANSWER_LIMIT = 4 * 1024 * 1024
"""Bytes of one answer. INFO has some 6 KiB, SENTINEL REPLICAS some 0.8 KiB a replica."""
OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A connection over which nothing comes is asked for by the kernel, and ends 7 s after the other side has gone silently."""
GONE = {errno.ECONNREFUSED, errno.ENOENT}
"""Nothing listens there: on a host of its own that is sure, and no second look is needed."""

NOBODY = "nothing listens there"
"""What is said of that."""


class _Reader(asyncio.StreamReader):
    """A stream that counts what it hands out since ``budget`` was set, and tells at once when the server closes."""

    def __init__(self, closed: Callable[[], None]) -> None:
        super().__init__()
        self.budget = ANSWER_LIMIT
        self._closed = closed

    def feed_eof(self) -> None:
        super().feed_eof()
        self._closed()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self._closed()

    async def read(self, n: int = -1) -> bytes:
        """All that redis-py asks for, with hiredis as its parser."""
        data = await super().read(n)
        self.budget -= len(data)
        if self.budget < 0:
            raise ValueError(f"the answer is larger than {ANSWER_LIMIT} bytes")
        return data


class _Tcp(Connection):
    closed: Callable[[], None]
    patience: float
    """Seconds for connecting and logging in."""
    _reader: _Reader

    async def _connect(self) -> None:
        loop, reader = asyncio.get_running_loop(), _Reader(self.closed)
        made = await names.connect(self.host, self.port, self.patience)
        for level, option, value in OPTIONS:
            made.setsockopt(level, option, value)
        transport, protocol = await loop.create_connection(lambda: asyncio.StreamReaderProtocol(reader), sock=made)
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Unix(UnixDomainSocketConnection):
    closed: Callable[[], None]
    patience: float
    _reader: _Reader

    async def _connect(self) -> None:
        loop, reader = asyncio.get_running_loop(), _Reader(self.closed)
        transport, protocol = await loop.create_unix_connection(lambda: asyncio.StreamReaderProtocol(reader), self.path)
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class Link:
    """A connection that is made when it is needed and dropped at the first doubt.

    ``timeout`` is in seconds, for each of connecting with login, one exchange, one push. ``password`` has a deadline of its
    own, before that; it raises :class:`Unanswered`. ``closed`` is called when an open connection ends from the other side.
    Every method raises :class:`Unanswered` or :class:`Denied`.
    """

    def __init__(
        self,
        where: Address | str,
        *,
        timeout: float,
        username: str = "",
        password: Callable[[], Awaitable[str | None]] | None = None,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self.where, self.timeout = where, timeout
        self._username, self._password, self._closed = username, password, closed
        self._connection: _Tcp | _Unix | None = None
        self._asked: tuple[Sequence[Sequence[str]], list[bytes]] = ((), [])
        """The last commands, and how they are sent: nearly always the next are the same."""

    @property
    def open(self) -> bool:
        """Whether there is a connection, logged in, as far as is known."""
        return self._connection is not None

    async def connect(self) -> None:
        """Connect and log in, unless connected. The password is read anew, so a rotated one is used."""
        if self._connection is not None:
            return
        options: dict[str, Any] = {
            "username": self._username or None,
            "password": await self._password() if self._password else None,
            "protocol": 2,
            "decode_responses": True,
            "encoding_errors": "replace",
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,
            "socket_timeout": None,  # the deadlines are set here, around whole exchanges
            "socket_connect_timeout": None,
        }
        connection: _Tcp | _Unix
        if isinstance(self.where, str):
            connection = _Unix(path=self.where, **options)
        else:
            connection = _Tcp(host=self.where.host, port=self.where.port, **options)
        connection.closed, connection.patience = lambda: self._lost(connection), self.timeout
        try:
            await self._bounded(connection.connect(), self.timeout)  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection  # not before: redis-py connects a second time for who asks meanwhile

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        """Send all commands at once; an answer each, which is a ResponseError where the server refused the command."""
        await self.connect()
        connection = self._connection
        if connection is None:
            raise Unanswered("the server closed the connection")
        answers: list[Any] = await self._bounded(self._exchange(connection, commands), self.timeout)
        return answers

    async def push(self, timeout: float | None = None) -> Any:
        """The next message that the server sends by itself, within ``timeout`` seconds, if that is given."""
        connection = self._connection
        if connection is None:
            raise Unanswered("the server closed the connection")
        connection._reader.budget = ANSWER_LIMIT  # noqa: SLF001 - our own reader
        return await self._bounded(connection.read_response(), timeout)

    async def close(self) -> None:
        """Drop the connection, if there is one, without waiting for the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _exchange(self, connection: _Tcp | _Unix, commands: Sequence[Sequence[str]]) -> list[Any]:
        connection._reader.budget = ANSWER_LIMIT  # noqa: SLF001 - our own reader
        if commands != self._asked[0]:
            self._asked = commands, connection.pack_commands(commands)
        await connection.send_packed_command(self._asked[1], check_health=False)
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await connection.read_response(disconnect_on_error=False))
            except ResponseError as refused:
                answers.append(refused)
        return answers

    async def _bounded(self, exchange: Any, timeout: float | None) -> Any:
        try:
            async with asyncio.timeout(timeout):
                return await exchange
        except TimeoutError:
            await self.close()
            raise Unanswered(f"no answer within {timeout:g} s") from None
        except (AuthenticationError, NoPermissionError) as error:
            await self.close()
            raise Denied(_line(error)) from error
        except (LibraryError, OSError, EOFError, ValueError, MemoryError) as error:
            await self.close()
            if isinstance(error, ResponseError):
                # Refused while logging in: "NOAUTH", "max number of clients reached", "LOADING" …
                raise Denied(_line(error)) from error
            gone = _is_gone(error)
            raise Unanswered(NOBODY if gone else _line(error), gone=gone) from error
        except BaseException:
            await self.close()
            raise

    def _lost(self, connection: _Tcp | _Unix) -> None:
        if self._connection is connection:
            self._connection = None
            connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001 - the only way without a coroutine
            self._closed()


def _is_gone(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            # Of several addresses of one name the errors are in the text only.
            numbers: set[int | None] = {int(n) for n in re.findall(r"Errno (\d+)", str(seen))} or {seen.errno}
            return all(number in GONE for number in numbers)
        seen = seen.__cause__ or seen.__context__
    return False


def _line(error: BaseException) -> str:
    """One bounded line without control characters; the text comes from the other side."""
    text = "".join(c if c.isprintable() else " " for c in str(error)).strip() or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
