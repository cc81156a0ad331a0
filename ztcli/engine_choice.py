"""Rides on the node that runs already for a state directory, or runs one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ztcli.agent_wire import ask, bound_path, is_supported
from ztcli.engine import Engine
from ztcli.engine_around import EngineAround
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.options import Settings

PATIENCE_S: Final = 6.0
"""How long to wait for the socket of a process that holds the state and may be just starting."""
_STEP_S: Final = 0.05
_HINT: Final = "start one: zt agent start, or any zt join, listen, expose, forward or proxy"


class ChoosingEngine(EngineAround):
    """Decides at its start; before that it is nothing."""

    def __init__(self, env: Environment, settings: Settings) -> None:
        self._env = env
        self._settings = settings
        if settings.agent == "require" and (settings.state is None or not is_supported()):
            raise CommandError("--agent require: there is none without a state", ExitCode.NO_AGENT)
        if settings.state is None or settings.agent == "never" or not is_supported():
            self._inner = self._own()

    async def __aenter__(self) -> Self:
        if not hasattr(self, "_inner"):
            assert self._settings.state is not None
            self._inner = await self._chosen(self._settings.state)
        else:
            await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def _chosen(self, state: Path) -> Engine:
        """Return an engine that was entered."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        own: Engine | None = None
        while True:
            riding = await self._riding(state)
            if riding is not None:
                return await riding.__aenter__()
            if self._settings.agent == "require":
                raise CommandError(f"no node runs for {state}", ExitCode.NO_AGENT, _HINT)
            own = own or self._own()
            try:
                return await own.__aenter__()
            except Exception as error:
                is_held = type(error).__name__ == "StateInUse"
                if not is_held or asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(_STEP_S)

    async def _riding(self, state: Path) -> Engine | None:
        path = bound_path(state)
        if path is None:
            return None
        about = await ask(path, "about")
        if about is None:
            return None
        from ztcli.engine_agent import AgentEngine

        return AgentEngine(self._env, self._settings, path, about)

    def _own(self) -> Engine:
        from ztcli.engine_stack import StackEngine

        engine = StackEngine(self._env, self._settings)
        if not self._settings.serves or self._settings.state is None or not is_supported():
            return engine
        from ztcli.agent_server import ServingEngine

        return ServingEngine(engine, self._env, self._settings)
