"""What ``check`` asks where the agent is to ask Sentinel for a failover: would it, and would Sentinel do it?"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from redis.exceptions import NoPermissionError

from consul_redis_agent.commands.check_redis import RedisView
from consul_redis_agent.commands.doctor.shell import sentinel_cli, sentinel_set
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.decide.facts import Address, Sentinel, whole
from consul_redis_agent.decide.fence import SHORTEST
from consul_redis_agent.decide.identity import address_at_sentinel
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.text import plain
from consul_redis_agent.watch import reply
from consul_redis_agent.watch.lookout import sentinel_link, where

LEAST_DOWN_AFTER = round(SHORTEST * 1000)
"""Milliseconds; with less, an election could be under way at the same epoch."""
LONGEST_DOWN_AFTER = 2**63
NO_MASTER = "consul-redis-agent check"
"""A name that no master has, since Sentinel's have no spaces: a failover of it is refused, for want of the right or of the master."""
RIGHT = "+sentinel|failover"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one Sentinel answered."""

    sentinel: Sentinel
    down_after: int | None = None
    """Milliseconds; None: not told."""
    may: bool | None = None
    """Whether the login may ask for a failover; None: it cannot be known."""
    said: str = ""


async def failover_findings(config: Config, redis: RedisConfig, view: RedisView, found: Survey) -> list[Finding]:
    """Look at each Sentinel."""
    asks = [name for name in ("on_death", "on_empty") if getattr(config.failover, name) == "ask"]
    findings: list[Finding] = []
    if asks:
        reached = [s for s in found.sentinels if not s.error]
        answers = await asyncio.gather(*(_ask(config, s, found) for s in reached))
        findings = [finding for answer in answers for finding in _one(config, found, answer)]
        findings += _together(redis, view, found, asks, answers)
    return findings


async def _ask(config: Config, sentinel: Sentinel, found: Survey) -> _Answer:
    link = sentinel_link(config.sentinel, sentinel.address, login=sentinel.address in found.checked)
    try:
        master, asked = await link.ask(("SENTINEL", "MASTER", found.master_name), ("SENTINEL", "FAILOVER", NO_MASTER))
        fields = {} if isinstance(master, Exception) else reply.pairs(master, "SENTINEL MASTER")
    except Unanswered as error:
        return _Answer(sentinel, said=str(error))
    finally:
        await link.close()
    said = plain(str(asked))
    may = False if isinstance(asked, NoPermissionError) else True if "No such master" in said else None
    return _Answer(sentinel, whole(fields.get("down-after-milliseconds", ""), LONGEST_DOWN_AFTER), may, said)


def _one(config: Config, found: Survey, answer: _Answer) -> Iterator[Finding]:
    address, topic = answer.sentinel.address, f"sentinel {answer.sentinel.address}"
    if answer.may is False:
        mend = f"redis-cli -p {address.port} ACL SETUSER {config.sentinel.username or 'default'} {shlex.quote(RIGHT)}"
        yield Finding(Level.FAIL, topic, "the login may not ask it for a failover", mend, id="failover.right")
    elif answer.may is None:
        yield Finding(
            Level.WARN,
            topic,
            f"whether it may be asked for a failover is not known: {answer.said}",
            id="failover.right_unknown",
        )
    if answer.down_after is not None and answer.down_after < LEAST_DOWN_AFTER:
        what = f"down-after-milliseconds of {found.master_name!r} is {answer.down_after}: below {LEAST_DOWN_AFTER} no failover is asked for"
        cli = sentinel_cli(address, tls=config.sentinel.tls is not None)
        mend = sentinel_set(cli, found.master_name, "down-after-milliseconds", LEAST_DOWN_AFTER)
        yield Finding(Level.WARN, topic, what, mend, id="failover.down_after")


def _together(
    redis: RedisConfig, view: RedisView, found: Survey, asks: list[str], answers: list[_Answer]
) -> Iterator[Finding]:
    if view.node is None or not answers:
        return  # what is wrong is said elsewhere
    topic, place = f"failover {where(redis)}", where(redis)
    own = address_at_sentinel(view.node.run_id, found.sentinels) or redis.announce
    own = own or (place if isinstance(place, Address) else None)
    elsewhere = [a for a in answers if own is None or a.sentinel.address.host != own.host]
    usable = [a for a in elsewhere if a.may and (a.down_after or 0) >= LEAST_DOWN_AFTER]
    if not elsewhere:
        what = "every Sentinel in reach is on the node's own host, and none of those is asked for a failover"
        yield Finding(Level.WARN, topic, what, "run Sentinels on other hosts", id="failover.same_host")
    elif usable:
        many = f"{len(usable)} of {len(answers)} Sentinels in reach can be asked"
        yield Finding(Level.OK, topic, f"{' and '.join(asks)}: {many}", id="failover.ready")
