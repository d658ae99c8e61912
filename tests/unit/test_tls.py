"""TLS: contexts that follow their files, what is said of each thing that can be wrong, and links that lose nothing by it."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import ssl
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from consul_redis_agent import in_clear
from consul_redis_agent.config import Config, Secret, TlsConfig, load
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import ConsulDenied, ConsulError, ConsulUnreachable, LocalError, Unanswered
from consul_redis_agent.tls import TOLD, Table, Tls, Trust, explain, trust
from consul_redis_agent.tls import context as tls_context
from consul_redis_agent.watch.link import Link
from tests.fleet import Certificates, Pair

DAY = dt.timedelta(days=1)
LEADER = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n"127.0.0.1:8300"'


@dataclass(eq=False)
class Stage:
    """Authorities, and certificates of each kind."""

    folder: Path
    ca: Certificates = field(init=False)
    other: Certificates = field(init=False)

    def __post_init__(self) -> None:
        self.ca, self.other = Certificates(self.folder), Certificates(self.folder, "other")

    def config(self, shows: Pair | None = None, **options: Any) -> TlsConfig:
        """What a client trusts, and shows."""
        given = TlsConfig(
            ca_file=self.ca.ca, cert_file=shows.cert if shows else None, key_file=shows.key if shows else None
        )
        return replace(given, **options)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("certificates"))


def speaks(shows: Pair, *, asks: Path | None = None, version: str = "") -> ssl.SSLContext:
    """The context of a server that shows this, and may ask for a certificate of an authority; ``version`` is its only one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shows.cert, shows.key)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(asks)
    if version:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers PING as Redis does, and every head of HTTP as Consul does."""
    while line := await reader.readline():
        if line == b"PING\r\n":
            writer.write(b"+PONG\r\n")
        elif line == b"\r\n":
            writer.write(LEADER)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(context: ssl.SSLContext | None, handler: Handler = pong) -> AsyncIterator[Address]:
    """A server on loopback whose connections end with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def answering(context: ssl.SSLContext) -> Iterator[Address]:
    """The same from threads: asyncio's servers keep to themselves why they refuse a handshake, and OpenSSL's say it."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(made: socket.socket) -> None:
        with (
            suppress(OSError),
            made,
            context.wrap_socket(made, server_side=True) as encrypted,
            encrypted.makefile("rb") as lines,
        ):
            while line := lines.readline():
                encrypted.sendall(b"+PONG\r\n" if line == b"PING\r\n" else LEADER if line == b"\r\n" else b"")

    def accept() -> None:
        with suppress(OSError):
            while True:
                made, _ = listening.accept()
                threading.Thread(target=serve, args=(made,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield Address("127.0.0.1", listening.getsockname()[1])
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


async def said(at: Address, config: TlsConfig | None, table: Table) -> str:
    """What a client of this table says of a server that it is not to get on with; a second attempt says the same."""
    for _ in range(2):
        if table == "consul":
            api = ConsulAPI(f"http{'s' if config else ''}://{at}", timeout=1, tls=config)
            with pytest.raises(ConsulUnreachable) as raised:
                await api.leader()
            text = str(raised.value)
            await api.close()
        else:
            link = Link(at, timeout=1, tls=Tls(config, table) if config else None, table=table)
            with pytest.raises(Unanswered) as refused:
                await link.ask(("PING",))
            assert not refused.value.gone
            text = str(refused.value)
            await link.close()
    return text


TABLES: tuple[Table, ...] = ("consul", "redis", "sentinel")


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong: what the server is, what the client has, and what is said (``{t}`` is the table)."""

    server: Callable[[Stage], ssl.SSLContext | None]
    client: Callable[[Stage], TlsConfig]
    words: tuple[str, ...]


WRONG = {
    "authority": Wrong(
        lambda s: speaks(s.other.server("127.0.0.1")),
        lambda s: s.config(),
        (
            "signed by none of the authorities in {t}.ca_file",
            "ca.pem",
            "put the authority that signed it into {t}.ca_file",
        ),
    ),
    "system": Wrong(lambda s: speaks(s.ca.server("127.0.0.1")), lambda s: TlsConfig(), ("({t}.ca_file is not set)",)),
    "expired": Wrong(
        lambda s: speaks(s.ca.issue("old", "127.0.0.1", begins=-3 * DAY, ends=-DAY)),
        lambda s: s.config(),
        ("has expired: renew it there",),
    ),
    "early": Wrong(
        lambda s: speaks(s.ca.issue("young", "127.0.0.1", begins=DAY)),
        lambda s: s.config(),
        ("is not valid yet", "clock"),
    ),
    "address": Wrong(
        lambda s: speaks(s.ca.issue("elsewhere", "10.9.9.9", "db.example")),
        lambda s: s.config(),
        ("db.example, and not for 127.0.0.1", "set {t}.server_name"),
    ),
    "name": Wrong(
        lambda s: speaks(s.ca.issue("elsewhere", "10.9.9.9", "db.example")),
        lambda s: s.config(server_name="cache.example"),
        ("not for cache.example", "set {t}.server_name"),
    ),
    "none shown": Wrong(
        lambda s: speaks(s.ca.server("127.0.0.1"), asks=s.ca.ca),
        lambda s: s.config(),
        ("it asks for a client certificate: set {t}.cert_file and {t}.key_file",),
    ),
    "none shown to 1.2": Wrong(
        lambda s: speaks(s.ca.server("127.0.0.1"), asks=s.ca.ca, version="TLSv1_2"),
        lambda s: s.config(),
        ("client certificate", "set {t}.cert_file and {t}.key_file"),
    ),
    "stranger's shown": Wrong(
        lambda s: speaks(s.ca.server("127.0.0.1"), asks=s.ca.ca),
        lambda s: s.config(s.other.client),
        ("it does not know the authority that signed the client certificate {t}.cert_file", "other-client.crt"),
    ),
    "own expired": Wrong(
        lambda s: speaks(s.ca.server("127.0.0.1"), asks=s.ca.ca),
        lambda s: s.config(s.ca.issue("over", "client.test", begins=-3 * DAY, ends=-DAY)),
        ("the time of validity is over for the client certificate {t}.cert_file", "have it renewed"),
    ),
    "clear text": Wrong(
        lambda s: None, lambda s: s.config(), ("it speaks clear text there, and no TLS", "its TLS port")
    ),
    "old protocol": Wrong(
        lambda s: speaks(s.ca.server("127.0.0.1"), version="TLSv1_1"),
        lambda s: s.config(),
        ("no TLS of version 1.2 or later",),
    ),
    "missing file": Wrong(
        lambda s: speaks(s.ca.server("127.0.0.1")),
        lambda s: s.config(ca_file=s.folder / "none.pem"),
        ("{t}.ca_file: ", "none.pem: No such file or directory"),
    ),
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_is_said_with_its_key_and_what_to_do(stage: Stage, name: str, table: Table) -> None:
    """Each is refused with the cause, never as a server that is gone and never by silence alone, over each kind of connection."""
    wrong = WRONG[name]
    context = wrong.server(stage)
    if context is not None:
        with answering(context) as at:
            text = await said(at, wrong.client(stage), table)
    else:
        async with serving(None, _puzzled) as at:
            text = await said(at, wrong.client(stage), table)
    assert TOLD in text
    for words in wrong.words:
        assert words.format(t=table) in text


async def _puzzled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As Redis takes a TLS hello for the beginning of a line and waits, and Consul says at once that it is no HTTP."""
    first = await reader.read(16)
    if first == b"PING\r\n":
        writer.write(b"-NOAUTH Authentication required.\r\n")
    await reader.read(-1)


@pytest.mark.parametrize("table", TABLES)
async def test_clear_text_spoken_to_a_tls_port_is_said(stage: Stage, table: Table) -> None:
    """A server that closes the connection in clear text, or says that it speaks HTTPS, may want TLS: which key sets that is said."""

    async def offended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(16)
        if table == "consul":
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
            await writer.drain()

    async with serving(None, offended) as at:
        text = await said(at, None, table)
    key = {"consul": "set https:// in consul.url", "redis": "set rediss://", "sentinel": "set sentinel.tls = true"}[
        table
    ]
    assert key in text


async def test_a_server_that_says_nothing_in_the_handshake_is_named_as_silent(stage: Stage) -> None:
    """One that hangs is not taken for a clear-text port, and not for one that is gone."""

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with serving(None, hangs) as at:
        assert "no answer to the handshake in time" in await said(at, stage.config(), "redis")


CODES = {26: "not made for servers", 66: "too weak", 68: "too weak", 18: "put the authority", 99: "is refused: odd"}
REASONS = {
    "TLSV1_UNRECOGNIZED_NAME": "set redis.server_name",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "asks for a client certificate",
    "NO_SHARED_CIPHER": "refuses the handshake",
    "RECORD_LAYER_FAILURE": "clear text",
    "SOMETHING_NEW": "the handshake failed: something new",
}


def test_what_no_test_server_does_has_its_sentence(stage: Stage) -> None:
    """The rest of the table, by OpenSSL's numbers and names; what is not in it is passed on."""
    for code, words in CODES.items():
        refused = ssl.SSLCertVerificationError()
        refused.verify_code, refused.verify_message = code, "odd"
        assert words in explain(refused, stage.config(), "redis", "a")
    for reason, words in REASONS.items():
        error = ssl.SSLError(1, "x")
        error.reason = reason
        assert words in explain(error, stage.config(), "redis", "a")
    assert explain(ConnectionRefusedError(), stage.config(), "redis", "a") == ""
    assert explain(ConnectionResetError(), stage.config(), "redis", "a", answered=True) == ""


# The files


async def other_than(before: ssl.SSLContext, kept: Trust) -> ssl.SSLContext:
    """The next context: a look at the files is waited for only for a moment where there is one already."""
    async with asyncio.timeout(10):
        while (now := await kept.context()) is before:
            kept.doubt()
            await asyncio.sleep(0.01)
    return now


async def test_one_context_serves_all_and_is_made_anew_when_a_file_changes(stage: Stage, tmp_path: Path) -> None:
    """Connections with the same TlsConfig share a context; a rotated certificate gives another one at the next look."""
    own = Certificates(tmp_path)
    mine = own.issue("mine", "client.test")
    config = TlsConfig(ca_file=own.ca, cert_file=mine.cert, key_file=mine.key)
    kept = trust(config)
    assert trust(replace(config, server_name="other.example")) is kept
    first = await kept.context()
    kept.doubt()
    assert await kept.context() is first
    mine.replace(own.issue("next", "client.test"))
    assert await kept.context() is first  # looked at a moment ago
    assert await other_than(first, kept) is not first


async def test_half_of_a_rotation_keeps_the_former_context_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While the certificate is new and the key old, what was read before stays in use; the whole of it is then taken."""
    own = Certificates(tmp_path)
    mine, following = own.issue("mine", "client.test"), own.issue("next", "client.test")
    kept = trust(TlsConfig(ca_file=own.ca, cert_file=mine.cert, key_file=mine.key))
    first = await kept.context()
    mine.cert.write_bytes(following.cert.read_bytes())
    for _ in range(3):
        kept.doubt()
        assert await kept.context() is first
    (record,) = caplog.records
    assert f"key_file: {mine.key}: is not the key of the certificate in {mine.cert}" in record.getMessage()
    assert "the certificates that were read before stay in use" in record.getMessage()
    mine.key.write_bytes(following.key.read_bytes())
    assert await other_than(first, kept) is not first


def encrypted(folder: Path, key: Path) -> Path:
    """The key with a password."""
    loaded = load_pem_private_key(key.read_bytes(), None)
    path = folder / "encrypted.key"
    path.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")))
    return path


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


FILES: dict[str, tuple[Callable[[Stage, Path], TlsConfig], str]] = {
    "no authority": (
        lambda s, f: s.config(ca_file=written(f, "empty", "")),
        "ca_file: {f}/empty: holds no certificate",
    ),
    "a folder": (lambda s, f: s.config(ca_file=f), "ca_file: {f}: Is a directory"),
    "an empty folder": (
        lambda s, f: s.config(ca_file=None, ca_path=f),
        "ca_path: {f}: no file in it holds a certificate",
    ),
    "broken": (
        lambda s, f: s.config(
            ca_file=written(f, "broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        ),
        "ca_file: {f}/broken: cannot be read as PEM",
    ),
    "too large": (
        lambda s, f: s.config(ca_file=written(f, "large", "x" * (tls_context.MAX_FILE + 1))),
        "ca_file: {f}/large: is larger than 4 MiB",
    ),
    "no key": (lambda s, f: s.config(replace(s.ca.client, key=s.ca.ca)), "key_file: {s}/ca.pem: holds no private key"),
    "key nowhere": (lambda s, f: s.config(s.ca.client, key_file=None), "and key_file is not set"),
    "encrypted": (
        lambda s, f: s.config(replace(s.ca.client, key=encrypted(f, s.ca.client.key))),
        "key_file: {f}/encrypted.key: ",
    ),
    "another's key": (
        lambda s, f: s.config(replace(s.ca.client, key=s.other.client.key)),
        "is not the key of the certificate in {s}/ca-client.crt",
    ),
}


@pytest.mark.parametrize("name", FILES)
async def test_a_file_that_cannot_be_used_is_named_with_the_reason(stage: Stage, tmp_path: Path, name: str) -> None:
    """At first use there is nothing to fall back on: key, path and reason are said, and no password is asked for."""
    make, words = FILES[name]
    with pytest.raises(LocalError) as raised:
        await trust(make(stage, tmp_path)).context()
    assert words.format(f=tmp_path, s=stage.folder) in str(raised.value)


async def test_a_folder_of_authorities_counts_whole(stage: Stage, tmp_path: Path) -> None:
    """Every certificate in ca_path is trusted whatever its file is called, and what holds none is passed over."""
    (tmp_path / "any name").write_bytes(stage.ca.ca.read_bytes())
    (tmp_path / "README").write_text("authorities")
    async with serving(speaks(stage.ca.server("127.0.0.1"))) as at:
        link = Link(at, timeout=5, tls=Tls(TlsConfig(ca_path=tmp_path), "redis"))
        assert await link.ask(("PING",)) == ["PONG"]
        await link.close()


async def test_a_file_that_hangs_holds_up_nobody_else(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate on a mount that hangs costs who needs it its own deadline; where there was a context it stays in use."""
    monkeypatch.setattr(tls_context, "MAKING", 0.1)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(stage.ca.ca.read_bytes())
    before = trust(TlsConfig(ca_file=ca))
    context = await before.context()
    ca.unlink()
    os.mkfifo(ca)
    fresh = trust(TlsConfig(ca_file=ca, ca_path=tmp_path))
    before.doubt()
    try:
        with pytest.raises(LocalError, match="ca_file, cert_file or key_file: the file system did not answer"):
            await fresh.context()
        assert await before.context() is context
    finally:
        for _ in range(2):  # lets the threads end
            writing = os.open(ca, os.O_RDWR)
            os.write(writing, b"x")
            os.close(writing)


# The connections


async def test_a_link_over_tls_tells_the_end_of_its_connection_at_once(stage: Stage) -> None:
    """The call-back comes when the server closes, as in clear text: it is the first sign of a failover."""
    closed = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"+PONG\r\n")
        await reader.readline()

    async with serving(speaks(stage.ca.server("127.0.0.1")), once) as at:
        link = Link(at, timeout=5, closed=closed.set, tls=Tls(stage.config(), "redis"))
        assert await link.ask(("PING",)) == ["PONG"]
        with pytest.raises(Unanswered, match="closed"):
            await link.ask(("PING",))
        await asyncio.wait_for(closed.wait(), 5)
        assert not link.open


async def test_an_answer_over_tls_has_its_limit(stage: Stage) -> None:
    """What is counted is what the answer says, not what crosses the wire."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        while True:
            writer.write(b"+" + b"x" * 65536)
            await writer.drain()

    async with serving(speaks(stage.ca.server("127.0.0.1")), endless) as at:
        link = Link(at, timeout=5, tls=Tls(stage.config(), "redis"))
        with pytest.raises(Unanswered, match="larger than"):
            await link.ask(("PING",))


async def test_a_link_resumes_its_session_and_none_of_other_certificates(stage: Stage, tmp_path: Path) -> None:
    """A connection that follows another one to the same server saves a part of the handshake, until a certificate changes."""
    reused: list[bool] = []

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reused.append(writer.get_extra_info("ssl_object").session_reused)
        await pong(reader, writer)

    own = Certificates(tmp_path)
    mine = own.issue("mine", "client.test")
    config = TlsConfig(ca_file=own.ca, cert_file=mine.cert, key_file=mine.key)
    server = speaks(own.server("127.0.0.1"), asks=own.ca)
    async with serving(server, counting) as at:
        link = Link(at, timeout=5, tls=Tls(config, "redis"))
        for _ in range(2):
            assert await link.ask(("PING",)) == ["PONG"]
            await link.close()
        before = await trust(config).context()
        mine.replace(own.issue("next", "client.test"))
        assert await other_than(before, trust(config)) is not before
        assert await link.ask(("PING",)) == ["PONG"]
        await link.close()
    assert reused == [False, True, False]


async def test_consuls_connection_is_kept_over_tls_and_an_unasked_answer_is_not_taken(stage: Stage) -> None:
    """Session tickets, which come by themselves, cost no connection; an answer that nobody asked for does."""
    connections: list[asyncio.StreamWriter] = []

    async def consul(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await pong(reader, writer)

    async with serving(speaks(stage.ca.server("127.0.0.1")), consul) as at:
        api = ConsulAPI(f"https://{at}", timeout=5, tls=stage.config())
        await api._http.warm()
        assert [await api.leader() for _ in range(3)] == ["127.0.0.1:8300"] * 3
        assert len(connections) == 1
        connections[0].write(LEADER.replace(b"127.0.0.1", b"127.6.6.6"))
        await connections[0].drain()
        assert await api.leader() == "127.0.0.1:8300"
        assert len(connections) == 2
        await api.close()


async def test_consul_gets_user_and_password_where_they_are_set() -> None:
    """HTTP basic authentication goes with each request, and whom it is refused is told which key it is."""
    heads: list[bytes] = []

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            heads.append(head)
            known = b"Authorization: Basic YWdlbnQ6d29yZA==" in head
            writer.write(LEADER if known else b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    async with serving(None, guarded) as at:
        api = ConsulAPI(f"http://{at}", timeout=5, auth="agent:word")
        assert await api.leader() == "127.0.0.1:8300"
        await api.close()
        api = ConsulAPI(f"http://{at}", timeout=5)
        with pytest.raises(ConsulDenied, match="set CONSUL_HTTP_AUTH"):
            await api.leader()
        await api.close()
    assert len(heads) == 2


async def test_https_without_a_table_trusts_the_systems_authorities(stage: Stage) -> None:
    """An https URL is never spoken to without a check of its certificate."""
    async with serving(speaks(stage.ca.server("127.0.0.1"))) as at:
        api = ConsulAPI(f"https://{at}", timeout=5)
        with pytest.raises(ConsulError, match="authorities of this host's system"):
            await api.leader()
        await api.close()


# In clear text

AWAY, HERE = Address("192.0.2.7", 6379), Address("127.0.0.1", 6379)


def configured(**tables: Any) -> Config:
    """The defaults, with other values in some tables."""
    base = load(None, {}, {})
    redis = tuple(replace(one, **tables.pop("redis", {})) for one in base.redis)
    return replace(base, redis=redis, **{name: replace(getattr(base, name), **given) for name, given in tables.items()})


SECRET = Secret("word")
CLEAR: dict[str, tuple[Config, tuple[Address, ...], tuple[Address, ...], list[str]]] = {
    "defaults": (configured(), (AWAY,), (AWAY,), []),
    "token": (
        configured(consul={"url": "http://consul.example:8500", "token_file": Path("/t")}),
        (), (), ["the ACL token would cross the network to consul.example"],
    ),
    "auth": (configured(consul={"url": "http://192.0.2.7:8500", "auth": SECRET}), (), (), ["CONSUL_HTTP_AUTH would cross"]),
    "no token": (configured(consul={"url": "http://192.0.2.7:8500"}), (), (), []),
    "token here": (configured(consul={"token": SECRET}), (), (), []),
    "token over a socket": (configured(consul={"url": "unix:///c", "token": SECRET}), (), (), []),
    "token over TLS": (
        configured(consul={"url": "https://192.0.2.7:8501", "token": SECRET, "tls": TlsConfig()}), (), (), [],
    ),
    "unchecked": (
        configured(consul={"url": "https://192.0.2.7:8501", "tls": TlsConfig(verify=False)}),
        (), (), ["CONSUL_HTTP_SSL_VERIFY=false"],
    ),
    "redis": (
        configured(redis={"host": "192.0.2.7", "password": SECRET}), (), (), ["redis 192.0.2.7:6379: its password would cross"],
    ),
    "redis here": (configured(redis={"password": SECRET}), (), (HERE,), []),
    "redis' peers": (configured(redis={"password": SECRET}), (), (HERE, AWAY), ["as to 192.0.2.7:6379"]),
    "redis over TLS": (configured(redis={"password": SECRET, "host": "192.0.2.7", "tls": TlsConfig()}), (), (AWAY,), []),
    "sentinel": (
        configured(sentinel={"password": SECRET, "hosts": (HERE, AWAY)}), (), (), ["set sentinel.tls = true"],
    ),
    "sentinel learned": (
        configured(sentinel={"password_file": Path("/p")}), (AWAY,), (), ["Sentinels' password would cross"],
    ),
    "sentinel over TLS": (configured(sentinel={"password": SECRET, "tls": TlsConfig()}), (AWAY,), (), []),
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAR)
def test_what_would_cross_a_network_in_clear_text_is_told(name: str) -> None:
    """Tokens and passwords that leave this host unencrypted, and certificates that nobody checks; nothing else is."""
    config, sentinels, peers, words = CLEAR[name]
    found = [str(one) for one in in_clear.exposed(config, sentinels, peers)]
    assert len(found) == len(words)
    for text, expected in zip(found, words, strict=True):
        assert expected in text
        assert "word" not in text.replace("password", "")


def test_a_running_agent_warns_once_of_each(caplog: pytest.LogCaptureFixture) -> None:
    """At the start of what the configuration shows, and of Sentinels and nodes when they are learned; the first is enough."""
    warnings_ = in_clear.Warnings(configured(sentinel={"password": SECRET}, redis={"password": SECRET}))
    warnings_.begin()
    assert not caplog.records
    for host in ("192.0.2.7", "192.0.2.8"):
        warnings_.learned([Address(host, 26379)], [Address(host, 6379)])
    assert len(caplog.records) == 2
