"""The double of Consul 1.14.11: what it answers, what it refuses, and what it does when it is cut off from its servers.

That a real Consul answers the same is asked in ``tests/integration/test_strict_double.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from consul_redis_agent.consul.api import ConsulAPI
from tests.doubles.strict_consul import Request, Servers, StrictConsul

ROLE = {"CheckID": "a:role", "Name": "role:master", "TTL": "10s", "Status": "passing"}
SERVICE = {"ID": "a", "Name": "redis", "Address": "127.0.0.1", "Port": 1, "Checks": [ROLE]}
RIVAL = {"ID": "b", "Name": "redis", "Address": "127.0.0.2", "Port": 2, "Checks": [ROLE | {"CheckID": "b:role"}]}
CRITICAL = {"Status": "critical", "Output": ""}


class Client:
    """Asks the double without a network; each method gives the status and the body."""

    def __init__(self, consul: StrictConsul, token: str = "") -> None:
        self.consul, self.token, self.headers = consul, token, dict[str, str]()

    async def __call__(self, method: str, path: str, body: Any = None, /, **query: str) -> tuple[int, Any]:
        text = "" if body is None else body if isinstance(body, str) else json.dumps(body)
        status, said, self.headers = await self.consul.answer(Request(method, f"/v1/{path}", query, text, self.token))
        return status, json.loads(said) if said.startswith(("{", "[", '"')) else said

    async def register(self, body: Any = SERVICE) -> tuple[int, Any]:
        return await self("PUT", "agent/service/register", body)

    async def update(self, status: str) -> tuple[int, Any]:
        return await self("PUT", "agent/check/update/a:role", {"Status": status, "Output": ""})

    async def txn(self, *operations: Any) -> tuple[int, Any]:
        return await self("PUT", "txn", list(operations))

    async def health(self, **query: str) -> list[Any]:
        status, entries = await self("GET", "health/service/redis", None, **query)
        assert status == 200
        return list(entries)

    async def check(self, id_: str = "a:role", **changed: Any) -> dict[str, Any]:
        """A check as the catalog shows it, in the fields that a transaction takes."""
        checks = {check["CheckID"]: check for entry in await self.health() for check in entry["Checks"]}
        return {key: value for key, value in checks[id_].items() if key not in ("Interval", "Timeout")} | changed

    async def statuses(self, **query: str) -> dict[str, str]:
        entries = await self.health(**query)
        return {c["CheckID"]: c["Status"] for entry in entries for c in entry["Checks"] if c["ServiceID"]}


@pytest.fixture
def consul() -> StrictConsul:
    return StrictConsul()


@pytest.fixture
async def client(consul: StrictConsul) -> Client:
    """A client of an agent that holds one service, beside which another host's agent holds a rival."""
    client = Client(consul)
    assert await client.register() == (200, "")
    consul.elsewhere("consul-2", RIVAL)
    return client


@pytest.fixture
async def api(consul: StrictConsul) -> AsyncIterator[ConsulAPI]:
    async with consul.running():
        api = ConsulAPI(f"http://{consul.address}", timeout=5.0)
        yield api
        await api.close()


async def turns() -> None:
    """Let everything go as far as it comes without waiting for anybody."""
    for _ in range(10):
        await asyncio.sleep(0)


async def none_is_answered(*requests: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.create_task(request) for request in requests]
    await turns()
    answered = [task for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not answered


# What a transaction takes


@pytest.mark.parametrize("key", ["Interval", "Timeout"])
async def test_a_check_as_read_is_refused(client: Client, key: str) -> None:
    """Of what is shown of a check, a transaction does not know two keys, and nothing of it is done."""
    check = await client.check(Status="critical") | {key: ""}
    wanted = (400, f'Failed to parse body: json: unknown field "{key}"')
    assert await client.txn({"Check": {"Verb": "set", "Check": check}}) == wanted
    assert await client.statuses() == {"a:role": "passing", "b:role": "passing"}


async def test_every_check_shows_more_than_a_transaction_takes(client: Client) -> None:
    """Also the gossip check of the node, and one that came by a transaction."""
    await client.txn({"Check": {"Verb": "set", "Check": await client.check(CheckID="a:tomb", Type="ttl")}})
    checks = [check for entry in await client.health() for check in entry["Checks"]]
    assert len(checks) == 5
    assert all((check["Interval"], check["Timeout"], check["ExposedPort"]) == ("", "", 0) for check in checks)
    assert {check["CheckID"]: check["Type"] for check in checks}["a:tomb"] == ""


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ({"Chuck": {}}, 'unknown field "Chuck"'),
        ({"Service": {"Verb": "set", "Node": "n", "Service": {"Name": "redis"}}}, 'unknown field "Name"'),
        ({"Service": {"Verb": "set", "Node": "n", "Service": {"Port": "1"}}}, "cannot unmarshal string into"),
        ({"Service": {"Verb": "set", "Node": "n", "Service": {"Meta": {"epoch": 1}}}}, "cannot unmarshal number into"),
        ({"Check": {"Verb": "set", "Check": {"ServiceTags": "a"}}}, "cannot unmarshal string into"),
        ({"Check": {"Verb": "cas", "Check": {"ModifyIndex": -1}}}, "cannot unmarshal number into"),
        ({"Check": {"Verb": "cas", "Check": {"ModifyIndex": True}}}, "cannot unmarshal bool into"),
        ("Check", "cannot unmarshal string into"),
    ],
)
async def test_what_is_no_operation_is_refused(client: Client, operation: Any, why: str) -> None:
    """A key or a type of another shape is a 400, whatever the right of the token."""
    status, said = await client.txn(operation)
    assert status == 400
    assert said.startswith(f"Failed to parse body: json: {why}")


async def test_letters_of_either_case_and_null_will_do(client: Client) -> None:
    """Go's decoder minds neither; and what follows the JSON is not read."""
    check = {key.lower(): value for key, value in (await client.check(Status="critical", Notes=None)).items()}
    assert (await client("PUT", "txn", json.dumps([{"check": {"verb": "set", "check": check}}]) + "?"))[0] == 200
    assert (await client.statuses())["a:role"] == "critical"


async def test_no_more_operations_than_the_oldest_takes(client: Client) -> None:
    """64 are done, 65 are not."""
    operation = {"Check": {"Verb": "set", "Check": await client.check()}}
    assert (await client.txn(*[operation] * 64))[0] == 200
    wanted = (413, "Transaction contains too many operations (65 > 64)")
    assert await client.txn(*[operation] * 65) == wanted


async def test_a_long_transaction_is_refused(client: Client) -> None:
    """Half a mebibyte is the most that is read."""
    check = await client.check(Output="x" * 512 * 1024)
    assert (await client.txn({"Check": {"Verb": "set", "Check": check}}))[0] == 413


# What a transaction does


async def test_all_of_it_is_done_or_nothing(client: Client) -> None:
    """What is refused is named by its number, each with its reason."""
    index = (await client.check())["ModifyIndex"]
    status, said = await client.txn(
        {"Check": {"Verb": "set", "Check": await client.check("b:role", Status="critical")}},
        {"Check": {"Verb": "cas", "Check": await client.check(ModifyIndex=index - 1)}},
        {"Check": {"Verb": "set", "Check": await client.check(ServiceID="none")}},
        {"Check": {"Verb": "set", "Check": await client.check(Node="none")}},
        {"Service": {"Verb": "?", "Node": "consul-1", "Service": {"ID": "a", "Service": "redis"}}},
    )
    assert (status, said["Results"]) == (409, None)
    assert said["Errors"] == [
        {"OpIndex": 1, "What": 'failed to set check "a:role" on node "consul-1", index is stale'},
        {"OpIndex": 2, "What": "Missing service registration"},
        {"OpIndex": 3, "What": "Missing node registration"},
        {"OpIndex": 4, "What": 'unknown Service verb "?"'},
    ]
    assert await client.statuses() == {"a:role": "passing", "b:role": "passing"}


async def test_two_checks_change_at_one_index(client: Client) -> None:
    """So does a claim move."""
    changed = [await client.check(id_, Status="critical", Type="") for id_ in ("a:role", "b:role")]
    status, said = await client.txn(*({"Check": {"Verb": "cas", "Check": check}} for check in changed))
    assert status == 200
    assert {result["Check"]["ModifyIndex"] for result in said["Results"]} == {client.consul.catalog.index}
    assert await client.statuses() == {"a:role": "critical", "b:role": "critical"}


async def test_what_changes_nothing_has_the_same_index(client: Client) -> None:
    """Also if it is of another type: Consul does not compare that."""
    check = await client.check()
    assert (await client.txn({"Check": {"Verb": "set", "Check": check | {"Type": "http"}}}))[0] == 200
    assert await client.check() == check


async def test_a_check_is_named_and_tagged_as_its_service(client: Client) -> None:
    """Whatever it was sent with."""
    await client.register(SERVICE | {"Tags": ["master"]})
    check = await client.check(CheckID="a:new", ServiceName="other", ServiceTags=["x"])
    [result] = (await client.txn({"Check": {"Verb": "set", "Check": check}}))[1]["Results"]
    assert (result["Check"]["ServiceName"], result["Check"]["ServiceTags"]) == ("redis", ["master"])


async def test_zero_compares_with_nothing(client: Client) -> None:
    """A compare-and-set at 0 creates, and only that."""
    operation = {"Check": {"Verb": "cas", "Check": await client.check(CheckID="a:new", ModifyIndex=0)}}
    assert (await client.txn(operation))[0] == 200
    assert (await client.txn(operation))[0] == 409


async def test_a_compared_deletion_needs_the_index(client: Client) -> None:
    """A plain one takes what is there, and is done where nothing is."""
    check = await client.check()
    for operation in ({"Verb": "delete-cas", "Check": check | {"ModifyIndex": 1}}, {"Verb": "delete-cas", "Check": {}}):
        assert (await client.txn({"Check": operation}))[0] == 409
    assert (await client.txn({"Check": {"Verb": "delete-cas", "Check": check}}))[0] == 200
    service = {"Verb": "delete", "Node": "consul-1", "Service": {"ID": "a", "Service": "redis"}}
    assert await client.txn({"Service": service}, {"Service": service}) == (200, {"Results": [], "Errors": None})
    assert await client.statuses() == {"b:role": "passing"}


async def test_a_service_of_a_transaction_differs_from_a_registered_one(client: Client) -> None:
    """It has no tagged addresses, even if it is given some, so the agent's next full sync writes it once more."""
    service = (await client.health())[0]["Service"]
    assert set(service["TaggedAddresses"]) == {"lan_ipv4", "wan_ipv4"}
    assert (await client.txn({"Service": {"Verb": "set", "Node": "consul-1", "Service": service}}))[0] == 200
    written = (await client.health())[0]["Service"]
    assert "TaggedAddresses" not in written
    assert written["ModifyIndex"] > service["ModifyIndex"]
    client.consul.full_sync()
    assert "TaggedAddresses" in (await client.health())[0]["Service"]


async def test_a_service_without_a_port_shows_none(consul: StrictConsul) -> None:
    """Nor Meta, if it has none."""
    client = Client(consul)
    await client.register({"Name": "redis"})
    [entry] = await client.health()
    assert "Port" not in entry["Service"]
    assert (entry["Service"]["Meta"], entry["Service"]["Tags"], len(entry["Checks"])) == (None, [], 1)


# Rights


@pytest.fixture
async def clients() -> dict[str, Client]:
    """Clients of an agent with ACLs, which holds one service, by their token."""
    rights = {"writer": frozenset({"service:write redis", "node:read"}), "poor": frozenset[str](), "": frozenset[str]()}
    consul = StrictConsul(acl=rights)
    clients = {token: Client(consul, token) for token in (*rights, "unknown")}
    assert await clients["writer"].register() == (200, "")
    return clients


def lacks(right: str, accessor: str = "") -> str:
    accessor = accessor or "00000000-0000-0000-0000-000000000002"
    return f"Permission denied: token with AccessorID '{accessor}' lacks permission '{right}'"


async def test_a_missing_right_is_named(clients: dict[str, Client]) -> None:
    """By the agent with 403, by the servers' transaction with 409 and one error for each operation."""
    check = await clients["writer"].check()
    denied = lacks("service:write") + ' on "redis"'
    assert await clients[""].register() == (403, denied)
    assert await clients[""].update("critical") == (403, denied)
    assert await clients[""]("PUT", "agent/service/deregister/a") == (403, denied)
    status, said = await clients[""].txn(*[{"Check": {"Verb": "set", "Check": check}}] * 2)
    assert status == 409
    assert said == {"Results": None, "Errors": [{"OpIndex": number, "What": denied} for number in (0, 1)]}
    wanted = (403, lacks("agent:read") + ' on "consul-1"')
    assert await clients[""]("GET", "agent/self") == wanted


async def test_rights_on_a_check_go_by_the_name_that_is_sent(clients: dict[str, Client]) -> None:
    """Without the service's name nothing is named; without the service it is the node's."""
    check = await clients["writer"].check()
    for changed, ending in (
        ({"ServiceName": ""}, "'service:write'"),
        ({"ServiceName": "other"}, "'service:write' on \"other\""),
        ({"ServiceID": ""}, "'node:write' on \"consul-1\""),
    ):
        status, said = await clients["writer"].txn({"Check": {"Verb": "set", "Check": check | changed}})
        assert (status, said["Errors"][0]["What"].endswith(f"lacks permission {ending}")) == (409, True)


async def test_rights_come_before_what_is_there(clients: dict[str, Client]) -> None:
    """Who may not write is not told that the index is stale; an unknown id is told to anybody."""
    operation = {"Check": {"Verb": "cas", "Check": await clients["writer"].check(ModifyIndex=1)}}
    assert "index is stale" in (await clients["writer"].txn(operation))[1]["Errors"][0]["What"]
    assert "Permission denied" in (await clients["poor"].txn(operation))[1]["Errors"][0]["What"]
    assert (await clients["poor"]("PUT", "agent/check/update/none", CRITICAL))[0] == 404


async def test_an_unknown_token_is_no_anonymous_one(clients: dict[str, Client]) -> None:
    """It is refused whatever it asks, also an empty transaction; who refuses can be told from the text."""
    unknown = clients["unknown"]
    assert await unknown.register() == (403, "ACL not found")
    assert await unknown.txn() == (403, "rpc error making call: ACL not found")
    assert await unknown("GET", "health/service/redis") == (403, "rpc error making call: ACL not found")
    streamed = await unknown("GET", "health/service/redis", None, index="1", wait="1s")
    assert streamed == (403, "rpc error: code = Unknown desc = ACL not found")
    assert (await clients["poor"].txn())[0] == 200


async def test_what_may_not_be_seen_is_left_out(clients: dict[str, Client]) -> None:
    """A plain read says so to a token; the agent's view says it to nobody."""
    poor = clients["poor"]
    assert await poor.health() == []
    assert poor.headers["X-Consul-Results-Filtered-By-Acls"] == "true"
    assert await poor.health(index="1", wait="1s") == []
    assert "X-Consul-Results-Filtered-By-Acls" not in poor.headers
    assert await poor("GET", "agent/services") == (200, {})


# The agent


async def test_a_second_registration_leaves_the_status(client: Client) -> None:
    """And a check that it does not name."""
    await client.update("critical")
    await client.register(SERVICE | {"Port": 3, "Checks": [ROLE | {"CheckID": "a:seal"}]})
    assert await client.statuses() == {"a:role": "critical", "a:seal": "passing", "b:role": "passing"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"Foo": 1}, 'Request decode failed: json: unknown field "Foo"'),
        ({"Name": ""}, "Missing service name"),
        ({"Checks": [{"CheckID": "c"}]}, "Invalid check: TTL must be > 0 for TTL checks"),
    ],
)
async def test_a_wrong_registration_is_refused(client: Client, change: dict[str, Any], why: str) -> None:
    """With 400 and the reason."""
    assert await client.register(SERVICE | change) == (400, why)


async def test_what_is_unknown_is_told_with_404(client: Client) -> None:
    """Older versions say 500."""
    for path in ("check/update/none", "check/deregister/none", "service/deregister/none"):
        status, said = await client("PUT", f"agent/{path}", CRITICAL)
        assert (status, said.startswith("Unknown ")) == (404, True)


async def test_the_agent_does_not_see_what_others_wrote(client: Client) -> None:
    """A beat with the status it knows writes nothing over an eviction; a full sync does."""
    await client.txn({"Check": {"Verb": "set", "Check": await client.check(Status="critical")}})
    await client.update("passing")
    await client.register()
    assert (await client.statuses())["a:role"] == "critical"
    client.consul.full_sync()
    assert (await client.statuses())["a:role"] == "passing"


async def test_a_changed_check_takes_its_service_along(client: Client) -> None:
    """As the agent knows it, over what a transaction wrote."""
    service = {"ID": "a", "Service": "redis", "Meta": {"epoch": "2"}}
    await client.txn({"Service": {"Verb": "set", "Node": "consul-1", "Service": service}})
    assert (await client.health())[0]["Service"]["Meta"] == {"epoch": "2"}
    await client.update("critical")
    assert not (await client.health())[0]["Service"]["Meta"]


# Reads


async def test_a_query_waits_for_its_service(client: Client) -> None:
    """Another service does not wake it, a change of its own does, and else it ends with the same index."""
    before = await client.health()
    index = client.headers["X-Consul-Index"]
    assert await client.health(index=index, wait="10ms") == before
    assert client.headers["X-Consul-Index"] == index
    waiting = asyncio.create_task(client.statuses(index=index, wait="5s"))
    await turns()
    client.consul.elsewhere("consul-2", RIVAL | {"ID": "c", "Name": "other", "Checks": []})
    await turns()
    assert not waiting.done()
    await client.update("critical")
    assert (await waiting)["a:role"] == "critical"
    assert int(client.headers["X-Consul-Index"]) > int(index)


@pytest.mark.parametrize(
    ("streaming", "query", "backend", "level"),
    [
        (True, {}, "blocking-query", "leader"),
        (True, {"consistent": ""}, "blocking-query", "consistent"),
        (True, {"index": "1"}, "streaming", "leader"),
        (True, {"index": "1", "consistent": ""}, "streaming", "consistent"),
        (False, {"index": "1"}, "blocking-query", "leader"),
    ],
)
async def test_an_answer_says_where_it_comes_from(
    client: Client, streaming: bool, query: dict[str, str], backend: str, level: str
) -> None:
    """A query with an index is never put to the servers while streaming is on, not even a consistent one."""
    client.consul.streaming = streaming
    await client.health(**query)
    assert client.headers["X-Consul-Query-Backend"] == backend
    assert client.headers["X-Consul-Effective-Consistency"] == level
    assert client.headers["X-Consul-Knownleader"] == ("false" if backend == "streaming" else "true")
    assert client.consul.requests[-1].query == query


async def test_a_stale_read_may_show_what_was(client: Client) -> None:
    """With discovery_max_stale each read is one, without a word, unless it asks for the leader."""
    client.consul.behind = client.consul.catalog
    await client.update("critical")
    assert [(await client.statuses(**query))["a:role"] for query in ({}, {"stale": ""})] == ["critical", "passing"]
    client.consul.discovery_max_stale = True
    assert (await client.statuses())["a:role"] == "passing"
    for query in ({"consistent": ""}, {"leader": ""}):
        assert (await client.statuses(**query))["a:role"] == "critical"


# Cut off from the servers


async def test_the_agents_own_view_goes_on(client: Client) -> None:
    """A query with an index is answered as before, for good, whatever has happened meanwhile."""
    before = await client.health(index="1", wait="1s")
    index = client.headers["X-Consul-Index"]
    ways: list[Servers] = ["silent", "refused"]
    for client.consul.servers in ways:
        client.consul.elsewhere("consul-2", RIVAL | {"Meta": {"epoch": "2"}})
        assert await client.health(index=index, wait="10ms", consistent="") == before
        assert client.headers["X-Consul-Index"] == index
    client.consul.servers = "reached"
    assert await client.health(index=index, wait="5s") != before


async def test_a_view_that_was_never_loaded_is_empty(client: Client) -> None:
    """Not an error: after its wait it says that there is no such service, at index 1."""
    client.consul.servers = "silent"
    assert await client.health(index="7", wait="10ms") == []
    assert client.headers["X-Consul-Index"] == "1"


async def test_silent_servers_are_waited_for(client: Client) -> None:
    """Whatever needs them is not answered before they are back."""
    check = await client.check()
    client.consul.servers = "silent"
    await none_is_answered(
        client.health(),
        client.health(consistent=""),
        client.health(stale=""),
        client("GET", "status/leader"),
        client.txn({"Check": {"Verb": "set", "Check": check}}),
    )
    client.consul.streaming = False
    await none_is_answered(client.health(index="1"))
    waiting = asyncio.create_task(client.health())
    await turns()
    client.consul.servers = "reached"
    assert len(await waiting) == 2


async def test_an_agent_that_knows_no_server_says_so(client: Client) -> None:
    """At once, with 500."""
    client.consul.servers = "refused"
    for method, path, body in (
        ("GET", "health/service/redis", None),
        ("GET", "status/leader", None),
        ("PUT", "txn", []),
    ):
        assert await client(method, path, body) == (500, "No known Consul servers")


async def test_a_change_blocks_the_agent_while_servers_are_silent(client: Client) -> None:
    """It is taken, and answered only when it could be written; until then nothing else is. A beat alone blocks nothing."""
    client.consul.servers = "silent"
    assert await client.update("passing") == (200, "")
    change = asyncio.create_task(client.update("critical"))
    await turns()
    await none_is_answered(client("GET", "agent/services"), client.update("critical"))
    assert not change.done()
    client.consul.servers = "reached"
    assert await change == (200, "")
    assert (await client.statuses())["a:role"] == "critical"


async def test_what_could_not_be_written_waits_for_its_turn(client: Client) -> None:
    """An agent that knows no server takes a change at once. The same definition again has Consul think it is synced."""
    client.consul.servers = "refused"
    assert await client.update("critical") == (200, "")
    assert await client.register(SERVICE | {"Port": 3}) == (200, "")
    client.consul.servers = "reached"
    assert (await client.statuses())["a:role"] == "passing"
    assert await client.register(SERVICE | {"Port": 3}) == (200, "")
    assert [(entry["Service"]["Port"]) for entry in await client.health()] == [1, 2]
    client.consul.full_sync()
    assert [(entry["Service"]["Port"]) for entry in await client.health()] == [3, 2]
    assert (await client.statuses())["a:role"] == "critical"


# Over HTTP


async def test_the_adapter_finds_its_consul_in_it(consul: StrictConsul, api: ConsulAPI) -> None:
    """What the registry needs of Consul it can have of the double."""
    assert (await api.agent_self())["Config"]["NodeName"] == "consul-1"
    await api.register(SERVICE)
    await api.check_update("a:role", "critical", "out")
    assert (await api.services())["a"]["Service"] == "redis"
    assert (await api.checks())["a:role"]["Status"] == "critical"
    index, [entry] = await api.health("redis", consistency="consistent")
    assert entry["Service"]["Port"] == 1
    [role] = [check for check in entry["Checks"] if check["ServiceID"]]
    waiting = asyncio.create_task(api.health("redis", index, 5.0))
    taken = {key: role[key] for key in ("Node", "CheckID", "Name", "ServiceID", "ServiceName", "ModifyIndex")}
    [result] = await api.txn([{"Check": {"Verb": "cas", "Check": taken | {"Status": "passing"}}}])
    assert result["Check"]["Status"] == "passing"
    assert (await waiting)[0] > index
    assert await api.leader()
    await api.check_deregister("a:role")
    await api.deregister("a")
    assert (await api.health("redis"))[1] == []
    assert {request.method for request in consul.requests} == {"GET", "PUT"}
