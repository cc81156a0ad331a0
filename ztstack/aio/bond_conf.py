"""The bonds of `local.conf`: policies of one's own, their links, and single peers (bonding 6.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ztstack.aio.conf_values import flag, number, object_of, refuse_unknown, section, text
from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.bonding.settings import (
    LEAST_FAILOVER_US,
    BondPolicy,
    BondSettings,
    LinkSettings,
    PolicySettings,
    QualitySettings,
    Reselect,
)
from ztstack.vl1.policy import MTU_MAX

_KEYS: Final = ("defaultBondingPolicy", "policies", "peerSpecificBonds")
_OF_OLD: Final = (
    "linkSelectMethod",
    "qualityWeights",
    "quality",
    "speed",
    "balancePolicy",
    "rebalanceStrategy",
    "pathMonitorStrategy",
    "multipathMode",
)
"""Keys of old guides, which official nodes ignore in silence."""

_POLICIES: Final = {
    "none": BondPolicy.OFF,
    "active-backup": BondPolicy.ACTIVE_BACKUP,
    "broadcast": BondPolicy.BROADCAST,
    "balance-rr": BondPolicy.BALANCE_RR,
    "balance-xor": BondPolicy.BALANCE_XOR,
    "balance-aware": BondPolicy.BALANCE_AWARE,
}
_POLICY_KEYS: Final = (
    "basePolicy",
    "failoverInterval",
    "upDelay",
    "downDelay",
    "packetsPerLink",
    "activeReselect",
    "linkQuality",
    "links",
)
_LINK_KEYS: Final = ("mode", "capacity", "ipvPref", "failoverTo", "mtu", "enabled")
_MODES: Final = ("spare", "primary")
_IP_PREFERENCES: Final = (0, 4, 6, 46, 64)
_QUALITY_KEYS: Final = (
    "lat_max",
    "pdv_max",
    "plr_max",
    "per_max",
    "lat_weight",
    "pdv_weight",
    "plr_weight",
    "per_weight",
)
_MAX_INTERFACE_NAME: Final = 255
_MAX_TIME_MS: Final = 3_600_000
_LEAST_MTU: Final = 576
"""A datagram that every IPv4 network bears; seven of them still hold the longest frame."""
_WEIGHT_TOLERANCE: Final = 0.01


def bond_settings(settings: Mapping[str, object]) -> BondSettings | None:
    """Read the keys of bonds in `settings`; None if there are none.

    Unlike an official node this one refuses what it does not know, and takes the name of a
    built-in policy for a single peer as that policy.
    """
    _refuse_misspelt(settings)
    if not any(key in settings for key in _KEYS):
        return None
    policies = {name: PolicySettings(policy) for name, policy in _POLICIES.items()}
    for name, value in section(settings, "policies").items():
        if name in _POLICIES:
            raise InvalidConfig(f"policies: {name} is built in; give yours another name")
        policies[name] = _policy(name, object_of(value, f"policies {name}"))
    peers = {}
    for address, value in section(settings, "peerSpecificBonds").items():
        peer = Address.parse(address)
        peers[peer] = _named(policies, value, f"peerSpecificBonds {address}")
    default = text(settings, "defaultBondingPolicy") or "none"
    return BondSettings(default=_named(policies, default, "defaultBondingPolicy"), peers=peers)


def _refuse_misspelt(settings: Mapping[str, object]) -> None:
    for key in settings:
        small = key.lower()
        if key in _OF_OLD or (
            key not in _KEYS and any(word in small for word in ("bond", "multipath", "polic"))
        ):
            raise InvalidConfig(f"settings: unknown: {key}; known of bonds: {', '.join(_KEYS)}")


def _named(policies: Mapping[str, PolicySettings], name: object, what: str) -> PolicySettings:
    if not isinstance(name, str) or name not in policies:
        raise InvalidConfig(f"{what} is one of {', '.join(policies)}, not {name!r}")
    return policies[name]


def _policy(name: str, entry: Mapping[str, object]) -> PolicySettings:
    what = f"policies {name}"
    refuse_unknown(entry, _POLICY_KEYS, what)
    base = _POLICIES.get(text(entry, "basePolicy"))
    if base is None:
        raise InvalidConfig(f"{what}: basePolicy is one of {', '.join(_POLICIES)}")
    usual = PolicySettings()
    failover_us = _milliseconds(entry, "failoverInterval", what)
    return PolicySettings(
        policy=base,
        name=name,
        failover_us=max(failover_us, LEAST_FAILOVER_US) if failover_us else 0,
        up_delay_us=_milliseconds(entry, "upDelay", what),
        down_delay_us=_milliseconds(entry, "downDelay", what),
        packets_per_link=number(entry, "packetsPerLink") or usual.packets_per_link,
        reselect=_reselect(entry, what),
        quality=_quality(entry, what) if "linkQuality" in entry else None,
        links=_links(section(entry, "links"), what),
    )


def _milliseconds(entry: Mapping[str, object], key: str, what: str) -> int:
    """Return microseconds."""
    value = number(entry, key)
    if value > _MAX_TIME_MS:
        raise InvalidConfig(f"{what}: {key} is at most {_MAX_TIME_MS}, in milliseconds")
    return value * 1000


def _reselect(entry: Mapping[str, object], what: str) -> Reselect:
    name = text(entry, "activeReselect") or Reselect.ALWAYS.value
    try:
        return Reselect(name)
    except ValueError:
        names = ", ".join(one.value for one in Reselect)
        raise InvalidConfig(f"{what}: activeReselect is one of {names}, not {name!r}") from None


def _quality(entry: Mapping[str, object], what: str) -> QualitySettings:
    what = f"{what} linkQuality"
    found = object_of(entry["linkQuality"], what)
    refuse_unknown(found, _QUALITY_KEYS, what)
    values = []
    for key in _QUALITY_KEYS:
        value = found.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidConfig(f"{what}: {key} is a number; all of them are needed")
        least_is_fine = key.endswith("_weight")
        if not 0 <= value < float("inf") or (not value and not least_is_fine):
            raise InvalidConfig(f"{what}: {key} is a number above 0, not {value!r}")
        values.append(float(value))
    if abs(sum(values[4:]) - 1.0) >= _WEIGHT_TOLERANCE:
        raise InvalidConfig(f"{what}: the four weights add up to {sum(values[4:]):g}, not to 1")
    return QualitySettings(*values)


def _links(entries: Mapping[str, object], what: str) -> dict[str, LinkSettings]:
    links = {}
    for name, value in entries.items():
        where = f"{what} links {name}"
        if not 1 <= len(name) <= _MAX_INTERFACE_NAME:
            raise InvalidConfig(f"{where}: a link has the name of an interface")
        links[name] = _link(object_of(value, where), where)
    for name, link in links.items():
        if not link.failover_to:
            continue
        where = f"{what} links {name}"
        if not link.is_primary:
            raise InvalidConfig(f"{where}: failoverTo is for links of mode primary")
        if link.failover_to not in links or link.failover_to == name:
            raise InvalidConfig(f"{where}: failoverTo names another link, not {link.failover_to!r}")
    return links


def _link(entry: Mapping[str, object], what: str) -> LinkSettings:
    refuse_unknown(entry, _LINK_KEYS, what)
    mode = text(entry, "mode") or "spare"
    if mode not in _MODES:
        raise InvalidConfig(f"{what}: mode is primary or spare, not {mode!r}")
    mtu = number(entry, "mtu")
    if mtu and not _LEAST_MTU <= mtu <= MTU_MAX:
        raise InvalidConfig(f"{what}: mtu is 0 or from {_LEAST_MTU} to {MTU_MAX}, not {mtu}")
    preference = number(entry, "ipvPref")
    if preference not in _IP_PREFERENCES:
        raise InvalidConfig(f"{what}: ipvPref is 0, 4, 6, 46 or 64, not {preference}")
    return LinkSettings(
        is_primary=mode == "primary",
        capacity=number(entry, "capacity"),
        ip_preference=preference,
        failover_to=text(entry, "failoverTo"),
        mtu=mtu,
        enabled=flag(entry, "enabled", default=True),
    )
