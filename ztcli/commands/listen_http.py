"""The HTTP half of zt listen: one answer for everybody, or the files of a folder."""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import unquote, urlsplit

import h11

from ztcli import parsing
from ztcli.commands.listen_options import ListenOptions
from ztcli.engine import Stream
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem
from ztcli.options import LINGER_S, Settings
from ztcli.output.records import print_event

IDLE_S: Final = 60.0
_READ: Final = 256 * 1024
_CHUNK: Final = 256 * 1024
_OWN_HEADERS: Final = frozenset(("content-length", "transfer-encoding", "connection"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent for one request."""

    status: int
    headers: tuple[tuple[str, str], ...]
    length: int
    parts: Iterator[bytes]


def _fill(count: int) -> Iterator[bytes]:
    block = b"a" * min(count, _CHUNK)
    while count > 0:
        part = block[:count]
        count -= len(part)
        yield part


def _file_parts(stream: IO[bytes]) -> Iterator[bytes]:
    with stream:
        while part := stream.read(_CHUNK):
            yield part


class HttpServer:
    """Answers requests as the options say."""

    def __init__(
        self,
        env: Environment,
        settings: Settings,
        options: ListenOptions,
        body_bytes: int | None,
    ) -> None:
        self._env = env
        self._settings = settings
        self._status = options.status or 200
        self._headers = tuple(parsing.header(text) for text in options.header or ())
        if any(name.lower() in _OWN_HEADERS for name, _ in self._headers):
            raise UsageProblem("Content-Length, Transfer-Encoding and Connection are ours to say")
        self._body_bytes = body_bytes
        self._body = _body(options.body)
        self._folder = _folder(options.dir, "--dir")
        self._save = _folder(options.save, "--save")
        self._saved = 0

    async def serve(self, stream: Stream, idle: float | None) -> None:
        """Read one request with its body, answer it, and close."""
        connection = h11.Connection(h11.SERVER)
        limit = idle if idle is not None else IDLE_S
        try:
            request = await self._request(stream, connection, limit)
            if request is None:
                await stream.close()
                return
            received = await self._read_body(stream, connection, limit)
        except h11.RemoteProtocolError as error:
            await self._refuse(stream, connection, error.error_status_hint)
            return
        answer = self._answer(request)
        sent = await self._send(stream, connection, request, answer)
        await stream.send_eof()
        with contextlib.suppress(TimeoutError):
            await stream.wait_sent(LINGER_S)
        await stream.close()
        self._log(stream, request, answer.status, sent, received)

    async def _request(
        self, stream: Stream, connection: h11.Connection, limit: float
    ) -> h11.Request | None:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                await self._feed(stream, connection, limit)
            elif isinstance(event, h11.Request):
                return event
            else:
                return None

    async def _feed(self, stream: Stream, connection: h11.Connection, limit: float) -> None:
        if connection.they_are_waiting_for_100_continue:
            proceed = h11.InformationalResponse(status_code=100, headers=[])
            data = connection.send(proceed)
            await stream.send(data or b"")
        async with asyncio.timeout(limit):
            connection.receive_data(await stream.receive(_READ))

    async def _read_body(self, stream: Stream, connection: h11.Connection, limit: float) -> int:
        count = 0
        with contextlib.ExitStack() as stack:
            target: IO[bytes] | None = None
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    await self._feed(stream, connection, limit)
                elif isinstance(event, h11.Data):
                    if self._save is not None:
                        if target is None:
                            target = stack.enter_context(self._new_file(self._save))
                        target.write(event.data)
                    count += len(event.data)
                else:
                    return count

    def _new_file(self, folder: Path) -> IO[bytes]:
        while True:
            self._saved += 1
            with contextlib.suppress(FileExistsError):
                return (folder / f"request-{self._saved:04}").open("xb")

    def _answer(self, request: h11.Request) -> Answer:
        if self._folder is not None:
            return self._file(request, self._folder)
        kind = "text/plain; charset=utf-8"
        if self._body_bytes:
            kind = "application/octet-stream"
            parts, length = _fill(self._body_bytes), self._body_bytes
        else:
            body = self._body if self._body is not None else b"ok\n"
            parts, length = iter([body]), len(body)
        if self._status in (204, 304):
            parts, length = iter(()), 0
        return Answer(self._status, (*self._typed(kind), *self._headers), length, parts)

    def _typed(self, kind: str) -> tuple[tuple[str, str], ...]:
        given = any(name.lower() == "content-type" for name, _ in self._headers)
        return () if given else (("Content-Type", kind),)

    def _file(self, request: h11.Request, folder: Path) -> Answer:
        if request.method not in (b"GET", b"HEAD"):
            return _plain(405, "only GET and HEAD\n", (("Allow", "GET, HEAD"),))
        path = unquote(urlsplit(request.target.decode("ascii", "replace")).path)
        wanted = (folder / path.lstrip("/")).resolve()
        if wanted.is_dir():
            wanted = (wanted / "index.html").resolve()
        # Links out of the folder and `..` end here: what is served is what is shown.
        if not wanted.is_relative_to(folder) or not wanted.is_file():
            return _plain(404, "not found\n")
        try:
            stream = wanted.open("rb")
        except OSError:
            return _plain(403, "cannot be read\n")
        kind = mimetypes.guess_type(wanted.name)[0] or "application/octet-stream"
        headers = (("Content-Type", kind), *self._headers)
        return Answer(200, headers, wanted.stat().st_size, _file_parts(stream))

    async def _send(
        self, stream: Stream, connection: h11.Connection, request: h11.Request, answer: Answer
    ) -> int:
        headers = [*answer.headers, ("Connection", "close")]
        if answer.status not in (204, 304):
            headers.append(("Content-Length", str(answer.length)))
        response = h11.Response(status_code=answer.status, headers=headers)
        await stream.send(connection.send(response) or b"")
        sent = 0
        if request.method != b"HEAD":
            for part in answer.parts:
                await stream.send(connection.send(h11.Data(data=part)) or b"")
                sent += len(part)
        await stream.send(connection.send(h11.EndOfMessage()) or b"")
        return sent

    async def _refuse(self, stream: Stream, connection: h11.Connection, status: int) -> None:
        if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = h11.Response(
                status_code=status, headers=[("Content-Length", "0"), ("Connection", "close")]
            )
            await stream.send(connection.send(response) or b"")
        await stream.send_eof()
        await stream.close()
        self._env.say(f"{stream.remote[0]}: not HTTP")

    def _log(
        self, stream: Stream, request: h11.Request, status: int, sent: int, received: int
    ) -> None:
        host, _ = stream.remote
        method, target = request.method.decode(), request.target.decode("ascii", "replace")
        if self._settings.verbose:
            for name, value in request.headers:
                self._env.say(f"> {name.decode()}: {value.decode('latin-1')}")
        if self._settings.json:
            values: dict[str, object] = {
                "remote": host,
                "node": stream.remote_name,
                "method": method,
                "target": target,
                "status": status,
                "sent": sent,
                "received": received,
            }
            print_event(self._env, "request", values)
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._env.print(f"{stamp} {host} {method} {target} {status} {sent}")


def _plain(status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    body = text.encode()
    kind = ("Content-Type", "text/plain; charset=utf-8")
    return Answer(status, (kind, *headers), len(body), iter([body]))


def _body(text: str | None) -> bytes | None:
    if text is None or not text.startswith("@"):
        return text.encode() if text is not None else None
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise CommandError(f"{text[1:]}: {error.strerror}", ExitCode.CANNOT_READ) from error


def _folder(text: str | None, option: str) -> Path | None:
    if text is None:
        return None
    folder = Path(text).resolve()
    if not folder.is_dir():
        raise UsageProblem(f"{option} {text}: is no folder")
    return folder
