"""What the watchers make of the other side's words: the right fact, or one named refusal, never a stray exception."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.decide.facts import Address, Node, Role, Selection
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.watch.redis_node import node, parse_info
from consul_redis_agent.watch.sentinels import Failovers, event_master, parse_hello

MASTER_INFO = """# Server\r\nredis_version:7.0.15\r\nrun_id:aaa\r\n
# Persistence\r\nloading:0\r\nasync_loading:0\r\n
# Replication\r\nrole:master\r\nconnected_slaves:1\r
slave0:ip=10.0.0.6,port=6379,state=online,offset=7,lag=0\r\nmaster_replid:rrr\r\n"""
REPLICA_INFO = """run_id:bbb\r\nloading:0\r\nrole:slave\r\nmaster_host:fd00::5\r\nmaster_port:6379\r
master_link_status:up\r\nmaster_last_io_seconds_ago:3\r\nmaster_sync_in_progress:0\r\nmaster_replid:rrr\r\n"""


def seen(text: str) -> Node:
    """The fact in an INFO of this text."""
    return node(parse_info(text), 7.0)


def test_a_master_is_read() -> None:
    """Run id, role and replication id, whatever else INFO says."""
    assert seen(MASTER_INFO) == Node(7.0, "aaa", Role.MASTER, replication_id="rrr", version=(7, 0, 15))


def test_a_replica_of_an_ipv6_master_is_read() -> None:
    """A value may hold colons: lines are split at the first one only."""
    assert seen(REPLICA_INFO) == Node(
        7.0,
        "bbb",
        Role.REPLICA,
        link_up=True,
        lag=3.0,
        follows=Address("fd00::5", 6379),
        replication_id="rrr",
    )


LISTED = "\nslave0:ip=10.0.0.6,port=6379,state=online,offset=7,lag=0\r"
HANDS_OVER = "\nmaster_failover_state:waiting-for-sync\r\nmaster_replid"


@pytest.mark.parametrize("replicas", ["", LISTED, LISTED + LISTED.replace("slave0", "slave1")])
def test_a_node_that_hands_over_says_so_whether_it_has_replicas_or_not(replicas: str) -> None:
    """Redis writes that right behind the lines about its replicas, of which nothing is read."""
    text = MASTER_INFO.replace(LISTED, replicas)
    assert seen(text.replace("\nmaster_replid", HANDS_OVER)).hands_over is True
    assert (
        seen(text.replace("\nmaster_replid", HANDS_OVER.replace("waiting-for-sync", "no-failover"))).hands_over is False
    )
    assert seen(text).hands_over is False, "Redis 6.0"


def test_what_a_replica_has_announced_hands_nothing_over() -> None:
    """Its address may hold whole lines."""
    forged = LISTED.replace("10.0.0.6", "x\r\nmaster_failover_state:waiting-for-sync\r\nmaster_replid:forged")
    assert seen(MASTER_INFO.replace(LISTED, forged)).hands_over is False


def test_a_full_synchronisation_is_a_link_that_is_down() -> None:
    """A replica that is being filled anew has no data to serve."""
    assert not seen(REPLICA_INFO.replace("sync_in_progress:0", "sync_in_progress:1")).link_up
    assert not seen(REPLICA_INFO.replace("link_status:up", "link_status:down")).link_up


@pytest.mark.parametrize("key", ["loading", "async_loading"])
def test_both_ways_of_loading_count(key: str) -> None:
    """A master that loads says ``role:master`` all the same, so loading has to be read apart."""
    assert seen(MASTER_INFO.replace(f"\n{key}:0", f"\n{key}:1")).loading is True


def test_the_newer_word_for_a_replica_is_known() -> None:
    """A server that writes ``replica`` is understood like one that writes ``slave``."""
    assert seen(REPLICA_INFO.replace("role:slave", "role:replica")).role is Role.REPLICA


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no role"),
        ("run_id:a\r\n", "no role"),
        ("role:master\r\n", "no run_id"),
        ("role:sentinel\r\nrun_id:a\r\n", "neither master nor replica"),
        ("HTTP/1.1 400 Bad Request\r\nServer: x\r\n", "no role"),
        (REPLICA_INFO.replace("ago:3", "ago:soon"), "where a number belongs"),
        (REPLICA_INFO.replace("ago:3", "ago:nan"), "where a number belongs"),
    ],
)
def test_what_is_no_info_is_refused_with_the_reason(text: str, words: str) -> None:
    """Another service on the port, or half an INFO, is a missed look that says why."""
    with pytest.raises(Unanswered, match=words):
        seen(text)


@pytest.mark.parametrize("answer", [None, 7, [b"role"], b"role:master"])
def test_info_that_is_not_text_is_refused(answer: object) -> None:
    """An array or a null is no INFO."""
    with pytest.raises(Unanswered, match="not text"):
        parse_info(answer)


@pytest.mark.parametrize("port", ["", "x", "-1", "²", "0", "65536", "9" * 5000])
def test_a_port_that_is_none_leaves_the_master_unknown(port: str) -> None:
    """A replica whose master cannot be read is a replica all the same."""
    assert seen(REPLICA_INFO.replace("port:6379", f"port:{port}")).follows is None


garbage = st.text(alphabet="role:mastrv\r\nunid_lg#0123456789²-.,x", max_size=200)


@given(garbage | garbage.map(lambda g: MASTER_INFO + g) | garbage.map(lambda g: REPLICA_INFO + g))
def test_any_text_is_a_fact_or_a_refusal(text: str) -> None:
    """Nothing that a server may send as INFO ends the watch."""
    with suppress(Unanswered):
        assert seen(text).run_id


HELLO = "10.0.0.5,26379,sss,7,mymaster,10.0.0.6,6379,5"


def test_a_hello_is_read() -> None:
    """Which Sentinel speaks, by which id, of which master name."""
    assert parse_hello(HELLO) == (Address("10.0.0.5", 26379), "sss", "mymaster")
    assert parse_hello(HELLO.replace("10.0.0.5", "fd00::5")) == (Address("fd00::5", 26379), "sss", "mymaster")


@pytest.mark.parametrize("port", ["", "x", "0", "65536", "²", "-1", "9" * 5000])
def test_a_hello_with_a_wrong_port_is_passed_over(port: str) -> None:
    """Anybody may publish on the channel."""
    assert parse_hello(HELLO.replace("26379", port)) is None


@given(st.text(alphabet="10.,²x", max_size=60))
def test_any_hello_is_read_or_passed_over(text: str) -> None:
    """No message on the channel ends the watch."""
    heard = parse_hello(text)
    assert heard is None or 0 < heard[0].port < 65536


@pytest.mark.parametrize(
    ("channel", "text", "name"),
    [
        ("+sdown", "master mymaster 10.0.0.5 6379", "mymaster"),
        ("+try-failover", "master mymaster 10.0.0.5 6379", "mymaster"),
        ("+selected-slave", "slave 10.0.0.6:6379 10.0.0.6 6379 @ mymaster 10.0.0.5 6379", "mymaster"),
        ("+switch-master", "mymaster 10.0.0.5 6379 10.0.0.6 6379", "mymaster"),
        ("+odown", "master mymaster 10.0.0.5 6379 #quorum 2/2", "mymaster"),
        ("+sentinel", "sentinel sss 10.0.0.7 26379 @ mymaster 10.0.0.5 6379", "mymaster"),
        ("+new-epoch", "7", None),
        ("+tilt", "#tilt mode entered", None),
        ("+switch-master", "", None),
        ("+sdown", "", None),
    ],
)
def test_an_event_names_its_master(channel: str, text: str, name: str | None) -> None:
    """One Sentinel watches many masters; an event of another one must be told apart."""
    assert event_master(channel, text.split()) == name


MASTER = {"flags": "master,failover_in_progress"}
REPLICAS = [{"runid": "old", "flags": "slave"}, {"runid": "new", "flags": "slave,promoted"}]
TRY, ELECTED = ("+try-failover", "master mymaster 10.0.0.5 6379"), ("+elected-leader", "master mymaster 10.0.0.5 6379")


def after(*events: tuple[str, str]) -> Failovers:
    """A Sentinel's failovers after these events."""
    failovers = Failovers()
    for channel, text in events:
        failovers.heed(channel, text)
    return failovers


def test_an_elected_leader_and_its_choice_make_a_selection() -> None:
    """The epoch is told by the events, the choice is looked up."""
    assert after(("+new-epoch", "7"), TRY, ELECTED).selection("mymaster", MASTER, REPLICAS, 1.0) == Selection(7, "new")


def test_a_candidate_that_was_not_elected_selects_nobody() -> None:
    """``+try-failover`` is only the wish to be elected."""
    assert after(("+new-epoch", "7"), TRY).selection("mymaster", MASTER, REPLICAS, 1.0) is None


def test_a_later_epoch_of_another_election_does_not_change_ours() -> None:
    """The epoch that counts is the one of the attempt that won, not the latest that was heard of."""
    failovers = after(("+new-epoch", "7"), TRY, ELECTED, ("+new-epoch", "9"))
    assert failovers.selection("mymaster", MASTER, REPLICAS, 1.0) == Selection(7, "new")


def test_without_its_epoch_an_election_counts_for_nothing() -> None:
    """Events before the subscription are lost; a majority then decides, later."""
    assert after(TRY, ELECTED).selection("mymaster", MASTER, REPLICAS, 1.0) is None
    assert after(ELECTED).selection("mymaster", MASTER, REPLICAS, 1.0) is None


@pytest.mark.parametrize(
    "end",
    [
        ("-failover-abort-not-elected", "master mymaster 10.0.0.5 6379"),
        ("-failover-abort-slave-timeout", "master mymaster 10.0.0.5 6379"),
        ("+failover-end", "master mymaster 10.0.0.5 6379"),
        ("+switch-master", "mymaster 10.0.0.5 6379 10.0.0.6 6379"),
        TRY,
    ],
)
def test_a_failover_that_ended_selects_nobody(end: tuple[str, str]) -> None:
    """Once it is over, or begun anew, the names of the majority decide."""
    failovers = after(("+new-epoch", "7"), TRY, ELECTED, end)
    assert failovers.selection("mymaster", MASTER, REPLICAS, 1.0) is None


def test_events_alone_select_nobody() -> None:
    """What the look-up does not show is not believed: the failover may be over, or nobody be chosen yet."""
    failovers = after(("+new-epoch", "7"), TRY, ELECTED)
    assert failovers.selection("mymaster", {"flags": "master"}, REPLICAS, 1.0) is None
    assert failovers.selection("mymaster", MASTER, REPLICAS[:1], 1.0) is None
    assert failovers.selection("mymaster", MASTER, [{"runid": "", "flags": "slave,promoted"}], 1.0) is None
    assert failovers.selection("other", MASTER, REPLICAS, 1.0) is None


@given(st.lists(st.tuples(st.sampled_from(["+new-epoch", TRY[0], ELECTED[0]]), st.text(alphabet="7²- @", max_size=9))))
def test_any_event_is_heeded_or_passed_over(events: list[tuple[str, str]]) -> None:
    """No event ends the watch."""
    assert after(*events).selection("mymaster", MASTER, REPLICAS, 1.0) is None
