"""SRV questions and answers as bytes, so that whoever is in a hurry can leave the parsing for later."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rdatatype

from consul_redis_agent.decide.facts import Address


def question(name: str) -> bytes:
    """Return the query for the SRV records of ``name``, with room for several answers in one datagram."""
    return dns.message.make_query(name, dns.rdatatype.SRV, use_edns=0, payload=4096, id=0).to_wire()


def answers(wire: bytes) -> frozenset[Address] | None:
    """Return whom a reply names, with the address from its additional section where there is one.

    The set is empty when the name has no record; None means that the server failed to answer. Raises
    dns.exception.DNSException when ``wire`` is not a DNS message.
    """
    reply = dns.message.from_wire(wire)
    if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return None
    addresses = {
        rrset.name: record.address
        for rrset in reply.additional
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for record in rrset
    }
    return frozenset(
        Address(addresses.get(record.target, record.target.to_text(omit_final_dot=True)), record.port)
        for rrset in reply.answer
        if rrset.rdtype == dns.rdatatype.SRV
        for record in rrset
    )
