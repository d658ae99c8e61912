"""What is sent to a Redis node that has lost its authority, and what the agent's login needs for it.

The transaction is Sentinel's own for a node that it turns (``sentinelSendSlaveOf`` in sentinel.c), with the pause ended
in it: who is sent away finds no moment in which this node takes a write.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import ExecAbortError, NoPermissionError

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


TRANSACTION: Commands = (("MULTI",), ("EXEC",))
"""An empty transaction, to be tried before a rehearsal: whoever is refused MULTI carries out what follows, as far as it goes."""


def rehearsal(*, pauses: bool) -> Commands:
    """Everything that a fence sends, queued and then discarded: a right that is missing shows, and nothing is done.

    Each has an argument that no server takes, so that where MULTI is refused no role changes and nobody is disconnected.
    """
    queued = [*turn(Address("127.0.0.1", 1), pauses=pauses)[1:-1]]
    if pauses:
        queued.append(pause(PAUSE_WRITES))
    return (("MULTI",), *((*c[:2], "nothing") if len(c) > 2 else c for c in queued), ("DISCARD",))


def right(command: Sequence[str]) -> str:
    """The ACL right that it takes, as ``ACL SETUSER`` has it: ``+client|pause``."""
    return f"+{'|'.join(command[: 2 if command[0] in ('CLIENT', 'CONFIG') else 1]).lower()}"


def missing_rights(commands: Commands, answers: Sequence[object]) -> list[str]:
    """The rights that these answers say are missing."""
    refused = [command for command, answer in zip(commands, answers, strict=True) if lacks_right(answer)]
    return list(dict.fromkeys(map(right, refused)))


def lacks_right(answer: object) -> bool:
    """Whether a command was refused for want of a right. EXEC has an error of its own for everything, which says why."""
    aborted = isinstance(answer, ExecAbortError) and "permission" in str(answer)
    return isinstance(answer, NoPermissionError) or aborted
