"""``status``: what the running agent knows, decided, and why."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from consul_redis_agent.commands import socket_path
from consul_redis_agent.commands.screen import is_terminal, say, say_json
from consul_redis_agent.errors import LocalError

TIMEOUT = 2.0
"""Seconds in which a running agent answers."""
PUBLISHED = ("master", "replica")

Snapshot = Mapping[str, Any]


def main(args: argparse.Namespace) -> int:
    """Show it. Exit code 0 if every node is published as what it is and nothing is in error, else 1."""
    socket = socket_path(args)
    snapshot = ask(socket)
    try:
        well = is_well(snapshot)
        shown = None if args.json or not is_terminal() else [*lines(snapshot, time.time())]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise LocalError(f"what listens at {socket} is not consul-redis-agent of this version") from None
    if shown is None:
        say_json(snapshot)
    for line in shown or ():
        say(line)
    return 0 if well else 1


def ask(socket: Path) -> Snapshot:
    """The running agent's own account. Raises LocalError if no agent answers there."""
    from consul_redis_agent.tell.server import fetch

    try:
        snapshot = json.loads(fetch(socket, "/status", TIMEOUT))
    except (ValueError, RecursionError):
        snapshot = None
    if not isinstance(snapshot, dict) or not isinstance(snapshot.get("nodes"), list):
        raise LocalError(f"what listens at {socket} is not consul-redis-agent")
    return snapshot


def is_well(snapshot: Snapshot) -> bool:
    """Whether every node is published, and nothing is in error."""
    nodes = snapshot["nodes"]
    return bool(nodes) and all(node["decision"] in PUBLISHED and not any(node["errors"].values()) for node in nodes)


def lines(snapshot: Snapshot, now: float) -> Iterator[str]:
    """For eyes: a block for each node. ``now`` is wall time."""
    yield f"consul-redis-agent {snapshot['version']}, pid {snapshot['pid']}, up {ago(now - snapshot['started'])}"
    for node in snapshot["nodes"]:
        yield ""
        yield from _node(node, now)


def _node(node: Snapshot, now: float) -> Iterator[str]:
    known_as = f", published at {node['address']}" if node["address"] else ""
    group = f", master name {node['master_name']}" if node["master_name"] else ""
    yield f"{node['node']}"
    yield f"  role       {node['role'] or 'unknown'}{group}{known_as}"
    yield f"  decision   {node['decision']}: {node['reason']}, for {ago(now - node['since'])}"
    yield f"             {node['sentence']}"
    if claim := node["claim"]:
        yield f"  claim      {_claim(claim)}"
    if stray := node.get("counters", {}).get("stray_writes"):
        yield f'  stray      {stray} changes of keys written to it without authority (fence.mode = "{node.get("fence", "")}")'
    votes = [f"{s['address']} {_vote(s)}" for s in node["sentinels"]]
    yield from _list("sentinels", votes or ["none is known"])
    yield from _list("entries", [_entry(e) for e in node["entries"]] or ["Consul holds none"])
    yield from _list("errors", [f"{who}: {what}" for who, what in node["errors"].items() if what])


def _list(title: str, items: list[str]) -> Iterator[str]:
    for number, item in enumerate(items):
        yield f"  {title if number == 0 else '':<10} {item}"


def _vote(sentinel: Snapshot) -> str:
    if sentinel["error"]:
        return f"has no vote: {sentinel['error']}"
    if sentinel["tilt"]:
        return "has no vote: TILT, its clock jumped"
    return f"{sentinel['vote']} at epoch {sentinel['epoch']}"


def _claim(claim: Snapshot) -> str:
    turn = f", turn {claim['turn']}" if claim["turn"] else ""
    return f"epoch {claim['epoch']}{turn}{', early' if claim.get('early') else ''}"


def _entry(entry: Snapshot) -> str:
    state = "in DNS" if entry["visible"] else "maintenance" if entry["maintenance"] else "not in DNS"
    if hidden := entry.get("hidden_by"):
        state = f"not in DNS because of the check {', '.join(hidden)}"
    whose = "this node's" if entry["mine"] else "not this tool's" if entry["foreign"] else "another node's"
    claim = f", {_claim(entry['claim'])}" if entry["claim"] else ""
    return f"{entry['name']} at {entry['address']}: {state} ({entry['id']} on {entry['node']}, {whose}{claim})"


def ago(seconds: float) -> str:
    """A span as people say it, in its two largest units: ``3 d 4 h``, ``5 min 6 s``."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
