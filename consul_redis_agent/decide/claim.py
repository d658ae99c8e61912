"""The claim "this node is the master", as it is written into a service's Meta and read back.

The catalog is the only record: no KV key, no session. A claim is ordered by the Sentinel configuration epoch that
made it, then by its turn, which counts handovers that happen within one epoch (the ``FAILOVER`` command, or a
failover by hand where no Sentinel runs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

MARKER = "consul_redis_agent"
"""Meta key of everything this tool registers; its value is the version of this format. (Consul reserves ``consul-``.)"""
FORMAT = "1"
NODE = "redis-node"
MASTER_NAME = "redis-master-name"
EPOCH = "redis-epoch"
TURN = "redis-turn"
RUN_ID = "redis-run-id"
EARLY_SINCE = "redis-early-since"
EARLY_LEADER = "redis-early-leader"

PUT_DOWN = "a newer claim has taken its place"
"""Output of the checks of an older claim that its successor has set critical."""
TOMBSTONES = 6
"""How many further critical checks an older claim gets when it is put down.

A Consul agent that was cut off does not know of it, and writes its own record over the catalog once it can, a check in
each step. So many steps take longer than the newest claim's holder needs to put the old one down again, which begins
with the first of them; and a registration that was on its way when the network was cut does not touch them at all.
"""

NO_EPOCH = -1
"""Where no Sentinel runs. Sentinel's first epoch is 0, so any claim that a Sentinel backs is newer."""


EARLY_TERM = 5.0
"""Seconds for which an early claim stands at most. A majority follows the leader's word 0.9 to 2 s after the promotion."""


@dataclass(frozen=True, slots=True)
class Early:
    """What makes a claim an early one: it rests on the elected leader's word, and no majority names the node yet."""

    since: float
    """When it was decided, in seconds of :func:`consul_redis_agent.clock.clock`."""
    boot: str
    """Which start of the machine that clock counts from: another one's seconds say nothing."""
    leader: str
    """Id of the Sentinel that selected the node."""

    def meta(self) -> dict[str, str]:
        """As Meta pairs."""
        return {EARLY_SINCE: f"{self.since:.3f} s after boot {self.boot}", EARLY_LEADER: self.leader}

    @classmethod
    def read(cls, meta: Mapping[str, str]) -> Early | None:
        """From Meta; None where the claim is not early. What cannot be read began before everything."""
        if EARLY_SINCE not in meta:
            return None
        since, _, boot = meta[EARLY_SINCE].partition(" s after boot ")
        return cls(_seconds(since), boot, meta.get(EARLY_LEADER, ""))


@dataclass(frozen=True, slots=True)
class Claim:
    """Compared by :attr:`order`; ``run_id`` only identifies the owner."""

    epoch: int
    turn: int
    run_id: str
    early: Early | None = None

    @property
    def order(self) -> tuple[int, bool, int]:
        """What decides which of two claims is newer: at one epoch a majority's claim beats an early one."""
        return self.epoch, self.early is None, self.turn

    @property
    def settled(self) -> Claim:
        """The same claim with a majority behind it."""
        return replace(self, early=None)

    def meta(self) -> dict[str, str]:
        """As Meta pairs."""
        early = self.early.meta() if self.early else {}
        return {EPOCH: str(self.epoch), TURN: str(self.turn), RUN_ID: self.run_id} | early

    @classmethod
    def read(cls, meta: Mapping[str, str]) -> Claim | None:
        """From Meta; None where there is none, or where somebody has written nonsense into it."""
        try:
            return cls(int(meta[EPOCH]), int(meta[TURN]), meta[RUN_ID], Early.read(meta))
        except (KeyError, ValueError):
            return None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -inf
