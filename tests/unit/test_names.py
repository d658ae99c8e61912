"""Host names: a resolver that hangs holds up those who need it, and nobody else, at the end neither."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from consul_redis_agent import names
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch.link import Link

HUNG = [f"host{number}.example" for number in range(40)]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[bytes, list[Any]]]:
    """A resolver that knows what the test puts in here, and hangs for everything else until the end of the test."""
    known: dict[bytes, list[Any]] = {}
    over = threading.Event()

    def look_up(host: bytes, port: object, **_: object) -> list[Any]:
        if host not in known:
            over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "too late")
        if not known[host]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, socket.SOCK_STREAM, 6, "", place) for family, place in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield known
    over.set()
    assert names.LOOKUPS.settle(5)


@pytest.fixture
async def listening() -> Any:
    """The port of a server on 127.0.0.1 that answers everything as Redis does to PING."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            writer.write(b"+PONG\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_addresses_and_localhost_are_known_already(resolver: dict[bytes, list[Any]]) -> None:
    """Nobody is asked, and no thread is started."""
    before = threading.active_count()
    assert await names.addresses("10.0.0.5", 1, 1) == [(socket.AF_INET, ("10.0.0.5", 1))]
    assert await names.addresses("fe80::1", 1, 1) == [(socket.AF_INET6, ("fe80::1", 1))]
    assert await names.addresses("LocalHost", 1, 1) == [
        (socket.AF_INET, ("127.0.0.1", 1)),
        (socket.AF_INET6, ("::1", 1)),
    ]
    assert threading.active_count() == before


async def test_a_name_has_each_of_its_addresses_once(resolver: dict[bytes, list[Any]]) -> None:
    """In the resolver's order, with the port that was asked for, and the scope."""
    four, six = (socket.AF_INET, ("10.0.0.5", 0)), (socket.AF_INET6, ("fe80::1", 0, 0, 2))
    resolver[b"redis.example"] = [six, four, six]
    assert await names.addresses("redis.example", 6379, 1) == [
        (socket.AF_INET6, ("fe80::1", 6379, 0, 2)),
        (socket.AF_INET, ("10.0.0.5", 6379)),
    ]


@pytest.mark.parametrize("host", ["gone.example", "", "a\0b", "ü" * 64, "ü..x"])
async def test_what_is_no_name_is_said(resolver: dict[bytes, list[Any]], host: str) -> None:
    """Also where it comes from somebody who writes nonsense."""
    resolver[b"gone.example"] = []
    with pytest.raises(socket.gaierror):
        await names.addresses(host, 1, 1)


async def test_forty_names_that_hang_hold_up_nobody(resolver: dict[bytes, list[Any]], listening: int) -> None:
    """`localhost`, an address and a name that is known are reached at once; what hangs says that it was the resolver."""
    resolver[b"known.example"] = [(socket.AF_INET, ("127.0.0.1", 0))]
    hung = [Link(Address(host, 6379), timeout=1) for host in HUNG]
    asking = [asyncio.create_task(link.ask(("PING",))) for link in hung]
    await asyncio.sleep(0.05)
    for host in ("localhost", "127.0.0.1", "known.example"):
        link = Link(Address(host, listening), timeout=1)
        assert await link.ask(("PING",)) == ["PONG"]
        await link.close()
    assert not any(one.done() for one in asking)
    errors = await asyncio.gather(*asking, return_exceptions=True)
    for host, error in zip(HUNG, errors, strict=True):
        assert isinstance(error, Unanswered)
        assert not error.gone
        assert f"the resolver, asked for {host}, did not answer within 0.75 s: see /etc/resolv.conf" in str(error)


async def test_a_name_that_hangs_is_looked_up_once(resolver: dict[bytes, list[Any]]) -> None:
    """However often it is asked for, and with whatever port."""
    asking = [names.addresses("host0.example", port, 0.1) for port in range(1, 9)]
    assert all(isinstance(e, socket.gaierror) for e in await asyncio.gather(*asking, return_exceptions=True))
    with pytest.raises(socket.gaierror):
        await names.addresses("host0.example", 9, 0.1)
    assert names.LOOKUPS._running == 1


ENDING = """
import asyncio, socket, sys, threading
from consul_redis_agent import names, state
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.watch.link import Link
socket.getaddrinfo = lambda *_, **__: threading.Event().wait()

async def main():
    links = [Link(Address(f"host{n}.example", 6379), timeout=0.2) for n in range(40)]
    found = await asyncio.gather(*(link.ask(("PING",)) for link in links), return_exceptions=True)
    print(len(found), threading.active_count())

asyncio.run(main())
"""


def test_the_end_of_the_process_waits_for_no_resolver() -> None:
    """Neither the event loop nor the interpreter joins what hangs."""
    done = subprocess.run(
        [sys.executable, "-c", ENDING], capture_output=True, text=True, check=False, timeout=60, env=os.environ
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "40 41\n", "")


async def test_each_address_is_tried_in_turn(resolver: dict[bytes, list[Any]], listening: int) -> None:
    """The first that takes a connection has it."""
    resolver[b"two.example"] = [(socket.AF_INET, ("127.0.0.2", 0)), (socket.AF_INET, ("127.0.0.1", 0))]
    with socket.create_server(("127.0.0.2", 0)) as other:
        free = other.getsockname()[1]
    made = await names.connect("two.example", listening, 1)
    assert made.getpeername() == ("127.0.0.1", listening)
    made.close()
    with pytest.raises(ConnectionRefusedError):
        await names.connect("two.example", free, 1)


async def test_an_address_out_of_reach_leaves_the_next_its_time(
    resolver: dict[bytes, list[Any]], listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with an IPv6 address to which packets vanish: the IPv4 one is reached within the same deadline."""
    resolver[b"two.example"] = [(socket.AF_INET6, ("fd00::1", 0)), (socket.AF_INET, ("127.0.0.1", 0))]
    reach = names._connect

    async def vanish(family: socket.AddressFamily, place: tuple[Any, ...]) -> socket.socket:
        if family is socket.AF_INET6:
            await asyncio.Event().wait()
        return await reach(family, place)

    monkeypatch.setattr(names, "_connect", vanish)
    link = Link(Address("two.example", listening), timeout=2)
    assert await link.ask(("PING",)) == ["PONG"]
    assert link.peer == "127.0.0.1"
    await link.close()


@pytest.mark.parametrize(
    ("numbers", "said", "gone"),
    [
        ((errno.ECONNREFUSED, errno.ECONNREFUSED), "nothing listens there", True),
        ((errno.ECONNREFUSED, errno.EADDRNOTAVAIL), "nothing listens there", True),
        ((errno.EAFNOSUPPORT, errno.EAFNOSUPPORT), "Address family not supported", False),
        ((errno.ECONNREFUSED, errno.EHOSTUNREACH), "No route to host", False),
    ],
)
async def test_gone_is_who_refuses_wherever_it_can_be_reached(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, int], said: str, *, gone: bool
) -> None:
    """An address of a family that this host has not says nothing; one that is out of reach leaves it open."""
    errors = iter(numbers)

    async def refuse(family: object, place: object) -> socket.socket:
        number = next(errors)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(names, "_connect", refuse)
    with pytest.raises(Unanswered, match=said) as caught:
        await Link(Address("localhost", 6379), timeout=1).connect()
    assert caught.value.gone is gone


def test_a_name_brings_no_tables_of_characters_into_memory() -> None:
    """Python loads its own for every name that is text; the daemon's memory is a promise."""
    code = "import asyncio, sys; from consul_redis_agent import names; asyncio.run(names.connect('a.invalid', 1, 1))"
    code = f"import sys\ntry:\n exec({code!r})\nexcept OSError: print('encodings.idna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
