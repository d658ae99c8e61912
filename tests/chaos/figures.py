"""The figures of all runs, as a table for the terminal and as JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

from .judge import Verdict

HEAD = (
    "fault",
    "mode",
    "runs",
    "bad",
    "two s",
    "none s",
    "wrong s",
    "exact ms",
    "worst",
    "gone ms",
    "worst",
    "> D",
    "back ms",
    "worst",
    "resolution ms",
)
WRITERS = (
    "fault",
    "mode",
    "writer",
    "runs",
    "written",
    "errors",
    "lost",
    "worst",
    "lost over s",
    "gap s",
    "worst s",
    "copies",
)


class Figures:
    """What every run of every fault has shown."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        """Where the figures go as JSON, and beside it the story of each run that was not well."""
        self.verdicts: dict[tuple[str, str], list[Verdict]] = defaultdict(list)

    def note(self, name: str, mode: str, verdict: Verdict, story: str, number: int | None = None) -> None:
        """Take in one run."""
        self.verdicts[name, mode].append(verdict)
        if self.path and verdict.problems:
            number = len(self.verdicts[name, mode]) if number is None else number
            self.path.parent.mkdir(parents=True, exist_ok=True)
            story_path = self.path.with_name(f"{self.path.stem}-{name.replace(' ', '-')}-{mode}-{number}.txt")
            story_path.write_text(story + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """A row a fault and mode: counts, seconds and milliseconds; None where nothing was measured."""
        rows = []
        for (name, mode), verdicts in self.verdicts.items():
            exact = [x * 1000 for v in verdicts for x in v.exact if isfinite(x)]
            gone = [x * 1000 for v in verdicts for x in v.gone]
            back = [x * 1000 for v in verdicts for x in v.back if isfinite(x)]
            rows.append(
                {
                    "fault": name,
                    "mode": mode,
                    "runs": len(verdicts),
                    "bad": sum(bool(v.problems) for v in verdicts),
                    "two_s": max(v.two for v in verdicts),
                    "none_s": max(v.none for v in verdicts),
                    "wrong_s": max(v.wrong for v in verdicts),
                    "exact_ms": median(exact) if exact else None,
                    "exact_worst_ms": max(exact, default=None),
                    "gone_ms": median(gone) if gone else None,
                    "gone_worst_ms": max(gone, default=None),
                    "over_d": sum(v.over_d for v in verdicts),
                    "back_ms": median(back) if back else None,
                    "back_worst_ms": max(back, default=None),
                    "resolution_ms": max(v.resolution for v in verdicts) * 1000,
                    "problems": sorted({p for v in verdicts for p in v.problems}),
                    "writers": [*_writers(verdicts)],
                }
            )
        return rows

    def table(self) -> str:
        """For people."""
        rows = self.rows()
        text = _table(HEAD, ([v for k, v in row.items() if k not in ("problems", "writers")] for row in rows))
        writers = [[row["fault"], row["mode"], *writer.values()] for row in rows for writer in row["writers"]]
        return f"{text}\n\n{_table(WRITERS, writers)}" if writers else text

    def write(self) -> None:
        """For programs."""
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.rows(), indent=1) + "\n")


def _writers(verdicts: Sequence[Verdict]) -> Iterator[dict[str, Any]]:
    """A row a writer: the median and worst of what one run lost, and of its longest time between two writes."""
    for writer in dict.fromkeys(writer for verdict in verdicts for writer in verdict.writes):
        runs = [verdict.writes[writer] for verdict in verdicts if writer in verdict.writes]
        lost, gaps = [len(run.lost) for run in runs], [run.gap for run in runs]
        yield {
            "writer": writer,
            "runs": len(runs),
            "written": sum(len(run.acknowledged) for run in runs),
            "errors": sum(run.errors for run in runs),
            "lost": median(lost),
            "lost_worst": max(lost),
            "lost_over_s": max(run.lost_over for run in runs),
            "gap_s": median(gaps),
            "gap_worst_s": max(gaps),
            "copies_worst": max(verdict.copies for verdict in verdicts),
        }


def _table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [[*head], *([_cell(key, value) for key, value in zip(head, row, strict=True)] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def _cell(key: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if key.endswith(" s") else f"{value:.1f}"
    return str(value)
