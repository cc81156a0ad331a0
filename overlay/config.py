"""What a node of the overlay is to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from overlay.book import parse_network, parse_node
from overlay.events import Event
from overlay.memory import MemoryNetwork
from overlay.messages import Place
from overlay.udp import check_port, peer_place, plain_ip
from ztstack.aio.entropy import SystemEntropy
from ztstack.base.entropy import Entropy


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a node is to be.

    `node` None means the one kept in `state`, or a fresh one. `memory` is a link in this process;
    without it there are UDP sockets on `bind`, which is loopback unless something is given.
    """

    networks: tuple[int, ...] = ()
    node: int | None = None
    state: Path | None = None
    memory: MemoryNetwork | None = None
    udp_port: int = 0
    bind: tuple[Place, ...] = ()
    advertise: Place | None = None
    peers: Mapping[int, Place] = field(default_factory=dict)
    addresses: Mapping[str, int] = field(default_factory=dict)
    entropy: Entropy = field(default_factory=SystemEntropy)
    on_event: Callable[[Event], None] | None = None

    def __post_init__(self) -> None:
        for network in self.networks:
            parse_network(network)
        if self.node is not None:
            parse_node(self.node)
        check_port(self.udp_port)
        # One spelling of every address, so that who is told of is known when it speaks.
        bind = tuple((plain_ip(host), port) for host, port in self.bind)
        object.__setattr__(self, "bind", bind)
        peers = {parse_node(node): peer_place(place) for node, place in self.peers.items()}
        object.__setattr__(self, "peers", peers)
        if self.advertise is not None:
            object.__setattr__(self, "advertise", peer_place(self.advertise, zero=True))
