"""Consul agents of another version than their servers, beside what the rows show."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.errors import ConsulError
from tests.fleet import SCALE, Fleet, consul_streams

from .rows import OLDER


@pytest.mark.skipif(not Path(OLDER).exists(), reason="Consul 1.8.7 is not in .servers: tests/setup could not fetch it")
async def test_a_consul_agent_newer_than_its_servers_wakes_whoever_asks_past_its_view() -> None:
    """It cannot stream from them and says so with each blocking query; past its view the servers answer a change at once."""
    if not consul_streams():
        pytest.skip("the Consul in use is no newer")
    with Fleet(consul=OLDER) as fleet:
        fleet.consul(servers=1)
        agent = fleet.consul()
        api = ConsulAPI(f"http://{agent.http}", timeout=5.0)
        try:
            agent.put("/v1/agent/service/register", {"Name": "redis", "Port": 1})
            index, (_,) = await api.health("redis", consistency="consistent")
            with pytest.raises(ConsulError, match="rpc error"):
                await api.health("redis", index, 60.0)
            woken = asyncio.create_task(api.health("redis", index, 60.0, by_servers=True))
            agent.put("/v1/agent/service/register", {"Name": "redis", "ID": "other", "Port": 2})
            async with asyncio.timeout(10 * SCALE):
                _, found = await woken
            assert {instance["Service"]["Port"] for instance in found} == {1, 2}
        finally:
            await api.close()
