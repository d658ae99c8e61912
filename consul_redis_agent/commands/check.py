"""``check``: is everything in place? One line for each thing that was looked at, and how to mend what is wrong."""

from __future__ import annotations

import argparse
import asyncio
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from consul_redis_agent import state
from consul_redis_agent.commands import load_config
from consul_redis_agent.commands.belonging import belonging
from consul_redis_agent.commands.check_address import address_findings
from consul_redis_agent.commands.check_consul import ConsulView, look_at_consul
from consul_redis_agent.commands.check_entries import others_findings, own_findings
from consul_redis_agent.commands.check_failover import failover_findings
from consul_redis_agent.commands.check_fence import fence_findings, fence_trial
from consul_redis_agent.commands.check_redis import RedisView, look_at_redis
from consul_redis_agent.commands.check_sentinel import sentinel_findings
from consul_redis_agent.commands.domain import with_domain
from consul_redis_agent.commands.lookup import DnsError, srv
from consul_redis_agent.commands.resolve import judge_answers
from consul_redis_agent.commands.screen import Finding, Level, show
from consul_redis_agent.commands.silence import why_silent
from consul_redis_agent.commands.survey import Survey, survey
from consul_redis_agent.config import Config, RedisConfig, read_secret
from consul_redis_agent.consul.domain import name_of
from consul_redis_agent.consul.form import is_own
from consul_redis_agent.decide.facts import Role
from consul_redis_agent.errors import LocalError
from consul_redis_agent.in_clear import exposed
from consul_redis_agent.watch.lookout import redis_link, where
from consul_redis_agent.watch.redis_node import announced_replicas


def main(args: argparse.Namespace) -> int:
    """Look at everything once. Exit code 1 if any finding is a FAIL."""
    config = load_config(args)
    found = list(_configuration(config, args.config))
    show(found)
    found += asyncio.run(_outside(config))
    return 1 if any(finding.level is Level.FAIL for finding in found) else 0


def _configuration(config: Config, path: Path | None) -> Iterator[Finding]:
    nodes = ", ".join(redis.url for redis in config.redis)
    yield Finding(Level.OK, "configuration", f"{path or 'no file, the defaults'}; looks after {nodes}")
    secrets = {config.consul.token_file, config.sentinel.password_file, *(r.password_file for r in config.redis)}
    for secret in sorted(secret for secret in secrets if secret):
        try:
            empty = read_secret(secret) is None
            mode = secret.stat().st_mode
        except LocalError as error:
            yield Finding(Level.FAIL, "configuration", str(error), "let the agent's user read it, or correct the path")
        except OSError as error:
            yield Finding(Level.FAIL, "configuration", f"{secret}: {error.strerror}")
        else:
            if empty:
                yield Finding(Level.FAIL, "configuration", f"{secret}: is empty", "write the secret into it")
            if mode & stat.S_IROTH:
                yield Finding(Level.WARN, "configuration", f"{secret}: every user can read it", f"chmod o-r {secret}")


def _in_clear(config: Config, found: Survey, view: RedisView) -> Iterator[Finding]:
    """What would cross the network in clear text, with the Sentinels and the other nodes that were found."""
    peers = {*announced_replicas(view.text), *([view.node.follows] if view.node and view.node.follows else [])}
    for one in exposed(config, [s.address for s in found.sentinels], peers):
        yield Finding(Level.WARN, one.topic, one.what, one.mend)


async def _outside(config: Config) -> list[Finding]:
    """Everything but the configuration; what does not depend on each other is asked at once."""
    consul = asyncio.create_task(look_at_consul(config))
    nodes = [asyncio.create_task(_node(config, redis, consul)) for redis in config.redis]
    surveys = {redis.service: node for redis, node in reversed([*zip(config.redis, nodes, strict=True)])}
    services = {redis.service: redis for redis in reversed(config.redis)}
    lookups = [asyncio.create_task(_dns(config, services[name], surveys[name], consul)) for name in services]
    shown: list[Finding] = []

    def tell(findings: Iterable[Finding]) -> None:
        # Nodes of one group share their Sentinels: said once.
        new = [finding for finding in findings if finding not in shown]
        show(new)
        shown.extend(new)

    for node in nodes:
        tell((await node)[0])
    tell((await consul).findings)
    for lookup in lookups:
        tell(await lookup)
    return shown


async def _node(config: Config, redis: RedisConfig, consul: asyncio.Task[ConsulView]) -> tuple[list[Finding], Survey]:
    """One Redis node: itself, its Sentinels, the fence, the address to publish, its entries."""
    discovery = config.sentinel.mode != "off" and not (config.sentinel.hosts and redis.master_name)
    view = await look_at_redis(redis, discovery=discovery)
    found = await survey(config, redis, [redis_link(redis)] if view.node else [], view.node)
    sentinels = await sentinel_findings(config, found, listened=view.node is not None)
    trial = await fence_trial(config, redis, view)
    fence = fence_findings(config, redis, view, found, trial)
    failover = await failover_findings(config, redis, view, found, trial)
    address = address_findings(redis, view, found, (await consul).consul_address)
    outside = [*address, *_entries(redis, view, found, await consul)]
    clear = _in_clear(config, found, view)
    findings = [*view.findings, *sentinels, *fence, *failover, *outside, *clear]
    return findings, found


def _entries(redis: RedisConfig, view: RedisView, found: Survey, consul: ConsulView) -> Iterator[Finding]:
    """What Consul holds of this node, and what others have put under the same name."""
    naming = consul.naming[redis.url]
    entries = consul.entries
    if entries is None:
        return
    topic = f"entry {where(redis)}"
    own = [e for e in entries if e.node == consul.consul_node and is_own(e.meta, naming.node)]
    yield from own_findings(topic, naming.service, view.node, found, own, only_passing=consul.only_passing)
    if not own and view.node:
        told = "the agent registers it" if view.node.role is Role.MASTER or naming.replica else "a replica needs none"
        yield Finding(
            Level.OK, topic, f"Consul holds none yet; {told} (consul-redis-agent status says whether it runs)"
        )
    kept = state.load(state.on_this_host(os.environ), naming.kept_as)
    whose = belonging(entries, naming, consul.consul_node, found, view.node, kept)
    yield from others_findings(naming.service, naming.replica, whose)


async def _dns(
    config: Config,
    redis: RedisConfig,
    node: asyncio.Task[tuple[list[Finding], Survey]],
    consul: asyncio.Task[ConsulView],
) -> list[Finding]:
    """The answer that applications get, held against Sentinel and the node."""
    config = await with_domain(config)
    name, topic = name_of(config, redis), "dns"
    try:
        answers = await srv(name, config.consul.dns)
    except DnsError as error:
        return [Finding(Level.FAIL, topic, str(error))]
    judgement, _, _ = await judge_answers(config, redis, answers, (await node)[1])
    if judgement.true and judgement.warning:
        mend = "set redis.announce to an IP address, or give Consul a resolver that knows the name (recursors)"
        return [Finding(Level.FAIL, topic, f"{name}: {judgement.sentence}, but {judgement.warning}", mend)]
    if judgement.true:
        return [Finding(Level.OK, topic, f"{name}: {judgement.sentence}")]
    entries = (await consul).entries
    if not answers and entries == ():
        return [
            Finding(
                Level.WARN,
                topic,
                f"{name}: nobody is published yet",
                "start the agent on each Redis host: consul-redis-agent run",
            )
        ]
    if not answers and (silence := await why_silent(config, redis.service)):
        return [Finding(Level.FAIL, topic, f"{name}: {silence[0]}", silence[1])]
    return [
        Finding(
            Level.FAIL,
            topic,
            f"{name}: {judgement.sentence}",
            "see consul-redis-agent status on the hosts concerned",
        )
    ]
