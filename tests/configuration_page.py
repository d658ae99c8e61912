"""The keys as a page: ``python -m tests.configuration_page > docs/configuration.md``. A test holds the page against it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from consul_redis_agent.config.schema import INHERITED, KEYS, REFUSED, REPEATED, TABLES, Key

_HEAD = """\
# The configuration: keys, flags, environment

Written by `python -m tests.configuration_page` from [`config/schema.py`](../consul_redis_agent/config/schema.py).
[config/consul-redis-agent.toml](../config/consul-redis-agent.toml) has the same keys as a file, with more words.

A flag beats the environment, which beats the file, which beats the default. What is beaten is checked all the same. Every mistake is
named at once, with the place where it is written, and the exit code is 78.

## The environment

- Every key has a name there, `CRA_` with its table and its name. Lists have commas between (`CRA_SERVICE_TAGS=a,b`), `CRA_SERVICE_META` is
  `key=value` with commas between; yes and no are `true`, `false`, `1`, `0`.
- Of Consul's and Redis' own tools the names in the tables below are read as well. `CRA_…` beats them where both are set.
- Secrets may stand there themselves (`CRA_CONSUL_TOKEN`, `CRA_SENTINEL_PASSWORD`, `CRA_REDIS_PASSWORD`). A file beats the secret itself where both have the same weight.
- An empty variable is not set, as with Consul's own tools. Only `CRA_REPLICA_NAME=` and `CRA_REDIS_REPLICA=` say something: no replicas.
- An unknown `CRA_…` is refused, with the nearest known name.
- Where the file has several `[[redis]]`, no flag `--redis-…` and no `CRA_REDIS_…` is taken: it would name none of them. `REDISCLI_AUTH` is for all.
"""

_URLS = """
## URLs

- `consul.url`: `http://host:port`, `https://host:port`, `unix:///path`, or `host:port` alone. Without a port `http://` is port 80 and
  `https://` port 443, as with Consul's own tools. IPv6 stands in brackets. `CONSUL_HTTP_SSL=true` reads http as https, wherever the URL is written. A path, a login or an option is refused.
- `redis.url`: `redis://host:port`, `rediss://host:port` for TLS, or `unix:///path`; `valkey://` and `valkeys://` are the same. Without a port it is 6379. A user
  (`redis://agent@host`, percent signs included) and `/0` at the end are taken. A password is refused, since others read the file and the process list; so is
  another database than 0, since neither `INFO` nor Sentinel knows databases.
- No proxy is ever used, whatever `HTTP_PROXY` says: the Consul agent is a neighbour.

## TLS

- Paths are absolute. The files may come later and change at any time; at the start only their names are looked at.
- The key may stand in `cert_file`. A key without a certificate is refused.
- A certificate, an authority or a server's name for a connection in clear text is refused, also where Consul's own tools would take it quietly
  (`CONSUL_CACERT` with `http://`, or with a unix socket): whoever wrote it believes that the connection is encrypted.
- Without `ca_file` the system's authorities count, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            *_refused(),
            _URLS,
            *(line for table in TABLES for line in _table(table)),
        ]
    )


def _refused() -> Iterator[str]:
    yield "What these tools read besides, and would change what the agent does, is refused where it is set:\n"
    for name, why in REFUSED.items():
        yield f"- `{name}`: {why}."


def _table(table: str) -> Iterator[str]:
    yield f"## [{f'[{table}]' if table == REPEATED else table}]\n"
    yield f"{TABLES[table][0].upper()}{TABLES[table][1:]}.\n"
    yield "| key | flag | environment | default | |"
    yield "|---|---|---|---|---|"
    for key in KEYS:
        if key.table == table:
            yield f"| {' | '.join((*_names(key), _default(key), key.doc.replace('|', '&#124;')))} |"
    yield ""


def _names(key: Key) -> tuple[str, str, str]:
    environment = ", ".join(f"`{name}`" for name in (key.env, key.tools) if name)
    return f"`{key.dotted}`" if key.in_file else "", f"`{key.flag}`" if key.has_flag else "", environment


def _default(key: Key) -> str:
    if key.default is INHERITED:
        return f"`{'service' if key.name == 'service' else 'replica'}.name`"
    return "" if key.default == "" else f"`{json.dumps(key.default)}`"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
