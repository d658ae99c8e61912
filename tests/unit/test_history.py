"""The history of a Redis node: what an episode is made of, when it begins and ends, and that it never grows without bound."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from consul_redis_agent.consul.form import Update
from consul_redis_agent.decide.decision import Decision, Do, Order, Reason, Verdict
from consul_redis_agent.decide.facts import Node, Selection, Silence
from consul_redis_agent.publish.steps import Target
from consul_redis_agent.tell import history, shelf
from consul_redis_agent.tell.episode import FIRST, LAST
from consul_redis_agent.tell.history import LONGEST, LOOK_BACK, RING, SETTLED, UNSETTLED, History
from consul_redis_agent.tell.tale import SIGNS
from tests.documented import assert_documented
from tests.doubles.facts import NOW, WHERE, facts, master, replica, sentinels

FIXTURE = json.loads((Path(__file__).parents[1] / "doubles" / "history.json").read_text())
REPLICATES = Decision(Verdict.REPLICA, Reason.REPLICATES, "Redis is a healthy replica of 10.0.0.2:6379.")
NAMED = Decision(Verdict.MASTER, Reason.NAMED, "Redis is a master, and 3 of 3 Sentinels name it.")
GONE = Decision(Verdict.NONE, Reason.SILENT, "Redis does not answer: nothing listens there.")
SELECTED = Decision(Verdict.MASTER, Reason.SELECTED, "Redis is a master, and the leader has selected it.")
MISSED = Decision(Verdict.KEEP, Reason.MISSED, "One look at Redis failed (no answer); looking again.")


class Story:
    """One node, a, whose decisions and facts are given one after the other, at seconds from the beginning."""

    def __init__(self, directory: Path | None = None) -> None:
        self.history = History(directory)
        self.now = NOW
        self.stray = 0
        self.node: Any = SimpleNamespace(
            name="10.0.0.1:6379",
            facts=None,
            latest=None,
            decided=0.0,
            naming=SimpleNamespace(service="redis"),
            lookout=SimpleNamespace(publish_at=WHERE["a"]),
            writer=SimpleNamespace(at_rest=True),
        )

    def decides(self, at: float, node: Node | Silence | None, decision: Decision, **more: Any) -> None:
        """A decision on what the node and, unless ``watched`` says otherwise, three Sentinels that name b have said."""
        self.now = NOW + at
        watched = tuple(replace(s, at=self.now) for s in more.pop("watched", sentinels("b", "b", "b")))
        known = facts(replace(node, at=self.now) if node else None, watched, **more)
        self.node.facts, self.node.latest, self.node.decided = replace(known, now=self.now), decision, self.now
        self.history.decided(self.node, self.stray)

    def steps(self, at: float, error: str = "") -> None:
        """Consul answers a write, 3 ms after it was sent."""
        self.now = NOW + at
        self.history.stepped(self.node, Update("redis-6379", passing=True), self.now - 0.003, error)

    def holds(self, at: float) -> None:
        """Consul holds what was decided 5 ms ago."""
        self.now = NOW + at
        self.history.written(self.node, Target(self.now, ()), 0.005)

    def names(self, at: float, *names: str) -> None:
        """DNS answers with these nodes from then on."""
        self.now = NOW + at
        self.history.dns("redis", tuple(WHERE[name] for name in names), self.now)

    def is_promoted(self) -> None:
        """The link breaks, b is held for down 5 s later, a is promoted at 5.4 s and published at 5.408."""
        self.decides(0.0, replica(), REPLICATES)
        self.names(0.1, "b")
        self.decides(1.0, replica(link_up=False), REPLICATES)
        self.names(1.2)
        down = tuple(replace(s, down=True) for s in sentinels("b", "b", "b"))
        self.decides(6.0, replica(link_up=False), REPLICATES, watched=down)
        chosen = (replace(down[0], promoting="a", selection=Selection(7, "a", NOW + 6.3)), *down[1:])
        self.decides(6.301, replica(link_up=False), REPLICATES, watched=chosen)
        self.decides(6.402, master(turned=NOW + 6.4), SELECTED, watched=chosen)
        self.steps(6.407)
        self.holds(6.408)
        self.names(6.409, "a")
        self.decides(7.5, master(turned=NOW + 6.4), NAMED, watched=sentinels("a", "a", "a", epoch=7))

    @property
    def episodes(self) -> list[dict[str, Any]]:
        """As any program reads them."""
        found: list[dict[str, Any]] = json.loads(self.history.json())["episodes"]
        return found


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    """A history in memory only, whose clock is the story's."""
    made = Story()
    monkeypatch.setattr(history, "clock", lambda: made.now)
    return made


def keys(episode: dict[str, Any]) -> list[tuple[float, str]]:
    """When and what."""
    return [(event["at"], event["name"]) for event in episode["events"]]


def test_a_promotion_is_told_from_its_first_sign_on(story: Story) -> None:
    """The broken link, long before anything was decided, and everything in the order in which it happened."""
    story.is_promoted()
    (episode,) = story.episodes
    assert keys(episode) == [
        (0.0, "redis_link"),
        (0.2, "dns_answers"),
        *[(5.0, "sentinel_down")] * 3,
        (5.3, "sentinel_selected"),
        (5.301, "sentinel_failover"),
        (5.4, "redis_turned"),
        (5.402, "decided"),
        (5.407, "consul_step"),
        (5.408, "consul_holds"),
        (5.409, "dns_answers"),
        (6.5, "sentinel_failover"),
        *[(6.5, "sentinel_names")] * 3,
        (6.5, "decided"),
    ]
    assert (episode["kind"], episode["from"], episode["to"], episode["ended"]) == (
        "promotion",
        "replica",
        "master",
        None,
    )


def test_it_says_where_the_time_went_and_what_was_lost(story: Story) -> None:
    """In seconds, for programs, and in the sentence, for people."""
    story.is_promoted()
    (episode,) = story.episodes
    assert episode["seconds"] == {
        "promotion_to_decision": 0.002,
        "decision_to_consul": 0.006,
        "consul_to_dns": 0.001,
        "two": 0.0,
        "none": 5.209,
    }
    assert "Consul held it 8.0 ms after Redis had turned, DNS named it 1.0 ms later" in episode["sentence"]
    assert (episode["answers"], episode["lost"]) == (["10.0.0.2:6379"], {"stray_writes": 0})


def test_a_killed_master_is_told_from_its_own_side(story: Story) -> None:
    """Gone, withdrawn, and who took over while it was away; two answers of DNS are counted."""
    story.decides(0.0, master(), NAMED, watched=sentinels("a", "a", "a"))
    story.names(0.5, "a")
    story.decides(2.0, Silence(0.0, "nothing listens there", 1, gone=True), GONE, watched=sentinels("a", "a", "a"))
    story.names(2.5, "a", "b")
    story.names(3.5, "b")
    story.stray = 3
    story.decides(4.0, Silence(0.0, "nothing listens there", 2, gone=True), GONE, watched=sentinels("b", "b", "b"))
    (episode,) = story.episodes
    assert (episode["kind"], episode["seconds"]["two"], episode["lost"]) == ("withdrawal", 1.0, {"stray_writes": 3})
    assert episode["sentence"] == "10.0.0.1:6379 is the master no longer: Redis does not answer: nothing listens there."
    assert {"redis_turned", "decided", "sentinel_names", "stray_writes"} <= {name for _, name in keys(episode)}


def test_who_only_looks_on_tells_of_the_failover_too(story: Story) -> None:
    """A replica that follows the next master."""
    story.decides(0.0, replica("b"), REPLICATES)
    story.decides(9.0, replica("c"), REPLICATES, watched=sentinels("c", "c", "c"))
    assert [(e["kind"], e["sentence"]) for e in story.episodes] == [
        ("failover", "10.0.0.3:6379 became the master, and 10.0.0.1:6379 follows it.")
    ]


def test_an_order_and_how_it_went_are_told(story: Story) -> None:
    """Also where the node refuses it."""
    order = Order(Do.FOLLOW, "10.0.0.2:6379 says that it is the master", WHERE["b"])
    story.decides(0.0, master(), NAMED)
    story.decides(1.0, master(), replace(NAMED, order=order))
    story.now = NOW + 1.01
    story.history.carried_out(story.node, order, NOW + 1.002, "NOPERM no right")
    events = {event["name"]: event for event in story.episodes[0]["events"]}
    assert (events["fence_ordered"]["order"], events["fence_ordered"]["to"]) == ("follow", "10.0.0.2:6379")
    assert (events["fence_done"]["seconds"], events["fence_done"]["error"]) == (0.008, "NOPERM no right")


def test_nothing_is_told_of_what_changes_nothing(story: Story) -> None:
    """Neither the start of an agent nor a look that failed, nor a Sentinel that was away; and none of it takes memory."""
    story.decides(0.0, None, Decision(Verdict.KEEP, Reason.UNSEEN, "Redis has not been looked at yet."))
    story.decides(0.1, master(), replace(NAMED, verdict=Verdict.PENDING, reason=Reason.FIRST))
    story.decides(0.2, master(), NAMED)
    story.names(0.3, "a")
    for second in range(1, 200):
        away = sentinels("a", "", "a") if second % 2 else sentinels("a", "a", "a")
        story.decides(second, Silence(0.0, "no answer", 1), MISSED, watched=away)
        story.decides(second + 0.5, master(), NAMED, watched=away)
        story.steps(second + 0.6)
    assert story.episodes == []
    (recorder,) = story.history._nodes.values()
    assert len(recorder._ring) <= RING


@pytest.mark.parametrize(("decision", "quiet"), [(REPLICATES, SETTLED), (GONE, UNSETTLED)])
def test_an_episode_ends_when_the_node_is_settled(story: Story, decision: Decision, quiet: float) -> None:
    """Soon where it is published, and later where it is not, since more is to come; what comes then is the next one."""
    story.decides(0.0, master(), NAMED)
    story.decides(1.0, replica(), decision)
    story.decides(0.9 + quiet, replica(), decision)
    assert story.episodes[0]["ended"] is None
    story.decides(1.1 + quiet, replica(), decision)
    assert story.episodes[0]["ended"] == pytest.approx(story.episodes[0]["began"], abs=0.002)
    story.decides(2.0 + quiet, master(), NAMED)
    assert [(e["from"], e["to"]) for e in story.episodes] == [
        ("master", decision.verdict),
        (decision.verdict, "master"),
    ]


def test_what_consul_has_not_taken_yet_is_not_settled(story: Story) -> None:
    """The answer belongs to the episode, however late it comes."""
    story.decides(0.0, replica(), REPLICATES)
    story.decides(1.0, master(), NAMED)
    story.node.writer.at_rest = False
    story.decides(2.0 + SETTLED, master(), NAMED)
    story.holds(10.0)
    assert keys(story.episodes[0])[-1] == (9.0, "consul_holds")


def test_what_goes_on_and_on_is_told_in_parts(story: Story) -> None:
    """Each within its bounds: its beginning, its end, and how much found no room between."""
    story.decides(0.0, master(), NAMED)
    for turn in range(1, int(LONGEST) + 10):
        story.decides(turn, *((replica(), REPLICATES) if turn % 2 else (master(), NAMED)))
    first, second = story.episodes
    assert (len(first["events"]), len(second["events"]) < 40) == (FIRST + LAST, True)
    assert first["left_out"] > LONGEST
    assert first["ended"] - first["began"] == pytest.approx(LONGEST, abs=3)


def test_old_signs_are_no_cause(story: Story) -> None:
    """A link that was down for a moment an hour ago."""
    story.decides(0.0, replica(), REPLICATES)
    story.decides(1.0, replica(link_up=False), REPLICATES)
    story.decides(2.0, replica(), REPLICATES)
    story.decides(3.0 + LOOK_BACK, master(), NAMED)
    assert keys(story.episodes[0])[0] == (0.0, "redis_turned")


def test_what_was_put_right_is_no_cause(story: Story) -> None:
    """A start of the agent, before which DNS named nobody; a link that was down for a moment."""
    story.decides(0.0, replica(), REPLICATES)
    story.names(0.1)
    story.names(0.5, "b")
    story.decides(1.0, replica(link_up=False), REPLICATES)
    story.decides(2.0, replica(), REPLICATES)
    story.decides(3.0, master(), NAMED)
    assert keys(story.episodes[0])[0] == (0.0, "redis_turned")
    assert story.episodes[0]["answers"] == ["10.0.0.2:6379"]


def test_every_event_has_the_fields_that_the_table_names(story: Story) -> None:
    """In a story of ours, and in the example that pages are drawn from."""
    story.is_promoted()
    assert_documented("history", json.loads(story.history.json()))
    assert_documented("history", FIXTURE)
    for episode in (*story.episodes, *FIXTURE["episodes"]):
        assert shelf.is_episode(episode)
        for event in episode["events"]:
            lane, _, fields = SIGNS[event["name"]]
            assert (event["lane"], event.keys()) == (lane, {"at", "lane", "name", "text", *fields})


def test_a_node_that_is_looked_after_no_longer_has_no_story_going_on(story: Story) -> None:
    """A reload has taken it out of the configuration: its last episode ends, and stays."""
    story.is_promoted()
    ended = []
    for names in ({story.node.name}, {"10.0.0.9:6379"}):
        story.history.only(names)
        ended += [episode["ended"] is not None for episode in story.episodes]
    assert (ended, len(story.history._nodes)) == ([False, True], 0)


# Kept over restarts


async def ended(story: Story) -> None:
    """Let the process end, and wait until all is written."""
    story.history.close()
    await settled(story)


async def settled(story: Story) -> None:
    """Wait until nothing is being written, or can be."""
    if saving := story.history._shelf._saving:
        await asyncio.wait([saving])


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Story:
    """The same, with a state directory."""
    made = Story(tmp_path)
    monkeypatch.setattr(history, "clock", lambda: made.now)
    return made


async def test_what_was_told_outlives_a_restart(kept: Story, tmp_path: Path) -> None:
    """The end of the process ends what goes on."""
    kept.is_promoted()
    (before,) = kept.episodes
    await ended(kept)
    (after,) = Story(tmp_path).episodes
    assert after == before | {"ended": pytest.approx(before["began"] + 6.5)}


async def test_what_goes_on_outlives_a_kill(kept: Story, tmp_path: Path) -> None:
    """It is written down meanwhile, and has ended with the agent."""
    kept.is_promoted()
    await settled(kept)
    kept.decides(20.0, replica(), REPLICATES)
    await settled(kept)
    first, second = Story(tmp_path).episodes
    assert (first["kind"], second["kind"], second["ended"]) == ("promotion", "withdrawal", second["began"])


@pytest.mark.parametrize(
    "text", [b"{", b"[]\n", b"7", b"\xff\xfe\x00", b'{"node": "a"}\n', b"9" * 5000, b" " * (2 * shelf.ROOM + 1)]
)
def test_a_broken_file_is_said_and_begun_anew(tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Half a file, or another's: the agent starts, without a past."""
    (tmp_path / shelf.FILE).write_bytes(text)
    assert Story(tmp_path).episodes == []
    (record,) = caplog.records
    assert "cannot be read" in record.getMessage()
    assert vars(record)["event"] == "history_unreadable"


async def test_a_full_disk_stops_nothing_and_is_said_once(
    kept: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was kept before stays, memory has everything, and it is written as soon as that is possible."""
    real = os.fsync

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    kept.is_promoted()
    kept.decides(20.0, master(), NAMED)
    await settled(kept)
    before = (tmp_path / shelf.FILE).read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    for at in (30.0, 40.0, 50.0):
        kept.decides(at, *((master(), NAMED) if at == 40.0 else (replica(), REPLICATES)))
        await settled(kept)
    assert (tmp_path / shelf.FILE).read_bytes() == before
    assert [r.getMessage() for r in caplog.records if "No space left" in r.getMessage()] == [
        f"{tmp_path / shelf.FILE}: cannot be written: No space left on device; history is kept in memory only, until it can be"
    ]
    monkeypatch.setattr(os, "fsync", real)
    await ended(kept)
    assert len(Story(tmp_path).episodes) == len(kept.episodes) > 1


async def test_a_disk_that_hangs_gets_no_second_piece_of_work(kept: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it hangs, and however much happens."""
    never = asyncio.get_running_loop().create_future()
    start = Mock(return_value=never)
    monkeypatch.setattr(shelf._WRITER, "start", start)
    kept.is_promoted()
    for at in range(20, 200, 10):
        kept.decides(at, *((master(), NAMED) if at % 20 else (replica(), REPLICATES)))
    start.assert_called_once()
    never.cancel()


def test_the_oldest_leave_first(tmp_path: Path) -> None:
    """Where there are too many, or too many bytes."""
    many = shelf.Shelf(None)
    for number in range(shelf.EPISODES + 5):
        many.add({"n": number})
    assert [json.loads(text)["n"] for text in many.texts()] == [*range(5, shelf.EPISODES + 5)]
    large = shelf.Shelf(None)
    for number in range(9):
        large.add({"n": number, "text": "x" * (shelf.ROOM // 4)})
    assert [json.loads(text)["n"] for text in large.texts()] == [6, 7, 8]


def test_without_a_directory_nothing_is_written(story: Story) -> None:
    """Also where there is no event loop any more."""
    story.is_promoted()
    story.history.close()
    assert len(story.episodes) == 1
    assert story.episodes[0]["ended"] is not None
