"""What is sent to a Redis node that has lost its authority, and what the agent's login needs for it.

The transaction is Sentinel's own for a node that it turns (``sentinelSendSlaveOf`` in sentinel.c), with the pause ended
in it: who is sent away finds no moment in which this node takes a write.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import NoPermissionError

from consul_redis_agent.decide.facts import Address

Commands = tuple[tuple[str, ...], ...]

PAUSE_WRITES = 2.0
"""Seconds for which writes wait, once: what queues behind a longer pause makes Sentinel hold the node for down."""
PAUSE_ALL = 1.0
"""Seconds for which everything waits on a master that came back empty: a replica knocks once a second."""


def pause(seconds: float, *, all_commands: bool = False) -> tuple[str, ...]:
    """Let the writes wait, or everything. ``WRITE`` needs Redis 6.2 or later; expiry and eviction wait too."""
    return ("CLIENT", "PAUSE", str(round(seconds * 1000)), "ALL" if all_commands else "WRITE")


def turn(to: Address, *, pauses: bool) -> Commands:
    """Make the node a replica of ``to`` and close its clients' connections, in one transaction.

    ``pauses``: it is Redis 6.2 or later, so there may be a pause to end. An answer for each command; the last one, to
    EXEC, is the list of what was done. REWRITE is refused in it where there is no configuration file, which changes nothing.
    """
    steps = [
        ("REPLICAOF", to.host, str(to.port)),
        ("CONFIG", "REWRITE"),
        ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
        ("CLIENT", "KILL", "TYPE", "pubsub"),
    ]
    if pauses:
        steps.append(("CLIENT", "UNPAUSE"))
    return (("MULTI",), *steps, ("EXEC",))


def rehearsal(*, pauses: bool) -> Commands:
    """Everything that a fence sends, queued and then discarded: a right that is missing shows, and nothing is done."""
    queued = [*turn(Address("127.0.0.1", 1), pauses=pauses)[1:-1]]
    if pauses:
        queued.append(pause(0.001))
    return (("MULTI",), *queued, ("DISCARD",))


def missing_rights(commands: Commands, answers: Sequence[object]) -> list[str]:
    """The ACL rights that these answers say are missing, as ``ACL SETUSER`` takes them."""
    refused = [c for c, answer in zip(commands, answers, strict=True) if isinstance(answer, NoPermissionError)]
    return list(dict.fromkeys(f"+{'|'.join(c[: 2 if c[0] in ('CLIENT', 'CONFIG') else 1]).lower()}" for c in refused))
