"""One agent of a host for one Redis node and service name: the second one sees that there is a first.

The lock is an abstract unix socket (unix(7)), named after the node's run id: two agents that reach it at different addresses
mean the same node, and the kernel frees the name in the moment in which the process that has it ends, however it ends.
Agents of different hosts see each other's entries in Consul instead.
"""

from __future__ import annotations

import os
import socket
import struct
import sys


class AgentLock:
    """Taken with :meth:`holder`, and held until another name is asked for, :meth:`release`, or the end of the process."""

    def __init__(self) -> None:
        self._name = ""
        self._held: socket.socket | None = None
        self._other: tuple[str, str] = ("", "")
        """The name that another process has, and whose it is: asked once, since nobody accepts those who ask."""

    def holder(self, run_id: str, service: str) -> str:
        """Who else looks after this node, for people; "": this agent does, from now on.

        A lock that another user holds, who is not root, is not believed: anybody may take such a name. Sends nothing.
        """
        if sys.platform != "linux":
            return ""
        name = f"\0consul-redis-agent/{service}/{run_id}"
        if name == self._name and self._held:
            return ""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.bind(name)
            made.listen(64)  # nobody is accepted, and each process asks once
        except OSError:  # in use, or none may be made here
            made.close()
            if self._other[0] != name or not self._other[1]:
                self._other = name, _owner(name)
            return self._other[1]
        self.release()
        self._name, self._held, self._other = name, made, ("", "")
        return ""

    def release(self) -> None:
        """Let another agent have it."""
        if self._held:
            self._held.close()
            self._held = None


def _owner(name: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(name)
            pid, uid, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except BlockingIOError:  # nobody accepts, so a third agent finds the queue full: whose it is cannot be asked
            return "another process of this host"
        except OSError:
            return ""  # it has just ended
    return f"process {pid} of this host" if uid in (0, os.geteuid()) else ""
