"""The publisher: when it writes, and when it lets the loop sleep."""

from __future__ import annotations

from typing import Any, cast

from consul_redis_agent import publisher as module
from consul_redis_agent.publisher import Publisher


def test_an_overdue_beat_does_not_make_the_loop_spin(monkeypatch: Any) -> None:
    """While Consul is out of reach, or nothing can be decided, the beat is overdue: that is no reason to hurry."""
    publisher = Publisher(cast("Any", None), cast("Any", None), 10.0, lambda *_: None)
    publisher._beat_at = 50.0
    monkeypatch.setattr(module, "clock", lambda: 49.0)
    assert publisher.next_beat == 1.0
    monkeypatch.setattr(module, "clock", lambda: 60.0)
    assert publisher.next_beat == 10.0
