"""A link may say how long datagrams on it may be: nothing that is sent on it is longer."""

from __future__ import annotations

import pytest

from tests.support.switches import VirtualNetwork, known_identities, planet_of
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import Drop
from ztstack.base.timers import SECOND
from ztstack.bonding.bonds import Bonds
from ztstack.bonding.settings import BondPolicy, BondSettings, LinkSettings, PolicySettings
from ztstack.vl1.events import InboundBurst
from ztstack.vl1.policy import PhysicalNetwork, PhysicalPolicy
from ztstack.wire.verbs import Verb

ROOT, A, B = (Endpoint.parse(f"10.1.0.{host}/9993") for host in (1, 2, 3))
PREFIX = b"\x06" + bytes(8) + b"\x08\x00"
LAN = PhysicalNetwork(bytes((10, 1, 0, 0)), 24, mtu=1500)
DATA = bytes(2700)


class OneCable:
    """A machine with one interface."""

    def interface_to(self, socket: int, remote: Endpoint) -> str:
        return f"eth{socket}"


@pytest.mark.parametrize("policy", [BondPolicy.OFF, BondPolicy.BROADCAST, BondPolicy.BALANCE_AWARE])
@pytest.mark.parametrize(("mtu", "most"), [(0, 1500), (576, 576), (1280, 1280), (3000, 3000)])
def test_datagrams_are_as_long_as_the_link_bears(policy: BondPolicy, mtu: int, most: int) -> None:
    """It counts more than what is said of the physical network."""
    network = VirtualNetwork()
    identities = known_identities()
    planet = planet_of([(identities[0], ROOT)])
    _, a, b = (network.add(identities[n], e, planet) for n, e in enumerate((ROOT, A, B)))
    a.switch.set_physical(PhysicalPolicy(networks=(LAN,)))
    settings = PolicySettings(policy, links={"eth0": LinkSettings(mtu=mtu)})
    a.switch.ways.use(Bonds(network.now, BondSettings(settings), OneCable()))
    network.run(1 * SECOND)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, b"first contact")
    network.run(2 * SECOND)
    assert a.switch.has_direct_path(network.now, b.address)
    network.lengths.clear()

    packets = [(b"head", DATA) for _ in range(5)]
    a.switch.send_frames(network.now, b.address, PREFIX, packets)
    a.switch.send(network.now, b.address, Verb.USER_MESSAGE, DATA)
    network.run(1 * SECOND)
    assert most // 2 < max(network.lengths[A, B]) <= most
    bursts = [m.burst for m in b.inbound if isinstance(m, InboundBurst)]
    rows = [
        bytes(burst.view[row : row + length])
        for burst in bursts
        for row, length in zip(burst.rows, burst.lengths, strict=True)
    ]
    assert rows == [b"head" + DATA] * 5
    assert b.payloads(Verb.USER_MESSAGE)[-1] == DATA
    assert Drop.TOO_LONG not in a.tracer.drops
