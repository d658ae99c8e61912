"""Entries: what each decision is to Consul, in each mode, to the letter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.decide.rules import Decision, Reason, Verdict
from consul_redis_agent.publish.entries import SEAL_NOTES, SEAL_TTL, Mode, Naming, Wanted, wanted

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
COMMON_META = {"consul_redis_agent": "1", "redis-node": "127.0.0.1:6379", "redis-master-name": "mymaster"}
CLAIM_META = {"redis-epoch": "5", "redis-turn": "0", "redis-run-id": "abc"}
MASTER = Decision(Verdict.MASTER, Reason.NAMED, "It is.", claim=Claim(5, 0, "abc"))
REPLICA = Decision(Verdict.REPLICA, Reason.REPLICATES, "It follows.")
NONE = Decision(Verdict.NONE, Reason.SILENT, "It is silent.")
KEEP = Decision(Verdict.KEEP, Reason.MISSED, "Looking again.")
namings = st.builds(
    replace,
    st.just(NAMING),
    mode=st.sampled_from(Mode),
    replica=st.sampled_from(["", "redis-replica"]),
    tags=st.lists(st.sampled_from(["a", "b"]), max_size=2).map(tuple),
    meta=st.dictionaries(st.sampled_from(["rack", "zone"]), st.text(max_size=3)),
)
decisions = st.sampled_from([MASTER, REPLICA, NONE])


def entries(decision: Decision, mode: Mode, **changes: object) -> tuple[Wanted, ...]:
    """The entries of the one node of these tests."""
    return wanted(decision, replace(NAMING, mode=mode, **changes), HERE, "mymaster")  # type: ignore[arg-type]


def test_mode_services_registers_the_master_under_the_service() -> None:
    """The master is ``redis`` with tag and check of its role, and its Meta carries the claim."""
    assert entries(MASTER, Mode.SERVICES) == (
        Wanted(
            "redis-6379", "redis", ("master",), HERE, COMMON_META | CLAIM_META, "role:master", 10.0, True, claims=True
        ),
    )


def test_mode_services_registers_a_replica_under_the_replicas_service() -> None:
    """A healthy replica is ``redis-replica``, claims nothing, and has no other entry."""
    assert entries(REPLICA, Mode.SERVICES) == (
        Wanted("redis-replica-6379", "redis-replica", ("replica",), HERE, COMMON_META, "role:replica", 10.0, True),
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
    [(MASTER, True, COMMON_META | CLAIM_META), (REPLICA, False, COMMON_META), (NONE, False, COMMON_META)],
)
def test_mode_check_registers_every_node_and_passes_the_master(
    decision: Decision, passing: bool, meta: dict[str, str]
) -> None:
    """The recipe's form: always the same entry, without tag, whose ``role:master`` check passes on the master only."""
    assert entries(decision, Mode.CHECK) == (
        Wanted("redis-6379", "redis", (), HERE, meta, "role:master", 10.0, passing, claims=passing),
    )


@pytest.mark.parametrize(
    ("decision", "role", "meta"), [(MASTER, "master", COMMON_META | CLAIM_META), (REPLICA, "replica", COMMON_META)]
)
def test_mode_tags_registers_healthy_nodes_under_one_name(decision: Decision, role: str, meta: dict[str, str]) -> None:
    """``master.redis`` and ``replica.redis``: one entry, one id, told apart by tag."""
    assert entries(decision, Mode.TAGS) == (
        Wanted(
            "redis-6379", "redis", (role,), HERE, meta, f"role:{role}", 10.0, True, claims=decision.verdict == "master"
        ),
    )


def test_mode_tags_registers_nothing_for_a_node_that_is_neither() -> None:
    """A node that is not healthy has no tag to pass under."""
    assert entries(NONE, Mode.TAGS) == ()


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


def test_service_and_check_are_registered_in_one_call() -> None:
    """One body carries both, with the check's id and status, so nothing is ever there without its check."""
    (entry,) = entries(MASTER, Mode.SERVICES)
    assert entry.registration() == {
        "ID": "redis-6379",
        "Name": "redis",
        "Tags": ["master"],
        "Address": "10.0.0.5",
        "Port": 6379,
        "Meta": COMMON_META | CLAIM_META,
        "Checks": [
            {
                "CheckID": "redis-6379:role",
                "Name": "role:master",
                "TTL": "10s",
                "Status": "passing",
                "Notes": "kept by consul-redis-agent",
            },
            {
                "CheckID": "redis-6379:seal",
                "Name": "seal",
                "TTL": SEAL_TTL,
                "Status": "passing",
                "Notes": SEAL_NOTES,
            },
        ],
    }


def test_a_transaction_writes_what_a_registration_writes() -> None:
    """Catalog and local agent get the same definition, so that no later sync changes it."""
    (entry,) = entries(MASTER, Mode.SERVICES)
    registration, service = entry.registration(), entry.catalog_service()
    assert service == {
        "ID": registration["ID"],
        "Service": registration["Name"],
        **{key: registration[key] for key in ("Tags", "Address", "Port", "Meta")},
    }
    for check, registered in zip(entry.catalog_checks("host-1"), registration["Checks"], strict=True):
        same = ("CheckID", "Name", "Status", "Notes")
        assert {key: check[key] for key in same} == {key: registered[key] for key in same}
        assert (check["Node"], check["ServiceID"], check["ServiceName"]) == ("host-1", "redis-6379", "redis")
        assert (check["ServiceTags"], check["Output"]) == (["master"], "")


@given(decisions, namings)
def test_only_ids_of_this_node_are_ever_wanted(decision: Decision, naming: Naming) -> None:
    """No decision in any mode wants an entry that belongs to anybody else, or two of one id."""
    ids = [e.id for e in wanted(decision, naming, HERE, "mymaster")]
    assert set(ids) <= {naming.master_id, naming.replica_id}
    assert len(ids) == len(set(ids))


@given(decisions, namings)
def test_every_entry_gives_the_published_address(decision: Decision, naming: Naming) -> None:
    """What DNS SRV answers is the address that was found for the node, never the Consul node's."""
    for entry in wanted(decision, naming, HERE, "mymaster"):
        body = entry.registration()
        assert (body["Address"], body["Port"]) == HERE


@given(decisions, namings)
def test_only_a_master_claims_and_passes_as_one(decision: Decision, naming: Naming) -> None:
    """An entry that DNS would show as the master is wanted exactly when the decision is MASTER."""
    made = wanted(decision, naming, HERE, "mymaster")
    shown = [e for e in made if e.name == naming.service and e.passing and e.check_name == "role:master"]
    assert bool(shown) is (decision.verdict is Verdict.MASTER)
    assert all((Claim.read(e.meta) == decision.claim) is e.claims for e in made if decision.claim)
    assert all(Claim.read(e.meta) is None for e in made if not decision.claim)


@given(decisions, namings)
def test_a_status_is_passing_or_critical(decision: Decision, naming: Naming) -> None:
    """Never ``warning``, which DNS serves."""
    for entry in wanted(decision, naming, HERE, "mymaster"):
        assert entry.status == ("passing" if entry.passing else "critical")
