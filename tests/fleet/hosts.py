"""Where a fleet's processes run: all on the loopback of this machine, or each host in a network namespace.

Both kinds answer the same three questions: which address, which port for a service, and how to do something inside.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.fleet.ports import Ports

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET: Final = 0x40000000
_HERE: Final = Path("/proc/thread-self/ns/net")


class Host(ABC):
    """A place for processes, with one address, and one at which only the host itself is."""

    def __init__(self, name: str, address: str, loopback: str = "127.0.0.1") -> None:
        self.name = name
        self.address = address
        self.loopback = loopback
        self.hosts_file: Path | None = None
        """What its programs see as /etc/hosts; None: the machine's."""

    @abstractmethod
    def port(self, usual: int) -> int:
        """Return the port for a service that usually listens on ``usual``; each call may give another one."""

    @abstractmethod
    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets made and processes started by this thread in the block belong to this host, and stay with it."""
        raise NotImplementedError

    @property
    def namespace(self) -> str | None:
        """A path of the network namespace that other processes may open, None for the machine's own."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Give back what the host holds."""


class LoopbackHost(Host):
    """127.0.0.1 of this machine, shared by all; every port is a free one. Needs no privilege."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "127.0.0.1")
        self._ports = Ports()

    def port(self, usual: int) -> int:
        return self._ports.take()

    @contextmanager
    def inside(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        self._ports.close()


class NetworkHost(Host):
    """A network namespace with one interface on the network's switch; usual ports, so no configuration. Needs root.

    One with an IPv6 address has no IPv4 at all, not even at its loopback.

    It lives as long as this object, or a process inside, holds it: nothing is left behind, even after SIGKILL.
    """

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name, address, "::1" if ":" in address else "127.0.0.1")
        self._descriptor = _new_namespace()
        with self.inside():
            _ip("link set lo up")
            if self.loopback == "::1":
                _ip("addr del 127.0.0.1/8 dev lo")

    def port(self, usual: int) -> int:
        return usual

    @contextmanager
    def inside(self) -> Iterator[None]:
        with _inside(self._descriptor):
            yield

    @property
    def namespace(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def close(self) -> None:
        os.close(self._descriptor)

    def unplug(self) -> None:
        """Take the cable out: nobody hears of this host any more, not even that its processes ended."""
        with self.inside():
            _ip("link set eth0 down")

    def plug_in(self) -> None:
        """Put the cable back."""
        with self.inside():
            _ip("link set eth0 up")
            if ":" in self.address:  # it went with the cable
                _ip(f"addr replace {self.address}/64 nodad dev eth0")


class Network:
    """A switch in a network namespace of its own, and the hosts plugged into it, all with IPv4 or all with IPv6 alone."""

    def __init__(self, *, ipv6: bool = False) -> None:
        self._ipv6 = ipv6
        self._switch = NetworkHost("switch", "")
        self._hosts: list[NetworkHost] = []
        self._cuts: set[tuple[NetworkHost, NetworkHost]] = set()
        with self._switch.inside():
            _ip("link add br0 type bridge")
            _ip("link set br0 up")

    def host(self, name: str) -> NetworkHost:
        """Add a host."""
        number = len(self._hosts) + 1
        address = f"fd77::{number + 1:x}" if self._ipv6 else f"10.77.{number // 250}.{number % 250 + 1}"
        host = NetworkHost(name, address)
        with host.inside():
            _ip(f"link add eth0 type veth peer name port{number} netns {self._switch.namespace}")
            # nodad: else the kernel takes a second to find out that nobody else has the address
            _ip(f"addr add {address}{'/64 nodad' if self._ipv6 else '/16'} dev eth0")
            _ip("link set eth0 up")
        with self._switch.inside():
            _ip(f"link set port{number} master br0 up")
        self._hosts.append(host)
        return host

    def cut(self, one: NetworkHost, other: NetworkHost) -> None:
        """Drop every packet from ``one`` to ``other``, and back, without a word to either."""
        for source, target in (one, other), (other, one):
            # An address that no interface has: the switch delivers it to nobody, so a sender sees plain silence.
            with source.inside():
                _ip(f"neigh replace {target.address} lladdr 02:00:00:00:00:00 dev eth0 nud permanent")
            self._cuts.add((source, target))

    def heal(self) -> None:
        """Undo every cut."""
        for source, target in self._cuts:
            with source.inside():
                _ip(f"neigh del {target.address} dev eth0")
        self._cuts.clear()

    def close(self) -> None:
        """Give back the namespaces."""
        for host in [*self._hosts, self._switch]:
            host.close()


def may_build_networks() -> bool:
    """Whether this process may make network namespaces: root that really holds the capability."""
    with suppress(OSError):
        os.close(_new_namespace())
        return True
    return False


def _new_namespace() -> int:
    """Make a network namespace and return the descriptor that keeps it. Raises OSError without the privilege."""
    with _HERE.open() as before:
        _call(_LIBC.unshare(_CLONE_NEWNET), "unshare")
        try:
            return os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _call(_LIBC.setns(before.fileno(), _CLONE_NEWNET), "setns")


@contextmanager
def _inside(descriptor: int) -> Iterator[None]:
    with _HERE.open() as before:
        _call(_LIBC.setns(descriptor, _CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            _call(_LIBC.setns(before.fileno(), _CLONE_NEWNET), "setns")


def _call(result: int, name: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _ip(command: str) -> None:
    done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {command}: {done.stderr.strip()}")
