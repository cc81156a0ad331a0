"""The whole node as one machine: datagrams, commands and time in; datagrams and events out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.datagram import Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.entropy import Entropy
from ztstack.base.errors import DecodeError, Drop, NotJoined
from ztstack.base.frame import Burst
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import Tracer
from ztstack.bonding.bond import Locator
from ztstack.bonding.bonds import Bonds
from ztstack.bonding.settings import BondSettings
from ztstack.controller.controller import Controller, SendConfig, SendError, SendRevocation
from ztstack.crypto.identity import Identity
from ztstack.ip.events import GroupsChanged
from ztstack.ip.interface import Interface
from ztstack.node.events import (
    Event,
    IdentityCollided,
    IdentityToValidate,
    NetworkChanged,
    NetworkConfigured,
    OnlineChanged,
    Socket,
    WorldStored,
)
from ztstack.node.member import Member
from ztstack.node.tap import FrameTap
from ztstack.root.multicast_store import MulticastStore
from ztstack.vl1 import events as vl1
from ztstack.vl1.switch import Inbound, InboundBurst, PathPolicy, Switch
from ztstack.vl1.train import even_packet
from ztstack.vl2 import events as vl2
from ztstack.vl2.local_settings import EVERYTHING, LocalSettings
from ztstack.vl2.network import Network
from ztstack.vl2.network_config import NetworkConfig
from ztstack.wire.network_config import ConfigChunk, ConfigRequest
from ztstack.wire.replies import Error, Ok
from ztstack.wire.verbs import ErrorCode, Verb
from ztstack.wire.world import World

BURST_PACKETS: Final = 88
"""What is taken from a network in one go: four trains of full packets."""
MAX_ROUNDS: Final = 64
DEFAULT_MTU: Final = 2800
LONGEST_PACKET: Final = 9868
"""What fits as a frame to a group into all fragments that one packet may have (vl2 6.11)."""
# Verbs whose payload begins with the id of the one network that they are about.
_ONE_NETWORK: Final = frozenset(
    (
        Verb.FRAME,
        Verb.EXT_FRAME,
        Verb.NETWORK_CONFIG,
        Verb.MULTICAST_GATHER,
        Verb.MULTICAST_FRAME,
    )
)
_MANY_NETWORKS: Final = frozenset((Verb.MULTICAST_LIKE, Verb.NETWORK_CREDENTIALS))


class Node:
    """VL1, VL2 and IP joined; knows neither sockets nor clocks."""

    def __init__(
        self,
        now: int,
        identity: Identity,
        planet: World,
        entropy: Entropy,
        tracer: Tracer,
        policy: PathPolicy,
    ) -> None:
        self.identity = identity
        self.tracer = tracer
        self._entropy = entropy
        self.switch = Switch(now, identity, planet, entropy, tracer, policy)
        self.members: dict[NetworkId, Member] = {}
        self._packed: dict[bytes, Member] = {}
        self.controller: Controller | None = None
        self.multicast_store: MulticastStore | None = None
        self.bonds: Bonds | None = None
        self.tap: FrameTap | None = None
        self._events: list[Event] = []
        self._local: list[tuple[int, int, bytes]] = []
        self._dispatch: dict[int, Callable[[int, Inbound], None]] = {
            Verb.OK: self._receive_ok,
            Verb.ERROR: self._receive_error,
            Verb.NETWORK_CONFIG_REQUEST: self._receive_config_request,
        }

    # Commands.

    def join(
        self,
        now: int,
        network_id: NetworkId,
        cached: bytes | None = None,
        settings: LocalSettings = EVERYTHING,
    ) -> None:
        """Become a member; `cached` is the last `NetworkConfigured.raw`, used at once."""
        if network_id in self.members:
            return
        network = Network(
            now, network_id, self.identity, self.switch, self._entropy, self.tracer, cached
        )
        interface = Interface(now, network.mac, DEFAULT_MTU, self._entropy, self.tracer)
        member = Member(network, interface, settings)
        self.members[network_id] = self._packed[network_id.packed] = member
        if network.config is not None:
            self._configure(now, network_id, network.config)
        self._turn(now)

    def use_bonds(self, now: int, settings: BondSettings, locator: Locator) -> None:
        """Use several paths to a peer at once."""
        self.bonds = Bonds(now, settings, locator)
        self.switch.ways.use(self.bonds)

    def leave(self, now: int, network_id: NetworkId) -> None:
        del now
        member = self.members.pop(network_id, None)
        if member is not None:
            del self._packed[network_id.packed]
            member.network.leave()
            self._refresh_switch()

    def member(self, network_id: NetworkId) -> Member:
        member = self.members.get(network_id)
        if member is None:
            raise NotJoined(f"network {network_id} was not joined")
        return member

    def identity_validated(self, now: int, identity: Identity, *, ok: bool) -> None:
        """Answer IdentityToValidate."""
        self.switch.identity_validated(now, identity, ok=ok)
        self._turn(now)

    # Datagrams in.

    def receive(self, now: int, datagram: Datagram) -> None:
        self.switch.receive(now, datagram)
        self._turn(now)

    def receive_train(
        self, now: int, socket: int, remote: Endpoint, view: memoryview, step: int
    ) -> None:
        """Take datagrams that came together; what follows from them is for `settle`."""
        self.switch.receive_train(now, socket, remote, view, step)

    def receive_pile(
        self, now: int, socket: int, remote: Endpoint, datagrams: Sequence[memoryview]
    ) -> None:
        """Take datagrams that came one by one, but at once."""
        self.switch.receive_pile(now, socket, remote, datagrams)

    def settle(self, now: int) -> None:
        """Do what follows from all that a wake-up brought."""
        self._turn(now)

    # Time.

    def handle_timer(self, now: int) -> None:
        self.switch.handle_timer(now)
        for member in list(self.members.values()):
            member.network.handle_timer(now)
            member.interface.handle_timer(now)
        if self.controller is not None:
            self.controller.handle_timer(now)
        self._turn(now)

    def next_timer(self) -> int:
        first = self.switch.next_timer()
        for member in self.members.values():
            for machine in (member.network, member.interface):
                at = machine.next_timer()
                if at is not None and at < first:
                    first = at
        if self.controller is not None:
            at = self.controller.next_timer()
            if at is not None and at < first:
                first = at
        return first

    # Outputs.

    def flush(self, now: int) -> None:
        """End a wake-up: acknowledge what arrived in it."""
        for member in self.members.values():
            member.interface.flush(now)

    def repeat_last(self, now: int) -> bool:
        """Say again what peers need that ended a connection just now, before this node is gone."""
        said = False
        for member in self.members.values():
            said = member.interface.repeat_last(now) or said
        return said

    def take_datagrams(self, now: int) -> tuple[list[Datagram], bool]:
        """Return what is to be sent, and whether there is more to take right away."""
        self._turn(now)
        more = sent = False
        for member in list(self.members.values()):
            batches = member.interface.take_frames(now, BURST_PACKETS)
            for batch in batches:
                if self.tap is not None:
                    mac = member.interface.mac
                    self.tap.batch_sent(now, member.network.network_id, mac, batch)
                # Bodies are views of send buffers: each batch is sealed before the next.
                member.network.send(now, batch)
                self._drain_network(now, member)
            if batches:
                sent = True
                more = more or member.interface.has_output
        if sent:
            self._turn(now)
        return self.switch.take_datagrams(), more

    def take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # The layers meet.

    def _turn(self, now: int) -> None:
        """Move outputs between the layers until nothing moves."""
        switch, rounds = self.switch, 0
        while self._has_news() and rounds < MAX_ROUNDS:
            rounds += 1
            self._receive(now, switch.take_inbound())
            if self._local:
                local, self._local = self._local, []
                for verb, packet_id, payload in local:
                    self._receive_own(now, verb, packet_id, payload)
            for member in tuple(self.members.values()):
                if member.network.has_output:
                    self._drain_network(now, member)
                if member.interface.events:
                    self._drain_interface(now, member)
            if self.controller is not None:
                self._drain_controller(now, self.controller)
            for event in switch.take_events():
                self._note(now, event)

    def _has_news(self) -> bool:
        """Tell whether a layer has something for another; what is to be sent is asked for."""
        if self.switch.has_news or self._local:
            return True
        for member in self.members.values():
            if member.network.has_output or member.interface.events:
                return True
        return self.controller is not None and self.controller.has_output

    def _receive(self, now: int, arrived: Sequence[Inbound | InboundBurst]) -> None:
        """Take messages in order; bursts that differ in nothing but their packets go together."""
        at = 0
        while at < len(arrived):
            inbound = arrived[at]
            at += 1
            if not isinstance(inbound, InboundBurst):
                self._receive_message(now, inbound)
                continue
            bursts = [inbound.burst]
            for other in islice(arrived, at, None):
                if not isinstance(other, InboundBurst) or other[:-1] != inbound[:-1]:
                    break
                bursts.append(other.burst)
                at += 1
            self._receive_bursts(now, inbound, bursts)

    def _receive_bursts(self, now: int, inbound: InboundBurst, bursts: list[Burst]) -> None:
        prefix = inbound.prefix
        member = self._packed.get(prefix[1:9])
        if member is None:
            self.tracer.drop(Drop.NOT_JOINED, "node")
            return
        ethertype = int.from_bytes(prefix[9:11], "big")
        verdict = member.network.receive_bursts(now, inbound.source, ethertype, bursts)
        if verdict is not vl2.Verdict.IGNORED:
            self.switch.accept(now, inbound, trusted=verdict is vl2.Verdict.TRUSTED)
        self._drain_network(now, member)

    def _receive_message(self, now: int, inbound: Inbound) -> None:
        handler = self._dispatch.get(inbound.verb)
        if handler is not None:
            handler(now, inbound)
            return
        if inbound.verb in _ONE_NETWORK:
            self._receive_for_network(now, inbound)
        elif inbound.verb in _MANY_NETWORKS:
            self._receive_for_all(now, inbound)
        else:
            self.switch.accept(now, inbound, trusted=False)

    def _receive_for_network(self, now: int, inbound: Inbound) -> None:
        payload = inbound.payload
        if len(payload) < 8:
            self.tracer.drop(Drop.MALFORMED, "node")
            return
        network_id = NetworkId(int.from_bytes(payload[:8], "big"))
        member = self.members.get(network_id)
        verdict = vl2.Verdict.TAKEN
        if member is not None:
            verdict = member.network.receive(
                now, inbound.source, inbound.verb, inbound.packet_id, payload
            )
            self._drain_network(now, member, inbound)
        elif inbound.verb != Verb.MULTICAST_GATHER:
            self.tracer.drop(Drop.NOT_JOINED, "node")
        if inbound.verb == Verb.MULTICAST_GATHER and self.multicast_store is not None:
            answer = None
            if self._tracks(network_id, inbound.source):
                answer = self.multicast_store.receive_gather(now, inbound.source, payload)
            if answer is not None:
                self.switch.reply_ok(now, inbound, answer)
        if verdict is not vl2.Verdict.IGNORED:
            self.switch.accept(now, inbound, trusted=verdict is vl2.Verdict.TRUSTED)

    def _receive_for_all(self, now: int, inbound: Inbound) -> None:
        verdict = vl2.Verdict.TAKEN if not self.members else vl2.Verdict.IGNORED
        for member in list(self.members.values()):
            answer = member.network.receive(
                now, inbound.source, inbound.verb, inbound.packet_id, inbound.payload
            )
            verdict = max(verdict, answer)
            self._drain_network(now, member, inbound)
        if inbound.verb == Verb.MULTICAST_LIKE and self.multicast_store is not None:
            self.multicast_store.receive_like(now, inbound.source, inbound.payload, self._tracks)
            verdict = max(verdict, vl2.Verdict.TAKEN)
        if verdict is not vl2.Verdict.IGNORED:
            self.switch.accept(now, inbound, trusted=verdict is vl2.Verdict.TRUSTED)

    def _tracks(self, network: NetworkId, address: Address) -> bool:
        """Tell whether we keep track of a node's groups: a root for all, a controller for its own.

        Vl2 section 7.5.
        """
        if self.controller is None or self.switch.is_upstream(self.identity.address):
            return True
        return self.controller.is_known_member(network, address)

    def _receive_ok(self, now: int, inbound: Inbound) -> None:
        try:
            ok = Ok.decode(Reader(inbound.payload))
        except DecodeError:
            self.tracer.drop(Drop.MALFORMED, "node")
            return
        verdict = vl2.Verdict.TAKEN
        for member in list(self.members.values()):
            if ok.body[:8] == member.network.network_id.packed:
                verdict = member.network.receive_ok(now, inbound.source, ok)
                self._drain_network(now, member, inbound)
        if verdict is not vl2.Verdict.IGNORED:
            self.switch.accept(now, inbound, trusted=verdict is vl2.Verdict.TRUSTED)

    def _receive_error(self, now: int, inbound: Inbound) -> None:
        try:
            error = Error.decode(Reader(inbound.payload))
        except DecodeError:
            self.tracer.drop(Drop.MALFORMED, "node")
            return
        for member in list(self.members.values()):
            if error.body[:8] == member.network.network_id.packed:
                member.network.receive_error(now, inbound.source, error)
                self._drain_network(now, member, inbound)
        self.switch.accept(now, inbound, trusted=False)

    def _receive_config_request(self, now: int, inbound: Inbound) -> None:
        try:
            request = ConfigRequest.decode(Reader(inbound.payload))
        except DecodeError:
            self.tracer.drop(Drop.MALFORMED, "node")
            return
        source = self.switch.identity_of(inbound.source)
        if self.controller is None or source is None:
            body = request.network.packed
            self.switch.reply_error(now, inbound, ErrorCode.UNSUPPORTED_OPERATION, body)
        else:
            physical = inbound.path.remote if inbound.hops == 0 else None
            self.controller.receive_request(now, source, inbound.packet_id, request, physical)
            self._drain_controller(now, self.controller, inbound)
        self.switch.accept(now, inbound, trusted=False)

    def _receive_own(self, now: int, verb: int, packet_id: int, payload: bytes) -> None:
        """Deliver what this node sent to itself: its own controller's answers, and requests."""
        try:
            if verb == Verb.NETWORK_CONFIG_REQUEST and self.controller is not None:
                request = ConfigRequest.decode(Reader(payload))
                self.controller.receive_request(now, self.identity, packet_id, request, None)
                return
            network_id = NetworkId(int.from_bytes(payload[:8], "big"))
            if verb == Verb.OK:
                ok = Ok.decode(Reader(payload))
                network_id = NetworkId(int.from_bytes(ok.body[:8], "big"))
                if network_id in self.members:
                    self.members[network_id].network.receive_ok(now, self.identity.address, ok)
            elif verb == Verb.ERROR:
                error = Error.decode(Reader(payload))
                network_id = NetworkId(int.from_bytes(error.body[:8], "big"))
                if network_id in self.members:
                    network = self.members[network_id].network
                    network.receive_error(now, self.identity.address, error)
            elif verb == Verb.NETWORK_CONFIG and network_id in self.members:
                network = self.members[network_id].network
                network.receive(now, self.identity.address, verb, packet_id, payload)
        except DecodeError:
            self.tracer.drop(Drop.MALFORMED, "node")

    def _send(self, now: int, destination: Address, verb: int, payload: bytes, *, z: bool) -> None:
        if destination == self.identity.address:
            self._local.append((verb, 0, payload))
        else:
            self.switch.send(now, destination, verb, payload, compress=z)

    def _drain_network(self, now: int, member: Member, inbound: Inbound | None = None) -> None:
        for output in member.network.take_output():
            match output:
                case vl2.SendFrames():
                    self.switch.send_frames(now, *output)
                case vl2.BurstsIn():
                    self._receive_bursts_in(now, member, output)
                case vl2.FrameIn():
                    self._receive_frame_in(now, member, output)
                case vl2.SendMessage():
                    self._send(
                        now, output.destination, output.verb, output.payload, z=output.compress
                    )
                case vl2.ReplyOk():
                    self._reply_ok(now, output, inbound)
                case vl2.ReplyError():
                    self._reply_error(now, output, inbound)
                case vl2.Configured():
                    network_id = member.network.network_id
                    self._configure(now, network_id, output.config)
                    self._events.append(NetworkConfigured(network_id, output.raw))
                case vl2.StatusChanged():
                    self._events.append(
                        NetworkChanged(member.network.network_id, output.status, output.detail)
                    )
                case vl2.WantIdentity():
                    self.switch.request_identity(now, output.address)

    def _receive_bursts_in(self, now: int, member: Member, item: vl2.BurstsIn) -> None:
        interface = member.interface
        for burst in item.bursts:
            if self.tap is not None:
                network, ends = member.network.network_id, (interface.mac, item.source_mac)
                self.tap.burst_received(now, network, ends, item.ethertype, burst)
            interface.receive_burst(now, item.source_mac, item.ethertype, burst)

    def _receive_frame_in(self, now: int, member: Member, item: vl2.FrameIn) -> None:
        if self.tap is not None:
            self.tap.frame_received(now, member.network.network_id, item.frame)
        member.interface.receive_frame(now, item.frame)

    def _reply_ok(self, now: int, reply: vl2.ReplyOk, inbound: Inbound | None) -> None:
        if inbound is not None and inbound.packet_id == reply.packet_id:
            self.switch.reply_ok(now, inbound, reply.body, in_re_verb=reply.verb)
            return
        w = Writer()
        Ok(reply.verb, reply.packet_id, reply.body).encode(w)
        self._send(now, reply.source, Verb.OK, w.getvalue(), z=False)

    def _reply_error(self, now: int, reply: vl2.ReplyError, inbound: Inbound | None) -> None:
        if inbound is not None and inbound.packet_id == reply.packet_id:
            self.switch.reply_error(now, inbound, reply.code, reply.body)
            return
        w = Writer()
        Error(reply.verb, reply.packet_id, reply.code, reply.body).encode(w)
        self._send(now, reply.source, Verb.ERROR, w.getvalue(), z=False)

    def _drain_interface(self, now: int, member: Member) -> None:
        network, interface = member.network, member.interface
        for event in interface.take_events():
            if isinstance(event, GroupsChanged):
                network.set_groups(now, interface.groups())
            else:
                self._events.append(Socket(network.network_id, event))

    def _drain_controller(
        self, now: int, controller: Controller, inbound: Inbound | None = None
    ) -> None:
        for output in controller.take_output():
            w = Writer()
            match output:
                case SendConfig():
                    self.switch.introduce(now, output.to)
                    for chunk in output.chunks:
                        self._send_chunk(now, output, chunk, inbound)
                case SendError():
                    Error(
                        Verb.NETWORK_CONFIG_REQUEST,
                        output.in_re_packet_id,
                        output.code,
                        output.body,
                    ).encode(w)
                    self._answer(now, output.destination, Verb.ERROR, w.getvalue(), inbound)
                case SendRevocation():
                    self.switch.introduce(now, output.to)
                    # On the way of the answer that follows it, so that it is there before.
                    verb = Verb.NETWORK_CREDENTIALS
                    self._answer(now, output.destination, verb, output.payload, inbound)

    def _send_chunk(
        self, now: int, output: SendConfig, chunk: ConfigChunk, inbound: Inbound | None
    ) -> None:
        w = Writer()
        chunk.encode(w)
        if output.in_re_packet_id is None:
            self._send(now, output.destination, Verb.NETWORK_CONFIG, w.getvalue(), z=True)
            return
        ok = Writer()
        Ok(Verb.NETWORK_CONFIG_REQUEST, output.in_re_packet_id, w.getvalue()).encode(ok)
        self._answer(now, output.destination, Verb.OK, ok.getvalue(), inbound)

    def _answer(
        self, now: int, destination: Address, verb: Verb, payload: bytes, inbound: Inbound | None
    ) -> None:
        if inbound is not None and inbound.source == destination:
            self.switch.answer(now, inbound, verb, payload, compress=verb is Verb.OK)
        else:
            self._send(now, destination, verb, payload, z=verb is Verb.OK)

    def _configure(self, now: int, network_id: NetworkId, config: NetworkConfig) -> None:
        member = self.members[network_id]
        interface = member.interface
        longest = min(config.mtu, LONGEST_PACKET)
        interface.set_mtu(now, config.mtu, even_packet(longest), longest)
        interface.set_addresses(now, list(member.addresses))
        member.network.set_groups(now, interface.groups())
        interface.set_routes(
            now, [(route.target_ip, route.bits, route.via) for route in member.routes]
        )
        self._refresh_switch()

    def _refresh_switch(self) -> None:
        """Refuse managed subnets as paths (vl1 6.10), and keep in touch with specialists (3.4)."""
        configs = [
            member.network.config
            for member in self.members.values()
            if member.network.config is not None
        ]
        self.switch.set_forbidden([item for config in configs for item in config.addresses])
        contacts = {address for config in configs for address in config.always_contact}
        self.switch.set_always_contact(frozenset(contacts - {self.identity.address}))

    def _note(self, now: int, event: vl1.Event) -> None:
        match event:
            case vl1.OnlineChanged():
                self._events.append(OnlineChanged(event.online))
            case vl1.WorldChanged():
                world = event.world
                self._events.append(
                    WorldStored(world.serialize(), world.id if world.is_moon else 0)
                )
            case vl1.ValidateIdentity():
                self._events.append(IdentityToValidate(event.identity))
            case vl1.IdentityCollision():
                self._events.append(IdentityCollided(event.reporter))
            case vl1.EchoReply():
                self._events.append(event)
            case vl1.UpstreamHeard():
                for member in list(self.members.values()):
                    member.network.announce_to(now, event.address)
            case vl1.IdentityLearned():
                for member in list(self.members.values()):
                    member.network.identity_learned(now, event.address)
            case _:
                pass
