"""Whose the entries under the own names are, told as the agent of this host tells it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.decide.facts import Catalog, Entry, Facts, Node
from consul_redis_agent.decide.group import SETTLED, Told, told
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.decide.remember import remember
from consul_redis_agent.decide.sentinels import majority
from consul_redis_agent.publish.entries import Naming


@dataclass(frozen=True, slots=True)
class Belonging:
    """The entries that Consul holds under the names of one Redis node."""

    masters: Told
    """Those under the service name."""
    strange_replicas: tuple[Entry, ...]
    """Those of another group under the name of the replicas."""
    names: tuple[str, ...]
    """The master names under which the group is known."""


def belonging(
    entries: Iterable[Entry], naming: Naming, consul_node: str, found: Survey, node: Node | None, kept: Memory
) -> Belonging:
    """Sort them. ``consul_node`` is the own Consul node, ``kept`` what the agent has kept of the group.

    One look cannot tell for how long the Sentinels have listed these nodes, so what a majority of them lists now is taken
    for settled. Where fewer answer, whose some entries are stays untold.
    """
    every = tuple(entries)
    facts = Facts(
        now=0.0,
        node=node,
        sentinels=found.sentinels,
        watched=len(found.sentinels),
        catalog=_under(naming.service, every),
        own=(consul_node, naming.master_id),
        master_name=found.master_name,
    )
    memory = remember(facts, kept)
    if len(memory.roster) >= majority(len(memory.known)):
        facts = replace(facts, now=SETTLED)
        memory = remember(facts, memory)
    masters = told(facts, memory)
    replicas = told(replace(facts, catalog=_under(naming.replica, every)), memory)
    names = {e.master_name for e in masters.ours} | {found.master_name}
    return Belonging(masters, replicas.strangers, tuple(sorted(names - {""})))


def _under(name: str, entries: Iterable[Entry]) -> Catalog:
    return Catalog(0.0, 0, tuple(e for e in entries if name and e.name == name))
