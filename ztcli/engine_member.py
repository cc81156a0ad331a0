"""An engine that lets its node in by the controller's interface, and takes it out again."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

from ztcli.controller_api import MemberApi, token
from ztcli.engine import Engine
from ztcli.engine_around import EngineAround
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, UsageProblem
from ztcli.options import Settings

FAREWELL_S: Final = 5.0
"""How long a controller may take to forget a node that is gone."""


class MemberEngine(EngineAround):
    """Authorises before it joins; a node that keeps nothing is forgotten at its end."""

    def __init__(self, inner: Engine, env: Environment, settings: Settings) -> None:
        super().__init__(inner)
        self._env = env
        self._settings = settings
        if settings.is_overlay:
            raise UsageProblem("--authorize belongs to the managed stack, not to the overlay")
        secret = token(env, settings.token_file or None)
        if not secret:
            raise UsageProblem("--authorize needs a token: the one given is empty")
        self._api = MemberApi(settings.controller, secret)
        self._authorized: list[str] = []

    async def join(self) -> None:
        for network in self.networks:
            if network in self._authorized:
                continue
            # Remembered first: whoever is interrupted in here may have been let in already.
            self._authorized.append(network)
            await self._api.authorize(network, self.node_id)
            if self._settings.verbose:
                self._env.say(f"authorised {self.node_id} in {network}")
        await super().join()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        node = self.node_id
        try:
            # A node that still ran could ask for its membership again.
            await super().__aexit__(kind, error, trace)
        finally:
            if self._settings.state is None:
                await self._forget(node)

    async def _forget(self, node: str) -> None:
        for network in self._authorized:
            try:
                async with asyncio.timeout(FAREWELL_S):
                    done = await self._api.remove(network, node)
            except (CommandError, TimeoutError):
                done = False
            if not done:
                self._env.warn(self._settings, f"warning: {node} is still a member of {network}")
