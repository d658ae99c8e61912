"""What `make audit` makes of the registry's answers."""

from __future__ import annotations

from typing import Any

from tests.audit.__main__ import judge

KNOWN: dict[str, Any] = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": [], "description": ""}


def well(name: str, *holes: dict[str, Any]) -> dict[str, Any]:
    """A package that was asked for."""
    return {"name": name, "version": "1.0", "vulns": [*holes]}


def unasked(name: str) -> dict[str, Any]:
    """A package on which the registry has nothing."""
    return {"name": name, "skip_reason": "not found"}


def test_a_known_hole_fails_and_says_what_mends_it() -> None:
    """Whatever else could not be asked."""
    code, lines = judge({"dependencies": [well("a"), well("b", KNOWN), unasked("c")]})
    assert code == 1
    assert "b 1.0: PYSEC-1, mended in 2.0" in lines
    assert "c" in lines[1]


def test_what_was_not_audited_is_said_and_is_no_success() -> None:
    """A registry without data fails nothing, and no line reads as if all were well."""
    code, lines = judge({"dependencies": [unasked("a"), unasked("b")]})
    assert code == 0
    assert lines == ["nothing was audited: the registry has no data on any of the 2 packages of requirements.lock"]


def test_without_holes_it_says_how_many_were_asked() -> None:
    """And that is well."""
    assert judge({"dependencies": [well("a")]}) == (
        0,
        ["1 of 1 packages of requirements.lock were audited; holes known: 0"],
    )
