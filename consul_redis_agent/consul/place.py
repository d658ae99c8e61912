"""Where in Consul Enterprise the entries are: a namespace and an admin partition. Pure.

Neither exists outside Enterprise, which refuses them; so nothing is sent where nothing is set. Everything that is sent goes
through the HTTP client, which adds both to every request, and through :meth:`Place.operations` or
:meth:`Place.registration` where a body names an entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """``""`` for what is not set: then Consul's own default counts."""

    namespace: str = ""
    partition: str = ""

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """The parameters of every request."""
        return tuple(pair for pair in (("ns", self.namespace), ("partition", self.partition)) if pair[1])

    @property
    def labels(self) -> str:
        """What stands between ``service`` and the domain in a DNS name, with a dot before it."""
        parts = (self.namespace, "ns"), (self.partition, "ap")
        return "".join(f".{name}.{kind}" for name, kind in parts if name)

    @property
    def _fields(self) -> Json:
        parts = ("Namespace", self.namespace), ("Partition", self.partition)
        return {key: value for key, value in parts if value}

    def registration(self, service: Mapping[str, Any]) -> Json:
        """The body of a registration; its checks are where the service is."""
        return {**service, **self._fields}

    def operations(self, operations: Sequence[Mapping[str, Any]]) -> list[Json]:
        """The operations of a transaction."""
        return [dict(self._placed(operation)) for operation in operations]

    def _placed(self, operation: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for kind, content in operation.items():  # {"Check": {"Verb": …, "Check": {…}}}
            yield kind, {**content, kind: {**content[kind], **self._fields}}


NOWHERE = Place()
