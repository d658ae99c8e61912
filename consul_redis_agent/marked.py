"""A log line's event: a stable name and fields for programs, beside the sentence for people."""

from __future__ import annotations

from typing import Any


def event(name: str, /, **fields: Any) -> dict[str, Any]:
    """What a log call takes as ``extra``. :data:`consul_redis_agent.tell.events.EVENTS` lists every name with its fields.

    None holds a secret: a field may have whatever the sentence may.
    """
    return {"event": name, "event_fields": fields}
