"""Who the own node is, and where others find it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from consul_redis_agent.decide.facts import Address, Sentinel, canonical

THIS_HOST = {
    *("", "localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"),
    *("::1", "::", "0.0.0.0"),  # noqa: S104 - told, not bound
}
"""What only this host means itself by; to connect to the wildcard addresses is to connect to the own host."""


def addresses_at_sentinel(run_id: str, sentinels: Iterable[Sentinel]) -> frozenset[Address]:
    """All addresses at which Sentinels list the node with this run id: one may be of before a move."""
    return frozenset(a for s in sentinels if not s.error for a, known in s.run_ids.items() if known and known == run_id)


def address_at_sentinel(run_id: str, sentinels: Iterable[Sentinel], before: Address | None = None) -> Address | None:
    """The address that most Sentinels use for the node with this run id: right behind NAT, Docker ports and hostnames.

    Where one lists it at several, that is the one that it names as the master, else one that is not down. Of two that are as
    good, the one that was taken ``before`` stays.
    """
    seen = [a for s in sentinels if not s.error and (a := _at(run_id, s, before))]
    return max(seen, key=lambda a: (seen.count(a), a == before), default=None)


def _at(run_id: str, sentinel: Sentinel, before: Address | None) -> Address | None:
    """Where one Sentinel has that node."""
    known = [a for a, there in sentinel.run_ids.items() if there and there == run_id]
    return max(known, key=lambda a: (a == sentinel.master, a not in sentinel.lost, a == before), default=None)


def address_to_publish(
    announce: Address | None,
    at_sentinel: Address | None,
    replica_announce: Address | None,
    reached: Address | None,
    local: Address | None,
) -> Address | None:
    """The one that the operator says; else the first that others can use; else the first; None where there is none.

    ``reached`` is where the configuration reaches the node. ``local`` is an address in Sentinel's lists that has the node's
    port and belongs to this host, or Consul's: after a restart Sentinel knows the new run id only up to 10 s later.
    """
    if announce:
        return announce
    known = [a for a in (at_sentinel, replica_announce, reached) if a]
    return next((a for a in known if is_for_others(a.host)), at_sentinel or replica_announce or local)


def service_id(service: str, host: str, port: int, path: str, seen_from: str, mark: str = "") -> str:
    """A service id that survives restarts and host renames, and is unique at its Consul agent.

    ``host`` and ``port`` (or the unix socket's ``path``) are the node's as configured. A loopback host says nothing
    where several hosts share one Consul agent; ``seen_from``, this host's address towards that agent, tells them
    apart, and is itself left out where the Consul agent is on the same host. Containers may have the same addresses on each
    host: ``mark``, of the agent, tells those apart.
    """
    named = seen_from if is_loopback(host) else host
    shared = [mark] if mark and not is_loopback(seen_from) else []
    where = "-".join([*([] if is_loopback(named) else [named]), *shared, path.strip("/") or str(port)])
    return f"{service}-" + "".join(c if c.isalnum() or c in ".-" else "-" for c in where)


def is_loopback(host: str) -> bool:
    """Whether only this host itself can mean itself by ``host``."""
    host = canonical(host)
    return host in THIS_HOST or host.endswith(".localhost") or (host.startswith("127.") and is_ip(host))


def only_here(host: str) -> str:
    """Why other hosts cannot mean the same by ``host``, for people; "" where they can."""
    host = canonical(host)
    if is_loopback(host):
        return "which is of use on this host only"
    if not ("." in host or ":" in host):
        return "a name of one label, which only its own network knows"
    return "a link-local address, which is of use on its own link only" if "%" in host else ""


def is_for_others(host: str) -> bool:
    """Whether other hosts mean the same by it: not a loopback or link-local address, nor a name as in a Docker network."""
    return not only_here(host)


def is_ip(host: str) -> bool:
    """Whether it is an IP address, and not a name."""
    return ":" in host or host.replace(".", "").isdecimal()
