"""Why a Redis or Sentinel server does not let the agent in, or does not tell what it is asked: what it says, what that means,
and how to mend it.

The words are those of ``src/networking.c``, ``src/acl.c`` and ``src/server.c`` in Redis 6.2 to 8 and Valkey.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Table = Literal["redis", "sentinel"]
"""The table of the configuration that the server is named in."""

CONTAINERS = ("acl", "client", "config", "sentinel")
"""Commands with subcommands."""
IS_SENTINEL = "this is a Sentinel, not a Redis node"
IS_CLUSTER = (
    "this is a node of a Redis Cluster, whose clients find their masters by themselves: Consul's one name misleads them"
)
MEND_CLUSTER = "take it out of [[redis]]; this program is for nodes that Sentinel watches"


@dataclass(frozen=True, slots=True)
class Cause:
    """One of them. ``what`` and ``mend`` may hold ``{user}``, ``{table}`` and ``{reason}``."""

    words: str
    """A regular expression that finds what the server says, in any case."""
    what: str
    mend: str


CAUSES = (
    Cause(
        r"noauth|authentication required",
        "it asks for a password, and none is configured",
        "set {table}.password_file",
    ),
    Cause(
        r"without any password configured",
        "it has no password, and one is configured",
        "take {table}.password_file out, or set requirepass",
    ),
    Cause(
        r"wrongpass|invalid password|invalid username-password",
        "it refuses the login of {user!r}: wrong password, or no such user",
        "correct {table}.username and {table}.password_file",
    ),
    Cause(
        r"max number of clients",
        "it has no connection left (maxclients)",
        "end idle clients, or raise it: CONFIG SET maxclients N",
    ),
    Cause(
        r"running in protected mode",
        "it is in protected mode: without a password it lets in nobody from another address than loopback",
        "give it a password and set {table}.password_file, or name it by 127.0.0.1 where it is on this host",
    ),
    Cause(
        r"unknown command ['`]info\b",
        "it does not know INFO: a rename-command in its configuration hides it, or it is no Redis",
        "take that out, since nothing else tells the role; keep others from INFO by ACL",
    ),
    Cause(
        r"unknown command ['`]sentinel\b",
        "it is a Redis node, or hides SENTINEL by rename-command: no Sentinel that could be asked",
        "correct sentinel.hosts, or take the rename-command out",
    ),
    Cause(
        rf"redis_mode:sentinel|{IS_SENTINEL}",
        IS_SENTINEL,
        "set redis.url to the Redis node; Sentinels belong in sentinel.hosts",
    ),
    Cause(
        r"no password for it",
        "{reason}",
        "correct {table}.password_file",
    ),
    Cause(
        r"no permissions to",
        "the login of {user!r} lacks a right: {reason}",
        "give it the rights of the example file redis-acl.conf",
    ),
    Cause(
        r"connection closed by server|connection reset by peer",
        "{reason} It hangs up at once",
        "is it in protected mode, or out of connections (maxclients)? see its log; a port for TLS needs rediss://",
    ),
    Cause(
        r"no answer within",
        "{reason}: it hangs, or packets are dropped",
        "look at its log, its load and the firewall",
    ),
)
"""The first that fits counts."""


def cause(reason: str, user: str, table: Table) -> tuple[str, str] | None:
    """What a refusal means, and how to mend it; None where it is none of these."""
    for one in CAUSES:
        if re.search(one.words, reason, re.IGNORECASE):
            place = {"user": user or "default", "table": table, "reason": reason}
            mend = one.mend.format_map(place)
            if right := missing_right(reason):
                mend = f"ACL SETUSER {place['user']} {right}"
            return one.what.format_map(place), mend
    return None


def told(reason: str, user: str, table: Table) -> str:
    """The refusal for the log and ``status``: with what it means and how to mend it, where that is known."""
    found = cause(reason, user, table)
    if found is None:
        return reason
    what, mend = found
    return f"{what}; {mend}" if reason in what else f"{reason}: {what}; {mend}"


def missing_right(reason: str) -> str:
    """The right that a refusal names, as ``ACL SETUSER`` takes it; empty where it names none.

    Redis before 7.0 names the command of a subcommand only, which would be too much to give.
    """
    found = re.search(r"no permissions to run the '([\w|-]+)' command( or its subcommand)?", reason)
    return f"+{found[1]}" if found and not (found[2] and found[1] in CONTAINERS) else ""
