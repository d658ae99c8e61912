"""The demo's witness and verdict: what tests/integration/test_demo.py cannot show, for there all goes well."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from consul_redis_agent.commands.demo.fleet import Fleet, Server
from consul_redis_agent.commands.demo.process import until
from consul_redis_agent.commands.demo.scenes import Demo, Scene
from consul_redis_agent.commands.demo.stage import Stage
from consul_redis_agent.commands.demo.witness import Timeline, Witness
from consul_redis_agent.decide.facts import Address

NAME = "redis.service.consul"
NODES = [SimpleNamespace(name=f"redis{n}", address=Address("127.0.0.1", n)) for n in (1, 2)]


def two(names: frozenset[int]) -> bool:
    return len(names) == 2


# --- how long ---------------------------------------------------------------------------------------------------------


def test_each_state_lasts_until_the_next_and_silence_is_none() -> None:
    """Two names for 3 s, an unanswered second between them, and nothing beyond the last look."""
    assert Timeline[int]().last is None
    line = Timeline[int]()
    for at, ports in ((1, {1}), (2, {1, 2}), (4, None), (5, {1, 2}), (6, set[int]()), (7, set[int]())):
        line.note(at, None if ports is None else frozenset(ports))
    assert [*line.spans(two)] == [(2, 4), (5, 6)]
    assert line.seconds(two) == 3
    assert line.seconds(lambda names: not names) == 1
    assert line.last == frozenset()
    assert line.up_to == 7


def test_a_window_cuts_what_reaches_beyond_it() -> None:
    """Each scene has its own seconds."""
    line = Timeline[int]()
    line.note(1, frozenset({1, 2}))
    line.note(9, frozenset({1, 2}))
    assert [*line.spans(two, 3, 5)] == [(3, 5)]
    assert line.seconds(two, 8, 20) == 1
    assert line.seconds(two, 10, 20) == 0


# --- what is seen -----------------------------------------------------------------------------------------------------


class DnsServer:
    """Answers each question with the ports of ``says``; with an error where there are none to say."""

    def __init__(self) -> None:
        self.says: set[int] | None = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = Address(*self._socket.getsockname())

    def serve(self) -> None:
        while True:
            wire, client = self._socket.recvfrom(65535)
            if not wire:
                self._socket.close()
                return
            reply = dns.message.make_response(dns.message.from_wire(wire))
            if self.says is None:
                reply.set_rcode(dns.rcode.SERVFAIL)
            elif self.says:
                records = [f"1 1 {port} host.node.consul." for port in self.says]
                reply.answer.append(dns.rrset.from_text(f"{NAME}.", 0, "IN", "SRV", *records))
            else:
                reply.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(reply.to_wire(), client)

    def end(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.address)


@contextmanager
def dns_server() -> Iterator[DnsServer]:
    server = DnsServer()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.end()
        thread.join()


def wait_for_dns(witness: Witness, ports: frozenset[int] | None) -> None:
    until(lambda: witness.samples and witness.dns.last == ports, within=5, what=f"the witness sees {ports}")


def test_the_witness_tells_one_two_none_and_silence_apart() -> None:
    """And a node that nobody can connect to says nothing of itself."""
    nobody = SimpleNamespace(name="redis1", address=Address("127.0.0.1", 1))
    with dns_server() as server, Witness(NAME, server.address, [cast(Server, nobody)]) as witness:
        for says in (set[int](), {1}, {1, 2}, {2}, None, {2}):
            server.says = says
            wait_for_dns(witness, None if says is None else frozenset(says))
            witness.watch(0.02)
        assert [len(names) for _, names in witness.dns._changes if names is not None] == [0, 1, 2, 1, 1]
        assert 0 < witness.dns.seconds(two) < witness.dns.up_to
        assert witness.roles == {"redis1": None}
        assert witness.masters.last == frozenset()
        assert witness.samples > 5
        assert witness.resolution > 0


@pytest.mark.parametrize("asked", [True, False])
def test_a_promoted_node_that_ends_its_connections_is_asked_again_at_once(asked: bool) -> None:
    """With a reset where it has not read the question; that it said nothing for a moment is not noted."""
    with socket.create_server(("127.0.0.1", 0)) as listener, dns_server() as server:
        node = SimpleNamespace(name="redis1", address=Address(*listener.getsockname()))
        with Witness(NAME, server.address, [cast(Server, node)]) as witness:
            for _ in range(3):
                with listener.accept()[0] as connection:
                    connection.recv(100)
                    connection.send(b"*3\r\n$6\r\nmaster\r\n")
                    connection.recv(100, 0 if asked else socket.MSG_PEEK)
                    assert [names for _, names in witness.masters._changes] == [frozenset({"redis1"})]


# --- what it means ----------------------------------------------------------------------------------------------------


def verdict(*named: set[int], master: int = 1) -> bool:
    """What the demo says of a planned failover in which DNS named these, a second each."""
    server = Address("127.0.0.1", 1)
    fleet = SimpleNamespace(nodes=NODES, consul=SimpleNamespace(dns=server), wait_for_master=lambda: NODES[master - 1])
    demo = Demo(cast(Fleet, fleet), Stage())
    for at, ports in enumerate(named, 1):
        demo.witness.dns.note(at, frozenset(ports))
    demo.witness.dns.note(len(named) + 1, frozenset(named[-1]))
    return demo.sum_up([Scene("planned failover", 1, len(named) + 1)])


def test_the_demo_says_what_was_broken(capsys: pytest.CaptureFixture[Any]) -> None:
    """Two masters in DNS, none during the planned failover, or the wrong one at the end: each is a failure."""
    assert verdict({2}, {1})
    assert "kept: never two masters in DNS" in capsys.readouterr().out
    assert not verdict({2}, {1, 2}, {1})
    assert "BROKEN: DNS named two masters for 1.000 s\n" in capsys.readouterr().out
    assert not verdict({2}, set(), {1})
    assert "BROKEN: DNS named nobody for 1.000 s of the planned failover\n" in capsys.readouterr().out
    assert not verdict({2}, {1}, master=2)
    assert "BROKEN: DNS does not name the master that Sentinel names\n" in capsys.readouterr().out
