"""What Consul holds is put right within 3 s, whoever changed it: it is compared with Consul, not with a memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fleet import ConsulNode, Fleet, RedisNode, Witness, until

from .support import instances, master, replica, service_id, start_agents, wait_for_catalog

WRITTEN = ("Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "ServiceName", "ServiceTags", "Type")
"""What a transaction takes of a check; one that is read shows more, the more the newer Consul is."""


@pytest.fixture(scope="module")
def published(shared_fleet: Fleet) -> Witness:
    """A master and a replica with their agents, and the witness."""
    shared_fleet.populate(nodes=2, sentinels=1, quorum=1)
    return start_agents(shared_fleet)


@pytest.fixture
def witness(shared_fleet: Fleet, published: Witness) -> Witness:
    """The witness, once both nodes are published."""
    wait_for_both(shared_fleet, within=10)
    published.wait_for(shared_fleet.nodes[0], within=3)
    return published


def wait_for_both(fleet: Fleet, within: float = 3) -> None:
    """Wait until Consul holds the first node as master, the second as its replica, and nothing else."""
    wait_for_catalog(fleet.consuls[0], master(fleet.nodes[0]), replica(fleet.nodes[1]), within=within)


def deregister(consul: ConsulNode, node: RedisNode) -> None:
    """At the local Consul agent, as an operator would."""
    consul.put(f"/v1/agent/service/deregister/{service_id(consul, node)}")


def deregister_in_the_catalog(consul: ConsulNode, node: RedisNode) -> None:
    """At the servers, while the local Consul agent still holds it."""
    consul.put("/v1/catalog/deregister", {"Node": consul.name, "ServiceID": service_id(consul, node)})


def fail_the_check(consul: ConsulNode, node: RedisNode) -> None:
    """As a script that speaks for Redis would."""
    consul.put(f"/v1/agent/check/fail/{service_id(consul, node)}:role")


def fail_the_check_in_the_catalog(consul: ConsulNode, node: RedisNode) -> None:
    """At the servers, as another agent's transaction would, while the local Consul agent holds it passing."""
    (instance,) = instances(consul, "redis")
    (check,) = (c for c in instance["Checks"] if c["CheckID"].endswith(":role"))
    kept = {key: check[key] for key in WRITTEN}
    consul.put("/v1/txn", [{"Check": {"Verb": "set", "Check": kept | {"Status": "critical"}}}])


def take_the_check_away(consul: ConsulNode, node: RedisNode) -> None:
    """A service without checks passes always."""
    consul.put(f"/v1/agent/check/deregister/{service_id(consul, node)}:role")


def register_something_else(consul: ConsulNode, node: RedisNode) -> None:
    """Under the same id, with another port and without Meta."""
    wrong = {"ID": service_id(consul, node), "Name": "redis", "Address": "127.0.0.1", "Port": 9, "Tags": ["old"]}
    consul.put("/v1/agent/service/register", wrong)


@pytest.mark.parametrize(
    "harm",
    [
        deregister,
        deregister_in_the_catalog,
        fail_the_check,
        pytest.param(fail_the_check_in_the_catalog, marks=pytest.mark.main_path),
        take_the_check_away,
        register_something_else,
    ],
)
def test_an_entry_that_was_changed_behind_our_back(
    shared_fleet: Fleet, witness: Witness, harm: Callable[[ConsulNode, RedisNode], None]
) -> None:
    """Deregistered, failed or overwritten, at the local Consul agent or at the servers: soon it is as it should be."""
    consul, (one, _) = shared_fleet.consuls[0], shared_fleet.nodes
    before = witness.up_to
    harm(consul, one)
    wait_for_both(shared_fleet)
    witness.wait_for(one, within=3)
    witness.assert_never_two(since=before)


def test_consul_restarts_with_its_data(shared_fleet: Fleet, witness: Witness) -> None:
    """Once Consul answers again, both entries are there, true and passing."""
    shared_fleet.consuls[0].restart()
    wait_for_both(shared_fleet)
    witness.wait_for(shared_fleet.nodes[0], within=3)


def test_consul_restarts_without_its_data(shared_fleet: Fleet, witness: Witness) -> None:
    """Consul has forgotten everything, its servers too: both entries are registered again."""
    consul = shared_fleet.consuls[0]
    consul.kill()
    consul.forget()
    consul.start()
    wait_for_both(shared_fleet)
    witness.wait_for(shared_fleet.nodes[0], within=3)


@pytest.mark.netns
@pytest.mark.parametrize("keeps_data", [True, False], ids=["with its data", "without its data"])
def test_a_consul_client_restarts(isolated_client: Fleet, keeps_data: bool) -> None:
    """The master's local Consul agent ends and comes back while the servers run on: the entry is put right again."""
    fleet = isolated_client
    client = fleet.consul_of(fleet.nodes[0].host)

    def registered() -> bool:
        checks = client.get("/v1/agent/checks").values()
        return bool(checks) and all(check["Status"] == "passing" for check in checks)

    until(registered, within=3, what="the Consul client holds the entry")
    client.kill()
    if not keeps_data:
        client.forget()
    client.start(within=20)
    until(registered, within=3, what="the Consul client holds the entry again")
    wait_for_both(fleet)


@pytest.fixture(scope="module")
def isolated_client(shared_isolated_fleet: Fleet) -> Fleet:
    """A master and a replica, each on a host of its own with a Consul client and an agent, and a Consul server."""
    fleet = shared_isolated_fleet
    fleet.populate(nodes=2, sentinels=1, quorum=1, agents=True)
    wait_for_both(fleet, within=10)
    return fleet


def test_a_demotion_while_consul_is_down(fleet: Fleet) -> None:
    """The master dies while Consul is away: what Consul finds on its disk when it is back is not shown for long."""
    fleet.populate(nodes=1, sentinels=1, quorum=1)
    witness, consul = start_agents(fleet), fleet.consuls[0]
    consul.kill()
    fleet.nodes[0].kill()
    consul.start()
    witness.wait_for(within=3)
    wait_for_catalog(consul, master(fleet.nodes[0])._replace(shown=False))  # the group's last claim
