"""What the pages say, whoever serves them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from consul_redis_agent.tell import pages as module
from consul_redis_agent.tell.pages import Answer, Pages


def node(name: str = "127.0.0.1:6379", **changes: Any) -> dict[str, Any]:
    """A Redis node of a snapshot, as far as the pages look: a replica one second behind."""
    return {
        "node": name,
        "service": "redis",
        "address": name.replace("127.0.0.1", "10.0.0.1"),
        "ready": True,
        "decision": "replica",
        "published": "replica",
        "decided_ago": 0.5,
        "lag": 1.0,
        "entries": [{"mine": True, "maintenance": False}],
        **changes,
    }


MASTER = node("127.0.0.1:6380", decision="master", published="master", lag=None)


class Now:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    now = Now()
    monkeypatch.setattr(module, "clock", now)
    return now


def never() -> Any:
    raise AssertionError("nobody asked for this")


def pages(
    *nodes: dict[str, Any],
    snapshot: Callable[[], Any] | None = None,
    metrics: Callable[[], bytes] = never,
    history: Callable[[], bytes] = never,
) -> Pages:
    return Pages(
        snapshot=snapshot or (lambda: {"nodes": nodes}),
        metrics=metrics,
        healthy=lambda: (True, "all is well"),
        history=history,
    )


async def get(target: str, *nodes: dict[str, Any]) -> Answer:
    return await pages(*nodes).answer("GET", target)


async def status(target: str, *nodes: dict[str, Any]) -> int:
    return (await get(target, *nodes)).status


async def test_master_is_what_dns_gives_as_master() -> None:
    """A load balancer sends writes nowhere else: neither to a replica, nor to a node whose claim does not pass."""
    assert await status("/master", MASTER) == 200
    assert await status("/master", node()) == 503
    assert await status("/master", MASTER | {"published": ""}) == 503
    assert await status("/master", node(), MASTER) == 200
    assert await status("/master") == 503


async def test_replica_is_what_may_be_read() -> None:
    """Also where replicas are not in DNS; but neither in maintenance nor the master."""
    assert await status("/replica", node()) == 200
    assert await status("/replica", node(published="")) == 200
    assert await status("/replica", MASTER) == 503
    assert await status("/replica", node(entries=[{"mine": True, "maintenance": True}])) == 503
    assert await status("/replica", node(decision="none")) == 503


async def test_what_was_decided_long_ago_says_nothing() -> None:
    """A node whose work has stopped is sent nothing."""
    for old in (5.1, None):
        assert await status("/master", MASTER | {"decided_ago": old}) == 503
        assert await status("/replica", node(decided_ago=old)) == 503


@pytest.mark.parametrize(
    ("lag", "code"), [("1500ms", 200), ("1m", 200), ("1499ms", 503), ("0s", 503), ("5", 400), ("5MB", 400), ("", 400)]
)
async def test_lag_is_a_time_with_its_unit(lag: str, code: int) -> None:
    """How long ago the replica heard from its master, the age of that knowledge included. A number alone would be bytes to many."""
    answer = await get(f"/replica?lag={lag}", node())
    assert answer.status == code
    assert code != 400 or b"lag=5s" in answer.body


async def test_one_of_several_is_chosen() -> None:
    """By the node as configured, by its published address, or by its service; what is not here is told from what is no master."""
    nodes = (node(), MASTER, node("127.0.0.1:6381", service="cache"))
    assert await status("/master?node=127.0.0.1:6380", *nodes) == 200
    assert await status("/master?node=10.0.0.1:6380&service=redis", *nodes) == 200
    assert await status("/master?node=127.0.0.1:6379", *nodes) == 503
    assert await status("/master?service=cache", *nodes) == 503
    answer = await get("/master?service=other", *nodes)
    assert answer.status == 404
    assert b"127.0.0.1:6381 (cache)" in answer.body


@pytest.mark.parametrize(
    "query",
    ["servce=redis", "node=a&node=b", "node", "node=a&&", "x=1", f"node={'x' * 600}", "node=a&service=b&lag=1s&more=2"],
)
async def test_a_query_is_read_strictly(query: str) -> None:
    """A misspelling asks for something else, so it is refused, with what can be asked for."""
    answer = await get(f"/master?{query}", MASTER)
    assert answer.status == 400
    assert b"node=, service=" in answer.body
    assert await status("/status?x=1") == 400


async def test_ready_is_what_systemd_is_told() -> None:
    """Each Redis node was looked at; one that was not is named."""
    assert await status("/readyz", node(), MASTER) == 200
    answer = await get("/readyz", node(), MASTER | {"ready": False})
    assert answer.status == 503
    assert b"127.0.0.1:6380" in answer.body


@pytest.mark.parametrize("page", ["/", "/status", "/history", "/metrics", "/healthz", "/readyz", "/master", "/replica"])
async def test_options_answers_with_the_code_alone(page: str) -> None:
    """As HAProxy asks by default; and what else a page takes is said."""
    given = pages(MASTER, metrics=lambda: b"up 1\n", history=lambda: b"{}")
    got, asked = await given.answer("GET", page), await given.answer("OPTIONS", page)
    assert (asked.status, asked.body) == (got.status, b"")
    refused = await given.answer("POST", page)
    assert refused.status == 405
    for answer in (asked, refused):
        assert dict(answer.every_header)["Allow"] == "GET, HEAD, OPTIONS"


async def test_what_is_not_there_says_what_is() -> None:
    """Nobody has to guess."""
    answer = await get("/nodes")
    assert answer.status == 404
    assert all(page in answer.body for page in (b"/status", b"/history", b"/master", b"/replica", b"/readyz"))


async def test_pages_are_made_seldom(now: Now) -> None:
    """However often clients ask, it costs the agent little, and nobody gets what is old."""
    made: list[str] = []

    def counted(what: str, answer: Any) -> Callable[[], Any]:
        def make() -> Any:
            made.append(what)
            return answer

        return make

    given = pages(
        snapshot=counted("status", {"nodes": [MASTER]}),
        metrics=counted("metrics", b"up 1\n"),
        history=counted("history", b"{}"),
    )
    for _ in range(3):
        for page in ("/status", "/metrics", "/history"):
            await given.answer("GET", page)
    assert sorted(made) == ["history", "metrics", "status"]
    now.seconds += module.STATUS_LIFE
    await given.answer("GET", "/status")
    assert made.count("status") == 2
    now.seconds += module.METRICS_LIFE
    for page in ("/metrics", "/history"):
        await given.answer("GET", page)
    assert (made.count("metrics"), made.count("history")) == (2, 2)


async def test_json_is_json() -> None:
    """What JSON has no word for is a mistake of ours, and not sent to programs that choke on it."""
    assert json.loads((await get("/status", MASTER)).body) == {"nodes": [MASTER]}
    assert await status("/status", node(lag=float("inf"))) == 500


async def test_a_broken_page_is_only_a_broken_page(now: Now, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in it is logged and answered, and the next request is served."""
    answers = iter([ZeroDivisionError(), {"nodes": []}])

    def snapshot() -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    given = pages(snapshot=snapshot)
    with caplog.at_level(logging.ERROR):
        assert (await given.answer("GET", "/status")).status == 500
    assert "ZeroDivisionError" in caplog.text
    assert (await given.answer("GET", "/status")).status == 200


async def test_the_page_runs_its_own_script_and_no_other() -> None:
    """Its policy names the one script and the one style that are in it, and lets it ask this agent alone."""
    page = await get("/")
    assert page.kind == "text/html; charset=utf-8"
    policy = dict(page.every_header)["Content-Security-Policy"]
    assert re.fullmatch(
        r"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; img-src data:; "
        r"script-src 'sha256-[\w+/]{43}='; style-src 'sha256-[\w+/]{43}='",
        policy,
    )
    assert not re.findall(
        rb"(?:src|href)=\"(?!#|data:|/)|innerHTML|insertAdjacentHTML|document\.write|eval\(", page.body
    )


async def test_every_answer_is_guarded() -> None:
    """Nobody keeps it, frames it, or takes it for something else."""
    for target in ("/", "/healthz", "/else", "/master?x"):
        headers = dict((await get(target, MASTER)).every_header)
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
