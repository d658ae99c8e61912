"""What outlives a restart of the agent, where systemd gives it a directory: whose group each Redis node is of."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from consul_redis_agent.beside import Threads
from consul_redis_agent.decide.memory import NOTHING, Memory
from consul_redis_agent.errors import LocalError

INSTALLED = Path("/var/lib/consul-redis-agent")
"""Where the unit's StateDirectory is, for commands that systemd does not start."""

_WRITER = Threads(1, at_exit=1.0)


def state_directory(env: Mapping[str, str]) -> Path | None:
    """Where the agent keeps its state; None: nowhere (``STATE_DIRECTORY`` is systemd's)."""
    given = env.get("STATE_DIRECTORY", "")
    return Path(given.split(":")[0]) if given else None


def agent_id(directory: Path | None, socket_path: Path) -> str:
    """What tells this agent from another one for the same Redis node, and outlives its restart.

    It is kept in ``directory``; without one, or where it cannot be kept, it is the host's name with the status socket, which
    two agents of one host do not share.
    """
    path = _id_file(directory)
    with suppress(OSError):
        if path and not path.exists():
            path.write_text(uuid.uuid4().hex)
    return kept_id(directory) or f"{socket.gethostname()} {socket_path}"


def on_this_host(env: Mapping[str, str]) -> Path:
    """The directory of the agent on this host, for a command beside it: without the variable, where the unit has it."""
    return state_directory(env) or INSTALLED


def kept_id(directory: Path | None) -> str:
    """The id of the agent that keeps its state there; "" where none is kept, or it may not be read."""
    path = _id_file(directory)
    try:
        kept = path.read_text().strip()[:64] if path else ""
    except (OSError, ValueError):
        return ""
    return kept if kept.isalnum() else ""


def _id_file(directory: Path | None) -> Path | None:
    return directory / "agent-id" if directory else None


def load(directory: Path | None, kept_as: str) -> Memory:
    """What an earlier run has kept of the Redis node that is kept under this name. What cannot be read was not kept."""
    if directory is None:
        return NOTHING
    try:
        kept = json.loads(_file(directory, kept_as).read_text())
    except (OSError, ValueError, RecursionError):
        return NOTHING
    match kept:
        case {"group": str(group), "had_sentinel": bool(had_sentinel)}:
            return Memory(group=group, had_sentinel=had_sentinel)
    return NOTHING


def save(directory: Path, kept_as: str, memory: Memory) -> None:
    """Keep it, in one step. Raises LocalError."""
    path = _file(directory, kept_as)
    try:
        fresh = path.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(json.dumps({"group": memory.group, "had_sentinel": memory.had_sentinel}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise LocalError(
            f"{path}: cannot be written: {error.strerror}; the group id is learned anew after a restart"
        ) from None


def keep(directory: Path, kept_as: str, memory: Memory) -> asyncio.Future[None]:
    """As :func:`save`, beside the event loop, one after the other: a disk may be slow, or hang."""
    return _WRITER.start(save, directory, kept_as, memory)


def forget(directory: Path, kept_as: str) -> None:
    """Keep nothing of that node any more. Raises LocalError."""
    try:
        _file(directory, kept_as).unlink(missing_ok=True)
    except OSError as error:
        raise LocalError(f"{directory}: {error.strerror}") from None


def _file(directory: Path, kept_as: str) -> Path:
    return directory / f"{kept_as}.json"
