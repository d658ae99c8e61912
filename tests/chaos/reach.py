"""Which hosts hear nothing of a Sentinel while nobody closes a connection: it is stopped, cut off, or without power."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from math import inf

from consul_redis_agent.decide.facts import Address
from tests.fleet import Process, RedisNode, SentinelNode
from tests.fleet.hosts import Host

from .authority import Unheard


class Reach:
    """Keeps what was done to processes, hosts and cables; ``changes`` is what followed from it for the Sentinels."""

    def __init__(self, sentinels: Sequence[SentinelNode], nodes: Sequence[RedisNode]) -> None:
        self.changes: list[Unheard] = []
        self._sentinels, self._nodes = sentinels, nodes
        self._stopped: set[Process] = set()
        self._cuts: set[tuple[Host, Host]] = set()
        self._off: list[tuple[Host, float, float]] = []
        """When each host had no power: from, to."""
        self._last: dict[str, frozenset[Address]] = {}

    def had_power(self, host: Host, at: float) -> bool:
        """Whether what ended on a host at that moment was heard of outside."""
        return not any(off is host and since <= at < until for off, since, until in self._off)

    def stop(self, process: Process, at: float) -> None:
        """A process was stopped."""
        self._stopped.add(process)
        self._note(at)

    def go_on(self, process: Process, at: float) -> None:
        """A process goes on, or has ended, which its host says."""
        self._stopped.discard(process)
        self._note(at)

    def cut(self, host: Host, others: Iterable[Host], at: float) -> None:
        """A host was cut off from others."""
        self._cuts |= {pair for other in others for pair in ((host, other), (other, host))}
        self._note(at)

    def heal(self, at: float) -> None:
        """No cut is left."""
        self._cuts.clear()
        self._note(at)

    def unplug(self, host: Host, at: float) -> None:
        """A host has lost its power."""
        self._off.append((host, at, inf))
        self._note(at)

    def plug_in(self, host: Host, at: float) -> None:
        """A host has power again."""
        self._off = [(h, since, min(until, at) if h is host else until) for h, since, until in self._off]
        self._note(at)

    def mend(self, at: float) -> None:
        """All is well again."""
        self._stopped.clear()
        self._cuts.clear()
        self._off = [(host, since, min(until, at)) for host, since, until in self._off]
        self._note(at)

    def _note(self, at: float) -> None:
        deaf: dict[str, set[Address]] = {sentinel.name: set() for sentinel in self._sentinels}
        for sentinel, node in product(self._sentinels, self._nodes):
            if sentinel in self._stopped or self._apart(sentinel.host, node.host, at):
                deaf[sentinel.name].add(node.announced)
        for name, nodes in deaf.items():
            if self._last.get(name, frozenset()) != nodes:
                self._last[name] = frozenset(nodes)
                self.changes.append(Unheard(at, name, self._last[name]))

    def _apart(self, one: Host, other: Host, at: float) -> bool:
        if one is other:
            return False
        return (one, other) in self._cuts or not (self.had_power(one, at) and self.had_power(other, at))
