"""`check` as a doctor: each rule with what is bad, what is good beside it, and the command that mends it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consul_redis_agent import __version__
from consul_redis_agent.commands.doctor.agent import agent_findings
from consul_redis_agent.commands.doctor.consul import ConsulFacts, consul_findings, ttl_findings
from consul_redis_agent.commands.doctor.redis import RedisFacts, redis_findings
from consul_redis_agent.commands.doctor.sentinel import GroupFacts, Watching, group_findings
from consul_redis_agent.commands.doctor.shell import redis_cli, sentinel_cli
from consul_redis_agent.config import load
from consul_redis_agent.decide.facts import Address, Role

MIB = 1024 * 1024
SETTINGS = {
    "save": "3600 1",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "no-appendfsync-on-rewrite": "no",
    "stop-writes-on-bgsave-error": "yes",
    "min-replicas-to-write": "1",
    "min-replicas-max-lag": "10",
    "repl-backlog-ttl": "3600",
    "repl-timeout": "60",
    "repl-ping-replica-period": "10",
    "repl-diskless-load": "disabled",
    "replica-serve-stale-data": "yes",
    "client-output-buffer-limit": "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
}
INFO = {
    "config_file": "/etc/redis.conf",
    "connected_slaves": "2",
    "min_slaves_good_slaves": "2",
    "repl_backlog_size": str(MIB),
    "rdb_last_bgsave_status": "ok",
    "rdb_last_bgsave_time_sec": "4",
    "aof_last_write_status": "ok",
    "slave_priority": "100",
    "slave_read_only": "1",
    "replica_announced": "1",
}
CLI = "redis-cli -p 6379"
MASTER = RedisFacts("10.0.0.1:6379", CLI, Role.MASTER, 2, INFO, SETTINGS, rate=100.0, down_after=30.0)
REPLICA = replace(MASTER, role=Role.REPLICA, info={k: v for k, v in INFO.items() if k != "min_slaves_good_slaves"})


def ill(facts: RedisFacts) -> set[str]:
    """The ids of what is not well with a node."""
    return {f"{finding.level.lower()} {finding.id}" for finding in redis_findings(facts) if finding.level != "ok"}


def changed(facts: RedisFacts, **lines: str | None) -> RedisFacts:
    """With other settings (``save``) and lines of INFO (``info_aof_enabled``); None takes a line away."""
    info, settings = dict(facts.info), dict(facts.settings or {})
    for name, value in lines.items():
        where, key = (info, name[5:]) if name.startswith("info_") else (settings, name.replace("_", "-"))
        where.pop(key, None)
        if value is not None:
            where[key] = value
    return replace(facts, info=info, settings=settings)


def test_nothing_is_wrong_with_nodes_as_they_should_be() -> None:
    """Neither with a master nor with its replica."""
    assert ill(MASTER) == ill(REPLICA) == set()


NOTHING = {"save": "", "appendonly": "no"}


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (changed(MASTER, **NOTHING), {"warn redis.keeps_nothing"}),
        (changed(REPLICA, **NOTHING), {"warn redis.keeps_nothing"}),
        (changed(REPLICA, **NOTHING, info_slave_priority="0"), set()),
        (replace(changed(MASTER, **NOTHING), on_empty=True), set()),
        (replace(changed(MASTER, **NOTHING), others=0), set()),
        (changed(MASTER, save=""), set()),
        (changed(MASTER, appendonly="no"), set()),
        (changed(MASTER, info_rdb_last_bgsave_status="err"), {"fail redis.cannot_save"}),
        (changed(MASTER, info_rdb_last_bgsave_status="err", save=""), set()),
        (
            changed(MASTER, info_rdb_last_bgsave_status="err", stop_writes_on_bgsave_error="no"),
            {"fail redis.cannot_save"},
        ),
        (changed(MASTER, info_aof_last_write_status="err"), {"fail redis.cannot_save"}),
        (changed(MASTER, stop_writes_on_bgsave_error="no"), {"warn redis.fails_silently"}),
        (changed(MASTER, stop_writes_on_bgsave_error="no", save=""), set()),
        (changed(MASTER, appendfsync="no"), {"warn redis.no_fsync"}),
        (changed(MASTER, no_appendfsync_on_rewrite="yes"), {"warn redis.no_fsync"}),
        (changed(MASTER, appendfsync="no", appendonly="no"), set()),
        (
            changed(MASTER, info_min_slaves_good_slaves=None, min_replicas_to_write="0"),
            {"warn redis.writes_when_cut_off"},
        ),
        (replace(changed(MASTER, info_min_slaves_good_slaves=None, min_replicas_to_write="0"), others=0), set()),
        (changed(REPLICA, min_replicas_to_write="0"), set()),
        (changed(MASTER, min_replicas_to_write="3"), {"fail redis.refuses_writes"}),
        (changed(MASTER, info_min_slaves_good_slaves="0"), {"fail redis.refuses_writes"}),
        (changed(REPLICA, min_replicas_to_write="3"), {"fail redis.refuses_writes"}),
        (changed(MASTER, min_replicas_to_write="2"), {"warn redis.refuses_after_failover"}),
        (replace(MASTER, others=1), set()),
        (changed(MASTER, min_replicas_max_lag="1"), {"warn redis.max_lag"}),
        (replace(MASTER, down_after=5.0), {"warn redis.max_lag"}),
        (replace(MASTER, down_after=10.0), set()),
        (replace(MASTER, down_after=None), set()),
        (changed(MASTER, repl_timeout="10"), {"warn redis.repl_timeout"}),
        (replace(MASTER, rate=MIB / 59), {"warn redis.backlog"}),
        (replace(MASTER, rate=MIB / 61), set()),
        (replace(MASTER, rate=None), set()),
        (replace(MASTER, rate=MIB / 2.0, others=0), set()),
        (changed(MASTER, repl_backlog_ttl="59"), {"warn redis.backlog_ttl"}),
        (changed(MASTER, repl_backlog_ttl="0"), set()),
        (
            changed(replace(MASTER, rate=65.0 * MIB), info_repl_backlog_size=str(2**40)),
            {"warn redis.output_buffer"},
        ),
        (
            changed(
                replace(MASTER, rate=65.0 * MIB),
                info_repl_backlog_size=str(2**40),
                client_output_buffer_limit="normal 0 0 0 slave 0 0 0 pubsub 0 0 0",
            ),
            set(),
        ),
        (changed(MASTER, repl_diskless_load="flush-before-load"), {"warn redis.flushes_first"}),
        (changed(MASTER, repl_diskless_load="swapdb"), set()),
        (changed(REPLICA, info_slave_read_only="0"), {"warn redis.writable_replica"}),
        (changed(REPLICA, replica_serve_stale_data="no"), {"warn redis.no_stale_data"}),
        (changed(MASTER, replica_serve_stale_data="no"), set()),
        (replace(MASTER, settings=None), {"warn redis.settings_unread"}),
        (replace(MASTER, refused=1), {"warn redis.refuses_logins"}),
        (replace(MASTER, named="10.0.0.2:6379"), {"fail redis.not_named"}),
        (replace(REPLICA, named="10.0.0.2:6379"), set()),
    ],
)
def test_a_setting_that_loses_data_is_told_and_its_neighbour_is_not(facts: RedisFacts, found: set[str]) -> None:
    """One rule at a time, on both sides of its limit."""
    assert ill(facts) == found


def test_what_an_operator_has_chosen_is_told_and_is_well() -> None:
    """A replica that is never promoted, or not published."""
    facts = changed(REPLICA, info_slave_priority="0", info_replica_announced="0")
    assert [finding.id for finding in redis_findings(facts)] == ["redis.never_promoted", "redis.not_announced"]


def mend(facts: RedisFacts, id_: str) -> str:
    (found,) = (finding.mend for finding in redis_findings(facts) if finding.id == id_)
    return found


def test_the_command_that_mends_fits_the_figures() -> None:
    """A backlog for twice the time at this rate; a lag that ends before another master begins; a count that can be reached."""
    assert mend(replace(MASTER, rate=1.0 * MIB), "redis.backlog") == (
        f"{CLI} CONFIG SET repl-backlog-size {128 * MIB} && {CLI} CONFIG REWRITE"
    )
    assert "min-replicas-max-lag 5 &&" in mend(replace(MASTER, down_after=5.0), "redis.max_lag")
    cut_off = changed(MASTER, info_min_slaves_good_slaves=None, info_config_file=None, min_replicas_to_write="0")
    assert mend(cut_off, "redis.writes_when_cut_off") == (
        f"{CLI} CONFIG SET min-replicas-to-write 1 && {CLI} CONFIG SET min-replicas-max-lag 10"
    )
    assert "min-replicas-to-write 1 &&" in mend(changed(MASTER, min_replicas_to_write="3"), "redis.refuses_writes")


def test_commands_lead_to_the_server() -> None:
    """At its address or socket, by TLS, with Valkey's own name; what a shell would read otherwise is quoted."""
    node = load(None, {}, {"redis.url": "rediss://10.0.0.5:6380"}).redis[0]
    assert redis_cli(node) == "redis-cli -h 10.0.0.5 -p 6380 --tls"
    at_socket = load(None, {}, {"redis.url": "unix:///run/my redis.sock"}).redis[0]
    assert redis_cli(at_socket, valkey=True) == "valkey-cli -s '/run/my redis.sock'"
    assert sentinel_cli(Address("::1", 26379), tls=True) == "redis-cli -h ::1 -p 26379 --tls"


# --- Sentinels ---------------------------------------------------------------------------------------------------------

UP = {"ip": "10.0.0.2", "port": "6379", "slave-priority": "100", "flags": "slave"}


def watching(number: int, **fields: str) -> Watching:
    usual = {"down_after_milliseconds": "30000", "failover_timeout": "60000", "quorum": "2"}
    named = {name.replace("_", "-"): value for name, value in (usual | fields).items()}
    return Watching(Address(f"10.0.1.{number}", 26379), named, (UP,))


def group(*which: Watching, **facts: Any) -> GroupFacts:
    each = which or tuple(watching(number) for number in (1, 2, 3))
    usual: dict[str, Any] = {"known": 3, "need": 2, "places": tuple(one.address for one in each)}
    usual |= {"master": Address("10.0.0.1", 6379), "ttl": 10.0}
    return GroupFacts("mymaster", each, **(usual | facts))


def all_with(**fields: str) -> GroupFacts:
    return group(*(watching(number, **fields) for number in (1, 2, 3)))


def with_replicas(*replicas: dict[str, str]) -> GroupFacts:
    return group(*(replace(watching(number), replicas=replicas) for number in (1, 2, 3)))


HOSTS = tuple(Address(host, port) for host, port in (("10.0.0.1", 26379), ("10.0.0.1", 26380), ("10.0.0.3", 26379)))


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (group(), set()),
        (group(watching(1), watching(2), watching(3, quorum="3")), {"warn sentinel.settings_differ"}),
        (
            group(watching(1), watching(2), watching(3, down_after_milliseconds="5000")),
            {"warn sentinel.settings_differ"},
        ),
        (all_with(down_after_milliseconds="1000"), {"warn sentinel.ttl_long"}),
        (
            all_with(down_after_milliseconds="999"),
            {"warn sentinel.ttl_long", "warn sentinel.down_after_short"},
        ),
        (all_with(down_after_milliseconds="5000"), set()),
        (all_with(down_after_milliseconds="60001"), {"warn sentinel.down_after_long"}),
        (all_with(failover_timeout="180000"), {"warn sentinel.failover_timeout_long"}),
        (all_with(failover_timeout="1999"), {"warn sentinel.failover_timeout_short"}),
        (all_with(quorum="4"), {"fail sentinel.quorum_above_all"}),
        (all_with(quorum="3"), {"warn sentinel.quorum_high"}),
        (all_with(quorum="1"), {"warn sentinel.quorum_low"}),
        (group(watching(1, quorum="1"), known=1, need=1), set()),
        (group(places=HOSTS), {"warn sentinel.same_host"}),
        (group(places=(*HOSTS, Address("10.0.0.4", 26379), Address("10.0.0.5", 26379)), known=5, need=3), set()),
        (group(known=4, need=3), {"warn sentinel.even"}),
        (group(ids=(("a", HOSTS[0]), ("b", HOSTS[1]), ("c", HOSTS[2]))), set()),
        (group(ids=(("a", HOSTS[0]), ("a", HOSTS[1]), ("c", HOSTS[2]))), {"fail sentinel.same_id"}),
        (with_replicas(), {"warn sentinel.no_replica"}),
        (with_replicas(UP | {"slave-priority": "0"}), {"fail sentinel.nobody_to_promote"}),
        (with_replicas(UP | {"flags": "s_down,slave,disconnected"}), {"fail sentinel.nobody_to_promote"}),
        (with_replicas(UP | {"slave-priority": "0"}, UP), set()),
        (group(replace(watching(1), replicas=None)), set()),
    ],
)
def test_a_setting_of_sentinels_that_delays_a_failover_is_told(facts: GroupFacts, found: set[str]) -> None:
    """One rule at a time, on both sides of its limit."""
    assert {f"{finding.level.lower()} {finding.id}" for finding in group_findings(facts)} == found


def test_only_the_sentinel_that_differs_is_set() -> None:
    """To what most have."""
    (finding,) = group_findings(group(watching(1), watching(2), watching(3, failover_timeout="30000")))
    assert finding.mend == "redis-cli -h 10.0.1.3 -p 26379 SENTINEL SET mymaster failover-timeout 60000"


def test_the_masters_own_host_is_named() -> None:
    """If that is the one without which there is no majority, its loss is never mended."""
    (finding,) = group_findings(group(places=HOSTS))
    assert "2 of 3 are on 10.0.0.1, the master's own: " in finding.what


def test_nothing_is_said_where_no_sentinel_answers() -> None:
    """That is said elsewhere."""
    assert [*group_findings(GroupFacts("", (), 0, 1, (), None, 10.0))] == []


# --- Consul and its DNS ------------------------------------------------------------------------------------------------


def server(name: str = "s1", build: str = "1.14.11:", status: int = 1) -> dict[str, Any]:
    return {"Name": name, "Status": status, "Tags": {"role": "consul", "build": build}}


GOOD = {"DNSAllowStale": True, "DNSMaxStale": "10s", "DNSUseCache": False, "LeaveOnTerm": False}


def agent(version: str = "1.14.11", **debug: Any) -> dict[str, Any]:
    return {"Config": {"NodeName": "me", "Version": version}, "DebugConfig": GOOD | debug}


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (ConsulFacts(agent(), (server(),), 3), set()),
        (ConsulFacts(None, (server(),), 3), {"consul.settings_unread"}),
        (ConsulFacts(agent(DNSMaxStale="87600h0m0s"), (), 3), {"dns.stale"}),
        (ConsulFacts(agent(DNSMaxStale="87600h0m0s", DNSAllowStale=False), (), 3), set()),
        (ConsulFacts(agent(DNSMaxStale="1m0.5s"), (), 3, ttl=60.0), {"dns.stale"}),
        (ConsulFacts(agent(DNSMaxStale="1m0.5s"), (), 3, ttl=61.0), set()),
        (ConsulFacts(agent(DNSUseCache=True), (), 3), {"dns.cache"}),
        (ConsulFacts(agent(DNSDomain="corp."), (), 3, domain="consul"), {"dns.other_domain"}),
        (ConsulFacts(agent(DNSDomain="corp."), (), 3, domain="corp"), set()),
        (ConsulFacts(agent(DNSDomain="corp.", DNSAltDomain="consul."), (), 3, domain="consul"), set()),
        (ConsulFacts(agent(), (), 3, domain="corp"), set()),
        (ConsulFacts(agent(LeaveOnTerm=True), (), 3), {"consul.leaves"}),
        (ConsulFacts(agent(), (), 1), {"consul.few_servers"}),
        (ConsulFacts(agent(), (), 0), set()),
        (ConsulFacts(agent(), (server(), server("s2", status=4)), 3), {"consul.server_down"}),
        (ConsulFacts(agent(), (server(build="1.8.7:"), server()), 3), {"consul.agent_newer"}),
        (ConsulFacts(agent("1.8.7"), (server(),), 3), set()),
        (ConsulFacts({"Config": None, "DebugConfig": "?"}, ({"Tags": None}, {}), 3), set()),
        (ConsulFacts(agent(DNSMaxStale="soon", DNSUseCache="yes"), (server(build="new"),), 3), set()),
    ],
)
def test_a_setting_of_consul_that_shows_an_old_master_is_told(facts: ConsulFacts, found: set[str]) -> None:
    """One rule at a time; what is not told, or makes no sense, is not judged."""
    assert {finding.id for finding in consul_findings(facts)} == found


def test_an_answer_that_may_be_kept_is_told() -> None:
    """For how long, and the setting."""
    assert [*ttl_findings("redis", "redis.service.consul", 0)] == []
    (finding,) = ttl_findings("redis", "redis.service.consul", 30)
    assert (finding.id, "for 30 s" in finding.what) == ("dns.ttl", True)
    assert 'service_ttl { "redis" = "0s" }' in finding.mend


# --- the agent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("snapshot", "unit", "found"),
    [
        ({"version": __version__, "nodes": [{"node": "n", "errors": {"consul": ""}}]}, "enabled", ["agent.running"]),
        ({"version": __version__, "nodes": []}, "not-found", ["agent.running"]),
        ("no agent answers at PATH: is it running?", "", ["agent.not_running"]),
        ("PATH: Permission denied", "enabled", ["agent.not_asked"]),
        ({"version": "0.0.1", "nodes": []}, "enabled", ["agent.other_version", "agent.running"]),
        ({"version": __version__, "nodes": [{"node": "n", "errors": {"consul": "away"}}]}, "", ["agent.complains"]),
        ({"version": __version__, "nodes": []}, "disabled", ["agent.unit_disabled"]),
        ({"version": __version__, "nodes": [None, {"errors": "?"}]}, "", ["agent.running"]),
    ],
)
def test_the_agent_of_this_host(snapshot: dict[str, Any] | str, unit: str, found: list[str]) -> None:
    """Not there, of another version, in trouble, or gone after the next start of the host."""
    assert [finding.id for finding in agent_findings(snapshot, unit)] == found


def test_a_unit_that_is_installed_is_started_by_its_name() -> None:
    """Else the command alone."""
    (finding,) = agent_findings("no agent answers", "disabled")
    assert finding.mend == "systemctl enable --now consul-redis-agent.service"
    (finding,) = agent_findings("no agent answers", "")
    assert finding.mend == "start it: consul-redis-agent run"
