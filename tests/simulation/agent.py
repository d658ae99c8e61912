"""Our agent on one host: the real decisions, entries, registry and publisher in a modelled shell; assumptions 16 to 18."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import nullcontext
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, cast

from consul_redis_agent.clock import STOPPED
from consul_redis_agent.decide import rules
from consul_redis_agent.decide.decision import Decision, Policy, Reason, Verdict
from consul_redis_agent.decide.facts import (
    Address,
    Catalog,
    Entry,
    Facts,
    Node,
    Peer,
    Role,
    Selection,
    Sentinel,
    Silence,
)
from consul_redis_agent.decide.memory import NOTHING, Memory
from consul_redis_agent.decide.sentinels import leader
from consul_redis_agent.errors import ConsulConflict, ConsulError, ConsulMisused, ConsulUnknown, ConsulUnreachable
from consul_redis_agent.publish.entries import Mode, Naming, wanted
from consul_redis_agent.publish.steps import Target
from consul_redis_agent.publish.writer import Writer
from consul_redis_agent.watch.catalog import SELDOM
from consul_redis_agent.watch.link import NOBODY
from consul_redis_agent.watch.lookout import CONFIRMATIONS
from consul_redis_agent.watch.sentinels import ATTENDED, ATTENTION, Failovers

from .consul import Refused, Unreadable, told
from .redis import NAME

if TYPE_CHECKING:
    from .world import World

TTL = 10.0
TIMEOUT = 2.0
"""Of one call to Consul."""
LOOK_TIMEOUT = 1.0
"""Of one exchange with Redis or a Sentinel."""
POLL = 1.0
PERIOD = 2.0
ALARM = 5.0
"""Seconds after which a blocking query is answered though nothing has changed."""
PEER_PERIOD = 1.0
PACE = 60
"""Times a second that an agent may do the same thing."""
POLICY = Policy(ttl=TTL)


class Reply:
    """The answer to one question; the first one counts."""

    def __init__(self, deliver: Callable[[Any, Exception | None], None]) -> None:
        self._deliver, self._done = deliver, False

    def __call__(self, value: Any = None, error: Exception | None = None) -> None:
        if not self._done:
            self._done = True
            self._deliver(value, error)


class Call(Awaitable[Any]):
    """What a coroutine waits for; the task that steps it makes it begin. ``asks``: it is a question to Consul."""

    def __init__(self, begin: Callable[[Reply], None], *, asks: bool = True) -> None:
        self.begin, self.asks = begin, asks

    def __await__(self) -> Generator[Call, Any, Any]:
        return (yield self)


class Event:
    """As asyncio's, in the time of the agent that runs now."""

    def __init__(self, world: World) -> None:
        self.agent = world.current
        self._set = False
        self._waiting: list[Reply] = []

    def set(self) -> None:
        self._set = True
        waiting, self._waiting = self._waiting, []
        for reply in waiting:
            self.agent.later(0.0, reply)

    def clear(self) -> None:
        self._set = False

    async def wait(self) -> None:
        if not self._set:
            await Call(self._waiting.append, asks=False)


async def set_within(event: Event, seconds: float) -> None:
    """As :func:`consul_redis_agent.clock.set_within`."""
    event.agent.later(seconds, event.set)
    await event.wait()


class Task:
    """Steps a coroutine from one await to the next."""

    def __init__(self, agent: Agent, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._agent, self._coroutine = agent, coroutine
        self._over = False
        agent.later(0.0, self._step, None, None)

    def done(self) -> bool:
        return self._over

    def result(self) -> None:
        """There is none: what a coroutine raises ends the simulation."""

    def cancel(self) -> None:
        """The request under way still arrives."""
        if not self._over:
            self._over = True
            self._coroutine.close()

    def _step(self, value: Any, error: Exception | None) -> None:
        if self._over:
            return
        agent = self._agent
        agent.world.current = agent
        try:
            call = self._coroutine.throw(error) if error else self._coroutine.send(value)
        except StopIteration:
            self._over = True
            return
        life = agent.life
        call.begin(Reply(lambda v, e: agent.deliver(life, self._step, v, e)))
        if call.asks:
            agent.world.stepped(agent)


class Api:
    """The calls of ConsulAPI, carried to the local agent and from there to the servers."""

    def __init__(self, agent: Agent) -> None:
        self._agent, self._world = agent, agent.world
        self.changes = self.beats = nullcontext()  # one node alone waits for no turn
        self._consul = agent.world.hosts[agent.host].consul

    async def agent_self(self) -> Any:
        return await self._local(lambda: {"Config": {"NodeName": self._consul.node}})

    async def services(self, only: str) -> Any:
        return await self._local(
            lambda: {i: s.body | {"Service": s.body["Name"]} for i, s in self._consul.services.items()}
        )

    async def checks(self, only: str = "") -> Any:
        return await self._local(
            lambda: {i: {"Status": c.status} for s in self._consul.services.values() for i, c in s.checks.items()}
        )

    async def register(self, body: dict[str, Any]) -> None:
        await self._local(lambda: self._consul.register(body), slow=True)

    async def check_update(self, check_id: str, status: str, output: str) -> None:
        await self._local(lambda: self._consul.update(check_id, status, output), slow=True)

    async def deregister(self, service_id: str) -> None:
        await self._local(lambda: self._consul.deregister(service_id), slow=True)

    async def check_deregister(self, check_id: str) -> None:
        await self._local(lambda: self._consul.deregister_check(check_id), slow=True)

    async def txn(self, operations: list[dict[str, Any]]) -> None:
        await Call(lambda reply: self._ask(reply, lambda: self._to_servers(operations, reply)))

    async def _local(self, act: Callable[[], Any], *, slow: bool = False) -> Any:
        def here(reply: Reply) -> None:
            delay = self._world.engine.rng.uniform(0.003, 0.006) if slow else 0.0005
            known = act()
            self._later(delay, reply, known, ConsulUnknown("not known") if known is False else None)

        return await Call(lambda reply: self._ask(reply, lambda: here(reply)))

    def _ask(self, reply: Reply, act: Callable[[], None]) -> None:
        if not self._consul.up:
            self._later(0.001, reply, None, ConsulUnreachable("connection refused"))
            return
        self._later(TIMEOUT, reply, None, ConsulUnreachable("no answer in time"))
        self._later(self._world.engine.rng.uniform(0.0003, 0.001), self._consul.take, act)

    def _to_servers(self, operations: list[dict[str, Any]], reply: Reply) -> None:
        engine = self._world.engine
        if not self._consul.linked:
            self._later(0.01, reply, None, ConsulError("No cluster leader"))
            return

        def arrive() -> None:
            if not self._consul.linked:
                return
            error: ConsulError | None = None
            try:
                self._world.servers.transact(operations, self._agent.host)
            except Refused as refused:
                error = ConsulConflict(str(refused))
            except Unreadable as unreadable:
                error = ConsulMisused(str(unreadable))
            if engine.rng.random() < self._world.loss:
                self._world.judge.answer_lost(self._agent.host)
            else:
                self._later(engine.delay(), reply, None, error)

        self._later(engine.delay(), arrive)

    def _later(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        self._world.engine.later(seconds, action, *args)


class SentinelWatch:
    """One agent's view of one Sentinel."""

    def __init__(self, agent: Agent, host: int) -> None:
        self._agent, self._host = agent, host
        self.failovers = agent.world.failovers()
        self.subscribed = True
        self.fact = self._error("not looked at yet", looked=False)
        self._last = self.fact
        self._looking = self._again = False
        self._looks = 0
        self._misses = 0
        self._attended_until = self._began = self.looked_since = -inf
        self._tell_anyway = False

    def attend(self, since: float) -> None:
        """Look often for a while, and at once where the last look was before ``since``."""
        now = self._agent.world.engine.now
        begins = now > self._attended_until
        self._attended_until = now + ATTENDED
        if self.fact.at < since:
            self._tell_anyway = True
        if begins or (self.fact.at < since and self._began < since):
            self.look()

    def _error(self, error: str, *, looked: bool = True, gone: bool = False) -> Sentinel:
        world = self._agent.world
        return Sentinel(
            world.engine.now,
            world.sentinel_id(self._host) if self._agent.met[self._host] else str(self._host),
            world.address(self._host),
            error=error,
            looked=looked,
            gone=gone,
        )

    def look(self) -> None:
        if self._looking:
            self._again = True
            return
        self._looking, self._again = True, False
        self._looks += 1
        agent, world, began = self._agent, self._agent.world, self._agent.world.engine.now
        self._began = began
        sentinel = world.hosts[self._host].sentinel
        engine = world.engine
        if not world.reach(agent.host, self._host) or sentinel.paused:
            agent.later(LOOK_TIMEOUT, self._missed, began, "no answer within 1 s")
        elif not sentinel.up:
            agent.later(0.001, self._missed, began, NOBODY)
        else:
            engine.later(engine.delay(), self._at_sentinel, began, agent.life)

    def _at_sentinel(self, began: float, life: int) -> None:
        agent, world = self._agent, self._agent.world
        sentinel = world.hosts[self._host].sentinel
        if not (sentinel.answers and world.reach(agent.host, self._host)):
            world.engine.later(LOOK_TIMEOUT, agent.deliver, life, self._missed, began, "no answer within 1 s")
            return
        state, failover = sentinel.state, sentinel.failover
        going_on = failover is not None
        replicas = [
            {
                "runid": run_id,
                "flags": "slave,promoted" if failover and failover.selected == host else "slave",
            }
            for host, run_id in state.run_ids.items()
        ]
        agent.met[self._host] = True
        flags = {"flags": "master,failover_in_progress" if going_on else "master"}
        fact = Sentinel(
            at=began,
            id=world.sentinel_id(self._host),
            address=world.address(self._host),
            tilt=sentinel.tilt,
            master=world.address(sentinel.named),
            epoch=state.config_epoch,
            run_ids={world.address(h): run_id for h, run_id in state.run_ids.items()},
            peers={world.sentinel_id(h.number): world.address(h.number) for h in world.hosts if h.number != self._host},
            down=sentinel.sees_down,
            promoting=(state.run_ids.get(failover.selected or 0, "") if failover.selected is not None else "")
            if failover
            else None,
        )
        world.engine.later(world.engine.delay(), agent.deliver, life, self._answered, fact, flags, replicas)

    def _answered(self, fact: Sentinel, flags: dict[str, str], replicas: list[dict[str, str]]) -> None:
        if fact.promoting is not None:
            since = fact.at if self.fact.promoting is None else self.fact.promoting_since
            fact = replace(fact, promoting_since=since)
        selection = self.failovers.selection(NAME, flags, replicas, self._agent.world.engine.now)
        self.fact = replace(fact, selection=selection)
        self._misses = 0
        self._shown(PERIOD, fact.at)

    def _missed(self, began: float, why: str) -> None:
        self.fact = self._error(why, gone=why == NOBODY)
        self._misses += 1
        self._shown(min(2.0, 0.05 * 2 ** min(self._misses, 6)), began)

    def _shown(self, pause: float, began: float) -> None:
        self._looking = False
        new, self._last = replace(self.fact, at=0.0) != self._last, replace(self.fact, at=0.0)
        new, self._tell_anyway = new or self._tell_anyway, False
        self.looked_since = began
        if self._again:
            self.look()
        else:
            attended = self._agent.world.engine.now < self._attended_until
            self._agent.later(min(pause, ATTENTION) if attended else pause, self._due, self._looks)
        self._agent.looked(new=new)

    def _due(self, looks: int) -> None:
        if looks == self._looks:
            self.look()

    def heed(self, channel: str, text: str) -> None:
        """An event."""
        if self.failovers.heed(channel, text) == NAME:
            self.look()

    def resubscribe(self) -> None:
        """The connection was lost, and with it what was said meanwhile."""
        self.subscribed = True
        self.look()


class CatalogWatch:
    """The alarm and the reads; assumption 14."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.fact: Catalog | None = None
        self.confirmation: Catalog | None = None
        self.looked_since = -inf
        self.service = agent.naming.service
        self.lost = 0
        self.seen_since = inf
        self._every = SELDOM
        self._read_at = -inf
        self._reading = False
        self._reads = self._alarms = 0
        self._misses = 0

    def look_again(self) -> None:
        """Read now."""
        self._read()

    def hurry(self, within: float) -> None:
        """Read now, unless a read is under way or was put within so many seconds."""
        asked = self.confirmation.at if self.confirmation else -inf
        if not self._reading and not self._misses and self._agent.world.engine.now - asked > within:
            self._read()

    def confirm(self, every: float) -> None:
        """Read so often."""
        before, self._every = self._every, min(every, SELDOM)
        if self._every < before and not self._reading and not self._misses:
            self._agent.later(
                max(0.0, self._read_at + self._every - self._agent.world.engine.now), self._due, self._reads
            )

    def closed(self) -> None:
        """The alarm's connection is closed, and that of a read under way."""
        if self._reading:
            self._missed(self._reads, self._read_at, 1)
        elif not self._misses:
            self._read()

    def _due(self, reads: int) -> None:
        if reads == self._reads:
            self._read()

    # A consistent read goes to the servers, or nowhere

    def _read(self) -> None:
        self._reads += 1
        self._reading = True
        self._agent.paced("asks for the catalog")
        agent, engine, read, asked = self._agent, self._agent.world.engine, self._reads, self._agent.world.engine.now
        self._read_at = asked
        consul = agent.world.hosts[agent.host].consul
        if not consul.up:
            agent.later(0.001, self._missed, read, asked, 1)
            return
        agent.later(TIMEOUT, self._missed, read, asked, 1)
        life = agent.life
        engine.later(engine.delay(), consul.take, lambda: self._at_servers(read, life, asked))

    def _at_servers(self, read: int, life: int, asked: float) -> None:
        agent, engine, servers = self._agent, self._agent.world.engine, self._agent.world.servers
        if agent.world.hosts[agent.host].consul.linked:
            answer = Catalog(asked, servers.index, servers.entries())
            engine.later(engine.delay(), agent.deliver, life, self._answered, read, answer)
        elif engine.rng.random() < 0.5:  # refused at once; else it hangs
            engine.later(0.01, agent.deliver, life, self._missed, read, asked, 0)

    def _answered(self, read: int, answer: Catalog) -> None:
        if read != self._reads or not self._reading:
            return
        now = self._agent.world.engine.now
        changed = self.fact is None or self.fact.index != answer.index
        self.confirmation, self.fact = answer, replace(answer, at=now)
        if self.seen_since == inf:
            self.seen_since = now
        self.looked_since, self._misses, self._reading = answer.at, 0, False
        self._agent.later(max(0.0, self._read_at + self._every - now), self._due, read)
        if changed or not self._alarms:
            self._ring(answer.index)
        self._agent.looked(new=True)

    def _missed(self, read: int, asked: float, lost: int) -> None:
        if read != self._reads or not self._reading:
            return
        self.lost += lost
        self.seen_since, self.looked_since, self._reading = inf, asked, False
        self._alarms += 1  # the one that waits is given up
        pause = min(0.25, 0.02 * 3 ** min(self._misses, 6))
        self._misses += 1
        self._agent.later(pause, self._due, read)
        self._agent.looked(new=True)

    # The alarm is answered by the local Consul agent, from its own view where it streams

    def _ring(self, index: int) -> None:
        self._alarms += 1
        agent, world, alarm = self._agent, self._agent.world, self._alarms
        life = agent.life
        world.engine.later(
            world.engine.delay(), world.hosts[agent.host].consul.take, lambda: self._wait(alarm, life, index)
        )

    def _wait(self, alarm: int, life: int, index: int) -> None:
        agent, world = self._agent, self._agent.world
        engine, servers, consul = world.engine, world.servers, world.hosts[agent.host].consul

        def answer() -> None:
            if alarm != self._alarms or life != agent.life:
                return
            if not (consul.linked and consul.up):
                # Its view stands still; it goes on once the servers are reached again.
                engine.later(engine.rng.uniform(0.05, 0.5), answer)
                return
            engine.later(engine.delay(), agent.deliver, life, self._rang, alarm, servers.index, servers.entries())

        def over() -> None:
            if world.streams and alarm == self._alarms:
                engine.later(engine.delay(), agent.deliver, life, self._rang, alarm, index, None)

        if servers.index > index:
            answer()
        else:
            servers.wait(answer)
            engine.later(ALARM, over)

    def _rang(self, alarm: int, index: int, entries: tuple[Entry, ...] | None) -> None:
        if alarm != self._alarms or self.fact is None:
            return
        before, self.fact = self.fact, Catalog(self._agent.world.engine.now, index, entries or self.fact.entries)
        self._ring(index)
        self._agent.looked(new=before.entries != self.fact.entries)


class Agent:
    """The process. It stands in for the lookout, too: ``catalogs``, ``consul_lost``, ``address``."""

    def __init__(self, world: World, host: int, mode: Mode) -> None:
        self.world, self.host = world, host
        self.naming = Naming(
            mode=mode,
            service="redis",
            replica="",
            ttl=TTL,
            node="redis://127.0.0.1:6379",
            master_id="redis-6379",
            replica_id="redis-replica-6379",
        )
        self.address = world.address(host)
        self.running = self.paused = False
        self.memory = NOTHING
        self.life = 0
        self.running_since = 0.0
        self.decision: Decision | None = None
        self.met: dict[int, bool] = {}
        self._deferred: list[tuple[int, Callable[..., None], tuple[Any, ...]]] = []
        self._paused_at = 0.0
        self._queues: dict[int, float] = {}
        self._times: dict[str, deque[float]] = {}

    # The process

    def start(self) -> None:
        if self.running or not self.world.hosts[self.host].up:
            return
        rng = self.world.engine.rng
        self.running, self.paused = True, False
        self.world.current = self
        self.decision = None
        self.started = self.running_since = self.world.engine.now
        self.met = {h.number: False for h in self.world.hosts}
        # What its host keeps, if the state directory is not lost.
        self.memory = Memory(self.memory.group, self.memory.had_sentinel) if rng.random() < 0.7 else NOTHING
        self._turned = self._closed_at = -inf
        self._answered: Node | None = None
        self._selected: Selection | None = None
        self._show_anyway = False
        self._peer: Peer | None = None
        self._asked_peer = -inf
        self._node: Node | Silence | None = None
        self._node_since = -inf
        self._misses = 0
        self._looks = 0
        self._looking = self._look_again = False
        self._frozen = -inf
        self._frozen_now = False
        self._waking = False
        self._ticks = 0
        self._sentinels = [SentinelWatch(self, h.number) for h in self.world.hosts]
        self._catalog = CatalogWatch(self)
        self.writer = Writer(cast("Any", Api(self)), self.naming, [self._catalog])
        self.world.say(self.host, "agent starts")
        self.world.changed()
        self.look()
        for watch in self._sentinels:
            watch.look()
        self._catalog.look_again()
        Task(self, self._find_consul_node())
        self.wake()

    def stop(self) -> None:
        """SIGKILL: what was sent still arrives, what was to be sent does not."""
        if self.running:
            self.running = self.paused = False
            self.life += 1
            self._deferred.clear()
            self.world.say(self.host, "agent dies")
            self.world.changed()

    def pause(self) -> None:
        """SIGSTOP."""
        if self.running and not self.paused:
            self.paused, self._paused_at = True, self.world.engine.now
            self.world.say(self.host, "agent is stopped")
            self.world.changed()

    def resume(self) -> None:
        """SIGCONT: what came in meanwhile is found first, in some order."""
        if not self.paused:
            return
        now = self.world.engine.now
        self.paused, self.running_since = False, now
        self.world.say(self.host, "agent goes on")
        if now - self._paused_at > STOPPED and self.world.looks_again_after_a_stop:
            self._frozen = now
        deferred, self._deferred = self._deferred, []
        for life, action, args in deferred:
            self.deliver(life, action, *args)
        if self._frozen == now:
            self._frozen_now = True
            self.writer.stop()
            self._peer = None
            self.look()
            for watch in self._sentinels:
                watch.look()
            self._catalog.look_again()
        self.world.changed()

    def later(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        """In this process, if it lives then."""
        self.world.engine.later(seconds, self.deliver, self.life, action, *args)

    def deliver(self, life: int, action: Callable[..., None], *args: Any) -> None:
        if life != self.life or not self.running:
            return
        if self.paused:
            self._deferred.append((life, action, args))
        else:
            action(*args)

    def paced(self, what: str) -> None:
        """Nothing is done without pause, whatever fails."""
        now = self.world.engine.now
        times = self._times.setdefault(what, deque(maxlen=PACE))
        times.append(now)
        if len(times) == PACE and now - times[0] < 1.0:
            self.world.judge.hurried(self.host, what)

    # What the lookout shows to the publisher

    def entries(self) -> Iterator[Entry]:
        if self._catalog.fact:
            yield from self._catalog.fact.entries

    def catalogs(self) -> Iterator[CatalogWatch]:
        yield self._catalog

    @property
    def consul_lost(self) -> int:
        return self._catalog.lost

    def consul_closed(self) -> None:
        """The connections to the own Consul agent are closed."""
        if self.running:
            self.later(self.world.engine.rng.uniform(0.0001, 0.001), self._catalog.closed)

    # The own node

    def redis_closed(self) -> None:
        """The connection to the own node is closed."""
        if self.running:
            self.later(self.world.engine.rng.uniform(0.0001, 0.001), self._look_anew)

    def _look_anew(self) -> None:
        self._closed_at = self.world.engine.now
        self._looking = False
        self.look()
        for watch in self._sentinels:
            if watch.fact.selection:
                watch.attend(self._closed_at)

    def look(self) -> None:
        if self._looking:
            self._look_again = True
            return
        self._looking, self._look_again = True, False
        self._looks += 1
        looks = self._looks
        engine, redis = self.world.engine, self.world.hosts[self.host].redis
        if redis.paused:
            self.later(LOOK_TIMEOUT, self._looked, looks, Silence(engine.now + LOOK_TIMEOUT, "no answer", 0))
        elif not redis.up:
            self.later(0.0005, self._looked, looks, Silence(engine.now, "refused", 0, gone=True))
        else:
            up = redis.master is not None and self.world.reach(self.host, redis.master)
            node = Node(
                engine.now,
                redis.run_id,
                redis.role,
                loading=redis.loading,
                link_up=up and redis.master is not None and self.world.hosts[redis.master].redis.answers,
                follows=None if redis.master is None else self.world.address(redis.master),
                replication_id=redis.replication_id,
            )
            self.later(engine.rng.uniform(0.0003, 0.001), self._looked, looks, node)

    def _looked(self, looks: int, fact: Node | Silence) -> None:
        if looks != self._looks:
            return
        self._looking = False
        self._node_since = fact.at
        before = self._node
        if isinstance(fact, Silence):
            self._misses += 1
            self._node = Silence(fact.at, fact.reason, self._misses, fact.gone)
            pause = min(1.0, 0.005 * 3 ** min(self._misses, 6))
        else:
            self._misses, pause = 0, POLL
            self._answered = self._node = fact = replace(fact, turned=self._turned_at(fact))
        if self._look_again:
            self.look()
        else:
            self.later(pause, self._look_due, self._looks)
        same = isinstance(before, Node) and isinstance(fact, Node) and replace(before, at=fact.at) == fact
        self.looked(new=self._show_anyway or not same)
        self._show_anyway = False

    def _turned_at(self, fact: Node) -> float:
        before = self._answered
        if before is None or before.run_id != fact.run_id or fact.role is Role.REPLICA:
            return -inf
        if before.role is Role.MASTER:
            return before.turned
        return self._closed_at if self._closed_at >= before.at else self.world.engine.now

    def _look_due(self, looks: int) -> None:
        if looks == self._looks:
            self.look()

    # Sentinels and peers

    def sentinel_event(self, host: int, channel: str, text: str) -> None:
        """In order, unless the connection is lost: then from the next subscription on."""
        if not self.running:
            return
        engine, watch = self.world.engine, self._sentinels[host]
        if not watch.subscribed:
            return
        if not self.world.reach(self.host, host) or engine.rng.random() < self.world.loss:
            watch.subscribed = False
            self.later(engine.rng.uniform(0.05, 7.0), watch.resubscribe)
            return
        due = max(self._queues.get(host, 0.0) + 1e-6, engine.now + engine.delay())
        self._queues[host] = due
        self.later(due - engine.now, watch.heed, channel, text)

    def _ask_peer(self, address: Address | None) -> None:
        engine = self.world.engine
        if address is None or engine.now - self._asked_peer < PEER_PERIOD:
            return
        self._asked_peer = engine.now
        host = self.world.host_at(address)
        redis = self.world.hosts[host].redis
        if redis.answers and self.world.reach(self.host, host):
            follows = None if redis.master is None else self.world.address(redis.master)
            peer = Peer(engine.now, address, redis.role, follows, redis.replication_id)
            self.later(engine.delay(), self._peer_answered, peer)
        else:
            late = 0.001 if self.world.reach(self.host, host) and not redis.up else LOOK_TIMEOUT
            self.later(late, self._peer_answered, Peer(engine.now + late, address, None))

    def _peer_answered(self, peer: Peer) -> None:
        self._peer = peer
        self.wake()

    # Deciding

    async def _find_consul_node(self) -> None:
        while self.writer.consul_node is None:
            try:
                await self.writer.find_consul_node()
            except ConsulError:
                await Call(lambda reply: self.world.engine.later(0.5, reply), asks=False)
        self.wake()

    def looked(self, *, new: bool) -> None:
        """Something was looked at: decide if it is new, or if everything had to be looked at first."""
        if new or self._frozen_now:
            self._frozen_now = self.frozen
            self.wake()

    def wake(self) -> None:
        if not self._waking:
            self._waking = True
            self.later(self.world.engine.rng.uniform(0.0001, 0.001), self._decide)

    def _tick(self, ticks: int) -> None:
        if ticks == self._ticks:
            self.wake()

    @property
    def frozen(self) -> bool:
        """After a stop, as long as not everything was looked at anew."""
        since = min(self._node_since, self._catalog.looked_since, *(w.looked_since for w in self._sentinels))
        return since < self._frozen

    def _decide(self) -> None:
        self._waking = False
        self._ticks += 1
        self.paced("decides")
        ticks = self._ticks
        self.later(min(self.writer.next_beat, 1.0), self._tick, ticks)
        if self.frozen:
            return
        self.world.current = self
        facts = self._facts()
        decision, self.memory = rules.decide(facts, self.memory, self.world.policy)
        if decision.until < inf:
            self.later(max(0.0, decision.until - self.world.engine.now) + 1e-6, self._tick, ticks)
        self._attend(decision, facts)
        before = self.decision
        if decision.verdict is Verdict.KEEP:
            return
        self.decision = decision
        if before is None or (before.verdict, before.reason, before.claim) != (
            decision.verdict,
            decision.reason,
            decision.claim,
        ):
            epoch = f" ({told(decision.claim)})" if decision.claim else ""
            self.world.say(self.host, f"agent decides {decision.verdict}{epoch}: {decision.sentence}")
        seen = {self.naming.service: self._catalog.fact} if self._catalog.fact else {}
        entries = wanted(decision, self.naming, self.address, NAME)
        self.writer.want(Target(self.world.engine.now, entries, decision.evict, decision.last, seen))
        found = leader(facts, facts.node) if isinstance(facts.node, Node) else None
        if found and found.selection != self._selected:
            self._selected, self._show_anyway = found.selection, True
            self.look()
            self._catalog.hurry(0.0)

    def _attend(self, decision: Decision, facts: Facts) -> None:
        self._ask_peer(decision.ask)
        for watch in self._sentinels:
            if decision.leader == watch.fact.id and isinstance(facts.node, Node):
                watch.attend(facts.node.turned)
        self._catalog.confirm(TTL / CONFIRMATIONS if decision.rests_on_consul else inf)
        if decision.reason is Reason.NO_CATALOG:
            self._catalog.hurry(TTL)

    def _facts(self) -> Facts:
        sentinels = tuple(w.fact for w in self._sentinels)
        here = self.writer.consul_node
        return Facts(
            now=self.world.engine.now,
            node=self._node,
            me=frozenset({self.address}),
            address=self.address,
            sentinels=sentinels,
            watched=len(sentinels),
            searching=not all(s.looked for s in sentinels),
            catalog=self._catalog.fact if here is not None else None,
            confirmation=self._catalog.confirmation,
            own=(here or "", self.naming.master_id),
            master_name=NAME,
            peer=self._peer,
            boot=self.world.boot,
        )


__all__ = ["Agent", "Failovers", "Role"]
