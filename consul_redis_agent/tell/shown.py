"""What DNS has shown of one service, and for how many seconds it has named one master, two, none, or not answered. Pure."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import Any

from consul_redis_agent.decide.facts import Address

Masters = tuple[Address, ...]


class Shows(StrEnum):
    """What an answer comes to."""

    ONE = "one"
    NONE = "none"
    TWO = "two"
    """Or more."""
    UNANSWERED = "unanswered"


class Shown:
    """The answers of DNS under one service name. ``at`` is in seconds of the decisions' clock.

    The time between two answers counts for the first of them.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.masters: Masters | None = None
        """Whom DNS names, sorted; None: it has not answered."""
        self.seconds = dict.fromkeys(Shows, 0.0)
        self.at = inf
        """When the last answer came, or was given up; infinite before."""

    def answered(self, masters: Masters | None, at: float) -> bool:
        """Take in one answer, None where none came in time; returns whether it is another one than before."""
        first, self.seconds[self.shows] = self.at == inf, self.seconds[self.shows] + max(0.0, at - self.at)
        changed, self.masters, self.at = first or masters != self.masters, masters, at
        return changed

    @property
    def shows(self) -> Shows:
        """What the last answer comes to."""
        if self.masters is None:
            return Shows.UNANSWERED
        return (Shows.NONE, Shows.ONE, Shows.TWO)[min(len(self.masters), 2)]

    def as_json(self) -> dict[str, Any]:
        """For ``/status`` and the metrics."""
        return {
            "service": self.service,
            "masters": None if self.masters is None else [str(address) for address in self.masters],
            "seconds": {shows.value: round(seconds, 3) for shows, seconds in self.seconds.items()},
        }
