"""TLS: the context that connections share, read again when its files change, and in plain words what went wrong.

Each :class:`Tls` is one table of the configuration. Its files are read beside the event loop, and OpenSSL reads none of them later
(a folder of authorities is read whole; only the system's own one is not), so that no file on a hung mount stalls a handshake.
"""
# ruff: noqa: ASYNC109 - a passed deadline is an answer of its own here, not a cancellation

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consul_redis_agent import names
from consul_redis_agent.beside import FILES
from consul_redis_agent.config import TlsConfig
from consul_redis_agent.errors import LocalError
from consul_redis_agent.text import plain
from consul_redis_agent.tls.context import SESSION, Trust, Wrong, changed, trust
from consul_redis_agent.tls.words import (
    TOLD,
    WRONG_NAME,
    ClearText,
    HandshakeFailed,
    Table,
    behind,
    explain,
    has_ended,
    in_vain,
)

__all__ = ["HANDSHAKE", "SESSION", "TOLD", "Table", "Tls", "Trust", "explain", "has_ended", "in_vain", "trust"]

HANDSHAKE = 0.75
"""The part of a deadline that a handshake may take: in what is left it is found out whether the port speaks clear text."""
SHUTDOWN = 0.2
"""Seconds for which a closed connection waits for the other side's good-bye; nothing is lost without one."""
NAMES_KEPT = 30.0
"""Seconds for which the names in a refused certificate are not asked for again."""


class Tls:
    """How the servers of one table are spoken to."""

    def __init__(self, config: TlsConfig, table: Table) -> None:
        self.config, self.table = config, table
        self._trust = trust(config)

    def asked(self, host: str) -> str:
        """The name that the certificate of a server at ``host`` has to have."""
        return self.config.server_name or host.partition("%")[0]

    async def options(self, host: str, timeout: float) -> dict[str, Any]:
        """What asyncio is to be told for a connection to ``host``, whose deadline is ``timeout``. Raises LocalError."""
        try:
            context = await self._trust.context()
        except LocalError as error:
            raise LocalError(f"{TOLD}{self.table}.{error}") from None
        return {
            "ssl": context,
            "server_hostname": self.asked(host),
            "ssl_handshake_timeout": timeout * HANDSHAKE,
            "ssl_shutdown_timeout": SHUTDOWN,
        }

    async def failed(self, error: OSError, host: str, port: int, timeout: float) -> OSError:
        """The error for a handshake that failed with ``error``; ``timeout`` is for finding out what it has to do with."""
        self._trust.doubt()
        found: tuple[str, ...] = ()
        if isinstance(error, ConnectionAbortedError):  # asyncio's word for a handshake that took too long
            if await answers_in_clear(host, port, timeout):
                return ClearText("clear text")
        elif getattr(error, "verify_code", 0) in WRONG_NAME:
            found = await _names_at(self.config, host, port, timeout)
        failure = HandshakeFailed(self.explain(error, host, names=found))
        failure.__cause__ = error
        return failure

    async def why(self, error: BaseException, host: str, port: int, timeout: float) -> BaseException:
        """What the server says where a connection was reset right behind its handshake: its word was lost in our first write."""
        if not any(isinstance(one, ConnectionResetError | BrokenPipeError) for one in behind(error)):
            return error
        if any(isinstance(one, HandshakeFailed) for one in behind(error)):
            return error
        try:
            async with asyncio.timeout(timeout):
                options = await self.options(host, timeout)
                made = await names.connect(host, port, timeout)
                reader, writer = await asyncio.open_connection(sock=made, **options)
                try:
                    await reader.read(1)
                finally:
                    writer.transport.abort()
        except ssl.SSLError as said:
            return said
        except (OSError, TimeoutError, LocalError):
            pass
        return error

    def explain(self, error: BaseException, host: str, names: Sequence[str] = (), *, answered: bool = False) -> str:
        """The sentence for what TLS has to do with ``error``, or an error behind it; empty where it has nothing to do with it.

        ``answered``: whether the server has answered anything on this connection.
        """
        return explain(error, self.config, self.table, self.asked(host), names, answered=answered)


# Looking closer, where a handshake has failed


async def answers_in_clear(host: str, port: int, timeout: float) -> bool:
    """Whether a Redis or Sentinel answers a PING in clear text; one takes a TLS hello for the beginning of a line, and waits."""
    try:
        async with asyncio.timeout(timeout):
            made = await names.connect(host, port, timeout)
            try:
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(made, b"PING\r\n")
                return (await loop.sock_recv(made, 16))[:1] in (b"+", b"-")
            finally:
                made.close()
    except (OSError, TimeoutError):
        return False


_names: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}


async def _names_at(config: TlsConfig, host: str, port: int, timeout: float) -> tuple[str, ...]:
    """The names in the certificate of a server, if its authority is a known one; nothing is said to it."""
    now = time.monotonic()
    for place in [place for place, (at, _) in _names.items() if now - at > NAMES_KEPT]:
        del _names[place]
    if (host, port) not in _names:
        found: tuple[str, ...] = ()
        try:
            async with asyncio.timeout(timeout):
                context, _ = await FILES.ask(
                    changed, replace(config, cert_file=None, key_file=None), (), timeout=timeout, what="the files"
                )
                if context is None:
                    return ()
                context.check_hostname = False  # for its names alone: the connection is closed at once
                made = await names.connect(host, port, timeout)
                _, writer = await asyncio.open_connection(sock=made, ssl=context, server_hostname=host)
                certificate = writer.get_extra_info("peercert") or {}
                writer.transport.abort()
                found = tuple(plain(str(name), 80) for _, name in certificate.get("subjectAltName", ()))[:8]
        except (OSError, TimeoutError, LocalError, Wrong):
            pass
        _names[host, port] = now, found
    return _names[host, port][1]
