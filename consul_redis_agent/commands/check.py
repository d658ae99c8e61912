"""``check``: is everything in place? One line for each thing that was looked at, and how to mend what is wrong."""

from __future__ import annotations

import argparse
import asyncio
import os
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from consul_redis_agent import state
from consul_redis_agent.commands import load_config, socket_path
from consul_redis_agent.commands.belonging import belonging
from consul_redis_agent.commands.check_address import address_findings
from consul_redis_agent.commands.check_consul import ConsulView, look_at_consul
from consul_redis_agent.commands.check_entries import claim_findings, others_findings, own_findings
from consul_redis_agent.commands.check_failover import failover_findings
from consul_redis_agent.commands.check_fence import fence_findings, fence_trial
from consul_redis_agent.commands.check_redis import RedisView, look_at_redis
from consul_redis_agent.commands.check_sentinel import sentinel_findings
from consul_redis_agent.commands.doctor.agent import UNIT, agent_findings
from consul_redis_agent.commands.doctor.consul import ttl_findings
from consul_redis_agent.commands.doctor.look import Measured, look_at_group, measure, node_facts
from consul_redis_agent.commands.doctor.redis import redis_findings
from consul_redis_agent.commands.doctor.report import Report
from consul_redis_agent.commands.doctor.sentinel import group_findings
from consul_redis_agent.commands.lookup import Answer, DnsError, srv
from consul_redis_agent.commands.resolve import judge_answers
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.commands.silence import why_silent
from consul_redis_agent.commands.status import TIMEOUT, ask
from consul_redis_agent.commands.survey import Survey, survey
from consul_redis_agent.config import Config, RedisConfig, read_secret
from consul_redis_agent.consul.domain import name_of
from consul_redis_agent.consul.form import is_own
from consul_redis_agent.consul.unread import NODE_READ, WHOSE, missing
from consul_redis_agent.decide.facts import Role
from consul_redis_agent.errors import ConsulError, LocalError
from consul_redis_agent.in_clear import UNCHECKED, exposed
from consul_redis_agent.watch.lookout import redis_link, where
from consul_redis_agent.watch.redis_node import announced_replicas

SYSTEMD = Path("/run/systemd/system")
"""It exists where systemd runs the host."""


def main(args: argparse.Namespace) -> int:
    """Look at everything once. Exit code 1 if any finding is a FAIL."""
    config = load_config(args)
    report = Report(as_json=args.json)
    report.tell(_configuration(config, args.config))
    asyncio.run(_outside(config, report))
    report.tell(agent_findings(_running(socket_path(args)), _unit()))
    return report.end()


def _running(socket: Path) -> Mapping[str, Any] | str:
    """What the agent of this host tells, or why it does not."""
    try:
        return ask(socket)
    except LocalError as error:
        return str(error)


def _unit() -> str:
    """Whether systemd starts the agent with the host: "enabled", "disabled", …; "" without systemd."""
    if not SYSTEMD.is_dir():
        return ""
    try:
        asked = ["systemctl", "is-enabled", UNIT]
        return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=TIMEOUT).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _configuration(config: Config, path: Path | None) -> Iterator[Finding]:
    nodes = ", ".join(redis.url for redis in config.redis)
    yield Finding(
        Level.OK, "configuration", f"{path or 'no file, the defaults'}; looks after {nodes}", id="configuration.read"
    )
    secrets = {config.consul.token_file, config.sentinel.password_file, *(r.password_file for r in config.redis)}
    for secret in sorted(secret for secret in secrets if secret):
        try:
            empty = read_secret(secret) is None
            mode = secret.stat().st_mode
        except LocalError as error:
            yield Finding(
                Level.FAIL,
                "configuration",
                str(error),
                "let the agent's user read it, or correct the path",
                id="configuration.secret_unreadable",
            )
        except OSError as error:
            yield Finding(
                Level.FAIL, "configuration", f"{secret}: {error.strerror}", id="configuration.secret_unreadable"
            )
        else:
            if empty:
                yield Finding(
                    Level.FAIL,
                    "configuration",
                    f"{secret}: is empty",
                    "write the secret into it",
                    id="configuration.secret_empty",
                )
            if mode & stat.S_IROTH:
                yield Finding(
                    Level.WARN,
                    "configuration",
                    f"{secret}: every user can read it",
                    f"chmod o-r {secret}",
                    id="configuration.secret_exposed",
                )


def _in_clear(config: Config, found: Survey, view: RedisView) -> Iterator[Finding]:
    """What would cross the network in clear text, with the Sentinels and the other nodes that were found."""
    peers = {*announced_replicas(view.text), *([view.node.follows] if view.node and view.node.follows else [])}
    for one in exposed(config, [s.address for s in found.sentinels], peers):
        exposes = "tls.unchecked" if one.what == UNCHECKED else "tls.clear_text"
        yield Finding(Level.WARN, one.topic, one.what, one.mend, id=exposes)


async def _outside(config: Config, report: Report) -> None:
    """Everything but the configuration and the agent; what does not depend on each other is asked at once."""
    consul = asyncio.create_task(look_at_consul(config), name="Consul")
    nodes = [
        asyncio.create_task(_node(config, redis, consul), name=f"{where(redis)} and its Sentinels")
        for redis in config.redis
    ]
    surveys = {redis.service: node for redis, node in reversed([*zip(config.redis, nodes, strict=True)])}
    services = {redis.service: redis for redis in reversed(config.redis)}
    lookups = [
        asyncio.create_task(_dns(config, services[name], surveys[name], consul), name=f"DNS of {name}")
        for name in services
    ]
    every = [*nodes, consul, *lookups]
    progress = asyncio.create_task(report.progress(lambda: (task.get_name() for task in every if not task.done())))
    for node in nodes:
        report.tell((await node)[0])
    report.tell((await consul).findings)
    for lookup in lookups:
        report.tell(await lookup)
    progress.cancel()
    await asyncio.gather(progress, return_exceptions=True)


async def _node(config: Config, redis: RedisConfig, consul: asyncio.Task[ConsulView]) -> tuple[list[Finding], Survey]:
    """One Redis node: itself, its Sentinels, the fence, the address to publish, its entries."""
    discovery = config.sentinel.mode != "off" and not (config.sentinel.hosts and redis.master_name)
    view = await look_at_redis(redis, discovery=discovery)
    measuring = asyncio.create_task(measure(redis)) if view.node else None
    found = await survey(config, redis, [redis_link(redis)] if view.node else [], view.node)
    sentinels = await sentinel_findings(config, found, listened=view.node is not None)
    group = await look_at_group(config, found)
    measured = await measuring if measuring else Measured()
    settings = node_facts(config, redis, view, found, group, measured)
    trial = await fence_trial(config, redis, view)  # it counts as a refused login, so not while that is measured
    fence = fence_findings(config, redis, view, found, trial)
    failover = await failover_findings(config, redis, view, found)
    address = address_findings(redis, view, found, (await consul).consul_address)
    outside = [*address, *_entries(redis, view, found, await consul)]
    clear = _in_clear(config, found, view)
    doctor = [*group_findings(group), *(redis_findings(settings) if settings else ())]
    findings = [*view.findings, *sentinels, *fence, *failover, *doctor, *outside, *clear]
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
            Level.OK,
            topic,
            f"Consul holds none yet; {told} (consul-redis-agent status says whether it runs)",
            id="entry.none",
        )
    kept = state.load(state.on_this_host(os.environ), naming.kept_as)
    whose = belonging(entries, naming, consul.consul_node, found, view.node, kept)
    yield from others_findings(naming.service, naming.replica, whose)
    yield from claim_findings(found, whose.masters.ours)


async def _dns(
    config: Config,
    redis: RedisConfig,
    node: asyncio.Task[tuple[list[Finding], Survey]],
    consul: asyncio.Task[ConsulView],
) -> list[Finding]:
    """The answer that applications get, held against Sentinel and the node."""
    domain = config.consul.domain or (await consul).domain
    config = replace(config, consul=replace(config.consul, domain=domain))
    name, topic = name_of(config, redis), "dns"
    try:
        answers = await srv(name, config.consul.dns)
    except DnsError as error:
        return [Finding(Level.FAIL, topic, str(error), id="dns.unanswered")]
    kept = ttl_findings(redis.service, name, max((answer.ttl for answer in answers), default=0))
    return [await _answer(config, redis, name, answers, (await node)[1], await consul), *kept]


async def _dns_lacks(config: Config, service: str) -> list[str]:
    try:
        return await missing(config.consul, service)
    except ConsulError:
        return []  # whoever asks Consul for more than this says what is wrong


async def _answer(
    config: Config, redis: RedisConfig, name: str, answers: tuple[Answer, ...], found: Survey, consul: ConsulView
) -> Finding:
    topic = "dns"
    judgement, _, _ = await judge_answers(config, redis, answers, found)
    if judgement.true and judgement.warning:
        what = f"{name}: {judgement.sentence}, but {judgement.warning}"
        mend = "set redis.announce to an IP address, or give Consul a resolver that knows the name (recursors)"
        return Finding(Level.FAIL, topic, what, mend, id="dns.target_without_address")
    if judgement.true:
        return Finding(Level.OK, topic, f"{name}: {judgement.sentence}", id="dns.true")
    if not answers and consul.entries == ():
        if NODE_READ in await _dns_lacks(config, redis.service):
            what = f"{name}: nobody is published yet, and DNS could show nobody: its token lacks {NODE_READ}"
            mend = f"give {NODE_READ} to the token that DNS uses: {WHOSE}"
            return Finding(Level.WARN, topic, what, mend, id="dns.token")
        mend = "start the agent on each Redis host: consul-redis-agent run"
        return Finding(Level.WARN, topic, f"{name}: nobody is published yet", mend, id="dns.nobody_yet")
    if not answers and (silence := await why_silent(config, redis.service)):
        return Finding(Level.FAIL, topic, f"{name}: {silence[0]}", silence[1], id="dns.hidden")
    mend = "see consul-redis-agent status on the hosts concerned"
    return Finding(Level.FAIL, topic, f"{name}: {judgement.sentence}", mend, id="dns.wrong")
