"""Traffic for bonded links: a source and a sink, each a program that speaks JSON lines.

    python -m tests.support.bond_traffic sink TCP_PORT UDP_PORT
    python -m tests.support.bond_traffic source

Times are of the machine's monotonic clock, which all its namespaces share.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

_BIN_MS: Final = 5
_BLOCK: Final = 1 << 16
_REPLIES_S: Final = 5.0

Values = dict[str, Any]


def bytes_of(seed: int, count: int) -> bytes:
    """Return what a stream of the source carries."""
    block = random.Random(seed).randbytes(min(count, 1 << 20))
    return (block * (count // max(len(block), 1) + 1))[:count]


def answer(values: Values) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class Sink(asyncio.DatagramProtocol):
    """Takes streams and numbered datagrams, and tells what came when."""

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}
        self._streams: list[Values] = []
        self._datagrams: list[tuple[int, float]] = []

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest, count, whole = hashlib.sha256(), 0, True
        try:
            while data := await reader.read(_BLOCK):
                now = int(time.monotonic() * 1000) // _BIN_MS
                self._bins[now] = self._bins.get(now, 0) + len(data)
                digest.update(data)
                count += len(data)
            writer.write(b"!")
            await writer.drain()
        except ConnectionError:
            whole = False
        finally:
            writer.close()
        self._streams.append({"bytes": count, "sha256": digest.hexdigest(), "whole": whole})

    def datagram_received(self, data: bytes, _remote: object) -> None:
        self._datagrams.append((int(data[:8]), time.monotonic()))

    async def take(self, _command: Values) -> Values:
        """Return what came since the last time."""
        bins = [[at * _BIN_MS / 1000, count] for at, count in sorted(self._bins.items())]
        found = {"bins": bins, "streams": self._streams, "datagrams": self._datagrams}
        self._bins, self._streams, self._datagrams = {}, [], []
        return found


class Replies(asyncio.DatagramProtocol):
    """What comes back to the sockets of the source."""

    def __init__(self, wanted: int) -> None:
        self.found: list[str] = []
        self._wanted = wanted
        self._different: set[str] = set()
        self._enough = asyncio.Event()

    def datagram_received(self, data: bytes, _remote: object) -> None:
        text = data.decode("ascii", "replace")[:16]
        self.found.append(text)
        self._different.add(text)
        if len(self._different) >= self._wanted:
            self._enough.set()

    async def wait(self) -> None:
        if self._wanted:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REPLIES_S):
                    await self._enough.wait()


class Source:
    """Sends what it is told to."""

    async def streams(self, command: Values) -> Values:
        """Fill streams for a time or with a number of bytes; each waits for the sink's word."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._stream(command, index))
                for index in range(command.get("count", 1))
            ]
        sent = [task.result() for task in tasks]
        return {"began": began, "ended": time.monotonic(), "sent": sent}

    async def _stream(self, command: Values, index: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", command["port"])
        limit = command.get("bytes")
        data = memoryview(bytes_of(command.get("seed", 0) + index, limit or 1 << 20))
        deadline = time.monotonic() + command.get("seconds", 600.0)
        until = asyncio.get_running_loop().time() + command.get("seconds", 600.0)
        sent = at = 0
        while (limit is None or sent < limit) and time.monotonic() < deadline:
            part = data[at : at + _BLOCK]
            writer.write(part)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await writer.drain()
            sent += len(part)
            at = (at + len(part)) % len(data)
        if command.get("abort"):
            # With a reset, what is still on its way is not waited for.
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return sent
        writer.write_eof()
        if await reader.read() != b"!":
            raise ConnectionResetError("a stream ended early")
        writer.close()
        return sent

    async def exchange(self, command: Values) -> Values:
        """Send so many bytes to whoever answers with bytes of its own, and take those."""
        reader, writer = await asyncio.open_connection("127.0.0.1", command["port"])
        data = random.Random(command["seed"]).randbytes(command["bytes"])

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        received = await reader.read()
        await sending
        writer.close()
        return {"received": len(received), "sha256": hashlib.sha256(received).hexdigest()}

    async def datagrams(self, command: Values) -> Values:
        """Send numbered datagrams at a rate, in turn from as many sockets as there are flows."""
        loop = asyncio.get_running_loop()
        remote = ("127.0.0.1", command["port"])
        replies = Replies(command.get("replies", 0))
        flows = [
            (await loop.create_datagram_endpoint(lambda: replies, remote_addr=remote))[0]
            for _ in range(command.get("flows", 1))
        ]
        first, count = command.get("first", 0), command["count"]
        filling = bytes(command.get("size", 100) - 8)
        interval = 1.0 / command.get("rate", 100)
        began = time.monotonic()
        times = []
        for number in range(count):
            await asyncio.sleep(began + number * interval - time.monotonic())
            times.append(time.monotonic())
            flows[number % len(flows)].sendto(b"%08d" % (first + number) + filling)
        ended = time.monotonic()
        await replies.wait()
        for flow in flows:
            flow.close()
        return {"began": began, "ended": ended, "times": times, "replies": replies.found}


Table = dict[str, Callable[[Values], Awaitable[Values]]]


async def serve(table: Table) -> None:
    """Carry out commands, each in a task of its own, until the input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def do(command: Values) -> None:
        try:
            result = await table[command["do"]](command)
        except (OSError, ExceptionGroup) as error:
            result = {"error": repr(error)}
        answer({"tag": command["tag"], **result})

    tasks = set()
    answer({"tag": 0})
    async for line in reader:
        task = asyncio.create_task(do(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def main() -> None:
    if sys.argv[1] == "source":
        source = Source()
        await serve(
            {
                "streams": source.streams,
                "datagrams": source.datagrams,
                "exchange": source.exchange,
            }
        )
        return
    sink = Sink()
    loop = asyncio.get_running_loop()
    tcp, udp = (("127.0.0.1", int(port)) for port in sys.argv[2:4])
    await asyncio.start_server(sink.stream, *tcp, backlog=100)
    await loop.create_datagram_endpoint(lambda: sink, local_addr=udp)
    await serve({"take": sink.take})


if __name__ == "__main__":
    asyncio.run(main())
