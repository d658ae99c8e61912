"""The snapshot as Prometheus metrics. Imported only where somebody asked for them: prometheus_client takes memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from consul_redis_agent.decide.decision import Do, Reason, Verdict
from consul_redis_agent.errors import CONSUL_ERRORS
from consul_redis_agent.tell.shown import Shows

PREFIX = "consul_redis_agent_"
ROLES = ("master", "replica", "loading", "unreachable")
VERDICTS = tuple(v.value for v in Verdict if v is not Verdict.KEEP)
"""Without the one that leaves everything as it was decided before."""
REASONS = tuple(reason.name.lower() for reason in Reason)
SCOPES = {"node": "nodes", "service": "dns"}
"""The list of the snapshot that a first label runs over."""

Snapshot = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. A label's value is one of a closed set, a name from the configuration, or an address."""

    name: str
    """Without :data:`PREFIX`."""
    type: str
    """``gauge``, ``counter`` or ``histogram``."""
    help: str
    labels: tuple[str, ...]
    value: Callable[[Snapshot], Any]
    """From the snapshot, or from its part of one ``node`` or ``service``: a number, a histogram, None where it is unknown;
    for each further label a mapping from the label's values."""

    def collect(self, snapshot: Snapshot) -> Metric:
        """The metric with what is known now."""
        if self.type == "histogram":
            histogram = HistogramMetricFamily(PREFIX + self.name, self.help, labels=self.labels)
            for labels, value in self._samples(snapshot):
                bounds = [*(str(float(bound)) for bound in value["bounds"]), "+Inf"]
                buckets = list(zip(bounds, accumulate(value["counts"]), strict=True))
                histogram.add_metric(labels, buckets, value["sum"])
            return histogram
        kind = CounterMetricFamily if self.type == "counter" else GaugeMetricFamily
        family = kind(PREFIX + self.name, self.help, labels=self.labels)
        for labels, value in self._samples(snapshot):
            family.add_metric(labels, value)
        return family

    def _samples(self, snapshot: Snapshot) -> Iterator[tuple[tuple[str, ...], Any]]:
        scope = self.labels[0] if self.labels and self.labels[0] in SCOPES else ""
        for part in snapshot[SCOPES[scope]] if scope else [snapshot]:
            first = (part[scope],) if scope else ()
            for rest, value in _flat(self.value(part), len(self.labels) - len(first)):
                if value is not None:
                    yield first + rest, value


def _flat(value: Any, labels: int) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not labels:
        yield (), value
        return
    for name, inner in value.items():
        for rest, number in _flat(inner, labels - 1):
            yield (name, *rest), number


def _states(names: Iterable[str], now: str) -> Mapping[str, bool]:
    """A state set: 1 for the state of now, 0 for each other one."""
    return {name: name == now for name in names}


def _votes(node: Snapshot) -> Mapping[str, int]:
    votes = [sentinel["vote"] for sentinel in node["sentinels"]]
    mine, none = votes.count("names this node"), votes.count("none")
    return {"for": mine, "against": len(votes) - mine - none, "none": none}


def _quorum(node: Snapshot) -> int | None:
    return max((s["quorum"] for s in node["sentinels"] if s["quorum"]), default=None)


FAMILIES = (
    Family("build_info", "gauge", "The version that runs.", ("version",), lambda s: {s["version"]: 1}),
    # What DNS shows
    Family(
        "dns_masters",
        "gauge",
        "Masters that Consul's DNS names now, asked by this agent; no sample while it does not answer.",
        ("service",),
        lambda d: None if d["masters"] is None else len(d["masters"]),
    ),
    Family(
        "dns_seconds_total",
        "counter",
        "Seconds for which Consul's DNS has named one, none, or two masters or more, or has not answered.",
        ("service", "shows"),
        lambda d: d["seconds"],
    ),
    Family(
        "promotion_to_consul_seconds",
        "histogram",
        "From the promotion of the node until Consul held its claim.",
        ("node",),
        lambda n: n["seconds"]["promotion_to_consul"],
    ),
    Family(
        "promotion_to_dns_seconds",
        "histogram",
        "From the promotion of the node until Consul's DNS named it and nobody else.",
        ("node",),
        lambda n: n["seconds"]["promotion_to_dns"],
    ),
    # What was decided
    Family(
        "role",
        "gauge",
        "1 for the role that the node has now, 0 for the others.",
        ("node", "role"),
        lambda n: _states(ROLES, n["role"]),
    ),
    Family(
        "decision",
        "gauge",
        "1 for what the node is published as, 0 for the others.",
        ("node", "decision"),
        lambda n: _states(VERDICTS, n["decision"]),
    ),
    Family(
        "reason",
        "gauge",
        "1 for the reason of that decision, 0 for the others.",
        ("node", "reason"),
        lambda n: _states(REASONS, n["reason_name"]),
    ),
    Family(
        "decision_since_timestamp_seconds",
        "gauge",
        "When the present decision was first taken.",
        ("node",),
        lambda n: n["since"],
    ),
    Family(
        "last_decision_age_seconds",
        "gauge",
        "How long ago a decision was finished last.",
        ("node",),
        lambda n: n["decided_ago"],
    ),
    Family(
        "decisions_total",
        "counter",
        "Decisions that were finished.",
        ("node",),
        lambda n: n["counters"]["decisions"],
    ),
    Family(
        "transitions_total",
        "counter",
        "Changes of the decision, by the reason of the new one.",
        ("node", "reason"),
        lambda n: n["counters"]["transitions"],
    ),
    # What it rests on
    Family(
        "claim_epoch",
        "gauge",
        "Sentinel's configuration epoch of the node's claim; no sample without a claim.",
        ("node",),
        lambda n: n["claim"] and n["claim"]["epoch"],
    ),
    Family(
        "claim_early",
        "gauge",
        "1 while the node's claim rests on the elected leader's word alone; no sample without a claim.",
        ("node",),
        lambda n: n["claim"] and n["claim"]["early"],
    ),
    Family(
        "claim_ttl_seconds",
        "gauge",
        "How long a claim that nobody confirms lives on (service.ttl).",
        ("node",),
        lambda n: n["ttl"],
    ),
    Family(
        "confirmation_age_seconds",
        "gauge",
        "How long ago a majority of the Sentinels last named one master, and Consul's servers last answered.",
        ("node", "by"),
        lambda n: n["confirmed_ago"],
    ),
    Family(
        "sentinels",
        "gauge",
        "Sentinels that are known.",
        ("node",),
        lambda n: max(len(n["sentinels"]), n["known_sentinels"]),
    ),
    Family(
        "sentinels_reachable",
        "gauge",
        "Sentinels that answer.",
        ("node",),
        lambda n: sum(s["reachable"] for s in n["sentinels"]),
    ),
    Family(
        "sentinel_votes",
        "gauge",
        "Sentinels that name this node as the master, that name another one, and that have no vote.",
        ("node", "vote"),
        _votes,
    ),
    Family(
        "sentinel_quorum",
        "gauge",
        "The quorum that the Sentinels state, the highest where they differ.",
        ("node",),
        _quorum,
    ),
    Family(
        "foreign_entries",
        "gauge",
        "Entries under the node's service names that this tool did not make, or another group's.",
        ("node",),
        lambda n: sum(e["foreign"] for e in n["entries"]),
    ),
    Family(
        "complaints",
        "gauge",
        "What is wrong now, as many lines as `status` has under errors.",
        ("node",),
        lambda n: len(n["errors"]),
    ),
    # What was done
    Family(
        "transactions_total",
        "counter",
        "Transactions that Consul has carried out, and that it has refused since somebody was quicker.",
        ("node", "result"),
        lambda n: n["counters"]["transactions"],
    ),
    Family(
        "evictions_total",
        "counter",
        "Claims of other nodes that were set critical together with the publication of this one's.",
        ("node",),
        lambda n: n["counters"]["evictions"],
    ),
    Family(
        "early_publications_total",
        "counter",
        "Publications on the elected leader's word alone.",
        ("node",),
        lambda n: n["counters"]["early"]["published"],
    ),
    Family(
        "early_publications_taken_back_total",
        "counter",
        "Those of them that were withdrawn before a majority of the Sentinels followed.",
        ("node",),
        lambda n: n["counters"]["early"]["taken_back"],
    ),
    Family(
        "fences_total",
        "counter",
        'What the node, or for fail_over a Sentinel, was told to do; with fence.mode = "on" only.',
        ("node", "kind", "result"),
        lambda n: n["counters"]["fences"],
    ),
    Family(
        "fence_ready",
        "gauge",
        '1 if the node could be fenced, 0 if something is missing for it; with fence.mode = "on" only.',
        ("node",),
        lambda n: "fence" not in n["errors"] if n["fence"] == "on" else None,
    ),
    Family(
        "stray_writes_total",
        "counter",
        "Changes of keys that the node was given to write without authority.",
        ("node",),
        lambda n: n["counters"]["stray_writes"],
    ),
    # What others got wrong, and how quick they are
    Family(
        "redis_errors_total",
        "counter",
        "Looks at the Redis node that failed.",
        ("node",),
        lambda n: n["counters"]["redis_errors"],
    ),
    Family(
        "redis_info_seconds",
        "histogram",
        "How long the Redis node took to answer INFO.",
        ("node",),
        lambda n: n["seconds"]["info"],
    ),
    Family(
        "sentinel_errors_total",
        "counter",
        "Looks at each Sentinel that failed.",
        ("node", "sentinel"),
        lambda n: {s["address"]: s["missed"] for s in n["sentinels"]},
    ),
    Family(
        "consul_errors_total",
        "counter",
        "Attempts to bring Consul to what was decided that failed; a compare that was lost is none.",
        ("node",),
        lambda n: n["counters"]["consul_errors"],
    ),
    Family(
        "consul_request_errors_total",
        "counter",
        "Requests to Consul that failed; a compare that was lost is none.",
        ("kind",),
        lambda s: {kind: s["consul"]["errors"].get(kind, 0) for kind in CONSUL_ERRORS},
    ),
    Family(
        "consul_request_seconds",
        "histogram",
        "How long Consul took to answer, blocking queries aside.",
        (),
        lambda s: s["consul"]["requests"],
    ),
    Family(
        "consul_token_refused",
        "gauge",
        "1 while Consul's servers do not know the agent's token.",
        (),
        lambda s: any(node["token_refused"] for node in s["nodes"]),
    ),
)
"""Every metric of this program; those of its process, as all programs have them, are in :data:`PROCESS`."""

LABELS = {
    "node": ("the Redis node as configured",),
    "service": ("a service name",),
    "sentinel": ("the address of a Sentinel",),
    "version": ("the version that runs",),
    "shows": tuple(shows.value for shows in Shows),
    "role": ROLES,
    "decision": VERDICTS,
    "reason": REASONS,
    "by": ("sentinels", "servers"),
    "vote": ("for", "against", "none"),
    "result": ("done", "refused", "failed"),
    "kind": (*(do.name.lower() for do in Do), *CONSUL_ERRORS),
}
"""What each label is, by which the values of the closed ones are known; of ``reason``, the names of the rows of the rules' table."""

PROCESS = {
    "process_cpu_seconds_total": "counter",
    "process_max_fds": "gauge",
    "process_open_fds": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
    "process_virtual_memory_bytes": "gauge",
}
"""Their names and types; on Linux."""


def renderer(snapshot: Callable[[], Snapshot]) -> Callable[[], bytes]:
    """A function that renders the snapshot of its moment in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(snapshot))
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


class _Snapshot(Collector):
    """Reads everything from the snapshot, so that nothing else has to know of metrics."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        return ()  # the names are fixed; nothing is collected at registration

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot()
        return (family.collect(snapshot) for family in FAMILIES)
