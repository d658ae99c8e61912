"""From file, environment and flags to a checked :class:`Config`, or to every mistake at once.

What is beaten (a value in the file, by a flag) is checked all the same.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from consul_redis_agent.config import values
from consul_redis_agent.config.durations import format_duration
from consul_redis_agent.config.file import read_file
from consul_redis_agent.config.schema import INHERITED, KEYS, PREFIX, REFUSED, REPEATED, TABLES, Key
from consul_redis_agent.config.shape import (
    Config,
    ConsulConfig,
    FailoverConfig,
    FenceConfig,
    HttpConfig,
    LogConfig,
    RedisConfig,
    ReplicaConfig,
    SentinelConfig,
    ServiceConfig,
    TlsConfig,
)
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import ConfigError, LocalError

LONGEST = 4 * 1024 * 1024  # bytes; ten thousand nodes have 1 MiB
_BARE = re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII)
_PLACE = re.compile(r"(.*) \(at (.*)\)", re.DOTALL)

Table = dict[str, object]


class _Source(IntEnum):
    """Where a value comes from; the higher wins."""

    DEFAULT = 0
    FILE = 1
    TOOLS = 2  # the environment, by a name of Consul's or Redis' own tools
    ENVIRONMENT = 3
    FLAG = 4


@dataclass(frozen=True, slots=True)
class _Setting:
    """The value that won, and where it was written. ``value`` means nothing when it was wrong."""

    value: Any
    source: _Source
    where: str
    wrong: bool = False
    written: object = field(default=None, repr=False)  # as it was read; may hold a secret

    @property
    def name(self) -> str:
        """What it is called there."""
        return self.where.rpartition(": ")[2]


_Settings = dict[str, _Setting]


def load(path: Path | None, env: Mapping[str, str], flags: Mapping[str, object]) -> Config:
    """Read the file (None for none), ``env`` and ``flags`` (by dotted key, as ``consul.url``; texts, as they were given).

    Raises ConfigError with every mistake, as ``FILE: KEY: reason``, ``environment: NAME: reason`` or
    ``command line: --flag: reason``.
    """
    return _Loader(str(path), env, flags).load(path)


class _Loader:
    """One reading; collects the problems."""

    def __init__(self, file: str, env: Mapping[str, str], flags: Mapping[str, object]) -> None:
        self.file = file
        self.env = env
        self.flags = flags
        self.problems: list[str] = []

    def load(self, path: Path | None) -> Config:
        document = self.read_file(path) if path else {}
        single, nodes = self.split(document)
        self.refuse_names()
        settings = {table: self.settle(table, raw) for table, raw in single.items()}
        if len(nodes) > 1:
            self.refuse_for_one_node(len(nodes))
        redis = [
            self.settle(REPEATED, raw, f" of node {number}" if len(nodes) > 1 else "", alone=len(nodes) == 1)
            for number, raw in enumerate(nodes, start=1)
        ]
        self.check_together(settings, redis)
        if self.problems:
            raise ConfigError(list(dict.fromkeys(self.problems)))
        return _build(settings, redis)

    def read_file(self, path: Path) -> Table:
        try:
            return tomllib.loads(read_file(path, LONGEST, "no configuration").decode())
        except LocalError as error:
            self.problems.append(str(error))
        except UnicodeDecodeError:
            self.problems.append(f"{self.file}: is not UTF-8 text")
        except RecursionError:
            self.problems.append(f"{self.file}: has brackets within brackets, far deeper than any key takes")
        except tomllib.TOMLDecodeError as error:
            place = _PLACE.fullmatch(str(error))
            reason, at = (place[1], f"{place[2]}: ") if place else (str(error), "")
            self.problems.append(f"{self.file}: {at}{reason}")
        raise ConfigError(self.problems)  # without the file, nothing that follows could be trusted

    def split(self, document: Table) -> tuple[dict[str, Table], list[Table]]:
        """The tables by name, and the nodes, of which there is always one."""
        single: dict[str, Table] = {table: {} for table in TABLES if table != REPEATED}
        nodes: list[Table] = [{}]
        for name, raw in document.items():
            if name == REPEATED:
                if isinstance(raw, list) and raw and all(isinstance(node, dict) for node in raw):
                    nodes = raw
                else:
                    self.problems.append(f"{self.file}: {name}: write [[{name}]], once for each node")
            elif name in single:
                if isinstance(raw, dict):
                    single[name] = raw
                else:
                    self.problems.append(f"{self.file}: {name}: write [{name}], once")
            else:
                self.problems.append(f"{self.file}: {_name(name)}: unknown {_kind(raw)}; {_nearest(name)}")
        return single, nodes

    def settle(self, table: str, raw: Table, suffix: str = "", *, alone: bool = True) -> _Settings:
        """The value of each key of one table, from wherever it is written with the most weight.

        What is said of one table, in flags and the environment, holds where it is ``alone``.
        """
        settings = {}
        known = {key.name: key for key in KEYS if key.table == table}
        for name in raw:
            if name not in known or not known[name].in_file:
                where = f"{self.file}: {table}.{_name(name)}{suffix}"
                self.problems.append(f"{where}: unknown key; {_nearest(name, table)}")
        for key in known.values():
            default = None if key.default is INHERITED else key.read(key.default)
            setting = _Setting(default, _Source.DEFAULT, f"{table}.{key.name}{suffix}", written=key.default)
            if key.in_file and key.name in raw:
                where = f"{self.file}: {key.dotted}{suffix}"
                setting = self.read(key, raw[key.name], _Source.FILE, where)
            if text := self.env.get(key.tools):
                setting = self.read_text(key, text, _Source.TOOLS, f"environment: {key.tools}")
            if alone and self.is_set(key):
                setting = self.read_text(key, self.env[key.env], _Source.ENVIRONMENT, f"environment: {key.env}")
            if alone and key.dotted in self.flags:
                setting = self.read_text(key, self.flags[key.dotted], _Source.FLAG, f"command line: {key.flag}")
            settings[key.name] = setting
        return settings

    def is_set(self, key: Key) -> bool:
        """Whether the environment has it by its own name. Empty is not set, as with Consul's own tools."""
        return bool(self.env.get(key.env)) or (key.empty_counts and key.env in self.env)

    def read(self, key: Key, raw: object, source: _Source, where: str) -> _Setting:
        try:
            return _Setting(key.read(raw), source, where, written=raw)
        except ValueError as error:
            self.problems.append(f"{where}: {error}")
            return _Setting(None, source, where, wrong=True)

    def read_text(self, key: Key, text: object, source: _Source, where: str) -> _Setting:
        """The same of what was written as one text."""
        try:
            raw = key.parse(text) if isinstance(text, str) else text
        except ValueError as error:
            self.problems.append(f"{where}: {error}")
            return _Setting(None, source, where, wrong=True)
        return self.read(key, raw, source, where)

    def refuse_names(self) -> None:
        """Names in the environment that would count for nothing, though somebody has meant something by them."""
        known = {key.env for key in KEYS if key.has_own}
        for name in sorted(self.env):
            if name.startswith(PREFIX) and name not in known:
                self.problems.append(f"environment: {_name(name)}: unknown name; {_nearest_name(name, known)}")
            elif name in REFUSED and self.env[name]:
                self.problems.append(f"environment: {name}: {REFUSED[name]}")

    def refuse_for_one_node(self, count: int) -> None:
        """What names no node cannot be for one of several."""
        for key in KEYS:
            if key.table != REPEATED:
                continue
            there = "write it there" if key.in_file else f"write {key.name}_file there, or set {key.tools} for all"
            if self.is_set(key):
                self.problems.append(f"environment: {key.env}: the file has {count} [[redis]] nodes; {there}")
            if key.dotted in self.flags:
                self.problems.append(f"command line: {key.flag}: the file has {count} [[redis]] nodes; {there}")

    def check_together(self, settings: dict[str, _Settings], redis: list[_Settings]) -> None:
        """What is right alone and wrong together. A value that is wrong alone takes no part."""
        consul, service, sentinel = settings["consul"], settings["service"], settings["sentinel"]
        self.check_shorter(consul["timeout"], "consul.timeout", service["ttl"], "service.ttl", 1)
        for node in redis:
            # A node that hangs once must not cost it its entry: there is time to ask again before the TTL ends.
            self.check_shorter(node["timeout"], "redis.timeout", service["ttl"], "half of service.ttl", 2)
        if sentinel["mode"].value == "off" and sentinel["hosts"].value:
            self.problems.append(f'{sentinel["hosts"].where}: named, but sentinel.mode is "off"')
        self.check_failover(settings, redis)
        self.check_secured(settings, redis)
        for node in redis:
            self.check_username(node)
        self.check_distinct(redis, "url")
        self.check_distinct(redis, "announce")
        if service["mode"].value == "services":
            self.check_names(service["name"], settings["replica"]["name"], redis)

    def check_failover(self, settings: dict[str, _Settings], redis: list[_Settings]) -> None:
        """What could never be done, or would do harm: without Sentinel, without the fence, without a replica to promote."""
        fence, without = settings["fence"]["mode"], settings["sentinel"]["mode"].value == "off"
        if fence.value == "on" and without:
            self.problems.append(
                f'{fence.where}: "on" needs Sentinel, which alone proves who the master is; sentinel.mode is "off"'
            )
        for name in ("on_death", "on_empty"):
            asks = settings["failover"][name]
            if asks.value != "ask":
                continue
            if without:
                self.problems.append(f'{asks.where}: "ask" needs a Sentinel that can be asked; sentinel.mode is "off"')
            if not fence.wrong and fence.value != "on":
                # A node that comes back meanwhile would take writes that are lost.
                self.problems.append(
                    f'{asks.where}: "ask" needs fence.mode = "on": the old master would take writes that are lost'
                )
            if settings["service"]["mode"].value == "services":
                self.check_published(name, settings["replica"]["name"], redis)

    def check_published(self, name: str, common: _Setting, redis: list[_Settings]) -> None:
        """Sentinel is asked only where it can promote a replica that is published."""
        for written in (_inherit(node["replica"], common) for node in redis):
            if not written.wrong and not written.value:
                self.problems.append(
                    f'{written.where}: "" publishes no replicas; failover.{name} = "ask" needs one that is published'
                )

    def check_secured(self, settings: dict[str, _Settings], redis: list[_Settings]) -> None:
        """TLS, wherever somebody believes that there is some."""
        consul, sentinel = settings["consul"], settings["sentinel"]
        if consul["ssl"].value and not consul["url"].wrong:
            if consul["url"].value.startswith("unix:"):
                self.problems.append(
                    f"{consul['ssl'].where}: is true, but {consul['url'].name} says unix://, which is clear text; "
                    "write https:// there, or take this out"
                )
            else:
                url = values.consul_url(consul["url"].written, tls=True)
                consul["url"] = replace(consul["url"], value=url)
        self.check_tls(consul, consul["url"], _scheme(consul["url"].value), "https://")
        self.check_tls(sentinel, sentinel["tls"], "true" if sentinel["tls"].value else "false", "true")
        for node in redis:
            self.check_tls(node, node["url"], _scheme(node["url"].value and node["url"].value.url), "rediss://")

    def check_tls(self, table: _Settings, transport: _Setting, says: str, secured: str) -> None:
        """Certificates fit each other, and are not for a connection in clear text: then somebody would think it encrypted.

        Consul's own tools take theirs quietly with http. Here they are refused as well: what they ask for would not be done.
        """
        cert, key = table["cert_file"], table["key_file"]
        if key.value and not cert.value and not cert.wrong:
            self.problems.append(
                f"{key.where}: is set, and cert_file is not: a key is of no use without its certificate"
            )
        if transport.wrong or says == secured:
            return
        for name in ("ca_file", "ca_path", "cert_file", "key_file", "server_name", "verify"):
            setting = table.get(name)
            if setting and not setting.wrong and setting.value not in (None, True):
                self.problems.append(
                    f"{setting.where}: is set, but {transport.name} says {says}, which is clear text; "
                    f"write {secured} there, or take this out"
                )

    def check_username(self, node: _Settings) -> None:
        url, name = node["url"], node["username"]
        if not url.wrong and not name.wrong and url.value.username and name.value not in ("", url.value.username):
            self.problems.append(f"{name.where}: is another than the user in {url.name}; write it once")

    def check_shorter(self, short: _Setting, short_name: str, long: _Setting, long_name: str, part: int) -> None:
        if short.wrong or long.wrong or short.value < long.value / part:
            return
        blamed = short if short.source else long
        self.problems.append(
            f"{blamed.where}: {short_name} ({format_duration(short.value)}) must be shorter than "
            f"{long_name} ({format_duration(long.value / part)})"
        )

    def check_distinct(self, redis: list[_Settings], name: str) -> None:
        first: dict[object, int] = {}
        for number, node in enumerate(redis, start=1):
            setting = node[name]
            if setting.wrong or setting.value is None:
                continue
            value = setting.value.url if isinstance(setting.value, values.RedisUrl) else setting.value
            if value in first:
                self.problems.append(f"{setting.where}: is the same as that of node {first[value]}")
            first.setdefault(value, number)

    def check_names(self, service: _Setting, replica: _Setting, redis: list[_Settings]) -> None:
        """One name cannot list both masters and replicas. Consul takes upper and lower case for the same."""
        masters = [_inherit(node["service"], service) for node in redis]
        replicas = [_inherit(node["replica"], replica) for node in redis]
        for written in replicas:
            for other in masters:
                if written.wrong or other.wrong or written.value.lower() != other.value.lower():
                    continue
                blamed = written if written.source else other
                self.problems.append(
                    f"{blamed.where}: masters and replicas would share the name {written.value!r}; "
                    'service.mode "services" needs two'
                )


def _inherit(own: _Setting, common: _Setting) -> _Setting:
    return own if own.source else common


def _build(settings: dict[str, _Settings], redis: list[_Settings]) -> Config:
    value = {table: {name: setting.value for name, setting in items.items()} for table, items in settings.items()}
    consul, sentinel = settings["consul"], settings["sentinel"]
    token, token_file = _secret(consul, "token")
    password, password_file = _secret(sentinel, "password")
    return Config(
        consul=ConsulConfig(
            token=token,
            token_file=token_file,
            tls=_tls(consul) if _scheme(consul["url"].value) == "https://" else None,
            **{
                name: value["consul"][name]
                for name in ("url", "auth", "timeout", "dns", "domain", "namespace", "partition")
            },
        ),
        service=ServiceConfig(**value["service"]),
        replica=ReplicaConfig(**value["replica"]),
        sentinel=SentinelConfig(
            password=password,
            password_file=password_file,
            tls=_tls(sentinel) if sentinel["tls"].value else None,
            **{name: value["sentinel"][name] for name in ("mode", "early", "hosts", "username")},
        ),
        redis=tuple(_build_node(node, settings) for node in redis),
        fence=FenceConfig(**value["fence"]),
        failover=FailoverConfig(**value["failover"]),
        http=HttpConfig(**value["http"]),
        log=LogConfig(**value["log"]),
    )


def _build_node(node: _Settings, settings: dict[str, _Settings]) -> RedisConfig:
    url, username = node["url"].value
    scheme, place = _scheme(url), url.removeprefix(_scheme(url))
    path = place if scheme == "unix://" else None
    address = None if path else Address.parse(place)
    password, password_file = _secret(node, "password")
    return RedisConfig(
        url=url,
        host=address.host if address else None,
        port=address.port if address else None,
        path=path,
        username=node["username"].value or username,
        password=password,
        password_file=password_file,
        service=_inherit(node["service"], settings["service"]["name"]).value,
        replica=_inherit(node["replica"], settings["replica"]["name"]).value,
        tls=_tls(node) if scheme == "rediss://" else None,
        **{name: node[name].value for name in ("master_name", "announce", "timeout", "patience")},
    )


def _secret(table: _Settings, name: str) -> tuple[Any, Any]:
    """The secret itself, or its file: of equals the file, as in Consul's own tools."""
    given, file = table[name], table[f"{name}_file"]
    return (given.value, None) if given.source > file.source else (None, file.value)


def _tls(table: _Settings) -> TlsConfig:
    given = {name: table[name].value for name in ("ca_file", "cert_file", "key_file", "server_name")}
    if (path := table.get("ca_path")) is None:
        return TlsConfig(**given)
    if path.source > table["ca_file"].source:
        given["ca_file"] = None
    # Of equals the file, as in Consul's own tools.
    return TlsConfig(**given, ca_path=None if given["ca_file"] else path.value, verify=table["verify"].value)


def _scheme(url: str | None) -> str:
    """``https://`` and the like."""
    return "".join((url or "").partition("://")[:2])


def _kind(raw: object) -> str:
    return "table" if isinstance(raw, dict | list) else "key"


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) else repr(name[:80])


def _nearest_name(name: str, known: set[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name.upper(), sorted(known), 1)
    return f"did you mean {near[0]}?" if near else f"that of a key is {PREFIX}TABLE_KEY, such as CRA_SERVICE_NAME"


def _nearest(name: str, table: str | None = None) -> str:
    """What the writer of an unknown name may have meant: a name of the same table, else of another, else the list."""
    from difflib import get_close_matches

    own = [key.name for key in KEYS if key.table == table and key.in_file] if table else list(TABLES)
    others = {key.name: key.dotted for key in reversed(KEYS) if key.in_file}
    if near := get_close_matches(name, own, 1):
        return f"did you mean {f'{table}.' if table else ''}{near[0]}?"
    if near := get_close_matches(name, others, 1, 0.8):
        return f"did you mean {others[near[0]]}?"
    return f"known are {', '.join(own)}"
