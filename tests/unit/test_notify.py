"""The word to systemd."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_redis_agent.tell.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, Notifier]]:
    """A socket as systemd has it, and a notifier that knows it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@consul-redis-agent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listener:
        listener.bind(address.replace("@", "\0"))
        yield listener, Notifier({"NOTIFY_SOCKET": address})


def test_each_state_is_told(systemd: tuple[socket.socket, Notifier]) -> None:
    """systemd hears each state in its own words, on both kinds of socket."""
    listener, notifier = systemd
    notifier.ready("master")
    notifier.status("two\nlines\x1b[31m")
    notifier.watchdog()
    notifier.stopping()
    assert [listener.recv(4096) for _ in range(4)] == [
        b"READY=1\nSTATUS=master",
        b"STATUS=two lines [31m",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_a_reload_says_when_it_began(systemd: tuple[socket.socket, Notifier]) -> None:
    """Type=notify-reload needs the monotonic microsecond of the reload beside RELOADING."""
    listener, notifier = systemd
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    state, stamp = listener.recv(4096).decode().split("\n")
    assert state == "RELOADING=1"
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_a_full_queue_does_not_block(systemd: tuple[socket.socket, Notifier]) -> None:
    """A systemd that does not listen costs nothing but the message."""
    _, notifier = systemd
    for _ in range(5000):
        notifier.watchdog()


@pytest.mark.parametrize("env", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere"}, {"NOTIFY_SOCKET": "a\0b"}])
def test_without_systemd_nothing_happens(env: dict[str, str]) -> None:
    """No method raises where nobody listens."""
    Notifier(env).ready("fine")


@pytest.mark.parametrize(
    ("env", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_period(env: dict[str, str], interval: float | None) -> None:
    """Only when systemd asks this very process for it."""
    assert Notifier(env).watchdog_interval() == interval
