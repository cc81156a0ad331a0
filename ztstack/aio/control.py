"""A running controller's control socket, and how to talk to it.

One JSON object a line each way, on a socket that only its owner can open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ztstack.aio.clock import Clock
from ztstack.aio.controller_store import FileStore
from ztstack.aio.entropy import SystemEntropy
from ztstack.aio.service import Service
from ztstack.aio.storage import Storage, write_atomically
from ztstack.base.errors import StateInUse, StorageError
from ztstack.base.trace import CountingTracer
from ztstack.controller.controller import Controller

LINE_LIMIT: Final = 64 << 20
_PATH_LIMIT: Final = 100

Json = Mapping[str, object]


def _answer(controller: Controller, now: int, request: Json) -> dict[str, object]:
    """Carry out one request of the JSON interface (vl2 7.7)."""
    # Only who runs or asks a controller pays for it.
    from ztstack.controller.api import handle  # noqa: PLC0415

    method, path, body = (request.get(key) for key in ("method", "path", "body"))
    if not isinstance(method, str) or not isinstance(path, str):
        return {"status": 400, "body": {"error": "a request has a method and a path"}}
    status, answer = handle(controller, now, method, path, json.dumps(body or {}).encode())
    return {"status": status, "body": answer}


def _socket_path(state: Path) -> Path:
    return state.absolute() / "controller.sock"


class ControlServer:
    """Serves the control socket of a running controller."""

    def __init__(self, service: Service, state: Path) -> None:
        self._service = service
        self._state = state
        self._server: asyncio.Server | None = None
        self._token = ""

    async def start(self) -> None:
        path = _socket_path(self._state)
        if sys.platform != "win32" and len(os.fsencode(path)) <= _PATH_LIMIT:
            path.unlink(missing_ok=True)
            previous = os.umask(0o177)
            try:
                self._server = await asyncio.start_unix_server(self._serve, path, limit=LINE_LIMIT)
            finally:
                os.umask(previous)
            return
        # Elsewhere a loopback port, and a token in a file that only its owner can read.
        self._token = secrets.token_hex(32)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LINE_LIMIT)
        port = self._server.sockets[0].getsockname()[1]
        data = json.dumps({"port": port, "token": self._token}).encode()
        write_atomically(self._state / "controller.port", data)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        _socket_path(self._state).unlink(missing_ok=True)
        (self._state / "controller.port").unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # The client went away, or sent a line beyond the limit.
        finally:
            writer.close()

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            return {"status": 400, "body": {"error": "a request is a JSON object"}}
        if self._token and not secrets.compare_digest(
            str(request.get("token", "")).encode("utf-8", "replace"), self._token.encode()
        ):
            return {"status": 401, "body": {"error": "wrong token"}}
        controller = self._service.node.controller
        assert controller is not None
        answer = _answer(controller, self._service.clock.now(), request)
        self._service.driver.pump_soon()
        return answer


async def ask_controller(
    state: Path, method: str, path: str, body: Json | None = None
) -> tuple[int, object]:
    """Ask the controller whose state directory this is, running or not, as its JSON interface.

    Returns the HTTP status and what would be in the answer; StorageError if there is no controller.
    """
    if not state.is_dir():  # noqa: ASYNC240 - one look at a local folder
        raise StorageError(f"{state}: there is no controller here (run: zt controller run)")
    request = {"method": method, "path": path, "body": body}
    answer = await _ask_running(state, request)
    if answer is None:
        answer = _ask_store(state, request)
    status = answer.get("status")
    assert isinstance(status, int)
    return status, answer.get("body")


def compile_rules(text: str) -> dict[str, object]:
    """Turn a text in the rules language into what the JSON interface takes.

    InvalidConfig names the line that is wrong.
    """
    # Only who sets rules pays for it.
    from ztstack.controller import rules_text  # noqa: PLC0415

    return rules_text.parse_program(text).to_json()


async def _ask_running(state: Path, request: Json) -> dict[str, object] | None:
    path, port = _socket_path(state), state / "controller.port"
    token = {}
    try:
        if port.exists():
            where = json.loads(port.read_text("ascii"))
            token = {"token": where["token"]}
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", where["port"], limit=LINE_LIMIT
            )
        elif path.exists():
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_LIMIT)
        else:
            return None
    except (OSError, ValueError, KeyError):
        return None  # Left over from a controller that was killed.
    try:
        writer.write(json.dumps({**request, **token}).encode() + b"\n")
        line = await reader.readline()
        if not line:
            raise StorageError(f"{state}: the running controller did not answer")
        result: dict[str, object] = json.loads(line)
        return result
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _ask_store(state: Path, request: Json) -> dict[str, object]:
    storage = Storage(state)
    try:
        storage.open()
    except StateInUse as error:
        raise StorageError(f"{error}, and it is no controller that answers") from None
    try:
        identity = storage.load_identity()
        if identity is None:
            raise StorageError(f"{state}: there is no controller here (run: zt controller run)")
        now = Clock().now()
        store = FileStore(state / "controller.d")
        controller = Controller(now, identity, store, SystemEntropy(), CountingTracer())
        return _answer(controller, now, request)
    finally:
        storage.close()
