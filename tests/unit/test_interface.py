"""What is written down for other programs is what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from consul_redis_agent.commands.failover.outcome import STEPS
from consul_redis_agent.consul import form
from consul_redis_agent.tell.pages import Pages
from tests.documented import SCHEMA, assert_documented
from tests.interface_page import ENDPOINTS, META, page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_current() -> None:
    """docs/interface.md is what its tables say."""
    assert (DOCS / "interface.md").read_text() == page(), "python -m tests.interface_page > docs/interface.md"


def test_the_schema_is_one() -> None:
    """Any validator takes it."""
    Draft202012Validator.check_schema(SCHEMA)


def test_every_path_and_parameter_is_told() -> None:
    """And none that is not served."""
    pages = Pages(snapshot=dict, metrics=bytes, healthy=lambda: (True, ""), history=bytes)
    assert {path: query for path, (query, _, _) in ENDPOINTS.items()} == {
        path: q for path, (_, q) in pages._routes.items()
    }


def test_every_key_of_meta_is_told() -> None:
    """Whatever the form of an entry calls redis-… stands on the page."""
    keys = {value for name, value in vars(form).items() if name.isupper() and str(value).startswith("redis-")}
    assert META.keys() == keys | {form.MARKER, form.SOURCE}


def test_every_step_of_a_failover_is_told() -> None:
    """Its timeline has the steps that the command knows."""
    move: Any = SCHEMA["$defs"]["failover"]["properties"]["move"]
    assert [*move["properties"]["timeline_ms"]["properties"]] == [*STEPS]


def test_a_key_that_nobody_wrote_down_is_found() -> None:
    """The check itself fails on one too many, on one too few and on another type."""
    claim = {"epoch": 1, "turn": 0, "run_id": "a", "early": False}
    assert_documented("claim", claim)
    for wrong in (claim | {"more": 1}, {"epoch": 1}, claim | {"epoch": "1"}):
        with pytest.raises(AssertionError, match=r"\$"):
            assert_documented("claim", wrong)
