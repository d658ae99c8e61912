"""Programs on this machine: found, started, waited for, and ended with whoever started them."""

from __future__ import annotations

import functools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

SCALE = float(os.environ.get("TEST_SCALE", "1"))
"""How many times longer than on an idle machine every wait may take."""
POLL = 0.005
"""Seconds between two looks."""
PAUSE = 0.05

_SAME_AS = {"redis-server": "valkey-server", "redis-sentinel": "valkey-sentinel", "redis-cli": "valkey-cli"}
_T = TypeVar("_T")
_given: set[int] = set()
"""Ports that nobody may have bound yet."""


class MissingProgram(FileNotFoundError):
    """A program is not on PATH."""


class ProcessDied(AssertionError):
    """A process ended before it was ready; the message has the end of its log."""


class NotInTime(AssertionError):
    """The condition did not come true in time; the message says which and what was seen last."""


def until(condition: Callable[[], _T | None], *, within: float, what: str, every: float = POLL) -> _T:
    """Look every ``every`` seconds until ``condition()`` is truthy, and return that value.

    A look that takes longer than that is followed by as long a pause, :data:`PAUSE` at most: who is asked has work to do
    as well. An exception in the condition means "not yet". Raises :class:`NotInTime` after ``within`` seconds (times
    :data:`SCALE`), from the last exception if there was one.
    """
    deadline = time.monotonic() + within * SCALE
    while True:
        last, error, began = None, None, time.monotonic()
        try:
            last = condition()
        except Exception as caught:  # noqa: BLE001 - a server that is not up yet fails in any way it likes
            error = caught
        if last:
            return last
        now = time.monotonic()
        if now >= deadline:
            seen = repr(error) if error else repr(last)
            raise NotInTime(f"not within {within * SCALE:g} s: {what}; seen last: {seen}") from error
        time.sleep(max(every, min(now - began, PAUSE)))


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


def consul_version(name: str = "consul") -> tuple[int, int, int]:
    """Return the version of Consul, or of another one by its path. Raises MissingProgram, or OSError when it does not run."""
    return _version(Path(program(name)).resolve())


@functools.cache
def _version(path: Path) -> tuple[int, int, int]:
    said = subprocess.run([path, "version"], capture_output=True, text=True, check=False)
    found = re.match(r"Consul v(\d+)\.(\d+)\.(\d+)", said.stdout)
    if found is None:
        raise OSError(f"`{path} version` does not say which Consul it is: {(said.stdout + said.stderr).strip()[:200]}")
    return int(found[1]), int(found[2]), int(found[3])


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses; below the range from which the kernel takes ports for outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - two demos at once are not to meet
        if port not in _given and all(_is_free(kind, port) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
            _given.add(port)
            return port


def _is_free(kind: socket.SocketKind, port: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Process:
    """A program in a process group of its own, with its output in ``folder/name.log``.

    The kernel kills it when the thread that started it ends, however that happens (PDEATHSIG).
    """

    def __init__(self, name: str, argv: Sequence[str], *, folder: Path) -> None:
        self.name = name
        self.argv = [*argv]
        self.env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        self.folder = folder
        self.log_path = folder / f"{name}.log"
        self._child: subprocess.Popen[bytes] | None = None

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
        with self.log_path.open("ab") as log:
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

    def kill(self) -> None:
        """End it and its children with SIGKILL, also when it is paused, and wait for that."""
        child = self._started()
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()

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
