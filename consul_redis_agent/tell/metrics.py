"""The snapshot as Prometheus metrics. Imported only where somebody asked for them: prometheus_client takes memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

ROLES = ("master", "replica", "loading", "unreachable")
PREFIX = "consul_redis_agent_"


def renderer(snapshot: Callable[[], Mapping[str, Any]]) -> Callable[[], bytes]:
    """A function that renders the snapshot of its moment in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(snapshot))
    return lambda: generate_latest(registry)


class _Snapshot(Collector):
    """Reads everything from the snapshot, so that nothing else has to count or to know of metrics."""

    def __init__(self, snapshot: Callable[[], Mapping[str, Any]]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        return ()  # the names are fixed; nothing is collected at registration

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot()
        nodes = snapshot["nodes"]
        build = _gauge("build_info", "The version that runs.", "version")
        build.add_metric([str(snapshot["version"])], 1)
        yield build

        role = _gauge("role", "1 for the role that the node has now, 0 for the others.", "node", "role")
        decision = _gauge("decision_info", "What was decided for the node, and why.", "node", "decision", "reason")
        since = _gauge("decision_since_timestamp_seconds", "When the present decision was first taken.", "node")
        age = _gauge("last_decision_age_seconds", "How long ago a decision was finished last.", "node")
        epoch = _gauge("claim_epoch", "Sentinel's configuration epoch of the node's claim.", "node")
        known = _gauge("sentinels", "Sentinels that are known.", "node")
        reachable = _gauge("sentinels_reachable", "Sentinels that answer.", "node")
        decisions = _counter("decisions", "Decisions that were finished.", "node")
        transitions = _counter("transitions", "Changes of the decision.", "node", "reason")
        consul = _counter("consul_errors", "Attempts to bring Consul to what was decided that failed.", "node")
        redis = _counter("redis_errors", "Looks at the Redis node that failed.", "node")
        stray = _counter("stray_writes", "Changes of keys that the node was given to write without authority.", "node")
        token = _gauge("consul_token_refused", "1 while Consul's servers do not know the agent's token.")
        token.add_metric([], any(node.get("token_refused") for node in nodes))
        yield token
        for node in nodes:
            name, counters = node["node"], node["counters"]
            for each in ROLES:
                role.add_metric([name, each], node["role"] == each)
            decision.add_metric([name, node["decision"], node["reason"]], 1)
            since.add_metric([name], node["since"])
            if node.get("decided_ago") is not None:
                age.add_metric([name], node["decided_ago"])
            if node["claim"]:
                epoch.add_metric([name], node["claim"]["epoch"])
            known.add_metric([name], max(len(node["sentinels"]), node.get("known_sentinels", 0)))
            reachable.add_metric([name], sum(1 for sentinel in node["sentinels"] if sentinel["reachable"]))
            decisions.add_metric([name], counters["decisions"])
            for reason, count in counters["transitions"].items():
                transitions.add_metric([name, reason], count)
            consul.add_metric([name], counters.get("consul_errors", 0))
            redis.add_metric([name], counters.get("redis_errors", 0))
            stray.add_metric([name], counters.get("stray_writes", 0))
        yield from (role, decision, since, age, epoch, known, reachable, decisions, transitions, consul, redis, stray)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, labels=labels)
