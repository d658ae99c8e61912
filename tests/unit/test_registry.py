"""The registry against a Consul agent that remembers what it is asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

from consul_redis_agent.clock import clock
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.decide.claim import Claim, Early
from consul_redis_agent.decide.facts import Address, Catalog, Entry
from consul_redis_agent.decide.rules import Decision, Reason, Verdict
from consul_redis_agent.publish.entries import Mode, Naming, wanted
from consul_redis_agent.publish.registry import Registry, Target

NAMING = Naming(
    mode=Mode.SERVICES,
    service="redis",
    replica="redis-replica",
    ttl=10.0,
    node="redis://127.0.0.1:6379",
    master_id="redis-6379",
    replica_id="redis-replica-6379",
)
MASTER = Decision(Verdict.MASTER, Reason.NAMED, "It is.", claim=Claim(5, 0, "abc"))
NONE = Decision(Verdict.NONE, Reason.SILENT, "It is silent.")


class Agent:
    """A local Consul agent, and the servers' catalog, which is what it holds; ``done`` is what it was asked."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.operations: list[dict[str, Any]] = []
        self.held: dict[str, dict[str, Any]] = {}
        self.states: dict[str, str] = {}
        self.changes = self.beats = asyncio.Semaphore(1)

    async def agent_self(self) -> dict[str, Any]:
        self.done.append("self")
        return {"Config": {"NodeName": "host-a"}}

    async def services(self, only: str) -> dict[str, Any]:
        return {key: {**held, "Service": held["Name"]} for key, held in self.held.items()}

    async def checks(self, only: str) -> dict[str, Any]:
        return {key: {"Status": state} for key, state in self.states.items()}

    async def txn(self, operations: list[dict[str, Any]]) -> None:
        self.done.append("txn")
        self.operations = operations

    async def register(self, body: dict[str, Any]) -> None:
        self.done.append("register")
        self.held[body["ID"]] = body
        for check in body.get("Checks") or [body["Check"]]:
            self.states.setdefault(check["CheckID"], check["Status"])

    async def check_update(self, check_id: str, status: str, output: str) -> None:
        self.done.append(f"{status} {check_id}")
        self.states[check_id] = status

    async def deregister(self, service_id: str) -> None:
        self.done.append("deregister")
        del self.held[service_id]

    def catalog(self) -> list[Entry]:
        return [
            Entry(
                node="host-a",
                id=key,
                name=held["Name"],
                address=held["Address"],
                port=held["Port"],
                tags=tuple(held["Tags"]),
                meta=held["Meta"],
                check={"Name": "role:master", "Status": self.states[f"{key}:role"]},
                passing=self.states[f"{key}:role"] == "passing",
            )
            for key, held in self.held.items()
        ]


async def converge(registry: Registry, agent: Agent, decision: Decision) -> list[str]:
    """Bring a decision about; returns what was asked for it."""
    entries = wanted(decision, NAMING, Address("10.0.0.5", 6379), "mymaster")
    agent.done.clear()
    seen = {"redis": Catalog(clock(), 1, tuple(agent.catalog()))}
    await registry.converge(lambda: Target(clock(), entries, seen=seen))
    return [*agent.done]


async def test_what_the_agent_still_holds_is_not_registered_again_after_a_doubt() -> None:
    """Consul would sync it as soon as the network lets it, over a newer claim's word that it is down."""
    agent = Agent()
    registry = Registry(cast(ConsulAPI, agent), NAMING)
    assert "register" in await converge(registry, agent, MASTER)
    registry.doubt()
    done = await converge(registry, agent, MASTER)
    assert "self" in done
    assert "register" not in done


async def test_what_the_agent_has_lost_is_registered_again_after_a_doubt() -> None:
    """A Consul agent that was wiped is told everything anew."""
    agent = Agent()
    registry = Registry(cast(ConsulAPI, agent), NAMING)
    await converge(registry, agent, MASTER)
    registry.doubt()
    agent.held.clear()
    agent.states.clear()
    assert "register" in await converge(registry, agent, MASTER)


async def test_a_claim_is_set_up_only_if_its_entry_is_as_it_was_decided_on() -> None:
    """A successor may put it down between a decision and its writing: Consul has to refuse that writing."""
    agent = Agent()
    registry = Registry(cast(ConsulAPI, agent), NAMING)
    entries = wanted(MASTER, NAMING, Address("10.0.0.5", 6379), "mymaster")
    check = {"CheckID": "redis-6379:role", "Status": "passing", "ModifyIndex": 7}
    before = Entry("host-a", "redis-6379", "redis", "10.0.0.5", 6379, check=check, passing=True)
    await registry.converge(lambda: Target(clock(), entries, seen={"redis": Catalog(clock(), 7, (before,))}))
    (role,) = [o["Check"] for o in agent.operations if o.get("Check", {}).get("Verb") == "cas"]
    assert role["Check"]["ModifyIndex"] == 7


async def test_a_withdrawal_does_not_wait_for_the_agents_name() -> None:
    """Cut off from its servers, Consul answers that question late; the old name must go before."""
    agent = Agent()
    registry = Registry(cast(ConsulAPI, agent), NAMING)
    await converge(registry, agent, MASTER)
    registry.doubt()
    done = await converge(registry, agent, NONE)
    assert done[0] == "critical redis-6379:role"
    assert "self" not in done


async def test_the_ttl_of_an_early_claim_is_not_begun_anew() -> None:
    """Were its agent killed, Consul itself must set it critical when the term is over."""
    agent = Agent()
    registry = Registry(cast(ConsulAPI, agent), NAMING)
    claim = Claim(6, 0, "abc", Early(clock(), "boot", "s1"))
    decision = replace(MASTER, claim=claim)
    await converge(registry, agent, decision)
    target = Target(clock(), wanted(decision, NAMING, Address("10.0.0.5", 6379), "mymaster"))
    agent.done.clear()
    await registry.beat(lambda: target)
    assert agent.done == []
    short = replace(NAMING, ttl=1.0)
    brief = Target(clock(), wanted(decision, short, Address("10.0.0.5", 6379), "mymaster"))
    await registry.beat(lambda: brief)
    assert agent.done == ["passing redis-6379:role"], "a TTL that ends before the term is beaten"
