"""Five applications that write, each as such programs do, until SIGTERM; they print what Redis has acknowledged.

Run as ``python -m tests.chaos.writers SPEC.json``, on the host whose Consul they ask; ``keys`` in it has those that are
wanted. Each adds numbers to its own list, one every ``every`` seconds, and waits for the answer:

- ``kept``      is redis-py's plain client with all its defaults; it resolves the name when it connects, and keeps the connection;
- ``pool``      is a ``BlockingConnectionPool`` of redis-py, resolved alike, that ``POOL`` threads share;
- ``each``      resolves and connects for each write;
- ``sentinel``  is redis-py's Sentinel client;
- ``cached``    has resolved the name once and stays with that address, as a JVM may.

``login`` in the file has the user and password of all, empty for none, and ``tls`` the files of the authority, the certificate and
the key of what they show, empty for clear text. What redis-py gives up is not written again; the next number is. Each line printed is a JSON list: the writer's name, how
many of its writes have failed, and then ``[number, at]`` for each write acknowledged since its last line, ``at`` in
monotonic seconds. The number modulo ``LANES`` of the writer tells the thread.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
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
"""Seconds that the writers without redis-py wait for DNS, a connection or an answer."""
POOL: Final = 4
"""Threads that share a pool."""
LANES: Final = {"kept": 1, "pool": POOL, "each": 1, "sentinel": 1, "cached": 1}
"""The writers, and how many threads each has."""

Write = Callable[[int], None]
Resolve = Callable[[], Address]


class Refused(OSError):
    """Redis answered with an error, or DNS names nobody."""


def resolver(server: tuple[str, int], question: bytes) -> Resolve:
    """Ask DNS for the SRV records of the service; any that it names. The function raises OSError."""

    def resolve() -> Address:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(TIMEOUT)
            asking.connect(server)
            asking.send(question)
            for found in _named(asking.recv(65535)):
                return found
        raise Refused("DNS names nobody")

    return resolve


@lru_cache(maxsize=16)
def _named(reply: bytes) -> frozenset[Address]:
    return srv.answers(reply) or frozenset()


@dataclass(frozen=True, slots=True)
class Access:
    """How the writers get in: as which user, and over TLS with which files; empty for none."""

    login: tuple[str, ...] = ()
    tls: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """For a client of redis-py."""
        return dict(zip(("username", "password"), self.login, strict=False)) | self.encrypted

    @property
    def encrypted(self) -> dict[str, Any]:
        """The part of it that is TLS."""
        files = dict(zip(("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"), self.tls, strict=False))
        return {"ssl": True, **files} if files else {}

    def connect(self, address: Address) -> socket.socket:
        """A connection without redis-py. Raises OSError."""
        made = socket.create_connection(address, timeout=TIMEOUT)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _context(self.tls).wrap_socket(made, server_hostname=address.host) if self.tls else made


@lru_cache(maxsize=1)
def _context(files: tuple[str, ...]) -> ssl.SSLContext:
    authority, *own = files
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(*own)
    return context


def resolving(resolve: Resolve, access: Access = Access()) -> type[redis.Connection]:
    """A connection of redis-py that resolves its name whenever it connects, as one to a host name does."""
    base: Any = redis.SSLConnection if access.tls else redis.Connection

    class Resolving(base):  # type: ignore[misc]
        def _connect(self) -> Any:
            self.host, self.port = resolve()
            return super()._connect()

    return Resolving


class Plain:
    """One connection to a Redis node, for RPUSH alone. Raises OSError."""

    def __init__(self, address: Address, access: Access) -> None:
        self._socket = access.connect(address)
        if access.login:
            self._ask("+", "AUTH", *access.login)

    def push(self, key: str, number: int) -> None:
        """Add a number. Raises OSError where it is not acknowledged."""
        self._ask(":", "RPUSH", key, str(number))

    def _ask(self, wanted: str, *command: str) -> None:
        words = [word.encode() for word in command]
        self._socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        answer = b""
        while not answer.endswith(b"\r\n"):
            got = self._socket.recv(4096)
            if not got:
                raise Refused("closed")
            answer += got
        if not answer.startswith(wanted.encode()):
            raise Refused(answer.decode(errors="replace"))

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def kept(key: str, resolve: Resolve, access: Access) -> Write:
    """Write by redis-py's plain client."""
    client = redis.Redis(**access.options)
    client.connection_pool.connection_class = resolving(resolve, access)

    def write(number: int) -> None:
        client.rpush(key, number)

    return write


def pool(key: str, resolve: Resolve, access: Access) -> Write:
    """Write by a pool of redis-py."""
    options = {name: value for name, value in access.options.items() if name != "ssl"}
    kind = resolving(resolve, access)
    shared = redis.BlockingConnectionPool(max_connections=POOL, connection_class=kind, **options)  # type: ignore[no-untyped-call]
    client = redis.Redis(connection_pool=shared)

    def write(number: int) -> None:
        client.rpush(key, number)

    return write


def each(key: str, resolve: Resolve, access: Access) -> Write:
    """Ask DNS for each write."""

    def write(number: int) -> None:
        connection = Plain(resolve(), access)
        try:
            connection.push(key, number)
        finally:
            connection.close()

    return write


def sentinel(key: str, sentinels: list[tuple[str, int]], master_name: str, access: Access) -> Write:
    """Write by redis-py's Sentinel client."""
    options = {"socket_timeout": TIMEOUT, **access.options}
    group = Sentinel(sentinels, sentinel_kwargs={**options, "socket_connect_timeout": TIMEOUT})  # type: ignore[no-untyped-call]
    client = group.master_for(master_name, **options)  # type: ignore[no-untyped-call]

    def write(number: int) -> None:
        client.rpush(key, number)

    return write


def cached(key: str, resolve: Resolve, access: Access) -> Write:
    """Write to the address that DNS named first, over one connection for as long as it works."""
    address: Address | None = None
    connection: Plain | None = None

    def write(number: int) -> None:
        nonlocal address, connection
        address = address or resolve()
        connection = connection or Plain(address, access)
        try:
            connection.push(key, number)
        except OSError:
            connection.close()
            connection = None
            raise

    return write


class Writer:
    """One writer: its threads, and what has become of their writes."""

    def __init__(self, name: str, write: Write, every: float) -> None:
        self.name = name
        self._write, self._every = write, every
        self._lanes = LANES[name]
        self._done: list[tuple[int, float]] = []
        self._failed = 0
        self._reported = (0, 0)

    def threads(self, over: threading.Event) -> list[threading.Thread]:
        """A thread a lane, each to end when the event is set."""
        return [threading.Thread(target=self._go_on, args=(lane, over), daemon=True) for lane in range(self._lanes)]

    def report(self) -> str:
        """What has become of the writes since the last report, as a line; empty where there were none."""
        new, failed = self._done[self._reported[0] :], self._failed
        if not new and failed == self._reported[1]:
            return ""
        self._reported = (self._reported[0] + len(new), failed)
        return json.dumps([self.name, failed, *new]) + "\n"

    def _go_on(self, lane: int, over: threading.Event) -> None:
        every = self._every * self._lanes
        number, due = lane, time.monotonic() + lane * self._every
        while not over.wait(max(0.0, due - time.monotonic())):
            number += self._lanes
            try:
                self._write(number)
            except (OSError, redis.RedisError):
                self._failed += 1
            else:
                self._done.append((number, time.monotonic()))
            due = max(due + every, time.monotonic())


def main(spec: dict[str, Any]) -> None:
    """Write until the signal."""
    keys, over = spec["keys"], threading.Event()
    resolve = resolver(tuple(spec["dns"]), bytes.fromhex(spec["question"]))
    sentinels = [tuple(s) for s in spec["sentinels"]]
    access = Access(tuple(spec["login"]), tuple(spec["tls"]))
    ways: dict[str, Callable[[str], Write]] = {
        "kept": lambda key: kept(key, resolve, access),
        "pool": lambda key: pool(key, resolve, access),
        "each": lambda key: each(key, resolve, access),
        "sentinel": lambda key: sentinel(key, sentinels, spec["master_name"], access),
        "cached": lambda key: cached(key, resolve, access),
    }
    writers = [Writer(name, ways[name](key), spec["every"]) for name, key in keys.items()]
    threads = [thread for writer in writers for thread in writer.threads(over)]

    def report() -> None:
        sys.stdout.write("".join(writer.report() for writer in writers))
        sys.stdout.flush()

    # Not a handler that sets the event: it may interrupt the very wait whose lock it needs.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    for thread in threads:
        thread.start()
    while signal.sigtimedwait({signal.SIGTERM}, REPORT) is None:
        report()
    over.set()
    deadline = time.monotonic() + 2 * TIMEOUT
    for thread in threads:  # redis-py may be between two of its retries; what it writes then counts for nobody
        thread.join(max(0.0, deadline - time.monotonic()))
    report()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(json.loads(Path(sys.argv[1]).read_text()))
