"""What is certified about the members of one network, and who may talk to us (vl2 4.7 to 4.9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, unique
from typing import Final, TypeVar

from ztstack.base.address import Address
from ztstack.base.codec import Writer
from ztstack.base.errors import DecodeError
from ztstack.base.limits import BoundedMap
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.base.timers import SECOND
from ztstack.crypto.identity import Identity
from ztstack.vl2.network_config import NetworkConfig
from ztstack.wire.credentials import (
    Capability,
    Com,
    Credential,
    CredentialType,
    NetworkCredentials,
    Ownership,
    Revocation,
    Tag,
)
from ztstack.wire.header import MAX_PAYLOAD

MEMBER_LIMIT: Final = 8192
TAG_LIMIT: Final = 128
CAPABILITY_LIMIT: Final = 128
OWNERSHIP_LIMIT: Final = 32
THRESHOLD_LIMIT: Final = 512

PUSH_IDLE_US: Final = 500 * SECOND
PUSH_SPACING_US: Final = 1 * SECOND
"""A second push within this time is lost: receivers look at one a second."""
LIKE_PERIOD_US: Final = 60 * SECOND

_TYPES: Final = {
    Tag: CredentialType.TAG,
    Capability: CredentialType.CAPABILITY,
    Ownership: CredentialType.OWNERSHIP,
}
_BY_NUMBER: Final = frozenset(_TYPES.values())

_Numbered = TypeVar("_Numbered", Tag, Capability, Ownership)


@unique
class Acceptance(Enum):
    """What became of a credential."""

    NEW = "new"
    REDUNDANT = "redundant"
    REJECTED = "rejected"


class Membership:
    """One other node on this network: its credentials, and when we last told it something."""

    __slots__ = (
        "_agreed",
        "_agreed_as",
        "_agreed_with",
        "capabilities",
        "com",
        "com_threshold",
        "liked_at",
        "ownerships",
        "pushed_at",
        "tags",
        "thresholds",
    )

    def __init__(self) -> None:
        self.com: Com | None = None
        self.com_threshold = 0
        self.tags: BoundedMap[int, Tag] = BoundedMap(TAG_LIMIT)
        self.capabilities: BoundedMap[int, Capability] = BoundedMap(CAPABILITY_LIMIT)
        self.ownerships: BoundedMap[int, Ownership] = BoundedMap(OWNERSHIP_LIMIT)
        self.thresholds: BoundedMap[tuple[int, int], int] = BoundedMap(THRESHOLD_LIMIT)
        self.pushed_at: int | None = None
        self.liked_at: int | None = None
        self._agreed_with: Com | None = None
        self._agreed_as: Identity | None = None
        self._agreed = False

    def agrees(self, ours: Com | None, identity: Identity | None) -> bool:
        """Tell whether our certificate and this member's are of one network and one time."""
        if ours is None or self.com is None or identity is None:
            return False
        if self.com.timestamp <= self.com_threshold:
            return False
        if self._agreed_with is not ours or self._agreed_as is not identity:
            # Certificates change once a minute, and frames come by the thousand.
            self._agreed = ours.agrees_with(self.com, identity)
            self._agreed_with = ours
            self._agreed_as = identity
        return self._agreed

    def accept_com(self, com: Com, controller: Identity) -> Acceptance:
        if com.timestamp <= self.com_threshold:
            return Acceptance.REJECTED
        if self.com is not None:
            if com.timestamp < self.com.timestamp:
                return Acceptance.REJECTED
            if com == self.com:
                return Acceptance.REDUNDANT
        com.verify(controller)
        self.com = com
        self._agreed_with = None
        return Acceptance.NEW

    def accept_numbered(
        self,
        table: BoundedMap[int, _Numbered],
        credential: _Numbered,
        verify: Callable[[], None],
    ) -> Acceptance:
        """Take a tag, a capability or a certificate of ownership."""
        held = table.get(credential.id)
        if held is not None:
            if held.timestamp > credential.timestamp:
                return Acceptance.REJECTED
            if held == credential:
                return Acceptance.REDUNDANT
        if self._is_revoked(credential):
            return Acceptance.REJECTED
        verify()
        table.set(credential.id, credential)
        return Acceptance.NEW

    def accept_revocation(self, revocation: Revocation, controller: Identity) -> Acceptance:
        kind, threshold = revocation.credential_type, revocation.threshold
        key = (kind, revocation.credential_id)
        if kind == CredentialType.COM:
            held = self.com_threshold
        elif kind in _BY_NUMBER:
            held = self.thresholds.get(key) or 0
        else:
            return Acceptance.REJECTED
        if threshold <= held:
            # Every member passes it on, so most that come are copies.
            return Acceptance.REDUNDANT
        revocation.verify(controller)
        if kind in _BY_NUMBER:
            self.thresholds.set(key, threshold)
        # A rule of the original: whatever is revoked sets this threshold too, even to a lower time.
        self.com_threshold = threshold
        return Acceptance.NEW

    def _is_revoked(self, credential: Tag | Capability | Ownership) -> bool:
        threshold = self.thresholds.get((_TYPES[type(credential)], credential.id))
        return threshold is not None and credential.timestamp <= threshold

    def _is_valid(
        self, credential: Tag | Capability | Ownership, timestamp: int, delta_ms: int
    ) -> bool:
        return abs(credential.timestamp - timestamp) <= delta_ms and not self._is_revoked(
            credential
        )

    def valid_tag(self, number: int, timestamp: int, delta_ms: int) -> int | None:
        tag = self.tags.get(number)
        if tag is None or not self._is_valid(tag, timestamp, delta_ms):
            return None
        return tag.value

    def valid_capabilities(self, timestamp: int, delta_ms: int) -> list[Capability]:
        valid = [c for c in self.capabilities.values() if self._is_valid(c, timestamp, delta_ms)]
        valid.sort(key=lambda capability: capability.id)
        return valid

    def owns_ip(self, ip: bytes, timestamp: int, delta_ms: int) -> bool:
        return any(
            owned.owns_ip(ip) and self._is_valid(owned, timestamp, delta_ms)
            for owned in self.ownerships.values()
        )

    def owns_mac(self, mac: Mac, timestamp: int, delta_ms: int) -> bool:
        return any(
            owned.owns_mac(mac) and self._is_valid(owned, timestamp, delta_ms)
            for owned in self.ownerships.values()
        )


class Memberships:
    """All other nodes of one network that were heard of, and our own credentials for them."""

    def __init__(self, network: NetworkId) -> None:
        self.network = network
        self._members: BoundedMap[Address, Membership] = BoundedMap(MEMBER_LIMIT)
        self._config: NetworkConfig | None = None
        self._configured_at = 0
        self._push: list[bytes] = []
        self.version = 0
        """Changes whenever what rules can know of anybody does."""

    def configure(self, now: int, config: NetworkConfig) -> None:
        self._config = config
        self._configured_at = now
        self._push = push_payloads(config)

    def get(self, address: Address) -> Membership | None:
        return self._members.get(address)

    def addresses(self) -> list[Address]:
        return list(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def obtain(self, address: Address) -> Membership:
        """Return the membership of a node, made if there is none."""
        member = self._members.get(address)
        if member is None:
            member = Membership()
            if self._members.set(address, member) is not None:
                self.version += 1
        return member

    def is_allowed(self, address: Address, identity: Identity | None) -> bool:
        """Tell whether frames of this node are welcome: section 4.8, the gate."""
        config = self._config
        if config is None:
            return False
        if config.is_public:
            return True
        member = self._members.get(address)
        return member is not None and member.agrees(config.com, identity)

    def accept(
        self, credential: Credential, controller: Identity, holders: Sequence[Identity] = ()
    ) -> Acceptance:
        """Store a credential with the node it is about, whoever brought it.

        `holders` are the identities of a capability's signers after the controller.
        """
        network = credential.network_id if isinstance(credential, Com) else credential.network
        address = credential.target if isinstance(credential, Revocation) else credential.issued_to
        if network != self.network or not address:
            return Acceptance.REJECTED
        member = self._members.get(address) or Membership()
        try:
            result = _accept(member, credential, controller, holders)
        except DecodeError:
            return Acceptance.REJECTED
        if result is Acceptance.NEW:
            # Only what the controller signed makes an entry.
            self._members.set(address, member)
            self.version += not isinstance(credential, Com)
        return result

    def take_push(self, now: int, address: Address) -> list[bytes]:
        """Return our credentials if they are due to this node before a frame, and note it."""
        if not self._push:
            return []
        member = self.obtain(address)
        pushed_at = member.pushed_at
        if pushed_at is not None and (
            now - pushed_at <= PUSH_SPACING_US
            or (pushed_at >= self._configured_at and now - pushed_at <= PUSH_IDLE_US)
        ):
            return []
        member.pushed_at = now
        return self._push

    def take_demanded_push(self, now: int, address: Address) -> list[bytes]:
        """Return our credentials for a node that says it lacks our certificate."""
        if self._config is None or self._config.com is None:
            return []
        member = self.obtain(address)
        if member.pushed_at is not None and now - member.pushed_at <= PUSH_SPACING_US:
            return []
        member.pushed_at = now
        return self._push

    def is_refused(self, now: int, address: Address) -> bool:
        """Tell whether a node that says it lacks our certificate has had the one of today."""
        member = self._members.get(address)
        pushed_at = None if member is None else member.pushed_at
        return (
            pushed_at is not None
            and pushed_at >= self._configured_at
            and now - pushed_at > PUSH_SPACING_US
        )

    def is_like_due(self, now: int, address: Address) -> bool:
        """Tell whether a member has not heard for a while what we listen to, and note it."""
        member = self.obtain(address)
        if member.liked_at is not None and now - member.liked_at < LIKE_PERIOD_US:
            return False
        member.liked_at = now
        return True


def _accept(
    member: Membership, credential: Credential, controller: Identity, holders: Sequence[Identity]
) -> Acceptance:
    match credential:
        case Com():
            return member.accept_com(credential, controller)
        case Tag():
            return member.accept_numbered(
                member.tags, credential, lambda: credential.verify(controller)
            )
        case Ownership():
            return member.accept_numbered(
                member.ownerships, credential, lambda: credential.verify(controller)
            )
        case Capability():
            return member.accept_numbered(
                member.capabilities, credential, lambda: credential.verify(controller, *holders)
            )
        case Revocation():
            return member.accept_revocation(credential, controller)


def push_payloads(config: NetworkConfig) -> list[bytes]:
    """Pack our own credentials into as few messages as hold them; the certificate goes first."""
    parts: list[list[Credential]] = []
    free = 0
    for credential in (
        *((config.com,) if config.com is not None else ()),
        *config.capabilities,
        *config.tags,
        *config.ownerships,
    ):
        w = Writer()
        credential.encode(w)
        if len(w) > free:
            parts.append([])
            free = MAX_PAYLOAD - 9  # the end of certificates, and four counts
        parts[-1].append(credential)
        free -= len(w)
    return [_packed(part) for part in parts]


def _packed(part: list[Credential]) -> bytes:
    w = Writer()
    NetworkCredentials(
        coms=tuple(c for c in part if isinstance(c, Com)),
        capabilities=tuple(c for c in part if isinstance(c, Capability)),
        tags=tuple(c for c in part if isinstance(c, Tag)),
        ownerships=tuple(c for c in part if isinstance(c, Ownership)),
    ).encode(w)
    return w.getvalue()
