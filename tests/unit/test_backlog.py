"""The log and who reads it: nobody waits, order and wholeness stay, and what is lost is counted."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TextIO

import pytest

from consul_redis_agent.tell import logs
from consul_redis_agent.tell.backlog import Backlog

PIPE = 4096
"""Bytes that the pipe of these tests holds."""


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Leave the root logger as pytest set it up, and no thread that writes."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    for handler in root.handlers:
        if isinstance(handler, logging.StreamHandler) and isinstance(handler.stream, Backlog):
            handler.stream.close()
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """A small pipe: its reading end, and a stream into it."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE)
    stream = os.fdopen(write, "w", encoding="utf-8")
    yield read, stream
    os.set_blocking(read, False)
    while rest(read):  # lets a thread that hangs go on to its end
        time.sleep(0.01)
    stream.close()
    os.close(read)


def rest(read: int) -> bytes:
    try:
        return os.read(read, 1 << 20)
    except BlockingIOError:
        return b""


def backlog() -> Backlog:
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    assert isinstance(handler.stream, Backlog)
    return handler.stream


@pytest.mark.parametrize("style", ["text", "json"])
def test_lines_come_out_in_order_and_in_form(pipe: tuple[int, TextIO], style: logs.Format) -> None:
    """Formatted when it was said: what an argument becomes later is not in it, and nothing forges a line."""
    read, stream = pipe
    logs.setup("info", style, stream, beside=True)
    said = ["first"]
    logging.getLogger("x").info("%s", said)
    said[0] = "later"
    try:
        int("bad\r\nforged")
    except ValueError:
        logging.getLogger("x").exception("got %s", "a\n\x1b[2J\udcff")
    assert backlog().drain(5)
    first, second, nothing = os.read(read, PIPE).decode().split("\n")
    assert "['first']" in first
    assert "forged" in second
    assert (first + second).isprintable()
    assert nothing == ""
    if style == "json":
        assert json.loads(first)["message"] == "['first']"


def test_a_pipe_that_nobody_reads_stops_nobody(pipe: tuple[int, TextIO]) -> None:
    """Far more than pipe and room hold is logged in no time; the rest comes out whole, and then what was lost."""
    read, stream = pipe
    logs.setup("info", "text", stream, beside=True)
    logger, words = logging.getLogger("x"), "x" * 1000
    for number in range(2000):
        logger.info("%d %s", number, words)
    assert not backlog().drain(0.05)
    text = ""
    while " lost" not in text:
        text += os.read(read, PIPE).decode()
    logger.info("there is room again")
    assert backlog().drain(5)
    text += os.read(read, PIPE).decode()
    *told, notice, last = text.splitlines()
    numbers = [int(line.split()[2]) for line in told]
    assert numbers == [*range(len(numbers))]
    assert all(line.endswith(words) for line in told)
    level, lost, *said = notice.split()[1:]
    assert (level, " ".join(said[:6])) == ("warning", "lines of this log are lost:")
    assert int(lost) + len(numbers) == 2000
    assert last.endswith("info there is room again")


def test_a_reload_keeps_what_waits(pipe: tuple[int, TextIO]) -> None:
    """Set up again for the same stream, the order stays; and one thread writes."""
    read, stream = pipe
    logs.setup("info", "text", stream, beside=True)
    first = backlog()
    for number in range(100):
        logging.getLogger("x").info("%d %s", number, "x" * 100)
    logs.setup("info", "json", stream, beside=True)
    logging.getLogger("x").info("100")
    assert backlog() is first
    text = ""
    while '"100"' not in text:
        text += os.read(read, PIPE).decode()
    *told, last = text.splitlines()
    assert [int(line.split()[2]) for line in told] == [*range(100)]
    assert json.loads(last)["message"] == "100"


def test_a_reader_that_is_gone_is_no_reason_to_stop() -> None:
    """What cannot be written is dropped, and nothing waits for it."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        logs.setup("info", "text", stream, beside=True)
        logging.getLogger("x").info("into the void")
        assert backlog().drain(5)


def test_a_descriptor_that_does_not_block_gets_every_line(pipe: tuple[int, TextIO]) -> None:
    """Whoever shares the pipe may have made it so: then it is tried again."""
    read, stream = pipe
    os.set_blocking(stream.fileno(), False)
    logs.setup("info", "text", stream, beside=True)
    for number in range(30):
        logging.getLogger("x").info("%d %s", number, "x" * 1000)
    text = ""
    while text.count("\n") < 30:
        text += os.read(read, PIPE).decode()
    assert [int(line.split()[2]) for line in text.splitlines()] == [*range(30)]


ENDING = """
import asyncio, logging, sys
from consul_redis_agent.tell import crash, logs
logs.setup("info", "text", beside=True)
sys.excepthook = lambda _, error, __: crash.ended(error)
for number in range(LINES):
    logging.getLogger("x").info("%d %s", number, "x" * 1000)
END
"""


@pytest.mark.parametrize(("end", "code"), [("sys.exit(3)", 3), ("1 / 0", 1)], ids=["exit", "crash"])
def test_the_end_waits_for_a_reader_for_a_second(end: str, code: int) -> None:
    """A pipe that is full and stays so: the process ends all the same, with its own exit code."""
    program = ENDING.replace("LINES", "300").replace("END", end)
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    try:
        assert child.wait(20) == code
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize(("end", "code", "last"), [("sys.exit(3)", 3, " x"), ("1 / 0", 1, "ZeroDivisionError")])
def test_the_end_loses_nothing_that_is_read(end: str, code: int, last: str) -> None:
    """All lines come out before the process is gone, the last words too."""
    program = ENDING.replace("LINES", "300").replace("END", end)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    lines = done.stderr.splitlines()
    assert done.returncode == code
    assert len(lines) == 300 + (code == 1)
    assert last in lines[-1]


def test_who_logs_in_time_starts_no_thread_for_nothing(pipe: tuple[int, TextIO]) -> None:
    """Set up and silent, there is no thread yet."""
    logs.setup("info", "text", pipe[1], beside=True)
    logging.getLogger("x").debug("quiet")
    assert backlog()._thread is None
