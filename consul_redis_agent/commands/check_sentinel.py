"""What ``check`` asks of the Sentinels: are they reached, do they agree, would a failover find its quorum?"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from redis.exceptions import NoPermissionError

from consul_redis_agent.commands.check_redis import explain_login
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import Config
from consul_redis_agent.decide.facts import Address, Sentinel
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.text import plain
from consul_redis_agent.watch.causes import missing_right
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.lookout import sentinel_link

ALL = "+sentinel +info +ping +psubscribe '&*'"


@dataclass(frozen=True, slots=True)
class Right:
    """One that only some things miss: what is asked to find out, and what is lost without it."""

    name: str
    command: str
    lost: str
    level: Level = Level.FAIL


RIGHTS = (
    Right(
        "+sentinel|ckquorum",
        "SENTINEL CKQUORUM {}",
        "whether a failover would find its quorum is not known",
        Level.WARN,
    ),
    Right("+sentinel|myid", "SENTINEL MYID", "it is told by its address alone"),
    Right(
        "+sentinel|masters", "SENTINEL MASTERS", "whether it knows the group by another name is not seen", Level.WARN
    ),
    Right("+info", "INFO server", "TILT is not seen"),
    Right("+psubscribe &*", "PSUBSCRIBE *", "failovers are seen late"),
)
"""The last one ends what can be asked over its connection."""


async def sentinel_findings(config: Config, found: Survey, *, listened: bool) -> list[Finding]:
    """A line for each Sentinel, and one for all of them together. ``listened``: a Redis node was there to hear them."""
    mode = config.sentinel.mode
    if mode == "off":
        return [Finding(Level.OK, "sentinels", 'not asked: sentinel.mode is "off"', id="sentinel.off")]
    if not found.sentinels and not listened:
        what = "not found: none is configured, and the Redis node on which they are heard is not reached"
        return [
            Finding(Level.FAIL, "sentinels", what, "mend Redis first, or set sentinel.hosts", id="sentinel.unheard")
        ]
    if not found.sentinels:
        what = "none was heard of on the Redis node, and none is configured"
        mend = "set sentinel.hosts, or start the Sentinels"
        if mode == "required":
            return [
                Finding(
                    Level.FAIL,
                    "sentinels",
                    f'{what}; sentinel.mode is "required": nothing is published',
                    mend,
                    id="sentinel.none",
                )
            ]
        return [
            Finding(
                Level.WARN,
                "sentinels",
                f"{what}; without one, the first node that claims to be master stays",
                mend,
                id="sentinel.none",
            )
        ]
    probes = await asyncio.gather(*(_probe(config, s, found) for s in found.sentinels))
    user = config.sentinel.username or "default"
    each = [_one(s, found, user, *missing) for s, (_, missing) in zip(found.sentinels, probes, strict=True)]
    quorums = [quorum for quorum, _ in probes if quorum]
    if config.sentinel.secured and not config.sentinel.hosts:
        what = "they get the Sentinels' password, though anybody who may PUBLISH on Redis can say hello as one"
        each.append(Finding(Level.WARN, "sentinels", what, "set sentinel.hosts", id="sentinel.forgeable"))
    others = _of_another_group(found, config.sentinel.hosts)
    return [*each, *others, *_left_out(found), *_together(found, quorums)]


def _left_out(found: Survey) -> Iterator[Finding]:
    if found.left_out:
        what = f"{found.left_out} more addresses that these list were not asked: a group has three to seven Sentinels"
        yield Finding(
            Level.WARN,
            "sentinels",
            what,
            "SENTINEL RESET on each forgets those that do not exist",
            id="sentinel.ghosts",
        )


def _of_another_group(found: Survey, hosts: tuple[Address, ...]) -> Iterator[Finding]:
    """Those that are to be taken out; whom only one of these knows goes with it."""
    for other in [s for s in found.others if s.address in hosts] or found.others:
        what = f"watches other nodes under the name {found.master_name!r}, and is not counted"
        yield Finding(
            Level.FAIL, f"sentinel {other.address}", what, "take it out of sentinel.hosts", id="sentinel.another_group"
        )


async def _probe(config: Config, sentinel: Sentinel, found: Survey) -> tuple[str, list[Right]]:
    """Its answer to CKQUORUM (empty: none), and the rights that the login lacks."""
    if sentinel.error:
        return "", []
    link = sentinel_link(config.sentinel, sentinel.address, login=sentinel.address in found.checked)
    try:
        answers = [await _ask(link, right, found.master_name) for right in RIGHTS]
    except Unanswered:
        return "", []
    finally:
        await link.close()
    pairs = zip(RIGHTS, answers, strict=True)
    missing = [right for right, answer in pairs if isinstance(answer, NoPermissionError)]
    quorum = answers[0]
    if isinstance(quorum, NoPermissionError):
        return "", missing
    return plain(str(quorum)) if isinstance(quorum, str | Exception) else "no answer to CKQUORUM", missing


async def _ask(link: Link, right: Right, name: str) -> object:
    (answer,) = await link.ask([name if word == "{}" else word for word in right.command.split()])
    return answer


def _one(sentinel: Sentinel, found: Survey, user: str, *missing: Right) -> Finding:
    topic = f"sentinel {sentinel.address}"
    if sentinel.error:
        monitored = found.masters.get(sentinel.address, {})
        if monitored and found.master_name not in monitored:
            what, names = "reached", ", ".join(sorted(monitored))
            what += (
                f", but does not monitor {found.master_name!r}" if found.master_name else ", and monitors several names"
            )
            return Finding(
                Level.FAIL,
                topic,
                f"{what}; it knows {names}",
                "set redis.master_name to the right one",
                id="sentinel.wrong_name",
            )
        if "refuses:" in sentinel.error:
            right = shlex.quote(missing_right(sentinel.error)) if missing_right(sentinel.error) else ALL
            mend = f"redis-cli -p {sentinel.address.port} ACL SETUSER {user} {right}"
            return Finding(Level.FAIL, topic, sentinel.error, mend, id="sentinel.rights")
        if sentinel.error.startswith("does not monitor") and "unknown command" not in sentinel.error:
            return Finding(
                Level.FAIL, topic, sentinel.error, "add the group with SENTINEL MONITOR", id="sentinel.not_monitored"
            )
        what, mend = explain_login(sentinel.error, user, "sentinel")
        return Finding(Level.FAIL, topic, what, mend, id="sentinel.unreachable")
    if sentinel.tilt:
        mend = "its clock jumped or it was stopped; it trusts itself again after 30 s of calm"
        return Finding(Level.WARN, topic, "reached, but in TILT: it has no vote", mend, id="sentinel.tilt")
    what = f"names {sentinel.master} at epoch {sentinel.epoch}, knows {len(sentinel.peers)} others"
    if missing:
        rights = shlex.join(word for right in missing for word in right.name.split())
        mend = f"redis-cli -p {sentinel.address.port} ACL SETUSER {user} {rights}"
        lost = [f"the login may not {r.command.removesuffix(' {}').removesuffix(' *')}, so {r.lost}" for r in missing]
        level = Level.FAIL if any(right.level is Level.FAIL for right in missing) else Level.WARN
        return Finding(level, topic, "; ".join([what, *lost]), mend, id="sentinel.rights")
    if sentinel.down:
        mend = "if that node answers: can this Sentinel reach it and log in (sentinel auth-pass, auth-user)?"
        return Finding(Level.FAIL, topic, f"{what}, and holds it for down", mend, id="sentinel.held_for_down")
    if found.master and sentinel.epoch > found.epoch:
        mend = "wait until its failover is over; if it stays, look at its log"
        return Finding(
            Level.WARN, topic, f"{what}: ahead of the others, which have not followed", mend, id="sentinel.ahead"
        )
    if found.master and (sentinel.master != found.master or sentinel not in found.voters):
        mend = "it is cut off from the others, or has just started; if it stays, SENTINEL RESET there"
        return Finding(Level.WARN, topic, f"{what}: the others are ahead", mend, id="sentinel.behind")
    return Finding(Level.OK, topic, what, id="sentinel.vote")


def _together(found: Survey, quorums: list[str]) -> Iterator[Finding]:
    topic, reached = "sentinels", [s for s in found.sentinels if s.votes]
    count = f"{len(reached)} of {found.known} have a vote, {found.need} are needed"
    if len(reached) < found.need:
        yield Finding(
            Level.FAIL,
            topic,
            f"{count}: nothing new can be published",
            "mend the Sentinels above",
            id="sentinel.too_few",
        )
    elif found.master is None:
        names = ", ".join(sorted({f"{s.master} (epoch {s.epoch})" for s in reached}))
        mend = "wait for the failover to end; if it does not, look at their logs"
        yield Finding(Level.FAIL, topic, f"no majority names one master: {names}", mend, id="sentinel.disagree")
    else:
        named = f"{found.master} as {found.master_name!r} at epoch {found.epoch}"
        yield Finding(Level.OK, topic, f"{count}; they name {named}", id="sentinel.majority")
    bad = sorted({quorum for quorum in quorums if not quorum.startswith("OK")})
    for quorum in bad:
        mend = "bring the missing Sentinels back, or lower the quorum"
        yield Finding(Level.FAIL, topic, f"a failover would not be authorised: {quorum}", mend, id="sentinel.no_quorum")
    if quorums and not bad:
        yield Finding(Level.OK, topic, f"quorum: {quorums[0].removeprefix('OK ')}", id="sentinel.quorum")
    if 1 <= found.known < 3:
        mend = "run three or more, on hosts of their own"
        yield Finding(
            Level.WARN, topic, f"{found.known} of them survive no failure of a host", mend, id="sentinel.too_few_hosts"
        )
