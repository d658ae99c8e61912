"""Where `demo` speaks: lines with the seconds since its start, what goes on meanwhile, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from consul_redis_agent.commands.screen import is_terminal, say

QUIET = 3.0
"""Seconds after which a pipe gets a line even if nothing has changed."""


class Stage:
    """Colours and a spinner for eyes; plain lines for a pipe. Times are of :func:`time.monotonic`."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._eyes = is_terminal()
        if self._eyes:
            from rich.console import Console

            self._console = Console(highlight=False, soft_wrap=True)

    def title(self, text: str) -> None:
        """Begin a scene."""
        self._line()
        self._line(text, "bold")

    def tell(self, text: str, style: str = "") -> None:
        """Say what has happened."""
        self._line(f"{time.monotonic() - self._began:5.1f} s  {text}", style)

    def paste(self, what: str, *commands: str) -> None:
        """Show commands to paste; nothing wraps them."""
        self._line(f"  # {what}", "dim")
        for command in commands:
            self._line(f"  {command}")

    @contextmanager
    def busy(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show that something goes on during the block; call what it gives with what is seen by now, at any rate."""
        if self._eyes:
            from rich.text import Text

            began = time.monotonic()
            with self._console.status(Text(text)) as status:
                yield lambda seen: status.update(Text(f"{text}: {time.monotonic() - began:.0f} s\n{seen}"))
            return
        self.tell(f"{text} …")
        last, at = "", 0.0

        def update(seen: str) -> None:
            nonlocal last, at
            if seen != last or time.monotonic() - at > QUIET:
                last, at = seen, time.monotonic()
                self.tell(f"  {seen}")

        yield update

    def table(self, title: str, rows: Sequence[Sequence[str]]) -> None:
        """Show a table; its first row is the head, the first column is aligned left, the others right."""
        self.title(title)
        head, *body = rows
        if self._eyes:
            from rich.table import Table

            table = Table()
            for number, cell in enumerate(head):
                table.add_column(cell, justify="right" if number else "left")
            for row in body:
                table.add_row(*row)
            self._console.print(table)
            return
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            self._line("  ".join([row[0].ljust(widths[0]), *cells]))

    def _line(self, text: str = "", style: str = "") -> None:
        if self._eyes:
            self._console.print(text, style=style, markup=False)
        else:
            for line in text.split("\n"):
                say(line)
