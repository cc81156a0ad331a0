"""Frames on their way in: membership, rules, whose MAC it may be, delivery (vl2 6.7 to 6.10)."""

from __future__ import annotations

from typing import Final

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import Drop
from ztstack.base.frame import Burst, Frame
from ztstack.base.limits import RateGate
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.base.timers import SECOND
from ztstack.vl2.departure import MEMBERS_KNOWN, Departure, send_copy
from ztstack.vl2.events import BurstsIn, FrameIn, ReplyError, ReplyOk, Verdict
from ztstack.vl2.multicast import Outgoing
from ztstack.vl2.network_config import NetworkConfig
from ztstack.vl2.rules import FilterFrame, Outcome
from ztstack.vl2.state import NetworkState
from ztstack.wire.credentials import Com
from ztstack.wire.frames import (
    INBOUND_REDIRECT,
    INBOUND_TEE,
    INBOUND_WATCH,
    ExtFrame,
    FrameMessage,
)
from ztstack.wire.multicast import MAX_MEMBERS, GatherOk, MulticastFrame, MulticastFrameOk
from ztstack.wire.verbs import ErrorCode, Verb

COMPLAINT_US: Final = 1 * SECOND
COMPLAINT_NODES: Final = 1024


class Arrival:
    """Turns messages of members into frames for this host."""

    def __init__(self, state: NetworkState, departure: Departure) -> None:
        self._state = state
        self._departure = departure
        self._macs: dict[Address, Mac] = {}
        self._complaints: RateGate[Address] = RateGate(COMPLAINT_US, COMPLAINT_NODES)

    # The gate.

    def admits(self, now: int, source: Address, verb: int, packet_id: int, payload: bytes) -> bool:
        """Tell whether a sender is a member; a message of another waits for its certificate."""
        state = self._state
        if state.is_allowed(source):
            self.greet(now, source)
            return True
        state.drop(Drop.NOT_MEMBER)
        if state.parking.put(now, source, verb, packet_id, payload):
            state.drop(Drop.QUEUE_FULL)
        if verb != Verb.MULTICAST_LIKE and self._complaints.allow(now, source):
            code = ErrorCode.NEED_MEMBERSHIP_CERTIFICATE
            state.out.append(ReplyError(source, packet_id, verb, code, state.network.packed))
        return False

    def greet(self, now: int, member: Address) -> None:
        """Tell a member what we listen to, if it has not heard it for a while."""
        state = self._state
        if not state.subscriptions.all_groups or not state.memberships.is_like_due(now, member):
            return
        # It believes us only once it has our certificate.
        self._departure.push_credentials(now, member)
        for payload in state.subscriptions.payloads():
            state.send(member, Verb.MULTICAST_LIKE, payload, compress=True)

    def _add_com(self, com: Com | None) -> None:
        state = self._state
        if com is None:
            return
        controller = state.identity_of(state.network.controller)
        if controller is not None:
            state.memberships.accept(com, controller)

    # Messages.

    def receive_bursts(
        self, now: int, source: Address, ethertype: int, bursts: list[Burst]
    ) -> Verdict:
        """Take frames of one member that arrived together; one check for all where rules permit.

        Named by the benchmark `datapath`.
        """
        state = self._state
        config = state.config
        if config is None or not state.is_allowed(source):
            for burst in bursts:
                self._refuse_burst(now, source, ethertype, burst)
            return Verdict.IGNORED
        self.greet(now, source)
        mac = self._macs.get(source)
        if mac is None:
            if len(self._macs) >= MEMBERS_KNOWN:
                self._macs.clear()
            mac = self._macs[source] = Mac.of_node(source, state.network)
        for burst in bursts:
            lengths = burst.lengths
            if lengths and not 0 < min(lengths) <= max(lengths) <= config.mtu:
                self._keep(burst, [0 < length <= config.mtu for length in lengths])
            if not state.filter.accepts_all:
                self._filter_burst(source, mac, ethertype, burst)
        if len(bursts) > 1:
            bursts = [burst for burst in bursts if burst.rows]
        if bursts and bursts[0].rows:
            state.out.append(BurstsIn(mac, ethertype, bursts))
        return Verdict.TRUSTED

    def receive_frame(self, now: int, source: Address, packet_id: int, payload: bytes) -> Verdict:
        state = self._state
        message = FrameMessage.decode(Reader(payload))
        if not self.admits(now, source, Verb.FRAME, packet_id, payload):
            return Verdict.IGNORED
        if message.payload:
            mac = Mac.of_node(source, state.network)
            frame = self._view(source, mac, state.mac, message.ethertype, message.payload)
            if self._passes(frame):
                self._deliver(frame)
        return Verdict.TRUSTED

    def receive_ext_frame(
        self, now: int, source: Address, packet_id: int, payload: bytes
    ) -> Verdict:
        state = self._state
        message = ExtFrame.decode(Reader(payload))
        self._add_com(message.com)
        if not self.admits(now, source, Verb.EXT_FRAME, packet_id, payload):
            return Verdict.IGNORED
        if message.payload:
            if message.source in (0, state.mac):
                state.drop(Drop.FROM_SELF)
                return Verdict.TRUSTED
            frame = self._view(
                source, message.source, message.destination, message.ethertype, message.payload
            )
            outcome = self._outcome(frame)
            if outcome is Outcome.SUPER_ACCEPT:
                self._deliver(frame)
            elif outcome is Outcome.ACCEPT:
                if not self._may_bridge(source, frame):
                    return Verdict.TRUSTED
                self._deliver(frame)
        if message.wants_acknowledgement:
            body = state.network.packed
            state.out.append(ReplyOk(source, packet_id, Verb.EXT_FRAME, body))
        return Verdict.TRUSTED

    def receive_multicast(
        self, now: int, source: Address, packet_id: int, payload: bytes
    ) -> Verdict:
        state = self._state
        message = MulticastFrame.decode(Reader(payload))
        self._add_com(message.com)
        if not self.admits(now, source, Verb.MULTICAST_FRAME, packet_id, payload):
            return Verdict.IGNORED
        config = state.config
        if config is None or config.multicast_limit == 0:
            state.drop(Drop.MULTICAST_DISABLED)
            return Verdict.TRUSTED
        if message.payload and not self._take_multicast(now, config, source, message):
            return Verdict.TRUSTED
        if message.gather_limit:
            self._answer_gather(now, source, packet_id, message)
        return Verdict.TRUSTED

    def _take_multicast(
        self, now: int, config: NetworkConfig, source: Address, message: MulticastFrame
    ) -> bool:
        """Deliver a frame to a group; tell whether it was a proper one."""
        state = self._state
        derived = Mac.of_node(source, state.network)
        mac = derived if message.source is None else message.source
        group = message.group
        if not group.mac.is_multicast or mac == 0 or mac.is_multicast:
            state.drop(Drop.MALFORMED)
            return False
        if mac == state.mac:
            state.drop(Drop.FROM_SELF)
            return False
        if message.flags_replicate and state.own in config.replicators:
            frame = Outgoing(now, group, mac, message.ethertype, message.payload)
            self._departure.distribute(now, config, frame, origin=source)
        if mac != derived:
            if not state.is_bridge(source):
                state.drop(Drop.BRIDGING)
                return False
            self._departure.learn_route(mac, source)
        view = self._view(source, mac, group.mac, message.ethertype, message.payload)
        if self._passes(view):
            self._deliver(view)
        return True

    def _answer_gather(
        self, now: int, source: Address, packet_id: int, message: MulticastFrame
    ) -> None:
        state = self._state
        group = message.group
        total, members = state.multicast.answer(
            now, group, source, message.gather_limit, state.subscriptions.groups
        )
        body = multicast_ok_body(state, group, total, members)
        if body is not None:
            state.out.append(ReplyOk(source, packet_id, Verb.MULTICAST_FRAME, body))

    # Frames.

    def _view(
        self, source: Address, mac: Mac, to: Mac, ethertype: int, payload: bytes
    ) -> FilterFrame:
        return FilterFrame(
            inbound=True,
            source=source,
            destination=self._state.own,
            source_mac=mac,
            destination_mac=to,
            ethertype=ethertype,
            payload=payload,
        )

    def _may_bridge(self, source: Address, frame: FilterFrame) -> bool:
        """Tell whether the MACs of a frame are its sender's and ours, or bridged rightly."""
        state = self._state
        if frame.source_mac != Mac.of_node(source, state.network):
            if not state.is_bridge(source):
                state.drop(Drop.BRIDGING)
                return False
            self._departure.learn_route(frame.source_mac, source)
            return True
        if frame.destination_mac == state.mac:
            return True
        if frame.destination_mac.is_multicast:
            if state.config is not None and state.config.multicast_limit > 0:
                return True
            state.drop(Drop.MULTICAST_DISABLED)
            return False
        # This host has one MAC, so it is never a bridge.
        state.drop(Drop.BRIDGING)
        return False

    def _outcome(self, frame: FilterFrame) -> Outcome:
        """Return DROP, ACCEPT or SUPER_ACCEPT; copies and detours are on their way then."""
        state = self._state
        if state.filter.accepts_all:
            return Outcome.ACCEPT
        decision = state.filter.inbound(frame, state.memberships)
        for tee in decision.tees:
            flags = INBOUND_WATCH if tee.watch else INBOUND_TEE
            send_copy(state, tee.target, flags, frame, tee.length)
        if decision.outcome is Outcome.REDIRECT:
            send_copy(state, decision.redirect, INBOUND_REDIRECT, frame, len(frame.payload))
            return Outcome.DROP
        if decision.outcome is Outcome.DROP:
            state.drop(Drop.RULES)
        return decision.outcome

    def _passes(self, frame: FilterFrame) -> bool:
        return self._outcome(frame) >= Outcome.ACCEPT

    def _deliver(self, frame: FilterFrame) -> None:
        state = self._state
        if state.config is not None and len(frame.payload) > state.config.mtu:
            state.drop(Drop.TOO_LONG)
            return
        state.out.append(
            FrameIn(Frame(frame.destination_mac, frame.source_mac, frame.ethertype, frame.payload))
        )

    # Bursts that are not let through as they are.

    def _keep(self, burst: Burst, wanted: list[bool]) -> None:
        burst.rows[:] = [row for row, keep in zip(burst.rows, wanted, strict=True) if keep]
        burst.lengths[:] = [n for n, keep in zip(burst.lengths, wanted, strict=True) if keep]

    def _filter_burst(self, source: Address, mac: Mac, ethertype: int, burst: Burst) -> None:
        state = self._state
        only_one = state.filter.is_same_for_all(source, state.memberships)
        wanted: list[bool] = []
        for row, length in zip(burst.rows, burst.lengths, strict=True):
            payload = bytes(burst.view[row : row + length])
            wanted.append(self._passes(self._view(source, mac, state.mac, ethertype, payload)))
            if only_one:
                wanted *= len(burst.rows)
                break
        if not all(wanted):
            self._keep(burst, wanted)

    def _refuse_burst(self, now: int, source: Address, ethertype: int, burst: Burst) -> None:
        head = self._state.network.packed + ethertype.to_bytes(2, "big")
        for row, length in zip(burst.rows, burst.lengths, strict=True):
            payload = head + burst.view[row : row + length]
            self.admits(now, source, Verb.FRAME, 0, payload)


def multicast_ok_body(
    state: NetworkState, group: MulticastGroup, total: int, members: tuple[Address, ...]
) -> bytes | None:
    """Return the body of OK(MULTICAST_FRAME), None if there is nothing to say."""
    if not members:
        return None
    w = Writer()
    found = GatherOk(state.network, group, total, members[:MAX_MEMBERS])
    MulticastFrameOk(state.network, group, None, found).encode(w)
    return w.getvalue()
