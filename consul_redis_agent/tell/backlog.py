"""Lines on their way to a file descriptor that somebody may have stopped to read: who logs never waits for who reads.

A full pipe, a terminal that is held with Ctrl-S, a disk that hangs: each would stop the event loop, and with it everything that the
agent does. So a thread writes, out of a queue with a bound. What does not fit is lost, and a line says how much.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable

ROOM = 512 * 1024
"""Bytes that wait to be written: some thousand lines."""
LAST_WORDS = 1.0
"""Seconds for which the end of the process waits until all is written."""
AGAIN = 0.05
"""Seconds between two tries where the descriptor does not block."""


class Backlog:
    """A stream for a logging handler. ``lost`` makes the line, with its end, which says how many lines were lost.

    Lines come out whole and in order. After the first that does not fit all are lost until half of the room is free.
    """

    def __init__(self, descriptor: int, encoding: str = "utf-8", room: int = ROOM) -> None:
        self.descriptor = descriptor
        self.lost: Callable[[int], str] = "{} lines were lost\n".format
        self._encoding, self._room = encoding, room
        self._lines: deque[bytes] = deque()
        self._size = self._missing = 0
        self._full = self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, text: str) -> None:
        """Have a line written; never waits."""
        data = self._encoded(text)
        with self._changed:
            if self._full or self._size + len(data) > self._room:
                self._full = True
                self._missing += 1
                return
            self._put(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
                self._thread.start()
                atexit.register(self.drain, LAST_WORDS)

    def drain(self, timeout: float) -> bool:
        """Wait until all lines are written, for ``timeout`` seconds at most; returns whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines, timeout)

    def close(self) -> None:
        """End the thread when all is written; waits for nothing."""
        atexit.unregister(self.drain)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._encoding, "backslashreplace")

    def _put(self, data: bytes) -> None:
        self._lines.append(data)
        self._size += len(data)
        self._changed.notify_all()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed)
                if not self._lines:
                    return
                line = self._lines[0]
            self._write(line)
            with self._changed:
                self._lines.popleft()
                self._size -= len(line)
                if self._full and self._size <= self._room // 2:
                    missing, self._full, self._missing = self._missing, False, 0
                    self._put(self._encoded(self.lost(missing)))
                self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self.descriptor, data) :]
            except BlockingIOError:  # whoever shares the descriptor made it so
                time.sleep(AGAIN)
            except OSError:
                return  # nobody is there any more, or the disk is full: no reason to stop, and nowhere to say it
