"""The overlay: nodes that talk over memory or plain UDP, for tests and experiments.

Neither encrypted nor authenticated. The interface is that of `ztstack.Node`, with node ids in the
place of IP addresses; streams are carried by the stack's TCP.
"""

from __future__ import annotations

from overlay.book import AddressBook, parse_node
from overlay.config import NodeConfig
from overlay.datagrams import Datagrams
from overlay.errors import (
    Closed,
    ConnectRefused,
    ConnectReset,
    InvalidConfig,
    NameNotResolved,
    NotJoined,
    OverlayError,
    PortInUse,
    StateInUse,
    Unreachable,
)
from overlay.events import Echo, Event, EventKind, PeerStatus, Status
from overlay.memory import SHARED, MemoryNetwork
from overlay.messages import Kind
from overlay.node import Node
from overlay.state import forget_network, kept_networks
from overlay.tcp import Listener, Stream

__all__ = [
    "SHARED",
    "AddressBook",
    "Closed",
    "ConnectRefused",
    "ConnectReset",
    "Datagrams",
    "Echo",
    "Event",
    "EventKind",
    "InvalidConfig",
    "Kind",
    "Listener",
    "MemoryNetwork",
    "NameNotResolved",
    "Node",
    "NodeConfig",
    "NotJoined",
    "OverlayError",
    "PeerStatus",
    "PortInUse",
    "StateInUse",
    "Status",
    "Stream",
    "Unreachable",
    "forget_network",
    "kept_networks",
    "parse_node",
]
