"""The process: what all Redis nodes share, the signals, and the word to systemd."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never

from consul_redis_agent import __version__, in_clear, names, state
from consul_redis_agent.beside import FILE_TIMEOUT, FILES
from consul_redis_agent.clock import Pulse, clock
from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.consul.api import ConsulAPI, consul_api
from consul_redis_agent.consul.domain import name_of
from consul_redis_agent.consul.unread import missing
from consul_redis_agent.decide.identity import is_loopback
from consul_redis_agent.decide.memory import Memory, over_a_reload
from consul_redis_agent.errors import ConfigError, LocalError
from consul_redis_agent.marked import event
from consul_redis_agent.node import NodeAgent, naming
from consul_redis_agent.publish.steps import Target
from consul_redis_agent.publish.writer import BACKOFF
from consul_redis_agent.supervise import defect, say, supervised
from consul_redis_agent.tell.history import History
from consul_redis_agent.tell.journal import Journal
from consul_redis_agent.tell.notify import Notifier
from consul_redis_agent.tell.pages import DECIDED_WITHIN, Pages
from consul_redis_agent.tell.server import Server
from consul_redis_agent.tell.shown import Masters
from consul_redis_agent.tell.snapshot import snapshot
from consul_redis_agent.tell.tally import Tally
from consul_redis_agent.tell.unseen import Unseen
from consul_redis_agent.watch.catalog import CatalogWatch
from consul_redis_agent.watch.discovery import Sentinels
from consul_redis_agent.watch.lookout import sentinel_link
from consul_redis_agent.watch.token import TokenWatch

if TYPE_CHECKING:
    from consul_redis_agent.tell.dns import DnsWatch

log = logging.getLogger(__name__)

WRITTEN = 0.5
"""Seconds for which a reload waits for a write that is under way."""
END = 10.0
"""Seconds for all that is to be done at the end, for all nodes together: systemd kills after 15."""
ALARM = 60.0
"""Seconds that a blocking query waits for a change: nothing rests on its age."""
SHARED = 5.0
"""The same where more of them would wait than may."""
TURNS = 64
"""Blocking queries that wait at Consul at once. Each is a connection, and Consul takes 200 from one address."""
REPLICA_TURNS = 16
"""The same for names of replicas."""
TICKS = 16
"""Parts of a second over which many Redis nodes are spread, so that one node's change does not queue behind everybody's polls."""


class Agent:
    """One process for any number of Redis nodes. ``load`` reads the configuration; it raises ConfigError."""

    def __init__(self, load: Callable[[], Config], socket_path: Path) -> None:
        self._load, self.socket_path = load, socket_path
        self.config = load()
        self.nodes: list[NodeAgent] = []
        self.journals: dict[str, Journal] = {}
        self.tallies: dict[str, Tally] = {}
        self._state = state.state_directory(os.environ)
        self._id = state.agent_id(self._state, socket_path)
        self._kept: dict[str, tuple[str, bool]] = {}
        self.history = History(self._state)
        self.started = time.time()
        self.pulse = Pulse()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._notify = Notifier()
        self._ready = False
        self._warnings = in_clear.Warnings(self.config)
        self._lines: dict[str, str] = {}
        self._remembered: dict[tuple[str, ...], tuple[Memory, str]] = {}
        """What the nodes of the last configuration remember, with the master name, by what their entries are called."""
        self._seen_from = ""
        """This host's address towards the Consul agent."""
        self._ended: set[int] = set()
        """Places of the nodes whose work a defect has ended, until it is begun anew."""
        self._pages = Pages(
            snapshot=self.snapshot, metrics=self._metrics, healthy=self._healthy, history=self.history.json
        )
        self._defects: set[str] = set()
        self._dns: dict[str, DnsWatch] = {}
        """What DNS shows under each service name, where somebody can see what it shows."""
        self._api: ConsulAPI | None = None
        self._render: Callable[[], bytes] | None = None

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, with the configuration read again at SIGHUP; returns the exit code."""
        stop, reload = asyncio.Event(), asyncio.Event()
        loop = self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload.set)
        nodes = ", ".join(r.url for r in self.config.redis)
        log.info("consul-redis-agent %s starts for %s", __version__, nodes, extra=event("started", version=__version__))
        if self.config.sentinel.secured and not self.config.sentinel.hosts:
            log.warning(
                "the Sentinels have a password and sentinel.hosts is not set: whoever says hello on Redis as a Sentinel gets "
                "that password; set sentinel.hosts",
                extra=event("sentinel_password_at_risk"),
            )
        gc.freeze()  # what was imported stays: no full collection goes through it in the middle of a failover
        self.pulse.beat()
        watchdog = asyncio.create_task(self._feed_watchdog())
        status = self._server()
        await self._listen(status.listen_unix(self.socket_path), "`status` will not reach this agent")
        while True:
            reload.clear()
            new = await self._run_until(stop, reload)
            if new is None:
                break
            self.config = new
        watchdog.cancel()
        self._tell(self.history.close)
        await status.close()
        return 0

    async def _run_until(self, stop: asyncio.Event, reload: asyncio.Event) -> Config | None:
        """Work with one configuration; returns the next one, or None for the end."""
        config = self.config
        self._api = api = consul_api(config.consul)
        self._warnings = in_clear.Warnings(config)
        self._warnings.begin()
        pages = self._server()
        if config.http.listen:
            await self._listen(pages.listen_tcp(config.http.listen), "neither page nor metrics")
        new: Config | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                work = tasks.create_task(self._work(api))
                while new is None and not stop.is_set():
                    waits = [tasks.create_task(event.wait()) for event in (stop, reload)]
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                    for wait in waits:
                        wait.cancel()
                    if reload.is_set():
                        reload.clear()
                        new = await self._reload()
                end = clock() + END
                if stop.is_set():
                    self._notify.stopping()
                    await _each(end, [node.look_last() for node in self.nodes])
                elif new:  # a claim that has moved is told to the Consul agent before anything begins anew
                    await _each(clock() + WRITTEN, [node.writer.finished() for node in self.nodes])
                work.cancel()
            if stop.is_set():
                on_stop = config.service.on_stop
                log.info("stops; on_stop = %r", on_stop, extra=event("stopping", on_stop=on_stop))
                if late := await _each(end, [node.leave() for node in self.nodes]):
                    log.warning(
                        "%d nodes were not done within %.0f s: their entries are left to their TTL", late, END,
                        extra=event("left_to_ttl", count=late),
                    )  # fmt: skip
                return None
            if new:
                # The old entry leaves before one of another name or id can pass; what stays is adopted.
                same = _same_consul(new.consul.url, config.consul.url) and new.consul.tenancy == config.consul.tenancy
                kept = {naming(new, redis, self._seen_from, self._id).ids for redis in new.redis} if same else set()
                await _each(end, [n.remove() for n in self.nodes if n.naming.ids not in kept])
                # A lease goes on, and so does who the Sentinels are; only what a defect has ended is built anew.
                going_on = [node for place, node in enumerate(self.nodes) if place not in self._ended]
                others = new.sentinel != config.sentinel
                self._remembered = {
                    n.naming.ids: (over_a_reload(n.memory), "") if others else (n.memory, n.lookout.master_name)
                    for n in going_on
                }
            return new
        finally:
            await pages.close()
            await api.close()

    async def _reload(self) -> Config | None:
        """Read the configuration anew; one that is wrong is named with all its mistakes, and the old one stays."""
        self._notify.reloading()
        try:
            new = await FILES.ask(self._load, timeout=FILE_TIMEOUT, what="the configuration")
        except LocalError as error:
            for problem in error.problems if isinstance(error, ConfigError) else (str(error),):
                log.warning(
                    "the configuration stays as it was: %s", problem, extra=event("reload_refused", error=problem)
                )
            self._notify.ready(self._line())
            return None
        log.info("the configuration was read again", extra=event("reloaded"))
        self._ready = False
        return new

    def _server(self) -> Server:
        return Server(self._pages)

    @staticmethod
    async def _listen(listening: Awaitable[None], otherwise: str) -> None:
        """Status and metrics are optional: failing to listen is logged, not fatal."""
        try:
            await listening
        except LocalError as error:
            log.warning("%s: %s", otherwise, error, extra=event("not_listening", error=str(error)))

    async def _work(self, api: ConsulAPI) -> None:
        config = self.config
        self._lines, self.nodes, self.journals, self.tallies = {}, [], {}, {}
        self._ended.clear()
        await self._find_address(config)
        async with asyncio.TaskGroup() as tasks:
            catalogs = self._catalogs(api, config)
            self._dns = self._dns_watches(api, config) if config.http.listen else {}
            sentinels = Sentinels(partial(sentinel_link, config.sentinel), tasks)
            for place, redis in enumerate(config.redis):
                make = partial(self._make, config, redis, api, sentinels, catalogs, place % TICKS / TICKS)
                node = self._take_in(place, make())
                work = partial(self._look_after, place, node, make)
                tasks.create_task(supervised(node.name, work, partial(self._ended.add, place)))
            self.history.only({node.name for node in self.nodes})
            for name, catalog in catalogs.items():
                tasks.create_task(supervised(f"Consul's catalog of {name!r}", catalog.run, catalog.over))
            for name, watch in self._dns.items():
                tasks.create_task(supervised(f"DNS of {name!r}", watch.run))
            if config.consul.token or config.consul.token_file:
                tasks.create_task(supervised("Consul's token", TokenWatch(api, self._wake_all).run))

    def _make(
        self,
        config: Config,
        redis: RedisConfig,
        api: ConsulAPI,
        sentinels: Sentinels,
        catalogs: dict[str, CatalogWatch],
        phase: float,
    ) -> NodeAgent:
        named = naming(config, redis, self._seen_from, self._id)
        kept = state.load(self._state, named.kept_as)
        memory, master_name = self._remembered.pop(named.ids, (kept, ""))
        told = partial(self._tell, self._decided), partial(self._tell, self._written)
        also = partial(self._tell, self.history.stepped), partial(self._tell, self.history.carried_out)
        made = NodeAgent(
            config, redis, api, sentinels, catalogs, self._seen_from, self._id, self.pulse, memory, *told, phase, *also
        )
        made.lookout.master_name = redis.master_name or master_name
        return made

    async def _find_address(self, config: Config) -> None:
        """Learn this host's address towards the Consul agent: without it two hosts that share one might use the same ids."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(OSError), wait=BACKOFF, stop=stop_never, before_sleep=self._not_found
        ):
            with attempt:
                self._seen_from = await address_towards(config.consul.url, config.consul.timeout)

    async def _not_found(self, state: RetryCallState) -> None:
        if state.attempt_number == 1:
            error = state.outcome.exception() if state.outcome else None
            log.warning(
                "Consul at %s cannot be found, so nothing is published yet; retrying: %s", self.config.consul.url, error,
                extra=event("consul_not_found", error=str(error)),
            )  # fmt: skip

    def _take_in(self, place: int, node: NodeAgent) -> NodeAgent:
        self.nodes[place : place + 1] = [node]
        unseen = None
        if watch := self._dns.get(node.redis.service):
            unseen = Unseen(node, watch.shown, partial(missing, self.config.consul, node.redis.service))
        self.journals[node.name] = Journal(node, unseen)
        self.tallies[node.name] = Tally(node)
        return node

    async def _look_after(self, place: int, first: NodeAgent, make: Callable[[], NodeAgent]) -> None:
        """One node's work; after a defect with a memory that is built anew from what Consul and the state directory hold."""
        node = self._take_in(place, make()) if place in self._ended else first
        self._ended.discard(place)
        await node.run()

    def _catalogs(self, api: ConsulAPI, config: Config) -> dict[str, CatalogWatch]:
        """A watch on each service name. Where there are more than may wait at Consul at once, each waits for less long."""
        names = {r.service for r in config.redis}
        replicas = {r.replica for r in config.redis if r.replica} - names if config.service.mode == "services" else ()
        catalogs = {}
        for kind, shared, turns in ((names, SHARED, TURNS), (replicas, ALARM / 2, REPLICA_TURNS)):
            taking = asyncio.Semaphore(turns)
            for name in kind:
                wait = ALARM if len(kind) <= turns else shared * turns / len(kind)
                catalogs[name] = CatalogWatch(api, name, wait, taking, partial(self._wake_of_service, name))
        return catalogs

    def _dns_watches(self, api: ConsulAPI, config: Config) -> dict[str, DnsWatch]:
        from consul_redis_agent.tell.dns import DnsWatch  # its library takes memory

        at = config.consul.domain or "", config.consul.dns, partial(self._tell, self._shown)
        nodes = {redis.service: redis for redis in config.redis}
        return {
            name: DnsWatch(
                api, name, partial(name_of, config, redis), *at, phase=place % TICKS / TICKS + place // TICKS
            )
            for place, (name, redis) in enumerate(nodes.items())
        }

    def _shown(self, service: str, masters: Masters | None, at: float) -> None:
        """DNS answers something else."""
        for node in self.nodes:
            if node.redis.service == service:
                self.tallies[node.name].shown(masters, at)
        self.history.dns(service, masters, at)

    def _wake_of_service(self, name: str) -> None:
        for node in self.nodes:
            if name in (node.redis.service, node.redis.replica):
                node.wake()

    def _wake_all(self) -> None:
        for node in self.nodes:
            node.wake()

    def _tell(self, how: Callable[..., None], *what: Any) -> None:
        """Tell of something; a defect in that is said once, and stops nothing."""
        try:
            how(*what)
        except Exception as error:  # noqa: BLE001 - said with its place; telling never delays a publication
            if (found := defect(error)) not in self._defects:
                self._defects.add(found)
                say("telling", error)

    def _decided(self, node: NodeAgent) -> None:
        """A node has finished a decision: tell people, and systemd, which ends a process that does not."""
        journal = self.journals[node.name]
        journal.decided()
        self.tallies[node.name].decided()
        if watch := self._dns.get(node.redis.service):
            watch.decided(node)
        self._tell(self.history.decided, node, journal.stray.total)
        if self._warnings.may_grow:
            asked = (node.latest.ask,) if node.latest and node.latest.ask else ()
            self._warnings.learned([sentinel.address for sentinel in node.lookout.sentinels], asked)
        self._keep(node)
        if not self._ready and all(node.ready for node in self.nodes):
            self._ready = True
            self._notify.ready(self._line())
        if self._lines.get(node.name) != node.line:
            self._lines[node.name] = node.line
            self._notify.status(self._line())

    async def _feed_watchdog(self) -> None:
        """As long as every node decides; one whose work a defect has ended, and is to begin anew, is no reason to end all."""
        while interval := self._notify.watchdog_interval():
            await asyncio.sleep(interval / 2)
            if not self._late():
                self._notify.watchdog()

    def _written(self, node: NodeAgent, target: Target, seconds: float) -> None:
        self.journals[node.name].written(target, seconds)
        self.tallies[node.name].written(target)
        self.history.written(node, target, seconds)

    def _keep(self, node: NodeAgent) -> None:
        """Keep what a restart needs, where that has changed; beside the loop, since a disk may be slow."""
        now = node.memory.group, node.memory.had_sentinel
        if self._state and self._kept.get(node.name, ("", False)) != now:
            self._kept[node.name] = now
            saving = state.keep(self._state, node.naming.kept_as, node.memory)
            saving.add_done_callback(_say)

    def _line(self) -> str:
        return "; ".join(node.line for node in self.nodes)

    def _late(self) -> list[str]:
        lately = clock() - DECIDED_WITHIN
        return [n.name for i, n in enumerate(self.nodes) if i not in self._ended and max(n.decided, n.began) < lately]

    def _healthy(self) -> tuple[bool, str]:
        late = self._late() + [self.nodes[place].name for place in sorted(self._ended)]
        return (False, f"no decision lately for {', '.join(late)}") if late else (True, self._line())

    def _metrics(self) -> bytes:
        if self._render is None:
            from consul_redis_agent.tell.metrics import renderer

            self._render = renderer(self.snapshot)
        return self._render()

    def snapshot(self) -> dict[str, Any]:
        """The whole process for ``status`` and the metrics."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": self.started,
            "process": {  # where a leak shows first
                "tasks": len(asyncio.all_tasks(self._loop)) if self._loop else 0,
                "blocks": sys.getallocatedblocks(),
                "collections": gc.get_stats()[-1]["collections"],
            },
            "nodes": [snapshot(self.journals[node.name], self.tallies[node.name]) for node in self.nodes],
            "dns": [watch.shown.as_json() for watch in self._dns.values()],
            "consul": {
                "requests": self._api.latency.as_json() if self._api else None,
                "errors": dict(self._api.failed) if self._api else {},
            },
        }


def _say(saving: asyncio.Future[None]) -> None:
    if not saving.cancelled() and (error := saving.exception()):
        log.warning("%s", error, extra=event("state_not_kept", error=str(error)))


async def _each(end: float, work: list[Coroutine[Any, Any, None]]) -> int:
    """Do all this side by side, until the monotonic second ``end`` at the latest; returns how many were late and given up."""
    tasks = [asyncio.create_task(one) for one in work]
    if not tasks:
        return 0
    done, late = await asyncio.wait(tasks, timeout=max(0.0, end - clock()))
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in done:
        if error := task.exception():
            say("at the end", error)
    return len(late)


def _same_consul(one: str, other: str) -> bool:
    """Whether both lead to one Consul agent: TLS has another port, and to move to it leaves no hole in DNS."""
    first, second = urlsplit(one), urlsplit(other)
    moved = {first.scheme, second.scheme} == {"http", "https"} and first.hostname == second.hostname
    return one == other or moved


async def address_towards(url: str, timeout: float) -> str:  # noqa: ASYNC109 - of looking a name up
    """This host's address as the Consul agent at ``url`` sees it; empty where that is on this host. Sends nothing to it.

    Raises socket.gaierror, where a name is not to be found within ``timeout`` seconds.
    """
    host, port = urlsplit(url).hostname, urlsplit(url).port
    if not host or is_loopback(host):
        return ""
    (family, place), *_ = await names.addresses(host, port or 8500, timeout)
    if is_loopback(str(place[0])):
        return ""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(place)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
