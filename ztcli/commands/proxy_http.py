"""The HTTP half of zt proxy: CONNECT, and requests that name a whole URL."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import h11

from ztcli import parsing
from ztcli.engine import Stream
from ztcli.exit_codes import UsageProblem
from ztcli.inside import PAC_PATH
from ztcli.options import LINGER_S
from ztcli.specs import pair

PAC_TYPE: Final = b"application/x-ns-proxy-autoconfig"
_READ: Final = 256 * 1024
# What belongs to one connection, and is not passed on to the next (RFC 9110, 7.6.1).
_HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)

Headers = list[tuple[bytes, bytes]]
Connect = Callable[[str, int], Awaitable[Stream | int]]
"""Opens a stream to a host and port, or tells by which status it cannot."""
Pac = Callable[[str], Awaitable[str]]
"""Makes the script that tells browsers of the proxy at a place."""
Join = Callable[[Stream, Stream], Awaitable[None]]
Admits = Callable[[str, str], bool]
"""Tells whether a user and a password are known."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What a proxy leads to: into the network, and its own script; None admits all, or is none."""

    connect: Connect
    join: Join
    admits: Admits | None
    pac: Pac | None


class _Ended(Exception):
    """The client went away or broke the rules, and was told."""


class HttpProxy:
    """One connection of a client that speaks HTTP; it ends with its first request."""

    def __init__(self, inner: Stream, doors: Doors, *, limit: float, idle: float | None) -> None:
        self._inner = inner
        self._connect = doors.connect
        self._join = doors.join
        self._admits = doors.admits
        self._pac = doors.pac
        self._limit = limit
        self._idle = idle
        self._is_open = True
        self._server = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        try:
            async with asyncio.timeout(self._limit):
                request = await self._request()
            await self._handle(request)
        except _Ended:
            pass
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint, "this is not HTTP")
        if not self._is_open:
            return
        await self._inner.send_eof()
        with contextlib.suppress(TimeoutError):
            await self._inner.wait_sent(LINGER_S)
        await self._inner.close()

    async def _request(self) -> h11.Request:
        while True:
            event = self._server.next_event()
            if event is h11.NEED_DATA:
                self._server.receive_data(await self._inner.receive(_READ))
            elif isinstance(event, h11.Request):
                return event
            else:
                raise _Ended

    async def _handle(self, request: h11.Request) -> None:
        if self._pac is not None and _asks_for_pac(request):
            # A browser has nothing to log in with while it learns where the proxy is.
            text = await self._pac(pair(*self._inner.local))
            await self._answer(200, PAC_TYPE, text.encode())
            return
        if self._admits is not None and not _is_known(request, self._admits):
            demand = [(b"Proxy-Authenticate", b'Basic realm="zt"')]
            raise await self._refuse(407, "who are you?", demand)
        if request.method == b"CONNECT":
            await self._tunnel(request)
            return
        host, port, target = await self._target(request)
        outer = await self._reach(host, port)
        try:
            await self._exchange(request, outer, host, port, target)
        except h11.ProtocolError:
            outer.abort()
            await self._break_off(502, "the server does not speak HTTP")
        except TimeoutError:
            outer.abort()
            await self._break_off(504, "the server is silent")
        except BaseException:
            outer.abort()
            raise
        await outer.close()

    async def _break_off(self, status: int, text: str) -> None:
        if self._server.our_state is h11.SEND_RESPONSE:
            raise await self._refuse(status, text) from None
        # The client has a half of the answer: only a reset tells it so.
        self._inner.abort()
        self._is_open = False

    async def _target(self, request: h11.Request) -> tuple[str, int, bytes]:
        problem = "a proxy wants the whole URL, beginning with http://"
        try:
            url = urlsplit(request.target.decode("ascii", "replace"))
            host, port = url.hostname, url.port or 80
        except ValueError:
            raise await self._refuse(400, problem) from None
        if host is None or url.scheme.lower() != "http":
            raise await self._refuse(400, problem)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        return host, port, path.encode("ascii", "replace")

    async def _tunnel(self, request: h11.Request) -> None:
        try:
            host, port = parsing.host_port(request.target.decode("ascii", "replace"))
        except UsageProblem as problem:
            raise await self._refuse(400, str(problem)) from None
        outer = await self._reach(host, port)
        try:
            while self._server.next_event() is not h11.PAUSED:
                pass
            answer = self._server.send(h11.Response(status_code=200, headers=[])) or b""
            await self._inner.send(answer)
            # Whoever is quick has said something to the other side already.
            early, _ = self._server.trailing_data
            if early:
                await outer.send(early)
        except BaseException:
            outer.abort()
            raise
        self._is_open = False
        await self._join(self._inner, outer)

    async def _reach(self, host: str, port: int) -> Stream:
        found = await self._connect(host, port)
        if isinstance(found, int):
            raise await self._refuse(found, f"{host}:{port} cannot be reached")
        return found

    async def _exchange(
        self, request: h11.Request, outer: Stream, host: str, port: int, target: bytes
    ) -> None:
        client = h11.Connection(h11.CLIENT)
        place = f"[{host}]" if ":" in host else host
        place += "" if port == 80 else f":{port}"
        headers = _passed_on(request.headers, (b"host", b"proxy-authorization"))
        if any(name == b"transfer-encoding" for name, _ in request.headers):
            headers.append((b"Transfer-Encoding", b"chunked"))
        headers = [(b"Host", place.encode()), *headers, (b"Connection", b"close")]
        line = h11.Request(method=request.method, target=target, headers=headers)
        await outer.send(client.send(line) or b"")
        sending = asyncio.create_task(self._send_body(client, outer))
        answering = asyncio.create_task(self._return_answer(client, outer))
        try:
            await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
            refused = sending.done() and sending.exception() is not None
            # A server may answer before it has read all, and then break off.
            if not answering.done():
                await asyncio.wait((answering,), timeout=LINGER_S if refused else None)
        finally:
            sending.cancel()
            answering.cancel()
            await asyncio.wait((sending, answering))
        (sending if answering.cancelled() else answering).result()

    async def _send_body(self, client: h11.Connection, outer: Stream) -> None:
        while True:
            event = self._server.next_event()
            if event is h11.NEED_DATA:
                self._server.receive_data(await self._inner.receive(_READ))
            elif isinstance(event, h11.Data):
                await outer.send(client.send(h11.Data(data=bytes(event.data))) or b"")
            elif isinstance(event, h11.EndOfMessage):
                await outer.send(client.send(h11.EndOfMessage(headers=event.headers)) or b"")
                return
            else:
                return

    async def _return_answer(self, client: h11.Connection, outer: Stream) -> None:
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                async with asyncio.timeout(self._idle):
                    client.receive_data(await outer.receive(_READ))
                continue
            out: h11.Event
            if isinstance(event, h11.InformationalResponse | h11.Response):
                headers = _passed_on(event.headers, ())
                if isinstance(event, h11.Response):
                    headers.append((b"Connection", b"close"))
                out = type(event)(
                    status_code=event.status_code, headers=headers, reason=event.reason
                )
            elif isinstance(event, h11.Data):
                out = h11.Data(data=bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                out = h11.EndOfMessage(headers=event.headers)
            else:
                raise h11.RemoteProtocolError("the server closed without an answer", 502)
            await self._inner.send(self._server.send(out) or b"")
            if isinstance(event, h11.EndOfMessage):
                return

    async def _refuse(
        self, status: int, text: str, more: Iterable[tuple[bytes, bytes]] = ()
    ) -> _Ended:
        """Answer with an error; return what the caller raises to end the connection."""
        if self._server.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = f"zt proxy: {text}\n".encode()
            await self._answer(status, b"text/plain; charset=utf-8", body, more)
        return _Ended()

    async def _answer(
        self, status: int, kind: bytes, body: bytes, more: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        headers = [
            (b"Content-Type", kind),
            (b"Content-Length", str(len(body)).encode()),
            (b"Connection", b"close"),
            *more,
        ]
        response = h11.Response(status_code=status, headers=headers)
        parts = [self._server.send(response), self._server.send(h11.Data(data=body))]
        await self._inner.send(b"".join(part or b"" for part in parts))


def _passed_on(headers: Iterable[tuple[bytes, bytes]], without: tuple[bytes, ...]) -> Headers:
    found = list(headers)
    named = {
        part.strip().lower()
        for name, value in found
        if name == b"connection"
        for part in value.split(b",")
    }
    return [
        (name, value)
        for name, value in found
        if name not in _HOP_BY_HOP
        and name not in named
        and name not in without
        and not name.startswith(b"proxy-")
    ]


def _asks_for_pac(request: h11.Request) -> bool:
    """Tell whether a browser asks us for the script, by our address and not by any name.

    A page that has its own name lead to this machine does not learn what the networks are.
    """
    if request.method != b"GET" or request.target != PAC_PATH.encode():
        return False
    hosts = [value.decode("latin-1") for name, value in request.headers if name == b"host"]
    try:
        host = urlsplit(f"//{''.join(hosts)}").hostname or ""
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _is_known(request: h11.Request, admits: Admits) -> bool:
    for name, value in request.headers:
        if name != b"proxy-authorization":
            continue
        scheme, _, rest = value.partition(b" ")
        if scheme.lower() != b"basic":
            return False
        try:
            text = base64.b64decode(rest.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return False
        user, _, password = text.partition(":")
        return admits(user, password)
    return False
