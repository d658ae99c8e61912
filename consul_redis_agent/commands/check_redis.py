"""What ``check`` asks of a Redis node: can it be reached, is the login good, may it do what the agent needs?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from redis.exceptions import NoPermissionError

from consul_redis_agent.clock import clock
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.commands.survey import UNCHECKED
from consul_redis_agent.config import RedisConfig
from consul_redis_agent.decide.facts import Address, Node, Role
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.text import plain
from consul_redis_agent.tls import TOLD
from consul_redis_agent.watch.causes import IS_CLUSTER, MEND_CLUSTER, Table, cause
from consul_redis_agent.watch.link import NOBODY
from consul_redis_agent.watch.lookout import redis_link, where
from consul_redis_agent.watch.redis_node import node, parse_announce, parse_info, parse_mode, refused
from consul_redis_agent.watch.sentinels import HELLO


@dataclass(frozen=True, slots=True)
class RedisView:
    """One look. ``node`` is None where nothing can be known of it."""

    findings: tuple[Finding, ...]
    node: Node | None = None
    announced: Address | None = None
    announced_port: int | None = None
    reached: str = ""
    """The IP address at which it answered."""
    info: Mapping[str, str] = field(default_factory=dict)
    """The lines of INFO."""
    text: str = ""
    """INFO as it came."""


async def look_at_redis(redis: RedisConfig, *, discovery: bool) -> RedisView:
    """Look once. ``discovery``: whether the agent has to hear of its Sentinels on this node."""
    topic, user = f"redis {where(redis)}", redis.username or "default"
    link = redis_link(redis)
    began = clock()
    try:
        info, announced = await link.ask(("INFO",), ("CONFIG", "GET", "replica-announce-*"))
        missing = ["+info"] if isinstance(info, NoPermissionError) else []
        if discovery:
            (subscribed,) = await link.ask(("SUBSCRIBE", HELLO))
            if isinstance(subscribed, NoPermissionError):
                missing += ["+subscribe", f"&{HELLO}"]
    except Unanswered as error:
        what, mend = explain_login(str(error), user, "redis")
        return RedisView((Finding(Level.FAIL, topic, what, mend, id="redis.unreachable"),))
    finally:
        await link.close()
    denied: tuple[Finding, ...] = ()
    if missing:
        denied = (
            Finding(
                Level.FAIL,
                topic,
                _lost(missing),
                f"redis-cli ACL SETUSER {user} {' '.join(missing)}",
                id="redis.rights",
            ),
        )
    if isinstance(info, NoPermissionError):
        return RedisView(denied)
    if isinstance(info, Exception):
        what, mend = explain_login(str(refused(info)), user, "redis")
        return RedisView((Finding(Level.FAIL, topic, what, mend, id="redis.unreachable"),))
    try:
        fields = parse_info(info)
        seen, (published, port) = node(fields, began), parse_announce(announced, fields)
    except Unanswered as error:
        what, mend = cause(str(error), user, "redis") or (str(error), "correct redis.url")
        return RedisView((Finding(Level.FAIL, topic, what, mend, id="redis.unreadable"),))
    if parse_mode(fields) == "cluster":
        denied = (*denied, Finding(Level.FAIL, topic, IS_CLUSTER, MEND_CLUSTER, id="redis.cluster"))
    version = plain(fields.get("valkey_version") or fields.get("redis_version") or "of unknown version", 40)
    program = "Valkey" if "valkey_version" in fields else "Redis"
    reached = f"{program} {version}, login as {user!r}"
    findings = (*denied, *_role(topic, reached, seen))
    return RedisView(findings, seen, published, port, link.peer, info=fields, text=str(info))


def _lost(missing: list[str]) -> str:
    lost = []
    if "+info" in missing:
        lost.append("the login may not use INFO, so the role cannot be seen and nothing is published")
    if "+subscribe" in missing:
        lost.append(f"the login may not SUBSCRIBE to {HELLO}, so Sentinels are not discovered")
    return "; ".join(lost)


def _role(topic: str, reached: str, seen: Node) -> Iterator[Finding]:
    if seen.loading:
        yield Finding(
            Level.WARN,
            topic,
            f"{reached}; it is still loading its data and is not published until then",
            id="redis.loading",
        )
    elif seen.role is Role.REPLICA and not seen.link_up:
        mend = f"look at its log; is {seen.follows} up, and is masterauth right?"
        yield Finding(
            Level.WARN,
            topic,
            f"{reached}; replica of {seen.follows}, link down: not published",
            mend,
            id="redis.link_down",
        )
    elif seen.role is Role.REPLICA:
        yield Finding(Level.OK, topic, f"{reached}; replica of {seen.follows}, link up", id="redis.role")
    else:
        yield Finding(Level.OK, topic, f"{reached}; says master", id="redis.role")


def explain_login(reason: str, user: str, table: Table) -> tuple[str, str]:
    """What it means that a Redis or Sentinel server did not let the agent in, and how to mend it."""
    server = table.capitalize()
    if reason.startswith(TOLD):
        return reason, ""
    if reason == NOBODY:
        place = "redis.url" if table == "redis" else "sentinel.hosts"
        return reason, f"start {server}, or correct {place}"
    if reason.startswith(UNCHECKED):
        return reason, "if it is one of them, put it into sentinel.hosts"
    if found := cause(reason, user, table):
        return found
    return reason, f"is it a {server} server? see its log"
