"""The facts for the rules: what is asked of a Redis node and of the Sentinels. Nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from consul_redis_agent.clock import clock
from consul_redis_agent.commands.check_redis import RedisView
from consul_redis_agent.commands.doctor.redis import NAMES, RedisFacts
from consul_redis_agent.commands.doctor.sentinel import DOWN_AFTER, GroupFacts, Watching
from consul_redis_agent.commands.doctor.shell import redis_cli
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.decide.facts import Sentinel, whole
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch import reply
from consul_redis_agent.watch.lookout import redis_link, sentinel_link, where
from consul_redis_agent.watch.redis_node import parse_info

SPAN = 1.0
"""Seconds over which the rate of writes is measured at least."""
OFFSET = "master_repl_offset"
MOST_REPLICAS = 64
"""So many of a group are looked at."""
MOST = 2**63


async def look_at_group(config: Config, found: Survey) -> GroupFacts:
    """What each Sentinel in reach is set to for this group. Never raises."""
    asked = await asyncio.gather(*(_watching(config, s, found) for s in found.sentinels if not s.error))
    return GroupFacts(
        found.master_name,
        tuple(one for one in asked if one),
        found.known,
        found.need,
        tuple(s.address for s in found.sentinels),
        found.master,
        config.service.ttl,
        tls=config.sentinel.tls is not None,
    )


async def _watching(config: Config, sentinel: Sentinel, found: Survey) -> Watching | None:
    link = sentinel_link(config.sentinel, sentinel.address, login=sentinel.address in found.checked)
    name = found.master_name
    try:
        master, replicas = await link.ask(("SENTINEL", "MASTER", name), ("SENTINEL", "REPLICAS", name))
        if isinstance(master, Exception):
            return None
        listed = None if isinstance(replicas, Exception) else reply.each(replicas, "SENTINEL REPLICAS", MOST_REPLICAS)
        return Watching(
            sentinel.address, reply.pairs(master, "SENTINEL MASTER"), None if listed is None else tuple(listed)
        )
    except Unanswered:
        return None  # what is wrong with it is said where its vote is told
    finally:
        await link.close()


async def look_at_node(
    config: Config, redis: RedisConfig, view: RedisView, found: Survey, group: GroupFacts
) -> RedisFacts | None:
    """What the node is set to, and how much is written to it; None where it is not reached. Never raises.

    It takes a second since the node was first asked.
    """
    if view.node is None:
        return None
    others = max(len(s.run_ids) - 1 for s in found.sentinels) if found.sentinels else 0
    down_after = group.most(DOWN_AFTER)
    settings, rate = None, None
    link = redis_link(redis)
    try:
        settings = _settings(await link.ask(*(("CONFIG", "GET", name) for name in NAMES)))
        await asyncio.sleep(max(0.0, view.node.at + SPAN - clock()))
        (later,) = await link.ask(("INFO",))
        rate = _rate(view, later, clock() - view.node.at)
    except Unanswered:
        pass  # it has just answered; what is not known is not judged
    finally:
        await link.close()
    return RedisFacts(
        str(where(redis)),
        redis_cli(redis, valkey="valkey_version" in view.info),
        view.node.role,
        max(others, whole(view.info.get("connected_slaves", ""), MOST) or 0),
        view.info,
        settings,
        rate,
        on_empty=config.failover.on_empty == "ask",
        down_after=None if down_after is None else down_after / 1000,
    )


def _settings(answers: Iterable[object]) -> dict[str, str] | None:
    """By name; an older server does not know every one. None where any may not be read."""
    found: dict[str, str] = {}
    for answer in answers:
        if isinstance(answer, Exception):
            return None
        found |= reply.pairs(answer, "CONFIG GET")
    return found


def _rate(view: RedisView, later: object, seconds: float) -> float | None:
    """Bytes that went to replicas, a second; None where that is not told or began anew."""
    if isinstance(later, Exception):
        return None
    offsets = [whole(info.get(OFFSET, ""), MOST) for info in (view.info, parse_info(later))]
    match offsets:
        case [int(first), int(second)] if second >= first and seconds > 0:
            return (second - first) / seconds
    return None
