"""Which address is published: the one that others use."""

from __future__ import annotations

from consul_redis_agent.decide.facts import Address
from tests.fleet import Fleet, RedisNode

from .support import Held, master, replica, wait_for_catalog

ELSEWHERE = Address("10.0.0.5", 7000)


def announced(fleet: Fleet) -> RedisNode:
    """A node that announces another address of this machine than the one it is reached at."""
    node = fleet.redis(settings={"bind": "127.0.0.1 127.0.0.2"})
    node.announced = Address("127.0.0.2", node.address.port)
    node.ask("CONFIG", "SET", "replica-announce-ip", node.announced.host)
    node.ask("CONFIG", "SET", "replica-announce-port", str(node.announced.port))
    return node


def test_the_address_that_sentinel_uses(fleet: Fleet) -> None:
    """With announced addresses it is Sentinel's word that counts, for master and replica, before `announce` as well."""
    fleet.consul(servers=1)
    one, two = announced(fleet), announced(fleet)
    two.ask("REPLICAOF", *map(str, one.announced))
    fleet.wait_for_replicas()
    fleet.sentinel(master=one, quorum=1)
    fleet.settle()
    consul = fleet.consuls[0]
    fleet.agent(one, config=fleet.agent_config(one, consul=consul) + f'announce = "{ELSEWHERE}"\n')
    fleet.agent(two)
    wait_for_catalog(consul, master(one), replica(two), within=10)

    one.kill()
    wait_for_catalog(consul, master(two), within=15)


def test_addresses_without_sentinel(fleet: Fleet) -> None:
    """`announce` counts before what the node announces itself, and where neither is set, the host as Consul knows it."""
    consul = fleet.consul(servers=1)
    by_agent, by_node, by_nobody = announced(fleet), announced(fleet), fleet.redis()
    config = f'[consul]\nurl = "http://{consul.http}"\n[sentinel]\nmode = "off"\n'
    for node, keys in (
        (by_agent, f'service = "by-agent"\nannounce = "{ELSEWHERE}"'),
        (by_node, 'service = "by-node"'),
        (by_nobody, 'service = "by-nobody"'),
    ):
        config += f'[[redis]]\nurl = "redis://127.0.0.1:{node.address.port}"\n{keys}\n'
    fleet.agent(by_agent, config=config)
    wait_for_catalog(
        consul,
        Held("by-agent", ELSEWHERE, ("master",), "role:master"),
        Held("by-node", by_node.announced, ("master",), "role:master"),
        Held("by-nobody", by_nobody.address, ("master",), "role:master"),
        within=10,
    )
