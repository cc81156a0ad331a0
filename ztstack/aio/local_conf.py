"""`local.conf` of a state directory: what its owner says about the physical world (vl1 9)."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig, StorageError
from ztstack.vl1.policy import PhysicalNetwork, PhysicalPolicy, Subnet, clamp_mtu

FILE_NAME: Final = "local.conf"
DEFAULT_PORT: Final = 9993
_FILE_LIMIT: Final = 1 << 20
_ANY: Final = (bytes(4), bytes(16))


@dataclass(frozen=True, slots=True)
class LocalConf:
    """The parts of the file that mean something here.

    `ports` are fixed UDP ports, the primary one first; `bind` are the only local addresses to use.
    A `relay` of None is the default one.
    """

    physical: PhysicalPolicy = field(default_factory=PhysicalPolicy)
    ports: tuple[int, ...] = ()
    bind: tuple[bytes, ...] = ()
    relay: Endpoint | None = None
    may_relay: bool = True
    force_relay: bool = False

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

    InvalidConfig names the file and what is wrong with it. Keys that are not known are ignored.
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
    root = _object(root, "the file")
    settings = _section(root, "settings")
    virtual = _section(root, "virtual")
    return LocalConf(
        physical=PhysicalPolicy(
            networks=_networks(_section(root, "physical")),
            refused=_refused(virtual),
            hints=_hints(virtual),
        ),
        ports=_ports(settings),
        bind=tuple(_ip(text) for text in _texts(settings, "bind")),
        relay=_relay(settings),
        may_relay=_flag(settings, "allowTcpFallbackRelay", default=True),
        force_relay=_flag(settings, "forceTcpRelay", default=False),
    )


# The three sections.


def _networks(physical: Mapping[str, object]) -> tuple[PhysicalNetwork, ...]:
    networks = []
    for name, value in physical.items():
        ip, bits = _subnet(name)
        entry = _object(value, f"physical {name}")
        networks.append(
            PhysicalNetwork(
                ip,
                bits,
                trusted_path_id=_number(entry, "trustedPathId"),
                mtu=clamp_mtu(_number(entry, "mtu")),
                blacklisted=_flag(entry, "blacklist", default=False),
            )
        )
    return tuple(networks)


def _refused(virtual: Mapping[str, object]) -> dict[Address, tuple[Subnet, ...]]:
    found = {}
    for name, value in virtual.items():
        entry = _object(value, f"virtual {name}")
        subnets = tuple(_subnet(text) for text in _texts(entry, "blacklist"))
        if subnets:
            found[Address.parse(name)] = subnets
    return found


def _hints(virtual: Mapping[str, object]) -> dict[Address, tuple[Endpoint, ...]]:
    found = {}
    for name, value in virtual.items():
        entry = _object(value, f"virtual {name}")
        endpoints = tuple(_endpoint(text) for text in _texts(entry, "try"))
        if endpoints:
            found[Address.parse(name)] = endpoints
    return found


def _ports(settings: Mapping[str, object]) -> tuple[int, ...]:
    """Return the fixed ports; stock nodes take a random secondary one, we take none."""
    primary, secondary = _number(settings, "primaryPort"), _number(settings, "secondaryPort")
    if not _flag(settings, "allowSecondaryPort", default=True):
        secondary = 0
    for port in (primary, secondary):
        if port > 0xFFFF:
            raise InvalidConfig(f"a port is a number from 0 to 65535, not {port}")
    if secondary and not primary:
        primary = DEFAULT_PORT
    return tuple(dict.fromkeys(port for port in (primary, secondary) if port))


def _relay(settings: Mapping[str, object]) -> Endpoint | None:
    text = settings.get("tcpFallbackRelay", "")
    if not isinstance(text, str):
        raise InvalidConfig("tcpFallbackRelay is a text like 1.2.3.4/443")
    return _endpoint(text) if text else None


# Values.


def _object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise InvalidConfig(f"{what} is to be an object")
    return value


def _section(root: Mapping[str, object], name: str) -> Mapping[str, object]:
    return _object(root.get(name, {}), name)


def _number(entry: Mapping[str, object], name: str) -> int:
    value = entry.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidConfig(f"{name} is a number that is not negative, not {value!r}")
    return value


def _flag(entry: Mapping[str, object], name: str, *, default: bool) -> bool:
    value = entry.get(name, default)
    if not isinstance(value, bool):
        raise InvalidConfig(f"{name} is true or false, not {value!r}")
    return value


def _texts(entry: Mapping[str, object], name: str) -> list[str]:
    value = entry.get(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidConfig(f"{name} is a list of texts, not {value!r}")
    return value


def _ip(text: str) -> bytes:
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        raise InvalidConfig(f"not an IP address: {text!r}") from None


def _endpoint(text: str) -> Endpoint:
    endpoint = Endpoint.parse(text)
    if not endpoint.port:
        raise InvalidConfig(f"the port is missing: {text!r}")
    return endpoint


def _subnet(text: str) -> Subnet:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidConfig(f"a physical network is IP/BITS, not {text!r}") from None
    return network.network_address.packed, network.prefixlen
