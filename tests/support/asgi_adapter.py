"""An ASGI application for `requests`, in this thread and without a socket."""

from __future__ import annotations

import asyncio
import io
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter
from starlette.types import ASGIApp, Message
from urllib3 import HTTPHeaderDict, HTTPResponse

BASE_URL = "http://127.0.0.1:80"


class AsgiAdapter(BaseAdapter):
    """Gives each request to the application, as a server on BASE_URL would."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self.app = app
        self._runner = asyncio.Runner()

    def send(
        self, request: requests.PreparedRequest, *_: object, **__: object
    ) -> requests.Response:
        body = request.body or b""
        assert isinstance(body, str | bytes)
        data = body.encode() if isinstance(body, str) else body
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": data}

        async def take(message: Message) -> None:
            sent.append(message)

        async def answer() -> None:
            await self.app(_scope(request), receive, take)

        self._runner.run(answer())
        return _response(request, sent)

    def close(self) -> None:
        self._runner.close()


def _scope(request: requests.PreparedRequest) -> dict[str, Any]:
    parts = urlsplit(str(request.url))
    headers = [(b"host", parts.netloc.encode())]
    headers += [(k.lower().encode("latin-1"), _octets(v)) for k, v in request.headers.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": parts.scheme,
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "root_path": "",
        "query_string": parts.query.encode(),
        "headers": headers,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }


def _octets(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


def _response(request: requests.PreparedRequest, sent: list[Message]) -> requests.Response:
    head, *parts = sent
    headers = HTTPHeaderDict()
    for key, value in head["headers"]:
        headers.add(key.decode("latin-1"), value.decode("latin-1"))
    response = requests.Response()
    response.status_code = head["status"]
    response.headers.update(headers)
    response.encoding = "utf-8"
    response.url = str(request.url)
    response.request = request
    body = b"".join(part.get("body", b"") for part in parts)
    response.raw = HTTPResponse(
        io.BytesIO(body), headers, head["status"], preload_content=False, version=11
    )
    return response


def session(app: ASGIApp) -> requests.Session:
    """Return a session all of whose requests go to the application."""
    made = requests.Session()
    made.trust_env = False
    made.mount("http://", AsgiAdapter(app))
    return made
