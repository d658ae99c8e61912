"""Fixtures that every test may use: fleets of real servers, on loopback or on isolated hosts."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
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


_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the fixtures of the test and of its module know that it failed."""
    report = yield
    for node in item.listchain():
        node.stash[_failed] = node.stash.get(_failed, False) or report.failed
    return report


def _fleet(request: pytest.FixtureRequest, *, isolated: bool) -> Iterator[Fleet]:
    with Fleet(isolated=isolated) as made:
        yield made
        if request.node.stash.get(_failed, False):
            made.show_logs()


@pytest.fixture
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """An empty fleet on loopback; the logs of its processes are shown when the test fails."""
    yield from _fleet(request, isolated=False)


@pytest.fixture(scope="module")
def shared_fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A fleet on loopback for all tests of a module."""
    yield from _fleet(request, isolated=False)


@pytest.fixture
def isolated_fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """An empty fleet whose hosts are network namespaces. Mark the test ``netns``."""
    yield from _fleet(request, isolated=True)


@pytest.fixture(scope="module")
def shared_isolated_fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A fleet whose hosts are network namespaces, for all tests of a module. Mark them ``netns``."""
    yield from _fleet(request, isolated=True)
