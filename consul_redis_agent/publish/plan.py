"""From the entries that Consul should hold, and what it does hold, to the steps between. Pure.

Consul has two records: the servers' catalog, which DNS reads, and the local agent's, which it writes over the
catalog's whenever they differ. A claim moves in the catalog first, in one transaction, because only that is one step
for DNS; the local agent is then told the same. An interruption after any step leaves a state from which the next
plan goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf

from consul_redis_agent.decide.claim import MARKER, NODE
from consul_redis_agent.decide.facts import Address, Entry
from consul_redis_agent.publish.entries import CHECK_SUFFIX, Naming, Wanted


@dataclass(frozen=True, slots=True)
class Service:
    """A service as the local Consul agent holds it, with the state of role check and seal (None: there is none)."""

    id: str
    name: str
    tags: tuple[str, ...]
    address: str
    port: int
    meta: Mapping[str, str]
    status: str | None
    maintenance: bool = False
    seal: str | None = None


@dataclass(frozen=True, slots=True)
class Transact:
    """One transaction on the catalog: an own entry as it should be, own entries away, older claims critical."""

    publish: Wanted | None
    remove: tuple[Entry, ...] = ()
    evict: tuple[Entry, ...] = ()
    unless_newer_than: int | None = None
    """Refused if the published entry's role check has another ModifyIndex (0: if there is one): a transaction that hung
    in a cut and is delivered late must not undo what happened since. None: not asked."""
    tombstones: tuple[str, ...] = ()
    """Ids of the published entry's tombstones, which go."""


@dataclass(frozen=True, slots=True)
class Register:
    """Register service and check at the local agent, in one call."""

    entry: Wanted


@dataclass(frozen=True, slots=True)
class Update:
    """Set a check at the local agent, which also begins its TTL anew."""

    check_id: str
    passing: bool


@dataclass(frozen=True, slots=True)
class Unseal:
    """Take a broken seal off, so that the next registration puts a new one on."""

    seal_id: str


@dataclass(frozen=True, slots=True)
class Deregister:
    """Take a service and its check out of the local agent."""

    service_id: str


Step = Transact | Register | Update | Unseal | Deregister


def is_own(meta: Mapping[str, str], naming: Naming) -> bool:
    """Whether this tool made an entry for this Redis node; asked only of entries of the own Consul node."""
    return MARKER in meta and meta.get(NODE) == naming.node


def at_once(
    wanted: tuple[Wanted, ...],
    evict: tuple[Entry, ...],
    catalog: Iterable[Entry],
    here: str,
    naming: Naming,
    critical: frozenset[str] = frozenset(),
) -> Iterator[Step]:
    """The steps that DNS waits for; they need no look at the local agent. ``here`` is its Consul node.

    ``critical``: ids of checks that the local agent was told are critical. It writes to the catalog what changes only,
    so what passes there all the same, since a claim's transaction came late, has to be written by another one.
    """
    local = [e for e in catalog if e.node == here]
    own = [e for e in local if is_own(e.meta, naming)]
    claim = next((w for w in wanted if w.claims), None)
    names = {w.id for w in wanted}
    if claim is not None:
        if evict or not any(_holds(e, claim) for e in own):
            there = next((e for e in local if e.id == claim.id), None)  # also without Meta: somebody wrote over it
            index: int | None = int((there.check or {}).get("ModifyIndex", 0)) if there else 0
            known = there is not None and _definition(there) == _wanted_definition(claim)
            if there and not there.passing and not known:
                # When the local agent is told of the check, Consul syncs the service with it: as it is known there. So
                # the claim must be known there first, while the check, which keeps its status, is still critical.
                yield Register(replace(claim, passing=False))
                index, known = None, True  # that may have written the check, too
            # An entry in maintenance stays, critical: removing it would end the operator's maintenance.
            away = tuple(e for e in own if e.id not in names and not e.maintenance)
            tombstones = there.tombstones if there else ()
            yield Transact(claim, away, evict, unless_newer_than=index, tombstones=tombstones)
            # Before anything else is asked: a full sync of the local agent would write over the catalog what it knows.
            if not known:
                yield Register(claim)
            elif claim.ends == inf or not (there and there.passing):  # what passes until its end is not prolonged
                yield Update(claim.check_id, claim.passing)
        return
    passing = {w.id for w in wanted if w.passing}
    for entry in own:
        check_id = entry.id + CHECK_SUFFIX
        if entry.passing and entry.id not in passing:
            if check_id not in critical:
                yield Update(check_id, passing=False)
            elif kept := next((w for w in wanted if w.id == entry.id), None):
                yield Transact(kept, tombstones=entry.tombstones)
            else:
                yield Transact(None, remove=(entry,))


def forgotten(wanted: tuple[Wanted, ...], catalog: Iterable[Entry], here: str, naming: Naming) -> Iterator[Step]:
    """The step for own entries that DNS shows and the local agent does not know, so that it cannot put them down.

    That is what an interruption between a claim's transaction and its registration leaves.
    """
    names = {w.id for w in wanted}
    away = tuple(e for e in catalog if e.node == here and is_own(e.meta, naming) and e.passing and e.id not in names)
    if away:
        yield Transact(None, remove=away)


def then(
    wanted: tuple[Wanted, ...], local: Mapping[str, Service], naming: Naming, known: frozenset[str]
) -> Iterator[Step]:
    """The steps that bring the local agent in line.

    ``known``: ids that this process has registered. The local agent does not show a check's TTL, so each is
    registered once, in case an earlier run had another.
    """
    names = {w.id for w in wanted}
    for service in local.values():
        if service.id not in names and is_own(service.meta, naming):
            if service.status == "passing":
                yield Update(service.id + CHECK_SUFFIX, passing=False)
            # Deregistering would end the operator's maintenance; critical does as well.
            if not service.maintenance:
                yield Deregister(service.id)
    for entry in wanted:
        there = local.get(entry.id)
        # An early claim has one TTL only, and a second registration would begin it anew.
        same = there is not None and _same(there, entry) and (entry.id in known or entry.ends < inf)
        # Registering keeps the status of a check that is known, and updating syncs the definition that is known. So a
        # claim, which the catalog has already, is updated first; what begins to pass anew is registered first.
        update = [Update(entry.check_id, entry.passing)] if there and there.status not in (None, entry.status) else []
        if entry.claims or not entry.passing:
            yield from update
        if there and there.seal not in (None, "passing"):
            yield Unseal(entry.seal_id)
        if not same or (there and (there.status is None or there.seal != "passing")):
            yield Register(entry)
        if entry.passing and not entry.claims:
            yield from update


def at_last(wanted: tuple[Wanted, ...], catalog: Iterable[Entry], here: str) -> Iterator[Step]:
    """The steps for entries that the local agent has right and the catalog has wrong.

    The local agent does not notice that another agent's transaction changed its entry. ``catalog`` must be younger
    than the last step before.
    """
    entries = {e.id: e for e in catalog if e.node == here}
    for entry in wanted:
        there = entries.get(entry.id)
        if there is not None and not _holds(there, entry):
            yield Transact(entry, tombstones=there.tombstones)


def settled(wanted: tuple[Wanted, ...], catalog: Iterable[Entry], here: str, naming: Naming) -> bool:
    """Whether the catalog holds exactly what it should of this Redis node."""
    own = {
        e.id: e for e in catalog if e.node == here and is_own(e.meta, naming) and not (e.maintenance and not e.passing)
    }
    names = {w.id for w in wanted}
    entries = {e.id: e for e in catalog if e.node == here}
    return own.keys() <= names and all(w.id in entries and _holds(entries[w.id], w) for w in wanted)


def _holds(there: Entry, entry: Wanted) -> bool:
    return (
        there.passing is entry.passing
        and (there.check or {}).get("Name") == entry.check_name
        and _definition(there) == _wanted_definition(entry)
    )


def _same(there: Service, entry: Wanted) -> bool:
    return _definition(there) == _wanted_definition(entry)


def _definition(there: Entry | Service) -> tuple[object, ...]:
    return there.name, there.tags, Address(there.address, there.port), dict(there.meta)


def _wanted_definition(entry: Wanted) -> tuple[object, ...]:
    return entry.name, entry.tags, entry.address, dict(entry.meta)
