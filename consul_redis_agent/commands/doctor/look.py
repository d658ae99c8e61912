"""The facts for the rules: what is asked of a Redis node and of the Sentinels. Nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consul_redis_agent.clock import clock
from consul_redis_agent.commands.check_redis import RedisView
from consul_redis_agent.commands.doctor.redis import NAMES, RedisFacts
from consul_redis_agent.commands.doctor.sentinel import DOWN_AFTER, GroupFacts, Watching
from consul_redis_agent.commands.doctor.shell import redis_cli
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.decide.facts import Node, Sentinel, whole
from consul_redis_agent.decide.identity import address_at_sentinel
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch import reply
from consul_redis_agent.watch.lookout import redis_link, sentinel_link, where
from consul_redis_agent.watch.redis_node import parse_info, refused_logins

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
        ids=tuple((s.id, s.address) for s in found.sentinels),
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


@dataclass(frozen=True, slots=True)
class Measured:
    """What a Redis node showed within :data:`SPAN`, as :class:`RedisFacts` has it."""

    settings: Mapping[str, str] | None = None
    rate: float | None = None
    refused: int = 0


async def measure(redis: RedisConfig) -> Measured:
    """Look at a node for a second: what it is set to, how much is written, whom it refuses. Never raises."""
    settings = None
    link = redis_link(redis)
    try:
        first, *answers = await link.ask(("INFO",), *(("CONFIG", "GET", name) for name in NAMES))
        began, settings = clock(), _settings(answers)
        await asyncio.sleep(SPAN)
        (second,) = await link.ask(("INFO",))
        before, after = parse_info(first), parse_info(second)
        refused = max(0, refused_logins(after) - refused_logins(before))
        return Measured(settings, _rate(before, after, clock() - began), refused)
    except Unanswered:
        return Measured(settings)  # that it does not answer is said elsewhere; what is not known is not judged
    finally:
        await link.close()


def node_facts(
    config: Config, redis: RedisConfig, view: RedisView, found: Survey, group: GroupFacts, measured: Measured
) -> RedisFacts | None:
    """What was seen of a node and of its group, put together; None where the node was not reached."""
    if view.node is None:
        return None
    others = max((len(s.run_ids) - 1 for s in found.sentinels), default=0)
    down_after = group.most(DOWN_AFTER)
    return RedisFacts(
        str(where(redis)),
        redis_cli(redis, valkey="valkey_version" in view.info),
        view.node.role,
        max(others, whole(view.info.get("connected_slaves", ""), MOST) or 0),
        view.info,
        measured.settings,
        measured.rate,
        measured.refused,
        named=str(found.master) if found.master and not _is_named(view.node, found) else "",
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


def _is_named(node: Node, found: Survey) -> bool:
    at = address_at_sentinel(node.run_id, found.sentinels)
    return found.master_run_id in ("", node.run_id) or (at is not None and found.names(at, node.run_id))


def _rate(before: Mapping[str, str], after: Mapping[str, str], seconds: float) -> float | None:
    """Bytes that went to replicas, a second; None where that is not told or began anew."""
    offsets = [whole(info.get(OFFSET, ""), MOST) for info in (before, after)]
    match offsets:
        case [int(first), int(second)] if second >= first and seconds > 0:
            return (second - first) / seconds
    return None
