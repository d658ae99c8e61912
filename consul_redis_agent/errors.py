"""Errors, named after whoever can mend them.

    AgentError
    ├── LocalError              this agent or its host
    │   ├── ConfigError         the configuration: every mistake at once, exit 78
    │   └── StaleDecision       a decision older than it may live; look again
    └── RemoteError             somebody else: the process stays up and tries again
        ├── Unanswered          a Redis node or a Sentinel; who asked says which
        │   └── Denied          it refuses the login or a command
        └── ConsulError         the Consul agent or its servers
            ├── ConsulMisused   this program wrote what Consul does not take (400, 413): a mistake of its own
            ├── ConsulDenied    the token lacks a right (403)
            │   ├── ConsulBlocked  the Consul agent's own configuration refuses it, whatever the token
            │   └── TokenUnknown   there is no such token (any more)
            ├── ConsulUnknown   the service or check is not there (404, or an old 500): register again
            ├── ConsulConflict  a compare-and-set lost: somebody was quicker
            └── ConsulUnreachable  no connection, no answer in time, or not HTTP

A message is one line: what happened, what it means, what to do. None holds a secret.
"""

from __future__ import annotations


class AgentError(Exception):
    """Anything that this package raises on purpose."""


class LocalError(AgentError):
    """This agent or its host is at fault."""


class ConfigError(LocalError):
    """The configuration is wrong. ``problems`` holds one line a mistake, with file, key and reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class StaleDecision(LocalError):
    """The decision is older than a decision may live, so it was not written."""


class RemoteError(AgentError):
    """Somebody outside is at fault; the message says who."""


class Unanswered(RemoteError):
    """No answer, or none that is Redis' protocol. ``gone``: nothing listens there."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


class Denied(Unanswered):
    """The server refuses the login or a command."""


class ConsulError(RemoteError):
    """Consul did not do what was asked."""

    kind = "other"
    """A short name for it, as metrics have it."""


class ConsulDenied(ConsulError):
    """The token lacks a right."""

    kind = "denied"


class ConsulBlocked(ConsulDenied):
    """The Consul agent's own configuration refuses the request (``block_endpoints``, ``allow_write_http_from``)."""

    kind = "blocked"


class TokenUnknown(ConsulDenied):
    """Consul does not know the token: it was deleted, or has not reached it yet."""

    kind = "token_unknown"


class ConsulMisused(ConsulError):
    """Consul does not take what this program has written: the program's own mistake, never a sign of an old Consul."""

    kind = "misused"


class ConsulUnknown(ConsulError):
    """Consul does not know this service or check (any more)."""

    kind = "unknown"


class ConsulConflict(ConsulError):
    """A compare-and-set was refused: somebody was quicker."""

    kind = "conflict"


class ConsulUnreachable(ConsulError):
    """No connection to Consul, or no answer in time, or an answer that is not HTTP."""

    kind = "unreachable"


CONSUL_ERRORS = tuple(
    error.kind
    for error in (
        ConsulUnreachable,
        ConsulDenied,
        ConsulBlocked,
        TokenUnknown,
        ConsulUnknown,
        ConsulMisused,
        ConsulError,
    )
)
"""The short names of all but a lost compare, which is nobody's fault."""
