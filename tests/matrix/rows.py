"""The rows and the steps; which ones a run has is said by the environment, and without it they are those that CI has time for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos.faults import FAULTS, Fault
from tests.fleet import REDIS_6_2, SERVERS, VALKEY_9_1, Server, consul_version, server

OLDER: Final = str(Path(__file__).parents[2] / ".servers" / "consul-1.8.7" / "consul")
IN_USE: Final = "consul"
PUBLICATION: Final = "publication"
STEPS: Final = {
    PUBLICATION: "",
    "planned": "planned failover",
    "killed and back": "master killed and back",
    "lost host and back": "host lost and back with its files",
    "cut and healed": "master cut off from everything and healed before the ttl",
}
"""Each step and its fault; publication is what a new fleet does first, and needs none."""
CI_STEPS: Final = (PUBLICATION, "planned", "killed and back")


@dataclass(frozen=True, slots=True)
class Row:
    """One fleet: its servers' versions and how it is set up. ``consul`` and ``clients`` are programs, as in ``Fleet``."""

    server: Server
    consul: str = IN_USE
    clients: str = IN_USE
    mode: str = "services"
    fenced: bool = False
    acl: bool = False
    """Every login is one with the shipped rights, and Consul denies by default."""
    tls: bool = False
    """Every connection to Redis, Sentinel and Consul is encrypted and its certificate checked."""

    def __str__(self) -> str:
        name = next((name for name, known in SERVERS.items() if known is self.server), self.server.program)
        return "+".join([name.strip("/").replace("/", "-"), *self.traits])

    @property
    def traits(self) -> list[str]:
        """What is not as usual, in words."""
        consuls = (("servers", self.consul), ("agents", self.clients))
        return [f"older consul {who}" for who, program in consuls if program == OLDER] + self.setup

    @property
    def setup(self) -> list[str]:
        """What is not as usual, apart from the versions."""
        mode = [] if self.mode == "services" else [f"mode {self.mode}"]
        flags = (("acl", self.acl), ("tls", self.tls), ("fence", self.fenced))
        return mode + [name for name, on in flags if on]

    @property
    def options(self) -> dict[str, Any]:
        """For the fleet."""
        given: dict[str, Any] = {"server": self.server, "consul": self.consul, "consul_clients": self.clients}
        return given | ({"acl": True} if self.acl else {}) | ({"tls": True} if self.tls else {})

    @property
    def missing(self) -> str:
        """Why it cannot be run here; empty where it can."""
        if OLDER in (self.consul, self.clients) and not Path(OLDER).exists():
            return "Consul 1.8.7 is not in .servers: tests/setup could not fetch it"
        if self.tls and not self.server.tls:
            return f"{self.server} is built without TLS"
        return self.server.missing

    def versions(self) -> dict[str, str]:
        """What the programs say of themselves. Raises OSError where one does not run."""
        said = {"servers": self.consul, "agents": self.clients}
        consul = {who: ".".join(map(str, consul_version(name))) for who, name in said.items()}
        return {"server": self.server.measured()} | {f"consul {who}": version for who, version in consul.items()}


@dataclass(frozen=True, slots=True)
class Case:
    """One step of a row."""

    row: Row
    step: str

    def __str__(self) -> str:
        return f"{self.row}-{self.step}".replace(" ", "-")

    @property
    def fault(self) -> Fault | None:
        """What is done; None for the publication."""
        return next((fault for fault in FAULTS if fault.name == STEPS[self.step]), None)


def every(servers: tuple[Server, ...] = tuple(SERVERS.values())) -> list[Row]:
    """Each server alone, and with ACLs, and TLS where it has it; then what other Consuls, modes and the fence make of one."""
    rows = [
        *(Row(one) for one in servers),
        *(Row(one, acl=True, tls=one.tls) for one in servers),
        Row(servers[0], consul=OLDER, clients=OLDER),
        Row(servers[0], consul=OLDER),
        Row(servers[0], clients=OLDER),
        Row(servers[0], consul=OLDER, clients=OLDER, acl=True, tls=servers[0].tls),
        *(Row(servers[-1], mode=mode) for mode in ("check", "tags")),
        *(Row(one, fenced=True) for one in servers[:2] + servers[-1:]),
    ]
    return [*dict.fromkeys(rows)]


def chosen() -> list[Case]:
    """What ``MATRIX`` in the environment asks for: ``all``, or words of rows' names, comma-separated; else the set for CI.

    ``SERVER`` names another one than those that were fetched, by its path. Raises ValueError where nothing is so named.
    """
    pattern, given = os.environ.get("MATRIX", ""), os.environ.get("SERVER", "")
    if not pattern:
        return [Case(row, step) for row in (Row(VALKEY_9_1), Row(REDIS_6_2)) for step in CI_STEPS]
    return [Case(row, step) for row in find(pattern, every((server(given),)) if given else every()) for step in STEPS]


def find(pattern: str, rows: list[Row]) -> list[Row]:
    """The rows that are named in full by a part of ``pattern``, or have each of its words in their names.

    Raises ValueError where a part names none.
    """
    named: list[Row] = []
    for part in [] if pattern == "all" else pattern.split(","):
        exact = [row for row in rows if str(row) == part.strip()]
        found = exact or [row for row in rows if all(word in str(row) for word in part.split())]
        if not found:
            raise ValueError(
                f"no row of the matrix has {part.strip()!r} in its name; there are {', '.join(map(str, rows))}"
            )
        named += found
    return [row for row in rows if pattern == "all" or row in named]
