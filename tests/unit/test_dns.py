"""The agent's own look at DNS, with a DNS server that answers what the test says."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import dns.message
import dns.rcode
import dns.rrset
import pytest
import pytest_asyncio

from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.decide.decision import Decision, Reason, Verdict
from consul_redis_agent.decide.facts import Address, Catalog, Entry, Facts, Sentinel
from consul_redis_agent.errors import ConsulDenied, ConsulUnreachable
from consul_redis_agent.tell import dns as module
from consul_redis_agent.tell.dns import Asker, DnsWatch
from consul_redis_agent.tell.shown import Shown
from consul_redis_agent.tell.unseen import LATE, Unseen

A, B, NAMED = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379), Address("redis-a.example.org", 6380)
SELF = {"Config": {"NodeName": "host"}, "DebugConfig": {"DNSDomain": "shop."}}
Told = tuple[str, tuple[Address, ...] | None]


class Server(asyncio.DatagramProtocol):
    """Consul's DNS in the domain ``shop``: names :attr:`masters`, or answers with an error where that is None."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self.masters: Sequence[Address] | None = ()
        self.silent = False
        self.asked: list[str] = []
        self.heard = asyncio.Event()

    @property
    def address(self) -> Address:
        return Address(*self.transport.get_extra_info("sockname"))

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = dns.message.from_wire(data)
        self.asked.append(question.question[0].name.to_text(omit_final_dot=True))
        self.heard.set()
        if self.silent:
            return
        answer = dns.message.make_response(question)
        if not self.masters:
            answer.set_rcode(dns.rcode.SERVFAIL if self.masters is None else dns.rcode.NXDOMAIN)
        name = question.question[0].name
        for master in self.masters or ():
            own = master.host.replace(".", "").isdigit()
            target = f"{master.host.replace('.', '-')}.addr.dc1.shop." if own else f"{master.host}."
            answer.answer.append(dns.rrset.from_text(name, 0, "IN", "SRV", f"1 1 {master.port} {target}"))
            answer.additional.append(dns.rrset.from_text(target, 0, "IN", "A", master.host if own else "192.0.2.7"))
        self.transport.sendto(answer.to_wire(), addr)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy answers late, and that is no answer that was not given."""
    monkeypatch.setattr(module, "TIMEOUT", 3600.0)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    transport, made = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    yield made
    transport.close()


class Seen:
    """What a watch has told of."""

    def __init__(self, server: Server, agent_self: Any = SELF, domain: str = "") -> None:
        self.told: asyncio.Queue[Told] = asyncio.Queue()
        api = Mock(
            spec=ConsulAPI,
            agent_self=AsyncMock(side_effect=agent_self if isinstance(agent_self, list) else [agent_self]),
        )
        self.watch = DnsWatch(api, "redis", lambda d: f"redis.service.{d}", domain, server.address, self._changed)
        self.task = asyncio.create_task(self.watch.run())

    def _changed(self, service: str, masters: tuple[Address, ...] | None, at: float) -> None:
        self.told.put_nowait((service, masters))

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_each_change_of_the_answer_is_told_once(server: Server) -> None:
    """None, one, two, no answer: each as it comes, in the domain that the Consul agent tells."""
    seen = Seen(server)
    for masters in ((), (A,), (A, B), None, (B,)):
        server.masters = masters
        assert await seen.told.get() == ("redis", masters)
    assert {*server.asked} == {"redis.service.shop"}
    await seen.end()
    assert seen.told.empty()


async def test_a_target_outside_the_domain_stands_for_itself(server: Server) -> None:
    """An entry that has a host name is published by it, whatever address a recursor has found for that."""
    server.masters = (NAMED,)
    seen = Seen(server)
    assert await seen.told.get() == ("redis", (NAMED,))
    await seen.end()


@pytest.mark.parametrize(
    ("agent_self", "domain", "asked"),
    [(SELF, "", "shop"), (SELF, "set.example", "set.example"), (ConsulDenied("no"), "", "consul"), ({}, "", "consul")],
)
async def test_the_domain_is_that_of_the_configuration_or_the_consul_agents(
    server: Server, agent_self: Any, domain: str, asked: str
) -> None:
    """And Consul's usual one to whom that does not tell it."""
    seen = Seen(server, agent_self, domain)
    await seen.told.get()
    assert {*server.asked} == {f"redis.service.{asked}"}
    await seen.end()


async def test_a_consul_agent_that_is_not_there_yet_is_asked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then DNS counts as unanswered."""
    monkeypatch.setattr(module, "CALM", 0.01)
    seen = Seen(server, [ConsulUnreachable("gone"), SELF])
    assert [await seen.told.get(), await seen.told.get()] == [("redis", None), ("redis", ())]
    await seen.end()


async def test_nothing_is_asked_twice_at_once(server: Server) -> None:
    """However often something happens while a question is under way."""
    server.silent = True
    seen = Seen(server)
    await server.heard.wait()
    for _ in range(10):
        seen.watch.look_closely()
        await asyncio.sleep(0)
    assert len(server.asked) == 1
    await seen.end()


def decided(*, catalog: tuple[Entry, ...] = (), promoting: str | None = None, verdict: Verdict = Verdict.NONE) -> Any:
    word = Sentinel(0.0, "s1", A, master=A, promoting=promoting)
    known = Facts(now=0.0, sentinels=(word,), catalog=Catalog(0.0, 1, catalog))
    return SimpleNamespace(name="n", facts=known, decision=Decision(verdict, Reason.SILENT, "It is so."))


@pytest.mark.parametrize(
    ("after", "closely"),
    [
        (decided(), False),
        (decided(catalog=(Entry("host", "redis-6379", "redis", A),)), True),
        (decided(promoting=""), True),
        (decided(verdict=Verdict.REPLICA), True),
    ],
    ids=["nothing", "an entry", "a selection", "a decision"],
)
async def test_dns_is_asked_closely_around_a_transition(server: Server, after: Any, closely: bool) -> None:
    """Whenever something has changed that may show in DNS, and not otherwise: the machine is not there for the watch."""
    watch = DnsWatch(Mock(), "redis", str, "", server.address, Mock())
    watch.decided(decided())
    watch._closely_until = 0.0
    watch.decided(after)
    assert (watch._closely_until > 0) is closely


async def test_a_server_that_is_silent_is_no_answer(server: Server) -> None:
    """After its time a question is given up, and the next one is put over another socket."""
    server.silent = True
    asker = Asker("redis.service.shop", server.address, 0.05, "shop")
    assert await asker.ask() is None
    server.silent, server.masters = False, (A,)
    asker._timeout = 3600.0
    assert await asker.ask() == frozenset({A})
    asker.close()


async def test_a_closed_port_is_no_answer() -> None:
    """It is told at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        closed = Address(*bound.getsockname())
    asker = Asker("redis.service.shop", closed, 60.0)  # far longer than this test may take
    assert await asker.ask() is None
    asker.close()


# What the catalog holds and DNS does not show


class Case:
    """A node whose entry the catalog shows as passing, and DNS, as far as the test says."""

    def __init__(self, missing: Any) -> None:
        self.entry = Entry("host", "redis-6379", "redis", A, says_master=True, passing=True)
        self.lookout = Mock(entries=lambda: iter([self.entry]))
        naming, writer = SimpleNamespace(master_id="redis-6379"), SimpleNamespace(consul_node="host", only_passing=None)
        self.shown = Shown("redis")
        self.missing = AsyncMock(side_effect=[missing] if not isinstance(missing, list) else None, return_value=missing)
        node: Any = SimpleNamespace(lookout=self.lookout, naming=naming, writer=writer)
        self.unseen = Unseen(node, self.shown, self.missing)

    async def look(self, masters: tuple[Address, ...] | None, at: float) -> str:
        self.shown.answered(masters, at)
        self.unseen.look()
        if self.unseen._asking:
            await self.unseen._asking
        return self.unseen.said


async def test_what_dns_may_not_read_is_named_as_long_as_it_lasts() -> None:
    """With the right that is missing; not for the moment that every change takes, and it ends by itself."""
    case = Case(["node:read"])
    assert [await case.look((), at) for at in (0.0, 1.0)] == ["", ""]
    said = await case.look((), LATE)
    assert said.startswith(
        f"Consul's catalog holds {A} as passing, but DNS does not show it: its token lacks node:read"
    )
    assert await case.look((), 100.0) == said
    case.missing.assert_awaited_once()
    assert await case.look((A,), 101.0) == ""


async def test_where_the_right_cannot_be_found_out_the_rest_is_said() -> None:
    """Consul may refuse that question, too."""
    case = Case(ConsulDenied("no"))
    await case.look((), 0.0)
    assert "is consul.dns the DNS port of this very Consul" in await case.look((), LATE)


@pytest.mark.parametrize(
    "change", [{"passing": False}, {"maintenance": True}, {"critical": ("disk",)}, {"node": "other"}]
)
async def test_an_entry_that_dns_leaves_out_rightly_is_no_complaint(change: dict[str, Any]) -> None:
    """It is critical, in maintenance, behind another check, or not this node's."""
    case = Case(["node:read"])
    case.entry = replace(case.entry, **change)
    assert [await case.look((), at) for at in (0.0, LATE, 2 * LATE)] == ["", "", ""]


@pytest.mark.parametrize("masters", [None, (B,)])
async def test_only_an_answer_without_any_master_is_a_complaint(masters: tuple[Address, ...] | None) -> None:
    """No answer says nothing of what DNS may read, and neither does another master."""
    case = Case(["node:read"])
    assert [await case.look(masters, at) for at in (0.0, LATE, 2 * LATE)] == ["", "", ""]
