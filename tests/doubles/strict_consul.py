"""A local Consul agent and the servers behind it, in this process, as strict as Consul 1.14.11.

It copies what a client of a *client* agent meets, in the words of the answers too. By file of Consul's source, beside
those that :mod:`~tests.doubles.decoding` and :mod:`~tests.doubles.catalog` name:

- ``agent/txn_endpoint.go`` convertOps: how much one transaction may hold. ``agent/consul/txn_endpoint.go`` preCheck: the
  rights of all operations come first, those on a check by the ``ServiceName`` it was sent with; then all of it or nothing.
- ``agent/agent_endpoint.go``, ``agent/local/state.go``: a registration leaves the status of a check that is known. What
  changes is written to the servers before the answer, and until then nobody else is answered; what does not is not.
- ``agent/http_ce.go`` parseEntMeta: namespaces and partitions are refused. With ``place`` it stands for Consul Enterprise
  instead, whose source nobody sees, and only insists that each request, operation and registration carries just these.
- ``agent/rpcclient/health``, ``agent/submatview``: a query with an index is answered from the agent's own view of the
  service. Without servers that view stays as it is; one that was never loaded is shown as an empty catalog.

Left out: TTLs, checks of another kind, operations on keys and nodes, ``filter``, rights of the agent's own writes.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from consul_redis_agent.decide.facts import Address

from .catalog import COMPARED_CHECK, COMPARED_SERVICE, Catalog, Key, a_check, a_service, checks_of, definition, same
from .decoding import CATALOG_REGISTRATION, INDEXES, REGISTRATION, TRANSACTION, UPDATE, Json, Refused, decode, parse

Answer = tuple[int, object, dict[str, str]]
Servers = Literal["reached", "silent", "refused"]

ANONYMOUS = "00000000-0000-0000-0000-000000000002"
MAX_BODY = 512 * 1024
PLACE = {"Namespace": "ns", "Partition": "partition"}
FILTERED = "X-Consul-Results-Filtered-By-Acls"
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. A flag (``?consistent``) is in ``query`` with an empty value."""

    method: str
    path: str
    query: Mapping[str, str]
    body: str
    token: str


class StrictConsul:
    """The double, to be used ``async with StrictConsul().running() as consul``; its attributes steer it at any time.

    ``acl`` has the rights of each token, the anonymous one's under ``""``: ``"service:write redis"`` for one name,
    ``"node:read"`` for all. None: ACLs are off.
    """

    def __init__(
        self,
        node: str = "consul-1",
        *,
        acl: Mapping[str, frozenset[str]] | None = None,
        place: Mapping[str, str] | None = None,
    ) -> None:
        self.node, self.acl, self.address = node, acl, Address("", 0)
        self.place = dict(place or {})
        """Of Enterprise: ``{"Namespace": …, "Partition": …}``."""
        self.streaming = True
        """``use_streaming_backend``: whether a query with an index is answered from the agent's own view."""
        self.discovery_max_stale = False
        """Whether a read that asks for no consistency is a stale one."""
        self.max_operations = 64
        """In one transaction. 1.14.11 takes 128; the oldest that is supported takes this many."""
        self.requests: list[Request] = []
        self.catalog = Catalog()
        """What the servers' leader holds."""
        self.behind: Catalog | None = None
        """What stale reads show; None: the same. Set it to ``catalog`` to have the followers stand still."""
        self.services: dict[str, Json] = {}
        self.checks: dict[str, Json] = {}
        """What the agent itself holds, by id."""
        self._out_of_sync: set[Key] = set()
        self._views: dict[str, tuple[int, list[Json]]] = {}
        self._servers: Servers = "reached"
        self._changed = asyncio.Event()
        self._local = asyncio.Lock()
        self._connections: set[asyncio.Task[None]] = set()
        self.catalog.add_node(node, "127.0.0.1")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[StrictConsul]:
        """Listen on a free port of loopback, at ``address``."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = Address(*server.sockets[0].getsockname())
        try:
            yield self
        finally:
            server.close()
            connections = list(self._connections)
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            await asyncio.sleep(0)  # aborted transports close in the next turn

    @property
    def servers(self) -> Servers:
        """How the agent finds its servers. Cut off, they are silent at first; after half a minute it refuses at once."""
        return self._servers

    @servers.setter
    def servers(self, value: Servers) -> None:
        self._servers = value
        self._wake()

    def elsewhere(self, node: str, body: Json, address: str = "127.0.0.2") -> None:
        """Have another host's agent register a service, with the body of ``PUT /v1/agent/service/register``."""
        draft = self.catalog.draft()
        if node not in draft.nodes:
            draft.add_node(node, address)
        service, checks = definition(decode(body, REGISTRATION), node)
        draft.set_service(node, service)
        for check in checks:
            draft.set_check(check)
        self._commit(draft)

    def full_sync(self) -> None:
        """Anti-entropy, as it comes after a minute or two: the catalog holds of this agent what the agent holds."""
        draft = self.catalog.draft()
        for key in [key for key in draft.services if key[0] == self.node and key[1] not in self.services]:
            draft.delete_service(key)
        for key in [key for key in draft.checks if key[0] == self.node and key[1] not in {*self.checks, "serfHealth"}]:
            draft.delete_check(key)
        for service in self.services.values():
            draft.set_service(self.node, service)
        for check in self.checks.values():
            draft.set_check(check)
        self._out_of_sync.clear()
        self._commit(draft)

    def _commit(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._wake()

    def _wake(self) -> None:
        if self._servers == "reached":
            self._views = {name: self._view(name, index) for name, (index, _) in self._views.items()}
        self._changed.set()
        self._changed = asyncio.Event()

    def _view(self, name: str, index: int) -> tuple[int, list[Json]]:
        return self.catalog.touched.get(name, index), list(self.catalog.health(name))

    # Rights

    def _may(self, token: str, right: str, name: str) -> bool:
        held = (self.acl or {}).get(token, frozenset())
        enough = (right, right.replace(":read", ":write"))
        return self.acl is None or any(one in held or f"{one} {name}" in held for one in enough)

    def _vet(self, token: str, right: str, name: str) -> None:
        """Raises Refused unless the token has the right."""
        if not self._may(token, right, name):
            accessor = str(uuid.uuid5(uuid.NAMESPACE_DNS, token)) if token else ANONYMOUS
            on = f' on "{name}"' if name else ""
            raise Refused(f"Permission denied: token with AccessorID '{accessor}' lacks permission '{right}'{on}", 403)

    def _known(self, request: Request, prefix: str = "") -> None:
        """Raises Refused for a token that was never made or is deleted."""
        if self.acl is not None and request.token and request.token not in self.acl:
            raise Refused(f"{prefix}ACL not found", 403)

    # What the servers answer

    async def _reach(self) -> None:
        """Raises Refused once the agent knows no server any more."""
        while self._servers == "silent":
            await self._changed.wait()
        if self._servers == "refused":
            raise Refused("No known Consul servers")

    async def _call(self, request: Request) -> None:
        await self._reach()
        self._known(request, "rpc error making call: ")

    async def _txn(self, request: Request) -> Answer:
        if (size := len(request.body.encode())) > MAX_BODY:
            raise Refused(f"Request body({size} bytes) too large, max size: {MAX_BODY} bytes.", 413)
        sent = [one or {} for one in parse(request.body, TRANSACTION, "Failed to parse body") or []]
        if len(sent) > self.max_operations:
            raise Refused(f"Transaction contains too many operations ({len(sent)} > {self.max_operations})", 413)
        if any(one.get("KV") or one.get("Node") for one in sent):
            raise Refused("this double knows no operations on keys and nodes", 501)
        operations = [(kind, one[kind]) for one in sent for kind in ("Service", "Check") if one.get(kind)]
        await self._call(request)
        draft, results = self.catalog.draft(), list[Json | None]()
        errors = _errors(operations, lambda kind, operation: self._pre_check(request.token, kind, operation))
        errors = errors or _errors(operations, lambda *operation: results.append(draft.apply(*operation)))
        done = {"Results": None if errors else [one for one in results if one], "Errors": errors or None}
        if all(operation.get("Verb") == "get" for _, operation in operations):
            headers = {"X-Consul-Knownleader": "true", "X-Consul-Lastcontact": "0"}
            return 409 if errors else 200, done | {"Index": 1, "LastContact": 0, "KnownLeader": True}, headers
        if not errors:
            self._commit(draft)
        return 409 if errors else 200, done, {}

    def _pre_check(self, token: str, kind: str, operation: Json) -> None:
        given = operation.get(kind) or {}
        right, name = "service:write", given.get("ServiceName" if kind == "Check" else "Service") or ""
        if kind == "Check" and not given.get("ServiceID"):
            right, name = "node:write", given.get("Node") or ""
        if kind == "Service" and given.get("ID") and not name:
            raise Refused("Must provide service name (Service.Service) when service ID is provided")
        if kind == "Service" and given.get("Address") in ("0.0.0.0", "::", "[::]"):
            raise Refused("Invalid service address")
        if operation.get("Verb") != "get":
            self._vet(token, right, name)

    async def _catalog_register(self, request: Request) -> Answer:
        body = parse(request.body, CATALOG_REGISTRATION, "Request decode failed")
        await self._call(request)
        draft, node = self.catalog.draft(), body.get("Node") or ""
        try:
            self._write(draft, node, body, request.token)
        except Refused as error:
            raise Refused(f"rpc error making call: {error}", error.status) from None
        self._commit(draft)
        return 200, True, {}

    def _write(self, draft: Catalog, node: str, body: Json, token: str) -> None:
        if node not in draft.nodes or not body.get("SkipNodeUpdate"):
            self._vet(token, "node:write", node)
            draft.add_node(node, body.get("Address") or "")
        if service := body.get("Service"):
            self._vet(token, "service:write", service["Service"])
            draft.set_service(node, a_service(service, service["Service"], service.get("TaggedAddresses") or {}))
        for check in checks_of(body):
            id_ = check.get("ServiceID") or ""
            held = draft.services.get((node, id_))
            if id_ and not held:
                raise Refused(f"Unknown service ID '{id_}' for check ID '{check['CheckID']}'")
            self._vet(token, *(("service:write", held["Service"]) if held else ("node:write", node)))
            draft.set_check(a_check(check | {"Node": node}, check.get("Type") or ""))

    async def _health(self, request: Request, name: str) -> Answer:
        query, index = request.query, request.query.get("index", "0")
        wait = re.fullmatch(r"(\d+)(ms|s|m)", query.get("wait") or "5m")
        if not index.isdigit() or not wait:
            raise Refused("Invalid wait time" if index.isdigit() else "Invalid index", 400)
        if "stale" in query and "consistent" in query:
            raise Refused("Cannot specify ?stale with ?consistent, conflicting semantics.", 400)
        stale = "stale" in query or (self.discovery_max_stale and not {"consistent", "leader"} & query.keys())
        streamed = self.streaming and index != "0"
        self._known(request, "rpc error: code = Unknown desc = ") if streamed else await self._call(request)
        at, entries = 1, list[Json]()  # a view that was never loaded: not an error
        with suppress(TimeoutError):
            async with asyncio.timeout(int(wait[1]) * UNITS[wait[2]] if index != "0" else None):
                while True:
                    at, entries = await self._picture(name, streamed=streamed, stale=stale)
                    if at > int(index):
                        break
                    await self._changed.wait()
        shown = [e for e in entries if self._may(request.token, "node:read", e["Node"]["Node"])]
        shown = [e for e in shown if self._may(request.token, "service:read", name)]
        level = "consistent" if "consistent" in query else "stale" if stale else "leader"
        headers = {"X-Consul-Index": str(at), "X-Consul-Lastcontact": "0", "X-Consul-Effective-Consistency": level}
        headers |= {"X-Consul-Query-Backend": "streaming" if streamed else "blocking-query"}
        if shown != entries and request.token and not streamed:
            headers[FILTERED] = "true"
        return 200, shown, headers | {"X-Consul-Knownleader": "false" if streamed else "true"}

    async def _picture(self, name: str, *, streamed: bool, stale: bool) -> tuple[int, list[Json]]:
        if not streamed:
            await self._reach()
            catalog = self.behind if self.behind and stale else self.catalog
            return catalog.touched.get(name, catalog.index), list(catalog.health(name))
        if self._servers == "reached" and name not in self._views:
            self._views[name] = self._view(name, self.catalog.index)
        return self._views.get(name, (1, []))

    # What the agent answers

    def _register(self, request: Request, _: str) -> None:
        body = parse(request.body, REGISTRATION | dict.fromkeys(self.place, "string"), "Request decode failed")
        if not body.get("Name"):
            raise Refused("Missing service name", 400)
        if not all(check.get("TTL") for check in checks_of(body)):
            raise Refused("Invalid check: TTL must be > 0 for TTL checks", 400)
        service, checks = definition(body, self.node)
        for one in (service, self.services.get(service["ID"], service)):
            self._vet(request.token, "service:write", one["Service"])
        self._hold("service", self.services, service["ID"], service, COMPARED_SERVICE)
        for check in checks:
            known = self.checks.get(check["CheckID"], check)
            kept = {"Status": known["Status"], "Output": known["Output"]}
            self._hold("check", self.checks, check["CheckID"], check | kept, COMPARED_CHECK)

    def _hold(self, kind: str, table: dict[str, Json], id_: str, record: Json, keys: Sequence[str]) -> None:
        if id_ in table and same(table[id_], record, keys):
            self._out_of_sync.discard(
                (kind, id_)
            )  # setServiceStateLocked, even if the servers never got the one before
        else:
            self._out_of_sync.add((kind, id_))
        table[id_] = record

    def _find(self, request: Request, kind: str, id_: str) -> Json:
        held, name = (self.checks, "ServiceName") if kind == "check" else (self.services, "Service")
        if id_ not in held:
            hint = f"Ensure that the {kind} ID is passed, not the {kind} name."
            raise Refused(f'Unknown {kind} ID "{id_}". {hint}', 404)
        self._vet(request.token, "service:write", held[id_][name])
        return held[id_]

    def _check_update(self, request: Request, check_id: str) -> None:
        body = parse(request.body, UPDATE, "Request decode failed") or {}
        status = body.get("Status") or ""
        if status not in ("passing", "warning", "critical"):
            raise Refused(f"Invalid check status: '{status}'", 400)
        check = self._find(request, "check", check_id)
        if check["Status"] != status:  # another output alone is written some minutes later
            self._out_of_sync.add(("check", check_id))
        self.checks[check_id] = check | {"Status": status, "Output": body.get("Output") or ""}

    def _check_deregister(self, request: Request, check_id: str) -> None:
        self._find(request, "check", check_id)
        del self.checks[check_id]
        self._out_of_sync.add(("check", check_id))

    def _service_deregister(self, request: Request, service_id: str) -> None:
        self._find(request, "service", service_id)
        del self.services[service_id]
        self.checks = {id_: c for id_, c in self.checks.items() if c["ServiceID"] != service_id}
        self._out_of_sync.add(("service", service_id))

    def _list(self, request: Request, what: str) -> Answer:
        if what == "self":
            self._vet(request.token, "agent:read", self.node)
            config = {"NodeName": self.node, "Datacenter": "dc1", "Server": False, "Version": "1.14.11"}
            return 200, {"Config": config, "Member": {"Name": self.node, "Addr": "127.0.0.1"}}, {}
        held, name = (self.services, "Service") if what == "services" else (self.checks, "ServiceName")
        shown = {id_: one for id_, one in held.items() if self._may(request.token, "service:read", one[name])}
        headers = {FILTERED: "true"} if shown != held and request.token else {}
        if what == "checks":
            tags = {id_: {"ServiceTags": one["ServiceTags"] or []} for id_, one in shown.items()}
            return 200, {id_: one | dict.fromkeys(INDEXES, 0) | tags[id_] for id_, one in shown.items()}, headers
        left_out = ("Proxy", "Connect", "PeerName")
        kept = {id_: {k: v for k, v in one.items() if k not in left_out} for id_, one in shown.items()}
        filled = {id_: {"Tags": one["Tags"] or [], "Meta": one["Meta"] or {}} for id_, one in shown.items()}
        return 200, {i: {"Port": 0, "Datacenter": "dc1"} | one | filled[i] for i, one in kept.items()}, headers

    async def _sync(self) -> None:
        """SyncChanges: each service with those of its checks that have changed, then the checks that are left."""
        for kind, id_ in sorted(self._out_of_sync, reverse=True):
            if (kind, id_) not in self._out_of_sync:
                continue  # went with its service
            await self._reach()
            draft, done = self.catalog.draft(), {(kind, id_)}
            service = self.services.get(id_ if kind == "service" else self.checks.get(id_, {}).get("ServiceID", ""))
            if service:
                draft.set_service(self.node, service)
            if kind == "service":
                done |= {("check", i) for i, c in self.checks.items() if c["ServiceID"] == id_} & self._out_of_sync
                if not service:
                    draft.delete_service((self.node, id_))
            for check_id in (i for k, i in done if k == "check"):
                if check := self.checks.get(check_id):
                    draft.set_check(check)
                else:
                    draft.delete_check((self.node, check_id))
            self._out_of_sync -= done
            self._commit(draft)

    # HTTP

    async def answer(self, request: Request) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers."""
        self.requests.append(request)
        try:
            status, said, headers = await self._answer(request)
        except Refused as error:
            return error.status, str(error), {}
        return status, "" if said is None else json.dumps(said), headers

    def _vet_place(self, request: Request) -> None:
        """Raises Refused for what is not where this Consul has it."""
        given = {key: request.query.get(parameter, "") for key, parameter in PLACE.items()}
        if not self.place:
            named = next((PLACE[key] for key, value in given.items() if value), "")
            if named and request.path.startswith(("/v1/health/", "/v1/agent/")) and request.path != "/v1/agent/self":
                what = "Namespaces" if named == "ns" else "Partitions"
                raise Refused(f'Invalid query parameter: "{named}" - {what} are a Consul Enterprise feature', 400)
            return
        wanted = {key: self.place.get(key, "") for key in PLACE}
        named_in = [given]
        if request.path == "/v1/txn":
            pairs = [(kind, one[kind]) for one in json.loads(request.body) for kind in one]
            named_in += [{key: content[kind].get(key, "") for key in PLACE} for kind, content in pairs]
        if request.path == "/v1/agent/service/register":
            named_in.append({key: json.loads(request.body).get(key, "") for key in PLACE})
        if any(named != wanted for named in named_in):
            raise Refused(f"this is of another namespace or partition: {named_in}", 400)

    async def _answer(self, request: Request) -> Answer:
        self._vet_place(request)
        folder, _, last = request.path.removeprefix("/v1/").rpartition("/")
        match request.method, folder, last:
            case "GET", "status", "leader":
                await self._reach()
                return 200, "127.0.0.1:8300", {}
            case "GET", "catalog/node", _:
                await self._call(request)
                may = last in self.catalog.nodes and self._may(request.token, "node:read", last)
                return 200, {"Node": {"Node": last}, "Services": {}} if may else {}, {}
            case "GET", "health/service", _:
                return await self._health(request, unquote(last))
            case "PUT", "", "txn":
                return await self._txn(request)
            case "PUT", "catalog", "register":
                return await self._catalog_register(request)
            case _, "", "txn":
                raise Refused(f"method {request.method} not allowed", 405)
        writes: dict[tuple[str, str], Callable[[Request, str], None]] = {
            ("PUT", "agent/service"): self._register,
            ("PUT", "agent/check/update"): self._check_update,
            ("PUT", "agent/check/deregister"): self._check_deregister,
            ("PUT", "agent/service/deregister"): self._service_deregister,
        }
        write = writes.get((request.method, folder))
        if not write and (request.method, folder) != ("GET", "agent"):
            raise Refused("Invalid URL path: not a recognized HTTP API endpoint", 404)
        self._known(request)
        async with self._local:  # held until what has changed is written
            if not write:
                return self._list(request, last)
            write(request, unquote(last))
            with suppress(Refused):
                await self._sync()
        return 200, None, {}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().rstrip().split("\r\n")
                given = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = (await reader.readexactly(int(given.get("content-length", 0)))).decode()
                method, target, _ = first.split(" ")
                parts = urlsplit(target)
                query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
                request = Request(method, parts.path, query, body, given.get("x-consul-token", ""))
                status, text, headers = await self.answer(request)
                told = [f"HTTP/1.1 {status} Answer", *(f"{name}: {value}" for name, value in headers.items())]
                writer.write("\r\n".join([*told, f"Content-Length: {len(text.encode())}", "", text]).encode())
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the client or the test has had enough
        finally:
            self._connections.discard(task)
            writer.transport.abort()


def _errors(operations: Iterable[tuple[str, Json]], do: Callable[[str, Json], object]) -> list[Json]:
    """Do something with each, and list what was refused."""
    errors = []
    for number, (kind, operation) in enumerate(operations):
        try:
            do(kind, operation)
        except Refused as error:
            errors.append({"OpIndex": number, "What": str(error)})
    return errors
