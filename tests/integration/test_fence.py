"""The fence, and what is asked of Sentinel, on each server version: a planned move loses no write, an empty master no data.

Each version has a fleet on loopback, and one on hosts of its own, since nobody asks a Sentinel on the master's own host.
Every test arranges one of them as it needs it. With ``SERVERS=all`` in the environment the tests run on Redis 6.2 as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import redis

from tests.chaos.application import writing
from tests.chaos.writes import HANDFUL, Writes
from tests.fleet import ON_PATH, REDIS_6_2, SCALE, VALKEY_9_1, AgentNode, Fleet, RedisNode, Server, Witness, until

from .fencing import (
    ASKED,
    CONVERTED,
    HELD_FOR_DOWN,
    TOLD_TO_FOLLOW,
    WRITERS,
    Heard,
    agent_of,
    arrange,
    assert_nobody_is_paused,
    calls,
    full_copies,
    told,
    wait_for_writes,
)
from .support import wait_for_word

FENCED = '[fence]\nmode = "on"\n'
KEYS = 1000
TRIES = 3
Record = Callable[[str, object], None]
ONE_ASKED = "asked Sentinel at"


class Kind(NamedTuple):
    """Of what, and where, a fleet is."""

    server: Server
    isolated: bool = False


def on(*kinds: Kind, main_path: bool = False) -> pytest.MarkDecorator:
    """Run a test on these fleets; ``main_path``: with the server of PATH on the older Consul, too."""
    params = []
    for kind in kinds:
        marks = [pytest.mark.netns] if kind.isolated else []
        marks += [pytest.mark.main_path] if main_path and kind.server is ON_PATH else []
        params.append(pytest.param(kind, id=str(kind.server), marks=marks))
    return pytest.mark.parametrize("fleet", params, indirect=True)


SERVERS = (ON_PATH, VALKEY_9_1, REDIS_6_2)
EACH = [Kind(server) for server in SERVERS]
EACH_ISOLATED = [Kind(server, isolated=True) for server in SERVERS]


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """The usual fleet on one server version, without agents."""
    kind: Kind = request.param
    if kind.server.missing:
        pytest.skip(kind.server.missing)
    if kind.server is REDIS_6_2 and os.environ.get("SERVERS") != "all":
        pytest.skip(f"{kind.server} takes its turn with SERVERS=all in the environment")
    with Fleet(server=kind.server, isolated=kind.isolated) as made:
        made.populate(failover_timeout=3000)
        yield made


@pytest.fixture(scope="module")
def witness(fleet: Fleet) -> Witness:
    """Watches DNS and the roles of the nodes, less closely than usual: what is tested needs the processor in time."""
    return fleet.witness(every=0.005, every_role=0.01)


@on(*EACH, main_path=True)
def test_a_killed_master_that_comes_back_is_a_replica_before_sentinel_makes_it_one(
    fleet: Fleet, witness: Witness, record_testsuite_property: Record
) -> None:
    """It was replaced, returns and says master: its agent turns it, and the Sentinels never have to."""
    old = arrange(fleet, tables=FENCED)
    old.kill()
    new = fleet.wait_for_master(other_than=old)
    witness.wait_for(new, within=3)

    heard, itself = Heard(fleet.sentinels), Heard([old])
    old.launch()
    record_testsuite_property(f"writes that a returning master took, {fleet.server}", knock(old))
    until(lambda: old.follows(new), within=5, what="the old master follows the new one")
    assert heard.times(CONVERTED) == 0
    assert itself.times(TOLD_TO_FOLLOW) == 1, "it was no danger"
    assert_nobody_is_paused(fleet)


@on(*EACH, main_path=True)
def test_a_planned_failover_loses_no_write_and_copies_nothing(
    fleet: Fleet, witness: Witness, record_testsuite_property: Record
) -> None:
    """Whoever keeps its connection, asks DNS each time, or asks Sentinel: each acknowledged write is there at the end.

    An agent that gets no processor for the tenth of a second between selection and promotion pauses too late. That may
    happen on a busy machine, but not each time, and costs what was written in that moment and no more.
    """
    for _ in range(TRIES):
        writes, copies = _move(fleet, witness)
        record_testsuite_property(f"planned failover, {fleet.server}", told(writes))
        if not copies and not any(w.lost for w in writes.values()):
            return
        assert max(w.lost_over for w in writes.values()) <= HANDFUL, told(writes)
    pytest.fail(f"writes were lost in each of {TRIES} moves, the last time {told(writes)}, {copies} full copies")


def _move(fleet: Fleet, witness: Witness) -> tuple[Mapping[str, Writes], int]:
    """Move the master under writers; returns what they wrote, and how often the data set was copied whole."""
    old = arrange(fleet, tables=FENCED)
    heard, began = Heard(fleet.sentinels), time.monotonic()
    with writing(fleet, "redis", WRITERS) as application:
        wait_for_writes(application, old)
        new = fleet.failover()
        until(lambda: old.follows(new), within=5, what="the old master follows the new one")
        witness.wait_for(new, within=3)
        wait_for_writes(application, new)
        application.stop()
        writes = application.writes(new)
    fleet.wait_for_replicas()
    assert heard.times(CONVERTED) == 0
    assert_nobody_is_paused(fleet)
    sent = {node.name: (calls(node, "pause"), calls(node, "unpause")) for node in fleet.nodes}
    if sent[old.name] != (None, None):
        assert sent == dict.fromkeys(sent, (0, 0)) | {old.name: (1, 1)}
    witness.assert_never_two(since=began)
    witness.assert_never_none(since=began)
    return writes, full_copies(fleet)


@on(Kind(VALKEY_9_1))
def test_a_coordinated_failover_is_not_paused_a_second_time(
    fleet: Fleet, witness: Witness, record_testsuite_property: Record
) -> None:
    """SENTINEL FAILOVER … COORDINATED lets the writes wait by itself: no agent sends a pause, and no write is lost."""
    old, began = arrange(fleet, tables=FENCED), time.monotonic()
    with writing(fleet, "redis", WRITERS) as application:
        wait_for_writes(application, old)
        fleet.sentinels[0].ask("SENTINEL", "FAILOVER", "mymaster", "COORDINATED")
        new = fleet.wait_for_master(other_than=old)
        until(lambda: old.follows(new), within=5, what="the old master follows the new one")
        witness.wait_for(new, within=3)
        wait_for_writes(application, new)
        application.stop()
        writes = application.writes(new)
    record_testsuite_property(f"coordinated failover, {fleet.server}", told(writes))
    fleet.wait_for_replicas()
    pauses = {node.name: calls(node, "pause") for node in fleet.nodes}
    assert pauses == dict.fromkeys(pauses, 0) | {old.name: 1}, "Sentinel sends one itself, with its FAILOVER"
    assert {name: len(w.lost) for name, w in writes.items()} == dict.fromkeys(writes, 0)
    assert full_copies(fleet) == 0
    witness.assert_never_two(since=began)


@on(*EACH_ISOLATED)
def test_another_is_promoted_as_soon_as_the_masters_process_dies(
    fleet: Fleet, witness: Witness, record_testsuite_property: Record
) -> None:
    """Nobody waits for down-after: the agent beside the dead one asks one Sentinel, once; and it returns as a replica."""
    asking = FENCED + '[failover]\non_death = "ask"\ndelay = "0s"\n'
    old = arrange(fleet, tables=asking, down_after=30_000)
    sentinels, agents, began = Heard(fleet.sentinels), Heard(fleet.agents), time.monotonic()
    with writing(fleet, "redis", WRITERS) as application:
        wait_for_writes(application, old)
        old.kill()
        new = fleet.wait_for_master(other_than=old, within=20)
        witness.wait_for(new, within=3)
        wait_for_writes(application, new)
        application.stop()
        writes = application.writes(new)
    record_testsuite_property(f"killed and asked for, {fleet.server}", told(writes))
    assert sentinels.times(HELD_FOR_DOWN) == 0, "it was Sentinel that found it"
    assert (sentinels.times(ASKED), agents.times(ONE_ASKED)) == (1, 1)
    witness.assert_never_two(since=began)

    old.launch()
    until(lambda: old.follows(new), within=10, what="the old master follows the new one")
    assert sentinels.times(CONVERTED) == 0


@on(*EACH_ISOLATED)
def test_a_master_that_comes_back_empty_empties_nobody(
    fleet: Fleet, witness: Witness, record_testsuite_property: Record
) -> None:
    """Without persistence, and started again before Sentinel misses it: a replica is promoted, and every key is kept."""
    keeping = FENCED + '[failover]\non_empty = "ask"\n'
    old = arrange(fleet, tables=keeping, down_after=5000)
    # From 7.0 on it is 5 s by default. At none, a replica that asks again within the agent's first 20 ms is emptied.
    old.ask("CONFIG", "SET", "repl-diskless-sync-delay", "1")
    old.ask("CONFIG", "REWRITE")
    old.ask("FLUSHALL")
    old.ask("EVAL", "for i = 1, ARGV[1] do redis.call('SET', 'key' .. i, i) end", "0", str(KEYS))
    until(lambda: keys(fleet) == [KEYS] * 3, within=10, what="every node has all keys")
    sentinels, agents = Heard(fleet.sentinels), Heard(fleet.agents)
    old.kill()
    time.sleep(0.1)  # what a supervisor takes that starts it again
    old.launch()
    new = fleet.wait_for_master(other_than=old)
    witness.wait_for(new, within=3)
    fleet.wait_for_replicas()
    until(lambda: keys(fleet) == [KEYS] * 3, within=10, what="every node has all keys still")
    assert sentinels.times(HELD_FOR_DOWN) == 0, "it was Sentinel that found it"
    assert (sentinels.times(ASKED), agents.times(ONE_ASKED)) == (1, 1)
    assert_nobody_is_paused(fleet)


@pytest.mark.slow
@on(Kind(ON_PATH))
def test_watching_changes_nothing_and_tells_what_the_old_master_took(fleet: Fleet, witness: Witness) -> None:
    """Mode "watch": Sentinel turns the old master after seconds, and until then the agent only counts, in status and log."""
    old = arrange(fleet, tables='[fence]\nmode = "watch"\n')
    heard, beside = Heard(fleet.sentinels), agent_of(fleet, old)
    with writing(fleet, "redis", WRITERS) as application:
        wait_for_writes(application, old)
        new = fleet.failover()
        until(lambda: old.follows(new), within=30, what="the old master follows the new one")
        wait_for_writes(application, new)
        application.stop()
        lost = sum(len(writes.lost) for writes in application.writes(new).values())
    assert heard.times(CONVERTED) > 0
    assert {node.name: calls(node, "pause") for node in fleet.nodes} == {node.name: 0 for node in fleet.nodes}
    wait_for_word(beside, "without authority; what came after the promotion is lost")
    counted = status(beside)["counters"]["stray_writes"]
    assert f"was given {counted} changes of keys to write" in beside.log()
    assert lost / 2 < counted < lost * 2, "apart from what was written around the first look and the last one"


def knock(node: RedisNode) -> int:
    """Write to a node from its start on until it says that it is a replica; how many writes it has taken."""
    taken = 0

    def refused() -> bool:
        nonlocal taken
        try:
            taken = node.ask("RPUSH", "stray", "write")
        except redis.ReadOnlyError:
            return True
        return False

    until(refused, within=30, what=f"{node.name} refuses to be written to")
    return taken


def keys(fleet: Fleet) -> list[int]:
    """How many each node has."""
    return [int(node.ask("DBSIZE")) for node in fleet.nodes]


def status(agent: AgentNode) -> dict[str, Any]:
    """What ``status --json`` prints of the agent's one node."""
    command = [sys.executable, "-m", "consul_redis_agent", "status", "--json", "--socket", str(agent.socket)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30 * SCALE)
    (node,) = json.loads(done.stdout)["nodes"]
    return dict(node)
