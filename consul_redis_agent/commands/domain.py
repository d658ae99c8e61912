"""The domain of Consul's DNS, which the Consul agent knows where the configuration does not say it."""

from __future__ import annotations

from dataclasses import replace

from consul_redis_agent.config import Config
from consul_redis_agent.consul.api import consul_api
from consul_redis_agent.consul.domain import USUAL, domain_in
from consul_redis_agent.errors import ConsulError, LocalError


async def with_domain(config: Config) -> Config:
    """The configuration with the domain filled in: its own, else the Consul agent's, else Consul's default.

    The Consul agent tells it to a token with ``agent:read``. Takes a request's time at most.
    """
    if config.consul.domain:
        return config
    domain = ""
    try:
        api = consul_api(config.consul)
        try:
            domain = domain_in(await api.agent_self())
        finally:
            await api.close()
    except (ConsulError, LocalError):
        pass  # whoever asks Consul for more than this says what is wrong
    return replace(config, consul=replace(config.consul, domain=domain or USUAL))
