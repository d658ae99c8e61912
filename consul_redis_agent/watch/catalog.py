"""The entries under one service name in Consul's catalog, kept fresh by a blocking query."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never, wait_exponential_jitter

from consul_redis_agent.clock import clock
from consul_redis_agent.consul_api import ConsulAPI
from consul_redis_agent.entries import CHECK_SUFFIX, SEAL_SUFFIX, TOMBSTONE_SUFFIX
from consul_redis_agent.errors import ConsulError, ConsulUnreachable
from consul_redis_agent.facts import Catalog, Entry

BACKOFF = wait_exponential_jitter(multiplier=0.02, exp_base=3, max=0.25, jitter=0.05)
NODE_CHECK = "serfHealth"
NODE_MAINTENANCE = "_node_maintenance"
SERVICE_MAINTENANCE = "_service_maintenance:"


class CatalogWatch:
    """Keeps ``fact`` true; calls ``changed`` when it is another one, and after every error.

    A blocking query waits ``wait`` seconds for a change, and before that for one of the ``turns``, since each takes a
    connection.
    """

    def __init__(
        self, api: ConsulAPI, service: str, wait: float, turns: asyncio.Semaphore, changed: Callable[[], None]
    ) -> None:
        self.service = service
        self.fact: Catalog | None = None
        self.error = ""
        self.lost = 0
        """How often the Consul agent was out of reach."""
        self.seen_since = inf
        """When it was answered again after the last error; infinite as long as it is not."""
        self._api, self._wait, self._turns, self._changed = api, wait, turns, changed
        self._looked = asyncio.Condition()
        self._last_asked = float("-inf")
        self._query: asyncio.Task[tuple[int, list[dict[str, Any]]]] | None = None
        self._index: int | None = None

    def look_again(self) -> None:
        """Ask now, without waiting for a change."""
        self._index = None
        if self._query:
            self._query.cancel()

    async def fresh(self) -> None:
        """Ask now, and return once a question that was put after this call is answered, well or not."""
        since = clock()
        self.look_again()
        async with self._looked:
            await self._looked.wait_for(lambda: self._last_asked >= since)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(ConsulError), wait=BACKOFF, stop=stop_never, before_sleep=self._missed
            ):
                with attempt:
                    asked = await self._ask()
            await self._show(asked)

    async def _ask(self) -> float:
        """Put the question until it is answered; returns when it was put last."""
        while True:
            asked = clock()
            self._query = asyncio.create_task(self._answer())
            try:
                index, answer = await self._query
            except asyncio.CancelledError:
                if self._query.cancelled() and not _cancelling():
                    continue  # look_again() has cut the question short
                self._query.cancel()
                raise
            self._index = index
            before, self.fact = self.fact, Catalog(clock(), index, tuple(entry(e) for e in answer))
            if self.seen_since == inf:
                self.seen_since = self.fact.at
            if self.error or before is None or before.entries != self.fact.entries:
                self._changed()
            self.error = ""
            return asked

    async def _answer(self) -> tuple[int, list[dict[str, Any]]]:
        if not self._index:
            return await self._api.health(self.service)
        async with self._turns:
            return await self._api.health(self.service, self._index, self._wait)

    async def _missed(self, state: RetryCallState) -> None:
        self._index = None
        error = state.outcome.exception() if state.outcome else None
        self.error = str(error)
        self.seen_since = inf
        if isinstance(error, ConsulUnreachable):
            self.lost += 1
        self._changed()
        await self._show(clock())

    async def _show(self, asked: float) -> None:
        self._last_asked = asked
        async with self._looked:
            self._looked.notify_all()


def entry(answer: Mapping[str, Any]) -> Entry:
    """One instance of ``/v1/health/service/NAME`` as a fact."""
    service, checks = answer["Service"], answer["Checks"]
    by_id = {c["CheckID"]: c for c in checks}
    status = {c["CheckID"]: c["Status"] for c in checks}
    role, seal = by_id.get(service["ID"] + CHECK_SUFFIX), by_id.get(service["ID"] + SEAL_SUFFIX)
    tombstones = tuple(id_ for id_ in by_id if id_.startswith(service["ID"] + TOMBSTONE_SUFFIX))
    return Entry(
        node=answer["Node"]["Node"],
        id=service["ID"],
        name=service["Service"],
        address=service["Address"] or answer["Node"].get("Address", ""),
        port=service["Port"],
        tags=tuple(service["Tags"]),
        meta=service["Meta"],
        check=role,
        seal=seal,
        tombstones=tombstones,
        # A foreign entry has no role check: what counts then is whether DNS shows it.
        passing=(
            role["Status"] == "passing" and (seal is None or seal["Status"] == "passing") and not tombstones
            if role
            else "critical" not in status.values()
        ),
        node_alive=status.get(NODE_CHECK, "passing") != "critical",
        maintenance=NODE_MAINTENANCE in status or SERVICE_MAINTENANCE + service["ID"] in status,
        created=service.get("CreateIndex", 0),
    )


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
