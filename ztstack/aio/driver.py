"""The loop between asyncio and the node: datagrams in, one pump, one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from ztstack.aio.alertness import SMALL_BYTES, Alertness
from ztstack.aio.capture import CaptureFiles, FrameCapture, WireCapture
from ztstack.aio.clock import Clock
from ztstack.aio.tcp_relay import RelayClient, TcpRelay
from ztstack.aio.udp import UdpSockets
from ztstack.aio.upstream_proxy import UpstreamProxy
from ztstack.base.datagram import ALL_SOCKETS, Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import earliest
from ztstack.node.events import Event
from ztstack.node.node import Node

EARLIEST_TIMER_S: Final = 0.001
LAST_WORDS: Final = 3
LAST_WORDS_S: Final = 0.005
_FOREVER: Final = 1 << 62


class Driver:
    """Feeds the node, then sends, delivers, and re-arms one timer."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        deliver: Callable[[Event], None],
        capture: CaptureFiles,
    ) -> None:
        self.loop = loop
        self.clock = clock
        self.now = clock.now
        self.udp = UdpSockets(loop, self)
        self.udp.on_writable = self.pump_soon
        self.relay: TcpRelay | None = None
        self._deliver = deliver
        self._capture = capture
        self._captures: list[FrameCapture | WireCapture] = []
        self._node: Node | None = None
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _FOREVER
        self._alertness = Alertness()

    @property
    def node(self) -> Node:
        assert self._node is not None
        return self._node

    def use_relay(self, client: RelayClient, proxy: UpstreamProxy | None = None) -> None:
        """Give what this client wants to a TCP relay, beside UDP or instead of it."""
        self.relay = TcpRelay(self.loop, client, self, self.now, proxy)
        self.relay.on_connected = self._relay_connected

    def _relay_connected(self) -> None:
        assert self.relay is not None
        if self.relay.client.attempt > 1:
            # The relay sends from another port than before: peers must hear from us there.
            self.node.switch.interfaces_changed(self.now())
        self.pump_soon()

    def start(self, node: Node) -> None:
        self._node = node
        if self._capture.frames is not None:
            node.tap = frames = FrameCapture(self._capture.frames)
            self._captures.append(frames)
        if self._capture.wire is not None:
            self.udp.tap = wire = WireCapture(self._capture.wire, self.now)
            self._captures.append(wire)
        self.pump_soon()

    async def take_leave(self) -> None:
        """Say the last words more than once: nobody answers here if they are lost."""
        for _ in range(LAST_WORDS):
            if not self.node.repeat_last(self.now()):
                return
            self._pump()
            await asyncio.sleep(LAST_WORDS_S)

    def stop(self) -> None:
        """Send what is ready, then let go of the loop."""
        if self._node is not None:
            self._pump()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.relay is not None:
            self.relay.close()
        self.udp.close()
        for capture in self._captures:
            capture.close()
        self._node = None

    def pump_soon(self) -> None:
        """Pump at the end of this turn of the loop; many wishes make one pump."""
        if self._soon is None and self._node is not None:
            self._soon = self.loop.call_soon(self._pump)

    # Receiver.

    def received(self, number: int, remote: Endpoint, view: memoryview, step: int) -> None:
        now = self.now()
        self._alertness.heard(now, len(view))
        if self.relay is not None and number != ALL_SOCKETS:
            self.relay.client.heard(now, remote, step)
        assert self._node is not None
        self._node.receive_train(now, number, remote, view, step)

    def received_pile(self, number: int, remote: Endpoint, datagrams: Sequence[memoryview]) -> None:
        now = self.now()
        self._alertness.heard(now, len(datagrams) * len(datagrams[0]))
        if self.relay is not None and number != ALL_SOCKETS:
            self.relay.client.heard(now, remote, len(datagrams[0]))
        assert self._node is not None
        self._node.receive_pile(now, number, remote, datagrams)

    def drained(self) -> None:
        """End a wake-up: who waits for what arrived is woken first.

        What they answer then bears the acknowledgement, and leaves in the same turn of the loop.
        """
        node = self._node
        assert node is not None
        node.settle(self.now())
        events = node.take_events()
        if not events:
            self._pump()
            return
        for event in events:
            self._deliver(event)
        self.pump_soon()

    # The pump.

    def _pump(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        node, now = self._node, self.now()
        assert node is not None
        # What was armed is never later than the node's next timer when the last pump ended.
        if self._timer is None or self._timer_at <= now:
            node.handle_timer(now)
        node.flush(now)
        more = False
        if not self.udp.is_blocked:
            datagrams, more = node.take_datagrams(now)
            self._send(now, datagrams)
            is_small = len(datagrams) == 1 and len(datagrams[0].data) <= SMALL_BYTES
            if is_small and self._alertness.asked(now):
                self.loop.call_soon(self._stay_awake)
        if self.relay is not None:
            self.relay.client.handle_timer(now)
            self.relay.flush()
        for event in node.take_events():
            self._deliver(event)
        if more and not self.udp.is_blocked:
            self.pump_soon()
        self._rearm(now)

    def _stay_awake(self) -> None:
        """Keep the loop from sleeping as long as the answer may come at once."""
        if self._node is not None and self._alertness.stays(self.now()):
            self.loop.call_soon(self._stay_awake)
            # Who looked and found nothing finds one datagram the next time.
            self.udp.expects_one = self._alertness.looked()

    def _send(self, now: int, datagrams: list[Datagram]) -> None:
        relay = self.relay
        if relay is None:
            for datagram in datagrams:
                self.udp.send(datagram)
            return
        for datagram in datagrams:
            if not relay.send(now, datagram):
                self.udp.send(datagram)

    def _rearm(self, now: int) -> None:
        if self._node is None:
            return
        due = self._node.next_timer()
        if self.relay is not None:
            due = earliest(due, self.relay.client.next_timer()) or due
        # A timer that fires too early does nothing, so it is moved only when it must be earlier.
        if due >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        delay = max((due - now) / 1e6, EARLIEST_TIMER_S)
        self._timer_at = due
        self._timer = self.loop.call_later(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._timer_at = _FOREVER
        self._pump()
