"""Consul's servers and the local agents; see the package's assumptions 9 to 15."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from consul_redis_agent.consul.form import read_claim
from consul_redis_agent.decide.claim import Claim
from consul_redis_agent.errors import ConsulConflict, ConsulMisused

from .link import Server

if TYPE_CHECKING:
    from .world import World

NOT_TAKEN = {"Interval": "", "Timeout": "", "ExposedPort": 0, "Definition": {}}
"""What every check that is read has beside what a transaction takes."""
TAKEN = {"Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "ServiceName", "ServiceTags", "Type"}
FOREVER = 3600.0
"""Seconds of a TTL that is not waited for."""
SERVERS = -1
"""Where the servers are, among the numbers of hosts."""

Key = tuple[str, str]
Json = dict[str, Any]
View = tuple[int, list[Json]]
NO_VIEW: View = (1, [])


@dataclass(frozen=True, slots=True)
class Record:
    """A service with its checks in the catalog."""

    service: Json
    created: int
    index: int
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def is_master(self) -> bool:
        """Whether DNS shows it as a master, as far as its checks go."""
        passing = all(c["Status"] == "passing" for c in self.checks.values())
        return passing and any(c["Name"] == "role:master" for c in self.checks.values())

    def instance(self, node: str, *, alive: bool) -> dict[str, Any]:
        """As ``/v1/health/service`` shows it."""
        service = self.service | {"CreateIndex": self.created, "ModifyIndex": self.index}
        gossip = {"Node": node, "CheckID": "serfHealth", "ServiceID": "", "Status": "passing" if alive else "critical"}
        checks = [check | NOT_TAKEN for check in map(dict, self.checks.values())]
        return {"Node": {"Node": node}, "Service": service, "Checks": [gossip, *checks]}


class Servers:
    """The catalog, and what gossip knows."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.records: dict[Key, Record] = {}
        self.alive: dict[str, bool] = {}
        self.index = 1
        self.leader = True
        self.writes = 0
        self.masters: dict[Key, Claim | None] = {}
        """The masters that DNS shows, with the claim of each; None where its Meta holds none."""
        self.views: dict[str, View] = {}
        """What ``/v1/health/service`` answers for each name: an index, and the instances."""
        self._waiting: dict[str, list[Callable[[], None]]] = {}

    def transact(self, operations: Sequence[Json], who: int, how: str = "txn") -> None:
        """All or nothing. Raises ConsulConflict, or ConsulMisused."""
        records = dict(self.records)
        for operation in operations:
            match operation:
                case {"Service": {"Verb": "set", "Node": node, "Service": body}}:
                    self._set_service(records, (node, body["ID"]), body)
                case {"Service": {"Verb": "delete", "Node": node, "Service": body}}:
                    records.pop((node, body["ID"]), None)
                case {"Check": {"Verb": "delete", "Check": check}}:
                    if record := records.get(key := (check["Node"], check["ServiceID"])):
                        kept = {id_: c for id_, c in record.checks.items() if id_ != check["CheckID"]}
                        records[key] = replace(record, checks=kept)
                case {"Check": {"Verb": verb, "Check": check}}:
                    if unknown := check.keys() - TAKEN - {"ModifyIndex"}:
                        raise ConsulMisused(f"unknown field {sorted(unknown)}")
                    self._set_check(records, verb, check)
                case _:
                    raise AssertionError(operation)
        self._commit(records, who, how)

    def _set_service(self, records: dict[Key, Record], key: Key, body: Json) -> None:
        before = records.get(key)
        if before is None:
            records[key] = Record(body, self.index + 1, self.index + 1)
        elif before.service != body:
            records[key] = replace(before, service=body, index=self.index + 1)

    def _set_check(self, records: dict[Key, Record], verb: str, check: Mapping[str, Any]) -> None:
        key = (check["Node"], check["ServiceID"])
        record = records.get(key)
        if record is None:
            raise ConsulConflict("Missing service registration")
        id_ = check["CheckID"]
        before = record.checks.get(id_)
        if verb == "cas" and (before["ModifyIndex"] if before else 0) != check["ModifyIndex"]:
            raise ConsulConflict("index is stale")
        made = {k: v for k, v in check.items() if k not in ("ModifyIndex", "Type")}
        if before is None or any(before.get(k) != v for k, v in made.items()):
            records[key] = replace(record, checks={**record.checks, id_: made | {"ModifyIndex": self.index + 1}})

    def gossip(self, node: str, *, alive: bool) -> None:
        """SerfHealth."""
        if self.alive.get(node, True) is not alive:
            self.alive[node] = alive
            self._commit(self.records, SERVERS, "gossip", force=True)

    def _commit(self, records: dict[Key, Record], who: int, how: str, *, force: bool = False) -> None:
        if records == self.records and not force:
            return
        self.index += 1
        self.writes += 1
        changed = {
            record.service["Service"]
            for key in records.keys() | self.records.keys()
            if force or records.get(key) is not self.records.get(key)
            for record in (records.get(key), self.records.get(key))
            if record
        }
        self.records = records
        for name in sorted(changed):
            self.views[name] = (
                self.index,
                [
                    record.instance(node, alive=self.alive.get(node, True))
                    for (node, _), record in records.items()
                    if record.service["Service"] == name
                ],
            )
        for host in self.world.hosts:
            host.consul.see()
        before = self.masters
        self.masters = {
            (node, id_): read_claim(record.service["Meta"])
            for (node, id_), record in records.items()
            if record.is_master and self.alive.get(node, True)
        }
        if self.masters != before:
            shown = ", ".join(f"{node} ({told(claim)})" for (node, _), claim in self.masters.items())
            self.world.say(who, f"{how}: DNS now answers {shown or 'nobody'}")
        self.world.judge.wrote(who, how, before)
        self.world.changed()
        for name in sorted(changed):
            for wake in self._waiting.pop(name, ()):
                wake()

    def wait(self, name: str, wake: Callable[[], None]) -> None:
        """Call back at the next change under this name."""
        self._waiting.setdefault(name, []).append(wake)


@dataclass(slots=True)
class LocalCheck:
    """A TTL check in a local agent."""

    body: dict[str, Any]
    status: str
    output: str = ""
    beat: int = 0
    kept_until: float = 0.0
    """Until when its state on disk counts, which is written when it is updated."""

    @property
    def ttl(self) -> float:
        text: str = self.body["TTL"]
        return float(text[:-1]) * (3600 if text.endswith("h") else 1)


@dataclass(slots=True)
class Local:
    """A service in a local agent."""

    body: dict[str, Any]
    checks: dict[str, LocalCheck]


class LocalAgent(Server):
    """The Consul agent of one host."""

    what = "Consul agent"

    def __init__(self, world: World, host: int) -> None:
        super().__init__(world, host)
        self.node = f"host-{world.name(host)}"
        self.services: dict[str, Local] = {}
        self._views: dict[str, View] = {}
        self._ordered = 0.0
        self._beats = 0
        self._life = 0
        world.engine.later(0.0, self._compare_some_day)

    @property
    def linked(self) -> bool:
        """Whether the servers can be reached."""
        return self.world.servers.leader and self.world.reach(self.host, SERVERS)

    def see(self) -> None:
        """Bring its own view of the catalog to that of the servers, while it can."""
        if self.up and self.linked:
            self._views = dict(self.world.servers.views)

    def view(self, name: str) -> View:
        """What it answers a blocking query with; its index goes on where it was."""
        self.see()
        return self._views.get(name, NO_VIEW)

    @property
    def holds_a_claim(self) -> bool:
        """Whether a sync would show a master, as far as this agent's record goes."""
        checks = [check for local in self.services.values() for check in local.checks.values()]
        return self.answers and any(c.body["Name"] == "role:master" and c.status == "passing" for c in checks)

    def register(self, body: dict[str, Any]) -> None:
        """A service with its checks; a check that is known keeps its status."""
        known = self.services.get(body["ID"])
        checks: dict[str, LocalCheck] = dict(known.checks) if known else {}
        for check in body["Checks"]:
            known_check = checks.setdefault(check["CheckID"], LocalCheck(check, check["Status"]))
            known_check.body = check
            self._arm(body["ID"], known_check)
        self.services[body["ID"]] = Local({k: v for k, v in body.items() if k != "Checks"}, checks)
        self.sync(body["ID"])

    def _find(self, check_id: str) -> tuple[str, LocalCheck] | None:
        return next(((i, s.checks[check_id]) for i, s in self.services.items() if check_id in s.checks), None)

    def update(self, check_id: str, status: str, output: str) -> bool:
        """Set a check; False if it is not known."""
        found = self._find(check_id)
        if found is None:
            return False
        service_id, check = found
        changed = (check.status, check.output) != (status, output)
        check.status, check.output = status, output
        check.kept_until = self.world.engine.now + check.ttl
        self._arm(service_id, check)
        if changed:
            self.sync(service_id, check_id)
        return True

    def deregister(self, service_id: str) -> bool:
        """False if it is not known."""
        if self.services.pop(service_id, None) is None:
            return False
        self._write("drop", self._gone(service_id))
        return True

    def deregister_check(self, check_id: str) -> bool:
        """False if it is not known."""
        found = self._find(check_id)
        if found is None:
            return False
        del self.services[found[0]].checks[check_id]
        self._write("drop check", self._gone(found[0], check_id))
        return True

    def _arm(self, service_id: str, check: LocalCheck) -> None:
        self._beats += 1
        check.beat = self._beats
        if check.ttl < FOREVER:
            self.world.engine.later(check.ttl, self._expire, self._life, service_id, check, check.beat)

    def _expire(self, life: int, service_id: str, check: LocalCheck, beat: int) -> None:
        known = self.services.get(service_id)
        if life != self._life or not known or check.beat != beat or check.status != "passing":
            return
        if self.paused:
            self.take(lambda: self._expire(life, service_id, check, beat))
            return
        self.world.say(self.host, f"Consul agent: the TTL of {service_id} has run out")
        check.status, check.output = "critical", "TTL expired"
        self.sync(service_id, check.body["CheckID"])

    def sync(self, service_id: str, *check_ids: str, how: str = "sync") -> None:
        """Write a service with some of its checks, or all, to the servers, as they are now."""
        local = self.services.get(service_id)
        if local:
            checks = [self._check(local, c) for i, c in local.checks.items() if not check_ids or i in check_ids]
            service = {"Verb": "set", "Node": self.node, "Service": _service(local)}
            self._write(how, {"Service": service}, *({"Check": {"Verb": "set", "Check": check}} for check in checks))

    def _gone(self, service_id: str, check_id: str = "") -> Json:
        if check_id:
            check = {"Node": self.node, "ServiceID": service_id, "CheckID": check_id}
            return {"Check": {"Verb": "delete", "Check": check}}
        return {"Service": {"Verb": "delete", "Node": self.node, "Service": {"ID": service_id}}}

    def _check(self, local: Local, check: LocalCheck) -> dict[str, Any]:
        return {
            "Node": self.node,
            "CheckID": check.body["CheckID"],
            "Name": check.body["Name"],
            "Status": check.status,
            "Notes": check.body["Notes"],
            "Output": check.output,
            "ServiceID": local.body["ID"],
            "ServiceName": local.body["Name"],
            "ServiceTags": local.body["Tags"],
        }

    def _write(self, how: str, *operations: Json) -> None:
        engine = self.world.engine
        if self.linked:
            self._ordered = max(self._ordered + 1e-6, engine.now + engine.delay())
            engine.later(self._ordered - engine.now, self._arrive, operations, how)

    def _arrive(self, operations: Sequence[Json], how: str) -> None:
        if self.linked:
            with suppress(ConsulConflict):
                self.world.servers.transact(operations, self.host, how)

    def _compare_some_day(self) -> None:
        engine = self.world.engine
        engine.later(engine.rng.uniform(5, 60), self._compare_some_day)
        self.compare()

    def compare(self) -> None:
        """Anti-entropy: make the catalog hold what this agent holds, a step for each service or check that differs."""
        if not (self.answers and self.linked):
            return
        servers = self.world.servers
        for key in list(servers.records):
            if key[0] == self.node and key[1] not in self.services:
                self._write("drop", self._gone(key[1]))
        for service_id, local in self.services.items():
            there = servers.records.get((self.node, service_id))
            at_servers = there.checks if there else {}
            for check_id in at_servers:
                if check_id not in local.checks:
                    self._write("drop check", self._gone(service_id, check_id))
            differing = [i for i, c in local.checks.items() if _differs(at_servers.get(i), self._check(local, c))]
            if there is None or there.service != _service(local):
                self.sync(service_id, *(differing or ["none"]), how="compare")
            else:
                self.world.engine.rng.shuffle(differing)
                for check_id in differing:
                    self.sync(service_id, check_id, how="compare")

    def stop(self) -> None:
        if self.up:
            self._life += 1
            self._views = {}
            super().stop()

    def start(self, *, with_data: bool = True) -> None:
        """With its data: services, and the check states whose TTL has not run out."""
        if self.up or not self.world.hosts[self.host].up:
            return
        engine, self.up = self.world.engine, True
        self.world.say(self.host, f"Consul agent starts with{'' if with_data else 'out'} its data")
        if not with_data:
            self.services.clear()
        for service_id, local in self.services.items():
            for check in local.checks.values():
                if check.kept_until < engine.now:
                    check.status, check.output = "critical", ""
                self._arm(service_id, check)
        engine.later(engine.rng.uniform(0.05, 0.5), self.compare)
        self.world.changed()


def _service(local: Local) -> Json:
    """As the catalog has it."""
    return {"Service" if key == "Name" else key: value for key, value in local.body.items()}


def _differs(there: Mapping[str, Any] | None, here: dict[str, Any]) -> bool:
    return there is None or any(there.get(k) != v for k, v in here.items())


def told(claim: Claim | None) -> str:
    """For people."""
    return f"epoch {claim.epoch}.{claim.turn}" if claim else "no claim"
