"""Identity: which address is published, and which id an entry has."""

from __future__ import annotations

import pickle
import string
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.decide.facts import Address, Sentinel, canonical
from consul_redis_agent.decide.identity import (
    address_at_sentinel,
    address_to_publish,
    is_for_others,
    is_loopback,
    service_id,
)

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


def test_of_several_addresses_the_one_that_is_not_down_counts() -> None:
    """After a move Sentinel still lists the old one; where it names one of them as the master, that is it."""
    listed = {INSIDE: "me", OUTSIDE: "me"}
    moved = replace(sentinel("s1", listed), lost=frozenset({INSIDE}))
    assert address_at_sentinel("me", [moved]) == OUTSIDE
    assert address_at_sentinel("me", [replace(moved, master=INSIDE)]) == INSIDE
    assert address_at_sentinel("me", [replace(moved, lost=frozenset({OUTSIDE}))]) == INSIDE


def test_of_two_addresses_that_are_as_good_the_one_that_was_taken_stays() -> None:
    """The order of the Sentinels does not make it flap."""
    sentinels = [sentinel("s1", {INSIDE: "me"}), sentinel("s2", {OUTSIDE: "me"})]
    for before in (INSIDE, OUTSIDE):
        assert address_at_sentinel("me", sentinels, before) == before
        assert address_at_sentinel("me", sentinels[::-1], before) == before


LOOPBACK, LABEL, NAME = Address("127.0.0.1", 6379), Address("redis", 6379), Address("redis-1.example", 6379)


@pytest.mark.parametrize(
    ("announce", "at_sentinel", "replica_announce", "reached", "local", "published"),
    [
        (HERE, OUTSIDE, INSIDE, NAME, None, HERE),
        (LOOPBACK, OUTSIDE, INSIDE, NAME, None, LOOPBACK),  # the operator has said so
        (None, OUTSIDE, INSIDE, NAME, None, OUTSIDE),
        (None, NAME, INSIDE, None, None, NAME),
        (None, LOOPBACK, INSIDE, None, None, INSIDE),
        (None, LABEL, None, INSIDE, None, INSIDE),
        (None, None, None, NAME, None, NAME),
        (None, LOOPBACK, None, None, HERE, LOOPBACK),  # a host of its own: nobody else says anything
        (None, None, LABEL, None, HERE, LABEL),
        (None, None, None, None, HERE, HERE),
        (None, None, None, None, None, None),
    ],
)
def test_the_published_address(
    announce: Address | None,
    at_sentinel: Address | None,
    replica_announce: Address | None,
    reached: Address | None,
    local: Address | None,
    published: Address | None,
) -> None:
    """The operator's word; then the first that others can use: Sentinel's, Redis' own, the one reached; then what there is."""
    assert address_to_publish(announce, at_sentinel, replica_announce, reached, local) == published


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


def test_containers_with_the_same_addresses_at_one_consul_agent_are_told_apart() -> None:
    """Each host's agent has an id; it is left out where the Consul agent is the host's own."""
    for host in ("172.17.0.2", "redis", "127.0.0.1"):
        ids = {service_id("redis", host, 6379, "", "172.17.0.3", mark) for mark in ("a1", "b2")}
        assert len(ids) == 2
    assert service_id("redis", "172.17.0.2", 6379, "", "172.17.0.3", "a1") == "redis-172.17.0.2-a1-6379"
    assert service_id("redis", "127.0.0.1", 6379, "", "", "a1") == "redis-6379"


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
    """Names and addresses that mean this host only, in any spelling; a wildcard leads to this host, too."""
    here = (
        "",
        "localhost",
        "LocalHost.",
        "redis.localhost",
        "ip6-localhost",
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "0:0::1",
    )
    assert all(map(is_loopback, (*here, "::ffff:127.0.0.1", "0.0.0.0", "::")))
    assert not any(map(is_loopback, ("10.0.0.1", "redis-1", "fd00::1", "127.example.com")))


def test_what_others_cannot_mean() -> None:
    """A loopback address, a name of one label, a link-local address; of all else nobody here knows better."""
    assert not any(map(is_for_others, ("localhost", "127.0.0.1", "redis", "Redis.", "fe80::1%eth0", "")))
    assert all(map(is_for_others, ("10.0.0.1", "fd00::1", "redis-1.example", "redis.internal.")))


@given(st.ip_addresses(v=6), st.integers(1, 65535), st.data())
def test_an_ipv6_address_is_the_same_in_every_spelling(address: IPv6Address, port: int, data: st.DataObject) -> None:
    """Long, short, upper case, with leading zeros, with a zone: equal, of one hash, and printed alike."""
    spellings = [address.exploded, address.compressed, address.exploded.upper(), address.compressed.upper()]
    spellings += [":".join(part.lstrip("0") or "0" for part in address.exploded.split(":"))]
    if not address.is_link_local:
        spellings += [f"{address}%eth0"]
    one, other = data.draw(st.sampled_from(spellings)), data.draw(st.sampled_from(spellings))
    assert Address(one, port) == Address(other, port)
    assert hash(Address(one, port)) == hash(Address(other, port))
    assert str(Address(one, port)) == str(Address(other, port))
    assert Address.parse(str(Address(one, port))) == Address(other, port)


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:{}", "::FFFF:{}", "0:0:0:0:0:ffff:{}"]))
def test_a_mapped_ipv4_address_is_that_address(address: IPv4Address, form: str) -> None:
    """As a socket for both families gives it."""
    assert Address(form.format(address), 1) == Address(str(address), 1)


@given(st.text(max_size=60))
def test_there_is_one_spelling_of_whatever_is_said(host: str) -> None:
    """Nonsense too: nothing is raised, and what is canonical stays as it is."""
    once = canonical(host)
    assert canonical(once.rstrip(".") or once) == (once.rstrip(".") or once)


def test_a_link_local_address_keeps_its_zone() -> None:
    """Without it nobody reaches it; on another link the same digits are another host."""
    assert Address("FE80::1%eth0", 1).host == "fe80::1%eth0"
    assert Address("fe80::1%eth0", 1) != Address("fe80::1%eth1", 1)


def test_a_name_is_the_same_in_every_spelling() -> None:
    """DNS knows no case, and a dot at the end says what was meant anyway."""
    assert Address("Redis-1.Example.", 1) == Address("redis-1.example", 1)
    assert pickle.loads(pickle.dumps(Address("FD00::1", 1))) == Address("fd00::1", 1)
    assert Address("a", 1)._replace(port=2) == Address("A", 2)


@given(st.integers(1, 65535), st.sampled_from(["10.0.0.1", "fd00::1", "redis-1", *string.ascii_lowercase]))
def test_an_address_reads_back_as_it_prints(port: int, host: str) -> None:
    """IPv6 addresses get their brackets, everything else has none."""
    assert Address.parse(str(Address(host, port))) == Address(host, port)
