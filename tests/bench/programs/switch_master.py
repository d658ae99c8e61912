"""Listens to every Sentinel for ``+switch-master`` and sets the TTL check of its own node.

``python -m tests.bench.programs.switch_master SERVICE ID HOST PORT CONSUL_PORT MASTER_NAME SENTINEL_HOST:PORT...``
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

from tests.bench.programs.ttl_entry import TtlEntry

AGAIN = 0.1
"""Seconds between two attempts to reach a Sentinel."""


class Listener:
    """One thread for each Sentinel hands the newest master on to the main one."""

    def __init__(self, name: str, sentinels: list[tuple[str, int]]) -> None:
        self._name = name
        self._changed = threading.Condition()
        named = Counter(filter(None, map(self._ask, sentinels))).most_common(1)
        self._master = named[0][0] if named else None
        for sentinel in sentinels:
            threading.Thread(target=self._listen, args=(sentinel,), daemon=True).start()

    def next(self, known: tuple[str, int] | None, within: float) -> tuple[str, int] | None:
        """Return who is master, as soon as that is another one than ``known``, or after ``within`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._master != known, within)
            return self._master

    def _ask(self, sentinel: tuple[str, int]) -> tuple[str, int] | None:
        with suppress(OSError, ValueError), socket.create_connection(sentinel, timeout=1) as link:
            link.sendall(f"SENTINEL GET-MASTER-ADDR-BY-NAME {self._name}\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 5 and (more := link.recv(65536)):
                answer += more
            _, _, host, _, port, _ = answer.decode().split("\r\n")
            return host, int(port)
        return None

    def _listen(self, sentinel: tuple[str, int]) -> None:
        while True:
            with suppress(OSError), socket.create_connection(sentinel, timeout=1) as link:
                link.settimeout(None)
                link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                link.sendall(b"SUBSCRIBE +switch-master\r\n")
                text = ""
                while more := link.recv(65536):
                    *lines, text = (text + more.decode()).split("\r\n")
                    for line in lines:
                        self._heed(line.split())
            time.sleep(AGAIN)

    def _heed(self, words: list[str]) -> None:
        """Take ``NAME OLD_HOST OLD_PORT NEW_HOST NEW_PORT``; every other line of the protocol is shorter."""
        if len(words) == 5 and words[0] == self._name:
            with self._changed:
                self._master = words[3], int(words[4])
                self._changed.notify_all()


def main(service: str, identity: str, host: str, port: str, consul: str, name: str, *sentinels: str) -> None:
    """Run until killed."""
    addresses = [(sentinel.rpartition(":")[0], int(sentinel.rpartition(":")[2])) for sentinel in sentinels]
    entry = TtlEntry(("127.0.0.1", int(consul)), service, identity, host, int(port))
    listener = Listener(name, addresses)
    master = None
    while True:
        master = listener.next(master, entry.rest)
        entry.show(master == (host, int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:])
