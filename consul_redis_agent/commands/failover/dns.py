"""Consul's DNS, asked for one name again and again at little cost, so that also a moment of two or of none is seen."""

from __future__ import annotations

import dns.flags

from consul_redis_agent.commands.lookup import DnsError, srv
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.tell import dns as tell


class Asker(tell.Asker):
    """Every answer with IP addresses, as applications connect to them: what does not tell them is asked for again."""

    def _understood(self, reply: bytes) -> frozenset[Address] | None:
        return read(reply)

    async def _ask_fully(self) -> frozenset[Address] | None:
        try:
            return frozenset(answer.address for answer in await srv(self._name, self._server, self._timeout))
        except DnsError:
            return None


def read(reply: bytes) -> frozenset[Address] | None:
    """Whom an answer names, without its first two bytes; None where it is an error, or no DNS.

    Raises LookupError where it is cut off, or has no address for a target.
    """
    message = tell.parse(reply)
    if message is None:
        return None
    if message.flags & dns.flags.TC:
        raise LookupError("cut off")
    hosts = tell.addresses(message)
    return frozenset(Address(hosts[record.target], record.port) for record in tell.records(message))
