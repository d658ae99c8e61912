"""One episode as lanes over time: bars of what held for a while, marks of what happened. Pure; how it looks is told elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from consul_redis_agent.tell.tale import span

Episode = Mapping[str, Any]
Look = Literal["own", "pale", "other", "none", "unknown"]
"""How a bar is drawn: this node as master, as replica, another node, nobody, not known."""

AROUND = 0.06, 0.12
"""Seconds before and after the moment of the change that are shown once more, larger; more where DNS followed later."""
WIDEST = 1.0


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that held from one second to another. More than one look: DNS named that many."""

    since: float
    until: float
    text: str
    looks: tuple[Look, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, in a few words; ``rank`` says how telling it is, 0 most; ``text`` is the whole sentence."""

    at: float
    label: str
    rank: int
    text: str


@dataclass(slots=True)
class Lane:
    """Who saw or did something."""

    name: str
    bars: list[Bar] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)


def lanes(episode: Episode) -> list[Lane]:
    """From cause to effect: Sentinels, the Redis node, what was decided, the fence, Consul, DNS."""
    events, end = episode["events"], length(episode)
    of: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        of.setdefault(
            f"Sentinel {event.get('sentinel', '')}" if event["lane"] == "sentinel" else event["lane"], []
        ).append(event)
    made = [Lane(name, [], _marks(found)) for name, found in sorted(of.items()) if name.startswith("Sentinel ")]
    redis = Lane("Redis", _bars(_turns(episode), end, _role), _marks(of.get("redis", ()), but="redis_turned"))
    decided = Lane("decision", _bars(_verdicts(episode), end, _role), _marks(of.get("decision", ())))
    made += [redis, decided]
    made += [Lane(name, [], _marks(of[key])) for key, name in (("fence", "fence"), ("consul", "Consul")) if key in of]
    named = [(-inf, episode.get("answers")), *((e["at"], e.get("answers")) for e in of.get("dns", ()))]
    if any(answers is not None for _, answers in named):
        own = _own(episode)
        made.append(Lane("DNS names", _bars(named, end, lambda answers: _answer(answers, own))))
    return made


def length(episode: Episode) -> float:
    """Seconds from the first sign to the last; a little where there is one only."""
    return max(0.05, 1.04 * max((event["at"] for event in episode["events"]), default=0.0))


def moment(episode: Episode) -> tuple[float, str] | None:
    """The second in which the node changed, and what happened then; None: nothing of that kind is known."""
    events = episode["events"]
    promotions = (e for e in events if e["name"] == "redis_turned" and e.get("to") == "master")
    if episode["kind"] == "promotion" and (turned := next(promotions, None)):
        return turned["at"], "promotion"
    for event in events:
        if event["name"] == "decided" and event.get("from") == "master" and event.get("to") not in ("master", "keep"):
            return event["at"], "withdrawal"
    claims = (e["at"] for e in events if e["name"] == "claim_shown" and e.get("to"))
    return next(((at, "new claim") for at in claims), None)


def closely(episode: Episode) -> tuple[float, float] | None:
    """The seconds around the change that are worth a second look; None where the whole shows them as well."""
    if (found := moment(episode)) is None:
        return None
    at, _ = found
    took = sum(v for k, v in episode["seconds"].items() if v is not None and k not in ("two", "none"))
    since, until = at - AROUND[0], at + min(WIDEST, max(AROUND[1], 1.3 * took))
    return (since, until) if length(episode) > 3 * (until - since) else None


def tiles(episode: Episode) -> list[tuple[str, str]]:
    """Where the time went and what was lost: a figure and what it is, each."""
    seconds, events = episode["seconds"], episode["events"]
    found = moment(episode)
    made = []
    if found and found[1] == "promotion":
        chosen = next((e["at"] for e in events if e["name"] == "sentinel_selected" and e["at"] <= found[0]), None)
        if chosen is not None:
            made += [(span(chosen), "first sign → selected"), (span(found[0] - chosen), "selected → promoted")]
    for key, words in (
        ("promotion_to_decision", "promoted → decided"),
        ("decision_to_consul", "decided → Consul"),
        ("consul_to_dns", "Consul → DNS"),
    ):
        if seconds.get(key) is not None:
            made.append((span(seconds[key]), words))
    for key, words in (("none", "DNS named nobody"), ("two", "DNS named two")):
        if seconds.get(key) is not None:
            made.append((span(seconds[key]) if seconds[key] else "0 s", words))
    return [*made, (str(episode["lost"].get("stray_writes", 0)), "stray writes")]


def _own(episode: Episode) -> str:
    """The address under which this node is published, as far as its claim tells."""
    named = [e for e in episode["events"] if e["name"] == "dns_answers" and e.get("answers")]
    if episode.get("to") == "master" and named:
        return str(named[-1]["answers"][0])
    if episode.get("from") == "master" and episode.get("answers"):
        return str(episode["answers"][0])
    return str(episode["node"])


def _turns(episode: Episode) -> list[tuple[float, str | None]]:
    turns = [e for e in episode["events"] if e["name"] == "redis_turned"]
    first = turns[0].get("from") if turns else episode.get("from")
    return [(-inf, first), *((e["at"], str(e.get("to"))) for e in turns)]


def _verdicts(episode: Episode) -> list[tuple[float, str | None]]:
    decided = [e for e in episode["events"] if e["name"] == "decided" and e.get("to") != "keep"]
    return [(-inf, episode.get("from")), *((e["at"], str(e.get("to"))) for e in decided)]


def _bars(changes: Iterable[tuple[float, Any]], end: float, look: Any) -> list[Bar]:
    """Bars between changes; what is not known is none, what does not change is one bar."""
    made: list[Bar] = []
    every = [*changes]
    for (at, what), until in zip(every, [*(at for at, _ in every[1:]), end], strict=True):
        shown = look(what)
        if shown is None:
            continue
        text, looks = shown
        if made and made[-1].until == at and (made[-1].text, made[-1].looks) == (text, looks):
            made[-1] = Bar(made[-1].since, until, text, looks)
        elif until > at:
            made.append(Bar(at, until, text, looks))
    return made


def _role(role: str | None) -> tuple[str, tuple[Look, ...]] | None:
    if not role or role == "unknown":
        return None
    looks: dict[str, Look] = {"master": "own", "replica": "pale", "pending": "pale"}
    return ("not published" if role == "none" else role), (looks.get(role, "none"),)


def _answer(answers: list[str] | None, own: str) -> tuple[str, tuple[Look, ...]] | None:
    if answers is None:
        return "no answer", ("unknown",)
    if not answers:
        return "nobody", ("none",)
    return " and ".join(answers), tuple("own" if answer == own else "other" for answer in answers)


def _marks(events: Iterable[Mapping[str, Any]], but: str = "") -> list[Mark]:
    return [Mark(e["at"], *_label(e), e["text"]) for e in events if e["name"] != but]


def _label(event: Mapping[str, Any]) -> tuple[str, int]:
    """A few words and how telling they are."""
    to, error = event.get("to"), event.get("error")
    seconds = f" {span(event['seconds'])}" if isinstance(event.get("seconds"), int | float) else ""
    match event["name"]:
        case "sentinel_down":
            return ("holds it for down" if event.get("down") else "holds it for up"), 1
        case "sentinel_failover":
            return ("fails over" if event.get("begun") else "failover ended"), 2
        case "sentinel_selected":
            return f"selects {to}", 0
        case "sentinel_names":
            return f"names {to}", 1
        case "sentinel_reached":
            return ("in reach" if event.get("reached") else "out of reach"), 2
        case "redis_restarted":
            return "restarted", 0
        case "redis_follows":
            return f"follows {to}", 1
        case "redis_link":
            return ("link up" if event.get("up") else "link down"), 2
        case "decided":
            rank = 3 if to == "keep" else 1 if event.get("from") == to else 0
            verdict = {"keep": "", "none": "not published: "}.get(str(to), f"{to}: ")
            return verdict + str(event.get("reason", "")).replace("_", " "), rank
        case "claim_shown":
            return (f"shows {to}" if to else "shows no claim"), 2
        case "consul_step":
            what = {"transact": "transaction"}.get(str(event.get("step")), str(event.get("step")))
            return f"{what}{' failed' if error else ''}{seconds}", 0 if what == "transaction" else 3
        case "consul_holds":
            return f"all done{seconds}", 1
        case "fence_ordered":
            return f"{str(event.get('order', '')).replace('_', ' ')} ordered", 1
        case "fence_done":
            return f"{str(event.get('order', '')).replace('_', ' ')} {'failed' if error else 'done'}{seconds}", 0
        case "stray_writes":
            return f"{event.get('count')} stray writes", 0
    return str(event["name"]).replace("_", " "), 3
