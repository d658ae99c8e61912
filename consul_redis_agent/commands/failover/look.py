"""What ``failover`` looks at before it does anything. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from redis.exceptions import NoPermissionError

from consul_redis_agent import names
from consul_redis_agent.clock import clock
from consul_redis_agent.commands.failover.plan import Listed, NodeSaid, SentinelSaid, Situation
from consul_redis_agent.commands.lookup import DnsError, srv
from consul_redis_agent.commands.survey import Survey, look_at_node, survey
from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.consul.api import consul_api
from consul_redis_agent.consul.form import read_entry
from consul_redis_agent.decide.facts import Address, Entry, Node, whole
from consul_redis_agent.decide.fence import PAUSES
from consul_redis_agent.errors import ConsulError, LocalError, Unanswered
from consul_redis_agent.publish import fence
from consul_redis_agent.text import plain
from consul_redis_agent.watch import reply
from consul_redis_agent.watch.lookout import redis_link, sentinel_link
from consul_redis_agent.watch.redis_node import node, offset, parse_info, parse_version, refused
from consul_redis_agent.watch.sentinels import REPLICAS

COORDINATES = 9
"""The first major version of Valkey with ``SENTINEL FAILOVER … COORDINATED``."""
NAME_LIMIT = 1.0
"""Seconds for looking up the host names that Sentinel uses."""
NUMBER_LIMIT = 2**63 - 1


async def look(config: Config, redis: RedisConfig, name: str) -> Situation:
    """Look at all Sentinels, the Redis nodes that they list, Consul and DNS (``name``). Never raises a RemoteError.

    The login of the Redis nodes is given to the configured one, and to those that a majority of Sentinels lists.
    """
    own: Node | None = None
    with suppress(Unanswered):
        own = await look_at_node(redis_link(redis))
    found = await survey(config, redis, [redis_link(redis)] if own else [], own)
    listed = members(found)
    sentinels, nodes, dns, entries, places, rights = await asyncio.gather(
        asyncio.gather(*(_sentinel(config, found, s.address) for s in found.sentinels if not s.error)),
        asyncio.gather(*(_node(redis, address) for address in listed)),
        _dns(config, name),
        _entries(config, redis),
        _places([*listed, *(s.address for s in found.sentinels)]),
        _rights(redis, found.master),
    )
    missing, unlike, no_masterauth = rights
    aliases = {Address(places[a.host], a.port): a for a in listed if a.host in places}
    if not isinstance(entries, str):
        runs = {run_id: a for s in found.voters for a, run_id in s.run_ids.items() if a in listed}
        aliases |= {e.address: runs[e.run_id] for e in entries if e.run_id in runs and e.address not in listed}
    return Situation(
        found=found,
        mode=config.sentinel.mode,
        user=redis.username or "default",
        sentinel_user=config.sentinel.username or "default",
        sentinels=dict(sentinels),
        nodes=dict(zip(listed, nodes, strict=True)),
        name=name,
        dns=dns,
        entries=entries,
        aliases=aliases,
        places=places,
        missing=missing,
        unlike=unlike,
        no_masterauth=no_masterauth,
    )


def members(found: Survey) -> tuple[Address, ...]:
    """The nodes of the group: the master that a majority names, and what a majority lists."""
    voices = [address for s in found.voters for address in s.run_ids]
    listed = {address for address in voices if voices.count(address) >= found.need}
    return tuple(sorted({found.master, *listed} - {None})) if found.master else ()


async def _sentinel(config: Config, found: Survey, address: Address) -> tuple[Address, SentinelSaid]:
    link = sentinel_link(config.sentinel, address, login=address in found.checked)
    name, user = found.master_name, config.sentinel.username or "default"
    try:
        quorum, master, replicas, info, may = await link.ask(
            ("SENTINEL", "CKQUORUM", name),
            ("SENTINEL", "MASTER", name),
            ("SENTINEL", "REPLICAS", name),
            ("INFO", "server"),
            ("ACL", "DRYRUN", user, "SENTINEL", "FAILOVER", name),
        )
        return address, read_sentinel(quorum, master, replicas, info, may)
    except Unanswered:
        return address, SentinelSaid()
    finally:
        await link.close()


def read_sentinel(quorum: object, master: object, replicas: object, info: object, may: object) -> SentinelSaid:
    """Read its answers. Raises Unanswered where one is of another type than the protocol has."""
    fields = reply.pairs(master, "SENTINEL MASTER")
    said = "" if isinstance(quorum, NoPermissionError) else plain(str(quorum))
    return SentinelSaid(
        quorum=said,
        reported=whole(fields.get("role-reported-time", ""), NUMBER_LIMIT),
        timeout=whole(fields.get("failover-timeout", ""), NUMBER_LIMIT) or 0,
        refuses="" if isinstance(may, Exception) or may == "OK" else plain(str(may)),
        coordinates=_coordinates(info),
        replicas=tuple(_listed(reply.each(replicas, "SENTINEL REPLICAS", REPLICAS))),
    )


def _listed(replicas: Iterable[Mapping[str, str]]) -> Iterable[Listed]:
    for one in replicas:
        address = reply.address(one.get("ip", ""), one.get("port", ""), "a replica")
        if address:
            yield Listed(
                address,
                reply.word(one.get("runid", ""), "runid of a replica"),
                frozenset(one.get("flags", "").split(",")),
                one.get("master-link-status") == "ok",
                whole(one.get("slave-priority", ""), NUMBER_LIMIT) or 0,
                whole(one.get("slave-repl-offset", ""), NUMBER_LIMIT) or 0,
                whole(one.get("last-ok-ping-reply", ""), NUMBER_LIMIT) or 0,
            )


def _coordinates(info: object) -> bool:
    with suppress(Unanswered):
        return parse_version(parse_info(info), "valkey_version")[:1] >= (COORDINATES,)
    return False


async def _node(redis: RedisConfig, address: Address) -> NodeSaid:
    anybody, link = redis_link(redis, address, login=False), redis_link(redis, address)
    is_open = False
    with suppress(Unanswered):
        (pong,) = await anybody.ask(("PING",))
        is_open = not isinstance(pong, Exception)
    await anybody.close()
    began = clock()
    try:
        (answer,) = await link.ask(("INFO",))
        if isinstance(answer, Exception):
            raise refused(answer)
        info = parse_info(answer)
        seen = node(info, began)
    except Unanswered as error:
        return NodeSaid(error=str(error))
    finally:
        await link.close()
    return NodeSaid(
        node=seen,
        offset=offset(info),
        program=plain(f"Valkey {v}" if (v := info.get("valkey_version")) else f"Redis {info.get('redis_version')}", 40),
        version=parse_version(info),
        coordinates=_coordinates(answer),
        open=is_open,
    )


async def _rights(redis: RedisConfig, master: Address | None) -> tuple[tuple[str, ...], str, bool]:
    """The rights that are missing on the master, what else it says to the rehearsal, and whether it has no masterauth."""
    if master is None:
        return (), "", False
    link = redis_link(redis, master)
    try:
        info, auth = await link.ask(("INFO", "server"), ("CONFIG", "GET", "masterauth"))
        version = parse_version(parse_info(info)) if isinstance(info, str) else ()
        tried = await fence.rehearse(link, pauses=version >= PAUSES)
    except Unanswered as error:
        return (), str(error), False
    finally:
        await link.close()
    secured = redis.password is not None or redis.password_file is not None
    unlike = plain(str(tried.refusals[0])) if tried.refusals else ""
    return tried.missing, unlike, secured and isinstance(auth, list) and auth[1:] == [""]


async def _dns(config: Config, name: str) -> frozenset[Address] | str:
    try:
        return frozenset(answer.address for answer in await srv(name, config.consul.dns))
    except DnsError as error:
        return str(error)


async def _entries(config: Config, redis: RedisConfig) -> tuple[Entry, ...] | str:
    try:
        api = consul_api(config.consul)
    except LocalError as error:
        return str(error)
    try:
        services = dict.fromkeys(service for service in (redis.service, redis.replica) if service)
        answers = [await api.health(service, consistency="consistent") for service in services]
        return tuple(read_entry(one) for _, answer in answers for one in answer)
    except ConsulError as error:
        return str(error)
    finally:
        await api.close()


async def _places(addresses: Iterable[Address]) -> Mapping[str, str]:
    """Where the hosts are that Sentinel calls by a name; those that nobody knows are left out."""
    found: dict[str, str] = {}
    for host in {address.host for address in addresses}:
        with suppress(OSError, UnicodeError):
            (_, place), *_ = await names.addresses(host, 0, NAME_LIMIT)
            if place[0] != host:
                found[host] = str(place[0])
    return found
