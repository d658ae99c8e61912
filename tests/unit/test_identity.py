"""Identity: which address is published, and which id an entry has."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.decide.facts import Address, Sentinel
from consul_redis_agent.decide.identity import address_at_sentinel, address_to_publish, is_loopback, service_id

INSIDE, OUTSIDE = Address("172.17.0.2", 6379), Address("10.0.0.5", 26379)
HERE = Address("10.0.0.5", 6379)


def sentinel(id_: str, run_ids: dict[Address, str], error: str = "") -> Sentinel:
    """A Sentinel's list of who is where."""
    return Sentinel(0.0, id_, Address(id_, 26379), error=error, run_ids=run_ids)


def test_the_address_is_the_one_that_sentinel_uses() -> None:
    """Behind NAT a node is published at the address under which Sentinel reaches it."""
    assert address_at_sentinel("me", [sentinel("s1", {OUTSIDE: "me", HERE: "other"})]) == OUTSIDE


def test_most_sentinels_decide_on_an_address() -> None:
    """A single Sentinel inside the same Docker network does not outweigh the others."""
    sentinels = [sentinel("s1", {INSIDE: "me"}), sentinel("s2", {OUTSIDE: "me"}), sentinel("s3", {OUTSIDE: "me"})]
    assert address_at_sentinel("me", sentinels) == OUTSIDE


def test_a_sentinel_out_of_reach_does_not_name_an_address() -> None:
    """What a Sentinel said before it was lost is not used."""
    assert address_at_sentinel("me", [sentinel("s1", {OUTSIDE: "me"}, error="no answer")]) is None


def test_an_unknown_run_id_has_no_address() -> None:
    """Just after a restart Sentinel knows only the old run id."""
    assert address_at_sentinel("new", [sentinel("s1", {OUTSIDE: "old"})]) is None


@given(
    st.lists(st.none() | st.builds(Address, st.ip_addresses().map(str), st.integers(1, 65535)), min_size=5, max_size=5)
)
def test_the_first_known_address_is_published(known: list[Address | None]) -> None:
    """Sentinel's word, then the configuration's, then Redis', then the address reached, then one of this host."""
    assert address_to_publish(*known) == next((a for a in known if a), None)


def test_the_configured_address_makes_the_id() -> None:
    """An id names service, host and port, so that several nodes at one Consul agent are told apart."""
    assert service_id("redis", "10.0.0.5", 6379, "", "10.0.0.9") == "redis-10.0.0.5-6379"


def test_a_node_beside_its_consul_agent_needs_no_host_in_its_id() -> None:
    """The id survives a rename of the host."""
    assert service_id("redis", "127.0.0.1", 6379, "", "127.0.0.1") == "redis-6379"


def test_loopback_nodes_of_several_hosts_at_one_consul_agent_are_told_apart() -> None:
    """Seen from a Consul agent on another host, loopback is replaced by this host's address."""
    ids = {service_id("redis", "127.0.0.1", 6379, "", seen) for seen in ("10.0.0.5", "10.0.0.6")}
    assert ids == {"redis-10.0.0.5-6379", "redis-10.0.0.6-6379"}


def test_a_unix_socket_makes_an_id_of_its_path() -> None:
    """A node without a port has a name of its own, and one for each host at a Consul agent that hosts share."""
    assert service_id("redis", "", 0, "/run/redis/a.sock", "127.0.0.1") == "redis-run-redis-a.sock"
    assert service_id("redis", "", 0, "/run/redis/a.sock", "10.0.0.5") == "redis-10.0.0.5-run-redis-a.sock"


def test_an_ipv6_address_makes_an_id_without_colons() -> None:
    """Consul's API puts ids into paths."""
    assert service_id("redis", "fd00::5", 6379, "", "") == "redis-fd00--5-6379"


@given(st.text(max_size=30), st.integers(1, 65535), st.text(max_size=30), st.text(max_size=30))
def test_an_id_is_plain_and_always_the_same(host: str, port: int, path: str, seen_from: str) -> None:
    """Whatever the configuration holds, the id needs no quoting, and asking twice gives the same."""
    made = service_id("redis", host, port, path, seen_from)
    assert made == service_id("redis", host, port, path, seen_from)
    assert not set(made) & set("/ ?#%:\n")


def test_loopback_is_known_by_all_its_names() -> None:
    """Names and addresses that mean this host only."""
    assert all(is_loopback(h) for h in ("", "localhost", "127.0.0.1", "127.8.8.8", "::1"))
    assert not any(is_loopback(h) for h in ("10.0.0.1", "redis-1", "fd00::1"))


@given(st.integers(1, 65535), st.sampled_from(["10.0.0.1", "fd00::1", "redis-1", *string.ascii_lowercase]))
def test_an_address_reads_back_as_it_prints(port: int, host: str) -> None:
    """IPv6 addresses get their brackets, everything else has none."""
    assert Address.parse(str(Address(host, port))) == Address(host, port)
