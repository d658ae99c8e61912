"""The claim "this node is the master", as it is written into a service's Meta and read back.

The catalog is the only record: no KV key, no session. A claim is ordered by the Sentinel configuration epoch that
made it, then by its turn, which counts handovers that happen within one epoch (the ``FAILOVER`` command, or a
failover by hand where no Sentinel runs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MARKER = "consul_redis_agent"
"""Meta key of everything this tool registers; its value is the version of this format. (Consul reserves ``consul-``.)"""
FORMAT = "1"
NODE = "redis-node"
MASTER_NAME = "redis-master-name"
EPOCH = "redis-epoch"
TURN = "redis-turn"
RUN_ID = "redis-run-id"

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


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """Compared by epoch, then turn; the rest only says whose it is."""

    epoch: int
    turn: int
    run_id: str

    @property
    def order(self) -> tuple[int, int]:
        """What decides which of two claims is newer."""
        return self.epoch, self.turn

    def meta(self) -> dict[str, str]:
        """As Meta pairs."""
        return {EPOCH: str(self.epoch), TURN: str(self.turn), RUN_ID: self.run_id}

    @classmethod
    def read(cls, meta: Mapping[str, str]) -> Claim | None:
        """From Meta; None where there is none, or where somebody has written nonsense into it."""
        try:
            return cls(int(meta[EPOCH]), int(meta[TURN]), meta[RUN_ID])
        except (KeyError, ValueError):
            return None
