"""What Redis and Sentinel answer, read with types and bounds: whatever does not keep to them is a missed look.

Each reader raises Unanswered where the answer is of another type or size than the protocol has, and names the part. A
value of the right type that makes no sense, such as the port 0 of a Sentinel that is gone, is None: unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from consul_redis_agent.decide.facts import Address, whole
from consul_redis_agent.errors import Unanswered
from consul_redis_agent.text import is_host, is_word

WORD_LIMIT = 128
"""Characters of an id: 40, as Redis and Sentinel make them."""
PORT_LIMIT = 65535
NAME_LIMIT = 512
"""Characters of a master name, and of a flag list."""


def misread(what: str) -> Unanswered:
    """The error that says which part of an answer is not what it has to be."""
    return Unanswered(f"an answer that is not its protocol: {what}")


def text(answer: object, what: str, limit: int = NAME_LIMIT) -> str:
    """A text of at most ``limit`` characters."""
    if not isinstance(answer, str):
        raise misread(f"{what} is not text")
    if len(answer) > limit:
        raise misread(f"{what} has more than {limit} characters")
    return answer


def word(answer: object, what: str) -> str:
    """An id: text without spaces and control characters, or nothing."""
    read = text(answer, what, WORD_LIMIT)
    if read and not is_word(read, WORD_LIMIT):
        raise misread(f"{what} is no id")
    return read


def number(answer: object, what: str, limit: int) -> int:
    """A whole number from 0 to ``limit``, written as text."""
    read = whole(answer, limit) if isinstance(answer, str) else None
    if read is None:
        raise misread(f"{what} is no number from 0 to {limit}")
    return read


def address(host: object, port: object, what: str) -> Address | None:
    """An address, written as two texts; None if nobody could connect to it."""
    if not (isinstance(host, str) and isinstance(port, str)):
        raise misread(f"{what} is not text")
    known = whole(port, PORT_LIMIT)
    return Address(host, known) if known and is_host(host) else None


def items(answer: object, what: str) -> list[object]:
    """A list of anything."""
    if not isinstance(answer, list):
        raise misread(f"{what} is no list")
    return answer


def pairs(answer: object, what: str) -> dict[str, str]:
    """The flat list ``[key, value, …]`` by which RESP2 writes a map of texts."""
    if not isinstance(answer, list) or len(answer) % 2 or not {*map(type, answer)} <= {str}:
        raise misread(f"{what} is no list of keys and values")
    return dict(zip(answer[::2], answer[1::2], strict=True))


def each(answer: object, what: str, limit: int) -> list[dict[str, str]]:
    """The first ``limit`` members of a list of such maps."""
    return [pairs(one, f"one of {what}") for one in islice(items(answer, what), limit)]


def part(fields: Mapping[str, str], key: str, what: str) -> str:
    """One value of a map that has to have it, of at most :data:`NAME_LIMIT` characters."""
    if key not in fields:
        raise misread(f"{what} has no {key}")
    return text(fields[key], f"{key} of {what}")


def addresses(maps: Iterable[Mapping[str, str]], what: str) -> list[tuple[Address, str]]:
    """The address and the run id of each that has one to which somebody could connect."""
    found = []
    for fields in maps:
        known = address(part(fields, "ip", what), part(fields, "port", what), what)
        run_id = word(part(fields, "runid", what), f"runid of {what}")
        if known:
            found.append((known, run_id))
    return found


def is_name(written: str) -> bool:
    """Whether it can be a master's name."""
    return 0 < len(written) <= NAME_LIMIT and written.isprintable()
