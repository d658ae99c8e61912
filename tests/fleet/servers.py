"""Which Redis or Valkey a fleet is made of: the one on PATH, or another version that ``tests/setup`` has fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FETCHED: Final = Path(__file__).parents[2] / ".servers"


@dataclass(frozen=True, slots=True)
class Server:
    """One version: ``node`` and ``sentinel`` start it as the one or the other, each with a configuration file."""

    name: str
    version: str
    program: str
    sentinel_program: str = ""
    """The program that is a Sentinel by its name; without one, ``program`` is told to be one."""

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
    def coordinates(self) -> bool:
        """Whether its Sentinel has ``FAILOVER … COORDINATED``."""
        return self.name == "Valkey" and int(self.version.split(".")[0]) >= 9

    @property
    def missing(self) -> str:
        """Why it cannot be started; empty where it can."""
        if Path(self.program).parent.is_relative_to(_FETCHED) and not Path(self.program).exists():
            return f"{self} is not in .servers: tests/setup could not fetch it"
        return ""


def _fetched(name: str, version: str, program: str) -> Server:
    return Server(name, version, str(_FETCHED / f"{name.lower()}-{version}" / program))


ON_PATH: Final = Server("Redis", "of PATH", "redis-server", "redis-sentinel")
REDIS_6_2: Final = _fetched("Redis", "6.2.5", "redis-server")
VALKEY_9_1: Final = _fetched("Valkey", "9.1.2", "valkey-server")


def chosen(folder: str) -> Server:
    """The server in a folder of ``.servers``, named ``redis-VERSION`` or ``valkey-VERSION``; "" is the one on PATH.

    Raises ValueError where there is none.
    """
    if not folder:
        return ON_PATH
    name, _, version = folder.partition("-")
    server = _fetched(name.capitalize(), version, f"{name}-server")
    if name not in ("redis", "valkey") or not Path(server.program).exists():
        there = sorted(path.parent.name for path in _FETCHED.glob("*-*/*-server"))
        raise ValueError(f"there is no server {folder!r} in .servers, only {', '.join(there) or 'none'}")
    return server
