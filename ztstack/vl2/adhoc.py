"""Configurations of ad-hoc networks, which every member makes up itself (vl2 section 1.3)."""

from __future__ import annotations

from typing import Final

from ztstack.base.address import Address
from ztstack.base.frame import EtherType
from ztstack.base.network_id import NetworkId
from ztstack.vl2.network_config import FLAG_NDP_EMULATION, MTU_DEFAULT, NetworkConfig
from ztstack.wire.rules import ACCEPT_ALL, Rule, RuleType

CREDENTIAL_DELTA_MS: Final = 7_200_000
HUB_MULTICAST_LIMIT: Final = 1024
SIX_PLANE_BITS: Final = 40
RFC4193_BITS: Final = 88

_TCP_SYN: Final = 0x02
_TCP_ACK: Final = 0x10


def six_plane_prefix(network: NetworkId) -> bytes:
    """Return the first five bytes of every 6PLANE address of a network (section 1.5)."""
    return b"\xfc" + ((network ^ network >> 32) & 0xFFFFFFFF).to_bytes(4, "big")


def six_plane(network: NetworkId, address: Address) -> bytes:
    return six_plane_prefix(network) + address.packed + bytes(5) + b"\x01"


def rfc4193(network: NetworkId, address: Address) -> bytes:
    """Return the address of a node in the /88 of a network (section 1.4)."""
    return b"\xfd" + network.packed + b"\x99\x93" + address.packed


def adhoc_config(now: int, network: NetworkId, address: Address) -> NetworkConfig | None:
    """Return the configuration that the id stands for; None if it stands for nothing."""
    own = six_plane(network, address)
    number = network & 0xFFFFFF
    if number == 0:
        first, last = network >> 40 & 0xFFFF, network >> 24 & 0xFFFF
        if last < first:
            return None
        return NetworkConfig(
            network=network,
            issued_to=address,
            timestamp=now // 1000,
            credential_delta_ms=CREDENTIAL_DELTA_MS,
            revision=1,
            flags=FLAG_NDP_EMULATION,
            multicast_limit=0,
            is_public=True,
            name=f"adhoc-{first:04x}-{last:04x}",
            mtu=MTU_DEFAULT,
            addresses=((own, SIX_PLANE_BITS),),
            rules=_port_rules(first, last),
        )
    if number & 0xFF == 1:
        first_octet = network >> 48 & 0xFF
        ip = bytes((first_octet,)) + address.packed[2:]
        return NetworkConfig(
            network=network,
            issued_to=address,
            timestamp=now // 1000,
            credential_delta_ms=CREDENTIAL_DELTA_MS,
            revision=1,
            flags=FLAG_NDP_EMULATION,
            multicast_limit=HUB_MULTICAST_LIMIT,
            is_public=True,
            name=f"adhoc-{first_octet}.0.0.0",
            mtu=MTU_DEFAULT,
            addresses=((own, SIX_PLANE_BITS), (ip, 8)),
            rules=ACCEPT_ALL,
        )
    return None


def is_adhoc_range_bad(network: NetworkId) -> bool:
    """Tell whether the id is of the form with a port range, and the range is empty."""
    return network & 0xFFFFFF == 0 and network >> 24 & 0xFFFF < network >> 40 & 0xFFFF


def _port_rules(first: int, last: int) -> tuple[Rule, ...]:
    accept, drop = Rule(RuleType.ACTION_ACCEPT), Rule(RuleType.ACTION_DROP)
    syn = RuleType.MATCH_CHARACTERISTICS
    return (
        Rule(RuleType.MATCH_ETHERTYPE, negate=True, value=EtherType.IPV6),
        drop,
        Rule(RuleType.MATCH_IP_PROTOCOL, value=58),
        accept,
        Rule(RuleType.MATCH_IP_PROTOCOL, value=17),
        Rule(RuleType.MATCH_IP_PROTOCOL, alternative=True, value=6),
        Rule(RuleType.MATCH_IP_DEST_PORT_RANGE, low=first, high=last),
        accept,
        Rule(syn, negate=True, mask=_TCP_SYN),
        accept,
        Rule(syn, mask=_TCP_SYN),
        Rule(syn, mask=_TCP_ACK),
        accept,
        drop,
    )
