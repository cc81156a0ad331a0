"""Verb and error numbers, and the version that this node tells others."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Final

PROTOCOL_VERSION: Final = 12
PROTOCOL_MIN: Final = 4
"""Peers that speak less are ignored (vl1 section 4.3)."""
PROTOCOL_AES: Final = 12
"""The first protocol version whose speakers understand AES-GMAC-SIV (vl1 section 3.6)."""

VERSION_MAJOR: Final = 1
VERSION_MINOR: Final = 14
VERSION_REVISION: Final = 1

VERB_MASK: Final = 0x1F


@unique
class Verb(IntEnum):
    """What a message is: the low five bits of byte 27 (vl1 section 4.1)."""

    NOP = 0x00
    HELLO = 0x01
    ERROR = 0x02
    OK = 0x03
    WHOIS = 0x04
    RENDEZVOUS = 0x05
    FRAME = 0x06
    EXT_FRAME = 0x07
    ECHO = 0x08
    MULTICAST_LIKE = 0x09
    NETWORK_CREDENTIALS = 0x0A
    NETWORK_CONFIG_REQUEST = 0x0B
    NETWORK_CONFIG = 0x0C
    MULTICAST_GATHER = 0x0D
    MULTICAST_FRAME = 0x0E
    PUSH_DIRECT_PATHS = 0x10
    ACK = 0x12
    QOS_MEASUREMENT = 0x13
    USER_MESSAGE = 0x14
    REMOTE_TRACE = 0x15
    PATH_NEGOTIATION_REQUEST = 0x16


@unique
class ErrorCode(IntEnum):
    """Why a request was refused (vl1 section 4.4)."""

    NONE = 0x00
    INVALID_REQUEST = 0x01
    BAD_PROTOCOL_VERSION = 0x02
    OBJ_NOT_FOUND = 0x03
    IDENTITY_COLLISION = 0x04
    UNSUPPORTED_OPERATION = 0x05
    NEED_MEMBERSHIP_CERTIFICATE = 0x06
    NETWORK_ACCESS_DENIED = 0x07
    UNWANTED_MULTICAST = 0x08
    NETWORK_AUTHENTICATION_REQUIRED = 0x09
