"""Joins a stream with a source and a sink: half-close, idle limit, the end.

The contract: the end of the input is a FIN after all bytes, and reading goes on. The peer's FIN
ends the call once our input is idle. A reset is never success.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from ztcli.engine import Stream
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.options import LINGER_S
from ztcli.stdio import Discard, NoInput, Sink, Source

SETTLE_S: Final = 0.05
"""How long an input is watched that never said anything, once the peer has ended."""
IDLE_INPUT_S: Final = 1.0
"""The same for an input that did."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How a stream is joined."""

    shutdown: bool = True
    keep_sending: bool = False
    hold_empty: bool = False
    idle_timeout: float | None = None
    linger: float | None = LINGER_S
    crlf: bool = False
    delay: float | None = None


class Pump:
    """One stream, joined with a source and a sink."""

    def __init__(self, stream: Stream, source: Source, sink: Sink, manners: Manners) -> None:
        self._stream = stream
        self._source = source
        self._sink = sink
        self._manners = manners
        self._loop = asyncio.get_running_loop()
        self._active = self._loop.time()
        self._input_active = 0.0
        self._peer_ended = asyncio.Event()
        self._sending = False
        self.sent = 0
        self.received = 0

    async def run(self) -> None:
        """Return when both directions ended in order; raise otherwise, the stream reset."""
        try:
            async with asyncio.TaskGroup() as group:
                watch = None
                if self._manners.idle_timeout is not None:
                    watch = group.create_task(self._watch(self._manners.idle_timeout))
                group.create_task(self._join(watch))
        except BaseException:
            self._stream.abort()
            raise
        await self._stream.close()

    async def _join(self, watch: asyncio.Task[None] | None) -> None:
        sending = asyncio.create_task(self._send())
        receiving = asyncio.create_task(self._receive())
        try:
            await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_EXCEPTION)
            if sending.done() and isinstance(sending.exception(), OSError):
                # What arrived before the reset is still to be written out.
                await asyncio.wait((receiving,), timeout=self._manners.linger)
            for task in (receiving, sending):
                if task.done():
                    task.result()
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.wait((sending, receiving))
        if watch is not None:
            watch.cancel()
        try:
            await self._stream.wait_sent(self._manners.linger)
        except TimeoutError:
            raise CommandError(
                "the peer did not acknowledge all that was sent", ExitCode.CONNECTION_LOST
            ) from None

    # Sending.

    async def _send(self) -> None:
        ended = await self._send_input()
        manners = self._manners
        if ended and (not manners.shutdown or (manners.hold_empty and not self.sent)):
            await self._peer_ended.wait()
        await self._stream.send_eof()

    async def _send_input(self) -> bool:
        """Send the input; False means that the peer ended first and the input was left."""
        reading: asyncio.Task[bytes] | None = None
        try:
            while True:
                chunk = self._source.read_now()
                if chunk is None:
                    reading = asyncio.create_task(self._source.read())
                    if not await self._has_input(reading):
                        return False
                    chunk = reading.result()
                    reading = None
                if not chunk:
                    return True
                if self._manners.crlf:
                    chunk = chunk.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
                await self._send_chunk(chunk)
        finally:
            if reading is not None:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading

    async def _send_chunk(self, chunk: bytes) -> None:
        if self._manners.delay is None:
            await self._send_bytes(chunk)
            return
        for line in chunk.splitlines(keepends=True):
            await self._send_bytes(line)
            await asyncio.sleep(self._manners.delay)

    async def _send_bytes(self, data: bytes) -> None:
        await self._stream.send(data)
        self.sent += len(data)
        self._active = self._input_active = self._loop.time()

    async def _has_input(self, reading: asyncio.Task[bytes]) -> bool:
        """Wait for the input; False if the peer has ended and the input is idle."""
        if reading.done():
            return True
        ended = asyncio.create_task(self._peer_ended.wait())
        try:
            await asyncio.wait((reading, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        while not reading.done():
            if self._manners.keep_sending or not self._source.is_waiting:
                await asyncio.wait((reading,), timeout=SETTLE_S)
                continue
            limit = SETTLE_S
            if self.sent:
                limit = max(SETTLE_S, self._input_active + IDLE_INPUT_S - self._loop.time())
            await asyncio.wait((reading,), timeout=limit)
            if not reading.done() and self._source.is_waiting:
                return False
        return True

    # Receiving.

    async def _receive(self) -> None:
        while True:
            views = await self._stream.receive_views()
            if not views:
                break
            self._active = self._loop.time()
            await self._sink.write(views)
            self.received += sum(map(len, views))
            self._active = self._loop.time()
        await self._sink.end()
        self._peer_ended.set()

    async def _watch(self, limit: float) -> None:
        while True:
            rest = self._active + limit - self._loop.time()
            if rest <= 0:
                raise CommandError(
                    f"nothing was sent or received in {limit:g} s", ExitCode.TIMED_OUT
                )
            await asyncio.sleep(rest)


async def join(stream: Stream, source: Source | None, sink: Sink | None, manners: Manners) -> Pump:
    """Join a stream with a source and a sink until both directions ended."""
    pump = Pump(stream, source or NoInput(), sink or Discard(), manners)
    await pump.run()
    return pump
