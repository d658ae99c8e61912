"""The adapter under python-consul2, against servers that misbehave on purpose."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from consul_redis_agent import names
from consul_redis_agent.config import ConsulConfig, Secret, load, read_secret
from consul_redis_agent.consul import api as consul_api
from consul_redis_agent.consul import http as consul_http
from consul_redis_agent.consul.api import ConsulAPI, TokenSource
from consul_redis_agent.consul.http import HTTPClient, TransactionConflict, no_token
from consul_redis_agent.errors import (
    ConsulConflict,
    ConsulDenied,
    ConsulError,
    ConsulUnknown,
    ConsulUnreachable,
    LocalError,
    TokenUnknown,
)
from consul_redis_agent.text import plain

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]

SERVICE = {"Name": "redis", "ID": "redis-1", "Port": 6379, "Check": {"CheckID": "c", "TTL": "10s", "Status": "passing"}}
ENTRY: dict[str, Any] = {
    "Node": {"Node": "n1", "Address": "10.0.0.1"},
    "Service": {"ID": "redis-1", "Service": "redis", "Address": "10.0.0.1", "Port": 6379, "Tags": None, "Meta": None},
    "Checks": [{"Node": "n1", "CheckID": "c", "Status": "passing", "ServiceID": "redis-1"}],
}


def answer(body: object = None, status: str = "200 OK", **headers: str) -> bytes:
    """A whole HTTP answer; ``body`` is text as it is, anything else as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(text.encode())}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", text]).encode()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """No answer but the end of the connection."""
    writer.close()


async def silence(writer: asyncio.StreamWriter) -> None:
    """No answer at all."""
    await asyncio.get_running_loop().create_future()


def then_hang_up(data: bytes) -> Answer:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return say


def drip(head: bytes, drop: bytes) -> Answer:
    """``head``, then ``drop`` for ever."""

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0)

    return say


@dataclass
class FakeConsul:
    """Gives its answers in turn, one for each request, whatever the request is."""

    answers: list[Answer]
    connections: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.connections += 1
        try:
            while not writer.is_closing() and (head := await reader.readuntil(b"\r\n\r\n")):
                first, *lines = head.decode().rstrip().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines)
                body = await reader.readexactly(int(headers.get("content-length", headers.get("Content-Length", 0))))
                self.requests.append((first, headers, body))
                self.asked.set()
                say = self.answers.pop(0)
                if isinstance(say, bytes):
                    writer.write(say)
                else:
                    watcher = asyncio.ensure_future(say(writer))
                    ended = asyncio.ensure_future(reader.read())
                    await asyncio.wait({watcher, ended}, return_when=asyncio.FIRST_COMPLETED)
                    watcher.cancel()
                    ended.cancel()
                    await asyncio.gather(watcher, ended, return_exceptions=True)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the client or the test has had enough
        finally:
            self.ended.set()
            writer.transport.abort()


async def known_token() -> str:
    return "s3cret"


@asynccontextmanager
async def consul(*answers: Answer) -> AsyncIterator[tuple[ConsulAPI, FakeConsul]]:
    fake = FakeConsul(list(answers))
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    api = ConsulAPI(f"http://{host}:{port}", timeout=5.0, token=known_token)
    try:
        yield api, fake
    finally:
        await api.close()
        for task in fake.tasks:
            task.cancel()
        await asyncio.gather(*fake.tasks, return_exceptions=True)
        server.close()
        await asyncio.sleep(0)  # aborted transports close in the next turn


async def test_requests_share_a_kept_alive_connection() -> None:
    """Requests one after another use one connection, each with the token in its header and nowhere else."""
    async with consul(answer({}), answer({}), answer("")) as (api, fake):
        await api.services()
        await api.checks()
        await api.check_update("a/b ?", "passing", "fine & well")
    assert fake.connections == 1
    assert [first for first, _, _ in fake.requests] == [
        "GET /v1/agent/services HTTP/1.1",
        "GET /v1/agent/checks HTTP/1.1",
        "PUT /v1/agent/check/update/a%2Fb%20%3F HTTP/1.1",
    ]
    assert all(headers["X-Consul-Token"] == "s3cret" for _, headers, _ in fake.requests)
    assert json.loads(fake.requests[2][2]) == {"Status": "passing", "Output": "fine & well"}


async def test_service_and_check_are_registered_in_one_call() -> None:
    """A service is never in Consul without its check."""
    async with consul(answer("")) as (api, fake):
        await api.register(SERVICE)
    [(first, _, body)] = fake.requests
    assert first.startswith("PUT /v1/agent/service/register ")
    assert json.loads(body) == SERVICE


async def test_a_blocking_query_delays_nobody() -> None:
    """While a query waits for a change, other requests go over another connection."""
    async with consul(silence, answer({})) as (api, fake):
        waiting = asyncio.create_task(api.health("redis", 7, 60))
        await fake.asked.wait()
        assert await api.services() == {}
        assert fake.connections == 2
        assert "index=7&wait=60000ms" in fake.requests[0][0]
        assert sum(api.latency.as_json()["counts"]) == 1
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()


async def test_a_cancelled_request_closes_its_connection() -> None:
    """The answer of a cancelled request can never be taken for the answer of the next one."""
    async with consul(silence, answer({})) as (api, fake):
        request = asyncio.create_task(api.services())
        await fake.asked.wait()
        request.cancel()
        await asyncio.wait({request})
        await fake.ended.wait()
        assert await api.services() == {}
        assert fake.connections == 2


async def test_a_stale_connection_is_replaced_once() -> None:
    """A kept connection that Consul closed in the meantime costs a repeatable request nothing."""
    async with consul(answer({}), hang_up, answer({})) as (api, fake):
        await api.services()
        assert await api.services() == {}
        assert (fake.connections, len(fake.requests)) == (2, 3)


async def test_a_closed_connection_is_not_repeated_for_ever() -> None:
    """When the fresh connection is closed too, the caller is told."""
    async with consul(answer({}), hang_up, hang_up) as (api, _):
        await api.services()
        with pytest.raises(ConsulUnreachable, match="closed without an answer"):
            await api.services()


async def test_a_transaction_is_never_sent_twice() -> None:
    """It may have been done: only its sender can look."""
    async with consul(answer({}), hang_up) as (api, fake):
        await api.services()
        with pytest.raises(ConsulUnreachable, match="closed without an answer"):
            await api.txn([])
        assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (
            answer("Permission denied: Missing service:write on redis", "403 Forbidden"),
            ConsulDenied,
            "Permission denied: Missing service:write on redis; give the token service:write on redis",
        ),
        (answer("ACL not found", "403 Forbidden"), TokenUnknown, "the token is unknown to Consul"),
        (answer("ACL support disabled", "401 Unauthorized"), ConsulDenied, "ACL support disabled"),
        (answer("Unknown check ID", "404 Not Found"), ConsulUnknown, "with 404: Unknown check ID"),
        (answer('Unknown check "c"', "500 Oops"), ConsulUnknown, "Unknown check"),
        (answer('Unknown service {"x" {}}', "500 Oops"), ConsulUnknown, "Unknown service"),
        (answer("No cluster leader", "500 Oops"), ConsulError, "servers have no leader"),
        (answer("rate limit exceeded", "429 Too Many Requests"), ConsulError, "limits the rate"),
        (answer("", "503 Unavailable"), ConsulError, "with 503: no reason given"),
        (answer("Moved", "301 Moved", Location="http://elsewhere/"), ConsulError, "with 301"),
        (answer("bad\r\n\x1b[31mred\x00" + "x" * 5000, "500 Oops"), ConsulError, r"bad \[31mred x+…$"),
    ],
)
async def test_every_refusal_has_its_error(said: bytes, error: type[ConsulError], message: str) -> None:
    """Each refusal is an exception of its own kind with Consul's own reason, on one bounded line."""
    async with consul(said) as (api, _):
        with pytest.raises(error, match=message) as caught:
            await api.check_update("c", "passing", "")
    assert type(caught.value) is error
    assert api.failed == ({} if issubclass(error, ConsulConflict) else {error.kind: 1})
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("body", ["<html>", "[" * 200_000, "[]", '{"a": 1}', '{"a": {"ID": 1}}', "null", "\udcff", ""])
async def test_a_wrong_shape_is_an_error_of_consul(body: str) -> None:
    """What is not Consul's API, or only looks like it, is named as such."""
    data = answer("x" * 3).replace(b"xxx", b"\xff\xfe\xfd") if body == "\udcff" else answer(body)
    async with consul(data) as (api, _):
        with pytest.raises(ConsulError, match="what is not its API"):
            await api.services()


@pytest.mark.parametrize(
    "change",
    [
        {"Node": None},
        {"Node": {}},
        {"Service": {**ENTRY["Service"], "Port": "6379"}},
        {"Service": {**ENTRY["Service"], "Tags": ["a", 1]}},
        {"Service": {**ENTRY["Service"], "Meta": {"epoch": 1}}},
        {"Service": {"ID": "redis-1"}},
        {"Checks": None},
        {"Checks": [{"CheckID": "c"}]},
    ],
)
async def test_health_entries_are_checked(change: dict[str, Any]) -> None:
    """An instance without what decisions need is refused whole."""
    async with consul(answer([ENTRY, ENTRY | change], X_Consul_Index="7")) as (api, _):
        with pytest.raises(ConsulError, match="what is not its API"):
            await api.health("redis")


@pytest.mark.parametrize(
    ("asked", "said", "following"), [(None, "7", 7), (7, "8", 8), (7, "7", 7), (7, "3", 0), (None, "0", 1), (7, "0", 0)]
)
async def test_the_index_follows_consuls_rules(asked: int | None, said: str, following: int) -> None:
    """Backwards means: ask again without waiting; zero is never asked with, it would spin."""
    async with consul(answer([ENTRY], x_consul_index=said)) as (api, _):
        index, [entry] = await api.health("redis", asked, 10)
    assert index == following
    assert (entry["Service"]["Tags"], entry["Service"]["Meta"]) == ([], {})


@pytest.mark.parametrize("index", ["", "x", "-1", "٣", "9" * 30])
async def test_a_bad_index_is_an_error(index: str) -> None:
    """An index that is no number is not asked with."""
    data = answer([ENTRY]).replace(b"\r\n\r\n", b"\r\nX-Consul-Index: " + index.encode() + b"\r\n\r\n")
    async with consul(data) as (api, _):
        with pytest.raises(ConsulError, match="what is not its API"):
            await api.health("redis")


async def test_a_missing_index_is_an_error() -> None:
    """Nor is one that is missing."""
    async with consul(answer([ENTRY])) as (api, _):
        with pytest.raises(ConsulError, match="what is not its API"):
            await api.health("redis")


@pytest.mark.parametrize(
    ("consistency", "target"), [("stale", "?stale"), ("consistent", "?consistent"), ("default", "")]
)
async def test_consistency_is_asked_for(consistency: consul_api.Consistency, target: str) -> None:
    """python-consul2 cannot say it; this adapter can."""
    async with consul(answer([ENTRY], X_Consul_Index="1")) as (api, fake):
        await api.health("redis", consistency=consistency)
    assert fake.requests[0][0] == f"GET /v1/health/service/redis{target} HTTP/1.1"


SELF = answer({"Config": {"NodeName": "host-1"}})
DENIED = answer("Permission denied: Missing agent:read on host-1", "403 Forbidden")
EMPTY = answer([], X_Consul_Index="1")


async def test_an_answer_with_gaps_is_no_catalog() -> None:
    """Consul (1.11 and later) says when it leaves out what the token may not read, whatever is left."""
    async with consul(answer([ENTRY], X_Consul_Index="1", X_Consul_Results_Filtered_By_Acls="true")) as (api, _):
        with pytest.raises(ConsulDenied, match=r"may not read all entries of 'redis'.*node:read on all nodes"):
            await api.health("redis")


@pytest.mark.parametrize(
    "known_by",
    [[SELF], [DENIED, answer({"c": {"Node": "host-1", "CheckID": "c", "Status": "passing", "ServiceID": ""}})]],
    ids=["self", "a check"],
)
async def test_an_empty_catalog_is_one_only_to_who_may_read_nodes(known_by: list[bytes]) -> None:
    """An older Consul answers a token without ``node:read`` with nothing: then not even the own node is shown."""
    for node, sees in ((answer({"Node": {"Node": "host-1"}}), True), (answer(None), False), (DENIED, False)):
        async with consul(EMPTY, *known_by, node, EMPTY, node) as (api, fake):
            for _ in range(2):
                if sees:
                    assert await api.health("redis", consistency="consistent") == (1, [])
                    continue
                with pytest.raises(ConsulDenied, match="not even its own Consul agent's node is shown"):
                    await api.health("redis", consistency="consistent")
        asked = [first.split()[1] for first, _, _ in fake.requests]
        assert asked.count("/v1/catalog/node/host-1") == 2
        assert asked.count("/v1/agent/self") == 1, "its name is asked for once"


async def test_where_the_own_node_is_not_known_nothing_is_concluded() -> None:
    """Without ``agent:read`` and without any entry there is no name to look for: the first registration tells it."""
    async with consul(EMPTY, DENIED, answer({})) as (api, _):
        assert await api.health("redis", consistency="consistent") == (1, [])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"-ERR wrong number of arguments for 'get' command\r\n", "in HTTP"),
        (then_hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "in HTTP"),
        (then_hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"), "in HTTP"),
        (then_hang_up(b"HTTP/1.1 200 OK\r\nContent"), "in HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "in HTTP"),
        (hang_up, "closed without an answer"),
    ],
)
async def test_what_is_not_http_is_unreachable(said: Answer, message: str) -> None:
    """Garbage, truncated answers and endless headers end the request and its connection."""
    async with consul(said, answer({})) as (api, fake):
        with pytest.raises(ConsulUnreachable, match=message):
            await api.services()
        assert await api.services() == {}
        assert fake.connections == 2


async def test_an_endless_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, whatever is on the other side."""
    monkeypatch.setattr(consul_http, "MAX_BODY", 1 << 20)
    async with consul(drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)) as (api, _):
        with pytest.raises(ConsulError, match="longer than 1 MiB"):
            await api.services()


@pytest.mark.parametrize(
    "said",
    [
        silence,
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    ],
)
async def test_a_slow_answer_meets_the_deadline(said: Answer) -> None:
    """The deadline holds for the whole request, however it is stalled; a single call may have its own."""
    async with consul(said, answer('"10.0.0.1:8300"')) as (api, _):
        with pytest.raises(ConsulUnreachable, match=r"did not answer GET /v1/status/leader within 0.05 s"):
            await api.leader(timeout=0.05)
        assert await api.leader() == "10.0.0.1:8300"


async def test_a_refused_connection_names_consul(unused_tcp_port: int) -> None:
    """The message says who was not there, and where."""
    api = ConsulAPI(f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(ConsulUnreachable, match=f"Consul at 127.0.0.1:{unused_tcp_port} .* Connection refused"):
        await api.leader()
    api = ConsulAPI("unix:///nowhere/consul.sock")
    with pytest.raises(ConsulUnreachable, match=r"Consul at /nowhere/consul.sock .* No such file or directory"):
        await api.leader()


async def test_txn_refusals_carry_consuls_reasons() -> None:
    """Which operation was refused and why is at hand, not only in a message."""
    refused = {"Results": None, "Errors": [{"OpIndex": 2, "What": 'failed to set check "c", index is stale'}]}
    denied = {"Results": None, "Errors": [{"OpIndex": 0, "What": "Permission denied"}]}
    said = [answer(refused, "409 Conflict"), answer(denied, "409 Conflict"), answer("?", "409 Conflict"), answer("1")]
    async with consul(*said, answer({"Results": None}), answer({"Results": [{"Check": {}}]})) as (api, _):
        with pytest.raises(TransactionConflict, match="index is stale") as caught:
            await api.txn([])
        assert caught.value.errors == ((2, 'failed to set check "c", index is stale'),)
        assert api.failed == {}, "somebody was quicker: that is no error"
        with pytest.raises(ConsulDenied, match="Permission denied"):
            await api.txn([])
        with pytest.raises(TransactionConflict) as caught:
            await api.txn([])
        assert caught.value.errors == ()
        with pytest.raises(ConsulError, match="what is not its API"):
            await api.txn([])
        assert await api.txn([]) == []
        assert await api.txn([]) == [{"Check": {}}]


async def test_leader_and_self_are_checked() -> None:
    """The small answers are checked for shape, too."""
    async with consul(answer("10.0.0.1:8300"), answer([]), answer('"10.0.0.1:8300"'), answer([]), answer({})) as (
        api,
        _,
    ):
        with pytest.raises(ConsulError):
            await api.leader()
        with pytest.raises(ConsulError):
            await api.leader()
        assert await api.leader() == "10.0.0.1:8300"
        with pytest.raises(ConsulError):
            await api.agent_self()
        with pytest.raises(ConsulError):
            await api.agent_self()


async def test_close_ends_what_is_under_way() -> None:
    """After close nothing is held open, and nothing is opened any more."""
    async with consul(silence) as (api, fake):
        request = asyncio.create_task(api.services())
        await fake.asked.wait()
        await api.close()
        with pytest.raises(ConsulUnreachable):
            await request
        with pytest.raises(ConsulUnreachable, match="closed"):
            await api.services()


async def test_close_ends_a_question_that_all_have_given_up() -> None:
    """One that is shared goes on without whoever asked; at the end of the client it ends, and the one in line too."""
    async with consul(silence) as (api, fake):
        asking = [asyncio.create_task(api.agent_self()) for _ in range(2)]
        await fake.asked.wait()
        asking.append(asyncio.create_task(api.agent_self()))
        await asyncio.sleep(0)
        asking[0].cancel()
        await api.close()
        first, *rest = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert [type(error) for error in rest] == [ConsulUnreachable] * 2
        assert left_over("Shared") == []


async def test_close_ends_a_connection_that_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that has not reached Consul ends at once, as does one that waits for its turn."""
    connecting = asyncio.Event()

    async def hang(host: str, port: int, timeout: float) -> socket.socket:  # noqa: ASYNC109
        connecting.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    monkeypatch.setattr(names, "connect", hang)
    async with consul() as (api, _):
        asking = [asyncio.create_task(api.services()) for _ in range(2 * consul_http.MAX_READS)]
        await connecting.wait()
        async with asyncio.timeout(0.5):
            await api.close()
            errors = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(e, ConsulUnreachable) and "is closed" in str(e) for e in errors), errors


async def test_a_connection_that_comes_after_the_close_is_dropped() -> None:
    """Made for later (``warm``), it is of no use any more."""
    async with consul() as (api, _):
        warming = asyncio.create_task(api.rehearse([]))
        await asyncio.sleep(0)
        await api.close()
        with pytest.raises(ConsulUnreachable, match="is closed"):
            await warming
        assert api._http._open_connections == set()


def left_over(word: str) -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if word in repr(task.get_coro())]


async def test_few_idle_connections_are_kept() -> None:
    """A burst of requests leaves no more than a handful of connections behind."""
    burst = 3 * consul_http.MAX_IDLE
    async with consul(*[answer('"10.0.0.1:8300"')] * burst) as (api, fake):
        await asyncio.gather(*(api.leader() for _ in range(burst)))
        assert len(api._http._open_connections) == consul_http.MAX_IDLE
        assert fake.connections > consul_http.MAX_IDLE


async def test_a_crowd_of_looks_takes_few_connections() -> None:
    """Consul refuses more than 200 from one address, so hundreds of Redis nodes share a few."""
    limit = consul_http.MAX_READS
    async with consul(*[silence] * 3 * limit) as (api, fake):
        crowd = [asyncio.create_task(api.health("redis")) for _ in range(3 * limit)]
        while len(fake.requests) < limit:
            await fake.asked.wait()
            fake.asked.clear()
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        assert fake.connections == limit


async def test_a_question_is_shared_by_all_who_asked_before_it_was_put() -> None:
    """Who asks while a question is under way gets the answer to the next one, and the others the same one."""
    names = [{"Config": {"NodeName": name}} for name in "ab"]
    async with consul(*map(answer, names)) as (api, fake):
        first = asyncio.create_task(api.agent_self())
        await fake.asked.wait()
        later = [asyncio.create_task(api.agent_self()) for _ in range(5)]
        assert await first == names[0]
        assert [await one for one in later] == [names[1]] * 5
    assert len(fake.requests) == 2


async def test_who_gives_up_leaves_the_shared_question_to_the_others() -> None:
    """A node that wants something else now cancels its own wait only, and an error reaches each that still waits."""
    async with consul(answer("no", "500 Internal Server Error")) as (api, fake):
        asked = [asyncio.create_task(api.agent_self()) for _ in range(3)]
        await fake.asked.wait()
        asked[0].cancel()
        ends = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError, ConsulError, ConsulError]


@pytest.mark.parametrize("address", ["[::1]:8500", "other:1", "unix:///x", "http://a:b:c:d"])
async def test_the_environment_does_not_override_arguments(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """python-consul2 would take the address and the token from the environment, or fail there."""
    monkeypatch.setenv("CONSUL_HTTP_ADDR", address)
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "other")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    async with consul(answer({})) as (api, fake):
        await api.services()
    assert fake.requests[0][1]["X-Consul-Token"] == "s3cret"


async def test_the_rest_of_the_library_works_through_the_adapter() -> None:
    """Any endpoint method of python-consul2 can be awaited as it is."""
    async with consul(answer(["dc1"])) as (api, _):
        assert await api._consul.catalog.datacenters() == ["dc1"]


@pytest.mark.parametrize("url", ["127.0.0.1:8500", "unix://", "http://"])
def test_other_urls_are_refused(url: str) -> None:
    """What cannot be reached is not tried."""
    with pytest.raises(ValueError, match="is none of"):
        HTTPClient(url, timeout=1, token=no_token)


def test_plain_text_is_one_bounded_line() -> None:
    """Text from outside cannot forge lines, move the cursor or flood a log."""
    assert plain("a\n\x1b[2Jb\u202ec") == "a [2Jb c"
    assert plain("é" * 1000) == "é" * 199 + "…"


def consul_config(token: str | None = None, token_file: Path | None = None) -> ConsulConfig:
    return replace(load(None, {}, {}).consul, token=Secret(token) if token else None, token_file=token_file)


@pytest.fixture
def every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the token file each time instead of once a second."""
    monkeypatch.setattr(consul_api, "LOOK_PERIOD", 0.0)


async def test_a_given_token_is_used() -> None:
    """A token of the configuration stands as it is; none is none."""
    assert await TokenSource(consul_config("abc"))() == "abc"
    assert await TokenSource(consul_config())() is None


def test_a_token_that_no_header_can_hold_is_refused() -> None:
    """And the message does not show it."""
    with pytest.raises(LocalError) as caught:
        TokenSource(consul_config("abc\r\ndef"))
    assert "abc" not in str(caught.value)


@pytest.mark.usefixtures("every_look")
async def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """A rotated token is in use without a restart."""
    file = tmp_path / "token"
    file.write_text("first\n")
    token = TokenSource(consul_config(token_file=file))
    assert await token() == "first"
    (tmp_path / "new").write_text("second\n")
    (tmp_path / "new").rename(file)
    assert await token() == "second"


@pytest.mark.usefixtures("every_look")
async def test_a_missing_token_file_is_an_error_until_it_is_there(tmp_path: Path) -> None:
    """Without a token nothing is asked anonymously by mistake; it recovers by itself."""
    file = tmp_path / "token"
    token = TokenSource(consul_config(token_file=file))
    with pytest.raises(ConsulError, match=r"token: No such file or directory"):
        await token()
    file.write_text("")
    with pytest.raises(ConsulError, match="holds no token"):
        await token()
    file.write_text("here")
    assert await token() == "here"


@pytest.mark.usefixtures("every_look")
async def test_the_last_token_stays_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is half way through its replacement stops nothing, and is mentioned once."""
    file = tmp_path / "token"
    file.write_text("first")
    token = TokenSource(consul_config(token_file=file))
    await token()
    file.unlink()
    with caplog.at_level(logging.WARNING):
        assert [await token(), await token(), await token()] == ["first"] * 3
    assert len(caplog.records) == 1
    assert "first" not in caplog.text


@pytest.mark.usefixtures("every_look")
async def test_a_pipe_as_token_file_is_named(tmp_path: Path) -> None:
    """It would wait for a writer; instead it is said what it is."""
    os.mkfifo(tmp_path / "pipe")
    token = TokenSource(consul_config(token_file=tmp_path / "pipe"))
    with pytest.raises(ConsulError, match=r"no token for Consul: .*pipe: is a pipe, no regular file"):
        await token()


@pytest.mark.usefixtures("every_look")
async def test_a_token_file_that_hangs_leaves_the_last_token_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests go on with it, nearly undelayed, and one line says so; the rotated one is used when it can be read."""
    over, file = threading.Event(), tmp_path / "token"

    def hang(path: Path) -> Secret | None:
        over.wait()
        return read_secret(path)

    file.write_text("first")
    token = TokenSource(consul_config(token_file=file))
    assert await token() == "first"
    monkeypatch.setattr(consul_api, "read_secret", hang)
    monkeypatch.setattr(consul_api, "FILE_TIMEOUT", 0.2)
    file.write_text("second")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert [await token() for _ in range(10)] == ["first"] * 10
            assert token._looking  # nobody has waited for its end
            await asyncio.wait([token._looking])
    said = f"{file}: its file system did not answer within 0.2 s; the token that was read before stays in use"
    assert [record.getMessage() for record in caplog.records] == [said]
    over.set()
    assert token._threads.settle(5)
    assert await token() == "second"


async def test_a_token_file_that_hangs_from_the_start_is_an_error_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked anonymously; the requests of others that need no such file are not held up."""
    over, file = threading.Event(), tmp_path / "token"
    file.write_text("first")
    monkeypatch.setattr(consul_api, "read_secret", lambda _: over.wait())
    monkeypatch.setattr(consul_api, "FILE_TIMEOUT", 0.1)
    token = TokenSource(consul_config(token_file=file))
    errors = await asyncio.gather(token(), token(), return_exceptions=True)
    over.set()
    assert [str(e) for e in errors] == [f"no token for Consul: {file}: its file system did not answer within 0.1 s"] * 2
