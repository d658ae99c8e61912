"""A bare Debian (tests/setup packages) of which each test changes a copy of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.fleet import SCALE

ROOT = Path(__file__).parents[2]
DEBIAN = (ROOT / ".servers" / "bare").resolve()

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}

_ENTER = """\
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
exec chroot "$2/root" sh -euc "$3"
"""


class Bare:
    """What is installed or changed there stays until the test's end; the disk under it is only read.

    Programs run in namespaces of their own, without any network unless it is asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("upper", "work", "root"):
            (folder / name).mkdir(parents=True)

    @property
    def changed(self) -> Path:
        """The folder of what is new there or changed, seen from outside."""
        return self.folder / "upper"

    def put(self, source: Path, path: str) -> None:
        """A file or a folder from outside, at a path in there."""
        target = self.changed / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, symlinks=True, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)

    def run(self, script: str, *, code: int = 0, network: bool = False) -> str:
        """What a shell script prints there; fails the test if it ends with another exit code."""
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
        argv = [*unshare, "sh", "-euc", _ENTER, "sh", str(DEBIAN), str(self.folder), script]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100 * SCALE, env=ENVIRONMENT)
        assert done.returncode == code, f"{script}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def files(self) -> set[str]:
        """Every path there, but for logs, caches and what dpkg itself writes down."""
        kept_out = "".join(f" -not -path '{path}/*'" for path in ("/proc", "/var/log", "/var/lib/dpkg", "/var/cache"))
        return set(self.run(f"find / -xdev{kept_out}").splitlines())
