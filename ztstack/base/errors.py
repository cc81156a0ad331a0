"""The exception tree of the package and the reasons for which a packet is dropped."""

from __future__ import annotations

from enum import Enum, unique
from errno import (
    EADDRINUSE,
    ECONNREFUSED,
    ECONNRESET,
    EHOSTUNREACH,
    EMSGSIZE,
    ENETUNREACH,
    ETIMEDOUT,
)


class ZtError(Exception):
    """Whatever this package raises on purpose."""


class LocalError(ZtError):
    """The caller asked wrongly, or the state of this node forbids it."""


class RemoteError(ZtError):
    """Another machine said no, or did not say anything."""


class StorageError(ZtError):
    """The state directory cannot be used."""


class InvalidConfig(LocalError, ValueError):
    """A setting, an address or a file that a user gave is not valid."""


class NotJoined(LocalError, OSError):
    """The network was not joined, or is not ready."""


class Closed(LocalError, OSError):
    """The object was closed and is used again."""


class TooLong(InvalidConfig, OSError):
    """A datagram is longer than any can be."""

    errno: int | None = EMSGSIZE


class PortInUse(LocalError, OSError):
    """Another socket of this node holds the port."""

    errno: int | None = EADDRINUSE


class IdentityError(StorageError):
    """The identity is invalid, unreadable, or readable by others."""


class StateInUse(StorageError):
    """Another process holds the state directory."""


class Offline(RemoteError, ConnectionError):
    """No root answered."""


class NetworkNotFound(RemoteError, ConnectionError):
    """The controller is silent, does not know the network, or assigned no address."""


class AccessDenied(RemoteError, PermissionError):
    """The controller does not let this node in."""


class AuthenticationRequired(RemoteError, PermissionError):
    """The controller wants a sign-in first."""


class Unreachable(RemoteError, OSError):
    """Nobody answers for the address."""

    errno: int | None = EHOSTUNREACH


class NetworkUnreachable(Unreachable):
    """No way leads to the network of the address, here or at a router."""

    errno: int | None = ENETUNREACH


class ConnectRefused(RemoteError, ConnectionRefusedError):
    """The peer has nothing listening there."""

    errno: int | None = ECONNREFUSED


class ConnectReset(RemoteError, ConnectionResetError):
    """The peer broke the connection off."""

    errno: int | None = ECONNRESET


class NoAnswer(RemoteError, TimeoutError):
    """The peer of a connection has been silent for too long."""

    errno: int | None = ETIMEDOUT


class NameNotResolved(LocalError, OSError):
    """A name has no address."""


class DecodeError(ValueError):
    """Bytes that are not what they should be; never leaves the core."""


@unique
class Drop(Enum):
    """Why a packet went no further."""

    MALFORMED = "malformed"
    TOO_LONG = "too long"
    BAD_MAC = "bad mac"
    BAD_CIPHER = "bad cipher suite"
    BAD_COMPRESSION = "bad compression"
    UNTRUSTED_PATH = "untrusted path"
    FROM_SELF = "from self"
    BAD_FRAGMENT = "bad fragment"
    FRAGMENT_TABLE_FULL = "fragment table full"
    UNKNOWN_PEER = "unknown peer"
    QUEUE_FULL = "queue full"
    QUEUE_TIMEOUT = "queue timeout"
    HOP_LIMIT = "hop limit"
    NO_RELAY = "no relay"
    RATE_LIMITED = "rate limited"
    DUPLICATE = "duplicate"
    OLD_PROTOCOL = "old protocol"
    BAD_IDENTITY = "bad identity"
    IDENTITY_COLLISION = "identity collision"
    UNEXPECTED_REPLY = "unexpected reply"
    UNKNOWN_VERB = "unknown verb"
    NOT_UPSTREAM = "not an upstream"
    BAD_ENDPOINT = "bad endpoint"
    NOT_JOINED = "not joined"
    NOT_CONTROLLER = "not the controller"
    NOT_STORED = "not stored"
    NOT_MEMBER = "not a member"
    BAD_SIGNATURE = "bad signature"
    BAD_CONFIG = "bad config"
    STALE = "stale"
    RULES = "rules"
    BRIDGING = "bridging"
    MULTICAST_DISABLED = "multicast disabled"
    NO_ADDRESS = "no address"
    BAD_CHECKSUM = "bad checksum"
    NOT_LOCAL = "not for a local address"
    NO_SOCKET = "no socket"
    NO_ROUTE = "no route"
    BACKLOG_FULL = "backlog full"
    NOT_ACCEPTABLE = "segment not acceptable"
    UNSUPPORTED = "unsupported"
