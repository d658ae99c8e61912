"""Fixtures that every test may use: fleets of real servers, on loopback or on isolated hosts."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest

from consul_redis_agent.fleet import Fleet, may_build_networks

_SERVERS = Path(__file__).parent.parent / ".servers" / "bin"


def pytest_configure() -> None:
    """Let a plain ``pytest`` find the servers that tests/setup fetched."""
    os.environ["PATH"] = os.pathsep.join([str(_SERVERS), os.environ["PATH"], "/usr/sbin", "/sbin"])


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
