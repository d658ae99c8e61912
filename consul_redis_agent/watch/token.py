"""Whether Consul's servers still know the agent's token.

A client agent takes beats with a deleted token for as long as it has it cached (``acl.token_ttl``, 30 s by default), while
the servers refuse every transaction and every sync of what was registered with it. So the servers are asked: a blocking
query on the token itself (``/v1/acl/token/self``) wakes in the milliseconds in which it is deleted, and costs one
request a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from consul_redis_agent.consul.api import ConsulAPI
from consul_redis_agent.errors import ConsulDenied, ConsulError, ConsulMisused, ConsulUnknown, TokenUnknown
from consul_redis_agent.marked import event

log = logging.getLogger(__name__)

WAIT = 60.0
"""Seconds that one query waits for the token's end."""
AGAIN = 1.0
"""Seconds until the next question where the token is not known, or Consul did not answer."""
REFUSED = (
    "Consul's servers do not know the token: it was deleted, or has not reached them yet. What stands is kept as long as the "
    "Consul agent allows it, and nothing new is published; put a token that exists into consul.token_file"
)


class TokenWatch:
    """Keeps ``api.token_error`` true; calls ``changed`` when it is another one."""

    def __init__(self, api: ConsulAPI, changed: Callable[[], None]) -> None:
        self._api, self._changed = api, changed

    async def run(self) -> None:
        """Watch until cancelled."""
        index = 0
        while True:
            try:
                index = await self._api.token_known(index, WAIT)
            except TokenUnknown:
                self._say(REFUSED)
                index = 0
                await asyncio.sleep(AGAIN)
            except (ConsulDenied, ConsulUnknown, ConsulMisused):  # without ACLs, or where somebody keeps that path away
                self._say("")
                index = 0
                await asyncio.sleep(WAIT)
            except ConsulError as error:
                log.debug("whether Consul knows the token cannot be told: %s", error)
                index = 0
                await asyncio.sleep(AGAIN)
            else:
                self._say("")

    def _say(self, error: str) -> None:
        before, self._api.token_error = self._api.token_error, error
        if error == before:
            return
        if error:
            log.warning("%s", error, extra=event("token_refused", error=error))
        else:
            self._api.token_healed()
            log.info("Consul's servers know the token again", extra=event("token_accepted"))
        self._changed()
