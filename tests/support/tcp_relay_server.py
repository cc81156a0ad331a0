"""A TCP relay: records of clients become UDP datagrams, and the other way round (vl1 6.16).

`python -m tests.support.tcp_relay_server IP PORT` runs one until it is ended.
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
import sys
from dataclasses import dataclass, field

_RECORD = b"\x17\x03\x03"
_SHORTEST, _LONGEST = 16, 2047
_FIRST_PORT = 1025
_IDLE_SECONDS = 300.0
_QUEUE_BYTES = 1 << 20


class _Outside(asyncio.DatagramProtocol):
    """The UDP socket of one client."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        queued = self._writer.transport.get_write_buffer_size()
        if not _SHORTEST <= len(data) <= _LONGEST or queued > _QUEUE_BYTES:
            return
        ip = ipaddress.ip_address(addr[0]).packed
        self._writer.write(_RECORD + struct.pack("!HB4sH", 7 + len(data), 4, ip, addr[1]) + data)


@dataclass(slots=True)
class RelayServer:
    """Counts what it forwards; `greetings` are the first messages of the clients."""

    ip: str = "127.0.0.1"
    port: int = 0
    outward: int = 0
    greetings: list[bytes] = field(default_factory=list)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    server: asyncio.Server | None = None

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, self.ip, self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the door and cut every client off."""
        if self.server is not None:
            self.server.close()
            self.cut()
            await self.server.wait_closed()
            self.server = None

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        loop = asyncio.get_running_loop()
        outside, _ = await loop.create_datagram_endpoint(
            lambda: _Outside(writer), local_addr=(self.ip, 0)
        )
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    head = await reader.readexactly(5)
                    payload = await reader.readexactly(int.from_bytes(head[3:], "big"))
                if not head.startswith(_RECORD):
                    break
                self._forward(outside, payload)
        except (OSError, asyncio.IncompleteReadError):
            pass  # The client went away, or was silent for too long.
        finally:
            outside.close()
            writer.close()
            self.writers.discard(writer)

    def _forward(self, outside: asyncio.DatagramTransport, payload: bytes) -> None:
        if len(payload) == 4:
            self.greetings.append(payload)
        elif payload and payload[0] == 4:
            ip, port = struct.unpack_from("!4sH", payload, 1)
            data = payload[7:]
            if port >= _FIRST_PORT and _SHORTEST <= len(data) <= _LONGEST:
                self.outward += 1
                outside.sendto(data, (str(ipaddress.ip_address(ip)), port))


async def _main(ip: str, port: int) -> None:
    relay = RelayServer(ip, port)
    await relay.start()
    print("ready", flush=True)  # noqa: T201 - the word that the test waits for
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
