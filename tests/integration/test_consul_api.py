"""The adapter against a real Consul with ACLs on: what the registry builds on holds there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.consul.http import Token, TransactionConflict
from consul_redis_agent.errors import ConsulDenied, ConsulUnknown, ConsulUnreachable
from tests.fleet import ConsulNode, Fleet, until

pytestmark = pytest.mark.main_path

RULES = 'service "redis" { policy = "write" } service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'


def always(token: str | None) -> Token:
    async def given() -> str | None:
        return token

    return given


@pytest.fixture(scope="module")
def consul() -> Iterator[ConsulNode]:
    """One Consul server with ACLs, which listens on a unix socket as well."""
    with Fleet() as fleet:
        addresses = {"http": f"127.0.0.1 unix://{fleet.folder}/http.sock"}
        yield fleet.consul(servers=1, bootstrap_token=os.urandom(8).hex(), extra={"addresses": addresses})


@pytest.fixture
async def api(consul: ConsulNode) -> AsyncIterator[ConsulAPI]:
    """A client whose token may write the service ``redis`` and read the catalog; it leaves no services behind."""
    token = consul.create_token(RULES)
    api = ConsulAPI(f"http://{consul.http}", token=always(token))
    yield api
    for service_id in await api.services():
        await api.deregister(service_id)
    async with asyncio.timeout(10):  # the catalog follows; the next test must not take these for its own
        index, entries = await api.health("redis")
        while entries:
            index, entries = await api.health("redis", index, 5)
    await api.close()


def service(number: int, status: str = "passing") -> dict[str, Any]:
    check = {"CheckID": f"check-{number}", "Name": "role:master", "TTL": "60s", "Status": status}
    return {"Name": "redis", "ID": f"redis-{number}", "Address": "127.0.0.1", "Port": number, "Check": check}


async def statuses(api: ConsulAPI) -> dict[str, str]:
    """The status of each check of ours in the catalog."""
    _, entries = await api.health("redis")
    return {check["CheckID"]: check["Status"] for entry in entries for check in entry["Checks"] if check["ServiceID"]}


async def registered(api: ConsulAPI, *services: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Register services, wait for the catalog, and return their checks as the catalog holds them."""
    for one in services:
        await api.register(one)
    index, entries = await api.health("redis")
    while len(entries) != len(services):
        index, entries = await api.health("redis", index, 10)
    return {check["CheckID"]: check for entry in entries for check in entry["Checks"] if check["ServiceID"]}


def check_operation(verb: str, check: dict[str, Any], status: str) -> dict[str, Any]:
    keys = ("Node", "CheckID", "Name", "Output", "ServiceID", "ServiceName", "ServiceTags", "ModifyIndex")
    return {"Check": {"Verb": verb, "Check": {**{key: check[key] for key in keys}, "Status": status}}}


async def test_only_what_is_asked_for_is_listed(api: ConsulAPI) -> None:
    """Consul itself picks by Meta or id, so that an answer does not grow with the Redis nodes at one Consul agent."""
    odd = "unix:///run/a b.sock on 10.0.0.5"
    await registered(api, service(1) | {"Meta": {"redis-node": odd}}, service(2))
    assert set(await api.services(f'Meta["redis-node"] == "{odd}" or ID == "none"')) == {"redis-1"}
    assert set(await api.services('Meta["redis-node"] == "none" or ID == "redis-2"')) == {"redis-2"}
    assert set(await api.checks('ServiceID == "redis-2"')) == {"check-2"}


async def test_a_service_comes_with_its_check_and_goes_with_it(api: ConsulAPI) -> None:
    """One call registers both, one call removes both; what is unknown is told as such."""
    assert list(await registered(api, service(1))) == ["check-1"]
    assert set(await api.services()) == {"redis-1"}
    assert set(await api.checks()) == {"check-1"}
    await api.deregister("redis-1")
    assert (await api.services(), await api.checks()) == ({}, {})
    with pytest.raises(ConsulUnknown):
        await api.deregister("redis-1")
    with pytest.raises(ConsulUnknown):
        await api.check_update("check-1", "passing", "")


async def test_a_check_update_reaches_the_catalog(api: ConsulAPI) -> None:
    """Status and output are in the catalog when a waiting query wakes."""
    await registered(api, service(1))
    index, _ = await api.health("redis")
    change = asyncio.create_task(api.health("redis", index, 30))
    await api.check_update("check-1", "critical", "no longer the master & more?")
    newer, [entry] = await change
    assert newer > index
    [check] = [check for check in entry["Checks"] if check["ServiceID"]]
    assert (check["Status"], check["Output"]) == ("critical", "no longer the master & more?")


async def test_a_waiting_query_ends_by_itself(api: ConsulAPI) -> None:
    """Without a change it comes back with the same index."""
    await registered(api, service(1))
    index, entries = await api.health("redis")
    assert await api.health("redis", index, 0.05) == (index, entries)


async def test_registering_again_leaves_the_status(api: ConsulAPI) -> None:
    """A status given with a known check is not heeded: a registration never puts a master back by itself."""
    await registered(api, service(1, "critical"))
    await api.register(service(1, "passing"))
    assert (await api.checks())["check-1"]["Status"] == "critical"


async def test_a_transaction_moves_the_master_in_one_step(api: ConsulAPI) -> None:
    """The catalog goes from one passing check to the other with no state between, on service:write alone."""
    checks = await registered(api, service(1, "passing"), service(2, "critical"))
    index, _ = await api.health("redis")
    change = asyncio.create_task(api.health("redis", index, 30))
    await api.txn(
        [check_operation("set", checks["check-2"], "passing"), check_operation("cas", checks["check-1"], "critical")]
    )
    _, entries = await change
    seen = {check["CheckID"]: check["Status"] for entry in entries for check in entry["Checks"] if check["ServiceID"]}
    assert seen == {"check-1": "critical", "check-2": "passing"}


async def test_a_transaction_can_bring_a_new_service(api: ConsulAPI, consul: ConsulNode) -> None:
    """Service and check of the own node may come with the claim; registering them afterwards changes no status."""
    checks = await registered(api, service(1, "passing"))
    new = {"ID": "redis-2", "Service": "redis", "Address": "127.0.0.1", "Port": 2, "Meta": {"epoch": "2"}}
    own = {**checks["check-1"], "CheckID": "check-2", "ServiceID": "redis-2"}
    await api.txn(
        [
            {"Service": {"Verb": "set", "Node": consul.name, "Service": new}},
            check_operation("set", own, "passing"),
            check_operation("cas", checks["check-1"], "critical"),
        ]
    )
    assert await statuses(api) == {"check-1": "critical", "check-2": "passing"}
    await api.register({**service(2), "Meta": {"epoch": "2"}})
    assert await statuses(api) == {"check-1": "critical", "check-2": "passing"}


async def test_whoever_is_slower_changes_nothing(api: ConsulAPI) -> None:
    """A compare-and-set with an index that is no longer true refuses the whole transaction, with its reason."""
    checks = await registered(api, service(1, "passing"), service(2, "critical"))
    await api.txn([check_operation("cas", checks["check-1"], "critical")])
    with pytest.raises(TransactionConflict, match="index is stale") as caught:
        await api.txn(
            [check_operation("set", checks["check-2"], "passing"), check_operation("cas", checks["check-1"], "passing")]
        )
    assert [position for position, _ in caught.value.errors] == [1]
    assert await statuses(api) == {"check-1": "critical", "check-2": "critical"}


async def test_a_missing_right_is_named(api: ConsulAPI, consul: ConsulNode) -> None:
    """The message has the right that the token lacks, and for what."""
    with pytest.raises(ConsulDenied, match="give the token service:write on other"):
        await api.register(service(1) | {"Name": "other"})
    checks = await registered(api, service(1))
    with pytest.raises(ConsulDenied, match="Permission denied"):
        await api.txn([check_operation("set", checks["check-1"] | {"ServiceName": ""}, "critical")])
    anonymous = ConsulAPI(f"http://{consul.http}")
    with pytest.raises(ConsulDenied, match="PUT /v1/agent/service/deregister/redis-1"):
        await anonymous.deregister("redis-1")
    await anonymous.close()


async def test_a_revoked_token_is_named(consul: ConsulNode) -> None:
    """Nobody has to guess why everything is refused of a sudden."""
    token = consul.create_token(RULES)
    api = ConsulAPI(f"http://{consul.http}", token=always(token))
    await api.services()
    consul.revoke_token(token)
    with pytest.raises(ConsulDenied, match="the token is unknown to Consul"):
        await api.txn([])
    await api.close()


async def test_a_unix_socket_will_do(api: ConsulAPI, consul: ConsulNode) -> None:
    """Consul may be reached without TCP."""
    await registered(api, service(1))
    local = ConsulAPI(f"unix://{consul.folder}/http.sock")
    assert await statuses(local) == {"check-1": "passing"}
    await local.close()


async def test_leader_and_self(api: ConsulAPI, consul: ConsulNode) -> None:
    """The servers' leader, and who this Consul agent is, if the token may read that."""
    assert (await api.leader()).startswith("127.0.0.1:")
    with pytest.raises(ConsulDenied):
        await api.agent_self()
    privileged = ConsulAPI(f"http://{consul.http}", token=always(consul.bootstrap_token))
    assert (await privileged.agent_self())["Config"]["NodeName"] == consul.name
    await privileged.close()


async def test_a_paused_consul_meets_the_deadline(api: ConsulAPI, consul: ConsulNode) -> None:
    """A hung Consul costs no more than the timeout, and nothing afterwards."""
    await api.services()
    consul.pause()
    try:
        with pytest.raises(ConsulUnreachable, match=r"within 0\.1 s"):
            await api.services(timeout=0.1)
    finally:
        consul.resume()
    assert await api.services() == {}


async def test_a_restarted_consul_is_found_again(api: ConsulAPI, consul: ConsulNode) -> None:
    """Connections that a restart closed are replaced without an error."""
    await registered(api, service(1))
    consul.restart()
    token = await api._http._token()
    until(lambda: consul.get("/v1/agent/services", token=token), within=10, what="it knows the token again")
    assert set(await api.services()) == {"redis-1"}
