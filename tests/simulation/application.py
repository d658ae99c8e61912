"""An application that knows nothing of failovers; see the package's assumption 22."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from consul_redis_agent.decide.facts import Role

if TYPE_CHECKING:
    from .redis import Redis
    from .world import World

SELDOM = 0.25
"""Seconds between two writes."""
OFTEN = 0.005
"""The same while they are counted."""
PATIENCE = 1.0
"""Seconds that it waits for an answer."""


class Application:
    """Writes number after number over a connection that it keeps, and asks DNS when it has lost it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.longest_gap = 0.0
        """Seconds without an acknowledged write, since they are counted."""
        self._pace = SELDOM
        self._number = 0
        self._acknowledged: set[int] = set()
        self._last = 0.0
        self._at: tuple[Redis, int] | None = None
        self._asked = inf
        world.engine.later(0.0, self._write)

    def count(self) -> None:
        """Write often from now on, and count what is acknowledged."""
        self._pace = OFTEN
        self._acknowledged.clear()
        self.longest_gap, self._last = 0.0, self.world.engine.now

    def rest(self) -> None:
        """Write seldom again, and count nothing more."""
        self._pace = SELDOM

    def lost(self, master: Redis) -> int:
        """How many acknowledged writes are not to be found there."""
        return len(self._acknowledged.difference(master.data.writes))

    def _write(self) -> None:
        engine = self.world.engine
        engine.later(self._pace, self._write)
        node = self._connected()
        if node is None:
            return
        if not node.answers or node.writes_wait or not self.world.hosts[node.host].up:
            self._asked = min(self._asked, engine.now)
            if engine.now - self._asked > PATIENCE:
                self._at, self._asked = None, inf
            return
        self._asked = inf
        if node.role is Role.REPLICA or node.loading:
            self._at = None
            return
        self._number += 1
        node.data.write(self._number)
        if self._pace == OFTEN:
            self._acknowledged.add(self._number)
            self.longest_gap = max(self.longest_gap, engine.now - self._last)
            self._last = engine.now

    def _connected(self) -> Redis | None:
        if self._at and self._at[0].closings == self._at[1]:
            return self._at[0]
        hosts = self.world.hosts
        nodes = (hosts[self.world.host_of(node)].redis for node, _ in self.world.servers.masters)
        found = next((node for node in nodes if node.up), None)
        self._at = (found, found.closings) if found else None
        return found
