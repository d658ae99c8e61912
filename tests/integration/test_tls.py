"""TLS everywhere on real servers: the main path, certificates that are rotated, and everything that can be wrong with them."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from consul_redis_agent.commands import status
from tests.fleet import SCALE, AgentNode, Certificates, ConsulNode, Fleet, Pair, RedisNode, SentinelNode, until
from tests.integration.support import assert_steady, start_agents, wait_for_word

DAY = dt.timedelta(days=1)


def run(agent: AgentNode, command: str) -> tuple[int, str]:
    """The exit code of a command with this agent's configuration, and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "consul_redis_agent", command, "--config", str(agent.config_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * SCALE,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tls_fleet() -> Iterator[Fleet]:
    """Everybody speaks TLS with everybody and shows a certificate; no port takes clear text."""
    with Fleet(tls=True) as made:
        made.populate(password="word")
        yield made


@pytest.mark.main_path
def test_a_fleet_that_speaks_nothing_but_tls_publishes_and_fails_over(tls_fleet: Fleet) -> None:
    """A planned failover shows nobody and two masters at no time, a killed master never two, and `check` finds all well."""
    fleet = tls_fleet
    witness = start_agents(fleet)
    code, text = run(fleet.agents[0], "check")
    assert code == 0, text
    assert "FAIL" not in text
    since = time.monotonic()
    new = fleet.failover()
    witness.wait_for(new, within=5)
    fleet.settle(within=40)
    witness.assert_never_two(since=since)
    witness.assert_never_none(since=since)
    new.kill()
    newest = fleet.wait_for_master(other_than=new)
    witness.wait_for(newest, within=5)
    witness.assert_never_two(since=since)
    new.start()
    fleet.wait_for_replicas(within=40)
    witness.watch(1)
    witness.assert_never_two(since=since)


# What can be wrong

TABLES = ("consul", "redis", "sentinel")


@dataclass(frozen=True)
class Wrong:
    """How the agent's configuration is changed, and what is said; ``{t}`` is each table in turn."""

    change: Callable[[str, Fleet], str]
    words: tuple[str, ...]


def shows(pair: Callable[[Fleet], Pair]) -> Callable[[str, Fleet], str]:
    """The configuration, with another client certificate."""

    def change(text: str, fleet: Fleet) -> str:
        other = pair(fleet)
        text = re.sub(r'(?<=cert_file = ").*(?=")', str(other.cert), text)
        return re.sub(r'(?<=key_file = ").*(?=")', str(other.key), text)

    return change


def certificates(fleet: Fleet) -> Certificates:
    assert fleet.certificates
    return fleet.certificates


def in_clear(text: str, fleet: Fleet) -> str:
    text = re.sub("(ca|cert|key)_file = .*\n|tls = true\n", "", text)
    return text.replace("https:", "http:").replace("rediss:", "redis:")


WRONG = {
    "authority": Wrong(
        lambda text, fleet: text.replace("/ca.pem", "/other.pem"),
        ("TLS: its certificate is signed by none of the authorities in {t}.ca_file", "/other.pem"),
    ),
    "name": Wrong(
        lambda text, fleet: text.replace("ca_file", 'server_name = "cache.example"\nca_file'),
        ("TLS: its certificate is for ", "localhost", "and not for cache.example: set {t}.server_name"),
    ),
    "no certificate": Wrong(
        lambda text, fleet: re.sub("(cert|key)_file = .*\n", "", text),
        ("TLS: it asks for a client certificate: set {t}.cert_file and {t}.key_file",),
    ),
    "a stranger's certificate": Wrong(
        shows(lambda fleet: Certificates(fleet.folder, "stranger").client),
        ("TLS: it does not know the authority that signed the client certificate {t}.cert_file",),
    ),
    "an expired certificate": Wrong(
        shows(lambda fleet: certificates(fleet).issue("over", "client.test", begins=-3 * DAY, ends=-DAY)),
        ("TLS: it says that the time of validity is over for the client certificate {t}.cert_file", "have it renewed"),
    ),
    "a missing file": Wrong(
        lambda text, fleet: text.replace("/ca.pem", "/nowhere.pem"),
        ("TLS: {t}.ca_file: ", "/nowhere.pem: No such file or directory"),
    ),
}  # fmt: skip


def config_of(fleet: Fleet, node: RedisNode, sentinel: SentinelNode, consul: ConsulNode) -> str:
    """A configuration that asks one node, one Sentinel and Consul, whatever the others say."""
    tables = fleet.agent_config(node, consul=consul).replace("[[redis]]\n", '[[redis]]\nmaster_name = "mymaster"\n')
    return tables.replace("[sentinel]\n", f'[sentinel]\nhosts = ["{sentinel.address}"]\n')


def assert_refused(fleet: Fleet, node: RedisNode, config: str, words: tuple[str, ...]) -> None:
    """`check` fails for each of the three with all the words, and the log of a running agent has them; nothing is published."""
    agent = fleet.agent(node, config=config)
    try:
        code, text = run(agent, "check")
        assert code == 1
        for table in TABLES:
            (line, *_) = [line for line in text.splitlines() if line.startswith(f"FAIL {table} ")]
            for word in words:
                assert word.format(t=table) in line
        for table in TABLES:
            wait_for_word(agent, words[-1].format(t=table))
        for word in words:
            assert word.format(t="redis") in agent.log()
    finally:
        agent.stop()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_certificate_is_said_by_check_and_in_the_log(tls_fleet: Fleet, name: str) -> None:
    """For Consul, Redis and Sentinel alike: the file or key, and what to do; nothing of it reads as a server that is down."""
    fleet, wrong = tls_fleet, WRONG[name]
    Certificates(fleet.folder, "other")
    node = fleet.nodes[0]
    text = config_of(fleet, node, fleet.sentinels[0], fleet.consuls[0])
    assert_refused(fleet, node, wrong.change(text, fleet), wrong.words)


def test_an_expired_certificate_of_a_server_is_refused(tls_fleet: Fleet) -> None:
    """No server is trusted whose certificate is over, and it is said where to renew it."""
    fleet = tls_fleet
    old = certificates(fleet).issue("old", "localhost", "127.0.0.1", begins=-3 * DAY, ends=-DAY)
    host, folder, client = fleet.nodes[0].host, fleet.folder, certificates(fleet).client
    node = fleet.add(RedisNode("old-redis", host=host, folder=folder, tls=old, client=client), wait=False)
    sentinel = fleet.add(
        SentinelNode("old-sentinel", host=host, folder=folder, master=node, tls=old, client=client), wait=False
    )
    consul = fleet.add(
        ConsulNode("old-consul", host=host, folder=folder, servers=1, tls=old, client=client), wait=False
    )
    for server, word in ((node, "Ready to accept"), (sentinel, "Sentinel ID"), (consul, "Starting server")):
        until(lambda s=server, w=word: w in s.log(), within=20, what=f"{server.name} listens")  # type: ignore[misc]
    words = ("TLS: its certificate, or that of an authority above it, has expired: renew it there",)
    assert_refused(fleet, node, config_of(fleet, node, sentinel, consul), words)
    for server in (consul, sentinel, node):
        server.kill()


def test_clear_text_and_tls_that_meet_are_told_apart(tls_fleet: Fleet) -> None:
    """Clear text spoken to a port with TLS, and TLS to a port without, are each named, with the key to set."""
    fleet, node = tls_fleet, tls_fleet.nodes[0]
    text = config_of(fleet, node, fleet.sentinels[0], fleet.consuls[0])
    agent = fleet.agent(node, config=in_clear(text, fleet))
    _, said = run(agent, "check")
    for key in ("set https:// in consul.url", "set rediss:// in redis.url", "set sentinel.tls = true"):
        assert key in said
        wait_for_word(agent, key)
    agent.stop()
    with Fleet() as other:
        other.populate(nodes=1, sentinels=1)
        asked = config_of(other, other.nodes[0], other.sentinels[0], other.consuls[0])
        files = fleet._files()
        asked = asked.replace("http:", "https:").replace("redis:", "rediss:").replace("dns =", f"{files}dns =")
        hosts = f'[sentinel]\ntls = true\nhosts = ["{other.sentinels[0].address}"]\n{files}'
        node_at = f'[[redis]]\nurl = "rediss://{other.nodes[0].address}"\nmaster_name = "mymaster"\n{files}'
        asked = f"{asked.partition('[[redis]]')[0]}{hosts}{node_at}"
        words = ("TLS: it speaks clear text there, and no TLS", "name its TLS port in")
        assert_refused(other, other.nodes[0], asked, words)


def test_certificates_are_rotated_under_a_running_agent_without_a_blink() -> None:
    """A server that suddenly shows a certificate of another authority, and takes no other, meets an agent that has read its files."""
    with Fleet(tls=True) as fleet:
        before, following = certificates(fleet), Certificates(fleet.folder, "following")
        both = before.ca.read_bytes() + following.ca.read_bytes()
        trusted = fleet.folder / "both.pem"
        trusted.write_bytes(both)
        fleet.consul(servers=1, tls=replace(before.server("127.0.0.1"), ca=trusted))
        node = fleet.redis()
        witness = start_agents(fleet, more='[sentinel]\nmode = "off"\n')
        since = time.monotonic()
        node.ask("CONFIG", "SET", "tls-ca-cert-file", str(trusted))
        beside = before.ca.with_suffix(".new")
        beside.write_bytes(both)
        beside.replace(before.ca)
        before.client.replace(following.client)
        server = following.server("127.0.0.1")
        files = {"tls-cert-file": server.cert, "tls-key-file": server.key, "tls-ca-cert-file": following.ca}
        node.ask("CONFIG", "SET", *(str(word) for pair in files.items() for word in pair))
        node.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        def back() -> bool:
            clients: str = str(node.ask("CLIENT", "LIST", "TYPE", "normal"))
            return clients.count("cmd=info") >= 1

        until(back, within=10, what="the agent is connected again, with its new certificate")
        witness.watch(2)
        assert_steady(witness, node, since=since)
        (told,) = status.ask(fleet.agents[0].socket)["nodes"]
        assert not told["errors"]
