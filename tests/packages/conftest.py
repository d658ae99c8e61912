"""The packages, each built once for all tests of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet import SCALE, may_build_networks
from tests.packages.bare import DEBIAN, ROOT, Bare

DEBIAN_PYTHON = Path("/usr/bin/python3")


def run(*argv: str | Path, cwd: Path = ROOT, **env: str) -> str:
    """What a program prints on standard output; fails the test if it fails."""
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | env, timeout=100 * SCALE
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def build(folder: Path, target: str, cwd: Path = ROOT) -> Path:
    """Build the ``wheel`` or the ``sdist`` into a folder, as whoever packages this would."""
    run(sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder), cwd=cwd)
    (built,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel."""
    return build(tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution."""
    return build(tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package."""
    if not Path("/etc/debian_version").exists() or not DEBIAN_PYTHON.exists():
        pytest.skip("a Debian package is built on Debian, with its python3")
    return build_deb(tmp_path_factory.mktemp("deb"))


def build_deb(folder: Path) -> Path:
    """Build the Debian package into a folder, which is emptied before."""
    return Path(run(ROOT / "config/debian/build", folder).splitlines()[-1])


@pytest.fixture
def bare(tmp_path: Path) -> Bare:
    """A bare Debian, as it is before anything is installed."""
    if not may_build_networks() or not DEBIAN.is_dir():
        pytest.skip("a bare Debian needs root and `tests/setup packages`")
    return Bare(tmp_path / "bare")
