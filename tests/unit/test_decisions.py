"""What holds of every decision, whatever the facts and the memory are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from consul_redis_agent.decide.claim import EARLY_TERM, NO_EPOCH
from consul_redis_agent.decide.decision import Do, FenceMode, Policy, Reason, SentinelMode, Verdict
from consul_redis_agent.decide.facts import Catalog, Entry, Facts, Node, Role, Selection, Sentinel, Silence
from consul_redis_agent.decide.fence import MOMENT, SHORTEST, YOUNG
from consul_redis_agent.decide.group import Told, told
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.decide.remember import remember
from consul_redis_agent.decide.rules import decide
from consul_redis_agent.decide.sentinels import is_fresh, majority, of_group, reached
from tests.doubles.any_facts import all_facts, fences, memories, policies, strange_sentinels
from tests.doubles.facts import NOW, OWN, POLICY, entry, facts, holds, judge, master, seen_by, sentinel, settled
from tests.unit.test_fence import GIVEN, Story

NOBODYS = entry("c")
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
        left = next((e.claim for e in known.catalog.entries if e.key == known.own), None) if known.catalog else None
        owner = after.node or left  # an agent that has just started knows a silent node by the entry alone
        assert owner
        assert decision.claim.run_id == owner.run_id
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
        assert decision.until <= decision.claim.early.since + EARLY_TERM
        shown = [e.claim for e in (known.catalog.entries if known.catalog else ())]
        assert decision.claim.epoch > memory.spent or decision.claim in (memory.held, *shown)
    elif memory.held and memory.held.early and decision.verdict in LASTING:
        assert after.spent >= memory.held.epoch or decision.claim == memory.held  # recorded again: its term goes on
    if decision.claim and decision.claim.early:
        assert decision.claim.early.boot == known.boot
        assert 0 <= known.now - decision.claim.early.since <= EARLY_TERM


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
def eventful(draw: st.DrawFn) -> tuple[Facts, Memory]:
    """A story in which something is ordered, with some of it, and of what is remembered, replaced by anything."""
    story: Story = draw(st.sampled_from(list(GIVEN.values())))
    known, other, heard = story.known, draw(all_facts), list(story.known.sentinels)
    parts = ("node", "me", "sentinels", "catalog", "peer", "elsewhere", "address", "own")
    for part in draw(st.lists(st.sampled_from(parts), max_size=2)):
        known = replace(known, **{part: getattr(other, part)})
    for number in draw(st.sets(st.integers(0, 2), max_size=2)):
        heard[number] = draw(strange_sentinels)
    if known.sentinels is story.known.sentinels:
        known = replace(known, sentinels=tuple({s.id: s for s in heard}.values()))
    fence = draw(st.just(story.fence) | st.just(story.fence) | fences)
    memory = settled(story.known, fence=fence, **story.remembered)
    return known, draw(st.just(memory) | st.just(memory) | memories)


events = st.tuples(all_facts, memories) | eventful() | eventful() | eventful()
fenced = policies.map(lambda policy: replace(policy, fence=FenceMode.ON, on_death=True, on_empty=True))
"""Every order may be given."""


@THOROUGH
@given(events, policies)
def test_nothing_is_ordered_unless_it_is_wanted_and_nobody_maintains_the_node(
    event: tuple[Facts, Memory], policy: Policy
) -> None:
    """Rule 12: only with the fence on, only what is configured, only of a group with Sentinels; each order says why."""
    known, memory = event
    decision, _ = decide(known, memory, policy)
    order = decision.order
    if policy.fence is not FenceMode.ON or policy.mode is SentinelMode.OFF or (known.own_entry or NOBODYS).maintenance:
        assert order is None
    if order is None:
        return
    assert order.sentence
    if order.do is Do.HOLD:
        assert policy.on_empty
    elif order.do is Do.FAIL_OVER:
        assert policy.on_death or policy.on_empty
    assert (order.to is None) is (order.do in (Do.PAUSE, Do.HOLD))


@THOROUGH
@given(events, fenced)
def test_a_node_follows_only_who_says_itself_that_it_is_the_master_that_sentinel_means(
    event: tuple[Facts, Memory], policy: Policy
) -> None:
    """Its own word of just now, with the run id that a leader of a newer epoch or a majority knows at that address."""
    known, memory = event
    decision, after = decide(known, memory, policy)
    order, peer = decision.order, known.peer
    if order is None or order.do is not Do.FOLLOW:
        return
    assert isinstance(known.node, Node)
    assert (known.node.role, known.node.loading) == (Role.MASTER, False)
    assert peer
    assert (peer.role, peer.address) == (Role.MASTER, order.to)
    assert known.now - peer.at <= YOUNG
    assert peer.run_id not in ("", known.node.run_id)
    fresh = [s for s in of_group(known.sentinels, known.node.run_id, known.me) if is_fresh(s, known.now)]
    say_so = [s for s in fresh if s.run_ids.get(peer.address) == peer.run_id]
    chose = [s for s in say_so if s.selection and s.selection.run_id == peer.run_id]
    if decision.verdict is Verdict.MASTER:
        assert decision.claim
        assert any(s.selection and s.selection.epoch > decision.claim.epoch for s in chose)
    proved = memory.fence.proved == peer.run_id
    asked = proved or any(s.at >= peer.at - MOMENT for s in chose)
    majority_says = sum(s.master == peer.address for s in say_so) >= majority(len(after.known) or known.watched)
    assert asked or majority_says


@THOROUGH
@given(events, fenced)
def test_no_order_is_given_twice(event: tuple[Facts, Memory], policy: Policy) -> None:
    """What is remembered of the first order keeps the same facts from giving it a millisecond later."""
    known, memory = event
    first, after = decide(known, memory, policy)
    second, _ = decide(replace(known, now=known.now + 0.001), after, policy)
    assert first.order is None or second.order is None or second.order.do is not first.order.do


@THOROUGH
@given(events, fenced)
def test_a_sentinel_is_asked_only_where_no_failover_can_be_under_way(
    event: tuple[Facts, Memory], policy: Policy
) -> None:
    """None shows one, none could have begun one, and the one that is asked is on another host and in reach."""
    known, memory = event
    decision, after = decide(known, memory, policy)
    if decision.order is None or decision.order.do is not Do.FAIL_OVER:
        return
    node = known.node if isinstance(known.node, Node) else memory.node
    members = [s for s in of_group(known.sentinels, node.run_id if node else "", known.me) if s.id in after.known]
    assert all(s.promoting is None for s in members)
    assert all(s.down_after >= SHORTEST for s in members if not s.error)
    (asked,) = {s.address for s in members if s.address == decision.order.to and is_fresh(s, known.now)}
    assert asked.host not in {address.host for address in known.me}
    assert after.fence.asked == known.now


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
