"""The agent's token for Consul: rotated without a word, revoked with one, and what is registered with it follows."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from consul_redis_agent.config import load
from consul_redis_agent.consul.api import ConsulAPI, consul_api
from consul_redis_agent.errors import ConsulDenied, TokenUnknown
from consul_redis_agent.watch import token as module
from consul_redis_agent.watch.token import TokenWatch


@dataclass
class Servers:
    """Consul as far as tokens go: those in ``known`` are; a query with an index waits until ``changed``."""

    known: set[str]
    status: int = 200
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the client or the test has had enough
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            first, *lines = head.decode().rstrip().split("\r\n")
            headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
            await reader.readexactly(int(headers.get("content-length", 0)))
            token, (method, target, _) = headers.get("x-consul-token", ""), first.split()
            self.asked.append((method, target, token))
            if "index=" in target and token in self.known:
                await self.changed.wait()
            status, body = (200, '{"Results": []}') if token in self.known else (403, "rpc error: ACL not found")
            if self.status != 200:
                status, body = self.status, "not here"
            elif target.startswith("/v1/acl") and status == 200:
                body = json.dumps({"SecretID": token})
            said = f"HTTP/1.1 {status} X\r\nX-Consul-Index: 7\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            writer.write(said.encode())

    def revoke(self, token: str) -> None:
        self.known.discard(token)
        self.changed.set()


@asynccontextmanager
async def consul(tmp_path: Path, *known: str) -> AsyncIterator[tuple[Servers, ConsulAPI, Path]]:
    """A Consul, an agent's way to it, and the file with the first of the tokens."""
    servers, file = Servers({*known}), tmp_path / "token"
    file.write_text(known[0])
    listening = await asyncio.start_server(servers.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    flags = {"consul.url": f"http://127.0.0.1:{port}", "consul.token_file": str(file)}
    api = consul_api(load(None, {}, flags).consul)
    try:
        yield servers, api, file
    finally:
        await api.close()
        for task in servers.tasks:
            task.cancel()
        await asyncio.gather(*servers.tasks, return_exceptions=True)
        listening.close()
        await asyncio.sleep(0)  # aborted transports close in the next turn


@asynccontextmanager
async def watched(api: ConsulAPI) -> AsyncIterator[list[str]]:
    """The watch runs; each change of what it says."""
    said: list[str] = []
    task = asyncio.create_task(TokenWatch(api, lambda: said.append(api.token_error)).run())
    try:
        yield said
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the deadline ends it
            await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.01)


async def test_a_request_with_the_old_token_is_sent_again_with_the_new_one(tmp_path: Path) -> None:
    """The file is looked at in that moment, not up to a second later; nobody hears of a refusal."""
    async with consul(tmp_path, "old", "new") as (servers, api, file):
        await api.check_update("c", "passing", "")
        file.write_text("new")
        servers.revoke("old")
        await api.txn([])
        await api.check_update("c", "passing", "")
        assert [token for _, _, token in servers.asked] == ["old", "old", "new", "new"]
        assert api.token_number == 2


async def test_a_token_that_is_refused_is_an_error_of_its_own(tmp_path: Path) -> None:
    """It is sent once where the file has no other, and the message does not show it."""
    async with consul(tmp_path, "secret-word") as (servers, api, _):
        servers.revoke("secret-word")
        with pytest.raises(TokenUnknown) as caught:
            await api.txn([])
        assert len(servers.asked) == 1
        assert "secret-word" not in str(caught.value)
        assert isinstance(caught.value, ConsulDenied)


async def test_a_revoked_token_is_said_once_and_its_successor_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The query that waits for its end wakes; after that it is asked again and again, with what the file has then."""
    caplog.set_level(logging.INFO)
    async with consul(tmp_path, "old") as (servers, api, file), watched(api) as said:
        await until(lambda: any("index=7" in target for _, target, _ in servers.asked))
        assert said == []
        servers.revoke("old")
        await until(lambda: len(servers.asked) > 6)
        assert said == [module.REFUSED]
        before = api.token_number
        servers.known.add("new")
        file.write_text("new")
        await until(lambda: said[1:])
        assert said == [module.REFUSED, ""]
        assert api.token_number > before
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "old" not in caplog.text
    assert "new" not in caplog.text.replace("nothing new", "")


async def test_a_rotation_is_no_revocation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file has another token when the old one ends: nothing is said."""
    async with consul(tmp_path, "old", "new") as (servers, api, file), watched(api) as said:
        await until(lambda: any("index=7" in target for _, target, _ in servers.asked))
        file.write_text("new")
        servers.revoke("old")
        await until(lambda: servers.asked[-1][2] == "new")
        servers.changed.clear()
        await until(lambda: "index=7" in servers.asked[-1][1])
        assert said == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("status", [401, 403, 404, 400])
async def test_where_it_cannot_be_asked_nothing_is_said(tmp_path: Path, status: int) -> None:
    """Without ACLs, or where a proxy or `block_endpoints` keeps that path away: nothing is known, and it is not asked all the time."""
    async with consul(tmp_path, "old") as (servers, api, _), watched(api) as said:
        servers.status = status
        await until(lambda: servers.asked)
        await asyncio.sleep(0.1)
        assert (said, len(servers.asked)) == ([], 1)


async def test_a_silent_consul_is_no_revocation(tmp_path: Path) -> None:
    """What was known stays so, and it is asked again."""
    async with consul(tmp_path, "old") as (servers, api, _), watched(api) as said:
        servers.status = 500
        await until(lambda: len(servers.asked) > 3)
        assert said == []
        servers.status = 200
        servers.revoke("old")
        await until(lambda: said)
        servers.status = 500
        at = len(servers.asked)
        await until(lambda: len(servers.asked) > at + 3)
        assert said == [module.REFUSED]
