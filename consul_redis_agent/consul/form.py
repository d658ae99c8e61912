"""How an entry is written in Consul, and how it is read: all that knows it. Pure.

An entry is a service with two TTL checks, the role check and the seal. An evicted one has tombstones as well. The rest
(whose it is, its claim, its group) is in the service's Meta. Dictionaries have the keys and values of Consul's HTTP API.

Consul decodes a transaction strictly and refuses it whole for one key that it does not know. What it shows of a check in
``/v1/health/service`` has such keys (``Interval`` and ``Timeout``, from Consul 1.10 on), so a check is never written back
as it was read: the fields that are written are named here, and each of them is known to every Consul from 1.8 on
(``convertOps`` in agent/txn_endpoint.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Literal

from consul_redis_agent.decide.claim import EPOCH_LIMIT, Claim, Early
from consul_redis_agent.decide.facts import Address, Entry, whole
from consul_redis_agent.errors import ConsulError
from consul_redis_agent.text import is_host, plain

Json = dict[str, Any]
Status = Literal["passing", "critical"]

MARKER = "consul_redis_agent"
"""Meta key of everything this tool registers; its value is the version of this format. (Consul reserves ``consul-``.)"""
FORMAT = "2"
"""Format 1, which this one reads and which reads this one, has no group id and keeps no last claim."""
SOURCE, OURS = "external-source", "consul-redis-agent"
"""Meta pair by which Consul's UI filters what registered a service."""
NODE = "redis-node"
MASTER_NAME = "redis-master-name"
GROUP = "redis-group"
REPLICA_RUN_ID = "redis-replica-run-id"
"""A replica's run id: apart from that of a claim, for the same reason as :data:`LAST_CLAIM`."""
AGENT = "redis-agent"
"""The id of the agent that keeps the entry: a second one for the same node has another."""
EPOCH = "redis-epoch"
TURN = "redis-turn"
RUN_ID = "redis-run-id"
FIRST = "redis-first-claim"
"""A group's first claim, which has not passed yet."""
EARLY_SINCE = "redis-early-since"
EARLY_LEADER = "redis-early-leader"
LAST_CLAIM = "redis-last-claim"
"""The last claim in the entry of a replica: apart, since format 1 takes what passes with the keys above for a master."""

TURN_LIMIT = 2**31 - 1
PORT_LIMIT = 65535
TEXTS_OF_A_CHECK = ("Name", "Notes", "Output", "ServiceName", "Type")

NOTES = {
    "master": "passes while this Redis node is the one master of its group; kept by consul-redis-agent",
    "replica": "passes while this Redis node is a replica that may be read; kept by consul-redis-agent",
}
"""What Consul's UI shows of the role check, by role. Constant, and compared with nothing: entries of a former version have others."""
OUTPUT = ""
"""The checks' output. Constant, since Consul writes every change of it to its raft log and wakes all watchers; and
empty, since that is what registering a check begins with."""
EVICTED = "a newer claim has taken its place"
"""Output of the checks of an evicted entry."""

CHECK_SUFFIX = ":role"
"""The role check of service ``ID`` is ``ID:role``: one an entry, the same whatever the role is."""
ROLE = "role:{}"
MASTER_CHECK = ROLE.format("master")

SEAL_SUFFIX = ":seal"
"""The seal of service ``ID`` is ``ID:seal``: a second check that is never updated after it was registered.

Consul keeps the state of a TTL check on disk whenever it is updated, and a Consul agent that starts again restores a
passing one until its TTL has run out: a host that comes back would show two masters. What was never updated is not
kept, and begins critical: the seal is broken, and DNS does not show the entry, until this agent has decided anew and
put a new one on.
"""
SEAL_NAME = "seal"
SEAL_NOTES = "critical once this Consul agent has started again, until consul-redis-agent has confirmed the entry"
SEAL_TTL = "87600h"

TOMBSTONE_SUFFIX = ":put-down-"
TOMBSTONE_NAME = "put down"
TOMBSTONE_NOTES = "keeps an entry critical whose place a newer master has taken; goes by itself (consul-redis-agent)"
TOMBSTONES = 6
"""How many further critical checks, ``ID:put-down-1`` and so on, an entry gets when it is evicted.

A Consul agent that was cut off does not know of it, and writes its own record over the catalog once it can, a check in
each step. So many steps take longer than the holder of the newest claim needs to evict the entry again, and it reacts to
the first of them; a registration that was on its way when the network was cut does not touch them at all.
"""

NODE_CHECK = "serfHealth"
NODE_MAINTENANCE = "_node_maintenance"
SERVICE_MAINTENANCE = "_service_maintenance:"

REAP = "72h"
"""``DeregisterCriticalServiceAfter`` of an entry that nobody needs once its agent is gone: for as long as Consul itself keeps a
dead node (``reconnect_timeout``). Consul takes a minute at least."""

LIMIT = 64
"""Operations in one transaction (``maxTxnOps``): 64 up to Consul 1.9, 128 later."""
KEPT = ("Node", "CheckID", "Name", "Notes", "Status", "Output", "ServiceID", "ServiceName", "ServiceTags", "Type")
"""The fields of another node's check that are written as they were read, where they are not changed."""
DOWN = {"Status": "critical", "Output": EVICTED}


# What is written


def status_of(*, passing: bool) -> Status:
    """A check's status; never ``warning``, which DNS serves."""
    return "passing" if passing else "critical"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One entry as Consul should hold it."""

    id: str
    name: str
    tags: tuple[str, ...]
    address: Address
    meta: Mapping[str, str]
    role: str
    """``master`` or ``replica``: what the role check is named after."""
    ttl: float
    passing: bool
    ends: float = inf
    """The monotonic second by which its TTL has to be over, for an early claim: it must not outlive a killed agent."""
    reaped: bool = False
    """Whether its Consul agent may take it out after :data:`REAP`, when nobody keeps it any more."""

    @property
    def claims(self) -> bool:
        """Whether it says that the node is the master."""
        return self.role == "master" and EPOCH in self.meta

    @property
    def check_id(self) -> str:
        """The id of the entry's role check."""
        return self.id + CHECK_SUFFIX

    @property
    def seal_id(self) -> str:
        """The id of the entry's seal."""
        return self.id + SEAL_SUFFIX

    @property
    def status(self) -> Status:
        """The role check's status."""
        return status_of(passing=self.passing)

    @property
    def definition(self) -> tuple[object, ...]:
        """What makes it another registration when it changes."""
        return self.name, self.tags, self.address, dict(self.meta)


@dataclass(frozen=True, slots=True)
class Local:
    """A service as the own Consul agent holds it, with the state of role check and seal (None: there is none)."""

    id: str
    name: str
    tags: tuple[str, ...]
    address: Address
    meta: Mapping[str, str]
    status: str | None
    seal: str | None = None
    maintenance: bool = False
    ttl: float | None = None
    """The role check's TTL in seconds; None: registered by an earlier run, and Consul does not show it."""
    renew: bool = False
    """It may have been registered with a token that is gone: the Consul agent syncs it with that one."""

    @property
    def definition(self) -> tuple[object, ...]:
        """As of :class:`Wanted`."""
        return self.name, self.tags, self.address, dict(self.meta)


@dataclass(frozen=True, slots=True)
class Transact:
    """One transaction on the catalog: an own entry as it should be, own entries away, rival claims critical."""

    publish: Wanted | None
    index: int = 0
    """Refused if the published entry's role check has another ModifyIndex (0: if there is one): a transaction that hung in
    a cut and is delivered late must not undo what happened since."""
    tombstones: tuple[str, ...] = ()
    """Ids of the published entry's tombstones, which go."""
    remove: tuple[Entry, ...] = ()
    evict: tuple[Entry, ...] = ()
    last: Entry | None = None
    """Where the group's last claim is, to be compared with and marked: of two promotions, one is refused and looks again."""


@dataclass(frozen=True, slots=True)
class Register:
    """Register service and checks at the own Consul agent, in one call."""

    entry: Wanted


@dataclass(frozen=True, slots=True)
class Update:
    """Set the role check of a service at the own Consul agent, which also begins its TTL anew."""

    service_id: str
    passing: bool

    @property
    def check_id(self) -> str:
        """The check's id."""
        return self.service_id + CHECK_SUFFIX


@dataclass(frozen=True, slots=True)
class Unseal:
    """Take a broken seal off, so that the next registration puts a new one on."""

    service_id: str

    @property
    def check_id(self) -> str:
        """The seal's id."""
        return self.service_id + SEAL_SUFFIX


@dataclass(frozen=True, slots=True)
class Deregister:
    """Take a service and its checks out of the own Consul agent."""

    service_id: str


Step = Transact | Register | Update | Unseal | Deregister


def claim_meta(claim: Claim) -> dict[str, str]:
    """A claim as Meta pairs."""
    meta = {EPOCH: str(claim.epoch), TURN: str(claim.turn), RUN_ID: claim.run_id}
    if claim.early:
        meta |= {
            EARLY_SINCE: f"{claim.early.since:.3f} s after boot {claim.early.boot}",
            EARLY_LEADER: claim.early.leader,
        }
    return meta


def last_claim_meta(claim: Claim) -> dict[str, str]:
    """The same in the entry of a replica."""
    return {LAST_CLAIM: f"{claim.epoch} {claim.turn} {claim.run_id}"}


def registration(entry: Wanted) -> Json:
    """The body of ``PUT /v1/agent/service/register``: the service and its checks in one call."""
    role = {
        "CheckID": entry.check_id,
        "Name": ROLE.format(entry.role),
        "Notes": NOTES[entry.role],
        "TTL": f"{entry.ttl:g}s",
    }
    if entry.reaped:
        role["DeregisterCriticalServiceAfter"] = REAP
    seal = {"CheckID": entry.seal_id, "Name": SEAL_NAME, "Notes": SEAL_NOTES, "TTL": SEAL_TTL}
    service = {
        "ID": entry.id,
        "Name": entry.name,
        "Tags": list(entry.tags),
        "Address": entry.address.host,
        "Port": entry.address.port,
        "Meta": dict(entry.meta),
    }
    return service | {"Checks": [role | {"Status": entry.status}, seal | {"Status": "passing"}]}


def transactions(step: Transact, node: str) -> Iterator[list[Json]]:
    """The operations of ``step``, in the order of need; nearly always one transaction. ``node`` is the own Consul node.

    The own entry passes in the first transaction that holds it, and every claim that DNS shows is set critical in that
    one, or before it where there are more of them than fit. What does not concern DNS comes last.
    """
    own = [*_published(step, node)]
    if step.last and step.last.role_check:
        own.append(_marked(step.last, step.publish))
    rivals = sorted(step.evict, key=lambda entry: not entry.visible)
    down = [operation for entry in rivals for operation in _hidden(entry)]
    rest = [*_removed(step), *(operation for entry in rivals for operation in _buried(entry))]
    room = LIMIT - len(own)
    yield from _parts(down[room:])
    first = own + down[:room]
    fits = LIMIT - len(first)
    yield from _parts(first + rest[:fits])
    yield from _parts(rest[fits:])


def _published(step: Transact, node: str) -> Iterator[Json]:
    entry = step.publish
    if entry is None:
        return
    service = registration(entry)
    del service["Checks"]
    common = {
        "Node": node,
        "Output": OUTPUT,
        "ServiceID": entry.id,
        # Without it Consul asks for node:write; with it service:write on this service is enough.
        "ServiceName": entry.name,
        "ServiceTags": list(entry.tags),
        "Type": "ttl",
    }
    role = {
        "CheckID": entry.check_id,
        "Name": ROLE.format(entry.role),
        "Notes": NOTES[entry.role],
        "Status": entry.status,
    }
    seal = {"CheckID": entry.seal_id, "Name": SEAL_NAME, "Notes": SEAL_NOTES, "Status": "passing"}
    yield {"Service": {"Verb": "set", "Node": node, "Service": service | {"Service": service.pop("Name")}}}
    yield {"Check": {"Verb": "cas", "Check": common | role | {"ModifyIndex": step.index}}}
    yield {"Check": {"Verb": "set", "Check": common | seal}}
    for tombstone in step.tombstones:
        yield {"Check": {"Verb": "delete", "Check": common | seal | {"CheckID": tombstone}}}


def _marked(last: Entry, successor: Wanted | None) -> Json:
    """The last claim's role check, compared, and changed in what nobody reads: Consul counts an index for a change only."""
    by = f"{successor.meta.get(EPOCH)}.{successor.meta.get(TURN)} {successor.meta.get(RUN_ID)}" if successor else ""
    return _compared(last.role_check or {}, {"Notes": f"followed by {by}"})


def _hidden(entry: Entry) -> Iterator[Json]:
    """What takes an evicted entry out of DNS: its checks, compared with what was read.

    The seal too: should that claim's Consul agent start again, it knows a passing role check and a broken seal, and
    writes what differs one by one; the seal must not be whole for the moment between. While it does so, only the
    tombstones are renewed: the checks that were read have changed a millisecond later, and the compare would fail.
    """
    changing = not entry.passing and len(entry.tombstones) < TOMBSTONES
    checks = [] if changing else [c for c in (entry.role_check, entry.seal) if c is not None]
    for check in checks:
        yield _compared(check, DOWN)
    if not checks:
        yield _tombstone(entry, 1)


def _buried(entry: Entry) -> Iterator[Json]:
    for number in range(1, TOMBSTONES + 1):
        yield _tombstone(entry, number)


def _compared(check: Mapping[str, Any], changed: Mapping[str, Any]) -> Json:
    written = {key: check[key] for key in KEPT if key in check} | dict(changed)
    return {"Check": {"Verb": "cas", "Check": written | {"ModifyIndex": check.get("ModifyIndex", 0)}}}


def _tombstone(entry: Entry, number: int) -> Json:
    check = {
        "Node": entry.node,
        "CheckID": f"{entry.id}{TOMBSTONE_SUFFIX}{number}",
        "Name": TOMBSTONE_NAME,
        "Notes": TOMBSTONE_NOTES,
        "ServiceID": entry.id,
        "ServiceName": entry.name,
        "ServiceTags": list(entry.tags),
        "Type": "ttl",
    }
    return {"Check": {"Verb": "set", "Check": check | DOWN}}


def _removed(step: Transact) -> Iterator[Json]:
    for entry in step.remove:
        yield {"Service": {"Verb": "delete", "Node": entry.node, "Service": {"ID": entry.id, "Service": entry.name}}}


def _parts(operations: Sequence[Json]) -> Iterator[list[Json]]:
    for start in range(0, len(operations), LIMIT):
        yield [*operations[start : start + LIMIT]]


# What is read: the types are Consul's API, or the answer is refused whole; what the values say, anybody may have written


def read_instance(answer: object) -> Json:
    """One instance of ``/v1/health/service/NAME``, as it came, if it has the API's types. Raises ConsulError."""
    instance = _map(answer, "an instance")
    node, checks = _map(instance.get("Node"), "Node"), instance.get("Checks")
    _texts(node, "Node", ("Node",), ("Address",))
    read_service(instance.get("Service"))
    if not isinstance(checks, list):
        raise _refused("Checks is no list")
    if len({check["CheckID"] for check in map(read_check, checks)}) < len(checks):
        raise _refused("a check comes twice")
    return instance


def read_service(answer: object) -> Json:
    """A service, of the catalog or of the own Consul agent, as it came, if it has the API's types. Raises ConsulError."""
    service = _map(answer, "Service")
    _texts(service, "Service", ("ID", "Service"), ("Address",))
    _numbers(service, "Service", ("Port", "CreateIndex", "ModifyIndex"))
    _list_of_texts(service.get("Tags"), "Tags")
    _map_of_texts(service.get("Meta"))
    return service


def read_check(answer: object) -> Json:
    """A check, likewise. Raises ConsulError."""
    check = _map(answer, "a check")
    _texts(check, "a check", ("Node", "CheckID", "Status", "ServiceID"), TEXTS_OF_A_CHECK)
    _numbers(check, "a check", ("ModifyIndex",))
    _list_of_texts(check.get("ServiceTags"), "ServiceTags")
    return check


def _refused(why: str) -> ConsulError:
    return ConsulError(f"Consul answered with what is not its API: {why}")


def _map(answer: object, what: str) -> Json:
    if not isinstance(answer, dict):
        raise _refused(f"{what} is no map")
    return answer


def _texts(fields: Json, what: str, needed: tuple[str, ...], others: tuple[str, ...]) -> None:
    for key in needed:
        if not isinstance(fields.get(key), str):
            raise _refused(f"{key} of {what} is no text")
    for key in others:
        if not isinstance(fields.get(key, ""), str):
            raise _refused(f"{key} of {what} is no text")


def _numbers(fields: Json, what: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        if type(fields.get(key, 0)) is not int:  # true is one in Python
            raise _refused(f"{key} of {what} is no number")


def _list_of_texts(answer: object, what: str) -> None:
    if answer is not None and not (isinstance(answer, list) and {*map(type, answer)} <= {str}):
        raise _refused(f"{what} is no list of texts")


def _map_of_texts(answer: object) -> Mapping[str, str]:
    if answer is None:
        return {}
    if not (isinstance(answer, Mapping) and {*map(type, answer), *map(type, answer.values())} <= {str}):
        raise _refused("Meta is no map of texts")
    return answer


def _address(host: str, port: int) -> Address:
    """What of an address could be one: any text and any number can be registered."""
    return Address(host if is_host(host) else "", port if 0 < port <= PORT_LIMIT else 0)


def read_claim(meta: Mapping[str, str]) -> Claim | None:
    """The claim in Meta; None where there is none, or where somebody has written nonsense into it.

    Raises ConsulError if it is not Meta.
    """
    meta = _map_of_texts(meta)
    epoch, turn, run_id = meta.get(EPOCH, ""), meta.get(TURN, ""), meta.get(RUN_ID, "")
    if LAST_CLAIM in meta and not epoch:
        epoch, turn, run_id = (*meta[LAST_CLAIM].split(" "), "", "", "")[:3]
    number = -1 if epoch == "-1" else whole(epoch, EPOCH_LIMIT)
    turns = whole(turn, TURN_LIMIT)
    if number is None or turns is None or not run_id:
        return None
    return Claim(number, turns, run_id, _read_early(meta))


def _read_early(meta: Mapping[str, str]) -> Early | None:
    """What cannot be read began before everything."""
    if EARLY_SINCE not in meta:
        return None
    since, _, boot = meta[EARLY_SINCE].partition(" s after boot ")
    try:
        began = float(since)
    except ValueError:
        began = -inf
    return Early(began if isfinite(began) else -inf, boot, meta.get(EARLY_LEADER, ""))


def read_entry(instance: Mapping[str, Any]) -> Entry:
    """One instance of ``/v1/health/service/NAME`` as a fact. Raises ConsulError if it is none."""
    node, service, checks = (read_instance(instance)[key] for key in ("Node", "Service", "Checks"))
    id_, meta = service["ID"], service.get("Meta") or {}
    own = {c["CheckID"]: c for c in checks if c["ServiceID"] == id_}
    status = {c["CheckID"]: c["Status"] for c in checks}
    role, seal = own.get(id_ + CHECK_SUFFIX), own.get(id_ + SEAL_SUFFIX)
    tombstones = tuple(c for c in own if c.startswith(id_ + TOMBSTONE_SUFFIX))
    # Where there is no role check (a foreign entry has none), what counts is whether DNS shows it.
    passing = (
        role["Status"] == "passing" and (seal is None or seal["Status"] == "passing") and not tombstones
        if role
        else "critical" not in (c["Status"] for c in checks if c["CheckID"] != NODE_CHECK)
    )
    return Entry(
        node=node["Node"],
        id=id_,
        name=service["Service"],
        address=_address(service.get("Address") or node.get("Address", ""), service.get("Port", 0)),
        tags=tuple(service.get("Tags") or ()),
        meta=meta,
        marked=MARKER in meta,
        claim=read_claim(meta),
        says_master=role.get("Name") == MASTER_CHECK if role else EPOCH in meta,
        pending=FIRST in meta,
        group=meta.get(GROUP, ""),
        agent=meta.get(AGENT, ""),
        run_id=meta.get(RUN_ID if EPOCH in meta else REPLICA_RUN_ID, ""),
        master_name=meta.get(MASTER_NAME, ""),
        passing=passing,
        rises=passing or _rises(role or {}, seal or {}, tombstones),
        evicted=not passing and any(_is_about(mark, service) for mark in (role, *map(own.get, tombstones)) if mark),
        node_alive=status.get(NODE_CHECK, "passing") != "critical",
        maintenance=NODE_MAINTENANCE in status or SERVICE_MAINTENANCE + id_ in status,
        critical=_others(checks, id_, "critical"),
        warning=_others(checks, id_, "warning"),
        created=service.get("CreateIndex", 0),
        index=role.get("ModifyIndex", 0) if role else 0,
        role_check=role,
        seal=seal,
        tombstones=tombstones,
    )


def _others(checks: Sequence[Mapping[str, Any]], id_: str, status: str) -> tuple[str, ...]:
    """Checks that are not this tool's, nor gossip's or maintenance, for people: DNS heeds them as well."""
    ours = (id_ + CHECK_SUFFIX, id_ + SEAL_SUFFIX, NODE_CHECK, NODE_MAINTENANCE, SERVICE_MAINTENANCE + id_)
    found = (c for c in checks if c["Status"] == status and c["ServiceID"] in ("", id_) and c["CheckID"] not in ours)
    return tuple(
        plain(f"{c.get('Name') or c['CheckID']!r} of {'the service' if c['ServiceID'] else 'its node'}", 80)
        for c in sorted(found, key=lambda c: c["CheckID"])
        if not c["CheckID"].startswith(id_ + TOMBSTONE_SUFFIX)
    )


def _is_about(mark: Mapping[str, Any], service: Mapping[str, Any]) -> bool:
    """Whether a check says that this very claim was evicted: a registration with the next claim leaves the old mark there."""
    return mark.get("Output") == EVICTED and mark.get("ModifyIndex", 0) >= service.get("ModifyIndex", 0)


def _rises(role: Mapping[str, Any], seal: Mapping[str, Any], tombstones: tuple[str, ...]) -> bool:
    """Whether its Consul agent, which does not know that it was evicted, is about to make it pass again."""
    if not (tombstones or EVICTED in (role.get("Output"), seal.get("Output"))):
        return False
    whole_ = len(tombstones) == TOMBSTONES and seal.get("Status", "critical") == "critical"
    # Critical for another reason: that is what its Consul agent holds, and goes on to hold.
    return role.get("Status") == "passing" or (not whole_ and role.get("Output") == EVICTED)


def read_local(service: Mapping[str, Any], checks: Mapping[str, Mapping[str, Any]]) -> Local:
    """One of the own Consul agent's services, with all its checks by id. Raises ConsulError if they are none."""
    service, checks = read_service(service), _map(checks, "the list of checks")
    id_ = service["ID"]
    return Local(
        id=id_,
        name=service["Service"],
        tags=tuple(service.get("Tags") or ()),
        address=_address(service.get("Address", ""), service.get("Port", 0)),
        meta=service.get("Meta") or {},
        status=_status(checks, id_ + CHECK_SUFFIX),
        seal=_status(checks, id_ + SEAL_SUFFIX),
        maintenance=SERVICE_MAINTENANCE + id_ in checks,
    )


def _status(checks: Mapping[str, Any], id_: str) -> str | None:
    check = _map(checks.get(id_, {}), "a check")
    _texts(check, "a check", (), ("Status",))
    return check.get("Status")


def node_name(url: str, seen_from: str, mark: str) -> str:
    """What an entry says in :data:`NODE`: the Redis node as configured, and, where hosts share a Consul agent, on which host.

    ``mark`` begins the agent's id, where that is kept; "" else.
    """
    return f"{url} on {seen_from}{f' ({mark})' if mark else ''}" if seen_from else url


def unmarked(node: str) -> str:
    """The same without the mark, as it was written before there was one."""
    return node.partition(" (")[0]


def is_own(meta: Mapping[str, str], node: str) -> bool:
    """Whether this tool made an entry for the Redis node that is configured as ``node``.

    Asked only of entries of the own Consul node. One without a mark is own if the agent with that mark wrote it.
    """
    bare, marked, mark = node.partition(" (")
    said = meta.get(NODE)
    before = marked and said == bare and meta.get(AGENT, "").startswith(mark.removesuffix(")"))
    return MARKER in meta and (said == node or bool(before))
