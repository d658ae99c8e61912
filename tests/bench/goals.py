"""The figures that the design promises, held against what was measured. A missed one is shown, never asserted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .record import FENCED, KILLED, OURS, PLANNED, POLLER, RETURNING, SCRIPT, Cost, Record, Written
from .summary import Failovers, Line, Summary, whole_cpu
from .words import DASH, KIBI, MEBI, mebibytes, milliseconds, number, ratio, seconds


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure; ``met`` is None where nothing was measured."""

    what: str
    limit: str
    measured: str = DASH
    met: bool | None = None


def goals(record: Record) -> list[Goal]:
    """Judge all of them."""
    failovers, writes = Failovers(record.get("failovers", [])), record.get("writes", [])
    return [*_failovers(failovers), *_writes(writes), *_costs(record), *_starts(record)]


def _failovers(failovers: Failovers) -> Iterator[Goal]:
    own, poller = (Summary.of(failovers.delays(KILLED, publisher, "promotion_to_dns")) for publisher in (OURS, POLLER))
    for name, factor in (("median", 2), ("worst", 5)):
        what, limit = f"{KILLED}: promotion → DNS, {name}", f"≤ {factor} × the poller's median"
        if own is None or poller is None:
            yield Goal(what, limit)
            continue
        figure = own.median if name == "median" else own.worst
        measured = f"{milliseconds(figure)} ms = {ratio(figure / poller.median)} {milliseconds(poller.median)} ms"
        yield Goal(what, limit, f"{measured}, {own.n} rounds", figure <= factor * poller.median)
    two = {scenario: max(failovers.spans(scenario, OURS, "two"), default=None) for scenario in failovers.scenarios}
    yield _most("two masters in DNS, any scenario", "0 s", two, 0, lambda x: f"{seconds(x)} s")
    none = {PLANNED: max(failovers.spans(PLANNED, OURS, "none"), default=None)}
    yield _most(f"{PLANNED}: no master in DNS", "0 s", none, 0, lambda x: f"{seconds(x)} s")


def _writes(writes: Sequence[Written]) -> Iterator[Goal]:
    """What is promised to an application where agents fence."""

    def worst(scenario: str, quantity: Callable[[Written], float]) -> dict[str, float | None]:
        return {"": max((quantity(w) for w in writes if (w["scenario"], w["way"]) == (scenario, FENCED)), default=None)}

    def spent(w: Written) -> float:
        return sum(stop - start for start, stop in w["gone"])

    yield _most(f"{PLANNED}, fence: writes lost", "0", worst(PLANNED, lambda w: w["lost"]), 0, number)
    for scenario, limit in ((PLANNED, 0.15), (KILLED, 0.5)):
        what, gaps = f"{scenario}, fence: longest time without a write", worst(scenario, lambda w: w["gap"])
        yield _most(what, f"≤ {limit} s", gaps, limit, lambda x: f"{seconds(x)} s")
    yield _most(f"{PLANNED}, fence: full copies", "0", worst(PLANNED, lambda w: w["copies"]), 0, number)
    took = worst(RETURNING, spent)
    yield _most(f"{RETURNING}, fence: takes writes for", "≤ 0.05 s", took, 0.05, lambda x: f"{seconds(x)} s")


def _costs(record: Record) -> Iterator[Goal]:
    costs = record.get("cost_per_process", [])
    own = [cost for cost in costs if cost["publisher"] == OURS]
    agents = [cost for cost in record.get("cost_per_consul", []) if cost["publisher"] == OURS]
    writes = {f"{c['nodes']} in a process": c.get("raft_writes") for c in own}
    writes |= {f"{c['agents']} agents": c.get("raft_writes") for c in agents}
    yield _most("idle: writes to Consul's raft log", "0 an hour", writes, 0, lambda x: f"{number(x)} an hour")
    for nodes in (1, 100):
        what, limit = f"idle: whole CPU, {_nodes(nodes)}", "≤ the script check's"
        ours, script = (_at(costs, publisher, nodes, whole_cpu) for publisher in (OURS, SCRIPT))
        if ours is None or not script:
            yield Goal(what, limit)
        else:
            measured = f"{number(ours)} s/h = {ratio(ours / script)} {number(script)} s/h"
            yield Goal(what, limit, measured, ours <= script)
    resident = _at(costs, OURS, 1, lambda cost: cost.get("rss"))
    memory = {"": resident}
    yield _most("resident memory, 1 node", "≤ 45 MiB", memory, 45 * MEBI, lambda x: f"{mebibytes(x)} MiB")
    slope = Line.of(own, "nodes", lambda cost: cost.get("rss"))
    further = {"": slope.slope if slope else None}
    yield _most("each further node", "≤ 300 KiB", further, 300 * KIBI, lambda x: f"{x / KIBI:.0f} KiB")


def _starts(record: Record) -> Iterator[Goal]:
    starts = {start["how"]: Summary.of(start["seconds"]) for start in record.get("start", [])}
    for how, limit in (("Sentinels configured", 1), ("discovered", 3)):
        found = starts.get(how)
        what, promise = f"start → entry true in DNS, {how}, worst", f"≤ {limit} s"
        if found is None:
            yield Goal(what, promise)
        else:
            measured = f"{seconds(found.worst)} s, median {seconds(found.median)} s, {found.n} starts"
            yield Goal(what, promise, measured, found.worst <= limit)


def _most(what: str, limit: str, figures: dict[str, float | None], most: float, word: Callable[[float], str]) -> Goal:
    """Judge the largest of some figures, named after where it was seen."""
    known = {where: figure for where, figure in figures.items() if figure is not None}
    if not known:
        return Goal(what, limit)
    where, figure = max(known.items(), key=lambda item: item[1])
    met = figure <= most
    return Goal(what, limit, word(figure) + (f" ({where})" if where and not met else ""), met)


def _at(costs: Sequence[Cost], publisher: str, nodes: int, quantity: Callable[[Cost], float | None]) -> float | None:
    found = [quantity(cost) for cost in costs if cost["publisher"] == publisher and cost.get("nodes") == nodes]
    return found[0] if found else None


def _nodes(count: int) -> str:
    return f"{count} node" + ("s" if count != 1 else "")
