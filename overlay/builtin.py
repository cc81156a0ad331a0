"""A peer in the same process that answers on every port, so that commands can be tried alone.

A stream that begins with an HTTP request gets `ok`, any other its own bytes back; so does a
datagram, and `ping` gets `pong`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Final, Self

from overlay.config import NodeConfig
from overlay.datagrams import Datagrams
from overlay.errors import Closed, OverlayError
from overlay.memory import MemoryNetwork
from overlay.messages import Kind, node_text
from overlay.node import Node
from overlay.tcp import Listener, Stream

BUILTIN_NODE: Final = 0xEC40EC40EC
BUILTIN_NAME: Final = "builtin"
MAX_PORTS: Final = 64
MAX_STREAMS: Final = 256
IDLE_S: Final = 60.0
_REQUEST: Final = re.compile(rb"([A-Z]{3,16}) [^\r\n]{1,8000} HTTP/1\.[01]\r?\n")
_MOST: Final = 64 * 1024
_LENGTH: Final = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,18})[ \t]*\r?$")
_BODY: Final = b"ok\n"


class BuiltinPeer:
    """The peer `ec40ec40ec` on a link in memory; also entered as a context."""

    address = node_text(BUILTIN_NODE)

    def __init__(self, memory: MemoryNetwork, networks: tuple[int, ...]) -> None:
        self._node = Node(NodeConfig(networks=networks, node=BUILTIN_NODE, memory=memory))
        self._tasks: set[asyncio.Task[None]] = set()
        self._ports = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    async def start(self) -> None:
        await self._node.start()
        self._node.serve_on_demand(self._serve)

    async def stop(self) -> None:
        self._node.serve_on_demand(None)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._node.stop()

    def _serve(self, kind: Kind, port: int) -> None:
        if self._ports < MAX_PORTS:
            self._ports += 1
            if kind is Kind.TCP:
                self._run(self._accept(self._node.listen_now(port)))
            else:
                self._run(self._answer_datagrams(self._node.datagram_now(port)))

    def _run(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: Listener) -> None:
        async for stream in listener:
            if len(self._tasks) < MAX_STREAMS:
                self._run(self._answer(stream))
            else:
                stream.abort()

    async def _answer(self, stream: Stream) -> None:
        try:
            async with asyncio.timeout(IDLE_S) as limit:
                head = await _read_head(stream)
                if _REQUEST.match(head):
                    await _answer_http(stream, head)
                else:
                    await stream.send(head)
                    while data := await stream.receive():
                        limit.reschedule(asyncio.get_running_loop().time() + IDLE_S)
                        await stream.send(data)
                await stream.send_eof()
                await stream.wait_sent()
                await stream.close()
        except (OSError, OverlayError, TimeoutError):
            stream.abort()

    @staticmethod
    async def _answer_datagrams(endpoint: Datagrams) -> None:
        with contextlib.suppress(Closed):
            while True:
                data, (host, port), _ = await endpoint.receive()
                with contextlib.suppress(OSError):
                    await endpoint.send(b"pong" if data == b"ping" else data, host, port)


async def _read_head(stream: Stream) -> bytes:
    """Read until it is clear whether this is HTTP, and then to the end of the headers."""
    head = b""
    while len(head) < _MOST:
        data = await stream.receive()
        head += data
        first, newline, _ = head.partition(b"\n")
        if not data or (not newline and not re.match(rb"[A-Z]{1,16}( |$)", first[:17])):
            return head
        if newline and not _REQUEST.match(head):
            return head
        if b"\r\n\r\n" in head or b"\n\n" in head:
            return head
    return head


async def _answer_http(stream: Stream, head: bytes) -> None:
    headers, _, body = head.replace(b"\r\n", b"\n").partition(b"\n\n")
    found = _LENGTH.search(headers)
    rest = int(found[1]) - len(body) if found else 0
    while rest > 0:
        data = await stream.receive()
        if not data:
            break
        rest -= len(data)
    is_head = head.startswith(b"HEAD ")
    length = f"Content-Length: {len(_BODY)}\r\n".encode()
    await stream.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        + length
        + b"\r\n"
        + (b"" if is_head else _BODY)
    )
