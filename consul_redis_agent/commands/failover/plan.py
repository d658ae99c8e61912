"""What a planned move would meet, judged before anything is done: what stands against it, and who would do what. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from consul_redis_agent.commands.check_redis import explain_login
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.commands.survey import Survey
from consul_redis_agent.decide.facts import Address, Entry, Node, Role, Sentinel
from consul_redis_agent.decide.fence import PAUSES
from consul_redis_agent.decide.identity import is_loopback

PING_LIMIT = 5000
"""Milliseconds since a replica last answered PING after which Sentinel chooses it no more (five of its ping periods)."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A replica, as one Sentinel lists it."""

    address: Address
    run_id: str
    flags: frozenset[str] = frozenset({"slave"})
    linked: bool = True
    """``master-link-status`` is ok."""
    priority: int = 100
    offset: int = 0
    """Bytes of the replication stream that it had when Sentinel asked it last, up to 10 s ago."""
    pinged: int = 0
    """Milliseconds since it last answered this Sentinel's PING."""

    @property
    def why_not(self) -> str:
        """Why this Sentinel would not choose it; empty where it could."""
        if not self.priority:
            return "its priority is 0, so Sentinel never chooses it"
        if self.flags & {"s_down", "o_down", "disconnected"} or self.pinged > PING_LIMIT:
            return "Sentinel does not reach it"
        if not self.run_id:
            return "Sentinel has not asked it yet"
        return "" if self.linked else "its link to the master is down"


@dataclass(frozen=True, slots=True)
class SentinelSaid:
    """What one Sentinel says of the failover that it would do."""

    quorum: str = ""
    """Its answer to CKQUORUM; empty where it gave none."""
    reported: int | None = None
    """Milliseconds for which it has had this node as the master."""
    timeout: int = 0
    """``failover-timeout``, in milliseconds."""
    refuses: str = ""
    """Why the login may not use SENTINEL FAILOVER, where it is allowed to ask (ACL DRYRUN)."""
    coordinates: bool = False
    """It is Valkey 9 or later."""
    replicas: tuple[Listed, ...] = ()

    @property
    def wait(self) -> float:
        """Seconds until its last switch is longer ago than ``failover-timeout``."""
        return 0.0 if self.reported is None else max(0.0, (self.timeout - self.reported) / 1000)


@dataclass(frozen=True, slots=True)
class NodeSaid:
    """What one Redis node says of itself. ``node`` is None where it did not answer; ``error`` has why."""

    node: Node | None = None
    error: str = ""
    offset: int = 0
    """Bytes of the replication stream: written by a master, carried out by a replica."""
    program: str = "Redis"
    version: tuple[int, ...] = ()
    """The version of Redis, or the one that Valkey keeps to."""
    coordinates: bool = False
    """It is Valkey 9 or later."""
    open: bool = False
    """It answers without a login."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that was looked at."""

    found: Survey
    mode: str = "auto"
    """``sentinel.mode``."""
    user: str = "default"
    """The login on the Redis nodes."""
    sentinel_user: str = "default"
    sentinels: Mapping[Address, SentinelSaid] = field(default_factory=dict)
    nodes: Mapping[Address, NodeSaid] = field(default_factory=dict)
    """By the address that Sentinel uses: the master, and the replicas that a majority lists."""
    name: str = ""
    """What DNS was asked for."""
    dns: frozenset[Address] | str = frozenset()
    """Whom it named, or why it did not answer."""
    entries: tuple[Entry, ...] | str = ()
    """What Consul holds under the names of this group, or why it did not answer."""
    aliases: Mapping[Address, Address] = field(default_factory=dict)
    """The address that Sentinel uses, by another one that DNS may name."""
    places: Mapping[str, str] = field(default_factory=dict)
    """The IP address of each host that Sentinel calls by a name."""
    missing: tuple[str, ...] = ()
    """The rights on the master that the login lacks, as ACL SETUSER takes them."""
    unlike: str = ""
    """What else the master answered to the rehearsal of what is sent to it."""
    no_masterauth: bool = False
    """The master has no password for another one."""

    def node_of(self, address: Address) -> Address:
        """The address that Sentinel uses for a node that DNS, or Consul, calls by this one."""
        return self.aliases.get(address, address)


@dataclass(frozen=True, slots=True)
class Choice:
    """A replica, and whether it could be the next master."""

    address: Address
    run_id: str
    priority: int
    lag: int | None
    """Bytes behind the master; None: not known."""
    why_not: str = ""

    @property
    def open(self) -> bool:
        """Whether Sentinel could choose it."""
        return not self.why_not


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, and all that was found."""

    findings: tuple[Finding, ...]
    master_name: str = ""
    master: Address | None = None
    run_id: str = ""
    sentinel: Address | None = None
    """The one to ask."""
    coordinated: bool = False
    """Sentinel and servers hold the writes by themselves (``COORDINATED``)."""
    choices: tuple[Choice, ...] = ()
    likely: Address | None = None
    """The replica that the Sentinel to ask would choose, by what it knows now."""

    @property
    def possible(self) -> bool:
        """Whether nothing stands against it."""
        return not any(finding.level is Level.FAIL for finding in self.findings)


def plan(seen: Situation) -> Plan:
    """Judge everything at once."""
    found, master = seen.found, seen.found.master
    asked = _to_ask(seen)
    said = seen.sentinels.get(asked, SentinelSaid()) if asked else SentinelSaid()
    choices = _choices(seen, said)
    coordinated = said.coordinates and bool(seen.nodes) and all(node.coordinates for node in seen.nodes.values())
    findings = [*_sentinels(seen), *_asking(seen, asked, said)]
    if master:
        findings += [*_master(seen, master, coordinated=coordinated), *_replicas(seen, choices, asked)]
    findings += [*_consul(seen, choices), *_dns(seen)]
    return Plan(
        tuple(findings),
        found.master_name,
        master,
        _run_id(seen, master) if master else "",
        asked,
        coordinated,
        choices,
        _likely(said, choices),
    )


def _sentinels(seen: Situation) -> Iterator[Finding]:
    found = seen.found
    if not found.sentinels:
        off = seen.mode == "off"
        what = 'sentinel.mode is "off": nobody is asked to move the master' if off else "no Sentinel was found"
        yield Finding(Level.FAIL, "sentinels", what, 'take sentinel.mode = "off" out' if off else "set sentinel.hosts")
        return
    for sentinel in found.sentinels:
        yield from _sentinel(seen, sentinel)
    for other in found.others:
        what = f"watches other nodes under the name {found.master_name!r}, and is not counted"
        yield Finding(Level.WARN, f"sentinel {other.address}", what, "take it out of sentinel.hosts")
    if found.left_out:
        what = f"{found.left_out} more that these list were not asked"
        mend = "SENTINEL RESET on each forgets those that do not exist"
        yield Finding(Level.FAIL, "sentinels", what, mend)
    if found.master is None:
        votes = len([s for s in found.sentinels if s.votes])
        what = f"no majority names one master ({votes} of {found.known} have a vote, {found.need} are needed)"
        yield Finding(Level.FAIL, "sentinels", what, "mend the Sentinels above, or wait for a failover to end")
    else:
        count = len([s for s in found.voters if s.master == found.master])
        what = f"{count} of {found.known} name {found.master} as {found.master_name!r} at epoch {found.epoch}"
        yield Finding(Level.OK, "sentinels", what)
    bad = sorted({said.quorum for said in seen.sentinels.values() if not said.quorum.startswith("OK")})
    for quorum in bad:
        what = f"a failover would not be authorised: {quorum}" if quorum else "one does not answer to CKQUORUM"
        mend = "bring the missing Sentinels back" if quorum else "give the login +sentinel|ckquorum"
        yield Finding(Level.FAIL, "sentinels", what, mend)


def _sentinel(seen: Situation, sentinel: Sentinel) -> Iterator[Finding]:
    """What is wrong with one."""
    topic, found = f"sentinel {sentinel.address}", seen.found
    if sentinel.error:
        what, mend = explain_login(sentinel.error, seen.sentinel_user, "sentinel")
        yield Finding(Level.FAIL, topic, f"is not reached: {what}", mend)
        return
    if sentinel.tilt:
        mend = "wait until its clock has been calm for 30 s"
        yield Finding(Level.FAIL, topic, "is in TILT: it does nothing, and has no vote", mend)
    if sentinel.promoting is not None:
        yield Finding(Level.FAIL, topic, "shows a failover that is under way", "wait until it is over")
    if sentinel.down:
        mend = "if that node answers: can this Sentinel reach it and log in (sentinel auth-pass, auth-user)?"
        yield Finding(Level.FAIL, topic, "holds the master for down", mend)
    if found.master and (sentinel.master, sentinel.epoch) != (found.master, found.epoch):
        mend = "wait until it has heard of the others; if it stays, SENTINEL RESET there"
        yield Finding(
            Level.FAIL, topic, f"names {sentinel.master} at epoch {sentinel.epoch}: not as the others do", mend
        )


def _to_ask(seen: Situation) -> Address | None:
    """The Sentinel to ask: on another host than the master, since that one may be switched off afterwards."""
    master = seen.found.master
    if master is None:
        return None

    def order(sentinel: Sentinel) -> tuple[bool, bool, bool, float, Address]:
        said = seen.sentinels.get(sentinel.address, SentinelSaid())
        beside = _same_host(seen, sentinel.address, master)
        usable = bool(said.replicas) and all(not s.why_not for s in said.replicas)
        return beside, bool(said.refuses), not usable, said.wait, sentinel.address

    able = [s for s in seen.found.voters if s.master == master]
    return min(able, key=order).address if able else None


def _same_host(seen: Situation, one: Address, other: Address) -> bool:
    return seen.places.get(one.host, one.host) == seen.places.get(other.host, other.host)


def _asking(seen: Situation, asked: Address | None, said: SentinelSaid) -> Iterator[Finding]:
    master = seen.found.master
    if asked is None or master is None:
        return
    topic = f"sentinel {asked}"
    if _same_host(seen, asked, master):
        if is_loopback(seen.places.get(asked.host, asked.host)):
            yield Finding(Level.WARN, topic, "is asked, though it is on the master's host, as is everything here")
        else:
            what = "there is none to ask on another host than the master's, where it would be lost when that is switched off"
            yield Finding(Level.FAIL, "sentinels", what, "run Sentinels on other hosts, too")
    else:
        yield Finding(Level.OK, topic, "is asked; it is on another host than the master")
    if said.refuses:
        mend = f"redis-cli -p {asked.port} ACL SETUSER {seen.sentinel_user} +sentinel|failover"
        yield Finding(Level.FAIL, topic, f"the login may not ask for a failover: {said.refuses}", mend)
    if said.wait:
        ago, timeout = (said.reported or 0) / 1000, said.timeout / 1000
        what = f"it has switched to this master, or was started, {ago:.0f} s ago, within its failover-timeout of {timeout:.0f} s"
        yield Finding(Level.FAIL, topic, what, f"wait {said.wait:.0f} s")


def _master(seen: Situation, master: Address, *, coordinated: bool) -> Iterator[Finding]:
    topic, said = f"master {master}", seen.nodes.get(master, NodeSaid(error="it was not asked"))
    node = said.node
    if node is None:
        what, mend = explain_login(said.error, seen.user, "redis")
        yield Finding(Level.FAIL, topic, f"cannot be asked: {what}", mend)
        return
    if node.role is not Role.MASTER or node.loading:
        what = "is still loading its data" if node.loading else f"says that it is a replica of {node.follows}"
        yield Finding(Level.FAIL, topic, what, "wait until Sentinel and the node agree")
    known = {s.run_ids[master] for s in seen.found.voters if master in s.run_ids}
    if known and known != {node.run_id}:
        what = "was restarted: Sentinel knows it by another run id"
        yield Finding(Level.FAIL, topic, what, "wait 10 s, until Sentinel has looked again")
    if coordinated:
        yield Finding(Level.OK, topic, f"{said.program}; the servers hold the writes by themselves (COORDINATED)")
        return
    if said.version < PAUSES:
        what = f"{said.program} cannot hold writes alone (CLIENT PAUSE … WRITE), so some would be lost"
        yield Finding(Level.FAIL, topic, what, "upgrade to 6.2 or later; or stop who writes, and use SENTINEL FAILOVER")
    elif seen.missing:
        mend = f"redis-cli -h {master.host} -p {master.port} ACL SETUSER {seen.user} {' '.join(seen.missing)}"
        what = "the login may not hold the writes and make the node a replica"
        yield Finding(Level.FAIL, topic, what, mend)
    elif seen.unlike:
        what = f"does not take what makes it a replica: {seen.unlike}"
        yield Finding(Level.FAIL, topic, what, "are commands renamed in its configuration?")
    else:
        yield Finding(Level.OK, topic, f"{said.program}; the login may hold its writes and make it a replica")
    closed = [a for a, other in seen.nodes.items() if a != master and other.node and not other.open]
    if seen.no_masterauth and closed:
        what = f"has no password for {closed[0]}, which asks for one, so it could not follow it"
        yield Finding(Level.FAIL, topic, what, f"redis-cli -h {master.host} -p {master.port} CONFIG SET masterauth …")


def _run_id(seen: Situation, address: Address) -> str:
    """As the node itself says; a Sentinel may not have asked it since the last failover."""
    node = seen.nodes.get(address, NodeSaid()).node
    return node.run_id if node else ""


def _choices(seen: Situation, said: SentinelSaid) -> tuple[Choice, ...]:
    master = seen.nodes.get(seen.found.master, NodeSaid()) if seen.found.master else NodeSaid()
    choices = []
    for listed in sorted(said.replicas, key=lambda one: one.address):
        said_itself = seen.nodes.get(listed.address, NodeSaid())
        lag = max(0, master.offset - said_itself.offset) if master.node and said_itself.node else None
        run_id = _run_id(seen, listed.address) or listed.run_id
        choices.append(Choice(listed.address, run_id, listed.priority, lag, listed.why_not))
    return tuple(choices)


def _likely(said: SentinelSaid, choices: tuple[Choice, ...]) -> Address | None:
    """As ``sentinelSelectSlave`` orders them: priority, then what it has of the stream, then run id."""
    able = {choice.address for choice in choices if choice.open}
    listed = [one for one in said.replicas if one.address in able]
    return min(listed, key=lambda one: (one.priority, -one.offset, one.run_id)).address if listed else None


def _replicas(seen: Situation, choices: tuple[Choice, ...], asked: Address | None) -> Iterator[Finding]:
    for choice in choices:
        topic = f"replica {choice.address}"
        behind = "lag unknown" if choice.lag is None else f"{choice.lag} bytes behind"
        numbers = f"priority {choice.priority}, {behind}"
        if not choice.open:
            yield Finding(Level.WARN, topic, f"will not be chosen: {choice.why_not}; {numbers}")
        elif wrong := _unready(seen, choice):
            mend = "mend it, wait, or keep Sentinel from choosing it: CONFIG SET replica-priority 0"
            yield Finding(Level.FAIL, topic, f"could be chosen ({numbers}), but {wrong}", mend)
        else:
            yield Finding(Level.OK, topic, f"could be chosen: {numbers}")
    if asked and not any(choice.open for choice in choices):
        what = f"none that Sentinel at {asked} could choose"
        mend = "one has to be up, with its link to the master up and replica-priority above 0"
        yield Finding(Level.FAIL, "replicas", what, mend)


def _unready(seen: Situation, choice: Choice) -> str:
    """What keeps a replica that Sentinel could choose from being a master to rely on."""
    said = seen.nodes.get(choice.address)
    if said is None:
        return "most Sentinels do not list it, so it was not asked"
    if said.node is None:
        return f"it cannot be asked whether it has everything: {said.error}"
    if said.node.role is Role.MASTER:
        return "it says master"
    if not said.node.link_up:
        return "its link is down, or it is still copying"
    if said.node.follows and seen.node_of(said.node.follows) != seen.found.master:
        return f"it follows {said.node.follows}"
    return ""


def _consul(seen: Situation, choices: tuple[Choice, ...]) -> Iterator[Finding]:
    if isinstance(seen.entries, str):
        yield Finding(Level.FAIL, "consul", seen.entries, "start the Consul agent, or correct consul.url")
        return
    nodes = {seen.found.master, *(choice.address for choice in choices if choice.open)}
    runs = {_run_id(seen, node) for node in nodes if node} - {""}
    for entry in seen.entries:
        if entry.maintenance and (seen.node_of(entry.address) in nodes or entry.run_id in runs):
            what = f"{entry.id} on {entry.node} ({entry.address}) is in maintenance: DNS would leave the node out"
            yield Finding(Level.FAIL, "maintenance", what, "end it: consul maint -disable (-service for a single one)")


def _dns(seen: Situation) -> Iterator[Finding]:
    if isinstance(seen.dns, str):
        yield Finding(Level.FAIL, "dns", seen.dns)
        return
    named = {seen.node_of(address) for address in seen.dns}
    if seen.found.master and named == {seen.found.master}:
        yield Finding(Level.OK, "dns", f"{seen.name} names {seen.found.master}, and nobody else")
        return
    who = " and ".join(sorted(map(str, named))) or "nobody"
    what = f"{seen.name} names {who}" + (f", and not {seen.found.master} alone" if seen.found.master else "")
    yield Finding(Level.FAIL, "dns", what, "consul-redis-agent resolve and status say why")
