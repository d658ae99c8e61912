"""Redis nodes that swap their roles in order, with no connection closed: the ``FAILOVER`` command, and Sentinel's ``COORDINATED``. Pure.

Read in ``failoverCommand`` and ``proceedWithFailover`` of replication.c, and measured on Redis 6.2, 7.0 and Valkey 9.1: the
master lets writes wait, says ``master_failover_state``, and turns replica with the word ``failover-in-progress``; 1 to 3 ms later
its link is up, and the new master has forked its history (``master_replid2`` is the former ``master_replid``).
"""

from __future__ import annotations

from consul_redis_agent.decide.backing import Backed, Backing
from consul_redis_agent.decide.facts import Node, Role
from consul_redis_agent.decide.view import View

RELIEF = 2.0
"""Seconds for which a master that was relieved leaves its claim to be evicted by its successor's, in one step: the
successor's agent polls once a second where nothing announces the swap."""


def is_due(view: View) -> bool:
    """Whether the node may turn at any moment, and nothing but a look tells: it says so, or a coordinated failover concerns it."""
    node = view.node
    if node.hands_over:
        return True
    leaders = [s for s in view.fresh if s.coordinated]
    if node.role is Role.REPLICA:
        return any(s.selection and s.selection.run_id == node.run_id for s in leaders)
    return any(s.selection and s.selection.run_id != node.run_id and view.names_me(s) for s in leaders)


def is_disputed(view: View, backed: Backed | None) -> bool:
    """Whether the node was handed the part, but Consul was read since both were asked: both are asked again, at once."""
    rival, peer, catalog = view.newest, view.facts.peer, view.facts.catalog
    if backed is None or backed.by is not Backing.HANDED_OVER or view.own or not (rival and peer and catalog):
        return False
    return rival.claim.epoch <= backed.epoch and min(view.node.at, peer.at) <= catalog.at


def is_relieved(view: View) -> bool:
    """Whether the node handed the master's part over a moment ago, and its claim is still the newest: none is named but by that.

    Not one that the fence has turned: its successor has had its time to claim before that (rule 12).
    """
    node, own = view.facts.node, view.own
    if not isinstance(node, Node) or own is None or own.claim.early or view.newer_than(own.claim):
        return False
    fenced = 0 <= node.relieved - view.memory.fence.followed < RELIEF
    return not fenced and 0 <= view.now - node.relieved < RELIEF
