"""Settings of Consul and its DNS for which applications find an old master, or none. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from consul_redis_agent.commands.screen import Finding, Level

FILE = "in Consul's configuration on each host, then consul reload"
AGENT_FILE = "in Consul's configuration on each host, then restart that Consul agent"
ALIVE = 1
"""``Status`` of a member that serf holds for alive."""


@dataclass(frozen=True, slots=True)
class ConsulFacts:
    """What is known of the own Consul agent and of the servers."""

    agent: Mapping[str, Any] | None = None
    """``/v1/agent/self``; None: it may not be asked."""
    members: tuple[Mapping[str, Any], ...] = ()
    peers: int = 0
    """How many servers take part in raft; 0: not known."""
    ttl: float = 10.0
    """``service.ttl`` in seconds."""
    domain: str = ""
    """``consul.domain`` of the configuration; "": learned."""

    def debug(self, key: str, kind: type = bool) -> Any:
        """A value of ``DebugConfig``, None where it is of another kind or not told."""
        config = (self.agent or {}).get("DebugConfig")
        value = config.get(key) if isinstance(config, dict) else None
        return value if isinstance(value, kind) else None

    @property
    def servers(self) -> tuple[Mapping[str, Any], ...]:
        """The members that are servers."""
        return tuple(member for member in self.members if _tags(member).get("role") == "consul")


def consul_findings(facts: ConsulFacts) -> Iterator[Finding]:
    """All rules."""
    for rule in RULES:
        yield from rule(facts)


def ttl_findings(service: str, name: str, seconds: int) -> Iterator[Finding]:
    """What it means that an answer may be kept. ``seconds``: the TTL of the SRV record of ``name``."""
    if seconds > 0:
        what = f"{name}: the answer may be kept for {seconds} s, so for that long applications may go to the old master"
        mend = f'dns_config {{ service_ttl {{ "{service}" = "0s" }} }} {FILE}'
        yield Finding(Level.WARN, "dns", what, mend, id="dns.ttl")


def _unread(facts: ConsulFacts) -> Iterator[Finding]:
    if facts.agent is None:
        what = "the token may not read the Consul agent's settings, so those of its DNS were not looked at"
        mend = 'give it agent_prefix "" { policy = "read" }, or run check once with a token that has it'
        yield Finding(Level.WARN, "consul agent", what, mend, id="consul.settings_unread")


def _domain(facts: ConsulFacts) -> Iterator[Finding]:
    domains = [str(facts.debug(key, str) or "").strip(".") for key in ("DNSDomain", "DNSAltDomain")]
    if facts.domain and domains[0] and facts.domain.strip(".") not in domains:
        what = f"consul.domain is {facts.domain!r}, and the Consul agent answers under {domains[0]!r}"
        yield Finding(Level.FAIL, "dns", what, "take consul.domain out: it is learned", id="dns.other_domain")


def _stale(facts: ConsulFacts) -> Iterator[Finding]:
    longest = facts.debug("DNSMaxStale", str) or ""
    seconds = _seconds(longest)
    if facts.debug("DNSAllowStale") and seconds is not None and seconds > facts.ttl:
        what = (
            f"a Consul server that is cut off from the leader goes on answering with the old master, for {longest} "
            "(dns_config.max_stale)"
        )
        mend = f'dns_config {{ max_stale = "{facts.ttl:g}s" }} {FILE}'
        yield Finding(Level.WARN, "dns", what, mend, id="dns.stale")


def _cached(facts: ConsulFacts) -> Iterator[Finding]:
    if facts.debug("DNSUseCache"):
        what = "the Consul agent answers DNS from its cache, which may hold the old master (dns_config.use_cache)"
        yield Finding(Level.WARN, "dns", what, f"dns_config {{ use_cache = false }} {FILE}", id="dns.cache")


def _leaves(facts: ConsulFacts) -> Iterator[Finding]:
    if facts.debug("LeaveOnTerm"):
        what = "a restart of the Consul agent takes this host's entries out of DNS until it is back: it leaves the cluster (leave_on_terminate)"
        mend = f"leave_on_terminate = false {AGENT_FILE}"
        yield Finding(Level.WARN, "consul agent", what, mend, id="consul.leaves")


def _servers(facts: ConsulFacts) -> Iterator[Finding]:
    if 0 < facts.peers < 3:
        what = f"Consul has {facts.peers} server{'s' if facts.peers > 1 else ''}: without one of them no entry changes any more"
        yield Finding(Level.WARN, "consul", what, "run three or five", id="consul.few_servers")
    dead = sorted(str(m.get("Name")) for m in facts.servers if m.get("Status") != ALIVE)
    if dead:
        what = f"of Consul's servers these do not answer their neighbours: {', '.join(dead)}"
        yield Finding(Level.WARN, "consul", what, "bring them back; see consul members", id="consul.server_down")


def _versions(facts: ConsulFacts) -> Iterator[Finding]:
    config = (facts.agent or {}).get("Config")
    own = _version(str(config.get("Version", ""))) if isinstance(config, dict) else ()
    servers = [version for m in facts.servers if (version := _version(str(_tags(m).get("build", ""))))]
    if own and servers and own > min(servers):
        what = f"the Consul agent is newer ({_dotted(own)}) than a server ({_dotted(min(servers))}), which Consul does not support"
        yield Finding(Level.WARN, "consul", what, "upgrade the servers first", id="consul.agent_newer")


def _tags(member: Mapping[str, Any]) -> Mapping[str, Any]:
    tags = member.get("Tags")
    return tags if isinstance(tags, dict) else {}


def _version(text: str) -> tuple[int, ...]:
    found = re.match(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", text)
    return tuple(map(int, found.groups())) if found else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _seconds(text: str) -> float | None:
    """A duration as Go prints it: 87600h0m0s."""
    parts = re.fullmatch(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d+)?)s)?", text)
    if not text or parts is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return hours * 3600 + minutes * 60 + seconds


RULES = (_unread, _domain, _stale, _cached, _leaves, _servers, _versions)
