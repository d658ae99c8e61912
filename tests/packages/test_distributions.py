"""The wheel and the source distribution: whole, reproducible, and of use where they are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.metadata import Metadata

from consul_redis_agent import __version__
from tests.packages.bare import ROOT
from tests.packages.conftest import build, run

pytestmark = pytest.mark.timeout(300)

NOT_OF_PYTHON = {
    "bin": ["consul-redis-agent"],
    "share/man/man1": ["consul-redis-agent.1"],
    "share/bash-completion/completions": ["consul-redis-agent"],
    "share/zsh/site-functions": ["_consul-redis-agent"],
    "share/fish/vendor_completions.d": ["consul-redis-agent.fish"],
}
"""What an installed wheel brings beside its modules."""


def tracked(*paths: str) -> set[str]:
    """What git knows below these paths."""
    if not (ROOT / ".git").exists():
        pytest.skip("not in a checkout: git tells which files belong to the source")
    return set(run("git", "ls-files", *paths).splitlines())


def venv(folder: Path) -> Path:
    """A new virtual environment that sees the locked packages of this one, behind its own; its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    (site,) = folder.glob("lib/*/site-packages")
    (site / "locked.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


def test_two_builds_are_byte_equal(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    """Of the wheel, of the sdist, and of the wheel that is built from the sdist."""
    assert build(tmp_path / "again", "wheel").read_bytes() == wheel.read_bytes()
    assert build(tmp_path / "again", "sdist").read_bytes() == sdist.read_bytes()
    source = unpacked(sdist, tmp_path)
    assert build(tmp_path / "from-sdist", "wheel", cwd=source).read_bytes() == wheel.read_bytes()


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    """Modules, and what is no module, such as pages; and where man and the shells look, their files."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    inside = {name for name in names if name.startswith("consul_redis_agent/")}
    assert inside == tracked("consul_redis_agent")
    about = {f"consul_redis_agent-{__version__}.{kind}" for kind in ("data", "dist-info")}
    assert {name.split("/")[0] for name in set(names) - inside} == about


def test_the_metadata_is_valid_and_names_no_home_that_does_not_exist(wheel: Path) -> None:
    """Read as strictly as an index would; the text is the README; there is no public home yet, so there are no links."""
    with zipfile.ZipFile(wheel) as archive:
        said = Metadata.from_email(archive.read(f"consul_redis_agent-{__version__}.dist-info/METADATA"), validate=True)
    assert (said.name, str(said.version)) == ("consul-redis-agent", __version__)
    assert said.license_expression == "MIT"
    assert said.description_content_type == "text/markdown"
    assert said.project_urls is None
    assert said.home_page is None
    assert {need.name for need in said.requires_dist or ()} == {
        need.partition("=")[0].partition("[")[0].partition(">")[0].partition("<")[0].strip()
        for need in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    }


def install(python: Path, wheel: Path) -> None:
    """Install the wheel alone into the environment of this Python."""
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q")
    run(*pip, "--no-deps", "--no-index", "--ignore-installed", wheel)


def unpacked(sdist: Path, folder: Path) -> Path:
    """The source, from the sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    return source


def test_the_sdist_is_all_of_the_source(sdist: Path) -> None:
    """All that git knows is in it, and nothing of what lies around."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names - {"PKG-INFO"} == tracked()


def test_the_sdist_can_test_itself(sdist: Path, tmp_path: Path) -> None:
    """Unpacked, its wheel installed in a new environment: all its tests can be loaded, and those that need no server pass."""
    source = unpacked(sdist, tmp_path)
    python = venv(tmp_path / "venv")
    built = build(tmp_path / "dist", "wheel", cwd=source)
    install(python, built)
    pytest_there = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    run(*pytest_there, "--collect-only", "tests", cwd=source)
    some = [f"tests/unit/test_{name}.py" for name in ("cli", "table", "steps", "state")]
    assert " passed" in run(*pytest_there, *some, cwd=source)


def test_the_wheel_brings_its_man_page_and_completion(wheel: Path, tmp_path: Path) -> None:
    """Installed, the program runs and each other file is where it is looked for."""
    python = venv(tmp_path / "venv")
    install(python, wheel)
    assert run(python.with_name("consul-redis-agent"), "--version").strip() == f"consul-redis-agent {__version__}"
    for folder, names in NOT_OF_PYTHON.items():
        assert set(names) <= {path.name for path in (tmp_path / "venv" / folder).iterdir()}


# --- pipx ---------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(find_spec("pipx") is None, reason="only `tests/setup packages` installs pipx")
def test_pipx_installs_the_wheel_and_the_packages_of_the_lock_by_their_hashes(wheel: Path, tmp_path: Path) -> None:
    """The commands of docs/install.md give the program and its man page; one package with another hash, and they refuse."""
    (documented,) = re.findall(
        r"```sh\n((?:(?!```).*\n)*pipx install(?:(?!```).*\n)*)", (ROOT / "docs/install.md").read_text()
    )
    folder, home = tmp_path / "checkout", tmp_path / "home"
    (folder / "dist").mkdir(parents=True)
    shutil.copy(wheel, folder / "dist")
    folders = {"HOME": home, "PIPX_HOME": home / "pipx", "PIPX_BIN_DIR": home / "bin", "PIPX_MAN_DIR": home / "man"}
    env = {name: str(path) for name, path in folders.items()} | {"SHA256": sha256(wheel.read_bytes()).hexdigest()}

    def follow() -> subprocess.CompletedProcess[str]:
        argv = ["bash", "-euo", "pipefail", "-c", documented]
        return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=folder, env=os.environ | env)

    lock = (ROOT / "requirements.lock").read_text()
    (folder / "requirements.lock").write_text(forged(lock))
    done = follow()
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stdout + done.stderr
    (folder / "requirements.lock").write_text(lock)
    done = follow()
    assert done.returncode == 0, done.stdout + done.stderr
    assert run(home / "bin" / "consul-redis-agent", "--version").strip().endswith(__version__)
    assert (home / "man" / "man1" / "consul-redis-agent.1").exists()


def forged(lock: str) -> str:
    """The lock with other hashes for h11 alone."""
    begin = lock.index("\nh11==")
    end = lock.index("# via", begin)
    return lock[:begin] + re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", lock[begin:end]) + lock[end:]
