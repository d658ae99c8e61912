"""The judge himself: what is wrong is found, and what is right is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import SCALE, Seen, Witness

from .authority import Loss, Tenure
from .history import History, Span
from .history import spans as seen_spans
from .judge import FALL, SURE, D, Empty, Expectation, Promise, R, Verdict, judge
from .writes import Writes, unbroken

A, B = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)
MOVED = [Tenure(A, 0, 10, Loss.PROMOTION), Tenure(B, 10, promoted=True)]
FELL = [
    Tenure(A, 0, 10, Loss.PROMOTION),
    Tenure(B, 10, 11, Loss.LEADER, promoted=True, early=True),
    Tenure(A, 11, returned=True),
]
"""B was promoted, its leader was lost before a majority followed, and A has authority again."""
DIED = [Tenure(A, 0, 10, Loss.DEATH), Tenure(B, 12, promoted=True)]
LATE = SURE * SCALE + 0.1
HEALED = 15.0
END = HEALED + R * SCALE + 1


def verdict(
    *answers: tuple[float, tuple[Address, ...]],
    tenures: list[Tenure],
    expectation: Expectation | None = None,
    roles: dict[Address, list[tuple[float, str | None]]] | None = None,
    writes: dict[str, Writes] | None = None,
    copies: int = 0,
) -> Verdict:
    """Judge a history of DNS, each answer from its moment on, from 1 to the end, healed at 15."""
    ends = [*(at for at, _ in answers[1:]), END]
    spans = [Span(at, end, frozenset(named)) for (at, named), end in zip(answers, ends, strict=True)]
    says = roles or {A: [(0, "master")], B: [(0, "slave")]}
    history = History(spans, [], says, tenures, writes=writes or {}, copies=copies)
    return judge(history, expectation or Expectation(), since=1, until=END, healed=HEALED)


def test_a_clean_move_is_well() -> None:
    """One step, within D of the promotion; its figures are measured from the promotion."""
    found = verdict((0, (A,)), (10.01, (B,)), tenures=MOVED)
    assert found.problems == ()
    assert found.two == found.none == 0
    assert [*found.exact] == pytest.approx([0.01])
    assert [*found.gone] == pytest.approx([0.01])
    assert found.wrong == pytest.approx(0.01)


def test_a_name_that_stays_longer_than_d_is_counted() -> None:
    """A busy machine can make it so; it is shown, and fails nothing."""
    found = verdict((0, (A,)), (10 + 2 * D, (B,)), tenures=MOVED)
    assert found.over_d == 1
    assert found.problems == ()


def test_two_names_are_found() -> None:
    """S1, for as short as it may be."""
    found = verdict((0, (A,)), (10.005, (A, B)), (10.006, (B,)), tenures=MOVED)
    assert found.two == pytest.approx(0.001)
    assert [p[:2] for p in found.problems] == ["S1"]


def test_a_name_that_stays_too_long_is_found() -> None:
    """S2: much longer than D after authority was lost, unless the fault allows it."""
    answers = (0, (A,)), (10 + LATE, (B,))
    assert [p[:2] for p in verdict(*answers, tenures=MOVED).problems] == ["S2"]
    allowed = Expectation(late={Loss.PROMOTION: 1})
    assert verdict(*answers, tenures=MOVED, expectation=allowed).problems == ()


def test_a_name_without_any_authority_is_found() -> None:
    """S2, whatever the fault allows."""
    expectation = Expectation(moves=False, late=dict.fromkeys(Loss, 100.0))
    found = verdict((0, (A,)), (5, (B,)), (5.1, (A,)), tenures=[Tenure(A, 0)], expectation=expectation)
    assert found.problems[0].startswith("S2")


def test_an_old_name_that_comes_back_is_found() -> None:
    """H, even where names may stay long: never back to older authority."""
    expectation = Expectation(late=dict.fromkeys(Loss, 100.0))
    found = verdict((0, (A,)), (10.01, (B,)), (12, (A,)), (12.1, (B,)), tenures=MOVED, expectation=expectation)
    assert any("went back" in p for p in found.problems)


def test_an_early_name_may_stay_for_a_second_after_its_leader_and_no_longer() -> None:
    """And the one before it may come back: its authority is the newer one now."""
    found = verdict((0, (A,)), (10.01, (B,)), (11.4, (A,)), tenures=FELL)
    assert found.problems == ()
    assert [*found.back] == pytest.approx([0.4])
    assert found.over_d == 0
    late = verdict((0, (A,)), (10.01, (B,)), (11.1 + FALL * SCALE, (A,)), tenures=FELL)
    assert [p[:2] for p in late.problems] == ["S2"]
    stays = verdict((0, (A,)), (10.01, (B,)), tenures=FELL)
    assert {p[:2] for p in stays.problems} == {"S2", "L:"}


def test_an_early_name_that_comes_back_without_a_majority_is_found() -> None:
    """H, and it is well with one."""
    answers = (0, (A,)), (10.01, (B,)), (11.4, (A,)), (11.6, (B,))
    assert any("went back" in p for p in verdict(*answers, tenures=FELL).problems)
    followed = [*FELL[:2], Tenure(A, 11, 11.5, Loss.PROMOTION, returned=True), Tenure(B, 11.5)]
    assert verdict(*answers, tenures=followed).problems == ()


def test_nobody_may_be_named_for_a_moment_while_authority_goes_back() -> None:
    """No longer than ``R``; and where the former master is dead, until there is another one."""
    moment = (0, (A,)), (10.01, (B,)), (11.2, ()), (11.7, (A,))
    assert verdict(*moment, tenures=FELL).problems == ()
    long = (0, (A,)), (10.01, (B,)), (11.2, ()), (11.3 + R * SCALE, (A,))
    assert any("named nobody" in p for p in verdict(*long, tenures=FELL).problems)
    dead = [Tenure(A, 0, 2, Loss.DEATH), *FELL[1:2], Tenure(B, 14.5)]
    assert verdict((0, (A,)), (2.01, ()), (10.01, (B,)), (11.2, ()), (14.6, (B,)), tenures=dead).problems == ()


def test_who_has_authority_again_may_be_named_before_the_other_one_has_lost_it() -> None:
    """Silence is counted from either end."""
    overlapping = [FELL[0], FELL[1], Tenure(A, 10.5, returned=True)]
    assert verdict((0, (A,)), (10.01, (B,)), (10.6, ()), (10.7, (A,)), tenures=overlapping).problems == ()


def test_a_lost_write_needs_an_excuse() -> None:
    """A: it was acknowledged near a move, or by a node whose authority did not last. Who keeps a connection has no promise."""
    answers = (0, (A,)), (10.01, (B,)), (11.4, (A,))

    def lost(*moments: float, writer: str = "each") -> bool:
        written = {writer: Writes([*enumerate(moments)], there=())}
        found = verdict(*answers, tenures=FELL, writes=written, expectation=Expectation(excuses=True))
        return any(p.startswith("A: ") for p in found.problems)

    assert not lost(9.9, 10.5, 11.1)
    assert lost(9)
    assert lost(11.5 + FALL * SCALE)
    assert not lost(9, 14, writer="kept")
    there = {"each": Writes([(1, 9.0), (2, 14.0)], there={1, 2})}
    assert verdict(*answers, tenures=FELL, writes=there, expectation=Expectation(excuses=True)).problems == ()
    counted = {"each": Writes([(1, 9.0)], there=())}
    assert verdict(*answers, tenures=FELL, writes=counted).problems == ()


def test_what_writers_lose_is_counted() -> None:
    """How much, over how long without what is there between, and the longest time without a write."""
    writes = Writes([(1, 1.0), (2, 1.1), (3, 1.2), (4, 3.0), (5, 3.1), (6, 3.2)], there=[1, 5])
    assert (writes.lost, writes.gap) == ([1.1, 1.2, 3.0, 3.2], 1.8)
    assert writes.lost_over == pytest.approx(0.1)
    assert (Writes([], []).lost_over, Writes([], []).gap) == (0, 0)


def test_each_thread_of_a_pool_counts_for_itself() -> None:
    """One that is stuck shows, though the others write; what two lose at once is one time."""
    acknowledged = [(0, 1.0), (1, 1.1), (2, 1.2), (4, 1.3), (6, 1.4), (3, 4.5), (5, 4.6), (8, 5.0)]
    writes = Writes(acknowledged, there=[0, 1, 8], lanes=2)
    assert writes.pause == (1.4, 5.0)
    assert writes.stretches == [(1.2, 1.4), (4.5, 4.6)]
    assert writes.lost_over == pytest.approx(0.3)
    assert Writes([(2, 1.1), (4, 1.2), (1, 1.0), (3, 1.1), (5, 1.3)], there=[], lanes=2).lost_over == pytest.approx(0.3)


def test_a_writer_that_waits_loses_nothing_meanwhile() -> None:
    """Its last write before a node hung and its first one when that went on are two stretches."""
    assert Writes([(1, 1.0), (2, 1.1), (3, 9.0), (4, 9.1)], there=[]).lost_over == pytest.approx(0.2)


def test_moments_make_a_stretch_while_they_follow_each_other() -> None:
    """What is apart by more than ``APART`` is two."""
    assert unbroken([]) == []
    assert unbroken([1.0]) == [(1.0, 1.0)]
    assert unbroken([1.0, 1.05, 1.125, 2.0, 2.005]) == [(1.0, 1.125), (2.0, 2.005)]


def test_a_writer_that_never_writes_again_has_a_gap_until_the_end() -> None:
    """Nothing comes after its last write."""
    assert Writes([(1, 1.0), (2, 1.5)], there=[1, 2], until=9.5).pause == (1.5, 9.5)


def test_a_promise_to_the_application_is_held_against_every_writer() -> None:
    """A: how much may be lost, how long who resolves the name may wait, and how often the data set may be copied."""
    steps = [(number, 5 + number / 10) for number in range(1, 101)]
    gap = [(number, at + (1 if at > 10 else 0)) for number, at in steps]
    everything = {number for number, _ in steps}

    def broken(promise: Promise | None, acknowledged: list[tuple[int, float]], lost: set[int], writer: str) -> int:
        writes = {writer: Writes(acknowledged, there=everything - lost)}
        expectation = Expectation(promise=promise)
        found = verdict((0, (A,)), (10.01, (B,)), tenures=MOVED, expectation=expectation, writes=writes, copies=2)
        return len(found.problems)

    assert broken(Promise(lost=0), steps, {50}, "cached") == 1
    assert broken(Promise(lost=0.5 / SCALE), steps, {50, 51, 52, 53, 54, 55}, "sentinel") == 0
    assert broken(Promise(lost=0.4 / SCALE), steps, {50, 51, 52, 53, 54, 55}, "sentinel") == 1
    assert broken(Promise(gap=1.2 / SCALE), gap, set(), "each") == 0
    assert broken(Promise(gap=1.0 / SCALE), gap, set(), "each") == 1
    assert broken(Promise(gap=0.5 / SCALE), gap, set(), "kept") == 0
    assert broken(Promise(gap=0.4 / SCALE), gap, set(), "kept") == 1
    assert broken(Promise(gap=1.0 / SCALE), gap, set(), "cached") == 0
    assert broken(Promise(copies=2), steps, set(), "kept") == 0
    assert broken(Promise(copies=1), steps, set(), "kept") == 1
    assert broken(None, gap, {50}, "kept") == 0


def test_time_without_a_cpu_breaks_no_promise() -> None:
    """But it excuses no lost write where none may be lost."""
    steps = [(number, 5 + number / 10 + (1 if number > 50 else 0)) for number in range(1, 101)]
    there = {number for number, _ in steps if number not in (50, 51)}
    history = History(
        [Span(0, 10, frozenset({A})), Span(10, END, frozenset({B}))],
        [],
        {A: [(0, "master")], B: [(0, "slave")]},
        MOVED,
        stalled=lambda start, stop: 1.0,
        writes={"kept": Writes(steps, there)},
    )

    def problems(promise: Promise) -> tuple[str, ...]:
        return judge(history, Expectation(promise=promise), since=1, until=END, healed=HEALED).problems

    assert problems(Promise(lost=0.2 / SCALE, gap=0.2 / SCALE)) == ()
    assert len(problems(Promise(lost=0, gap=0.2 / SCALE))) == 1


def test_nobody_named_is_well_only_while_nobody_answers() -> None:
    """H: empty after a death and before the next promotion, or while the master is silent; at no other time."""
    headless = (0, (A,)), (10.01, ()), (12.01, (B,))
    assert verdict(*headless, tenures=DIED).problems == ()
    silent: dict[Address, list[tuple[float, str | None]]] = {A: [(0, "master"), (9, None)], B: [(0, "slave")]}
    assert verdict((0, (A,)), (9.5, ()), (10.01, (B,)), tenures=MOVED, roles=silent).problems == ()
    answering = (0, (A,)), (9.5, ()), (10.01, (B,))
    assert any("named nobody" in p for p in verdict(*answering, tenures=MOVED).problems)
    allowed = Expectation(empty=Empty.ALLOWED)
    assert verdict(*answering, tenures=MOVED, expectation=allowed).problems == ()
    never = Expectation(empty=Empty.NEVER)
    assert verdict(*headless, tenures=DIED, expectation=never).problems != ()


def test_whoever_is_not_named_after_healing_is_found() -> None:
    """L: R after everything is well, exactly the right one, and it stays."""
    late = (0, (A,)), (10.01, ())
    allowed = Expectation(empty=Empty.ALLOWED)
    assert any(p.startswith("L") for p in verdict(*late, tenures=DIED, expectation=allowed).problems)


@pytest.mark.parametrize(("stalled", "well"), [(0.3, True), (0.2, False)])
def test_no_answer_after_healing_is_found_unless_the_machine_had_no_cpu_for_it(stalled: float, *, well: bool) -> None:
    """L: a silence counts for as long as it is not explained so."""
    at = HEALED + R * SCALE + 0.5
    only = frozenset({B})
    spans = [Span(0, 10, frozenset({A})), Span(10, at, only), Span(at, at + 0.25, None), Span(at + 0.25, END, only)]
    history = History(spans, [], {A: [(0, "master")], B: [(0, "slave")]}, MOVED, lambda start, stop: stalled)
    found = judge(history, Expectation(), since=1, until=END, healed=HEALED)
    assert [p[:2] for p in found.problems] == ([] if well else ["L:"])


def test_what_should_not_happen_is_found() -> None:
    """H: a failover where none should be, and none where there should be one."""
    stays = Expectation(moves=False)
    assert verdict((0, (A,)), (10.01, (B,)), tenures=MOVED, expectation=stays).problems != ()
    assert verdict((0, (A,)), tenures=[Tenure(A, 0)]).problems != ()
    assert verdict((0, (A,)), tenures=[Tenure(A, 0)], expectation=stays).problems == ()


def test_what_a_server_says_while_it_replays_its_log_is_no_answer() -> None:
    """Only what it says before and after counts."""

    class Said(Witness):
        def __init__(self) -> None:
            pass

        def spans(self, *, since: float = 0, until: float | None = None) -> Iterator[tuple[float, float, Seen]]:
            yield 0.0, 10.0, Seen(0, frozenset({A}))

    found = seen_spans(Said(), [(2, 3)])
    assert [(s.start, s.stop, s.names is None) for s in found] == [(0, 2, False), (2, 3, True), (3, 10, False)]
