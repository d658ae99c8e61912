"""The only clock of the decisions: monotonic, and it goes on while the machine is suspended. Wall time never decides."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds since some fixed moment."""
    return time.clock_gettime(_CLOCK)
