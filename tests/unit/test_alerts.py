"""The alerts that are shipped: each fires when it should, says what it means, and is silent when nothing is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.prometheus import ALERTS, ROOT, SCRAPED, assert_of_the_table, promtool

JOB = 'job="consul-redis-agent", instance="10.0.0.1:9618"'
NODE = f'{JOB}, node="10.0.0.1:6379"'
SERVICE = f'{JOB}, service="redis"'
NODE_LABELS = {"job": "consul-redis-agent", "instance": "10.0.0.1:9618", "node": "10.0.0.1:6379"}
SERVICE_LABELS = {"job": "consul-redis-agent", "service": "redis"}
Series = dict[str, str]
_ALERT = re.compile(
    r"- alert: (?P<name>\w+)\n +expr: (?P<expr>.+)\n(?: +for: (?P<after>\w+)\n)? +labels: \{severity: (?P<severity>\w+)\}\n"
    r" +annotations:\n +summary: (?P<summary>\".+\")\n +command: (?P<command>\".+\")\n"
)


@dataclass(frozen=True)
class Alert:
    """One rule, as it stands in the file."""

    name: str
    expr: str
    severity: str
    summary: str
    command: str
    after: str | None = None


RULES = {
    found["name"]: Alert(
        **{key: json.loads(text) if key in ("summary", "command") else text for key, text in found.groupdict().items()}
    )
    for found in _ALERT.finditer(ALERTS.read_text())
}


def of_node(name: str, values: str, more: str = "") -> Series:
    return {f"consul_redis_agent_{name}{{{NODE}{more}}}": values}


def of_service(name: str, values: str, more: str = "", instance: str = "10.0.0.1:9618") -> Series:
    return {f"consul_redis_agent_{name}{{{SERVICE.replace('10.0.0.1:9618', instance)}{more}}}": values}


def sentinels(known: int, reached: int, quorum: int) -> Series:
    each = {"sentinels": known, "sentinels_reachable": reached, "sentinel_quorum": quorum}
    return {key: values for name, number in each.items() for key, values in of_node(name, f"{number}x40").items()}


def confirmed(by_sentinels: int, by_servers: int, decision: str = "master") -> Series:
    return (
        of_node("confirmation_age_seconds", f"{by_sentinels}x40", ', by="sentinels"')
        | of_node("confirmation_age_seconds", f"{by_servers}x40", ', by="servers"')
        | of_node("claim_ttl_seconds", "10x40")
        | of_node("decision", "1x40", f', decision="{decision}"')
    )


def promoted(within_a_second: str) -> Series:
    buckets = {"1.0": within_a_second, "+Inf": "0x30 1x10"}
    return {
        key: values
        for le, text in buckets.items()
        for key, values in of_node("promotion_to_dns_seconds_bucket", text, f', le="{le}"').items()
    }


CASES: dict[str, tuple[Series, dict[str, str], Series]] = {
    "RedisTwoMasters": (
        of_service("dns_seconds_total", "0x30 0.04x10", ', shows="two"'),
        SERVICE_LABELS,
        of_service("dns_seconds_total", "0.04x40", ', shows="two"'),
    ),
    "RedisNoMaster": (
        of_service("dns_masters", "1x10 0x30") | of_service("dns_masters", "1x10 _x30", instance="10.0.0.2:9618"),
        SERVICE_LABELS,
        of_service("dns_masters", "0x40") | of_service("dns_masters", "1x40", instance="10.0.0.2:9618"),
    ),
    "RedisClaimUnconfirmed": (confirmed(7, 9), NODE_LABELS, confirmed(3, 29)),
    "RedisSentinelsLost": (sentinels(4, 2, 2), NODE_LABELS, sentinels(3, 2, 2)),
    "RedisTokenRefused": (
        {f"consul_redis_agent_consul_token_refused{{{JOB}}}": "1x40"},
        {label: NODE_LABELS[label] for label in ("job", "instance")},
        {f"consul_redis_agent_consul_token_refused{{{JOB}}}": "0x40"},
    ),
    "RedisAgentDown": (
        {f"up{{{JOB}}}": "1x10 0x30"},
        {label: NODE_LABELS[label] for label in ("job", "instance")},
        {'up{job="another", instance="10.0.0.1:9618"}': "0x40"},
    ),
    "RedisAgentLate": (
        of_node("last_decision_age_seconds", "11x40"),
        NODE_LABELS,
        of_node("last_decision_age_seconds", "9x40"),
    ),
    "RedisNotPublished": (
        of_node("decision", "1x40", ', decision="none"'),
        NODE_LABELS | {"decision": "none"},
        of_node("decision", "1x40", ', decision="replica"') | of_node("decision", "0x40", ', decision="none"'),
    ),
    "RedisForeignEntries": (of_node("foreign_entries", "1x40"), NODE_LABELS, of_node("foreign_entries", "0x40")),
    "RedisFenceNotReady": (of_node("fence_ready", "0x40"), NODE_LABELS, of_node("fence_ready", "1x40")),
    "RedisFenceFailed": (
        of_node("fences_total", "0x30 1x10", ', kind="follow", result="failed"'),
        NODE_LABELS | {"kind": "follow", "result": "failed"},
        of_node("fences_total", "0x30 1x10", ', kind="follow", result="done"'),
    ),
    "RedisStrayWrites": (
        of_node("stray_writes_total", "0x30 7x10"),
        NODE_LABELS,
        of_node("stray_writes_total", "7x40"),
    ),
    "RedisEarlyTakenBack": (
        of_node("early_publications_taken_back_total", "0x30 1x10"),
        NODE_LABELS,
        of_node("early_publications_taken_back_total", "1x40") | of_node("early_publications_total", "0x30 1x10"),
    ),
    "RedisPublicationSlow": (promoted("0x40"), NODE_LABELS, promoted("0x30 1x10")),
    "RedisDnsUnanswered": (
        of_service("dns_seconds_total", "0+30x40", ', shows="unanswered"'),
        SERVICE_LABELS | {"instance": "10.0.0.1:9618", "shows": "unanswered"},
        of_service("dns_seconds_total", "0+2x40", ', shows="unanswered"'),
    ),
    "RedisAgentComplains": (of_node("complaints", "2x40"), NODE_LABELS, of_node("complaints", "0x40")),
}
"""By alert: what makes it fire, with which labels, and what comes close and does not. A value each 30 s, for 20 minutes."""
AT = "19m"


def written(text: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], text)


def judged(tmp_path: Path, cases: Mapping[str, tuple[Series, Sequence[object]]]) -> None:
    """Have promtool say of each alert whether it fires in its case, and what it says then. Raises AssertionError."""
    tests = [
        {
            "name": name,
            "interval": "30s",
            "input_series": [{"series": key, "values": values} for key, values in series.items()],
            "alert_rule_test": [{"eval_time": AT, "alertname": name, "exp_alerts": alerts}],
        }
        for name, (series, alerts) in cases.items()
    ]
    path = tmp_path / "test.json"  # which is YAML as well
    path.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "30s", "tests": tests}))
    promtool("test", "rules", str(path))


def test_every_alert_is_read_and_tested() -> None:
    """The cases here are those of the file, none left out: what promtool finds there, this page has found, too."""
    assert RULES.keys() == CASES.keys()
    assert f"SUCCESS: {len(RULES)} rules found" in promtool("check", "rules", str(ALERTS))
    promtool("check", "config", str(ALERTS.with_name("prometheus.yml")))


def test_every_alert_fires_and_says_what_to_run(tmp_path: Path) -> None:
    """With the node or the service in its sentence, and a command."""

    def fired(name: str, labels: dict[str, str]) -> object:
        rule = RULES[name]
        said = {key: written(text, labels) for key, text in (("summary", rule.summary), ("command", rule.command))}
        return {"exp_labels": labels | {"severity": rule.severity}, "exp_annotations": said}

    judged(tmp_path, {name: (series, [fired(name, labels)]) for name, (series, labels, _) in CASES.items()})


def test_every_alert_is_silent_when_something_else_happens(tmp_path: Path) -> None:
    """Something that comes close: whoever is woken for nothing turns alerts off."""
    judged(tmp_path, {name: (series, []) for name, (_, _, series) in CASES.items()})


def test_an_alert_that_does_not_fire_is_found(tmp_path: Path) -> None:
    """The proof above can fail."""
    (name, (series, _, _)), *_ = CASES.items()
    with pytest.raises(AssertionError, match=name):
        judged(tmp_path, {name: (series, [])})


@pytest.mark.parametrize("name", RULES)
def test_an_alert_asks_for_what_agents_have(name: str) -> None:
    """Each metric, label and label's value is one of the table; the labels in its sentences are those that it fires with."""
    rule = RULES[name]
    assert_of_the_table(rule.expr)
    assert {*re.findall(r"\$labels\.(\w+)", rule.summary + rule.command)} <= CASES[name][1].keys() | SCRAPED
    assert rule.severity in ("critical", "warning")
    assert name in (ROOT / "docs" / "monitoring.md").read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        "consul_redis_agent_masters > 1",
        'consul_redis_agent_decision{reason="none"} == 1',
        'consul_redis_agent_decision{decision="nobody"} == 1',
        "sum by (pod) (consul_redis_agent_dns_masters)",
        "consul_redis_agent_redis_info_seconds > 1",
        "1 > 0",
    ],
)
def test_an_expression_about_nothing_is_found(wrong: str) -> None:
    """The proof above can fail: for a metric, a label, a value, a grouping, a histogram as a whole, and for no metric at all."""
    with pytest.raises(AssertionError):
        assert_of_the_table(wrong)
