"""The Debian package: built, installed in a bare Debian, used, upgraded, removed and purged."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from consul_redis_agent import __version__
from tests.packages.bare import Bare
from tests.packages.conftest import build_deb, run
from tests.packages.test_distributions import tracked

pytestmark = pytest.mark.timeout(300)

NAME = "consul-redis-agent"
UNIT = f"{NAME}.service"
TOML = f"/etc/{NAME}/{NAME}.toml"


def contents(deb: Path) -> list[str]:
    """The paths of all files in it."""
    lines = run("dpkg-deb", "--contents", deb).splitlines()
    return [line.split()[5].removeprefix("./") for line in lines if line[0] != "d"]


def test_two_builds_are_byte_equal(deb: Path, tmp_path: Path) -> None:
    """So whoever builds it can hold it against another's."""
    assert build_deb(tmp_path / "again").read_bytes() == deb.read_bytes()


def test_it_says_what_it_is_and_what_it_needs(deb: Path) -> None:
    """The version is the program's, and it asks for the one Python that its compiled modules are made for."""
    version, depends = run("dpkg-deb", "--show", "--showformat=${Version}\n${Depends}", deb).splitlines()
    assert version == __version__
    minor = int(run("/usr/bin/python3", "-c", "import sys; print(sys.version_info.minor)"))
    assert depends.endswith(f"python3 (>= 3.{minor}~), python3 (<< 3.{minor + 1})")


def test_it_has_every_file_of_the_package(deb: Path) -> None:
    """Modules, and what is no module, such as pages; no bytecode, which is made where it is installed."""
    lib = f"usr/lib/{NAME}/"
    inside = {path.removeprefix(lib) for path in contents(deb) if path.startswith(f"{lib}consul_redis_agent/")}
    assert inside == tracked("consul_redis_agent")
    assert not [path for path in contents(deb) if path.endswith(".pyc")]


@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian is not on PATH: tests/setup packages")
def test_lintian_finds_nothing_that_is_not_explained(deb: Path) -> None:
    """Neither errors nor warnings nor pedantry; each override has a reason above it, and is still needed."""
    root = ["--allow-root"]
    assert run("lintian", *root, "--display-experimental", "--pedantic", "--fail-on=none", deb) == ""
    shown = run("lintian", *root, "--show-overrides", "--display-info", "--fail-on=none", deb)
    assert "unused-override" not in shown
    blocks = (Path(__file__).parents[2] / "config/debian/lintian-overrides").read_text().strip().split("\n\n")
    assert all(block.startswith("# ") for block in blocks)


def test_it_works_where_nothing_but_python_is(deb: Path, bare: Bare) -> None:
    """Installed with dpkg alone: it runs, says what is wrong on a host without servers, and starts nothing."""
    bare.put(deb, "/tmp/agent.deb")
    bare.run("dpkg --install /tmp/agent.deb")
    assert bare.run(f"{NAME} --version").strip() == f"{NAME} {__version__}"
    said = bare.run(f"{NAME} check --config {TOML}", code=1)
    assert f"ok   configuration: {TOML}" in said
    assert "FAIL redis 127.0.0.1:6379" in said
    assert bare.run(f"{NAME} check --redis-url nonsense", code=78).startswith("command line: --redis-url")
    assert bare.run(f"ls /usr/lib/{NAME}/consul_redis_agent/__pycache__").count(".pyc") > 10
    assert bare.run(f"systemctl is-enabled {UNIT}", code=1).strip() == "disabled"
    assert bare.run(f"systemd-analyze verify --man=no {UNIT}") == ""
    assert bare.run(f"bash -euc '. /usr/share/bash-completion/completions/{NAME}; complete -p {NAME}'").endswith(
        f" {NAME}\n"
    )
    assert bare.run(f"zcat /usr/share/man/man1/{NAME}.1.gz").startswith('.\\" Written by')


def test_another_python_and_what_the_user_has_set_for_it_change_nothing(deb: Path, bare: Bare) -> None:
    """Neither PYTHONPATH, nor modules in the working folder or in the home, get into the program."""
    bare.put(deb, "/tmp/agent.deb")
    bare.run(
        "dpkg --install /tmp/agent.deb; mkdir -p /tmp/evil; echo 'raise SystemExit(\"evil\")' >/tmp/evil/argparse.py"
    )
    assert __version__ in bare.run(f"cd /tmp/evil; PYTHONPATH=/tmp/evil {NAME} --version")


def test_an_upgrade_keeps_the_configuration_and_a_purge_leaves_nothing(deb: Path, bare: Bare, tmp_path: Path) -> None:
    """What was changed in the configuration outlives upgrade and removal; purge takes all, links and secrets too."""
    bare.put(deb, "/tmp/agent.deb")
    bare.put(later(deb, tmp_path), "/tmp/later.deb")
    before = bare.files()
    bare.run(f"dpkg --install /tmp/agent.deb; systemctl enable {UNIT}; echo '# mine' >>{TOML}")
    bare.run(
        f"echo secret >/etc/{NAME}/consul.token; mkdir -p /var/lib/private/{NAME}; ln -s private/{NAME} /var/lib/{NAME}"
    )
    bare.run("dpkg --force-confold --install /tmp/later.deb")
    assert bare.run(f"dpkg-query --show --showformat='${{Version}}' {NAME}") == LATER
    assert bare.run(f"tail -n 1 {TOML}") == "# mine\n"
    assert bare.run(f"systemctl is-enabled {UNIT}").strip() == "enabled"
    bare.run(f"dpkg --remove {NAME}")
    assert bare.run(f"tail -n 1 {TOML}") == "# mine\n"
    assert bare.run(f"command -v {NAME}", code=127) == ""
    bare.run(f"dpkg --purge {NAME}")
    assert bare.files() == before


LATER = f"{__version__}+later"


def later(deb: Path, folder: Path) -> Path:
    """The same package with a later version."""
    tree = folder / "later"
    run("dpkg-deb", "--raw-extract", deb, tree)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: .*", f"Version: {LATER}", control.read_text()))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, folder / "later.deb"], check=True)
    return folder / "later.deb"
