"""The figures of a run, for people: tables for a terminal, tab-separated for a pipe, Markdown for the README.

``python -m tests.bench.report FILE [--markdown]``
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from consul_redis_agent.commands.screen import is_terminal, say

from .goals import goals
from .record import (
    KILLED,
    LOST,
    OURS,
    PLANNED,
    PUBLISHERS,
    RETURNING,
    SCRIPT,
    STEPS,
    WAYS,
    Cost,
    Record,
    Written,
    in_order,
    load,
)
from .summary import Delay, Failovers, Line, Span, Summary, Unit, whole_cpu
from .words import DASH, duration, line, mebibytes, milliseconds, number, ratio, seconds

SPREAD = ("median", "p95", "worst")
EXTENT = ("median", "worst")

Cell = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A heading; where a cell has several figures, what each of them is."""

    name: str
    parts: tuple[str, ...] = ()

    @property
    def joined(self) -> str:
        """One heading for eyes."""
        return f"{self.name} ({' · '.join(self.parts)})" if self.parts else self.name

    @property
    def split(self) -> list[str]:
        """One heading a figure, for programs."""
        return [f"{self.name}, {part}" for part in self.parts] or [self.name]


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows; the first column names the row."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def tables(record: Record) -> list[Table]:
    """Everything that was measured, the goals first."""
    return [table for table in _tables(record) if table.rows]


def _tables(record: Record) -> Iterator[Table]:
    failovers = Failovers(record.get("failovers", []))
    per_process, per_consul = record.get("cost_per_process", []), record.get("cost_per_consul", [])
    yield _goals(record)
    yield _digest(failovers, per_process)
    for scenario in failovers.scenarios:
        yield _scenario(failovers, scenario)
    yield from _writes(record.get("writes", []))
    yield _costs("Cost while nothing changes, by Redis nodes in one process", per_process, "nodes")
    yield _growth("How it grows with the Redis nodes in one process (n)", per_process, "nodes")
    yield _costs("Cost while nothing changes, by agents at one Consul", per_consul, "agents")
    yield _growth("How it grows with the agents at one Consul (n)", per_consul, "agents")
    yield _starts(record)


def _goals(record: Record) -> Table:
    words = {True: "met", False: "missed", None: "not measured"}
    return Table(
        "Goals",
        tuple(map(Column, ("what", "goal", "measured", "result"))),
        tuple(((g.what,), (g.limit,), (g.measured,), (words[g.met],)) for g in goals(record)),
    )


def _digest(failovers: Failovers, costs: Sequence[Cost]) -> Table:
    """One row a question and one column a publisher."""
    publishers = failovers.publishers()

    def delay(scenario: str, delay: Delay) -> Callable[[str], str]:
        def cell(publisher: str) -> str:
            return _brief(Summary.of(failovers.delays(scenario, publisher, delay)))

        return cell

    def span(scenario: str, span: Span) -> Callable[[str], str]:
        def cell(publisher: str) -> str:
            return _brief(Summary.of(failovers.spans(scenario, publisher, span)))

        return cell

    def cpu(publisher: str) -> str:
        found = [whole_cpu(cost) for cost in costs if cost["publisher"] == publisher and cost.get("nodes") == 1]
        return f"{number(found[0])} s/h" if found else DASH

    questions: list[tuple[str, Callable[[str], str]]] = [
        ("killed master: promotion → DNS names only the new one", delay(KILLED, "promotion_to_dns")),
        ("killed master: death → its name is gone", delay(KILLED, "death_to_gone")),
        ("lost host: promotion → DNS names only the new one", delay(LOST, "promotion_to_dns")),
        ("planned failover: time with two masters", span(PLANNED, "two")),
        ("planned failover: time with none", span(PLANNED, "none")),
        ("returning master: time with two masters", span(RETURNING, "two")),
        ("idle: CPU, with what it makes Consul and Redis do", cpu),
    ]
    rows = [((what,), *((cell(publisher),) for publisher in publishers)) for what, cell in questions]
    return Table(
        "At a glance",
        (Column(""), *map(Column, publishers)),
        tuple(row for row in rows if any(cell != (DASH,) for cell in row[1:])),
        "Median · worst; one figure where they are the same.",
    )


def _scenario(failovers: Failovers, scenario: str) -> Table:
    def row(publisher: str) -> tuple[Cell, ...]:
        exact, gone = (
            Summary.of(failovers.delays(scenario, publisher, delay)) for delay in ("promotion_to_dns", "death_to_gone")
        )
        spans = [Summary.of(failovers.spans(scenario, publisher, span)) for span in ("two", "none", "wrong")]
        return (
            (publisher,),
            (str(spans[0].n if spans[0] else 0),),
            _spread(exact),
            (ratio(failovers.ratio(scenario, publisher)),),
            _spread(gone),
            *map(_extent, spans),
        )

    return Table(
        scenario.capitalize(),
        (
            Column("publisher"),
            Column("rounds"),
            Column("promotion → DNS, ms", SPREAD),
            Column("of the poller's median"),
            Column("death → gone, ms", SPREAD),
            Column("two, s", EXTENT),
            Column("none, s", EXTENT),
            Column("wrong, s", EXTENT),
        ),
        tuple(map(row, failovers.publishers(scenario))),
    )


def _writes(writes: Sequence[Written]) -> Iterator[Table]:
    """One table a scenario and one row a way to find the master."""
    for scenario in in_order({w["scenario"] for w in writes}, STEPS):
        rows = []
        for way in in_order({w["way"] for w in writes if w["scenario"] == scenario}, WAYS):
            own = [w for w in writes if (w["scenario"], w["way"]) == (scenario, way)]
            lost, gap = Summary.of([w["lost"] for w in own]), Summary.of([w["gap"] for w in own])
            copies = max(w["copies"] for w in own)
            counts = tuple(f"{x:g}" for x in (lost.median, lost.worst)) if lost else (DASH, DASH)
            rows.append(((way,), (str(len(own)),), counts, _extent(gap), (str(copies),)))
        yield Table(
            f"An application's writes: {scenario}",
            (
                Column("way"),
                Column("rounds"),
                Column("acknowledged and lost", EXTENT),
                Column("longest time without a write, s", EXTENT),
                Column("full copies, worst"),
            ),
            tuple(rows),
        )


def _brief(found: Summary | None) -> str:
    figures = [duration(found.median), duration(found.worst)] if found else [DASH]
    return " · ".join(dict.fromkeys(figures))


def _spread(found: Summary | None) -> Cell:
    return tuple(milliseconds(x) for x in ((found.median, found.p95, found.worst) if found else (None,) * 3))


def _extent(found: Summary | None) -> Cell:
    return tuple(seconds(x) for x in ((found.median, found.worst) if found else (None,) * 2))


def _costs(title: str, costs: Sequence[Cost], unit: Unit) -> Table:
    scripts = {cost.get(unit): whole_cpu(cost) for cost in costs if cost["publisher"] == SCRIPT}

    def row(cost: Cost) -> tuple[Cell, ...]:
        whole, script = whole_cpu(cost), scripts.get(cost.get(unit))
        return (
            (str(cost.get(unit, DASH)),),
            (cost["publisher"],),
            (number(cost.get("cpu")), number(cost.get("cpu_consul")), number(cost.get("cpu_redis"))),
            (number(whole),),
            (ratio(whole / script if whole is not None and script else None),),
            (number(cost.get("switches")),),
            (mebibytes(cost.get("rss")), mebibytes(cost.get("pss"))),
            (number(cost.get("wire")),),
            (number(cost.get("raft_writes")),),
            (number(cost.get("seconds")),),
        )

    return Table(
        title,
        (
            Column(unit),
            Column("publisher"),
            Column("CPU, s/h", ("own", "Consul", "Redis")),
            Column("whole, s/h"),
            Column("of the script's"),
            Column("switches/s"),
            Column("resident, MiB", ("RSS", "PSS")),
            Column("wire, B/s"),
            Column("raft writes/h"),
            Column("measured for, s"),
        ),
        tuple(map(row, sorted(costs, key=lambda cost: (cost.get(unit) or 0, _rank(cost["publisher"]))))),
    )


def _growth(title: str, costs: Sequence[Cost], unit: Unit) -> Table:
    quantities: tuple[tuple[str, Callable[[Cost], float | None], Callable[[Line | None], str]], ...] = (
        ("CPU, s/h", lambda cost: cost.get("cpu"), line),
        ("whole CPU, s/h", whole_cpu, line),
        ("switches/s", lambda cost: cost.get("switches"), line),
        ("RSS", lambda cost: cost.get("rss"), lambda found: line(found, memory=True)),
        ("wire, B/s", lambda cost: cost.get("wire"), line),
    )
    publishers = in_order({cost["publisher"] for cost in costs}, PUBLISHERS)
    rows = [
        (
            (publisher,),
            *(
                (show(Line.of([c for c in costs if c["publisher"] == publisher], unit, quantity)),)
                for _, quantity, show in quantities
            ),
        )
        for publisher in publishers
    ]
    return Table(
        title,
        (Column("publisher"), *(Column(name) for name, _, _ in quantities)),
        tuple(row for row in rows if any(cell != (DASH,) for cell in row[1:])),
    )


def _starts(record: Record) -> Table:
    found = [(start["how"], Summary.of(start["seconds"])) for start in record.get("start", [])]
    return Table(
        "Start of the process → entry true in DNS",
        (Column("how"), Column("starts"), Column("seconds", SPREAD)),
        tuple(((how,), (str(s.n),), (seconds(s.median), seconds(s.p95), seconds(s.worst))) for how, s in found if s),
    )


def _rank(publisher: str) -> float:
    return PUBLISHERS.index(publisher) if publisher in PUBLISHERS else inf


def _join(cell: Cell) -> str:
    return DASH if set(cell) == {DASH} else " · ".join(cell)


def machine(record: Record) -> str:
    """One line: on what it was measured; empty if the record does not say."""
    if "machine" not in record:
        return ""
    m = record["machine"]
    return (
        f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}, load {m['load']:.1f}; Python {m['python']}, "
        f"Redis {m['redis']}, Consul {m['consul']}; {m['date']}"
    )


def plain(record: Record) -> str:
    """For programs: a title after ``#``, then tab-separated lines, a figure a column."""
    lines = [f"# {machine(record)}"] if machine(record) else []
    for table in tables(record):
        lines += ["", f"# {table.title}", "\t".join(name for column in table.columns for name in column.split)]
        lines += ["\t".join(part for cell in row for part in cell) for row in table.rows]
    return "\n".join(lines).lstrip("\n")


def markdown(record: Record) -> str:
    """For the README: a heading and a table each."""
    blocks = []
    for table in tables(record):
        head = [column.joined for column in table.columns]
        rows = [[_join(cell) for cell in row] for row in table.rows]
        rule = ["---", *("---:" for _ in head[1:])]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, rule, *rows)]
        blocks.append("\n".join([f"### {table.title}", "", *lines, *(["", table.note] if table.note else [])]))
    return "\n\n".join([*blocks, *([machine(record)] if machine(record) else [])])


def _say(text: str) -> None:
    for row in text.split("\n"):
        say(*row.split("\t"))


def show(record: Record) -> None:
    """Write everything to standard output."""
    if not is_terminal():
        _say(plain(record))
        return
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    styles = {"met": "green", "missed": "bold red", "not measured": "dim", "never": "red", OURS: "bold"}
    console = Console(highlight=False)
    for table in tables(record):
        grid = Grid(title=table.title, title_justify="left", title_style="bold", caption=table.note or None)
        for i, column in enumerate(table.columns):
            head = "\n".join([column.name, *([" · ".join(column.parts)] if column.parts else [])])
            grid.add_column(Text(head), justify="right" if i else "left")
        for row in table.rows:
            grid.add_row(*(Text(_join(cell), style=styles.get(cell[-1], "")) for cell in row))
        console.print()
        console.print(grid)
    if machine(record):
        console.print(f"\n{machine(record)}", markup=False)


def main() -> None:
    """Show a record that was written before."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.report", description=main.__doc__)
    parser.add_argument("file", type=Path, help="the JSON that make bench has written")
    parser.add_argument("--markdown", action="store_true", help="tables for the README")
    given = parser.parse_args()
    record = load(given.file)
    if given.markdown:
        _say(markdown(record))
    else:
        show(record)


if __name__ == "__main__":
    main()
