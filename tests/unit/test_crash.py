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

REPORT = f"this is a defect of consul-redis-agent {__version__}: please report this line"

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
        r"critical.*\bended by ValueError: 'a\\+n\\+x1b\[2Jb' is not host:port "
        rf"\(consul_redis_agent/decide/facts\.py:\d+\); {re.escape(REPORT)}, and start it again",
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
    assert done.stderr.startswith("consul-redis-agent: ended by ValueError: invalid literal")
    assert REPORT in done.stderr


def test_of_a_group_each_is_told_once() -> None:
    """What a hundred nodes end with alike is one thing to mend."""

    def made(text: str) -> ValueError:
        try:
            Address.parse(text)
        except ValueError as error:
            return error
        raise AssertionError

    group = BaseExceptionGroup("x", [ExceptionGroup("y", [made("a"), made("a")]), made("b"), KeyError("k")])
    said = re.sub(r":\d+\)", ":0)", crash.told(group))
    assert said == (
        "ValueError: 'a' is not host:port (consul_redis_agent/decide/facts.py:0), and "
        "ValueError: 'b' is not host:port (consul_redis_agent/decide/facts.py:0), and KeyError: 'k'"
    )


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
    assert never.startswith("Task exception was never retrieved: ValueError: 'a' is not host:port (consul_redis_agent/")
    assert "Address.parse('b'): ValueError: 'b' is not host:port" in callback
    assert (
        short == "accept failed: OSError: [Errno 24] Too many open files; the agent goes on; see what this host lacks"
    )
    assert pending == f"Task was destroyed but it is pending!: {{'task': 't'}}; the agent goes on; {REPORT}"
    assert all(line.endswith(f"; the agent goes on; {REPORT}") for line in (never, callback))


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
    assert ended.startswith("a thread ended by ValueError: 'a' is not host:port (consul_redis_agent/decide/facts.py:")
    assert "Broken.__del__" in ignored
    assert all(record.levelno == logging.ERROR for record in caplog.records)
