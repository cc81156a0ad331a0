"""The controller: admits members, assigns addresses, signs configurations (vl2 section 7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from ztstack.base.address import Address
from ztstack.base.codec import Writer
from ztstack.base.endpoint import Endpoint
from ztstack.base.entropy import Entropy
from ztstack.base.errors import Drop, InvalidConfig
from ztstack.base.limits import BoundedMap, RateGate
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import MILLISECOND, SECOND
from ztstack.base.trace import Tracer
from ztstack.controller.compose import compose, with_defaults
from ztstack.controller.ipam import assign_ipv4
from ztstack.controller.model import (
    MTU_DEFAULT,
    MemberRecord,
    NetworkRecord,
    parse_pool,
    route_for_pool,
)
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
ONLINE_US: Final = 120 * SECOND
MAX_MEMBERS: Final = 10_000
MAX_STRANGERS: Final = 1_000
"""Members of a network that are not authorised; the oldest is forgotten first."""
MAX_NETWORKS: Final = 1_024
_TRIES: Final = 64


class SendConfig(NamedTuple):
    """A configuration for a member: an answer, or a push if `in_re_packet_id` is None."""

    destination: Address
    in_re_packet_id: int | None
    chunks: tuple[ConfigChunk, ...]


class SendError(NamedTuple):
    """A refusal of a request."""

    destination: Address
    in_re_packet_id: int
    code: int
    body: bytes


class SendRevocation(NamedTuple):
    """NETWORK_CREDENTIALS with a revocation."""

    destination: Address
    payload: bytes


Output = SendConfig | SendError | SendRevocation


class _Network:
    """A network's records, and who was heard of lately."""

    def __init__(self, record: NetworkRecord, members: list[MemberRecord]) -> None:
        self.record = record
        self.members = {member.address: member for member in members}
        self.taken = {ip for member in members for ip in member.ips}
        # What members said of themselves since the start; nobody else is pushed to.
        self.knows_rules: dict[Address, bool] = {}
        self.heard: BoundedMap[Address, int] = BoundedMap(MAX_MEMBERS)

    def is_online(self, now: int, address: Address) -> bool:
        heard = self.heard.get(address)
        return heard is not None and now - heard < ONLINE_US


class Controller:
    """Serves the networks whose ids begin with this node's address."""

    def __init__(
        self, now: int, identity: Identity, store: Store, entropy: Entropy, tracer: Tracer
    ) -> None:
        del now
        self._identity = identity
        self._store = store
        self._entropy = entropy
        self._tracer = tracer
        self._networks = {record.id: _Network(record, members) for record, members in store.load()}
        self._gate: RateGate[tuple[NetworkId, Address]] = RateGate(REQUEST_SPACING_US, GATES_LIMIT)
        self._out: list[Output] = []

    @property
    def address(self) -> Address:
        return self._identity.address

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
        if len(self._networks) >= MAX_NETWORKS:
            raise InvalidConfig(f"a controller has at most {MAX_NETWORKS} networks")
        texts = pools or []
        parsed = tuple(parse_pool(text) for text in texts)
        for i, pool in enumerate(parsed):
            if any(pool.start <= other.end and other.start <= pool.end for other in parsed[:i]):
                raise InvalidConfig(f"the pool {texts[i]} overlaps another")
        record = NetworkRecord(
            id=self._free_id(),
            name=name,
            private=private,
            mtu=mtu,
            pools=parsed,
            routes=tuple(dict.fromkeys(route_for_pool(text) for text in texts)),
            rfc4193=rfc4193,
            created_ms=now // 1000,
        )
        self._store.save_network(record)
        self._networks[record.id] = _Network(record, [])
        return record

    def _free_id(self) -> NetworkId:
        for _ in range(_TRIES):
            number = int.from_bytes(self._entropy.take(3), "big")
            network = NetworkId(self._identity.address << 24 | number)
            if number and network not in self._networks:
                return network
        raise InvalidConfig("no free network id was found; try again")

    def networks(self) -> list[NetworkRecord]:
        return [network.record for network in self._networks.values()]

    def members(self, network: NetworkId) -> list[MemberRecord]:
        """Return the members of a network, those that wait for authorisation included."""
        return list(self._find(network).members.values())

    def is_known_member(self, network: NetworkId, address: Address) -> bool:
        known = self._networks.get(network)
        member = known.members.get(address) if known is not None else None
        return member is not None and member.authorized

    def authorize(self, now: int, network: NetworkId, address: Address) -> MemberRecord:
        """Let a node in, seen or not; if it is online it gets its configuration at once."""
        found = self._find(network)
        member = found.members.get(address)
        if member is None:
            if address.is_reserved:
                raise InvalidConfig(f"{address} is reserved and no node's address")
            member = MemberRecord(address=address, created_ms=now // 1000)
            self._make_room(found)
        if not member.authorized:
            member = member.changed(authorized=True, authorized_ms=now // 1000)
        self._save(found, member)
        return self._push(now, found, member)

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
        if member.authorized:
            member = member.changed(authorized=False, deauthorized_ms=now // 1000)
            self._save(found, member)
            self._revoke(now, found, address)
        return member

    def put_network(self, now: int, record: NetworkRecord) -> NetworkRecord:
        """Store a changed or new record; members that are online get their configuration."""
        if record.id.controller != self._identity.address:
            raise InvalidConfig(f"{record.id} is not a network of this controller")
        found = self._networks.get(record.id)
        if found is None:
            if len(self._networks) >= MAX_NETWORKS:
                raise InvalidConfig(f"a controller has at most {MAX_NETWORKS} networks")
            record = replace(record, revision=1, created_ms=now // 1000)
            self._networks[record.id] = _Network(record, [])
            self._store.save_network(record)
            return record
        record = replace(record, revision=found.record.revision)
        if record == found.record:
            return record
        found.record = record = replace(record, revision=record.revision + 1)
        self._store.save_network(record)
        for member in list(found.members.values()):
            self._push(now, found, member)
        return record

    def put_member(self, now: int, network: NetworkId, record: MemberRecord) -> MemberRecord:
        """Store a changed or new member; letting in and putting out have their effects."""
        found = self._find(network)
        old = found.members.get(record.address)
        if old is None:
            self._make_room(found)
        was = old is not None and old.authorized
        if record.authorized and not was:
            record = replace(record, authorized_ms=now // 1000)
        elif was and not record.authorized:
            record = replace(record, deauthorized_ms=now // 1000)
        if old is not None:
            found.taken.difference_update(old.ips)
        found.taken.update(record.ips)
        if record != old:
            record = replace(record, revision=1 if old is None else old.revision + 1)
            self._save(found, record)
        if was and not record.authorized and found.record.private:
            self._revoke(now, found, record.address)
        elif record.authorized:
            record = self._push(now, found, record)
        return record

    def delete_member(self, now: int, network: NetworkId, address: Address) -> MemberRecord:
        """Forget a member; if it was let in, its certificate is revoked."""
        found = self._find(network)
        member = found.members.pop(address, None)
        if member is None:
            raise InvalidConfig(f"{address} is no member of {network}")
        found.taken.difference_update(member.ips)
        found.knows_rules.pop(address, None)
        self._store.delete_member(network, address)
        if member.authorized:
            self._revoke(now, found, address)
        return member

    def delete_network(self, now: int, network: NetworkId) -> NetworkRecord:
        """Forget a network and its members, whose certificates are revoked."""
        found = self._find(network)
        for member in found.members.values():
            if member.authorized:
                self._revoke(now, found, member.address)
        del self._networks[network]
        self._store.delete_network(network)
        return found.record

    def _push(self, now: int, network: _Network, member: MemberRecord) -> MemberRecord:
        """Send its configuration to a member that is online and let in."""
        if member.identity is None or not member.authorized:
            return member
        if not network.is_online(now, member.address):
            return member
        return self._send_config(now, network, member, member.identity, None)

    def _find(self, network: NetworkId) -> _Network:
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
        found.heard.set(source.address, now)
        member = self._admit(now, found, source, request)
        if member is None or not member.authorized:
            self._refuse(source, packet_id, network, ErrorCode.NETWORK_ACCESS_DENIED)
            return
        self._send_config(now, found, member, source, packet_id)

    def _admit(
        self, now: int, network: _Network, source: Identity, request: ConfigRequest
    ) -> MemberRecord | None:
        """Return the member's record as it is now; None for a stolen address."""
        old = network.members.get(source.address)
        member = old
        if member is None:
            self._make_room(network)
            member = MemberRecord(
                address=source.address, identity=source.public, created_ms=now // 1000
            )
        if member.identity is None:
            member = member.changed(identity=source.public)
        elif member.identity != source:
            self._tracer.drop(Drop.IDENTITY_COLLISION, "controller")
            return None
        if not member.authorized and not network.record.private:
            member = member.changed(authorized=True, authorized_ms=now // 1000)
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
        if member is not old:
            self._save(network, member)
        return member

    def _make_room(self, network: _Network) -> None:
        """Forget the oldest node that waits for authorisation if there are too many."""
        strangers = [m for m in network.members.values() if not m.authorized]
        if len(strangers) < MAX_STRANGERS and len(network.members) < MAX_MEMBERS:
            return
        if not strangers:
            raise InvalidConfig(f"a network has at most {MAX_MEMBERS} members")
        oldest = min(strangers, key=lambda m: m.created_ms)
        del network.members[oldest.address]
        network.knows_rules.pop(oldest.address, None)
        network.taken.difference_update(oldest.ips)
        self._store.delete_member(network.record.id, oldest.address)

    def _save(self, network: _Network, member: MemberRecord) -> None:
        if network.members.get(member.address) != member:
            network.members[member.address] = member
            self._store.save_member(network.record.id, member)

    def _refuse(
        self, source: Identity, packet_id: int, network: NetworkId, code: ErrorCode
    ) -> None:
        self._out.append(SendError(source.address, packet_id, code, network.packed))

    def _send_config(
        self,
        now: int,
        network: _Network,
        member: MemberRecord,
        identity: Identity,
        packet_id: int | None,
    ) -> MemberRecord:
        has_ipv4 = any(len(ip) == 4 for ip in member.ips)
        assigns = network.record.assigns_ipv4 and not member.no_auto_assign
        if assigns and network.record.pools and not has_ipv4:
            ip = assign_ipv4(network.record, member.address, network.taken)
            if ip is not None:
                network.taken.add(ip)
                member = member.changed(ips=(*member.ips, ip))
                self._save(network, member)
        bridges = [m.address for m in network.members.values() if m.bridge]
        config = compose(
            now // 1000,
            self._identity,
            network.record,
            member,
            identity,
            bridges=bridges,
            knows_rules=network.knows_rules.get(member.address, True),
        )
        update = int.from_bytes(self._entropy.take(8), "big") or 1
        chunks = ConfigChunk.split(network.record.id, config.to_dictionary(), update)
        signed = tuple(chunk.signed_by(self._identity) for chunk in chunks)
        self._out.append(SendConfig(member.address, packet_id, signed))
        return member

    def _revoke(self, now: int, network: _Network, target: Address) -> None:
        revocation = Revocation(
            network=network.record.id,
            id=int.from_bytes(self._entropy.take(4), "big"),
            credential_type=CredentialType.COM,
            credential_id=0,
            threshold=now // 1000,
            target=target,
            flags=FLAG_FAST_PROPAGATE,
        ).signed_by(self._identity)
        w = Writer()
        NetworkCredentials(revocations=(revocation,)).encode(w)
        payload = w.getvalue()
        self._out += [
            SendRevocation(address, payload)
            for address in network.heard
            if network.is_online(now, address)
        ]

    # Time and outputs.

    def handle_timer(self, now: int) -> None:
        """Do nothing: nothing here waits. The owner treats all machines alike."""

    def next_timer(self) -> int | None:
        return None

    def take_output(self) -> list[Output]:
        out, self._out = self._out, []
        return out
