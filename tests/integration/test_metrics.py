"""What the agents tell Prometheus around a failover on a real fleet, read by promtool and by Prometheus itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families

from consul_redis_agent.decide.facts import Address
from consul_redis_agent.tell.metrics import PREFIX
from tests.fleet import Fleet, Host, Process, until
from tests.prometheus import ALERTS, program, promtool, questions

from .support import master, replica, wait_for_catalog, wait_for_sentinels

SCRAPES = {"scrape_interval: 15s": "scrape_interval: 500ms", "- alerts.yml": f"- {ALERTS}"}


def get(address: Address, path: str) -> str:
    connection = HTTPConnection(*address, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


class Prometheus(Process):
    """Prometheus with the shipped configuration, but for the addresses and how often it looks."""

    def __init__(self, *, host: Host, folder: Path, targets: list[Address]) -> None:
        self.http = Address(host.address, host.port(0))
        text = (ALERTS.parent / "prometheus.yml").read_text()
        for shipped, ours in SCRAPES.items():
            assert shipped in text
            text = text.replace(shipped, ours)
        config = folder / "prometheus.yml"
        text = re.sub(r"targets: .*", f"targets: {json.dumps([str(target) for target in targets])}", text)
        config.write_text(f"global: {{evaluation_interval: 500ms}}\n{text}")
        argv = [
            program("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={self.http}",
        ]
        super().__init__("prometheus", argv, host=host, folder=folder)

    def is_ready(self) -> bool:
        return self.alive and "Ready" in get(self.http, "/-/ready")

    def answers(self, question: str) -> list[dict[str, str]]:
        """The labels of each series that a question has as its answer now."""
        answer = json.loads(get(self.http, f"/api/v1/query?{urlencode({'query': question})}"))
        assert answer["status"] == "success", answer
        return [series["metric"] for series in answer["data"]["result"]]


class Watched:
    """A fleet that has failed over, with the pages of its agents."""

    def __init__(self, fleet: Fleet) -> None:
        fleet.populate(failover_timeout=3000)
        host = fleet.nodes[0].host
        self.pages = [Address(host.address, host.port(0)) for _ in fleet.nodes]
        for node, page in zip(fleet.nodes, self.pages, strict=True):
            fleet.agent(node, more=f'[http]\nlisten = "{page}"\n')
        self.consul, self.witness = fleet.consuls[0], fleet.witness()
        self.witness.wait_for(fleet.nodes[0], within=10)
        wait_for_sentinels(fleet, 3)
        self.prometheus = fleet.add(Prometheus(host=host, folder=fleet.folder, targets=self.pages))
        first, *others = fleet.nodes
        wait_for_catalog(fleet.consuls[0], master(first), *map(replica, others), within=15)
        for page in self.pages:  # the watch of each has looked before it is to see a change
            until(partial(self.shows_one, page), within=15, what=f"the agent at {page} sees one master")
        self.witness.wait_for(fleet.failover(), within=10)
        until(lambda: self.total("promotion_to_dns_seconds_count"), within=15, what="a promotion is counted")
        until(lambda: self.total("decision", decision="master") == 1, within=15, what="the old master has withdrawn")

    def samples(self, page: Address) -> Iterator[tuple[str, dict[str, str], float]]:
        for family in text_string_to_metric_families(get(page, "/metrics")):
            for sample in family.samples:
                yield sample.name.removeprefix(PREFIX), sample.labels, sample.value

    def shows_one(self, page: Address) -> bool:
        return any(name == "dns_masters" and value == 1 for name, _, value in self.samples(page))

    def total(self, name: str, **labels: str) -> float:
        """The sum over all agents."""
        return sum(
            value
            for page in self.pages
            for each, found, value in self.samples(page)
            if each == name and labels.items() <= found.items()
        )


@pytest.fixture(scope="module")
def watched(shared_fleet: Fleet) -> Watched:
    """A fleet with a planned failover behind it."""
    return Watched(shared_fleet)


def test_a_failover_shows_the_promise_kept(watched: Watched) -> None:
    """Never two, as the witness says too; one promotion, from the turn to Consul and to DNS, which evicts what still passes."""
    watched.witness.assert_never_two()
    assert watched.total("dns_seconds_total", shows="two") == 0
    assert watched.total("dns_seconds_total", shows="unanswered") == 0
    assert watched.total("dns_masters") == 3, "each agent sees the one"
    for name in ("promotion_to_consul_seconds_count", "promotion_to_dns_seconds_count"):
        assert watched.total(name) == 1, name
    assert watched.total("promotion_to_dns_seconds_sum") > 0
    assert watched.total("evictions_total") <= 1, "none where the old master was quicker"
    assert watched.total("transactions_total", result="done") >= 2
    assert watched.total("early_publications_total") == 1
    assert watched.total("early_publications_taken_back_total") == watched.total("stray_writes_total") == 0
    assert watched.total("decision", decision="master") == 1


def test_promtool_finds_nothing_wrong_with_any_page(watched: Watched) -> None:
    """Names, types, units and help are as Prometheus wants them."""
    for page in watched.pages:
        promtool("check", "metrics", said=get(page, "/metrics"))


def test_prometheus_answers_every_panel_of_the_dashboard(watched: Watched) -> None:
    """No panel is without data; those of fences need a fence, and are asked for in vain."""
    for title, asked in questions():
        until(lambda: watched.prometheus.answers(asked), within=15, what=f"{title!r} has data: {asked}")  # noqa: B023


def test_no_alert_fires_when_nothing_is_wrong(watched: Watched) -> None:
    """Not for a planned failover: all rules are evaluated by Prometheus itself, and what is pending has no reason to fire."""
    rules = json.loads(get(watched.prometheus.http, "/api/v1/rules"))["data"]["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert watched.prometheus.answers('ALERTS{alertstate="firing"}') == []
    assert len(watched.prometheus.answers("up == 1")) == 3


def test_the_history_has_what_dns_has_shown(watched: Watched) -> None:
    """The same answers stand in the lanes of the failover, at each agent that tells of it, with how long DNS took."""
    episodes = [episode for page in watched.pages for episode in json.loads(get(page, "/history"))["episodes"]]
    assert any(event["lane"] == "dns" for episode in episodes for event in episode["events"])
    assert any(episode["seconds"]["consul_to_dns"] is not None for episode in episodes)


def test_two_masters_are_seen_counted_and_alerted(watched: Watched) -> None:
    """Somebody registers another service under the name: each agent sees two in DNS and a foreign entry, Prometheus fires."""
    consul = watched.consul
    consul.put("/v1/agent/service/register", {"ID": "odd", "Name": "redis", "Address": "127.0.0.1", "Port": 1})
    until(lambda: watched.total("dns_masters") == 6, within=15, what="each agent sees two masters")
    until(lambda: watched.total("foreign_entries") == 3, within=15, what="each agent sees a foreign entry")
    fires = 'ALERTS{alertname="RedisTwoMasters", alertstate="firing"}'
    until(lambda: watched.prometheus.answers(fires), within=30, what="the alert fires")
    consul.put("/v1/agent/service/deregister/odd")
    until(lambda: watched.total("dns_masters") == 3, within=15, what="each agent sees one again")
    assert watched.total("dns_seconds_total", shows="two") > 0
