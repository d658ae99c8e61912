"""The commands: one module each, with ``main(args) -> exit code``. Here is how they read the configuration.

run.py status.py history.py resolve.py check.py failover/ deregister.py demo/
check_redis.py check_sentinel.py check_consul.py     what check asks of each
check_fence.py check_failover.py    the same for [fence] and [failover]
check_entries.py   what it says of the entries in Consul   pure
belonging.py   whose they are                              pure
failover/look.py      what failover looks at first
failover/plan.py      what that means: what stands against it      pure
failover/dns.py       DNS, asked without pause
failover/watch.py     DNS, nodes and Sentinels during the move
failover/move.py      the move
failover/outcome.py   how it went, and the exit code               pure
history_lanes.py history_picture.py   an episode as lanes, and how they look   pure
lookup.py   DNS, asked as an application would
survey.py   one look at a Redis node and at all Sentinels
truth.py    whether an answer of DNS is the one true master         pure
screen.py   what is written, for eyes and for programs
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from consul_redis_agent import paths
from consul_redis_agent.config import Config, load


def load_config(args: argparse.Namespace) -> Config:
    """The configuration as it is now, from ``--config``, the environment and the flags; may be called again.

    Raises ConfigError with every mistake.
    """
    flags = {name: value for name, value in vars(args).items() if "." in name and value is not None}
    return load(args.config, os.environ, flags)


def socket_path(args: argparse.Namespace, *, make_directory: bool = False) -> Path:
    """Where ``status`` finds the running agent: ``--socket``, else this user's own place.

    ``make_directory`` is for the side that listens; raises LocalError if that place belongs to somebody else.
    """
    given: Path | None = args.socket
    path = given or paths.status_socket(os.environ, os.geteuid())
    if make_directory and not given:
        paths.make_private_directory(path.parent)
    return path
