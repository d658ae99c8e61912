"""The plan: from what Consul holds to what it should hold, from any state in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.decide.facts import Address, Entry
from consul_redis_agent.decide.rules import Decision, Reason, Verdict
from consul_redis_agent.publish import plan
from consul_redis_agent.publish.entries import CHECK_SUFFIX, SEAL_SUFFIX, Mode, Naming, Wanted, wanted
from consul_redis_agent.publish.plan import (
    Deregister,
    Register,
    Service,
    Step,
    Transact,
    Unseal,
    Update,
    at_last,
    at_once,
    forgotten,
    settled,
    then,
)

HERE = "host-a"
AT = Address("10.0.0.5", 6379)
NAMING = Naming(
    mode=Mode.SERVICES,
    service="redis",
    replica="redis-replica",
    ttl=10.0,
    node="redis://127.0.0.1:6379",
    master_id="redis-6379",
    replica_id="redis-replica-6379",
)
KNOWN = frozenset({"redis-6379", "redis-replica-6379"})
MASTER = Decision(Verdict.MASTER, Reason.NAMED, "It is.", claim=Claim(5, 0, "abc"))
REPLICA = Decision(Verdict.REPLICA, Reason.REPLICATES, "It follows.")
NONE = Decision(Verdict.NONE, Reason.SILENT, "It is silent.")


def want(decision: Decision, mode: Mode = Mode.SERVICES) -> tuple[Wanted, ...]:
    """The entries of the one node of these tests."""
    return wanted(decision, replace(NAMING, mode=mode), AT, "mymaster")


def in_catalog(entry: Wanted, *, passing: bool | None = None, maintenance: bool = False) -> Entry:
    """A wanted entry as the catalog shows it."""
    return Entry(
        node=HERE,
        id=entry.id,
        name=entry.name,
        address=entry.address.host,
        port=entry.address.port,
        tags=entry.tags,
        meta=entry.meta,
        check={"Name": entry.check_name},
        passing=entry.passing if passing is None else passing,
        maintenance=maintenance,
    )


def at_agent(
    entry: Wanted, *, status: str | None = "", maintenance: bool = False, seal: str | None = "passing"
) -> Service:
    """A wanted entry as the local agent holds it."""
    return Service(
        id=entry.id,
        name=entry.name,
        tags=entry.tags,
        address=entry.address.host,
        port=entry.address.port,
        meta=entry.meta,
        status=entry.status if status == "" else status,
        maintenance=maintenance,
        seal=seal,
    )


def local(*services: Service) -> dict[str, Service]:
    """The local agent with these services."""
    return {service.id: service for service in services}


def test_a_new_master_moves_the_claim_in_one_transaction() -> None:
    """Its own entry up, its replica entry away and the older claim down: one step for DNS, then the local agent."""
    (master,), (replica,) = want(MASTER), want(REPLICA)
    older = replace(in_catalog(master), node="host-b")
    steps = list(at_once((master,), (older,), [in_catalog(replica), older], HERE, NAMING))
    assert steps == [
        Transact(master, remove=(in_catalog(replica),), evict=(older,), unless_newer_than=0),
        Register(master),
    ]


def test_a_claim_that_arrives_late_is_refused() -> None:
    """It names the check that it was made for, so a transaction that hung in a cut does not undo its own eviction."""
    (master,) = want(MASTER)
    there = replace(in_catalog(master, passing=False), check={"Name": master.check_name, "ModifyIndex": 7})
    steps = list(at_once((master,), (), [there], HERE, NAMING))
    assert steps == [Transact(master, unless_newer_than=7), Update(master.check_id, passing=True)]


def test_an_entry_that_somebody_wrote_over_is_taken_back() -> None:
    """It has the id of the claim and no Meta of this tool, and its check is there, with an index."""
    (master,) = want(MASTER)
    there = replace(in_catalog(master), meta={}, port=9, check={"Name": master.check_name, "ModifyIndex": 7})
    steps = list(at_once((master,), (), [there], HERE, NAMING))
    assert steps == [Transact(master, unless_newer_than=7), Register(master)]


def test_a_master_that_is_in_place_takes_no_step() -> None:
    """Nothing changes: nothing is written."""
    (master,) = want(MASTER)
    assert not list(at_once((master,), (), [in_catalog(master)], HERE, NAMING))
    assert not list(then((master,), local(at_agent(master)), NAMING, KNOWN))
    assert not list(at_last((master,), [in_catalog(master)], HERE))
    assert settled((master,), [in_catalog(master)], HERE, NAMING)


def test_a_master_that_falls_is_critical_before_anything_else() -> None:
    """The quickest call that takes a name out of DNS comes first, then the entry goes."""
    (master,) = want(MASTER)
    assert list(at_once((), (), [in_catalog(master)], HERE, NAMING)) == [Update("redis-6379:role", passing=False)]
    steps = list(then((), local(at_agent(master, status="critical")), NAMING, KNOWN))
    assert steps == [Deregister("redis-6379")]


def test_a_claim_that_the_local_agent_never_learnt_of_is_taken_out_of_the_catalog() -> None:
    """The answer to a claim's transaction was lost, and the node fell before the claim was registered."""
    (master,) = want(MASTER)
    entry = in_catalog(master)
    assert list(forgotten((), [entry], HERE, NAMING)) == [Transact(None, remove=(entry,))]
    assert not list(forgotten((master,), [entry], HERE, NAMING))
    assert not list(forgotten((), [replace(entry, node="elsewhere")], HERE, NAMING))


def test_a_claim_whose_transaction_came_late_is_put_down_by_another() -> None:
    """The local agent has the check critical already, and would not write again what does not change there."""
    told = frozenset({"redis-6379:role"})
    (master,), (none,) = want(MASTER), want(REPLICA, Mode.CHECK)
    entry = in_catalog(master)
    assert list(at_once((), (), [entry], HERE, NAMING, told)) == [Transact(None, remove=(entry,))]
    naming = replace(NAMING, mode=Mode.CHECK)
    assert list(at_once((none,), (), [entry], HERE, naming, told)) == [Transact(none)]


def test_an_entry_that_was_put_down_loses_its_tombstones_when_it_passes_again() -> None:
    """The local agent does not know them, so the transaction that writes the entry anew takes them away."""
    (master,), (replica,) = want(MASTER), want(REPLICA, Mode.TAGS)
    stones = ("redis-6379:put-down-1", "redis-6379:put-down-2")
    down = replace(in_catalog(master, passing=False), tombstones=stones)
    transaction, _ = at_once((master,), (), [down], HERE, NAMING)
    assert transaction == Transact(master, unless_newer_than=0, tombstones=stones)
    down = replace(in_catalog(replica, passing=False), tombstones=stones)
    assert list(at_last((replica,), [down], HERE)) == [Transact(replica, tombstones=stones)]


def test_maintenance_outlives_a_demotion() -> None:
    """Deregistering would end the operator's maintenance: such an entry stays, critical, and counts as settled."""
    (master,) = want(MASTER)
    kept = in_catalog(master, passing=False, maintenance=True)
    assert list(then((), local(at_agent(master, maintenance=True)), NAMING, KNOWN)) == [
        Update("redis-6379:role", passing=False)
    ]
    assert settled((), [kept], HERE, NAMING)


def test_a_known_check_is_updated_before_the_service_is_registered_again() -> None:
    """Consul keeps a known check's status at a registration and writes it to the catalog: the other order blinks."""
    (master,) = want(MASTER, Mode.CHECK)
    (before,) = want(REPLICA, Mode.CHECK)
    steps = list(then((master,), local(at_agent(before)), replace(NAMING, mode=Mode.CHECK), KNOWN))
    assert steps == [Update("redis-6379:role", passing=True), Register(master)]


def test_an_entry_that_begins_to_pass_anew_is_registered_before_its_check_is_updated() -> None:
    """Its Consul agent still has the claim of a former master, critical: an update alone would show that claim."""
    naming = replace(NAMING, mode=Mode.TAGS)
    (before,), (replica,) = want(MASTER, Mode.TAGS), want(REPLICA, Mode.TAGS)
    steps = list(then((replica,), local(at_agent(before, status="critical")), naming, KNOWN))
    assert steps == [Register(replica), Update("redis-6379:role", passing=True)]


def test_an_entry_of_an_earlier_run_is_registered_once() -> None:
    """The local agent does not show the TTL of a check, so the entry that is adopted is written once."""
    (master,) = want(MASTER)
    assert list(then((master,), local(at_agent(master)), NAMING, frozenset())) == [Register(master)]


def test_a_service_without_its_check_is_registered_again() -> None:
    """A service without a check passes always: the check is put back."""
    (master,) = want(MASTER)
    assert list(then((master,), local(at_agent(master, status=None)), NAMING, KNOWN)) == [Register(master)]


def test_what_was_restored_from_disk_is_sealed_anew() -> None:
    """A Consul agent that started again shows nothing until this agent has decided: then a new seal is put on."""
    (master,) = want(MASTER)
    assert list(then((master,), local(at_agent(master, seal="critical")), NAMING, frozenset())) == [
        Unseal("redis-6379:seal"),
        Register(master),
    ]


def test_a_claim_in_a_known_entry_is_registered_before_it_passes() -> None:
    """In mode check the entry is there already: Consul would sync the old one, without the claim, with its check.

    Critical, since a Consul agent that was started without its data does not know it, and takes the status then.
    """
    naming = replace(NAMING, mode=Mode.CHECK)
    (master,), (before,) = want(MASTER, Mode.CHECK), want(REPLICA, Mode.CHECK)
    steps = list(at_once((master,), (), [in_catalog(before)], HERE, naming))
    up = Update(master.check_id, passing=True)
    assert steps == [Register(replace(master, passing=False)), Transact(master), up]


def test_what_only_the_catalog_has_wrong_is_written_there() -> None:
    """The local agent does not notice another agent's transaction, so the catalog is written over."""
    (replica,) = want(REPLICA)
    assert list(at_last((replica,), [in_catalog(replica, passing=False)], HERE)) == [Transact(replica)]


def test_what_is_not_ours_is_never_touched() -> None:
    """Neither a service that somebody registered by hand, nor that of another Redis node at the same Consul agent."""
    (master,) = want(MASTER)
    by_hand = replace(at_agent(master), id="by-hand", meta={})
    neighbour = replace(at_agent(master), id="redis-6380", meta={**master.meta, "redis-node": "redis://127.0.0.1:6380"})
    assert not list(then((), local(by_hand, neighbour), NAMING, KNOWN))
    elsewhere = replace(in_catalog(master), node="host-b")
    assert not list(at_once((), (), [elsewhere], HERE, NAMING))
    assert settled((), [elsewhere], HERE, NAMING)


decisions = st.sampled_from([MASTER, REPLICA, NONE, replace(MASTER, claim=Claim(6, 1, "def"))])
modes = st.sampled_from(Mode)


@given(before=decisions, after=decisions, mode=modes, done=st.integers(0, 6), known=st.booleans(), again=st.booleans())
def test_an_interruption_after_any_step_converges(
    before: Decision, after: Decision, mode: Mode, done: int, known: bool, again: bool
) -> None:
    """Wherever a pass is cut short, the next one ends where an uninterrupted one would have."""
    naming = replace(NAMING, mode=mode)
    world = World(naming)
    world.converge(want(before, mode))
    target = want(after, mode)
    for _ in zip(range(done), world.steps(target), strict=False):
        pass
    if not known:
        world.known = frozenset()  # this process was started anew
    if again:
        world.start_the_consul_agent_again()
    world.converge(target)
    assert settled(target, world.catalog.values(), HERE, naming)
    assert not list(then(target, world.agent, naming, world.known))


class World:
    """One Consul agent and its catalog, with the writes of a plan and the agent's sync after each."""

    def __init__(self, naming: Naming) -> None:
        self.naming = naming
        self.agent: dict[str, Service] = {}
        self.catalog: dict[str, Entry] = {}
        self.known: frozenset[str] = frozenset()

    def converge(self, target: tuple[Wanted, ...]) -> None:
        """Take every step."""
        for _ in self.steps(target):
            pass

    def start_the_consul_agent_again(self) -> None:
        """It restores services and role checks from disk, finds the seals broken, and writes that over the catalog."""
        self.agent = {service_id: replace(service, seal="critical") for service_id, service in self.agent.items()}
        self.catalog = {
            s.id: Entry(HERE, s.id, s.name, s.address, s.port, s.tags, s.meta, {}) for s in self.agent.values()
        }

    def steps(self, target: tuple[Wanted, ...]) -> Iterable[Step]:
        """Take the steps one by one, as the registry does."""
        phases: tuple[Callable[[], Iterable[Step]], ...] = (
            lambda: at_once(target, (), self.catalog.values(), HERE, self.naming),
            lambda: then(target, self.agent, self.naming, self.known),
            lambda: at_last(target, self.catalog.values(), HERE),
        )
        for phase in phases:
            for step in list(phase()):
                self.take(step)
                yield step

    def take(self, step: Step) -> None:
        """What Consul does."""
        match step:
            case Transact(publish, remove, _):
                if publish:
                    self.catalog[publish.id] = in_catalog(publish)
                for entry in remove:
                    self.catalog.pop(entry.id, None)
            case Register(entry):
                there = self.agent.get(entry.id)
                status = there.status if there and there.status else entry.status
                seal = there.seal if there and there.seal else "passing"
                self.agent[entry.id] = at_agent(entry, status=status, seal=seal)
                self.catalog[entry.id] = in_catalog(entry, passing=status == seal == "passing")
                self.known |= {entry.id}
            case Update(check_id, passing):
                service_id = check_id.removesuffix(CHECK_SUFFIX)
                if service_id in self.agent:
                    status = "passing" if passing else "critical"
                    self.agent[service_id] = replace(self.agent[service_id], status=status)
                    if service_id in self.catalog:
                        self.catalog[service_id] = replace(self.catalog[service_id], passing=passing)
            case Unseal(seal_id):
                service_id = seal_id.removesuffix(SEAL_SUFFIX)
                self.agent[service_id] = replace(self.agent[service_id], seal=None)
                self.catalog[service_id] = replace(
                    self.catalog[service_id], passing=self.agent[service_id].status == "passing"
                )
            case Deregister(service_id):
                self.agent.pop(service_id, None)
                self.catalog.pop(service_id, None)


def test_every_step_is_known_to_the_world_of_these_tests() -> None:
    """A new kind of step has to be thought of here, too."""
    assert set(plan.Step.__args__) == {Transact, Register, Update, Unseal, Deregister}
