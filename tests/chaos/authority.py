"""Who has the right to be named as the master, when, and by which event it is lost. Pure: a history in, tenures out.

A node **gains authority** when its ROLE turns to master

- after a Sentinel that was elected leader at an epoch newer than any before has selected it for promotion (or at the
  same one, while nobody has authority: ``SENTINEL FAILOVER`` at two Sentinels gives both the same epoch), if that
  leader can still be asked then. A node that says master already when it is selected waits for a majority; or
- after the node that had authority has become a replica without that (``FAILOVER``, ``REPLICAOF`` by hand); or
- again, after its process died and was started anew, with no promotion in between; or
- if a majority of the Sentinels names it, or as soon as one does, and no early tenure stands against that.

A tenure that began by promotion is **early** until a majority of the Sentinels names the node. Its leader does when it
has seen the node's new role (``+promoted-slave``: ``sentinelGetCurrentMasterAddress`` gives the promoted node from then
on), the others when the leader's hello has told them (``+switch-master``, from ``sentinelProcessHelloMessage``), and a
Sentinel that starts names what its file says. One that is not heard on the node's host, or is in TILT, does not count.

A node **loses authority** at the first of these moments

- PROMOTION: another node gains it by promotion or by a majority. How far the old one knows does not matter;
- DEMOTION: its own ROLE turns to slave;
- DEATH: its process ends;
- LEADER, while it is early: its leader's process ends, so that connections are refused, or the node's host has heard
  nothing of it for ``SILENCE``, because it is stopped, cut off, without power, or in TILT, when it has no vote;
- ABORT, while it is early: its leader gives the failover up (``-failover-abort-…``, ``sentinelAbortFailover``), or
  forgets it (``+reset-master``, ``sentinelResetMaster``), and then names again whom its configuration does;
- LIMIT, while it is early: ``LIMIT`` is over.

After the last three a node that a majority names and that says master, as the former one may, has authority again;
else nobody has. The promoted one gets it back only from a majority. It does not lose it in these ways where the node that
a majority names has turned replica, as its agent has it do that fences: then it was handed over, or is as soon as it
says master again.

A node that is paused, cut off, or has lost its Sentinels keeps it until one of these happens to it: nobody else has
the right, and it may answer again. A ROLE of master alone gives no right: an old master that returns, and a replica
that somebody told ``REPLICAOF NO ONE``, say it too.

All times are of ``time.monotonic()``. ROLE is sampled, so the beginning of a tenure is known to the witness' period.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

from consul_redis_agent.decide.facts import Address

SILENCE = 2.0
"""Seconds without a word of the leader that count as its loss."""
LOOK = 0.5
"""Seconds by which an agent may count that silence from an earlier moment: it began after the last answer, and an agent
asks some four times a second. So much sooner the next one may be named."""
LIMIT = 5.0
"""Seconds after the promotion until which a majority has to name the node."""
ROLE_PERIOD = 0.010
"""Seconds by which the witness may see a role late: it asks every 5 ms."""
HEARD_LATE = 0.25
"""Seconds by which a Sentinel's words may be heard late: a machine shared with others may leave the listener without CPU."""
NAMES, REFUSES = "names", "refuses"
"""Not channels of Sentinel, but what the ear found when it connected: whom it names, or that nothing listens any more."""


class Loss(StrEnum):
    """How authority was lost."""

    PROMOTION = "promotion"
    DEMOTION = "demotion"
    DEATH = "death"
    LEADER = "the loss of its leader"
    ABORT = "the abort of the failover"
    LIMIT = "want of a majority"


FALLS = frozenset({Loss.LEADER, Loss.ABORT, Loss.LIMIT})
"""How only an early tenure ends."""


@dataclass(frozen=True, slots=True)
class Selected:
    """An elected leader chose a node for promotion."""

    at: float
    epoch: int
    node: Address
    leader: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A leader has aborted its failover."""

    at: float
    leader: str


@dataclass(frozen=True, slots=True)
class Named:
    """From now on a Sentinel names this node as the master."""

    at: float
    sentinel: str
    node: Address


@dataclass(frozen=True, slots=True)
class Gone:
    """A Sentinel's process ended: connections to it are closed and refused."""

    at: float
    sentinel: str


@dataclass(frozen=True, slots=True)
class Left:
    """A Sentinel that is gone was replaced by another one: it counts no longer."""

    at: float
    sentinel: str


@dataclass(frozen=True, slots=True)
class Wiped:
    """All Sentinels have lost their files: their epochs begin anew."""

    at: float


@dataclass(frozen=True, slots=True)
class Back:
    """A Sentinel's process answers again, with what its file says."""

    at: float
    sentinel: str


@dataclass(frozen=True, slots=True)
class Tilt:
    """A Sentinel's clock has jumped, as after a stop of more than 2 s: until it is over it has no vote."""

    at: float
    sentinel: str
    over: bool


@dataclass(frozen=True, slots=True)
class Unheard:
    """From now on the hosts of these nodes, and no others, hear nothing of a Sentinel, though nothing was closed."""

    at: float
    sentinel: str
    by: frozenset[Address]


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


Event = Selected | GaveUp | Named | Gone | Left | Wiped | Back | Tilt | Unheard | Role | Death


@dataclass(frozen=True, slots=True)
class Tenure:
    """One node's time as the one that may be named."""

    node: Address
    start: float
    end: float = inf
    loss: Loss | None = None
    promoted: bool = False
    """It began with a promotion by Sentinel."""
    early: bool = False
    """No majority has named the node in it, nor was it handed over."""
    returned: bool = False
    """It began because an early one of another node fell."""


def tenures(events: Iterable[Event], first: Address, since: float, now: float = -inf) -> list[Tenure]:
    """Every tenure until the last event, or ``now``, oldest first; the first one is of ``first``, from ``since``."""
    timeline = _Timeline(Tenure(first, since))
    for event in sorted(events, key=lambda e: e.at):
        timeline.take(event)
    timeline.pass_time(now)
    return timeline.done


@dataclass(frozen=True, slots=True)
class _Early:
    """What the last tenure, an early one, rests on."""

    leader: str
    named: Address | None
    """Whom a majority named before; as long as it still does, that changes nothing."""
    epoch: int
    """The newest epoch before it."""


class _Timeline:
    def __init__(self, first: Tenure) -> None:
        self.done = [first]
        self._epoch = -1
        self._selected: Selected | None = None
        self._early: _Early | None = None
        self._roles: dict[Address, str | None] = {}
        self._turned: dict[Address, float] = {}
        self._words: dict[str, Address] = {}
        self._named: Address | None = None
        """Whom a majority has named last."""
        self._gone: dict[str, float] = {}
        self._tilted: dict[str, float] = {}
        self._unheard: dict[str, dict[Address, float]] = {}

    def take(self, event: Event) -> None:
        self.pass_time(event.at)
        match event:
            case Selected(at, epoch, node):
                if epoch >= self._epoch:
                    self._selected = event
                    self._turn(at, node)
            case GaveUp(at, leader):
                self._drop_selection_of(leader)
                if self._early and self._early.leader == leader:
                    self._fall(at, Loss.ABORT)
            case Named(_, sentinel, node):
                self._words[sentinel] = node
            case Gone(at, sentinel):
                self._gone.setdefault(sentinel, at)
                if self._early and self._early.leader == sentinel:
                    self._fall(at, Loss.LEADER)
            case Left(_, sentinel):
                self._words.pop(sentinel, None)
            case Wiped():
                self._epoch, self._selected = -1, None
            case Back(_, sentinel):
                self._gone.pop(sentinel, None)
                self._tilted.pop(sentinel, None)
                self._drop_selection_of(sentinel)
            case Tilt(at, sentinel, over):
                if over:
                    self._tilted.pop(sentinel, None)
                else:
                    self._tilted.setdefault(sentinel, at)
            case Unheard(at, sentinel, nodes):
                before = self._unheard.get(sentinel, {})
                self._unheard[sentinel] = {node: before.get(node, at) for node in nodes}
                if self._selected and self._selected.leader == sentinel:
                    self._turn(at, self._selected.node)
            case Death(at, node):
                self._roles[node] = None
                if self._holds(node):
                    self._end(at, Loss.DEATH)
            case Role(at, node, role):
                self._roles[node] = role
                self._turned[node] = at
                if role == "master":
                    self._says_master(at, node)
                elif role == "slave" and self._holds(node):
                    self._end(at, Loss.DEMOTION)
                    others = [other for other, says in self._roles.items() if says == "master"]
                    if len(others) == 1:
                        self._begin(others[0], at)
        self._follow_majority(event.at)

    def pass_time(self, now: float) -> None:
        """End an early tenure that time alone has ended until now."""
        if self._early is None:
            return
        over = self.done[-1].start + LIMIT
        silent = self._silent_since(self._early.leader, self.done[-1].node) + SILENCE
        if silent - LOOK <= min(now, over):
            self._fall(silent, Loss.LEADER)
            self._follow_majority(silent - LOOK)
        elif over <= now:
            self._fall(over, Loss.LIMIT)
            self._follow_majority(over)

    def _says_master(self, at: float, node: Address) -> None:
        last = self.done[-1]
        if self._selected and self._selected.node == node:
            self._turn(at, node)
        elif last.loss is Loss.DEMOTION or (last.loss is Loss.DEATH and last.node == node and not last.early):
            self._begin(node, at)

    def _turn(self, at: float, node: Address) -> None:
        """A selected node says master: a promotion, if it has turned since, and its leader can be asked, or just could.

        It has turned since also where the selection was heard just after that: it comes first.
        """
        selected = self._selected
        if selected is None or self._roles.get(node) != "master" or self._turned[node] < selected.at - HEARD_LATE:
            return
        at = self._turned[node] if self._turned[node] < selected.at else at
        if min(self._gone.get(selected.leader, inf), self._silent_since(selected.leader, node)) + ROLE_PERIOD < at:
            return
        self._promote(selected, at)
        if self._early and self._early.leader == selected.leader and selected.leader in self._gone:
            self._fall(at, Loss.LEADER)

    def _promote(self, selected: Selected, at: float) -> None:
        self._selected = None
        if self.done[-1].loss is None:
            if selected.epoch == self._epoch or self._holds(selected.node):
                return
            self._end(at, Loss.PROMOTION)
        self._early = _Early(selected.leader, self._named, self._epoch)
        self._epoch = selected.epoch
        self.done.append(Tenure(selected.node, at, promoted=True, early=True))

    def _follow_majority(self, at: float) -> None:
        """Give authority to whom a majority names, as soon as it says master, unless an early tenure stands meanwhile."""
        last, heir = self.done[-1], self._heir()
        if last.loss in FALLS and heir:
            self._begin(heir, at)
            return
        named = self._majority()
        if named is None:
            return
        self._named = named
        if self._holds(named):
            self._early = None
            self.done[-1] = replace(last, early=False)
        elif self._roles.get(named) == "master" and not (self._early and self._early.named == named):
            if last.loss is None:
                self._end(at, Loss.PROMOTION)
            self._begin(named, at)

    def _heir(self) -> Address | None:
        """The only node that says master, where the one that a majority names says itself that it is a replica."""
        named, masters = self._majority(), [node for node, says in self._roles.items() if says == "master"]
        return masters[0] if named and self._roles.get(named) == "slave" and len(masters) == 1 else None

    def _majority(self) -> Address | None:
        """The node that more than half of the Sentinels name, of those that its host hears."""
        heard = Counter(
            node
            for sentinel, node in self._words.items()
            if sentinel not in self._gone and self._silent_since(sentinel, node) == inf
        )
        return next((node for node, count in heard.items() if count > len(self._words) / 2), None)

    def _silent_since(self, sentinel: str, node: Address) -> float:
        """Since when a node's host has heard nothing of a Sentinel that counts; inf: it does."""
        return min(self._tilted.get(sentinel, inf), self._unheard.get(sentinel, {}).get(node, inf))

    def _drop_selection_of(self, leader: str) -> None:
        if self._selected and self._selected.leader == leader:
            self._selected = None

    def _holds(self, node: Address) -> bool:
        return self.done[-1].loss is None and self.done[-1].node == node

    def _fall(self, at: float, loss: Loss) -> None:
        """End an early tenure, unless it has been handed over meanwhile: its agent had the old master follow it."""
        if self._heir() == self.done[-1].node:
            self._epoch, self._early = self._early.epoch if self._early else self._epoch, None
            self.done[-1] = replace(self.done[-1], early=False)
        else:
            self._end(at, loss)

    def _end(self, at: float, loss: Loss) -> None:
        self.done[-1] = replace(self.done[-1], end=at, loss=loss)
        if self._early:  # what it did counts for nothing
            self._epoch, self._early = self._early.epoch, None

    def _begin(self, node: Address, at: float) -> None:
        self.done.append(Tenure(node, at, returned=self.done[-1].loss in FALLS and self.done[-1].node != node))


class Voice:
    """What the events of one Sentinel say (sentinel.c). Only a leader publishes ``+elected-leader`` and
    ``+selected-slave``; ``+try-failover`` follows the ``+new-epoch`` of its own election."""

    def __init__(self, sentinel: str) -> None:
        self._sentinel = sentinel
        self._epoch = self._tried = -1

    def heed(self, at: float, channel: str, text: str) -> Iterator[Event]:
        """Take in one event; give what it tells of, if anything."""
        words = text.split()
        match channel:
            case "+new-epoch":
                self._epoch = int(words[0])
            case "+try-failover":
                self._tried = self._epoch
            case "+selected-slave":
                yield Selected(at, self._tried, _address(words[2:4]), self._sentinel)
            case "+promoted-slave" | "+monitor":
                yield Named(at, self._sentinel, _address(words[2:4]))
            case "+switch-master":
                yield Named(at, self._sentinel, _address(words[3:5]))
            case (
                "-failover-abort-not-elected"
                | "-failover-abort-no-good-slave"
                | "-failover-abort-slave-timeout"
                | "+reset-master"
            ):
                yield GaveUp(at, self._sentinel)
                if channel == "+reset-master":
                    yield Named(at, self._sentinel, _address(words[2:4]))
            case "+tilt" | "-tilt":
                yield Tilt(at, self._sentinel, over=channel == "-tilt")
            case _ if channel == NAMES:
                yield Back(at, self._sentinel)
                yield Named(at, self._sentinel, _address(words))
            case _ if channel == REFUSES:
                yield Gone(at, self._sentinel)


def _address(words: list[str]) -> Address:
    host, port = words
    return Address(host, int(port))
