"""Captures of a node: the frames of its networks, and the datagrams of its UDP sockets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ztstack.aio.pcapng import Direction, LinkType, PcapngFile
from ztstack.base.codec import Writer
from ztstack.base.datagram import Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.frame import Burst, Frame, FrameBatch
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.ip.packets.ipv4 import UDP, Ipv4Packet
from ztstack.ip.packets.ipv6 import Ipv6Packet
from ztstack.ip.packets.udp import UdpDatagram

_SOURCES_LIMIT: Final = 1024


@dataclass(frozen=True, slots=True)
class CaptureFiles:
    """Where to keep what is captured; None captures nothing, and costs nothing.

    `frames` gets the Ethernet frames of every network, an interface for each. `wire` gets the
    datagrams that cross the UDP sockets, under the IP and UDP headers that they have outside.
    """

    frames: Path | None = None
    wire: Path | None = None


class FrameCapture:
    """Writes the frames between the IP hosts of a node and its networks."""

    def __init__(self, path: Path) -> None:
        self._file = PcapngFile(path)
        self._interfaces: dict[NetworkId, int] = {}
        self.close = self._file.close

    def _interface(self, network: NetworkId) -> int:
        number = self._interfaces.get(network)
        if number is None:
            number = self._file.interface(str(network), LinkType.ETHERNET)
            self._interfaces[network] = number
        return number

    def batch_sent(self, now: int, network: NetworkId, source: Mac, batch: FrameBatch) -> None:
        number = self._interface(network)
        head = _ethernet(batch.destination, source, batch.ethertype)
        for header, body in batch.packets:
            self._file.packet(now, number, Direction.OUT, b"".join((head, header, body)))

    def burst_received(
        self, now: int, network: NetworkId, ends: tuple[Mac, Mac], ethertype: int, burst: Burst
    ) -> None:
        number = self._interface(network)
        head = _ethernet(*ends, ethertype)
        for row, length in zip(burst.rows, burst.lengths, strict=True):
            data = b"".join((head, burst.view[row : row + length]))
            self._file.packet(now, number, Direction.IN, data)

    def frame_received(self, now: int, network: NetworkId, frame: Frame) -> None:
        head = _ethernet(frame.destination, frame.source, frame.ethertype)
        self._file.packet(now, self._interface(network), Direction.IN, head + frame.payload)


class WireCapture:
    """Writes datagrams under headers made from the endpoints that they went between."""

    def __init__(self, path: Path, now: Callable[[], int]) -> None:
        self._file = PcapngFile(path)
        self._now = now
        self._interface = self._file.interface("udp", LinkType.RAW_IP)
        self._sources: dict[bytes, bytes] = {}
        self.close = self._file.close

    def sent(self, local: Endpoint, datagram: Datagram) -> None:
        """Write what a socket took: one datagram or a train of them."""
        data, step = datagram.data, datagram.segment or len(datagram.data)
        source = self._local(local, datagram.remote)
        now = self._now()
        for start in range(0, len(data), step):
            packet = _packet(source, datagram.remote, bytes(data[start : start + step]))
            self._file.packet(now, self._interface, Direction.OUT, packet)

    def received(self, local: Endpoint, remote: Endpoint, view: memoryview, step: int) -> None:
        """Write what a socket gave: datagrams of `step` bytes, the last perhaps shorter."""
        here = self._local(local, remote)
        now = self._now()
        for start in range(0, len(view), step):
            packet = _packet(remote, here, bytes(view[start : start + step]))
            self._file.packet(now, self._interface, Direction.IN, packet)

    def _local(self, local: Endpoint, remote: Endpoint) -> Endpoint:
        """Return our end; of a socket without an address, the one this machine uses to go there."""
        if any(local.ip):
            return local
        ip = self._sources.get(remote.ip)
        if ip is None:
            ip = _source_to(remote) or local.ip
            if len(self._sources) >= _SOURCES_LIMIT:
                self._sources.clear()
            self._sources[remote.ip] = ip
        return Endpoint(ip, local.port)


def _ethernet(destination: Mac, source: Mac, ethertype: int) -> bytes:
    w = Writer()
    destination.encode(w)
    source.encode(w)
    w.uint(ethertype, 2)
    return w.getvalue()


def _packet(source: Endpoint, destination: Endpoint, payload: bytes) -> bytes:
    w = Writer()
    UdpDatagram(source.port, destination.port, payload).encode(w, source.ip, destination.ip)
    body = w.getvalue()
    w = Writer()
    if source.is_ipv4:
        Ipv4Packet(source.ip, destination.ip, UDP, body).encode(w)
    else:
        Ipv6Packet(source.ip, destination.ip, UDP, body).encode(w)
    return w.getvalue()


def _source_to(remote: Endpoint) -> bytes:
    """Return the address from which datagrams go to `remote`; nothing is sent to learn it."""
    family = socket.AF_INET if remote.is_ipv4 else socket.AF_INET6
    with (
        contextlib.suppress(OSError),
        socket.socket(family, socket.SOCK_DGRAM) as probe,
    ):
        probe.connect((remote.host, remote.port or 1))
        return socket.inet_pton(family, str(probe.getsockname()[0]).partition("%")[0])
    return b""
