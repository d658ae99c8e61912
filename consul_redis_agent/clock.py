"""The only clock of the decisions: monotonic, and it goes on while the machine is suspended. Wall time never decides."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from functools import cache
from pathlib import Path

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_SPREAD = random.uniform(0.0, 10.0)  # noqa: S311 - hundreds of agents on one machine are not to wake in the same moment


def clock() -> float:
    """Seconds since some fixed moment."""
    return time.clock_gettime(_CLOCK)


@cache
def boot() -> str:
    """Which start of this machine :func:`clock` counts from; where the kernel does not say, which start of this process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(uuid.uuid4())


def until_tick(period: float, phase: float = 0.0) -> float:
    """Seconds until this process' next multiple of ``period``, plus ``phase``. Whatever waits for one wakes it once, together."""
    return period - (clock() - _SPREAD - phase) % period


def cancelling() -> bool:
    """Whether the running task is to end, also where something that it awaited has swallowed that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait until ``event`` is set, by others or, after that time, by this."""
    alarm = asyncio.get_running_loop().call_later(seconds, event.set)  # asyncio.timeout() costs three times as much
    try:
        await event.wait()
    finally:
        alarm.cancel()


PULSE = 1.0
"""Seconds between two beats of :class:`Pulse`."""
STOPPED = 1.75
"""Seconds without a beat that mean a stop: SIGSTOP, a frozen cgroup, a suspended machine, a loop that hung."""


class Pulse:
    """Notices that this process did not run for a while, so that what it knew before is not taken for now."""

    def __init__(self) -> None:
        self._at = clock()
        self._stops = 0

    def stops(self) -> int:
        """How often this process was stopped. Right also when asked before anything else has run again."""
        now = clock()
        if now - self._at > STOPPED:
            self._stops += 1
            self._at = now
        return self._stops

    def beat(self) -> None:
        """Beat from now on, as long as the running loop runs."""
        self.stops()
        self._at = clock()
        asyncio.get_running_loop().call_later(until_tick(PULSE), self.beat)
