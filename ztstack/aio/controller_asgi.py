"""The controller's JSON interface as an ASGI application, and a server for it in our own loop.

Needs the extra `controller`; only `controller_http` imports this, and only when it serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ztstack.controller.api import MAX_BODY_BYTES, OPERATIONS, Answer, Operation, perform
from ztstack.controller.controller import Controller
from ztstack.controller.openapi import document

TOKEN_HEADER: Final = "X-ZT1-Auth"  # noqa: S105 - the name of the header
DOCUMENT_PATH: Final = "/openapi.json"
MAX_CLIENTS: Final = 64
IDLE_S: Final = 30
STOP_S: Final = 2
_HEAD_BYTES: Final = 64 << 10
_BEARER: Final = "bearer "

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class ServedNode:
    """What the application needs of a node: `soon` tells its loop that there is work."""

    controller: Controller
    now: Callable[[], int]
    soon: Callable[[], None]
    status: Callable[[], Mapping[str, object]]


def application(node: ServedNode, token: str) -> Starlette:
    """Return the application; nothing of it is told to who does not know the token."""

    async def describe(request: Request) -> Response:
        del request
        return _response(Answer(200, document(node.controller.address)))

    async def status(request: Request) -> Response:
        del request
        return _response(Answer(200, node.status()))

    return Starlette(
        routes=[
            Route("/status", status, methods=["GET"]),
            Route(DOCUMENT_PATH, describe, methods=["GET"]),
            *(
                Route(path, _endpoint(node, at_path), methods=list(at_path))
                for path, at_path in _by_path().items()
            ),
        ],
        middleware=[Middleware(_Guard, token=token)],
        exception_handlers={HTTPException: _problem},
    )


def _by_path() -> dict[str, dict[str, Operation]]:
    """Return the operations of each path by their methods."""
    found: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        found.setdefault(operation.path, {})[operation.method] = operation
    return found


def _endpoint(node: ServedNode, operations: Mapping[str, Operation]) -> Endpoint:
    async def answer(request: Request) -> Response:
        operation = operations["GET" if request.method == "HEAD" else request.method]
        body = await _body(request) if operation.has_body else b""
        now = node.now()
        made = perform(operation, node.controller, now, request.path_params, body)
        node.soon()
        return _response(made)

    return answer


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"a body has at most {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _response(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        json.dumps(answer.body) + "\n",
        answer.status,
        {**(headers or {}), "Cache-Control": "no-store"},
        "application/json",
    )


def _problem(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    return _response(Answer(error.status_code, {"error": error.detail}), error.headers)


class _Guard:
    """Lets through who knows the token: in a header, in the query, or as a bearer."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if not self._knows(Request(scope)):
            answer = Answer(401, {"error": f"the header {TOKEN_HEADER} is not the token"})
            await _response(answer)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, request: Request) -> bool:
        bearer = request.headers.get("Authorization", "")
        given = [
            *request.headers.getlist(TOKEN_HEADER),
            *request.query_params.getlist("auth"),
            *([bearer[len(_BEARER) :].strip()] if bearer.lower().startswith(_BEARER) else []),
        ]
        return any(
            secrets.compare_digest(one.encode("utf-8", "replace"), self._token) for one in given
        )


class _Server(uvicorn.Server):
    """Uvicorn inside a loop whose signals are somebody else's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


class HttpServer:
    """Serves an application on a socket that listens."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._listener = listener
        self._server = _Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",  # Garbage from a client is not worth a line.
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MAX_CLIENTS,
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=STOP_S,
                h11_max_incomplete_event_size=_HEAD_BYTES,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._server.serve([self._listener]))
        up = asyncio.create_task(self._server.is_up.wait())
        try:
            await asyncio.wait((self._task, up), return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait((self._task,))
            self._task = None
