"""The configuration: what is taken, what is refused with which words, and what never shows."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import os
import pickle
import re
import tomllib
import traceback
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consul_redis_agent.config import (
    Config,
    Secret,
    TlsConfig,
    format_duration,
    load,
    parse_duration,
    read_secret,
    values,
)
from consul_redis_agent.config.schema import KEYS, REFUSED, TABLES, Key
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import ConfigError, LocalError
from consul_redis_agent.node import naming
from tests.configuration_page import page

EXAMPLE = Path(__file__).parents[2] / "config" / "consul-redis-agent.toml"
DEFAULTS = load(None, {}, {})
PASSWORD = "hunter2-is-no-password"
PLACE = "(a port from 1 to 65535, brackets around an IPv6 address)"
NO_CONSUL_URL = f"must be http://host:port, https://host:port {PLACE} or unix:///path"
NO_REDIS_URL = f"must be redis://host:port, rediss://host:port {PLACE} or unix:///path"
CONSUL_LOGIN = "holds a login or an option, which others could read here: the token belongs in token_file"
REDIS_LOGIN = "holds a password or an option, which others could read here: a password belongs in password_file"
OTHER_DATABASE = "names another database than 0: neither INFO nor Sentinel knows databases; write /0, or none"
NO_TENANCY = "is no name for it: letters, digits and dashes, no dash at either end, 63 at most"
NO_PATH = "must be an absolute path"
HTTP = "is set, but consul.url says http://, which is clear text; write https:// there, or take this out"
REDIS = "is set, but redis.url says redis://, which is clear text; write rediss:// there, or take this out"
NO_SENTINEL_TLS = "is set, but sentinel.tls says false, which is clear text; write true there, or take this out"
NO_CERT = "is set, and cert_file is not: a key is of no use without its certificate"
NOT_DNS = "is no name for DNS: letters, digits and dashes, no dash at either end, 63 at most"
NO_SECRET_PATH = "must be the absolute path of a file, not the secret itself"


def read(folder: Path, text: str, env: Mapping[str, str] | None = None, **flags: object) -> Config:
    """Load ``text`` as a file, with flags as ``consul_url="..."``."""
    file = folder / "a.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, env or {}, {name.replace("_", ".", 1): value for name, value in flags.items()})


def problems(folder: Path, text: str, env: Mapping[str, str] | None = None, **flags: object) -> list[str]:
    """What is wrong with it, with the folder left out."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text, env, **flags)
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def reason(reader: Callable[[str], object], text: str) -> str:
    """Why it is refused; "" if it is not."""
    try:
        reader(text)
    except ValueError as error:
        return str(error)
    return ""


def pairs(count: int) -> str:
    return "{ " + ", ".join(f'k{number} = ""' for number in range(count)) + " }"


BAD_FILES = {
    # The file as such
    "= 1": "line 1, column 1: Invalid statement",
    "[consul]\nurl = \n": "line 2, column 7: Invalid value",
    '[log]\nlevel = "info': "end of document: Unterminated string",
    '[log]\nlevel = "info"\nlevel = "info"\n': "line 3, column 15: Cannot overwrite a value",
    # Unknown names
    "[consule]\nurl = 1": "consule: unknown table; did you mean consul?",
    "[[nodes]]\nurl = 1": "nodes: unknown table; known are consul, service, replica, sentinel, redis, fence, failover, http, log",
    'ttl = "5s"': "ttl: unknown key; did you mean service.ttl?",
    '[service]\nttll = "5s"': "service.ttll: unknown key; did you mean service.ttl?",
    '[consul]\ntoken = "x"': "consul.token: unknown key; did you mean consul.token_file?",
    "[consul]\nssl = true": (
        "consul.ssl: unknown key; known are url, token_file, ca_file, cert_file, key_file, server_name, timeout, dns, "
        "domain, namespace, partition"
    ),
    '[[redis]]\npassword = "x"': "redis.password: unknown key; did you mean redis.password_file?",
    "[http]\nzzz = 1": "http.zzz: unknown key; known are listen",
    '[http]\n"a\\nb" = 1': "http.'a\\nb': unknown key; known are listen",
    # The form of tables
    "redis = 1": "redis: write [[redis]], once for each node",
    "redis = []": "redis: write [[redis]], once for each node",
    '[redis]\nurl = "redis://h"': "redis: write [[redis]], once for each node",
    "[[consul]]": "consul: write [consul], once",
    "http = true": "http: write [http], once",
    # Types
    "[consul]\nurl = 8500": "consul.url: must be a string",
    "[service]\nttl = 10": 'service.ttl: must be a string such as "10s"',
    '[service]\ntags = "a"': "service.tags: must be a list of tags, in square brackets",
    "[service]\ntags = [1]": "service.tags: must be a string",
    '[service]\nmeta = "a"': 'service.meta: must be a table such as { team = "shop" }',
    '[sentinel]\nhosts = "a:1"': "sentinel.hosts: must be a list of addresses, in square brackets",
    '[log]\nlevel = "in\\nfo"': "log.level: holds a line break or a control character",
    # Durations
    '[service]\nttl = "10"': 'service.ttl: \'10\' is not a duration such as "250ms", "10s" or "1m30s"',
    '[service]\nttl = "-5s"': 'service.ttl: \'-5s\' is not a duration such as "250ms", "10s" or "1m30s"',
    '[service]\nttl = ""': 'service.ttl: \'\' is not a duration such as "250ms", "10s" or "1m30s"',
    '[service]\nttl = "0s"': "service.ttl: 0s is not between 1s and 10m",
    '[service]\nttl = "11m"': "service.ttl: 11m is not between 1s and 10m",
    '[consul]\ntimeout = "10ms"': "consul.timeout: 10ms is not between 50ms and 1m",
    '[replica]\nmax_lag = "500ms"': "replica.max_lag: 500ms is not between 1s and 24h",
    '[[redis]]\ntimeout = "2m"': "redis.timeout: 2m is not between 10ms and 1m",
    '[[redis]]\npatience = "2m"': "redis.patience: 2m is not between 0s and 1m",
    '[consul]\ntimeout = "10s"': "consul.timeout: consul.timeout (10s) must be shorter than service.ttl (10s)",
    '[[redis]]\ntimeout = "5s"': "redis.timeout: redis.timeout (5s) must be shorter than half of service.ttl (5s)",
    '[consul]\ntimeout = "1s"\n[service]\nttl = "2s"': (
        "service.ttl: redis.timeout (1s) must be shorter than half of service.ttl (1s)"
    ),
    # Names
    '[service]\nname = ""': "service.name: must not be empty",
    '[service]\nname = "my_redis"': f"service.name: 'my_redis' {NOT_DNS}",
    '[service]\nname = "redis."': f"service.name: 'redis.' {NOT_DNS}",
    '[service]\nname = "-redis"': f"service.name: '-redis' {NOT_DNS}",
    '[service]\nname = "rédis"': f"service.name: 'rédis' {NOT_DNS}",
    f'[service]\nname = "{"r" * 64}"': f"service.name: '{'r' * 64}' {NOT_DNS}",
    '[replica]\nname = "a b"': f"replica.name: 'a b' {NOT_DNS}",
    '[[redis]]\nservice = ""': "redis.service: must not be empty",
    '[[redis]]\nreplica = "a.b"': f"redis.replica: 'a.b' {NOT_DNS}",
    '[[redis]]\nmaster_name = "my master"': (
        "redis.master_name: 'my master' is no name for Sentinel: letters, digits, dot, dash and underscore"
    ),
    '[[redis]]\nusername = "a b"': "redis.username: holds a space",
    '[replica]\nname = "Redis"': (
        "replica.name: masters and replicas would share the name 'Redis'; service.mode \"services\" needs two"
    ),
    '[service]\nname = "redis-replica"': (
        "service.name: masters and replicas would share the name 'redis-replica'; service.mode \"services\" needs two"
    ),
    '[[redis]]\nreplica = "redis"': (
        "redis.replica: masters and replicas would share the name 'redis'; service.mode \"services\" needs two"
    ),
    '[[redis]]\nservice = "redis-replica"': (
        "redis.service: masters and replicas would share the name 'redis-replica'; service.mode \"services\" needs two"
    ),
    '[[redis]]\nurl = "redis://a"\nservice = "one"\n[[redis]]\nurl = "redis://b"\nreplica = "one"': (
        "redis.replica of node 2: masters and replicas would share the name 'one'; service.mode \"services\" needs two"
    ),
    # Choices
    '[service]\nmode = "tag"': "service.mode: 'tag' is none of services, check, tags",
    '[service]\non_stop = ""': "service.on_stop: '' is none of keep, deregister",
    '[sentinel]\nmode = "on"': "sentinel.mode: 'on' is none of auto, required, off",
    '[log]\nlevel = "trace"': "log.level: 'trace' is none of debug, info, warning, error",
    '[log]\nformat = "xml"': "log.format: 'xml' is none of auto, text, json",
    '[sentinel]\nmode = "off"\nhosts = ["a:1"]': 'sentinel.hosts: named, but sentinel.mode is "off"',
    # Tags and metadata
    '[service]\ntags = [""]': "service.tags: holds an empty tag",
    '[service]\ntags = ["a", "b", "a"]': "service.tags: 'a' is named twice",
    '[service]\ntags = ["Master"]': (
        "service.tags: 'Master' is set by the agent itself, on the node that has that role"
    ),
    f"[service]\nmeta = {pairs(49)}": (
        "service.meta: holds 49 pairs, 48 at most: Consul takes 64, and the agent needs some itself"
    ),
    '[service]\nmeta = { "a.b" = "" }': "service.meta: key 'a.b' must be letters, digits, - and _, 128 at most",
    f'[service]\nmeta = {{ {"k" * 129} = "" }}': (
        f"service.meta: key '{'k' * 80}...' must be letters, digits, - and _, 128 at most"
    ),
    '[service]\nmeta = { redis-epoch = "" }': (
        "service.meta: key 'redis-epoch' is reserved: none may begin with consul-, consul_redis_agent, redis-"
    ),
    '[service]\nmeta = { consul-x = "" }': (
        "service.meta: key 'consul-x' is reserved: none may begin with consul-, consul_redis_agent, redis-"
    ),
    "[service]\nmeta = { a = 1 }": "service.meta: the value of 'a' must be a string",
    f'[service]\nmeta = {{ a = "{"é" * 257}" }}': "service.meta: the value of 'a' is longer than 512 bytes",
    # Addresses
    '[consul]\ndns = "localhost"': "consul.dns: 'localhost' is not host:port",
    '[consul]\ndns = "localhost:0"': "consul.dns: 'localhost:0' needs a port from 1 to 65535",
    '[consul]\ndns = "::1:53"': "consul.dns: '::1:53' needs brackets around the IPv6 address",
    '[consul]\ndns = "300.0.0.1:53"': "consul.dns: '300.0.0.1' is neither a host name nor an IP address",
    # A node that comes back meanwhile would take writes to lose
    '[failover]\non_death = "ask"': (
        'failover.on_death: "ask" needs fence.mode = "on": the old master would take writes that are lost'
    ),
    '[fence]\nmode = "off"\n[failover]\non_empty = "ask"': (
        'failover.on_empty: "ask" needs fence.mode = "on": the old master would take writes that are lost'
    ),
    # Without Sentinel there is neither proof nor anybody to ask
    '[sentinel]\nmode = "off"\n[fence]\nmode = "on"': (
        'fence.mode: "on" needs Sentinel, which alone proves who the master is; sentinel.mode is "off"'
    ),
    # Only a replica that is published is promoted
    '[replica]\nname = ""\n[fence]\nmode = "on"\n[failover]\non_death = "ask"': (
        'replica.name: "" publishes no replicas; failover.on_death = "ask" needs one that is published'
    ),
    '[fence]\nmode = "on"\n[failover]\non_empty = "ask"\n[[redis]]\nurl = "redis://a"\n'
    '[[redis]]\nurl = "redis://b"\nreplica = ""': (
        'redis.replica of node 2: "" publishes no replicas; failover.on_empty = "ask" needs one that is published'
    ),
    '[http]\nlisten = "a b:80"': "http.listen: 'a b' is neither a host name nor an IP address",
    '[sentinel]\nhosts = ["a:1", "a:1"]': "sentinel.hosts: 'a:1' is named twice",
    f'[sentinel]\nhosts = ["u:{PASSWORD}@a:1"]': "sentinel.hosts: holds a login; only host:port belongs here",
    '[[redis]]\nannounce = "0.0.0.0:6379"': "redis.announce: 0.0.0.0 is no address that others can reach",
    '[[redis]]\nannounce = "[::]:6379"': "redis.announce: :: is no address that others can reach",
    '[[redis]]\nurl = "redis://a"\nannounce = "h:1"\n[[redis]]\nurl = "redis://b"\nannounce = "h:1"': (
        "redis.announce of node 2: is the same as that of node 1"
    ),
    # URLs
    '[consul]\nurl = "ftp://h"': f"consul.url: {NO_CONSUL_URL}",
    '[consul]\nurl = "localhost"': f"consul.url: {NO_CONSUL_URL}",
    '[consul]\nurl = "http://"': f"consul.url: {NO_CONSUL_URL}",
    '[consul]\nurl = "http://h/v1"': f"consul.url: {NO_CONSUL_URL}",
    '[consul]\nurl = "http://::1:8500"': f"consul.url: {NO_CONSUL_URL}",
    '[consul]\nurl = "unix://consul.sock"': "consul.url: a unix socket needs three slashes and its path: unix:///path",
    f'[consul]\nurl = "unix:///{"x" * 107}"': "consul.url: the path of a unix socket has 107 bytes at most",
    f'[consul]\nurl = "http://u:{PASSWORD}@h:8500"': f"consul.url: {CONSUL_LOGIN}",
    f'[consul]\nurl = "http://h:8500?token={PASSWORD}"': f"consul.url: {CONSUL_LOGIN}",
    '[[redis]]\nurl = ""': f"redis.url: {NO_REDIS_URL}",
    '[[redis]]\nurl = "localhost:6379"': f"redis.url: {NO_REDIS_URL}",
    '[[redis]]\nurl = "redis://h/3"': f"redis.url: {OTHER_DATABASE}",
    '[[redis]]\nurl = "redis://h:99999"': f"redis.url: {NO_REDIS_URL}",
    f'[[redis]]\nurl = "redis://:{PASSWORD}"': f"redis.url: {NO_REDIS_URL}",
    f'[[redis]]\nurl = "redis://:{PASSWORD}@h"': f"redis.url: {REDIS_LOGIN}",
    f'[[redis]]\nurl = "redis://app:{PASSWORD}@h"': f"redis.url: {REDIS_LOGIN}",
    f'[[redis]]\nurl = "redis://:{PASSWORD}/x@h"': f"redis.url: {REDIS_LOGIN}",
    f'[[redis]]\nurl = "valkeys://:{PASSWORD}@h"': f"redis.url: {REDIS_LOGIN}",
    f'[[redis]]\nurl = "unix://:{PASSWORD}@/r.sock"': f"redis.url: {REDIS_LOGIN}",
    '[[redis]]\nurl = "unix:///r.sock?db=1"': f"redis.url: {REDIS_LOGIN}",
    '[[redis]]\nurl = "redis://a%20b@h"': "redis.url: holds a space",
    '[[redis]]\nurl = "redis://app@h"\nusername = "other"': (
        "redis.username: is another than the user in redis.url; write it once"
    ),
    '[[redis]]\nurl = "valkey://h/15"': f"redis.url: {OTHER_DATABASE}",
    '[[redis]]\nurl = "redis://h/0/0"': f"redis.url: {NO_REDIS_URL}",
    '[[redis]]\nurl = "redis://h/x"': f"redis.url: {NO_REDIS_URL}",
    '[[redis]]\nurl = "valkey+tls://h"': f"redis.url: {NO_REDIS_URL}",
    f'[[redis]]\nurl = "rediss://:{PASSWORD}@h"': f"redis.url: {REDIS_LOGIN}",
    f'[[redis]]\nurl = "redis://h?password={PASSWORD}"': f"redis.url: {REDIS_LOGIN}",
    '[[redis]]\nurl = "redis://H"\n[[redis]]\nurl = "redis://h:6379/"': (
        "redis.url of node 2: is the same as that of node 1"
    ),
    # Files of secrets
    '[consul]\ntoken_file = "token"': f"consul.token_file: {NO_SECRET_PATH}",
    f'[[redis]]\npassword_file = "{PASSWORD}"': f"redis.password_file: {NO_SECRET_PATH}",
    f'[sentinel]\npassword_file = "{PASSWORD}"': f"sentinel.password_file: {NO_SECRET_PATH}",
    '[[redis]]\nurl = "redis://a"\n[[redis]]\nurl = "valkey://u@A:6379/0"': (
        "redis.url of node 2: is the same as that of node 1"
    ),
    # TLS: certificates that would count for nothing, though somebody believes in them
    '[consul]\nca_file = "/x"': f"consul.ca_file: {HTTP}",
    '[consul]\ncert_file = "/x"': f"consul.cert_file: {HTTP}",
    '[consul]\nserver_name = "h"': f"consul.server_name: {HTTP}",
    '[consul]\nurl = "unix:///c.sock"\nca_file = "/x"': f"consul.ca_file: {HTTP.replace('http:', 'unix:')}",
    '[sentinel]\nca_file = "/x"': f"sentinel.ca_file: {NO_SENTINEL_TLS}",
    '[sentinel]\ncert_file = "/x"': f"sentinel.cert_file: {NO_SENTINEL_TLS}",
    '[sentinel]\nserver_name = "h"': f"sentinel.server_name: {NO_SENTINEL_TLS}",
    '[[redis]]\nca_file = "/x"': f"redis.ca_file: {REDIS}",
    '[[redis]]\ncert_file = "/x"': f"redis.cert_file: {REDIS}",
    '[[redis]]\nserver_name = "h"': f"redis.server_name: {REDIS}",
    '[[redis]]\nurl = "rediss://a"\nca_file = "/x"\n[[redis]]\nurl = "unix:///b"\nca_file = "/x"': (
        f"redis.ca_file of node 2: {REDIS.replace('url says redis:', 'url of node 2 says unix:')}"
    ),
    '[consul]\nurl = "https://h"\nkey_file = "/x"': f"consul.key_file: {NO_CERT}",
    '[sentinel]\ntls = true\nkey_file = "/x"': f"sentinel.key_file: {NO_CERT}",
    '[[redis]]\nurl = "valkeys://h"\nkey_file = "/x"': f"redis.key_file: {NO_CERT}",
    '[consul]\nurl = "https://h"\nca_file = "ca.pem"': f"consul.ca_file: {NO_PATH}",
    f'[[redis]]\nurl = "rediss://h"\nkey_file = "{PASSWORD}"\ncert_file = "/x"': f"redis.key_file: {NO_PATH}",
    '[sentinel]\ntls = true\nserver_name = "a b"': (
        "sentinel.server_name: 'a b' is neither a host name nor an IP address"
    ),
    '[sentinel]\ntls = "yes"': "sentinel.tls: must be true or false",
    "[sentinel]\ntls = 1": "sentinel.tls: must be true or false",
    # Consul's names
    '[consul]\ndomain = "a b"': "consul.domain: 'a b' is no domain for DNS, such as consul or dc.example.org",
    '[consul]\ndomain = "."': "consul.domain: '' is no domain for DNS, such as consul or dc.example.org",
    '[consul]\nnamespace = "a/b"': f"consul.namespace: 'a/b' {NO_TENANCY}",
    '[consul]\npartition = "a_b"': f"consul.partition: 'a_b' {NO_TENANCY}",
}

BAD_ENVIRONMENTS = {
    ("CONSUL_HTTP_ADDR", "localhost"): NO_CONSUL_URL,
    ("CONSUL_HTTP_ADDR", "::1:8500"): NO_CONSUL_URL,
    ("CONSUL_HTTP_ADDR", "http://proxy/consul"): NO_CONSUL_URL,
    ("CONSUL_HTTP_ADDR", "tcp://h:8500"): NO_CONSUL_URL,
    ("CONSUL_HTTP_ADDR", f"http://u:{PASSWORD}@h"): CONSUL_LOGIN,
    ("CONSUL_HTTP_ADDR", f"u:{PASSWORD}@h:8500"): CONSUL_LOGIN,
    ("CONSUL_HTTP_TOKEN", f"{PASSWORD}\n"): "holds a line break or a control character",
    ("CONSUL_HTTP_TOKEN_FILE", PASSWORD): NO_SECRET_PATH,
    ("CONSUL_CACERT", "/x"): HTTP,
    ("CONSUL_CACERT", "x"): NO_PATH,
    ("CONSUL_CAPATH", "/x"): HTTP,
    ("CONSUL_CLIENT_CERT", "/x"): HTTP,
    ("CONSUL_TLS_SERVER_NAME", "h"): HTTP,
    ("CONSUL_HTTP_SSL_VERIFY", "false"): HTTP,
    ("CONSUL_HTTP_SSL_VERIFY", "no"): "must be true or false",
    ("CONSUL_HTTP_SSL", "yes"): "must be true or false",
    ("CONSUL_HTTP_AUTH", f":{PASSWORD}"): "must be user or user:password",
    ("CONSUL_NAMESPACE", "a/b"): f"'a/b' {NO_TENANCY}",
    ("CONSUL_PARTITION", "-"): f"'-' {NO_TENANCY}",
    ("VALKEYCLI_AUTH", PASSWORD): (
        "valkey-cli reads it, this agent does not: set REDISCLI_AUTH, or CRA_REDIS_PASSWORD for one node"
    ),
    ("REDISCLI_AUTH", f"{PASSWORD}\x00"): "holds a line break or a control character",
    ("CRA_REDIS_PASSWORD", f"{PASSWORD}\n"): "holds a line break or a control character",
    ("CRA_SERVICE_TTLL", "5s"): "unknown name; did you mean CRA_SERVICE_TTL?",
    ("CRA_service_ttl", "5s"): "unknown name; did you mean CRA_SERVICE_TTL?",
    ("CRA_SERVICE_TTLL", ""): "unknown name; did you mean CRA_SERVICE_TTL?",
    ("CRA_CONSUL_SSL", "true"): "unknown name; did you mean CRA_CONSUL_URL?",
    ("CRA_X", PASSWORD): "unknown name; that of a key is CRA_TABLE_KEY, such as CRA_SERVICE_NAME",
    ("CRA_A\nB", PASSWORD): "unknown name; that of a key is CRA_TABLE_KEY, such as CRA_SERVICE_NAME",
    ("CRA_SERVICE_TTL", "5"): '\'5\' is not a duration such as "250ms", "10s" or "1m30s"',
    ("CRA_SERVICE_TAGS", "a, b,a"): "'a' is named twice",
    ("CRA_SERVICE_META", "team"): (
        "'team' is not key=value; with a comma inside a value it has to be written in the file"
    ),
    ("CRA_SERVICE_META", "a=1,a=2"): "'a' is named twice",
    ("CRA_SENTINEL_EARLY", "no"): "must be true or false",
    ("CRA_SENTINEL_HOSTS", "a:1,b"): "'b' is not host:port",
    ("CRA_SENTINEL_CA_FILE", "/x"): NO_SENTINEL_TLS,
    ("CRA_REDIS_URL", f"redis://:{PASSWORD}@h"): REDIS_LOGIN,
    ("CRA_REDIS_KEY_FILE", PASSWORD): NO_PATH,
}


@pytest.mark.parametrize(("text", "message"), BAD_FILES.items(), ids=BAD_FILES.values())
def test_a_bad_file_is_refused_with_its_exact_words(tmp_path: Path, text: str, message: str) -> None:
    """Every rule names file, key and reason, and repeats no password."""
    assert problems(tmp_path, text) == [f"a.toml: {message}"]
    assert PASSWORD not in message


@pytest.mark.parametrize(("given_", "message"), BAD_ENVIRONMENTS.items(), ids=str)
def test_a_bad_environment_is_refused_by_name(tmp_path: Path, given_: tuple[str, str], message: str) -> None:
    """A mistake in the environment says which name it has, and not what it holds."""
    name, value = given_
    shown = name if name.isprintable() else repr(name)
    assert problems(tmp_path, "", {name: value}) == [f"environment: {shown}: {message}"]
    assert PASSWORD not in message


def test_a_bad_flag_is_refused_by_name(tmp_path: Path) -> None:
    """A mistake on the command line says which flag it is."""
    assert problems(tmp_path, "", service_ttl="1ms") == ["command line: --service-ttl: 1ms is not between 1s and 10m"]


def test_a_bad_file_says_why_it_was_not_read(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are no text are told apart."""
    (tmp_path / "bytes").write_bytes(b"\xff")
    for name, reason in {
        "none": "cannot be read: No such file or directory",
        "": "is a folder, no regular file, and is not read: put what it should hold into a file",
        "bytes": "is not UTF-8 text",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / name, {}, {})
        assert caught.value.problems == (f"{tmp_path / name}: {reason}",)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    """One run is enough to learn all that is wrong: in the file, the environment, the flags, and between them."""
    text = """
        [consul]
        timeout = "20s"
        [service]
        nam = "x"
        mode = "tag"
        [sentinel]
        mode = "off"
        hosts = ["a:1"]
        [[redis]]
        url = "redis://a"
        [[redis]]
        url = "redis://a"
        timeout = "soon"
    """
    env = {"CONSUL_CACERT": "x", "CRA_X": "", "CRA_REDIS_URL": "redis://h"}
    assert problems(tmp_path, text, env, log_level="loud", redis_timeout="1s") == [
        "environment: CRA_X: unknown name; that of a key is CRA_TABLE_KEY, such as CRA_SERVICE_NAME",
        "environment: CONSUL_CACERT: must be an absolute path",
        "a.toml: service.nam: unknown key; did you mean service.name?",
        "a.toml: service.mode: 'tag' is none of services, check, tags",
        "command line: --log-level: 'loud' is none of debug, info, warning, error",
        "environment: CRA_REDIS_URL: the file has 2 [[redis]] nodes; write it there",
        "command line: --redis-timeout: the file has 2 [[redis]] nodes; write it there",
        'a.toml: redis.timeout of node 2: \'soon\' is not a duration such as "250ms", "10s" or "1m30s"',
        "a.toml: consul.timeout: consul.timeout (20s) must be shorter than service.ttl (10s)",
        'a.toml: sentinel.hosts: named, but sentinel.mode is "off"',
        "a.toml: redis.url of node 2: is the same as that of node 1",
    ]


def test_a_failover_that_nobody_could_be_asked_for_is_refused_with_all_its_reasons(tmp_path: Path) -> None:
    """Without Sentinel, without the fence, with no replica published: each is named, where it is written."""
    text = """
        [service]
        mode = "services"
        [replica]
        name = ""
        [sentinel]
        mode = "off"
        [fence]
        mode = "watch"
        [failover]
        on_death = "ask"
        on_empty = "ask"
    """
    lost = "the old master would take writes that are lost"
    assert problems(tmp_path, text) == [
        'a.toml: failover.on_death: "ask" needs a Sentinel that can be asked; sentinel.mode is "off"',
        f'a.toml: failover.on_death: "ask" needs fence.mode = "on": {lost}',
        'a.toml: replica.name: "" publishes no replicas; failover.on_death = "ask" needs one that is published',
        'a.toml: failover.on_empty: "ask" needs a Sentinel that can be asked; sentinel.mode is "off"',
        f'a.toml: failover.on_empty: "ask" needs fence.mode = "on": {lost}',
        'a.toml: replica.name: "" publishes no replicas; failover.on_empty = "ask" needs one that is published',
    ]


@pytest.mark.parametrize("mode", ["check", "tags"])
def test_a_failover_needs_no_name_of_replicas_where_the_mode_has_none(tmp_path: Path, mode: str) -> None:
    """There each replica is registered under the master's name."""
    text = f'[service]\nmode = "{mode}"\n[replica]\nname = ""\n[fence]\nmode = "on"\n[failover]\non_death = "ask"'
    assert read(tmp_path, text).failover.on_death == "ask"


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(tmp_path: Path) -> None:
    """The nearer to the person who starts it, the more it counts."""
    file, env = '[consul]\nurl = "http://file:1"', {"CONSUL_HTTP_ADDR": "env:2"}
    assert DEFAULTS.consul.url == "http://127.0.0.1:8500"
    assert read(tmp_path, file).consul.url == "http://file:1"
    assert read(tmp_path, file, env).consul.url == "http://env:2"
    assert read(tmp_path, file, env, consul_url="http://flag:3").consul.url == "http://flag:3"


def test_what_is_beaten_is_checked_all_the_same(tmp_path: Path) -> None:
    """A mistake does not wait for the day when the flag goes away."""
    assert problems(tmp_path, '[log]\nlevel = "loud"', log_level="info") == [
        "a.toml: log.level: 'loud' is none of debug, info, warning, error"
    ]


@pytest.mark.parametrize(
    ("written", "url"),
    {
        "127.0.0.1:8500": "http://127.0.0.1:8500",
        "http://consul.internal:8500/": "http://consul.internal:8500",
        "HTTP://Consul": "http://consul:80",
        "[::1]:8500": "http://[::1]:8500",
        "http://[::1]": "http://[::1]:80",
        "https://Consul": "https://consul:443",
        "https://[::1]:8501/": "https://[::1]:8501",
        "unix:///run/Consul.sock": "unix:///run/Consul.sock",
        "unix:///run/consul@1/http.sock": "unix:///run/consul@1/http.sock",
    }.items(),
)
def test_consul_is_addressed_as_its_own_tools_do(written: str, url: str) -> None:
    """CONSUL_HTTP_ADDR takes each form that Consul's own tools take, IPv6 and unix sockets included."""
    assert load(None, {"CONSUL_HTTP_ADDR": written}, {}).consul.url == url


@pytest.mark.parametrize(
    ("written", "url"),
    {
        "h:8501": "https://h:8501",
        "http://h:8501": "https://h:8501",
        "http://h": "https://h:443",
        "https://h:8501": "https://h:8501",
        "": "https://127.0.0.1:8500",
    }.items(),
)
@pytest.mark.parametrize("yes", ["1", "t", "T", "true", "TRUE", "True"])
def test_consul_http_ssl_asks_for_tls_whatever_the_address_says(written: str, url: str, yes: str) -> None:
    """As in Consul's own tools: who has asked for TLS is never led back to clear text, from wherever the address is."""
    assert load(None, {"CONSUL_HTTP_ADDR": written, "CONSUL_HTTP_SSL": yes}, {}).consul.url == url
    if written:
        config = load(None, {"CONSUL_HTTP_SSL": yes}, {"consul.url": written})
        assert (config.consul.url, config.consul.tls) == (url, TlsConfig())


def test_consul_http_ssl_is_refused_for_a_unix_socket(tmp_path: Path) -> None:
    """There is no TLS on it, and it was asked for."""
    env = {"CONSUL_HTTP_SSL": "true", "CONSUL_HTTP_ADDR": "unix:///c.sock"}
    assert problems(tmp_path, "", env) == [
        (
            "environment: CONSUL_HTTP_SSL: is true, but CONSUL_HTTP_ADDR says unix://, which is clear text; "
            "write https:// there, or take this out"
        )
    ]


def test_an_address_in_clear_text_that_beats_one_with_tls_is_refused(tmp_path: Path) -> None:
    """Both places are named: whoever wrote the authority believes that it counts."""
    file = '[consul]\nurl = "https://h:8501"\nca_file = "/ca"\ncert_file = "/cert"\nkey_file = "/key"'
    said = "is set, but CONSUL_HTTP_ADDR says http://, which is clear text; write https:// there, or take this out"
    assert problems(tmp_path, file, {"CONSUL_HTTP_ADDR": "127.0.0.1:8500"}) == [
        f"a.toml: consul.{name}: {said}" for name in ("ca_file", "cert_file", "key_file")
    ]


def test_the_names_of_consuls_own_tools_are_honoured() -> None:
    """All of them, over https."""
    env = {
        "CONSUL_HTTP_ADDR": "https://h:8501",
        "CONSUL_HTTP_AUTH": "user:pass:word",
        "CONSUL_HTTP_SSL": "false",
        "CONSUL_HTTP_SSL_VERIFY": "F",
        "CONSUL_CAPATH": "/authorities",
        "CONSUL_CLIENT_CERT": "/cert",
        "CONSUL_CLIENT_KEY": "/key",
        "CONSUL_TLS_SERVER_NAME": "server.dc1.consul",
        "CONSUL_NAMESPACE": "team",
        "CONSUL_PARTITION": "part",
    }
    tls = TlsConfig(None, Path("/authorities"), Path("/cert"), Path("/key"), "server.dc1.consul", verify=False)
    consul = load(None, env, {}).consul
    assert consul == dataclasses.replace(
        DEFAULTS.consul,
        url="https://h:8501",
        auth=Secret("user:pass:word"),
        tls=tls,
        namespace="team",
        partition="part",
    )
    consul = load(None, env | {"CONSUL_CACERT": "/ca", "CONSUL_HTTP_AUTH": "user"}, {}).consul
    assert consul.auth == Secret("user:")
    assert consul.tls == dataclasses.replace(tls, ca_file=Path("/ca"), ca_path=None)  # as in Consul's own tools


def test_an_own_name_beats_that_of_the_tools() -> None:
    """Whoever writes CRA_… means the agent; what it beats is checked all the same."""
    env = {"CONSUL_HTTP_ADDR": "tools:1", "CRA_CONSUL_URL": "http://own:2"}
    assert load(None, env, {}).consul.url == "http://own:2"
    assert load(None, env, {"consul.url": "http://flag:3"}).consul.url == "http://flag:3"
    env = {"CONSUL_HTTP_TOKEN_FILE": "/tools", "CRA_CONSUL_TOKEN": PASSWORD}
    config = load(None, env, {})
    assert (config.consul.token, config.consul.token_file) == (Secret(PASSWORD), None)
    with pytest.raises(ConfigError) as caught:
        load(None, {"CONSUL_HTTP_ADDR": "tools", "CRA_CONSUL_URL": "http://own:2"}, {})
    assert caught.value.problems == (f"environment: CONSUL_HTTP_ADDR: {NO_CONSUL_URL}",)
    env = {"CONSUL_CAPATH": "/tools", "CRA_CONSUL_CA_FILE": "/own", "CRA_CONSUL_URL": "https://h"}
    assert load(None, env, {}).consul.tls == TlsConfig(ca_file=Path("/own"))


def test_a_folder_of_authorities_in_the_environment_beats_a_file_of_the_configuration(tmp_path: Path) -> None:
    """As every other value there does."""
    file = '[consul]\nurl = "https://h"\nca_file = "/file"'
    assert read(tmp_path, file, {"CONSUL_CAPATH": "/env"}).consul.tls == TlsConfig(ca_path=Path("/env"))


def test_an_empty_environment_name_is_not_set() -> None:
    """As in Consul's own tools; and CONSUL_HTTP_SSL=false asks for nothing that is missing."""
    names = {
        name for key in KEYS for name in (key.env, key.tools) if name and not (key.empty_counts and name == key.env)
    }
    empty = dict.fromkeys([*names, *REFUSED], "")
    no = {"CONSUL_HTTP_SSL": "false", "CONSUL_HTTP_SSL_VERIFY": "true"}
    assert load(None, empty, {}) == load(None, no, {}) == DEFAULTS


def test_an_empty_name_publishes_no_replicas() -> None:
    """The one thing that "" says in the environment, as it does in the file and as a flag."""
    assert load(None, {"CRA_REPLICA_NAME": ""}, {}).replica.name == ""
    assert load(None, {"CRA_REDIS_REPLICA": ""}, {}).redis[0].replica == ""


NOT_THE_DEFAULT: dict[str, tuple[str, object]] = {
    "consul.url": ("https://h:1", "https://h:1"),
    "consul.token_file": ("/t", Path("/t")),
    "consul.token": ("word", Secret("word")),
    "consul.timeout": ("1s", 1.0),
    "consul.dns": ("[::1]:53", Address("::1", 53)),
    "consul.domain": ("DC.example.", "dc.example"),
    "consul.namespace": ("team", "team"),
    "consul.partition": ("part", "part"),
    "service.name": ("cache", "cache"),
    "service.mode": ("tags", "tags"),
    "service.ttl": ("30s", 30.0),
    "service.tags": ("a, b,", ("a", "b")),
    "service.meta": ("team=shop, url=x=y,empty=", (("empty", ""), ("team", "shop"), ("url", "x=y"))),
    "service.on_stop": ("deregister", "deregister"),
    "replica.name": ("copies", "copies"),
    "replica.max_lag": ("1m", 60.0),
    "sentinel.mode": ("required", "required"),
    "sentinel.early": ("0", False),
    "sentinel.hosts": ("a:1,[::1]:2", (Address("a", 1), Address("::1", 2))),
    "sentinel.username": ("u", "u"),
    "sentinel.password_file": ("/p", Path("/p")),
    "sentinel.password": ("word", Secret("word")),
    "sentinel.tls": ("true", TlsConfig()),
    "redis.url": ("valkeys://h", "rediss://h:6379"),
    "redis.username": ("u", "u"),
    "redis.password_file": ("/p", Path("/p")),
    "redis.password": ("word", Secret("word")),
    "redis.master_name": ("m", "m"),
    "redis.announce": ("h:1", Address("h", 1)),
    "redis.service": ("cache", "cache"),
    "redis.replica": ("copies", "copies"),
    "redis.timeout": ("250ms", 0.25),
    "redis.patience": ("0s", 0.0),
    "fence.mode": ("on", "on"),
    "failover.on_death": ("ask", "ask"),
    "failover.on_empty": ("ask", "ask"),
    "failover.delay": ("2s", 2.0),
    "http.listen": ("h:1", Address("h", 1)),
    "log.level": ("debug", "debug"),
    "log.format": ("json", "json"),
} | {
    f"{table}.{name}": (text, value)
    for table in ("consul", "sentinel", "redis")
    for name, text, value in (
        ("ca_file", "/ca", Path("/ca")),
        ("cert_file", "/cert", Path("/cert")),
        ("key_file", "/key", Path("/key")),
        ("server_name", "name", "name"),
    )
}
NEEDED = {"failover.on_death": {"CRA_FENCE_MODE": "on"}, "failover.on_empty": {"CRA_FENCE_MODE": "on"}} | {
    f"{table}.{name}": tls | ({f"CRA_{table.upper()}_CERT_FILE": "/cert"} if name == "key_file" else {})
    for table, tls in {
        "consul": {"CRA_CONSUL_URL": "https://h"},
        "sentinel": {"CRA_SENTINEL_TLS": "true"},
        "redis": {"CRA_REDIS_URL": "rediss://h"},
    }.items()
    for name in ("ca_file", "cert_file", "key_file", "server_name")
}


@pytest.mark.parametrize("key", [key for key in KEYS if key.has_own], ids=lambda key: key.env)
def test_every_key_can_be_set_in_the_environment(key: Key) -> None:
    """CRA_TABLE_KEY, as a text; it arrives as if it stood in the file, and is no mistake."""
    text, value = NOT_THE_DEFAULT[key.dotted]

    def arrived(config: Config) -> object:
        table = getattr(config, key.table)
        table = table[0] if key.table == "redis" else table
        if key.name in ("ca_file", "cert_file", "key_file", "server_name"):
            table = table.tls
        return getattr(table, key.name)

    assert key.env == f"CRA_{key.table}_{key.name}".upper()
    needed = NEEDED.get(key.dotted, {})
    assert arrived(load(None, needed | {key.env: text}, {})) == value != arrived(load(None, needed, {}))


def test_every_key_of_the_file_has_a_name_in_the_environment() -> None:
    """And of what the environment alone says only secrets have one: the rest are names of Consul's own tools."""
    assert {key.dotted for key in KEYS if key.in_file} <= {key.dotted for key in KEYS if key.has_own}
    assert {key.env for key in KEYS if key.has_own and not key.in_file} == {
        "CRA_CONSUL_TOKEN",
        "CRA_SENTINEL_PASSWORD",
        "CRA_REDIS_PASSWORD",
    }


@pytest.mark.parametrize("key", [key for key in KEYS if key.has_own and key.table == "redis"], ids=lambda key: key.env)
def test_one_text_is_not_for_one_node_of_several(tmp_path: Path, key: Key) -> None:
    """It names no node; REDISCLI_AUTH is the one that is for all of them."""
    text = '[[redis]]\nurl = "redis://a"\n[[redis]]\nurl = "redis://b"'
    there = "write it there" if key.in_file else "write password_file there, or set REDISCLI_AUTH for all"
    assert problems(tmp_path, text, {key.env: NOT_THE_DEFAULT[key.dotted][0]}) == [
        f"environment: {key.env}: the file has 2 [[redis]] nodes; {there}"
    ]


def test_one_text_is_for_the_one_node_of_the_file(tmp_path: Path) -> None:
    """There is no doubt which one is meant."""
    (node,) = read(tmp_path, '[[redis]]\nurl = "redis://a"', {"CRA_REDIS_URL": "redis://b"}).redis
    assert node.host == "b"


def test_a_certificate_may_hold_its_key(tmp_path: Path) -> None:
    """One file is enough; and none of them has to be there yet."""
    text = '[consul]\nurl = "https://h"\ncert_file = "/not/there"\n[sentinel]\ntls = true\ncert_file = "/not/there"'
    config = read(tmp_path, text + '\n[[redis]]\nurl = "rediss://h"\ncert_file = "/not/there"')
    tls = TlsConfig(cert_file=Path("/not/there"))
    assert (config.consul.tls, config.sentinel.tls, config.redis[0].tls) == (tls, tls, tls)


def test_the_token_has_one_source(tmp_path: Path) -> None:
    """Flag, environment, file in this order; where token and file come together, the file, as in Consul's own tools."""
    file, env = '[consul]\ntoken_file = "/file"', {"CONSUL_HTTP_TOKEN": PASSWORD}
    both = {**env, "CONSUL_HTTP_TOKEN_FILE": "/env"}

    def token(config: Config) -> tuple[Secret | None, Path | None]:
        return config.consul.token, config.consul.token_file

    assert token(DEFAULTS) == (None, None)
    assert token(read(tmp_path, file)) == (None, Path("/file"))
    assert token(read(tmp_path, file, env)) == (Secret(PASSWORD), None)
    assert token(read(tmp_path, file, both)) == (None, Path("/env"))
    assert token(read(tmp_path, file, both, consul_token_file="/flag")) == (None, Path("/flag"))


def test_rediscli_auth_is_the_password_of_every_node(tmp_path: Path) -> None:
    """The environment beats the file, here too; a flag beats both."""
    file = '[[redis]]\nurl = "redis://a"\npassword_file = "/a"\n[[redis]]\nurl = "redis://b"'
    a, b = read(tmp_path, file).redis
    assert (a.password, a.password_file, b.password, b.password_file) == (None, Path("/a"), None, None)
    for node in read(tmp_path, file, {"REDISCLI_AUTH": PASSWORD}).redis:
        assert (node.password, node.password_file) == (Secret(PASSWORD), None)
    (node,) = read(tmp_path, "", {"REDISCLI_AUTH": PASSWORD}, redis_password_file="/flag").redis
    assert (node.password, node.password_file) == (None, Path("/flag"))


@pytest.mark.parametrize(
    "url",
    ["redis://H:6379/0", "rediss://h", "valkey://h:6379", "valkeys://u@h/0"],
    ids=lambda url: url.partition(":")[0],
)
def test_the_entries_of_a_node_stay_its_own_however_its_url_is_written(url: str) -> None:
    """TLS that is turned on, or a user in the URL, makes no stranger of the entry that is there."""
    config = load(None, {}, {"redis.url": url})
    named = naming(config, config.redis[0], "10.0.0.1")
    assert (named.node, named.master_id) == ("redis://h:6379 on 10.0.0.1", "redis-h-6379")


@pytest.mark.parametrize(
    ("flags", "same"),
    [
        ({"consul.timeout": "1s", "consul.token_file": "/t"}, True),
        ({"consul.namespace": "n"}, False),
        ({"consul.partition": "p"}, False),
    ],
)
def test_entries_are_others_in_another_namespace_or_partition(flags: dict[str, object], same: bool) -> None:
    """A reload that changes where they are takes them out of where they were."""
    assert (load(None, {}, flags).consul.tenancy == DEFAULTS.consul.tenancy) is same


def test_without_a_node_there_is_the_usual_one() -> None:
    """Nothing needs to be configured for a node at its usual port."""
    (node,) = DEFAULTS.redis
    assert (node.url, node.host, node.port, node.path) == ("redis://127.0.0.1:6379", "127.0.0.1", 6379, None)


MORE_URLS = {
    "rediss://a": ("rediss://a:6379", "a", 6379, None),
    "Valkey://b:1/0": ("redis://b:1", "b", 1, None),
    "valkeys://c/": ("rediss://c:6379", "c", 6379, None),
    "unix:///run/redis@1.sock": ("unix:///run/redis@1.sock", None, None, "/run/redis@1.sock"),
}


def test_a_node_is_reached_by_tcp_or_by_unix_socket(tmp_path: Path) -> None:
    """Each form of URL ends in host and port, or in a path."""
    text = "".join(
        f'[[redis]]\nurl = "{url}"\n' for url in ("redis://[::1]:7000", "redis://Cache/", "unix:///R.sock", *MORE_URLS)
    )
    assert [(node.url, node.host, node.port, node.path) for node in read(tmp_path, text).redis] == [
        ("redis://[::1]:7000", "::1", 7000, None),
        ("redis://cache:6379", "cache", 6379, None),
        ("unix:///R.sock", None, None, "/R.sock"),
        *MORE_URLS.values(),
    ]


@pytest.mark.parametrize(
    ("url", "username"),
    {
        "redis://app@h:6379/0": "app",
        "valkeys://app@[::1]": "app",
        "unix://app@/r.sock": "app",
        "redis://a%40b%3Ac@h": "a@b:c",
        "redis://@h": "",
    }.items(),
)
def test_the_user_may_stand_in_the_url(tmp_path: Path, url: str, username: str) -> None:
    """As others write it, percent signs included; the same user in both places is no mistake. It is no part of the URL."""
    (node,) = read(tmp_path, f'[[redis]]\nurl = "{url}"\nusername = "{username}"').redis
    assert node.username == load(None, {"CRA_REDIS_URL": url}, {}).redis[0].username == username
    assert "@" not in node.url


def test_a_node_takes_the_common_names_unless_it_has_its_own(tmp_path: Path) -> None:
    """ "" is a name of its own for replicas: none is published for this node."""
    text = """
        [service]
        name = "cache"
        [[redis]]
        url = "redis://a"
        [[redis]]
        url = "redis://b"
        service = "queue"
        replica = ""
    """
    assert [(node.service, node.replica) for node in read(tmp_path, text).redis] == [
        ("cache", "redis-replica"),
        ("queue", ""),
    ]


@pytest.mark.parametrize("mode", ["check", "tags"])
def test_one_name_is_enough_where_the_mode_keeps_the_roles_apart(tmp_path: Path, mode: str) -> None:
    """Only mode "services" tells roles by name."""
    config = read(tmp_path, f'[service]\nmode = "{mode}"\nname = "r"\n[replica]\nname = "r"')
    assert config.service.mode == mode


def test_everything_can_be_set(tmp_path: Path) -> None:
    """Each key arrives where it belongs."""
    text = """
        [consul]
        url = "https://h:1"
        token_file = "/t"
        ca_file = "/consul/ca"
        cert_file = "/consul/cert"
        key_file = "/consul/key"
        server_name = "server.dc1.consul"
        timeout = "1s"
        dns = "[::1]:53"
        domain = "Example.org."
        namespace = "n"
        partition = "p"
        [service]
        name = "a"
        mode = "tags"
        ttl = "1m30s"
        tags = ["x", "y"]
        meta = { b = "2", a = "1" }
        on_stop = "deregister"
        [replica]
        name = ""
        max_lag = "1m"
        [sentinel]
        mode = "required"
        early = false
        hosts = ["s1:1", "[::2]:2"]
        username = "u"
        password_file = "/s"
        tls = true
        ca_file = "/sentinel/ca"
        cert_file = "/sentinel/cert"
        key_file = "/sentinel/key"
        server_name = "10.0.0.5"
        [[redis]]
        url = "rediss://r:1"
        username = "v"
        password_file = "/r"
        master_name = "my.master_1-a"
        announce = "Public:2"
        service = "s"
        replica = "t"
        timeout = "250ms"
        patience = "0s"
        ca_file = "/redis/ca"
        cert_file = "/redis/cert"
        key_file = "/redis/key"
        server_name = "redis.example"
        [fence]
        mode = "on"

        [failover]
        on_death = "ask"
        on_empty = "ask"
        delay = "2s"

        [http]
        listen = "0.0.0.0:9618"
        [log]
        level = "debug"
        format = "json"
    """

    def tls(folder: str, name: str) -> dict[str, object]:
        files = {f"{file}_file": Path(f"/{folder}/{file}") for file in ("ca", "cert", "key")}
        return {**files, "ca_path": None, "server_name": name, "verify": True}

    assert dataclasses.asdict(read(tmp_path, text)) == {
        "consul": {
            "url": "https://h:1",
            "token": None,
            "token_file": Path("/t"),
            "auth": None,
            "tls": tls("consul", "server.dc1.consul"),
            "timeout": 1.0,
            "dns": Address("::1", 53),
            "domain": "example.org",
            "namespace": "n",
            "partition": "p",
        },
        "service": {
            "name": "a",
            "mode": "tags",
            "ttl": 90.0,
            "tags": ("x", "y"),
            "meta": (("a", "1"), ("b", "2")),
            "on_stop": "deregister",
        },
        "replica": {"name": "", "max_lag": 60.0},
        "sentinel": {
            "mode": "required",
            "early": False,
            "hosts": (Address("s1", 1), Address("::2", 2)),
            "username": "u",
            "password": None,
            "password_file": Path("/s"),
            "tls": tls("sentinel", "10.0.0.5"),
        },
        "redis": (
            {
                "url": "rediss://r:1",
                "host": "r",
                "port": 1,
                "path": None,
                "username": "v",
                "password": None,
                "password_file": Path("/r"),
                "master_name": "my.master_1-a",
                "announce": Address("Public", 2),
                "service": "s",
                "replica": "t",
                "timeout": 0.25,
                "patience": 0.0,
                "tls": tls("redis", "redis.example"),
            },
        ),
        "fence": {"mode": "on"},
        "failover": {"on_death": "ask", "on_empty": "ask", "delay": 2.0},
        "http": {"listen": Address("0.0.0.0", 9618)},
        "log": {"level": "debug", "format": "json"},
    }


def test_the_example_file_names_every_key_at_its_default(tmp_path: Path) -> None:
    """Uncommented, the example is a valid file, holds each key once, and changes nothing."""
    text = re.sub(r"(?m)^#(?! |$)", "", EXAMPLE.read_text(encoding="utf-8"))
    document = tomllib.loads(text)
    written = {
        f"{table}.{name}": value
        for table, raw in document.items()
        for name, value in (raw[0] if table == "redis" else raw).items()
    }
    expected = {key.dotted: key.default for key in KEYS if key.in_file}
    assert list(document) == list(TABLES)
    assert written == expected | {"redis.service": "redis", "redis.replica": "redis-replica"}
    assert read(tmp_path, text) == load(EXAMPLE, {}, {}) == DEFAULTS


def test_the_page_shows_the_keys_as_they_are() -> None:
    """``python -m tests.configuration_page > docs/configuration.md`` writes it anew."""
    assert (EXAMPLE.parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8") == page()


def test_a_secret_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Not by repr, str, format, asdict, JSON, a copy, a log or a traceback; and it cannot be pickled."""
    names = ("REDISCLI_AUTH", "CONSUL_HTTP_TOKEN", "CONSUL_HTTP_AUTH", "CRA_SENTINEL_PASSWORD")
    config = load(None, dict.fromkeys(names, PASSWORD), {})
    logging.getLogger("test").error("%s %r", config.consul.token, config)
    shown = [
        repr(config),
        str(config.redis[0].password),
        f"{config.consul.token} {config!r}",
        str(dataclasses.asdict(config)),
        json.dumps(dataclasses.asdict(config), default=str),
        repr(copy.deepcopy(config)),
        str(dir(config.consul.token)),
        caplog.text,
    ]
    assert all(PASSWORD not in text for text in shown)
    assert shown[1] == "***"
    with pytest.raises(TypeError, match="a secret is not written anywhere"):
        pickle.dumps(config)
    assert config.consul.token is not None
    assert config.consul.token.reveal() == PASSWORD
    assert config == copy.deepcopy(config)
    assert len({config.consul.token, config.redis[0].password}) == 1


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"pw\n", Secret("pw")),
        (b"pw\r\n", Secret("pw")),
        (b"pw", Secret("pw")),
        (b" p w ", Secret(" p w ")),
        (b"", None),
        (b"\n", None),
    ],
)
def test_a_secret_file_is_read_without_its_line_break(tmp_path: Path, content: bytes, secret: Secret | None) -> None:
    """One line break at the end belongs to the editor, all else to the password."""
    (tmp_path / "pw").write_bytes(content)
    assert read_secret(tmp_path / "pw") == secret


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xffhunter2", "is not UTF-8 text"),
        (b"hunter2\nhunter3\n", "holds more than one line, or control characters"),
        (b"x" * 65537, "is longer than 65536 bytes, so it is no password or token"),
    ],
)
def test_a_bad_secret_file_is_named_and_not_shown(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """The message holds the file and the reason, never a part of the content."""
    if content is not None:
        (tmp_path / "pw").write_bytes(content)
    with pytest.raises(LocalError) as caught:
        read_secret(tmp_path / "pw")
    assert str(caught.value) == f"{tmp_path / 'pw'}: {reason}"
    assert "hunter" not in "".join(traceback.format_exception(caught.value))


def test_what_is_no_regular_file_is_refused_without_being_opened(tmp_path: Path) -> None:
    """A pipe would wait for its writer, for ever; the configuration and a secret are refused in the same words."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "pipe"), (tmp_path / "link", "pipe"), (Path("/dev/zero"), "device")):
        said = f"{path}: is a {kind}, no regular file, and is not read: put what it should hold into a file"
        with pytest.raises(LocalError) as secret:
            read_secret(path)
        with pytest.raises(ConfigError) as config:
            load(path, {}, {})
        assert (str(secret.value), str(config.value)) == (said, said)


def test_a_pipe_that_takes_the_place_of_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening anything may happen; the opening does not wait either."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    regular = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda _: regular)
    with pytest.raises(LocalError, match="is a pipe, no regular file"):
        read_secret(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("text", "seconds"),
    {
        "250ms": 0.25,
        "10s": 10,
        "1m": 60,
        "1m30s": 90,
        "1.5h": 5400,
        "0.5s": 0.5,
        "1h1m1s1ms1us1ns": 3661.001001001,
    }.items(),
)
def test_durations_are_written_as_consul_does(text: str, seconds: float) -> None:
    """Go's notation, in whole or in decimal parts."""
    assert parse_duration(text) == seconds


@given(st.integers(min_value=0, max_value=10**15))
def test_a_duration_survives_being_written_and_read(nanoseconds: int) -> None:
    """Writing and reading loses no nanosecond, up to eleven days."""
    seconds = nanoseconds / 1e9
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text())
def test_whatever_is_no_duration_is_refused_as_such(text: str) -> None:
    """No text ends in another error than the one that is caught."""
    assert reason(parse_duration, text).endswith('is not a duration such as "250ms", "10s" or "1m30s"') or (
        parse_duration(text) >= 0
    )


HOSTS = st.one_of(
    st.ip_addresses(v=4).map(IPv4Address.__str__),
    st.ip_addresses(v=6).map(IPv6Address.__str__),
    st.from_regex(r"\A[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,10}){0,3}\Z"),
)
PORTS = st.integers(min_value=1, max_value=65535)


@given(HOSTS, PORTS)
def test_an_address_survives_being_written_and_read(host: str, port: int) -> None:
    """Names, IPv4 and IPv6, alone and inside URLs."""
    written = str(Address(host, port))
    assert values.address(written) == Address(host, port)
    assert values.redis_url(f"redis://{written}").url == f"redis://{written}"
    assert values.redis_url(f"valkeys://u@{written}/0") == (f"rediss://{written}", "u")
    assert values.consul_url(written) == f"http://{written}"
    assert values.consul_url(written, tls=True) == values.consul_url(f"https://{written}") == f"https://{written}"


BEGINNINGS = ("redis://", "valkeys://", "http://", "https://", "unix://", "redis://u:", "unix://u:", "redis://u@h/")


@given(st.text(), st.sampled_from(["", *BEGINNINGS]), st.sampled_from(["", "@h:1"]))
def test_whatever_is_no_url_is_refused_without_being_repeated(text: str, before: str, after: str) -> None:
    """A text that may hold a password is never part of the reason; no text ends in another error."""
    for reader in (values.redis_url, values.consul_url):
        assert "secret" not in reason(reader, before + f"secret{text}" + after)
