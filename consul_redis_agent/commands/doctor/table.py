"""Every finding of `check`: its id, how it is to be taken, what it means and what mends it. Pure.

Programs may rely on the ids; docs/doctor.md is written from this table. A test holds it against the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consul_redis_agent.commands.screen import Level

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL


@dataclass(frozen=True, slots=True)
class Kind:
    """One finding. ``mend`` is empty where there is nothing to do."""

    levels: tuple[Level, ...]
    means: str
    mend: str = ""


AREAS = {
    "configuration": "The configuration and its secrets",
    "tls": "What crosses a network",
    "redis": "The Redis node, its data and its replication",
    "sentinel": "The Sentinels",
    "fence": "`[fence]`",
    "failover": "`[failover]`",
    "address": "The address to publish",
    "consul": "Consul",
    "token": "The agent's token",
    "entry": "The own entries in Consul",
    "catalog": "What others have put under the same names",
    "dns": "What applications get from DNS",
    "agent": "The agent of this host",
}
"""What stands before the dot of an id."""

_SET = "`CONFIG SET` and `CONFIG REWRITE`, as printed"
_SENTINEL_SET = "`SENTINEL SET` on each Sentinel, as printed"
_CONSUL = "The setting that is printed, in Consul's configuration. Consul 1.8 tells the new one only after a restart."

FINDINGS: Mapping[str, Kind] = {
    "configuration.read": Kind((OK,), "The file that was read, and the nodes that are looked after."),
    "configuration.secret_unreadable": Kind(
        (FAIL,), "A file with a password or token cannot be read.", "Let the agent's user read it, or correct the path."
    ),
    "configuration.secret_empty": Kind((FAIL,), "Such a file is empty.", "Write the secret into it."),
    "configuration.secret_exposed": Kind((WARN,), "Every user of this host can read such a file.", "`chmod o-r FILE`"),
    "tls.clear_text": Kind(
        (WARN,), "A password or token crosses the network where everybody can read it.", "Use TLS there, as printed."
    ),
    "tls.unchecked": Kind(
        (WARN,), "TLS takes any certificate, so whoever stands between reads and forges all.", "Set `ca_file` there."
    ),
    "redis.role": Kind((OK,), "The node is reached, the login is good, and this is its role."),
    "redis.loading": Kind((WARN,), "It loads its data, and is not published until it has.", "Wait."),
    "redis.link_down": Kind(
        (WARN,), "A replica without a link to its master.", "Is the master up, and is `masterauth` right?"
    ),
    "redis.unreachable": Kind(
        (FAIL,), "It is not reached, or it refuses the login, or it cannot be asked just now.", "As printed, by cause."
    ),
    "redis.unreadable": Kind((FAIL,), "What it answers is not what Redis answers.", "Correct `redis.url`."),
    "redis.rights": Kind(
        (FAIL,),
        "The login lacks a right, so the role or the Sentinels cannot be seen.",
        "The `ACL SETUSER` as printed.",
    ),
    "redis.cluster": Kind(
        (FAIL,),
        "It is a node of Redis Cluster, whose clients find masters by themselves.",
        "Nothing is published of it.",
    ),
    "redis.not_named": Kind(
        (FAIL,),
        "It says master, and a majority of the Sentinels names another node: what is written to it is lost.",
        "Wait until Sentinel makes it a replica; else `REPLICAOF`, as printed.",
    ),
    "redis.refuses_logins": Kind(
        (WARN,),
        "Logins were refused while it was looked at: a Sentinel with a wrong password says no hello and holds the node for down; "
        "a replica with one never follows.",
        "`sentinel auth-pass` there, `masterauth` here; `ACL LOG` and `CLIENT LIST` tell who it is.",
    ),
    "redis.settings_unread": Kind(
        (WARN,),
        "The login may not read settings. The agent does not need that right; what depends on them is not judged.",
        "Run `check` once with a login that may `CONFIG GET`.",
    ),
    "redis.keeps_nothing": Kind(
        (WARN,),
        "Neither `save` nor `appendonly` is set. If it is a master and something restarts it before Sentinel has noticed, it "
        "is empty, and every replica copies that: one crash loses all data.",
        f'{_SET}; or `failover.on_empty = "ask"`.',
    ),
    "redis.empty_is_seen": Kind(
        (OK,), "It keeps nothing on disk, and `failover.on_empty` has a replica promoted instead."
    ),
    "redis.keeps_data": Kind((OK,), "It keeps its data on disk; `failover.on_empty` is for when they are missing."),
    "redis.cannot_save": Kind(
        (FAIL,),
        "Its last dump or its append-only file could not be written. By default it then refuses every write.",
        "Look at its log: a full disk, rights of `dir`, or no memory to fork.",
    ),
    "redis.fails_silently": Kind(
        (WARN,), "`stop-writes-on-bgsave-error` is off: a dump that fails is found when it is needed.", _SET
    ),
    "redis.no_fsync": Kind(
        (WARN,), "The append-only file is not brought to the disk in time: a host that dies loses writes.", _SET
    ),
    "redis.refuses_writes": Kind(
        (FAIL,),
        "Fewer replicas are in sync, or exist, than `min-replicas-to-write` wants: no write is taken.",
        f"Bring replicas back; or {_SET}.",
    ),
    "redis.refuses_after_failover": Kind(
        (WARN,),
        "`min-replicas-to-write` is as many as there are replicas; after a failover one is missing, and no write is taken.",
        _SET,
    ),
    "redis.writes_when_cut_off": Kind(
        (WARN,),
        "`min-replicas-to-write` is 0: a master that is cut off from all others goes on taking writes, which are lost. No "
        "agent can end that, since none is reached there.",
        _SET,
    ),
    "redis.refuses_when_cut_off": Kind((OK,), "Cut off from all replicas it refuses writes."),
    "redis.max_lag": Kind(
        (WARN,),
        "`min-replicas-max-lag` is longer than down-after (both masters take writes for a while), or too short to hold.",
        _SET,
    ),
    "redis.repl_timeout": Kind((WARN,), "`repl-timeout` is not longer than the time between two pings.", _SET),
    "redis.backlog": Kind(
        (WARN,),
        "At the rate of writes seen in a second, `repl-backlog-size` holds less than `repl-timeout`: a replica that is away "
        "for longer copies all data anew.",
        _SET,
    ),
    "redis.backlog_ttl": Kind((WARN,), "A master without replicas throws its backlog away very soon.", _SET),
    "redis.output_buffer": Kind(
        (WARN,),
        "During a full copy more is written than the replica's output buffer holds: the copy breaks off, again and again.",
        _SET,
    ),
    "redis.flushes_first": Kind(
        (WARN,), "`repl-diskless-load` is `flush-before-load`: a copy that breaks off leaves the replica empty.", _SET
    ),
    "redis.writable_replica": Kind((WARN,), "The replica takes writes of its own, which are lost.", _SET),
    "redis.no_stale_data": Kind(
        (WARN,), "Without its master the replica refuses reads, so it leaves DNS through each failover.", _SET
    ),
    "redis.never_promoted": Kind((OK,), "`replica-priority` is 0: Sentinel never promotes it."),
    "redis.not_announced": Kind((OK,), "`replica-announced` is no: it is not published."),
    "sentinel.off": Kind((OK,), '`sentinel.mode = "off"`: none is asked.'),
    "sentinel.unheard": Kind(
        (FAIL,), "None is configured, and the node on which they are heard is not reached.", "Mend Redis first."
    ),
    "sentinel.none": Kind(
        (WARN, FAIL),
        "None was heard of, and none is configured. It fails where `sentinel.mode` is `required`.",
        "Set `sentinel.hosts`, or start the Sentinels.",
    ),
    "sentinel.vote": Kind((OK,), "One Sentinel, and whom it names."),
    "sentinel.unreachable": Kind((FAIL,), "It is not reached, or refuses the login.", "As printed, by cause."),
    "sentinel.rights": Kind(
        (WARN, FAIL), "The login lacks a right there; the line says what is lost.", "The `ACL SETUSER` as printed."
    ),
    "sentinel.wrong_name": Kind(
        (FAIL,), "It does not know the group under this name.", "Set `redis.master_name` to the right one."
    ),
    "sentinel.not_monitored": Kind((FAIL,), "It does not monitor the group.", "`SENTINEL MONITOR` there."),
    "sentinel.tilt": Kind((WARN,), "It is in TILT: it has no vote.", "Its clock jumped; it ends after 30 s of calm."),
    "sentinel.held_for_down": Kind(
        (FAIL,),
        "It holds the master for down. If that node answers, this Sentinel cannot reach it or cannot log in.",
        "`sentinel auth-pass` and `auth-user` there; firewall.",
    ),
    "sentinel.ahead": Kind((WARN,), "It is at an epoch that the others have not followed to.", "Wait; see its log."),
    "sentinel.behind": Kind(
        (WARN,), "It names another node than the majority, or is behind.", "Is it cut off? `SENTINEL RESET` there."
    ),
    "sentinel.forgeable": Kind(
        (WARN,),
        "The Sentinels' password goes to whoever says hello as one, since none is configured.",
        "Set `sentinel.hosts`.",
    ),
    "sentinel.ghosts": Kind(
        (WARN,), "They list more addresses than any group has Sentinels.", "`SENTINEL RESET` on each."
    ),
    "sentinel.another_group": Kind(
        (FAIL,),
        "It watches other nodes under the same master name. It is not counted.",
        "Take it out of `sentinel.hosts`.",
    ),
    "sentinel.majority": Kind((OK,), "A majority names one master."),
    "sentinel.too_few": Kind(
        (FAIL,), "Fewer than a majority have a vote: nothing new is published.", "Mend those above."
    ),
    "sentinel.disagree": Kind(
        (FAIL,), "No majority names one master.", "Wait for the failover to end; see their logs."
    ),
    "sentinel.quorum": Kind((OK,), "By their own word a failover would be authorised."),
    "sentinel.no_quorum": Kind(
        (FAIL,), "By their own word a failover would not be authorised.", "Bring Sentinels back, or lower the quorum."
    ),
    "sentinel.too_few_hosts": Kind((WARN,), "One or two Sentinels survive no failure of a host.", "Run three or more."),
    "sentinel.settings_differ": Kind(
        (WARN,),
        "down-after, failover-timeout or quorum is not the same on all: what happens depends on who leads.",
        _SENTINEL_SET,
    ),
    "sentinel.down_after_short": Kind(
        (WARN,), "A stall of less than a second already counts as a death.", _SENTINEL_SET
    ),
    "sentinel.down_after_long": Kind(
        (WARN,), "A master that is gone stays without a successor for long.", _SENTINEL_SET
    ),
    "sentinel.ttl_long": Kind(
        (WARN,),
        "`service.ttl` is much longer than down-after: a master that is cut off from Sentinels and Consul keeps its entry on its "
        "side when the others have a new one.",
        "A shorter `service.ttl`, as printed.",
    ),
    "sentinel.failover_timeout_short": Kind((WARN,), "A promotion is given up half way.", _SENTINEL_SET),
    "sentinel.failover_timeout_long": Kind(
        (WARN,),
        "After a failover that failed, Sentinel begins the next one of this master only when twice this time has passed: by its "
        "default of 180 s, six minutes.",
        _SENTINEL_SET,
    ),
    "sentinel.quorum_above_all": Kind((FAIL,), "The quorum is more than there are Sentinels.", _SENTINEL_SET),
    "sentinel.quorum_high": Kind(
        (WARN,), "The quorum is more than a majority: fewer losses are survived.", _SENTINEL_SET
    ),
    "sentinel.quorum_low": Kind((WARN,), "The quorum is 1: one that is cut off begins failovers.", _SENTINEL_SET),
    "sentinel.same_id": Kind(
        (FAIL,),
        "Several Sentinels have one id, from a copied file: they do not hear each other.",
        "Take `sentinel myid` out of all files but one, and restart.",
    ),
    "sentinel.same_host": Kind(
        (WARN,),
        "Without one host there is no majority. If it is the master's own, its loss is never mended.",
        "Run each on a host of its own.",
    ),
    "sentinel.even": Kind((WARN,), "An even number survives no more losses than one less.", "One more, or one less."),
    "sentinel.no_replica": Kind((WARN,), "There is nobody to promote.", "Start a replica."),
    "sentinel.nobody_to_promote": Kind(
        (FAIL,),
        "Every replica has `replica-priority 0`, or those that may be promoted are down.",
        f"Bring one back; or {_SET}.",
    ),
    "fence.mode": Kind((OK,), "What is done about a master without authority."),
    "fence.ready": Kind((OK,), "The fence was rehearsed on the node, with nothing done."),
    "fence.rights": Kind((FAIL,), "The login may not do what the fence does.", "The `ACL SETUSER` as printed."),
    "fence.untried": Kind((WARN,), "It could not be tried just now.", "Check again later."),
    "fence.refused": Kind((FAIL,), "The node refuses a command of the fence.", "Is it renamed in redis.conf?"),
    "fence.no_login": Kind(
        (FAIL,), "As a replica it could not log in at its master.", "Set `masterauth` (and `masteruser`)."
    ),
    "fence.no_tls": Kind((FAIL,), "As a replica it would not speak TLS, and the others do.", "`tls-replication yes`"),
    "fence.no_pause": Kind((WARN,), "Before Redis 6.2 writes cannot wait.", "Redis 6.2 or later."),
    "fence.no_file": Kind(
        (WARN,),
        "Started without a configuration file, it would be a master again after a restart.",
        "Start it with one.",
    ),
    "failover.right": Kind(
        (FAIL,), "The login may not ask this Sentinel for a failover.", "The `ACL SETUSER` as printed."
    ),
    "failover.right_unknown": Kind((WARN,), "Whether it may is not known."),
    "failover.down_after": Kind(
        (WARN,), "down-after is below 5 s, so no failover is asked for: an election could be under way.", _SENTINEL_SET
    ),
    "failover.same_host": Kind(
        (WARN,), "Every Sentinel in reach is on the node's own host, and dies with it.", "Run some on other hosts."
    ),
    "failover.ready": Kind((OK,), "So many Sentinels can be asked."),
    "address.published": Kind((OK,), "The address that is published, and who says so."),
    "address.of_consul": Kind(
        (WARN,), "Nobody says where others reach this node; Consul's own address is taken.", "Set `redis.announce`."
    ),
    "address.only_here": Kind(
        (WARN, FAIL),
        "Others cannot use the address: loopback, link-local, or a name of one label. It warns where there are no others.",
        "Set `redis.announce`, or have Sentinel monitor an address that others reach.",
    ),
    "address.sentinel_only_here": Kind(
        (WARN,),
        "What is published is good, but Sentinel knows the node by an address that others cannot use.",
        "Have Sentinel monitor an address that others reach.",
    ),
    "consul.reached": Kind((OK,), "The Consul agent answers, and the servers have a leader."),
    "consul.unreachable": Kind((FAIL,), "The Consul agent is not reached.", "Start it, or correct `consul.url`."),
    "consul.no_leader": Kind((FAIL,), "Consul's servers have no leader.", "Bring a majority of them back."),
    "consul.error": Kind((FAIL,), "Consul answers with an error.", "As printed."),
    "consul.blocked": Kind(
        (FAIL,),
        "The Consul agent's own configuration refuses a request that is needed.",
        "Change `block_endpoints` or `allow_write_http_from` there.",
    ),
    "consul.settings_unread": Kind(
        (WARN,),
        "The token may not read the Consul agent's settings (`agent:read`, which the agent does not need).",
        "Give it that right, or run `check` once with a token that has it.",
    ),
    "consul.leaves": Kind(
        (WARN,),
        "`leave_on_terminate` is on (the default of clients): each restart of the Consul agent takes this host's entries out "
        "of DNS for as long as it takes.",
        _CONSUL,
    ),
    "consul.few_servers": Kind((WARN,), "One or two Consul servers survive no failure.", "Run three or five."),
    "consul.server_down": Kind((WARN,), "A Consul server does not answer its neighbours.", "Bring it back."),
    "consul.agent_newer": Kind(
        (WARN,), "The Consul agent is newer than a server, which Consul does not support.", "Upgrade the servers first."
    ),
    "token.may_write": Kind((OK,), "The token may write the service."),
    "token.may_not_write": Kind((FAIL,), "The token may not write the service.", "The policy rule as printed."),
    "token.may_not_read": Kind(
        (FAIL,), "The token may not read Consul's nodes, so no claim of others is seen.", "The policy rule as printed."
    ),
    "token.unknown": Kind((FAIL,), "Consul does not know the token.", "Put one that exists into `consul.token_file`."),
    "token.unreadable": Kind((FAIL,), "The token cannot be used.", "Correct `consul.token_file`."),
    "entry.shown": Kind((OK,), "An own entry that is in DNS."),
    "entry.not_shown": Kind((OK,), "An own entry that is critical, and so not in DNS, as it should be."),
    "entry.none": Kind((OK,), "Consul holds no entry of this node yet."),
    "entry.false": Kind(
        (FAIL,), "DNS gives this node out as the master, and it is a replica.", "Is the agent running? See `status`."
    ),
    "entry.critical": Kind(
        (FAIL,), "Sentinel names this node, and its entry is critical.", "Is the agent running? See `status`."
    ),
    "entry.maintenance": Kind(
        (WARN,), "The entry is in maintenance, so DNS leaves it out.", "`consul maint -disable`, as printed."
    ),
    "entry.host_dead": Kind(
        (FAIL,), "Consul's gossip holds the host for dead, so DNS leaves it out.", "Serf's port 8301, TCP and UDP."
    ),
    "entry.hidden": Kind(
        (FAIL,),
        "The entry passes, and DNS leaves it out because of a check that is not this tool's; it is named.",
        "Mend what that check tests, or take it off.",
    ),
    "entry.may_be_hidden": Kind(
        (WARN,), "Such a check warns: DNS leaves the entry out if `only_passing` is set.", "Mend what it tests."
    ),
    "catalog.another_group": Kind(
        (FAIL,),
        "Another group uses the same name. First come stays, the other one publishes nothing.",
        "Give one another name, or `consul-redis-agent deregister` on its hosts.",
    ),
    "catalog.foreign": Kind(
        (WARN, FAIL),
        "An entry under this name was not made by this tool. It fails where DNS answers with it.",
        "`consul services deregister`, as printed.",
    ),
    "catalog.unreadable_claim": Kind(
        (WARN, FAIL),
        "An entry of this tool says master, and its claim is not readable: another version or mode.",
        "Give all agents the same, or deregister it.",
    ),
    "catalog.other_version": Kind(
        (WARN,), "An entry of this group is of an agent of another version.", "Give all hosts the same version."
    ),
    "catalog.claim_ahead": Kind(
        (WARN,),
        "A claim is of an epoch that no majority of the Sentinels has reached: a failover is under way, or it is false, and not "
        "believed.",
        "Wait; else `consul-redis-agent deregister` on that host.",
    ),
    "catalog.untold": Kind(
        (WARN,), "Too few Sentinels answer to tell whose some entries are.", "Mend the Sentinels, and check again."
    ),
    "catalog.several_names": Kind(
        (WARN,), "The group is known under several master names.", "Have all its Sentinels monitor one name."
    ),
    "dns.true": Kind((OK,), "DNS names the one true master, held against Sentinel and the node itself."),
    "dns.wrong": Kind((FAIL,), "DNS does not name the one true master; the line says what it names.", "See `status`."),
    "dns.nobody_yet": Kind((WARN,), "Nobody is published yet.", "Start the agents."),
    "dns.token": Kind(
        (WARN,),
        "Nobody is published yet, and DNS could show nobody: a request without a token, as DNS makes it, may not read nodes.",
        "Give `node:read` and `service:read` to the token that DNS uses, as printed.",
    ),
    "dns.unanswered": Kind((FAIL,), "Consul's DNS does not answer, or not with DNS.", "Correct `consul.dns`."),
    "dns.hidden": Kind(
        (FAIL,),
        "The catalog holds a passing master that DNS does not show: the token that DNS uses lacks a right.",
        "Give it `service:read` and `node:read`, as printed.",
    ),
    "dns.target_without_address": Kind(
        (FAIL,), "DNS has no address for the name of the master's host.", "Set `redis.announce` to an IP address."
    ),
    "dns.other_domain": Kind(
        (FAIL,), "`consul.domain` is not the domain of this Consul.", "Take it out: it is learned."
    ),
    "dns.ttl": Kind((WARN,), "The answer has a TTL: applications may go to the old master for that long.", _CONSUL),
    "dns.cache": Kind((WARN,), "The Consul agent answers DNS from a cache.", _CONSUL),
    "dns.stale": Kind(
        (WARN,),
        "`max_stale` is long (Consul's default is ten years): beside a Consul server that is cut off, DNS names the old master "
        "for good.",
        _CONSUL,
    ),
    "agent.running": Kind((OK,), "The agent answers, and nothing is in error."),
    "agent.not_running": Kind(
        (WARN,), "No agent answers on this host.", "Start it, as printed; `--socket` names another place."
    ),
    "agent.not_asked": Kind(
        (WARN,), "The agent may run, and could not be asked: another user's, or it hangs.", "Run `check` as root."
    ),
    "agent.other_version": Kind((WARN,), "The running agent is of another version.", "Restart it."),
    "agent.complains": Kind((WARN,), "The running agent says what it cannot do.", "`consul-redis-agent status`"),
    "agent.unit_disabled": Kind((WARN,), "The agent runs, but does not start with the host.", "`systemctl enable`"),
}
