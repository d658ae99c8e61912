"""What other programs may rely on, as a page: ``python -m tests.interface_page > docs/interface.md``. A test holds the page against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from consul_redis_agent.cli import BAD_CONFIG, INTERRUPTED
from consul_redis_agent.consul import form
from consul_redis_agent.tell.events import EVENTS
from consul_redis_agent.tell.metrics import FAMILIES, LABELS, PREFIX, PROCESS, Family
from consul_redis_agent.tell.tale import SIGNS
from tests.documented import SCHEMA

_HEAD = """\
# What other programs may rely on

Written by `python -m tests.interface_page` from the tables of the program and from [interface.schema.json](interface.schema.json), which has
the JSON below as a JSON Schema. Names and meanings here change only with a new major version, and the [changelog](../CHANGELOG.md) says so. With
any version more may be added: other keys, other metrics, other events. A text for people (`sentence`, `error`, `what`, `message` …) may always change.

Times are seconds, wall time is counted from 1970. Addresses are `host:port`, with brackets around an IPv6 address.
"""

EXIT_CODES = (
    (0, "well"),
    (1, "failed, or not well"),
    (2, "wrong usage"),
    (BAD_CONFIG, "bad configuration; every mistake is named on standard error"),
    (INTERRUPTED, "interrupted"),
)
WELL = (
    ("run", "it was told to stop, and did"),
    ("check", "no finding is a FAIL"),
    ("status", "the agent answers, each Redis node is published as the master or replica that it is, and nothing is in error"),
    ("resolve", "DNS names one address, the node there says that it is the master, and a majority of the Sentinels names it"),
    ("failover", "DNS never named two masters, nor none, and the proof came and the old master was turned while the writes waited; with `--dry-run`, it can work"),
    ("deregister", "what was to be removed is"),
)  # fmt: skip

ENDPOINTS = {
    "/": ((), "200", "the page, for people"),
    "/status": ((), "200", "what is known, decided and why: `status` below"),
    "/history": ((), "200", "what happened around the last transitions: `history` below"),
    "/metrics": ((), "200", "for Prometheus, in its text format"),
    "/healthz": ((), "200, 503", "whether decisions are being finished: for what restarts an agent that hangs"),
    "/readyz": ((), "200, 503", "whether a first decision was made of a look at each Redis node. Consul is not waited for, and 200 says nothing about who is master"),
    "/master": (("node", "service"), "200, 503, 404", "whether one of the agent's Redis nodes is the master that DNS gives, as far as this agent knows: decided in the last 5 s, its entry passing, in no maintenance, hidden by no other check"),
    "/replica": (("node", "service", "lag"), "200, 503, 404", "whether one of them is a replica that may be read: decided in the last 5 s, in no maintenance; also where replicas are not published"),
}  # fmt: skip
"""Each path with its parameters, its codes, and what it says."""

_HTTP = """
- GET, HEAD and OPTIONS are answered. HEAD gives the headers of GET. OPTIONS gives the code of GET without a body, and `Allow`. Anything else is 405.
- `node=` chooses a Redis node by what it is called in the configuration (`127.0.0.1:6379`) or by its published address, `service=` by its service.
  Where several are left, one is enough. What is not looked after here is 404.
- `lag=` is a time with its unit (`lag=5s`, `lag=500ms`): how long ago the replica may have heard from its master, which is what `replica.max_lag` limits. It is
  no number of bytes, and a number alone is 400. A master speaks to its replicas every 2 s where Sentinels run, else every `repl-ping-replica-period` (10 s).
- A parameter that is unknown, given twice or unreadable is 400.
- `/status` is kept for 0.2 s, `/metrics` and `/history` for 1 s, however often they are asked for. Nothing is to be cached (`no-store`).
- On TCP the `Host` header has to be an IP address, `localhost`, a name of this host or the name in `http.listen`; else the answer is 421, since a page
  of somebody else could have given its own name this host's address. HTTP/1.0 without `Host` is answered. The unix socket, which only the agent's user
  may open, serves the same to any `Host`.
"""

META = {
    form.MARKER: f"this tool's mark; the version of this format, now {form.FORMAT}",
    form.SOURCE: f"`{form.OURS}`, unless `service.meta` says something else",
    form.NODE: "the Redis node as configured, without credentials",
    form.MASTER_NAME: "Sentinel's name of the group",
    form.GROUP: "the group id",
    form.AGENT: "the id of the agent that keeps the entry",
    form.EPOCH: "of a claim: Sentinel's configuration epoch, -1 without Sentinel",
    form.TURN: "of a claim: the count of handovers within the epoch",
    form.RUN_ID: "of a claim: the run id of the Redis node",
    form.EARLY_SINCE: "of an early claim: since when, on the monotonic clock, and of which start of the host",
    form.EARLY_LEADER: "of an early claim: the id of the Sentinel that selected the node",
    form.FIRST: "of a group's first claim, which does not pass yet",
    form.LAST_CLAIM: "of a replica: the last claim of the group, kept for the next one to compare with",
    form.REPLICA_RUN_ID: "of a replica: the run id of the Redis node",
}
"""The keys in an entry's Meta."""

_EVENTS = (
    'With `log.format = "json"` a line has `event` and these fields beside `time`, `level`, `logger` and `message`, the sentence for people. '
    "`reason` is the short name of a row, as in `/status`. A line without `event` tells of nothing that has to be counted. "
    "OpenTelemetry's collector reads these lines as they are (its filelog receiver with a JSON parser); the agent has no exporter of its own, "
    "which would be one more thing that can hang."
)
_SIGNS = "In `/history` and `history --json`, beside `at`, `lane`, `name` and `text`. What stands before the colon is the lane."

DOCUMENTS = {
    "status": "The JSON of `/status` and `status --json`",
    "history": "The JSON of `/history` and `history --json`",
    "check": "The JSON of `check --json`",
    "failover": "The JSON of `failover --json`",
}
PARTS = {
    "status": ("node", "sentinel", "peer", "entry", "claim", "histogram"),
    "history": ("episode",),
    "check": (),
    "failover": (),
}
"""What else of the schema each document has a table of."""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            *_exit_codes(),
            *_endpoints(),
            *(line for name in DOCUMENTS for line in _document(name)),
            *metrics(FAMILIES),
            *_meta(),
            *named("The events of the log", _EVENTS, EVENTS),
            *named(
                "The events of an episode", _SIGNS, {n: (f"{lane}: {doc}", f) for n, (lane, doc, f) in SIGNS.items()}
            ),
        ]
    )


def metrics(families: Iterable[Family]) -> Iterator[str]:
    """The section of the metrics."""
    yield "## Metrics\n"
    yield f"Beside those of the process, as all programs have them: {_codes(PROCESS)}.\n"
    yield from _table(
        ("metric", "type", "labels", ""), ((f"`{PREFIX}{f.name}`", f.type, _codes(f.labels), f.help) for f in families)
    )
    yield from _table(
        ("label", "values"),
        ((f"`{label}`", _codes(values) if len(values) > 1 else values[0]) for label, values in LABELS.items()),
    )


def named(title: str, about: str, rows: Mapping[str, tuple[str, Iterable[str]]]) -> Iterator[str]:
    """A section of names, each with what it means and its fields: the events of the log, those of an episode."""
    yield f"## {title}\n"
    yield f"{about}\n"
    yield from _table(
        ("name", "fields", ""), ((f"`{name}`", _codes(fields), doc) for name, (doc, fields) in rows.items())
    )


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n"
    yield from _table(("code", ""), ((str(code), means) for code, means in EXIT_CODES))
    yield from _table(("command", "is well (0) if"), ((f"`{command}`", means) for command, means in WELL))


def _endpoints() -> Iterator[str]:
    yield "## HTTP\n"
    yield "What `http.listen` serves; the unix socket of `status` serves the same.\n"
    rows = (
        (f"`{path}`", _codes(f"{name}=" for name in query), codes, means)
        for path, (query, codes, means) in ENDPOINTS.items()
    )
    yield from _table(("path", "parameters", "codes", "what it says"), rows)
    yield _HTTP.lstrip()


def _document(name: str) -> Iterator[str]:
    yield f"## {DOCUMENTS[name]}\n"
    for part in (name, *PARTS[name]):
        if part != name:
            yield f"### `{part}`\n"
            yield f"{SCHEMA['$defs'][part]['description']}\n"
        yield from _table(("key", "type", ""), _rows(SCHEMA["$defs"][part]))


def _rows(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    """A row for each key, those of objects inside it included."""
    for key, value in schema["properties"].items():
        inside = value.get("items", value) if value.get("type") == "array" else value
        mark = "[]" if inside is not value else ""
        if "$ref" not in value or mark:
            yield f"`{path}{key}`", _type(value), value.get("description", "")
        else:
            yield f"`{path}{key}`", _type(value), SCHEMA["$defs"][value["$ref"].rpartition("/")[2]]["description"]
        if "properties" in inside:
            yield from _rows(inside, f"{path}{key}{mark}.")


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "enum" in schema:
        return ", ".join(f'`"{value}"`' for value in schema["enum"])
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if schema["type"] == "array" or "array" in kinds:
        kinds = [f"array of {_type(schema['items'])}" if kind == "array" else kind for kind in kinds]
    if isinstance(schema.get("additionalProperties"), dict) and "properties" not in schema:
        return f"object of {_type(schema['additionalProperties'])}"
    return " or ".join(kinds)


def _meta() -> Iterator[str]:
    yield "## Meta of the entries in Consul\n"
    yield "What is not listed here comes from `service.meta`. An entry is this tool's if it has the first of these keys; write none of them.\n"
    yield from _table(("key", ""), ((f"`{key}`", means) for key, means in META.items()))


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
    yield ""


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
