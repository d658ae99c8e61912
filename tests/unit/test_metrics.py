"""The snapshot as metrics: what the product itself counts, in a world where it has failed over twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from consul_redis_agent.decide.decision import Do
from consul_redis_agent.tell import metrics
from consul_redis_agent.tell.metrics import FAMILIES, LABELS, PREFIX, PROCESS, REASONS, ROLES, VERDICTS, renderer
from tests.prometheus import OPEN
from tests.simulation.scripts import two_failovers
from tests.simulation.world import World

Snapshot = dict[str, Any]
Samples = Mapping[tuple[str, ...], float]
PAST = 55.0
"""Seconds into the world: both failovers are over, and everything has settled."""


@pytest.fixture(scope="module")
def snapshots() -> list[Snapshot]:
    """What each of three agents says of itself after a killed master and a planned failover."""
    taken: list[Snapshot] = []

    def script(world: World) -> None:
        two_failovers(world)
        world.engine.later(PAST, lambda: taken.extend(agent(host).snapshot() for host in world.hosts))

    World(1, script=script).run()
    assert len(taken) == 3
    return taken


def agent(host: Any) -> Any:
    return host.agent._agent


def families(snapshot: Snapshot) -> dict[str, Metric]:
    """Each metric as a scraper reads it, by its name in the table."""
    page = renderer(lambda: snapshot)().decode()
    found = {family.name: family for family in text_string_to_metric_families(page)}
    return {name + "_total" * (family.type == "counter"): family for name, family in found.items()}


def samples(snapshot: Snapshot) -> Samples:
    """Each sample by its name, without the prefix, and the values of its labels but the node's."""
    return {
        (
            sample.name.removeprefix(PREFIX),
            *(value for key, value in sample.labels.items() if key != "node"),
        ): sample.value
        for family in families(snapshot).values()
        for sample in family.samples
    }


def total(snapshots: list[Snapshot], name: str, *labels: str) -> float:
    return sum(samples(snapshot).get((name, *labels), 0) for snapshot in snapshots)


def test_two_failovers_are_counted_where_they_happened(snapshots: list[Snapshot]) -> None:
    """Two promotions took their time to Consul, each in one transaction, on the hosts of those that were promoted."""
    assert total(snapshots, "promotion_to_consul_seconds_count") == 2
    assert total(snapshots, "promotion_to_consul_seconds_sum") > 0
    assert total(snapshots, "transactions_total", "done") >= 2
    assert total(snapshots, "decision", "master") == total(snapshots, "role", "master") == 1


def test_every_agent_tells_whom_it_hears(snapshots: list[Snapshot]) -> None:
    """Three Sentinels with a quorum of two, all in reach, of one mind; and when that was confirmed."""
    for snapshot in snapshots:
        seen = samples(snapshot)
        assert seen[("sentinels",)] == seen[("sentinels_reachable",)] == 3
        assert seen[("sentinel_quorum",)] == 2
        assert sorted(seen["sentinel_votes", vote] for vote in ("for", "against", "none")) == [0, 0, 3]
        assert seen["confirmation_age_seconds", "sentinels"] >= 0
        assert 0 <= seen["confirmation_age_seconds", "servers"] < 40
    assert total(snapshots, "sentinel_votes", "for") == 3


def test_an_error_counts_against_whom_it_is_about(snapshots: list[Snapshot]) -> None:
    """The host whose Redis was killed has errors of Redis, and none of Consul; the others have neither."""
    errors = [samples(snapshot)[("redis_errors_total",)] for snapshot in snapshots]
    assert errors[0] > 0
    assert errors[1:] == [0, 0]
    assert total(snapshots, "consul_errors_total") == 0


def test_a_state_set_has_one_state(snapshots: list[Snapshot]) -> None:
    """A series never changes its labels: of role, decision and reason exactly one is 1, and all others are there as 0."""
    for snapshot in snapshots:
        seen = samples(snapshot)
        for name, states in (("role", ROLES), ("decision", VERDICTS), ("reason", REASONS)):
            assert {labels[0]: value for (each, *labels), value in seen.items() if each == name}.keys() == {*states}
            assert Counter(seen[name, state] for state in states) == {1: 1, 0: len(states) - 1}
    assert {labels[0] for (name, *labels) in seen if name == "transitions_total"} <= {*REASONS}


def test_the_table_is_what_is_rendered(snapshots: list[Snapshot]) -> None:
    """Each metric of the table has its type, its help and exactly its labels on the page, and the page has no other."""
    snapshot = deepcopy(snapshots[0])
    snapshot["dns"] = [{"service": "redis", "masters": ["10.0.0.1:6379"], "seconds": {"one": 5.0}}]
    node = snapshot["nodes"][0]
    node["fence"], node["counters"]["fences"] = "on", {do.name.lower(): {"done": 1, "failed": 0} for do in Do}
    node["claim"] = {"epoch": 1, "turn": 0, "run_id": "x", "early": False}
    node["counters"]["transitions"] = {"named": 1}
    page = families(snapshot)
    assert page.keys() == {PREFIX + family.name for family in FAMILIES} | PROCESS.keys()
    for family in FAMILIES:
        found = page[PREFIX + family.name]
        assert (found.type, found.documentation) == (family.type, family.help)
        assert {key for sample in found.samples for key in sample.labels} - {"le"} == {*family.labels}, family.name
        for label in {*family.labels} - OPEN:
            assert {sample.labels[label] for sample in found.samples} <= {*LABELS[label]}, family.name
    assert {name: page[name].type for name in PROCESS} == PROCESS


def test_what_is_unknown_has_no_sample(snapshots: list[Snapshot]) -> None:
    """DNS that does not answer names neither none nor one; a node without a claim has no epoch, one without fence no fence."""
    snapshot = deepcopy(snapshots[0])
    snapshot["dns"] = [{"service": "redis", "masters": None, "seconds": {"unanswered": 5.0}}]
    snapshot["nodes"][0] |= {"claim": None, "decided_ago": None, "fence": "watch"}
    seen = samples(snapshot)
    assert seen["dns_seconds_total", "redis", "unanswered"] == 5
    absent = {"dns_masters", "claim_epoch", "last_decision_age_seconds", "fence_ready", "fences_total"}
    assert not absent & {name for name, *_ in seen}


def test_a_label_from_outside_is_written_so_that_it_can_be_read_back(snapshots: list[Snapshot]) -> None:
    """A quotation mark or a line's end in a name is no end of the label."""
    snapshot = deepcopy(snapshots[0])
    snapshot["nodes"][0]["node"] = odd = 'odd "node"\n'
    assert {s.labels["node"] for f in families(snapshot).values() for s in f.samples if "node" in s.labels} == {odd}


def test_several_nodes_are_told_apart(snapshots: list[Snapshot]) -> None:
    """Each node of the process has its own samples."""
    snapshot = deepcopy(snapshots[0])
    snapshot["nodes"].append(deepcopy(snapshot["nodes"][0]) | {"node": "other"})
    epochs = families(snapshot)[f"{PREFIX}sentinels"].samples
    assert [sample.labels["node"] for sample in epochs] == [snapshot["nodes"][0]["node"], "other"]


def test_the_table_has_each_name_once() -> None:
    """No two rows share a name, and a counter's name says so."""
    names = [family.name for family in metrics.FAMILIES]
    assert len(names) == len({*names})
    assert all(family.name.endswith("_total") == (family.type == "counter") for family in FAMILIES)
    assert {label for family in FAMILIES for label in family.labels} == LABELS.keys()
