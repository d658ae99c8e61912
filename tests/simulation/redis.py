"""Redis nodes and their Sentinels; see the package's assumptions 1 to 8, and 19 to 23."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from consul_redis_agent.decide.facts import Address, Role
from consul_redis_agent.watch.sentinels import HELLO

from .data import Data
from .link import Connection, Server, refusal

if TYPE_CHECKING:
    from .world import World

NAME = "mymaster"
FORMER = 100
"""What is added to the host of a Sentinel that another one has replaced."""
HELLO_PERIOD = 2.0
CONVERT_AFTER = 4 * HELLO_PERIOD
SLAVE_TOO_LONG = 20.0
FAILOVER_TIMEOUT = 6.0
TICK = 0.4
TIMER = (0.05, 0.1)
"""Seconds between two steps of a failover."""


class Redis(Server):
    """One node. ``host`` is its number, and stands for its address wherever nodes are named."""

    what = "Redis"

    def __init__(self, world: World, host: int) -> None:
        super().__init__(world, host)
        self.loading = False
        self.master: int | None = None
        self.on_disk: int | None = None
        self.starts = 0
        self.began = -60.0
        self.replication_id = f"repl-{host}"
        self.former_id = ""
        self.hands_over = False
        """It gives the master's part to a replica (``master_failover_state``)."""
        self.data = Data(world, host)
        self.closings = 0
        """How often it has closed its connections."""
        self._writes_wait = self._all_wait = -inf
        """Until when (CLIENT PAUSE)."""
        self._held: set[int] = set()
        """The Sentinels whose connection has a hello in it that waits with the writes."""

    @property
    def run_id(self) -> str:
        return f"{self.world.name(self.host)}{self.starts}"

    @property
    def role(self) -> Role:
        return Role.MASTER if self.master is None else Role.REPLICA

    @property
    def answers(self) -> bool:
        return super().answers and self.world.engine.now >= self._all_wait

    @property
    def writes_wait(self) -> bool:
        """Whether clients that write get no answer just now."""
        return self.world.engine.now < max(self._writes_wait, self._all_wait)

    def hears(self, sentinel: int) -> bool:
        """Whether it answers this Sentinel, if that reaches it."""
        return self.answers and not (self.writes_wait and sentinel in self._held)

    def take(self, request: Callable[[], None]) -> None:
        if self.up and (left := self._all_wait - self.world.engine.now) > 0:
            self.world.engine.later(left, self.take, request)
        else:
            super().take(request)

    def close_all(self, but: Connection | None = None) -> None:
        self.closings += 1
        super().close_all(but)

    def published(self, sentinel: int, text: str) -> None:
        """A Sentinel's hello."""
        if self.writes_wait:
            self._held.add(sentinel)
        elif self.connections:
            self.push(HELLO, ["message", HELLO, text])

    def answer(self, command: Sequence[str], connection: Connection) -> Any:
        """What our agent sends, alone or in a transaction."""
        match command, connection.queued:
            case ["MULTI"], None:
                connection.queued = []
            case ["EXEC"], [*queued]:
                connection.queued = None
                return [self._do(each, connection) for each in queued]
            case ["DISCARD"], [*_]:
                connection.queued = None
            case _, [*queued]:
                connection.queued = [*queued, command]
                return "QUEUED"
            case _:
                return self._do(command, connection)
        return "OK"

    def _do(self, command: Sequence[str], connection: Connection) -> Any:
        match command:
            case ["INFO", *_]:
                return self._info()
            case ["SUBSCRIBE", channel]:
                connection.channels.add(channel)
                return ["subscribe", channel, 1]
            case ["CONFIG", "GET", *_]:
                return []
            case ["REPLICAOF", host, _]:
                to = int(host.rpartition(".")[2]) - 1
                self.world.judge.authority.turned(self.host, to)
                self.follow(to, by_hand=True)
            case ["CONFIG", "REWRITE"]:
                self.on_disk = self.master
            case ["CLIENT", "KILL", *_]:
                self.close_all(connection)
            case ["CLIENT", "PAUSE", milliseconds, *kind]:
                self._let_wait(int(milliseconds) / 1000, everything=kind != ["WRITE"])
            case ["CLIENT", "UNPAUSE"]:
                self._writes_wait = self._all_wait = -inf
                self.world.judge.authority.resumed(self.host)
            case _:
                self.world.failed(connection.process.host, f"sends {command}, which is not modelled")
                return refusal(f"unknown command {command[0]!r}")
        return "OK"

    def hand_over(self, to: Redis) -> None:
        """FAILOVER: writes wait until the replica has all, then both turn, one a moment after the other."""
        if self.answers and self.master is None and to.master == self.host:
            self.hands_over = True
            self._writes_wait = self.world.engine.now + 1.0
            self.world.say(self.host, f"Redis hands over to {self.world.name(to.host)}")
            self.world.engine.later(self.world.engine.rng.uniform(0.0, 0.1), self._give, to, self._writes_wait)

    def _give(self, to: Redis, until: float) -> None:
        engine = self.world.engine
        if not (self.hands_over and self.answers and self.master is None):
            return
        if engine.now > until or to.master != self.host or self.writes_wait is False:
            self.hands_over = False
        elif to.answers and self.world.reach(self.host, to.host) and to.data.writes == self.data.writes:
            self.follow(to.host, by_hand=True)
            engine.later(engine.rng.uniform(0.0005, 0.003), self._given, to)
        else:
            engine.later(0.005, self._give, to, until)

    def _given(self, to: Redis) -> None:
        if not (self.hands_over and self.answers):
            return
        self._writes_wait = -inf
        if to.answers and self.world.reach(self.host, to.host) and to.master == self.host:
            to.follow(None, by_hand=True)
            self.data.go_on()
        else:
            self.follow(None, by_hand=True)  # it takes the part back
        self.hands_over = False

    def _let_wait(self, seconds: float, *, everything: bool) -> None:
        world = self.world
        world.judge.authority.waits(self.host, seconds, everything=everything)
        if not self.writes_wait:
            self._held.clear()
        until = world.engine.now + seconds
        self._writes_wait = max(self._writes_wait, until)
        if everything:
            self._all_wait = until
            world.engine.later(seconds + 1e-6, world.changed)
        world.say(self.host, f"Redis lets {'everything' if everything else 'writes'} wait")
        world.changed()

    def _info(self) -> str:
        lines = {"run_id": self.run_id, "tcp_port": "6379", "loading": str(int(self.loading)), "async_loading": "0"}
        lines |= {"redis_version": "7.0.15", "uptime_in_seconds": str(int(self.world.engine.now - self.began))}
        lines |= {"rdb_changes_since_last_save": "0"} | (
            {"db0": f"keys={keys}"} if (keys := len(self.data.writes)) else {}
        )
        if self.master is None:
            followers = sum(h.redis.up and h.redis.master == self.host for h in self.world.hosts)
            lines |= {"role": "master", "connected_slaves": str(followers), "master_repl_offset": str(keys)}
        else:
            address, up = self.world.address(self.master), self.data.linked
            lines |= {"role": "slave", "master_host": address.host, "master_port": str(address.port)}
            lines |= {"master_link_status": "up" if up else "down", "master_last_io_seconds_ago": "0" if up else "-1"}
            lines |= {"master_sync_in_progress": str(int(self.data.copying)), "slave_repl_offset": str(keys)}
        lines["master_failover_state"] = "failover-in-progress" if self.hands_over else "no-failover"
        lines |= {"master_replid": self.replication_id, "master_replid2": self.former_id or "0" * 40}
        return "# Server\r\n" + "".join(f"{key}:{value}\r\n" for key, value in lines.items())

    def follow(self, master: int | None, *, by_hand: bool = False) -> None:
        """REPLICAOF, which Sentinel sends together with CONFIG REWRITE and CLIENT KILL."""
        if not self.answers or master == self.host:
            return
        if master is None and self.master is not None:
            self.former_id = self.replication_id
            self.replication_id = f"repl-{self.host}-{self.world.engine.now:.6f}"
        if master != self.master:
            self.master = master
            self.data.begin()
        self.world.say(
            self.host, f"Redis {'follows ' + self.world.name(master) if master is not None else 'is master'}"
        )
        if not by_hand:
            self.on_disk = master
            self.close_all()
        self.world.changed()

    def start(self, loading: float = 0.0) -> None:
        """As systemd would, with what is on disk; ``loading``: seconds until it serves."""
        if self.up or not self.world.hosts[self.host].up:
            return
        self.up, self.loading = True, loading > 0
        self.starts += 1
        self.began = self.world.engine.now
        self._writes_wait = self._all_wait = -inf
        self.master = self.on_disk
        self.data.begin(empty=not self.world.persists)
        self.replication_id, self.former_id, self.hands_over = f"repl-{self.host}-{self.starts}", "", False
        self.world.say(self.host, f"Redis starts as {self.role}")
        self.world.engine.later(loading, self._loaded, self.starts)
        self.world.changed()

    def _loaded(self, start: int) -> None:
        if self.loading and start == self.starts:
            self.loading = False
            self.world.changed()


@dataclass(slots=True)
class Failover:
    """One under way, at its leader."""

    epoch: int
    since: float
    forced: bool = False
    coordinated: bool = False
    elected: bool = False
    selected: int | None = None
    promoted: bool = False


@dataclass(slots=True)
class State:
    """What a Sentinel has on disk."""

    epoch: int = 0
    config_epoch: int = 0
    master: int = 0
    voted: int = 0
    run_ids: dict[int, str] = field(default_factory=dict)
    """Of the nodes that it knows."""
    peers: dict[str, int] = field(default_factory=dict)
    """The other Sentinels that it knows, by id; FORMER hosts where another one has taken the address."""


class SentinelServer(Server):
    """One Sentinel of one master name."""

    what = "Sentinel"

    def __init__(self, world: World, host: int) -> None:
        super().__init__(world, host)
        self.id = f"sentinel-{world.name(host)}"
        self.tilt_until = 0.0
        self.state = State()
        self.failover: Failover | None = None
        self._last_ok = 0.0
        self._tried = -FAILOVER_TIMEOUT
        self._wrong_since: dict[int, tuple[object, float]] = {}
        self._last_hello = 0.0
        self._life = 0
        self._named_since = -60.0
        """When it last began to watch its master."""
        world.engine.later(0.0, self._tick, 0)

    @property
    def tilt(self) -> bool:
        return self.world.engine.now < self.tilt_until

    @property
    def named(self) -> int:
        """GET-MASTER-ADDR-BY-NAME: the promoted node from its promotion on."""
        failover = self.failover
        return (
            failover.selected if failover and failover.promoted and failover.selected is not None else self.state.master
        )

    def answer(self, command: Sequence[str], connection: Connection) -> Any:
        """What a look asks, as flat lists."""
        match command:
            case ["SENTINEL", "MYID"]:
                return self.id
            case ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", _]:
                return self._where(self.named).split(" ")
            case ["SENTINEL", "MASTER", _]:
                return self._master()
            case ["SENTINEL", "MASTERS"]:
                return [self._master()]
            case ["SENTINEL", "REPLICAS", _]:
                return [self._replica(host) for host in self.state.run_ids if host != self.state.master]
            case ["SENTINEL", "SENTINELS", _]:
                return [self._peer(id_, host) for id_, host in self.state.peers.items()]
            case ["SENTINEL", "FAILOVER", _]:
                self.world.judge.authority.asked(connection.process.host, self.host)
                return self.force_failover()
            case ["INFO", *_]:
                return f"# Sentinel\r\nsentinel_masters:1\r\nsentinel_tilt:{int(self.tilt)}\r\n"
            case ["PSUBSCRIBE", channel]:
                connection.channels.add(channel)
                return ["psubscribe", channel, 1]
        return refusal(f"unknown command {command!r}")

    def _master(self) -> list[str]:
        flags = "master" + ",s_down,o_down" * self.sees_down + ",disconnected" * self._is_cut
        flags += ",failover_in_progress" * (self.failover is not None)
        flags += ",coordinated_failover" * bool(self.failover and self.failover.coordinated)
        run_id, state = self.state.run_ids.get(self.state.master, ""), self.state
        fields = {
            "config-epoch": state.config_epoch,
            "quorum": self.world.quorum,
            "num-other-sentinels": len(state.peers),
        }
        fields |= {
            "num-slaves": len(state.run_ids.keys() - {state.master}),
            "failover-timeout": int(FAILOVER_TIMEOUT * 1000),
            "role-reported-time": int((self.world.engine.now - self._named_since) * 1000),
        }
        return _flat(NAME, self.world.address(state.master), run_id, flags) + [
            str(text)
            for pair in (fields | {"down-after-milliseconds": int(self.world.down_after * 1000)}).items()
            for text in pair
        ]

    def _replica(self, host: int) -> list[str]:
        chosen = self.failover is not None and self.failover.selected == host
        away = not (self.world.hosts[host].redis.up and self.world.reach(self.host, host))
        flags, address = "slave" + ",s_down,disconnected" * away + ",promoted" * chosen, self.world.address(host)
        data = self.world.hosts[host].redis.data
        lost = 1 + int(min(self.world.engine.now - data.linked_at, 1e6) * 1000)
        link = ["master-link-status", "ok", "master-link-down-time", "0", "slave-priority", "100"]
        link[1:4:2] = ("ok", "0") if data.linked else ("err", str(lost))
        return _flat(str(address), address, self.state.run_ids[host], flags) + link

    def _peer(self, id_: str, host: int) -> list[str]:
        ip, port = self.world.sentinel_address(host % FORMER)
        there = host < FORMER and self.world.hosts[host].sentinel.answers and self.world.reach(self.host, host)
        flags = "sentinel" + ",s_down,disconnected" * (not there)
        return _flat(id_, Address(ip, 0 if host >= FORMER else port), id_, flags)

    def stop(self) -> None:
        if self.up:
            self.state.master = self.named
            self.failover = None
            self._life += 1
            super().stop()

    def reset(self) -> None:
        """SENTINEL RESET: it forgets all nodes but the master, all other Sentinels, and a failover."""
        if self.answers:
            self.state.run_ids.clear()
            self.state.peers.clear()
            self._wrong_since.clear()
            self.failover = None
            self._named_since = self.world.engine.now
            self.world.say(self.host, "Sentinel is reset")
            self.event("+reset-master", f"master {NAME} {self._where(self.state.master)}")

    def replace(self) -> None:
        """What starts the next time is another Sentinel at the same address, told of the master by its operator."""
        self.stop()
        self.id += "'"
        self.state = State(master=self.named)
        self.world.say(self.host, f"Sentinel is replaced by {self.id}")

    def start(self) -> None:
        if not self.up and self.world.hosts[self.host].up:
            self.up, self.paused = True, False
            self._last_ok = self._named_since = self.world.engine.now
            self._wrong_since.clear()
            self.world.say(self.host, "Sentinel starts")
            self._tick(self._life)
            self.world.changed()

    def force_failover(self, *, coordinated: bool = False) -> Any:
        """SENTINEL FAILOVER: takes the next epoch without an election; one that has not heard the last could share it."""
        if self.failover:
            return refusal("INPROG Failover already in progress")
        if not self._able():
            return refusal("NOGOODSLAVE No suitable replica to promote")
        self.state.epoch += 1
        self.state.voted = self.state.epoch
        self._begin(forced=True)
        if self.failover:
            self.failover.coordinated = coordinated
        self.world.engine.later(0.0, self._elected, self._life)
        return "OK"

    @property
    def knows_the_last(self) -> bool:
        """Whether a failover that it is asked for has an epoch of its own."""
        idle = self.answers and not self.tilt and self.failover is None
        return idle and self.state.epoch == max(h.sentinel.state.epoch for h in self.world.hosts)

    def _tick(self, life: int) -> None:
        if life != self._life:
            return
        engine = self.world.engine
        engine.later(engine.rng.uniform(0.5, 1.5) * TICK, self._tick, life)
        if self.tilt:
            self._last_ok = engine.now
        elif not self.paused:
            self._look_at_nodes()
            self._elect()
        if not self.paused and engine.now - self._last_hello >= HELLO_PERIOD:
            self._hello()

    def _look_at_nodes(self) -> None:
        world, state, now = self.world, self.state, self.world.engine.now
        for host in world.hosts:
            node = host.redis
            if not (node.hears(self.host) and world.reach(self.host, host.number)):
                self._wrong_since.pop(host.number, None)  # sentinelRedisInstanceNoDownFor
                continue
            if host.number not in state.run_ids:
                if not self._is_listed(host.number):
                    continue
                self.event("+slave", f"slave x {self._where(host.number)} @ {NAME} {self._where(state.master)}")
            state.run_ids[host.number] = node.run_id
            if host.number == state.master:
                self._last_ok = now
            wrong: object = None
            if host.number == state.master:
                wrong = "replica" if node.role is Role.REPLICA else None
            elif node.role is Role.MASTER:
                wrong = "master"
            elif node.master != state.master:
                wrong = node.master
            failover = self.failover
            if failover and failover.selected == host.number and not failover.promoted:
                if node.role is Role.MASTER and failover.elected:
                    self._promoted()
                continue
            if wrong is None or failover:
                self._wrong_since.pop(host.number, None)
            elif self._wrong_since.get(host.number, (None, 0.0))[0] != wrong:
                self._wrong_since[host.number] = (wrong, now)
            elif (
                host.number != state.master
                and now - self._wrong_since[host.number][1] > CONVERT_AFTER
                and self._master_looks_sane()
            ):
                del self._wrong_since[host.number]
                world.engine.later(world.engine.delay(), self._send_follow, host.number, state.master)

    def _is_listed(self, host: int) -> bool:
        """Whether a node that it does not know is found in the master's INFO, if it is not the master."""
        node, master = self.world.hosts[host].redis, self.world.hosts[self.state.master].redis
        return host == master.host or (
            node.master == master.host and master.answers and self.world.reach(self.host, master.host)
        )

    def _master_looks_sane(self) -> bool:
        node = self.world.hosts[self.state.master].redis
        return node.answers and self.world.reach(self.host, node.host) and node.role is Role.MASTER

    def _send_follow(self, host: int, master: int | None) -> None:
        node = self.world.hosts[host].redis
        if not self.world.reach(self.host, host):
            return
        if node.answers and not node.hears(self.host):
            self.world.engine.later(0.1, self._send_follow, host, master)  # it is behind a hello that waits
        else:
            node.follow(master)

    @property
    def sees_down(self) -> bool:
        """+sdown of the master."""
        now = self.world.engine.now
        wrong, since = self._wrong_since.get(self.state.master, (None, 0.0))
        down_after = self.world.down_after
        return now - self._last_ok > down_after or (wrong == "replica" and now - since > SLAVE_TOO_LONG + down_after)

    @property
    def _is_cut(self) -> bool:
        """Whether its connection to the master is closed: by that, or by itself after half of down-after."""
        master = self.world.hosts[self.state.master]
        refuses = master.up and not master.redis.up and self.world.reach(self.host, master.number)
        return refuses or self.world.engine.now - self._last_ok > self.world.down_after / 2

    def _others(self) -> list[SentinelServer]:
        return [
            h.sentinel
            for h in self.world.hosts
            if h.sentinel.id in self.state.peers and h.sentinel.answers and self.world.reach(self.host, h.number)
        ]

    def _elect(self) -> None:
        engine, failover = self.world.engine, self.failover
        if failover:
            limit = FAILOVER_TIMEOUT if failover.elected else 2.0
            if not failover.promoted and engine.now - failover.since > limit:
                self.failover = None
                self.event("-failover-abort-not-elected", f"master {NAME} {self._where(self.state.master)}")
            return
        if not self.sees_down or engine.now - self._tried < FAILOVER_TIMEOUT:
            return
        agreeing = [s for s in self._others() if s.sees_down and s.state.master == self.state.master and not s.tilt]
        if 1 + len(agreeing) < self.world.quorum:
            return
        self.state.epoch += 1
        self._begin(forced=False)
        engine.later(engine.rng.uniform(0.01, 0.1), self._count_votes, self._life, self.state.epoch)

    def _begin(self, *, forced: bool) -> None:
        self._tried = self.world.engine.now
        epoch = self.state.epoch
        self.failover = Failover(epoch, self.world.engine.now, forced)
        self.event("+new-epoch", str(epoch))
        self.event("+try-failover", f"master {NAME} {self._where(self.state.master)}")

    def _count_votes(self, life: int, epoch: int) -> None:
        failover = self.failover
        if life != self._life or not failover or failover.epoch != epoch or self.paused:
            return
        votes = 0
        if self.state.voted < epoch:
            self.state.voted = epoch
            votes += 1
        for other in self._others():
            if other.state.epoch < epoch:
                other.state.epoch = epoch
                other.event("+new-epoch", str(epoch))
            if other.state.voted < epoch:
                other.state.voted = epoch
                other._tried = self.world.engine.now + self.world.engine.rng.random()
                votes += 1
        if votes >= max(self.world.quorum, (1 + len(self.state.peers)) // 2 + 1):
            self.world.engine.later(self.world.engine.delay(), self._elected, life)

    def _elected(self, life: int) -> None:
        failover = self.failover
        if life != self._life or not failover:
            return
        failover.elected = True
        self.world.say(self.host, f"Sentinel leads a failover at epoch {failover.epoch}")
        self.event("+elected-leader", f"master {NAME} {self._where(self.state.master)}")
        self.world.engine.later(self.world.engine.rng.uniform(0.02, 0.1), self._select, life, failover)

    def _select(self, life: int, failover: Failover) -> None:
        if life != self._life or self.failover is not failover:
            return
        world, able = self.world, self._able()
        if not able or self.paused:
            self.failover = None
            self.event("-failover-abort-no-good-slave", f"master {NAME} {self._where(self.state.master)}")
            return
        failover.selected = world.engine.rng.choice(able)
        world.judge.selected(failover.selected)
        world.say(self.host, f"Sentinel selects {world.name(failover.selected)}")
        where = self._where(failover.selected)
        self.event("+selected-slave", f"slave x {where} @ {NAME} {self._where(self.state.master)}")
        world.engine.later(world.engine.rng.uniform(*TIMER), self._promote, life, failover)

    def _able(self) -> list[int]:
        """Whom it could promote."""
        return [
            h.number
            for h in self.world.hosts
            if h.number in self.state.run_ids
            and h.number != self.state.master
            and h.redis.answers
            and h.redis.role is Role.REPLICA
            and not h.redis.loading
            and self.world.reach(self.host, h.number)
        ]

    def _promote(self, life: int, failover: Failover) -> None:
        if life != self._life or self.failover is not failover or failover.selected is None:
            return
        if failover.coordinated:
            old, new = (self.world.hosts[host].redis for host in (self.state.master, failover.selected))
            if self.world.reach(self.host, old.host):
                old.hand_over(new)
        else:
            self._send_follow(failover.selected, None)

    def _promoted(self) -> None:
        failover = self.failover
        if not failover or failover.selected is None:
            return
        failover.promoted = True
        self.state.config_epoch = max(self.state.config_epoch, failover.epoch)
        self.world.promotions += 1
        self.world.say(self.host, f"Sentinel sees {self.world.name(failover.selected)} promoted")
        self.event(
            "+promoted-slave", f"slave x {self._where(failover.selected)} @ {NAME} {self._where(self.state.master)}"
        )
        self.world.changed()
        self._hello()
        engine = self.world.engine
        if failover.coordinated:
            for host in (self.state.master, failover.selected):
                node = self.world.hosts[host].redis
                if node.answers and self.world.reach(self.host, host):
                    node.on_disk = node.master
                    node.close_all()
        for other in self.world.hosts:
            if other.number not in (failover.selected, self.state.master):
                engine.later(engine.rng.uniform(0.01, 0.3), self._send_follow, other.number, failover.selected)
        engine.later(engine.rng.uniform(0.3, 2.0), self._switch, self._life, failover)

    def _switch(self, life: int, failover: Failover) -> None:
        if life == self._life and self.failover is failover and failover.selected is not None:
            old = self.state.master
            self.state.master, self.failover = failover.selected, None
            self._switched(old)

    def _switched(self, old: int) -> None:
        self._last_ok = self._named_since = self.world.engine.now
        self._wrong_since.clear()
        self.event("+switch-master", f"{NAME} {self._where(old)} {self._where(self.state.master)}")
        self.world.changed()

    def _hello(self) -> None:
        engine = self.world.engine
        self._last_hello = engine.now
        news = (self.state.epoch, self.state.config_epoch, self.named)
        for host in self.world.hosts:
            if host.number != self.host and self._heard_by(host.number):
                engine.later(engine.delay(), host.sentinel.hear, self.id, self.host, *news)
            if host.redis.answers and self.world.reach(self.host, host.number):
                ip, port = self.world.sentinel_address(self.host)
                text = f"{ip},{port},{self.id},{news[0]},{NAME},{self._where(news[2]).replace(' ', ',')},{news[1]}"
                host.redis.published(self.host, text)

    def _heard_by(self, host: int) -> bool:
        """Directly, or over a Redis node that both reach."""
        reach = self.world.reach
        return reach(self.host, host) or any(
            h.redis.answers and reach(self.host, h.number) and reach(h.number, host) for h in self.world.hosts
        )

    def hear(self, id_: str, at: int, epoch: int, config_epoch: int, master: int) -> None:
        """A hello of another Sentinel."""
        if not self.answers:
            return
        state = self.state
        if id_ not in state.peers:
            state.peers = {i: at + FORMER if host == at else host for i, host in state.peers.items()} | {id_: at}
            self.event("+sentinel", f"sentinel {id_} {self._where(at)} @ {NAME} {self._where(state.master)}")
        state.epoch = max(state.epoch, epoch)
        if config_epoch > state.config_epoch:
            state.config_epoch = config_epoch
            if master != state.master:
                old, state.master, self.failover = state.master, master, None
                self._switched(old)
            self.world.changed()

    def event(self, channel: str, text: str) -> None:
        """Published to every agent that is subscribed."""
        self.push("*", ["pmessage", "*", channel, text])
        self.world.changed()

    def _where(self, host: int) -> str:
        address = self.world.address(host)
        return f"{address.host} {address.port}"


def _flat(name: str, address: Address, run_id: str, flags: str) -> list[str]:
    return ["name", name, "ip", address.host, "port", str(address.port), "runid", run_id, "flags", flags]
