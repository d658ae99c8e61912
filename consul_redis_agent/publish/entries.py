"""From a decision and the configuration to the entries that Consul should hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Any

from consul_redis_agent.decide.claim import EARLY_TERM, FORMAT, MARKER, MASTER_NAME, NODE
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.decide.rules import Decision, Verdict

NOTES = "kept by consul-redis-agent"
OUTPUT = ""
"""The check's output. Constant, since Consul writes every change of it to its raft log and wakes all watchers; and
empty, since that is what registering a check begins with."""

CHECK_SUFFIX = ":role"
"""The role check of service ``ID`` is ``ID:role``: one an entry, the same whatever the role is."""

SEAL_SUFFIX = ":seal"
"""The seal of service ``ID`` is ``ID:seal``: a second check that is never updated after it was registered.

Consul keeps the state of a TTL check on disk whenever it is updated, and a Consul agent that starts again restores a
passing one until its TTL has run out: a host that comes back would show two masters. What was never updated is not
kept, and begins critical: the seal is broken, and DNS does not show the entry, until this agent has decided anew and
put a new one on.
"""
SEAL_NAME = "seal"
SEAL_NOTES = "critical after this Consul agent has started again, until consul-redis-agent confirms the entry"
SEAL_TTL = "87600h"

TOMBSTONE_SUFFIX = ":put-down-"
"""The tombstones of service ``ID`` are ``ID:put-down-1`` and so on; see :data:`consul_redis_agent.decide.claim.TOMBSTONES`."""
TOMBSTONE_NAME = "put down"


class Mode(StrEnum):
    """``service.mode`` of the configuration."""

    SERVICES = "services"
    CHECK = "check"
    TAGS = "tags"


@dataclass(frozen=True, slots=True)
class Naming:
    """How one Redis node is to be named in Consul."""

    mode: Mode
    service: str
    replica: str
    """Empty: replicas are not published. Of use in mode ``services`` only."""
    ttl: float
    node: str
    """The node as configured, without credentials: says in Meta which node an entry was made for."""
    master_id: str
    """Service id of the entry under ``service``."""
    replica_id: str
    """Service id of the entry under ``replica``."""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """What makes an entry another one when it changes."""
        return self.mode, self.service, self.replica, self.master_id, self.replica_id


@dataclass(frozen=True, slots=True)
class Wanted:
    """One entry as Consul should hold it."""

    id: str
    name: str
    tags: tuple[str, ...]
    address: Address
    meta: Mapping[str, str]
    check_name: str
    ttl: float
    passing: bool
    claims: bool = False
    """Whether it says that the node is the master."""
    ends: float = inf
    """The monotonic second by which its TTL has to be over, for an early claim: it must not outlive a killed agent."""

    @property
    def check_id(self) -> str:
        """The id of the entry's role check."""
        return self.id + CHECK_SUFFIX

    @property
    def seal_id(self) -> str:
        """The id of the entry's seal."""
        return self.id + SEAL_SUFFIX

    @property
    def status(self) -> str:
        """The role check's status; never ``warning``, which DNS serves."""
        return "passing" if self.passing else "critical"

    def registration(self) -> dict[str, Any]:
        """The body of ``PUT /v1/agent/service/register``: the service and its checks in one call."""
        role = {"CheckID": self.check_id, "Name": self.check_name, "Notes": NOTES, "TTL": f"{self.ttl:g}s"}
        seal = {"CheckID": self.seal_id, "Name": SEAL_NAME, "Notes": SEAL_NOTES, "TTL": SEAL_TTL}
        return {
            "ID": self.id,
            "Name": self.name,
            "Tags": list(self.tags),
            "Address": self.address.host,
            "Port": self.address.port,
            "Meta": dict(self.meta),
            "Checks": [role | {"Status": self.status}, seal | {"Status": "passing"}],
        }

    def catalog_service(self) -> dict[str, Any]:
        """The service as a ``Service`` operation of ``/v1/txn`` takes it."""
        registration = self.registration()
        del registration["Checks"]
        return registration | {"Service": registration.pop("Name")}

    def catalog_checks(self, node: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The role check and the seal as ``Check`` operations of ``/v1/txn`` take them. ``node`` is the Consul node."""
        common = {
            "Node": node,
            "Output": OUTPUT,
            "ServiceID": self.id,
            # Without it Consul asks for node:write; with it service:write on this service is enough.
            "ServiceName": self.name,
            "ServiceTags": list(self.tags),
            "Type": "ttl",
        }
        role = {"CheckID": self.check_id, "Name": self.check_name, "Notes": NOTES, "Status": self.status}
        seal = {"CheckID": self.seal_id, "Name": SEAL_NAME, "Notes": SEAL_NOTES, "Status": "passing"}
        return common | role, common | seal


def wanted(decision: Decision, naming: Naming, address: Address, master_name: str) -> tuple[Wanted, ...]:
    """The entries that one Redis node should have; none of any other id that carries its Meta should be there.

    Not to be called with verdict KEEP, which changes nothing.
    """
    verdict = decision.verdict
    if verdict is Verdict.KEEP:
        raise ValueError("KEEP wants no entries: it leaves what is there")
    master = verdict in (Verdict.MASTER, Verdict.STANDING)
    passes = verdict in (Verdict.MASTER, Verdict.REPLICA)
    meta = dict(naming.meta) | {MARKER: FORMAT, NODE: naming.node, MASTER_NAME: master_name}
    ttl, ends = naming.ttl, inf
    if decision.claim:
        meta |= decision.claim.meta()
        if early := decision.claim.early:
            ttl, ends = min(ttl, EARLY_TERM), early.since + EARLY_TERM

    def entry(service_id: str, name: str, role: str, *, tag: bool, passing: bool) -> Wanted:
        tags = (role, *naming.tags) if tag else naming.tags
        return Wanted(service_id, name, tags, address, meta, f"role:{role}", ttl, passing, claims=master, ends=ends)

    match naming.mode:
        case Mode.CHECK:
            return (entry(naming.master_id, naming.service, "master", tag=False, passing=passes and master),)
        case Mode.TAGS if verdict is not Verdict.NONE:
            role = "master" if master else "replica"
            return (entry(naming.master_id, naming.service, role, tag=True, passing=passes),)
        case Mode.SERVICES if master:
            return (entry(naming.master_id, naming.service, "master", tag=True, passing=passes),)
        case Mode.SERVICES if verdict is Verdict.REPLICA and naming.replica:
            return (entry(naming.replica_id, naming.replica, "replica", tag=True, passing=True),)
    return ()
