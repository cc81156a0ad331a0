"""`local.conf` of a state directory: what its owner says about the physical world (vl1 9)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ztstack.aio.bond_conf import bond_settings
from ztstack.aio.conf_values import (
    endpoint_of,
    flag,
    ip_of,
    number,
    object_of,
    section,
    subnet_of,
    texts,
)
from ztstack.aio.local_addresses import subnets_of
from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig, StorageError
from ztstack.bonding.settings import BondSettings, Multipath
from ztstack.vl1.policy import PhysicalNetwork, PhysicalPolicy, Subnet, clamp_mtu

FILE_NAME: Final = "local.conf"
DEFAULT_PORT: Final = 9993
_FILE_LIMIT: Final = 1 << 20
_ANY: Final = (bytes(4), bytes(16))


@dataclass(frozen=True, slots=True)
class LocalConf:
    """The parts of the file that mean something here.

    `ports` are fixed UDP ports, the primary one first; `bind` are the only local addresses to use.
    A `relay` of None is the default one; `bonds` of None say nothing about several paths.
    Interfaces whose names begin with one of `unused_interfaces` are not used.
    """

    physical: PhysicalPolicy = field(default_factory=PhysicalPolicy)
    ports: tuple[int, ...] = ()
    bind: tuple[bytes, ...] = ()
    relay: Endpoint | None = None
    may_relay: bool = True
    force_relay: bool = False
    bonds: BondSettings | None = None
    unused_interfaces: tuple[str, ...] = ()

    def physical_now(self) -> PhysicalPolicy:
        """Return what holds with the interfaces that this machine has at the moment."""
        if not self.unused_interfaces:
            return self.physical
        return replace(self.physical, unused=subnets_of(self.unused_interfaces))

    def hinted(self, hints: Iterable[tuple[Address, Endpoint]]) -> LocalConf:
        """Return this with more addresses at which peers are worth a try."""
        merged = dict(self.physical.hints)
        for address, endpoint in hints:
            merged[address] = (endpoint, *merged.get(address, ()))
        return replace(self, physical=replace(self.physical, hints=merged))

    def bond_settings(self, wanted: Multipath | None) -> BondSettings | None:
        """Return what a program wants of its bonds and the file says of them; None if nothing."""
        if wanted is None and self.bonds is None:
            return None
        return (wanted or Multipath()).settings(self.bonds, self.unused_interfaces)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return where UDP sockets are to be bound; empty leaves that to the node."""
        if not self.bind and not self.ports:
            return ()
        ips = self.bind or tuple(ip for ip in _ANY if len(ip) == 4 or _has_ipv6())
        ports = self.ports or (DEFAULT_PORT,)
        return tuple(Endpoint(ip, port) for port in ports for ip in ips)

    def relay_choice(
        self, relay: Endpoint | None, default: Endpoint, *, forced: bool
    ) -> tuple[Endpoint | None, bool]:
        """Return the relay to use and whether to use nothing else; the caller's wish counts more.

        `relay` is `default` if the caller has no wish.
        """
        if forced or relay != default:
            return relay, forced
        if not self.may_relay and not self.force_relay:
            return None, False
        return self.relay or default, self.force_relay


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::", 0))
    except OSError:
        return False
    return True


def read_local_conf(state: Path | None) -> LocalConf:
    """Read the file of a state directory; without one nothing is configured.

    InvalidConfig names the file and what is wrong with it. Keys that are not known are ignored,
    except for those of bonds.
    """
    if state is None:
        return LocalConf()
    path = state / FILE_NAME
    try:
        with path.open("rb") as stream:
            text = stream.read(_FILE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return LocalConf()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    try:
        return parse_local_conf(text)
    except InvalidConfig as error:
        raise InvalidConfig(f"{path}: {error}") from None


def parse_local_conf(text: bytes) -> LocalConf:
    """Read the content of the file."""
    if not text.strip():
        return LocalConf()
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidConfig(f"not JSON: {error}") from None
    root = object_of(root, "the file")
    settings = section(root, "settings")
    virtual = section(root, "virtual")
    return LocalConf(
        physical=PhysicalPolicy(
            networks=_networks(section(root, "physical")),
            refused=_refused(virtual),
            hints=_hints(virtual),
        ),
        ports=_ports(settings),
        bind=tuple(ip_of(text) for text in texts(settings, "bind")),
        relay=_relay(settings),
        may_relay=flag(settings, "allowTcpFallbackRelay", default=True),
        force_relay=flag(settings, "forceTcpRelay", default=False),
        bonds=bond_settings(settings),
        unused_interfaces=_unused_interfaces(settings),
    )


# The three sections.


def _networks(physical: Mapping[str, object]) -> tuple[PhysicalNetwork, ...]:
    networks = []
    for name, value in physical.items():
        ip, bits = subnet_of(name)
        entry = object_of(value, f"physical {name}")
        networks.append(
            PhysicalNetwork(
                ip,
                bits,
                trusted_path_id=number(entry, "trustedPathId"),
                mtu=clamp_mtu(number(entry, "mtu")),
                blacklisted=flag(entry, "blacklist", default=False),
            )
        )
    return tuple(networks)


def _refused(virtual: Mapping[str, object]) -> dict[Address, tuple[Subnet, ...]]:
    found = {}
    for name, value in virtual.items():
        entry = object_of(value, f"virtual {name}")
        subnets = tuple(subnet_of(text) for text in texts(entry, "blacklist"))
        if subnets:
            found[Address.parse(name)] = subnets
    return found


def _hints(virtual: Mapping[str, object]) -> dict[Address, tuple[Endpoint, ...]]:
    found = {}
    for name, value in virtual.items():
        entry = object_of(value, f"virtual {name}")
        endpoints = tuple(endpoint_of(text) for text in texts(entry, "try"))
        if endpoints:
            found[Address.parse(name)] = endpoints
    return found


def _ports(settings: Mapping[str, object]) -> tuple[int, ...]:
    """Return the fixed ports; stock nodes take a random secondary one, we take none."""
    primary, secondary = number(settings, "primaryPort"), number(settings, "secondaryPort")
    if not flag(settings, "allowSecondaryPort", default=True):
        secondary = 0
    for port in (primary, secondary):
        if port > 0xFFFF:
            raise InvalidConfig(f"a port is a number from 0 to 65535, not {port}")
    if secondary and not primary:
        primary = DEFAULT_PORT
    return tuple(dict.fromkeys(port for port in (primary, secondary) if port))


def _unused_interfaces(settings: Mapping[str, object]) -> tuple[str, ...]:
    prefixes = tuple(texts(settings, "interfacePrefixBlacklist"))
    if not all(prefixes):
        raise InvalidConfig("interfacePrefixBlacklist: an empty text stands for every interface")
    return prefixes


def _relay(settings: Mapping[str, object]) -> Endpoint | None:
    text = settings.get("tcpFallbackRelay", "")
    if not isinstance(text, str):
        raise InvalidConfig("tcpFallbackRelay is a text like 1.2.3.4/443")
    return endpoint_of(text) if text else None
