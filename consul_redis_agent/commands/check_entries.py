"""What ``check`` says of the entries in Consul: the own ones, and what others have put under the same names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from consul_redis_agent.commands.belonging import Belonging
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.consul.form import EPOCH, FORMAT, MARKER
from consul_redis_agent.decide.facts import Entry, Node, Role

SHOWN = "DNS answers with it, whoever the master is"
HIDDEN = "DNS does not answer with it now"


def own_findings(
    topic: str,
    service: str,
    node: Node | None,
    found: Survey,
    own: Iterable[Entry],
    *,
    only_passing: bool | None = None,
) -> Iterator[Finding]:
    """A line for each entry that was made for this Redis node. ``node`` is None where it did not answer."""
    for entry in own:
        mismatch = _mismatch(topic, node, found, entry) if node and entry.name == service else None
        yield mismatch or _own(topic, entry, only_passing=only_passing)


def claim_findings(found: Survey, entries: Iterable[Entry]) -> Iterator[Finding]:
    """What is odd about claims of the own group: of an agent of another version; of an epoch that no majority of the Sentinels
    has reached, which is early, or false and not believed.
    """
    for entry in entries:
        if (form := entry.meta.get(MARKER)) != FORMAT:
            what = f"{entry.id} on {entry.node} ({entry.address}) is of an agent that writes format {form}, and this one writes {FORMAT}"
            yield Finding(Level.WARN, "catalog", what, "give all hosts the same version", id="catalog.other_version")
        if found.master and entry.passing and entry.claim and entry.claim.epoch > found.epoch:
            what = f"{entry.id} on {entry.node} ({entry.address}) claims epoch {entry.claim.epoch}, and the Sentinels are at {found.epoch}"
            mend = "wait 5 s, for a failover may be under way; else consul-redis-agent deregister on that host"
            yield Finding(Level.WARN, "catalog", what, mend, id="catalog.claim_ahead")


def others_findings(service: str, replica: str, whose: Belonging) -> Iterator[Finding]:
    """What is not this group's under the name of the master or of the replicas, and is not changed (rule 9)."""
    for entry in whose.masters.foreign:
        yield from _foreign(entry)
    what = "first come stays, the other one publishes nothing"
    yield from _strangers(service, "service.name", whose.masters.strangers, what)
    what = "who asks for a replica may read another group's data"
    yield from _strangers(replica, "replica.name", whose.strange_replicas, what)
    if whose.masters.untold:
        yield Finding(
            Level.WARN,
            "catalog",
            f"too few Sentinels answer to tell whether these are this group's: {_places(whose.masters.untold)}",
            "mend the Sentinels, and check again",
            id="catalog.untold",
        )
    if len(whose.names) > 1:
        yield Finding(
            Level.WARN,
            "master name",
            f"this group is known under several: {', '.join(whose.names)}",
            "have all its Sentinels monitor it under one name (SENTINEL REMOVE, SENTINEL MONITOR)",
            id="catalog.several_names",
        )


def _strangers(name: str, key: str, entries: tuple[Entry, ...], what: str) -> Iterator[Finding]:
    if not entries:
        return
    yield Finding(
        Level.FAIL,
        "another group",
        f"it uses the name {name!r} as well: {_places(entries)}; {what}",
        f"give one of the groups another {key}, or take its entries out: consul-redis-agent deregister on its hosts "
        f"(--dead for hosts that are gone)",
        id="catalog.another_group",
    )


def _places(entries: Iterable[Entry]) -> str:
    return ", ".join(sorted(f"{e.id} on {e.node} ({e.address}{_known_as(e)})" for e in entries))


def _known_as(entry: Entry) -> str:
    return f", master name {entry.master_name}" if entry.master_name else ""


def _foreign(entry: Entry) -> Iterator[Finding]:
    what = f"{entry.id} on {entry.node} ({entry.address}) is under the name {entry.name!r}"
    shows = SHOWN if entry.visible else HIDDEN
    if not entry.marked:
        level = Level.FAIL if entry.visible else Level.WARN
        mend = f"on {entry.node}: consul services deregister -id={entry.id}"
        yield Finding(level, "catalog", f"{what} and was not made by this tool: {shows}", mend, id="catalog.foreign")
    elif entry.passing or EPOCH in entry.meta:  # in mode `check` a replica has a critical one without any claim
        level = Level.FAIL if entry.passing else Level.WARN
        mend = f"if its agent is of another version or mode, give all the same; else deregister it on {entry.node}"
        yield Finding(
            level,
            "catalog",
            f"{what} and says master, but its claim is not readable: {shows}",
            mend,
            id="catalog.unreadable_claim",
        )


def _mismatch(topic: str, node: Node, found: Survey, entry: Entry) -> Finding | None:
    """What is wrong if the entry says something else about the mastership than the node and the Sentinels."""
    mend = "is the agent running? see consul-redis-agent status"
    named = node.role is Role.MASTER and found.names(entry.address, node.run_id)
    if entry.says_master and entry.visible and node.role is Role.REPLICA:
        what = f"DNS gives this node out as the master, but it is a replica ({entry.id})"
        return Finding(Level.FAIL, topic, what, mend, id="entry.false")
    if entry.says_master and named and not (entry.passing or entry.maintenance):
        what = f"Sentinel names this node, but its entry is critical ({entry.id})"
        return Finding(Level.FAIL, topic, what, mend, id="entry.critical")
    return None


def _own(topic: str, entry: Entry, *, only_passing: bool | None) -> Finding:
    what = f"{entry.name} at {entry.address} ({entry.id} on {entry.node})"
    if entry.maintenance:
        mend = f"end it with: consul maint -disable -service={entry.id} (without -service for the whole node)"
        return Finding(
            Level.WARN, topic, f"{what} is in maintenance, so DNS leaves it out", mend, id="entry.maintenance"
        )
    if not entry.node_alive:
        return Finding(
            Level.FAIL,
            topic,
            f"{what}: Consul's gossip holds {entry.node} for dead, so DNS leaves it out",
            "let the Consul agents reach each other on their serf port (8301, TCP and UDP)",
            id="entry.host_dead",
        )
    if entry.visible and (hidden := entry.hidden_by(only_passing=only_passing)):
        why = " (dns_config.only_passing is set)" if not entry.critical else ""
        return Finding(
            Level.FAIL,
            topic,
            f"{what} passes, but DNS leaves it out because of the check {', '.join(hidden)}{why}",
            "mend what that check tests, or take it off: it is not this tool's",
            id="entry.hidden",
        )
    if entry.visible and entry.warning and only_passing is None:
        return Finding(
            Level.WARN,
            topic,
            f"{what} is in DNS, unless dns_config.only_passing is set: a check warns, {', '.join(entry.warning)}",
            "mend what that check tests",
            id="entry.may_be_hidden",
        )
    if entry.visible:
        return Finding(Level.OK, topic, f"{what} is in DNS", id="entry.shown")
    keeps = "; it keeps the last claim for the next master to compare with" if entry.says_master and entry.claim else ""
    return Finding(Level.OK, topic, f"{what} is critical, so not in DNS{keeps}", id="entry.not_shown")
