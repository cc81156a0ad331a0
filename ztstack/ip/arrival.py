"""The way in to an interface: checks, reassembly, ARP, NDP and ICMP; TCP and UDP get their part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ztstack.base.codec import Reader, Writer
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.frame import EtherType
from ztstack.base.limits import RateGate
from ztstack.base.mac import Mac
from ztstack.base.timers import MILLISECOND
from ztstack.base.trace import Tracer
from ztstack.ip import icmp_errors
from ztstack.ip.addresses import ALL_NODES, UNSPECIFIED, is_multicast, multicast_mac
from ztstack.ip.departure import Departure
from ztstack.ip.icmp_errors import Flow, Reported
from ztstack.ip.icmp_socket import EchoSocket, TokenBucket
from ztstack.ip.packets import arp, icmpv4, icmpv6, ipv4
from ztstack.ip.packets.icmpv4 import Icmpv4Message
from ztstack.ip.packets.icmpv6 import Advertisement, Icmpv6Message, Solicitation
from ztstack.ip.packets.ipv4 import BadChecksum, Ipv4Packet
from ztstack.ip.packets.ipv6 import (
    FRAGMENT,
    ICMPV6,
    FragmentHeader,
    Ipv6Packet,
    upper_layer,
)
from ztstack.ip.packets.udp import UdpDatagram
from ztstack.ip.reassembly import FragmentKey, Reassembly
from ztstack.ip.tcp.host import TcpHost
from ztstack.ip.udp_socket import UdpTable

ERROR_INTERVAL_US: Final = 100 * MILLISECOND
ERRORS_PER_SECOND: Final = 100
ERRORS_AT_ONCE: Final = 50
MAX_ERROR_TARGETS: Final = 1024


class _Arrived(NamedTuple):
    """A whole IP packet for us: `protocol` and `payload` are behind all extension headers."""

    packet: Ipv4Packet | Ipv6Packet
    protocol: int
    payload: bytes
    mac: Mac | None  # None: it came from ourselves
    is_unicast: bool


class Arrival:
    """Takes Ethernet payloads and hands on what is in them."""

    def __init__(
        self,
        mac: Mac,
        departure: Departure,
        tcp: TcpHost,
        udp: UdpTable,
        echo: EchoSocket,
        tracer: Tracer,
    ) -> None:
        self._mac = mac
        self._departure = departure
        self._neighbors = departure.neighbors
        self._tcp = tcp
        self._udp = udp
        self._echo = echo
        self._tracer = tracer
        self.reassembly = Reassembly(tracer)
        self._error_gate: RateGate[tuple[bytes, int, int]] = RateGate(
            ERROR_INTERVAL_US, MAX_ERROR_TARGETS
        )
        self._error_bucket = TokenBucket(ERRORS_PER_SECOND, ERRORS_AT_ONCE)
        self._handlers: dict[int, Callable[[int, _Arrived], None]] = {
            ipv4.TCP: self._receive_tcp,
            ipv4.UDP: self._receive_udp,
        }

    def receive(self, now: int, ethertype: int, payload: bytes, mac: Mac | None) -> None:
        """Take one Ethernet payload that came from `mac`, None for this host itself."""
        try:
            match ethertype:
                case EtherType.IPV4:
                    self._receive_ipv4(now, Ipv4Packet.decode(Reader(payload)), mac)
                case EtherType.IPV6:
                    self._receive_ipv6(now, Ipv6Packet.decode(Reader(payload)), mac)
                case EtherType.ARP if mac is not None:
                    self._receive_arp(now, arp.ArpPacket.decode(Reader(payload)), mac)
                case _:
                    self._tracer.drop(Drop.UNSUPPORTED, "ip")
        except BadChecksum:
            self._tracer.drop(Drop.BAD_CHECKSUM, "ip")
        except DecodeError:
            self._tracer.drop(Drop.MALFORMED, "ip")

    # ARP.

    def _receive_arp(self, now: int, packet: arp.ArpPacket, mac: Mac) -> None:
        addresses = self._departure.addresses
        if packet.sender_mac != mac or addresses.is_local(packet.sender_ip):
            # Somebody speaks for another, or claims our address.
            self._tracer.drop(Drop.MALFORMED, "arp")
            return
        for_us = addresses.is_local(packet.target_ip)
        # RFC 826: refresh what is in the table; add only who talks to us. Zero is address probing.
        if packet.sender_ip not in UNSPECIFIED:
            asks_us = for_us and packet.operation == arp.REQUEST
            create = asks_us and self._is_on_link(packet.sender_ip)
            self._neighbors.learn(now, packet.sender_ip, mac, create=create)
        if for_us and packet.operation == arp.REQUEST:
            w = Writer()
            arp.ArpPacket(arp.REPLY, self._mac, packet.target_ip, mac, packet.sender_ip).encode(w)
            self._departure.send_frame(mac, EtherType.ARP, w.getvalue())

    def _is_on_link(self, ip: bytes) -> bool:
        route = self._departure.routes.lookup(ip)
        return route is not None and route.via is None

    # IP.

    def _receive_ipv4(self, now: int, packet: Ipv4Packet, mac: Mac | None) -> None:
        if not self._is_acceptable(packet.source, packet.destination, packet.ttl, mac):
            return
        if packet.is_fragment:
            key = FragmentKey(
                packet.source, packet.destination, packet.protocol, packet.identification
            )
            whole = self.reassembly.add(
                now,
                key,
                packet.offset,
                packet.payload,
                more=packet.more_fragments,
                protocol=packet.protocol,
            )
            if whole is None:
                return
            packet = Ipv4Packet(
                packet.source, packet.destination, whole[0], whole[1], ttl=packet.ttl
            )
        if packet.protocol == ipv4.ICMP:
            self._receive_icmpv4(now, self._arrived(packet, packet.protocol, packet.payload, mac))
        else:
            self._dispatch(now, self._arrived(packet, packet.protocol, packet.payload, mac))

    def _receive_ipv6(self, now: int, packet: Ipv6Packet, mac: Mac | None) -> None:
        if not self._is_acceptable(packet.source, packet.destination, packet.hop_limit, mac):
            return
        protocol, payload, fragment = upper_layer(packet.next_header, packet.payload)
        if fragment is not None:
            if fragment.offset or fragment.more_fragments:
                key = FragmentKey(packet.source, packet.destination, 0, fragment.identification)
                whole = self.reassembly.add(
                    now,
                    key,
                    fragment.offset,
                    payload,
                    more=fragment.more_fragments,
                    protocol=protocol,
                )
                if whole is None:
                    return
                protocol, payload = whole
            protocol, payload, again = upper_layer(protocol, payload)
            if again is not None:
                raise DecodeError("a fragment in a fragment")
        arrived = self._arrived(packet, protocol, payload, mac)
        if protocol == ICMPV6:
            self._receive_icmpv6(now, arrived, is_fragment=fragment is not None)
        else:
            self._dispatch(now, arrived)

    def _is_acceptable(
        self, source: bytes, destination: bytes, hop_limit: int, mac: Mac | None
    ) -> bool:
        addresses = self._departure.addresses
        is_ours = addresses.is_local(destination) or addresses.is_joined(destination)
        if not is_ours and not self._udp.is_joined(destination):
            self._tracer.drop(Drop.NOT_LOCAL, "ip")
        elif hop_limit == 0:
            self._tracer.drop(Drop.HOP_LIMIT, "ip")
        elif is_multicast(source) or addresses.is_broadcast(source):
            self._tracer.drop(Drop.MALFORMED, "ip")
        elif mac is not None and addresses.is_local(source):
            self._tracer.drop(Drop.FROM_SELF, "ip")
        else:
            return True
        return False

    def _arrived(
        self, packet: Ipv4Packet | Ipv6Packet, protocol: int, payload: bytes, mac: Mac | None
    ) -> _Arrived:
        is_unicast = self._departure.addresses.is_local(packet.destination)
        return _Arrived(packet, protocol, payload, mac, is_unicast)

    def _dispatch(self, now: int, arrived: _Arrived) -> None:
        if arrived.packet.source in UNSPECIFIED:
            self._tracer.drop(Drop.MALFORMED, "ip")
            return
        handler = self._handlers.get(arrived.protocol)
        if handler is not None:
            handler(now, arrived)
            return
        self._tracer.drop(Drop.UNSUPPORTED, "ip")
        if self._may_complain(now, arrived, 0):
            self._send_error(now, arrived, icmp_errors.protocol_unreachable(arrived.packet))

    def _receive_tcp(self, now: int, arrived: _Arrived) -> None:
        if not arrived.is_unicast:
            self._tracer.drop(Drop.NOT_LOCAL, "tcp")
            return
        packet = arrived.packet
        self._tcp.receive(now, packet.source, packet.destination, memoryview(arrived.payload))

    def _receive_udp(self, now: int, arrived: _Arrived) -> None:
        source, destination = arrived.packet.source, arrived.packet.destination
        datagram = UdpDatagram.decode(Reader(arrived.payload), source, destination)
        remote = Endpoint(source, datagram.source_port)
        local = Endpoint(destination, datagram.destination_port)
        if self._udp.receive(datagram.payload, remote, local):
            return
        if self._may_complain(now, arrived, datagram.destination_port):
            self._send_error(now, arrived, icmp_errors.port_unreachable(arrived.packet))

    # ICMP.

    def _receive_icmpv4(self, now: int, arrived: _Arrived) -> None:
        message = Icmpv4Message.decode(Reader(arrived.payload))
        source, destination = arrived.packet.source, arrived.packet.destination
        if message.type == icmpv4.ECHO_REQUEST and message.code == 0:
            # Broadcast pings are not answered (RFC 1122 allows that).
            if arrived.is_unicast and source not in UNSPECIFIED:
                reply = self._echo.reply(now, destination, source, message)
                if reply is not None:
                    self._departure.send(now, destination, source, ipv4.ICMP, reply)
        elif message.type == icmpv4.ECHO_REPLY and message.code == 0:
            self._echo.receive_reply(now, source, message.word, message.body)
        else:
            reported = icmp_errors.read_error4(message)
            self._receive_error(now, reported)

    def _receive_icmpv6(self, now: int, arrived: _Arrived, *, is_fragment: bool) -> None:
        source, destination = arrived.packet.source, arrived.packet.destination
        message = Icmpv6Message.decode(Reader(arrived.payload), source, destination)
        match message.type:
            case 135 | 136:  # neighbour solicitation and advertisement
                self._receive_ndp(now, arrived, message, is_fragment=is_fragment)
            case 128 if message.code == 0:  # echo request
                if arrived.is_unicast and source not in UNSPECIFIED:
                    reply = self._echo.reply(now, destination, source, message)
                    if reply is not None:
                        self._departure.send(now, destination, source, ICMPV6, reply)
            case 129 if message.code == 0:  # echo reply
                self._echo.receive_reply(now, source, message.word, message.body)
            case _:
                self._receive_error(now, icmp_errors.read_error6(message))

    def _receive_ndp(
        self, now: int, arrived: _Arrived, message: Icmpv6Message, *, is_fragment: bool
    ) -> None:
        packet = arrived.packet
        if (
            not isinstance(packet, Ipv6Packet)
            or packet.hop_limit != icmpv6.NDP_HOP_LIMIT
            or is_fragment
            or arrived.mac is None
        ):
            self._tracer.drop(Drop.MALFORMED, "ndp")
        elif message.type == icmpv6.SOLICITATION:
            self._receive_solicitation(now, packet.source, Solicitation.of(message), arrived.mac)
        else:
            self._receive_advertisement(now, Advertisement.of(message), arrived.mac)

    def _receive_solicitation(
        self, now: int, source: bytes, solicitation: Solicitation, mac: Mac
    ) -> None:
        target = solicitation.target
        if not self._departure.addresses.is_local(target):
            self._tracer.drop(Drop.NOT_LOCAL, "ndp")
            return
        if source in UNSPECIFIED:
            # The asker has no address yet and probes whether ours is free.
            destination, to, solicited = ALL_NODES, multicast_mac(ALL_NODES), False
        else:
            destination, to, solicited = source, mac, True
            if solicitation.mac is not None:
                if solicitation.mac != mac:
                    self._tracer.drop(Drop.MALFORMED, "ndp")
                    return
                self._neighbors.learn(now, source, mac, create=True)
        w = Writer()
        answer = Advertisement(target, self._mac, solicited=solicited, override=True)
        answer.message().encode(w, target, destination)
        reply = Ipv6Packet(target, destination, ICMPV6, w.getvalue(), icmpv6.NDP_HOP_LIMIT)
        self._departure.send_frame(to, EtherType.IPV6, reply.header(), reply.payload)

    def _receive_advertisement(self, now: int, advertisement: Advertisement, mac: Mac) -> None:
        target = advertisement.target
        if is_multicast(target) or self._departure.addresses.is_local(target):
            self._tracer.drop(Drop.MALFORMED, "ndp")
            return
        if advertisement.mac is not None and advertisement.mac != mac:
            self._tracer.drop(Drop.MALFORMED, "ndp")
            return
        known = self._neighbors.get(target)
        if known is not None and known != mac and not advertisement.override:
            return
        self._neighbors.learn(now, target, mac, create=False)

    # Errors, both ways.

    def _receive_error(self, now: int, reported: Reported | None) -> None:
        if reported is None or not self._departure.addresses.is_local(reported.flow.local.ip):
            self._tracer.drop(Drop.UNSUPPORTED, "icmp")
            return
        self.report(now, reported)

    def report(self, now: int, reported: Reported) -> None:
        """Tell the socket that sent a packet what became of it."""
        flow = reported.flow
        if reported.mtu:
            self._note_path_mtu(now, flow, reported.mtu)
        elif flow.protocol == ipv4.TCP:
            self._tcp.receive_error(
                now, flow.local, flow.remote, flow.sequence, reported.error, reported.hard
            )
        elif flow.protocol == ipv4.UDP:
            self._udp.receive_error(flow.local, reported.error)

    def _note_path_mtu(self, now: int, flow: Flow, mtu: int) -> None:
        """Believe a router that quotes what we may have sent (RFC 5927 section 7)."""
        local, remote = flow.local, flow.remote
        if flow.protocol == ipv4.TCP:
            lowered = self._departure.lowered_mtu(now, remote.ip, mtu)
            is_ours = self._tcp.receive_too_big(now, local, remote, flow.sequence, lowered)
        elif flow.protocol == ipv4.UDP:
            is_ours = self._udp.find(local.ip, local.port) is not None
        else:
            is_ours = self._echo.is_waiting_for(remote.ip)
        if is_ours:
            self._departure.note_path_mtu(now, remote.ip, mtu)
        else:
            self._tracer.drop(Drop.NO_SOCKET, "icmp")

    def handle_timer(self, now: int) -> None:
        for key, protocol, beginning in self.reassembly.handle_timer(now):
            source, destination, _, identification = key
            packet: Ipv4Packet | Ipv6Packet
            if len(source) == 4:
                packet = Ipv4Packet(
                    source,
                    destination,
                    protocol,
                    beginning,
                    identification=identification,
                    more_fragments=True,
                )
            else:
                w = Writer()
                FragmentHeader(
                    protocol, 0, more_fragments=True, identification=identification
                ).encode(w)
                packet = Ipv6Packet(source, destination, FRAGMENT, w.getvalue() + beginning)
            arrived = self._arrived(packet, protocol, beginning, None)
            # Nobody complains of a complaint, nor to nobody.
            is_plain = protocol not in (ipv4.ICMP, ICMPV6) and source not in UNSPECIFIED
            if is_plain and self._may_complain(now, arrived, 0):
                self._send_error(now, arrived, icmp_errors.fragments_missing(packet))

    def _may_complain(self, now: int, arrived: _Arrived, port: int) -> bool:
        if not arrived.is_unicast:
            return False
        key = (arrived.packet.source, arrived.protocol, port)
        if self._error_gate.allow(now, key) and self._error_bucket.allow(now):
            return True
        self._tracer.drop(Drop.RATE_LIMITED, "icmp")
        return False

    def _send_error(self, now: int, arrived: _Arrived, message: bytes) -> None:
        protocol = ipv4.ICMP if len(arrived.packet.source) == 4 else ICMPV6
        # Our address is where the cause went.
        packet = arrived.packet
        self._departure.send(now, packet.destination, packet.source, protocol, message)
