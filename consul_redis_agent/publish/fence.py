"""What is sent to a Redis node that has lost its authority, what the agent's login needs for it, and who sends it.

The transaction is Sentinel's own for a node that it turns (``sentinelSendSlaveOf`` in sentinel.c), with the pause ended
in it: who is sent away finds no moment in which this node takes a write.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis.exceptions import ExecAbortError, NoPermissionError, ResponseError

from consul_redis_agent.clock import clock
from consul_redis_agent.decide.decision import Do, Order
from consul_redis_agent.decide.facts import Address, Node
from consul_redis_agent.decide.fence import PAUSES
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.marked import event
from consul_redis_agent.supervise import say
from consul_redis_agent.text import plain

log = logging.getLogger(__name__)

Commands = tuple[tuple[str, ...], ...]

PAUSE_WRITES = 2.0
"""Seconds for which writes wait, once: what queues behind a longer pause makes Sentinel hold the node for down."""
PAUSE_ALL = 1.0
"""Seconds for which everything waits on a master that came back empty: a replica knocks once a second."""


LOOKED_AT = (("CONFIG", "GET", "masterauth"), ("CONFIG", "GET", "requirepass"))
"""Whether a replica of it could log in to a master that has the same password."""


def pause(seconds: float, *, all_commands: bool = False) -> tuple[str, ...]:
    """Let the writes wait, or everything. ``WRITE`` needs Redis 6.2 or later; expiry and eviction wait too."""
    every_version = ("CLIENT", "PAUSE", str(round(seconds * 1000)))
    return every_version if all_commands else (*every_version, "WRITE")


def demote(to: Address, *, pauses: bool) -> Commands:
    """Make the node a replica of ``to`` and close its clients' connections, in one transaction.

    ``pauses``: it is Redis 6.2 or later, so there may be a pause to end. An answer for each command; the last one, to
    EXEC, is the list of what was done. REWRITE is refused in it where there is no configuration file, which changes nothing.
    """
    steps = [
        ("REPLICAOF", to.host, str(to.port)),
        ("CONFIG", "REWRITE"),
        ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
        ("CLIENT", "KILL", "TYPE", "pubsub"),
    ]
    if pauses:
        steps.append(("CLIENT", "UNPAUSE"))
    return (("MULTI",), *steps, ("EXEC",))


TRANSACTION: Commands = (("MULTI",), ("EXEC",))
"""An empty transaction, to be tried before a rehearsal: whoever is refused MULTI carries out what follows, as far as it goes."""


def rehearsal(*, pauses: bool) -> Commands:
    """Everything that a fence sends, queued and then discarded: a right that is missing shows, and nothing is done.

    Each has an argument that no server takes, so that where MULTI is refused no role changes and nobody is disconnected.
    """
    queued = [*demote(Address("127.0.0.1", 1), pauses=pauses)[1:-1]]
    if pauses:
        queued.append(pause(PAUSE_WRITES))
    return (("MULTI",), *((*c[:2], "nothing") if len(c) > 2 else c for c in queued), ("DISCARD",))


def right(command: Sequence[str]) -> str:
    """The ACL right that it takes, as ``ACL SETUSER`` has it: ``+client|pause``."""
    return f"+{'|'.join(command[: 2 if command[0] in ('CLIENT', 'CONFIG') else 1]).lower()}"


def missing_rights(commands: Commands, answers: Sequence[object]) -> list[str]:
    """The rights that these answers say are missing."""
    refused = [command for command, answer in zip(commands, answers, strict=True) if lacks_right(answer)]
    return list(dict.fromkeys(map(right, refused)))


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How a node took a rehearsal."""

    missing: tuple[str, ...] = ()
    """The rights that the login lacks, as ``ACL SETUSER`` takes them; all of them where it may not even begin."""
    refusals: tuple[ResponseError, ...] = ()
    """What was refused for another reason than a right."""


async def rehearse(link: Asked, *, pauses: bool) -> Rehearsed:
    """Send everything that a fence sends, queued and then discarded. Raises Unanswered.

    Where MULTI is refused, whatever the reason, nothing that follows it is sent: it would be carried out. It is tried by
    itself first, and then sent together with the rest: a connection that breaks in between would be made anew.
    """
    commands = rehearsal(pauses=pauses)
    opened = await link.ask(*TRANSACTION)
    if opened[0] != "OK":
        if lacks_right(opened[0]):
            return Rehearsed(tuple(dict.fromkeys(map(right, (*TRANSACTION, *commands)))))
        return Rehearsed(refusals=_refusals(opened[:1]) or (ResponseError(f"it answers MULTI with {opened[0]!r}"),))
    if isinstance(opened[1], Exception):
        await link.close()  # it is still within the transaction
    answers = await link.ask(*commands)
    if answers[-1] != "OK":
        await link.close()
    missing = [*missing_rights(TRANSACTION, opened), *missing_rights(commands, answers)]
    return Rehearsed(tuple(dict.fromkeys(missing)), _refusals([*opened, *answers]))


def _refusals(answers: Sequence[object]) -> tuple[ResponseError, ...]:
    return tuple(a for a in answers if isinstance(a, ResponseError) and not lacks_right(a))


def lacks_right(answer: object) -> bool:
    """Whether a command was refused for want of a right. EXEC has an error of its own for everything, which says why."""
    aborted = isinstance(answer, ExecAbortError) and "permission" in str(answer)
    return isinstance(answer, NoPermissionError) or aborted


class Asked(Protocol):
    """A connection to Redis or a Sentinel. Raises Unanswered."""

    async def ask(self, *commands: Sequence[str]) -> list[Any]: ...

    async def close(self) -> None: ...


class Fence:
    """Carries out orders, each beside everything else; says what was done, and what could not be.

    ``own`` is a connection to the Redis node for this alone; ``sentinel`` makes one to a Sentinel, logged in as configured.
    ``done(order, began, error)`` is called when an order was carried out, or could not be.
    """

    def __init__(
        self,
        name: str,
        own: Asked,
        sentinel: Callable[[Address], Asked],
        done: Callable[[Order, float, str], None] = lambda order, began, error: None,
    ) -> None:
        self.error = ""
        """What is missing, so that orders will not be carried out, or in part."""
        self.done: Counter[Do] = Counter()
        self.failed: Counter[Do] = Counter()
        """Orders that were carried out, and that could not be."""
        self._name, self._own, self._sentinel, self._told = name, own, sentinel, done
        self._life = ""
        self._pauses = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Lock()

    def prepare(self, node: Node) -> None:
        """Find out once in each life of the node whether the orders could be carried out; the connection stays open."""
        if node.run_id != self._life and not node.loading:
            self._life, self._pauses = node.run_id, node.version >= PAUSES
            self._begin(self._rehearse())

    def carry_out(self, order: Order, master_name: str) -> None:
        """Begin to do what is ordered."""
        self._begin(self._ask_for_failover(order, master_name) if order.do is Do.FAIL_OVER else self._send(order))

    async def finished(self) -> None:
        """Return when everything that was begun is done, or has failed."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """End what is under way; nothing that was sent has to be undone, a pause runs out."""
        for task in self._tasks:
            task.cancel()
        self._begin(self._own.close())

    def _begin(self, doing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            say(f"{self._name}: the fence", error)

    async def _send(self, order: Order) -> None:
        commands: Commands
        match order.do:
            case Do.FOLLOW if order.to:
                commands, what = demote(order.to, pauses=self._pauses), f"follows {order.to} now"
            case Do.HOLD:
                commands, what = (pause(PAUSE_ALL, all_commands=True),), f"everything waits, {PAUSE_ALL:g} s at most"
            case _:
                commands, what = (pause(PAUSE_WRITES),), f"its writes wait, {PAUSE_WRITES:g} s at most"
        began = clock()
        try:
            async with self._turns:
                answers = await self._own.ask(*commands)
        except Unanswered as error:
            self._over(order, began, str(error))
            mark = self._event("fence_failed", order, error=str(error))
            log.warning("%s: could not be told %r: %s", self._name, order.do.value, error, extra=mark)
            return
        done = answers[-1] if isinstance(answers[-1], list) else []
        if refused := next((a for a in (*answers, *done) if isinstance(a, Exception) and not _no_file(a)), None):
            self._over(order, began, plain(str(refused)))
            right = missing_rights(commands, answers)
            mend = f"; allow its login {' '.join(right)}" if right else ""
            said = plain(str(refused))
            failed = self._event("fence_failed", order, error=said)
            log.warning("%s: refuses to be told %r: %s%s", self._name, order.do.value, said, mend, extra=failed)
        else:
            self._over(order, began, "")
            log.info("%s: %s: %s", self._name, what, order.sentence, extra=self._event("fence_done", order))

    async def _ask_for_failover(self, order: Order, master_name: str) -> None:
        if order.to is None:
            return
        link, began = self._sentinel(order.to), clock()
        try:
            (answer,) = await link.ask(("SENTINEL", "FAILOVER", master_name))
        except Unanswered as error:
            answer = error
        finally:
            await link.close()
        self._over(order, began, plain(str(answer)) if isinstance(answer, Exception) else "")
        if isinstance(answer, Exception):
            mend = "; allow its login +sentinel|failover" if isinstance(answer, NoPermissionError) else ""
            log.warning(
                "%s: Sentinel at %s does not begin a failover (%s%s); it is left to Sentinel: %s",
                self._name, order.to, plain(str(answer)), mend, order.sentence,
                extra=self._event("fence_failed", order, error=plain(str(answer))),
            )  # fmt: skip
        else:
            asked = self._event("fence_done", order)
            log.warning(
                "%s: asked Sentinel at %s for a failover: %s", self._name, order.to, order.sentence, extra=asked
            )

    def _over(self, order: Order, began: float, error: str) -> None:
        """An order was carried out; ``error`` says why it was not."""
        (self.failed if error else self.done)[order.do] += 1
        self._told(order, began, error)

    async def _rehearse(self) -> None:
        try:
            async with self._turns:
                tried = await rehearse(self._own, pauses=self._pauses)
                answers = await self._own.ask(*LOOKED_AT) if not (tried.missing or tried.refusals) else []
        except Unanswered as error:
            self.error = f"whether the node could be fenced is not known: {error}"
            self._life = ""  # the next decision tries again
            return
        settings = [dict(zip(a[::2], a[1::2], strict=False)) for a in answers if isinstance(a, list)]
        found = {key: value for each in settings for key, value in each.items()}
        if tried.missing:
            self.error = f"the node cannot be fenced: allow its login {' '.join(tried.missing)}"
        elif tried.refusals:
            self.error = f"the node cannot be fenced: it refuses what is sent: {plain(str(tried.refusals[0]))}"
        elif found.get("requirepass") and found.get("masterauth") == "":
            self.error = (
                "as a replica it could not follow: it asks for a password, and has no masterauth for the others'"
            )
        else:
            self.error = ""
        if not self._pauses:
            log.warning(
                "%s: Redis before 6.2 cannot let writes alone wait: those of a failover's last moment may be lost",
                self._name,
                extra=event("no_write_pause", node=self._name),
            )

    def _event(self, name: str, order: Order, **more: str) -> dict[str, Any]:
        to = str(order.to) if order.to else ""
        return event(name, node=self._name, order=order.do.name.lower(), to=to, **more)


def _no_file(error: Exception) -> bool:
    """CONFIG REWRITE where there is no configuration file, or none that can be written: the node is turned all the same."""
    return "config file" in str(error) or "Rewriting" in str(error)
