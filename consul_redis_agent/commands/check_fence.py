"""What ``check`` asks of a Redis node that is to be fenced: may the agent do it, and could the node follow a new master?

All of it is queued in a transaction and discarded, so nothing is done.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from redis.exceptions import ResponseError

from consul_redis_agent.commands.check_redis import RedisView
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.decide.facts import Role, whole
from consul_redis_agent.decide.fence import PAUSES
from consul_redis_agent.decide.identity import address_at_sentinel
from consul_redis_agent.errors import Denied, Unanswered
from consul_redis_agent.publish.fence import lacks_right, rehearse, right
from consul_redis_agent.text import plain
from consul_redis_agent.watch import reply
from consul_redis_agent.watch.lookout import redis_link, where
from consul_redis_agent.watch.redis_node import is_about_the_state, parse_version

NAMES = ("masterauth", "tls-replication", "port", "tls-port")
MODES = {
    "off": "off: what a master that has lost its authority does is neither stopped nor counted",
    "watch": "watch: the writes that a master without authority still takes are counted, not stopped",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the node is set to, as far as the fence depends on it. Passwords are not kept."""

    sends_login: bool
    """``masterauth`` is set: as a replica it would log in at its master."""
    tls_replication: bool
    tls_only: bool
    """It listens on ``tls-port`` alone."""
    tls_port: int


@dataclass(frozen=True, slots=True)
class Trial:
    """How the node took what a fence sends."""

    missing: tuple[str, ...] = ()
    """The rights that the login lacks, as ``ACL SETUSER`` takes them."""
    refused: str = ""
    """Why else it was refused."""
    passing: bool = False
    """That is so only just now, since it loads, or runs a script."""
    settings: Settings | None = None
    """None: they may not be read."""
    wants_login: bool = False
    """It lets nobody in without a password."""


async def fence_trial(config: Config, redis: RedisConfig, view: RedisView) -> Trial | None:
    """Try the fence on the node, with nothing done; None where there is to be none, or the node is not reached."""
    if config.fence.mode != "on" or view.node is None:
        return None
    try:
        return await _try(redis, pauses=_can_pause(view))
    except Unanswered as error:
        return Trial(refused=str(error), passing=True)


async def _try(redis: RedisConfig, *, pauses: bool) -> Trial:
    link = redis_link(redis)
    try:
        tried = await rehearse(link, pauses=pauses)
        answers = await link.ask(*(("CONFIG", "GET", name) for name in NAMES))
    finally:
        await link.close()
    reading = [right(("CONFIG", "GET"))] if any(map(lacks_right, answers)) else []
    others = [*tried.refusals, *(a for a in answers if isinstance(a, ResponseError) and not lacks_right(a))]
    return Trial(
        missing=tuple(dict.fromkeys([*tried.missing, *reading])),
        refused=plain(str(others[0])) if others else "",
        passing=bool(others) and is_about_the_state(others[0]),
        settings=None if any(isinstance(answer, Exception) for answer in answers) else _settings(answers),
        wants_login=await _wants_login(redis),
    )


async def _wants_login(redis: RedisConfig) -> bool:
    """Whether somebody without a password is sent away, as a replica would be by a master that is set up like this one."""
    link = redis_link(redis, login=False)
    try:
        await link.ask(("PING",))
    except Denied:
        return True
    except Unanswered:
        return False
    finally:
        await link.close()
    return False


def _settings(answers: list[object]) -> Settings:
    """An older server, or one built without TLS, does not know every name."""
    values = {
        name: reply.pairs(answer, "CONFIG GET").get(name, "") for name, answer in zip(NAMES, answers, strict=True)
    }
    return Settings(
        sends_login=values["masterauth"] != "",
        tls_replication=values["tls-replication"] == "yes",
        tls_only=values["port"] == "0" and values["tls-port"] not in ("", "0"),
        tls_port=whole(values["tls-port"], reply.PORT_LIMIT) or 0,
    )


def fence_findings(
    config: Config, redis: RedisConfig, view: RedisView, found: Survey, trial: Trial | None
) -> Iterator[Finding]:
    """What the fence needs of the node, and what it does not do."""
    if config.fence.mode != "on":
        yield Finding(Level.OK, "fence", MODES[config.fence.mode], id="fence.mode")
    elif trial:
        topic = f"fence {where(redis)}"
        bad = [*_rights(topic, redis, trial), *_following(topic, view, found, trial), *_limits(topic, view)]
        yield from bad or [
            Finding(
                Level.OK, topic, "on: the login may make this node a replica, and it could follow", id="fence.ready"
            )
        ]


def _rights(topic: str, redis: RedisConfig, trial: Trial) -> Iterator[Finding]:
    if trial.missing:
        user = redis.username or "default"
        mend = f"redis-cli ACL SETUSER {user} {shlex.join(trial.missing)}"
        lost = "the login lacks rights, so a master that has lost its authority could not be made a replica"
        yield Finding(Level.FAIL, topic, lost, mend, id="fence.rights")
    if trial.passing:
        yield Finding(
            Level.WARN, topic, f"could not be tried just now: {trial.refused}", "check again later", id="fence.untried"
        )
    elif trial.refused:
        mend = "a rename-command in redis.conf hides it? take that out"
        yield Finding(
            Level.FAIL, topic, f"the node refuses what the fence sends: {trial.refused}", mend, id="fence.refused"
        )


def _following(topic: str, view: RedisView, found: Survey, trial: Trial) -> Iterator[Finding]:
    """A replica whose link is up shows by that that it can follow; a master has never shown it."""
    node, settings = view.node, trial.settings
    if node is None or settings is None or node.role is not Role.MASTER:
        return
    if trial.wants_login and not settings.sends_login:
        what = "it asks for a password, and would send none as a replica (masterauth is not set): it could not follow"
        yield Finding(
            Level.FAIL, topic, what, "set masterauth, and masteruser, as on the replicas", id="fence.no_login"
        )
    known = address_at_sentinel(node.run_id, found.sentinels)
    by_tls = settings.tls_only or (known is not None and known.port == settings.tls_port)
    if by_tls and not settings.tls_replication:
        what = f"the nodes reach each other by TLS (port {settings.tls_port}), and as a replica it would not: it could not follow"
        yield Finding(Level.FAIL, topic, what, "CONFIG SET tls-replication yes, and in redis.conf", id="fence.no_tls")


def _limits(topic: str, view: RedisView) -> Iterator[Finding]:
    if not _can_pause(view):
        what = "before Redis 6.2 writes cannot wait: those between the selection of a new master and its promotion are lost"
        yield Finding(Level.WARN, topic, f"{what}; all else is done", "Redis 6.2 or later", id="fence.no_pause")
    if not view.info.get("config_file"):
        what = "it was started without a configuration file: after a restart it would be a master again"
        yield Finding(Level.WARN, topic, what, "start redis-server with a file that it may write", id="fence.no_file")


def _can_pause(view: RedisView) -> bool:
    """Whether writes alone can be paused: since Redis 6.2."""
    return parse_version(view.info) >= PAUSES
