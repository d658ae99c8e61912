"""``resolve``: what applications get from DNS, held against Sentinel and the node itself."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NoReturn

from consul_redis_agent import names
from consul_redis_agent.clock import cancelling
from consul_redis_agent.commands import load_config
from consul_redis_agent.commands.domain import with_domain
from consul_redis_agent.commands.lookup import Answer, DnsError, srv
from consul_redis_agent.commands.screen import Level, is_terminal, say
from consul_redis_agent.commands.silence import why_silent
from consul_redis_agent.commands.survey import Survey, look_at_node, survey
from consul_redis_agent.commands.truth import Judgement, Looks, describe, judge
from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.consul.api import consul_api
from consul_redis_agent.consul.domain import name_of, within
from consul_redis_agent.decide.facts import Address, Node
from consul_redis_agent.decide.identity import is_ip, is_loopback
from consul_redis_agent.errors import ConsulError, LocalError, Unanswered
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.lookout import redis_link, where
from consul_redis_agent.watch.redis_node import is_of_group

WATCH_PERIOD = 0.02
"""Seconds between two questions of ``--watch``; Consul needs some 4 ms to change its answer."""
NAME_LIMIT = 1.0
"""Seconds for looking up the host names that Sentinel uses."""
WATCH_TIMEOUT = 0.5
"""Seconds until ``--watch`` takes a question for unanswered."""


def main(args: argparse.Namespace) -> int:
    """Ask once and judge, or watch until interrupted. Exit code 0 only for the one true master."""
    config = asyncio.run(with_domain(load_config(args)))
    redis, name = question(config, args.name)
    if args.watch:
        asyncio.run(_watch(name, config.consul.dns))
    return asyncio.run(_once(config, redis, name))


async def judge_answers(
    config: Config, redis: RedisConfig, answers: tuple[Answer, ...], known: Survey | None = None
) -> tuple[Judgement, Looks, Survey]:
    """Ask each node that DNS names, and, unless that is ``known``, the Sentinels that are configured or speak on a node.

    DNS can name anybody: an address of it is given the login only if it is configured here, or if Sentinels list it that are
    configured or were heard of on the own node. Others are asked without, and so are the Sentinels that speak there.
    """
    addresses = sorted({answer.address for answer in answers})
    strangers = Survey()
    if known is None or not known.sentinels:
        if known is None:
            known = await _survey_own(config, redis, addresses)
        if not (known.sentinels or config.sentinel.hosts or config.sentinel.secured):
            strangers = await survey(config, redis, [redis_link(redis, a, login=False) for a in addresses])
    checked = {a for a in addresses if is_of_group(a, known.sentinels)} | {*_configured(config)}
    checked |= await _places(a for s in known.sentinels for a in s.run_ids)
    links = [redis_link(redis, address, login=address in checked) for address in addresses]
    looks = dict(zip(addresses, await asyncio.gather(*map(_look, links)), strict=True))
    found = known if known.sentinels else strangers
    told = any(is_loopback(address.host) for address in addresses)
    consul_address = await _consul_address(config) if told else ""
    return judge(answers, looks, found, config.sentinel.mode, consul_address), looks, found


async def _places(listed: Iterable[Address]) -> set[Address]:
    """Where the nodes are that Sentinels list by name, as this host resolves names: they may have the login there, too."""
    hosts = {address for address in listed if not is_ip(address.host)}
    found = await asyncio.gather(*(names.addresses(*a, NAME_LIMIT) for a in hosts), return_exceptions=True)
    return {Address(place[0], place[1]) for one in found if not isinstance(one, BaseException) for _, place in one}


async def _consul_address(config: Config) -> str:
    """Where others know the own Consul agent; "" where that may not be asked."""
    try:
        api = consul_api(config.consul)
    except LocalError:
        return ""
    try:
        return str(((await api.agent_self()).get("Member") or {}).get("Addr") or "")
    except ConsulError:
        return ""
    finally:
        await api.close()


async def _survey_own(config: Config, redis: RedisConfig, addresses: Iterable[Address]) -> Survey:
    own = await _look(redis_link(redis))
    return await survey(config, redis, [redis_link(redis)], own if isinstance(own, Node) else None, addresses)


def _configured(config: Config) -> Iterator[Address]:
    for redis in config.redis:
        yield from (address for address in (where(redis), redis.announce) if isinstance(address, Address))


async def _look(link: Link) -> Node | str:
    try:
        return await look_at_node(link)
    except Unanswered as error:
        return str(error)


def question(config: Config, given: str | None) -> tuple[RedisConfig, str]:
    """The name to ask for, and the node whose login is used: the one that is published under it, else the first."""
    if given and "." not in given:
        given = within(config, given)
    for redis in config.redis:
        if given in (None, name_of(config, redis)):
            return redis, name_of(config, redis)
    return config.redis[0], given or ""


async def _once(config: Config, redis: RedisConfig, name: str) -> int:
    say(f"name      {name}")
    try:
        answers = await srv(name, config.consul.dns)
    except DnsError as error:
        say(f"{Level.FAIL}      {error}")
        return 1
    for a in answers:
        by = " (of this host's resolver; Consul's DNS has none)" if a.host and a.elsewhere else ""
        say(f"answer    SRV {a.target} port {a.port}, address {a.host or 'unknown'}{by}, TTL {a.ttl} s")
    judgement, looks, found = await judge_answers(config, redis, answers)
    silence = await why_silent(config, redis.service) if not answers and name == name_of(config, redis) else None
    for address, node in looks.items():
        say(f"node      {address} {describe(node)}")
    for line in _votes(found):
        say(f"sentinel  {line}")
    if judgement.warning:
        say(f"{Level.WARN:<9} {judgement.warning}")
    say(f"{Level.OK if judgement.true else Level.FAIL:<9} {judgement.sentence}")
    if silence:
        say(f"{'because':<9} {'; '.join(silence)}")
    return 0 if judgement.true else 1


def _votes(found: Survey) -> list[str]:
    lines = []
    for master in dict.fromkeys(s.master for s in found.voters):
        votes = [s for s in found.voters if s.master == master]
        lines.append(f"{len(votes)} of {found.known} name {master} as {found.master_name!r} at epoch {votes[0].epoch}")
    silent = [s for s in found.sentinels if s not in found.voters]
    if found.left_out:
        lines.append(f"{found.left_out} more that Sentinels list were not asked")
    return lines + [f"{s.address} has no vote: {s.error or ('TILT' if s.tilt else f'epoch {s.epoch}')}" for s in silent]


async def _watch(name: str, server: Address) -> NoReturn:
    """Ask without pause; one line each time the answer is another one."""
    former, since = "", time.monotonic()
    while True:
        asked = time.monotonic()
        try:
            answers = await srv(name, server, WATCH_TIMEOUT)
            now = ",".join(dict.fromkeys(str(answer.address) for answer in answers)) or "none"
        except DnsError:
            now = "unanswered"
        if cancelling():
            raise asyncio.CancelledError  # Ctrl-C: on Python 3.11, what dnspython awaits may swallow it
        if now != former:
            seen = time.monotonic()
            line = change(datetime.now().astimezone(), now, former, seen - since, for_eyes=is_terminal())
            say(*line.split("\t"))
            former, since = now, seen
        await asyncio.sleep(max(0.0, WATCH_PERIOD - (time.monotonic() - asked)))


def change(at: datetime, now: str, former: str, held: float, *, for_eyes: bool) -> str:
    """One line of ``--watch``. ``held``: seconds that the former answer was there; of no meaning for the first."""
    if for_eyes:
        before = f"   after {former} for {held:.3f} s" if former else ""
        return f"{at:%H:%M:%S}.{at.microsecond // 1000:03}  {now}{before}"
    return "\t".join((at.isoformat(timespec="milliseconds"), now, former, f"{held:.3f}" if former else ""))
