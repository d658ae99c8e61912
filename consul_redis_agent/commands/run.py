"""``run``: the agent, in the foreground."""

from __future__ import annotations

import argparse
import asyncio

from consul_redis_agent.commands import load_config, socket_path


def main(args: argparse.Namespace) -> int:
    """Run until a signal ends it."""
    config = load_config(args)
    from consul_redis_agent import logs
    from consul_redis_agent.agent import Agent

    logs.setup(config.log.level, config.log.format)
    return asyncio.run(Agent(lambda: load_config(args), socket_path(args, make_directory=True)).run())
