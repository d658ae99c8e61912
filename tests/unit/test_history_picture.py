"""The picture of an episode: well-formed, whole, with no label over another, whatever the episode says."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consul_redis_agent.commands.history_lanes import closely, lanes, moment, tiles
from consul_redis_agent.commands.history_picture import WIDTH, picture, width
from consul_redis_agent.tell.shelf import is_episode
from consul_redis_agent.tell.tale import SIGNS

SVG = "{http://www.w3.org/2000/svg}"
FIXTURE: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "doubles" / "history.json").read_text())[
    "episodes"
]
KILLED, PROMOTED, BACK = FIXTURE
WORDS = st.text(max_size=60)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "from": st.sampled_from(["master", "replica", "none", "gone", "silent", ""]),
    "to": st.sampled_from(["master", "replica", "none", "pending", "keep", "10.0.0.2:6379"]) | WORDS,
    "sentinel": st.sampled_from(["10.0.0.5:26379", "[2001:db8:1234:5678:9abc:def0:1234:5678]:26379"]),
    "seconds": st.floats(0, 1e4),
    "epoch": st.none() | st.integers(0, 2**64),
    "answers": st.none() | st.lists(st.sampled_from(["10.0.0.1:6379", "10.0.0.2:6379"]), max_size=3),
    "count": st.integers(0, 10**9),
    **dict.fromkeys(("down", "up", "begun", "reached"), st.booleans()),
}


@st.composite
def episodes(draw: st.DrawFn) -> dict[str, Any]:
    """Any that has the shape, with whatever others may have put into it."""
    events = []
    for at in sorted(draw(st.lists(st.floats(0, 600) | st.floats(5, 5.02), min_size=1, max_size=40))):
        name = draw(st.sampled_from(sorted(SIGNS)))
        lane, _, fields = SIGNS[name]
        given = {field: draw(VALUES.get(field, WORDS)) for field in fields}
        events.append({"at": at, "lane": lane, "name": name, "text": draw(WORDS)} | given)
    base: dict[str, Any] = draw(st.sampled_from(FIXTURE))
    return base | {"events": events, "sentence": draw(WORDS), "node": draw(WORDS)}


def texts(drawn: ET.Element) -> list[tuple[float, float, float, str]]:
    """From, to, baseline and words of each text, in pixels."""
    found = []
    for text in drawn.iter(f"{SVG}text"):
        x, y, size = (float(text.attrib[key]) for key in ("x", "y", "font-size"))
        long = width(text.text or "", size)
        left = {"end": x - long, "middle": x - long / 2}.get(text.attrib.get("text-anchor", ""), x)
        found.append((left, left + long, y, text.text or ""))
    return found


@settings(max_examples=60, deadline=None)
@given(episodes())
def test_no_label_leaves_the_picture_or_covers_another(episode: dict[str, Any]) -> None:
    """However much happens in however short a time; it is XML, whatever was said."""
    assert is_episode(episode)
    drawn = ET.fromstring(picture(episode))
    height = float(drawn.attrib["height"])
    shown = sorted(texts(drawn), key=lambda text: (text[2], text[0]))
    assert [text for text in shown if text[0] < 0 or text[1] > WIDTH or not 0 < text[2] < height] == []
    level = [(a, b) for a, b in pairwise(shown) if abs(a[2] - b[2]) < 9]
    assert [(a[3], b[3]) for a, b in level if a[1] > b[0] + 0.1 and abs(a[2] - b[2]) < 0.1] == []


@pytest.mark.parametrize("episode", FIXTURE, ids=lambda episode: episode["kind"])
def test_a_reader_of_the_screen_is_told_everything(episode: dict[str, Any]) -> None:
    """Text is text; title and description are those of the picture, and nothing comes from elsewhere."""
    svg = picture(episode)
    drawn = ET.fromstring(svg)
    assert (drawn.attrib["role"], drawn.attrib["aria-labelledby"]) == ("img", "title desc")
    title, told = drawn.find(f"{SVG}title"), drawn.find(f"{SVG}desc")
    assert title is not None
    assert told is not None
    assert title.text == episode["sentence"]
    assert [e["text"] for e in episode["events"] if e["text"].rstrip(".") not in (told.text or "")] == []
    assert re.findall(r"(?:href|src|url\(|@import|<script|<image)", svg) == []
    assert "prefers-color-scheme:dark" in svg


def test_the_picture_in_the_documentation_is_current() -> None:
    """It is that of the example: `consul-redis-agent history --svg docs/pictures/history.svg` on its promotion."""
    assert (Path(__file__).parents[2] / "docs" / "pictures" / "history.svg").read_text() == picture(PROMOTED)


def test_hostile_names_are_only_text() -> None:
    """What a Sentinel or a Redis node calls itself can neither end the picture nor begin a script in it."""
    evil = '</text><script>alert(1)</script>"\x1b[2J\x00\ud800'
    events = [event | {"text": evil, "sentinel": evil, "to": evil} for event in PROMOTED["events"]]
    svg = picture(PROMOTED | {"events": events, "sentence": evil, "node": evil, "service": evil})
    assert {each.tag.removeprefix(SVG) for each in ET.fromstring(svg).iter()} == {
        *("svg", "title", "desc", "style", "rect", "text", "line", "g")
    }
    svg.encode()


def test_lanes_go_from_cause_to_effect() -> None:
    """Who saw it, what the node was, what was decided, what was written, what DNS said."""
    assert [lane.name for lane in lanes(PROMOTED)] == [
        *("Sentinel 10.0.0.5:26379", "Sentinel 10.0.0.6:26379", "Sentinel 10.0.0.7:26379"),
        *("Redis", "decision", "Consul", "DNS names"),
    ]
    redis, decision, _, dns = lanes(PROMOTED)[3:]
    assert [(bar.text, bar.looks) for bar in redis.bars] == [("replica", ("pale",)), ("master", ("own",))]
    assert [bar.text for bar in decision.bars] == ["replica", "master"]
    assert [(bar.text, bar.looks) for bar in dns.bars] == [
        ("10.0.0.1:6379", ("other",)),
        ("nobody", ("none",)),
        ("10.0.0.2:6379", ("own",)),
    ]


def test_two_answers_of_dns_are_two_bars_in_one() -> None:
    """The one thing that must never be, to be seen at a glance."""
    two = [
        event | {"answers": ["10.0.0.1:6379", "10.0.0.2:6379"]} if event["lane"] == "dns" else event
        for event in KILLED["events"]
    ]
    *_, dns = lanes(KILLED | {"events": two})
    assert dns.bars[-1].looks == ("own", "other")


def test_figures_say_where_the_time_went_and_what_was_lost() -> None:
    """Each with its words; what nobody has measured is left out."""
    assert [figure for figure, _ in tiles(PROMOTED)] == [
        "5.3 s",
        "73.8 ms",
        "2.3 ms",
        "5.1 ms",
        "1.1 ms",
        "5.4 s",
        "0 s",
        "0",
    ]
    blind = BACK | {"seconds": dict.fromkeys(BACK["seconds"])}
    assert tiles(blind) == [("2", "stray writes")]


def test_the_change_itself_is_shown_closely() -> None:
    """The milliseconds round a promotion or a withdrawal, where the whole takes seconds."""
    assert [moment(episode) for episode in FIXTURE] == [(0.0021, "withdrawal"), (5.3998, "promotion"), None]
    assert closely(PROMOTED) == pytest.approx((5.3398, 5.5198))
    assert closely(BACK) is None
    late = PROMOTED | {"seconds": PROMOTED["seconds"] | {"consul_to_dns": 0.4}}
    assert closely(late) == pytest.approx((5.3398, 5.3998 + 1.3 * 0.4074))
