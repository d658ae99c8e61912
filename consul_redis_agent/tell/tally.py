"""What is counted of one Redis node for the metrics alone: early publications, and how long a promotion took to show."""

from __future__ import annotations

from math import inf

from consul_redis_agent.clock import clock
from consul_redis_agent.decide.decision import Verdict
from consul_redis_agent.decide.facts import Address, Facts, Node, Role
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.histogram import PROMOTION, Histogram
from consul_redis_agent.node import NodeAgent
from consul_redis_agent.publish.steps import Target


class Tally:
    """Fed after each decision, each write and each change of what DNS shows. Seconds, of the decisions' clock."""

    def __init__(self, node: NodeAgent) -> None:
        self.early = self.taken_back = 0
        """Publications on the elected leader's word alone, and those withdrawn before a majority followed."""
        self.to_consul, self.to_dns = Histogram(PROMOTION), Histogram(PROMOTION)
        """From a promotion that was seen until Consul holds the claim, and until DNS names the node and nobody else."""
        self.majority = -inf
        """When a majority of the known Sentinels was last seen to name one master."""
        self._node = node
        self._is_early = False
        self._written = self._shown = -inf
        """The promotions that were counted last."""
        self._named = False
        """Whether DNS names the node and nobody else."""

    def decided(self) -> None:
        """Take in the node's last decision."""
        if self._node.facts:
            self.majority = max(self.majority, majority(self._node.facts, self._node.memory))
        decision = self._node.decision
        if decision is None:
            return
        is_early = (
            decision.verdict is Verdict.MASTER and decision.claim is not None and decision.claim.early is not None
        )
        self.early += is_early and not self._is_early
        self.taken_back += self._is_early and decision.verdict is not Verdict.MASTER
        self._is_early = is_early

    def written(self, target: Target) -> None:
        """Consul holds a new target."""
        turned = self._turned()
        if target.claim and turned > self._written:
            self._written = turned
            self.to_consul.add(clock() - turned)
            if self._named:  # before it was written to the end; or all along, and then no question of time
                self._shown = turned

    def shown(self, masters: tuple[Address, ...] | None, at: float) -> None:
        """DNS answers differently since ``at``; None: not at all."""
        self._named = masters == (self._node.lookout.publish_at,)
        turned = self._turned()
        if self._named and turned > self._shown:
            self._shown = turned
            self.to_dns.add(at - turned)

    def _turned(self) -> float:
        seen = self._node.facts.node if self._node.facts else None
        return seen.turned if isinstance(seen, Node) and seen.role is Role.MASTER else -inf


def majority(facts: Facts, memory: Memory) -> float:
    """When a majority of the known Sentinels had said that they name one master; -inf where they do not."""
    votes: dict[Address | None, list[float]] = {}
    for sentinel in facts.sentinels:
        if sentinel.votes:
            votes.setdefault(sentinel.master, []).append(sentinel.at)
    needed = (len(memory.known) or facts.watched) // 2 + 1
    most = max(votes.values(), key=len, default=[])
    return sorted(most, reverse=True)[needed - 1] if len(most) >= needed else -inf
