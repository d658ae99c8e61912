"""What Consul's DNS may not read, so that it names nobody although the catalog holds an entry that passes."""

from __future__ import annotations

from contextlib import suppress

from consul_redis_agent.config import ConsulConfig
from consul_redis_agent.consul.api import way
from consul_redis_agent.consul.http import Consul, HTTPClient, no_token
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.errors import ConsulDenied

NODE_READ = "node:read"
WHOSE = "acl.tokens.dns of the Consul agent where it has one, else acl.tokens.default, else the anonymous token"
"""DNS asks with a token of the Consul agent's own, and so does an HTTP request that sends none: what that one may not read,
DNS may not, unless the agent has a token for DNS apart."""
NODE_READ = "node:read"


async def missing(config: ConsulConfig, service: str) -> list[str]:
    """The rights that a request without a token lacks. Raises ConsulError."""
    nobody = Consul(HTTPClient(config.url, timeout=config.timeout, token=no_token, **way(config)))
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


def told(address: Address, rights: list[str]) -> tuple[str, str]:
    """What is wrong, and how to mend it."""
    holds = f"Consul's catalog holds {address} as passing, but DNS does not show it"
    if rights:
        lacks = " and ".join(rights)
        return f"{holds}: its token lacks {lacks}", f"give {lacks} to the token that DNS uses: {WHOSE}"
    return holds, (
        f"is consul.dns the DNS port of this very Consul, and may the token that DNS uses ({WHOSE}) read the service and "
        "all nodes?"
    )
