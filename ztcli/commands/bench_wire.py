"""What the two ends of zt bench say to each other.

A client begins with a question of fixed size; the host says its magic word and does what the
question says: it counts what it receives, sends, or returns what it gets. Datagrams go beside the
stream, which says where they go and what became of them.
"""

from __future__ import annotations

import asyncio
import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ztcli.engine import Datagrams, Stream
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.options import LINGER_S

MAGIC: Final = b"ZTB2"
QUESTION: Final = struct.Struct(">4sBxHQQQ")
"""Magic word, what to do, the asker's UDP port, for how many milliseconds, how many bytes, and how
many bytes a second; 0 is no limit."""
REPORT: Final = struct.Struct(">Q")
"""How many bytes or datagrams the sayer received or sent."""
PORT: Final = struct.Struct(">H")
"""Where the host wants datagrams."""
ARRIVALS: Final = struct.Struct(">QQQd")
"""Datagrams, bytes, datagrams that others overtook, and the jitter in milliseconds."""
STAMP: Final = struct.Struct(">QQ")
"""What a datagram begins with: its number, and when it was sent, in microseconds."""
DATAGRAM_BYTES: Final = 1400
SILENCE_S: Final = 30.0
_BLOCK: Final = 256 * 1024
_LEAST_BLOCK: Final = 1024
_PACES: Final = 50
_LEAST_WAIT_S: Final = 0.002
_STRAGGLERS_S: Final = 0.5


class Mode(IntEnum):
    """What the host does."""

    COUNT = 1
    SEND = 2
    RETURN = 3
    COUNT_DATAGRAMS = 4
    SEND_DATAGRAMS = 5


def foreign() -> CommandError:
    return CommandError("the other end does not speak zt bench", ExitCode.CONNECTION_LOST)


@dataclass(slots=True)
class Tally:
    """Bytes that went through until now."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is sent: for how long, how many bytes, how many a second; None is no limit."""

    seconds: float | None
    count: int | None = None
    rate: float | None = None


@dataclass(slots=True)
class Arrivals:
    """Datagrams that arrived; the jitter is that of RFC 3550."""

    count: int = 0
    size: int = 0
    late: int = 0
    jitter_ms: float = 0.0
    _highest: int = -1
    _transit: int | None = None

    def take(self, now_us: int, data: bytes) -> None:
        if len(data) < STAMP.size:
            return
        number, sent_us = STAMP.unpack_from(data)
        self.count += 1
        self.size += len(data)
        if number < self._highest:
            self.late += 1
        self._highest = max(self._highest, number)
        transit = now_us - sent_us
        if self._transit is not None:
            self.jitter_ms += (abs(transit - self._transit) / 1000 - self.jitter_ms) / 16
        self._transit = transit

    def pack(self) -> bytes:
        return ARRIVALS.pack(self.count, self.size, self.late, self.jitter_ms)


async def drain(stream: Stream, tally: Tally | None = None) -> int:
    """Receive to the end, and return how many bytes there were."""
    tally = tally or Tally()
    while True:
        async with asyncio.timeout(SILENCE_S):
            views = await stream.receive_views()
        if not views:
            return tally.count
        tally.count += sum(map(len, views))


async def fill(stream: Stream, amount: Amount, tally: Tally) -> None:
    """Send noise, which no compression makes smaller."""
    loop = asyncio.get_running_loop()
    size = _BLOCK
    if amount.rate is not None:
        size = min(max(int(amount.rate / _PACES), _LEAST_BLOCK), _BLOCK)
    block = memoryview(os.urandom(size))
    begin = loop.time()
    while amount.count is None or tally.count < amount.count:
        if amount.seconds is not None and loop.time() - begin >= amount.seconds:
            return
        part = block if amount.count is None else block[: amount.count - tally.count]
        async with asyncio.timeout(SILENCE_S):
            await stream.send(part)
        tally.count += len(part)
        await _pace(amount.rate, begin, tally.count)


async def _pace(rate: float | None, begin: float, count: int) -> None:
    """Wait until so many bytes are due; what is due within a moment is sent at once."""
    if rate is None:
        return
    ahead = begin + count / rate - asyncio.get_running_loop().time()
    if ahead > _LEAST_WAIT_S:
        await asyncio.sleep(ahead)


async def shoot(endpoint: Datagrams, to: tuple[str, int], amount: Amount, tally: Tally) -> int:
    """Send datagrams at a rate; return how many."""
    loop = asyncio.get_running_loop()
    noise = os.urandom(DATAGRAM_BYTES - STAMP.size)
    begin, number = loop.time(), 0
    while amount.count is None or tally.count < amount.count:
        if amount.seconds is not None and loop.time() - begin >= amount.seconds:
            break
        stamp = STAMP.pack(number, int(loop.time() * 1_000_000))
        await endpoint.send(stamp + noise, *to)
        number += 1
        tally.count += DATAGRAM_BYTES
        await _pace(amount.rate, begin, tally.count)
    return number


async def catch(
    endpoint: Datagrams, arrivals: Arrivals, said: asyncio.Future[int], tally: Tally
) -> None:
    """Take datagrams until all that were sent, as is said at last, are here or late."""
    loop = asyncio.get_running_loop()
    while not said.done() or arrivals.count < said.result():
        try:
            async with asyncio.timeout(_STRAGGLERS_S):
                data, _, _ = await endpoint.receive()
        except TimeoutError:
            if said.done():
                return
            continue
        arrivals.take(int(loop.time() * 1_000_000), data)
        tally.count = arrivals.size


async def end(stream: Stream) -> None:
    await stream.send_eof()
    await stream.wait_sent(LINGER_S)
    await stream.close()
