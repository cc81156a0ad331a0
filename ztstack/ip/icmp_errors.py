"""ICMP errors of both families: what those that arrive are about, and those that we send."""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

from ztstack.base.codec import Reader, Writer
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import ConnectRefused, DecodeError, NetworkUnreachable, Unreachable
from ztstack.ip.packets import icmpv4, icmpv6
from ztstack.ip.packets.icmpv4 import Icmpv4Message
from ztstack.ip.packets.icmpv6 import Icmpv6Message
from ztstack.ip.packets.ipv4 import TCP, UDP, Ipv4Packet
from ztstack.ip.packets.ipv6 import Ipv6Packet, upper_layer

# An error quotes so much of its cause that the whole packet is no longer than this (RFC 1812 and
# RFC 4443).
_ERROR4_BYTES: Final = 576
_ERROR6_BYTES: Final = 1280
_SYN: Final = 2
# Host, network and protocol codes of which TCP must give up: protocol, port, prohibited.
_HARD4: Final = frozenset((2, 3, 9, 10, 13))
# What is said of a whole network: unreachable, unknown, prohibited, or only for this service.
_NETWORK4: Final = frozenset((0, 6, 9, 11))
_NO_ROUTE6: Final = 0


class Flow(NamedTuple):
    """The packet of ours that an error is about."""

    protocol: int
    local: Endpoint
    remote: Endpoint
    sequence: int
    is_syn: bool


class Reported(NamedTuple):
    """What an ICMP error says: `mtu` is not zero if the packet was too big for the path."""

    flow: Flow
    error: Exception
    hard: bool
    mtu: int = 0


def read_flow(data: bytes) -> Flow:
    """Return ports and sequence number of a packet that we sent, of which `data` is the start."""
    r = Reader(data)
    if data[:1] and data[0] >> 4 == 4:
        packet4 = Ipv4Packet.decode_quoted(r)
        source, destination = packet4.source, packet4.destination
        protocol, payload = packet4.protocol, packet4.payload
        offset = packet4.offset
    else:
        packet6 = Ipv6Packet.decode_quoted(r)
        source, destination = packet6.source, packet6.destination
        protocol, payload, fragment = upper_layer(packet6.next_header, packet6.payload)
        offset = fragment.offset if fragment is not None else 0
    if protocol not in (TCP, UDP) or offset:
        return Flow(protocol, Endpoint(source, 0), Endpoint(destination, 0), 0, is_syn=False)
    r = Reader(payload)
    local, remote = Endpoint(source, r.uint(2)), Endpoint(destination, r.uint(2))
    sequence = r.uint(4) if protocol == TCP else 0
    is_syn = protocol == TCP and len(payload) > 13 and bool(payload[13] & _SYN)
    return Flow(protocol, local, remote, sequence, is_syn)


def read_error4(message: Icmpv4Message) -> Reported | None:
    """Return what an ICMP message reports, None if it is no error.

    That a fragment was lost is none: it happens to whole packets too, and nobody tells.
    """
    if message.type not in (icmpv4.UNREACHABLE, icmpv4.TIME_EXCEEDED, icmpv4.PARAMETER_PROBLEM):
        return None
    if (message.type, message.code) == (icmpv4.TIME_EXCEEDED, icmpv4.CODE_FRAGMENTS):
        return None
    flow = read_flow(message.body)
    if message.type == icmpv4.TIME_EXCEEDED:
        return Reported(flow, _unreachable(flow, "the hop limit was exceeded"), hard=False)
    if message.type == icmpv4.PARAMETER_PROBLEM:
        return Reported(flow, _unreachable(flow, "a router found the packet invalid"), hard=True)
    if message.code == icmpv4.CODE_TOO_BIG:
        # Routers older than RFC 1191 write zero; then assume what every link carries.
        mtu = message.word & 0xFFFF or 576
        return Reported(flow, _unreachable(flow, "the packet is too big"), hard=False, mtu=mtu)
    if message.code == icmpv4.CODE_PORT:
        return Reported(flow, _refused(flow), hard=True)
    hard = message.code in _HARD4
    return Reported(flow, _no_way(flow, network=message.code in _NETWORK4), hard=hard)


def read_error6(message: Icmpv6Message) -> Reported | None:
    """Return what an ICMPv6 message reports, None if it is no error."""
    if not icmpv6.UNREACHABLE <= message.type <= icmpv6.PARAMETER_PROBLEM:
        return None
    if (message.type, message.code) == (icmpv6.TIME_EXCEEDED, icmpv6.CODE_FRAGMENTS):
        return None
    flow = read_flow(message.body)
    if message.type == icmpv6.TOO_BIG:
        mtu = max(message.word, 1280)
        return Reported(flow, _unreachable(flow, "the packet is too big"), hard=False, mtu=mtu)
    if message.type == icmpv6.TIME_EXCEEDED:
        return Reported(flow, _unreachable(flow, "the hop limit was exceeded"), hard=False)
    if message.type == icmpv6.PARAMETER_PROBLEM:
        return Reported(flow, _unreachable(flow, "a router found the packet invalid"), hard=True)
    if message.code == icmpv6.CODE_PORT:
        return Reported(flow, _refused(flow), hard=True)
    hard = message.code == icmpv6.CODE_PROHIBITED
    return Reported(flow, _no_way(flow, network=message.code == _NO_ROUTE6), hard=hard)


def unanswered(data: bytes) -> Reported | None:
    """Return the error of a packet whose next hop nobody owns."""
    try:
        flow = read_flow(data)
    except DecodeError:
        return None
    return Reported(flow, _unreachable(flow, "nobody answers for it"), hard=flow.is_syn)


def port_unreachable(packet: Ipv4Packet | Ipv6Packet) -> bytes:
    """Return the ICMP message that answers a datagram to a closed port."""
    if isinstance(packet, Ipv4Packet):
        return _error4(packet, icmpv4.UNREACHABLE, icmpv4.CODE_PORT)
    return _error6(packet, icmpv6.UNREACHABLE, icmpv6.CODE_PORT, 0)


def protocol_unreachable(packet: Ipv4Packet | Ipv6Packet) -> bytes:
    """Return the ICMP message that answers a packet of a protocol we do not have."""
    if isinstance(packet, Ipv4Packet):
        return _error4(packet, icmpv4.UNREACHABLE, icmpv4.CODE_PROTOCOL)
    # The word points at the byte that was not understood: the next header field.
    return _error6(packet, icmpv6.PARAMETER_PROBLEM, icmpv6.CODE_NEXT_HEADER, 6)


def fragments_missing(packet: Ipv4Packet | Ipv6Packet) -> bytes:
    """Return the ICMP message about a first fragment whose others did not come in time."""
    if isinstance(packet, Ipv4Packet):
        return _error4(packet, icmpv4.TIME_EXCEEDED, icmpv4.CODE_FRAGMENTS)
    return _error6(packet, icmpv6.TIME_EXCEEDED, icmpv6.CODE_FRAGMENTS, 0)


def _error4(packet: Ipv4Packet, kind: int, code: int) -> bytes:
    quote = (packet.header() + packet.payload)[: _ERROR4_BYTES - 28]
    w = Writer()
    Icmpv4Message(kind, code, 0, quote).encode(w)
    return w.getvalue()


def _error6(packet: Ipv6Packet, kind: int, code: int, word: int) -> bytes:
    quote = (packet.header() + packet.payload)[: _ERROR6_BYTES - 48]
    w = Writer()
    # The error goes back: our address is the destination of its cause.
    Icmpv6Message(kind, code, word, quote).encode(w, packet.destination, packet.source)
    return w.getvalue()


def _host(ip: bytes) -> str:
    return str(ipaddress.ip_address(ip))


def _unreachable(flow: Flow, why: str) -> Unreachable:
    return Unreachable(f"{_host(flow.remote.ip)} is unreachable: {why}")


def _no_way(flow: Flow, *, network: bool) -> Unreachable:
    kind = NetworkUnreachable if network else Unreachable
    return kind(f"{_host(flow.remote.ip)} is unreachable: a router says so")


def _refused(flow: Flow) -> ConnectRefused:
    return ConnectRefused(f"{_host(flow.remote.ip)}: nothing listens on port {flow.remote.port}")
