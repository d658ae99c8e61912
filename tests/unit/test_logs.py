"""One line an event, whoever reads it, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator

import pytest

from consul_redis_agent.config import Secret
from consul_redis_agent.tell import logs


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Leave the root logger as pytest set it up."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)


def test_a_terminal_gets_text() -> None:
    """A person reads time, level, message."""
    stream = Terminal()
    logs.setup("info", "auto", stream)
    logging.getLogger("x").info("became %s", "master")
    when, level, text = stream.getvalue().split(" ", 2)
    assert when.endswith("+00:00")
    assert (level, text) == ("info", "became master\n")


def test_anything_else_gets_json() -> None:
    """A program reads an object a line."""
    stream = io.StringIO()
    logs.setup("info", "auto", stream)
    logging.getLogger("x").warning("became %s", "master")
    [line] = stream.getvalue().splitlines()
    assert json.loads(line) | {"time": ""} == {
        "time": "",
        "level": "warning",
        "logger": "x",
        "message": "became master",
    }


@pytest.mark.parametrize(("style", "start"), [("auto", "<4>look"), ("text", "<4>look"), ("json", "{")])
def test_journald_gets_priorities(style: logs.Format, start: str) -> None:
    """journald knows the time already; it is told the priority, and nothing is said twice."""
    read, write = os.pipe()
    with os.fdopen(read) as reader, os.fdopen(write, "w") as stream:
        status = os.fstat(write)
        logs.setup("info", style, stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        logging.getLogger("x").warning("look")
        assert reader.readline().startswith(start)


def test_a_journal_elsewhere_is_not_ours() -> None:
    """JOURNAL_STREAM is inherited by whoever redirects stderr, and then means nothing."""
    stream = Terminal()
    logs.setup("info", "auto", stream, {"JOURNAL_STREAM": "1:2"})
    logging.getLogger("x").info("look")
    assert not stream.getvalue().startswith("<")


@pytest.mark.parametrize("style", ["text", "json"])
def test_nothing_from_outside_forges_a_line(style: logs.Format) -> None:
    """Line breaks, escapes and direction marks are shown, not obeyed; an exception stays on its line."""
    stream = io.StringIO()
    logs.setup("debug", style, stream)
    try:
        int("bad\r\nforged")
    except ValueError:
        logging.getLogger("x").exception("got %s", "a\n\x1b[2J\u202e\u2028\udcff\x00b")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text[:-1].isprintable()
    assert len(text.splitlines()) == 1


def test_ordinary_text_stays_readable() -> None:
    """Only what does harm is escaped."""
    assert logs.escape("Zürich → 10.0.0.1") == "Zürich → 10.0.0.1"
    assert logs.escape("a\tb") == "a\\tb"


def test_secrets_are_stars() -> None:
    """However a secret gets into a log call, it does not get into the log."""
    stream = io.StringIO()
    logs.setup("info", "text", stream)
    secret = Secret("hunter2")
    logging.getLogger("x").info("%s %r %s", secret, {"token": secret}, f"{secret}")
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count("***") == 3


def test_the_level_is_kept() -> None:
    """What is below the level is not written, and setting up again replaces the first time."""
    stream = io.StringIO()
    logs.setup("debug", "text", io.StringIO())
    logs.setup("warning", "text", stream)
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").error("loud")
    assert stream.getvalue().count("\n") == 1


def test_a_closed_stream_is_no_reason_to_stop() -> None:
    """A log sink that is gone never reaches the decisions."""
    stream = io.StringIO()
    logs.setup("info", "text", stream)
    stream.close()
    logging.getLogger("x").info("into the void")
