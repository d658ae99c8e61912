"""A Redis or Sentinel server that does not tell what it is asked: `check`, the log and `status` name the cause and what to do."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from consul_redis_agent.commands.check import _outside
from consul_redis_agent.commands.doctor.report import Report
from consul_redis_agent.commands.status import ask as ask_status
from consul_redis_agent.config import load
from consul_redis_agent.decide.facts import Address
from tests.fleet import ON_PATH, REDIS_6_2, VALKEY_9_1, AgentNode, Fleet, Server, until

from .support import wait_for_word


@dataclass(frozen=True)
class Case:
    """A server, what the agent is told of it, and what has to be said: the cause, and what to do."""

    address: Address
    keys: str
    cause: str
    mend: str


def cases(fleet: Fleet) -> dict[str, Case]:
    """One real server for each cause."""
    wrong = fleet.folder / "wrong.password"
    wrong.write_text("wrong-word")
    secret = fleet.folder / "user.password"
    secret.write_text("user-word")
    login = f'password_file = "{wrong}"\n'
    plain = fleet.redis()
    plain.ask("ACL", "SETUSER", "poor", "on", ">user-word", "+ping")
    locked = fleet.redis(password="secret-word")
    watched = fleet.sentinel(master=plain, quorum=1)
    renamed = fleet.redis(settings={"rename-command": 'INFO ""'})
    cluster = fleet.redis(settings={"cluster-enabled": "yes", "cluster-config-file": "nodes.conf"})
    poor = f'username = "poor"\npassword_file = "{secret}"\n'
    return {
        "renamed": Case(renamed.address, "", "a rename-command in its configuration hides it", "take that out"),
        "locked": Case(locked.address, "", "it asks for a password, and none is configured", "set redis.password_file"),
        "wrong": Case(
            locked.address,
            login,
            "it refuses the login of 'default': wrong password, or no such user",
            "correct redis.username and redis.password_file",
        ),
        "nobody": Case(
            plain.address,
            f'username = "nobody"\n{login}',
            "it refuses the login of 'nobody': wrong password, or no such user",
            "correct redis.username and redis.password_file",
        ),
        "needless": Case(
            plain.address, login, "it has no password, and one is configured", "take redis.password_file out"
        ),
        "poor": Case(plain.address, poor, "INFO", "ACL SETUSER poor +info"),
        "cluster": Case(cluster.address, "", "this is a node of a Redis Cluster", "take it out of [[redis]]"),
        "sentinel": Case(
            watched.address, "", "this is a Sentinel, not a Redis node", "Sentinels belong in sentinel.hosts"
        ),
    }


@pytest.fixture(scope="module", params=(ON_PATH, REDIS_6_2, VALKEY_9_1), ids=str)
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    server: Server = request.param
    if server.missing:
        pytest.skip(server.missing)
    with Fleet(server=server) as made:
        made.consul(servers=1)
        yield made


def check(path: Path) -> str:
    """What `check` finds wrong."""
    report = Report(as_json=True)
    asyncio.run(_outside(load(path, {}, {}), report))
    return "\n".join(str(one) for one in report.findings if one.level.name == "FAIL")


def errors(agent: AgentNode) -> list[dict[str, str]]:
    """What `status` complains of, by node."""
    return [node["errors"] for node in ask_status(agent.socket)["nodes"]]


def test_each_cause_is_named_with_what_to_do(fleet: Fleet) -> None:
    """INFO renamed, no password, a wrong one, one too many, a wrong user, a right that lacks, a cluster, a Sentinel: on real servers."""
    told = cases(fleet)
    head = (
        f'[consul]\nurl = "http://{fleet.consuls[0].http}"\ndns = "{fleet.consuls[0].dns}"\n[sentinel]\nmode = "off"\n'
    )
    for name, case in told.items():
        path = fleet.folder / "check.toml"
        service = f'service = "{name}"\nreplica = "{name}-replica"\n'
        path.write_text(f'{head}[[redis]]\nurl = "redis://{case.address}"\n{service}{case.keys}')
        said = check(path)
        assert case.cause in said, f"{name}: {said}"
        assert case.mend in said, f"{name}: {said}"
        assert "secret-word" not in said
        agent = fleet.agent(fleet.nodes[0], config=path.read_text())
        wait_for_word(agent, case.cause, within=15)
        until(lambda: errors(agent)[0], within=5, what="status says it, too")  # noqa: B023 - used in this turn
        shown = json.dumps(errors(agent)[0], ensure_ascii=False)
        assert case.cause in shown, f"{name}: {shown}"
        assert case.mend in shown, f"{name}: {shown}"
        assert re.search("(wrong|user|secret)-word", agent.log()) is None
        agent.stop()


def test_a_redis_node_where_a_sentinel_is_expected(fleet: Fleet) -> None:
    """It knows no SENTINEL."""
    node = fleet.redis()
    path = fleet.folder / "check.toml"
    text = f'[consul]\nurl = "http://{fleet.consuls[0].http}"\ndns = "{fleet.consuls[0].dns}"\n'
    text += (
        f'[sentinel]\nhosts = ["{node.address}"]\n[[redis]]\nurl = "redis://{node.address}"\nmaster_name = "mymaster"\n'
    )
    path.write_text(text)
    said = check(path)
    assert "it is a Redis node, or hides SENTINEL by rename-command" in said
    agent = fleet.agent(node, config=text)
    wait_for_word(agent, "it is a Redis node, or hides SENTINEL by rename-command", within=15)
    agent.stop()


@pytest.mark.netns
def test_protected_mode_is_named(isolated_fleet: Fleet) -> None:
    """It lets in nobody from another address than loopback."""
    fleet = isolated_fleet
    fleet.consul(servers=1)
    node = fleet.redis(fleet.consuls[0].host)
    node.ask("CONFIG", "SET", "protected-mode", "yes")
    text = f'[sentinel]\nmode = "off"\n[[redis]]\nurl = "redis://{node.address}"\n'
    path = fleet.folder / "check.toml"
    path.write_text(text)
    with node.host.inside():
        said = check(path)
    assert "it is in protected mode" in said
    assert "set redis.password_file" in said
    agent = fleet.agent(node, config=text)
    wait_for_word(agent, "it is in protected mode", within=15)
