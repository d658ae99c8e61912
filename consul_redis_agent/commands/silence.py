"""Why DNS names nobody although Consul's catalog holds an entry that passes: its own token may not read it."""

from __future__ import annotations

from consul_redis_agent.config import Config
from consul_redis_agent.consul.api import consul_api
from consul_redis_agent.consul.form import read_entry
from consul_redis_agent.consul.unread import missing, told
from consul_redis_agent.errors import ConsulError, LocalError


async def why_silent(config: Config, service: str) -> tuple[str, str] | None:
    """What is wrong, and how to mend it; None where the catalog shows nobody either, or could not be read."""
    try:
        api = consul_api(config.consul)
        try:
            entries = [read_entry(one) for one in (await api.health(service))[1]]
            shown = next((e for e in entries if e.visible and e.says_master and not e.hidden_by()), None)
            if shown is None:
                return None
            rights = await missing(config.consul, service)
        finally:
            await api.close()
    except (ConsulError, LocalError):
        return None
    return told(shown.address, rights)
