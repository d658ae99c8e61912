"""What Consul says when it refuses a request becomes a cause with what to do, whoever asks."""

from __future__ import annotations

import pytest

from consul_redis_agent.consul.causes import WITHOUT, Refused, explain
from consul_redis_agent.errors import (
    ConsulBlocked,
    ConsulDenied,
    ConsulError,
    ConsulMisused,
    ConsulUnknown,
    ConsulUnreachable,
)

BLOCKED = "Endpoint is blocked by agent configuration"
RESTRICTED = "Access is restricted"


@pytest.mark.parametrize(("method", "path", "without"), WITHOUT)
def test_a_blocked_endpoint_says_what_stops(method: str, path: str, without: str) -> None:
    """For each request that the agent makes: the key of Consul's configuration, the endpoint, and what does not work."""
    error, mend = explain(Refused(403, BLOCKED, method, f"{path}/redis-6379%3Arole"))
    assert error is ConsulBlocked
    assert mend == (
        f"that is not the token: http_config.block_endpoints of this Consul agent covers {path}; as long as it does, {without}"
    )


@pytest.mark.parametrize(
    ("status", "reason", "error", "mend"),
    [
        (
            403,
            RESTRICTED,
            ConsulBlocked,
            "http_config.allow_write_http_from of this Consul agent leaves out the address",
        ),
        (500, "unable to parse remote addr: address @: missing port in address", ConsulBlocked, "over a unix socket"),
        (403, "ACL not found", ConsulDenied, "the token is unknown to Consul: it was deleted"),
        (403, "rpc error code = Unknown desc = ACL not found", ConsulDenied, "the token is unknown to Consul"),
        (
            403,
            "Permission denied: Missing service:write on redis",
            ConsulDenied,
            "give the token service:write on redis",
        ),
        (
            403,
            "Permission denied: token with AccessorID 'a' lacks permission 'service:write' on \"redis\"",
            ConsulDenied,
            "give the token service:write on redis",
        ),
        (
            403,
            "Permission denied: token with AccessorID '00000000-0000-0000-0000-000000000002' lacks permission 'node:read'",
            ConsulDenied,
            "no token was sent: set consul.token_file to one with node:read",
        ),
        (
            403,
            "Permission denied: anonymous token lacks permission 'service:write' on \"redis\". The anonymous token is used",
            ConsulDenied,
            "no token was sent: set consul.token_file to one with service:write on redis",
        ),
        (403, "Permission denied", ConsulDenied, "give the token the rights of the example policy"),
        (401, "ACL support disabled", ConsulDenied, "this Consul has no ACLs"),
        (403, "not for you", ConsulDenied, "does a proxy in front of it ask for a login?"),
        (
            400,
            'Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature',
            ConsulError,
            "this Consul has no namespaces, which only Consul Enterprise has: take consul.namespace out",
        ),
        (
            400,
            'Invalid query parameter: "partition" - Partitions are a Consul Enterprise feature',
            ConsulError,
            "take consul.partition out",
        ),
        (400, 'Request decode failed: json: unknown field "Namespace"', ConsulError, "take consul.namespace out"),
        (400, 'Failed to parse body: json: unknown field "Partition"', ConsulError, "take consul.partition out"),
        (
            400,
            'Failed to parse body: json: unknown field "Interval"',
            ConsulMisused,
            "that is a mistake of this program",
        ),
        (
            400,
            'request targets partition "team" which does not match agent partition "default"',
            ConsulError,
            "correct consul.partition",
        ),
        (400, "Client sent an HTTP request to an HTTPS server.", ConsulUnreachable, "set https:// in consul.url"),
        (
            413,
            "Request body(600000 bytes) too large, max size: 1024 bytes.",
            ConsulError,
            "raise limits.txn_max_req_len",
        ),
        (413, "Transaction contains too many operations (65 > 64)", ConsulMisused, "that is a mistake of this program"),
        (500, "Failed to create boolean expression evaluator: no", ConsulError, "use Consul 1.8 or later"),
        (404, "Invalid URL path: not a recognized HTTP API endpoint", ConsulUnknown, ""),
        (405, "method PUT not allowed", ConsulUnknown, ""),
        (500, 'Unknown check "redis:role"', ConsulUnknown, ""),
        (500, "No cluster leader", ConsulError, "have no leader or cannot be reached"),
        (500, "No known Consul servers", ConsulError, "have no leader or cannot be reached"),
        (429, "Your IP is issuing too many concurrent connections", ConsulError, "limits.http_max_conns_per_client"),
        (429, "rate limit exceeded", ConsulError, "Consul limits the rate of requests"),
        (500, "something else", ConsulError, ""),
    ],
)
def test_each_refusal_has_its_cause(status: int, reason: str, error: type[ConsulError], mend: str) -> None:
    """In the words of Consul 1.8 and of later ones; what is nobody's known cause gets no invented one."""
    kind, says = explain(Refused(status, reason, "PUT", "/v1/txn"))
    assert kind is error
    assert mend in says
    assert bool(mend) is bool(says)


def test_no_cause_speaks_of_rights_that_are_not_missing() -> None:
    """A configuration that refuses is never mended by a token."""
    for reason in (BLOCKED, RESTRICTED):
        _, mend = explain(Refused(403, reason, "PUT", "/v1/agent/check/update/x"))
        assert "give the token" not in mend
        assert "that is not the token" in mend
