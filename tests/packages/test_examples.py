"""The examples in config/ for Nomad, Docker Compose, Kubernetes and Ansible: read by the parsers of these, configured as this
agent takes it, and the Ansible role really run. Of the four only Ansible is here
itself; what the compose file describes is run without Docker."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from consul_redis_agent.config.load import load
from consul_redis_agent.config.shape import Config
from tests.fleet import Fleet, Host, Process, may_build_networks, srv, until

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
NOMAD = CONFIG / "nomad/consul-redis-agent.nomad.hcl"
COMPOSE = CONFIG / "compose/compose.yaml"
KUBERNETES = CONFIG / "kubernetes/sidecar.yaml"
ANSIBLE = CONFIG / "ansible"
TOOLS = ROOT / ".servers/deploy/bin"
WHEELS = ROOT / ".servers/deploy/wheels"

PINNED = re.compile(r"\S+:\d+\.\d+\.\d+")
"""An image at a whole version."""

pytestmark = pytest.mark.skipif(not (TOOLS / "ansible-lint").exists(), reason="`tests/setup deploy` was not run")
needs_checker = pytest.mark.skipif(not (TOOLS / "checker").exists(), reason="Go, which builds the parsers, is not here")


def run(*argv: str | Path, **more: str) -> str:
    """What a tool prints; fails the test if it fails."""
    environment = {"PATH": f"{TOOLS}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/"), **more}
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


# --- what each of them means ------------------------------------------------------------------------------------------


@cache
def composed() -> dict[str, Any]:
    """The services, as Docker Compose understands them."""
    services: dict[str, Any] = json.loads(run(TOOLS / "checker", "compose", COMPOSE))["services"]
    return services


@cache
def tasks() -> dict[str, Any]:
    """The job's tasks, as Nomad understands them."""
    job = json.loads(run(TOOLS / "checker", "nomad", NOMAD, "image=registry.example.com/consul-redis-agent:0.1.0"))
    return {task["Name"]: task for task in job["TaskGroups"][0]["Tasks"]}


@cache
def pod() -> dict[str, Any]:
    """The containers of the StatefulSet's pod, by name."""
    script = "import json, sys, yaml; json.dump([*yaml.safe_load_all(open(sys.argv[1]))], sys.stdout)"
    (found,) = [o for o in json.loads(run(TOOLS / "python", "-c", script, KUBERNETES)) if o["kind"] == "StatefulSet"]
    spec = found["spec"]["template"]["spec"]
    return {container["name"]: container for container in (*spec["initContainers"], *spec["containers"])}


def filled(environment: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """With what the orchestrator puts in the place of ``${NAME}`` or ``$(NAME)``."""
    return {key: re.sub(r"\$[{(](\w+)[})]", lambda found: values[found[1]], text) for key, text in environment.items()}


def environments() -> Iterator[tuple[str, dict[str, str]]]:
    """The environment of each agent in the examples."""
    for name, service in composed().items():
        if name.startswith("agent"):
            yield name, service["environment"]
    given = {"PORT_redis": "6379", "ADDR_http": "10.0.0.1:9618", "SECRETS_DIR": "/secrets", "ALLOC_DIR": "/alloc"}
    yield "nomad", filled(tasks()["agent"]["Env"], {f"NOMAD_{key}": value for key, value in given.items()})
    named = {one["name"]: one.get("value", "10.0.0.1") for one in pod()["agent"]["env"]}
    yield "kubernetes", filled(named, named)


@needs_checker
def test_every_environment_is_one_that_the_agent_takes() -> None:
    """Each key is known and each value is read as it is meant; none is left to chance."""
    for name, environment in environments():
        config = load(None, environment, {})
        assert config.redis[0].url != "", name
        assert str(config.consul.url).startswith("http://"), name
        assert [key for key in environment if key.startswith("CRA_")], name


@needs_checker
def test_every_image_has_a_version_and_every_container_is_locked() -> None:
    """A whole version, a read-only root, no capability, no way to more rights."""
    for name, service in composed().items():
        assert PINNED.fullmatch(service["image"]), name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    for name, task in tasks().items():
        assert PINNED.fullmatch(task["Config"]["image"]), name
        assert task["Config"]["readonly_rootfs"], name
        assert task["Config"]["cap_drop"] == ["all"], name
        assert task["Config"]["security_opt"] == ["no-new-privileges"], name
    for name, container in pod().items():
        assert PINNED.fullmatch(container["image"]), name
        locks = container["securityContext"]
        assert locks["readOnlyRootFilesystem"], name
        assert not locks["allowPrivilegeEscalation"], name
        assert locks["capabilities"] == {"drop": ["ALL"]}, name


@needs_checker
def test_the_agent_is_there_before_redis_and_after_it() -> None:
    """So it sees Redis go, and can still tell Consul."""
    assert tasks()["agent"]["Lifecycle"] == {"Hook": "prestart", "Sidecar": True}
    assert tasks()["redis"]["Leader"]
    assert pod()["agent"]["restartPolicy"] == "Always"


def start(name: str, fleet: Fleet, hosts: Mapping[str, Host]) -> Process:
    """A service of the compose file on a host of its own: its command, environment and files, with this machine's programs.

    Only addresses and folders are others than in the file.
    """
    service, volume = composed()[name], fleet.folder / name
    volume.mkdir()
    moved = {other["networks"]["fleet"]["ipv4_address"]: hosts[each].address for each, other in composed().items()} | {
        folder: str(volume) for folder in ("/consul/data", "/data")
    }
    words = [*(service.get("entrypoint") or []), *(service.get("command") or [])]
    environment = dict(service.get("environment", {}))
    if name.startswith("agent"):  # the image has these words and folders
        words = [sys.executable, "-m", "consul_redis_agent", "run"]
        environment |= {"RUNTIME_DIRECTORY": str(volume), "STATE_DIRECTORY": str(volume)}

    def at_its_place(text: str) -> str:
        return re.sub("|".join(rf"{re.escape(place)}\b" for place in moved), lambda found: moved[found[0]], text)

    argv = [at_its_place(word) for word in words]
    env = {key: at_its_place(value) for key, value in environment.items()}
    return fleet.add(Process(name, argv, host=hosts[name], folder=fleet.folder, env=env))


@needs_checker
@pytest.mark.netns
def test_what_the_compose_file_describes_names_the_master_and_follows_a_failover() -> None:
    """Each service with its own command and environment, on this machine's servers, in network namespaces."""
    if not may_build_networks():
        pytest.skip("needs root")
    with Fleet(isolated=True) as fleet:
        names = sorted(composed(), key=lambda name: ("consul redis sentinel agent".find(name.rstrip("-123")), name))
        hosts = {name: fleet.host(name) for name in names}
        running = {name: start(name, fleet, hosts) for name in names}

        def named() -> set[str]:
            with hosts["consul"].inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.settimeout(1)
                asking.connect((hosts["consul"].address, 8600))
                asking.send(srv.question("redis.service.consul."))
                return {address.host for address in srv.answers(asking.recv(65535)) or ()}

        until(lambda: named() == {hosts["redis-1"].address}, within=30, what="DNS names the first node")
        running["redis-1"].kill()
        others = {hosts[name].address for name in ("redis-2", "redis-3")}
        until(lambda: len(named()) == 1 and named() <= others, within=60, what="DNS names another one")


def test_kubernetes_takes_its_objects() -> None:
    """Every field is one of the newest API that the validator has, and has its type."""
    run("kubernetes-validate", "--strict", KUBERNETES)


# --- the Ansible role -------------------------------------------------------------------------------------------------


def test_ansible_lint_finds_nothing() -> None:
    """In its strictest profile."""
    run("ansible-lint", "--offline", "--profile", "production", "-q", ANSIBLE / "playbook.yml", ANSIBLE / "roles")


PLAY = """\
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /srv
cp -a /etc/. /srv
mount --bind /srv /etc
rm -rf /etc/consul-redis-agent
mount -t tmpfs tmpfs /opt
play() { ansible-playbook -i "$WORK/inventory" -e "@$WORK/vars.json" config/ansible/playbook.yml "$@" | tee -a "$WORK/log"; }
changed() { sed -n 's/.* changed=\\([0-9]*\\) .*/\\1/p'; }
play --check --diff | changed
[ ! -e /etc/consul-redis-agent ] && [ ! -e /opt/consul-redis-agent ]
play | changed
play | changed
cd /etc/consul-redis-agent
stat -c '%n %a %U %G' *
cmp -s /etc/systemd/system/consul-redis-agent.service "$UNIT" && echo "the unit is there"
cat redis.password && echo
cp consul-redis-agent.toml "$WORK"
/opt/consul-redis-agent/bin/consul-redis-agent --version
"""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Config, str]:
    """What came of the playbook on this machine, with an /etc and an /opt of its own; the configuration; the log."""
    if not may_build_networks() or not WHEELS.exists():
        pytest.skip("needs root, and the wheels of the lock")
    work = tmp_path_factory.mktemp("play")
    (wheel,) = (ROOT / "build/wheel").glob("*.whl")
    (work / "inventory").write_text("[redis]\nlocalhost ansible_connection=local\n")
    given = {
        "wheel": str(wheel),
        "consul_token": "token of the vault",
        "redis_password": "password of the vault",
        "consul_redis_agent_wheels": str(WHEELS),
        "consul_redis_agent_python": sys.executable,
        "ansible_python_interpreter": str(TOOLS / "python"),
    }
    (work / "vars.json").write_text(json.dumps(given))
    said = run(
        *("unshare", "--mount", "sh", "-c", PLAY),
        WORK=str(work),
        UNIT=str(CONFIG / "consul-redis-agent.service"),
        ANSIBLE_ROLES_PATH=str(ANSIBLE / "roles"),
        ANSIBLE_LOCAL_TEMP=str(work),
        ANSIBLE_REMOTE_TEMP=str(work),
        ANSIBLE_PIPELINING="1",
        ANSIBLE_LOCALHOST_WARNING="0",
        ANSIBLE_NOCOLOR="1",
        LD_LIBRARY_PATH=f"{sysconfig.get_config_var('LIBDIR')}",
    )
    return said.splitlines(), load(work / "consul-redis-agent.toml", {}, {}), (work / "log").read_text()


@pytest.mark.timeout(300)
def test_the_role_installs_once_and_then_changes_nothing(played: tuple[list[str], Config, str]) -> None:
    """Check mode says what would change, and changes nothing; a second run finds all as it should be."""
    (checked, first, second, *_), _, log = played
    assert int(checked) > 0
    assert int(first) > 0
    assert second == "0", log


@pytest.mark.timeout(300)
def test_the_role_gives_the_agent_its_configuration_and_secrets(played: tuple[list[str], Config, str]) -> None:
    """The program starts, the unit is the shipped one, the secrets are for the agent's group and in no log."""
    said, config, log = played
    assert said[3:] == [
        "consul-redis-agent.toml 640 root consul-redis-agent",
        "consul.token 640 root consul-redis-agent",
        "redis.password 640 root consul-redis-agent",
        "the unit is there",
        "password of the vault",
        said[-1],
    ]
    assert said[-1].startswith("consul-redis-agent ")
    assert dict(config.service.meta) == {"team": "shop"}
    assert config.redis[0].password_file == Path("/etc/consul-redis-agent/redis.password")
    assert "of the vault" not in log
