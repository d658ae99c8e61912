"""Every fault as data: its name, what is done, what must be seen, and whether CI has time for it.

What is done is a function on the arena that also heals it again; the judgement over the whole history is in
``judge.py`` and the same for all. A function waits for events outside, never for a guessed time; ``watch`` is for what
must not happen.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from consul_redis_agent.commands import status
from consul_redis_agent.consul.form import EPOCH
from consul_redis_agent.decide.group import SETTLED
from consul_redis_agent.publish.fence import PAUSE_WRITES
from tests.fleet import AgentNode, ConsulNode, Process, RedisNode, SentinelNode
from tests.fleet.former import former_version
from tests.fleet.hosts import Host

from .arena import HASTE, USUAL, Arena, made_to_follow, set_periods, set_priority
from .authority import LIMIT, SILENCE, Loss
from .guests import WallClock, agent_for, consul_client, second_group, with_hosts_file
from .judge import FALL, Empty, Expectation, Promise

TTL = 10.0
"""Seconds of ``service.ttl``, at its default."""
GOSSIP = 12.0
"""Seconds until Consul's servers hold a silent host for dead: 3 to 10, and they may ask again."""
HUNG = 3.5
"""Seconds until an agent gives up a node that does not answer: two looks of a second each, and the pauses between."""
SWAP = 0.3
"""Seconds until both agents have seen a swap that was announced, and DNS has followed, on a machine that does other work."""
POLL = 1.2
"""Seconds until an agent sees a change of role that closes no connection: its poll, and an answer."""
ASKED = 0.5
"""Seconds for which an application may wait where a Sentinel is asked for a failover as soon as there is reason for it."""
RETURNS = 0.1
"""Seconds of writes that may be lost where a master dies and comes back: 50 ms on its return, and what it had not replicated."""
WAITS = PAUSE_WRITES + 0.5
"""Seconds for which an application may wait where a failover comes to nothing."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    name: str
    does: Callable[[Arena], None]
    expects: Expectation = field(default_factory=Expectation)
    ci: bool = False
    """CI does it, in a fleet whose agents do not fence."""
    ci_fenced: bool = False
    """CI does it in a fleet whose agents fence."""
    writes: bool = False
    """It is judged what an application that asks DNS for each write loses; counted is what all of them lose, in every fault."""
    not_in: frozenset[str] = frozenset()
    """Service modes in which it is not done."""
    fenced: bool | None = None
    """Whether it is for fleets whose agents fence, or for those whose agents do not; None: for both."""
    promise: Promise | None = None
    """What is promised to the application where agents fence."""
    coordinated: bool = False
    """It is done only to servers whose Sentinel has ``FAILOVER … COORDINATED``."""
    gossip_first: bool = False
    """Consul's gossip may take the host out of DNS sooner than Sentinel acts, where down-after is as long as in fenced fleets."""

    def expectation(self, *, fenced: bool) -> Expectation:
        """What must be seen in a fleet."""
        empty = Empty.ALLOWED if fenced and self.gossip_first else self.expects.empty
        promise = self.promise if fenced else None
        return replace(self.expects, empty=empty, promise=promise, excuses=self.writes)


FAULTS: list[Fault] = []


def fault(
    *,
    moves: bool | None = True,
    empty: Empty = Empty.HEADLESS,
    late: dict[Loss, float] | None = None,
    **options: Any,
) -> Callable[[Callable[[Arena], None]], Callable[[Arena], None]]:
    """Enter a function into the list, under its own name, with what must be seen; ``options`` as in :class:`Fault`."""

    def enter(does: Callable[[Arena], None]) -> Callable[[Arena], None]:
        expects = Expectation(moves, empty, late or {})
        FAULTS.append(Fault(does.__name__.replace("_", " "), does, expects, **options))
        return does

    return enter


# --- Harm that is healed when the block ends --------------------------------------------------------------------------


@contextmanager
def killed(arena: Arena, process: Process) -> Iterator[None]:
    """The process is dead in the block."""
    arena.kill(process)
    yield
    arena.start(process)


@contextmanager
def paused(arena: Arena, process: Process) -> Iterator[None]:
    """The process is stopped in the block, by SIGSTOP."""
    arena.pause(process)
    yield
    arena.resume(process)


@contextmanager
def lost(arena: Arena, host: Host) -> Iterator[None]:
    """The host has no power in the block."""
    arena.lose(host)
    yield
    arena.bring_back(host)


@contextmanager
def cut_off(arena: Arena, process: Process, *, but: tuple[Process, ...] = ()) -> Iterator[None]:
    """The host of the process reaches nobody in the block, but for the hosts of ``but``."""
    arena.isolate(process, but=but)
    yield
    arena.heal()


def look_on(arena: Arena) -> None:
    """Watch while Sentinel still leaves the old master to say that it is one; CI has no time for all of the 10 s."""
    arena.wait_until_well()
    arena.watch(3, "the old name comes back")


def until_old_follows(arena: Arena, old: RedisNode) -> None:
    """Wait until Sentinel has made the old master a replica, and look on a little longer."""
    arena.wait_until_well()
    arena.wait_until_follows(old)
    arena.watch(1, "nobody comes back")


# --- Redis ------------------------------------------------------------------------------------------------------------


@fault(ci=True, ci_fenced=True, writes=True, promise=Promise(lost=RETURNS, gap=ASKED))
def master_killed_and_back(arena: Arena) -> None:
    old = arena.master
    with killed(arena, old):
        arena.wait_for_failover(old)
    until_old_follows(arena, old)


@fault(writes=True, promise=Promise(lost=RETURNS, gap=ASKED))
def master_killed_for_good(arena: Arena) -> None:
    old = arena.master
    arena.kill(old)
    arena.wait_for_failover(old)
    arena.watch(TTL + 2, "the dead name comes back, or the new one goes")


@fault(ci=True, empty=Empty.HEADLESS, promise=Promise())
def master_paused_and_resumed_after_the_failover(arena: Arena) -> None:
    old = arena.master
    with paused(arena, old):
        arena.wait_for_failover(old)
        arena.watch(1, "the old name comes back")
    look_on(arena)


@fault(empty=Empty.ALLOWED)
def master_back_between_the_promotion_and_the_switch(arena: Arena) -> None:
    """Most Sentinels still name the old master then, and the new one's agent is stopped and cannot object."""
    old = arena.master
    agents = [arena.agent(node) for node in arena.replicas()]
    arena.kill(old)
    for agent in agents:
        arena.pause(agent)
    arena.wait_for_failover(old)
    arena.start(old)
    arena.watch(1.2, "the old one is named again")
    for agent in agents:
        arena.resume(agent)
    until_old_follows(arena, old)


@fault(moves=False, fenced=False)
def master_restarted_quicker_than_down_after(arena: Arena) -> None:
    with killed(arena, arena.master):
        pass
    arena.watch(arena.noticed, "a failover")


@fault(ci=True, moves=False, empty=Empty.NEVER)
def every_connection_of_the_master_closed(arena: Arena) -> None:
    for _ in range(5):
        arena.ask(arena.master, "CLIENT", "KILL", "TYPE", "normal")
        arena.watch(0.3, "one lost look withdraws the name")


@fault(moves=False, empty=Empty.NEVER)
def all_replicas_dead(arena: Arena) -> None:
    one, other = arena.replicas()
    with killed(arena, one), killed(arena, other):
        arena.watch(arena.noticed, "the lonely master is withdrawn")


@fault(ci=True, moves=False, empty=Empty.NEVER)
def replicaof_no_one_by_hand_on_a_replica(arena: Arena) -> None:
    replica = arena.random.choice(arena.replicas())
    arena.ask(replica, "REPLICAOF", "NO", "ONE")
    arena.wait_until_follows(replica)


@fault(moves=None, empty=Empty.ALLOWED, late={Loss.DEMOTION: POLL})  # Sentinel moves it once more, some 25 s later
def failover_command(arena: Arena) -> None:
    old = arena.master
    arena.ask(old, "FAILOVER")
    new = arena.wait_for_failover(old)
    arena.until(lambda: arena.names(new), "the new one is named", within=5)
    arena.watch(30, "two names, also when Sentinel notices and acts")


# --- Sentinel ---------------------------------------------------------------------------------------------------------


def planned(arena: Arena, *, not_by: SentinelNode | None = None) -> RedisNode:
    """SENTINEL FAILOVER at any Sentinel that runs; returns the new master."""
    old = arena.master
    able = [sentinel for sentinel in arena.sentinels if sentinel.alive and sentinel is not not_by]
    arena.ask(arena.random.choice(able), "SENTINEL", "FAILOVER", "mymaster")
    return arena.wait_for_failover(old)


@fault(ci=True, ci_fenced=True, empty=Empty.NEVER, writes=True, promise=Promise(lost=0, gap=ASKED, copies=0))
def planned_failover(arena: Arena) -> None:
    old = arena.master
    planned(arena)
    until_old_follows(arena, old)


@fault(empty=Empty.NEVER)
def ten_failovers_in_a_row(arena: Arena) -> None:
    for _ in range(10):
        old = arena.master
        since = arena.witness.up_to
        new = planned(arena)
        arena.until(partial(arena.names, new), "the new one is named", within=5)
        arena.until(partial(_makes_replica, arena, old, new), "the old one follows")
        arena.fleet.wait_for_replicas()
        arena.fleet.settle(within=60)
        changes = [seen.answers for seen in arena.witness.history if seen.at > since]
        assert changes == [frozenset({new.announced})], f"one step each, not {changes}"


@fault(coordinated=True, empty=Empty.NEVER, late={Loss.DEMOTION: SWAP})
def ten_coordinated_failovers_in_a_row(arena: Arena) -> None:
    """Valkey 9.1's Sentinels sometimes hold the new master for down a second later, and fail over once more by themselves."""
    for _ in range(10):
        old, since = arena.master, arena.witness.up_to
        arena.ask(arena.random.choice(arena.sentinels), "SENTINEL", "FAILOVER", "mymaster", "COORDINATED")
        new = arena.wait_for_failover(old)
        arena.until(partial(arena.names, new), "the new one is named", within=5)
        arena.fleet.wait_for_replicas()
        arena.fleet.settle(within=60)
        changes = [seen.answers or frozenset() for seen in arena.witness.history if seen.at > since]
        assert changes[0] == {new.announced}, f"the new one in one step, not {changes}"
        assert all(len(answers) == 1 for answers in changes), f"one at a time, not {changes}"


def _makes_replica(arena: Arena, old: RedisNode, new: RedisNode) -> bool:
    """REPLICAOF by hand, as soon as all Sentinels name the new one: Sentinel does it after 10 s."""
    if arena.fleet.master() is not new:
        return False
    old.ask("REPLICAOF", *map(str, new.announced))
    return True


@fault(ci=True, moves=False, empty=Empty.NEVER)
def majority_of_sentinels_down(arena: Arena) -> None:
    one, other, _ = arena.sentinels
    with killed(arena, one), killed(arena, other):
        arena.watch(8, "the confirmed claim is withdrawn")


@fault(moves=False, empty=Empty.NEVER)
def all_sentinels_down_for_longer_than_the_ttl(arena: Arena) -> None:
    one, two, three = arena.sentinels
    with killed(arena, one), killed(arena, two), killed(arena, three):
        arena.watch(TTL + 5, "the confirmed claim is withdrawn")


@fault()
def majority_of_sentinels_down_and_the_master_dies(arena: Arena) -> None:
    old = arena.master
    one, other, _ = arena.sentinels
    with killed(arena, one), killed(arena, other):
        arena.kill(old)
        arena.watch(arena.noticed, "somebody is named without a majority")
    arena.wait_for_failover(old)
    arena.start(old)
    until_old_follows(arena, old)


@fault()
def leader_crashes_after_its_election(arena: Arena) -> None:
    _leader_crashes(arena, "crash-after-election")


@fault()
def leader_crashes_after_the_promotion(arena: Arena) -> None:
    _leader_crashes(arena, "crash-after-promotion")


def _leader_crashes(arena: Arena, when: str) -> None:
    old = arena.master
    for sentinel in arena.sentinels:
        arena.ask(sentinel, "SENTINEL", "SIMULATE-FAILURE", when)
    arena.kill(old)
    arena.until(lambda: not all(s.alive for s in arena.sentinels), "the leader crashes")
    for sentinel in arena.sentinels:
        if sentinel.alive:
            arena.ask(sentinel, "SENTINEL", "SIMULATE-FAILURE", "help")  # clears the flag
    arena.wait_for_failover(old, within=90)
    arena.wait_for_agreement()
    for sentinel in arena.sentinels:
        if not sentinel.alive:
            arena.start(sentinel)
    arena.start(old)
    until_old_follows(arena, old)


@fault(ci=True)
def stale_sentinel_rejoins(arena: Arena) -> None:
    stale = arena.random.choice([arena.sentinel(node) for node in arena.replicas()])
    with paused(arena, stale):
        new = planned(arena, not_by=stale)
        arena.until(lambda: arena.names(new), "the new one is named", within=5)
    look_on(arena)


@fault(empty=Empty.NEVER)
def stopped_sentinel_starts_with_its_old_file(arena: Arena) -> None:
    old = arena.master
    with killed(arena, arena.sentinel(old)):
        planned(arena)
    until_old_follows(arena, old)


@fault(moves=False, empty=Empty.NEVER)
def every_sentinel_in_tilt(arena: Arena) -> None:
    for sentinel in arena.sentinels:
        arena.pause(sentinel)
    arena.watch(3, "the confirmed claim is withdrawn")
    for sentinel in arena.sentinels:
        arena.resume(sentinel)
    arena.watch(5, "TILT withdraws the confirmed claim")


@fault(moves=False, empty=Empty.NEVER)
def sentinel_reset(arena: Arena) -> None:
    for sentinel in arena.sentinels:
        arena.ask(sentinel, "SENTINEL", "RESET", "mymaster")
        arena.watch(1, "the name goes")
    arena.watch(arena.noticed, "the name goes")


@fault(moves=False, empty=Empty.NEVER)
def sentinel_remove_and_monitor(arena: Arena) -> None:
    master = arena.master
    for sentinel in arena.sentinels:
        arena.ask(sentinel, "SENTINEL", "REMOVE", "mymaster")
    arena.watch(arena.noticed, "the name goes")
    for sentinel in arena.sentinels:
        arena.ask(sentinel, "SENTINEL", "MONITOR", "mymaster", *map(str, master.announced), "2")
        for key, value in arena.sentinel_settings.items():
            arena.ask(sentinel, "SENTINEL", "SET", "mymaster", key, value)
    arena.watch(arena.noticed, "the name goes")


# --- Early publication: the elected leader's word, before a majority's ------------------------------------------------

CHANCE = 2.0
"""Seconds after the promotion in which a leader is lost at random: the majority follows after some 0.9."""
FOLLOWED = SILENCE + FALL + 1.0
"""Seconds in which all that follows from the loss of a leader is to be seen."""


@contextmanager
def setting(arena: Arena, sentinels: list[SentinelNode], key: str, value: str) -> Iterator[None]:
    """These Sentinels have another setting in the block."""
    for sentinel in sentinels:
        arena.ask(sentinel, "SENTINEL", "SET", "mymaster", key, value)
    yield
    for sentinel in sentinels:
        arena.until(sentinel.is_ready, f"{sentinel.name} answers")
        arena.ask(sentinel, "SENTINEL", "SET", "mymaster", key, arena.sentinel_settings[key])


@contextmanager
def elected(arena: Arena, leader: SentinelNode) -> Iterator[None]:
    """A failover that begins in the block is led by this Sentinel: it notices first, and asks nobody whether it is so."""
    others = [sentinel for sentinel in arena.sentinels if sentinel is not leader]
    with (
        setting(arena, [leader], "quorum", "1"),
        setting(arena, others, "down-after-milliseconds", str(arena.down_after + 2000)),
    ):
        yield


@contextmanager
def hurried(arena: Arena) -> Iterator[None]:
    """The Sentinels ask for INFO each second in the block, not every ten, to have something over that is not judged."""
    for sentinel in arena.sentinels:
        set_periods(sentinel, HASTE)
    yield
    for sentinel in arena.sentinels:
        set_periods(sentinel, USUAL)


@contextmanager
def passed_over(arena: Arena, node: RedisNode) -> Iterator[None]:
    """No Sentinel promotes this node in the block."""
    set_priority(node, "0")
    with hurried(arena):
        arena.until(lambda: all(_priority(s, node) == "0" for s in arena.sentinels), "the Sentinels know the priority")
    yield
    set_priority(node, "100")


def _priority(sentinel: SentinelNode, node: RedisNode) -> str:
    return next(r["slave-priority"] for r in sentinel.replicas() if (r["ip"], int(r["port"])) == node.announced)


def until_all_follow(arena: Arena) -> None:
    """Wait until the Sentinels agree and every node follows the one that they name, and look on a little longer."""
    arena.wait_for_agreement()
    arena.wait_until_well()
    for node in arena.nodes:
        arena.wait_until_follows(node)
    arena.watch(1, "nobody comes back")


@fault(ci=True, writes=True, ci_fenced=True, promise=Promise(lost=0.5))
def old_host_switched_off_in_order_as_soon_as_dns_has_moved(arena: Arena) -> None:
    """As a maintenance script does it. The leader's end is heard of; nobody else has heard of the promotion."""
    maintenance(arena, arena.switch_off)


@fault(writes=True)
def old_host_loses_its_power_as_soon_as_dns_has_moved(arena: Arena) -> None:
    """The same, and the leader falls silent."""
    maintenance(arena, arena.lose)


def maintenance(arena: Arena, end: Callable[[Host], None]) -> None:
    """A planned failover at the old master's own Sentinel, and the end of its host 50 ms after DNS has moved."""
    old = arena.master
    with setting(arena, arena.sentinels, "down-after-milliseconds", "5000"):
        arena.ask(arena.sentinel(old), "SENTINEL", "FAILOVER", "mymaster")
        arena.until(lambda: arena.witness.answers and not arena.names(old), "DNS names the new master")
        arena.let_pass(0.05, since=arena.witness.history[-1].at)
        end(old.host)
        arena.wait_for_agreement()
        arena.bring_back(old.host)
    until_old_follows(arena, old)


@fault(ci=True, writes=True, promise=Promise(lost=None, gap=WAITS))
def leader_killed_ten_milliseconds_after_the_promotion(arena: Arena) -> None:
    """All else lives, and most Sentinels name the old master: DNS goes back to it."""
    since = arena.witness.up_to
    leader = arena.random.choice(arena.sentinels)
    arena.ask(leader, "SENTINEL", "FAILOVER", "mymaster")
    *_, promoted = arena.wait_for_promotion(since)
    arena.let_pass(0.01, since=promoted)
    with killed(arena, leader):
        arena.watch(FOLLOWED, "DNS does not go back")
    until_all_follow(arena)


Harm = Callable[[Arena, SentinelNode], AbstractContextManager[None]]


@fault(writes=True, promise=Promise(lost=None, gap=WAITS))
def leader_killed_soon_after_a_planned_promotion(arena: Arena) -> None:
    _leader_lost_in_a_planned_failover(arena, killed)


@fault(writes=True)
def leader_frozen_soon_after_a_planned_promotion(arena: Arena) -> None:
    _leader_lost_in_a_planned_failover(arena, paused)


@fault(writes=True)
def leader_cut_off_soon_after_a_planned_promotion(arena: Arena) -> None:
    _leader_lost_in_a_planned_failover(arena, cut_off)


@fault(writes=True, fenced=False)
def leader_killed_soon_after_the_promotion_for_a_dead_master(arena: Arena) -> None:
    _leader_lost_after_a_death(arena, killed)


@fault(writes=True, fenced=False)
def leader_frozen_soon_after_the_promotion_for_a_dead_master(arena: Arena) -> None:
    _leader_lost_after_a_death(arena, paused)


@fault(writes=True, fenced=False)
def leader_cut_off_soon_after_the_promotion_for_a_dead_master(arena: Arena) -> None:
    _leader_lost_after_a_death(arena, cut_off)


@fault(writes=True)
def nobody_follows_a_promotion_in_time(arena: Arena) -> None:
    """The leader lives, but alone: what it says is worth five seconds. The others follow when they are back."""
    since = arena.witness.up_to
    leader, one, other = arena.random.sample(arena.sentinels, 3)
    arena.ask(leader, "SENTINEL", "FAILOVER", "mymaster")
    arena.wait_for_promotion(since)
    with killed(arena, one), killed(arena, other):
        arena.watch(LIMIT + FALL + 1, "the promoted name stays")
    until_all_follow(arena)


def _leader_lost_in_a_planned_failover(arena: Arena, harm: Harm) -> None:
    since = arena.witness.up_to
    with _leader(arena, harm) as leader:
        arena.ask(leader, "SENTINEL", "FAILOVER", "mymaster")
        with _soon_after_the_promotion(arena, since, harm, leader):
            arena.watch(FOLLOWED, "DNS does not go back")
        until_all_follow(arena)


def _leader_lost_after_a_death(arena: Arena, harm: Harm) -> None:
    """The others try again after twice the failover-timeout."""
    old, since = arena.master, arena.witness.up_to
    with _leader(arena, harm) as leader:
        with elected(arena, leader):
            arena.kill(old)
            arena.until(lambda: arena.selection(since), "the leader selects a node")
        with _soon_after_the_promotion(arena, since, harm, leader):
            arena.watch(FOLLOWED, "the promoted name stays")
            arena.until(lambda: _agreed_without(arena, leader), "the other Sentinels agree", within=60)
        arena.start(old)
        until_all_follow(arena)


@contextmanager
def _leader(arena: Arena, harm: Harm) -> Iterator[SentinelNode]:
    """Who is to lead. One that will be cut off stands on a host whose node is neither the old nor the new master."""
    if harm is not cut_off:
        yield arena.random.choice(arena.sentinels)
        return
    spare = arena.random.choice(arena.replicas())
    with passed_over(arena, spare):
        yield arena.sentinel(spare)


@contextmanager
def _soon_after_the_promotion(arena: Arena, since: float, harm: Harm, leader: SentinelNode) -> Iterator[None]:
    by, _, promoted = arena.wait_for_promotion(since)
    assert by is leader, f"{by.name} leads, not {leader.name}"
    arena.let_pass(arena.random.choice((0.01, arena.random.uniform(0, CHANCE))), since=promoted)
    with harm(arena, leader):
        yield


def _agreed_without(arena: Arena, leader: SentinelNode) -> bool:
    return all(s.names() == arena.master.announced for s in arena.sentinels if s is not leader)


@fault(moves=False, empty=Empty.NEVER, writes=True, promise=Promise(lost=0, gap=WAITS))
def failover_given_up_after_the_selection(arena: Arena) -> None:
    """The chosen node is stopped before it hears of its promotion, and turns master when nobody wants it any more."""
    since = arena.witness.up_to
    arena.ask(arena.random.choice(arena.sentinels), "SENTINEL", "FAILOVER", "mymaster")
    arena.until(lambda: arena.selection(since), "a node is selected")
    if found := arena.selection(since):
        chosen = arena.node_at(found[1].node)
        with paused(arena, chosen):
            arena.until(lambda: arena.events(["-failover-abort"], since=since), "the leader gives up")
        arena.until(lambda: chosen.role() == "master", "the chosen node has heard of its promotion")
        arena.watch(2, "it is named")
    until_all_follow(arena)


@fault(writes=True)
def failover_given_up_after_the_promotion(arena: Arena) -> None:
    """The promoted node is stopped before its leader sees that it has turned master."""
    since = arena.witness.up_to
    leader = arena.random.choice(arena.sentinels)
    with setting(arena, [leader], "failover-timeout", "3000"):  # sooner than the early publication is over by itself
        arena.ask(leader, "SENTINEL", "FAILOVER", "mymaster")
        _, new, _ = arena.wait_for_promotion(since)
        arena.until(lambda: arena.names(new), "the promoted node is named")
        with paused(arena, new):
            arena.until(lambda: arena.events(["-failover-abort", "+switch-master"], since=since), "the leader gives up")
            arena.watch(FALL, "the promoted name stays")
        until_all_follow(arena)


# --- Sentinels that are replaced, moved, wiped or reset ---------------------------------------------------------------


@fault()
def sentinels_replaced_one_by_one(arena: Arena) -> None:
    """Each host gets a new one with a new id at another port, the old one goes, and the others forget it by RESET."""
    old = arena.master
    for node in arena.nodes:
        former = arena.sentinel(node)
        arena.add_sentinel(node, port=_free_port(arena))
        arena.wait_for_sentinels()
        arena.remove_sentinel(former)
        for sentinel in arena.sentinels:
            arena.ask(sentinel, "SENTINEL", "RESET", "mymaster")
            well = partial(sentinel.sees_all_well, others=len(arena.sentinels) - 1, replicas=len(arena.replicas()))
            arena.until(well, f"{sentinel.name} knows everybody again")
    _master_is_stayed_with(arena, old)
    planned(arena)
    until_old_follows(arena, old)


@fault(ci=True)
def sentinels_replaced_all_at_once_and_the_masters_redis_restarts(arena: Arena) -> None:
    """Three new ones at other ports beside the old, the old ones stopped, RESET on the new: those count, and no others."""
    old, former = arena.master, [*arena.sentinels]
    port = _free_port(arena)
    for node in arena.nodes:
        arena.add_sentinel(node, port=port)
    arena.wait_for_sentinels()
    for sentinel in former:
        arena.remove_sentinel(sentinel)
    for sentinel in arena.sentinels:
        arena.ask(sentinel, "SENTINEL", "RESET", "mymaster")
    arena.wait_for_sentinels()
    arena.until(lambda: _all_count(arena), "the agents count the new Sentinels alone", within=60)
    with killed(arena, old):
        pass
    arena.until(lambda: arena.names(old), "the restarted master is named again", within=8)
    arena.wait_for_sentinels()
    _master_is_stayed_with(arena, old)
    planned(arena)
    until_old_follows(arena, old)


@fault()
def sentinels_back_at_other_ports_with_their_ids(arena: Arena) -> None:
    """As containers come back: one by one, and then all at once."""
    for turns in ([[sentinel] for sentinel in arena.sentinels], [[*arena.sentinels]]):
        for moved in turns:
            for sentinel in moved:
                arena.kill(sentinel)
            for sentinel in moved:
                sentinel.move(_free_port(arena))
                arena.start(sentinel)
            arena.wait_for_sentinels()
        old = arena.master
        _master_is_stayed_with(arena, old)
        planned(arena)
        until_old_follows(arena, old)


def _free_port(arena: Arena) -> int:
    """One that no Sentinel has had yet, so that none is taken for the one that was there."""
    return max(sentinel.address.port for sentinel in arena.sentinels) + 1


def _all_count(arena: Arena) -> bool:
    """Whether every agent counts the Sentinels that there are, and reaches them."""
    number = len(arena.sentinels)
    snapshots = [status.ask(agent.socket) for agent in arena.fleet.agents]
    counted = [node["known_sentinels"] for snapshot in snapshots for node in snapshot["nodes"]]
    return set(counted) == {number} and all(agent.is_settled(number) for agent in arena.fleet.agents)


def _master_is_stayed_with(arena: Arena, master: RedisNode) -> None:
    """Wait until the agents count the Sentinels that there are; nothing has moved until then."""
    arena.until(lambda: _all_count(arena), "the agents count the Sentinels that there are", within=60)
    assert arena.master is master, f"{arena.master.name} is the master"


@fault(empty=Empty.NEVER)
def all_sentinels_wiped_and_a_failover_when_they_are_counted_anew(arena: Arena) -> None:
    """Their epochs begin below that of the claim, which takes the new count; the failover is as quick as any."""
    old = _moved_once(arena)
    arena.wipe_sentinels()
    arena.wait_for_sentinels()
    arena.until(lambda: _claim_epoch(arena) == "0", "the claim has the new count", within=2 * SETTLED + 20)
    planned(arena)
    until_old_follows(arena, old)


@fault(late={Loss.PROMOTION: 60}, empty=Empty.ALLOWED)
def all_sentinels_wiped_and_a_failover_at_once(arena: Arena) -> None:
    """The claim has the old count still, so that the promotion looks older than it."""
    old = _moved_once(arena)
    arena.wipe_sentinels()
    arena.wait_for_sentinels()
    planned(arena)
    arena.until(arena.names_holder, "the new one is named", within=60)
    until_old_follows(arena, old)


def _moved_once(arena: Arena) -> RedisNode:
    """A planned failover, so that the count is above 0; returns the master."""
    old = arena.master
    planned(arena)
    until_old_follows(arena, old)
    return arena.master


def _claim_epoch(arena: Arena) -> str | None:
    """The epoch of the claim that passes."""
    entries = [entry["Service"]["Meta"] for entry in arena.server.get("/v1/health/service/redis?passing")]
    return next((meta[EPOCH] for meta in entries if EPOCH in meta), None)


@fault(moves=False, empty=Empty.NEVER)
def sentinel_reset_on_one(arena: Arena) -> None:
    arena.ask(arena.random.choice(arena.sentinels), "SENTINEL", "RESET", "mymaster")
    arena.watch(arena.noticed, "the name goes")


@fault(moves=False, empty=Empty.NEVER)
def sentinel_reset_on_all_at_once(arena: Arena) -> None:
    for sentinel in arena.sentinels:
        arena.ask(sentinel, "SENTINEL", "RESET", "mymaster")
    arena.watch(arena.noticed, "the name goes")


@fault(moves=None, writes=True)
def leader_reset_soon_after_the_promotion(arena: Arena) -> None:
    """It forgets its failover: if nobody has heard of that yet, the old master is the master again."""
    _reset_in_a_failover(arena, everybody=False)


@fault(moves=None, writes=True)
def all_sentinels_reset_soon_after_the_promotion(arena: Arena) -> None:
    """If nobody remembers the promoted node, it is a master for good, until somebody tells it to follow."""
    _reset_in_a_failover(arena, everybody=True)


def _reset_in_a_failover(arena: Arena, *, everybody: bool) -> None:
    since = arena.witness.up_to
    leader = arena.random.choice(arena.sentinels)
    arena.ask(leader, "SENTINEL", "FAILOVER", "mymaster")
    *_, promoted = arena.wait_for_promotion(since)
    arena.let_pass(arena.random.choice((0.01, arena.random.uniform(0, CHANCE / 2))), since=promoted)
    for sentinel in arena.sentinels if everybody else [leader]:
        arena.ask(sentinel, "SENTINEL", "RESET", "mymaster")
    arena.watch(FOLLOWED, "DNS does not go back")
    if everybody:
        _put_right_by_hand(arena)
    until_all_follow(arena)


@fault()
def all_sentinels_reset_while_their_leader_alone_names_the_old_master(arena: Arena) -> None:
    """Each knows then only the nodes that follow whom it names, and hears of the others no more: two against one, for good."""
    old, since = arena.master, arena.witness.up_to
    arena.ask(arena.random.choice(arena.sentinels), "SENTINEL", "FAILOVER", "mymaster")
    arena.wait_for_failover(old)
    arena.until(lambda: len(arena.events(["+switch-master"], since=since)) >= 2, "the others name the new master")
    for sentinel in arena.sentinels:
        arena.ask(sentinel, "SENTINEL", "RESET", "mymaster")
    arena.watch(2 * SETTLED, "whom one of three names is named")
    _put_right_by_hand(arena)
    until_all_follow(arena)


def _put_right_by_hand(arena: Arena) -> None:
    with arena.doing("put the Sentinels and the nodes right by hand"), hurried(arena):
        arena.outvote()
    master = arena.wait_for_agreement()
    for node in arena.nodes:
        if node is not master:
            arena.until(partial(made_to_follow, node, master), f"{node.name} follows", within=60)


# --- Network ----------------------------------------------------------------------------------------------------------


@fault(ci=True)
def master_and_its_sentinel_cut_off_but_consul_reached(arena: Arena) -> None:
    old = arena.master
    with cut_off(arena, old, but=(arena.server,)):
        arena.wait_for_failover(old)
        arena.watch(1.5, "the old one claims again")
    look_on(arena)


@fault(ci=True, gossip_first=True)
def master_cut_off_from_everything_and_healed_before_the_ttl(arena: Arena) -> None:
    old = arena.master
    with cut_off(arena, old):
        arena.wait_for_failover(old)
    look_on(arena)


@fault(gossip_first=True)
def master_cut_off_from_everything_and_healed_after_the_ttl(arena: Arena) -> None:
    old = arena.master
    with cut_off(arena, old):
        arena.wait_for_failover(old)
        arena.watch(TTL + 5, "the new name goes")
    until_old_follows(arena, old)


@fault(gossip_first=True)
def master_cut_off_from_everything_for_a_minute(arena: Arena) -> None:
    """Its Consul agent, if it streams, answers from its own view all that time; our agent there withdraws all the same."""
    old = arena.master
    with cut_off(arena, old):
        arena.wait_for_failover(old)
        arena.until(lambda: _publishes_nobody(arena, old), "the agent that is cut off withdraws", within=TTL + 3)
        for _ in range(48):
            arena.watch(1, "it claims again")
            assert _publishes_nobody(arena, old), "the agent that is cut off has published its node again"
    until_old_follows(arena, old)


def _publishes_nobody(arena: Arena, node: RedisNode) -> bool:
    return all(entry["decision"] == "none" for entry in status.ask(arena.agent(node).socket)["nodes"])


@fault(moves=False, empty=Empty.ALLOWED)
def replica_cut_off_from_everything(arena: Arena) -> None:
    """Back again, its Consul agent may tell the servers that the master's host is dead, until that host denies it."""
    since = arena.witness.up_to
    with cut_off(arena, arena.random.choice(arena.replicas())):
        arena.watch(TTL + 3, "anybody but the master is concerned")
        assert not arena.witness.seconds_of_none(since=since), "the name went with a replica"
    arena.watch(3, "the returned one disturbs")


@fault(moves=False, empty=Empty.ALLOWED)
def master_cut_off_from_consul_alone(arena: Arena) -> None:
    with cut_off(arena, arena.master, but=tuple(arena.replicas())):
        arena.watch(3, "another one is named")
    arena.watch(3, "another one is named")


@fault(empty=Empty.ALLOWED)
def new_master_cut_off_from_consul_during_the_failover(arena: Arena) -> None:
    """Nobody can write the new claim until the cut heals; gossip through the others keeps its host alive."""
    old = arena.master
    one, other = arena.replicas()
    arena.ask(other, "CONFIG", "SET", "replica-priority", "0")
    try:
        arena.watch(1.5, "the Sentinels have read the priority")
        with cut_off(arena, one, but=(old, other)):
            arena.kill(old)
            arena.wait_for_failover(old)
            arena.watch(2, "somebody else is named")
    finally:
        arena.ask(other, "CONFIG", "SET", "replica-priority", "100")
    arena.start(old)
    until_old_follows(arena, old)


# --- Consul -----------------------------------------------------------------------------------------------------------


@fault(ci=True, moves=False, empty=Empty.NEVER)
def consul_client_of_the_master_paused(arena: Arena) -> None:
    with paused(arena, arena.consul(arena.master)):
        arena.watch(1.5, "the name goes")
    arena.watch(2, "the name goes")


@fault(ci=True)
def old_masters_consul_client_paused_during_a_failover(arena: Arena) -> None:
    old = arena.master
    with paused(arena, arena.consul(old)):
        new = planned(arena)
        arena.until(lambda: arena.names(new), "the new one is named", within=5)
    look_on(arena)


@fault(empty=Empty.NEVER, late={Loss.PROMOTION: GOSSIP})
def new_masters_consul_client_paused_during_a_failover(arena: Arena) -> None:
    """The new claim waits for the client; the old master still has the right to its name in nobody's eyes but DNS'."""
    old = arena.master
    clients = [arena.consul(node) for node in arena.replicas()]
    for client in clients:
        arena.pause(client)
    planned(arena)
    arena.watch(0.5, "anything")
    for client in clients:
        arena.resume(client)
    until_old_follows(arena, old)


@fault(moves=False, empty=Empty.ALLOWED)
def consul_client_of_the_master_killed_and_started_again(arena: Arena) -> None:
    """What it restores from its disk is sealed, so DNS is empty until our agent has looked again."""
    with killed(arena, arena.consul(arena.master)):
        pass
    arena.watch(5, "the name goes again")


@fault(moves=False, empty=Empty.ALLOWED)
def consul_client_of_the_master_leaves_and_comes_back(arena: Arena) -> None:
    """SIGTERM takes a client's node, with all it holds, out of the catalog until it has joined again."""
    with arena.doing("restart the master's Consul client"):
        arena.consul(arena.master).restart(within=20)
    arena.watch(5, "the name goes again")


@fault(moves=False, empty=Empty.ALLOWED)
def consul_client_of_the_master_wiped(arena: Arena) -> None:
    consul = arena.consul(arena.master)
    with killed(arena, consul):
        consul.forget()
    arena.watch(5, "the name goes again")


@fault(moves=False, empty=Empty.ALLOWED)
def consul_client_of_the_master_wiped_while_a_majority_of_sentinels_is_down(arena: Arena) -> None:
    """Nobody but our agent knows then that the claim was confirmed a moment ago."""
    master = arena.master
    one, other, _ = arena.sentinels
    with killed(arena, one), killed(arena, other):
        consul = arena.consul(master)
        with killed(arena, consul):
            consul.forget()
        arena.until(lambda: arena.names(master), "the master is named again", within=5)
        arena.watch(5, "the name goes again")


@fault(empty=Empty.HEADLESS)
def consul_client_of_the_old_master_restarted_during_a_failover(arena: Arena) -> None:
    old = arena.master
    consul = arena.consul(old)
    with killed(arena, consul):
        planned(arena)
    until_old_follows(arena, old)


@fault(empty=Empty.HEADLESS)
def consul_client_of_the_old_master_wiped_during_a_failover(arena: Arena) -> None:
    old = arena.master
    consul = arena.consul(old)
    with killed(arena, consul):
        consul.forget()
        planned(arena)
    until_old_follows(arena, old)


@fault(moves=False, empty=Empty.NEVER)
def consul_server_restarted(arena: Arena) -> None:
    with killed(arena, arena.server):
        pass
    arena.watch(5, "the name goes")


@fault(empty=Empty.ALLOWED, late={Loss.DEATH: 60, Loss.PROMOTION: 60})
def consul_server_down_during_a_failover(arena: Arena) -> None:
    """Nobody can write anything until the server is back and leads again; then it is right, with no second name."""
    old = arena.master
    with killed(arena, arena.server):
        arena.kill(old)
        arena.wait_for_failover(old)
    arena.start(old)
    until_old_follows(arena, old)


@fault(ci=True, moves=False, empty=Empty.ALLOWED)
def entry_deregistered_and_failed_behind_our_back(arena: Arena) -> None:
    consul = arena.consul(arena.master)
    service = next(s for s in consul.get("/v1/agent/services").values() if s["Service"] == "redis")["ID"]
    for path in (f"service/deregister/{service}", f"check/fail/{service}:role"):
        with arena.doing(f"PUT /v1/agent/{path}"):
            consul.put(f"/v1/agent/{path}")
        arena.until(lambda: service in consul.get("/v1/agent/services"), "it is registered again")
        arena.watch(1, "it stays so")


@fault(moves=False, empty=Empty.NEVER)
def same_service_on_a_replicas_host_passes_by_hand(arena: Arena) -> None:
    """An older claim put back by force, as by a Consul agent from a snapshot, is put down: the newest claim guards."""
    replica = arena.random.choice(arena.replicas())
    consul = arena.consul(replica)
    entry = next(
        e for e in arena.server.get("/v1/health/service/redis?passing") if "redis-epoch" in e["Service"]["Meta"]
    )
    claim = entry["Service"]["Meta"] | {"redis-epoch": "0", "redis-run-id": "0" * 40}
    body = {
        "Name": "redis",
        "ID": "redis-from-a-snapshot",
        "Address": replica.announced.host,
        "Port": replica.announced.port,
        "Tags": entry["Service"]["Tags"],
        "Meta": claim,
        "Check": {"CheckID": "redis-from-a-snapshot:role", "Name": "role:master", "TTL": "600s", "Status": "critical"},
    }
    with arena.doing("register an older claim, critical"):
        consul.put("/v1/agent/service/register", body)
    arena.watch(2, "it passes")
    with arena.doing("take it out, if our agent has not"):
        if "redis-from-a-snapshot" in consul.get("/v1/agent/services"):
            consul.put("/v1/agent/service/deregister/redis-from-a-snapshot")


# --- Hosts ------------------------------------------------------------------------------------------------------------


@fault(ci=True, late={Loss.DEATH: GOSSIP})
def host_lost_and_back_with_its_files(arena: Arena) -> None:
    """Back at once after the failover: its Consul client has a passing state on disk whose TTL has not run out."""
    old = arena.master
    with lost(arena, old.host):
        arena.wait_for_failover(old)
    until_old_follows(arena, old)


@fault(late={Loss.DEATH: GOSSIP})
def host_lost_for_longer_than_the_ttl(arena: Arena) -> None:
    old = arena.master
    with lost(arena, old.host):
        arena.wait_for_failover(old)
        arena.watch(TTL + 5, "the dead name comes back")
    until_old_follows(arena, old)


@fault(late={Loss.DEATH: GOSSIP})
def host_back_without_its_agent(arena: Arena) -> None:
    """Only the guard can put down what Consul restores: the agent of that host starts late."""
    old = arena.master
    with lost(arena, old.host):
        arena.wait_for_failover(old)
    agent = arena.agent(old)
    arena.kill(agent)
    arena.watch(TTL + 2, "the old claim comes back")
    arena.start(agent)
    until_old_follows(arena, old)


@fault(late={Loss.DEATH: GOSSIP}, empty=Empty.ALLOWED)
def host_lost_while_another_agent_is_down(arena: Arena) -> None:
    """The agent that is down is that of the new master, who is named late then, or has no part in it."""
    old = arena.master
    with killed(arena, arena.agent(arena.random.choice(arena.replicas()))), lost(arena, old.host):
        arena.wait_for_failover(old)
        arena.watch(2, "anybody but the promoted one is named")
    until_old_follows(arena, old)


# --- The agent --------------------------------------------------------------------------------------------------------


@fault(ci=True, moves=False, empty=Empty.NEVER)
def agent_killed_and_started_again(arena: Arena) -> None:
    with killed(arena, arena.agent(arena.master)):
        arena.watch(1, "the name blinks")
    arena.watch(2, "the name blinks")


@fault()
def agent_of_the_master_killed_across_a_failover(arena: Arena) -> None:
    old = arena.master
    with killed(arena, arena.agent(old)):
        planned(arena)
        arena.watch(1, "the old name comes back")
    until_old_follows(arena, old)


@fault()
def agent_of_the_master_stopped_for_longer_than_the_ttl_across_a_failover(arena: Arena) -> None:
    old = arena.master
    with paused(arena, arena.agent(old)):
        planned(arena)
        arena.watch(TTL + 2, "the old name comes back")
    until_old_follows(arena, old)


@fault(ci=True)
def agent_of_the_master_stopped_across_a_failover(arena: Arena) -> None:
    """Resumed while the old master still says master: what was decided before the stop must not be written."""
    old = arena.master
    with paused(arena, arena.agent(old)):
        planned(arena)
        arena.watch(1.6, "the old name comes back")
    look_on(arena)


@fault(late={Loss.PROMOTION: 60}, empty=Empty.ALLOWED)
def agent_of_the_new_master_stopped_across_a_failover(arena: Arena) -> None:
    """The new master cannot be named until its agent runs: the old name stays or goes, and never comes beside it."""
    old = arena.master
    agents = [arena.agent(node) for node in arena.replicas()]
    for agent in agents:
        arena.pause(agent)
    planned(arena)
    arena.watch(2, "two are named")
    for agent in agents:
        arena.resume(agent)
    until_old_follows(arena, old)


@fault(empty=Empty.NEVER)
def two_agents_for_one_node(arena: Arena) -> None:
    old = arena.master
    with arena.doing("start a second agent for the master"):
        second = arena.fleet.agent(old, more=arena.settings)
    try:
        arena.watch(3, "the two disturb each other")
        planned(arena)
        until_old_follows(arena, old)
    finally:
        with arena.doing("stop the second agent"):
            second.stop()
        arena.fleet.agents.remove(second)
        arena.fleet.processes.remove(second)


HELLO = 2.0 + POLL
"""Seconds until an agent that knows no Sentinel, since none is configured, has heard hellos of a majority."""


@fault(ci=True, late={Loss.PROMOTION: HELLO + POLL})
def every_agent_reloads_in_the_middle_of_a_failover(arena: Arena) -> None:
    """At the selection, at the promotion, and soon after it: what the leader has told meanwhile may be lost."""
    _reloads(arena, lambda text, number: f'[replica]\nmax_lag = "{11 + number}s"\n{text}')


@fault(empty=Empty.NEVER, late={Loss.PROMOTION: HELLO + POLL})
def every_agent_reloads_with_other_tags_in_the_middle_of_a_failover(arena: Arena) -> None:
    """The same, and the entry that the failover moves is to be another one meanwhile; DNS is never empty."""
    _reloads(arena, lambda text, number: text.replace("[service]\n", f'[service]\ntags = ["reload-{number}"]\n'))


def _reloads(arena: Arena, change: Callable[[str, int], str]) -> None:
    before = {agent: agent.config_path.read_text() for agent in arena.fleet.agents}
    for number, wait in enumerate((None, 0.0, arena.random.uniform(0, 0.03), arena.random.uniform(0.03, CHANCE))):
        old, since = arena.master, arena.witness.up_to
        arena.ask(arena.random.choice(arena.sentinels), "SENTINEL", "FAILOVER", "mymaster")
        if wait is None:
            arena.until(lambda: arena.selection(since), "a node is selected")  # noqa: B023 - called at once
        else:
            *_, promoted = arena.wait_for_promotion(since)
            arena.let_pass(wait, since=promoted)
        reload(arena, {agent: change(text, number) for agent, text in before.items()})
        arena.wait_for_failover(old)
        _until_ready_for_another(arena, old)
    reload(arena, before)
    arena.watch(2, "the name goes")


def reload(arena: Arena, texts: dict[AgentNode, str]) -> None:
    """Have agents read another configuration."""
    for agent, text in texts.items():
        agent.config_path.write_text(text)
    with arena.doing("every agent reads its configuration again"):
        for agent in texts:
            agent.signal(signal.SIGHUP)


def _until_ready_for_another(arena: Arena, old: RedisNode) -> None:
    """Wait until the new master is named, and have the old one follow it sooner than Sentinel would."""
    new = arena.master
    arena.until(partial(arena.names, new), "the new one is named", within=10)
    arena.until(partial(_makes_replica, arena, old, new), "the old one follows")
    arena.fleet.wait_for_replicas()
    with hurried(arena):
        arena.wait_for_sentinels()
    arena.wait_for_agents()


@fault(late={Loss.PROMOTION: 6.0})
def agents_end_between_a_decision_and_its_write(arena: Arena) -> None:
    """SIGTERM at random moments around the promotion, several times; who starts then has not seen the turn."""
    for around in (0.03, 0.03, 0.01, 0.1):
        old, since = arena.master, arena.witness.up_to
        arena.ask(arena.random.choice(arena.sentinels), "SENTINEL", "FAILOVER", "mymaster")
        *_, promoted = arena.wait_for_promotion(since)
        arena.let_pass(arena.random.uniform(0, around), since=promoted)
        _restart_agents(arena)
        arena.wait_for_failover(old)
        _until_ready_for_another(arena, old)


@fault(late={Loss.PROMOTION: 6.0})
def agents_end_between_the_selection_and_the_promotion(arena: Arena) -> None:
    for _ in range(3):
        old, since = arena.master, arena.witness.up_to
        arena.ask(arena.random.choice(arena.sentinels), "SENTINEL", "FAILOVER", "mymaster")
        arena.until(lambda: arena.selection(since), "a node is selected")  # noqa: B023 - called at once
        found = arena.selection(since)
        assert found is not None
        arena.let_pass(arena.random.uniform(0, 0.1), since=found[1].at)
        _restart_agents(arena)
        arena.wait_for_failover(old)
        _until_ready_for_another(arena, old)


def _restart_agents(arena: Arena) -> None:
    with arena.doing("SIGTERM to every agent"):
        for agent in arena.fleet.agents:
            agent.signal(signal.SIGTERM)
    for agent in arena.fleet.agents:
        arena.until(lambda: not agent.alive, f"{agent.name} ends")  # noqa: B023 - called at once
    for agent in arena.fleet.agents:
        arena.start(agent)


def move_to(arena: Arena, node: RedisNode) -> None:
    """A planned failover to this node, and until the old master follows it."""
    old = arena.master
    with ExitStack() as stack:
        for other in arena.replicas():
            if other is not node:
                stack.enter_context(passed_over(arena, other))
        assert planned(arena) is node, f"{arena.master.name} was promoted"
        until_old_follows(arena, old)


@fault(empty=Empty.NEVER)
def two_hosts_share_a_consul_agent_which_they_reach_by_its_name(arena: Arena) -> None:
    """Both know their Redis by a loopback address. Each entry stays its own host's, also when one takes over from the other."""
    third, (one, other) = arena.master, arena.replicas()
    shared = arena.fleet.host(arena.fleet.name("shared"))
    with consul_client(arena, shared, everywhere=True) as consul:
        before = {
            arena.agent(node): ([*arena.agent(node).argv], arena.agent(node).config_path.read_text())
            for node in (one, other)
        }
        for node in (one, other):
            agent = arena.agent(node)
            with arena.doing(f"{agent.name} goes to the shared Consul agent"):
                agent.stop()
                _deregister_all(arena.consul(node))
                agent.argv = with_hosts_file(agent, f"{shared.address} consul.test")
                agent.config_path.write_text(f'{before[agent][1]}[consul]\nurl = "http://consul.test:8500"\n')
                agent.start()
        arena.wait_for_agents()
        for master in (one, other, one, third):
            _entries_are_apart(arena, consul, one, other)
            move_to(arena, master)
        _entries_are_apart(arena, consul, one, other)
        for agent, (argv, text) in before.items():
            with arena.doing(f"{agent.name} goes back to its own Consul agent"):
                agent.stop()
                agent.argv = argv
                agent.config_path.write_text(text)
                agent.start()
        arena.wait_for_agents()


def _deregister_all(consul: ConsulNode) -> None:
    for service in consul.get("/v1/agent/services"):
        consul.put(f"/v1/agent/service/deregister/{service}")


def _entries_are_apart(arena: Arena, consul: ConsulNode, *nodes: RedisNode) -> None:
    """Each node has an entry at this Consul agent, and all of them have different ids."""

    def apart() -> bool:
        held = consul.get("/v1/agent/services").values()
        return {(s["Address"], s["Port"]) for s in held} == {node.announced for node in nodes}

    arena.until(apart, f"{consul.name} holds an entry of each", within=10)
    for _ in range(3):
        arena.watch(1, "one takes the other's entry")
        assert apart(), f"{consul.name} holds {consul.get('/v1/agent/services')}"


@fault(empty=Empty.ALLOWED)
def two_agents_for_one_node_at_two_consul_agents(arena: Arena) -> None:
    """The second one, on another host, watches the master by its address: it publishes nothing until the first is gone."""
    old, since = arena.master, arena.witness.up_to
    host = arena.fleet.host(arena.fleet.name("aside"))
    with consul_client(arena, host) as consul, agent_for(arena, host, f"redis://{old.announced}") as second:
        arena.watch(TTL + 3, "the two disturb each other")
        assert not _passing(consul), f"{second.name} publishes {_passing(consul)}"
        assert not arena.witness.seconds_of_none(since=since), "the name went when the second one came"
        with killed(arena, arena.agent(old)):
            arena.until(lambda: _passing(consul), "the second one publishes", within=3 * TTL)
            arena.until(lambda: arena.names(old), "DNS names the master", within=5)
            arena.watch(TTL + 3, "the name goes")
        since = arena.witness.up_to
        arena.watch(TTL + 3, "the two disturb each other")
        assert not arena.witness.seconds_of_none(since=since), "the name went when the first one came back"
        planned(arena)
        until_old_follows(arena, old)


def _passing(consul: ConsulNode) -> list[str]:
    """The ids of the entries at a Consul agent whose role check passes."""
    checks = consul.get("/v1/agent/checks").values()
    return [c["ServiceID"] for c in checks if c["CheckID"].endswith(":role") and c["Status"] == "passing"]


# --- Another group ----------------------------------------------------------------------------------------------------


@fault(empty=Empty.NEVER)
def second_group_under_the_same_names_comes_fails_over_and_goes(arena: Arena) -> None:
    """On hosts of its own. Ours was first: DNS never names one of theirs, and our failovers are as quick as any."""
    with second_group(arena) as group:
        arena.watch(SETTLED + 5, "they are named")
        theirs = group.nodes[0]
        with arena.doing("a failover of the second group"):
            group.sentinels[0].ask("SENTINEL", "FAILOVER", "mymaster")
        arena.until(lambda: group.has_moved(theirs), "the second group has another master", within=60)
        arena.watch(3, "they are named")
        old = arena.master
        planned(arena)
        until_old_follows(arena, old)
    arena.watch(TTL, "our name goes with them")


# --- Clocks -----------------------------------------------------------------------------------------------------------


@fault(empty=Empty.NEVER)
def wall_clock_of_the_agents_jumps_by_an_hour_and_back(arena: Arena) -> None:
    """At a quiet time nothing follows, and a failover in the middle of which it jumps is as quick as any.

    Sentinel, whose clock would jump as well, goes into TILT then, which is a fault of its own.
    """
    try:
        clock = WallClock(arena.fleet.folder)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    _restart_each_with(arena, clock.env)
    old = arena.master
    for seconds in (HOUR, 0, -HOUR, 0):
        _set(arena, clock, seconds)
        arena.watch(4, "the name goes")
    assert arena.master is old, f"{arena.master.name} is the master"
    for seconds in (HOUR, -HOUR):
        old, since = arena.master, arena.witness.up_to
        arena.ask(arena.random.choice(arena.sentinels), "SENTINEL", "FAILOVER", "mymaster")
        arena.until(lambda: arena.selection(since), "a node is selected")  # noqa: B023 - called at once
        _set(arena, clock, seconds)
        arena.wait_for_failover(old)
        until_old_follows(arena, old)
    _set(arena, clock, 0)
    arena.watch(2, "the name goes")
    _restart_each_with(arena, dict.fromkeys(clock.env, ""))


HOUR = 3600


def _set(arena: Arena, clock: WallClock, seconds: int) -> None:
    with arena.doing(f"the clocks are set {seconds:+d} s from the true one"):
        clock.set(seconds)


def _restart_each_with(arena: Arena, env: dict[str, str]) -> None:
    """Restart every agent with these variables; an empty one is taken away."""
    for agent in arena.fleet.agents:
        with arena.doing(f"{agent.name} gets another clock"):
            agent.env = {key: value for key, value in (agent.env | env).items() if value}
            agent.restart()
    arena.wait_for_agents()


@fault(empty=Empty.ALLOWED, late={Loss.PROMOTION: 60, Loss.DEATH: 60})
def agents_that_reach_one_sentinel_of_three(arena: Arena) -> None:
    """One Sentinel is no majority: only what it says as the elected leader counts, until all are reached again."""
    old = arena.master
    before = {agent: agent.config_path.read_text() for agent in arena.fleet.agents}
    for agent, text in before.items():
        host = agent.host.address
        agent.config_path.write_text(f'[sentinel]\nhosts = ["{host}:26379"]\n{text}')
        with arena.doing(f"{agent.name} reaches one Sentinel"):
            agent.restart()
    # What others list is reached, too: so cut that off, each host's Sentinel port alone cannot be.
    arena.watch(2, "the name goes")
    planned(arena)
    arena.watch(2, "two are named")
    for agent, text in before.items():
        agent.config_path.write_text(text)
        with arena.doing(f"{agent.name} reaches all Sentinels"):
            agent.restart()
    until_old_follows(arena, old)


@fault(ci=True, empty=Empty.NEVER, not_in=frozenset({"check"}), fenced=False)
def upgrade_host_by_host(arena: Arena) -> None:
    """Back to the former version, and forward again, with a failover while the hosts have different ones.

    Not in mode ``check``: there the former version may take the mark of an earlier eviction for one of its new early claim,
    and publishes it only with a majority.
    """
    former = former_version(arena.fleet.folder)
    if former is None:
        pytest.skip("the history of this checkout does not hold the former version")
    for path in (str(former), ""):
        for number, node in enumerate(arena.nodes):
            agent = arena.agent(node)
            with arena.doing(f"{agent.name} is of the {'former' if path else 'present'} version"):
                agent.env.pop("PYTHONPATH", None)
                agent.env |= {"PYTHONPATH": path} if path else {}
                agent.restart()
            arena.until(partial(agent.is_settled, len(arena.sentinels)), f"{agent.name} is settled")
            if number < len(arena.nodes) - 1:
                old = arena.master
                planned(arena)
                until_old_follows(arena, old)


def find(pattern: str) -> list[Fault]:
    """The faults whose names have every word of one of the comma-separated parts of ``pattern`` in them.

    Raises ValueError where a part names none.
    """
    named: list[Fault] = []
    for part in pattern.replace("_", " ").split(","):
        found = [f for f in FAULTS if all(word in f.name for word in part.split())]
        if not found:
            raise ValueError(f"no fault has {part.strip()!r} in its name")
        named += found
    return [f for f in FAULTS if f in named]
