"""One episode of a Redis node's history: from the first sign of a transition until the node is settled again.

Small, since every agent has it in memory; :mod:`consul_redis_agent.tell.tale` knows how it is told.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

FIRST, LAST = 120, 60
"""Signs of one episode that are kept: its beginning, with the cause, and its end. A failover has 30 to 60 of them."""


class Sign(NamedTuple):
    """Something that was seen or done, at a monotonic second; names and fields as in :data:`consul_redis_agent.tell.tale.SIGNS`."""

    at: float
    name: str
    text: str
    fields: dict[str, Any]


class State(NamedTuple):
    """What the node was published as, its life and the count of stray writes, at one end of an episode."""

    verdict: str = ""
    run_id: str = ""
    stray: int = 0


class Episode:
    """Signs as they come, with a bound; ``wall`` is the wall time of monotonic second 0, ``answers`` what DNS said before."""

    def __init__(
        self, node: str, service: str, wall: float, before: State, address: str, answers: list[str] | None
    ) -> None:
        self.node, self.service, self.wall, self.answers = node, service, wall, answers
        self.before = self.after = before
        self.address = address
        """The published one."""
        self.ended = False
        self.left_out = 0
        self._first: list[Sign] = []
        self._last: deque[Sign] = deque(maxlen=LAST)

    def add(self, sign: Sign) -> None:
        """Take in one more."""
        if len(self._first) < FIRST:
            self._first.append(sign)
            return
        self.left_out += len(self._last) == LAST
        self._last.append(sign)

    @property
    def signs(self) -> list[Sign]:
        """In the order in which things happened, which is not that in which they were heard."""
        return sorted((*self._first, *self._last), key=lambda sign: sign.at)
