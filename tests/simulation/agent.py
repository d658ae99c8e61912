"""Our agent on one host: the real process, in a loop of its own; the package's assumptions 16 to 18."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consul_redis_agent import agent, clock
from consul_redis_agent.config import Config, load
from consul_redis_agent.publish.entries import Mode

from .link import Server
from .loop import Loop
from .redis import NAME

if TYPE_CHECKING:
    from .world import World

TTL = 10.0
OTHER_TTL = 12.0
"""After a reload."""
TIMEOUT = 2.0
"""Of one call to Consul."""
PACE = 60
"""Times a second that an agent may do the same thing."""
CLOSE_PACE = 300
"""The same where every millisecond counts: a peer is asked a hundred times, and each Sentinel fifty."""
TURNS = 3000
"""Turns of its loop in a second."""


@cache
def configuration(mode: Mode, ttl: float, early: bool, hosts: tuple[str, ...], fence: tuple[str, ...]) -> Config:
    """As the operator writes it. ``fence``: its mode, what is asked for on a death and on an empty return, the delay."""
    service = {"service.mode": mode.value, "service.ttl": f"{ttl:g}s"}
    sentinel = {"sentinel.hosts": list(hosts), "redis.master_name": NAME} if hosts else {}
    fenced = dict(zip(("fence.mode", "failover.on_death", "failover.on_empty", "failover.delay"), fence, strict=True))
    return load(None, {}, {**service, **sentinel, **fenced, "sentinel.early": str(early).lower()})


class Agent(Server):
    """The process, from one start to the next."""

    what = "agent"

    def __init__(self, world: World, host: int, mode: Mode) -> None:
        super().__init__(world, host)
        self.mode = mode
        self.up = self.stopping = False
        self.running_since = 0.0
        self.loop = self._new_loop()
        self.loop.over = True
        self._ttl = TTL
        self._again = False
        """Whether it is to start once it has ended."""
        self._spread = 0.0
        self._agent: agent.Agent | None = None
        self._counted: Counter[str] = Counter()
        self._decisions = self._turns = 0

    @property
    def able(self) -> bool:
        """Whether it works."""
        return self.answers and not self.stopping

    @property
    def writer(self) -> Any:
        """The writer of its one node; None while there is none."""
        return self._agent.nodes[0].writer if self._agent and self._agent.nodes else None

    # The process

    def start(self) -> None:
        world, rng = self.world, self.world.engine.rng
        self._again = self.stopping
        if self.up or not world.hosts[self.host].up:
            return
        self.up, self.running_since = True, world.engine.now
        self._spread = rng.uniform(0.0, 10.0)
        self._decisions = self._turns = 0
        self.state = world.state / world.name(self.host)
        if rng.random() < 0.3:
            shutil.rmtree(self.state, ignore_errors=True)
            if self._agent:
                world.judge.forgot(self.host)
        self.state.mkdir(exist_ok=True)
        world.say(self.host, "agent starts")
        world.changed()
        self.loop = self._new_loop()
        self.loop.enter(lambda: self.loop.create_task(self._main()).add_done_callback(self._ended))
        self._look_at_pace(self.loop)

    def _new_loop(self) -> Loop:
        return Loop(self, self.world.engine, lambda what: self.world.failed(self.host, what), self._begins)

    def _begins(self) -> None:
        clock._SPREAD = self._spread  # what is the process' own, of all that stands in modules

    async def _main(self) -> None:
        """As :meth:`consul_redis_agent.agent.Agent.run`, which listens on sockets besides."""
        self._stop, self._reload = asyncio.Event(), asyncio.Event()
        self._agent = process = agent.Agent(self._load, Path("nowhere"))
        process.pulse.beat()
        while new := await process._run_until(self._stop, self._reload):
            process.config = new
            self._reload.clear()

    def _load(self) -> Config:
        hosts = (
            () if self.world.discovers else tuple(str(self.world.sentinel_address(h.number)) for h in self.world.hosts)
        )
        return configuration(self.mode, self._ttl, self.world.early, hosts, self.world.fence.settings)

    def _ended(self, main: asyncio.Task[None]) -> None:
        if not main.cancelled() and main.exception():
            self.loop.call_exception_handler({"message": "the agent has failed", "exception": main.exception()})
        self.stop()
        if self._again:
            self.world.engine.later(0.1, self.start)

    def stop(self) -> None:
        if self.up:
            self.stopping, self.loop.over = False, True
            self.world.engine.later(0.0, self.loop.kill)  # it may be the one that runs now
            super().stop()

    def terminate(self) -> None:
        """SIGTERM."""
        self._signal("is told to end", "_stop")
        self.stopping = self.up

    def reload(self) -> None:
        """SIGHUP, sometimes with another TTL in the file."""
        self._ttl = self.world.engine.rng.choice([TTL, TTL, OTHER_TTL])
        self._signal("is told to read its configuration again", "_reload")

    def _signal(self, what: str, event: str) -> None:
        if self.up and not self.stopping:
            self.world.say(self.host, f"agent {what}")
            self.loop.enter(lambda: getattr(self, event).set())
            self.world.judge.disturbed(self.host)
            self.world.changed()

    def pause(self) -> None:
        super().pause()
        self.loop.paused = self.paused

    def resume(self) -> None:
        if self.paused:
            super().resume()
            self.running_since, self._turns = self.world.engine.now, self.loop.turns
            self.loop.resume()

    # Nothing is done without pause, whatever fails

    def count(self, what: str) -> None:
        """It does something."""
        self._counted[what] += 1

    def _look_at_pace(self, loop: Loop) -> None:
        if loop.over:
            return
        self.world.engine.later(1.0, self._look_at_pace, loop)
        nodes = self._agent.nodes if self._agent else []
        decisions = sum(node.decisions for node in nodes)
        self._counted["decides"] = decisions - self._decisions
        for what, times in self._counted.items():
            if times > (CLOSE_PACE if self.world.fence.mode == "on" else PACE):
                self.world.judge.hurried(self.host, what)
        if loop.turns - self._turns > TURNS:
            self.world.judge.hurried(self.host, "turns round")
        self._decisions, self._turns = decisions, loop.turns
        self._counted.clear()


def in_process(agent: Agent, action: Callable[[], None]) -> None:
    """Do something with what belongs to a process, as if it did so itself."""
    agent.loop.enter(action)
