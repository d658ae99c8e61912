"""The world: hosts, what cuts them off from each other, and what goes wrong."""

from __future__ import annotations

import logging
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from tenacity import wait

from consul_redis_agent import agent as agent_module
from consul_redis_agent import beside, clock, node, state
from consul_redis_agent.decide.decision import Decision, Policy
from consul_redis_agent.decide.facts import Address, Facts
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.decide.rules import decide
from consul_redis_agent.publish import writer
from consul_redis_agent.publish.entries import Mode
from consul_redis_agent.tell.events import EVENTS
from consul_redis_agent.watch import lookout, redis_node

from .acts import ACTS
from .agent import Agent
from .api import ConsulAPI
from .application import Application
from .consul import SERVERS, LocalAgent, Servers
from .engine import Engine, Violation
from .judge import Judge
from .link import Link, NoLock, Server, accepts, at_once, current, started
from .loop import Planned
from .redis import Redis, SentinelServer

START = 5.0
PAUSE = 2.0
"""Seconds between two things that go wrong by chance."""
HEALING = 30.0
QUIET = 5.0


@dataclass(frozen=True, slots=True)
class Fencing:
    """What the operator allows."""

    mode: str = "on"
    on_death: bool = False
    on_empty: bool = False
    delay: float = 0.0

    @classmethod
    def by_chance(cls, rng: random.Random) -> Fencing:
        """One in every four seeds off, one that watches; the others on, each half of them with what else there is."""
        mode, delay = rng.choice(["off", "watch", "on", "on"]), round(rng.random(), 1)
        return cls(mode, mode == "on" and rng.random() < 0.5, mode == "on" and rng.random() < 0.5, delay)

    @property
    def settings(self) -> tuple[str, ...]:
        """As the configuration has them."""
        asks = ("ask" if each else "off" for each in (self.on_death, self.on_empty))
        return (self.mode, *asks, f"{self.delay:g}s")


@dataclass(slots=True)
class Host:
    """One machine."""

    number: int
    redis: Redis
    sentinel: SentinelServer
    consul: LocalAgent
    agent: Agent
    up: bool = True
    boots: int = 0


class World:
    """Three hosts, each with Redis, Sentinel, a Consul agent and our agent; Consul's servers are elsewhere."""

    def __init__(
        self,
        seed: int,
        *,
        trouble: float = 40.0,
        script: Callable[[World], None] | None = None,
        interrupt_at: int = 0,
        mode: Mode | None = None,
        count: int = 3,
    ) -> None:
        """``trouble``: seconds of it; ``script``: what goes wrong, instead of chance; ``interrupt`` after which step."""
        self.seed = seed
        self.engine = Engine(seed)
        self.loss = 0.02
        self.quorum = count // 2 + 1
        self.promotions = self.steps = self.writes_before_quiet = self.promotions_before_quiet = 0
        self.steps_in_trouble = 0
        self.interrupt_at = interrupt_at
        self.interrupt: Callable[[Agent], None] = self.restart_agent
        self.state = Path("nowhere")
        """Where the agents keep their state."""
        self.hosts: list[Host] = []
        self.unsettled = self.replaced = False
        self.defects: set[int] = set()
        """Whose agents make a mistake in their next decision."""
        self._trouble_ends = START + trouble
        self._script = script
        self._cuts: set[frozenset[int]] = set()
        self._dirty = False
        self._failures: list[str] = []
        self.judge = Judge(self)
        self.servers = Servers(self)
        mode = mode or self.engine.rng.choice(list(Mode))
        self.streams = self.engine.rng.random() < 0.5
        """Whether Consul agents answer blocking queries from their own view, also when they are cut off."""
        self.early = self.engine.rng.random() < 0.8
        self.discovers = self.engine.rng.random() < 0.3
        """Whether the agents have no configuration, and find Sentinels and master name by hellos."""
        self.fence = Fencing.by_chance(self.engine.rng)
        self.persists = not self.fence.on_empty or self.engine.rng.random() < 0.3
        """Whether a node that starts again has its data."""
        self.copies = 0
        """Of whole data sets."""
        for i in range(count):
            made = Host(i, Redis(self, i), SentinelServer(self, i), LocalAgent(self, i), Agent(self, i, mode))
            if i:
                made.redis.master = made.redis.on_disk = 0
            self.hosts.append(made)
        self.application = Application(self)
        self.engine.after_each = self._look

    @property
    def down_after(self) -> float:
        """Seconds until Sentinel holds a node for down: nobody is asked for anything below five."""
        return 5.0 if self.fence.on_death or self.fence.on_empty else 1.0

    # Who is who

    def name(self, host: int) -> str:
        return "abcdefg"[host]

    def address(self, host: int) -> Address:
        return Address(f"10.0.0.{host + 1}", 6379)

    def sentinel_address(self, host: int) -> Address:
        return Address(f"10.0.0.{host + 1}", 26379)

    def server_at(self, where: Address | str, seen_from: int) -> Server | None:
        """Who listens there, if anybody ever does."""
        if isinstance(where, str) or where.port not in (6379, 26379):
            return None
        host = seen_from if where.host == "127.0.0.1" else int(where.host.rpartition(".")[2]) - 1
        return self.hosts[host].redis if where.port == 6379 else self.hosts[host].sentinel

    def host_of(self, consul_node: str) -> int:
        return "abcdefg".index(consul_node[-1])

    @property
    def majority(self) -> int:
        """Of all Sentinels; those that others have replaced are listed still, and none."""
        return len(self.hosts) // 2 + 1

    def say(self, who: int, what: str) -> None:
        self.engine.say("servers" if who == SERVERS else self.name(who), what)

    def reach(self, a: int, b: int) -> bool:
        """Whether a packet gets from one to the other."""
        if (a >= 0 and not self.hosts[a].up) or (b >= 0 and not self.hosts[b].up):
            return False
        return a == b or not self._cuts or frozenset((a, b)) not in self._cuts

    def changed(self) -> None:
        """Have the judge look after this event."""
        self._dirty = True

    def failed(self, host: int, what: str) -> None:
        """A defect of ours has shown; the simulation ends after this event."""
        self._failures.append(f"the agent of {self.name(host)}: {what}")
        self._dirty = True

    def _look(self) -> None:
        if self._dirty:
            if self._failures:
                raise Violation("\n".join(self._failures))
            self._dirty = False
            self.judge.look()

    # What goes wrong

    def stepped(self, agent: Agent) -> None:
        """An agent has taken a step towards Consul."""
        self.steps += 1
        if self.steps == self.interrupt_at:
            self.say(agent.host, f"interrupted at step {self.steps}")
            self.engine.later(0.0, self.interrupt, agent)

    def restart_agent(self, agent: Agent) -> None:
        """Kill it, and have it started again."""
        agent.stop()
        self.engine.later(self.engine.rng.uniform(0.5, 3.0), agent.start)

    def cut_off(self, host: Host, seconds: float, *, servers: bool) -> None:
        """Cut a host off from all others, and from Consul's servers as well or not."""
        others = [h.number for h in self.hosts if h is not host] + ([SERVERS] if servers else [])
        self.cut(((host.number, other) for other in others), seconds)

    def cut(self, pairs: Iterable[tuple[int, int]], seconds: float) -> None:
        """Let no packet through between these."""
        cut = {frozenset(pair) for pair in pairs} - self._cuts
        shown = " ".join(sorted("-".join("S" if x == SERVERS else self.name(x) for x in sorted(pair)) for pair in cut))
        self.engine.say("network", f"cut {shown}")
        self._cuts |= cut
        self.changed()
        self._gossip()
        self.engine.later(seconds, self._mend, cut)

    def _mend(self, cut: set[frozenset[int]]) -> None:
        self._cuts -= cut
        self.engine.say("network", "a cut is mended")
        self.changed()
        self._relink()

    def _relink(self) -> None:
        for host in self.hosts:
            self.engine.later(self.engine.rng.uniform(0.0, 2.0), host.consul.compare)
        self._gossip()

    def _gossip(self) -> None:
        rng = self.engine.rng
        for host in self.hosts:
            self.engine.later(rng.uniform(3, 10), self._gossips, host, False)
            self.engine.later(rng.uniform(0.1, 0.5), self._gossips, host, True)

    def _gossips(self, host: Host, alive: bool) -> None:
        if (host.up and host.consul.answers and self.reach(host.number, SERVERS)) is alive:
            self.servers.gossip(host.consul.node, alive=alive)

    def lose(self, host: Host, seconds: float) -> None:
        """Pull the plug, and put it in again."""
        self.say(host.number, "the host is lost")
        host.up = False  # before anything ends: nobody is told
        host.boots += 1
        for part in (host.redis, host.sentinel, host.consul, host.agent):
            part.stop()
        self.changed()
        self._gossip()
        self.engine.later(seconds, self._return, host)

    def _return(self, host: Host) -> None:
        if host.up:
            return
        host.up = True
        self.say(host.number, "the host is back")
        rng = self.engine.rng
        for part in (host.redis, host.sentinel, host.consul, host.agent):
            self.engine.later(rng.uniform(0.0, 2.0), part.start)
        self.engine.later(2.0, self._gossip)

    def plan(self, sentinel: SentinelServer) -> None:
        """SENTINEL FAILOVER, where no other one is near: two of them could share an epoch."""
        if sentinel.knows_the_last:
            sentinel.force_failover()

    def hand_over(self, old: Host, new: Host) -> None:
        """The FAILOVER command."""
        if not (old.redis.answers and new.redis.answers and self.reach(old.number, new.number)):
            return
        old.redis.hand_over(new.redis)

    def _trouble(self) -> None:
        rng, engine = self.engine.rng, self.engine
        if engine.now > self._trouble_ends:
            return
        engine.later(rng.expovariate(1 / PAUSE), self._trouble)
        host = rng.choice(self.hosts)
        master = self.hosts[self.judge.named() or 0]
        target = master if rng.random() < 0.6 else host
        short, long = rng.uniform(0.05, 2.0), rng.uniform(2.0, 25.0)
        some = rng.choice([short, long])
        match rng.randrange(23):
            case 0 | 1:
                target.redis.stop()
                engine.later(some, target.redis.start, rng.choice([0.0, 0.0, 1.0]))
            case 2 | 3 | 4 as which:
                hung = (target.redis, target.consul, target.agent)[which - 2]
                hung.pause()
                engine.later(some, hung.resume)
            case 5:
                self.lose(target, long)
            case 6:
                rng.choice([target.agent.stop, target.agent.terminate])()
                engine.later(some, target.agent.start)
            case 7:
                target.agent.reload()
            case 8:
                target.consul.stop()
                engine.later(some, lambda: target.consul.start(with_data=rng.random() < 0.7))
            case 9:
                self.servers.leader = False
                engine.say("servers", "there is no leader")
                engine.later(some, self._elect_leader)
            case 10 | 11 | 12 as which:
                self.cut_off(target, long, servers=which == 12)
            case 13:
                self.cut([(target.number, SERVERS)], some)
            case 14 | 15 as which:
                led = [h for h in self.hosts if h.sentinel.failover]
                ended = (led or [host])[0].sentinel if which == 15 else host.sentinel
                ended.stop()
                engine.later(long, ended.start)
            case 16:
                host.sentinel.tilt_until = engine.now + long
                self.say(host.number, "Sentinel is in TILT")
            case 17 | 18:
                if not any(h.sentinel.failover or h.sentinel.sees_down for h in self.hosts):
                    self.plan(host.sentinel)
            case 19:
                if host.redis.master is not None:
                    host.redis.follow(None, by_hand=True)
            case 20:
                self.hand_over(master, host)
            case 21:
                host.sentinel.reset()
            case 22 if not self.replaced:
                self.replaced = True
                host.sentinel.replace()
                engine.later(some, host.sentinel.start)
        self._gossip()
        engine.later(some + 0.1, self._gossip)
        self.changed()

    def _elect_leader(self) -> None:
        self.servers.leader = True
        self.engine.say("servers", "there is a leader")
        self.changed()
        self._relink()

    def _heal(self) -> None:
        self.engine.say("world", "all is healed")
        self._cuts.clear()
        self.servers.leader = True
        for host in self.hosts:
            self._return(host)
            host.sentinel.tilt_until = 0.0
            for part in (host.sentinel, host.redis, host.consul, host.agent):
                part.start()
                part.resume()
        self._relink()
        self.changed()

    # Running

    def run(self) -> World:
        """From a quiet start through trouble to a quiet end. Raises Violation, with the history."""
        rng = self.engine.rng
        for host in self.hosts:
            self.engine.later(rng.uniform(0.1, 2.0), host.agent.start)
        if self._script:
            self._script(self)
        else:
            self.engine.later(START, self._trouble)
        end = self._trouble_ends
        with self._patched():
            try:
                self.engine.run(end)
                self.steps_in_trouble = self.steps
                self.engine.later(0.0, self._heal)
                healed = end + HEALING + 2 * self.down_after
                self.engine.run(healed - 1.0)
                for host in self.hosts:
                    host.consul.compare()  # else it may do so at any time
                self.engine.run(healed)
                self.writes_before_quiet, self.promotions_before_quiet = self.servers.writes, self.promotions
                self.engine.run(healed + QUIET)
                self.judge.at_the_end()
                if not (self.unsettled or self._script):
                    self._last_acts()
            except Violation as violation:
                raise Violation(f"{violation}\n{self.history()}") from None
            finally:
                for host in self.hosts:
                    host.agent.loop.kill()
        return self

    def _last_acts(self) -> None:
        """What the application is promised where nothing else goes wrong."""
        self.loss = 0.0
        for act in ACTS:
            act(self)
            self.judge.at_the_end()

    def history(self, last: int = 45) -> str:
        """Who did what when."""
        lines = list(self.engine.history)[-last:]
        told = "\n".join(f"{at:8.3f} s  {who:8} {what}" for at, who, what in lines)
        return f"seed {self.seed}, at {self.engine.now:.3f} s, after:\n{told}"

    @contextmanager
    def _patched(self) -> Iterator[None]:
        """Let the real agents live in this world: its time, its chance, its network."""
        rng, log = self.engine.rng, logging.getLogger("consul_redis_agent")
        level, notes = log.level, logging.Handler()
        notes.emit = self._note  # type: ignore[method-assign]
        with (
            patch.object(clock, "time", SimpleNamespace(clock_gettime=lambda _: self.engine.now)),
            patch.object(clock, "_SPREAD", 0.0),
            patch.object(wait, "random", rng),
            patch.object(writer, "random", rng),
            patch.object(lookout, "boot", lambda: f"{current().host}.{self.hosts[current().host].boots}"),
            patch.object(lookout, "Link", Link),
            patch.object(lookout, "AgentLock", NoLock),
            patch.object(beside.Threads, "ask", at_once),
            patch.object(beside.Threads, "start", started),
            patch.object(redis_node, "accepts", accepts),
            patch.object(agent_module, "consul_api", lambda config: ConsulAPI(config.url, timeout=config.timeout)),
            patch.object(node, "decide", self._decide),
            patch.object(log, "handlers", [notes]),
            patch.object(log, "propagate", False),
            patch.object(state, "state_directory", lambda env: current().state),
            tempfile.TemporaryDirectory() as kept,
        ):
            self.state = Path(kept)
            log.setLevel(logging.INFO)
            try:
                yield
            finally:
                log.setLevel(level)

    def _decide(self, facts: Facts, memory: Memory, policy: Policy) -> tuple[Decision, Memory]:
        if (host := current().host) in self.defects:
            self.defects.discard(host)
            raise Planned("a mistake of ours")
        return decide(facts, memory, policy)

    def _note(self, record: logging.LogRecord) -> None:
        """What the agents log belongs to the history; what they caught of their own mistakes is a failure."""
        self.say(current().host, f"agent: {record.getMessage()}")
        if (name := getattr(record, "event", "")) and set(EVENTS[name].fields) != set(vars(record)["event_fields"]):
            self.failed(current().host, f"the event {name!r} has other fields than the table says")
        if record.exc_info:
            self.failed(current().host, logging.Formatter().format(record))
