"""A defect of our own ends the work that it is in, and no other: it is said in one line, and the work is begun anew."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from tenacity import AsyncRetrying, RetryCallState, wait_exponential_jitter

from consul_redis_agent.clock import clock
from consul_redis_agent.marked import event

log = logging.getLogger(__name__)

AGAIN = wait_exponential_jitter(multiplier=1.0, exp_base=2.0, max=60.0, jitter=0.5)
"""Seconds until what a defect has ended is begun anew."""
CALM = 120.0
"""Seconds of life after which the next defect counts as the first."""


async def supervised(name: str, work: Callable[[], Awaitable[None]], ended: Callable[[], None] = lambda: None) -> None:
    """Run ``work`` until cancelled, again and again where a defect ends it. ``ended`` is called in between.

    What comes from outside, and whatever it is, is no defect: its readers raise errors of their own, which the work itself
    has to deal with. So what arrives here is always a mistake of this program, and no other node may pay for it.
    """
    failures = RetryCallState(AsyncRetrying(), None, (), {})  # only counts here
    while True:
        began = clock()
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - see above; said with its place, and counted by the growing pause
            if clock() - began > CALM:
                failures.attempt_number = 1
            seconds = AGAIN(failures)
            failures.attempt_number += 1
            say(name, error, f"; begun anew in {seconds:.0f} s")
        else:
            return
        ended()
        await asyncio.sleep(seconds)


def say(name: str, error: BaseException, then: str = "") -> None:
    """Say in one line what a defect has ended; the whole traceback is for ``log.level = "debug"``."""
    what = defect(error)
    log.error("%s: %s%s", name, what, then, extra=event("defect", about=name, error=what))
    log.debug("%s", "".join(traceback.format_exception(error)))


def defect(error: BaseException) -> str:
    """An exception that nobody expected, in words: what it is, and where it was raised."""
    found = "; ".join(
        f"{type(leaf).__name__}: {leaf} (at {_place(leaf)})"
        if str(leaf)
        else f"{type(leaf).__name__} (at {_place(leaf)})"
        for leaf in _leaves(error)
    )
    return f"a defect of this program, please report it: {found}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
