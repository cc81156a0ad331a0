"""A user-space ZeroTier node: the protocol, a TCP/IP stack and sockets for asyncio."""

from __future__ import annotations

from ztstack.aio.bond_status import running_bonds
from ztstack.aio.capture import CaptureFiles
from ztstack.aio.control import ask_controller, compile_rules
from ztstack.aio.entropy import SystemEntropy
from ztstack.aio.kept_networks import KeptNetwork, forget_network, kept_networks
from ztstack.aio.moons import MoonFiles, parse_moon
from ztstack.aio.netcheck import NetReport
from ztstack.aio.planet import parse_planet
from ztstack.aio.relay_server import RelayServer
from ztstack.aio.roles import (
    ControllerService,
    Lab,
    LabDetails,
    controller_store,
    ensure_identity,
    keep_identity,
    root_config,
)
from ztstack.aio.service import NodeConfig
from ztstack.aio.status import NetworkReport, NodeStatus, PeerReport
from ztstack.aio.storage import read_identity
from ztstack.aio.upstream_proxy import UpstreamProxy
from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import (
    AccessDenied,
    AuthenticationRequired,
    Closed,
    ConnectRefused,
    ConnectReset,
    IdentityError,
    InvalidConfig,
    LocalError,
    NameNotResolved,
    NetworkNotFound,
    NoAnswer,
    NotJoined,
    Offline,
    PortInUse,
    RemoteError,
    StateInUse,
    StorageError,
    Unreachable,
    ZtError,
)
from ztstack.base.network_id import NetworkId
from ztstack.bonding.report import BondReport, LinkReport
from ztstack.bonding.settings import BondPolicy, Multipath
from ztstack.controller.pools import address_pools
from ztstack.crypto.identity import Identity
from ztstack.root.world_builder import make_moon, make_planet
from ztstack.sockets.api import Node
from ztstack.sockets.blocking import BlockingNode, connect
from ztstack.sockets.blocking_socket import DatagramSocket, ServerSocket, Socket
from ztstack.sockets.datagram import DatagramEndpoint
from ztstack.sockets.extras import MissingExtra
from ztstack.sockets.forwarding import Forward
from ztstack.sockets.listener import Listener
from ztstack.sockets.ping import EchoReport
from ztstack.sockets.server import Server
from ztstack.sockets.stream import Stream

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "Address",
    "AuthenticationRequired",
    "BlockingNode",
    "BondPolicy",
    "BondReport",
    "CaptureFiles",
    "Closed",
    "ConnectRefused",
    "ConnectReset",
    "ControllerService",
    "DatagramEndpoint",
    "DatagramSocket",
    "EchoReport",
    "Endpoint",
    "Forward",
    "Identity",
    "IdentityError",
    "InvalidConfig",
    "KeptNetwork",
    "Lab",
    "LabDetails",
    "LinkReport",
    "Listener",
    "LocalError",
    "MissingExtra",
    "MoonFiles",
    "Multipath",
    "NameNotResolved",
    "NetReport",
    "NetworkId",
    "NetworkNotFound",
    "NetworkReport",
    "NoAnswer",
    "Node",
    "NodeConfig",
    "NodeStatus",
    "NotJoined",
    "Offline",
    "PeerReport",
    "PortInUse",
    "RelayServer",
    "RemoteError",
    "Server",
    "ServerSocket",
    "Socket",
    "StateInUse",
    "StorageError",
    "Stream",
    "SystemEntropy",
    "Unreachable",
    "UpstreamProxy",
    "ZtError",
    "__version__",
    "address_pools",
    "ask_controller",
    "compile_rules",
    "connect",
    "controller_store",
    "ensure_identity",
    "forget_network",
    "keep_identity",
    "kept_networks",
    "make_moon",
    "make_planet",
    "parse_moon",
    "parse_planet",
    "read_identity",
    "root_config",
    "running_bonds",
]
