"""Logging: one line an event, on stderr, in the form that whoever reads it there expects.

    text      2026-11-22T10:55:01.123+00:00 info redis 127.0.0.1:6379: became master
    journald  <6>redis 127.0.0.1:6379: became master      (it knows the time; <6> is the priority)
    json      {"time": "2026-11-22T10:55:01.123+00:00", "level": "info", "logger": "...", "event": "decided", ..., "message": "..."}

Control characters and line breaks are escaped in each, so nothing from outside can forge a line. Secrets need no
filter: they are held in :class:`~consul_redis_agent.config.Secret`, which shows itself as ``***``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO

from consul_redis_agent.marked import event
from consul_redis_agent.tell.backlog import Backlog

Format = Literal["auto", "text", "json"]

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}  # syslog's
NOISY = ("asyncio", "urllib3", "redis")  # libraries whose debug lines say nothing about decisions


def setup(
    level: str,
    style: Format,
    stream: TextIO | None = None,
    env: Mapping[str, str] = os.environ,
    *,
    beside: bool = False,
) -> None:
    """Log everything from ``level`` on to ``stream`` (stderr); replaces what was set up before.

    ``beside``: a thread writes, so that nobody waits for whoever reads (:mod:`~consul_redis_agent.tell.backlog`).
    """
    stream = stream or sys.stderr
    root = logging.getLogger()
    handler = _beside(stream, root) if beside else logging.StreamHandler(stream)
    handler.setFormatter(_formatter(style, stream, env))
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.raiseExceptions = False  # a full disk or a closed stderr is no reason to print about it


def _beside(stream: TextIO, root: logging.Logger) -> logging.Handler:
    """The backlog that there is, if it is that of ``stream``: what waits in it comes first."""
    before = [each.stream for each in root.handlers if isinstance(each, logging.StreamHandler)]
    backlogs = [each for each in before if isinstance(each, Backlog) and each.descriptor == stream.fileno()]
    backlog = backlogs[0] if backlogs else Backlog(stream.fileno(), stream.encoding)
    handler: logging.StreamHandler[Backlog] = logging.StreamHandler(backlog)

    def lost(count: int) -> str:
        words = "%d lines of this log are lost: whoever reads it was too slow, or stood still"
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, (count,), None)
        vars(record).update(event("lines_lost", count=count))
        return handler.format(record) + handler.terminator

    backlog.lost = lost
    return handler


def _formatter(style: Format, stream: TextIO, env: Mapping[str, str]) -> logging.Formatter:
    if style != "json" and _is_journal(stream, env):
        return JournalFormatter()
    if style == "text" or (style == "auto" and stream.isatty()):
        return TextFormatter()
    return JsonFormatter()


def _is_journal(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether journald reads ``stream``: systemd gives the device and inode of what it connected."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return env.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _LineFormatter(logging.Formatter):
    """The message, and an exception behind it, as one line."""

    def message(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class TextFormatter(_LineFormatter):
    """For people."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname.lower()} {escape(self.message(record))}"


class JournalFormatter(_LineFormatter):
    """For journald, which puts the time and the priority where they belong."""

    def format(self, record: logging.LogRecord) -> str:
        level = max((each for each in PRIORITIES if each <= record.levelno), default=logging.DEBUG)
        return f"<{PRIORITIES[level]}>{escape(self.message(record))}"


class JsonFormatter(_LineFormatter):
    """For programs."""

    def format(self, record: logging.LogRecord) -> str:
        name = getattr(record, "event", None)
        return json.dumps(
            {
                "time": _time(record),
                "level": record.levelname.lower(),
                "logger": record.name,
                **({"event": name, **record.event_fields} if name else {}),  # type: ignore[attr-defined]
                "message": self.message(record),
            }
        )


def escape(text: str) -> str:
    """``text`` with everything that could end a line or steer a terminal written as an escape sequence."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
