"""What the commands write: findings for ``check``, lines for everything else; plain for programs, rich for eyes.

Much of it was said by others: what could steer a terminal is escaped here, where it is written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consul_redis_agent.tell.logs import escape

TOPIC_WIDTH = 26  # columns; "sentinel 10.120.130.140:26379" may be wrapped


class Level(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``what`` was seen, and how to ``mend`` it where it is not well."""

    level: Level
    topic: str
    what: str
    mend: str = ""
    id: str = ""
    """Short and stable, for programs; those of ``check`` stand in :data:`~consul_redis_agent.commands.doctor.table.FINDINGS`."""

    def as_json(self) -> dict[str, str]:
        """The same for programs; ``id`` only where it has one."""
        told = {"level": self.level.lower(), "topic": self.topic, "what": self.what, "mend": self.mend}
        return {"id": self.id, **told} if self.id else told

    def __str__(self) -> str:
        return f"{self.level:<4} {self.topic}: {self.what}" + (f"; {self.mend}" if self.mend else "")


def is_terminal() -> bool:
    """Whether a person watches standard output."""
    return sys.stdout.isatty()


def say(*columns: str) -> None:
    """Write one line, at once; between columns stands a tab."""
    sys.stdout.write("\t".join(map(escape, columns)) + "\n")
    sys.stdout.flush()


def say_json(told: Any) -> None:
    """Write it as JSON over several lines, with nothing in it that steers a terminal."""
    for line in json.dumps(told, indent=2).replace("\x7f", "\\u007f").split("\n"):
        say(line)


def show(findings: Iterable[Finding]) -> None:
    """Write findings: one line each for programs, in columns for eyes."""
    if not is_terminal():
        for finding in findings:
            say(str(finding))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    table.add_column(width=4)
    table.add_column(width=TOPIC_WIDTH)
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(escape(finding.what))
        if finding.mend:
            text.append(f"\n→ {escape(finding.mend)}", style="bold")
        topic = Text(escape(finding.topic), overflow="fold")
        table.add_row(Text(finding.level, style=STYLES[finding.level]), topic, text)
    Console(highlight=False).print(table)
