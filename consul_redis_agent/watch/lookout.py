"""All that is seen of one Redis node from its host: the watchers together, and the :class:`Facts` that they give."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from consul_redis_agent import names
from consul_redis_agent.beside import FILE_TIMEOUT, FILES
from consul_redis_agent.clock import boot, clock
from consul_redis_agent.config import RedisConfig, Secret, SentinelConfig, read_secret
from consul_redis_agent.decide import identity, members
from consul_redis_agent.decide.decision import Closely, Decision, Reason, SentinelMode
from consul_redis_agent.decide.facts import Address, Catalog, Entry, Facts, Node, Role, Selection, Sentinel, Silence
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.errors import LocalError, Unanswered
from consul_redis_agent.histogram import Histogram
from consul_redis_agent.marked import event
from consul_redis_agent.tls import Tls
from consul_redis_agent.watch.catalog import CatalogWatch
from consul_redis_agent.watch.discovery import HelloWatch, Sentinels
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.lock import AgentLock
from consul_redis_agent.watch.peer import PeerWatch
from consul_redis_agent.watch.redis_node import RedisWatch, is_of_group

log = logging.getLogger(__name__)

SENTINEL_TIMEOUT = 1.0
"""Seconds for one exchange with a Sentinel."""
CONFIRMATIONS = 3
"""Times in one TTL that Consul's servers are asked for a claim that nobody else confirms: two answers may be lost."""


class Lookout:
    """The watchers of one Redis node; calls ``changed`` whenever one of them has looked."""

    def __init__(
        self,
        redis: RedisConfig,
        mode: SentinelMode,
        hosts: Collection[Address],
        sentinels: Sentinels,
        catalogs: dict[str, CatalogWatch],
        changed: Callable[[], None],
        phase: float,
        ttl: float,
        shared: bool,
        keys: bool,
    ) -> None:
        self.redis, self.mode, self._ttl = redis, mode, ttl
        self.address = where(redis)
        self.master_name = redis.master_name or ""
        self.sentinels: tuple[Sentinel, ...] = ()
        self.publish_at: Address | None = None
        """The address to publish; None as long as none is known that others could use."""
        self._changed = changed
        self._pool, self._catalog = sentinels, catalogs[redis.service]
        self._group = sentinels.join(changed)
        self._configured = frozenset(hosts)
        self._lock, self._shared = AgentLock(), shared
        self._catalogs = tuple(catalogs[n] for n in dict.fromkeys((redis.service, redis.replica)) if n in catalogs)
        self._node = RedisWatch(self._link, changed, phase, self._leaders_asked, self._published_elsewhere, keys=keys)
        self._peer = PeerWatch(self._link_to, self._is_of_group, changed, self._leaders_asked)
        self._hello = HelloWatch(self._link, lambda: self._wants_hello, changed, lambda: self._node.refused)
        self._wants_hello = False
        self.at_sentinel: Address | None = None
        """The one that Sentinels use."""
        self._found_at = ""
        """The IP address at which the node was when that was learned."""

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._node.run())
                tasks.create_task(self._peer.run())
                if self.mode is not SentinelMode.OFF:
                    tasks.create_task(self._hello.run())
        finally:
            self._lock.release()
            self._node.over()
            self._pool.leave(self._group)
            self._catalog.confirm(self, inf)

    @property
    def missed(self) -> int:
        """How many looks at the node have failed."""
        return self._node.missed

    @property
    def latency(self) -> Histogram:
        """How long the node's INFO took."""
        return self._node.latency

    def sentinels_missed(self) -> dict[Address, int]:
        """How many looks at each Sentinel have failed."""
        return self._pool.missed(self._group)

    @property
    def clustered(self) -> bool:
        """Whether the node is one of a Redis Cluster."""
        return self._node.clustered

    def show_node(self) -> None:
        """Look at the node anew, and call ``changed`` whatever is seen."""
        self._node.show_anew()

    def read_catalog(self) -> None:
        """Have Consul's servers show the claims of now, before a new one is published."""
        self._catalog.hurry(0.0)

    async def look_at_node(self) -> None:
        """Look at the node anew, and return when it has answered, or has failed to within its timeout."""
        await self._node.fresh()

    async def look_again(self) -> None:
        """Look at everything anew, and return when all have answered, or have failed to within their timeouts."""
        self._peer.forget()
        looks = [self._node.fresh(), self._pool.fresh(self._group), *(c.fresh() for c in self._catalogs)]
        await asyncio.gather(*looks)

    def catalogs(self) -> tuple[CatalogWatch, ...]:
        """The watches on the service names that concern this node."""
        return self._catalogs

    def seen(self) -> dict[str, Catalog]:
        """What the last look at each of those names has shown."""
        return {catalog.service: catalog.fact for catalog in self._catalogs if catalog.fact}

    def entries(self) -> Iterator[Entry]:
        """All entries under those names."""
        for catalog in self.seen().values():
            yield from catalog.entries

    def attend(self, decision: Decision, facts: Facts, memory: Memory) -> None:
        """Ask whom the decision rests on, or waits for, as often as that needs."""
        if self.mode is not SentinelMode.OFF:
            self._pool.speak(self._group, self.master_name, members.spoken(facts, memory))
            wants, self._wants_hello = self._wants_hello, members.wants_hellos(facts, memory)
            self._node.counts_refusals = self._wants_hello
            if wants != self._wants_hello:
                self._hello.look_again()
        closely = decision.closely
        self._peer.attend(decision.ask, closely=closely is Closely.PEER)
        self._node.attentive = closely in (Closely.NODE, Closely.SENTINELS)  # those of a node that is gone
        self._node.awaits_turn = decision.awaits_turn
        if closely is Closely.SENTINELS:
            self._pool.attend_all(self._group)
        if decision.leader and isinstance(node := self._node.fact, Node):
            since = node.turned
            if closely is Closely.PEER:  # both are asked in the same moment
                since = facts.peer.at if facts.peer and facts.peer.role is Role.MASTER else -inf
            self._pool.attend(self._group, decision.leader, since)
        self._catalog.confirm(self, self._ttl / CONFIRMATIONS if decision.rests_on_consul else inf)
        if decision.reason is Reason.NO_CATALOG:
            self._catalog.hurry(self._ttl)

    def _published_elsewhere(self) -> Address | None:
        return self.publish_at if self.publish_at != self.address else None

    def _leaders_asked(self) -> None:
        """If Sentinel has just promoted a node, the leader is asked beside it, so that nobody waits for him later."""
        self._pool.ask_leaders(self._group, clock())

    def facts(self, consul_node: str | None, consul_address: str, entry_ids: tuple[str, ...], agent: str) -> Facts:
        """What is known now.

        ``consul_node`` is the Consul node of the own entries, None as long as that is not known; ``entry_ids`` are their
        service ids, the one that may claim first.
        """
        node = self._node.fact
        self._find_name(node)
        self.sentinels = self._pool.facts(self._group)
        me = self._identify(node.run_id if isinstance(node, Node) else "", consul_address)
        if isinstance(node, Node):
            self.sentinels = tuple(told_of(s, me, node.run_id) for s in self.sentinels)
        return Facts(
            now=clock(),
            node=node,
            me=me,
            address=self.publish_at,
            sentinels=self.sentinels,
            watched=len(self.sentinels),
            configured=self._configured,
            heard=self._hello.heard(self.master_name),
            searching=self._searching(),
            unheard=self._hello.error,
            refused=self._hello.refused,
            names=self._hello.every_name,
            catalog=self._catalog.fact if consul_node is not None else None,
            confirmation=self._catalog.confirmation,
            own=(consul_node or "", entry_ids[0]),
            master_name=self.master_name,
            peer=self._peer.fact,
            agent=agent,
            shared=self._shared,
            other_agent=self._lock.holder(node.run_id, self.redis.service) if isinstance(node, Node) else "",
            elsewhere=tuple(e for e in self.entries() if not (e.node == consul_node and e.id in entry_ids)),
            boot=boot(),
        )

    def _searching(self) -> bool:
        if not self.sentinels:
            return not self._hello.over
        return not all(s.looked for s in self.sentinels)

    def _is_of_group(self, address: Address) -> bool:
        """Whether the password may go there: the node follows it, is followed by it, or a Sentinel lists it."""
        place = self._place_of(address)
        return self._node.names(place) or is_of_group(place, self.sentinels)

    def _link_to(self, address: Address, login: bool, closed: Callable[[], None]) -> Link:
        return redis_link(self.redis, self._place_of(address), closed, login=login)

    def _place_of(self, address: Address) -> Address:
        """Where the Sentinels reach the node that Consul has at an address which none of them lists (``redis.announce``)."""
        if is_of_group(address, self.sentinels):
            return address
        run_ids = {entry.run_id for entry in self.entries() if entry.address == address and entry.run_id}
        places = (identity.address_at_sentinel(run_id, self.sentinels) for run_id in sorted(run_ids))
        return next((place for place in places if place), address)

    def _link(self, closed: Callable[[], None] = lambda: None) -> Link:
        return redis_link(self.redis, closed=closed)

    def _find_name(self, node: Node | Silence | None) -> None:
        """The master name, where the configuration has none: from the Sentinels of the configuration, or from hellos."""
        if self.redis.master_name:
            return
        found = ""
        if self._configured and not self.master_name and isinstance(node, Node):
            found = self._pool.find_name(self._group, node) or ""
        elif self._wants_hello and self.master_name not in (names := self._hello.names()):
            found = names[0] if names else ""  # a name that nobody in reach knows is corrected
        if found and found != self.master_name:
            mark = event("master_name_found", node=str(self.address), master_name=found)
            log.info("%s: belongs to the master %r", self.address, found, extra=mark)
            self.master_name = found

    # Identity

    def _identify(self, run_id: str, consul_address: str) -> frozenset[Address]:
        """The addresses under which others may know the node; the first that counts becomes ``publish_at``."""
        redis, announced = self.redis, self._node.announced
        reached = reached_at(redis, self._node.reached, self._node.announced_port)
        if self._node.reached != self._found_at:  # it has moved, as a container does: what was known is of before
            self._found_at, self.at_sentinel = self._node.reached, None
        listed = identity.addresses_at_sentinel(run_id, self.sentinels)
        self.at_sentinel = identity.address_at_sentinel(run_id, self.sentinels, self.at_sentinel) or self.at_sentinel
        local = self._local_address(consul_address) if reached is None and redis.port else None
        order = (redis.announce, self.at_sentinel, announced, reached, local)
        self.publish_at = identity.address_to_publish(*order)
        named = Address(redis.host, redis.port or 0) if redis.host and not identity.is_loopback(redis.host) else None
        return listed.union(address for address in (*order, named) if address)

    def _local_address(self, consul_address: str) -> Address | None:
        """This host, as Sentinel calls it for any node, or as Consul does; the port is the node's."""
        hosts = {address.host for s in self.sentinels for address in s.run_ids}
        here = sorted((h for h in hosts if names.is_of_this_host(h)), key=lambda h: (identity.is_loopback(h), h))
        host = next(iter(here), consul_address)
        return Address(host, self._node.announced_port or self.redis.port or 0) if host else None


def password(given: Secret | None, path: Path | None) -> Callable[[], Awaitable[str | None]]:
    """Reads the password anew at each login, so that a rotated one is used. It raises Unanswered, naming the file.

    It does so beside the event loop: a file on a mount that hangs costs this login alone.
    """

    async def read() -> str | None:
        secret = given
        if secret is None and path:
            try:
                secret = await FILES.ask(read_secret, path, timeout=FILE_TIMEOUT, what=f"{path}: its file system")
            except LocalError as error:
                raise Unanswered(f"no password for it: {error}") from error
        return secret.reveal() if secret else None

    return read


def where(redis: RedisConfig) -> Address | str:
    """Where the node is reached: its address, or its unix socket."""
    return redis.path or Address(redis.host or "", redis.port or 0)


def reached_at(redis: RedisConfig, peer: str, port: int | None) -> Address | None:
    """Where the configuration reaches the node, if others can use that: by its name, or, where that is of one label, at the
    IP address that it led to (``peer``). ``port`` is what the node announces, if it does.
    """
    if redis.host is None or identity.is_loopback(redis.host):
        return None
    host = redis.host if identity.is_for_others(redis.host) else peer
    return None if identity.is_loopback(host) else Address(host, port or redis.port or 0)


def redis_link(
    config: RedisConfig,
    address: Address | None = None,
    closed: Callable[[], None] = lambda: None,
    *,
    login: bool = True,
) -> Link:
    """A connection to the node, or to another one: with the node's login only if that one was checked to be of its group."""
    tls = Tls(config.tls, "redis") if config.tls else None
    at = address or where(config)
    if not login:
        return Link(at, timeout=config.timeout, closed=closed, tls=tls)
    secret = password(config.password, config.password_file)
    return Link(at, timeout=config.timeout, username=config.username, password=secret, closed=closed, tls=tls)


def sentinel_link(
    config: SentinelConfig, address: Address, closed: Callable[[], None] = lambda: None, *, login: bool = True
) -> Link:
    """A connection to a Sentinel with the configured login, or to who may be none, without."""
    more: dict[str, Any] = {
        "closed": closed,
        "tls": Tls(config.tls, "sentinel") if config.tls else None,
        "table": "sentinel",
    }
    if not login:
        return Link(address, timeout=SENTINEL_TIMEOUT, **more)
    secret = password(config.password, config.password_file)
    return Link(address, timeout=SENTINEL_TIMEOUT, username=config.username, password=secret, **more)


def told_of(sentinel: Sentinel, me: frozenset[Address], run_id: str) -> Sentinel:
    """What it says where it has selected the own node, which it does not list, by its address."""
    chosen = sentinel.unlisted
    if chosen is None or sentinel.promoting != "" or chosen.address not in me:
        return sentinel
    return replace(sentinel, selection=Selection(chosen.epoch, run_id, chosen.at), promoting=run_id)
