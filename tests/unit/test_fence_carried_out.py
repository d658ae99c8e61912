"""What is sent for an order, in what words, and what is said where it is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import ExecAbortError, NoPermissionError, ResponseError

from consul_redis_agent.decide.decision import Do, Order
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.publish.fence import (
    LOOKED_AT,
    TRANSACTION,
    Fence,
    demote,
    missing_rights,
    pause,
    rehearsal,
    rehearse,
    right,
)
from consul_redis_agent.watch.link import Link
from tests.doubles.facts import master
from tests.unit.test_logins import Server, up

B = Address("10.0.0.2", 6379)
S2 = Address("s2", 26379)
NODE = master(version=(7, 0, 15))
OLDER = master(version=(6, 0, 16))
FOLLOW = Order(Do.FOLLOW, "why it follows", B)
PAUSE = Order(Do.PAUSE, "why its writes wait")
HOLD = Order(Do.HOLD, "why everything waits")
FAIL_OVER = Order(Do.FAIL_OVER, "why a failover is asked for", S2)
DENIED = NoPermissionError("this user has no permissions to run the command")
RENAMED = ResponseError("ERR unknown command")
EVERY = [*dict.fromkeys(map(right, (*TRANSACTION, *rehearsal(pauses=True))))]


class FakeLink:
    """A connection that keeps what it is asked; each command is answered with OK unless the test says otherwise."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []
        self.was_asked = asyncio.Event()
        self.closed = 0
        self.silent = ""
        self.hangs = False
        self.at_once = 0
        self.most_at_once = 0

    async def ask(self, *commands: Sequence[str]) -> list[Any]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            if self.hangs:
                await asyncio.Event().wait()
            self.asked += [tuple(c) for c in commands]
            self.was_asked.set()
            if self.silent:
                raise Unanswered(self.silent)
            return [self._answer(c) for c in commands]
        finally:
            self.at_once -= 1

    def _answer(self, command: Sequence[str]) -> Any:
        named = "_".join(command[:3]).lower(), "_".join(command[:2]).lower(), command[0].lower()
        return next((self.answers[n] for n in named if n in self.answers), "OK")

    async def close(self) -> None:
        self.closed += 1


class Made:
    """A fence, its own connection, and those that it has made to Sentinels."""

    def __init__(self, own: FakeLink, **sentinels: Any) -> None:
        self.own, self.sentinel, self.where = own, FakeLink(**sentinels), list[Address]()
        self.fence = Fence("node", own, self._to)

    def _to(self, address: Address) -> FakeLink:
        self.where.append(address)
        return self.sentinel


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged, from INFO on."""
    caplog.set_level(logging.INFO, "consul_redis_agent")
    return caplog


async def done(made: Made, order: Order) -> list[tuple[str, ...]]:
    """What the node is sent for an order."""
    made.own.asked.clear()
    made.fence.carry_out(order, "shop")
    await made.fence.finished()
    return made.own.asked


async def prepared(**answers: Any) -> Made:
    """A fence that has looked at its node."""
    made = Made(FakeLink(**answers))
    made.fence.prepare(NODE)
    await made.fence.finished()
    return made


# What is sent


async def test_a_node_that_follows_is_turned_in_one_transaction_that_ends_its_pause(
    said: pytest.LogCaptureFixture,
) -> None:
    """Sentinel's own transaction; who is sent away finds no moment in which the node takes a write."""
    assert await done(await prepared(), FOLLOW) == [
        ("MULTI",),
        ("REPLICAOF", "10.0.0.2", "6379"),
        ("CONFIG", "REWRITE"),
        ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
        ("CLIENT", "KILL", "TYPE", "pubsub"),
        ("CLIENT", "UNPAUSE"),
        ("EXEC",),
    ]
    assert said.messages == ["node: follows 10.0.0.2:6379 now: why it follows"]


async def test_an_older_redis_is_turned_without_the_end_of_a_pause_that_it_does_not_have() -> None:
    """UNPAUSE, of 6.2, would be an error that keeps the transaction from being carried out."""
    made = Made(FakeLink())
    made.fence.prepare(OLDER)
    await made.fence.finished()
    sent = await done(made, FOLLOW)
    assert ("CLIENT", "UNPAUSE") not in sent
    assert ("REPLICAOF", "10.0.0.2", "6379") in sent


async def test_writes_wait_for_two_seconds_and_everything_for_one(said: pytest.LogCaptureFixture) -> None:
    """What queues behind a longer pause makes Sentinel hold the node for down. Before 6.2 there is no word for everything."""
    made = await prepared()
    assert await done(made, PAUSE) == [("CLIENT", "PAUSE", "2000", "WRITE")]
    assert await done(made, HOLD) == [("CLIENT", "PAUSE", "1000")]
    assert (made.fence.done, made.fence.failed) == ({Do.PAUSE: 1, Do.HOLD: 1}, {})
    assert said.messages == [
        "node: its writes wait, 2 s at most: why its writes wait",
        "node: everything waits, 1 s at most: why everything waits",
    ]


async def test_the_orders_of_one_node_are_sent_one_after_the_other() -> None:
    """In the order in which they were given: a pause that came after the turn would keep the replica from its master."""
    made = await prepared()
    made.own.asked.clear()
    made.fence.carry_out(PAUSE, "shop")
    made.fence.carry_out(FOLLOW, "shop")
    await made.fence.finished()
    assert [made.own.asked[0][:2], made.own.asked[1]] == [("CLIENT", "PAUSE"), ("MULTI",)]
    assert made.own.most_at_once == 1


async def test_a_sentinel_is_asked_once_over_a_connection_of_its_own(said: pytest.LogCaptureFixture) -> None:
    """Which is closed again, and the node itself is sent nothing."""
    made = await prepared()
    assert await done(made, FAIL_OVER) == []
    assert (made.where, made.sentinel.asked, made.sentinel.closed) == ([S2], [("SENTINEL", "FAILOVER", "shop")], 1)
    assert (made.fence.done, made.fence.failed) == ({Do.FAIL_OVER: 1}, {})
    assert said.messages == ["node: asked Sentinel at s2:26379 for a failover: why a failover is asked for"]


async def test_an_order_to_ask_nobody_asks_nobody() -> None:
    """There is no Sentinel to connect to."""
    made = await prepared()
    await done(made, replace(FAIL_OVER, to=None))
    assert made.where == []


async def test_an_order_waits_for_no_other_nodes_sentinel() -> None:
    """A Sentinel that hangs holds up no fence."""
    made = await prepared()
    made.sentinel.hangs = True
    made.own.was_asked.clear()
    made.fence.carry_out(FAIL_OVER, "shop")
    made.fence.carry_out(PAUSE, "shop")
    await made.own.was_asked.wait()
    made.fence.stop()
    await made.fence.finished()


# What is refused


@pytest.mark.parametrize("order", [FOLLOW, PAUSE, HOLD])
async def test_a_node_that_does_not_answer_is_named(order: Order, said: pytest.LogCaptureFixture) -> None:
    """Nothing is tried again here: the rules decide anew from what is seen then."""
    made = await prepared()
    made.own.silent = "no answer within 2 s"
    sent = await done(made, order)
    assert len(sent) == (7 if order is FOLLOW else 1)
    assert said.messages == [f"node: could not be told '{order.do.value}': no answer within 2 s"]
    assert (made.fence.done, made.fence.failed) == ({}, {order.do: 1})


async def test_a_right_that_is_missing_is_named_with_what_mends_it(said: pytest.LogCaptureFixture) -> None:
    """Each right once, as ACL SETUSER takes it, and in one line."""
    made = await prepared()
    made.own.answers |= {"client_kill": DENIED, "replicaof": DENIED, "exec": ExecAbortError("Transaction discarded")}
    await done(made, FOLLOW)
    (line,) = said.messages
    assert line.startswith("node: refuses to be told 'follow that one': ")
    assert line.endswith("; allow its login +replicaof +client|kill")
    assert (made.fence.done, made.fence.failed) == ({}, {Do.FOLLOW: 1})
    assert said.records[0].levelno == logging.WARNING


async def test_an_error_within_the_transaction_is_said(said: pytest.LogCaptureFixture) -> None:
    """EXEC's own answer is a list of what each command came to; no right mends that."""
    made = await prepared(exec=[ResponseError("REPLICAOF not allowed in cluster mode."), "OK", 3, 0, "OK"])
    await done(made, FOLLOW)
    assert said.messages == ["node: refuses to be told 'follow that one': REPLICAOF not allowed in cluster mode."]


@pytest.mark.parametrize(
    "error",
    ["The server is running without a config file", "Rewriting config file: Permission denied"],
)
async def test_a_node_without_a_configuration_file_is_turned_all_the_same(
    error: str, said: pytest.LogCaptureFixture
) -> None:
    """It forgets whom it follows when it is restarted, and is turned again then."""
    made = await prepared(exec=["OK", ResponseError(error), 3, 0, "OK"])
    await done(made, FOLLOW)
    assert said.messages == ["node: follows 10.0.0.2:6379 now: why it follows"]


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        (ResponseError("INPROG Failover already in progress"), "(INPROG Failover already in progress)"),
        (ResponseError("NOGOODSLAVE No suitable replica to promote"), "(NOGOODSLAVE No suitable replica to promote)"),
        (DENIED, f"({DENIED}; allow its login +sentinel|failover)"),
    ],
)
async def test_a_sentinel_that_refuses_is_said_and_left_alone(
    answer: Exception, ends: str, said: pytest.LogCaptureFixture
) -> None:
    """It is asked once, its connection is closed, and Sentinel goes on by itself."""
    made = Made(FakeLink(), sentinel_failover=answer)
    await done(made, FAIL_OVER)
    assert said.messages == [
        f"node: Sentinel at s2:26379 does not begin a failover {ends}; it is left to Sentinel: why a failover is asked for"
    ]
    assert (len(made.sentinel.asked), made.sentinel.closed) == (1, 1)


async def test_a_sentinel_that_does_not_answer_is_said_and_left_alone(said: pytest.LogCaptureFixture) -> None:
    """Likewise."""
    made = Made(FakeLink())
    made.sentinel.silent = "no answer within 1 s"
    await done(made, FAIL_OVER)
    assert "does not begin a failover (no answer within 1 s)" in said.messages[0]
    assert made.sentinel.closed == 1


async def test_a_defect_of_our_own_is_said_and_ends_no_other_order(said: pytest.LogCaptureFixture) -> None:
    """One order's trouble is its own."""
    made = await prepared()

    def broken(address: Address) -> FakeLink:
        raise ZeroDivisionError("a defect")

    made.fence._sentinel = broken
    made.fence.carry_out(FAIL_OVER, "shop")
    assert await done(made, PAUSE) == [("CLIENT", "PAUSE", "2000", "WRITE")]
    assert any("node: the fence" in line and "a defect" in line for line in said.messages)


# What is looked at before


async def test_the_rights_are_tried_out_once_in_each_life_of_the_node() -> None:
    """Not at each decision, and not while it is loading, when it would refuse everything."""
    made = Made(FakeLink())
    made.fence.prepare(replace(NODE, loading=True))
    await made.fence.finished()
    assert made.own.asked == []
    for _ in range(2):
        made.fence.prepare(NODE)
        await made.fence.finished()
    once = [*TRANSACTION, *rehearsal(pauses=True), *LOOKED_AT]
    assert made.own.asked == once
    made.fence.prepare(replace(NODE, run_id="a2"))
    await made.fence.finished()
    assert made.own.asked == 2 * once


async def test_a_node_that_can_be_fenced_has_no_error() -> None:
    """With a password that a replica of it can log in with, too."""
    config = {"config_get_masterauth": ["masterauth", "x"], "config_get_requirepass": ["requirepass", "x"]}
    assert (await prepared(**config)).fence.error == ""
    assert (await prepared(config_get=DENIED)).fence.error == "", "who may not read the settings knows nothing"


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"multi": DENIED}, f"the node cannot be fenced: allow its login {' '.join(EVERY)}"),
        ({"exec": DENIED}, "the node cannot be fenced: allow its login +exec"),
        ({"multi": RENAMED}, "the node cannot be fenced: it refuses what is sent: ERR unknown command"),
        ({"client_kill": RENAMED}, "the node cannot be fenced: it refuses what is sent: ERR unknown command"),
        ({"client_pause": DENIED}, "the node cannot be fenced: allow its login +client|pause"),
        (
            {"replicaof": DENIED, "client_kill": DENIED, "config_rewrite": DENIED},
            "the node cannot be fenced: allow its login +replicaof +config|rewrite +client|kill",
        ),
        (
            {"config_get_masterauth": ["masterauth", ""], "config_get_requirepass": ["requirepass", "x"]},
            "as a replica it could not follow: it asks for a password, and has no masterauth for the others'",
        ),
    ],
)
async def test_what_keeps_a_node_from_being_fenced_is_known_before(answers: dict[str, Any], error: str) -> None:
    """And says what mends it."""
    assert (await prepared(**answers)).fence.error == error


@pytest.mark.parametrize("refused", [DENIED, RENAMED, ResponseError("LOADING Redis is loading"), "QUEUED"])
async def test_who_is_refused_a_transaction_is_sent_nothing_that_belongs_into_one(refused: object) -> None:
    """It would be carried out at once, whatever the reason. All rights that could not be tried are named; other reasons are none."""
    link = FakeLink(multi=refused)
    tried = await rehearse(link, pauses=True)
    assert link.asked == [*TRANSACTION]
    assert tried.missing == (tuple(EVERY) if refused is DENIED else ())
    assert bool(tried.refusals) is (refused is not DENIED)


@pytest.mark.parametrize("refused", ["exec", "discard"])
async def test_a_transaction_that_cannot_be_ended_ends_with_its_connection(refused: str) -> None:
    """What is sent over it later would only be queued."""
    link = FakeLink(**{refused: DENIED})
    tried = await rehearse(link, pauses=True)
    assert tried.missing == (f"+{refused}",)
    assert link.closed == 1


async def test_an_older_redis_is_named_and_the_rest_is_done(said: pytest.LogCaptureFixture) -> None:
    """It has no pause of writes alone."""
    made = Made(FakeLink())
    made.fence.prepare(OLDER)
    await made.fence.finished()
    assert not any("PAUSE" in word or "UNPAUSE" in word for command in made.own.asked for word in command)
    assert any("6.2" in line for line in (*said.messages, made.fence.error))
    made.fence.prepare(NODE)
    await made.fence.finished()
    assert made.fence.error == ""


async def test_a_rehearsal_that_was_not_answered_is_done_again() -> None:
    """What could not be known a moment ago can be known now."""
    made = Made(FakeLink())
    made.own.silent = "no answer within 2 s"
    made.fence.prepare(NODE)
    await made.fence.finished()
    assert made.fence.error == "whether the node could be fenced is not known: no answer within 2 s"
    made.own.silent = ""
    made.fence.prepare(NODE)
    await made.fence.finished()
    assert made.fence.error == ""


@pytest.mark.parametrize("pauses", [True, False])
def test_a_rehearsal_does_nothing_wherever_it_is_refused(pauses: bool) -> None:
    """It asks for each right that a fence needs, and ends with DISCARD; no command of it could be carried out."""
    rehearsed = rehearsal(pauses=pauses)
    assert (rehearsed[0], rehearsed[-1]) == (("MULTI",), ("DISCARD",))
    needed = {c[:2] if c[0] in ("CLIENT", "CONFIG") else c[:1] for c in demote(B, pauses=pauses)[1:-1]}
    needed |= {pause(1.0)[:2]} if pauses else set()
    assert {c[:2] if c[0] in ("CLIENT", "CONFIG") else c[:1] for c in rehearsed[1:-1]} == needed
    assert all("10.0.0.2" not in c and "6379" not in c for c in rehearsed)


def test_each_missing_right_is_named_once() -> None:
    """In the words of ACL SETUSER."""
    commands = (("MULTI",), ("CLIENT", "KILL", "TYPE", "normal"), ("CLIENT", "KILL", "TYPE", "pubsub"), ("EXEC",))
    assert missing_rights(commands, ["OK", DENIED, DENIED, ResponseError("ERR")]) == ["+client|kill"]


# The end


async def test_a_fence_that_stops_leaves_nothing_under_way() -> None:
    """A pause runs out by itself, and the connection is closed."""
    made = await prepared()
    made.own.hangs = True
    made.fence.carry_out(PAUSE, "shop")
    await asyncio.sleep(0)
    made.fence.stop()
    await made.fence.finished()
    assert (made.own.at_once, made.own.closed) == (0, 1)
    assert made.fence._tasks == set()


# Over a real connection


async def test_an_order_is_carried_out_over_a_socket(said: pytest.LogCaptureFixture) -> None:
    """As redis-py writes it, with the answer of each queued command, and EXEC's list."""
    queued = b"+QUEUED\r\n"
    node = Server(
        {
            "MULTI": b"+OK\r\n",
            "REPLICAOF": queued,
            "CONFIG REWRITE": queued,
            "CLIENT": queued,
            "EXEC": b"*5\r\n+OK\r\n-ERR The server is running without a config file\r\n:3\r\n:0\r\n+OK\r\n",
            "CLIENT SETINFO": b"+OK\r\n",
        }
    )
    sentinel = Server({"SENTINEL FAILOVER": b"-INPROG Failover already in progress\r\n"})
    async with up(node, sentinel):
        fence = Fence("node", Link(node.address, timeout=5), lambda address: Link(address, timeout=5))
        fence.carry_out(FOLLOW, "shop")
        fence.carry_out(replace(FAIL_OVER, to=sentinel.address), "shop")
        await fence.finished()
        fence.stop()
        await fence.finished()
    assert node.asked == [list(command) for command in demote(B, pauses=True)]
    assert sentinel.asked == [["SENTINEL", "FAILOVER", "shop"]]
    assert "node: follows 10.0.0.2:6379 now: why it follows" in said.messages
    assert any("INPROG" in line for line in said.messages)
