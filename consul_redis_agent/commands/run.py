"""``run``: the agent, in the foreground."""

from __future__ import annotations

import argparse
import asyncio

from consul_redis_agent.commands import load_config, socket_path
from consul_redis_agent.config import Config


def main(args: argparse.Namespace) -> int:
    """Run until a signal ends it."""
    load_config(args)
    from consul_redis_agent.agent import Agent
    from consul_redis_agent.tell import crash, logs

    def load() -> Config:
        config = load_config(args)
        logs.setup(config.log.level, config.log.format, beside=True)
        return config

    async def serve() -> int:
        asyncio.get_running_loop().set_exception_handler(crash.left_behind)
        return await agent.run()

    crash.install()
    agent = Agent(load, socket_path(args, make_directory=True))
    return asyncio.run(serve())
