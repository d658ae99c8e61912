"""The witness: stands outside, asks DNS and every Redis node without pause, and judges the whole history."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os import SEEK_END
from pathlib import Path

from consul_redis_agent.commands.demo.process import until
from consul_redis_agent.decide.facts import Address

from . import sampler, srv
from .certificates import Pair
from .consul_node import ConsulNode
from .process import Process
from .redis_node import RedisNode


@dataclass(frozen=True, slots=True)
class Seen:
    """From ``at`` on, until the next one, DNS gave ``answers``; None means that it gave no answer at all."""

    at: float
    answers: frozenset[Address] | None


class Witness(Process):
    """Watches what ``consul`` answers for ``service`` every ``every`` seconds, and the ROLE of ``nodes``.

    ``also`` names further services, each with its own period; :meth:`history_of` tells of them, everything else of
    ``service``. ``client`` is what it shows to nodes that speak TLS. It runs in a process of its own. Every time is of :func:`time.monotonic`, the same clock in all processes. What
    happens between two samples goes unseen: :attr:`resolution` says how long that was at most.
    """

    def __init__(
        self,
        name: str,
        *,
        folder: Path,
        consul: ConsulNode,
        nodes: Sequence[RedisNode],
        service: str = "redis",
        every: float = 0.002,
        every_role: float = 0.005,
        also: Mapping[str, float] | None = None,
        client: Pair | None = None,
    ) -> None:
        path = folder / f"{name}.json"
        super().__init__(name, [sys.executable, "-I", sampler.__file__, str(path)], host=consul.host, folder=folder)
        services = {service: every} | dict(also or {})
        spec = {
            "dns": [
                {
                    "service": asked,
                    "address": consul.dns,
                    "namespace": consul.host.namespace,
                    "question": srv.question(f"{asked}.service.consul.").hex(),
                    "every": period,
                }
                for asked, period in services.items()
            ],
            "redis": [
                {
                    "name": node.name,
                    "address": node.address,
                    "namespace": node.host.namespace,
                    "username": node.username,
                    "password": node.password,
                    "every": every_role,
                    "tls": [str(client.ca), str(client.cert), str(client.key)] if client and node.tls else None,
                }
                for node in nodes
            ],
        }
        path.write_text(json.dumps(spec))
        self._read = 0
        self._service = service
        self._histories: dict[str, list[Seen]] = {asked: [] for asked in services}
        self._roles: dict[str, list[tuple[float, str | None]]] = {node.name: [] for node in nodes}
        self._gaps: list[tuple[float, float]] = []
        self._up_to = self._resolution = 0.0
        self._samples = 0

    def is_ready(self) -> bool:
        """Whether it has seen DNS and each node once, be it that they do not answer."""
        self._catch_up()
        return all(self._histories.values()) and all(self._roles.values())

    # What was seen

    @property
    def history(self) -> tuple[Seen, ...]:
        """Every change of the answer, oldest first."""
        return self.history_of(self._service)

    def history_of(self, service: str) -> tuple[Seen, ...]:
        """Every change of the answer for one of the services, oldest first."""
        self._catch_up()
        return tuple(self._histories[service])

    @property
    def up_to(self) -> float:
        """The time until which the history is complete."""
        self._catch_up()
        return self._up_to

    @property
    def resolution(self) -> float:
        """The longest time in seconds between two DNS replies: shorter events may have gone unseen."""
        self._catch_up()
        return self._resolution

    @property
    def samples(self) -> int:
        """How many DNS replies were seen."""
        self._catch_up()
        return self._samples

    def gaps(self) -> tuple[tuple[float, float], ...]:
        """When DNS was not seen for longer than 20 ms: from, to."""
        self._catch_up()
        return tuple(self._gaps)

    def roles(self, node: RedisNode) -> tuple[tuple[float, str | None], ...]:
        """Every change of a node's role, oldest first; None means that it gave none."""
        self._catch_up()
        return tuple(self._roles[node.name])

    def promoted_at(self, node: RedisNode, *, since: float) -> float | None:
        """When the node's ROLE first said master at or after ``since``."""
        return next((at for at, role in self.roles(node) if at >= since and role == "master"), None)

    @property
    def answers(self) -> frozenset[Address] | None:
        """What DNS answered last."""
        return self.history[-1].answers

    # What it means

    def spans(self, *, since: float = 0, until: float | None = None) -> Iterator[tuple[float, float, Seen]]:
        """Give each state of DNS with its start and end, cut to the given time."""
        history, end = self.history, self._up_to if until is None else until
        for seen, following in zip(history, [*(x.at for x in history[1:]), self._up_to], strict=True):
            start, stop = max(seen.at, since), min(following, end)
            if start < stop:
                yield start, stop, seen

    def seconds(
        self,
        condition: Callable[[frozenset[Address]], bool],
        *,
        since: float = 0,
        until: float | None = None,
    ) -> float:
        """For how long the answers met the condition; time without any reply from DNS does not count."""
        spans = self.spans(since=since, until=until)
        return sum(b - a for a, b, seen in spans if seen.answers is not None and condition(seen.answers))

    def seconds_of_two(self, *, since: float = 0, until: float | None = None) -> float:
        """For how long DNS named more than one master."""
        return self.seconds(lambda answers: len(answers) > 1, since=since, until=until)

    def seconds_of_none(self, *, since: float = 0, until: float | None = None) -> float:
        """For how long DNS named no master."""
        return self.seconds(lambda answers: not answers, since=since, until=until)

    def seconds_of(self, node: RedisNode | Address, *, since: float = 0, until: float | None = None) -> float:
        """For how long DNS named this node, alone or not."""
        address = _address(node)
        return self.seconds(lambda answers: address in answers, since=since, until=until)

    def seconds_unanswered(self, *, since: float = 0, until: float | None = None) -> float:
        """For how long DNS gave no reply, or an error."""
        return sum(b - a for a, b, seen in self.spans(since=since, until=until) if seen.answers is None)

    def intervals(self, node: RedisNode | Address) -> list[tuple[float, float]]:
        """When DNS named this node: from, to, joined where one span ends as the next begins."""
        address, joined = _address(node), list[tuple[float, float]]()
        for start, stop, seen in self.spans():
            if seen.answers and address in seen.answers:
                if joined and joined[-1][1] == start:
                    start = joined.pop()[0]  # noqa: PLW2901 - the span grows to the left
                joined.append((start, stop))
        return joined

    def first_seen(self, node: RedisNode | Address, *, since: float = 0) -> float | None:
        """When DNS first named this node at or after ``since``."""
        return next((max(start, since) for start, stop in self.intervals(node) if stop > since), None)

    def last_seen(self, node: RedisNode | Address) -> float | None:
        """When DNS last named this node."""
        intervals = self.intervals(node)
        return intervals[-1][1] if intervals else None

    def exact_at(self, node: RedisNode | Address, *, since: float) -> float | None:
        """When DNS first named this node and nothing else at or after ``since``."""
        only = frozenset({_address(node)})
        return next((start for start, _, seen in self.spans(since=since) if seen.answers == only), None)

    # Waiting and judging

    def watch(self, seconds: float) -> None:
        """Wait until that much more history is complete, for what must not happen."""
        end = time.monotonic() + seconds
        until(lambda: self.up_to >= end, within=seconds + 5, what=f"the witness has watched for {seconds} s")

    def wait_for(self, *nodes: RedisNode | Address, within: float) -> None:
        """Wait until DNS names exactly these. Raises NotInTime."""
        wanted = frozenset(map(_address, nodes))

        def named() -> bool:
            return self.answers == wanted

        names = ", ".join(map(str, wanted)) or "nobody"
        until(named, within=within, what=f"DNS names exactly {names}\n{self.story()}")

    def assert_never_two(self, *, since: float = 0, until: float | None = None) -> None:
        """Raise AssertionError with the history if DNS ever named more than one master."""
        seconds = self.seconds_of_two(since=since, until=until)
        assert seconds == 0, f"DNS named two masters for {seconds:.3f} s\n{self.story()}"

    def assert_never_none(self, *, since: float, until: float | None = None) -> None:
        """Raise AssertionError with the history if DNS ever named no master."""
        seconds = self.seconds_of_none(since=since, until=until)
        assert seconds == 0, f"DNS named no master for {seconds:.3f} s\n{self.story()}"

    def assert_only(self, *nodes: RedisNode | Address, since: float, until: float | None = None) -> None:
        """Raise AssertionError with the history if DNS ever named anything but exactly these, or failed to answer."""
        wanted = frozenset(map(_address, nodes))
        wrong = [seen for *_, seen in self.spans(since=since, until=until) if seen.answers != wanted]
        assert not wrong, f"DNS answered {len(wrong)} times something else\n{self.story()}"

    def story(self) -> str:
        """Tell the whole history, a line an event, in seconds since the beginning."""
        history = self.history
        if not history:
            return "the witness saw nothing"
        events = [(seen.at, f"DNS    {_names(seen.answers)}") for seen in history]
        for name, roles in self._roles.items():
            events += [(at, f"{name} {role or 'gives no role'}") for at, role in roles]
        events += [(start, f"not seen for {(stop - start) * 1000:.0f} ms") for start, stop in self._gaps]
        lines = [f"{at - history[0].at:10.4f}  {text}" for at, text in sorted(events)]
        return "\n".join([*lines, f"{self._up_to - history[0].at:10.4f}  end, {self._samples} replies"])

    def _catch_up(self) -> None:
        with self.log_path.open("rb") as file:
            end = file.seek(0, SEEK_END)  # what comes meanwhile is left for later: on a busy machine it may come faster
            file.seek(self._read)
            while self._read < end and (line := file.readline()).endswith(b"\n"):
                self._read += len(line)
                self._take(*json.loads(line))

    def _take(self, kind: str, at: float, *rest: object) -> None:
        match kind, rest:
            case "dns", (str(service), float(answered), str() | None as wire):
                answers = None if wire is None else _answers(wire[4:])
                history = self._histories[service]
                # Consul shuffles several answers: the bytes differ, the set does not.
                if not history or history[-1].answers != answers:
                    history.append(Seen(at if answers is None else answered, answers))
                if service == self._service:
                    self._up_to = max(self._up_to, answered)
            case "role", (str(name), str() | None as role):
                self._roles[name].append((at, role))
            case "gap", (self._service, float(stop)):
                self._gaps.append((at, stop))
                self._resolution = max(self._resolution, stop - at)
            case "at", (self._service, int(samples), float(longest)):
                self._up_to, self._samples, self._resolution = max(self._up_to, at), samples, longest
            case (("gap" | "at"), _):
                pass  # of a service that stands beside
            case _:
                raise ValueError(f"the sampler printed {kind} {at} {rest}")


@lru_cache(maxsize=64)
def _answers(reply: str) -> frozenset[Address] | None:
    """Parse a reply, as hex and without its number: where Consul shuffles, the same few come hundreds of times a second."""
    return srv.answers(bytes.fromhex(f"0000{reply}"))


def _address(node: RedisNode | Address) -> Address:
    return node if isinstance(node, Address) else node.announced


def _names(answers: frozenset[Address] | None) -> str:
    if answers is None:
        return "gives no answer"
    return ", ".join(sorted(map(str, answers))) or "names nobody"
