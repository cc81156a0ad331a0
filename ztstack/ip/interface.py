"""One IP host on one Ethernet: frames, commands and time in; frames and socket events out."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import partial
from typing import Final

from ztstack.base.codec import Writer
from ztstack.base.endpoint import Endpoint
from ztstack.base.entropy import Entropy
from ztstack.base.errors import Drop, InvalidConfig, TooLong, Unreachable
from ztstack.base.frame import Burst, EtherType, Frame, FrameBatch
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.base.trace import Tracer
from ztstack.ip import icmp_errors
from ztstack.ip.addresses import ANY4
from ztstack.ip.arrival import Arrival
from ztstack.ip.departure import MIN_MTU, Departure
from ztstack.ip.events import Event
from ztstack.ip.icmp_socket import EchoSocket
from ztstack.ip.packets import ipv4, udp
from ztstack.ip.packets.ipv6 import ICMPV6
from ztstack.ip.packets.udp import UdpDatagram
from ztstack.ip.ports import EphemeralPorts, choose_port
from ztstack.ip.tcp.connection import Connection
from ztstack.ip.tcp.host import TcpHost
from ztstack.ip.tcp.listener import Listener
from ztstack.ip.udp_socket import UdpSocket, UdpTable

# How often packets to ourselves may go round before the rest of the node gets its turn.
LOCAL_ROUNDS: Final = 64
_IP: Final = (EtherType.IPV4, EtherType.IPV6)


class Interface:
    """ARP, NDP, IPv4, IPv6, ICMP, UDP and TCP behind one MAC address."""

    def __init__(self, now: int, mac: Mac, mtu: int, entropy: Entropy, tracer: Tracer) -> None:
        self.mac = mac
        self._entropy = entropy
        self._tracer = tracer
        self._departure = Departure(mac, mtu, entropy, tracer)
        self.mtu = self._departure.mtu
        """What may arrive; nobody but `set_mtu` changes it."""
        self.events: list[Event] = []
        """What there is to tell; whoever wants to know whether there is anything looks here."""
        self._tcp = TcpHost(entropy, tracer, self._is_local, self.events)
        self._tcp_mtu = self._departure.mtu
        self._tcp.set_mtu(now, self._tcp_mtu)
        self._ports = EphemeralPorts(entropy)
        self._udp = UdpTable(entropy, tracer, self.events)
        self._echo = EchoSocket(tracer, self.events)
        self._arrival = Arrival(mac, self._departure, self._tcp, self._udp, self._echo, tracer)
        # When packets to ourselves wait for another turn: the time of the last one.
        self._again: int | None = None

    # Configuration.

    def set_mtu(self, now: int, mtu: int, tcp_mtu: int = 0, longest: int = 0) -> None:
        """Set the MTU, and for TCP a smaller one if packets of that length travel better.

        Nothing longer than `longest` is sent, if that is less.
        """
        self.mtu = max(mtu, MIN_MTU)
        self._departure.set_mtu(min(mtu, longest or mtu))
        self._tcp_mtu = min(tcp_mtu or self._departure.mtu, self._departure.mtu)
        self._tcp.set_mtu(now, self._tcp_mtu)

    def set_addresses(self, now: int, addresses: list[tuple[bytes, int]]) -> None:
        """Set own addresses with prefix lengths; each implies the route to its own subnet."""
        del now
        self._departure.set_addresses(addresses)

    def set_routes(self, now: int, routes: list[tuple[bytes, int, bytes | None]]) -> None:
        """Set the managed routes as (target, bits, via); without `via` the target is on-link."""
        del now
        self._departure.set_routes(routes)

    def groups(self) -> frozenset[MulticastGroup]:
        """Return what must be heard: address resolution for own addresses, everybody, sockets."""
        own, joined = self._departure.addresses.groups, self._udp.groups
        return own | joined if joined else own

    def neighbor(self, ip: bytes) -> Mac | None:
        """Return the MAC of an address on this network if it is known, without asking."""
        hop = self._departure.routes.next_hop(ip)
        return self._departure.neighbors.get(hop) if hop is not None else None

    def has_route(self, ip: bytes) -> bool:
        departure = self._departure
        return departure.addresses.is_local(ip) or departure.routes.next_hop(ip) is not None

    def _is_local(self, ip: bytes) -> bool:
        return self._departure.addresses.is_local(ip)

    # Sockets.

    def connect(
        self, now: int, ip: bytes, port: int, local_ip: bytes | None = None, local_port: int = 0
    ) -> Connection:
        """Open a TCP connection; Unreachable without a route or an address, PortInUse."""
        if self._departure.addresses.group_mac(ip) is not None:
            raise Unreachable(f"{ipaddress.ip_address(ip)} is a group, not a host")
        source = self._departure.choose_source(ip, local_ip)
        if local_port == 0:
            is_taken = partial(self._tcp.is_taken, source, Endpoint(ip, port))
            local_port = self._ports.choose(source, ip, port, is_taken)
        mtu = min(self._departure.mtu_for(now, ip), self._tcp_mtu)
        return self._tcp.connect(now, Endpoint(source, local_port), Endpoint(ip, port), mtu)

    def listen(self, now: int, ip: bytes | None, port: int, backlog: int = 128) -> Listener:
        """Accept TCP connections on `ip`, or everywhere (None, ANY4); 0 picks a port. PortInUse."""
        self._check_own(ip)
        if port == 0:
            port = choose_port(self._entropy, self._tcp.is_port_used)
        return self._tcp.listen(now, ip, port, backlog)

    def bind_udp(self, now: int, ip: bytes | None, port: int) -> UdpSocket:
        """Open a UDP port on `ip`, or everywhere (None, ANY4); 0 picks a port. PortInUse."""
        del now
        self._check_own(ip)
        return self._udp.bind(self, ip, port)

    def _check_own(self, ip: bytes | None) -> None:
        if ip not in (None, ANY4) and not self._is_local(ip):
            raise InvalidConfig(f"{ipaddress.ip_address(ip)} is not an address of this host")

    def send_udp(self, now: int, socket: UdpSocket, data: bytes, ip: bytes, port: int) -> None:
        """Send a datagram of a socket; Unreachable, TooLong."""
        if len(data) > udp.MAX_PAYLOAD:
            raise TooLong(f"a UDP datagram of {len(data)} bytes")
        wanted = socket.ip if socket.ip != ANY4 else None
        if wanted is None and socket.ip is not None and len(ip) != len(socket.ip):
            raise InvalidConfig(f"{ipaddress.ip_address(ip)} is no IPv4 address, and the socket is")
        source = self._departure.choose_source(ip, wanted)
        w = Writer()
        UdpDatagram(socket.port, port, data).encode(w, source, ip)
        payload = w.getvalue()
        self._departure.send(now, source, ip, ipv4.UDP, payload)
        if self._udp.is_joined(ip):
            # Who joined a group hears what this host sends to it, as everywhere.
            self._departure.send_local(now, source, ip, ipv4.UDP, payload)

    def ping(self, now: int, ip: bytes, identifier: int, sequence: int, data: bytes) -> None:
        """Send an echo request; its answer is the event Pong. Unreachable without a route."""
        if len(data) > udp.MAX_PAYLOAD:
            raise TooLong(f"an echo request of {len(data)} bytes")
        source = self._departure.choose_source(ip)
        message = self._echo.request(now, source, ip, (identifier, sequence), data)
        protocol = ipv4.ICMP if len(ip) == 4 else ICMPV6
        self._departure.send(now, source, ip, protocol, message)

    # Frames in.

    def receive_frame(self, now: int, frame: Frame) -> None:
        if frame.destination != self.mac and not frame.destination.is_multicast:
            self._tracer.drop(Drop.NOT_LOCAL, "ip")
        elif frame.source == self.mac:
            self._tracer.drop(Drop.FROM_SELF, "ip")
        elif len(frame.payload) > self.mtu:
            self._tracer.drop(Drop.TOO_LONG, "ip")
        else:
            self._arrival.receive(now, frame.ethertype, frame.payload, frame.source)

    def receive_burst(self, now: int, source: Mac, ethertype: int, burst: Burst) -> None:
        """Take packets that came together to our MAC: one TCP run at best, else row by row."""
        left: Iterable[int] = range(len(burst.rows))
        if ethertype in _IP:
            left = self._tcp.take_burst(now, ethertype, burst)
        view, mtu = burst.view, self.mtu
        for i in left:
            row, length = burst.rows[i], burst.lengths[i]
            if length > mtu:
                self._tracer.drop(Drop.TOO_LONG, "ip")
            else:
                self._arrival.receive(now, ethertype, bytes(view[row : row + length]), source)

    def flush(self, now: int) -> None:
        """End a wake-up: TCP acknowledges what arrived in it."""
        self._tcp.flush(now)

    def repeat_last(self, now: int) -> bool:
        """Acknowledge once more what peers of TCP said last; False if nothing ended just now."""
        return self._tcp.repeat_last(now)

    # Time.

    def handle_timer(self, now: int) -> None:
        self._tcp.handle_timer(now)
        self._arrival.handle_timer(now)
        neighbors = self._departure.neighbors
        neighbors.handle_timer(now)
        for unresolved in neighbors.take_unresolved():
            self._fail(now, unresolved.packets)
        if self._again is not None and self._again <= now:
            self._again = None

    def next_timer(self) -> int | None:
        first = self._tcp.next_timer()
        for at in (
            self._departure.neighbors.next_timer(),
            self._arrival.reassembly.next_timer(),
            self._again,
        ):
            if at is not None and (first is None or at < first):
                first = at
        return first

    def _fail(self, now: int, packets: list[tuple[bytes, bytes | memoryview]]) -> None:
        """Tell each socket once that nobody answers for the next hop of its packets."""
        told = set()
        for header, body in packets:
            self._tracer.drop(Drop.QUEUE_TIMEOUT, "ip")
            reported = icmp_errors.unanswered(b"".join((header, body)))
            if reported is None:
                continue
            flow = reported.flow
            key = (flow.protocol, flow.local, flow.remote)
            if key not in told:
                told.add(key)
                self._arrival.report(now, reported)

    # Outputs.

    @property
    def has_output(self) -> bool:
        return self._departure.has_output or self._tcp.has_output

    def take_frames(self, now: int, limit_packets: int) -> list[FrameBatch]:
        """Return about `limit_packets` packets; use them before anything else is asked of this.

        Bodies may be views of TCP send buffers. Packets to ourselves are delivered here.
        """
        batches: list[FrameBatch] = []
        room = limit_packets
        departure = self._departure
        for _ in range(LOCAL_ROUNDS):
            tcp_waits = self._tcp.has_output
            if departure.has_output:
                # Neither TCP nor the others can take all the room.
                for batch in departure.take_frames(max(1, room // 2) if tcp_waits else room):
                    room -= len(batch.packets)
                    batches.append(batch)
            if tcp_waits and room > 0:
                for run in self._tcp.take_packets(now, room):
                    routed = departure.send_run(now, run)
                    if routed is not None:
                        room -= len(routed.packets)
                        batches.append(routed)
            if not departure.has_output:
                break
            if not self._deliver_local(now) or room <= 0:
                # Questions about neighbours of which a run was parked go out at once.
                batches.extend(departure.neighbors.take_frames())
                break
        else:
            self._again = now
            batches.extend(departure.neighbors.take_frames())
        return batches

    def _deliver_local(self, now: int) -> bool:
        local = self._departure.take_local()
        for ethertype, payload in local:
            self._arrival.receive(now, ethertype, payload, None)
        if local:
            self._tcp.flush(now)
        return bool(local)

    def take_events(self) -> list[Event]:
        # The sockets share this list, so it is emptied and not replaced.
        events = self.events[:]
        self.events.clear()
        return events
