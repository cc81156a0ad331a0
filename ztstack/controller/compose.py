"""A member's configuration made of the records (vl2 section 7.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ztstack.base.address import Address
from ztstack.controller import ipam
from ztstack.controller.model import MemberRecord, NetworkRecord
from ztstack.crypto.identity import Identity
from ztstack.vl2.network_config import (
    FLAG_BROADCAST,
    FLAG_NDP_EMULATION,
    MAX_ADDRESSES,
    ROLE_BRIDGE,
    NetworkConfig,
    Route,
)
from ztstack.wire.credentials import Com, Ownership, Thing
from ztstack.wire.rules import ACCEPT_ALL

_RFC4193_BITS: Final = 88
_SIXPLANE_BITS: Final = 40
_THINGS_PER_CERTIFICATE: Final = 16
_OWNERSHIP_ID: Final = 1


def addresses_of(record: NetworkRecord, member: MemberRecord) -> tuple[tuple[bytes, int], ...]:
    """Return the member's addresses with their prefix lengths, in the official order."""
    found: list[tuple[bytes, int]] = []
    if not member.no_auto_assign:
        if record.rfc4193:
            found.append((ipam.rfc4193(record.id, member.address), _RFC4193_BITS))
        if record.sixplane:
            found.append((ipam.sixplane(record.id, member.address), _SIXPLANE_BITS))
    for ip in member.ips:
        bits = ipam.prefix_length(record, ip)
        if bits is not None:
            found.append((ip, bits))
    return tuple(found[:MAX_ADDRESSES])


def compose(
    now_ms: int,
    controller: Identity,
    record: NetworkRecord,
    member: MemberRecord,
    identity: Identity,
    bridges: Iterable[Address],
) -> NetworkConfig:
    """Return the signed configuration of a member."""
    network = record.id
    addresses = addresses_of(record, member)
    flags = FLAG_BROADCAST if record.broadcast else 0
    if record.rfc4193 or record.sixplane:
        flags |= FLAG_NDP_EMULATION
    com = Com.of_member(network, now_ms, record.credential_window_ms, identity)
    ownerships: tuple[Ownership, ...] = ()
    if addresses:
        things = tuple(Thing.of_ip(ip) for ip, _ in addresses[:_THINGS_PER_CERTIFICATE])
        owned = Ownership(network, now_ms, _OWNERSHIP_ID, things, member.address)
        ownerships = (owned.signed_by(controller),)
    return NetworkConfig(
        network=network,
        issued_to=member.address,
        timestamp=now_ms,
        credential_delta_ms=record.credential_window_ms,
        revision=record.revision,
        flags=flags,
        multicast_limit=record.multicast_limit,
        is_public=not record.private,
        name=record.name,
        mtu=record.mtu,
        com=com.signed_by(controller),
        ownerships=ownerships,
        specialists=tuple(ROLE_BRIDGE | address for address in sorted(bridges)),
        routes=tuple(
            Route(
                route.network.network_address.packed,
                route.network.prefixlen,
                None if route.via is None else route.via.packed,
            )
            for route in record.routes
        ),
        addresses=addresses,
        rules=ACCEPT_ALL,
    )
