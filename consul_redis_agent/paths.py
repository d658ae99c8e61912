"""Where the running agent and ``status`` meet: a unix socket in a directory that only its user can write."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from consul_redis_agent.errors import LocalError

NAME = "consul-redis-agent"
SOCKET = "status.sock"


def status_socket(env: Mapping[str, str], uid: int) -> Path:
    """The socket's path for this environment and user; ``RUNTIME_DIRECTORY`` is systemd's."""
    if given := env.get("RUNTIME_DIRECTORY"):
        return Path(given.split(":")[0]) / SOCKET
    if uid == 0:
        return Path("/run") / NAME / SOCKET
    if session := env.get("XDG_RUNTIME_DIR"):
        return Path(session) / NAME / SOCKET
    return Path(tempfile.gettempdir()) / f"{NAME}-{uid}" / SOCKET


def make_private_directory(path: Path) -> None:
    """Make sure that ``path`` is a directory of this user that nobody else can write.

    Raises LocalError if somebody else got there first.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise LocalError(f"{path}: cannot be made: {error.strerror}; give --socket another place") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise LocalError(f"{path}: is not a directory that only this user can write; give --socket another place")
