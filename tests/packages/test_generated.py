"""The man page and the completion of the shells: current, sound, and of use."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from consul_redis_agent.config.schema import KEYS
from tests.packages import man_page
from tests.packages.bare import ROOT
from tests.packages.conftest import run

pytest.importorskip("shtab", reason="only `tests/setup packages` installs what writes the completion")
from tests.packages import completion

MAN = ROOT / "config" / "man" / "consul-redis-agent.1"
WORD = "consul-redis-agent"


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not on PATH: tests/setup packages")


def test_the_man_page_is_that_of_the_parser_and_the_schema() -> None:
    """``python -m tests.packages.man_page > config/man/consul-redis-agent.1`` writes it anew."""
    assert MAN.read_text() == man_page.page()


@pytest.mark.parametrize("shell", completion.FILES)
def test_the_completion_is_that_of_the_parser_and_the_schema(shell: str) -> None:
    """``python -m tests.packages.completion`` writes them anew."""
    assert (completion.FOLDER / completion.FILES[shell]).read_text() == completion.script(shell)


@needs("mandoc")
def test_mandoc_finds_nothing_wrong_with_the_man_page() -> None:
    """No warning; and what it shows has every flag and every name of the environment that is not CRA_TABLE_KEY."""
    assert run("mandoc", "-T", "lint", "-W", "warning", MAN) == ""
    shown = run("mandoc", "-T", "utf8", "-O", "width=300", MAN)
    plain = subprocess.run(["col", "-bx"], input=shown, capture_output=True, text=True, check=True).stdout
    for key in KEYS:
        assert key.flag in plain or not key.has_flag
        assert (key.tools or key.flag) in plain or key.env in plain


@needs("man")
def test_man_shows_the_page_without_a_warning() -> None:
    """Not a word of groff's, with all its warnings turned on."""
    argv = ["man", "--warnings=all", "--local-file", str(MAN)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})
    assert "EXIT STATUS" in done.stdout
    assert done.stderr == ""


def test_bash_completes_commands_flags_choices_and_paths(tmp_path: Path) -> None:
    """Asked as bash asks it, for each kind of word."""
    (tmp_path / "agent.toml").touch()
    script = f"""
        source {completion.FOLDER / completion.FILES["bash"]}
        function=$(complete -p {WORD} | sed -n 's/.*-F \\([^ ]*\\).*/\\1/p')
        try() {{ COMP_WORDS=({WORD} "$@"); COMP_CWORD=$#; $function; echo "${{COMPREPLY[*]}}"; }}
        try fail; try run --service-m; try run --service-mode ''; try check --config {tmp_path}/ag"""
    said = run("bash", "--norc", "-euc", script).splitlines()
    assert said == ["failover", "--service-mode", "services check tags", f"{tmp_path}/agent.toml"]


@needs("zsh")
def test_zsh_takes_the_completion_for_the_command() -> None:
    """Its completion system finds the file by its first line, and can load it."""
    root = ROOT / ".servers" / "checkers"  # for a zsh that was not installed
    script = f"""
        module_path+=({root}/usr/lib/*/zsh/*(N))
        fpath=({completion.FOLDER} $fpath {root}/usr/share/zsh/functions/*(N) {root}/usr/share/zsh/functions/*/*(/N))
        autoload -Uz compinit && compinit -D -u && autoload +X -Uz _{WORD} && print -r -- $_comps[{WORD}]"""
    assert run("zsh", "-fec", script).strip() == f"_{WORD}"


@needs("fish")
def test_fish_completes_commands_and_choices(tmp_path: Path) -> None:
    """Asked by its own ``complete --do-complete``."""
    script = f"source {completion.FOLDER / completion.FILES['fish']}\n"
    script += f"complete --do-complete '{WORD} fail'; complete --do-complete '{WORD} run --service-mode '"
    said = run("fish", "--no-config", "-c", script, HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    assert [line.partition("\t")[0] for line in said.splitlines()] == ["failover", "services", "check", "tags"]
