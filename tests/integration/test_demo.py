"""`demo`, as somebody runs it who pipes its output: what it promises, what it prints, what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fleet import SCALE, until

PROGRAM = Path(sys.executable).with_name("consul-redis-agent")

Demo = subprocess.Popen[str]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the demo keeps its files; at the end it must be empty, and no process may know it."""
    yield tmp_path
    until(lambda: not mentioned(tmp_path), within=5, what="the demo has left no process behind")
    assert list(tmp_path.iterdir()) == []


def mentioned(folder: Path) -> list[str]:
    """The command lines of the processes that work in a folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return [line for line in lines if str(folder) in line]


@contextmanager
def start(folder: Path, *flags: str) -> Iterator[Demo]:
    """The installed command with its output in a pipe."""
    env = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen([str(PROGRAM), "demo", *flags], stdout=subprocess.PIPE, text=True, env=env) as demo:
        try:
            yield demo
        finally:
            demo.terminate()


def read_to(demo: Demo, line: str) -> str:
    """What it prints up to a line that holds these words."""
    assert demo.stdout is not None
    printed = ""
    for each in demo.stdout:
        printed += each
        if line in each:
            return printed
    pytest.fail(f"the demo ended with {demo.wait()} before it said {line!r}:\n{printed}")


def shell(command: str) -> str:
    """What a printed command says when it is pasted; it must succeed."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=30 * SCALE)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.main_path
@pytest.mark.slow
@pytest.mark.timeout(200 * SCALE)
def test_demo_shows_dns_follow_the_master_and_never_name_two(folder: Path) -> None:
    """Three faults, each measured: two nodes say master for seconds, DNS never; the printed commands can be pasted."""
    with start(folder, "--keep") as demo:
        shown = read_to(demo, "Try:")
        table = re.findall(r"^(master killed|old master back|planned failover) +(.+)$", shown, re.MULTILINE)
        columns = {row: re.split(r" {2,}", cells) for row, cells in table}
        assert list(columns) == ["master killed", "old master back", "planned failover"]
        gone, exact, *_ = columns["master killed"]
        assert gone.endswith(" ms")
        assert exact.endswith(" ms")
        for _, _, _, two_in_dns, _ in columns.values():
            assert two_in_dns == "0.000 s"
        assert columns["planned failover"][-1] == "0.000 s"
        for row in ("old master back", "planned failover"):
            assert float(columns[row][2].removesuffix(" s")) > 1, f"there was no danger in {row!r}"
        assert "kept: never two masters in DNS" in shown

        pasted = read_to(demo, "ls ")
        (dig,) = re.findall(r"dig .+", pasted)
        assert len(re.findall(r"^redis\.service\.consul\..*\sSRV\s", shell(dig), re.MULTILINE)) == 1
        states = [shell(command) for command in re.findall(r"\S.* status .+", pasted)]
        assert len(states) == 3
        assert sum('"decision": "master"' in state for state in states) == 1

        demo.send_signal(signal.SIGINT)
        assert demo.wait(20 * SCALE) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_interrupted_leaves_nothing_behind(folder: Path, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM in the middle of it: it ends at once, without a trace on the screen or the machine."""
    with start(folder) as demo:
        read_to(demo, "starting the agents")
        demo.send_signal(number)
        assert demo.wait(20 * SCALE) == 130


def test_demo_without_its_programs_names_them_in_one_line(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whoever lacks Consul and Redis learns what to install, before anything is started."""
    env = os.environ | {"TMPDIR": str(folder), "PATH": str(tmp_path_factory.mktemp("empty")), "CONSUL": ""}
    done = subprocess.run([str(PROGRAM), "demo"], capture_output=True, text=True, check=False, env=env, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    for name in ("consul", "redis-server", "redis-sentinel", "install"):
        assert name in done.stderr


def test_demo_refuses_a_consul_that_is_none(folder: Path) -> None:
    """Whoever names another Consul by the variable CONSUL, and misspells it, is told so."""
    env = os.environ | {"TMPDIR": str(folder), "CONSUL": str(folder / "no-consul")}
    done = subprocess.run([str(PROGRAM), "demo"], capture_output=True, text=True, check=False, env=env, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"CONSUL={folder / 'no-consul'}" in done.stderr
