"""Who is a Sentinel of the group, where, and who gets the password: stories of what is heard and listed over time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.decide.facts import Address, Facts, Node, Role, Sentinel
from consul_redis_agent.decide.members import (
    CONFIGURED_SILENT,
    LIMIT,
    LISTED_FOR,
    counted,
    spoken,
    wants_hellos,
)
from consul_redis_agent.decide.memory import NOTHING, Memory
from consul_redis_agent.decide.remember import remember
from consul_redis_agent.decide.sentinels import majority

ALL = ("a", "b", "c")


def where(id_: str) -> Address:
    """The address of a Sentinel."""
    return Address(f"{id_}.example", 26379)


def says(id_: str, *lists: str, at: str = "", **changes: Any) -> Sentinel:
    """A Sentinel that answers, and lists these others."""
    fact = Sentinel(0.0, id_, where(at or id_), master=where("redis"), peers={p: where(p) for p in lists if p != id_})
    return replace(fact, **changes)


def silent(id_: str) -> Sentinel:
    """One that does not answer."""
    return says(id_, error="no answer")


class Story:
    """One group over time."""

    def __init__(self, *configured: str, memory: Memory = NOTHING) -> None:
        self.memory, self.now, self.configured = memory, 0.0, frozenset(map(where, configured))
        self.facts = Facts(self.now)

    def see(self, *sentinels: Sentinel, after: float = 0.1, heard: tuple[str, ...] = (), **changes: Any) -> set[str]:
        """Some seconds later these are seen; returns who counts."""
        self.now += after
        self.facts = Facts(
            self.now,
            sentinels=sentinels,
            configured=self.configured,
            heard=tuple(map(where, heard)),
            master_name="mymaster",
            **changes,
        )
        self.memory = replace(self.memory, **counted(self.facts, self.memory, sentinels))
        return set(self.memory.known)

    def stay(self, *sentinels: Sentinel) -> set[str]:
        """The same, for longer than it takes to be believed."""
        self.see(*sentinels)
        return self.see(*sentinels, after=LISTED_FOR + 0.1)

    @property
    def spoken(self) -> dict[str, bool]:
        """Whom to speak to, by the first part of the address, and whether with the password."""
        return {address.host.split(".")[0]: login for address, login in spoken(self.facts, self.memory).items()}


def trio(*ids: str) -> tuple[Sentinel, ...]:
    """Sentinels that answer and list each other."""
    return tuple(says(id_, *ids) for id_ in ids)


def settled(*configured: str) -> Story:
    """A group of three that has long been so."""
    story = Story(*configured)
    assert story.stay(*trio(*ALL)) == {*ALL}
    return story


def test_a_sentinel_out_of_reach_is_counted() -> None:
    """The majority is one of all Sentinels, not of those that answer."""
    story = Story("a")
    assert story.see(says("a", *ALL), silent("b")) == {*ALL}
    assert story.spoken == dict.fromkeys(ALL, True)


def test_who_was_not_asked_yet_may_only_make_a_majority_larger() -> None:
    """At a start one list is enough to count its members; that of a false one is forgotten when the others have spoken."""
    story = Story(*ALL)
    ghosts = [f"ghost{i}" for i in range(9)]
    unasked = [replace(silent(i), looked=False) for i in "bc"]
    assert len(story.see(says("a", *ALL, *ghosts), *unasked, searching=True)) == 12
    assert story.see(says("a", *ALL, *ghosts), *trio(*ALL)[1:]) == {*ALL}


def test_a_sentinel_that_was_reset_cannot_make_itself_the_majority() -> None:
    """After SENTINEL RESET it lists nobody: those known before stay known."""
    story = settled("a")
    assert story.stay(says("a"), silent("b"), silent("c")) == {*ALL}
    assert story.stay(says("a"), says("b", *ALL), says("c", *ALL)) == {*ALL}


def test_one_that_was_wiped_and_is_alone_is_no_majority_of_an_agent_that_has_just_started() -> None:
    """There are as many Sentinels as are configured, whether they have ever answered or not, until the others say otherwise."""
    story = Story(*ALL)
    unreached = [replace(silent(i), id=str(where(i))) for i in "bc"]
    assert len(story.stay(says("wiped", at="a"), *unreached)) == 3
    assert story.see(says("wiped", at="a"), *trio(*ALL)[1:]) == {"wiped", "b", "c"}
    beside = Story(*ALL, "stranger")
    facts = Facts(0.1, sentinels=(*trio(*ALL), says("stranger")), configured=beside.configured)
    assert counted(facts, NOTHING, trio(*ALL))["known"] == {*ALL}, "a Sentinel of another group is waited for by nobody"
    gone = Story(*ALL)
    assert len(gone.see(*trio("a", "b"), unreached[1])) == 3
    assert gone.stay(*trio("a", "b"), unreached[1]) == {"a", "b"}, "nobody lists a third one"


def test_a_sentinel_leaves_once_those_in_reach_have_forgotten_it() -> None:
    """A Sentinel that was taken away does not count for ever; nor does one leave while anybody lists it."""
    story = settled(*ALL)
    assert story.stay(says("a", "b"), says("b", "a", "c"), silent("c")) == {*ALL}
    assert story.see(says("a", "b"), says("b", "a"), silent("c")) == {*ALL}, "for some hello periods"
    assert story.see(says("a", "b"), says("b", "a"), silent("c"), after=LISTED_FOR) == {"a", "b"}


@pytest.mark.parametrize("configured", [(), ALL])
def test_three_that_are_replaced_by_three_at_other_addresses(configured: tuple[str, ...]) -> None:
    """Six count while the old ones are listed; after RESET on the new ones, three: then two are enough to name a master."""
    story = settled(*configured)
    new = ("x", "y", "z")
    assert story.stay(*trio(*ALL, *new)) == {*ALL, *new}
    assert story.stay(*(says(i, *ALL, *new) for i in new), *map(silent, ALL)) == {*ALL, *new}, "not reset yet"
    assert story.stay(*trio(*new), *map(silent, ALL)) == {*new}
    assert majority(len(story.memory.known)) == 2
    assert {i for i, login in story.spoken.items() if login} == {*new, *configured}


def test_three_that_are_wiped_at_once() -> None:
    """New ids at the known addresses take the places of the old ones, at once."""
    story = settled(*ALL)
    wiped = [says(f"{i}2", at=i, peers={f"{j}2": where(j) for j in ALL if j != i}) for i in ALL]
    assert story.see(*wiped) == {"a2", "b2", "c2"}
    assert set(story.spoken) == {*ALL}


def test_one_after_another_is_replaced() -> None:
    """A host for a host: never more than one too many, and never fewer than there are."""
    story, ids = settled("a"), list(ALL)
    for old, new in zip(ALL, "xyz", strict=True):
        ids = [*ids, new]
        present = [i for i in ids if i != old]
        assert story.stay(*(says(i, *ids) for i in present), silent(old)) == {*ids}
        ids = present
        assert story.stay(*trio(*ids), silent(old)) == {*ids}, "RESET everywhere"


def test_an_id_that_comes_back_elsewhere_moves() -> None:
    """A container with another address: it is where most of the others say that it is now."""
    story = settled()
    moved = [replace(s, peers={**s.peers, "c": where("c-new")}) for s in trio(*ALL)[:2]]
    story.see(*moved, silent("c"))
    assert story.spoken == {"a": True, "b": True, "c-new": True}
    story.see(*moved, says("c", *ALL, at="c-new"))
    assert (set(story.memory.known), story.spoken) == ({*ALL}, {"a": True, "b": True, "c-new": True})


def test_one_that_is_reached_where_the_configuration_says_stays_there() -> None:
    """Also where the others list another address of it, as behind a port mapping."""
    story = Story(*ALL)
    listed = [replace(s, peers={p: where(f"{p}-inside") for p in s.peers}) for s in trio(*ALL)]
    assert story.stay(*listed) == {*ALL}
    assert story.spoken == dict.fromkeys(ALL, True)


@pytest.mark.parametrize("configured", [(), ALL])
def test_who_comes_later_counts_and_gets_the_password_only_when_most_others_list_it(
    configured: tuple[str, ...],
) -> None:
    """A forged hello, or the list of one Sentinel, changes nothing."""
    story = settled(*configured)
    assert story.see(says("a", *ALL, "f"), *trio(*ALL)[1:], heard=("f",)) == {*ALL}
    assert "f" not in story.spoken
    assert story.see(says("a", *ALL, "f"), says("b", *ALL, "f"), says("c", *ALL)) == {*ALL, "f"}


@pytest.mark.parametrize("configured", [(), ALL])
def test_whoever_is_heard_without_being_listed_is_not_spoken_to(configured: tuple[str, ...]) -> None:
    """As long as a Sentinel of the group answers, hellos are not needed."""
    story = settled(*configured)
    story.see(*trio(*ALL), heard=("f",))
    assert set(story.spoken) == {*ALL}
    assert not wants_hellos(story.facts, story.memory)


def test_those_who_list_only_each_other_do_not_count() -> None:
    """Three false ones beside three true ones: each is listed by two of the five others."""
    story = settled()
    assert story.stay(*trio(*ALL), *trio("x", "y", "z")) == {*ALL}


def test_without_a_configuration_those_who_say_hello_are_the_ones_to_begin_with() -> None:
    """They get the password, which is said where one is set; hellos are listened to until they answer."""
    story = Story()
    assert story.see(searching=True) == set()
    assert wants_hellos(story.facts, story.memory)
    story.see(heard=ALL, searching=True)
    assert story.spoken == dict.fromkeys(ALL, True)
    assert story.see(says("a", *ALL), says("b", *ALL), silent("c"), heard=ALL) == {*ALL}
    assert not wants_hellos(story.facts, story.memory)


def test_one_hello_with_nobody_behind_it_is_forgotten() -> None:
    """So that a group without Sentinel gets a master again."""
    story = Story()
    assert story.see(silent("f"), heard=("f",)) == set()
    assert story.spoken == {"f": True}
    story.see(silent("f"))
    assert story.spoken == {}


def test_hellos_count_without_the_password_where_the_configured_ones_are_silent_for_a_minute() -> None:
    """All containers have new addresses: those heard are asked, and counted once they list each other."""
    story = settled("a")
    story.see(*map(silent, ALL), after=CONFIGURED_SILENT)
    story.see(*map(silent, ALL), after=CONFIGURED_SILENT - 1, heard=("x", "y"))
    assert not wants_hellos(story.facts, story.memory)
    assert "x" not in story.spoken
    story.see(*map(silent, ALL), after=2, heard=("x", "y", "z"))
    assert wants_hellos(story.facts, story.memory)
    assert story.spoken == {**dict.fromkeys(ALL, True), **dict.fromkeys("xyz", False)}
    assert story.stay(*trio("x", "y", "z"), *map(silent, ALL)) == {"x", "y", "z"}


def test_a_list_of_thousands_is_bounded_and_gone_with_the_list() -> None:
    """A single Sentinel that lists them adds none; where it is the only one in reach, no more than may be."""
    ghosts = [f"ghost{i}" for i in range(1000)]
    story = settled(*ALL)
    assert story.see(says("a", *ALL, *ghosts), *trio(*ALL)[1:]) == {*ALL}
    alone = Story("a")
    assert len(alone.see(says("a", *ALL, *ghosts))) == LIMIT


def test_a_quorum_that_is_not_reached_forgets_nobody() -> None:
    """Those in reach are no fewer than the quorum that they state."""
    story = settled(*ALL)
    few = [replace(s, quorum=3) for s in (says("a", "b"), says("b", "a"))]
    assert story.stay(*few, silent("c")) == {*ALL}


@given(
    st.frozensets(st.sampled_from("abcde"), min_size=1),
    st.lists(
        st.builds(lambda i, p: says(i, *p), st.sampled_from("abcdexyz"), st.sets(st.sampled_from("abcdexyz"))),
        unique_by=lambda s: s.id,
    ),
    st.floats(0, 100),
)
def test_a_minority_never_shrinks_the_known(before: frozenset[str], heard: list[Sentinel], later: float) -> None:
    """Whatever fewer than half of the Sentinels say, for however long, all that were known stay known."""
    memory = replace(
        NOTHING, known=before, counted=True, lists={s.id: frozenset(s.peers) for s in heard}, listed_since=0.0
    )
    now = Facts(later, sentinels=tuple(heard))
    known = counted(now, memory, tuple(heard)).get("known", before)
    if 2 * len({s.id for s in heard} & before) < len(before) and not {s.id for s in heard} & known - before:
        assert before <= known


def test_those_who_part_from_the_others_are_not_taken_for_another_group_by_fewer_than_half() -> None:
    """All were reset while two named another node than the third: they list each other no more, and are one group still."""
    named_b = tuple(replace(says(i), master=where("b-node"), run_ids={where("b-node"): "b"}) for i in ("s1", "s2"))
    alone = replace(says("s3"), master=where("a-node"), run_ids={where("a-node"): "a"})
    node = Node(0.0, "a", Role.MASTER)
    memory = Memory(known=frozenset({"s1", "s2", "s3"}), counted=True)
    facts = Facts(1.0, node=node, sentinels=(*named_b, alone), me=frozenset({where("a-node")}))
    assert remember(facts, memory).known == {"s1", "s2", "s3"}
    others = replace(
        facts,
        sentinels=(*(replace(s, run_ids=alone.run_ids) for s in named_b), replace(alone, run_ids={where("x"): "x"})),
    )
    assert remember(others, memory).known == {"s1", "s2"}, "a single one may be"
