"""What a run has shown, as it goes into the JSON. Times are in seconds since the run began."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import isfinite
from operator import attrgetter
from pathlib import Path
from typing import Any, TypedDict

from tests.bench.record import Machine

from .samples import Sample
from .verdict import LIMITS, Level, Trend, slope


class Done(TypedDict):
    """One fault, from its beginning until the fleet is at rest again."""

    number: int
    name: str
    began: float
    ended: float
    two: float
    """Seconds for which DNS named two masters, until the next fault; and so on."""
    none: float
    wrong: float
    """Seconds for which DNS named one that had no authority."""
    moved: bool
    """Whether a promotion was part of it."""
    problems: list[str]
    """Promises that were broken."""
    lost: Mapping[str, int]
    """Acknowledged writes that are lost, by writer."""


class Record(TypedDict):
    """A run."""

    machine: Machine
    seed: int
    mode: str
    fenced: bool
    scale: float
    """How many times longer than on an idle machine every promise may take (``TEST_SCALE``)."""
    spared: str
    """The agent that no fault ends."""
    seconds: float
    faults: list[Done]
    samples: list[Sample]


class Row(TypedDict):
    """One measure of one process."""

    process: str
    measure: str
    first: float
    """The level after the first fault."""
    last: float
    slope: float
    """By how much it grows with a fault, at ``low`` least and ``high`` most; these are None where that cannot be told."""
    low: float | None
    high: float | None
    limit: float
    trend: str


def rows(record: Record) -> Iterator[Row]:
    """Every measure of every process that has a limit."""
    processes = dict.fromkeys(sample["process"] for sample in record["samples"])
    for process in processes:
        for measure, limit in LIMITS.items():
            found = levels(record, process, measure)
            if found:
                fitted = slope(found)
                yield Row(
                    process=process,
                    measure=measure,
                    first=found[0].value,
                    last=found[-1].value,
                    slope=fitted.value,
                    low=_finite(fitted.low),
                    high=_finite(fitted.high),
                    limit=limit,
                    trend=fitted.trend(limit).value,
                )


def levels(record: Record, process: str, measure: str) -> list[Level]:
    """The lowest that was seen of a process at rest after each fault, oldest first.

    Of Python's blocks: between two of its full collections, since garbage of cycles stays until the next one.
    """
    lowest: dict[tuple[int, int], Level] = {}
    for sample in record["samples"]:
        if sample["process"] == process and sample["rest"] is not None and measure in sample:
            seen = Level(sample["rest"], sample["pid"], sample[measure])
            between = sample.get("collections") if measure == "blocks" else None
            key = seen.generation, seen.fault if between is None else between
            lowest[key] = min(seen, lowest.get(key, seen), key=attrgetter("value"))
    return [*lowest.values()]


def grown(record: Record) -> Iterator[str]:
    """What is sure to grow."""
    yield from (f"{row['measure']} of {row['process']}" for row in rows(record) if row["trend"] == Trend.GROWS.value)


def problems(record: Record) -> list[str]:
    """Every promise that was broken, with its fault."""
    return [f"fault {f['number']}, {f['name']}: {problem}" for f in record["faults"] for problem in f["problems"]]


def save(record: Record, path: Path) -> None:
    """Write it down, with the verdicts."""
    written: dict[str, Any] = {**record, "rows": [*rows(record)], "problems": problems(record)}
    path.write_text(json.dumps(written, separators=(",", ":")) + "\n")


def _finite(number: float) -> float | None:
    return number if isfinite(number) else None
