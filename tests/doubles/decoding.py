"""Which JSON Consul 1.14.11 takes, by field and type.

``lib/json.go`` DecodeJSON lets Go's decoder refuse a key that is no field. Letters of either case will do, null is the
same as nothing, and what follows the first value is not read. The fields are those of ``api.TxnOp`` in the module that
Consul is built with (``api/txn.go``, ``health.go``, ``agent.go``, ``catalog.go``), which differ from what it answers, and of
``agent/structs`` for the other requests.
"""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]


def _texts(*names: str) -> Json:
    return dict.fromkeys(names, "string")


TEXTS, LABELS = "[]string", {"*": "string"}
INDEXES = {"CreateIndex": "uint64", "ModifyIndex": "uint64"}
TENANT = _texts("Namespace", "Partition", "PeerName")
NODE: Json = (
    _texts("ID", "Node", "Address", "Datacenter", "Partition", "PeerName")
    | {"TaggedAddresses": LABELS, "Meta": LABELS}
    | INDEXES
)
CHECK: Json = (
    _texts("Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "ServiceName", "Type")
    | {"ServiceTags": TEXTS, "ExposedPort": "int", "Definition": "any"}  # a definition decodes itself, leniently
    | INDEXES
    | TENANT
)
"""What a transaction knows of a check: not ``Interval`` and ``Timeout``, which ``/v1/health/service`` shows."""
COMMON = _texts("Kind", "ID", "Address", "SocketPath") | {
    "Tags": TEXTS,
    "Meta": LABELS,
    "Port": "int",
    "TaggedAddresses": {"*": {"Address": "string", "Port": "int"}},
    "Weights": {"Passing": "int", "Warning": "int"},
    "EnableTagOverride": "bool",
    "Proxy": "any",
    "Connect": "any",
}
SERVICE: Json = COMMON | _texts("Service", "ContentHash", "Datacenter") | INDEXES | TENANT
KV: Json = _texts("Verb", "Key", "Value", "Session", "Namespace", "Partition")
TRANSACTION = [
    {
        "KV": KV | {"Flags": "uint64", "Index": "uint64"},
        "Node": {"Verb": "string", "Node": NODE},
        "Service": {"Verb": "string", "Node": "string", "Service": SERVICE},
        "Check": {"Verb": "string", "Check": CHECK},
    }
]
TTL_CHECK = _texts("CheckID", "Name", "Status", "Notes", "ServiceID", "TTL", "DeregisterCriticalServiceAfter")
REGISTRATION = COMMON | {"Name": "string", "Token": "string", "Check": TTL_CHECK, "Checks": [TTL_CHECK]}
UPDATE = {"Status": "string", "Output": "string"}
HEALTH_CHECK = {key: type_ for key, type_ in CHECK.items() if key not in ("Namespace", "Partition")}
HEALTH_CHECK |= _texts("Interval", "Timeout")
NODE_SERVICE = COMMON | _texts("Service", "PeerName") | INDEXES
CATALOG_REGISTRATION: Json = (
    _texts("Datacenter", "ID", "Node", "Address", "PeerName", "Token")
    | {"TaggedAddresses": LABELS, "NodeMeta": LABELS, "SkipNodeUpdate": "bool"}
    | {"Service": NODE_SERVICE, "Check": HEALTH_CHECK, "Checks": [HEALTH_CHECK]}
    | INDEXES
)

GO = {str: "string", bool: "bool", int: "number", float: "number", dict: "object", list: "array"}
TAKES = {"string": str, "bool": bool, "int": int, "uint64": int}


class Refused(Exception):
    """Consul's refusal: its text, and the ``status`` of the answer."""

    def __init__(self, text: str, status: int = 500) -> None:
        super().__init__(text)
        self.status = status


def parse(body: str, shape: Any, what: str) -> Any:
    """The JSON of a request with the field names of Go; ``what`` opens the refusal. Raises Refused with 400."""
    try:
        return decode(json.JSONDecoder().raw_decode(body.lstrip())[0], shape)
    except (Refused, json.JSONDecodeError) as error:
        why = str(error) if isinstance(error, Refused) else f"invalid character: {error}" if body.strip() else "EOF"
        raise Refused(f"{what}: {why}", 400) from None


def decode(value: object, shape: Any, where: str = "") -> Any:
    """Raises Refused for what is not of this shape: a Go type, a list of one, fields by name, or ``*`` for any name."""
    if value is None or shape == "any":
        return value
    if isinstance(value, dict) and isinstance(shape, dict):
        known = {name.lower(): name for name in shape}
        taken: Json = {}
        for key, inner in value.items():
            name = key if "*" in shape else known.get(key.lower())
            if name is None:
                raise Refused(f'json: unknown field "{key}"')
            taken[name] = decode(inner, shape.get("*") or shape[name], f"{where}.{name}".lstrip("."))
        return taken
    if isinstance(value, list) and (isinstance(shape, list) or shape == TEXTS):
        return [decode(inner, shape[0] if isinstance(shape, list) else "string", where) for inner in value]
    is_negative = shape == "uint64" and isinstance(value, int) and value < 0
    if isinstance(shape, str) and type(value) is TAKES.get(shape) and not is_negative:
        return value
    field = f"struct field {where}" if where else "value"
    raise Refused(
        f"json: cannot unmarshal {GO[type(value)]} into Go {field} of type {shape if where else 'api.TxnOps'}"
    )
