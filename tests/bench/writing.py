"""What applications lose in a failover, by how they find the master; each writes to the same Redis nodes.

A round is four failovers: planned; the master is killed and started again; it hangs and goes on; its host is lost. They are
done twice, to a fleet whose agents fence and to one where nobody does, since a fence serves everybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress

from tests.chaos.application import writing
from tests.chaos.copies import Copies
from tests.chaos.writes import Writes, unbroken
from tests.fleet import NotInTime, RedisNode

from .failovers import TRIES, recover
from .publishers import PUBLISHERS, WITH_FENCE, Publisher
from .record import AWARE, HUNG, KILLED, LOST, OURS, PLANNED, RETURNING, SCRIPT, SWITCH, Written
from .stage import FAILOVER_TIMEOUT, Stage

DOWN_AFTER = 5000
"""Milliseconds of Sentinel's down-after: an agent asks for a failover only where it is so long."""
STAYS = "cached"
"""The writer that keeps to the address that it has once resolved: it alone writes to a master that comes back."""
AFTER = 1.0
"""Seconds for which the applications write on."""
FEWER = 4
"""A round of these for so many of the publishers'."""
SECONDS = 200.0
"""About how long a round takes."""

Tell = Callable[[str], None]
Step = tuple[str, float, float, int]
"""What has happened, from when to when, and how many full copies there had been until then."""


def measure(rounds: int, tell: Tell) -> list[Written]:
    """Do the rounds. ``tell`` takes a line for each step and way."""
    found: list[Written] = []
    plain = tuple(p for p in PUBLISHERS if p.name in (OURS, SWITCH, SCRIPT))
    for publishers in (plain, (WITH_FENCE,)):
        with Stage(publishers, down_after=DOWN_AFTER) as stage:
            for number in range(rounds):
                for scenario in (planned, killed, hung, *([lost] if stage.isolated else [])):
                    figures = [*_attempt(stage, scenario, number, tell)]
                    found += figures
                    for figure in figures:
                        tell(f"{number + 1}/{rounds} {summary(figure)}")
    return found


def summary(figure: Written) -> str:
    """One line for people."""
    said = f"{figure['lost']} of {figure['acknowledged']} lost, longest gap {figure['gap']:.3f} s, {figure['copies']} copies"
    return f"{figure['scenario']}, {figure['way']}: {said}"


def _attempt(stage: Stage, scenario: Scenario, number: int, tell: Tell) -> list[Written]:
    for _ in range(TRIES):
        try:
            return [*_seen(stage, scenario, number)]
        except NotInTime as error:
            tell(f"once more: {str(error).partition(chr(10))[0]}")
            recover(stage)
    raise NotInTime(f"{TRIES} times in a row the servers did not do what this needs")


def _seen(stage: Stage, scenario: Scenario, number: int) -> Iterator[Written]:
    """Have an application for each way write while it happens."""
    old = stage.rest()
    stage.witness.watch(FAILOVER_TIMEOUT / 1000)  # an agent asks for no failover so soon after another
    with ExitStack() as stack:
        ways = {
            way: (writer, stack.enter_context(writing(stage.fleet, publisher.service, {writer, STAYS})))
            for publisher in stage.publishers
            for way, writer in _ways(publisher)
        }
        steps: list[Step] = []
        began, copies = time.monotonic(), Copies(stage.nodes)
        for name in scenario(stage, old):
            since = time.monotonic()
            with suppress(NotInTime):  # then it is seen that it does not write
                stage.until(
                    lambda: all(a.has_written(writer, since=since) for writer, a in ways.values()),  # noqa: B023 - at once
                    "every application writes again",
                )
            stage.witness.watch(AFTER)
            steps.append((name, began, time.monotonic(), copies.made()))
            began = time.monotonic()
        master = stage.fleet.wait_for_master(within=30)
        for _, application in ways.values():
            application.stop()
        for way, (writer, application) in ways.items():
            yield from _figures(way, writer, application.writes(master), steps, number)
            application.forget(master)


def _ways(publisher: Publisher) -> Iterator[tuple[str, str]]:
    yield publisher.name, "kept"
    if publisher.name == SCRIPT:
        yield AWARE, "sentinel"


def _figures(
    way: str, writer: str, told: Mapping[str, Writes], steps: Sequence[Step], number: int
) -> Iterator[Written]:
    """Of a writer, a step each; of one that stays with its address, where the old master comes back to it."""
    before = 0
    for name, start, stop, copies in steps:
        writes = told[STAYS if name == RETURNING else writer]
        step = [(n, at) for n, at in writes.acknowledged if start <= at <= stop]
        own = Writes(step, writes.there, until=stop)
        yield {
            "scenario": name,
            "way": way,
            "round": number,
            "acknowledged": len(step),
            "lost": len(own.lost),
            "gap": own.gap,
            "copies": copies - before,
            "there": unbroken([at - start for n, at in step if n in writes.there]),
            "gone": unbroken([at - start for at in own.lost]),
        }
        before = copies


# --- What happens: each gives a name as soon as what belongs to it is over -----------------------------------------------

Scenario = Callable[[Stage, RedisNode], Iterator[str]]


def planned(stage: Stage, old: RedisNode) -> Iterator[str]:
    """A Sentinel moves the master, as an operator has it do."""
    since = time.monotonic()
    sentinel = stage.fleet.sentinels[0]
    sentinel.ask("SENTINEL", "FAILOVER", sentinel.master_name)
    _moved(stage, old, since)
    _follows(stage, old)
    yield PLANNED


def killed(stage: Stage, old: RedisNode) -> Iterator[str]:
    """The master is killed, and started again when all have followed."""
    since = time.monotonic()
    old.kill()
    _moved(stage, old, since)
    yield KILLED
    old.launch()
    _follows(stage, old)
    yield RETURNING


def hung(stage: Stage, old: RedisNode) -> Iterator[str]:
    """The master is stopped, and goes on as soon as another one is promoted."""
    since = time.monotonic()
    old.pause()
    _, new = stage.promotion(old, since=since)
    old.resume()
    _follows(stage, old)
    stage.settle(new)
    yield HUNG


def lost(stage: Stage, old: RedisNode) -> Iterator[str]:
    """The master's whole host is lost; brought back when all have followed, which is not judged."""
    since = time.monotonic()
    stage.fleet.lose(old.host)
    _moved(stage, old, since)
    yield LOST
    stage.fleet.bring_back(old.host)


def _moved(stage: Stage, old: RedisNode, since: float) -> None:
    """Wait until another node is the master, and every publisher has followed or never will."""
    _, new = stage.promotion(old, since=since)
    stage.settle(new)


def _follows(stage: Stage, old: RedisNode) -> None:
    stage.until(lambda: stage.role(old) == "slave", "the old master becomes a replica")
