"""`failover`: what stands against a move, how one is judged, and what is never sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from consul_redis_agent.clock import clock
from consul_redis_agent.commands.failover import move
from consul_redis_agent.commands.failover.look import read_sentinel
from consul_redis_agent.commands.failover.move import Move
from consul_redis_agent.commands.failover.outcome import STEPS, Outcome, as_json, exit_code, summary, timeline
from consul_redis_agent.commands.failover.plan import Choice, Listed, NodeSaid, Plan, SentinelSaid, Situation, plan
from consul_redis_agent.commands.failover.watch import Look, Watch
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.decide.facts import Address, Sentinel
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.publish import fence
from consul_redis_agent.watch.link import Link
from tests.doubles.facts import WHERE, entry, master, replica, sentinel

A, B, C = WHERE["a"], WHERE["b"], WHERE["c"]
NAME = "redis.service.consul"
LISTED = (Listed(B, "b", offset=900), Listed(C, "c", offset=950))
SAID = SentinelSaid(quorum="OK 3 usable Sentinels", reported=600_000, timeout=180_000, replicas=LISTED)
TRIO = tuple(sentinel(f"s{number}") for number in (1, 2, 3))


def survey(*sentinels: Sentinel) -> Survey:
    return Survey("mymaster", sentinels or TRIO)


def node(name: str, **changes: Any) -> NodeSaid:
    """What a well node of the group says: ``a`` is the master, the others follow it."""
    said = master("a") if name == "a" else replica("a", run_id=name)
    known = NodeSaid(said, offset=1000 if name == "a" else 990, program="Redis 7.0.15", version=(7, 0), open=True)
    return replace(known, **changes)


def situation(**changes: Any) -> Situation:
    """All is well, but for what is said."""
    well = Situation(
        found=survey(),
        sentinels={s.address: SAID for s in TRIO},
        nodes={WHERE[name]: node(name) for name in "abc"},
        name=NAME,
        dns=frozenset({A}),
    )
    return replace(well, **changes)


def failures(seen: Situation) -> list[str]:
    return [str(finding) for finding in plan(seen).findings if finding.level is Level.FAIL]


# --- what stands against it -------------------------------------------------------------------------------------------


def test_a_well_group_can_be_moved() -> None:
    """Nothing stands against it; a Sentinel on another host is asked, and each replica has its lag and priority."""
    found = plan(situation())
    assert found.possible
    assert (found.master, found.run_id, found.sentinel) == (A, "a", Address("s1", 26379))
    assert found.choices == (Choice(B, "b", 100, 10), Choice(C, "c", 100, 10))
    assert found.likely == C, "it has more of the stream, by what Sentinel knows"
    assert not found.coordinated


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"found": Survey("mymaster"), "mode": "off"}, 'sentinel.mode is "off"'),
        ({"found": Survey("mymaster")}, "no Sentinel was found; set sentinel.hosts"),
        (
            {"found": survey(TRIO[0], TRIO[1], sentinel("s3", error="no answer", master=None))},
            "s3:26379: is not reached",
        ),
        ({"found": survey(TRIO[0], TRIO[1], replace(TRIO[2], tilt=True))}, "s3:26379: is in TILT"),
        ({"found": survey(TRIO[0], TRIO[1], replace(TRIO[2], promoting=""))}, "shows a failover that is under way"),
        ({"found": survey(TRIO[0], TRIO[1], replace(TRIO[2], down=True))}, "s3:26379: holds the master for down"),
        ({"found": survey(TRIO[0], TRIO[1], sentinel("s3", "b"))}, f"s3:26379: names {B} at epoch 5"),
        ({"found": survey(TRIO[0], TRIO[1], sentinel("s3", epoch=4))}, f"s3:26379: names {A} at epoch 4"),
        ({"found": survey(sentinel("s1"), sentinel("s2", "b"), sentinel("s3", "c"))}, "no majority names one master"),
        ({"found": replace(survey(), left_out=2)}, "2 more that these list were not asked"),
        ({"dns": frozenset({A, B})}, f"{NAME} names {A} and {B}, and not {A} alone"),
        ({"dns": frozenset({B})}, f"{NAME} names {B}, and not {A} alone"),
        ({"dns": frozenset()}, f"{NAME} names nobody"),
        ({"dns": "DNS at 127.0.0.1:8600: nothing listens there"}, "nothing listens there"),
        ({"entries": "Consul cannot be reached"}, "Consul cannot be reached"),
        ({"entries": (entry("a", maintenance=True),)}, "is in maintenance"),
        ({"entries": (entry("b", maintenance=True),)}, "is in maintenance"),
        ({"missing": ("+client|pause",)}, "ACL SETUSER default +client|pause"),
        ({"unlike": "ERR unknown command 'REPLICAOF'"}, "does not take what makes it a replica"),
    ],
)
def test_what_stands_against_a_move_is_said(changes: dict[str, Any], said: str) -> None:
    """Each by itself is enough to do nothing."""
    assert said in "\n".join(failures(situation(**changes)))
    assert not plan(situation(**changes)).possible


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("a", {"node": None, "error": "no answer within 1 s"}, "cannot be asked"),
        ("a", {"version": (6, 0), "program": "Redis 6.0.16"}, "Redis 6.0.16 cannot hold writes alone"),
        ("a", {"node": master("a", loading=True)}, "is still loading"),
        ("a", {"node": replica("b", run_id="a")}, f"says that it is a replica of {B}"),
        ("a", {"node": master("another life")}, "Sentinel knows it by another run id"),
        ("b", {"node": None, "error": "nothing listens there"}, "could be chosen (priority 100, lag unknown), but"),
        ("b", {"node": replica("a", run_id="b", link_up=False)}, "its link is down, or it is still copying"),
        ("b", {"node": replica("c", run_id="b")}, f"it follows {C}"),
        ("b", {"node": master("b")}, "it says master"),
    ],
)
def test_a_node_that_could_not_play_its_part_stands_against_it(name: str, changes: dict[str, Any], said: str) -> None:
    """The master, and each replica that Sentinel could choose."""
    nodes = {**situation().nodes, WHERE[name]: node(name, **changes)}
    assert said in "\n".join(failures(situation(nodes=nodes)))


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ({"priority": 0}, "its priority is 0"),
        ({"flags": frozenset({"slave", "s_down"})}, "Sentinel does not reach it"),
        ({"flags": frozenset({"slave", "disconnected"})}, "Sentinel does not reach it"),
        ({"pinged": 6000}, "Sentinel does not reach it"),
        ({"linked": False}, "its link to the master is down"),
        ({"run_id": ""}, "Sentinel has not asked it yet"),
    ],
)
def test_a_replica_that_sentinel_would_not_choose(listed: dict[str, Any], why: str) -> None:
    """The other one is enough; where none is left, nothing is done."""
    one = replace(SAID, replicas=(replace(LISTED[0], **listed), LISTED[1]))
    found = plan(situation(sentinels={s.address: one for s in TRIO}))
    assert found.possible
    assert [(f.level, why in f.what) for f in found.findings if f.topic == f"replica {B}"] == [(Level.WARN, True)]
    assert found.likely == C
    none = replace(SAID, replicas=tuple(replace(one, **listed) for one in LISTED))
    found = plan(situation(sentinels={s.address: none for s in TRIO}))
    assert not found.possible
    assert found.likely is None


def test_a_replica_in_maintenance_that_cannot_be_chosen_stands_in_nobodys_way() -> None:
    """Its priority is 0: DNS will not have to name it."""
    said = replace(SAID, replicas=(replace(LISTED[0], priority=0), LISTED[1]))
    sentinels = {s.address: said for s in TRIO}
    assert plan(situation(sentinels=sentinels, entries=(entry("b", maintenance=True),))).possible


def test_everything_is_said_at_once() -> None:
    """One look is enough to mend all of it."""
    seen = situation(
        found=survey(TRIO[0], TRIO[1], sentinel("s3", error="no answer", master=None)),
        dns=frozenset(),
        entries=(entry("a", maintenance=True),),
        missing=("+replicaof",),
    )
    assert [line.split(":")[0] for line in failures(seen)] == [
        "FAIL sentinel s3",
        f"FAIL master {A.host}",
        "FAIL maintenance",
        "FAIL dns",
    ]


def test_a_failover_that_has_just_been_is_waited_for() -> None:
    """For what is left of failover-timeout at the Sentinel to be asked; one that has had this master for longer is preferred."""
    fresh = replace(SAID, reported=20_000)
    (line,) = failures(situation(sentinels={s.address: fresh for s in TRIO}))
    assert "20 s ago, within its failover-timeout of 180 s; wait 160 s" in line
    sentinels = {TRIO[0].address: fresh, TRIO[1].address: SAID, TRIO[2].address: fresh}
    assert plan(situation(sentinels=sentinels)).sentinel == TRIO[1].address


def test_quorum_and_the_right_to_ask() -> None:
    """What CKQUORUM says, or that it says nothing, and what ACL DRYRUN says of the login."""
    bad = replace(SAID, quorum="NOQUORUM 1 usable Sentinels")
    assert "NOQUORUM" in failures(situation(sentinels={**situation().sentinels, TRIO[2].address: bad}))[0]
    none = replace(SAID, quorum="")
    assert "does not answer to CKQUORUM" in failures(situation(sentinels={s.address: none for s in TRIO}))[0]
    denied = replace(SAID, refuses="User default has no permissions")
    (line,) = failures(situation(sentinels={s.address: denied for s in TRIO}))
    assert "ACL SETUSER default +sentinel|failover" in line


def test_the_sentinel_that_is_asked_is_on_another_host_than_the_master() -> None:
    """By address, also where Sentinel uses names; with none there, nothing is done."""
    beside = replace(TRIO[0], address=Address(A.host, 26379))
    named = replace(TRIO[1], address=Address("redis-host", 26379))
    sentinels = {s.address: SAID for s in (beside, named, TRIO[2])}
    seen = situation(found=survey(beside, named, TRIO[2]), sentinels=sentinels, places={"redis-host": A.host})
    assert plan(seen).sentinel == TRIO[2].address
    alone = [replace(s, address=Address(A.host, 26379 + number)) for number, s in enumerate(TRIO)]
    seen = situation(found=survey(*alone), sentinels={s.address: SAID for s in alone})
    assert "none to ask on another host than the master's" in failures(seen)[0]


def test_coordinated_where_sentinel_and_all_servers_have_it() -> None:
    """Then no right to pause is needed; with one older server the writes are held by this command."""
    sentinels = {s.address: replace(SAID, coordinates=True) for s in TRIO}
    nodes = {WHERE[name]: node(name, coordinates=True) for name in "abc"}
    found = plan(situation(sentinels=sentinels, nodes=nodes, missing=("+client|pause",)))
    assert found.possible
    assert found.coordinated
    assert not plan(situation(sentinels=sentinels, nodes=nodes | {C: node("c")})).coordinated
    assert not plan(situation(nodes=nodes)).coordinated


def test_an_old_master_that_could_not_log_in_to_the_new_one() -> None:
    """The replica asks for a password, and the master has none for it."""
    nodes = {**situation().nodes, B: node("b", open=False)}
    assert f"has no password for {B}" in failures(situation(nodes=nodes, no_masterauth=True))[0]
    assert plan(situation(no_masterauth=True)).possible, "nobody asks for one"


def test_dns_may_name_the_master_by_another_address() -> None:
    """Sentinel uses a host name, or Consul holds the node at another address: it is the same node."""
    elsewhere = Address("192.0.2.7", 6379)
    assert plan(situation(dns=frozenset({elsewhere}), aliases={elsewhere: A})).possible
    assert not plan(situation(dns=frozenset({elsewhere}))).possible


def test_what_a_sentinel_answers_is_read() -> None:
    """Each field where it is, and nothing is believed of a right that may not be asked about."""
    master_ = ["role-reported-time", "5000", "failover-timeout", "60000"]
    one = ["ip", "10.0.0.2", "port", "6379", "runid", "b", "flags", "slave,s_down", "master-link-status", "err"]
    one += ["slave-priority", "10", "slave-repl-offset", "77", "last-ok-ping-reply", "12"]
    said = read_sentinel("OK 3 usable", master_, [one], "valkey_version:9.1.2\r\n", NoPermissionError("no ACL DRYRUN"))
    listed = Listed(B, "b", frozenset({"slave", "s_down"}), linked=False, priority=10, offset=77, pinged=12)
    assert said == SentinelSaid("OK 3 usable", 5000, 60000, "", coordinates=True, replicas=(listed,))
    assert said.wait == 55
    denied = read_sentinel(
        NoPermissionError("no"), master_, [], "redis_version:7.0.15\r\n", "User x has no permissions"
    )
    assert (denied.quorum, denied.refuses, denied.coordinates) == ("", "User x has no permissions", False)


# --- how it went ------------------------------------------------------------------------------------------------------


def outcome(**changes: Any) -> Outcome:
    """One that went well, but for what is said."""
    marks = {step: number / 100 for number, step in enumerate(STEPS)}
    well = Outcome(
        A,
        Address("s1", 26379),
        new=B,
        marks=marks,
        pause=0.2,
        proof="leader",
        proof_in_time=True,
        turned_in_time=True,
        answers=99,
    )
    return replace(well, **changes)


def test_a_move_that_went_well_is_0() -> None:
    """And the old host may be switched off."""
    assert exit_code(outcome()) == 0
    assert dict(summary(outcome()))["done"] == f"{B} is the master, and all agree: the host of {A} may be switched off"
    assert exit_code(outcome(coordinated=True, pause=None)) == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"two": 0.0104}, "DNS named two masters for 10.4 ms"),
        ({"none": 0.003}, "DNS named nobody for 3.0 ms"),
        ({"unanswered": 0.25}, "DNS did not answer for 250.0 ms"),
        ({"answers": 0}, "DNS did not answer"),
        ({"proof_in_time": False}, "nothing proved the new master while the writes waited"),
        ({"turned_in_time": False}, "the old master was no replica yet when its pause was over"),
        ({"waits_for": "not within 30 s: DNS does not name 10.0.0.2:6379 alone"}, "not within 30 s"),
        ({"failed": "Sentinel has given the failover up"}, "given the failover up"),
    ],
)
def test_a_move_that_did_not_go_well_is_1_with_why(changes: dict[str, Any], why: str) -> None:
    """Two, none, no word of DNS, no proof in time, not complete: each by itself."""
    seen = outcome(**changes)
    assert exit_code(seen) == 1
    assert why in "\n".join(f"{topic} {text}" for topic, text in summary(seen))
    assert as_json(Plan(()), seen, service=NAME)["ok"] is False


def test_only_a_complete_move_says_that_the_host_may_be_switched_off() -> None:
    """Not one that is waited for still, nor one that failed; a moment of two changes nothing of it."""
    assert "done" not in dict(summary(outcome(waits_for="not within 30 s: …")))
    assert "done" not in dict(summary(outcome(failed="nothing was moved")))
    assert "done" in dict(summary(outcome(two=0.01)))


def test_the_timeline_is_in_milliseconds_and_in_the_order_of_what_was_seen() -> None:
    """DNS may be quicker than the proof."""
    lines = [*timeline(outcome(marks={"asked": 0.004, "paused": 0.0, "proved": 0.1204, "dns": 0.1187}))]
    assert [(at, step) for at, step, _ in lines] == [
        ("0.0", "paused"),
        ("4.0", "asked"),
        ("118.7", "dns"),
        ("120.4", "proved"),
    ]


def test_the_json_has_every_step_and_every_finding() -> None:
    """Steps that did not come are null; a dry run has no move."""
    found = replace(plan(situation()), findings=(Finding(Level.FAIL, "dns", "names nobody", "look"),))
    said = json.loads(json.dumps(as_json(found, outcome(marks={"asked": 0.001}), service=NAME)))
    assert set(said["move"]["timeline_ms"]) == set(STEPS)
    assert [step for step, at in said["move"]["timeline_ms"].items() if at is not None] == ["asked"]
    assert said["findings"] == [{"level": "fail", "topic": "dns", "what": "names nobody", "mend": "look"}]
    assert as_json(found, None, service=NAME)["move"] is None


# --- what is sent, and what never is ----------------------------------------------------------------------------------


class Server(Link):
    """A connection whose answers are set by the command's beginning; what was sent is kept."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(A, timeout=1.0)
        self.answers, self.sent = answers, list[str]()
        self.at: Callable[[str], None] = lambda _: None
        """Called with each command before it is answered."""

    async def connect(self) -> None:
        return

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        given = []
        for command in map(" ".join, commands):
            self.sent.append(command)
            self.at(command)
            answer = next((a for begin, a in self.answers.items() if command.startswith(begin)), "OK")
            if isinstance(answer, Unanswered):
                raise answer
            given.append(answer)
        return given


class Stage(Watch):
    """What is seen of three nodes and three Sentinels, as the test sets it."""

    def __init__(self) -> None:
        super().__init__(NAME, Address("127.0.0.1", 8600), {}, {}, "mymaster", {})
        self.words = [*TRIO]
        self.nodes = {WHERE[n]: Look(node(n).node or master(n), 1000) for n in "abc"}
        self.dns.note(clock(), frozenset({A}))
        self.answers = 1

    @property
    def sentinels(self) -> list[Sentinel]:
        return self.words

    def select(self, name: str) -> None:
        """The Sentinel that is asked has chosen."""
        self.words[0] = replace(self.words[0], promoting=name)

    def promote(self, name: str) -> None:
        """The node says master."""
        self.nodes[WHERE[name]] = Look(master(name), 1000)
        self.masters[WHERE[name]] = clock()
        self.dns.note(clock(), frozenset({WHERE[name]}))

    def agree(self, name: str) -> None:
        """All Sentinels name it, and the old master follows it."""
        self.words = [sentinel(s.id, name, 6) for s in self.words]
        self.nodes[A] = Look(replica(name, run_id="a"), 1000)
        self._news.set()


INFO = "run_id:a\r\nrole:master\r\nmaster_repl_offset:1000\r\n"
IN_PROGRESS = ["flags", "master,failover_in_progress"]
CHOSEN = [["runid", "b", "flags", "slave,promoted"]]


class Play:
    """A move on that stage: Sentinel chooses ``b``, which says master, and stands by it."""

    def __init__(self, *, old: dict[str, Any] | None = None, leader: dict[str, Any] | None = None) -> None:
        turned = ["OK", "OK", 1, 0, "OK"]
        self.old = Server({"INFO": INFO, "EXEC": turned} | (old or {}))
        self.leader = Server({"SENTINEL MASTER": IN_PROGRESS, "SENTINEL REPLICAS": CHOSEN} | (leader or {}))
        self.stage = Stage()
        self.leader.at, self.old.at = self.at_leader, self.at_old
        found = plan(situation())
        self.move = Move(found, self.stage, self.old, self.leader, need=2, tell=lambda _: None)

    def at_leader(self, command: str) -> None:
        if command.startswith("SENTINEL FAILOVER") and "SENTINEL FAILOVER" not in self.leader.answers:
            self.stage.select("b")
            self.stage.promote("b")

    def at_old(self, command: str) -> None:
        if command == "EXEC":
            self.stage.agree("b")

    def sent(self, begin: str) -> list[str]:
        """The commands to the old master that begin so."""
        return [command for command in self.old.sent if command.startswith(begin)]


async def test_one_pause_one_question_and_the_turn_after_the_proof() -> None:
    """The pause is never renewed, one Sentinel is asked once, and the old master gets the new one's address."""
    play = Play()
    seen = await play.move.run()
    assert (exit_code(seen), seen.new, seen.proof) == (0, B, "leader")
    assert play.sent("CLIENT PAUSE") == ["CLIENT PAUSE 2000 WRITE"]
    assert [c for c in play.leader.sent if "FAILOVER" in c] == ["SENTINEL FAILOVER mymaster"]
    assert play.sent("REPLICAOF") == [f"REPLICAOF {B.host} {B.port}"]
    assert set(seen.marks) == set(STEPS)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ResponseError("INPROG Failover already in progress"), "a failover is under way there"),
        (ResponseError("NOGOODSLAVE No suitable replica to promote"), "it finds no replica that it could promote"),
        (ResponseError("NOAUTH Authentication required."), "it asks for a password"),
        (NoPermissionError("this user has no permissions to run the 'sentinel|failover' command"), "may not ask"),
        (ResponseError("ERR No such master with that name"), "ERR No such master with that name"),
    ],
)
async def test_a_sentinel_that_refuses_lets_the_writes_go_on(answer: ResponseError, words: str) -> None:
    """Said in plain words, the pause is ended, nobody is turned, and the exit code is 1."""
    play = Play(leader={"SENTINEL FAILOVER": answer})
    seen = await play.move.run()
    assert (exit_code(seen), "asked" in seen.marks) == (1, False)
    assert words in seen.failed
    assert play.old.sent[-1] == "CLIENT UNPAUSE"
    assert play.sent("REPLICAOF") == []


async def test_replicas_that_do_not_catch_up_let_the_writes_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then no Sentinel is asked."""
    monkeypatch.setattr(move, "CATCH_UP", 0.02)
    play = Play()
    play.stage.nodes[C] = Look(replica("a", run_id="c"), 999)
    seen = await play.move.run()
    assert f"{C} has not caught up" in seen.failed
    assert (exit_code(seen), play.leader.sent, play.old.sent[-1]) == (1, [], "CLIENT UNPAUSE")


async def test_a_stop_before_sentinel_is_asked_lets_the_writes_go_on() -> None:
    """Ctrl-C while the replicas catch up."""
    play = Play()
    play.stage.nodes[C] = None
    task = asyncio.create_task(play.move.run())
    await until(lambda: bool(play.sent("CLIENT PAUSE")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (play.leader.sent, play.old.sent[-1]) == ([], "CLIENT UNPAUSE")


async def test_a_stop_after_sentinel_was_asked_is_seen_through_to_the_turn() -> None:
    """Else a master that is replaced would take writes when the pause ends."""
    play = Play()
    play.old.at = lambda _: None  # what comes after the turn does not come here
    task = asyncio.create_task(play.move.run())
    await until(lambda: play.move.asked)
    play.move.interrupted = True
    seen = await task
    assert play.sent("REPLICAOF") == [f"REPLICAOF {B.host} {B.port}"]
    assert "interrupted, and it goes on without this command" in seen.failed


@pytest.mark.parametrize(
    "leader",
    [
        {"SENTINEL MASTER": ["flags", "master"]},
        {"SENTINEL REPLICAS": [["runid", "c", "flags", "slave,promoted"]]},
        {"SENTINEL REPLICAS": [["runid", "b", "flags", "slave"]]},
        {"SENTINEL MASTER": Unanswered("no answer within 1 s")},
    ],
    ids=["gave up", "chose another one", "chose nobody", "silent"],
)
async def test_nobody_is_turned_without_the_proof(leader: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The node says master, but who chose it does not say so any more, and no majority does: said, exit 1."""
    monkeypatch.setattr(fence, "PAUSE_WRITES", 0.1)
    monkeypatch.setattr(move, "LIMIT", 0.2)
    play = Play(leader=leader)
    seen = await play.move.run()
    assert play.sent("REPLICAOF") == []
    assert (seen.proof, seen.proof_in_time, exit_code(seen)) == ("", False, 1)


async def test_another_life_of_the_chosen_node_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says master with a run id that nobody has chosen: it was restarted."""
    monkeypatch.setattr(fence, "PAUSE_WRITES", 0.1)
    monkeypatch.setattr(move, "LIMIT", 0.2)
    play = Play()

    def restart(_: str) -> None:
        play.stage.select("b")
        play.stage.promote("b")
        play.stage.nodes[B] = Look(master("another life"), 1000)

    play.leader.at = restart
    await play.move.run()
    assert play.sent("REPLICAOF") == []


async def test_a_majority_is_proof_where_the_leader_is_lost() -> None:
    """It names the node that says master."""
    play = Play(leader={"SENTINEL MASTER": Unanswered("nothing listens there", gone=True)})

    def heard(_: str) -> None:
        play.stage.promote("b")
        play.stage.words[1:] = [sentinel("s2", "b", 6), sentinel("s3", "b", 6)]

    play.leader.at = heard
    play.old.at = lambda command: play.stage.agree("b") if command == "EXEC" else None
    seen = await play.move.run()
    assert (seen.proof, play.sent("REPLICAOF")) == ("majority", [f"REPLICAOF {B.host} {B.port}"])


async def test_an_old_master_that_its_own_agent_has_turned_is_left_alone() -> None:
    """It follows the new one already."""
    play = Play()

    def quicker(_: str) -> None:
        play.stage.promote("b")
        play.stage.agree("b")

    play.leader.at = quicker
    seen = await play.move.run()
    assert play.sent("REPLICAOF") == []
    assert exit_code(seen) == 0


@pytest.mark.parametrize(
    "old",
    [
        {"EXEC": ResponseError("EXECABORT Transaction discarded because of previous errors.")},
        {"EXEC": [ResponseError("ERR"), "OK", 1, 0, "OK"]},
        {"REPLICAOF": Unanswered("the server closed the connection")},
    ],
    ids=["aborted", "refused", "lost"],
)
async def test_an_old_master_that_was_not_turned_is_said(old: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """All agree in the end, but when its pause was over it took writes again: exit 1."""
    monkeypatch.setattr(fence, "PAUSE_WRITES", 0.3)
    monkeypatch.setattr(move, "LIMIT", 0.4)
    play = Play(old=old)
    play.old.at = lambda _: None
    seen = await play.move.run()
    assert (seen.proof_in_time, seen.turned_in_time, exit_code(seen)) == (True, False, 1)


async def test_another_life_of_the_old_master_is_not_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was restarted after it was asked to hold its writes: nobody has said what it is now."""
    monkeypatch.setattr(fence, "PAUSE_WRITES", 0.3)
    monkeypatch.setattr(move, "LIMIT", 0.4)
    play = Play()

    def restart(command: str) -> None:
        play.at_leader(command)
        play.old.answers["INFO"] = "run_id:later\r\nrole:master\r\n"

    play.leader.at = restart
    seen = await play.move.run()
    assert (play.sent("REPLICAOF"), exit_code(seen)) == ([], 1)


async def test_another_node_at_the_masters_address_is_not_paused() -> None:
    """It was restarted, or moved, after it was looked at: nothing is done."""
    play = Play(old={"INFO": "run_id:z\r\nrole:master\r\n"})
    seen = await play.move.run()
    assert "is not the node any more" in seen.failed
    assert play.sent("CLIENT") == []


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until it is true."""
    while not condition():  # noqa: ASYNC110 - the test's own deadline ends it
        await asyncio.sleep(0)
