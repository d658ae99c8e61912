"""What happened around each transition of each Redis node of this process: who saw what when, what was decided and written.

Nothing here is waited for by a decision, and where nothing happens a decision costs a few comparisons: signs are made of what
is new only. The last of them wait in a ring, so that an episode can begin with its cause and not with its effect.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator
from math import inf
from pathlib import Path
from typing import Any

from consul_redis_agent import __version__
from consul_redis_agent.clock import clock
from consul_redis_agent.consul.form import Step
from consul_redis_agent.decide.decision import Decision, Order
from consul_redis_agent.decide.facts import Address, Facts
from consul_redis_agent.node import NodeAgent
from consul_redis_agent.publish.steps import Target
from consul_redis_agent.tell.episode import Episode, Sign, State
from consul_redis_agent.tell.shelf import Shelf, text
from consul_redis_agent.tell.signs import Signs, of_dns, of_order, of_outcome, of_step

PUBLISHED = ("master", "replica")
RING = 40
"""Signs that wait for an episode to begin: more than come before a failover, also with seven Sentinels."""
LOOK_BACK = 40.0
"""Seconds before the first change that belong to it: Sentinel's default ``down-after`` of 30 s, and an election."""
GRACE = 10.0
"""Seconds after the first decision until which a node that is not published begins its history as it is then."""
SETTLED, UNSETTLED = 3.0, 60.0
"""Seconds without a sign after which an episode is over: of a node that is published, and of one that is not, since
``down-after`` may still be running."""
LONGEST = 600.0
"""Seconds after which one ends in any case: what goes on and on is told in parts."""
SAVED = 5.0
"""Seconds until what is going on is written down, so that nothing of it is told in the moments that count."""


class History:
    """The histories of all nodes of this process; ``directory`` keeps them over restarts, None keeps them in memory only."""

    def __init__(self, directory: Path | None) -> None:
        self._shelf = Shelf(directory)
        self._nodes: dict[str, _Recorder] = {}
        self._fresh = inf
        """Since when something is not written down yet."""

    def decided(self, node: NodeAgent, stray: int) -> None:
        """Take in the node's last decision. ``stray``: its stray writes since the process has started."""
        if node.facts is None or node.latest is None:
            return
        recorder = self._of(node)
        recorder.address = node.lookout.publish_at
        if recorder.episode:
            self._end(recorder, calm=recorder.calm and node.writer.at_rest)
        if recorder.decided(node.facts, node.latest, node.decided, stray) and recorder.episode:
            self._fresh = min(self._fresh, clock())
        if clock() - self._fresh >= SAVED and self._shelf.is_free:
            self._save()

    def stepped(self, node: NodeAgent, step: Step, began: float, error: str) -> None:
        """Consul has answered a write."""
        now = clock()
        self._of(node).note(of_step(step, now, now - began, error))

    def written(self, node: NodeAgent, target: Target, seconds: float) -> None:
        """Consul holds what was decided ``seconds`` ago."""
        words = f"Consul holds what was decided, {seconds * 1000:.1f} ms after the decision"
        self._of(node).note(Sign(clock(), "consul_holds", words, {"seconds": round(seconds, 4)}))

    def carried_out(self, node: NodeAgent, order: Order, began: float, error: str) -> None:
        """An order was carried out; ``error`` says why it was not."""
        now = clock()
        self._of(node).note(of_outcome(order, now, now - began, error))

    def dns(self, service: str, answers: tuple[Address, ...] | None, at: float) -> None:
        """DNS gives another answer for a service since the monotonic second ``at``; None: it does not answer."""
        for recorder in self._nodes.values():
            if recorder.service == service:
                recorder.named(of_dns(answers, at))

    def json(self) -> bytes:
        """Everything, oldest first, as JSON: ``{"version": …, "episodes": […]}``."""
        going_on = [text(episode) for episode in self._going_on()]
        return b'{"version":"%b","episodes":[%b]}' % (
            __version__.encode(),
            b",".join((*self._shelf.texts(), *going_on)),
        )

    def only(self, names: Collection[str]) -> None:
        """Look after these nodes from now on: what is going on at others ends."""
        for name in [name for name in self._nodes if name not in names]:
            recorder = self._nodes.pop(name)
            if recorder.episode:
                self._shelf.add(recorder.over())
                self._fresh = min(self._fresh, clock())

    def close(self) -> None:
        """The process ends: what is going on ends with it, and everything is written down."""
        self.only(())
        if self._fresh < inf:
            self._save()

    def _of(self, node: NodeAgent) -> _Recorder:
        if (found := self._nodes.get(node.name)) is None or found.service != node.naming.service:
            found = self._nodes[node.name] = _Recorder(node.name, node.naming.service)
        return found

    def _end(self, recorder: _Recorder, *, calm: bool) -> None:
        now = clock()
        if now - recorder.heard > (SETTLED if calm else UNSETTLED) or now - recorder.began > LONGEST:
            self._shelf.add(recorder.over())
            self._fresh = min(self._fresh, now)

    def _going_on(self) -> Iterator[dict[str, Any]]:
        return (_told(recorder.episode) for recorder in self._nodes.values() if recorder.episode)

    def _save(self) -> None:
        self._fresh = inf
        self._shelf.save(self._going_on())


class _Recorder:
    """One Redis node: a ring of the last signs and, from the first that changes something, an episode."""

    def __init__(self, name: str, service: str) -> None:
        self.name, self.service = name, service
        self.address: Address | None = None
        """The published one."""
        self.episode: Episode | None = None
        self.began = self.heard = 0.0
        """When it began, and when a sign was last heard."""
        self._signs = Signs()
        self._ring: deque[Sign] = deque(maxlen=RING)
        self._since: float | None = None
        """The first decision."""
        self._begun = False
        """It is known what the node was at the beginning, so that something can have changed."""
        self._rests = State()
        """The node as it was when nothing went on."""
        self._named: deque[Sign] = deque(maxlen=RING)
        """What DNS has said."""

    @property
    def verdict(self) -> str:
        """What the node is published as, or is to be."""
        return self._signs.decided.verdict.value if self._signs.decided else ""

    @property
    def calm(self) -> bool:
        """Whether nothing more is to be expected: it is published, nobody holds the master for down, and DNS names one."""
        one = not self._named or len(self._named[-1].fields["answers"] or ()) == 1
        return one and self.verdict in PUBLISHED and not self._signs.trouble

    def decided(self, facts: Facts, latest: Decision, at: float, stray: int) -> bool:
        """Take in a decision and what it rests on; returns whether anything was new."""
        signs = self._signs.of(facts, latest, at)
        if latest.order:
            signs.append(of_order(latest.order, at))
        before = self.episode.after.stray if self.episode else self._rests.stray
        if stray > before:
            words = f"Redis was given {stray - before} changes of keys to write without authority"
            signs.append(Sign(at, "stray_writes", words, {"count": stray - before}))
        for sign in signs:
            self.note(sign)
        now = State(self.verdict, self._signs.life.run_id if self._signs.life else "", stray)
        if self.episode:
            self.episode.after, self.episode.address = now, str(self.address or "")
        else:
            self._rests = now
            self._since = at if self._since is None else self._since
            self._begun = self._begun or self.verdict in PUBLISHED or at - self._since > GRACE
        return bool(signs)

    def named(self, sign: Sign) -> None:
        """DNS gives another answer; the first is none."""
        if self.episode or self._named:
            self.note(sign)
        self._named.append(sign)

    def note(self, sign: Sign) -> None:
        """Add a sign to the episode, begin one with it, or let it wait."""
        if self.episode is None and not (self._begun and _changes(sign)):
            self._ring.append(sign)
            return
        self.heard = clock()
        if self.episode is None:
            self._begin(sign)
        else:
            self.episode.add(sign)

    def over(self) -> dict[str, Any]:
        """End the episode, and return it."""
        episode, self.episode = self.episode, None
        if episode is None:
            return {}
        episode.ended = True
        self._rests = episode.after
        return _told(episode)

    def _begin(self, sign: Sign) -> None:
        waited = _from_the_cause([one for one in self._ring if one.at >= sign.at - LOOK_BACK], sign)
        self._ring.clear()
        self.began = clock()
        named = next((one.fields["answers"] for one in reversed(self._named) if one.at < waited[0].at), None)
        wall = time.time() - self.began
        self.episode = Episode(self.name, self.service, wall, self._rests, str(self.address or ""), named)
        for one in waited:
            self.episode.add(one)


def _told(episode: Episode) -> dict[str, Any]:
    from consul_redis_agent.tell.tale import as_json  # not before there is anything to tell

    return as_json(episode)


def _from_the_cause(waited: list[Sign], change: Sign) -> list[Sign]:
    """What led to the change: from the first thing on that has gone wrong, and was not put right before."""
    wrong: dict[tuple[str, object], int] = {}
    for place, sign in enumerate(waited):
        about = sign.name, sign.fields.get("sentinel")
        if (is_wrong := _is_wrong(sign)) is True:
            wrong.setdefault(about, place)
        elif is_wrong is False:
            wrong.pop(about, None)
    return [*waited[min(wrong.values(), default=len(waited)) :], change]


def _is_wrong(sign: Sign) -> bool | None:
    """Whether something has gone wrong, or was put right; None: neither."""
    given = sign.fields
    match sign.name:
        case "redis_turned":
            return given["to"] in ("silent", "gone", "loading")
        case "redis_link":
            return not given["up"]
        case "sentinel_down":
            return bool(given["down"])
        case "sentinel_reached":
            return not given["reached"]
        case "dns_answers":
            return given["answers"] is None or len(given["answers"]) != 1
    return None


def _changes(sign: Sign) -> bool:
    """Whether it is part of a transition by itself, so that an episode begins; all else is told only as part of one."""
    given = sign.fields
    match sign.name:
        case "redis_turned":
            return bool(given["to"] == "gone" or "silent" not in (given["from"], given["to"]))
        case "decided":
            return bool(given["to"] != "keep" and given["from"] != given["to"])
        case "sentinel_failover":
            return bool(given["begun"])
        case "dns_answers":
            return given["answers"] is not None and len(given["answers"]) != 1
    return sign.name in ("redis_restarted", "redis_follows", "sentinel_selected", "fence_ordered", "stray_writes")
