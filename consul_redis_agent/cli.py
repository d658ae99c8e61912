"""The command line: what can be asked for, and the exit code of each ending."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from types import TracebackType

from consul_redis_agent import __version__
from consul_redis_agent.config.schema import INHERITED, KEYS, TABLES, Key
from consul_redis_agent.errors import AgentError, ConfigError

FAILED = 1
BAD_CONFIG = 78  # EX_CONFIG of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

DESCRIPTION = """\
Keeps Consul's DNS true about which Redis node is the master: redis.service.consul
always answers the current master and nothing else. One agent runs beside each
Redis (or Valkey) node; it asks the node, the Sentinels and Consul, and needs no
configuration where all of them are at their usual ports."""

EPILOG = """\
exit codes:
  0   well
  1   failed, or not well
  2   wrong usage
  78  bad configuration; every mistake is named on standard error

examples:
  consul-redis-agent check                 is everything in place on this host?
  consul-redis-agent run --config agent.toml
  consul-redis-agent status                what the running agent decided, and why
  consul-redis-agent history               what happened in the night, and when
  consul-redis-agent resolve --watch       the master that applications see, as it moves
  consul-redis-agent failover --dry-run    could the master be moved now, and to where?
  consul-redis-agent COMMAND --help        the flags of a command"""

CONFIG_EPILOG = f"""\
A flag beats the environment, which beats the file, which beats the default. In the
environment the name of a key is CRA_TABLE_KEY: --service-ttl is CRA_SERVICE_TTL. Lists have
commas between; CRA_SERVICE_META is key=value with commas between. Secrets may stand there
themselves: {", ".join(key.env for key in KEYS if key.has_own and not key.in_file)}.
Of Consul's and Redis' own tools these names are read, too, and beaten by CRA_...:
{fill(", ".join(key.tools for key in KEYS if key.tools), 88)}."""

CHECK_EPILOG = """\
A line for each thing that was looked at: ok, warn (worth a look) or FAIL (wrong), what
was seen, and how to mend it. The exit code is 1 if there is any FAIL. Nothing is changed.
docs/doctor.md lists every finding, with the ids that --json gives."""

STATUS_EPILOG = """\
The exit code is 0 if the agent answers, every node is published as the master or replica
that it is, and nothing is in error; else 1."""

HISTORY_EPILOG = """\
An episode begins with the first sign of a change, which may be long before it, and ends when
the node is settled again. Each tells who saw what when: Redis, the Sentinels, the decisions with
their reasons, the writes to Consul, the fence, DNS. Of a failover each host has its own side.

It asks the running agent. Where none answers it reads what the last one has kept, and says so.
Where output is no terminal, each event is nine columns with tabs between: number of the
episode, node, kind, ISO time, seconds since its first sign, lane, name, Sentinel, sentence."""

RESOLVE_EPILOG = """\
The exit code is 0 only if DNS names one address, the node there says that it is the
master, and a majority of the Sentinels (where there are any) names it, too.

With --watch, a line each time the answer is another one: the time, the answer (host:port,
several with commas, "none", or "unanswered"), the former answer and for how long it held.
Where output is no terminal these are four columns with tabs between: ISO time, answer,
former answer, seconds; the last two are empty in the first line."""

FAILOVER_EPILOG = """\
Looks first whether it can work, and says all that stands against it: then nothing is done.
Else the writes wait on the master until every replica that could be chosen has all of them,
for 2 s at most; a Sentinel on another host is asked for a failover; when the new master has
said itself that it is one, and Sentinel stands by it, the old one is made its replica and
its clients are sent away. (Valkey 9 does all this by itself and is asked to: COORDINATED.)
It ends when all Sentinels, both nodes and DNS agree: then the old host may be switched off.

It may be run on any host of the group. The exit code is 0 only if DNS never named two
masters, nor none, and the proof came, and the old master was turned, while the writes waited;
with --dry-run, if it can work."""

DEREGISTER_EPILOG = """\
Only entries that consul-redis-agent made for the configured Redis nodes at this host's
Consul agent are removed, with what the agent has kept of their group. Beside a running
agent, which would put them back, it refuses.

With --dead, also the entries of hosts that are gone for good: all that consul-redis-agent
made under the configured service names, for whichever group, on nodes that Consul holds
for dead. Beside a running agent only these. A host that comes back puts its own entry back."""

DEMO_EPILOG = """\
Needs consul, redis-server and redis-sentinel on PATH, no root, and some 35 s. Everything
runs on free ports of 127.0.0.1 and in a temporary folder, and is gone at the end. The exit
code is 0 only if DNS never named two masters, and never none during the planned failover."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. What nobody has caught is told in one line, and is 1."""
    sys.excepthook = _crashed
    args = _parse(argv)
    try:
        code: int = importlib.import_module(f"consul_redis_agent.commands.{args.command}").main(args)
        sys.stdout.flush()
    except ConfigError as error:
        _complain(str(error))
        return BAD_CONFIG
    except AgentError as error:
        _complain(f"consul-redis-agent: {error}")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output left (`| head`). The interpreter flushes once more at its end; let that succeed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    from consul_redis_agent.tell import crash

    crash.ended(error)


def _complain(text: str) -> None:
    """Write it on stderr, with what others have put into it escaped."""
    from consul_redis_agent.tell.logs import escape

    sys.stderr.write("".join(f"{escape(line)}\n" for line in text.split("\n")))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """As ``parse_args``, but of an unknown flag only the name is repeated: its value may be a password."""
    parser = _parser()
    args, extra = parser.parse_known_args(argv)
    if unknown := [item.partition("=")[0] for item in extra if item.startswith("-")]:
        from difflib import get_close_matches

        near = get_close_matches(unknown[0], [key.flag for key in KEYS if key.has_flag], 1)
        parser.error(f"unknown flag {unknown[0]}" + (f"; did you mean {near[0]}?" if near else ""))
    if extra:
        parser.error(f"unexpected argument {extra[0]!r}")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="consul-redis-agent",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")

    def command(
        name: str, summary: str, *, config: bool = True, usage: str = "", more: str = ""
    ) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = commands.add_parser(
            name,
            help=summary[0].lower() + summary[1:].rstrip("."),
            usage=f"%(prog)s [--config FILE] [flags]{usage}" if config else None,
            description=summary,
            epilog="\n\n".join(filter(None, (more, CONFIG_EPILOG if config else ""))),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if config:
            _add_config(sub)
        return sub

    _add_socket(command("run", "Run the agent in the foreground."))
    check = command(
        "check",
        "Check configuration, Redis, Sentinels, Consul and DNS, and say how to mend what is wrong.",
        more=CHECK_EPILOG,
    )
    _add_socket(check)
    check.add_argument("--json", action="store_true", help="as JSON, for programs: each finding with its id")
    status = command("status", "Show what the running agent knows, decided, and why.", config=False, more=STATUS_EPILOG)
    _add_socket(status)
    status.add_argument("--json", action="store_true", help="as JSON, for programs; also where output is no terminal")
    history = command(
        "history",
        "Show what happened to this host's Redis nodes: each transition and failover, with milliseconds.",
        config=False,
        more=HISTORY_EPILOG,
    )
    _add_socket(history)
    history.add_argument("--json", action="store_true", help="as JSON, for programs")
    history.add_argument("--svg", metavar="FILE", help="draw the last failover, or --episode; - is standard output")
    history.add_argument("--episode", type=_count, metavar="N", help="only this one; 1 is the last that began")
    history.add_argument(
        "--last", type=_count, metavar="N", help="only the last N (default on a terminal: 5; else all)"
    )
    history.add_argument("--node", metavar="HOST:PORT", help="only those of this Redis node, as `status` calls it")
    resolve = command(
        "resolve",
        "Ask DNS for the master as an application would, and verify the answer.",
        usage=" [NAME]",
        more=RESOLVE_EPILOG,
    )
    resolve.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="name to ask for, or a service's (default: SERVICE.service.consul; with mode tags, master.SERVICE...)",
    )
    resolve.add_argument("--watch", action="store_true", help="keep asking; print each change with its time")
    failover = command(
        "failover",
        "Move the master in order, with proof, so that its host may be switched off.",
        usage=" [NAME]",
        more=FAILOVER_EPILOG,
    )
    failover.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="service whose master is moved; needed where the nodes here are of several",
    )
    failover.add_argument("--dry-run", action="store_true", help="only look whether it can work; changes nothing")
    failover.add_argument("--json", action="store_true", help="as JSON, for programs")
    deregister = command("deregister", "Take this host's entries out of Consul.", more=DEREGISTER_EPILOG)
    _add_socket(deregister)
    deregister.add_argument("--dead", action="store_true", help="also the entries of hosts that Consul holds for dead")
    deregister.add_argument("--force", action="store_true", help="also beside a running agent, which puts them back")
    demo = command(
        "demo",
        "Start a whole fleet on this machine, kill its master and show DNS follow.",
        config=False,
        more=DEMO_EPILOG,
    )
    demo.add_argument("--keep", action="store_true", help="leave the fleet up until Ctrl-C, with commands to try on it")
    return parser


def _count(text: str) -> int:
    """One or more. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _add_socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--socket",
        type=Path,
        metavar="PATH",
        help="unix socket of the running agent (default: status.sock in this user's runtime directory)",
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    """``--config``, and a flag for each key of the schema that fits into one."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration in TOML (default: none is needed)")
    for table, about in TABLES.items():
        group = parser.add_argument_group(f"[{table}]", about)
        for key in KEYS:
            if key.table == table and key.has_flag:
                group.add_argument(
                    key.flag,
                    dest=key.dotted,
                    metavar="A,B" if key.is_list else key.name.rpartition("_")[2].upper(),
                    help=_help(key),
                )


def _help(key: Key) -> str:
    shown = str(key.default).lower() if isinstance(key.default, bool) else key.default
    default = "" if key.default in (INHERITED, "", []) else f" (default: {shown})"
    return (key.doc.rstrip(".") + default).replace("%", "%%")
