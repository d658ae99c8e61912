"""Listens to every Sentinel of a fleet, from its own host, so that no cut keeps an event away."""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.fleet import SentinelNode

from .authority import NAMES, REFUSES

_EVENT = re.compile(rb"\*4\r\n\$8\r\npmessage\r\n\$1\r\n\*\r\n\$\d+\r\n([^\r]*)\r\n\$\d+\r\n([^\r]*)\r\n")
_NAMED = re.compile(rb"(?:\+OK\r\n)?\*2\r\n\$\d+\r\n([^\r]*)\r\n\$\d+\r\n(\d+)\r\n")
"""The answer to GET-MASTER-ADDR-BY-NAME, which comes first on each connection, but for that to a login."""
_AGAIN = 0.01
"""Seconds between two attempts to reach a Sentinel that does not run."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One event of one Sentinel, at a monotonic second."""

    at: float
    sentinel: str
    channel: str
    text: str


class Ear:
    """A thread that keeps ``heard``, oldest first, until :meth:`close`; with ``tls`` that is what it shows and trusts.

    Beside the events it notes under ``NAMES`` whom a Sentinel names each time that it was connected to, and under
    ``REFUSES`` that nothing listens where one ran before: what happened in between has no event.
    """

    def __init__(self, sentinels: Sequence[SentinelNode], tls: ssl.SSLContext | None = None) -> None:
        self.heard: list[Heard] = []
        self._tls = tls
        self._sentinels = sentinels
        self._over = threading.Event()
        self._links: dict[str, socket.socket] = {}
        self._rest: dict[str, bytes] = {}
        self._ran: set[str] = set()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self._over.is_set():
            for sentinel in self._sentinels:
                if sentinel.name not in self._links:
                    self._connect(sentinel)
            links = [*self._links.values()]
            ready, *_ = select.select(links, [], [], 0.1 if len(links) == len(self._sentinels) else _AGAIN)
            for name, link in [*self._links.items()]:
                if link in ready:
                    text = _received(link)
                    if not text:
                        self._links.pop(name).close()
                    self._rest[name] = self._take(name, self._rest[name] + text)
        for link in self._links.values():
            link.close()

    def _connect(self, sentinel: SentinelNode) -> None:
        name = sentinel.name
        try:
            with sentinel.host.inside():
                link = socket.create_connection(sentinel.address, timeout=0.1)
            if self._tls:
                link = self._tls.wrap_socket(link, server_hostname=sentinel.address.host)
            asks = [f"SENTINEL GET-MASTER-ADDR-BY-NAME {sentinel.master_name}", "PSUBSCRIBE *"]
            if sentinel.username:
                asks.insert(0, f"AUTH {sentinel.username} {sentinel.password}")
            link.sendall("".join(f"{ask}\r\n" for ask in asks).encode())
        except ConnectionRefusedError:
            if name in self._ran:
                self._ran.discard(name)
                self.heard.append(Heard(time.monotonic(), name, REFUSES, ""))
        except OSError:
            pass
        else:
            self._links[name], self._rest[name] = link, b""
            self._ran.add(name)

    def _take(self, name: str, text: bytes) -> bytes:
        now, end = time.monotonic(), 0
        if found := _NAMED.match(text):
            end = found.end()
            self.heard.append(Heard(now, name, NAMES, f"{found[1].decode()} {found[2].decode()}"))
        for found in _EVENT.finditer(text, end):
            end = found.end()
            self.heard.append(Heard(now, name, found[1].decode(), found[2].decode()))
        return text[end:]


def _received(link: socket.socket) -> bytes:
    """All that has come; empty at the end."""
    try:
        text = link.recv(65536)
        while isinstance(link, ssl.SSLSocket) and link.pending():  # which select does not see
            text += link.recv(65536)
    except OSError:
        return b""
    return text
