"""`check` on the fence: what a node's answers mean, and what the operator is told to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consul_redis_agent.commands.check_fence import Settings, Trial, fence_findings
from consul_redis_agent.commands.check_redis import RedisView
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.config import load
from consul_redis_agent.decide.facts import Address, Node, Role, Sentinel

OWN, OTHER = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)
INFO = {
    "redis_version": "7.0.15",
    "config_file": "/etc/redis.conf",
    "connected_slaves": "1",
}
MASTER, REPLICA = Node(0, "own", Role.MASTER), Node(0, "own", Role.REPLICA, link_up=True)
VIEW = RedisView((), MASTER, info=INFO)
SET = Settings(sends_login=True, tls_replication=False, tls_only=False, tls_port=0)
WELL = Trial(settings=SET)
KNOWN = Sentinel(0, "s1", Address("10.0.1.1", 26379), master=OWN, epoch=1, run_ids={OWN: "own", OTHER: "other"})
GROUP = Survey("mymaster", (KNOWN,))
FOLLOWS = "ok   fence 127.0.0.1:6379: on: the login may make this node a replica, and it could follow"


def said(view: RedisView = VIEW, trial: Trial | None = WELL, found: Survey = GROUP, mode: str = "on") -> list[str]:
    """The lines about the fence of the usual node."""
    config = load(None, {}, {"fence.mode": mode, "redis.username": "app"})
    return [str(finding) for finding in fence_findings(config, config.redis[0], view, found, trial)]


def about_fence(view: RedisView = VIEW, trial: Trial = WELL, found: Survey = GROUP) -> str:
    """The one line about it."""
    (line,) = said(view, trial, found)
    return line


def without(view: RedisView, *names: str) -> RedisView:
    return replace(view, info={name: value for name, value in view.info.items() if name not in names})


def test_a_node_that_may_be_fenced_and_could_follow_is_well() -> None:
    """One line says so."""
    assert about_fence() == FOLLOWS


@pytest.mark.parametrize("mode", ["off", "watch"])
def test_without_the_fence_one_line_says_what_becomes_of_writes(mode: str) -> None:
    """However many nodes there are, it is the same one, so it is said once."""
    (line,) = said(trial=None, mode=mode)
    assert line.startswith(f"ok   fence: {mode}: ")


def test_rights_that_lack_are_named_as_a_shell_takes_them() -> None:
    """A right holds a sign that a shell would take for its own."""
    assert about_fence(trial=replace(WELL, missing=("+client|pause", "+replicaof"))) == (
        "FAIL fence 127.0.0.1:6379: the login lacks rights, so a master that has lost its authority could not be made a "
        "replica; redis-cli ACL SETUSER app '+client|pause' +replicaof"
    )


def test_a_refusal_of_another_kind_is_told_from_one_that_passes() -> None:
    """A command that is renamed stays away; a node that loads does so for a while."""
    refused = Trial(refused="unknown command 'REPLICAOF'")
    assert about_fence(trial=refused).startswith(
        "FAIL fence 127.0.0.1:6379: the node refuses what the fence sends: unknown command 'REPLICAOF'; a rename-command"
    )
    busy = Trial(refused="BUSY Redis is busy running a script", passing=True)
    assert about_fence(trial=busy).startswith("warn fence 127.0.0.1:6379: could not be tried just now: BUSY")


def test_a_master_that_could_not_log_in_at_another_is_wrong() -> None:
    """As a replica it has no password to send. A replica whose link is up has shown that it needs none."""
    mute = Trial(settings=replace(SET, sends_login=False), wants_login=True)
    assert about_fence(trial=mute).startswith(
        "FAIL fence 127.0.0.1:6379: it asks for a password, and would send none as a replica (masterauth is not set)"
    )
    assert about_fence(replace(VIEW, node=REPLICA), mute) == FOLLOWS
    assert about_fence(trial=replace(mute, wants_login=False)) == FOLLOWS


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (replace(SET, tls_port=6379), True),
        (replace(SET, tls_port=6380), False),
        (replace(SET, tls_port=6380, tls_only=True), True),
        (replace(SET, tls_port=6379, tls_replication=True), False),
    ],
)
def test_a_master_that_the_others_reach_by_tls_has_to_follow_by_tls(settings: Settings, wrong: bool) -> None:
    """Sentinel knows it at its TLS port, or it has no other one."""
    line = about_fence(trial=Trial(settings=settings))
    assert line.startswith("FAIL fence 127.0.0.1:6379: the nodes reach each other by TLS") if wrong else line == FOLLOWS


@pytest.mark.parametrize(("version", "can"), [("6.0.16", False), ("6.2.0", True), ("10.0.1", True), ("", False)])
def test_an_older_redis_cannot_let_writes_wait_and_the_rest_is_done(version: str, can: bool) -> None:
    """That is worth a look, no failure."""
    line = about_fence(replace(VIEW, info=INFO | {"redis_version": version}))
    assert line == FOLLOWS if can else line.startswith("warn fence 127.0.0.1:6379: before Redis 6.2 writes cannot wait")


def test_a_node_without_a_configuration_file_would_be_a_master_again() -> None:
    """What cannot be written down is lost in a restart."""
    assert about_fence(without(VIEW, "config_file")).startswith(
        "warn fence 127.0.0.1:6379: it was started without a configuration file: after a restart it would be a master again"
    )


def test_everything_that_is_wrong_with_a_node_is_said_at_once() -> None:
    """One run is enough to learn it."""
    view = replace(VIEW, info={"redis_version": "6.0.16", "connected_slaves": "1"})
    trial = Trial(missing=("+exec",), wants_login=True, settings=replace(SET, sends_login=False))
    assert [line.split()[0] for line in said(view, trial)] == ["FAIL", "FAIL", "warn", "warn"]
