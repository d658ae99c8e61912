"""A namespace and a partition of Consul Enterprise go with everything that is sent; where none is set, neither is named.

Enterprise is not to be had here: a double insists on them, request by request.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from consul_redis_agent.commands.resolve import question
from consul_redis_agent.config import load
from consul_redis_agent.consul.api import ConsulAPI, consul_api, place_of
from consul_redis_agent.consul.domain import domain_in, name_of
from consul_redis_agent.consul.place import Place
from consul_redis_agent.errors import ConsulConflict, ConsulError, ConsulUnknown
from tests.doubles.strict_consul import StrictConsul

from .test_current_consul import CLAIM, Publication, rival, watching

PLACES = {
    "both": Place("team-a", "payments"),
    "namespace": Place(namespace="team-a"),
    "partition": Place(partition="payments"),
    "nowhere": Place(),
}


def enterprise(place: Place) -> StrictConsul:
    given = {"Namespace": place.namespace, "Partition": place.partition}
    return StrictConsul(place={key: value for key, value in given.items() if value})


PROBE = {"Verb": "delete-cas", "Node": "x", "Service": {"ID": "x", "Service": "redis", "ModifyIndex": 1}}
CALLS: dict[str, Callable[[ConsulAPI], Awaitable[Any]]] = {
    "register": lambda api: api.register({"ID": "r", "Name": "redis", "Checks": []}),
    "check_deregister": lambda api: api.check_deregister("r:seal"),
    "deregister": lambda api: api.deregister("r"),
    "check_update": lambda api: api.check_update("r:role", "passing", ""),
    "services": lambda api: api.services(),
    "checks": lambda api: api.checks('ServiceID == "r"'),
    "health": lambda api: api.health("redis", consistency="consistent"),
    "txn": lambda api: api.txn([{"Service": PROBE}]),
    "rehearse": lambda api: api.rehearse([{"Service": PROBE}]),
    "agent_self": lambda api: api.agent_self(),
    "leader": lambda api: api.leader(),
    "token_known": lambda api: api.token_known(0, 0.0),
}


def test_every_call_is_tried() -> None:
    """A new method of the API has to be named above."""
    methods = {name for name, _ in inspect.getmembers(ConsulAPI, inspect.iscoroutinefunction) if name[0] != "_"}
    assert methods - {"close"} | {"agent_self"} == {*CALLS}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_carries_them(call: str, place: Place) -> None:
    """Each request has just those that are set, and is refused for nothing else than what is not there."""
    async with enterprise(place).running() as consul:
        api = ConsulAPI(f"http://{consul.address}", place=place)
        with suppress(ConsulUnknown, ConsulConflict):
            await CALLS[call](api)
        await api.close()
        asked = [r.query for r in consul.requests]
        wanted = {k: v for k, v in (("ns", place.namespace), ("partition", place.partition)) if v}
        assert all({k: v for k, v in query.items() if k in ("ns", "partition")} == wanted for query in asked)
        assert asked or call == "rehearse"


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
async def test_a_whole_publication_carries_them(place: Place) -> None:
    """Registration, the transaction that evicts a rival, the beat, and the leave: the double refuses what is of elsewhere."""
    async with enterprise(place).running() as consul:
        rival(consul)
        api = ConsulAPI(f"http://{consul.address}", place=place)
        try:
            async with watching(api) as (watch, _):
                publication = Publication(api, watch)
                held = await publication.of(CLAIM)
                assert {e.node: e.passing for e in held} == {"consul-1": True, "consul-2": False}
                await publication.writer.leave()
        finally:
            await api.close()
        assert "consul-1" not in {node for node, _ in consul.catalog.services}
        assert [r for r in consul.requests if r.path == "/v1/txn"]


async def test_another_place_is_refused_by_the_double() -> None:
    """So that the tests above can fail."""
    async with enterprise(Place("team-a")).running() as consul:
        for place in (Place(), Place("team-b"), Place("team-a", "payments")):
            api = ConsulAPI(f"http://{consul.address}", place=place)
            try:
                with pytest.raises(ConsulError):
                    await api.health("redis")
                with pytest.raises(ConsulError):
                    await api.txn([{"Service": PROBE}])
            finally:
                await api.close()


def test_the_configuration_says_where() -> None:
    """The one place that makes a client takes both from there."""
    config = replace(load(None, {}, {}).consul, namespace="team-a", partition="payments")
    assert place_of(config) == PLACES["both"]
    assert consul_api(config)._place == PLACES["both"]


def test_the_name_in_dns() -> None:
    """Tag, service, namespace, partition, domain: in the order in which Consul's documentation has them."""
    config = load(None, {}, {})
    redis = config.redis[0]

    def name(mode: str = "services", **consul: str) -> str:
        service = replace(config.service, mode=mode)  # type: ignore[arg-type]
        given = replace(config, service=service, consul=replace(config.consul, **consul))  # type: ignore[arg-type]
        assert question(given, None)[1] == name_of(given, redis)
        return name_of(given, redis)

    assert name() == "redis.service.consul"
    assert name(domain="corp.example") == "redis.service.corp.example"
    assert name("tags", domain="corp") == "master.redis.service.corp"
    assert name(namespace="team-a") == "redis.service.team-a.ns.consul"
    assert name(partition="payments") == "redis.service.payments.ap.consul"
    assert name("tags", namespace="a", partition="b", domain="corp") == "master.redis.service.a.ns.b.ap.corp"
    corp = replace(config, consul=replace(config.consul, domain="corp"))
    assert question(corp, "cache")[1] == "cache.service.corp"


@pytest.mark.parametrize(
    ("answer", "domain"),
    [
        ({"DebugConfig": {"DNSDomain": "corp."}}, "corp"),
        ({"DebugConfig": {"DNSDomain": "consul.corp.example"}}, "consul.corp.example"),
        ({"DebugConfig": {"DNSDomain": ""}}, ""),
        ({"DebugConfig": {"DNSDomain": "a b"}}, ""),
        ({"DebugConfig": {"DNSDomain": 3}}, ""),
        ({"DebugConfig": None}, ""),
        ({}, ""),
        ([], ""),
    ],
)
def test_the_domain_in_what_the_consul_agent_says(answer: object, domain: str) -> None:
    """Without its dot; anything that is no domain is none."""
    assert domain_in(answer) == domain
