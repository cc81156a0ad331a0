"""A node of the overlay: join, connect, listen, datagrams, status; as ztstack.Node has them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from overlay.book import AddressBook, parse_network
from overlay.config import NodeConfig
from overlay.datagrams import Datagrams
from overlay.discovery import Discovery
from overlay.errors import (
    Closed,
    DecodeError,
    InvalidConfig,
    NotJoined,
    OverlayError,
    PortInUse,
    StorageError,
    Unreachable,
)
from overlay.events import Echo, Event, EventKind, PeerStatus, Status
from overlay.memory import MemoryTransport
from overlay.messages import Datagram, Frame, Kind, Place, frame_head, node_text
from overlay.peers import Peer
from overlay.state import State, fresh_node
from overlay.tcp import (
    FRAME_BYTES,
    LOOPBACK_FRAME_BYTES,
    Listener,
    Stream,
    TcpDriver,
    address_of,
    network_of,
    node_of,
)
from overlay.udp import UdpTransport, check_port
from ztstack.base.endpoint import Endpoint
from ztstack.ip.ports import choose_port
from ztstack.sockets.mirror import LoopMethods
from ztstack.sockets.open_sockets import OpenSockets
from ztstack.sockets.transport import Facts

CONNECT_TIMEOUT_S: Final = 30.0
ECHO_TIMEOUT_S: Final = 5.0
BACKLOG: Final = 128
MAX_NETWORKS: Final = 256
MAX_FINDING: Final = 256
"""Datagrams that wait until their node is found."""
_MAX_ECHO: Final = 1200


class Node(LoopMethods[Stream]):
    """A node on the current event loop: `async with Node(network="cafe2001") as node:`.

    What it sends is neither encrypted nor authenticated.
    """

    def __init__(
        self,
        config: NodeConfig | None = None,
        *,
        network: int | str | None = None,
        state: str | Path | None = None,
    ) -> None:
        config = config if config is not None else NodeConfig()
        if network is not None:
            config = replace(config, networks=(*config.networks, parse_network(network)))
        if state is not None:
            config = replace(config, state=Path(state))
        self.config = config
        self.book = AddressBook(config.addresses)
        self.drops: Counter[str] = Counter()
        self._node = config.node or 0
        self._networks: dict[int, None] = {}
        self._state: State | None = None
        self._transport: MemoryTransport | UdpTransport | None = None
        self._tcp: TcpDriver | None = None
        self._discovery: Discovery | None = None
        self._datagrams: dict[int, Datagrams] = {}
        self._serve: Callable[[Kind, int], None] | None = None
        self._opened = OpenSockets()
        self._finding: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    # Life.

    async def start(self) -> None:
        """Start; StateInUse, PortInUse. A stopped node may be started again."""
        if self.is_running:
            return
        config = self.config
        networks = list(config.networks)
        state = State(config.state) if config.state is not None else None
        if state is not None:
            state.open()
        transport: MemoryTransport | UdpTransport | None = None
        try:
            if config.node is None:
                kept = state.load_node() if state is not None else None
                # Without a state directory, a node keeps its id from one start to the next.
                self._node = kept or self._node or fresh_node()
            if state is not None and not networks:
                networks = state.networks()
            if config.memory is not None:
                transport = MemoryTransport(config.memory, self._node)
            else:
                transport = UdpTransport(config.udp_port, config.bind)
            discovery = Discovery(
                config.entropy, self._emit, transport.place_of, self._tell_of, self._save
            )
            if config.memory is None:
                discovery.advertised = config.advertise
            frame = LOOPBACK_FRAME_BYTES if transport.is_loopback else FRAME_BYTES
            self._tcp = TcpDriver(config.entropy, self._send_segment, frame)
            self._transport, self._discovery, self._state = transport, discovery, state
            await transport.start(self._received)
        except BaseException:
            self._tcp = self._discovery = self._transport = self._state = None
            if state is not None:
                state.close()
            raise
        if config.advertise is not None and not config.advertise[1] and transport.locals:
            discovery.advertised = config.advertise[0], transport.locals[0][1]
        self._tell(EventKind.STARTED)
        try:
            for network in networks:
                await self.join(network)
        except BaseException:
            await self.stop()
            raise
        discovery.start()

    async def stop(self) -> None:
        """Stop; closed streams get up to five seconds to send what they hold."""
        tcp, discovery, transport, state = self._tcp, self._discovery, self._transport, self._state
        if tcp is None or discovery is None or transport is None:
            return
        try:
            await self._opened.stop()
            await tcp.stop()
        finally:
            for task in self._finding:
                task.cancel()
            discovery.stop()
            for endpoint in list(self._datagrams.values()):
                endpoint.close()
            self._save()
            if state is not None:
                state.close()
            self._tcp = self._discovery = self._transport = self._state = None
            self._networks.clear()
            self._tell(EventKind.STOPPED)
            await transport.stop()

    @property
    def is_running(self) -> bool:
        return self._tcp is not None

    def _running(self) -> tuple[TcpDriver, Discovery]:
        if self._tcp is None or self._discovery is None:
            raise Closed("the node is not running")
        return self._tcp, self._discovery

    def _tell(self, kind: EventKind, network: int = 0, peer: Peer | None = None) -> None:
        if self.config.on_event is None:
            return
        event = Event(
            kind,
            f"{network:016x}" if network else "",
            node_text(peer.node) if peer is not None else "",
            peer.place if peer is not None else None,
        )
        # Whatever the callback does, it does not do it in the middle of our work.
        asyncio.get_running_loop().call_soon(self.config.on_event, event)

    def _tell_of(self, kind: EventKind, peer: Peer) -> None:
        self._tell(kind, peer.network, peer)

    def _save(self) -> None:
        """Keep the places that answered; without a disk that takes them, they are found again."""
        if self._state is None or self._discovery is None or self.config.memory is not None:
            return
        for network in self._networks:
            peers = self._discovery.peers.of_network(network)
            known = [(peer.node, peer.place) for peer in peers if peer.is_there]
            try:
                self._state.save_peers(network, known)
            except StorageError:
                self.drops["peers that were not saved"] += 1

    # What it is.

    @property
    def address(self) -> str:
        """The node id, ten hexadecimal digits; empty before a start that makes one."""
        return node_text(self._node) if self._node else ""

    @property
    def networks(self) -> list[str]:
        return [f"{network:016x}" for network in self._networks]

    @property
    def locals(self) -> tuple[Place, ...]:
        """The UDP addresses of this process; none in memory."""
        return self._transport.locals if self._transport is not None else ()

    def addresses(self, network: int | str | None = None) -> list[str]:
        """Return what others call this node by; on every network it is the node id."""
        if network is not None and parse_network(network) not in self._networks:
            raise NotJoined(f"{network}: was not joined")
        return [self.address]

    async def online(self, timeout: float = 0.0) -> None:
        """Return at once: there are no roots to wait for."""
        del timeout
        self._running()

    async def refreshed(self, timeout: float = 0.0) -> bool:
        """Tell at once that all is up to date: there are no controllers to ask."""
        del timeout
        self._running()
        return True

    async def join(self, network: int | str, timeout: float = 0.0, wait_auth: float = 0.0) -> None:
        """Join a network; nobody has to admit us, so there is no waiting."""
        del timeout, wait_auth
        _, discovery = self._running()
        number = parse_network(network)
        if number in self._networks:
            return
        if len(self._networks) >= MAX_NETWORKS:
            raise InvalidConfig(f"{MAX_NETWORKS} networks are the most")
        if self._state is not None:
            self._state.add_network(number)
        self._networks[number] = None
        now = asyncio.get_running_loop().time()
        if self.config.memory is None:
            told = self._state.load_peers(number) if self._state is not None else []
            for node, place in self.config.peers.items():
                discovery.peers.tell(now, number, node, place, fixed=True)
            for node, place in told:
                discovery.peers.tell(now, number, node, place, fixed=False)
            discovery.peers.forget(number, self._node)
        for peer in discovery.peers.of_network(number):
            discovery.greet(number, peer.node, peer.place)
        self._tell(EventKind.JOINED, number)

    def leave(self, network: int | str) -> None:
        """Leave a network, and forget its peers."""
        _, discovery = self._running()
        number = parse_network(network)
        if number not in self._networks:
            raise NotJoined(f"{number:016x}: was not joined")
        del self._networks[number]
        discovery.peers.forget_network(number)
        if self._state is not None:
            self._state.remove_network(number)
        self._tell(EventKind.LEFT, number)

    # Sockets; `create_connection` and the others that asyncio has are inherited.

    @property
    def _carrier(self) -> TcpDriver:
        return self._running()[0]

    def _facts(self, stream: Stream) -> Facts:
        fixed: dict[str, object] = {"peername": stream.remote, "sockname": stream.local}
        fixed["zt_network"], fixed["zt_node"] = stream.network, stream.remote_node
        return Facts({**fixed, "zt_path": stream.path}, {})

    def _peer(self, host: str) -> str:
        return node_text(self.book.resolve(host))

    async def connect(
        self,
        host: str,
        port: int,
        timeout: float | None = CONNECT_TIMEOUT_S,
        *,
        family: int = 0,
        source: str | None = None,
        source_port: int = 0,
    ) -> Stream:
        """Open a stream to a node; `family` and `source` are for likeness, 0 and our own id.

        Raises NameNotResolved, Unreachable, ConnectRefused, TimeoutError.
        """
        tcp, discovery = self._running()
        if family or source not in (None, self.address):
            raise InvalidConfig("a node of the overlay has no addresses to choose from")
        check_port(port)
        if not port:
            raise InvalidConfig("nobody listens on port 0")
        check_port(source_port)
        node = self.book.resolve(host)
        stream: Stream | None = None
        try:
            async with asyncio.timeout(timeout):
                network = await self._locate(discovery, node)
                own = source_port or choose_port(self.config.entropy, tcp.host.is_port_used)
                local = Endpoint(address_of(network, self._node), own)
                remote = Endpoint(address_of(network, node), port)
                stream = Stream(tcp, tcp.host.connect(tcp.now(), local, remote, tcp.mtu))
                tcp.pump_soon()
                await stream.wait_established()
        except TimeoutError:
            if stream is not None:
                stream.abort()
            raise TimeoutError(f"{host}:{port}: no answer in {timeout:g} s") from None
        except BaseException:
            if stream is not None:
                stream.abort()
            raise
        return stream

    async def listen(self, port: int, host: str | None = None, backlog: int = BACKLOG) -> Listener:
        """Listen on every network; port 0 picks one. PortInUse."""
        self._check_host(host)
        return self.listen_now(port, backlog)

    def listen_now(self, port: int, backlog: int = BACKLOG) -> Listener:
        """Listen as `listen` does; nothing of it needs to wait."""
        tcp, _ = self._running()
        self._joined()
        check_port(port)
        port = port or choose_port(self.config.entropy, tcp.host.is_port_used)
        return Listener(tcp, tcp.host.listen(tcp.now(), None, port, backlog), self.address)

    async def datagram(self, port: int = 0, host: str | None = None) -> Datagrams:
        """Bind a port for datagrams on every network; port 0 picks one. PortInUse."""
        self._check_host(host)
        return self.datagram_now(port)

    def datagram_now(self, port: int = 0) -> Datagrams:
        """Bind as `datagram` does; nothing of it needs to wait."""
        self._running()
        self._joined()
        check_port(port)
        if port in self._datagrams:
            raise PortInUse(f"UDP port {port} is in use")
        port = port or choose_port(self.config.entropy, self._datagrams.__contains__)
        endpoint = Datagrams(
            self._node, port, self._send_datagram, self._send_datagram_now, self._forget_datagrams
        )
        self._datagrams[port] = endpoint
        return endpoint

    def _check_host(self, host: str | None) -> None:
        if host is not None and self.book.resolve(host) != self._node:
            raise InvalidConfig(f"{host}: is not an address of this node")

    def _joined(self) -> list[int]:
        if not self._networks:
            raise NotJoined("there is no network to use")
        return list(self._networks)

    async def resolve(self, host: str, family: int = 0) -> str:
        """Return the node id that a host stands for; NameNotResolved."""
        del family
        return self._peer(host)

    async def echo(self, host: str, timeout: float | None = ECHO_TIMEOUT_S, size: int = 0) -> Echo:
        """Ask a node for a sign of life; TimeoutError, Unreachable."""
        _, discovery = self._running()
        if not 0 <= size <= _MAX_ECHO:
            raise InvalidConfig(f"a question has at most {_MAX_ECHO} bytes, not {size}")
        node = self.book.resolve(host)
        if node == self._node:
            raise InvalidConfig(f"{host}: is this node, which is there")
        try:
            async with asyncio.timeout(timeout):
                network = await discovery.locate(self._joined(), node)
                place, seconds = await discovery.echo(network, node, size)
        except TimeoutError:
            raise TimeoutError(f"{host}: no answer in {timeout:g} s") from None
        return Echo(node_text(node), seconds * 1000, place)

    async def ping(self, host: str, timeout: float | None = ECHO_TIMEOUT_S, size: int = 0) -> Echo:
        """Ask as `echo` does: a host here is always a node."""
        return await self.echo(host, timeout, size)

    def status(self) -> Status:
        tcp, discovery = self._running()
        now = asyncio.get_running_loop().time()
        drops = self.drops + Counter(
            {reason.value: count for reason, count in tcp.tracer.counts.items()}
        )
        return Status(
            self.address,
            tuple(self.networks),
            self.locals,
            tuple(
                PeerStatus(
                    node_text(peer.node),
                    f"{peer.network:016x}",
                    peer.place,
                    peer.advertised,
                    now - peer.heard if peer.heard is not None else None,
                    peer.version,
                    peer.sent_bytes,
                    peer.received_bytes,
                )
                for peer in discovery.peers
            ),
            dict(drops),
        )

    def serve_on_demand(self, serve: Callable[[Kind, int], None] | None) -> None:
        """Call `serve(kind, port)` before a stream or datagram comes to a port nobody has."""
        self._serve = serve

    # Frames.

    def _received(self, data: bytes, place: Place) -> None:
        """Take a frame; what is malformed, or not for us, is counted and dropped."""
        discovery, tcp = self._discovery, self._tcp
        if discovery is None or tcp is None:
            return
        try:
            frame = Frame.decode(data)
            if not self._is_ours(frame):
                return
            if frame.kind is Kind.TCP:
                if not discovery.heard(frame, place):
                    self.drops["from another place"] += 1
                    return
                self._offer_port(frame, tcp.host.is_port_used)
                own = address_of(frame.network, self._node)
                source = address_of(frame.network, frame.source)
                tcp.received(source, own, memoryview(frame.payload))
            elif frame.kind is Kind.DATAGRAM:
                self._receive_datagram(discovery, frame, place)
            else:
                discovery.receive(frame, place)
            discovery.peers.count(frame.network, frame.source, received=len(data))
        except DecodeError:
            self.drops["malformed"] += 1

    def _is_ours(self, frame: Frame) -> bool:
        anybody = frame.version == 1 and not frame.destination
        if frame.network not in self._networks:
            reason = "another network"
        elif frame.destination != self._node and not anybody:
            reason = "not for us"
        elif frame.source == self._node:
            reason = "from self"
        else:
            return True
        self.drops[reason] += 1
        return False

    def _offer_port(self, frame: Frame, is_used: Callable[[int], bool]) -> None:
        if self._serve is None or len(frame.payload) < 4:
            return
        port = int.from_bytes(frame.payload[2:4], "big")
        if port and not is_used(port):
            self._serve(frame.kind, port)

    def _receive_datagram(self, discovery: Discovery, frame: Frame, place: Place) -> None:
        datagram = Datagram.decode(frame.payload)
        if not discovery.heard(frame, place):
            self.drops["from another place"] += 1
            return
        self._offer_port(frame, self._datagrams.__contains__)
        endpoint = self._datagrams.get(datagram.port)
        if endpoint is None:
            self.drops["no socket"] += 1
            return
        endpoint.offer(datagram.data, frame.source, datagram.source_port)

    def _emit(
        self, kind: Kind, network: int, node: int, place: Place, payload: bytes, version: int
    ) -> None:
        if self._transport is None or self._discovery is None:
            return
        frame = frame_head(kind, network, self._node, node, version) + payload
        self._discovery.peers.count(network, node, sent=len(frame))
        self._transport.send(frame, place)

    def _send_segment(self, remote: bytes, segment: bytes) -> None:
        if self._discovery is None:
            return
        network, node = network_of(remote), node_of(remote)
        if node == self._node:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._received_from_self, remote, memoryview(segment))
            return
        place = self._discovery.place(network, node)
        if place is None or network not in self._networks:
            self.drops["no place"] += 1
            return
        self._emit(Kind.TCP, network, node, place, segment, 2)

    def _received_from_self(self, own: bytes, segment: memoryview) -> None:
        if self._tcp is not None:
            self._tcp.received(own, own, segment)

    async def _locate(self, discovery: Discovery, node: int) -> int:
        """Return the network on which a node is; ourselves we find on every one."""
        networks = self._joined()
        return networks[0] if node == self._node else await discovery.locate(networks, node)

    async def _send_datagram(self, local: int, data: bytes, host: str, port: int) -> None:
        _, discovery = self._running()
        check_port(port)
        node = self.book.resolve(host)
        network = await self._locate(discovery, node)
        self._emit_datagram(discovery, (network, node), local, data, port)

    def _send_datagram_now(self, local: int, data: bytes, host: str, port: int) -> None:
        _, discovery = self._running()
        check_port(port)
        node = self.book.resolve(host)
        networks = self._joined()
        network = networks[0] if node == self._node else discovery.known(networks, node)
        if network is not None:
            self._emit_datagram(discovery, (network, node), local, data, port)
            return
        if len(self._finding) >= MAX_FINDING:
            self.drops["no place"] += 1
            return
        sending = self._find_and_send(local, data, host, port)
        task = asyncio.get_running_loop().create_task(sending)
        self._finding.add(task)
        task.add_done_callback(self._finding.discard)

    async def _find_and_send(self, local: int, data: bytes, host: str, port: int) -> None:
        try:
            async with asyncio.timeout(ECHO_TIMEOUT_S):
                await self._send_datagram(local, data, host, port)
        except (OverlayError, OSError):
            self.drops["no place"] += 1

    def _emit_datagram(
        self, discovery: Discovery, to: tuple[int, int], local: int, data: bytes, port: int
    ) -> None:
        network, node = to
        if node == self._node:
            endpoint = self._datagrams.get(port)
            if endpoint is not None:
                endpoint.offer(data, node, local)
            return
        peer = discovery.peers.get(network, node)
        place = discovery.place(network, node)
        if place is None or network not in self._networks:
            raise Unreachable(f"{node_text(node)}: is gone")
        version = peer.version if peer is not None else 2
        payload = Datagram(local, port, data).encode()
        self._emit(Kind.DATAGRAM, network, node, place, payload, version)

    def _forget_datagrams(self, port: int) -> None:
        self._datagrams.pop(port, None)
