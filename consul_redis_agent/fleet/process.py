"""One program that a fleet started: its life, its log, and that it never outlives the launcher."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .hosts import Host
from .until import SCALE, until

_SAME_AS = {"redis-server": "valkey-server", "redis-sentinel": "valkey-sentinel", "redis-cli": "valkey-cli"}


class MissingProgram(FileNotFoundError):
    """A program that the fleet needs is not on PATH."""


class ProcessDied(AssertionError):
    """A process ended before it was ready; the message has the end of its log."""


def program(name: str) -> str:
    """Return the path of a program on PATH; Valkey's stands in for Redis'. Raises :class:`MissingProgram`.

    The environment variable ``CONSUL`` names another Consul than that of PATH.
    """
    if name == "consul" and (chosen := os.environ.get("CONSUL")):
        if found := shutil.which(str(Path(chosen).absolute())):  # absolute: a process starts in a folder of its own
            return found
        raise MissingProgram(f"CONSUL={chosen} in the environment names no program that can be run")
    path = shutil.which(name) or shutil.which(_SAME_AS.get(name, name))
    if path is None:
        raise MissingProgram(f"{name} is not on PATH; `make demo` and `make test` fetch it or say where it comes from")
    return path


class Process:
    """A program in a process group of its own, on a host, with its output in ``folder/name.log``.

    The kernel kills it when the thread that started it ends, however that happens (PDEATHSIG).
    """

    def __init__(
        self, name: str, argv: Sequence[str], *, host: Host, folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.host = host
        self.argv = [*argv]
        self.env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **(env or {})}
        self.folder = folder
        self.log_path = folder / f"{name}.log"
        self._child: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{self.name} on {self.host.name}>"

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The process id, also after the end. Raises RuntimeError before the first start."""
        return self._started().pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, the negative signal number when a signal ended it."""
        return self._started().poll()

    def launch(self) -> None:
        """Start the program and return at once. Raises RuntimeError while it runs."""
        if self.alive:
            raise RuntimeError(f"{self.name} runs already")
        # setpriv and not preexec_fn: no Python between fork and exec, so any thread may launch.
        argv = [program("setpriv"), "--pdeathsig", "KILL", "--", program(self.argv[0]), *self.argv[1:]]
        with self.log_path.open("ab") as log, self.host.inside():
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self.folder,
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        """Whether it does its job; subclasses ask the program itself."""
        return self.alive

    def start(self, *, within: float = 10) -> None:
        """Start it and wait until it does its job. Raises :class:`ProcessDied` or NotInTime."""
        self.launch()
        self.wait_ready(within=within)

    def wait_ready(self, *, within: float = 10) -> None:
        """Wait until it does its job. Raises :class:`ProcessDied` or NotInTime."""

        def ready() -> bool:
            return not self.alive or self.is_ready()

        until(ready, within=within, what=f"{self.name} is ready")
        if not self.alive:
            raise ProcessDied(f"{self.name} ended with {self.exit_code} before it was ready:\n{self.tail()}")

    def stop(self, *, within: float = 10) -> int:
        """Send SIGTERM, wait for the end and return the exit code. Raises subprocess.TimeoutExpired."""
        child = self._started()
        child.terminate()
        return child.wait(within * SCALE)

    def kill(self) -> None:
        """End it and its children with SIGKILL, also when it is paused, and wait for that."""
        child = self._started()
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()

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

    def log(self) -> str:
        """Everything it has printed so far, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log().splitlines()[-lines:])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._child
