"""The fleet that faults are done to: three hosts with all that a host has, one for Consul's server, and a witness."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Self

import redis

from consul_redis_agent.decide.facts import Address
from tests.fleet import (
    AgentNode,
    ConsulNode,
    Fleet,
    NotInTime,
    Process,
    RedisNode,
    SentinelNode,
    Witness,
    until,
)
from tests.fleet.hosts import Host

from .authority import NAMES, REFUSES, Death, Event, Gone, Left, Named, Role, Selected, Tenure, Voice, Wiped, tenures
from .ear import Ear, Heard
from .history import History, spans
from .pressure import Pressure
from .reach import Reach

FAILOVER_TIMEOUT = 5000
"""Milliseconds of Sentinel's failover-timeout: after twice that, a failover whose leader died is tried again."""
DOWN_AFTER, DOWN_AFTER_FENCED = 1000, 5000
"""Milliseconds of Sentinel's down-after; an agent asks for a failover only where it is 5 s or more."""
FENCE = """[fence]
mode = "on"
[failover]
on_death = "ask"
on_empty = "ask"
delay = "0s"
"""
"""What agents that fence have in their configuration."""
HASTE = ("TILT-PERIOD", "1", "INFO-PERIOD", "1000", "PUBLISH-PERIOD", "200")
USUAL = ("TILT-PERIOD", "30000", "INFO-PERIOD", "10000", "PUBLISH-PERIOD", "2000")
"""Milliseconds of Sentinel's own periods, to clean up soon and for everything that is judged."""
MODES = {"services": "redis", "check": "redis", "tags": "master.redis"}
"""Each ``service.mode``, and what DNS is asked for the master in it."""
OTHERS = (
    "+sdown",
    "-sdown",
    "+odown",
    "+new-epoch",
    "+promoted-slave",
    "+switch-master",
    "+convert-to-slave",
    "+tilt",
    "-tilt",
    "-failover",
    "+reset-master",
    NAMES,
    REFUSES,
)


class Arena:
    """Everything that a fault may use. ``random`` is the only source of chance, so a seed replays a choice.

    ``fenced``: the agents fence, and ask for a failover where a master has died or come back empty. ``options`` as in
    :class:`Fleet`.
    """

    def __init__(self, mode: str = "services", seed: int = 0, *, fenced: bool = False, **options: Any) -> None:
        self.mode, self.fenced = mode, fenced
        self.down_after = DOWN_AFTER_FENCED if fenced else DOWN_AFTER
        """Milliseconds of Sentinel's down-after."""
        self.sentinel_settings = {
            "down-after-milliseconds": str(self.down_after),
            "failover-timeout": str(FAILOVER_TIMEOUT),
            "quorum": "2",
        }
        """What a fault may set otherwise at a Sentinel."""
        self.random = random.Random(seed)
        self.fleet = Fleet(isolated=True, **options)
        self.broken = False
        """It could not be brought back to a clean state; take a new one."""
        try:
            self._build()
        except BaseException:
            self.fleet.close()
            raise

    def _build(self) -> None:
        fleet = self.fleet
        fleet.populate(down_after=self.down_after, failover_timeout=FAILOVER_TIMEOUT)
        for node in fleet.nodes:
            fleet.agent(node, more=self.settings)
        self.guests: list[Process] = []
        """What a fault has had beside the fleet, for the story."""
        self._left: list[SentinelNode] = []
        self._begin(fleet.nodes[0], fleet.witness(service=MODES[self.mode]))
        self.witness.wait_for(self.first, within=10)
        self.wait_for_agents()

    def _begin(self, first: RedisNode, witness: Witness) -> None:
        """Begin to write down what happens, with this node as the master."""
        fleet = self.fleet
        self.first, self.witness = first, witness
        self._first_sentinels = [*fleet.sentinels]
        self.marks: list[tuple[float, str]] = []
        self.well_since: float | None = None
        """Since when all servers were found well, with nothing done since."""
        self.blind: list[tuple[float, float]] = []
        """When Consul's server replayed its log after a start: its DNS answers then with every state in it."""
        self._deaths: list[Death] = []
        self._ends: list[Gone | Left | Wiped] = []
        self._named: list[Named] = []
        self.reach = Reach(fleet.sentinels, fleet.nodes)
        self.ear = Ear(fleet.sentinels, fleet.certificates.client.context() if fleet.certificates else None)
        self.pressure = Pressure()
        self.started = time.monotonic()

    def begin_anew(self) -> History:
        """Forget what has happened, in a clean state, so that a long life fits into memory and on disk.

        Returns it, until a moment when the next witness has begun.
        """
        witness = self.fleet.witness(service=MODES[self.mode])
        before, former, master = self.history(), self.witness, self.master
        for thread in (self.ear, self.pressure):
            thread.close()
        former.kill()
        self.fleet.processes.remove(former)
        self._left.clear()
        self._begin(master, witness)
        for process in self.fleet.processes:
            if process is not witness:
                os.truncate(process.log_path, 0)  # each is written at its end, wherever that is
        for gone in (former.log_path, *self.fleet.folder.glob("application*")):
            gone.unlink()
        return before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.ear.close()
        self.pressure.close()
        self.fleet.close()

    # Who is who

    @property
    def settings(self) -> str:
        """What each agent's configuration begins with."""
        own = f'[log]\nlevel = "debug"\nformat = "text"\n[service]\nmode = "{self.mode}"\n'
        return own + (FENCE if self.fenced else "")

    @property
    def noticed(self) -> float:
        """Seconds in which Sentinel would have begun a failover, and the agents followed."""
        return self.down_after / 1000 + 5.0

    @property
    def nodes(self) -> list[RedisNode]:
        """The Redis nodes."""
        return self.fleet.nodes

    @property
    def sentinels(self) -> list[SentinelNode]:
        """The Sentinels, one on each node's host."""
        return self.fleet.sentinels

    @property
    def server(self) -> ConsulNode:
        """Consul's server, which the witness asks."""
        return self.fleet.consuls[0]

    def agent(self, node: RedisNode) -> AgentNode:
        """Our agent on the host of a node."""
        return next(agent for agent in self.fleet.agents if agent.host is node.host)

    def consul(self, node: RedisNode) -> ConsulNode:
        """Consul's client agent on the host of a node."""
        return self.fleet.consul_of(node.host)

    def sentinel(self, node: RedisNode) -> SentinelNode:
        """The Sentinel on the host of a node."""
        return next(sentinel for sentinel in self.sentinels if sentinel.host is node.host)

    def part(self, kind: str, who: int) -> Process:
        """The ``redis``, ``sentinel``, ``consul`` client or ``agent`` of host ``who``."""
        node = self.nodes[who]
        parts: dict[str, Process] = {
            "redis": node,
            "sentinel": self.sentinel(node),
            "consul": self.consul(node),
            "agent": self.agent(node),
        }
        return parts[kind]

    def node_at(self, address: Address) -> RedisNode:
        """The node that is known by an address."""
        return next(node for node in self.nodes if node.announced == address)

    # What has happened

    def tenures(self) -> list[Tenure]:
        """Everybody's time of authority since the beginning."""
        now = time.monotonic()
        return tenures(self._events(), self.first.announced, self.started, now)

    def _events(self) -> Iterator[Event]:
        hosts = {sentinel.name: sentinel.host for sentinel in [*self._left, *self.sentinels]}
        voices = {name: Voice(name) for name in hosts}
        yield from (Named(self.started, sentinel.name, self.first.announced) for sentinel in self._first_sentinels)
        for heard in list(self.ear.heard):
            for event in voices[heard.sentinel].heed(heard.at, heard.channel, heard.text):
                if not isinstance(event, Gone) or self.reach.had_power(hosts[event.sentinel], event.at):
                    yield event
        for node in self.nodes:
            yield from (Role(at, node.announced, role) for at, role in self.witness.roles(node))
        yield from self.reach.changes
        yield from self._deaths
        yield from self._ends
        yield from self._named

    def selection(self, since: float) -> tuple[SentinelNode, Selected] | None:
        """The last selection after a moment, and the Sentinel that led."""
        for heard in reversed(self.events(["+selected-slave"], since=since)):
            sentinel = next(s for s in self.sentinels if s.name == heard.sentinel)
            for event in Voice(sentinel.name).heed(heard.at, heard.channel, heard.text):
                assert isinstance(event, Selected)
                return sentinel, event
        return None

    @property
    def holder(self) -> RedisNode | None:
        """The node that has authority now."""
        last = self.tenures()[-1]
        return self.node_at(last.node) if last.loss is None else None

    @property
    def master(self) -> RedisNode:
        """The node that has authority now. Raises AssertionError if there is none."""
        holder = self.holder
        assert holder is not None, "no node has authority"
        return holder

    def replicas(self) -> list[RedisNode]:
        """The other nodes."""
        return [node for node in self.nodes if node is not self.master]

    def names(self, node: RedisNode) -> bool:
        """Whether DNS names exactly this node now."""
        return self.witness.answers == frozenset({node.announced})

    def names_holder(self) -> bool:
        """Whether DNS names exactly the node that has authority."""
        holder = self.holder
        return holder is not None and self.names(holder)

    def history(self) -> History:
        """All that was seen, for the judge."""
        roles = {node.announced: self.witness.roles(node) for node in self.nodes}
        return History(
            spans(self.witness, self.blind), self.witness.gaps(), roles, self.tenures(), self.pressure.stalled
        )

    def events(self, channels: Sequence[str], *, since: float) -> list[Heard]:
        """What the Sentinels have said on channels that begin so."""
        return [h for h in list(self.ear.heard) if h.at >= since and h.channel.startswith(tuple(channels))]

    def story(self, since: float, end: float) -> str:
        """What was done, what the Sentinels said, who said what of himself and what DNS answered, a line an event."""
        lines = [(at, f"--- {text}") for at, text in self.marks]
        lines += [(seen.at, f"DNS names {_names(seen.answers)}") for seen in self.witness.history]
        lines += [(at, f"{n.name} {n.host.address} says {r}") for n in self.nodes for at, r in self.witness.roles(n)]
        for heard in self.events(["+", "-", NAMES, REFUSES], since=since):
            if heard.channel.startswith(OTHERS) or "selected-slave" in heard.channel or "elected" in heard.channel:
                lines.append((heard.at, f"{heard.sentinel} {heard.channel} {heard.text}"))
        for tenure in self.tenures():
            how = " by promotion" if tenure.promoted else ""
            lines.append((tenure.start, f"AUTHORITY {tenure.node}{how}{', early to its end' if tenure.early else ''}"))
            if tenure.loss:
                lines.append((tenure.end, f"{tenure.node} has lost authority by {tenure.loss}"))
        lines += [(start, f"not seen for {(stop - start) * 1000:.0f} ms") for start, stop in self.witness.gaps()]
        return "\n".join(f"{at - since:9.4f}  {text}" for at, text in sorted(lines) if since - 0.5 <= at <= end)

    # Doing something

    @contextmanager
    def doing(self, what: str) -> Iterator[float]:
        """Write down what is done, and which nodes died of it. Gives the time of the beginning."""
        alive = [node for node in self.nodes if node.alive]
        began = time.monotonic()
        self.marks.append((began, what))
        self.well_since = None
        yield began
        self._deaths += [Death(time.monotonic(), node.announced) for node in alive if not node.alive]

    def kill(self, process: Process) -> float:
        """SIGKILL one process."""
        with self.doing(f"kill {process.name}") as began:
            process.kill()
            if isinstance(process, SentinelNode) and self.reach.had_power(process.host, began):
                self._ends.append(Gone(began, process.name))
            self.reach.go_on(process, began)
        return began

    def stop(self, process: Process) -> None:
        """SIGTERM to one process, which ends as it does for its operator."""
        with self.doing(f"stop {process.name}"):
            process.stop(within=20)

    def start(self, process: Process) -> None:
        """Start one process again and wait until it works."""
        with self.doing(f"start {process.name}") as began:
            process.start(within=20)
        if process is self.server:
            self.until(partial(self.server.put, "/v1/kv/barrier"), "Consul's server has replayed its log")
            self.witness.watch(0)  # what it asked before may be answered with something old
            self.blind.append((began, time.monotonic()))

    def pause(self, process: Process) -> None:
        """SIGSTOP one process."""
        with self.doing(f"pause {process.name}") as began:
            process.pause()
            self.reach.stop(process, began)

    def resume(self, process: Process) -> None:
        """SIGCONT one process."""
        with self.doing(f"resume {process.name}"):
            process.resume()
            self.reach.go_on(process, time.monotonic())

    def lose(self, host: Host) -> None:
        """End a whole host as a power cut does."""
        with self.doing(f"lose {host.name}") as began:
            self.reach.unplug(host, began)
            self.fleet.lose(host)

    def switch_off(self, host: Host) -> None:
        """End a whole host as its operator does: every process is asked to end and does, then the cable is taken out."""
        with self.doing(f"switch off {host.name}"):
            running = [process for process in self.fleet.on(host) if process.alive]
            for process in running:
                process.signal(signal.SIGTERM)  # once: at a second one Consul leaves without a word
            # Redis first, since its end is one of the moments that are judged; Consul takes its time.
            for process in sorted(running, key=lambda p: not isinstance(p, RedisNode)):
                self.until(partial(has_ended, process), f"{process.name} ends")
                if isinstance(process, RedisNode):
                    self._deaths.append(Death(time.monotonic(), process.announced))
            self.reach.unplug(host, time.monotonic())
            self.fleet.lose(host)

    def bring_back(self, host: Host) -> None:
        """Start a lost host again, with the files it had."""
        with self.doing(f"bring back {host.name}"):
            self.fleet.bring_back(host)
            self.reach.plug_in(host, time.monotonic())

    def isolate(self, process: Process, *, but: Sequence[Process] = ()) -> None:
        """Cut the host of a process off from every other, but for those of ``but``."""
        with self.doing(f"cut off {process.host.name}" + "".join(f", but from {b.host.name}" for b in but)) as began:
            self.fleet.isolate(process, but=but)
            kept = {process.host, *(other.host for other in but)}
            self.reach.cut(process.host, {other.host for other in self.fleet.processes} - kept, began)

    def heal(self) -> None:
        """Undo every cut."""
        with self.doing("heal the network"):
            self.fleet.heal()
            self.reach.heal(time.monotonic())

    def ask(self, server: RedisNode | SentinelNode, *command: str) -> object:
        """Send a command to a Redis node or a Sentinel."""
        with self.doing(f"{server.name}: {' '.join(command)}"):
            reply: object = server.ask(*command)
        return reply

    # Sentinels that come and go

    def add_sentinel(self, node: RedisNode, *, port: int) -> SentinelNode:
        """Start one more Sentinel on the host of a node, with an id of its own."""
        with self.doing(f"a new Sentinel on {node.host.name}, port {port}"):
            return self.fleet.sentinel(
                node.host,
                master=self.master,
                usual_port=port,
                down_after=self.down_after,
                failover_timeout=FAILOVER_TIMEOUT,
            )

    def remove_sentinel(self, sentinel: SentinelNode) -> None:
        """Stop a Sentinel for good, and count it no longer."""
        with self.doing(f"{sentinel.name} is stopped for good") as began:
            sentinel.stop()
            self._ends += [Gone(began, sentinel.name), Left(began, sentinel.name)]
            self._left.append(sentinel)
            self.fleet.sentinels.remove(sentinel)
            self.fleet.processes.remove(sentinel)

    def wipe_sentinels(self) -> None:
        """Kill every Sentinel and start it with a file as after an installation."""
        master = self.master
        with self.doing("wipe every Sentinel"):
            for sentinel in self.sentinels:
                self.kill(sentinel)
            for sentinel in self.sentinels:
                sentinel.forget(master)
            self._ends.append(Wiped(time.monotonic()))
            for sentinel in self.sentinels:
                self.start(sentinel)

    def wait_for_sentinels(self) -> None:
        """Wait until the Sentinels know each other and all nodes, and find nothing wrong."""
        self.marks.append((time.monotonic(), "the Sentinels are to find each other"))
        self.fleet.settle(within=60)
        self.marks.append((time.monotonic(), "they have"))

    @contextmanager
    def guest(self, process: Process, *, wait: bool = True) -> Iterator[None]:
        """A process that is part of the fleet only in the block, if it lives as long; it is asked to end."""
        self.guests.append(process)
        with self.doing(f"start {process.name} on {process.host.name}"):
            self.fleet.add(process, wait=wait)
        try:
            yield
        finally:
            with self.doing(f"stop {process.name}"):
                if process.alive:
                    process.stop()
            self.fleet.processes.remove(process)

    # Waiting for what follows

    def watch(self, seconds: float, what: str) -> None:
        """Let the witness look on, for something that must not happen and would have by then."""
        self.marks.append((time.monotonic(), f"watch for {seconds:g} s: {what}"))
        self.witness.watch(seconds)

    def let_pass(self, seconds: float, since: float) -> None:
        """Go on at a moment that is so much later than another, to the millisecond; at once if it has passed."""
        time.sleep(max(0.0, since + seconds - time.monotonic()))

    def until(self, condition: Callable[[], object], what: str, *, within: float = 30) -> None:
        """Wait for an event outside. Raises NotInTime."""
        until(lambda: bool(condition()), within=within, what=what)

    def wait_for_failover(self, old: RedisNode, *, within: float = 45) -> RedisNode:
        """Wait until another node has authority."""
        self.until(lambda: self.holder not in (None, old), f"another node than {old.name} is promoted", within=within)
        return self.master

    def wait_for_promotion(self, since: float, *, within: float = 45) -> tuple[SentinelNode, RedisNode, float]:
        """Wait until a node that was selected after a moment turns master: the leader, the node, and when."""

        def promoted() -> tuple[SentinelNode, RedisNode, float] | None:
            if found := self.selection(since):
                leader, selected = found
                node = self.node_at(selected.node)
                if at := self.witness.promoted_at(node, since=selected.at):
                    return leader, node, at
            return None

        found = until(promoted, within=within, what="a node that a leader has selected turns master")
        assert found is not None
        return found

    def wait_for_agreement(self, *, within: float = 90) -> RedisNode:
        """Wait until all Sentinels that run name the node that has authority, and return it."""

        def agreed() -> bool:
            return all(s.names() == self.master.announced for s in self.sentinels if s.alive)

        self.until(agreed, "all Sentinels name the node that has authority", within=within)
        return self.master

    def wait_until_follows(self, node: RedisNode, *, within: float = 60) -> None:
        """Wait until a node is a replica, with its link up, of the one that has authority, or has it itself."""

        def follows() -> bool:
            return node is self.master or node.follows(self.master)

        self.until(follows, f"{node.name} follows the master", within=within)

    def wait_until_well(self, *, within: float = 90) -> RedisNode:
        """Wait until the servers are well, and return who has authority.

        It answers, no Sentinel holds it for down, and its Consul is alive to the servers.
        """

        def well() -> bool:
            holder = self.holder
            return (
                holder is not None
                and holder.role() == "master"
                and not any(holds_for_down(sentinel, holder) for sentinel in self.sentinels if sentinel.alive)
                and self.agent(holder).alive
                and self.consul(holder).is_ready()
                and self._gossip_knows(holder)
            )

        self.until(well, "one node has authority, and its host is well", within=within)
        if self.well_since is None:
            self.well_since = time.monotonic()
            self.marks.append((self.well_since, "all servers are well"))
        return self.master

    def _gossip_knows(self, node: RedisNode) -> bool:
        checks = self.server.get(f"/v1/health/node/{self.consul(node).name}")
        return any(check["CheckID"] == "serfHealth" and check["Status"] == "passing" for check in checks)

    # A clean state again

    def clean(self) -> None:
        """Bring everything back to three well hosts; ``broken`` where that fails. Not judged."""
        self.marks.append((time.monotonic(), "clean up"))
        try:
            self._clean()
        except Exception:
            self.broken = True
            raise

    def _clean(self) -> None:
        self.fleet.heal()
        self.reach.mend(time.monotonic())
        for process in self.fleet.processes:
            if process.alive:
                process.resume()
        for node in self.nodes:
            if not node.alive:
                self.fleet.bring_back(node.host)
        for process in self.fleet.processes:
            if not process.alive:
                process.launch()
        for process in self.fleet.processes:
            process.wait_ready(within=20)
        for consul in self.fleet.consuls:
            self.until(partial(sees_everybody, consul, self.fleet.consuls), f"{consul.name} sees every other one alive")
        for node in self.nodes:
            self.until(partial(self._gossip_knows, node), f"Consul's servers hold the host of {node.name} for alive")
            self.until(partial(has_priority, node, "100"), f"{node.name} may be chosen")
        for sentinel in self.sentinels:
            set_periods(sentinel, HASTE)
            sentinel.ask(
                "SENTINEL", "SET", "mymaster", *(word for pair in self.sentinel_settings.items() for word in pair)
            )
        try:
            master = self.fleet.wait_for_master(within=30)
        except NotInTime:
            self.outvote()
            master = self.fleet.wait_for_master(within=60)
        self._notice(master)
        for node in self.nodes:
            if node is not master:
                self.until(partial(made_to_follow, node, master), f"{node.name} follows {master.name}")
        self.fleet.wait_for_replicas()
        self.fleet.settle(within=60)
        self.until(lambda: not any(map(in_tilt, self.sentinels)), "no Sentinel is in TILT")
        for sentinel in self.sentinels:
            set_periods(sentinel, USUAL)
        self.until(self.names_holder, "DNS names the node that has authority")
        self.wait_for_agents()

    def outvote(self) -> None:
        """Have every Sentinel name whom most do: two of one epoch that name two nodes never agree by themselves."""
        names = [sentinel.names() for sentinel in self.sentinels]
        most = max(names, key=names.count)
        for sentinel, name in zip(self.sentinels, names, strict=True):
            if name != most:
                sentinel.ask("SENTINEL", "REMOVE", "mymaster")
                sentinel.ask("SENTINEL", "MONITOR", "mymaster", *map(str, most), self.sentinel_settings["quorum"])
                set_periods(sentinel, HASTE)
                sentinel.ask(
                    "SENTINEL", "SET", "mymaster", *(word for pair in self.sentinel_settings.items() for word in pair)
                )

    def wait_until_agents_may_ask(self) -> None:
        """Let a failover-timeout pass since the last failover, where agents fence: until then they ask for none."""
        news = self.events(["+try-failover", "+promoted-slave", "+switch-master"], since=self.started)
        if self.fenced and news:
            self.let_pass(FAILOVER_TIMEOUT / 1000 + 0.5, since=news[-1].at)

    def wait_for_agents(self) -> None:
        """Wait until no agent still searches, or holds off from a Sentinel that was away: a fault meets a calm fleet."""
        for agent in self.fleet.agents:
            self.until(partial(agent.is_settled, len(self.sentinels)), f"{agent.name} reaches everybody")

    def _notice(self, master: RedisNode) -> None:
        """Take over what all Sentinels say, should the ear have missed a selection while one of them started."""
        if self.holder is not master:
            now = time.monotonic()
            self._named += [Named(now, sentinel.name, master.announced) for sentinel in self.sentinels]


def sees_everybody(consul: ConsulNode, everybody: Sequence[ConsulNode]) -> bool:
    """Whether a Consul agent's gossip has all others alive; it is told of those that it gave up, which it tries every 30 s."""
    alive = {member["Name"] for member in consul.get("/v1/agent/members") if member["Status"] == 1}
    away = [other for other in everybody if other.name not in alive]
    for other in away:
        consul.put(f"/v1/agent/join/{other.lan}")
    return not away


def holds_for_down(sentinel: SentinelNode, master: RedisNode) -> bool:
    """Whether a Sentinel that has this node as its master cannot reach it: after a cut it takes some seconds to try again."""
    fields = sentinel.master()
    return (fields["ip"], int(fields["port"])) == master.announced and "s_down" in fields["flags"].split(",")


def has_ended(process: Process) -> bool:
    return not process.alive


def set_periods(sentinel: SentinelNode, periods: Sequence[str]) -> None:
    """Have a Sentinel do its own work sooner, or as usual; one before 7.0 cannot, and takes its time."""
    with suppress(redis.ResponseError):
        sentinel.ask("SENTINEL", "DEBUG", *periods)


def set_priority(node: RedisNode, priority: str) -> None:
    """Set the replica-priority, also in its file; 0 is never chosen for promotion."""
    if node.ask("CONFIG", "GET", "replica-priority")[1] != priority:
        node.ask("CONFIG", "SET", "replica-priority", priority)
        node.ask("CONFIG", "REWRITE")


def has_priority(node: RedisNode, priority: str) -> bool:
    """The same, as a condition: a node that Sentinel turns just then closes its connections."""
    set_priority(node, priority)
    return True


def made_to_follow(node: RedisNode, master: RedisNode) -> bool:
    """REPLICAOF, unless Sentinel, which would do the same after 10 s, was quicker."""
    info = node.info("replication")
    if (info.get("master_host"), info.get("master_port")) != master.announced:
        node.ask("REPLICAOF", *map(str, master.announced))
    return node.follows(master)


def in_tilt(sentinel: SentinelNode) -> bool:
    return bool(int(sentinel.info("sentinel")["sentinel_tilt"]))


def _names(answers: frozenset[Address] | None) -> str:
    if answers is None:
        return "nobody: no reply"
    return " and ".join(sorted(map(str, answers))) or "nobody"
