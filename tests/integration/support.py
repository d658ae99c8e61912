"""What the tests on real servers share: a fleet with agents, and a look into Consul's catalog."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from consul_redis_agent.decide.facts import Address
from tests.fleet import AgentNode, ConsulNode, Fleet, RedisNode, Witness, until


class Held(NamedTuple):
    """One service in Consul's catalog, with the name of its role check and whether DNS shows it."""

    service: str
    address: Address
    tags: tuple[str, ...]
    check: str
    shown: bool = True


def master(node: RedisNode, service: str = "redis") -> Held:
    """What a published master is held as in mode ``services``."""
    return Held(service, node.announced, ("master",), "role:master")


def replica(node: RedisNode, service: str = "redis-replica") -> Held:
    """What a published replica is held as in mode ``services``."""
    return Held(service, node.announced, ("replica",), "role:replica")


def instances(consul: ConsulNode, service: str) -> list[dict[str, Any]]:
    """Each instance of a service with its node and checks, as Consul's servers hold it."""
    answer: list[dict[str, Any]] = consul.get(f"/v1/health/service/{service}?consistent")
    return answer


def catalog(consul: ConsulNode) -> set[Held]:
    """Everything in Consul's catalog, Consul itself left out. Fails on an instance without role check."""
    held = set()
    for name in consul.get("/v1/catalog/services?consistent"):
        for instance in instances(consul, name) if name != "consul" else ():
            service, checks = instance["Service"], instance["Checks"]
            (role,) = (check["Name"] for check in checks if check["CheckID"] == f"{service['ID']}:role")
            shown = all(check["Status"] == "passing" for check in checks)
            entry = Held(name, Address(service["Address"], service["Port"]), tuple(service["Tags"]), role, shown)
            assert entry not in held, f"{entry} is held twice"
            held.add(entry)
    return held


def wait_for_catalog(consul: ConsulNode, *held: Held, within: float = 3) -> None:
    """Wait until Consul's catalog holds exactly these."""

    def exact() -> bool:
        there = catalog(consul)
        assert there == {*held}, f"missing {({*held} - there) or 'nothing'}, left over {(there - {*held}) or 'nothing'}"
        return True

    until(exact, within=within, what="Consul holds exactly what it should")


def service_id(consul: ConsulNode, node: RedisNode, service: str = "redis") -> str:
    """The id of a node's entry."""
    (found,) = (
        i["Service"]["ID"]
        for i in instances(consul, service)
        if (i["Service"]["Address"], i["Service"]["Port"]) == node.announced
    )
    return str(found)


def start_agents(fleet: Fleet, *, more: str = "") -> Witness:
    """Start an agent for each node and a witness, and wait until DNS names the first node, and every agent is done.

    Done: no agent still searches for Sentinels, so none misses the selection of a failover that comes next.
    """
    for node in fleet.nodes:
        fleet.agent(node, more=more)
    witness = fleet.witness()
    witness.wait_for(fleet.nodes[0], within=10)
    wait_for_word(fleet.agents[0], "Consul holds")
    wait_for_sentinels(fleet, 0 if 'mode = "off"' in more else len(fleet.sentinels))
    return witness


def wait_for_sentinels(fleet: Fleet, number: int) -> None:
    """Wait until each agent has found so many Sentinels, and reaches them."""
    for agent in fleet.agents:
        until(partial(agent.reaches, number), within=15, what=f"{agent.name} reaches {number} Sentinels")


def wait_for_word(agent: AgentNode, text: str, *, times: int = 1, within: float = 10) -> None:
    """Wait until the agent has logged a text so many times."""
    until(lambda: agent.lines(text) >= times, within=within, what=f"{agent.name} logs {text!r} {times} times")


def assert_steady(witness: Witness, *nodes: RedisNode, since: float) -> None:
    """Raise AssertionError with the history if DNS ever named anything but exactly these.

    Unlike :meth:`Witness.assert_only` it forgives a DNS server that is too busy to answer for a moment.
    """
    wanted = frozenset(node.announced for node in nodes)
    seconds = witness.seconds(lambda answers: answers != wanted, since=since)
    assert seconds == 0, f"DNS named something else for {seconds:.3f} s\n{witness.story()}"


def resolution(witness: Witness) -> str:
    """How closely the witness looked, for the report."""
    gaps = len(witness.gaps())
    return f"{witness.samples} replies, at most {witness.resolution * 1000:.1f} ms apart, {gaps} times over 20 ms"
