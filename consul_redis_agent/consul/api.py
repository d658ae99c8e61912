"""What this agent asks of Consul: few typed calls, each checked for shape.

Everything that python-consul2 can say is said with its own endpoint methods; :mod:`~consul_redis_agent.consul.http`
delivers. Dictionaries have the keys and the values of Consul's HTTP API.
"""
# ruff: noqa: ASYNC109 - a passed deadline is an answer of its own here (ConsulUnreachable), not a cancellation

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from consul_redis_agent.beside import FILE_TIMEOUT, Threads
from consul_redis_agent.config import ConsulConfig, TlsConfig, read_secret
from consul_redis_agent.consul.form import Status, read_check, read_instance, read_service
from consul_redis_agent.consul.http import CB, MAX_READS, Call, Consul, HTTPClient, Token, no_token
from consul_redis_agent.consul.place import NOWHERE, Place
from consul_redis_agent.errors import ConsulDenied, ConsulError, LocalError
from consul_redis_agent.histogram import Histogram
from consul_redis_agent.marked import event

log = logging.getLogger(__name__)

Json = dict[str, Any]
_T = TypeVar("_T")
Consistency = Literal["default", "consistent", "stale"]

MAX_WRITERS = 8  # Redis nodes whose entries are changed at once, and again as many that are beaten
LOOK_PERIOD = 1.0  # seconds between two looks at the token file
AT_HAND = 0.02  # seconds for which a request that has the last token waits for such a look
RENEWED = 0.5  # seconds for which one whose token was refused waits for it
MAX_INSTANCES = 1024 * 1024  # bytes of the instances of one service: some 500, or 150 that were all evicted
MAX_OWN = 256 * 1024  # bytes of what the own Consul agent holds under a filter, and of its configuration
MAX_NAME = 4096  # bytes


class ConsulAPI:
    """The local Consul agent at ``url`` (``http://host:port``, ``https://host:port`` or ``unix:///path``).

    Every method raises ConsulUnreachable, ConsulDenied, ConsulUnknown or ConsulError; what takes a ``timeout``, in
    seconds, has the one given here by default.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 2.0,
        token: Token = no_token,
        tls: TlsConfig | None = None,
        auth: str | None = None,
        place: Place = NOWHERE,
    ) -> None:
        self._source = token if isinstance(token, TokenSource) else None
        renew = self._source.renew if self._source else None
        client = HTTPClient(url, timeout=timeout, token=token, renew=renew, tls=tls, auth=auth, place=place)
        self._consul = Consul(client)
        self._place = place
        self._http = self._consul.http
        self.timeout = timeout
        self.changes, self.beats = asyncio.Semaphore(MAX_WRITERS), asyncio.Semaphore(MAX_WRITERS)
        """To be taken before a decision is looked at that is to be written: a write itself waits for no other, so that
        hundreds of Redis nodes neither pass their deadlines nor write what was decided long ago."""
        self._confirmations = asyncio.Semaphore(MAX_READS)
        """Apart from all other reads, which are answered by the Consul agent itself: these hang when it is cut off."""
        self._node = ""
        """The own Consul node, once it is known."""
        self.agent_self = Shared(self._agent_self)
        """The own Consul agent's configuration and member record."""
        self.token_error = ""
        """Why the token is of no use; empty as far as is known. The watch on it writes this."""
        self._times_healed = 0

    @property
    def token_number(self) -> int:
        """Counts the tokens that were in use, and how often one that was refused is known again; 0 without any.

        What was registered under another number is synced with a token that may be gone.
        """
        return self._source.number + self._times_healed if self._source else 0

    @property
    def latency(self) -> Histogram:
        """How long Consul took to answer, blocking queries aside."""
        return self._http.latency

    @property
    def failed(self) -> Mapping[str, int]:
        """How many requests have failed, by :attr:`ConsulError.kind`; lost compares aside."""
        return self._http.errors

    def token_healed(self) -> None:
        """The token that was refused is known again, or another one is in use."""
        self._times_healed += 1

    async def token_known(self, index: int, wait: float) -> int:
        """Return the index to ask with next, if Consul's servers know the token; raises TokenUnknown if they do not.

        With an ``index`` it waits until the token changes, for ``wait`` seconds and the sixteenth of it at most.
        """
        waits: list[tuple[str, object]] = [("index", index), ("wait", f"{round(wait * 1000)}ms")] if index else []
        # Not CB.json(): the answer holds the token.
        call = self._http.get(_INDEX, "/v1/acl/token/self", waits)
        limit = self.timeout + (wait + wait / 16 if index else 0.0)
        header = await self._http.send(call.bounded(MAX_OWN), timeout=limit, in_turn=not index)
        return _next_index(header, index)

    async def register(self, service: Mapping[str, Any], *, timeout: float | None = None) -> None:
        """Register a service and its ``Checks`` in one call, in the keys of Consul's API.

        Consul heeds a check's ``Status`` only while it does not know the check id. python-consul2's ``register`` takes
        one check only; this call takes the whole definition.
        """
        call = self._http.put(
            CB.bool(), "/v1/agent/service/register", data=json.dumps(self._place.registration(service))
        )
        await self._http.send(call, timeout=timeout, repeatable=True)

    async def check_deregister(self, check_id: str, *, timeout: float | None = None) -> None:
        """Remove one check from the own Consul agent. Raises ConsulUnknown if it is not there."""
        call = self._consul.agent.check.deregister(_segment(check_id))
        await self._http.send(call, timeout=timeout, repeatable=True)

    async def deregister(self, service_id: str, *, timeout: float | None = None) -> None:
        """Remove a service and its checks from the own Consul agent. Raises ConsulUnknown if it is not there."""
        call = self._consul.agent.service.deregister(_segment(service_id))
        await self._http.send(call, timeout=timeout, repeatable=True)

    async def check_update(self, check_id: str, status: Status, output: str, *, timeout: float | None = None) -> None:
        """Set a TTL check and begin its TTL anew. Raises ConsulUnknown if it has to be registered first.

        python-consul2's ``ttl_pass`` and ``ttl_fail`` put the output in the URL; this call has it in the body.
        """
        body = json.dumps({"Status": status, "Output": output})
        call = self._http.put(CB.bool(), f"/v1/agent/check/update/{_segment(check_id)}", data=body)
        await self._http.send(call, timeout=timeout, repeatable=True)

    async def services(self, only: str = "", *, timeout: float | None = None) -> dict[str, Json]:
        """The own Consul agent's services by id; ``only`` is a filter expression of Consul."""
        return _by_id(await self._list("agent/services", only, timeout), "agent/services", read_service)

    async def checks(self, only: str = "", *, timeout: float | None = None) -> dict[str, Json]:
        """The own Consul agent's checks by id; ``only`` is a filter expression of Consul."""
        return _by_id(await self._list("agent/checks", only, timeout), "agent/checks", read_check)

    async def _list(self, what: str, only: str, timeout: float | None) -> Any:
        # python-consul2's methods know no filter
        call = self._http.get(CB.json(), f"/v1/{what}", [("filter", only)] if only else None)
        if only:
            call = call.bounded(MAX_OWN)
        return await self._http.send(call, timeout=timeout)

    async def health(
        self,
        service: str,
        index: int | None = None,
        wait: float | None = None,
        consistency: Consistency = "default",
        *,
        by_servers: bool = False,
        timeout: float | None = None,
    ) -> tuple[int, list[Json]]:
        """The catalog's instances of a service, each with ``Node``, ``Service`` and ``Checks``, and their index.

        With ``index`` (from an earlier answer) and ``wait`` (seconds) it waits until something changes: for ``wait``
        and the sixteenth of it that Consul adds at most; ``timeout`` comes on top. The index that is returned is the one
        to ask with next; it is 0 (ask without waiting) after Consul's own went backwards. ``by_servers``: a Consul agent
        that streams does not answer from its view: sorting by distance keeps it from that (``useStreaming`` in
        agent/rpcclient/health).
        """
        blocking = bool(index and wait)
        call: Call = self._consul.health.service(
            _segment(service),
            index=index if blocking else None,
            wait=f"{round((wait or 0) * 1000)}ms",
            near="_agent" if by_servers else None,
        )
        call = call.bounded(MAX_INSTANCES)
        if consistency != "default":
            call = call.flagged(consistency)
        limit = self.timeout if timeout is None else timeout
        if blocking and wait:
            limit += wait + wait / 16
        apart = consistency == "consistent"
        async with self._confirmations if apart else nullcontext():
            answer, filtered = await self._http.send(_filtered(call), timeout=limit, in_turn=not (blocking or apart))
        header, entries = answer
        read = _entries(entries)
        if filtered:
            raise _blind(service, "Consul leaves out entries that it may not read")
        if apart and not read and not await self._sees_own_node(limit):
            raise _blind(service, "not even its own Consul agent's node is shown to it (or that has just joined)")
        return _next_index(header, index or 0), read

    async def _sees_own_node(self, timeout: float) -> bool:
        """Whether the token may read nodes: without that each answer is empty, and Consul before 1.11 does not say so.

        True as long as the node's name is not known.
        """
        if not self._node:
            try:
                self._node = str((await self.agent_self())["Config"]["NodeName"])
            except ConsulDenied:
                self._node = next((str(c["Node"]) for c in (await self.checks()).values() if c.get("Node")), "")
        if not self._node:
            return True
        call = self._http.get(CB.json(), f"/v1/catalog/node/{_segment(self._node)}").bounded(MAX_OWN)
        try:
            return bool(await self._http.send(call, timeout=timeout))
        except ConsulDenied:
            return False

    async def txn(self, operations: Sequence[Mapping[str, Any]], *, timeout: float | None = None) -> list[Json]:
        """Do all ``operations`` in one step, or none; returns Consul's ``Results``.

        Raises TransactionConflict if one was refused. After ConsulUnreachable it may have been done or not: it is never
        sent twice.
        """
        call = self._consul.txn.put(self._place.operations(operations))
        answer = await self._http.send(call, timeout=timeout, repeatable=False)
        results = answer.get("Results") or [] if isinstance(answer, dict) else None
        if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
            raise _misshapen("txn", "it has no list of results")
        return results

    async def rehearse(self, operations: Sequence[Mapping[str, Any]]) -> None:
        """Build the request of :meth:`txn`, and have a connection at hand for it; nothing is sent."""
        self._consul.txn.put(self._place.operations(operations))
        await self._http.warm()

    async def _agent_self(self) -> Json:
        answer = await self._consul.agent.self().bounded(MAX_OWN)
        match answer:
            case {"Config": {"NodeName": str(name)}} if name:
                member = answer.get("Member") or {}
                if isinstance(member, dict) and isinstance(member.get("Addr", ""), str):
                    return dict(answer)
        raise _misshapen("agent/self", "it does not name its node")

    async def leader(self, *, timeout: float | None = None) -> str:
        """The address of the servers' leader, ``""`` while they have none."""
        answer = await self._http.send(self._consul.status.leader().bounded(MAX_NAME), timeout=timeout)
        if not isinstance(answer, str):
            raise _misshapen("status/leader", "it is no address")
        return answer

    async def close(self) -> None:
        """Close every connection, and end every question that is under way: who waits for its answer has ConsulUnreachable."""
        await self._http.close()
        await self.agent_self.over()


def consul_api(config: ConsulConfig, token: Token | None = None) -> ConsulAPI:
    """The Consul agent that the configuration names, by default with the token that it names."""
    return ConsulAPI(config.url, timeout=config.timeout, token=token or TokenSource(config), **way(config))


def way(config: ConsulConfig) -> dict[str, Any]:
    """The arguments of a client that say how the Consul agent is spoken to."""
    return {
        "tls": config.tls,
        "auth": config.auth.reveal() if config.auth else None,
        "place": place_of(config),
    }


def place_of(config: ConsulConfig) -> Place:
    """Where in Consul Enterprise the configuration has the entries."""
    return Place(config.namespace or "", config.partition or "")


def _INDEX(response: Any) -> str:  # noqa: N802 - named as the library's call-backs
    return str(response.headers["X-Consul-Index"])


class Shared(Generic[_T]):
    """A question with the same answer for all, put once for all who ask meanwhile.

    Each gets an answer to a question that was put after it had asked; nobody may change it.
    """

    def __init__(self, ask: Callable[[], Awaitable[_T]]) -> None:
        self._ask = ask
        self._running: asyncio.Task[_T] | None = None
        self._next: asyncio.Task[_T] | None = None

    async def __call__(self) -> _T:
        """Ask. Raises what the question raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
            self._next.add_done_callback(seen)
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[_T] | None) -> _T:
        if before:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._ask()

    async def over(self) -> None:
        """Wait until no question is under way any more; what they end with is seen."""
        while under_way := [task for task in (self._running, self._next) if task and not task.done()]:
            await asyncio.wait(under_way)


def seen(task: asyncio.Future[Any]) -> None:
    """Done with the task: its error is nobody's when all who asked have given up."""
    if not task.cancelled():
        task.exception()


class TokenSource:
    """Consul's ACL token at this moment: the one given, or the file's, read again within a second of its change.

    A file is read beside the event loop. One that cannot be read any more, or hangs, leaves the last token in use (it may be half
    way through its replacement) and says so once; without any token it raises ConsulError. Raises LocalError
    if the given token can be none.
    """

    def __init__(self, config: ConsulConfig) -> None:
        self._token = _usable(config.token.reveal(), "the token for Consul") if config.token else None
        self.number = 1 if self._token else 0
        """How many tokens there were."""
        self._path = None if config.token else config.token_file
        self._looked = -LOOK_PERIOD
        self._looking: asyncio.Task[None] | None = None
        self._threads = Threads(1)  # its own: no other file that hangs is between Consul and its token
        self._seen: tuple[int, ...] = ()
        self._problem: str | None = None

    async def __call__(self) -> str | None:
        if self._path:
            if self._looking is None and time.monotonic() - self._looked >= LOOK_PERIOD:
                self._looking = asyncio.create_task(self._look(self._path))
                self._looking.add_done_callback(self._has_looked)
                await asyncio.wait([self._looking], timeout=AT_HAND)
            if self._looking and self._token is None:
                await asyncio.wait([self._looking])
            if self._token is None:
                raise ConsulError(f"no token for Consul: {self._problem}")
        return self._token

    async def renew(self, refused: str) -> str | None:
        """The token of now, where Consul does not know that one: the file is looked at now. Raises ConsulError."""
        if self._token == refused:
            self._looked = -LOOK_PERIOD
            await self()
            if self._looking:
                await asyncio.wait([self._looking], timeout=RENEWED)
        return self._token

    def _has_looked(self, looking: asyncio.Task[None]) -> None:
        seen(looking)
        self._looked, self._looking = time.monotonic(), None

    async def _look(self, path: Path) -> None:
        try:
            what = f"{path}: its file system"
            fresh, self._seen = await self._threads.ask(_token_in, path, self._seen, timeout=FILE_TIMEOUT, what=what)
            if fresh and fresh != self._token:
                self._token, self.number = fresh, self.number + 1
            self._problem = None
        except LocalError as error:
            problem = str(error)
            if problem != self._problem and self._token is not None:
                mark = event("token_file_unreadable", error=problem)
                log.warning("%s; the token that was read before stays in use", problem, extra=mark)
            self._problem, self._seen = problem, ()


def _token_in(path: Path, seen: tuple[int, ...]) -> tuple[str | None, tuple[int, ...]]:
    """The token in the file, None where that looks as it was ``seen``; and what it looks like. Raises LocalError."""
    try:
        stat = path.stat()
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
    looks = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    if looks == seen:
        return None, seen
    secret = read_secret(path)
    if secret is None:
        raise LocalError(f"{path}: holds no token")
    return _usable(secret.reveal(), str(path)), looks


def _usable(token: str, where: str) -> str:
    """``token``, which then can stand in a header. Raises LocalError without telling it."""
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise LocalError(f"{where}: has a character that no token has")
    return token


def _filtered(call: Call) -> Call:
    """The same request; its answer comes with whether Consul left something out that the token may not read (from 1.11 on)."""
    read = call.callback
    return replace(call, callback=lambda r: (read(r), r.headers.get("X-Consul-Results-Filtered-By-Acls") == "true"))


def _blind(service: str, why: str) -> ConsulDenied:
    return ConsulDenied(
        f"the token may not read all entries of {service!r}: {why}, so the claims of other agents cannot be seen, and nothing "
        f"new is published; give the token service:read on {service} and node:read on all nodes "
        f'(node_prefix "" {{ policy = "read" }})'
    )


def _segment(text: str) -> str:
    return quote(text, safe="")


def _misshapen(what: str, why: str) -> ConsulError:
    return ConsulError(f"Consul answered {what} with what is not its API: {why}")


def _by_id(answer: object, what: str, read: Callable[[object], Json]) -> dict[str, Json]:
    if not isinstance(answer, dict):
        raise _misshapen(what, "it is no map")
    return {id_: read(entry) for id_, entry in answer.items()}


def _next_index(header: str, asked: int) -> int:
    """The index for the next blocking query, by Consul's own rules: never below 1, except 0 after it went backwards."""
    if not (header.isascii() and header.isdigit() and len(header) <= 20):
        raise _misshapen("a query", "X-Consul-Index is no number")
    index = max(int(header), 1)
    return 0 if index < asked else index


def _entries(answer: object) -> list[Json]:
    if not isinstance(answer, list):
        raise _misshapen("health/service", "it is no list")
    for entry in answer:
        service = read_instance(entry)["Service"]
        service.setdefault("Port", 0)  # a current Consul leaves it out where there is none
        service["Tags"] = service.get("Tags") or []
        service["Meta"] = service.get("Meta") or {}
    return answer
