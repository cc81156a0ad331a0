"""Exceptions of the legacy engine; asyncio users catch the builtin ones."""

from __future__ import annotations


class OverlayError(Exception):
    """Whatever this package raises on purpose."""


class InvalidConfig(OverlayError, ValueError):
    """A setting is not valid."""


class NameNotResolved(OverlayError, OSError):
    """A host is neither a node id nor a mapped address."""


class Unreachable(OverlayError, OSError):
    """Nobody knows where the node is."""


class ConnectRefused(OverlayError, ConnectionRefusedError):
    """The node has nothing listening there."""


class ConnectReset(OverlayError, ConnectionResetError):
    """The node broke the connection off."""


class PortInUse(OverlayError, OSError):
    """Another socket of this engine holds the port."""


class Closed(OverlayError):
    """The object was closed and is used again."""


class MalformedMessage(OverlayError, ValueError):
    """Bytes that are no message; never leaves the package."""
