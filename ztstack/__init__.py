"""A user-space ZeroTier node: the protocol, a TCP/IP stack and sockets for asyncio."""

from __future__ import annotations

from ztstack.aio.service import NodeConfig
from ztstack.aio.status import NetworkReport, NodeStatus, PeerReport
from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import (
    AccessDenied,
    AuthenticationRequired,
    ConnectRefused,
    ConnectReset,
    LocalError,
    NetworkNotFound,
    Offline,
    RemoteError,
    StorageError,
    Unreachable,
    ZtError,
)
from ztstack.base.network_id import NetworkId
from ztstack.crypto.identity import Identity
from ztstack.sockets.api import Node
from ztstack.sockets.datagram import DatagramEndpoint
from ztstack.sockets.listener import Listener
from ztstack.sockets.stream import Stream

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "Address",
    "AuthenticationRequired",
    "ConnectRefused",
    "ConnectReset",
    "DatagramEndpoint",
    "Endpoint",
    "Identity",
    "Listener",
    "LocalError",
    "NetworkId",
    "NetworkNotFound",
    "NetworkReport",
    "Node",
    "NodeConfig",
    "NodeStatus",
    "Offline",
    "PeerReport",
    "RemoteError",
    "StorageError",
    "Stream",
    "Unreachable",
    "ZtError",
    "__version__",
]
