"""What ``check`` asks of the Sentinels: are they reached, do they agree, would a failover find its quorum?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from redis.exceptions import NoPermissionError

from consul_redis_agent.commands.check_redis import explain_login
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import Config
from consul_redis_agent.decide.facts import Address, Sentinel
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.text import plain
from consul_redis_agent.watch.lookout import sentinel_link

RIGHTS = {"CKQUORUM": "+sentinel|ckquorum", "PSUBSCRIBE": "+psubscribe &*"}


async def sentinel_findings(config: Config, found: Survey, *, listened: bool) -> list[Finding]:
    """A line for each Sentinel, and one for all of them together. ``listened``: a Redis node was there to hear them."""
    mode = config.sentinel.mode
    if mode == "off":
        return [Finding(Level.OK, "sentinels", 'not asked: sentinel.mode is "off"')]
    if not found.sentinels and not listened:
        what = "not found: none is configured, and the Redis node on which they are heard is not reached"
        return [Finding(Level.FAIL, "sentinels", what, "mend Redis first, or set sentinel.hosts")]
    if not found.sentinels:
        what = "none was heard of on the Redis node, and none is configured"
        mend = "set sentinel.hosts, or start the Sentinels"
        if mode == "required":
            return [
                Finding(Level.FAIL, "sentinels", f'{what}; sentinel.mode is "required": nothing is published', mend)
            ]
        return [
            Finding(
                Level.WARN, "sentinels", f"{what}; without one, the first node that claims to be master stays", mend
            )
        ]
    probes = await asyncio.gather(*(_probe(config, s, found) for s in found.sentinels))
    user = config.sentinel.username or "default"
    each = [_one(s, found, user, missing) for s, (_, missing) in zip(found.sentinels, probes, strict=True)]
    quorums = [quorum for quorum, _ in probes if quorum]
    if config.sentinel.secured and not config.sentinel.hosts:
        what = "they get the Sentinels' password, though anybody who may PUBLISH on Redis can say hello as one"
        each.append(Finding(Level.WARN, "sentinels", what, "set sentinel.hosts"))
    others = _of_another_group(found, config.sentinel.hosts)
    return [*each, *others, *_left_out(found), *_together(found, quorums)]


def _left_out(found: Survey) -> Iterator[Finding]:
    if found.left_out:
        what = f"{found.left_out} more addresses that these list were not asked: a group has three to seven Sentinels"
        yield Finding(Level.WARN, "sentinels", what, "SENTINEL RESET on each forgets those that do not exist")


def _of_another_group(found: Survey, hosts: tuple[Address, ...]) -> Iterator[Finding]:
    """Those that are to be taken out; whom only one of these knows goes with it."""
    for other in [s for s in found.others if s.address in hosts] or found.others:
        what = f"watches other nodes under the name {found.master_name!r}, and is not counted"
        yield Finding(Level.FAIL, f"sentinel {other.address}", what, "take it out of sentinel.hosts")


async def _probe(config: Config, sentinel: Sentinel, found: Survey) -> tuple[str, list[str]]:
    """Its answer to CKQUORUM (empty: none), and the rights that the login lacks."""
    if sentinel.error:
        return "", []
    link = sentinel_link(config.sentinel, sentinel.address, login=sentinel.address in found.checked)
    try:
        (quorum,) = await link.ask(("SENTINEL", "CKQUORUM", found.master_name))
        (subscribed,) = await link.ask(("PSUBSCRIBE", "*"))
    except Unanswered:
        return "", []
    finally:
        await link.close()
    missing = [RIGHTS["PSUBSCRIBE"]] if isinstance(subscribed, NoPermissionError) else []
    if isinstance(quorum, NoPermissionError):
        return "", missing
    return plain(str(quorum)) if isinstance(quorum, str | Exception) else "no answer to CKQUORUM", missing


def _one(sentinel: Sentinel, found: Survey, user: str, missing: list[str]) -> Finding:
    topic = f"sentinel {sentinel.address}"
    if sentinel.error:
        monitored = found.masters.get(sentinel.address, {})
        if monitored and found.master_name not in monitored:
            what, names = "reached", ", ".join(sorted(monitored))
            what += (
                f", but does not monitor {found.master_name!r}" if found.master_name else ", and monitors several names"
            )
            return Finding(Level.FAIL, topic, f"{what}; it knows {names}", "set redis.master_name to the right one")
        if "refuses:" in sentinel.error:
            mend = f"redis-cli -p {sentinel.address.port} ACL SETUSER {user} +sentinel +info +ping +psubscribe &*"
            return Finding(Level.FAIL, topic, sentinel.error, mend)
        if sentinel.error.startswith("does not monitor"):
            return Finding(Level.FAIL, topic, sentinel.error, "add the group with SENTINEL MONITOR")
        what, mend = explain_login(sentinel.error, user, "sentinel")
        return Finding(Level.FAIL, topic, what, mend)
    if sentinel.tilt:
        mend = "its clock jumped or it was stopped; it trusts itself again after 30 s of calm"
        return Finding(Level.WARN, topic, "reached, but in TILT: it has no vote", mend)
    what = f"names {sentinel.master} at epoch {sentinel.epoch}, knows {len(sentinel.peers)} others"
    if missing:
        mend = f"redis-cli -p {sentinel.address.port} ACL SETUSER {user} {' '.join(missing)}"
        return Finding(Level.FAIL, topic, f"{what}; the login may not PSUBSCRIBE, so failovers are seen late", mend)
    if sentinel.down:
        mend = "if that node answers: can this Sentinel reach it and log in (sentinel auth-pass, auth-user)?"
        return Finding(Level.FAIL, topic, f"{what}, and holds it for down", mend)
    if found.master and sentinel.epoch > found.epoch:
        mend = "wait until its failover is over; if it stays, look at its log"
        return Finding(Level.WARN, topic, f"{what}: ahead of the others, which have not followed", mend)
    if found.master and (sentinel.master != found.master or sentinel not in found.voters):
        mend = "it is cut off from the others, or has just started; if it stays, SENTINEL RESET there"
        return Finding(Level.WARN, topic, f"{what}: the others are ahead", mend)
    return Finding(Level.OK, topic, what)


def _together(found: Survey, quorums: list[str]) -> Iterator[Finding]:
    topic, reached = "sentinels", [s for s in found.sentinels if s.votes]
    count = f"{len(reached)} of {found.known} have a vote, {found.need} are needed"
    if len(reached) < found.need:
        yield Finding(Level.FAIL, topic, f"{count}: nothing new can be published", "mend the Sentinels above")
    elif found.master is None:
        names = ", ".join(sorted({f"{s.master} (epoch {s.epoch})" for s in reached}))
        mend = "wait for the failover to end; if it does not, look at their logs"
        yield Finding(Level.FAIL, topic, f"no majority names one master: {names}", mend)
    else:
        named = f"{found.master} as {found.master_name!r} at epoch {found.epoch}"
        yield Finding(Level.OK, topic, f"{count}; they name {named}")
    bad = sorted({quorum for quorum in quorums if not quorum.startswith("OK")})
    for quorum in bad:
        mend = "bring the missing Sentinels back, or lower the quorum"
        yield Finding(Level.FAIL, topic, f"a failover would not be authorised: {quorum}", mend)
    if quorums and not bad:
        yield Finding(Level.OK, topic, f"quorum: {quorums[0].removeprefix('OK ')}")
    if 1 <= found.known < 3:
        mend = "run three or more, on hosts of their own"
        yield Finding(Level.WARN, topic, f"{found.known} of them survive no failure of a host", mend)
