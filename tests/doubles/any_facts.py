"""Any facts, memory and policy, for properties that hold of every decision. The names are those of ``facts.py``."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

from hypothesis import strategies as st

from consul_redis_agent.decide.claim import NO_EPOCH, Claim, Early
from consul_redis_agent.decide.decision import FenceMode, Policy, SentinelMode
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
from consul_redis_agent.decide.memory import Fenced, Memory

from .facts import BOOT, ELSEWHERE, GROUP, NOW, OTHER_GROUP, OWN, WHERE, entry, sentinel

SOME = [NOW, NOW - 0.5, NOW - 3, NOW - 7, NOW - 50, NOW + 0.1]
times = st.sampled_from(SOME)
since = times | st.just(inf)
last = times | st.just(-inf)
epochs = st.integers(NO_EPOCH, 3)
names = st.sampled_from("aaabcx")
ids = st.sampled_from(["s1", "s2", "s3", "f1"])
groups = st.sampled_from([GROUP, GROUP, OTHER_GROUP, ""])
addresses = st.sampled_from([*WHERE.values(), *ELSEWHERE.values()])
booleans = st.booleans()
rarely = st.sampled_from([False, False, False, True])
earlies = st.none() | st.builds(Early, times | st.just(-inf), st.sampled_from(["", BOOT]), ids)
claims = st.builds(Claim, epochs, st.integers(0, 2), names, st.none() | st.none() | earlies)
nodes = st.builds(
    Node,
    st.sampled_from([NOW, NOW, NOW - 0.5, NOW - 7]),
    st.sampled_from("aaab"),
    st.sampled_from([Role.MASTER, Role.MASTER, Role.REPLICA]),
    loading=rarely,
    link_up=booleans,
    lag=st.sampled_from([0.0, 10.0, 11.0]),
    follows=st.none() | addresses,
    replication_id=st.sampled_from(["", "x"]),
    turned=last,
    master_since=last,
    empty=st.none() | booleans,
    offset=st.sampled_from([0, 50]),
    former_id=st.sampled_from(["", "x"]),
    version=st.sampled_from([(), (6, 0, 9), (7, 0, 15)]),
    hands_over=rarely,
    relieved=last,
)
silences = st.builds(Silence, times, st.just("no answer"), st.integers(1, 3), gone=rarely) | st.builds(
    Silence, times, st.just("refused"), st.integers(1, 3), gone=st.just(True), refused=st.just(True)
)
run_ids = st.sampled_from([sentinel("s1").run_ids, sentinel("s1").run_ids, {a: n for n, a in ELSEWHERE.items()}, {}])
strange_sentinels = st.builds(
    Sentinel,
    times,
    ids,
    st.just(Address("s", 26379)),
    error=st.sampled_from(["", "no answer"]),
    gone=booleans,
    looked=booleans,
    tilt=rarely,
    master=st.none() | addresses,
    epoch=epochs,
    run_ids=run_ids | st.dictionaries(addresses, names, max_size=3),
    peers=st.dictionaries(ids, addresses, max_size=2),
    selection=st.none() | st.builds(Selection, epochs, names, last),
    down=rarely,
    promoting=st.none() | names | st.just(""),
    promoting_since=last,
    coordinated=rarely,
    disconnected=booleans,
    usable=st.frozensets(addresses, max_size=2),
    reaches=st.integers(0, 2),
    down_after=st.sampled_from([0.0, 1.0, 30.0]),
    failover_timeout=st.sampled_from([0.0, 2.0, 180.0]),
    switched=last,
)


@st.composite
def heard_sentinels(draw: st.DrawFn) -> tuple[Sentinel, ...]:
    """Three that mostly say the same, but that one may be strange; or any."""
    if draw(rarely):
        return tuple(draw(st.lists(strange_sentinels, max_size=4, unique_by=lambda s: s.id)))
    named, epoch = draw(st.sampled_from("aab")), draw(epochs)
    heard = [sentinel(id_, named, epoch) for id_ in ("s1", "s2", "s3")]
    if draw(rarely):
        heard[1:] = [replace(s, error="no answer", master=None) for s in heard[1:]]
    if draw(rarely):
        heard[0] = replace(heard[0], promoting=draw(names), promoting_since=NOW)
    if draw(booleans):
        usable = draw(st.frozensets(addresses, min_size=1))
        heard = [replace(s, disconnected=True, usable=usable, reaches=2, down_after=30.0) for s in heard]
    if draw(booleans):
        chosen = Selection(epoch + 1, draw(st.sampled_from("aab")), NOW - 0.5)
        heard[2] = replace(
            heard[2], selection=chosen, promoting=chosen.run_id, at=draw(st.sampled_from([NOW, NOW - 0.5]))
        )
    elif draw(booleans):
        heard[2] = draw(strange_sentinels)
    return tuple({s.id: s for s in heard}.values())


def _made(name: str, claim: Claim | None, shown: dict[str, Any], rest: dict[str, Any]) -> Entry:
    owned = replace(claim, run_id=name) if claim and rest.pop("true") else claim
    rest.pop("true", None)
    return entry(name, owned, **shown, **rest)


entries = st.builds(
    _made,
    names,
    st.none() | claims | claims,
    st.fixed_dictionaries({"passing": booleans, "marked": st.sampled_from([True, True, True, False])}),
    st.fixed_dictionaries(
        {
            "true": st.sampled_from([True, True, False]),
            "says_master": st.sampled_from([True, True, False]),
            "group": groups,
            "evicted": rarely,
            "tombstones": st.sampled_from([(), (), ("redis-6379:put-down-1",)]),
            "node_alive": st.sampled_from([True, True, False]),
            "maintenance": rarely,
            "created": st.integers(0, 3),
        }
    ),
).filter(lambda e: not (e.passing and (e.evicted or e.tombstones)))
shown_entries = st.lists(entries, max_size=4, unique_by=lambda e: e.key).map(tuple)
catalogs = st.builds(Catalog, times, st.integers(1, 9), shown_entries)
recent_catalogs = st.builds(Catalog, st.just(NOW), st.just(9), shown_entries)
peers = st.builds(
    Peer,
    times,
    addresses,
    st.none() | st.sampled_from(Role),
    st.none() | addresses,
    st.just("x"),
    run_id=names | st.just(""),
    offset=st.sampled_from([0, 100]),
    empty=st.none() | booleans,
) | st.builds(
    lambda at, name: Peer(at, WHERE[name], Role.MASTER, run_id=name),
    st.sampled_from([NOW, NOW - 0.5]),
    st.sampled_from("bc"),
)
all_facts = st.builds(
    Facts,
    now=st.just(NOW),
    node=st.none() | silences | nodes | nodes | nodes,
    me=st.sampled_from([frozenset({WHERE["a"]}), frozenset({WHERE["a"]}), frozenset[Address]()]),
    address=st.sampled_from([WHERE["a"], WHERE["a"], None]),
    sentinels=st.just(()) | heard_sentinels() | heard_sentinels(),
    watched=st.integers(0, 4),
    searching=rarely,
    catalog=st.none() | catalogs | catalogs | catalogs,
    own=st.sampled_from([OWN, OWN, ("", OWN[1])]),
    master_name=st.sampled_from(["", "mymaster"]),
    peer=st.none() | peers | peers,
    elsewhere=st.just(()) | shown_entries,
    confirmation=st.none() | catalogs | recent_catalogs | recent_catalogs,
    boot=st.sampled_from(["", BOOT]),
)
seen = st.dictionaries(names.map(lambda name: (f"host-{name}", OWN[1])), st.tuples(claims, times), max_size=3)
fences = st.just(Fenced()) | st.builds(
    Fenced,
    paused=st.tuples(ids | st.just(""), epochs),
    proved=names | st.just(""),
    proved_at=since,
    proved_where=st.none() | st.sampled_from([*WHERE.values()]),
    proved_by=ids | st.just(""),
    followed=last,
    lost=st.none() | claims,
    lost_at=since,
    returned=names | st.just(""),
    returned_at=since,
    asked=last,
    early=earlies,
    yielded=last,
)
memories = st.builds(
    Memory,
    group=groups,
    had_sentinel=rarely,
    known=st.sampled_from([frozenset({"s1", "s2", "s3"}), frozenset[str]()]) | st.frozensets(ids, max_size=4),
    roster=st.dictionaries(ids, run_ids, max_size=3),
    roster_since=since,
    node=st.none() | nodes,
    seen=seen,
    newest=epochs,
    newest_at=last,
    evicted_since=since,
    pending_since=since,
    confirmed=last,
    recorded=st.none() | st.none() | claims,
    held=st.none() | claims,
    heard=last,
    spent=st.integers(-1, 3),
    outvoted=since,
    fence=fences,
)
policies = st.builds(
    Policy,
    mode=st.sampled_from(SentinelMode),
    early=booleans,
    ttl=st.sampled_from([10.0, 2.0]),
    patience=st.just(3.0),
    fence=st.sampled_from(FenceMode),
    on_death=booleans,
    on_empty=booleans,
    delay=st.sampled_from([0.0, 1.0]),
)
