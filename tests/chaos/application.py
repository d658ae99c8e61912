"""The application as a witness: writers as a process of the fleet, and what the master of the end holds of their writes."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.fleet import CHECKOUT, ConsulNode, Fleet, Process, RedisNode, SentinelNode, srv

from .writers import LANES
from .writes import Writes

EVERY = 0.005
"""Seconds between two writes of one writer."""
_numbers = itertools.count(1)


class Application(Process):
    """``writers.py`` on the host of ``consul``, or some of its writers; each process writes to lists of its own.

    ``login`` and ``tls`` as there.
    """

    def __init__(
        self,
        name: str,
        *,
        folder: Path,
        service: str,
        consul: ConsulNode,
        sentinels: list[SentinelNode],
        writers: Iterable[str] = LANES,
        login: Sequence[str] = (),
        tls: Sequence[str] = (),
    ) -> None:
        path = folder / f"{name}.json"
        argv = [sys.executable, "-m", "tests.chaos.writers", str(path)]
        super().__init__(name, argv, host=consul.host, folder=folder, env=CHECKOUT)
        self._keys = {writer: f"{name}:{writer}" for writer in writers}
        self._stopped: float | None = None
        spec = {
            "dns": consul.dns,
            "question": srv.question(f"{service}.service.consul.").hex(),
            "sentinels": [sentinel.address for sentinel in sentinels],
            "master_name": sentinels[0].master_name,
            "every": EVERY,
            "login": login,
            "tls": tls,
            "keys": self._keys,
        }
        path.write_text(json.dumps(spec))

    def is_ready(self) -> bool:
        """Whether each writer has written."""
        return all(acknowledged for _, acknowledged in self._told().values())

    def has_written(self, writer: str, *, since: float) -> bool:
        """Whether a write of a writer was acknowledged after a moment, as far as it has told."""
        _, acknowledged = self._told()[writer]
        return bool(acknowledged) and acknowledged[-1][1] > since

    def stop(self, *, within: float = 10) -> int:
        """Have every writer end with what it has begun; returns the exit code. Raises subprocess.TimeoutExpired."""
        self._stopped = time.monotonic()
        return super().stop(within=within)

    def writes(self, master: RedisNode) -> Mapping[str, Writes]:
        """What each writer wrote, held against what a master has, after the end. Raises redis.RedisError."""
        return {
            writer: Writes(
                acknowledged,
                {int(entry) for entry in master.ask("LRANGE", self._keys[writer], "0", "-1")},
                errors=errors,
                lanes=LANES[writer],
                until=self._stopped,
            )
            for writer, (errors, acknowledged) in self._told().items()
        }

    def forget(self, master: RedisNode) -> None:
        """Delete what was written. Raises redis.RedisError."""
        master.ask("DEL", *self._keys.values())

    def _told(self) -> dict[str, tuple[int, list[tuple[int, float]]]]:
        """How many writes of each writer have failed, and which were acknowledged."""
        failed = dict.fromkeys(self._keys, 0)
        told: dict[str, list[tuple[int, float]]] = {writer: [] for writer in self._keys}
        for line in self.log().splitlines(keepends=True):
            if line.endswith("\n") and line.startswith("["):
                writer, errors, *new = json.loads(line)
                failed[writer] = errors
                told[writer] += [(int(number), float(at)) for number, at in new]
        return {writer: (failed[writer], told[writer]) for writer in told}


@contextmanager
def writing(fleet: Fleet, service: str, writers: Iterable[str] = LANES) -> Iterator[Application]:
    """Have applications, which ask DNS for ``service``, write from the beginning of the block to its end, or until they are stopped."""
    own = fleet.certificates.client if fleet.certificates else None
    application = Application(
        f"application{next(_numbers)}",
        folder=fleet.folder,
        service=service,
        consul=fleet.consuls[0],
        sentinels=fleet.sentinels,
        writers=writers,
        login=[fleet.sentinels[0].username, fleet.sentinels[0].password] if fleet.rights else [],
        tls=[str(path) for path in (own.ca, own.cert, own.key)] if own else [],
    )
    try:
        yield fleet.add(application)
    finally:
        if application.alive:
            application.kill()
        fleet.processes.remove(application)
