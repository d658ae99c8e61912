"""The catalog of Consul's servers, and what it makes of what it is sent (``agent/consul/state/catalog.go``, ``txn.go``)."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from .decoding import CHECK, INDEXES, TENANT, Json, Refused

Key = tuple[str, str]

COMPARED_CHECK = ("Name", "Status", "Notes", "Output", "ServiceID", "ServiceName", "ServiceTags", "Definition")
"""What IsSame looks at: a check of another ``Type`` is the same one."""
COMPARED_SERVICE = ("Service", "Tags", "Meta", "Port", "Address", "TaggedAddresses", "Weights", "EnableTagOverride")


def a_check(given: Json, type_: str = "") -> Json:
    """A check as ``/v1/health/service`` shows it."""
    texts = {key: given.get(key) or "" for key in CHECK if CHECK[key] == "string" and key not in TENANT}
    shown = texts | {"Status": given.get("Status") or "critical", "ServiceTags": given.get("ServiceTags")}
    return shown | {"Type": type_, "Interval": "", "Timeout": "", "ExposedPort": 0, "Definition": {}}


def a_service(given: Json, name: str, tagged: Json) -> Json:
    """A service as ``/v1/health/service`` shows it: without its port if that is 0, with null for no Meta."""
    shown = {"ID": given.get("ID") or name, "Service": name, "Address": given.get("Address") or ""}
    shown |= {"Tags": given.get("Tags"), "Meta": given.get("Meta")}
    shown |= {"Weights": given.get("Weights") or {"Passing": 1, "Warning": 1}, "Connect": {}, "PeerName": ""}
    shown |= {"EnableTagOverride": bool(given.get("EnableTagOverride"))}
    shown |= {"Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}}
    return shown | {key: value for key, value in (("Port", given.get("Port")), ("TaggedAddresses", tagged)) if value}


def definition(body: Json, node: str) -> tuple[Json, list[Json]]:
    """The service and the checks that an agent makes of a registration (``agent/agent.go`` addServiceInternal)."""
    address, tagged = body.get("Address") or "", body.get("TaggedAddresses") or {}
    with suppress(ValueError):
        version = ipaddress.ip_address(address).version
        own = {"Address": address, "Port": body.get("Port") or 0}
        tagged = {f"lan_ipv{version}": own, f"wan_ipv{version}": own} | tagged
    service = a_service(body, body["Name"], tagged)
    given = checks_of(body)
    common = {"Node": node, "ServiceID": service["ID"], "ServiceName": body["Name"], "ServiceTags": service["Tags"]}
    checks = []
    for number, check in enumerate(given, 1):
        named = {"CheckID": f"service:{service['ID']}" + (f":{number}" if len(given) > 1 else "")}
        checks.append(a_check({"Name": f"Service '{body['Name']}' check"} | named | check | common, "ttl"))
    return service, checks


def checks_of(body: Json) -> list[Json]:
    """``Check`` and ``Checks`` of a registration."""
    return [check for check in (body.get("Check"), *(body.get("Checks") or ())) if check]


def same(one: Json, other: Json, keys: Sequence[str]) -> bool:
    """Whether the two agree in these keys; empty and missing are the same."""
    return all((one.get(key) or None) == (other.get(key) or None) for key in keys)


@dataclass(slots=True)
class Catalog:
    """All that the servers hold at one raft index. A record is replaced, never changed."""

    index: int = 10
    nodes: dict[str, Json] = field(default_factory=dict)
    services: dict[Key, Json] = field(default_factory=dict)
    checks: dict[Key, Json] = field(default_factory=dict)
    touched: dict[str, int] = field(default_factory=dict)
    """By the name of a service: the index of the last change to anything of it."""

    def draft(self) -> Catalog:
        """A copy at the next index, to be written into."""
        copies = {name: dict(getattr(self, name)) for name in ("nodes", "services", "checks", "touched")}
        return replace(self, index=self.index + 1, **copies)

    def health(self, name: str) -> Iterator[Json]:
        """The instances of a service."""
        for (node, id_), service in sorted(self.services.items()):
            if service["Service"] == name:
                checks = [c for (n, _), c in self.checks.items() if n == node and c["ServiceID"] in ("", id_)]
                checks = [check | {"ServiceTags": check["ServiceTags"] or []} for check in checks]
                yield {"Node": self.nodes[node], "Service": service | {"Tags": service["Tags"] or []}, "Checks": checks}

    def add_node(self, name: str, address: str) -> None:
        """A member of the cluster, with its gossip check."""
        tagged = dict.fromkeys(("lan", "lan_ipv4", "wan", "wan_ipv4"), address)
        node: Json = {
            "ID": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
            "Node": name,
            "Address": address,
            "Datacenter": "dc1",
        }
        node |= {"TaggedAddresses": tagged, "Meta": {"consul-network-segment": ""}}
        self.nodes[name] = node | dict.fromkeys(INDEXES, self.index)
        gossip = {"Node": name, "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing"}
        self.set_check(a_check(gossip | {"Output": "Agent alive and reachable"}))

    def set_service(self, node: str, service: Json) -> None:
        """Raises Refused."""
        before = self.services.get((node, service["ID"]))
        if node not in self.nodes:
            raise Refused("Missing node registration")
        if before is None or not same(before, service, COMPARED_SERVICE):
            self._put(self.services, (node, service["ID"]), service)
            self.touched |= dict.fromkeys({service["Service"], (before or service)["Service"]}, self.index)

    def set_check(self, check: Json) -> None:
        """Raises Refused."""
        key = (check["Node"], check["CheckID"])
        service = self.services.get((check["Node"], check["ServiceID"]))
        if check["Node"] not in self.nodes:
            raise Refused("Missing node registration")
        if check["ServiceID"] and service is None:
            raise Refused("Missing service registration")
        if service:
            check = check | {"ServiceName": service["Service"], "ServiceTags": service["Tags"]}
        if key not in self.checks or not same(self.checks[key], check, COMPARED_CHECK):
            self._put(self.checks, key, check)
            self._touch(check)

    def delete_service(self, key: Key) -> None:
        """With its checks; nothing if it is not there."""
        if service := self.services.pop(key, None):
            self.touched[service["Service"]] = self.index
            self.checks = {k: c for k, c in self.checks.items() if (c["Node"], c["ServiceID"]) != key}

    def delete_check(self, key: Key) -> None:
        """Nothing if it is not there."""
        if check := self.checks.pop(key, None):
            self._touch(check)

    def _put(self, table: dict[Key, Json], key: Key, record: Json) -> None:
        created = table[key]["CreateIndex"] if key in table else self.index
        table[key] = record | {"CreateIndex": created, "ModifyIndex": self.index}

    def _touch(self, check: Json) -> None:
        on_node = {service["Service"] for (node, _), service in self.services.items() if node == check["Node"]}
        self.touched |= dict.fromkeys({check["ServiceName"]} if check["ServiceID"] else on_node, self.index)

    def apply(self, kind: str, operation: Json) -> Json | None:
        """Do one operation of a transaction, on a ``Service`` or a ``Check``; its result. Raises Refused."""
        verb, given = operation.get("Verb") or "", operation.get(kind) or {}
        node: str = (operation if kind == "Service" else given).get("Node") or ""
        id_ = (
            given.get("ID") or given.get("Service") if kind == "Service" else given.get("CheckID") or given.get("Name")
        )
        key, table = (node, id_ or ""), self.services if kind == "Service" else self.checks
        which, index = f'{kind.lower()} "{key[1]}" on node "{node}"', table.get(key, {}).get("ModifyIndex", 0)
        wanted = given.get("ModifyIndex") or 0
        if (verb == "cas" and index != wanted) or (verb == "delete-cas" and (index != wanted or not index)):
            raise Refused(f"failed to {'set' if verb == 'cas' else 'delete'} {which}, index is stale")
        match kind, verb:
            case "Service", "set" | "cas":
                # convertOps (agent/txn_endpoint.go) hands neither a service's TaggedAddresses on nor a check's Type
                self.set_service(node, a_service(given, given.get("Service") or "", {}))
            case "Check", "set" | "cas":
                self.set_check(a_check(given | {"CheckID": key[1]}))
            case "Service", "delete" | "delete-cas":
                self.delete_service(key)
            case "Check", "delete" | "delete-cas":
                self.delete_check(key)
            case _, "get" if key not in table:
                raise Refused(f"{which} doesn't exist")
            case _, unknown if unknown != "get":
                raise Refused(f'unknown {kind} verb "{verb}"')
        return {kind: table[key]} if key in table else None
