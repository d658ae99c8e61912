"""`check` on failovers that the agent asks for: which Sentinels would be asked."""

from __future__ import annotations

import pytest

from consul_redis_agent.commands.check_failover import NO_MASTER, failover_findings
from consul_redis_agent.commands.check_redis import RedisView
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import load
from consul_redis_agent.config.values import master_name
from consul_redis_agent.decide.facts import Address, Node, Role, Sentinel
from tests.unit.test_logins import Server, flat, up

OWN = Address("10.0.0.1", 6379)
VIEW = RedisView((), Node(0, "own", Role.MASTER))
ALLOWS, REFUSES = b"-ERR No such master with that name\r\n", b"-NOPERM this user has no permissions\r\n"


def server(down_after: int = 30_000, answer: bytes = ALLOWS) -> Server:
    """A Sentinel as far as it is asked here."""
    return Server({"SENTINEL MASTER": flat(down_after_milliseconds=down_after), "SENTINEL FAILOVER": answer})


async def said(
    *servers: Server,
    own: Address = OWN,
    asks: tuple[str, ...] = ("on_death",),
    view: RedisView = VIEW,
) -> list[str]:
    """The lines about failovers, with each Sentinel's address written as S."""
    async with up(*servers):
        sentinels = tuple(Sentinel(0, str(s.address), s.address, master=own, run_ids={own: "own"}) for s in servers)
        flags = {"fence.mode": "on"} | {f"failover.{name}": "ask" for name in asks}
        config = load(None, {}, flags)
        findings = await failover_findings(config, config.redis[0], view, Survey("m", sentinels))
    lines = [str(finding) for finding in findings]
    for s in servers:
        lines = [line.replace(str(s.address), "S").replace(f"-p {s.address.port} ", "-p P ") for line in lines]
    return lines


async def test_a_sentinel_is_asked_about_a_master_that_cannot_be() -> None:
    """Its refusal tells whether the login may ask; no master has such a name, so none is moved."""
    asked = server()
    assert await said(asked) == ["ok   failover 127.0.0.1:6379: on_death: 1 of 1 Sentinels in reach can be asked"]
    assert [command for command in asked.asked if "FAILOVER" in command] == [["SENTINEL", "FAILOVER", NO_MASTER]]
    with pytest.raises(ValueError, match="no name for Sentinel"):
        master_name(NO_MASTER)


async def test_nobody_is_asked_where_no_failover_is_wanted() -> None:
    """Neither for the right nor for anything else."""
    unasked = server(1, REFUSES)
    assert await said(unasked, asks=()) == []
    assert unasked.asked == []


async def test_the_right_that_lacks_is_named_and_what_is_not_known_is_no_failure() -> None:
    """Whatever else it answers says nothing of the right."""
    assert await said(server(answer=REFUSES)) == [
        (
            "FAIL sentinel S: the login may not ask it for a failover; "
            "redis-cli -p P ACL SETUSER default '+sentinel|failover'"
        ),
    ]
    assert await said(server(answer=b"-ERR unknown subcommand\r\n")) == [
        "warn sentinel S: whether it may be asked for a failover is not known: unknown subcommand",
    ]


@pytest.mark.parametrize(("down_after", "can"), [(4999, False), (5000, True)])
async def test_a_sentinel_that_would_elect_soon_is_never_asked(down_after: int, can: bool) -> None:
    """The line says from which value on it is, and how to set it."""
    lines = await said(server(down_after))
    if can:
        assert lines == ["ok   failover 127.0.0.1:6379: on_death: 1 of 1 Sentinels in reach can be asked"]
    else:
        assert lines == [
            (
                "warn sentinel S: down-after-milliseconds of 'm' is 4999: below 5000 no failover is asked for; "
                "redis-cli -h 127.0.0.1 -p P SENTINEL SET m down-after-milliseconds 5000"
            ),
        ]


async def test_sentinels_on_the_nodes_own_host_do_not_count() -> None:
    """They die with it."""
    assert await said(server(), own=Address("127.0.0.1", 6379)) == [
        (
            "warn failover 127.0.0.1:6379: every Sentinel in reach is on the node's own host, and none of those is asked for "
            "a failover; run Sentinels on other hosts"
        ),
    ]
