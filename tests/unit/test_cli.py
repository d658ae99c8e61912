"""The command line: flags, exit codes, and what is said where."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import consul_redis_agent
from consul_redis_agent import cli, commands, paths
from consul_redis_agent.config.schema import KEYS
from consul_redis_agent.errors import ConsulDenied, LocalError

REDIS_LOGIN = "holds a password or an option, which others could read here: a password belongs in password_file"
COMMANDS = ("run", "check", "status", "resolve", "failover", "deregister", "demo")


def agent(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "consul_redis_agent", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | env,
    )


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for the module of ``check``; its ``main`` is the test's to set."""
    module = ModuleType("check")
    monkeypatch.setitem(sys.modules, "consul_redis_agent.commands.check", module)
    return module


def test_bad_configuration_ends_with_78_and_every_problem_on_standard_error(tmp_path: Path) -> None:
    """The file, the key and the reason: a line each, and nothing else on either stream."""
    bad = tmp_path / "bad.toml"
    bad.write_text('[service]\nttll = "5s"\n[[redis]]\nurl = "redis://:pw@h"\n', encoding="utf-8")
    done = agent("run", "--config", str(bad), "--log-level", "loud", CONSUL_HTTP_SSL="yes")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.splitlines() == [
        "environment: CONSUL_HTTP_SSL: must be true or false",
        f"{bad}: service.ttll: unknown key; did you mean service.ttl?",
        "command line: --log-level: 'loud' is none of debug, info, warning, error",
        f"{bad}: redis.url: {REDIS_LOGIN}",
    ]


def test_a_pipe_as_configuration_ends_with_78_at_once(tmp_path: Path) -> None:
    """Nobody waits for a writer."""
    os.mkfifo(tmp_path / "pipe")
    done = agent("run", "--config", str(tmp_path / "pipe"))
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(f"{tmp_path / 'pipe'}: is a pipe, no regular file, and is not read")


@pytest.mark.parametrize("name", ["run", "check", "resolve", "failover", "deregister"])
def test_every_command_that_is_configured_refuses_bad_configuration(name: str) -> None:
    """None goes ahead with half of what was asked for."""
    done = agent(name, "--service-ttl", "soon")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("command line: --service-ttl: 'soon' is not a duration")


def test_usage_mistakes_end_with_2() -> None:
    """No command, an unknown one, a stray argument: the usage, and 2."""
    for args, said in {
        (): "the following arguments are required: COMMAND",
        ("chekc",): "invalid choice: 'chekc'",
        ("demo", "fast"): "unexpected argument 'fast'",
        ("check", "--servcie-name", "x"): "unknown flag --servcie-name; did you mean --service-name?",
        ("check", "--redis-password=hunter2"): "unknown flag --redis-password; did you mean --redis-password-file?",
        ("check", "--redis-password", "hunter2"): "unknown flag --redis-password; did you mean --redis-password-file?",
    }.items():
        done = agent(*args)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert "hunter2" not in done.stderr


def test_the_version_is_the_packages() -> None:
    """One version, in the program, the package and its metadata."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == consul_redis_agent.__version__
    assert agent("--version").stdout == f"consul-redis-agent {consul_redis_agent.__version__}\n"


def test_help_names_each_command_exit_code_and_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """What can be asked for can be found."""
    for args in ([], ["run"], ["check"], ["resolve"], ["failover"], ["deregister"], ["status"], ["demo"]):
        with pytest.raises(SystemExit) as ended:
            cli.main([*args, "--help"])
        assert ended.value.code == 0
        said = capsys.readouterr().out
        if not args:
            assert set(COMMANDS) <= set(re.findall(r"(?m)^    (\w+)", said))
            assert re.findall(r"(?m)^  (\d+)  ", said) == ["0", "1", "2", "78"]
        elif args[0] not in ("status", "demo"):
            assert {key.flag for key in KEYS if key.has_flag} <= set(re.findall(r"--[a-z-]+", said))
            assert {key.tools for key in KEYS if key.tools} <= set(re.findall(r"[A-Z_]+", said))


def test_each_flag_reaches_the_configuration(command: ModuleType, tmp_path: Path) -> None:
    """Flags are named after keys; lists are written with commas."""
    file = tmp_path / "a.toml"
    file.write_text('[log]\nlevel = "debug"\n', encoding="utf-8")
    seen = []

    def main(args: argparse.Namespace) -> int:
        seen.append(commands.load_config(args))
        return 1

    vars(command)["main"] = main
    flags = [
        "--sentinel-hosts",
        "a:1,b:2",
        "--replica-max-lag",
        "1m",
        "--redis-master-name",
        "m",
        "--service-on-stop",
        "deregister",
    ]
    assert cli.main(["check", "--config", str(file), *flags, "--service-tags", "", "--replica-name="]) == 1
    (config,) = seen
    assert [str(host) for host in config.sentinel.hosts] == ["a:1", "b:2"]
    assert (config.replica.max_lag, config.redis[0].master_name) == (60, "m")
    assert (config.service.on_stop, config.service.tags, config.replica.name) == ("deregister", (), "")
    assert config.log.level == "debug"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConsulDenied("consul refuses the token"), 1, "consul-redis-agent: consul refuses the token\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_ending_has_its_exit_code(
    command: ModuleType, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    """What went wrong is one line, without a traceback."""

    def main(args: argparse.Namespace) -> int:
        raise error

    vars(command)["main"] = main
    assert cli.main(["check"]) == code
    assert capsys.readouterr() == ("", said)


def test_a_reader_that_leaves_is_no_error_to_show() -> None:
    """`consul-redis-agent ... | head` ends quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", BROKEN_PIPE], stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, b"")


BROKEN_PIPE = """
import sys
from types import ModuleType
from consul_redis_agent.cli import main
module = sys.modules["consul_redis_agent.commands.check"] = ModuleType("check")
module.main = lambda args: print("x")
sys.exit(main(["check"]))
"""


@pytest.mark.parametrize(
    ("env", "uid", "path"),
    [
        ({"RUNTIME_DIRECTORY": "/run/a:/run/b"}, 0, "/run/a/status.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/consul-redis-agent/status.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/consul-redis-agent/status.sock"),
        ({}, 7, "/elsewhere/consul-redis-agent-7/status.sock"),
    ],
)
def test_run_and_status_meet_at_the_same_place(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], uid: int, path: str
) -> None:
    """systemd's directory, else root's, else the session's, else one of the user's own."""
    monkeypatch.setattr(tempfile, "tempdir", "/elsewhere")
    assert paths.status_socket(env, uid) == Path(path)


def test_a_given_socket_is_taken_as_it_is(tmp_path: Path) -> None:
    """The operator's own choice of place is not questioned, nor is anything made there."""
    given = tmp_path / "new" / "a.sock"
    assert commands.socket_path(argparse.Namespace(socket=given), make_directory=True) == given
    assert not given.parent.exists()


def test_the_runtime_directory_is_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is made for this user alone, and made once."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    for _ in range(2):
        path = commands.socket_path(argparse.Namespace(socket=None), make_directory=True)
        assert path == tmp_path / "run" / "status.sock"
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """In a shared folder somebody else may have been there first: no socket is put into theirs."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "private").mkdir(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "private")
    for name in ("open", "link"):
        with pytest.raises(LocalError) as caught:
            paths.make_private_directory(tmp_path / name)
        assert str(caught.value) == (
            f"{tmp_path / name}: is not a directory that only this user can write; give --socket another place"
        )
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="file/x: cannot be made: Not a directory; give --socket another place"):
        paths.make_private_directory(tmp_path / "file" / "x")


def test_the_daemon_does_not_load_what_it_does_not_need() -> None:
    """Reading the configuration brings in no network library: memory is a promise."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, consul_redis_agent.cli, consul_redis_agent.config; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert not {"consul", "redis", "requests", "dns", "rich", "prometheus_client", "asyncio"} & set(done.stdout.split())
