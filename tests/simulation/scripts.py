"""Faults in an order that tests one rule each; when exactly is left to chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps

from .acts import APART, begin_a_swap, judge_the_swap
from .consul import SERVERS
from .world import START, Fencing, Host, World


def two_failovers(world: World) -> None:
    """The master dies and returns; then a planned failover."""
    later, hosts = world.engine.later, world.hosts
    later(START, hosts[0].redis.stop)
    later(START + 12, hosts[0].redis.start)
    later(START + 25, world.plan, hosts[1].sentinel)


def rejoins(world: World) -> None:
    """The master's host is cut off from all and its agent stopped, shorter than the TTL: its old claim comes back."""
    host, later, rng = world.hosts[0], world.engine.later, world.engine.rng
    later(START, lambda: world.cut_off(host, rng.uniform(4.5, 6.5), servers=True))
    later(START, host.agent.pause)
    later(START + 20, host.agent.resume)


def long_cut(world: World) -> None:
    """The master's host is cut off from all for longer than any lease, and everything on it goes on."""
    world.engine.later(START, lambda: world.cut_off(world.hosts[0], 27.0, servers=True))


def minority(world: World) -> None:
    """The master is cut off with its own Sentinel, Consul is reached; then the new master's host is lost."""
    host, engine = world.hosts[0], world.engine
    engine.later(START, lambda: world.cut_off(host, 25.0, servers=False))
    engine.later(START + 11, lambda: _lose_the_holder(world, host))


def _lose_the_holder(world: World, but: Host) -> None:
    for node, _ in world.servers.masters:
        holder = world.hosts[world.host_of(node)]
        if holder is not but:
            world.lose(holder, 20.0)
            holder.consul.services.clear()


def aborted(world: World) -> None:
    """A planned failover whose choice hangs right after its promotion, for so long that the leader gives it up."""
    rng, engine = world.engine.rng, world.engine
    engine.later(START, world.plan, world.hosts[0].sentinel)

    def hang() -> None:
        for host in world.hosts[1:]:
            if host.redis.master is None and host.redis.up and not host.redis.paused:
                host.redis.pause()
                engine.later(rng.uniform(16, 19), host.redis.resume)
                return
        engine.later(0.005, hang)

    engine.later(START, hang)


def stopped_at_work(world: World) -> None:
    """The master and its agent are stopped between two steps of its first claim; the agent goes on before the node."""
    engine, host = world.engine, world.hosts[0]

    def stop() -> None:
        if host.agent.up and host.agent.writer and host.agent.writer.busy:
            engine.later(engine.rng.uniform(0.0, 0.05), freeze)
        else:
            engine.later(0.0005, stop)

    def freeze() -> None:
        host.agent.pause()
        host.redis.pause()
        engine.later(30.0, host.agent.resume)
        engine.later(32.0, host.redis.resume)

    engine.later(0.0, stop)


def when_promoted(then: Callable[[World, Host], None]) -> Callable[[World], None]:
    """A planned failover, led by the Sentinel beside the node that it promotes; ``then`` something, a moment later."""

    @wraps(then)
    def script(world: World) -> None:
        world.early = True
        chosen, other = world.hosts[1:]
        other.redis.loading = True  # so that it is not selected

        def look() -> None:
            if chosen.redis.master is None:
                other.redis.loading = False
                world.engine.later(0.02, then, world, chosen)
            else:
                world.engine.later(0.001, look)

        world.engine.later(START, world.plan, chosen.sentinel)
        world.engine.later(START, look)

    return script


@when_promoted
def leader_alone(world: World, host: Host) -> None:
    """The leader promotes the node beside it, and no other Sentinel ever hears of it: the claim's term is all it has."""
    world.cut_off(host, 25.0, servers=False)


@when_promoted
def leader_alone_and_agent_restarted(world: World, host: Host) -> None:
    """The same, and the promoted node's agent is killed in the middle of the term, twice."""
    world.cut_off(host, 25.0, servers=False)
    for at in (1.0, 2.5):
        world.engine.later(at, host.agent.stop)
        world.engine.later(at + world.engine.rng.uniform(0.05, 0.5), host.agent.start)


@when_promoted
def leader_alone_and_agent_killed(world: World, host: Host) -> None:
    """The same, and the promoted node's agent never comes back while it matters."""
    world.cut_off(host, 25.0, servers=False)
    world.engine.later(world.engine.rng.uniform(0.1, 1.0), host.agent.stop)
    world.engine.later(20.0, host.agent.start)


@when_promoted
def leader_dies(world: World, host: Host) -> None:
    """The leader is killed right after the promotion, with all else alive: the old master is what the majority names."""
    host.sentinel.stop()
    world.engine.later(20.0, host.sentinel.start)


@when_promoted
def leader_freezes(world: World, host: Host) -> None:
    """The leader is stopped right after the promotion, and goes on much later."""
    host.sentinel.pause()
    world.engine.later(20.0, host.sentinel.resume)


def cut_from_all_on_a_consul_that_streams(world: World) -> None:
    """The local Consul agent goes on answering from its own view; no Sentinel and no server is in reach."""
    world.streams = True
    long_cut(world)


def sentinels_wiped(world: World) -> None:
    """All Sentinels have new ids, one after another; then the master's host is lost, and two of them are left."""
    later, hosts = world.engine.later, world.hosts
    for number, host in enumerate(hosts):
        later(START + 3 * number, host.sentinel.replace)
        later(START + 3 * number + 0.5, host.sentinel.start)
    later(START + 20, lambda: world.lose(hosts[0], 30.0))


def a_defect_of_ours(world: World) -> None:
    """The master's agent makes a mistake: its work is begun anew, and its entry is beaten again before its TTL ends."""
    world.engine.later(START, world.defects.add, 0)


# The fence, and failovers that agents ask for


def _promote_second(world: World, leader: int) -> None:
    """A planned failover from the first node to the second one."""
    third = world.hosts[2].redis
    third.loading = True  # so that it is not selected
    world.plan(world.hosts[leader].sentinel)
    _when(world, lambda: world.hosts[1].redis.master is None, lambda: setattr(third, "loading", False))


def _when(world: World, is_so: Callable[[], bool], then: Callable[[], object] = lambda: None) -> None:
    if is_so():
        then()
    else:
        world.engine.later(0.001, _when, world, is_so, then)


def given_up(world: World) -> None:
    """The leader's choice hangs before it is promoted: the failover ends, and the master's writes have waited once."""
    world.fence = Fencing()
    world.engine.later(START, world.plan, world.hosts[0].sentinel)

    def hang() -> bool:
        failover = world.hosts[0].sentinel.failover
        if failover is None or failover.selected is None:
            return False
        node = world.hosts[failover.selected].redis
        node.pause()
        world.engine.later(15.0, node.resume)
        return True

    world.engine.later(START, _when, world, hang)


def claimed_out_of_reach(world: World) -> None:
    """A leader promotes the node beside it while the old master reaches neither: that hears of it from Consul alone."""
    world.fence, world.early = Fencing(), True
    world.engine.later(START, world.cut, [(0, 1), (1, 2)], 20.0)
    world.engine.later(START + 1, _promote_second, world, 1)


def moves_there_and_back(world: World) -> None:
    """The first node is the master again while its Consul agent, cut off, still shows the claim of the second one."""
    world.fence, world.streams = Fencing(), True
    world.engine.later(START, _promote_second, world, 2)
    world.engine.later(START + 4, world.cut, [(0, SERVERS)], 25.0)

    def back() -> None:
        world.hosts[2].redis.loading = True
        world.plan(world.hosts[2].sentinel)
        world.engine.later(3.0, setattr, world.hosts[2].redis, "loading", False)

    world.engine.later(START + 12, back)


def leader_falls_out_of_reach(world: World) -> None:
    """The old master does not reach the promoted node before the leader is dead, of which the others have heard nothing."""
    world.fence = Fencing()
    chosen, leader = world.hosts[1].redis, world.hosts[2].sentinel
    world.engine.later(START, world.cut, [(0, 1)], 4.0)
    world.engine.later(START, _promote_second, world, 2)
    world.engine.later(START, _when, world, lambda: chosen.master is None, leader.stop)
    world.engine.later(START + 20, leader.start)


def dies(world: World) -> None:
    """The master's process is gone, and its agent may ask for another one."""
    world.fence = Fencing(on_death=True)
    world.engine.later(START + 5, world.hosts[0].redis.stop)


def promoted_unseen(world: World) -> None:
    """The promoted node's agent starts right after the promotion, and the old master's is away: it says master still."""
    world.fence, world.discovers = Fencing(), False
    old, chosen = world.hosts[0].agent, world.hosts[1]
    for agent in (old, chosen.agent):
        world.engine.later(START, agent.stop)
    world.engine.later(START + 0.01, _promote_second, world, 2)
    world.engine.later(START, _when, world, lambda: chosen.redis.master is None, chosen.agent.start)
    world.engine.later(START + 8, old.start)


def coordinated(world: World) -> None:
    """Valkey's coordinated failover, three times, with nothing lost between: no connection is closed at the swap."""
    world.loss = 0.0
    for number in range(3):
        at = START + 8 + number * (APART + 3)
        world.engine.later(at, begin_a_swap, world)
        world.engine.later(at + APART, judge_the_swap, world)


SCRIPTS: Mapping[str, Callable[[World], None]] = {
    script.__name__: script
    for script in (
        two_failovers,
        rejoins,
        long_cut,
        minority,
        aborted,
        stopped_at_work,
        leader_alone,
        leader_alone_and_agent_restarted,
        leader_alone_and_agent_killed,
        leader_dies,
        leader_freezes,
        cut_from_all_on_a_consul_that_streams,
        sentinels_wiped,
        a_defect_of_ours,
        given_up,
        claimed_out_of_reach,
        moves_there_and_back,
        leader_falls_out_of_reach,
        dies,
        promoted_unseen,
        coordinated,
    )
}
