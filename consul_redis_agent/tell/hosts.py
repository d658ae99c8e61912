"""Which names a request may call this host by.

A page of somebody else can give its own name this host's address (DNS rebinding): a browser then takes the agent's pages for that
page's own, and lets it read them. It still sends that name as ``Host``, so such a request is refused.
"""

from __future__ import annotations

import ipaddress
import socket

from consul_redis_agent.decide.facts import canonical
from consul_redis_agent.errors import LocalError
from consul_redis_agent.names import LOOKUPS

LOOK_UP_WITHIN = 2.0
"""Seconds for the resolver to tell this host's full name."""


class Hosts:
    """The names of this host, and ``listen``, the one in the configuration."""

    def __init__(self, listen: str) -> None:
        own = canonical(socket.gethostname())
        self._known = {"localhost", canonical(listen), own, own.partition(".")[0]}
        self._complete = False

    async def allows(self, header: str) -> bool:
        """Whether a ``Host`` header (``name``, ``name:port``, ``[v6]:port``) names an IP address or this host.

        The resolver is asked for this host's full name only where the others do not fit.
        """
        host = canonical(header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0])
        if _is_literal(host) or host in self._known:
            return True
        if not self._complete:
            try:
                found = await LOOKUPS.ask(_full_names, timeout=LOOK_UP_WITHIN, what="the resolver")
            except LocalError:
                return False
            self._known |= found
            self._complete = True
        return host in self._known


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _full_names() -> frozenset[str]:
    """What the resolver calls this host; blocks. It may know it by no name at all."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, flags=socket.AI_CANONNAME)
    except OSError:
        return frozenset()
    return frozenset(canonical(name) for _, _, _, name, _ in found if name)
