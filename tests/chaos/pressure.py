"""For how long work had to wait for a CPU: a machine shared with others is no fault of what is judged."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from pathlib import Path

_SOURCE = Path("/proc/pressure/cpu")
_PERIOD = 0.005


class Pressure:
    """A thread that samples the kernel's count of stalled time (PSI), until :meth:`close`; nothing without PSI."""

    def __init__(self) -> None:
        self._at: list[float] = []
        self._total: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        if _SOURCE.exists():
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def stalled(self, start: float, stop: float) -> float:
        """For how many of the seconds between two moments something runnable did not run, at least."""
        if not self._at:
            return 0.0
        first = max(0, bisect_right(self._at, start) - 1)
        last = min(len(self._at) - 1, bisect_left(self._at, stop))
        return min(stop - start, self._total[last] - self._total[first])

    def _sample(self) -> None:
        while not self._over.wait(_PERIOD):
            total = _SOURCE.read_text().split("total=", 1)[1].split()[0]
            self._at.append(time.monotonic())
            self._total.append(int(total) / 1e6)
