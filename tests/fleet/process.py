"""One program that a fleet started on a host: its life and its log; it never outlives the launcher."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from consul_redis_agent.commands.demo import process
from consul_redis_agent.commands.demo.process import SCALE

from .hosts import Host

CHECKOUT: Final = {"PYTHONPATH": str(Path(__file__).parents[2])}
"""The environment of a program that is a module of the tests."""


_WITH_HOSTS: Final = 'mount --bind "$0" /etc/hosts && exec "$@"'


class Process(process.Process):
    """A program as the demo starts them, on a host, and with all that can be done to one."""

    def __init__(
        self, name: str, argv: Sequence[str], *, host: Host, folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name, argv, folder=folder)
        self.host = host
        self.env |= env or {}

    def __repr__(self) -> str:
        return f"<{self.name} on {self.host.name}>"

    def lines(self, text: str, *, since: int = 0) -> int:
        """How many lines of the log, from a number of characters on, hold a text; JSON may have it twice in one line."""
        return sum(text in line for line in self.log()[since:].splitlines())

    def launch(self) -> None:
        """Start the program on its host and return at once. Raises RuntimeError while it runs."""
        argv = self.argv
        if self.host.hosts_file:
            what = [process.program(argv[0]), *argv[1:]]
            self.argv = ["unshare", "--mount", "sh", "-c", _WITH_HOSTS, str(self.host.hosts_file), *what]
        try:
            with self.host.inside():
                super().launch()
        finally:
            self.argv = argv

    def stop(self, *, within: float = 10) -> int:
        """Send SIGTERM, wait for the end and return the exit code. Raises subprocess.TimeoutExpired."""
        child = self._started()
        child.terminate()
        return child.wait(within * SCALE)

    def pause(self) -> None:
        """Send SIGSTOP and wait until it has stopped."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Send SIGCONT."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send any signal to the program alone."""
        self._started().send_signal(number)

    def restart(self, *, within: float = 10) -> None:
        """Stop it with SIGTERM if it runs and start it again, with the same files."""
        if self.alive:
            self.stop(within=within)
        self.start(within=within)
