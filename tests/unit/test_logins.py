"""A password goes only to who was checked; everybody else is asked without one."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from consul_redis_agent.commands import survey as surveys
from consul_redis_agent.commands.check_sentinel import _left_out
from consul_redis_agent.commands.lookup import Answer
from consul_redis_agent.commands.resolve import judge_answers
from consul_redis_agent.commands.survey import SENTINELS, UNCHECKED, Survey, survey
from consul_redis_agent.config import Config, RedisConfig, Secret, load
from consul_redis_agent.decide.decision import SentinelMode
from consul_redis_agent.decide.facts import Address, Role, Sentinel
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.lookout import Lookout
from consul_redis_agent.watch.peer import PeerWatch
from consul_redis_agent.watch.redis_node import RedisWatch, ask_peer, is_of_group
from tests.unit.test_from_outside import MASTER_INFO, Said

PASSWORD = "s3cret"
NOWHERE = Address("", 0)
Commands = list[list[str]]


@dataclass
class Server:
    """A Redis or Sentinel that answers by the first words of a command, and keeps what it was asked."""

    answers: dict[str, bytes]
    address: Address = NOWHERE
    asked: Commands = field(default_factory=list)

    @property
    def knows_password(self) -> bool:
        """Whether somebody has told it."""
        return any(PASSWORD in command for command in self.asked)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while count := (await reader.readline())[1:]:
                words = [await self._word(reader) for _ in range(int(count))]
                self.asked.append(words)
                writer.write(self._answer(words))
        writer.transport.abort()

    @staticmethod
    async def _word(reader: asyncio.StreamReader) -> str:
        length = int((await reader.readline())[1:])
        return (await reader.readexactly(length + 2))[:-2].decode()

    def _answer(self, words: list[str]) -> bytes:
        for given in (" ".join(words[:2]), words[0]):
            if given in self.answers:
                return self.answers[given]
        return b"+OK\r\n" if words[0] == "AUTH" else b"-ERR unknown command\r\n"


@asynccontextmanager
async def up(*servers: Server) -> AsyncIterator[None]:
    """Start them."""
    running: set[asyncio.Task[None] | None] = set()

    def serve(server: Server) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            running.add(asyncio.current_task())
            await server.serve(reader, writer)

        return talk

    listening = [await asyncio.start_server(serve(s), "127.0.0.1", 0) for s in servers]
    for server, at in zip(servers, listening, strict=True):
        server.address = Address("127.0.0.1", at.sockets[0].getsockname()[1])
    try:
        yield
    finally:
        for at in listening:
            at.close()
        for _ in range(10):
            await asyncio.sleep(0)
        for task in filter(None, running):
            task.cancel()
        await asyncio.gather(*filter(None, running), return_exceptions=True)
        await asyncio.sleep(0)


def bulk(text: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text.encode())


def flat(**fields: object) -> bytes:
    parts = [part for key, value in fields.items() for part in (key.replace("_", "-"), str(value))]
    return b"*%d\r\n" % len(parts) + b"".join(map(bulk, parts))


def redis(run_id: str = "aaa") -> Server:
    """A master."""
    return Server({"INFO": bulk(MASTER_INFO.replace("run_id:aaa", f"run_id:{run_id}"))})


def sentinel(id_: str, master: Address, *peers: tuple[str, Address]) -> Server:
    """A Sentinel that names this master and lists these others."""
    named = flat(name="m", ip=master.host, port=master.port, runid="aaa", flags="master", config_epoch=1)
    listed = b"".join(flat(ip=at.host, port=at.port, runid=run_id, flags="sentinel") for run_id, at in peers)
    return Server(
        {
            "SENTINEL MYID": bulk(id_),
            "SENTINEL MASTERS": b"*1\r\n" + named,
            "SENTINEL MASTER": named,
            "SENTINEL GET-MASTER-ADDR-BY-NAME": b"*2\r\n" + bulk(master.host) + bulk(str(master.port)),
            "SENTINEL REPLICAS": b"*0\r\n",
            "SENTINEL SENTINELS": b"*%d\r\n" % len(peers) + listed,
            "INFO": bulk("sentinel_tilt:0\r\n"),
            "PSUBSCRIBE": b"*3\r\n+psubscribe\r\n+*\r\n:1\r\n",
        }
    )


def configuration(url: str, *hosts: Address, password_file: Path | None = None) -> Config:
    config = load(None, {}, {"redis.url": url, "sentinel.hosts": [*map(str, hosts)]})
    (node,) = config.redis
    node = dataclasses.replace(node, password=Secret(PASSWORD), master_name="m", timeout=0.5)
    return dataclasses.replace(
        config, redis=(node,), sentinel=dataclasses.replace(config.sentinel, password_file=password_file)
    )


def dns(server: Server) -> tuple[Answer, ...]:
    """The answer that names it."""
    return (Answer("x", server.address.port, server.address.host, 0),)


async def test_who_stands_in_dns_alone_is_asked_without_the_password() -> None:
    """Anybody who can write the catalog can name any address."""
    forger, true = redis("bbb"), redis()
    async with up(forger, true):
        watcher = sentinel("s1", true.address)
        async with up(watcher):
            config = configuration("redis://127.0.0.1:1", watcher.address)
            judgement, looks, _ = await judge_answers(config, config.redis[0], dns(forger))
            assert looks.keys() == {forger.address}
            assert not judgement.true
            assert forger.asked
            assert not forger.knows_password
            judgement, _, _ = await judge_answers(config, config.redis[0], dns(true))
            assert judgement.true
            assert true.knows_password


async def test_who_is_configured_is_asked_with_the_password() -> None:
    """Without Sentinel, too."""
    own = redis()
    async with up(own):
        config = configuration(f"redis://{own.address}")
        config = dataclasses.replace(config, sentinel=dataclasses.replace(config.sentinel, mode="off"))
        judgement, _, _ = await judge_answers(config, config.redis[0], dns(own))
        assert judgement.true
        assert own.knows_password


async def test_a_node_that_dns_names_vouches_for_nobody(tmp_path: Path) -> None:
    """It says hello for a Sentinel that names it: neither of the two gets a password."""
    (tmp_path / "password").write_text(PASSWORD)
    forger = redis()
    async with up(forger):
        accomplice = sentinel("s1", forger.address)
        async with up(accomplice):
            host, port = accomplice.address
            said = f"{host},{port},s1,1,m,{forger.address.host},{forger.address.port},1"
            hello = b"*3\r\n" + bulk("message") + bulk("__sentinel__:hello") + bulk(said)
            forger.answers["SUBSCRIBE"] = b"*3\r\n+subscribe\r\n+x\r\n:1\r\n" + hello
            for file in (None, tmp_path / "password"):
                config = configuration("redis://127.0.0.1:1", password_file=file)
                await judge_answers(config, config.redis[0], dns(forger))
                assert forger.asked
                assert not forger.knows_password
                assert bool(accomplice.asked) == (file is None)
                assert not accomplice.knows_password
                accomplice.asked.clear()


async def test_a_sentinel_gets_the_password_once_most_of_the_others_list_it(tmp_path: Path) -> None:
    """One that is false lists its like: these are asked, without."""
    (tmp_path / "password").write_text(PASSWORD)
    master = Address("10.0.0.1", 6379)
    third, ghost = sentinel("s3", master), sentinel("g", master)
    async with up(third, ghost):
        listed = ("s3", third.address)
        first = sentinel("s1", master, listed)
        second = sentinel("s2", master, listed, ("g", ghost.address))
        async with up(first, second):
            config = configuration(
                "redis://127.0.0.1:1", first.address, second.address, password_file=tmp_path / "password"
            )
            ghost.answers |= dict.fromkeys(ghost.answers, b"-NOAUTH Authentication required.\r\n")
            found = await survey(config, config.redis[0], [])
            assert first.knows_password
            assert third.knows_password
            assert ghost.asked
            assert not ghost.knows_password
            assert found.checked == {first.address, second.address, third.address}
            assert any(s.error.startswith(UNCHECKED) for s in (*found.sentinels, *found.others))


async def test_a_sentinel_that_lists_ever_new_ones_is_not_followed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address is asked once, and no more than there can be; what was left out is said."""
    made = 0
    asked: list[Address] = []

    async def look(
        config: Config, address: Address, name: str, *, login: bool
    ) -> tuple[Sentinel, dict[str, tuple[Address, str]]]:
        nonlocal made
        asked.append(address)
        made += 5
        peers = {f"g{n}": Address("10.9.9.9", 10_000 + n) for n in range(made, made + 5)}
        return Sentinel(0.0, f"id{address}", address, master=Address("10.0.0.1", 6379), epoch=1, peers=peers), {}

    monkeypatch.setattr(surveys, "_look", look)
    config = configuration("redis://127.0.0.1:1", Address("10.0.1.1", 26379))
    found = await survey(config, config.redis[0], [])
    assert len(asked) == len({*asked}) == SENTINELS
    assert found.left_out > 0
    assert f"{found.left_out} more addresses" in str(next(_left_out(found)))
    assert not [*_left_out(Survey())]


async def test_a_look_at_sentinels_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where each answer takes its time and names one more."""
    now = 0.0

    async def look(
        config: Config, address: Address, name: str, *, login: bool
    ) -> tuple[Sentinel, dict[str, tuple[Address, str]]]:
        nonlocal now
        now += 5.0
        return Sentinel(0.0, f"id{now}", address, epoch=1, peers={f"g{now}": Address("10.9.9.9", int(now))}), {}

    monkeypatch.setattr(surveys, "_look", look)
    monkeypatch.setattr(surveys, "clock", lambda: now)
    config = configuration("redis://127.0.0.1:1", Address("10.0.1.1", 26379))
    found = await survey(config, config.redis[0], [])
    assert (now <= surveys.ASK_LIMIT + 5, found.left_out) == (True, 1)


async def test_who_is_of_the_group_is_told_by_sentinel_or_by_the_own_node() -> None:
    """An entry in Consul tells nothing."""
    replica, master, stranger = Address("10.0.0.2", 6379), Address("10.0.0.1", 6379), Address("10.0.0.9", 6379)
    known = (Sentinel(0.0, "s1", Address("10.0.1.1", 26379), master=master, run_ids={replica: "r"}),)
    assert [is_of_group(a, known) for a in (master, replica, stranger)] == [True, True, False]

    answers = {"INFO": MASTER_INFO, "CONFIG": []}
    watch = RedisWatch(lambda _: Said(answers), lambda: None, 0.0)
    assert not watch.names(replica)
    await watch._look(0.0)
    assert [watch.names(a) for a in (master, replica, stranger)] == [False, True, False]
    answers["INFO"] = "run_id:aaa\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\n"
    await watch._look(0.0)
    answers["INFO"] = MASTER_INFO
    await watch._look(0.0)
    assert watch.names(master), "it had logged in there before its promotion"


async def test_a_peer_that_asks_for_a_login_says_nothing_to_who_has_none() -> None:
    """That is a missed look, not a role."""
    peer = Server({"INFO": b"-NOAUTH Authentication required.\r\n"})
    async with up(peer):
        with pytest.raises(Unanswered, match="Authentication required"):
            await ask_peer(peer.address, Link(peer.address, timeout=1))


async def test_the_agent_gives_its_password_to_no_address_of_the_catalog() -> None:
    """But to a peer that a Sentinel lists."""
    peer = redis()
    async with up(peer):
        config = configuration("redis://127.0.0.1:1")
        lookout = lookout_of(config.redis[0])
        await lookout._peer._look(peer.address)
        assert lookout._peer.fact
        assert lookout._peer.fact.role is Role.MASTER
        assert not peer.knows_password
        lookout.sentinels = (Sentinel(0.0, "s1", Address("10.0.1.1", 26379), master=peer.address),)
        await lookout._peer._look(peer.address)
        await lookout._peer._drop()
        assert peer.knows_password


def lookout_of(config: RedisConfig) -> Lookout:
    """The watchers of one node, none of them at work; only what asking a peer needs of them is there."""
    made = object.__new__(Lookout)
    made.redis, made.mode, made.sentinels, made._changed = config, SentinelMode.AUTO, (), lambda: None
    made._node = RedisWatch(made._link, lambda: None, 0.0)
    made._peer = PeerWatch(made._link_to, made._is_of_group, made._changed, lambda: None)
    made.address, made._catalogs = config.url, ()
    return made
