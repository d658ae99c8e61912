"""TLS: the context that connections share, read again when its files change, and in plain words what went wrong.

Each :class:`Tls` is one table of the configuration. Its files are read beside the event loop, and OpenSSL reads none of them later
(a folder of authorities is read whole; only the system's own one is not), so that no file on a hung mount stalls a handshake.
"""
# ruff: noqa: ASYNC109 - a passed deadline is an answer of its own here, not a cancellation

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal
from weakref import WeakValueDictionary

from consul_redis_agent import names
from consul_redis_agent.beside import FILE_TIMEOUT, FILES
from consul_redis_agent.config import TlsConfig
from consul_redis_agent.errors import LocalError
from consul_redis_agent.text import plain

log = logging.getLogger(__name__)

Table = Literal["consul", "redis", "sentinel"]
"""The table of the configuration, which messages name."""

LOOK_PERIOD = 1.0
"""Seconds between two looks at the files; there is one only where a connection is made."""
MAKING = 3 * FILE_TIMEOUT
"""Seconds for reading the files and making a context of them: with the system's 140 authorities a busy host needs one."""
AT_HAND = 0.02
"""Seconds for which a connection waits for such a look where there is a context already."""
MAX_FILE = 4 * 1024 * 1024
"""Bytes of one file: all authorities of the world are some 0.3 MiB."""
MAX_FILES = 1024
"""Files of a folder of authorities."""
HANDSHAKE = 0.75
"""The part of a deadline that a handshake may take: in what is left it is found out whether the port speaks clear text."""
SHUTDOWN = 0.2
"""Seconds for which a closed connection waits for the other side's good-bye; nothing is lost without one."""
NAMES_KEPT = 30.0
"""Seconds for which the names in a refused certificate are not asked for again."""
WEAK = "its key or its signature is too weak for this host's OpenSSL"

SESSION: ContextVar[ssl.SSLSession | None] = ContextVar("SESSION", default=None)
"""The session that the connection begun in this context resumes, of the same server and the same SSLContext: asyncio hands none on."""


class HandshakeFailed(OSError):
    """A TCP connection was made, and TLS on it was not; the cause says why."""


class ClearText(OSError):
    """The other side answers clear text."""


class Context(ssl.SSLContext):
    """An SSLContext that resumes the session at hand."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As asyncio asks for it."""
        if isinstance(server_hostname, str):  # as bytes: text would bring Python's IDNA tables into memory, 1 MiB
            server_hostname = server_hostname.encode("ascii" if server_hostname.isascii() else "idna")
        session = session or SESSION.get()
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)


class Wrong(Exception):
    """A file that cannot be used, by the key that names it. It never leaves this module."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(key, why)
        self.key, self.why = key, why


Looks = tuple[tuple[str, int, int, int], ...]
"""What the files look like: path, time of change, size and inode of each."""


class Trust:
    """The context of one TlsConfig: made at its first use, and anew when one of its files has changed."""

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self._context: Context | None = None
        self._seen: Looks = ()
        self._looked = -LOOK_PERIOD
        self._looking: asyncio.Task[None] | None = None
        self._problem = ""

    async def context(self) -> Context:
        """The context of now; where files are half-way through their replacement, or hang, the one before. Raises LocalError."""
        if self._looking is None and time.monotonic() - self._looked >= LOOK_PERIOD:
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(self._has_looked)
            await asyncio.wait([self._looking], timeout=AT_HAND)
        if self._looking and self._context is None:
            await asyncio.wait([self._looking])
        if self._context is None:
            raise LocalError(self._problem)
        return self._context

    def doubt(self) -> None:
        """Look at the files at the next use, however young the last look is: a handshake has failed."""
        self._looked = -LOOK_PERIOD

    def _has_looked(self, looking: asyncio.Task[None]) -> None:
        if not looking.cancelled():
            looking.exception()  # it is nobody's where all who waited have given up
        self._looked, self._looking = time.monotonic(), None

    async def _look(self) -> None:
        try:
            fresh, self._seen = await FILES.ask(
                _changed,
                self._config,
                self._seen,
                timeout=MAKING,
                what="ca_file, cert_file or key_file: the file system",
            )
            self._context, self._problem = fresh or self._context, ""
        except (LocalError, Wrong) as error:
            problem = f"{error.key}: {error.why}" if isinstance(error, Wrong) else str(error)
            if problem != self._problem and self._context is not None:
                log.warning("%s; the certificates that were read before stay in use", problem)
            self._problem, self._seen = problem, ()


_KEPT: WeakValueDictionary[TlsConfig, Trust] = WeakValueDictionary()


def trust(config: TlsConfig) -> Trust:
    """The one of these files, whatever name is asked for: all connections share it, since each context costs memory."""
    config = replace(config, server_name=None)
    kept = _KEPT.get(config)
    if kept is None:
        kept = _KEPT[config] = Trust(config)
    return kept


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
        if not any(isinstance(one, ConnectionResetError | BrokenPipeError) for one in _behind(error)):
            return error
        if any(isinstance(one, HandshakeFailed) for one in _behind(error)):
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


# What went wrong, in plain words

TOLD: Final = "TLS: "
"""How each such sentence begins: it says what to do by itself."""

WRONG_NAME: Final = {62, 63, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, _EMAIL_MISMATCH, _IP_ADDRESS_MISMATCH
EXPIRED, NOT_YET = 10, 9
UNKNOWN_CA: Final = {2, 7, 18, 19, 20, 21, 24, 27, 28}
"""No issuer found, self-signed, a signature of another key under the same name, no authority, not trusted."""
TOO_WEAK: Final = {66, 67, 68}  # key of the certificate, key of an authority, digest
PURPOSE = 26

CLEAR_HERE: Final = {"consul": "http://", "redis": "redis://", "sentinel": "sentinel.tls = false"}
TLS_HERE: Final = {
    "consul": "https:// in consul.url",
    "redis": "rediss:// in redis.url",
    "sentinel": "sentinel.tls = true",
}
PLACE: Final = {"consul": "consul.url", "redis": "redis.url", "sentinel": "sentinel.hosts"}

NOT_TLS: Final = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
}
TOO_OLD: Final = {
    "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    "VERSION_TOO_LOW",
}
OWN_REFUSED: Final = {
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the authority that signed",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not take",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it does not take, for its kind or its purpose (is clientAuth allowed?),",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it holds for revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not take",
    "TLSV1_ALERT_ACCESS_DENIED": "it gives no access with",
    "TLSV1_ALERT_DECRYPT_ERROR": "it cannot verify",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that the time of validity is over for",
}
"""What the other side says of our certificate."""
ENDED: Final = (ConnectionResetError, BrokenPipeError, EOFError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
HANDSHAKE_REFUSED: Final = {"SSLV3_ALERT_HANDSHAKE_FAILURE", "NO_SHARED_CIPHER", "NO_CIPHERS_AVAILABLE"}


def explain(
    error: BaseException,
    config: TlsConfig,
    table: Table,
    asked: str,
    names: Sequence[str] = (),
    *,
    answered: bool = False,
) -> str:
    """One line of what it means and what to do; empty where the error is not of TLS.

    ``asked`` is the name that the certificate was to have, ``names`` those that it has, as far as they are known.
    """
    chain = [*_behind(error)]
    for one in chain:
        if isinstance(one, HandshakeFailed) and one.args:
            return str(one)
        if isinstance(one, ClearText):
            return TOLD + _not_tls(table)
        if isinstance(one, ssl.SSLCertVerificationError):
            return TOLD + _refused(one, config, table, asked, names)
        if isinstance(one, ssl.SSLError) and not isinstance(one, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return TOLD + _alert(one, config, table)
        if isinstance(one, ConnectionAbortedError):
            return f"{TOLD}no answer to the handshake in time"
    if answered or not has_ended(error):
        return ""
    hint = "" if config.cert_file else f"; if it asks for a client certificate, set {_own_keys(table)}"
    return f"{TOLD}it closed the connection right behind the handshake, or within it, and did not say why{hint}"


def _refused(
    error: ssl.SSLCertVerificationError, config: TlsConfig, table: Table, asked: str, names: Sequence[str]
) -> str:
    """What is wrong with the server's certificate."""
    code = error.verify_code
    if code in WRONG_NAME:
        has = f"is for {', '.join(names)}" if names else "is for other names"
        mend = f"set {table}.server_name to a name that it has, or have one made that names {asked}"
        return f"its certificate {has}, and not for {asked}: {mend}"
    if code == EXPIRED:
        return "its certificate, or that of an authority above it, has expired: renew it there; or this host's clock is wrong"
    if code == NOT_YET:
        return "its certificate is not valid yet: set the clock of this host, or of the one that made the certificate"
    if code in UNKNOWN_CA:
        where = authorities(config, table)
        return (
            f"its certificate is signed by none of {where}: put the authority that signed it into {table}.ca_file, "
            "or have the server show the certificates between"
        )
    if code == PURPOSE:
        return "its certificate is not made for servers (extended key usage without serverAuth): have one made that is"
    if code in TOO_WEAK:
        return f"its certificate is refused: {WEAK}; have a stronger one made"
    return f"its certificate is refused: {plain(error.verify_message)}"


def authorities(config: TlsConfig, table: Table) -> str:
    """Whose signature counts."""
    paths = [f"{key} {path}" for key, path in (("ca_file", config.ca_file), ("ca_path", config.ca_path)) if path]
    if paths:
        return f"the authorities in {' and '.join(f'{table}.{path}' for path in paths)}"
    return f"the authorities of this host's system ({table}.ca_file is not set)"


def _alert(error: ssl.SSLError, config: TlsConfig, table: Table) -> str:
    """What the other side refuses, or sends that is no TLS."""
    reason = error.reason or ""
    own = f"the client certificate {table}.cert_file {config.cert_file}"
    needs = f"set {_own_keys(table)}"
    if reason in NOT_TLS:
        return _not_tls(table)
    if reason in TOO_OLD:
        return "it speaks no TLS of version 1.2 or later: update it, or correct its list of protocols"
    if reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED" or (reason in OWN_REFUSED and not config.cert_file):
        got = f", and did not take {own}" if config.cert_file else f": {needs}"
        return f"it asks for a client certificate{got}"
    if reason in OWN_REFUSED:
        mend = "have it renewed" if "EXPIRED" in reason else "have one made by an authority that the server is told of"
        return f"{OWN_REFUSED[reason]} {own}: {mend}"
    if reason in HANDSHAKE_REFUSED:
        if config.cert_file:
            return "it refuses the handshake: it has no cipher, or no kind of key, in common with this host's OpenSSL"
        return f"it refuses the handshake: if it asks for a client certificate, {needs}"
    if reason == "TLSV1_UNRECOGNIZED_NAME":
        return f"it has no certificate for the name that it is asked for: set {table}.server_name"
    return f"the handshake failed: {plain(reason or str(error)).lower().replace('_', ' ')}"


def _not_tls(table: Table) -> str:
    return f"it speaks clear text there, and no TLS: name its TLS port in {PLACE[table]}, or set {CLEAR_HERE[table]}"


def in_vain(table: Table) -> str:
    """For a server that closes a connection in clear text before its first answer."""
    return (
        f"{TOLD}it closed a connection in clear text before any answer; if that port speaks TLS, set {TLS_HERE[table]}"
    )


def _own_keys(table: Table) -> str:
    return f"{table}.cert_file and {table}.key_file"


def has_ended(error: BaseException) -> bool:
    """Whether it says that the other side has ended a connection that there was."""
    return any(isinstance(one, ENDED) for one in _behind(error))


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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
                    _changed, replace(config, cert_file=None, key_file=None), (), timeout=timeout, what="the files"
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


# The files; all of this runs in a thread


def _changed(config: TlsConfig, seen: Looks) -> tuple[Context | None, Looks]:
    """The context, None where all files look as they were ``seen``; and what they look like. Raises Wrong."""
    looks = tuple(_looks(config))
    if looks == seen and seen:
        return None, seen
    return _made(config), looks or (("", 0, 0, 0),)


def _looks(config: TlsConfig) -> Iterator[tuple[str, int, int, int]]:
    named = (("ca_file", config.ca_file), ("cert_file", config.cert_file), ("key_file", config.key_file))
    for key, path in named:
        if path:
            yield _stat(key, path)
    if config.ca_path:
        for path in _folder(config.ca_path):
            yield _stat("ca_path", path)


def _stat(key: str, path: Path) -> tuple[str, int, int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise Wrong(key, f"{path}: {error.strerror}") from None
    return str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino


def _folder(path: Path) -> list[Path]:
    try:
        return sorted(one for one in path.iterdir() if one.is_file())[:MAX_FILES]
    except OSError as error:
        raise Wrong("ca_path", f"{path}: {error.strerror}") from None


def _made(config: TlsConfig) -> Context:
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what the operator names is trusted, be it no root
    if not config.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if config.ca_file:
        _trust(context, "ca_file", config.ca_file)
    if config.ca_path:
        files = _folder(config.ca_path)
        if not sum(_holds_certificate("ca_path", path) and _trust(context, "ca_path", path) for path in files):
            raise Wrong("ca_path", f"{config.ca_path}: no file in it holds a certificate")
    if not config.ca_file and not config.ca_path:
        context.load_default_certs()
    if config.cert_file:
        _show(context, config.cert_file, config.key_file)
    return context


def _trust(context: Context, key: str, path: Path) -> bool:
    if not _holds_certificate(key, path):
        raise Wrong(key, f"{path}: holds no certificate in PEM")
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise Wrong(key, f"{path}: {_said(error)}") from None
    except OSError as error:
        raise Wrong(key, f"{path}: {error.strerror}") from None
    return True


def _show(context: Context, cert: Path, key: Path | None) -> None:
    if not _holds_certificate("cert_file", cert):
        raise Wrong("cert_file", f"{cert}: holds no certificate in PEM")
    where = "key_file" if key else "cert_file"
    if b"PRIVATE KEY-----" not in _content(where, key or cert):
        lacks = "holds no private key in PEM"
        raise Wrong(where, f"{key}: {lacks}" if key else f"{cert}: {lacks}, and key_file is not set")

    def encrypted() -> str:
        raise Wrong(
            where,
            f"{key or cert}: the key is encrypted; take its password off (openssl pkey) and let nobody else read it",
        )

    try:
        context.load_cert_chain(cert, key, password=encrypted)
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise Wrong(where, f"{key or cert}: is not the key of the certificate in {cert}") from None
        raise Wrong("cert_file", f"{cert}: {_said(error)}") from None
    except OSError as error:
        raise Wrong("cert_file", f"{cert}, {key or cert}: {error.strerror}") from None


def _said(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if re.search("TOO_SMALL|TOO_WEAK", reason):
        return WEAK
    return f"cannot be read as PEM ({plain(reason or str(error)).lower().replace('_', ' ')})"


def _holds_certificate(key: str, path: Path) -> bool:
    return re.search(rb"-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----", _content(key, path)) is not None


def _content(key: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise Wrong(key, f"{path}: {error.strerror}") from None
    if len(content) > MAX_FILE:
        raise Wrong(key, f"{path}: is larger than {MAX_FILE >> 20} MiB")
    return content
