"""What holds of every decision, whatever the facts and the memory are."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from consul_redis_agent.decide.claim import EARLY_TERM, NO_EPOCH
from consul_redis_agent.decide.decision import Policy, Reason, SentinelMode, Verdict
from consul_redis_agent.decide.facts import Catalog, Entry, Facts, Node, Role, Selection, Sentinel, Silence
from consul_redis_agent.decide.group import Told, told
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.decide.remember import remember
from consul_redis_agent.decide.rules import decide
from consul_redis_agent.decide.sentinels import is_fresh, majority, of_group, reached
from tests.doubles.any_facts import all_facts, memories, policies
from tests.doubles.facts import NOW, OWN, POLICY, facts, holds, judge, master, seen_by, sentinel

THOROUGH = settings(max_examples=100, deadline=None)
LASTING = (Verdict.NONE, Verdict.REPLICA, Verdict.PENDING)


def group_of(known: Facts, memory: Memory) -> Told:
    """Whose the entries are, as the decision sees it where Sentinel is not switched off."""
    return told(known, remember(known, memory))


def is_own(there: Entry, known: Facts) -> bool:
    """The own entry, also where the Consul node is not known yet."""
    if known.own[0]:
        return there.key == known.own
    mine = known.node.run_id if isinstance(known.node, Node) else None
    return there.id == OWN[1] and there.claim is not None and there.claim.run_id == mine


def may_be_false(there: Entry, known: Facts, memory: Memory) -> bool:
    """A claim that was seen for longer than an early one may stand, and is early, or denied by its Redis."""
    claim, since = memory.seen.get(there.key, (None, known.now))
    if claim is None or claim != there.claim or known.now - since <= EARLY_TERM:
        return False
    peer = known.peer
    return claim.early is not None or (
        peer is not None and peer.address == there.address and peer.role is not Role.MASTER
    )


@THOROUGH
@given(all_facts, memories, policies)
def test_every_combination_of_facts_has_one_decision(known: Facts, memory: Memory, policy: Policy) -> None:
    """Total and deterministic, with a sentence for people, and confirmed never goes back except with the claim."""
    decision, after = decide(known, memory, policy)
    assert (decision, after) == decide(known, memory, policy)
    assert decision.sentence.endswith(".")
    assert not decision.sentence[0].islower()
    assert after.confirmed >= memory.confirmed or decision.verdict in LASTING
    assert after.spent >= memory.spent
    assert after.group or not memory.group


@THOROUGH
@given(all_facts, memories, policies)
def test_only_a_fresh_master_is_ever_published_as_one(known: Facts, memory: Memory, policy: Policy) -> None:
    """Rule 1, whatever all others say; a silent one only with the claim that stands, and never one that is gone."""
    decision, _ = decide(known, memory, policy)
    if decision.verdict is not Verdict.MASTER:
        return
    if isinstance(known.node, Silence):
        assert (decision.reason, known.node.gone) == (Reason.PATIENT, False)
        shown = known.catalog.entries if known.catalog else ()
        assert any(
            e.passing
            and e.says_master
            and e.claim
            # An agent that has just started knows its node only by the entry that the earlier run left.
            and (e.claim.run_id == memory.node.run_id if memory.node else e.key == known.own)
            for e in shown
        )
    else:
        assert isinstance(known.node, Node)
        assert (known.node.role, known.node.loading) == (Role.MASTER, False)
        assert known.now - known.node.at <= policy.node_life
        assert known.address


@THOROUGH
@given(all_facts, memories, policies)
def test_only_a_master_claims_evicts_and_names_itself(known: Facts, memory: Memory, policy: Policy) -> None:
    """A claim goes with MASTER and PENDING, always, and is of the own run id; KEEP and the others carry nothing."""
    decision, after = decide(known, memory, policy)
    assert (decision.claim is not None) is (decision.verdict in (Verdict.MASTER, Verdict.PENDING))
    if decision.claim:
        assert after.node
        assert decision.claim.run_id == after.node.run_id
        assert decision.group == after.group != ""
    if decision.verdict is not Verdict.MASTER:
        assert (decision.evict, decision.last) == ((), None)
    if decision.keeps:
        assert decision.verdict in (Verdict.NONE, Verdict.REPLICA)


@THOROUGH
@given(all_facts, memories, policies)
def test_an_early_claim_never_outlives_its_term(known: Facts, memory: Memory, policy: Policy) -> None:
    """It says since when, by the clock of this start of the machine, and is decided again before its end."""
    decision, after = decide(known, memory, policy)
    if decision.verdict is Verdict.MASTER and decision.claim and decision.claim.early:
        assert decision.reason is Reason.SELECTED
        assert decision.claim.early.boot == known.boot
        assert 0 <= known.now - decision.claim.early.since <= EARLY_TERM
        assert decision.until <= decision.claim.early.since + EARLY_TERM
        shown = [e.claim for e in (known.catalog.entries if known.catalog else ())]
        assert decision.claim.epoch > memory.spent or decision.claim in (memory.held, *shown)
    elif memory.held and memory.held.early and decision.verdict in LASTING:
        assert after.spent >= memory.held.epoch


@THOROUGH
@given(all_facts, memories, policies.filter(lambda policy: policy.mode is not SentinelMode.OFF))
def test_no_master_beside_a_newer_claim(known: Facts, memory: Memory, policy: Policy) -> None:
    """Rule 3: a live claim of the group that is newer, or as new and not evicted with it, forbids the own one."""
    decision, _ = decide(known, memory, policy)
    if decision.verdict is not Verdict.MASTER or not decision.claim:
        return
    for rival in group_of(known, memory).ours:
        if rival.claim and rival.live and not is_own(rival, known):
            assert rival.claim.order <= decision.claim.order or may_be_false(rival, known, memory)
            assert rival in decision.evict or isinstance(known.node, Silence)


@THOROUGH
@given(all_facts, memories, policies.filter(lambda policy: policy.mode is not SentinelMode.OFF))
def test_only_older_claims_of_the_group_are_ever_evicted(known: Facts, memory: Memory, policy: Policy) -> None:
    """Rule 9: never the own entry, a stranger's, a foreign one, one of unknown group, a newer one, or one that is down."""
    decision, _ = decide(known, memory, policy)
    for evicted in decision.evict:
        assert evicted in group_of(known, memory).ours
        assert evicted.rises
        assert evicted.claim
        assert decision.claim
        assert evicted.claim.order <= decision.claim.order or may_be_false(evicted, known, memory)
        assert not is_own(evicted, known)


@THOROUGH
@given(all_facts, memories, policies.filter(lambda policy: policy.mode is not SentinelMode.OFF))
def test_nothing_new_is_published_while_another_group_holds_the_name(
    known: Facts, memory: Memory, policy: Policy
) -> None:
    """Beside a stranger that publishes, only a claim that passes already may stay."""
    decision, _ = decide(known, memory, policy)
    strangers = group_of(known, memory).strangers
    if decision.verdict is Verdict.MASTER and any(e.live and not e.pending for e in strangers):
        assert known.catalog
        assert any((is_own(e, known) and e.live) or (e.key == known.own and e.passing) for e in known.catalog.entries)


@THOROUGH
@given(all_facts, memories, policies.filter(lambda policy: policy.mode is not SentinelMode.OFF))
def test_a_claim_of_an_epoch_has_its_backing(known: Facts, memory: Memory, policy: Policy) -> None:
    """Rule 2: a majority, a selection, a handover, or a claim that the node holds already."""
    decision, after = decide(known, memory, policy)
    if decision.claim and decision.claim.epoch > NO_EPOCH:
        assert decision.reason in (
            Reason.NAMED,
            Reason.SELECTED,
            Reason.HANDED_OVER,
            Reason.CONFIRMED,
            Reason.PATIENT,
            Reason.FIRST,
            Reason.STRANGER,
        ) or (known.catalog and any(is_own(e, known) for e in known.catalog.entries))
    if decision.reason is Reason.NAMED:
        assert after.node
        assert decision.claim
        members = of_group(known.sentinels, after.node.run_id, known.me)
        epochs = [s.epoch for s in members if is_fresh(s, known.now)]
        need = majority(len(after.known) or known.watched)
        assert len(epochs) >= need
        assert decision.claim.epoch >= reached(epochs, need)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[tuple[Sentinel, ...], Catalog, Mapping[str, Node]]:
    """One moment of one group, as Sentinel makes it: an epoch belongs to one node, and a node has one role."""
    of_epoch = draw(st.lists(st.sampled_from("abc"), min_size=4, max_size=4))
    roles = {name: draw(st.sampled_from(Role)) for name in "abc"}
    heard = []
    for id_ in ("s1", "s2", "s3"):
        epoch, chosen = draw(st.integers(0, 3)), draw(st.none() | st.integers(0, 3))
        selection = None if chosen is None else Selection(chosen, of_epoch[chosen])
        heard.append(sentinel(id_, of_epoch[epoch], epoch, selection=selection, tilt=draw(st.booleans())))
    claimed = {name: draw(st.integers(0, 3)) for name in "abc"}
    held = [
        holds(name, epoch, draw(st.integers(0, 1)), passing=draw(st.booleans()))
        for name, epoch in claimed.items()
        if of_epoch[epoch] == name
    ]
    nodes = {name: master(name, role=roles[name], turned=NOW) for name in "abc"}
    return tuple(heard), Catalog(NOW - draw(st.sampled_from([-0.1, 0.1])), 1, tuple(held)), nodes


@THOROUGH
@given(worlds(), st.sets(st.sampled_from(["s1", "s2", "s3"]), min_size=0), st.sampled_from([NOW - 1, NOW - 60]))
def test_no_two_nodes_are_given_claims_of_one_order(
    world: tuple[tuple[Sentinel, ...], Catalog, Mapping[str, Node]], lost: set[str], since: float
) -> None:
    """Two agents that see the same Sentinels and the same catalog never claim alike, whoever of them cannot be reached."""
    heard, catalog, nodes = world
    heard = tuple(s if s.id not in lost else sentinel(s.id, error="no answer", master=None) for s in heard)
    orders = []
    for name, node in nodes.items():
        known = seen_by(name, facts(node, heard, catalog=catalog))
        decision = judge(known, POLICY, roster_since=since)
        if decision.claim and decision.verdict is Verdict.MASTER:
            orders.append(decision.claim.order)
    assert len(orders) == len(set(orders))
