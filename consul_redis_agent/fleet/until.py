"""Waiting for a condition that is true outside, without guessing how long it takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

SCALE = float(os.environ.get("CRA_TEST_SCALE", "1"))
"""How many times longer than on an idle machine every wait may take."""

POLL = 0.005
"""Seconds between two looks."""


class NotInTime(AssertionError):
    """The condition did not come true in time; the message says which and what was seen last."""


def until(condition: Callable[[], _T], *, within: float, what: str, every: float = POLL) -> _T:
    """Look every ``every`` seconds until ``condition()`` is truthy, and return that value.

    An exception in the condition means "not yet". Raises :class:`NotInTime` after ``within`` seconds (times
    :data:`SCALE`), from the last exception if there was one.
    """
    deadline = time.monotonic() + within * SCALE
    while True:
        last, error = None, None
        try:
            last = condition()
        except Exception as caught:  # noqa: BLE001 - a server that is not up yet fails in any way it likes
            error = caught
        if last:
            return last
        if time.monotonic() >= deadline:
            seen = repr(error) if error else repr(last)
            raise NotInTime(f"not within {within * SCALE:g} s: {what}; seen last: {seen}") from error
        time.sleep(every)
