"""What is served under which path, to people, scrapers, load balancers and orchestrators. Knows no socket."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

from consul_redis_agent.beside import FILE_TIMEOUT, FILES
from consul_redis_agent.clock import clock
from consul_redis_agent.config.durations import parse_duration
from consul_redis_agent.marked import event
from consul_redis_agent.text import plain

log = logging.getLogger(__name__)

DECIDED_WITHIN = 5.0
"""Seconds since the last finished decision, which is made every 2.5 s at least, for it to count."""
METRICS_LIFE = 1.0
"""Seconds for which rendered metrics, and the history, are given again."""
STATUS_LIFE = 0.2
"""The same for the snapshot: short, since load balancers rest on it."""
MAX_QUERY = 512
"""Characters behind the question mark."""

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
METHODS = "GET, HEAD, OPTIONS"

ALWAYS = (
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of everything but the page."""

Json = Mapping[str, Any]
Query = Mapping[str, str]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to GET; what of it another method gets is the server's business."""

    status: int
    kind: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    policy: str = POLICY

    @property
    def every_header(self) -> list[tuple[str, str]]:
        """Those of each answer, and its own."""
        return [("Content-Type", self.kind), ("Content-Security-Policy", self.policy), *ALWAYS, *self.headers]


def text(status: int, line: str) -> Answer:
    """One line of text."""
    return Answer(status, TEXT, f"{line}\n".encode())


class Pages:
    """The pages, by path; ``snapshot`` returns what ``/status`` shows, ``history`` all of ``/history``.

    ``metrics`` is called at most once in :data:`METRICS_LIFE`; ``healthy`` returns whether decisions are being finished, and a
    line about it.
    """

    def __init__(
        self,
        *,
        snapshot: Callable[[], Json],
        metrics: Callable[[], bytes],
        healthy: Callable[[], tuple[bool, str]],
        history: Callable[[], bytes],
    ) -> None:
        self._healthy = healthy
        self._snapshot = _Kept(STATUS_LIFE, snapshot)
        self._status = _Kept(STATUS_LIFE, lambda: _json(snapshot()))
        self._metrics = _Kept(METRICS_LIFE, metrics)
        self._history = _Kept(METRICS_LIFE, history)
        self._page: Answer | None = None
        self._routes: dict[str, tuple[Callable[[Query], Awaitable[Answer]], tuple[str, ...]]] = {
            "/": (self._index, ()),
            "/status": (_given(JSON, self._status), ()),
            "/history": (_given(JSON, self._history), ()),
            "/metrics": (_given(METRICS, self._metrics), ()),
            "/healthz": (self._health, ()),
            "/readyz": (self._readiness, ()),
            "/master": (self._master, ("node", "service")),
            "/replica": (self._replica, ("node", "service", "lag")),
        }

    async def answer(self, method: str, target: str) -> Answer:
        """The answer to a request for ``target``, a path with what follows a question mark."""
        path, _, query = target.partition("?")
        if path not in self._routes:
            return text(404, f"there is no such page; these are: {', '.join(self._routes)}")
        if method not in METHODS.split(", "):
            return Answer(405, TEXT, f"only {METHODS}\n".encode(), (("Allow", METHODS),))
        make, known = self._routes[path]
        try:
            answer = await make(_parsed(query, known))
        except _Refused as error:
            return error.answer
        except Exception:  # a mistake in a page must not look like a mistake in a decision
            log.exception("the page for %s failed", plain(target), extra=event("page_failed", path=plain(target)))
            return text(500, "this page failed; the agent's log says why")
        if method == "OPTIONS":  # as load balancers ask: the code says it all
            return Answer(answer.status, TEXT, b"", (("Allow", METHODS),))
        return answer

    async def _index(self, query: Query) -> Answer:
        if self._page is None:
            html = await FILES.ask(_read_page, timeout=FILE_TIMEOUT, what="the file system of this program")
            self._page = Answer(200, HTML, html, policy=policy(html))
        return self._page

    async def _health(self, query: Query) -> Answer:
        well, line = self._healthy()
        return text(200 if well else 503, line)

    async def _readiness(self, query: Query) -> Answer:
        """Ready as systemd is told: each Redis node was looked at, and a decision made. Nobody waits for Consul with that."""
        waiting = [node["node"] for node in self._snapshot()["nodes"] if not node["ready"]]
        return (
            text(503, f"nothing is decided yet for {len(waiting)}: {_few(waiting)}") if waiting else text(200, "ready")
        )

    async def _master(self, query: Query) -> Answer:
        """200 while one of the nodes is what DNS gives as master, as far as this agent knows."""
        for node in self._chosen(query):
            if node["published"] == "master" and _is_fresh(node):
                return text(200, f"{node['node']} is published as master")
        return text(503, "not published as master")

    async def _replica(self, query: Query) -> Answer:
        """200 while one of the nodes is a replica that may be read. Where replicas are not published, it is one all the same."""
        most = _lag(query["lag"]) if "lag" in query else None
        for node in self._chosen(query):
            parked = any(entry["mine"] and entry["maintenance"] for entry in node["entries"])
            if node["decision"] == "replica" and _is_fresh(node) and not parked:
                lag = node["lag"]
                if most is None or (lag is not None and lag + node["decided_ago"] <= most):
                    return text(200, f"{node['node']} is a replica, {lag:g} s behind")
        return text(
            503, "no replica that may be read" + (f" and is at most {query['lag']} behind" if most is not None else "")
        )

    def _chosen(self, query: Query) -> list[Json]:
        nodes: list[Json] = self._snapshot()["nodes"]
        node, service = query.get("node"), query.get("service")
        chosen = [
            each
            for each in nodes
            if node in (None, each["node"], each["address"]) and service in (None, each["service"])
        ]
        if nodes and not chosen:
            here = [f"{each['node']} ({each['service']})" for each in nodes]
            raise _Refused(404, f"this agent does not look after that one; it does after {_few(here)}")
        return chosen


class _Kept(Generic[_T]):
    """What was made is given again for ``life`` seconds, however often it is asked for."""

    def __init__(self, life: float, make: Callable[[], _T]) -> None:
        self._life, self._make = life, make
        self._made: tuple[float, _T] | None = None

    def __call__(self) -> _T:
        now = clock()
        if self._made is None or now - self._made[0] >= self._life:
            self._made = now, self._make()
        return self._made[1]


class _Refused(Exception):
    """The request is wrong; the answer says how to ask."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.answer = text(status, line)


def _given(kind: str, make: Callable[[], bytes]) -> Callable[[Query], Awaitable[Answer]]:
    async def answer(query: Query) -> Answer:
        return Answer(200, kind, make())

    return answer


def _parsed(query: str, known: tuple[str, ...]) -> Query:
    """The parameters, each known and given once. Raises _Refused."""
    may = f"this page takes {', '.join(f'{name}=' for name in known)}, each once" if known else "this page takes none"
    unread = _Refused(400, f"what follows the question mark cannot be read; {may}")
    if len(query) > MAX_QUERY:
        raise unread
    try:
        pairs = (
            parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=len(known)) if query else []
        )
    except ValueError:
        raise unread from None
    parameters = dict(pairs)
    if len(parameters) < len(pairs) or not parameters.keys() <= {*known}:
        raise _Refused(400, f"what follows the question mark is unknown or given twice; {may}")
    return parameters


def _lag(value: str) -> float:
    try:
        return parse_duration(value)
    except ValueError:
        raise _Refused(
            400, "lag= is a time with its unit, such as lag=5s: how long ago the replica heard from its master"
        ) from None


def _is_fresh(node: Json) -> bool:
    """Whether its work goes on; else what was decided last says nothing."""
    ago = node["decided_ago"]
    return ago is not None and ago <= DECIDED_WITHIN


def _few(names: list[str]) -> str:
    return ", ".join(plain(name) for name in names[:5]) + (" …" if len(names) > 5 else "")


def _json(value: Json) -> bytes:
    return json.dumps(value, default=str, allow_nan=False).encode()


def _read_page() -> bytes:
    return (Path(__file__).parent / "page.html").read_bytes()


def policy(html: bytes) -> str:
    """The Content-Security-Policy for a page: its own script and style, its own host, and nothing else."""
    rules = (f"{kind}-src {' '.join(_hashes(html, tag))}" for kind, tag in (("script", b"script"), ("style", b"style")))
    return f"{POLICY}; connect-src 'self'; img-src data:; {'; '.join(rules)}"


def _hashes(html: bytes, tag: bytes) -> Iterator[str]:
    for inside in re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), html, re.DOTALL):
        yield f"'sha256-{base64.b64encode(hashlib.sha256(inside).digest()).decode()}'"
