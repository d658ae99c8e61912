"""The former version of the agent, from this checkout's own history: hosts are upgraded one after another."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

FORMER = "31e215d8b2fe370b13e857b56ac793bf085c493a"
"""The last commit of format 1: no group id, and no last claim is kept."""


def former_version(folder: Path) -> Path | None:
    """A folder for PYTHONPATH that holds it; None where the history does not reach back so far."""
    root = Path(__file__).parents[2]
    archive = subprocess.run(
        ["git", "-C", str(root), "archive", FORMER, "consul_redis_agent"], capture_output=True, check=False
    )
    if archive.returncode:
        return None
    path = folder / "former"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        if hasattr(tarfile, "data_filter"):  # not in the Python of Debian bookworm, 3.11.2
            files.extraction_filter = tarfile.data_filter
        files.extractall(path)
    return path
