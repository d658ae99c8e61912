"""The demo's witness: asks DNS and each Redis node without pause, and knows for how long they said what."""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import cycle, pairwise
from types import TracebackType
from typing import Generic, Self, TypeVar

import dns.message
import dns.rcode
import dns.rdatatype

from consul_redis_agent.commands.demo.fleet import Server
from consul_redis_agent.commands.demo.process import until
from consul_redis_agent.decide.facts import Address

DEADLINE = 0.25
"""Seconds without a reply that count as no reply."""
EVERY_ANSWER, EVERY_ROLE = 0.002, 0.005
"""Seconds between a reply and the next question."""
ROLES = ("master", "slave")

_T = TypeVar("_T")


class Timeline(Generic[_T]):
    """Who was named, from when on; None while nobody answered. Times are of :func:`time.monotonic`."""

    def __init__(self) -> None:
        self.up_to = 0.0
        """When somebody looked last."""
        self._changes: list[tuple[float, frozenset[_T] | None]] = []

    @property
    def last(self) -> frozenset[_T] | None:
        """Who was named last."""
        return self._changes[-1][1] if self._changes else None

    def note(self, at: float, named: frozenset[_T] | None) -> None:
        """Take in who is named at a moment."""
        if not self._changes or named != self.last:
            self._changes.append((at, named))
        self.up_to = at

    def spans(
        self, condition: Callable[[frozenset[_T]], bool], since: float = 0.0, until: float = math.inf
    ) -> Iterator[tuple[float, float]]:
        """When the names met the condition: from, to, cut to the given time."""
        end, changes = min(until, self.up_to), self._changes.copy()  # in this order: the other thread goes on
        for (at, named), (following, _) in pairwise([*changes, (end, None)]):
            start, stop = max(at, since), min(following, end)
            if start < stop and named is not None and condition(named):
                yield start, stop

    def seconds(self, condition: Callable[[frozenset[_T]], bool], since: float = 0.0, until: float = math.inf) -> float:
        """For how long the names met the condition."""
        return sum(stop - start for start, stop in self.spans(condition, since, until))


class Witness:
    """Watches ``name`` at a DNS server and the ROLE of some nodes, each in a thread of its own, until the block ends."""

    def __init__(self, name: str, server: Address, nodes: Sequence[Server]) -> None:
        self.dns = Timeline[int]()
        """The ports that DNS names."""
        self.masters = Timeline[str]()
        """The names of the nodes that say master."""
        self.roles: dict[str, str | None] = {}
        """What each node said last; None: nothing."""
        self.samples = 0
        """How many answers DNS has given."""
        self.resolution = 0.0
        """The longest time between two of them, in seconds: what was shorter may have gone unseen."""
        self._question = dns.message.make_query(name, dns.rdatatype.SRV, id=0).to_wire()[2:]
        self._server = server
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._watch_dns)]
        self._threads += [threading.Thread(target=self._watch_node, args=[node]) for node in nodes]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def watch(self, seconds: float) -> None:
        """Wait until DNS has been seen for that much longer. Raises NotInTime."""
        end = time.monotonic() + seconds
        until(lambda: self.dns.up_to >= end, within=seconds + 5, what=f"the witness has watched for {seconds} s")

    def _watch_dns(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.settimeout(DEADLINE)
            server.connect(self._server)
            answered = math.inf  # none before the first
            for number in cycle(n.to_bytes(2, "big") for n in range(65536)):
                if self._ended.is_set():
                    return
                asked = time.monotonic()
                try:
                    server.send(number + self._question)
                    while not (reply := server.recv(65535)).startswith(number):
                        pass  # the late answer to an older question
                except OSError:
                    self.dns.note(asked, None)
                else:
                    before, answered = answered, time.monotonic()
                    self.dns.note(answered, _ports(reply[2:]))
                    self.samples += 1
                    self.resolution = max(self.resolution, answered - before)
                time.sleep(EVERY_ANSWER)

    def _watch_node(self, node: Server) -> None:
        while not self._ended.is_set():
            try:
                with socket.create_connection(node.address, DEADLINE) as connection:
                    connection.send(b"ROLE\r\n")
                    while reply := connection.recv(4096):
                        self._note_role(node, next((role for role in ROLES if role.encode() in reply), None))
                        if self._ended.is_set() or select.select([connection], [], [], EVERY_ROLE)[0]:
                            break
                        connection.send(b"ROLE\r\n")
            except (ConnectionResetError, BrokenPipeError):
                pass  # a node that is promoted ends its connections: ask it again at once
            except OSError:
                self._note_role(node, None)
                time.sleep(EVERY_ROLE)

    def _note_role(self, node: Server, role: str | None) -> None:
        with self._lock:
            self.roles[node.name] = role
            self.masters.note(
                time.monotonic(), frozenset(name for name, said in self.roles.items() if said == "master")
            )


@lru_cache(maxsize=16)
def _ports(reply: bytes) -> frozenset[int] | None:
    message = dns.message.from_wire(b"\0\0" + reply)
    if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return None
    return frozenset(record.port for rrset in message.answer for record in rrset)
