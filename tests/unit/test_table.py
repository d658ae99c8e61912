"""The table of the rules: every row is reached, every case is decided, and no row is moved or changed unnoticed."""

from __future__ import annotations

import re
from itertools import combinations as pairs
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given

from consul_redis_agent.decide import rules
from consul_redis_agent.decide.backing import Backing
from consul_redis_agent.decide.decision import Policy, Reason, Verdict
from consul_redis_agent.decide.facts import Facts
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.decide.rules import TABLE, Row, State, decide, first_row
from consul_redis_agent.decide.standing import Standing
from tests.doubles.any_facts import all_facts, memories, policies
from tests.table_page import combinations, page

Case = tuple[State, Backing | None, Standing | None]
CASES = tuple(combinations())
PAGE = Path(__file__).parents[2] / "docs" / "table.md"


def decides(table: tuple[Row, ...], case: Case) -> Row | None:
    return next((row for row in table if row.fits(*case)), None)


def said(row: Row | None) -> tuple[Verdict, Reason] | None:
    return (row.verdict, row.reason) if row else None


@given(all_facts, memories, policies)
def test_a_decision_is_about_no_other_case(facts: Facts, memory: Memory, policy: Policy) -> None:
    """What the tests of this page go through is all that there is."""
    with patch.object(rules, "first_row", wraps=first_row) as asked:
        decide(facts, memory, policy)
    assert asked.call_args.args in CASES


def test_every_case_is_decided() -> None:
    """The table is total: there is no case that no row fits."""
    assert [case for case in CASES if decides(TABLE, case) is None] == []


@pytest.mark.parametrize("number", range(1, len(TABLE) + 1))
def test_every_row_decides_a_case(number: int) -> None:
    """None is hidden by those above it."""
    assert any(decides(TABLE, case) is TABLE[number - 1] for case in CASES)


@pytest.mark.parametrize("number", range(1, len(TABLE) + 1))
def test_every_part_of_a_row_decides_a_case(number: int) -> None:
    """Nor is any of the answers that it names: what it says of one that never gets there would mislead."""
    row = TABLE[number - 1]
    decided = [case for case in CASES if decides(TABLE, case) is row]
    for place, named in enumerate((row.node, row.backing, row.standing)):
        assert (named or set()) <= {case[place] for case in decided}


def test_no_row_can_go() -> None:
    """Without it at least one case would be decided in another way."""
    for row in TABLE:
        rest = tuple(other for other in TABLE if other is not row)
        assert any(said(decides(rest, case)) != said(decides(TABLE, case)) for case in CASES), row


def overlapping() -> list[tuple[int, int]]:
    """Two rows that fit one case, which none above the first of them has decided: their order matters."""
    return [
        (i, j)
        for (i, upper), (j, lower) in pairs(enumerate(TABLE), 2)
        if any(decides(TABLE, case) is upper and lower.fits(*case) for case in CASES)
    ]


def test_no_two_rows_that_overlap_can_be_swapped_unnoticed() -> None:
    """Swapping them changes what is said of at least one case; the order of all others is held by the page."""
    for i, j in overlapping():
        swapped = list(TABLE)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        assert any(said(decides(tuple(swapped), case)) != said(decides(TABLE, case)) for case in CASES), (i + 1, j + 1)


def test_every_row_carries_out_one_of_the_rules() -> None:
    """Its number is one of those that rules.py opens with, and they are numbered one after the other."""
    numbered = [int(number) for number in re.findall(r"^ ?(\d+)\. ", rules.__doc__ or "", re.MULTILINE)]
    assert numbered == list(range(1, len(numbered) + 1))
    assert {row.rule for row in TABLE} <= set(numbered)


def test_every_reason_and_every_verdict_is_some_rows() -> None:
    """What is documented for those who read logs and metrics can be met there."""
    assert {row.reason for row in TABLE} == set(Reason)
    assert {row.verdict for row in TABLE} == set(Verdict)


def test_the_page_shows_the_table_as_it_is() -> None:
    """``python -m tests.table_page > docs/table.md`` writes it anew; its diff shows what was moved."""
    assert PAGE.read_text() == page()
