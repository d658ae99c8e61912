"""The faults that are about fencing, and about agents that ask a Sentinel for a failover; in the list with all others."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from consul_redis_agent.publish.fence import PAUSE_WRITES
from tests.fleet import RedisNode

from .arena import FAILOVER_TIMEOUT, Arena
from .authority import Loss
from .faults import ASKED, WAITS, fault, maintenance, paused, reload, until_all_follow
from .judge import Empty, Promise

KEYS = [f"key:{number}" for number in range(1000)]
"""What a master has that must not be lost."""
LATER = 'delay = "2s"'
"""In the agents' configuration: less than half of down-after, and more than any restart here takes."""
FOLLOWS = 3.0
"""Seconds until a majority of the Sentinels has followed their leader."""
REOPENS = PAUSE_WRITES + 0.5
"""Seconds after which a node takes writes again if nobody does anything."""


@contextmanager
def configured(arena: Arena, change: Callable[[str], str]) -> Iterator[None]:
    """Every agent has another configuration in the block."""
    before = {agent: agent.config_path.read_text() for agent in arena.fleet.agents}
    for texts in ({agent: change(text) for agent, text in before.items()}, before):
        reload(arena, texts)
        arena.watch(1, "the name goes")
        arena.wait_for_agents()
        if texts is not before:
            yield


@contextmanager
def later(arena: Arena) -> Iterator[None]:
    """The agents ask about a dead master only after a while in the block."""
    with configured(arena, lambda text: text.replace('delay = "0s"', LATER)):
        yield


@contextmanager
def saving(arena: Arena) -> Iterator[None]:
    """Every Redis node that is stopped saves its data in the block, and has them again when it starts."""
    for node in arena.nodes:
        _save(node, "3600 1")
    yield
    for node in arena.nodes:
        _save(node, "")
        (node.folder / f"{node.name}.rdb").unlink(missing_ok=True)


def _save(node: RedisNode, when: str) -> None:
    node.ask("CONFIG", "SET", "save", when)
    node.ask("CONFIG", "REWRITE")


@contextmanager
def data(arena: Arena) -> Iterator[None]:
    """Every node has the keys at the beginning of the block, and must have them at its end."""
    arena.master.ask("MSET", *(word for key in KEYS for word in (key, "there")))
    for node in arena.nodes:
        arena.until(lambda: _keys(node) == len(KEYS), f"{node.name} has the keys")  # noqa: B023 - called at once
    yield
    found = {node.name: _keys(node) for node in arena.nodes}
    assert set(found.values()) == {len(KEYS)}, f"of {len(KEYS)} keys there are {found}"
    arena.master.ask("DEL", *KEYS)


def _keys(node: RedisNode) -> int:
    return int(node.ask("EXISTS", *KEYS))


def failovers(arena: Arena, since: float) -> int:
    """How many failovers Sentinels have begun since a moment, asked or not."""
    return len(arena.events(["+try-failover"], since=since))


def nothing_begins(arena: Arena, since: float) -> None:
    """Watch that no failover begins."""
    arena.watch(3, "a Sentinel is asked")
    assert not failovers(arena, since), "a failover has begun"


def _holds_writes(node: RedisNode) -> bool:
    """Whether a write of the application waits."""
    return bool(re.search(r"flags=\w*b\w* .*cmd=rpush", node.ask("CLIENT", "LIST")))


# --- Fence ------------------------------------------------------------------------------------------------------------


@fault(fenced=True, ci_fenced=True, moves=False, empty=Empty.NEVER, promise=Promise(lost=0, gap=WAITS))
def agent_killed_with_the_fence_closed(arena: Arena) -> None:
    """The failover is given up, so that nobody else opens it. The agent is started again soon, as by systemd."""
    old, since = arena.master, arena.witness.up_to
    arena.ask(arena.random.choice(arena.sentinels), "SENTINEL", "FAILOVER", "mymaster")
    arena.until(lambda: arena.selection(since), "a node is selected")
    found = arena.selection(since)
    assert found is not None
    chosen = arena.node_at(found[1].node)
    with paused(arena, chosen):
        arena.until(lambda: _holds_writes(old), "the writes wait", within=PAUSE_WRITES)
        closed = time.monotonic()
        arena.kill(arena.agent(old))
        arena.until(lambda: not _holds_writes(old), "the writes go on", within=REOPENS)
        arena.marks.append((time.monotonic(), f"the writes have waited for {time.monotonic() - closed:.3f} s"))
        arena.start(arena.agent(old))
        arena.until(lambda: arena.events(["-failover-abort"], since=since), "the leader gives up")
    until_all_follow(arena)


@fault(fenced=True, late={Loss.PROMOTION: FOLLOWS}, writes=True, promise=Promise(lost=0))
def old_host_switched_off_as_soon_as_dns_has_moved_and_nothing_is_early(arena: Arena) -> None:
    """DNS moves when a majority of the Sentinels has followed, and they promote nobody else."""
    with configured(arena, lambda text: f"[sentinel]\nearly = false\n{text}"):
        maintenance(arena, arena.switch_off)


# --- Agents that ask --------------------------------------------------------------------------------------------------


@fault(fenced=True, promise=Promise(lost=ASKED))
def master_without_persistence_killed_and_back_empty(arena: Arena) -> None:
    """Its replicas must not copy its emptiness. It is back before anybody may ask because it is gone."""
    with later(arena), data(arena):
        _back_at_once(arena)


@fault(fenced=True, promise=Promise(lost=ASKED))
def master_without_persistence_killed_and_back_empty_during_the_failover(arena: Arena) -> None:
    """A Sentinel was asked because it is gone, and it is back before another node is promoted."""
    with data(arena):
        _back_at_once(arena)


def _back_at_once(arena: Arena) -> None:
    old = arena.master
    killed = arena.kill(old)
    arena.let_pass(0.1, since=killed)
    arena.start(old)
    arena.wait_for_failover(old)
    until_all_follow(arena)


@fault(fenced=True, moves=False)
def master_restarted_within_the_delay(arena: Arena) -> None:
    with later(arena), saving(arena), data(arena):
        since = arena.witness.up_to
        old = arena.master
        arena.stop(old)
        arena.start(old)
        nothing_begins(arena, since)
        until_all_follow(arena)


@fault(fenced=True, moves=None, promise=Promise(lost=ASKED))
def rolling_restart_of_redis_within_a_failover_timeout(arena: Arena) -> None:
    """The first master's end is a reason to ask; the end of the next one is none, so soon after that."""
    with saving(arena), data(arena):
        since = arena.witness.up_to
        order = [arena.master, *arena.replicas()]
        for node in order:
            arena.stop(node)
            arena.start(node)
        arena.watch(FAILOVER_TIMEOUT / 1000, "a Sentinel is asked once more")
        begun = failovers(arena, since)
        assert begun <= 1, f"{begun} failovers have begun"
        until_all_follow(arena)


@fault(fenced=True, moves=False, empty=Empty.ALLOWED)
def master_stopped_in_maintenance_and_back_empty(arena: Arena) -> None:
    """As for a restore: nobody asks because it is gone, nor because it has no data."""
    since, old = arena.witness.up_to, arena.master
    mode = "/v1/agent/maintenance?enable={}&reason=restore"
    with arena.doing(f"maintenance of the host of {old.name}"):
        arena.consul(old).put(mode.format("true"))
    arena.until(lambda: arena.witness.answers == frozenset(), "DNS follows the maintenance")
    arena.stop(old)
    nothing_begins(arena, since)
    arena.start(old)
    nothing_begins(arena, since)
    with arena.doing("the maintenance is over"):
        arena.consul(old).put(mode.format("false"))
    until_all_follow(arena)
