"""Which fault is next. One agent is spared: it lives through the whole run, so that what it leaks has time to show."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.chaos import faults_fenced  # noqa: F401 - enters its faults into the list
from tests.chaos.faults import FAULTS, Fault, find
from tests.chaos.mix import mix
from tests.chaos.mix import plan as steps

ENDS_ANY = frozenset(
    {
        "agents end between a decision and its write",
        "agents end between the selection and the promotion",
        "agents that reach one sentinel of three",
        "host lost while another agent is down",
        "two hosts share a consul agent which they reach by its name",
        "upgrade host by host",
        "wall clock of the agents jumps by an hour and back",
    }
)
"""They end every agent, or any: these are left to ``make chaos``."""
ENDS_THE_MASTERS = frozenset(
    {
        "agent killed and started again",
        "agent killed with the fence closed",
        "agent of the master killed across a failover",
        "host back without its agent",
        "host lost and back with its files",
        "host lost for longer than the ttl",
        "old host loses its power as soon as dns has moved",
        "old host switched off as soon as dns has moved and nothing is early",
        "old host switched off in order as soon as dns has moved",
        "two agents for one node at two consul agents",
    }
)
"""They end the agent of the master, so its host must not be the one that is spared."""
ENDS_ONE = frozenset({"agent dead", "host lost"})
"""Harms of a random mix that end the agent of the host that they are done to."""
MIX = 0.1
"""The part of all faults that are random mixes of them."""


class Plan:
    """Every fault in random order, then again in another one, with a random mix among them now and then."""

    def __init__(self, faults: Sequence[Fault], seed: int, *, mixes: bool = True) -> None:
        self._faults = faults
        self._chance = random.Random(seed)
        self._mixes = mixes
        self._left: list[Fault] = []

    def next(self, spared: int) -> Fault:
        """The next fault. ``spared``: the place of the spared host, where 0 is the master's and then come the replicas'."""
        if self._mixes and self._chance.random() < MIX:
            return self._mix(spared)
        for _ in range(2):
            for place, fault in enumerate(self._left):
                if spared or fault.name not in ENDS_THE_MASTERS:
                    return self._left.pop(place)
            self._left += self._chance.sample(self._faults, len(self._faults))
        return find("planned failover")[0]  # so that another host's agent may be ended next

    def _mix(self, spared: int) -> Fault:
        while True:
            seed = self._chance.randrange(10**6)
            if not any(step.who == spared and step.harm.name in ENDS_ONE for step in steps(seed)):
                return mix(seed)


def suitable(pattern: str, *, mode: str, fenced: bool, coordinated: bool) -> list[Fault]:
    """The faults for a fleet whose names match, without those that end any agent. Raises ValueError where there is none.

    ``pattern`` as in :func:`find`; ``coordinated``: its Sentinels can fail over so.
    """
    found = [
        fault
        for fault in (find(pattern) if pattern else FAULTS)
        if fault.name not in ENDS_ANY
        and fault.fenced in (None, fenced)
        and mode not in fault.not_in
        and (coordinated or not fault.coordinated)
    ]
    if not found:
        raise ValueError(f"no fault with {pattern!r} in its name can be part of a soak in this fleet")
    return found
