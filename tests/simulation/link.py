"""Connections of our agent to Redis and Sentinel: stands in for :class:`consul_redis_agent.watch.link.Link`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import ResponseError

from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch.link import NOBODY

from .loop import TICK

if TYPE_CHECKING:
    from .agent import Agent
    from .world import World

LATE = "no answer in time"
"""The outcome of a question whose deadline has passed."""
LOST = 7.0
"""Seconds within which the kernel notices that a connection leads nowhere."""


def current() -> Agent:
    """The process that runs now."""
    return cast("Agent", cast("Any", asyncio.get_running_loop()).process)


class Server:
    """What Redis, Sentinel and the Consul agent have in common: a process that others are connected to."""

    what = ""

    def __init__(self, world: World, host: int) -> None:
        self.world, self.host = world, host
        self.up, self.paused = True, False
        self.connections: dict[Any, None] = {}
        self._queue: list[Callable[[], None]] = []

    @property
    def answers(self) -> bool:
        return self.up and not self.paused

    def take(self, request: Callable[[], None]) -> None:
        """A request has arrived; while paused it stays in the socket."""
        if self.paused:
            self._queue.append(request)
        elif self.up:
            request()

    def pause(self) -> None:
        """SIGSTOP."""
        if self.answers:
            self.paused = True
            self.world.say(self.host, f"{self.what} is stopped")
            self.world.changed()

    def resume(self) -> None:
        """SIGCONT."""
        if self.paused:
            self.paused = False
            self.world.say(self.host, f"{self.what} goes on")
            self.world.changed()
            queue, self._queue = self._queue, []
            for request in queue:
                request()

    def stop(self) -> None:
        """SIGKILL."""
        if not self.up:
            return
        self.up = self.paused = False
        self._queue.clear()
        self.close_all()
        self.world.say(self.host, f"{self.what} dies")
        self.world.changed()

    def close_all(self, but: Connection | None = None) -> None:
        """Close all connections, as a process does that dies; a host that is lost tells nobody."""
        connections, self.connections = self.connections, {}
        for connection in connections:
            if connection is but:
                self.connections[connection] = None
            else:
                connection.close()

    def answer(self, command: Sequence[str], connection: Connection) -> Any:
        """What Redis or a Sentinel says to one command."""
        raise NotImplementedError

    def push(self, channel: str, message: list[str]) -> None:
        """Send to whoever is subscribed."""
        for connection in list(self.connections):
            if channel in connection.channels:
                connection.push(message)


class Connection:
    """One connection, from both sides. What is sent arrives in order, or the connection is lost and nobody knows yet."""

    def __init__(self, link: Link, server: Server | None, process: Agent) -> None:
        self.link, self.server, self.process = link, server, process
        self.channels: set[str] = set()
        self.over = False
        self.queued: list[Sequence[str]] | None = None
        """What waits for EXEC."""
        self._lost = False
        self._due = 0.0

    @property
    def _carries(self) -> bool:
        reach = self.server is None or self.process.world.reach(self.process.host, self.server.host)
        return reach and not (self.over or self._lost)

    def ask(self, commands: Sequence[Sequence[str]]) -> None:
        """Send commands; :meth:`Link.take` gets the answers."""
        self.process.world.engine.later(self._delay(), self._knock, commands)

    def _knock(self, commands: Sequence[Sequence[str]]) -> None:
        if not self._carries:
            return
        if self.server is None or not self.server.up:
            self._send(self.link.take, Unanswered(NOBODY, gone=True))
        else:
            self.server.connections[self] = None
            self.server.take(lambda: self._arrived(commands))

    def _arrived(self, commands: Sequence[Sequence[str]]) -> None:
        if self.server and self._carries:
            self._send(self.link.take, [self.server.answer(command, self) for command in commands])

    def push(self, message: list[str]) -> None:
        """Of a subscription."""
        world = self.process.world
        if self._carries and world.engine.rng.random() >= world.loss:
            self._send(self.link.take_push, message)
        else:
            self._end(noticed=False)

    def close(self) -> None:
        """From the other side."""
        self._end(noticed=self._carries)

    def _end(self, *, noticed: bool) -> None:
        engine = self.process.world.engine
        self._lost = True
        within = engine.rng.uniform(0.0001, 0.001) if noticed else engine.rng.uniform(0.05, LOST)
        engine.later(within, self.process.loop.enter, self.link.lost, self)

    def _send(self, take: Callable[..., None], message: Any) -> None:
        engine = self.process.world.engine
        self._due = max(self._due + 1e-6, engine.now + self._delay())
        engine.later(self._due - engine.now, self._deliver, take, message)

    def _deliver(self, take: Callable[..., None], message: Any) -> None:
        if self._carries:
            self.process.loop.enter(take, self, message)

    def _delay(self) -> float:
        engine = self.process.world.engine
        here = self.server is not None and self.server.host == self.process.host
        return engine.rng.uniform(0.00015, 0.0005) if here else engine.delay()


class Link:
    """As the real one, to whoever is at ``where`` in the world of the process that makes it."""

    bounded = True
    """Whether anything has a deadline."""
    peer = "127.0.0.1"

    def __init__(
        self,
        where: Address | str,
        *,
        timeout: float,
        username: str = "",
        password: Callable[[], str | None] = lambda: None,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self.where, self.timeout = where, timeout
        self._process, self._closed = current(), closed
        self._connection: Connection | None = None
        self._connecting: Connection | None = None
        self._asking: asyncio.Future[Any] | None = None
        self._pushes: deque[Any] = deque()
        self._listening: asyncio.Future[Any] | None = None

    @property
    def open(self) -> bool:
        return self._connection is not None

    async def connect(self) -> None:
        if not self.open:
            await self.ask()

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        self._process.count(f"asks {self.where}")
        connection = self._connection
        if connection is None:
            server = self._process.world.server_at(self.where, self._process.host)
            connection = self._connecting = Connection(self, server, self._process)
        self._asking = self._process.loop.create_future()
        connection.ask(commands)
        answers: list[Any] = await self._bounded(self._asking, self.timeout)
        return answers

    async def push(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as the real one
        if self._pushes:
            return self._pushes.popleft()
        if self._connection is None:
            raise Unanswered("the server closed the connection")
        self._listening = self._process.loop.create_future()
        return await self._bounded(self._listening, timeout)

    async def close(self) -> None:
        for connection in (self._connection, self._connecting):
            if connection:
                connection.over = True
                if connection.server:
                    connection.server.connections.pop(connection, None)
        self._connection = self._connecting = None
        self._pushes.clear()

    async def _bounded(self, answer: asyncio.Future[Any], timeout: float | None) -> Any:  # noqa: ASYNC109
        try:
            return await outcome(answer, timeout if timeout is not None and self.bounded else inf, Unanswered)
        except BaseException:
            await self.close()
            raise

    # What reaches the process

    def take(self, connection: Connection, answers: Any) -> None:
        """The answers to what was asked last, or why there are none."""
        if connection is self._connecting and not isinstance(answers, Exception):
            self._connection, self._connecting = connection, None
        if self._asking and not connection.over:
            settle(self._asking, answers)

    def take_push(self, connection: Connection, message: Any) -> None:
        """A message of a subscription."""
        if connection is self._connection:
            if self._listening and not self._listening.done():
                self._listening.set_result(message)
            else:
                self._pushes.append(message)

    def lost(self, connection: Connection) -> None:
        """The other side has closed the connection."""
        if connection.over:
            return
        connection.over = True
        was_open = connection is self._connection
        self._connection = self._connecting = None
        self._pushes.clear()
        for waiting in (self._asking, self._listening):
            if waiting:
                settle(waiting, Unanswered("the server closed the connection"))
        if was_open:
            self._closed()


async def accepts(address: Address) -> bool | None:
    """Stands in for :func:`consul_redis_agent.watch.redis_node.accepts`; the kernel accepts for a stopped process."""
    process = current()
    await asyncio.sleep(0.0005)
    server = process.world.server_at(address, process.host)
    if server is None or not process.world.reach(process.host, server.host):
        return None
    return server.up


async def outcome(answer: asyncio.Future[Any], seconds: float, late: type[Exception]) -> Any:
    """What a question came to, which may be an error, within so many seconds; whoever was stopped may have missed it."""
    loop = current().loop
    deadline = loop.time() + seconds
    alarm = loop.call_at(deadline, settle, answer, LATE) if seconds < inf else None
    try:
        found = await answer
    finally:
        if alarm:
            alarm.cancel()
    if found is LATE or loop.time() > deadline + TICK:
        raise late(f"no answer within {seconds:g} s")
    if isinstance(found, Exception):
        raise found
    return found


def settle(future: asyncio.Future[Any], found: Any) -> None:
    """The first outcome counts."""
    if not future.done():
        future.set_result(found)


def refusal(text: str) -> ResponseError:
    """A command that is not taken."""
    return cast("Any", ResponseError)(text)  # type: ignore[no-any-return]


class NoLock:
    """Stands in for :class:`consul_redis_agent.watch.lock.AgentLock`: no host has two agents here."""

    def holder(self, run_id: str, service: str) -> str:
        return ""

    def release(self) -> None:
        """There is nothing to let go."""


async def at_once(threads: Any, function: Callable[..., Any], *args: Any, timeout: float, what: str) -> Any:  # noqa: ASYNC109
    """Stands in for :meth:`consul_redis_agent.beside.Threads.ask`: no file hangs here."""
    return function(*args)


def started(threads: Any, function: Callable[..., Any], *args: Any, **named: Any) -> asyncio.Future[Any]:
    """The same for :meth:`consul_redis_agent.beside.Threads.start`."""
    future = current().loop.create_future()
    future.set_result(function(*args, **named))
    return future
