"""Host names: looked up without the event loop and without its thread pool, so that a resolver that hangs holds up nobody else."""
# ruff: noqa: ASYNC109 - a passed deadline is an answer of its own here (socket.gaierror), not a cancellation

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from functools import cache
from typing import Any

from consul_redis_agent.beside import Threads
from consul_redis_agent.clock import clock
from consul_redis_agent.errors import LocalError
from consul_redis_agent.text import plain

LOOKUPS = Threads(64)
"""Names that are looked up at once, in all; what a name costs whose resolver hangs is one of them, whoever asks for it."""
SHARE = 0.75
"""The part of a deadline that a look-up may take: who connects then says that it was the resolver, and not the server."""
LOCALHOST = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""This host has no such addresses at all (a container without IPv6): that says nothing about the others of a name."""

Place = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A family and a socket address of it."""


@cache
def is_of_this_host(host: str) -> bool:
    """Whether an IP address belongs to this host; False for a name. Binds only; sends nothing."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except (OSError, ValueError):
        return False
    return True


async def addresses(host: str, port: int, timeout: float) -> list[Place]:
    """Where ``host`` is, in the order in which to try it.

    An IP address and ``localhost`` are answered at once. ``timeout`` is in seconds, for all of connecting; a look-up may take
    three quarters of it. Raises socket.gaierror.
    """
    if host.lower() == "localhost":
        return [(family, (address, port)) for family, address in LOCALHOST]
    for family in (socket.AF_INET, socket.AF_INET6):
        if _is_literal(family, host):
            return [(family, (host, port))]
    try:
        found = await LOOKUPS.ask(
            _look_up, host, timeout=timeout * SHARE, what=f"the resolver, asked for {plain(host)},"
        )
    except LocalError as error:
        raise socket.gaierror(socket.EAI_AGAIN, f"{error}: see /etc/resolv.conf") from None
    return [(family, (place[0], port, *place[2:])) for family, place in found]


async def connect(host: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection to ``host``, at the first of its addresses that takes one, within ``timeout`` seconds.

    One that nobody answers for leaves the next ones their share of the time: a name may have an IPv6 address that is out of
    reach. The last one may take all that is left, and longer: whoever asks has a deadline of his own. Raises OSError; with
    the number of each address' error in its text, where they differ.
    """
    ends, errors = clock() + timeout, list[OSError]()
    places = await addresses(host, port, timeout)
    for left, (family, place) in zip(range(len(places), 0, -1), places, strict=True):
        share = max(0.0, ends - clock()) / left if left > 1 else None
        try:
            async with asyncio.timeout(share):
                return await _connect(family, place)
        except TimeoutError as error:
            errors.append(error if error.errno else OSError(errno.ETIMEDOUT, f"no answer from {place[0]}"))
        except OSError as error:
            errors.append(error)
    errors = [error for error in errors if error.errno not in NOT_HERE] or errors
    if len({error.errno for error in errors}) == 1:
        raise errors[0]
    raise OSError("; ".join(map(str, errors)))


async def _connect(family: socket.AddressFamily, place: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        await asyncio.get_running_loop().sock_connect(made, place)
    except BaseException:
        made.close()
        raise
    return made


def _is_literal(family: socket.AddressFamily, host: str) -> bool:
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):  # ValueError: a zero byte
        return False
    return True


def _look_up(host: str) -> list[Place]:
    """In a thread, since the resolver has deadlines of its own, or none. Raises socket.gaierror."""
    try:
        # As bytes: text would bring Python's IDNA tables into memory for every name, 1 MiB for nothing
        name = host.encode("ascii" if host.isascii() else "idna")
    except UnicodeError:
        name = b""
    if not name or b"\0" in name:
        raise socket.gaierror(socket.EAI_NONAME, f"{plain(host)!r} is no host name")
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))
