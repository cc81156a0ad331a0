"""The legacy engine: managed nodes talk over memory or plain UDP, unencrypted."""

from __future__ import annotations

from overlay.engine import OverlayConfig, OverlayDatagrams, OverlayEngine, OverlayListener
from overlay.errors import (
    Closed,
    ConnectRefused,
    ConnectReset,
    InvalidConfig,
    NameNotResolved,
    OverlayError,
    PortInUse,
    Unreachable,
)
from overlay.stream import Stream

__all__ = [
    "Closed",
    "ConnectRefused",
    "ConnectReset",
    "InvalidConfig",
    "NameNotResolved",
    "OverlayConfig",
    "OverlayDatagrams",
    "OverlayEngine",
    "OverlayError",
    "OverlayListener",
    "PortInUse",
    "Stream",
    "Unreachable",
]
