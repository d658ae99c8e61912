"""Who has the right to be named as the master, when, and by which event it is lost. Pure: a history in, tenures out.

A node **gains authority** when its ROLE turns to master

- after a Sentinel that was elected leader at an epoch newer than any before has selected it for promotion (or at the
  same one, while nobody has authority: ``SENTINEL FAILOVER`` at two Sentinels gives both the same epoch); or
- after the node that had authority has become a replica without that (``FAILOVER``, ``REPLICAOF`` by hand); or
- again, after its process died and was started anew, with no promotion in between.

It **loses authority** at the first of these moments

- PROMOTION: another node gains it as above, at a newer epoch. How far the old one knows does not matter;
- DEMOTION: its own ROLE turns to slave;
- DEATH: its process ends.

A node that is paused, cut off, or has lost its Sentinels keeps it until one of these happens to it: nobody else has
the right, and it may answer again. A ROLE of master alone gives no right: an old master that returns, and a replica
that somebody told ``REPLICAOF NO ONE``, say it too.

All times are of ``time.monotonic()``. ROLE is sampled, so the beginning of a tenure is known to the witness' period.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

from consul_redis_agent.facts import Address


class Loss(StrEnum):
    """How authority was lost."""

    PROMOTION = "promotion"
    DEMOTION = "demotion"
    DEATH = "death"


@dataclass(frozen=True, slots=True)
class Selected:
    """An elected leader chose a node for promotion."""

    at: float
    epoch: int
    node: Address


@dataclass(frozen=True, slots=True)
class Role:
    """What ROLE says from now on: master, slave, or None for no answer."""

    at: float
    node: Address
    role: str | None


@dataclass(frozen=True, slots=True)
class Death:
    """The node's process ended."""

    at: float
    node: Address


Event = Selected | Role | Death


@dataclass(frozen=True, slots=True)
class Tenure:
    """One node's time as the one that may be named."""

    node: Address
    start: float
    end: float = inf
    loss: Loss | None = None
    promoted: bool = False
    """It began with a promotion by Sentinel."""


def tenures(events: Iterable[Event], first: Address, since: float) -> list[Tenure]:
    """Every tenure, oldest first; the first one is of ``first``, from ``since``."""
    timeline = _Timeline(Tenure(first, since))
    for event in sorted(events, key=lambda e: e.at):
        timeline.take(event)
    return timeline.done


class _Timeline:
    def __init__(self, first: Tenure) -> None:
        self.done = [first]
        self._epoch = -1
        self._selected: Selected | None = None
        self._roles: dict[Address, str | None] = {}

    def take(self, event: Event) -> None:
        match event:
            case Selected(_, epoch, node):
                if epoch >= self._epoch:
                    self._selected = event
                    if self._roles.get(node) == "master":
                        self._promote(event, event.at)
            case Death(at, node):
                if self._holds(node):
                    self._end(at, Loss.DEATH)
            case Role(at, node, role):
                self._roles[node] = role
                if role == "master":
                    self._says_master(at, node)
                elif role == "slave" and self._holds(node):
                    self._end(at, Loss.DEMOTION)
                    others = [other for other, says in self._roles.items() if says == "master"]
                    if len(others) == 1:
                        self._begin(others[0], at)

    def _says_master(self, at: float, node: Address) -> None:
        last = self.done[-1]
        if self._selected and self._selected.node == node:
            self._promote(self._selected, at)
        elif last.loss is Loss.DEMOTION or (last.loss is Loss.DEATH and last.node == node):
            self._begin(node, at)

    def _promote(self, selected: Selected, at: float) -> None:
        self._selected = None
        if selected.epoch == self._epoch and self.done[-1].loss is None:
            return
        self._epoch = selected.epoch
        if self._holds(selected.node):
            return
        if self.done[-1].loss is None:
            self._end(at, Loss.PROMOTION)
        self._begin(selected.node, at, promoted=True)

    def _holds(self, node: Address) -> bool:
        return self.done[-1].loss is None and self.done[-1].node == node

    def _end(self, at: float, loss: Loss) -> None:
        self.done[-1] = replace(self.done[-1], end=at, loss=loss)

    def _begin(self, node: Address, at: float, *, promoted: bool = False) -> None:
        self.done.append(Tenure(node, at, promoted=promoted))


class Elections:
    """Finds the selections in one Sentinel's events (sentinel.c: ``+new-epoch E``, ``+try-failover``,
    ``+elected-leader``, ``+selected-slave``). Only the leader publishes the last two."""

    def __init__(self) -> None:
        self._epoch = self._tried = -1

    def heed(self, at: float, channel: str, text: str) -> Iterator[Selected]:
        """Take in one event; give the selection that it tells of, if any."""
        words = text.split()
        if channel == "+new-epoch":
            self._epoch = int(words[0])
        elif channel == "+try-failover":
            self._tried = self._epoch
        elif channel == "+selected-slave":
            yield Selected(at, self._tried, Address(words[2], int(words[3])))
