"""From what is wanted, and what Consul holds, to the next step: its order, its safety, and where interruptions end."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from math import inf
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consul_redis_agent.consul.form import (
    CHECK_SUFFIX,
    NODE,
    ROLE,
    SEAL_SUFFIX,
    Deregister,
    Local,
    Register,
    Step,
    Transact,
    Unseal,
    Update,
    Wanted,
    claim_meta,
    read_claim,
    read_entry,
    read_local,
    registration,
    transactions,
)
from consul_redis_agent.decide.claim import Claim, Early
from consul_redis_agent.decide.decision import Decision, Reason, Verdict
from consul_redis_agent.decide.facts import Address, Entry
from consul_redis_agent.publish.entries import Mode, Naming, wanted
from consul_redis_agent.publish.steps import Known, Target, Unsafe, after, check, next_step, settled
from tests.doubles.strict_consul import Request, StrictConsul

HERE, ELSEWHERE = "consul-1", "consul-2"
AT, THERE = Address("10.0.0.5", 6379), Address("10.0.0.6", 6379)
NAMING = Naming(
    mode=Mode.SERVICES,
    service="redis",
    replica="redis-replica",
    ttl=10.0,
    node="redis://127.0.0.1:6379",
    master_id="redis-6379",
    replica_id="redis-replica-6379",
)
CLAIM = Claim(5, 0, "abc")
MASTER = Decision(Verdict.MASTER, Reason.NAMED, "It is.", claim=CLAIM, group="g-1")
NEWER = replace(MASTER, claim=Claim(6, 1, "def"))
EARLY = replace(MASTER, claim=replace(CLAIM, early=Early(1000.0, "boot", "s1")))
PENDING = Decision(Verdict.PENDING, Reason.FIRST, "Looking.", claim=CLAIM, group="g-1")
REPLICA = Decision(Verdict.REPLICA, Reason.REPLICATES, "It follows.", group="g-1")
NONE = Decision(Verdict.NONE, Reason.SILENT, "It is silent.", group="g-1")
WITHDRAWN = replace(NONE, keeps=CLAIM)
FOLLOWS = replace(REPLICA, keeps=CLAIM)
DECISIONS = {
    "master": MASTER,
    "newer": NEWER,
    "early": EARLY,
    "pending": PENDING,
    "replica": REPLICA,
    "none": NONE,
    "withdrawn": WITHDRAWN,
    "follows": FOLLOWS,
}


def want(decision: Decision, mode: Mode = Mode.SERVICES) -> tuple[Wanted, ...]:
    """The entries of the one node of these tests."""
    return wanted(decision, replace(NAMING, mode=mode), AT, "mymaster")


def target(*entries: Wanted, evict: Iterable[Entry] = (), last: Entry | None = None) -> Target:
    """What a decision of now wants."""
    return Target(0.0, entries, tuple(evict), last)


def in_catalog(entry: Wanted, *, passing: bool | None = None, **changes: Any) -> Entry:
    """A wanted entry as the catalog shows it."""
    passes = entry.passing if passing is None else passing
    made = Entry(
        HERE,
        entry.id,
        entry.name,
        entry.address,
        entry.tags,
        entry.meta,
        marked=True,
        claim=read_claim(entry.meta),
        says_master=entry.role == "master",
        passing=passes,
        rises=passes,
        index=7,
        role_check={"Name": ROLE.format(entry.role)},
    )
    return replace(made, **changes)


def at_agent(entry: Wanted, **changes: Any) -> Local:
    """A wanted entry as the own Consul agent holds it, registered by this process."""
    made = Local(entry.id, entry.name, entry.tags, entry.address, entry.meta, entry.status, "passing", ttl=entry.ttl)
    return replace(made, **changes)


def known(*catalog: Entry, local: Iterable[Local] = (), here: str = HERE, shown: bool = True) -> Known:
    """Consul as it was looked up."""
    return Known(here, NAMING.node, catalog if shown else None, {service.id: service for service in local})


def steps(to: Target, consul: Known, limit: int = 12) -> list[Step]:
    """The steps that are taken one after the other, each of them checked, until there is none."""
    taken: list[Step] = []
    while step := next_step(to, consul):
        check(step, to, consul)
        taken.append(step)
        consul = after(step, consul)
        assert len(taken) <= limit
    return taken


RIVAL = in_catalog(
    replace(want(MASTER)[0], meta={**want(MASTER)[0].meta, **claim_meta(Claim(4, 0, "xyz"))}), node=ELSEWHERE, index=3
)


# The way up


def test_a_new_master_moves_the_claim_in_one_transaction() -> None:
    """Its own entry up, its replica entry away and the older claim down: one step for DNS, then the Consul agent."""
    (master,), (replica,) = want(MASTER), want(REPLICA)
    consul = known(in_catalog(replica), RIVAL, local=[at_agent(replica)])
    first, *rest = steps(target(master, evict=[RIVAL]), consul)
    assert first == Transact(master, remove=(in_catalog(replica),), evict=(RIVAL,))
    assert rest == [Update(replica.id, passing=False), Register(master), Deregister(replica.id)]


def test_nothing_is_asked_before_a_claims_transaction() -> None:
    """DNS waits for it: neither what the own Consul agent holds of another entry nor an old one comes first."""
    (master,), (replica,) = want(MASTER), want(REPLICA)
    stale = at_agent(replica, seal="critical", meta={**replica.meta, "old": "1"}, ttl=None)
    assert isinstance(next_step(target(master), known(in_catalog(replica), local=[stale])), Transact)


def test_a_claim_that_arrives_late_is_refused() -> None:
    """It names the check that it was made for, so a transaction that hung in a cut does not undo its own eviction."""
    (master,) = want(MASTER)
    there = in_catalog(master, passing=False, tombstones=("redis-6379:put-down-1",))
    consul = known(there, local=[at_agent(master, status="critical")])
    assert steps(target(master), consul) == [
        Transact(master, 7, ("redis-6379:put-down-1",)),
        Update(master.id, passing=True),
    ]


def test_the_groups_last_claim_is_compared_until_the_own_one_passes() -> None:
    """Two promotions meet there. Once the claim holds, a correction of it compares its own check alone."""
    (master,) = want(MASTER)
    last = replace(RIVAL, passing=False, rises=False)
    assert next_step(target(master, last=last), known(last)) == Transact(master, last=last)
    before = in_catalog(want(EARLY)[0])
    assert next_step(target(master, last=last), known(before, last)) == Transact(master, 7)


def test_a_claim_waits_for_a_look_at_what_was_just_written() -> None:
    """Without the index that its check has by now nothing could be compared: nothing goes, nothing else is set passing."""
    (master,) = want(MASTER, Mode.CHECK)
    (withdrawn,) = want(WITHDRAWN, Mode.CHECK)
    there = in_catalog(withdrawn, index=None)
    assert next_step(target(master), known(there, local=[at_agent(withdrawn)])) is None


def test_a_claim_waits_for_the_catalog() -> None:
    """Nothing is set passing whose rivals were never seen."""
    (master,) = want(MASTER)
    assert next_step(target(master), known(shown=False)) is None


def test_an_entry_that_somebody_wrote_over_is_taken_back() -> None:
    """It has the id of the claim and no Meta of this tool, and its check is there, with an index."""
    (master,) = want(MASTER)
    address = Address("10.0.0.5", 9)
    consul = known(
        in_catalog(master, meta={}, address=address), local=[at_agent(master, meta={}, address=address, ttl=None)]
    )
    assert steps(target(master), consul) == [Transact(master, 7), Register(master)]


def test_a_claim_in_a_known_entry_is_registered_before_it_passes() -> None:
    """In mode check the entry is there already: Consul would sync the old one, without the claim, with its check.

    Critical, since a Consul agent that was started without its data does not know it, and takes the status then.
    """
    (master,), (before,) = want(MASTER, Mode.CHECK), want(REPLICA, Mode.CHECK)
    assert steps(target(master), known(in_catalog(before), local=[at_agent(before)])) == [
        Register(replace(master, passing=False)),
        Transact(master, 7),
        Update(master.id, passing=True),
    ]


def test_a_first_claim_that_was_read_back_passes() -> None:
    """It is there, critical, and is compared with what was read."""
    (pending,), (master,) = want(PENDING), want(MASTER)
    assert steps(target(pending), known()) == [Register(pending)]
    assert steps(target(master), known(in_catalog(pending), local=[at_agent(pending)])) == [
        Register(replace(master, passing=False)),
        Transact(master, 7),
        Update(master.id, passing=True),
    ]


def test_an_early_claim_that_is_settled_keeps_passing() -> None:
    """One transaction, then the Consul agent's definition, whose TTL is the ordinary one from then on."""
    (early,), (master,) = want(EARLY), want(MASTER)
    consul = known(in_catalog(early), local=[at_agent(early)])
    assert steps(target(master), consul) == [Transact(master, 7), Register(master)]


def test_an_early_claim_is_not_registered_twice() -> None:
    """A second registration would begin its only TTL anew, beyond its end."""
    (early,) = want(EARLY)
    assert early.ends < inf
    assert not steps(target(early), known(in_catalog(early), local=[at_agent(early, ttl=None)]))


def test_a_rival_that_rises_again_is_evicted_with_the_own_claim_as_it_stands() -> None:
    """Within milliseconds of its appearing, compared with the own check's index; the Consul agent has nothing to do."""
    (master,) = want(MASTER)
    rising = replace(RIVAL, passing=False, evicted=True)
    consul = known(in_catalog(master), rising, local=[at_agent(master)])
    assert steps(target(master, evict=[rising]), consul) == [Transact(master, 7, evict=(rising,))]


def test_a_rival_that_rises_again_waits_for_a_look_at_what_was_just_written() -> None:
    """Without the index of its own check there is no transaction yet, and the own Consul agent is not told to pass before it."""
    (master,) = want(MASTER)
    rival = replace(in_catalog(master), node=ELSEWHERE, passing=True, rises=True)
    consul = known(in_catalog(master, index=None), rival, local=[at_agent(master, status="critical")])
    assert next_step(target(master, evict=[rival]), consul) is None


def test_a_rival_that_has_gone_meanwhile_is_not_evicted() -> None:
    """What the catalog shows now counts, not what it showed when that was decided."""
    (master,) = want(MASTER)
    consul = known(in_catalog(master), replace(RIVAL, passing=False, rises=False), local=[at_agent(master)])
    assert not steps(target(master, evict=[RIVAL]), consul)


def test_a_token_without_agent_read_registers_first() -> None:
    """Only a registered check tells the Consul node's name: critical where it is a claim, which has its transaction."""
    (master,), (replica,) = want(MASTER), want(REPLICA)
    assert next_step(target(master), known(here="")) == Register(replace(master, passing=False))
    assert next_step(target(replica), known(here="")) == Register(replica)
    assert next_step(target(master), known(here="", local=[at_agent(master, status="critical")])) is None
    consul = known(local=[at_agent(master, status="critical")])
    assert steps(target(master), consul) == [Transact(master), Update(master.id, passing=True)]


# At rest


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("decision", DECISIONS.values(), ids=DECISIONS)
def test_what_is_in_place_takes_no_step(decision: Decision, mode: Mode) -> None:
    """Nothing changes: nothing is written."""
    entries = want(decision, mode)
    consul = known(*map(in_catalog, entries), local=map(at_agent, entries))
    assert next_step(target(*entries), consul) is None
    assert settled(target(*entries), consul)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("decision", DECISIONS.values(), ids=DECISIONS)
def test_an_empty_consul_is_filled_with_one_call_an_entry(decision: Decision, mode: Mode) -> None:
    """A claim has its transaction before."""
    entries = want(decision, mode)
    claims = [e for e in entries if e.claims and e.passing]
    assert steps(target(*entries), known()) == [*map(Transact, claims), *map(Register, entries)]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("decision", [REPLICA, FOLLOWS], ids=["replica", "follows"])
def test_an_entry_of_an_earlier_run_is_registered_once(decision: Decision, mode: Mode) -> None:
    """The Consul agent does not show the TTL of a check, so the entry that is adopted is written once, and never blinks."""
    entries = want(decision, mode)
    consul = known(*map(in_catalog, entries), local=[at_agent(e, ttl=None) for e in entries])
    assert steps(target(*entries), consul) == [*map(Register, entries)]
    (master,) = want(MASTER, mode)
    consul = known(in_catalog(master), local=[at_agent(master, ttl=None)])
    assert steps(target(master), consul) == [Register(master)]


def test_settled_is_what_the_catalog_holds_of_this_node_alone() -> None:
    """Neither what is missing or wrong, nor an own entry too many; another Consul node's entries are not its business."""
    (master,), (replica,) = want(MASTER), want(REPLICA)
    to = target(master)
    assert settled(to, known(in_catalog(master), RIVAL))
    assert not settled(to, known())
    assert not settled(to, known(in_catalog(master), shown=False))
    assert not settled(to, known(in_catalog(master), here=""))
    assert not settled(to, known(in_catalog(master, passing=False)))
    assert not settled(to, known(in_catalog(master), in_catalog(replica)))
    assert not settled(to, known(in_catalog(master, role_check={"Name": "role:replica"})))
    assert settled(target(), known(RIVAL))


# The way down


def test_a_master_that_falls_is_critical_before_anything_else() -> None:
    """The quickest call that takes a name out of DNS comes first, then the entry goes, then the replica's comes."""
    (master,), (replica,) = want(MASTER), want(REPLICA)
    consul = known(in_catalog(master), local=[at_agent(master)])
    assert steps(target(), consul) == [Update(master.id, passing=False), Deregister(master.id)]
    assert steps(target(replica), consul) == [
        Update(master.id, passing=False),
        Register(replica),
        Deregister(master.id),
    ]


@pytest.mark.parametrize(
    ("mode", "decision", "rest"),
    [
        (Mode.SERVICES, WITHDRAWN, []),
        (Mode.SERVICES, FOLLOWS, [Register(want(REPLICA)[0])]),
        (Mode.CHECK, WITHDRAWN, []),
        (Mode.CHECK, FOLLOWS, []),
        (Mode.TAGS, WITHDRAWN, []),
    ],
)
def test_a_last_claim_is_kept_critical(mode: Mode, decision: Decision, rest: list[Step]) -> None:
    """One update, and the entry stays as it is."""
    (master,) = want(MASTER, mode)
    taken = steps(target(*want(decision, mode)), known(in_catalog(master), local=[at_agent(master)]))
    assert taken == [Update(master.id, passing=False), *rest]


def test_in_mode_tags_a_replica_carries_the_last_claim_on() -> None:
    """One call turns the master's entry into the replica's, which goes on passing, with the claim under its own key."""
    (master,), (replica,) = want(MASTER, Mode.TAGS), want(FOLLOWS, Mode.TAGS)
    first = next_step(target(replica), known(in_catalog(master), local=[at_agent(master)]))
    assert first == Register(replica)
    assert read_claim(replica.meta) == CLAIM


def test_an_entry_that_begins_to_pass_anew_is_registered_before_its_check_is_updated() -> None:
    """Its Consul agent still has the claim of a former master, critical: an update alone would show that claim."""
    (before,), (replica,) = want(WITHDRAWN, Mode.TAGS), want(REPLICA, Mode.TAGS)
    first, second, *_ = steps(target(replica), known(in_catalog(before), local=[at_agent(before)]))
    assert (first, second) == (Register(replica), Update(replica.id, passing=True))


def test_a_claim_that_the_consul_agent_never_learnt_of_is_taken_out_of_the_catalog() -> None:
    """The answer to a claim's transaction was lost, and the node fell before the claim was registered."""
    (master,) = want(MASTER)
    entry = in_catalog(master)
    assert steps(target(), known(entry)) == [Transact(None, remove=(entry,))]
    assert not steps(target(), known(replace(entry, node=ELSEWHERE)))


def test_a_claim_whose_transaction_came_late_is_withdrawn_by_another() -> None:
    """The Consul agent has the check critical already, and would not write again what does not change there."""
    (master,), (none,) = want(MASTER), want(NONE, Mode.CHECK)
    entry, local = in_catalog(master), at_agent(none)
    assert next_step(target(), known(entry, local=[local])) == Transact(None, remove=(entry,))
    assert next_step(target(none), known(entry, local=[local])) == Transact(none, 7)
    assert next_step(target(none), known(replace(entry, index=None), local=[local])) is None


def test_nothing_is_removed_before_the_catalog_was_shown() -> None:
    """It may be needed; what passes and should not is critical meanwhile."""
    (master,), (replica,) = want(MASTER), want(REPLICA)
    assert steps(target(), known(local=[at_agent(master)], shown=False)) == [Update(master.id, passing=False)]
    assert steps(target(replica), known(local=[at_agent(master)], shown=False)) == [
        Update(master.id, passing=False),
        Register(replica),
    ]


def test_maintenance_outlives_a_demotion() -> None:
    """Deregistering would end the operator's maintenance: such an entry stays, critical, and counts as settled."""
    (master,) = want(MASTER)
    consul = known(in_catalog(master, maintenance=True), local=[at_agent(master, maintenance=True)])
    assert steps(target(), consul) == [Update(master.id, passing=False)]
    assert settled(target(), known(in_catalog(master, passing=False, maintenance=True)))
    assert not settled(target(), known(in_catalog(master, maintenance=True)))


# Repairs


def test_an_own_entry_that_cannot_be_removed_does_not_come_before_the_right_one() -> None:
    """A token may lack the right to an old name: the right entry is there all the same, and passes."""
    (replica,) = want(REPLICA)
    old = replace(at_agent(want(MASTER)[0]), id="cache-6379", name="cache", status="critical")
    assert steps(target(replica), known(local=[old])) == [Register(replica), Deregister(old.id)]


def test_a_service_without_its_check_is_registered_again() -> None:
    """A service without a check passes always: the check is put back."""
    (replica,) = want(REPLICA)
    assert next_step(target(replica), known(local=[at_agent(replica, status=None)])) == Register(replica)
    (none,) = want(NONE, Mode.CHECK)
    there = in_catalog(none, passing=True, index=0, role_check=None)
    consul = known(there, local=[at_agent(none, status=None)])
    assert next_step(target(none), consul) == Transact(none, 0), "DNS waits for this"
    assert Register(none) in steps(target(none), consul)


def test_what_was_restored_from_disk_is_sealed_anew() -> None:
    """A Consul agent that started again shows nothing until this agent has decided: then a new seal is put on."""
    (master,), (replica,) = want(MASTER), want(REPLICA)
    consul = known(in_catalog(master, passing=False), local=[at_agent(master, seal="critical", ttl=None)])
    assert steps(target(master), consul) == [Transact(master, 7), Unseal(master.id), Register(master)]
    consul = known(in_catalog(replica, passing=False), local=[at_agent(replica, seal="critical", ttl=None)])
    assert steps(target(replica), consul)[:2] == [Unseal(replica.id), Register(replica)]


@pytest.mark.parametrize("mode", Mode)
def test_a_step_is_not_followed_by_a_transaction_that_is_refused(mode: Mode) -> None:
    """A registration changes the index of the check that it writes: what was read before cannot be compared any more."""
    world = World(mode)
    world.converge(world.target(MASTER))
    to, consul = world.target(FOLLOWS), world.look()
    while step := next_step(to, consul):
        assert world.take(step)
        consul = after(step, consul)


@pytest.mark.parametrize("seal", ["passing", "critical"])
def test_what_the_consul_agent_writes_itself_is_not_written_by_a_transaction_as_well(seal: str) -> None:
    """It syncs what it was told, at once. Only a look that is younger shows what it has left wrong."""
    (replica,) = want(REPLICA)
    before = replace(replica, meta={**replica.meta, "redis-master-name": "old"})
    consul = known(in_catalog(before, passing=seal == "passing"), local=[at_agent(before, seal=seal)])
    assert not [step for step in steps(target(replica), consul) if isinstance(step, Transact)]


def test_what_only_the_catalog_has_wrong_is_written_there_and_compared() -> None:
    """The Consul agent does not notice another agent's transaction, so the catalog is written over."""
    (replica,) = want(REPLICA)
    stones = ("redis-replica-6379:put-down-1",)
    there = in_catalog(replica, passing=False, tombstones=stones)
    assert steps(target(replica), known(there, local=[at_agent(replica)])) == [Transact(replica, 7, stones)]


def test_what_is_not_ours_is_never_touched() -> None:
    """Neither a service that somebody registered by hand, nor that of another Redis node at the same Consul agent."""
    (master,) = want(MASTER)
    by_hand = at_agent(master, id="by-hand", meta={})
    neighbour = at_agent(master, id="redis-6380", meta={**master.meta, NODE: "redis://127.0.0.1:6380"})
    assert not steps(target(), known(local=[by_hand, neighbour]))
    elsewhere = in_catalog(master, node=ELSEWHERE)
    unmarked = in_catalog(master, id="by-hand", meta={NODE: NAMING.node})
    assert not steps(target(), known(elsewhere, unmarked))
    assert settled(target(), known(elsewhere, unmarked))


# The two invariants


def test_nothing_is_set_passing_at_the_consul_agent_before_the_catalog_holds_its_claim() -> None:
    """Not by a registration, not by an update: the catalog has to hold this claim, with its rivals critical."""
    (master,), (withdrawn,) = want(MASTER), want(WITHDRAWN)
    older = in_catalog(want(EARLY)[0])
    up: list[Step] = [Register(master), Update(master.id, passing=True)]
    for step in up:
        check(step, target(master), known(in_catalog(master)))
        for consul in (known(), known(shown=False), known(older), known(in_catalog(withdrawn)), known(RIVAL)):
            with pytest.raises(Unsafe, match="before the catalog holds"):
                check(step, target(master), consul)
        with pytest.raises(Unsafe):
            check(step, target(master, evict=[RIVAL]), known(in_catalog(master), RIVAL))
        for other in (target(), target(withdrawn), target(*want(NEWER)), target(*want(REPLICA))):
            with pytest.raises(Unsafe):
                check(step, other, known(in_catalog(master)))


def test_no_transaction_lets_a_claim_pass_beside_a_rival_that_still_rises() -> None:
    """All of them go down in it, or none is taken; nor is a claim that nobody decided on."""
    (master,) = want(MASTER)
    to = target(master, evict=[RIVAL])
    check(Transact(master, evict=(RIVAL,)), to, known(RIVAL))
    check(Transact(master), to, known(replace(RIVAL, passing=False, rises=False)))
    for rival in (RIVAL, replace(RIVAL, passing=False)):
        with pytest.raises(Unsafe, match="beside redis-6379"):
            check(Transact(master), to, known(rival))
    for other in (target(), target(*want(NEWER)), target(*want(WITHDRAWN))):
        with pytest.raises(Unsafe, match="no decision"):
            check(Transact(master), other, known())


def test_what_does_not_let_a_claim_pass_is_always_allowed() -> None:
    """A withdrawal waits for no look at all."""
    (master,), (replica,) = want(MASTER), want(REPLICA)
    down: list[Step] = [
        Update(master.id, passing=False),
        Register(replace(master, passing=False)),
        Transact(replace(master, passing=False)),
        Transact(None, remove=(in_catalog(master),)),
        Unseal(master.id),
        Deregister(master.id),
    ]
    for step in down:
        check(step, target(replica), known(RIVAL, shown=False))
    up: list[Step] = [Register(replica), Update(replica.id, passing=True), Transact(replica, 7)]
    for step in up:
        check(step, target(replica), known(RIVAL))


def test_an_update_of_what_is_not_wanted_to_pass_is_refused() -> None:
    """Whichever entry it is."""
    with pytest.raises(Unsafe, match="not wanted"):
        check(Update("redis-replica-6379", passing=True), target(*want(MASTER)), known())


def test_an_update_is_refused_while_the_consul_agent_knows_another_claim() -> None:
    """It would sync the service with the check, as it is known there: an older claim would pass."""
    (master,), (before,) = want(NEWER, Mode.CHECK), want(WITHDRAWN, Mode.CHECK)
    consul = known(in_catalog(master), local=[at_agent(before)])
    with pytest.raises(Unsafe):
        check(Update(master.id, passing=True), target(master), consul)


def test_a_consul_agent_that_knows_another_claim_is_not_told_to_pass() -> None:
    """The catalog holds the claim; the Consul agent, restored from an older disk, an earlier one, critical."""
    (master,), (before,) = want(NEWER, Mode.CHECK), want(WITHDRAWN, Mode.CHECK)
    consul = known(in_catalog(master), local=[at_agent(before)])
    assert not isinstance(next_step(target(master), consul), Update)


# Interruptions


class World:
    """A Consul agent and its servers, as strict as Consul is, with the catalog that a rival shares."""

    def __init__(self, mode: Mode) -> None:
        self.consul, self.mode = StrictConsul(HERE), mode
        self.ttls: dict[str, float] = {}

    def copy(self) -> World:
        """The same once more."""
        other = World(self.mode)
        other.ttls = dict(self.ttls)
        for name in ("catalog", "services", "checks", "_out_of_sync"):
            setattr(other.consul, name, copy.deepcopy(getattr(self.consul, name)))
        return other

    # What others do

    def rival(self, epoch: int, *, passing: bool = True) -> None:
        """Another host's claim."""
        decision = replace(MASTER, claim=Claim(epoch, 0, "xyz"))
        (entry,) = wanted(decision, replace(NAMING, mode=self.mode), THERE, "mymaster")
        self.consul.elsewhere(ELSEWHERE, registration(replace(entry, passing=passing)), THERE.host)

    def evict(self) -> None:
        """The rival takes over: it passes, and the own entry, where it says master, goes down."""
        own = [e for e in self.entries() if e.node == HERE and e.says_master]
        self.rival(9, passing=False)
        (theirs,) = (e for e in self.entries() if e.node == ELSEWHERE)
        decision = replace(MASTER, claim=Claim(9, 0, "xyz"))
        (entry,) = wanted(decision, replace(NAMING, mode=self.mode), THERE, "mymaster")
        for operations in transactions(Transact(entry, theirs.index or 0, evict=tuple(own)), ELSEWHERE):
            assert self.ask("txn", operations) == 200
        gone = {"Verb": "delete", "Node": ELSEWHERE, "Service": {"ID": entry.id, "Service": entry.name}}
        assert self.ask("txn", [{"Service": gone}]) == 200  # it has done its work, and is out of the way

    def restart(self) -> None:
        """The Consul agent starts again: it restores services and role checks, and finds every seal broken."""
        for id_, held in self.consul.checks.items():
            if id_.endswith(SEAL_SUFFIX):
                self.consul.checks[id_] = held | {"Status": "critical", "Output": "TTL expired"}
        self.consul.full_sync()

    def forget(self) -> None:
        """The Consul agent starts without its data, and takes its entries out of the catalog."""
        self.consul.services, self.consul.checks = {}, {}
        self.consul.full_sync()

    def forget_and_hang(self) -> None:
        """The same, before it has told the servers."""
        self.consul.services, self.consul.checks = {}, {}

    def expire(self) -> None:
        """Every TTL is over."""
        for id_, held in self.consul.checks.items():
            if id_.endswith(CHECK_SUFFIX):
                self.consul.checks[id_] = held | {"Status": "critical", "Output": "TTL expired"}
                self.consul._out_of_sync.add(("check", id_))
        run(self.consul._sync())

    def lose(self, suffix: str) -> None:
        """Somebody removes the checks of one kind."""
        for id_ in [id_ for id_ in self.consul.checks if id_.endswith(suffix)]:
            assert self.ask(f"agent/check/deregister/{quote(id_, safe='')}") == 200

    def write_over(self) -> None:
        """Somebody registers something else under the own ids."""
        for service in [*self.consul.services.values()]:
            body = {"ID": service["ID"], "Name": service["Service"], "Address": "10.9.9.9", "Port": 9}
            assert self.ask("agent/service/register", body) == 200

    def touch(self) -> None:
        """Somebody sets the own entries critical in the catalog alone."""
        for entry in [e for e in self.entries() if e.node == HERE and e.role_check]:
            down = {"Node": HERE, "CheckID": entry.id + CHECK_SUFFIX, "Name": (entry.role_check or {})["Name"]}
            down |= {"ServiceID": entry.id, "ServiceName": entry.name, "Status": "critical"}
            assert self.ask("txn", [{"Check": {"Verb": "set", "Check": down}}]) == 200

    # What this program sees and does

    def entries(self) -> list[Entry]:
        """The catalog."""
        found = [one for name in (NAMING.service, NAMING.replica) for one in self.consul.catalog.health(name)]
        for instance in found:
            service = instance["Service"]
            instance["Service"] = service | {"Meta": service["Meta"] or {}, "Port": service.get("Port", 0)}
        return [*map(read_entry, found)]

    def look(self) -> Known:
        """Look everything up."""
        local = {
            id_: replace(read_local(service, self.consul.checks), ttl=self.ttls.get(id_))
            for id_, service in self.consul.services.items()
        }
        return Known(HERE, NAMING.node, tuple(self.entries()), local)

    def masters(self) -> list[Entry]:
        """What DNS shows as masters."""
        return [e for e in self.entries() if e.visible and e.says_master and e.name == NAMING.service]

    def take(self, step: Step) -> bool:
        """Do it; whether Consul did."""
        match step:
            case Transact():
                return all(self.ask("txn", operations) == 200 for operations in transactions(step, HERE))
            case Register(entry):
                self.ttls[entry.id] = entry.ttl
                return self.ask("agent/service/register", registration(entry)) == 200
            case Update():
                said = {"Status": "passing" if step.passing else "critical", "Output": ""}
                return self.ask(f"agent/check/update/{quote(step.check_id, safe='')}", said) == 200
            case Unseal():
                return self.ask(f"agent/check/deregister/{quote(step.check_id, safe='')}") == 200
            case Deregister():
                return self.ask(f"agent/service/deregister/{quote(step.service_id, safe='')}") == 200

    def ask(self, path: str, body: object = None) -> int:
        """A request, and the status of its answer."""
        text = "" if body is None else json.dumps(body)
        status: int = run(self.consul.answer(Request("PUT", f"/v1/{path}", {}, text, "")))[0]
        return status

    def target(self, decision: Decision) -> Target:
        """What a decision wants, with every older claim down."""
        entries = self.entries()
        evict = [e for e in entries if e.node == ELSEWHERE and e.rises] if decision.verdict is Verdict.MASTER else []
        return target(*want(decision, self.mode), evict=evict)

    def walk(self, to: Target) -> Iterator[Step]:
        """Take steps until nothing is left to do, looking again where they end or one is refused.

        Never may a claim begin to pass that is not the wanted one, nor a second master be shown.
        """
        consul, looked = self.look(), True
        wanted_claim = read_claim(to.claim.meta) if to.claim else None
        for _ in range(20):
            step = next_step(to, consul)
            if step is None:
                if looked:
                    return
                consul, looked = self.look(), True
                continue
            check(step, to, consul)
            before = self.masters()
            done = self.take(step)
            claims = [e.claim for e in before]
            assert all(e.claim in (*claims, wanted_claim) for e in self.masters()), step
            assert len(self.masters()) <= max(1, len(before)), step
            consul, looked = (after(step, consul), False) if done else (self.look(), True)
            yield step
        raise AssertionError(f"no end: {step}")

    def converge(self, to: Target) -> list[Step]:
        """All of it."""
        return list(self.walk(to))


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


MISHAPS: dict[str, Callable[[World], None]] = {
    "nothing": lambda world: None,
    "restart": World.restart,
    "forget": World.forget,
    "forget_and_hang": World.forget_and_hang,
    "expire": World.expire,
    "no role check": lambda world: world.lose(CHECK_SUFFIX),
    "no seal": lambda world: world.lose(SEAL_SUFFIX),
    "written over": World.write_over,
    "touched": World.touch,
    "evicted": World.evict,
    "rival": lambda world: world.rival(4),
}


def story(mode: Mode, before: Decision, mishap: str, then: Decision) -> None:
    """Every way of being interrupted between two decisions, with what happened in between, ends the same."""
    world = World(mode)
    world.converge(world.target(before))
    MISHAPS[mishap](world)
    begin = world.copy()
    to = world.target(then)
    taken = world.converge(to)
    assert ended(world, to), taken
    for done in range(len(taken)):
        again = begin.copy()
        for _ in zip(range(done + 1), again.walk(to), strict=False):
            pass
        again.ttls.clear()  # another process goes on
        to_now = again.target(then)
        more = again.converge(to_now)
        assert ended(again, to_now), (taken[: done + 1], more)


def ended(world: World, to: Target) -> bool:
    """Whether catalog and Consul agent hold what they should, and no full sync will change that."""
    shown = settled(to, world.look())
    world.consul.full_sync()
    return shown and settled(to, world.look()) and next_step(to, world.look()) is None


def shows_an_old_claim(mode: Mode, before: Decision, mishap: str, then: Decision) -> bool:
    """What the two tests below are about."""
    if mishap == "written over":
        return then.verdict is not Verdict.MASTER
    was = before.verdict is Verdict.MASTER
    return mishap == "restart" and mode is Mode.TAGS and was and then.verdict is Verdict.REPLICA


modes, decisions = st.sampled_from(Mode), st.sampled_from([*DECISIONS.values()])


@settings(max_examples=200, deadline=None)
@given(modes, decisions, st.sampled_from([*MISHAPS]), decisions)
def test_an_interruption_after_any_step_converges(mode: Mode, before: Decision, mishap: str, then: Decision) -> None:
    """Wherever a way is cut short, and whatever the next process knows, it ends where an uninterrupted one would have."""
    assume(not shows_an_old_claim(mode, before, mishap, then))
    story(mode, before, mishap, then)


def test_a_broken_seal_is_not_taken_off_an_old_claim() -> None:
    """Mode tags: the Consul agent has started again and the node is a replica now; the seal alone hides the old claim."""
    story(Mode.TAGS, MASTER, "restart", REPLICA)


@pytest.mark.parametrize("then", [PENDING, WITHDRAWN, FOLLOWS], ids=["pending", "withdrawn", "follows"])
def test_an_entry_that_somebody_wrote_over_does_not_pass_when_it_is_taken_back_critical(then: Decision) -> None:
    """Registering keeps the status of its role check, which passes: an update has to come first."""
    story(Mode.SERVICES, MASTER, "written over", then)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("before", DECISIONS.values(), ids=DECISIONS)
def test_a_master_moves_with_nothing_between(mode: Mode, before: Decision) -> None:
    """From a rival's claim to the own one, whatever the own entry was: one master at each moment, the right one at last."""
    world = World(mode)
    world.converge(world.target(before))
    if not world.masters():
        world.rival(4)
    for step in world.walk(world.target(NEWER)):
        assert len(world.masters()) == 1, step
    (master,) = world.masters()
    assert (master.node, master.claim) == (HERE, NEWER.claim)


@settings(max_examples=50, deadline=None)
@given(modes, decisions, decisions)
def test_what_is_known_after_a_step_is_what_consul_holds(mode: Mode, before: Decision, then: Decision) -> None:
    """The next step is found from it: of the Consul agent all of it, of the catalog what passes."""
    world = World(mode)
    world.converge(world.target(before))
    to, consul = world.target(then), world.look()
    while (step := next_step(to, consul)) and world.take(step):
        consul, seen = after(step, consul), world.look()
        assert consul.local == seen.local
        registered = {e.key for e in seen.catalog or ()} - {e.key for e in consul.catalog or ()}
        assert registered <= {(HERE, id_) for id_ in consul.local}, "the Consul agent itself has told the servers"
        passing = {e.key: (e.passing, e.tombstones) for e in seen.catalog or ()}
        assert all(passing.get(e.key) == (e.passing, e.tombstones) for e in consul.catalog or ())


def test_an_eviction_that_another_agent_undoes_is_repeated() -> None:
    """The rival's Consul agent writes its own record over the catalog, a check at a time."""
    world = World(Mode.SERVICES)
    world.rival(4)
    world.converge(world.target(MASTER))
    (down,) = (e for e in world.entries() if e.node == ELSEWHERE)
    gone = [
        {"Node": ELSEWHERE, "CheckID": s, "Name": "x", "ServiceID": down.id, "ServiceName": "redis"}
        for s in down.tombstones
    ]
    assert world.ask("txn", [{"Check": {"Verb": "delete", "Check": stone}} for stone in gone]) == 200
    taken = world.converge(world.target(MASTER))
    assert [type(step) for step in taken] == [Transact]
    assert not any(e.rises for e in world.entries() if e.node == ELSEWHERE)


def test_every_step_is_known_to_the_world_of_these_tests() -> None:
    """A new kind of step has to be thought of here, too."""
    assert set(Step.__args__) == {Transact, Register, Update, Unseal, Deregister}


@pytest.mark.parametrize("kept", [None, CLAIM])
def test_a_critical_entry_that_only_the_consul_agent_holds_is_shown_with_its_check(kept: Claim | None) -> None:
    """Registered anew by a Consul agent that holds its check already, it would pass in DNS until that is synced, too."""
    naming = replace(NAMING, mode=Mode.CHECK)
    target = Target(0.0, wanted(replace(REPLICA, keeps=kept), naming, AT, "mymaster"))
    (entry,) = target.wanted
    known = Known(HERE, NAMING.node, (), {entry.id: local_of(entry, seal="critical")})
    step = next_step(target, known)
    assert step == Transact(entry)
    role = next(transactions(step, HERE))[1]
    assert (role["Check"]["Verb"], role["Check"]["Check"]["Status"], role["Check"]["Check"]["ModifyIndex"]) == (
        "cas",
        "critical",
        0,
    )


def local_of(entry: Wanted, *, seal: str) -> Local:
    """As the own Consul agent holds it."""
    return Local(entry.id, entry.name, entry.tags, entry.address, dict(entry.meta), entry.status, seal, ttl=entry.ttl)
