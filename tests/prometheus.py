"""Prometheus and promtool, as ``tests/setup`` has them; and what an expression of theirs asks for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_redis_agent.tell.metrics import FAMILIES, LABELS, PREFIX, PROCESS

ROOT = Path(__file__).parent.parent
ALERTS = ROOT / "config" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "config" / "grafana" / "dashboard.json"
SCRAPED = {"job", "instance"}
"""The labels that Prometheus itself gives to everything that it scrapes."""
OPEN = {"node", "service", "sentinel", "version"}
"""The labels whose values no table knows."""
_SELECTOR = re.compile(r"\b(consul_redis_agent_\w+|process_\w+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|=|!=|!~)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


def program(name: str) -> str:
    """The path of ``promtool`` or ``prometheus``; skips the test where there is none."""
    own = ROOT / ".servers" / "prometheus" / name
    found = shutil.which(name) or (str(own) if own.exists() else None)
    if not found:
        pytest.skip(
            f"{name} is neither on PATH nor in .servers: `tests/setup judges` takes it from Debian's package prometheus"
        )
    return found


def promtool(*arguments: str, said: str = "") -> str:
    """What promtool prints of a page, or of files; raises AssertionError with it where it finds a fault."""
    ran = subprocess.run(
        [program("promtool"), *arguments], input=said, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def assert_of_the_table(expression: str) -> None:
    """Raise AssertionError where an expression asks for a metric, a label or a label's value that no agent has."""
    labels = {PREFIX + family.name: {*family.labels} for family in FAMILIES} | {
        key: set[str]() for key in (*PROCESS, "up")
    }
    for family in FAMILIES:
        if family.type == "histogram":
            whole = labels.pop(PREFIX + family.name)
            labels |= {f"{PREFIX}{family.name}_{part}": whole for part in ("sum", "count")}
            labels[f"{PREFIX}{family.name}_bucket"] = whole | {"le"}
    asked = list(selectors(expression))
    assert asked, f"asks for nothing: {expression}"
    for name, matchers in asked:
        assert name in labels, f"no agent has {name}"
        for label, value in matchers.items():
            assert label in labels[name] | SCRAPED, f"{name} has no label {label}"
            assert label in OPEN | SCRAPED | {"le"} or value in LABELS[label], f"{label} of {name} is never {value!r}"
    every = {label for name, _ in asked for label in labels[name]} | SCRAPED
    for group in _GROUPING.findall(expression):
        assert {label.strip() for label in group.split(",")} <= every, f"no metric of {expression} has all of ({group})"


def selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The metrics of an expression, each with the labels that are asked for."""
    for name, matchers in _SELECTOR.findall(expression):
        yield name, {label: value for label, operator, value in _MATCHER.findall(matchers) if operator == "="}


def questions(job: str = "consul-redis-agent", seconds: int = 60) -> list[tuple[str, str]]:
    """What each panel of the dashboard asks, with its title; the variables as Grafana fills them in."""
    filled = {"$job": job, "$__rate_interval": f"{seconds}s", "$__range": f"{seconds}s"}
    asked = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in filled.items():
                expression = expression.replace(variable, value)
            asked.append((panel["title"], expression))
    return asked
