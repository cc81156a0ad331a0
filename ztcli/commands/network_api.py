"""Asks a controller: ours in a state directory, running or not, or any one by HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ztcli import controller_api, runner
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import Settings

Json = dict[str, Any]
_SECONDS: Final = controller_api.SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Options that say which controller is meant."""

    controller: Annotated[
        str | None,
        typer.Option("--controller", metavar="URL", help="Ask by HTTP, not by --state."),
    ] = None
    token_file: Annotated[
        str | None,
        typer.Option("--token-file", metavar="FILE|-", help="Its token; or in ZT_TOKEN."),
    ] = None


class Asker:
    """Sends requests of the controller's JSON interface."""

    def __init__(self, env: Environment, settings: Settings, where: Where) -> None:
        self._env = env
        self._settings = settings
        self._where = where
        self._token = "" if where.controller is None else _token(env, settings, where)

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 - it is JSON
        """Return what a controller answers; CommandError with its own words if it refuses."""
        status, answer = self.attempt(method, path, body)
        if status == 200:
            return answer
        words = answer.get("error") if isinstance(answer, dict) else None
        known = {
            400: ExitCode.USAGE,
            401: ExitCode.FORBIDDEN,
            403: ExitCode.FORBIDDEN,
            404: ExitCode.NETWORK_NOT_FOUND,
        }
        default = {
            401: "the controller does not accept the token",
            404: "the controller has no such network or member",
        }.get(status, f"the controller answered with status {status}")
        text = words if isinstance(words, str) else default
        raise CommandError(text, known.get(status, ExitCode.HTTP_STATUS))

    def attempt(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> tuple[int, Any]:
        """Return the status and the answer, whatever they are."""
        found: list[tuple[int, Any]] = []

        async def main() -> ExitCode:
            if self._where.controller is None:
                import ztstack

                state = state_of(self._settings)
                found.append(await ztstack.ask_controller(state, method, path, body))
            else:
                found.append(await self._by_http(self._where.controller, method, path, body))
            return ExitCode.OK

        runner.run(self._env, main, self._settings.total_timeout(_SECONDS))
        return found[0]

    async def _by_http(
        self, base: str, method: str, path: str, body: Mapping[str, object] | None
    ) -> tuple[int, Any]:
        url = base.rstrip("/").removesuffix("/controller") + path
        return await controller_api.send(url, {"X-ZT1-Auth": self._token}, method, body)


def state_of(settings: Settings) -> Path:
    if settings.state is None:
        raise UsageProblem("a controller keeps its networks: name a directory with --state")
    return settings.state


def _token(env: Environment, settings: Settings, where: Where) -> str:
    """Return the token of a file, of the environment, or of the state directory."""
    text = controller_api.token(env, where.token_file)
    if not text and where.token_file is None and settings.state is not None:
        own = settings.state / "authtoken.secret"
        text = controller_api.token(env, str(own)) if own.exists() else ""
    if not text:
        raise UsageProblem("--controller needs a token: name its file with --token-file")
    return text
