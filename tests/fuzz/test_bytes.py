"""Any bytes from outside end in a value of ours, or in an error of ours with its reason, in bounded time.

What Redis, Sentinel and Consul say is in ``tests/unit/test_from_outside.py``, as values and as bytes.
"""

from __future__ import annotations

import asyncio
import struct
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import h11
from hypothesis import example, given
from hypothesis import strategies as st

from consul_redis_agent import state
from consul_redis_agent.commands.lookup import DnsError, srv
from consul_redis_agent.config.durations import format_duration, parse_duration
from consul_redis_agent.config.load import load
from consul_redis_agent.config.schema import KEYS
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.decide.memory import NOTHING
from consul_redis_agent.errors import ConfigError
from consul_redis_agent.tell import shelf
from consul_redis_agent.tell.pages import Pages
from consul_redis_agent.tell.server import Server

from .effort import changed, effort

DEEP = [b"[" * 5000, b"{" * 5000, b"[{" * 3000]
ROOT = Path(__file__).parents[2]


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(8):
            await test

    asyncio.run(bounded())


@contextmanager
def refusing(kind: type[Exception]) -> Iterator[None]:
    """What is refused, is refused in lines that a log or a terminal may show."""
    said = ""
    try:
        yield
    except kind as error:
        said = str(error)
    assert all(line.isprintable() and len(line) < 2000 for line in said.splitlines()), said


# --- what people write ------------------------------------------------------------------------------------------------

EXAMPLE = (ROOT / "config/consul-redis-agent.toml").read_bytes()
FILES = [
    b"",
    b"[service]\ntags = " + DEEP[0],
    b'[[redis]]\nurl = "redis://a@h:6379/0"\n[service]\nmeta = { a = "b" }\nttl = "10s"\n',
    EXAMPLE[:3000].replace(b"\n#", b"\n"),
]
WORDS = [*DEEP, *(f"[{key.table}]\n{key.name} = ".encode() for key in KEYS), b'"', b"'''", b"1e999", b"2026-11-26", b"unix:///", b"[::1]:"]  # fmt: skip


@effort(80)
@given(changed(FILES, WORDS))
@example(FILES[1])
def test_any_file_is_a_configuration_or_refused(data: bytes) -> None:
    """With every mistake, in lines that can be shown."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with refusing(ConfigError):
            load(Path(file.name), {}, {})


environment = st.dictionaries(
    st.sampled_from([name for key in KEYS for name in (key.env, key.tools) if name]) | st.text(max_size=8).map("CRA_{}".format),
    changed([b"redis://127.0.0.1:6379", b"10s", b"a=b,c=d", b"a:1,[::1]:2", b"true", b"/etc/x"], [*WORDS, b",", b"="]).map(
        lambda data: data.decode(errors="surrogateescape").replace("\0", "")
    ),
    max_size=4,
)  # fmt: skip


@effort(50)
@given(environment)
@example({"CRA_SENTINEL_HOSTS": "[" * 5000 + ":1"})
def test_any_environment_is_a_configuration_or_refused(given_: dict[str, str]) -> None:
    """The same, and also for bytes that are no text."""
    with refusing(ConfigError):
        load(None, given_, {})


@effort(80)
@given(
    changed([b"10s", b"1m30s250ms", b"1.5h"], [b"ms", b"s", b".", b"-", b"e9"]).map(
        lambda data: data.decode(errors="replace")
    )
)
def test_any_duration_is_seconds_or_refused(text: str) -> None:
    """And what is read can be written, and read again."""
    with suppress(ValueError):
        seconds = parse_duration(text)
        assert seconds >= 0
        if seconds < 1e6:
            assert abs(parse_duration(format_duration(seconds)) - seconds) < 1e-6


# --- what an earlier run has left -------------------------------------------------------------------------------------

KEPT = [*DEEP, b'{"group": "g", "had_sentinel": true}\n']
EPISODE = b'{"node":"127.0.0.1:6379","service":"redis","kind":"failover","began":1.5,"ended":2.5,"sentence":"s","events":[{"at":0.5,"lane":"redis","name":"n","text":"t"}],"seconds":{"two":0,"none":0},"lost":{"stray_writes":0}}\n'  # fmt: skip


@effort(60)
@given(changed(KEPT, DEEP), changed([EPISODE, EPISODE * 2, *DEEP], [*DEEP, b"null", b"NaN", b"-1"]))
@example(DEEP[0], DEEP[0])
def test_any_state_is_what_was_kept_or_as_if_nothing_was(kept: bytes, history: bytes) -> None:
    """A file that a crash or a hand has spoilt stops no start."""
    with tempfile.TemporaryDirectory() as folder:
        state.save(Path(folder), "a", NOTHING)
        (written,) = Path(folder).iterdir()
        written.write_bytes(kept)
        (Path(folder) / shelf.FILE).write_bytes(history)
        (Path(folder) / "agent-id").write_bytes(kept)
        memory = state.load(Path(folder), "a")
        assert isinstance(memory.group, str)
        state.kept_id(Path(folder))
        for text in shelf.Shelf(Path(folder)).texts():
            assert text.startswith(b"{")


# --- who asks over HTTP -----------------------------------------------------------------------------------------------

NODE: dict[str, Any] = {"node": "127.0.0.1:6379", "service": "redis", "address": "10.0.0.1:6379", "ready": True, "decision": "replica", "published": "replica", "decided_ago": 0.5, "lag": 1.0, "entries": []}  # fmt: skip
REQUESTS = [
    b"GET /replica?lag=5s&node=127.0.0.1:6379 HTTP/1.1\r\nHost: 127.0.0.1:9618\r\n\r\n",
    b"HEAD /status HTTP/1.1\r\nHost: [::1]:9618\r\nContent-Length: 3\r\n\r\nabc",
    b"OPTIONS /master?service=redis HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
]
PARTS = [
    b"\r\n",
    b": ",
    b"Host: ",
    b"%",
    b"%00",
    b"%ff",
    b"&",
    b"?",
    b"lag=",
    b"/history",
    b"/metrics",
    b"\xff",
    b"HTTP/1.1",
    b"xn--",
    b".",
]


@effort(60)
@given(changed(REQUESTS, PARTS))
def test_any_request_is_answered_or_cut_off(request: bytes) -> None:
    """With a whole answer of HTTP, and never with a mistake of ours."""

    def pages() -> Pages:
        return Pages(
            snapshot=lambda: {"nodes": [NODE]}, metrics=lambda: b"", healthy=lambda: (True, ""), history=lambda: b"{}"
        )

    async def test() -> None:
        with tempfile.TemporaryDirectory() as folder:
            server = Server(pages())
            await server.listen_unix(Path(folder) / "s")
            reader, writer = await asyncio.open_unix_connection(Path(folder) / "s")
            with suppress(ConnectionError):
                writer.write(request)
                writer.write_eof()
                await writer.drain()
            said = b""
            with suppress(ConnectionError):
                said = await reader.read()
            writer.close()
            await server.close()
            if said:
                client = h11.Connection(h11.CLIENT)
                method = b"HEAD" if request.startswith(b"HEAD ") else b"GET"
                client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
                client.receive_data(said)
                response = client.next_event()
                assert isinstance(response, h11.Response)
                assert response.status_code != 500, said

    run(test())


# --- what DNS answers -------------------------------------------------------------------------------------------------

NAME = "redis.service.consul"
QUESTION = dns.message.make_query(NAME, "SRV", id=0)
REPLY = dns.message.from_text(f"""id 0
opcode QUERY
rcode NOERROR
flags QR AA
;QUESTION
{NAME}. IN SRV
;ANSWER
{NAME}. 7 IN SRV 1 1 6379 a.node.consul.
{NAME}. 7 IN SRV 1 1 6379 b.node.consul.
;ADDITIONAL
a.node.consul. 7 IN A 10.0.0.1
b.node.consul. 7 IN AAAA fd00::1
""").to_wire()
CUT = struct.pack("!HH", 0, dns.flags.QR | dns.flags.TC) + REPLY[4:]


class _Says(asyncio.DatagramProtocol):
    """Answers with the id of the question, and these bytes behind it."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data[:2] + self.reply[2:], addr)


@effort(30)
@given(changed([REPLY, CUT, QUESTION.to_wire()], [b"\xc0\x0c", b"\0\x21", b"\0\1", b"\0\x1c", b"\x3f" + b"x" * 63]))
def test_any_answer_of_dns_is_one_or_named(reply: bytes) -> None:
    """Over UDP; where it says that it is cut off, nothing listens for the second question."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Says(reply[:4096]), local_addr=("127.0.0.1", 0))
        try:
            with refusing(DnsError):
                answers = await srv(NAME, Address(*transport.get_extra_info("sockname")), 0.05)
                assert all(0 <= answer.port <= 65535 for answer in answers)
        finally:
            transport.close()

    run(test())
