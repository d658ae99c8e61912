"""The process: what it finds out before its nodes begin."""

from __future__ import annotations

import socket

import pytest

from consul_redis_agent import names
from consul_redis_agent.agent import address_towards


def found(*places: str) -> object:
    """A resolver that has these answers."""

    async def addresses(host: str, port: int, timeout: float) -> list[names.Place]:  # noqa: ASYNC109 - as the real one
        if not places:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, (place, port)) for place in places]

    return addresses


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8500", "http://localhost:8500", "unix:///run/consul.sock", "http://[::1]:8500"]
)
async def test_a_consul_agent_on_this_host_needs_no_address(url: str) -> None:
    """Nobody else uses it, so a loopback address of Redis says which node is meant."""
    assert await address_towards(url, 1.0) == ""


async def test_a_consul_agent_with_a_name_is_asked_for_as_one_with_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several hosts may share it: what tells their nodes apart is each one's own address towards it."""
    monkeypatch.setattr(names, "addresses", found("127.0.0.1"))
    assert await address_towards("http://consul:8500", 1.0) == "", "a name of this host"
    monkeypatch.setattr(names, "addresses", found())
    with pytest.raises(socket.gaierror):
        await address_towards("http://consul:8500", 1.0)
