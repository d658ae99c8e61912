"""The witness' eyes: a program that asks DNS and each Redis node without pause and prints what changes.

Run as ``python -I sampler.py SPEC.json``; standard library only, so that it starts at once. Each line it prints is a
JSON list; times are seconds of the system's monotonic clock:

- ``["dns", asked, service, answered, hex or null]``  the reply differs from the one before; null is no reply (any more)
- ``["role", at, node, role or null]``                what ROLE says differs; null is no answer
- ``["gap", from, service, to]``                      DNS was not seen for longer than GAP
- ``["at", at, service, samples, longest]``           still watching: DNS replies so far, longest time between two

Replies are compared as bytes and parsed by the reader, later: nothing slow happens between two questions.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

DEADLINE: Final = 0.25  # seconds without a reply that count as no reply
GAP: Final = 0.02
REPORT: Final = 0.05  # seconds between two "at" lines

HERE: Final = Path("/proc/thread-self/ns/net")
ROLES: Final = (b"master", b"slave", b"sentinel")


def emit(*fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def opened(namespace: str | None, kind: socket.SocketKind, host: str) -> socket.socket:
    """Make a non-blocking socket for an IP address in a network namespace, or in the one of this process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if namespace:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(namespace).open() as target, HERE.open() as before:
            if libc.setns(target.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), f"setns {namespace}")
            made = socket.socket(family, kind)
            libc.setns(before.fileno(), 0)
    else:
        made = socket.socket(family, kind)
    made.setblocking(False)
    return made


class Dns:
    """One question at a time; a reply belongs to the question whose number it carries."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.every: float = spec["every"]
        self.next = 0.0
        self._service: str = spec["service"]
        self.socket = opened(spec["namespace"], socket.SOCK_DGRAM, spec["address"][0])
        self.socket.connect(tuple(spec["address"]))
        self._question = bytes.fromhex(spec["question"])[2:]
        self._number = 0
        self._asked: float | None = None
        self._last: bytes | None = b"nothing yet"
        self._answered = time.monotonic()
        self._reported = 0.0
        self._samples = 0
        self._longest = 0.0

    def tick(self, now: float) -> None:
        """Ask, unless a question is open; give an open one up after DEADLINE."""
        self.next = now + self.every
        if now - self._reported >= REPORT:
            self._reported = now
            emit("at", now, self._service, self._samples, self._longest)
        if self._asked is not None:
            if now - self._asked < DEADLINE:
                return
            self._note(None, now)
        self._number = (self._number + 1) % 65536
        self._asked = time.monotonic()
        with contextlib.suppress(OSError):  # a closed port shows as an error on the next use of the socket
            self.socket.send(self._number.to_bytes(2, "big") + self._question)

    def readable(self) -> None:
        """Take a reply, or the word that the port is closed."""
        try:
            reply = self.socket.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            self._note(None, time.monotonic())
            return
        if self._asked is not None and int.from_bytes(reply[:2], "big") == self._number:
            now = time.monotonic()
            self._samples += 1
            if self._samples > 1:
                passed = now - self._answered
                self._longest = max(self._longest, passed)
                if passed > GAP:
                    emit("gap", self._answered, self._service, now)
            self._answered = now
            self._note(reply, now)

    def _note(self, reply: bytes | None, now: float) -> None:
        content = reply and reply[2:]
        if content != self._last:
            emit("dns", self._asked or now, self._service, now, reply and reply.hex())
            self._last = content
        self._asked = None


class Encrypted:
    """TLS on a socket of somebody else: plain text in, bytes for the wire out, and the other way round."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_hostname=host)
        self._shaken = False
        self._waiting = b""

    def send(self, text: bytes) -> bytes:
        """What to send for this text, and for what waited for the handshake."""
        self._waiting += text
        if self._is_shaken() and self._waiting:
            self._object.write(self._waiting)
            self._waiting = b""
        return self._out.read()

    def received(self, wire: bytes) -> bytes:
        """The text in what has come. Raises ssl.SSLError, also at the end."""
        self._in.write(wire)
        text = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while self._is_shaken() and (part := self._object.read(65536)):
                text += part
        return text

    def _is_shaken(self) -> bool:
        if not self._shaken:
            try:
                self._object.do_handshake()
                self._shaken = True
            except ssl.SSLWantReadError:
                pass
        return self._shaken


class Redis:
    """ROLE on a connection that is kept, made again as soon as it closes."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.every: float = spec["every"]
        self.next = 0.0
        self.socket: socket.socket | None = None
        self._spare: socket.socket | None = None
        self._name: str = spec["name"]
        self._address = tuple(spec["address"])
        self._namespace: str | None = spec["namespace"]
        login = " ".join(["AUTH", *filter(None, [spec.get("username"), spec["password"]])])
        self._login = f"{login}\r\n".encode() if spec["password"] else b""
        self._asked: float | None = None
        self._last: str | None = "nothing yet"
        self._context: ssl.SSLContext | None = None
        self._encrypted: Encrypted | None = None
        if spec["tls"]:
            ca, cert, key = spec["tls"]
            self._context = ssl.create_default_context(cafile=ca)
            self._context.load_cert_chain(cert, key)

    def tick(self, now: float) -> None:
        """Ask, unless a question is open; give an open one up after DEADLINE."""
        self.next = now + self.every
        if self._spare is None:  # entering a namespace takes its time, which a promotion does not have
            self._spare = opened(self._namespace, socket.SOCK_STREAM, self._address[0])
        if self.socket is None:
            self._connect()
        elif self._asked is None:
            self._send(b"ROLE\r\n", now)
        elif now - self._asked > DEADLINE:
            self._note(None)
            self._connect()

    def readable(self) -> None:
        """Take a reply, or the end of the connection: then ask again at once."""
        if self.socket is None:
            return
        try:
            reply = self.socket.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            reply = b""
        if reply and self._encrypted:
            try:
                reply, shaken = self._encrypted.received(reply), self._encrypted.send(b"")
                if shaken:
                    self.socket.send(shaken)
            except OSError:
                reply = b""
            else:
                if not reply:
                    return  # a part of the handshake, or a session ticket
        if not reply:
            again = self._asked is None or self._last is not None
            self._drop()
            if again:
                self._connect()
            else:
                self._note(None)
            return
        for line in reply.split(b"\r\n"):
            if line in ROLES:
                self._note(line.decode())
                self._asked = None
                return
            if line.startswith(b"-"):  # not allowed, or loading
                self._note(None)
                self._asked = None
                return

    def _connect(self) -> None:
        self._drop()
        self.socket, self._spare = self._spare or opened(self._namespace, socket.SOCK_STREAM, self._address[0]), None
        if self._context:
            self._encrypted = Encrypted(self._context, self._address[0])
        if self.socket.connect_ex(self._address) not in (0, 115):  # EINPROGRESS
            self._note(None)
            self._drop()
            return
        # Local connections are made or refused at once; a send on one that is not made yet fails and is tried again.
        self._send(self._login + b"ROLE\r\n", time.monotonic())

    def _send(self, request: bytes, now: float) -> None:
        assert self.socket is not None
        try:
            self.socket.send(self._encrypted.send(request) if self._encrypted else request)
            self._asked = now
        except OSError:
            self._note(None)
            self._drop()

    def _drop(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = self._asked = None

    def _note(self, role: str | None) -> None:
        if role != self._last:
            emit("role", time.monotonic(), self._name, role)
            self._last = role


def main(path: str, stopped: Callable[[], bool]) -> None:
    spec = json.loads(Path(path).read_text())
    eyes: list[Dns | Redis] = [*map(Dns, spec["dns"]), *map(Redis, spec["redis"])]
    while not stopped():
        now = time.monotonic()
        for eye in eyes:
            if eye.next <= now:
                eye.tick(now)
        soon = min(eye.next for eye in eyes) - time.monotonic()
        by_socket = {eye.socket: eye for eye in eyes if eye.socket is not None}
        for ready in select.select(list(by_socket), [], [], max(0.0, soon))[0]:
            by_socket[ready].readable()


if __name__ == "__main__":
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    gc.freeze()
    gc.disable()
    with contextlib.suppress(PermissionError):
        # A witness that waits for its turn sees nothing. Niceness counts only within a session.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    main(sys.argv[1], lambda: bool(ended))
