"""Our agent, as a process of a fleet."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

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
