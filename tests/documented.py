"""The JSON of the product, held against what is written down for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parents[1] / "docs" / "interface.schema.json").read_text())


def assert_documented(name: str, value: Any) -> None:
    """Raise AssertionError unless ``value`` is what :data:`SCHEMA` says of ``name``, with no key beside those."""
    schema = {**_closed(SCHEMA), "$ref": f"#/$defs/{name}"}
    errors = Draft202012Validator(schema).iter_errors(value)
    assert not (said := [f"{error.json_path}: {error.message}" for error in errors]), "\n".join(said)


def _closed(schema: Any) -> Any:
    """The same, with no key allowed that it does not name: to others, more keys than they know are no mistake."""
    if isinstance(schema, list):
        return [_closed(inside) for inside in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(inside) for key, inside in schema.items()}
    return {"additionalProperties": False, **closed} if "properties" in closed and "required" in closed else closed
