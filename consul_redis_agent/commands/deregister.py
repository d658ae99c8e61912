"""``deregister``: takes this host's entries out of Consul, and on request those of hosts that are gone."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from consul_redis_agent import state
from consul_redis_agent.agent import address_towards
from consul_redis_agent.commands import load_config, socket_path
from consul_redis_agent.commands.screen import say
from consul_redis_agent.commands.status import ask
from consul_redis_agent.config import Config
from consul_redis_agent.consul.api import ConsulAPI, consul_api
from consul_redis_agent.consul.form import MARKER, NODE, Json, Transact, is_own, read_entry, read_local, transactions
from consul_redis_agent.decide.facts import Entry
from consul_redis_agent.errors import ConsulUnknown, LocalError
from consul_redis_agent.node import naming
from consul_redis_agent.publish.entries import Naming
from consul_redis_agent.publish.writer import Writer
from consul_redis_agent.watch.lookout import where


def main(args: argparse.Namespace) -> int:
    """Remove them, unless a running agent would put them back."""
    config = load_config(args)
    beside = "" if args.force else _agent_beside(config, args)
    if beside and not args.dead:
        raise LocalError(
            f"{beside} and would put the entries back: stop it first, or use --force; to take a node out of DNS for a while, "
            f"use consul maint"
        )
    names = asyncio.run(_remove(config, own=not beside, dead=args.dead))
    if beside:
        say(f"left alone this host's entries: {beside}")
    else:
        _forget(names)
    return 0


def _agent_beside(config: Config, args: argparse.Namespace) -> str:
    """Which running agent looks after the same Redis nodes; empty if there is none."""
    try:
        snapshot = ask(socket_path(args))
    except LocalError:
        return ""  # no agent, or none that is well enough to register anything
    ours = {str(where(redis)) for redis in config.redis}
    handled = sorted(ours & {node["node"] for node in snapshot["nodes"]})
    return f"the running agent (pid {snapshot['pid']}) looks after {', '.join(handled)}" if handled else ""


async def _remove(config: Config, *, own: bool, dead: bool) -> list[Naming]:
    """Returns how the nodes' entries are named."""
    api = consul_api(config.consul)
    try:
        names = await _namings(config)
        if own:
            await _remove_own(api, names)
        if dead:
            await _remove_dead(api, services_of(names))
        return names
    finally:
        await api.close()


async def _namings(config: Config) -> list[Naming]:
    """How the nodes' entries are named. Raises LocalError."""
    try:
        seen_from = await address_towards(config.consul.url, config.consul.timeout)
    except OSError as error:
        raise LocalError(
            f"Consul at {config.consul.url} cannot be found: {error.strerror}; correct consul.url"
        ) from None
    kept = state.kept_id(state.on_this_host(os.environ))
    return [naming(config, redis, seen_from, kept) for redis in config.redis]


def services_of(names: Iterable[Naming]) -> tuple[str, ...]:
    """The service names under which these nodes are published."""
    return tuple(dict.fromkeys(name for n in names for name in (n.service, n.replica) if name))


async def _remove_own(api: ConsulAPI, names: list[Naming]) -> None:
    """First what the own Consul agent holds, under whatever name; then what is in the catalog alone."""
    writer = Writer(api, names[0], ())
    await writer.find_consul_node()
    services = await api.services()
    nodes = {n.node for n in names}
    mine = [s for s in services.values() if any(is_own(meta(s), node) for node in nodes)]
    removed = set()
    for service in mine:
        try:
            await api.deregister(service["ID"])
        except ConsulUnknown:
            continue  # somebody else was quicker
        removed.add(service["ID"])
        say(f"removed {service['ID']}: {service['Service']} at {read_local(service, {}).address}")
    asked = dict.fromkeys((*services_of(names), *(str(s["Service"]) for s in mine)))
    for entry in await _catalog(api, asked):
        if (
            entry.node == writer.consul_node
            and any(is_own(entry.meta, node) for node in nodes)
            and entry.id not in removed
        ):
            await _delete(api, [entry])
            removed.add(entry.id)
            say(f"removed {entry.id}: {entry.name} at {entry.address}, which the catalog alone still held")
    if not removed:
        others = sorted({meta(s).get(NODE, "?") for s in services.values() if MARKER in meta(s)} - nodes)
        left = f"; left alone those of {', '.join(others)}" if others else ""
        say(f"nothing to remove: this Consul agent holds no entry of {', '.join(sorted(nodes))}{left}")


async def _remove_dead(api: ConsulAPI, services: tuple[str, ...]) -> None:
    dead = dead_entries(await _catalog(api, services))
    await _delete(api, dead)
    for entry in dead:
        say(
            f"removed {entry.id} on {entry.node}: {entry.name} at {entry.address}; Consul holds {entry.node} for dead, and if "
            f"it comes back, its agent puts its own entry back"
        )
    if not dead:
        named = " or ".join(map(repr, services))
        say(f"nothing to remove of hosts that are gone: no entry under {named} is on a node that Consul holds for dead")


async def _catalog(api: ConsulAPI, services: Iterable[str]) -> list[Entry]:
    """Everything under these names, as the servers hold it in this moment."""
    answers = [await api.health(service, consistency="consistent") for service in services]
    return [read_entry(instance) for _, instances in answers for instance in instances]


async def _delete(api: ConsulAPI, entries: Iterable[Entry]) -> None:
    for operations in deletions(entries):
        await api.txn(operations)


def dead_entries(entries: Iterable[Entry]) -> list[Entry]:
    """Those that this tool made on Consul nodes that gossip holds for dead, whichever group's."""
    return [e for e in entries if e.marked and not e.node_alive]


def deletions(entries: Iterable[Entry]) -> Iterator[list[Json]]:
    """The transactions that take entries out of the catalog, whichever Consul node they are on."""
    return transactions(Transact(None, remove=tuple(entries)), "")


def _forget(names: Iterable[Naming]) -> None:
    """Keep nothing of a group that this host has left."""
    directory = state.on_this_host(os.environ)
    for name in names:
        try:
            state.forget(directory, name.kept_as)
        except LocalError as error:
            raise LocalError(
                f"the entries are removed, but what the agent has kept of the group is not ({error}): an agent that starts "
                f"here is of the same group again; run this as the agent's user, or remove {name.kept_as}.json there"
            ) from None


def meta(service: Mapping[str, Any]) -> Mapping[str, str]:
    """A service's Meta, which Consul may leave out."""
    return service.get("Meta") or {}
