"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from pathlib import Path

from tests.fleet import program

from .record import Machine


def machine() -> Machine:
    """Look at this machine, and at its load before anything was started. Raises MissingProgram."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "redis": _version("redis-server", "--version"),
        "consul": _version("consul", "version"),
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[0],
    }


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _version(name: str, argument: str) -> str:
    said = subprocess.run([program(name), argument], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\bv=?(\d+[.\d]*)", said)
    return found[1] if found else said.partition("\n")[0]
