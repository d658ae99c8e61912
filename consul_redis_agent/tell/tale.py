"""An episode as programs read it, and in a sentence for people. Pure. Imported when there is one: it takes memory.

As JSON (times in seconds, ``at`` and ``seconds`` on the monotonic clock, ``began`` and ``ended`` on the wall's)::

    {"node": "127.0.0.1:6379", "service": "redis", "kind": "promotion", "began": 1764160000.1, "ended": null, "sentence": "…",
     "from": "replica", "to": "master", "answers": ["10.0.0.1:6379"],
     "events": [{"at": 0.0, "lane": "sentinel", "name": "sentinel_down", "text": "…", "sentinel": "10.0.0.5:26379", "down": true}],
     "seconds": {"promotion_to_decision": 0.004, "decision_to_consul": 0.003, "consul_to_dns": null, "two": 0.0, "none": 5.1},
     "lost": {"stray_writes": 0}, "left_out": 0}

``from`` and ``to`` are what the node was published as before and after, ``answers`` is what DNS said when it began (null: nobody
asked), ``left_out`` counts events that found no room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Literal

from consul_redis_agent.tell.episode import Episode, Sign

Lane = Literal["redis", "sentinel", "decision", "consul", "dns", "fence"]

SIGNS: dict[str, tuple[Lane, str, tuple[str, ...]]] = {
    "redis_turned": ("redis", "The Redis node is something else than before: master, replica, loading, silent or gone.", ("from", "to")),
    "redis_restarted": ("redis", "It is another process than before.", ("run_id",)),
    "redis_follows": ("redis", "A replica follows another master.", ("to",)),
    "redis_link": ("redis", "A replica has lost the link to its master, or has it again.", ("up",)),
    "sentinel_down": ("sentinel", "A Sentinel holds the master for down, or no longer.", ("sentinel", "down")),
    "sentinel_failover": ("sentinel", "A Sentinel fails the master over, or has given that up.", ("sentinel", "begun")),
    "sentinel_selected": ("sentinel", "A Sentinel was elected leader and has selected a node.", ("sentinel", "to", "epoch")),
    "sentinel_names": ("sentinel", "A Sentinel names a master, with its configuration epoch.", ("sentinel", "to", "epoch")),
    "sentinel_reached": ("sentinel", "A Sentinel cannot be asked, or can be again.", ("sentinel", "reached", "error")),
    "decided": ("decision", "What was decided for the node. reason: the row's name.", ("from", "to", "reason", "epoch")),
    "claim_shown": ("consul", "Consul shows a node's claim, or none any more (to is empty).", ("to", "epoch")),
    "consul_step": ("consul", "A write to Consul was answered.", ("step", "seconds", "error")),
    "consul_holds": ("consul", "Consul holds what was decided.", ("seconds",)),
    "dns_answers": ("dns", "DNS gives another answer (null: none at all).", ("answers",)),
    "fence_ordered": ("fence", "The fence, or a Sentinel, is given an order.", ("order", "to")),
    "fence_done": ("fence", "The order was carried out, or refused.", ("order", "seconds", "error")),
    "stray_writes": ("fence", "The node was given keys to write without authority.", ("count",)),
}  # fmt: skip
"""What an episode is made of: lane, meaning and fields of each name. Stable: other programs may rely on them."""


def as_json(episode: Episode) -> dict[str, Any]:
    """The episode as other programs read it."""
    signs = episode.signs
    began = signs[0].at
    seconds = _seconds(episode, signs)
    kind = _kind(episode, signs)
    return {
        "node": episode.node,
        "service": episode.service,
        "kind": kind,
        "began": round(episode.wall + began, 3),
        "ended": round(episode.wall + signs[-1].at, 3) if episode.ended else None,
        "sentence": _sentence(episode, kind, signs, seconds),
        "from": episode.before.verdict,
        "to": episode.after.verdict,
        "answers": episode.answers,
        "events": [
            {"at": _short(s.at - began), "lane": SIGNS[s.name][0], "name": s.name, "text": s.text} | s.fields
            for s in signs
        ],
        "seconds": seconds,
        "lost": {"stray_writes": episode.after.stray - episode.before.stray},
        "left_out": episode.left_out,
    }


def _kind(episode: Episode, signs: list[Sign]) -> str:
    before, after = episode.before, episode.after
    if after.verdict == "master":
        if before.verdict != "master":
            return "promotion"
        return "restart" if after.run_id != before.run_id else "disturbance"
    if before.verdict == "master":
        return "withdrawal"
    if any(s.name == "redis_follows" for s in signs):
        return "failover"
    return "return" if after.verdict == "replica" and before.verdict != "replica" else "disturbance"


def _sentence(episode: Episode, kind: str, signs: list[Sign], seconds: dict[str, float | None]) -> str:
    decided = [s for s in signs if s.name == "decided"]
    match kind:
        case "promotion":
            return f"{episode.node} became the master{_epoch(decided)}{_measured(seconds)}."
        case "withdrawal":
            left = next((s.text for s in decided if s.fields["from"] == "master"), "it is not known why.")
            return f"{episode.node} is the master no longer: {left}"
        case "restart":
            return f"Redis at {episode.node} was restarted, and is the master still."
        case "failover":
            to = next(s.fields["to"] for s in reversed(signs) if s.name == "redis_follows")
            return f"{to} became the master, and {episode.node} follows it."
        case "return":
            return f"{episode.node} is back as a replica."
    state = episode.after.verdict if episode.after.verdict in ("master", "replica") else "not published"
    return f"{episode.node} is {state}, as before. It began with this: {signs[0].text.rstrip('.')}."


def _seconds(episode: Episode, signs: list[Sign]) -> dict[str, float | None]:
    """Where the time went, and for how long DNS named two and none; None: not seen."""
    rises = episode.after.verdict == "master"
    turned = decided = held = named = None
    for sign in signs:
        given = sign.fields
        if sign.name == "redis_turned" and given["to"] == "master" and decided is None:
            turned = sign.at
        elif sign.name == "decided" and decided is None and _is_due(given, rises=rises):
            decided = sign.at
        elif held is None and decided is not None and (_moves(sign) or (rises and _shows(episode, sign))):
            held = sign.at
        if sign.name == "dns_answers" and named is None and decided is not None:
            there = [episode.address] == given["answers"] if rises else episode.address not in (given["answers"] or ())
            named = sign.at if there else None
    two, none = _wrong(episode, signs)
    return {
        "promotion_to_decision": _between(turned, decided) if rises else None,
        "decision_to_consul": _between(decided, held),
        "consul_to_dns": _between(held, named),
        "two": two,
        "none": none,
    }


def _shows(episode: Episode, sign: Sign) -> bool:
    return sign.name == "claim_shown" and sign.fields["to"] == episode.address


def _wrong(episode: Episode, signs: list[Sign]) -> tuple[float | None, float | None]:
    """Seconds for which DNS named several, and nobody; None where it was never asked."""
    said = [(s.at, s.fields["answers"]) for s in signs if s.name == "dns_answers"]
    if not said and episode.answers is None:
        return None, None
    spans = [(signs[0].at, episode.answers), *said, (signs[-1].at, None)]
    two = sum(end - at for (at, answers), (end, _) in pairwise(spans) if answers and len(answers) > 1)
    none = sum(end - at for (at, answers), (end, _) in pairwise(spans) if answers == [])
    return _short(two), _short(none)


def _is_due(decided: dict[str, Any], *, rises: bool) -> bool:
    """Whether it is the decision that the episode is about."""
    return decided["to"] in ("master", "pending") if rises else decided["from"] == "master"


def _moves(sign: Sign) -> bool:
    """Whether from then on Consul showed what was decided: DNS waits for the transaction, and for nothing else."""
    return sign.name == "consul_holds" or (sign.fields.get("step") == "transact" and not sign.fields["error"])


def _between(since: float | None, until: float | None) -> float | None:
    """DNS may be quicker than the answer to the write that it shows."""
    return None if since is None or until is None else max(0.0, _short(until - since))


def _short(seconds: float) -> float:
    return round(seconds, 4)


def _epoch(decided: Iterable[Sign]) -> str:
    epoch = next((s.fields["epoch"] for s in decided if s.fields["to"] == "master"), None)
    return "" if epoch is None or epoch < 0 else f" at epoch {epoch}"


def _measured(seconds: dict[str, float | None]) -> str:
    parts: Iterator[float | None] = (seconds[k] for k in ("promotion_to_decision", "decision_to_consul"))
    known = [part for part in parts if part is not None]
    said = (
        f"; Consul held it {span(sum(known))} after {'Redis had turned' if len(known) > 1 else 'the decision'}"
        if known
        else ""
    )
    return said + (f", DNS named it {span(late)} later" if (late := seconds["consul_to_dns"]) is not None else "")


def span(seconds: float) -> str:
    """A stretch of time for people: ``3.2 ms``, ``840 ms``, ``12.4 s``, ``6 min 3 s``."""
    if seconds < 0.00005:
        return "0 ms"
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
