"""Asks a controller by HTTP, with a token: ours, an official one, or ZeroTier Central."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem

TOKEN_VARIABLE: Final = "ZT_TOKEN"  # noqa: S105 - the name of a variable
CENTRAL: Final = "https://api.zerotier.com"
_CENTRAL_HOSTS: Final = ("api.zerotier.com", "my.zerotier.com")
_CENTRAL_PATH: Final = "/api/v1"
_TOKEN_LIMIT: Final = 4096
SECONDS: Final = 30.0


def token(env: Environment, file: str | None) -> str:
    """Return the token of a file, or of the environment; empty if there is none."""
    text = env.variables.get(TOKEN_VARIABLE, "") if file is None else read_text(env, file)
    text = text[:_TOKEN_LIMIT].strip()
    if not text.isascii() or (text and not text.isprintable()):
        raise UsageProblem("the token is not one line of ASCII")
    return text


def read_text(env: Environment, name: str) -> str:
    """Read a file of text, or stdin if the name is `-`."""
    try:
        source = env.stdin if name == "-" else name
        with open(source, encoding="utf-8", closefd=name != "-") as stream:
            return stream.read()
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}", ExitCode.CANNOT_READ) from None
    except UnicodeDecodeError:
        raise CommandError(f"{name}: is not a text", ExitCode.CANNOT_READ) from None


async def send(
    url: str, headers: Mapping[str, str], method: str, body: object | None
) -> tuple[int, Any]:
    """Send one request past every proxy; return the status and what is answered, if it is JSON."""
    import httpx

    try:
        async with httpx.AsyncClient(trust_env=False, timeout=SECONDS) as client:
            answer = await client.request(method, url, json=body, headers=dict(headers))
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise UsageProblem(f"--controller {url}: {error}") from None
    except httpx.HTTPError as error:
        words = str(error) or type(error).__name__
        raise CommandError(f"{url}: {words}", ExitCode.CANNOT_CONNECT) from None
    try:
        return answer.status_code, answer.json()
    except ValueError:
        return answer.status_code, None  # Not JSON: the status must do.


class MemberApi:
    """Lets members in and forgets them, at whatever kind of controller this is."""

    def __init__(self, controller: str, token: str) -> None:
        self._base = (controller or CENTRAL).rstrip("/")
        parts = urlsplit(self._base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageProblem(f"--controller is a URL, http:// or https://, not {controller!r}")
        self.is_central = parts.hostname in _CENTRAL_HOSTS or _CENTRAL_PATH in parts.path
        self._token = token

    async def authorize(self, network: str, node: str) -> None:
        """Let a node in; CommandError says why the controller does not."""
        wish: dict[str, object] = {"authorized": True}
        if self.is_central:
            wish = {"config": wish}
        status, answer = await self._ask("POST", network, node, wish)
        if status == 200:
            return
        words = answer.get("error") if isinstance(answer, dict) else None
        codes = {401: ExitCode.FORBIDDEN, 403: ExitCode.FORBIDDEN, 404: ExitCode.NETWORK_NOT_FOUND}
        known = {
            401: "the controller does not accept the token",
            403: "the controller does not accept the token",
            404: "the controller has no such network",
        }
        told = words if isinstance(words, str) else known.get(status, f"status {status}")
        raise CommandError(
            f"{node} could not be authorised in {network}: {told}",
            codes.get(status, ExitCode.HTTP_STATUS),
            f"asked: {self._base}",
        )

    async def remove(self, network: str, node: str) -> bool:
        """Forget a node; tell whether the controller did."""
        status, _ = await self._ask("DELETE", network, node, None)
        return status in (200, 404)

    async def _ask(
        self, method: str, network: str, node: str, body: object | None
    ) -> tuple[int, Any]:
        if self.is_central:
            base = self._base.partition(_CENTRAL_PATH)[0]
            url = f"{base}{_CENTRAL_PATH}/network/{network}/member/{node}"
            headers = {"Authorization": f"token {self._token}"}
        else:
            base = self._base.removesuffix("/controller")
            url = f"{base}/controller/network/{network}/member/{node}"
            headers = {"X-ZT1-Auth": self._token}
        return await send(url, headers, method, body)
