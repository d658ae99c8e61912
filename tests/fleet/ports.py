"""Ports for the servers of a fleet on loopback."""

from __future__ import annotations

import itertools
import os
import socket


class Ports:
    """Free ports of 127.0.0.1, agreed on with all others of this machine that take theirs from here."""

    _candidates = itertools.count()

    def __init__(self) -> None:
        self._reservations: list[socket.socket] = []

    def take(self) -> int:
        """Return a port that is free for TCP and UDP, and no one else's until :meth:`close`."""
        # Below the range from which the kernel takes ports for outgoing connections.
        for _ in range(12_000):
            port = 20_000 + (os.getpid() * 97 + next(self._candidates)) % 12_000
            if self._reserve(port) and self._is_free(port):
                return port
        raise OSError("no free port between 20000 and 32000 on 127.0.0.1")

    def close(self) -> None:
        """Give them back."""
        for reservation in self._reservations:
            reservation.close()

    def _reserve(self, port: int) -> bool:
        """Take a name that stands for the port, and that the kernel frees with us."""
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0consul-redis-agent-fleet-{port}")
        except OSError:
            reservation.close()
            return False
        self._reservations.append(reservation)
        return True

    @staticmethod
    def _is_free(port: int) -> bool:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    return False
        return True
