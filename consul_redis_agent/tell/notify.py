"""A word to systemd (sd_notify): state, status line and watchdog. Nothing at all where systemd does not listen."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

from consul_redis_agent.text import plain

log = logging.getLogger(__name__)


class Notifier:
    """Tells the service manager of this process what it does. No method waits, and none raises."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        address = env.get("NOTIFY_SOCKET", "")
        # a leading @ stands for the zero byte of the abstract namespace
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = _watchdog(env)

    def watchdog_interval(self) -> float | None:
        """Seconds between two :meth:`watchdog` calls: half of what systemd allows. None when it does not ask for any."""
        return self._watchdog

    def ready(self, status: str) -> None:
        """The start, or the reload, is done."""
        self._send("READY=1", f"STATUS={plain(status)}")

    def status(self, status: str) -> None:
        """The line that ``systemctl status`` shows."""
        self._send(f"STATUS={plain(status)}")

    def reloading(self) -> None:
        """A reload begins; :meth:`ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Still deciding. To be called by whatever finishes decisions, and by nothing else."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as to:
                to.sendto("\n".join(lines).encode(), self._address)
        except (OSError, ValueError) as error:
            log.debug("systemd was not told %s: %s", lines[0], error)


def _watchdog(env: Mapping[str, str]) -> float | None:
    try:
        period = int(env.get("WATCHDOG_USEC", "0")) / 1e6
        for_us = int(env.get("WATCHDOG_PID", "0")) in (0, os.getpid())
    except ValueError:
        return None
    return period / 2 if period > 0 and for_us else None
