"""What nobody has caught: a defect of this program, told in one line of the log like everything else.

Python would print a traceback of many lines past the log, unescaped, and wait for whoever reads it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from consul_redis_agent import __version__
from consul_redis_agent.marked import event
from consul_redis_agent.supervise import defect
from consul_redis_agent.tell.logs import escape
from consul_redis_agent.text import plain

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

log = logging.getLogger(__name__)


def install() -> None:
    """Tell also of what ends a thread, and of what Python could only have ignored."""
    threading.excepthook = _thread_ended
    sys.unraisablehook = _ignored


def ended(error: BaseException) -> None:
    """The exception ends the process, with exit code 1: Python's part."""
    words = f"consul-redis-agent {__version__} ends: {defect(error)}; start it again if nothing else does"
    if logging.getLogger().handlers:
        log.critical("%s", words, exc_info=error, extra=event("crashed", error=defect(error)))
    else:
        trace = "".join(traceback.format_exception(error))
        sys.stderr.write(f"{escape(words)} {escape(trace)}\n")


def left_behind(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's exception handler: what a task or a callback ended with, and nobody had waited for."""
    what, error = plain(str(context.get("message", ""))), context.get("exception")
    if error is None:
        rest = {key: value for key, value in context.items() if key != "message"}
        said = plain(repr(rest))
        mark = event("defect", about=what, error=said)
        log.error("%s: %s; the rest goes on; please report it", what, said, extra=mark)
    elif isinstance(error, OSError):
        mark = event("defect", about=what, error=str(error))
        log.error("%s: %s; the rest goes on; see what this host lacks", what, error, exc_info=error, extra=mark)
    else:
        _say(what, error)


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _say("a thread has ended", args.exc_value)


def _ignored(args: UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        _say(plain(f"{args.err_msg or 'Exception ignored in'} {args.object!r}"), args.exc_value)


def _say(what: str, error: BaseException) -> None:
    found = defect(error)
    mark = event("defect", about=what, error=found)
    log.error("%s: %s; the rest goes on", what, found, exc_info=error, extra=mark)
