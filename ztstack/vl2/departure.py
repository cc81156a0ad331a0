"""Frames on their way out: rules, our credentials first, members, bridges and groups (vl2 6.2)."""

from __future__ import annotations

from typing import Final

from ztstack.base.address import Address
from ztstack.base.codec import Writer
from ztstack.base.errors import Drop
from ztstack.base.frame import EtherType, Frame, FrameBatch
from ztstack.base.limits import BoundedMap
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.vl2.events import FrameIn, SendFrames
from ztstack.vl2.multicast import Outgoing, shuffled
from ztstack.vl2.ndp_emulation import emulated_answer
from ztstack.vl2.network_config import NetworkConfig
from ztstack.vl2.rules import NOBODY, FilterFrame, Outcome
from ztstack.vl2.state import NetworkState
from ztstack.wire.frames import (
    OUTBOUND_REDIRECT,
    OUTBOUND_TEE,
    OUTBOUND_WATCH,
    ExtFrame,
    frame_prefix,
)
from ztstack.wire.multicast import MulticastFrame, MulticastGather
from ztstack.wire.verbs import Verb

BRIDGE_ROUTES: Final = 65_536
BRIDGE_FLOOD: Final = 32
MEMBERS_KNOWN: Final = 4096
GATHER_TARGETS: Final = 16

_Packets = list[tuple[bytes, bytes | memoryview]]


def send_copy(state: NetworkState, to: Address, flags: int, frame: FilterFrame, size: int) -> None:
    """Send a frame, or the begin of it, to a third node that the rules name."""
    w = Writer()
    ExtFrame(
        network=state.network,
        flags=flags,
        com=None,
        destination=frame.destination_mac,
        source=frame.source_mac,
        ethertype=frame.ethertype,
        payload=frame.payload[:size],
    ).encode(w)
    state.send(to, Verb.EXT_FRAME, w.getvalue(), compress=True)


class Departure:
    """Turns frames of this host into messages."""

    def __init__(self, state: NetworkState) -> None:
        self._state = state
        self._prefixes: dict[int, bytes] = {}
        # Whose MAC is whose, of those to whom something was sent.
        self._members: dict[Mac, Address] = {}
        self._routes: BoundedMap[Mac, Address] = BoundedMap(BRIDGE_ROUTES)

    def send(self, now: int, batch: FrameBatch) -> None:
        """Send frames to one MAC; the hot path is a member's own MAC and rules that accept all.

        Named by the benchmark `datapath`.
        """
        state = self._state
        if state.config is None:
            state.drop(Drop.NOT_JOINED)
            return
        mac = batch.destination
        address = self._members.get(mac)
        if address is not None:
            self._send_to(now, address, batch)
        elif mac.is_multicast:
            for header, body in batch.packets:
                self._send_multicast(now, state.config, batch, header + bytes(body))
        elif mac == state.mac:
            for header, body in batch.packets:
                frame = Frame(mac, state.mac, batch.ethertype, header + bytes(body))
                state.out.append(FrameIn(frame))
        elif mac.is_derived(state.network):
            if len(self._members) >= MEMBERS_KNOWN:
                self._members.clear()
            address = self._members[mac] = mac.node(state.network)
            self._send_to(now, address, batch)
        else:
            for header, body in batch.packets:
                self._send_bridged(state.config, batch, header + bytes(body))

    def _send_to(self, now: int, address: Address, batch: FrameBatch) -> None:
        """Send frames to a member, by the MAC that is its own."""
        state, packets = self._state, batch.packets
        if not state.filter.accepts_all:
            packets = self._passing(address, batch)
            if not packets:
                return
        for payload in state.memberships.take_push(now, address):
            state.send(address, Verb.NETWORK_CREDENTIALS, payload, compress=True)
        prefix = self._prefixes.get(batch.ethertype)
        if prefix is None:
            prefix = self._prefix(batch.ethertype)
        state.out.append(SendFrames(address, prefix, packets))

    def push_credentials(self, now: int, address: Address) -> None:
        """Send our credentials before a frame, if this node may not have them yet."""
        state = self._state
        for payload in state.memberships.take_push(now, address):
            state.send(address, Verb.NETWORK_CREDENTIALS, payload, compress=True)

    def learn_route(self, mac: Mac, bridge: Address) -> None:
        """Note that a foreign MAC is behind a bridge."""
        if not mac.is_multicast and not mac.is_derived(self._state.network):
            self._routes.set(mac, bridge)

    def send_queued(self, now: int, frames: list[Outgoing], member: Address) -> None:
        """Send frames that waited for listeners to one that was just found."""
        for frame in frames:
            self._send_to_member(now, frame, member)

    def distribute(
        self, now: int, config: NetworkConfig, frame: Outgoing, origin: Address | None = None
    ) -> None:
        """Send a frame to those who listen, and look for more of them if they are few."""
        state = self._state
        bridges = config.active_bridges
        if state.own not in bridges and self._replicated(now, config, frame):
            return
        plan = state.multicast.distribute(now, frame, config.multicast_limit, bridges, origin)
        for member in plan.recipients:
            self._send_to_member(now, frame, member)
        if plan.gather:
            self._gather(config, frame.group, plan.gather)

    def _replicated(self, now: int, config: NetworkConfig, frame: Outgoing) -> bool:
        """Let the nearest replicator of the network distribute a frame, if one is there."""
        state = self._state
        replicators = config.replicators
        if not replicators or state.own in replicators:
            return False
        found = [
            (latency, replicator)
            for replicator in replicators
            if (latency := state.directory.direct_latency(replicator)) is not None
        ]
        if not found:
            return False
        _, replicator = min(found)
        self.push_credentials(now, replicator)
        w = Writer()
        MulticastFrame(
            network=state.network,
            gather_limit=0,
            source=state.mac if frame.source is None else frame.source,
            group=frame.group,
            ethertype=frame.ethertype,
            payload=frame.payload,
            flags_replicate=True,
        ).encode(w)
        compress = config.compresses_multicast
        state.send(replicator, Verb.MULTICAST_FRAME, w.getvalue(), compress=compress)
        return True

    def _prefix(self, ethertype: int) -> bytes:
        # An ethertype has 16 bits, so this table is bounded.
        prefix = self._prefixes[ethertype] = frame_prefix(self._state.network, ethertype)
        return prefix

    def _passing(self, address: Address, batch: FrameBatch) -> _Packets:
        """Return the packets that the rules let through to a member."""
        state = self._state
        packets = batch.packets
        if packets and state.filter.is_same_for_all(address, state.memberships):
            header, body = packets[0]
            frame = self._frame(address, batch.destination, batch.ethertype, header + bytes(body))
            return packets if self._passes(frame, with_tee=True) else []
        passing = []
        for header, body in packets:
            frame = self._frame(address, batch.destination, batch.ethertype, header + bytes(body))
            if self._passes(frame, with_tee=True):
                passing.append((header, body))
        return passing

    def _frame(self, to: Address, mac: Mac, ethertype: int, payload: bytes) -> FilterFrame:
        state = self._state
        return FilterFrame(
            inbound=False,
            source=state.own,
            destination=to,
            source_mac=state.mac,
            destination_mac=mac,
            ethertype=ethertype,
            payload=payload,
        )

    def _passes(self, frame: FilterFrame, *, with_tee: bool) -> bool:
        state = self._state
        if state.filter.accepts_all:
            return True
        decision = state.filter.outbound(frame, state.memberships)
        if decision.outcome is Outcome.DROP:
            state.drop(Drop.RULES)
            return False
        if with_tee:
            for tee in decision.tees:
                flags = OUTBOUND_WATCH if tee.watch else OUTBOUND_TEE
                send_copy(state, tee.target, flags, frame, tee.length)
        if decision.outcome is Outcome.REDIRECT:
            send_copy(state, decision.redirect, OUTBOUND_REDIRECT, frame, len(frame.payload))
            return False
        return True

    # Behind a bridge.

    def _send_bridged(self, config: NetworkConfig, batch: FrameBatch, payload: bytes) -> None:
        state = self._state
        mac, ethertype = batch.destination, batch.ethertype
        bridges = [bridge for bridge in config.active_bridges if bridge != state.own]
        learned = self._routes.get(mac)
        if learned in bridges:
            assert learned is not None
            bridges = [learned]
        if not bridges:
            state.drop(Drop.BRIDGING)
            return
        if not self._passes(self._frame(NOBODY, mac, ethertype, payload), with_tee=True):
            return
        if len(bridges) > BRIDGE_FLOOD:
            bridges = shuffled(bridges, state.entropy)[:BRIDGE_FLOOD]
        w = Writer()
        ExtFrame(state.network, 0, None, mac, state.mac, ethertype, payload).encode(w)
        for bridge in bridges:
            if self._passes(self._frame(bridge, mac, ethertype, payload), with_tee=False):
                state.send(bridge, Verb.EXT_FRAME, w.getvalue())

    # To a group.

    def _send_multicast(
        self, now: int, config: NetworkConfig, batch: FrameBatch, payload: bytes
    ) -> None:
        state = self._state
        mac, ethertype = batch.destination, batch.ethertype
        group = MulticastGroup(mac)
        if mac.is_broadcast:
            if is_arp_request(ethertype, payload):
                group = MulticastGroup(mac, int.from_bytes(payload[24:28], "big"))
            elif not config.allows_broadcast:
                state.drop(Drop.MULTICAST_DISABLED)
                return
        elif config.emulates_ndp:
            frame = Frame(mac, state.mac, ethertype, payload)
            answer = emulated_answer(frame, state.network, state.own, config.addresses)
            if answer is not None:
                state.out.append(FrameIn(answer))
                return
        if config.multicast_limit == 0:
            state.drop(Drop.MULTICAST_DISABLED)
            return
        if not self._passes(self._frame(NOBODY, mac, ethertype, payload), with_tee=True):
            return
        self.distribute(now, config, Outgoing(now, group, None, ethertype, payload))

    def _send_to_member(self, now: int, frame: Outgoing, member: Address) -> None:
        state = self._state
        config = state.config
        if config is None:
            return
        group = frame.group
        view = self._frame(member, group.mac, frame.ethertype, frame.payload)
        if frame.source is not None:
            view = view._replace(source_mac=frame.source)
        if not self._passes(view, with_tee=False):
            return
        self.push_credentials(now, member)
        w = Writer()
        MulticastFrame(
            network=state.network,
            gather_limit=frame.gather_limit,
            source=frame.source,
            group=group,
            ethertype=frame.ethertype,
            payload=frame.payload,
        ).encode(w)
        state.send(member, Verb.MULTICAST_FRAME, w.getvalue(), compress=config.compresses_multicast)

    def _gather(self, config: NetworkConfig, group: MulticastGroup, limit: int) -> None:
        state = self._state
        targets: list[Address | None] = [state.directory.best_upstream()]
        if not state.network.is_adhoc:
            targets.append(state.network.controller)
        targets.extend(shuffled(config.always_contact, state.entropy))
        w = Writer()
        MulticastGather(state.network, group, limit, config.com).encode(w)
        unique = [to for to in dict.fromkeys(targets) if to is not None and to != state.own]
        for target in unique[:GATHER_TARGETS]:
            state.send(target, Verb.MULTICAST_GATHER, w.getvalue())


def is_arp_request(ethertype: int, payload: bytes) -> bool:
    """Tell whether a broadcast is a question for one IPv4 address (section 6.4)."""
    return (
        ethertype == EtherType.ARP
        and len(payload) >= 28
        and payload[2:6] == b"\x08\x00\x06\x04"
        and payload[7] == 1
    )
