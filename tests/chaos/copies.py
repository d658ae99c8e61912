"""How often a Redis node gave another one its whole data set."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import redis

from tests.fleet import RedisNode


class Copies:
    """Counts from the moment it is made. What a process counted before it ended meanwhile is not known afterwards."""

    def __init__(self, nodes: Sequence[RedisNode]) -> None:
        self._nodes = nodes
        self._before = self._counts()

    def made(self) -> int:
        """How many since then. A server that was started again counts from 0."""
        return sum(count - self._before.get(process, 0) for process, count in self._counts().items())

    def _counts(self) -> dict[str, int]:
        """What each process, told by its run id, says."""
        found = {}
        for node in self._nodes:
            with suppress(redis.RedisError):  # it is down
                info = node.ask("INFO", "everything")
                found[info["run_id"]] = int(info["sync_full"])
        return found
