"""What ``/v1/txn`` is sent: the operations of one step, as transactions of a size that Consul takes. Pure.

Consul decodes a transaction strictly and refuses it whole for one key that it does not know. What it shows of a check in
``/v1/health/service`` has such keys (``Interval`` and ``Timeout``, from Consul 1.10 on), so a check is never written back
as it was read: the fields that are written are named here, and each of them is known to every Consul from 1.8 on
(``convertOps`` in agent/txn_endpoint.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consul_redis_agent.decide.claim import PUT_DOWN, TOMBSTONES
from consul_redis_agent.decide.facts import Entry
from consul_redis_agent.publish.entries import NOTES, TOMBSTONE_NAME, TOMBSTONE_SUFFIX
from consul_redis_agent.publish.plan import Transact

Operation = dict[str, Any]

LIMIT = 64
"""Operations in one transaction (``maxTxnOps``): 64 up to Consul 1.9, 128 later."""
KEPT = ("Node", "CheckID", "Name", "Notes", "ServiceID", "ServiceName", "ServiceTags", "Type")
"""The fields of another node's check that are written as they were read."""
DOWN = {"Status": "critical", "Output": PUT_DOWN}


def transactions(step: Transact, node: str) -> Iterator[list[Operation]]:
    """The operations of ``step``, in the order of need; nearly always one transaction. ``node`` is the own Consul node.

    The own entry passes in the first transaction that holds it, and every older claim that DNS shows is set critical in
    that one, or before it where there are more of them than fit. What does not concern DNS comes last.
    """
    own = [*_published(step, node)]
    rivals = sorted(step.evict, key=lambda entry: not entry.visible)
    down = [set_critical(check) for entry in rivals for check in evicted_checks(entry)]
    rest = [*_removed(step, node), *(tombstone for entry in rivals for tombstone in _tombstones(entry))]
    room = LIMIT - len(own)
    yield from _parts(down[room:])
    first = own + down[:room]
    fits = LIMIT - len(first)
    yield from _parts(first + rest[:fits])
    yield from _parts(rest[fits:])


def evicted_checks(entry: Entry) -> Iterator[Mapping[str, Any]]:
    """The checks of an older claim that are written when it is put down, as they should be; see :func:`set_critical`.

    The seal too: should that claim's Consul agent start again, it knows a passing role check and a broken seal, and
    writes what differs one by one; the seal must not be whole for the moment between. While it does so, only the
    tombstones are renewed: the checks that were read have changed a millisecond later, and the compare would fail.
    """
    changing = not entry.passing and len(entry.tombstones) < TOMBSTONES
    for check in (entry.check, entry.seal):
        if check is not None and not changing:
            compared = {"ModifyIndex": check["ModifyIndex"]} if "ModifyIndex" in check else {}
            yield {key: check[key] for key in KEPT if key in check} | DOWN | compared


def tombstones(entry: Entry) -> Iterator[Mapping[str, Any]]:
    """The further critical checks of an older claim that is put down."""
    for number in range(1, TOMBSTONES + 1):
        yield {
            "Node": entry.node,
            "CheckID": f"{entry.id}{TOMBSTONE_SUFFIX}{number}",
            "Name": TOMBSTONE_NAME,
            "Notes": NOTES,
            "ServiceID": entry.id,
            "ServiceName": entry.name,
            "ServiceTags": list(entry.tags),
            "Type": "ttl",
        } | DOWN


def set_critical(check: Mapping[str, Any]) -> Operation:
    """The operation that writes a check of :func:`evicted_checks`: only if it is still as it was read."""
    return {"Check": {"Verb": "cas" if "ModifyIndex" in check else "set", "Check": dict(check)}}


def _published(step: Transact, node: str) -> Iterator[Operation]:
    if step.publish is None:
        return
    yield {"Service": {"Verb": "set", "Node": node, "Service": step.publish.catalog_service()}}
    role, seal = step.publish.catalog_checks(node)
    if step.unless_newer_than is None:
        yield {"Check": {"Verb": "set", "Check": role}}
    else:
        yield {"Check": {"Verb": "cas", "Check": role | {"ModifyIndex": step.unless_newer_than}}}
    yield {"Check": {"Verb": "set", "Check": seal}}
    for tombstone in step.tombstones:
        yield {"Check": {"Verb": "delete", "Check": seal | {"CheckID": tombstone}}}


def _removed(step: Transact, node: str) -> Iterator[Operation]:
    for entry in step.remove:
        yield {"Service": {"Verb": "delete", "Node": node, "Service": {"ID": entry.id, "Service": entry.name}}}


def _tombstones(entry: Entry) -> Iterator[Operation]:
    for check in tombstones(entry):
        yield {"Check": {"Verb": "set", "Check": dict(check)}}


def _parts(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    for start in range(0, len(operations), LIMIT):
        yield [*operations[start : start + LIMIT]]
