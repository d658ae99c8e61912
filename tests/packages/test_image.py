"""The image, as its Dockerfile makes it, step by step in a bare Debian, and a container of it beside real servers."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker

from consul_redis_agent import __version__
from consul_redis_agent.config.schema import KEYS
from tests.fleet import SCALE, Fleet, Process, may_build_networks, until
from tests.packages.bare import DEBIAN, ROOT
from tests.packages.image import Stage, follow

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The last stage."""
    if not may_build_networks() or not DEBIAN.is_dir():
        pytest.skip("a bare Debian needs root and `tests/setup packages`")
    return follow(tmp_path_factory.mktemp("image"))


def run(image: Stage, *command: str, code: int = 0, **env: str) -> str:
    """What a command prints in a container of its own; fails the test if it ends with another exit code."""
    argv = image.container(*command, **env)
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60 * SCALE)
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def entrypoint(image: Stage) -> list[str]:
    argv: list[str] = json.loads(image.said["ENTRYPOINT"])
    return argv


def test_its_labels_are_true(image: Stage) -> None:
    """They say what the project's metadata says, and name no place that does not exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert image.labels() == {
        "title": project["name"],
        "description": project["description"],
        "version": __version__,
        "licenses": project["license"],
    }


def test_its_bill_of_materials_is_what_the_lock_says(image: Stage) -> None:
    """CycloneDX, with this program as its subject, and each package of the lock that this Python needs, and nothing else."""
    bill = json.loads(run(image, "cat", "/opt/consul-redis-agent/sbom.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    assert (bill["metadata"]["component"]["name"], bill["metadata"]["component"]["version"]) == (
        "consul-redis-agent",
        __version__,
    )
    python = {
        "python_full_version": run(image, "python", "-c", "import platform; print(platform.python_version())").strip()
    }
    lock = re.findall(r"^([\w.-]+)==(\S+)(?: ; (.*))? \\$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    wanted = {(name, version) for name, version, marker in lock if not marker or Marker(marker).evaluate(python)}
    assert {(re.sub(r"[-_.]+", "-", c["name"]).lower(), c["version"]) for c in bill["components"]} == wanted


def test_it_runs_without_rights_on_a_disk_that_is_only_read(image: Stage) -> None:
    """The entry point starts as a user without a name, says what is missing, and nothing that could install is left."""
    assert run(image, "id", "-u").strip() == image.said["USER"].partition(":")[0]
    assert "Read-only file system" in run(image, "touch", "/tmp/x", code=1)
    assert run(image, *entrypoint(image), "--version").strip() == f"consul-redis-agent {__version__}"
    assert "No module named pip" in run(image, "/opt/consul-redis-agent/bin/python", "-m", "pip", code=1)


def test_every_key_is_taken_from_the_environment(image: Stage) -> None:
    """Set to what it is by default, each is accepted; an unknown one is refused, with the nearest known name."""
    given = {}
    for key in KEYS:
        if key.has_own and key.default:
            given[key.env] = str(key.default).lower() if isinstance(key.default, bool) else str(key.default)
    assert "ok   configuration" in run(image, *entrypoint(image), "check", code=1, **given)
    assert "did you mean CRA_SERVICE_TTL" in run(image, *entrypoint(image), "check", code=78, CRA_SERVICE_TTK="10s")


class Container(Process):
    """A container that runs as it does by default."""

    def is_ready(self) -> bool:
        return bool(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text())

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run another command in it, as an engine's ``exec`` and its health check do."""
        inner = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().strip()
        enter = ["nsenter", "--target", inner, "--mount", "--pid", "--net", "--root", "--wd=/", "--setuid=10001"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=False, timeout=30 * SCALE)


def test_a_container_is_configured_by_the_environment_alone(image: Stage) -> None:
    """Beside Redis and Consul: the master is in DNS under the name that was given, and the health check is well."""
    with Fleet(isolated=True) as fleet:
        host = fleet.host("host")
        consul = fleet.consul(host, servers=1)
        node = fleet.redis(host=host)
        url = f"redis://127.0.0.1:{node.address.port}"
        env = {"CRA_REDIS_URL": url, "CRA_SERVICE_NAME": "sessions", "CRA_SENTINEL_MODE": "off"}
        argv = image.container(*entrypoint(image), *json.loads(image.said["CMD"]), **env)
        container = fleet.add(Container("container", argv, host=host, folder=fleet.folder))
        until(lambda: consul.srv("sessions") == frozenset({node.address}), within=20, what="the master is in DNS")
        health = json.loads(image.said["HEALTHCHECK"].partition(" CMD ")[2])
        done = container.inside("env", *(f"{name}={value}" for name, value in image.env.items()), *health)
        assert (done.returncode, done.stderr) == (0, "")
