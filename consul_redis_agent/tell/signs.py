"""What the facts of one decision show that those before did not, as signs of a history. Cheap where nothing is new."""

from __future__ import annotations

from collections.abc import Iterator

from consul_redis_agent.consul.form import Deregister, Register, Step, Transact, Unseal, Update, Wanted, status_of
from consul_redis_agent.decide.decision import Decision, Order, Reason, Verdict
from consul_redis_agent.decide.facts import Address, Catalog, Facts, Node, Role, Sentinel, Silence
from consul_redis_agent.tell.episode import Sign
from consul_redis_agent.text import plain

TURNS = {
    "master": "turned master",
    "replica": "turned replica",
    "loading": "loads its data",
    "silent": "does not answer",
    "gone": "is gone",
}
QUIET = (Reason.UNSEEN, Reason.MISSED)
"""Not worth a sign: the next look tells more."""


class Signs:
    """Compares one Redis node's facts and decisions with the last that were told."""

    def __init__(self) -> None:
        self.condition = "unknown"
        """master, replica, loading, silent, gone; unknown before the first look."""
        self.life: Node | None = None
        """The node's last answer."""
        self.decided: Decision | None = None
        """The last decision that says what to do."""
        self._latest: Decision | None = None
        self._sentinels: dict[Address, Sentinel] = {}
        self._catalog: Catalog | None = None
        self._claims: tuple[tuple[str, int], ...] = ()

    @property
    def trouble(self) -> bool:
        """Whether the node is away or without its master, or a Sentinel holds that for down or fails it over."""
        node = self.life
        alone = node is not None and node.role is Role.REPLICA and not node.link_up
        away = self.condition in ("loading", "silent", "gone")
        return away or alone or any(s.down or s.promoting is not None for s in self._sentinels.values())

    def of(self, facts: Facts, latest: Decision, at: float) -> list[Sign]:
        """What is new, in the order redis, sentinel, consul, decision. ``at``: when it was decided."""
        signs = [*self._redis(facts.node)]
        for sentinel in facts.sentinels:
            if (before := self._sentinels.get(sentinel.address)) is not sentinel:
                self._sentinels[sentinel.address] = sentinel
                if before and _word(before) != _word(sentinel):
                    signs += _sentinel(before, sentinel)
        if len(self._sentinels) > len(facts.sentinels):
            there = {sentinel.address for sentinel in facts.sentinels}
            self._sentinels = {address: s for address, s in self._sentinels.items() if address in there}
        if facts.catalog is not self._catalog:
            self._catalog = facts.catalog
            signs += self._consul(facts)
        return [*signs, *self._decision(latest, at)]

    def _redis(self, node: Node | Silence | None) -> Iterator[Sign]:
        before, life, now = self.condition, self.life, condition(node)
        if node is None or now == "unknown" or (isinstance(node, Silence) and node.misses < 2 and not node.gone):
            return
        self.condition = now
        self.life = node if isinstance(node, Node) else life
        if before == "unknown":
            return
        if before != now:
            saw = before == "replica" and now == "master" and isinstance(node, Node) and node.turned > 0
            at = node.turned if saw and isinstance(node, Node) else node.at
            what = f"{TURNS[now]}: {plain(node.reason)}" if isinstance(node, Silence) else TURNS[now]
            if isinstance(node, Node) and before in ("silent", "gone", "loading"):
                what = f"is back, as a {node.role.value}" if now != "loading" else f"is back, and {TURNS[now]}"
            yield Sign(at, "redis_turned", f"Redis {what}", {"from": before, "to": now})
        if not isinstance(node, Node) or life is None or life is node:
            return
        if life.run_id != node.run_id:
            text = f"Redis is another process, with the run id {node.run_id[:8]}…"
            yield Sign(node.at, "redis_restarted", text, {"run_id": node.run_id})
        if node.role is Role.REPLICA and node.follows and node.follows != life.follows:
            yield Sign(node.at, "redis_follows", f"Redis follows {node.follows}", {"to": str(node.follows)})
        if node.role is life.role is Role.REPLICA and node.link_up != life.link_up:
            text = f"Redis {'has the link to its master again' if node.link_up else 'has lost the link to its master'}"
            yield Sign(node.at, "redis_link", text, {"up": node.link_up})

    def _consul(self, facts: Facts) -> Iterator[Sign]:
        """Which claims are live, where those are others than before."""
        if facts.catalog is None:
            return
        live = [e for e in facts.catalog.entries if e.live and e.claim]
        claims = tuple(sorted((str(e.address), e.claim.epoch) for e in live if e.claim))
        before, self._claims = self._claims, claims
        for address, epoch in claims:
            if (address, epoch) not in before:
                text = f"Consul shows the claim of {address}, epoch {epoch}"
                yield Sign(facts.catalog.at, "claim_shown", text, {"to": address, "epoch": epoch})
        if before and not claims:
            yield Sign(facts.catalog.at, "claim_shown", "Consul shows no claim", {"to": "", "epoch": None})

    def _decision(self, latest: Decision, at: float) -> Iterator[Sign]:
        before, decided = self._latest, self.decided
        if before is latest or latest.reason in QUIET:
            return
        self._latest = latest
        if latest.verdict is not Verdict.KEEP:
            self.decided = latest
        if before and (before.verdict, before.reason, before.claim) == (latest.verdict, latest.reason, latest.claim):
            return
        fields = {
            "from": decided.verdict.value if decided else "",
            "to": latest.verdict.value,
            "reason": latest.reason.name.lower(),
            "epoch": latest.claim.epoch if latest.claim else None,
        }
        yield Sign(at, "decided", plain(latest.sentence), fields)


def condition(node: Node | Silence | None) -> str:
    """One word for what the node is."""
    if node is None:
        return "unknown"
    if isinstance(node, Silence):
        return "gone" if node.gone else "silent"
    return "loading" if node.loading else node.role.value


def _word(sentinel: Sentinel) -> tuple[object, ...]:
    """All of it that a sign is made of."""
    s = sentinel
    return s.error, s.looked, s.down, s.promoting, s.selection, s.master, s.epoch


def _sentinel(before: Sentinel, now: Sentinel) -> Iterator[Sign]:
    who = {"sentinel": str(now.address)}
    if bool(before.error) != bool(now.error) and before.looked:
        said = f"cannot be asked: {plain(now.error)}" if now.error else "can be asked again"
        yield Sign(now.at, "sentinel_reached", said, who | {"reached": not now.error, "error": plain(now.error)})
    if now.error or before.error or not before.looked:
        return
    if before.down != now.down and (now.down or before.master == now.master):
        yield Sign(
            now.at, "sentinel_down", f"holds {now.master} for {'down' if now.down else 'up'}", who | {"down": now.down}
        )
    if (before.promoting is None) != (now.promoting is None):
        begun = now.promoting is not None
        text = f"{'fails over' if begun else 'has ended the failover of'} {before.master}"
        at = now.promoting_since if begun and now.promoting_since > 0 else now.at
        yield Sign(at, "sentinel_failover", text, who | {"begun": begun})
    if now.selection and now.selection != before.selection:
        chosen = next((str(a) for a, run_id in now.run_ids.items() if run_id == now.selection.run_id), "")
        text = f"has selected {chosen or now.selection.run_id[:8]}, elected at epoch {now.selection.epoch}"
        at = now.selection.at if now.selection.at > 0 else now.at
        yield Sign(at, "sentinel_selected", text, who | {"to": chosen, "epoch": now.selection.epoch})
    if now.master and (before.master, before.epoch) != (now.master, now.epoch):
        text = f"names {now.master}, epoch {now.epoch}"
        yield Sign(now.at, "sentinel_names", text, who | {"to": str(now.master), "epoch": now.epoch})


def of_step(step: Step, at: float, seconds: float, error: str) -> Sign:
    """A write to Consul that ended at ``at``; ``error`` is empty where it was taken."""
    what = type(step).__name__.lower()
    text = f"{_words(step)}: {f'not done: {plain(error)}' if error else 'done'}"
    return Sign(at, "consul_step", text, {"step": what, "seconds": round(seconds, 4), "error": plain(error)})


def _words(step: Step) -> str:
    match step:
        case Transact(publish=entry, remove=remove, evict=evict):
            parts = [f"sets {_entry(entry)}"] if entry else []
            parts += [f"evicts {', '.join(map(str, evict))}"] if evict else []
            parts += [f"removes {', '.join(e.id for e in remove)}"] if remove else []
            return f"one transaction {' and '.join(parts) or 'that compares'}"
        case Register(entry):
            return f"registers {_entry(entry)}"
        case Update(id_, passing):
            return f"sets {id_} {status_of(passing=passing)}"
        case Unseal(id_):
            return f"takes the broken seal off {id_}"
        case Deregister(id_):
            return f"takes {id_} out"


def _entry(entry: Wanted) -> str:
    return f"{entry.name} at {entry.address} {entry.status}"


def of_order(order: Order, at: float) -> Sign:
    """The decision ordered something beside itself."""
    to = str(order.to) if order.to else ""
    return Sign(
        at,
        "fence_ordered",
        f"{order.do.value}{f' ({to})' if to else ''}: {plain(order.sentence)}",
        {"order": order.do.name.lower(), "to": to},
    )


def of_outcome(order: Order, at: float, seconds: float, error: str) -> Sign:
    """How that went."""
    text = f"{order.do.value}: {f'not done: {plain(error)}' if error else 'done'}"
    return Sign(
        at, "fence_done", text, {"order": order.do.name.lower(), "seconds": round(seconds, 4), "error": plain(error)}
    )


def of_dns(answers: tuple[Address, ...] | None, at: float) -> Sign:
    """DNS gave another answer than before."""
    said = None if answers is None else sorted(map(str, answers))
    text = "DNS does not answer" if said is None else f"DNS names {' and '.join(said) or 'nobody'}"
    return Sign(at, "dns_answers", text, {"answers": said})
