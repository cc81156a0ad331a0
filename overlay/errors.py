"""Exceptions of the overlay: those of the stack, since its streams are the stack's TCP."""

from __future__ import annotations

from ztstack.base.errors import (
    Closed,
    ConnectRefused,
    ConnectReset,
    DecodeError,
    IdentityError,
    InvalidConfig,
    NameNotResolved,
    NotJoined,
    PortInUse,
    StateInUse,
    StorageError,
    Unreachable,
    ZtError,
)

OverlayError = ZtError

__all__ = [
    "Closed",
    "ConnectRefused",
    "ConnectReset",
    "DecodeError",
    "IdentityError",
    "InvalidConfig",
    "NameNotResolved",
    "NotJoined",
    "OverlayError",
    "PortInUse",
    "StateInUse",
    "StorageError",
    "Unreachable",
]
