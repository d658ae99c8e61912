"""An asyncio event loop in the engine's time, one for each process of ours; the package's assumptions 16 and 17."""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

from consul_redis_agent.errors import RemoteError, StaleDecision

from .engine import Engine

TICK = 0.0002
"""Seconds that a timer comes late, as with epoll; without, a wait that is shorter than a float can tell never ends."""
SPINS = 20_000
"""Callbacks in one moment that mean a loop without a pause."""


class Planned(Exception):
    """A defect of ours that a test has put in."""


class Handle:
    """A callback to come, which may be cancelled."""

    __slots__ = ("args", "callback", "cancelled", "when")

    def __init__(self, when: float, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.when, self.callback, self.args, self.cancelled = when, callback, args, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Runs one process. Whatever reaches it from outside comes in by :meth:`enter`; what it computes takes no time.

    It has what asyncio asks of a loop where nothing is read or written. ``failed`` is told of each exception that nobody has
    caught; ``begins`` is called before each turn.
    """

    def __init__(self, process: Any, engine: Engine, failed: Callable[[str], None], begins: Callable[[], None]) -> None:
        self.process, self._engine, self._failed, self._begins = process, engine, failed, begins
        self._me = cast("asyncio.AbstractEventLoop", self)
        self._ready: deque[Handle] = deque()
        self._held: list[Handle] = []
        self._late: list[Handle] = []
        self.over = self.paused = False
        self.turns = 0

    # From outside

    def enter(self, callback: Callable[..., Any], *args: Any) -> None:
        """Something has reached the process: a message, the end of a connection, a signal."""
        self._run(self._held, Handle(self._engine.now, callback, args))

    def resume(self) -> None:
        """SIGCONT: what has come in is found first, then each timer that is due, as the selector's loop does it."""
        self.paused = False
        late = sorted(self._late, key=lambda handle: handle.when)
        self._ready.extend([*self._held, *late])
        self._held, self._late = [], []
        self._turn()

    def kill(self) -> None:
        """SIGKILL: nothing runs any more. Its coroutines are closed here, so that no warning comes out of them later."""
        self.over = True
        self._ready.clear()
        asyncio._set_running_loop(self._me)
        while tasks := asyncio.all_tasks(self._me):
            for task in tasks:
                cast("Any", task)._log_destroy_pending = False
                asyncio._unregister_task(task)
                _close(cast("Coroutine[Any, Any, Any]", task.get_coro()))
        asyncio._set_running_loop(None)

    def _run(self, held: list[Handle], handle: Handle) -> None:
        if self.over or handle.cancelled:
            return
        if self.paused:
            held.append(handle)
        else:
            self._ready.append(handle)
            self._turn()

    def _turn(self) -> None:
        self.turns += 1
        ready, left = self._ready, SPINS
        asyncio._set_running_loop(self._me)
        self._begins()
        try:
            while ready and left and not self.over:
                left -= 1
                handle = ready.popleft()
                if not handle.cancelled:
                    handle.callback(*handle.args)
        except Exception as error:  # noqa: BLE001 - whatever a callback lets out ends the simulation
            self.call_exception_handler({"message": "a callback has failed", "exception": error})
        finally:
            asyncio._set_running_loop(None)
        if not left:
            self._failed("a loop without any pause")

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._engine.now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Handle:
        handle = Handle(self._engine.now, callback, args)
        if not self.over:
            self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Handle:
        return self.call_at(self._engine.now + delay, callback, *args)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Handle:
        handle = Handle(when, callback, args)
        self._engine.later(max(0.0, when - self._engine.now) + TICK, self._run, self._late, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self._me)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self._me, name=name)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """Who awaits a task expects an error of somebody else; a mistake of our own is nobody's to expect."""
        error = None if task.cancelled() else cast("Any", task)._exception  # exception() would count as looked at
        if error and not isinstance(error, RemoteError | StaleDecision | TimeoutError | BaseExceptionGroup | Planned):
            self.call_exception_handler({"message": f"{task.get_name()} has failed", "exception": error})

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        async def done() -> Any:
            return func(*args)

        return self.create_task(done())

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.over:
            error = context.get("exception")
            self._failed(context["message"] + "\n" + "".join(traceback.format_exception(error) if error else ""))

    def get_debug(self) -> bool:
        return False


def _close(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Its ``finally`` may await others, which never end."""
    for _ in range(9):
        try:
            coroutine.close()
        except RuntimeError:
            continue
        return
