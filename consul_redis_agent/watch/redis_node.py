"""The own Redis node: what INFO says, looked up when the connection closes, when asked, and once a second.

Sentinel closes every client connection of a node in the millisecond in which it changes the node's role, and a dying
process closes them too: that is the fast path. ``REPLICAOF`` by hand, the ``FAILOVER`` command and Valkey's coordinated
failover close nothing: those are what the poll is for. Where one is announced, the looks follow each other closely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from math import inf, isfinite

from redis.exceptions import NoPermissionError, ResponseError
from tenacity import RetryCallState, wait_exponential_jitter

from consul_redis_agent import names
from consul_redis_agent.clock import clock
from consul_redis_agent.decide.facts import Address, Node, Peer, Role, Sentinel, Silence, whole
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.histogram import REQUEST, Histogram
from consul_redis_agent.text import plain
from consul_redis_agent.watch import reply
from consul_redis_agent.watch.causes import IS_SENTINEL
from consul_redis_agent.watch.link import INFO_LIMIT, Link, is_gone
from consul_redis_agent.watch.looks import Looks

POLL = 1.0
"""Seconds between two looks while nothing happens."""
BACKOFF = wait_exponential_jitter(multiplier=0.002, exp_base=3.0, max=1.0, jitter=0.002)
"""Between looks that failed. The first repeat comes at once: a dying node refuses a few milliseconds after it closed."""
CLOSELY = 0.02
"""Seconds between two looks at a node that would take writes without authority from its first answer on."""
SWAP = 0.005
"""Seconds between two looks at a node that is about to turn and closes nothing then, at the least."""
PART = 0.02
"""The same as a part of the time for which that is awaited: a long wait costs little, and is seen late by as little of it."""
YOUNG = 2.0
"""Seconds since its start in which no node turns from replica to master: Sentinel promotes none that it has not asked."""
PROBE = 0.1
"""Seconds for a connection to the published address, where the one that is watched refuses."""
SETTINGS = (("CONFIG", "GET", "replica-announce-*"), ("CONFIG", "GET", "replica-serve-stale-data"))
NEVER = 10.0**8
"""Seconds since its link was lost that an older Redis tells of one that never was up: since 1970."""
SECTIONS = ("INFO", "server", "persistence", "replication")
"""Redis 7 and Valkey take several sections; an older one refuses, and gives everything to a plain INFO."""
PEER_SECTIONS = (("INFO", "server"), ("INFO", "replication"), ("INFO", "keyspace"))
NO_FAILOVER = "no-failover"
"""``master_failover_state`` of INFO (Redis 6.2 and later) while no ``FAILOVER`` is under way."""
LINES = 4096
"""Lines of INFO: some 300, and one for each replica, database, or master of a Sentinel."""
REPLICAS = 256
"""Replicas that are read from one answer; a master has a handful."""


class RedisWatch(Looks):
    """Keeps ``fact`` true; calls ``changed`` after every look that saw something new, or nothing.

    ``closed`` is called in the moment in which the node closes the connection. ``keys``: whether it is asked if it has any.
    """

    def __init__(
        self,
        link: Callable[[Callable[[], None]], Link],
        changed: Callable[[], None],
        phase: float,
        closed: Callable[[], None] = lambda: None,
        published: Callable[[], Address | None] = lambda: None,
        *,
        keys: bool = False,
    ) -> None:
        super().__init__(POLL, self._how_long, phase)
        self.fact: Node | Silence | None = None
        self.announced: Address | None = None
        """``replica-announce-ip`` and ``-port``, else the own port; None where there is no such address, or the login may not
        read it."""
        self.announced_port: int | None = None
        """``replica-announce-port``, where it is set."""
        self.missed = 0
        """How many looks have failed since the start."""
        self.latency = Histogram(REQUEST)
        """How long INFO took, connecting included."""
        self._attentive = False
        self._turn_awaited = inf
        """Since when it may turn at any moment; infinite while it may not."""
        self._led = ""
        """The id of its history when it was seen as a master last."""
        self._link = link(self._lost)
        self._keys = ("keyspace",) if keys else ()
        self._changed, self._closed, self._published = changed, closed, published
        self._closed_at = -inf
        self._answered: Node | None = None
        """The last answer, also where looks have failed since."""
        self._command: tuple[str, ...] = SECTIONS
        self._misses = 0
        self._refused = False
        """Whether the published address refused as well, the last time that the node's own did."""
        self._tell_anyway = False
        self._in_sync = "", -inf
        """The last life of the node that was seen in sync, and when it last heard from its master."""
        self._tells_settings = True
        """Whether the login may ask for settings: else it is asked once in a life of the node."""
        self.counts_refusals = False
        self.refused = 0
        """Logins that the node has refused since its start, as long as they are to be counted; Redis 6.2 and later."""
        self.clustered = False
        """It is a node of a Redis Cluster."""
        self._info = ""
        """The last INFO."""
        self._followed: Address | None = None
        """The last master that the node has followed."""

    @property
    def reached(self) -> str:
        """The IP address at which the node answered last, whatever name it is reached by; "" before, or by a unix socket."""
        return self._link.peer

    @property
    def attentive(self) -> bool:
        """Whether its next answer is awaited: then the looks that fail, or find it loading, follow each other closely."""
        return self._attentive

    @attentive.setter
    def attentive(self, wanted: bool) -> None:
        if wanted and not self._attentive:
            self.look_again()  # a pause that has begun before is longer
        self._attentive = wanted

    @property
    def awaits_turn(self) -> bool:
        """Whether it may turn at any moment and close no connection: then the looks follow each other closely for a while."""
        return self._turn_awaited < inf

    @awaits_turn.setter
    def awaits_turn(self, wanted: bool) -> None:
        if wanted and not self.awaits_turn:
            self._turn_awaited = clock()
            self.look_again()  # as above
        elif not wanted:
            self._turn_awaited = inf

    def show_anew(self) -> None:
        """Look now, and call ``changed`` whatever is seen."""
        self._tell_anyway = True
        self.look_again()

    def names(self, address: Address) -> bool:
        """Whether the node has logged in there, or was logged into from there: it names its master or its replica so."""
        return address == self._followed or address in announced_replicas(self._info)

    def _lost(self) -> None:
        self._closed_at = clock()
        self.look_again()
        self._closed()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            await self.look_for_ever()
        finally:
            await self._link.close()

    async def _look(self, began: float) -> None:
        sections = len(self._command) > 1
        more = (("errorstats",) if self.counts_refusals else ()) + self._keys if sections else ()
        try:
            (answer,) = await self._link.ask(self._command + more)
        except Unanswered as error:
            published = self._published()
            self._refused = error.gone
            if error.gone and published:
                there = await accepts(published)
                if there:
                    raise Unanswered(f"{error}, but something listens at {published}") from error
                self._refused = there is False
            raise
        self.latency.add(clock() - began)
        if isinstance(answer, ResponseError) and sections and not is_about_the_state(answer):
            self._command = ("INFO",)
            (answer,) = await self._link.ask(self._command)
        if isinstance(answer, Exception):
            raise refused(answer)
        info = parse_info(answer)
        fact = node(info, began)
        self.clustered = parse_mode(info) == "cluster"
        if self._keys:
            fact = replace(fact, empty=not has_keys(info) or began_empty(info))
        if "errorstats" in more:
            self.refused = refused_logins(info)
        fact = replace(fact, lag=self._lag(fact))
        new = not isinstance(self.fact, Node) or self.fact.run_id != fact.run_id
        if new or (self._tells_settings and fact.role is Role.REPLICA and not fact.link_up):
            announced, stale = await self._link.ask(*SETTINGS)
            self.announced, self.announced_port = parse_announce(announced, info)
            self._tells_settings = not isinstance(stale, Exception)
            fact = replace(fact, serves=fact.serves and (fact.link_up or parse_serves_stale(stale)))
        self._misses, self._info = 0, answer
        self._followed = fact.follows or self._followed
        before, self.fact = self.fact, self._with_its_past(fact, parse_uptime(info))
        self._answered = self.fact
        if self._tell_anyway or not (isinstance(before, Node) and replace(before, at=fact.at) == self.fact):
            self._tell_anyway = False
            self._changed()

    def _lag(self, fact: Node) -> float:
        """Redis forgets when it lost its master where it is given another one (``replicationSetMaster``); this does not."""
        if fact.role is Role.MASTER:
            return 0.0
        if fact.link_up:
            self._in_sync = fact.run_id, fact.at - fact.lag
        run_id, at = self._in_sync
        return min(fact.lag, fact.at - at) if run_id == fact.run_id else fact.lag

    def _turned(self, fact: Node) -> float:
        """When this life of the node had turned from replica to master, if it did so under our eyes."""
        before = self._answered
        if before is None or before.run_id != fact.run_id or fact.role is Role.REPLICA:
            return -inf
        if before.role is Role.MASTER:
            return before.turned
        # Sentinel closes the connections with the turn; by hand, it was some time between the two looks.
        return self._closed_at if self._closed_at >= before.at else clock()

    def _relieved(self, fact: Node) -> float:
        """When the node, a replica now, was relieved of the master's part by one that goes on with its history."""
        before = self._answered
        if before is None or before.run_id != fact.run_id:
            return -inf
        at = before.relieved
        if before.role is Role.MASTER:
            self._led = before.replication_id
            at = self._closed_at if self._closed_at >= before.at else clock()
        goes_on = fact.hands_over or (fact.link_up and fact.former_id == self._led != "")
        return at if goes_on else -inf

    def _with_its_past(self, fact: Node, uptime: float) -> Node:
        """The fact with what earlier looks have shown: when it turned, either way, and since when it can have been a master."""
        if fact.role is Role.REPLICA:
            return replace(fact, relieved=self._relieved(fact))
        turned, before = self._turned(fact), self._answered
        if before and before.run_id == fact.run_id and before.role is Role.MASTER:
            since = before.master_since
        elif turned > -inf:
            since = turned
        else:
            since = fact.at if uptime >= YOUNG else -inf
        return replace(fact, turned=turned, master_since=since)

    def _how_long(self, failures: RetryCallState) -> float:
        """Seconds after a look that failed."""
        pause: float = BACKOFF(failures)
        return min(pause, CLOSELY) if self.attentive else pause

    def _pause(self) -> float:
        pause = super()._pause()
        if self.awaits_turn:
            pause = min(pause, max(SWAP, PART * (clock() - self._turn_awaited)))
        loading = self.attentive and isinstance(self.fact, Node) and self.fact.loading
        return min(pause, CLOSELY) if loading else pause

    def _missed(self, error: Unanswered) -> None:
        self._misses += 1
        self.missed += 1
        answered, gone = self._answered.at if self._answered else -inf, error.gone and self._refused
        before = self.fact
        self.fact = Silence(clock(), str(error), self._misses, gone=error.gone, refused=gone, answered=answered)
        told = isinstance(before, Silence) and before.refused and gone
        if not (self.attentive and told):  # only its next answer is awaited
            self._changed()


def is_about_the_state(error: ResponseError) -> bool:
    """Whether a command is refused for what the server does just now, or the login may do, not for how it is written."""
    return isinstance(error, NoPermissionError) or str(error).split(" ", 1)[0] in (
        "BUSY",
        "LOADING",
        "MASTERDOWN",
        "NOAUTH",
    )


def _count(stat: str) -> int:
    """``count=N`` of an ``errorstat_`` line."""
    return whole(stat.removeprefix("count="), 2**63) or 0


async def accepts(address: Address) -> bool | None:
    """Whether somebody listens there; None where nobody says.

    Who refuses on this host does so at once, and nothing else is worth a wait.
    """
    try:
        async with asyncio.timeout(PROBE):
            made = await names.connect(address.host, address.port, PROBE)
    except (
        OSError,
        ValueError,
        TimeoutError,
    ) as error:  # a part of a name with more than 63 characters is a ValueError
        return False if is_gone(error) else None
    made.close()
    return True


def is_of_group(address: Address, sentinels: Iterable[Sentinel]) -> bool:
    """Whether one of these Sentinels lists a node of its group at this address."""
    return any(address == s.master or address in s.run_ids for s in sentinels)


async def ask_peer(address: Address, link: Link) -> Peer:
    """What another node says of itself. Raises Unanswered, also where it wants a login and ``link`` has none."""
    began, info = clock(), dict[str, str]()
    for answer in await link.ask(*PEER_SECTIONS):
        if isinstance(answer, Exception):
            raise refused(answer)
        info |= parse_info(answer)
    role = _role(info)
    return Peer(
        at=began,
        address=address,
        role=role,
        follows=_follows(info, role),
        replication_id=_replication_id(info),
        run_id=reply.word(info.get("run_id", ""), "run_id of INFO"),
        offset=offset(info),
        empty=not has_keys(info),
    )


def refused(answer: Exception) -> Unanswered:
    """The error for a node that does not tell of itself."""
    return Unanswered(f"it refuses INFO: {plain(str(answer))}")


def refused_logins(info: Mapping[str, str]) -> int:
    """How many logins, and commands of somebody who is not logged in, the server has refused since its start; of INFO errorstats."""
    return sum(_count(info.get(f"errorstat_{error}", "")) for error in ("WRONGPASS", "NOAUTH"))


def parse_info(answer: object) -> Mapping[str, str]:
    """INFO's ``key:value`` lines. A value may hold colons (IPv6); what is not a pair is passed over, and the first one counts.

    What replicas have announced, which may hold whole lines, is left out: it stands between ``slave0`` and
    ``master_failover_state`` (Redis 6.2 and later) or ``master_replid``. Raises Unanswered if the answer is not text, or more than INFO can be.
    """
    before, _, after = _around_replicas(answer)
    lines = before.split("\r\n")
    if after:
        lines += after.split("\r\n")
    if len(lines) > LINES:
        raise Unanswered(f"INFO has more than {LINES} lines; is it a Redis server?")
    lines.reverse()
    return dict([line.split(":", 1) for line in lines if ":" in line])


def announced_replicas(answer: object) -> frozenset[Address]:
    """Where the replicas are, as INFO's ``slaveN:ip=…,port=…`` lines have it. Raises Unanswered as :func:`parse_info`."""
    return frozenset(islice(_replicas(_around_replicas(answer)[1]), REPLICAS))


def _around_replicas(answer: object) -> tuple[str, str, str]:
    """INFO before, in and after the lines about replicas, to which ``master_failover_state`` after them does not belong."""
    if not isinstance(answer, str):
        raise Unanswered("INFO is not text; is it a Redis server?")
    if len(answer) > INFO_LIMIT:
        raise Unanswered(f"INFO is larger than {INFO_LIMIT} bytes; is it a Redis server?")
    begin = answer.find("\r\nslave0:")
    end = answer.rfind("\r\nmaster_replid:") if begin >= 0 else -1
    if end < begin or begin < 0:
        return answer, "" if begin < 0 else answer[begin:], ""
    last = answer.rfind("\r\n", begin, end)
    if answer.startswith("\r\nmaster_failover_state:", last):
        end = last
    return answer[:begin], answer[begin:end], answer[end:]


def _replicas(lines: str) -> Iterator[Address]:
    for line in lines.split("\r\n", LINES):
        key, _, value = line.partition(":")
        if key.startswith("slave") and key[5:].isdecimal():
            fields = dict(field.partition("=")[::2] for field in value.split(","))
            if known := reply.address(fields.get("ip", ""), fields.get("port", ""), key):
                yield known


def parse_announce(answer: object, info: Mapping[str, str]) -> tuple[Address | None, int | None]:
    """The announced address in an answer to CONFIG GET, with the own port where none is announced, and the announced port.

    None where there is none, or where it is refused. Raises Unanswered if it is no answer to that.
    """
    if isinstance(answer, Exception):
        return None, None
    values = reply.pairs(answer, "CONFIG GET")
    host, port = values.get("replica-announce-ip", ""), whole(values.get("replica-announce-port", ""), reply.PORT_LIMIT)
    return reply.address(host, str(port or info.get("tcp_port", "")), "replica-announce-ip"), port or None


def parse_serves_stale(answer: object) -> bool:
    """Whether a replica answers reads while its link is down, as far as that is told."""
    return not (isinstance(answer, list) and "no" in answer)


def node(info: Mapping[str, str], at: float) -> Node:
    """The fact in one INFO (sections server, persistence, replication). Raises Unanswered if it is not there."""
    if parse_mode(info) == "sentinel":
        raise Unanswered(IS_SENTINEL)
    role = _role(info)
    run_id = reply.word(info.get("run_id", ""), "run_id of INFO")
    if not run_id:
        raise Unanswered("INFO has no run_id; is it a Redis server?")
    up, syncing = info.get("master_link_status") == "up", info.get("master_sync_in_progress", "0") != "0"
    heard = _number(info.get("master_last_io_seconds_ago", "0"))
    lost = _number(info.get("master_link_down_since_seconds", "-1"))
    return Node(
        at=at,
        run_id=run_id,
        role=role,
        loading=info.get("loading", "0") != "0" or info.get("async_loading", "0") != "0",
        link_up=up and not syncing,
        lag=heard if up or role is Role.MASTER else lost if 0 <= lost < NEVER else inf,
        serves=not syncing,
        announced=info.get("replica_announced", "1") != "0",
        follows=_follows(info, role),
        replication_id=_replication_id(info),
        offset=offset(info),
        former_id=_former_id(info),
        changes=whole(info.get("rdb_changes_since_last_save", ""), 2**63) or 0,
        version=parse_version(info),
        hands_over=info.get("master_failover_state", NO_FAILOVER) != NO_FAILOVER,
    )


def has_keys(info: Mapping[str, str]) -> bool:
    """Whether INFO's keyspace, if it was asked for, shows a database with keys in it."""
    return any(key.startswith("db") and key[2:].isdecimal() for key in info)


def began_empty(info: Mapping[str, str]) -> bool:
    """Whether it has just started and read no key from disk, whatever was written to it since; Redis 7.0 and later tell."""
    read_nothing = info.get("rdb_last_load_keys_loaded") == "0" and info.get("aof_enabled") == "0"
    return read_nothing and parse_uptime(info) < YOUNG


def parse_version(info: Mapping[str, str], key: str = "redis_version") -> tuple[int, ...]:
    """The version as numbers, empty where that is none. Valkey's ``redis_version`` is that of the Redis that it is like."""
    parts = info.get(key, "").split(".")[:3]
    return tuple(number for part in parts if (number := whole(part, 10**6)) is not None)


def parse_mode(info: Mapping[str, str]) -> str:
    """``standalone``, ``cluster`` or ``sentinel``; Valkey has a word of its own for it."""
    return info.get("redis_mode") or info.get("server_mode") or ""


def parse_uptime(info: Mapping[str, str]) -> float:
    """Seconds since its start, as far as they are told; infinite where they are not."""
    uptime = whole(info.get("uptime_in_seconds", ""), 2**63)
    return inf if uptime is None else float(uptime)


def offset(info: Mapping[str, str]) -> int:
    """How much of the replication stream a node has, in bytes: written by a master, or carried out by a replica."""
    key = "master_repl_offset" if info.get("role") == Role.MASTER else "slave_repl_offset"
    return whole(info.get(key, ""), 2**63) or 0


def _role(info: Mapping[str, str]) -> Role:
    match info.get("role"):
        case "master":
            return Role.MASTER
        case "slave" | "replica":
            return Role.REPLICA
        case None:
            raise Unanswered("INFO has no role; is it a Redis server?")
        case other:
            raise Unanswered(f"INFO says role:{plain(other, 20)}, which is neither master nor replica")


def _follows(info: Mapping[str, str], role: Role) -> Address | None:
    if role is Role.MASTER:
        return None
    return reply.address(info.get("master_host", ""), info.get("master_port", ""), "master_host of INFO")


def _replication_id(info: Mapping[str, str]) -> str:
    return reply.word(info.get("master_replid", ""), "master_replid of INFO")


def _former_id(info: Mapping[str, str]) -> str:
    former = reply.word(info.get("master_replid2", ""), "master_replid2 of INFO")
    return former if former.strip("0") else ""  # zeros stand for none


def _number(text: str) -> float:
    with suppress(ValueError):
        if isfinite(number := float(text)):
            return number
    raise Unanswered(f"INFO says {plain(text, 20)!r} where a number belongs")
