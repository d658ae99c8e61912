"""The last episodes, within bounds; kept over restarts where there is a state directory.

Each is JSON text, compressed: a failover takes 2 KiB of memory instead of 15. The file has one episode a line, oldest first, so
that people and other programs can read it where no agent runs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import zlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from consul_redis_agent.beside import Threads
from consul_redis_agent.marked import event

log = logging.getLogger(__name__)

FILE = "history.jsonl"
EPISODES = 100
"""A failover a week for two years; a host with many Redis nodes keeps its last few, one episode a node."""
ROOM = 1024 * 1024
"""Bytes on disk: what is written anew in a moment, and read at a start in some 20 ms."""

_WRITER = Threads(1, at_exit=1.0)


class Shelf:
    """Holds what has ended, and writes it down beside the event loop, together with what is still going on."""

    def __init__(self, directory: Path | None) -> None:
        self._path = directory / FILE if directory else None
        self._episodes: deque[tuple[bytes, int]] = deque()
        """Compressed, with the size of the text."""
        self._size = 0
        self._problem = ""
        self._saving: asyncio.Future[None] | None = None
        if self._path:
            self._load(self._path)

    def add(self, episode: dict[str, Any]) -> None:
        """Take in one that has ended; the oldest leave where there is no room."""
        self._add(text(episode))

    def texts(self) -> list[bytes]:
        """All of them as JSON, oldest first."""
        return [zlib.decompress(packed) for packed, _ in self._episodes]

    @property
    def is_free(self) -> bool:
        """Whether nothing is being written: a disk that hangs gets no second piece of work."""
        return self._saving is None or self._saving.done()

    def save(self, going_on: Iterable[dict[str, Any]]) -> None:
        """Begin to write everything down; nobody waits for it."""
        if self._path is None:
            return
        packed, rest = [packed for packed, _ in self._episodes], [text(episode) for episode in going_on]
        self._saving = _WRITER.start(_save, self._path, packed, rest)
        self._saving.add_done_callback(self._saved)

    def _saved(self, saving: asyncio.Future[None]) -> None:
        error = None if saving.cancelled() else saving.exception()
        problem = f"{getattr(error, 'strerror', None) or error}" if error else ""
        if problem and problem != self._problem:
            log.warning(
                "%s: cannot be written: %s; history is kept in memory only, until it can be",
                self._path, problem, extra=event("history_not_kept", error=problem),
            )  # fmt: skip
        self._problem = problem

    def _add(self, line: bytes) -> None:
        self._episodes.append((zlib.compress(line), len(line)))
        self._size += len(line)
        while len(self._episodes) > EPISODES or (self._size > ROOM and len(self._episodes) > 1):
            self._size -= self._episodes.popleft()[1]

    def _load(self, path: Path) -> None:
        try:
            for episode in read(path):
                self.add(episode)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            log.warning(
                "%s: cannot be read: %s; history begins anew",
                path,
                problem,
                extra=event("history_unreadable", error=problem),
            )


def text(episode: dict[str, Any]) -> bytes:
    """An episode as one line of JSON."""
    return json.dumps(episode, separators=(",", ":")).encode()


def read(path: Path) -> list[dict[str, Any]]:
    """The episodes in such a file, oldest first; none where there is no file.

    One that was still going on has ended with the agent, at its last event. Raises OSError or ValueError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(2 * ROOM + 1)
    except FileNotFoundError:
        return []
    if len(data) > 2 * ROOM:
        raise ValueError("it is far too long")
    return [_ended(_episode(line, number)) for number, line in enumerate(data.splitlines(), 1) if line.strip()]


def _episode(line: bytes, number: int) -> dict[str, Any]:
    try:
        episode = json.loads(line)
    except (ValueError, RecursionError):
        episode = None
    if not is_episode(episode):
        raise ValueError(f"line {number} is no episode")
    assert isinstance(episode, dict)  # noqa: S101 - for mypy: is_episode has looked
    return episode


def is_episode(found: object) -> bool:
    """Whether it has the shape that :mod:`consul_redis_agent.tell.tale` documents, as far as readers rely on it."""
    match found:
        case {
            "node": str(),
            "service": str(),
            "kind": str(),
            "sentence": str(),
            "began": int() | float(),
            "ended": int() | float() | None,
            "events": list(events),
            "seconds": dict(seconds),
            "lost": dict(),
        }:
            return all(map(_is_event, events)) and all(
                v is None or isinstance(v, int | float) for v in seconds.values()
            )
    return False


def _is_event(found: object) -> bool:
    match found:
        case {"at": int() | float(), "lane": str(), "name": str(), "text": str()}:
            return True
    return False


def _ended(episode: dict[str, Any]) -> dict[str, Any]:
    if episode["ended"] is None:
        last = max((event["at"] for event in episode["events"]), default=0.0)
        episode["ended"] = round(episode["began"] + last, 3)
    return episode


def _save(path: Path, packed: list[bytes], going_on: list[bytes]) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        for line in (*map(zlib.decompress, packed), *going_on):
            file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
