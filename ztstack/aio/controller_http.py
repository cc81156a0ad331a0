"""Serves the controller's JSON interface to this machine: HTTP on loopback, with a token (vl2 7.7).

The token is in `authtoken.secret` of the state directory, as the official controller keeps it.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import stat
import string
from pathlib import Path
from typing import Final, Protocol

from ztstack.aio.service import Service
from ztstack.aio.storage import write_atomically
from ztstack.base.errors import InvalidConfig, PortInUse, StorageError

TOKEN_FILE: Final = "authtoken.secret"  # noqa: S105 - the name of the file
HOST: Final = "127.0.0.1"
_LIBRARIES: Final = ("starlette", "uvicorn")
_TOKEN_LETTERS: Final = string.ascii_lowercase + string.digits
_TOKEN_LENGTH: Final = 24
_BACKLOG: Final = 128


def check_installed() -> None:
    """Raise InvalidConfig unless the optional libraries are there."""
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidConfig(
            f"the controller's HTTP interface needs {' and '.join(missing)}"
            " (run: pip install 'ztstack[controller]')"
        )


def api_token(state: Path) -> str:
    """Return the token of a state directory; make one the first time."""
    path = state / TOKEN_FILE
    if path.exists():
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StorageError(f"{path}: can be read by others; run: chmod 600 {path}")
        token = path.read_text("ascii", "replace").strip()
        if token:  # An empty one would let everybody in.
            return token
    token = "".join(secrets.choice(_TOKEN_LETTERS) for _ in range(_TOKEN_LENGTH))
    write_atomically(path, token.encode())
    return token


class _Running(Protocol):
    """The server that the optional libraries make."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class ApiServer:
    """The controller's HTTP server."""

    def __init__(self, service: Service, state: Path, port: int) -> None:
        """InvalidConfig if the libraries that it needs are not installed."""
        check_installed()
        self._service = service
        self._state = state
        self._wanted = port
        self._running: _Running | None = None
        self.port = port

    async def start(self) -> None:
        """Listen on 127.0.0.1; PortInUse if another program does."""
        token = api_token(self._state)
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, self._wanted))
            listener.listen(_BACKLOG)
            listener.setblocking(False)  # noqa: FBT003 - the only argument it has
        except OSError as error:
            listener.close()
            raise PortInUse(f"cannot listen on {HOST}:{self._wanted}: {error}") from error
        self.port = listener.getsockname()[1]
        self._running = self._make(token, listener)
        await self._running.start()

    def _make(self, token: str, listener: socket.socket) -> _Running:
        from ztstack.aio import controller_asgi  # noqa: PLC0415 - optional, and slow to load

        service, controller = self._service, self._service.node.controller
        assert controller is not None
        node = controller_asgi.ServedNode(
            controller, service.clock.now, service.driver.pump_soon, self._status
        )
        return controller_asgi.HttpServer(controller_asgi.application(node, token), listener)

    def _status(self) -> dict[str, object]:
        status = self._service.status()
        return {
            "address": str(status.address),
            "publicIdentity": self._service.node.identity.public_text(),
            "online": status.online,
            "version": status.version,
            "clock": self._service.clock.now() // 1000,
        }

    async def stop(self) -> None:
        if self._running is not None:
            await self._running.stop()
            self._running = None
