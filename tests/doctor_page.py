"""What `check` can find, as a page: ``python -m tests.doctor_page > docs/doctor.md``. A test holds the page against it."""

from __future__ import annotations

from collections.abc import Iterator

from consul_redis_agent.commands.doctor.table import AREAS, FINDINGS

_HEAD = """\
# What `check` can find

Written by `python -m tests.doctor_page` from [`commands/doctor/table.py`](../consul_redis_agent/commands/doctor/table.py).

`consul-redis-agent check` looks at everything once and changes nothing. Each line is `ok`, `warn` (worth a look) or `FAIL` (wrong), with what was
seen, what it means, and the command or setting that mends it. It exits with 1 if there is a `FAIL`, else with 0; 78 is a bad configuration.

Commands that are printed can be run as they stand, by somebody who may: the agent's own login needs none of those rights. Where `check` may not read
something it says so. To have all of it looked at, run it once with more rights, which the agent never needs:

    consul-redis-agent check --redis-username admin --redis-password-file FILE     # may CONFIG GET
    CONSUL_HTTP_TOKEN=… consul-redis-agent check                                   # has agent:read

`check --json` gives the same as one JSON object, when all is looked at ([interface.md](interface.md)).
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(line for area in AREAS for line in _area(area))])


def _area(area: str) -> Iterator[str]:
    yield f"## {AREAS[area]}\n"
    yield "| id | level | means | what mends it |"
    yield "|---|---|---|---|"
    for id_, kind in FINDINGS.items():
        if id_.partition(".")[0] == area:
            yield f"| `{id_}` | {', '.join(kind.levels)} | {kind.means} | {kind.mend} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
