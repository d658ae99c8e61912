"""One connection to a Redis or Sentinel server, with a limit on everything that the other side could get wrong.

redis-py speaks the protocol. What it leaves open is added here: a deadline for each exchange (its own retries are
never used: they make a hung server take minutes), limits on what an answer may be (its size by the question), and a
call-back in the moment in which the server closes the connection, which is the first sign of a failover.
"""

# ruff: noqa: ASYNC109 - a passed deadline is an answer of its own here, not a cancellation

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis._parsers import _AsyncHiredisParser
from redis._parsers.socket import SERVER_CLOSED_CONNECTION_ERROR
from redis.asyncio.connection import Connection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, InvalidResponse, NoPermissionError, ResponseError
from redis.exceptions import RedisError as LibraryError

from consul_redis_agent import names
from consul_redis_agent.decide.facts import canonical
from consul_redis_agent.errors import Denied, LocalError, Unanswered
from consul_redis_agent.text import plain
from consul_redis_agent.tls import HANDSHAKE, SESSION, Table, Tls, has_ended, in_vain

if TYPE_CHECKING:
    from consul_redis_agent.decide.facts import Address

READ_SIZE = 64 * 1024
"""Bytes that are read at once, so an answer may bring as many of the next ones with it."""
SMALL = 16 * 1024
"""Bytes of an answer, or of a message, of a few words."""
INFO_LIMIT = 192 * 1024
"""Bytes of INFO: some 6 KiB, and at most 0.4 KiB for each of 256 replicas, or 0.1 KiB for each master of a Sentinel."""
ANSWER_LIMIT = 1024 * 1024
"""Bytes of a Sentinel's lists: some 0.8 KiB an entry. Ghosts that somebody has told it of must not silence it."""
LIMITS = {"INFO": INFO_LIMIT, "MASTERS": ANSWER_LIMIT, "REPLICAS": ANSWER_LIMIT, "SENTINELS": ANSWER_LIMIT}
"""By the command's first word, or the one behind ``SENTINEL``."""
CROWD = re.compile(rb"\n[*%~>|]\d{6}")
"""How the header of a list begins that announces more members than any answer has. Room for all is made when it comes, and
to give that back for 10^9 of them takes 2 s."""
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
    """A stream that hands out no more than an answer may have, and tells at once when the server closes."""

    def __init__(self, closed: Callable[[], None]) -> None:
        super().__init__()
        self._tail = b"\n"
        self.limit(SMALL)
        self._closed = closed

    def limit(self, limit: int) -> None:
        """From now on as many bytes may come, and what comes with the last of them."""
        self._limit, self.budget = limit, limit + READ_SIZE

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
            raise ValueError(f"the answer is larger than {self._limit} bytes")
        near = self._tail + data
        if CROWD.search(near):
            raise ValueError("it announces a list of more than 99999 members")
        self._tail = near[-7:]
        return data


class _Parser(_AsyncHiredisParser):
    """RESP2 and nothing else: the library would take one push within the other, and ends at the thousandth."""

    _reader: Any
    _stream: Any

    async def read_response(self, disable_decoding: bool = False, push_request: bool = False) -> Any:
        try:
            return await super().read_response(disable_decoding=disable_decoding, push_request=push_request)
        except TypeError as error:  # a list as a key of a map
            raise InvalidResponse(f"no answer that could be read: {error}") from error

    async def handle_push_response(self, response: Any, **_: Any) -> Any:
        raise InvalidResponse("a message of a later protocol that nobody asked for")

    @property
    def idle(self) -> bool:
        """Whether nothing has come that nobody has read."""
        return not (self._reader.has_data() or self._stream._buffer)  # noqa: SLF001 - asyncio has no other way to ask


_Session = tuple[ssl.SSLContext | None, ssl.SSLSession | None]
"""A session, with the context that alone can resume it."""
NO_SESSION: _Session = (None, None)


class _Tcp(Connection):
    closed: Callable[[], None]
    patience: float
    """Seconds for connecting and logging in."""
    tls: Tls | None
    options: dict[str, Any]
    """What asyncio is told of TLS."""
    before: _Session
    peer = ""
    _reader: _Reader
    _parser: _Parser

    async def _connect(self) -> None:
        loop, reader = asyncio.get_running_loop(), _Reader(self.closed)
        made = await names.connect(self.host, self.port, self.patience)
        with suppress(OSError):  # it may have been closed already
            self.peer = str(made.getpeername()[0])
        for level, option, value in OPTIONS:
            made.setsockopt(level, option, value)
        context, session = self.before
        resumed = SESSION.set(session if context is self.options.get("ssl") else None)
        try:
            transport, protocol = await loop.create_connection(
                lambda: asyncio.StreamReaderProtocol(reader), sock=made, **self.options
            )
        except OSError as error:
            if self.tls is None:
                raise
            rest = self.patience * (1 - HANDSHAKE) / 2
            raise await self.tls.failed(error, self.host, self.port, rest) from error
        finally:
            SESSION.reset(resumed)
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    @property
    def session(self) -> _Session:
        """What the next connection to this server may resume: a third of a handshake's time, or more, is saved."""
        encrypted: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object") if self._writer else None
        return (encrypted.context, encrypted.session) if encrypted else NO_SESSION


class _Unix(UnixDomainSocketConnection):
    closed: Callable[[], None]
    patience: float
    session = NO_SESSION
    _reader: _Reader
    _parser: _Parser

    async def _connect(self) -> None:
        loop, reader = asyncio.get_running_loop(), _Reader(self.closed)
        transport, protocol = await loop.create_unix_connection(lambda: asyncio.StreamReaderProtocol(reader), self.path)
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class Link:
    """A connection that is made when it is needed and dropped at the first doubt.

    ``timeout`` is in seconds, for each of connecting with login, one exchange, one push. ``password`` has a deadline of its
    own, before that, as the files of ``tls`` have; it raises :class:`Unanswered`. ``tls``: None for clear text. ``table`` of the configuration is named in
    messages. ``closed`` is called when an open connection ends from the other side.
    Every method raises :class:`Unanswered` or :class:`Denied`.
    """

    peer = ""
    """The IP address that the last connection was made to, whatever name led there."""

    def __init__(
        self,
        where: Address | str,
        *,
        timeout: float,
        username: str = "",
        password: Callable[[], Awaitable[str | None]] | None = None,
        closed: Callable[[], None] = lambda: None,
        tls: Tls | None = None,
        table: Table = "redis",
    ) -> None:
        self.where, self.timeout = where, timeout
        self._username, self._password, self._closed = username, password, closed
        self._tls, self._table = tls, table
        self._connection: _Tcp | _Unix | None = None
        self._session = NO_SESSION
        self._answered = False
        """Whether the server has ever answered."""
        self._why: BaseException | None = None
        """Why the last connection has ended, where that is known: with TLS 1.3 a server refuses us after the handshake."""
        self._asked: tuple[Sequence[Sequence[str]], list[bytes], list[int]] = ((), [], [])
        """The last commands, how they are sent, and each answer's limit: nearly always the next are the same."""
        self._last_words = b""
        """What a server has said before it closed the connection, and nobody has read yet."""

    @property
    def open(self) -> bool:
        """Whether there is a connection, logged in, as far as is known."""
        return self._connection is not None

    async def connect(self) -> None:
        """Connect and log in, unless connected. The password is read anew, so a rotated one is used."""
        if self._connection is not None:
            return
        self._last_words = b""
        options: dict[str, Any] = {
            "username": self._username or None,
            "password": await self._password() if self._password else None,
            "protocol": 2,
            "decode_responses": True,
            "encoding_errors": "replace",
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,
            "parser_class": _Parser,
            "socket_read_size": READ_SIZE,
            "socket_timeout": None,  # the deadlines are set here, around whole exchanges
            "socket_connect_timeout": None,
        }
        try:
            at = "" if isinstance(self.where, str) else self.where.host
            shown = await self._tls.options(at, self.timeout) if self._tls else {}
        except LocalError as error:
            raise Unanswered(str(error)) from error
        connection: _Tcp | _Unix
        if isinstance(self.where, str):
            connection = _Unix(path=self.where, **options)
        else:
            connection = _Tcp(host=self.where.host, port=self.where.port, **options)
            connection.tls, connection.options, connection.before = self._tls, shown, self._session
        connection.closed, connection.patience = lambda: self._lost(connection), self.timeout
        self._why = None
        try:
            await self._bounded(connection.connect(), self.timeout)  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if isinstance(connection, _Tcp):
            self.peer = canonical(connection.peer)
        self._connection = connection  # not before: redis-py connects a second time for who asks meanwhile

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        """Send all commands at once; an answer each, which is a ResponseError where the server refused the command.

        A connection on which something has come that nobody asked for is not used: it would be taken for the answer.
        """
        if self._connection is not None and not self._connection._parser.idle:  # noqa: SLF001 - our own parser
            await self.close()
        await self.connect()
        connection = self._connection
        if connection is None:
            raise self._closed_on_us()
        answers: list[Any] = await self._bounded(self._exchange(connection, commands), self.timeout)
        return answers

    async def push(self, timeout: float | None = None) -> Any:
        """The next message that the server sends by itself, within ``timeout`` seconds, if that is given."""
        connection = self._connection
        if connection is None:
            raise self._closed_on_us()
        connection._reader.limit(SMALL)  # noqa: SLF001 - our own reader
        return await self._bounded(connection.read_response(), timeout)

    async def close(self) -> None:
        """Drop the connection, if there is one, without waiting for the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._session = connection.session
            await connection.disconnect(nowait=True)

    async def _exchange(self, connection: _Tcp | _Unix, commands: Sequence[Sequence[str]]) -> list[Any]:
        if commands != self._asked[0]:
            self._asked = commands, connection.pack_commands(commands), [_limit(c) for c in commands]
        _, packed, limits = self._asked
        await connection.send_packed_command(packed, check_health=False)
        answers: list[Any] = []
        for limit in limits:
            connection._reader.limit(limit)  # noqa: SLF001 - our own reader
            try:
                answers.append(await connection.read_response(disconnect_on_error=False))
            except ResponseError as refused:
                answers.append(refused)
            except (LibraryError, OSError) as lost:
                if answers and isinstance(answers[-1], ResponseError):
                    raise answers[-1] from lost  # it has said why, and closed the connection
                raise
            self._answered = True
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
            if self._last_words.startswith(b"-"):  # "DENIED Redis is running in protected mode" …
                raise Denied(plain(self._last_words[1:].decode(errors="replace"))) from error
            gone = is_gone(error)
            raise Unanswered(NOBODY if gone else self._explained(await self._told(error)), gone=gone) from error
        except BaseException:
            await self.close()
            raise

    def _lost(self, connection: _Tcp | _Unix) -> None:
        if self._connection is connection:
            self._connection = None
            self._session = connection.session
            reader: _Reader | None = connection._reader  # noqa: SLF001 - our own reader
            if reader:
                self._why = reader.exception()
                self._last_words = bytes(reader._buffer[:SMALL])  # type: ignore[attr-defined]  # noqa: SLF001
            connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001 - the only way without a coroutine
            self._closed()

    async def _told(self, error: BaseException) -> BaseException:
        """What the server says of a connection that never was of use, where the error itself does not tell."""
        if self._tls is None or self._answered or isinstance(self.where, str):
            return error
        return await self._tls.why(error, *self.where, self.timeout * (1 - HANDSHAKE))

    def _closed_on_us(self) -> Unanswered:
        """The error where a connection has ended before it was used."""
        told = self._explained(self._why) if self._why else ""
        return Unanswered(told or "the server closed the connection")

    def _explained(self, error: BaseException) -> str:
        """One line of it, in the words of TLS where TLS has to do with it."""
        if isinstance(self.where, str):
            return _line(error)
        if SERVER_CLOSED_CONNECTION_ERROR in str(error):
            error = EOFError(_line(error))
        if self._tls:
            return self._tls.explain(error, self.where.host, answered=self._answered) or _line(error)
        return in_vain(self._table) if has_ended(error) and not self._answered else _line(error)


def is_gone(error: BaseException) -> bool:
    """Whether it says that nothing listens there."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            # Of several addresses of one name the errors are in the text only.
            numbers: set[int | None] = {int(n) for n in re.findall(r"Errno (\d+)", str(seen))} or {seen.errno}
            return all(number in GONE for number in numbers)
        seen = seen.__cause__ or seen.__context__
    return False


def _line(error: BaseException) -> str:
    return plain(str(error)) or type(error).__name__


def _limit(command: Sequence[str]) -> int:
    """How many bytes the answer to it may have."""
    return LIMITS.get(command[1] if command[0] == "SENTINEL" else command[0], SMALL)
