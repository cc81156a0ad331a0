"""A member's configuration made of the records (vl2 section 7.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.controller import ipam
from ztstack.controller.ipam import Assigned
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
from ztstack.wire.credentials import Capability, Com, Ownership, Tag, Thing
from ztstack.wire.rules import ACCEPT_ALL

_THINGS_PER_CERTIFICATE: Final = 16
_OWNERSHIP_ID: Final = 1


def addresses_of(
    record: NetworkRecord, member: MemberRecord, fresh: Sequence[Assigned] = ()
) -> tuple[Assigned, ...]:
    """Return the member's addresses with their prefix lengths, in the official order.

    `fresh` are those that were assigned just now, with their own rule for the length.
    """
    found = [] if member.no_auto_assign else ipam.derived(record, member)
    new = {item.ip for item in fresh}
    for ip in member.ips:
        bits = None if ip in new else ipam.prefix_length(record, ip)
        if bits is not None:
            found.append(Assigned(ip, bits))
    return (*found, *fresh)[:MAX_ADDRESSES]


def compose(  # noqa: PLR0913 - a configuration has many sources
    now_ms: int,
    controller: Identity,
    record: NetworkRecord,
    member: MemberRecord,
    identity: Identity,
    *,
    bridges: Iterable[Address] = (),
    fresh: Sequence[Assigned] = (),
    knows_rules: bool = True,
) -> NetworkConfig:
    """Return the signed configuration of a member; old ones do not know rules."""
    network = record.id
    addresses = addresses_of(record, member, fresh)
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
        capabilities=_capabilities(now_ms, controller, record, member) if knows_rules else (),
        tags=_tags(now_ms, controller, record, member) if knows_rules else (),
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
        rules=record.rules if knows_rules else ACCEPT_ALL,
        remote_trace_target=member.trace_target or record.trace_target or Address(0),
        remote_trace_level=member.trace_level if member.trace_target else record.trace_level,
        dns_domain=record.dns_domain,
        dns_servers=tuple(Endpoint(ip, 0) for ip in record.dns_servers),
    )


def _capabilities(
    now_ms: int, controller: Identity, record: NetworkRecord, member: MemberRecord
) -> tuple[Capability, ...]:
    return tuple(
        Capability(record.id, now_ms, item.id, item.rules).signed_by(controller, member.address)
        for item in sorted(record.capabilities, key=lambda item: item.id)
        if item.id in member.capabilities
    )


def _tags(
    now_ms: int, controller: Identity, record: NetworkRecord, member: MemberRecord
) -> tuple[Tag, ...]:
    return tuple(
        Tag(record.id, now_ms, number, value, member.address).signed_by(controller)
        for number, value in sorted(member.tags)
    )


def with_defaults(record: NetworkRecord, member: MemberRecord, *, is_new: bool) -> MemberRecord:
    """Return a member that has the network's default tags, and as a new one its capabilities."""
    have = {number for number, _ in member.tags}
    missing = [
        (number, value) for number, value in record.tags if value is not None and number not in have
    ]
    capabilities = member.capabilities
    if is_new:
        capabilities += tuple(item.id for item in record.capabilities if item.default)
    return member.changed(tags=(*member.tags, *missing), capabilities=capabilities)
