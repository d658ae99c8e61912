"""The snapshot as metrics."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from consul_redis_agent.tell.metrics import renderer

NODE: dict[str, Any] = {
    "node": "127.0.0.1:6379",
    "role": "master",
    "run_id": "abc",
    "decision": "master",
    "reason": "majority",
    "sentence": "It is so.",
    "since": 1763800000.5,
    "decided_ago": 0.25,
    "claim": {"epoch": 5, "turn": 0, "run_id": "abc"},
    "sentinels": [
        {"address": "10.0.0.1:26379", "vote": "names this node", "epoch": 5, "reachable": True},
        {"address": "10.0.0.2:26379", "vote": "none", "epoch": 5, "reachable": False},
    ],
    "known_sentinels": 3,
    "entries": [],
    "errors": {},
    "counters": {
        "transitions": {'odd "reason"\n': 2},
        "decisions": 9,
        "consul_errors": 4,
        "redis_errors": 1,
        "stray_writes": 7,
    },
}


def samples(*nodes: dict[str, Any]) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels (in the order of their names), as a scraper reads it."""
    page = renderer(lambda: {"version": "1.2.3", "pid": 1, "nodes": nodes})()
    return {
        (sample.name.removeprefix("consul_redis_agent_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_a_master_in_full() -> None:
    """Everything that an alert needs is there, under a name that says its unit."""
    node = NODE["node"]
    assert samples(NODE) == {
        ("build_info", "1.2.3"): 1,
        ("consul_token_refused",): 0,
        ("role", node, "master"): 1,
        ("role", node, "replica"): 0,
        ("role", node, "loading"): 0,
        ("role", node, "unreachable"): 0,
        ("decision_info", "master", node, "majority"): 1,
        ("decision_since_timestamp_seconds", node): 1763800000.5,
        ("last_decision_age_seconds", node): 0.25,
        ("claim_epoch", node): 5,
        ("sentinels", node): 3,
        ("sentinels_reachable", node): 1,
        ("decisions_total", node): 9,
        ("transitions_total", node, 'odd "reason"\n'): 2,
        ("consul_errors_total", node): 4,
        ("redis_errors_total", node): 1,
        ("stray_writes_total", node): 7,
    }


def test_a_node_that_is_only_just_known() -> None:
    """Before the first decision there is no age and no claim, and nothing fails."""
    bare = NODE | {"role": "unknown", "claim": None, "decided_ago": None, "sentinels": [], "known_sentinels": 0}
    seen = samples(bare | {"counters": {"transitions": {}, "decisions": 0}})
    assert sum(value for name, value in seen.items() if name[0] == "role") == 0
    assert not {name[0] for name in seen} & {"claim_epoch", "last_decision_age_seconds", "transitions_total"}


def test_several_nodes_are_told_apart() -> None:
    """Each node of the process has its own samples."""
    seen = samples(NODE, NODE | {"node": "127.0.0.1:6380", "role": "replica"})
    assert seen["role", "127.0.0.1:6380", "replica"] == seen["role", "127.0.0.1:6379", "master"] == 1
