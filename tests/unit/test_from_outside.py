"""Whatever comes from outside, of any type and size, is at worst a missed look with a named reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from copy import deepcopy
from time import perf_counter
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import NoPermissionError, ResponseError

from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.consul.form import (
    CHECK_SUFFIX,
    EARLY_LEADER,
    EARLY_SINCE,
    EPOCH,
    MARKER,
    MASTER_CHECK,
    NODE_CHECK,
    RUN_ID,
    SEAL_SUFFIX,
    TOMBSTONE_SUFFIX,
    TURN,
    Json,
    read_claim,
    read_entry,
    read_local,
)
from consul_redis_agent.decide.facts import Address, Entry, Node, Role, Sentinel, Silence
from consul_redis_agent.errors import ConsulError, Unanswered
from consul_redis_agent.watch import sentinels as watch_sentinels
from consul_redis_agent.watch.link import ANSWER_LIMIT, INFO_LIMIT, SMALL, Link
from consul_redis_agent.watch.redis_node import (
    LINES,
    RedisWatch,
    announced_replicas,
    ask_peer,
    node,
    parse_announce,
    parse_info,
)
from consul_redis_agent.watch.sentinels import PEERS, REPLICAS, SentinelWatch, hello, parse_hello
from tests.fuzz.effort import effort

MANY = effort(150)
FEW = effort(50)
"""Where each example takes a socket."""
AT = Address("127.0.0.1", 6379)
DEEP = 3

T = TypeVar("T")


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, which comes soon, and leaves nothing running."""

    async def bounded() -> T:
        async with asyncio.timeout(5):
            result = await test
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    return asyncio.run(bounded())


# Values of every kind

texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "²", "-1", "0", "65536", "6379", "9" * 30, "9" * 5000, "nan", "x" * 700, "\x1b[2J", "a b", "10.0.0.9\r\nrole:slave"]),
)  # fmt: skip
endless = st.just(5000).map(lambda digits: 10**digits)  # what Python refuses to write
whole_numbers = st.one_of(st.integers(), st.sampled_from([10**30, 2**64]), endless)
scalars = st.one_of(st.none(), st.booleans(), whole_numbers, st.floats(), texts)
refusals = st.one_of(texts.map(ResponseError), texts.map(NoPermissionError))
redis_values: st.SearchStrategy[Any] = st.recursive(
    scalars | refusals | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@st.composite
def nearly(draw: st.DrawFn, good: Any, values: st.SearchStrategy[Any]) -> Any:
    """What is right, but for one or two parts of it."""
    changed = deepcopy(good)
    for _ in range(draw(st.integers(0, 2))):
        changed = _with_another(draw, changed, values)
    return changed


def _with_another(draw: st.DrawFn, whole: Any, values: st.SearchStrategy[Any]) -> Any:
    if not (isinstance(whole, list | dict) and whole) or draw(st.integers(0, 5)) == 0:
        return draw(values)
    changed = deepcopy(whole)
    keys = [*changed] if isinstance(changed, dict) else [*range(len(changed))]
    key = draw(st.sampled_from(keys))
    if draw(st.integers(0, 9)) == 0:
        del changed[key]
    else:
        changed[key] = _with_another(draw, changed[key], values)
    return changed


# Redis and Sentinel, as values


def flat(**fields: str) -> list[str]:
    """A map as RESP2 writes it."""
    return [part for key, value in fields.items() for part in (key.replace("_", "-"), value)]


INFO = "run_id:aaa\r\nloading:0\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:up\r\n"
MASTER_INFO = (
    "run_id:aaa\r\nloading:0\r\nrole:master\r\nconnected_slaves:2\r\nslave0:ip=10.0.0.2,port=6379,state=online,lag=0\r\n"
    "slave1:ip=fd00::3,port=6379,state=online,lag=0\r\nmaster_replid:rrr\r\n"
)
ANNOUNCED = ["replica-announce-ip", "10.0.0.7", "replica-announce-port", "7000"]
ADDRESS = ["10.0.0.1", "6379"]
MASTER = flat(name="m", ip="10.0.0.1", port="6379", runid="r1", flags="master", config_epoch="7")
REPLICA = flat(name="x", ip="10.0.0.2", port="6379", runid="r2", flags="slave")
PEER = flat(name="s2", ip="10.0.1.2", port="26379", runid="s2", flags="sentinel")
HELLO = "10.0.0.5,26379,sss,7,mymaster,10.0.0.6,6379,5"
GOOD: dict[str, Any] = {
    "INFO": "# Sentinel\r\nsentinel_masters:1\r\nsentinel_tilt:0\r\n",
    "MYID": "s1",
    "GET-MASTER-ADDR-BY-NAME": ADDRESS,
    "MASTER": MASTER,
    "REPLICAS": [REPLICA],
    "SENTINELS": [PEER],
    "MASTERS": [MASTER],
}


class Said(Link):
    """A link whose answers are set, by the command."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    @property
    def open(self) -> bool:
        return False

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        return [self.answers[c[1] if c[0] == "SENTINEL" else c[0]] for c in commands]

    async def push(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as the link has it
        return self.answers["push"]

    async def close(self) -> None:
        return


def watched(answers: dict[str, Any], *, looks: int = 2) -> Sentinel:
    """What a watch on a Sentinel has after looks of which each got these answers."""
    watch = SentinelWatch(AT, lambda _: Said(answers), lambda _: None)
    watch.watch_only({"m", ""})

    async def look() -> None:
        for _ in range(looks):
            await watch._look(0.0)

    run(look())
    return watch.facts["m"]


def seen(answers: dict[str, Any]) -> Node:
    """What the watch on the own node has after a look that got these answers."""
    watch = RedisWatch(lambda _: Said(answers), lambda: None, 0.0)
    run(watch._look(0.0))
    assert isinstance(watch.fact, Node)
    return watch.fact


def is_usable(address: Address | None) -> bool:
    """Whether somebody could connect to it, and every log and page can show it."""
    return address is None or (
        0 < address.port <= 65535 and address.host.isprintable() and 0 < len(address.host) <= 253
    )


@MANY
@given(nearly(GOOD, redis_values), nearly(GOOD, redis_values))
def test_any_answer_of_a_sentinel_is_a_fact_or_a_missed_look(first: Any, then: Any) -> None:
    """Of whatever types its parts are; and a fact has addresses to which somebody could connect."""
    if not all(isinstance(said, dict) and said.keys() == GOOD.keys() for said in (first, then)):
        return
    with suppress(Unanswered):
        fact = watched(first)
        assert fact.error or (fact.master and is_usable(fact.master))
        assert all(map(is_usable, [*fact.run_ids, *fact.peers.values()]))
        assert 0 <= fact.epoch < 2**64 or fact.error


@MANY
@given(nearly({"INFO": INFO, "CONFIG": ANNOUNCED}, redis_values))
def test_any_answer_of_the_own_node_is_a_fact_or_a_missed_look(said: Any) -> None:
    """INFO and CONFIG GET, of whatever types."""
    if not (isinstance(said, dict) and said.keys() == {"INFO", "CONFIG"}):
        return
    with suppress(Unanswered):
        fact = seen(said)
        assert is_usable(fact.follows)
        assert fact.run_id.isprintable()
    with suppress(Unanswered):
        assert is_usable(parse_announce(said["CONFIG"], {})[0])
    with suppress(Unanswered):
        assert all(map(is_usable, announced_replicas(said["INFO"])))
    with suppress(Unanswered):
        assert is_usable(run(ask_peer(AT, Said(said))).follows)


lines = st.sampled_from(
    [*INFO.split("\r\n"), *MASTER_INFO.split("\r\n"), "slave0:ip=10.0.0.9\r\nrole:slave", "\x85role:slave", "role"]
)


@MANY
@given(st.lists(lines | texts, max_size=12).map("\r\n".join))
def test_any_info_is_a_fact_or_a_missed_look(text: str) -> None:
    """In whatever order its lines come."""
    with suppress(Unanswered):
        fact = node(parse_info(text), 1.0)
        assert is_usable(fact.follows)
        assert fact.role is Role.REPLICA or fact.follows is None
    announced_replicas(text)


@MANY
@given(st.lists(st.sampled_from(HELLO.split(",")) | texts, min_size=6, max_size=10).map(",".join))
def test_any_hello_is_heard_or_passed_over(text: str) -> None:
    """Anybody may publish on the channel."""
    if heard := parse_hello(text):
        assert is_usable(heard[0])
        assert heard[1].isprintable()
        assert heard[2].isprintable()


@MANY
@given(redis_values | nearly(["message", "__sentinel__:hello", HELLO], redis_values))
def test_any_push_is_heeded_or_passed_over(message: Any) -> None:
    """What a Sentinel publishes, and what somebody publishes on a node."""
    watch = SentinelWatch(AT, lambda _: Said({}), lambda _: None)
    watch._heed(message)
    with suppress(Unanswered, TimeoutError):
        run(asyncio.wait_for(hello(Said({"push": message}), 1.0), 0.002))


# Redis and Sentinel, as bytes


def _line(kind: bytes) -> Callable[[str | int], bytes]:
    return lambda value: kind + (f"{value}".encode()) + b"\r\n"


def _bulk(kind: bytes) -> Callable[[bytes], bytes]:
    return lambda value: kind + b"%d\r\n%b\r\n" % (len(value), value)


def _many(kind: bytes, each: int = 1) -> Callable[[list[bytes]], bytes]:
    return lambda members: kind + b"%d\r\n" % (len(members) // each) + b"".join(members[: len(members) // each * each])


plain_texts = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["", "²", "9" * 30, "9" * 5000, "1x", "-"]))
resp_scalars = st.one_of(
    (plain_texts | st.sampled_from(["OK", "QUEUED", "NOAUTH x", "LOADING x", "WRONGPASS x", "ERR max number of clients reached"]))
    .flatmap(lambda text: st.sampled_from([b"+", b"-"]).map(lambda kind: _line(kind)(text))),
    numbers.map(_line(b":")),
    numbers.map(_line(b"(")),
    st.sampled_from(["1.5", "nan", "inf", "1e999", "x", ""]).map(_line(b",")),
    st.sampled_from(["t", "f", "x"]).map(_line(b"#")),
    st.sampled_from([b"_\r\n", b"$-1\r\n", b"*-1\r\n", b"$-7\r\n", b"*4000000000\r\n", b">0\r\n", b"*0\r\n", b"%0\r\n"]),
    (st.binary(max_size=12) | plain_texts.map(str.encode)).map(_bulk(b"$")),
    st.binary(max_size=12).map(_bulk(b"!")),
    st.binary(max_size=12).map(lambda text: _bulk(b"=")(b"txt:" + text)),
)  # fmt: skip
resp: st.SearchStrategy[bytes] = st.recursive(
    resp_scalars,
    lambda inner: st.lists(inner, max_size=4).flatmap(
        lambda members: st.sampled_from(
            [_many(b"*"), _many(b"~"), _many(b">"), _many(b"%", 2), _many(b"|", 2)]
        ).map(lambda make: make(members))
    ),
    max_leaves=8,
)  # fmt: skip
RIGHT = _bulk(b"$")(INFO.encode())
streams = st.builds(
    lambda before, right, cut, junk: (b"".join(before) + right)[: cut or None] + junk,
    st.lists(resp, max_size=3),
    st.sampled_from([b"", RIGHT]),
    st.integers(-5, 0),
    st.binary(max_size=8) | st.just(b""),
)
SHORT = 0.01
"""Seconds until silence is an answer."""


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[Address]:
    """A server that leaves nothing behind."""
    writers: list[asyncio.StreamWriter] = []
    running: set[asyncio.Task[Any] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        running.add(asyncio.current_task())
        with suppress(ConnectionError):
            await talk(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for _ in range(10):
            await asyncio.sleep(0)  # who has just connected is served first
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*filter(None, running))
        await asyncio.sleep(0)  # an aborted transport closes in the next turn


def saying(answer: bytes, *, hang_up: bool = False) -> AbstractAsyncContextManager[Address]:
    """A server that answers everything with these bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(answer)
            await writer.drain()
            if hang_up:
                break

    return serving(talk)


async def secret() -> str | None:
    """The password for a login."""
    return "secret"


@FEW
@given(streams, st.booleans(), st.booleans())
def test_any_bytes_are_an_answer_or_a_missed_look(answer: bytes, hang_up: bool, login: bool) -> None:
    """Of RESP2 and RESP3, nested, as pushes, cut off, with junk behind: at login, at a question, and waited for."""

    async def test() -> None:
        async with saying(answer, hang_up=hang_up) as address:
            link = Link(address, timeout=SHORT, password=secret if login else None)
            for _ in range(2):
                with suppress(Unanswered):
                    assert len(await link.ask(("INFO",), ("CONFIG", "GET", "x"))) == 2
                with suppress(Unanswered):
                    await link.push(SHORT)
            await link.close()

    began = perf_counter()
    run(test())
    assert perf_counter() - began < 1, "it ends with its deadlines"


@FEW
@given(streams, st.booleans())
def test_any_bytes_leave_the_watches_at_work(answer: bytes, hang_up: bool) -> None:
    """Each look ends well or not; none ends the watch."""

    async def test() -> None:
        async with saying(answer, hang_up=hang_up) as address:
            redis = RedisWatch(lambda closed: Link(address, timeout=SHORT, closed=closed), lambda: None, 0.0)
            sentinel = SentinelWatch(
                address, lambda closed: Link(address, timeout=SHORT, closed=closed), lambda _: None
            )
            sentinel.watch_only({"m"})
            running = [asyncio.create_task(watch.run()) for watch in (redis, sentinel)]
            for _ in range(2):
                await asyncio.gather(redis.fresh(), sentinel.fresh())
            assert not any(task.done() for task in running)
            assert isinstance(redis.fact, Node) or (isinstance(redis.fact, Silence) and redis.fact.reason)
            assert sentinel.facts["m"].looked
            assert sentinel.facts["m"].error or sentinel.facts["m"].master
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    run(test())


async def missed(answer: bytes, *command: str) -> str:
    """Why a question that gets this answer is a missed look."""
    async with saying(answer) as address:
        link = Link(address, timeout=2)
        began = perf_counter()
        with pytest.raises(Unanswered) as caught:
            await link.ask(command)
        assert perf_counter() - began < 1, "it was not waited for"
        assert not link.open
        return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b">2\r\n+a\r\n+b\r\n" * 1000 + b"+OK\r\n", "later protocol"),
        (b">0\r\n", "later protocol"),
        (b"%1\r\n*0\r\n+x\r\n", "unhashable"),
        (b"*1000000000\r\n", "99999 members"),
        (b"*1\r\n*100000000\r\n", "99999 members"),
        (b"*4\r\n$3\r\nabc\r\n%1000000\r\n", "99999 members"),
        (b"$%d\r\n" % (1 << 20) + b"x" * (1 << 20), f"larger than {SMALL} bytes"),
    ],
    ids=["1000 pushes", "empty push", "list as key", "many", "many inside", "a map of many", "large"],
)
async def test_bytes_that_are_no_answer(answer: bytes, why: str) -> None:
    """Each with its name, at once."""
    assert why in await missed(answer, "PING")


async def test_a_header_that_comes_in_pieces_is_seen() -> None:
    """Room for a thousand million members is never made."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        for one in b"*2\r\n$1\r\nx\r\n*1000000000\r\n":
            writer.write(bytes([one]))
            await writer.drain()
            await asyncio.sleep(0.001)
        await reader.read(100)

    async with serving(talk) as address:
        link = Link(address, timeout=2)
        with pytest.raises(Unanswered, match="99999 members"):
            await link.ask(("PING",))


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (("INFO", "server"), INFO_LIMIT),
        (("CONFIG", "GET", "x"), SMALL),
        (("SENTINEL", "MASTER", "m"), SMALL),
        (("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m"), SMALL),
        (("SENTINEL", "REPLICAS", "m"), ANSWER_LIMIT),
        (("SENTINEL", "SENTINELS", "m"), ANSWER_LIMIT),
        (("SENTINEL", "MASTERS"), ANSWER_LIMIT),
    ],
)
async def test_an_answer_has_the_size_that_its_question_can_have(command: tuple[str, ...], limit: int) -> None:
    """Not a byte is kept beyond that, but for what was read with the last one."""
    size = limit + 2 * 65536
    assert f"larger than {limit} bytes" in await missed(_bulk(b"$")(b"x" * size), *command)


async def test_a_message_is_small() -> None:
    """What a server sends by itself is a few words."""
    async with saying(b"+OK\r\n" + _bulk(b"$")(b"x" * (1 << 20))) as address:
        link = Link(address, timeout=2)
        await link.connect()
        assert await link.ask(("SUBSCRIBE", "x")) == ["OK"]
        with pytest.raises(Unanswered, match="larger than"):
            await link.push(2)


async def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    """The connection is dropped, and the next question gets its own answer."""
    answers = [b"+one\r\n+stray\r\n", b"+two\r\n"]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            writer.write(answers.pop(0))

    async with serving(talk) as address:
        link = Link(address, timeout=2)
        assert await link.ask(("PING",)) == ["one"]
        assert await link.ask(("PING",)) == ["two"]
        await link.close()


@pytest.mark.parametrize(
    "change",
    [
        {"MASTER": flat(ip="10.0.0.1", port="6379", runid="r1", config_epoch="7")},
        {"MASTER": [*MASTER[:-4], "flags", 7, "config-epoch", "7"]},
        {"MASTER": [*MASTER[:-4], "flags", None, "config-epoch", "7"]},
        {"MASTER": [*MASTER[:-1], "9" * 5000]},
        {"MASTER": [*MASTER[:-1], 10**5000]},
        {"MASTER": [*MASTER, "odd"]},
        {"MASTER": {"ip": "10.0.0.1"}},
        {"GET-MASTER-ADDR-BY-NAME": ["10.0.0.1", "²"]},
        {"GET-MASTER-ADDR-BY-NAME": ["10.0.0.1", 6379]},
        {"GET-MASTER-ADDR-BY-NAME": [7, "6379"]},
        {"GET-MASTER-ADDR-BY-NAME": ["x" * 254, "6379"]},
        {"GET-MASTER-ADDR-BY-NAME": ["10.0.0.1", "0"]},
        {"GET-MASTER-ADDR-BY-NAME": 10**5000},
        {"REPLICAS": [[*REPLICA[:3], 10, *REPLICA[4:]]]},
        {"REPLICAS": [[[], "x"]]},
        {"REPLICAS": "x"},
        {"SENTINELS": [["ip", 7, "port", "26379", "runid", "s2"]]},
        {"SENTINELS": [flat(ip="10.0.1.2", port="26379", runid="x" * 1000)]},
        {"MASTERS": [["name", None]]},
        {"MYID": "a\x1b[2Jb"},
    ],
)
def test_an_answer_of_a_sentinel_with_a_wrong_part_is_a_missed_look(change: dict[str, Any]) -> None:
    """And it is said which part."""
    with pytest.raises(Unanswered, match="not its protocol: ") as caught:
        watched(GOOD | change)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_who_has_no_port_is_passed_over() -> None:
    """A Sentinel lists a Sentinel that it has lost with port 0: unknown, while the others stand."""
    lost, good = flat(ip="10.0.1.3", port="0", runid="s3"), watched(GOOD)
    fact = watched(GOOD | {"SENTINELS": [lost, PEER], "REPLICAS": [flat(ip="", port="6379", runid="r3"), REPLICA]})
    assert (fact.peers, fact.run_ids) == (good.peers, good.run_ids)
    assert good.peers == {"s2": Address("10.0.1.2", 26379)}


def test_ghosts_are_not_taken_in_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A Sentinel that lists a thousand keeps its vote; no more than a group can have are taken from one answer."""
    ghosts = [flat(ip=f"10.9.{n // 250}.{n % 250}", port="26379", runid=f"g{n}") for n in range(1000)]
    replicas = [flat(ip=f"10.8.{n // 250}.{n % 250}", port="6379", runid=f"r{n}") for n in range(1000)]
    fact = watched(GOOD | {"SENTINELS": ghosts, "REPLICAS": replicas}, looks=5)
    assert (fact.votes, len(fact.peers), len(fact.run_ids)) == (True, PEERS, REPLICAS + 1)
    assert len([r for r in caplog.records if "lists 1000 members in SENTINEL SENTINELS" in r.getMessage()]) == 1
    assert len(caplog.records) == 2


async def test_a_crowd_of_ghosts_does_not_silence_a_sentinel() -> None:
    """A true Sentinel lists whoever has said hello to it: what it lists then is within the limit of bytes."""
    ghost = _many(b"*")([_bulk(b"$")(part.encode()) for part in [*PEER * 3, "x" * 200]])
    async with saying(b"*1000\r\n" + ghost * 1000) as address:
        link = Link(address, timeout=5)
        (answer,) = await link.ask(("SENTINEL", "SENTINELS", "m"))
        assert len(answer) == 1000
        await link.close()


@pytest.mark.parametrize(
    "answer",
    [
        ["replica-announce-ip", ["10.0.0.7"]],
        [[], "x"],
        ["replica-announce-ip", "10.0.0.7", "replica-announce-port", 7000],
        {"replica-announce-ip": "10.0.0.7"},
        "x",
        [10**5000],
    ],
)
def test_config_get_of_another_type_is_a_missed_look(answer: Any) -> None:
    """And it is said which part."""
    with pytest.raises(Unanswered, match="CONFIG GET is no list of keys and values"):
        seen({"INFO": INFO, "CONFIG": answer})


@pytest.mark.parametrize("port", ["²", "0", "-1", "x", "", "65536", "9" * 5000])
def test_an_announced_port_that_is_none_is_the_own_port(port: str) -> None:
    """As if none was set, which is what 0 says; where the own one is not told either, there is no address."""
    assert parse_announce([*ANNOUNCED[:3], port], {"tcp_port": "6380"}) == (Address("10.0.0.7", 6380), None)
    assert parse_announce([*ANNOUNCED[:3], port], {}) == (None, None)
    assert parse_announce(ANNOUNCED, {"tcp_port": "6380"}) == (Address("10.0.0.7", 7000), 7000)


@pytest.mark.parametrize(
    "announced",
    [
        "10.0.0.9\r\nrole:slave",
        "10.0.0.9\r\nmaster_replid:forged",
        "10.0.0.9\r\nasync_loading:1",
        "10.0.0.9\r\nmaster_host:10.0.0.9\r\nmaster_port:1",
        "10.0.0.9\x85role:slave",
        "10.0.0.9\u2028role:slave\x0brole:slave\x1crole:slave",
        "\r\nmaster_last_io_seconds_ago:x",
    ],
)
def test_what_a_replica_announces_says_nothing_of_its_master(announced: str) -> None:
    """INFO repeats it in the line of the replica, whatever it is."""
    info = MASTER_INFO.replace("10.0.0.2", announced)
    assert node(parse_info(info), 1.0) == node(parse_info(MASTER_INFO), 1.0)
    assert parse_info(info).get("role") == "master"


def test_the_first_of_several_lines_counts() -> None:
    """Also where no replica is listed."""
    assert parse_info("role:master\r\nrole:slave\r\nrun_id:a\r\nrun_id:b") == {"role": "master", "run_id": "a"}


def test_where_the_replicas_are() -> None:
    """By the lines of the node itself: there it has been logged into."""
    assert announced_replicas(MASTER_INFO) == {Address("10.0.0.2", 6379), Address("fd00::3", 6379)}
    assert announced_replicas(INFO) == frozenset()


def test_an_info_of_many_short_lines_costs_next_to_nothing() -> None:
    """It is refused before it is taken apart."""
    began = perf_counter()
    with pytest.raises(Unanswered, match="larger than"):
        parse_info("a:\r\n" * (1 << 20))
    with pytest.raises(Unanswered, match=f"more than {LINES} lines"):
        parse_info("a:\r\n" * (INFO_LIMIT // 4))
    assert perf_counter() - began < 0.2


async def test_who_speaks_of_something_else_for_ever_is_not_listened_to_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time to wait for a hello is one for all messages."""
    now = 0.0

    def ticking() -> float:
        nonlocal now
        now += 0.1
        return now

    monkeypatch.setattr(watch_sentinels, "clock", ticking)

    class Chatter(Said):
        async def push(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109
            if not timeout:
                raise Unanswered("no answer")
            return ["message", "__sentinel__:hello", "no hello"]

    with pytest.raises(Unanswered):
        await hello(Chatter({}), 2.0)


# Consul, as JSON

META = {MARKER: "2", EPOCH: "7", TURN: "0", RUN_ID: "r1", EARLY_SINCE: "1.0 s after boot b", EARLY_LEADER: "s1"}


def check(id_: str, status: str = "passing", **more: Any) -> Json:
    """A check of the service."""
    return {"Node": "n1", "CheckID": id_, "Name": "", "Status": status, "ServiceID": "redis-1", "ModifyIndex": 5} | more


INSTANCE: Json = {
    "Node": {"Node": "n1", "Address": "10.0.0.1"},
    "Service": {"ID": "redis-1", "Service": "redis", "Address": "", "Port": 6379, "Tags": ["a"], "Meta": META}
    | {"CreateIndex": 3, "ModifyIndex": 4},
    "Checks": [
        check("redis-1" + CHECK_SUFFIX, Name=MASTER_CHECK, ServiceTags=["a"], Output="", Notes="", Type="ttl"),
        check("redis-1" + SEAL_SUFFIX),
        check(NODE_CHECK, ServiceID=""),
    ],
}
ids = ["redis-1" + CHECK_SUFFIX, "redis-1" + SEAL_SUFFIX, "redis-1" + TOMBSTONE_SUFFIX + "1", NODE_CHECK, "disk"]
checks = st.builds(
    check,
    st.sampled_from(ids),
    st.sampled_from(["passing", "passing", "passing", "warning", "critical", "", "Passing", "maintenance"]),
    ServiceID=st.sampled_from(["redis-1", "redis-1", "redis-1", "", "redis-2"]),
    Name=st.sampled_from([MASTER_CHECK, "role:replica"]),
    Node=st.sampled_from(["n1", "n2"]),
)


def assert_sound(entry: Entry, instance: Json) -> None:
    """It is no more alive than its checks say, and every value has its type."""
    found = instance["Checks"]
    role = [c["Status"] for c in found if c["CheckID"] == "redis-1" + CHECK_SUFFIX and c["ServiceID"] == "redis-1"]
    if entry.live:
        own = [c for c in found if c["ServiceID"] == "redis-1"]
        if role:
            assert set(role) == {"passing"}
            assert all(c["Status"] == "passing" for c in own if c["CheckID"].endswith(SEAL_SUFFIX))
            assert not any(TOMBSTONE_SUFFIX in c["CheckID"] for c in own)
            assert any(c["Name"] == MASTER_CHECK for c in own)
        else:
            assert "critical" not in {c["Status"] for c in found}
        assert all(c["Status"] != "critical" for c in found if c["CheckID"] == NODE_CHECK)
    assert entry.address == Address("", entry.address.port) or is_usable(Address(entry.address.host, 1))
    assert 0 <= entry.address.port <= 65535
    assert type(entry.created) is int
    assert type(entry.index) is int
    assert {type(text) for text in (entry.node, entry.id, entry.name, *entry.tags, *entry.meta.values())} == {str}
    assert entry.claim is None or (0 <= entry.claim.epoch < 2**64 and 0 <= entry.claim.turn < 2**31)


@MANY
@given(json_values | nearly(INSTANCE, json_values))
def test_any_instance_is_an_entry_or_refused(instance: Any) -> None:
    """Of whatever types its parts are."""
    with suppress(ConsulError):
        read_entry(instance)
        # A service of another id has other checks: what these say is looked at in the next test.
        if instance["Service"]["ID"] == "redis-1":
            assert_sound(read_entry(instance), instance)


@MANY
@given(st.lists(checks, max_size=5))
def test_no_entry_is_more_alive_than_its_checks_say(found: list[Json]) -> None:
    """Whichever checks there are, in whichever order, twice or on another node."""
    with suppress(ConsulError):
        assert_sound(read_entry(INSTANCE | {"Checks": found}), INSTANCE | {"Checks": found})


@MANY
@given(json_values | nearly(META, json_values))
def test_any_meta_is_a_claim_or_none_or_refused(meta: Any) -> None:
    """Of whatever types."""
    with suppress(ConsulError):
        read_claim(meta)


@MANY
@given(
    json_values | nearly(INSTANCE["Service"], json_values),
    json_values | nearly({c["CheckID"]: c for c in INSTANCE["Checks"]}, json_values),
)
def test_any_own_service_is_read_or_refused(service: Any, found: Any) -> None:
    """What the own Consul agent holds."""
    with suppress(ConsulError):
        read = read_local(service, found)
        assert read.status is None or isinstance(read.status, str)
        assert 0 <= read.address.port <= 65535


@pytest.mark.parametrize(
    "change",
    [
        {"Node": {"Node": "n1", "Address": None}},
        {"Node": {"Node": "n1", "Address": 7}},
        *({"Service": INSTANCE["Service"] | {key: True}} for key in ("Port", "CreateIndex", "ModifyIndex", "Meta", "Tags")),
        *({"Service": INSTANCE["Service"] | {key: "7"}} for key in ("Port", "CreateIndex", "ModifyIndex", "Meta", "Tags")),
        *({"Service": INSTANCE["Service"] | {key: 1.5}} for key in ("Port", "CreateIndex", "ModifyIndex")),
        {"Service": INSTANCE["Service"] | {"Meta": {"a": None}}},
        {"Checks": {}},
        {"Checks": [7]},
        {"Checks": [check("c", ModifyIndex="5")]},
        {"Checks": [check("c", Output=None)]},
        {"Checks": [check("c"), check("c", "critical")]},
    ],
)  # fmt: skip
def test_an_instance_with_a_wrong_type_is_an_error_of_consul(change: Json) -> None:
    """True is no number, and null no text; a check that comes twice says two things."""
    with pytest.raises(ConsulError, match="Consul answered with what is not its API: "):
        read_entry(INSTANCE | change)


@pytest.mark.parametrize("turn", ["9" * 4300, "9" * 5000, "²", "-1", "1.5", ""])
def test_a_turn_that_is_no_number_is_no_claim(turn: str) -> None:
    """Anybody who may write a service may write that."""
    assert read_entry(INSTANCE | {"Service": INSTANCE["Service"] | {"Meta": META | {TURN: turn}}}).claim is None


@pytest.mark.parametrize(
    ("address", "port"), [("x" * 254, 6379), ("a b", 6379), ("a\x1b[2J", 6379), ("10.0.0.1", -1), ("10.0.0.1", 10**30)]
)
def test_an_address_that_is_none_does_not_hide_the_others(address: str, port: int) -> None:
    """Consul takes any text and any number for one: a foreign entry with it must not make the name unreadable."""
    read = read_entry(INSTANCE | {"Service": INSTANCE["Service"] | {"Address": address, "Port": port}})
    assert read.address in (Address("", 6379), Address("10.0.0.1", 0))
    assert read.live


@pytest.mark.parametrize("since", ["nan", "inf", "1e999", "-inf", "x", "9" * 5000])
def test_an_early_claim_from_no_time_began_before_everything(since: str) -> None:
    """It must not stand for ever."""
    claim = read_claim(META | {EARLY_SINCE: f"{since} s after boot b"})
    assert claim
    assert claim.early
    assert claim.early.since == float("-inf")


# Consul, over HTTP

QUESTIONS: dict[str, Callable[[ConsulAPI], Coroutine[Any, Any, Any]]] = {
    "services": lambda api: api.services(),
    "checks": lambda api: api.checks("ServiceID == x"),
    "health": lambda api: api.health("redis"),
    "txn": lambda api: api.txn([]),
    "self": lambda api: api.agent_self(),
    "leader": lambda api: api.leader(),
    "update": lambda api: api.check_update("c", "passing", ""),
}
SELF = {"Config": {"NodeName": "n1"}, "Member": {"Addr": "10.0.0.1"}}


def dumps(value: object) -> str:
    """As JSON, also where a number has more digits than Python writes."""
    try:
        return json.dumps(value)
    except ValueError:
        return "9" * 5000


bodies = st.one_of(
    json_values.map(dumps),
    nearly([INSTANCE], json_values).map(dumps),
    nearly({"redis-1": INSTANCE["Service"]}, json_values).map(dumps),
    nearly(SELF, json_values).map(dumps),
    st.sampled_from(['{"Errors": [{"OpIndex": Infinity, "What": 7}]}', "[" * 5000, "9" * 5000, "", "\x00", "Permission denied"]),
).map(str.encode) | st.binary(max_size=20)  # fmt: skip
headers = st.lists(
    st.sampled_from(
        ["X-Consul-Index: 7", "X-Consul-Index: ²", "X-Consul-Index: 9", "Connection: close", "Content-Length: 3", "X: \xff",
         "Transfer-Encoding: chunked", "Content-Encoding: gzip", "Content-Length: 99999999999999", "no header", "Upgrade: x"]
    ),
    max_size=3,
)  # fmt: skip
statuses = st.sampled_from([200, 200, 200, 200, 204, 304, 101, 100, 301, 400, 403, 404, 409, 429, 500, 503, 999, 7])


def http(status: int, more: list[str], body: bytes, *, length: bool) -> bytes:
    """An answer in HTTP."""
    lines = [f"HTTP/1.1 {status} x", *more, *([f"Content-Length: {len(body)}"] if length else [])]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1", "replace") + b"\r\n" + body


@FEW
@given(st.builds(http, statuses, headers, bodies, length=st.booleans()) | st.binary(max_size=30), st.booleans())
def test_any_bytes_are_an_answer_of_consul_or_its_error(answer: bytes, hang_up: bool) -> None:
    """Whatever status, headers and body; each question in turn, over connections that are used again."""

    async def test() -> None:
        async with saying(answer, hang_up=hang_up) as address:
            api = ConsulAPI(f"http://{address}", timeout=SHORT)
            for ask in QUESTIONS.values():
                with suppress(ConsulError):
                    await ask(api)
            await api.close()

    began = perf_counter()
    run(test())
    assert perf_counter() - began < 2, "it ends with its deadlines"


async def test_a_connection_with_an_unasked_response_is_not_used() -> None:
    """Whether it came with the answer, later, or in the moment of the next question."""
    one, stray = (http(200, [], f'"{text}"'.encode(), length=True) for text in ("right", "stray"))
    said: list[list[bytes]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            for part in said.pop(0):
                writer.write(part)
                await asyncio.sleep(wait)

    for wait in (0.0, 0.0, 0.05):
        said[:] = [[one, stray], [one]]
        async with serving(talk) as address:
            api = ConsulAPI(f"http://{address}")
            assert await api.leader() == "right"
            await asyncio.sleep(2 * wait)
            assert await api.leader() == "right"
            await api.close()


@pytest.mark.parametrize(
    ("question", "size", "why"),
    [
        ("health", 2 << 20, "1 MiB"),
        ("checks", 300 << 10, "256 KiB"),
        ("txn", 300 << 10, "256 KiB"),
        ("update", 300 << 10, "256 KiB"),
        ("self", 300 << 10, "256 KiB"),
        ("leader", 8 << 10, "4 KiB"),
    ],
)
async def test_an_answer_of_consul_has_the_size_that_its_question_can_have(question: str, size: int, why: str) -> None:
    """No more is kept, and nothing of it is taken apart."""
    async with saying(http(200, ["X-Consul-Index: 7"], b" " * size, length=True)) as address:
        api = ConsulAPI(f"http://{address}")
        with pytest.raises(ConsulError, match=f"longer than {why}"):
            await QUESTIONS[question](api)
        await api.close()


async def test_an_answer_in_many_small_pieces_is_cut_off() -> None:
    """Each costs the loop a turn of the parser, whatever it holds."""
    async with saying(http(200, ["Transfer-Encoding: chunked"], b"1\r\nx\r\n" * 100_000, length=False)) as address:
        api = ConsulAPI(f"http://{address}")
        with pytest.raises(ConsulError, match="too many pieces"):
            await api.services()
        await api.close()


@pytest.mark.parametrize(
    "answer", [{"Config": {}}, {"Config": {"NodeName": 7}}, {"Config": {"NodeName": ""}}, {**SELF, "Member": 7}]
)
async def test_an_agent_that_does_not_name_its_node_is_an_error(answer: Json) -> None:
    """What is written is written for that node."""
    async with saying(http(200, [], json.dumps(answer).encode(), length=True)) as address:
        api = ConsulAPI(f"http://{address}")
        with pytest.raises(ConsulError, match="does not name its node"):
            await api.agent_self()
        await api.close()
