"""The Debian package: built, installed in a bare Debian, used, upgraded, removed and purged."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_redis_agent import __version__
from consul_redis_agent.decide.facts import Address
from tests.fleet import Fleet, Host, Witness, may_build_networks, until
from tests.integration.test_systemd import AGENT, REDIS, Machine
from tests.packages.bare import DEBIAN, Bare
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


# --- under systemd --------------------------------------------------------------------------------------------------------

BOOT = """\
set -eu
mount --make-rprivate /
root=$FOLDER/root
mkdir "$FOLDER/upper" "$FOLDER/work" "$root"
mount -t overlay overlay -o "lowerdir=$BARE,upperdir=$FOLDER/upper,workdir=$FOLDER/work" "$root"
for place in /tmp /run; do mount -t tmpfs tmpfs "$root$place"; done
for place in /sys /dev; do mount --rbind $place "$root$place"; done
mount -t proc proc "$root/proc"
mkdir "$root/srv/fleet" "$root/mnt/old"
mount --bind "$FOLDER" "$root/srv/fleet"
ln -s /usr/bin/redis-check-rdb "$root/srv/redis-server"
cd "$root"
pivot_root . mnt/old
umount -l /mnt/old
export container=test SYSTEMD_UNIT_PATH=/srv/fleet/units
exec /lib/systemd/systemd --system --unit=default.target --log-target=console --show-status=no
"""


class BareMachine(Machine):
    """A bare Debian that was booted. The agent's unit is that of the package, once it is installed."""

    boot = BOOT

    def __init__(self, *, host: Host, folder: Path) -> None:
        super().__init__(host=host, folder=folder)
        self.env["BARE"] = str(DEBIAN)
        (self.units / AGENT).unlink()
        (self.units / AGENT).symlink_to(f"/lib/systemd/system/{AGENT}")
        (self.units / f"{AGENT}.d" / "environment.conf").write_text("[Service]\nEnvironment=CRA_SENTINEL_MODE=off\n")


@pytest.fixture(scope="module")
def booted(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BareMachine, Witness]]:
    """A host with Consul, and a Debian with both versions of the package at hand; a witness watches DNS."""
    if not DEBIAN.is_dir() or not may_build_networks():
        pytest.skip("a bare Debian needs root and `tests/setup packages`")
    with Fleet(isolated=True) as fleet:
        host = fleet.host("host")
        consul = fleet.consul(host, servers=1)
        shutil.copy(deb, fleet.folder / "agent.deb")
        shutil.copy(later(deb, tmp_path_factory.mktemp("later")), fleet.folder / "later.deb")
        try:
            machine = BareMachine(host=host, folder=fleet.folder)
        except OSError as error:
            pytest.skip(f"no control groups of its own for a systemd: {error}")
        fleet.processes.append(machine)
        try:
            machine.launch()
            machine.wait_ready(within=20)
            yield machine, fleet.witness(consul=consul, nodes=[])
        finally:
            machine.kill()
            machine.group.remove()


@pytest.mark.netns
def test_an_upgrade_restarts_a_running_agent_and_dns_sees_nothing(booted: tuple[BareMachine, Witness]) -> None:
    """Installed, nothing runs. Started, and upgraded: another process, the same entry. Stopped, and upgraded: it stays so."""
    machine, witness = booted
    address = Address(machine.host.address, 6379)
    machine.run("dpkg", "--install", "/srv/fleet/agent.deb")
    assert machine.show(AGENT, "LoadState", "ActiveState") == ["loaded", "inactive"]
    assert machine.systemctl("start", REDIS, AGENT) == ""
    witness.wait_for(address, within=20)
    since, before = time.monotonic(), machine.main_pid()
    assert f"Setting up {NAME} ({LATER})" in machine.run("dpkg", "--install", "/srv/fleet/later.deb")
    assert machine.show(AGENT, "ActiveState") == ["active"]
    assert machine.main_pid() not in ("0", before)
    until(lambda: "master" in machine.show(AGENT, "StatusText")[0], within=10, what="the new one has decided")
    witness.watch(1)
    witness.assert_only(address, since=since)

    assert machine.systemctl("stop", AGENT) == ""
    machine.run("dpkg", "--install", "/srv/fleet/agent.deb")
    assert machine.show(AGENT, "ActiveState") == ["inactive"]


@pytest.mark.netns
def test_a_removal_stops_the_agent_and_a_purge_takes_its_state(booted: tuple[BareMachine, Witness]) -> None:
    """What the running agent has kept is gone with its package."""
    machine, witness = booted
    machine.run("dpkg", "--install", "/srv/fleet/agent.deb")
    assert machine.systemctl("start", REDIS, AGENT) == ""
    witness.wait_for(Address(machine.host.address, 6379), within=20)
    assert machine.run("ls", f"/var/lib/private/{NAME}") != ""
    machine.run("dpkg", "--purge", NAME)
    assert machine.show(AGENT, "LoadState", "ActiveState") == ["not-found", "inactive"]
    assert (
        machine.run("find", "/etc", "/var/lib", "/run", "-name", f"*{NAME}*", "-not", "-path", "/run/agent.log") == ""
    )
