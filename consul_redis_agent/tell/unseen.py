"""A master that Consul's catalog shows and DNS does not, as where DNS' own token may not read it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf

from consul_redis_agent.consul.unread import told
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import ConsulError, LocalError
from consul_redis_agent.node import NodeAgent
from consul_redis_agent.tell.shown import Shown, Shows

log = logging.getLogger(__name__)

LATE = 4.0
"""Seconds for which DNS may name nobody, as it does for some milliseconds with every change."""


class Unseen:
    """One Redis node's complaint of that, in ``said`` as long as it lasts.

    ``missing`` asks which rights DNS lacks; it raises ConsulError. It is asked once in each such time, beside everything.
    """

    def __init__(self, node: NodeAgent, shown: Shown, missing: Callable[[], Awaitable[list[str]]]) -> None:
        self.said = ""
        self._node, self._shown, self._missing = node, shown, missing
        self._since = inf
        """When DNS was first seen to name nobody, while the catalog shows the node."""
        self._asking: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Compare what the last look at the catalog and the last answer of DNS show."""
        address = self._held() if self._shown.shows is Shows.NONE else None
        if address is None:
            self.stop()
        elif self._since == inf:
            self._since = self._shown.at
        elif not self._asking and self._shown.at - self._since >= LATE:
            self._asking = asyncio.create_task(self._ask(address))

    def stop(self) -> None:
        """There is nothing to complain of, or nobody to complain."""
        self.said, self._since = "", inf
        if self._asking:
            self._asking.cancel()
            self._asking = None

    async def _ask(self, address: Address) -> None:
        try:
            rights = await self._missing()
        except (ConsulError, LocalError) as error:
            log.debug("what DNS may not read is not known: %s", error)
            rights = []
        self.said = "; ".join(told(address, rights))

    def _held(self) -> Address | None:
        """The node's own address, where the catalog shows it as the master with nothing beside it that hides it."""
        node = self._node
        for entry in node.lookout.entries():
            own = entry.node == node.writer.consul_node and entry.id == node.naming.master_id
            if (
                own
                and entry.visible
                and entry.says_master
                and not entry.hidden_by(only_passing=node.writer.only_passing)
            ):
                return entry.address
        return None
