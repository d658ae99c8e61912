"""What an operator installs beside the package: the systemd unit and the image, as far as files can be checked.

That the image's steps give one that runs is tested in tests/packages/test_image.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consul_redis_agent.beside import FILES
from consul_redis_agent.commands import check_failover
from consul_redis_agent.config.durations import parse_duration
from consul_redis_agent.config.schema import KEYS
from consul_redis_agent.decide.facts import Address
from consul_redis_agent.names import LOOKUPS
from consul_redis_agent.publish.fence import TRANSACTION, demote, pause, rehearsal, right

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "config" / "consul-redis-agent.service"
SHARED_HOST = re.compile(r"https?://|--index-url|--extra-index|--find-links|-i ")


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    """What a program prints; fails the test if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


# --- systemd ----------------------------------------------------------------------------------------------------------

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on PATH")


@needs_analyze
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """Every directive is known to systemd and makes sense with the others."""
    program = tmp_path / "consul-redis-agent"
    program.touch(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={program}", UNIT.read_text(), flags=re.MULTILINE))
    assert run("systemd-analyze", "verify", "--man=no", unit) == ""


def test_an_agent_that_hangs_is_replaced_within_the_ttl() -> None:
    """The watchdog and a new start fit into the default TTL, less the third that may have passed since the last beat."""
    (watchdog,) = re.findall(r"^WatchdogSec=(\d+)s$", UNIT.read_text(), re.MULTILINE)
    (pause,) = re.findall(r"^RestartSec=(\d+)ms$", UNIT.read_text(), re.MULTILINE)
    (ttl,) = (key.default for key in KEYS if (key.table, key.name) == ("service", "ttl"))
    assert int(watchdog) + int(pause) / 1000 + 1 < parse_duration(str(ttl)) * 2 / 3


def test_an_agent_that_crashes_at_every_start_is_started_for_ever_but_not_ten_times_a_second() -> None:
    """No start limit ends it for good, and there is a pause that can be noticed."""
    text = UNIT.read_text()
    (pause,) = re.findall(r"^RestartSec=(\d+)ms$", text, re.MULTILINE)
    assert int(pause) >= 500
    assert re.findall(r"^StartLimit.*$", text, re.MULTILINE) == ["StartLimitIntervalSec=0"]


@needs_analyze
def test_the_unit_leaves_the_agent_next_to_nothing() -> None:
    """systemd's own score of what the agent could do to the host: 10 is everything, 0 nothing."""
    said = run("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT)
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert score is not None
    assert float(score[1]) <= 1.2, said


def test_the_unit_bounds_what_a_mistake_may_take_and_leaves_room_for_what_hangs() -> None:
    """Threads that wait for files and names are no mistake; memory is slowed before it is refused, and never swapped."""
    limits = dict(
        re.findall(r"^(MemoryHigh|MemoryMax|MemorySwapMax|TasksMax|LimitNOFILE)=(\d+)", UNIT.read_text(), re.MULTILINE)
    )
    assert int(limits["TasksMax"]) > FILES._limit + LOOKUPS._limit + 16
    assert 0 < int(limits["MemoryHigh"]) < int(limits["MemoryMax"])
    assert limits["MemorySwapMax"] == "0"
    assert int(limits["LimitNOFILE"]) >= 1024


# --- rights -----------------------------------------------------------------------------------------------------------

ACL_FILE = (ROOT / "config" / "redis-acl.conf").read_text()
BASIC = re.findall(r"^#?user \S+ (.*)$", ACL_FILE, re.MULTILINE)
FENCE, FAILOVER = (rights.split() for rights in re.findall(r"^#ACL SETUSER \S+ (.*)$", ACL_FILE, re.MULTILINE))


def test_the_shipped_rights_of_the_fence_are_those_of_what_it_sends() -> None:
    """No command lacks its right, and no right is given that no command needs; settings are only read."""
    sent = (*TRANSACTION, *demote(Address("10.0.0.1", 6379), pauses=True), *rehearsal(pauses=True), pause(1))
    assert {*FENCE} == {*map(right, sent), "+config|get"}
    assert FAILOVER == [check_failover.RIGHT]


def test_rights_that_change_something_stand_apart_and_say_what_a_thief_could_do() -> None:
    """The basic lines have none of them, and each has its words."""
    assert len(BASIC) == 2
    for given in (*FENCE, *FAILOVER):
        assert not [line for line in BASIC if given in line.split()]
        assert re.search(rf"(?m)^#   (?:\S+, )*{re.escape(given[1:])}\b(?:, \S+)* +\w", ACL_FILE), given


# --- the image --------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: keyword and the rest, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word.upper(), rest) for word, rest in (line.split(None, 1) for line in text.splitlines() if line.strip())]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            found.append([])
        if found:  # what stands before them names their base
            found[-1].append((word, rest))
    return found


def commands() -> Iterator[str]:
    for word, rest in instructions():
        if word == "RUN":
            yield from (" ".join(command.split()) for command in rest.split("&&"))


def test_the_image_has_two_stages_and_takes_from_the_first_only_what_runs() -> None:
    """What builds the wheel is not in the image; both stages have the same Python, since a venv is tied to it."""
    build, final = stages()
    assert [word for word, _ in final].count("COPY") == 1
    assert ("COPY", "--from=build /opt/consul-redis-agent /opt/consul-redis-agent") in final
    assert build[0] == ("FROM", f"{final[0][1]} AS build")


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    """An orchestrator that demands "not root" sees it without looking into the image."""
    (user,) = (rest for word, rest in stages()[-1] if word == "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)


def test_every_file_that_the_image_copies_is_there() -> None:
    """No COPY from the checkout names what is not in it."""
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source


def test_the_image_takes_packages_by_their_hashes_and_names_no_index() -> None:
    """What pip installs is pinned by hash or built here; where it comes from is pip's own configuration."""
    installs = [command for command in commands() if re.search(r"pip (install|wheel)", command)]
    assert len(installs) == 4
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command, command
    assert not SHARED_HOST.search(" ".join(commands()))


def test_the_healthcheck_of_the_image_asks_the_status_socket() -> None:
    """It uses the agent's own code and the socket that the image's environment gives, and is an exec form."""
    (health,) = (rest for word, rest in stages()[-1] if word == "HEALTHCHECK")
    argv = json.loads(health.partition(" CMD ")[2])
    compile(argv[-1], "healthcheck", "exec")
    (environment,) = (rest for word, rest in stages()[-1] if word == "ENV")
    folder = dict(pair.split("=", 1) for pair in environment.split())["RUNTIME_DIRECTORY"]
    assert f"{folder}/status.sock" in argv[-1]
    done = subprocess.run([sys.executable, *argv[1:]], capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 1
    assert f"no agent answers at {folder}/status.sock" in done.stderr
