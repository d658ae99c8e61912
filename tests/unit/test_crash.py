"""A defect of this program: one line that says so, wherever it comes out."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import subprocess
import sys
import threading

import pytest

from consul_redis_agent import __version__
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.tell import crash

REPORT = "a defect of this program, please report it"

RUN = """
import asyncio, sys
from consul_redis_agent import agent, cli
from consul_redis_agent.decide.facts import Address

async def fail(self):
    async def deep():
        Address.parse("a\\n\\x1b[2Jb")
    async with asyncio.TaskGroup() as tasks:
        async with asyncio.TaskGroup() as inner:
            inner.create_task(deep())

agent.Agent.run = fail
sys.exit(cli.main(["run", "--socket", "/nowhere/s", "--log-format", sys.argv[1]]))
"""


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_crash_of_the_agent_is_one_line_of_its_log(style: str) -> None:
    """What, where, that it is our own defect and what to do: one escaped line, exit code 1, also out of a group."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, style], capture_output=True, text=True, check=False, timeout=60, env=os.environ
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr[:-1].isprintable()
    assert re.search(
        rf"critical.*consul-redis-agent {re.escape(__version__)} ends: {REPORT}: ValueError: 'a\\+n\\+x1b\[2Jb' is not host:port "
        r"\(at facts\.py:\d+\); start it again",
        done.stderr,
    )
    assert "Traceback" in done.stderr


CHECK = """
import sys
from types import ModuleType
from consul_redis_agent.cli import main
module = sys.modules["consul_redis_agent.commands.check"] = ModuleType("check")
module.main = lambda args: int("a\\n\\x1b[2Jb")
sys.exit(main(["check"]))
"""


def test_a_crash_of_a_command_is_one_line_of_the_program() -> None:
    """Without a log, it is said as every other failure of a command is."""
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr[:-1].isprintable()
    assert done.stderr.startswith(f"consul-redis-agent {__version__} ends: {REPORT}: ValueError: invalid literal")


async def test_what_a_task_leaves_behind_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """A task that nobody waited for, a callback that fails, a task that is dropped: named, and the loop goes on."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(crash.left_behind)

    async def fail() -> None:
        Address.parse("a")

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
    loop.call_soon(Address.parse, "b")
    await asyncio.sleep(0)
    loop.call_exception_handler({"message": "accept failed", "exception": OSError(24, "Too many open files")})
    loop.call_exception_handler({"message": "Task was destroyed\nbut it is pending!", "task": "t"})
    never, callback, short, pending = [record.getMessage() for record in caplog.records]
    assert never.startswith(
        f"Task exception was never retrieved: {REPORT}: ValueError: 'a' is not host:port (at facts.py:"
    )
    assert f"Address.parse('b'): {REPORT}: ValueError: 'b' is not host:port (at facts.py:" in callback
    assert short == "accept failed: [Errno 24] Too many open files; the rest goes on; see what this host lacks"
    assert pending == "Task was destroyed but it is pending!: {'task': 't'}; the rest goes on; please report it"
    assert all(line.endswith("; the rest goes on") for line in (never, callback))


def test_a_thread_that_ends_by_an_error_is_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is what Python could only have ignored."""
    for module, name in ((threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    crash.install()
    thread = threading.Thread(target=Address.parse, args=("a",))
    thread.start()
    thread.join()

    class Broken:
        def __del__(self) -> None:
            Address.parse("b")

    broken = Broken()
    del broken
    gc.collect()
    ended, ignored = [record.getMessage() for record in caplog.records]
    assert ended.startswith(f"a thread has ended: {REPORT}: ValueError: 'a' is not host:port (at facts.py:")
    assert "Broken.__del__" in ignored
    assert all(record.levelno == logging.ERROR for record in caplog.records)
