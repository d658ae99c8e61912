"""Entries: what each decision is to Consul, in each mode, to the letter."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.consul.form import FIRST, MASTER_CHECK, ROLE, Wanted, read_claim, registration
from consul_redis_agent.decide.claim import EARLY_TERM, Claim, Early
from consul_redis_agent.decide.decision import Decision, Reason, Verdict
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.publish.entries import Mode, Naming, wanted

HERE = Address("10.0.0.5", 6379)
NAMING = Naming(
    mode=Mode.SERVICES,
    service="redis",
    replica="redis-replica",
    ttl=10.0,
    node="127.0.0.1:6379",
    master_id="redis-6379",
    replica_id="redis-replica-6379",
)
COMMON_META = {
    "external-source": "consul-redis-agent",
    "consul_redis_agent": "2",
    "redis-node": "127.0.0.1:6379",
    "redis-master-name": "mymaster",
    "redis-group": "g-1",
}
CLAIM = Claim(5, 0, "abc")
CLAIM_META = {"redis-epoch": "5", "redis-turn": "0", "redis-run-id": "abc"}
LAST_META = {"redis-last-claim": "5 0 abc"}
MASTER = Decision(Verdict.MASTER, Reason.NAMED, "It is.", claim=CLAIM, group="g-1")
EARLY = replace(MASTER, claim=replace(CLAIM, early=Early(1000.0, "boot", "s1")))
PENDING = Decision(Verdict.PENDING, Reason.FIRST, "Looking.", claim=CLAIM, group="g-1")
REPLICA = Decision(Verdict.REPLICA, Reason.REPLICATES, "It follows.", group="g-1")
NONE = Decision(Verdict.NONE, Reason.SILENT, "It is silent.", group="g-1")
WITHDRAWN = replace(NONE, keeps=CLAIM)
FOLLOWS = replace(REPLICA, keeps=CLAIM)
KEEP = Decision(Verdict.KEEP, Reason.MISSED, "Looking again.")
namings = st.builds(
    replace,
    st.just(NAMING),
    mode=st.sampled_from(Mode),
    replica=st.sampled_from(["", "redis-replica"]),
    tags=st.lists(st.sampled_from(["a", "b"]), max_size=2).map(tuple),
    meta=st.dictionaries(st.sampled_from(["rack", "zone"]), st.text(max_size=3)),
)
decisions = st.sampled_from([MASTER, EARLY, PENDING, REPLICA, NONE, WITHDRAWN, FOLLOWS])


def entries(decision: Decision, mode: Mode, **changes: object) -> tuple[Wanted, ...]:
    """The entries of the one node of these tests."""
    return wanted(decision, replace(NAMING, mode=mode, **changes), HERE, "mymaster")  # type: ignore[arg-type]


def test_mode_services_registers_the_master_under_the_service() -> None:
    """The master is ``redis`` with tag and check of its role, and its Meta carries group and claim."""
    assert entries(MASTER, Mode.SERVICES) == (
        Wanted("redis-6379", "redis", ("master",), HERE, COMMON_META | CLAIM_META, "master", 10.0, passing=True),
    )


def test_mode_services_registers_a_replica_under_the_replicas_service() -> None:
    """A healthy replica is ``redis-replica``, claims nothing, and has no other entry."""
    assert entries(REPLICA, Mode.SERVICES) == (
        Wanted(
            "redis-replica-6379",
            "redis-replica",
            ("replica",),
            HERE,
            COMMON_META,
            "replica",
            10.0,
            passing=True,
            reaped=True,
        ),
    )


def test_mode_services_registers_nothing_for_a_node_that_is_neither() -> None:
    """A node that is neither is registered as neither."""
    assert entries(NONE, Mode.SERVICES) == ()


def test_an_empty_replica_name_publishes_no_replicas() -> None:
    """``replica.name = ""`` leaves replicas out, and changes nothing for the master."""
    assert entries(REPLICA, Mode.SERVICES, replica="") == ()
    assert [e.id for e in entries(MASTER, Mode.SERVICES, replica="")] == ["redis-6379"]


@pytest.mark.parametrize(
    ("decision", "passing", "meta"),
    [
        (MASTER, True, COMMON_META | CLAIM_META),
        (REPLICA, False, COMMON_META),
        (NONE, False, COMMON_META),
        (WITHDRAWN, False, COMMON_META | CLAIM_META),
        (FOLLOWS, False, COMMON_META | CLAIM_META),
    ],
)
def test_mode_check_registers_every_node_and_passes_the_master(
    decision: Decision, passing: bool, meta: dict[str, str]
) -> None:
    """The recipe's form: always the same entry, without tag, whose ``role:master`` check passes on the master only."""
    assert entries(decision, Mode.CHECK) == (
        Wanted("redis-6379", "redis", (), HERE, meta, "master", 10.0, passing=passing),
    )


@pytest.mark.parametrize(
    ("decision", "role", "meta"),
    [
        (MASTER, "master", COMMON_META | CLAIM_META),
        (REPLICA, "replica", COMMON_META),
        (FOLLOWS, "replica", COMMON_META | LAST_META),
    ],
)
def test_mode_tags_registers_healthy_nodes_under_one_name(decision: Decision, role: str, meta: dict[str, str]) -> None:
    """``master.redis`` and ``replica.redis``: one entry, one id, told apart by tag and by the check's name."""
    assert entries(decision, Mode.TAGS) == (
        Wanted("redis-6379", "redis", (role,), HERE, meta, role, 10.0, passing=True),
    )


def test_mode_tags_registers_nothing_for_a_node_that_is_neither() -> None:
    """A node that is not healthy has no tag to pass under."""
    assert entries(NONE, Mode.TAGS) == ()


@pytest.mark.parametrize("mode", Mode)
def test_a_first_claim_is_recorded_critical(mode: Mode) -> None:
    """The same entry as the one that will pass, with a word that it has not passed yet."""
    (first,), (master,) = entries(PENDING, mode), entries(MASTER, mode)
    assert FIRST in first.meta
    assert first == replace(master, meta={**master.meta, FIRST: first.meta[FIRST]}, passing=False)


@pytest.mark.parametrize("mode", Mode)
def test_the_groups_last_claim_outlives_its_withdrawal_critical(mode: Mode) -> None:
    """Promotions that come are compared with it. It says master, and blocks nobody, since it does not pass."""
    (kept,), (master,) = entries(WITHDRAWN, mode), entries(MASTER, mode)
    assert kept == replace(master, passing=False)


def test_in_mode_services_the_last_claim_stands_beside_the_replicas_entry() -> None:
    """One under each name."""
    kept, replica = entries(FOLLOWS, Mode.SERVICES)
    assert ((kept,), (replica,)) == (entries(WITHDRAWN, Mode.SERVICES), entries(REPLICA, Mode.SERVICES))
    assert entries(FOLLOWS, Mode.SERVICES, replica="") == (kept,)


@pytest.mark.parametrize("mode", Mode)
def test_an_early_claim_ends_by_itself(mode: Mode) -> None:
    """Its agent may be killed: its TTL is no longer than its term, and is never begun so that it ends after it."""
    (entry,) = entries(EARLY, mode)
    assert (entry.ttl, entry.ends) == (EARLY_TERM, 1000.0 + EARLY_TERM)
    assert read_claim(entry.meta) == EARLY.claim
    (entry,) = entries(EARLY, mode, ttl=2.0)
    assert (entry.ttl, entry.ends) == (2.0, 1000.0 + EARLY_TERM)


def test_an_early_claim_that_is_withdrawn_says_still_that_it_was_early() -> None:
    """And has no end any more: it is critical."""
    (kept,) = entries(replace(NONE, keeps=EARLY.claim), Mode.SERVICES)
    assert (read_claim(kept.meta), kept.passing, kept.ends, kept.ttl) == (EARLY.claim, False, inf, 10.0)


def test_a_group_without_an_id_writes_none() -> None:
    """It is made with the group's first claim."""
    (entry,) = entries(replace(REPLICA, group=""), Mode.SERVICES)
    assert "redis-group" not in entry.meta


def test_the_operators_tags_and_meta_stand_beside_ours() -> None:
    """The role comes first in the tags; Meta is joined."""
    (entry,) = entries(MASTER, Mode.SERVICES, tags=("blue",), meta={"rack": "7"})
    assert entry.tags == ("master", "blue")
    assert entry.meta == {"rack": "7"} | COMMON_META | CLAIM_META
    (entry,) = entries(NONE, Mode.CHECK, tags=("blue",), meta={"rack": "7"})
    assert entry.tags == ("blue",)


def test_the_operators_meta_cannot_forge_a_claim() -> None:
    """Ours is written over a Meta of the same name."""
    (entry,) = entries(MASTER, Mode.SERVICES, meta={"redis-epoch": "99", "consul_redis_agent": "0"})
    assert entry.meta == COMMON_META | CLAIM_META


def test_keep_wants_no_entries() -> None:
    """KEEP leaves what is there, so asking what it wants is a mistake, and says so."""
    with pytest.raises(ValueError, match="leaves what is there"):
        wanted(KEEP, NAMING, HERE, "mymaster")


@given(decisions, namings)
def test_only_ids_of_this_node_are_ever_wanted(decision: Decision, naming: Naming) -> None:
    """No decision in any mode wants an entry that belongs to anybody else, or two of one id."""
    ids = [e.id for e in wanted(decision, naming, HERE, "mymaster")]
    assert set(ids) <= {naming.master_id, naming.replica_id}
    assert len(ids) == len(set(ids))


@given(decisions, namings)
def test_every_entry_gives_the_published_address_and_the_group(decision: Decision, naming: Naming) -> None:
    """What DNS SRV answers is the address that was found for the node, never the Consul node's."""
    for entry in wanted(decision, naming, HERE, "mymaster"):
        body = registration(entry)
        assert (body["Address"], body["Port"]) == HERE
        assert entry.meta["redis-group"] == "g-1"


@given(decisions, namings)
def test_only_a_master_passes_as_one(decision: Decision, naming: Naming) -> None:
    """An entry that DNS would show as the master is wanted exactly when the decision is MASTER, with just its claim."""
    made = wanted(decision, naming, HERE, "mymaster")
    shown = [e for e in made if e.name == naming.service and e.passing and ROLE.format(e.role) == MASTER_CHECK]
    assert bool(shown) is (decision.verdict is Verdict.MASTER)
    assert all(e.claims and read_claim(e.meta) == decision.claim for e in shown)
    carried = {read_claim(e.meta) for e in made} - {None}
    assert carried <= {decision.claim, decision.keeps}
    assert all(e.claims for e in made if e.role == "master" and read_claim(e.meta))


@given(decisions, namings)
def test_only_an_entry_without_any_claim_is_reaped(decision: Decision, naming: Naming) -> None:
    """Consul may take out what its agent has left for days, but nothing that the group's last claim could be in."""
    for entry in wanted(decision, naming, HERE, "mymaster"):
        reaped = entry.reaped
        assert reaped is (naming.mode is Mode.SERVICES and entry.role == "replica")
        (role, seal) = registration(entry)["Checks"]
        assert ("DeregisterCriticalServiceAfter" in role) is reaped
        assert "DeregisterCriticalServiceAfter" not in seal


def test_the_operator_may_name_another_source() -> None:
    """``external-source`` is for people only, so an own value in ``service.meta`` wins."""
    (entry,) = entries(MASTER, Mode.SERVICES, meta={"external-source": "nomad"})
    assert entry.meta["external-source"] == "nomad"
