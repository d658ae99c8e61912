"""Whether the agent itself runs on this host, is of this version, and starts with the host. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from consul_redis_agent import __version__
from consul_redis_agent.commands.screen import Finding, Level

UNIT = "consul-redis-agent.service"
NOBODY = "no agent answers"
"""How it begins where nothing listens (tell/server.py)."""


def agent_findings(snapshot: Mapping[str, Any] | str, unit: str) -> Iterator[Finding]:
    """``snapshot`` is what the agent told, or why it did not; ``unit`` what ``systemctl is-enabled`` says, "" without systemd."""
    installed = unit in ("enabled", "disabled")
    if isinstance(snapshot, str) and not snapshot.startswith(NOBODY):
        mend = "run check as root or as the agent's user; if it hangs, see its log"
        yield Finding(Level.WARN, "agent", f"it could not be asked: {snapshot}", mend, id="agent.not_asked")
        return
    if isinstance(snapshot, str):
        mend = f"systemctl enable --now {UNIT}" if installed else "start it: consul-redis-agent run"
        yield Finding(Level.WARN, "agent", f"{snapshot}; without it nothing is published", mend, id="agent.not_running")
        return
    version = str(snapshot.get("version"))
    if version != __version__:
        what = f"version {version} is running, and this is {__version__}"
        mend = f"systemctl restart {UNIT}" if installed else "restart it; that leaves no hole in DNS"
        yield Finding(Level.WARN, "agent", what, mend, id="agent.other_version")
    complaints = [*_complaints(snapshot)]
    for node, who, what in complaints:
        yield Finding(Level.WARN, f"agent {node}", f"{who}: {what}", id="agent.complains")
    if unit == "disabled":
        what = "it runs, but does not start with the host"
        yield Finding(Level.WARN, "agent", what, f"systemctl enable {UNIT}", id="agent.unit_disabled")
    elif not complaints:
        yield Finding(Level.OK, "agent", f"version {version} is running, and nothing is in error", id="agent.running")


def _complaints(snapshot: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for node in snapshot.get("nodes") or ():
        if isinstance(node, dict) and isinstance(errors := node.get("errors"), dict):
            yield from ((str(node.get("node")), str(who), str(what)) for who, what in errors.items() if what)
