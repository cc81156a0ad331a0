"""A stream whose first bytes are looked at before somebody receives them."""

from __future__ import annotations

from ztcli.engine import Stream


class PeekedStream:
    """A stream whose first bytes were looked at and are still to be received."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.peeked = b""
        self._ended = False
        self.local = stream.local
        self.remote = stream.remote
        self.send = stream.send
        self.send_eof = stream.send_eof
        self.wait_sent = stream.wait_sent
        self.close = stream.close
        self.abort = stream.abort

    @property
    def remote_name(self) -> str:
        return self._stream.remote_name

    @property
    def network_name(self) -> str:
        return self._stream.network_name

    @property
    def path(self) -> str:
        return self._stream.path

    async def peek(self, count: int) -> None:
        while len(self.peeked) < count and not self._ended:
            data = await self._stream.receive()
            self.peeked += data
            self._ended = not data

    async def exactly(self, count: int) -> bytes:
        """Receive so many bytes, or fewer if the peer ends before."""
        await self.peek(count)
        return await self.receive(count) if count else b""

    async def receive(self, limit: int = 1 << 20) -> bytes:
        if self.peeked:
            data, self.peeked = self.peeked[:limit], self.peeked[limit:]
            return data
        return b"" if self._ended else await self._stream.receive(limit)

    async def receive_views(self, limit: int = 1 << 20) -> list[memoryview]:
        if self.peeked or self._ended:
            data = await self.receive(limit)
            return [memoryview(data)] if data else []
        return await self._stream.receive_views(limit)
