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
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

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

DEFAULT_PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379}
"""Where a scheme is written without a port; for Consul as its own tools have it."""
SAME_AS = {"valkey": "redis", "valkeys": "rediss"}

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
    """True or false."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise ValueError("must be true or false")
    return truth_in(value)


def truth_in(word: str) -> bool:
    """The same as a word, in each form that Go's strconv.ParseBool takes, and so Consul's own tools."""
    if word in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if word in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError("must be true or false")


def items_in(written: str) -> list[str]:
    """A list as a flag or the environment has it: with commas between."""
    return [item.strip() for item in written.split(",") if item.strip()]


def pairs_in(written: str) -> dict[str, str]:
    """A table as the environment has it: ``key=value``, with commas between."""
    pairs: dict[str, str] = {}
    for item in items_in(written):
        key, mark, value = item.partition("=")
        if not mark:
            raise ValueError(
                f"{_shown(item)} is not key=value; with a comma inside a value it has to be written in the file"
            )
        if key.strip() in pairs:
            raise ValueError(f"{_shown(key.strip())} is named twice")
        pairs[key.strip()] = value.strip()
    return pairs


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


def tls_file(value: object) -> Path:
    """A certificate, key or folder of them. It may come and go, so only its name is checked; who pastes a key is not quoted."""
    path = Path(text(value))
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def server_name(value: object) -> str:
    """The name in a certificate."""
    name = text(value)
    if not _is_host(name):
        raise ValueError(f"{_shown(name)} is neither a host name nor an IP address")
    return name


def domain(value: object) -> str:
    """The domain of Consul's DNS, without the dot at its end."""
    name = text(value).strip(".").lower()
    if len(name) > LONGEST_HOST or not all(
        len(label) <= LONGEST_LABEL and _LABEL.fullmatch(label) for label in name.split(".")
    ):
        raise ValueError(f"{_shown(name)} is no domain for DNS, such as consul or dc.example.org")
    return name


def tenancy(value: object) -> str:
    """A namespace or a partition of Consul Enterprise."""
    name = text(value)
    if len(name) > LONGEST_LABEL or not _LABEL.fullmatch(name):
        raise ValueError(
            f"{_shown(name)} is no name for it: letters, digits and dashes, no dash at either end, {LONGEST_LABEL} at most"
        )
    return name


def basic_auth(value: object) -> Secret:
    """user:password; the user alone has an empty password."""
    login = text(value)
    if login.startswith(":"):
        raise ValueError("must be user or user:password")
    return Secret(login if ":" in login else f"{login}:")


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


def consul_url(value: object, *, tls: bool = False) -> str:
    """http://host:port, https://host:port or unix:///path; also host:port alone, as CONSUL_HTTP_ADDR has it.

    ``tls`` reads http as https, as CONSUL_HTTP_SSL does.
    """
    written = text(value)
    scheme, login, place = _split(written)
    if login is not None or "?" in place:
        raise ValueError("holds a login or an option, which others could read here: the token belongs in token_file")
    if scheme == "unix":
        return f"unix://{_socket(place)}"
    wanted = "https" if tls or scheme == "https" else "http"
    found = _place(place, DEFAULT_PORTS[wanted] if scheme else None)
    if scheme not in ("", "http", "https") or found is None:
        raise ValueError(f"must be http://host:port, https://host:port {_PLACE_RULE} or unix:///path")
    return f"{wanted}://{found}".lower()


class RedisUrl(NamedTuple):
    """Where a Redis node is reached, and the user of its URL, "" for none."""

    url: str
    username: str


def redis_url(value: object) -> RedisUrl:
    """redis://host:port, rediss://host:port or unix:///path; Valkey's names for the same; with a user, and with /0."""
    scheme, login, place = _split(text(value))
    if "?" in place or (login and not _LOGIN.fullmatch(login)):
        raise ValueError(
            "holds a password or an option, which others could read here: a password belongs in password_file"
        )
    user = username(unquote(login or ""))
    if scheme == "unix":
        return RedisUrl(f"unix://{_socket(place)}", user)
    place, _, database = place.partition("/")
    scheme = SAME_AS.get(scheme, scheme)
    found = _place(place, 6379)
    if scheme not in ("redis", "rediss") or found is None or not (database.isdecimal() or not database):
        raise ValueError(f"must be redis://host:port, rediss://host:port {_PLACE_RULE} or unix:///path")
    if database.strip("0"):
        raise ValueError("names another database than 0: neither INFO nor Sentinel knows databases; write /0, or none")
    return RedisUrl(f"{scheme}://{found}".lower(), user)


_PLACE_RULE = "(a port from 1 to 65535, brackets around an IPv6 address)"
_LOGIN = re.compile(r"[^:/?#\[\]]*")


def _split(url: str) -> tuple[str, str | None, str]:
    """Scheme ("" for none), login (None for none) and the rest of an URL. The path of a unix socket may hold an @."""
    scheme, _, rest = url.partition("://") if "://" in url else ("", "", url)
    authority, slash, path = rest.partition("/") if scheme.lower() == "unix" else (rest, "", "")
    login, at, place = authority.rpartition("@")
    return scheme.lower(), login if at else None, f"{place}{slash}{path}"


def _place(place: str, port: int | None) -> Address | None:
    """Host and port, and ``port`` where none is written; None for what is no such thing."""
    place = place.removesuffix("/")
    has_port = ":" in place.rpartition("]")[2]
    try:
        return address(place if has_port or port is None else f"{place}:{port}")
    except ValueError:
        return None


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
