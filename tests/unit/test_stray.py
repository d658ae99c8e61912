"""Stray writes: what a node without authority was given to write is counted, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consul_redis_agent.decide.decision import Decision, Reason, Verdict
from consul_redis_agent.decide.facts import Node, Silence
from consul_redis_agent.tell.stray import WITHOUT_AUTHORITY, StrayWrites
from tests.doubles.facts import NOW, SILENT, master, replica

TRUE = Decision(Verdict.MASTER, Reason.NAMED, "")
FALSE = Decision(Verdict.NONE, Reason.OUTVOTED, "")


def written(changes: int, **more: object) -> Node:
    """The node says master, with so many changes since it last saved."""
    return replace(master(at=NOW + changes / 100), changes=changes, **more)  # type: ignore[arg-type]


def told(*looks: tuple[Node | Silence, Decision]) -> tuple[list[str], int]:
    """What is said over these looks, and the count at the end."""
    stray = StrayWrites()
    said = [stray.seen(node, decision) for node, decision in looks]
    return [text for text in said if text], stray.total


@pytest.mark.parametrize("reason", sorted(WITHOUT_AUTHORITY))
def test_what_is_written_without_authority_is_counted_until_it_is_a_replica(reason: Reason) -> None:
    """From the first look after the loss on; it is said once, with the time that it took."""
    false = replace(FALSE, reason=reason)
    said, total = told((written(50), TRUE), (written(100), false), (written(300), false), (replica(at=NOW + 4), false))
    assert (len(said), total) == (1, 200)
    assert "200 changes of keys" in said[0]
    assert "in 3.0 s" in said[0]


@pytest.mark.parametrize(
    "decision",
    [TRUE, Decision(Verdict.PENDING, Reason.FIRST, ""), Decision(Verdict.NONE, Reason.LOADING, "")],
    ids=lambda d: d.reason.name,
)
def test_what_a_true_master_is_given_is_not_counted(decision: Decision) -> None:
    """Nor where the reason says nothing about authority."""
    assert told((written(100), decision), (written(300), decision), (replica(), FALSE)) == ([], 0)


def test_a_save_in_between_loses_no_more_than_what_was_saved() -> None:
    """Redis counts anew from there."""
    _, total = told((written(100), FALSE), (written(150), FALSE), (written(30), FALSE), (replica(), FALSE))
    assert total == 80


def test_a_node_that_dies_or_is_named_again_ends_the_count() -> None:
    """So does another life of it, whose own changes begin at 0."""
    assert told((written(10), FALSE), (written(15), FALSE), (SILENT, FALSE))[1] == 5
    assert told((written(10), FALSE), (written(15), FALSE), (written(90), TRUE), (written(99), TRUE))[1] == 5
    assert (
        told((written(10), FALSE), (written(15), FALSE), (written(20, run_id="new"), FALSE), (replica(), FALSE))[1] == 5
    )
