"""Serves the controller's JSON interface to this machine: HTTP on loopback, with a token (vl2 7.7).

The token is in `authtoken.secret` of the state directory, as the official controller keeps it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import string
from pathlib import Path
from typing import Final

import h11

from ztstack.aio.service import Service
from ztstack.aio.storage import write_atomically
from ztstack.base.errors import PortInUse
from ztstack.controller.api import Answer, handle

TOKEN_FILE: Final = "authtoken.secret"  # noqa: S105 - the name of the file
TOKEN_HEADER: Final = b"x-zt1-auth"
MAX_BODY_BYTES: Final = 4 << 20
IDLE_S: Final = 30.0
MAX_CLIENTS: Final = 64
_TOKEN_LETTERS: Final = string.ascii_lowercase + string.digits
_TOKEN_LENGTH: Final = 24


def api_token(state: Path) -> str:
    """Return the token of a state directory; make one the first time."""
    path = state / TOKEN_FILE
    if path.exists():
        return path.read_text("ascii").strip()
    token = "".join(secrets.choice(_TOKEN_LETTERS) for _ in range(_TOKEN_LENGTH))
    write_atomically(path, token.encode())
    return token


class ApiServer:
    """The controller's HTTP server."""

    def __init__(self, service: Service, state: Path, port: int) -> None:
        self._service = service
        self._state = state
        self._wanted = port
        self._server: asyncio.Server | None = None
        self._token = b""
        self._clients = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen on 127.0.0.1; PortInUse if another program does."""
        self._token = api_token(self._state).encode()
        try:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._wanted)
        except OSError as error:
            raise PortInUse(f"cannot listen on 127.0.0.1:{self._wanted}: {error}") from error

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._clients >= MAX_CLIENTS:
            writer.close()
            return
        self._clients += 1
        try:
            await self._converse(h11.Connection(h11.SERVER), reader, writer)
        except (h11.RemoteProtocolError, ConnectionError, TimeoutError):
            pass  # The client went away, stalled, or speaks something else.
        finally:
            self._clients -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _converse(
        self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            request: h11.Request | None = None
            body = b""
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    async with asyncio.timeout(IDLE_S):
                        http.receive_data(await reader.read(65536))
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > MAX_BODY_BYTES:
                        return
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return
            assert request is not None
            await self._reply(http, writer, self._answer(request, body))
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    def _answer(self, request: h11.Request, body: bytes) -> Answer:
        given = dict(request.headers).get(TOKEN_HEADER, b"")
        if not secrets.compare_digest(given, self._token):
            return Answer(401, {"error": f"the header X-ZT1-Auth is not what {TOKEN_FILE} holds"})
        controller = self._service.node.controller
        assert controller is not None
        method, path = request.method.decode("ascii"), request.target.decode("ascii", "replace")
        answer = handle(controller, self._service.clock.now(), method, path, body)
        self._service.driver.pump_soon()
        return answer

    @staticmethod
    async def _reply(http: h11.Connection, writer: asyncio.StreamWriter, answer: Answer) -> None:
        body = json.dumps(answer.body, indent=1).encode() + b"\n"
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        for event in (
            h11.Response(status_code=answer.status, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            data = http.send(event)
            if data:
                writer.write(data)
        await writer.drain()
