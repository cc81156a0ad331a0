"""Connections of the operating system."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from ztcli.local import LocalStream


def test_a_connection_that_was_reset_before_it_was_ours() -> None:
    async def run() -> LocalStream:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        stream = LocalStream(*await asyncio.open_connection(sock=ours))
        with pytest.raises(ConnectionResetError):
            await stream.receive()
        await stream.close()
        return stream

    assert asyncio.run(run()).remote == ("gone", 0)
