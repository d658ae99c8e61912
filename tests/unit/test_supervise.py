"""A defect of our own ends the work that it is in, is said in one line, and the work is begun anew."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tenacity import AsyncRetrying, RetryCallState

from consul_redis_agent import supervise
from consul_redis_agent.supervise import AGAIN, defect, supervised


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "AGAIN", lambda state: 0.001 * state.attempt_number)


async def test_what_a_defect_has_ended_is_begun_anew(caplog: pytest.LogCaptureFixture) -> None:
    """Each time with one line that says what it was, where, and when it goes on; whoever waits for it is woken."""
    begun, ended = 0, []

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun < 4:
            raise KeyError("runid")

    with caplog.at_level(logging.INFO):
        await supervised("127.0.0.1:6379", work, lambda: ended.append(begun))
    assert (begun, ended) == (4, [1, 2, 3])
    assert len(caplog.records) == 3
    first = caplog.records[0].getMessage()
    assert first.startswith(
        "127.0.0.1:6379: a defect of this program, please report it: KeyError: 'runid' (at test_supervise.py:"
    )
    assert first.endswith("begun anew in 0 s")


async def test_the_pause_grows_and_begins_anew_after_a_long_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten starts a second help nobody."""
    now, lives = 0.0, iter([0.0, 0.0, 0.0, 1000.0, 0.0])
    pauses: list[int] = []

    def again(state: RetryCallState) -> float:
        pauses.append(state.attempt_number)
        return 0.0

    monkeypatch.setattr(supervise, "clock", lambda: now)
    monkeypatch.setattr(supervise, "AGAIN", again)

    async def work() -> None:
        nonlocal now
        if (lived := next(lives, None)) is not None:
            now += lived
            raise ValueError

    await supervised("it", work)
    assert pauses == [1, 2, 3, 1, 2]


def test_the_pause_has_an_end() -> None:
    """However often it was begun anew."""
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = 10_000
    assert AGAIN(state) == 60.0


async def test_an_end_from_outside_is_none() -> None:
    """A cancelled work is over, and nothing is said."""
    task = asyncio.create_task(supervised("it", lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_group_of_errors_is_told_one_by_one() -> None:
    """As a TaskGroup raises them."""
    group = ExceptionGroup("", [ValueError("one"), ExceptionGroup("", [TypeError()])])
    assert defect(group) == (
        "a defect of this program, please report it: ValueError: one (at an unknown place); TypeError (at an unknown place)"
    )
