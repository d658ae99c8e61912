"""The table of the rules as a page: ``python -m tests.table_page > docs/table.md``. A test holds the page against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from consul_redis_agent.decide.backing import Backing
from consul_redis_agent.decide.decision import Verdict
from consul_redis_agent.decide.fence import ORDERS
from consul_redis_agent.decide.rules import TABLE, State, first_row
from consul_redis_agent.decide.standing import Standing

_HEAD = """\
# The table of the rules

Written by `python -m tests.table_page` from `TABLE` in [`decide/rules.py`](../consul_redis_agent/decide/rules.py), which opens with the
rules themselves. The first row that fits decides. An empty cell fits everything. Who stands behind a Redis node, and what claims stand, is
asked only where the node is a master, or is silent; of a replica only whether another group holds the name.
"""


_ORDERS = """
## What is ordered beside it

With `fence.mode = "on"`, from `ORDERS` in [`decide/fence.py`](../consul_redis_agent/decide/fence.py): the first row that fits.
"""

MASTERS = tuple(by for by in Backing if by is not Backing.UP)
"""What may be behind a node that answers and says master."""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            *_table(),
            _ORDERS,
            *_orders(),
            "\n## A master: each pair of answers\n\nThe verdict, and the row that says so. An empty cell cannot occur.\n",
            *_grid(),
            "\n## As a picture\n",
            *_picture(),
            "\n## The words\n",
            *_words(),
        ]
    )


def _table() -> Iterator[str]:
    yield "| row | rule | the Redis node is | behind it | claims | → verdict | reason |"
    yield "|--:|--:|---|---|---|---|---|"
    for number, row in enumerate(TABLE, 1):
        cells = (_cell(row.node), _cell(row.backing), _cell(row.standing))
        yield f"| {number} | {row.rule} | {' | '.join(cells)} | **{row.verdict.value}** | {row.reason.value} |"


def _orders() -> Iterator[str]:
    yield "| row | rule | the order | what it is for |"
    yield "|--:|--:|---|---|"
    for number, row in enumerate(ORDERS, 1):
        what = " ".join((row.gives.__doc__ or "").split())
        yield f"| {number} | {row.rule} | {row.name} | {what} |"


def _cell(fits: frozenset[State] | frozenset[Backing] | frozenset[Standing] | None) -> str:
    return ", ".join(_short(each) for each in _ordered(fits)) if fits else ""


def _ordered(fits: frozenset[State] | frozenset[Backing] | frozenset[Standing]) -> list[StrEnum]:
    """As they stand in their enumeration: a set has no order of its own."""
    return [each for kind in (State, Backing, Standing) for each in kind if each in fits]


def _short(word: StrEnum) -> str:
    return word.name.lower().replace("_", " ")


def beside(by: Backing) -> tuple[Standing, ...]:
    """What may stand beside the claim of a node that is so backed."""
    never = set[Standing]()
    if by is Backing.FOLLOWED:
        never |= {Standing.FIRST}
    if by is not Backing.OUTVOTED:
        never |= {Standing.LEAVING}
    if by is Backing.NOBODY:
        never |= {Standing.FIRST, Standing.BEHIND, Standing.EVICTED}
    else:
        never |= {Standing.LOST}
    if by not in (Backing.NO_SENTINEL, Backing.FOLLOWED, Backing.SEARCHING):
        never |= {Standing.BEHIND}
    return tuple(what for what in Standing if what not in never)


def combinations() -> Iterator[tuple[State, Backing | None, Standing | None]]:
    """Every case that a decision may be about."""
    for state in State:
        match state:
            case State.MASTER | State.MASTER_NOWHERE:
                yield from ((state, by, what) for by in Backing if by is not Backing.UP for what in beside(by))
            case State.SILENT:
                yield state, None, None
                for by in (Backing.UP, Backing.NOBODY):
                    yield from ((state, by, what) for what in beside(by))
            case State.REPLICA | State.NOWHERE:
                yield from ((state, None, what) for what in (None, Standing.UNREAD, Standing.STRANGER, Standing.UNTOLD))
            case _:
                yield state, None, None


def _picture() -> Iterator[str]:
    """The two questions, asked of a master, and the verdicts that the answers lead to."""
    yield "```mermaid"
    yield "flowchart LR"
    yield '    node{"What is the Redis node?"}'
    simple = [state for state in State if state not in (State.MASTER, State.MASTER_NOWHERE, State.SILENT)]
    for verdict, states in _grouped((first_row(state, None, None).verdict, state) for state in simple):
        yield f'    node -- "{states}" --> {verdict}'
    silent = [case for case in combinations() if case[0] is State.SILENT]
    for verdict in dict.fromkeys(first_row(*case).verdict for case in silent):
        answers = [case[1:] for case in silent if first_row(*case).verdict is verdict]
        found = f"{', '.join(dict.fromkeys(_short(by) for by, _ in answers if by))}; {', '.join(dict.fromkeys(_short(what) for _, what in answers if what))}"
        yield f'    node -- "silent; {found if verdict is Verdict.MASTER else "otherwise"}" --> {verdict}'
    yield '    node -- "master" --> behind{"Who stands behind it?"}'
    asked: dict[tuple[tuple[Verdict, str], ...], list[Backing]] = {}
    for by in MASTERS:
        asked.setdefault(_grouped((first_row(State.MASTER, by, what).verdict, what) for what in beside(by)), []).append(
            by
        )
    for number, (leads, backings) in enumerate(asked.items(), 1):
        yield f'    behind -- "{", ".join(map(_short, backings))}" --> claims{number}{{"What claims stand?"}}'
        for verdict, standings in leads:
            yield f'    claims{number} -- "{standings}" --> {verdict}'
    for verdict in Verdict:
        yield f'    {verdict}(["{verdict}"])'
    yield "```"


def _grouped(cases: Iterable[tuple[Verdict, StrEnum]]) -> tuple[tuple[Verdict, str], ...]:
    """The answers that lead to one verdict, as one text each."""
    leads: dict[Verdict, list[str]] = {}
    for verdict, answer in cases:
        leads.setdefault(verdict, []).append(_short(answer))
    return tuple((verdict, ", ".join(answers)) for verdict, answers in leads.items())


def _grid() -> Iterator[str]:
    """For a master: each pair of answers, and the row that decides it."""
    yield "| claims ↓ behind it → | " + " | ".join(_short(by) for by in MASTERS) + " |"
    yield "|---" * (len(MASTERS) + 1) + "|"
    for what in Standing:
        rows = [first_row(State.MASTER, by, what) if what in beside(by) else None for by in MASTERS]
        cells = (f"{row.verdict} {TABLE.index(row) + 1}" if row else "" for row in rows)
        yield f"| {_short(what)} | " + " | ".join(cells) + " |"


def _words() -> Iterator[str]:
    for title, kind in (("The Redis node is", State), ("Behind it", Backing), ("Claims", Standing)):
        yield f"| {title} | |"
        yield "|---|---|"
        for word in kind:
            yield f"| {_short(word)} | {word.value} |"
        yield ""


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
