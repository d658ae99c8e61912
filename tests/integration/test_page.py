"""The page in a real browser: of real agents, and of one that tells what a test says."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest

from consul_redis_agent.decide.facts import Address
from consul_redis_agent.tell.pages import Pages
from consul_redis_agent.tell.server import Server
from tests.documented import assert_documented
from tests.fleet import Fleet, until
from tests.integration.browser import Browser, browser
from tests.integration.support import wait_for_word

pytestmark = pytest.mark.slow
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests."""
    with browser(tmp_path_factory.mktemp("browser")) as made:
        yield made


@pytest.fixture(autouse=True)
def _usual(request: pytest.FixtureRequest) -> None:
    if "window" in request.fixturenames:
        window: Browser = request.getfixturevalue("window")
        window.size(1280)
        window.scheme("light")


@pytest.fixture(scope="module")
def pages(shared_fleet: Fleet) -> list[Address]:
    """Three Redis nodes in DNS, each with an agent; where these have their pages."""
    shared_fleet.populate()
    host = shared_fleet.host("localhost")
    listen = [Address(host.address, host.port(0)) for _ in shared_fleet.nodes]
    for node, address in zip(shared_fleet.nodes, listen, strict=True):
        agent = shared_fleet.agent(node, more=f'[http]\nlisten = "{address}"\n')
        wait_for_word(agent, "Consul holds")
    until(lambda: all(code(page, "/readyz") == 200 for page in listen), within=10, what="every agent is ready")
    return listen


def code(page: Address, path: str, method: str = "GET") -> int:
    """The status of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{page}{path}", method=method), timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def told(page: Address, path: str = "/status") -> Any:
    """What a page of JSON says."""
    with urllib.request.urlopen(f"http://{page}{path}", timeout=5) as answer:
        return json.load(answer)


class Account:
    """What an agent tells that does as it is told."""

    def __init__(self, page: Address) -> None:
        self.page = page
        self.status: Any = {}
        self.history: Any = {"version": "1", "episodes": []}

    @property
    def node(self) -> Any:
        """The first Redis node that it tells of."""
        return self.status["nodes"][0]


@contextmanager
def telling(page: Address) -> Iterator[Account]:
    """Serve such an account."""
    account, ready, loop = Account(page), threading.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        tell = Pages(
            snapshot=lambda: account.status,
            metrics=bytes,
            healthy=lambda: (True, "well"),
            history=lambda: json.dumps(account.history).encode(),
        )
        server = Server(tell)
        await server.listen_tcp(page)
        ready.set()
        await over.wait()
        await server.close()

    over = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait(5)
    try:
        yield account
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@pytest.fixture
def account(shared_fleet: Fleet, pages: list[Address]) -> Iterator[Account]:
    """One that tells what a real replica's agent does, and of a failover, as long as the test does not change it."""
    host = shared_fleet.host("localhost")
    with telling(Address(host.address, host.port(0))) as made:
        made.status = told(pages[-1])
        made.history = {"version": "1", "episodes": [episode("10.0.0.2:6379 took over"), episode("another", began=1e9)]}
        yield made


def episode(sentence: str, began: float = 1.7e9) -> dict[str, Any]:
    """A failover as ``/history`` tells it."""
    seen = (
        (0.0, "redis"),
        (5.002, "sentinel"),
        (5.104, "redis"),
        (5.105, "decision"),
        (5.113, "consul"),
        (5.121, "dns"),
    )
    return {
        "node": "10.0.0.2:6379",
        "service": "redis",
        "kind": "failover",
        "began": began,
        "ended": began + 9,
        "sentence": sentence,
        "from": "replica",
        "to": "master",
        "answers": None,
        "events": [{"at": at, "lane": lane, "name": lane, "text": f"{lane} changed"} for at, lane in seen],
        "seconds": {
            "promotion_to_decision": 0.001,
            "decision_to_consul": 0.008,
            "consul_to_dns": None,
            "two": 0,
            "none": 5,
        },
        "lost": {"stray_writes": 12},
        "left_out": 3,
    }


def test_the_page_follows_a_failover(shared_fleet: Fleet, pages: list[Address], window: Browser) -> None:
    """The new master stands there without a reload, and is announced; the page asks its own agent and nobody else."""
    old = shared_fleet.wait_for_master()
    window.requests()
    window.open(f"http://{pages[1]}/")
    window.wait_for(f"{old.announced} is the master of redis, and DNS names it alone.", "h1")
    window.run("window.never_left = true")
    new = shared_fleet.failover()
    window.wait_for(f"{new.announced} is the master of redis, and DNS names it alone.", "h1", within=30)
    window.wait_for("3 of 3 Sentinels name it.", "#verdict")
    window.wait_for(str(new.announced), "#live")
    assert window.run("return window.never_left")
    assert window.text("#log li")
    assert window.requests() <= {f"http://{pages[1]}/{path}" for path in ("", "status", "history")}
    assert window.complaints() == []


def test_load_balancers_find_the_master_and_the_replicas(shared_fleet: Fleet, pages: list[Address]) -> None:
    """Exactly one agent answers for the master, and the others for replicas, by each method that load balancers use."""
    master = shared_fleet.nodes.index(shared_fleet.wait_for_master())
    at = [page for place, page in enumerate(pages) if place == master]
    others = [page for place, page in enumerate(pages) if place != master]
    for method in ("GET", "HEAD", "OPTIONS"):

        def apart(method: str = method) -> bool:
            masters = [page for page in pages if code(page, "/master", method) == 200]
            return masters == at and [p for p in pages if code(p, "/replica?lag=10s", method) == 200] == others

        until(apart, within=15, what=f"{method} tells the master from the replicas")
    assert {code(page, "/replica?lag=0s") for page in pages} == {503}


def test_the_json_is_what_is_written_down(pages: list[Address], account: Account) -> None:
    """docs/interface.schema.json has every key of what real agents tell, with its type, and no other; the samples here, too."""
    for page in pages:
        assert_documented("status", told(page))
        assert_documented("history", told(page, "/history"))
    assert_documented("history", account.history)


def test_an_agent_that_stops_is_told(shared_fleet: Fleet, pages: list[Address], window: Browser) -> None:
    """What is seen is of then, and says so; when the agent is back, the page goes on by itself."""
    agent = shared_fleet.agents[1]
    window.open(f"http://{pages[1]}/")
    window.wait_for("follows live")
    agent.stop()
    window.wait_for("Not known: this agent has not answered since", "h1")
    window.wait_for("asks again in", "#pulse")
    window.wait_for("This agent does not answer.", "#live")
    agent.launch()
    window.wait_for("and DNS names it alone.", "h1", within=30)
    window.wait_for("follows live")
    assert window.complaints() == []


def test_names_from_outside_are_only_text(
    shared_fleet: Fleet, pages: list[Address], account: Account, window: Browser
) -> None:
    """Whatever Redis, Sentinel, or who writes to Consul calls something: it is shown, and never becomes part of the page."""
    consul = shared_fleet.consuls[0]
    foreign = {"ID": HOSTILE, "Name": "redis", "Address": "127.0.0.9", "Port": 9}
    consul.put("/v1/agent/service/register", foreign)
    try:
        window.open(f"http://{pages[0]}/")
        window.wait_for("and also 127.0.0.9:9", "h1")
        assert HOSTILE in window.text("#groups")
        assert HOSTILE in window.text("#needs")
        assert_only_text(window)
    finally:
        consul.put(f"/v1/agent/service/deregister/{urllib.parse.quote(HOSTILE, safe='')}")
    account.status = everywhere(account.status, HOSTILE)
    account.history = everywhere(account.history, HOSTILE)
    window.open(f"http://{account.page}/")
    window.wait_for(HOSTILE, "h1")
    for place in ("#verdict", "#groups", "#history"):
        window.wait_for(HOSTILE, place)
    assert_only_text(window)


def assert_only_text(window: Browser) -> None:
    """No element came in with what is shown, and no script ran."""
    assert window.run("return [document.images.length, document.scripts.length]") == [0, 1]
    assert window.run("return document.title") != "taken"
    assert window.complaints() == []


WORDS = {"role", "decision", "published", "lane", "fence", "vote"}
"""Fields of a closed set, of which what is outside says nothing."""


def everywhere(value: Any, text: str, field: str = "") -> Any:
    """The same with ``text`` in each field that somebody outside could have a word in."""
    if isinstance(value, dict):
        return {key: everywhere(inside, text, key) for key, inside in value.items()}
    if isinstance(value, list):
        return [everywhere(inside, text, field) for inside in value]
    return text if isinstance(value, str) and field not in WORDS else value


def with_trouble(account: Account) -> None:
    """Everything that a page can have to show at once."""
    node = account.node
    node["errors"] = {
        "Sentinel 10.0.0.3:26379": "it has no vote: connection refused: is it running?",
        "DNS": "hidden " * 40,
    }
    node["counters"]["stray_writes"] = 312
    node["sentinels"][0] |= {"tilt": True, "vote": "none"}
    node["sentinels"][1] |= {"holds_down": True, "fails_over": True}
    node["peers"][0] |= {"lost_by": 2, "usable_by": 0}
    node["entries"][0] |= {"visible": False, "hidden_by": ["disk full"]}
    node["entries"].append(node["entries"][0] | {"id": "by-hand", "name": "redis", "visible": True, "foreign": True})


@pytest.mark.parametrize(
    ("scheme", "width", "trouble"),
    [("light", 1600, False), *((scheme, width, True) for scheme in ("light", "dark") for width in (360, 1600))],
)
def test_everybody_can_read_it(account: Account, window: Browser, scheme: str, width: int, trouble: bool) -> None:
    """axe-core finds nothing, contrast included, and nothing is wider than the window, on a telephone and on a wide screen."""
    if trouble:
        with_trouble(account)
    window.scheme(scheme)
    window.size(width)
    window.open(f"http://{account.page}/")
    window.wait_for("follows live")
    window.wait_for("none for", "#history")
    assert window.run("return document.documentElement.scrollWidth") <= width
    assert window.violations() == []
    assert window.complaints() == []


def test_a_keyboard_is_enough(account: Account, window: Browser) -> None:
    """The first key leads to the answer; what is folded opens by a key, and stays so, with the focus, as the page follows."""
    window.open(f"http://{account.page}/")
    window.wait_for("follows live")
    window.press("Tab")
    assert window.run("return document.activeElement.textContent") == "To the answer"
    assert window.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    window.run("document.querySelectorAll('#history summary')[1].focus()")
    assert "redis changed" not in window.text("#history details:nth-of-type(2)")
    window.press("Enter")
    window.wait_for("redis changed", "#history details:nth-of-type(2)")
    asked = window.text("#pulse")
    until(lambda: window.text("#pulse") != asked, within=10, what="the page asks again")
    assert window.run("return document.activeElement === document.querySelectorAll('#history summary')[1]")
    assert "redis changed" in window.text("#history details:nth-of-type(2)")


def test_a_screen_reader_tells_what_eyes_see(account: Account, window: Browser) -> None:
    """Landmarks, headings, named tables with their heads, and a picture in words, also where tables are shown as blocks."""
    for width in (1280, 360):
        window.size(width)
        window.open(f"http://{account.page}/")
        window.wait_for("follows live")
        told = window.tree()
        assert {"banner", "main", "contentinfo", "navigation", "status"} <= {role for role, _ in told}
        names = {name for role, name in told if role == "table"}
        assert {"Redis nodes", "Sentinels", "Entries in Consul"} <= names
        assert {"Redis node", "Role", "In DNS", "Decision", "Since"} <= {
            n for role, n in told if role == "columnheader"
        }
        assert str(account.node["node"]) in {name.split()[0] for role, name in told if role == "rowheader"}
        assert ("heading", "What happened last") in told
        assert any(role in ("image", "img") and "6 events are listed below" in name for role, name in told)


def test_a_hundred_services_are_one_sentence(account: Account, window: Browser) -> None:
    """Whoever looks after a hundred is told of the one that has no master, and finds it open; the others are folded."""
    nodes = [deepcopy(account.node) for _ in range(100)]
    for number, node in enumerate(nodes):
        node |= {"node": f"127.0.0.1:{7000 + number}", "service": f"cache-{number:02}"}
        node["entries"] = [dict(account.node["entries"][0], name=node["service"], visible=number != 42, foreign=False)]
        node["entries"][0]["claim"] = {"epoch": 3, "turn": 0, "run_id": "a", "early": False}
    account.status["nodes"] = nodes
    window.open(f"http://{account.page}/")
    window.wait_for("DNS names no single master for 1 of 100 services: cache-42.", "h1")
    assert (
        window.run("return [...document.querySelectorAll('#groups details')].map((each) => each.open).indexOf(true)")
        == 42
    )
    assert window.violations() == []


def test_dns_has_the_last_word(account: Account, window: Browser) -> None:
    """Where the agent has asked DNS, and it names somebody else than the catalog or nobody, that is said and not the promise."""
    (master,) = {e["address"] for e in account.node["entries"] if e["visible"] and e["claim"]}
    answers = [
        ([master], "This agent has asked DNS."),
        (None, "DNS does not answer"),
        ([], "named nobody"),
        ([master, "b:1"], "b:1"),
    ]
    for masters, text in answers:
        account.status["dns"] = [{"service": "redis", "masters": masters, "seconds": {}}]
        window.open(f"http://{account.page}/")
        window.wait_for(text, "#verdict")
        assert ("Promise kept" in window.text("#verdict")) == (masters in ([master], None))


def test_a_page_that_nobody_sees_asks_nothing(account: Account, window: Browser) -> None:
    """It sets no alarm while it is hidden, and follows again as soon as somebody looks."""
    window.open(f"http://{account.page}/")
    window.wait_for("follows live")
    window.run("""
        const before = setTimeout;
        window.alarms = 0;
        window.setTimeout = (...how) => { window.alarms++; return before(...how); };
        Object.defineProperty(document, "visibilityState", {value: "hidden", configurable: true});
    """)
    asked = window.text("#pulse")
    until(lambda: window.text("#pulse") != asked, within=10, what="the question that was under way is answered")
    assert window.run("return window.alarms") == 0
    asked = window.text("#pulse")
    window.run("delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: window.text("#pulse") != asked, within=10, what="the page follows again")
    assert window.run("return window.alarms") > 0
