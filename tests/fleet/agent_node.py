"""Our agent, as a process of a fleet."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from consul_redis_agent.commands import status

from .hosts import Host
from .process import Process


class AgentNode(Process):
    """``consul-redis-agent run`` with a configuration file and a status socket of its own."""

    def __init__(
        self,
        name: str,
        *,
        host: Host,
        folder: Path,
        config: str = "",
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.config_path = folder / f"{name}.toml"
        self.socket = folder / f"{name}.sock"
        self.config_path.write_text(config)
        state = folder / f"{name}.state"  # as systemd gives it
        state.mkdir()
        run = ["run", "--config", str(self.config_path), "--socket", str(self.socket), *arguments]
        argv = [sys.executable, "-m", "consul_redis_agent", *run]
        super().__init__(name, argv, host=host, folder=folder, env={"STATE_DIRECTORY": str(state), **(env or {})})

    def reaches(self, sentinels: int) -> bool:
        """Whether each of its nodes has found so many Sentinels and reaches them all, so that no selection is missed."""
        return _reaches(status.ask(self.socket), sentinels)

    def is_settled(self, sentinels: int) -> bool:
        """The same, and Consul holds what it wants."""
        snapshot = status.ask(self.socket)
        return (
            _reaches(snapshot, sentinels) and status.is_well(snapshot) and all(n["entries"] for n in snapshot["nodes"])
        )


def _reaches(snapshot: status.Snapshot, sentinels: int) -> bool:
    nodes = snapshot["nodes"]
    return bool(nodes) and all([s["reachable"] for s in node["sentinels"]] == [True] * sentinels for node in nodes)
