"""Stray writes: what a Redis node was still given to write while it was a master without authority.

Counted as changes of keys, from ``rdb_changes_since_last_save`` of INFO; what is written between the loss and the next look
is not among them, nor what is there when Redis saves to disk.
"""

from __future__ import annotations

from consul_redis_agent.decide.decision import Decision, Reason, Verdict
from consul_redis_agent.decide.facts import Node, Role, Silence

WITHOUT_AUTHORITY = frozenset(
    {
        Reason.GIVING_WAY,
        Reason.OUTVOTED,
        Reason.EARLY_OVER,
        Reason.FAILING_OVER,
        Reason.UNBACKED,
        Reason.NEWER_CLAIM,
        Reason.EVICTED,
        Reason.LEASE_OVER,
    }
)
"""Why a node that says master is not published as one, though another may be."""


class StrayWrites:
    """Counts them over the looks at one node."""

    def __init__(self) -> None:
        self.total = 0
        """Since this process has started."""
        self.count, self.seconds = 0, 0.0
        """How many there were the last time, and for how long the node had no authority then."""
        self._last: Node | None = None
        self._since = 0.0
        self._count = 0

    def seen(self, node: Node | Silence | None, decision: Decision | None) -> str:
        """Take in the facts of a decision; returns what there is to say once such a time is over, else nothing."""
        if not isinstance(node, Node):
            return self._over(self._last.at if self._last else 0.0)
        without = decision is not None and decision.verdict in (Verdict.NONE, Verdict.KEEP)
        if node.role is not Role.MASTER or not (without and decision and decision.reason in WITHOUT_AUTHORITY):
            return self._over(node.at)
        before, self._last = self._last, node
        if before is None or before.run_id != node.run_id:
            said = self._over(node.at)
            self._last, self._since = node, node.at
            return said
        new = node.changes - before.changes
        self._count += new if new >= 0 else node.changes  # it has saved meanwhile
        return ""

    def _over(self, at: float) -> str:
        count, self._count, last, self._last = self._count, 0, self._last, None
        self.total += count
        if last is None or not count:
            return ""
        self.count, self.seconds = count, round(at - self._since, 1)
        return f"was given {count} changes of keys to write in {at - self._since:.1f} s without authority; what came after the promotion is lost"
