"""`status`: the running agent's account, for eyes and for programs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from consul_redis_agent import cli
from consul_redis_agent.commands import status
from consul_redis_agent.commands.status import ago, is_well, lines
from consul_redis_agent.tell.pages import Pages
from consul_redis_agent.tell.server import Server


def serving(snapshot: dict[str, Any]) -> Server:
    """An agent whose account this is."""
    return Server(Pages(snapshot=lambda: snapshot, metrics=bytes, healthy=lambda: (True, ""), history=bytes))


SNAPSHOT: dict[str, Any] = {
    "version": "1.2.3",
    "pid": 42,
    "started": 1000.0,
    "nodes": [
        {
            "node": "127.0.0.1:6379",
            "role": "master",
            "run_id": "abc",
            "address": "10.0.0.1:6379",
            "master_name": "mymaster",
            "decision": "master",
            "reason": "named by a majority of Sentinels",
            "sentence": "Redis is a master, and 2 of 3 Sentinels name this node at epoch 7.",
            "since": 4590.0,
            "claim": {"epoch": 7, "turn": 1, "run_id": "abc"},
            "sentinels": [
                {"address": "10.0.1.1:26379", "id": "s1", "vote": "names this node", "epoch": 7, "tilt": False, "error": ""},
                {"address": "10.0.1.2:26379", "id": "s2", "vote": "none", "epoch": 7, "tilt": True, "error": ""},
                {"address": "10.0.1.3:26379", "id": "s3", "vote": "none", "epoch": -1, "tilt": False, "error": "no answer within 1 s"},
            ],
            "known_sentinels": 3,
            "entries": [
                {"node": "host1", "id": "redis-6379", "name": "redis", "address": "10.0.0.1:6379", "passing": True,
                 "visible": True, "maintenance": False, "claim": {"epoch": 7, "turn": 1, "run_id": "abc"}, "mine": True, "foreign": False},
                {"node": "host2", "id": "by-hand", "name": "redis", "address": "10.0.0.9:6379", "passing": False,
                 "visible": False, "maintenance": False, "claim": None, "mine": False, "foreign": True},
                {"node": "host3", "id": "redis-6379", "name": "redis", "address": "10.0.0.3:6379", "passing": True,
                 "visible": False, "maintenance": True, "claim": {"epoch": 6, "turn": 0, "run_id": "d"}, "mine": False, "foreign": False},
            ],
            "errors": {"Sentinel 10.0.1.3:26379": "it has no vote", "Redis": ""},
            "counters": {},
        }
    ],
}  # fmt: skip

BLOCK = """\
consul-redis-agent 1.2.3, pid 42, up 1 h 5 s

127.0.0.1:6379
  role       master, master name mymaster, published at 10.0.0.1:6379
  decision   master: named by a majority of Sentinels, for 15 s
             Redis is a master, and 2 of 3 Sentinels name this node at epoch 7.
  claim      epoch 7, turn 1
  sentinels  10.0.1.1:26379 names this node at epoch 7
             10.0.1.2:26379 has no vote: TILT, its clock jumped
             10.0.1.3:26379 has no vote: no answer within 1 s
  entries    redis at 10.0.0.1:6379: in DNS (redis-6379 on host1, this node's, epoch 7, turn 1)
             redis at 10.0.0.9:6379: not in DNS (by-hand on host2, not this tool's)
             redis at 10.0.0.3:6379: maintenance (redis-6379 on host3, another node's, epoch 6)
  errors     Sentinel 10.0.1.3:26379: it has no vote"""


def test_the_check_that_hides_an_entry_is_shown() -> None:
    """In place of a bare "not in DNS"."""
    snapshot = deepcopy(SNAPSHOT)
    snapshot["nodes"][0]["entries"][0] |= {"visible": False, "hidden_by": ["'disk' of its node"]}
    hidden = "redis at 10.0.0.1:6379: not in DNS because of the check 'disk' of its node ("
    assert any(hidden in line for line in lines(snapshot, 0))


def well() -> dict[str, Any]:
    """A snapshot with nothing wrong."""
    snapshot = deepcopy(SNAPSHOT)
    snapshot["nodes"][0]["errors"] = {"Redis": ""}
    return snapshot


def test_the_block_of_a_node_says_all_that_was_seen_and_decided() -> None:
    """Role, Sentinels, claim, entries, decision with its reason, since when, and what is in error."""
    assert "\n".join(lines(SNAPSHOT, now=4605.0)) == BLOCK


def test_what_is_not_known_is_said_or_left_out() -> None:
    """A node that was not seen yet."""
    snapshot = deepcopy(SNAPSHOT)
    snapshot["nodes"][0] |= {
        "role": "", "address": "", "master_name": "", "claim": None, "sentinels": [], "entries": [], "errors": {}
    }  # fmt: skip
    assert "\n".join(lines(snapshot, now=4605.0)).splitlines()[3:] == [
        "  role       unknown",
        "  decision   master: named by a majority of Sentinels, for 15 s",
        "             Redis is a master, and 2 of 3 Sentinels name this node at epoch 7.",
        "  sentinels  none is known",
        "  entries    Consul holds none",
    ]


def test_spans_are_said_in_their_two_largest_units() -> None:
    """Nobody needs the seconds of a day; a clock that went back is no negative age."""
    spans = {0.9: "0 s", 59: "59 s", 61: "1 min 1 s", 3600: "1 h", 3661: "1 h 1 min", 90_061: "1 d 1 h", -5: "0 s"}
    assert {seconds: ago(seconds) for seconds in spans} == spans


def test_well_is_published_and_without_an_error() -> None:
    """The exit code of `status` rests on this."""
    assert is_well(well())
    for wrong in ({"decision": "none"}, {"decision": "keep"}, {"errors": {"Redis": "does not answer"}}):
        snapshot = well()
        snapshot["nodes"].append(snapshot["nodes"][0] | wrong)
        assert not is_well(snapshot)
    assert not is_well({"nodes": []})


@pytest.mark.parametrize(("eyes", "flags"), [(True, []), (True, ["--json"]), (False, [])])
async def test_status_asks_the_running_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, eyes: bool, flags: list[str]
) -> None:
    """A block for eyes, JSON with --json or where the output is piped; 0 if all is well, else 1."""
    monkeypatch.setattr(status, "is_terminal", lambda: eyes)
    for snapshot, code in ((well(), 0), (SNAPSHOT, 1)):
        server = serving(snapshot)
        await server.listen_unix(tmp_path / "s")
        try:
            assert await asyncio.to_thread(cli.main, ["status", "--socket", str(tmp_path / "s"), *flags]) == code
        finally:
            await server.close()
        said = capsys.readouterr().out
        if eyes and not flags:
            assert said.startswith("consul-redis-agent 1.2.3, pid 42, up ")
        else:
            assert json.loads(said) == snapshot


@pytest.mark.parametrize("eyes", [True, False])
async def test_what_others_say_steers_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, eyes: bool
) -> None:
    """A master's name, an address, an error and an entry are anybody's; for programs they stay what they are."""
    monkeypatch.setattr(status, "is_terminal", lambda: eyes)
    steers = "\x1b[2J\x1b]0;x\x07\x7f\x9b2J\u202e\r\nrole"
    snapshot = deepcopy(SNAPSHOT)
    node = snapshot["nodes"][0]
    node |= {"master_name": steers, "address": steers, "sentence": steers, "errors": {steers: steers}}
    node["sentinels"][0]["vote"] = node["sentinels"][2]["error"] = node["entries"][0]["id"] = steers
    server = serving(snapshot)
    await server.listen_unix(tmp_path / "s")
    try:
        assert await asyncio.to_thread(cli.main, ["status", "--socket", str(tmp_path / "s")]) == 1
    finally:
        await server.close()
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.split("\n"))
    assert (r"\x1b[2J" in said) if eyes else (json.loads(said) == snapshot)


async def test_a_snapshot_of_other_types_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of another version, or of something else."""
    server = serving({"nodes": [7]})
    await server.listen_unix(tmp_path / "s")
    try:
        assert await asyncio.to_thread(cli.main, ["status", "--socket", str(tmp_path / "s")]) == 1
    finally:
        await server.close()
    assert capsys.readouterr().err.endswith("is not consul-redis-agent of this version\n")


def test_no_agent_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the place that was tried."""
    assert cli.main(["status", "--socket", str(tmp_path / "s")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"consul-redis-agent: no agent answers at {tmp_path / 's'}")


async def test_something_else_on_the_socket_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer that is not a snapshot is not shown as one."""
    server = serving({"some": "thing"})
    await server.listen_unix(tmp_path / "s")
    try:
        assert await asyncio.to_thread(cli.main, ["status", "--socket", str(tmp_path / "s")]) == 1
    finally:
        await server.close()
    assert (
        capsys.readouterr().err == f"consul-redis-agent: what listens at {tmp_path / 's'} is not consul-redis-agent\n"
    )


def test_status_does_not_load_the_agent() -> None:
    """It answers at once, also on a busy host."""
    script = "import sys, consul_redis_agent.commands.status; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not {"redis", "consul", "dns", "rich"} & set(done.stdout.split())
