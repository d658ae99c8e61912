"""What each kind of value must look like: readers from TOML (or a flag, or the environment) to the program's types.

A reader takes what was written and returns it checked, or raises ValueError with the reason alone; the caller knows
where it was written. A text that may hold a login is never repeated in a reason.
"""

# ruff: noqa: TRY004 - whatever is wrong with a value, its reader says so with a ValueError

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from consul_redis_agent.config.durations import format_duration, parse_duration
from consul_redis_agent.config.secret import Secret
from consul_redis_agent.decide.facts import Address

T = TypeVar("T")
Reader = Callable[[object], T]

LONGEST_LABEL = 63  # one name between two dots in DNS
LONGEST_HOST = 253  # all of them
LONGEST_SOCKET = 107  # bytes in sockaddr_un.sun_path, without its closing zero

# Consul refuses metadata beyond these, and keys that begin with "consul-".
META_PAIRS = 64
META_PAIRS_KEPT = 16  # of which the agent's own claim needs some
META_KEY = 128
META_VALUE = 512  # bytes
META_RESERVED = ("consul-", "consul_redis_agent", "redis-")

RESERVED_TAGS = ("master", "replica")
NO_TLS = "TLS is not supported by this version"

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?", re.ASCII)
_HOST_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?", re.ASCII)
_MASTER_NAME = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_META_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def text(value: object) -> str:
    """Any string of one line."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if not value.isprintable():
        raise ValueError("holds a line break or a control character")
    return value


def secret(value: object) -> Secret:
    """A password or token from the environment."""
    return Secret(text(value))


def optional(read: Reader[T]) -> Reader[T | None]:
    """As ``read``, but "" means not set."""
    return lambda value: None if value == "" else read(value)


def one_of(*choices: str) -> Reader[str]:
    """One of a few words."""

    def read(value: object) -> str:
        word = text(value)
        if word not in choices:
            raise ValueError(f"{_shown(word)} is none of {', '.join(choices)}")
        return word

    return read


def truth(value: object) -> bool:
    """True or false; a flag has it as a word."""
    if isinstance(value, bool):
        return value
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def duration(shortest: str, longest: str) -> Reader[float]:
    """Seconds, within two bounds."""
    low, high = parse_duration(shortest), parse_duration(longest)

    def read(value: object) -> float:
        if not isinstance(value, str):
            raise ValueError('must be a string such as "10s"')
        seconds = parse_duration(value)
        if not low <= seconds <= high:
            raise ValueError(f"{format_duration(seconds)} is not between {shortest} and {longest}")
        return seconds

    return read


def service_name(value: object) -> str:
    """A name that works in DNS."""
    name = text(value)
    if not name:
        raise ValueError("must not be empty")
    if len(name) > LONGEST_LABEL or not _LABEL.fullmatch(name):
        raise ValueError(
            f"{_shown(name)} is no name for DNS: letters, digits and dashes, no dash at either end, "
            f"{LONGEST_LABEL} at most"
        )
    return name


def service_name_or_none(value: object) -> str:
    """The same, or "" for no such service."""
    return "" if value == "" else service_name(value)


def tags(value: object) -> tuple[str, ...]:
    """Tags, without those that this agent sets."""
    found = tuple(text(item) for item in _list(value, "tags"))
    for tag in found:
        if not tag:
            raise ValueError("holds an empty tag")
        if tag.lower() in RESERVED_TAGS:
            raise ValueError(f"{_shown(tag)} is set by the agent itself, on the node that has that role")
    _distinct(found)
    return found


def meta(value: object) -> tuple[tuple[str, str], ...]:
    """Metadata within Consul's limits, sorted by key."""
    if not isinstance(value, dict):
        raise ValueError('must be a table such as { team = "shop" }')
    room = META_PAIRS - META_PAIRS_KEPT
    if len(value) > room:
        raise ValueError(
            f"holds {len(value)} pairs, {room} at most: Consul takes {META_PAIRS}, and the agent needs some itself"
        )
    for key, item in value.items():
        if len(key) > META_KEY or not _META_KEY.fullmatch(key):
            raise ValueError(f"key {_shown(key)} must be letters, digits, - and _, {META_KEY} at most")
        if key.lower().startswith(META_RESERVED):
            raise ValueError(f"key {_shown(key)} is reserved: none may begin with {', '.join(META_RESERVED)}")
        if not isinstance(item, str):
            raise ValueError(f"the value of {_shown(key)} must be a string")
        if len(item.encode()) > META_VALUE:
            raise ValueError(f"the value of {_shown(key)} is longer than {META_VALUE} bytes")
    return tuple(sorted(value.items()))


def address(value: object) -> Address:
    """A host and a port."""
    written = text(value)
    if "@" in written:
        raise ValueError("holds a login; only host:port belongs here")
    found = Address.parse(written)
    if not _is_host(found.host):
        raise ValueError(f"{_shown(found.host)} is neither a host name nor an IP address")
    return found


def addresses(value: object) -> tuple[Address, ...]:
    """Several, each once."""
    found = tuple(address(item) for item in _list(value, "addresses"))
    _distinct(tuple(str(item) for item in found))
    return found


def reachable_address(value: object) -> Address:
    """An address to give to others: no wildcard."""
    found = address(value)
    if found.host in ("0.0.0.0", "::"):  # noqa: S104 - refused, not bound
        raise ValueError(f"{found.host} is no address that others can reach")
    return found


def secret_file(value: object) -> Path:
    """The file of a password or token. It may come and go, so only its name is checked, and never repeated."""
    path = Path(text(value))
    if not path.is_absolute():
        raise ValueError("must be the absolute path of a file, not the secret itself")
    return path


def username(value: object) -> str:
    """An ACL user; "" is the default one."""
    name = text(value)
    if " " in name:
        raise ValueError("holds a space")
    return name


def master_name(value: object) -> str:
    """A name as Sentinel takes it."""
    name = text(value)
    if not _MASTER_NAME.fullmatch(name):
        raise ValueError(f"{_shown(name)} is no name for Sentinel: letters, digits, dot, dash and underscore")
    return name


def consul_url(value: object) -> str:
    """http://host:port or unix:///path; also host:port alone, as CONSUL_HTTP_ADDR has it."""
    url = text(value)
    if "://" in url:
        return _url(url, "http", 80, login="the token belongs in token_file")
    return _url(f"http://{url}", "http", None, login="the token belongs in token_file")


def redis_url(value: object) -> str:
    """redis://host:port or unix:///path."""
    return _url(text(value), "redis", 6379, login="it belongs in username and password_file")


def no_tls(value: object) -> None:
    """A key that is kept for TLS: only "not set" is taken."""
    if value not in ("", False):
        raise ValueError(NO_TLS)


def no_tls_flag(value: object) -> None:
    """CONSUL_HTTP_SSL, read as Consul's own tools read it."""
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        raise ValueError(NO_TLS)
    if value not in ("0", "f", "F", "false", "FALSE", "False"):
        raise ValueError("is neither true nor false")


def _url(url: str, wanted: str, port: int | None, login: str) -> str:
    """An URL with nothing but host and port, or a unix socket. Nothing of it is repeated in a reason."""
    if "@" in url or "?" in url:
        raise ValueError(f"holds a login or an option, which others could read here: {login}")
    scheme, mark, rest = url.partition("://")
    if scheme.lower() == "unix" and mark:
        return f"unix://{_socket(rest)}"
    if scheme.lower() == f"{wanted}s":
        raise ValueError(NO_TLS)
    rest = rest.removesuffix("/")
    has_port = ":" in rest.rpartition("]")[2]
    try:
        found = address(rest if has_port or port is None else f"{rest}:{port}")
    except ValueError:
        found = None
    if scheme.lower() != wanted or found is None:
        raise ValueError(
            f"must be {wanted}://host:port (a port from 1 to 65535, brackets around an IPv6 address) or unix:///path"
        )
    return f"{wanted}://{found}".lower()


def _socket(path: str) -> str:
    if not path.startswith("/") or path == "/":
        raise ValueError("a unix socket needs three slashes and its path: unix:///path")
    if len(path.encode()) > LONGEST_SOCKET:
        raise ValueError(f"the path of a unix socket has {LONGEST_SOCKET} bytes at most")
    return path


def _is_host(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        labels = host.removesuffix(".").split(".")
        return (
            len(host) <= LONGEST_HOST
            and all(len(label) <= LONGEST_LABEL and _HOST_LABEL.fullmatch(label) for label in labels)
            and not labels[-1].isdigit()  # else it is a mistyped IPv4 address
        )
    return True


def _list(value: object, of: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"must be a list of {of}, in square brackets")
    return value


def _distinct(items: tuple[str, ...]) -> None:
    for item in items:
        if items.count(item) > 1:
            raise ValueError(f"{_shown(item)} is named twice")


def _shown(written: str) -> str:
    return repr(written if len(written) <= 80 else f"{written[:80]}...")
