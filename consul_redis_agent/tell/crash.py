"""What nobody has caught: a defect of this program, told in one line of the log like everything else.

Python would print a traceback of many lines past the log, unescaped, and wait for whoever reads it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consul_redis_agent import __version__
from consul_redis_agent.tell.logs import escape
from consul_redis_agent.text import plain

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).parents[1]
REPORT = f"this is a defect of consul-redis-agent {__version__}: please report this line"


def install() -> None:
    """Tell also of what ends a thread, and of what Python could only have ignored."""
    threading.excepthook = _thread_ended
    sys.unraisablehook = _ignored


def ended(error: BaseException) -> None:
    """The exception ends the process, with exit code 1: Python's part."""
    words = f"ended by {told(error)}; {REPORT}, and start it again if nothing else does"
    if logging.getLogger().handlers:
        log.critical("%s", words, exc_info=error)
    else:
        trace = "".join(traceback.format_exception(error))
        sys.stderr.write(f"consul-redis-agent: {escape(words)} {escape(trace)}\n")


def left_behind(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's exception handler: what a task or a callback ended with, and nobody had waited for."""
    what, error = plain(str(context.get("message", ""))), context.get("exception")
    if error is None:
        rest = {key: value for key, value in context.items() if key != "message"}
        log.error("%s: %s; the agent goes on; %s", what, plain(repr(rest)), REPORT)
    elif isinstance(error, OSError):
        log.error("%s: %s; the agent goes on; see what this host lacks", what, told(error), exc_info=error)
    else:
        log.error("%s: %s; the agent goes on; %s", what, told(error), REPORT, exc_info=error)


def told(error: BaseException) -> str:
    """Each exception with its text and where it was raised; of a group those that it is made of."""
    each = [f"{type(one).__name__}: {plain(str(one))}{_where(one)}" for one in _leaves(error)]
    return ", and ".join(dict.fromkeys(each))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _where(error: BaseException) -> str:
    """The last line of this program on the way to the error; where there is none, the last of any."""
    lines = [(Path(frame.f_code.co_filename), number) for frame, number in traceback.walk_tb(error.__traceback__)]
    own = [(file.relative_to(PACKAGE.parent), number) for file, number in lines if file.is_relative_to(PACKAGE)]
    for file, number in (own or lines)[-1:]:
        return f" ({file}:{number})"
    return ""


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        log.error("a thread ended by %s; the agent goes on; %s", told(args.exc_value), REPORT, exc_info=args.exc_value)


def _ignored(args: UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        what = plain(f"{args.err_msg or 'Exception ignored in'} {args.object!r}")
        log.error("%s: %s; the agent goes on; %s", what, told(args.exc_value), REPORT, exc_info=args.exc_value)
