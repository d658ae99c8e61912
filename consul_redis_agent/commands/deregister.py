"""``deregister``: takes this host's entries out of Consul."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from typing import Any

from consul_redis_agent.commands import load_config, socket_path
from consul_redis_agent.commands.screen import say
from consul_redis_agent.commands.status import ask
from consul_redis_agent.config import Config
from consul_redis_agent.consul.api import ConsulAPI, TokenSource
from consul_redis_agent.decide.claim import MARKER, NODE
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import ConsulUnknown, LocalError
from consul_redis_agent.watch.lookout import where


def main(args: argparse.Namespace) -> int:
    """Remove them, unless a running agent would put them back."""
    config = load_config(args)
    if not args.force:
        _refuse_beside_an_agent(config, args)
    asyncio.run(_remove(config))
    return 0


def _refuse_beside_an_agent(config: Config, args: argparse.Namespace) -> None:
    try:
        snapshot = ask(socket_path(args))
    except LocalError:
        return  # no agent, or none that is well enough to register anything
    ours = {str(where(redis)) for redis in config.redis}
    if handled := sorted(ours & {node["node"] for node in snapshot["nodes"]}):
        raise LocalError(
            f"the running agent (pid {snapshot['pid']}) looks after {', '.join(handled)} and would put the entries back: "
            f"stop it first, or use --force; to take a node out of DNS for a while, use consul maint"
        )


async def _remove(config: Config) -> None:
    api = ConsulAPI(config.consul.url, timeout=config.consul.timeout, token=TokenSource(config.consul))
    try:
        services = await api.services()
        urls = {redis.url for redis in config.redis}
        mine = [s for s in services.values() if MARKER in meta(s) and meta(s).get(NODE) in urls]
        for service in mine:
            try:
                await api.deregister(service["ID"])
            except ConsulUnknown:
                continue  # somebody else was quicker
            address = Address(service.get("Address") or "", service.get("Port") or 0)
            say(f"removed {service['ID']}: {service['Service']} at {address}")
        if not mine:
            others = sorted({meta(s).get(NODE, "?") for s in services.values() if MARKER in meta(s)})
            left = f"; left alone those of {', '.join(others)}" if others else ""
            say(f"nothing to remove: this Consul agent holds no entry of {', '.join(sorted(urls))}{left}")
    finally:
        await api.close()


def meta(service: Mapping[str, Any]) -> Mapping[str, str]:
    """A service's Meta, which Consul may leave out."""
    return service.get("Meta") or {}
