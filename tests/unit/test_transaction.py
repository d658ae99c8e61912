"""What one step becomes as transactions: the fields of a check, their order of need, and their size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consul_redis_agent.decide.claim import PUT_DOWN, TOMBSTONES, Claim
from consul_redis_agent.decide.facts import Address, Entry
from consul_redis_agent.decide.rules import Decision, Reason, Verdict
from consul_redis_agent.publish.entries import Mode, Naming, wanted
from consul_redis_agent.publish.plan import Transact
from consul_redis_agent.publish.transaction import LIMIT, Operation, transactions

NAMING = Naming(Mode.SERVICES, "redis", "redis-replica", 10.0, "redis://127.0.0.1:6379", "redis-6379", "replica-6379")
DECISION = Decision(Verdict.MASTER, Reason.NAMED, "It is.", claim=Claim(5, 0, "abc"))
(PUBLISH,) = wanted(DECISION, NAMING, Address("10.0.0.5", 6379), "mymaster")
KNOWN = {"Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "ServiceName", "ServiceTags", "Type"}
"""The keys of a check that Consul 1.8 to 1.14 take in a transaction, and ModifyIndex, which compares."""


def shown(node: str, check_id: str, **changes: Any) -> dict[str, Any]:
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


def rival(number: int, **changes: Any) -> Entry:
    """An older claim on another host, which passes."""
    node = f"host-{number}"
    role, seal = shown(node, "redis-6379:role"), shown(node, "redis-6379:seal")
    made = Entry(node, "redis-6379", "redis", f"10.0.1.{number}", 6379, check=role, seal=seal, passing=True)
    return replace(made, **changes)


def checks(operations: list[Operation]) -> list[dict[str, Any]]:
    """The checks that are written by some operations."""
    return [o["Check"]["Check"] for o in operations if "Check" in o]


def test_only_the_fields_that_every_consul_takes_are_written() -> None:
    """Whatever Consul shows of a check, now or later: one unknown key, and the whole transaction is refused."""
    (operations,) = transactions(Transact(PUBLISH, (), (rival(1),), unless_newer_than=3), "host-a")
    for check in checks(operations):
        assert check.keys() <= KNOWN | {"ModifyIndex"}
        assert "ServiceName" in check, "without it Consul asks for node:write"


def test_an_older_claim_goes_down_only_as_it_was_read() -> None:
    """Its checks are compared, and keep what its own agent has given them; the tombstones are new."""
    (operations,) = transactions(Transact(PUBLISH, (), (rival(1),), unless_newer_than=3), "host-a")
    of_rival = [c for c in checks(operations) if c["Node"] == "host-1"]
    assert [c.get("ModifyIndex") for c in of_rival] == [9, 9] + TOMBSTONES * [None]
    assert all((c["Status"], c["Output"]) == ("critical", PUT_DOWN) for c in of_rival)
    assert [c["Name"] for c in of_rival[:2]] == ["role:master"] * 2


def test_a_claim_that_is_rising_gets_its_tombstones_back_whatever_its_checks_are_by_now() -> None:
    """Its Consul agent writes a check every few milliseconds: a condition on what was read would be out of date."""
    rising = rival(1, passing=False, tombstones=("redis-6379:put-down-1",))
    (operations,) = transactions(Transact(None, (), (rising,)), "host-a")
    assert [c.get("ModifyIndex") for c in checks(operations)] == TOMBSTONES * [None]


def test_eight_older_claims_go_down_with_the_own_one_in_one_step() -> None:
    """What DNS shows first, all of it in the transaction that publishes; the tombstones that do not fit follow."""
    dead = rival(9, node_alive=False)
    step = Transact(PUBLISH, (), (dead, *(rival(n) for n in range(8))), unless_newer_than=0, tombstones=("t",))
    first, *rest = transactions(step, "host-a")
    assert [len(first) <= LIMIT, *(len(part) <= LIMIT for part in rest)] == [True] * (1 + len(rest))
    assert "Service" in first[0]
    compared = [c["Node"] for c in checks(first) if "ModifyIndex" in c][1:]
    assert compared[-2:] == ["host-9", "host-9"]
    assert {f"host-{n}" for n in range(8)} <= set(compared)
    written = [c["CheckID"] for part in (first, *rest) for c in checks(part) if "put-down" in c["CheckID"]]
    assert len(written) == 9 * TOMBSTONES


def test_more_claims_than_one_transaction_holds_leave_dns_before_the_own_one_comes() -> None:
    """However many: nothing is ever set passing beside a rival that is left for later, nor is anything sent too large."""
    step = Transact(PUBLISH, (), tuple(rival(n) for n in range(100)), unless_newer_than=0)
    parts = list(transactions(step, "host-a"))
    assert all(0 < len(part) <= LIMIT for part in parts)
    publishing = next(i for i, part in enumerate(parts) if any("Service" in o for o in part))
    down = {c["Node"] for part in parts[: publishing + 1] for c in checks(part) if "ModifyIndex" in c}
    assert {f"host-{n}" for n in range(100)} <= down
    assert not any("ModifyIndex" in c for part in parts[publishing + 1 :] for c in checks(part))
