"""The findings of one `check` as they come: lines while it runs, or one JSON object at its end."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from consul_redis_agent import __version__
from consul_redis_agent.commands.screen import Finding, Level, say_json, show

QUIET = 2.0
"""Seconds until somebody at a terminal is told what is still waited for."""
CLEAR = "\r\x1b[K"


class Report:
    """Says each finding once."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._shows_progress = False
        self.findings: list[Finding] = []

    def tell(self, findings: Iterable[Finding]) -> None:
        """Take these; nodes of one group share their Sentinels, so what was said of them is not said again."""
        new = [finding for finding in dict.fromkeys(findings) if finding not in self.findings]
        self.findings += new
        if new and not self._as_json:
            self._clear()
            show(new)

    def end(self) -> int:
        """Close the report; returns the exit code."""
        if self._as_json:
            say_json(self.as_json())
        return 0 if self.ok else 1

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.level is not Level.FAIL for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """All of it, as docs/interface.md has it; a bad configuration (exit code 78) prints no JSON."""
        levels = Counter(finding.level for finding in self.findings)
        return {
            "version": __version__,
            "ok": self.ok,
            "summary": {level.lower(): levels[level] for level in Level},
            "findings": [finding.as_json() for finding in self.findings],
        }

    async def progress(self, waited_for: Callable[[], Iterable[str]]) -> None:
        """Say at a terminal what is still waited for, after :data:`QUIET`, until this is cancelled."""
        if not sys.stderr.isatty():
            return
        try:
            await asyncio.sleep(QUIET)
            while names := ", ".join(waited_for()):
                self._shows_progress = True
                sys.stderr.write(f"{CLEAR}still looking at {names} …")
                sys.stderr.flush()
                await asyncio.sleep(QUIET / 4)
        finally:
            self._clear()

    def _clear(self) -> None:
        if self._shows_progress:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()
            self._shows_progress = False
