"""`check`: how findings are written, and what a refused login means."""

from __future__ import annotations

import io
import sys

import pytest

from consul_redis_agent.commands.check import _foreign
from consul_redis_agent.commands.check_redis import explain_login
from consul_redis_agent.commands.screen import Finding, Level, show
from consul_redis_agent.decide.claim import MARKER, MASTER_NAME
from consul_redis_agent.decide.facts import Entry

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


def test_a_foreign_entry_is_reported_by_what_it_is() -> None:
    """Made by hand, or another group's: each has its own remedy; it is wrong only while DNS answers with it."""
    by_hand = Entry("host1", "by-hand", "redis", "10.0.0.9", 6379, passing=True)
    other = Entry("host2", "redis-6379", "redis", "10.0.0.8", 6379, meta={MARKER: "1", MASTER_NAME: "shop"})
    assert str(_foreign(by_hand)) == (
        "FAIL catalog: by-hand on host1 (10.0.0.9:6379) is under the name 'redis' and was not made by this tool: "
        "DNS answers with it, whoever the master is; on host1: consul services deregister -id=by-hand"
    )
    assert str(_foreign(other)) == (
        "warn catalog: redis-6379 on host2 (10.0.0.8:6379) is under the name 'redis' and belongs to another group (shop); "
        "DNS does not answer with it now; give each group a service name of its own (redis.service)"
    )


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
            "nothing listens there",
            "nothing listens there",
            "start Redis, or correct redis.url",
        ),
        ("Protocol Error: b'HTTP/1.1'", "Protocol Error: b'HTTP/1.1'", "is it a Redis server? see its log"),
    ],
)
def test_a_refused_login_is_explained(reason: str, what: str, mend: str) -> None:
    """What the server said, what it means, and which key mends it."""
    assert explain_login(reason, "app", "redis") == (what, mend)
