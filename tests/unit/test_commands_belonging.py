"""Whose the entries in Consul are: `check` tells it with one look as the agent does over time."""

from __future__ import annotations

from typing import Any

from consul_redis_agent.commands.belonging import belonging
from consul_redis_agent.commands.survey import Survey, _sorted
from consul_redis_agent.config import load
from consul_redis_agent.decide.claim import NO_EPOCH, Claim
from consul_redis_agent.decide.facts import Address, Entry, Node, Role, Sentinel
from consul_redis_agent.decide.memory import NOTHING, Memory
from consul_redis_agent.publish.entries import Mode, Naming

A, B, C = (Address(f"10.0.0.{number}", 6379) for number in (1, 2, 3))
NAMING = Naming(
    Mode.SERVICES, "redis", "redis-replica", 10, "redis://127.0.0.1:6379", "redis-6379", "redis-replica-6379"
)
NODE = Node(0, "run-a", Role.MASTER)
OURS = {A: "run-a", B: "run-b"}


def sentinel(number: int, lists: dict[Address, str] | None = None, *, error: str = "") -> Sentinel:
    """One of three that know each other."""
    at = {f"s{n}": Address(f"10.0.1.{n}", 26379) for n in range(3)}
    peers = {} if error else {id_: address for id_, address in at.items() if id_ != f"s{number}"}
    listed = {} if error else lists or OURS
    master = None if error else next(iter(listed))
    return Sentinel(0, f"s{number}", at[f"s{number}"], error=error, master=master, epoch=1, run_ids=listed, peers=peers)


ALL = Survey("mymaster", tuple(map(sentinel, range(3))))
FEW = Survey("mymaster", (sentinel(0), sentinel(1, error="x"), sentinel(2, error="x")))
NO_SENTINEL = Survey("")


def entry(address: Address, run_id: str = "", *, name: str = "redis", **more: Any) -> Entry:
    """Made by this tool on a host of its own; with a run id it claims, and passes."""
    claim = Claim(1, 0, run_id) if run_id else None
    facts: dict[str, Any] = {
        "marked": True,
        "passing": True,
        "rises": True,
        "claim": claim,
        "says_master": bool(run_id),
    }
    return Entry(f"host-{address.host}", f"{name}-6379", name, address, **facts | more)


def whose(*entries: Entry, found: Survey = ALL, kept: Memory = NOTHING) -> tuple[str, str, str]:
    """The hosts of ours, of strangers and of the untold."""
    told = belonging(entries, NAMING, "host-10.0.0.1", found, NODE, kept).masters
    ours, strangers, untold = (
        " ".join(e.address.host for e in group) for group in (told.ours, told.strangers, told.untold)
    )
    return ours, strangers, untold


def test_entries_of_the_own_group_id_are_ours_and_of_another_one_strange() -> None:
    """The id is the own entry's, or that of a listed node's claim, or the one that the agent has kept."""
    stranger = entry(C, "run-c", group="g2")
    assert whose(entry(A, "run-a", group="g1"), stranger) == ("10.0.0.1", "10.0.0.3", "")
    assert whose(entry(B, "run-b", group="g1"), stranger) == ("10.0.0.2", "10.0.0.3", "")
    assert whose(stranger, kept=Memory(group="g1", had_sentinel=True)) == ("", "10.0.0.3", "")


def test_a_claim_of_the_former_format_is_told_by_the_sentinels_list() -> None:
    """It carries no id: whom a majority lists is ours, whoever else passes as master is not."""
    assert whose(entry(B, "run-b"), entry(C, "run-c")) == ("10.0.0.2", "10.0.0.3", "")


def test_a_claim_of_a_listed_node_is_ours_whatever_it_carries() -> None:
    """Also where its agent has made an id of its own, or knows the group under another master name."""
    assert whose(entry(A, "run-a", group="g1"), entry(B, "run-b", group="g9")) == ("10.0.0.1 10.0.0.2", "", "")


def test_where_too_few_sentinels_answer_nothing_is_said_against_anybody() -> None:
    """But another id than the known one is another group's in any case."""
    assert whose(entry(B, "run-b"), found=FEW) == ("", "", "10.0.0.2")
    assert whose(entry(B, "run-b", group="g2"), found=FEW, kept=Memory(group="g1")) == ("", "10.0.0.2", "")


def test_without_sentinel_whoever_has_the_name_is_of_the_group() -> None:
    """Nobody can tell it. Where there once was a Sentinel, one has to answer first."""
    own, other = (entry(at, run_id, claim=Claim(NO_EPOCH, 0, run_id)) for at, run_id in ((A, "run-a"), (C, "run-c")))
    assert whose(own, other, found=NO_SENTINEL) == ("10.0.0.1 10.0.0.3", "", "")
    assert whose(own, other, found=NO_SENTINEL, kept=Memory(had_sentinel=True)) == ("10.0.0.1", "", "10.0.0.3")


def test_replicas_of_another_group_under_the_same_name_are_found() -> None:
    """Two groups with names of their own for the master often share the replicas' default."""
    own = entry(A, "run-a", group="g1")
    replicas = [
        entry(B, name="redis-replica", group="g1"),
        entry(C, name="redis-replica", group="g2"),
        entry(Address("10.0.0.4", 6379), name="redis-replica"),
    ]
    told = belonging([own, *replicas], NAMING, "host-10.0.0.1", ALL, NODE, NOTHING)
    assert [e.address for e in told.strange_replicas] == [C]
    assert told.masters.ours == (own,)
    fresh = belonging([replicas[0]], NAMING, "host-10.0.0.1", ALL, NODE, NOTHING)
    assert fresh.strange_replicas == ()


def test_a_group_with_two_master_names_is_told_so() -> None:
    """The one found here, and what other entries of the group say."""
    other = entry(B, "run-b", group="g1", master_name="sessions")
    stranger = entry(C, "run-c", group="g2", master_name="shop")
    told = belonging([entry(A, "run-a", group="g1"), other, stranger], NAMING, "host-10.0.0.1", ALL, NODE, NOTHING)
    assert told.names == ("mymaster", "sessions")


def test_sentinels_of_another_group_are_left_out_of_the_survey() -> None:
    """They watch other nodes under the same master name: neither counted nor heard."""
    config = load(None, {}, {})
    at = Address("10.0.9.1", 26379)
    foreign = Sentinel(0, "x1", at, master=C, epoch=9, run_ids={C: "run-c"}, peers={"x2": Address("10.0.9.2", 26379)})
    found = _sorted("mymaster", [*ALL.sentinels, foreign], {}, config.redis[0], NODE)
    assert (found.others, found.known, found.need) == ((foreign,), 3, 2)
    assert (found.master, len(found.voters)) == (A, 3)


def test_a_sentinel_that_does_not_tell_its_id_is_counted_once() -> None:
    """Before Redis 6.2, or where its ACL refuses MYID, it is known by its address to us and by its id to the others."""
    first = sentinel(0)
    nameless = Sentinel(0, str(first.address), first.address, master=A, epoch=1, run_ids=OURS, peers=first.peers)
    found = _sorted("mymaster", [nameless, sentinel(1), sentinel(2)], {}, load(None, {}, {}).redis[0], NODE)
    assert found.known == 3
