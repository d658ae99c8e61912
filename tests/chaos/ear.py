"""Listens to every Sentinel of a fleet, from its own host, so that no cut keeps an event away."""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from consul_redis_agent.fleet import SentinelNode

_EVENT = re.compile(rb"\*4\r\n\$8\r\npmessage\r\n\$1\r\n\*\r\n\$\d+\r\n([^\r]*)\r\n\$\d+\r\n([^\r]*)\r\n")
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
    """A thread that keeps ``heard``, oldest first, until :meth:`close`."""

    def __init__(self, sentinels: Sequence[SentinelNode]) -> None:
        self.heard: list[Heard] = []
        self._sentinels = sentinels
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        links: dict[str, socket.socket] = {}
        rest: dict[str, bytes] = {}
        while not self._over.is_set():
            for sentinel in self._sentinels:
                if sentinel.name not in links and (link := _subscribed(sentinel)):
                    links[sentinel.name], rest[sentinel.name] = link, b""
            ready, *_ = select.select([*links.values()], [], [], 0.1 if len(links) == len(self._sentinels) else _AGAIN)
            for name, link in [*links.items()]:
                if link in ready:
                    try:
                        text = link.recv(65536)
                    except OSError:
                        text = b""
                    if not text:
                        links.pop(name).close()
                    rest[name] = self._take(name, rest[name] + text)
        for link in links.values():
            link.close()

    def _take(self, name: str, text: bytes) -> bytes:
        now, end = time.monotonic(), 0
        for found in _EVENT.finditer(text):
            end = found.end()
            self.heard.append(Heard(now, name, found[1].decode(), found[2].decode()))
        return text[end:]


def _subscribed(sentinel: SentinelNode) -> socket.socket | None:
    try:
        with sentinel.host.inside():
            link = socket.create_connection(sentinel.address, timeout=0.1)
        link.sendall(b"PSUBSCRIBE *\r\n")
    except OSError:
        return None
    return link
