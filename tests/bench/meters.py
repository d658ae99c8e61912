"""What processes have used so far, as the kernel counts it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.fleet import Host, Process

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of some processes together. Differences of two make sense for all but the memory."""

    cpu: float
    """Seconds, of their living threads; to the nanosecond."""
    children: float
    """Seconds, of the children that have ended; to 10 ms."""
    switches: int
    """Context switches, voluntary or not, of their living threads."""

    @classmethod
    def of(cls, processes: Iterable[Process]) -> Self:
        """Read it now. Raises OSError where a process has ended."""
        pids = [process.pid for process in processes]
        tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
        return cls(
            sum(_running_time(task) for task in tasks),
            sum(_of_children(pid) for pid in pids),
            sum(_switches(task) for task in tasks),
        )

    def __sub__(self, before: Usage) -> Usage:
        return Usage(self.cpu - before.cpu, self.children - before.children, self.switches - before.switches)


def resident(processes: Iterable[Process]) -> tuple[int, int]:
    """Bytes of resident memory (RSS), and with each shared page divided by its users (PSS)."""
    rss = pss = 0
    for process in processes:
        fields = dict(_fields(Path(f"/proc/{process.pid}/smaps_rollup").read_text()))
        rss += int(fields["Rss"].split()[0]) * 1024
        pss += int(fields["Pss"].split()[0]) * 1024
    return rss, pss


def traffic(host: Host) -> int:
    """Bytes that went over the loopback of a host so far, with the headers; each packet counts once."""
    with host.inside():
        text = Path("/proc/thread-self/net/dev").read_text()
    return int(dict(_fields(text))["lo"].split()[0])


def free_memory() -> int:
    """Bytes that new processes can have without swapping."""
    return int(dict(_fields(Path("/proc/meminfo").read_text()))["MemAvailable"].split()[0]) * 1024


def _running_time(task: Path) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):  # a thread may end at any time
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    return 0.0


def _of_children(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICKS


def _switches(task: Path) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = dict(_fields((task / "status").read_text()))
        return int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])
    return 0


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Lines of ``key: value``."""
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            yield key.strip(), value.strip()
