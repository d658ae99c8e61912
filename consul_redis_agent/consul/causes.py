"""Why Consul refuses a request: what it says in an answer that is not 2xx, what that means, and what to do. Pure.

One table, read from above: the first row whose words are in the answer counts. The words are Consul's own, from its source
(agent/http.go, agent/http_ce.go, agent/txn_endpoint.go, agent/local/state.go, acl/errors.go), 1.8 and 1.14. Those about
a partition that is not the agent's are Consul Enterprise's, as its users report them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from consul_redis_agent.errors import (
    ConsulBlocked,
    ConsulDenied,
    ConsulError,
    ConsulMisused,
    ConsulUnknown,
    ConsulUnreachable,
    TokenUnknown,
)

ANONYMOUS = "00000000-0000-0000-0000-000000000002"
"""The accessor of the token that Consul takes where none is sent, and its own agent has no default."""

NO_SUCH_TOKEN = "ACL not found"  # noqa: S105 - Consul's words

WITHOUT = (
    ("PUT", "/v1/txn", "no master is published"),
    ("PUT", "/v1/agent/service/register", "nothing can be published"),
    ("PUT", "/v1/agent/check/update", "no entry is kept alive: what passes runs out with its TTL"),
    ("PUT", "/v1/agent/check/deregister", "an entry stays hidden once the Consul agent has started again"),
    ("PUT", "/v1/agent/service/deregister", "entries that are not wanted stay, critical"),
    ("GET", "/v1/agent/services", "nothing can be written, for what stands there is not known"),
    ("GET", "/v1/agent/checks", "nothing can be written, for what stands there is not known"),
    ("GET", "/v1/agent/self", "Consul's domain, and an address to publish, are not learned from it"),
    ("GET", "/v1/health/service", "other agents' claims are not seen, so no master is published"),
    ("GET", "/v1/catalog/nodes", "`check` does not see which rights the token has"),
    ("GET", "/v1/status/leader", "`check` does not see whether Consul's servers have a leader"),
)
"""What does not work while a request is refused, whoever sends it: method, beginning of the path."""

PATHS = tuple(path for _, path, _ in WITHOUT)


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that is not 2xx."""

    status: int
    reason: str
    """What its body says."""
    method: str
    path: str

    @property
    def without(self) -> str:
        """What stops with it."""
        found = (what for method, path, what in WITHOUT if method == self.method and self.path.startswith(path))
        return next(found, "it cannot be done")


@dataclass(frozen=True, slots=True)
class Cause:
    """A row of the table."""

    words: re.Pattern[str]
    """What the answer says."""
    statuses: tuple[int, ...]
    """Empty: any."""
    error: type[ConsulError]
    mend: str | Callable[[Refused, re.Match[str]], str]
    """What it means and what to do; "" where the answer says it all."""


def _blocked(refused: Refused, _: re.Match[str]) -> str:
    endpoint = next((path for path in PATHS if refused.path.startswith(path)), refused.path)
    return (
        f"that is not the token: http_config.block_endpoints of this Consul agent covers {endpoint}; "
        f"as long as it does, {refused.without}"
    )


def _restricted(refused: Refused, _: re.Match[str]) -> str:
    return (
        "that is not the token: http_config.allow_write_http_from of this Consul agent leaves out the address that this "
        f"agent comes from; as long as it does, {refused.without}"
    )


def _missing(refused: Refused, found: re.Match[str]) -> str:
    right = found["right"] + (f" on {found['what']}" if found["what"] else "")
    nobody = ANONYMOUS in refused.reason or "anonymous token" in refused.reason
    return f"no token was sent: set consul.token_file to one with {right}" if nobody else f"give the token {right}"


def _no_namespaces(_: Refused, found: re.Match[str]) -> str:
    key = "partition" if "partition" in found["what"].lower() else "namespace"
    return f"this Consul has no {key}s, which only Consul Enterprise has: take consul.{key} out of the configuration"


Mend = str | Callable[[Refused, re.Match[str]], str]


def _rows(*rows: tuple[str, tuple[int, ...], type[ConsulError], Mend]) -> tuple[Cause, ...]:
    return tuple(
        Cause(re.compile(words, re.IGNORECASE), statuses, error, mend) for words, statuses, error, mend in rows
    )


CAUSES = _rows(
    (r"endpoint is blocked by agent configuration", (403,), ConsulBlocked, _blocked),
    (r"access is restricted", (403,), ConsulBlocked, _restricted),
    (
        r"unable to parse remote addr",
        (),
        ConsulBlocked,
        "with http_config.allow_write_http_from a Consul agent takes no writes over a unix socket: set consul.url to its port",
    ),
    (NO_SUCH_TOKEN, (), TokenUnknown, "the token is unknown to Consul: it was deleted, or has not reached it yet"),
    (r"missing (?P<right>\w+:\w+) on (?P<what>[^\s\"\\]+)", (401, 403, 409), ConsulDenied, _missing),  # up to 1.11
    (
        # later; in JSON its quotes are escaped
        r"lacks permission '(?P<right>\w+:\w+)'( on \\*\"(?P<what>[^\"\\]+))?",
        (401, 403, 409),
        ConsulDenied,
        _missing,
    ),
    (r"acl support disabled", (), ConsulDenied, "this Consul has no ACLs: take consul.token_file out"),
    (
        r"permission denied",
        (401, 403, 409),
        ConsulDenied,
        "give the token the rights of the example policy; on Consul Enterprise, those in consul.namespace and consul.partition",
    ),
    (
        r"(invalid (query parameter|header): |unknown field )\W*(x-consul-)?(?P<what>ns|namespace|partition)\b",
        (400,),
        ConsulError,
        _no_namespaces,
    ),
    (
        r"partition \S+ which does not match agent partition|to node in partition",
        (),
        ConsulError,
        "this Consul agent is of another partition: correct consul.partition, or leave it out",
    ),
    (
        r"(namespace|partition) \S+ (does not|doesn't) exist|(no such|unknown) (namespace|partition)",
        (),
        ConsulError,
        "correct consul.namespace and consul.partition",
    ),
    (
        r"http request to an https server",  # Go's net/http
        (),
        ConsulUnreachable,
        "TLS: it speaks TLS there, and was asked in clear text: set https:// in consul.url",
    ),
    (
        r"request body.* too large",
        (413,),
        ConsulError,
        "raise limits.txn_max_req_len of the Consul agents, which is smaller than Consul's default",
    ),
    (
        r"failed to create boolean expression|no such filter|unsupported filter",
        (),
        ConsulError,
        "this Consul cannot filter as 1.8 does: use Consul 1.8 or later",
    ),
    ("", (401,), ConsulDenied, "something in front of Consul asks for a login: set CONSUL_HTTP_AUTH to user:password"),
    (
        "",
        (403, 407),
        ConsulDenied,
        "that is not Consul's own answer to a token: does a proxy in front of it ask for a login?",
    ),
    ("", (400, 413), ConsulMisused, "that is a mistake of this program: report it with Consul's version"),
    ("", (404, 405), ConsulUnknown, ""),
    # How older versions say 404
    (r"unknown check|unknown service|does not have associated ttl", tuple(range(500, 600)), ConsulUnknown, ""),
    (
        r"no cluster leader|no known consul servers",
        (),
        ConsulError,
        "Consul's servers have no leader or cannot be reached",
    ),
    (
        r"too many concurrent connections",
        (429,),
        ConsulError,
        "something here holds as many connections as limits.http_max_conns_per_client of the Consul agent allows",
    ),
    ("", (429,), ConsulError, "Consul limits the rate of requests"),
    ("", (), ConsulError, ""),
)


def explain(refused: Refused) -> tuple[type[ConsulError], str]:
    """The error to raise, and what its message adds to what Consul said."""
    for cause in CAUSES:
        if cause.statuses and refused.status not in cause.statuses:
            continue
        if found := cause.words.search(refused.reason):
            return cause.error, cause.mend if isinstance(cause.mend, str) else cause.mend(refused, found)
    return ConsulError, ""
