"""Another Redis node whose own word a decision waits for: the one that holds the claim the own node wants, or is to follow it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from math import inf

from consul_redis_agent.clock import clock, set_within
from consul_redis_agent.decide.facts import Address, Peer
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.redis_node import ask_peer

log = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds between two questions while a decision waits."""
CLOSELY = 0.01
"""The same while every millisecond counts: it is about to be promoted."""
IDLE = 3600.0
"""Seconds that it waits for somebody to ask for."""
AT_LEAST = 0.25
"""Seconds for which one decision asks for those."""


class PeerWatch:
    """Asks one node at a time, for as long as decisions wait for it; calls ``changed`` when it says something new.

    ``link`` makes a connection with the node's login, or without; ``is_known`` tells whether an address may have it.
    ``closed`` is called when an open connection ends: Sentinel closes them all in the moment of a promotion.
    """

    def __init__(
        self,
        link: Callable[[Address, bool, Callable[[], None]], Link],
        is_known: Callable[[Address], bool],
        changed: Callable[[], None],
        closed: Callable[[], None],
    ) -> None:
        self.fact: Peer | None = None
        self._make, self._is_known, self._changed, self._closed = link, is_known, changed, closed
        self._address: Address | None = None
        self._closely = -inf
        self._link: tuple[Address, bool, Link] | None = None
        self._again = asyncio.Event()

    def attend(self, address: Address | None, *, closely: bool) -> None:
        """Ask this one from now on, and now unless its answer is young; None: nobody."""
        now, before = clock(), self._address
        self._address = address
        begins = closely and now >= self._closely
        if closely:
            self._closely = now + AT_LEAST
        young = self.fact and self.fact.address == address and now - self.fact.at < (CLOSELY if closely else PERIOD)
        if (address is None and before) or (address and (begins or not young)):
            self._again.set()

    def forget(self) -> None:
        """What it said counts no more."""
        self.fact = None

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                closely = self._address is not None and clock() < self._closely
                await set_within(self._again, CLOSELY if closely else IDLE)
                self._again.clear()
                if self._address is None:
                    await self._drop()
                else:
                    await self._look(self._address)
        finally:
            await self._drop()

    async def _look(self, address: Address) -> None:
        began, before = clock(), self.fact
        try:
            fact = await ask_peer(address, await self._to(address))
        except Unanswered as error:
            log.debug("the peer %s did not answer: %s", address, error)
            await self._drop()
            fact = Peer(began, address, None)
        self.fact = fact
        if clock() >= self._closely or before is None or replace(before, at=fact.at, offset=fact.offset) != fact:
            self._changed()

    async def _to(self, address: Address) -> Link:
        known = self._is_known(address)
        if self._link is None or self._link[:2] != (address, known):
            await self._drop()
            self._link = address, known, self._make(address, known, self._lost)
        return self._link[2]

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link:
            await link[2].close()

    def _lost(self) -> None:
        self._again.set()
        self._closed()
