"""How an entry is written in Consul and how it is read: Meta, checks, and what one step becomes as transactions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.consul.form import (
    AGENT,
    EARLY_SINCE,
    EPOCH,
    EVICTED,
    FIRST,
    FORMAT,
    LAST_CLAIM,
    LIMIT,
    MARKER,
    NODE,
    NOTES,
    RUN_ID,
    SEAL_NOTES,
    SEAL_TTL,
    TOMBSTONES,
    TURN,
    TURN_LIMIT,
    Json,
    Transact,
    Wanted,
    claim_meta,
    is_own,
    last_claim_meta,
    node_name,
    read_claim,
    read_entry,
    read_local,
    registration,
    transactions,
    unmarked,
)
from consul_redis_agent.decide.claim import EPOCH_LIMIT, NO_EPOCH, Claim, Early
from consul_redis_agent.decide.facts import Address, Entry
from tests.doubles.catalog import Catalog, definition
from tests.doubles.decoding import TRANSACTION, decode

META = {
    "consul_redis_agent": "2",
    "redis-node": "redis://127.0.0.1:6379",
    "redis-master-name": "mymaster",
    "redis-group": "g-1",
}
CLAIM = Claim(5, 0, "abc")
PUBLISH = Wanted(
    "redis-6379",
    "redis",
    ("master",),
    Address("10.0.0.5", 6379),
    META | claim_meta(CLAIM),
    "master",
    10.0,
    passing=True,
)
KNOWN = {"Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "ServiceName", "ServiceTags", "Type"}
"""The keys of a check that Consul 1.8 to 1.14 take in a transaction, beside ModifyIndex, which compares."""

earlies = st.builds(
    Early,
    since=st.integers(0, 10**12).map(lambda milliseconds: milliseconds / 1000),
    boot=st.uuids().map(str),
    leader=st.text(min_size=1, max_size=40),
)
run_ids = st.text(alphabet="0123456789abcdef", min_size=1, max_size=40)
claims = st.builds(
    Claim,
    epoch=st.integers(NO_EPOCH, EPOCH_LIMIT),
    turn=st.integers(0, TURN_LIMIT),
    run_id=run_ids,
    early=st.none() | earlies,
)


# A claim in Meta


@given(claims)
def test_a_claim_that_is_written_is_read_back(claim: Claim) -> None:
    """Meta carries a claim without loss, and as text, which is all that Meta can hold."""
    meta = claim_meta(claim)
    assert all(isinstance(value, str) for value in meta.values())
    assert read_claim(meta) == claim


@given(claims)
def test_the_last_claim_in_a_replicas_entry_is_read_back(claim: Claim) -> None:
    """Under a key of its own: what format 1 takes for a claim is not there, so no former version sees a master in it."""
    meta = last_claim_meta(claim)
    assert not meta.keys() & {EPOCH, TURN, RUN_ID}
    assert read_claim(META | meta) == claim.settled


def test_a_claim_of_the_former_format_is_read() -> None:
    """Format 1 has no group id, and the same keys for the claim."""
    meta = {MARKER: "1", NODE: "redis://127.0.0.1:6379", EPOCH: "5", TURN: "2", RUN_ID: "abc"}
    assert read_claim(meta) == Claim(5, 2, "abc")
    assert read_claim(meta | {EPOCH: "-1"}) == Claim(NO_EPOCH, 2, "abc")


def test_a_claim_counts_before_a_last_claim() -> None:
    """Where somebody has left both keys, the entry is a master's."""
    assert read_claim(claim_meta(CLAIM) | last_claim_meta(Claim(9, 9, "xyz"))) == CLAIM


@pytest.mark.parametrize("missing", [EPOCH, TURN, RUN_ID])
def test_part_of_a_claim_is_none(missing: str) -> None:
    """A Meta that somebody has cut is not taken for a claim."""
    meta = claim_meta(CLAIM)
    del meta[missing]
    assert read_claim(meta) is None


NONSENSE = ["", " ", "x", "1.5", "-2", "+1", "1_0", " 1", "1\n", "٣", "²", "0x10", str(10**30), "9" * 4300, "9" * 5000]


@pytest.mark.parametrize("key", [EPOCH, TURN])
@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_no_claim(key: str, nonsense: str) -> None:
    """A Meta that somebody has filled with nonsense is passed over rather than raised about, however long it is."""
    assert read_claim(claim_meta(CLAIM) | {key: nonsense}) is None


def test_the_bounds_are_those_of_what_writes_them() -> None:
    """An epoch is a uint64_t of Sentinel; one that is larger is nobody's, and would keep the true master out for good."""
    assert read_claim({EPOCH: str(2**64 - 1), TURN: str(2**31 - 1), RUN_ID: "a"}) == Claim(2**64 - 1, 2**31 - 1, "a")
    assert read_claim({EPOCH: str(2**64), TURN: "0", RUN_ID: "a"}) is None
    assert read_claim({EPOCH: "5", TURN: str(2**31), RUN_ID: "a"}) is None
    assert read_claim({EPOCH: "5", TURN: "-1", RUN_ID: "a"}) is None


@pytest.mark.parametrize(
    "nonsense", ["", " ", "5", "5 0", "5 0 ", "x 0 a", "5 x a", f"{10**30} 0 a", f"5 {'9' * 4300} a"]
)
def test_nonsense_is_no_last_claim(nonsense: str) -> None:
    """As above."""
    assert read_claim({LAST_CLAIM: nonsense}) is None


@given(st.dictionaries(st.sampled_from([EPOCH, TURN, RUN_ID, LAST_CLAIM, EARLY_SINCE]), st.text(max_size=20)))
def test_any_meta_is_a_claim_or_none(meta: dict[str, str]) -> None:
    """Nothing that somebody may write into Meta ends the watch."""
    claim = read_claim(meta)
    assert claim is None or (NO_EPOCH <= claim.epoch <= EPOCH_LIMIT and 0 <= claim.turn <= TURN_LIMIT and claim.run_id)


def test_other_meta_beside_the_claim_is_ignored() -> None:
    """The operator's own Meta stands beside the claim."""
    assert read_claim(claim_meta(CLAIM) | {"rack": "7"}) == CLAIM


def test_a_claim_that_a_majority_has_settled_says_no_more_that_it_was_early() -> None:
    """Else a restart of the agent would withdraw it when the term of the early one is over."""
    early = Claim(3, 0, "a", Early(12.5, "boot", "s1"))
    assert read_claim(claim_meta(early.settled)) == Claim(3, 0, "a")


@pytest.mark.parametrize(
    "nonsense", ["", "x", "1.5", "soon s after boot b", "1e999999 s after boot b", "nan s after boot b"]
)
def test_an_early_claim_whose_age_cannot_be_read_is_still_an_early_one(nonsense: str) -> None:
    """It must not pass for one that a majority stands behind, and counts as over."""
    read = read_claim(claim_meta(Claim(3, 0, "a", Early(12.5, "b", "s1"))) | {EARLY_SINCE: nonsense})
    assert read
    assert read.early
    assert not (read.early.boot == "b" and 0 <= 15.0 - read.early.since <= 5), "as the rules ask, at second 15"


# An entry as the catalog shows it


def shown(node: str, check_id: str, **changes: Any) -> Json:
    """A check as a current Consul shows it in /v1/health/service."""
    return {
        "Node": node,
        "CheckID": check_id,
        "Name": "role:master",
        "Status": "passing",
        "Notes": "kept",
        "Output": "",
        "ServiceID": "redis-6379",
        "ServiceName": "redis",
        "ServiceTags": ["master"],
        "Type": "ttl",
        "Interval": "",
        "Timeout": "",
        "ExposedPort": 0,
        "Definition": {},
        "CreateIndex": 7,
        "ModifyIndex": 9,
        "SomethingOfTomorrow": True,
    } | changes


ROLE = shown("host-1", "redis-6379:role")
SEAL = shown("host-1", "redis-6379:seal", Name="seal")
ALIVE = shown("host-1", "serfHealth", Name="Serf Health Status", ServiceID="")
DOWN: Json = {"Status": "critical", "Output": EVICTED}
STONES = [shown("host-1", f"redis-6379:put-down-{n}", Name="put down", **DOWN) for n in range(1, TOMBSTONES + 1)]


def answer(*checks: Json, **service: Any) -> Json:
    """An instance as ``/v1/health/service`` gives it: a master's of this tool, with these checks."""
    of = {
        "ID": "redis-6379",
        "Service": "redis",
        "Tags": ["master"],
        "Address": "10.0.0.6",
        "Port": 6379,
        "Meta": META | claim_meta(CLAIM),
        "CreateIndex": 12,
        "ModifyIndex": 8,
    }
    return {"Node": {"Node": "host-1", "Address": "10.0.0.5"}, "Service": of | service, "Checks": [ALIVE, *checks]}


def test_an_entry_is_read() -> None:
    """Where it is, what it says, whose it is, and its checks as they were, to be written back in a transaction."""
    assert read_entry(answer(ROLE, SEAL)) == Entry(
        "host-1",
        "redis-6379",
        "redis",
        Address("10.0.0.6", 6379),
        ("master",),
        META | claim_meta(CLAIM),
        marked=True,
        claim=CLAIM,
        says_master=True,
        group="g-1",
        run_id=CLAIM.run_id,
        master_name="mymaster",
        passing=True,
        rises=True,
        created=12,
        index=9,
        role_check=ROLE,
        seal=SEAL,
    )


def test_a_first_claim_that_has_not_passed_is_told_from_one_that_was_withdrawn() -> None:
    """It carries a word of its own: as long as there are only such, nobody was ever published."""
    assert read_entry(answer(ROLE, SEAL, Meta=META | claim_meta(CLAIM) | {FIRST: "x"})).pending
    assert not read_entry(answer(ROLE, SEAL)).pending


def test_an_entry_of_the_former_format_is_read() -> None:
    """It has no group id, which the rules have another way to tell."""
    meta = {key: value for key, value in META.items() if key != "redis-group"} | claim_meta(CLAIM) | {MARKER: "1"}
    entry = read_entry(answer(ROLE, SEAL, Meta=meta))
    assert (entry.marked, entry.claim, entry.says_master, entry.group) == (True, CLAIM, True, "")


def test_a_replica_with_a_last_claim_says_no_master() -> None:
    """In mode tags: its entry passes and carries the group's last claim, and is neither live nor a rival."""
    role = ROLE | {"Name": "role:replica"}
    entry = read_entry(answer(role, SEAL, Tags=["replica"], Meta=META | last_claim_meta(CLAIM)))
    assert (entry.claim, entry.passing, entry.says_master, entry.live) == (CLAIM, True, False, False)


def test_an_entry_without_address_has_that_of_its_node() -> None:
    """As DNS answers it."""
    assert read_entry(answer(ROLE, Address="")).address == Address("10.0.0.5", 6379)


def test_a_dead_node_hides_its_entries() -> None:
    """DNS leaves out what gossip holds for dead; the role check says nothing about that."""
    dead = answer(ROLE, SEAL)
    dead["Checks"][0] = ALIVE | {"Status": "critical"}
    entry = read_entry(dead)
    assert (entry.passing, entry.node_alive, entry.visible, entry.live) == (True, False, False, False)


@pytest.mark.parametrize("check_id", ["_node_maintenance", "_service_maintenance:redis-6379"])
def test_maintenance_hides_an_entry(check_id: str) -> None:
    """An operator's word on the service or on its node, which does not change who is master."""
    of = "" if check_id.startswith("_node") else "redis-6379"
    entry = read_entry(answer(ROLE, SEAL, shown("host-1", check_id, Status="critical", ServiceID=of)))
    assert (entry.passing, entry.maintenance, entry.visible, entry.live) == (True, True, False, True)


def test_the_maintenance_of_another_service_is_not_ours() -> None:
    """A node may run many services."""
    other = shown("host-1", "_service_maintenance:web", Status="critical", ServiceID="web")
    assert read_entry(answer(ROLE, other)).visible


def test_what_others_check_hides_an_entry_too() -> None:
    """Each check of the service or its node counts for DNS; it is named for people, and says nothing of this entry's role."""
    disk = shown("host-1", "disk", Name="disk space\x1b", Status="critical", ServiceID="")
    port = shown("host-1", "port", Name="", Status="warning", ServiceID="redis-6379")
    web = shown("host-1", "web", Status="critical", ServiceID="web")
    entry = read_entry(answer(ROLE, SEAL, disk, port, web))
    assert (entry.critical, entry.warning) == (("'disk space\\x1b' of its node",), ("'port' of the service",))
    assert (entry.passing, entry.visible, entry.live) == (True, True, True)
    assert entry.hidden_by() == entry.hidden_by(only_passing=False) == entry.critical
    assert entry.hidden_by(only_passing=True) == entry.critical + entry.warning


@pytest.mark.parametrize("check_id", ["serfHealth", "_node_maintenance", "_service_maintenance:redis-6379"])
def test_gossip_and_maintenance_are_told_apart(check_id: str) -> None:
    """As are this tool's own checks."""
    other = shown("host-1", check_id, Status="critical", ServiceID="redis-6379" if ":" in check_id else "")
    instance = answer(ROLE | {"Status": "critical"}, SEAL | {"Status": "critical"})
    instance["Checks"] = [c for c in instance["Checks"] if c["CheckID"] != check_id] + [other]
    assert read_entry(instance).critical == ()


def test_warning_does_not_pass() -> None:
    """This tool never writes it, so a check that says so was forced by somebody."""
    assert not read_entry(answer(ROLE | {"Status": "warning"}, SEAL)).passing
    assert not read_entry(answer(ROLE, SEAL | {"Status": "warning"})).passing


def test_a_broken_seal_does_not_pass() -> None:
    """A Consul agent that has started again restores a passing role check, and its seal is critical until confirmed."""
    entry = read_entry(answer(ROLE, SEAL | {"Status": "critical"}))
    assert (entry.passing, entry.rises, entry.evicted) == (False, False, False)


def test_a_foreign_entry_passes_as_dns_sees_it() -> None:
    """One registered by hand has no role check: none of its checks may be critical. It carries no mark of this tool."""
    by_hand = answer(ID="by-hand", Meta={}, Tags=[])
    entry = read_entry(by_hand)
    assert (entry.marked, entry.claim, entry.says_master, entry.passing, entry.role_check) == (
        False,
        None,
        False,
        True,
        None,
    )
    web = shown("host-1", "web", Status="critical", ServiceID="by-hand")
    assert not read_entry(answer(web, ID="by-hand", Meta={})).passing


def test_a_marked_entry_that_says_master_without_a_claim_that_can_be_read_has_none() -> None:
    """A later format, a copy, an epoch of nobody: whose it is, the rules tell by just this (foreign, left alone)."""
    entry = read_entry(answer(ROLE, SEAL, Meta=META | claim_meta(CLAIM) | {EPOCH: str(10**30)}))
    assert (entry.marked, entry.says_master, entry.claim, entry.passing) == (True, True, None, True)


def test_a_check_of_the_consul_node_is_no_role_check() -> None:
    """Even with the id of one: written back, it would stay a check of the whole node, or be refused."""
    of_node = ROLE | {"ServiceID": ""}
    entry = read_entry(answer(of_node, SEAL))
    assert (entry.role_check, entry.index, entry.passing, entry.says_master) == (None, 0, True, True)
    assert not read_entry(answer(of_node | {"Status": "critical"}, SEAL)).passing


def test_an_evicted_entry_is_told_from_one_that_was_set_critical() -> None:
    """Its successor waits for nothing; what its own agent or an operator set critical may come back at once."""
    evicted = read_entry(answer(ROLE | DOWN, SEAL | DOWN, *STONES))
    assert (evicted.passing, evicted.rises, evicted.evicted, len(evicted.tombstones)) == (
        False,
        False,
        True,
        TOMBSTONES,
    )
    own_word = read_entry(answer(ROLE | {"Status": "critical"}, SEAL))
    assert (own_word.passing, own_word.rises, own_word.evicted) == (False, False, False)


def test_an_old_mark_says_nothing_about_a_claim_that_was_written_later() -> None:
    """Registering a node's next claim leaves the checks as they are: critical, since its last one was evicted."""
    before, after = answer(ROLE | DOWN, SEAL, *STONES), answer(ROLE | DOWN, SEAL, *STONES, ModifyIndex=10)
    assert (read_entry(before).evicted, read_entry(after).evicted) == (True, False)
    rising = answer(ROLE, SEAL, STONES[0])
    assert read_entry(rising).evicted, (
        "its Consul agent writes over the eviction, and has not come to the last mark yet"
    )


@pytest.mark.parametrize(
    "checks",
    [
        [ROLE, SEAL | DOWN, *STONES],
        [ROLE | DOWN, SEAL, *STONES],
        [ROLE, SEAL, *STONES],
        [ROLE | DOWN, SEAL | DOWN, *STONES[1:]],
        [ROLE | DOWN, SEAL | DOWN],
        [ROLE, SEAL, STONES[5]],
    ],
)
def test_an_evicted_entry_that_its_consul_agent_writes_over_rises(checks: list[Json]) -> None:
    """Check by check, in any order: the holder of the newest claim evicts it again before the last of them is written."""
    entry = read_entry(answer(*checks))
    assert (entry.passing, entry.rises) == (False, True)


def test_an_evicted_entry_whose_own_agent_has_withdrawn_it_does_not_rise() -> None:
    """Its Consul agent holds critical, too, for its own reason, and goes on to hold that: nothing needs to be done."""
    withdrawn = ROLE | {"Status": "critical", "Output": ""}
    assert not read_entry(answer(withdrawn, SEAL | DOWN, *STONES)).rises
    assert not read_entry(answer(withdrawn, SEAL, *STONES[:3])).rises


def test_what_is_read_at_the_own_consul_agent() -> None:
    """A service, with the state of its role check, its seal and its maintenance, and None where a check is not there."""
    service = answer()["Service"]
    local = read_local(service, {"redis-6379:role": ROLE, "redis-6379:seal": SEAL | {"Status": "critical"}})
    assert (local.status, local.seal, local.maintenance, local.ttl) == ("passing", "critical", False, None)
    assert local.definition == ("redis", ("master",), Address("10.0.0.6", 6379), META | claim_meta(CLAIM))
    bare = read_local({"ID": "x", "Service": "redis", "Tags": None, "Meta": None}, {"_service_maintenance:x": {}})
    assert (bare.tags, bare.meta, bare.address, bare.status, bare.seal) == ((), {}, Address("", 0), None, None)
    assert bare.maintenance


def test_an_own_entry_has_the_mark_and_the_node() -> None:
    """Neither what somebody registered by hand nor the entry of another Redis node of the same host."""
    assert is_own(META, "redis://127.0.0.1:6379")
    assert not is_own(META, "redis://127.0.0.1:6380")
    assert not is_own({NODE: "redis://127.0.0.1:6379"}, "redis://127.0.0.1:6379")
    assert not is_own({}, "")


# What is written


def test_service_and_check_are_registered_in_one_call() -> None:
    """One body carries both, with the check's id and status, so nothing is ever there without its check."""
    assert registration(PUBLISH) == {
        "ID": "redis-6379",
        "Name": "redis",
        "Tags": ["master"],
        "Address": "10.0.0.5",
        "Port": 6379,
        "Meta": META | {"redis-epoch": "5", "redis-turn": "0", "redis-run-id": "abc"},
        "Checks": [
            {
                "CheckID": "redis-6379:role",
                "Name": "role:master",
                "TTL": "10s",
                "Status": "passing",
                "Notes": NOTES["master"],
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
    """Catalog and Consul agent get the same definition, so that no later sync changes it."""
    body = registration(PUBLISH)
    (operations,) = transactions(Transact(PUBLISH), "host-1")
    service, *written = operations
    assert service["Service"] == {
        "Verb": "set",
        "Node": "host-1",
        "Service": {
            "Service": body["Name"],
            **{key: body[key] for key in ("ID", "Tags", "Address", "Port", "Meta")},
        },
    }
    for check, registered in zip(checks(written), body["Checks"], strict=True):
        same = ("CheckID", "Name", "Status", "Notes")
        assert {key: check[key] for key in same} == {key: registered[key] for key in same}
        assert (check["Node"], check["ServiceID"], check["ServiceName"]) == ("host-1", "redis-6379", "redis")
        assert (check["ServiceTags"], check["Output"]) == (["master"], "")


def rival(number: int, *of: Json, **changes: Any) -> Entry:
    """An older claim on another host, which passes; ``of`` are its checks where they are others."""
    given = of or (ROLE, SEAL)
    instance = answer(*(check | {"Node": f"host-{number}"} for check in given), Address=f"10.0.1.{number}")
    instance["Node"]["Node"] = f"host-{number}"
    return replace(read_entry(instance), **changes)


def checks(operations: Iterable[Json]) -> list[Json]:
    """The checks that are written by some operations."""
    return [o["Check"]["Check"] for o in operations if "Check" in o]


def test_only_the_fields_that_every_consul_takes_are_written() -> None:
    """Whatever Consul shows of a check, now or later: one unknown key, and the whole transaction is refused."""
    step = Transact(PUBLISH, 3, ("t",), (rival(2),), (rival(1),), rival(4))
    (operations,) = transactions(step, "host-a")
    decode(operations, TRANSACTION)
    for check in checks(operations):
        assert check.keys() <= KNOWN | {"ModifyIndex"}
        assert check["ServiceName"], "without it Consul asks for node:write"


def test_whatever_passes_is_compared() -> None:
    """A transaction that hung in a cut and is delivered late is refused if the entry has changed since, or is there."""
    for index in (0, 7):
        (operations,) = transactions(Transact(PUBLISH, index), "host-a")
        (role,) = (o["Check"] for o in operations if o.get("Check", {}).get("Check", {}).get("Name") == "role:master")
        assert (role["Verb"], role["Check"]["Status"], role["Check"]["ModifyIndex"]) == ("cas", "passing", index)


def test_an_older_claim_goes_down_only_as_it_was_read() -> None:
    """Its checks are compared, and keep what its own agent has given them; the tombstones are new."""
    (operations,) = transactions(Transact(PUBLISH, 3, evict=(rival(1),)), "host-a")
    of_rival = [c for c in checks(operations) if c["Node"] == "host-1"]
    assert [c.get("ModifyIndex") for c in of_rival] == [9, 9] + TOMBSTONES * [None]
    assert all((c["Status"], c["Output"]) == ("critical", EVICTED) for c in of_rival)
    assert [c["Name"] for c in of_rival[:2]] == ["role:master", "seal"]
    assert [c["Notes"] for c in of_rival[:2]] == ["kept", "kept"]


def test_a_claim_that_is_rising_gets_its_tombstones_back_whatever_its_checks_are_by_now() -> None:
    """Its Consul agent writes a check every few milliseconds: a condition on what was read would be out of date."""
    rising = rival(1, ROLE | DOWN, SEAL, STONES[0])
    assert rising.rises
    (operations,) = transactions(Transact(None, evict=(rising,)), "host-a")
    assert {c["CheckID"] for c in checks(operations)} == {stone["CheckID"] for stone in STONES}
    assert not any("ModifyIndex" in c for c in checks(operations))


def test_an_older_claim_whose_role_check_is_its_consul_nodes_goes_down_by_a_tombstone() -> None:
    """There is no role check to set; with a tombstone DNS shows it no more, and the transaction is taken."""
    older = rival(1, ROLE | {"ServiceID": ""})
    first, *_ = transactions(Transact(PUBLISH, evict=(older,)), "host-a")
    decode(first, TRANSACTION)
    of_rival = [c for c in checks(first) if c["Node"] == "host-1"]
    assert {c["CheckID"] for c in of_rival} == {stone["CheckID"] for stone in STONES}


def test_the_last_claim_is_compared_and_marked() -> None:
    """Of two promotions that both have read it, Consul refuses one: it counts an index only where something changes."""
    last = rival(9, ROLE | {"Status": "critical", "ModifyIndex": 44}, SEAL)
    (operations,) = transactions(Transact(PUBLISH, last=last), "host-a")
    (mark,) = (o["Check"] for o in operations if o.get("Check", {}).get("Check", {}).get("Node") == "host-9")
    assert mark["Verb"] == "cas"
    assert mark["Check"].keys() <= KNOWN | {"ModifyIndex"}
    role = last.role_check or {}
    assert {**mark["Check"], "Notes": ""} == {key: role[key] for key in mark["Check"]} | {"Notes": ""}
    assert mark["Check"]["ModifyIndex"] == 44
    assert mark["Check"]["Notes"] == "followed by 5.0 abc"
    assert mark["Check"]["Notes"] != role["Notes"]


def test_a_last_claim_without_a_role_check_of_its_own_is_not_compared() -> None:
    """There is nothing to compare, and that must not keep a master out."""
    last = rival(9, ROLE | {"ServiceID": ""})
    (operations,) = transactions(Transact(PUBLISH, last=last), "host-a")
    assert not [c for c in checks(operations) if c["Node"] == "host-9"]


def test_two_promotions_meet_in_the_catalog() -> None:
    """Both compare the group's last claim: the second is refused as a whole, and DNS shows one master."""
    catalog = servers(*(f"host-{n}" for n in (1, 2, 3)))
    put(catalog, "host-3", passing=False)
    (last,) = entries(catalog)
    made = [
        [*transactions(Transact(replace(PUBLISH, meta=META | claim_meta(Claim(6, 0, run))), last=last), node)]
        for run, node in (("a", "host-1"), ("b", "host-2"))
    ]
    assert [commit(catalog, parts) for parts in made] == [True, False]
    assert [e.node for e in entries(catalog) if e.passing] == ["host-1"]


def test_eight_older_claims_go_down_with_the_own_one_in_one_step() -> None:
    """What DNS shows first, all of it in the transaction that publishes; the tombstones that do not fit follow."""
    dead = rival(9, node_alive=False)
    step = Transact(PUBLISH, 0, ("t",), evict=(dead, *(rival(n) for n in range(8))), last=rival(10))
    first, *rest = transactions(step, "host-a")
    assert [len(part) <= LIMIT for part in (first, *rest)] == [True] * (1 + len(rest))
    assert "Service" in first[0]
    compared = [c["Node"] for c in checks(first) if "ModifyIndex" in c][2:]
    assert compared[-2:] == ["host-9", "host-9"]
    assert {f"host-{n}" for n in range(8)} <= set(compared)
    written = [c["CheckID"] for part in (first, *rest) for c in checks(part) if "put-down" in c["CheckID"]]
    assert len(written) == 9 * TOMBSTONES


@given(st.integers(0, 100), st.integers(0, 6), st.integers(0, 3), st.booleans())
def test_more_claims_than_one_transaction_holds_leave_dns_before_the_own_one_comes(
    rivals: int, tombstones: int, removed: int, marked: bool
) -> None:
    """However many: nothing is ever set passing beside a rival that is left for later, nor is anything sent too large."""
    step = Transact(
        PUBLISH,
        tombstones=tuple(f"t{n}" for n in range(tombstones)),
        remove=tuple(rival(200 + n) for n in range(removed)),
        evict=tuple(rival(n) for n in range(rivals)),
        last=rival(300) if marked else None,
    )
    parts = list(transactions(step, "host-a"))
    assert all(0 < len(part) <= LIMIT for part in parts)
    publishing = next(i for i, part in enumerate(parts) if any(o.get("Service", {}).get("Verb") == "set" for o in part))
    down = {c["Node"] for part in parts[: publishing + 1] for c in checks(part) if c.get("Output") == EVICTED}
    assert {f"host-{n}" for n in range(rivals)} <= down
    assert not any("ModifyIndex" in c for part in parts[publishing + 1 :] for c in checks(part))
    assert not any(o.get("Service", {}).get("Verb") == "delete" for part in parts[:publishing] for o in part)


# What the catalog makes of it


def servers(*nodes: str) -> Catalog:
    """A catalog with these Consul nodes."""
    catalog = Catalog()
    for number, node in enumerate(nodes):
        catalog.add_node(node, f"10.0.0.{number}")
    return catalog


def put(catalog: Catalog, node: str, *, passing: bool = True, without: tuple[str, ...] = ()) -> None:
    """Another host's Consul agent has its entry there, perhaps without one of its checks."""
    meta = META | claim_meta(Claim(4, 0, node))
    service, given = definition(registration(replace(PUBLISH, meta=meta, passing=passing)), node)
    catalog.set_service(node, service)
    for check in given:
        if not check["CheckID"].endswith(without or (" ",)):
            catalog.set_check(check)


def commit(catalog: Catalog, parts: Iterable[list[Json]]) -> bool:
    """Send transactions one after the other; False as soon as one is refused."""
    for operations in parts:
        draft = catalog.draft()
        try:
            for operation in operations:
                for kind, of in operation.items():
                    draft.apply(kind, of)
        except Exception:  # noqa: BLE001 - whatever the double refuses it with
            return False
        catalog.index, catalog.services, catalog.checks = draft.index, draft.services, draft.checks
    return True


def entries(catalog: Catalog) -> list[Entry]:
    """Everything under the service name, as it is read."""
    return [read_entry(instance) for instance in catalog.health("redis")]


FORMS = [(), (":role",), (":seal",)]
"""An entry may lack a check: an agent was killed after it had taken a broken seal off, or somebody removed one."""


@pytest.mark.parametrize("without", FORMS)
def test_an_evicted_entry_is_read_as_evicted_for_good(without: tuple[str, ...]) -> None:
    """Once, whatever checks it has: else its eviction would be written again and again, for ever."""
    catalog = servers("host-1", "host-2")
    put(catalog, "host-2", without=without)
    (older,) = entries(catalog)
    assert commit(catalog, transactions(Transact(PUBLISH, evict=(older,)), "host-1"))
    own, down = entries(catalog)
    assert (own.passing, down.passing, len(down.tombstones)) == (True, False, TOMBSTONES)
    assert not down.rises


def test_an_evicted_entry_that_comes_back_loses_its_tombstones() -> None:
    """Its own claim is the newest again: the transaction that publishes it takes them away."""
    catalog = servers("host-1", "host-2")
    put(catalog, "host-1")
    (older,) = entries(catalog)
    newer = replace(PUBLISH, meta=META | claim_meta(Claim(5, 0, "b")))
    assert commit(catalog, transactions(Transact(newer, evict=(older,)), "host-2"))
    down, rival_ = entries(catalog)
    newest = replace(PUBLISH, meta=META | claim_meta(Claim(6, 0, "a")))
    step = Transact(newest, down.index or 0, down.tombstones, evict=(rival_,))
    assert commit(catalog, transactions(step, "host-1"))
    up, rival_ = entries(catalog)
    assert (up.passing, up.tombstones, up.evicted, rival_.passing) == (True, (), False, False)


def test_a_transaction_that_comes_late_is_refused() -> None:
    """Its own entry was evicted meanwhile, which has changed the index that it names."""
    catalog = servers("host-1", "host-2")
    put(catalog, "host-1", passing=False)
    (before,) = entries(catalog)
    late = list(transactions(Transact(PUBLISH, before.index or 0), "host-1"))
    assert commit(catalog, late)
    (up,) = entries(catalog)
    newer = replace(PUBLISH, meta=META | claim_meta(Claim(6, 0, "b")))
    assert commit(catalog, transactions(Transact(newer, evict=(up,)), "host-2"))
    assert not commit(catalog, late)
    assert [e.node for e in entries(catalog) if e.passing] == ["host-2"]


# What the names of the fields promise


@pytest.mark.parametrize(("passing", "status"), [(True, "passing"), (False, "critical")])
def test_a_status_is_passing_or_critical(passing: bool, status: str) -> None:
    """Never ``warning``, which DNS serves."""
    assert replace(PUBLISH, passing=passing).status == status


def test_only_a_masters_entry_with_a_claim_claims() -> None:
    """A replica that carries the group's last claim does not, nor does an entry of mode check without one."""
    assert PUBLISH.claims
    assert not replace(PUBLISH, role="replica", meta=META | last_claim_meta(CLAIM)).claims
    assert not replace(PUBLISH, meta=META).claims
    assert PUBLISH.ends == inf


def test_of_hosts_that_share_a_consul_agent_each_knows_its_own_entries() -> None:
    """Containers have the same addresses on each host; the agent's id tells them apart, also in what was written before."""
    mine, theirs = (node_name("redis://redis:6379", "172.17.0.3", mark) for mark in ("a1b2c3d4", "ffffffff"))
    assert is_own({MARKER: FORMAT, NODE: mine}, mine)
    assert not is_own({MARKER: FORMAT, NODE: theirs}, mine)
    before = {MARKER: FORMAT, NODE: unmarked(mine), AGENT: "a1b2c3d4e5f6"}
    assert is_own(before, mine)
    assert not is_own(before, theirs)
    assert not is_own({MARKER: FORMAT, NODE: unmarked(mine)}, mine)
    assert node_name("redis://redis:6379", "", "a1b2c3d4") == "redis://redis:6379"
    assert is_own({MARKER: FORMAT, NODE: "redis://redis:6379"}, "redis://redis:6379")
