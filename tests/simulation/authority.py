"""What may be done to a Redis node, and asked of a Sentinel: holds each order that is carried out against rule 12."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from consul_redis_agent.decide.facts import Role
from consul_redis_agent.decide.sentinels import SENTINEL_LIFE
from consul_redis_agent.publish.fence import PAUSE_ALL, PAUSE_WRITES

from .engine import Violation
from .redis import FAILOVER_TIMEOUT

if TYPE_CHECKING:
    from .world import World

FELL = 1.0
"""Seconds for which the word of a leader that fell may be acted on: its look, the new master's, and the wait for DNS."""
TURNED = 1.0
"""The same for what a node said of itself."""
LATE = 0.05
"""Seconds that an order is under way at the longest."""


class Authority:
    """Who could rightly say what, and until when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._named: dict[int, float] = {}
        """When a majority last named each node."""
        self._selected: dict[tuple[int, int], float] = {}
        """When each host last reached a leader that promotes each node."""
        self._master: dict[int, float] = {}
        """When each node last said master."""
        self._waits: dict[int, tuple[float, float]] = {}
        """Since when the clients of each node wait, and until when."""
        self._asked: dict[int, tuple[float, str]] = {}
        """When each agent last asked a Sentinel, and which one: each knows of the deaths of one node."""

    def look(self, named: int | None) -> None:
        """After each event that may have changed something."""
        now = self.world.engine.now
        if named is not None:
            self._named[named] = now
        for host in self.world.hosts:
            if host.redis.up and host.redis.role is Role.MASTER:
                self._master[host.number] = now
            failover = host.sentinel.failover
            if failover and failover.elected and failover.selected is not None and host.sentinel.answers:
                near = [h.number for h in self.world.hosts if self.world.reach(h.number, host.number)]
                self._selected.update(dict.fromkeys(((h, failover.selected) for h in near), now))

    def _told(self, host: int, to: int) -> bool:
        """Whether an elected leader that promotes that node can have said so lately."""
        return self.world.engine.now - self._selected.get((host, to), -inf) <= FELL

    @property
    def _true(self) -> int | None:
        """The node that the leader at an epoch newer than any majority's has selected, as long as it stands by it."""
        top = max((h.sentinel.state.config_epoch for h in self.world.hosts), default=0)
        under_way = [s.failover for s in (h.sentinel for h in self.world.hosts) if s.answers and s.failover]
        newest = max((f for f in under_way if f.elected), key=lambda f: f.epoch, default=None)
        return newest.selected if newest and newest.epoch >= top else None

    def turned(self, host: int, to: int) -> None:
        """An agent makes a node follow another one."""
        world, now = self.world, self.world.engine.now
        self.look(world.judge.named())
        name = f"{world.name(host)} is made to follow {world.name(to)}, "
        if world.hosts[host].redis.role is Role.REPLICA:
            return
        if self._true == host:
            raise Violation(f"{name}and an elected leader promotes it")
        if now - self._master.get(to, -inf) > TURNED:
            raise Violation(f"{name}which does not say that it is a master")
        if now - self._named.get(to, -inf) > SENTINEL_LIFE and not self._told(host, to):
            raise Violation(f"{name}for which neither a majority nor a leader stands")

    def waits(self, host: int, seconds: float, *, everything: bool) -> None:
        """An agent lets a node's writes wait, or everything."""
        world, now = self.world, self.world.engine.now
        self.look(world.judge.named())
        began, until = self._waits.get(host, (now, now))
        began, until = (began if until >= now else now), max(until, now + seconds)
        self._waits[host] = began, until
        name = f"the clients of {world.name(host)} "
        if not everything and not any(self._told(host, h.number) for h in world.hosts if h.number != host):
            raise Violation(f"{name}wait, and nobody has selected another node")
        if until - began > PAUSE_WRITES + LATE + PAUSE_ALL * everything:
            raise Violation(f"{name}wait for {until - began:.2f} s")

    def resumed(self, host: int) -> None:
        """They wait no longer."""
        self._waits.pop(host, None)

    def asked(self, agent: int, sentinel: int) -> None:
        """An agent asks a Sentinel for a failover."""
        now, name = self.world.engine.now, self.world.name(sentinel)
        before, other = self._asked.get(agent, (-inf, ""))
        if now - before < FAILOVER_TIMEOUT:
            raise Violation(f"{self.world.name(agent)} asks {name}, {now - before:.2f} s after {other}")
        self._asked[agent] = now, name
