"""`check`: how findings are written, and what a refused login means."""

from __future__ import annotations

import io
import sys

import pytest

from consul_redis_agent.commands.check_redis import explain_login
from consul_redis_agent.commands.screen import Finding, Level, show

LONG = Finding(Level.FAIL, "token", "the token may not write the service 'redis' " * 4, "give it a policy " * 6)
FINDINGS = [Finding(Level.OK, "redis 127.0.0.1:6379", "says master [x]"), Finding(Level.WARN, "dns", "slow"), LONG]


def test_findings_for_programs_are_one_plain_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """No colour and no wrapping where the output is piped, however long the line."""
    show(FINDINGS)
    assert capsys.readouterr().out.splitlines() == [
        "ok   redis 127.0.0.1:6379: says master [x]",
        "warn dns: slow",
        f"FAIL token: {LONG.what}; {LONG.mend}",
    ]


def test_findings_for_eyes_have_colours_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the text is wrapped within its column, and nothing of it is lost or taken for markup."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    show(FINDINGS)
    said = terminal.getvalue()
    assert "\x1b[32mok" in said
    assert "says master [x]" in said
    assert said.count("service") == 4
    assert "→" in said


@pytest.mark.parametrize(
    ("reason", "what", "mend"),
    [
        (
            "NOAUTH Authentication required.",
            "it asks for a password, and none is configured",
            "set redis.password_file",
        ),
        (
            "WRONGPASS invalid username-password pair or user is disabled.",
            "it refuses the login of 'app': wrong password, or no such user",
            "correct redis.username and redis.password_file",
        ),
        (
            "max number of clients reached",
            "it has no connection left (maxclients)",
            "end idle clients, or raise it: CONFIG SET maxclients N",
        ),
        (
            "no answer within 1 s",
            "no answer within 1 s: it hangs, or packets are dropped",
            "look at its log, its load and the firewall",
        ),
        (
            "Error 111 connecting to 127.0.0.1:1. Connect call failed ('127.0.0.1', 1).",
            "nothing listens there",
            "start Redis, or correct redis.url",
        ),
        ("Protocol Error: b'HTTP/1.1'", "Protocol Error: b'HTTP/1.1'", "is it a Redis server? see its log"),
    ],
)
def test_a_refused_login_is_explained(reason: str, what: str, mend: str) -> None:
    """What the server said, what it means, and which key mends it."""
    assert explain_login(reason, "app", "redis") == (what, mend)
