"""The planned move itself: hold the writes, ask one Sentinel, have the proof, make the old master a replica, see all agree."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from redis.exceptions import ResponseError

from consul_redis_agent.clock import clock
from consul_redis_agent.commands.failover.outcome import Outcome
from consul_redis_agent.commands.failover.plan import Plan
from consul_redis_agent.commands.failover.watch import Watch
from consul_redis_agent.decide.facts import Address, Role
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.publish import fence
from consul_redis_agent.text import plain
from consul_redis_agent.watch import reply
from consul_redis_agent.watch.link import Link
from consul_redis_agent.watch.redis_node import offset, parse_info
from consul_redis_agent.watch.sentinels import REPLICAS

CATCH_UP = 1.0
"""Seconds in which the replicas get what the master has written; else the writes go on, and nothing is done."""
DNS_FIRST = 0.2
"""Seconds that DNS has to name the new master before the old one's clients are sent away."""
IN_HAND = 0.1
"""Seconds before the end of the pause by which the old master has to be turned."""
PROOF_EVERY = 0.02
"""Seconds between two questions to the leader whether it stands by its choice."""
COORDINATED_PROOF = 10.0
"""Seconds for the proof where the servers hold the writes by themselves."""
LIMIT = 30.0
"""Seconds from the question to Sentinel until all agree."""
QUIET = 2.0
"""Seconds after which is told what is waited for, and then once a second."""
REFUSALS = {
    "INPROG": "a failover is under way there; wait until it is over",
    "NOGOODSLAVE": "it finds no replica that it could promote",
    "NOAUTH": "it asks for a password; set sentinel.password_file",
    "NOPERM": "the login may not ask for a failover; give it +sentinel|failover",
}


class Move:
    """One planned move. ``master`` and ``leader`` are connections to the master and to the Sentinel to ask.

    ``need``: how many Sentinels make a majority. ``tell`` is given a sentence now and then while it takes long.
    """

    def __init__(
        self, plan: Plan, watch: Watch, master: Link, leader: Link, need: int, tell: Callable[[str], None]
    ) -> None:
        if plan.master is None or plan.sentinel is None:
            raise ValueError("a plan without a master, or without a Sentinel to ask, cannot be carried out")
        self.outcome = Outcome(plan.master, plan.sentinel, plan.coordinated)
        self.interrupted = False
        """Somebody asked to stop after Sentinel was asked: it is seen through until the old master is turned, no longer."""
        self._plan, self._watch, self._need, self._tell = plan, watch, need, tell
        self._master, self._leader = master, leader
        self._run_ids = {choice.run_id: choice.address for choice in plan.choices}
        self._began = self._asked_at = 0.0
        self._paused_until = 0.0
        """Until when the writes wait at least; 0 where nothing holds them."""

    @property
    def asked(self) -> bool:
        """Whether Sentinel was asked, so that it cannot be called back."""
        return self._asked_at > 0

    async def run(self) -> Outcome:
        """Do it. Whatever ends it before Sentinel was asked lets the writes go on."""
        try:
            if await self._begin() and (self._plan.coordinated or await self._hold()) and await self._ask():
                await self._see_through()
        finally:
            if not self.asked:
                await asyncio.shield(self._release())
            self._judge_dns()
        return self.outcome

    async def _begin(self) -> bool:
        """Have both connections at hand, and see that nothing has changed since the plan was made."""
        plan, changed = self._plan, ""
        self._began = clock()
        try:
            await self._leader.connect()
            (answer,) = await self._master.ask(("INFO", "server"))
        except Unanswered as error:
            return self._fail(f"nothing was done: {error}")
        if not isinstance(answer, str) or parse_info(answer).get("run_id") != plan.run_id:
            changed = f"{plan.master} is not the node any more that Sentinel knows"
        for sentinel in self._watch.sentinels:
            if sentinel.error or sentinel.promoting is not None or sentinel.master != plan.master:
                changed = f"the Sentinel at {sentinel.address} has changed its mind, or does not answer"
        self._began = clock()
        return self._fail(f"nothing was done: {changed}") if changed else True

    # The pause

    async def _hold(self) -> bool:
        """Have the writes wait, and every replica that could be chosen catch up."""
        self._began = clock()
        self._paused_until = self._began + fence.PAUSE_WRITES  # at the earliest
        try:
            answer, info = await self._master.ask(fence.pause(fence.PAUSE_WRITES), ("INFO", "replication"))
            written = offset(parse_info(info))
        except Unanswered as error:
            return self._fail(f"nothing was moved: the master does not hold its writes: {error}")
        if answer != "OK":
            return self._fail(f"nothing was moved: the master refuses to hold its writes: {plain(str(answer))}")
        self._mark("paused", self._began)
        able = [choice.address for choice in self._plan.choices if choice.open]
        if await self._watch.until(lambda: all(self._has(address, written) for address in able), CATCH_UP):
            self._mark("caught_up")
            return True
        late = ", ".join(str(address) for address in able if not self._has(address, written))
        return self._fail(f"nothing was moved, the writes go on: {late} has not caught up within {CATCH_UP:g} s")

    def _has(self, address: Address, written: int) -> bool:
        look = self._watch.nodes.get(address)
        return bool(look and look.node.role is Role.REPLICA and look.node.link_up and look.offset >= written)

    async def _release(self) -> None:
        """Let the writes go on, if they wait."""
        if not self._paused_until:
            return
        try:
            await self._master.ask(("CLIENT", "UNPAUSE"))
        except Unanswered:
            self._held_until(self._paused_until)  # it ends by itself
        else:
            self._held_until(clock())
        self._paused_until = 0.0

    def _held_until(self, at: float) -> None:
        if "paused" in self.outcome.marks:
            self.outcome.pause = min(at, self._paused_until) - self._began

    # The question to Sentinel, and the proof

    async def _ask(self) -> bool:
        more = ("COORDINATED",) if self._plan.coordinated else ()
        self._asked_at = clock()
        self._mark("asked", self._asked_at)
        try:
            (answer,) = await self._leader.ask(("SENTINEL", "FAILOVER", self._plan.master_name, *more))
        except Unanswered as error:
            self._tell(f"the Sentinel at {self.outcome.sentinel} did not answer ({error}): it may have begun")
            return True
        if not isinstance(answer, ResponseError):
            return True
        self._asked_at = 0.0
        said = plain(str(answer))
        means = REFUSALS.get(said.split(" ", 1)[0].lstrip("-"), "")
        if "permission" in said.lower():
            means = REFUSALS["NOPERM"]
        del self.outcome.marks["asked"]
        why = f"{means} ({said})" if means else said
        return self._fail(f"nothing was moved: the Sentinel at {self.outcome.sentinel} refuses: {why}")

    async def _see_through(self) -> None:
        """From the question on: nothing here can fail to end the pause, which ends by itself."""
        ends = self._paused_until or self._asked_at + COORDINATED_PROOF
        proved = await self._prove(ends)
        self.outcome.proof_in_time = proved
        if proved and self.outcome.new and not self._plan.coordinated:
            self.outcome.turned_in_time = await self._turn(self.outcome.new)
        if self._paused_until:
            self._held_until(self._paused_until)
        await self._finish()

    async def _prove(self, ends: float) -> bool:
        """Whether the node that was chosen says that it is master, and who chose it, or a majority, says so still."""
        while clock() < ends and await self._watch.until(self._promoted, ends - clock()):
            proof = "majority" if self._followed() else "leader" if await self._stands() else ""
            if proof and clock() < ends:
                self.outcome.proof = proof
                self._mark("proved")
                return True
            await asyncio.sleep(PROOF_EVERY)
        return False

    def _promoted(self) -> bool:
        """Whether the chosen node, in the life in which it was chosen, says master."""
        self._note()
        look = self._watch.nodes.get(self.outcome.new) if self.outcome.new else None
        return bool(look and look.node.role is Role.MASTER and self._run_ids.get(look.node.run_id) == self.outcome.new)

    def _followed(self) -> bool:
        names = [s.master for s in self._watch.sentinels if s.votes]
        return names.count(self.outcome.new) >= self._need

    async def _stands(self) -> bool:
        """Whether the Sentinel that was asked, asked again, still shows the failover to that node."""
        name, new = self._plan.master_name, self.outcome.new
        try:
            master, replicas = await self._leader.ask(("SENTINEL", "MASTER", name), ("SENTINEL", "REPLICAS", name))
            fields, listed = reply.pairs(master, "SENTINEL MASTER"), reply.each(replicas, "SENTINEL REPLICAS", REPLICAS)
        except Unanswered:
            return False
        chosen = [one.get("runid", "") for one in listed if "promoted" in one.get("flags", "").split(",")]
        under_way = "failover_in_progress" in fields.get("flags", "").split(",")
        return under_way and new is not None and [self._run_ids.get(run_id) for run_id in chosen] == [new]

    # The old master

    async def _turn(self, new: Address) -> bool:
        """Make it a replica, unless it is one already, once DNS names the new master, or has had its time.

        Returns whether it took no writes any more when the pause was over.
        """
        left = min(DNS_FIRST, self._paused_until - IN_HAND - clock())
        await self._watch.until(lambda: self._note() or self._watch.names(new) or self._follows(new), left)
        if self._follows(new):
            await self._release()  # the agent beside it was quicker
            return True
        try:
            if clock() < self._paused_until - IN_HAND / 2 and await self._send_turn(new):
                return True
        except Unanswered as error:
            self._tell(f"the old master closed the connection ({error}); its own agent may have turned it")
        return await self._watch.until(lambda: self._note() or self._follows(new), self._paused_until - clock())

    async def _send_turn(self, new: Address) -> bool:
        """Returns whether it is done, while the pause lasts. Raises Unanswered."""
        (server,) = await self._master.ask(("INFO", "server"))
        if parse_info(server).get("run_id") != self._plan.run_id:
            return False  # it was restarted: what it is now nobody has said
        answers = await self._master.ask(*fence.demote(new, pauses=True))
        ended = clock()
        if not _done(answers):
            refused = [answer for answer in answers if isinstance(answer, ResponseError)]
            self._tell(f"the old master does not become a replica: {plain(str(refused or answers[-1]))}")
            return False
        self._mark("turned", ended)
        self._held_until(ended)
        in_time, self._paused_until = ended < self._paused_until, 0.0
        return in_time

    def _follows(self, new: Address) -> bool:
        look = self._watch.nodes.get(self.outcome.old)
        return bool(look and look.node.role is Role.REPLICA and look.node.follows == new)

    # The end

    async def _finish(self) -> None:
        """Until all agree, the move is seen to have been given up, or time is over."""
        ends = self._asked_at + LIMIT

        def over() -> bool:
            self._note()
            return self.interrupted or not self._missing() or self._given_up()

        while not await self._watch.until(over, min(1.0, ends - clock())):
            if clock() >= ends:
                break
            if clock() - self._asked_at > QUIET:
                self._tell(f"{clock() - self._asked_at:.0f} s: {self._missing()}")
        if missing := self._missing():
            if self._given_up():
                self._fail("Sentinel has given the failover up: nothing has moved, and the writes go on")
            elif self.interrupted:
                self._fail(f"interrupted, and it goes on without this command: {missing}")
            else:
                self.outcome.waits_for = f"not within {LIMIT:g} s: {missing}"

    def _given_up(self) -> bool:
        """Whether all Sentinels name the old master, and none moves it, a while after one was asked to."""
        if clock() - self._asked_at < fence.PAUSE_WRITES or self._watch.role(self.outcome.old) is not Role.MASTER:
            return False
        every = self._watch.sentinels
        return all(s.votes and s.promoting is None and s.master == self.outcome.old for s in every)

    def _missing(self) -> str:
        """What is not as it has to be before the old host may be switched off; empty where all is."""
        return "; ".join(self._missing_parts())

    def _missing_parts(self) -> Iterator[str]:
        new, old = self.outcome.new, self.outcome.old
        if new is None:
            yield "Sentinel has not chosen a replica yet"
            return
        if self._watch.role(new) is not Role.MASTER:
            yield f"{new} does not say master"
        if not self._watch.names(new):
            yield f"DNS does not name {new} alone"
        look = self._watch.nodes.get(old)
        if not self._follows(new):
            yield f"{old} is not a replica of {new} yet"
        elif look and not look.node.link_up:
            yield f"the link of {old} to {new} is not up yet"
        for sentinel in self._watch.sentinels:
            if sentinel.error:
                yield f"the Sentinel at {sentinel.address} does not answer"
            elif sentinel.master != new:
                yield f"the Sentinel at {sentinel.address} names {sentinel.master}"
            elif sentinel.promoting is not None:
                yield f"the Sentinel at {sentinel.address} still shows the failover"

    # What is seen on the way

    def _note(self) -> bool:
        """Take in what is seen now; always False, for conditions that only wait."""
        outcome, watch = self.outcome, self._watch
        if "selected" not in outcome.marks and (chosen := self._run_ids.get(watch.selected)):
            outcome.new = chosen
            self._mark("selected")
        turned = {a: at for a, at in watch.masters.items() if a != outcome.old and at >= self._asked_at}
        if outcome.new is None and len(turned) == 1:
            outcome.new = next(iter(turned))
        new = outcome.new
        if new in turned:
            self._mark("promoted", turned[new])
        if new is None:
            return False
        if watch.names(new):
            self._mark("dns")
        look = watch.nodes.get(outcome.old)
        if self._follows(new) and look and look.node.link_up:
            self._mark("replica")
        if all(not s.error and s.master == new and s.promoting is None for s in watch.sentinels):
            self._mark("agreed")
        return False

    def _mark(self, step: str, at: float | None = None) -> None:
        """The first time that a step was seen."""
        self.outcome.marks.setdefault(step, (clock() if at is None else at) - self._began)

    def _fail(self, why: str) -> bool:
        self.outcome.failed = why
        return False

    def _judge_dns(self) -> None:
        dns, outcome = self._watch.dns, self.outcome
        outcome.two = dns.seconds(lambda named: len(named) > 1, since=self._began)
        outcome.none = dns.seconds(lambda named: not named, since=self._began)
        seen = dns.seconds(lambda _: True, since=self._began)
        outcome.unanswered = max(0.0, round(dns.up_to - self._began - seen, 6))
        outcome.answers, outcome.resolution = self._watch.answers, self._watch.resolution


def _done(answers: list[Any]) -> bool:
    """Whether EXEC has made the node a replica."""
    match answers[-1]:
        case ["OK", *_]:
            return True
    return False
