"""The Dockerfile, followed without an engine: a stage is a bare Debian with Python and pip, where each step is run.

It knows as much of the language as the Dockerfile uses, and fails on the rest.
"""

from __future__ import annotations

import re
import shlex
import string
from pathlib import Path

import pip

from tests.packages.bare import DEBIAN, ENVIRONMENT, ROOT, Bare

_OF_THIS_MACHINE = ("/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""How pip reaches its index; a build with an engine takes them from there."""

_BASE = """\
ln -s /usr/bin/python3 /usr/local/bin/python
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
"""

_START = """\
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
for place in /run /var/lib; do
    mount -t tmpfs -o "uid=${3%:*},mode=0700" tmpfs "$2/root$place/consul-redis-agent"
done
mount -o remount,ro "$2/root"
exec chroot --userspec="$3" --groups= "$2/root" env -i "${@:4}"
"""


class Stage:
    """One stage: its files, and what is said of the containers that are made of it."""

    def __init__(self, folder: Path) -> None:
        self.root = Bare(folder)
        self.env = dict(ENVIRONMENT)
        self.said: dict[str, str] = {}
        """The instructions that only say something (LABEL, USER, ENTRYPOINT, ...), as they are written."""
        self.workdir = Path("/")
        self.root.put(Path(pip.__file__).parent, "/usr/local/lib/python3/dist-packages/pip")
        for path in map(Path, _OF_THIS_MACHINE):
            if path.exists():
                self.root.put(path, str(path))
        self.env["PYTHONPATH"] = "/usr/local/lib/python3/dist-packages"
        self.root.run(_BASE)

    def labels(self) -> dict[str, str]:
        """The labels, without the prefix that all of them have."""
        pairs = (word.split("=", 1) for word in shlex.split(self.said["LABEL"]))
        return {name.removeprefix("org.opencontainers.image."): value for name, value in pairs}

    def container(self, *command: str, **env: str) -> list[str]:
        """What starts a container: as its user, with a disk that is only read but for its two folders, and this network."""
        names = [f"{name}={value}" for name, value in (self.env | env).items() if name != "PYTHONPATH"]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-euc", _START, "bash"]
        return [*unshare, str(DEBIAN), str(self.root.folder), self.said["USER"], *names, *command]


def follow(folder: Path) -> Stage:
    """Carry out every step; the last stage, as it is then."""
    text = re.sub(r"^ *#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: dict[str, Stage] = {}
    for word, rest in (line.split(None, 1) for line in text.splitlines() if line):
        if word == "FROM":
            name = rest.partition(" AS ")[2]
            stages[name] = stage = Stage(folder / f"stage-{name}")
        elif word == "RUN":
            exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in stage.env.items())
            stage.root.run(f"{exports}mkdir -p {stage.workdir}\ncd {stage.workdir}\n{rest}", network=True)
        elif word == "COPY":
            _copy(stage, stages, rest.split())
        elif word == "ENV":
            for name, value in (pair.split("=", 1) for pair in shlex.split(rest)):
                stage.env[name] = string.Template(value).substitute(stage.env)
        elif word == "WORKDIR":
            stage.workdir = Path(rest)
        else:
            assert word in {"ARG", "LABEL", "USER", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}, word
            if word != "ARG":
                stage.said[word] = rest
    return stage


def _copy(stage: Stage, stages: dict[str, Stage], words: list[str]) -> None:
    origin = ROOT
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")].root.changed
    *sources, target = words
    for source in sources:
        into_folder = target in {".", "./"}
        path = stage.workdir / (Path(source).name if into_folder else target)
        stage.root.put(origin / source.lstrip("/"), str(path))
