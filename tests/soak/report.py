"""The outcome in words, for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .record import Record, Row, grown, problems, rows

HEAD = ("process", "measure", "first", "last", "a fault leaves", "at least", "at most", "limit", "")


def well(record: Record) -> bool:
    """Whether nothing grows, and no promise was broken."""
    return not problems(record) and not [*grown(record)]


def text(record: Record) -> str:
    """The table, and what was wrong."""
    return "\n".join(_lines(record))


def _lines(record: Record) -> Iterator[str]:
    table = [HEAD, *map(_cells, rows(record))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
    yield ""
    yield from sums(record)
    broken = problems(record)
    yield f"promises broken: {len(broken)}"
    yield from broken
    growing = [*grown(record)]
    yield f"grows: {', '.join(growing)}" if growing else "nothing is seen to grow"


def sums(record: Record) -> Iterator[str]:
    """What was done, and what DNS said meanwhile."""
    faults = record["faults"]
    two, none, wrong = (sum(fault[key] for fault in faults) for key in ("two", "none", "wrong"))
    yield (
        f"{len(faults)} faults of {len({fault['name'] for fault in faults})} kinds in {record['seconds'] / 60:.1f} min, "
        f"{sum(fault['moved'] for fault in faults)} with a promotion"
    )
    yield f"DNS named two masters for {two:.3f} s, none for {none:.1f} s, one without authority for {wrong:.3f} s"
    lost = Counter[str]()
    for fault in faults:
        lost.update(fault["lost"])
    if lost:
        yield f"acknowledged writes lost: {', '.join(f'{number} by {writer}' for writer, number in lost.items())}"
    processes = Counter(process for process, _ in {(s["process"], s["pid"]) for s in record["samples"]})
    ended = [f"{name} {count - 1} times" for name, count in sorted(processes.items()) if count > 1]
    yield f"started again by faults: {', '.join(ended) or 'nobody'}"
    for agent, cpu in _cpu(record):
        yield f"CPU of {agent}: {cpu:.0f} s an hour"
    index = [sample["index"] for sample in record["samples"] if "index" in sample]
    if index:
        yield f"Consul's log: {index[-1] - index[0]} entries, {(index[-1] - index[0]) / max(1, len(faults)):.0f} a fault"


def _cpu(record: Record) -> Iterator[tuple[str, float]]:
    """The CPU that the longest life of each agent has used, in seconds an hour."""
    for agent in sorted({sample["process"] for sample in record["samples"] if "cpu" in sample}):
        lives: dict[int, list[tuple[float, float]]] = {}
        for sample in record["samples"]:
            if sample["process"] == agent and "cpu" in sample:
                lives.setdefault(sample["pid"], []).append((sample["at"], sample["cpu"]))
        (start, before), *_, (stop, after) = max(lives.values(), key=lambda life: life[-1][0] - life[0][0])
        if stop > start:
            yield agent, (after - before) / (stop - start) * 3600


def _cells(row: Row) -> tuple[str, ...]:
    kibi = 1024 if row["measure"] == "uss" else 1
    numbers = (row["first"], row["last"], row["slope"], row["low"], row["high"], row["limit"])
    first, last, *slopes = (None if number is None else number / kibi for number in numbers)
    measure = "own memory, KiB" if kibi > 1 else row["measure"]
    return (
        row["process"],
        measure,
        f"{first:.0f}",
        f"{last:.0f}",
        *("-" if number is None else f"{number:.3f}" for number in slopes),
        row["trend"],
    )
