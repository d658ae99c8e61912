"""Blocking work beside the event loop: what hangs costs those who wait for it, and for no longer than they will."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_redis_agent.beside import Threads
from consul_redis_agent.errors import LocalError


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What hangs waits for this; the end of the test sets it."""
    event = threading.Event()
    yield event
    event.set()


def hang(event: threading.Event, name: str) -> str:
    event.wait()
    return name


async def test_what_is_returned_or_raised_is_handed_on() -> None:
    """As if it had been called; and nothing is left running."""
    threads = Threads(2)
    assert await threads.ask(int, "7", timeout=5, what="it") == 7
    assert await threads.start(int, "11", base=3) == 4
    with pytest.raises(ValueError, match="invalid literal"):
        await threads.ask(int, "x", timeout=5, what="it")
    with pytest.raises(ValueError, match="invalid literal"):
        await threads.start(int, "x")
    assert threads.settle(5)


async def test_what_hangs_costs_its_own_deadline_and_nobody_elses(release: threading.Event) -> None:
    """It is named; others are answered meanwhile."""
    threads = Threads(3)
    hung = asyncio.create_task(threads.ask(hang, release, "a", timeout=0.2, what="the file a"))
    await asyncio.sleep(0)
    assert await threads.ask(int, "7", timeout=5, what="it") == 7
    assert not hung.done()
    with pytest.raises(LocalError, match=r"^the file a did not answer within 0\.2 s$"):
        await hung


async def test_who_asks_the_same_waits_for_the_same_call(release: threading.Event) -> None:
    """However many ask, one thread hangs; each has the answer, or an end at its own deadline."""
    threads = Threads(9)
    calls: list[str] = []

    def ask(name: str) -> str:
        calls.append(name)
        return hang(release, name)

    patient = [asyncio.create_task(threads.ask(ask, "a", timeout=5, what="a")) for _ in range(3)]
    with pytest.raises(LocalError):
        await threads.ask(ask, "a", timeout=0.02, what="a")
    assert threads._running == 1
    release.set()
    assert await asyncio.gather(*patient) == ["a"] * 3
    assert calls == ["a"]
    assert await threads.ask(ask, "a", timeout=5, what="a") == "a"
    assert calls == ["a", "a"]


async def test_the_bound_is_kept_and_the_rest_waits_in_line(release: threading.Event) -> None:
    """So many hang, and no more; what comes later is done as soon as there is room, in order, if anybody waits or not."""
    threads = Threads(2)
    done: list[int] = []
    hung = [threads.start(hang, release, str(number)) for number in range(2)]
    later = [threads.start(done.append, number) for number in range(3)]
    later[1].cancel()
    with pytest.raises(LocalError):
        await threads.ask(int, "7", timeout=0.02, what="it")
    assert (threads._running, done) == (2, [])
    release.set()
    assert await asyncio.gather(*hung) == ["0", "1"]
    await later[2]
    assert threads.settle(5)
    assert sorted(done) == [0, 1, 2]


async def test_one_thread_keeps_the_order() -> None:
    """What is kept last is what is kept."""
    threads = Threads(1)
    done: list[int] = []
    await asyncio.gather(*(threads.start(done.append, number) for number in range(100)))
    assert done == [*range(100)]


async def test_an_error_that_nobody_waits_for_is_no_news(
    release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever gave up is not told twice, nor is the log."""
    threads = Threads(1)

    def fail() -> None:
        release.wait()
        raise ValueError

    asking = asyncio.create_task(threads.ask(fail, timeout=5, what="it"))
    await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    release.set()
    assert threads.settle(5)
    await asyncio.sleep(0)
    assert asking.cancelled()
    assert caplog.text == ""


def test_a_loop_that_is_closed_is_not_told(release: threading.Event) -> None:
    """The thread outlives the loop and ends in peace; pytest fails on one that does not."""
    threads = Threads(1)

    async def ask() -> None:
        threads.start(hang, release, "a")
        await asyncio.sleep(0)

    asyncio.run(ask())
    release.set()
    assert threads.settle(5)


async def test_no_thread_to_be_had_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of the host or the service nobody waits for ever."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = Threads(2)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(LocalError, match=r"can't start new thread: .* TasksMax"):
            await threads.ask(int, "7", timeout=5, what="it")
    assert await threads.ask(int, "7", timeout=5, what="it") == 7


async def test_where_one_thread_is_to_be_had_it_does_all(
    monkeypatch: pytest.MonkeyPatch, release: threading.Event
) -> None:
    """The second one is refused: the first does its work, too."""
    threads = Threads(2)
    first = threads.start(hang, release, "a")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no")))
        second = threads.start(hang, release, "b")
    release.set()
    assert [await first, await second] == ["a", "b"]


async def test_a_path_stands_for_itself(tmp_path: Path) -> None:
    """Arguments that are equal are the same question, others are not."""
    threads = Threads(4)
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    asked = [threads.ask(Path.read_text, tmp_path / name, timeout=5, what=name) for name in ("a", "b", "a")]
    assert await asyncio.gather(*asked) == ["a", "b", "a"]
