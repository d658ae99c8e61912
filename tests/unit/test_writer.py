"""The writer, at a Consul in this process: when it writes, what ends a write, what it does after an error, and at the end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any, cast
from urllib.parse import quote

import pytest
from tenacity import wait_fixed, wait_none

from consul_redis_agent.clock import clock
from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.consul.form import Register, read_entry, registration
from consul_redis_agent.decide.claim import Claim, Early
from consul_redis_agent.decide.decision import Decision, Reason, Verdict
from consul_redis_agent.decide.facts import Address, Catalog, Entry
from consul_redis_agent.errors import (
    ConsulConflict,
    ConsulDenied,
    ConsulError,
    ConsulUnknown,
    ConsulUnreachable,
    StaleDecision,
)
from consul_redis_agent.publish import writer as module
from consul_redis_agent.publish.entries import Mode, Naming, wanted
from consul_redis_agent.publish.steps import Target, Unsafe
from consul_redis_agent.publish.writer import DECISION_LIFE, Writer
from tests.doubles.strict_consul import Request, StrictConsul

pytestmark = pytest.mark.timeout(10)

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
MASTER = Decision(Verdict.MASTER, Reason.NAMED, "It is.", claim=Claim(5, 0, "abc"), group="g-1")
NEWER = replace(MASTER, claim=Claim(6, 0, "abc"))
REPLICA = Decision(Verdict.REPLICA, Reason.REPLICATES, "It follows.", group="g-1")
NONE = Decision(Verdict.NONE, Reason.SILENT, "It is silent.", group="g-1")
WITHDRAWN = replace(NONE, keeps=MASTER.claim)
UP, DOWN = "update redis-6379:role passing", "update redis-6379:role critical"
ERRORS = {403: ConsulDenied, 404: ConsulUnknown, 409: ConsulConflict}


class Consul:
    """What the writer needs of ConsulAPI, answered by a strict Consul; ``done`` is what it was asked to write.

    ``errors`` has, by the beginning of an entry of ``done``, what is raised in its place; ``held``, in the same way,
    what it waits for after it has done it: an answer that does not come.
    """

    def __init__(self) -> None:
        self.strict = StrictConsul(HERE)
        self.done: list[str] = []
        self.asked: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.reached = asyncio.Event()
        """It waits now."""
        self.tried = asyncio.Event()
        """Something was refused."""
        self.operations: list[dict[str, Any]] = []
        self.rehearsed: list[dict[str, Any]] = []
        self.changes, self.beats = asyncio.Semaphore(1), asyncio.Semaphore(1)
        self.token_error, self.token_number = "", 0

    async def agent_self(self) -> dict[str, Any]:
        return cast("dict[str, Any]", await self._ask("self", "GET", "agent/self"))

    async def services(self, only: str = "") -> dict[str, Any]:
        assert only.count("==") in (0, 3), "the own Consul agent may hold a thousand others"
        return cast("dict[str, Any]", await self._ask("services", "GET", "agent/services"))

    async def checks(self, only: str = "") -> dict[str, Any]:
        return cast("dict[str, Any]", await self._ask("checks", "GET", "agent/checks"))

    async def health(self, service: str) -> tuple[int, list[dict[str, Any]]]:
        self.asked.append(f"health {service}")
        return 1, self.instances(service)

    async def txn(self, operations: list[dict[str, Any]]) -> None:
        self.operations = operations
        await self._write("txn", "txn", operations)

    async def rehearse(self, operations: list[dict[str, Any]]) -> None:
        self.rehearsed = operations

    async def register(self, body: dict[str, Any]) -> None:
        status = body["Checks"][0]["Status"]
        await self._write(f"register {body['ID']} {status}", "agent/service/register", body)

    async def check_update(self, check_id: str, status: str, output: str) -> None:
        said = {"Status": status, "Output": output}
        await self._write(f"update {check_id} {status}", f"agent/check/update/{quote(check_id, safe='')}", said)

    async def check_deregister(self, check_id: str) -> None:
        await self._write(f"unseal {check_id}", f"agent/check/deregister/{quote(check_id, safe='')}")

    async def deregister(self, service_id: str) -> None:
        await self._write(f"deregister {service_id}", f"agent/service/deregister/{quote(service_id, safe='')}")

    async def _write(self, what: str, path: str, body: object = None) -> None:
        self._raise(what)
        await self._answer("PUT", path, body)
        self.done.append(what)
        for beginning, event in self.held.items():
            if what.startswith(beginning):
                self.reached.set()
                await event.wait()

    async def _ask(self, what: str, method: str, path: str) -> object:
        self.asked.append(what)
        self._raise(what)
        return await self._answer(method, path)

    def _raise(self, what: str) -> None:
        for beginning, error in self.errors.items():
            if what.startswith(beginning):
                self.tried.set()
                raise error

    async def _answer(self, method: str, path: str, body: object = None) -> object:
        text = "" if body is None else json.dumps(body)
        status, said, _ = await self.strict.answer(Request(method, f"/v1/{path}", {}, text, ""))
        if status != 200:
            self.tried.set()
            raise ERRORS.get(status, ConsulError)(said)
        return json.loads(said) if said else None

    def instances(self, name: str) -> list[dict[str, Any]]:
        """As the API gives them."""
        found = list(self.strict.catalog.health(name))
        for one in found:
            one["Service"] = one["Service"] | {
                "Port": one["Service"].get("Port", 0),
                "Meta": one["Service"]["Meta"] or {},
            }
        return found

    def catalog(self) -> dict[str, Catalog]:
        """What the catalog shows under both names now."""
        names = (NAMING.service, NAMING.replica)
        return {name: Catalog(clock(), 1, tuple(map(read_entry, self.instances(name)))) for name in names}

    def entries(self) -> list[Entry]:
        return [entry for catalog in self.catalog().values() for entry in catalog.entries]

    def passing(self) -> set[tuple[str, str]]:
        """What passes: Consul node and service id."""
        return {entry.key for entry in self.entries() if entry.passing}

    def rival(self, epoch: int = 4) -> None:
        """Another host's claim passes."""
        decision = replace(MASTER, claim=Claim(epoch, 0, "xyz"))
        (entry,) = wanted(decision, NAMING, THERE, "mymaster")
        self.strict.elsewhere(ELSEWHERE, registration(entry), THERE.host)


class Watch:
    """The watch on one name."""

    def __init__(self, service: str) -> None:
        self.service, self.lost, self.seen_since, self.looks = service, 0, 0.0, 0

    def look_again(self) -> None:
        self.looks += 1


class Scene:
    """One Redis node's writer at one Consul."""

    def __init__(self, mode: Mode = Mode.SERVICES, **changes: Any) -> None:
        self.consul = Consul()
        self.watch = Watch(NAMING.service)
        self.naming = replace(NAMING, mode=mode, **changes)
        self.held: list[tuple[Target, float]] = []
        self._told = asyncio.Event()
        self.writer = self.another()

    def another(self) -> Writer:
        """The writer of another process."""
        watches = (self.watch, Watch(NAMING.replica))
        return Writer(cast("ConsulAPI", self.consul), self.naming, watches, self._done)

    def _done(self, target: Target, seconds: float) -> None:
        self.held.append((target, seconds))
        self._told.set()

    def target(self, decision: Decision, *, seen: Mapping[str, Catalog] | None = None, age: float = 0.0) -> Target:
        """What a decision of now wants, on what the catalog shows now."""
        shown = self.consul.catalog() if seen is None else seen
        rivals = [e for c in shown.values() for e in c.entries if e.node == ELSEWHERE and e.rises]
        evict = tuple(rivals) if decision.verdict is Verdict.MASTER else ()
        return Target(
            cast("Any", module).clock() - age, wanted(decision, self.naming, AT, "mymaster"), evict, seen=shown
        )

    def want(self, decision: Decision, **how: Any) -> Target:
        """Decide."""
        target = self.target(decision, **how)
        self._told.clear()
        self.writer.want(target)
        return target

    async def holds(self, decision: Decision) -> list[str]:
        """Decide, and wait until Consul holds it, the catalog has shown it, and nothing is left to do; what that took."""
        self.consul.done.clear()
        self.want(decision)
        await self._told.wait()
        self.want(decision)
        await until(lambda: self.writer.at_rest)
        return [*self.consul.done]

    async def holds_still(self, decision: Decision) -> list[str]:
        """Decide the same once more, and wait until nothing is left to do; what that took."""
        self.consul.done.clear()
        self.want(decision)
        await turns()
        self.want(decision)
        await until(lambda: self.writer.at_rest)
        return [*self.consul.done]

    async def written(self, decision: Decision, what: str) -> list[str]:
        """Decide, and wait until something was written; all that was."""
        self.consul.done.clear()
        self.want(decision)
        await until(lambda: what in self.consul.done)
        return [*self.consul.done]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; nothing here has to wait for more than that."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never was so")


async def turns(number: int = 50) -> None:
    """Give what should not happen the time to happen."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow one another without a pause, unless a test says otherwise."""
    monkeypatch.setattr(module, "BACKOFF", wait_none())


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """In mode services."""
    made = Scene()
    yield made
    made.writer.stop()


@pytest.fixture
async def checking() -> AsyncIterator[Scene]:
    """In mode check, where the entry is always there."""
    made = Scene(Mode.CHECK)
    yield made
    made.writer.stop()


class Hand:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return clock() + self.ahead


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    """The writer's clock."""
    made = Hand()
    monkeypatch.setattr(module, "clock", made)
    return made


# A target


async def test_a_master_is_published_in_its_transaction_and_then_told_to_the_consul_agent(scene: Scene) -> None:
    """And what is in place is not written again."""
    scene.consul.rival()
    assert (await scene.holds(MASTER))[:2] == ["txn", "register redis-6379 passing"]
    assert scene.consul.passing() == {(HERE, "redis-6379")}
    assert (scene.writer.error, scene.writer.errors) == ("", 0)
    assert (scene.writer.transactions, scene.writer.evictions, scene.writer.refused) == (1, 1, 0)
    assert await scene.holds_still(MASTER) == []


async def test_what_is_held_is_told_once_with_its_time(scene: Scene) -> None:
    """From the decision on that first wanted it."""
    first = scene.target(MASTER, age=0.5)
    scene.writer.want(first)
    await until(lambda: bool(scene.held))
    again = scene.want(MASTER)
    await until(lambda: scene.writer.at_rest)
    await turns()
    ((told, seconds),) = scene.held
    assert told.key == first.key == again.key
    assert 0.5 <= seconds < 2.0


async def test_nothing_is_told_to_be_held_that_is_not(checking: Scene) -> None:
    """A claim that waits for a look at the catalog is not published yet."""
    await checking.holds(MASTER)
    checking.want(WITHDRAWN)
    await until(lambda: DOWN in checking.consul.done and not checking.writer.busy)
    checking.held.clear()
    checking.want(MASTER, seen={})  # no look since
    await turns()
    held = [target for target, _ in checking.held if target.claim]
    assert bool(held) <= (checking.consul.passing() == {(HERE, "redis-6379")})


async def test_a_target_that_differs_ends_the_write_in_progress(scene: Scene) -> None:
    """The node has fallen while the answer to its claim was awaited: what is known then is looked up anew."""
    scene.consul.held["txn"] = asyncio.Event()
    scene.want(MASTER)
    await scene.consul.reached.wait()
    looks = scene.watch.looks
    scene.consul.held.clear()
    scene.want(NONE)
    assert scene.watch.looks == looks + 1
    await until(lambda: not scene.consul.entries())
    assert scene.consul.done == ["txn", "txn"]


async def test_a_target_that_wants_the_same_ends_nothing(scene: Scene) -> None:
    """Decisions are made once a second, and a slow Consul takes longer."""
    scene.consul.held["txn"] = answer = asyncio.Event()
    scene.want(MASTER)
    await scene.consul.reached.wait()
    for _ in range(3):
        scene.want(MASTER)
        await turns(5)
    answer.set()
    await until(lambda: bool(scene.held))
    assert scene.consul.done[:2] == ["txn", "register redis-6379 passing"]


async def test_a_write_that_was_interrupted_is_undone(scene: Scene) -> None:
    """Back to what was held last is a write like another: the one in between may have come half way."""
    await scene.holds(NONE)
    scene.consul.held["txn"] = asyncio.Event()
    scene.want(MASTER)
    await scene.consul.reached.wait()
    assert scene.consul.passing()
    scene.consul.held.clear()
    await scene.holds(NONE)
    assert not scene.consul.entries()


async def test_a_write_that_was_ended_does_not_go_on_beside_the_next(scene: Scene) -> None:
    """Its connections take a moment to close; what the next one does meanwhile is not its business."""
    ended = asyncio.Event()

    class Slow(asyncio.Event):
        async def wait(self) -> Any:
            try:
                await super().wait()
            finally:
                await turns(10)
                ended.set()

    scene.consul.held["register redis-replica-6379"] = Slow()
    scene.want(REPLICA)
    await scene.consul.reached.wait()
    scene.consul.held.clear()
    scene.want(MASTER)
    await ended.wait()
    scene.want(MASTER)
    await until(lambda: scene.consul.passing() == {(HERE, "redis-6379")} and not scene.writer.busy)
    assert [what for what in scene.consul.done if what.startswith("register")] == [
        "register redis-replica-6379 passing",
        "register redis-6379 passing",
    ]


async def test_after_a_stop_nothing_is_written_until_something_is_wanted(scene: Scene) -> None:
    """Then everything is looked up anew."""
    await scene.holds(MASTER)
    scene.writer.stop()
    scene.consul.done.clear()
    scene.consul.asked.clear()
    await turns()
    assert (scene.consul.done, scene.writer.at_rest) == ([], False)
    scene.want(MASTER)
    await until(lambda: scene.writer.at_rest)
    assert scene.consul.asked[:2] == ["self", "services"]
    assert not [what for what in scene.consul.done if what != UP]


async def test_a_defect_of_our_own_is_raised_to_who_wants_something(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends this node's work aloud. What is unsafe was not sent."""
    (unsafe,) = scene.target(MASTER).wanted
    monkeypatch.setattr(module, "next_step", lambda target, known: Register(unsafe))
    scene.want(MASTER)
    await until(lambda: bool(scene.writer._task and scene.writer._task.done()))
    with pytest.raises(Unsafe):
        scene.want(MASTER)
    assert scene.consul.done == []


async def test_a_claim_is_published_only_over_the_entry_that_it_was_decided_on(checking: Scene) -> None:
    """A successor may evict it between a decision and its writing: Consul has to refuse that writing."""
    await checking.holds(NONE)
    shown = checking.consul.catalog()
    (before,) = shown["redis"].entries
    checking.want(MASTER, seen=shown)
    await until(lambda: "txn" in checking.consul.done)
    (role,) = [o["Check"] for o in checking.consul.operations if o.get("Check", {}).get("Verb") == "cas"]
    assert role["Check"]["ModifyIndex"] == before.index != 0


async def test_a_rehearsal_writes_nothing(scene: Scene) -> None:
    """It only makes the transaction, and warms what it will need."""
    scene.consul.rival()
    await scene.holds(REPLICA)
    scene.consul.done.clear()
    await scene.writer.rehearse(scene.target(MASTER))
    assert scene.consul.rehearsed
    await scene.writer.rehearse(scene.target(REPLICA))
    assert scene.consul.done == []


# Rest and beats


async def test_an_overdue_beat_does_not_make_the_loop_spin(hand: Hand, scene: Scene) -> None:
    """While Consul is out of reach, or nothing can be decided, the beat is overdue: that is no reason to hurry."""
    scene.writer._beat_at = clock() + 1.0
    assert 0.5 < scene.writer.next_beat <= 1.0
    hand.ahead = 10.0
    assert scene.writer.next_beat == 10.0


async def test_a_beat_that_is_due_soon_goes_with_a_decision_that_is_made_anyway(hand: Hand) -> None:
    """Decisions are made once a second: a beat in between would wake the process for nothing."""
    scene = Scene(ttl=9.0)
    await scene.holds(MASTER)
    scene.consul.done.clear()
    for ahead, beats in ((0.0, 0), (1.0, 0), (2.5, 1), (3.0, 1)):
        hand.ahead = ahead
        scene.want(MASTER)
        await turns()
        assert scene.consul.done == beats * [UP]
    scene.writer.stop()


async def test_it_rests_until_a_beat_is_due_or_the_catalog_was_looked_at_anew(scene: Scene, hand: Hand) -> None:
    """Then a decision that nothing has touched stands; a write of others, or a lost one, is judged by the next look."""
    seen = scene.consul.catalog()
    assert not scene.writer.rests_on(seen)
    scene.want(MASTER)
    assert not scene.writer.rests_on(seen), "it is being written"
    await scene.holds(MASTER)
    target = scene.writer._target
    assert target
    assert scene.writer.rests_on(target.seen)
    assert not scene.writer.rests_on(seen)
    assert not scene.writer.rests_on({})
    hand.ahead = 4.0
    assert not scene.writer.rests_on(target.seen), "a beat is due"


async def test_every_entry_that_is_held_is_beaten(scene: Scene, hand: Hand) -> None:
    """The last claim as well, critical as it is: an expired TTL would change its output, which wakes every watcher."""
    follows = replace(WITHDRAWN, verdict=Verdict.REPLICA)
    await scene.holds(MASTER)
    await scene.holds(follows)
    scene.consul.done.clear()
    hand.ahead = 4.0
    scene.want(follows)
    await until(lambda: scene.writer.at_rest)
    assert scene.consul.done == [DOWN, "update redis-replica-6379:role passing"]


async def test_the_ttl_of_an_early_claim_is_not_begun_anew(hand: Hand) -> None:
    """Were its agent killed, Consul itself must set it critical when the term is over; a TTL that ends before is beaten."""
    early = replace(MASTER, claim=Claim(6, 0, "abc", Early(clock(), "boot", "s1")))
    for ttl, beats in ((10.0, []), (1.0, [UP])):
        hand.ahead = 0.0
        scene = Scene(ttl=ttl)
        await scene.holds(early)
        scene.consul.done.clear()
        hand.ahead = 3.0
        scene.want(early)
        await until(lambda scene=scene: scene.writer.at_rest)  # type: ignore[misc]
        assert scene.consul.done == beats
        scene.writer.stop()


async def test_a_beat_that_says_not_found_has_the_entry_registered_again(scene: Scene, hand: Hand) -> None:
    """A Consul agent that was wiped is told everything anew. That is no error."""
    await scene.holds(REPLICA)
    scene.consul.strict.services.clear()
    scene.consul.strict.checks.clear()
    scene.consul.done.clear()
    hand.ahead = 4.0
    scene.want(REPLICA)
    await until(lambda: "register redis-replica-6379 passing" in scene.consul.done)
    assert (scene.writer.error, scene.writer.errors) == ("", 0)


async def test_the_beat_comes_before_a_removal_that_is_refused(scene: Scene, hand: Hand) -> None:
    """A token may lack the right to an old name: the right entry is beaten all the same, for as long as that lasts."""
    await scene.holds(MASTER)
    scene.consul.errors["deregister"] = ConsulDenied("give the token service:write on redis")
    scene.want(REPLICA)
    await scene.consul.tried.wait()
    for ahead in (4.0, 8.0, 12.0):
        scene.consul.done.clear()
        scene.consul.tried.clear()
        hand.ahead = ahead
        scene.want(REPLICA)
        await scene.consul.tried.wait()
        assert "update redis-replica-6379:role passing" in scene.consul.done
    scene.writer.stop()


# What is too old


async def test_what_was_decided_before_a_stop_is_not_written(scene: Scene, hand: Hand) -> None:
    """The process stood still between the decision and its writing: only the next decision is written."""
    scene.want(MASTER)
    hand.ahead = DECISION_LIFE + 0.1
    await turns()
    assert scene.consul.done == []
    assert scene.writer.error == "", "that mends itself"
    scene.want(MASTER)
    await until(lambda: bool(scene.held))
    assert scene.consul.done[0] == "txn"


async def test_what_has_waited_too_long_for_its_turn_is_not_written(scene: Scene, hand: Hand) -> None:
    """Hundreds of Redis nodes may be written at once."""
    async with scene.consul.changes:
        scene.want(MASTER)
        await turns()
        hand.ahead = DECISION_LIFE + 0.1
    await turns()
    assert scene.consul.done == []


async def test_a_step_is_not_taken_for_a_decision_of_long_ago(scene: Scene, hand: Hand) -> None:
    """Also where the steps before it were taken in time."""
    scene.consul.held["txn"] = answer = asyncio.Event()
    scene.want(MASTER)
    await scene.consul.reached.wait()
    hand.ahead = DECISION_LIFE + 0.1
    answer.set()
    await turns()
    assert scene.consul.done == ["txn"]


async def test_a_beat_of_long_ago_is_not_sent(scene: Scene, hand: Hand) -> None:
    """The process stood still while it waited for its turn: the TTL has run out, and a beat would set the entry passing."""
    await scene.holds(MASTER)
    scene.consul.done.clear()
    hand.ahead = 4.0
    async with scene.consul.beats:
        scene.want(MASTER)
        await turns()
        hand.ahead = 60.0
    await turns()
    assert scene.consul.done == []


# Consul out of reach


async def test_nothing_begins_to_pass_before_the_claims_were_seen_again(scene: Scene) -> None:
    """A Consul agent that is back is told only what was decided on a catalog younger than its absence."""
    scene.watch.seen_since = inf
    scene.want(MASTER)
    await turns()
    assert scene.consul.done == []
    scene.watch.seen_since = clock() + 100
    scene.want(MASTER)
    await turns()
    assert scene.consul.done == []
    scene.watch.seen_since = clock()
    scene.want(MASTER)
    await until(lambda: bool(scene.held))
    assert scene.consul.done[0] == "txn"


async def test_a_withdrawal_waits_for_nothing(scene: Scene) -> None:
    """Consul shows nothing, and does not say who it is: cut off from its servers, it answers that late."""
    await scene.holds(MASTER)
    scene.watch.seen_since, scene.watch.lost = inf, 1
    scene.consul.asked.clear()
    assert (await scene.written(NONE, DOWN))[0] == DOWN
    assert "self" not in scene.consul.asked


async def test_what_passes_already_goes_on_beating_while_consul_shows_nothing(scene: Scene, hand: Hand) -> None:
    """Consul's servers may be away for longer than the TTL: a beat writes nothing to them."""
    await scene.holds(MASTER)
    scene.consul.done.clear()
    scene.watch.seen_since, scene.watch.lost = inf, 1
    for beats, ahead in ((1, 4.0), (2, 8.0), (3, 12.0)):
        hand.ahead = ahead
        scene.want(MASTER)
        await turns()
        assert scene.consul.done == beats * [UP]


async def test_one_beat_that_fails_does_not_end_the_beating(scene: Scene, hand: Hand) -> None:
    """Consul's servers are away, and its agent here was slow once: nothing has changed there, and its TTL runs."""
    await scene.holds(MASTER)
    scene.watch.seen_since, scene.watch.lost = inf, 1
    scene.consul.errors["update"] = ConsulUnreachable("no answer in time")
    hand.ahead = 4.0
    scene.want(MASTER)
    await scene.consul.tried.wait()
    scene.consul.errors.clear()
    scene.consul.done.clear()
    scene.want(MASTER)
    await turns()
    assert scene.consul.done == [UP]


async def test_what_the_consul_agent_still_holds_is_not_registered_again(scene: Scene) -> None:
    """Consul would sync it as soon as the network lets it, over a newer claim's word that it is down."""
    await scene.holds(MASTER)
    scene.watch.lost, scene.watch.seen_since = 1, clock()
    scene.consul.asked.clear()
    done = await scene.holds_still(MASTER)
    assert scene.consul.asked[:2] == ["self", "services"]
    assert not [what for what in done if what != UP]


async def test_what_the_consul_agent_has_lost_is_registered_again(scene: Scene) -> None:
    """A Consul agent that started without its data."""
    await scene.holds(MASTER)
    scene.consul.strict.services.clear()
    scene.consul.strict.checks.clear()
    scene.watch.lost, scene.watch.seen_since = 1, clock()
    assert "register redis-6379 passing" in await scene.holds_still(MASTER)


async def test_a_consul_agent_that_is_another_one_now_is_asked_who_it_is(scene: Scene) -> None:
    """After each loss; a withdrawal does not wait for that where the name was known before."""
    await scene.holds(REPLICA)
    scene.consul.strict.node = "consul-9"
    scene.consul.strict.catalog.add_node("consul-9", "127.0.0.9")
    scene.consul.strict.services.clear()
    scene.consul.strict.checks.clear()
    scene.watch.lost, scene.watch.seen_since = 1, clock()
    scene.want(REPLICA)
    await until(lambda: ("consul-9", "redis-replica-6379") in scene.consul.passing())
    assert scene.writer.consul_node == "consul-9"


# What Consul refuses


async def test_a_refused_transaction_is_repeated_with_the_next_decision(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalog has changed meanwhile: it is looked at again, and what it holds now is decided upon, without a pause."""
    monkeypatch.setattr(module, "BACKOFF", wait_fixed(3600))
    shown = scene.consul.catalog()
    (entry,) = wanted(replace(WITHDRAWN), NAMING, AT, "mymaster")
    scene.consul.strict.elsewhere(HERE, registration(entry))
    looks = scene.watch.looks
    scene.want(MASTER, seen=shown)
    await scene.consul.tried.wait()
    await turns()
    assert (scene.consul.done, scene.watch.looks) == ([], looks + 1)
    scene.want(MASTER)
    await until(lambda: bool(scene.held))
    assert scene.consul.passing() == {(HERE, "redis-6379")}
    assert (scene.writer.error, scene.writer.errors) == ("", 0), "somebody was quicker: that is no error"
    assert (scene.writer.transactions, scene.writer.refused) == (1, 1)


async def test_a_target_that_differs_does_not_wait_for_the_pause_after_an_error(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consul refused something, and the node has fallen: the withdrawal is another write."""
    await scene.holds(MASTER)
    monkeypatch.setattr(module, "BACKOFF", wait_fixed(3600))
    scene.consul.errors["txn"] = ConsulError("no leader")
    scene.want(NEWER)
    await scene.consul.tried.wait()
    await turns()
    scene.want(NONE)
    await turns()
    assert DOWN in scene.consul.done


async def test_an_error_is_said_once_and_its_end_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """However often it is tried meanwhile."""
    scene.consul.errors["register"] = ConsulDenied("give the token service:write on redis-replica")
    with caplog.at_level(logging.INFO, logger=module.__name__):
        scene.want(REPLICA)
        await until(lambda: scene.writer.errors >= 5)
        assert scene.writer.error == "give the token service:write on redis-replica"
        scene.consul.errors.clear()
        scene.want(REPLICA)
        await until(lambda: bool(scene.held))
        await scene.holds(NONE)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in said] == ["WARNING", "INFO"]
    assert "give the token service:write on redis-replica" in said[0][1]
    assert "again" in said[1][1]
    assert scene.writer.error == ""


@pytest.mark.parametrize("status", [403, 404])
async def test_a_consul_that_takes_no_transaction_is_said(scene: Scene, status: int) -> None:
    """No right to it, or a proxy that does not know it: there is no other way, and no master without it."""
    scene.consul.errors["txn"] = ERRORS[status]("what Consul said")
    scene.want(MASTER)
    await until(lambda: scene.writer.error != "")
    assert "what Consul said" in scene.writer.error
    assert scene.consul.done == []


@pytest.mark.parametrize(("what", "error"), [("txn", ConsulConflict), ("register", ConsulUnknown)])
async def test_a_refusal_that_lasts_is_said(scene: Scene, what: str, error: type[ConsulError]) -> None:
    """The next look mends a conflict, and a registration a 404; what these do not mend, somebody has to."""
    scene.consul.errors[what] = error("what Consul said")
    for _ in range(30):
        scene.consul.tried.clear()
        scene.want(MASTER)
        await scene.consul.tried.wait()
        await turns(5)
    assert "what Consul said" in scene.writer.error


async def test_a_compare_that_was_lost_is_tried_again_only_on_a_younger_catalog(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same transaction would lose again, and each one costs Consul's servers a write to their log."""
    asked = []

    async def refuse(operations: object, **_: object) -> None:
        asked.append(operations)
        raise ConsulConflict("index is stale")

    monkeypatch.setattr(scene.consul, "txn", refuse)
    seen = scene.consul.catalog()
    for _ in range(20):
        scene.want(MASTER, seen=seen)
        await turns(20)
    assert len(asked) == 1
    scene.want(MASTER)
    await until(lambda: len(asked) == 2)


async def test_a_token_without_agent_read_learns_the_consul_node_from_the_own_check(scene: Scene) -> None:
    """A claim is registered critical for that, and passes by its transaction, which evicts its rival."""
    scene.consul.rival()
    scene.consul.errors["self"] = ConsulDenied("no agent:read")
    scene.want(MASTER)
    await until(lambda: scene.writer.consul_node == HERE)
    assert scene.consul.done[0] == "register redis-6379 critical"
    assert scene.consul.passing() == {(ELSEWHERE, "redis-6379")}
    scene.want(MASTER)
    await until(lambda: scene.consul.passing() == {(HERE, "redis-6379")})


async def test_a_token_without_agent_read_publishes_a_replica_in_one_call(scene: Scene) -> None:
    """It competes with nobody."""
    scene.consul.errors["self"] = ConsulDenied("no agent:read")
    done = await scene.holds(REPLICA)
    assert done[0] == "register redis-replica-6379 passing"
    assert scene.writer.consul_node == HERE


async def test_an_own_entry_under_a_former_name_leaves(scene: Scene) -> None:
    """The configuration has another service name now; what a neighbour or somebody by hand has registered stays."""
    (old,) = wanted(MASTER, replace(NAMING, service="cache", master_id="cache-6379"), AT, "mymaster")
    neighbour = replace(old, id="cache-6380", meta={**old.meta, "redis-node": "redis://127.0.0.1:6380"})
    by_hand = replace(old, id="by-hand", meta={})
    for entry in (old, neighbour, by_hand):
        await scene.consul.register(registration(entry))
    await scene.holds(REPLICA)
    assert set(scene.consul.strict.services) == {"redis-replica-6379", "cache-6380", "by-hand"}


# At the end


async def test_what_is_held_is_beaten_for_the_last_time(scene: Scene) -> None:
    """A restart has the whole TTL; the node's loop has stopped the writer before."""
    await scene.holds(MASTER)
    target = scene.target(MASTER)
    scene.writer.stop()
    scene.consul.done.clear()
    await scene.writer.finish(target)
    assert scene.consul.done == [UP]


async def test_the_last_word_sets_nothing_passing_before_the_catalog_holds_its_claim(checking: Scene) -> None:
    """SIGTERM between a decision and its write: the rival's claim goes down in the same step, or nothing passes."""
    checking.consul.rival()
    await checking.holds(NONE)
    checking.want(MASTER)  # not a turn of the loop for it
    checking.writer.stop()
    checking.consul.done.clear()
    target = checking.target(MASTER)
    await checking.writer.finish(target)
    assert len(checking.consul.passing()) == 1
    first_up = next((i for i, what in enumerate(checking.consul.done) if what == UP), inf)
    assert "txn" in checking.consul.done[: int(min(first_up, 99))] or first_up == inf


async def test_the_last_word_sets_nothing_passing_while_consul_shows_nothing(scene: Scene) -> None:
    """Its agent has started again, with a broken seal, and the claim may have been evicted since."""
    await scene.holds(MASTER)
    seen = scene.consul.catalog()
    checks = scene.consul.strict.checks
    checks["redis-6379:seal"] = checks["redis-6379:seal"] | {"Status": "critical"}
    scene.consul.strict.full_sync()
    scene.watch.seen_since, scene.watch.lost = inf, 1
    scene.writer.stop()
    with suppress(StaleDecision):
        await scene.writer.finish(scene.target(MASTER, seen=seen))
    assert not scene.consul.passing()


async def test_the_last_word_withdraws_what_is_false(scene: Scene) -> None:
    """Redis has just gone: nothing is left to its TTL that is not true."""
    await scene.holds(MASTER)
    scene.writer.stop()
    await scene.writer.finish(scene.target(WITHDRAWN))
    assert [(e.id, e.passing) for e in scene.consul.entries()] == [("redis-6379", False)]


async def test_the_last_word_is_not_one_of_long_ago(scene: Scene) -> None:
    """Nor does it try again: the process ends."""
    await scene.holds(MASTER)
    with pytest.raises(StaleDecision):
        await scene.writer.finish(scene.target(WITHDRAWN, age=DECISION_LIFE + 0.1))
    scene.consul.errors["update"] = ConsulError("no leader")
    with pytest.raises(ConsulError, match="no leader"):
        await scene.writer.finish(scene.target(WITHDRAWN))


@pytest.mark.parametrize("decision", [MASTER, REPLICA], ids=["master", "replica"])
async def test_whoever_stops_publishes_nothing_anew(scene: Scene, decision: Decision) -> None:
    """Nobody would be there to take it back, should Redis stop next."""
    await scene.writer.finish(scene.target(decision))
    assert not scene.consul.passing()


@pytest.mark.parametrize("decision", [MASTER, REPLICA, WITHDRAWN], ids=["master", "replica", "withdrawn"])
@pytest.mark.parametrize("mode", Mode)
async def test_whoever_leaves_takes_everything_out(mode: Mode, decision: Decision) -> None:
    """Whatever was decided, and also in a process that has written nothing of it."""
    scene = Scene(mode)
    await scene.holds(decision)
    scene.writer.stop()
    await scene.another().leave()
    scene.consul.strict.full_sync()
    assert not scene.consul.entries()
    assert not scene.consul.strict.services


async def test_whoever_leaves_takes_also_a_claim_that_was_interrupted(scene: Scene) -> None:
    """It is in the catalog alone, since a stop or a reload cut its writing short; a rival's entry stays."""
    scene.consul.held["txn"] = asyncio.Event()
    scene.want(MASTER)
    await scene.consul.reached.wait()
    assert scene.consul.passing() == {(HERE, "redis-6379")}
    scene.consul.held.clear()
    scene.consul.strict.elsewhere(ELSEWHERE, registration(wanted(REPLICA, NAMING, THERE, "m")[0]))
    await scene.writer.leave()
    assert [e.node for e in scene.consul.entries()] == [ELSEWHERE]


# The token


async def test_what_was_registered_with_another_token_is_registered_again(scene: Scene, hand: Hand) -> None:
    """The Consul agent syncs an entry with the token that it was registered with: once that is gone, nothing reaches DNS any more."""
    scene.consul.token_number = 1
    await scene.holds(MASTER)
    assert await scene.holds_still(MASTER) == []
    scene.consul.token_number = 2
    assert not scene.writer.at_rest
    assert await scene.holds_still(MASTER) == ["register redis-6379 passing"]
    assert await scene.holds_still(MASTER) == []
    assert scene.consul.passing() == {(HERE, "redis-6379")}


async def test_what_an_earlier_run_has_registered_is_registered_once(scene: Scene) -> None:
    """Nobody knows with which token that was."""
    scene.consul.token_number = 1
    await scene.holds(MASTER)
    scene.writer.stop()
    scene.writer = scene.another()
    assert "register redis-6379 passing" in await scene.holds(MASTER)
    assert await scene.holds_still(MASTER) == []


@pytest.mark.parametrize("decision", [MASTER, REPLICA])
async def test_with_a_revoked_token_nothing_begins_to_pass(scene: Scene, decision: Decision) -> None:
    """The Consul agent may still take it from its cache: it could not be taken back."""
    scene.consul.token_number, scene.consul.token_error = 1, "revoked"
    scene.want(decision)
    await turns()
    assert scene.consul.done == []
    assert scene.writer.error == "revoked"
    scene.consul.token_error = ""
    await until(lambda: bool(scene.consul.passing()))


async def test_with_a_revoked_token_what_stands_is_beaten_and_what_is_false_withdrawn(scene: Scene, hand: Hand) -> None:
    """As long as the Consul agent allows it."""
    scene.consul.token_number = 1
    await scene.holds(MASTER)
    scene.consul.token_error = "revoked"
    hand.ahead += scene.naming.ttl / 2
    assert await scene.written(MASTER, UP) == [UP]
    assert DOWN in await scene.written(NONE, DOWN)
