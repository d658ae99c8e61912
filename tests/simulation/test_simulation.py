"""Exactly one master in DNS, in a world where anything may go wrong at any moment; and that the proof can fail.

``SIM_SEEDS`` is the number of seeds (50); ``SIM_SEED`` replays one and prints its history.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from consul_redis_agent import agent as process
from consul_redis_agent import clock, node
from consul_redis_agent.consul import form
from consul_redis_agent.decide import backing, fence, members, rules, turn, view
from consul_redis_agent.decide.claim import Claim, Early
from consul_redis_agent.decide.decision import Policy
from consul_redis_agent.decide.facts import Selection, Sentinel
from consul_redis_agent.publish import entries, steps, writer
from consul_redis_agent.publish.entries import Mode
from consul_redis_agent.watch import redis_node, sentinels
from consul_redis_agent.watch.catalog import SELDOM, CatalogWatch
from consul_redis_agent.watch.lookout import Lookout

from .agent import Agent, in_process
from .engine import Violation
from .link import Link, current
from .scripts import SCRIPTS, two_failovers
from .world import World

SEEDS = int(os.environ.get("SIM_SEEDS", "50"))
REPLAY = os.environ.get("SIM_SEED")
pytestmark = pytest.mark.timeout(60 + 2 * SEEDS)
MUTANT_SEEDS = 100
"""Seeds within which a broken rule has to be caught."""


def test_every_promise_holds_whatever_goes_wrong() -> None:
    """Two answers, stale answers, a confirmed master missing, writes for nothing: none of it, over all seeds."""
    if REPLAY:
        world = World(int(REPLAY)).run()
        sys.stdout.write(world.history(last=4000))
        return
    promotions = unsettled = 0
    longest = 0.0
    for seed in range(SEEDS):
        world = World(seed).run()
        promotions += world.promotions
        unsettled += world.unsettled
        longest = max(longest, world.judge.longest_two)
    sys.stdout.write(f"{SEEDS} seeds, {promotions} failovers, two answers for {longest * 1000:.0f} ms at the longest\n")
    assert promotions > SEEDS
    assert unsettled < SEEDS / 5


def test_the_assumptions_name_tests_that_exist() -> None:
    """What the model takes for granted is held against real servers, under the names that it gives."""
    tests = Path(__file__).parent.parent
    text = "".join(file.read_text() for file in tests.rglob("test_*.py"))
    named = set(re.findall(r"test_\w+", Path(__file__).with_name("__init__.py").read_text()))
    assert len(named) > 10
    assert not {name for name in named if f"def {name}(" not in text}


def test_the_same_seed_gives_the_same_history() -> None:
    """A failure can be replayed, event by event."""
    first, second = World(7).run(), World(7).run()
    assert list(first.engine.history) == list(second.engine.history)


@pytest.mark.parametrize("mode", Mode)
def test_an_interruption_after_any_step_converges(mode: Mode) -> None:
    """An agent that dies after any single question to Consul, answered or not, goes on rightly when it is back."""
    _interrupt_everywhere(mode, World.restart_agent)


@pytest.mark.parametrize("mode", Mode)
def test_a_fall_after_any_step_converges(mode: Mode) -> None:
    """A node that dies while its agent waits for Consul, and whose answer is lost, leaves nothing behind."""

    def fall(world: World, agent: Agent) -> None:
        if agent.writer:
            in_process(agent, agent.writer.stop)
        world.hosts[agent.host].redis.stop()
        world.engine.later(9.0, world.hosts[agent.host].redis.start)

    _interrupt_everywhere(mode, fall)


def _interrupt_everywhere(mode: Mode, how: Callable[[World, Agent], None]) -> None:
    def run(step: int) -> World:
        world = World(1, trouble=40.0, script=two_failovers, mode=mode, interrupt_at=step)
        world.interrupt = lambda agent: how(world, agent)
        return world.run()

    steps = run(0).steps_in_trouble
    for step in range(1, steps + 1, max(1, 4 * steps // SEEDS)):
        run(step)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_promise_holds_in_each_script(script: str) -> None:
    """The same for faults in an order that is hard on one rule."""
    for seed in range(SEEDS // 10):
        World(seed, trouble=40.0, script=SCRIPTS[script]).run()


# The proof can fail: each rule is broken in turn


Mutation = Callable[[pytest.MonkeyPatch], None]


def _set(*changes: tuple[object, str, object]) -> Mutation:
    """Give names of modules or classes another value."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        for where, name, value in changes:
            patch.setattr(where, name, value)

    return mutate


def _evict_afterwards(patch: pytest.MonkeyPatch) -> None:
    real = steps.next_step

    def next_step(target: steps.Target, known: steps.Known) -> form.Step | None:
        step = real(target, known)
        if isinstance(step, form.Transact) and step.publish and step.evict and not known.entry(step.publish.id):
            return replace(step, evict=())
        return step

    patch.setattr(writer, "next_step", next_step)
    patch.setattr(writer, "check", lambda *_: None)


class _Forever(sentinels.Failovers):
    """Believes a selection until the next one."""

    def __init__(self) -> None:
        super().__init__()
        self._last: Selection | None = None

    def selection(self, name: str, master: Mapping[str, str], replicas: Any, at: float) -> Selection | None:
        self._last = super().selection(name, master, replicas, at) or self._last
        return self._last


def _no_guard(patch: pytest.MonkeyPatch) -> None:
    real = rules._Case._evicted
    patch.setattr(rules._Case, "_evicted", lambda self: [] if self.view and self.view.own else real(self))


def _term_begins_anew(patch: pytest.MonkeyPatch) -> None:
    """A process that finds an early claim counts from its own start."""
    real = Lookout.facts

    def facts(self: Any, *of: Any) -> Any:
        known = real(self, *of)
        if known.catalog is None:
            return known
        early = Early(current().running_since, known.boot, "")
        renewed = tuple(
            replace(e, claim=replace(e.claim, early=replace(early, leader=e.claim.early.leader)))
            if e.key == known.own and e.claim and e.claim.early
            else e
            for e in known.catalog.entries
        )
        return replace(known, catalog=replace(known.catalog, entries=renewed))

    patch.setattr(Lookout, "facts", facts)


def _confirmed_by_the_alarm(patch: pytest.MonkeyPatch) -> None:
    """As before the reads: they are only made until the first is answered, and the alarm rings often."""
    show, read = CatalogWatch._show, CatalogWatch._read

    def confirming(self: Any, index: int, answer: Any) -> bool:
        shown = show(self, index, answer)
        self.confirmation = self.fact
        return shown

    async def first(self: Any) -> None:
        if self.fact is None:
            await read(self)
        self._due = clock.clock() + SELDOM

    patch.setattr(process, "ALARM", 3.0)
    patch.setattr(CatalogWatch, "_show", confirming)
    patch.setattr(CatalogWatch, "_read", first)


def _nobody_leaves(patch: pytest.MonkeyPatch) -> None:
    real = members.counted
    patch.setattr(members, "counted", lambda facts, memory, group: real(facts, replace(memory, at={}), group))
    patch.setattr(members, "left", lambda *_: frozenset[str]())


async def _forgets(name: str, work: Callable[[], Awaitable[None]], ended: Callable[[], None] = lambda: None) -> None:
    with suppress(Exception):
        await work()
    await asyncio.Event().wait()


def _by_claims(patch: pytest.MonkeyPatch, *, stale: bool) -> None:
    """Follows whoever claims in Consul with a newer epoch, or ``stale`` with any, and asks nobody."""

    def successor(self: fence._Case) -> fence.Successor | None:
        rival = self.view.newest
        old = stale and self.now - self.view.node.master_since > 1.0
        if rival is None or not (old or rival.claim.epoch > self.own_epoch):
            return None
        return fence.Successor(rival.entry.address, rival.claim.run_id, "it claims")

    patch.setattr(fence._Case, "successor", property(successor))
    patch.setattr(fence._Case, "_says_master", lambda self, _: self.now)


def _by_a_leader_that_fell(patch: pytest.MonkeyPatch) -> None:
    """Remembers what a leader has said last."""
    real = fence._Case.selecting
    said: dict[int, Sentinel] = {}

    def selecting(self: fence._Case) -> Sentinel | None:
        if found := real.fget(self):  # type: ignore[attr-defined]
            said[current().host] = found
        return said.get(current().host)

    patch.setattr(fence, "MOMENT", 1000.0)
    patch.setattr(fence._Case, "selecting", property(selecting))


def _forgets_order(name: str, patch: pytest.MonkeyPatch) -> None:
    """Gives an order, and does not remember it."""
    real = getattr(fence._Case, name)

    def order(self: fence._Case, waits: fence.Ordered, *of: Any) -> fence.Ordered:
        ordered: fence.Ordered = real(self, waits, *of)
        return replace(ordered, memory=waits.memory)

    patch.setattr(fence._Case, name, order)


_NO_TERM = _set(*((module, "EARLY_TERM", 1000.0) for module in (rules, backing, view, entries)))
_NO_LOOK = _set((clock, "STOPPED", 10_000.0), (writer, "DECISION_LIFE", 10_000.0))
_LEASE = _set((node, "Policy", lambda **settings: Policy(**settings | {"ttl": 10_000.0})))
_OLDEST = _set((Claim, "order", property(lambda self: (-self.epoch, self.turn))))

MUTATIONS: Mapping[str, tuple[Mutation, str]] = {
    "a single Sentinel is a majority": (_set((view, "majority", lambda known: 1)), "minority"),
    "the oldest epoch wins": (_OLDEST, "rejoins"),
    "older claims are evicted after the own one passes": (_evict_afterwards, "two_failovers"),
    "a selection is believed for ever": (_set((sentinels, "Failovers", _Forever)), "aborted"),
    "a lease never ends": (_LEASE, "long_cut"),
    "the holder of the newest claim does not guard": (_no_guard, "rejoins"),
    "what was decided before a stop is written after it": (_NO_LOOK, "stopped_at_work"),
    "an early claim has no term": (_NO_TERM, "leader_alone"),
    "a restart begins the term of an early claim anew": (_term_begins_anew, "leader_alone_and_agent_restarted"),
    "an early claim has the usual TTL": (_set((entries, "EARLY_TERM", 1000.0)), "leader_alone_and_agent_killed"),
    "a leader may be silent": (_set((backing, "LEADER_SILENCE", 1000.0)), "leader_freezes"),
    "a blocking query confirms": (_confirmed_by_the_alarm, "cut_from_all_on_a_consul_that_streams"),
    "what was read of a check is written back": (_set((form, "KEPT", (*form.KEPT, "Interval"))), "rejoins"),
    "who takes another Sentinel's place is one more": (_nobody_leaves, "sentinels_wiped"),
    "a supervisor forgets": (_set((process, "supervised", _forgets)), "a_defect_of_ours"),
    "demotes the true master: on a claim alone": (partial(_by_claims, stale=False), "claimed_out_of_reach"),
    "demotes the true master: on a stale catalog": (partial(_by_claims, stale=True), "moves_there_and_back"),
    "demotes the true master: its leader fell": (_by_a_leader_that_fell, "leader_falls_out_of_reach"),
    "asks twice": (partial(_forgets_order, "_asks"), "dies"),
    "renews the pause": (partial(_forgets_order, "_pause_first"), "given_up"),
    "nothing guards a node that may be new": (_set((fence, "UNTURNED", -1.0)), "promoted_unseen"),
    "who has handed over withdraws at once": (_set((turn, "RELIEF", 0.0)), "coordinated"),
    "nobody looks closely at a swap": (_set((redis_node, "SWAP", 1.0)), "coordinated"),
    "a wait in the loop has no deadline": (_set((Link, "bounded", False)), "minority"),
}


@pytest.mark.parametrize("broken", MUTATIONS)
def test_a_broken_rule_is_caught(broken: str) -> None:
    """With any one rule broken, a promise breaks within few seeds; on the same seed it holds with the rule whole."""
    mutate, script = MUTATIONS[broken]
    for seed in range(MUTANT_SEEDS):
        with pytest.MonkeyPatch.context() as patch:
            mutate(patch)
            try:
                World(seed, trouble=40.0, script=SCRIPTS[script]).run()
            except Violation as violation:
                caught = violation
                break
    else:
        pytest.fail(f"nothing was noticed in {MUTANT_SEEDS} seeds")
    sys.stdout.write(f"{caught}\n")
    World(seed, trouble=40.0, script=SCRIPTS[script]).run()
