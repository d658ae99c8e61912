"""Shell completion: ``python -m tests.packages.completion`` writes the files of config/completion anew.

shtab makes them from the command line's own parser, with the choices and the paths that the schema knows of; a test holds
the files against it.
"""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

import shtab

from consul_redis_agent import cli
from consul_redis_agent.config.schema import KEYS
from tests.packages.man_page import subparsers

FOLDER = Path(__file__).parents[2] / "config" / "completion"
FILES = {
    "bash": "consul-redis-agent.bash",
    "zsh": "_consul-redis-agent",
    "fish": "consul-redis-agent.fish",
}
"""By shell."""


def script(shell: str) -> str:
    """What the shell is to read."""
    parser = cli._parser()
    for command in subparsers(parser).values():
        for action in command._actions:
            _describe(action)
    text: str = shtab.complete(parser, shell=shell)
    return "".join(f"{line.rstrip()}\n" for line in text.strip().splitlines())


def _describe(action: argparse.Action) -> None:
    """Tell shtab which words or paths a flag takes. The parser itself leaves that to the configuration's own checks."""
    known = [key for key in KEYS if key.flag in action.option_strings]
    if action.type is Path or any(key.name.endswith("_file") for key in known):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    for key in known:
        words = inspect.getclosurevars(key.read).nonlocals.get("choices")
        action.choices = ("true", "false") if isinstance(key.default, bool) else words


def main() -> None:
    """Write the files."""
    for shell, name in FILES.items():
        (FOLDER / name).write_text(script(shell))


if __name__ == "__main__":
    main()
