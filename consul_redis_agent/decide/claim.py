"""The claim "this node is the master". The catalog is its only record: no KV key, no session.

A claim is ordered by the Sentinel configuration epoch that made it, then by its turn, which counts handovers within one
epoch (the ``FAILOVER`` command, or a failover by hand where no Sentinel runs). How it is written in Consul is known to
:mod:`consul_redis_agent.consul.form` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

NO_EPOCH = -1
"""Where no Sentinel runs. Sentinel's first epoch is 0, so any claim that a Sentinel backs is newer."""

EPOCH_LIMIT = 2**64 - 1
"""An epoch is a uint64_t in sentinel.c."""

EARLY_TERM = 5.0
"""Seconds for which an early claim stands at most. A majority follows the leader's word 0.9 to 2 s after the promotion."""


@dataclass(frozen=True, slots=True)
class Early:
    """What makes a claim an early one: it rests on the elected leader's word, and no majority names the node yet."""

    since: float
    """When it was decided, in seconds of :func:`consul_redis_agent.clock.clock`; -inf where that cannot be read."""
    boot: str
    """Which start of the machine that clock counts from: another one's seconds say nothing."""
    leader: str
    """Id of the Sentinel that selected the node."""


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
        return replace(self, early=None) if self.early else self
