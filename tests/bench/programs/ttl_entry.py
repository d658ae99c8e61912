"""One service with one TTL check at the local Consul agent, over one kept connection: the fastest way into DNS."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from typing import Final

TTL: Final = 10.0
"""Seconds for which Consul believes the last word."""
BEAT: Final = TTL / 3
"""Seconds between two words."""
AGAIN: Final = 0.1
"""Seconds between two attempts to reach Consul."""


class TtlEntry:
    """A service that is passing or critical. Consul being away is tried again at the next call, after a pause."""

    def __init__(self, consul: tuple[str, int], service: str, identity: str, host: str, port: int) -> None:
        self._consul = consul
        self._connection: socket.socket | None = None
        self._shown: bool | None = None
        self._next = 0.0
        check = {"TTL": f"{TTL:g}s", "Status": "critical"}
        body = {"Name": service, "ID": identity, "Address": host, "Port": port, "Check": check}
        self._register = _request("/v1/agent/service/register", json.dumps(body).encode())
        self._update = {
            passing: _request(f"/v1/agent/check/{'pass' if passing else 'fail'}/service:{identity}", b"")
            for passing in (True, False)
        }

    @property
    def rest(self) -> float:
        """Seconds until ``show`` has to be called again."""
        return max(0.0, self._next - time.monotonic())

    def show(self, passing: bool) -> None:
        """Make it so, at once where it is new, else when the next beat is due."""
        now = time.monotonic()
        if now < self._next and (passing == self._shown or self._shown is None):
            return
        try:
            update = self._update[passing]
            well = self._call(update) or (self._call(self._register) and self._call(update))
        except OSError:
            well = False
        self._shown = passing if well else None
        self._next = now + (BEAT if well else AGAIN)

    def _call(self, request: bytes) -> bool:
        """Send it, once more where Consul has closed the kept connection meanwhile. Raises OSError."""
        if self._connection is not None:
            with suppress(OSError):
                return self._answered(self._connection, request)
        self._connection = None
        self._connection = connection = socket.create_connection(self._consul, timeout=2)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._answered(connection, request)

    @staticmethod
    def _answered(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(request)
        answer = b""
        while True:
            head, found, body = answer.partition(b"\r\n\r\n")
            if found and len(body) >= _length(head):
                return head.startswith(b"HTTP/1.1 200")
            more = connection.recv(65536)
            if not more:
                raise ConnectionResetError("Consul closed the connection")
            answer += more


def _request(path: str, body: bytes) -> bytes:
    return f"PUT {path} HTTP/1.1\r\nHost: consul\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
