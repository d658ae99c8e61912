"""Three applications that write, each as such programs do, until SIGTERM; they print what Redis has acknowledged.

Run as ``python -m tests.chaos.writers SPEC.json``, on the host whose Consul they ask. Each adds one number to its own
list every ``every`` seconds and waits for the answer:

- ``kept``      keeps its connection. Only when that breaks, or Redis refuses the write, it asks DNS and connects anew;
- ``each``      asks DNS and connects for each write;
- ``sentinel``  is redis-py's Sentinel client, with its default of retries.

A number that Redis did not take is not written again; the next one is. Each line printed is a JSON list, the writer's
name and then ``[number, at]`` for each write acknowledged since its last line, ``at`` in monotonic seconds.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import redis
from redis.sentinel import Sentinel

from consul_redis_agent.decide.facts import Address
from tests.fleet import srv

REPORT: Final = 0.05
"""Seconds between two reports."""
TIMEOUT: Final = 1.0
"""Seconds that a writer waits for DNS, a connection or an answer."""

Write = Callable[[int], None]


class Refused(OSError):
    """Redis answered with an error, or DNS names nobody."""


class Dns:
    """Asks for the SRV records of the service."""

    def __init__(self, address: tuple[str, int], question: bytes) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(TIMEOUT)
        self._socket.connect(address)
        self._question = question[2:]
        self._number = 0

    def master(self) -> Address:
        """Any that DNS names. Raises OSError."""
        self._number = (self._number + 1) % 65536
        number = self._number.to_bytes(2, "big")
        self._socket.send(number + self._question)
        while not (reply := self._socket.recv(65535)).startswith(number):
            pass  # the late answer to an older question
        for found in _named(reply[2:]):
            return found
        raise Refused("DNS names nobody")


@lru_cache(maxsize=16)
def _named(reply: bytes) -> frozenset[Address]:
    return srv.answers(b"\0\0" + reply) or frozenset()


class Connection:
    """One connection to a Redis node, for RPUSH alone."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(address, timeout=TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def push(self, key: str, number: int) -> None:
        """Add a number. Raises OSError where it is not acknowledged."""
        words = (b"RPUSH", key.encode(), str(number).encode())
        self._socket.sendall(b"*3\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        answer = b""
        while not answer.endswith(b"\r\n"):
            got = self._socket.recv(4096)
            if not got:
                raise Refused("closed")
            answer += got
        if not answer.startswith(b":"):
            raise Refused(answer.decode(errors="replace"))

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def kept(key: str, dns: Dns) -> Write:
    """Write over one connection for as long as it works."""
    connection: Connection | None = None

    def write(number: int) -> None:
        nonlocal connection
        connection = connection or Connection(dns.master())
        try:
            connection.push(key, number)
        except OSError:
            connection.close()
            connection = None
            raise

    return write


def each(key: str, dns: Dns) -> Write:
    """Ask DNS for each write."""

    def write(number: int) -> None:
        connection = Connection(dns.master())
        try:
            connection.push(key, number)
        finally:
            connection.close()

    return write


def sentinel(key: str, sentinels: list[tuple[str, int]], master_name: str) -> Write:
    """Write by redis-py's Sentinel client."""
    group = Sentinel(sentinels, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)  # type: ignore[no-untyped-call]
    client = group.master_for(master_name, socket_timeout=TIMEOUT)  # type: ignore[no-untyped-call]

    def write(number: int) -> None:
        client.rpush(key, number)

    return write


def go_on(write: Write, every: float, acknowledged: list[tuple[int, float]], over: threading.Event) -> None:
    """Write a number, and note it when that was acknowledged, every so many seconds."""
    number, due = 0, time.monotonic()
    while not over.is_set():
        number += 1
        with suppress(OSError, redis.RedisError):
            write(number)
            acknowledged.append((number, time.monotonic()))
        now = time.monotonic()
        due = max(due + every, now)
        over.wait(due - now)


def main(spec: dict[str, Any]) -> None:
    """Write until the signal."""

    def dns() -> Dns:
        return Dns(tuple(spec["dns"]), bytes.fromhex(spec["question"]))

    keys, over = spec["keys"], threading.Event()
    writes: dict[str, Write] = {
        "kept": kept(keys["kept"], dns()),
        "each": each(keys["each"], dns()),
        "sentinel": sentinel(keys["sentinel"], [tuple(s) for s in spec["sentinels"]], spec["master_name"]),
    }
    acknowledged: dict[str, list[tuple[int, float]]] = {name: [] for name in writes}
    reported = dict.fromkeys(writes, 0)
    threads = [
        threading.Thread(target=go_on, args=(write, spec["every"], acknowledged[name], over), daemon=True)
        for name, write in writes.items()
    ]

    def report() -> None:
        for name, done in acknowledged.items():
            new = done[reported[name] :]
            reported[name] += len(new)
            if new:
                sys.stdout.write(json.dumps([name, *new]) + "\n")
        sys.stdout.flush()

    signal.signal(signal.SIGTERM, lambda number, frame: over.set())
    for thread in threads:
        thread.start()
    while not over.wait(REPORT):
        report()
    for thread in threads:
        thread.join(2 * TIMEOUT)  # redis-py may be between two of its retries; what it writes then counts for nobody
    report()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
