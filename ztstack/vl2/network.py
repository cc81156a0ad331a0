"""One joined network: messages, frames and time in; messages, frames and news out (vl2 2 to 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.entropy import Entropy
from ztstack.base.errors import DecodeError, Drop
from ztstack.base.frame import Burst, FrameBatch
from ztstack.base.limits import BoundedMap
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.base.trace import Tracer
from ztstack.crypto.identity import Identity
from ztstack.vl2.adhoc import adhoc_config, is_adhoc_range_bad
from ztstack.vl2.arrival import Arrival
from ztstack.vl2.config_fetch import ConfigAssembler, ConfigFetch
from ztstack.vl2.departure import Departure
from ztstack.vl2.events import (
    Configured,
    NetworkStatus,
    Output,
    ReplyOk,
    StatusChanged,
    Verdict,
)
from ztstack.vl2.membership import Acceptance
from ztstack.vl2.network_config import NetworkConfig
from ztstack.vl2.parking import Parked
from ztstack.vl2.state import Directory, NetworkState
from ztstack.wire.credentials import Capability, Com, Credential, NetworkCredentials, Revocation
from ztstack.wire.multicast import (
    MAX_MEMBERS,
    GatherOk,
    MulticastFrameOk,
    MulticastGather,
    MulticastLike,
)
from ztstack.wire.network_config import ConfigAck, ConfigChunk, SignIn
from ztstack.wire.replies import Error, Ok
from ztstack.wire.verbs import ErrorCode, Verb

__all__ = ["Directory", "Network"]

CREDENTIALS_WINDOW_US: Final = 1 * SECOND
CREDENTIALS_PER_WINDOW: Final = 8
"""The original looks at one such message a second, which loses every push of two."""
CREDENTIAL_SENDERS: Final = 1024

_Handler = Callable[[int, Address, int, bytes], Verdict]


class Network:
    """This node as a member of one network."""

    def __init__(  # noqa: PLR0913, PLR0917  (all are handed down)
        self,
        now: int,
        network_id: NetworkId,
        identity: Identity,
        directory: Directory,
        entropy: Entropy,
        tracer: Tracer,
        cached: bytes | None = None,
    ) -> None:
        self.network_id = network_id
        self._state = NetworkState(network_id, identity, directory, entropy, tracer)
        self._departure = Departure(self._state)
        self._arrival = Arrival(self._state, self._departure)
        self._assembler = ConfigAssembler()
        self._credential_rates: BoundedMap[Address, tuple[int, int]] = BoundedMap(
            CREDENTIAL_SENDERS
        )
        self._is_left = False
        self._is_confirmed = False
        self._adhoc_status: StatusChanged | None = None
        self._load(now, cached)
        self._fetch = ConfigFetch(now, network_id, is_cached=self.config is not None)
        if network_id.is_adhoc:
            self._fetch.stop()
        else:
            self._state.obtain_identity(network_id.controller)
        self._handlers: dict[int, _Handler] = {
            Verb.FRAME: self._arrival.receive_frame,
            Verb.EXT_FRAME: self._arrival.receive_ext_frame,
            Verb.MULTICAST_FRAME: self._arrival.receive_multicast,
            Verb.MULTICAST_LIKE: self._receive_like,
            Verb.MULTICAST_GATHER: self._receive_gather,
            Verb.NETWORK_CREDENTIALS: self._receive_credentials,
            Verb.NETWORK_CONFIG: self._receive_config,
        }
        self.handle_timer(now)

    # What it knows.

    @property
    def mac(self) -> Mac:
        return self._state.mac

    @property
    def config(self) -> NetworkConfig | None:
        return self._state.config

    @property
    def status(self) -> NetworkStatus:
        if self.network_id.is_adhoc:
            if self._adhoc_status is not None:
                return self._adhoc_status.status
            return NetworkStatus.OK if self.config is not None else NetworkStatus.REQUESTING
        return self._fetch.status

    @property
    def is_up_to_date(self) -> bool:
        """Whether what is used was not just kept from an earlier life."""
        is_kept = self.status is NetworkStatus.OK and not self.network_id.is_adhoc
        return self._is_confirmed or not is_kept

    @property
    def groups(self) -> frozenset[MulticastGroup]:
        """What `set_groups` said last."""
        return self._state.subscriptions.groups

    # Commands.

    def send(self, now: int, batch: FrameBatch) -> None:
        """Send frames of this host's IP stack."""
        self._departure.send(now, batch)

    def set_groups(self, now: int, groups: frozenset[MulticastGroup]) -> None:
        """Listen to exactly these groups; new ones are announced at once."""
        state = self._state
        allows_broadcast = state.config is not None and state.config.allows_broadcast
        new = state.subscriptions.replace(groups, allows_broadcast=allows_broadcast)
        if not new or state.config is None:
            return
        likes = state.subscriptions.payloads(new)
        members = [address for address in state.memberships.addresses() if address != state.own]
        contacts = state.contacts()
        allowed = [member for member in members if state.is_allowed(member)]
        for member in allowed:
            self._departure.push_credentials(now, member)
        for target in dict.fromkeys(contacts + allowed):
            for payload in likes:
                state.send(target, Verb.MULTICAST_LIKE, payload, compress=True)

    def announce_to(self, now: int, address: Address) -> None:
        """Tell a node that keeps track of groups, and may have been restarted, of ours."""
        del now
        if self._state.config is not None:
            for payload in self._state.subscriptions.payloads():
                self._state.send(address, Verb.MULTICAST_LIKE, payload, compress=True)

    def leave(self) -> None:
        """Stop everything; nothing is said to anybody, as the protocol has no word for it."""
        self._is_left = True
        self._fetch.stop()
        self._state.subscriptions.stop()
        self._state.parking.clear()
        self._state.out.clear()

    # Messages in.

    def receive(
        self, now: int, source: Address, verb: int, packet_id: int, payload: bytes
    ) -> Verdict:
        """Take a message about this network, or about several."""
        handler = self._handlers.get(verb)
        if handler is None or self._is_left:
            self._state.drop(Drop.UNKNOWN_VERB)
            return Verdict.IGNORED
        try:
            return handler(now, source, packet_id, payload)
        except DecodeError:
            self._state.drop(Drop.MALFORMED)
            return Verdict.IGNORED

    def receive_bursts(
        self, now: int, source: Address, ethertype: int, bursts: list[Burst]
    ) -> Verdict:
        """Take FRAMEs of one member and one ethertype that arrived together."""
        if self._is_left:
            return Verdict.IGNORED
        return self._arrival.receive_bursts(now, source, ethertype, bursts)

    def receive_ok(self, now: int, source: Address, ok: Ok) -> Verdict:
        """Take an answer to one of our messages; VL1 knows that we asked."""
        if self._is_left:
            return Verdict.IGNORED
        try:
            match ok.in_re_verb:
                case Verb.NETWORK_CONFIG_REQUEST:
                    self._take_chunk(now, source, ok.in_re_packet_id, ok.body, is_answer=True)
                case Verb.MULTICAST_GATHER:
                    self._take_gathered(now, GatherOk.decode(Reader(ok.body)))
                case Verb.MULTICAST_FRAME:
                    answer = MulticastFrameOk.decode(Reader(ok.body))
                    if answer.com is not None:
                        self._accept(answer.com)
                    if answer.gathered is not None:
                        self._take_gathered(now, answer.gathered)
                case _:
                    pass  # acknowledgements, which nobody waits for
        except DecodeError:
            self._state.drop(Drop.MALFORMED)
            return Verdict.IGNORED
        return Verdict.TAKEN

    def receive_error(self, now: int, source: Address, error: Error) -> Verdict:
        """Take a refusal; what it says counts only from those who may say it (section 2.9)."""
        if self._is_left:
            return Verdict.IGNORED
        try:
            self._take_error(now, source, error)
        except DecodeError:
            self._state.drop(Drop.MALFORMED)
            return Verdict.IGNORED
        return Verdict.TAKEN

    def identity_learned(self, now: int, address: Address) -> None:
        """Go on with messages that waited for this identity."""
        del address
        self._retry_parked(now)

    # Time and outputs.

    def handle_timer(self, now: int) -> None:
        if self._is_left:
            return
        state = self._state
        if self.network_id.is_adhoc:
            self._configure_adhoc(now)
        due = self._fetch.next_timer()
        if due is not None and due <= now:
            self._fetch.handle_timer(now)
            state.obtain_identity(self.network_id.controller)
        for _ in state.parking.take_expired(now):
            state.drop(Drop.QUEUE_TIMEOUT)
        state.multicast.handle_timer(now)
        if state.subscriptions.is_announcement_due(now):
            for payload in state.subscriptions.payloads():
                for target in state.contacts():
                    state.send(target, Verb.MULTICAST_LIKE, payload, compress=True)
        if state.subscriptions.is_member_check_due(now):
            for address in state.memberships.addresses():
                if address != state.own and state.is_allowed(address):
                    self._arrival.greet(now, address)

    def next_timer(self) -> int | None:
        if self._is_left:
            return None
        state, first = self._state, self._fetch.next_timer()
        for part in (state.parking, state.multicast, state.subscriptions):
            at = part.next_timer()
            if at is not None and (first is None or at < first):
                first = at
        return first

    @property
    def has_output(self) -> bool:
        return bool(self._state.out or self._fetch.out)

    def take_output(self) -> list[Output]:
        out = self._state.out
        if out:
            self._state.out = []
        if self._fetch.out:
            out = out + self._fetch.take_output()
        return out

    # Configuration.

    def _load(self, now: int, cached: bytes | None) -> None:
        """Use what the controller said in an earlier life, until it says something new."""
        if not cached or self.network_id.is_adhoc:
            return
        try:
            config = NetworkConfig.from_dictionary(cached)
        except DecodeError:
            self._state.drop(Drop.BAD_CONFIG)
            return
        if self._is_ours(config):
            self._use(now, config)

    def _is_ours(self, config: NetworkConfig) -> bool:
        return config.network == self.network_id and config.issued_to == self._state.own

    def _use(self, now: int, config: NetworkConfig) -> None:
        state = self._state
        is_first = state.config is None
        state.configure(now, config)
        if is_first or not self._is_confirmed:
            # The controller answers the groups of those only whom it has just configured.
            state.subscriptions.start(now)
        groups = state.subscriptions.groups
        state.subscriptions.replace(groups, allows_broadcast=config.allows_broadcast)

    def _configure_adhoc(self, now: int) -> None:
        state = self._state
        if state.config is not None or self._adhoc_status is not None:
            return
        config = adhoc_config(now, self.network_id, state.own)
        if config is not None:
            self._use(now, config)
            state.out.append(Configured(config, config.to_dictionary()))
            state.out.append(StatusChanged(NetworkStatus.OK, ""))
        elif is_adhoc_range_bad(self.network_id):
            self._adhoc_status = StatusChanged(NetworkStatus.NOT_FOUND, "")
            state.out.append(self._adhoc_status)

    def _receive_config(self, now: int, source: Address, packet_id: int, payload: bytes) -> Verdict:
        update_id = self._take_chunk(now, source, packet_id, payload, is_answer=False)
        if update_id:
            w = Writer()
            ConfigAck(self.network_id, update_id).encode(w)
            # The original says that this answers an ECHO, and so does everybody.
            self._state.out.append(ReplyOk(source, packet_id, Verb.ECHO, w.getvalue()))
        return Verdict.TAKEN

    def _take_chunk(
        self, now: int, source: Address, packet_id: int, body: bytes, *, is_answer: bool
    ) -> int:
        """Take a part of a configuration; return the id of the update that it completed, or 0."""
        state = self._state
        chunk = ConfigChunk.decode(Reader(body))
        is_controller = source == self.network_id.controller
        if chunk.network != self.network_id:
            state.drop(Drop.BAD_CONFIG)
        elif chunk.update_id is None:
            # The legacy form is not signed, so it counts only from the controller itself.
            if not is_controller:
                state.drop(Drop.NOT_CONTROLLER)
            elif self._apply(now, chunk.data, is_wanted=True):
                return packet_id
        elif not self._assembler.is_known(chunk):
            controller = state.obtain_identity(self.network_id.controller)
            if controller is None:
                verb = Verb.NETWORK_CONFIG
                state.parking.put(now, source, verb, packet_id, body, is_answer=is_answer)
                return 0
            text = self._assemble(source, chunk, controller, body)
            # An old configuration may come back only as the controller's own answer.
            wanted = is_answer and is_controller
            if text is not None and self._apply(now, text, is_wanted=wanted):
                return chunk.update_id
        return 0

    def _assemble(
        self, source: Address, chunk: ConfigChunk, controller: Identity, body: bytes
    ) -> bytes | None:
        try:
            text = self._assembler.add(chunk, controller)
        except DecodeError:
            self._state.drop(Drop.BAD_SIGNATURE)
            return None
        if chunk.is_fast:
            self._pass_on(source, body)
        return text

    def _pass_on(self, source: Address, body: bytes) -> None:
        state = self._state
        for address in state.memberships.addresses():
            if address not in (source, self.network_id.controller, state.own):
                state.send(address, Verb.NETWORK_CONFIG, body, compress=True)

    def _apply(self, now: int, text: bytes, *, is_wanted: bool) -> bool:
        """Bring a configuration into force; tell whether the text was one."""
        state = self._state
        try:
            config = NetworkConfig.from_dictionary(text)
        except DecodeError:
            state.drop(Drop.BAD_CONFIG)
            return False
        held = state.config
        if not self._is_ours(config):
            state.drop(Drop.BAD_CONFIG)
        elif held is not None and config.timestamp < held.timestamp and not is_wanted:
            state.drop(Drop.STALE)
        elif config == held and not is_wanted:
            pass  # a copy, which anybody can have kept, ends no refusal
        else:
            if config != held:
                self._use(now, config)
                state.out.append(Configured(config, text))
            self._is_confirmed = True
            self._fetch.receive_config(now, config.revision, config.timestamp)
            self._retry_parked(now)
        return True

    # Refusals.

    def _take_error(self, now: int, source: Address, error: Error) -> None:
        state = self._state
        if error.code == ErrorCode.NEED_MEMBERSHIP_CERTIFICATE:
            if state.is_allowed(source) and state.memberships.is_refused(now, source):
                # It may have heard that we are out, or that we were; the controller knows.
                self._fetch.doubt(now)
            for payload in state.memberships.take_demanded_push(now, source):
                state.send(source, Verb.NETWORK_CREDENTIALS, payload, compress=True)
            return
        if error.code == ErrorCode.UNWANTED_MULTICAST:
            if state.is_allowed(source):
                r = Reader(error.body)
                r.skip(8)
                state.multicast.remove(MulticastGroup.decode(r), source)
            return
        if source != self.network_id.controller or self.network_id.is_adhoc:
            state.drop(Drop.NOT_CONTROLLER)
            return
        match error.code:
            case ErrorCode.OBJ_NOT_FOUND | ErrorCode.UNSUPPORTED_OPERATION:
                if error.in_re_verb == Verb.NETWORK_CONFIG_REQUEST:
                    self._fetch.receive_refusal(now, NetworkStatus.NOT_FOUND)
            case ErrorCode.NETWORK_ACCESS_DENIED:
                self._fetch.receive_refusal(now, NetworkStatus.ACCESS_DENIED)
            case ErrorCode.NETWORK_AUTHENTICATION_REQUIRED:
                sign_in = SignIn.decode(Reader(error.body))
                self._fetch.receive_refusal(
                    now,
                    NetworkStatus.AUTHENTICATION_REQUIRED,
                    sign_in.url or sign_in.central_url or sign_in.issuer_url,
                )
            case _:
                pass

    # Credentials.

    def _receive_credentials(
        self, now: int, source: Address, packet_id: int, payload: bytes
    ) -> Verdict:
        state = self._state
        message = NetworkCredentials.decode(Reader(payload))
        credentials = self._own_credentials(message)
        if not credentials:
            return Verdict.TAKEN
        if not self._is_rate_fair(now, source):
            state.drop(Drop.RATE_LIMITED)
            return Verdict.IGNORED
        unknown = [
            signer for signer in self._signers(credentials) if state.obtain_identity(signer) is None
        ]
        if unknown:
            verb = Verb.NETWORK_CREDENTIALS
            if state.parking.put(now, source, verb, packet_id, payload):
                state.drop(Drop.QUEUE_FULL)
            return Verdict.IGNORED
        results = [self._accept(credential) for credential in credentials]
        for credential, result in zip(credentials, results, strict=True):
            is_new = result is Acceptance.NEW
            if is_new and isinstance(credential, Revocation) and credential.is_fast:
                self._spread(source, credential)
        if Acceptance.NEW in results:
            self._retry_parked(now)
        if not state.is_allowed(source):
            return Verdict.TAKEN
        self._arrival.greet(now, source)
        return Verdict.TRUSTED

    def _own_credentials(self, message: NetworkCredentials) -> list[Credential]:
        """Return those that are about this network; others are for its neighbours to take."""
        own: list[Credential] = [com for com in message.coms if com.network_id == self.network_id]
        numbered: tuple[Credential, ...] = (
            *message.capabilities,
            *message.tags,
            *message.revocations,
            *message.ownerships,
        )
        own.extend(
            credential
            for credential in numbered
            if not isinstance(credential, Com) and credential.network == self.network_id
        )
        return own

    def _signers(self, credentials: list[Credential]) -> list[Address]:
        signers = [self.network_id.controller]
        for credential in credentials:
            if isinstance(credential, Capability):
                signers.extend(credential.signers[1:])
        return list(dict.fromkeys(signers))

    def _is_rate_fair(self, now: int, source: Address) -> bool:
        begun, count = self._credential_rates.get(source) or (now, 0)
        if now - begun >= CREDENTIALS_WINDOW_US:
            begun, count = now, 0
        self._credential_rates.set(source, (begun, count + 1))
        return count < CREDENTIALS_PER_WINDOW

    def _accept(self, credential: Credential) -> Acceptance:
        state = self._state
        controller = state.identity_of(self.network_id.controller)
        if controller is None:
            return Acceptance.REJECTED
        holders: list[Identity] = []
        if isinstance(credential, Capability):
            found = [state.identity_of(signer) for signer in credential.signers[1:]]
            holders = [identity for identity in found if identity is not None]
        result = state.memberships.accept(credential, controller, holders)
        if result is Acceptance.REJECTED:
            state.drop(Drop.BAD_SIGNATURE)
        return result

    def _spread(self, source: Address, revocation: Revocation) -> None:
        """Pass an urgent revocation on to every other member, its target too."""
        state = self._state
        w = Writer()
        NetworkCredentials(revocations=(revocation,)).encode(w)
        for address in state.memberships.addresses():
            if address not in (source, revocation.signer, state.own):
                state.send(address, Verb.NETWORK_CREDENTIALS, w.getvalue())

    def _retry_parked(self, now: int) -> None:
        """Take again what waited, as far as it need not wait any longer."""
        state = self._state
        for parked in state.parking.take_ready(self._is_ready):
            if parked.verb == Verb.NETWORK_CONFIG and parked.is_answer:
                self._take_chunk(
                    now, parked.source, parked.packet_id, parked.payload, is_answer=True
                )
            else:
                self.receive(now, parked.source, parked.verb, parked.packet_id, parked.payload)

    def _is_ready(self, parked: Parked) -> bool:
        state = self._state
        if parked.verb == Verb.NETWORK_CONFIG:
            return state.identity_of(self.network_id.controller) is not None
        if parked.verb == Verb.NETWORK_CREDENTIALS:
            message = NetworkCredentials.decode(Reader(parked.payload))
            signers = self._signers(self._own_credentials(message))
            return all(state.identity_of(signer) is not None for signer in signers)
        return state.is_allowed(parked.source)

    # Groups.

    def _receive_like(self, now: int, source: Address, packet_id: int, payload: bytes) -> Verdict:
        message = MulticastLike.decode(Reader(payload))
        groups = [group for network, group in message.groups if network == self.network_id]
        if not groups:
            return Verdict.TAKEN
        if not self._arrival.admits(now, source, Verb.MULTICAST_LIKE, packet_id, payload):
            return Verdict.TAKEN
        for group in groups:
            self._add_listener(now, group, source)
        return Verdict.TRUSTED

    def _receive_gather(self, now: int, source: Address, packet_id: int, payload: bytes) -> Verdict:
        state = self._state
        message = MulticastGather.decode(Reader(payload))
        if message.com is not None:
            self._accept(message.com)
        if not state.is_allowed(source):
            return Verdict.TAKEN
        self._arrival.greet(now, source)
        if message.limit:
            group, limit = message.group, min(message.limit, MAX_MEMBERS)
            total, members = state.multicast.answer(
                now, group, source, limit, state.subscriptions.groups
            )
            if members:
                w = Writer()
                GatherOk(self.network_id, group, total, members).encode(w)
                verb = Verb.MULTICAST_GATHER
                state.out.append(ReplyOk(source, packet_id, verb, w.getvalue()))
        return Verdict.TRUSTED

    def _take_gathered(self, now: int, answer: GatherOk) -> None:
        for member in answer.members:
            self._add_listener(now, answer.group, member)

    def _add_listener(self, now: int, group: MulticastGroup, member: Address) -> None:
        frames = self._state.multicast.add(now, group, member)
        if frames is None:
            self._state.drop(Drop.RATE_LIMITED)
        elif frames:
            self._departure.send_queued(now, frames, member)
