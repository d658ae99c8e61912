"""`resolve` and `check` on DNS: when is an answer the one true master, and what is said when it is not?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from consul_redis_agent.commands.lookup import Answer
from consul_redis_agent.commands.resolve import change
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.commands.truth import Judgement, judge
from consul_redis_agent.decide.facts import Address, Node, Role, Sentinel

A, B = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)
MASTER = Node(0, "run-a", Role.MASTER)
REPLICA = Node(0, "run-b", Role.REPLICA, follows=A, link_up=True)


def answers(*addresses: Address) -> tuple[Answer, ...]:
    return tuple(Answer("host.consul", address.port, address.host, 0) for address in addresses)


def sentinel(number: int, master: Address | None, epoch: int = 1, error: str = "", *, tilt: bool = False) -> Sentinel:
    """One of three that know each other."""
    peers = {f"s{n}": Address(f"10.0.1.{n}", 26379) for n in (1, 2, 3) if n != number}
    run_ids = {master: "run-a" if master != B else "run-b"} if master else {}
    address = Address(f"10.0.1.{number}", 26379)
    return Sentinel(
        0, f"s{number}", address, error=error, tilt=tilt, master=master, epoch=epoch, run_ids=run_ids, peers=peers
    )


def named(*masters: Address | None) -> Survey:
    return Survey("mymaster", tuple(sentinel(number, master) for number, master in enumerate(masters, 1)))


def test_one_answer_that_says_master_and_is_named_is_the_one_true_master() -> None:
    """DNS, the node and a majority of the Sentinels agree."""
    for survey in (named(A, A, A), named(A, A, B)):
        assert judge(answers(A), {A: MASTER}, survey, "auto") == Judgement(True, f"{A} is the one true master")


def test_a_node_is_known_by_its_run_id_behind_other_addresses() -> None:
    """NAT, Docker ports and hostnames: Sentinel's address need not be the one that DNS gives."""
    outside = Address("redis-1.example", 7000)
    assert judge(answers(A), {A: MASTER}, named(outside, outside, outside), "auto").true
    assert not judge(answers(A), {A: Node(0, "run-x", Role.MASTER)}, named(outside, outside, outside), "auto").true


HERE = Address("127.0.0.1", 6379)


def test_a_loopback_address_is_true_only_where_there_are_no_other_hosts() -> None:
    """Each of them would connect to itself; a machine whose Consul agent has a loopback address is alone."""
    said = answers(HERE), {HERE: MASTER}, named(HERE, HERE, HERE), "auto"
    assert judge(*said, "127.0.0.1").true
    assert judge(*said, "").true  # nobody may ask
    judgement = judge(*said, "10.0.0.1")
    assert not judgement.true
    assert "127.0.0.1, which is of use on this host only" in judgement.sentence


def test_a_target_without_an_address_in_consul_is_said() -> None:
    """A resolver that knows the name helps some applications; a name of one label helps none."""
    name = Answer("redis-1.example", 6379, A.host, 0, elsewhere=True)
    judgement = judge((name,), {A: MASTER}, named(A, A, A), "auto")
    assert judgement.true
    assert "Consul's DNS has no address for the target redis-1.example" in judgement.warning
    label = replace(name, target="redis")
    judgement = judge((label,), {A: MASTER}, named(A, A, A), "auto")
    assert not judgement.true
    assert "applications are told redis, a name of one label" in judgement.sentence


@pytest.mark.parametrize(
    ("addresses", "looks", "survey", "sentence"),
    [
        ((), {}, named(A, A, A), "no master: DNS names nobody, though Sentinel names 10.0.0.1:6379"),
        ((), {}, Survey(), "no master: DNS names nobody"),
        (
            (A, B),
            {A: MASTER, B: REPLICA},
            named(A, A, A),
            "2 masters: 10.0.0.1:6379 (says master), 10.0.0.2:6379 (is a replica of 10.0.0.1:6379); only one can be true",
        ),
        (
            (B,),
            {B: REPLICA},
            named(A, A, A),
            "10.0.0.2:6379 is a replica of 10.0.0.1:6379; Sentinel names 10.0.0.1:6379",
        ),
        (
            (A,),
            {A: "no answer within 1 s"},
            named(B, B, B),
            "10.0.0.1:6379 cannot be asked: no answer within 1 s; Sentinel names 10.0.0.2:6379",
        ),
        ((A,), {A: MASTER}, named(B, B, B), "10.0.0.1:6379 says master, but Sentinel names 10.0.0.2:6379"),
        ((A,), {A: MASTER}, named(B, B, A), "10.0.0.1:6379 says master, but Sentinel names 10.0.0.2:6379"),
        (
            (A,),
            {A: Node(0, "run-a", Role.MASTER, loading=True)},
            named(A, A, A),
            "10.0.0.1:6379 is still loading its data",
        ),
    ],
)
def test_anything_else_is_named(
    addresses: tuple[Address, ...], looks: dict[Address, Node | str], survey: Survey, sentence: str
) -> None:
    """None, two, a replica, dead, loading, or not whom Sentinel names."""
    assert judge(answers(*addresses), looks, survey, "auto") == Judgement(False, sentence)


@pytest.mark.parametrize(
    "sentinels",
    [
        (sentinel(1, A),),
        (sentinel(1, A), sentinel(2, None, error="no answer within 1 s"), sentinel(3, None, error="x")),
        (sentinel(1, A, tilt=True), sentinel(2, A, tilt=True), sentinel(3, A)),
        (sentinel(1, A, epoch=1), sentinel(2, None, error="x"), sentinel(3, B, epoch=2)),
        (sentinel(1, A, epoch=1), sentinel(2, A, epoch=2), sentinel(3, B, epoch=2)),
    ],
)
def test_less_than_a_majority_of_all_known_sentinels_confirms_nothing(sentinels: tuple[Sentinel, ...]) -> None:
    """Out of reach, in TILT or behind, a Sentinel has no vote; those that are only known count in the majority."""
    judgement = judge(answers(A), {A: MASTER}, Survey("mymaster", sentinels), "auto")
    assert judgement == Judgement(
        False, f"{A} says master, but no majority of the 3 Sentinels names one node (2 are needed)"
    )


def test_one_sentinel_that_is_ahead_silences_nobody() -> None:
    """Its epoch counts when a majority has reached it: as the agent has it."""
    survey = Survey("mymaster", (sentinel(1, A), sentinel(2, A), sentinel(3, B, epoch=999_999)))
    assert judge(answers(A), {A: MASTER}, survey, "auto").true


@pytest.mark.parametrize(
    ("mode", "true", "sentence"),
    [
        ("off", True, f"{A} is the one master; its own word counts, since Sentinel is off"),
        ("auto", True, f"{A} is the one master; its own word counts, since no Sentinel watches it"),
        ("required", False, f"{A} says master, but no Sentinel was found to confirm it"),
    ],
)
def test_without_sentinel_the_nodes_own_word_counts_unless_one_is_required(
    mode: str, true: bool, sentence: str
) -> None:
    """As the agent itself would have it."""
    assert judge(answers(A), {A: MASTER}, Survey(), mode) == Judgement(true, sentence)


def test_a_change_is_one_line_with_its_time_and_how_long_the_former_answer_held() -> None:
    """For eyes, and in columns for programs; the first line has no former answer."""
    at = datetime(2026, 1, 2, 3, 4, 5, 6789, tzinfo=UTC)
    assert change(at, str(B), str(A), 12.3456, for_eyes=True) == (
        "03:04:05.006  10.0.0.2:6379   after 10.0.0.1:6379 for 12.346 s"
    )
    assert change(at, str(B), "", 0.1, for_eyes=True) == "03:04:05.006  10.0.0.2:6379"
    assert change(at, str(B), "none", 12.3456, for_eyes=False) == (
        "2026-01-02T03:04:05.006+00:00\t10.0.0.2:6379\tnone\t12.346"
    )
    assert change(at, "none", "", 0.1, for_eyes=False) == "2026-01-02T03:04:05.006+00:00\tnone\t\t"
