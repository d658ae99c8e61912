"""Questions of our agent to Consul: stands in for :class:`consul_redis_agent.consul.api.ConsulAPI`."""
# ruff: noqa: ASYNC109 - as the real one

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from consul_redis_agent.consul.api import MAX_WRITERS, Consistency, Json
from consul_redis_agent.errors import ConsulError, ConsulUnknown, ConsulUnreachable
from consul_redis_agent.histogram import REQUEST, Histogram

from .agent import Agent
from .consul import NO_VIEW, View
from .link import current, outcome, settle

Reply = Callable[[Any], None]
"""Brings the answer, or the error that it is."""


class ConsulAPI:
    """As the real one, to the Consul agent on the host of the process that makes it, and from there to the servers."""

    def __init__(self, url: str, *, timeout: float = 2.0, token: Callable[[], str | None] = lambda: None) -> None:
        self.timeout = timeout
        self.changes, self.beats = asyncio.Semaphore(MAX_WRITERS), asyncio.Semaphore(MAX_WRITERS)
        self._process = current()
        self._world = self._process.world
        self._engine = self._world.engine
        self._consul = self._world.hosts[self._process.host].consul
        self._closed = False
        self.token_error, self.token_number = "", 0
        self.latency, self.failed = Histogram(REQUEST), dict[str, int]()

    # What the Consul agent answers by itself

    async def agent_self(self) -> Json:
        member = {"Addr": self._world.address(self._process.host).host}
        answer: Json = await self._local(lambda: {"Config": {"NodeName": self._consul.node}, "Member": member})
        return answer

    async def services(self, only: str = "", *, timeout: float | None = None) -> dict[str, Json]:
        held = self._consul.services
        answer: dict[str, Json] = await self._local(
            lambda: {id_: local.body | {"Service": local.body["Name"]} for id_, local in held.items()}
        )
        return answer

    async def checks(self, only: str = "", *, timeout: float | None = None) -> dict[str, Json]:
        answer: dict[str, Json] = await self._local(
            lambda: {
                id_: {"CheckID": id_, "Node": self._consul.node, "Status": check.status, "ServiceID": service_id}
                for service_id, local in self._consul.services.items()
                for id_, check in local.checks.items()
            }
        )
        return answer

    async def register(self, service: Mapping[str, Any], *, timeout: float | None = None) -> None:
        await self._local(lambda: self._consul.register(dict(service)), slow=True)

    async def check_update(self, check_id: str, status: str, output: str, *, timeout: float | None = None) -> None:
        await self._local(lambda: self._consul.update(check_id, status, output), slow=True)

    async def deregister(self, service_id: str, *, timeout: float | None = None) -> None:
        await self._local(lambda: self._consul.deregister(service_id), slow=True)

    async def check_deregister(self, check_id: str, *, timeout: float | None = None) -> None:
        await self._local(lambda: self._consul.deregister_check(check_id), slow=True)

    async def _local(self, act: Callable[[], Any], *, slow: bool = False) -> Any:
        def arrived(reply: Reply) -> None:
            delay = self._engine.rng.uniform(0.003, 0.006) if slow else 0.0005
            answer = act()
            self._engine.later(delay, reply, ConsulUnknown("not known") if answer is False else answer)

        self._world.stepped(self._process)
        return await self._ask(arrived, self.timeout)

    # What the servers answer

    async def txn(self, operations: Sequence[Mapping[str, Any]], *, timeout: float | None = None) -> list[Json]:
        def at_servers(reply: Reply) -> None:
            answer: Any = []
            if not self._consul.linked:
                return
            try:
                self._world.servers.transact([dict(o) for o in operations], self._process.host)
            except ConsulError as error:
                answer = error
            if self._engine.rng.random() < self._world.loss:
                self._world.judge.answer_lost(self._process.host)
            else:
                self._engine.later(self._engine.delay(), reply, answer)

        def arrived(reply: Reply) -> None:
            if self._consul.linked:
                self._engine.later(self._engine.delay(), at_servers, reply)
            else:
                self._engine.later(0.01, reply, ConsulError("No cluster leader"))

        self._world.stepped(self._process)
        await self._ask(arrived, self.timeout)
        return []

    async def rehearse(self, operations: Sequence[Mapping[str, Any]]) -> None:
        """Nothing is sent."""

    async def health(
        self,
        service: str,
        index: int | None = None,
        wait: float | None = None,
        consistency: Consistency = "default",
        *,
        by_servers: bool = False,
        timeout: float | None = None,
    ) -> tuple[int, list[Json]]:
        limit = self.timeout if timeout is None else timeout
        if index and wait:
            limit += wait + wait / 16
            asked, held_for = index, wait + wait / 16
            streams = self._world.streams and not by_servers
            found, instances = await self._ask(
                lambda reply: self._block(reply, service, asked, held_for, streams=streams), limit
            )
            return (0 if found < asked else found), instances
        self._process.count(f"asks for the catalog of {service}")
        view: View = await self._ask(lambda reply: self._read(reply, service), limit)
        return view

    def _read(self, reply: Reply, service: str) -> None:
        """It goes to the servers, or nowhere: then it is refused at once, or hangs."""
        if self._consul.linked:
            self._engine.later(self._engine.delay(), reply, self._world.servers.views.get(service, NO_VIEW))
        elif self._engine.rng.random() < 0.5:
            self._engine.later(0.01, reply, ConsulError("No cluster leader"))

    def _block(self, reply: _Call, service: str, index: int, wait: float, *, streams: bool) -> None:
        """Answered by the local Consul agent where it streams, else by the servers."""
        servers, consul, engine = self._world.servers, self._consul, self._engine

        def look() -> None:
            linked = consul.up and consul.linked
            view = consul.view(service)
            if reply.over:
                return
            if view[0] > index and (linked or streams):
                engine.later(engine.delay(), reply, view)
            elif linked:
                servers.wait(service, look)
            else:  # its view stands still, and goes on some time after that
                engine.later(engine.rng.uniform(0.05, 0.5), look)

        def over() -> None:
            if not reply.over and (streams or consul.linked):
                reply(consul.view(service))

        look()
        engine.later(wait, over)

    # How a question travels

    async def _ask(self, arrived: Callable[[Any], None], timeout: float) -> Any:
        if self._closed:
            raise ConsulUnreachable("this client is closed")
        consul, call = self._consul, _Call(self._process)
        if consul.up:
            consul.connections[call] = None
            self._engine.later(self._engine.rng.uniform(0.0003, 0.001), consul.take, lambda: arrived(call))
        else:
            self._engine.later(0.001, call, ConsulUnreachable("connection refused"))
        try:
            return await outcome(call.answer, timeout, ConsulUnreachable)
        finally:
            call.over = True
            consul.connections.pop(call, None)

    async def close(self) -> None:
        self._closed = True


class _Call:
    """One question, on a connection of its own; who does not wait any more has not taken it back."""

    def __init__(self, process: Agent) -> None:
        self._process = process
        self.answer: asyncio.Future[Any] = process.loop.create_future()
        self.over = False

    def __call__(self, outcome: Any) -> None:
        """The answer has come."""
        self._process.loop.enter(settle, self.answer, outcome)

    def close(self) -> None:
        """Consul has ended."""
        engine = self._process.world.engine
        engine.later(engine.rng.uniform(0.0001, 0.001), self, ConsulUnreachable("the connection was closed"))
