"""From a decision and the configuration to the entries that Consul should hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf

from consul_redis_agent.consul.form import (
    AGENT,
    FIRST,
    FORMAT,
    GROUP,
    MARKER,
    MASTER_NAME,
    NODE,
    OURS,
    REPLICA_RUN_ID,
    SOURCE,
    Wanted,
    claim_meta,
    last_claim_meta,
)
from consul_redis_agent.decide.claim import EARLY_TERM, Claim
from consul_redis_agent.decide.decision import Decision, Verdict
from consul_redis_agent.decide.facts import Address


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
    agent: str = ""
    """The id of this agent, by which another one for the same node is told."""
    kept_as: str = ""
    """Names the node in the state directory, whatever its entries are called."""

    @property
    def ids(self) -> tuple[str, ...]:
        """What makes an entry another one when it changes."""
        return self.mode, self.service, self.replica, self.master_id, self.replica_id


def wanted(
    decision: Decision, naming: Naming, address: Address, master_name: str, run_id: str = ""
) -> tuple[Wanted, ...]:
    """The entries that one Redis node, in this life of it, should have; none of any other id made for it should be there.

    A withdrawn claim that is the group's last one stays, critical. Not to be called with verdict KEEP, which changes
    nothing.
    """
    verdict, kept = decision.verdict, decision.keeps
    if verdict is Verdict.KEEP:
        raise ValueError("KEEP wants no entries: it leaves what is there")
    common = {SOURCE: OURS} | dict(naming.meta) | {MARKER: FORMAT, NODE: naming.node, MASTER_NAME: master_name}
    if naming.agent:
        common[AGENT] = naming.agent
    if decision.group:
        common[GROUP] = decision.group

    def master(claim: Claim | None, *, passing: bool) -> Wanted:
        early = claim.early if claim and passing else None
        return Wanted(
            naming.master_id,
            naming.service,
            naming.tags if naming.mode is Mode.CHECK else ("master", *naming.tags),
            address,
            common | (claim_meta(claim) if claim else {}),
            "master",
            min(naming.ttl, EARLY_TERM) if early else naming.ttl,
            passing,
            early.since + EARLY_TERM if early else inf,
        )

    def replica(id_: str, name: str, meta: dict[str, str]) -> Wanted:
        meta = meta | {REPLICA_RUN_ID: run_id} if run_id else meta
        tags = ("replica", *naming.tags)
        reaped = naming.mode is Mode.SERVICES  # elsewhere it is the entry of claims too
        return Wanted(id_, name, tags, address, meta, "replica", naming.ttl, passing=True, reaped=reaped)

    if verdict is Verdict.MASTER:
        return (master(decision.claim, passing=True),)
    if verdict is Verdict.PENDING:
        first = master(decision.claim, passing=False)
        return (replace(first, meta={**first.meta, FIRST: "recorded, to be read back"}),)
    if verdict is Verdict.REPLICA and naming.mode is Mode.TAGS:
        meta = common | (last_claim_meta(kept) if kept else {})
        return (replica(naming.master_id, naming.service, meta),)
    entries: tuple[Wanted, ...] = (master(kept, passing=False),) if kept or naming.mode is Mode.CHECK else ()
    if verdict is Verdict.REPLICA and naming.mode is Mode.SERVICES and naming.replica:
        entries += (replica(naming.replica_id, naming.replica, common),)
    return entries
