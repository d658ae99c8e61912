"""What ``check`` asks of Consul: is it reached, does it have a leader, may the token do what the agent needs?"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from consul_redis_agent import state
from consul_redis_agent.agent import address_towards
from consul_redis_agent.commands.doctor.consul import ConsulFacts, consul_findings
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.config import Config
from consul_redis_agent.consul.api import ConsulAPI, TokenSource, consul_api, way
from consul_redis_agent.consul.domain import domain_in
from consul_redis_agent.consul.form import read_entry
from consul_redis_agent.consul.http import Consul, HTTPClient
from consul_redis_agent.decide.facts import Entry
from consul_redis_agent.errors import (
    ConsulBlocked,
    ConsulConflict,
    ConsulDenied,
    ConsulError,
    ConsulUnreachable,
    LocalError,
)
from consul_redis_agent.node import naming
from consul_redis_agent.publish.entries import Naming
from consul_redis_agent.publish.writer import only_passing_in
from consul_redis_agent.tls import TOLD

RESTRICTED = "allow_write_http_from"
"""It refuses all writes alike, so it is said once."""
PROBE = "consul-redis-agent-check"
"""Id of a service that does not exist."""


@dataclass(frozen=True, slots=True)
class ConsulView:
    """One look. ``entries`` is None where the catalog could not be read."""

    findings: tuple[Finding, ...]
    naming: Mapping[str, Naming] = field(default_factory=dict)
    """By ``redis.url``."""
    consul_node: str = ""
    consul_address: str = ""
    """Where others know the own Consul agent; "" where the token may not ask."""
    entries: tuple[Entry, ...] | None = None
    only_passing: bool | None = None
    """Whether Consul's DNS leaves out what has a check that warns; None: unknown."""
    domain: str = ""
    """Of Consul's DNS; "" where the token may not ask."""


async def look_at_consul(config: Config) -> ConsulView:
    """Look once. Writes nothing."""
    seen_from = ""
    with suppress(OSError):  # then Consul is not reached either, which is said
        seen_from = await address_towards(config.consul.url, config.consul.timeout)
    kept = state.kept_id(state.on_this_host(os.environ))
    names = {redis.url: naming(config, redis, seen_from, kept) for redis in config.redis}
    topic = f"consul {config.consul.url}"
    try:
        token = TokenSource(config.consul)
    except LocalError as error:
        return ConsulView(
            (Finding(Level.FAIL, topic, str(error), "correct consul.token_file", id="token.unreadable"),), names
        )
    api = consul_api(config.consul, token)
    findings: list[Finding] = []
    try:
        leader = await api.leader()
        if not leader:
            mend = "bring a majority of Consul's servers back; see consul operator raft list-peers"
            return ConsulView(
                (Finding(Level.FAIL, topic, "reached, but its servers have no leader", mend, id="consul.no_leader"),),
                names,
            )
        findings.append(Finding(Level.OK, topic, f"reached; the servers' leader is {leader}", id="consul.reached"))
        services = list(dict.fromkeys(name for n in names.values() for name in (n.service, n.replica) if name))
        with_token = await token() is not None
        may_write = [await _may_write(api, service, with_token=with_token) for service in services]
        refused = [finding async for finding in _refusals(api)]
        findings += [*refused, *(finding for finding in may_write if finding)]
        findings += await _may_read(config, token)
        told, consul_node = await _itself(api)
        facts = await _settings(config, token, told)
        answers = [await api.health(service) for service in services]
        entries = tuple(read_entry(one) for _, answer in answers for one in answer)
        return ConsulView(
            (*findings, *consul_findings(facts)),
            names,
            consul_node,
            str(((told or {}).get("Member") or {}).get("Addr") or ""),
            entries,
            only_passing_in(told),
            domain_in(told),
        )
    except ConsulUnreachable as error:
        mend = "" if TOLD in str(error) else "start the Consul agent, or correct consul.url"
        findings.append(Finding(Level.FAIL, topic, str(error), mend, id="consul.unreachable"))
    except ConsulError as error:
        findings.append(Finding(Level.FAIL, topic, str(error), id="consul.error"))
    finally:
        await api.close()
    return ConsulView(tuple(findings), names)


async def _itself(api: ConsulAPI) -> tuple[Mapping[str, Any] | None, str]:
    """What the own Consul agent tells of itself, None where the token may not ask; and the name of its Consul node."""
    try:
        told = await api.agent_self()
    except ConsulDenied:
        checks = (await api.checks()).values()
        return None, next((str(c["Node"]) for c in checks if c.get("Node")), "")
    return told, str(told["Config"]["NodeName"])


async def _settings(config: Config, token: TokenSource, told: Mapping[str, Any] | None) -> ConsulFacts:
    """What the rules need; what the token may not ask, or has no usable answer, is not known."""
    consul = Consul(HTTPClient(config.consul.url, timeout=config.consul.timeout, token=token, **way(config.consul)))
    members: object = ()
    peers: object = ()
    try:
        with suppress(ConsulError):
            members = await consul.agent.members()
        with suppress(ConsulError):
            peers = await consul.status.peers()
    finally:
        await consul.http.close()
    return ConsulFacts(
        told,
        tuple(one for one in members if isinstance(one, dict)) if isinstance(members, list) else (),
        len(peers) if isinstance(peers, list) else 0,
        config.service.ttl,
        config.consul.domain or "",
    )


async def _may_write(api: ConsulAPI, service: str, *, with_token: bool) -> Finding | None:
    """Whether the token may write a service: a compare-and-set that cannot match is refused, but for the right reason."""
    probe = {"ID": PROBE, "Service": service, "ModifyIndex": 1}
    try:
        await api.txn([{"Service": {"Verb": "delete-cas", "Node": PROBE, "Service": probe}}])
    except ConsulConflict:
        return Finding(Level.OK, "token", f"may write the service {service!r}", id="token.may_write")
    except ConsulBlocked:
        return None  # that is looked at for all requests together
    except ConsulDenied as error:
        if "ACL not found" in str(error):
            return Finding(
                Level.FAIL, "token", str(error), "put a token that exists into consul.token_file", id="token.unknown"
            )
        who = "the token may not" if with_token else "no token is configured, and without one nobody may"
        rule = f'service "{service}" {{ policy = "write" }}'
        mend = f"give it a policy with {rule}" if with_token else f"set consul.token_file to a token with {rule}"
        return Finding(Level.FAIL, "token", f"{who} write the service {service!r}", mend, id="token.may_not_write")
    return Finding(Level.OK, "token", f"may write the service {service!r}", id="token.may_write")


async def _refusals(api: ConsulAPI) -> AsyncIterator[Finding]:
    """What the Consul agent's own configuration refuses of all that the agent needs, tried where it changes nothing.

    Writes are of ids that do not exist, and of a service without a name.
    """
    one = {"ID": PROBE, "Service": PROBE, "ModifyIndex": 1}
    tries: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: api.txn([{"Service": {"Verb": "delete-cas", "Node": PROBE, "Service": one}}]),
        lambda: api.register({"ID": PROBE, "Name": ""}),
        lambda: api.check_update(PROBE, "critical", ""),
        lambda: api.check_deregister(PROBE),
        lambda: api.deregister(PROBE),
        lambda: api.services(f'ID == "{PROBE}"'),
        lambda: api.checks(f'ServiceID == "{PROBE}"'),
        lambda: api.health(PROBE),
    )
    said: set[str] = set()
    for attempt in tries:
        try:
            await attempt()
        except ConsulBlocked as error:
            if RESTRICTED not in str(error) or RESTRICTED not in said:
                said.add(RESTRICTED if RESTRICTED in str(error) else "")
                yield Finding(
                    Level.FAIL,
                    "consul agent",
                    str(error),
                    "change it there, and restart that Consul agent",
                    id="consul.blocked",
                )
        except ConsulUnreachable:
            raise
        except ConsulError:
            pass  # it was looked at, so it is not refused; or for a right, which is told apart


async def _may_read(config: Config, token: TokenSource) -> list[Finding]:
    """Whether the token sees Consul's nodes; without that right every list of entries is empty, without a word."""
    consul = Consul(HTTPClient(config.consul.url, timeout=config.consul.timeout, token=token, **way(config.consul)))
    try:
        _, nodes = await consul.catalog.nodes()
    except ConsulDenied:
        nodes = []
    finally:
        await consul.http.close()
    if nodes:
        return []
    rule = 'node_prefix "" { policy = "read" }'
    what = (
        "the token may not read Consul's nodes, so the claims of other agents cannot be seen, and nothing is published"
    )
    return [Finding(Level.FAIL, "token", what, f"give it a policy with {rule}", id="token.may_not_read")]
