"""``history``: what happened to this host's Redis nodes, as a story, as JSON, or as a picture of one episode."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consul_redis_agent import __version__, state
from consul_redis_agent.commands import socket_path
from consul_redis_agent.commands.history_lanes import tiles
from consul_redis_agent.commands.screen import is_terminal, say
from consul_redis_agent.errors import LocalError
from consul_redis_agent.tell import shelf
from consul_redis_agent.tell.logs import escape

TIMEOUT = 5.0
"""Seconds in which a running agent answers."""
TOLD = 5
"""Episodes that are told on a terminal."""
FAILOVERS = ("promotion", "withdrawal", "failover")

Episode = Mapping[str, Any]


def main(args: argparse.Namespace) -> int:
    """Show it. Raises LocalError if no history is to be had, or it has no such episode."""
    version, found, source = read(args)
    if source:
        sys.stderr.write(f"{escape(source)}\n")
    numbered = [*zip(range(len(found), 0, -1), found, strict=True)]
    numbered = [(number, e) for number, e in numbered if args.node in (None, e["node"])]
    if args.episode is not None:
        numbered = [(number, e) for number, e in numbered if number == args.episode]
        if not numbered:
            raise LocalError(
                f"there is no episode {args.episode}{f' of {args.node}' if args.node else ''}: see `history`"
            )
    if args.svg:
        _draw([e for _, e in numbered], args.svg)
        return 0
    last = args.last or (TOLD if is_terminal() and not args.json else 0)
    numbered = numbered[-last:] if last else numbered
    lines: Iterator[tuple[str, ...]]
    if args.json:
        shown = json.dumps({"version": version, "episodes": [e for _, e in numbered]}, indent=2)
        lines = ((line,) for line in shown.replace("\x7f", "\\u007f").split("\n"))
    else:
        lines = ((line,) for line in story(numbered)) if is_terminal() else columns(numbered)
    for line in lines:
        say(*line)
    return 0


def read(args: argparse.Namespace) -> tuple[str, list[Episode], str]:
    """The version that tells, the episodes, oldest first, and a line that says so where it is not a running agent's word.

    Raises LocalError.
    """
    from consul_redis_agent.tell.server import fetch

    socket = socket_path(args)
    try:
        answer = json.loads(fetch(socket, "/history", TIMEOUT))
        version, episodes = str(answer["version"]), answer["episodes"]
    except LocalError as error:
        return __version__, *_kept(error)
    except (ValueError, KeyError, TypeError, RecursionError):
        version, episodes = "", None
    if not isinstance(episodes, list) or not all(map(shelf.is_episode, episodes)):
        raise LocalError(f"what listens at {socket} is not consul-redis-agent of this version")
    return version, episodes, ""


def _kept(why: LocalError) -> tuple[list[Episode], str]:
    """What the agent on this host has kept, where none answers."""
    path = state.on_this_host(os.environ) / shelf.FILE
    if not path.parent.is_dir():
        raise LocalError(f"{why}; nor is there what one has kept ({path})") from None
    try:
        return [*shelf.read(path)], f"{why}; this is what one has kept in {path}"
    except OSError as error:
        raise LocalError(f"{why}; and {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise LocalError(f"{why}; and {path} is no history: {error}") from None


def _draw(episodes: Sequence[Episode], where: str) -> None:
    from consul_redis_agent.commands.history_picture import picture

    chosen = [e for e in episodes if e["kind"] in FAILOVERS] or episodes
    if not chosen:
        raise LocalError("nothing has happened yet that could be drawn")
    drawn = picture(chosen[-1])
    if where == "-":
        sys.stdout.write(drawn)
        return
    try:
        Path(where).write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise LocalError(f"{where}: cannot be written: {error.strerror}") from None


def story(numbered: Sequence[tuple[int, Episode]]) -> Iterator[str]:
    """For eyes: each episode with its figures, and every event with its time."""
    if not numbered:
        yield "Nothing has happened: no Redis node here has changed since the history began."
    for place, (number, episode) in enumerate(numbered):
        if place:
            yield ""
        going_on = "" if episode["ended"] is not None else ", still going on"
        yield f"#{number}  {_time(episode['began'])} UTC  {episode['node']}  {episode['kind']}{going_on}"
        yield f"    {episode['sentence']}"
        yield f"    {'   '.join(f'{words} {figure}' for figure, words in tiles(episode))}"
        for event in episode["events"]:
            who = event["lane"] if event["lane"] != "sentinel" else f"Sentinel {event.get('sentinel', '')}"
            yield f"    {_time(episode['began'] + event['at'])[11:]} {event['at']:>+10.3f} s  {who:<{WHO}}  {event['text']}"
        if left := episode.get("left_out"):
            yield f"    {left} more events in the middle found no room"


WHO = 26
"""Columns for who saw or did it."""


def columns(numbered: Sequence[tuple[int, Episode]]) -> Iterator[tuple[str, ...]]:
    """For programs: an event a line."""
    for number, episode in numbered:
        for event in episode["events"]:
            time = f"{_time(episode['began'] + event['at']).replace(' ', 'T')}+00:00"
            who = str(event.get("sentinel", ""))
            yield (
                str(number),
                episode["node"],
                episode["kind"],
                time,
                f"{event['at']:.4f}",
                event["lane"],
                event["name"],
                who,
                event["text"],
            )


def _time(wall: float) -> str:
    try:
        return datetime.fromtimestamp(wall, UTC).isoformat(sep=" ", timespec="milliseconds")[:-6]
    except (OverflowError, ValueError, OSError):
        return "an unknown time        "
