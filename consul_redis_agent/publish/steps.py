"""From the entries that Consul should hold, and what it does hold, to the next step. Pure.

Consul has two records: the servers' catalog, which DNS reads, and that of the Consul agent on the host, which it writes
over the catalog's whenever they differ. A claim moves in the catalog first, in one transaction, because only that is one
step for DNS; the Consul agent is then told the same. :func:`next_step` is asked again after every step, so an
interruption is nothing special.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from consul_redis_agent.consul.form import (
    AGENT,
    ROLE,
    Deregister,
    Local,
    Register,
    Step,
    Transact,
    Unseal,
    Update,
    Wanted,
    is_own,
    read_claim,
    status_of,
)
from consul_redis_agent.decide.facts import Catalog, Entry
from consul_redis_agent.errors import LocalError


class Unsafe(LocalError):
    """A step that could show two masters, or undo a newer one: a defect of this program, which does not take it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one decision wants of Consul."""

    decided: float
    """Monotonic second of the decision."""
    wanted: tuple[Wanted, ...]
    evict: tuple[Entry, ...] = ()
    last: Entry | None = None
    seen: Mapping[str, Catalog] = field(default_factory=dict)
    """The catalog under each service name that it rests on."""

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two targets that want the same."""
        return self.wanted, tuple(e.key for e in self.evict)

    @property
    def claim(self) -> Wanted | None:
        """The entry that is to show the node as the master."""
        return next((entry for entry in self.wanted if entry.claims and entry.passing), None)

    @property
    def passes(self) -> frozenset[str]:
        """Ids of the entries that are to pass."""
        return frozenset(entry.id for entry in self.wanted if entry.passing)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of Consul: looked up, and with the own steps since then."""

    consul_node: str
    """The Consul node of the own entries, "" as long as it is not known."""
    node: str
    """The Redis node as configured, by which the own entries are told."""
    catalog: tuple[Entry, ...] | None
    """Everything under the own service names; None: not shown yet."""
    local: Mapping[str, Local]
    """The own Consul agent's services that this tool made for the node, or that stand in the place of one."""

    def own(self) -> Iterator[Entry]:
        """The own entries in the catalog."""
        return (
            e
            for e in self.catalog or ()
            if self.consul_node and e.node == self.consul_node and is_own(e.meta, self.node)
        )

    def entry(self, service_id: str) -> Entry | None:
        """The entry of this id, also without Meta: somebody may have written over it."""
        return next((e for e in self.catalog or () if e.node == self.consul_node and e.id == service_id), None)


def next_step(target: Target, known: Known) -> Step | None:
    """The step to take now; None: Consul holds what it should, or the next look at the catalog has to be awaited."""
    if not known.consul_node:
        return _first_entry(target, known)
    steps = (_claim, _withdraw, _tell_agent, _correct, _clear)
    return next((step for find in steps if (step := find(target, known))), None)


def _first_entry(target: Target, known: Known) -> Step | None:
    """A token without ``agent:read`` learns the Consul node's name from a registered check only."""
    missing = (entry for entry in target.wanted if entry.id not in known.local)
    return next((Register(replace(e, passing=e.passing and not e.claims)) for e in missing), None)


def _claim(target: Target, known: Known) -> Step | None:
    """The claim's transaction. Nothing else is asked for it; DNS waits for this."""
    claim = target.claim
    if claim is None or known.catalog is None:
        return None
    there, local = known.entry(claim.id), known.local.get(claim.id)
    evict = tuple(e for e in target.evict if _still(e, known))
    if there and _holds(there, claim) and not evict:
        return None
    if local and local.status != "passing" and local.definition != claim.definition:
        # When the Consul agent is told of the check, it syncs the service with it: as it is known there. So the claim
        # must be known there first, while the check, which keeps its status, is still critical.
        return Register(replace(claim, passing=False))
    index = there.index if there else 0
    if index is None:
        return None
    names = {entry.id for entry in target.wanted}
    # An entry in maintenance stays, critical: removing it would end the operator's maintenance.
    away = tuple(e for e in known.own() if e.id not in names and not e.maintenance)
    last = target.last if not (there and there.passing) else None
    return Transact(claim, index, there.tombstones if there else (), away, evict, last)


def _withdraw(target: Target, known: Known) -> Step | None:
    """What passes, and should not. Where only the catalog shows it, another transaction has to correct that."""
    passes, names = target.passes, {entry.id for entry in target.wanted}
    for service in known.local.values():
        ours = service.id in names or is_own(service.meta, known.node)
        if service.status == "passing" and service.id not in passes and ours:
            return Update(service.id, passing=False)
    for entry in known.own():
        if entry.passing and entry.id not in passes:
            kept = next((w for w in target.wanted if w.id == entry.id), None)
            if kept is None:
                return Transact(None, remove=(entry,))
            if entry.index is not None:
                return Transact(kept, entry.index, entry.tombstones)
    return None


def _clear(target: Target, known: Known) -> Step | None:
    """Own entries that are not wanted leave; as long as the catalog was not shown, they may be needed.

    Not those in maintenance: deregistering would end it, and critical does as well.
    """
    if known.catalog is None:
        return None
    names = {entry.id for entry in target.wanted}
    for service in known.local.values():
        if service.id not in names and is_own(service.meta, known.node) and not service.maintenance:
            return Deregister(service.id)
    for entry in known.own():
        if entry.id not in names and entry.id not in known.local and not entry.maintenance:
            return Transact(None, remove=(entry,))
    return None


def _tell_agent(target: Target, known: Known) -> Step | None:
    """The Consul agent gets what the catalog has, or what does not concern the master."""
    any_rises = any(_still(e, known) for e in target.evict)
    for entry in target.wanted:
        there, local = known.entry(entry.id), known.local.get(entry.id)
        if entry.passing and entry.claims and (any_rises or not (there and _holds(there, entry))):
            continue  # its transaction comes first, and may have to wait for the next look
        if local is None:
            return Register(entry)
        if there is None and known.catalog is not None and not entry.passing:
            # Its host's Consul agent left and came back: it takes a check that is registered again as it was for one that the
            # servers know (setCheckStateLocked in agent/local/state.go), and would show them the service without it.
            return Transact(entry)
        same = local.definition == entry.definition
        if entry.passing and entry.claims and local.status not in (None, "passing"):
            return Update(entry.id, passing=True) if same else Register(replace(entry, passing=False))
        if local.seal not in (None, "passing"):
            return Unseal(entry.id) if same else Register(entry)  # the seal hides what is known there until now
        if not same or None in (local.status, local.seal) or _has_other_ttl(local, entry) or _to_renew(local, entry):
            return Register(entry)
        if local.status != entry.status:
            return Update(entry.id, entry.passing)
    return None


def _has_other_ttl(local: Local, entry: Wanted) -> bool:
    """An early claim has one TTL only, and a second registration would begin it anew."""
    return local.ttl != entry.ttl and entry.ends == inf


def _to_renew(local: Local, entry: Wanted) -> bool:
    """Likewise."""
    return local.renew and entry.ends == inf


def _correct(target: Target, known: Known) -> Step | None:
    """What the Consul agent has right and the catalog has wrong: it does not notice another agent's transaction."""
    for entry in target.wanted:
        there = known.entry(entry.id)
        if there and not _holds(there, entry) and there.index is not None:
            return Transact(entry, there.index, there.tombstones)
    return None


def _still(entry: Entry, known: Known) -> bool:
    """Whether an entry to be evicted passes still, or is about to."""
    return any(e.rises for e in known.catalog or () if e.key == entry.key)


def _holds(there: Entry, entry: Wanted) -> bool:
    return (
        there.passing is entry.passing
        and (there.role_check or {}).get("Name") == ROLE.format(entry.role)
        and (there.name, there.tags, there.address, dict(there.meta)) == entry.definition
    )


def shown(target: Target, known: Known) -> bool:
    """Whether the catalog shows already what is to pass."""
    passing = [(entry, known.entry(entry.id)) for entry in target.wanted if entry.passing]
    return all(there is not None and _holds(there, entry) for entry, there in passing)


def settled(target: Target, known: Known) -> bool:
    """Whether the catalog holds exactly what it should of this Redis node."""
    if known.catalog is None or not known.consul_node:
        return not target.wanted and not known.local
    own = {e.id for e in known.own() if not (e.maintenance and not e.passing)}
    names = {w.id for w in target.wanted}
    there = [known.entry(w.id) for w in target.wanted]
    return own <= names and all(e is not None and _holds(e, w) for e, w in zip(there, target.wanted, strict=True))


def check(step: Step, target: Target, known: Known) -> None:
    """The two invariants of every write. Raises Unsafe.

    Nothing is set passing at the own Consul agent whose claim the catalog does not hold with its rivals critical; and no
    transaction lets a claim pass without its rivals going down in it. (That each one compares is in its form.)
    """
    claim = target.claim
    match step:
        case Transact(publish=Wanted(passing=True) as entry) if entry.claims:
            left = [e for e in target.evict if _still(e, known) and e not in step.evict]
            if entry != claim or left:
                raise Unsafe(
                    f"a transaction would let {entry.id} pass beside {', '.join(e.id for e in left) or 'no decision'}"
                )
        case Register(entry=Wanted(passing=True) as entry) if entry.claims:
            _must_be_held(entry, claim, target, known)
        case Update(passing=True) if claim and step.service_id == claim.id:
            _must_be_held(claim, claim, target, known)
            if (local := known.local.get(claim.id)) and local.definition != claim.definition:
                raise Unsafe(f"{claim.id} would be set passing with another claim")
        case Update(passing=True) if step.service_id not in target.passes:
            raise Unsafe(f"{step.service_id} would be set passing, which is not wanted")


def _must_be_held(entry: Wanted, claim: Wanted | None, target: Target, known: Known) -> None:
    there = known.entry(entry.id)
    if entry != claim or there is None or not _holds(there, entry) or any(_still(e, known) for e in target.evict):
        raise Unsafe(f"{entry.id} would be set passing before the catalog holds its claim")


def after(step: Step, known: Known) -> Known:
    """What is known of Consul once a step has been taken, until it is looked at again."""
    match step:
        case Transact():
            return replace(known, catalog=tuple(_in_catalog(step, known)))
        case Register(entry):
            before = known.local.get(entry.id)
            status = before.status if before and before.status else entry.status
            seal = before.seal if before and before.seal else "passing"
            maintenance = before.maintenance if before else False
            made = Local(
                entry.id, entry.name, entry.tags, entry.address, dict(entry.meta), status, seal, maintenance, entry.ttl
            )
            known = replace(known, local={**known.local, entry.id: made})
            there = known.entry(entry.id)
            if there or known.catalog is None:
                return _synced(known, entry.id, **_definition(entry, there))
            passing = status == seal == "passing"
            new = Entry(known.consul_node, entry.id, **_definition(entry, None), passing=passing, rises=passing)
            return replace(known, catalog=(*known.catalog, new))
        case Update(service_id, passing):
            known = _with(known, service_id, status=status_of(passing=passing))
            there = known.entry(service_id)
            if there is None or there.passing is passing:
                return known
            return _synced(known, service_id, passing=passing, rises=passing, index=None)
        case Unseal(service_id):
            known = _with(known, service_id, seal=None)
            there, local = known.entry(service_id), known.local.get(service_id)
            passing = bool(there and local and local.status == "passing" and not there.tombstones)
            return _synced(known, service_id, passing=passing, rises=passing)
        case Deregister(service_id):
            left = tuple(e for e in known.catalog or () if e.key != (known.consul_node, service_id))
            rest = {i: s for i, s in known.local.items() if i != service_id}
            return replace(known, local=rest, catalog=None if known.catalog is None else left)


def _with(known: Known, service_id: str, **changed: str | None) -> Known:
    local = known.local.get(service_id)
    if local is None:
        return known
    return replace(known, local={**known.local, service_id: replace(local, **changed)})  # type: ignore[arg-type]


def _synced(known: Known, service_id: str, **changed: Any) -> Known:
    """With what the Consul agent tells the servers of a service that they know."""
    there = known.entry(service_id)
    catalog = (replace(e, **changed) if e is there else e for e in known.catalog or ())
    return known if there is None else replace(known, catalog=tuple(catalog))


def _definition(entry: Wanted, there: Entry | None) -> dict[str, Any]:
    """What an entry in the catalog becomes by a registration; its check is written only where its name or tags change."""
    name = ROLE.format(entry.role)
    before = there.role_check if there and there.role_check else {}
    kept = there is not None and before.get("Name") == name and there.tags == entry.tags
    return {
        "name": entry.name,
        "tags": entry.tags,
        "address": entry.address,
        "meta": dict(entry.meta),
        "marked": True,
        "claim": read_claim(entry.meta),
        "agent": entry.meta.get(AGENT, ""),
        "says_master": entry.role == "master",
        "role_check": {**before, "Name": name},
        "index": there.index if there and kept else None,
    }


def _in_catalog(step: Transact, known: Known) -> Iterable[Entry]:
    gone = {e.key for e in step.remove}
    evicted = {e.key for e in step.evict}
    entry = step.publish
    for there in known.catalog or ():
        if there.key in evicted:
            yield replace(there, passing=False, rises=False, evicted=True, index=None)
        elif there.key not in gone and not (entry and there.key == (known.consul_node, entry.id)):
            yield there
    if entry:
        before = known.entry(entry.id)
        written = {**_definition(entry, None), "passing": entry.passing, "rises": entry.passing}
        if before:
            yield replace(before, **written, evicted=False, tombstones=())
        else:
            yield Entry(known.consul_node, entry.id, **written)
