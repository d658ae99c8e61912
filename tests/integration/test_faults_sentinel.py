"""Sentinel goes wrong: it has no vote, the message names the cause, and it counts again by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import ConsulNode, Fleet, RedisNode, SentinelNode

from .faults import Stage, paused, stage_of

ACL_FILE = Path(__file__).parents[2] / "config" / "redis-acl.conf"
USER = "consul-redis-agent"
PASSWORD = "sentinel-word"
TTL = 3.0
"""Seconds; short, since nothing happens in a time longer than this."""


@pytest.fixture(scope="module")
def consul(shared_fleet: Fleet) -> ConsulNode:
    """A settled group whose Sentinels ask for a password."""
    shared_fleet.populate(nodes=1, sentinel_password=PASSWORD, down_after=60_000)
    return shared_fleet.consuls[0]


@pytest.fixture
def stage(shared_fleet: Fleet, consul: ConsulNode, request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage_of(shared_fleet, consul, request) as made:
        yield made


@pytest.fixture
def master(shared_fleet: Fleet, consul: ConsulNode) -> RedisNode:
    return shared_fleet.nodes[0]


@pytest.fixture
def sentinels(shared_fleet: Fleet, consul: ConsulNode) -> list[SentinelNode]:
    return shared_fleet.sentinels


def asking(sentinels: list[SentinelNode], *more: str) -> str:
    """The [sentinel] table that names these and demands them."""
    return "\n".join(['mode = "required"', f"hosts = {[str(s.address) for s in sentinels]}".replace("'", '"'), *more])


def login(stage: Stage, word: str = PASSWORD) -> str:
    return f'password_file = "{stage.password_file(word).path}"'


NAME = 'master_name = "mymaster"'


def test_a_wrong_password_leaves_sentinel_without_a_vote(
    stage: Stage, master: RedisNode, sentinels: list[SentinelNode]
) -> None:
    """Each Sentinel is named with the cause, nothing is published; the right password is used once it is there."""
    file = stage.password_file("wrong-word")
    stage.agent(master, node=NAME, sentinel=asking(sentinels, f'password_file = "{file.path}"'))
    for sentinel in sentinels:
        stage.heard(f"Sentinel {sentinel.address}: it has no vote: invalid username-password pair")
    stage.stays(seconds=1)
    file.put(stage.secret(PASSWORD))
    stage.wait_for(master)
    for sentinel in sentinels:
        stage.heard(f"Sentinel {sentinel.address}: recovered")


def test_the_example_user_is_enough(stage: Stage, master: RedisNode, sentinels: list[SentinelNode]) -> None:
    """The example's user has every right that the agent asks for; no Sentinel logs a refusal."""
    (line,) = re.findall(r"^#user \S+ (.*)$", ACL_FILE.read_text(), re.MULTILINE)
    rules = line.replace("CHANGE-ME", stage.secret("user-word")).split()
    for sentinel in sentinels:
        sentinel.ask("ACL", "SETUSER", USER, *rules)
        sentinel.ask("ACL", "LOG", "RESET")
    user = f'username = "{USER}"'
    stage.agent(master, sentinel=asking(sentinels, user, login(stage, "user-word")))
    stage.wait_for(master)
    assert [sentinel.ask("ACL", "LOG") for sentinel in sentinels] == [[], [], []]


def test_a_user_without_the_right_is_named(stage: Stage, master: RedisNode, sentinels: list[SentinelNode]) -> None:
    """The message names the command that is refused, and the vote counts once it is allowed."""
    for sentinel in sentinels:
        sentinel.ask("ACL", "SETUSER", "poor", "on", f">{stage.secret('user-word')}", "allchannels", "+@all")
        sentinel.ask("ACL", "SETUSER", "poor", "-sentinel|get-master-addr-by-name")
    stage.agent(master, node=NAME, sentinel=asking(sentinels, 'username = "poor"', login(stage, "user-word")))
    stage.heard("it has no vote: refuses: ")
    assert "get-master-addr-by-name" in stage.agents[-1].log()
    stage.stays(seconds=1)
    for sentinel in sentinels:
        sentinel.ask("ACL", "SETUSER", "poor", "+@all")
    stage.wait_for(master)


def test_an_unknown_master_name_is_named(stage: Stage, master: RedisNode, sentinels: list[SentinelNode]) -> None:
    """Sentinels that do not know the name have no vote; once they monitor it, they do."""
    name, address = "another", master.address
    stage.agent(master, node=f'master_name = "{name}"', sentinel=asking(sentinels, login(stage)))
    stage.heard(f"it has no vote: does not monitor '{name}'")
    stage.stays(seconds=1)
    for sentinel in sentinels:
        sentinel.ask("SENTINEL", "MONITOR", name, address.host, str(address.port), "2")
    try:
        stage.wait_for(master)
    finally:
        for sentinel in sentinels:
            sentinel.ask("SENTINEL", "REMOVE", name)


def test_one_hung_sentinel_changes_nothing(stage: Stage, master: RedisNode, sentinels: list[SentinelNode]) -> None:
    """It is named and has no vote; two of three are a majority."""
    stage.agent(master, node=NAME, sentinel=asking(sentinels, login(stage)), ttl=f"{TTL:g}s")
    stage.wait_for(master)
    with paused(sentinels[0]):
        stage.heard(f"Sentinel {sentinels[0].address}: it has no vote: no answer within 1 s")
        stage.stays(master, seconds=TTL + 1)
    stage.heard(f"Sentinel {sentinels[0].address}: recovered")


def test_sentinels_that_come_later_and_go(stage: Stage, master: RedisNode, sentinels: list[SentinelNode]) -> None:
    """Without them nothing begins; what they have confirmed outlives them (rule 6), longer than the TTL."""
    for sentinel in sentinels:
        sentinel.kill()
    stage.agent(master, node=NAME, sentinel=asking(sentinels, login(stage)), ttl=f"{TTL:g}s")
    for sentinel in sentinels:
        stage.heard(f"Sentinel {sentinel.address}: it has no vote: nothing listens there")
    stage.stays(seconds=1)
    for sentinel in sentinels:
        sentinel.start()
    stage.wait_for(master)

    for sentinel in sentinels[:2]:
        sentinel.kill()
    stage.heard("newest claim, confirmed by Consul")
    stage.stays(master, seconds=TTL + 1)
    sentinels[2].kill()
    stage.stays(master, seconds=TTL + 1)
    for sentinel in sentinels:
        sentinel.start()
    stage.heard("named by a majority of Sentinels", times=2)
    assert stage.named() == frozenset({master.address})


def test_a_node_that_needs_sentinel_waits_for_the_first_one(stage: Stage) -> None:
    """With mode "required" and none to be found nothing is published; the first one that watches it is found alone."""
    node = stage.redis()
    stage.agent(node, sentinel='mode = "required"')
    stage.heard("no Sentinel is known")
    assert stage.named() == frozenset()
    known = [*stage.fleet.sentinels]
    stage.fleet.sentinel(master=node, quorum=1)
    stage.fleet.sentinels[:] = known
    stage.wait_for(node)
