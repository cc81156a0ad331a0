"""Addresses at which a peer is worth a try, as the owner of this node says (vl1 section 6.9)."""

from __future__ import annotations

from typing import Final

from ztstack.base.address import Address
from ztstack.base.entropy import Entropy
from ztstack.base.limits import RateGate
from ztstack.base.timers import SECOND
from ztstack.vl1.contact import Contact
from ztstack.vl1.peer import Peer
from ztstack.vl1.topology import Topology

HINT_US: Final = 30 * SECOND
_PEERS_LIMIT: Final = 1024


class Hints:
    """Says HELLO where a peer without a direct path may be."""

    def __init__(self, topology: Topology, contact: Contact, entropy: Entropy) -> None:
        self._topology = topology
        self._contact = contact
        self._entropy = entropy
        self._gate: RateGate[Address] = RateGate(HINT_US, _PEERS_LIMIT)

    def try_for(self, now: int, peer: Peer) -> None:
        """Try one of the addresses, chosen at random: the family first, then among its own."""
        hints = self._topology.physical.hints
        if not hints:
            return
        endpoints = hints.get(peer.address)
        if not endpoints or peer.best_path(now) is not None:
            return
        if not self._gate.allow(now, peer.address):
            return
        chance = self._entropy.take(4)
        families = sorted({len(endpoint.ip) for endpoint in endpoints})
        family = families[int.from_bytes(chance[:2], "big") % len(families)]
        choices = [endpoint for endpoint in endpoints if len(endpoint.ip) == family]
        chosen = choices[int.from_bytes(chance[2:], "big") % len(choices)]
        self._contact.greet(now, peer, (chosen,))
