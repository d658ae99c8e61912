"""Why DNS names nobody although Consul's catalog holds an entry that passes: its own token may not read it."""

from __future__ import annotations

from contextlib import suppress

from consul_redis_agent.config import Config
from consul_redis_agent.consul.api import consul_api, way
from consul_redis_agent.consul.form import read_entry
from consul_redis_agent.consul.http import Consul, HTTPClient, no_token
from consul_redis_agent.errors import ConsulDenied, ConsulError, LocalError

NODE_READ = "node:read"
WHOSE = "acl.tokens.dns of the Consul agent where it has one, else acl.tokens.default, else the anonymous token"
"""With which token DNS asks."""


async def why_silent(config: Config, service: str) -> tuple[str, str] | None:
    """What is wrong, and how to mend it; None where the catalog shows nobody either, or could not be read.

    DNS asks with a token of the Consul agent's own, and so does an HTTP request that sends none: what that one may not
    read, DNS may not, unless the agent has a token for DNS apart (``acl.tokens.dns``).
    """
    try:
        api = consul_api(config.consul)
        try:
            entries = [read_entry(one) for one in (await api.health(service))[1]]
            shown = next((e for e in entries if e.visible and e.says_master and not e.hidden_by()), None)
            if shown is None:
                return None
            missing = await missing_rights(config, service)
        finally:
            await api.close()
    except (ConsulError, LocalError):
        return None
    holds = f"Consul's catalog holds {shown.address} as passing, but DNS does not show it"
    if missing:
        rights = " and ".join(missing)
        return f"{holds}: its token lacks {rights}", f"give {rights} to the token that DNS uses: {WHOSE}"
    mend = (
        f"is consul.dns the DNS port of this very Consul, and may the token that DNS uses ({WHOSE}) read the service and "
        "all nodes?"
    )
    return holds, mend


async def missing_rights(config: Config, service: str) -> list[str]:
    """The rights that a request without a token lacks, to a service that is there. Raises ConsulError."""
    nobody = Consul(HTTPClient(config.consul.url, timeout=config.consul.timeout, token=no_token, **way(config.consul)))
    nodes: object = None
    services: object = None
    try:
        with suppress(ConsulDenied):
            _, nodes = await nobody.catalog.nodes()
        with suppress(ConsulDenied):
            _, services = await nobody.catalog.services()
    finally:
        await nobody.http.close()
    listed = isinstance(services, dict) and service in services
    return [*([] if listed else [f"service:read on {service}"]), *([] if nodes else [NODE_READ])]
