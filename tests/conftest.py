"""Fixtures that every test may use: fleets of real servers, on loopback or on isolated hosts."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Generator, Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest

from tests.fleet import Fleet, MissingProgram, may_build_networks, program

_ROOT = Path(__file__).parent.parent
_SERVERS = _ROOT / ".servers"
_AGENTS_OWN = ("CRA_", "CONSUL_", "REDISCLI_", "VALKEYCLI_")  # what an agent would obey, or refuse to start with
_kept_back = sorted(name for name in os.environ if name.startswith(_AGENTS_OWN))


def pytest_configure() -> None:
    """Let a plain ``pytest`` find the servers that tests/setup has made or fetched, behind those of PATH.

    The configuration of whoever runs the tests stays with them.
    """
    for name in _kept_back:
        del os.environ[name]
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], str(_SERVERS / "bin"), "/usr/sbin", "/sbin"])
    if chosen := os.environ.get("CONSUL"):
        os.environ["CONSUL"] = str(Path(chosen).absolute())  # some tests start programs in other folders
        try:
            program("consul")
        except MissingProgram as error:
            raise pytest.UsageError(str(error)) from error


def pytest_report_header() -> str:
    """Say which servers the tests run on, and what of the environment they do not."""
    said = ", ".join([_server("consul", "version"), _server("redis-server", "--version")])
    return f"{said}; without {', '.join(_kept_back)}" if _kept_back else said


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why it was not the newer Consul that the tests ran on, where tests/setup could not build it."""
    why = _SERVERS / "why-not-newer"
    if why.exists() and _path("consul").is_relative_to(_SERVERS) and not os.environ.get("CONSUL"):
        terminalreporter.write_line(why.read_text().strip())


def _path(name: str) -> Path:
    """Where a program is, with links followed; empty where it is not."""
    try:
        return Path(program(name)).resolve()
    except MissingProgram:
        return Path()


def _server(name: str, argument: str) -> str:
    """A program's name, version and path."""
    path = _path(name)
    if path == Path():
        return f"no {name}"
    said = subprocess.run([program(name), argument], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\bv=?(\d+[.\d]*)", said)
    where = path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else path
    return f"{name} {version[1] if version else 'of unknown version'} ({where})"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs network namespaces where they cannot be made."""
    if not may_build_networks():
        for item in items:
            if "netns" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="network namespaces need root"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the fleets of a test that failed, as they are at that moment."""
    report = yield
    fixtures = item.funcargs.values() if isinstance(item, pytest.Function) else ()
    for fleet in [value for value in fixtures if isinstance(value, Fleet)] if report.failed else ():
        with redirect_stderr(StringIO()) as logs:
            fleet.show_logs()
        report.sections.append(("Logs of the fleet", logs.getvalue()))
    return report


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """An empty fleet on loopback."""
    with Fleet() as made:
        yield made


@pytest.fixture(scope="module")
def shared_fleet() -> Iterator[Fleet]:
    """A fleet on loopback for all tests of a module."""
    with Fleet() as made:
        yield made


@pytest.fixture
def isolated_fleet() -> Iterator[Fleet]:
    """An empty fleet whose hosts are network namespaces. Mark the test ``netns``."""
    with Fleet(isolated=True) as made:
        yield made


@pytest.fixture(scope="module")
def shared_isolated_fleet() -> Iterator[Fleet]:
    """A fleet whose hosts are network namespaces, for all tests of a module. Mark them ``netns``."""
    with Fleet(isolated=True) as made:
        yield made
