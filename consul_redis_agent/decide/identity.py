"""Who the own node is, and where others find it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from consul_redis_agent.decide.facts import Address, Sentinel


def address_at_sentinel(run_id: str, sentinels: Iterable[Sentinel]) -> Address | None:
    """The address that most Sentinels use for the node with this run id: right behind NAT, Docker ports and hostnames."""
    seen = [
        address for s in sentinels if not s.error for address, known in s.run_ids.items() if known and known == run_id
    ]
    return max(seen, key=seen.count, default=None)


def address_to_publish(
    at_sentinel: Address | None,
    announce: Address | None,
    replica_announce: Address | None,
    reached: Address | None,
    local: Address | None,
) -> Address | None:
    """The first that is known, in this order; None when the node has no address that another host could use.

    ``reached`` is the address of the configuration, of use only if it is not a loopback one. ``local`` is an address
    in Sentinel's lists that has the node's port and belongs to this host: after a restart Sentinel knows the new run
    id only up to 10 s later.
    """
    return at_sentinel or announce or replica_announce or reached or local


def service_id(service: str, host: str, port: int, path: str, seen_from: str) -> str:
    """A service id that survives restarts and host renames, and is unique at its Consul agent.

    ``host`` and ``port`` (or the unix socket's ``path``) are the node's as configured. A loopback host says nothing
    where several hosts share one Consul agent; ``seen_from``, this host's address towards that agent, tells them
    apart, and is itself left out where the Consul agent is on the same host.
    """
    named = seen_from if is_loopback(host) else host
    where = "-".join([*([] if is_loopback(named) else [named]), path.strip("/") or str(port)])
    return f"{service}-" + "".join(c if c.isalnum() or c in ".-" else "-" for c in where)


def is_loopback(host: str) -> bool:
    """Whether only this host itself can mean itself by ``host``."""
    return host in ("", "localhost", "::1") or host.startswith("127.")
