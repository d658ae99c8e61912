"""Settings of a Redis node that lose data, refuse writes or make copies longer. Pure.

Each rule takes the facts of one node and says what it finds; what needs a setting that could not be read says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from consul_redis_agent.commands.doctor.shell import config_set
from consul_redis_agent.commands.screen import Finding, Level
from consul_redis_agent.decide.facts import Role, whole

NAMES = (
    "save",
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "stop-writes-on-bgsave-error",
    "min-replicas-to-write",
    "min-replicas-max-lag",
    "repl-backlog-ttl",
    "repl-timeout",
    "repl-ping-replica-period",
    "repl-diskless-load",
    "replica-serve-stale-data",
    "client-output-buffer-limit",
)
"""What is asked for with CONFIG GET; INFO tells the rest."""
MIB = 1024 * 1024
LAG = 10
"""Redis' own default of ``min-replicas-max-lag``, in seconds."""
LEAST_LAG = 2
"""Replicas report once a second, so one second of lag is no news."""
REPL_TIMEOUT = 60
"""Redis' own default of ``repl-timeout``, in seconds."""
MOST = 2**63


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What is known of one node."""

    name: str
    """Where it is watched, as the lines call it."""
    cli: str
    """The shell's command that leads to it."""
    role: Role
    others: int = 0
    """How many other nodes its group has, as far as is known: a master's replicas."""
    info: Mapping[str, str] = field(default_factory=dict)
    """The lines of INFO."""
    settings: Mapping[str, str] | None = None
    """By name, of :data:`NAMES`; None: they may not be read."""
    rate: float | None = None
    """Bytes of writes a second, as they go to replicas; None: not measured."""
    refused: int = 0
    """How many logins it refused while it was looked at."""
    named: str = ""
    """Whom a majority of the Sentinels names, where that is another node."""
    on_empty: bool = False
    """The agent has a replica promoted when a master comes back empty."""
    down_after: float | None = None
    """Seconds of silence after which Sentinel takes a master for dead; None: there is none, or it was not asked."""

    def setting(self, name: str) -> str:
        """One setting; "" where it is not known."""
        return (self.settings or {}).get(name, "")

    def number(self, name: str) -> int | None:
        """One setting that is a number."""
        return whole(self.setting(name), MOST)

    def told(self, line: str) -> int | None:
        """A number of INFO."""
        return whole(self.info.get(line, ""), MOST)

    def set(self, **settings: object) -> str:
        """The command that sets these and keeps them."""
        return config_set(self.cli, lasts=bool(self.info.get("config_file")), **settings)

    @property
    def may_be_master(self) -> bool:
        """Whether it is one, or Sentinel may make it one."""
        return self.role is Role.MASTER or self.info.get("slave_priority") != "0"


def redis_findings(facts: RedisFacts) -> Iterator[Finding]:
    """All rules, in the order of the harm."""
    for rule in RULES:
        yield from rule(facts)


def _unread(facts: RedisFacts) -> Iterator[Finding]:
    if facts.settings is None:
        what = "the login may not read settings (CONFIG GET), so those that lose data were looked at only as far as INFO tells"
        mend = "run check once with a login that may: --redis-username NAME --redis-password-file FILE"
        yield Finding(Level.WARN, f"settings {facts.name}", what, mend, id="redis.settings_unread")


def _not_named(facts: RedisFacts) -> Iterator[Finding]:
    if facts.role is Role.MASTER and facts.named:
        host, _, port = facts.named.rpartition(":")
        what = f"it says master, and Sentinel names {facts.named}: what is written to it is lost"
        mend = f"wait 20 s, in which Sentinel makes it a replica; else {facts.cli} REPLICAOF {host.strip('[]')} {port}"
        yield Finding(Level.FAIL, f"redis {facts.name}", what, mend, id="redis.not_named")


def _refuses_logins(facts: RedisFacts) -> Iterator[Finding]:
    if facts.refused:
        what = f"it refused {facts.refused} logins or commands without login within a second: somebody has the wrong password"
        mend = "a Sentinel (sentinel auth-pass and auth-user) or a replica (masterauth)? see ACL LOG and CLIENT LIST"
        yield Finding(Level.WARN, f"redis {facts.name}", what, mend, id="redis.refuses_logins")


def _persistence(facts: RedisFacts) -> Iterator[Finding]:
    if facts.settings is None or not facts.may_be_master:
        return
    topic = f"failover {facts.name}"
    nothing = "it keeps nothing on disk (save and appendonly are off): after a restart it is empty"
    kept = facts.setting("save") != "" or facts.setting("appendonly") == "yes"
    if kept and facts.on_empty and facts.role is Role.MASTER:
        what = "it keeps its data on disk: on_empty acts only where they are missing after a restart"
        yield Finding(Level.OK, topic, what, id="redis.keeps_data")
    elif facts.on_empty and not kept:
        what = f"{nothing}, and on_empty has a replica promoted before that one is empty, too"
        yield Finding(Level.OK, topic, what, id="redis.empty_is_seen")
    elif not kept and facts.others:
        copy = "its replicas copy that" if facts.role is Role.MASTER else "as a master it has its replicas copy that"
        what = f'{nothing}, and {copy}, unless failover.on_empty = "ask" is set'
        yield Finding(Level.WARN, topic, what, facts.set(appendonly="yes"), id="redis.keeps_nothing")


def _cannot_save(facts: RedisFacts) -> Iterator[Finding]:
    topic = f"data {facts.name}"
    dump = facts.info.get("rdb_last_bgsave_status") == "err" and facts.setting("save") != ""
    mend = "look at its log: is the disk full, or may Redis not write to its dir, or lacks it memory to fork?"
    if facts.info.get("aof_last_write_status") == "err" or facts.info.get("aof_last_bgrewrite_status") == "err":
        yield Finding(Level.FAIL, topic, "it cannot write its append-only file", mend, id="redis.cannot_save")
    if dump and facts.setting("stop-writes-on-bgsave-error") != "no":
        what = "its last dump failed, so it refuses every write (stop-writes-on-bgsave-error)"
        yield Finding(Level.FAIL, topic, what, mend, id="redis.cannot_save")
    elif dump:
        yield Finding(Level.FAIL, topic, "its last dump failed: what is on disk is old", mend, id="redis.cannot_save")
    elif facts.setting("save") and facts.setting("stop-writes-on-bgsave-error") == "no":
        what = "a dump that fails is not noticed: stop-writes-on-bgsave-error is no"
        mend = facts.set(stop_writes_on_bgsave_error="yes")
        yield Finding(Level.WARN, topic, what, mend, id="redis.fails_silently")


def _fsync(facts: RedisFacts) -> Iterator[Finding]:
    if facts.setting("appendonly") != "yes":
        return
    topic = f"data {facts.name}"
    if facts.setting("appendfsync") == "no":
        what = (
            "the kernel writes its append-only file when it likes: a host that dies takes some 30 s of writes with it"
        )
        yield Finding(Level.WARN, topic, what, facts.set(appendfsync="everysec"), id="redis.no_fsync")
    elif facts.setting("no-appendfsync-on-rewrite") == "yes":
        what = "while it rewrites its append-only file nothing is sure to be on disk (no-appendfsync-on-rewrite)"
        yield Finding(Level.WARN, topic, what, facts.set(no_appendfsync_on_rewrite="no"), id="redis.no_fsync")


def _cut_off(facts: RedisFacts) -> Iterator[Finding]:
    """What no agent can end: nobody is told of a new master there. INFO has that line only where the limit is set."""
    if facts.role is not Role.MASTER or not facts.others:
        return
    topic = f"writes {facts.name}"
    if "min_slaves_good_slaves" in facts.info:
        what = "cut off from all replicas, it refuses writes (min-replicas-to-write is set)"
        yield Finding(Level.OK, topic, what, id="redis.refuses_when_cut_off")
    else:
        what = (
            "cut off from everybody, this master goes on taking writes, which are lost: min-replicas-to-write is 0 (with 1, "
            "on each node, it also refuses writes while no replica is in reach)"
        )
        mend = facts.set(min_replicas_to_write=1, min_replicas_max_lag=_lag(facts))
        yield Finding(Level.WARN, topic, what, mend, id="redis.writes_when_cut_off")


def _lag(facts: RedisFacts) -> int:
    """Seconds: a master that is cut off should refuse writes before another one takes them."""
    return LAG if facts.down_after is None else max(LEAST_LAG, min(LAG, int(facts.down_after)))


def _refused(facts: RedisFacts) -> Iterator[Finding]:
    topic, needed = f"writes {facts.name}", facts.number("min-replicas-to-write") or 0
    good = facts.told("min_slaves_good_slaves")
    fewer = max(facts.others - 1, 0)
    if facts.role is Role.MASTER and good is not None and good < max(needed, 1):
        what = (
            f"it refuses every write: {good} replicas are in sync, and min-replicas-to-write wants {needed or 'more'}"
        )
        mend = "bring its replicas back; see their link in INFO replication"
        if needed > facts.others:
            mend = facts.set(min_replicas_to_write=fewer)
        yield Finding(Level.FAIL, topic, what, mend, id="redis.refuses_writes")
    elif needed > facts.others > 0:
        what = f"as a master it would refuse every write: there are {facts.others} replicas, and min-replicas-to-write is {needed}"
        yield Finding(Level.FAIL, topic, what, facts.set(min_replicas_to_write=fewer), id="redis.refuses_writes")
    elif needed == facts.others > 1:
        what = (
            f"after a failover it refuses every write until the lost node is back: min-replicas-to-write is {needed}, as many as "
            "there are replicas"
        )
        mend = facts.set(min_replicas_to_write=fewer)
        yield Finding(Level.WARN, topic, what, mend, id="redis.refuses_after_failover")


def _max_lag(facts: RedisFacts) -> Iterator[Finding]:
    topic, lag = f"writes {facts.name}", facts.number("min-replicas-max-lag")
    if not facts.number("min-replicas-to-write") or not lag:
        return
    if lag < LEAST_LAG:
        what = f"min-replicas-max-lag is {lag}: replicas report once a second, so writes are refused now and then for nothing"
        yield Finding(Level.WARN, topic, what, facts.set(min_replicas_max_lag=_lag(facts)), id="redis.max_lag")
    elif facts.down_after is not None and lag > max(facts.down_after, LEAST_LAG):
        what = (
            f"cut off, this master still takes writes when another one does: min-replicas-max-lag is {lag} s, "
            f"down-after {facts.down_after:g} s"
        )
        yield Finding(Level.WARN, topic, what, facts.set(min_replicas_max_lag=_lag(facts)), id="redis.max_lag")


def _backlog(facts: RedisFacts) -> Iterator[Finding]:
    topic, size = f"replication {facts.name}", facts.told("repl_backlog_size")
    timeout = facts.number("repl-timeout") or REPL_TIMEOUT
    if facts.rate and size and facts.others and size / facts.rate < timeout:
        what = (
            f"its backlog of {_size(size)} holds {size / facts.rate:.0f} s of the writes seen now ({_size(facts.rate)} a second): "
            "a replica that is away for longer copies all data anew"
        )
        enough = 2 ** (int(facts.rate * timeout * 2 // MIB)).bit_length() * MIB
        yield Finding(Level.WARN, topic, what, facts.set(repl_backlog_size=enough), id="redis.backlog")
    kept = facts.number("repl-backlog-ttl")
    if kept and kept < timeout:
        what = f"without replicas it throws its backlog away after {kept} s, and each copies all data anew (repl-backlog-ttl)"
        yield Finding(Level.WARN, topic, what, facts.set(repl_backlog_ttl=3600), id="redis.backlog_ttl")


def _size(count: float) -> str:
    """Bytes in the unit that people would take."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _timeout(facts: RedisFacts) -> Iterator[Finding]:
    timeout, period = facts.number("repl-timeout"), facts.number("repl-ping-replica-period")
    if timeout and period and timeout <= period:
        what = f"links of replicas break while nothing is written: repl-timeout is {timeout} s, a ping comes every {period} s"
        mend = facts.set(repl_timeout=max(REPL_TIMEOUT, period * 3))
        yield Finding(Level.WARN, f"replication {facts.name}", what, mend, id="redis.repl_timeout")


def _buffer(facts: RedisFacts) -> Iterator[Finding]:
    """During a full copy the writes of that time wait in this buffer; if it is full, the copy begins again."""
    words = facts.setting("client-output-buffer-limit").split()
    limits = {words[i]: words[i + 1 : i + 4] for i in range(0, len(words) - 3, 4)}
    hard, soft, seconds = (
        whole(one, MOST) or 0 for one in limits.get("slave") or limits.get("replica") or ("", "", "")
    )
    took = max(facts.told("rdb_last_bgsave_time_sec") or 0, 1)
    limit = min((one for one in (hard, soft if seconds < took else 0) if one), default=None)
    waiting = (facts.rate or 0.0) * took
    if limit is None or waiting <= limit:
        return
    what = (
        f"a full copy takes {took} s and more, in which {_size(waiting)} of writes come in; the buffer of a replica holds "
        f"{_size(limit)}: the copy would break off, and begin again for ever (client-output-buffer-limit)"
    )
    enough = 2 ** (int(waiting * 4 // MIB)).bit_length() * MIB
    mend = facts.set(client_output_buffer_limit=f"replica {enough} {enough} 0")
    yield Finding(Level.WARN, f"replication {facts.name}", what, mend, id="redis.output_buffer")


def _as_replica(facts: RedisFacts) -> Iterator[Finding]:
    topic = f"replica {facts.name}"
    if facts.setting("repl-diskless-load") == "flush-before-load":
        what = "it throws its data away before it copies the master's: a copy that breaks off leaves it empty"
        yield Finding(Level.WARN, topic, what, facts.set(repl_diskless_load="disabled"), id="redis.flushes_first")
    if facts.role is not Role.REPLICA:
        return
    if facts.info.get("slave_read_only") == "0":
        what = "it takes writes of its own, which are lost with the next copy (replica-read-only is no)"
        yield Finding(Level.WARN, topic, what, facts.set(replica_read_only="yes"), id="redis.writable_replica")
    if facts.setting("replica-serve-stale-data") == "no":
        what = "without its master it refuses reads, and leaves the replicas' name: through each failover (replica-serve-stale-data)"
        yield Finding(Level.WARN, topic, what, facts.set(replica_serve_stale_data="yes"), id="redis.no_stale_data")
    if facts.info.get("slave_priority") == "0":
        yield Finding(Level.OK, topic, "it is never promoted (replica-priority is 0)", id="redis.never_promoted")
    if facts.info.get("replica_announced") == "0":
        yield Finding(Level.OK, topic, "it is not published (replica-announced is no)", id="redis.not_announced")


RULES = (
    _not_named,
    _refuses_logins,
    _unread,
    _persistence,
    _cannot_save,
    _fsync,
    _refused,
    _cut_off,
    _max_lag,
    _timeout,
    _backlog,
    _buffer,
    _as_replica,
)
