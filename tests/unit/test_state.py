"""What outlives a restart of the agent: kept in one step, read back, and forgotten; what cannot be read was not kept."""

from __future__ import annotations

import os
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent import state
from consul_redis_agent.decide.facts import Node, Role
from consul_redis_agent.decide.memory import NOTHING, Memory
from consul_redis_agent.errors import LocalError

KEPT = Memory(group="g-1", had_sentinel=True)
NAME = "redis-10.0.0.5-6379"


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    """For each Redis node apart; the newer replaces the older, and nothing else is left in the directory."""
    state.save(tmp_path, NAME, Memory(group="g-0"))
    state.save(tmp_path, NAME, KEPT)
    state.save(tmp_path, "redis-10.0.0.5-6380", Memory(group="g-2"))
    assert state.load(tmp_path, NAME) == KEPT
    assert state.load(tmp_path, "redis-10.0.0.5-6380") == Memory(group="g-2")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{NAME}.json", "redis-10.0.0.5-6380.json"]


def test_only_what_holds_after_a_restart_is_kept(tmp_path: Path) -> None:
    """Neither what was seen lately nor a time: the next start counts from another one."""
    seen = Node(7.0, "abc", Role.MASTER)
    state.save(tmp_path, NAME, Memory("g-1", had_sentinel=True, known=frozenset("abc"), roster_since=5.0, node=seen))
    loaded = state.load(tmp_path, NAME)
    assert (loaded.known, loaded.roster_since, loaded.node) == (frozenset(), inf, None)


@given(st.text(max_size=30), st.booleans())
def test_any_group_id_is_read_back(tmp_path_factory: pytest.TempPathFactory, group: str, had_sentinel: bool) -> None:
    """Whatever an operator's Consul has carried."""
    directory = tmp_path_factory.getbasetemp()
    state.save(directory, NAME, Memory(group=group, had_sentinel=had_sentinel))
    assert state.load(directory, NAME) == Memory(group=group, had_sentinel=had_sentinel)


def test_nothing_was_kept_where_there_is_no_directory_or_no_file(tmp_path: Path) -> None:
    """The first start, or one that systemd gives no directory."""
    assert state.load(None, NAME) == NOTHING
    assert state.load(tmp_path, NAME) == NOTHING
    assert state.load(tmp_path / "missing", NAME) == NOTHING


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"g-1"',
        b"{}",
        b'{"group": "g-1"}',
        b'{"had_sentinel": true}',
        b"\xff\xfe\x00",
        b"9" * 5000,
    ],
)
def test_what_cannot_be_read_was_not_kept(tmp_path: Path, text: bytes) -> None:
    """Half a file, or another's: the group is learnt anew, and the agent starts."""
    (tmp_path / f"{NAME}.json").write_bytes(text)
    assert state.load(tmp_path, NAME) == NOTHING


@pytest.mark.parametrize("text", ['{"group": null, "had_sentinel": true}', '{"group": ["g-1"], "had_sentinel": "no"}'])
def test_what_is_of_another_kind_was_not_kept(tmp_path: Path, text: str) -> None:
    """A group called None would be a stranger to its own past."""
    (tmp_path / f"{NAME}.json").write_text(text)
    assert state.load(tmp_path, NAME) == NOTHING


def test_a_file_that_is_none_was_not_kept(tmp_path: Path) -> None:
    """A directory in its place."""
    (tmp_path / f"{NAME}.json").mkdir()
    assert state.load(tmp_path, NAME) == NOTHING


def test_what_cannot_be_kept_is_said(tmp_path: Path) -> None:
    """Which file, why, and what it means; what was kept before stays."""
    (tmp_path / f"{NAME}.json").mkdir()
    with pytest.raises(LocalError, match=rf"{NAME}\.json: cannot be written: .*the group id is learned anew"):
        state.save(tmp_path, NAME, KEPT)
    with pytest.raises(LocalError, match="No such file or directory"):
        state.save(tmp_path / "missing", NAME, KEPT)


def test_an_interrupted_write_leaves_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one takes the old one's place only when it is whole."""
    state.save(tmp_path, NAME, KEPT)

    def killed(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(LocalError, match="No space left"):
        state.save(tmp_path, NAME, Memory(group="g-9"))
    assert state.load(tmp_path, NAME) == KEPT


def test_what_is_forgotten_is_not_read_any_more(tmp_path: Path) -> None:
    """Once or twice; what was kept for another node stays. Where it cannot be, that is said."""
    state.save(tmp_path, NAME, KEPT)
    state.save(tmp_path, "other", KEPT)
    state.forget(tmp_path, NAME)
    state.forget(tmp_path, NAME)
    assert (state.load(tmp_path, NAME), state.load(tmp_path, "other")) == (NOTHING, KEPT)
    (tmp_path / f"{NAME}.json").mkdir()
    with pytest.raises(LocalError, match=str(tmp_path)):
        state.forget(tmp_path, NAME)


@pytest.mark.parametrize(
    ("env", "directory"),
    [
        ({}, None),
        ({"STATE_DIRECTORY": ""}, None),
        ({"STATE_DIRECTORY": "/var/lib/a"}, Path("/var/lib/a")),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, Path("/var/lib/a")),
    ],
)
def test_systemd_says_where(env: dict[str, str], directory: Path | None) -> None:
    """A unit may have several; without one nothing is kept."""
    assert state.state_directory(env) == directory
