"""Which Redis or Valkey a fleet is made of: the one on PATH, or another version that ``tests/setup`` has fetched."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consul_redis_agent.commands.demo.process import program

_FETCHED: Final = Path(__file__).parents[2] / ".servers"


@dataclass(frozen=True, slots=True)
class Server:
    """One version: ``node`` and ``sentinel`` start it as the one or the other, each with a configuration file."""

    name: str
    version: str
    program: str
    sentinel_program: str = ""
    """The program that is a Sentinel by its name; without one, ``program`` is told to be one."""
    tls: bool = False
    """Whether it is built with TLS: Debian's are, those of the wheels are not."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def node(self, config: Path) -> list[str]:
        """The command line of a Redis node."""
        return [self.program, str(config)]

    def sentinel(self, config: Path) -> list[str]:
        """The command line of a Sentinel."""
        if self.sentinel_program:
            return [self.sentinel_program, str(config)]
        return [self.program, str(config), "--sentinel"]

    @property
    def missing(self) -> str:
        """Why it cannot be started; empty where it can."""
        if Path(self.program).parent.is_relative_to(_FETCHED) and not Path(self.program).exists():
            return f"{self} is not in .servers: tests/setup could not fetch it"
        return ""

    def measured(self) -> str:
        """Its name and the version that its program says, and where it is from. Raises OSError where it does not run."""
        said = subprocess.run([program(self.program), "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"\bv=(\S+)", said)
        origin = "" if self.version in said else f" {self.version}"
        return f"{self.name} {found[1] if found else said.strip()}{origin}"

    def coordinates(self) -> bool:
        """Whether its Sentinel has ``FAILOVER … COORDINATED``. Raises OSError where it does not run."""
        major = re.match(r"Valkey (\d+)", self.measured()) if self.name == "Valkey" else None
        return major is not None and int(major[1]) >= 9


def _fetched(name: str, version: str, folder: str, *, tls: bool = False) -> Server:
    program = "valkey-server" if name == "Valkey" else "redis-server"
    return Server(name, version, str(_FETCHED / folder / program), tls=tls)


ON_PATH: Final = Server("Redis", "of PATH", "redis-server", "redis-sentinel", tls=True)
REDIS_6_2: Final = _fetched("Redis", "6.2.5", "redis-6.2.5")
VALKEY_9_1: Final = _fetched("Valkey", "9.1.2", "valkey-9.1.2")
SERVERS: Final = {
    "redis": ON_PATH,
    "redis-6.2.5": REDIS_6_2,
    "redis-trixie": _fetched("Redis", "of Debian trixie", "redis-trixie", tls=True),
    "redis-8.2.3": _fetched("Redis", "8.2.3", "redis-8.2.3"),
    "valkey-backports": _fetched("Valkey", "of Debian bookworm-backports", "valkey-backports", tls=True),
    "valkey-trixie": _fetched("Valkey", "of Debian trixie", "valkey-trixie", tls=True),
    "valkey-9.1.2": VALKEY_9_1,
    "valkey-forky": _fetched("Valkey", "of Debian forky", "valkey-forky", tls=True),
}
"""By the name of the folder in ``.servers``; Debian's are named after the release, whose version moves on."""


def server(name: str) -> Server:
    """Return the one of that name, or of that path. Raises ValueError."""
    if found := SERVERS.get(name):
        return found
    if "/" not in name:
        raise ValueError(f"there is no server {name!r}: name a path, or one of {', '.join(SERVERS)}")
    path = Path(name).absolute()
    if not path.exists():
        raise ValueError(f"there is no server at {path}")
    return Server("Valkey" if "valkey" in path.name else "Redis", f"at {path}", str(path), tls=True)
