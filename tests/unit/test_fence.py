"""Rule 12 as stories of one group (``tests/doubles/facts.py``): what is ordered, by which proof, and when never.

Orders are given to ``a``, or for it, unless said. Each table of "never" starts from a story in which the order is given and
takes away one condition.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest

from consul_redis_agent.decide import fence, rules
from consul_redis_agent.decide.claim import EARLY_TERM, Claim
from consul_redis_agent.decide.decision import (
    Closely,
    Decision,
    Do,
    FenceMode,
    Order,
    Policy,
    Reason,
    SentinelMode,
    Verdict,
)
from consul_redis_agent.decide.facts import Address, Facts, Node, Peer, Role, Selection, Sentinel, Silence
from consul_redis_agent.decide.fence import AGAIN, ATTENTION, HOLLOW, MOMENT, SELECTED, SOON, TOLD, UNTURNED, YOUNG
from consul_redis_agent.decide.memory import UNFENCED, Fenced, Memory
from consul_redis_agent.decide.rules import decide
from tests.doubles.facts import (
    ASKING,
    FENCED,
    NOW,
    REFUSED,
    SILENT,
    WHERE,
    early,
    entry,
    facts,
    following,
    foreign_sentinel,
    holds,
    master,
    outcome,
    promoted,
    replica,
    saying_master,
    sentinel,
    sentinels,
    settled,
)

VERSION = (7, 0, 15)
OLD = master(version=VERSION)
"""The own node, which was the master: it still says so."""
A, B, C = WHERE.values()
AT = {s: Address(s, 26379) for s in ("s1", "s2", "s3")}


@dataclass(frozen=True)
class Story:
    """What is known, and remembered; the order that follows."""

    known: Facts
    fence: Fenced = UNFENCED
    policy: Policy = FENCED
    remembered: Mapping[str, Any] = field(default_factory=dict)

    def decided(self) -> tuple[Decision, Memory]:
        """What comes of it."""
        return decide(self.known, settled(self.known, fence=self.fence, **self.remembered), self.policy)

    @property
    def decision(self) -> Decision:
        return self.decided()[0]

    @property
    def after(self) -> Fenced:
        """What is remembered of the orders."""
        return self.decided()[1].fence

    @property
    def order(self) -> Order | None:
        return self.decision.order

    @property
    def done(self) -> tuple[Do, Address | None] | None:
        """The order without its sentence."""
        return (self.order.do, self.order.to) if self.order else None

    def but(self, **changes: Any) -> Story:
        """The same with some of its facts changed."""
        return replace(self, known=replace(self.known, **changes))

    def at(self, seconds: float, **changes: Any) -> Story:
        """The same so much later, where nobody has said anything since, and what was ordered is remembered."""
        return replace(self, fence=self.after).but(now=self.known.now + seconds, **changes)


Table = Mapping[str, tuple[Story, tuple[Do, Address | None] | None]]
"""Stories by their promise, with what is ordered."""


def leading(chosen: str = "b", epoch: int = 6, **changes: Any) -> Sentinel:
    """The elected leader: it still names the old master, and promotes another node."""
    at = changes.pop("selected_at", NOW - 0.08)
    made = sentinel("s1", promoting=chosen, promoting_since=NOW - 0.1, selection=Selection(epoch, chosen, at))
    return replace(made, **changes)


OTHERS = sentinels("", "a", "a")[1:]
"""The two Sentinels that do not lead, and have heard of nothing yet."""


def failover(*heard: Sentinel, **changes: Any) -> Facts:
    """``a`` holds the claim of epoch 5, and the leader has selected ``b``."""
    return facts(changes.pop("node", OLD), heard or (leading(), *OTHERS), holds("a", 5), entry("b"), **changes)


def told(*entries: Any, seen: float = NOW) -> dict[str, Any]:
    """What Consul shows, with the new master's claim."""
    catalog = facts(None, (), holds("a", 5, passing=False), *entries).catalog
    assert catalog
    return {"catalog": replace(catalog, at=seen), "confirmation": replace(catalog, at=seen)}


FOLLOW_B = Do.FOLLOW, B
PAUSE = Do.PAUSE, None
HOLD = Do.HOLD, None
PAUSED = Fenced(paused=("s1", 6))
CLAIMED = told(entry("b", early(name="b")))
PROVED = Story(failover(peer=saying_master(), **CLAIMED), PAUSED)
"""The selected node says that it is master, its leader stands by it, and its claim is there."""
NAMED = sentinels("b", "b", "b", epoch=6)
RETURNED = Story(facts(OLD, NAMED, holds("b", 6), peer=saying_master()))
"""A master that was away comes back and says master, which another one is since."""


# The pause, at the selection


SELECTION = Story(failover())


def test_writes_wait_from_the_selection_on() -> None:
    """An elected leader has selected another node; the order says who that is, and the claim stands for now."""
    decision = SELECTION.decision
    assert SELECTION.done == PAUSE
    assert decision.order
    assert "s1:26379, elected at epoch 6" in decision.order.sentence
    assert SELECTION.after.paused == ("s1", 6)
    assert outcome(decision) == (Verdict.MASTER, Reason.NAMED)


def test_the_new_master_and_the_leader_are_asked_in_the_same_moment() -> None:
    """Every millisecond until the proof is one of writes that wait."""
    decision = SELECTION.decision
    assert (decision.ask, decision.leader, decision.closely) == (B, "s1", Closely.PEER)


def test_the_writes_wait_once_for_each_selection() -> None:
    """A pause that is renewed makes Sentinel's own hello wait; another selection is another matter."""
    again = SELECTION.at(0.05)
    assert again.order is None
    assert again.at(0.05).order is None
    assert again.but(sentinels=(leading(epoch=7), *OTHERS)).done == PAUSE
    assert again.but(sentinels=(leading(id="s2"), sentinel("s1"), sentinel("s3"))).done == PAUSE


def test_what_is_not_there_yet_is_asked_for_with_the_writes_waiting() -> None:
    """The selected node has not answered as master: neither silence nor a replica's word is a proof."""
    for peer in (saying_master(role=None), following(run_id="b")):
        assert SELECTION.but(peer=peer).done == PAUSE


NO_PAUSE: Mapping[str, Story] = {
    "the failover lets them wait by itself": SELECTION.but(sentinels=(leading(coordinated=True), *OTHERS)),
    "the selection is late news": SELECTION.but(sentinels=(leading(selected_at=NOW - SELECTED - 0.01), *OTHERS)),
    "Redis has no pause of writes alone": SELECTION.but(node=replace(OLD, version=(6, 0, 16))),
    "its version is not known": SELECTION.but(node=replace(OLD, version=())),
    "the leader does not name it as the master": (
        SELECTION.but(sentinels=(leading(master=C, run_ids={A: "a", B: "b", C: "c"}), *OTHERS))
    ),
    "it is the one that was selected": SELECTION.but(sentinels=(leading("a"), *OTHERS)),
    "that epoch is what made it the master": (
        Story(facts(OLD, (replace(leading(), epoch=6), *sentinels("", "a", "a", epoch=6)[1:]), holds("a", 6)))
    ),
    "the leader is in TILT": SELECTION.but(sentinels=(leading(tilt=True), *OTHERS)),
    "the leader was heard too long ago": SELECTION.but(sentinels=(leading(at=NOW - 6.1), *OTHERS)),
    "the leader is lost": SELECTION.but(sentinels=(leading(error="no answer", master=None), *OTHERS)),
    "the leader is not of its Sentinels": (
        Story(facts(OLD, sentinels("a", "a", "a"), holds("a", 5))).but(
            sentinels=(*sentinels("a", "a", "a"), foreign_sentinel(selection=Selection(6, "x", NOW), promoting="x"))
        )
    ),
    "it is a replica already": SELECTION.but(node=replica()),
    "it is loading": SELECTION.but(node=replace(OLD, loading=True)),
    "it does not answer": SELECTION.but(node=SILENT),
    "it is gone": SELECTION.but(node=REFUSED),
    "it was just told to follow": replace(SELECTION, fence=Fenced(followed=NOW - AGAIN + 0.01)),
    "everything waits already": replace(SELECTION, fence=Fenced(returned="a", returned_at=NOW - SELECTED)).but(
        node=replace(OLD, empty=True)
    ),
}


@pytest.mark.parametrize("promise", NO_PAUSE)
def test_the_writes_do_not_wait_where(promise: str) -> None:
    """The word of one Sentinel pauses, and this is what that word has to be."""
    assert NO_PAUSE[promise].order is None


@pytest.mark.parametrize("version", [(6, 2), (6, 2, 5), (7, 0), (9, 1, 2)])
def test_redis_has_a_pause_of_writes_since_6_2(version: tuple[int, ...]) -> None:
    """Every later one, too."""
    assert SELECTION.but(node=replace(OLD, version=version)).done == PAUSE


def test_the_writes_wait_again_long_after_everything_did() -> None:
    """That it once came back empty is no reason for ever, and that it came back with its data is none."""
    before = replace(SELECTION, fence=Fenced(returned="a", returned_at=NOW - SELECTED - 0.01))
    assert before.but(node=replace(OLD, empty=True)).done == PAUSE
    assert replace(SELECTION, fence=Fenced(returned="a", returned_at=NOW - SELECTED)).done == PAUSE


# Follow, at the proof


def test_it_follows_who_says_master_with_the_run_id_that_was_selected() -> None:
    """The leader, asked in the same moment, stands by it, and the new claim is there: its clients find the new master."""
    assert PROVED.done == FOLLOW_B
    assert PROVED.order
    assert PROVED.order.sentence == (
        "10.0.0.2:6379 says that it is the master, and s1:26379, elected at epoch 6, has selected it"
    )
    assert (PROVED.after.followed, PROVED.after.proved) == (NOW, "")


def test_it_follows_whom_a_majority_names() -> None:
    """A master that was away is turned at its first answer, at the address that Sentinel uses."""
    assert RETURNED.done == FOLLOW_B
    assert RETURNED.decision.verdict is Verdict.NONE


def test_a_claim_is_waited_for_a_fifth_of_a_second() -> None:
    """Then it follows without one: Consul may be away, and each write that the node takes is lost."""
    waits = Story(failover(peer=saying_master()), PAUSED)
    assert (waits.order, waits.decision.until) == (None, NOW + TOLD)
    assert waits.at(TOLD - 0.01).order is None
    assert waits.at(TOLD).done == FOLLOW_B
    assert waits.at(0.01, **CLAIMED).done == FOLLOW_B


@pytest.mark.parametrize(
    "shown",
    [
        entry("b"),
        entry("b", early(name="b"), passing=False),
        entry("b", early(name="b"), node_alive=False),
        entry("c", early(name="c")),
        entry("b", Claim(6, 0, "b0")),
    ],
    ids=["a replica's", "critical", "its host is down", "another node's", "an earlier life's"],
)
def test_a_claim_that_is_waited_for_is_live_and_the_new_masters_own(shown: Any) -> None:
    """Any other entry sends nobody to the new master."""
    assert PROVED.but(**told(shown)).order is None


NO_FOLLOW: Mapping[str, Story] = {
    "that node does not answer": PROVED.but(peer=saying_master(role=None)),
    "that node says replica": PROVED.but(peer=saying_master(role=Role.REPLICA, follows=A)),
    "that node said so too long ago": PROVED.but(peer=saying_master(at=NOW - YOUNG - 0.01)),
    "it is another life of that node": PROVED.but(peer=saying_master(run_id="b2")),
    "it does not say which life it is": PROVED.but(peer=saying_master(run_id="")),
    "it is another node": PROVED.but(peer=saying_master("c", run_id="b")),
    "nobody was asked": PROVED.but(peer=None),
    "the leader was asked before that": PROVED.but(sentinels=(leading(at=NOW - MOMENT - 0.01), *OTHERS)),
    "the leader has given up": PROVED.but(sentinels=(leading(selection=None, promoting=None), *OTHERS)),
    "the leader has fallen": PROVED.but(sentinels=(leading(error="refused", gone=True, master=None), *OTHERS)),
    "the leader is in TILT": PROVED.but(sentinels=(leading(tilt=True), *OTHERS)),
    "the leader does not know where that node is": PROVED.but(sentinels=(leading(run_ids={A: "a", C: "c"}), *OTHERS)),
    "the leader has selected it at the epoch of its own claim": (
        Story(
            failover(
                leading(epoch=5),
                *OTHERS,
                peer=saying_master(),
            ),
            PAUSED,
        )
    ),
    "its claim is not there yet": Story(failover(peer=saying_master()), PAUSED),
    "it is a replica already": PROVED.but(node=replica()),
    "it is loading": PROVED.but(node=replace(OLD, loading=True)),
    "it does not answer": PROVED.but(node=SILENT),
    "it has been told a moment ago": replace(PROVED, fence=replace(PAUSED, followed=NOW - AGAIN + 0.01)),
    "an entry in Consul alone says so": (
        Story(facts(OLD, sentinels("a", "a", "a"), holds("a", 5), holds("b", 9), peer=saying_master()))
    ),
    "an entry in Consul says so and no Sentinel is heard": (
        Story(facts(OLD, sentinels("", "", ""), holds("b", 9), peer=saying_master()))
    ),
    "one Sentinel of three names another node": (
        Story(facts(OLD, sentinels("b", "", "", epoch=9), holds("b", 9), peer=saying_master()))
    ),
    "a majority names another node that does not answer": RETURNED.but(peer=saying_master(role=None)),
    "a majority names another node that says replica": RETURNED.but(peer=following(run_id="b")),
    "a majority names another life of that node": RETURNED.but(peer=saying_master(run_id="b2")),
    "a majority names a node whose run id few know": (
        RETURNED.but(sentinels=(NAMED[0], *(replace(s, run_ids={A: "a", B: "", C: "c"}) for s in NAMED[1:])))
    ),
    "a majority gives the address of another node its own run id": (
        RETURNED.but(
            sentinels=tuple(replace(s, run_ids={A: "", B: "a", C: "c"}) for s in NAMED), peer=saying_master(run_id="a")
        )
    ),
    "a majority in TILT names another node": RETURNED.but(sentinels=tuple(replace(s, tilt=True) for s in NAMED)),
    "it was promoted since an older majority spoke": (
        RETURNED.but(node=replace(OLD, turned=NOW - UNTURNED, master_since=NOW - UNTURNED))
    ),
}


@pytest.mark.parametrize("promise", NO_FOLLOW)
def test_it_follows_nobody_where(promise: str) -> None:
    """Silence, an entry in Consul, a number, or the word of one Sentinel alone proves nothing."""
    assert NO_FOLLOW[promise].order is None


def test_a_node_that_has_long_been_a_master_without_authority_is_turned() -> None:
    """Once no promotion can be the reason that the majority does not name it."""
    long = NOW - UNTURNED - 0.01
    assert RETURNED.but(node=replace(OLD, turned=long, master_since=long)).done == FOLLOW_B


def test_it_is_told_again_while_it_says_master_with_a_proof_of_then() -> None:
    """The order may have failed; half a second later what was said before is old."""
    once = PROVED.at(0.0)
    assert (once.order, once.decision.until) == (None, NOW + AGAIN)
    later = NOW + AGAIN + 0.01
    assert once.but(now=later).order is None, "an old proof"
    asked = {"now": later, "peer": saying_master(at=later)}
    assert once.but(**asked).order is None, "the leader was not asked again"
    assert once.but(**asked, sentinels=(leading(at=later), *OTHERS)).done == FOLLOW_B


def test_a_proof_does_not_outlive_half_a_second() -> None:
    """What was proved of a moment ago is proved anew before it is acted on."""
    proved = replace(PAUSED, proved="b", proved_at=NOW - AGAIN - 0.01)
    unsure = PROVED.but(sentinels=(leading(at=NOW - MOMENT - 0.01), *OTHERS))
    assert replace(unsure, fence=proved).order is None
    assert replace(unsure, fence=replace(proved, proved_at=NOW - AGAIN)).done == FOLLOW_B
    assert replace(unsure, fence=replace(proved, proved_at=NOW, proved="c")).order is None


def test_the_newest_selection_counts() -> None:
    """Two Sentinels lead, one after the other: the later epoch is the failover of now."""
    heard = (leading(), replace(leading("c", 7), id="s2", address=AT["s2"]), sentinel("s3"))
    assert Story(failover(*heard, peer=saying_master("c"), **told(holds("c", 7))), PAUSED).done == (Do.FOLLOW, C)
    assert Story(failover(*heard, peer=saying_master(), **CLAIMED), Fenced(paused=("s2", 7))).order is None


AUTHORITY: Mapping[str, Story] = {
    "selected": Story(
        facts(
            promoted(version=VERSION, master_since=NOW - 0.005),
            (replace(leading("a"), master=B), *sentinels("b", "b", "b")[1:]),
            holds("b", 5),
            peer=saying_master(),
        )
    ),
    "selected, and the leader is still to be asked": Story(
        facts(
            promoted(version=VERSION, turned=NOW, master_since=NOW),
            (replace(leading("a"), master=B, at=NOW - 0.01), *sentinels("b", "b", "b")[1:]),
            holds("b", 5),
            peer=saying_master(),
        )
    ),
    "named": Story(facts(OLD, sentinels("a", "a", "b"), holds("a", 5), peer=saying_master())),
    "named, and held for down": Story(
        facts(OLD, tuple(replace(s, down=True) for s in sentinels("a", "a", "a")), holds("a", 5), peer=saying_master())
    ),
    "handed over": Story(
        facts(replace(OLD, master_since=NOW - 60), sentinels("b", "b", "b"), holds("b", 5), peer=following(run_id="b"))
    ),
}


@pytest.mark.parametrize("backing", AUTHORITY)
def test_a_master_with_authority_is_neither_paused_nor_turned(backing: str) -> None:
    """Whatever another node says of itself: only a newer epoch takes it its authority."""
    assert AUTHORITY[backing].order is None


@pytest.mark.parametrize("backing", AUTHORITY)
def test_a_newer_selection_takes_any_master_its_authority(backing: str) -> None:
    """The next failover is as good as the last one."""
    story = AUTHORITY[backing]
    heard = list(story.known.sentinels)
    heard[1] = replace(heard[1], selection=Selection(7, "c", NOW), promoting="c", promoting_since=NOW)
    turned = replace(story, fence=Fenced(paused=("s2", 7))).but(
        sentinels=tuple(heard), peer=saying_master("c"), **told(holds("c", 7))
    )
    assert turned.done == (Do.FOLLOW, C)


# A master that comes back without its data


EMPTY = replace(OLD, run_id="a2", empty=True)
HAS_DATA = Peer(NOW, B, Role.REPLICA, A, run_id="b", empty=False)


def watching(*names: str, **changes: Any) -> tuple[Sentinel, ...]:
    """Sentinels with all that on_death and on_empty ask of them."""
    told_of: dict[str, Any] = {
        "down_after": 30.0,
        "failover_timeout": 60.0,
        "reaches": 2,
        "usable": frozenset({B}),
    } | changes
    return tuple(replace(s, **told_of) for s in sentinels(*names or ("a", "a", "a")))


CAME_BACK = Story(facts(EMPTY, watching(), holds("a", 5), entry("b")), policy=ASKING)
HOLLOW_NOW = replace(CAME_BACK, fence=Fenced(returned="a2", returned_at=NOW)).but(peer=HAS_DATA, now=NOW + 0.01)
"""The replica has just said that it has some."""


def test_a_master_that_came_back_empty_lets_everything_wait_and_is_not_published() -> None:
    """Its replicas would copy the emptiness; one of them is asked."""
    decision, after = CAME_BACK.decided()
    assert CAME_BACK.done == HOLD
    assert (decision.ask, decision.closely, decision.until) == (B, Closely.PEER, NOW + HOLLOW)
    assert outcome(decision) == (Verdict.NONE, Reason.EMPTY)
    assert (after.fence.returned, after.fence.returned_at) == ("a2", NOW)


def test_everything_waits_once() -> None:
    """Each order of a life that began empty is given once."""
    assert CAME_BACK.at(0.01).order is None


def test_it_is_replaced_as_soon_as_a_replica_says_that_it_has_data() -> None:
    """One Sentinel is asked, once."""
    assert HOLLOW_NOW.order
    assert (HOLLOW_NOW.order.do, HOLLOW_NOW.order.to) == (Do.FAIL_OVER, AT["s3"])
    assert "came back without its data, and 10.0.0.2:6379 has some" in HOLLOW_NOW.order.sentence
    assert HOLLOW_NOW.after.asked == NOW + 0.01
    assert HOLLOW_NOW.at(0.01).order is None


def test_the_replicas_are_asked_by_turns() -> None:
    """The first may have copied the emptiness, or not answer."""
    story = HOLLOW_NOW.but(catalog=CAME_BACK.known.catalog, peer=replace(HAS_DATA, empty=True))
    assert story.decision.ask == C
    assert story.but(peer=replace(HAS_DATA, address=C, role=None, empty=None)).decision.ask == B


def test_it_follows_whoever_is_promoted() -> None:
    """The node that came back has no authority over the new one."""
    led = (*watching()[1:], replace(leading(), usable=frozenset({B})))
    story = HOLLOW_NOW.but(sentinels=led, peer=saying_master(at=NOW + 0.01), **CLAIMED)
    assert replace(story, fence=replace(HOLLOW_NOW.after, proved="b", proved_at=NOW)).done == FOLLOW_B


NOT_HOLLOW: Mapping[str, Story] = {
    "it has data": CAME_BACK.but(node=replace(EMPTY, empty=False)),
    "nobody asked whether it has": CAME_BACK.but(node=replace(EMPTY, empty=None)),
    "it was emptied, not restarted": (
        replace(CAME_BACK, remembered={"node": replace(OLD, at=NOW - 1)}).but(node=replace(OLD, empty=True))
    ),
    "it is loading": CAME_BACK.but(node=replace(EMPTY, loading=True)),
    "it is a replica": CAME_BACK.but(node=replica(run_id="a2", empty=True)),
    "no majority names it": CAME_BACK.but(sentinels=watching("b", "b", "b")),
    "its claim is not the group's newest": (
        CAME_BACK.but(**told()).but(catalog=facts(None, (), holds("a", 5), holds("b", 6, passing=False)).catalog)
    ),
    "its claim never passed": (
        CAME_BACK.but(catalog=facts(None, (), holds("a", 5, passing=False, pending=True), entry("b")).catalog)
    ),
    "the configuration does not want it": replace(CAME_BACK, policy=replace(ASKING, on_empty=False)),
}


def is_taken_for_empty(story: Story) -> bool:
    """Whether the node is kept from being published, or its three seconds have begun."""
    node = story.known.node
    begun = isinstance(node, Node) and node.empty and story.after.returned
    return bool(begun) or story.decision.reason is Reason.EMPTY


@pytest.mark.parametrize("promise", NOT_HOLLOW)
def test_it_has_not_come_back_empty_where(promise: str) -> None:
    """Then nothing waits, and it is not kept from being published."""
    story = NOT_HOLLOW[promise]
    assert story.order is None
    assert not is_taken_for_empty(story)


NOT_REPLACED: Mapping[str, Story] = {
    "the replica has none either": HOLLOW_NOW.but(peer=replace(HAS_DATA, empty=True)),
    "the replica does not say whether it has": HOLLOW_NOW.but(peer=replace(HAS_DATA, empty=None)),
    "the replica said so before": HOLLOW_NOW.but(peer=replace(HAS_DATA, at=NOW - 0.01)),
    "who says so is no published replica": HOLLOW_NOW.but(peer=replace(HAS_DATA, address=Address("9.9.9.9", 1))),
    "it is too long ago": HOLLOW_NOW.but(now=NOW + HOLLOW + 0.01),
    "a Sentinel was asked already": replace(HOLLOW_NOW, fence=replace(HOLLOW_NOW.fence, asked=NOW)),
    "the configuration does not want it": replace(HOLLOW_NOW, policy=replace(ASKING, on_empty=False)),
    "no Sentinel lists a replica that is published": (
        HOLLOW_NOW.but(sentinels=watching(usable=frozenset({Address("9.9.9.9", 1)})))
    ),
    "a Sentinel shows a failover": HOLLOW_NOW.but(sentinels=(*watching()[1:], replace(watching()[0], promoting=""))),
    "down-after is short": HOLLOW_NOW.but(sentinels=watching(down_after=4.9)),
    "all Sentinels are on its own host": (
        HOLLOW_NOW.but(sentinels=tuple(replace(s, address=Address("10.0.0.1", 26379)) for s in watching()))
    ),
}


@pytest.mark.parametrize("promise", NOT_REPLACED)
def test_one_that_came_back_empty_is_not_replaced_where(promise: str) -> None:
    """A group that is meant to be empty is left alone, and nobody is asked who could do harm."""
    assert NOT_REPLACED[promise].order is None


def test_one_that_came_back_with_an_old_dump_is_published_and_what_it_lacks_is_remembered() -> None:
    """A replica that has its history, asked since, tells how many bytes are missing; nobody is asked for a failover."""
    node = replace(EMPTY, empty=False, former_id="h", offset=70)
    story = HOLLOW_NOW.but(node=node, peer=replace(HAS_DATA, replication_id="h", offset=100))
    assert (story.order, story.after.behind) == (None, 30)
    assert outcome(story.decision) == (Verdict.MASTER, Reason.NAMED)
    for peer in ({"replication_id": "x"}, {"replication_id": "h", "at": NOW - 1}, {"offset": 60}):
        known: dict[str, Any] = {"replication_id": "h", "offset": 100} | peer
        assert story.but(peer=replace(HAS_DATA, **known)).after.behind == 0
    assert CAME_BACK.but(node=node).decision.ask == B, "a replica is asked"


def test_it_is_published_where_a_replica_says_that_there_are_no_data() -> None:
    """A group that was meant to be empty does not wait."""
    story = HOLLOW_NOW.but(peer=replace(HAS_DATA, empty=True))
    assert outcome(story.decision) == (Verdict.MASTER, Reason.NAMED)


@pytest.mark.parametrize(
    "peer",
    [
        HAS_DATA,
        replace(HAS_DATA, empty=True, at=NOW - 0.01),
        replace(HAS_DATA, empty=True, role=Role.MASTER),
        replace(HAS_DATA, empty=None, role=None),
        None,
    ],
    ids=["it has", "it said so before", "it is no replica", "it does not answer", "nobody was asked"],
)
def test_until_then_it_is_published_after_three_seconds_only(peer: Peer | None) -> None:
    """If nobody can be promoted, an empty master is better than none."""
    story = HOLLOW_NOW.but(peer=peer)
    assert outcome(story.decision) == (Verdict.NONE, Reason.EMPTY)
    assert story.but(now=NOW + HOLLOW + 0.01).decision.verdict is Verdict.MASTER


def test_each_life_is_looked_at_by_itself() -> None:
    """The next one that begins empty is held again."""
    before = replace(CAME_BACK, fence=Fenced(returned="a2", returned_at=NOW - 60))
    assert before.order is None
    assert before.but(node=replace(EMPTY, run_id="a3")).done == HOLD


# A master whose process is gone


LOST_AT = NOW - 1.0
LOST = Fenced(lost=Claim(5, 0, "a"), lost_at=LOST_AT)
ALIVE = replace(OLD, at=LOST_AT - 0.2, master_since=NOW - 900)
"""How it was seen last."""


def dead(node: Silence = REFUSED, *, remembered: Any = ALIVE, **changes: Any) -> Story:
    """The process of the master has been gone for ``delay``, and each Sentinel has lost its connection."""
    heard = watching(**{"disconnected": True, "switched": NOW - 900} | changes)
    known = facts(node, heard, holds("a", 5, passing=False), entry("b"))
    return Story(known, LOST, ASKING, {"node": remembered})


DEAD = dead()


def test_a_dead_master_is_replaced_at_once() -> None:
    """One Sentinel is asked, with all that was seen as the reason."""
    assert DEAD.done == (Do.FAIL_OVER, AT["s3"])
    assert DEAD.order
    assert DEAD.order.sentence == (
        "the master's process has been gone for 1 s, 0.2 s after it answered, and 3 Sentinels have lost their connection too"
    )
    assert DEAD.after.asked == NOW


def test_one_that_is_gone_is_remembered_with_its_claim_from_the_first_look_on() -> None:
    """Its claim is withdrawn at once, so that nobody could tell later that it was the published master."""
    first = Story(facts(REFUSED, watching(), holds("a", 5), entry("b")), UNFENCED, ASKING, {"node": ALIVE})
    assert first.order is None
    assert (first.after.lost, first.after.lost_at) == (Claim(5, 0, "a"), NOW)
    assert outcome(first.decision) == (Verdict.NONE, Reason.SILENT)
    later = first.at(0.5, node=replace(REFUSED, at=NOW + 0.5), **told(entry("b")))
    assert (later.after.lost, later.after.lost_at) == (Claim(5, 0, "a"), NOW)
    written_late = Story(
        facts(REFUSED, watching(), entry("b")), UNFENCED, ASKING, {"node": ALIVE, "held": Claim(5, 0, "a")}
    )
    assert written_late.after.lost == Claim(5, 0, "a")


@pytest.mark.parametrize("back", [replace(OLD, run_id="a2", loading=True), OLD, SILENT, None])
def test_one_that_is_back_was_not_gone(back: Any) -> None:
    """A restart that should move nothing; the next loss counts from its own beginning."""
    story = DEAD.but(node=back)
    if back is None:
        assert story.done is None
    else:
        assert story.after.lost_at == inf
        assert story.done is None


def with_sentinel(number: int, **changes: Any) -> Story:
    """The dead master, as one Sentinel sees it otherwise."""
    heard = list(DEAD.known.sentinels)
    heard[number] = replace(heard[number], **changes)
    return DEAD.but(sentinels=tuple(heard))


def each(**changes: Any) -> Story:
    """The same where all of them do."""
    return DEAD.but(sentinels=tuple(replace(s, **changes) for s in DEAD.known.sentinels))


def shown(*entries: Any) -> Story:
    """The dead master, where Consul shows this."""
    return DEAD.but(**told(*entries))


NOT_DEAD: Mapping[str, Story] = {
    "its published address does not refuse": DEAD.but(node=replace(REFUSED, refused=False)),
    "it was no published master": replace(DEAD, fence=replace(LOST, lost=None)),
    "it was gone for less than the delay": replace(DEAD, fence=replace(LOST, lost_at=LOST_AT + 0.01)),
    "this process has not seen it alive": replace(DEAD, remembered={"node": None}),
    "it was seen alive longer ago than half of down-after": dead(remembered=replace(ALIVE, at=NOW - 15.0)),
    "one Sentinel's down-after makes that long ago": (
        replace(with_sentinel(0, down_after=5.0), remembered={"node": replace(ALIVE, at=NOW - 2.5)})
    ),
    "no majority of the Sentinels has lost its connection": (
        DEAD.but(sentinels=(DEAD.known.sentinels[0], *watching()[1:]))
    ),
    "the Sentinels that have are not the group's majority": (
        replace(
            DEAD,
            known=replace(
                DEAD.known,
                sentinels=(
                    *DEAD.known.sentinels[:2],
                    *(sentinel(f"s{i}", error="no answer", master=None) for i in (3, 4, 5)),
                ),
            ),
        )
    ),
    "they were asked before it was gone": each(at=LOST_AT - 0.01),
    "most of them were asked before it was gone": (
        DEAD.but(
            sentinels=(*(replace(s, at=LOST_AT - 0.01) for s in DEAD.known.sentinels[:2]), DEAD.known.sentinels[2])
        )
    ),
    "they do not name it": each(master=C),
    "they are in TILT": each(tilt=True),
    "a newer claim is live": shown(holds("b", 6)),
    "a Sentinel was asked since": replace(each(failover_timeout=0.5), fence=replace(LOST, asked=LOST_AT)),
    "a Sentinel was asked within failover-timeout": replace(DEAD, fence=replace(LOST, asked=NOW - 59)),
    "it became the master within failover-timeout": (
        dead(remembered=replace(ALIVE, turned=NOW - 59, master_since=NOW - 59))
    ),
    "it may have become the master within failover-timeout": (
        replace(each(switched=NOW - 59), remembered={"node": replace(ALIVE, master_since=NOW - 59)})
    ),
    "it may have come to that before it was restarted": (
        replace(each(switched=NOW - 59), remembered={"node": replace(ALIVE, master_since=-inf)})
    ),
    "a Sentinel shows a failover": with_sentinel(0, promoting=""),
    "a Sentinel that is lost otherwise shows a failover": with_sentinel(2, promoting="b", tilt=True),
    "down-after is short": each(down_after=4.9),
    "one Sentinel has a short down-after": with_sentinel(0, down_after=4.9),
    "down-after is not told": each(down_after=0.0),
    "all Sentinels are on its host": each(address=Address("10.0.0.1", 26379)),
    "it is known where no Sentinel is": each(address=Address("127.0.0.1", 26379)),
    "the Sentinels reach too few others": each(reaches=0),
    "no Sentinel could promote a replica": each(usable=frozenset()),
    "what it could promote is not published": each(usable=frozenset({C, Address("9.9.9.9", 1)})).but(
        **told(entry("b"))
    ),
    "the replica's host is down": shown(entry("b", node_alive=False)),
    "the replica is in maintenance": shown(entry("b", maintenance=True)),
    "the replica does not pass": shown(entry("b", passing=False)),
    "the replica is another group's": shown(entry("b", group="x-1")),
    "the replica's entry is foreign": shown(entry("b", marked=False)),
    "the configuration does not want it": replace(DEAD, policy=replace(ASKING, on_death=False)),
}


@pytest.mark.parametrize("promise", NOT_DEAD)
def test_a_dead_master_is_not_replaced_where(promise: str) -> None:
    """It is left to Sentinel then, as without this."""
    assert NOT_DEAD[promise].order is None


WELL: Table = {
    "one of three Sentinels has not lost its connection": (
        with_sentinel(0, disconnected=False),
        (Do.FAIL_OVER, AT["s3"]),
    ),
    "one of three Sentinels is out of reach": (
        with_sentinel(2, error="no answer", master=None),
        (Do.FAIL_OVER, AT["s2"]),
    ),
    "one Sentinel is on its host": (with_sentinel(2, address=Address("10.0.0.1", 26379)), (Do.FAIL_OVER, AT["s2"])),
    "one Sentinel reaches fewer": (with_sentinel(2, reaches=1), (Do.FAIL_OVER, AT["s2"])),
    "another claim of the group is older": (shown(entry("b"), holds("c", 4)), (Do.FAIL_OVER, AT["s3"])),
    "a newer claim has left": (shown(entry("b"), holds("c", 6, passing=False)), (Do.FAIL_OVER, AT["s3"])),
    "the replica is published under its own name": (
        shown().but(elsewhere=(replace(entry("b"), name="redis-replica"),)),
        (Do.FAIL_OVER, AT["s3"]),
    ),
    "the group has never failed over": (
        replace(
            DEAD.but(sentinels=tuple(replace(s, epoch=0, switched=NOW) for s in DEAD.known.sentinels)),
            remembered={"node": replace(ALIVE, master_since=-inf)},
        ),
        (Do.FAIL_OVER, AT["s3"]),
    ),
    "most Sentinels know it for long": (
        replace(with_sentinel(0, switched=NOW - 1), remembered={"node": replace(ALIVE, master_since=-inf)}),
        (Do.FAIL_OVER, AT["s3"]),
    ),
    "a Sentinel was asked before failover-timeout": (
        replace(DEAD, fence=replace(LOST, asked=NOW - 60.01)),
        (Do.FAIL_OVER, AT["s3"]),
    ),
    "it had come back a moment before": (
        replace(DEAD, fence=replace(LOST, returned="a", returned_at=LOST_AT - 0.5)),
        (Do.FAIL_OVER, AT["s3"]),
    ),
    "there is no delay": (
        replace(DEAD, fence=replace(LOST, lost_at=NOW), policy=replace(ASKING, delay=0.0)),
        (Do.FAIL_OVER, AT["s3"]),
    ),
}


@pytest.mark.parametrize("promise", WELL)
def test_a_dead_master_is_replaced_where(promise: str) -> None:
    """One that does not matter stops nothing, and the best connected one on another host is asked."""
    story, expected = WELL[promise]
    assert story.done == expected


def test_the_sentinels_are_asked_closely_around_the_end_of_the_delay() -> None:
    """And the decision is made anew when it is over."""
    waits = replace(DEAD, fence=replace(LOST, lost_at=NOW - 0.95)).but(sentinels=watching(switched=NOW - 900))
    due = NOW + 0.05
    assert (waits.decision.closely, waits.decision.until) == (Closely.SENTINELS, due)
    assert waits.but(now=due - SOON - 0.01).decision.closely is Closely.NOBODY
    assert waits.but(now=due + ATTENTION).decision.closely is Closely.SENTINELS
    assert waits.but(now=due + ATTENTION + 0.01).decision.closely is Closely.NOBODY


# A promoted node of which the others have not heard


SPENT = early(since=NOW - 1.0)
LEADER_GONE = replace(sentinels("")[0], gone=True, error="refused", address=AT["s1"])


def unheard(*, entries: tuple[Any, ...] = (), **changes: Any) -> Story:
    """K16: ``a`` was promoted by s1, which went with the old master's host; the others have lost that, too."""
    seen_by = {"disconnected": True, "usable": frozenset({A, B})} | changes
    heard = (LEADER_GONE, *watching("c", "c", "c", **seen_by)[1:])
    shown_there = (entry("a", SPENT), holds("c", 5, passing=False), *entries)
    known = facts(promoted(version=VERSION, turned=NOW - 1, master_since=NOW - 1), heard, *shown_there)
    return Story(known, UNFENCED, ASKING, {"held": SPENT})


UNHEARD = unheard()


def test_a_promoted_node_whose_leader_is_lost_has_the_others_hear_of_it() -> None:
    """K16: its early claim falls, and another Sentinel is asked, which may promote the same node."""
    assert UNHEARD.done == (Do.FAIL_OVER, AT["s3"])
    assert UNHEARD.order
    assert "the leader that promoted this node is lost" in UNHEARD.order.sentence
    assert outcome(UNHEARD.decision) == (Verdict.NONE, Reason.EARLY_OVER)
    assert UNHEARD.after.asked == NOW


def test_the_others_are_asked_whether_they_have_lost_the_old_master_too() -> None:
    """A host that vanishes closes nothing: it shows only after a while, and the own claim is remembered until then."""
    waits = unheard(disconnected=False)
    assert waits.order is None
    assert (waits.decision.ask, waits.decision.closely) == (C, Closely.SENTINELS)
    assert waits.after.early == SPENT.early
    later = replace(waits, remembered={}, fence=waits.after).but(
        **told(entry("a", SPENT, passing=False)),
        sentinels=(LEADER_GONE, *watching("c", "c", "c", disconnected=True, usable=frozenset({A}))[1:]),
    )
    assert later.done == (Do.FAIL_OVER, AT["s3"])


def test_an_old_master_that_follows_the_promoted_one_is_reason_enough() -> None:
    """K17 with the fence on: rule 8 keeps it published, and the others hear of it from a Sentinel that is asked."""
    story = unheard(disconnected=False).but(peer=following("c"))
    assert outcome(story.decision) == (Verdict.MASTER, Reason.HANDED_OVER)
    assert story.done == (Do.FAIL_OVER, AT["s3"])


def test_the_old_masters_word_is_at_hand_before_the_leader_is_lost() -> None:
    """It tells at once whether that one follows."""
    story = UNHEARD.but(
        sentinels=(replace(leading("a"), master=C, run_ids={A: "a", B: "b", C: "c"}), *UNHEARD.known.sentinels[1:])
    )
    assert outcome(story.decision) == (Verdict.MASTER, Reason.SELECTED)
    assert (story.order, story.decision.ask) == (None, C)


BACK = replace(watching("c", disconnected=True, reaches=9, usable=frozenset({A}))[0], id="s1", address=AT["s1"])
"""The lost leader, which is back, and has given up."""
LED = replace(UNHEARD, fence=Fenced(early=SPENT.early), remembered={}).but(
    sentinels=(BACK, *UNHEARD.known.sentinels[1:]), **told(entry("a", SPENT, passing=False))
)

HEARD: Mapping[str, Story] = {
    "a majority names it by now": UNHEARD.but(sentinels=(LEADER_GONE, *watching()[1:])),
    "a Sentinel was asked already": replace(UNHEARD, fence=Fenced(asked=NOW - 1.0)),
    "it is too long ago": (
        replace(UNHEARD, remembered={"held": early(since=NOW - 2 * EARLY_TERM - 0.01)}).but(**told())
    ),
    "it had no early claim": replace(UNHEARD, remembered={}).but(**told(holds("c", 5, passing=False))),
    "the others still hear the old master": unheard(disconnected=False),
    "one of the others still hears it": (
        UNHEARD.but(
            sentinels=(
                LEADER_GONE,
                UNHEARD.known.sentinels[1],
                replace(UNHEARD.known.sentinels[2], disconnected=False),
            )
        )
    ),
    "it is a replica by now": UNHEARD.but(node=replica("c")),
    "it does not answer": UNHEARD.but(node=SILENT),
    "only the leader could be asked, which is back": (
        replace(LED, known=replace(LED.known, sentinels=(BACK, *unheard(usable=frozenset()).known.sentinels[1:])))
    ),
    "only with the leader, which is back, a majority has lost the old master": (
        LED.but(sentinels=(BACK, UNHEARD.known.sentinels[1], replace(UNHEARD.known.sentinels[2], disconnected=False)))
    ),
    "the others shown a failover": unheard(promoting=""),
    "the others list no node of the group": unheard(usable=frozenset({Address("9.9.9.9", 1)})),
    "the others were asked before": unheard(at=NOW - 1.01),
    "down-after is short": unheard(down_after=4.9),
    "the configuration does not want it": replace(UNHEARD, policy=replace(ASKING, on_death=False)),
}


@pytest.mark.parametrize("promise", HEARD)
def test_nobody_is_asked_to_promote_it_again_where(promise: str) -> None:
    """The leader's own failover goes on, or Sentinel does it by itself."""
    assert HEARD[promise].order is None


def test_a_promotion_that_was_never_published_asks_nobody() -> None:
    """The own early claim, not that of the node that was promoted before."""
    other = early(since=NOW - 1.0, name="b")
    assert replace(UNHEARD, remembered={"held": other}).but(**told(entry("a", other, passing=False))).order is None


def test_the_lost_leader_itself_is_not_asked() -> None:
    """Its word on the others' connections counts no more than its own did."""
    assert LED.done == (Do.FAIL_OVER, AT["s3"])


# The old master's side of K17


def test_a_master_whose_successor_lost_its_leader_is_not_turned_on_that_leaders_word() -> None:
    """K17 without a proof: nobody but the dead leader has said anything, so it stays the master."""
    gone = (replace(leading(error="refused", gone=True), master=None, selection=None, promoting=None), *OTHERS)
    story = Story(failover(*gone, peer=saying_master(), **CLAIMED), PAUSED)
    assert story.order is None


def test_a_proof_counts_though_the_leader_dies_before_the_claim_is_there() -> None:
    """K17 with a proof: the promoted node stays, since the old master follows it."""
    proved = Story(failover(peer=saying_master()), PAUSED)
    assert proved.after.proved == "b"
    gone = (replace(leading(error="refused", gone=True), master=None, selection=None, promoting=None), *OTHERS)
    assert proved.at(0.02, sentinels=gone, peer=saying_master(at=NOW + 0.02), **CLAIMED).done == FOLLOW_B


def test_a_proof_falls_with_a_failover_that_was_given_up() -> None:
    """The leader lives and promotes nobody any more; nor does it count half a second later."""
    proved = Story(failover(peer=saying_master()), PAUSED)
    up = (replace(leading(), selection=None, promoting=None), *OTHERS)
    assert proved.at(0.02, sentinels=up, peer=saying_master(at=NOW + 0.02), **CLAIMED).order is None
    gone = (replace(leading(error="refused", gone=True), master=None, selection=None, promoting=None), *OTHERS)
    late = AGAIN + 0.02
    assert proved.at(late, sentinels=gone, peer=saying_master(at=NOW + late), **CLAIMED).order is None


# Never

GIVEN: Mapping[str, Story] = {
    "pause": SELECTION,
    "follow the selected": PROVED,
    "follow the named": RETURNED,
    "hold": CAME_BACK,
    "replace the empty": HOLLOW_NOW,
    "replace the dead": DEAD,
    "have the others hear": UNHEARD,
}


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("mode", [FenceMode.OFF, FenceMode.WATCH])
def test_nothing_is_ordered_unless_the_fence_is_on(name: str, mode: FenceMode) -> None:
    """``watch``, the default, changes nothing."""
    assert GIVEN[name].order is not None
    assert replace(GIVEN[name], policy=replace(GIVEN[name].policy, fence=mode)).order is None
    assert Policy().fence is FenceMode.WATCH


@pytest.mark.parametrize("name", GIVEN)
def test_nothing_is_ordered_without_sentinel(name: str) -> None:
    """Nobody else can prove that another node is the master."""
    assert replace(GIVEN[name], policy=replace(GIVEN[name].policy, mode=SentinelMode.OFF)).order is None


@pytest.mark.parametrize("name", GIVEN)
def test_nothing_is_ordered_under_an_operators_maintenance(name: str) -> None:
    """``consul maint``, as for a restore, excludes all three."""
    story = GIVEN[name]
    assert story.known.catalog
    rest = tuple(e for e in story.known.catalog.entries if e.key != story.known.own)
    for own in (holds("a", 5, maintenance=True), entry("a", maintenance=True, passing=False)):
        assert story.but(catalog=replace(story.known.catalog, entries=(*rest, own))).order is None


@pytest.mark.parametrize("name", GIVEN)
def test_nothing_is_ordered_by_a_second_agent(name: str) -> None:
    """The one that looks after the node does it."""
    story = GIVEN[name]
    if not isinstance(story.known.node, Silence):
        assert story.but(other_agent="another").order is None


def test_nothing_is_ordered_before_the_first_look() -> None:
    """Also where the entry of an earlier run tells of its last life."""
    assert replace(DEAD, remembered={"node": None}).but(node=None).order is None


def test_a_node_that_is_away_is_looked_at_closely_while_somebody_may_have_replaced_it() -> None:
    """A master that returns takes writes from its first answer on."""
    away = Story(facts(REFUSED, NAMED, holds("b", 6)))
    assert away.decision.closely is Closely.NODE
    assert away.but(node=replace(OLD, loading=True)).decision.closely is Closely.NODE
    assert away.but(sentinels=sentinels("", "", "")).decision.closely is Closely.NODE, "its claim is enough"
    assert Story(facts(REFUSED, sentinels("a", "a", "a"), holds("a", 5))).decision.closely is Closely.NOBODY
    assert away.but(node=replica()).decision.closely is Closely.NOBODY


# Each condition is held by one of the stories above

NEVER = (NO_PAUSE, NO_FOLLOW, AUTHORITY, NOT_HOLLOW, NOT_REPLACED, NOT_DEAD, HEARD)
HOLDS = (
    "s.selection.run_id != mine",
    "s.selection.epoch > self.own_epoch",
    "self.view.names_me(by)",
    "self.now - selection.at <= SELECTED",
    "node.role is Role.MASTER@ and not node.loading else None",
    "not node.loading@ else None",
    "known.count(r) >= view.need",
    "peer.address == to.address",
    "peer.role is Role.MASTER@\n            and peer.run_id",
    "peer.run_id == to.run_id",
    "self.now - peer.at <= YOUNG",
    "peer.at >= fence.returned_at@ and peer.address in places",
    "peer.address in places@ else None",
    "fence.lost is not None@\n        if not (view",
    "view.policy.on_death@ and lost",
    "s.at >= fence.lost_at@ and",
    "s.disconnected@ and view.names_me(s)",
    "view.names_me(s)@]\n        if self.now < due",
    "self.master@ and backed and early",
    "s.disconnected@ and s.id != early.leader",
    "s.id != early.leader@]\n        if len",
    "s.id != early.leader@]\n        sentinel",
    "s.at >= since",
    "not (s.address.host in here or is_loopback(s.address.host))",
    "s.reaches + 1 >= view.need",
    "not nodes.isdisjoint(s.usable)",
    "node.role is Role.MASTER@ and not node.loading and view",
    "not node.loading@ and view.is_named",
    "view.is_named",
    "_left_by_another(view)@\n    return",
    "h.claim.run_id != view.node.run_id@ and not h.entry.pending",
    "not h.entry.pending@]\n    newest",
    "all(h.claim.order < newest.order for h in view.others)",
    "entry.marked@ and entry",
    'entry.group in ("", self.view.memory.group)',
    "entry.node_alive",
    "not entry.maintenance",
    "(entry.passing or entry.says_master)",
)
FORBIDS = (
    "by.coordinated",
    "node.version < PAUSES",
    "fence.returned and node.empty and self.now - fence.returned_at <= SELECTED",
    "self._may_be_new@ else self._named",
    "to.leader and to.leader.at < says - MOMENT",
    "self.now - self.fence.followed < AGAIN",
    "not claims and self.now < proved_at + TOLD",
    "not view.policy.on_empty or not fence.returned",
    "self.now - fence.returned_at > HOLLOW@:\n            return None",
    "fence.asked >= fence.returned_at",
    "answered.empty is not False",
    "fence.asked >= fence.lost_at",
    "self._newer_claim@:",
    "self.now < due@ or",
    "long_ago@ or",
    "len(cut) < view.need@ or",
    "self._failed_over_lately@:",
    "self.fence.asked >= early.since",
    "self.now - early.since > 2 * EARLY_TERM",
    "len(cut) < view.need and self.fence.yielded < early.since",
    "not view.policy.on_death@ or backed.by",
    "not view.node.empty@ or fence",
    "any(s.promoting is not None for s in view.members)",
    "self._down_after < SHORTEST",
    "s.address.host in here",
    "is_loopback(s.address.host)",
    "self.fence.asked > began",
    "view.node.turned > began",
    "sum(s.switched <= began for s in view.fresh) < view.need",
    "not view.policy.on_empty@:\n        return fence",
)
MUTANTS = [(text, "True") for text in HOLDS] + [(text, "False") for text in FORBIDS]


def mutated(condition: str, new: str) -> ModuleType:
    """The rules of the fence with one condition taken away; what is behind @ tells it from others, and stays."""
    source, (old, _, context) = Path(fence.__file__).read_text(), condition.partition("@")
    assert source.count(old + context) == 1, f"{condition} is not found"
    module = ModuleType("mutant")
    with patch.dict(sys.modules, {"mutant": module}):
        exec(source.replace(old + context, new + context), module.__dict__)
    return module


@pytest.mark.parametrize(("condition", "instead"), MUTANTS)
def test_a_story_fails_without_this_condition(condition: str, instead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of a rule that keeps something from being ordered does so in one of the tables of "never"."""
    module = mutated(condition, instead)
    for name in ("noted", "is_hollow", "ordered"):
        monkeypatch.setattr(rules, name, getattr(module, name))
    stories = [story for table in NEVER for story in table.values()]
    assert any(story.order or (story in NOT_HOLLOW.values() and is_taken_for_empty(story)) for story in stories)
