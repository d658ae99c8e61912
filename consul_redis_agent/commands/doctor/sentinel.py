"""Settings of Sentinels that prevent, delay or needlessly begin a failover. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from consul_redis_agent.commands.doctor.shell import sentinel_cli, sentinel_set
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.decide.facts import Address, whole

DOWN_AFTER, FAILOVER_TIMEOUT = "down-after-milliseconds", "failover-timeout"
ALIKE = (DOWN_AFTER, FAILOVER_TIMEOUT, "quorum")
"""What every Sentinel of a group should have the same of."""
LEAST_DOWN_AFTER, MOST_DOWN_AFTER, GOOD_DOWN_AFTER = 1_000, 60_000, 5_000
"""Milliseconds. Sentinel pings once a second."""
LEAST_FAILOVER_TIMEOUT, MOST_FAILOVER_TIMEOUT, GOOD_FAILOVER_TIMEOUT = 2_000, 60_000, 30_000
"""Milliseconds. A promotion takes 1 to 2 s; after one that failed Sentinel waits for twice the timeout."""
TTL_BEYOND = 5.0
"""Seconds that service.ttl may be longer than down-after: about what a failover takes beside it."""
MOST = 2**63


@dataclass(frozen=True, slots=True)
class Watching:
    """What one Sentinel says of the group: fields of ``SENTINEL MASTER`` and of each replica."""

    address: Address
    master: Mapping[str, str]
    replicas: tuple[Mapping[str, str], ...] | None = None
    """None: it did not tell."""

    def number(self, field: str) -> int | None:
        """A field of the master that is a number."""
        return whole(self.master.get(field, ""), MOST)


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """What is known of the Sentinels of one group."""

    name: str
    watching: tuple[Watching, ...]
    """Those that answered."""
    known: int
    """How many there are."""
    need: int
    """How many make a majority."""
    places: tuple[Address, ...]
    """Where each that is known is, in reach or not."""
    master: Address | None
    ttl: float
    """``service.ttl`` in seconds."""
    tls: bool = False
    ids: tuple[tuple[str, Address], ...] = ()
    """The id of each, with where it is."""

    def set(self, option: str, value: object, *where: Watching) -> str:
        """The command that sets an option on these Sentinels, by default on all of them."""
        return " && ".join(
            sentinel_set(sentinel_cli(s.address, tls=self.tls), self.name, option, value)
            for s in where or self.watching
        )

    def most(self, field: str) -> int | None:
        """What most of them have."""
        numbers = Counter(number for s in self.watching if (number := s.number(field)) is not None)
        return numbers.most_common(1)[0][0] if numbers else None


def group_findings(facts: GroupFacts) -> Iterator[Finding]:
    """All rules."""
    if facts.watching:
        for rule in RULES:
            yield from rule(facts)


def _differ(facts: GroupFacts) -> Iterator[Finding]:
    for field in ALIKE:
        usual = facts.most(field)
        others = [s for s in facts.watching if s.number(field) not in (usual, None)]
        if usual is not None and others:
            each = ", ".join(f"{s.number(field)} at {s.address}" for s in others)
            what = f"{field} of {facts.name!r} is not the same everywhere: {each}, else {usual}; whoever leads a failover goes by its own"
            mend = facts.set(field, usual, *others)
            yield Finding(Level.WARN, "sentinels", what, mend, id="sentinel.settings_differ")


def _down_after(facts: GroupFacts) -> Iterator[Finding]:
    down_after = facts.most(DOWN_AFTER)
    if down_after is None:
        return
    topic = "sentinels"
    if down_after < LEAST_DOWN_AFTER:
        what = f"{DOWN_AFTER} is {down_after}, and they ping once a second: a stall of that length already counts as a death"
        yield Finding(Level.WARN, topic, what, facts.set(DOWN_AFTER, GOOD_DOWN_AFTER), id="sentinel.down_after_short")
    elif down_after > MOST_DOWN_AFTER:
        what = f"{DOWN_AFTER} is {down_after}: a master that is gone has no successor for {down_after / 1000:g} s"
        yield Finding(Level.WARN, topic, what, facts.set(DOWN_AFTER, GOOD_DOWN_AFTER), id="sentinel.down_after_long")
    if facts.ttl > down_after / 1000 + TTL_BEYOND:
        what = (
            f"service.ttl is {facts.ttl:g} s, {DOWN_AFTER} {down_after}: a master that is cut off from Sentinels and Consul keeps "
            "its entry beside it for so long, while the others have a new one"
        )
        mend = f'set service.ttl = "{max(1, round(down_after / 1000 + TTL_BEYOND))}s"'
        yield Finding(Level.WARN, topic, what, mend, id="sentinel.ttl_long")


def _failover_timeout(facts: GroupFacts) -> Iterator[Finding]:
    timeout = facts.most(FAILOVER_TIMEOUT)
    if timeout is None:
        return
    mend = facts.set(FAILOVER_TIMEOUT, GOOD_FAILOVER_TIMEOUT)
    if timeout < LEAST_FAILOVER_TIMEOUT:
        what = f"{FAILOVER_TIMEOUT} is {timeout}: a promotion that takes longer is given up half way"
        yield Finding(Level.WARN, "sentinels", what, mend, id="sentinel.failover_timeout_short")
    elif timeout > MOST_FAILOVER_TIMEOUT:
        what = f"{FAILOVER_TIMEOUT} is {timeout}: after a failover that failed, the next one of this master begins up to {timeout * 2 // 1000} s later"
        yield Finding(Level.WARN, "sentinels", what, mend, id="sentinel.failover_timeout_long")


def _quorum(facts: GroupFacts) -> Iterator[Finding]:
    quorum = facts.most("quorum")
    if quorum is None:
        return
    mend = facts.set("quorum", facts.need)
    if quorum > facts.known:
        what = f"the quorum is {quorum}, and there are {facts.known} Sentinels: no failover ever begins"
        yield Finding(Level.FAIL, "sentinels", what, mend, id="sentinel.quorum_above_all")
    elif quorum > facts.need:
        what = f"the quorum is {quorum} of {facts.known}: with more than {facts.known - quorum} lost no failover begins, though {facts.need} would do"
        yield Finding(Level.WARN, "sentinels", what, mend, id="sentinel.quorum_high")
    elif quorum == 1 and facts.known > 1:
        what = "the quorum is 1: a single Sentinel that loses sight of the master begins a failover"
        yield Finding(Level.WARN, "sentinels", what, mend, id="sentinel.quorum_low")


def _spread(facts: GroupFacts) -> Iterator[Finding]:
    """A cut or a lost host takes all Sentinels of that host; the master's own goes with the master."""
    hosts = Counter(place.host for place in facts.places)
    for host, count in hosts.items():
        if count > 1 and facts.known - count < facts.need:
            whose = ", the master's own" if facts.master and facts.master.host == host else ""
            what = f"{count} of {facts.known} are on {host}{whose}: without that host no majority is left, and nobody is promoted"
            mend = "run each on a host of its own, in three places or more"
            yield Finding(Level.WARN, "sentinels", what, mend, id="sentinel.same_host")
    if facts.known >= 4 and facts.known % 2 == 0:
        what = f"{facts.known} survive the loss of {facts.known - facts.need}, as {facts.known - 1} would: half of them, cut off, elect nobody"
        yield Finding(Level.WARN, "sentinels", what, "run one more, or one less", id="sentinel.even")


def _ids(facts: GroupFacts) -> Iterator[Finding]:
    for id_, count in Counter(id_ for id_, _ in facts.ids).items():
        if count > 1:
            where = " and ".join(str(address) for one, address in facts.ids if one == id_)
            what = f"the Sentinels at {where} have one id, from a copied file: they do not hear each other, and count as one"
            mend = "stop all but one, take `sentinel myid` out of their files, and start them again"
            yield Finding(Level.FAIL, "sentinels", what, mend, id="sentinel.same_id")


def _replicas(facts: GroupFacts) -> Iterator[Finding]:
    """What there is to promote, by the word of the Sentinel that lists most."""
    told = [s.replicas for s in facts.watching if s.replicas is not None]
    if not told:
        return
    listed = max(told, key=len)
    if not listed:
        what = f"they know no replica of {facts.name!r}: there is nobody to promote"
        yield Finding(Level.WARN, "sentinels", what, "start one: REPLICAOF the master", id="sentinel.no_replica")
        return
    able = [replica for replica in listed if replica.get("slave-priority") != "0"]
    if not able:
        first = listed[0]
        cli = f"redis-cli -h {first.get('ip', '')} -p {first.get('port', '')}"
        what = "no replica may be promoted: replica-priority is 0 on each, so a master that dies has no successor"
        mend = f"{cli} CONFIG SET replica-priority 100 && {cli} CONFIG REWRITE"
        yield Finding(Level.FAIL, "sentinels", what, mend, id="sentinel.nobody_to_promote")
    elif not any(_is_up(replica) for replica in able):
        each = ", ".join(f"{one.get('ip')}:{one.get('port')} ({one.get('flags')})" for one in able)
        what = f"no replica that may be promoted is up: {each}"
        yield Finding(Level.FAIL, "sentinels", what, "bring one back; see its log", id="sentinel.nobody_to_promote")


def _is_up(replica: Mapping[str, str]) -> bool:
    flags = {*replica.get("flags", "").split(",")}
    return not flags & {"s_down", "o_down", "disconnected"}


RULES = (_differ, _down_after, _failover_timeout, _quorum, _ids, _spread, _replicas)
