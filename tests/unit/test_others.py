"""Two agents for one Redis node: the second leaves everything alone; and the lock by which those of one host see each other."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from consul_redis_agent.decide.decision import Reason, Verdict
from consul_redis_agent.decide.facts import Entry, Facts
from consul_redis_agent.decide.rules import decide
from consul_redis_agent.watch.lock import AgentLock
from tests.doubles.facts import NOW, POLICY, facts, holds, judge, master, outcome, replica, sentinels, settled

SECOND = (Verdict.KEEP, Reason.OTHER_AGENT)
NAMED = sentinels("a", "a", "a")


def elsewhere(entry: Entry, *, node: str = "host-x", agent: str = "x") -> Entry:
    """The same entry as another agent keeps it, at another Consul agent."""
    return replace(entry, node=node, agent=agent, run_id="a", created=1)


def knowing(*entries: Entry, **changes: object) -> Facts:
    """What an agent knows that came second."""
    known = replace(
        facts(master(), NAMED, *entries), agent="me", elsewhere=tuple(e for e in entries if e.node != "host-a")
    )
    return replace(known, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("node", [master(), replica(), master(loading=True)])
def test_who_sees_another_agent_on_its_host_changes_nothing(node: object) -> None:
    """Whatever the node says: what Consul holds is the other one's."""
    known = knowing(holds("a", 5), node=node, other_agent="process 7 of this host")
    decision = judge(known)
    assert outcome(decision) == SECOND
    assert decision.sentence.startswith("Process 7 of this host looks after this node as well")


def test_an_entry_for_the_same_life_of_the_node_at_another_consul_agent_is_another_agents() -> None:
    """First come stays; where both stand, the one that was registered first."""
    theirs = elsewhere(holds("a", 5))
    assert outcome(judge(knowing(theirs))) == SECOND
    assert outcome(judge(knowing(theirs, replace(holds("a", 5), agent="me", created=2)))) == SECOND
    assert outcome(judge(knowing(theirs, replace(holds("a", 5), agent="me", created=0)))) == (
        Verdict.MASTER,
        Reason.NAMED,
    )


def test_what_is_gone_or_the_own_earlier_runs_stands_in_nobodys_way() -> None:
    """A critical entry, one of a dead host, one for an earlier life of the node, one that this very agent once wrote."""
    theirs = elsewhere(holds("a", 5))
    for harmless in (
        replace(theirs, passing=False),
        replace(theirs, node_alive=False),
        replace(theirs, run_id="a-before"),
        replace(theirs, agent="me"),
    ):
        assert outcome(judge(knowing(harmless))) != SECOND


def test_an_entry_that_another_host_keeps_under_the_same_id_is_left_until_nobody_beats_it() -> None:
    """Two hosts share a Consul agent, and reach one Redis: its TTL tells whether the other agent is alive."""
    own = replace(holds("a", 5), agent="x")
    known = knowing(own, shared=True)
    decision, memory = decide(known, settled(known), POLICY)
    assert (outcome(decision), memory.beaten_since) == (SECOND, NOW)
    assert "may still beat" in decision.sentence
    later = replace(known, now=NOW + POLICY.ttl + 1, node=master(at=NOW + POLICY.ttl + 1))
    decision, memory = decide(later, memory, POLICY)
    assert outcome(decision) == SECOND
    assert "which beats" in decision.sentence
    over = replace(own, passing=False)
    gone = replace(later, catalog=replace(known.catalog, entries=(over,)))  # type: ignore[type-var]
    assert decide(gone, memory, POLICY)[0].reason is not Reason.OTHER_AGENT


def test_where_nobody_else_can_use_the_consul_agent_the_lock_tells_all() -> None:
    """An entry that an earlier agent of this host left is adopted at once."""
    assert outcome(judge(knowing(replace(holds("a", 5), agent="x")))) == (Verdict.MASTER, Reason.NAMED)


@pytest.fixture
def run_id() -> str:
    """A node that no other test has."""
    return os.urandom(20).hex()


def test_one_process_has_the_lock_and_the_other_learns_whose_it_is(run_id: str) -> None:
    """For one node and one service name; the same node may be published under another name as well."""
    first, second, third = AgentLock(), AgentLock(), AgentLock()
    assert first.holder(run_id, "redis") == ""
    assert first.holder(run_id, "redis") == "", "it has it"
    for _ in range(100):
        assert second.holder(run_id, "redis") == f"process {os.getpid()} of this host"
    assert third.holder(run_id, "cache") == ""
    first.release()
    assert second.holder(run_id, "redis") == ""
    for lock in (second, third):
        lock.release()


def test_a_lock_moves_on_with_the_node(run_id: str) -> None:
    """Each life of a Redis node has an id of its own; the lock of the last one is free then."""
    first, second = AgentLock(), AgentLock()
    assert first.holder(run_id, "redis") == first.holder(f"{run_id}2", "redis") == ""
    assert second.holder(run_id, "redis") == ""
    for lock in (first, second):
        lock.release()


def test_the_end_of_a_process_frees_its_lock(run_id: str) -> None:
    """However it ends: nothing is left on disk that anybody would have to clean up."""
    code = (
        "import sys; from consul_redis_agent.watch.lock import AgentLock; "
        f"print(AgentLock().holder({run_id!r}, 'redis') == '' and 'taken', flush=True); sys.stdin.read()"
    )
    code = code.replace("AgentLock().holder", "(lock := AgentLock()).holder")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        lock = AgentLock()
        assert lock.holder(run_id, "redis") == f"process {other.pid} of this host"
        other.kill()
        other.wait()
    assert lock.holder(run_id, "redis") == ""
    lock.release()


def test_elsewhere_there_is_no_such_lock(run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Abstract sockets are Linux'; the entries in Consul still tell of agents on other hosts."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert AgentLock().holder(run_id, "redis") == AgentLock().holder(run_id, "redis") == ""


def test_a_lock_whose_queue_is_full_is_held_all_the_same(run_id: str) -> None:
    """Nobody is accepted; so the last who ask learn no more than that there is somebody."""
    first = AgentLock()
    assert first.holder(run_id, "redis") == ""
    others = [AgentLock().holder(run_id, "redis") for _ in range(200)]
    assert others[0] == f"process {os.getpid()} of this host"
    assert others[-1] == "another process of this host"
    first.release()
