"""A socket in a state directory on which a running node answers: one JSON object a line each way.

Only the owner of the directory can open it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ztstack.aio.storage import write_atomically
from ztstack.base.errors import StorageError

LINE_LIMIT: Final = 64 << 20
_PATH_LIMIT: Final = 100

Json = Mapping[str, object]


class JsonServer:
    """Answers on `NAME.sock`, or on a loopback port where there are no such sockets."""

    def __init__(self, state: Path, name: str, answer: Callable[[Json], dict[str, object]]) -> None:
        self._state = state
        self._name = name
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._token = ""

    async def start(self) -> None:
        path = _socket_path(self._state, self._name)
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
        write_atomically(self._state / f"{self._name}.port", data)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        _socket_path(self._state, self._name).unlink(missing_ok=True)
        (self._state / f"{self._name}.port").unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                writer.write(json.dumps(self._answer_line(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # The client went away, or sent a line beyond the limit.
        finally:
            writer.close()

    def _answer_line(self, line: bytes) -> dict[str, object]:
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
        return self._answer(request)


async def ask_running(state: Path, name: str, request: Json) -> dict[str, object] | None:
    """Ask the node that runs on a state directory; None if nobody answers on that name."""
    path, port = _socket_path(state, name), state / f"{name}.port"
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
        return None  # Left over from a process that was killed.
    try:
        writer.write(json.dumps({**request, **token}).encode() + b"\n")
        line = await reader.readline()
        if not line:
            raise StorageError(f"{state}: the running {name} did not answer")
        result: dict[str, object] = json.loads(line)
        return result
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _socket_path(state: Path, name: str) -> Path:
    return state.absolute() / f"{name}.sock"
