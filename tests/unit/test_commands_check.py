"""`check`: how findings are written, what it says of entries, and what a refused login means."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from consul_redis_agent.cli import _complain
from consul_redis_agent.commands.belonging import Belonging
from consul_redis_agent.commands.check_entries import claim_findings, others_findings, own_findings
from consul_redis_agent.commands.check_redis import explain_login
from consul_redis_agent.commands.screen import Finding, Level, say, show
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.consul.form import EPOCH, FORMAT, MARKER
from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.facts import Address, Entry, Node, Role, Sentinel
from consul_redis_agent.decide.group import Told

BY_HAND, OTHER = Address("10.0.0.9", 6379), Address("10.0.0.8", 6379)
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


@pytest.mark.parametrize("eyes", [True, False])
def test_what_others_say_steers_no_terminal(monkeypatch: pytest.MonkeyPatch, eyes: bool) -> None:
    """Neither in a finding nor in a line, nor in an error."""

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return eyes

    screen = Screen()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, screen)
    monkeypatch.setenv("TERM", "dumb")
    steers = "\x1b[2J\x07\x7f\x9b2J\r\u202e"
    show([Finding(Level.FAIL, steers, steers, steers)])
    say(f"node {steers}", steers)
    _complain(f"consul-redis-agent: {steers}")
    written = screen.getvalue()
    assert written.count(r"\x1b[2J") == 6
    assert all(char.isprintable() or char in "\n\t" for char in written)


def entry(id_: str, address: Address, *, passing: bool = True, **more: Any) -> Entry:
    return Entry("host2", id_, "redis", address, passing=passing, rises=passing, **more)


def said(whose: Belonging) -> list[str]:
    return [str(finding) for finding in others_findings("redis", "redis-replica", whose)]


def test_an_entry_made_by_hand_is_wrong_while_dns_answers_with_it() -> None:
    """It is named with the command that removes it, and never touched."""
    shown, hidden = entry("by-hand", BY_HAND), entry("by-hand", BY_HAND, passing=False)
    assert said(Belonging(Told(foreign=(shown, hidden)), (), ())) == [
        (
            "FAIL catalog: by-hand on host2 (10.0.0.9:6379) is under the name 'redis' and was not made by this tool: "
            "DNS answers with it, whoever the master is; on host2: consul services deregister -id=by-hand"
        ),
        (
            "warn catalog: by-hand on host2 (10.0.0.9:6379) is under the name 'redis' and was not made by this tool: "
            "DNS does not answer with it now; on host2: consul services deregister -id=by-hand"
        ),
    ]


def test_an_entry_that_says_master_without_a_readable_claim_is_wrong() -> None:
    """Nobody can obey or evict it. In mode `check` every replica has one that is critical and claims nothing: well."""
    unreadable = entry("redis-6379", OTHER, marked=True, says_master=True)
    left = entry("redis-6379", OTHER, passing=False, marked=True, says_master=True, meta={EPOCH: "many"})
    of_mode_check = entry("redis-6379", OTHER, passing=False, marked=True, says_master=True)
    assert said(Belonging(Told(foreign=(unreadable, left, of_mode_check)), (), ())) == [
        (
            "FAIL catalog: redis-6379 on host2 (10.0.0.8:6379) is under the name 'redis' and says master, but its claim is not "
            "readable: DNS answers with it, whoever the master is; if its agent is of another version or mode, give all the "
            "same; else deregister it on host2"
        ),
        (
            "warn catalog: redis-6379 on host2 (10.0.0.8:6379) is under the name 'redis' and says master, but its claim is not "
            "readable: DNS does not answer with it now; if its agent is of another version or mode, give all the same; else "
            "deregister it on host2"
        ),
    ]


def test_another_group_under_the_same_names_is_wrong_and_said_with_the_ways_out() -> None:
    """Under the master's name nobody else can publish; under the replicas' name readers get another group's data."""
    stranger = entry("redis-6379", OTHER, marked=True, group="g2", master_name="shop")
    (first, second) = said(Belonging(Told(strangers=(stranger,)), (stranger,), ()))
    assert first == (
        "FAIL another group: it uses the name 'redis' as well: redis-6379 on host2 (10.0.0.8:6379, master name shop); first "
        "come stays, the other one publishes nothing; give one of the groups another service.name, or take its entries out: "
        "consul-redis-agent deregister on its hosts (--dead for hosts that are gone)"
    )
    assert second.startswith("FAIL another group: it uses the name 'redis-replica' as well: ")
    assert "give one of the groups another replica.name" in second


def test_what_cannot_be_told_and_a_group_of_two_names_are_worth_a_look() -> None:
    """Neither is wrong by itself."""
    unknown = entry("redis-6379", OTHER, marked=True)
    assert said(Belonging(Told(untold=(unknown,)), (), ("mymaster", "sessions"))) == [
        (
            "warn catalog: too few Sentinels answer to tell whether these are this group's: redis-6379 on host2 (10.0.0.8:6379); "
            "mend the Sentinels, and check again"
        ),
        (
            "warn master name: this group is known under several: mymaster, sessions; have all its Sentinels monitor it under "
            "one name (SENTINEL REMOVE, SENTINEL MONITOR)"
        ),
    ]


def own(node: Node, found: Survey, seen: Entry) -> str:
    (finding,) = own_findings("entry", "redis", node, found, [seen])
    return str(finding)


@pytest.mark.parametrize(
    ("critical", "warning", "only_passing", "line"),
    [
        (
            ("'disk' of its node",),
            (),
            None,
            "FAIL entry: {} passes, but DNS leaves it out because of the check 'disk' of its node;",
        ),
        (
            (),
            ("'disk' of its node",),
            True,
            "FAIL entry: {} passes, but DNS leaves it out because of the check 'disk' of its node ",
        ),
        (
            (),
            ("'disk' of its node",),
            None,
            "warn entry: {} is in DNS, unless dns_config.only_passing is set: a check warns, ",
        ),
        ((), ("'disk' of its node",), False, "ok   entry: {} is in DNS"),
        ((), (), True, "ok   entry: {} is in DNS"),
    ],
)
def test_a_check_that_hides_the_own_entry_is_named(
    critical: tuple[str, ...], warning: tuple[str, ...], only_passing: bool | None, line: str
) -> None:
    """Somebody else's check fails, or warns where DNS serves only what passes."""
    seen = entry("redis-6379", OTHER, marked=True, critical=critical, warning=warning)
    (finding,) = own_findings("entry", "redis", None, Survey(), [seen], only_passing=only_passing)
    assert str(finding).startswith(line.format("redis at 10.0.0.8:6379 (redis-6379 on host2)"))


def test_the_own_entry_is_held_against_the_node_and_the_sentinels() -> None:
    """What DNS says of this node must be what it is."""
    one = Sentinel(0, "s1", Address("10.0.1.1", 26379), master=OTHER, epoch=1, run_ids={OTHER: "run"})
    named, claim = Survey("mymaster", (one,)), Claim(1, 0, "run")
    shown = entry("redis-6379", OTHER, marked=True, says_master=True, claim=claim)
    critical = entry("redis-6379", OTHER, marked=True, says_master=True, claim=claim, passing=False)
    master, replica = Node(0, "run", Role.MASTER), Node(0, "run", Role.REPLICA)
    assert own(master, named, shown) == "ok   entry: redis at 10.0.0.8:6379 (redis-6379 on host2) is in DNS"
    assert own(replica, named, shown).startswith(
        "FAIL entry: DNS gives this node out as the master, but it is a replica (redis-6379); "
    )
    assert own(master, named, critical).startswith("FAIL entry: Sentinel names this node, but its entry is critical")
    assert own(replica, named, critical) == (
        "ok   entry: redis at 10.0.0.8:6379 (redis-6379 on host2) is critical, so not in DNS; it keeps the last claim for "
        "the next master to compare with"
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


def claimed(epoch: int, *, form: str = FORMAT, passing: bool = True) -> Entry:
    meta, claim = {MARKER: form}, Claim(epoch, 0, "run")
    return entry("redis-6379", OTHER, marked=True, says_master=True, claim=claim, meta=meta, passing=passing)


def test_a_claim_that_no_majority_of_the_sentinels_has_reached_is_worth_a_look() -> None:
    """An early one for a moment, a false one for longer; what does not pass misleads nobody."""
    one = Sentinel(0, "s1", Address("10.0.1.1", 26379), master=OTHER, epoch=7, run_ids={OTHER: "run"})
    named = Survey("mymaster", (one,))
    (finding,) = claim_findings(named, [claimed(7), claimed(8)])
    assert (finding.id, "claims epoch 8, and the Sentinels are at 7" in finding.what) == ("catalog.claim_ahead", True)
    assert [*claim_findings(named, [claimed(8, passing=False)]), *claim_findings(Survey(), [claimed(8)])] == []


def test_an_agent_of_another_version_is_told() -> None:
    """By what it writes into the catalog."""
    (finding,) = claim_findings(Survey(), [claimed(1, form="1"), claimed(1)])
    assert (finding.id, "writes format 1" in finding.what) == ("catalog.other_version", True)
