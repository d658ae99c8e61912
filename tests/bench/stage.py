"""The fleet that failovers are measured on: three hosts with all that a host has, all publishers, and a witness."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from consul_redis_agent.decide.facts import Address
from tests.chaos.arena import HASTE, USUAL, in_tilt, made_to_follow
from tests.chaos.ear import Ear
from tests.fleet import SCALE, Fleet, RedisNode, Witness, may_build_networks, until

from .publishers import PUBLISHERS, Publisher

FAILOVER_TIMEOUT = 5000
"""Milliseconds of Sentinel's failover-timeout."""
DOWN_AFTER = 1000
"""And of its down-after, where nothing else is said."""
LOOK = 0.05
"""Seconds between two looks of the launcher while it waits: it must not disturb what is measured."""
PATIENCE = 30.0
"""Seconds until a publisher that does not name the master is held for one that never will."""
CALM = (0.5, 5.5)
"""Seconds in which nothing happens before a fault: a random time between these, or every fault would meet the check of
every 5 s at the same phase, since it is what the round before ended with."""
EVERY_ROLE = 0.002
"""Seconds between two looks at a node's ROLE; a promotion by Sentinel, which closes connections, is seen at once."""


class Stage:
    """Isolated hosts where that may be done, else everything on loopback with one Consul for all."""

    def __init__(self, publishers: Sequence[Publisher] = PUBLISHERS, *, down_after: int = DOWN_AFTER) -> None:
        self.publishers = publishers
        self._down_after = down_after
        self.isolated = may_build_networks()
        self.fleet = Fleet(isolated=self.isolated)
        self.ear: Ear | None = None
        try:
            self._build()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise

    def _build(self) -> None:
        self.fleet.populate(
            down_after=self._down_after,
            failover_timeout=FAILOVER_TIMEOUT,
            settings={"sentinel deny-scripts-reconfig": "no"},
            consul_extra={"enable_script_checks": True},
        )
        for publisher in self.publishers:
            for node in self.fleet.nodes:
                publisher.install(self.fleet, node, publisher.service)
        first, *others = self.publishers
        self.witness: Witness = self.fleet.witness(
            service=first.service,
            every=first.every,
            every_role=EVERY_ROLE,
            also={other.service: other.every for other in others},
        )
        self.ear = Ear(self.fleet.sentinels)
        self.until(lambda: not self.lagging(self.nodes[0]), "every publisher names the master")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ear is not None:
            self.ear.close()
        self.fleet.__exit__(kind, error, trace)

    @property
    def nodes(self) -> list[RedisNode]:
        """The Redis nodes."""
        return self.fleet.nodes

    def name_of(self, address: Address) -> str:
        """The name of the node that is known by an address."""
        return next((node.name for node in self.nodes if node.announced == address), str(address))

    def role(self, node: RedisNode) -> str | None:
        """What the witness saw last of a node."""
        return self.witness.roles(node)[-1][1]

    # Waiting for what follows

    def until(self, condition: Callable[[], object], what: str, *, within: float = PATIENCE) -> None:
        """Wait for an event outside, without disturbing. Raises NotInTime."""
        until(lambda: bool(condition()), within=within, what=what, every=LOOK)

    def promotion(self, old: RedisNode, *, since: float) -> tuple[float, RedisNode]:
        """Wait for another node's ROLE to say master: when it first did, and which. Raises NotInTime."""
        others = [node for node in self.nodes if node is not old]

        def promoted() -> bool:
            return any(self.witness.promoted_at(node, since=since) for node in others)

        self.until(promoted, "Sentinel promotes another node")
        times = [(self.witness.promoted_at(node, since=since), node) for node in others]
        return min(((at, node) for at, node in times if at is not None), key=lambda pair: pair[0])

    def lagging(self, master: RedisNode) -> list[Publisher]:
        """The publishers that DNS does not name exactly the master for."""
        wanted = frozenset({master.announced})
        return [p for p in self.publishers if self.witness.history_of(p.service)[-1].answers != wanted]

    def settle(self, master: RedisNode, *, within: float = PATIENCE) -> float:
        """Wait until every publisher names exactly the master, or none more will; returns when."""
        deadline = time.monotonic() + within * SCALE
        while self.lagging(master) and time.monotonic() < deadline:
            time.sleep(LOOK)
        self.witness.watch(LOOK)
        return self.witness.up_to

    def rest(self) -> RedisNode:
        """Bring everything back to three well hosts that agree, publishers included; returns the master.

        Raises NotInTime, but not for a publisher that does not settle.
        """
        for process in self.fleet.processes:
            process.wait_ready(within=20)
        self._pace(HASTE)
        while (master := self.fleet.wait_for_master(within=PATIENCE)) is not self._agreed(master):
            pass  # a failover was still going on
        self._pace(USUAL)
        for agent in self.fleet.agents:
            self.until(partial(agent.is_settled, len(self.fleet.sentinels)), f"{agent.name} reaches everybody")
        self.settle(master)
        self.witness.watch(random.uniform(*CALM))
        return master

    def _agreed(self, master: RedisNode) -> RedisNode | None:
        """Wait until every other node follows this master and the Sentinels know it; returns whom they name then."""
        for node in self.nodes:
            if node is not master:
                self.until(partial(made_to_follow, node, master), f"{node.name} follows {master.name}")
        self.fleet.wait_for_replicas(within=PATIENCE)
        self.fleet.settle(within=PATIENCE)
        self.until(lambda: not any(map(in_tilt, self.fleet.sentinels)), "no Sentinel is in TILT")
        return self.fleet.master()

    def _pace(self, periods: Sequence[str]) -> None:
        """Set the periods of every Sentinel: shorter ones to recover, the usual ones for all that is measured."""
        for sentinel in self.fleet.sentinels:
            sentinel.ask("SENTINEL", "DEBUG", *periods)
