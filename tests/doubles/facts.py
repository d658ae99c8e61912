"""One group as facts, for stories about decisions.

Redis nodes ``a``, ``b`` and ``c``, each at 10.0.0.N:6379, with its run id equal to its name and its Consul node called
``host-NAME``; Sentinels ``s1`` to ``s3``. The clock stands at 100 s. Unless said, ``a`` decides, the group has long been
settled, and it has a past: ``c`` held its last claim, of epoch 1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consul_redis_agent.decide.claim import Claim, Early
from consul_redis_agent.decide.decision import Decision, FenceMode, Policy, Reason, SentinelMode, Verdict
from consul_redis_agent.decide.facts import (
    Address,
    Catalog,
    Entry,
    Facts,
    Node,
    Peer,
    Role,
    Selection,
    Sentinel,
    Silence,
)
from consul_redis_agent.decide.memory import Memory
from consul_redis_agent.decide.rules import MISSES, decide

NOW = 100.0
POLICY = Policy()
OFF = Policy(mode=SentinelMode.OFF)
FENCED = Policy(fence=FenceMode.ON)
ASKING = Policy(fence=FenceMode.ON, on_death=True, on_empty=True)
"""Both of ``[failover]`` ask."""
BOOT = "this-start-of-the-machine"
GROUP = "a-1"
OTHER_GROUP = "x-1"
OWN = ("host-a", "redis-6379")
WHERE = {name: Address(f"10.0.0.{i}", 6379) for i, name in enumerate("abc", 1)}
ELSEWHERE = {name: Address(f"10.9.9.{i}", 6379) for i, name in enumerate("xyz", 1)}
"""The Redis nodes of another group."""
SILENT = Silence(NOW, "no answer", MISSES)
REFUSED = Silence(NOW, "nothing listens there", 1, gone=True, refused=True)
"""Its process is gone: both its addresses refuse."""


def master(name: str = "a", **changes: Any) -> Node:
    """The node says that it is a master."""
    return replace(Node(NOW, name, Role.MASTER, replication_id=f"repl-{name}"), **changes)


def replica(of: str = "b", **changes: Any) -> Node:
    """The node says that it is a healthy replica."""
    return replace(Node(NOW, "a", Role.REPLICA, link_up=True, follows=WHERE[of]), **changes)


def promoted(**changes: Any) -> Node:
    """The node turned master a moment ago, before the leader was asked last."""
    return master(**{"turned": NOW - 0.005} | changes)


def sentinel(id_: str, names: str = "a", epoch: int = 5, **changes: Any) -> Sentinel:
    """A Sentinel that knows all nodes and Sentinels, and names one of the nodes as the master."""
    run_ids = {address: name for name, address in WHERE.items()}
    peers = {f"s{i}": Address(f"s{i}", 26379) for i in (1, 2, 3) if f"s{i}" != id_}
    fact = Sentinel(NOW, id_, Address(id_, 26379), master=WHERE[names], epoch=epoch, run_ids=run_ids, peers=peers)
    return replace(fact, **changes)


def sentinels(*names: str, epoch: int = 5) -> tuple[Sentinel, ...]:
    """One Sentinel for each name that is given; an empty one is out of reach."""
    return tuple(
        sentinel(f"s{i}", name, epoch) if name else sentinel(f"s{i}", error="no answer", master=None)
        for i, name in enumerate(names, 1)
    )


def foreign_sentinel(id_: str = "f1", epoch: int = 5, **changes: Any) -> Sentinel:
    """A Sentinel that watches other nodes under the same master name, and knows two more Sentinels of theirs."""
    run_ids = {address: name for name, address in ELSEWHERE.items()}
    peers = {f"f{i}": Address(f"f{i}", 26379) for i in (1, 2, 3) if f"f{i}" != id_}
    return sentinel(id_, epoch=epoch, **{"master": ELSEWHERE["x"], "run_ids": run_ids, "peers": peers} | changes)


def selecting(name: str, epoch: int) -> Sentinel:
    """The elected leader of a failover under way: still of the old epoch, but it has chosen."""
    return replace(sentinel("s1", "b", 5), selection=Selection(epoch, name, NOW - 0.08), promoting=name)


UNHEARD = sentinels("b", "b", "b")[1:]
"""The two Sentinels that do not lead, and have heard of nothing yet."""


def early(since: float = NOW, epoch: int = 6, name: str = "a", leader: str = "s1", boot: str = BOOT) -> Claim:
    """A claim on the leader's word alone."""
    return Claim(epoch, 0, name, Early(since, boot, leader))


def following(name: str = "b", **changes: Any) -> Peer:
    """Another node says that it is a replica of ``a`` now."""
    return replace(Peer(NOW, WHERE[name], Role.REPLICA, WHERE["a"], "x"), **changes)


def saying_master(name: str = "b", **changes: Any) -> Peer:
    """Another node says that it is a master."""
    return replace(Peer(NOW, WHERE[name], Role.MASTER, run_id=name), **changes)


def entry(name: str, claim: Claim | None = None, *, passing: bool = True, **changes: Any) -> Entry:
    """This tool's entry for a node: a master's with a claim, a replica's without."""
    made = Entry(
        f"host-{name}",
        "redis-6379",
        "redis",
        (WHERE | ELSEWHERE)[name],
        marked=True,
        claim=claim,
        says_master=claim is not None,
        group=GROUP if name in WHERE else OTHER_GROUP,
        master_name="mymaster",
        passing=passing,
        rises=passing,
    )
    return replace(made, **changes)


def holds(name: str, epoch: int, turn: int = 0, **changes: Any) -> Entry:
    """The entry of a node that holds a claim."""
    return replace(entry(name, Claim(epoch, turn, name)), **{"rises": changes.get("passing", True)} | changes)


def facts(node: Node | Silence | None, heard: tuple[Sentinel, ...], *entries: Entry, **changes: Any) -> Facts:
    """What the agent of ``a`` knows. What Consul shows is what its servers confirm, unless said."""
    past = holds("c", 1, passing=False)
    if heard and all(e.key != past.key for e in entries):
        entries += (past,)
    made = Facts(
        now=NOW,
        node=node,
        me=frozenset({WHERE["a"]}),
        address=WHERE["a"],
        sentinels=heard,
        watched=len(heard),
        catalog=Catalog(NOW - 0.5, 1, entries),
        own=OWN,
        master_name="mymaster",
        boot=BOOT,
    )
    made = replace(made, **changes)
    return made if "confirmation" in changes else replace(made, confirmation=made.catalog)


def seen_by(name: str, known: Facts) -> Facts:
    """The same as another node's agent knows it."""
    return replace(known, me=frozenset({WHERE[name]}), address=WHERE[name], own=(f"host-{name}", "redis-6379"))


def settled(known: Facts, /, **changes: Any) -> Memory:
    """What is remembered where all that is seen has long been so."""
    roster = {s.id: s.run_ids for s in known.sentinels if s.run_ids}
    memory = Memory(
        group=GROUP,
        had_sentinel=bool(known.sentinels),
        known=frozenset(s.id for s in known.sentinels),
        counted=bool(known.sentinels),
        at={s.address: s.id for s in known.sentinels},
        roster=roster,
        roster_since=NOW - 50 if roster else float("inf"),
        node=known.node if isinstance(known.node, Node) else master(at=NOW - 1),
    )
    return replace(memory, **changes)


def judge(known: Facts, policy: Policy = POLICY, /, **remembered: Any) -> Decision:
    """Decide in a settled group; ``remembered`` is what the memory holds besides."""
    return decide(known, settled(known, **remembered), policy)[0]


def outcome(decision: Decision) -> tuple[Verdict, Reason]:
    """What a story ends with."""
    return decision.verdict, decision.reason


def evicted(decision: Decision) -> set[str]:
    """The hosts whose claims it sets critical."""
    return {e.node for e in decision.evict}
