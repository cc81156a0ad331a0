"""What a controller certifies: membership, tags, capabilities, ownership; and revocations.

The formats are those of vl2 section 4, NETWORK_CREDENTIALS is that of section 2.4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, unique
from itertools import pairwise
from typing import Final, NamedTuple, Self

from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.crypto.identity import Identity
from ztstack.wire.rules import Rule, decode_counted_rules, encode_rules

MAX_QUALIFIERS: Final = 8
MAX_CUSTODY: Final = 7
MAX_THINGS: Final = 16
UNSIGNED: Final = bytes(96)

_COM_FORMAT: Final = 0x01
_SIGNATURE_TYPE: Final = 1
_SIGNATURE_BYTES: Final = 96
_SIGN_MARK: Final = b"\x7f" * 8
_NOBODY: Final = Address(0)
_ANY: Final = (1 << 64) - 1

_TIMESTAMP: Final = 0
_NETWORK: Final = 1
_ISSUED_TO: Final = 2
_HASH_IDS: Final = (3, 4, 5, 6)


@unique
class CredentialType(IntEnum):
    """How a revocation names what it revokes."""

    COM = 1
    CAPABILITY = 2
    TAG = 3
    OWNERSHIP = 4
    REVOCATION = 6


def _decode_signature(r: Reader) -> bytes:
    kind, length = r.uint(1), r.uint(2)
    if kind != _SIGNATURE_TYPE:
        r.skip(length)
        return UNSIGNED
    if length != _SIGNATURE_BYTES:
        raise DecodeError(f"a signature of {length} bytes")
    return r.take(length)


def _encode_signature(w: Writer, signature: bytes) -> None:
    w.uint(_SIGNATURE_TYPE, 1)
    w.uint(_SIGNATURE_BYTES, 2)
    w.put(signature)


def _sign_form(body: Writer) -> bytes:
    return b"%b%b\0\0%b" % (_SIGN_MARK, body.getvalue(), _SIGN_MARK)


def _check_signer(network: NetworkId, named: Address, signer: Identity) -> None:
    if named != network.controller or signer.address != named:
        raise DecodeError(f"a credential of {network} signed by {named}")


class Qualifier(NamedTuple):
    """A value in a certificate of membership, and how far another's may be from it."""

    id: int
    value: int
    max_delta: int


@dataclass(frozen=True, slots=True)
class Com:
    """A certificate of membership: its holder is in the network (vl2 section 4.2)."""

    qualifiers: tuple[Qualifier, ...]
    signer: Address = _NOBODY
    signature: bytes = UNSIGNED

    @classmethod
    def of_member(
        cls, network: NetworkId, timestamp: int, max_delta: int, member: Identity
    ) -> Self:
        """Make the certificate of a member, not signed yet; times are milliseconds."""
        digest = member.key_hash
        return cls(
            (
                Qualifier(_TIMESTAMP, timestamp, max_delta),
                Qualifier(_NETWORK, network, 0),
                Qualifier(_ISSUED_TO, member.address, _ANY),
                *(
                    Qualifier(number, int.from_bytes(digest[at : at + 8], "big"), _ANY)
                    for number, at in zip(_HASH_IDS, (0, 8, 16, 24), strict=True)
                ),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        if r.uint(1) != _COM_FORMAT:
            raise DecodeError("not a certificate of membership")
        count = r.uint(2)
        if count > MAX_QUALIFIERS:
            raise DecodeError(f"a certificate of membership with {count} qualifiers")
        qualifiers = tuple(Qualifier(r.uint(8), r.uint(8), r.uint(8)) for _ in range(count))
        if any(a.id > b.id for a, b in pairwise(qualifiers)):
            raise DecodeError("qualifiers out of order")
        signer = Address.decode(r)
        signature = r.take(_SIGNATURE_BYTES) if signer else UNSIGNED
        return cls(qualifiers, signer, signature)

    def encode(self, w: Writer) -> None:
        w.uint(_COM_FORMAT, 1)
        w.uint(len(self.qualifiers), 2)
        w.put(self.signed_message())
        self.signer.encode(w)
        if self.signer:
            w.put(self.signature)

    def _value(self, number: int) -> int | None:
        for qualifier in self.qualifiers:
            if qualifier.id == number:
                return qualifier.value
        return None

    @property
    def timestamp(self) -> int:
        return self._value(_TIMESTAMP) or 0

    @property
    def network_id(self) -> NetworkId:
        return NetworkId(self._value(_NETWORK) or 0)

    @property
    def issued_to(self) -> Address:
        return Address((self._value(_ISSUED_TO) or 0) & 0xFFFFFFFFFF)

    def signed_message(self) -> bytes:
        return b"".join(
            part.to_bytes(8, "big") for qualifier in self.qualifiers for part in qualifier
        )

    def signed_by(self, identity: Identity) -> Self:
        signature = identity.sign(self.signed_message())
        return replace(self, signer=identity.address, signature=signature)

    def verify(self, signer: Identity) -> None:
        """Raise DecodeError unless this was signed by the network's controller, who is `signer`."""
        _check_signer(self.network_id, self.signer, signer)
        signer.verify(self.signed_message(), self.signature)

    def agrees_with(self, other: Com, identity: Identity) -> bool:
        """Tell whether the holder of `other`, who is `identity`, is in the network with us.

        Our deltas count and the other's do not, so this is not symmetric.
        """
        if not self.qualifiers or not other.qualifiers:
            return False
        theirs = {q.id: q.value for q in reversed(other.qualifiers)}
        for number, value, max_delta in self.qualifiers:
            their_value = theirs.get(number)
            if their_value is None or abs(value - their_value) > max_delta:
                return False
        if not any(qualifier.id in _HASH_IDS for qualifier in self.qualifiers):
            return True
        digest = b"".join(theirs[n].to_bytes(8, "big") for n in _HASH_IDS if n in theirs)
        return digest == identity.key_hash[:32]


@dataclass(frozen=True, slots=True)
class Tag:
    """A number that the controller gave to a member, for rules to compare (vl2 section 4.3)."""

    network: NetworkId
    timestamp: int
    id: int
    value: int
    issued_to: Address
    signer: Address = _NOBODY
    signature: bytes = UNSIGNED

    @classmethod
    def decode(cls, r: Reader) -> Self:
        result = cls(
            network=NetworkId.decode(r),
            timestamp=r.uint(8),
            id=r.uint(4),
            value=r.uint(4),
            issued_to=Address.decode(r),
            signer=Address.decode(r),
            signature=_decode_signature(r),
        )
        r.skip(r.uint(2))
        return result

    def _encode_body(self, w: Writer) -> None:
        self.network.encode(w)
        w.uint(self.timestamp, 8)
        w.uint(self.id, 4)
        w.uint(self.value, 4)
        self.issued_to.encode(w)
        self.signer.encode(w)

    def encode(self, w: Writer) -> None:
        self._encode_body(w)
        _encode_signature(w, self.signature)
        w.uint(0, 2)

    def signed_message(self) -> bytes:
        w = Writer()
        self._encode_body(w)
        return _sign_form(w)

    def signed_by(self, identity: Identity) -> Self:
        draft = replace(self, signer=identity.address)
        return replace(draft, signature=identity.sign(draft.signed_message()))

    def verify(self, signer: Identity) -> None:
        """Raise DecodeError unless this was signed by the network's controller, who is `signer`."""
        _check_signer(self.network, self.signer, signer)
        signer.verify(self.signed_message(), self.signature)


class Custody(NamedTuple):
    """One link of a capability's chain: `origin` gave it to `to`."""

    to: Address
    origin: Address
    signature: bytes


@dataclass(frozen=True, slots=True)
class Capability:
    """Rules that a member may apply to what it sends (vl2 section 4.4)."""

    network: NetworkId
    timestamp: int
    id: int
    rules: tuple[Rule, ...]
    custody: tuple[Custody, ...] = ()
    max_custody: int = 1

    @classmethod
    def decode(cls, r: Reader) -> Self:
        network, timestamp, number = NetworkId.decode(r), r.uint(8), r.uint(4)
        rules = decode_counted_rules(r)
        max_custody = r.uint(1)
        if not 1 <= max_custody <= MAX_CUSTODY:
            raise DecodeError(f"a custody chain of at most {max_custody}")
        custody: list[Custody] = []
        while to := Address.decode(r):
            if len(custody) == max_custody:
                raise DecodeError("a custody chain that is longer than it may be")
            custody.append(Custody(to, Address.decode(r), _decode_signature(r)))
        r.skip(r.uint(2))
        return cls(network, timestamp, number, rules, tuple(custody), max_custody)

    def _encode_body(self, w: Writer) -> None:
        self.network.encode(w)
        w.uint(self.timestamp, 8)
        w.uint(self.id, 4)
        w.uint(len(self.rules), 2)
        w.put(encode_rules(self.rules))
        w.uint(self.max_custody, 1)

    def encode(self, w: Writer) -> None:
        self._encode_body(w)
        for link in self.custody:
            link.to.encode(w)
            link.origin.encode(w)
            _encode_signature(w, link.signature)
        _NOBODY.encode(w)
        w.uint(0, 2)

    @property
    def issued_to(self) -> Address:
        return self.custody[-1].to if self.custody else _NOBODY

    @property
    def signer(self) -> Address:
        """The node that gave it away first; must be the controller."""
        return self.custody[0].origin if self.custody else _NOBODY

    @property
    def signers(self) -> tuple[Address, ...]:
        """Everybody who signed: the controller, then the holders before the last one."""
        return tuple(link.origin for link in self.custody)

    def signed_message(self) -> bytes:
        w = Writer()
        self._encode_body(w)
        return _sign_form(w)

    def signed_by(self, identity: Identity, to: Address) -> Self:
        """Give it to a node: adds a link to the chain."""
        link = Custody(to, identity.address, identity.sign(self.signed_message()))
        return replace(self, custody=(*self.custody, link))

    def verify(self, signer: Identity, *holders: Identity) -> None:
        """Raise DecodeError unless the chain is whole and begins at the controller, `signer`.

        `holders` are the identities of `signers` after the first; controllers issue chains of one.
        """
        identities = (signer, *holders)
        if not self.custody or len(identities) != len(self.custody):
            raise DecodeError("a custody chain without its signers")
        message = self.signed_message()
        _check_signer(self.network, self.signer, signer)
        previous = self.network.controller
        for link, identity in zip(self.custody, identities, strict=True):
            if link.origin != previous or identity.address != link.origin:
                raise DecodeError("a broken custody chain")
            identity.verify(message, link.signature)
            previous = link.to


@unique
class ThingType(IntEnum):
    """What can be owned."""

    MAC = 1
    IPV4 = 2
    IPV6 = 3


_THING_BYTES: Final = {ThingType.MAC: 6, ThingType.IPV4: 4, ThingType.IPV6: 16}


class Thing(NamedTuple):
    """Something that a member owns; `value` has 16 bytes, padded with zeros."""

    type: int
    value: bytes

    @classmethod
    def of_ip(cls, ip: bytes) -> Self:
        return cls(ThingType.IPV4 if len(ip) == 4 else ThingType.IPV6, ip.ljust(16, b"\0"))

    @classmethod
    def of_mac(cls, mac: Mac) -> Self:
        return cls(ThingType.MAC, mac.packed.ljust(16, b"\0"))


@dataclass(frozen=True, slots=True)
class Ownership:
    """A certificate of ownership: these addresses are the member's (vl2 section 4.6)."""

    network: NetworkId
    timestamp: int
    id: int
    things: tuple[Thing, ...]
    issued_to: Address
    signer: Address = _NOBODY
    signature: bytes = UNSIGNED
    flags: int = 0

    @classmethod
    def decode(cls, r: Reader) -> Self:
        network, timestamp, flags, number = NetworkId.decode(r), r.uint(8), r.uint(8), r.uint(4)
        count = r.uint(2)
        if count > MAX_THINGS:
            raise DecodeError(f"a certificate of ownership for {count} things")
        result = cls(
            network=network,
            timestamp=timestamp,
            id=number,
            things=tuple(Thing(r.uint(1), r.take(16)) for _ in range(count)),
            issued_to=Address.decode(r),
            signer=Address.decode(r),
            signature=_decode_signature(r),
            flags=flags,
        )
        r.skip(r.uint(2))
        return result

    def _encode_body(self, w: Writer) -> None:
        self.network.encode(w)
        w.uint(self.timestamp, 8)
        w.uint(self.flags, 8)
        w.uint(self.id, 4)
        w.uint(len(self.things), 2)
        for thing in self.things:
            w.uint(thing.type, 1)
            w.put(thing.value)
        self.issued_to.encode(w)
        self.signer.encode(w)

    def encode(self, w: Writer) -> None:
        self._encode_body(w)
        _encode_signature(w, self.signature)
        w.uint(0, 2)

    def _owns(self, wanted: Thing) -> bool:
        size = _THING_BYTES[ThingType(wanted.type)]
        return any(
            thing.type == wanted.type and thing.value[:size] == wanted.value[:size]
            for thing in self.things
        )

    def owns_ip(self, ip: bytes) -> bool:
        return self._owns(Thing.of_ip(ip))

    def owns_mac(self, mac: Mac) -> bool:
        return self._owns(Thing.of_mac(mac))

    def signed_message(self) -> bytes:
        w = Writer()
        self._encode_body(w)
        return _sign_form(w)

    def signed_by(self, identity: Identity) -> Self:
        draft = replace(self, signer=identity.address)
        return replace(draft, signature=identity.sign(draft.signed_message()))

    def verify(self, signer: Identity) -> None:
        """Raise DecodeError unless this was signed by the network's controller, who is `signer`."""
        _check_signer(self.network, self.signer, signer)
        signer.verify(self.signed_message(), self.signature)


FLAG_FAST_PROPAGATE: Final = 0x1


@dataclass(frozen=True, slots=True)
class Revocation:
    """Credentials of `target` that are not newer than `threshold` are dead (vl2 section 4.5)."""

    network: NetworkId
    id: int
    credential_type: int
    credential_id: int
    threshold: int
    target: Address
    flags: int = 0
    signer: Address = _NOBODY
    signature: bytes = UNSIGNED

    @classmethod
    def decode(cls, r: Reader) -> Self:
        r.skip(4)
        number, network = r.uint(4), NetworkId.decode(r)
        r.skip(4)
        credential_id, threshold, flags = r.uint(4), r.uint(8), r.uint(8)
        target, signer = Address.decode(r), Address.decode(r)
        result = cls(
            network=network,
            id=number,
            credential_type=r.uint(1),
            credential_id=credential_id,
            threshold=threshold,
            target=target,
            flags=flags,
            signer=signer,
            signature=_decode_signature(r),
        )
        r.skip(r.uint(2))
        return result

    def _encode_body(self, w: Writer) -> None:
        w.uint(0, 4)
        w.uint(self.id, 4)
        self.network.encode(w)
        w.uint(0, 4)
        w.uint(self.credential_id, 4)
        w.uint(self.threshold, 8)
        w.uint(self.flags, 8)
        self.target.encode(w)
        self.signer.encode(w)
        w.uint(self.credential_type, 1)

    def encode(self, w: Writer) -> None:
        self._encode_body(w)
        _encode_signature(w, self.signature)
        w.uint(0, 2)

    @property
    def is_fast(self) -> bool:
        """Whether members pass it on at once."""
        return bool(self.flags & FLAG_FAST_PROPAGATE)

    def signed_message(self) -> bytes:
        w = Writer()
        self._encode_body(w)
        return _sign_form(w)

    def signed_by(self, identity: Identity) -> Self:
        draft = replace(self, signer=identity.address)
        return replace(draft, signature=identity.sign(draft.signed_message()))

    def verify(self, signer: Identity) -> None:
        """Raise DecodeError unless this was signed by the network's controller, who is `signer`."""
        _check_signer(self.network, self.signer, signer)
        signer.verify(self.signed_message(), self.signature)


Credential = Com | Tag | Capability | Ownership | Revocation


@dataclass(frozen=True, slots=True)
class NetworkCredentials:
    """NETWORK_CREDENTIALS: credentials of whichever networks and nodes."""

    coms: tuple[Com, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    tags: tuple[Tag, ...] = ()
    revocations: tuple[Revocation, ...] = ()
    ownerships: tuple[Ownership, ...] = ()

    @classmethod
    def decode(cls, r: Reader) -> Self:
        coms = []
        # The format byte of a certificate means "not the end" as well.
        while r.remaining and r.data[r.offset] != 0:
            coms.append(Com.decode(r))
        if r.remaining:
            r.skip(1)
        # Older senders end the message before any of the counts.
        return cls(
            coms=tuple(coms),
            capabilities=tuple(Capability.decode(r) for _ in range(_count(r))),
            tags=tuple(Tag.decode(r) for _ in range(_count(r))),
            revocations=tuple(Revocation.decode(r) for _ in range(_count(r))),
            ownerships=tuple(Ownership.decode(r) for _ in range(_count(r))),
        )

    def encode(self, w: Writer) -> None:
        for com in self.coms:
            com.encode(w)
        w.uint(0, 1)
        for part in (self.capabilities, self.tags, self.revocations, self.ownerships):
            w.uint(len(part), 2)
            for credential in part:
                credential.encode(w)


def _count(r: Reader) -> int:
    return r.uint(2) if r.remaining else 0
