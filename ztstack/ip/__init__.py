"""A user-space IP host: Ethernet frames below, sockets above; knows nothing of ZeroTier."""

from __future__ import annotations
