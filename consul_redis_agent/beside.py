"""Blocking work beside the event loop, for what no deadline can end: a file on a hung mount, a resolver that is silent.

Each piece of work has a daemon thread, which is started when there is work and gone when there is none. A thread that hangs costs
those who wait for that very work, each for no longer than its own deadline, and the end of the process waits for none. (The
event loop's own pool has some six threads for everybody, and asyncio.run and the interpreter wait for all of them at the end.)
"""
# ruff: noqa: ASYNC109 - a passed deadline is an answer of its own here (LocalError), not a cancellation

from __future__ import annotations

import asyncio
import atexit
import threading
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from consul_redis_agent.errors import LocalError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Threads:
    """At most ``limit`` threads at once; what is more waits in line. Safe for any number of event loops.

    ``at_exit``: seconds for which the end of the process waits for what was begun; 0 for not at all.
    """

    def __init__(self, limit: int, *, at_exit: float = 0.0) -> None:
        self._limit, self._running = limit, 0
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._line: deque[_Work] = deque()
        self._shared: dict[Hashable, _Work] = {}
        if at_exit:
            atexit.register(self.settle, at_exit)

    def start(self, function: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> asyncio.Future[_T]:
        """Call ``function`` in a thread; the future, of the running loop, has what it returns or raises."""
        return self._begin(_Work(lambda: function(*args, **named)))

    async def ask(self, function: Callable[..., _T], *args: Hashable, timeout: float, what: str) -> _T:
        """What ``function(*args)`` returns or raises, asked in a thread; who asks the same meanwhile waits for the same call.

        Raises LocalError, which names ``what``, if that takes longer than ``timeout`` seconds.
        """
        key = (function, args)
        future: asyncio.Future[_T] = self._begin(_Work(lambda: function(*args), key))
        try:
            await asyncio.wait([future], timeout=timeout)
            if future.done():
                return future.result()
            raise LocalError(f"{what} did not answer within {timeout:g} s")
        finally:
            if not future.cancel():
                future.exception()  # it has ended; where this task was cancelled, nobody waits for its error any more

    def settle(self, timeout: float) -> bool:
        """Wait in this thread until all work is done, ``timeout`` seconds at most; returns whether it is."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._running, timeout)

    def _begin(self, work: _Work) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._lock:
            same = self._shared.get(work.key)
            (same or work).waiting.append((loop, future))
            if same:
                return future
            if work.key is not None:
                self._shared[work.key] = work
            self._line.append(work)
            needed = self._running < self._limit
            self._running += needed
        if needed:
            try:
                threading.Thread(target=self._work, name="beside", daemon=True).start()
            except RuntimeError as error:
                self._refuse(error)
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._line:
                    self._running -= 1
                    self._idle.notify_all()
                    return
                work = self._line.popleft()
            work.do()
            self._end(work)

    def _end(self, work: _Work) -> None:
        with self._lock:
            self._shared.pop(work.key, None)
        work.tell()

    def _refuse(self, error: RuntimeError) -> None:
        """No thread is to be had. Where another one is at work, it does this, too; else nobody would."""
        with self._lock:
            self._running -= 1
            refused = [] if self._running else [*self._line]
            self._line = self._line if self._running else deque()
        for work in refused:
            work.error = LocalError(f"{error}: this host, or the service's TasksMax, has no room for one more thread")
            self._end(work)


FILES = Threads(128)
"""For reading what operators and other programs keep in files: as many may hang before anybody else waits for them."""
FILE_TIMEOUT = 1.0
"""Seconds for which a file is waited for."""


class _Work:
    """One call, and the futures of those who wait for it."""

    __slots__ = ("_call", "error", "key", "result", "waiting")

    def __init__(self, call: Callable[[], Any], key: Hashable = None) -> None:
        self._call, self.key = call, key
        self.waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]] = []
        self.result: Any = None
        self.error: BaseException | None = None

    def do(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is theirs who wait
            self.error = error

    def tell(self) -> None:
        for loop, future in self.waiting:
            with suppress(RuntimeError):  # that loop is closed: who waited there is gone
                loop.call_soon_threadsafe(self._settle, future)

    def _settle(self, future: asyncio.Future[Any]) -> None:
        if future.done():
            return  # whoever waited has given up
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(self.result)
