"""What a refusal means: each row of the table is found by what a server really says, and says what to do."""

from __future__ import annotations

import re

import pytest

from consul_redis_agent.watch.causes import CAUSES, cause, missing_right, told

SAID = (
    "NOAUTH Authentication required.",
    "AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
    "invalid username-password pair or user is disabled.",
    "max number of clients reached",
    "DENIED Redis is running in protected mode because protected mode is enabled",
    "it refuses INFO: unknown command 'INFO', with args beginning with:",
    "does not monitor 'mymaster' (unknown command `SENTINEL`, with args beginning with: `GET-MASTER-ADDR-BY-NAME`)",
    "this is a Sentinel, not a Redis node",
    "no password for it: /run/secret: cannot be read: No such file or directory",
    "this user has no permissions to run the 'info' command",
    "Connection closed by server.",
    "no answer within 1 s",
)


def test_each_cause_has_what_a_server_says() -> None:
    """In the order of the table: none hides behind another."""
    found = [next(one for one in CAUSES if re.search(one.words, said, re.IGNORECASE)) for said in SAID]
    assert found == [*CAUSES]


@pytest.mark.parametrize("said", SAID)
def test_the_log_begins_with_what_the_server_said_and_ends_with_what_to_do(said: str) -> None:
    """Whose table of the configuration it is, stands in it."""
    explained = cause(said, "app", "sentinel")
    assert explained is not None
    line = told(said, "app", "sentinel")
    assert line.startswith(said)
    assert line.endswith(explained[1])
    assert "{" not in line


def test_what_is_not_known_is_repeated() -> None:
    """Nothing is guessed."""
    assert told("ERR of another kind", "app", "redis") == "ERR of another kind"


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("this user has no permissions to run the 'sentinel|master' command", "+sentinel|master"),
        ("User poor has no permissions to run the 'info' command", "+info"),
        ("this user has no permissions to run the 'info' command or its subcommand", "+info"),
        ("this user has no permissions to run the 'sentinel' command or its subcommand", ""),
        ("this user has no permissions to access one of the channels used as arguments", ""),
    ],
)
def test_the_right_that_lacks_is_read_from_each_version(said: str, right: str) -> None:
    """Redis 6.2 names the command alone: all its subcommands would be too much to give."""
    assert missing_right(said) == right
