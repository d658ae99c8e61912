"""What ``check`` says of the address to publish: which it is, who says so, and whether others can use it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from consul_redis_agent.commands.check_redis import RedisView
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import RedisConfig
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.decide.identity import (
    address_at_sentinel,
    address_to_publish,
    is_for_others,
    is_loopback,
    only_here,
)
from consul_redis_agent.watch.lookout import reached_at, where

BY_SENTINEL = "have Sentinel monitor the master by an address that other hosts reach"


def address_findings(redis: RedisConfig, view: RedisView, found: Survey, consul_address: str) -> Iterator[Finding]:
    """Where others are told to find the node. ``consul_address`` is where they know its Consul agent; "" unknown."""
    topic, set_ = f"address {where(redis)}", f'set redis.announce = "HOST:{redis.port or 6379}"'
    if view.node is None:
        return
    at_sentinel = address_at_sentinel(view.node.run_id, found.sentinels)
    reached = reached_at(redis, view.reached, view.announced_port)
    address = address_to_publish(redis.announce, at_sentinel, view.announced, reached, None)
    sources = (
        ("from redis.announce", redis.announce),
        ("as Sentinel knows it", at_sentinel),
        ("from replica-announce-ip and -port of Redis", view.announced),
        ("from redis.url", reached),
    )
    source = next((what for what, said in sources if said == address), "")
    alone = not consul_address or is_loopback(consul_address)
    if address is None:
        here = Address(consul_address, redis.port) if consul_address and redis.port else None
        what = "neither Sentinel nor the configuration says where others reach this node"
        taken = f"Consul's own address is taken{f': {here}' if here else ''}"
        yield Finding(Level.WARN, topic, f"{what}; {taken}", set_, id="address.of_consul")
    elif why := only_here(address.host):
        level = Level.WARN if alone and is_loopback(address.host) else Level.FAIL
        yield Finding(
            level,
            topic,
            f"{address}, {source}, {why}",
            set_ if source == "from redis.announce" else f"{set_}, or {BY_SENTINEL}",
            id="address.only_here",
        )
    elif at_sentinel and not is_for_others(at_sentinel.host):
        what = f"{address}, {source}; Sentinel knows it as {at_sentinel}, {only_here(at_sentinel.host)}"
        yield Finding(Level.WARN, topic, what, BY_SENTINEL, id="address.sentinel_only_here")
    elif at_sentinel and at_sentinel != address:
        yield Finding(
            Level.OK, topic, f"{address}, {source}; Sentinel and the replicas use {at_sentinel}", id="address.published"
        )
    else:
        yield Finding(Level.OK, topic, f"{address}, {source}", id="address.published")
