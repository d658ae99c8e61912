"""The context that connections share: made of the files of one TlsConfig, beside the event loop, and anew when they change."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

from consul_redis_agent.beside import FILE_TIMEOUT, FILES
from consul_redis_agent.config import TlsConfig
from consul_redis_agent.errors import LocalError
from consul_redis_agent.marked import event
from consul_redis_agent.text import plain
from consul_redis_agent.tls.words import WEAK

log = logging.getLogger(__name__)

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

SESSION: ContextVar[ssl.SSLSession | None] = ContextVar("SESSION", default=None)
"""The session that the connection begun in this context resumes, of the same server and the same SSLContext: asyncio hands none on."""


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
                changed,
                self._config,
                self._seen,
                timeout=MAKING,
                what="ca_file, cert_file or key_file: the file system",
            )
            self._context, self._problem = fresh or self._context, ""
        except (LocalError, Wrong) as error:
            problem = f"{error.key}: {error.why}" if isinstance(error, Wrong) else str(error)
            if problem != self._problem and self._context is not None:
                mark = event("certificates_unreadable", error=problem)
                log.warning("%s; the certificates that were read before stay in use", problem, extra=mark)
            self._problem, self._seen = problem, ()


_KEPT: WeakValueDictionary[TlsConfig, Trust] = WeakValueDictionary()


def trust(config: TlsConfig) -> Trust:
    """The one of these files, whatever name is asked for: all connections share it, since each context costs memory."""
    config = replace(config, server_name=None)
    kept = _KEPT.get(config)
    if kept is None:
        kept = _KEPT[config] = Trust(config)
    return kept


# The files; all of this runs in a thread


def changed(config: TlsConfig, seen: Looks) -> tuple[Context | None, Looks]:
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
