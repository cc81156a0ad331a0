"""Descriptors read and written beside the loop."""

from __future__ import annotations

import asyncio
import os
import pty
import threading
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ztcli.stdio import CHUNK, InputReader, OutputWriter

CONTENT = bytes(range(256)) * 20_000


@dataclass
class Ends:
    """A pipe, or a terminal, by its two ends."""

    read: int
    write: int

    def close_write(self) -> None:
        os.close(self.write)
        self.write = -1


@pytest.fixture
def pipe() -> Iterator[Ends]:
    ends = Ends(*os.pipe())
    yield ends
    os.close(ends.read)
    if ends.write >= 0:
        os.close(ends.write)


@pytest.fixture
def terminal() -> Iterator[Ends]:
    ends = Ends(*reversed(pty.openpty()))
    tty.setraw(ends.read)
    yield ends
    os.close(ends.read)
    os.close(ends.write)


def write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def test_a_full_pipe_gets_the_rest_later_and_in_order(pipe: Ends) -> None:
    got = bytearray()

    def drain() -> None:
        while part := os.read(pipe.read, 10_000):
            got.extend(part)

    async def run() -> None:
        writer = OutputWriter(pipe.write)
        view = memoryview(CONTENT)
        cuts = range(0, len(CONTENT), 2760)
        await writer.write([view[at : at + 2760] for at in cuts[:300]])
        thread.start()
        await writer.write([view[at : at + 2760] for at in cuts[300:]])
        pipe.close_write()

    thread = threading.Thread(target=drain)
    asyncio.run(run())
    thread.join()
    assert got == CONTENT


def test_what_a_file_holds_is_there_at_once(tmp_path: Path) -> None:
    name = tmp_path / "file"
    name.write_bytes(CONTENT)

    async def run() -> bytes:
        descriptor = os.open(name, os.O_RDONLY)
        try:
            reader = InputReader(descriptor)
            got = b""
            while part := await reader.read():
                assert len(part) <= CHUNK
                got += part
            assert reader.read_now() == b""
            return got
        finally:
            os.close(descriptor)

    assert asyncio.run(run()) == CONTENT


def test_a_read_that_was_given_up_loses_nothing(pipe: Ends) -> None:
    async def run() -> bytes:
        reader = InputReader(pipe.read)
        assert reader.read_now() is None
        waiting = asyncio.create_task(reader.read())
        await asyncio.sleep(0)
        waiting.cancel()
        assert reader.is_waiting
        writer = threading.Thread(target=write_all, args=(pipe.write, CONTENT))
        writer.start()
        got = b""
        while len(got) < len(CONTENT):
            got += await reader.read()
        writer.join()
        pipe.close_write()
        assert await reader.read() == b""
        return got

    assert asyncio.run(run()) == CONTENT


def test_a_terminal_is_read_ahead(terminal: Ends) -> None:
    async def run() -> bytes:
        reader = InputReader(terminal.read)
        writer = threading.Thread(target=write_all, args=(terminal.write, CONTENT[:50_000]))
        writer.start()
        got = b""
        while len(got) < 50_000:
            got += await reader.read()
        writer.join()
        return got

    assert asyncio.run(run()) == CONTENT[:50_000]
