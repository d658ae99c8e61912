"""What other programs count in the log: stable names and fields, the same in the code and in the table."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import consul_redis_agent
from consul_redis_agent.marked import event
from consul_redis_agent.tell.events import EVENTS
from consul_redis_agent.tell.logs import JournalFormatter, JsonFormatter, TextFormatter
from consul_redis_agent.tell.tale import SIGNS

SOURCES = sorted(Path(consul_redis_agent.__file__).parent.rglob("*.py"))
ALERTING = ("warning", "error", "critical", "exception", "log")
ORDERED = {"node", "order", "to"}
"""What the fence adds to each of its events."""


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call of ``log.…`` and of ``event`` in the package: its place, what is called, and the call."""
    for path in SOURCES:
        for found in ast.walk(ast.parse(path.read_text())):
            match found:
                case (
                    ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=called))
                    | ast.Call(func=ast.Attribute(attr="_event" as called) | ast.Name(id="event" as called))
                ):
                    yield f"{path.name}:{found.lineno}", called, found


def given() -> Iterator[tuple[str, str, set[str]]]:
    """Every event that the code gives: its place, its name and its fields."""
    for place, called, call in calls():
        if called not in ("event", "_event") or isinstance(call.args[0], ast.Name):
            continue
        fields = ORDERED.copy() if called == "_event" else set[str]()
        for keyword in call.keywords:
            if isinstance(keyword.value, ast.Dict) and keyword.arg is None:
                fields |= {str(key.value) for key in keyword.value.keys if isinstance(key, ast.Constant)}
            else:
                fields.add(str(keyword.arg))
        for part in ast.walk(call.args[0]):
            if isinstance(part, ast.Constant):
                yield place, str(part.value), fields


def test_whatever_an_operator_may_alert_on_has_an_event() -> None:
    """Every call that logs a warning, or more, gives one."""
    places = [(place, call) for place, called, call in calls() if called in ALERTING]
    bare = [place for place, call in places if "extra" not in {k.arg for k in call.keywords}]
    assert (len(places) > 25, bare) == (True, [])


def test_the_table_has_just_the_events_that_there_are() -> None:
    """None in the code that is not in the table, none in the table that nobody gives, and with the fields that it names."""
    found = [*given()]
    assert {name for _, name, _ in found} == set(EVENTS)
    assert [(place, name) for place, name, fields in found if fields != set(EVENTS[name].fields)] == []


def test_no_field_hides_what_every_line_has() -> None:
    """Neither of the log nor of the history."""
    assert {field for known in EVENTS.values() for field in known.fields}.isdisjoint(
        {"time", "level", "logger", "event", "message"}
    )
    assert {field for _, _, fields in SIGNS.values() for field in fields}.isdisjoint({"at", "lane", "name", "text"})


@pytest.fixture
def record() -> logging.LogRecord:
    """A line with an event."""
    made = logging.LogRecord("x", logging.INFO, "x.py", 1, "%s: became %s", ("a", "master"), None)
    vars(made).update(event("decided", node="a", to="master", epoch=7))
    return made


def test_json_has_the_event_and_its_fields_beside_the_sentence(record: logging.LogRecord) -> None:
    """So that nobody has to read sentences with a regular expression."""
    line = json.loads(JsonFormatter().format(record))
    assert {key: line[key] for key in line if key not in ("time", "level", "logger")} == {
        "event": "decided",
        "node": "a",
        "to": "master",
        "epoch": 7,
        "message": "a: became master",
    }


def test_people_read_the_sentence_only(record: logging.LogRecord) -> None:
    """On a terminal and in the journal as before."""
    assert JournalFormatter().format(record) == "<6>a: became master"
    assert TextFormatter().format(record).endswith(" info a: became master")
