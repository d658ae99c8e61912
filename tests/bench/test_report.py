"""The report: what the figures mean, and what is shown where there is none."""

from __future__ import annotations

from copy import deepcopy
from math import inf

import pytest

from .goals import goals
from .record import FENCED, KILLED, OURS, PLANNED, POLLER, RETURNING, SCRIPT, Cost, Failover, Record, Written
from .report import markdown, plain, show, tables
from .summary import Failovers, Line, Summary
from .words import DASH, NEVER, duration, milliseconds, number, seconds


def failover(publisher: str, number: int, exact: float | None, scenario: str = KILLED, **more: float) -> Failover:
    return {
        "scenario": scenario,
        "publisher": publisher,
        "round": number,
        "promotion_to_dns": exact,
        "death_to_gone": None if scenario == PLANNED else 0.01,
        "two": more.get("two", 0.0),
        "none": more.get("none", 0.0),
        "wrong": 0.0,
    }


def cost(publisher: str, nodes: int, cpu: float, rss: float | None) -> Cost:
    return {"nodes": nodes, "publisher": publisher, "cpu": cpu, "cpu_consul": 1, "rss": rss, "raft_writes": 0}


def written(way: str, lost: int, gap: float, scenario: str = PLANNED, number: int = 0) -> Written:
    return {
        "scenario": scenario,
        "way": way,
        "round": number,
        "acknowledged": 3000,
        "lost": lost,
        "gap": gap,
        "copies": 2 if lost else 0,
        "there": [(0.0, 1.0), (12.0, 16.0)],
        "gone": [(1.0, 1.0 + lost / 200)] if lost else [],
    }


RECORD: Record = {
    "failovers": [
        *(failover(OURS, i, 0.008 + i / 1000) for i in range(3)),
        *(failover(POLLER, i, 0.005) for i in range(3)),
        *(failover(SCRIPT, i, 3.5) for i in range(2)),
        failover(SCRIPT, 2, None, none=4.0) | {"never": True},
        failover(OURS, 0, 0.02, PLANNED),
        failover(POLLER, 0, 11.0, PLANNED, two=11.0),
    ],
    "cost_per_process": [
        *(cost(OURS, n, 9 + n, (40 + n / 8) * 2**20) for n in (1, 100)),
        *(cost(SCRIPT, n, 40 * n, None) for n in (1, 100)),
    ],
    "writes": [
        written(FENCED, 0, 0.12),
        written(FENCED, 0, 0.14, number=1),
        written(SCRIPT, 2127, 0.3),
        written(FENCED, 9, 0.3, RETURNING),
        written(FENCED, 0, 0.6, KILLED),
    ],
    "start": [{"how": "Sentinels configured", "seconds": [0.4, 0.5]}, {"how": "discovered", "seconds": [1, 3.5]}],
}


def changed(scenario: str, **values: float) -> Record:
    """The record, with other values for the first of our failovers in a scenario."""
    record = deepcopy(RECORD)
    row = next(f for f in record["failovers"] if (f["scenario"], f["publisher"]) == (scenario, OURS))
    row |= values  # type: ignore[typeddict-item]
    return record


def result(record: Record, what: str) -> bool | None:
    [found] = [goal.met for goal in goals(record) if goal.what == what]
    return found


def test_p95_is_a_sample_that_95_percent_do_not_exceed() -> None:
    """Nearest rank: of twenty samples the nineteenth, of fewer the largest; never a figure that nobody measured."""
    twenty = Summary.of([float(i) for i in range(20, 0, -1)])
    assert twenty is not None
    assert (twenty.n, twenty.median, twenty.p95, twenty.worst) == (20, 10.5, 19, 20)
    few = Summary.of([1, 5, 2])
    assert few is not None
    assert few.p95 == few.worst == 5
    assert Summary.of([]) is None


def test_what_never_happened_is_the_longest_delay_of_all() -> None:
    """A round that ended too early is no reason to look better: it counts as longer than any other."""
    samples = Failovers(RECORD["failovers"]).delays(KILLED, SCRIPT, "promotion_to_dns")
    assert samples == [3.5, 3.5, inf]
    [table] = [t for t in tables(RECORD) if t.title == "Killed master"]
    [row] = [row for row in table.rows if row[0] == (SCRIPT,)]
    assert row[2] == ("3500", NEVER, NEVER)


def test_a_delay_that_a_scenario_does_not_have_is_a_dash() -> None:
    """Nobody dies in a planned failover; that is not shown as zero, nor as never."""
    [table] = [t for t in tables(RECORD) if t.title == "Planned failover"]
    assert {row[4] for row in table.rows} == {(DASH,) * 3}


def test_what_was_not_measured_is_a_dash_and_no_goal_met() -> None:
    """An empty record can be shown, and claims nothing."""
    assert {(goal.measured, goal.met) for goal in goals({})} == {(DASH, None)}
    assert markdown({}).count("not measured") == len(goals({}))


@pytest.mark.parametrize(
    ("value", "text"), [(None, DASH), (inf, NEVER), (0, "0"), (0.0004, "<0.001"), (0.25, "0.250"), (11.04, "11.0")]
)
def test_only_a_true_zero_is_zero(value: float | None, text: str) -> None:
    """A tenth of a millisecond of two masters must not look like none."""
    assert seconds(value) == text


def test_less_than_nothing_keeps_its_sign() -> None:
    """A server that did less than when idle is noise, and to be seen as such."""
    assert number(-12.3) == "−12.3"


def test_a_duration_has_the_unit_that_suits() -> None:
    """From microseconds to seconds with three figures that mean something."""
    assert [duration(x) for x in (0, 0.00512, 0.999, 1.5, 12.34, inf)] == [
        "0", "5.12 ms", "999 ms", "1.50 s", "12.3 s", NEVER,
    ]  # fmt: skip
    assert milliseconds(0.000001) == "<0.01"


def test_goals_are_held_against_the_pollers_median_of_the_same_run() -> None:
    """The median within twice, the worst within five times of it; no other run and no constant."""
    median, worst = (f"{KILLED}: promotion → DNS, {name}" for name in ("median", "worst"))
    assert result(RECORD, median) is True
    assert result(RECORD, worst) is True
    slow = changed(KILLED, promotion_to_dns=0.026)
    assert result(slow, median) is True
    assert result(slow, worst) is False


def test_a_single_moment_of_two_or_none_misses_the_goal() -> None:
    """Zero means zero, in every round of every scenario."""
    assert result(RECORD, "two masters in DNS, any scenario") is True
    assert result(changed(PLANNED, two=0.0001), "two masters in DNS, any scenario") is False
    assert result(changed(PLANNED, none=0.0001), "planned failover: no master in DNS") is False


def test_costs_and_starts_are_judged() -> None:
    """CPU with what Consul and Redis do for it, memory by the first and by each further node, starts by the worst."""
    assert result(RECORD, "idle: whole CPU, 1 node") is True
    assert result(RECORD, "idle: whole CPU, 100 nodes") is True
    assert result(RECORD, "idle: writes to Consul's raft log") is True
    assert result(RECORD, "resident memory, 1 node") is True
    assert result(RECORD, "each further node") is True
    assert result(RECORD, "start → entry true in DNS, Sentinels configured, worst") is True
    assert result(RECORD, "start → entry true in DNS, discovered, worst") is False


def test_an_applications_writes_are_judged_where_agents_fence() -> None:
    """The worst round counts, and what others lose misses no goal."""
    assert result(RECORD, "planned failover, fence: writes lost") is True
    assert result(RECORD, "planned failover, fence: longest time without a write") is True
    assert result(RECORD, "planned failover, fence: full copies") is True
    assert result(RECORD, "killed master, fence: longest time without a write") is False
    assert result(RECORD, "returning master, fence: takes writes for") is True
    once: Record = {**RECORD, "writes": [*RECORD["writes"], written(FENCED, 1, 0.1, number=2)]}
    assert result(once, "planned failover, fence: writes lost") is False
    assert result(once, "planned failover, fence: full copies") is False


def test_an_applications_losses_are_shown_by_how_it_finds_the_master() -> None:
    """Median and worst of the rounds; ours first."""
    [table] = [t for t in tables(RECORD) if t.title == "An application's writes: planned failover"]
    assert [row[:3] for row in table.rows] == [
        ((FENCED,), ("2",), ("0", "0")),
        ((SCRIPT,), ("1",), ("2127", "2127")),
    ]


def test_the_fitted_line_weighs_one_node_as_much_as_five_hundred() -> None:
    """Exact points give exact figures; a large one that is off by a tenth does not swallow the constant."""
    points = [(n, 10 + 2 * n) for n in (1, 10, 100, 500)]
    fitted = Line.through([(float(n), float(y)) for n, y in points])
    assert fitted is not None
    assert [fitted.constant, fitted.slope] == pytest.approx([10, 2])
    off = Line.through([(1, 12), (10, 30), (100, 210), (500, 1111)])
    assert off is not None
    assert off.constant == pytest.approx(10, rel=0.1)
    assert Line.through([(1, 5)]) is None
    assert Line.through([(1, 0), (2, 5)]) is None


def test_a_pipe_gets_a_figure_a_column() -> None:
    """Each table has lines of as many tab-separated fields as its heading; nothing has to be taken apart."""
    for block in plain(RECORD).split("\n\n"):
        widths = {line.count("\t") for line in block.splitlines() if not line.startswith("#")}
        assert len(widths) == 1, block


def test_markdown_tables_are_whole() -> None:
    """Every line of a table has as many cells as its heading, so that it is shown as a table."""
    for block in markdown(RECORD).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_a_report_is_written_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What is piped on has its lines and tabs, not their escapes."""
    show(RECORD)
    assert capsys.readouterr().out == plain(RECORD) + "\n"
