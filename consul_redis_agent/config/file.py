"""Files of the operator's: read whole, with a bound, and never one whose reading could last for ever."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from consul_redis_agent.errors import LocalError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_file(path: Path, longest: int, otherwise: str) -> bytes:
    """What a regular file of at most ``longest`` bytes holds; a longer one is ``otherwise`` ("no password").

    What is no regular file is not even opened: a pipe would wait for its writer, and a device may do something. It may still
    hang, on a file system that hangs. Raises LocalError, which names the file and the reason.
    """
    try:
        _refuse_irregular(path, path.stat().st_mode)
        # O_NONBLOCK: it may have been replaced by a pipe since
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            _refuse_irregular(path, os.fstat(file.fileno()).st_mode)
            data = file.read(longest + 1)
    except OSError as error:
        raise LocalError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise LocalError(f"{path}: cannot be read: it has a zero byte in its name") from None
    if len(data) > longest:
        raise LocalError(f"{path}: is longer than {longest} bytes, so it is {otherwise}")
    return data


def _refuse_irregular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise LocalError(f"{path}: is {kind}, no regular file, and is not read: put what it should hold into a file")
