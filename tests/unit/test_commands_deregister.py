"""`deregister`: which entries of hosts that are gone it takes, how, and what it forgets."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from consul_redis_agent import state
from consul_redis_agent.commands import deregister
from consul_redis_agent.commands.deregister import dead_entries, deletions, services_of
from consul_redis_agent.config import Config, load
from consul_redis_agent.consul.form import LIMIT
from consul_redis_agent.decide.facts import Address, Entry
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.errors import LocalError
from consul_redis_agent.publish.entries import Naming


def entry(node: str, number: int = 6379, *, marked: bool = True, alive: bool = False, group: str = "g1") -> Entry:
    at = Address("10.0.0.1", number)
    return Entry(node, f"redis-{number}", "redis", at, marked=marked, node_alive=alive, group=group)


def test_only_this_tools_entries_on_dead_nodes_are_taken() -> None:
    """Whichever group's; not what somebody made by hand, and nothing of a host that lives."""
    gone, stranger = entry("host1"), entry("host2", group="g2")
    assert dead_entries([gone, entry("host3", alive=True), entry("host4", marked=False), stranger]) == [gone, stranger]


def test_each_entry_is_deleted_on_its_own_consul_node() -> None:
    """By the service alone, which needs no right on the node; never more operations than a transaction may hold."""
    entries = [entry("host1"), entry("host2"), *(entry("host3", number) for number in range(LIMIT + 1))]
    made = [*deletions(entries)]
    assert made[0][:2] == [
        {"Service": {"Verb": "delete", "Node": node, "Service": {"ID": "redis-6379", "Service": "redis"}}}
        for node in ("host1", "host2")
    ]
    assert [len(operations) for operations in made] == [LIMIT, 3]


async def test_the_names_of_masters_and_replicas_are_looked_at(tmp_path: Path) -> None:
    """Each once, of all configured nodes."""
    file = tmp_path / "a.toml"
    file.write_text('[[redis]]\n[[redis]]\nurl = "redis://127.0.0.1:6380"\nservice = "cache"\nreplica = ""\n')
    assert services_of(await deregister._namings(load(file, {}, {}))) == ("redis", "redis-replica", "cache")


def args(**more: bool) -> argparse.Namespace:
    return argparse.Namespace(config=None, socket=None, **{"force": False, "dead": False} | more)


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[bool, bool]]:
    """What is asked to be removed, (own, dead), with nothing done; the state is in a folder of the test's."""
    asked: list[tuple[bool, bool]] = []

    async def remove(config: Config, *, own: bool, dead: bool) -> list[Naming]:
        asked.append((own, dead))
        return await deregister._namings(config)

    monkeypatch.setattr(deregister, "_remove", remove)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    return asked


def beside_an_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deregister, "ask", lambda socket: {"pid": 42, "nodes": [{"node": "127.0.0.1:6379"}]})


def without_an_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(socket: Path) -> None:
        raise LocalError("no agent answers")

    monkeypatch.setattr(deregister, "ask", nobody)


def test_without_an_agent_the_entries_go_and_the_group_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, removed: list[tuple[bool, bool]], tmp_path: Path
) -> None:
    """An agent that starts here later begins as a new one."""
    without_an_agent(monkeypatch)
    for dead in (False, True):
        state.save(tmp_path, "node-6379", Memory(group="g1", had_sentinel=True))
        assert deregister.main(args(dead=dead)) == 0
        assert state.load(tmp_path, "node-6379") == Memory()
    assert removed == [(True, False), (True, True)]


def test_beside_an_agent_only_dead_hosts_entries_go(
    monkeypatch: pytest.MonkeyPatch,
    removed: list[tuple[bool, bool]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The own ones would be put back, after a hole in DNS; who insists is obeyed."""
    beside_an_agent(monkeypatch)
    state.save(tmp_path, "node-6379", Memory(group="g1"))
    with pytest.raises(LocalError, match=r"the running agent \(pid 42\) looks after 127.0.0.1:6379 and would put"):
        deregister.main(args())
    assert deregister.main(args(dead=True)) == 0
    assert capsys.readouterr().out == (
        "left alone this host's entries: the running agent (pid 42) looks after 127.0.0.1:6379\n"
    )
    assert state.load(tmp_path, "node-6379").group == "g1"
    assert deregister.main(args(force=True)) == 0
    assert removed == [(False, True), (True, False)]


def test_what_cannot_be_forgotten_is_said(
    monkeypatch: pytest.MonkeyPatch, removed: list[tuple[bool, bool]], tmp_path: Path
) -> None:
    """The entries are out; what that means for the next start, and what to do."""
    without_an_agent(monkeypatch)
    (tmp_path / "node-6379.json").mkdir()  # not even root can unlink that
    with pytest.raises(
        LocalError, match="an agent that starts here is of the same group again; run this as the agent's"
    ):
        deregister.main(args())
    assert removed == [(True, False)]
