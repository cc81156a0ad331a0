"""Answers to neighbour questions whose answer the address itself holds (vl2 section 6.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ztstack.base.address import Address
from ztstack.base.frame import EtherType, Frame
from ztstack.base.mac import Mac
from ztstack.base.network_id import NetworkId
from ztstack.vl2.adhoc import RFC4193_BITS, SIX_PLANE_BITS, six_plane_prefix

_ICMPV6: Final = 58
_SOLICITATION: Final = 135


def embedded_node(
    ip: bytes, network: NetworkId, addresses: Iterable[tuple[bytes, int]]
) -> tuple[Address, bytes] | None:
    """Return the node that an IPv6 address names, and the address of ours that shows it."""
    for own, bits in addresses:
        if len(own) != 16:
            continue
        if bits == RFC4193_BITS and own[0] == 0xFD and own[9:11] == b"\x99\x93":
            if ip[:11] == own[:11]:
                return Address.from_bytes5(ip[11:16]), own
        elif bits == SIX_PLANE_BITS and own[:5] == six_plane_prefix(network) and ip[:5] == own[:5]:
            return Address.from_bytes5(ip[5:10]), own
    return None


def emulated_answer(
    frame: Frame,
    network: NetworkId,
    own_address: Address,
    addresses: Iterable[tuple[bytes, int]],
) -> Frame | None:
    """Return the advertisement to deliver in the place of sending this solicitation."""
    payload = frame.payload
    if (
        frame.ethertype != EtherType.IPV6
        or len(payload) < 64
        or payload[6] != _ICMPV6
        or payload[40] != _SOLICITATION
    ):
        return None
    target = payload[48:64]
    found = embedded_node(target, network, addresses)
    if found is None or not found[0] or found[0] == own_address:
        return None
    mac = Mac.of_node(found[0], network)
    return Frame(
        destination=frame.source,
        source=mac,
        ethertype=EtherType.IPV6,
        payload=_advertisement(target, found[1], mac),
    )


def _advertisement(target: bytes, own: bytes, mac: Mac) -> bytes:
    # Type 136, solicited and override, and the link-layer address of the target.
    head, tail = b"\x88\0", b"\x60\0\0\0" + target + b"\x02\x01" + mac.packed
    pseudo = target + own + (32).to_bytes(4, "big") + _ICMPV6.to_bytes(4, "big")
    checksum = _internet_checksum(pseudo + head + b"\0\0" + tail)
    ip = b"\x60\0\0\0\0\x20\x3a\xff" + target + own
    return ip + head + checksum.to_bytes(2, "big") + tail


def _internet_checksum(data: bytes) -> int:
    # A sum of big-endian words with end-around carry is the number modulo 0xffff.
    remainder = int.from_bytes(data, "big") % 0xFFFF
    return 0xFFFF - remainder if remainder else 0
