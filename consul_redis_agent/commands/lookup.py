"""Consul's DNS, asked as an application would."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from consul_redis_agent import names
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import RemoteError

if TYPE_CHECKING:
    from dns.rdtypes.IN.SRV import SRV
    from dns.rrset import RRset

TIMEOUT = 2.0
"""Seconds for one question, over UDP or TCP."""
QUESTIONS = 4
"""So many times that for all questions behind one answer."""
ANSWERS = 64
"""SRV records that are taken from one answer; more than one is wrong already."""


class DnsError(RemoteError):
    """The DNS server did not answer, or refused to."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One SRV record with the address of its target."""

    target: str
    port: int
    host: str
    """The target's IP address; empty where DNS knows none."""
    ttl: int
    """Seconds."""
    elsewhere: bool = False
    """The DNS server itself knows no address for the target; :attr:`host` is what this host's resolver has."""

    @property
    def address(self) -> Address:
        """Where an application connects to."""
        return Address(self.host or self.target, self.port)


class _Server(NamedTuple):
    family: socket.AddressFamily
    where: str
    sockaddr: tuple[str, int]


async def srv(name: str, server: Address, timeout: float = TIMEOUT) -> tuple[Answer, ...]:  # noqa: ASYNC109 - seconds a question
    """The SRV records of ``name``, sorted by address; none if the name does not exist. Raises DnsError.

    The addresses come from the additional section, else from a second question.
    """
    try:
        dns.name.from_text(name)
    except dns.exception.DNSException as error:
        raise DnsError(f"{name!r} is not a DNS name: {error}") from None
    where = await _locate(server, timeout)
    try:
        async with asyncio.timeout(QUESTIONS * timeout):
            return await _srv(name, where, timeout)
    except (dns.exception.Timeout, TimeoutError):
        reason = f"does not answer within {timeout:g} s; is it Consul's DNS port (consul.dns)?"
    except ConnectionRefusedError:
        reason = "nothing listens there; start Consul, or correct consul.dns"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except (dns.exception.DNSException, EOFError) as error:
        reason = f"its answer is not DNS ({type(error).__name__})"
    raise DnsError(f"DNS at {server}: {reason}")


async def _srv(name: str, server: _Server, timeout: float) -> tuple[Answer, ...]:  # noqa: ASYNC109
    response = await _ask(name, "SRV", server, timeout)
    if response.rcode() == dns.rcode.NXDOMAIN:
        return ()
    if response.rcode() != dns.rcode.NOERROR:
        code = dns.rcode.to_text(response.rcode())
        raise DnsError(f"DNS at {server.where} answers {code} to {name}; is the name within Consul's domain?")
    known = dict(_addresses(response.additional))
    answers: list[Answer] = []
    for rrset in response.answer:
        if rrset.rdtype == dns.rdatatype.SRV:
            record: SRV
            for record in islice(rrset, ANSWERS - len(answers)):
                host = known.get(record.target) or await _address(record.target, server, timeout)
                elsewhere = not host
                host = host or await _resolved(record.target, timeout)
                target = record.target.to_text(omit_final_dot=True)
                answers.append(Answer(target, record.port, host, rrset.ttl, elsewhere))
    return tuple(sorted(answers, key=lambda answer: answer.address))


async def _address(target: dns.name.Name, server: _Server, timeout: float) -> str:  # noqa: ASYNC109
    """The address of a target that came without, from the same server; "" where that has none."""
    for kind in ("A", "AAAA"):
        response = await _ask(target.to_text(), kind, server, timeout)
        for _, host in _addresses(response.answer):
            return host
    return ""


async def _resolved(target: dns.name.Name, timeout: float) -> str:  # noqa: ASYNC109
    """The same as this host resolves names."""
    try:
        (_, (host, *_)), *_ = await names.addresses(target.to_text(omit_final_dot=True), 0, timeout)
    except (OSError, UnicodeError):  # a label of more than 63 characters, escaped
        return ""
    return str(host)


async def _ask(name: str, kind: str, server: _Server, timeout: float) -> dns.message.Message:  # noqa: ASYNC109
    question = dns.message.make_query(name, kind)
    backend = dns.asyncbackend.get_default_backend()
    # Connected, unlike dnspython's own: a closed port is then told at once.
    connected = await backend.make_socket(  # type: ignore[no-untyped-call]
        server.family, socket.SOCK_DGRAM, 0, None, server.sockaddr
    )
    async with connected as udp:
        response, _ = await dns.asyncquery.udp_with_fallback(
            question, server.where, timeout, server.sockaddr[1], udp_sock=udp
        )
    return response


def _addresses(section: list[RRset]) -> Iterator[tuple[dns.name.Name, str]]:
    for rrset in section:
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            yield rrset.name, rrset[0].address


async def _locate(server: Address, timeout: float) -> _Server:  # noqa: ASYNC109
    try:
        (family, sockaddr), *_ = await names.addresses(*server, timeout)
    except (OSError, UnicodeError) as error:
        raise DnsError(f"DNS at {server}: {getattr(error, 'strerror', error)}; correct consul.dns") from None
    return _Server(family, str(sockaddr[0]), (str(sockaddr[0]), server.port))
