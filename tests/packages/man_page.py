"""The man page: ``python -m tests.packages.man_page > config/man/consul-redis-agent.1``. A test holds the file against it.

Commands, flags, keys and names in the environment are those of the parser and the schema; the rest is written here, in mdoc(7).
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator

from consul_redis_agent import __version__, cli
from consul_redis_agent.config.schema import KEYS, REFUSED, REPEATED, TABLES, Key

_HEAD = f"""\
.\\" Written by python -m tests.packages.man_page from the parser and the schema of the configuration.
.Dd November 26, 2026
.Dt CONSUL-REDIS-AGENT 1
.Os "consul-redis-agent {__version__}"
.Sh NAME
.Nm consul-redis-agent
.Nd keep Consul's DNS true about which Redis node is the master
.Sh SYNOPSIS
.Nm
.Ar command
.Op Fl -config Ar file
.Op Ar flags
.Nm
.Fl -version
.Sh DESCRIPTION
One agent runs beside each Redis (or Valkey) node and keeps the node's
entry in Consul true, so that
.Pp
.Dl dig @127.0.0.1 -p 8600 redis.service.consul SRV
.Pp
always answers the current master and nothing else.
Redis Sentinel decides who the master is; the agent has DNS say the same,
within milliseconds of a promotion.
Replicas are published as
.Ql redis-replica .
.Pp
Nothing has to be configured where Redis listens on port 6379 and a Consul
agent on port 8500 of the same host: the agent hears of the Sentinels, of
the name of the master and of the address to publish by itself.
"""

_TAIL = """\
.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/consul-redis-agent/consul-redis-agent.toml
The configuration that the systemd unit names; a file is read only where
.Fl -config
names it.
As shipped it has every key, at its default, with an explanation.
.It Pa /run/consul-redis-agent/status.sock
The socket at which
.Cm status
asks the running agent; only the agent's user and root may.
Elsewhere, for users other than root:
.Pa $RUNTIME_DIRECTORY ,
.Pa $XDG_RUNTIME_DIR/consul-redis-agent ,
or a folder of the user's own in the temporary directory.
.It Pa /var/lib/consul-redis-agent
What a restart must not forget (systemd's
.Ev STATE_DIRECTORY ) :
which group each Redis node is of, and that it has Sentinels.
.It Pa /usr/share/doc/consul-redis-agent/examples
Of the Debian package: the least rights for Consul, Redis and Sentinel.
.El
.Sh SIGNALS
.Bl -tag -width Ds
.It Dv SIGTERM , SIGINT
End the agent.
With
.Li service.on_stop = \\(dqkeep\\(dq
a true entry is left to its TTL, so that a restart leaves no hole in DNS; with
.Li deregister
it is removed.
A false one is never left.
.It Dv SIGHUP
Read the configuration again.
One that is wrong is refused, and the old one stays.
.El
.Sh EXIT STATUS
.Bl -tag -width Ds
.It 0
Well.
.It 1
Failed, or not well.
.It 2
Wrong usage.
.It 78
Bad configuration: every mistake is named at once on standard error, with
the place where it is written.
.El
.Sh EXAMPLES
Is everything in place on this host?
.Pp
.Dl consul-redis-agent check
.Pp
Look after a Redis node on another port, with a password and a Consul token
in files:
.Bd -literal -offset indent
consul-redis-agent run --redis-url redis://127.0.0.1:6380 \\e
    --redis-password-file /etc/consul-redis-agent/redis.password \\e
    --consul-token-file /etc/consul-redis-agent/consul.token
.Ed
.Pp
The same, by the environment alone:
.Bd -literal -offset indent
CRA_REDIS_URL=redis://127.0.0.1:6380 \\e
CRA_REDIS_PASSWORD_FILE=/etc/consul-redis-agent/redis.password \\e
CONSUL_HTTP_TOKEN_FILE=/etc/consul-redis-agent/consul.token \\e
    consul-redis-agent run
.Ed
.Pp
What did the agent decide, and why?
.Pp
.Dl consul-redis-agent status
.Pp
Watch the master move, as applications see it:
.Pp
.Dl consul-redis-agent resolve --watch
.Pp
Take the master off this host, before it is switched off:
.Bd -literal -offset indent
consul-redis-agent failover --dry-run && consul-redis-agent failover
.Ed
.Sh SEE ALSO
.Xr dig 1 ,
.Xr systemctl 1 ,
.Xr systemd.exec 5
.Sh SECURITY CONSIDERATIONS
Passwords and tokens belong into files that only the agent's user can read,
named by the keys that end in
.Ql _file .
They are refused in a URL, show in no log, error or
.Cm status ,
and none is a flag, since others can read the process list.
"""


def page() -> str:
    """The whole page, in mdoc(7)."""
    return "".join([_HEAD, *_commands(), *_flags(), *_environment(), _TAIL])


def _commands() -> Iterator[str]:
    yield ".Sh COMMANDS\nEach command explains itself with\n.Fl -help .\n.Bl -tag -width Ds\n"
    for name, parser in subparsers(cli._parser()).items():
        yield f".It Cm {name}{''.join(map(_argument, _own(parser)))}\n{_prose(parser.description or '')}"
        yield from (f".Pp\n{_prose(part)}" for part in (parser.epilog or "").split("\n\n") if part not in _SHARED)
        if own := _own(parser):
            yield ".Bl -tag -width Ds\n"
            yield from (f".It{_names(action)}\n{_prose(_sentence(action.help or ''))}" for action in own)
            yield ".El\n"
    yield ".El\n"


def _flags() -> Iterator[str]:
    yield ".Sh OPTIONS\nOf every command that reads the configuration.\n"
    yield "A flag beats the environment, which beats the file, which beats the default.\n"
    yield 'Durations are written as Consul does: "250ms", "10s", "1m30s".\n'
    yield ".Bl -tag -width Ds\n.It Fl -config Ar file\nThe configuration in TOML; none is needed.\n.El\n"
    for table, about in TABLES.items():
        title = f"[[{table}]]" if table == REPEATED else f"[{table}]"
        yield f".Ss {title}\n{_prose(_sentence(about))}.Bl -tag -width Ds\n"
        yield from (_key(key) for key in KEYS if key.table == table and key.has_flag)
        yield ".El\n"


def _key(key: Key) -> str:
    shown = str(key.default).lower() if isinstance(key.default, bool) else str(key.default)
    default = "" if key.default in (None, "", []) else f"Default:\n.Li {_text(shown)} .\n"
    return f".It Fl -{key.flag[2:]} Ar {_value(key)}\n{_prose(key.doc)}{default}"


def _value(key: Key) -> str:
    return "a,b" if key.is_list else key.name.rpartition("_")[2]


def _environment() -> Iterator[str]:
    yield ".Sh ENVIRONMENT\nEvery key has a name here,\n.Ev CRA_TABLE_KEY :\n.Fl -service-ttl\nis\n.Ev CRA_SERVICE_TTL .\n"
    yield "Lists have commas between;\n.Ev CRA_SERVICE_META\nis\n.Ar key Ns = Ns Ar value\nwith commas between.\n"
    yield "An empty variable is not set.\nAn unknown\n.Ev CRA_\\&...\nis refused, with the nearest known name.\n"
    yield "Only one Redis node can be named by the environment; several stand in the\nfile, as\n.Li [[redis]] .\n"
    yield ".Pp\nBesides, these set what no flag does, and names of Consul's and Redis' own\ntools are read:\n.Bl -tag -width Ds\n"
    for key in KEYS:
        names = ([key.env] if key.has_own and not key.has_flag else []) + ([key.tools] if key.tools else [])
        if names:
            yield f".It Ev {' , '.join(names)}\n"
            yield f"As\n.Fl -{key.flag[2:]} .\n" if key.has_flag else _prose(key.doc)
    for name, why in REFUSED.items():
        yield f".It Ev {name}\n{_prose(f'Refused: {why}.')}"
    yield ".El\n"


# --- the parser -------------------------------------------------------------------------------------------------------

_SHARED = frozenset(cli.CONFIG_EPILOG.split("\n\n"))


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands' parsers by name."""
    (found,) = (a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(found)


def _own(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command takes and the configuration does not."""
    keys = {key.flag for key in KEYS} | {"--config", "--help"}
    return [action for action in parser._actions if keys.isdisjoint(action.option_strings)]


def _argument(action: argparse.Action) -> str:
    return f" Oo{_names(action)} Oc"


def _names(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" Ar {str(action.metavar or action.dest).lower()}"
    return (f" Fl -{action.option_strings[-1][2:]}" if action.option_strings else "") + value


# --- mdoc -------------------------------------------------------------------------------------------------------------


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".").replace("%%", "%")
    return f"{text[0].upper()}{text[1:]}."


def _prose(text: str) -> str:
    """Running text, each sentence beginning a line."""
    sentences = re.split(r"(?<=[\w)][.]) (?=[A-Z(])|(?<=[.][)]) (?=[A-Z])", " ".join(text.split()))
    lines = (line for sentence in sentences for line in textwrap.wrap(sentence, 74, break_on_hyphens=False))
    return "".join(f"{_text(line)}\n" for line in lines)


def _text(line: str) -> str:
    """A line in which roff finds nothing to obey."""
    plain = line.replace("\\", "\\e").replace("-", "\\-")
    plain = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in plain)
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
