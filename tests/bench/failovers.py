"""Failovers on one fleet, each seen by all publishers at once; figures of each, and one of them in full.

A round is three failovers: the master is killed, and started again once all have followed (two windows, judged apart);
a planned one; and, on isolated hosts, the master's whole host is lost, and brought back afterwards, which is not judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

from tests.fleet import NotInTime, RedisNode

from . import measures
from .measures import Window, spans
from .record import KILLED, LOST, OURS, PLANNED, RETURNING, Failover, Lanes
from .stage import PATIENCE, Stage

SECONDS = {KILLED: 26.0, PLANNED: 18.0, LOST: 13.0}
"""About how long each failover takes, with the rest before it."""
BEFORE = 0.5
"""Seconds that the lanes show before the fault."""

TRIES = 3
"""How often a failover is begun that never comes to its end."""

Tell = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """What was measured, in the form of the record."""

    failovers: list[Failover] = field(default_factory=list)
    lanes: Lanes | None = None


def expected(rounds: int, *, isolated: bool) -> float:
    """About how many seconds so many rounds take."""
    return rounds * sum(seconds for scenario, seconds in SECONDS.items() if isolated or scenario != LOST)


def measure(rounds: int, tell: Tell) -> Result:
    """Do the rounds. ``tell`` takes a line for each window: four a round, three where no host can be lost."""
    result = Result()
    with Stage() as stage:
        taken: list[list[Window]] = []
        for number in range(rounds):
            for scenario in (killed_and_returning, planned, *([lost] if stage.isolated else [])):
                windows = attempt(scenario, stage, tell)
                for window in windows:
                    figures = [*judge(stage, window, number)]
                    result.failovers += figures
                    tell(f"{number + 1}/{rounds} {window.scenario}: {summary(figures)}")
                if len(windows) == 2:
                    taken.append(windows)
        if taken:
            result.lanes = lanes(stage, *typical(stage, taken))
    return result


def attempt(scenario: Callable[[Stage], list[Window]], stage: Stage, tell: Tell) -> list[Window]:
    """Do one failover, again where Sentinel fails to elect anybody in time or does two, which says nothing of a publisher."""
    for _ in range(TRIES):
        try:
            return scenario(stage)
        except NotInTime as error:
            tell(f"once more: {str(error).partition(chr(10))[0]}")
            recover(stage)
    raise NotInTime(f"{TRIES} times in a row the servers did not do what this needs")


# --- The failovers ----------------------------------------------------------------------------------------------------


def killed_and_returning(stage: Stage) -> list[Window]:
    """Kill the master; start it again when all have followed, and wait until Sentinel has made it a replica."""
    old = stage.rest()
    began = time.monotonic()
    old.kill()
    killed = after(stage, KILLED, old, began)
    back = time.monotonic()
    old.launch()
    new = next(node for node in stage.nodes if node.announced == killed.new)
    stage.until(lambda: stage.role(old) == "slave", "Sentinel makes the old master a replica")
    stop = stage.settle(new)
    return [killed, Window(RETURNING, back, stop, old.announced, new.announced)]


def planned(stage: Stage) -> list[Window]:
    """Have a Sentinel move the master, as an operator does."""
    old = stage.rest()
    sentinel = stage.fleet.sentinels[0]
    began = time.monotonic()
    sentinel.ask("SENTINEL", "FAILOVER", sentinel.master_name)
    return [after(stage, PLANNED, old, began)]


def lost(stage: Stage) -> list[Window]:
    """End the master's whole host; bring it back when all have followed."""
    old = stage.rest()
    began = time.monotonic()
    stage.fleet.lose(old.host)
    window = after(stage, LOST, old, began)
    stage.fleet.bring_back(old.host)
    return [window]


def after(stage: Stage, scenario: str, old: RedisNode, began: float) -> Window:
    """Wait until another node is promoted, the old one says master no more, and all publishers have settled.

    Raises NotInTime, also where the node that was promoted is not the one that the Sentinels name in the end.
    """
    promotion, new = stage.promotion(old, since=began)
    stage.until(lambda: stage.role(old) != "master", f"{old.name} says master no more")
    stop = stage.settle(new)
    named = stage.fleet.master()
    if named is not None and named is not new:
        raise NotInTime(f"{new.name} was promoted, and then Sentinel moved the master on to {named.name}")
    death = next((at for at, role in stage.witness.roles(old) if at >= began and role is None), None)
    return Window(
        scenario, began, stop, old.announced, new.announced, promotion, None if scenario == PLANNED else death
    )


def recover(stage: Stage) -> None:
    """Start whatever a spoilt round left ended."""
    for node in stage.nodes:
        if not node.alive:
            if stage.isolated:
                stage.fleet.bring_back(node.host)
            else:
                node.launch()


# --- What was seen of them --------------------------------------------------------------------------------------------


def judge(stage: Stage, window: Window, number: int) -> Iterator[Failover]:
    """Hold every publisher against the same window."""
    for publisher in stage.publishers:
        history = stage.witness.history_of(publisher.service)
        bad = measures.seconds(history, window)
        figure: Failover = {
            "scenario": window.scenario,
            "publisher": publisher.name,
            "round": number,
            "promotion_to_dns": measures.promotion_to_dns(history, window),
            "death_to_gone": measures.death_to_gone(history, window),
            "two": bad.two,
            "none": bad.none,
            "wrong": bad.wrong,
        }
        if not measures.settled(history, window):
            figure["never"] = True
        yield figure


def summary(figures: list[Failover]) -> str:
    """One line for people."""

    def said(figure: Failover) -> str:
        if figure.get("never"):
            return "never"
        exact = figure["promotion_to_dns"]
        return f"{figure['two']:.1f} s of two" if exact is None else f"{exact * 1000:.1f} ms"

    return ", ".join(f"{figure['publisher']} {said(figure)}" for figure in figures)


def typical(stage: Stage, taken: list[list[Window]]) -> list[Window]:
    """The round in which our agent was neither quick nor slow."""
    history = stage.witness.history_of(next(p.service for p in stage.publishers if p.name == OURS))
    times = [measures.promotion_to_dns(history, windows[0]) or PATIENCE for windows in taken]
    middle = median(times)
    return min(zip(times, taken, strict=True), key=lambda pair: abs(pair[0] - middle))[1]


def lanes(stage: Stage, killed: Window, returning: Window) -> Lanes:
    """One round in full; times relative to the fault."""
    start, stop, zero = killed.start - BEFORE, returning.stop, killed.start

    def roles(node: RedisNode) -> Iterator[tuple[float, str]]:
        names = {"master": "master", "slave": "replica", None: "gone"}
        changes = stage.witness.roles(node)
        for (at, role), end in zip(changes, [*(at for at, _ in changes[1:]), stop], strict=True):
            if max(at, start) < min(end, stop):
                yield max(at, start) - zero, names.get(role, "gone")

    def answers(service: str) -> Iterator[tuple[float, list[str]]]:
        for since, _, names in spans(stage.witness.history_of(service), start, stop):
            if names is not None:
                yield since - zero, sorted(map(stage.name_of, names))

    heard = stage.ear.heard if stage.ear else []
    return {
        "scenario": f"{KILLED}, and returning",
        "from": start - zero,
        "to": stop - zero,
        "nodes": {node.name: [*roles(node)] for node in stage.nodes},
        "sentinels": {
            sentinel.name: [
                (h.at - zero, h.channel) for h in heard if h.sentinel == sentinel.name and start <= h.at < stop
            ]
            for sentinel in stage.fleet.sentinels
        },
        "dns": {publisher.name: [*answers(publisher.service)] for publisher in stage.publishers},
    }
