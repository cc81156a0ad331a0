"""A user-space ZeroTier node: the protocol, a TCP/IP stack and sockets for asyncio."""

from __future__ import annotations

__version__ = "0.1.0"
