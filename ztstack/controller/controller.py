"""The controller: admits members, assigns addresses, signs configurations (vl2 section 7)."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import replace
from typing import Final, NamedTuple

from ztstack.base.address import Address
from ztstack.base.codec import Writer
from ztstack.base.endpoint import Endpoint
from ztstack.base.entropy import Entropy
from ztstack.base.errors import Drop, InvalidConfig, StorageError
from ztstack.base.limits import RateGate
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.base.trace import Tracer
from ztstack.controller.compose import compose, with_defaults
from ztstack.controller.ipam import Assigned, assign_ipv4, assign_ipv6, prefix_length
from ztstack.controller.model import MTU_DEFAULT, MemberRecord, NetworkRecord
from ztstack.controller.pools import parse_pools, routes_for_pools
from ztstack.controller.roster import MAX_REVOKED, Roster
from ztstack.controller.store import Store
from ztstack.crypto.identity import Identity
from ztstack.wire.credentials import (
    FLAG_FAST_PROPAGATE,
    CredentialType,
    NetworkCredentials,
    Revocation,
)
from ztstack.wire.network_config import ConfigChunk, ConfigRequest
from ztstack.wire.verbs import ErrorCode

REQUEST_SPACING_US: Final = 200 * MILLISECOND
"""The official controller drops what comes within a second; a restarted node deserves better."""
GATES_LIMIT: Final = 65_536
NEWCOMER_US: Final = 5 * MILLISECOND
NEWCOMERS_AT_ONCE: Final = 200
"""Nodes that were never seen before are recorded at this pace; the others are asked to wait."""
MAX_NETWORKS: Final = 1_024
PUSHES_AT_ONCE: Final = 4
PUSH_SPACING_US: Final = 3 * MILLISECOND
"""Pushes to a large network are spread, so that requests are answered in between."""
REMIND_US: Final = 90 * SECOND
REVOCATIONS_AT_ONCE: Final = 32
"""In one message."""
_TRIES: Final = 64
_TOKEN_PREFIX: Final = "token:"  # noqa: S105 - what stands before a token


class SendConfig(NamedTuple):
    """A configuration for a member: an answer, or a push if `in_re_packet_id` is None."""

    to: Identity
    in_re_packet_id: int | None
    chunks: tuple[ConfigChunk, ...]

    @property
    def destination(self) -> Address:
        return self.to.address


class SendError(NamedTuple):
    """A refusal of a request."""

    destination: Address
    in_re_packet_id: int
    code: int
    body: bytes


class SendRevocation(NamedTuple):
    """NETWORK_CREDENTIALS with a revocation."""

    to: Identity
    payload: bytes

    @property
    def destination(self) -> Address:
        return self.to.address


Output = SendConfig | SendError | SendRevocation


class Controller:
    """Serves the networks whose ids begin with this node's address."""

    def __init__(
        self, now: int, identity: Identity, store: Store, entropy: Entropy, tracer: Tracer
    ) -> None:
        self._identity = identity
        self._store = store
        self._entropy = entropy
        self._tracer = tracer
        self._networks = {
            record.id: Roster(record, members, now) for record, members in store.load()
        }
        self._gate: RateGate[tuple[NetworkId, Address]] = RateGate(REQUEST_SPACING_US, GATES_LIMIT)
        self._newcomers_until = 0
        self._pushes: OrderedDict[tuple[NetworkId, Address], None] = OrderedDict()
        self._revocations: deque[SendRevocation] = deque()
        self._push_at: int | None = None
        self._out: list[Output] = []
        for roster in self._networks.values():
            self._recall(now, roster)

    @property
    def address(self) -> Address:
        return self._identity.address

    # Questions.

    def networks(self) -> list[NetworkRecord]:
        return [roster.record for roster in self._networks.values()]

    def network(self, network: NetworkId) -> NetworkRecord | None:
        found = self._networks.get(network)
        return None if found is None else found.record

    def members(self, network: NetworkId) -> list[MemberRecord]:
        """Return the members of a network, those that wait for authorisation included."""
        return list(self._find(network).members.values())

    def member(self, network: NetworkId, address: Address) -> MemberRecord | None:
        return self._find(network).members.get(address)

    def is_known_member(self, network: NetworkId, address: Address) -> bool:
        known = self._networks.get(network)
        member = known.members.get(address) if known is not None else None
        return member is not None and member.authorized

    # Commands.

    def create_network(
        self,
        now: int,
        *,
        name: str = "",
        private: bool = True,
        pools: list[str] | None = None,
        rfc4193: bool = True,
        mtu: int = MTU_DEFAULT,
    ) -> NetworkRecord:
        """Make a network; InvalidConfig if a pool, the name or the MTU is not valid."""
        texts = pools or []
        parsed = parse_pools(texts)
        record = NetworkRecord(
            id=self.free_id(),
            name=name,
            private=private,
            mtu=mtu,
            pools=parsed,
            assigns_ipv4=any(pool.version == 4 for pool in parsed),
            assigns_ipv6=any(pool.version == 6 for pool in parsed),
            routes=routes_for_pools(texts),
            rfc4193=rfc4193,
        )
        return self.put_network(now, record)

    def free_id(self) -> NetworkId:
        """Return an id of this controller that no network has."""
        for _ in range(_TRIES):
            number = int.from_bytes(self._entropy.take(3), "big")
            network = NetworkId(self._identity.address << 24 | number)
            if number and network not in self._networks:
                return network
        raise InvalidConfig("no free network id was found; try again")

    def put_network(self, now: int, record: NetworkRecord) -> NetworkRecord:
        """Store a changed or new record; members that are online get their configuration."""
        if record.id.controller != self._identity.address:
            raise InvalidConfig(f"{record.id} is not a network of this controller")
        found = self._networks.get(record.id)
        if found is None:
            if not record.id & 0xFFFFFF:
                raise InvalidConfig("0 is not the number of a network")
            if len(self._networks) >= MAX_NETWORKS:
                raise InvalidConfig(f"a controller has at most {MAX_NETWORKS} networks")
            record = replace(record, revision=1, created_ms=now // 1000)
            self._store.save_network(record)
            self._networks[record.id] = Roster(record, [])
            return record
        record = replace(record, revision=found.record.revision)
        if record == found.record:
            return record
        record = replace(record, revision=record.revision + 1)
        self._store.save_network(record)
        found.record = record
        for address in found.online(now):
            self._pushes[record.id, address] = None
        self._work(now)
        return record

    def delete_network(self, now: int, network: NetworkId) -> NetworkRecord:
        """Forget a network and its members; each that is online hears that its time is over."""
        found = self._find(network)
        self._store.delete_network(network)
        del self._networks[network]
        for address in found.online(now):
            member = found.members.get(address)
            if member is not None and member.authorized and member.identity is not None:
                payload = _payload([self._revocation(now // 1000, network, address)])
                self._revocations.append(SendRevocation(member.identity, payload))
        self._work(now)
        return found.record

    def authorize(self, now: int, network: NetworkId, address: Address) -> MemberRecord:
        """Let a node in, seen or not; if it is online it gets its configuration at once."""
        member = self._find(network).members.get(address)
        if member is None:
            member = MemberRecord(address=address, created_ms=now // 1000)
        return self.put_member(now, network, replace(member, authorized=True))

    def deauthorize(self, now: int, network: NetworkId, address: Address) -> MemberRecord:
        """Put a member out: those who are online learn that its certificate is revoked."""
        found = self._find(network)
        member = found.members.get(address)
        if member is None:
            raise InvalidConfig(f"{address} is no member of {network}")
        if not found.record.private:
            raise InvalidConfig(
                f"network {network} is public: everybody is a member; make a private network"
            )
        return self.put_member(now, network, replace(member, authorized=False))

    def put_member(self, now: int, network: NetworkId, record: MemberRecord) -> MemberRecord:
        """Store a changed or new member; letting in and putting out have their effects."""
        found = self._find(network)
        old = found.members.get(record.address)
        if old is None:
            if record.address.is_reserved:
                raise InvalidConfig(f"{record.address} is reserved and no node's address")
            self._make_room(found)
        was = old is not None and old.authorized
        if record.authorized and not was:
            record = replace(record, authorized_ms=now // 1000, credential=("api", ""))
        elif was and not record.authorized:
            record = replace(record, deauthorized_ms=now // 1000)
        if record != old:
            record = replace(record, revision=1 if old is None else old.revision + 1)
            self._save(found, record)
            if record.bridge != (old is not None and old.bridge):
                # Everybody's configuration names the bridges.
                for address in found.online(now):
                    self._pushes[network, address] = None
        if was and not record.authorized:
            self._revoke(now, found, record)
        elif record.authorized and record != old:
            self._pushes[network, record.address] = None
            self._pushes.move_to_end((network, record.address), last=False)
        self._work(now)
        return found.members[record.address]

    def delete_member(self, now: int, network: NetworkId, address: Address) -> MemberRecord:
        """Forget a member; if it was let in, its certificate is revoked."""
        found = self._find(network)
        member = found.remove(address)
        self._store.delete_member(network, address)
        if member.authorized:
            self._revoke(now, found, member)
        self._work(now)
        return member

    def _find(self, network: NetworkId) -> Roster:
        found = self._networks.get(network)
        if found is None:
            raise InvalidConfig(f"this controller has no network {network}")
        return found

    # Requests.

    def receive_request(
        self,
        now: int,
        source: Identity,
        packet_id: int,
        request: ConfigRequest,
        physical: Endpoint | None,
    ) -> None:
        """Take NETWORK_CONFIG_REQUEST from a node whose identity is known (vl2 7.1, 7.2)."""
        del physical
        network = request.network
        if network.controller != self._identity.address:
            self._tracer.drop(Drop.NOT_CONTROLLER, "controller")
            return
        if not self._gate.allow(now, (network, source.address)):
            self._tracer.drop(Drop.RATE_LIMITED, "controller")
            return
        found = self._networks.get(network)
        if found is None:
            self._refuse(source, packet_id, network, ErrorCode.OBJ_NOT_FOUND)
            return
        if source.address not in found.members and not self._has_time_for_newcomer(now):
            self._tracer.drop(Drop.RATE_LIMITED, "controller")
            return
        try:
            self._answer(now, found, source, packet_id, request)
        except StorageError:
            # Silence is a legal answer, and what is not stored must not be promised.
            self._tracer.drop(Drop.NOT_STORED, "controller")

    def _has_time_for_newcomer(self, now: int) -> bool:
        """Tell whether another record may be made: each takes its time, and few may be ahead."""
        begin = max(self._newcomers_until, now)
        if begin - now >= NEWCOMERS_AT_ONCE * NEWCOMER_US:
            return False
        self._newcomers_until = begin + NEWCOMER_US
        return True

    def _answer(
        self, now: int, network: Roster, source: Identity, packet_id: int, request: ConfigRequest
    ) -> None:
        try:
            member = self._admit(now, network, source, request)
        except InvalidConfig:
            self._tracer.drop(Drop.QUEUE_FULL, "controller")
            member = None
        if member is None or not member.authorized:
            self._refuse(source, packet_id, network.record.id, ErrorCode.NETWORK_ACCESS_DENIED)
            return
        # The answer says what a push would.
        self._pushes.pop((network.record.id, source.address), None)
        config = self._config(now, network, member, source, packet_id)
        # Whoever holds no configuration has just begun, and knows of no revocation.
        self._remind(now, network, source, knows_none=request.timestamp == 0)
        self._out.append(config)

    def _admit(
        self, now: int, network: Roster, source: Identity, request: ConfigRequest
    ) -> MemberRecord | None:
        """Return the member's record as it is now; None for a stolen address."""
        old = network.members.get(source.address)
        if old is None:
            self._make_room(network)
            member = MemberRecord(
                address=source.address, identity=source.public, created_ms=now // 1000
            )
        elif old.identity is None:
            member = old.changed(identity=source.public)
        elif old.identity != source:
            self._tracer.drop(Drop.IDENTITY_COLLISION, "controller")
            return None
        else:
            member = old
        if not member.authorized:
            credential = self._credential(now, network.record, request)
            if credential is not None:
                member = member.changed(
                    authorized=True, authorized_ms=now // 1000, credential=credential
                )
        network.heard.set(source.address, now)
        if member.authorized:
            keys = ("majv", "minv", "revv", "pv")
            limits = (0xFFFF, 0xFFFF, 0xFFFF, 0xFF)
            told = [
                min(request.metadata.get_uint(key), limit)
                for key, limit in zip(keys, limits, strict=True)
            ]
            member = member.changed(version=(told[0], told[1], told[2], told[3]))
            member = with_defaults(network.record, member, is_new=old is None)
            network.knows_rules[member.address] = request.metadata.get_uint("revr") > 0
        else:
            self._save(network, member)
        return member

    @staticmethod
    def _credential(
        now: int, record: NetworkRecord, request: ConfigRequest
    ) -> tuple[str, str] | None:
        """Return by what a node that nobody let in may come in (vl2 7.2)."""
        if not record.private:
            return ("public", "")
        told = request.metadata.get("a") or b""
        text = told.decode("utf-8", "replace")
        if not text.startswith(_TOKEN_PREFIX):
            return None
        given = text.removeprefix(_TOKEN_PREFIX)
        until = dict(record.auth_tokens).get(given)
        if not given or until is None or 0 < until <= now // 1000:
            return None
        return ("token", given)

    def _make_room(self, network: Roster) -> None:
        """Forget the oldest node that waits for authorisation if there are too many."""
        oldest = network.one_too_many()
        if oldest is not None:
            network.remove(oldest)
            self._store.delete_member(network.record.id, oldest)

    def _save(self, network: Roster, member: MemberRecord) -> None:
        if network.members.get(member.address) != member:
            self._store.save_member(network.record.id, member)
            network.put(member)

    def _refuse(
        self, source: Identity, packet_id: int, network: NetworkId, code: ErrorCode
    ) -> None:
        self._out.append(SendError(source.address, packet_id, code, network.packed))

    # Configurations.

    def _config(
        self,
        now: int,
        network: Roster,
        member: MemberRecord,
        identity: Identity,
        packet_id: int | None,
    ) -> SendConfig:
        fresh = self._assign(network, member)
        if fresh:
            member = member.changed(ips=(*member.ips, *(item.ip for item in fresh)))
        self._save(network, member)
        config = compose(
            now // 1000,
            self._identity,
            network.record,
            member,
            identity,
            bridges=network.bridges,
            fresh=fresh,
            knows_rules=network.knows_rules.get(member.address, True),
        )
        update = int.from_bytes(self._entropy.take(8), "big") or 1
        chunks = ConfigChunk.split(network.record.id, config.to_dictionary(), update)
        signed = tuple(chunk.signed_by(self._identity) for chunk in chunks)
        return SendConfig(identity, packet_id, signed)

    def _assign(self, network: Roster, member: MemberRecord) -> list[Assigned]:
        """Return new addresses for the families of which the member has none (vl2 7.4)."""
        record = network.record
        if member.no_auto_assign or not (record.assigns_ipv4 or record.assigns_ipv6):
            return []
        usable = {len(ip) for ip in member.ips if prefix_length(record, ip) is not None}
        found = []
        if record.assigns_ipv6 and 16 not in usable:
            found.append(assign_ipv6(record, member.address, network.taken, self._entropy))
        if record.assigns_ipv4 and 4 not in usable:
            found.append(assign_ipv4(record, member.address, network.taken))
        return [item for item in found if item is not None]

    def _work(self, now: int) -> None:
        """Send so many of the waiting pushes and revocations; the rest when it is time."""
        if self._push_at is not None and now < self._push_at:
            return
        for _ in range(PUSHES_AT_ONCE):
            if self._revocations:
                self._out.append(self._revocations.popleft())
            elif self._pushes:
                (network, address), _ = self._pushes.popitem(last=False)
                self._push(now, network, address)
            else:
                self._push_at = None
                return
        self._push_at = now + PUSH_SPACING_US

    def _push(self, now: int, network: NetworkId, address: Address) -> None:
        """Send its configuration to a member that is online and let in."""
        found = self._networks.get(network)
        member = None if found is None else found.members.get(address)
        if found is None or member is None or member.identity is None or not member.authorized:
            return
        if not found.is_online(now, address):
            return
        try:
            config = self._config(now, found, member, member.identity, None)
        except StorageError:
            self._tracer.drop(Drop.NOT_STORED, "controller")
            return
        self._remind(now, found, member.identity)
        self._out.append(config)

    # Revocations.

    def _revoke(self, now: int, network: Roster, target: MemberRecord) -> None:
        revocation = self._revocation(now // 1000, network.record.id, target.address)
        network.revoked.set(target.address, revocation)
        payload = _payload([revocation])
        for address in network.online(now):
            member = target if address == target.address else network.members.get(address)
            if member is None or member.identity is None:
                continue
            if member.authorized or member is target:
                self._revocations.append(SendRevocation(member.identity, payload))

    def _recall(self, now: int, network: Roster) -> None:
        """Make again the revocations that may have been lost when this controller ended."""
        oldest_ms = now // 1000 - network.record.credential_window_ms
        out = [
            member
            for member in network.members.values()
            if not member.authorized and member.deauthorized_ms > oldest_ms
        ]
        for member in sorted(out, key=lambda item: item.deauthorized_ms)[-MAX_REVOKED:]:
            revocation = self._revocation(member.deauthorized_ms, network.record.id, member.address)
            network.revoked.set(member.address, revocation)

    def _remind(self, now: int, network: Roster, to: Identity, *, knows_none: bool = False) -> None:
        """Send a member the revocations that it may have missed, ahead of a configuration.

        Without them it would let in who was put out until that one's certificate is too old; and
        as packets are lost, each revocation is sent a second time.
        """
        since_ms = now // 1000 - network.record.credential_window_ms
        told = None if knows_none else network.told.get(to.address)
        if told is not None:
            since_ms = max(since_ms, (told - REMIND_US) // 1000)
        network.told.set(to.address, now)
        missed = [one for one in network.revoked.values() if one.threshold > since_ms]
        for at in range(0, len(missed), REVOCATIONS_AT_ONCE):
            part = missed[at : at + REVOCATIONS_AT_ONCE]
            self._out.append(SendRevocation(to, _payload(part)))

    def _revocation(self, threshold_ms: int, network: NetworkId, target: Address) -> Revocation:
        return Revocation(
            network=network,
            id=int.from_bytes(self._entropy.take(4), "big"),
            credential_type=CredentialType.COM,
            credential_id=0,
            threshold=threshold_ms,
            target=target,
            flags=FLAG_FAST_PROPAGATE,
        ).signed_by(self._identity)

    # Time and outputs.

    def handle_timer(self, now: int) -> None:
        if self._push_at is not None and now >= self._push_at:
            self._work(now)

    def next_timer(self) -> int | None:
        return self._push_at

    @property
    def has_output(self) -> bool:
        return bool(self._out)

    def take_output(self) -> list[Output]:
        out, self._out = self._out, []
        return out


def _payload(revocations: list[Revocation]) -> bytes:
    w = Writer()
    NetworkCredentials(revocations=tuple(revocations)).encode(w)
    return w.getvalue()
