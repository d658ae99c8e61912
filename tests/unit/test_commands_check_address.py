"""`check` on the address to publish: which it is, who says so, and when it is none for others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consul_redis_agent.commands.check_address import address_findings
from consul_redis_agent.commands.check_redis import RedisView
from consul_redis_agent.commands.screen import Level
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import RedisConfig, load
from consul_redis_agent.decide.facts import Address, Node, Role, Sentinel

NODE = Node(0.0, "me", Role.MASTER)
GOOD, OTHER = Address("10.0.0.5", 6379), Address("10.0.0.6", 6379)
LOOPBACK, LABEL, LINK = Address("127.0.0.1", 6379), Address("redis", 6379), Address("fe80::1%eth0", 6379)


def said(
    *, at_sentinel: Address | None, consul: str = "10.0.0.9", view: RedisView | None = None, **redis: object
) -> tuple[Level, str]:
    """The one finding, with Sentinels that list the node at an address, or not at all."""
    config: RedisConfig = replace(load(None, {}, {}).redis[0], **redis)  # type: ignore[arg-type]
    run_ids = {at_sentinel: "me"} if at_sentinel else {}
    sentinels = tuple(Sentinel(0.0, f"s{n}", Address(f"10.0.1.{n}", 26379), run_ids=run_ids) for n in (1, 2, 3))
    (finding,) = address_findings(config, view or RedisView((), NODE), Survey("mymaster", sentinels), consul)
    return finding.level, finding.what


def test_an_address_that_others_can_use_is_well() -> None:
    """With the word that counts."""
    assert said(at_sentinel=GOOD) == (Level.OK, f"{GOOD}, as Sentinel knows it")
    level, what = said(at_sentinel=OTHER, announce=GOOD)
    assert (level, what) == (Level.OK, f"{GOOD}, from redis.announce; Sentinel and the replicas use {OTHER}")


@pytest.mark.parametrize("address", [LOOPBACK, LABEL, LINK])
def test_one_that_they_cannot_use_fails(address: Address) -> None:
    """By Sentinel's word, or the operator's; where the operator's is good, Sentinel's is still said."""
    assert said(at_sentinel=address)[0] is Level.FAIL
    assert said(at_sentinel=GOOD, announce=address)[0] is Level.FAIL
    level, what = said(at_sentinel=address, announce=GOOD)
    assert level is Level.WARN
    assert what.startswith(f"{GOOD}, from redis.announce; Sentinel knows it as {address}, ")


def test_on_a_machine_without_others_a_loopback_address_is_no_failure() -> None:
    """As in a demo: its Consul agent has one too, so nobody else is there. A name of one label helps nobody all the same."""
    assert said(at_sentinel=LOOPBACK, consul="127.0.0.1")[0] is Level.WARN
    assert said(at_sentinel=LABEL, consul="127.0.0.1")[0] is Level.FAIL


def test_a_name_of_one_label_in_the_configuration_is_taken_for_where_it_leads() -> None:
    """A compose name: the IP address to which the connection was made."""
    view = RedisView((), NODE, reached="172.18.0.5")
    assert said(at_sentinel=None, view=view, host="redis") == (Level.OK, "172.18.0.5:6379, from redis.url")
    view = replace(view, announced_port=16379)
    assert said(at_sentinel=None, view=view, host="redis") == (Level.OK, "172.18.0.5:16379, from redis.url")


def test_where_nobody_says_consuls_own_address_is_named() -> None:
    """A node at a loopback address, and no Sentinel."""
    level, what = said(at_sentinel=None, host="127.0.0.1")
    assert level is Level.WARN
    assert "Consul's own address is taken: 10.0.0.9:6379" in what
