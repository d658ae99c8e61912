"""The systemd unit, unchanged, under a real systemd that was booted in namespaces of its own.

That machine sees this one's disk read-only, has its own /tmp, /run, /etc, processes and control groups, and shares its
network with one host of a fleet, where Consul runs.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from consul_redis_agent.decide.facts import Address
from tests.fleet import SCALE, ConsulNode, Fleet, Host, Process, Witness, may_build_networks, program, until

UNIT = Path(__file__).parents[2] / "config" / "consul-redis-agent.service"
AGENT, REDIS = "consul-redis-agent.service", "redis-server.service"
SYSTEMD = Path("/lib/systemd/systemd")
REPLACED_WITHIN = 18.0
"""Seconds: the unit's WatchdogSec and what comes on top of it."""

REDIS_UNIT = """\
[Service]
Type=notify
ExecStart=/srv/redis-server --supervised systemd --port 6379 --bind 0.0.0.0 --protected-mode no --save ""
"""

WRAPPER = """\
#!/bin/sh
export PYTHONPATH=/srv/packages PYTHONDONTWRITEBYTECODE=1 LD_LIBRARY_PATH=/srv/python/lib
exec /srv/python/bin/{python} -m consul_redis_agent "$@"
"""

BOOT = """\
set -eu
cd /
mount --make-rprivate /
mount -t tmpfs tmpfs /srv
mkdir /srv/python /srv/packages /srv/fleet /srv/etc
touch /srv/redis-server
mount --bind "$PYTHON" /srv/python
mount --bind "$PACKAGES" /srv/packages
mount --bind "$REDIS" /srv/redis-server
mount --bind "$FOLDER" /srv/fleet
cp -a /etc/. /srv/etc
mount --bind /srv/etc /etc
for place in /opt /tmp /var/tmp /var/lib /run /dev/shm; do mount -t tmpfs tmpfs $place; done
mount -t proc proc /proc
mount -o remount,bind,ro /
mkdir -p /etc/consul-redis-agent /opt/consul-redis-agent/bin
cp /srv/fleet/wrapper /opt/consul-redis-agent/bin/consul-redis-agent
cp /srv/fleet/agent.toml /etc/consul-redis-agent/consul-redis-agent.toml
export container=test SYSTEMD_UNIT_PATH=/srv/fleet/units
exec "$SYSTEMD" --system --unit=default.target --log-target=console --show-status=no
"""


class ControlGroup:
    """A control group below this process' own one, in every hierarchy: the root of the machine's."""

    def __init__(self, name: str) -> None:
        self.paths = [path / name for path in _own_control_groups()]
        for path in self.paths:
            path.mkdir()

    @property
    def procs(self) -> list[Path]:
        return [path / "cgroup.procs" for path in self.paths]

    def remove(self) -> None:
        for top in self.paths:
            for path in sorted((p for p in (top, *top.rglob("*")) if p.is_dir()), reverse=True):
                until(partial(_removed, path), within=5, what=f"{path} is empty and removed")


def _removed(path: Path) -> bool:
    path.rmdir()
    return True


def _own_control_groups() -> Iterator[Path]:
    own = [line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        for controllers, path in own:
            known = set(controllers.split(",")) <= set(options.split(",")) if controllers else kind == "cgroup2"
            if kind.startswith("cgroup") and known and controllers != "cpuset":  # it would need to be set up first
                yield Path(place + path)


class Machine(Process):
    """A systemd that runs the unit and a Redis, in its own namespaces but for the network, which is the host's."""

    boot = BOOT

    def __init__(self, *, host: Host, folder: Path) -> None:
        self.units = folder / "units"
        self.units.mkdir()
        for target in ("basic", "sysinit", "shutdown", "umount", "final", "network"):
            (self.units / f"{target}.target").symlink_to(f"/lib/systemd/system/{target}.target")
        (self.units / "default.target").write_text("[Unit]\nRequires=basic.target\nAllowIsolate=yes\n")
        (self.units / REDIS).write_text(REDIS_UNIT)
        shutil.copy(UNIT, self.units)
        extra = self.units / f"{AGENT}.d"
        extra.mkdir()
        (extra / "log.conf").write_text("[Service]\nStandardError=append:/run/agent.log\n")
        (folder / "wrapper").write_text(WRAPPER.format(python=f"python3.{sys.version_info.minor}"))
        (folder / "wrapper").chmod(0o755)
        (folder / "agent.toml").write_text('[service]\nttl = "1m"\n[sentinel]\nmode = "off"\n[log]\nformat = "text"\n')
        (folder / "boot").write_text(self.boot)
        self.group = ControlGroup(f"cra-{os.getpid()}")
        enter = "for procs; do echo $$ >$procs; done\n"
        namespaces = "--pid --fork --mount --uts --ipc --cgroup --kill-child"
        argv = [
            "sh",
            "-euc",
            f"{enter}exec unshare {namespaces} sh {folder / 'boot'}",
            "sh",
            *map(str, self.group.procs),
        ]
        env = {
            "PYTHON": sys.base_prefix,
            "PACKAGES": sysconfig.get_path("purelib"),
            "REDIS": str(Path(program("redis-server")).resolve()),
            "FOLDER": str(folder),
            "SYSTEMD": str(SYSTEMD),
        }
        super().__init__("machine", argv, host=host, folder=folder, env=env)

    def is_ready(self) -> bool:
        return self.systemctl("is-system-running") == "running"

    @property
    def init(self) -> int:
        """The process id of its systemd, seen from here."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text())

    def run(self, *command: str) -> str:
        """What a command prints there, whether it succeeds or not."""
        argv = ["nsenter", "-t", str(self.init), "-m", "-p", *command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60 * SCALE)
        return (done.stdout + done.stderr).strip()

    def systemctl(self, *arguments: str) -> str:
        return self.run("systemctl", *arguments)

    def show(self, unit: str, *names: str) -> list[str]:
        """Properties of a unit."""
        lines = [self.systemctl("show", "--value", "-p", name, unit) for name in names]
        assert len(lines) == len(names)
        return lines

    def main_pid(self, unit: str = AGENT) -> str:
        (pid,) = self.show(unit, "MainPID")
        return pid

    def has_replaced(self, pid: str, restarts: int) -> bool:
        """Whether the agent with this pid was restarted, once, and is ready."""
        active = self.show(AGENT, "NRestarts", "ActiveState") == [str(restarts + 1), "active"]
        return active and self.main_pid() not in ("0", pid)

    def agent_log(self) -> str:
        return self.run("cat", "/run/agent.log")


pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def booted() -> Iterator[tuple[Fleet, Machine, ConsulNode]]:
    """A host with Consul and systemd; the agent and Redis are its units."""
    if not SYSTEMD.exists() or not may_build_networks():
        pytest.skip("needs root and systemd's own program")
    with Fleet(isolated=True) as fleet:
        host = fleet.host("host")
        consul = fleet.consul(host, servers=1)
        try:
            machine = Machine(host=host, folder=fleet.folder)
        except OSError as error:
            pytest.skip(f"no control groups of its own for a systemd: {error}")
        fleet.processes.append(machine)
        try:
            machine.launch()
            machine.wait_ready(within=20)
            yield fleet, machine, consul
        finally:
            machine.kill()
            machine.group.remove()


@pytest.fixture
def master(booted: tuple[Fleet, Machine, ConsulNode]) -> Iterator[tuple[Machine, Witness, Address]]:
    """Redis and the agent run, the master is published, and a witness watches DNS."""
    fleet, machine, consul = booted
    machine.systemctl("reset-failed", AGENT)
    assert machine.systemctl("start", REDIS, AGENT) == ""
    address = Address(machine.host.address, 6379)
    witness = fleet.witness(consul=consul, nodes=[])
    witness.wait_for(address, within=10)
    yield machine, witness, address
    witness.kill()
    fleet.processes.remove(witness)


Master = tuple[Machine, Witness, Address]


# --- the unit as a file -----------------------------------------------------------------------------------------------


def test_ready_with_the_role_in_the_status_line(master: Master) -> None:
    """READY follows the first decision; the status line says the role; only its own user and root may ask `status`."""
    machine, _, address = master
    assert machine.show(AGENT, "ActiveState", "Type") == ["active", "notify"]
    until(
        lambda: machine.show(AGENT, "StatusText")[0].startswith("127.0.0.1:6379: master"),
        within=5,
        what="the status line says the role",
    )
    assert machine.run("stat", "-c", "%a %F", "/run/consul-redis-agent/status.sock") == "600 socket"
    assert machine.run("stat", "-Lc", "%a %U", "/run/consul-redis-agent") == "700 consul-redis-agent"
    assert machine.run("ps", "-o", "user=", "-p", machine.main_pid()).startswith("consul")
    assert f'"address": "{address}"' in machine.run("/opt/consul-redis-agent/bin/consul-redis-agent", "status")


def test_an_agent_that_hangs_or_dies_is_replaced_before_dns_can_notice(master: Master) -> None:
    """Stopped, it feeds no watchdog and is replaced; killed, at once. The entry outlives both, and is adopted."""
    machine, witness, address = master
    since = time.monotonic()
    for number in (signal.SIGSTOP, signal.SIGKILL):
        before, (count,) = machine.main_pid(), machine.show(AGENT, "NRestarts")
        machine.systemctl("kill", "--kill-who=main", "-s", number.name, AGENT)
        until(
            partial(machine.has_replaced, before, int(count)),
            within=REPLACED_WITHIN,
            what=f"systemd has replaced the agent after {number.name}",
        )
    until(lambda: "master" in machine.show(AGENT, "StatusText")[0], within=10, what="the new one has decided")
    witness.watch(1)
    witness.assert_only(address, since=since)


def test_restart_and_reload_leave_no_hole_in_dns(master: Master) -> None:
    """A restart is another process, a reload the same one, and DNS sees neither."""
    machine, witness, address = master
    since, first = time.monotonic(), machine.main_pid()
    assert machine.systemctl("restart", AGENT) == ""
    second = machine.main_pid()
    assert second != first
    assert machine.systemctl("reload", AGENT) == ""
    until(lambda: "was read again" in machine.agent_log(), within=5, what="the configuration was read again")
    assert machine.main_pid() == second
    witness.watch(3)
    witness.assert_only(address, since=since)


def test_the_agent_outlives_redis_at_a_stop(master: Master) -> None:
    """Stopped together, as at a shutdown, Redis goes first and DNS knows before the agent goes."""
    machine, witness, _ = master
    assert machine.systemctl("isolate", "default.target") == ""  # one transaction for all units, as a shutdown is
    witness.wait_for(within=3)

    def has_told() -> bool:  # DNS knows before the last line is written
        log = machine.agent_log()
        assert re.search(r"master -> none: Redis does not answer.*\n(.*\n)*.* stops; on_stop", log), log
        return True

    until(has_told, within=5, what="the agent tells that it withdrew and then stopped")


def test_redis_starts_at_boot_without_consul(booted: tuple[Fleet, Machine, ConsulNode]) -> None:
    """Redis is ordered behind the agent; a Consul that hangs holds up neither."""
    _, machine, consul = booted
    machine.systemctl("stop", AGENT, REDIS)
    consul.pause()
    try:
        assert machine.systemctl("start", AGENT, REDIS) == ""
        assert machine.show(AGENT, "ActiveState") == machine.show(REDIS, "ActiveState") == ["active"]
    finally:
        consul.resume()
    address = Address(machine.host.address, 6379)
    until(
        lambda: consul.srv("redis") == frozenset({address}),
        within=15,
        what="the master is published once Consul is back",
    )


def test_a_bad_configuration_is_not_started_over_and_over(master: Master) -> None:
    """Exit code 78 ends it for good, every mistake is in the log; a restart after the correction is all it takes."""
    machine, *_ = master
    good = "/etc/consul-redis-agent/consul-redis-agent.toml"
    machine.run("sh", "-c", f"cp {good} /run/good; printf '[service]\\nttk = \"1s\"\\n' >{good}")
    machine.systemctl("restart", AGENT)
    assert machine.show(AGENT, "ActiveState", "ExecMainStatus", "NRestarts") == ["failed", "78", "0"]
    assert "ttk" in machine.agent_log()
    machine.run("cp", "/run/good", good)
    machine.systemctl("reset-failed", AGENT)
    assert machine.systemctl("start", AGENT) == ""
