"""Finds peers and keeps them: greetings, questions, answers, the minute of silence.

A peer is where it was heard, or where we were told it is. Who claims to be a known peer at another
place is asked there, and believed when the answer comes. Whom nobody told of is looked for by
asking those that are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from overlay.clock import clock_of
from overlay.errors import Closed, DecodeError, Unreachable
from overlay.events import EventKind
from overlay.messages import (
    NODE_BYTES,
    NONCE_BYTES,
    QUESTION_BYTES,
    Frame,
    Kind,
    Place,
    decode_place,
    encode_place,
    node_text,
    place_of_text,
)
from overlay.peers import Key, Peer, Peers
from ztstack.base.entropy import Entropy
from ztstack.base.limits import RateGate

TICK_S: Final = 5.0
GREET_S: Final = 15.0
FIND_S: Final = 1.0
FIND_REPEAT_S: Final = 0.25
SHORT_US: Final = 20_000
"""Between two greetings of strangers whose frames were shorter than these are."""
MAX_ASKED_PEERS: Final = 16
MAX_WAITING: Final = 1024

Emit = Callable[[Kind, int, int, Place, bytes, int], None]
"""Called with kind, network, node, place, payload and version."""
Tell = Callable[[EventKind, Peer], None]


class Discovery:
    """The peers of one node."""

    def __init__(
        self,
        entropy: Entropy,
        emit: Emit,
        place_of: Callable[[int], Place | None],
        tell: Tell,
        tick: Callable[[], None],
    ) -> None:
        self.peers = Peers()
        self.advertised: Place | None = None
        self._entropy = entropy
        self._emit = emit
        self._place_of = place_of
        self._tell = tell
        self._ticked = tick
        self._loop = asyncio.get_running_loop()
        self._clock = clock_of(self._loop)
        self._found: dict[Key, list[asyncio.Future[None]]] = {}
        self._echoes: dict[bytes, asyncio.Future[tuple[Place, float]]] = {}
        self._short: RateGate[None] = RateGate(SHORT_US, 1)
        self._timer: asyncio.TimerHandle | None = None
        self._greeted = self._loop.time()
        self._stopped = False

    def start(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)
        for peer in self.peers:
            self.greet(peer.network, peer.node, peer.place)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stopped = True
        for waiting in self._found.values():
            for future in waiting:
                if not future.done():
                    future.set_result(None)
        for echo in self._echoes.values():
            if not echo.done():
                echo.set_exception(Closed("the node was stopped"))

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)
        now = self._loop.time()
        for peer in self.peers.expire(now):
            self._tell(EventKind.PEER_LOST, peer)
        if now - self._greeted >= GREET_S:
            self._greeted = now
            for peer in self.peers:
                self.greet(peer.network, peer.node, peer.place)
        self._ticked()

    # Where a node is.

    def place(self, network: int, node: int) -> Place | None:
        peer = self.peers.get(network, node)
        return peer.place if peer is not None else self._place_of(node)

    async def locate(self, networks: Iterable[int], node: int) -> int:
        """Return the network on which a node is, after asking others if need be; Unreachable."""
        networks = list(networks)
        met = self._met(networks, node)
        told = {one: place for one in networks if (place := self.place(one, node)) is not None}
        if met is None and told:
            await self._meet(told, node)
            met = self._met(networks, node)
        if met is None and len(self._found) < MAX_WAITING and self._knowing(networks, node):
            await self._find(networks, node)
            met = self._met(networks, node)
        met = met if met is not None else next(iter(told), None)
        if met is None:
            raise Unreachable(f"{node_text(node)}: nobody told where it is; see --peer")
        return met

    def known(self, networks: list[int], node: int) -> int | None:
        """Return the network on which a node is, as far as that is clear without asking."""
        met = self._met(networks, node)
        told = [one for one in networks if self.place(one, node) is not None]
        return met if met is not None or len(told) != 1 else told[0]

    def _met(self, networks: list[int], node: int) -> int | None:
        """Return the network on which a node was heard."""
        peers = ((network, self.peers.get(network, node)) for network in networks)
        return next(
            (one for one, peer in peers if peer is not None and peer.heard is not None), None
        )

    async def _meet(self, told: dict[int, Place], node: int) -> None:
        """Greet a peer where it is said to be, and give it time to answer.

        Whoever has heard of us at another place asks there first, and believes us from then on.
        """

        def greet() -> None:
            for network, place in told.items():
                self.greet(network, node, place)

        (network, *others) = told
        # On a link in memory everybody has a place, and only the network may be in question.
        if others or self.peers.get(network, node) is not None:
            await self._wait_for(list(told), node, greet)

    async def _find(self, networks: list[int], node: int) -> None:
        """Ask others; who is only just being met may know by the next time."""
        question = node.to_bytes(NODE_BYTES, "big").ljust(QUESTION_BYTES, b"\0")

        def ask() -> None:
            for peer in self._knowing(networks, node):
                self._emit(Kind.FIND, peer.network, peer.node, peer.place, question, 2)

        await self._wait_for(networks, node, ask)

    def _knowing(self, networks: list[int], node: int) -> list[Peer]:
        """Return who may know where a node is.

        Those who answered come first, then those we were told of, and strangers last.
        """
        others = [
            peer
            for peer in self.peers
            if peer.network in networks and peer.node != node and peer.version == 2
        ]
        others.sort(key=lambda peer: (not peer.is_proven, not peer.is_fixed, -(peer.heard or 0)))
        return others[:MAX_ASKED_PEERS]

    async def _wait_for(self, networks: list[int], node: int, ask: Callable[[], None]) -> None:
        """Ask again and again until the node was heard, for a limited time."""
        keys = [(network, node) for network in networks]
        future: asyncio.Future[None] = self._loop.create_future()
        for key in keys:
            self._found.setdefault(key, []).append(future)
        deadline = self._loop.time() + FIND_S
        try:
            while not future.done() and self._loop.time() < deadline:
                ask()
                await asyncio.wait((future,), timeout=FIND_REPEAT_S)
        finally:
            for key in keys:
                self._found[key].remove(future)
                if not self._found[key]:
                    del self._found[key]
        if self._stopped:
            raise Closed("the node was stopped")

    async def echo(self, network: int, node: int, size: int) -> tuple[Place, float]:
        """Ask and wait for the answer; return where it came from, and after how many seconds."""
        place = self.place(network, node)
        if place is None or len(self._echoes) >= MAX_WAITING:
            raise Unreachable(f"{node_text(node)}: nobody told where it is; see --peer")
        nonce = self._entropy.take(NONCE_BYTES)
        future: asyncio.Future[tuple[Place, float]] = self._loop.create_future()
        self._echoes[nonce] = future
        start = self._clock()
        self._emit(Kind.HELLO, network, node, place, self._hello(nonce, size), 2)
        try:
            place, end = await future
        finally:
            del self._echoes[nonce]
        return place, end - start

    # Greetings.

    def greet(self, network: int, node: int, place: Place) -> None:
        """Ask a node at a place whether it is there."""
        now = self._loop.time()
        nonce = self.peers.ask(now, network, node, place, self._entropy.take(NONCE_BYTES))
        if nonce is not None:
            self._emit(Kind.HELLO, network, node, place, self._hello(nonce), 2)

    def _hello(self, nonce: bytes, size: int = QUESTION_BYTES) -> bytes:
        return (nonce + encode_place(self.advertised)).ljust(max(size, QUESTION_BYTES), b"\0")

    def heard(self, frame: Frame, place: Place) -> bool:
        """Note who speaks; False if it is to be asked first, and its frame dropped."""
        key = frame.network, frame.source
        known = self.peers.get(*key)
        was_heard = known is not None and known.heard is not None
        if self.peers.heard(self._loop.time(), *key, place, frame.version):
            if not was_heard:
                self._appeared(key)
                if frame.version == 2:
                    self._ask_back(frame, place)
            return True
        self._ask_back(frame, place)
        return False

    def _ask_back(self, frame: Frame, place: Place) -> None:
        """Greet whoever spoke; a short word is no reason to send much where it says to be from."""
        is_short = len(frame.payload) < QUESTION_BYTES
        if is_short and not self._short.allow(int(self._clock() * 1e6), None):
            return
        self.greet(frame.network, frame.source, place)

    def _appeared(self, key: Key) -> None:
        peer = self.peers.get(*key)
        assert peer is not None
        self._tell(EventKind.PEER_FOUND, peer)
        for future in self._found.get(key, ()):
            if not future.done():
                future.set_result(None)

    # Frames. Each raises DecodeError for what is malformed.

    def receive(self, frame: Frame, place: Place) -> None:
        match frame.kind:
            case Kind.HELLO:
                self._receive_hello(frame, place)
            case Kind.HELLO_REPLY:
                self._receive_reply(frame, place)
            case Kind.FIND:
                self._receive_find(frame, place)
            case Kind.FOUND:
                self._receive_found(frame)
            case Kind.DATAGRAM | Kind.TCP:
                raise AssertionError("not for discovery")

    def _receive_hello(self, frame: Frame, place: Place) -> None:
        if frame.version == 1:
            nonce, advertised = b"", place_of_text(frame.payload)
        else:
            _need(frame, QUESTION_BYTES)
            nonce = bytes(frame.payload[:NONCE_BYTES])
            advertised = decode_place(frame.payload[NONCE_BYTES:])
        if self.heard(frame, place):
            self._advertises(frame, advertised)
        reply = nonce + encode_place(self.advertised) if frame.version == 2 else b""
        self._emit(Kind.HELLO_REPLY, frame.network, frame.source, place, reply, frame.version)

    def _receive_reply(self, frame: Frame, place: Place) -> None:
        if frame.version == 1:
            # It proves nothing, so it is good only from where we look for the peer anyway.
            peer = self.peers.get(frame.network, frame.source)
            if peer is not None and peer.place == place:
                self.heard(frame, place)
            return
        _need(frame, NONCE_BYTES)
        nonce = bytes(frame.payload[:NONCE_BYTES])
        advertised = decode_place(frame.payload[NONCE_BYTES:])
        echo = self._echoes.get(nonce)
        if echo is not None and not echo.done():
            echo.set_result((place, self._clock()))
        key = frame.network, frame.source
        known = self.peers.get(*key)
        was_heard = known is not None and known.heard is not None
        if self.peers.answered(self._loop.time(), *key, place, nonce):
            self._advertises(frame, advertised)
            if not was_heard:
                self._appeared(key)

    def _advertises(self, frame: Frame, advertised: Place | None) -> None:
        peer = self.peers.get(frame.network, frame.source)
        if peer is not None:
            peer.advertised = advertised

    def _receive_find(self, frame: Frame, place: Place) -> None:
        _need(frame, QUESTION_BYTES)
        node = int.from_bytes(frame.payload[:NODE_BYTES], "big")
        wanted = self.peers.get(frame.network, node)
        if not self.heard(frame, place) or wanted is None or wanted.heard is None:
            return
        answer = node.to_bytes(NODE_BYTES, "big") + encode_place(wanted.public_place)
        self._emit(Kind.FOUND, frame.network, frame.source, place, answer, 2)

    def _receive_found(self, frame: Frame) -> None:
        _need(frame, NODE_BYTES)
        node = int.from_bytes(frame.payload[:NODE_BYTES], "big")
        place = decode_place(frame.payload[NODE_BYTES:])
        # Only what was asked for, of somebody who was there to be asked.
        asked = self.peers.get(frame.network, frame.source)
        if place is None or asked is None or (frame.network, node) not in self._found:
            return
        self.greet(frame.network, node, place)


def _need(frame: Frame, size: int) -> None:
    if len(frame.payload) < size:
        raise DecodeError(f"{frame.kind.name} of {len(frame.payload)} bytes")
