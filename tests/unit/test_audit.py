"""What `make audit` makes of the registry's answers, and the list of what users get."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from consul_redis_agent import __version__
from tests.audit.__main__ import LOCK, ROOT, judge

TOOLS = ROOT / ".servers/audit/bin"
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


@pytest.mark.skipif(not (TOOLS / "cyclonedx-py").exists(), reason="`tests/setup audit` was not run")
def test_the_list_of_packages_is_what_the_lock_pins(tmp_path: Path) -> None:
    """Each at the locked version, with a licence."""
    locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / LOCK).read_text(), re.MULTILINE))
    made = tmp_path / "sbom.json"
    argv = [str(ROOT / "tests/audit/sbom"), sys.executable, str(made)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, env={"PATH": f"{TOOLS}:/usr/bin:/bin"})
    listed = json.loads(made.read_text())
    assert (listed["bomFormat"], listed["metadata"]["component"]["version"]) == ("CycloneDX", __version__)
    found = {part["purl"].partition("/")[2].partition("@")[0]: part for part in listed["components"]}
    here = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower() for d in distributions()}
    for name in locked.keys() & here:
        assert found[name]["version"] == locked[name]
        assert found[name]["licenses"], name
