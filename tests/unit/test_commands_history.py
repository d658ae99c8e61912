"""``history``: the story for eyes, columns and JSON for programs, and where it comes from."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from consul_redis_agent import cli
from consul_redis_agent.commands import history
from consul_redis_agent.tell import shelf

FIXTURE = (Path(__file__).parents[1] / "doubles" / "history.json").read_text()
EPISODES: list[dict[str, Any]] = json.loads(FIXTURE)["episodes"]


class Answering(ThreadingUnixStreamServer):
    """An agent that answers everything with one text."""

    said = FIXTURE


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Answering
    client_address = ("", 0)

    def do_GET(self) -> None:
        """Answer."""
        body = self.server.said.encode() if self.path == "/history" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Answering]:
    """It listens on a.sock."""
    with Answering(str(tmp_path / "a.sock"), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(tmp_path: Path, *flags: str) -> int:
    """The command, on the socket of that folder."""
    return cli.main(["history", "--socket", str(tmp_path / "a.sock"), *flags])


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an agent keeps its history on this host."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state" / shelf.FILE


def test_a_person_reads_a_story(
    tmp_path: Path, agent: Answering, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each episode with its sentence and its figures, each event with its time to the millisecond and who it is of."""
    monkeypatch.setattr(history, "is_terminal", lambda: True)
    assert run(tmp_path, "--episode", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "#2  2026-11-26 10:35:00.126 UTC  10.0.0.2:6379  promotion"
    assert lines[1].strip() == EPISODES[1]["sentence"]
    assert "promoted → decided 2.3 ms" in lines[2]
    assert (
        "    10:35:05.452     +5.326 s  Sentinel 10.0.0.6:26379     has selected 10.0.0.2:6379, elected at epoch 7"
        in lines
    )
    assert len(lines) == 3 + len(EPISODES[1]["events"])


def test_a_program_reads_columns(tmp_path: Path, agent: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    """Nine, with tabs between; an event a line, of all episodes."""
    assert run(tmp_path) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {len(row) for row in rows} == {9}
    assert len(rows) == sum(len(episode["events"]) for episode in EPISODES)
    assert rows[0][:7] == [
        "3",
        "10.0.0.1:6379",
        "withdrawal",
        "2026-11-26T10:35:00.125+00:00",
        "0.0000",
        "redis",
        "redis_turned",
    ]


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [
        ((), ["withdrawal", "promotion", "return"]),
        (("--last", "2"), ["promotion", "return"]),
        (("--episode", "1"), ["return"]),
        (("--node", "10.0.0.1:6379"), ["withdrawal", "return"]),
        (("--node", "10.0.0.1:6379", "--last", "1"), ["return"]),
        (("--node", "10.0.0.9:6379"), []),
    ],
)
def test_what_is_asked_for_is_shown(
    tmp_path: Path, agent: Answering, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], kinds: list[str]
) -> None:
    """As the documented JSON."""
    assert run(tmp_path, "--json", *flags) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [episode["kind"] for episode in shown["episodes"]] == kinds
    assert all(map(shelf.is_episode, shown["episodes"]))


def test_the_last_failover_is_drawn(tmp_path: Path, agent: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    """Not what came after it; another one by its number; into a file or a pipe."""
    assert run(tmp_path, "--svg", str(tmp_path / "a.svg")) == 0
    assert run(tmp_path, "--svg", "-", "--episode", "1") == 0
    titles = [ET.fromstring(text)[0].text for text in ((tmp_path / "a.svg").read_text(), capsys.readouterr().out)]
    assert titles == [EPISODES[1]["sentence"], EPISODES[2]["sentence"]]


def test_without_an_agent_what_it_has_kept_is_read(
    tmp_path: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And that is said, beside what is shown."""
    kept.parent.mkdir()
    kept.write_bytes(b"".join(shelf.text(episode) + b"\n" for episode in EPISODES))
    assert run(tmp_path, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["episodes"] == EPISODES
    assert "no agent answers at" in said.err
    assert f"this is what one has kept in {kept}" in said.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "nor is there what one has kept"),
        (b"{", "is no history: line 1 is no episode"),
        ("a folder", "cannot be read: Is a dir"),
    ],
)
def test_no_history_at_all_is_said(
    tmp_path: Path, kept: Path, content: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with what to do about the agent; exit code 1."""
    if content is not None:
        kept.parent.mkdir()
    if isinstance(content, bytes):
        kept.write_bytes(content)
    elif content:
        kept.mkdir()
    assert run(tmp_path) == cli.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert "is it running?" in line


@pytest.mark.parametrize(
    "said", ["", "[]", '{"episodes": []', '{"version": "1", "episodes": [{"node": 1}]}', '{"version": 1}']
)
def test_another_program_is_no_agent(
    tmp_path: Path, agent: Answering, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or one of another version."""
    agent.said = said or "{}"
    assert run(tmp_path) == cli.FAILED
    assert "is not consul-redis-agent of this version" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--episode", "9"), "there is no episode 9: see `history`"),
        (("--svg", "/nowhere/a.svg"), "/nowhere/a.svg: cannot be written: No such file or directory"),
        (("--svg", "-", "--node", "a:1"), "nothing has happened yet that could be drawn"),
    ],
)
def test_what_is_not_there_is_said(
    tmp_path: Path, agent: Answering, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, one line."""
    assert run(tmp_path, *flags) == cli.FAILED
    assert capsys.readouterr().err == f"consul-redis-agent: {message}\n"


def test_nothing_steers_the_terminal(tmp_path: Path, agent: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever others have called themselves."""
    evil = [
        episode | {"sentence": "\x1b[2J\n", "events": [e | {"text": "\x1b]0;x\x07\n"} for e in episode["events"]]}
        for episode in EPISODES
    ]
    agent.said = json.dumps({"version": "1", "episodes": evil})
    for flags in ((), ("--json",), ("--svg", "-")):
        assert run(tmp_path, *flags) == 0
        assert {char for char in capsys.readouterr().out if not char.isprintable()} <= {"\n", "\t"}


def test_no_history_yet_is_a_sentence(
    tmp_path: Path, agent: Answering, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An agent beside a quiet fleet."""
    agent.said = '{"version": "1", "episodes": []}'
    monkeypatch.setattr(history, "is_terminal", lambda: True)
    assert run(tmp_path) == 0
    assert capsys.readouterr().out.startswith("Nothing has happened")
