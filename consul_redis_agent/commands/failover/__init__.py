"""``failover``: moves the master in order, with proof; looks first whether it can work, and says all that stands against it."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from functools import partial

from consul_redis_agent.commands import load_config
from consul_redis_agent.commands.domain import with_domain
from consul_redis_agent.commands.failover.look import look
from consul_redis_agent.commands.failover.move import Move
from consul_redis_agent.commands.failover.outcome import Outcome, as_json, exit_code, summary, timeline
from consul_redis_agent.commands.failover.plan import Plan, Situation, plan
from consul_redis_agent.commands.failover.watch import Watch
from consul_redis_agent.commands.screen import is_terminal, say, show
from consul_redis_agent.config import Config, RedisConfig
from consul_redis_agent.consul.domain import name_of
from consul_redis_agent.errors import LocalError
from consul_redis_agent.tell.logs import escape
from consul_redis_agent.watch.lookout import redis_link, sentinel_link

SIGNALLED = 128
"""Added to the number of the signal that ended it, as shells have it."""


def main(args: argparse.Namespace) -> int:
    """Look, and unless that is all, move. Exit code 0 if it can work, or has worked with proof and without a gap."""
    config = asyncio.run(with_domain(load_config(args)))
    redis, name = _group(config, args.name)
    return asyncio.run(_Command(config, redis, name, dry_run=args.dry_run, as_json=args.json).run())


def _group(config: Config, given: str | None) -> tuple[RedisConfig, str]:
    """The node and the name in DNS of the group to move. Raises LocalError where that is left open."""
    services = sorted({redis.service for redis in config.redis})
    if given is None and len(services) > 1:
        raise LocalError(f"which one? The nodes here are of several services: {', '.join(services)}; name one")
    if given is not None and given not in services:
        raise LocalError(f"no node here is of the service {given!r}; those here: {', '.join(services)}")
    redis = next(redis for redis in config.redis if given in (None, redis.service))
    return redis, name_of(config, redis)


class _Command:
    """One run of the command."""

    def __init__(self, config: Config, redis: RedisConfig, name: str, *, dry_run: bool, as_json: bool) -> None:
        self._config, self._redis, self._name = config, redis, name
        self._dry_run, self._as_json = dry_run, as_json
        self._move: Move | None = None
        self._signal = 0
        self._told = ""

    async def run(self) -> int:
        """Returns the exit code."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, partial(self._interrupt, number, task))
        try:
            return await self._run()
        except asyncio.CancelledError:
            if not self._signal:
                raise
            self._say_interrupted()
            return SIGNALLED + self._signal

    async def _run(self) -> int:
        seen = await look(self._config, self._redis, self._name)
        found = plan(seen)
        if not self._as_json:
            show(found.findings)
        if not found.possible or self._dry_run:
            self._tell_plan(found)
            return 0 if found.possible else 1
        outcome = await self._do(found, seen)
        self._tell_outcome(found, outcome)
        return SIGNALLED + self._signal if self._signal else exit_code(outcome)

    async def _do(self, found: Plan, seen: Situation) -> Outcome:
        config, redis, checked = self._config, self._redis, seen.found.checked
        sentinels = {
            s.address: partial(sentinel_link, config.sentinel, s.address, login=s.address in checked)
            for s in seen.found.sentinels
        }
        watched = {address: redis_link(redis, address) for address in seen.nodes}
        master = redis_link(redis, found.master)
        leader = sentinels[found.sentinel]() if found.sentinel else None
        if leader is None:
            raise LocalError("there is no Sentinel to ask")
        try:
            async with Watch(
                self._name, config.consul.dns, watched, sentinels, found.master_name, seen.aliases
            ) as watch:
                self._move = Move(found, watch, master, leader, seen.found.need, self._progress)
                return await self._move.run()
        finally:
            await master.close()
            await leader.close()

    def _interrupt(self, number: int, task: asyncio.Task[int] | None) -> None:
        """The first signal ends it, or, once Sentinel was asked, lets it be seen through; the second ends it at once."""
        again, self._signal = self._signal, number
        if self._move and self._move.asked and not again:
            self._move.interrupted = True
            text = "interrupted after Sentinel was asked: it cannot be called back; ends as soon as the old master is a replica"
            _write(text)
        elif task:
            task.cancel()

    def _say_interrupted(self) -> None:
        if self._move and self._move.asked:
            state = "Sentinel moves the master now, without this command; a pause of the writes ends by itself"
            _write(f"{state}: see consul-redis-agent resolve --watch")
        else:
            _write("interrupted before Sentinel was asked: nothing has moved, and no writes wait")

    def _progress(self, text: str) -> None:
        if sys.stderr.isatty() and text != self._told:
            self._told = text
            _write(text)

    def _tell_plan(self, found: Plan) -> None:
        if self._as_json:
            say(json.dumps(as_json(found, None, service=self._name)))
            return
        if not found.possible:
            say("nothing", "was done: each line with FAIL has to be mended first")
            return
        lag = next((choice.lag for choice in found.choices if choice.address == found.likely), None)
        how = "with COORDINATED" if found.coordinated else "while the writes wait, for 2 s at most"
        behind = "lag unknown" if lag is None else f"{lag} bytes behind"
        likely = f"{found.likely} would be master then, most likely ({behind})"
        say(
            "would",
            f"ask the Sentinel at {found.sentinel} to move {found.master_name} from {found.master} {how}; {likely}",
        )

    def _tell_outcome(self, found: Plan, outcome: Outcome) -> None:
        if self._as_json:
            say(json.dumps(as_json(found, outcome, service=self._name)))
            return
        for at, step, means in timeline(outcome):
            say(*((f"{at:>10} ms  {means}",) if is_terminal() else (at, step, means)))
        for topic, text in summary(outcome):
            say(*((f"{topic:<10} {text}",) if is_terminal() else (topic, text)))


def _write(text: str) -> None:
    """One line on standard error, where it is in nobody's way."""
    sys.stderr.write(f"{escape(text)}\n")
    sys.stderr.flush()
