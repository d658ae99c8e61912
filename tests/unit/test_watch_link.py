"""One connection to Redis, with servers that do not keep to the protocol."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from consul_redis_agent.config import Secret, read_secret
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch import lookout
from consul_redis_agent.watch.link import ANSWER_LIMIT, Link


class Server(asyncio.Protocol):
    """Answers whatever it is asked with the same bytes."""

    def __init__(self, answer: bytes, connections: list[asyncio.Transport]) -> None:
        self.answer, self.connections = answer, connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.connections.append(transport)

    def data_received(self, data: bytes) -> None:
        self.connections[-1].write(self.answer)


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[tuple[Address, list[asyncio.Transport]]]:
    """Such a server's address, and its connections."""
    connections: list[asyncio.Transport] = []
    server = await asyncio.get_running_loop().create_server(lambda: Server(answer, connections), "127.0.0.1", 0)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1]), connections
        for connection in connections:
            connection.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"*4000000000\r\n",
        b"*99999999999999999999\r\n",
        b"*1\r\n" * 5000,
        b"$-7\r\n",
        b":1x\r\n",
        b"$%d\r\n" % (2 * ANSWER_LIMIT) + b"x" * (2 * ANSWER_LIMIT),
        b"+" + b"x" * (2 * ANSWER_LIMIT),
    ],
    ids=["HTTP", "count", "huge count", "depth", "length", "number", "bulk", "line"],
)
async def test_what_is_not_an_answer_is_none(answer: bytes) -> None:
    """Whatever comes instead of an answer is named within the deadline, without filling the memory."""
    async with serving(answer) as (address, _):
        link = Link(address, timeout=5)
        with pytest.raises(Unanswered):
            await link.ask(("PING",))
        assert not link.open


async def test_a_refused_command_among_others() -> None:
    """Each command has its own answer, and a refused one spoils no other."""
    async with serving(b"*2\r\n$2\r\nip\r\n$4\r\n6379\r\n-ERR no\r\n$-1\r\n") as (address, _):
        link = Link(address, timeout=5)
        first, refused, nothing = await link.ask(("A",), ("B",), ("C",))
        await link.close()
    assert (first, nothing) == (["ip", "6379"], None)
    assert isinstance(refused, ResponseError)


async def test_a_connection_is_none_before_it_is_made() -> None:
    """Who asked on it in just that moment would make a second one, on which the first one's question is lost."""
    async with serving(b"+PONG\r\n") as (address, connections):
        link = Link(address, timeout=5)
        making = asyncio.create_task(link.connect())
        await asyncio.sleep(0)
        before = link.open
        await making
        assert (before, link.open, len(connections)) == (False, True, 1)
        await link.close()


async def test_the_end_of_a_connection_is_told_at_once() -> None:
    """The server closes an idle connection: who waits for that is called, and the next question connects anew."""
    closed = asyncio.Event()
    async with serving(b"+PONG\r\n") as (address, connections):
        link = Link(address, timeout=5, closed=closed.set)
        assert await link.ask(("PING",)) == ["PONG"]
        connections[0].close()
        await asyncio.wait_for(closed.wait(), 5)
        assert not link.open
        assert await link.ask(("PING",)) == ["PONG"]
        assert len(connections) == 2
        await link.close()


async def test_a_password_on_a_mount_that_hangs_costs_its_own_login_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is named, nobody else waits, and the login comes with the file."""
    over = threading.Event()
    for name in ("hung", "well"):
        (tmp_path / name).write_text("word")

    def read(path: Path) -> Secret | None:
        if path.name == "hung":
            over.wait()
        return read_secret(path)

    monkeypatch.setattr(lookout, "read_secret", read)
    async with serving(b"+OK\r\n") as (address, _):
        hung, well = (
            Link(address, timeout=1, password=lookout.password(None, tmp_path / name)) for name in ("hung", "well")
        )
        asking = asyncio.create_task(hung.ask(("PING",)))
        await asyncio.sleep(0.01)
        assert await well.ask(("PING",)) == ["OK"]
        assert not asking.done()
        with pytest.raises(Unanswered) as caught:
            await asking
        assert str(caught.value) == f"no password for it: {tmp_path}/hung: its file system did not answer within 1 s"
        over.set()
        assert await hung.ask(("PING",)) == ["OK"]
        await hung.close()
        await well.close()


async def test_a_pipe_as_password_file_is_named(tmp_path: Path) -> None:
    """It would wait for a writer; the login is refused instead, with what to do."""
    os.mkfifo(tmp_path / "pipe")
    link = Link(Address("127.0.0.1", 1), timeout=1, password=lookout.password(None, tmp_path / "pipe"))
    with pytest.raises(Unanswered) as caught:
        await link.connect()
    assert str(caught.value) == (
        f"no password for it: {tmp_path}/pipe: is a pipe, no regular file, and is not read: "
        "put what it should hold into a file"
    )


async def test_a_given_password_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does none."""
    monkeypatch.delattr(lookout, "FILES")
    assert await lookout.password(Secret("word"), Path("/nowhere"))() == "word"
    assert await lookout.password(None, None)() is None
