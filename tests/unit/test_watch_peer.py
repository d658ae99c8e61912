"""The watch on the Redis node whose own word a decision waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from consul_redis_agent.clock import clock
from consul_redis_agent.decide.facts import Address, Peer, Role
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.peer import PeerWatch
from tests.unit.test_logins import Server, bulk, up

B, C = Address("10.0.0.2", 6379), Address("10.0.0.3", 6379)
MASTER = "role:master\r\nmaster_repl_offset:70\r\n"
REPLICA = "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nslave_repl_offset:70\r\n"


class FakePeer(Link):
    """A connection to a node whose answers the test sets for all of them."""

    def __init__(self, network: Network, address: Address, known: bool, lost: Callable[[], None]) -> None:
        self.network, self.address, self.known, self.lost = network, address, known, lost
        self.closed = False

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        self.network.asked.append(self.address)
        self.network.questions.put_nowait(self.address)
        if self.network.silent:
            raise Unanswered("no answer")
        return [f"run_id:{self.address.host}\r\n", self.network.info, self.network.keyspace]

    async def close(self) -> None:
        self.closed = True


class Network:
    """The watch, all connections that it has made, and what it has told."""

    def __init__(self) -> None:
        self.info, self.keyspace, self.silent = REPLICA, "db0:keys=1\r\n", False
        self.known = {B, C}
        self.asked: list[Address] = []
        self.questions = asyncio.Queue[Address]()
        self.made: list[FakePeer] = []
        self.told = asyncio.Queue[Peer | None]()
        self.ends: list[float] = []
        self.watch = PeerWatch(
            self._link,
            lambda address: address in self.known,
            lambda: self.told.put_nowait(self.watch.fact),
            lambda: self.ends.append(clock()),
        )

    def _link(self, address: Address, known: bool, lost: Callable[[], None]) -> Link:
        self.made.append(FakePeer(self, address, known, lost))
        return self.made[-1]

    async def says(self, address: Address, *, closely: bool = False) -> Peer:
        """What a node says once a decision asks for it."""
        self.watch.attend(address, closely=closely)
        while (fact := await self.told.get()) is None or fact.address != address:
            pass
        return fact


@asynccontextmanager
async def watching() -> AsyncIterator[Network]:
    """A watch that runs, and everything around it."""
    network = Network()
    running = asyncio.create_task(network.watch.run())
    try:
        async with asyncio.timeout(10):
            yield network
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def settled() -> None:
    """Let the watch do whatever it does without any time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_it_asks_for_a_node_as_soon_as_a_decision_waits_for_it() -> None:
    """And tells what that one says of itself, when that was asked, its run id, and whether it has data."""
    async with watching() as network:
        before = clock()
        fact = await network.says(B)
        assert before <= fact.at <= clock()
        assert (fact.role, fact.follows, fact.run_id) == (Role.REPLICA, Address("10.0.0.1", 6379), "10.0.0.2")
        assert (fact.offset, fact.empty) == (70, False)
        network.keyspace = ""
        assert (await network.says(C)).empty is True


async def test_nobody_is_asked_while_no_decision_waits() -> None:
    """Its connection is closed then, and nothing more is sent."""
    async with watching() as network:
        await settled()
        assert network.made == []
        await network.says(B)
        network.watch.attend(None, closely=False)
        await settled()
        assert [link.closed for link in network.made] == [True]
        assert network.asked == [B]


async def test_a_young_answer_is_not_asked_for_again() -> None:
    """A decision is made anew at every event; one question a second is enough."""
    async with watching() as network:
        await network.says(B)
        for _ in range(3):
            network.watch.attend(B, closely=False)
            await settled()
        assert network.asked == [B]


async def test_the_first_question_that_cannot_wait_is_asked_whatever_was_said_before() -> None:
    """The next decision may be a second away."""
    async with watching() as network:
        await network.says(B)
        await network.questions.get()
        network.watch.attend(B, closely=True)
        assert await network.questions.get() == B


async def test_an_answer_that_counts_no_more_is_asked_for_again() -> None:
    """After a stop of this process it is old, whatever its age says."""
    async with watching() as network:
        await network.says(B)
        network.watch.forget()
        assert (await network.says(B)).address == B
        assert network.asked == [B, B]


async def test_while_every_millisecond_counts_it_is_asked_again_and_again_and_tells_what_is_new() -> None:
    """Over one connection; a hundred answers a second that say the same would each bring a decision."""
    async with watching() as network:
        await network.says(B, closely=True)
        for _ in range(5):
            network.watch.attend(B, closely=True)
            await network.questions.get()
        await settled()
        assert (len(network.made), network.told.empty()) == (1, True)
        network.info = MASTER
        network.watch.attend(B, closely=True)
        fact = await network.told.get()
        assert fact
        assert (fact.role, fact.run_id) == (Role.MASTER, "10.0.0.2")


async def test_how_far_a_replica_has_come_is_no_news() -> None:
    """It changes with every write; the fact has it all the same."""
    async with watching() as network:
        await network.says(B, closely=True)
        network.info = REPLICA.replace("70", "71")
        while network.watch.fact is None or network.watch.fact.offset == 70:
            network.watch.attend(B, closely=True)
            await network.questions.get()
            await settled()
        assert network.told.empty()


async def test_otherwise_each_answer_is_told() -> None:
    """The decision that waits for it may rest on when it was given."""
    async with watching() as network:
        first = await network.says(B)
        network.watch.forget()
        assert (await network.says(B)).at > first.at


async def test_the_end_of_a_connection_is_told_at_once_and_the_node_asked_again() -> None:
    """Sentinel closes them all in the moment of a promotion: whoever leads it is asked beside the node."""
    async with watching() as network:
        await network.says(B)
        network.info = MASTER
        network.made[0].lost()
        assert len(network.ends) == 1
        fact = await network.told.get()
        assert fact
        assert fact.role is Role.MASTER


async def test_a_node_that_does_not_answer_says_nothing_and_is_connected_to_anew() -> None:
    """Silence is a fact of its own: neither a role nor a run id is left of what it said before."""
    async with watching() as network:
        await network.says(B)
        network.silent = True
        network.watch.forget()
        fact = await network.says(B)
        assert (fact.role, fact.run_id, fact.empty) == (None, "", None)
        await settled()
        assert network.made[0].closed
        network.silent = False
        network.watch.forget()
        assert (await network.says(B)).role is Role.REPLICA
        assert len(network.made) == 2


async def test_another_node_is_asked_over_another_connection() -> None:
    """One at a time: the first one's is closed."""
    async with watching() as network:
        await network.says(B)
        fact = await network.says(C)
        assert fact.run_id == "10.0.0.3"
        assert [(link.address, link.closed) for link in network.made] == [(B, True), (C, False)]


async def test_who_is_known_to_be_of_the_group_later_is_connected_to_anew_with_the_login() -> None:
    """And who was not is asked without it."""
    async with watching() as network:
        network.known = set()
        await network.says(B)
        network.known = {B}
        network.watch.forget()
        await network.says(B)
        assert [(link.known, link.closed) for link in network.made] == [(False, True), (True, False)]


async def test_the_connection_is_closed_when_the_watch_ends() -> None:
    """Nothing is left behind."""
    async with watching() as network:
        await network.says(B)
    assert [link.closed for link in network.made] == [True]


async def test_a_node_is_asked_over_a_socket() -> None:
    """As Redis answers."""
    node = Server({"INFO server": bulk("run_id:b1\r\n"), "INFO replication": bulk(MASTER), "INFO keyspace": bulk("")})
    told = asyncio.Event()
    async with up(node):
        watch = PeerWatch(
            lambda address, known, closed: Link(address, timeout=5, closed=closed),
            lambda address: True,
            told.set,
            lambda: None,
        )
        running = asyncio.create_task(watch.run())
        watch.attend(node.address, closely=False)
        await asyncio.wait_for(told.wait(), 5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert watch.fact
    assert (watch.fact.role, watch.fact.run_id, watch.fact.empty) == (Role.MASTER, "b1", True)
