"""`demo`: a whole fleet on this machine whose master dies, returns and moves, and what DNS said all the while.

Nothing is canned: a witness asks DNS and every node without pause, and each figure is its.

scenes.py   what happens, in order
fleet.py    who takes part
process.py  how they are started, waited for and ended
witness.py  what DNS and the nodes said, and for how long
stage.py    where all of it is told
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import redis

from consul_redis_agent.commands.demo.fleet import Fleet
from consul_redis_agent.commands.demo.process import MissingProgram, NotInTime, ProcessDied, program
from consul_redis_agent.commands.demo.scenes import Demo
from consul_redis_agent.commands.demo.stage import Stage
from consul_redis_agent.errors import LocalError

PROGRAMS = {
    "consul": "Consul 1.8 or newer from the site of its maker, HashiCorp (or name one in the variable CONSUL)",
    "redis-server": "redis-server or valkey-server of your system",
    "redis-sentinel": "redis-sentinel or valkey-sentinel of your system",
    "setpriv": "util-linux of your system",
}


def main(args: argparse.Namespace) -> int:
    """Show it; exit code 0 only if DNS never named two masters, nor lacked one during the planned failover."""
    if missing := [name for name in PROGRAMS if not _is_there(name)]:
        origins = ", ".join(PROGRAMS[name] for name in missing)
        raise LocalError(f"demo does not find {', '.join(missing)} on PATH; install {origins}")
    stage = Stage()
    try:
        with Fleet() as fleet, _ended_once():
            demo = Demo(fleet, stage)
            held = demo.run()
            if args.keep:
                demo.keep()
    except BrokenPipeError:
        raise
    except (NotInTime, ProcessDied, OSError, redis.RedisError) as error:
        raise LocalError(f"the demo could not go on: {str(error).partition(chr(10))[0]}") from error
    return 0 if held else 1


@contextmanager
def _ended_once() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the block; none of them then interrupts the clearing up."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        for number in numbers:
            signal.signal(number, end)
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def _is_there(name: str) -> bool:
    try:
        program(name)
    except MissingProgram as error:
        if name == "consul" and os.environ.get("CONSUL"):  # PATH was not asked
            raise LocalError(str(error)) from error
        return False
    return True
