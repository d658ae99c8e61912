"""Several Redis nodes looked after by one agent process, and their names."""

from __future__ import annotations

from consul_redis_agent.decide.facts import Address
from tests.fleet import Fleet, RedisNode, until

from .support import Held, instances, master, replica, wait_for_catalog


def test_five_instances_on_one_host(fleet: Fleet) -> None:
    """One agent for a master, its replicas and two replicas of a replica: all published, also across a failover."""
    consul = fleet.consul(servers=1)
    one = fleet.redis()
    two = fleet.redis(replica_of=one, settings={"replica-priority": "10"})
    three = fleet.redis(replica_of=one)
    four, five = fleet.redis(replica_of=two), fleet.redis(replica_of=two)
    for _ in range(3):
        fleet.sentinel(master=one)
    until(
        lambda: all(s.sees_all_well(others=2, replicas=2) for s in fleet.sentinels),
        within=15,
        what="the Sentinels know each other and the two replicas that follow the master itself",
    )
    agent = fleet.agent(one, two, three, four, five)
    assert agent.config_path.read_text().count("[[redis]]") == 5
    witness = fleet.witness()
    wait_for_catalog(consul, master(one), *map(replica, (two, three, four, five)), within=10)

    one.kill()
    witness.wait_for(two, within=20)
    wait_for_catalog(consul, master(two), *map(replica, (three, four, five)), within=15)
    witness.assert_never_two()


def test_names_of_its_own_for_each_node(fleet: Fleet) -> None:
    """`service` and `replica` of a node beat the general names, "" publishes no replica, tags and Meta go along."""
    consul = fleet.consul(servers=1)
    shop, sessions = fleet.redis(), fleet.redis()
    shops, hidden = fleet.redis(replica_of=shop), fleet.redis(replica_of=sessions)
    fleet.agent(
        shop,
        config=f"""
            [consul]
            url = "http://{consul.http}"
            [sentinel]
            mode = "off"
            [service]
            name = "shop"
            tags = ["eu"]
            meta = {{ team = "blue" }}
            [replica]
            name = "shop-ro"
            {table(shop)}
            {table(shops)}
            {table(sessions)}
            service = "sessions"
            replica = "sessions-ro"
            {table(hidden)}
            service = "sessions"
            replica = ""
        """,
    )
    wait_for_catalog(
        consul,
        Held("shop", shop.address, ("master", "eu"), "role:master"),
        Held("shop-ro", shops.address, ("replica", "eu"), "role:replica"),
        Held("sessions", sessions.address, ("master", "eu"), "role:master"),
        within=10,
    )
    for name in ("shop", "shop-ro", "sessions"):
        (entry,) = instances(consul, name)
        assert entry["Service"]["Meta"]["team"] == "blue"


def test_no_replicas_at_all(fleet: Fleet) -> None:
    """With an empty `replica.name` only the master is in Consul; the replica takes over all the same."""
    fleet.populate(nodes=2, sentinels=1, quorum=1)
    consul, (one, two) = fleet.consuls[0], fleet.nodes
    for node in (two, one):
        fleet.agent(node, more='[replica]\nname = ""\n')
    wait_for_catalog(consul, master(one), within=10)
    one.kill()
    wait_for_catalog(consul, master(two), within=15)


def table(node: RedisNode) -> str:
    """The table of a node."""
    return f'[[redis]]\nurl = "redis://{Address("127.0.0.1", node.address.port)}"'
