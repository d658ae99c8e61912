"""Polls INFO of one node and flips a TTL check: no publisher that trusts INFO alone is faster.

``python -m tests.bench.programs.info_poller SERVICE ID HOST PORT CONSUL_PORT [SECONDS]``
"""

from __future__ import annotations

import gc
import socket
import sys
import time

from tests.bench.programs.ttl_entry import TtlEntry

EVERY = 0.002
"""Seconds between two looks."""


class Node:
    """INFO over one kept connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: socket.socket | None = None

    def says_master(self) -> bool:
        """Whether it answers and says so. A closed connection is made again at once, since Sentinel closes it."""
        for connection in (self._connection, None):
            try:
                self._connection = connection or self._connected()
                return self._ask(self._connection)
            except OSError:
                self._connection = None
        return False

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=1)

    @staticmethod
    def _ask(connection: socket.socket) -> bool:
        connection.sendall(b"INFO replication\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\n") and not answer.startswith(b"-"):
            more = connection.recv(65536)
            if not more:
                raise ConnectionResetError("Redis closed the connection")
            answer += more
        return b"role:master" in answer


def main(service: str, identity: str, host: str, port: str, consul: str, every: str = str(EVERY)) -> None:
    """Run until killed."""
    entry = TtlEntry(("127.0.0.1", int(consul)), service, identity, host, int(port))
    node, period = Node(int(port)), float(every)
    gc.freeze()
    following = time.monotonic()
    while True:
        entry.show(node.says_master())
        following = max(following + period, time.monotonic())
        time.sleep(max(0.0, following - time.monotonic()))


if __name__ == "__main__":
    main(*sys.argv[1:])
