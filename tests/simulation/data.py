"""What a Redis node holds, and how its replicas copy it; see the package's assumptions 19 to 21."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .redis import Redis
    from .world import World

KNOCK = 1.0
"""Seconds between two attempts of a replica to reach its master."""
FULL_COPY = (0.3, 1.0)
"""Seconds that a whole copy takes."""


class Data:
    """The writes that one node holds, in their order: two nodes have parted where neither's begin the other's."""

    def __init__(self, world: World, host: int) -> None:
        self.world, self.host = world, host
        self.writes = [0]
        self.life = 0
        """Counts what ends every copy to and from it: a start, another master."""
        self.copying = False
        """All of it is being copied anew."""
        self.linked_at = -inf
        """When it was last seen to be linked."""
        self._source: tuple[int, int] | None = None
        """The node that it has copied from since, and that one's life."""
        world.engine.later(0.0, self._knock)

    def begin(self, *, empty: bool = False) -> None:
        """The node starts, or follows another one than before."""
        self.life += 1
        self.copying, self._source = False, None
        if empty:
            self.writes = []
        self.world.engine.later(self.world.engine.delay(), self._connect)

    @property
    def linked(self) -> bool:
        """Whether the node's master is reached, and nothing but the newest writes is missing."""
        master = self._master
        return master is not None and not self.copying and self._source == (master.host, master.data.life)

    def go_on(self) -> None:
        """Reach the new master at once: the link is made as it takes over."""
        self._connect()

    def write(self, number: int) -> None:
        """Of an application."""
        self.writes.append(number)
        self._pass_on()

    @property
    def _node(self) -> Redis:
        return self.world.hosts[self.host].redis

    @property
    def _master(self) -> Redis | None:
        """The node that it is to copy from, as long as it can."""
        node, world = self._node, self.world
        if node.master is None or not (node.answers and world.reach(self.host, node.master)):
            return None
        master = world.hosts[node.master].redis
        return master if master.answers and not master.loading else None

    def _pass_on(self) -> None:
        engine = self.world.engine
        for other in self.world.hosts:
            if other.redis.master == self.host:
                engine.later(engine.delay(), other.redis.data.take, len(self.writes))

    def take(self, count: int) -> None:
        """The master has so many writes."""
        master = self._master
        if master is not None and self.linked and len(self.writes) < count:
            self.writes += master.data.writes[len(self.writes) : count]
            self._pass_on()

    def _knock(self) -> None:
        engine = self.world.engine
        engine.later(engine.rng.uniform(0.8, 1.0) * KNOCK, self._knock)
        self._connect()

    def _connect(self) -> None:
        master, engine = self._master, self.world.engine
        if master is None or self.copying:
            return
        theirs = master.data.writes
        if self.linked:
            self.linked_at = engine.now
            self.take(len(theirs))
        elif theirs[: len(self.writes)] == self.writes:
            self._follow(master)
        else:
            self.copying = True
            engine.later(engine.rng.uniform(*FULL_COPY), self._copied, self.life, master, master.data.life)

    def _copied(self, life: int, master: Redis, source_life: int) -> None:
        if life != self.life:
            return
        self.copying = False
        if self._master is master and master.data.life == source_life:
            self.world.copies += 1
            self.world.say(self.host, f"Redis copies all of {self.world.name(master.host)}")
            self._follow(master, copied=True)

    def _follow(self, master: Redis, *, copied: bool = False) -> None:
        self.writes, self._source = [*master.data.writes], (master.host, master.data.life)
        self.linked_at = self.world.engine.now
        node = self._node
        if node.replication_id != master.replication_id:
            node.former_id = "" if copied else node.replication_id
            node.replication_id = master.replication_id
        self._pass_on()
        self.world.changed()
